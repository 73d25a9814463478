"""The same networks in PyTorch, ONNX Runtime and TRM Server, in one run on one core.

`make bench-peers` runs this in a virtual environment of its own. Two comparisons:

  evaluations  one application of the network, at the sizes of config/models/sudoku-mlp.json and
               arc-attention.json with random weights: what it takes per puzzle
  solving      the bundled checkpoint on Sudokus: peers run the original's 16 fixed steps in their fastest
               setting, trm-eval halts and refills its batch

Before anything is timed the PyTorch module must agree with values of the original (../shared/golden).
All contestants are pinned to one core and timed in CPU time. Evaluations take turns in rounds and the
best round of each counts: other programs can only make one slower. All puzzles are solved once by
each. Of TRM Server whole supervision steps are timed, embedding and heads included, and divided by
the evaluations in them; of the peers the network alone.
"""

import argparse
import csv
import json
import logging
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)
os.environ["OMP_NUM_THREADS"] = "1"

import onnxruntime as ort
import onnxruntime.quantization
import torch
import torch._inductor.config

import trm_torch

SHARED = "../shared"
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}
TOLERANCE = 1e-4  # relative; the goldens' own rounding is a tenth of it
LOSS = 0.03  # a peer that solves this much less than the one in eager f32 does not count as a rival


# ---- peers: (name, dtype, network), the network mapping two tensors [batch, tokens, hidden] to one ----


def onnx_files(level, inputs, folder):
    """The network as ONNX: {dtype: file}, f32 and dynamically quantised to int8."""
    files = {dtype: os.path.join(folder, dtype + ".onnx") for dtype in ("export", "f32", "int8")}
    batch = torch.export.Dim("batch", min=1, max=4096)
    torch.onnx.export(level, inputs, files["export"], dynamo=True, external_data=False, verbose=False,
                      input_names=["z", "injected"], output_names=["out"],
                      dynamic_shapes=({0: batch}, {0: batch}))
    options = session_options()  # weights are turned once, here: the quantiser wants them as they are used
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = files["f32"]
    ort.InferenceSession(files["export"], options)
    onnxruntime.quantization.quantize_dynamic(files["f32"], files["int8"], per_channel=True)
    del files["export"]
    return files


def random_inputs(model, batch, kind):
    """Two different tensors: of one given twice, an exported graph has a single input."""
    return tuple(torch.randn(batch, model.tokens, model.config["hidden_size"]).to(kind) for _ in range(2))


def session_options():
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return options


def onnx_network(path):
    session = ort.InferenceSession(path, session_options(), providers=["CPUExecutionProvider"])

    def network(z, injected):
        feeds = {"z": z.numpy(), "injected": injected.numpy()}
        return torch.from_numpy(session.run(["out"], feeds)[0])

    return network


def peers_of(model, folder):
    """Every peer that can run the network of `model`; makes files in `folder`."""
    inputs = random_inputs(model, 2, torch.float32)
    expected = model.L_level(*inputs)
    networks = []
    for dtype, path in onnx_files(model.L_level, inputs, folder).items():
        networks.append(("ONNX Runtime", dtype, torch.float32, onnx_network(path)))
    for dtype, kind in DTYPES.items():
        level = trm_torch.Level(model.config, model.tokens).eval()
        level.load_state_dict(model.L_level.state_dict())
        level = level.to(kind)
        networks.append(("PyTorch eager", dtype, kind, level))
        networks.append(("PyTorch compiled", dtype, kind, torch.compile(level, dynamic=False)))
    for name, dtype, kind, network in networks:
        distance = (network(*(x.to(kind) for x in inputs)).float() - expected).norm() / expected.norm()
        print(f"  {name} {dtype}: one evaluation is {distance:.1e} from eager f32", flush=True)
    return networks


# ---- measuring ----


def cpu_seconds(function, at_least=0.2):
    """CPU time of one call."""
    calls, start = 0, time.process_time()
    while True:
        function()
        calls += 1
        elapsed = time.process_time() - start
        if elapsed >= at_least:
            return elapsed / calls


