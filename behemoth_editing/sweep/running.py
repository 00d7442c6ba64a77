"""A grid of cells -> one result row per cell, appended as each ends. What a method does is not known here.

A cell is one method with its settings on one seeded draw of edits of one model; a row holds raw counts and scores.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm
from transformers import PreTrainedModel

from behemoth_data.edits import EditConfig, EditSet
from behemoth_data.places import local_path
from behemoth_editing.checkpoint import Checkpoint
from behemoth_editing.methods.contract import Shared
from behemoth_editing.saving import write_edited
from behemoth_editing.scoring.answers import predict
from behemoth_editing.scoring.counts import count_units
from behemoth_editing.sweep.cells import Cell, cell_id
from behemoth_editing.sweep.identity import precision_in
from behemoth_editing.sweep.kept import keep_model, model_folders
from behemoth_editing.sweep.looks import Look, Watch
from behemoth_editing.sweep.plain import plain, words_of
from behemoth_editing.sweep.rows import RESULTS, Row, append_row
from behemoth_editing.sweep.seen import Draw, Seen, drawn, row_before, scored, seen
from behemoth_editing.sweep.stages import Stage, stage

Keep = Callable[[PreTrainedModel, Sequence[EditSet]], None]  # told of every edited model and the sets that it holds


class Runner:
    """Makes one row after another, and keeps for the next what methods share of the last model, and its last draw.

    Edits, probes and the answers before are made once for all cells of one model and draw that follow each other.
    """

    def __init__(self, progress: bool = True) -> None:
        self._progress = progress
        self._model: tuple[Checkpoint, Shared] | None = None
        self._draw: tuple[EditConfig, Draw] | None = None

    def row(self, cell: Cell, command: str | None = None, keep: Keep | None = None) -> Row:
        """The cell's row, which says what happened where the cell failed, and which `command` asked for it.

        Raises: ValueError for edits that the model's world does not have.
        """
        if self._model is None or self._model[0] is not cell.checkpoint:
            self._model, self._draw = (cell.checkpoint, Shared(progress=self._progress)), None
        if self._draw is None or self._draw[0] != cell.edits:
            self._draw = cell.edits, drawn(cell.checkpoint, cell.edits)
        row = row_of(cell, command)
        try:
            row.update(results(cell, self._draw[1], self._model[1], keep))
        except Exception as error:  # one bad cell must not cost the others: its row says what happened
            row["error"] = plain(words_of(error))
        return row


def run(
    cells: Sequence[Cell],
    output: Path,
    *,
    progress: bool = True,
    save_models: bool = False,
    command: str | None = None,
) -> list[Row]:
    """A row for each cell, appended to `output`/results.jsonl as it ends; a cell that fails says why in its row.

    Edits, probes and the answers before are made once per model and draw and used by all methods. What a method says of
    itself stands in its row as plain() has it, and so does the `command` that asked for it. With `save_models` the
    edited models lie below `output`/models before their row is there: of `single` one for each edit, of a sequence
    that of its end.
    """
    output = local_path("output_dir", output)
    output.mkdir(parents=True, exist_ok=True)
    runner, rows = Runner(progress), list[Row]()
    failed = 0
    with tqdm(total=len(cells), desc="cells", unit="cell", disable=not progress) as bar:
        for cell in cells:
            bar.set_postfix(method=cell.method.name, scenario=cell.edits.scenario, failed=failed)
            row = runner.row(cell, command, _keeper(cell, output) if save_models else None)
            failed += row["error"] is not None
            append_row(output / RESULTS, row)
            rows.append(row)
            bar.update()
    return rows


def cell_seconds(cells: Sequence[Cell]) -> dict[Cell, float]:
    """Roughly how long every cell will take: of each method and scenario, the first set of the first cell is tried.

    What cells share, such as statistics of keys, counts for the cell that is tried and for no other.
    """
    seconds: dict[Cell, float] = {}
    tried: dict[tuple[str, str], float] = {}
    with tqdm(total=len({_sort(cell) for cell in cells}), desc="trying", unit="cell", leave=False) as bar:
        for checkpoint, of_model in itertools.groupby(cells, key=lambda cell: cell.checkpoint):
            shared = Shared()
            for cell in of_model:
                extra, sort = 0.0, _sort(cell)
                if sort not in tried:
                    started = time.perf_counter()
                    spent = results(cell, drawn(checkpoint, cell.edits, most=1), shared)["seconds"]
                    tried[sort] = spent["edit"] + spent["score"]
                    extra = time.perf_counter() - started - tried[sort]
                    bar.update()
                seconds[cell] = extra + cell.edits.num_sets * tried[sort]
    return seconds


def _sort(cell: Cell) -> tuple[str, str]:
    return cell.method.name, cell.edits.scenario


def row_of(cell: Cell, command: str | None = None) -> Row:
    """What is known of a cell before it runs."""
    method = cell.method
    return row_before(
        cell.checkpoint, cell.edits, cell=cell_id(cell), method=method.name, settings=method, command=command
    )


def _keeper(cell: Cell, output: Path) -> Keep:
    """Writes each of the cell's models to the next of its folders."""
    count = cell.edits.num_sets if cell.edits.scenario == "single" else 1
    folders = iter(model_folders(output, cell_id(cell), count))

    def keep(edited: PreTrainedModel, sets: Sequence[EditSet]) -> None:
        keep_model(next(folders), lambda folder: write_edited(edited, cell.checkpoint, sets, cell.method, folder))

    return keep


