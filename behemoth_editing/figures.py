"""Figures of pooled results, as SVG that takes its colours from the page and as PDF. No reading, no files written.

The same summaries give the same bytes.
"""

from __future__ import annotations

import dataclasses
import io
import math
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape
from typing import Any

import matplotlib
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from behemoth_editing.identity import model_of
from behemoth_editing.results import (
    OUTCOMES,
    Scores,
    Summary,
    as_json,
    by_place,
    duration,
    outcome_share,
    quality,
    recall_of,
    share,
)
from behemoth_editing.verdicts import as_by_default, by_precision, layers_in_words, rank_in_words, rank_series

_INK = "#010203"  # stands for the page's text colour; no mark uses it
# Okabe and Ito's palette for colour-blind readers, less its yellow and black, which vanish on light or dark.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # seven against six colours: 42 different pairs
_LINES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))
_MOST = 7  # methods that a figure tells apart; with more, the best setting of each method stands for it
# Nearest to the edit first.
_BY_DISTANCE = (
    *("same_subject", "nested_source", "nested_old_object", "nested_new_object"),
    *("same_old_object", "same_new_object", "same_relation", "unrelated"),
)
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

Look = dict[str, tuple[str, str]]  # label -> colour, marker
_Points = list[tuple[float, Scores | None, float]]  # x, its score with an interval if there is one, y


@dataclasses.dataclass(frozen=True)
class Drawing:
    """One figure: its files' stem, what it shows in words, its markup, and the same as PDF if that was asked for."""

    name: str
    alt: str
    svg: str
    pdf: bytes | None = None


FIGURES = ("tradeoff", "ranks", "layers", "kinds", "ripple", "correlation", "recall", "cost")


def drawings(found: Sequence[Summary], *, pdf: bool = False) -> dict[str, list[Drawing]]:
    """The figures, by the names in FIGURES: one for every place with data; correlation and recall by scenario."""
    scored = [summary for summary in found if summary.scores is not None]
    places = by_place(scored)
    labels = dict.fromkeys(label for _, here in places for label, _ in named(here))
    look = {
        label: (_COLOURS[index % len(_COLOURS)], _MARKERS[index % len(_MARKERS)]) for index, label in enumerate(labels)
    }
    result: dict[str, list[Drawing]] = {name: [] for name in FIGURES}

    def add(name: str, number: int, title: str, draw: Callable[[Figure], str]) -> None:
        figure = Figure(figsize=(_WIDTH, 3.0), layout="constrained")
        alt = draw(figure)
        if alt:
            figure.get_axes()[0].set_title(textwrap.fill(title, 34 if name in ("layers", "kinds", "ripple") else 42))
            stem = f"{name}-{number:02d}-" + re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
            full = f"{title}. {alt}"
            result[name].append(Drawing(stem, full, _svg(figure, stem, full), _pdf(figure) if pdf else None))

    with matplotlib.style.context(["default", _STYLE]):
        for index, (place, here) in enumerate(places, start=1):
            chosen = named(here)
            add("tradeoff", index, place, lambda f: _tradeoff(f, f.add_subplot(), here, chosen, scored, look))  # noqa: B023
            for words, part in by_precision(as_by_default(here)):
                add("ranks", index, place + words, lambda f: _ranks(f, part))  # noqa: B023
                add("layers", index, place + words, lambda f: _layers(f, part))  # noqa: B023
            add("kinds", index, place, lambda f: _kinds(f, f.add_subplot(), chosen, scored, look))  # noqa: B023
            add("ripple", index, place, lambda f: _ripple(f, f.add_subplot(), chosen))  # noqa: B023
            add("cost", index, place, lambda f: _cost(f, f.add_subplot(), here, chosen, scored, look))  # noqa: B023
        for index, scenario in enumerate(dict.fromkeys(s.row["scenario"] for s in scored), start=1):
            here = [summary for summary in scored if summary.row["scenario"] == scenario]
            add("correlation", index, scenario, lambda f: _correlation(f, f.add_subplot(), here))  # noqa: B023
            add("recall", index, scenario, lambda f: _recall(f, f.add_subplot(), here))  # noqa: B023
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
    wrapped = [textwrap.fill(label, 52, subsequent_indent="  ") for label in labels]
    lines = [label.count("\n") + 1 for label in wrapped]
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.22 * (math.ceil(len(labels) / columns) if columns > 1 else sum(lines)))
    figure.legend(handles, wrapped, loc="outside lower left", ncols=columns, columnspacing=1.2, handletextpad=0.4)


