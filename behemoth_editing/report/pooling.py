"""Result rows that repeat one cell over models and seeds: which they are, and their scores together."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from behemoth_editing.scoring.intervals import LEVEL, Floats, Mean, estimate_difference
from behemoth_editing.scoring.scores import (
    HEADLINES,
    Designs,
    Sample,
    Scores,
    Unit,
    check_unit,
    columns_of,
    score_units,
)
from behemoth_editing.sweep.identity import model_of, precision_of

Row = Mapping[str, Any]  # one line of results.jsonl

# The scores in which a failed cell counts: it changed no answer, and what it would have kept nobody knows.
OF_CHANGES = tuple(score.name for score in HEADLINES if score.part == "change")

# Fields of a recipe in which the models of one sample may differ.
_SAME_SAMPLE = (
    "order_seed",
    "train_seed",
    "precision",  # that was asked for; a row has the one that it came to
    "measurements",
    "save_every",
    "save_log_spaced",
    "compile",
    "accumulation_steps",
)


class GroupKey(NamedTuple):
    """What rows have in common that differ only in model and seed."""

    structure: str
    edge: str
    relation: int
    scenario: str
    num_edits: int
    method: str
    settings: str  # JSON with sorted keys
    precision: str | None = None  # in which the method trained


class _Place(NamedTuple):
    """Which edit of which model a unit is, whatever the method."""

    question: tuple[Hashable, ...]
    model: str  # model_of()
    seed: int
    edit: int


def group_rows(rows: Iterable[Row]) -> tuple[dict[GroupKey, list[Row]], list[Row]]:
    """The rows that differ only in model and seed, put together in first-seen order; and the failed rows."""
    grouped: dict[GroupKey, list[Row]] = {}
    failed = []
    for row in rows:
        if row.get("error") is not None:
            failed.append(row)
        else:
            grouped.setdefault(_group_key(row), []).append(row)
    return grouped, failed


def _group_key(row: Row) -> GroupKey:
    """What the row has in common with its repetitions over models and seeds."""
    return GroupKey(
        structure=row["structure"],
        edge=row["edge"],
        relation=row["relation"],
        scenario=row["scenario"],
        num_edits=row["num_edits"],
        method=row["method"],
        settings=json.dumps(row["settings"], sort_keys=True),
        precision=precision_of(row),
    )


def sample_of(rows: Sequence[Row]) -> Sample:
    """All units of the rows, with the model and the draw of each.

    Raises: ValueError for no rows, a failed row, rows of different settings or worlds, or a repeated cell.
    """
    labels = _check_repetitions(rows)
    ordered = sorted(zip(labels, rows, strict=True), key=lambda pair: pair[0])  # alike for every method
    units = [unit for _, row in ordered for unit in row["units"]]
    models = [model for (model, _), row in ordered for _ in row["units"]]
    draws = [seed for (_, seed), row in ordered for _ in row["units"]]
    return Sample(units, models, draws)


def summarise(rows: Sequence[Row], *, designs: Designs | None = None, level: float = LEVEL) -> Scores:
    """The scores of all units of the rows, with intervals of what other models, or other edits of one, would give.

    `designs` are the design effects of the same kind of cell, over all methods there.
    Raises: ValueError as sample_of() does.
    """
    sample = sample_of(rows)
    return score_units(sample.units, sample.models, sample.draws, designs=designs, level=level)


def attempted(rows: Sequence[dict[str, Any]], failed: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, and each failed one as a row of as many edits of which none was made and nothing else is known.

    Failed rows are asked what the others of their kind of cell are asked; without any other, each edit in one form. One
    whose model and seed another row has too, as of a cell that was tried again, is left out.
    """
    like = rows[0] if rows else None
    there = {(model_of(row), row["seed"]) for row in rows}
    lost = {key: row for row in failed if (key := (model_of(row), row["seed"])) not in there}
    return [*rows, *(_without_success(row, like) for row in lost.values())]


def _without_success(row: dict[str, Any], like: Row | None) -> dict[str, Any]:
    """The failed row as one of edits of which none was made."""
    if like is None:
        units: list[Unit] = [{"edit": number, "change": {"edited": [0, 1]}} for number in range(row["num_edits"])]
        return {**row, "units": units, "error": None}
    units = [{"edit": unit["edit"], **_not_made(unit)} for unit in like["units"]]
    made_by = {name: like[name] for name in ("precision", "details") if name in like}  # a failed row knows of none
    return {**row, **made_by, "units": units, "error": None}


def _not_made(unit: Unit) -> dict[str, Any]:
    found: dict[str, Any] = {"change": {kind: [0, asked] for kind, (_, asked) in unit["change"].items()}}
    return found | ({"right_after": _not_made(unit["right_after"])} if "right_after" in unit else {})


