"""trm-train: what a run leaves behind, and that it can be killed and resumed at any moment."""

import json
import os
import random
import signal
import struct
import subprocess
import time
from pathlib import Path

import pytest

BUILD = Path(os.environ.get("TRM_BUILD", "build"))
TRAIN = BUILD / "trm-train"

MODEL = {
    "arch": "trm", "seq_len": 16, "vocab_size": 6, "num_puzzle_identifiers": 1, "puzzle_emb_ndim": 32,
    "puzzle_emb_len": 1, "H_cycles": 2, "L_cycles": 1, "H_layers": 0, "L_layers": 1, "hidden_size": 32,
    "num_heads": 2, "expansion": 4, "inter_multiple": 32, "pos_encodings": "none", "rms_norm_eps": 1e-5,
    "mlp_t": True, "halt_max_steps": 4, "halt_exploration_prob": 0.1, "no_ACT_continue": True,
}
CONFIG = {
    "name": "test", "puzzle": "sudoku", "model": MODEL,
    "data": [{"generate": "sudoku", "size": 4, "classes": [1, 1, 0, 0], "count": 200, "seed": 1}],
    "batch_size": 8, "pool_size": 32, "shards": 2, "steps": 240, "seed": 3,
    "optimizer": {"name": "adam_atan2", "lr": 2e-3, "weight_decay": 0.1, "scale": 1.27},
    "schedule": {"warmup": 10, "constant_fraction": 0.5, "min_ratio": 0.1}, "ema": {"rate": 0.99, "ramp": True},
    "checkpoint_every": 30, "log_every": 7,
    "eval": {"generate": "sudoku", "size": 4, "classes": [1, 1, 0, 0], "count": 40, "seed": 2, "every": 45},
}


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(CONFIG))
    return path


def command(config, out, *more):
    return [str(TRAIN), "--config", str(config), "--out", str(out), *more]


def train(config, out, *more):
    return subprocess.run(command(config, out, *more), capture_output=True, text=True, timeout=120)


def log_lines(out):
    text = (out / "log.jsonl").read_text() if (out / "log.jsonl").exists() else ""
    return text.splitlines()


def tensors(path):
    """The data of a safetensors file, without its header."""
    data = path.read_bytes()
    return data[8 + struct.unpack("<Q", data[:8])[0]:]


