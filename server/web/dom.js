// dom.js - making elements, and other errands to the browser.

const SVG = "http://www.w3.org/2000/svg";

function furnish(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) {
      node.addEventListener(name.slice(2), value);
    } else if (value === true) {
      node.setAttribute(name, "");
    } else if (value !== false && value !== null && value !== undefined) {
      node.setAttribute(name, value);
    }
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

// el("button", {class: "primary", onclick: run}, "Solve")
export function el(tag, attributes = {}, ...children) {
  return furnish(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return furnish(document.createElementNS(SVG, tag), attributes, children);
}

const ICONS = {
  play: "M6 4l9 6-9 6z",
  pause: "M5 4h3.5v12H5zM11.5 4H15v12h-3.5z",
  back: "M13 4.5L7 10l6 5.5",
  forward: "M7 4.5L13 10l-6 5.5",
  first: "M4 4h2.5v12H4zM16 4l-9 6 9 6z",
  last: "M13.5 4H16v12h-2.5zM4 4l9 6-9 6z",
};

export function icon(name) {
  return svg("svg", { viewBox: "0 0 20 20", class: `icon ${name}`, "aria-hidden": "true" }, svg("path", { d: ICONS[name] }));
}

// What the browser keeps for this page in `area`, "localStorage" or "sessionStorage"; nothing where that is forbidden.
export function recall(area, name) {
  try {
    return window[area].getItem(name);
  } catch {
    return null;
  }
}

export function remember(area, name, value) {
  try {
    window[area].setItem(name, value);
  } catch {
    // forgotten when the page is closed
  }
}

// "1 cell", "2 cells"
export function plural(count, noun) {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

// A time in milliseconds with up to three digits, in the unit that suits it.
export function duration(ms) {
  const short = (value) => value.toFixed(value >= 100 ? 0 : value >= 10 ? 1 : 2);
  return ms >= 1000 ? `${short(ms / 1000)} s` : `${short(ms)} ms`;
}

// Changes the text of an element, and nothing where it is the same: to set it would cost a layout.
export function put(node, text) {
  if (node.textContent !== text) {
    node.textContent = text;
  }
}

// A line below the thing that it is about; empty when all is well. Read aloud when it appears.
export class Notice {
  constructor(kind = "") {
    this.isNews = !kind;
    this.element = el("p", { class: `notice ${kind}`, role: "alert", hidden: true });
  }

  say(sentence) {
    const isNew = sentence && sentence !== this.element.textContent;
    this.element.textContent = sentence;
    this.element.hidden = !sentence;
    if (isNew && this.isNews) {
      this.element.scrollIntoView({ block: "nearest" }); // the button that was pressed may be far from here
    }
  }
}

// What the marks of a board mean: [class, sample, meaning] each.
export function legend(keys) {
  return el("p", { class: "legend" }, keys.map(([name, sample, meaning]) =>
    el("span", {}, el("span", { class: `key ${name}` }, sample), meaning)));
}

// A block of text with a button that copies it.
export function copyable(label) {
  const code = el("code");
  const button = el("button", { type: "button", class: "quiet" }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code); // without a secure context: selected, to be copied by hand
      button.textContent = "Selected";
    }
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
  const element = el("figure", { class: "code" }, el("figcaption", {}, label, button),
    el("pre", { tabindex: 0, "aria-label": label }, code));
  return { element, set: (text) => (code.textContent = text) };
}
