// sudoku.js - the Sudoku view: a board to type into, and what the model makes of it.

import { Trouble } from "./api.js";
import { Notice, el, legend, plural } from "./dom.js";
import { Grid } from "./grid.js";
import { Options } from "./options.js";
import { Run } from "./run.js";

const BOXES = { 4: [2, 2], 6: [2, 3], 9: [3, 3] }; // rows and columns of a box

// From easy to hardest: the first three need 0, 0 and 1 guesses of a solver that knows naked and hidden singles, then 12;
// the last is Arto Inkala's of 2012.
const EXAMPLES = {
  4: [["Example", "1.....4.3.....2."]],
  6: [["Example", "..4..3....41...6....5....1.3..3...5."]],
  9: [
    ["Easy", "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"],
    ["Medium", "2......37..9.........6.1.4...6..27.5..7.......45..9.......7.251...8....3...9.6..."],
    ["Hard", "692.....1.8.....9.1...3..4..3.6..7....6.2..3....7.......85....4.7...29......14..."],
    ["Very hard", ".....1.....98...2.3....7..9.......45.....287.6.4.8.....437.....95.36..........95."],
    ["Hardest", "8..........36......7..9.2...5...7.......457.....1...3...1....68..85...1..9....4.."],
  ],
};

const WORDS = { clue: "clue", changed: "changed", broken: "breaks a rule" };

const UNITS = {}; // by side: the rows, columns and boxes, as lists of cells

function unitsOf(side) {
  const [rows, columns] = BOXES[side];
  const units = Array.from({ length: 3 * side }, () => []);
  for (let i = 0; i < side * side; i++) {
    const row = Math.floor(i / side), column = i % side;
    const box = Math.floor(row / rows) * (side / columns) + Math.floor(column / columns);
    units[row].push(i);
    units[side + column].push(i);
    units[2 * side + box].push(i);
  }
  return units;
}

// The cells, row by row, whose digit stands twice in a row, column or box.
export function conflicts(cells, side) {
  const found = new Set();
  for (const unit of (UNITS[side] ??= unitsOf(side))) {
    const seen = []; // by digit, a cell that has it
    for (const i of unit) {
      if (cells[i] && seen[cells[i]] !== undefined) {
        found.add(i).add(seen[cells[i]]);
      }
      seen[cells[i]] = i;
    }
  }
  return found;
}

// Reads a pasted Sudoku: digits, 0 or . for blanks; lines and borders between them do not count.
export function parse(text, side) {
  const symbols = text.replace(/[\s|+\-,]/g, "");
  const strange = new RegExp(`[^.0-${side}]`).exec(symbols);
  if (strange) {
    throw new Trouble(`“${strange[0]}” is not a cell: use 1 to ${side}, and . or 0 for a blank.`);
  }
  if (symbols.length !== side * side) {
    throw new Trouble(`A Sudoku has ${side * side} cells; this text has ${symbols.length}.`);
  }
  return [...symbols].map((c) => (c === "." ? 0 : Number(c)));
}

class Sudoku {
  hint = "Press Solve. The model improves its whole answer again and again; here you can watch each step, go back and "
    + "forth, and see when it believes that it is done.";

  constructor() {
    this.options = new Options(() => this.configure());
    this.pasted = el("textarea", { class: "paste", rows: 2, spellcheck: "false", autocapitalize: "off",
      onfocus: () => this.pasted.select(),
      onchange: () => this.read(this.pasted.value),
      onkeydown: (event) => event.key === "Enter" && this.pasted.blur(),
      oninput: (event) => event.inputType === "insertFromPaste" && this.read(this.pasted.value) });
    this.notice = new Notice();
    this.examples = el("div", { class: "chips", role: "group", "aria-label": "Examples" });
    this.board = new Grid("Sudoku", { class: "board sudoku", "aria-describedby": "sudoku-keys", press: (key) => this.press(key),
      onpaste: (event) => this.read(event.clipboardData.getData("text")) });
    this.pad = el("div", { class: "pad", role: "group", "aria-label": "Digits" });
    this.run = new Run(this, [el("button", { type: "button", class: "quiet", onclick: () => this.clear() }, "Clear")]);
    this.element = el("div", { class: "view split" },
      el("section", { class: "stage", "aria-label": "Puzzle" },
        this.examples, this.board.element,
        legend([["clue", "5", "clue"], ["", "5", "model"], ["changed", "5", "changed"], ["broken", "5", "breaks a rule"]]),
        this.pad, this.notice.element,
        el("p", { class: "keys", id: "sudoku-keys" }, "Keys on the board: arrows, digits, Space for a blank, Enter to solve.")),
      el("section", { class: "side", "aria-label": "Thinking" }, this.run.element, this.options.element,
        el("label", { class: "field" }, "The puzzle as text: paste one here, or on the board", this.pasted),
        this.run.command.element));
  }

