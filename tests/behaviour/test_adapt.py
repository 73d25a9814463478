"""trm-train --adapt: an ARC task that a model does not know becomes one that a server knows."""

import json
import os
import struct
import subprocess

import pytest

BUILD = os.environ.get("TRM_BUILD", "build")
TRAIN = os.path.join(BUILD, "trm-train")

CONFIG = {
    "arch": "trm", "seq_len": 900, "vocab_size": 12, "num_puzzle_identifiers": 3, "puzzle_emb_ndim": 16,
    "puzzle_emb_len": 1, "H_cycles": 1, "L_cycles": 1, "L_layers": 1, "hidden_size": 16, "num_heads": 2,
    "expansion": 1, "inter_multiple": 16, "pos_encodings": "rope", "halt_max_steps": 2,
}
TASK = {
    "train": [{"input": [[1, 2], [2, 1]], "output": [[2, 1], [1, 2]]},
              {"input": [[1, 1, 2]], "output": [[2, 2, 1]]}],
    "test": [{"input": [[2, 2], [1, 1]]}],
}
OTHER = {"train": [{"input": [[5]], "output": [[6]]}], "test": [{"input": [[5, 5]]}]}


def write_model(path, config, puzzle="arc"):
    """A checkpoint whose values are small and no two alike in a row."""
    hidden, vocab, inter = config["hidden_size"], config["vocab_size"], 16
    shapes = {
        "embed_tokens.embedding_weight": [vocab, hidden], "lm_head.weight": [vocab, hidden],
        "q_head.weight": [2, hidden], "q_head.bias": [2], "H_init": [hidden], "L_init": [hidden],
        "L_level.layers.0.self_attn.qkv_proj.weight": [3 * hidden, hidden],
        "L_level.layers.0.self_attn.o_proj.weight": [hidden, hidden],
        "L_level.layers.0.mlp.gate_up_proj.weight": [2 * inter, hidden],
        "L_level.layers.0.mlp.down_proj.weight": [hidden, inter],
    }
    if config["puzzle_emb_ndim"]:
        shapes["puzzle_emb.weights"] = [config["num_puzzle_identifiers"], config["puzzle_emb_ndim"]]
    header, data = {"__metadata__": {"config": json.dumps(config), "puzzle": puzzle}}, b""
    for name, shape in shapes.items():
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        values = [((i * 7919 + len(name)) % 101 - 50) / 200 for i in range(count)]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + 4 * count]}
        data += struct.pack("<%df" % count, *values)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)
    return str(path)


def read_tensors(path):
    with open(path, "rb") as file:
        data = file.read()
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__")
    data = data[8 + length :]
    return {name: data[slice(*entry["data_offsets"])] for name, entry in header.items()}


