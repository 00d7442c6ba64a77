"""The report: what it says, what it loads, what it refuses, and that the same results give the same bytes."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import behemoth_editing.report.figures as figures
from behemoth_cli.report import main as report_command
from behemoth_editing.report.evidence import score_of
from behemoth_editing.report.figures import drawings, pareto
from behemoth_editing.report.page import page, write_report
from behemoth_editing.report.summaries import load_results, quality, summaries
from behemoth_editing.report.text import ONE_MODEL, table

ROOT = Path(__file__).parents[3]
VOID = {"meta", "link", "br", "img", "input", "hr"}
Row = dict[str, Any]


def unit(edited: int, paraphrase: int, same_subject: list[int], ripple: list[int], edit: int = 0) -> Row:
    return {
        "edit": edit,
        "change": {"edited": [edited, 1], "paraphrase": [paraphrase, 1]},
        "keep": {"same_subject": [10 * count for count in same_subject], "unrelated": [50, 50, 50, 50]},
        "ripple": {"nested_subject": ripple},
    }


# Two edits for each of two seeds. By hand: edit success 3/4; paraphrase 2/4; same_subject 90 right of 100 right before,
# 20 wrong before; unrelated 200 of 200; collateral accuracy (0.9 + 1) / 2, by fact 290/300; kept 2/4, followed 1/4.
UNITS = {
    0: [
        unit(1, 1, [3, 3, 3, 3], [1, 0, 0, 0]),
        unit(1, 0, [2, 3, 2, 3], [0, 1, 0, 0], edit=1),
    ],
    1: [
        unit(1, 1, [3, 3, 3, 3], [0, 0, 1, 0]),
        unit(0, 0, [1, 1, 1, 3], [1, 0, 0, 0], edit=1),
    ],
}
FAILED = ("lora", "different", 1)  # the cell of the sample that has an error
SECONDS = {0: 3.0, 1: 5.0}  # 8 seconds for 4 edits; 1.5 and 2.5 per edit


def result(method: str, scenario: str, seed: int, error: str | None = None, **changes: Any) -> Row:
    name = f"{method} {scenario} {seed} {json.dumps(changes, sort_keys=True)}"
    return {
        "cell": hashlib.sha256(name.encode()).hexdigest()[:16],
        "method": method,
        "settings": {"layer": 3} if method == "rome" else {"rank": 4},
        "scenario": scenario,
        "edge": "subject_object",
        "relation": 0,
        "num_edits": 2,
        "seed": seed,
        "structure": "nested",
        "model": "runs/tiny-nested",
        "world": {"num_subjects": 1000, "num_nested_objects": 10, "seed": 0},
        "recall": {"statement": {"subject_object": 0.999}},
        "scores": None,
        "units": None if error else UNITS[seed],
        "seconds": {"edit": SECONDS[seed], "score": 1.0},
        "weights": {"before": "ab" * 32, "after": None if error else ["cd" * 32]},
        "details": [],
        "versions": {"behemoth": "0.1.0", "torch": "2.13.0"},
        "started": "2026-11-23T04:00:00Z",
        "error": error,
        **changes,
    }


def sample() -> list[Row]:
    """Two methods, two seeds, two scenarios; one cell failed."""
    return [
        result(method, scenario, seed, "ValueError: <script>" if (method, scenario, seed) == FAILED else None)
        for scenario in ("single", "different")
        for method in ("rome", "lora")
        for seed in (0, 1)
    ]


def write(folder: Path, rows: list[Row]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row) + "\n" for row in rows]
    (folder / "results.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


class Page(HTMLParser):
    """What a browser would see: elements with attributes, and the text of every table's rows."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[list[list[str]]] = []
        self.styles = ""
        self.script = ""
        self.words = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "script" in self.open:
            self.script += data
            return
        if "style" in self.open:
            self.styles += data
            return
        self.words += data
        if "td" in self.open or "th" in self.open:
            cell = self.tables[-1][-1][-1]
            self.tables[-1][-1][-1] = f"{cell} {data.strip()}".strip()


