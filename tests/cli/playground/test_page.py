"""The page by the real gradio: in a real browser what a person does, and twenty sessions at once by its own client."""

from __future__ import annotations

import json
import shutil
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from behemoth_data import Edge

pytest.importorskip("gradio", reason="an environment from before there was an extra play; `make setup` brings it")
pytestmark = pytest.mark.slow
NARROW, WIDE = 380, 1300


@pytest.fixture(scope="module", autouse=True)  # before anything is served
def connected() -> Iterator[list[Any]]:
    """Every address that this process connects to from here on."""
    found: list[Any] = []
    plain = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> Any:
        if self.family != socket.AF_UNIX:
            found.append(address[0])
        return plain(self, address)

    socket.socket.connect = connect  # type: ignore[method-assign]
    yield found
    socket.socket.connect = plain  # type: ignore[method-assign]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    chromium, driver = (shutil.which(name) for name in ("chromium", "chromedriver"))
    if chromium is None or driver is None:
        pytest.skip("no chromium with chromedriver is installed (on Debian: chromium-driver)")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    flags += f" --disable-component-update --disable-sync --user-data-dir={tmp_path_factory.mktemp('profile')}"
    for flag in flags.split():
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield found
    found.quit()


def resize(browser: Any, width: int) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def wait(browser: Any, condition: str, seconds: float = 60) -> Any:
    """What a condition gives once it holds. Raises: TimeoutError after these seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := browser.execute_script(f"return {condition}"):
            return found
        time.sleep(0.1)
    raise TimeoutError(condition)


def text(browser: Any, place: str) -> str:
    return str(browser.execute_script(f"return document.querySelector('{place}').innerText"))


def version(browser: Any) -> str:
    return str(browser.execute_script("return document.querySelector('.bm-graph').dataset.version"))


def redrawn(browser: Any, before: str) -> None:
    wait(browser, f"document.querySelector('.bm-graph').dataset.version !== '{before}'", 120)


def press(browser: Any, place: str) -> None:
    browser.execute_script(f"document.querySelector('{place}').click()")


def leave(browser: Any) -> None:
    """The page is left, and what its scripts then say of the streams that end is not told of the next one."""
    browser.get("about:blank")
    browser.get_log("browser")


def complaints(browser: Any) -> list[Any]:
    """The errors on the console since a page was last left."""
    return [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


@pytest.fixture
def opened(browser: Any, served: Any) -> Iterator[Any]:
    """The page with a fact picked; whatever a test does there, the console must stay silent until it is left."""
    resize(browser, WIDE)
    leave(browser)
    browser.get(f"{served[1]}?head=5&relation=1&new_tail=3&method=lora&lora.max_steps=8&surface=synthetic")
    wait(browser, "document.querySelector('#says td') !== null && document.querySelector('.bm-mark') !== null")
    yield browser
    assert complaints(browser) == []


def test_picture_has_every_fact_and_a_click_on_a_mark_picks_it(opened: Any) -> None:
    assert opened.execute_script("return document.querySelectorAll('.bm-marks .bm-mark').length") >= 180
    before, said = version(opened), text(opened, ".bm-said")
    from selenium.webdriver.common.action_chains import ActionChains

    mark = opened.find_elements("css selector", ".bm-marks .bm-mark")[40]
    opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", mark)
    ActionChains(opened).move_to_element(mark).click().perform()
    redrawn(opened, before)
    assert text(opened, ".bm-said") != said
    assert text(opened, ".bm-said").rpartition(":")[0] in text(opened, "#says")


def test_mark_is_reached_by_keyboard_alone_and_read_aloud(opened: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    picture = opened.find_element("css selector", ".bm-graph > svg")
    before, said = version(opened), text(opened, ".bm-said")
    picture.send_keys(Keys.ARROW_RIGHT)
    assert text(opened, ".bm-said") != said
    picture.send_keys(Keys.ARROW_DOWN)
    there = text(opened, ".bm-said")
    picture.send_keys(Keys.ENTER)
    redrawn(opened, before)
    assert text(opened, ".bm-said") == there


def test_list_beside_the_picture_holds_the_same_facts(opened: Any) -> None:
    press(opened, ".bm-list summary")
    wait(opened, "document.querySelector('.bm-list p').innerText === '180 of 180 facts'")


def test_subject_is_found_by_typing_part_of_its_name(opened: Any, shelved: Any) -> None:
    name = shelved.words["synthetic"].heads(Edge.SUBJECT_OBJECT, 0)[11]
    opened.find_element("css selector", "#find input, #find textarea").send_keys(name)
    wait(opened, "document.querySelector('#found').innerText.includes('Subjects found: 1')")


def test_switch_of_words_says_the_same_in_others(opened: Any, shelved: Any) -> None:
    before = version(opened)
    opened.find_element("css selector", "#surface input[value=natural]").click()
    redrawn(opened, before)
    fact = shelved.checkpoint.corpus.world.fact(Edge.SUBJECT_OBJECT, 5, 1)
    wait(
        opened,
        f"document.querySelector('.bm-said').innerText.startsWith({json.dumps(shelved.words['natural'].fact(fact))})",
    )


def test_prompt_that_is_typed_is_answered_as_predict_does(opened: Any, shelved: Any) -> None:
    from behemoth_data.edits import Probe
    from behemoth_editing.scoring.answers import predict

    fact = shelved.checkpoint.corpus.world.fact(Edge.SUBJECT_OBJECT, 5, 1)
    query = shelved.checkpoint.corpus.grammar.query(fact)
    (answer,) = predict(shelved.checkpoint.model, [Probe("edited", 0, fact, "statement", query, query)])
    opened.find_element("css selector", "#prompt textarea, #prompt input").send_keys(query.prompt)
    press(opened, "#ask")
    wait(opened, "document.querySelector('#asked td') !== null")
    word = shelved.checkpoint.corpus.grammar.lexicon.decode(answer)
    assert text(opened, "#asked td").startswith(word)
    assert word in text(opened, "#says")


def test_edit_recolours_counts_lists_and_tells_the_code(opened: Any) -> None:
    before = version(opened)
    press(opened, "#edit")
    wait(opened, "document.querySelector('#progress progress') !== null")
    redrawn(opened, before)
    assert "made: 1" in text(opened, ".bm-legend") or "not made: 1" in text(opened, ".bm-legend")
    wait(opened, "document.querySelector('#outcome table') !== null")
    assert "edit success" in text(opened, "#outcome")
    wait(opened, "document.querySelector('#python .cm-content') !== null")
    assert "max_steps=8" in text(opened, "#python")
    assert "behemoth play" in text(opened, "#command")
    before = version(opened)
    press(opened, "#again")
    redrawn(opened, before)
    assert "(those of 1)" in text(opened, "#history")
    for left in (1, 0):
        before = version(opened)
        press(opened, "#undo")
        redrawn(opened, before)
        wait(opened, f"document.querySelectorAll('#history tbody tr').length === {left}")


def test_edit_is_attacked_and_what_is_left_is_told_step_by_step(opened: Any) -> None:
    before = version(opened)
    opened.find_element("css selector", "#num_edits input[value='10']").click()
    press(opened, "#edit")
    redrawn(opened, before)
    press(opened, "#attempt")
    wait(opened, "document.querySelectorAll('#attacked tbody tr').length === 8", 120)
    assert "relearn on 10 edits by lora: old answers that are its best guess" in text(opened, "#attacked")


def test_link_makes_the_edit_again(opened: Any) -> None:
    before = version(opened)
    press(opened, "#edit")
    redrawn(opened, before)
    wait(opened, "document.querySelector('#link a') !== null")
    legend = text(opened, ".bm-legend")
    link = opened.execute_script("return document.querySelector('#link a').href")
    assert complaints(opened) == []
    leave(opened)
    opened.get(link)
    wait(opened, "document.querySelectorAll('#history tbody tr').length === 1", 120)
    assert text(opened, ".bm-legend") == legend


def test_settings_of_a_method_stand_with_their_help(opened: Any) -> None:
    press(opened, "#settings button")
    wait(opened, "document.querySelector('#setting-max_steps') !== null")
    shown = text(opened, "#settings")
    assert "optimizer steps at most" in shown
    box = "#setting-max_steps input, #setting-max_steps textarea"
    assert opened.execute_script(f"return document.querySelector('{box}').value") == "8"


def test_settings_of_the_first_method_are_there_and_are_those_of_the_link(opened: Any, served: Any) -> None:
    assert complaints(opened) == []
    leave(opened)
    opened.get(f"{served[1]}?method=rome&rome.steps=7")
    wait(opened, "document.querySelector('#says td') !== null")
    press(opened, "#settings button")
    box = "(document.querySelector('#setting-steps input, #setting-steps textarea') || {})"
    wait(opened, f"{box}.value === '7'")


def test_link_that_cannot_be_followed_leaves_its_message(opened: Any, served: Any) -> None:
    assert complaints(opened) == []
    leave(opened)
    opened.get(f"{served[1]}?head=99999&made=1&utm_source=x")
    wait(opened, "(document.querySelector('#status') || {innerText: ''}).innerText.includes('cannot be followed')")
    wait(opened, "document.querySelector('#says td') !== null")
    time.sleep(1)
    assert "cannot be followed" in text(opened, "#status")
    assert opened.execute_script("return document.querySelectorAll('#history tbody tr').length") == 0


def test_killed_edit_leaves_the_page_usable(opened: Any) -> None:
    link = opened.current_url.replace("max_steps=8", "max_steps=1000") + "&lora.patience=1000"
    assert complaints(opened) == []
    leave(opened)
    opened.get(link)
    wait(opened, "document.querySelector('#says td') !== null")
    press(opened, "#edit")
    wait(opened, "(document.querySelector('#progress progress') || {value: 0}).value > 0.1")
    press(opened, "#stop")
    wait(opened, "document.querySelector('#status').innerText.includes('stopped')")
    before = version(opened)
    opened.find_element("css selector", "#surface input[value=natural]").click()
    redrawn(opened, before)


@pytest.mark.parametrize("width", [NARROW, WIDE])
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_is_wider_than_the_page(opened: Any, width: int, dark: bool) -> None:
    before = version(opened)
    press(opened, "#edit")
    redrawn(opened, before)
    wait(opened, "document.querySelector('#history td') !== null")
    resize(opened, width)
    opened.execute_script(f"document.body.classList.toggle('dark', {json.dumps(dark)})")
    time.sleep(0.5)
    assert opened.execute_script("return document.documentElement.scrollWidth") <= width
    # Nor is anything cut off: the page's own parts end where it ends, and what is wider scrolls within them.
    parts = "[...document.querySelectorAll('.column, .block, .bm-html.wrap, .bm-graph > *')]"
    edges = opened.execute_script(f"return {parts}.map(part => part.getBoundingClientRect().right)")
    assert len(edges) > 20
    assert max(edges) <= width


def test_nothing_leaves_the_machine(opened: Any, served: Any, connected: list[Any]) -> None:
    asked = set()
    for entry in opened.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            asked.add(message["params"]["request"]["url"])
    assert any(url.startswith(served[1]) for url in asked)
    inside = ("data:", "blob:", "about:", "chrome:", "chrome-untrusted:")  # the browser's own empty page among them
    assert [url for url in asked if not url.startswith((served[1], *inside))] == []
    assert set(connected) <= {"127.0.0.1", "localhost", "::1"}


def test_nothing_can_be_uploaded(served: Any) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\na\r\n--x--\r\n'
    request = urllib.request.Request(
        f"{served[1]}gradio_api/upload", body, {"Content-Type": "multipart/form-data; boundary=x"}
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    assert caught.value.code == 403