def _whisker(score: Scores) -> list[list[float]]:
    """The distances from a value to both ends of its interval, as error bars want them."""
    value = float(score["value"])
    return [[max(0.0, value - float(score["low"]))], [max(0.0, float(score["high"]) - value)]]


def _lowest(scores: Iterable[Scores]) -> float:
    """The lower end of a share axis: the lowest whisker rounded down to a tenth, at most 0.9."""
    return min([0.9, *(math.floor(float(score["low"]) * 10 + 1e-9) / 10 for score in scores)])


def _tradeoff(
    figure: Figure,
    axes: Axes,
    here: Sequence[Summary],
    chosen: Sequence[tuple[str, Summary]],
    everywhere: Sequence[Summary],
    look: Look,
) -> str:
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
            colour, marker = look.get(summary.family, (_INK, "."))
            axes.plot(*point, marker=marker, markersize=3.2, color=colour, alpha=0.45, linestyle="")
        else:
            colour, marker = look[label]
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
        color=_INK,
        marker="o",
        markersize=13,
        markerfacecolor="none",
        markeredgewidth=1,
        alpha=0.75,
        label=_FRONT,
    )
    floor = next((y for summary, _, y in shown if summary.family == "retrain"), None)
    if floor is not None:
        axes.axhline(floor["value"], color=_INK, linewidth=1, linestyle=(0, (1, 2)), alpha=0.8)
        axes.annotate(
            "retraining", (0.01, floor["value"]), xycoords=("axes fraction", "data"), fontsize=8.5, va="bottom"
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


def _ranks(figure: Figure, here: Sequence[Summary]) -> str:
    """Success and what is left against the rank of the change: a line with a band for each method and module."""
    series = rank_series(here)
    if not series:
        return ""
    ranks = sorted({rank for one in series for rank in one.by_rank})
    places = {rank: number for number, rank in enumerate(ranks)}
    methods = list(dict.fromkeys(one.method for one in series))
    modules = list(dict.fromkeys(one.where for one in series))
    several = len({one.settings.get("layers") and as_json(one.settings["layers"]) for one in series}) > 1
    words = []
    names = ("edit_success", "collateral_accuracy")
    panels = figure.subplots(2, 1, sharex=True)
    for axes, name in zip(panels, names, strict=True):
        for one in series:
            scores = {rank: score for rank, s in one.by_rank.items() if (score := s.score(name)) is not None}
            if not scores:
                continue
            colour = _COLOURS[(methods.index(one.method) + 2 * modules.index(one.where)) % len(_COLOURS)]
            line = _LINES[methods.index(one.method) % len(_LINES)]
            xs = [places[rank] for rank in scores]
            label = f"{one.method} {one.where if several else one.settings.get('modules', '')}".strip()
            axes.plot(
                xs,
                [score["value"] for score in scores.values()],
                color=colour,
                linestyle=line,
                marker=_MARKERS[modules.index(one.where) % len(_MARKERS)],
                markersize=4.5,
                linewidth=1.5,
                label=label,
            )
            low, high = ([float(score[end]) for score in scores.values()] for end in ("low", "high"))
            axes.fill_between(xs, low, high, color=colour, alpha=0.16, linewidth=0)
            values = ", ".join(f"rank {rank_in_words(rank)} {share(score, 3)}" for rank, score in scores.items())
            words.append(f"{label}, {name.replace('_', ' ')}: {values}")
        axes.set_ylabel(name.replace("_", " "))
        axes.set_ylim(min(axes.get_ylim()[0], 0.9), 1.02)  # also where every value is 1
        axes.locator_params(axis="y", nbins=5)
    panels[0].axhline(0.95, color=_INK, linewidth=0.8, linestyle=(0, (2, 2)), alpha=0.6)
    panels[1].set_xticks(range(len(ranks)), [rank_in_words(rank) for rank in ranks])
    panels[1].set_xlabel("rank of the change of each matrix")
    figure.set_size_inches(_WIDTH, 4.6)
    _legend(figure, panels[0])
    return "Lines with 95% bands. " + "; ".join(words) + "."


def _layers(figure: Figure, here: Sequence[Summary]) -> str:
    """A map for each score: a row for every method and module or site, a column for every choice of layers."""
    rows = _layer_choices(here)
    if not rows:
        return ""
    columns = sorted({choice for row in rows.values() for choice in row}, key=_layer_order)
    words = []
    names = ("edit_success", "collateral_accuracy")
    panels = figure.subplots(2, 1, sharex=True)
    for axes, name in zip(panels, names, strict=True):
        values = np.full((len(rows), len(columns)), np.nan)
        for height, (label, row) in enumerate(rows.items()):
            for choice, summary in row.items():
                score = summary.score(name)
                if score is not None:
                    values[height, columns.index(choice)] = score["value"]
                    words.append(f"{label}, {choice}, {name.replace('_', ' ')} {share(score, 3)}")
        lowest = min(0.9, math.floor(10 * float(np.nanmin(values))) / 10) if not np.isnan(values).all() else 0.0
        axes.imshow(np.ma.masked_invalid(values), cmap="cividis", vmin=lowest, vmax=1, aspect="auto")
        for (height, column), value in np.ndenumerate(values):
            if not math.isnan(value):
                text = "1" if value >= 0.995 else f"{value:.2f}".lstrip("0") if value >= 0.005 else "0"
                colour = "#111111" if value > (1 + lowest) / 2 else "#ffffff"
                axes.text(column, height, text, ha="center", va="center", color=colour, fontsize=8.5)
        axes.grid(False)
        axes.set_yticks(range(len(rows)), list(rows))
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_ylabel(name.replace("_", "\n"))
    panels[1].set_xticks(range(len(columns)), map(_short_layers, columns))
    panels[1].set_xlabel("layers")
    figure.set_size_inches(_WIDTH, 1.3 + 2 * max(0.85, 0.28 * len(rows)))
    return "Maps of layers against modules. " + "; ".join(words) + "."


def _short_layers(choice: str) -> str:
    """Layers as a column's head: 2, 0–2 for neighbours, 0+5, all."""
    numbers = [int(part) for part in re.findall(r"\d+", choice)]
    if len(numbers) > 1 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]}–{numbers[-1]}"
    return "+".join(map(str, numbers)) or "all"


