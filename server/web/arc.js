// arc.js - the ARC view: a task as pairs of grids, to look at and to edit, and the model's votes.

import { Trouble, adapt, cancelTask, curl, getTaskSeconds, solve } from "./api.js";
import { TASKS } from "./arc-tasks.js";
import { Notice, copyable, duration, el, plural, svg } from "./dom.js";
import { Grid } from "./grid.js";

const MOST = 30; // rows and columns of a grid
const COLOURS = ["black", "blue", "red", "green", "yellow", "grey", "magenta", "orange", "sky", "maroon"];

function isGrid(grid) {
  return Array.isArray(grid) && grid.length >= 1 && grid.length <= MOST && Array.isArray(grid[0]) && grid[0].length >= 1 &&
    grid[0].length <= MOST && grid.every((row) => Array.isArray(row) && row.length === grid[0].length &&
      row.every((cell) => Number.isInteger(cell) && cell >= 0 && cell <= 9));
}

// A task as the public data has it. A file that holds several by name gives the first.
export function readTask(text) {
  let task;
  try {
    task = JSON.parse(text);
  } catch (error) {
    throw new Trouble(`This is no JSON: ${error.message}.`);
  }
  let name = "";
  if (task && !task.train && typeof Object.values(task)[0] === "object") {
    [[name, task]] = Object.entries(task);
  }
  if (!Array.isArray(task?.train) || !Array.isArray(task?.test) || !task.train.length || !task.test.length) {
    throw new Trouble("A task has two lists, “train” and “test”, neither of them empty.");
  }
  task.train.forEach((pair, i) => {
    if (!isGrid(pair?.input) || !isGrid(pair?.output)) {
      throw new Trouble(`Demonstration ${i + 1} needs an input and an output: 1 to ${MOST} rows of 1 to ${MOST} integers from 0 to 9.`);
    }
  });
  task.test.forEach((pair, i) => {
    if (!isGrid(pair?.input) || (pair.output !== undefined && !isGrid(pair.output))) {
      throw new Trouble(`Test ${i + 1} needs an input: 1 to ${MOST} rows of 1 to ${MOST} integers from 0 to 9.`);
    }
  });
  const pairs = (list) => list.map(({ input, output }) => (output ? { input, output } : { input }));
  return [name, { train: pairs(task.train), test: pairs(task.test) }];
}

// A picture of a grid. Colours have their digit on them if the page is asked to show digits.
function picture(grid, name) {
  const rows = grid.length, columns = grid[0].length;
  const drawing = svg("svg", { viewBox: `0 0 ${columns} ${rows}`, class: "arc-grid", role: "img",
    "aria-label": `${name}, ${rows} by ${columns}` },
  grid.flatMap((row, y) => row.map((colour, x) => svg("g", { class: `colour c${colour}` },
    svg("rect", { x, y, width: 1, height: 1 }),
    svg("text", { x: x + 0.5, y: y + 0.74 }, String(colour))))));
  drawing.style.width = `${Math.min(columns * 2, 13 * columns / Math.max(rows, columns))}rem`;
  return drawing;
}

const arrow = () => el("span", { class: "arrow", "aria-hidden": "true" }, "→");

// A dialog that edits one grid.
class Editor {
  constructor() {
    this.colour = 1;
    this.board = new Grid("Grid", { class: "board arc", press: (key, index) => this.press(key, index),
      touch: (index) => this.paint(index) });
    this.palette = el("div", { class: "palette", role: "group", "aria-label": "Colours" },
      COLOURS.map((name, colour) => el("button", { type: "button", class: `swatch c${colour}`, title: name,
        "aria-label": `${name}, ${colour}`, onclick: () => this.take(colour) }, String(colour))));
    const size = (name) => el("input", { name, type: "number", min: 1, max: MOST, required: true,
      onchange: () => this.resize() });
    this.rows = size("rows");
    this.columns = size("columns");
    this.element = el("dialog", { class: "editor", "aria-label": "Edit a grid" },
      this.palette, this.board.element,
      el("div", { class: "go" }, el("label", {}, "Rows ", this.rows), el("label", {}, "Columns ", this.columns),
        el("button", { type: "button", class: "primary", onclick: () => this.element.close("done") }, "Done"),
        el("button", { type: "button", class: "quiet", onclick: () => this.element.close() }, "Cancel")),
      el("p", { class: "keys" }, "Keys on the grid: arrows, digits, Space for the chosen colour, Escape to cancel."));
    this.take(1);
  }

