"""What a process does for a study: it trains a model, or makes the row of a cell. It knows of no other process."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import platform
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
import transformers
from accelerate import Accelerator

from behemoth_cli.cores import set_threads
from behemoth_cli.memory import keep_freed_memory
from behemoth_cli.study_plan import Model
from behemoth_data import build
from behemoth_data.edits import EditConfig
from behemoth_data.settings import check
from behemoth_editing import EditMethod
from behemoth_editing.checkpoint import Checkpoint, load_checkpoint
from behemoth_editing.sweep.cells import Cell
from behemoth_editing.sweep.rows import Row
from behemoth_editing.sweep.running import Runner
from behemoth_models.training import train


@contextlib.contextmanager
def at_work() -> Iterator[None]:
    """While open, this process has one thread, unless the user set another number, and no messages.

    Processes side by side are quicker than threads, and one thread gives the same bits anywhere.
    """
    logs = transformers.utils.logging
    threads, disabled, verbosity = torch.get_num_threads(), logging.root.manager.disable, logs.get_verbosity()
    bars = logs.is_progress_bar_enabled()
    set_threads(most=1)
    keep_freed_memory()
    logs.disable_progress_bar()  # type: ignore[no-untyped-call]
    logs.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.set_num_threads(threads)
        logging.disable(disabled)
        logs.set_verbosity(verbosity)
        if bars:
            logs.enable_progress_bar()  # type: ignore[no-untyped-call]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CellOrder:
    """A cell without its model, for a process that finds that by itself."""

    model: str  # as rows name it
    place: str  # the model's folder, from the root on, or its Hub id
    from_hub: bool
    weights: str  # digest
    method: EditMethod
    edits: EditConfig
    cell: str  # id
    command: str | None  # that asked for it


def order_of(cell: Cell, command: str | None) -> CellOrder:
    """What a process needs to know that is to make the cell's row."""
    checkpoint = cell.checkpoint
    return CellOrder(
        model=checkpoint.name,
        place=checkpoint.name if checkpoint.from_hub else str(Path(checkpoint.name).resolve()),
        from_hub=checkpoint.from_hub,
        weights=checkpoint.weights,
        method=cell.method,
        edits=cell.edits,
        cell=cell.id,
        command=command,
    )


class Desk:
    """What a process works at, one job at a time: it keeps the last model edited, and what was prepared for it."""

    def __init__(self) -> None:
        self._runner = Runner(progress=False)
        self._opened: tuple[str, str] | None = None  # place and digest of the weights
        self._checkpoint: Checkpoint | None = None

    @at_work()
    def teach(self, model: Model, folder: Path) -> None:
        """The folder holds the model. Raises: ValueError for a folder that this machine has not; what train() does."""
        check_seen(folder.parent)
        teach(model, folder)

    @at_work()
    def edit(self, order: CellOrder) -> Row:
        """The cell's row.

        Raises: ValueError for a model or code that is not the one of the process that asks, or edits that its world
        does not have.
        """
        cell = Cell(self._open(order), order.method, order.edits)
        check(
            cell.id == order.cell,
            f"workers must run the same code as the process that they work for, got cell {cell.id} for {order.cell} "
            f"on {platform.node()}",
        )
        return self._runner.row(cell, order.command)

    def _open(self, order: CellOrder) -> Checkpoint:
        if self._checkpoint is None or self._opened != (order.place, order.weights):
            self._checkpoint, self._runner = None, Runner(progress=False)  # first: one model is in memory at a time
            if not order.from_hub:
                check_seen(Path(order.place))
            checkpoint = load_checkpoint(order.place, Accelerator(mixed_precision="no").device)
            check(
                checkpoint.weights == order.weights,
                f"workers must see the models that they are to edit, got other weights in {order.place} on "
                f"{platform.node()}: {checkpoint.weights} for {order.weights}",
            )
            self._checkpoint = dataclasses.replace(checkpoint, name=order.model)
            self._opened = order.place, order.weights
        return self._checkpoint


def check_seen(folder: Path) -> None:
    """Raises: ValueError for a folder that this machine does not see."""
    check(
        folder.is_dir(),
        f"output_dir must be a folder that all workers see under the same name, got {folder}, which {platform.node()} "
        "does not see",
    )


def teach(model: Model, folder: Path) -> None:
    """The folder holds the model; a run that was cut off in it has gone on."""
    train(build(model.world, model.lexicon, model.corpus), model.train, folder, progress=False)