def _layer_choices(here: Sequence[Summary]) -> dict[str, dict[str, Summary]]:
    """The variants of each method and module or site that differ in their layers only, by these.

    There must be some in one module or at one site of a method; what was tried in its others is shown beside it.
    """
    groups: dict[str, dict[str, Summary]] = {}
    labels: dict[str, str] = {}
    beside: dict[str, str] = {}  # what all modules and sites of a method share
    for summary in here:
        layers = [name for name in ("layer", "layers") if name in summary.settings]
        if layers:
            rest = {name: value for name, value in summary.settings.items() if name not in layers}
            key = as_json([summary.family, rest])
            parts = [rest[name] for name in ("modules", "site") if name in rest]
            labels[key] = " ".join([summary.family, *map(str, parts)])
            beside[key] = as_json([summary.family, {k: v for k, v in rest.items() if k not in ("modules", "site")}])
            groups.setdefault(key, {})[layers_in_words(summary.settings[layers[0]])] = summary
    several = {beside[key] for key, group in groups.items() if len(group) > 1}
    kept = {key: group for key, group in groups.items() if beside[key] in several}
    repeated = [labels[key] for key in kept]
    result = {}
    for key, group in kept.items():
        rank = _rank_of_key(key) if repeated.count(labels[key]) > 1 else ""
        result[labels[key] + rank] = dict(sorted(group.items(), key=lambda item: _layer_order(item[0])))
    return result


def _rank_of_key(key: str) -> str:
    """What tells apart two groups of _layer_choices() that share method and module."""
    match = re.search(r'"rank": (\w+)', key)
    return f" rank {match[1]}" if match else ""


