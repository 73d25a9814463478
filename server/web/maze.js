// maze.js - the maze view: draw walls, start and goal; the path appears and improves step by step.

import { Trouble } from "./api.js";
import { Notice, el, legend, plural } from "./dom.js";
import { Grid } from "./grid.js";
import { Options } from "./options.js";
import { Run } from "./run.js";

const SYMBOLS = "# SGo"; // of the wire: integer i + 1 is the i-th
const TOOLS = [["#", "Wall"], [" ", "Floor"], ["S", "Start"], ["G", "Goal"]];
const NAMES = { "#": "wall", " ": "floor", S: "start", G: "goal" };

function* neighbours(index, side) {
  const row = Math.floor(index / side), column = index % side;
  if (row > 0) yield index - side;
  if (row < side - 1) yield index + side;
  if (column > 0) yield index - 1;
  if (column < side - 1) yield index + 1;
}

// Steps from cell `from` to each cell that can be reached over cells where open(i) holds.
function distances(from, side, open) {
  const found = new Map([[from, 0]]);
  for (const [cell, steps] of found) { // a Map is walked in the order of insertion, also of what is added meanwhile
    for (const next of neighbours(cell, side)) {
      if (!found.has(next) && open(next)) {
        found.set(next, steps + 1);
      }
    }
  }
  return found;
}

const pick = (list) => list[Math.floor(Math.random() * list.length)];

// Cells of shortest paths from start to goal that not all of these need.
function spareCells(cells, start, goal, side) {
  const open = (i) => cells[i] !== "#";
  const there = distances(start, side, open), back = distances(goal, side, open);
  const layers = new Map();
  for (const [cell, steps] of there) {
    if (steps + back.get(cell) === there.get(goal)) {
      layers.set(steps, [...(layers.get(steps) ?? []), cell]);
    }
  }
  return [...layers.values()].filter((layer) => layer.length > 1).flat();
}

// A maze as models are trained on: random walls, ends that are far from each other, one shortest path alone.
export function randomMaze(side) {
  let best = { moves: 0 };
  for (let i = 0; i < 200 || !best.moves; i++) {
    const share = 0.3 + 0.2 * Math.random();
    const cells = Array.from({ length: side * side }, () => (Math.random() < share ? "#" : " "));
    const start = Math.floor(Math.random() * cells.length);
    if (cells[start] !== "#") {
      const [goal, moves] = [...distances(start, side, (cell) => cells[cell] !== "#")].at(-1);
      best = moves > best.moves ? { cells, start, goal, moves } : best;
    }
  }
  const { cells, start, goal } = best;
  for (let spare; (spare = spareCells(cells, start, goal, side)).length;) {
    cells[pick(spare)] = "#";
  }
  cells[start] = "S";
  cells[goal] = "G";
  return cells;
}

class Maze {
  hint = "Draw walls, or take a random maze, and press Solve. The model marks a path and mends it step by step.";

  constructor() {
    this.options = new Options(() => this.configure());
    this.tool = "#";
    this.notice = new Notice();
    this.tools = el("div", { class: "chips", role: "group", "aria-label": "What to draw" },
      TOOLS.map(([symbol, name]) => el("button", { type: "button", class: "chip", "aria-pressed": "false",
        onclick: () => this.take(symbol) }, name)),
      el("button", { type: "button", class: "chip", onclick: () => this.set(randomMaze(this.side)) }, "Random maze"));
    this.board = new Grid("Maze", { class: "board maze", "aria-describedby": "maze-keys", press: (key, index) => this.press(key, index),
      touch: (index, began) => this.paint(index, began),
      onpaste: (event) => this.read(event.clipboardData.getData("text")) });
    this.run = new Run(this, [el("button", { type: "button", class: "quiet", onclick: () => this.clear() }, "Clear")]);
    this.element = el("div", { class: "view split" },
      el("section", { class: "stage", "aria-label": "Puzzle" }, this.tools, this.board.element,
        legend([["wall", "", "wall"], ["path", "", "path"], ["changed", "", "changed"],
          ["path broken", "", "cut off"]]),
        this.notice.element,
        el("p", { class: "keys", id: "maze-keys" }, "Keys on the board: arrows, Space for a wall or none, S, G, Enter to solve.")),
      el("section", { class: "side", "aria-label": "Thinking" }, this.run.element, this.options.element,
        this.run.command.element));
    this.take("#");
  }

  offer(models) {
    this.options.offer(models);
    this.configure();
  }

  configure() {
    const side = this.options.chosen?.rows ?? 15;
    if (side !== this.side) {
      this.options.choose();
      this.side = side;
      this.board.resize(side, side, () => "cell");
      this.set(randomMaze(side));
    }
    this.run.use(this.options.chosen, "This server has no maze model, so nothing can be solved here. Start it with one: --model maze=FILE.");
  }