  // Edits a copy; `done(grid)` gets it unless the dialog is cancelled.
  open(grid, done) {
    this.grid = grid.map((row) => [...row]);
    this.layOut();
    this.element.returnValue = "";
    this.element.onclose = () => this.element.returnValue && done(this.grid);
    this.element.showModal();
    this.board.select(0);
  }

  layOut() {
    this.rows.value = this.grid.length;
    this.columns.value = this.grid[0].length;
    this.board.resize(this.grid.length, this.grid[0].length, () => "cell colour");
    this.grid.flat().forEach((colour, i) => this.show(i, colour));
  }

  show(index, colour) {
    this.board.dress(index, String(colour), Object.fromEntries(COLOURS.map((_, i) => [`c${i}`, i === colour])),
      [COLOURS[colour]]);
  }

  resize() {
    const bounded = (input) => Math.max(1, Math.min(MOST, Math.trunc(input.valueAsNumber) || 1));
    const rows = bounded(this.rows), columns = bounded(this.columns);
    this.grid = Array.from({ length: rows }, (_, y) => Array.from({ length: columns }, (_, x) => this.grid[y]?.[x] ?? 0));
    this.layOut();
  }

  take(colour) {
    this.colour = colour;
    [...this.palette.children].forEach((swatch, i) => swatch.setAttribute("aria-pressed", String(i === colour)));
  }

  paint(index) {
    const columns = this.grid[0].length;
    this.grid[Math.floor(index / columns)][index % columns] = this.colour;
    this.show(index, this.colour);
  }

  press(key, index) {
    if (/^[0-9]$/.test(key)) {
      this.take(Number(key));
    } else if (key !== " ") {
      return false;
    }
    this.paint(index);
    return true;
  }
}

// Teaches the model a task that it does not know: how long, how far, and then `done()`.
class Teacher {
  constructor(task, done) {
    this.task = task;
    this.done = done;
    this.notice = new Notice();
    this.seconds = el("input", { type: "number", name: "seconds", min: 1, value: 120, required: true });
    this.go = el("button", { type: "button", class: "primary", onclick: () => (this.abort ? this.cancel() : this.run()) });
    this.bar = el("progress", { max: 1, value: 0, "aria-label": "Adaptation" });
    this.state = el("span", { role: "status" });
    this.track = el("div", { class: "track" }, this.bar, this.state);
    this.element = el("section", { class: "panel teacher", "aria-label": "Adaptation", hidden: true }, el("h2", {}, "Teach the model this task"),
      el("p", {}, "A copy of the model is trained on the demonstrations, while the server goes on solving. Whether that is enough, the answer will show."),
      el("div", { class: "go" }, this.go, el("label", {}, "Seconds ", this.seconds)), this.track, this.notice.element);
    this.setRunning(null);
  }

  // Shown where the server adapts models at all.
  async offer() {
    const most = await getTaskSeconds();
    this.seconds.max = most;
    this.seconds.value = Math.min(this.seconds.valueAsNumber || 120, most);
    this.element.hidden = !most;
  }

  // Another task: what runs goes on at the server, and is found again.
  leave() {
    this.abort?.abort();
    this.setRunning(null);
    this.notice.say("");
    this.element.hidden = true;
  }

  setRunning(abort) {
    this.abort = abort;
    this.id = null;
    this.track.hidden = !abort;
    this.go.textContent = abort ? "Cancel" : "Adapt";
    this.go.classList.toggle("cancel", Boolean(abort));
  }

  async cancel() {
    const id = this.id;
    this.abort.abort();
    this.setRunning(null);
    try {
      await (id && cancelTask(id));
    } catch (error) {
      this.notice.say(error.message);
    }
  }

  show({ state, ahead, budget_s, progress }) {
    this.bar.value = progress?.share ?? 0;
    this.state.textContent = state === "waiting" ? `waits for ${plural(ahead, "other task")}`
      : progress ? `${duration(progress.seconds * 1000)} of ${budget_s} s, ${plural(progress.updates, "update")}, ` +
        `${(progress.accuracy * 100).toFixed(0)} % of the cells and ${(progress.exact * 100).toFixed(0)} % of the demonstrations right`
        : "begins";
  }

