"""trm-train as several processes: the run of one with the same batch. TRM_MPI_BUILD (default: build-mpi) is what
`make MPI=1 all build-tests` has built."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from conftest import ROOT
from test_trm_train import CONFIG, command, log_lines, tensors

BUILD = Path(os.environ.get("TRM_MPI_BUILD", os.path.join(ROOT, "build-mpi")))
GOLDEN = Path(ROOT).parent / "shared" / "golden"

pytestmark = pytest.mark.skipif(not shutil.which("mpirun") or not (BUILD / "trm-train").exists(),
                                reason="no mpirun, or not built with make MPI=1")


def mpirun(processes, *words):
    return ["mpirun", "--allow-run-as-root", "--oversubscribe", "--mca", "mpi_yield_when_idle", "1",
            "-n", str(processes), *map(str, words)]


def train(processes, config, out, *more):
    words = command(config, out, *more)
    return subprocess.run(mpirun(processes, BUILD / "trm-train", *words[1:]), capture_output=True, text=True,
                          timeout=300)


def write_config(directory, **changes):
    path = directory / "config.json"
    path.write_text(json.dumps({**CONFIG, "steps": 60, "threads": 1, **changes}))
    return path


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """(settings, directory) of a run of one process, of the very program."""
    directory = tmp_path_factory.mktemp("alone")
    config = write_config(directory)
    result = subprocess.run([BUILD / "trm-train", *command(config, directory / "run")[1:]], capture_output=True,
                            text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return config, directory / "run"


def test_two_processes_write_the_log_and_the_weights_of_one(alone, tmp_path):
    """With a shard for each, to the last bit."""
    config, expected = alone
    result = train(2, config, tmp_path / "run")
    assert result.returncode == 0, result.stderr
    assert log_lines(tmp_path / "run") == log_lines(expected)
    for name in ("step_60.safetensors", "best.safetensors"):
        assert tensors(tmp_path / "run" / name) == tensors(expected / name)


def test_what_two_processes_began_one_ends(alone, tmp_path):
    config, expected = alone
    out = tmp_path / "run"
    first = subprocess.Popen(mpirun(2, BUILD / "trm-train", *command(config, out)[1:]), stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(log_lines(out)) < 3 and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    first.send_signal(signal.SIGTERM)
    first.wait(120)
    result = subprocess.run([BUILD / "trm-train", *command(config, out, "--resume")[1:]], capture_output=True,
                            text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert log_lines(out) == log_lines(expected)
    assert tensors(out / "step_60.safetensors") == tensors(expected / "step_60.safetensors")


def test_four_processes_and_sums_in_another_order_make_no_difference_that_counts(tmp_path):
    config = write_config(tmp_path, shards=8, batch_size=8, steps=20, log_every=1, eval={})
    result = subprocess.run([BUILD / "trm-train", *command(config, tmp_path / "one")[1:]], capture_output=True,
                            text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    result = train(4, config, tmp_path / "four")
    assert result.returncode == 0, result.stderr
    losses = [[json.loads(line)["loss"] for line in log_lines(tmp_path / name)] for name in ("one", "four")]
    assert len(losses[0]) == 20
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    assert losses[1][:3] == pytest.approx(losses[0][:3], rel=1e-6)


@pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"no {GOLDEN} beside this checkout")
@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("name", ["train_trm_mlp", "train_trm_attn", "train_hrm"])
def test_the_original_s_training_runs_are_reproduced(processes, name):
    """Losses, gradients (those of the puzzle embedding too), halting, weights, averages, latents."""
    result = subprocess.run(mpirun(processes, BUILD / "tests" / "parity", GOLDEN / f"{name}.safetensors"),
                            capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("1 passed, 0 failed") == processes


def test_shards_that_the_processes_cannot_share_are_refused(alone, tmp_path):
    result = train(3, alone[0], tmp_path / "run")
    assert result.returncode != 0 and "2 shards cannot be split among 3 processes" in result.stderr


def test_a_process_with_other_settings_ends_all(alone, tmp_path):
    config, _ = alone
    words = [str(BUILD / "trm-train"), *command(config, tmp_path / "run")[1:]]
    result = subprocess.run([*mpirun(1, *words), ":", "-n", "1", *words, "--set", "seed=4"], capture_output=True,
                            text=True, timeout=120)
    assert result.returncode != 0 and "other settings or data" in result.stderr


def test_levers_pull_the_same_in_every_process(tmp_path):
    """Probes on one side of the batch, cycles that change, latents in 16 bits: also in the state that one goes on with."""
    config = write_config(tmp_path)
    levers = ["--set", "probe.rows=2", "--set", "probe.halting=true", "--set", "carry_bf16=true", "--set",
              'stages=[{"until": 0.5, "H_cycles": 1, "L_cycles": 1}]']
    results = [subprocess.run([BUILD / "trm-train", *command(config, tmp_path / "alone", *levers)[1:]],
                              capture_output=True, text=True, timeout=120),
               train(2, config, tmp_path / "both", *levers)]
    assert all(result.returncode == 0 for result in results), results
    lines = log_lines(tmp_path / "both")
    assert lines == log_lines(tmp_path / "alone") and '"probe"' in lines[0]
    assert tensors(tmp_path / "both" / "step_60.safetensors") == tensors(tmp_path / "alone" / "step_60.safetensors")
    more = [subprocess.run([BUILD / "trm-train", *command(config, tmp_path / out, "--resume", "--set", "steps=66",
                                                          *levers)[1:]], capture_output=True, text=True, timeout=120)
            for out in ("alone", "both")]
    assert all(result.returncode == 0 for result in more), more
    assert log_lines(tmp_path / "both") == log_lines(tmp_path / "alone")
