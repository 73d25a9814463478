// strips.js - small bar charts, one below the other over the same steps, with the shown step marked.
//
// Each is a handful of paths that stay: with hundreds of steps a drawing changes a few attributes, not elements.

import { el, put, svg } from "./dom.js";

const FEWEST = 12, GAP = 0.12; // columns of a chart at least; between two bars

// A row of bars. `series` is {key, label, hint, format}; bars of values below zero hang.
class Strip {
  constructor(series) {
    this.series = series;
    this.cursor = svg("rect", { class: "cursor", width: 1, height: 1 });
    this.above = svg("path", { class: "above" });
    this.below = svg("path", { class: "below" });
    this.shown = svg("path", { class: "shown" });
    this.axis = svg("line", { x1: 0 });
    this.drawing = svg("svg", { preserveAspectRatio: "none", "aria-hidden": "true" },
      this.cursor, this.above, this.below, this.shown, this.axis);
    this.value = el("span", { class: "strip-value" });
    this.element = el("div", { class: "strip" }, el("span", { class: "strip-name", title: series.hint }, series.label),
      this.drawing, this.value);
  }

  draw(frames, shown, columns) {
    const values = frames.map((frame) => (Number.isFinite(frame[this.series.key]) ? frame[this.series.key] : 0));
    let high = 0, low = 0;
    for (const value of values) {
      high = Math.max(high, value);
      low = Math.min(low, value);
    }
    const span = high - low || 1;
    const bar = (i) => `M${i + GAP} ${high / span}v${-values[i] / span}h${1 - 2 * GAP}v${values[i] / span}z`;
    const bars = (wanted) => values.map((value, i) => (i !== shown && wanted(value) ? bar(i) : "")).join("");
    this.drawing.setAttribute("viewBox", `0 0 ${columns} 1`);
    this.above.setAttribute("d", bars((value) => value > 0));
    this.below.setAttribute("d", bars((value) => value < 0));
    this.shown.setAttribute("d", values[shown] ? bar(shown) : "");
    this.shown.classList.toggle("below", values[shown] < 0);
    this.cursor.setAttribute("x", shown);
    this.axis.setAttribute("x2", columns);
    this.axis.setAttribute("y1", high / span);
    this.axis.setAttribute("y2", high / span);
    put(this.value, Number.isFinite(frames[shown]?.[this.series.key]) ? this.series.format(values[shown]) : "");
  }
}

export class Strips {
  // `pick(index)` is called for a bar that is clicked.
  constructor(series, pick) {
    this.strips = series.map((one) => new Strip(one));
    this.element = el("div", { class: "strips", onclick: (event) => {
      const drawing = event.target.closest("svg");
      if (drawing && this.count) {
        const box = drawing.getBoundingClientRect();
        pick(Math.min(Math.floor((event.clientX - box.left) / box.width * this.columns), this.count - 1));
      }
    } }, this.strips.map((strip) => strip.element));
  }

  // `frames` are the steps; `shown` is the index of one, or -1.
  draw(frames, shown) {
    this.count = frames.length;
    this.columns = Math.max(frames.length, FEWEST);
    for (const strip of this.strips) {
      strip.draw(frames, shown, this.columns);
    }
  }
}
