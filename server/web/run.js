// run.js - one request and its steps: solve and cancel, the timeline, the charts, the verdict.
//
// A step is computed faster than anyone can look, so steps are shown at a pace of their own while they
// arrive; the times that are shown are those of the server. Hundreds of steps of dozens of tries may arrive in a
// second: a step that arrives is only packed and put away, and whatever has arrived is drawn once a frame of the screen.

import { Trouble, curl, solve } from "./api.js";
import { Notice, copyable, duration, el, icon, plural, put } from "./dom.js";
import { Lanes } from "./lanes.js";
import { Strips } from "./strips.js";

const PACE_MS = 420, REPLAY_MS = 7000; // between two steps; of the whole replay at most

const calm = matchMedia("(prefers-reduced-motion: reduce)");
const stacked = matchMedia("(max-width: 56rem)"); // as in style.css

const STOPPED = {
  verified: () => "It stopped because the verifier accepted this answer.",
  q_head: () => "It stopped because its halting head was confident: q is above the threshold.",
  max_steps: (steps) => `It stopped at its limit of ${plural(steps, "step")}.`,
  deadline: () => "Its time was up; this is the best answer so far.",
};

const SERIES = [
  { key: "q_halt", label: "q, halting", hint: "The halting head: above zero the model thinks that it is done",
    format: (q) => q.toFixed(2) },
  { key: "changes", label: "changed", hint: "Cells that differ from the step before", format: String },
  { key: "broken", label: "faulty cells", hint: "Cells that break a rule", format: String },
  { key: "took", label: "time", hint: "From the end of the step before", format: duration },
];

const percent = (part) => `${(part * 100).toFixed(1)} %`;

export class Run {
  // `view` has request() -> the body, or throws Trouble; draw(frame | null) for the board, null for the puzzle;
  // faults(cells) -> the Set of those that break a rule; about(answer's cells) -> a sentence or ""; and what Lanes needs.
  constructor(view, tools = []) {
    this.view = view;
    this.notice = new Notice();
    this.obstacle = new Notice("plain");
    this.go = el("button", { type: "button", class: "primary", onclick: () => this.toggle() }, "Solve");
    this.slider = el("input", { type: "range", min: 0, max: 0, value: 0, "aria-label": "Supervision step",
      oninput: () => this.seek(Number(this.slider.value)) });
    this.playButton = this.tool("play", "Play", () => this.togglePlay());
    this.place = el("span", { class: "place" });
    this.strips = new Strips(SERIES, (index) => this.seek(index + 1));
    this.verdict = el("div", { class: "verdict", role: "status" });
    this.facts = el("dl", { class: "facts" });
    this.lanesBar = new Lanes(view, (index) => this.choose(index));
    this.timeline = el("section", { class: "timeline", "aria-label": "Timeline", hidden: true },
      el("div", { class: "transport" },
        this.tool("first", "The puzzle", () => this.seek(0)),
        this.tool("back", "Step back", () => this.seek(this.shown - 1)),
        this.playButton,
        this.tool("forward", "Step forward", () => this.seek(this.shown + 1)),
        this.tool("last", "Last step", () => this.seek(this.lane.length - 1)),
        this.slider, this.place),
      this.strips.element, this.lanesBar.element);
    this.hint = el("p", { class: "hint" });
    this.command = copyable("The same with curl");
    this.element = el("div", { class: "run" }, el("div", { class: "go" }, this.go, ...tools), this.obstacle.element,
      this.notice.element, this.verdict, this.facts, this.hint, this.timeline);
    this.forget();
  }

  tool(name, label, onclick) {
    return el("button", { type: "button", class: "tool", "aria-label": label, title: label, onclick }, icon(name));
  }

  // The puzzle has changed: its steps are those of another.
  reset() {
    this.forget();
    this.describe();
  }

  forget() {
    this.cancel();
    this.stopPlaying();
    this.lanes = [];
    this.best = this.chosen = 0;
    this.shown = 0;
    this.answer = this.concluded = null;
    this.timeline.hidden = true;
    this.hint.hidden = false;
    this.verdict.replaceChildren();
    this.facts.replaceChildren();
    this.drawn = null;
    this.notice.say("");
  }

