// status.js - what the server is doing now, read from /metrics once a second while one looks.

import { curl, getMetrics } from "./api.js";
import { Notice, copyable, duration, el, plural, svg } from "./dom.js";

const PERIOD_MS = 1000, KEPT = 60;

const HALTS = {
  verified: "the verifier accepted", q_head: "the halting head was confident", max_steps: "all steps were done",
  deadline: "the time was up", cancelled: "the client left", failed: "an error",
};

const sum = (samples = []) => samples.reduce((total, sample) => total + sample.value, 0);

// The counters of one moment, as numbers, of all models together.
function read(metrics) {
  const one = (name) => sum(metrics[name]);
  const by = (name, label) => {
    const totals = {};
    for (const { labels, value } of metrics[name] ?? []) {
      totals[labels[label]] = (totals[labels[label]] ?? 0) + value;
    }
    return totals;
  };
  return {
    at: performance.now(),
    steps: one("trm_steps_total"), rounds: one("trm_rounds_total"), busySeconds: one("trm_busy_seconds_total"),
    queue: one("trm_queue_length"), queueLimit: one("trm_queue_limit"), busy: one("trm_slots_busy"),
    slots: one("trm_slots"), workers: one("trm_workers"), halts: by("trm_puzzles_total", "halted_by"),
    solveSteps: by("trm_solve_steps_bucket", "le"), solveSum: one("trm_solve_steps_sum"),
    solveCount: one("trm_solve_steps_count"), firstStep: by("trm_first_step_seconds_bucket", "le"),
    requests: by("trm_requests_total", "outcome"), memory: one("process_resident_memory_bytes"),
    cpu: one("process_cpu_seconds_total"), started: one("process_start_time_seconds"),
    connections: one("trm_connections_open"), draining: one("trm_draining"),
    build: metrics.trm_build_info?.[0].labels ?? {}, models: metrics.trm_model_info ?? [],
  };
}

// The bound below which a part of a histogram's samples lies; null when it has none.
function quantile(buckets, part) {
  const bounds = Object.entries(buckets).map(([bound, count]) => [bound === "+Inf" ? Infinity : Number(bound), count])
    .sort((a, b) => a[0] - b[0]);
  const total = bounds.at(-1)?.[1] ?? 0;
  return total ? bounds.find(([, count]) => count >= part * total)[0] : null;
}

function spark(values, most) {
  const high = Math.max(most ?? 0, ...values) || 1;
  const points = values.map((value, i) => `${KEPT - values.length + i},${(1 - value / high).toFixed(4)}`);
  return svg("svg", { viewBox: `0 -0.04 ${KEPT - 1} 1.08`, preserveAspectRatio: "none", class: "spark", "aria-hidden": "true" },
    points.length ? svg("polyline", { points: points.join(" ") }) : null);
}

// A row of a table of bars.
function bar(name, value, most, text) {
  return el("div", { class: "bar-row" }, el("span", {}, name),
    svg("svg", { viewBox: "0 0 1 1", preserveAspectRatio: "none", "aria-hidden": "true" },
      svg("rect", { width: most ? value / most : 0, height: 1 })),
    el("span", { class: "bar-value" }, text));
}

class Status {
  constructor() {
    this.notice = new Notice();
    this.cards = el("div", { class: "cards" });
    this.halts = el("div", { class: "bars" });
    this.depths = el("div", { class: "bars narrow" });
    this.facts = el("dl", { class: "facts" });
    this.command = copyable("The same with curl");
    this.command.set(curl("metrics"));
    this.history = [];
    this.element = el("div", { class: "view status" }, this.notice.element, this.cards,
      el("div", { class: "pair" },
        el("section", { class: "panel" }, el("h2", {}, "Why puzzles stopped"), this.halts),
        el("section", { class: "panel" }, el("h2", {}, "Steps of solved puzzles"), this.depths)),
      el("section", { class: "panel" }, el("h2", {}, "Server"), this.facts), this.command.element);
  }

  enter() {
    this.watching = true;
    this.poll();
  }

  leave() {
    this.watching = false;
    clearTimeout(this.timer);
  }

