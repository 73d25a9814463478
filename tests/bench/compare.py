#!/usr/bin/env python3
"""Trains every model of a table on the same puzzles with the same budget, and says what each one solves.

A run gets its budget in CPU time: a pilot of some updates says how many it buys, and the learning rate falls over
exactly so many. All runs of one budget lie in a directory of their own; a run that is there is not repeated, one that
was killed goes on where it was. Needs nothing but Python: tests/bench/compare.py --help.
"""

import argparse
import json
import math
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

CLASSES = ["easy", "medium", "hard", "very-hard"]
PILOT = (20, 60)  # updates between which a pilot is timed


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=Path("build"), help="where the programs are")
    parser.add_argument("--base", default="config/train/compare/base.json", help="the settings that all share")
    parser.add_argument("--table", default="config/train/compare/table.json", help="what each of them changes")
    parser.add_argument("--out", type=Path, help="where runs and puzzles go (default: BUILD/compare)")
    parser.add_argument("--minutes", type=float, default=20, help="CPU time of a run")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--train-puzzles", type=int, default=100000)
    parser.add_argument("--test-puzzles", type=int, default=1000, help="a quarter of each class")
    parser.add_argument("--only", action="append", help="a row of the table by its name (again for more)")
    parser.add_argument("--set", action="append", default=[], help="another setting of all runs, as trm-train takes it")
    parser.add_argument("--report", action="store_true", help="print what is known, and run nothing")
    return parser.parse_args()


def run(*words):
    done = subprocess.run([str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"{words[0]}: {done.stderr.strip()}")
    return done.stdout


def write(path, value):
    """All or nothing, so that a run which is killed leaves no half of a result."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(value, indent=1) + "\n")
    temporary.replace(path)


def make_puzzles(args):
    """Training puzzles are none of the test puzzles in any disguise."""
    data = trm_data(args)
    train, test = args.out / f"train-{args.train_puzzles}.csv", args.out / f"test-{args.test_puzzles}.csv"
    threads = os.cpu_count() or 1
    if not test.exists():
        run(data, "generate", "sudoku", "--count", args.test_puzzles, "--seed", 2, "--threads", threads, "--out", test)
    if not train.exists():
        print(run(data, "generate", "sudoku", "--count", args.train_puzzles, "--seed", 1, "--threads", threads,
                  "--test", test, "--out", train), end="", file=sys.stderr)
    return train, test


def trm_data(args):
    return args.build / "trm-data"


def train(args, directory, sets, *more):
    words = [word for change in sets for word in ("--set", change)]
    run(args.build / "trm-train", "--config", args.base, "--out", directory, "--resume", *words, *more)


def updates_for_budget(args, directory, sets):
    """Measured once and kept: a run that goes on must have the length that it began with."""
    plan = directory / "plan.json"
    if not plan.exists():
        pilot = directory / "pilot"
        train(args, pilot, [*sets, f"steps={PILOT[1]}", f"log_every={PILOT[0]}", "checkpoint_every=0"])
        seconds = {line["step"]: line["cpu_seconds"]
                   for line in map(json.loads, (pilot / "timing.jsonl").read_text().splitlines())}
        each = (seconds[PILOT[1]] - seconds[PILOT[0]]) / (PILOT[1] - PILOT[0])
        write(plan, {"updates": max(1, round(60 * args.minutes / each)), "seconds_per_update": each})
    return json.loads(plan.read_text())["updates"]


def parameters(checkpoint):
    """Trained values of a safetensors file, the puzzle embedding not counted."""
    with open(checkpoint, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    return sum(math.prod(tensor["shape"]) for name, tensor in header.items()
               if name != "__metadata__" and not name.startswith("puzzle_emb") and not name.endswith("_init"))


def evaluate(args, checkpoint, test, *options):
    return json.loads(run(args.build / "trm-eval", "--model", checkpoint, "--data", test, "--json", *options))


def run_one(args, row, seed, train_csv, test):
    directory = args.out / f"{args.minutes:g}-minutes" / re.sub(r"\W+", "-", row["name"].lower()) / f"seed-{seed}"
    result = directory / "result.json"
    if result.exists():
        return json.loads(result.read_text())
    if args.report:
        return None
    directory.mkdir(parents=True, exist_ok=True)
    changes = [change.replace("{train}", str(train_csv)) for change in row["set"]]
    sets = [f'data=[{{"path": "{train_csv}"}}]', f"seed={seed}", *changes, *args.set]
    updates = updates_for_budget(args, directory, sets)
    print(f"{row['name']}, seed {seed}: {updates} updates", file=sys.stderr, flush=True)
    train(args, directory / "run", [*sets, f"steps={updates}", f"checkpoint_every={max(1, updates // 10)}"])
    checkpoint = directory / "run" / f"step_{updates}.safetensors"
    last = json.loads((directory / "run" / "timing.jsonl").read_text().splitlines()[-1])
    value = {"updates": updates, "parameters": parameters(checkpoint), "cpu_seconds": last["cpu_seconds"],
             "all_steps": evaluate(args, checkpoint, test, "--no-halt"), "halting": evaluate(args, checkpoint, test)}
    write(result, value)
    return value


def spread(values):
    """The mean, and the standard deviation of a sample where there is more than one."""
    mean = sum(values) / len(values)
    if len(values) == 1:
        return f"{mean:.1f}"
    return f"{mean:.1f} ± {math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1)):.1f}"


def percentages(results, kind, name=None):
    groups = [result[kind]["by_class"][name] if name else result[kind] for result in results]
    return spread([100 * group["exact_accuracy"] for group in groups])


def precision(results):
    """How often a puzzle that halted was right, of the runs in which any did."""
    known = [result["halting"]["halt_precision"] for result in results]
    known = [100 * value for value in known if value is not None]
    return spread(known) if known else ""


def print_table(args, rows):
    print(f"\nSudoku solved in %, mean ± standard deviation over seeds; {args.minutes:g} minutes of CPU time a run, "
          f"{args.test_puzzles} generated test puzzles.\nAll steps, by class and in all; with halting, and the mean "
          "steps of that; how often a halt was right.\n")
    print("| | parameters | updates | easy | medium | hard | very hard | all | halting | steps | precision | seeds |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for name, results in rows:
        if not results:
            print(f"| {name} " + "| " * 10 + "| 0 |")
            continue
        cells = [f"{results[0]['parameters']:,}", f"{round(sum(r['updates'] for r in results) / len(results)):,}",
                 *(percentages(results, "all_steps", each) for each in CLASSES), percentages(results, "all_steps"),
                 percentages(results, "halting"), spread([r["halting"]["mean_steps"] for r in results]),
                 precision(results), str(len(results))]
        print(f"| {name} | " + " | ".join(cells) + " |")


def main():
    args = parse()
    args.out = args.out or args.build / "compare"
    args.out.mkdir(parents=True, exist_ok=True)
    table = json.loads(Path(args.table).read_text())
    known = [row["name"] for row in table]
    for name in args.only or []:
        if name not in known:
            sys.exit(f"no row '{name}': there are {', '.join(known)}")
    table = [row for row in table if not args.only or row["name"] in args.only]
    train_csv, test = (None, None) if args.report else make_puzzles(args)
    results = {row["name"]: [] for row in table}
    for seed in range(1, args.seeds + 1):  # all rows of a seed before the next: a table that is cut short is one
        for row in table:
            result = run_one(args, row, seed, train_csv, test)
            if result:
                results[row["name"]].append(result)
    print_table(args, list(results.items()))


if __name__ == "__main__":
    main()
