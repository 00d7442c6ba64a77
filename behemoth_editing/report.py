"""Results as a terminal table, figures and one self-contained page; it never edits or scores a model.

Every interval comes from `behemoth_editing.statistics`. The same rows give the same bytes.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import os
import re
import shlex
import shutil
import tempfile
import textwrap
from collections.abc import Callable, Iterable, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from behemoth_data.settings import check
from behemoth_editing.statistics import summarise

Row = dict[str, Any]
Scores = dict[str, Any]

MARKER = '<meta name="generator" content="behemoth">'
OUTCOMES = ("kept", "followed", "incoherent")
_PLACE = ("structure", "edge", "relation", "scenario", "num_edits")
_FIELDS = (
    *("cell", "model", "world", *_PLACE, "method", "settings", "seed"),
    *("scores", "units", "seconds", "weights", "versions", "started", "error"),
)
_COUNTS = {"change": 2, "keep": 4, "ripple": 4}  # numbers per kind in a unit
_OWN_FILES = {"index.html", "summary.csv", "summary.md", "kinds.csv"}


# Reading


def load_results(folders: Sequence[Path]) -> list[Row]:
    """The rows of every folder's results.jsonl, in the order of the folders and of the lines.

    Raises: ValueError naming file and line for a folder without results, a line that is not a whole result
        row, or a scored cell that occurs twice, which pooling would count twice.
    """
    check(len(folders) > 0, "results must name at least 1 folder, got none")
    rows: list[Row] = []
    scored: dict[str, str] = {}  # cell -> where it was read
    for folder in folders:
        path = folder / "results.jsonl"
        check(path.is_file(), f"results: {folder} holds no results.jsonl (scripts/edit.py writes one)")
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not UTF-8 text: {error}") from error
        check(any(line.strip() for line in lines), f"{path} holds no result row")
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            place = f"{path}, line {number}"
            row = _parse(line, place)
            rows.append(row)
            if row["error"] is None:
                first = scored.setdefault(row["cell"], place)
                check(first == place, f"{place}: cell {row['cell']} was already scored in {first}")
    return rows


def _parse(line: str, place: str) -> Row:
    """The result row of one line. Raises: ValueError that begins with the place."""
    try:
        row: Row = json.loads(line, parse_constant=_refuse_constant)
    except ValueError as error:
        raise ValueError(f"{place}: not a line of JSON, perhaps cut off in writing: {error}") from error
    check(isinstance(row, dict), f"{place}: a result row must be an object, got {type(row).__name__}")
    missing = [name for name in _FIELDS if name not in row]
    check(not missing, f"{place}: the result row lacks {', '.join(missing)}")
    check(isinstance(row["error"], str | None), f"{place}: error must be text or null, got {row['error']!r}")
    for name in ("settings", "world", "versions", "weights"):
        check(isinstance(row[name], dict), f"{place}: {name} must be an object, got {row[name]!r}")
    if row["error"] is None:
        check(isinstance(row["units"], list) and bool(row["units"]), f"{place}: units must list at least 1 edit")
        seconds = row["seconds"].get("edit") if isinstance(row["seconds"], dict) else None
        check(isinstance(seconds, (int, float)), f"{place}: seconds must give those of edit, got {seconds!r}")
        for unit in row["units"]:
            _check_unit(unit, place)
    return row


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number")


def _check_unit(unit: Any, place: str) -> None:
    """Raises: ValueError unless the unit holds the right number of counts, none above those asked."""
    for group, length in _COUNTS.items():
        kinds = unit.get(group) if isinstance(unit, dict) else None
        if not isinstance(kinds, dict):
            raise ValueError(f"{place}: every unit must have an object {group}, got {kinds!r}")
        for kind, counts in kinds.items():
            whole = isinstance(counts, list) and all(type(count) is int and count >= 0 for count in counts)
            check(
                whole and len(counts) == length,
                f"{place}: {group} {kind} must be {length} counts of at least 0, got {counts!r}",
            )
            if group != "ripple":  # whose last count is not the sum
                message = f"{place}: no count of {group} {kind} may exceed those asked, its last, got {counts}"
                check(max(counts) == counts[-1], message)


# Pooling


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
    """One method with its settings in one place (scenario, edge, structure, world), pooled over seeds."""

    place: str
    method: str
    num_edits: int  # per cell
    rows: list[Row]
    failed: list[Row]
    scores: Scores | None  # None where every cell failed

    @property
    def seeds(self) -> str:
        """The seeds that were scored, and how many cells were not."""
        seeds = ", ".join(str(seed) for seed in sorted({row["seed"] for row in self.rows})) or "none"
        return seeds + (f" ({len(self.failed)} failed)" if self.failed else "")

    @property
    def models(self) -> str:
        """The models that were edited, separated by commas."""
        return ", ".join(dict.fromkeys(row["model"] for row in [*self.rows, *self.failed]))

    @property
    def seconds(self) -> dict[str, float] | None:
        """Mean seconds per edit; low and high are the quickest and slowest cell, no confidence interval."""
        if not self.rows:
            return None
        each = [row["seconds"]["edit"] / len(row["units"]) for row in self.rows]
        count = sum(len(row["units"]) for row in self.rows)
        total = sum(row["seconds"]["edit"] for row in self.rows)
        return {"value": total / count, "low": min(each), "high": max(each), "count": count}

    def score(self, name: str) -> Scores | None:
        """The pooled score of that name, or None where nothing was asked."""
        found = self.scores.get(name) if self.scores else None
        return found if found is not None and found["value"] is not None else None

    def kinds(self, name: str) -> dict[str, Scores]:
        """The pooled scores by probe kind under "by_kind" or "ripple"."""
        found: dict[str, Scores] = (self.scores or {}).get(name) or {}
        return found


def summaries(rows: Sequence[Row]) -> list[Summary]:
    """One summary per method, settings and place, places and then methods in first-seen order.

    Worlds that differ in more than their seed are different places, since pooling them would average
    unlike tasks.
    """
    places: dict[str, list[Row]] = {}
    for row in rows:
        places.setdefault(_json(_place(row)), []).append(row)
    place_names = _place_names([found[0] for found in places.values()])
    method_names = _method_names(rows)
    result = []
    for place, found in zip(place_names, places.values(), strict=True):
        methods: dict[str, list[Row]] = {}
        for row in found:
            methods.setdefault(method_names[_method(row)], []).append(row)
        for method, cells in methods.items():
            good = [row for row in cells if row["error"] is None]
            result.append(
                Summary(
                    place=place,
                    method=method,
                    num_edits=cells[0]["num_edits"],
                    rows=good,
                    failed=[row for row in cells if row["error"] is not None],
                    scores=_pool(good),
                )
            )
    return result


def _pool(rows: Sequence[Row]) -> Scores | None:
    """The pooled scores of rows that differ in model and seed only."""
    if not rows:
        return None
    return summarise(rows)


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True)


def _method(row: Row) -> str:
    return _json([row["method"], row["settings"]])


def _place(row: Row) -> dict[str, Any]:
    world = {name: value for name, value in row["world"].items() if name != "seed"}
    return {name: row[name] for name in _PLACE} | {"world": world}


def _varying(mappings: Sequence[dict[str, Any]]) -> list[str]:
    """The keys whose values are not the same in all mappings, in first-seen order."""
    keys = dict.fromkeys(key for mapping in mappings for key in mapping)
    return [key for key in keys if len({_json(mapping.get(key)) for mapping in mappings}) > 1]


def _place_names(rows: Sequence[Row]) -> list[str]:
    """A name for the place of each row: its scenario, and what else tells the places apart."""
    places = [_place(row) for row in rows]
    varying = _varying([{k: v for k, v in place.items() if k != "world"} for place in places])
    words: dict[str, Callable[[Any], str]] = {
        "num_edits": lambda value: f"{value} {'edit' if value == 1 else 'edits'}",
        "edge": str,
        "structure": str,
        "relation": lambda value: f"relation {value}",
    }
    names = [
        ", ".join([place["scenario"], *(words[key](place[key]) for key in words if key in varying)]) for place in places
    ]
    for name in [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        same = [index for index, other in enumerate(names) if other == name]
        fields = _varying([places[index]["world"] for index in same])
        for index in same:
            world = places[index]["world"]
            names[index] = ", ".join([name, *(f"{field} {world.get(field)}" for field in fields)])
    return names


def _method_names(rows: Sequence[Row]) -> dict[str, str]:
    """A name for every method and settings: the method, and those settings that tell its variants apart."""
    variants: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        variants.setdefault(row["method"], {})[_method(row)] = row["settings"]
    names = {}
    for method, found in variants.items():
        varying = _varying(list(found.values()))
        for key, settings in found.items():
            chosen = [f"{name}={_plain(settings[name])}" for name in varying if name in settings]
            names[key] = f"{method} ({', '.join(chosen)})" if chosen else method
    return names


def _plain(value: Any) -> str:
    if isinstance(value, list) and value:
        return "+".join(_plain(item) for item in value)
    return value if isinstance(value, str) else json.dumps(value)


# Numbers as text


def share(score: Scores | None, digits: int = 2) -> str:
    """The value and its interval, as in "0.95 [0.90, 0.99]"; a dash where nothing was asked."""
    if score is None or score["value"] is None:
        return "-"
    value, low, high = (f"{score[name]:.{digits}f}" for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def duration(seconds: float) -> str:
    """Seconds with about three digits, never in exponent form."""
    digits = 0 if seconds >= 100 else 1 if seconds >= 10 else 2 if seconds >= 0.1 else 4
    return f"{seconds:.{digits}f}"


def table(rows: Sequence[Row]) -> str:
    """A plain-text table of the pooled results, at most 120 columns wide, with a line for each failed cell.

    Two blocks, because seven numbers with their intervals do not fit one line.
    """
    found = summaries(rows)
    first = [["method", "scenario", "edits", "edit success", "paraphrase", "collateral", "s/edit"]]
    second = [["method", "scenario", "worst kind", "followed share of ripple"]]
    for summary in found:
        seconds = summary.seconds
        edits = sum(len(row["units"]) for row in summary.rows)
        names = ("edit_success", "paraphrase_success", "collateral_accuracy")
        first.append(
            [
                summary.method,
                summary.place,
                str(edits),
                *(share(summary.score(name)) for name in names),
                duration(seconds["value"]) if seconds else "-",
            ]
        )
        worst = _worst_kind(summary)
        ripple = [f"{kind} {share(_outcome(score, 'followed'))}" for kind, score in summary.kinds("ripple").items()]
        second.append([summary.method, summary.place, worst, "\n".join(ripple) or "-"])
    lines = [*_aligned(first, (26, 20, 5, 17, 17, 17, 6), right={2, 6}), ""]
    lines += _aligned(second, (26, 20, 35, 33), right=set())
    for row in rows:
        if row["error"] is not None:
            text = f"failed: {row['method']} {row['scenario']} seed {row['seed']} (cell {row['cell']}): "
            lines += ["", *textwrap.wrap(text + row["error"], 120, subsequent_indent="  ")]
    return "\n".join(lines)


def _worst_kind(summary: Summary) -> str:
    kinds = {kind: score for kind, score in summary.kinds("by_kind").items() if score["value"] is not None}
    if not kinds:
        return "-"
    worst = min(kinds, key=lambda kind: float(kinds[kind]["value"]))
    return f"{worst} {share(kinds[worst])}"


def _outcome(score: Scores, name: str) -> Scores | None:
    """The share of one outcome of a ripple kind, or None where no probe of it was right before."""
    found = score[name]
    return found if found is not None and found["value"] is not None else None


def _aligned(cells: Sequence[Sequence[str]], widest: Sequence[int], right: set[int]) -> list[str]:
    """The cells as columns two spaces apart, a rule under the first line; long cells wrap, none is cut."""
    wrapped = [
        [
            [part for text in cell.split("\n") for part in textwrap.wrap(text, width, break_on_hyphens=False) or [""]]
            for cell, width in zip(row, widest, strict=True)
        ]
        for row in cells
    ]
    widths = [max(len(part) for row in wrapped for part in row[column]) for column in range(len(widest))]
    lines = []
    for index, row in enumerate(wrapped):
        for level in range(max(len(parts) for parts in row)):
            texts = [parts[level] if level < len(parts) else "" for parts in row]
            padded = [
                text.rjust(width) if column in right else text.ljust(width)
                for column, (text, width) in enumerate(zip(texts, widths, strict=True))
            ]
            lines.append("  ".join(padded).rstrip())
        if index == 0:
            lines.append("  ".join("-" * width for width in widths))
    return lines


# Figures

_INK = "#010203"  # stands for the page's text colour; no mark uses it
# Okabe and Ito's palette for colour-blind readers, less its yellow and black, which vanish on light or dark.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # seven against six colours: 42 different pairs
_OUTCOME_COLOURS = {"kept": "#56B4E9", "followed": "#E69F00", "incoherent": "#BBBBBB"}
_WIDTH = 4.5  # inches: narrow, so that ten-point text stays legible on a telephone
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "behemoth",
    "text.parse_math": False,  # a $ in a setting is a dollar sign
    "font.size": 10,
    "axes.labelsize": 10,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.15,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _INK,
}

_FRONT = "Pareto front"

Look = dict[str, tuple[str, str]]  # method -> colour, marker


@dataclasses.dataclass(frozen=True)
class Drawing:
    """One SVG of the page: the file's stem, what it shows in words, and its markup."""

    name: str
    alt: str
    svg: str


