"""The page in a real browser, Debian's chromium. Needs the extra `serve` and selenium."""

import contextlib
import io
import time

import numpy as np
import pytest
from helpers.models import average_colour
from helpers.serving import serving
from PIL import Image

from mdl_tf.index import Index
from mdl_tf.serve.limits import Limits

pytestmark = pytest.mark.slow
_OPTIONS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync"
)
# A file, dropped or pasted.
_GIVE = """
const [kind, data, type] = arguments;
const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
const files = new DataTransfer();
files.items.add(new File([bytes], "given", { type }));
const event = kind === "paste"
  ? new ClipboardEvent("paste", { clipboardData: files, bubbles: true })
  : new DragEvent("drop", { dataTransfer: files, bubbles: true, cancelable: true });
document.body.dispatchEvent(event);
"""


def picture(colour, size=(60, 40)):
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    for i in range(30):
        path = folder / "photos" / ("reds" if i < 20 else "blues") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture((8 * i, 0, 0) if i < 20 else (0, 0, 8 * i)))
    average_colour().save(folder / "m.keras")
    with Index.create(folder / "i", folder / "m.keras") as index:
        index.add(folder / "photos")
        labels = np.repeat(np.arange(10), 10)
        points = labels[:, None] * 0.05 + 0.02 * np.random.default_rng(0).random((100, 3))
        index.calibrate(points, labels)
    (folder / "query.png").write_bytes(picture((100, 0, 0)))
    (folder / "text.jpg").write_bytes(b"nonsense")
    (folder / "large.png").write_bytes(bytes(2**21))
    with serving(folder / "i", Limits(upload_bytes=2**20)) as client:
        client.folder = folder
        yield client


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for option in [*_OPTIONS.split(), f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"]:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService("/usr/bin/chromedriver")
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


class Page:
    """The page as a user sees it."""

    def __init__(self, browser, client):
        self.browser, self.client = browser, client
        self.show(1280, 860)
        browser.get(client.address)

    def show(self, width, height):
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def run(self, script, *arguments):
        return self.browser.execute_script(script, *arguments)

    def read(self, selector):
        return self.run(
            "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent.trim())",
            selector,
        )

    def wait(self, check):
        """What `check` gives, once it is true."""
        from selenium.common.exceptions import (
            NoSuchElementException,
            StaleElementReferenceException,
        )

        end = time.monotonic() + 15
        while True:
            # An element may be that of the page that is just being left.
            with contextlib.suppress(NoSuchElementException, StaleElementReferenceException):
                if value := check():
                    return value
            assert time.monotonic() < end, self.read("main")
            time.sleep(0.02)

    def wait_for_title(self, text):
        self.wait(lambda: self.read("#title") == [text])

    def choose(self, name):
        field = self.browser.find_element("id", "picture")
        field.send_keys(str(self.client.folder / name))

    def press(self, *keys):
        from selenium.webdriver import ActionChains

        ActionChains(self.browser).send_keys(*keys).perform()

    @property
    def focused(self):
        return self.run("const e = document.activeElement; return e.id || e.className || e.tagName")

    def complaints(self):
        return [entry["message"] for entry in self.browser.get_log("browser")]


@pytest.fixture
def page(browser, client):
    page = Page(browser, client)
    page.complaints()
    yield page
    assert page.complaints() == []


def test_choose_a_picture_click_a_neighbor_and_go_back(page):
    assert "begin with one of these" in page.read("#title")[0]
    page.choose("query.png")
    page.wait(lambda: "nearest 12" in page.read("#title")[0])
    assert page.focused == "title"  # where a screen reader goes on
    assert page.read("#status") == page.read("#title")
    distances = [float(text) for text in page.read(".distance")]
    assert distances == sorted(distances) and len(distances) == 12
    assert set(page.read(".badge")) == {"same", "not the same"}
    assert page.read(".badge").count("same") == int(page.read("#title")[0].split()[-3])
    loaded = "return [...document.images].every((i) => i.complete && i.naturalWidth > 0)"
    page.wait(lambda: page.run(loaded))
    assert page.read("figcaption") == ["Your picture"]

    second = page.read(".hit .name")[1]
    first = page.read(".hit .name")
    page.browser.find_elements("css selector", "a.hit")[1].click()
    page.wait(lambda: second in page.read("figcaption")[0])
    assert second not in page.read(".hit .name") and "id=" in page.browser.current_url
    page.browser.back()
    page.wait(lambda: page.read("figcaption") == ["Your picture"])
    assert page.read(".hit .name") == first
    page.browser.back()
    page.wait(lambda: "begin with one" in page.read("#title")[0])
    # A link to a neighbor is a page of its own, too.
    link = page.run("return document.querySelector('a.hit').href")
    page.browser.get(link)
    assert "nearest 12" in page.read("#title")[0]


def test_by_keyboard_alone(page):
    from selenium.webdriver import Keys

    page.press(Keys.TAB)
    assert page.focused == "skip"
    seen = []
    for _ in range(5):
        page.press(Keys.TAB)
        seen.append(page.focused)
        outline = page.run(
            "const e = document.activeElement;"
            "const shown = e.id === 'picture' ? e.nextElementSibling : e;"
            "return getComputedStyle(shown).outlineStyle"
        )
        assert outline != "none"
    assert seen == ["A", "picture", "label", "k", "hit"]
    page.press(Keys.ENTER)
    page.wait(lambda: "nearest 12" in page.read("#title")[0])
    assert page.focused == "title"
    # The filter: its first letter chooses.
    page.browser.find_element("id", "label").send_keys("b")
    page.wait(lambda: set(page.read(".hit b")) == {"blues"})
    assert "Only with the label blues." in page.read("#results .hint")[0]
    assert page.focused == "label" and page.read("#status")[0].startswith("The nearest")
    # The search goes on within it.
    before = page.browser.current_url
    page.run("document.querySelector('a.hit').focus()")
    page.press(Keys.ENTER)
    page.wait(lambda: page.browser.current_url != before)
    page.wait(lambda: page.run("return results.getAttribute('aria-busy')") != "true")
    assert set(page.read(".hit b")) == {"blues"} and "label=blues" in page.browser.current_url


def test_dropped_and_pasted(page):
    import base64

    for kind, colour in (("drop", (150, 0, 0)), ("paste", (0, 0, 200))):
        data = base64.b64encode(picture(colour)).decode()
        page.run(_GIVE, kind, data, "image/png")
        label = "reds" if colour[0] else "blues"
        page.wait(lambda label=label: page.read(".hit b")[:1] == [label] and page.read(".distance"))
        assert page.read("figcaption") == ["Your picture"]
    # The picture is kept while the filter changes.
    page.browser.find_element("id", "label").send_keys("r")
    page.wait(lambda: set(page.read(".hit b")) == {"reds"})
    assert page.read("figcaption") == ["Your picture"]


def test_without_its_script(page):
    script = "Emulation.setScriptExecutionDisabled"
    page.browser.execute_cdp_cmd(script, {"value": True})
    try:
        page.browser.get(page.client.address)
        page.choose("query.png")
        page.browser.find_element("id", "submit").click()
        page.wait(lambda: "nearest 12" in page.browser.find_element("id", "title").text)
        assert page.browser.find_element("tag name", "figcaption").text == "Your picture"
        page.browser.find_element("css selector", "a.hit").click()
        page.wait(lambda: "id=" in page.browser.current_url)
        page.wait(lambda: "nearest 12" in page.browser.find_element("id", "title").text)
    finally:
        page.browser.execute_cdp_cmd(script, {"value": False})


def test_what_went_wrong_is_said(browser, client):
    page = Page(browser, client)
    page.choose("query.png")
    page.wait(lambda: "nearest 12" in page.read("#title")[0])
    page.choose("text.jpg")
    page.wait(lambda: "This is no picture that can be read" in page.read("#message")[0])
    assert "nearest 12" in page.read("#title")[0]  # what was found stays
    page.choose("large.png")
    page.wait(lambda: "2.0 MB is too large: 1.0 MB" in page.read("#message")[0])
    page.choose("query.png")
    page.wait(lambda: page.read("#message") == [""])
    page.run("window.fetch = () => Promise.reject(new TypeError('refused'))")
    page.choose("query.png")
    page.wait(lambda: "does not answer" in page.read("#message")[0])
    page.complaints()  # of the status 415


@pytest.mark.parametrize("width", [320, 390, 768])
def test_on_a_telephone(page, width):
    page.show(width, 844)
    page.choose("query.png")
    page.wait(lambda: "nearest 12" in page.read("#title")[0])
    assert page.run("return document.documentElement.scrollWidth - innerWidth") <= 0
    boxes = page.run(
        "return [...document.querySelectorAll('select, .button, a.hit')]"
        ".filter((e) => e.offsetParent).map((e) => e.getBoundingClientRect().toJSON())"
    )
    assert all(box["height"] >= 44 and box["left"] >= 0 and box["right"] <= width for box in boxes)


def test_it_needs_nothing_from_elsewhere(page):
    import json

    page.browser.get_log("performance")
    page.browser.get(page.client.address)
    page.choose("query.png")
    page.wait(lambda: "nearest 12" in page.read("#title")[0])
    events = [
        json.loads(entry["message"])["message"] for entry in page.browser.get_log("performance")
    ]
    asked = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert len(asked) > 12
    assert all(url.startswith((page.client.address, "data:")) for url in asked), asked


def test_for_those_who_do_not_see_it(page):
    page.choose("query.png")
    page.wait(lambda: "nearest 12" in page.read("#title")[0])
    unnamed = page.run(
        "return [...document.querySelectorAll('input:not([type=hidden]), select')]"
        ".filter((e) => !e.labels.length).length"
    )
    assert unnamed == 0
    assert page.run("return [...document.images].every((i) => i.hasAttribute('alt'))")
    assert page.run("return document.documentElement.lang") == "en"
    for scheme in ("light", "dark"):
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        contrasts = page.run(_CONTRASTS)
        assert len(contrasts) > 30 and min(contrasts) >= 4.5, min(contrasts)


# Of each text to what is behind it.
_CONTRASTS = """
const light = (colour) => {
  const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map((v) => {
    v /= 255;
    return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = (e) => {
  for (; e; e = e.parentElement) {
    const colour = getComputedStyle(e).backgroundColor;
    if (!colour.endsWith(", 0)")) return colour;
  }
  return "rgb(255, 255, 255)";
};
return [...document.body.querySelectorAll("*")]
  .filter((e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()))
  .filter((e) => e.offsetParent && !["OPTION", "SCRIPT"].includes(e.tagName))
  .map((e) => [light(getComputedStyle(e).color), light(behind(e))].sort((a, b) => b - a))
  .map(([a, b]) => (a + 0.05) / (b + 0.05));
"""
