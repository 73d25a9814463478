// strips.js - small bar charts, one below the other over the same steps, with the shown step marked.

import { el, svg } from "./dom.js";

// A row of bars. `series` is {key, label, hint, format}; bars of values below zero hang.
function strip(series, frames, shown) {
  const values = frames.map((frame) => frame[series.key]);
  const known = values.filter(Number.isFinite);
  const high = Math.max(0, ...known), low = Math.min(0, ...known);
  const span = high - low || 1;
  const bars = frames.map((_, i) => {
    const value = Number.isFinite(values[i]) ? values[i] : 0;
    const top = (high - Math.max(value, 0)) / span;
    return svg("rect", { x: i + 0.12, width: 0.76, y: top, height: Math.abs(value) / span,
      class: `${value < 0 ? "below" : "above"}${i === shown ? " shown" : ""}` });
  });
  const columns = Math.max(frames.length, 12);
  const drawing = svg("svg", { viewBox: `0 0 ${columns} 1`, preserveAspectRatio: "none", "aria-hidden": "true" },
    shown >= 0 ? svg("rect", { class: "cursor", x: shown, width: 1, y: 0, height: 1 }) : null,
    bars,
    svg("line", { x1: 0, x2: columns, y1: high / span, y2: high / span }));
  const value = shown >= 0 && Number.isFinite(values[shown]) ? series.format(values[shown]) : "";
  return el("div", { class: "strip" }, el("span", { class: "strip-name", title: series.hint }, series.label),
    drawing, el("span", { class: "strip-value" }, value));
}

export class Strips {
  // `pick(index)` is called for a bar that is clicked.
  constructor(series, pick) {
    this.series = series;
    this.element = el("div", { class: "strips", onclick: (event) => {
      const drawing = event.target.closest("svg");
      if (drawing && this.count) {
        const box = drawing.getBoundingClientRect();
        const columns = Math.max(this.count, 12);
        pick(Math.min(Math.floor((event.clientX - box.left) / box.width * columns), this.count - 1));
      }
    } });
  }

  // `frames` are the steps; `shown` is the index of one, or -1.
  draw(frames, shown) {
    this.count = frames.length;
    this.element.replaceChildren(...this.series.map((series) => strip(series, frames, shown)));
  }
}
