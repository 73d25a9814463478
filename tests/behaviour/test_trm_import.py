"""trm-data import: a checkpoint of the original becomes one that solves as the original does, and files that are
cut, bloated or hostile are refused before anything of them is used."""

import collections
import json
import os
import resource
import struct
import subprocess
import zipfile

import pytest
from torch_checkpoint import CONFIG, PREFIX, SHAPES, StateDict, Tensor, archive, pickled, small, values_of

BUILD = os.environ.get("TRM_BUILD", "build")
PROGRAM = os.path.join(BUILD, "trm-data")
GOLDEN = "../shared/golden"


def read_safetensors(path):
    """Metadata, {name: (dtype, shape, bytes)}."""
    with open(path, "rb") as file:
        data = file.read()
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__")
    data = data[8 + length :]
    return metadata, {name: (entry["dtype"], entry["shape"], data[slice(*entry["data_offsets"])])
                      for name, entry in header.items()}


def write_safetensors(path, metadata, tensors):
    header, data = {"__metadata__": metadata}, b""
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


class Import:
    """Runs of the program in a directory of their own."""

    def __init__(self, directory):
        self.directory = directory
        self.out = str(directory / "out.safetensors")

    def run(self, checkpoint, config=None, *flags):
        path = self.directory / "config.json"
        path.write_text(json.dumps(CONFIG if config is None else config))
        return subprocess.run([PROGRAM, "import", str(checkpoint), "--config", str(path), "--out", self.out, *flags],
                              capture_output=True, text=True, timeout=120)

    def succeeds(self, checkpoint, config=None, *flags):
        done = self.run(checkpoint, config, *flags)
        assert done.returncode == 0, done.stderr
        return read_safetensors(self.out)

    def fails(self, checkpoint, config=None):
        """What it says; nothing may be left."""
        done = self.run(checkpoint, config)
        assert done.returncode == 1, (done.returncode, done.stderr)
        assert done.stderr.startswith("trm-data: ") and done.stdout == ""
        assert not [name for name in os.listdir(self.directory) if name.startswith("out.safetensors")]
        return done.stderr


@pytest.fixture
def imported(tmp_path):
    return Import(tmp_path)


def path(name):
    full = os.path.join(GOLDEN, name)
    if not os.path.exists(full):
        pytest.skip("no %s beside this checkout" % GOLDEN)
    return full


@pytest.fixture
def golden(imported):
    """The golden that belongs to the published checkpoint, and what the import of that checkpoint made."""
    refusals = []
    for name in ("infer_trm_attn_rope", "infer_trm_mlp"):
        metadata, tensors = read_safetensors(path(name + ".safetensors"))
        done = imported.run(path("checkpoint_step_100.pt"), json.loads(metadata["config"]))
        if done.returncode == 0:
            return metadata, tensors, *read_safetensors(imported.out)
        refusals.append(done.stderr)
    pytest.fail("\n".join(refusals))


def test_a_published_checkpoint_has_the_values_of_the_golden(golden):
    _, tensors, _, found = golden
    weights = {name: tensor for name, tensor in tensors.items() if not name.startswith("io.")}
    assert found == weights


