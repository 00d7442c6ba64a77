"""A grid of cells -> one result row per cell, appended as each ends. What a method does is not known here.

A cell is one method with its settings on one seeded draw of edits; a row holds its raw counts and scores.
"""

from __future__ import annotations

import dataclasses
import datetime
import errno
import itertools
import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tqdm import tqdm

from behemoth_data.edits import CHANGE_KINDS, KEEP_KINDS, EditConfig, EditSet, Probe, draw_edits
from behemoth_data.settings import check, digest
from behemoth_editing.checkpoint import Checkpoint
from behemoth_editing.method import EditMethod, Shared, weights_digest
from behemoth_editing.predict import Answer, predict
from behemoth_editing.statistics import score_units

RESULTS = "results.jsonl"


@dataclasses.dataclass(frozen=True)
class Cell:
    """One method with its settings on one draw of edits."""

    method: EditMethod
    edits: EditConfig


def cell_id(checkpoint: Checkpoint, cell: Cell) -> str:
    """16 hex digits that differ between any two cells whose results could, under one version of this code."""
    settings = dataclasses.asdict(cell.method)  # type: ignore[call-overload]
    code = version("behemoth-bench")
    return digest([checkpoint.weights, checkpoint.corpus.digest, cell.method.name, settings, cell.edits, code])


def grid(
    methods: Iterable[EditMethod], scenarios: Iterable[str], seeds: Iterable[int], edits: EditConfig
) -> list[Cell]:
    """Every combination as a cell, once, those of one draw next to each other."""
    combinations = itertools.product(scenarios, seeds, methods)
    return list(
        dict.fromkeys(
            Cell(method, dataclasses.replace(edits, scenario=scenario, edit_seed=seed))
            for scenario, seed, method in combinations
        )
    )


def check_cells(checkpoint: Checkpoint, cells: Sequence[Cell]) -> None:
    """Raises: ValueError for the first cell that this model or its world cannot have. Runs no edit."""
    for cell in cells:
        cell.method.check(checkpoint.model)
    for edits in dict.fromkeys(cell.edits for cell in cells):
        draw_edits(checkpoint.corpus, edits)


def unfinished(checkpoint: Checkpoint, cells: Sequence[Cell], output: Path) -> list[Cell]:
    """The cells that `output` has no good row for; a line that a kill cut short is removed from it.

    Raises: ValueError if the rows there are of another model or another version of this code.
    """
    path = output / RESULTS
    if not path.exists():
        check(
            not output.exists() or (output.is_dir() and not any(output.iterdir())),
            f"output_dir must be new, empty or hold a {RESULTS}, got {output}, which holds something else",
        )
        return list(cells)
    text = path.read_text(encoding="utf-8")
    whole = text.rpartition("\n")[0]
    rows = [_parsed(line, f"{path}, line {number}") for number, line in enumerate(whole.splitlines(), start=1)]
    for row in rows:
        found = (row["weights"]["before"], row["versions"]["behemoth"])
        wanted = (checkpoint.weights, version("behemoth-bench"))
        check(
            found == wanted,
            f"output_dir must be new or hold results of the same model and code {wanted}, got {found} in {path}; "
            "choose another folder, or --overwrite",
        )
    wanted_cells = {cell_id(checkpoint, cell) for cell in cells}
    kept = [row for row in rows if row["error"] is None or row["cell"] not in wanted_cells]
    if len(kept) < len(rows) or text != whole + "\n":
        _replace(path, kept)
    done = {row["cell"] for row in kept if row["error"] is None}
    return [cell for cell in cells if cell_id(checkpoint, cell) not in done]


def _parsed(line: str, place: str) -> dict[str, Any]:
    """Raises: ValueError that names the place unless the line is a result row."""
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    check(
        isinstance(row, dict) and {"cell", "weights", "versions", "error"} <= row.keys(),
        f"{place}: not a result row; choose another output_dir, or --overwrite",
    )
    return dict(row)


def run(checkpoint: Checkpoint, cells: Sequence[Cell], output: Path, *, progress: bool = True) -> list[dict[str, Any]]:
    """A row for each cell, appended to `output`/results.jsonl as it ends; a cell that fails says why in its row.

    Edits, probes and the answers before are made once per draw and used by all its methods.
    """
    output.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    shared, failed = Shared(), 0
    with tqdm(total=len(cells), desc="cells", unit="cell", disable=not progress) as bar:
        for edits, group in itertools.groupby(cells, key=lambda cell: cell.edits):
            draws = draw_edits(checkpoint.corpus, edits)
            before = [predict(checkpoint.model, edit_set.probes) for edit_set in draws]
            for cell in group:
                bar.set_postfix(method=cell.method.name, scenario=edits.scenario, failed=failed)
                row = _row(checkpoint, cell)
                try:
                    row.update(_results(checkpoint, cell, draws, before, shared))
                except Exception as error:  # one bad cell must not cost the others: its row says what happened
                    row["error"] = f"{type(error).__name__}: {error}"
                    failed += 1
                _append(output / RESULTS, row)
                rows.append(row)
                bar.update()
    return rows