def _check_repetitions(rows: Sequence[Row]) -> list[tuple[str, int]]:
    """(model, seed) of every row. Raises: ValueError unless all repeat one cell over models and seeds."""
    if not rows:
        raise ValueError("rows must hold at least 1 result, got 0")
    for row in rows:
        if row.get("error") is not None:
            raise ValueError(f"rows must hold no failed cell, got {row.get('cell')} with error {row['error']!r}")
    for name, key in (("settings", _group_key), ("world, apart from its seed,", world_key)):
        first, *others = dict.fromkeys(key(row) for row in rows)
        if others:
            raise ValueError(f"rows must share their {name} to be pooled, got {first} and {others[0]}")
    labels = [(model_of(row), row["seed"]) for row in rows]
    if len(set(labels)) < len(labels):
        repeated = next(label for label in labels if labels.count(label) > 1)
        raise ValueError(f"rows must hold each (model, seed) once, got {repeated} twice")
    return labels


def draw_settings(row: Row) -> dict[str, Any]:
    """How the row's edits and probes were drawn, beyond what has a column of its own."""
    own = ("scenario", "edge", "relation", "num_edits", "edit_seed")
    return {name: value for name, value in row.get("edits", {}).items() if name not in own}


def made_with(row: Row) -> dict[str, Any]:
    """What a row was made with, beside its world, that may change its scores; only what is known of it.

    Of the recipe of its model that is all but seeds and what leaves the weights alone; and the steps that it took,
    unless training ended by what was measured or by the clock.
    """
    found = {"trained in": row.get("model_precision"), "version": (row.get("versions") or {}).get("behemoth")}
    recipe = row.get("recipe") or {}
    train = recipe.get("train") or {}
    for part in recipe.values():
        found |= {name: value for name, value in part.items() if name not in _SAME_SAMPLE}
    if train.get("target_recall") is not None:
        found["measurements"] = train.get("measurements")  # which say where training may end
    elif train.get("max_minutes") is None:
        found["steps"] = (row.get("load") or {}).get("steps")
    if row.get("lineage"):
        found["edited before by"] = ", ".join(str(step.get("method") or "somebody") for step in row["lineage"])
    return {name: value for name, value in found.items() if value is not None}


def world_key(row: Row) -> str:
    """The row's world but for its seed, its draw, and how its model was made: another question, not another sample."""
    world = {name: value for name, value in row.get("world", {}).items() if name != "seed"}
    world |= draw_settings(row) | made_with(row)
    return json.dumps(world, sort_keys=True)


def paired_difference(rows_a: Sequence[Row], rows_b: Sequence[Row], name: str = "collateral_accuracy") -> Mean:
    """The score of a minus the score of b over the same edits of the same models, by a paired t over models.

    Pairing removes what both share: which models, which edits, which probes. Of one model the t is over its edits, and
    its intervals speak of no other model; of one edit they are the whole range.

    Raises: ValueError for an unknown name, rows that summarise() refuses, units that a and b do not share, or a score
    of which there is nothing to count.
    """
    units_a, units_b = _units_by_place(rows_a), _units_by_place(rows_b)
    odd = sorted(units_a.keys() ^ units_b.keys(), key=repr)
    if odd:
        raise ValueError(f"rows_b must hold the units of rows_a, got {len(odd)} in only one, such as {odd[0]}")
    models, draws = [place.model for place in units_a], [place.seed for place in units_a]
    a, b = (
        columns_of(Sample(units, models, draws), name)
        for units in (list(units_a.values()), [units_b[place] for place in units_a])
    )
    if a.denominators.shape != b.denominators.shape or (a.denominators != b.denominators).any():
        raise ValueError(_other_probes(name, a.denominators, b.denominators, list(units_a)))
    if not a.denominators.any():
        raise ValueError(f"rows must have something to count for {name}, got nothing in {len(units_a)} units")
    return estimate_difference(a.numerators - b.numerators, a.denominators, models)


def _other_probes(name: str, asked_a: Floats, asked_b: Floats, places: Sequence[_Place]) -> str:
    """What to say where two methods were not asked the same."""
    unit = next((u for u in range(len(places)) if asked_a[u].sum() != asked_b[u].sum()), 0)
    return (
        f"rows_b must count as many probes for {name} as rows_a, "
        f"got {asked_b[unit].sum():.0f} and not {asked_a[unit].sum():.0f} in {places[unit]}"
    )


def _units_by_place(rows: Sequence[Row]) -> dict[_Place, Unit]:
    """The units of the rows, by what two methods must share. Raises: ValueError as summarise() does."""
    _check_repetitions(rows)
    units: dict[_Place, Unit] = {}
    for row in rows:
        question = (*_group_key(row)[:5], world_key(row))  # all that identifies a cell but the method
        for unit in row["units"]:
            check_unit(unit)
            place = _Place(question, model_of(row), row["seed"], unit["edit"])
            if place in units:
                raise ValueError(f"units must hold each edit once, got {place} twice")
            units[place] = unit
    return units