def run_ours(*command):
    """(what the program printed as JSON, its CPU seconds), or None where it knows no such dtype."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([*command, "--threads", "1", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode == 2:
        return None
    if done.returncode:
        sys.exit(done.stderr.decode())
    return json.loads(done.stdout), after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def best_of_rounds(contestants, rounds):
    """{key: least time} of {key: function that returns a time or None}, all of them by turns."""
    best = {}
    for _ in range(rounds):
        for key, measure in contestants.items():
            value = measure()
            if value is not None:
                best[key] = min(value, best.get(key, value))
    return best


def contestants_of(model, networks, batches):
    """{(peer, dtype, batch): function that measures an evaluation per puzzle, in ms}"""
    contestants = {}
    for name, dtype, kind, network in networks:
        for batch in batches:
            inputs = random_inputs(model, batch, kind)
            network(*inputs)  # compiles, allocates
            contestants[name, dtype, batch] = \
                lambda n=network, x=inputs, batch=batch: 1e3 * cpu_seconds(lambda: n(*x)) / batch
    return contestants


# ---- evaluations ----


def ours_per_evaluation(program, shape, dtype, model):
    """The better of alone and batched, in ms."""
    result = run_ours(program, "--arch", shape, "--dtype", dtype, "--seconds", "2")
    return result and min(result[0]["step_ms"], result[0]["alone_step_ms"]) / trm_torch.evaluations(model.config)


def compare_evaluations(shape, arguments):
    model = trm_torch.preset(shape)
    print(f"\n== {shape}: {model.tokens} tokens, hidden {model.config['hidden_size']}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        contestants = contestants_of(model, peers_of(model, folder), arguments.batches)
    program = os.path.join(arguments.build, "trm-bench")
    for dtype in ("f32", "bf16", "int8"):
        contestants["TRM Server", dtype, None] = lambda dtype=dtype: ours_per_evaluation(program, shape, dtype, model)
    best = best_of_rounds(contestants, arguments.rounds)

    print(f"\n{'ms per evaluation of a puzzle':30}" + "".join(f"{f'batch {n}':>10}" for n in arguments.batches))
    for name, dtype in dict.fromkeys(key[:2] for key in best):
        if name == "TRM Server":
            print(f"{name + ' ' + dtype:30}{best[name, dtype, None]:10.3f}")
        else:
            print(f"{name + ' ' + dtype:30}" + "".join(f"{best[name, dtype, n]:10.3f}" for n in arguments.batches))
    print()
    for dtype in ("f32", "bf16", "int8"):
        rivals = {key: ms for key, ms in best.items() if key[1] == dtype and key[0] != "TRM Server"}
        ours = best.get(("TRM Server", dtype, None))
        if rivals and ours:
            fastest = min(rivals, key=rivals.get)
            print(f"{dtype:5} {rivals[fastest] / ours:5.2f} times {fastest[0]}, batch {fastest[2]}")


# ---- solving ----


def read_puzzles(path, count):
    """(rows of the CSV, spread evenly over it; inputs, labels: tokens [count, cells])"""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    rows = [rows[i * len(rows) // count] for i in range(min(count, len(rows)))]
    tokens = [[[int(c.replace(".", "0")) + 1 for c in row[key]] for row in rows] for key in ("question", "answer")]
    return rows, *map(torch.tensor, tokens)


def solve(model, network, kind, inputs, batch):
    """Answers after the steps the model was trained with, and the CPU seconds they took."""
    answers, start = [], time.process_time()
    for chunk in inputs.split(batch):
        padded = torch.cat((chunk, chunk[:1].expand(batch - len(chunk), -1)))  # fixed shapes: nothing compiles anew
        e, z_h, z_l = (x.to(kind) for x in model.start(padded, torch.zeros(batch, dtype=torch.int32)))
        for _ in range(model.config["halt_max_steps"]):
            z_h, z_l = model.step(e, z_h, z_l, network)
        answers.append(model.heads(z_h.float())[0].argmax(-1)[:len(chunk)])
    return torch.cat(answers), time.process_time() - start


def compare_solving(arguments):
    model, _ = trm_torch.load(arguments.model)
    rows, inputs, labels = read_puzzles(os.path.join(SHARED, "data/sudoku/test.csv"), arguments.puzzles)
    print(f"\n== solving {len(rows)} Sudokus with {arguments.model}", flush=True)
    results = []  # (name, share solved, puzzles per CPU second)
    with tempfile.TemporaryDirectory() as folder:
        networks = peers_of(model, folder)
        contestants = contestants_of(model, networks, arguments.batches)
        best = best_of_rounds(contestants, arguments.rounds)
        for name, dtype, kind, network in networks:
            batch = min(arguments.batches, key=lambda n: best[name, dtype, n])
            answers, seconds = solve(model, network, kind, inputs, batch)
            solved = float((answers == labels).all(-1).float().mean())
            results.append((f"{name} {dtype}, batch {batch}", solved, len(rows) / seconds))

        data = os.path.join(folder, "puzzles.csv")
        with open(data, "w", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
        program = [os.path.join(arguments.build, "trm-eval"), "--model", arguments.model, "--data", data]
        enough = next(solved for name, solved, _ in results if name.startswith("PyTorch eager f32")) - LOSS
        fastest = max(rate for _, solved, rate in results if solved >= enough)
        for dtype in ("f32", "bf16", "int8"):
            for name, halting in (("fixed steps", "--no-halt"), ("halting head", "--halt"), ("verifier", "--verify")):
                result = run_ours(*program, "--dtype", dtype, halting)
                if result:
                    results.append((f"TRM Server {dtype}, {name}", result[0]["exact_accuracy"],
                                    len(rows) / result[1]))
    print(f"\n{'':42}{'solved':>9}{'per second':>12}{'times the fastest peer':>25}")  # of those that solve enough
    for name, solved, rate in results:
        print(f"{name:42}{100 * solved:7.2f} %{rate:12.2f}{rate / fastest:25.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["sudoku-mlp", "arc-attention", "solving"],
                        help="presets to evaluate, or solving (default: sudoku-mlp arc-attention solving)")
    parser.add_argument("--build", default="build", help="where trm-bench and trm-eval are")
    parser.add_argument("--model", default="server/models/sudoku.safetensors", help="the checkpoint that solves")
    parser.add_argument("--puzzles", type=int, default=512, help="how many to solve")
    parser.add_argument("--batches", type=lambda text: [int(n) for n in text.split(",")], default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()

    core = min(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})  # children inherit it
    torch.set_num_threads(1)
    torch._inductor.config.freezing = True  # weights are constants: packed once
    torch._dynamo.config.recompile_limit = 1000  # one kernel for each batch size
    print(f"PyTorch {torch.__version__}, ONNX Runtime {ort.__version__}; core {core}")
    distance = trm_torch.check(os.path.join(SHARED, "golden"))
    if not distance < TOLERANCE:
        sys.exit(f"the PyTorch module is {distance:.1e} from the original: no comparison")
    print(f"the PyTorch module is {distance:.1e} from the original")
    with torch.inference_mode():
        for what in arguments.what:
            if what == "solving":
                compare_solving(arguments)
            else:
                compare_evaluations(what, arguments)


if __name__ == "__main__":
    main()
