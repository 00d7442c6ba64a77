"""A study, run: every model trained and every cell edited, side by side, going on where it was cut off.

Nothing here reads options or prints a verdict: a notebook may call run_study() as `behemoth study` does. Whoever trains
and edits, this process alone writes rows.
"""

from __future__ import annotations

import contextlib
import errno
import json
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from behemoth_cli.cores import chosen_threads, usable_cores
from behemoth_cli.crew import Crew, Job, crew_of
from behemoth_cli.study_jobs import Desk, order_of
from behemoth_cli.study_plan import Model, Sweep
from behemoth_data.settings import check, told
from behemoth_editing.checkpoint import Checkpoint, load_checkpoint
from behemoth_editing.sweep.cells import Cell, check_cells, grid, unfinished
from behemoth_editing.sweep.rows import RESULTS, Row, append_row, put_file
from behemoth_editing.sweep.running import row_of

_BEAT_SECONDS = 2.0


def run_study(
    models: Sequence[Model],
    sweeps: Sequence[Sweep],
    output: Path,
    processes: int,
    command: str | None = None,
    *,
    chosen: Sequence[Model] | None = None,
    scheduler: str | None = None,
) -> Clock:
    """The folder has models/ and results/, complete: what was there before is kept, and what is missing was done.

    So many processes of this machine do it, one being this process itself, or with a `scheduler` the workers of the
    dask scheduler at this address, which must see the folder under the same name. With `chosen`, complete for these
    of the models. Rows name the command that asked for them. Returns the clock of all sittings.
    Raises: ValueError for no process, a model of another recipe in the folder, results of other models, a cell that
    a model cannot have, or workers that have not the folder or this code; MissingExtra for several processes without
    dask; OSError for a disk or a scheduler that fails; what a call raised that failed.
    """
    check(processes >= 1, f"processes must be at least 1, got {processes}")
    clock = Clock(output / "time.json")
    chosen = models if chosen is None else chosen
    with crew_of(processes, scheduler, Desk) as crew:
        train_all(chosen, output, processes, clock, crew=crew)
        others = [model for model in models if model not in chosen and is_trained(model, _folder(model, output))]
        cells = cells_of(chosen, sweeps, output)
        check_cells(cells)
        edit_all(cells, output, processes, clock, command, beside=cells_of(others, sweeps, output), crew=crew)
    return clock


def num_processes(processes: int | None, scheduler: str | None) -> int:
    """So many as were asked for, or as usual. Raises: ValueError for none, or a number beside a scheduler."""
    check(
        scheduler is None or processes is None,
        f"processes must be null with dask, whose workers are as many as they are, got {processes}",
    )
    found = usual_processes() if processes is None else processes
    check(found >= 1, f"processes must be at least 1, got {found}")
    return found


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

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """The file is kept up to date while this is open, and at its end."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(_BEAT_SECONDS):
                with contextlib.suppress(OSError):  # the end will tell
                    self.keep()

        beating = threading.Thread(target=beat, daemon=True)
        beating.start()
        try:
            yield
        finally:
            over.set()
            beating.join()
            self.keep()


def train_all(models: Sequence[Model], output: Path, processes: int, clock: Clock, *, crew: Crew | None = None) -> None:
    """The folder's models/ has every model, those that were there before as they were.

    The crew trains them, or if there is none so many processes.
    Raises: ValueError for a model of another recipe in its place; what training raised that failed.
    """
    missing = [model for model in models if not is_trained(model, _folder(model, output))]
    (output / "models").mkdir(parents=True, exist_ok=True)
    jobs = [Job((model, _folder(model, output).resolve()), model.name) for model in missing]
    with (
        tqdm(total=len(models), initial=len(models) - len(missing), desc="models", unit="model") as bar,
        clock.running(),
        _crew(crew, processes) as workers,
    ):

        def done(job: Job, _: Any) -> None:
            model, folder = job.arguments
            check(
                is_trained(model, folder),
                f"output_dir must be a folder that all workers see under the same name, got {output}, where {folder} "
                "has not arrived",
            )
            bar.update()

        def lost(job: Job, why: str) -> None:
            raise OSError(errno.EIO, f"{job.model} could not be trained: {why}")

        workers.do(Desk.teach, jobs, done, lost)


def _folder(model: Model, output: Path) -> Path:
    return output / "models" / model.name


@contextlib.contextmanager
def _crew(crew: Crew | None, processes: int) -> Iterator[Crew]:
    """The crew, or one of its own that goes with it."""
    if crew is not None:
        yield crew
        return
    with crew_of(processes, None, Desk) as own:
        yield own


def is_trained(model: Model, folder: Path) -> bool:
    """Whether the folder holds this very model. Raises: ValueError if it holds one of another recipe."""
    config = folder / "config.json"
    if not config.is_file():
        return False
    held = json.loads(config.read_text(encoding="utf-8")).get("behemoth", {})
    for part in ("world", "lexicon", "corpus", "train"):
        wanted = json.loads(json.dumps(told(getattr(model, part))))
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
    crew: Crew | None = None,
) -> None:
    """The folder's results/ has a row for every cell, those that were there before as they were.

    The crew edits, or if there is none so many processes, and this process alone writes. A cell whose process dies
    again and again has a row that says so. There may be rows of the models of the cells `beside` them too.
    Raises: ValueError for results of other models or code; OSError for a disk that fails.
    """
    results = output / "results"
    missing = {cell.id: cell for cell in unfinished(cells, results, beside=beside)}
    results.mkdir(parents=True, exist_ok=True)
    path = results / RESULTS
    path.touch()
    jobs = [Job((order_of(cell, command),), cell.checkpoint.name, cell.edits) for cell in missing.values()]
    with (
        tqdm(total=len(cells), initial=len(cells) - len(missing), desc="cells", unit="cell") as bar,
        clock.running(),
        _crew(crew, processes) as workers,
    ):

        def done(_: Job, row: Row) -> None:
            append_row(path, row)
            bar.update()

        def lost(job: Job, why: str) -> None:
            done(job, {**row_of(missing[job.arguments[0].cell], command), "error": why})

        workers.do(Desk.edit, jobs, done, lost)
