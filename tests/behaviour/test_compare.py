"""tests/bench/compare.py (`make compare`) with budgets of a second: every row trains, nothing is done twice."""

import json
import os
import subprocess
import sys

import pytest

BUILD = os.environ.get("TRM_BUILD", "build")
TABLES = ["config/train/compare/table.json", "config/train/compare/levers.json"]
SMALL = ["--minutes", "0.005", "--seeds", "1", "--train-puzzles", "64", "--test-puzzles", "8", "--set", "batch_size=4",
         "--set", "pool_size=8", "--set", "schedule.warmup=2", "--set", "model.hidden_size=32", "--set",
         "model.puzzle_emb_ndim=32"]


def compare(out, *arguments):
    return subprocess.run([sys.executable, "tests/bench/compare.py", "--build", BUILD, "--out", str(out), *SMALL,
                           *arguments], capture_output=True, text=True, timeout=280)


def rows(text):
    """Cells of the printed table by the name of their row."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:2] == "| "]
    return {line[0]: line[1:] for line in cells[1:]}


def results(out):
    return {path: path.read_text() for path in out.rglob("result.json")}


@pytest.mark.parametrize("path", TABLES)
def test_every_row_trains_and_a_second_call_repeats_nothing(tmp_path, path):
    expected = [row["name"] for row in json.load(open(path))]
    done = compare(tmp_path, "--table", path)
    assert done.returncode == 0, done.stderr
    table = rows(done.stdout)
    assert list(table) == expected
    for cells in table.values():
        assert len(cells) == 11 and cells[-1] == "1"
        assert int(cells[0].replace(",", "")) > 1000 and int(cells[1].replace(",", "")) >= 1
        assert all(0 <= float(cell) <= 100 for cell in cells[2:8])
        assert cells[9] == "" or 0 <= float(cells[9]) <= 100
    if "direct prediction" in table:
        assert float(table["direct prediction"][8]) == 1
    known = results(tmp_path)
    assert len(known) == len(expected)
    again = compare(tmp_path, "--table", path)
    assert again.stdout == done.stdout
    assert "updates" not in again.stderr
    assert results(tmp_path) == known


def test_a_lost_result_is_made_again_from_the_run_that_is_there(tmp_path):
    only = ["--only", "single z"]
    done = compare(tmp_path, *only)
    assert done.returncode == 0, done.stderr
    result = next(tmp_path.rglob("result.json"))
    first = json.loads(result.read_text())
    result.unlink()
    assert rows(compare(tmp_path, *only, "--report").stdout)["single z"][-1] == "0"
    assert compare(tmp_path, *only).returncode == 0
    second = json.loads(result.read_text())
    for key in ("updates", "parameters"):
        assert second[key] == first[key]
    assert second["all_steps"]["accuracy_by_step"] == first["all_steps"]["accuracy_by_step"]


@pytest.mark.parametrize("arguments", [["--only", "no such row"], ["--set", "nonsense=1"]])
def test_mistakes_end_it(tmp_path, arguments):
    done = compare(tmp_path, *arguments)
    assert done.returncode == 1 and done.stderr
