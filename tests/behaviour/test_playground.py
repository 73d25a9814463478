"""The playground in Chromium against a real server: what a person does, and what must then be seen."""
# flake8: noqa: F811 (fixtures of other files are arguments here)

import json
import re
import subprocess

import pytest

from browser import Keys, Page, browser, page  # noqa: F401 (also fixtures)
from conftest import EXAMPLE, PATIENCE_S, Server, wait_until
from test_arc import AUGMENT, checkpoint, data  # noqa: F401 (fixtures)
from test_server_kinds import maze, six  # noqa: F401 (fixtures)


@pytest.fixture(scope="module")
def server(maze):
    # One worker leaves a core to the browser, which else is served last and cancels what has ended.
    running = Server("--workers", "1", "--model", "maze=" + maze)
    yield running
    assert running.stop() == 0, "".join(running.log)


def is_solved(board):
    rows = [board[i:i + 9] for i in range(0, 81, 9)]
    columns = ["".join(row[i] for row in rows) for i in range(9)]
    boxes = ["".join(rows[r + i][c:c + 3] for i in range(3)) for r in (0, 3, 6) for c in (0, 3, 6)]
    return all(sorted(unit) == list("123456789") for unit in rows + columns + boxes)


def test_a_puzzle_that_is_typed_is_solved(page):
    page.open("sudoku")
    page.click("Clear")
    wait_until(lambda: page.board() == "." * 81)
    for row in range(9):
        keys = "".join(c + Keys.ARROW_RIGHT for c in EXAMPLE[9 * row:9 * row + 9])
        page.browser.switch_to.active_element.send_keys(keys, Keys.ARROW_DOWN)
    assert page.board() == EXAMPLE
    page.solve()
    assert re.search(r"Solved in \d+ step", page.text(".headline")) and "verifier accepted" in page.text(".headline")
    wait_until(lambda: is_solved(page.board()))  # drawn with the next frame
    solved = page.board()
    assert all(clue in (".", cell) for clue, cell in zip(EXAMPLE, solved))
    assert page.marked("broken") == []
    assert page.marked("clue") == [i for i, c in enumerate(EXAMPLE) if c != "."]


def test_the_timeline_goes_back_to_the_puzzle_and_forward_again(page):
    page.open("sudoku")
    page.enter(EXAMPLE)
    page.set_option("stop", "never")
    page.set_option("max_steps", 5)
    page.solve()
    wait_until(lambda: page.place() == "step 5 of 5")
    last = page.board()
    bars = page.browser.execute_script("return [...document.querySelectorAll('.strip:first-child path')]"
                                       ".map((e) => e.getAttribute('d')).join('')")
    assert len(page.all(".strip")) == 4 and bars.count("M") == 5
    slider = page.one("input[type=range]")
    slider.send_keys(Keys.HOME)
    wait_until(lambda: page.place() == "puzzle")
    assert page.board() == EXAMPLE
    slider.send_keys(Keys.ARROW_RIGHT)
    wait_until(lambda: page.place() == "step 1 of 5")
    assert "." not in page.board()
    assert slider.get_attribute("aria-valuetext").startswith("step 1: q ")
    changed = page.marked("changed")
    assert changed and set(changed) == {i for i, c in enumerate(EXAMPLE) if c == "."}
    slider.send_keys(Keys.END)
    wait_until(lambda: page.place() == "step 5 of 5")
    assert page.board() == last
    page.click("Step back")
    wait_until(lambda: page.place() == "step 4 of 5")
    page.click("Play")
    wait_until(lambda: page.place() == "step 5 of 5")


def test_cancel_frees_the_slots(page):
    page.open("sudoku")
    before = metric(page.server, "trm_puzzles_total", 'halted_by="cancelled"')
    page.set_option("stop", "never")
    page.set_option("max_steps", 256)
    page.set_option("rollouts", 64)
    page.click("Solve")
    wait_until(lambda: page.text(".run .primary") == "Cancel" and metric(page.server, "trm_slots_busy") > 0)
    page.click("Cancel")
    assert page.text(".run .primary") == "Solve" and "Cancelled" in page.text(".headline")
    wait_until(lambda: page.all("[aria-label=Play]"))  # what has come is shown to its end
    wait_until(lambda: metric(page.server, "trm_puzzles_total", 'halted_by="cancelled"') == before + 1)
    wait_until(lambda: metric(page.server, "trm_slots_busy") == 0 and metric(page.server, "trm_queue_length") == 0)


