"""Rows that others made, made again: which of them differ, and in what. Nothing is written.

Models that were kept are asked again; where none was, the edits are made again. Digests and counts must be the same,
and numbers that are computed from weights may differ by rounding.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from behemoth_data.edits import EditConfig, draw_edits, edit_set_of
from behemoth_data.rng import Stream
from behemoth_data.settings import check, from_mapping
from behemoth_editing.checkpoint import Checkpoint
from behemoth_editing.foreign import load_edited
from behemoth_editing.given import edits_of
from behemoth_editing.methods.contract import EditMethod, Shared
from behemoth_editing.methods.outside import method_named
from behemoth_editing.sweep.cells import Cell
from behemoth_editing.sweep.elsewhere import Maker, Outside
from behemoth_editing.sweep.kept import kept_models
from behemoth_editing.sweep.plain import plain
from behemoth_editing.sweep.rows import Row
from behemoth_editing.sweep.running import results
from behemoth_editing.sweep.seen import drawn, scored, seen, versions

TOLERANCE = 1e-4, 1e-6  # relative and absolute, of numbers that are no counts
_SHOWN = 5  # differences of one row that are told one by one


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What came of making one row again."""

    row: Row
    how: str  # "saved models", "edited again", "edited elsewhere"
    differences: list[str]  # none: it is the same
    notes: list[str] = dataclasses.field(default_factory=list)  # what may explain a difference and is none


def sample(rows: Sequence[Row], count: int | None, seed: int) -> list[Row]:
    """So many of the scored rows, all where `count` is None, in their order. Raises: ValueError for a count below 1."""
    check(count is None or count >= 1, f"rows must be at least 1, got {count}")
    good = [row for row in rows if row["error"] is None]
    if count is None or count >= len(good):
        return good
    return [good[place] for place in sorted(Stream(seed, "verify/rows").choice(len(good), count).tolist())]


def verify(
    row: Row, output: Path, checkpoint: Checkpoint, methods: Mapping[str, type[EditMethod]], shared: Shared
) -> Verdict:
    """The row compared with itself made again from its model.

    `methods` are those from outside, by their names. Raises: ValueError for a row that says too little, or whose models
    or method are not to be found.
    """
    check(
        checkpoint.weights == row["weights"]["before"],
        f"model must have weights {row['weights']['before']}, got {checkpoint.name} with {checkpoint.weights}",
    )
    own = versions()
    notes = [
        f"{name} was {there}, and is {own[name]} now"
        for name, there in row["versions"].items()
        if own.get(name, there) != there
    ]
    how, again = _again(row, output, checkpoint, methods, shared)
    return Verdict(row, how, list(differences(row, again)), notes)


def _again(
    row: Row, output: Path, checkpoint: Checkpoint, methods: Mapping[str, type[EditMethod]], shared: Shared
) -> tuple[str, Row]:
    """The fields that scored() gives, once more."""
    if row.get("elsewhere"):
        return "edited elsewhere", _elsewhere(row, checkpoint).again()
    config = from_mapping(EditConfig, row["edits"])
    draw, folders = drawn(checkpoint, config), kept_models(output, row)
    if folders is not None:
        parts = [draw] if config.scenario == "sequence" else [draw.only(number) for number in range(len(draw.sets))]
        found, first = [], 0
        for part, folder in zip(parts, folders, strict=True):
            found.append(seen(checkpoint.model, load_edited(str(folder), checkpoint).model, part, first))
            first += len(found[-1].units)
        return "saved models", plain(scored(checkpoint.weights, found))
    name = row["method"]
    method = from_mapping(methods[name] if name in methods else method_named(name), row["settings"])
    return "edited again", results(Cell(checkpoint, method, config), draw, shared)


def _elsewhere(row: Row, checkpoint: Checkpoint) -> Outside:
    """The row to be that this row was. Raises: ValueError for one whose models were never in a folder."""
    told = row["elsewhere"]
    check(bool(told["models"]), f"row must name the folders of its models, got none in {row['cell']}")
    config = from_mapping(EditConfig, {name: value for name, value in row["edits"].items() if name != "given"})
    if told["edits"] is None:
        sets = draw_edits(checkpoint.corpus, config)
        holds = tuple(tuple(sets[number] for number in numbers) for numbers in told["sets"])
    else:
        holds = ((edit_set_of(checkpoint.corpus, edits_of(checkpoint, told["edits"]), config),),)
    maker = Maker(method=told["method"], settings=row["settings"], source=told["source"])
    return Outside(checkpoint, maker, config, holds, tuple(row["weights"]["after"]), tuple(told["models"]))


def differences(row: Mapping[str, Any], again: Mapping[str, Any]) -> Iterator[str]:
    """In what the weights, units and scores of a row differ from those made again, in words."""
    for part in ("weights", "units", "scores"):
        yield from _differ(part, plain(row[part]), again[part])


def _differ(where: str, was: Any, now: Any) -> Iterator[str]:
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        for name in was:
            if name in now:
                yield from _differ(f"{where} {name}", was[name], now[name])
            elif name != "right_after":  # of which a saved model, the end of its sequence, says nothing
                yield f"{where} has {name} no more"
        yield from (f"{where} has {name} beside" for name in now if name not in was)
    elif isinstance(was, list) and isinstance(now, list) and len(was) == len(now) and not _counts(was):
        for number, (one, other) in enumerate(zip(was, now, strict=True)):
            yield from _differ(f"{where} {number}", one, other)
    elif not _same(was, now):
        yield f"{where} was {was}, and is {now} now"


def _counts(value: list[Any]) -> bool:
    """Whether a list is the counts of one kind, which are told together."""
    return bool(value) and all(type(one) is int for one in value)


def _same(was: Any, now: Any) -> bool:
    if isinstance(was, float) and isinstance(now, int | float):
        return math.isclose(was, now, rel_tol=TOLERANCE[0], abs_tol=TOLERANCE[1])
    return bool(was == now)


def in_words(verdict: Verdict) -> str:
    """The row, how it was made again, and in what it differs if it does."""
    row, found = verdict.row, verdict.differences
    name = f"{row['cell']} {row['method']} {row['scenario']} seed {row['seed']}, {verdict.how}"
    if not found:
        return f"{name}: the same"
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    notes = f" ({'; '.join(verdict.notes)})" if verdict.notes else ""
    return f"{name}: differs{notes}: {'; '.join(found[:_SHOWN])}{more}"
