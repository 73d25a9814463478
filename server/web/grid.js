// grid.js - a board of cells: one of them has the focus, arrows move it, a pointer touches cells.

import { el } from "./dom.js";

export class Grid {
  // `press(key, index)` returns whether it knew the key; `touch(index, began)` is called for the cell that a
  // pointer comes down on (began is true) and for those that it is drawn over.
  constructor(label, { press, touch, ...attributes }) {
    this.press = press;
    this.touch = touch;
    this.cursor = 0;
    this.cells = [];
    this.element = el("div", { role: "grid", "aria-label": label, ...attributes,
      onkeydown: (event) => this.onKey(event), onpointerdown: (event) => this.onPointer(event, true),
      onpointermove: (event) => event.buttons && this.onPointer(event, false) });
  }

  // `styleOf(row, column)` is the class of a cell.
  resize(rows, columns, styleOf) {
    this.rows = rows;
    this.columns = columns;
    this.cells = [];
    this.styles = []; // the classes that a cell always has
    this.worn = []; // what each cell shows
    this.element.style.setProperty("--rows", rows);
    this.element.style.setProperty("--columns", columns);
    this.element.replaceChildren(...Array.from({ length: rows }, (_, row) => el("div", { role: "row" },
      Array.from({ length: columns }, (_, column) => {
        const cell = el("div", { role: "gridcell", class: styleOf(row, column), tabindex: -1 });
        this.cells.push(cell);
        this.styles.push(cell.className);
        return cell;
      }))));
    this.last = null;
    this.cursor = 0;
    this.cells[0].tabIndex = 0;
  }

  select(index) {
    this.cells[this.cursor].tabIndex = -1;
    this.cursor = index;
    this.cells[index].tabIndex = 0;
    this.cells[index].focus({ preventScroll: true });
  }

  // Before the cells of another frame are dressed: the flash of those that are changed begins anew, also where they
  // were changed before. Two animations that differ by name alone take turns.
  turn(frame) {
    if (frame !== this.frame) {
      this.frame = frame;
      this.element.classList.toggle("odd");
    }
  }

  // What a cell shows: text, the classes of `marks` that are true, and its name for those who listen.
  dress(index, text, marks, words) {
    const on = Object.keys(marks).filter((name) => marks[name]).join(" ");
    const worn = `${text};${on};${words}`;
    if (worn === this.worn[index]) {
      return;
    }
    this.worn[index] = worn;
    const cell = this.cells[index];
    cell.className = `${this.styles[index]} ${on}`;
    cell.textContent = text;
    cell.setAttribute("aria-label",
      [`row ${Math.floor(index / this.columns) + 1}, column ${index % this.columns + 1}`, ...words].join(", "));
  }

  onPointer(event, began) {
    const target = began ? event.target : document.elementFromPoint(event.clientX, event.clientY);
    const index = this.cells.indexOf(target);
    if (index < 0 || (!began && index === this.last)) {
      return;
    }
    if (began) {
      event.preventDefault();
      event.target.releasePointerCapture(event.pointerId); // a finger that moves on touches other cells
      this.select(index);
    }
    this.last = index;
    this.touch?.(index, began);
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) {
      return;
    }
    const row = Math.floor(this.cursor / this.columns), column = this.cursor % this.columns;
    const ways = { ArrowUp: [row - 1, column], ArrowDown: [row + 1, column], ArrowLeft: [row, column - 1],
      ArrowRight: [row, column + 1], Home: [row, 0], End: [row, this.columns - 1] };
    if (ways[event.key]) {
      const [r, c] = ways[event.key];
      this.select((r + this.rows) % this.rows * this.columns + (c + this.columns) % this.columns);
    } else if (!this.press(event.key, this.cursor)) {
      return;
    }
    event.preventDefault();
  }
}