  // Takes the model that solves; without one the sentence says why nothing can be solved here.
  use(model, otherwise) {
    this.go.disabled = !model;
    this.obstacle.say(model ? "" : otherwise);
    this.hint.textContent = model ? `${this.view.hint} It has ${model.parameters.toLocaleString("en")} parameters.` : "";
    this.describe();
  }

  // Shows the request that the button would send.
  describe() {
    try {
      this.command.set(curl("solve", this.view.request()));
    } catch (error) {
      this.command.set(`# ${error.message}`);
    }
  }

  get lane() {
    return this.lanes[this.chosen] ?? [];
  }

  get running() {
    return this.abort !== null && this.abort !== undefined;
  }

  toggle() {
    if (this.go.disabled) {
      return;
    }
    if (this.running) {
      this.cancel();
      this.verdict.replaceChildren(this.headline("stopped", "Cancelled", "The server has been told to stop."));
    } else {
      this.start();
    }
  }

  cancel() {
    this.abort?.abort();
    this.setRunning(null);
  }

  setRunning(abort) {
    this.abort = abort;
    this.go.textContent = abort ? "Cancel" : "Solve";
    this.go.classList.toggle("cancel", Boolean(abort));
  }

  async start() {
    this.reset();
    this.view.draw(null);
    const abort = new AbortController();
    try {
      const body = this.view.request();
      this.setRunning(abort);
      for await (const [event, data] of solve(body, abort.signal)) {
        if (event === "step") {
          this.add(data);
        } else if (event === "answer") {
          this.finish(data);
        }
      }
    } catch (error) {
      if (error.name !== "AbortError") {
        this.complain(error);
      }
    } finally {
      if (this.abort === abort) {
        this.setRunning(null);
      }
    }
  }

  complain(error) {
    if (!(error instanceof Trouble)) {
      console.error(error);
    }
    this.verdict.replaceChildren();
    this.notice.say(error.message);
  }

  // A step arrives.
  add(step) {
    const rollout = step.rollout ?? 0;
    const lane = (this.lanes[rollout] ??= [{ step: 0, ms: 0, cells: [], faults: new Set() }]); // the puzzle itself
    lane.push({ step: step.step, q_halt: step.q_halt, confidence: step.confidence, ms: step.ms, took: step.ms - lane.at(-1).ms,
      cells: Uint8Array.from(step.answer.flat()), changes: step.changed.length,
      changed: Uint16Array.from(step.changed, ([row, column]) => row * step.answer[0].length + column) });
    if (!this.lanes[this.chosen]) {
      this.chosen = rollout;
    }
    if (this.timeline.hidden) { // the first of all
      this.timeline.hidden = false;
      this.hint.hidden = true;
      this.verdict.replaceChildren(this.headline("thinking", "Thinking", "Its steps are shown slower than they are computed."));
      if (stacked.matches) { // the board stays in sight above it
        this.timeline.scrollIntoView({ block: "nearest", behavior: calm.matches ? "auto" : "smooth" });
      }
      this.play();
    }
    this.schedule();
  }

  finish(answer) {
    this.answer = answer;
    this.best = answer.rollouts?.best ?? 0;
    if (this.lanes[this.best]) {
      this.chosen = this.best;
      this.shown = Math.min(this.shown, this.lane.length - 1);
    }
    this.schedule();
    if (!this.timer) {
      this.conclude();
    }
  }

  // The cells of a step that break a rule, found when they are asked for.
  faultsOf(frame) {
    return (frame.faults ??= this.view.faults(frame.cells));
  }

  // Draws once for all that happens before the next frame of the screen.
  schedule() {
    this.due ??= requestAnimationFrame(() => {
      this.due = null;
      this.draw();
    });
  }

  // --- the timeline ---------------------------------------------------------------------------------

  seek(index) {
    this.stopPlaying();
    this.show(Math.max(0, Math.min(index, this.lane.length - 1)));
    this.conclude();
  }

  show(index) {
    this.shown = index;
    this.schedule();
  }

