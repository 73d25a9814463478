"""POST /tasks: a model is adapted to an ARC task in the background, and /solve answers the task from then on."""

import contextlib
import json
import os
import re
import subprocess

import pytest

from conftest import EXAMPLE, PATIENCE_S, SERVER, Server, model_path, sse_events
from test_adapt import CONFIG, OTHER, TASK, write_model
from test_server_life import wait_until

LONG = {"seconds": 300, "augment": 3}
SHORT = {"seconds": 1, "augment": 3}
REORDERED = {**TASK, "train": TASK["train"][::-1]}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("base") / "arc.safetensors", CONFIG)


@pytest.fixture
def tasks(start, model, tmp_path):
    """tasks(flags...) is a server that adapts, with a directory that outlives it."""
    return lambda *flags: start("--tasks-dir", str(tmp_path / "tasks"), *flags, model=model)


def post(server, task, options=None, status=202, **more):
    reply = server.request("POST", "/tasks", json.dumps({"task": task, "options": options or SHORT, **more}))
    assert reply.status == status, reply.body
    return reply.json() if status >= 400 else reply.headers["Location"]


def state(server, location):
    return server.get(location).json()["state"]


def adapt(server, task, options=None):
    location = post(server, task, options)
    wait_until(lambda: state(server, location) == "done")
    return location


def solve(server, task, **more):
    """All augmentations vote: the answer does not depend on which of them are quick."""
    return server.post({"task": task, "options": {"augment": 4, "no_halt": True}, **more})


@contextlib.contextmanager
def watch(server, location):
    """The stream of an adaptation's progress."""
    connection = server.connect()
    connection.request("GET", location, headers={"Accept": "text/event-stream"})
    response = connection.getresponse()
    assert response.status == 200 and response.headers["Content-Type"] == "text/event-stream"
    yield response
    connection.close()


def metric(server, name, label=""):
    text = server.get("/metrics").body.decode()
    (value,) = re.findall(rf"^{name}{re.escape(label)} (\S+)$", text, re.M)
    return float(value)


def files(folder):
    return sorted(os.listdir(folder))


def test_a_task_that_was_unknown_is_answered_after_its_adaptation(tasks):
    server = tasks()
    refusal = solve(server, TASK)
    assert refusal.status == 422 and "/tasks" in refusal.json()["detail"]
    location = adapt(server, TASK)
    for task, more in ((TASK, {}), (REORDERED, {}), ({"test": TASK["test"]}, {"task_id": location[7:]})):
        reply = solve(server, task, **more)
        assert reply.status == 200, reply.body
        answer = reply.json()
        assert answer["model"] == "arc" and answer["task_id"] == location[7:]
        assert answer["answers"][0]["voted"] == answer["answers"][0]["augment"] == 4
    assert solve(server, OTHER).status == 422
    assert post(server, REORDERED, status=200) == location
    assert server.stop() == 0


def test_progress_is_told_while_it_is_made_and_the_end_by_name(tasks):
    server = tasks()
    location = post(server, TASK, {"seconds": 2, "augment": 3})
    with watch(server, location) as response:
        events = list(sse_events(response))
    assert [name for name, _ in events[:-1]] == ["progress"] * (len(events) - 1) and len(events) >= 3
    assert events[-1][0] == events[-1][1]["state"] == "done"
    shares = [data["progress"]["share"] for _, data in events if "progress" in data]
    assert shares == sorted(shares) and shares[-1] == 1
    lines = server.request("GET", location, headers={"Accept": "application/x-ndjson"}).body.decode().splitlines()
    assert [json.loads(line)["type"] for line in lines] == ["done"]
    assert server.stop() == 0


def test_results_are_found_again_after_a_restart(tasks):
    server = tasks()
    location = adapt(server, TASK)
    before = solve(server, TASK).json()["answers"][0]["attempts"]
    assert server.stop() == 0
    server = tasks()
    assert state(server, location) == "done"
    assert solve(server, REORDERED).json()["answers"][0]["attempts"] == before
    assert server.request("DELETE", location).status == 204
    assert server.get(location).status == 404 and solve(server, TASK).status == 422
    assert server.stop() == 0