  async poll() {
    try {
      const now = read(await getMetrics());
      this.notice.say(now.draining ? "The server is shutting down." : "");
      this.take(now);
    } catch (error) {
      const since = this.before ? ` The figures are those of ${this.clock}.` : "";
      this.notice.say(error.message + since);
    }
    if (this.watching) {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.poll(), PERIOD_MS);
    }
  }

  // Rates are differences to the moment before.
  take(now) {
    const before = this.before ?? now;
    const seconds = (now.at - before.at) / 1000;
    const rate = (key) => (seconds > 0 && now[key] >= before[key] ? (now[key] - before[key]) / seconds : 0);
    const ended = (moment) => Object.values(moment.halts).reduce((a, b) => a + b, 0);
    const rounds = now.rounds - before.rounds;
    this.before = now;
    this.clock = new Date().toLocaleTimeString("en-GB");
    this.history.push({ steps: rate("steps"), puzzles: seconds > 0 ? Math.max(0, ended(now) - ended(before)) / seconds : 0,
      queue: now.queue, busy: now.busy, load: Math.min(1, rate("busySeconds") / (now.workers || 1)),
      batch: rounds > 0 ? (now.steps - before.steps) / rounds : 0 });
    this.history.splice(0, this.history.length - KEPT);
    this.draw(now);
  }

  card(title, key, text, note, most) {
    return el("div", { class: "card" }, el("h2", {}, title), el("p", { class: "figure" }, text),
      spark(this.history.map((moment) => moment[key]), most), el("p", { class: "note" }, note));
  }

  draw(now) {
    const last = this.history.at(-1);
    const first = quantile(now.firstStep, 0.5), tail = quantile(now.firstStep, 0.99);
    const round = (value) => (value >= 100 ? value.toFixed(0) : value.toFixed(1));
    this.cards.replaceChildren(
      this.card("Steps a second", "steps", round(last.steps), `${now.steps.toLocaleString("en")} since the start`),
      this.card("Puzzles a second", "puzzles", round(last.puzzles),
        first === null ? "none so far" : `first step: half within ${duration(first * 1000)}, 99 % within ${duration(tail * 1000)}`),
      this.card("Waiting", "queue", String(now.queue), `of ${now.queueLimit} that may`),
      this.card("Slots busy", "busy", `${now.busy} of ${now.slots}`,
        last.batch ? `${round(last.batch)} puzzles in a step on average` : "no steps just now", now.slots),
      this.card("Workers", "load", `${(last.load * 100).toFixed(0)} %`, `${plural(now.workers, "thread")}, share of time in steps`, 1));
    const halts = Object.entries(now.halts).filter(([, count]) => count).sort((a, b) => b[1] - a[1]);
    const total = halts.reduce((all, [, count]) => all + count, 0);
    this.halts.replaceChildren(...(total ? halts.map(([reason, count]) =>
      bar(HALTS[reason] ?? reason, count, total, `${count.toLocaleString("en")} (${(100 * count / total).toFixed(0)} %)`))
      : [el("p", { class: "hint" }, "No puzzle has ended yet.")]));
    this.drawDepths(now);
    const hours = Math.max(0, Date.now() / 1000 - now.started) / 3600;
    this.facts.replaceChildren(...[
      ["version", now.build.version], ["computes with", now.build.onednn],
      ["up", hours < 1 ? `${(hours * 60).toFixed(0)} min` : `${hours.toFixed(1)} h`],
      ["memory", `${(now.memory / 2 ** 20).toFixed(0)} MiB`], ["CPU time", duration(now.cpu * 1000)],
      ["connections", now.connections],
      ["requests", Object.entries(now.requests).map(([outcome, count]) => `${count} ${outcome}`).join(", ") || "0"],
      ["models", now.models.map(({ labels }) => `${labels.model} (${labels.arch}, ${labels.dtype})`).join(", ")],
    ].map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value ?? ""))));
  }

  // The cumulative buckets, taken apart.
  drawDepths(now) {
    const bounds = Object.entries(now.solveSteps).map(([bound, count]) => [bound === "+Inf" ? Infinity : Number(bound), count])
      .sort((a, b) => a[0] - b[0]);
    let below = 0, from = 1;
    const rows = bounds.map(([bound, count]) => {
      const row = [bound === Infinity ? `${from} or more` : bound === from ? `${from}` : `${from} to ${bound}`, count - below];
      below = count;
      from = bound + 1;
      return row;
    });
    while (rows.length && !rows.at(-1)[1]) {
      rows.pop();
    }
    const most = Math.max(0, ...rows.map(([, count]) => count));
    this.depths.replaceChildren(...rows.map(([name, count]) => bar(name, count, most, count.toLocaleString("en"))),
      el("p", { class: "hint" }, now.solveCount ? `${(now.solveSum / now.solveCount).toFixed(1)} steps on average.`
        : "None has been solved yet."));
  }
}

export const create = () => new Status();
