"""The report in a real browser: no errors, nothing wider than the screen, and controls that do what they say."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from behemoth_data.rng import Stream
from behemoth_editing.report.page import write_report
from behemoth_editing.scoring.scores import score_units

Row = dict[str, Any]
KEEP = ("same_subject", "same_old_object", "same_new_object", "same_relation", "unrelated")
NARROW, WIDE = 380, 1200


def row(structure: str, scenario: str, method: str, settings: Row, who: tuple[int, int], **changes: Any) -> Row:
    """A made-up result whose numbers depend on its settings in a way that figures can show."""
    model, seed = who
    rank = settings.get("rank", 16) or 256
    layer = settings.get("layer", (settings.get("layers") or [2])[0])
    name = json.dumps([structure, scenario, method, settings, who, changes], sort_keys=True)
    digest = hashlib.sha256(name.encode()).hexdigest()
    noise = Stream(int(digest[:8], 16), "noise").uniform(range(200)).tolist()
    made = min(1.0, 0.35 + 0.09 * rank.bit_length() + 0.05 * layer)
    left = 0.99 - 0.012 * rank.bit_length() - (0.2 if scenario == "forget" else 0.05) / (1 + layer)
    units = []
    for number in range(4):
        draw = iter(noise[50 * number :])
        asked = {
            kind: round(20 * left * (0.9 + 0.1 * next(draw)) * (0.9 + 0.02 * near)) for near, kind in enumerate(KEEP)
        }
        followed = next(draw) < changes.get("world", {}).get("correlation", 0.2) ** 3
        units.append(
            {
                "edit": number,
                "change": {"edited": [int(next(draw) < made), 1], "paraphrase": [int(next(draw) < made), 1]},
                "keep": {kind: [min(20, count), 20, min(20, count), 20] for kind, count in asked.items()},
                "ripple": {
                    "nested_subject" if structure == "nested" else "partner": [int(not followed), int(followed), 0, 0]
                },
            }
        )
    return {
        "cell": digest[:16],
        "method": method,
        "settings": settings,
        "scenario": scenario,
        "edge": "subject_object",
        "relation": 0,
        "num_edits": 1000 if scenario == "forget" else 10,
        "seed": seed,
        "structure": structure,
        "model": f"study/models/{structure}-{model}",
        "world": {"num_subjects": 1000, "seed": model},
        "recall": {"statement": {"subject_object": 0.999}},
        "scores": score_units(units),
        "units": units,
        "seconds": {"edit": 4.0 * (0.5 + noise[-1]) * (1 + rank / 100)},
        "weights": {"before": hashlib.sha256(f"{structure}-{model}".encode()).hexdigest(), "after": []},
        "details": [],
        "versions": {"behemoth": "0.0.0"},
        "started": "2026-01-01T00:00:00Z",
        "error": None,
        **changes,
    }


def study(models: int = 3, draws: int = 2) -> list[Row]:
    """Rows of every part of a study: ranks, layers, correlations, recall, and a cell that failed."""
    everyone = [(model, seed) for model in range(models) for seed in range(draws)]
    rows = []
    for scenario in ("different", "forget"):
        grid = [
            (method, {"layers": [2, 3], "modules": modules, "rank": rank})
            for method in ("lora", "finetune")
            for modules in ("both", "mlp", "attention")
            for rank in (1, 8, 64, None if method == "finetune" else 128)
        ]
        grid += [("rome", {"layer": layer, "site": "prompt_last"}) for layer in range(6)]
        grid += [("lora", {"layers": [layer], "modules": "mlp", "rank": 8}) for layer in range(6)]
        grid += [("retrain", {"max_steps": None})]
        rows += [row("nested", scenario, *variant, who) for variant in grid for who in everyone]
    for strength in (0.5, 0.9):
        world = {"num_subjects": 1000, "correlation": strength}
        variants: list[tuple[str, Row]] = [("lora", {"layers": [2, 3], "rank": 8}), ("rome", {"layer": 2})]
        for variant in variants:
            rows += [
                row(
                    "correlated",
                    "single",
                    *variant,
                    who,
                    world={**world, "seed": who[0]},
                    model=f"c{strength}-{who[0]}",
                    weights={"before": hashlib.sha256(f"c{strength}-{who[0]}".encode()).hexdigest(), "after": []},
                )
                for who in everyone
            ]
    for who in everyone:
        known = {"statement": {"subject_object": 0.6 + 0.05 * who[0]}}
        rows.append(
            row(
                "nested",
                "different",
                "rome",
                {"layer": 2, "site": "prompt_last"},
                who,
                recall=known,
                model=f"s{who[0]}",
                weights={"before": hashlib.sha256(f"s{who[0]}".encode()).hexdigest(), "after": []},
            )
        )
    rows.append(
        {
            **row("nested", "different", "rome", {"layer": 9}, (0, 0)),
            "units": None,
            "scores": None,
            "error": "ValueError: layer",
        }
    )
    return rows


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("report")
    (folder / "results").mkdir()
    text = "".join(json.dumps(found) + "\n" for found in study())
    (folder / "results" / "results.jsonl").write_text(text, encoding="utf-8")
    write_report([folder / "results"], folder / "report", command="python scripts/study.py recipes/study_tiny.yaml")
    return (folder / "report" / "index.html").as_uri()


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
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield found
    found.quit()


@pytest.fixture
def opened(browser: Any, address: str) -> Any:
    """The page as a wide window opens it."""
    resize(browser, WIDE)
    browser.get("about:blank")
    browser.get(address)
    return browser


def resize(browser: Any, width: int) -> None:
    """The page is this wide, which a window need not be able to be."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def visible(browser: Any) -> list[dict[str, str]]:
    """What stands in the rows that are shown, by header."""
    script = """
    const heads = [...document.querySelectorAll('#leaderboard thead th')].map((head) => head.textContent.trim());
    return [...document.querySelectorAll('#leaderboard tbody tr')].filter((row) => row.offsetParent).map((row) =>
      Object.fromEntries([...row.cells].map((cell, place) => [heads[place], cell.textContent.trim()])));
    """
    found: list[dict[str, str]] = browser.execute_script(script)
    return found


