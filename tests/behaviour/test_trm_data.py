"""trm-data as a program: what it writes, how it refuses, that its puzzles keep their promise."""

import json
import os
import random
import struct
import subprocess

import pytest

PROGRAM = os.path.join(os.environ.get("TRM_BUILD", "build"), "trm-data")
REAL = "../shared/data/sudoku/test.csv"
HEADER = "source,question,answer,rating\n"
QUESTION = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"
ANSWER = "534678912672195348198342567859761423426853791713924856961537284287419635345286179"
ROW = "known,%s,%s,0\n" % (QUESTION, ANSWER)

FIELDS = {
    "pad_id": 0,
    "ignore_label_id": 0,
    "blank_identifier_id": 0,
    "vocab_size": 11,
    "seq_len": 81,
    "num_puzzle_identifiers": 1,
    "mean_puzzle_examples": 1,
    "sets": ["all"],
}


def run(*arguments):
    return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=120)


def succeed(*arguments):
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def write(path, text):
    path.write_text(text)
    return str(path)


def read_npy(path):
    """Shape and items, read by struct: numpy may not be here."""
    data = path.read_bytes()
    assert data[:8] == b"\x93NUMPY\x01\x00"
    (length,) = struct.unpack_from("<H", data, 8)
    assert (10 + length) % 64 == 0
    assert data[9 + length : 10 + length] == b"\n"
    header = eval(data[10 : 10 + length], {"__builtins__": {}})
    assert header["fortran_order"] is False
    count = 1
    for extent in header["shape"]:
        count *= extent
    code = {"|u1": "B", "<i4": "i"}[header["descr"]]
    return header["shape"], struct.unpack("<%d%s" % (count, code), data[10 + length :])


def is_solution(question, answer):
    """Whether a grid of size 9 obeys the rules and keeps the clues; written apart from the C code."""
    rows = [answer[i * 9 : i * 9 + 9] for i in range(9)]
    columns = [answer[i::9] for i in range(9)]
    boxes = ["".join(row[c : c + 3] for row in rows[r : r + 3]) for r in (0, 3, 6) for c in (0, 3, 6)]
    units_good = all(sorted(unit) == list("123456789") for unit in rows + columns + boxes)
    return units_good and all(q in (".", a) for q, a in zip(question, answer))


def test_help_and_version_go_to_standard_output():
    text = succeed("--help")
    assert "generate" in text and "verify" in text
    assert succeed("--version").startswith("trm-data ")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["sudoku"],
        ["sudoku", "--csv", "x"],
        ["sudoku", "--csv"],
        ["sudoku", "--csv", "x", "--out", "y", "--split", "other"],
        ["sudoku", "--csv", "x", "--out", "y", "--limit", "0"],
        ["sudoku", "--csv", "x", "--out", "y", "--augment", "-1"],
        ["sudoku", "--csv", "x", "--out", "y", "stray"],
        ["generate"],
        ["generate", "crosswords", "--count", "1"],
        ["generate", "sudoku"],
        ["generate", "sudoku", "--count", "1x"],
        ["generate", "sudoku", "--count", "1", "--size", "5"],
        ["generate", "sudoku", "--count", "1", "--class", "evil"],
        ["generate", "sudoku", "--count", "1", "--seed", "-1"],
        ["generate", "sudoku", "--count", "1", "--threads", "0"],
        ["generate", "sudoku", "--count", "1", "--json"],
        ["generate", "sudoku", "--count", "1", "--min-moves", "9"],
        ["generate", "maze"],
        ["generate", "maze", "--count", "1", "--size", "4"],
        ["generate", "maze", "--count", "1", "--size", "65"],
        ["generate", "maze", "--count", "1", "--class", "hard"],
        ["generate", "maze", "--count", "1", "--min-moves", "0"],
        ["maze", "--csv", "x"],
        ["clean"],
        ["clean", "--csv", "x", "--out", "y"],
        ["clean", "--csv", "x", "--test", "y"],
        ["verify", "--csv", "x", "--test", "y"],
        ["verify"],
        ["verify", "--csv", "x", "--count", "1"],
    ],
)
def test_wrong_usage_exits_2_and_points_to_help(arguments):
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "--help" in done.stderr


