"""Chromium without a screen, and a person at the playground in it.

Where a test fails a screenshot is left in build/screenshots."""

import contextlib
import json
import os
import re
import shutil

import pytest

from conftest import PATIENCE_S, ROOT, wait_until

webdriver = pytest.importorskip("selenium.webdriver", reason="python3-selenium is not installed")
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select  # noqa: E402

if not shutil.which("chromium") or not shutil.which("chromedriver"):
    pytest.skip("chromium and chromium-driver are not installed", allow_module_level=True)

SHOTS = os.path.join(os.environ.get("TRM_BUILD", os.path.join(ROOT, "build")), "screenshots")


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
        """Writes a puzzle into the field for its text."""
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
        wait_until(lambda: self.text(".headline:not(.thinking), .notice:not(.plain)"))

    def place(self):
        return self.text(".place")

    def command(self):
        """What the page says to type into a shell."""
        return self.text(".code code")

    def body(self):
        """The request of that command."""
        return json.loads(re.search(r"-d '(.*)'$", self.command(), re.S).group(1))

    def drop(self, text):
        """Drags a text onto the ARC view."""
        self.browser.execute_script(
            "const data = new DataTransfer(); data.setData('text', arguments[0]);"
            "document.querySelector('.arc-view').dispatchEvent(new DragEvent('drop', {dataTransfer: data, bubbles: true, "
            "cancelable: true}))", text)

    @contextlib.contextmanager
    def phone(self):
        """The screen is a phone's."""
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                                     {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True})
        try:
            yield
        finally:
            self.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

    @contextlib.contextmanager
    def prefers(self, **features):
        """What the person told the system: prefers(color_scheme="dark")."""
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [
            {"name": f"prefers-{name.replace('_', '-')}", "value": value} for name, value in features.items()]})
        try:
            yield
        finally:
            self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})

    def errors(self):
        """What the console has against the page; that the API refused or was not there, which it logs too, is no error."""
        return [entry["message"] for entry in self.browser.get_log("browser") if entry["level"] == "SEVERE"
                and not re.search(r"Failed to load resource: .*(status of 4|ERR_CONNECTION_REFUSED)", entry["message"])]

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