def drawings(found: Sequence[Summary]) -> dict[str, list[Drawing]]:
    """The SVGs of the figures "tradeoff", "kinds", "ripple" and "cost": one for every place with data."""
    methods = list(dict.fromkeys(summary.method for summary in found))
    look = {
        method: (_COLOURS[index % len(_COLOURS)], _MARKERS[index % len(_MARKERS)])
        for index, method in enumerate(methods)
    }
    scored = [summary for summary in found if summary.scores is not None]
    result: dict[str, list[Drawing]] = {"tradeoff": [], "kinds": [], "ripple": [], "cost": []}
    with matplotlib.style.context(["default", _STYLE]):
        for index, (place, here) in enumerate(_by_place(scored), start=1):
            stem = f"{index:02d}-" + re.sub(r"[^a-z0-9]+", "-", place.lower()).strip("-")
            for name, draw in (
                ("tradeoff", _tradeoff),
                ("kinds", _kinds),
                ("ripple", _ripple),
                ("cost", _cost),
            ):
                figure = Figure(figsize=(_WIDTH, 3.0), layout="constrained")
                axes = figure.add_subplot()
                axes.set_title(textwrap.fill(place, 50))
                alt = draw(figure, axes, here, scored, look)
                if alt:
                    full = f"{place}. {alt}"
                    result[name].append(Drawing(f"{name}-{stem}", full, _svg(figure, f"{name}-{stem}", full)))
    return result


