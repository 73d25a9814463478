"""ARC from data to answers: trm-data arc, trm-train and trm-eval on what it writes, and tasks over HTTP."""

import json
import os
import random
import re
import struct
import subprocess
from concurrent.futures import ThreadPoolExecutor

import jsonschema
import pytest

from conftest import EXAMPLE, PATIENCE_S, ROOT, SERVER, Server, model_path, sse_events

yaml = pytest.importorskip("yaml")

BUILD = os.path.dirname(SERVER)
REAL = os.path.join(ROOT, "..", "shared", "data", "arc", "arc-agi")
AUGMENT = 8
TASKS = 50  # of subset "known"
MODEL = {
    "arch": "trm", "seq_len": 900, "vocab_size": 12, "puzzle_emb_ndim": 16, "puzzle_emb_len": 1, "H_cycles": 1,
    "L_cycles": 1, "H_layers": 0, "L_layers": 1, "hidden_size": 16, "num_heads": 1, "expansion": 1,
    "inter_multiple": 16, "pos_encodings": "none", "halt_max_steps": 4, "no_ACT_continue": True,
}


def run(program, *arguments):
    return subprocess.run([os.path.join(BUILD, program), *arguments], capture_output=True, text=True, cwd=ROOT,
                          timeout=300)


def succeed(program, *arguments):
    done = run(program, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def grid(chance, side=4):
    return [[chance.randrange(10) for _ in range(chance.randint(1, side))]] if side == 1 else [
        [chance.randrange(10) for _ in range(width)] for width in [chance.randint(1, side)] for _ in
        range(chance.randint(1, side))]


def make_tasks(chance, names):
    """{name: task} of random grids of all sizes, with one or two tests each."""
    tasks = {}
    for name in names:
        pairs = [{"input": grid(chance, side), "output": grid(chance, side)} for side in (3, 30, 7)]
        tests = [{"input": grid(chance, 5), "output": grid(chance, 5)} for _ in range(chance.randint(1, 2))]
        tasks[name] = {"train": pairs, "test": tests}
    return tasks


def write_subset(prefix, subset, tasks, solved=True):
    challenges = {name: {"train": task["train"], "test": [{"input": pair["input"]} for pair in task["test"]]}
                  for name, task in tasks.items()}
    with open(f"{prefix}_{subset}_challenges.json", "w") as file:
        json.dump(challenges, file)
    if solved:
        with open(f"{prefix}_{subset}_solutions.json", "w") as file:
            json.dump({name: [pair["output"] for pair in task["test"]] for name, task in tasks.items()}, file)


class Data:
    """A data set of random tasks, built by trm-data."""

    def __init__(self, folder):
        chance = random.Random(7)
        self.prefix = os.path.join(folder, "arc")
        self.known = make_tasks(chance, [f"known{i}" for i in range(TASKS)])
        self.held = make_tasks(chance, ["held0", "held1"])
        write_subset(self.prefix, "known", self.known)
        write_subset(self.prefix, "held", self.held)
        self.dir = os.path.join(folder, "set")
        self.report = json.loads(self.build(self.dir))
        self.names = json.load(open(os.path.join(self.dir, "identifiers.json")))

    def build(self, out, *more):
        return succeed("trm-data", "arc", "--from", self.prefix, "--subsets", "known,held", "--test", "held",
                       "--augment", str(AUGMENT), "--seed", "3", "--out", out, "--json", *more)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return Data(str(tmp_path_factory.mktemp("arc")))


def read_npy(folder, name):
    content = open(os.path.join(folder, f"all__{name}.npy"), "rb").read()
    length = struct.unpack_from("<H", content, 8)[0]
    header = eval(content[10:10 + length], {"__builtins__": {}})
    code = {"|u1": "B", "<i4": "i"}[header["descr"]]
    rest = content[10 + length:]
    items = struct.unpack(f"<{len(rest) // struct.calcsize(code)}{code}", rest)
    if len(header["shape"]) == 1:
        return list(items)
    rows, columns = header["shape"]
    return [items[r * columns:(r + 1) * columns] for r in range(rows)]


# --- what trm-data writes, checked by other code than made it --------------------------------------------


def cells_of(tokens):
    """The grid in a row of tokens, wherever it was moved to, and its place."""
    places = [divmod(i, 30) for i, token in enumerate(tokens) if token >= 2]
    top, left = min(r for r, _ in places), min(c for _, c in places)
    bottom, right = max(r for r, _ in places), max(c for _, c in places)
    rows = [[tokens[r * 30 + c] - 2 for c in range(left, right + 1)] for r in range(top, bottom + 1)]
    assert len(places) == len(rows) * len(rows[0])
    markers = {(bottom + 1, c) for c in range(left, right + 1)} | {(r, right + 1) for r in range(top, bottom + 1)}
    assert {divmod(i, 30) for i, token in enumerate(tokens) if token == 1} == \
        {(r, c) for r, c in markers if r < 30 and c < 30}
    return rows, (top, left)


def turn(rows):
    """A quarter turn to the left."""
    return [list(row) for row in zip(*rows)][::-1]


def augment(rows, name):
    """The image of a grid under the augmentation of that name."""
    if "|||" not in name:
        return rows
    _, transform, digits = name.split("|||")
    rows = [[int(digits[cell]) for cell in row] for row in rows]
    kind = int(transform[1:])
    for _ in range(kind if kind < 4 else 0):
        rows = turn(rows)
    if kind == 4 or kind == 7:
        rows = [row[::-1] for row in (turn(rows) if kind == 7 else rows)]
    if kind == 5:
        rows = rows[::-1]
    if kind == 6:
        rows = [list(row) for row in zip(*rows)]
    return rows


def check_split(data, split, pairs_of):
    """Every row is the pair that its identifier says."""
    folder = os.path.join(data.dir, split)
    inputs, labels = read_npy(folder, "inputs"), read_npy(folder, "labels")
    identifiers, ends = read_npy(folder, "puzzle_identifiers"), read_npy(folder, "puzzle_indices")
    moved = 0
    assert len(inputs) == len(labels) == ends[-1] and len(ends) == len(identifiers) + 1
    for puzzle, identifier in enumerate(identifiers):
        name = data.names[identifier]
        pairs = pairs_of(name.split("|||")[0])
        rows = range(ends[puzzle], ends[puzzle + 1])
        assert len(rows) == len(pairs)
        places = []
        for row, pair in zip(rows, pairs):
            (question, place), (answer, place_of_answer) = cells_of(inputs[row]), cells_of(labels[row])
            assert question == augment(pair["input"], name) and answer == augment(pair["output"], name)
            assert place == place_of_answer
            places.append(place)
        assert (0, 0) in places  # one of them stays
        moved += sum(place != (0, 0) for place in places)
    return identifiers, moved


def test_rows_are_the_pairs_that_their_identifiers_say(data):
    tasks = {**data.known, **data.held}
    train, moved = check_split(data, "train", lambda name: tasks[name]["train"] + (
        tasks[name]["test"] if name in data.known else []))
    assert moved > 100
    test, moved = check_split(data, "test", lambda name: data.held[name]["test"])
    assert moved == 0
    assert set(test) == {i for i, name in enumerate(data.names) if name.startswith("held")}
    assert sorted(train) == list(range(1, len(data.names)))


def test_every_task_has_its_augmentations_in_a_group_of_its_own(data):
    assert data.names[0] == "<blank>" and len(set(data.names)) == len(data.names) == 1 + (TASKS + 2) * (AUGMENT + 1)
    groups = read_npy(os.path.join(data.dir, "train"), "group_indices")
    identifiers = read_npy(os.path.join(data.dir, "train"), "puzzle_identifiers")
    for first, end in zip(groups, groups[1:]):
        names = [data.names[i].split("|||")[0] for i in identifiers[first:end]]
        assert len(set(names)) == 1 and len(names) == AUGMENT + 1
        assert data.names[identifiers[first]] == names[0]  # as it is, first
    meta = json.load(open(os.path.join(data.dir, "train", "dataset.json")))
    assert meta["seq_len"] == 900 and meta["vocab_size"] == 12
    assert meta["num_puzzle_identifiers"] == len(data.names) and meta["total_groups"] == TASKS + 2
    assert meta["total_puzzles"] == len(identifiers)
    assert meta["mean_puzzle_examples"] == pytest.approx(data.report["train_rows"] / len(identifiers))


def test_the_report_and_the_tasks_to_test_are_right(data):
    assert json.load(open(os.path.join(data.dir, "test_puzzles.json"))) == data.held
    assert data.report["tasks"] == TASKS + 2 and data.report["test_tasks"] == 2
    assert data.report["identifiers"] == len(data.names) and data.report["incomplete"] == 0


def content(folder):
    found = {}
    for path, _, files in os.walk(folder):
        for file in files:
            found[os.path.relpath(os.path.join(path, file), folder)] = open(os.path.join(path, file), "rb").read()
    return found


def test_the_same_seed_gives_the_same_data_set(data, tmp_path):
    data.build(str(tmp_path / "again"))
    assert content(tmp_path / "again") == content(data.dir)
    data.build(str(tmp_path / "other"), "--seed", "4")
    assert content(tmp_path / "other")["train/all__inputs.npy"] != content(data.dir)["train/all__inputs.npy"]


def test_the_index_of_a_data_set_made_elsewhere_is_the_same(data, tmp_path):
    succeed("trm-data", "arc", "--from", data.prefix, "--subsets", "known,held", "--out", str(tmp_path),
            "--identifiers", os.path.join(data.dir, "identifiers.json"))
    assert content(tmp_path) == {"tasks.safetensors": content(data.dir)["tasks.safetensors"]}


def test_a_task_of_few_faces_has_fewer_augmentations(tmp_path):
    plain = {"plain": {"train": [{"input": [[0]], "output": [[0]]}], "test": [{"input": [[0]], "output": [[0]]}]}}
    write_subset(str(tmp_path / "x"), "s", plain)
    report = json.loads(succeed("trm-data", "arc", "--from", str(tmp_path / "x"), "--subsets", "s", "--augment", "5",
                                "--out", str(tmp_path / "set"), "--json"))
    assert report["identifiers"] == 2 and report["incomplete"] == 1 and report["test_rows"] == 0
    assert not (tmp_path / "set" / "test").exists()


def test_tests_without_solutions_are_not_trained_on(tmp_path):
    tasks = make_tasks(random.Random(1), ["a", "b"])
    write_subset(str(tmp_path / "x"), "s", tasks, solved=False)
    report = json.loads(succeed("trm-data", "arc", "--from", str(tmp_path / "x"), "--subsets", "s", "--out",
                                str(tmp_path / "set"), "--json"))
    assert report["train_rows"] == sum(len(task["train"]) for task in tasks.values())


def test_a_name_in_two_subsets_keeps_its_identifiers(tmp_path):
    tasks = make_tasks(random.Random(2), ["a", "b"])
    write_subset(str(tmp_path / "x"), "one", tasks)
    write_subset(str(tmp_path / "x"), "two", tasks)
    report = json.loads(succeed("trm-data", "arc", "--from", str(tmp_path / "x"), "--subsets", "one,two", "--augment",
                                "0", "--out", str(tmp_path / "set"), "--json"))
    assert report["tasks"] == 4 and report["identifiers"] == 3


@pytest.mark.parametrize("text, place", [
    ('{"a": {"train": [], "test": [{"input": [[1]]}]}}', '"a" has no demonstrations'),
    ('{"a": {"train": [{"input": [[1]], "output": [[10]]}], "test": [{"input": [[1]]}]}}', "/a/train/0/output/0/0"),
    ('{"a": {"train": [{"input": [[1]], "output": [[1],[1,2]]}], "test": []}}', "/a/train/0/output/1"),
    ('{"a/b": {}}', "cannot be the name"),
    ('{"a": 7}', "/a: "),
    ("[]", "not a JSON object"),
    ("{", "x_s_challenges.json:1"),
    ("{}", "no task"),
])
def test_bad_files_are_refused_with_the_place(tmp_path, text, place):
    (tmp_path / "x_s_challenges.json").write_text(text)
    done = run("trm-data", "arc", "--from", str(tmp_path / "x"), "--subsets", "s", "--out", str(tmp_path / "set"))
    assert done.returncode == 1 and place in done.stderr
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("more", [[], ["--subsets", "known,,held"], ["--subsets", "known", "--test", "held"],
                                  ["--subsets", ",".join("abcdefghijklmnopq")]])
def test_a_wrong_command_line_is_usage(data, tmp_path, more):
    done = run("trm-data", "arc", "--from", data.prefix, "--out", str(tmp_path / "set"), *more)
    assert done.returncode == 2 and "--help" in done.stderr


def test_the_public_data_is_built_whole(tmp_path):
    if not os.path.exists(REAL + "_training_challenges.json"):
        pytest.skip("no ../shared/data/arc beside this checkout")
    subsets = ["training", "evaluation", "concept"]
    report = json.loads(succeed("trm-data", "arc", "--from", REAL, "--subsets", ",".join(subsets), "--test",
                                "evaluation", "--augment", "1", "--out", str(tmp_path), "--json"))
    tasks = {subset: json.load(open(f"{REAL}_{subset}_challenges.json")) for subset in subsets}
    tests = sum(len(task["test"]) for task in tasks["evaluation"].values())
    pairs = sum(len(task["train"]) for subset in subsets for task in tasks[subset].values()) + \
        sum(len(task["test"]) for subset in ("training", "concept") for task in tasks[subset].values())
    assert report["tasks"] == 960 and report["test_tasks"] == 400
    assert report["identifiers"] == 1 + 2 * 960 - report["incomplete"] and report["incomplete"] < 10
    assert 2 * tests - 20 < report["test_rows"] <= 2 * tests
    assert 2 * pairs - 100 < report["train_rows"] <= 2 * pairs


# --- a checkpoint that was trained on it -------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint(data, tmp_path_factory):
    """Two updates: it knows its tasks by name, and answers nonsense."""
    folder = tmp_path_factory.mktemp("run")
    config = {
        "name": "test", "puzzle": "arc", "model": {**MODEL, "num_puzzle_identifiers": len(data.names)},
        "data": [{"path": os.path.join(data.dir, "train")}], "augment": False, "batch_size": 4, "pool_size": 8,
        "shards": 2, "steps": 2, "seed": 1, "optimizer": {"name": "adam_atan2", "lr": 1e-3},
        "eval": {"path": os.path.join(data.dir, "test"), "limit": 4},
    }
    (folder / "config.json").write_text(json.dumps(config))
    succeed("trm-train", "--config", str(folder / "config.json"), "--out", str(folder))
    return str(folder / "step_2.safetensors")


def edit(source, target, change):
    """Copies a checkpoint with `change(header, data)` made; data is a bytearray."""
    content = open(source, "rb").read()
    size = struct.unpack("<Q", content[:8])[0]
    header, rest = json.loads(content[8:8 + size]), bytearray(content[8 + size:])
    change(header, rest)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(target, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + rest)


def tensor(header, name):
    return slice(*header[name]["data_offsets"])


@pytest.fixture(scope="module")
def mute(checkpoint, tmp_path_factory):
    """A checkpoint whose every prediction is padding alone: all augmentations agree, on no grid."""
    def silence(header, rest):
        place = tensor(header, "lm_head.weight")
        rest[place] = bytes(place.stop - place.start)
    path = str(tmp_path_factory.mktemp("mute") / "mute.safetensors")
    edit(checkpoint, path, silence)
    return path


def test_trm_eval_tells_pass_at_k(data, checkpoint, mute):
    tests = sum(len(task["test"]) for task in data.held.values())
    for path in (data.dir, os.path.join(data.dir, "test")):
        result = json.loads(succeed("trm-eval", "--model", checkpoint, "--data", path, "--json"))
        assert result["puzzles"] == tests * (AUGMENT + 1)
        assert result["arc"]["tasks"] == 2 and result["arc"]["tests"] == result["arc"]["voted"] == tests
        assert list(result["arc"]["pass"]) == ["1", "2", "5", "10", "100", "1000"]
        shares = list(result["arc"]["pass"].values())
        assert all(0 <= share <= 1 for share in shares) and shares == sorted(shares)
    assert "arc" not in json.loads(
        succeed("trm-eval", "--model", checkpoint, "--data", os.path.join(data.dir, "train"), "--limit", "9", "--json"))
    result = json.loads(succeed("trm-eval", "--model", mute, "--data", data.dir, "--json"))
    assert set(result["arc"]["pass"].values()) == {0}
    assert re.search(r"pass@1 +0\.00 %", succeed("trm-eval", "--model", mute, "--data", data.dir))


# --- over HTTP ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(checkpoint, mute):
    running = Server("--model", "arc=" + checkpoint, "--model", "mute=" + mute, "--admin-key", "a-key-of-the-admin")
    yield running
    assert running.stop() == 0, "".join(running.log)


def as_posted(task):
    """As a front-end posts it: without the outputs of the tests."""
    return {"train": list(task["train"]), "test": [{"input": pair["input"]} for pair in task["test"]]}


def solve(server, task, status=200, **members):
    reply = server.post({"task": task, **members})
    assert reply.status == status, reply.body
    return reply.json()


def is_grid(rows):
    return 1 <= len(rows) <= 30 and len({len(row) for row in rows}) == 1 and 1 <= len(rows[0]) <= 30 and \
        all(0 <= cell <= 9 for row in rows for cell in row)


def test_a_known_task_gets_two_answers_to_every_test(server, data):
    for name, task in list(data.known.items())[:4]:
        answer = solve(server, as_posted(task), options={"augment": AUGMENT, "no_halt": True})
        assert answer["task_id"] == name and answer["known_by"] == "content" and answer["model"] == "arc"
        assert len(answer["answers"]) == len(task["test"]) and not answer["expired"]
        assert answer["steps"] == AUGMENT * len(task["test"]) * MODEL["halt_max_steps"]
        for test in answer["answers"]:
            assert test["voted"] == test["augment"] == AUGMENT and not test["decided"]
            assert len(test["attempts"]) == 2 and all(rows == [] or is_grid(rows) for rows in test["attempts"])
            assert test["attempts"][0] == test["votes"][0]["answer"]
            assert sum(vote["votes"] for vote in test["votes"]) == AUGMENT
            assert len(test["votes"]) == test["choices"]
            ranks = [(vote["votes"], vote["q"]) for vote in test["votes"]]
            assert ranks == sorted(ranks, reverse=True)


def test_a_task_is_known_however_its_pairs_are_ordered_and_by_its_name(server, data):
    task = as_posted(data.known["known3"])
    plain = solve(server, task)
    mixed = {"test": task["test"], "train": [dict(reversed(pair.items())) for pair in task["train"][::-1]]}
    other = [{"input": [[1, 2], [3, 4]]}]
    assert solve(server, mixed)["answers"] == plain["answers"]
    by_name = solve(server, {"test": task["test"]}, task_id="known3")
    assert by_name["answers"] == plain["answers"] and by_name["known_by"] == "task_id"
    assert solve(server, task, task_id="known3")["answers"] == plain["answers"]
    assert solve(server, {"train": task["train"], "test": other})["task_id"] == "known3"


def test_without_augmentation_the_task_itself_is_the_only_vote(server, data):
    answer = solve(server, as_posted(data.known["known0"]))
    for test in answer["answers"]:
        assert test["voted"] == test["augment"] == 1 and test["attempts"][0] == test["attempts"][1]


def test_no_more_augmentations_than_there_are(server, data):
    answer = solve(server, as_posted(data.known["known0"]), options={"augment": 100, "no_halt": True})
    assert {test["augment"] for test in answer["answers"]} == {AUGMENT + 1}


def test_a_held_task_whose_demonstrations_were_trained_on_is_known(server, data):
    assert solve(server, as_posted(data.held["held1"]))["task_id"] == "held1"


def test_an_unknown_task_is_refused_and_the_refusal_says_what_to_do(server, data):
    stranger = as_posted(make_tasks(random.Random(99), ["stranger"])["stranger"])
    problem = solve(server, stranger, status=422)
    assert problem["type"] == "urn:trm-server:unknown-task" and problem["pointer"] == "/task/train"
    assert "trm-data arc" in problem["detail"] and "trm-train" in problem["detail"]
    problem = solve(server, stranger, status=422, task_id="stranger")
    assert problem["type"] == "urn:trm-server:unknown-task" and problem["pointer"] == "/task_id"
    task = as_posted(data.known["known1"])
    task["train"][0] = {"input": [[5]], "output": [[5]]}  # nearly known is not known
    assert solve(server, task, status=422)["type"] == "urn:trm-server:unknown-task"


def test_a_name_and_demonstrations_of_different_tasks_are_refused(server, data):
    problem = solve(server, as_posted(data.known["known1"]), status=422, task_id="known2")
    assert problem["pointer"] == "/task_id" and "known1" in problem["detail"]


@pytest.mark.parametrize("body, pointer", [
    ({"task": 5}, "/task"),
    ({"task": {}}, "/task/test"),
    ({"task_id": "known1"}, "/task"),
    ({"task": {"test": [{"input": [[1]]}]}}, "/task/train"),
    ({"task": {"train": [], "test": [{"input": [[1]]}]}}, "/task/train"),
    ({"task": {"train": [{"input": [[1]]}], "test": [{"input": [[1]]}]}}, "/task/train/0/output"),
    ({"task": {"test": [{"input": [[1, 10]]}]}, "task_id": "known1"}, "/task/test/0/input/0/1"),
    ({"task": {"test": [{"input": [[1]] * 31}]}, "task_id": "known1"}, "/task/test/0/input"),
    ({"task": {"test": [{"input": [[1] * 31]}]}, "task_id": "known1"}, "/task/test/0/input"),
    ({"task": {"test": [{"input": [[1]]}] * 65}, "task_id": "known1"}, "/task/test"),
    ({"task": {"test": [{"input": [[1]]}]}, "task_id": 5}, "/task_id"),
    ({"task": {"test": [{"input": [[1]]}]}, "task_id": "known1", "grid": "1"}, "/grid"),
    ({"task": {"test": [{"input": [[1]]}]}, "task_id": "known1", "options": {"augment": 0}}, "/options/augment"),
    ({"task": {"test": [{"input": [[1]]}]}, "task_id": "known1", "options": {"augment": 1025}}, "/options/augment"),
    ({"task": {"test": [{"input": [[1]]}] * 64}, "task_id": "known1", "options": {"augment": 9, "rollouts": 9}},
     "/options/augment"),
    ({"task": {"test": [{"input": [[1]]}]}, "task_id": "known1", "options": {"verify": True}}, "/options/verify"),
    ({"grid": [[0] * 30] * 30, "model": "arc"}, "/grid"),
    ({"grids": [[[0] * 30] * 30], "model": "arc"}, "/grids"),
    ({"grid": [[0] * 30] * 30, "model": "arc", "options": {"augment": 2}}, "/grid"),
])
def test_what_is_wrong_is_named(server, body, pointer):
    reply = server.post(body)
    assert reply.status == 422, reply.body
    assert reply.json()["pointer"] == pointer


def test_grids_of_every_size_are_taken(server):
    for rows, columns in ((1, 1), (1, 30), (30, 1), (30, 30), (17, 4)):
        answer = solve(server, {"test": [{"input": [[9] * columns] * rows}]}, task_id="known1",
                       options={"augment": 3, "max_steps": 1})
        assert len(answer["answers"]) == 1


def test_a_vote_that_is_decided_is_not_waited_for(server, data):
    task = as_posted(data.known["known2"])
    for options, voted in (({"augment": 8}, 5), ({"augment": 9}, 5), ({"augment": 8, "no_halt": True}, 8)):
        answer = solve(server, task, model="mute", options=options)
        for test in answer["answers"]:
            assert test["voted"] == voted and test["decided"] == (voted < test["augment"])
            assert test["attempts"] == [[], []]  # no grid, which counts as a prediction
            assert test["choices"] == 1 and test["votes"][0]["votes"] == voted


def test_a_stream_shows_the_vote_as_it_forms(server, data):
    task = as_posted(data.known["known4"])
    body = {"task": task, "options": {"augment": AUGMENT, "no_halt": True}}
    plain = server.post(body).json()
    connection, response = server.open_stream(body)
    events = list(sse_events(response))
    connection.close()
    assert events[-1][0] == "answer" and {kind for kind, _ in events[:-1]} == {"vote"}
    assert events[-1][1]["answers"] == plain["answers"]
    for test in range(len(task["test"])):
        votes = [event for _, event in events[:-1] if event["test"] == test]
        counts = [vote["voted"] for vote in votes]
        assert counts == sorted(set(counts)) and counts[-1] == AUGMENT
        assert all(sum(choice["votes"] for choice in vote["votes"]) <= vote["voted"] for vote in votes)
        assert [choice["answer"] for choice in votes[-1]["votes"]] == \
            [choice["answer"] for choice in plain["answers"][test]["votes"][:2]]


def test_at_the_deadline_the_vote_so_far_is_the_answer(checkpoint, data, start):
    server = start("--workers", "1", "--slots", "2", "--step-limit", "100000", model="arc=" + checkpoint)
    endless = {"augment": 3, "no_halt": True, "max_steps": 100000, "deadline_ms": 300}
    for framing in ("application/json", "application/x-ndjson"):
        reply = server.post({"task": as_posted(data.known["known5"]), "options": endless}, {"Accept": framing})
        answer = json.loads(reply.body.decode().splitlines()[-1])
        assert reply.status == 200 and answer["expired"]
        assert answer["answers"][0]["voted"] < 3
    assert server.is_healthy()


def test_fifty_tasks_at_once_are_all_answered(server, data):
    def ask(item):
        name, task = item
        return name, solve(server, as_posted(task), options={"augment": 8, "max_steps": 1})

    with ThreadPoolExecutor(TASKS) as pool:
        answers = list(pool.map(ask, data.known.items()))
    assert len(answers) == 50
    for name, answer in answers:
        assert answer["task_id"] == name and len(answer["answers"]) == len(data.known[name]["test"])


def test_a_client_that_leaves_takes_its_slots_with_it(server, data):
    connection, response = server.open_stream({"task": as_posted(data.known["known6"]),
                                               "options": {"augment": 9, "max_steps": 256, "no_halt": True}})
    connection.sock.close()
    response.close()
    connection.close()
    assert solve(server, as_posted(data.known["known6"]))["task_id"] == "known6"


def test_a_checkpoint_without_its_tasks_finds_them_beside_it_or_says_so(checkpoint, data, tmp_path, start):
    def forget(header, rest):
        for name in list(header):
            if name.startswith("arc."):
                header["unused." + name] = header.pop(name)
    path = tmp_path / "alone.safetensors"
    edit(checkpoint, path, forget)
    task = as_posted(data.known["known7"])
    problem = solve(start(model=str(path)), task, status=422)
    assert problem["type"] == "urn:trm-server:unknown-task" and "tasks.safetensors" in problem["detail"]
    (tmp_path / "alone.tasks.safetensors").write_bytes(open(os.path.join(data.dir, "tasks.safetensors"), "rb").read())
    assert solve(start(model=str(path)), task)["task_id"] == "known7"


def break_rows(header, rest):
    place = tensor(header, "arc.rows")
    rest[place.start + 4:place.start + 8] = struct.pack("<i", 1 << 20)


def break_augments(header, rest):
    rest[tensor(header, "arc.augments").start + 11] = 9


def break_names(header, rest):
    rest[tensor(header, "arc.names")] = b"x" * (tensor(header, "arc.names").stop - tensor(header, "arc.names").start)


def lose_hashes(header, rest):
    header["unused"] = header.pop("arc.hashes")


@pytest.mark.parametrize("change", [break_rows, break_augments, break_names, lose_hashes])
def test_a_broken_index_is_refused(checkpoint, tmp_path, change):
    path = tmp_path / "broken.safetensors"
    edit(checkpoint, path, change)
    done = run("trm-eval", "--model", str(path), "--data", "tests/behaviour/puzzles.csv")
    assert done.returncode == 1 and "arc." in done.stderr


def test_a_reload_keeps_what_identifiers_mean(checkpoint, data, tmp_path, start):
    path = tmp_path / "arc.safetensors"
    path.write_bytes(open(checkpoint, "rb").read())
    server = start("--admin-key", "a-key-of-the-admin", model=str(path))
    reload = lambda: server.request("POST", "/models/arc/reload", headers={"Authorization": "Bearer a-key-of-the-admin"})

    def rename(header, rest):
        rest[tensor(header, "arc.names").start] ^= 1
    edit(checkpoint, tmp_path / "new", rename)
    os.replace(tmp_path / "new", path)
    refused = reload()
    assert refused.status == 422 and "ARC tasks" in refused.json()["detail"]
    (tmp_path / "new").write_bytes(open(checkpoint, "rb").read())
    os.replace(tmp_path / "new", path)
    assert reload().status == 200
    assert solve(server, as_posted(data.known["known8"]))["task_id"] == "known8"


def test_answers_have_the_documented_form(server, data):
    with open(os.path.join(ROOT, "proto", "openapi.yaml")) as file:
        document = yaml.safe_load(file)
    media = document["paths"]["/solve"]["post"]["responses"]["200"]["content"]

    def check(value, schema):
        jsonschema.Draft202012Validator({**schema, "components": document["components"]}).validate(value)

    body = {"task": as_posted(data.known["known9"]), "options": {"augment": 4}}
    check(body, {"$ref": "#/components/schemas/SolveRequest"})
    for model in ("arc", "mute"):
        check(server.post({**body, "model": model}).json(), media["application/json"]["schema"])
        lines = server.post({**body, "model": model}, {"Accept": "application/x-ndjson"}).body.decode().splitlines()
        assert len(lines) >= 2
        for line in lines:
            check(json.loads(line), media["application/x-ndjson"]["schema"])
        connection, response = server.open_stream({**body, "model": model})
        for event, value in sse_events(response):
            check(value, media["text/event-stream"]["x-events"][event])
        connection.close()


def test_models_for_tasks_and_for_grids_are_told_apart(checkpoint, data, start):
    server = start("--model", "arc=" + checkpoint, model=model_path())
    assert server.solve(EXAMPLE)["model"] != "arc"
    assert solve(server, as_posted(data.known["known0"]))["model"] == "arc"
    sudoku = server.get("/models").json()["models"][0]["name"]
    problem = solve(server, as_posted(data.known["known0"]), status=422, model=sudoku)
    assert problem["pointer"] == "/task"
    only = start(model=model_path())
    assert solve(only, as_posted(data.known["known0"]), status=422)["pointer"] == "/task"
    tensor = {"name": "grid", "shape": [1, 900], "datatype": "INT32", "data": [0] * 900}
    reply = server.request("POST", "/v2/models/arc/infer", json.dumps({"inputs": [tensor]}))
    assert reply.status == 422 and "task" in reply.json()["error"]