def leave(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Of the figures that every place has only these are drawn: each takes its time."""
    for name in {"tradeoff", "kinds", "ripple", "cost"}.difference(names):
        monkeypatch.setattr(figures, f"draw_{name}", lambda *_: "")


@pytest.fixture(scope="module")
def sample_page() -> Page:
    return Page(page(sample()))


def test_summary_shows_the_numbers_computed_by_hand(sample_page: Page) -> None:
    rome = next(row for row in sample_page.tables[0] if row[0] == "rome")
    assert re.fullmatch(r"0\.750 \[0\.\d{3}, 0\.\d{3}\] n = 4", rome[2])
    assert re.fullmatch(r"0\.500 \[0\.\d{3}, 0\.\d{3}\] n = 4", rome[3])
    assert re.fullmatch(r"0\.950 \[0\.\d{3}, [01]\.\d{3}\] n = 300", rome[4])
    assert re.fullmatch(r"0\.967 \[0\.\d{3}, [01]\.\d{3}\] n = 300", rome[5])
    assert re.fullmatch(r"0\.250 \[0\.\d{3}, [01]\.\d{3}\] n = 4", rome[6])
    assert rome[7:] == ["not asked", "2.00 1.50 to 2.50 n = 4", "1", "0, 1"]


def test_kinds_and_ripple_show_the_numbers_computed_by_hand(sample_page: Page) -> None:
    kinds = sample_page.tables[1]
    same_subject = next(row for row in kinds if row[1:3] == ["rome", "same subject"])
    unrelated = next(row for row in kinds if row[1:3] == ["rome", "unrelated"])
    assert same_subject[3].startswith("0.900 [")
    assert same_subject[4:] == ["100", "20"]
    assert re.fullmatch(r"1\.000 \[0\.\d{3}, 1\.000\]", unrelated[3])
    assert unrelated[4:] == ["200", "0"]
    ripple = next(row for row in sample_page.tables[3] if row[1] == "rome")
    assert [cell.split(" ")[0] for cell in ripple[3:6]] == ["0.500", "0.250", "0.250"]
    assert ripple[6:] == ["4", "0"]


def test_measures_are_shown_on_the_page_in_tables_and_on_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(monkeypatch)
    units = [
        {"edit": 0, "change": {"edited": [1, 1]}, "keep": {}, "ripple": {}, "measures": {"new": 0.75, "kl": 2.0}},
        {"edit": 1, "change": {"edited": [1, 1]}, "keep": {}, "ripple": {}, "measures": {"new": 0.25, "kl": 4.0}},
    ]
    rows = [result("rome", "single", 0, units=units)]
    shown = next(found for found in Page(page(rows)).tables if "p(new)" in found[0])
    values = dict(zip(shown[0], shown[1], strict=True))
    assert (values["p(new)"].split()[0], values["KL"].split()[0], values["p(old)"]) == ("0.500", "3.000", "-")
    assert re.search(r"rome +single +0\.50 +- +- +- +3\.00", table(rows))
    write_report([write(tmp_path / "in", rows)], tmp_path / "out")
    with (tmp_path / "out/summary.csv").open(encoding="utf-8") as file:
        (line,) = csv.DictReader(file)
    assert (line["new"], line["kl"], line["kl_count"], line["validity"]) == ("0.5", "3", "2", "")
    written = (tmp_path / "out/measures.md").read_text(encoding="utf-8")
    assert "| 3.000 [" in written
    assert "after the edited prompt, among the relation's objects (0 to 1)" in written
    assert "(at least 1)" in written


def test_page_is_well_formed(sample_page: Page) -> None:
    assert sample_page.open == []
    ids = [attributes["id"] for _, attributes in sample_page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [a["href"] or "" for tag, a in sample_page.elements if tag in ("a", "use") and "href" in a]
    links += [a["xlink:href"] or "" for tag, a in sample_page.elements if "xlink:href" in a]
    assert len(links) > 10
    assert {link[1:] for link in links} <= set(ids)
    headings = [tag for tag, _ in sample_page.elements if tag in ("h1", "h2", "h3")]
    assert headings.count("h1") == 1
    assert headings[0] == "h1"


def test_page_loads_nothing(sample_page: Page) -> None:
    tags = {tag for tag, _ in sample_page.elements}
    assert not tags & {"img", "image", "iframe", "object", "embed", "video", "audio"}
    for _, attributes in sample_page.elements:
        for name in ("src", "srcset", "href", "xlink:href", "action", "data"):
            assert (attributes.get(name) or "#").startswith(("#", "data:,"))
        for value in attributes.values():
            assert not re.search(r"url\((?!#)", value or "")
    assert "url(" not in sample_page.styles
    assert "@import" not in sample_page.styles
    assert not re.search(r"fetch|import|XMLHttp|https?:", sample_page.script)


def test_every_figure_has_words_and_takes_the_colour_of_the_page(sample_page: Page) -> None:
    figures = [attributes for tag, attributes in sample_page.elements if tag == "svg"]
    assert len(figures) == 8  # four figures of two scenarios
    for attributes in figures:
        assert attributes["role"] == "img"
        assert re.search(r"rome", attributes["aria-label"] or "")
    tradeoff = [a["aria-label"] or "" for a in figures if "Scatter" in (a["aria-label"] or "")]
    assert "rome: edit success 0.750 [" in tradeoff[0]
    styles = [attributes.get("style") or "" for tag, attributes in sample_page.elements if tag == "text"]
    assert len(styles) > 50
    assert all("currentColor" in style or "#111111" in style for style in styles)


def test_every_table_has_scoped_headers(sample_page: Page) -> None:
    scopes = [attributes.get("scope") for tag, attributes in sample_page.elements if tag == "th"]
    assert set(scopes) == {"col", "row"}


def test_failed_cells_are_listed_with_their_error(sample_page: Page) -> None:
    assert "of which 1 failed" in sample_page.words.replace("\n", " ")
    assert "ValueError: <script>" in sample_page.words  # as text, not as an element
    lora = [row for row in sample_page.tables[0] if row[0] == "lora"]
    assert [row[-1] for row in lora] == ["0, 1", "0 (1 failed)"]
    cells = [row for found in sample_page.tables[4:8] for row in found[1:]]
    assert len(cells) == 8  # every cell has a row, failed or not


def of_ten(model: int, error: str | None = None) -> Row:
    """Ten edits of a model of its own, all made in both forms, with 4 of 5 other facts kept each."""
    one = {"change": {"edited": [1, 1], "paraphrase": [2, 2]}, "keep": {"unrelated": [4, 5, 4, 5]}, "ripple": {}}
    units = [{"edit": number, **one, "measures": {"kl": 0.5}} for number in range(10)]
    return result(
        "rome",
        "different",
        0,
        error,
        num_edits=10,
        units=None if error else units,
        weights={"before": f"{model}", "after": []},
        seconds={"edit": 1.0},
    )


def test_a_failed_cell_is_no_success_wherever_success_is_shown(tmp_path: Path) -> None:
    rows = [of_ten(model, "FloatingPointError: nan" if model < 3 else None) for model in range(15)]
    (summary,) = summaries(rows)
    made, again = summary.score("edit_success"), summary.score("paraphrase_success")
    assert made is not None
    assert again is not None
    assert (made["value"], made["count"]) == (0.8, 150)  # 12 models of 15
    assert (again["value"], again["count"]) == (0.8, 300)
    assert made["low"] < 0.6  # which differ as models do, and not as 150 answers
    kept, kl = summary.score("collateral_accuracy"), summary.score("kl")
    assert kept is not None
    assert kl is not None
    assert (kept["value"], kept["count"]) == (0.8, 12 * 50)  # of those that were edited
    assert (kl["value"], kl["count"]) == (0.5, 120)
    assert (summary.num_models, len(summary.failed)) == (12, 3)
    assert quality(summary) == pytest.approx(0.8)
    verdict = score_of(summary, "edit_success")
    assert verdict is not None
    assert (verdict.interval.value, verdict.interval.low) == (made["value"], made["low"])
    assert verdict.edits == 150
    write_report([write(tmp_path / "in", rows)], tmp_path / "out")
    with (tmp_path / "out/summary.csv").open(encoding="utf-8") as file:
        (line,) = csv.DictReader(file)
    assert [line[name] for name in ("edit_success", "edit_success_count", "num_models", "failed_cells")] == [
        *("0.8", "150"),
        *("12", "3"),
    ]
    assert "0.800 [" in (tmp_path / "out/summary.md").read_text(encoding="utf-8")
    assert "0.80\n" in Page((tmp_path / "out/index.html").read_text(encoding="utf-8")).words
    assert "0.80" in table(rows)


def test_a_failed_cell_of_a_sequence_made_nothing_right_after_either() -> None:
    def row(model: int) -> Row:
        found = of_ten(model, "OSError: no space" if model == 0 else None)
        for unit in found["units"] or []:
            unit["right_after"] = {"edit": unit["edit"], "change": {"edited": [1, 1]}, "keep": {}, "ripple": {}}
        return found

    (summary,) = summaries([row(model) for model in range(4)])
    assert summary.kinds("right_after")["edit_success"]["value"] == 0.75


def test_a_method_of_which_every_cell_failed_keeps_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave(monkeypatch)
    rows = [result("rome", "single", 0), result("lora", "single", 0, error="ValueError: rank")]
    found = Page(page(rows)).tables[0]
    assert found[-1] == ["lora", "single", "every cell failed, see why", "0", "none (1 failed)"]
    assert "failed: lora single seed 0" in table(rows)
    write_report([write(tmp_path / "in", rows)], tmp_path / "out")
    with (tmp_path / "out/summary.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert [(line["method"], line["failed_cells"], line["edit_success"]) for line in lines] == [
        ("rome", "0", "1"),
        ("lora", "1", ""),
    ]


def test_a_report_of_failures_only_is_still_a_report() -> None:
    found = Page(page([result("rome", "single", 0, error="ValueError: layer")]))
    assert "ValueError: layer" in found.words
    assert not [tag for tag, _ in found.elements if tag == "svg"]


def test_scores_that_were_not_asked_are_said_to_be() -> None:
    units = [{"edit": 0, "change": {"edited": [1, 1]}, "keep": {}, "ripple": {}}]
    rows = [result("rome", "single", 0, units=units)]
    assert Page(page(rows)).tables[0][-1][3:5] == ["not asked", "not asked"]
    assert re.search(r"1\.00 +- +- +- +- +-", table(rows))


def test_terminal_table_shows_the_numbers_computed_by_hand() -> None:
    lines = table(sample()).split("\n")
    first = next(line for line in lines if line.startswith("rome    single"))
    assert re.fullmatch(r"rome +single +0\.75 +0\.50 +0\.95 +0\.97 +0\.25 +-", first)
    assert re.fullmatch(r"( +\[.{4}, .{4}\]){5}", lines[lines.index(first) + 1])
    second = next(line for line in lines if "worst" not in line and "nested_subject" in line)
    assert re.fullmatch(r"rome +single +4 +1  same_subject 0\.90 \[.{4}, +nested_subject 0\.25 \[.+\] +2\.00", second)
    assert ONE_MODEL in lines


def test_terminal_table_stays_within_120_columns_and_cuts_nothing() -> None:
    long = "attention_and_mlp_of_every_layer_but_the_first_and_the_last"
    rows = [
        result(
            "rome",
            "different",
            0,
            settings={"modules": long, "layer": layer},
            error="E " * 90 if layer else None,
        )
        for layer in (0, 1)
    ]
    rows[1]["settings"]["modules"] = long[::-1]
    text = table(rows)
    assert max(len(line) for line in text.split("\n")) <= 120
    squeezed = re.sub(r"\s", "", "".join(line[:19] for line in text.split("\n")))
    assert long in squeezed
    assert long[::-1] in squeezed


def test_pareto_front_by_hand() -> None:
    points = [(1.0, 0.9), (0.9, 1.0), (0.9, 0.9), (1.0, 0.9), (0.5, 0.99)]
    assert pareto(points) == [True, True, False, True, False]


def test_methods_are_told_apart_by_the_settings_that_differ() -> None:
    rows = [result("lora", "single", 0, settings={"rank": rank, "alpha": 8}) for rank in (1, 4)]
    assert [summary.method for summary in summaries(rows)] == ["lora (rank=1)", "lora (rank=4)"]
    rows = [result("lora", "single", 0, settings={"modules": names}) for names in (["mlp"], ["mlp", "dense"])]
    assert [summary.method for summary in summaries(rows)] == [
        "lora (modules=mlp)",
        "lora (modules=mlp+dense)",
    ]


def test_worlds_of_different_size_are_not_pooled_but_worlds_of_different_seed_are() -> None:
    worlds = [(100, 0), (100, 1), (900, 0)]
    rows = [
        result(
            *("rome", "single", 0),
            weights={"before": f"{size}-{seed}", "after": []},
            world={"num_subjects": size, "seed": seed},
        )
        for size, seed in worlds
    ]
    found = summaries(rows)
    assert [summary.place for summary in found] == ["single, num_subjects 100", "single, num_subjects 900"]
    assert [len(summary.rows) for summary in found] == [2, 1]


def test_methods_of_one_place_share_what_they_show_of_how_much_models_differ() -> None:
    def rows(method: str, *made: int) -> list[Row]:
        return [
            result(
                *(method, "single", 0),
                weights={"before": f"{model}", "after": []},
                units=[{"edit": 0, "change": {"edited": [right, 10]}, "keep": {}, "ripple": {}}],
            )
            for model, right in enumerate(made)
        ]

    flawless, other = rows("rome", 10, 10, 10, 10), rows("lora", 10, 10, 10, 2)
    (alone,) = summaries(flawless)
    beside, _ = summaries([*flawless, *other])
    elsewhere, _ = summaries([*flawless, *({**row, "num_edits": 3} for row in other)])
    intervals = [summary.score("edit_success") or {} for summary in (alone, beside, elsewhere)]
    assert [found["value"] for found in intervals] == [1.0] * 3
    assert intervals[1]["low"] < intervals[0]["low"] == intervals[2]["low"]


def test_a_dollar_or_an_angle_in_a_setting_is_drawn_as_it_is() -> None:
    rows = [result("lora", "single", 0, settings={"modules": name}) for name in ("$x$", "a<b>")]
    svg = "".join(drawing.svg for some in drawings(summaries(rows)).values() for drawing in some)
    drawn = re.findall(r"<text[^>]*>([^<]*)</text>", svg)  # not the description, which is never parsed
    assert "lora (modules=$x$)" in drawn
    assert "lora (modules=a&lt;b&gt;)" in drawn


@pytest.mark.slow
def test_command_and_script_give_the_same_bytes_and_say_what_they_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    contents, said = [], []
    words = ["results/demo", "--output_dir", "report"]
    for place in ("here", "apart"):  # another process has other hashes
        where = tmp_path / place
        write(where / "results" / "demo", sample())
        if place == "here":
            monkeypatch.chdir(where)
            report_command(words)
            said.append(capsys.readouterr().out)
        else:
            script = [sys.executable, str(ROOT / "scripts" / "report.py"), *words]
            env = {**os.environ, "PYTHONHASHSEED": "random"}
            done = subprocess.run(script, cwd=where, env=env, capture_output=True, text=True, check=True)
            said.append(done.stdout)
        report = where / "report"
        contents.append({p.relative_to(report): p.read_bytes() for p in report.rglob("*") if p.is_file()})
    assert said[0] == said[1]
    assert said[0].count("\n") == 1
    assert "report/index.html" in said[0]
    assert "8 cells, 1 failed" in said[0]
    assert contents[0] == contents[1]
    names = {path.as_posix() for path in contents[0]}
    assert {"index.html", "summary.csv", "summary.md", "kinds.csv", "figures/cost-02-different.svg"} <= names
    text = contents[0][Path("index.html")].decode()
    assert "behemoth edit" in text
    assert "behemoth report results/demo" in text
    assert "--scenarios single different" in text
    assert len(text) < 5_000_000


def test_bad_results_end_the_command_with_the_reason_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        report_command(["nowhere", "--output_dir", "report"])
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "error: results: nowhere holds no results.jsonl" in line
    assert list(tmp_path.iterdir()) == []


def without(name: str) -> str:
    row = result("lora", "single", 0)
    del row[name]
    return json.dumps(row)


GOOD = json.dumps(result("rome", "single", 0))
BAD_LINES = {
    "no units": (without("units"), "line 2: the result row lacks units"),
    "not a number": (
        json.dumps(result("lora", "single", 0, seconds={"edit": float("nan")})),
        "line 2: seconds must give those of edit, got 'nan'",
    ),
    "empty units": (json.dumps(result("lora", "single", 0, units=[])), "line 2: units must list at least 1"),
    "too few counts": (
        json.dumps(result("lora", "single", 0, units=[unit(1, 1, [1, 1, 1], [1, 0, 0, 0])])),
        r"line 2: keep same_subject must be 4 counts of at least 0, got \[10, 10, 10\]",
    ),
    "more right than asked": (
        json.dumps(result("lora", "single", 0, units=[unit(2, 1, [1, 1, 1, 1], [1, 0, 0, 0])])),
        r"line 2: no count of change edited may exceed those asked, its last, got \[2, 1\]",
    ),
    "no seconds": (
        json.dumps(result("lora", "single", 0, seconds={})),
        "line 2: seconds must give .* got None",
    ),
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_bad_line_is_named_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    line, message = BAD_LINES[name]
    (tmp_path / "in").mkdir()
    (tmp_path / "in/results.jsonl").write_text(f"{GOOD}\n{line}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        write_report([tmp_path / "in"], tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_missing_and_empty_results_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no results\.jsonl"):
        load_results([tmp_path])
    with pytest.raises(ValueError, match="holds no result row"):
        load_results([write(tmp_path, [])])
    with pytest.raises(ValueError, match="at least 1 folder"):
        load_results([])


def test_results_of_several_folders_are_read_in_order(tmp_path: Path) -> None:
    a = write(tmp_path / "a", [result("rome", "single", 1)])
    b = write(tmp_path / "b", [result("rome", "single", 0)])
    assert [row["seed"] for row in load_results([a, b])] == [1, 0]


def test_a_cell_that_failed_and_was_scored_later_did_not_fail(tmp_path: Path) -> None:
    good = result("rome", "single", 0)
    bad = result("rome", "single", 0, error="ValueError: full disk")
    assert bad["cell"] == good["cell"]
    rows = load_results([write(tmp_path, [bad, good])])
    assert [summary.seeds for summary in summaries(rows)] == ["0"]


def test_a_cell_of_two_folders_counts_once_and_as_the_first_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(monkeypatch)
    first = write(tmp_path / "a", [result("rome", "single", 0), result("rome", "single", 1)])
    second = write(tmp_path / "b", [{**result("rome", "single", 0), "started": "later"}, result("lora", "single", 0)])
    rows, _ = write_report([first, second], tmp_path / "out")
    assert [(row["method"], row["seed"], row["started"] == "later") for row in rows] == [
        ("rome", 0, False),
        ("rome", 1, False),
        ("lora", 0, False),
    ]


def test_models_of_one_folder_name_are_two_models_with_names_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(monkeypatch)

    def of(seed: int) -> Row:
        weights = {"before": f"{seed}" * 64, "after": []}
        return result("rome", "single", 0, model=f"{tmp_path}/lab/seed{seed}/final", weights=weights)

    write_report([write(tmp_path / "in", [of(0), of(1)])], tmp_path / "out")
    (line,) = csv.DictReader(io.StringIO((tmp_path / "out/summary.csv").read_text(encoding="utf-8")))
    assert line["models"] == "seed0/final, seed1/final"
    assert line["edit_success_count"] == "4"
    models = Page((tmp_path / "out/index.html").read_text(encoding="utf-8")).tables[-1]
    assert [row[0] for row in models[1:]] == ["seed0/final", "seed1/final"]


def test_no_path_of_this_machine_is_in_any_file_of_a_report(tmp_path: Path) -> None:
    weights = {"before": "0" * 64, "after": []}
    where = f"{tmp_path}/lab/seed0/final"
    settings = {"vectors": f"{tmp_path}/secret/vectors.parquet"}
    rows = [
        result("steer", "single", 0, model=where, weights=weights, settings=settings),
        result(
            *("steer", "single", 1, f"OSError: no file '{where}/extra.json', nor {tmp_path}/x/y.json"),
            model=where,
            weights=weights,
        ),
    ]
    write_report([write(tmp_path / "in", rows)], tmp_path / "out")
    for path in (path for path in (tmp_path / "out").rglob("*") if path.is_file()):
        held = path.read_bytes()
        assert str(tmp_path).encode() not in held, path
        assert b"secret" not in held, path
        assert b"lab/seed0" not in held, path
    text = Page((tmp_path / "out/index.html").read_text(encoding="utf-8")).words
    assert "OSError: no file 'extra.json', nor y.json" in text
    assert "behemoth report in" in text


def in_precision(precision: str | None, seed: int = 0, method: str = "lora", **changes: Any) -> Row:
    changes |= {"settings": {"rank": 4, "precision": "auto"}, "precision": precision}
    return result(method, "single", seed, **changes)


def test_a_method_in_two_precisions_is_two_methods_and_says_which() -> None:
    rows = [in_precision("bf16"), in_precision("fp32"), in_precision("bf16", 1), result("rome", "single", 0)]
    rows.append(in_precision(None, 1, error="ValueError: no", units=None))  # a failed row knows of none
    found = summaries(rows)
    assert [(summary.method, summary.seeds) for summary in found] == [
        ("lora (precision=bf16)", "0, 1 (1 failed)"),
        ("lora (precision=fp32)", "0"),
        ("rome", "0"),
    ]
    assert [summary.scores["edit_success"]["count"] for summary in found if summary.scores] == [4, 2, 2]
    words = Page(page(rows)).tables[0]
    assert [row[0] for row in words[1:]] == ["lora (precision=bf16)", "lora (precision=fp32)", "rome"]
    assert "lora (precision=bf16)" in table(rows)


def test_one_precision_is_not_worth_a_word() -> None:
    assert [summary.method for summary in summaries([in_precision("bf16"), in_precision("bf16", 1)])] == ["lora"]


def test_a_precision_of_older_rows_is_read_from_the_details_and_none_is_not_pooled_with_one() -> None:
    old = [in_precision(None, seed, details=details) for seed, details in ((0, [{"precision": "bf16"}]), (1, []))]
    found = summaries([{k: v for k, v in row.items() if k != "precision"} for row in old])
    assert [summary.method for summary in found] == ["lora (precision=bf16)", "lora (precision=unknown)"]


def test_what_was_asked_for_tells_settings_apart_that_came_to_one_precision() -> None:
    rows = [in_precision("bf16"), in_precision("bf16")]
    rows[1] |= {"settings": {"rank": 4, "precision": "bf16"}, "cell": "other"}
    assert [summary.method for summary in summaries(rows)] == ["lora", "lora, asked for bf16"]


def test_models_that_were_trained_in_different_precision_are_different_places() -> None:
    rows = [
        in_precision("bf16", seed, model_precision=precision, weights={"before": precision, "after": []})
        for seed, precision in enumerate(("bf16", "fp32"))
    ]
    found = summaries(rows)
    assert [summary.place for summary in found] == ["single, trained in bf16", "single, trained in fp32"]
    assert [summary.world for summary in found] == ["nested, trained in bf16", "nested, trained in fp32"]


def of_recipe(seed: int, width: int = 32, subjects: int = 1000, **train: Any) -> Row:
    size = {"size": {32: "3m", 64: "7m"}[width], "train_seed": seed, **train}
    load = {"width": width, "layers": 6, "parameters": 1000 * width, "facts": subjects, "bits": 10 * subjects}
    return result(
        "rome",
        "single",
        seed % 2,
        world={"num_subjects": subjects, "seed": seed},
        recipe={"corpus": {"repeats": 12, "order_seed": seed}, "train": size},
        load=load,
        weights={"before": f"{width}-{seed}-{train}", "after": []},
    )


def test_models_of_another_size_or_another_training_are_different_places_and_those_of_other_seeds_are_not() -> None:
    rows = [of_recipe(0), of_recipe(1), of_recipe(2, width=64), of_recipe(3, max_steps=9)]
    found = summaries(rows)
    assert [(summary.place, summary.num_models) for summary in found] == [
        ("single, size 3m", 2),
        ("single, size 7m", 1),
        ("single, size 3m, max_steps 9", 1),
    ]
    assert len(summaries([of_recipe(0, measurements=1), of_recipe(1, save_every=7)])) == 1
    begun = [{**row, "recipe": {**row["recipe"], "start": {"learns": f"layers.{i}"}}} for i, row in enumerate(rows[:2])]
    assert len(summaries([rows[0], *begun])) == 3  # in other parameters
    for train, samples in (({}, 2), ({"target_recall": 0.9}, 1), ({"max_minutes": 3}, 1)):
        rows = [of_recipe(seed, **train) for seed in (0, 1)]  # which ended at other steps
        rows = [{**row, "load": {**row["load"], "steps": steps}} for row, steps in zip(rows, (5, 6), strict=True)]
        assert len(summaries(rows)) == samples
    stopped = [of_recipe(seed, target_recall=0.9, measurements=seed + 1) for seed in (0, 1)]
    assert len(summaries(stopped)) == 2


def test_load_is_drawn_with_a_line_for_each_width(monkeypatch: pytest.MonkeyPatch) -> None:
    leave(monkeypatch)
    rows = [of_recipe(0), of_recipe(1, subjects=2000), of_recipe(2, width=64), of_recipe(3, width=64, subjects=4000)]
    (drawing,) = drawings(summaries(rows))["load"]
    # 10 bits for each subject, 1,000 parameters for each of the width: 10 x 1000 / 32,000 bits a parameter, and so on.
    success = drawing.alt.split("; ")
    assert "width 32, edit success at bits per parameter, 0.31: 1.000" in success[0]
    assert ", 0.62: " in success[0]
    assert success[1].startswith("width 64, edit success at bits per parameter, 0.16: ")
    assert ", 0.62: " in success[1]
    assert 'href="#load"' in page(rows)
    assert drawings(summaries(rows[:2]))["load"] == []
    longer = [{**row, "load": {**row["load"], "sentences_per_fact": 60.0}} for row in rows]
    longer[0]["load"]["sentences_per_fact"] = 240.0
    (drawing,) = drawings(summaries(longer))["load"]
    lines = [words.rpartition(" at bits")[0] for words in drawing.alt.split("; ")]
    assert [line.rpartition(". ")[2] for line in lines[:3]] == [
        f"width {width}, {told} sentences a fact, edit success" for width, told in ((32, 60), (32, 240), (64, 60))
    ]
    rows[0] |= {"num_edits": 3}  # another question, which no line joins with the others
    (drawing,) = drawings(summaries(rows))["load"]
    assert "at bits per parameter, 0.62: " in drawing.alt
    assert "0.31: " not in drawing.alt


def test_versions_of_the_code_in_one_folder_are_read_and_told_apart(tmp_path: Path) -> None:
    rows = [result("rome", "single", seed, versions={"behemoth": f"0.{seed}.0"}) for seed in (0, 1)]
    found = summaries(load_results([write(tmp_path, rows)]))
    assert [summary.place for summary in found] == ["single, version 0.0.0", "single, version 0.1.0"]


def test_a_folder_with_other_things_is_refused_and_with_overwrite_keeps_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(monkeypatch)
    source, output = write(tmp_path / "in", sample()), tmp_path / "out"
    output.mkdir()
    (output / "thesis.tex").write_text("years of work", encoding="utf-8")
    with pytest.raises(ValueError, match=r"thesis\.tex.*--overwrite"):
        write_report([source], output)
    assert [path.name for path in output.iterdir()] == ["thesis.tex"]
    write_report([source], output, overwrite=True)
    assert (output / "thesis.tex").read_text(encoding="utf-8") == "years of work"
    assert (output / "index.html").is_file()


def test_an_index_page_of_another_kind_is_refused(tmp_path: Path) -> None:
    source, output = write(tmp_path / "in", sample()), tmp_path / "out"
    output.mkdir()
    (output / "index.html").write_text("<title>my home page</title>", encoding="utf-8")
    with pytest.raises(ValueError, match=r"index\.html"):
        write_report([source], output)


def test_an_output_that_is_a_file_is_refused(tmp_path: Path) -> None:
    source = write(tmp_path / "in", sample())
    (tmp_path / "out").write_text("", encoding="utf-8")
    with pytest.raises(ValueError, match="output_dir must be a folder"):
        write_report([source], tmp_path / "out")


def test_an_earlier_report_is_replaced_and_leaves_no_old_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, output = write(tmp_path / "in", sample()), tmp_path / "out"
    with monkeypatch.context() as patch:
        leave(patch, "cost")
        write_report([source], output, pdf=True)
    assert (output / "figures/cost-02-different.svg").is_file()
    assert (output / "figures/cost-02-different.pdf").read_bytes().startswith(b"%PDF")
    write_report([write(tmp_path / "in", [result("rome", "single", 0)])], output)
    assert sorted(path.name for path in (output / "figures").iterdir()) == [
        f"{name}-01-single.svg" for name in ("cost", "kinds", "ripple", "tradeoff")
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_a_disk_that_fills_up_leaves_no_half_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path / "in", sample())

    def full(self: Path, *args: Any, **settings: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        write_report([source], tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_tables_as_files_hold_the_numbers_computed_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave(monkeypatch)
    write_report([write(tmp_path / "in", sample())], tmp_path / "out")
    summary = next(csv.DictReader(io.StringIO((tmp_path / "out/summary.csv").read_text(encoding="utf-8"))))
    names = (
        "method",
        "seeds",
        "edit_success",
        "edit_success_count",
        "collateral_accuracy",
        "seconds_per_edit",
    )
    assert [summary[name] for name in names] == ["rome", "0 1", "0.75", "4", "0.95", "2"]
    kinds = csv.DictReader(io.StringIO((tmp_path / "out/kinds.csv").read_text(encoding="utf-8")))
    found = {(row["method"], row["scenario"], row["measure"], row["kind"]): row for row in kinds}
    kept = found["rome", "single", "kept", "nested_subject"]
    assert (kept["value"], kept["count"], kept["wrong_before"]) == ("0.5", "4", "0")
    markdown = (tmp_path / "out/summary.md").read_text(encoding="utf-8").split("\n")
    assert markdown[2].startswith("| single | rome | 0.750 [")


def test_the_map_shows_a_single_layer_of_another_module_but_not_of_another_rank(monkeypatch):
    leave(monkeypatch)

    def tried(layers, **settings):
        return [result("finetune", "different", seed, settings={"layers": layers, **settings}) for seed in range(2)]

    rows = [
        *tried([2], modules="mlp", rank=None),
        *tried([5], modules="mlp", rank=None),
        *tried([2], modules="attention", rank=None),
        *tried([2], modules="attention", rank=4),
    ]
    (drawing,) = drawings(summaries(rows))["layers"]
    assert "finetune mlp, layer 5" in drawing.alt
    assert drawing.alt.count("finetune attention, layer 2, edit success") == 1
    assert drawings(summaries(rows[2:]))["layers"] == []


def test_the_map_heads_a_range_of_layers_with_its_ends(monkeypatch):
    leave(monkeypatch)
    rows = [
        result("finetune", "different", seed, settings={"layers": layers, "modules": "mlp"})
        for layers in ([2], [0, 1, 2], [0, 5], None)
        for seed in (0, 1)
    ]
    (drawing,) = drawings(summaries(rows))["layers"]
    heads = re.findall(r">([0-5]|\d[–+]\d|all)</text>", drawing.svg)
    assert [head for head in heads if head != "1"] == ["2", "0+5", "0–2", "all"]
