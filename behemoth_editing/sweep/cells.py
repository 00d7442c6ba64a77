"""Cells, each a method with its settings on one draw of edits of one model, and which of them are left to run."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
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


class Known:
    """What is known by its id: two of a kind with the same one are equal."""

    checkpoint: Checkpoint
    edits: EditConfig

    @property
    def id(self) -> str:
        """16 hex digits that differ between any two whose results could, under one version of this code."""
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)


@dataclasses.dataclass(frozen=True, eq=False)
class Cell(Known):
    """One method with its settings on one draw of edits of one model. Two with the same id are equal."""

    checkpoint: Checkpoint
    method: EditMethod
    edits: EditConfig

    @functools.cached_property
    def id(self) -> str:
        """That of the model, the method with its settings, the draw and the version of this code."""
        weights, corpus, code = self.checkpoint.weights, self.checkpoint.corpus.digest, version("behemoth-bench")
        return digest([weights, corpus, self.method.name, plain(self.method), self.edits, code])


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
    for checkpoint, edits in distinct_draws(cells):
        draw_edits(checkpoint.corpus, edits)


def distinct_draws(known: Iterable[Known]) -> Iterator[tuple[Checkpoint, EditConfig]]:
    """Every model with each of its draws. Raises: ValueError for two draws of one model that are one set of edits."""
    draws: dict[Checkpoint, dict[EditConfig, None]] = {}
    for one in known:
        draws.setdefault(one.checkpoint, {})[one.edits] = None
    for checkpoint, of_model in draws.items():
        check_distinct(checkpoint.corpus.world, of_model)
        yield from ((checkpoint, edits) for edits in of_model)


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
    no failure that is to be tried again. A dry run leaves the file as it is. Rows of the models of the cells `beside`
    them may be there too, and stay as they are.
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

    def done(row: Row) -> bool:
        return row["error"] is None and (not save_models or kept_models(output, row) is not None)

    left = done_in(path, cells, done, dry_run=dry_run, beside=beside)
    return [cell for cell in cells if cell_id(cell) not in left]


def done_in(
    path: Path, wanted: Sequence[Known], done: Callable[[Row], bool], *, dry_run: bool, beside: Sequence[Known] = ()
) -> set[str]:
    """The ids of those that have a row in the file which is `done`; rows of the others wanted are gone from it.

    A dry run leaves the file as it is. Raises: ValueError for rows of models that neither they nor those `beside` them
    are of, or of another version of this code.
    """
    models = {(one.checkpoint.weights, version("behemoth-bench")) for one in (*wanted, *beside)}
    ids = {one.id for one in wanted}

    def choose(rows: Placed) -> list[Row]:
        for row in rows.values():
            found = (row["weights"]["before"], row["versions"]["behemoth"])
            check(
                found in models,
                f"output_dir must be new or hold results of the same models and code {sorted(models)}, got {found} in "
                f"{path}; choose another folder, or remove that file, as --overwrite does where there is one",
            )
        return [row for row in settled(rows) if row["cell"] not in ids or done(row)]

    return {row["cell"] for row in (choose(read_rows(path)) if dry_run else mend(path, choose)) if done(row)}