  // --- the puzzle -----------------------------------------------------------------------------------

  set(puzzle) {
    this.puzzle = puzzle;
    this.notice.say("");
    this.run.reset();
    this.draw(null);
  }

  clear() {
    const empty = Array(this.side * this.side).fill(" ");
    empty[0] = "S";
    empty[empty.length - 1] = "G";
    this.set(empty);
  }

  // Pasted text: rows of "# SG".
  read(text) {
    const cells = [...text.replace(/[\r\n]/g, "")];
    const strange = cells.find((cell) => !NAMES[cell]);
    if (strange || cells.length !== this.side ** 2) {
      this.notice.say(strange ? `“${strange}” is not a cell: use # for walls, blanks, S and G.`
        : `This maze has ${this.side ** 2} cells; the text has ${cells.length}.`);
    } else {
      this.set(cells);
    }
  }

  take(symbol) {
    this.tool = symbol;
    TOOLS.forEach(([own], i) => this.tools.children[i].setAttribute("aria-pressed", String(own === symbol)));
  }

  // A wall drawn on a wall takes it away; start and goal there are but once.
  paint(index, began) {
    if (began) {
      this.brush = this.tool === "#" && this.puzzle[index] === "#" ? " " : this.tool;
    }
    this.write(index, this.brush);
  }

  write(index, symbol) {
    if (this.puzzle[index] === symbol) {
      return;
    }
    const alone = symbol === "S" || symbol === "G";
    this.set(this.puzzle.map((cell, i) => (i === index ? symbol : alone && cell === symbol ? " " : cell)));
  }

  press(key, index) {
    const symbol = key.toUpperCase();
    if (key === "Enter") {
      this.run.toggle();
    } else if (key === " ") {
      this.write(index, this.puzzle[index] === "#" ? " " : "#");
    } else if (NAMES[symbol]) {
      this.write(index, symbol);
    } else if (key === "Backspace" || key === "Delete") {
      this.write(index, " ");
    } else {
      return false;
    }
    return true;
  }

  // --- what a run wants to know ---------------------------------------------------------------------

  request() {
    if (!this.puzzle.includes("S") || !this.puzzle.includes("G")) {
      throw new Trouble("A maze needs a start and a goal.");
    }
    return { ...this.options.read(), grid: this.puzzle.join("") };
  }

  // What the answer has in a cell; what is no symbol of mazes is taken for floor.
  symbol(token) {
    return SYMBOLS[token - 1] ?? " ";
  }

  // How far it is from the start to each cell that the path leads to.
  walk(cells) {
    return distances(this.puzzle.indexOf("S"), this.side,
      (i) => "oG".includes(this.symbol(cells[i])) && this.puzzle[i] !== "#");
  }

  // Cells of the path that are in a wall, or that no path joins with the start.
  faults(cells) {
    const reached = this.walk(cells);
    return new Set([...cells.keys()].filter((i) => this.symbol(cells[i]) === "o" && !reached.has(i)));
  }

  about(cells) {
    const goal = this.puzzle.indexOf("G");
    const shortest = distances(this.puzzle.indexOf("S"), this.side, (i) => this.puzzle[i] !== "#").get(goal);
    const walked = this.walk(cells).get(goal);
    if (walked === undefined) {
      return "Its path does not reach the goal.";
    }
    const spare = cells.filter((token) => this.symbol(token) === "o").length - (walked - 1);
    return `Its path takes ${plural(walked, "move")}; the shortest takes ${shortest}.`
      + (spare ? ` It marks ${plural(spare, "cell")} beside the path.` : "");
  }

  draw(frame) {
    const faults = frame ? this.run.faultsOf(frame) : new Set();
    const changed = new Set(frame?.changed);
    this.board.turn(frame);
    this.puzzle.forEach((given, i) => {
      const path = frame !== null && this.symbol(frame.cells[i]) === "o" && given !== "S" && given !== "G";
      const marks = { wall: given === "#", path, changed: changed.has(i) && given !== "#", broken: faults.has(i) };
      this.board.dress(i, given === "S" || given === "G" ? given : "", marks,
        [NAMES[given], ...(path ? ["path"] : []), ...(marks.changed ? ["changed"] : []), ...(marks.broken ? ["cut off"] : [])]);
    });
  }

  // In a small picture: dark for walls, marked for faults.
  mark(frame, i) {
    return this.run.faultsOf(frame).has(i) ? "broken" : this.puzzle[i] === "#" ? "clue"
      : this.symbol(frame.cells[i]) === "o" ? "filled" : "blank";
  }
}

export const create = () => new Maze();
