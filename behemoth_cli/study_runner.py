"""A study, run: every model trained and every cell edited, side by side, going on where it was cut off.

Nothing here reads options or prints a verdict: a notebook may call run_study() as `behemoth study` does.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import logging
import multiprocessing
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

import torch
import transformers
from accelerate import Accelerator
from tqdm import tqdm

from behemoth_cli.cores import chosen_threads, set_threads, usable_cores
from behemoth_cli.memory import keep_freed_memory
from behemoth_cli.study_plan import Model, Sweep
from behemoth_data import build
from behemoth_data.edits import EditConfig
from behemoth_data.settings import check
from behemoth_editing import EditMethod
from behemoth_editing.checkpoint import Checkpoint, load_checkpoint
from behemoth_editing.sweep.cells import Cell, check_cells, grid, unfinished
from behemoth_editing.sweep.rows import RESULTS, put_file
from behemoth_editing.sweep.running import run
from behemoth_models.training import train

_POLL_SECONDS = 2.0


def run_study(
    models: Sequence[Model],
    sweeps: Sequence[Sweep],
    output: Path,
    processes: int,
    command: str | None = None,
    *,
    chosen: Sequence[Model] | None = None,
) -> Clock:
    """The folder has models/ and results/, complete: what was there before is kept, and what is missing was done.

    With `chosen`, complete for these of the models. Rows name the command that asked for them. Returns the clock of all
    sittings.
    Raises: ValueError for no process, a model of another recipe in the folder, results of other models, or a cell that
    a model cannot have; OSError for a disk that fails; what a call raised that failed.
    """
    check(processes >= 1, f"processes must be at least 1, got {processes}")
    clock = Clock(output / "time.json")
    chosen = models if chosen is None else chosen
    train_all(chosen, output, processes, clock)
    others = [model for model in models if model not in chosen and is_trained(model, output / "models" / model.name)]
    cells = cells_of(chosen, sweeps, output)
    check_cells(cells)
    edit_all(cells, output, processes, clock, command, beside=cells_of(others, sweeps, output))
    return clock


def usual_processes() -> int:
    """One for each core that this process may use, or one if there is a GPU."""
    return 1 if torch.cuda.is_available() else max(1, usable_cores() // (chosen_threads() or 1))


class Clock:
    """Seconds that a study took, over all sittings, kept in a file so that a kill loses a moment of them at most."""

    def __init__(self, path: Path) -> None:
        self._path, self._started = path, time.monotonic()
        self._earlier = json.loads(path.read_text(encoding="utf-8"))["seconds"] if path.is_file() else 0.0

    def keep(self) -> float:
        """The seconds so far, which the file holds now."""
        seconds = self._earlier + time.monotonic() - self._started
        self._path.parent.mkdir(parents=True, exist_ok=True)
        put_file(self._path, (json.dumps({"seconds": round(seconds, 1)}) + "\n").encode())
        return seconds


def train_all(models: Sequence[Model], output: Path, processes: int, clock: Clock) -> None:
    """The folder's models/ has every model, those that were there before as they were.

    Raises: ValueError for a model of another recipe in its place; what training raised that failed.
    """
    missing = [model for model in models if not is_trained(model, output / "models" / model.name)]
    with tqdm(total=len(models), initial=len(models) - len(missing), desc="models", unit="model") as bar:

        def tick(left: int) -> None:
            clock.keep()
            bar.update(len(models) - left - bar.n)

        side_by_side(teach, [(model, output / "models" / model.name) for model in missing], processes, tick)


def is_trained(model: Model, folder: Path) -> bool:
    """Whether the folder holds this very model. Raises: ValueError if it holds one of another recipe."""
    config = folder / "config.json"
    if not config.is_file():
        return False
    held = json.loads(config.read_text(encoding="utf-8")).get("behemoth", {})
    for part in ("world", "lexicon", "corpus", "train"):
        wanted = json.loads(json.dumps(dataclasses.asdict(getattr(model, part))))
        check(
            held.get(part) == wanted,
            f"output_dir must be new or of the same recipe, got {folder}, whose {part} is {held.get(part)} and not "
            f"{wanted}; choose another output_dir, or remove that folder",
        )
    return True


def cells_of(models: Sequence[Model], sweeps: Sequence[Sweep], output: Path) -> list[Cell]:
    """Every cell of every sweep, once, those of one model next to each other; the models are read from the folder.

    Raises: OSError for a model that is not there.
    """
    cells: list[Cell] = []
    for model in models:
        checkpoint: Checkpoint | None = None
        for sweep in (sweep for sweep in sweeps if model.family in sweep.families):
            checkpoint = checkpoint or load_checkpoint((output / "models" / model.name).as_posix())
            cells += grid([checkpoint], sweep.methods, sweep.draws)
    return list(dict.fromkeys(cells))


def edit_all(
    cells: Sequence[Cell],
    output: Path,
    processes: int,
    clock: Clock,
    command: str | None = None,
    *,
    beside: Sequence[Cell] = (),
) -> None:
    """The folder's results/ has a row for every cell, those that were there before as they were.

    It may have rows of the models of the cells `beside` them too.
    Raises: ValueError for results of other models or code; OSError for a disk that fails.
    """
    results = output / "results"
    missing = unfinished(cells, results, beside=beside)
    results.mkdir(parents=True, exist_ok=True)
    path = results / RESULTS
    path.touch()
    models = len({cell.checkpoint.name for cell in missing})

    def share(cell: Cell) -> tuple[str, int]:
        # What a method prepares once for a model is prepared by every process that edits it, so models are split
        # only where there are too few of them to keep all processes busy.
        return cell.checkpoint.name, cell.edits.edit_seed if models < 2 * processes else 0

    groups = [list(group) for _, group in itertools.groupby(sorted(missing, key=share), key=share)]
    jobs = [
        (group[0].checkpoint.name, [(cell.method, cell.edits) for cell in group], results, command)
        for group in sorted(groups, key=len, reverse=True)  # the long ones first, so that all end at about one time
    ]
    earlier = len(cells) - len(missing)
    with tqdm(total=len(cells), initial=earlier, desc="cells", unit="cell") as bar:
        lines = _lines(path)

        def tick(left: int) -> None:
            clock.keep()
            bar.update(earlier + _lines(path) - lines - bar.n)

        side_by_side(edit, jobs, processes, tick)


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))


# What one process does


def _ready() -> None:
    """One thread, unless the user set another number, and no messages.

    Processes side by side are quicker than threads, and give the same bits anywhere.

    The process ends with the study, also where that was killed, so that none works on beside the one that goes on.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    set_threads(most=1)
    keep_freed_memory()
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    transformers.utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def teach(model: Model, folder: Path) -> None:
    """The folder holds the model; a run that was cut off in it has gone on."""
    train(build(model.world, model.lexicon, model.corpus), model.train, folder, progress=False)