def metric(server, name, label=""):
    text = server.get("/metrics").body.decode()
    return sum(float(value) for labels, value in re.findall(rf"^{name}(?:{{(.*)}})? (\S+)$", text, re.M) if label in labels)


@pytest.mark.parametrize("text, complaint", [("123", "81 cells; this text has 3"), ("x" * 81, "“x” is not a cell")])
def test_a_text_that_is_no_puzzle_is_refused_with_a_sentence(page, text, complaint):
    page.open("sudoku")
    before = page.board()
    page.enter(text)
    wait_until(lambda: complaint in page.text(".notice"))
    assert page.board() == before


def test_a_puzzle_of_several_lines_with_borders_can_be_pasted(page):
    page.open("sudoku")
    lines = [EXAMPLE[i:i + 9] for i in range(0, 81, 9)]
    text = "\n".join(f"{line[:3]} | {line[3:6]} | {line[6:]}" for line in lines)
    page.browser.execute_script(
        "const data = new DataTransfer(); data.setData('text', arguments[0]);"
        "document.querySelector('.board').dispatchEvent(new ClipboardEvent('paste', {clipboardData: data}))", text)
    assert page.board() == EXAMPLE


def test_clues_that_contradict_each_other_are_marked_and_explained(page):
    page.open("sudoku")
    page.enter("55" + "." * 79)
    assert page.marked("broken") == [0, 1]
    page.solve()
    wait_until(lambda: "row 1, column 1 and row 1, column 2" in page.text(".notice"))
    assert not page.text(".headline")


def test_options_out_of_their_range_are_explained_by_the_server(page):
    page.open("sudoku")
    page.set_option("max_steps", 1000)
    page.solve()
    wait_until(lambda: "must be an integer from 1 to 256" in page.text(".notice"))


def shell(command):
    """What bash prints for a command."""
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    return done.stdout


def last_event(stream):
    event, data = re.findall(r"^event: (\w+)\ndata: (.*)$", stream, re.M)[-1]
    assert event == "answer", data
    return json.loads(data)


def test_the_command_below_asks_the_same_when_it_is_pasted_into_a_shell(page):
    page.open("sudoku")
    page.enter(EXAMPLE)
    page.set_option("max_steps", 7)
    body = page.body()
    assert body["grid"] == EXAMPLE and body["options"]["max_steps"] == 7
    assert last_event(shell(page.command()))["valid"]
    page.set_option("restart_steps", 3)
    page.set_option("guesses", 4)
    assert page.body()["options"]["guesses"] == 4
    assert last_event(shell(page.command()))["valid"]
    page.open("maze")
    assert not page.one("input[name=guesses]").is_displayed()
    page.set_option("max_steps", 2)
    page.set_option("rollouts", 3)
    assert last_event(shell(page.command()))["rollouts"]["count"] == 3
    page.open("status")
    assert "trm_steps_total" in shell(page.command())


def test_tries_are_shown_side_by_side(page):
    page.open("sudoku")
    page.set_option("stop", "never")
    page.set_option("max_steps", 3)
    page.set_option("rollouts", 2)
    page.set_option("augment", 2)
    page.solve()
    lanes = page.all(".lane")
    assert len(lanes) == 4 and page.text(".lane").count("★") == 1
    boards = set()
    for lane in range(4):
        page.all(".lane")[lane].click()
        wait_until(lambda: page.all(".lane")[lane].get_attribute("aria-pressed") == "true")
        page.one("input[type=range]").send_keys(Keys.END)
        wait_until(lambda: page.place() == "step 3 of 3")
        boards.add(page.text(".strip:first-child .strip-value"))
    assert len(boards) > 1


def test_a_maze_that_is_drawn_is_sent_and_answered(page):
    page.open("maze")
    wait_until(lambda: len(page.all(".board .cell")) == 36)
    page.click("Clear")
    page.click("Wall")
    for index in (8, 9):
        page.all(".board .cell")[index].click()
    assert page.marked("wall") == [8, 9]
    assert page.body()["grid"][:12] == "S       ##  "
    page.set_option("max_steps", 2)
    page.solve()
    wait_until(lambda: re.search(r"in [12] steps?", page.text(".headline")))
    page.click("Random maze")
    assert sorted(cell for cell in page.cells() if cell) == ["G", "S"] and page.marked("wall")


