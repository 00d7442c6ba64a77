"""Pictures of the playground for the docs, by a real browser: python tools/play_pictures.py MODEL --output docs.

It needs the extra `play`, and chromium with chromedriver. First edits are made by a click, and timed until the picture
has new colours. Then `play.gif` shows what a person does: ten edits by rome, the same by lora, and an attack; pictures
show ten edits by lora, and the same on a narrow dark page.
"""

from __future__ import annotations

import argparse
import io
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.keys import Keys

PICTURES = {
    "play-ten": ("head=5&relation=1&new_tail=4&num_edits=10&method=lora&made=1", 1300, 1500, False),
    "play-narrow": ("head=5&relation=1&new_tail=4&num_edits=10&method=lora&made=1", 380, 820, True),
}


TIMED = [(method, count) for method in ("rome", "lora") for count in (1, 10)]
SHOWN, SECONDS_A_FRAME = 1000, 3  # of the GIF: pixels in width, and how long each step is seen
REPEATS = 5  # of each, after one that prepares what a method prepares once for a model


def main() -> None:
    """Prints how long edits took from the click to the recoloured picture, and writes the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="folder or Hub id of the model that is shown")
    parser.add_argument("--output", default="docs", help="folder for the pictures")
    arguments = parser.parse_args()
    from behemoth_cli.playground.page import Playground, launch  # with torch and gradio, which help does without
    from behemoth_cli.playground.shelf import Shelf

    _, address = launch(Playground(Shelf([arguments.model])), "127.0.0.1", None)
    browser = opened()
    for method, count in TIMED:
        seconds = timed(browser, f"{address}?head=5&relation=1&new_tail=4&num_edits={count}&method={method}")
        told = ", ".join(f"{second:.1f}" for second in seconds)
        print(f"{method}, edits {count}: {statistics.median(seconds):.1f} s (of {told}) from click to colours")
    film(browser, address, Path(arguments.output) / "play.gif")
    for name, (query, width, height, dark) in PICTURES.items():
        size(browser, width, height)
        browser.get(f"{address}?{query}&__theme={'dark' if dark else 'light'}")
        until(browser, "document.querySelector('#history tbody tr') !== null")
        time.sleep(1)
        place = "document.querySelector('.bm-graph')" if width < 600 else "document.body"
        browser.execute_script(f"{place}.scrollIntoView()")
        time.sleep(0.5)
        browser.save_screenshot(str(Path(arguments.output) / f"{name}.png"))
    browser.quit()


def film(browser: Any, address: str, path: Path) -> None:
    """A GIF of one page: before any edit, after it, by another method, and after an attack."""
    frames: list[Image.Image] = []

    def shoot(place: str) -> None:
        browser.execute_script(f"document.querySelector('{place}').scrollIntoView()")
        time.sleep(0.7)
        picture = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
        frames.append(picture.resize((SHOWN, picture.height * SHOWN // picture.width), Image.Resampling.LANCZOS))

    def press(place: str, then: str) -> None:
        browser.execute_script(f"document.querySelector('{place}').click()")
        until(browser, then)

    size(browser, 1300, 1000)
    browser.get(f"{address}?head=5&relation=1&new_tail=4&num_edits=10&method=rome&__theme=light")
    until(browser, "document.querySelector('#says td') !== null && document.querySelector('.bm-mark') !== null")
    shoot(".bm-main")
    rows = "document.querySelectorAll('#history tbody tr').length"
    press("#edit", f"{rows} === 1")
    shoot(".bm-main")
    choose(browser, "#method input", "lora")
    press("#again", f"{rows} === 2")
    shoot(".bm-main")
    shoot("#shown")
    press("#attempt", "document.querySelector('#attacked td') !== null")
    shoot("#attack")
    frames[0].save(
        path, save_all=True, append_images=frames[1:], duration=SECONDS_A_FRAME * 1000, loop=0, optimize=True
    )


def choose(browser: Any, place: str, word: str) -> None:
    """An entry of a list that is searched by typing is chosen."""
    box = browser.find_element("css selector", place)
    box.click()
    box.send_keys(Keys.CONTROL, "a")
    box.send_keys(word, Keys.ENTER)
    time.sleep(0.5)


def size(browser: Any, width: int, height: int) -> None:
    """The page has this size, and is a phone's where it is narrow."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def timed(browser: Any, link: str) -> list[float]:
    """Seconds from a click on Edit to other colours, time after time on one page."""
    browser.get(link)
    until(browser, "document.querySelector('#says td') !== null && document.querySelector('.bm-mark') !== null")
    seconds = []
    for _ in range(1 + REPEATS):
        version = browser.execute_script("return document.querySelector('.bm-graph').dataset.version")
        started = time.monotonic()
        browser.execute_script("document.querySelector('#edit').click()")
        until(browser, f"document.querySelector('.bm-graph').dataset.version !== '{version}'")
        seconds.append(time.monotonic() - started)
    return seconds[1:]


def until(browser: Any, condition: str, pause: float = 0.1) -> None:
    """The condition holds on the page."""
    while not browser.execute_script(f"return {condition}"):
        time.sleep(pause)


def opened() -> Any:
    """A browser without a window."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(flag)
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))


if __name__ == "__main__":
    main()
