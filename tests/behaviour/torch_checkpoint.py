"""Files as torch.save() writes them, made without PyTorch: Python's own pickler on stand-ins for its classes."""

import collections
import contextlib
import io
import pickle
import struct
import sys
import types
import zipfile

PREFIX = "_orig_mod.model.inner."
CODES = {"FloatStorage": "f", "DoubleStorage": "d", "HalfStorage": "e", "BFloat16Storage": None}

# A model of a few hundred values, and the shapes of its tensors.
CONFIG = {
    "arch": "trm", "seq_len": 4, "vocab_size": 5, "num_puzzle_identifiers": 3, "puzzle_emb_ndim": 8,
    "puzzle_emb_len": 1, "H_cycles": 1, "L_cycles": 1, "L_layers": 1, "hidden_size": 8, "num_heads": 2,
    "expansion": 1, "inter_multiple": 8, "pos_encodings": "rope", "halt_max_steps": 2,
}
SHAPES = {
    "H_init": (8,),
    "L_init": (8,),
    "embed_tokens.embedding_weight": (5, 8),
    "lm_head.weight": (5, 8),
    "q_head.weight": (2, 8),
    "q_head.bias": (2,),
    "puzzle_emb.weights": (3, 8),
    "L_level.layers.0.self_attn.qkv_proj.weight": (24, 8),
    "L_level.layers.0.self_attn.o_proj.weight": (8, 8),
    "L_level.layers.0.mlp.gate_up_proj.weight": (16, 8),
    "L_level.layers.0.mlp.down_proj.weight": (8, 8),
}


def _rebuild_tensor_v2(*arguments):
    raise AssertionError("this is written, never called")


_rebuild_tensor_v2.__module__ = "torch._utils"
_rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"


@contextlib.contextmanager
def stand_ins():
    """Modules under the names that a pickle has for PyTorch's."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in CODES:
        setattr(torch, name, type(name, (), {"__module__": "torch"}))
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    torch._utils = utils
    kept = {name: sys.modules.pop(name) for name in ("torch", "torch._utils") if name in sys.modules}
    sys.modules.update({"torch": torch, "torch._utils": utils})
    try:
        yield torch
    finally:
        del sys.modules["torch"], sys.modules["torch._utils"]
        sys.modules.update(kept)


class Storage:
    def __init__(self, kind, key, count):
        self.kind, self.key, self.count = kind, key, count


class Tensor:
    """`offset`, `strides` and `storage_count` are what torch.save() writes for a whole tensor unless given."""

    def __init__(self, shape, kind="FloatStorage", offset=0, strides=None, storage_count=None):
        self.shape, self.kind, self.offset = tuple(shape), kind, offset
        self.count = 1
        natural = []
        for size in reversed(self.shape):
            natural.insert(0, self.count)
            self.count *= size
        self.strides = tuple(natural) if strides is None else strides
        self.storage_count = self.count if storage_count is None else storage_count
        self.key = "0"

    def __reduce__(self):
        storage = Storage(self.kind, self.key, self.storage_count)
        hooks = collections.OrderedDict()
        return _rebuild_tensor_v2, (storage, self.offset, self.shape, self.strides, False, hooks)


class StateDict(collections.OrderedDict):
    """Pickled as the OrderedDict that it stands for."""

    def __reduce__(self):
        return collections.OrderedDict, (), {"_metadata": self.metadata}, None, iter(self.items())


def pickled(state):
    """The pickle of a dict of Tensors (or of anything else), whose keys are numbered from 0."""
    if isinstance(state, dict):
        tensors = [value for value in state.values() if isinstance(value, Tensor)]
        for key, tensor in enumerate(tensors):
            tensor.key = str(key)
    with stand_ins() as torch:
        class Pickler(pickle.Pickler):
            def persistent_id(self, item):
                if isinstance(item, Storage):
                    return ("storage", getattr(torch, item.kind), item.key, "cuda:0", item.count)
                return None

        out = io.BytesIO()
        Pickler(out, 2).dump(state)
    return out.getvalue()


def encode(kind, values):
    if CODES[kind]:
        return struct.pack("<%d%s" % (len(values), CODES[kind]), *values)
    return b"".join(struct.pack("<f", value)[2:] for value in values)


def archive(path, pickle_bytes, storages, compression=zipfile.ZIP_STORED, zip64=False, extra=()):
    """Writes the zip file: the pickle, storages [bytes], and entries (name, bytes) besides."""
    entries = [("data.pkl", pickle_bytes), *(("data/%d" % key, data) for key, data in enumerate(storages))]
    with zipfile.ZipFile(path, "w", compression) as out:
        for name, data in [*entries, *extra, ("version", b"3\n")]:
            with out.open(zipfile.ZipInfo("some_step/" + name) if compression == zipfile.ZIP_STORED else
                          "some_step/" + name, "w", force_zip64=zip64) as entry:
                entry.write(data)
    return str(path)


def values_of(index, count):
    """Values of tensor `index`, no two alike, that every type holds exactly."""
    return [(index + 1) * (i % 2 * 2 - 1) * (1 + i % 64 / 64) for i in range(count)]


def small(path, kinds=None, **options):
    """A checkpoint of the model CONFIG; `kinds`: {name: storage type} for those that are not floats."""
    state = StateDict()
    state.metadata = collections.OrderedDict([("", {"version": 1}), ("_orig_mod", {"version": 1})])
    storages = []
    for index, (name, shape) in enumerate(SHAPES.items()):
        tensor = Tensor(shape, (kinds or {}).get(name, "FloatStorage"))
        state[PREFIX + name] = tensor
        storages.append(encode(tensor.kind, values_of(index, tensor.count)))
    return archive(path, pickled(state), storages, **options)
