"""Models of several kinds of puzzles in one server, found by name, by size and by symbols."""

import json
import os
import struct
import subprocess

import pytest

from conftest import EXAMPLE, PATIENCE_S, ROOT, SERVER, Server

SIX = "1.....2.....3.....4.....5.....6....."  # a Sudoku of 36 cells
MAZE = "S     " + "#     " * 4 + "     G"
STEPS = {"max_steps": 1}


@pytest.fixture(scope="module")
def six(tmp_path_factory):
    """A checkpoint for 6x6 Sudokus that has seen two updates."""
    out = str(tmp_path_factory.mktemp("six"))
    trainer = os.path.join(os.path.dirname(SERVER), "trm-train")
    subprocess.run([trainer, "--config", "config/train/demo.json", "--set", "steps=2", "--set", "checkpoint_every=2",
                    "--set", "eval.count=1", "--set", "data.0.count=20", "--out", out],
                   cwd=ROOT, check=True, timeout=PATIENCE_S, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return os.path.join(out, "best.safetensors")


@pytest.fixture(scope="module")
def maze(six, tmp_path_factory):
    """The same weights, said to be for mazes."""
    with open(six, "rb") as file:
        data = file.read()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    header["__metadata__"]["puzzle"] = "maze"
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path = tmp_path_factory.mktemp("maze") / "maze.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size:])
    return str(path)


@pytest.fixture(scope="module")
def server(six, maze):
    running = Server("--model", "six=" + six, "--model", "maze=" + maze)
    yield running
    assert running.stop() == 0


def model_of(server, grid, **members):
    reply = server.post({"grid": grid, "options": STEPS, **members})
    assert reply.status == 200, reply.body
    return reply.json()["model"]


def test_models_are_described_by_their_kind(server):
    nine, six, maze = server.get("/models").json()["models"]
    assert (nine["puzzle"], nine["rows"], nine["columns"], nine["verifier"]) == ("sudoku", 9, 9, True)
    assert (six["puzzle"], six["rows"], six["columns"], six["verifier"]) == ("sudoku", 6, 6, True)
    assert (maze["puzzle"], maze["rows"], maze["columns"], maze["verifier"]) == ("maze", 6, 6, True)
    assert nine["symbols"] == [".", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
    assert six["symbols"] == nine["symbols"][:7]
    assert maze["symbols"] == ["", "#", " ", "S", "G", "o"]
    for model in (nine, six, maze):
        assert model["dtype"] in ("f32", "bf16") and model["parameters"] > 0 and model["provenance"]


def test_a_model_is_found_by_size_and_symbols(server):
    assert model_of(server, EXAMPLE) == "sudoku"
    assert model_of(server, SIX) == "six"
    assert model_of(server, [SIX[i:i + 6] for i in range(0, 36, 6)]) == "six"
    assert model_of(server, [[0] * 6] * 6) == "six"
    assert model_of(server, MAZE) == "maze"
    assert model_of(server, [MAZE[i:i + 6] for i in range(0, 36, 6)]) == "maze"
    assert model_of(server, [[3] + [2] * 5] + [[2] * 6] * 4 + [[4] + [2] * 5], model="maze") == "maze"


def test_a_maze_is_the_same_in_characters_and_integers(server):
    symbols = "# SGo"
    rows = [[symbols.index(c) + 1 for c in MAZE[i:i + 6]] for i in range(0, 36, 6)]
    characters = server.post({"grid": MAZE, "options": STEPS}).json()
    integers = server.post({"grid": rows, "model": "maze", "options": STEPS}).json()
    assert characters["q_halt"] == integers["q_halt"] and characters["answer"] == integers["answer"]
    assert characters["valid"] is False and characters["halted_by"] == "max_steps"


@pytest.mark.parametrize("grid, detail", [
    (" " * 36, "start"), ("S" + " " * 35, "goal"), ("SG" + "o" * 34, "answer"), ("S#####" + "#" * 29 + "G", "no way")])
def test_mazes_that_have_no_answer_are_refused(server, grid, detail):
    reply = server.post({"grid": grid, "model": "maze"})
    assert reply.status == 422 and reply.json()["pointer"] == "/grid" and detail in reply.json()["detail"]


def test_images_and_restarts_are_as_many_as_the_puzzle_has(server):
    options = {"max_steps": 4, "restart_steps": 2, "augment": 8, "rollouts": 2, "noise": 0.1, "no_halt": True}
    answer = server.post({"grid": MAZE, "options": options}).json()
    assert answer["rollouts"]["count"] == 16 and answer["rollouts"]["steps"] == 64
    refused = server.post({"grid": MAZE, "options": {"augment": 9}})
    assert refused.status == 422 and refused.json()["pointer"] == "/options/augment"
    assert "8 images" in refused.json()["detail"]
    refused = server.post({"grid": SIX, "options": {"augment": 9, "rollouts": 8}})
    assert refused.status == 422 and refused.json()["pointer"] == "/options/augment"


@pytest.mark.parametrize("puzzle, symbols", [(MAZE, "?# SGo"), (SIX, ".123456")])
def test_an_answer_has_the_cells_that_the_puzzle_gives_unless_told_otherwise(server, puzzle, symbols):
    def solve(**options):
        rows = server.post({"grid": puzzle, "options": {**STEPS, **options}}).json()["answer"]
        return [value for row in rows for value in row]

    given = [i for i, symbol in enumerate(puzzle) if symbol not in " ."]
    clues = [symbols.index(symbol) for symbol in puzzle]
    as_it_is, kept = solve(keep_given=False), solve()
    assert kept == solve(keep_given=True)
    assert all(kept[i] == clues[i] for i in given)
    assert any(as_it_is[i] != clues[i] for i in given)  # these weights know nothing yet
    assert all(kept[i] == as_it_is[i] for i in range(36) if i not in given)


def test_guesses_are_for_sudoku_that_is_verified(server):
    options = {"max_steps": 6, "restart_steps": 2, "guesses": 4}
    answer = server.post({"grid": SIX, "options": options}).json()
    assert answer["steps"] <= 6 and answer["halted_by"] in ("verified", "max_steps")
    for body in ({"grid": MAZE, "options": options}, {"grid": SIX, "options": {**options, "verify": False}}):
        refused = server.post(body)
        assert refused.status == 422 and refused.json()["pointer"] == "/options/guesses"


def test_what_no_model_takes_is_told(server):
    for body, pointer in (({"grid": "." * 16}, "/grid"), ({"grids": [[[0] * 5] * 5]}, "/grids/0"),
                          ({"grid": 7}, "/grid")):
        reply = server.post(body)
        assert reply.status == 422 and reply.json()["pointer"] == pointer
        assert "no model here has puzzles of" in reply.json()["detail"]


def test_the_first_model_of_the_size_explains_wrong_symbols(server):
    reply = server.post({"grid": "x" * 36})
    assert reply.status == 422 and reply.json()["pointer"] == "/grid"
    assert '".123456"' in reply.json()["detail"]


def test_grids_of_one_request_are_for_one_model(server):
    reply = server.post({"grids": [SIX, MAZE], "options": STEPS})
    assert reply.status == 422 and reply.json()["pointer"] == "/grids/1"


def test_a_named_model_refuses_what_is_for_another(server):
    assert server.post({"grid": EXAMPLE, "model": "six"}).json()["pointer"] == "/grid"
    assert server.post({"grid": MAZE, "model": "six"}).json()["pointer"] == "/grid"


def test_kserve_knows_every_kind(server):
    metadata = server.get("/v2/models/maze").json()
    assert metadata["inputs"][0]["shape"] == [-1, 36]
    assert "valid" in [output["name"] for output in metadata["outputs"]]
    assert "valid" in [output["name"] for output in server.get("/v2/models/six").json()["outputs"]]
    body = {"inputs": [{"name": "grid", "shape": [1, 6, 6], "datatype": "INT32", "data": [3, 4] + [2] * 34}],
            "parameters": STEPS}
    reply = server.request("POST", "/v2/models/maze/infer", json.dumps(body))
    assert reply.status == 200 and reply.json()["outputs"][0]["shape"] == [1, 36]