def metadata(path):
    data = path.read_bytes()
    return json.loads(data[8:8 + struct.unpack("<Q", data[:8])[0]])["__metadata__"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that nobody interrupted."""
    directory = tmp_path_factory.mktemp("finished")
    path = directory / "config.json"
    path.write_text(json.dumps(CONFIG))
    result = train(path, directory / "run")
    assert result.returncode == 0, result.stderr
    return directory / "run"


def test_a_run_leaves_its_log_checkpoints_best_and_state(finished):
    names = {p.name for p in finished.iterdir()}
    assert {"log.jsonl", "timing.jsonl", "best.safetensors", "state.safetensors"} <= names
    assert {f"step_{n}.safetensors" for n in range(30, 241, 30)} <= names
    assert not [n for n in names if "tmp" in n]
    lines = [json.loads(line) for line in log_lines(finished)]
    updates = [line["step"] for line in lines if "loss" in line]
    assert updates == list(range(7, 240, 7)) + [240]
    evaluations = [line["step"] for line in lines if "eval" in line]
    assert evaluations == [45, 90, 135, 180, 225, 240]


def test_a_checkpoint_says_where_it_comes_from(finished):
    meta = metadata(finished / "step_240.safetensors")
    provenance = json.loads(meta["provenance"])
    assert meta["puzzle"] == "sudoku"
    assert json.loads(meta["config"])["arch"] == "trm"
    assert provenance["updates"] == 240 and provenance["puzzle_steps"] == 240 * 8
    assert provenance["settings"]["optimizer"]["lr"] == 2e-3
    assert "--config" in provenance["command"] and provenance["hours"] > 0


def test_the_loss_falls_and_puzzles_get_solved(config, tmp_path):
    result = train(config, tmp_path / "run", "--set", "steps=900", "--set", "eval.every=900")
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in log_lines(tmp_path / "run")]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < losses[0] / 2
    assert lines[-1]["eval"]["exact_accuracy"] > 0.5


def assert_same_run(out, finished):
    assert log_lines(out) == log_lines(finished)
    for name in ("step_240.safetensors", "best.safetensors"):
        assert tensors(out / name) == tensors(finished / name)


def test_killed_at_random_moments_and_resumed_it_is_the_same_run(config, tmp_path, finished):
    out, chance, kills = tmp_path / "run", random.Random(7), 0
    while True:
        target = len(log_lines(out)) + chance.randrange(2, 12)
        process = subprocess.Popen(command(config, out, "--resume"), stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while process.poll() is None and len(log_lines(out)) < target and time.monotonic() < deadline:
            time.sleep(0.002)
        if process.poll() is not None:
            assert process.returncode == 0
            break
        process.kill()
        process.wait()
        kills += 1
        assert kills < 100
    assert kills > 0
    assert_same_run(out, finished)


def test_a_signal_saves_the_state_and_resuming_goes_on_from_there(config, tmp_path, finished):
    out = tmp_path / "run"
    process = subprocess.Popen(command(config, out), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while len(log_lines(out)) < 5 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "--resume" in stderr or "update 240" in stderr
    result = train(config, out, "--resume")
    assert result.returncode == 0, result.stderr
    assert_same_run(out, finished)


def test_the_result_does_not_depend_on_the_number_of_threads(config, tmp_path, finished):
    result = train(config, tmp_path / "run", "--set", "threads=1")
    assert result.returncode == 0, result.stderr
    assert_same_run(tmp_path / "run", finished)


def test_a_directory_with_a_run_is_not_overwritten_by_accident(config, finished):
    before = (finished / "state.safetensors").read_bytes()
    result = train(config, finished)
    assert result.returncode == 1 and "--resume" in result.stderr
    assert (finished / "state.safetensors").read_bytes() == before


def test_a_damaged_state_is_refused(config, tmp_path):
    out = tmp_path / "run"
    assert train(config, out, "--set", "steps=30").returncode == 0
    state = out / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-100])
    result = train(config, out, "--resume")
    assert result.returncode == 1 and "state.safetensors" in result.stderr


def test_a_state_of_another_model_is_refused(config, tmp_path):
    out = tmp_path / "run"
    assert train(config, out, "--set", "steps=30").returncode == 0
    result = train(config, out, "--resume", "--set", "model.hidden_size=48", "--set", "model.puzzle_emb_ndim=48")
    assert result.returncode == 1 and "does not fit" in result.stderr


@pytest.mark.parametrize("setting, named", [
    ("nonsense=1", "nonsense"),
    ("batch_size=0", "batch_size"),
    ("optimizer.lr=-1", "lr"),
    ("model.hidden_size=0", "hidden_size"),
    ("data.0.size=5", "size"),
])
def test_a_bad_setting_is_named(config, tmp_path, setting, named):
    result = train(config, tmp_path / "run", "--set", setting)
    assert result.returncode == 1 and named in result.stderr


def test_a_batch_that_the_shards_cannot_share_equally_is_refused(config, tmp_path):
    result = train(config, tmp_path / "run", "--set", "shards=3")
    assert result.returncode == 1 and "shards" in result.stderr


PROBES = ["--set", "probe.rows=2", "--set", "probe.halting=true", "--set", "steps=60", "--set", "checkpoint_every=20"]


def test_probes_are_reported_apart_and_a_killed_run_counts_them_the_same(config, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    result = train(config, whole, *PROBES)
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in log_lines(whole)]
    probes = [line["probe"] for line in lines if "loss" in line]
    assert sum(probe["halted"] for probe in probes) > 0
    for probe in probes:
        assert probe["confident"] <= probe["halted"]
        assert (probe["exact_accuracy"] is None) == (probe["halted"] == 0)
        assert (probe["halt_precision"] is None) == (probe["confident"] == 0)
    process = subprocess.Popen(command(config, parts, *PROBES), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(log_lines(parts)) < 4 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.kill()
    process.wait()
    assert train(config, parts, "--resume", *PROBES).returncode == 0
    assert log_lines(parts) == log_lines(whole)


def test_probes_of_their_own_source_and_a_run_that_takes_them_up_later(config, tmp_path):
    out = tmp_path / "run"
    assert train(config, out, "--set", "steps=30").returncode == 0
    own = ["--set", 'probe={"rows": 2, "generate": "sudoku", "size": 4, "classes": [1, 0, 0, 0], "count": 20}']
    result = train(config, out, "--resume", "--set", "steps=60", *own)
    assert result.returncode == 0, result.stderr
    assert any("probe" in json.loads(line) for line in log_lines(out))


LEVERS = {
    "carried latents in 16 bits": ["carry_bf16=true"],
    "cycles that grow": ['stages=[{"until": 0.2, "H_cycles": 1, "L_cycles": 1}, '
                         '{"until": 0.6, "H_cycles": 2, "L_cycles": 1}]', "model.L_cycles=2"],
    "gradient of the last updates": ["gradient=last_updates", "model.L_cycles=2"],
    "data that changes": ['data=[{"generate": "sudoku", "size": 4, "classes": [1, 0, 0, 0], "count": 50, '
                          '"final_weight": 0}, {"generate": "sudoku", "size": 4, "classes": [0, 1, 0, 0], "count": 50, '
                          '"weight": 0, "final_weight": 1}]', 'curriculum={"from": 0.1, "to": 0.9}'],
    "clues from the answer": ['data=[{"generate": "sudoku", "size": 4, "classes": [1, 1, 0, 0], "count": 200, "seed": 1, '
                              '"reveal": 3}]'],
    "hints": ["hint_prob=0.5"],
    "steps that weigh more": ["supervision_weight.first=0.5", "supervision_weight.last=1.5"],
    "puzzles without end": ['data=[{"generate": "sudoku", "size": 4, "classes": [1, 1, 0, 0], "count": 0}]'],
    "probes without end": ['probe={"rows": 2, "generate": "sudoku", "size": 4, "classes": [1, 1, 0, 0], "count": 0}'],
    "a minimum of steps": ["min_halt_steps=3", "eval.max_steps=2"],
}


@pytest.mark.parametrize("lever", LEVERS)
def test_every_lever_changes_the_run_and_survives_a_kill(config, tmp_path, finished, lever):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    sets = [word for change in LEVERS[lever] for word in ("--set", change)] + ["--set", "steps=90"]
    result = train(config, whole, *sets)
    assert result.returncode == 0, result.stderr
    assert log_lines(whole) != log_lines(finished)[:len(log_lines(whole))]
    process = subprocess.Popen(command(config, parts, *sets), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(log_lines(parts)) < 8 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.kill()
    process.wait()
    assert train(config, parts, "--resume", *sets).returncode == 0
    assert log_lines(parts) == log_lines(whole)


def test_a_checkpoint_has_the_cycles_that_its_weights_were_trained_with(config, tmp_path):
    out = tmp_path / "run"
    result = train(config, out, "--set", "model.L_cycles=3", "--set", "steps=60", "--set",
                   'stages=[{"until": 0.5, "H_cycles": 1, "L_cycles": 2}]')
    assert result.returncode == 0, result.stderr
    cycles = [[json.loads(metadata(out / f"step_{step}.safetensors")["config"])[key] for key in ("H_cycles", "L_cycles")]
              for step in (30, 60)]
    assert cycles == [[1, 2], [2, 3]]


def test_a_pool_that_the_machine_cannot_hold_is_refused_at_once(config, tmp_path):
    result = train(config, tmp_path / "run", "--set", "pool_size=1048576", "--set", "model.hidden_size=256", "--set",
                   "model.puzzle_emb_len=512", "--set", "random_initial_steps=false")
    assert result.returncode == 1 and "more than this machine has" in result.stderr


def test_a_wider_run_starts_where_a_narrow_one_ended(config, tmp_path):
    narrow, wide = tmp_path / "narrow", tmp_path / "wide"
    assert train(config, narrow, "--set", "steps=400", "--set", "eval.every=400").returncode == 0
    start = ["--set", f"start_from={narrow / 'step_400.safetensors'}", "--set", "steps=1", "--set", "optimizer.lr=0",
             "--set", "model.hidden_size=64", "--set", "model.puzzle_emb_ndim=64"]
    result = train(config, wide, *start)
    assert result.returncode == 0, result.stderr
    accuracy = [json.loads(log_lines(run)[-1])["eval"]["cell_accuracy"] for run in (narrow, wide)]
    assert accuracy[0] > 0.7 and accuracy[1] == pytest.approx(accuracy[0], abs=0.02)
    result = train(config, tmp_path / "bad", "--set", f"start_from={narrow / 'step_400.safetensors'}", "--set",
                   "model.hidden_size=48")
    assert result.returncode == 1 and "start_from" in result.stderr and "multiple" in result.stderr


def test_only_puzzles_with_the_ratings_that_were_asked_for_are_taken(config, tmp_path):
    csv = tmp_path / "puzzles.csv"
    subprocess.run([str(BUILD / "trm-data"), "generate", "sudoku", "--size", "4", "--count", "20", "--out", str(csv)],
                   check=True, capture_output=True, timeout=60)
    data = '{"path": "%s", "min_rating": %d, "max_rating": 9}'
    sets = ["--set", "steps=2", "--set"]
    assert train(config, tmp_path / "some", *sets, "data=[" + data % (csv, 0) + "]").returncode == 0
    result = train(config, tmp_path / "none", *sets, "data=[" + data % (csv, 5) + "]")
    assert result.returncode == 1 and "rating from 5 to 9" in result.stderr


def test_a_checkpoint_says_how_sure_its_halting_head_must_be(config, tmp_path, start):
    def steps(*flags):
        result = subprocess.run([str(BUILD / "trm-eval"), "--model", str(model), "--data", str(csv), "--json", *flags],
                                check=True, capture_output=True, timeout=60)
        return json.loads(result.stdout)["mean_steps"]

    csv, model = tmp_path / "puzzles.csv", tmp_path / "run" / "step_2.safetensors"
    subprocess.run([str(BUILD / "trm-data"), "generate", "sudoku", "--size", "4", "--count", "8", "--out", str(csv)],
                   check=True, capture_output=True, timeout=60)
    result = train(config, tmp_path / "run", "--set", "steps=2", "--set", "halt_threshold=-90.5")
    assert result.returncode == 0, result.stderr
    assert metadata(model)["halt_threshold"] == "-90.5"
    assert steps() == 1 and steps("--halt-threshold", "90") == 4
    server = start(model=str(model))
    assert server.get("/models").json()["models"][0]["halt_threshold"] == -90.5
    assert server.solve("1...............", verify=False)["steps"] == 1
    assert server.solve("1...............", verify=False, halt_threshold=90)["steps"] == 4


def average(out, *checkpoints):
    return subprocess.run([str(TRAIN), "--average", "--out", str(out), *map(str, checkpoints)], capture_output=True,
                          text=True, timeout=60)


def test_an_average_lies_in_the_middle_of_its_checkpoints_and_says_what_they_are(finished, tmp_path):
    def weights(path):
        data = path.read_bytes()
        size = struct.unpack("<Q", data[:8])[0]
        start, end = json.loads(data[8:8 + size])["L_level.layers.0.mlp.gate_up_proj.weight"]["data_offsets"]
        return struct.unpack(f"<{(end - start) // 4}f", data[8 + size + start:8 + size + end])

    out = tmp_path / "mean.safetensors"
    parts = [finished / f"step_{step}.safetensors" for step in (30, 120, 240)]
    result = average(out, *parts)
    assert result.returncode == 0, result.stderr
    assert weights(parts[0]) != weights(parts[2])
    for mean, *values in zip(weights(out), *map(weights, parts)):
        assert mean == pytest.approx(sum(values) / 3, abs=1e-6)
    meta, source = metadata(out), metadata(parts[0])
    assert [meta[key] for key in ("config", "puzzle", "halt_threshold")] == \
           [source[key] for key in ("config", "puzzle", "halt_threshold")]
    provenance = json.loads(meta["provenance"])
    assert "--average" in provenance["command"]
    assert [part["updates"] for part in provenance["average_of"]] == [30, 120, 240]
    assert ["settings" in part for part in provenance["average_of"]] == [True, False, False]
    csv = tmp_path / "puzzles.csv"
    subprocess.run([str(BUILD / "trm-data"), "generate", "sudoku", "--size", "4", "--count", "8", "--out", str(csv)],
                   check=True, capture_output=True, timeout=60)
    subprocess.run([str(BUILD / "trm-eval"), "--model", str(out), "--data", str(csv)], check=True, timeout=60)


def test_an_average_of_what_does_not_belong_together_is_refused(config, finished, tmp_path):
    out, one = tmp_path / "mean.safetensors", finished / "step_240.safetensors"
    assert train(config, tmp_path / "other", "--set", "steps=1", "--set", "model.L_cycles=2").returncode == 0
    for checkpoints, why in [((one,), "two checkpoints"), ((one, tmp_path / "none"), "none"),
                             ((one, tmp_path / "other" / "step_1.safetensors"), "configuration"),
                             ((Path("server/models/arc.safetensors"), one), "ARC")]:
        result = average(out, *checkpoints)
        assert result.returncode == 1 and why in result.stderr, result.stderr
    assert not out.exists()


@pytest.mark.parametrize("arguments, code", [([], 2), (["--average", "x"], 2),
                                             (["--average", "--out", "x", "--resume", "y", "z"], 2), (["--config", "x"], 2), (["--bogus"], 2), (["stray"], 2),
                                             (["--help"], 0), (["--version"], 0)])
def test_usage(arguments, code):
    assert subprocess.run([str(TRAIN), *arguments], capture_output=True, timeout=60).returncode == code


@pytest.mark.parametrize("changes", [
    ["model.arch=trm_singlez"],
    ["model.arch=trm_hier6"],
    ["model.arch=hrm", "model.H_layers=1", "model.no_ACT_continue=false"],
    ["model.arch=transformers_baseline", "model.H_layers=1", "model.mlp_t=false"],
    ["model.mlp_t=false", "model.pos_encodings=rope"],
    ["model.mlp_t=false", "model.pos_encodings=learned", "loss=softmax", "optimizer.name=adamw"],
])
def test_every_architecture_trains_and_its_checkpoint_can_be_evaluated(config, tmp_path, changes):
    out = tmp_path / "run"
    sets = [word for change in changes for word in ("--set", change)]
    result = train(config, out, "--set", "steps=60", *sets)
    assert result.returncode == 0, result.stderr
    losses = [json.loads(line)["loss"] for line in log_lines(out) if '"loss"' in line]
    assert losses[-1] < losses[0]
    csv = tmp_path / "puzzles.csv"
    subprocess.run([str(BUILD / "trm-data"), "generate", "sudoku", "--size", "4", "--count", "20", "--out", str(csv)],
                   check=True, capture_output=True, timeout=60)
    evaluated = subprocess.run([str(BUILD / "trm-eval"), "--model", str(out / "step_60.safetensors"), "--data",
                                str(csv), "--json"], capture_output=True, text=True, timeout=60)
    assert evaluated.returncode == 0, evaluated.stderr
    assert json.loads(evaluated.stdout)["puzzles"] == 20
