"""The playground for everyone: by keyboard alone, read aloud, in both themes, without motion, on a phone, at every size."""
# flake8: noqa: F811 (fixtures of other files are arguments here)

import json
import os
import subprocess

import pytest

from browser import Keys, Page, browser, page, webdriver  # noqa: F401 (also fixtures)
from conftest import EXAMPLE, PATIENCE_S, ROOT, SERVER, Server, wait_until
from test_server_kinds import maze, six  # noqa: F401 (fixtures)

from selenium.webdriver.common.actions import interaction
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.actions.pointer_input import PointerInput

VIEWS = ("sudoku", "maze", "arc", "status")


@pytest.fixture(scope="module")
def server(maze):
    running = Server("--workers", "1", "--model", "maze=" + maze)
    yield running
    assert running.stop() == 0, "".join(running.log)


@pytest.fixture(scope="module")
def large_maze(tmp_path_factory):
    """A checkpoint for mazes of 30x30 that has seen two updates."""
    folder = tmp_path_factory.mktemp("large")
    with open(os.path.join(ROOT, "config/models/maze-small.json")) as file:
        model = json.load(file)
    model.update(seq_len=900, hidden_size=16, puzzle_emb_ndim=16, num_heads=1, L_layers=1, H_cycles=1, expansion=1,
                 inter_multiple=16, mlp_t=False)
    (folder / "model.json").write_text(json.dumps(model))
    settings = {"model": folder / "model.json", "steps": 2, "checkpoint_every": 2, "batch_size": 2, "pool_size": 2,
                "shards": 1, "data.0.size": 30, "data.0.count": 4, "eval.size": 30, "eval.count": 1}
    subprocess.run([os.path.join(os.path.dirname(SERVER), "trm-train"), "--config", "config/train/maze.json", "--out",
                    str(folder / "run"), *(word for item in settings.items() for word in ("--set", "%s=%s" % item))],
                   cwd=ROOT, check=True, timeout=PATIENCE_S, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return str(folder / "run" / "best.safetensors")


# --- by keyboard, and read aloud ----------------------------------------------------------------------------


def test_the_board_has_names_for_those_who_do_not_see_it(page):
    page.open("sudoku")
    page.enter(EXAMPLE)
    board = page.one(".board")
    assert board.get_attribute("role") == "grid" and len(page.all(".board [role=row]")) == 9
    names = [cell.get_attribute("aria-label") for cell in page.all(".board [role=gridcell]")]
    assert len(names) == 81 and names[0] == "row 1, column 1, 5, clue" and names[2] == "row 1, column 3, blank"
    assert len(page.all(".board [tabindex='0']")) == 1



# What can be reached by Tab and what cannot: elements that take part, in the order of the document, without those that
# are of a group with one stop (the cells of a board).
STOPS = """
return [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex]")]
  .filter((e) => e.tabIndex >= 0 && !e.disabled && e.checkVisibility({ visibilityProperty: true }) && e.type !== "file")
"""


@pytest.mark.parametrize("view", VIEWS)
def test_tab_goes_everywhere_in_the_order_of_the_page_and_the_focus_is_seen(page, view):
    page.open(view)
    if page.all(".run"):
        page.set_option("max_steps", 2)
        page.set_option("rollouts", 2)
        page.solve()
        page.one("input[type=range]")
    page.browser.execute_script("document.activeElement.blur(); getSelection().removeAllRanges(); scrollTo(0, 0)")
    stops = page.browser.execute_script(STOPS)
    page.browser.execute_script("document.querySelector('.skip').focus()")
    page.browser.switch_to.active_element.send_keys(Keys.TAB)
    page.browser.switch_to.active_element.send_keys(Keys.SHIFT, Keys.TAB)
    assert len(stops) > 8
    for stop in stops:
        focused = page.browser.switch_to.active_element
        assert focused == stop, (focused.get_attribute("outerHTML")[:120], stop.get_attribute("outerHTML")[:120])
        style, width = page.browser.execute_script(
            "const style = getComputedStyle(arguments[0]); return [style.outlineStyle, parseFloat(style.outlineWidth)]", stop)
        assert style != "none" and width >= 2, stop.get_attribute("outerHTML")[:120]
        stop.send_keys(Keys.TAB)


def test_a_sudoku_is_entered_solved_and_gone_through_with_keys_alone(page):
    page.open("sudoku")
    page.browser.execute_script("document.querySelector('.board [tabindex=\"0\"]').focus()")
    keys = page.browser.switch_to.active_element
    keys.send_keys("1", Keys.ARROW_RIGHT, " ", Keys.ARROW_DOWN)
    assert page.browser.switch_to.active_element.get_attribute("aria-label").startswith("row 2, column 2")
    assert page.board()[:2] == "1."
    page.enter(EXAMPLE)
    page.browser.execute_script("document.querySelector('.board [tabindex=\"0\"]').focus()")
    page.browser.switch_to.active_element.send_keys(Keys.ENTER)
    wait_until(lambda: "Solved" in page.text(".headline"))
    wait_until(lambda: "." not in page.board())
    page.one("input[type=range]").send_keys(Keys.HOME)
    wait_until(lambda: page.board() == EXAMPLE)


def test_a_maze_is_drawn_with_keys_alone(page):
    page.open("maze")
    page.click("Clear")
    page.browser.execute_script("document.querySelector('.board [tabindex=\"0\"]').focus()")
    page.browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT, " ", Keys.ARROW_DOWN, "g", Keys.ARROW_LEFT, "#",
                                                    Keys.ARROW_DOWN, "#", Keys.BACKSPACE)
    assert page.body()["grid"][:13] == "S#    #G     "
    assert page.all(".board .cell")[1].get_attribute("aria-label") == "row 1, column 2, wall"
    assert page.all(".board .cell")[7].get_attribute("aria-label") == "row 2, column 2, goal"


