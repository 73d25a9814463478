"""The playground in headless Chromium against a real server: what a person does, and what must then be seen.

Where a test fails a screenshot is left in build/screenshots."""

import json
import os
import re
import shutil

import pytest

from conftest import EXAMPLE, PATIENCE_S, ROOT, Server, wait_until
from test_arc import AUGMENT, checkpoint, data  # noqa: F401 (fixtures)
from test_server_kinds import maze, six  # noqa: F401 (fixtures)

webdriver = pytest.importorskip("selenium.webdriver", reason="python3-selenium is not installed")
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select  # noqa: E402

if not shutil.which("chromium") or not shutil.which("chromedriver"):
    pytest.skip("chromium and chromium-driver are not installed", allow_module_level=True)

SHOTS = os.path.join(os.environ.get("TRM_BUILD", os.path.join(ROOT, "build")), "screenshots")


@pytest.fixture(scope="module")
def server(maze):  # noqa: F811
    # One worker leaves a core to the browser, which else is served last and cancels what has ended.
    running = Server("--workers", "1", "--model", "maze=" + maze)
    yield running
    assert running.stop() == 0, "".join(running.log)


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--window-size=1280,1000",
                 "--disable-background-networking", "--disable-component-update", "--no-first-run"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(service=Service(shutil.which("chromedriver")), options=options)
    driver.set_page_load_timeout(PATIENCE_S)
    driver.set_script_timeout(PATIENCE_S)
    yield driver
    driver.quit()


class Page:
    """A person at the page."""

    def __init__(self, browser, server):
        self.browser, self.server = browser, server
        self.origin = f"http://127.0.0.1:{server.port}/"

    def open(self, view):
        self.browser.get("about:blank")
        self.browser.get(f"{self.origin}#{view}")
        wait_until(lambda: self.all(".view"))

    def all(self, selector):
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector):
        wait_until(lambda: self.all(selector))
        return self.all(selector)[0]

    def text(self, selector):
        return self.browser.execute_script(
            "return [...document.querySelectorAll(arguments[0])].filter((e) => !e.hidden)"
            ".map((e) => e.textContent).join(' ')", selector)

    def click(self, label):
        self.browser.execute_script(
            "[...document.querySelectorAll('button, summary, a')].find((e) => e.offsetParent && "
            "(e.textContent.trim() === arguments[0] || e.getAttribute('aria-label') === arguments[0])).click()", label)

    def cells(self):
        return self.browser.execute_script("return [...document.querySelectorAll('.board .cell')].map((e) => e.textContent)")

    def board(self):
        return "".join(cell or "." for cell in self.cells())

    def marked(self, mark):
        return self.browser.execute_script(
            "return [...document.querySelectorAll('.board .cell')].flatMap((e, i) => e.classList.contains(arguments[0]) "
            "? [i] : [])", mark)

    def enter(self, text):
        """Writes a puzzle into the field below the board."""
        field = self.one(".paste")
        field.click()
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(text, Keys.TAB)

    def set_option(self, name, value):
        fold = self.one("details:has(.options)")
        self.browser.execute_script("arguments[0].open = true", fold)
        field = self.one(f".options [name={name}]")
        if field.tag_name == "select":
            Select(field).select_by_value(value)
        else:
            field.clear()
            field.send_keys(str(value), Keys.TAB)

    def solve(self):
        """Solves what is there, to the verdict."""
        self.click("Solve")
        wait_until(lambda: self.text(".headline, .notice"))

    def place(self):
        return self.text(".place")

    def errors(self):
        """What the console has against the page; refusals of the API, which it logs too, are no errors."""
        return [entry["message"] for entry in self.browser.get_log("browser")
                if entry["level"] == "SEVERE" and "the server responded with a status of 4" not in entry["message"]]

    def addresses(self):
        """Of all requests since it was last asked."""
        events = [json.loads(entry["message"])["message"] for entry in self.browser.get_log("performance")]
        return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]


@pytest.fixture
def page(browser, server, request):
    browser.get_log("performance")
    failed = request.session.testsfailed
    opened = Page(browser, server)
    yield opened
    if request.session.testsfailed > failed:
        os.makedirs(SHOTS, exist_ok=True)
        browser.save_screenshot(os.path.join(SHOTS, request.node.name + ".png"))
    assert opened.errors() == []
    for address in opened.addresses():
        assert address.startswith((opened.origin, "about:", "data:", "chrome:")), address


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
    solved = page.board()
    assert is_solved(solved) and all(clue in (".", cell) for clue, cell in zip(EXAMPLE, solved))
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
    assert len(page.all(".strip")) == 4 and len(page.all(".strip:first-child rect.above, .strip:first-child rect.below")) == 5
    slider = page.one("input[type=range]")
    slider.send_keys(Keys.HOME)
    assert page.place() == "puzzle" and page.board() == EXAMPLE
    slider.send_keys(Keys.ARROW_RIGHT)
    assert page.place() == "step 1 of 5" and "." not in page.board()
    assert slider.get_attribute("aria-valuetext").startswith("step 1: q ")
    changed = page.marked("changed")
    assert changed and set(changed) == {i for i, c in enumerate(EXAMPLE) if c == "."}
    slider.send_keys(Keys.END)
    assert page.place() == "step 5 of 5" and page.board() == last
    page.click("Step back")
    assert page.place() == "step 4 of 5"
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


