"""trm-bench as a program: that its numbers agree with each other, and what it refuses.

Nothing here says how fast anything is: a loaded machine must not fail a test.
"""

import glob
import json
import os
import subprocess

import pytest

BENCH = os.path.join(os.environ.get("TRM_BUILD", "build"), "trm-bench")
SMALL = ["--arch", "sudoku-demo", "--seconds", "1"]
PEAKS = ["f32", "bf16", "int8"]


def run(*arguments):
    return subprocess.run([BENCH, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=300)


def measure(*arguments):
    done = run(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def result():
    return measure(*SMALL, "--batch", "4", "--threads", "3")


def test_the_figures_of_one_core_agree(result):
    assert result["model"] == "sudoku-demo" and result["batch"] == 4 and result["threads"] == 3
    assert result["peak_gflops"] > 0
    for prefix in ("", "alone_"):
        assert result[prefix + "fraction_of_peak"] == pytest.approx(
            result[prefix + "gflops"] / result["peak_gflops"], rel=1e-3)
    # The same work per step, alone or together.
    assert result["gflops"] * result["step_ms"] == pytest.approx(
        result["alone_gflops"] * result["alone_step_ms"], rel=1e-3)
    assert result["steps_per_second_one_thread"] == pytest.approx(1e3 / result["step_ms"], rel=1e-3)


def test_no_median_is_better_than_the_best(result):
    assert result["rounds"] > 0
    assert 0 < result["step_ms"] <= result["median_step_ms"]
    assert 0 < result["best_latency_ms"] <= result["latency_ms"]
    for peak in result["peaks"].values():
        assert 0 < peak["median_gflops"] <= peak["gflops"]


def test_each_kind_of_product_has_a_peak(result):
    assert sorted(result["peaks"]) == sorted(PEAKS)
    own = result["peaks"][result["dtype"]]
    assert own["gflops"] == result["peak_gflops"]
    assert own["instructions"] == result["peak_instructions"]


def test_the_throughput_is_measured_for_one_to_all_threads(result):
    scaling = result["scaling"]
    assert [team["threads"] for team in scaling] == [1, 2, 3]
    assert scaling[0]["speedup"] == 1
    assert result["steps_per_second"] == scaling[-1]["steps_per_second"]
    assert result["speedup"] == scaling[-1]["speedup"]
    for team in scaling:
        assert team["speedup"] == pytest.approx(team["steps_per_second"] / scaling[0]["steps_per_second"], rel=1e-3)
        assert 0 < team["cpu_share"] < 1.05  # two clocks, read one after the other


def test_the_operations_share_the_time_of_a_step(result):
    operations = result["operations"]
    assert len({operation["name"] for operation in operations}) == len(operations)
    assert sum(operation["share"] for operation in operations) == pytest.approx(1, abs=1e-3)
    for operation in operations:
        assert operation["ms"] >= 0 and 0 <= operation["product_share"] <= 1
        assert (operation["product_fraction_of_peak"] is None) == (operation["product_share"] == 0)
    assert sum(operation["product_share"] > 0 for operation in operations) >= 3


def test_a_single_thread_has_one_line_of_scaling():
    assert len(measure(*SMALL, "--threads", "1")["scaling"]) == 1


def test_a_checkpoint_is_measured():
    models = sorted(glob.glob("server/models/sudoku*.safetensors"))
    if not models:
        pytest.skip("no bundled model yet")
    result = measure("--model", models[0], "--batch", "2", "--threads", "1", "--seconds", "1")
    assert result["model"] == models[0] and result["gflops"] > 0


@pytest.mark.parametrize("name", ["sudoku-demo", "config/models/sudoku-demo.json"])
def test_a_shape_has_a_name_or_a_path(name):
    result = measure("--arch", name, "--batch", "2", "--threads", "1", "--seconds", "1", "--dtype", "f32")
    assert result["model"] == name and result["dtype"] == "f32" and result["gflops"] > 0


def test_an_unknown_shape_is_named():
    done = run("--arch", "sudoku-huge")
    assert done.returncode == 1 and done.stdout == ""
    assert "config/models/sudoku-huge.json" in done.stderr


def test_a_comparison_measures_every_model_at_every_dtype():
    arguments = ["--compare", *SMALL, "--arch", "sudoku-small", "--threads", "1"]
    done = run(*arguments, "--json")
    assert done.returncode == 0
    assert all("this CPU" in line for line in done.stderr.splitlines())  # what it has no instructions for
    results = json.loads(done.stdout)
    dtypes = [result["dtype"] for result in results if result["model"] == "sudoku-small"]
    assert len(results) == 2 * len(dtypes) and len(set(dtypes)) == len(dtypes)
    lines = run(*arguments).stdout.splitlines()[1:]
    assert [line.split()[:2] for line in lines] == [[result["model"], result["dtype"]] for result in results]


def test_the_table_of_one_model_has_every_part():
    done = run(*SMALL, "--threads", "2")
    assert done.returncode == 0 and done.stderr == ""
    starts = [line.split()[0] for line in done.stdout.splitlines() if line]
    for start in ("sudoku-demo:", "peak", "alone", "batch", "features:", "heads", "1", "2"):
        assert start in starts


@pytest.mark.parametrize("content", [b"", b"not a safetensors file", b"\xff" * 64])
def test_a_file_that_is_no_checkpoint_is_refused(content, tmp_path):
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(content)
    done = run("--model", str(bad))
    assert done.returncode == 1
    assert done.stdout == "" and "bad.safetensors" in done.stderr


@pytest.mark.parametrize("arguments", [
    [],
    ["--model", "m", "extra"],
    ["--model", "m", "--unknown"],
    ["--model", "m", "--model", "n"],
    ["--compare"],
    ["--compare"] + ["--arch", "a"] * 17,
    ["--model", "m", "--batch", "0"],
    ["--model", "m", "--seconds", "many"],
    ["--model", "m", "--threads", "1e3"],
    ["--model", "m", "--backend", "gpu"],
    ["--model", "m", "--dtype", "f64"],
])
def test_a_wrong_command_line_exits_2(arguments):
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == "" and "--help" in done.stderr


def test_help_and_version_exit_0():
    shown = run("--help")
    assert shown.returncode == 0 and shown.stderr == "" and "--arch" in shown.stdout
    version = run("--version")
    assert version.returncode == 0 and version.stdout.startswith("trm-bench ")
