// lanes.js - several tries of a puzzle side by side, a small picture and a few words each.

import { el, put, svg } from "./dom.js";

const MARKS = ["blank", "filled", "clue", "broken"];

// One try: a button that stays, with a path for the cells of each mark.
class Lane {
  constructor(name, view, pick) {
    this.name = name;
    this.view = view;
    this.paths = MARKS.map((mark) => svg("path", { class: mark }));
    this.title = el("span");
    this.step = el("small");
    this.q = el("small");
    this.drawing = svg("svg", { class: "thumbnail", "aria-hidden": "true" }, this.paths);
    this.element = el("button", { type: "button", class: "lane", onclick: pick }, this.drawing, this.title, this.step, this.q);
  }

  draw(frame, isBest, isChosen) {
    this.element.disabled = !frame;
    this.element.setAttribute("aria-pressed", String(isChosen));
    put(this.title, isBest ? `${this.name} ★` : this.name);
    if (this.frame !== frame) {
      this.frame = frame;
      this.sketch(frame);
    }
  }

  sketch(frame) {
    put(this.step, frame?.step ? `step ${frame.step}` : frame ? "puzzle" : "waits");
    put(this.q, frame?.step ? `q ${frame.q_halt?.toFixed(1) ?? "?"}` : "");
    const side = this.view.side;
    const gap = side < 10 ? 0.06 : 0, width = 1 - 2 * gap;
    const outlines = Object.fromEntries(MARKS.map((mark) => [mark, ""]));
    for (let i = 0; frame && i < side * side; i++) {
      const mark = this.view.mark(frame, i), x = i % side, y = Math.floor(i / side);
      outlines[mark] += mark === "broken" ? `M${x + 0.5} ${y}l.5 .5l-.5 .5l-.5-.5z` // a diamond, known without its colour
        : `M${x + gap} ${y + gap}h${width}v${width}h${-width}z`;
    }
    this.drawing.setAttribute("viewBox", `0 0 ${side} ${side}`);
    this.paths.forEach((path, i) => path.setAttribute("d", outlines[MARKS[i]]));
  }
}

export class Lanes {
  // `view` has side and mark(frame, cell) -> one of MARKS; `pick(index)` is called for a try that is chosen.
  constructor(view, pick) {
    this.view = view;
    this.pick = pick;
    this.lanes = [];
    this.element = el("div", { class: "lanes", role: "group", "aria-label": "Tries" });
  }

  // `lanes` are the frames of each try, undefined for one that waits; nothing is shown of one try alone.
  draw(lanes, shown, chosen, best) {
    const count = lanes.length < 2 ? 0 : lanes.length;
    for (let i = this.lanes.length; i < count; i++) {
      this.lanes.push(new Lane(`try ${i + 1}`, this.view, () => this.pick(i)));
      this.element.append(this.lanes[i].element);
    }
    this.lanes.splice(count).forEach((lane) => lane.element.remove());
    this.element.classList.toggle("many", count > 12);
    this.lanes.forEach((lane, i) =>
      lane.draw(lanes[i]?.[Math.min(shown, lanes[i].length - 1)], i === best, i === chosen));
  }
}