  // The models of this server that solve Sudokus.
  offer(models) {
    this.options.offer(models);
    this.configure();
  }

  configure() {
    const side = this.options.chosen?.rows ?? 9;
    if (side !== this.side) {
      this.options.choose();
      this.resize(side);
    }
    this.run.use(this.options.chosen, "This server has no Sudoku model. Start it with one: --model FILE.");
  }

  resize(side) {
    this.side = side;
    const [boxRows, boxColumns] = BOXES[side];
    this.board.resize(side, side, (row, column) =>
      `cell${row % boxRows === 0 ? " top" : ""}${column % boxColumns === 0 ? " left" : ""}`);
    this.examples.replaceChildren(...EXAMPLES[side].map(([name, text]) =>
      el("button", { type: "button", class: "chip", onclick: () => this.read(text) }, name)));
    this.pad.replaceChildren(...Array.from({ length: side + 1 }, (_, i) => (i + 1) % (side + 1)).map((digit) =>
      el("button", { type: "button", "aria-label": digit ? String(digit) : "Blank", onclick: () => this.put(digit) },
        digit ? String(digit) : "⌫")));
    this.read(EXAMPLES[side][0][1]);
  }

  // --- the puzzle -----------------------------------------------------------------------------------

  read(text) {
    try {
      this.set(parse(text, this.side));
    } catch (error) {
      this.notice.say(error.message);
    }
  }

  set(puzzle) {
    this.puzzle = puzzle;
    this.notice.say("");
    this.pasted.value = puzzle.map((digit) => digit || ".").join("");
    this.run.reset();
    this.draw(null);
  }

  clear() {
    this.set(this.puzzle.map(() => 0));
    this.board.select(0);
  }

  put(digit) {
    this.set(this.puzzle.with(this.board.cursor, digit));
  }

  press(key) {
    if (/^[0-9]$/.test(key) && Number(key) <= this.side) {
      this.put(Number(key));
    } else if (["Backspace", "Delete", " ", "."].includes(key)) {
      this.put(0);
    } else if (key === "Enter") {
      this.run.toggle();
    } else {
      return false;
    }
    return true;
  }

  // --- what a run wants to know ---------------------------------------------------------------------

  request() {
    return { ...this.options.read(), grid: this.puzzle.map((digit) => digit || ".").join("") };
  }

  // Cells that break a rule or differ from a clue.
  faults(cells) {
    const found = conflicts(cells, this.side);
    this.puzzle.forEach((clue, i) => {
      if (clue && clue !== cells[i]) {
        found.add(i);
      }
    });
    return found;
  }

  about(cells) {
    const count = this.faults(cells).size;
    return count ? `${plural(count, "cell")} of its best answer ${count === 1 ? "breaks" : "break"} a rule.` : "";
  }

  draw(frame) {
    const cells = frame?.cells ?? this.puzzle;
    const faults = frame ? this.run.faultsOf(frame) : this.faults(cells);
    const changed = new Set(frame?.changed);
    this.board.turn(frame);
    cells.forEach((digit, i) => {
      const marks = { clue: this.puzzle[i] > 0, changed: changed.has(i), broken: faults.has(i) };
      this.board.dress(i, digit || "", marks, [digit || "blank", ...Object.keys(WORDS).filter((name) => marks[name])
        .map((name) => WORDS[name])]);
    });
  }

  // In a small picture: dark for clues, marked for faults.
  mark(frame, i) {
    return this.run.faultsOf(frame).has(i) ? "broken" : this.puzzle[i] ? "clue" : frame.cells[i] ? "filled" : "blank";
  }
}

export const create = () => new Sudoku();