  togglePlay() {
    if (this.timer) {
      this.stopPlaying();
    } else {
      this.shown = this.shown >= this.lane.length - 1 ? 0 : this.shown;
      this.play();
    }
  }

  play() {
    const advance = () => {
      const last = this.lane.length - 1;
      if (this.shown < last) {
        this.show(calm.matches ? last : this.shown + 1);
      }
      if (!this.running && this.shown >= this.lane.length - 1) {
        this.stopPlaying();
        this.conclude();
      } else {
        this.timer = setTimeout(advance, Math.min(PACE_MS, REPLAY_MS / this.lane.length));
      }
    };
    clearTimeout(this.timer);
    this.timer = setTimeout(advance, 0);
    this.setPlaying(true);
  }

  stopPlaying() {
    clearTimeout(this.timer);
    this.timer = null;
    this.setPlaying(false);
  }

  setPlaying(playing) {
    this.playButton.replaceChildren(icon(playing ? "pause" : "play"));
    this.playButton.setAttribute("aria-label", playing ? "Pause" : "Play");
    this.playButton.title = playing ? "Pause" : "Play";
  }

  draw() {
    const frame = this.lane[this.shown];
    const last = this.lane.length - 1;
    this.slider.max = Math.max(last, 0);
    this.slider.value = this.shown;
    put(this.place, this.shown === 0 ? "puzzle" : `step ${frame.step} of ${this.lane[last].step}`);
    this.slider.setAttribute("aria-valuetext", this.shown === 0 ? "the puzzle" :
      `step ${frame.step}: q ${frame.q_halt?.toFixed(2)}, ${plural(frame.changes, "change")}`);
    const steps = this.lane.slice(1);
    for (const step of steps) {
      step.broken ??= this.faultsOf(step).size;
    }
    this.strips.draw(steps, this.shown - 1);
    if (frame && frame !== this.drawn) {
      this.drawn = frame;
      this.view.draw(this.shown === 0 ? null : frame);
      if (!this.concluded && frame.step) {
        this.list([["computing", duration(frame.ms)], ["confidence", percent(frame.confidence)]]);
      }
    }
    this.lanesBar.draw(this.lanes, this.shown, this.chosen, this.answer ? this.best : -1);
  }

  // --- several tries --------------------------------------------------------------------------------

  choose(rollout) {
    this.stopPlaying();
    this.chosen = rollout;
    this.show(Math.min(this.shown, this.lane.length - 1));
  }

  // --- the end --------------------------------------------------------------------------------------

  headline(kind, title, ...sentences) {
    return el("div", { class: `headline ${kind}` }, el("strong", {}, title),
      ...sentences.filter(Boolean).map((sentence) => el("p", {}, sentence)));
  }

  // Names and values below the headline.
  list(facts) {
    this.facts.replaceChildren(...facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
  }

  // The verdict on the answer, when there is one.
  conclude() {
    if (!this.answer || this.concluded === this.answer) {
      return;
    }
    const answer = this.concluded = this.answer;
    const within = `in ${plural(answer.steps, "step")}`;
    const [kind, title] = answer.valid === true ? ["good", `Solved ${within}`]
      : answer.valid === false ? ["bad", `Not solved ${within}`] : ["plain", `Done ${within}`];
    const stopped = STOPPED[answer.halted_by]?.(answer.steps) ?? `It stopped: ${answer.halted_by}.`;
    const facts = [
      ["computing", duration(answer.timing_ms.compute)],
      ["waiting", duration(answer.timing_ms.queue)],
      ["confidence", percent(answer.confidence)],
    ];
    if (answer.rollouts) {
      facts.push(["tries", `${answer.rollouts.count}, the best is ${answer.rollouts.best + 1}`],
        ["steps of all", answer.rollouts.steps]);
    }
    for (const [what, { asked, given }] of Object.entries(answer.reduced ?? {})) {
      facts.push([what.replace("_", " "), `${given} of ${asked}: the server is busy`]);
    }
    this.verdict.replaceChildren(this.headline(kind, title, stopped, this.view.about(answer.answer.flat())));
    this.list(facts);
  }
}
