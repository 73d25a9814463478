// app.js - the page around the views: which one is shown, light or dark, the API key.

import { getModels, useKey } from "./api.js";
import { Notice, el, recall, remember } from "./dom.js";

const TITLES = { sudoku: "Sudoku", maze: "Maze", arc: "ARC", status: "Status" }; // of the views
const VIEWS = Object.keys(TITLES);

const main = document.getElementById("main");
const keyForm = document.getElementById("key");
const notice = new Notice();
const again = el("button", { type: "button", onclick: () => show() }, "Try again");
const views = {}; // those that were shown, by name
let models = null;
let shown = null;
let turns = 0; // how often a view was asked for

// A view has element, and may have offer(models of its kind), enter() and leave().
async function open(name) {
  models ??= await getModels();
  if (!views[name]) {
    const { create } = await import(`./${name}.js`).catch(() => {
      throw new Error("This part of the page cannot be loaded: the server cannot be reached.");
    });
    views[name] = create();
    views[name].offer?.(models.filter((model) => model.puzzle === name));
  }
  return views[name];
}

async function show() {
  const turn = ++turns;
  const wanted = location.hash.slice(1);
  const name = VIEWS.includes(wanted) ? wanted : VIEWS[0];
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${name}`) {
      link.setAttribute("aria-current", "page");
    } else {
      link.removeAttribute("aria-current");
    }
  }
  let view = null, trouble = null;
  try {
    view = await open(name);
  } catch (error) {
    trouble = error;
  }
  if (turn !== turns) {
    return; // another view was asked for meanwhile
  }
  shown?.leave?.();
  shown = view;
  document.title = `${view ? `${TITLES[name]} - ` : ""}TRM Server playground`;
  main.replaceChildren(...(view ? [view.element] : [notice.element, trouble.status === 401 ? "" : again]));
  notice.say(trouble ? trouble.message : "");
  view?.enter?.();
}

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function paint(theme) {
  if (theme) {
    document.documentElement.dataset.theme = theme;
    remember("localStorage", "theme", theme);
  }
  document.getElementById("theme").textContent = isDark() ? "Light theme" : "Dark theme";
}

document.getElementById("theme").addEventListener("click", () => paint(isDark() ? "light" : "dark"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => paint(null));
document.addEventListener("key-wanted", () => {
  keyForm.hidden = false;
  keyForm.elements.key.focus();
});
keyForm.addEventListener("submit", (event) => {
  event.preventDefault();
  useKey(keyForm.elements.key.value);
  keyForm.hidden = true;
  show();
});
addEventListener("hashchange", show);
paint(recall("localStorage", "theme"));
show();
