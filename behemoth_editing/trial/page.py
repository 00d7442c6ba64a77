"""A trial's verdicts as tables in Markdown and a figure. Runs no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.style
from matplotlib.figure import Figure

from behemoth_editing.report.style import COLOURS, MARKERS, STYLE, as_svg, legend, standalone
from behemoth_editing.scoring.intervals import Interval
from behemoth_editing.sweep.rows import put_file
from behemoth_editing.trial.edits import TITLES, EditVerdict, edit_verdicts
from behemoth_editing.trial.judging import ODD, TOLD, UNTOLD
from behemoth_editing.trial.metrics import METRICS, WAYS
from behemoth_editing.trial.verdicts import Judged, Verdict, judged, left_by, unlearned, verdicts

PAGE, FIGURE = "trial.md", "trial.svg"


def write_trial(
    worlds: Sequence[Mapping[str, Any]], edited: Sequence[Mapping[str, Any]], output: Path, note: str = ""
) -> str:
    """The folder holds the tables and the figure of what was read in these worlds; returns the tables.

    `edited` is what was read for metrics of editing, `note` is said below the tables, such as time and machine.
    Raises: ValueError for fewer than 2 worlds, or none that was edited.
    """
    found = [judged(world) for world in worlds]
    told = verdicts(found)
    told_of_edits = edit_verdicts([(world["name"], world["rows"]) for world in edited])
    text = "\n".join([markdown(told, found), edits_markdown(told_of_edits, len(edited)), note]).rstrip("\n") + "\n"
    put_file(output / PAGE, text.encode("utf-8"))
    put_file(output / FIGURE, figure(told, found).encode("utf-8"))
    return text


def markdown(found: Sequence[Verdict], worlds: Sequence[Judged]) -> str:
    """Three tables: telling told from not told, what misleads, and what is said of unlearned models."""
    families = list(found[0].by_family)
    lines = [
        f"{len(worlds)} worlds, in each a model that was told the facts and one that was not. How well each metric "
        "tells them apart (AUC; 1: always, 0.5: by chance), over all worlds and in those of one family:",
        "",
        _row(["metric", "all", *families]),
        _row(["---"] * (len(families) + 2)),
    ]
    lines += [
        _row([METRICS[one.name].title, _interval(one.apart), *(f"{one.by_family[f].value:.2f}" for f in families)])
        for one in found
    ]
    changes = [(model, change) for model in (TOLD, UNTOLD) for change in ODD]
    lines += [
        "",
        "What it says of models whose knowledge is known, on a scale where untold models are at 0 and told ones at 1: "
        "first of told ones, which should stay at 1 but where noise removed what they knew, then of untold ones, which "
        "should stay at 0:",
        "",
        _row(["metric", *(f"{model}, {change}" for model, change in changes)]),
        _row(["---"] * (len(changes) + 1)),
    ]
    for one in found:
        said = [f"{one.odd[key]:.2f}" if key in one.odd else "-" for key in changes]
        lines.append(_row([METRICS[one.name].title, *said]))
    methods = list(dict.fromkeys(key[1] for world in worlds for key in unlearned(world)))
    count = sum(len(unlearned(world)) for world in worlds)
    lines += [
        "",
        f"{count} models that were told and then unlearned ({', '.join(methods)}) and kept enough of the rest. What it "
        "says of them on the same scale; how robust it is to relearning and to rounding (1: what it calls gone does "
        "not come back); how its ranking of them agrees with the bits that can be brought back (Spearman):",
        "",
        _row(["metric", "unlearned", "relearning", "rounding", "agreement"]),
        _row(["---"] * 5),
    ]
    lines += [
        _row([METRICS[one.name].title, *map(_interval, (one.unlearned, one.relearn, one.rounding, one.agreement))])
        for one in found
    ]
    left = left_by(worlds)
    lines += [
        "",
        "Bits a fact that are found beyond what the same way finds in the untold model, in told models (`nothing`) and "
        "after each method:",
        "",
        _row(["method", *(f"{family}, {words}" for family in families for words in WAYS.values())]),
        _row(["---"] * (1 + len(families) * len(WAYS))),
    ]
    for method in dict.fromkeys(method for method, _ in left):
        cells = [_interval(left[method, family][way]) for family in families for way in WAYS]
        lines.append(_row([f"`{method}`", *cells]))
    return "\n".join(lines) + "\n"


def edits_markdown(found: Sequence[EditVerdict], num_worlds: int) -> str:
    """A table: what each metric of editing says of every sort of change, over what the model generates there."""
    changes = list(dict.fromkeys(change for one in found for change in one.means))
    lines = [
        f"Edits in {num_worlds} worlds. Each cell is what the metric says, and behind the stroke the share of the same "
        "prompts after which the model generates the whole right answer. Passed: what the metric says of edits for "
        "which it generates none of them. Told apart: AUC in telling edits of which it generates all from those:",
        "",
        _row(["metric", *changes, "passed", "told apart"]),
        _row(["---"] * (len(changes) + 3)),
    ]
    for one in found:
        cells = ["{:.2f} / {:.2f}".format(*one.means[of]) if of in one.means else "-" for of in changes]
        apart = "-" if one.apart is None else f"{one.apart:.2f}"
        lines.append(_row([TITLES[one.name], *cells, _interval(one.passed), apart]))
    return "\n".join(lines) + "\n"


def figure(found: Sequence[Verdict], worlds: Sequence[Judged]) -> str:
    """An SVG file: on each metric's own scale from untold to told, where each sort of model is said to be."""
    sorts = {
        "unlearned": {one.name: one.unlearned.value for one in found if one.unlearned},
        **{f"{TOLD}, {change}": {one.name: one.odd[TOLD, change] for one in found if one.odd} for change in ODD},
        f"{UNTOLD}, elsewhere": {one.name: one.odd[UNTOLD, "elsewhere"] for one in found if one.odd},
    }
    with matplotlib.style.context(["default", STYLE]):
        drawn = Figure(figsize=(7.0, 0.3 * len(found) + 1.0), layout="constrained")
        axes = drawn.add_subplot()
        for number, (label, said) in enumerate(sorts.items()):
            heights = [place for place, one in enumerate(found) if one.name in said]
            axes.plot(
                [max(-0.5, min(1.5, said[found[place].name])) for place in heights],
                heights,
                linestyle="none",
                marker=MARKERS[number],
                markersize=5,
                color=COLOURS[number % len(COLOURS)],
                label=label,
            )
        axes.axvline(0, linewidth=1, color=COLOURS[0], alpha=0.4)
        axes.axvline(1, linewidth=1, color=COLOURS[0], alpha=0.4)
        axes.set_yticks(range(len(found)), [METRICS[one.name].title for one in found])
        axes.set_ylim(len(found) - 0.5, -0.5)
        axes.set_xlim(-0.55, 1.55)
        axes.set_xlabel("0: as of models that were never told, 1: as of models that were")
        legend(drawn, axes)
        words = "; ".join(
            f"{METRICS[one.name].title}: "
            + ", ".join(f"{label} {said[one.name]:.2f}" for label, said in sorts.items() if one.name in said)
            for one in found
        )
        svg = as_svg(drawn, "trial", f"What each metric says of models of {len(worlds)} worlds. {words}.")
    return standalone(svg)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _interval(found: Interval | None) -> str:
    return "-" if found is None else f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"