@pytest.mark.parametrize("backend", ["onednn", "reference"])
def test_a_published_checkpoint_computes_what_the_original_computes(golden, tmp_path, backend):
    metadata, tensors, found_metadata, found = golden
    recorded = {name: tensor for name, tensor in tensors.items() if name.startswith("io.")}
    assert recorded
    both = str(tmp_path / "both.safetensors")
    write_safetensors(both, {**metadata, "config": found_metadata["config"]}, {**found, **recorded})
    done = subprocess.run([os.path.join(BUILD, "tests", "parity"), "--backend", backend, both], capture_output=True,
                          text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_type_of_storage_becomes_f32(imported, tmp_path):
    kinds = {"H_init": "BFloat16Storage", "L_init": "HalfStorage", "lm_head.weight": "DoubleStorage"}
    _, tensors = imported.succeeds(small(tmp_path / "c.pt", kinds))
    assert set(tensors) == set(SHAPES)
    for index, (name, shape) in enumerate(SHAPES.items()):
        dtype, found_shape, data = tensors[name]
        values = values_of(index, len(data) // 4)
        assert (dtype, found_shape) == ("F32", list(shape))
        assert list(struct.unpack("<%df" % len(values), data)) == values, name


def test_the_result_says_what_it_is(imported, tmp_path):
    metadata, _ = imported.succeeds(small(tmp_path / "c.pt"), None, "--puzzle", "arc")
    assert metadata["puzzle"] == "arc"
    assert json.loads(metadata["provenance"]) == {"imported_from": "c.pt"}
    config = json.loads(metadata["config"])
    assert {name: config[name] for name in CONFIG} == CONFIG
    done = imported.run(tmp_path / "c.pt", None, "--json")
    assert json.loads(done.stdout)["num_puzzle_identifiers"] == 3


def test_numbers_of_tokens_and_identifiers_come_from_the_checkpoint(imported, tmp_path):
    design = {name: value for name, value in CONFIG.items() if name != "vocab_size"}
    metadata, _ = imported.succeeds(small(tmp_path / "c.pt"), {**design, "num_puzzle_identifiers": 1})
    config = json.loads(metadata["config"])
    assert config["vocab_size"] == 5 and config["num_puzzle_identifiers"] == 3


def test_archives_with_64_bit_sizes_are_read(imported, tmp_path):
    _, tensors = imported.succeeds(small(tmp_path / "c.pt", zip64=True))
    assert set(tensors) == set(SHAPES)


def test_what_newer_versions_add_is_understood(imported, tmp_path):
    extra = [("byteorder", b"little"), (".format_version", b"1"), (".data/serialization_id", b"123")]
    imported.succeeds(small(tmp_path / "c.pt", extra=extra))
    os.unlink(imported.out)
    assert "little-endian" in imported.fails(small(tmp_path / "big.pt", extra=[("byteorder", b"bigger")]))


@pytest.mark.parametrize("change, message", [
    ({"L_layers": 2}, "layers.1"),
    ({"hidden_size": 16}, "shape"),
    ({"pos_encodings": "learned"}, "embed_pos.embedding_weight"),
    ({"mlp_t": True}, "self_attn.qkv_proj.weight"),
    ({"arch": "trm_singlez"}, "H_init"),
    ({"puzzle_emb_ndim": 0, "puzzle_emb_len": 0}, "puzzle_emb.weights"),
    ({"hidden_size": "wide"}, "hidden_size"),
])
def test_another_model_than_the_configured_is_refused_by_name(imported, tmp_path, change, message):
    assert message in imported.fails(small(tmp_path / "c.pt"), {**CONFIG, **change})


def test_a_cut_checkpoint_is_refused_wherever_it_is_cut(imported, tmp_path):
    whole = open(small(tmp_path / "whole.pt"), "rb").read()
    cut = tmp_path / "cut.pt"
    for length in [0, 1, 4, 100, *range(200, len(whole), len(whole) // 24), len(whole) - 1]:
        cut.write_bytes(whole[:length])
        imported.fails(cut)


def test_a_changed_value_is_noticed(imported, tmp_path):
    data = bytearray(open(small(tmp_path / "c.pt"), "rb").read())
    at = data.index(struct.pack("<8f", *values_of(6, 8)))
    data[at + 1] ^= 1
    (tmp_path / "c.pt").write_bytes(data)
    assert "CRC" in imported.fails(tmp_path / "c.pt")


def test_values_that_are_not_finite_are_refused(imported, tmp_path):
    state = {PREFIX + name: Tensor(shape) for name, shape in SHAPES.items()}
    storages = [struct.pack("<f", float("nan")) * tensor.count for tensor in state.values()]
    assert "not finite" in imported.fails(archive(tmp_path / "c.pt", pickled(state), storages))


class Touch:
    """Python would make a file if it read this."""

    def __init__(self, name):
        self.name = name

    def __reduce__(self):
        return os.system, ("touch " + self.name,)


@pytest.mark.parametrize("place", ["top", "value", "metadata"])
def test_a_hostile_pickle_runs_nothing(imported, tmp_path, place):
    trap = tmp_path / "trap"
    state = StateDict((PREFIX + name, Tensor(shape)) for name, shape in SHAPES.items())
    state.metadata = {"": Touch(str(trap))} if place == "metadata" else {}
    if place == "value":
        state["extra"] = Touch(str(trap))
    if place == "top":
        state = Touch(str(trap))
    message = imported.fails(archive(tmp_path / "c.pt", pickled(state), []))
    assert "posix.system" in message and "nothing was run" in message
    assert not trap.exists()


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {"weights": {}}, {"a": 1.5}, b"bytes", None, 1 << 200])
def test_pickles_of_other_things_are_refused(imported, tmp_path, content):
    assert "pickle" in imported.fails(archive(tmp_path / "c.pt", pickled(content), []))


@pytest.mark.parametrize("change", [
    {"offset": 8}, {"strides": (1, 5)}, {"storage_count": 80}, {"strides": (8,)}, {"offset": -1},
    {"shape": (1 << 31, 1 << 31, 1 << 31), "storage_count": 1}, {"shape": (-5, -8)}, {"shape": (0, 8)}, {"shape": (1,) * 9},
])
def test_tensors_that_are_not_all_of_their_storage_are_refused(imported, tmp_path, change):
    state = {PREFIX + name: Tensor(shape) for name, shape in SHAPES.items()}
    storages = [bytes(4 * tensor.count) for tensor in state.values()]
    state[PREFIX + "lm_head.weight"] = Tensor(**{"shape": (5, 8), **change})
    assert "lm_head.weight" in imported.fails(archive(tmp_path / "c.pt", pickled(state), storages))


def test_a_storage_of_another_size_is_refused(imported, tmp_path):
    state = {PREFIX + name: Tensor(shape) for name, shape in SHAPES.items()}
    storages = [bytes(4 * tensor.count) for tensor in state.values()]
    for change in (storages[3] + b"more", storages[3][:-4]):
        content = [*storages[:3], change, *storages[4:]]
        assert "data/3" in imported.fails(archive(tmp_path / "c.pt", pickled(state), content))
    assert "no entry" in imported.fails(archive(tmp_path / "c.pt", pickled(state), storages[:3]))


def limit_memory():
    resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20))


