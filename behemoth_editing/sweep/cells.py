"""Cells, each a method with its settings on one draw of edits of one model, and which of them are left to run."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

from behemoth_data.edits import EditConfig, draw_edits
from behemoth_data.places import local_path
from behemoth_data.scenarios import check_distinct
from behemoth_data.settings import check, digest
from behemoth_editing.checkpoint import Checkpoint
from behemoth_editing.methods.contract import EditMethod
from behemoth_editing.sweep.kept import MODELS, kept_models
from behemoth_editing.sweep.plain import plain
from behemoth_editing.sweep.rows import RESULTS, Placed, Row, mend, read_rows, settled


@dataclasses.dataclass(frozen=True, eq=False)
class Cell:
    """One method with its settings on one draw of edits of one model. Two with the same id are equal."""

    checkpoint: Checkpoint
    method: EditMethod
    edits: EditConfig

    @functools.cached_property
    def id(self) -> str:
        """16 hex digits that differ between any two cells whose results could, under one version of this code."""
        weights, corpus, code = self.checkpoint.weights, self.checkpoint.corpus.digest, version("behemoth-bench")
        return digest([weights, corpus, self.method.name, plain(self.method), self.edits, code])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cell) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)


def cell_id(cell: Cell) -> str:
    """The id of a cell, by which its row is known."""
    return cell.id


def grid(checkpoints: Iterable[Checkpoint], methods: Iterable[EditMethod], draws: Iterable[EditConfig]) -> list[Cell]:
    """Every combination as a cell, once, those of one model and one draw next to each other."""
    combinations = itertools.product(checkpoints, draws, methods)
    return list(dict.fromkeys(Cell(checkpoint, method, edits) for checkpoint, edits, method in combinations))


def check_cells(cells: Sequence[Cell]) -> None:
    """Raises: ValueError for the first cell that its model or its world cannot have. Runs no edit."""
    for cell in cells:
        cell.method.check(cell.checkpoint.model)
    draws: dict[Checkpoint, dict[EditConfig, None]] = {}
    for cell in cells:
        draws.setdefault(cell.checkpoint, {})[cell.edits] = None
    for checkpoint, of_model in draws.items():
        check_distinct(checkpoint.corpus.world, of_model)
        for edits in of_model:
            draw_edits(checkpoint.corpus, edits)


def unfinished(
    cells: Sequence[Cell],
    output: Path,
    *,
    save_models: bool = False,
    dry_run: bool = False,
    beside: Sequence[Cell] = (),
) -> list[Cell]:
    """The cells that `output` has no good row for, or with `save_models` not all the edited models that it tells of.

    Its file then has one row for each cell that is done: no line that a kill cut short, no second copy of a cell, and
    no failure that is to be tried again. A dry run leaves the file as it is. Rows of
    the models of the cells `beside` them may be there too, and stay as they are.
    Raises: ValueError if the rows there are of other models or another version of this code.
    """
    output = local_path("output_dir", output)
    path = output / RESULTS
    if not path.exists():
        check(
            not output.exists() or (output.is_dir() and {file.name for file in output.iterdir()} <= {MODELS}),
            f"output_dir must be new, empty or hold a {RESULTS}, got {output}, which holds something else",
        )
        return list(cells)
    wanted = {(cell.checkpoint.weights, version("behemoth-bench")) for cell in (*cells, *beside)}
    wanted_cells = {cell_id(cell) for cell in cells}

    def choose(rows: Placed) -> list[Row]:
        for row in rows.values():
            found = (row["weights"]["before"], row["versions"]["behemoth"])
            check(
                found in wanted,
                f"output_dir must be new or hold results of the same models and code {sorted(wanted)}, got {found} in "
                f"{path}; choose another folder, or remove that file, as --overwrite of behemoth edit does",
            )
        return [row for row in settled(rows) if row["cell"] not in wanted_cells or done(row, save_models)]

    def done(row: Row, kept: bool) -> bool:
        return row["error"] is None and (not kept or kept_models(output, row) is not None)

    rows = choose(read_rows(path)) if dry_run else mend(path, choose)
    left = {row["cell"] for row in rows if done(row, save_models)}
    return [cell for cell in cells if cell_id(cell) not in left]