def test_an_arc_task_is_shown_edited_and_refused_with_a_sentence(page):
    page.open("arc")
    assert "no ARC model" in page.text(".notice")
    assert len(page.all(".arc-pair")) == 4
    task = {"train": [{"input": [[1, 2]], "output": [[2, 1]]}], "test": [{"input": [[3]]}]}
    page.drop(json.dumps(task))
    wait_until(lambda: len(page.all(".arc-pair")) == 2)
    page.click("Edit test input 1")
    page.browser.switch_to.active_element.send_keys("7")
    page.click("Done")
    wait_until(lambda: '[[7]]' in page.one(".fold textarea").get_attribute("value"))
    page.drop('{"train": [], "test": []}')
    wait_until(lambda: "neither of them empty" in page.text(".notice"))


def test_an_arc_task_gets_votes_and_an_unknown_one_advice(browser, start, data, checkpoint):
    page = Page(browser, start("--model", "arc=" + checkpoint))
    page.open("arc")
    assert "arc was trained on" in page.text(".notice.plain")
    page.click("Predict")
    wait_until(lambda: "trm-train" in page.text(".notice:not(.plain)"))
    task = data.known["known0"]
    page.drop(json.dumps({"known0": task}))
    page.click("Predict")
    wait_until(lambda: "Predicted" in page.text(".headline"))
    assert "task known0 of the training data" in page.text(".headline") and not page.text(".notice:not(.plain)")
    assert len(page.all(".ballot")) == len(task["test"])
    assert f"of {AUGMENT} voted" in page.text(".ballot")
    verdicts = page.text(".arc-figure .wrong, .arc-figure .right")
    assert len(re.findall("wrong|right", verdicts)) >= len(task["test"])
    assert page.errors() == []


def test_an_unknown_arc_task_is_taught_and_then_predicted(browser, start, checkpoint, tmp_path):  # noqa: F811
    page = Page(browser, start("--model", "arc=" + checkpoint, "--tasks-dir", str(tmp_path / "tasks")))
    page.open("arc")
    assert not page.one(".teacher").is_displayed()
    page.click("Predict")
    wait_until(page.one(".teacher").is_displayed)
    page.click("Adapt")
    wait_until(lambda: page.text(".teacher .track"))
    page.one(".teacher .primary").click()
    wait_until(lambda: page.text(".teacher .primary") == "Adapt")
    wait_until(lambda: metric(page.server, "trm_tasks_total", "cancelled") == 1)
    browser.execute_script("document.querySelector('.teacher input').value = 1")
    page.click("Adapt")
    wait_until(lambda: "Predicted" in page.text(".headline"))
    assert "the model was adapted to it" in page.text(".headline") and not page.one(".teacher").is_displayed()
    assert page.errors() == []


def test_the_status_follows_what_the_server_does(page):
    page.open("status")
    wait_until(lambda: len(page.all(".card")) == 5)
    before = metric(page.server, "trm_steps_total")
    page.server.solve(EXAMPLE, max_steps=3, verify=False, no_halt=True)
    shown = f"{int(before) + 3:,} since the start"
    wait_until(lambda: shown in page.text(".note"))
    assert "all steps were done" in page.text(".bar-row")


def test_without_a_model_of_a_kind_the_page_says_so(browser, start):
    page = Page(browser, start())
    page.open("maze")
    assert "no maze model" in page.text(".notice")
    assert not page.one(".run .primary").is_enabled()
    assert page.errors() == []


def test_a_server_with_keys_is_asked_with_one(browser, start):
    page = Page(browser, start("--api-keys", "a-key-of-a-client"))
    browser.get(page.origin)
    field = page.one("#key input")
    wait_until(field.is_displayed)
    field.send_keys("a-key-of-a-client", Keys.ENTER)
    wait_until(lambda: len(page.all(".board .cell")) == 81)
    page.enter(EXAMPLE)
    page.solve()
    assert "Solved" in page.text(".headline")
    assert "KEY'" in page.command() and "a-key-of-a-client" not in page.command()
    assert last_event(shell(page.command().replace("KEY", "a-key-of-a-client")))["valid"]
    page.click("Status")
    wait_until(lambda: len(page.all(".card")) == 5)
    assert page.errors() == []


def test_a_full_queue_is_said_with_the_time_to_wait(browser, start):
    server = start("--workers", "1", "--slots", "1", "--max-queue", "1", "--parked-memory", "0", "--step-limit", "1000000")
    page = Page(browser, server)
    page.open("sudoku")
    endless = {"grid": EXAMPLE, "options": {"max_steps": 1000000, "no_halt": True, "verify": False}}
    streams = [server.open_stream(endless)]
    wait_until(lambda: metric(server, "trm_slots_busy") == 1)
    streams.append(server.open_stream(endless))
    wait_until(lambda: metric(server, "trm_queue_length") == 1)
    page.solve()
    assert re.search(r"queue is full.*Try again in \S+ seconds?\.", page.text(".run .notice"))
    assert page.one(".run .primary").is_enabled() and page.text(".run .primary") == "Solve"
    for connection, _ in streams:
        connection.close()
    wait_until(lambda: metric(server, "trm_slots_busy") == 0)
    page.solve()
    wait_until(lambda: "Solved" in page.text(".headline"))
    assert page.errors() == []


