"""The TRM network in PyTorch, as ../shared/golden/README.md section 3 describes it.

Written for inference speed: weights in the computing type from the start, the library's own
attention, nothing that training needs. check() holds it against values of the original.
"""

import json
import math
import os

import safetensors
import safetensors.torch
import torch
import torch.nn.functional as F

GOLDENS = ["infer_trm_mlp", "infer_trm_attn_rope", "infer_trm_mlp_medium", "infer_trm_attn_medium"]


def rms_norm(x, eps):
    wide = x.float()
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)).to(x.dtype)


class GatedMLP(torch.nn.Module):
    def __init__(self, width, inner):
        super().__init__()
        self.gate_up_proj = torch.nn.Linear(width, 2 * inner, bias=False)
        self.down_proj = torch.nn.Linear(inner, width, bias=False)

    def forward(self, x):
        gate, up = self.gate_up_proj(x).chunk(2, dim=-1)
        return self.down_proj(F.silu(gate) * up)


def what_heads_see(config, tokens):
    """[heads, tokens, tokens], true where a query sees a key (engine/ops/reach.h); None: everywhere."""
    kind, cells = config.get("attention", "all"), config["seq_len"]
    if kind == "all":
        return None
    side = math.isqrt(cells)
    rows = max(i for i in range(1, side + 1) if side % i == 0 and i * i <= side)  # of a box
    row, column = torch.arange(cells) // side, torch.arange(cells) % side
    if kind == "units":
        sets = [row, column, row // rows * rows + column // (side // rows)]
        near = torch.stack([group[:, None] == group for group in sets])
    else:
        apart = torch.maximum((row[:, None] - row).abs(), (column[:, None] - column).abs())
        near = (apart <= config["attention_radius"])[None]
    seen = torch.ones(config["num_heads"], tokens, tokens, dtype=torch.bool)
    seen[:, tokens - cells:, tokens - cells:] = near[torch.arange(config["num_heads"]) % len(near)]
    return seen


class Attention(torch.nn.Module):
    def __init__(self, config, tokens):
        super().__init__()
        self.heads, self.dim = config["num_heads"], config["hidden_size"] // config["num_heads"]
        self.qkv_proj = torch.nn.Linear(config["hidden_size"], 3 * self.heads * self.dim, bias=False)
        self.o_proj = torch.nn.Linear(self.heads * self.dim, config["hidden_size"], bias=False)
        self.rope = config["pos_encodings"] == "rope"
        frequency = config["rope_theta"] ** (-torch.arange(0, self.dim, 2).float() / self.dim)
        angle = torch.outer(torch.arange(tokens).float(), frequency).repeat(1, 2)
        self.cos, self.sin = angle.cos(), angle.sin()  # [tokens, dim], f32 whatever the model computes in
        self.seen = what_heads_see(config, tokens)

    def rotate(self, x):
        first, second = x.float().chunk(2, dim=-1)
        return (x * self.cos + torch.cat((-second, first), dim=-1) * self.sin).to(x.dtype)

    def forward(self, x):
        batch, tokens, _ = x.shape
        q, k, v = self.qkv_proj(x).view(batch, tokens, 3 * self.heads, self.dim).transpose(1, 2).chunk(3, dim=1)
        if self.rope:
            q, k = self.rotate(q), self.rotate(k)
        mixed = F.scaled_dot_product_attention(q, k, v, self.seen)
        return self.o_proj(mixed.transpose(1, 2).reshape(batch, tokens, -1))


class Block(torch.nn.Module):
    def __init__(self, config, tokens):
        super().__init__()
        hidden, self.eps = config["hidden_size"], config["rms_norm_eps"]
        self.mlp = GatedMLP(hidden, inner_size(config, hidden))
        if config["mlp_t"]:
            self.mlp_t = GatedMLP(tokens, inner_size(config, tokens))
        else:
            self.self_attn = Attention(config, tokens)

    def forward(self, x):
        if hasattr(self, "mlp_t"):
            x = x.transpose(1, 2)
            x = rms_norm(x + self.mlp_t(x), self.eps).transpose(1, 2)
        else:
            x = rms_norm(x + self.self_attn(x), self.eps)
        return rms_norm(x + self.mlp(x), self.eps)


class Level(torch.nn.Module):
    """One evaluation of the network: what the recursion is made of."""

    def __init__(self, config, tokens):
        super().__init__()
        self.layers = torch.nn.ModuleList(Block(config, tokens) for _ in range(config["L_layers"]))

    def forward(self, z, injected):
        x = z + injected
        for layer in self.layers:
            x = layer(x)
        return x


class Model(torch.nn.Module):
    """Architecture "trm"."""

    def __init__(self, config):
        super().__init__()
        hidden = config["hidden_size"]
        self.config, self.prefix = config, config["puzzle_emb_len"] or -(-config["puzzle_emb_ndim"] // hidden)
        self.tokens = self.prefix + config["seq_len"]
        self.embed = torch.nn.Embedding(config["vocab_size"], hidden)
        self.puzzle_emb = torch.nn.Embedding(config["num_puzzle_identifiers"], config["puzzle_emb_ndim"])
        self.L_level = Level(config, self.tokens)
        self.lm_head = torch.nn.Linear(hidden, config["vocab_size"], bias=False)
        self.q_head = torch.nn.Linear(hidden, 2)
        self.register_buffer("H_init", torch.randn(hidden))
        self.register_buffer("L_init", torch.randn(hidden))

    def start(self, inputs, puzzle_ids):
        """Input embeddings and the two latents before the first step, [batch, tokens, hidden] each."""
        batch, hidden = len(inputs), self.config["hidden_size"]
        puzzle = self.puzzle_emb(puzzle_ids)
        puzzle = F.pad(puzzle, (0, self.prefix * hidden - puzzle.shape[-1])).view(batch, self.prefix, hidden)
        e = math.sqrt(hidden) * torch.cat((puzzle, self.embed(inputs)), dim=1)
        return e, *(init.expand(batch, self.tokens, hidden).contiguous() for init in (self.H_init, self.L_init))

    def step(self, e, z_h, z_l, level=None):
        """One supervision step. `level` stands in for the network: something that is called like it."""
        level = self.L_level if level is None else level
        for _ in range(self.config["H_cycles"]):
            for _ in range(self.config["L_cycles"]):
                z_l = level(z_l, z_h + e)
            z_h = level(z_h, z_l)
        return z_h, z_l

    def heads(self, z_h):
        return self.lm_head(z_h[:, self.prefix:]), self.q_head(z_h[:, 0])


def inner_size(config, width):
    multiple = config.get("inter_multiple", 256)
    return -(-round(config["expansion"] * width * 2 / 3) // multiple) * multiple


def evaluations(config):
    """Of the network in a supervision step."""
    return config["H_cycles"] * (config["L_cycles"] + 1)


def preset(name):
    """A model with the weights that PyTorch gives it."""
    with open(f"config/models/{name}.json") as file:
        return Model(json.load(file)).eval()


def load(path):
    """(model, tensors of the file that are no weights)"""
    with safetensors.safe_open(path, "pt") as file:
        config = json.loads(file.metadata()["config"])
    renamed = {"embed_tokens.embedding_weight": "embed.weight", "puzzle_emb.weights": "puzzle_emb.weight"}
    tensors = {renamed.get(name, name): value for name, value in safetensors.torch.load_file(path).items()}
    model = Model(config).eval()
    model.load_state_dict({name: tensors.pop(name) for name in model.state_dict()})
    return model, tensors


@torch.inference_mode()
def check(folder):
    """The worst relative L2 distance of the logits from those of the original, over the goldens."""
    worst = 0.0
    for name in GOLDENS:
        model, io = load(os.path.join(folder, name + ".safetensors"))
        e, z_h, z_l = model.start(io["io.inputs"], io["io.puzzle_identifiers"])
        for k in range(1, 5):
            z_h, z_l = model.step(e, z_h, z_l)
            logits, q = model.heads(z_h)
            for value, golden in ((logits, io[f"io.step{k}.logits"]), (q, io[f"io.step{k}.q_logits"])):
                worst = max(worst, float((value - golden).norm() / golden.norm()))
    return worst
