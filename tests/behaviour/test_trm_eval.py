"""trm-eval as a program: what it prints, how it refuses, that its numbers agree.

Runs on the parity golden of a Sudoku-sized model (random weights, 4 supervision steps) and on the
bundled checkpoint, each where it is there. Puzzles: the test collection beside the checkout.
"""

import glob
import json
import os
import subprocess

import pytest

from test_server_kinds import six  # noqa: F401 (a fixture)

BUILD = os.environ.get("TRM_BUILD", "build")
EVAL = os.path.join(BUILD, "trm-eval")
SHARED = "../shared"
PUZZLES = SHARED + "/data/sudoku/test.csv"
GOLDEN = SHARED + "/golden/infer_trm_mlp.safetensors"


def bundled_models():
    return sorted(glob.glob("server/models/sudoku*.safetensors"))


@pytest.fixture(scope="module")
def puzzles():
    if not os.path.exists(PUZZLES):
        pytest.skip("no %s beside this checkout" % PUZZLES)
    return PUZZLES


@pytest.fixture(scope="module", params=["golden", "bundled"])
def model(request):
    found = [GOLDEN] if request.param == "golden" and os.path.exists(GOLDEN) else []
    if request.param == "bundled":
        found = bundled_models()
    if not found:
        pytest.skip("no %s model" % request.param)
    return found[0]