def _layer_order(choice: str) -> tuple[int, list[int]]:
    """Single layers first, then several, then all."""
    numbers = [int(part) for part in re.findall(r"\d+", choice)]
    return (len(numbers) or 1000), numbers


def _kinds(
    figure: Figure, axes: Axes, here: Sequence[tuple[str, Summary]], everywhere: Sequence[Summary], look: Look
) -> str:
    asked = dict.fromkeys(kind for _, summary in here for kind in summary.kinds("by_kind"))
    kinds = sorted(asked, key=lambda kind: _BY_DISTANCE.index(kind) if kind in _BY_DISTANCE else len(_BY_DISTANCE))
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
                xerr=_whisker(score),
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


def _ripple(figure: Figure, axes: Axes, here: Sequence[tuple[str, Summary]]) -> str:
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
    figure.set_size_inches(_WIDTH, 0.9 + len(bars) * max(0.42, 0.2 * lines + 0.1))
    _legend(figure, axes)
    return "Stacked bars of what became of dependent facts. " + "; ".join(words) + "."


def _lines(axes: Axes, lines: dict[str, _Points], what: str) -> list[str]:
    """A line for each label through (x, score, value), with whiskers where there is a score; and it in words."""
    words = []
    for index, (label, points) in enumerate(lines.items()):
        ordered = sorted(points, key=lambda point: point[0])
        colour, marker = _COLOURS[index % len(_COLOURS)], _MARKERS[index % len(_MARKERS)]
        shift = (index - (len(lines) - 1) / 2) * 0.004  # so that whiskers do not hide each other
        for x, score, value in ordered:
            error = _whisker(score) if score is not None else None
            axes.errorbar([x + shift], [value], yerr=error, fmt=marker, color=colour, markersize=5, elinewidth=1.3)
        axes.plot(
            [x + shift for x, _, _ in ordered],
            [value for _, _, value in ordered],
            color=colour,
            marker=marker,
            markersize=5,
            linewidth=1.2,
            linestyle=_LINES[index % len(_LINES)],
            label=label,
        )
        values = ", ".join(
            f"{x:g}: {value:.3f}" if score is None else f"{x:g}: {share(score, 3)}" for x, score, value in ordered
        )
        words.append(f"{label}, {what}, {values}")
    return words


def _same_settings(here: Iterable[Summary]) -> Iterator[tuple[str, list[Summary]]]:
    """Every method with its settings that was run in two worlds or more, by its label."""
    groups: dict[str, list[Summary]] = {}
    for summary in here:
        asked = [summary.row["edge"], summary.row["num_edits"]]
        key = as_json([summary.family, summary.settings, summary.precision, *asked])
        groups.setdefault(key, []).append(summary)
    several = [group for group in groups.values() if len({summary.world for summary in group}) > 1]
    families = [group[0].family for group in several]
    for group in several:
        label = group[0].family if families.count(group[0].family) == 1 else group[0].method
        yield label, group


def _correlation(figure: Figure, axes: Axes, here: Sequence[Summary]) -> str:
    """How often the partner fact follows the edit, against how often the two agree in the world."""
    lines: dict[str, _Points] = {}
    worlds = [s for s in here if s.row["world"].get("correlation") is not None and "partner" in s.kinds("ripple")]
    for label, group in _same_settings(worlds):
        for summary in group:
            score = outcome_share(summary.kinds("ripple")["partner"], "followed")
            if score is not None:
                strength = float(summary.row["world"]["correlation"])
                lines.setdefault(label, []).append((strength, score, float(score["value"])))
    lines = {label: points for label, points in lines.items() if len({x for x, _, _ in points}) > 1}
    if not lines:
        return ""
    words = _lines(axes, lines, "followed at correlation")
    axes.set_xticks(sorted({x for points in lines.values() for x, _, _ in points}))
    axes.set_xlabel("correlation of the two relations in the world")
    axes.set_ylabel("partner fact followed")
    axes.set_ylim(-0.03, 1.03)
    _legend(figure, axes)
    return "Lines with 95% intervals. " + "; ".join(words) + "."


