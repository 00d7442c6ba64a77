"""A grid of cells -> one result row per cell, appended as each ends. What a method does is not known here.

A cell is one method with its settings on one seeded draw of edits of one model; a row holds raw counts and scores.
"""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tqdm import tqdm

from behemoth_data.edits import EditConfig, EditSet, draw_edits
from behemoth_data.places import local_path
from behemoth_data.scenarios import num_edited
from behemoth_editing.checkpoint import Checkpoint
from behemoth_editing.methods.contract import Shared
from behemoth_editing.scoring.answers import predict
from behemoth_editing.scoring.counts import Said, count_units, said_by, units_after
from behemoth_editing.scoring.scores import score_units
from behemoth_editing.scoring.weights import weight_change
from behemoth_editing.sweep.cells import Cell, cell_id
from behemoth_editing.sweep.identity import precision_in
from behemoth_editing.sweep.looks import Look, Watch
from behemoth_editing.sweep.plain import plain, words_of
from behemoth_editing.sweep.rows import RESULTS, Row, append_row
from behemoth_models.knowledge import weights_digest


def run(cells: Sequence[Cell], output: Path, *, progress: bool = True) -> list[Row]:
    """A row for each cell, appended to `output`/results.jsonl as it ends; a cell that fails says why in its row.

    Edits, probes and the answers before are made once per model and draw and used by all methods. What a method says of
    itself stands in its row as plain() has it.
    """
    output = local_path("output_dir", output)
    output.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    failed = 0
    with tqdm(total=len(cells), desc="cells", unit="cell", disable=not progress) as bar:
        for checkpoint, of_model in itertools.groupby(cells, key=lambda cell: cell.checkpoint):
            shared = Shared(progress=progress)
            for edits, group in itertools.groupby(of_model, key=lambda cell: cell.edits):
                draw = _drawn(checkpoint, edits)
                for cell in group:
                    bar.set_postfix(method=cell.method.name, scenario=edits.scenario, failed=failed)
                    row = _row(cell)
                    try:
                        row.update(_results(cell, draw, shared))
                    except Exception as error:  # one bad cell must not cost the others: its row says what happened
                        row["error"] = plain(words_of(error))
                        failed += 1
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
                    spent = _results(cell, _drawn(checkpoint, cell.edits, most=1), shared)["seconds"]
                    tried[sort] = spent["edit"] + spent["score"]
                    extra = time.perf_counter() - started - tried[sort]
                    bar.update()
                seconds[cell] = extra + cell.edits.num_sets * tried[sort]
    return seconds


def _sort(cell: Cell) -> tuple[str, str]:
    return cell.method.name, cell.edits.scenario


@dataclasses.dataclass(frozen=True)
class _Draw:
    """Edit sets and what the model says before they are made: one entry per set."""

    sets: tuple[EditSet, ...]
    said: list[Said]


def _drawn(checkpoint: Checkpoint, edits: EditConfig, most: int | None = None) -> _Draw:
    sets = draw_edits(checkpoint.corpus, edits)[:most]
    return _Draw(sets, [said_by(checkpoint.model, edit_set) for edit_set in sets])


def _row(cell: Cell) -> Row:
    """What is known of a cell before it runs."""
    checkpoint, edits = cell.checkpoint, cell.edits
    world = checkpoint.corpus.world
    return {
        "cell": cell_id(cell),
        "method": cell.method.name,
        "settings": plain(cell.method),
        "precision": None,
        "scenario": edits.scenario,
        "edge": edits.edge,
        "relation": None if edits.relation_is_drawn else edits.relation_in(world),
        "num_edits": num_edited(world, edits),
        "seed": edits.edit_seed,
        "edits": dataclasses.asdict(edits),
        "structure": world.config.structure,
        "model": checkpoint.name,
        "hub_id": checkpoint.name if checkpoint.from_hub else None,
        "model_precision": checkpoint.precision,
        "world": dataclasses.asdict(world.config),
        "corpus": checkpoint.corpus.digest,
        "recall": checkpoint.recall,
        **({} if checkpoint.pristine else {"lineage": plain(checkpoint.lineage)}),
        "scores": None,
        "units": None,
        "seconds": None,
        "weights": {"before": checkpoint.weights, "after": None, "change": None},
        "details": None,
        "looks": None,
        "retained": None,
        "versions": {
            "behemoth": version("behemoth-bench"),
            **{name: version(name) for name in ("torch", "transformers", "peft", "numpy")},
        },
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "error": None,
    }


def _results(cell: Cell, draw: _Draw, shared: Shared) -> Row:
    """Makes every set of edits on a copy of its own, or in a sequence on the last one's copy; asks and counts.

    A sequence is counted at its end; what each set's answers were right after it was made stands in `right_after`.
    """
    original, chained = cell.checkpoint.model, cell.edits.scenario == "sequence"
    model, units, right_after = original, list[dict[str, Any]](), list[dict[str, Any]]()
    seconds = {"edit": 0.0, "shared": 0.0, "score": 0.0}
    weights, changes, details, looks = [], [], [], list[Look]()
    for number, edit_set in enumerate(draw.sets):
        # What a model in the middle of a sequence is good for, no other cell is.
        own = shared
        if model is not original:
            own = Shared(dict(shared.key_statistics), original=original, progress=shared.progress)
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
        else:
            units += units_after(edit_set, draw.said[number], edited.model, first=len(units))
        if not chained or edit_set is draw.sets[-1]:
            weights.append(weights_digest(edited.model))
            change = weight_change(original, edited.model)
            changes.append({"norm": change.norm, "relative": change.relative, "rank": change.rank})
        details.append(edited.details)
        # Statistics of a model in the middle of a sequence are this cell's own cost, since no other can use them.
        common = own.seconds - shared_before if own is shared else 0.0
        watching = watch.seconds if watch else 0.0
        looks += watch.looks if watch else []
        seconds["edit"] += written - started - common - watching
        seconds["shared"] += common
        seconds["score"] += time.perf_counter() - written + watching
    if chained:
        started = time.perf_counter()
        for edit_set, before in zip(draw.sets, draw.said, strict=True):
            units += units_after(edit_set, before, model, first=len(units))
        for unit, then in zip(units, right_after, strict=True):
            unit["right_after"] = then
        seconds["score"] += time.perf_counter() - started
    found = {
        "units": units,
        "scores": score_units(units),
        "seconds": seconds,
        "weights": {"before": cell.checkpoint.weights, "after": weights, "change": changes},
        "details": details,
        "precision": precision_in(details),
        "looks": looks,
        "retained": [{kind: len(facts) for kind, facts in edit_set.retain.items()} for edit_set in draw.sets],
    }
    return dict(plain(found))  # here, where what cannot be put into words costs this cell and no other