def test_the_command_below_asks_the_same(page):
    page.open("sudoku")
    page.enter(EXAMPLE)
    page.set_option("max_steps", 7)
    command = page.text(".code code")
    assert command.startswith("curl ") and page.origin + "solve" in command
    body = json.loads(re.search(r"-d '(.*)'$", command, re.S).group(1))
    assert body["grid"] == EXAMPLE and body["options"]["max_steps"] == 7
    assert page.server.post(body).json()["valid"]


def test_the_board_has_names_for_those_who_do_not_see_it(page):
    page.open("sudoku")
    page.enter(EXAMPLE)
    board = page.one(".board")
    assert board.get_attribute("role") == "grid" and len(page.all(".board [role=row]")) == 9
    names = [cell.get_attribute("aria-label") for cell in page.all(".board [role=gridcell]")]
    assert len(names) == 81 and names[0] == "row 1, column 1, 5, clue" and names[2] == "row 1, column 3, blank"
    assert len(page.all(".board [tabindex='0']")) == 1


@pytest.mark.parametrize("view", ["sudoku", "maze"])
def test_the_cells_of_a_board_are_squares_within_it(page, view):
    page.open(view)
    page.click("Solve")
    wait_until(lambda: page.marked("changed"))
    board, *cells = page.browser.execute_script(
        "return ['.board', ...document.querySelectorAll('.board .cell')].map((e) => "
        "(e.nodeType ? e : document.querySelector(e)).getBoundingClientRect().toJSON())")
    for cell in cells:
        assert abs(cell["width"] - cell["height"]) < 1.5
        assert cell["left"] >= board["left"] - 1 and cell["right"] <= board["right"] + 1


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
        assert page.all(".lane")[lane].get_attribute("aria-pressed") == "true"
        page.one("input[type=range]").send_keys(Keys.END)
        assert page.place() == "step 3 of 3"
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
    assert json.loads(re.search(r"-d '(.*)'$", page.text(".code code"), re.S).group(1))["grid"][:12] == "S       ##  "
    page.set_option("max_steps", 2)
    page.solve()
    wait_until(lambda: re.search(r"in [12] steps?", page.text(".headline")))
    page.click("Random maze")
    assert sorted(cell for cell in page.cells() if cell) == ["G", "S"] and page.marked("wall")


def drop(page, text):
    page.browser.execute_script(
        "const data = new DataTransfer(); data.setData('text', arguments[0]);"
        "document.querySelector('.arc-view').dispatchEvent(new DragEvent('drop', {dataTransfer: data, bubbles: true, "
        "cancelable: true}))", text)


def test_an_arc_task_is_shown_edited_and_refused_with_a_sentence(page):
    page.open("arc")
    assert "no ARC model" in page.text(".notice")
    assert len(page.all(".arc-pair")) == 4
    task = {"train": [{"input": [[1, 2]], "output": [[2, 1]]}], "test": [{"input": [[3]]}]}
    drop(page, json.dumps(task))
    wait_until(lambda: len(page.all(".arc-pair")) == 2)
    page.click("Edit test input 1")
    page.browser.switch_to.active_element.send_keys("7")
    page.click("Done")
    wait_until(lambda: '[[7]]' in page.one(".fold textarea").get_attribute("value"))
    drop(page, '{"train": [], "test": []}')
    wait_until(lambda: "neither of them empty" in page.text(".notice"))


def test_an_arc_task_gets_votes_and_an_unknown_one_advice(browser, start, data, checkpoint):  # noqa: F811
    page = Page(browser, start("--model", "arc=" + checkpoint))
    page.open("arc")
    assert "arc was trained on" in page.text(".notice.plain")
    page.click("Predict")
    wait_until(lambda: "trm-train" in page.text(".notice:not(.plain)"))
    task = data.known["known0"]
    drop(page, json.dumps({"known0": task}))
    page.click("Predict")
    wait_until(lambda: "Predicted" in page.text(".headline"))
    assert "task known0 of the training data" in page.text(".headline") and not page.text(".notice:not(.plain)")
    assert len(page.all(".ballot")) == len(task["test"])
    assert f"of {AUGMENT} voted" in page.text(".ballot")
    verdicts = page.text(".arc-figure .wrong, .arc-figure .right")
    assert len(re.findall("wrong|right", verdicts)) >= len(task["test"])
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
    assert page.errors() == []


def test_on_a_phone_nothing_is_wider_than_the_screen(page):
    page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                                 {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True})
    try:
        for view in ("sudoku", "maze", "arc", "status"):
            page.open(view)
            if page.all(".run"):
                page.set_option("rollouts", 3)
                page.solve()
            assert page.browser.execute_script(
                "return [...document.querySelectorAll('main *')].filter((e) => e.getBoundingClientRect().right > 390)"
                ".map((e) => e.outerHTML.slice(0, 80))") == [], view
    finally:
        page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
