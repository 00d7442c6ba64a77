"""Rows of attacks: what is left in bits, pooled over models, as a table in Markdown and figures. Runs no model.

Axis letters: F facts of a row; T steps of an attack.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.style
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from behemoth_data.places import local_path
from behemoth_data.settings import check
from behemoth_editing.report.pooling import world_key
from behemoth_editing.report.style import COLOURS, INK, MARKERS, STYLE, as_svg, legend, standalone
from behemoth_editing.report.text import interval_or_dash, markdown_row
from behemoth_editing.scoring.intervals import Interval, estimate_mean
from behemoth_editing.sweep.attacking import TRIALS
from behemoth_editing.sweep.identity import model_of
from behemoth_editing.sweep.rows import Row, put_file, read_rows, settled

Floats = NDArray[np.float64]

NEVER_TOLD = "omit"  # the method whose models every other is compared with
TABLE = "attacks.md"

_LOWEST = -1.0  # of a figure's axis, as far as it is not lower: little is read below 0


@dataclasses.dataclass(frozen=True)
class Left:
    """What is left of a fact at one step, in bits but for the share of right guesses."""

    step: str
    said: Interval  # by the probabilities as they are
    bits: Interval  # that can be read by who knows some other edited facts
    reasoner: Interval  # the same less what a perfect reasoner infers from other facts
    right: Interval
    never: Interval | None  # bits of the models that were never told, under the same attack
    beyond: Interval | None  # the difference of the two, paired by model and draw


_Tables = Mapping[str, Sequence[Floats]]  # what each number of Left is a mean of, one table [T, F] a row


@dataclasses.dataclass(frozen=True)
class Curve:
    """One attack on one method's models in one place, pooled over models and draws."""

    place: str
    method: str
    attack: str
    axis: str
    rows: tuple[Row, ...]
    looks: tuple[Left, ...]
    strongest: Left  # the step that has the most left, chosen on other facts than it is told of

    @property
    def num_models(self) -> int:
        """Models behind it."""
        return len({model_of(row) for row in self.rows})


def load_attacks(folder: Path) -> list[Row]:
    """The rows of a folder's attacks.jsonl, one for each trial. Raises: ValueError for a folder without them."""
    path = local_path("results", folder) / TRIALS
    check(path.is_file(), f"results: {folder} holds no {TRIALS} (`behemoth attack` writes one)")
    return settled(read_rows(path))


def curves(rows: Iterable[Row]) -> list[Curve]:
    """One for every place, method and attack with their settings, of the rows that found something.

    Raises: ValueError for rows that ask other facts of the same draw than those of models that were never told.
    """
    found = [row for row in rows if row["error"] is None and row["refused"] is None]
    places = _labels(found, _place, lambda row: f"{row['structure']}, {row['scenario']}", _place_settings)
    methods = _labels(found, _method, lambda row: row["method"], lambda row: row["settings"])
    attacks = _labels(found, _attack, lambda row: row["attack"], lambda row: row["attack_settings"])
    never = {(_place(row), _attack(row), _draw(row)): row for row in found if row["method"] == NEVER_TOLD}
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in found:
        groups.setdefault((_place(row), _method(row), _attack(row)), []).append(row)
    return [
        _curve(places[place], methods[method], attacks[attack], group, never)
        for (place, method, attack), group in groups.items()
    ]


def _curve(
    place: str, method: str, attack: str, rows: Sequence[Row], never: Mapping[tuple[str, str, str], Row]
) -> Curve:
    rows = sorted(rows, key=_draw)  # alike for every method
    beside = [never.get((_place(row), _attack(row), _draw(row))) for row in rows]
    for row, other in zip(rows, beside, strict=True):
        check(
            other is None or other["heads"] == row["heads"],
            f"rows must ask the same facts as those of {NEVER_TOLD}, got others in {row['cell']}",
        )
    models = [model_of(row) for row in rows]
    tables = {
        "said": [_numbers(row, "said") for row in rows],
        "bits": [_numbers(row, "bits") for row in rows],
        "reasoner": [_numbers(row, "bits") - np.array(row["inferable"], np.float64) for row in rows],
        "right": [_numbers(row, "right") for row in rows],
    }
    others = [row for row in beside if row is not None]
    if len(others) == len(rows):
        tables["never"] = [_numbers(row, "bits") for row in others]
        tables["beyond"] = [a - b for a, b in zip(tables["bits"], tables["never"], strict=True)]
    steps = [one["label"] or f"{one['step']:g}" for one in rows[0]["left"]]
    looks = tuple(_left(step, tables, (number, number), models) for number, step in enumerate(steps))
    # Each half of the facts at the step that is best on the other half: to choose a step by the numbers that it is
    # then told by would find something in noise.
    first, second = (
        int(np.mean([_half(table, other).mean(axis=1) for table in tables["bits"]], axis=0).argmax())
        for other in (1, 0)
    )
    named = " or ".join(dict.fromkeys((steps[first], steps[second])))
    strongest = _left(named, tables, (first, second), models)
    return Curve(place, method, attack, rows[0]["axis"], tuple(rows), looks, strongest)