def distance(a, b):
    """The largest difference of two tensors; averaging equal values rounds."""
    a, b = (struct.unpack("<%df" % (len(values) // 4), values) for values in (a, b))
    return max(abs(x - y) for x, y in zip(a, b))


def adapt(model, out, task, *flags):
    """`task` is written beside the result, with the name that the task shall have."""
    path = os.path.join(os.path.dirname(str(out)), "swap.json")
    with open(path, "w") as file:
        json.dump(task, file)
    return subprocess.run([TRAIN, "--adapt", path, "--model", str(model), "--out", str(out), *flags],
                          capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("adapt") / "model.safetensors", CONFIG)


@pytest.fixture(scope="module")
def adapted(model, tmp_path_factory):
    out = str(tmp_path_factory.mktemp("adapted") / "swap.safetensors")
    done = adapt(model, out, TASK, "--updates", "10", "--augment", "3")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("swap: 10 updates in ")
    return out


def test_a_server_solves_the_task_that_was_unknown(start, model, adapted):
    server = start("--model", "adapted=" + adapted, model="arc=" + model)
    assert server.post({"model": "arc", "task": TASK}).status == 422
    reordered = {**TASK, "train": TASK["train"][::-1]}
    for request in ({"task": TASK}, {"task": reordered}, {"task_id": "swap", "task": {"test": TASK["test"]}}):
        reply = server.post({"model": "adapted", **request, "options": {"augment": 4}})
        assert reply.status == 200, reply.body
    assert server.post({"model": "adapted", "task": OTHER}).status == 422
    assert server.stop() == 0


def test_embeddings_come_first_and_then_all_weights(model, adapted, tmp_path):
    """A run's first update is one of those for embeddings alone."""
    before = read_tensors(model)
    done = adapt(model, tmp_path / "one.safetensors", TASK, "--updates", "1", "--augment", "3")
    assert done.returncode == 0, done.stderr
    one, ten = read_tensors(tmp_path / "one.safetensors"), read_tensors(adapted)
    for name, values in before.items():
        if name == "puzzle_emb.weights":
            assert len(one[name]) == 5 * 4 * CONFIG["puzzle_emb_ndim"]
        elif name.endswith("_init"):
            assert one[name] == values and ten[name] == values
        else:
            assert distance(one[name], values) < 1e-7 and distance(ten[name], values) > 1e-5, name


def test_new_embeddings_begin_as_the_mean_of_the_known(model, tmp_path):
    assert adapt(model, tmp_path / "one.safetensors", TASK, "--updates", "1", "--augment", "0").returncode == 0
    ndim, count = CONFIG["puzzle_emb_ndim"], CONFIG["num_puzzle_identifiers"]
    known = struct.unpack("<%df" % (count * ndim), read_tensors(model)["puzzle_emb.weights"])
    mean = [sum(known[i::ndim]) / count for i in range(ndim)]
    found = struct.unpack("<%df" % (2 * ndim), read_tensors(tmp_path / "one.safetensors")["puzzle_emb.weights"])
    assert found[:ndim] == pytest.approx(mean, abs=1e-6)  # the blank one, on which nothing trains
    step = [new - old * (1 - 0.01 * 0.1) for new, old in zip(found[ndim:], mean)]
    assert [abs(value) for value in step] == pytest.approx([0.01] * ndim, abs=1e-5)


def test_the_same_seed_gives_the_same_checkpoint(model, adapted, tmp_path):
    for seed, same in (("0", True), ("1", False)):
        out = tmp_path / "again.safetensors"
        assert adapt(model, out, TASK, "--updates", "10", "--augment", "3", "--seed", seed).returncode == 0
        assert (read_tensors(out) == read_tensors(adapted)) == same


def test_a_budget_of_seconds_ends_the_run(model, tmp_path):
    done = adapt(model, tmp_path / "timed.safetensors", TASK, "--seconds", "1")
    assert done.returncode == 0, done.stderr
    assert os.path.exists(tmp_path / "timed.safetensors") and os.path.exists(tmp_path / "timed.tasks.safetensors")


@pytest.mark.parametrize("task, message", [
    ([], "a task is an object"), ({"test": TASK["test"]}, "demonstrations"), ({"train": [], **OTHER, "test": []}, "test"),
    ({**TASK, "train": [{"input": [[1]], "output": [[11]]}]}, "/train/0/output"),
])
def test_what_is_no_task_is_refused(model, tmp_path, task, message):
    done = adapt(model, tmp_path / "x.safetensors", task)
    assert done.returncode == 1 and message in done.stderr, done.stderr
    assert not os.path.exists(tmp_path / "x.safetensors")


@pytest.mark.parametrize("change, puzzle, message", [
    ({}, "maze", "not a model for ARC"),
    ({"puzzle_emb_ndim": 0, "puzzle_emb_len": 0}, "arc", "without puzzle embeddings"),
])
def test_other_models_are_refused(tmp_path, change, puzzle, message):
    other = write_model(tmp_path / "other.safetensors", {**CONFIG, **change}, puzzle)
    done = adapt(other, tmp_path / "x.safetensors", TASK)
    assert done.returncode == 1 and message in done.stderr, done.stderr


@pytest.mark.parametrize("flags", [
    ["--adapt", "t.json"], ["--adapt", "t.json", "--model", "m"], ["--model", "m", "--config", "c", "--out", "o"],
    ["--adapt", "t.json", "--model", "m", "--out", "o", "--resume"],
    ["--adapt", "t.json", "--model", "m", "--out", "o", "--seconds", "0"],
    ["--adapt", "t.json", "--model", "m", "--out", "o", "--lr", "fast"],
])
def test_wrong_usage_ends_with_status_2(flags):
    done = subprocess.run([TRAIN, *flags], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "trm-train" in done.stderr