def test_missing_file_exits_1_and_is_named(tmp_path):
    missing = str(tmp_path / "missing.csv")
    for arguments in (["verify", "--csv", missing], ["sudoku", "--csv", missing, "--out", str(tmp_path / "set")]):
        done = run(*arguments)
        assert done.returncode == 1
        assert missing in done.stderr
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("split", ["train", "test"])
def test_sudoku_writes_the_original_layout(tmp_path, split):
    csv = write(tmp_path / "puzzles.csv", HEADER + ROW * 3)
    told = json.loads(succeed("sudoku", "--csv", csv, "--out", str(tmp_path / "set"), "--split", split, "--json"))
    directory = tmp_path / "set" / split
    assert told == {"puzzles": 3, "rows": 3, "directory": str(directory)}
    assert json.loads((tmp_path / "set" / "identifiers.json").read_text()) == ["<blank>"]
    assert json.loads((directory / "dataset.json").read_text()) == dict(FIELDS, total_groups=3, total_puzzles=3)
    assert sorted(os.listdir(directory)) == [
        "all__group_indices.npy",
        "all__inputs.npy",
        "all__labels.npy",
        "all__puzzle_identifiers.npy",
        "all__puzzle_indices.npy",
        "dataset.json",
    ]
    tokens = [0 if c == "." else int(c) for c in QUESTION]
    assert read_npy(directory / "all__inputs.npy") == ((3, 81), tuple(t + 1 for t in tokens) * 3)
    assert read_npy(directory / "all__labels.npy") == ((3, 81), tuple(int(c) + 1 for c in ANSWER) * 3)
    assert read_npy(directory / "all__puzzle_identifiers.npy") == ((3,), (0, 0, 0))
    assert read_npy(directory / "all__puzzle_indices.npy") == ((4,), (0, 1, 2, 3))
    assert read_npy(directory / "all__group_indices.npy") == ((4,), (0, 1, 2, 3))


def test_augmentation_adds_valid_images_in_groups(tmp_path):
    csv = write(tmp_path / "puzzles.csv", HEADER + ROW * 2)
    succeed("sudoku", "--csv", csv, "--out", str(tmp_path / "set"), "--augment", "4", "--limit", "1", "--seed", "3")
    directory = tmp_path / "set" / "train"
    shape, inputs = read_npy(directory / "all__inputs.npy")
    labels = read_npy(directory / "all__labels.npy")[1]
    assert shape == (5, 81)
    assert read_npy(directory / "all__group_indices.npy") == ((2,), (0, 5))
    assert read_npy(directory / "all__puzzle_indices.npy") == ((6,), (0, 1, 2, 3, 4, 5))
    answers = set()
    for row in range(5):
        cells = range(row * 81, row * 81 + 81)
        question = "".join("." if inputs[i] == 1 else str(inputs[i] - 1) for i in cells)
        answer = "".join(str(labels[i] - 1) for i in cells)
        assert is_solution(question, answer)
        assert question.count(".") == QUESTION.count(".")
        answers.add(answer)
    assert len(answers) == 5 and ANSWER in answers


@pytest.mark.parametrize("name", ["easy", "medium", "hard", "very-hard"])
def test_generated_puzzles_are_of_their_class(tmp_path, name):
    lines = succeed("generate", "sudoku", "--count", "20", "--class", name, "--seed", "5").splitlines()
    assert lines[0] + "\n" == HEADER
    assert len(lines) == 21
    for line in lines[1:]:
        source, question, answer, rating = line.split(",")
        clues = 81 - question.count(".")
        assert source == "generated_" + name
        assert is_solution(question, answer)
        assert {"easy": clues >= 32, "medium": clues < 32}.get(name, True)
        assert {"hard": 1 <= int(rating) <= 3, "very-hard": int(rating) > 3}.get(name, int(rating) == 0)
    csv = write(tmp_path / "made.csv", "\n".join(lines) + "\n")
    found = json.loads(succeed("verify", "--csv", csv, "--json"))
    assert found["puzzles"] == found["unique"] == 20