def _numbers(row: Row, name: str) -> Floats:
    """One number of the row for each step and fact [T, F]."""
    return np.array([one[name] for one in row["left"]], np.float64)


def _left(step: str, tables: _Tables, at: tuple[int, int], models: Sequence[str]) -> Left:
    """What is left at a step, of every second fact from the first on, and at another of the rest."""
    found = {}
    for name, of_rows in tables.items():
        values = [float(np.concatenate([_half(table, half)[at[half]] for half in (0, 1)]).mean()) for table in of_rows]
        bounds = (0.0, 1.0) if name == "right" else (-math.inf, math.inf)
        found[name] = estimate_mean(values, models, *bounds).at()
    return Left(
        step,
        *(found[name] for name in ("said", "bits", "reasoner", "right")),
        *(found.get(name) for name in ("never", "beyond")),
    )


def _half(table: Floats, half: int) -> Floats:
    """Every second fact of [T, F], from the first or the second on; of a single fact that one."""
    return table if table.shape[1] == 1 else table[:, half::2]


# What tells rows apart


def _place(row: Row) -> str:
    return _key([row["structure"], row["edge"], row["relation"], row["scenario"], row["num_edits"], world_key(row)])


def _place_settings(row: Row) -> dict[str, Any]:
    asked = {name: row[name] for name in ("edge", "relation", "num_edits")}
    return {**asked, **json.loads(world_key(row))}


def _method(row: Row) -> str:
    return _key([row["method"], row["settings"]])


def _attack(row: Row) -> str:
    return _key([row["attack"], row["attack_settings"]])


def _draw(row: Row) -> str:
    return _key([model_of(row), row["edits"]])


def _key(parts: Sequence[Any]) -> str:
    return json.dumps(parts, sort_keys=True)


def _labels(
    rows: Sequence[Row],
    key: Callable[[Row], str],
    name: Callable[[Row], str],
    settings: Callable[[Row], Mapping[str, Any]],
) -> dict[str, str]:
    """A name for each key: what the rows of several keys with one name do not share is named behind it."""
    first = {key(row): row for row in reversed(rows)}
    named: dict[str, list[str]] = {}
    for one, row in first.items():
        named.setdefault(name(row), []).append(one)
    found = {}
    for label, keys in named.items():
        told = {one: settings(first[one]) for one in keys}
        fields = dict.fromkeys(field for one in keys for field in told[one])
        differ = [field for field in fields if len({json.dumps(told[one].get(field)) for one in keys}) > 1]
        for one in keys:
            words = ", ".join(f"{field}={_word(told[one].get(field))}" for field in differ)
            found[one] = f"{label} ({words})" if words else label
    return found