def pareto(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Whether each point is on the front: none is at least as high in both coordinates and higher in one."""
    return [not any(x >= a and y >= b and (x > a or y > b) for x, y in points) for a, b in points]


def _legend(figure: Figure, axes: Axes) -> None:
    """A legend below the axes in as many columns as its words allow."""
    handles, labels = axes.get_legend_handles_labels()
    if _FRONT in labels:  # matplotlib lists lines before error bars; the methods come first for a reader
        handles = [handle for handle, label in zip(handles, labels, strict=True) if label != _FRONT] + [
            handles[labels.index(_FRONT)]
        ]
        labels = [label for label in labels if label != _FRONT] + [_FRONT]
    longest = max(len(label) for label in labels)
    columns = max(1, min(len(labels), 48 // (longest + 6)))
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.22 * math.ceil(len(labels) / columns))
    figure.legend(handles, labels, loc="outside lower left", ncols=columns, columnspacing=1.2, handletextpad=0.4)


def _whisker(score: Scores) -> list[list[float]]:
    """The distances from a value to both ends of its interval, as error bars want them."""
    value = float(score["value"])
    return [[max(0.0, value - float(score["low"]))], [max(0.0, float(score["high"]) - value)]]


def _lowest(scores: Iterable[Scores]) -> float:
    """The lower end of a share axis: the lowest whisker rounded down to a tenth, at most 0.9."""
    return min([0.9, *(math.floor(float(score["low"]) * 10 + 1e-9) / 10 for score in scores)])


def _tradeoff(figure: Figure, axes: Axes, here: Sequence[Summary], everywhere: Sequence[Summary], look: Look) -> str:
    names = ("edit_success", "collateral_accuracy")
    pairs = [(summary, summary.score(names[0]), summary.score(names[1])) for summary in here]
    shown = [(summary, x, y) for summary, x, y in pairs if x is not None and y is not None]
    if not shown:
        return ""
    points = [(float(x["value"]), float(y["value"])) for _, x, y in shown]
    on_front = pareto(points)
    words = []
    for (summary, x, y), point, best in zip(shown, points, on_front, strict=True):
        colour, marker = look[summary.method]
        axes.errorbar(
            [point[0]],
            [point[1]],
            xerr=_whisker(x),
            yerr=_whisker(y),
            fmt=marker,
            color=colour,
            markersize=6.5,
            elinewidth=1.4,
            alpha=0.95,
            label=summary.method,
        )
        words.append(
            f"{summary.method}: edit success {share(x, 3)}, collateral accuracy {share(y, 3)}"
            + (", on the Pareto front" if best else "")
        )
    front = sorted({point for point, best in zip(points, on_front, strict=True) if best})
    axes.plot(
        *zip(*front, strict=True),
        linestyle=(0, (4, 3)),
        linewidth=1,
        color=_INK,
        marker="o",
        markersize=13,
        markerfacecolor="none",
        markeredgewidth=1,
        alpha=0.75,
        label=_FRONT,
    )
    for limits, name in ((axes.set_xlim, names[0]), (axes.set_ylim, names[1])):
        scores = [score for summary in everywhere if (score := summary.score(name)) is not None]
        low = _lowest(scores)
        limits(low - 0.03 * (1 - low), 1 + 0.06 * (1 - low))
    axes.locator_params(nbins=5)
    axes.set_xlabel("edit success")
    axes.set_ylabel("collateral accuracy")
    _legend(figure, axes)
    return "Scatter plot with 95% intervals. " + "; ".join(words) + "."


def _kinds(figure: Figure, axes: Axes, here: Sequence[Summary], everywhere: Sequence[Summary], look: Look) -> str:
    kinds = list(dict.fromkeys(kind for summary in here for kind in summary.kinds("by_kind")))
    words, drawn = [], []
    step = 0.8 / len(here)
    for index, summary in enumerate(here):
        colour, marker = look[summary.method]
        by_kind = {k: s for k, s in summary.kinds("by_kind").items() if s["value"] is not None}
        for order, (kind, score) in enumerate(by_kind.items()):
            height = kinds.index(kind) - 0.4 + step * (index + 0.5)
            axes.errorbar(
                [float(score["value"])],
                [height],
                xerr=_whisker(score),
                fmt=marker,
                color=colour,
                markersize=5,
                elinewidth=1.4,
                label=summary.method if order == 0 else None,
            )
            drawn.append(score)
        if by_kind:
            values = ", ".join(f"{kind} {share(score, 3)}" for kind, score in by_kind.items())
            words.append(f"{summary.method}: {values}")
    if not drawn:
        return ""
    for edge in range(1, len(kinds)):
        axes.axhline(edge - 0.5, color=_INK, alpha=0.15, linewidth=0.8)
    axes.grid(False, axis="y")
    axes.set_yticks(range(len(kinds)), [kind.replace("_", " ") for kind in kinds])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(kinds) - 0.5, -0.5)
    low = _lowest(s for m in everywhere for s in m.kinds("by_kind").values() if s["value"] is not None)
    axes.set_xlim(low - 0.02 * (1 - low), 1 + 0.03 * (1 - low))
    axes.set_xlabel("share still right")
    figure.set_size_inches(_WIDTH, 0.8 + len(kinds) * max(0.34, 0.14 * len(here) + 0.1))
    _legend(figure, axes)
    return "Dots with 95% intervals: share of probes still right, by kind. " + "; ".join(words) + "."


def _ripple(figure: Figure, axes: Axes, here: Sequence[Summary], everywhere: Sequence[Summary], look: Look) -> str:
    bars = [
        (summary.method, kind, score)
        for kind in dict.fromkeys(kind for summary in here for kind in summary.kinds("ripple"))
        for summary in here
        if (score := summary.kinds("ripple").get(kind)) and _outcome(score, "kept")
    ]
    if not bars:
        return ""
    several = len({kind for _, kind, _ in bars}) > 1
    words, ticks = [], []
    for height, (method, kind, score) in enumerate(bars):
        left = 0.0
        for outcome in OUTCOMES:
            width = float(score[outcome]["value"])
            axes.barh(
                height,
                width,
                left=left,
                height=0.62,
                color=_OUTCOME_COLOURS[outcome],
                edgecolor="#111111",
                linewidth=0.6,
                hatch="////" if outcome == "incoherent" else None,
                label=outcome if height == 0 else None,
            )
            if width >= 0.14:
                box = {"facecolor": _OUTCOME_COLOURS[outcome], "edgecolor": "none", "pad": 1.5}
                axes.text(
                    left + width / 2,
                    height,
                    f"{width:.2f}",
                    ha="center",
                    va="center",
                    color="#111111",
                    fontsize=9,
                    bbox=box if outcome == "incoherent" else None,
                )
            left += width
        axes.text(1.02, height, f"n = {score['count']}", va="center", fontsize=9)
        label = f"{method}, {kind.replace('_', ' ')}" if several else method
        ticks.append(textwrap.fill(label, 18))
        shares = ", ".join(f"{outcome} {share(score[outcome], 3)}" for outcome in OUTCOMES)
        words.append(f"{method}, {kind}: {shares}, {score['count']} facts")
    axes.grid(False)
    axes.set_yticks(range(len(bars)), ticks)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.set_xlim(0, 1.22)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
    kinds = dict.fromkeys(kind.replace("_", " ") for _, kind, _ in bars)
    axes.set_xlabel("share of dependent facts" + ("" if several else f" ({', '.join(kinds)})"))
    lines = max(tick.count("\n") + 1 for tick in ticks)
    figure.set_size_inches(_WIDTH, 0.9 + len(bars) * max(0.42, 0.2 * lines + 0.1))
    _legend(figure, axes)
    return "Stacked bars of what became of dependent facts. " + "; ".join(words) + "."


def _cost(figure: Figure, axes: Axes, here: Sequence[Summary], everywhere: Sequence[Summary], look: Look) -> str:
    words, ticks = [], []
    seconds = [summary.seconds or {} for summary in here]
    for height, (summary, cost) in enumerate(zip(here, seconds, strict=True)):
        colour, marker = look[summary.method]
        axes.errorbar([cost["value"]], [height], xerr=_whisker(cost), fmt=marker, color=colour, elinewidth=1.4)
        axes.annotate(
            f"{duration(cost['value'])} s",
            (cost["value"], height),
            xytext=(0, 6),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=9,
        )
        ticks.append(textwrap.fill(summary.method, 18))
        words.append(f"{summary.method} {duration(cost['value'])} seconds per edit")
    axes.grid(False, axis="y")
    axes.set_yticks(range(len(here)), ticks)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(here) - 0.5, -0.6)
    everyone = [summary.seconds or {} for summary in everywhere]
    top, bottom = max(cost["high"] for cost in everyone), min(cost["low"] for cost in everyone)
    if bottom > 0 and top > 20 * bottom:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_xlim(bottom / 2, top * 2)
    else:
        axes.set_xlim(0, 1.15 * top or 1.0)
    axes.set_xlabel("seconds per edit")
    figure.set_size_inches(_WIDTH, 0.85 + 0.48 * len(here))
    return "Dots with the range over cells. " + "; ".join(words) + "."


def _svg(figure: Figure, name: str, alt: str) -> str:
    """The figure as SVG that takes its text colour and font from the page; its ids begin with the name."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = text.replace(_INK, "currentColor")
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, sans-serif", text)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    return text.replace("<svg ", f'<svg role="img" aria-label="{escape(alt)}" ', 1).strip() + "\n"


def _standalone(svg: str) -> str:
    """The same SVG as a file of its own, whose text is dark on light and light on dark."""
    style = "<style>svg{color:#1c1e21}@media (prefers-color-scheme:dark){svg{color:#e4e6e8}}</style>"
    return svg.replace(">", f">{style}", 1)


# Tables as files


def _numbers(score: Scores | None) -> list[str]:
    if score is None or score["value"] is None:
        return ["", "", "", "0" if score is None else str(score.get("count", 0))]
    return [*(f"{score[name]:.6g}" for name in ("value", "low", "high")), str(score["count"])]


_MEASURES = ("edit_success", "paraphrase_success", "collateral_accuracy", "collateral_drop")


def _identity(summary: Summary) -> list[str]:
    row = [*summary.rows, *summary.failed][0]
    names = (*_PLACE, "method")
    seeds = " ".join(str(seed) for seed in sorted({cell["seed"] for cell in summary.rows}))
    return [*(str(row[name]) for name in names), _json(row["settings"]), summary.models, seeds]


_IDENTITY = (*_PLACE, "method", "settings", "models", "seeds")


def _summary_csv(found: Sequence[Summary]) -> str:
    parts = ("", "_low", "_high", "_count")
    header = [name + part for name in (*_MEASURES, "seconds_per_edit") for part in parts]
    lines = [[*_IDENTITY, "failed_cells", *header]]
    for summary in found:
        scores = [summary.score(name) for name in _MEASURES]
        numbers = [text for score in [*scores, summary.seconds] for text in _numbers(score)]
        lines.append([*_identity(summary), str(len(summary.failed)), *numbers])
    return _csv(lines)


def _kinds_csv(found: Sequence[Summary]) -> str:
    lines = [[*_IDENTITY, "measure", "kind", "value", "low", "high", "count", "wrong_before"]]
    for summary in found:
        for kind, score in summary.kinds("by_kind").items():
            tail = [*_numbers(score), str(score["wrong_before"])]
            lines.append([*_identity(summary), "collateral_accuracy", kind, *tail])
        for kind, score in summary.kinds("ripple").items():
            for outcome in OUTCOMES:
                tail = [*_numbers({**(score[outcome] or {"value": None}), "count": score["count"]})]
                lines.append([*_identity(summary), outcome, kind, *tail, str(score["wrong_before"])])
    return _csv(lines)


def _csv(lines: Sequence[Sequence[str]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(lines)
    return buffer.getvalue()


def _summary_md(found: Sequence[Summary]) -> str:
    header = [
        "scenario",
        "method",
        "edit success",
        "paraphrase success",
        "collateral accuracy",
        "s/edit",
        "seeds",
    ]
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    for summary in found:
        scores = [summary.score(name) for name in _MEASURES[:3]]
        numbers = [f"{share(score, 3)}, n = {score['count']}" if score else "-" for score in scores]
        seconds = duration(summary.seconds["value"]) if summary.seconds else "-"
        cells = [summary.place, summary.method, *numbers, seconds, summary.seeds]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    note = (
        "Every share with its 95% bootstrap interval over edits and seeds; n counts the probes asked, for "
        "collateral accuracy those right before the edit."
    )
    return "\n".join([*lines, "", note, ""])


# The page


def _commands(rows: Sequence[Row], folders: Sequence[str], output: str) -> list[str]:
    """The shell commands that make the results of each model again, and then this report."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(_json([row["model"], row["edge"], row["relation"], row["num_edits"]]), []).append(row)
    result = []
    for found in groups.values():
        first = found[0]
        options: dict[str, Iterable[object]] = {
            "model": [first["model"]],
            "methods": dict.fromkeys(row["method"] for row in found),
            "scenarios": dict.fromkeys(row["scenario"] for row in found),
            "edge": [first["edge"]] if first["edge"] != "subject_object" else [],
            "relation": [first["relation"]] if first["relation"] != 0 else [],
            "num_edits": [first["num_edits"]],
            "seeds": sorted({row["seed"] for row in found}),
            "output_dir": folders if len(folders) == 1 else [],
        }
        result.append(_command("python scripts/edit.py", options))
    report = shlex.join(["python", "scripts/report.py", *folders])
    return [*result, _command(report, {"output_dir": [output]})]


def _command(start: str, options: dict[str, Iterable[object]]) -> str:
    """The shell command with one option to a line; options without values are left out."""
    words = [[f"--{name}", *map(str, values)] for name, values in options.items()]
    return " \\\n    ".join([start, *(shlex.join(some) for some in words if len(some) > 1)])


def page(rows: Sequence[Row], folders: Sequence[str] = ("results",), output: str = "report") -> str:
    """The whole report as one HTML document that loads nothing."""
    found = summaries(rows)
    return _page(rows, found, drawings(found), folders, output)


def _page(
    rows: Sequence[Row],
    found: Sequence[Summary],
    figures: dict[str, list[Drawing]],
    folders: Sequence[str],
    output: str,
) -> str:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        share=share, duration=duration, json=_json, spaced=_spaced, digest=_short, groupby_seen=_by_place
    )
    template = files("behemoth_editing").joinpath("report.html.jinja").read_text(encoding="utf-8")
    failed = [row for row in rows if row["error"] is not None]
    return environment.from_string(template).render(
        rows=rows,
        failed=failed,
        summaries=found,
        figures=figures,
        outcomes=OUTCOMES,
        models=list(dict.fromkeys(row["model"] for row in rows)),
        seeds=sorted({row["seed"] for row in rows}),
        worlds=[json.loads(world) for world in dict.fromkeys(_json(row["world"]) for row in rows)],
        versions=[json.loads(version) for version in dict.fromkeys(_json(row["versions"]) for row in rows)],
        commands=_commands(rows, folders, output),
    )


def _spaced(text: str) -> str:
    return text.replace("_", " ")


def _short(digest: str) -> str:
    return digest[:16]


def _by_place(found: Sequence[Summary]) -> list[tuple[str, list[Summary]]]:
    """The summaries of every place, places in first-seen order."""
    places: dict[str, list[Summary]] = {}
    for summary in found:
        places.setdefault(summary.place, []).append(summary)
    return list(places.items())


def write_report(folders: Sequence[Path], output_dir: Path, *, overwrite: bool = False) -> list[Row]:
    """The rows of the folders, once output_dir holds the index.html, tables and figures made from them.

    Everything is written beside output_dir first, and index.html is put in place last. Files that are not a
    report's are never removed.
    Raises: ValueError for bad results, or for an output_dir that holds something else, unless `overwrite`.
    """
    rows = load_results(folders)
    earlier = _check_output(output_dir, overwrite)
    found = summaries(rows)
    figures = drawings(found)
    names = [folder.as_posix() for folder in folders]
    contents = {
        f"figures/{drawing.name}.svg": _standalone(drawing.svg) for some in figures.values() for drawing in some
    }
    contents["summary.csv"] = _summary_csv(found)
    contents["kinds.csv"] = _kinds_csv(found)
    contents["summary.md"] = _summary_md(found)
    contents["index.html"] = _page(rows, found, figures, names, output_dir.as_posix())
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=f".{output_dir.name}-", dir=output_dir.parent))
    try:
        _place_files(contents, stage / "report", output_dir)
    finally:
        shutil.rmtree(stage)
    for name in earlier - set(contents):
        (output_dir / name).unlink()
    return rows


def _place_files(contents: dict[str, str], stage: Path, output_dir: Path) -> None:
    """Writes the files under `stage`, then moves each to its place in output_dir, in the order given."""
    for name, text in contents.items():
        path = stage / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
    if not output_dir.exists():
        stage.rename(output_dir)
        return
    (output_dir / "figures").mkdir(exist_ok=True)
    for name in contents:
        os.replace(stage / name, output_dir / name)


def _check_output(output_dir: Path, overwrite: bool) -> set[str]:
    """The names of an earlier report's files in output_dir, empty unless it holds nothing but a report.

    Raises: ValueError for a file, or for a folder that holds anything else, unless `overwrite`.
    """
    if not output_dir.exists():
        return set()
    check(output_dir.is_dir(), f"output_dir must be a folder, got the file {output_dir}")
    names = {path.relative_to(output_dir).as_posix() for path in output_dir.rglob("*") if not path.is_dir()}
    foreign = {name for name in names if name not in _OWN_FILES and not re.fullmatch(r"figures/[^/]+\.svg", name)}
    index = output_dir / "index.html"
    marked = index.is_file() and MARKER in index.read_text(encoding="utf-8", errors="replace")
    if not names or (marked and not foreign):
        return names
    check(
        overwrite,
        f"output_dir {output_dir} holds something other than an earlier report "
        f"({min(foreign or names)}); give another folder, or --overwrite to write the report into it",
    )
    return set()