def test_generation_repeats_with_its_seed_on_any_number_of_threads(tmp_path):
    arguments = ["generate", "sudoku", "--count", "40", "--seed", "11"]
    one = succeed(*arguments)
    path = tmp_path / "made.csv"
    told = json.loads(succeed(*arguments, "--threads", "2", "--out", str(path), "--json"))
    assert told["puzzles"] == 40 and told["file"] == str(path)
    assert path.read_text() == one
    assert succeed("generate", "sudoku", "--count", "40", "--seed", "12") != one


@pytest.mark.parametrize("size, classes", [(4, 2), (6, 4), (9, 4)])
def test_mixed_sets_have_every_class_of_their_size(tmp_path, size, classes):
    path = str(tmp_path / "made.csv")
    succeed("generate", "sudoku", "--size", str(size), "--count", "24", "--out", path)
    found = json.loads(succeed("verify", "--csv", path, "--json"))
    assert found["unique"] == 24
    assert len(found["by_source"]) == classes
    assert all(source["puzzles"] == 24 // classes for source in found["by_source"].values())


def test_a_class_that_a_size_lacks_fails():
    done = run("generate", "sudoku", "--size", "4", "--count", "1", "--class", "hard")
    assert done.returncode == 1
    assert "size 4" in done.stderr


def test_verify_counts_sources_and_ratings(tmp_path):
    rows = ["a,%s,%s,%s\n" % (QUESTION, ANSWER, rating) for rating in ("0", "2", "9")]
    csv = write(tmp_path / "puzzles.csv", HEADER + "".join(rows) + "b,%s,%s,\n" % (QUESTION, ANSWER))
    found = json.loads(succeed("verify", "--csv", csv, "--json"))
    assert found == {
        "puzzles": 4,
        "unique": 4,
        "rating": {"0": 1, "1-3": 1, "more": 1, "unknown": 1},
        "by_source": {
            "a": {"puzzles": 3, "unique": 3, "rating": {"0": 1, "1-3": 1, "more": 1, "unknown": 0}},
            "b": {"puzzles": 1, "unique": 1, "rating": {"0": 0, "1-3": 0, "more": 0, "unknown": 1}},
        },
    }
    assert succeed("verify", "--csv", csv).splitlines()[-1].split() == ["all", "4", "4", "1", "1", "1", "1"]


def test_verify_names_puzzles_with_a_second_solution(tmp_path):
    open_question = "." * 40 + QUESTION[40:]
    csv = write(tmp_path / "puzzles.csv", HEADER + ROW + "a,%s,%s,0\n" % (open_question, ANSWER))
    done = run("verify", "--csv", csv, "--json")
    assert done.returncode == 1
    assert done.stderr == csv + ":3: more than one solution\n"
    assert json.loads(done.stdout)["unique"] == 1


def test_verify_names_the_line_of_a_wrong_answer(tmp_path):
    wrong = ANSWER[:-2] + "97"
    csv = write(tmp_path / "puzzles.csv", HEADER + ROW + "a,%s,%s,0\n" % (QUESTION, wrong))
    done = run("verify", "--csv", csv)
    assert done.returncode == 1
    assert csv + ":3:" in done.stderr
    assert done.stdout == ""


def shortest_paths(maze, side):
    """Length and number of the shortest paths of a maze; written apart from the C code."""
    reached, length = {maze.index("S"): 1}, 0
    seen = set(reached)
    while reached:
        length += 1
        found = {}
        for cell, ways in reached.items():
            for near in (cell - side, cell + side, cell - 1 if cell % side else -1, cell + 1 if (cell + 1) % side else -1):
                if 0 <= near < side * side and maze[near] != "#" and near not in seen:
                    found[near] = found.get(near, 0) + ways
        if maze.index("G") in found:
            return length, found[maze.index("G")]
        seen.update(found)
        reached = found
    return None


@pytest.mark.parametrize("size, count, least", [(30, 5, 111), (10, 30, 13), (5, 20, 4)])
def test_generated_mazes_have_one_long_shortest_path(tmp_path, size, count, least):
    path = tmp_path / "mazes.csv"
    succeed("generate", "maze", "--size", str(size), "--count", str(count), "--seed", "2", "--out", str(path))
    lines = path.read_text().splitlines()
    assert lines[0] + "\n" == HEADER and len(lines) == count + 1
    for line in lines[1:]:
        source, question, answer, rating = line.split(",")
        assert source == "generated_maze" and len(question) == len(answer) == size * size
        assert shortest_paths(question, size) == (int(rating), 1) and int(rating) >= least
        assert answer.replace("o", " ") == question and answer.count("o") == int(rating) - 1
        path_only = "".join(c if c in "SGo" else "#" for c in answer)
        assert shortest_paths(path_only, size) == (int(rating), 1)
    found = json.loads(succeed("verify", "--csv", str(path), "--json"))
    assert found["puzzles"] == found["unique"] == count and found["moves"]["least"] >= least
    assert found["by_source"]["generated_maze"]["moves"] == found["moves"]
    assert succeed("verify", "--csv", str(path)).splitlines()[-1].split()[:3] == ["all", str(count), str(count)]


def test_mazes_repeat_with_their_seed_on_any_number_of_threads(tmp_path):
    arguments = ["generate", "maze", "--size", "12", "--count", "40", "--min-moves", "25", "--seed", "11"]
    one = succeed(*arguments)
    path = tmp_path / "mazes.csv"
    told = json.loads(succeed(*arguments, "--threads", "2", "--out", str(path), "--json"))
    assert told["puzzles"] == 40 and path.read_text() == one
    assert min(int(line.rsplit(",", 1)[1]) for line in one.splitlines()[1:]) >= 25


def test_mazes_have_the_original_layout_with_all_images(tmp_path):
    csv = write(tmp_path / "maze.csv", HEADER + "a,S  ## G  ,Soo##oGoo,6\n")
    told = json.loads(succeed("maze", "--csv", csv, "--out", str(tmp_path / "set"), "--augment", "7", "--json"))
    directory = tmp_path / "set" / "train"
    assert told == {"puzzles": 1, "rows": 8, "directory": str(directory)}
    meta = json.loads((directory / "dataset.json").read_text())
    assert (meta["vocab_size"], meta["seq_len"]) == (6, 9)
    shape, inputs = read_npy(directory / "all__inputs.npy")
    labels = read_npy(directory / "all__labels.npy")[1]
    assert shape == (8, 9) and inputs[:9] == (3, 2, 2, 1, 1, 2, 4, 2, 2) and labels[:9] == (3, 5, 5, 1, 1, 5, 4, 5, 5)
    assert len({inputs[i : i + 9] for i in range(0, 72, 9)}) == 8
    assert all(sorted(inputs[i : i + 9]) == sorted(inputs[:9]) for i in range(0, 72, 9))
    for command, made in (("sudoku", csv), ("maze", write(tmp_path / "sudoku.csv", HEADER + ROW))):
        done = run(command, "--csv", made, "--out", str(tmp_path / "other"))
        assert done.returncode == 1 and "not of this kind" in done.stderr


def test_verify_names_mazes_with_a_second_shortest_path(tmp_path):
    csv = write(tmp_path / "maze.csv", HEADER + "a,S       G,Soo  o  G,4\n")
    done = run("verify", "--csv", csv, "--json")
    assert done.returncode == 1 and done.stderr == csv + ":2: more than one solution\n"
    assert json.loads(done.stdout) == {
        "puzzles": 1,
        "unique": 0,
        "moves": {"least": 4, "mean": 4.0, "most": 4},
        "by_source": {"a": {"puzzles": 1, "unique": 0, "moves": {"least": 4, "mean": 4.0, "most": 4}}},
    }


def test_a_full_disk_is_noticed():
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    with open("/dev/full", "w") as full:
        done = subprocess.run([PROGRAM, "generate", "sudoku", "--count", "3"], stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert b"No space" in done.stderr


def test_the_published_collection_verifies():
    if not os.path.exists(REAL):
        pytest.skip("no %s beside this checkout" % REAL)
    found = json.loads(succeed("verify", "--csv", REAL, "--limit", "500", "--json"))
    assert found["puzzles"] == found["unique"] == 500


def shuffled(question, answer, chance):
    """A random image under digits, rows, bands, columns, stacks and transposition; written apart from the C code."""
    def lines():
        return [3 * group + line for group in chance.sample(range(3), 3) for line in chance.sample(range(3), 3)]

    rows, columns, digits = lines(), lines(), "." + "".join(chance.sample("123456789", 9))
    cells = [(r, c) for r in rows for c in columns]
    if chance.random() < 0.5:
        cells = [(c, r) for r, c in cells]
    return tuple("".join(digits["123456789".find(grid[9 * r + c]) + 1] for r, c in cells) for grid in (question, answer))


def test_no_test_puzzle_stays_in_training_data_in_any_disguise(tmp_path):
    chance = random.Random(3)
    made = succeed("generate", "sudoku", "--count", "60", "--seed", "21").splitlines()[1:]
    tests = made[:20]
    images = []
    for line in tests:
        _, question, answer, rating = line.split(",")
        images.append("image,%s,%s,%s" % (*shuffled(question, answer, chance), rating))
    train = made[20:] + images
    chance.shuffle(train)
    csv = write(tmp_path / "train.csv", HEADER + "\n".join(train) + "\n")
    test_a = write(tmp_path / "a.csv", HEADER + "\n".join(tests[:15]) + "\n")
    test_b = write(tmp_path / "b.csv", HEADER + "\n".join(tests[15:]) + "\n")
    out = tmp_path / "clean.csv"
    told = json.loads(succeed("clean", "--csv", csv, "--test", test_a, "--test", test_b, "--out", str(out), "--json"))
    assert told == {"puzzles": 40, "dropped": 20, "file": str(out)}
    assert out.read_text().splitlines()[1:] == [line for line in train if not line.startswith("image")]
    assert "20 puzzles of test sets dropped" in succeed("clean", "--csv", csv, "--test", test_a, "--test", test_b,
                                                        "--out", str(out))

    told = json.loads(succeed("sudoku", "--csv", csv, "--test", test_a, "--augment", "1", "--out",
                              str(tmp_path / "set"), "--json"))
    assert (told["puzzles"], told["rows"], told["dropped"]) == (45, 90, 15)
    told = json.loads(succeed("generate", "sudoku", "--count", "60", "--seed", "21", "--test", test_b, "--out",
                              str(out), "--json"))
    assert (told["puzzles"], told["dropped"]) == (55, 5)


def test_a_directory_can_be_the_test_set(tmp_path):
    made = succeed("generate", "sudoku", "--count", "10", "--seed", "22")
    csv = write(tmp_path / "made.csv", made)
    few = write(tmp_path / "few.csv", "\n".join(made.splitlines()[:4]) + "\n")
    succeed("sudoku", "--csv", few, "--augment", "3", "--out", str(tmp_path / "set"), "--split", "test")
    told = json.loads(succeed("clean", "--csv", csv, "--test", str(tmp_path / "set" / "test"), "--out",
                              str(tmp_path / "clean.csv"), "--json"))
    assert (told["puzzles"], told["dropped"]) == (7, 3)


def test_cleaning_that_leaves_nothing_fails_and_writes_nothing(tmp_path):
    csv = write(tmp_path / "one.csv", HEADER + ROW)
    done = run("clean", "--csv", csv, "--test", csv, "--out", str(tmp_path / "out.csv"))
    assert done.returncode == 1 and "none is left" in done.stderr
    assert not (tmp_path / "out.csv").exists()
