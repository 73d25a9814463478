// app.js - the page around the views: which one is shown, light or dark, the API key.

import { getModels, useKey } from "./api.js";
import { Notice, el } from "./dom.js";

const VIEWS = ["sudoku", "maze", "arc", "status"];

const main = document.getElementById("main");
const keyForm = document.getElementById("key");
const notice = new Notice();
const views = {}; // those that were shown, by name
let models = null;
let shown = null;

async function fetchModels() {
  try {
    models = await getModels();
    notice.say("");
  } catch (error) {
    notice.say(error.message);
  }
}

// A view has element, and may have offer(models of its kind), enter() and leave().
async function open(name) {
  if (!views[name]) {
    views[name] = (await import(`./${name}.js`)).create(models);
    views[name].offer?.((models ?? []).filter((model) => model.puzzle === name));
  }
  return views[name];
}

async function show() {
  const wanted = location.hash.slice(1);
  const name = VIEWS.includes(wanted) ? wanted : VIEWS[0];
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${name}`) {
      link.setAttribute("aria-current", "page");
    } else {
      link.removeAttribute("aria-current");
    }
  }
  if (!models) {
    await fetchModels();
  }
  if (models) {
    const view = await open(name);
    shown?.leave?.();
    shown = view;
    main.replaceChildren(notice.element, view.element);
    view.enter?.();
  } else {
    main.replaceChildren(notice.element);
  }
}

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function paint(theme) {
  if (theme) {
    document.documentElement.dataset.theme = theme;
    localStorage.setItem("theme", theme);
  }
  document.getElementById("theme").textContent = isDark() ? "Light" : "Dark";
}

document.getElementById("theme").addEventListener("click", () => paint(isDark() ? "light" : "dark"));
document.addEventListener("key-wanted", () => (keyForm.hidden = false));
keyForm.addEventListener("submit", (event) => {
  event.preventDefault();
  useKey(keyForm.elements.key.value);
  keyForm.hidden = true;
  show();
});
addEventListener("hashchange", show);
paint(localStorage.getItem("theme"));
show();
