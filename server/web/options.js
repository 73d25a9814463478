// options.js - the options of a request, as a form.

import { el } from "./dom.js";

function number(name, label, hint, attributes) {
  return el("label", {}, el("span", {}, label),
    el("input", { name, type: "number", inputmode: "numeric", required: true, ...attributes }), el("small", {}, hint));
}

// A folded form whose read() gives {model, options} of a request, of what differs from the defaults only.
export class Options {
  constructor(onchange) {
    this.model = el("select", { name: "model", onchange: () => this.choose() });
    this.modelLabel = el("label", { hidden: true }, el("span", {}, "Model"), this.model);
    this.stop = el("select", { name: "stop" },
      el("option", { value: "verify" }, "verified"),
      el("option", { value: "head" }, "confident"),
      el("option", { value: "never" }, "steps are done"));
    this.form = el("form", { class: "options", onchange, onsubmit: (event) => event.preventDefault() },
      this.modelLabel,
      el("label", {}, el("span", {}, "Stop when"), this.stop),
      number("max_steps", "Steps at most", "each gives an answer", { min: 1, max: 1000000, value: 16 }),
      number("rollouts", "Tries", "all but the first with noise", { min: 1, value: 1 }),
      number("augment", "Images", "symmetries to try, itself first", { min: 1, value: 1 }),
      number("restart_steps", "Restart after", "steps, with other noise",
        { min: 1, required: false, placeholder: "never" }),
      this.guesses = number("guesses", "Guesses", "cells taken for clues at a restart", { min: 0, max: 64, value: 0 }),
      number("noise", "Noise", "its standard deviation", { min: 0.01, max: 100, step: "any", value: 0.3 }),
      number("seed", "Seed", "of noise and images", { min: 0, max: 9007199254740991, value: 0 }));
    this.element = el("details", { class: "fold" }, el("summary", {}, "Options"), this.form);
  }

  // Those of `models` that this view can show; the first is chosen.
  offer(models) {
    this.models = models;
    this.model.replaceChildren(...models.map((model) => el("option", { value: model.name }, model.name)));
    this.modelLabel.hidden = models.length < 2;
    this.choose();
  }

  get chosen() {
    return this.models?.find((model) => model.name === this.model.value);
  }

  // Takes over what depends on the model.
  choose() {
    const model = this.chosen;
    if (model) {
      this.form.max_steps.value = model.max_steps;
      this.stop.options[0].disabled = !model.verifier;
      this.stop.value = model.verifier ? "verify" : "head";
      this.guesses.hidden = model.puzzle !== "sudoku";
    }
  }

  // NaN for a field that was left empty is sent as null, and refused by the server with a sentence.
  read() {
    const value = (name) => this.form[name].valueAsNumber;
    const options = { max_steps: value("max_steps") };
    if (this.stop.value === "never") {
      options.no_halt = true;
    }
    if (this.chosen?.verifier && this.stop.value !== "verify") {
      options.verify = false;
    }
    const several = ["rollouts", "augment"].filter((name) => value(name) !== 1);
    for (const name of several) {
      Object.assign(options, { [name]: value(name), every_rollout: true });
    }
    if (this.form.restart_steps.value) {
      options.restart_steps = value("restart_steps");
    }
    if (!this.guesses.hidden && value("guesses") !== 0) {
      options.guesses = value("guesses");
    }
    if (several.length || options.restart_steps) {
      Object.assign(options, { noise: value("noise"), seed: value("seed") });
    }
    return { ...(this.models?.length > 1 ? { model: this.model.value } : {}), options };
  }
}
