"""A model of the size that the paper trains for ARC has 876,406 puzzle embeddings: 1.8 GB of which nobody holds
more than what is looked at. The files here have holes in place of values, so they take no room."""

import json
import os
import re
import resource
import struct
import subprocess
import zipfile

import pytest
from conftest import clean_environment
from torch_checkpoint import CONFIG, PREFIX, SHAPES, Tensor, pickled

BUILD = os.environ.get("TRM_BUILD", "build")
IDENTIFIERS, NDIM = 876406, 512
TABLE_MB = IDENTIFIERS * NDIM * 4 >> 20

pytestmark = pytest.mark.skipif("sanitize" in BUILD, reason="sanitizers need memory of their own")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The model CONFIG with the large table; every value is 0."""
    config = {**CONFIG, "num_puzzle_identifiers": IDENTIFIERS, "puzzle_emb_ndim": NDIM, "puzzle_emb_len": 64}
    shapes = {**SHAPES, "puzzle_emb.weights": (IDENTIFIERS, NDIM)}
    header, end = {"__metadata__": {"config": json.dumps(config)}}, 0
    for name, shape in shapes.items():
        size = 4
        for extent in shape:
            size *= extent
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path = tmp_path_factory.mktemp("large") / "large.safetensors"
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    return str(path)


def resident_mb(pid):
    with open("/proc/%d/status" % pid) as status:
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read()).group(1)) >> 10


def test_a_server_holds_nothing_of_the_table(start, model):
    server = start(model=model)
    assert server.is_healthy()
    assert resident_mb(server.process.pid) < 200 < TABLE_MB
    reply = server.post({"grid": [[0, 1], [2, 3]], "options": {"max_steps": 2}})
    assert reply.status == 200, reply.body
    assert resident_mb(server.process.pid) < 200
    assert server.stop() == 0


def limit_data():
    resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, 1 << 30))


def test_an_evaluation_needs_no_memory_for_the_table(model, tmp_path):
    def npy(name, kind, shape, items):
        text = ("{'descr': '%s', 'fortran_order': False, 'shape': %s, }" % (kind, shape)).encode()
        text += b" " * (-(len(text) + 11) % 64) + b"\n"
        (tmp_path / name).write_bytes(b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + items)

    (tmp_path / "dataset.json").write_text(json.dumps({
        "pad_id": 0, "ignore_label_id": 0, "blank_identifier_id": 0, "vocab_size": 5, "seq_len": 4,
        "num_puzzle_identifiers": IDENTIFIERS, "total_groups": 1, "mean_puzzle_examples": 1, "total_puzzles": 1,
        "sets": ["all"]}))
    for name in ("inputs", "labels"):
        npy("all__%s.npy" % name, "|u1", (1, 4), b"\1\2\3\4")
    npy("all__puzzle_identifiers.npy", "<i4", (1,), struct.pack("<i", IDENTIFIERS - 1))
    npy("all__puzzle_indices.npy", "<i4", (2,), struct.pack("<2i", 0, 1))
    npy("all__group_indices.npy", "<i4", (2,), struct.pack("<2i", 0, 1))
    done = subprocess.run([os.path.join(BUILD, "trm-eval"), "--model", model, "--data", str(tmp_path), "--json"],
                          capture_output=True, text=True, timeout=120, preexec_fn=limit_data, env=clean_environment())
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["puzzles"] == 1


def limit_import():
    resource.setrlimit(resource.RLIMIT_DATA, (48 << 20, 48 << 20))


def test_an_import_never_holds_the_table(tmp_path):
    """64 MB of embeddings pass through a program that gets 48."""
    rows = 32768
    shapes = {**SHAPES, "puzzle_emb.weights": (rows, NDIM)}
    state = {PREFIX + name: Tensor(shape) for name, shape in shapes.items()}
    checkpoint, config, out = (str(tmp_path / name) for name in ("large.pt", "config.json", "out.safetensors"))
    with zipfile.ZipFile(checkpoint, "w") as archive:
        archive.writestr("large/data.pkl", pickled(state))
        for key, tensor in enumerate(state.values()):
            with archive.open("large/data/%d" % key, "w") as entry:
                left, block = 4 * tensor.count, bytes(1 << 20)
                while left > 0:
                    left -= entry.write(block[:left])
    with open(config, "w") as file:
        json.dump({**CONFIG, "puzzle_emb_ndim": NDIM, "puzzle_emb_len": 64}, file)
    done = subprocess.run([os.path.join(BUILD, "trm-data"), "import", checkpoint, "--config", config, "--out", out],
                          capture_output=True, text=True, timeout=120, preexec_fn=limit_import)
    assert done.returncode == 0, done.stderr
    assert os.path.getsize(out) > 64 << 20
