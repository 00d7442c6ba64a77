"""Pictures of the playground for the docs, by a real browser: python tools/play_pictures.py MODEL --output docs.

It needs the extra `play`, and chromium with chromedriver. Three edits are opened by their links: one by rome, ten by
lora, and the same on a narrow dark page.
"""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path
from typing import Any

PICTURES = {
    "play-one": ("head=5&relation=1&new_tail=4&method=rome&made=1", 1300, 1500, False),
    "play-ten": ("head=5&relation=1&new_tail=4&num_edits=10&method=lora&made=1", 1300, 1500, False),
    "play-narrow": ("head=5&relation=1&new_tail=4&num_edits=10&method=lora&made=1", 380, 820, True),
}


def main() -> None:
    """Writes the pictures, and prints how long each edit took from its link to the recoloured picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="folder or Hub id of the model that is shown")
    parser.add_argument("--output", default="docs", help="folder for the pictures")
    arguments = parser.parse_args()
    from behemoth_cli.playground.page import Playground, launch  # with torch and gradio, which help does without
    from behemoth_cli.playground.shelf import Shelf

    _, address = launch(Playground(Shelf([arguments.model])), "127.0.0.1", None)
    browser = opened()
    for name, (query, width, height, dark) in PICTURES.items():
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
        )
        browser.get(f"{address}?{query}&__theme={'dark' if dark else 'light'}")
        started = time.monotonic()
        while not browser.execute_script("return document.querySelector('#history tbody tr') !== null"):
            time.sleep(0.1)
        print(f"{name}: {time.monotonic() - started:.1f} s")
        time.sleep(1)
        place = "document.querySelector('.bm-graph')" if width < 600 else "document.body"
        browser.execute_script(f"{place}.scrollIntoView()")
        time.sleep(0.5)
        browser.save_screenshot(str(Path(arguments.output) / f"{name}.png"))
    browser.quit()


def opened() -> Any:
    """A browser without a window."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(flag)
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))


if __name__ == "__main__":
    main()
