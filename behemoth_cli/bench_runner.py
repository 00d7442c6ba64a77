"""A bench, run: its models trained, every cell of every track made, and the board written. It reads no options."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from behemoth_cli.crew import crew_of
from behemoth_cli.study_jobs import Desk
from behemoth_cli.study_plan import Model
from behemoth_cli.study_runner import Clock, edit_all, is_trained, train_all
from behemoth_data.edits import EditConfig
from behemoth_data.settings import check
from behemoth_editing import EditMethod
from behemoth_editing.bench.board import board, key_in, key_of, known_rows, method_key, next_draws, stages_for
from behemoth_editing.bench.floors import FLOORS, Nothing
from behemoth_editing.bench.names import Tuned
from behemoth_editing.bench.page import board_text, read_board, write_board
from behemoth_editing.bench.tracks import TRACKS
from behemoth_editing.checkpoint import Checkpoint, load_checkpoint
from behemoth_editing.report.summaries import load_results
from behemoth_editing.sweep.cells import Cell, unfinished
from behemoth_editing.sweep.identity import last_part
from behemoth_editing.sweep.rows import RESULTS, Row, mend, settled
from behemoth_models.sizes import pythia

_log = logging.getLogger(__name__)


def run_bench(
    models: Sequence[Model],
    methods: Mapping[str, Sequence[EditMethod]],
    tracks: Sequence[str],
    output: Path,
    processes: int,
    command: str | None = None,
    *,
    chosen: Sequence[Model] | None = None,
    scheduler: str | None = None,
    outside: Mapping[str, type[EditMethod]] | None = None,
    tuned: Tuned | None = None,
    run_by: str | None = None,
) -> tuple[str, list[str]]:
    """The folder has the models `chosen`, all that the methods of their levels do there, and the board of all it holds.

    Who works, and where from, is as in run_study(); `tuned` gives methods their names on the board. Returns the board
    as text, and a line for every cell that failed.
    Raises: ValueError for results of other models, or a method that the models cannot have; otherwise as run_study().
    """
    clock = Clock(output / "time.json")
    chosen = models if chosen is None else chosen
    competing = _with_floors(methods)
    _check_methods(competing, chosen, tracks)
    with crew_of(processes, scheduler, Desk) as crew:
        train_all(chosen, output, processes, clock, crew=crew)
        there = [model for model in models if is_trained(model, output / "models" / model.name)]
        checkpoints = {model: load_checkpoint((output / "models" / model.name).as_posix()) for model in there}
        _warn_of_gaps({model: checkpoints[model] for model in chosen})
        beside = [Cell(checkpoint, Nothing(), TRACKS[tracks[0]].draws[0]) for checkpoint in checkpoints.values()]
        path = output / "results" / RESULTS
        unfinished([], path.parent, beside=beside)  # refuses results of other models
        entrants = [(checkpoints[model], competing[model.family]) for model in chosen]
        again = {(checkpoint.weights, method_key(method)) for checkpoint, some in entrants for method in some}
        if path.is_file():  # what failed in an earlier run is tried again, and once in each
            mend(
                path,
                lambda rows: [row for row in settled(rows) if row["error"] is None or key_in(row)[:2] not in again],
            )
        rows, tried = _rows(output), set[Cell]()
        while cells := [cell for cell in needed(entrants, tracks, rows) if cell not in tried]:
            tried.update(cells)
            edit_all(cells, output, processes, clock, command, beside=beside, crew=crew)
            rows = _rows(output)
    levels: dict[str, list[str]] = {}
    for model, checkpoint in checkpoints.items():
        levels.setdefault(model.family, []).append(checkpoint.weights)
    failed = [row for row in rows if row["error"] is not None]
    minutes = clock.keep() / 60
    entries = board(rows, levels, outside=outside, tuned=tuned, run_by=_run_by(output) if run_by is None else run_by)
    write_board(entries, rows, levels, output, tuned=tuned, minutes=minutes, command=command)
    said = [f"{row['method']} on {last_part(row['model'])} failed: {row['error']}" for row in failed]
    return board_text(entries), said


def _run_by(output: Path) -> str:
    """Who made the folder's board before; nobody, of a board of another version."""
    try:
        return next((entry.run_by for entry in read_board(output)), "")
    except ValueError:
        return ""


def _with_floors(methods: Mapping[str, Sequence[EditMethod]]) -> dict[str, list[EditMethod]]:
    return {level: [*(floor() for floor in FLOORS.values()), *some] for level, some in methods.items()}


def _check_methods(
    competing: Mapping[str, Sequence[EditMethod]], models: Sequence[Model], tracks: Sequence[str]
) -> None:
    """Raises: ValueError for a method that a model cannot have, or that has no part in any of the tracks."""
    for level, size in dict.fromkeys((model.family, model.train.size) for model in models):
        with torch.device("meta"):
            shape = pythia(size, 8)
        shape.config.behemoth = {"train": {}}
        for method in competing[level]:
            method.check(shape)
    for method in itertools.chain.from_iterable(competing.values()):
        check(
            any(stages_for(TRACKS[track], method) for track in tracks),
            f"methods must have a part in one of the tracks {', '.join(tracks)}, got {method.name}, whose goal is "
            f"{method.goal}",
        )


def _warn_of_gaps(checkpoints: Mapping[Model, Checkpoint]) -> None:
    """A line for every model that knows less of a table than its recipe wants."""
    for model, checkpoint in checkpoints.items():
        wanted = model.train.target_recall or 0.0
        for table, known in checkpoint.recall.get(checkpoint.corpus.forms[0], {}).items():
            if known < wanted:
                _log.warning("%s knows %.2f%% of %s, and not %.1f%%", model.name, 100 * known, table, 100 * wanted)


def needed(
    entrants: Sequence[tuple[Checkpoint, Sequence[EditMethod]]], tracks: Sequence[str], rows: Sequence[Row]
) -> list[Cell]:
    """The cells that come next: of every track those of the first stage that is not complete, each cell once.

    Those of one model and one draw come together, since they share what is drawn and what is computed for it.
    """
    known = known_rows(rows)
    cells: list[Cell] = []
    for checkpoint, methods in entrants:
        by_draw: dict[EditConfig, list[EditMethod]] = {}
        for track, method in itertools.product(tracks, methods):
            for draw in next_draws(TRACKS[track], method, checkpoint.weights, method_key(method), known):
                by_draw.setdefault(draw, []).append(method)
        cells += [Cell(checkpoint, method, draw) for draw, some in by_draw.items() for method in some]
    return list(dict.fromkeys(cells))


def _rows(output: Path) -> list[Row]:
    folder = output / "results"
    return load_results([folder]) if (folder / RESULTS).is_file() and (folder / RESULTS).stat().st_size else []


def preview(models: Sequence[Model], methods: Mapping[str, Sequence[EditMethod]], tracks: Sequence[str]) -> None:
    """Prints how many models there are of each level, and how many cells of each track at most."""
    for level in dict.fromkeys(model.family for model in models):
        print(f"{sum(model.family == level for model in models):6} models  {level}")
    competing = _with_floors(methods)
    keys = set()
    for track in tracks:
        of_track = {
            key_of(model.name, method, draw)
            for model in models
            for method in competing[model.family]
            for stage in stages_for(TRACKS[track], method)
            for draw in stage
        }
        keys |= of_track
        print(f"{len(of_track):6} cells   {track}: {TRACKS[track].text}")
    print(f"{len(models)} models, and {len(keys)} cells at most, floors among them")