def test_a_server_that_has_gone_is_said_and_found_again(browser, start):
    server = start()
    page = Page(browser, server)
    page.open("sudoku")
    page.click("Status")
    wait_until(lambda: len(page.all(".card")) == 5)
    assert server.stop() == 0
    wait_until(lambda: "cannot be reached. The figures are those of" in page.text(".notice"))
    page.click("Sudoku")
    wait_until(lambda: page.all(".board"))
    page.solve()
    assert "cannot be reached" in page.text(".run .notice")
    page.click("Maze")
    wait_until(lambda: "cannot be reached" in page.text("main > .notice"))
    start("--port", str(server.port))
    page.click("Try again")
    wait_until(lambda: page.all(".board.maze"))
    page.click("Sudoku")
    page.solve()
    wait_until(lambda: "Solved" in page.text(".headline"))
    assert page.errors() == []


def test_an_edit_of_a_grid_can_be_cancelled_and_the_focus_comes_back(page):
    page.open("arc")
    before = page.one(".fold textarea").get_attribute("value")
    page.click("Edit output 2")
    page.browser.switch_to.active_element.send_keys("9", Keys.ESCAPE)
    wait_until(lambda: not page.all("dialog[open]"))
    assert page.one(".fold textarea").get_attribute("value") == before
    page.click("Edit output 2")
    page.browser.switch_to.active_element.send_keys("9")
    page.click("Done")
    wait_until(lambda: page.browser.switch_to.active_element.get_attribute("aria-label") == "Edit output 2")
    assert json.loads(page.one(".fold textarea").get_attribute("value"))["train"][1]["output"][0][0] == 9


# Steps of 64 tries of 64 steps, as fast as the page takes them; what the stream is asked for is counted in `asked`.
FLOOD = """
const rows = JSON.stringify(Array.from({length: 9}, (_, r) => Array.from({length: 9}, (_, c) => (r * 3 + c) % 9 + 1)));
const event = (name, data) => `event: ${name}\\ndata: ${data}\\n\\n`;
const chunks = [];
for (let step = 1; step <= 64; step++) {
  let text = "";
  for (let rollout = 0; rollout < 64; rollout++) {
    text += event("step", `{"step":${step},"rollout":${rollout},"answer":${rows},"q_halt":-1.5,"confidence":0.9,` +
      `"changed":[[0,${rollout % 9}]],"ms":${step}}`);
  }
  chunks.push(new TextEncoder().encode(text));
}
chunks.push(new TextEncoder().encode(event("answer", `{"answer":${rows},"valid":false,"steps":64,"halted_by":"max_steps",` +
  `"confidence":0.9,"rollouts":{"count":64,"best":5,"steps":4096},"timing_ms":{"queue":1,"compute":2,"total":3}}`)));
const real = window.fetch;
window.fetch = async (path, options) => path !== "solve" ? real(path, options) : new Response(new ReadableStream({
  pull(stream) {
    chunks.length ? stream.enqueue(chunks.shift()) : stream.close();
  } }, { highWaterMark: 0 }), { headers: { "Content-Type": "text/event-stream" } });
window.frames_ = window.drawings = 0;
const count = () => { window.frames_++; requestAnimationFrame(count); };
requestAnimationFrame(count);
new MutationObserver(() => window.drawings++).observe(document.querySelector("input[type=range]"),
  { attributes: true, attributeFilter: ["max", "aria-valuetext"] });
"""


def test_a_flood_of_steps_is_drawn_once_a_frame_at_most_and_kept_whole(page):
    page.open("sudoku")
    page.browser.execute_script(FLOOD)
    page.solve()
    drawings, frames = page.browser.execute_script("return [window.drawings, window.frames_]")
    assert 0 < drawings <= frames + 1
    assert len(page.all(".lane")) == 64 and "64, the best is 6" in page.text(".facts")
    page.click("Last step")
    wait_until(lambda: page.place() == "step 64 of 64")
    page.all(".lane")[63].click()
    wait_until(lambda: page.all(".lane")[63].get_attribute("aria-pressed") == "true")
    assert page.marked("changed") == [63 % 9]
