"""Figures of pooled results, as SVG that takes its colours from the page and as PDF. No reading, no files written.

The same summaries give the same bytes.
"""

from __future__ import annotations

import dataclasses
import math
import re
import textwrap
from collections.abc import Callable, Sequence

import matplotlib
import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from behemoth_data.kinds import KINDS
from behemoth_editing.report.curves import (
    alike_but_for_load,
    draw_correlation,
    draw_forgetting,
    draw_layers,
    draw_load,
    draw_ranks,
    draw_recall,
    draw_stages,
)
from behemoth_editing.report.evidence import as_by_default, by_precision
from behemoth_editing.report.style import (
    COLOURS,
    FRONT,
    INK,
    MARKERS,
    STYLE,
    WIDTH,
    Look,
    as_pdf,
    as_svg,
    legend,
    lowest_tick,
    whisker,
)
from behemoth_editing.report.summaries import Summary, by_place, outcome_share, quality
from behemoth_editing.report.text import duration, share
from behemoth_editing.scoring.scores import OUTCOMES

_MOST = 7  # methods that a figure tells apart; with more, the best setting of each method stands for it
_OUTCOME_COLOURS = {"kept": "#56B4E9", "followed": "#E69F00", "incoherent": "#BBBBBB"}


@dataclasses.dataclass(frozen=True)
class Drawing:
    """One figure: its files' stem, what it shows in words, its markup, and the same as PDF if that was asked for."""

    name: str
    alt: str
    svg: str
    pdf: bytes | None = None


FIGURES = (
    "tradeoff",
    "load",
    "forgetting",
    "stages",
    "ranks",
    "layers",
    "kinds",
    "ripple",
    "correlation",
    "recall",
    "cost",
)


def drawings(found: Sequence[Summary], *, pdf: bool = False) -> dict[str, list[Drawing]]:
    """The figures, by the names in FIGURES: one for every place with data.

    Those of correlation and recall are one for every scenario, those of load one for every scenario and method.
    """
    scored = [summary for summary in found if summary.scores is not None]
    places = by_place(scored)
    labels = dict.fromkeys(label for _, here in places for label, _ in named(here))
    look = {label: (COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]) for index, label in enumerate(labels)}
    result: dict[str, list[Drawing]] = {name: [] for name in FIGURES}

    def add(name: str, number: int, title: str, draw: Callable[[Figure], str]) -> None:
        figure = Figure(figsize=(WIDTH, 3.0), layout="constrained")
        alt = draw(figure)
        if alt:
            figure.get_axes()[0].set_title(textwrap.fill(title, 34 if name in ("layers", "kinds", "ripple") else 42))
            stem = f"{name}-{number:02d}-" + re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
            full = f"{title}. {alt}"
            result[name].append(Drawing(stem, full, as_svg(figure, stem, full), as_pdf(figure) if pdf else None))

    with matplotlib.style.context(["default", STYLE]):
        for index, (place, here) in enumerate(places, start=1):
            chosen = named(here)
            add("tradeoff", index, place, lambda f: draw_tradeoff(f, f.add_subplot(), here, chosen, scored, look))  # noqa: B023
            add("forgetting", index, place, lambda f: draw_forgetting(f, f.add_subplot(), chosen))  # noqa: B023
            add("stages", index, place, lambda f: draw_stages(f, chosen))  # noqa: B023
            for words, part in by_precision(as_by_default(here)):
                add("ranks", index, place + words, lambda f: draw_ranks(f, part))  # noqa: B023
                add("layers", index, place + words, lambda f: draw_layers(f, part))  # noqa: B023
            add("kinds", index, place, lambda f: draw_kinds(f, f.add_subplot(), chosen, scored, look))  # noqa: B023
            add("ripple", index, place, lambda f: draw_ripple(f, f.add_subplot(), chosen))  # noqa: B023
            add("cost", index, place, lambda f: draw_cost(f, f.add_subplot(), here, chosen, scored, look))  # noqa: B023
        for index, scenario in enumerate(dict.fromkeys(s.row["scenario"] for s in scored), start=1):
            here = [summary for summary in scored if summary.row["scenario"] == scenario]
            add("correlation", index, scenario, lambda f: draw_correlation(f, f.add_subplot(), here))  # noqa: B023
            add("recall", index, scenario, lambda f: draw_recall(f, f.add_subplot(), here))  # noqa: B023
            for words, alike in alike_but_for_load(here):
                add("load", index, f"{words}, {scenario}", lambda f: draw_load(f, alike))  # noqa: B023
    return result


