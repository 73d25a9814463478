"""ARC models that take smaller grids than 30 x 30: from data to answers, and what is too large for them."""

import json
import os
import random

import pytest

from conftest import Server
from test_adapt import CONFIG, TASK, adapt, write_model
from test_arc import MODEL, as_posted, make_tasks, read_npy, run, solve, succeed, write_subset

SIDE = 7
LARGER = {**TASK, "test": [{"input": [[1] * (SIDE + 1)]}]}
AS_LARGE = {**TASK, "test": [{"input": [[1] * SIDE] * SIDE}]}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A data set of the tasks that fit, of which three do and two do not, and a checkpoint trained on it."""
    folder = tmp_path_factory.mktemp("small")
    tasks = make_tasks(random.Random(3), ["wide0", "fits0", "fits1", "wide1", "fits2"])
    for name, task in tasks.items():
        if name.startswith("fits"):
            task["train"][1] = {"input": [[1, 2]] * SIDE, "output": [[3] * SIDE]}
        else:
            task["train"][1] = {"input": [[1]], "output": [[3]] * (SIDE + 1)}
    write_subset(str(folder / "x"), "s", tasks)
    set_dir = str(folder / "set")
    report = json.loads(succeed("trm-data", "arc", "--from", str(folder / "x"), "--subsets", "s", "--test", "s",
                                "--augment", "3", "--size", str(SIDE), "--out", set_dir, "--json"))
    config = {
        "name": "small", "puzzle": "arc",
        "model": {**MODEL, "seq_len": SIDE * SIDE, "num_puzzle_identifiers": report["identifiers"]},
        "data": [{"path": os.path.join(set_dir, "train")}], "augment": False, "batch_size": 4, "pool_size": 8,
        "shards": 2, "steps": 2, "seed": 1, "optimizer": {"name": "adam_atan2", "lr": 1e-3},
    }
    (folder / "config.json").write_text(json.dumps(config))
    succeed("trm-train", "--config", str(folder / "config.json"), "--out", str(folder))
    return {"tasks": tasks, "report": report, "set": set_dir, "model": str(folder / "step_2.safetensors")}


@pytest.fixture(scope="module")
def server(small):
    running = Server("--model", "small=" + small["model"])
    yield running
    assert running.stop() == 0, "".join(running.log)


def test_tasks_with_larger_grids_are_left_out_of_the_data(small):
    assert small["report"]["tasks"] == 3 and small["report"]["larger"] == 2
    names = json.load(open(os.path.join(small["set"], "identifiers.json")))
    assert {name.split("|||")[0] for name in names[1:]} == {"fits0", "fits1", "fits2"}
    assert set(json.load(open(os.path.join(small["set"], "test_puzzles.json")))) == {"fits0", "fits1", "fits2"}


def test_puzzles_have_as_many_cells_as_the_size_says(small):
    meta = json.load(open(os.path.join(small["set"], "train", "dataset.json")))
    assert meta["seq_len"] == SIDE * SIDE
    train = os.path.join(small["set"], "train")
    inputs, labels = read_npy(train, "inputs"), read_npy(train, "labels")
    assert {len(row) for row in inputs + labels} == {SIDE * SIDE}
    reaching = [row for row in inputs if sum(token >= 2 for token in row) == 2 * SIDE]  # from edge to edge
    assert reaching and {row.count(1) for row in reaching} <= {SIDE, 0} and any(row.count(1) for row in reaching)


@pytest.mark.parametrize("size", ["0", "31", "x"])
def test_a_size_that_no_grid_has_is_usage(tmp_path, size):
    done = run("trm-data", "arc", "--from", "x", "--subsets", "s", "--size", size, "--out", str(tmp_path / "set"))
    assert done.returncode == 2


def test_pass_at_k_is_of_the_tasks_that_fit(small):
    result = json.loads(succeed("trm-eval", "--model", small["model"], "--data", small["set"], "--json"))
    assert result["arc"]["tasks"] == 3 and result["arc"]["voted"] == result["arc"]["tests"]


def test_a_task_that_fits_is_answered_within_the_square(server, small):
    for name in ("fits0", "fits1", "fits2"):
        answer = solve(server, as_posted(small["tasks"][name]), options={"augment": 4, "no_halt": True})
        assert answer["task_id"] == name
        for vote in (vote for test in answer["answers"] for vote in test["votes"]):
            assert len(vote["answer"]) <= SIDE and all(len(row) <= SIDE for row in vote["answer"])


def test_a_task_with_a_larger_grid_is_refused_with_the_size(server, small):
    known = as_posted(small["tasks"]["fits0"])
    problem = solve(server, {**known, "test": LARGER["test"]}, status=422)
    assert problem["pointer"] == "/task" and "at most 7 rows and columns" in problem["detail"]
    assert solve(server, {**known, "test": AS_LARGE["test"]})["task_id"] == "fits0"


def test_the_first_model_with_room_gets_the_task(start, small, tmp_path):
    large = write_model(tmp_path / "large.safetensors", CONFIG)
    server = start("--model", "small=" + small["model"], "--model", "large=" + large)
    assert "small" in solve(server, AS_LARGE, status=422)["detail"]
    assert "large" in solve(server, LARGER, status=422)["detail"]


def test_adaptation_takes_the_tasks_that_fit(start, small, tmp_path):
    done = adapt(small["model"], tmp_path / "x.safetensors", AS_LARGE, "--updates", "3", "--augment", "1")
    assert done.returncode == 0, done.stderr
    done = adapt(small["model"], tmp_path / "y.safetensors", LARGER, "--updates", "3")
    assert done.returncode == 1 and "at most 7 rows and columns" in done.stderr
    server = start("--tasks-dir", str(tmp_path / "tasks"), model=small["model"])
    reply = server.request("POST", "/tasks", json.dumps({"task": LARGER}))
    assert reply.status == 422 and reply.json()["pointer"] == "/task"