def test_the_one_that_was_not_used_for_the_longest_makes_room(tasks, tmp_path):
    server = tasks("--tasks-limit", "2")
    third = {"train": [{"input": [[7]], "output": [[8]]}], "test": [{"input": [[7, 7]]}]}
    first, second = adapt(server, TASK), adapt(server, OTHER)
    assert solve(server, TASK).status == 200
    assert server.stop() == 0
    server = tasks("--tasks-limit", "2")
    last = adapt(server, third)
    assert [server.get(place).status for place in (first, second, last)] == [200, 404, 200]
    assert files(tmp_path / "tasks") == sorted(place[7:] + ending for place in (first, last)
                                               for ending in (".safetensors", ".tasks.safetensors"))
    assert server.stop() == 0


def test_a_deleted_adaptation_ends_at_once_and_leaves_nothing(tasks, tmp_path):
    server = tasks()
    running, waiting = post(server, TASK, LONG), post(server, OTHER, LONG)
    wait_until(lambda: state(server, running) == "running")
    assert server.get(waiting).json()["ahead"] == 1
    assert post(server, REORDERED, LONG) == running  # the same task is not adapted to twice
    with watch(server, running) as response:
        assert server.request("DELETE", running).status == 204
        assert list(sse_events(response))[-1][0] == "cancelled"
    assert server.get(running).status == 404 and server.request("DELETE", running).status == 404
    wait_until(lambda: state(server, waiting) == "running")
    assert server.request("DELETE", waiting).status == 204
    wait_until(lambda: metric(server, "trm_tasks_running") == 0)
    assert files(tmp_path / "tasks") == [] and metric(server, "trm_tasks_total", '{outcome="cancelled"}') == 2
    assert server.stop() == 0


def test_a_drain_cancels_adaptations(tasks, tmp_path):
    server = tasks()
    location = post(server, TASK, LONG)
    wait_until(lambda: state(server, location) == "running")
    with watch(server, location) as response:
        server.process.terminate()
        assert list(sse_events(response))[-1][0] == "cancelled"
    assert server.process.wait(PATIENCE_S) == 0 and files(tmp_path / "tasks") == []


def test_more_than_may_wait_are_told_when_to_come_again(tasks):
    server = tasks("--tasks-queue", "1")
    first = post(server, TASK, LONG)
    wait_until(lambda: state(server, first) == "running")
    post(server, OTHER, LONG)
    third = {"train": [{"input": [[7]], "output": [[8]]}], "test": [{"input": [[7, 7]]}]}
    reply = server.request("POST", "/tasks", json.dumps({"task": third}))
    assert reply.status == 429 and 1 <= int(reply.headers["Retry-After"]) <= 300
    assert metric(server, "trm_tasks_total", '{outcome="refused"}') == 1 and metric(server, "trm_tasks_waiting") == 1
    assert server.stop() == 0


def test_puzzles_are_solved_while_a_model_is_adapted(start, model, tmp_path):
    server = start("--model", "arc=" + model, "--tasks-dir", str(tmp_path / "tasks"), model=model_path())
    location = post(server, TASK, LONG)
    wait_until(lambda: state(server, location) == "running")
    assert server.solve(EXAMPLE)["valid"]
    assert state(server, location) == "running"
    assert server.stop() == 0