# --- to be read in both themes ------------------------------------------------------------------------------


# Texts, and what fields hold, whose contrast with what is behind them is below 4.5 (WCAG 2.2 AA): [text, colours, ratio].
# What is disabled does not count.
FAINT = """
const probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
const channels = (colour) => {
  probe.clearRect(0, 0, 1, 1);
  probe.fillStyle = colour;
  probe.fillRect(0, 0, 1, 1);
  return [...probe.getImageData(0, 0, 1, 1).data];
};
const light = (rgb) => rgb.slice(0, 3).map((v) => v / 255)
  .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const behind = (e) => {
  if (e.previousElementSibling?.tagName === "rect") {
    return getComputedStyle(e.previousElementSibling).fill;
  }
  for (; e; e = e.parentElement) {
    const colour = getComputedStyle(e).backgroundColor;
    const alpha = channels(colour)[3];
    if (alpha === 255) return colour;
    if (alpha > 0) throw new Error(`half transparent: ${e.outerHTML.slice(0, 80)}`);
  }
};
const found = [];
let seen = 0;
const check = (e, text, colour) => {
  seen++;
  const [a, b] = [light(channels(colour)), light(channels(behind(e)))].sort((x, y) => y - x);
  const ratio = (a + 0.05) / (b + 0.05);
  if (ratio < 4.5) found.push([text, colour, behind(e), ratio]);
};
document.getAnimations().forEach((animation) => animation.finish());
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (texts.nextNode()) {
  const e = texts.currentNode.parentElement;
  if (texts.currentNode.data.trim() && e.checkVisibility() && !e.closest(":disabled, option")) {
    check(e, texts.currentNode.data, getComputedStyle(e)[e.tagName === "text" ? "fill" : "color"]);
  }
}
for (const e of document.querySelectorAll("input, select, textarea")) {
  if (e.checkVisibility() && !e.disabled) {
    check(e, e.name, getComputedStyle(e).color);
    check(e, e.name, getComputedStyle(e, "::placeholder").color);
  }
}
return [seen, found];
"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_text_stands_out_from_what_is_behind_it(page, theme):
    with page.prefers(color_scheme=theme):
        for view in VIEWS:
            page.open(view)
            if page.all(".run"):
                page.set_option("max_steps", 1)
                page.set_option("rollouts", 2)
                page.solve()
                page.click("Last step")
                wait_until(lambda: page.marked("changed"))
            if view == "arc":
                page.one(".check input").click()
            if view == "status":
                wait_until(lambda: len(page.all(".card")) == 5)
            seen, faint = page.browser.execute_script(FAINT)
            assert seen > 20 and faint == [], view
        page.open("arc")
        page.click("Edit input 1")
        assert page.browser.execute_script(FAINT)[1] == []
        page.open("sudoku")
        page.enter("55" + "." * 79)
        page.solve()
        assert page.browser.execute_script(FAINT)[1] == []


def test_the_theme_follows_the_system_until_it_is_chosen(page):
    ground = "return getComputedStyle(document.body).backgroundColor"
    with page.prefers(color_scheme="light"):
        page.open("sudoku")
        light = page.browser.execute_script(ground)
        assert page.text("#theme") == "Dark theme"
    with page.prefers(color_scheme="dark"):
        wait_until(lambda: page.text("#theme") == "Light theme")
        dark = page.browser.execute_script(ground)
        page.click("Light theme")
        assert page.browser.execute_script(ground) == light != dark
        page.open("maze")
        assert page.browser.execute_script(ground) == light
        page.browser.execute_script("localStorage.clear()")


def test_who_wants_no_motion_sees_the_last_step_at_once(page):
    with page.prefers(reduced_motion="reduce"):
        page.open("sudoku")
        page.enter(EXAMPLE)
        page.set_option("stop", "never")
        page.set_option("max_steps", 4)
        page.browser.execute_script(
            "window.places = []; new MutationObserver(() => window.places.push(document.querySelector('.place').textContent))"
            ".observe(document.querySelector('.place'), {childList: true})")
        page.solve()
        wait_until(lambda: page.place() == "step 4 of 4")
        shown = [place.split(" of ")[0] for place in page.browser.execute_script("return window.places")]
        assert len(set(shown) - {"puzzle"}) <= 2  # where some steps arrived later than others, the last of these
        page.one("input[type=range]").send_keys(Keys.HOME, Keys.ARROW_RIGHT)
        wait_until(lambda: page.marked("changed"))
        assert page.browser.execute_script("return document.getAnimations().length") == 0


# --- on every screen ----------------------------------------------------------------------------------------


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


TOO_WIDE = """
return [...document.querySelectorAll("header *, main *")].filter((e) => e.getBoundingClientRect().right > innerWidth + 0.5)
  .map((e) => e.outerHTML.slice(0, 80))