  async run() {
    const abort = new AbortController();
    let last = {};
    this.notice.say("");
    this.setRunning(abort);
    this.show({ state: "running" });
    try {
      for await (last of adapt({ task: this.task(), options: { seconds: this.seconds.valueAsNumber } }, abort.signal)) {
        this.id = last.id;
        this.show(last);
      }
    } catch (error) {
      if (error.name !== "AbortError") {
        this.notice.say(error.message);
      }
    }
    if (this.abort !== abort) {
      return;
    }
    this.setRunning(null);
    if (last.state === "done") {
      this.done();
    } else if (last.state === "failed") {
      this.notice.say(`The adaptation failed: ${last.detail}.`);
    } else if (last.state === "cancelled") {
      this.notice.say("The adaptation was cancelled.");
    }
  }
}

class Arc {
  constructor() {
    this.teacher = new Teacher(() => this.request().task, () => this.predict());
    this.notice = new Notice();
    this.obstacle = new Notice("plain");
    this.editor = new Editor();
    this.file = el("input", { type: "file", accept: ".json,application/json", hidden: true,
      onchange: async () => this.file.files[0] && this.read(await this.file.files[0].text(), this.file.files[0].name) });
    this.text = el("textarea", { rows: 4, spellcheck: "false", "aria-label": "The task as JSON",
      placeholder: '{"train": [{"input": [[0, 1]], "output": [[1, 0]]}], "test": [{"input": [[2, 0]]}]}',
      onchange: () => this.read(this.text.value) });
    this.digits = el("input", { type: "checkbox", onchange: () => this.element.classList.toggle("digits", this.digits.checked) });
    this.go = el("button", { type: "button", class: "primary", onclick: () => this.toggle() }, "Predict");
    this.augment = el("input", { type: "number", name: "augment", min: 1, value: 8, required: true,
      onchange: () => this.describe() });
    this.verdict = el("div", { class: "verdict", role: "status" });
    this.pairs = el("section", { class: "panel", "aria-label": "Demonstrations" });
    this.tests = el("section", { class: "panel", "aria-label": "Test" });
    this.command = copyable("The same with curl");
    this.element = el("div", { class: "view arc-view", ondragover: (event) => event.preventDefault(),
      ondrop: (event) => this.drop(event), onpaste: (event) => this.paste(event) },
      el("div", { class: "chips", role: "group", "aria-label": "Examples" },
        Object.entries(TASKS).map(([name, task]) => el("button", { type: "button", class: "chip",
          onclick: () => this.set(name, structuredClone(task)) }, name)),
        el("button", { type: "button", class: "chip", onclick: () => this.file.click() }, "Open a file"), this.file,
        el("label", { class: "check" }, this.digits, "Show digits")),
      this.obstacle.element, this.notice.element, this.teacher.element,
      this.pairs, this.tests,
      el("div", { class: "go" }, this.go, el("label", {}, "Augmentations that vote", this.augment)), this.verdict,
      el("details", { class: "fold" }, el("summary", {}, "The task as JSON"), this.text),
      this.command.element, this.editor.element);
    this.set("Mirror", structuredClone(TASKS.Mirror));
  }

  offer(models) {
    this.obstacle.say(models.length
      ? models.map((model) => `Model ${model.name} was trained on ${plural(model.tasks, "task")}${model.rows < MOST
        ? `, of grids of at most ${model.rows} by ${model.rows},` : ""} and predicts for these alone.`)
        .join(" ")
      : "This server has no ARC model, so it cannot predict. You can look at tasks and edit them.");
    this.go.disabled = !models.length;
  }

  async drop(event) {
    event.preventDefault();
    const file = event.dataTransfer.files[0];
    this.read(file ? await file.text() : event.dataTransfer.getData("text"), file?.name);
  }

  paste(event) {
    if (!event.target.matches("input, textarea")) {
      this.read(event.clipboardData.getData("text"));
    }
  }

  read(text, file = "") {
    try {
      const [name, task] = readTask(text);
      this.set(name || file.replace(/\.json$/, ""), task);
    } catch (error) {
      this.notice.say(error.message);
    }
  }

  set(name, task) {
    this.cancel();
    this.teacher.leave();
    this.name = name;
    this.task = task;
    this.votes = [];
    this.notice.say("");
    this.verdict.replaceChildren();
    this.text.value = JSON.stringify(task);
    this.describe();
    this.draw();
  }

  describe() {
    this.command.set(curl("solve", this.request()));
  }

  // What is known of the answers stays here.
  request() {
    return { task: { ...this.task, test: this.task.test.map(({ input }) => ({ input })) },
      options: { augment: this.augment.valueAsNumber } };
  }

  // --- predicting -----------------------------------------------------------------------------------