@pytest.mark.skipif("sanitize" in BUILD, reason="AddressSanitizer reserves more than any limit")
def test_an_archive_that_would_grow_is_refused_within_little_memory(imported, tmp_path):
    bomb = tmp_path / "bomb.pt"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as out:
        with out.open("some_step/data.pkl", "w", force_zip64=True) as entry:
            for _ in range(32):
                entry.write(bytes(1 << 24))
    assert os.path.getsize(bomb) < 1 << 23
    path = tmp_path / "config.json"
    path.write_text(json.dumps(CONFIG))
    done = subprocess.run([PROGRAM, "import", str(bomb), "--config", str(path), "--out", imported.out],
                          capture_output=True, text=True, timeout=60, preexec_fn=limit_memory)
    assert done.returncode == 1 and "a pickle of 536870912 bytes" in done.stderr


def test_compressed_entries_are_refused(imported, tmp_path):
    assert "compressed" in imported.fails(small(tmp_path / "c.pt", compression=zipfile.ZIP_DEFLATED))


def test_a_pickle_that_repeats_itself_without_end_is_refused(imported, tmp_path):
    """Each tuple holds the one before twice: to write it out would take 2^60 values."""
    nested = ()
    for _ in range(60):
        nested = (nested, nested)
    assert "no state dict" in imported.fails(archive(tmp_path / "c.pt", pickled(nested), []))
    deep = collections.OrderedDict([("x", ())])
    for _ in range(300):
        deep["x"] = (deep["x"],)
    assert "x is no tensor" in imported.fails(archive(tmp_path / "c.pt", pickled(deep), []))


def test_files_that_are_no_archive_are_refused(imported, tmp_path):
    other = tmp_path / "other"
    other.write_bytes(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.")  # before PyTorch 1.6
    assert "zip" in imported.fails(other)
    assert "zip" in imported.fails(tmp_path / "absent")
    with zipfile.ZipFile(other, "w") as out:
        out.writestr("readme", "hello")
    assert "data.pkl" in imported.fails(other)
    with zipfile.ZipFile(other, "w") as out:
        out.writestr("a/data.pkl", b"\x80\x02}.")
        out.writestr("b/data.pkl", b"\x80\x02}.")
    assert "data.pkl" in imported.fails(other)


@pytest.mark.parametrize("arguments", [
    ["import"],
    ["import", "--config", "x"],
    ["import", "x.pt"],
    ["import", "x.pt", "--config", "x"],
    ["import", "x.pt", "--config", "x", "--out", "y", "--puzzle", "chess"],
    ["import", "x.pt", "--config", "x", "--out", "y", "stray"],
])
def test_wrong_usage_ends_with_status_2(arguments):
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "trm-data: " in done.stderr