"""


def test_on_a_phone_nothing_is_wider_than_the_screen(page):
    with page.phone():
        for view in VIEWS:
            page.open(view)
            if page.all(".run"):
                page.set_option("rollouts", 3)
                page.solve()
            assert page.browser.execute_script(TOO_WIDE) == [], view


def test_on_a_phone_the_board_stays_in_sight_beside_the_steps(page):
    with page.phone():
        page.open("sudoku")
        page.enter(EXAMPLE)
        page.browser.execute_script("scrollTo(0, 0)")
        assert page.one(".run .primary").rect["y"] < 844
        page.solve()
        slider = page.one("input[type=range]")
        page.browser.execute_script("arguments[0].scrollIntoView({block: 'end', behavior: 'instant'})", slider)
        board, place = page.browser.execute_script(
            "return [document.querySelector('.board'), arguments[0]].map((e) => e.getBoundingClientRect().toJSON())", slider)
        assert board["top"] >= 0 and board["bottom"] <= place["top"] and place["bottom"] <= 844


def test_a_maze_of_30_by_30_can_be_drawn_and_solved_on_a_phone(browser, start, large_maze):
    page = Page(browser, start("--model", "maze=" + large_maze))
    with page.phone():
        page.open("maze")
        cells = page.all(".board .cell")
        assert len(cells) == 900 and sorted(filter(None, page.cells())) == ["G", "S"]
        page.click("Clear")
        browser.execute_script("scrollTo(0, 0)")
        boxes = browser.execute_script("return [...document.querySelectorAll('.board .cell')].map((e) => "
                                       "e.getBoundingClientRect().toJSON())")
        assert all(box["width"] >= 11 and abs(box["width"] - box["height"]) < 1 for box in boxes)
        font = browser.execute_script("return parseFloat(getComputedStyle(document.querySelector('.board .cell')).fontSize)")
        assert font >= 7
        # A finger goes over a row of cells.
        finger = webdriver.ActionChains(browser)
        finger.w3c_actions = ActionBuilder(browser, mouse=PointerInput(interaction.POINTER_TOUCH, "finger"))
        finger.w3c_actions.pointer_action.move_to_location(int(boxes[300]["x"]) + 5, int(boxes[300]["y"]) + 5)
        finger.w3c_actions.pointer_action.pointer_down()
        for index in range(301, 306):
            finger.w3c_actions.pointer_action.move_to_location(int(boxes[index]["x"]) + 5, int(boxes[index]["y"]) + 5)
        finger.w3c_actions.pointer_action.pointer_up()
        finger.perform()
        assert page.marked("wall") == list(range(300, 306))
        page.click("Random maze")
        page.set_option("max_steps", 2)
        page.solve()
        assert browser.execute_script(TOO_WIDE) == []
    assert page.errors() == []
