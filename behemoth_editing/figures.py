"""Figures of pooled results as SVG that takes its colours from the page. No reading, no pooling, no files written.

The same summaries give the same bytes.
"""

from __future__ import annotations

import dataclasses
import io
import math
import re
import textwrap
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from behemoth_editing.results import OUTCOMES, Scores, Summary, by_place, duration, outcome_share, share

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
        for index, (place, here) in enumerate(by_place(scored), start=1):
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
        if (score := summary.kinds("ripple").get(kind)) and outcome_share(score, "kept")
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


def standalone(svg: str) -> str:
    """The same SVG as a file of its own, whose text is dark on light and light on dark."""
    style = "<style>svg{color:#1c1e21}@media (prefers-color-scheme:dark){svg{color:#e4e6e8}}</style>"
    return svg.replace(">", f">{style}", 1)