def run(*arguments):
    return subprocess.run(list(arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=300)


def evaluate(model, data, *arguments):
    done = run(EVAL, "--model", model, "--data", data, "--json", *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_the_numbers_agree_with_each_other(model, puzzles):
    result = evaluate(model, puzzles, "--limit", "48")
    assert result["model"] == model and result["data"] == puzzles
    assert result["puzzles"] == 48
    assert 0 <= result["exact_accuracy"] <= result["cell_accuracy"] <= 1
    assert 1 <= result["mean_steps"] <= len(result["accuracy_by_step"])
    assert result["seconds"] > 0
    # A halted puzzle keeps its answer: the last step knows every final answer.
    assert result["accuracy_by_step"][-1] == result["exact_accuracy"]
    if result["halted_fraction"] == 0:
        assert result["halt_precision"] is None
    else:
        assert 0 <= result["halt_precision"] <= 1
        assert result["halted_fraction"] * result["halt_precision"] <= result["exact_accuracy"] + 1e-6
    for groups in (result["by_source"], result["by_difficulty"]):
        known = [group for group in groups.values() if group["puzzles"] > 0]
        assert sum(group["puzzles"] for group in known) == 48
        for key in ("exact_accuracy", "mean_steps"):
            mean = sum(group[key] * group["puzzles"] for group in known) / 48
            assert mean == pytest.approx(result[key], abs=1e-6)
    assert set(result["by_difficulty"]) == {"0", "1-3", "4+"}


def test_without_halting_every_puzzle_runs_all_steps(model, puzzles):
    result = evaluate(model, puzzles, "--limit", "20", "--no-halt", "--max-steps", "5")
    assert result["mean_steps"] == 5
    assert len(result["accuracy_by_step"]) == 5
    assert result["accuracy_by_step"][-1] == result["exact_accuracy"]
    assert result["halted_fraction"] == 0


def test_a_longer_run_begins_like_a_shorter_one(model, puzzles):
    short = evaluate(model, puzzles, "--limit", "20", "--no-halt", "--max-steps", "3")
    long = evaluate(model, puzzles, "--limit", "20", "--no-halt", "--max-steps", "6")
    assert long["accuracy_by_step"][:3] == short["accuracy_by_step"]


def test_no_puzzle_halts_before_the_minimum(model, puzzles):
    result = evaluate(model, puzzles, "--limit", "20", "--min-steps", "4", "--max-steps", "4")
    assert result["mean_steps"] == 4


def test_verified_halts_are_always_right(puzzles):
    if not bundled_models():
        pytest.skip("no bundled model")
    result = evaluate(bundled_models()[0], puzzles, "--limit", "100", "--verify")
    # The puzzles have one solution: what the verifier accepts is exact, and exact answers halt.
    assert result["halted_fraction"] == pytest.approx(result["exact_accuracy"])
    assert result["halt_precision"] == 1


def test_verification_without_a_verifier_is_refused(puzzles):
    """The golden's metadata names no puzzle: its halting head must not pass for a verifier."""
    if not os.path.exists(GOLDEN):
        pytest.skip("no %s beside this checkout" % GOLDEN)
    done = run(EVAL, "--model", GOLDEN, "--data", puzzles, "--limit", "2", "--verify")
    assert done.returncode == 1
    assert done.stdout == "" and "verif" in done.stderr


def test_the_result_does_not_depend_on_the_threads(model, puzzles):
    one = evaluate(model, puzzles, "--limit", "48", "--threads", "1")
    two = evaluate(model, puzzles, "--limit", "48", "--threads", "2")
    del one["seconds"], two["seconds"]
    assert one == two


def test_rollouts_are_counted_and_the_first_is_the_puzzle_without_noise(model, puzzles):
    """Fixed steps make the sums exact. Noise of next to nothing changes no answer."""
    options = ("--limit", "20", "--no-halt", "--max-steps", "3")
    one = evaluate(model, puzzles, *options)
    three = evaluate(model, puzzles, *options, "--rollouts", "3", "--noise", "1e-30")
    assert one["rollouts"] == 1 and three["rollouts"] == 3
    assert three["mean_steps"] == 3 * one["mean_steps"]
    for key in ("puzzles", "exact_accuracy", "cell_accuracy", "accuracy_by_step"):
        assert three[key] == one[key]


def test_rollouts_do_not_depend_on_the_threads_and_do_on_the_seed(model, puzzles):
    options = ("--limit", "30", "--max-steps", "4", "--rollouts", "3", "--noise", "1")
    one = evaluate(model, puzzles, *options, "--threads", "1")
    two = evaluate(model, puzzles, *options, "--threads", "2")
    other = evaluate(model, puzzles, *options, "--seed", "1000")
    del one["seconds"], two["seconds"]
    assert one == two
    assert (one["cell_accuracy"], one["mean_steps"]) != (other["cell_accuracy"], other["mean_steps"])


def test_what_fewer_tries_would_have_done_is_told(puzzles):
    if not bundled_models():
        pytest.skip("no bundled model yet")
    options = ("--limit", "60", "--max-steps", "4", "--verify")
    model = bundled_models()[0]
    one = evaluate(model, puzzles, *options)
    six = evaluate(model, puzzles, *options, "--augment", "6")
    tries = six["by_tries"]
    assert [entry["tries"] for entry in tries] == [1, 2, 3, 4, 5, 6]
    assert one["by_tries"] == [{"tries": 1, "exact_accuracy": one["exact_accuracy"], "mean_steps": one["mean_steps"],
                                "mean_steps_until_verified": one["mean_steps"]}]
    assert tries[0] == one["by_tries"][0]
    assert tries[5]["exact_accuracy"] == six["exact_accuracy"] > one["exact_accuracy"]
    assert tries[5]["mean_steps"] == six["mean_steps"] == six["mean_steps_by_step"][-1]
    for less, more in zip(tries, tries[1:]):
        assert less["exact_accuracy"] <= more["exact_accuracy"]
        assert less["mean_steps"] < more["mean_steps"]
        assert less["mean_steps_until_verified"] <= more["mean_steps_until_verified"] <= more["mean_steps"]


def test_restarts_go_on_where_the_first_try_ended(puzzles):
    if not bundled_models():
        pytest.skip("no bundled model yet")
    model = bundled_models()[0]
    once = evaluate(model, puzzles, "--limit", "60", "--verify", "--max-steps", "4")
    again = evaluate(model, puzzles, "--limit", "60", "--verify", "--max-steps", "16", "--restart-steps", "4",
                     "--noise", "0.3")
    assert again["accuracy_by_step"][:4] == once["accuracy_by_step"] and len(again["accuracy_by_step"]) == 16
    assert again["exact_accuracy"] > once["exact_accuracy"]
    assert again["halt_precision"] == 1


def test_given_cells_are_kept_where_that_is_asked_for(six, tmp_path):  # noqa: F811
    data = str(tmp_path / "six.csv")
    assert run(os.path.join(BUILD, "trm-data"), "generate", "sudoku", "--size", "6", "--count", "20", "--out",
               data).returncode == 0
    as_they_are = evaluate(six, data)
    kept = evaluate(six, data, "--keep-given")
    assert as_they_are["keep_given"] is False and kept["keep_given"] is True
    assert kept["cell_accuracy"] > as_they_are["cell_accuracy"] + 0.1


def test_guesses_solve_what_beginning_again_with_noise_does_not(puzzles):
    if not bundled_models():
        pytest.skip("no bundled model")
    options = ["--limit", "100", "--verify", "--max-steps", "64", "--restart-steps", "6", "--noise", "0.3"]
    noise = evaluate(bundled_models()[0], puzzles, *options)
    guesses = evaluate(bundled_models()[0], puzzles, *options, "--guesses", "6")
    assert guesses["guesses"] == 6 and guesses["halt_precision"] == 1
    assert guesses["exact_accuracy"] >= noise["exact_accuracy"]
    assert guesses["accuracy_by_step"][:6] == noise["accuracy_by_step"][:6]
    assert guesses["exact_accuracy"] > guesses["accuracy_by_step"][11]  # 12 steps without a guess
    assert guesses["mean_steps"] != noise["mean_steps"]


def test_verified_rollouts_solve_all_that_one_pass_solves(puzzles):
    if not bundled_models():
        pytest.skip("no bundled model")
    one = evaluate(bundled_models()[0], puzzles, "--limit", "60", "--verify")
    four = evaluate(bundled_models()[0], puzzles, "--limit", "60", "--verify", "--rollouts", "4", "--noise", "0.3")
    assert four["exact_accuracy"] >= one["exact_accuracy"]
    assert four["mean_steps"] > one["mean_steps"]
    assert four["halt_precision"] == 1


def test_both_backends_agree(puzzles):
    if not os.path.exists(GOLDEN):
        pytest.skip("no %s beside this checkout" % GOLDEN)
    fast = evaluate(GOLDEN, puzzles, "--limit", "4", "--backend", "onednn", "--dtype", "f32", "--no-halt", "--max-steps", "2")
    slow = evaluate(GOLDEN, puzzles, "--limit", "4", "--backend", "reference", "--no-halt", "--max-steps", "2")
    assert fast["cell_accuracy"] == pytest.approx(slow["cell_accuracy"], abs=0.01)


@pytest.mark.parametrize("dtype, instructions, tolerance", [("bf16", "avx512_bf16", 0.03), ("int8", "vnni", 0.06)])
def test_fewer_bits_solve_what_f32_solves(puzzles, dtype, instructions, tolerance):
    """Of 200 puzzles one in ten or so changes sides, both ways: the tolerance is what chance makes."""
    if not bundled_models():
        pytest.skip("no bundled model yet")
    if instructions not in open("/proc/cpuinfo").read():
        pytest.skip(f"this CPU has no {dtype} instructions")
    exact = [evaluate(bundled_models()[0], puzzles, "--limit", "200", "--verify", "--dtype", each)["exact_accuracy"]
             for each in ("f32", dtype)]
    assert exact[0] > 0.2 and exact[1] == pytest.approx(exact[0], abs=tolerance)


def test_the_bundled_model_solves_sudokus(puzzles):
    """Far above what guessing reaches; what it was measured at stands in its metadata."""
    if not bundled_models():
        pytest.skip("no bundled model yet")
    result = evaluate(bundled_models()[0], puzzles, "--limit", "200")
    assert result["exact_accuracy"] > 0.2
    assert result["halted_fraction"] > 0
    assert result["halt_precision"] > 0.8


def test_the_table_shows_what_json_shows(model, puzzles):
    table = run(EVAL, "--model", model, "--data", puzzles, "--limit", "20")
    assert table.returncode == 0 and table.stderr == ""
    result = evaluate(model, puzzles, "--limit", "20")
    line = next(line for line in table.stdout.splitlines() if line.startswith("all "))
    assert line.split() == ["all", "20", "%.2f" % (100 * result["exact_accuracy"]), "%",
                            "%.2f" % result["mean_steps"]]


def test_puzzles_of_another_size_are_refused(model, tmp_path):
    small = tmp_path / "small.csv"
    small.write_text("source,question,answer,rating\nhand,1234341221434.21,1234341221434321,0\n")
    done = run(EVAL, "--model", model, "--data", str(small))
    assert done.returncode == 1
    assert done.stdout == ""
    assert "16 cells" in done.stderr and "81" in done.stderr


@pytest.mark.parametrize("content", [b"", b"not a safetensors file", b"\xff" * 64, b"\x08" + b"\0" * 7 + b"{\"a\":1} "])
def test_a_file_that_is_no_checkpoint_is_refused(content, tmp_path):
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(content)
    done = run(EVAL, "--data", "nothing.csv", "--model", str(bad))
    assert done.returncode == 1
    assert done.stdout == "" and "bad.safetensors" in done.stderr


def test_missing_files_are_named(model):
    done = run(EVAL, "--model", model, "--data", "/nonexistent/puzzles.csv")
    assert done.returncode == 1 and "/nonexistent/puzzles.csv" in done.stderr
    done = run(EVAL, "--model", "/nonexistent/model", "--data", "/nonexistent/puzzles.csv")
    assert done.returncode == 1 and "/nonexistent/model" in done.stderr


@pytest.mark.parametrize("arguments", [
    [],
    ["--model", "m"],
    ["--data", "d"],
    ["--model", "m", "--data", "d", "extra"],
    ["--model", "m", "--data", "d", "--unknown"],
    ["--model", "m", "--data", "d", "--limit", "0"],
    ["--model", "m", "--data", "d", "--limit", "5x"],
    ["--model", "m", "--data", "d", "--limit", "99999999999999999999"],
    ["--model", "m", "--data", "d", "--max-steps", "-1"],
    ["--model", "m", "--data", "d", "--min-steps", ""],
    ["--model", "m", "--data", "d", "--threads", "0"],
    ["--model", "m", "--data", "d", "--backend", "gpu"],
    ["--model", "m", "--data", "d", "--dtype", "f64"],
    ["--model", "m", "--data", "d", "--no-halt", "--verify"],
    ["--model", "m", "--data", "d", "--rollouts", "0", "--noise", "1"],
    ["--model", "m", "--data", "d", "--rollouts", "4"],
    ["--model", "m", "--data", "d", "--augment", "0"],
    ["--model", "m", "--data", "d", "--restart-steps", "4"],
    ["--model", "m", "--data", "d", "--restart-steps", "0", "--noise", "1"],
    ["--model", "m", "--data", "d", "--restart-steps", "4", "--guesses", "2"],
    ["--model", "m", "--data", "d", "--verify", "--guesses", "2"],
    ["--model", "m", "--data", "d", "--verify", "--restart-steps", "4", "--guesses", "82"],
    ["--model", "m", "--data", "d", "--noise", "0.5"],
    ["--model", "m", "--data", "d", "--rollouts", "4", "--noise", "nan"],
    ["--model", "m", "--data", "d", "--rollouts", "4", "--noise", "-1"],
    ["--model", "m", "--data", "d", "--rollouts", "4", "--noise", "1", "--seed", "x"],
])
def test_a_wrong_command_line_of_trm_eval_exits_2(arguments):
    done = run(EVAL, *arguments)
    assert done.returncode == 2
    assert done.stdout == "" and "--help" in done.stderr


def test_help_and_version_exit_0():
    shown = run(EVAL, "--help")
    assert shown.returncode == 0 and shown.stderr == "" and "--model" in shown.stdout
    version = run(EVAL, "--version")
    assert version.returncode == 0 and version.stdout.startswith("trm-eval ")


def test_the_curve_file_has_every_group_and_step(model, puzzles, tmp_path):
    path = tmp_path / "curve.csv"
    result = evaluate(model, puzzles, "--limit", "40", "--max-steps", "4", "--csv", str(path))
    lines = [line.split(",") for line in path.read_text().splitlines()]
    assert lines[0] == ["group", "step", "puzzles", "exact", "ended"]
    groups = {}
    for group, step, count, exact, ended in lines[1:]:
        groups.setdefault(group, []).append((int(step), int(count), float(exact), float(ended)))
    assert set(groups) == ({"all"} | {"source " + name for name, group in result["by_source"].items() if group["puzzles"]}
                           | {"class " + name for name in result["by_class"]})
    for rows in groups.values():
        assert [row[0] for row in rows] == [1, 2, 3, 4]
        assert all(0 <= row[2] <= 1 for row in rows)
        assert [row[3] for row in rows] == sorted(row[3] for row in rows) and rows[-1][3] == 1
    assert [row[2] for row in groups["all"]] == pytest.approx(result["accuracy_by_step"], abs=1e-6)
    mean = sum(1 - row[3] for row in groups["all"][:-1]) + 1
    assert mean == pytest.approx(result["mean_steps"], abs=1e-5)
    for name, group in result["by_class"].items():
        assert groups["class " + name][-1][1:3] == (group["puzzles"], pytest.approx(group["exact_accuracy"], abs=1e-6))


def test_classes_tell_the_easy_from_the_hard(model, puzzles, tmp_path):
    csv = tmp_path / "made.csv"
    made = run(os.path.join(BUILD, "trm-data"), "generate", "sudoku", "--count", "20", "--seed", "4", "--out", str(csv))
    assert made.returncode == 0, made.stderr
    result = evaluate(model, str(csv), "--max-steps", "2")
    assert {name: group["puzzles"] for name, group in result["by_class"].items()} == dict.fromkeys(
        ["easy", "medium", "hard", "very-hard"], 5)
    assert {name: result["by_source"]["generated_" + name] for name in result["by_class"]} == result["by_class"]


def test_the_reliability_table_adds_up(model, puzzles):
    result = evaluate(model, puzzles, "--limit", "60", "--no-halt", "--max-steps", "5")
    bins = result["calibration"]
    assert [each["from"] for each in bins] == pytest.approx([i / 10 for i in range(10)])
    assert sum(each["steps"] for each in bins) == 60 * 5
    known = [each for each in bins if each["steps"] > 0]
    exact = sum(each["steps"] * each["exact"] for each in known)
    assert exact == pytest.approx(60 * sum(result["accuracy_by_step"]), abs=1e-6)
    for each in known:
        assert each["from"] - 1e-6 <= each["said"] <= each["to"] + 1e-6
    error = sum(each["steps"] * abs(each["said"] - each["exact"]) for each in known) / 300
    assert result["calibration_error"] == pytest.approx(error, abs=1e-6)


def test_a_curve_file_that_cannot_be_written_is_an_error(model, puzzles):
    done = run(EVAL, "--model", model, "--data", puzzles, "--limit", "2", "--csv", "/nonexistent/curve.csv")
    assert done.returncode == 1 and "/nonexistent/curve.csv" in done.stderr


def test_the_bundled_model_for_hard_mazes_finds_long_paths(tmp_path):
    mazes = str(tmp_path / "mazes.csv")
    assert run(os.path.join(BUILD, "trm-data"), "generate", "maze", "--size", "30", "--count", "30", "--seed", "8",
               "--out", mazes).returncode == 0
    result = evaluate("server/models/maze-hard.safetensors", mazes, "--verify", "--keep-given")
    assert result["puzzles"] == 30 and result["exact_accuracy"] >= 0.6 and result["mean_steps"] < 12


def test_the_bundled_maze_model_finds_the_paths_of_fresh_mazes(tmp_path):
    mazes = str(tmp_path / "mazes.csv")
    assert run(os.path.join(BUILD, "trm-data"), "generate", "maze", "--size", "10", "--count", "100", "--seed", "7",
               "--out", mazes).returncode == 0
    for flags in ([], ["--verify"]):
        result = evaluate("server/models/maze.safetensors", mazes, *flags)
        assert result["puzzles"] == 100 and result["exact_accuracy"] >= 0.93 and result["mean_steps"] < 4