def _row(checkpoint: Checkpoint, cell: Cell) -> dict[str, Any]:
    """What is known of a cell before it runs."""
    settings = dataclasses.asdict(cell.method)  # type: ignore[call-overload]
    return {
        "cell": cell_id(checkpoint, cell),
        "method": cell.method.name,
        "settings": settings,
        "scenario": cell.edits.scenario,
        "edge": cell.edits.edge,
        "relation": cell.edits.relation,
        "num_edits": cell.edits.num_edits,
        "seed": cell.edits.edit_seed,
        "edits": dataclasses.asdict(cell.edits),
        "structure": checkpoint.corpus.world.config.structure,
        "model": checkpoint.name,
        "world": dataclasses.asdict(checkpoint.corpus.world.config),
        "corpus": checkpoint.corpus.digest,
        "recall": checkpoint.recall,
        "scores": None,
        "units": None,
        "seconds": None,
        "weights": {"before": checkpoint.weights, "after": None},
        "details": None,
        "versions": {
            "behemoth": version("behemoth-bench"),
            **{name: version(name) for name in ("torch", "transformers", "peft", "numpy")},
        },
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "error": None,
    }


def _results(
    checkpoint: Checkpoint, cell: Cell, draws: Sequence[EditSet], before: Sequence[list[Answer]], shared: Shared
) -> dict[str, Any]:
    """Edits every set of the draw on its own copy, asks every probe, and counts."""
    units: list[dict[str, Any]] = []
    seconds = {"edit": 0.0, "shared": 0.0, "score": 0.0}
    weights, details = [], []
    for edit_set, answers_before in zip(draws, before, strict=True):
        started = time.perf_counter()
        shared_before = shared.seconds
        edited = cell.method(checkpoint.model, edit_set, shared)
        written = time.perf_counter()
        answers = predict(edited.model, edit_set.probes)
        seconds["edit"] += written - started - (shared.seconds - shared_before)
        seconds["shared"] += shared.seconds - shared_before
        seconds["score"] += time.perf_counter() - written
        units += count_units(edit_set, answers_before, answers, first=len(units))
        weights.append(weights_digest(edited.model))
        details.append(edited.details)
    return {
        "units": units,
        "scores": score_units(units),
        "seconds": seconds,
        "weights": {"before": checkpoint.weights, "after": weights},
        "details": details,
    }


def count_units(
    edit_set: EditSet, before: Sequence[Answer], after: Sequence[Answer], first: int = 0
) -> list[dict[str, Any]]:
    """Raw counts for each edit of a set, numbered from `first`: the `units` of a result row.

    change: [answered with the new object, asked]. keep: [right before and after, right before, right after,
    asked]. ripple: [kept, followed, incoherent, wrong before]; dependent facts that the edit leaves as they
    are have nothing to follow and are not counted.
    """
    units: list[dict[str, Any]] = [
        {"edit": first + number, "change": {}, "keep": {}, "ripple": {}} for number in range(len(edit_set.edits))
    ]
    for probe, was, now in zip(edit_set.probes, before, after, strict=True):
        part, counts = _counts(probe, was, now)
        if counts is not None:
            kinds = units[probe.edit][part]
            kinds[probe.kind] = [a + b for a, b in zip(kinds.get(probe.kind, [0] * len(counts)), counts, strict=True)]
    return units


def _counts(probe: Probe, was: Answer, now: Answer) -> tuple[str, list[int] | None]:
    old, new = probe.before.answer_ids, probe.after.answer_ids
    if probe.kind in CHANGE_KINDS:
        return "change", [int(now == new), 1]
    if probe.kind in KEEP_KINDS:
        return "keep", [int(was == old and now == old), int(was == old), int(now == old), 1]
    if old == new:
        return "ripple", None
    if was != old:
        return "ripple", [0, 0, 0, 1]
    return "ripple", [int(now == old), int(now == new), int(now not in (old, new)), 0]


def _append(path: Path, row: dict[str, Any]) -> None:
    """The row stands on a line of its own, written at once so that processes may share the file."""
    line = (json.dumps(row) + "\n").encode()
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        if os.write(file, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        os.fsync(file)
    finally:
        os.close(file)


def _replace(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text("".join(f"{line}\n" for line in _lines(rows)), encoding="utf-8")
    partial.replace(path)


def _lines(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    return (json.dumps(row) for row in rows)
