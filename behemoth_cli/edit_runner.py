"""A grid of edits, run: every cell that is missing, on every process, and the table at the end. It reads no options."""

from __future__ import annotations

import dataclasses
import logging
import sys
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from behemoth_cli.edit import LOW_RECALL, RunArguments
from behemoth_cli.memory import keep_freed_memory
from behemoth_cli.process import announce, prepare_process
from behemoth_data.edits import EditConfig
from behemoth_data.settings import check
from behemoth_editing import EditMethod
from behemoth_editing.checkpoint import Checkpoint, load_checkpoint
from behemoth_editing.report.dataset import CARD, PICTURE, TABLE, write_results_dataset
from behemoth_editing.report.summaries import load_results
from behemoth_editing.report.text import table
from behemoth_editing.sweep.cells import Cell, check_cells, grid, unfinished
from behemoth_editing.sweep.kept import remove_models
from behemoth_editing.sweep.rows import RESULTS
from behemoth_editing.sweep.running import cell_seconds, run


def run_grid(
    arguments: RunArguments, methods: Sequence[EditMethod], draws: Sequence[EditConfig], command: str | None = None
) -> None:
    """Every cell of every model, method and draw has its row, which names the command that asked for it.

    The table of all and where they are is printed.

    Raises: ValueError for cells that cannot be, a model that knows too little, or results of other models or code;
    OSError for a disk that fails; SystemExit with status 1 for cells that failed.
    """
    logging.basicConfig(format="%(message)s")
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")  # peft's concern, not the user's
    state = prepare_process()
    keep_freed_memory()
    output = Path(arguments.output_dir)
    checkpoints = [load_checkpoint(name, state.device) for name in dict.fromkeys(arguments.model)]
    check_pristine(checkpoints, arguments.allow_edited)
    cells = grid(checkpoints, methods, draws)
    check_cells(cells)
    _check_recall(checkpoints, draws, arguments.require_recall)
    if state.is_main_process and arguments.overwrite and not arguments.dry_run:
        for name in (RESULTS, TABLE, CARD, PICTURE):
            (output / name).unlink(missing_ok=True)
        remove_models(output)
    with state.main_process_first():
        missing = (
            cells
            if arguments.dry_run and arguments.overwrite
            else unfinished(cells, output, save_models=arguments.save_models, dry_run=arguments.dry_run)
        )
    state.wait_for_everyone()  # no row is added before every process has read what there is
    if arguments.dry_run:
        if state.is_main_process:
            _preview(missing, len(cells), state.num_processes)
        return
    announce(state)
    with state.split_between_processes(missing) as share:
        run(share, output, progress=state.is_main_process, save_models=arguments.save_models, command=command)
    state.wait_for_everyone()
    if state.is_main_process:
        _conclude(load_results([output]), output, len(cells) - len(missing))


def check_pristine(checkpoints: Sequence[Checkpoint], allowed: bool) -> None:
    """Raises: ValueError for a model that was edited before, unless such are allowed: then a line says so."""
    for checkpoint in checkpoints:
        if not checkpoint.pristine:
            by = ", ".join(str(step.get("method") or "somebody who does not say how") for step in checkpoint.lineage)
            says = f"{checkpoint.name}, which was edited before, by {by}"
            check(allowed, f"model must be as training left it, got {says}; --allow_edited takes it")
            logging.warning("%s is edited again", says)


def _check_recall(checkpoints: Sequence[Checkpoint], draws: Sequence[EditConfig], required: float | None) -> None:
    """Raises: ValueError for a model that knows less of an edited table than required."""
    check(required is None or 0 < required <= 1, f"require_recall must lie in (0, 1], got {required}")
    for checkpoint in checkpoints:
        by_edge: Mapping[str, float] = checkpoint.recall.get(checkpoint.corpus.forms[0], {})
        for edge in dict.fromkeys(draw.edge for draw in draws):
            recall = by_edge.get(edge)
            known = "an unknown share" if recall is None else f"{recall:.2%}"
            low = recall is None or recall < (required or LOW_RECALL)
            says = f"{checkpoint.name} knows {known} of {edge}"
            check(required is None or not low, f"require_recall is {required}, but {says}")
            if low:
                logging.warning("%s: what it does not know cannot be edited", says)


def _preview(missing: Sequence[Cell], total: int, num_processes: int) -> None:
    """Prints a line for every method, its settings, and every scenario, and the time that all of it takes."""
    seconds = cell_seconds(missing)
    kinds = Counter((cell.method, cell.edits.scenario, cell.edits.edge) for cell in missing)
    print(f"{'cells':>6} {'minutes':>8}  method, scenario, table, settings beside the defaults")
    for (method, scenario, edge), count in kinds.items():
        spent = sum(
            seconds[cell]
            for cell in missing
            if (cell.method, cell.edits.scenario, cell.edits.edge) == (method, scenario, edge)
        )
        plain = type(method)()
        changed = [
            f"{field.name}={getattr(method, field.name)}"
            for field in dataclasses.fields(method)  # type: ignore[arg-type]
            if getattr(method, field.name) != getattr(plain, field.name)
        ]
        print(f"{count:6} {spent / 60:8.1f}  {method.name} {scenario} {edge} {' '.join(changed)}".rstrip())
    minutes = sum(seconds.values()) / 60 / num_processes
    print(
        f"{len(missing)} cells of {total} are missing: about {minutes:.1f} minutes in {num_processes} processes, going "
        "by one edit set of each method and scenario"
    )


def _conclude(rows: list[dict[str, Any]], output: Path, kept: int) -> None:
    """Raises: SystemExit with status 1 if a cell failed."""
    failed = [row for row in rows if row["error"] is not None]
    write_results_dataset(rows, output)
    print(table(rows))
    for row in failed:
        print(f"{row['method']} {row['scenario']} seed {row['seed']} failed: {row['error']}", file=sys.stderr)
    print(f"{output / RESULTS} holds {len(rows)} cells, {len(failed)} of them failed, {kept} from an earlier run")
    if failed:
        raise SystemExit(1)