def choose(browser: Any, name: str, value: str) -> None:
    from selenium.webdriver.support.select import Select

    Select(browser.find_element("css selector", f"select[name={name}]")).select_by_visible_text(value)


def sort_by(browser: Any, header: str) -> None:
    browser.find_element("xpath", f"//table[@id='leaderboard']//th/button[.='{header}']").click()


def test_page_opens_without_a_word_on_the_console(opened: Any) -> None:
    assert opened.get_log("browser") == []
    assert opened.title == "Behemoth report"


def test_page_is_small_enough_to_be_sent(address: str) -> None:
    assert Path(address.removeprefix("file://")).stat().st_size < 5_000_000


@pytest.mark.parametrize("width", [NARROW, WIDE])
def test_nothing_scrolls_sideways_but_tables_in_their_frames(opened: Any, width: int) -> None:
    resize(opened, width)
    opened.execute_script("for (const part of document.querySelectorAll('details')) part.open = true")
    assert opened.execute_script("return document.documentElement.scrollWidth") <= width


def test_sorting_by_a_number_puts_the_best_first_and_then_last(opened: Any) -> None:
    for expected in (True, False):
        sort_by(opened, "Edit success")
        shown = [found["Edit success"] for found in visible(opened)]
        numbers = [float(text.split("[")[0]) for text in shown if text[0].isdigit()]
        assert len(numbers) > 30
        assert numbers == sorted(numbers, reverse=expected)
        head = opened.find_element("css selector", "#leaderboard th[aria-sort]")
        assert head.get_attribute("aria-sort") == ("descending" if expected else "ascending")
        assert head.text.startswith("Edit success")


def test_sorting_by_words_puts_numbers_in_them_in_their_order(opened: Any) -> None:
    sort_by(opened, "Method")
    ranks = [
        found["Method"] for found in visible(opened) if found["Method"].startswith("lora (layers=2+3, modules=both")
    ]
    assert ranks == sorted(ranks, key=lambda text: int(text.split("rank=")[1].rstrip(")")))


def test_filters_show_what_they_say_and_can_be_taken_back(opened: Any) -> None:
    everything = visible(opened)
    choose(opened, "scenario", "forget")
    choose(opened, "method", "rome")
    shown = visible(opened)
    assert shown
    assert all(found["Method"].startswith("rome") and "forget" in found["Place"] for found in shown)
    assert shown == [f for f in everything if f["Method"].startswith("rome") and "forget" in f["Place"]]
    status = opened.find_element("css selector", "form.filters [role=status]")
    assert status.text == f"{len(shown)} of {len(everything)} rows"
    opened.find_element("css selector", "form.filters button[type=reset]").click()
    opened.execute_async_script("setTimeout(arguments[0], 20)")
    assert visible(opened) == everything


def test_filter_and_order_are_reached_by_keyboard_alone(opened: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    select = opened.find_element("css selector", "select[name=method]")
    select.send_keys("rome")
    assert {found["Method"].split(" ")[0] for found in visible(opened)} == {"rome"}
    button = opened.find_element("css selector", "#leaderboard th:nth-child(3) button")
    button.send_keys(Keys.ENTER)
    assert opened.find_element("css selector", "#leaderboard th[aria-sort]").text.startswith("Edit success")


def test_settings_and_seeds_of_a_row_are_one_click_away(opened: Any) -> None:
    link = opened.find_element("css selector", "#leaderboard tbody tr td:last-child a")
    opened.execute_script("arguments[0].click()", link)
    opened.execute_async_script("setTimeout(arguments[0], 50)")
    group = opened.find_element("css selector", link.get_attribute("hash"))
    assert group.is_displayed()
    assert '"rank": 1' in group.text
    assert "nested-2" in group.text


def test_without_scripts_everything_is_there_but_the_controls(browser: Any, address: str) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get("about:blank")
        browser.get(address)
        assert not browser.find_element("css selector", "form.filters").is_displayed()
        assert len(browser.find_elements("css selector", "#leaderboard tbody tr")) > 30
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