  toggle() {
    if (this.abort) {
      this.cancel();
    } else {
      this.predict();
    }
  }

  cancel() {
    this.abort?.abort();
    this.setRunning(null);
  }

  setRunning(abort) {
    this.abort = abort;
    this.go.textContent = abort ? "Cancel" : "Predict";
    this.go.classList.toggle("cancel", Boolean(abort));
  }

  async predict() {
    this.set(this.name, this.task);
    const abort = new AbortController();
    this.setRunning(abort);
    try {
      for await (const [event, data] of solve(this.request(), abort.signal)) {
        if (event === "vote") {
          this.votes[data.test] = data;
        } else if (event === "answer") {
          this.votes = data.answers;
          this.conclude(data);
        }
        this.drawTests();
      }
    } catch (error) {
      if (error.name !== "AbortError") {
        this.notice.say(error.message);
      }
      if (error.type === "urn:trm-server:unknown-task") {
        await this.teacher.offer();
      }
    } finally {
      if (this.abort === abort) {
        this.setRunning(null);
      }
    }
  }

  conclude(answer) {
    const known = answer.known_by === "content" ? "It was recognised by its demonstrations" : "It was found by its name";
    const adapted = /^[0-9a-f]{32}$/.test(answer.task_id);
    this.verdict.replaceChildren(el("div", { class: "headline plain" },
      el("strong", {}, answer.expired ? "The time was up" : "Predicted"),
      el("p", {}, `${known}: ${adapted ? "the model was adapted to it" : `task ${answer.task_id} of the training data`}. ${plural(answer.steps, "step")} of all augmentations in ` +
        `${duration(answer.timing_ms.total)}.`)));
  }

  // A grid with its name, which a click opens in the editor.
  figure(pair, side, label) {
    return el("figure", { class: "arc-figure" },
      el("button", { type: "button", class: "open", "aria-label": `Edit ${label}`, title: `Edit ${label}`,
        onclick: () => this.editor.open(pair[side], (grid) => {
          pair[side] = grid;
          this.set(this.name, this.task);
          this.element.querySelector(`[aria-label="Edit ${label}"]`).focus(); // the one that was clicked has been replaced
        }) }, picture(pair[side], label)),
      el("figcaption", {}, side === "input" ? "input" : "output"));
  }

  draw() {
    this.pairs.replaceChildren(el("h2", {}, this.name ? `Demonstrations of ${this.name}` : "Demonstrations"),
      el("div", { class: "pairs" }, this.task.train.map((pair, i) => el("div", { class: "arc-pair" },
        this.figure(pair, "input", `input ${i + 1}`), arrow(), this.figure(pair, "output", `output ${i + 1}`)))));
    this.drawTests();
  }

  drawTests() {
    this.tests.replaceChildren(el("h2", {}, "Test"), el("div", { class: "pairs" },
      this.task.test.map((pair, i) => el("div", { class: "arc-pair" }, this.figure(pair, "input", `test input ${i + 1}`), arrow(),
        this.choices(this.votes[i], pair.output, i),
        pair.output ? el("figure", { class: "arc-figure" }, picture(pair.output, `true answer ${i + 1}`),
          el("figcaption", {}, "true answer, not sent")) : null,
        this.ballot(this.votes[i])))));
  }

  // The two most voted predictions of a test; `truth` may be unknown.
  choices(vote, truth, test) {
    if (!vote) {
      return truth ? [] : el("span", { class: "arrow" }, "?");
    }
    return vote.votes.slice(0, 2).map(({ answer, votes, q }, i) => {
      const right = truth && JSON.stringify(truth) === JSON.stringify(answer);
      return el("figure", { class: "arc-figure" },
        answer.length ? picture(answer, `prediction ${i + 1} of test ${test + 1}`) : el("p", { class: "no-grid" }, "no grid"),
        el("figcaption", {}, `${plural(votes, "vote")}, q ${(q * 100).toFixed(0)} % `,
          truth ? el("span", { class: right ? "right" : "wrong" }, right ? "✓ right" : "✗ wrong") : null));
    });
  }

  ballot(vote) {
    return vote ? el("div", { class: "ballot" },
      el("span", {}, `${vote.voted} of ${vote.augment} voted for ${plural(vote.choices, "answer")}`),
      el("progress", { value: vote.voted, max: vote.augment, "aria-label": "Votes" }),
      vote.decided ? el("span", {}, "Decided: the first cannot be overtaken.") : null) : null;
  }
}

export const create = () => new Arc();
