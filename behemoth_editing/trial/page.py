"""A trial's verdicts as tables in Markdown and a figure. Runs no model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.style
import numpy as np
from matplotlib.figure import Figure

from behemoth_editing.report.style import COLOURS, MARKERS, STYLE, as_svg, legend, standalone
from behemoth_editing.report.text import interval_or_dash, markdown_row
from behemoth_editing.scoring.intervals import Interval
from behemoth_editing.sweep.rows import put_file
from behemoth_editing.trial.edits import TITLES, EditVerdict, edit_verdicts
from behemoth_editing.trial.judging import ODD, TOLD, UNTOLD
from behemoth_editing.trial.metrics import METRICS, WAYS
from behemoth_editing.trial.verdicts import (
    LEAST_KEPT,
    LEAST_KNOWN,
    Judged,
    Verdict,
    by_family,
    judged,
    left_by,
    verdicts,
)

PAGE, FIGURE = "trial.md", "trial.svg"
_EDGES = (-0.5, 1.5)  # of the figure; what lies beyond is drawn there


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
    """Tables: telling told from not told, what misleads, what is said of unlearned models, and what those have left."""
    return "\n".join([*_apart(found, worlds), *_odd(found, worlds), *_unlearned(found, worlds), *_left(worlds)]) + "\n"


def _apart(found: Sequence[Verdict], worlds: Sequence[Judged]) -> list[str]:
    families = by_family(worlds)
    lines = [
        f"{len(worlds)} worlds, in each a model that was told the facts and one that was not. What each metric says of "
        "both, on average; how well it tells told from untold models of any two worlds (AUC; 1: always, 0.5: by "
        "chance), and in how many worlds it says more of the told one; and AUC within each family:",
        "",
        markdown_row(["metric", "untold", "told", "AUC", "own world", *families]),
        markdown_row(["---"] * (len(families) + 5)),
    ]
    for one in found:
        numbers = [f"{one.untold:.2f}", f"{one.told:.2f}", interval_or_dash(one.apart), interval_or_dash(one.own)]
        lines.append(
            markdown_row([METRICS[one.name].title, *numbers, *(f"{one.by_family[name]:.2f}" for name in families)])
        )
    inferred = [
        f"{name} {np.mean([one.inferable for one in some]):.2f} and {np.mean([one.untold_bits for one in some]):.2f}"
        for name, some in families.items()
    ]
    return [
        *lines,
        "",
        "Bits a fact that a perfect reasoner infers from other facts, and that can be read in the untold models: "
        f"{', '.join(inferred)}.",
        "",
    ]


def _odd(found: Sequence[Verdict], worlds: Sequence[Judged]) -> list[str]:
    changes = [(model, change) for model in (TOLD, UNTOLD) for change in ODD]
    known = sum(world.known for world in worlds)
    lines = [
        "What it says of models whose knowledge is known, on the scale of each world, where the untold model is at 0 "
        f"and the told one at 1, in the {known} worlds whose told model says at least {LEAST_KNOWN:.0%} of the facts. "
        "First of told ones, which should stay at 1 but where noise removed what they knew, then of untold ones, which "
        "should stay at 0. Means over worlds; the last column is the widest half of a 95% interval among them:",
        "",
        markdown_row(["metric", *(f"{model}, {change}" for model, change in changes), "within"]),
        markdown_row(["---"] * (len(changes) + 2)),
    ]
    for one in found:
        said = [f"{one.odd[key].value:.2f}" if key in one.odd else "-" for key in changes]
        lines.append(markdown_row([METRICS[one.name].title, *said, _widest(list(one.odd.values()))]))
    return [*lines, ""]


def _unlearned(found: Sequence[Verdict], worlds: Sequence[Judged]) -> list[str]:
    counts = Counter(key[1] for world in worlds if world.known for key in world.unlearned)
    methods = ", ".join(f"{name} {count}" for name, count in counts.items())
    lines = [
        f"In the same worlds, {sum(counts.values())} told models that were unlearned and kept at least "
        f"{LEAST_KEPT:.0%} of what was to stay ({methods}). What it says of them, and of untold models after "
        "relearning, on the same scale; how many of them it takes for untold ones; how robust it is there to "
        "relearning and to rounding (1: what it calls gone does not come back faster than it is learned, or at all); "
        "and how it ranks them within a world, against the bits that can be brought back (Spearman, all worlds):",
        "",
        markdown_row(["metric", "unlearned", "relearned untold", "gone", "relearning", "rounding", "agreement"]),
        markdown_row(["---"] * 7),
    ]
    for one in found:
        before = map(interval_or_dash, (one.unlearned, one.gain))
        after = map(interval_or_dash, (one.relearn, one.rounding, one.agreement))
        gone = "-" if one.gain is None else str(one.gone)
        lines.append(markdown_row([METRICS[one.name].title, *before, gone, *after]))
    return [*lines, ""]


def _left(worlds: Sequence[Judged]) -> list[str]:
    left, families = left_by(worlds), list(by_family(worlds))
    lines = [
        "Bits a fact that are found beyond what the same way finds in the untold model, in told models (`nothing`) and "
        "after each method, those among them that ruined their model as well:",
        "",
        markdown_row(["method", *(f"{family}, {words}" for family in families for words in WAYS.values())]),
        markdown_row(["---"] * (1 + len(families) * len(WAYS))),
    ]
    for method in dict.fromkeys(method for method, _ in left):
        cells = [interval_or_dash(left[method, family][way]) for family in families for way in WAYS]
        lines.append(markdown_row([f"`{method}`", *cells]))
    return lines


def edits_markdown(found: Sequence[EditVerdict], num_worlds: int) -> str:
    """A table: what each metric of editing says of every sort of change, over what the model generates there."""
    changes = list(dict.fromkeys(change for one in found for change in one.said))
    lines = [
        f"Edits in {num_worlds} worlds. Each cell is what the metric says, and behind the stroke the share of the same "
        "prompts after which the model generates the whole right answer; the last column is the widest half of a 95% "
        "interval among them:",
        "",
        markdown_row(["metric", *changes, "within"]),
        markdown_row(["---"] * (len(changes) + 2)),
    ]
    for one in found:
        pairs = [(one.said[of], one.generated[of]) if of in one.said else None for of in changes]
        cells = ["-" if pair is None else f"{pair[0].value:.2f} / {pair[1].value:.2f}" for pair in pairs]
        within = _widest([*one.said.values(), *one.generated.values()])
        lines.append(markdown_row([TITLES[one.name], *cells, within]))
    return "\n".join(lines) + "\n"


def figure(found: Sequence[Verdict], worlds: Sequence[Judged]) -> str:
    """An SVG file: on the scale from untold to told, where each metric has each sort of model."""
    sorts = {"unlearned": {one.name: one.unlearned.value for one in found if one.unlearned}}
    for model, change in [*((TOLD, change) for change in ODD), (UNTOLD, "elsewhere")]:
        sorts[f"{model}, {change}"] = {
            one.name: one.odd[model, change].value for one in found if (model, change) in one.odd
        }
    with matplotlib.style.context(["default", STYLE]):
        drawn = Figure(figsize=(7.0, 0.3 * len(found) + 1.0), layout="constrained")
        axes = drawn.add_subplot()
        for number, (label, said) in enumerate(sorts.items()):
            heights = [place for place, one in enumerate(found) if one.name in said]
            axes.plot(
                [max(_EDGES[0], min(_EDGES[1], said[found[place].name])) for place in heights],
                heights,
                linestyle="none",
                marker=MARKERS[number],
                markersize=5,
                color=COLOURS[number % len(COLOURS)],
                label=label,
            )
        for end in (0, 1):
            axes.axvline(end, linewidth=1, color=COLOURS[0], alpha=0.4)
        axes.set_yticks(range(len(found)), [METRICS[one.name].title for one in found])
        axes.set_ylim(len(found) - 0.5, -0.5)
        axes.set_xlim(_EDGES[0] - 0.05, _EDGES[1] + 0.05)
        axes.set_xlabel("0: as of the untold model, 1: as of the told one;\nwhat lies further out is at the edge")
        legend(drawn, axes)
        words = []
        for one in found:
            places = [f"{label} {of[one.name]:.2f}" for label, of in sorts.items() if one.name in of]
            words.append(f"{METRICS[one.name].title}: {', '.join(places)}")
        svg = as_svg(drawn, "trial", f"What each metric says of models of {len(worlds)} worlds. {'; '.join(words)}.")
    return standalone(svg)


def _widest(found: Sequence[Interval]) -> str:
    """The larger half of the widest of these intervals."""
    halves = [max(one.value - one.low, one.high - one.value) for one in found]
    return f"± {max(halves):.2f}" if halves else "-"
