"""Which rows edited models from elsewhere are to have, which of these are missing, and the scoring of them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from behemoth_data.edits import EditSet
from behemoth_data.settings import check, digest
from behemoth_editing.checkpoint import Checkpoint
from behemoth_editing.foreign import load_edited
from behemoth_editing.given import sets_of
from behemoth_editing.sweep.elsewhere import Maker, Outside
from behemoth_editing.sweep.plain import plain
from behemoth_editing.sweep.rows import RESULTS, Row, append_row, read_rows
from behemoth_editing.sweep.seen import Draw

Told = tuple[str | None, Mapping[str, Any] | None, str | None]  # of a Maker, as far as somebody says it


def planned(
    original: Checkpoint,
    places: Sequence[str],
    said: Sequence[Told],
    sets: tuple[EditSet, ...] | None = None,
    *,
    progress: bool = True,
) -> list[Outside]:
    """The rows that edited models will have; each is read once, so that none is refused when others are scored.

    With `sets`, of one draw, every model holds them all, but for a draw of `single`: then each model in turn holds the
    next of them, and as many as there are make one row. Without, models say themselves what they hold, as
    save_edited() writes it, and those of one draw of `single` make one row.
    Raises: ValueError for a model that is not the original with changed weights, or that does not say what it holds.
    """
    apart = [(one,) for one in sets] if sets and sets[0].config.scenario == "single" else [sets or ()]
    check(
        len(places) % len(apart) == 0,
        f"edited must name a model for each of the {len(apart)} sets of the draw, got {len(places)}",
    )
    groups: dict[object, list[Outside]] = {}
    # Closed before an error is told, so that this has a line of its own.
    with tqdm(total=len(places), desc="reading", unit="model", disable=not progress) as bar:
        for number, (place, words) in enumerate(zip(places, said, strict=True)):
            edited = load_edited(place, original)
            step = edited.steps[0] if len(edited.steps) == 1 else {}
            check(
                bool(sets or step),
                f"edited must say which edits it holds since {original.name}, as `behemoth edit --save_models` writes "
                f"it, got {place} with {len(edited.steps)} steps: name them by --scenario or --edits",
            )
            held = apart[number % len(apart)] if sets else sets_of(original, step)
            one = Outside(original, _maker(place, words, step), held[0].config, (held,), (edited.weights,), (place,))
            groups.setdefault(number // len(apart) if sets else _same_draw(one, number), []).append(one)
            bar.update()
    return [_together(group) for group in groups.values()]


def _same_draw(one: Outside, number: int) -> object:
    """Equal for models that each hold an edit of one draw of `single`."""
    apart = one.numbers is not None and one.config.scenario == "single"
    return digest(plain([one.maker.label, one.maker.settings, one.edits])) if apart else number


def _maker(place: str, said: Told, step: Mapping[str, Any]) -> Maker:
    """Who made it, by what was said or else by what the model says itself."""
    method, settings, source = said
    method = method or step.get("method")
    check(method is not None, f"method must be named for a model that does not say it, {place}")
    if settings is None:
        settings = step.get("settings") or {}
    return Maker(method=str(method), settings=settings, source=source or "")


def _together(group: Sequence[Outside]) -> Outside:
    """One row of models that each hold another set of one draw. Raises: ValueError for two that do not."""
    if len(group) == 1:
        return group[0]
    ordered = sorted(group, key=lambda one: one.numbers or [])
    for one, other in itertools.pairwise(ordered):
        check(
            one.numbers != other.numbers and one.maker == other.maker,
            "edited must each hold another edit of one draw, by one method with one settings and source, got "
            f"{one.places[0]} and {other.places[0]}",
        )
    return dataclasses.replace(
        ordered[0],
        holds=tuple(one.holds[0] for one in ordered),
        weights=tuple(one.weights[0] for one in ordered),
        places=tuple(one.places[0] for one in ordered),
    )


def unscored(rows: Sequence[Outside], output: Path) -> list[Outside]:
    """Those that `output` has no row for. Raises: ValueError as check_apart() does."""
    by_cell = {one.cell: one for one in rows}
    return [by_cell[cell] for cell in check_apart([one.row() for one in rows], output)]


def check_apart(rows: Sequence[Row], output: Path) -> list[str]:
    """The cells of those rows that `output` does not have.

    Raises: ValueError for two that a report could not tell apart: same original, draw, method, settings and source.
    """
    path = output / RESULTS
    there = [row for row in read_rows(path).values() if row["error"] is None] if path.is_file() else []
    taken = {_question(row): row["cell"] for row in there}
    for row in rows:
        first = taken.setdefault(_question(row), row["cell"])
        check(
            first == row["cell"],
            "settings must tell models of one method, source and draw apart, got another one of "
            f"{row['method']} with settings {row['settings']}, {', '.join(row['elsewhere']['models'])}",
        )
    done = {row["cell"] for row in there}
    return [cell for cell in dict.fromkeys(row["cell"] for row in rows) if cell not in done]


def _question(row: Row) -> str:
    """Equal for rows that count as one and the same in a report."""
    parts = [row["method"], row["settings"], row["edits"], row["weights"]["before"], row["versions"]["behemoth"]]
    return digest(plain(parts))


def save_rows(rows: Sequence[Row], output: Path) -> None:
    """`output`/results.jsonl has the rows, each once. Raises: ValueError as check_apart() does."""
    left = check_apart(rows, output)
    output.mkdir(parents=True, exist_ok=True)
    for cell in left:
        append_row(output / RESULTS, next(row for row in rows if row["cell"] == cell))


def score_outside(
    rows: Sequence[Outside], output: Path, *, command: str | None = None, progress: bool = True
) -> list[Row]:
    """A row for each, appended to `output`/results.jsonl as it is known."""
    output.mkdir(parents=True, exist_ok=True)
    known: dict[int, Draw] = {}
    made: list[Row] = []
    for one in tqdm(rows, "scoring", unit="row", disable=not progress):
        made.append(one.row(command) | one.again(known))
        append_row(output / RESULTS, made[-1])
    return made