def edit(folder: str, pairs: Sequence[tuple[EditMethod, EditConfig]], output: Path, command: str | None) -> None:
    """The results hold a row for each pair of a method and a draw on this model."""
    checkpoint = load_checkpoint(folder, Accelerator(mixed_precision="no").device)
    run([Cell(checkpoint, method, edits) for method, edits in pairs], output, progress=False, command=command)


def _start() -> str:
    """How processes are started: as copies of one that has imported torch, where no accelerator refuses such copies."""
    return "forkserver" if sys.platform == "linux" and not torch.accelerator.is_available() else "spawn"


def side_by_side(
    work: Callable[..., None], jobs: Sequence[tuple[Any, ...]], processes: int, tick: Callable[[int], None]
) -> None:
    """`work` has been called with every job's arguments; `tick` is told time and again how many jobs are left.

    Raises: what the first call that failed raised, once the others that run have ended.
    """
    context: Any = multiprocessing.get_context(_start())
    if context.get_start_method() == "forkserver":
        context.set_forkserver_preload([__name__])  # which takes seconds to import: once, and not in every process
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_ready) as pool:
        waiting = {pool.submit(work, *job) for job in jobs}
        try:
            while waiting:
                done, waiting = wait(waiting, timeout=_POLL_SECONDS, return_when="FIRST_COMPLETED")
                for future in done:
                    future.result()
                tick(len(waiting))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