def results(cell: Cell, draw: Draw, shared: Shared, keep: Keep | None = None) -> Row:
    """Makes every set of edits on a copy of its own, or in a sequence on the last one's copy; asks and counts.

    A sequence is counted at its end; what each set's answers were right after it was made stands in `right_after`, and
    what all came to on the way in `stages`, if the draw asks for it.
    """
    original, chained = cell.checkpoint.model, cell.edits.scenario == "sequence"
    model, found, right_after = original, list[Seen](), list[dict[str, Any]]()
    seconds = {"edit": 0.0, "shared": 0.0, "score": 0.0, "needed": 0.0}
    details, looks, stages = [], list[Look](), list[Stage]()
    shared.needed = {}
    for number, edit_set in enumerate(draw.sets):
        # What a model in the middle of a sequence is good for, no other cell is.
        own = shared
        if model is not original:
            known = dict(shared.key_statistics), dict(shared.unasked)
            own = Shared(*known, original=original, progress=shared.progress)
        task = dataclasses.replace(edit_set, earlier=draw.sets[:number]) if chained and number else edit_set
        watch = None
        if cell.edits.whole and cell.edits.look_every:
            watch = Watch(edit_set, draw.said[number].answers, cell.edits.look_every)
        started, shared_before = time.perf_counter(), own.seconds
        own.watch = watch
        try:
            edited = cell.method(model, task, own)
        finally:
            own.watch = None
        written = time.perf_counter()
        if chained:
            answers = predict(edited.model, edit_set.probes)
            right_after += count_units(edit_set, draw.said[number].answers, answers, first=len(right_after))
            model = edited.model
            if len(right_after) in cell.edits.score_at:
                stages.append(stage(original, model, draw, number + 1))
        whole = not chained or edit_set is draw.sets[-1]
        if whole:
            holds = draw if chained else draw.only(number)
            found.append(seen(original, edited.model, holds, first=sum(len(one.units) for one in found)))
        details.append(edited.details)
        # Statistics of a model in the middle of a sequence are this cell's own cost, since no other can use them.
        common = own.seconds - shared_before if own is shared else 0.0
        watching = watch.seconds if watch else 0.0
        looks += watch.looks if watch else []
        seconds["edit"] += written - started - common - watching
        seconds["shared"] += common
        seconds["score"] += time.perf_counter() - written + watching
        if whole and keep is not None:
            keep(edited.model, holds.sets)
    for unit, then in zip(found[0].units if chained else (), right_after, strict=True):
        unit["right_after"] = then
    seconds["needed"] = sum(shared.needed.values())
    row = scored(cell.checkpoint.weights, found)
    row |= {
        "seconds": seconds,
        "details": details,
        "precision": precision_in(details),
        "looks": looks,
        "retained": [{kind: len(facts) for kind, facts in edit_set.retain.items()} for edit_set in draw.sets],
    }
    if stages:
        row["stages"] = stages
    return dict(plain(row))  # here, where what cannot be put into words costs this cell and no other