def _recall(figure: Figure, axes: Axes, here: Sequence[Summary]) -> str:
    """What is left after the edit, against what the model knew before: a point for each model."""
    lines: dict[str, _Points] = {}
    for label, group in _same_settings(here):
        for summary in group:
            by_model: dict[str, list[tuple[float, float]]] = {}
            for row in summary.rows:
                known, score = recall_of(row), (row.get("scores") or {}).get("collateral_accuracy")
                if known is not None and score is not None and score["value"] is not None:
                    by_model.setdefault(model_of(row), []).append((known, float(score["value"])))
            points: _Points = [
                (own[0][0], None, sum(value for _, value in own) / len(own)) for own in by_model.values()
            ]
            lines.setdefault(label, []).extend(points)
    reached = [x for points in lines.values() for x, _, _ in points]
    if not reached or max(reached) - min(reached) < 0.02:  # nothing to be learned from models that all know everything
        return ""
    words = []
    for index, (label, points) in enumerate(lines.items()):
        colour, marker = _COLOURS[index % len(_COLOURS)], _MARKERS[index % len(_MARKERS)]
        axes.plot(
            [x for x, _, _ in points],
            [value for _, _, value in points],
            color=colour,
            marker=marker,
            markersize=5,
            linestyle="",
            alpha=0.85,
            label=label,
        )
        words.append(f"{label}, " + ", ".join(f"{x:.3f}: {value:.3f}" for x, _, value in sorted(points)))
    axes.set_xlabel("recall before the edit")
    axes.set_ylabel("collateral accuracy")
    low = min(0.9, math.floor(10 * min(y for points in lines.values() for _, _, y in points)) / 10)
    axes.set_ylim(low - 0.03 * (1 - low), 1 + 0.03 * (1 - low))
    axes.locator_params(nbins=5)
    _legend(figure, axes)
    return "Scatter plot, a point for each model and method: recall before, and what is left. " + "; ".join(words) + "."


def _cost(
    figure: Figure,
    axes: Axes,
    here: Sequence[Summary],
    chosen: Sequence[tuple[str, Summary]],
    everywhere: Sequence[Summary],
    look: Look,
) -> str:
    labels = {id(summary): label for label, summary in chosen}
    words = []
    for summary in here:
        cost, good, label = summary.seconds or {}, quality(summary), labels.get(id(summary))
        if label is None:
            colour, marker = look.get(summary.family, (_INK, "."))
            axes.plot(cost["value"], good, marker=marker, markersize=3.2, color=colour, alpha=0.45, linestyle="")
            continue
        colour, marker = look[label]
        axes.errorbar(
            [cost["value"]],
            [good],
            xerr=_whisker(cost),
            fmt=marker,
            color=colour,
            markersize=6.5,
            elinewidth=1.4,
            label=label,
        )
        words.append(f"{summary.method} {duration(cost['value'])} seconds per edit, quality {good:.3f}")
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
    _legend(figure, axes)
    return "Scatter plot with the range of seconds over cells. " + "; ".join(words) + "."


def _pdf(figure: Figure) -> bytes:
    """The figure as PDF without a date, its text as text."""
    buffer = io.BytesIO()
    with matplotlib.rc_context({"pdf.fonttype": 42}):
        figure.savefig(buffer, format="pdf", metadata=dict.fromkeys(("CreationDate", "Creator", "Producer")))
    return buffer.getvalue()


def _svg(figure: Figure, name: str, alt: str) -> str:
    """The figure as SVG that takes its text colour and font from the page; its ids begin with the name."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"\n\s*<!--.*?-->", "", text, flags=re.DOTALL)
    # Hundredths of a point in attributes, and not in words: no eye sees more.
    text = re.sub(r'"[^"<>]*"', lambda match: re.sub(r"(\d\.\d\d)\d+", r"\1", match[0]), text)
    text = text.replace(_INK, "currentColor")
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, sans-serif", text)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    return text.replace("<svg ", f'<svg role="img" aria-label="{escape(alt)}" ', 1).strip() + "\n"


def standalone(svg: str) -> str:
    """The same SVG as a file of its own, whose text is dark on light and light on dark."""
    style = "<style>svg{color:#1c1e21}@media (prefers-color-scheme:dark){svg{color:#e4e6e8}}</style>"
    return svg.replace(">", f">{style}", 1)