def named(here: Sequence[Summary]) -> list[tuple[str, Summary]]:
    """The methods of one place that a figure tells apart, by their labels.

    All of them, if there are few. Otherwise the setting of each method with the best quality() stands for it.
    """
    if len(here) <= _MOST:
        return [(summary.method, summary) for summary in here]
    best: dict[str, Summary] = {}
    for summary in here:
        if summary.family not in best or quality(summary) > quality(best[summary.family]):
            best[summary.family] = summary
    return list(best.items())


def pareto(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Whether each point is on the front: none is at least as high in both coordinates and higher in one."""
    return [not any(x >= a and y >= b and (x > a or y > b) for x, y in points) for a, b in points]


def draw_tradeoff(
    figure: Figure,
    axes: Axes,
    here: Sequence[Summary],
    chosen: Sequence[tuple[str, Summary]],
    everywhere: Sequence[Summary],
    look: Look,
) -> str:
    """Edit success against collateral accuracy: a point for each method, and the Pareto front."""
    names = ("edit_success", "collateral_accuracy")
    pairs = [(summary, summary.score(names[0]), summary.score(names[1])) for summary in here]
    shown = [(summary, x, y) for summary, x, y in pairs if x is not None and y is not None]
    if not shown:
        return ""
    labels = {id(summary): label for label, summary in chosen}
    points = [(float(x["value"]), float(y["value"])) for _, x, y in shown]
    on_front = pareto(points)
    words = []
    for (summary, x, y), point, best in zip(shown, points, on_front, strict=True):
        label = labels.get(id(summary))
        if label is None:  # one of many settings of a method: a dot, as small as what it says
            colour, marker = look.get(summary.family, (INK, "."))
            axes.plot(*point, marker=marker, markersize=3.2, color=colour, alpha=0.45, linestyle="")
        else:
            colour, marker = look[label]
            axes.errorbar(
                [point[0]],
                [point[1]],
                xerr=whisker(x),
                yerr=whisker(y),
                fmt=marker,
                color=colour,
                markersize=6.5,
                elinewidth=1.4,
                alpha=0.95,
                label=label,
            )
        if best or label is not None:
            words.append(
                f"{summary.method}: edit success {share(x, 3)}, collateral accuracy {share(y, 3)}"
                + (", on the Pareto front" if best else "")
            )
    front = sorted({point for point, best in zip(points, on_front, strict=True) if best})
    axes.plot(
        *zip(*front, strict=True),
        linestyle=(0, (4, 3)),
        linewidth=1,
        color=INK,
        marker="o",
        markersize=13,
        markerfacecolor="none",
        markeredgewidth=1,
        alpha=0.75,
        label=FRONT,
    )
    again = next((y for summary, _, y in shown if summary.family == "retrain"), None)
    if again is not None:
        axes.axhline(again["value"], color=INK, linewidth=1, linestyle=(0, (1, 2)), alpha=0.8)
        axes.annotate(
            "retraining", (0.01, again["value"]), xycoords=("axes fraction", "data"), fontsize=8.5, va="bottom"
        )
    for limits, name in ((axes.set_xlim, names[0]), (axes.set_ylim, names[1])):
        scores = [score for summary in everywhere if (score := summary.score(name)) is not None]
        low = lowest_tick(scores)
        limits(low - 0.03 * (1 - low), 1 + 0.06 * (1 - low))
    axes.locator_params(nbins=5)
    axes.set_xlabel("edit success")
    axes.set_ylabel("collateral accuracy")
    legend(figure, axes)
    return "Scatter plot with 95% intervals. " + "; ".join(words) + "."


def draw_kinds(
    figure: Figure, axes: Axes, here: Sequence[tuple[str, Summary]], everywhere: Sequence[Summary], look: Look
) -> str:
    """The share still right of each kind that must not change: a dot for each method."""
    asked = dict.fromkeys(kind for _, summary in here for kind in summary.kinds("by_kind"))
    kinds = sorted(asked, key=lambda kind: KINDS[kind].distance if kind in KINDS else math.inf)
    words, drawn = [], []
    step = 0.8 / len(here)
    for index, (label, summary) in enumerate(here):
        colour, marker = look[label]
        by_kind = {k: s for k, s in summary.kinds("by_kind").items() if s["value"] is not None}
        for order, (kind, score) in enumerate(by_kind.items()):
            height = kinds.index(kind) - 0.4 + step * (index + 0.5)
            axes.errorbar(
                [float(score["value"])],
                [height],
                xerr=whisker(score),
                fmt=marker,
                color=colour,
                markersize=5,
                elinewidth=1.4,
                label=label if order == 0 else None,
            )
            drawn.append(score)
        if by_kind:
            values = ", ".join(f"{kind} {share(score, 3)}" for kind, score in by_kind.items())
            words.append(f"{summary.method}: {values}")
    if not drawn:
        return ""
    for edge in range(1, len(kinds)):
        axes.axhline(edge - 0.5, color=INK, alpha=0.15, linewidth=0.8)
    axes.grid(False, axis="y")
    axes.set_yticks(range(len(kinds)), [kind.replace("_", " ") for kind in kinds])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(kinds) - 0.5, -0.5)
    low = lowest_tick(s for m in everywhere for s in m.kinds("by_kind").values() if s["value"] is not None)
    axes.set_xlim(low - 0.02 * (1 - low), 1 + 0.03 * (1 - low))
    axes.set_xlabel("share still right")
    figure.set_size_inches(WIDTH, 0.8 + len(kinds) * max(0.34, 0.14 * len(here) + 0.1))
    legend(figure, axes)
    return "Dots with 95% intervals: share of probes still right, by kind. " + "; ".join(words) + "."


def draw_ripple(figure: Figure, axes: Axes, here: Sequence[tuple[str, Summary]]) -> str:
    """What became of dependent facts: bars of kept, followed and incoherent."""
    bars = [
        (label, kind, score)
        for kind in dict.fromkeys(kind for _, summary in here for kind in summary.kinds("ripple"))
        for label, summary in here
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
    figure.set_size_inches(WIDTH, 0.9 + len(bars) * max(0.42, 0.2 * lines + 0.1))
    legend(figure, axes)
    return "Stacked bars of what became of dependent facts. " + "; ".join(words) + "."


def draw_cost(
    figure: Figure,
    axes: Axes,
    here: Sequence[Summary],
    chosen: Sequence[tuple[str, Summary]],
    everywhere: Sequence[Summary],
    look: Look,
) -> str:
    """Seconds per edit against quality: a point for each method."""
    labels = {id(summary): label for label, summary in chosen}
    words: list[str] = []
    for summary in here:
        cost, good, label = summary.seconds, quality(summary), labels.get(id(summary))
        if cost is None:
            continue
        if label is None:
            colour, marker = look.get(summary.family, (INK, "."))
            axes.plot(cost["value"], good, marker=marker, markersize=3.2, color=colour, alpha=0.45, linestyle="")
            continue
        colour, marker = look[label]
        axes.errorbar(
            [cost["value"]],
            [good],
            xerr=whisker(cost),
            fmt=marker,
            color=colour,
            markersize=6.5,
            elinewidth=1.4,
            label=label,
        )
        words.append(f"{summary.method} {duration(cost['value'])} seconds per edit, quality {good:.3f}")
    if not words:
        return ""
    everyone = [spent for summary in everywhere if (spent := summary.seconds) is not None]
    top, bottom = max(spent["high"] for spent in everyone), min(spent["low"] for spent in everyone)
    if bottom > 0 and top > 20 * bottom:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(lambda value, _: "")
        axes.set_xlim(bottom / 1.6, top * 1.6)
    else:
        axes.set_xlim(0, 1.15 * top or 1.0)
    axes.set_ylim(top=1.03)
    axes.locator_params(axis="y", nbins=5)
    axes.set_xlabel("seconds per edit")
    axes.set_ylabel("harmonic mean")
    legend(figure, axes)
    return "Scatter plot with the range of seconds over cells. " + "; ".join(words) + "."
