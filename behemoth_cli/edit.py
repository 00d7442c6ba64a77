"""Edit trained models and measure what changed: behemoth edit [RECIPE] --model runs/NAME.

Every method is tried on every model, scenario and seed; methods with the same seed get the same edits. An option
with several values is swept: --lora_rank 1 4 16 tries three. A value that consists of several, such as layers, is
one word with commas: --finetune_layers 2,3 4 tries two. Running the same command again does what is missing:
finished cells are kept. The rows stand in results.jsonl, and when all is done in results.parquet with a card, which
datasets.load_dataset reads.
"""

from __future__ import annotations

import dataclasses
import logging
import sys
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from behemoth_cli.process import announce, keep_freed_memory, prepare_process
from behemoth_cli.settings import Options, as_lists, combinations, one_line_errors, parse, place
from behemoth_data.edits import SCENARIOS, EditConfig
from behemoth_data.settings import check, check_known, setting
from behemoth_editing import METHODS
from behemoth_editing.checkpoint import Checkpoint, load_checkpoint
from behemoth_editing.report.dataset import CARD, PICTURE, TABLE, write_results_dataset
from behemoth_editing.report.summaries import load_results
from behemoth_editing.report.text import table
from behemoth_editing.sweep.cells import Cell, check_cells, grid, unfinished
from behemoth_editing.sweep.rows import RESULTS
from behemoth_editing.sweep.running import cell_seconds, run

_LOW_RECALL = 0.95  # of the edited table: what is not known can hardly be said to be edited


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunArguments:
    """What is edited and where the results go."""

    model: list[str] = place(["runs/tiny-nested"], "folders or Hub ids of models that `behemoth train` made")
    output_dir: str = place("results/edit", f"folder for {RESULTS}: one row per cell")
    overwrite: bool = setting(False, "remove the results that output_dir holds before starting")
    require_recall: float | None = setting(
        None,
        "stop before editing a model that knows less than this share of the edited table; none: warn below "
        f"{_LOW_RECALL}",
    )
    dry_run: bool = setting(False, "only show the cells that are missing and roughly how long they take")


@dataclasses.dataclass(frozen=True, kw_only=True)
class GridArguments:
    """What is compared."""

    methods: list[str] = setting(["finetune", "lora", "rome"], f"methods to compare: {', '.join(METHODS)}")
    scenarios: list[str] = setting(["single"], f"scenarios: {', '.join(SCENARIOS)}")
    seeds: list[int] = setting([0], "seeds of the edits' draws, one cell each")


# The grid, and how its edits are drawn.
SweepArguments = as_lists(EditConfig, leave_out=("scenario", "edit_seed"), bases=(GridArguments,))


def options(prog: str = "behemoth edit") -> Options:
    """What the command line takes."""
    return Options([RunArguments, SweepArguments], swept=METHODS, prog=prog, description=__doc__)


def main(argv: Sequence[str] | None = None, prog: str = "behemoth edit") -> None:
    """Runs the cells that are missing, prints the table of all results and one line that says where they are.

    Raises: SystemExit with status 2 for bad settings, 1 for a disk that fails or cells that failed, after one
    line on standard error.
    """
    logging.basicConfig(format="%(message)s")
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")  # peft's concern, not the user's
    arguments, sweep, *settings = parse(options(prog), argv, sections={"sweep": SweepArguments})
    state = prepare_process()
    keep_freed_memory()
    output = Path(arguments.output_dir)
    with one_line_errors(prog):
        chosen = dict(zip(METHODS, settings, strict=True))
        for name in sweep.methods:
            check_known("method", name, METHODS)
        draws = combinations(EditConfig, sweep, scenario=sweep.scenarios, edit_seed=sweep.seeds)
        checkpoints = [load_checkpoint(name, state.device) for name in dict.fromkeys(arguments.model)]
        cells = grid(checkpoints, [method for name in sweep.methods for method in chosen[name]], draws)
        check_cells(cells)
        _check_recall(checkpoints, draws, arguments.require_recall)
        if state.is_main_process and arguments.overwrite and not arguments.dry_run:
            for name in (RESULTS, TABLE, CARD, PICTURE):
                (output / name).unlink(missing_ok=True)
        with state.main_process_first():
            missing = cells if arguments.dry_run and arguments.overwrite else unfinished(cells, output)
        state.wait_for_everyone()  # no row is added before every process has read what there is
        if arguments.dry_run:
            if state.is_main_process:
                _preview(missing, len(cells), state.num_processes)
            return
        announce(state)
        with state.split_between_processes(missing) as share:
            run(share, output, progress=state.is_main_process)
        state.wait_for_everyone()
        if state.is_main_process:
            _conclude(load_results([output]), output, len(cells) - len(missing))


def _check_recall(checkpoints: Sequence[Checkpoint], draws: Sequence[EditConfig], required: float | None) -> None:
    """Raises: ValueError for a model that knows less of an edited table than required."""
    check(required is None or 0 < required <= 1, f"require_recall must lie in (0, 1], got {required}")
    for checkpoint in checkpoints:
        by_edge: Mapping[str, float] = checkpoint.recall.get(checkpoint.corpus.forms[0], {})
        for edge in dict.fromkeys(draw.edge for draw in draws):
            recall = by_edge.get(edge)
            known = "an unknown share" if recall is None else f"{recall:.2%}"
            low = recall is None or recall < (required or _LOW_RECALL)
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


if __name__ == "__main__":
    main()