def _word(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else "none" if value is None else str(value)


# Tables


def markdown(rows: Sequence[Row]) -> str:
    """Two tables for every place: what is left beyond the never told under each attack, and what that is made of."""
    found = curves(rows)
    lines: list[str] = []
    for place, here in itertools.groupby(sorted(found, key=lambda curve: curve.place), key=lambda curve: curve.place):
        lines += _of_place(place, list(here))
    return "\n".join([*lines, *_without_numbers(rows)]) + "\n"


def _without_numbers(rows: Sequence[Row]) -> list[str]:
    """A line for every attack that could not be tried or failed: on what, and why, in the words of the first."""
    reasons: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row["error"] is not None or row["refused"] is not None:
            reasons.setdefault((row["attack"], "failed" if row["error"] else "could not be tried"), []).append(row)
    lines = []
    for (attack, what), here in reasons.items():
        methods = ", ".join(f"`{name}`" for name in dict.fromkeys(row["method"] for row in here))
        said = here[0]["error"] or here[0]["refused"]
        lines.append(f"- `{attack}` {what} {len(here)} times, on {methods}: {said}")
    return lines


def _of_place(place: str, here: Sequence[Curve]) -> list[str]:
    methods = list(dict.fromkeys(curve.method for curve in here))
    attacks = list(dict.fromkeys(curve.attack for curve in here))
    by_name = {(curve.method, curve.attack): curve for curve in here}
    most = max(curve.num_models for curve in here)
    facts = {len(row["heads"]) for curve in here for row in curve.rows}
    candidates = max(int(row["candidates"]) for curve in here for row in curve.rows)
    inferred = float(np.mean([np.mean(row["inferable"]) for curve in here for row in curve.rows]))
    count = f"{min(facts)} to {max(facts)}" if len(facts) > 1 else f"{max(facts)}"
    lines = [
        f"### {place}",
        "",
        f"{most} models, {count} facts asked in each. An object is {math.log2(candidates):.2f} bits, of which a "
        f"perfect reasoner infers {inferred:.2f} from other facts. Bits a fact beyond a model that was never told, "
        "under the same attack:",
        "",
        markdown_row(["method", *attacks]),
        markdown_row(["---"] * (len(attacks) + 1)),
    ]
    for method in methods:
        if method != NEVER_TOLD:
            cells = [interval_or_dash(c.strongest.beyond) if (c := by_name.get((method, a))) else "-" for a in attacks]
            lines.append(markdown_row([f"`{method}`", *cells]))
    header = ["method", "attack", "at", "bits left", "never told", "beyond reasoner", "as said", "right"]
    lines += ["", markdown_row(header), markdown_row(["---"] * len(header))]
    for method, attack in itertools.product(methods, attacks):
        curve = by_name.get((method, attack))
        if curve is not None:
            best = curve.strongest
            numbers = [interval_or_dash(one) for one in (best.bits, best.never, best.reasoner, best.said, best.right)]
            lines.append(markdown_row([f"`{method}`", f"`{attack}`", best.step, *numbers]))
    return [*lines, ""]


# Figures


def figures(rows: Sequence[Row]) -> dict[str, bytes]:
    """An SVG file for every place, by its name: bits left over the steps of each attack, and of who was never told."""
    found = curves(rows)
    names = list(dict.fromkeys(curve.method for curve in found if curve.method != NEVER_TOLD))
    look = {name: (COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]) for i, name in enumerate(names)}
    drawn: dict[str, bytes] = {}
    for number, place in enumerate(dict.fromkeys(curve.place for curve in found), start=1):
        here = [curve for curve in found if curve.place == place]
        stem = f"attacks-{number:02d}-{here[0].rows[0]['structure']}"
        with matplotlib.style.context(["default", STYLE]):
            figure, alt = _figure(here, look)
            svg = as_svg(figure, stem, f"{place}. {alt}")
        drawn[f"{stem}.svg"] = standalone(svg).encode("utf-8")
    return drawn


def _figure(here: Sequence[Curve], look: Mapping[str, tuple[str, str]]) -> tuple[Figure, str]:
    attacks = list(dict.fromkeys(curve.attack for curve in here))
    columns = 2
    height = math.ceil(len(attacks) / columns)
    figure = Figure(figsize=(7.0, 1.9 * height), layout="constrained")
    words = []
    highest = math.log2(max(int(row["candidates"]) for curve in here for row in curve.rows))
    panels = [figure.add_subplot(height, columns, number + 1) for number in range(len(attacks))]
    for axes, attack in zip(panels, attacks, strict=True):
        of_attack = [curve for curve in here if curve.attack == attack]
        for curve in sorted(of_attack, key=lambda curve: curve.method == NEVER_TOLD):
            colour, marker = look.get(curve.method, (INK, ""))
            told = curve.method != NEVER_TOLD
            values = [one.bits.value for one in curve.looks]
            axes.plot(
                range(len(values)),
                values,
                color=colour,
                marker=marker or "None",
                markersize=4,
                linewidth=1.3 if told else 1.8,
                linestyle="-" if told else (0, (4, 2)),
                label=curve.method if told else "never told",
            )
            if not told and len(values) == 1:
                axes.axhline(values[0], color=INK, linewidth=1.8, linestyle=(0, (4, 2)))
            words.append(f"{attack}, {curve.method}: {', '.join(f'{value:.2f}' for value in values)}")
        axes.set_xticks(range(len(of_attack[0].looks)), [one.step for one in of_attack[0].looks])
        axes.set_xlabel(of_attack[0].axis)
        axes.set_title(attack)
        axes.set_ylim(min(_LOWEST, axes.get_ylim()[0]), highest + 0.3)
    for axes in panels[::columns]:
        axes.set_ylabel("bits left")
    fullest = max(panels, key=lambda axes: len(axes.get_legend_handles_labels()[1]))
    legend(figure, fullest)
    return figure, "Bits left of a fact over the steps of each attack. " + "; ".join(words) + "."


def write_attacks(rows: Sequence[Row], output: Path) -> list[str]:
    """The folder holds the table and the figures of the rows; their names."""
    files = {TABLE: markdown(rows).encode("utf-8"), **figures(rows)}
    for name, content in files.items():
        put_file(output / name, content)
    return list(files)