def test_files_that_cannot_be_served_are_left_out(tasks, tmp_path):
    server = tasks()
    location = adapt(server, TASK)
    assert server.stop() == 0
    folder, id = tmp_path / "tasks", location[7:]
    whole = (folder / (id + ".safetensors")).read_bytes()
    (folder / ("0" * 32 + ".safetensors")).write_bytes(whole)  # the name of another task
    (folder / ("1" * 32 + ".safetensors")).write_bytes(whole[:999])
    (folder / ("2" * 32 + ".safetensors")).symlink_to(id + ".safetensors")
    os.mkfifo(folder / ("3" * 32 + ".safetensors"))
    (folder / ("4" * 32 + ".safetensors")).write_bytes(whole)
    os.mkfifo(folder / ("4" * 32 + ".tasks.safetensors"))
    (folder / "draft-7.safetensors").write_bytes(whole)
    (folder / "notes.txt").write_text("not ours")
    server = tasks()
    assert state(server, location) == "done" and metric(server, "trm_tasks_kept") == 1
    assert sum("left out" in line for line in server.log) == 5
    assert not (folder / "draft-7.safetensors").exists() and (folder / "notes.txt").exists()
    assert server.stop() == 0


@pytest.mark.parametrize("body, pointer", [
    ({}, "/task"), ({"task": []}, "/task"), ({"task": {"test": TASK["test"]}}, "/task/train"),
    ({"task": {**TASK, "train": [{"input": [[1]], "output": [[11]]}]}}, "/task/train/0/output"),
    ({"task": TASK, "typo": 1}, "/typo"), ({"task": TASK, "options": {"typo": 1}}, "/options/typo"),
    ({"task": TASK, "options": []}, "/options"), ({"task": TASK, "model": 5}, "/model"),
    ({"task": TASK, "options": {"seconds": 0}}, "/options/seconds"),
    ({"task": TASK, "options": {"seconds": 601}}, "/options/seconds"),
    ({"task": TASK, "options": {"seconds": 1.5}}, "/options/seconds"),
    ({"task": TASK, "options": {"augment": 256}}, "/options/augment"),
    ({"task": TASK, "options": {"lr": 1}}, "/options/lr"),
    ({"task": TASK, "options": {"lr": "1e-3"}}, "/options/lr"),
    ({"task": TASK, "options": {"seed": -1}}, "/options/seed"),
])
def test_what_cannot_be_adapted_to_is_refused(shared_tasks, body, pointer):
    reply = shared_tasks.request("POST", "/tasks", json.dumps(body))
    assert reply.status == 422 and reply.json()["pointer"].startswith(pointer), reply.body


@pytest.fixture(scope="module")
def shared_tasks(model, tmp_path_factory):
    server = Server("--tasks-dir", str(tmp_path_factory.mktemp("tasks")), model=model)
    yield server
    assert server.stop() == 0


def test_a_model_for_other_puzzles_cannot_be_adapted(start, tmp_path):
    server = start("--tasks-dir", str(tmp_path / "tasks"))
    assert post(server, TASK, status=422)["pointer"] == "/task"
    assert post(server, TASK, status=422, model="sudoku")["pointer"] == "/task"
    assert post(server, TASK, status=404, model="nobody")["pointer"] == "/model"


def test_a_model_that_cannot_be_adapted_says_why(start, tmp_path):
    other = write_model(tmp_path / "plain.safetensors", {**CONFIG, "puzzle_emb_ndim": 0, "puzzle_emb_len": 0})
    server = start("--tasks-dir", str(tmp_path / "tasks"), model=other)
    location = post(server, TASK)
    wait_until(lambda: state(server, location) == "failed")
    assert "without puzzle embeddings" in server.get(location).json()["detail"]
    assert files(tmp_path / "tasks") == []
    post(server, TASK)  # may be tried again
    assert server.stop() == 0


def test_without_a_directory_there_are_no_tasks(start, model):
    server = start(model=model)
    for method, path in (("GET", "/tasks"), ("POST", "/tasks"), ("GET", "/tasks/0"), ("DELETE", "/tasks/0")):
        reply = server.request(method, path, json.dumps({"task": TASK}) if method == "POST" else None)
        assert reply.status == 404 and "--tasks-dir" in reply.json()["detail"]


def test_a_directory_that_cannot_be_used_ends_the_start(model, tmp_path):
    (tmp_path / "file").write_text("")
    done = subprocess.run([SERVER, "--port", "0", "--model", model, "--tasks-dir", str(tmp_path / "file")],
                          capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 1 and str(tmp_path / "file") in done.stderr
