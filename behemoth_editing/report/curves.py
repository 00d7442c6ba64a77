"""Figures of a score against a setting, a world or a model: ranks, layers, correlation, recall."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from behemoth_editing.report.equal import kept_against_left
from behemoth_editing.report.evidence import layers_in_words, rank_in_words, rank_series
from behemoth_editing.report.pooling import draw_settings
from behemoth_editing.report.stages import stages_in
from behemoth_editing.report.style import COLOURS, INK, LINES, MARKERS, WIDTH, Points, legend, whisker
from behemoth_editing.report.summaries import Summary, as_json, outcome_share, recall_of
from behemoth_editing.report.text import share
from behemoth_editing.sweep.identity import model_of
from behemoth_editing.sweep.looks import EQUAL


def draw_ranks(figure: Figure, here: Sequence[Summary]) -> str:
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
            colour = COLOURS[(methods.index(one.method) + 2 * modules.index(one.where)) % len(COLOURS)]
            line = LINES[methods.index(one.method) % len(LINES)]
            xs = [places[rank] for rank in scores]
            label = f"{one.method} {one.where if several else one.settings.get('modules', '')}".strip()
            axes.plot(
                xs,
                [score["value"] for score in scores.values()],
                color=colour,
                linestyle=line,
                marker=MARKERS[modules.index(one.where) % len(MARKERS)],
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
    panels[0].axhline(0.95, color=INK, linewidth=0.8, linestyle=(0, (2, 2)), alpha=0.6)
    panels[1].set_xticks(range(len(ranks)), [rank_in_words(rank) for rank in ranks])
    panels[1].set_xlabel("rank of the change of each matrix")
    figure.set_size_inches(WIDTH, 4.6)
    legend(figure, panels[0])
    return "Lines with 95% bands. " + "; ".join(words) + "."


def draw_layers(figure: Figure, here: Sequence[Summary]) -> str:
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
    figure.set_size_inches(WIDTH, 1.3 + 2 * max(0.85, 0.28 * len(rows)))
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


def _lines(axes: Axes, lines: dict[str, Points], what: str) -> list[str]:
    """A line for each label through (x, score, value), with whiskers where there is a score; and it in words."""
    words = []
    for index, (label, points) in enumerate(lines.items()):
        ordered = sorted(points, key=lambda point: point[0])
        colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
        shift = (index - (len(lines) - 1) / 2) * 0.004  # so that whiskers do not hide each other
        for x, score, value in ordered:
            error = whisker(score) if score is not None else None
            axes.errorbar([x + shift], [value], yerr=error, fmt=marker, color=colour, markersize=5, elinewidth=1.3)
        axes.plot(
            [x + shift for x, _, _ in ordered],
            [value for _, _, value in ordered],
            color=colour,
            marker=marker,
            markersize=5,
            linewidth=1.2,
            linestyle=LINES[index % len(LINES)],
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


def draw_correlation(figure: Figure, axes: Axes, here: Sequence[Summary]) -> str:
    """How often the partner fact follows the edit, against how often the two agree in the world."""
    lines: dict[str, Points] = {}
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
    legend(figure, axes)
    return "Lines with 95% intervals. " + "; ".join(words) + "."


def bits_per_parameter(summary: Summary) -> float | None:
    """Bits of the world for each parameter of the models, the input embedding left out; None where rows do not say."""
    load = summary.row.get("load")
    return load["bits"] / load["parameters"] if load else None


def alike_but_for_load(here: Sequence[Summary]) -> list[tuple[str, list[Summary]]]:
    """The summaries of each method with its settings and each kind of edits, with what a title says of them."""
    groups: dict[str, list[Summary]] = {}
    for summary in here:
        asked = {name: summary.row[name] for name in ("structure", "edge", "relation", "num_edits")}
        groups.setdefault(as_json([summary.method, asked, draw_settings(summary.row)]), []).append(summary)
    methods = [group[0].method for group in groups.values()]
    return [
        (
            group[0].method
            if methods.count(group[0].method) == 1
            else f"{group[0].method}, {group[0].row['structure']}, {group[0].row['num_edits']} edits",
            group,
        )
        for group in groups.values()
    ]


def draw_load(figure: Figure, here: Sequence[Summary]) -> str:
    """Success and what is left against the bits that each parameter holds: a line for each width and training.

    All are of one method with its settings and of the same kind of edits; there is a figure only where models of two
    widths or more were edited. Trainings are told apart by how often a fact was read.
    """
    lines: dict[tuple[int, int | None], list[tuple[float, Summary]]] = {}
    for summary in here:
        bits = bits_per_parameter(summary)
        if bits is not None:
            load = summary.row["load"]
            told = load.get("sentences_per_fact")
            lines.setdefault((load["width"], told and round(told)), []).append((bits, summary))
    if len({width for width, _ in lines}) < 2:
        return ""
    several = len({told for _, told in lines}) > 1
    names = {
        line: f"width {line[0]}" + (f", {line[1]} sentences a fact" if several and line[1] else "") for line in lines
    }
    words = []
    panels = figure.subplots(2, 1, sharex=True)
    for axes, name in zip(panels, ("edit_success", "collateral_accuracy"), strict=True):
        for index, (line, points) in enumerate(sorted(lines.items(), key=lambda item: (item[0][0], item[0][1] or 0))):
            colour = COLOURS[index % len(COLOURS)]
            shown = [
                (load, score)
                for load, summary in sorted(points, key=lambda point: point[0])
                if (score := summary.score(name)) is not None
            ]
            xs = [load for load, _ in shown]
            axes.plot(
                xs,
                [score["value"] for _, score in shown],
                color=colour,
                linestyle=LINES[index % len(LINES)],
                marker=MARKERS[index % len(MARKERS)],
                markersize=5,
                linewidth=1.5,
                label=names[line],
            )
            for load, score in shown:
                axes.errorbar([load], [score["value"]], yerr=whisker(score), fmt="none", color=colour, elinewidth=1.3)
            values = ", ".join(f"{load:.2g}: {share(score, 3)}" for load, score in shown)
            words.append(f"{names[line]}, {name.replace('_', ' ')} at bits per parameter, {values}")
        axes.set_ylabel(name.replace("_", " "))
        axes.set_ylim(min(axes.get_ylim()[0], 0.9), 1.02)
        axes.locator_params(axis="y", nbins=5)
    _logarithmic(figure, panels, "bits of the world per parameter")
    return "Lines with 95% intervals. " + "; ".join(words) + "."


def draw_forgetting(figure: Figure, axes: Axes, chosen: Sequence[tuple[str, Summary]]) -> str:
    """What was kept of all that must stay, against the old answers left, while methods forgot: a line for each."""
    lines: dict[str, Points] = {}
    for label, summary in chosen:
        if any(row.get("looks") for row in summary.rows):
            points = kept_against_left(summary)
            several = summary.num_models > 1  # a look at one model says nothing of how others differ
            lines[label] = [(left, kept if several else None, float(kept["value"])) for left, kept in points]
    lines = {label: points for label, points in lines.items() if points}
    if not lines:
        return ""
    words = _lines(axes, lines, "kept where so many old answers were left")
    axes.axvline(EQUAL, color=INK, linewidth=0.8, linestyle=(0, (2, 2)), alpha=0.6)
    axes.set_xlim(1.02, -0.02)  # forgetting goes on to the right
    axes.set_ylim(min(axes.get_ylim()[0], 0.9), 1.02)
    axes.set_xlabel("old answers left")
    axes.set_ylabel("facts kept")
    legend(figure, axes)
    return "Lines, with 95% intervals over models where there are several. " + "; ".join(words) + "."


def _logarithmic(figure: Figure, panels: Sequence[Axes], label: str) -> None:
    """Two panels, one above the other, have one logarithmic axis with plain numbers, and a legend below them."""
    panels[1].set_xscale("log")
    panels[1].xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    panels[1].set_xlabel(label)
    figure.set_size_inches(WIDTH, 4.6)
    legend(figure, panels[0])


def draw_stages(figure: Figure, chosen: Sequence[tuple[str, Summary]]) -> str:
    """What is held of all edits so far, and kept of the rest, after so many of a sequence: a line for each method."""
    runs = {label: found for label, summary in chosen if (found := stages_in(summary))}
    if not runs:
        return ""
    words = []
    panels = figure.subplots(2, 1, sharex=True)
    for axes, name in zip(panels, ("edit_success", "collateral_accuracy"), strict=True):
        lines: dict[str, Points] = {}
        for label, found in runs.items():
            several = found[0].summary.num_models > 1  # one model says nothing of how others differ
            points = [(float(one.edits), one.scores.get(name)) for one in found]
            lines[label] = [
                (x, score if several else None, float(score["value"])) for x, score in points if score is not None
            ]
        words += _lines(axes, lines, f"{name.replace('_', ' ')} after so many edits")
        axes.set_ylabel("edits held" if name == "edit_success" else name.replace("_", " "))
        axes.set_ylim(min(axes.get_ylim()[0], 0.9), 1.02)
    _logarithmic(figure, panels, "edits made, one by one")
    return "Lines, with 95% intervals over models where there are several. " + "; ".join(words) + "."


def draw_recall(figure: Figure, axes: Axes, here: Sequence[Summary]) -> str:
    """What is left after the edit, against what the model knew before: a point for each model."""
    lines: dict[str, Points] = {}
    for label, group in _same_settings(here):
        for summary in group:
            by_model: dict[str, list[tuple[float, float]]] = {}
            for row in summary.rows:
                known, score = recall_of(row), (row.get("scores") or {}).get("collateral_accuracy")
                if known is not None and score is not None and score["value"] is not None:
                    by_model.setdefault(model_of(row), []).append((known, float(score["value"])))
            points: Points = [(own[0][0], None, sum(value for _, value in own) / len(own)) for own in by_model.values()]
            lines.setdefault(label, []).extend(points)
    reached = [x for points in lines.values() for x, _, _ in points]
    if not reached or max(reached) - min(reached) < 0.02:  # nothing to be learned from models that all know everything
        return ""
    words = []
    for index, (label, points) in enumerate(lines.items()):
        colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
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
    legend(figure, axes)
    return "Scatter plot, a point for each model and method: recall before, and what is left. " + "; ".join(words) + "."
