"""Edit a trained model and measure what changed: accelerate launch scripts/edit.py [RECIPE] --model runs/NAME.

Every method is tried on every scenario and seed; methods with the same seed get the same edits. Running the
same command again does what is missing: finished cells are kept.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from recipe import one_line_errors, parse

from behemoth_data.edits import SCENARIOS, EditConfig
from behemoth_data.settings import check_known, setting
from behemoth_editing import METHODS
from behemoth_editing.checkpoint import load_checkpoint
from behemoth_editing.results import load_results, table
from behemoth_editing.sweep import RESULTS, check_cells, grid, run, unfinished

# The grid sets these two of EditConfig's fields itself.
_GRID = ("scenario", "edit_seed")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunArguments:
    """What is edited and where the results go."""

    model: str = setting("runs/tiny-nested", "folder or Hub id of a model that scripts/train.py made")
    output_dir: str = setting("results/edit", f"folder for {RESULTS}: one row per cell")
    overwrite: bool = setting(False, "remove the results that output_dir holds before starting")


@dataclasses.dataclass(frozen=True, kw_only=True)
class GridArguments:
    """What is compared."""

    methods: list[str] = setting([*METHODS], f"methods to compare: {', '.join(METHODS)}")
    scenarios: list[str] = setting(["single"], f"scenarios: {', '.join(SCENARIOS)}")
    seeds: list[int] = setting([0], "seeds of the edits' draws, one cell each")


# The grid, and how its edits are drawn.
SweepArguments = dataclasses.make_dataclass(
    "SweepArguments",
    [
        (field.name, field.type, setting(field.default, field.metadata["help"]))
        for field in dataclasses.fields(EditConfig)
        if field.name not in _GRID
    ],
    bases=(GridArguments,),
    frozen=True,
    kw_only=True,
)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the cells that are missing, prints the table of all results and one line that says where they are.

    Raises: SystemExit with status 2 for bad settings, 1 for a disk that fails or cells that failed, after one
    line on standard error.
    """
    logging.basicConfig(format="%(message)s")
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")  # peft's concern, not the user's
    arguments, sweep, *settings = parse(
        [RunArguments, SweepArguments],
        argv,
        sections={"sweep": SweepArguments},
        prefixed=METHODS,
        description=__doc__,
    )
    state = Accelerator(mixed_precision="no")  # not PartialState(), which overlooks CPU processes
    if state.device.type == "cpu":  # accelerate leaves every process one thread unless told otherwise
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // state.num_processes))
    output = Path(arguments.output_dir)
    with one_line_errors("edit.py"):
        chosen = dict(zip(METHODS, settings, strict=True))
        for name in sweep.methods:
            check_known("method", name, METHODS)
        edits = EditConfig(
            **{
                field.name: getattr(sweep, field.name)
                for field in dataclasses.fields(EditConfig)
                if field.name not in _GRID
            }
        )
        cells = grid([chosen[name] for name in sweep.methods], sweep.scenarios, sweep.seeds, edits)
        checkpoint = load_checkpoint(arguments.model, state.device)
        check_cells(checkpoint, cells)
        if state.is_main_process and arguments.overwrite:
            (output / RESULTS).unlink(missing_ok=True)
        with state.main_process_first():
            missing = unfinished(checkpoint, cells, output)
        state.wait_for_everyone()  # no row is added before every process has read what there is
        with state.split_between_processes(missing) as share:
            run(checkpoint, share, output, progress=state.is_main_process)
        state.wait_for_everyone()
        if state.is_main_process:
            _conclude(load_results([output]), output, len(cells) - len(missing))


def _conclude(rows: list[dict[str, Any]], output: Path, kept: int) -> None:
    """Raises: SystemExit with status 1 if a cell failed."""
    failed = [row for row in rows if row["error"] is not None]
    print(table(rows))
    for row in failed:
        print(f"{row['method']} {row['scenario']} seed {row['seed']} failed: {row['error']}", file=sys.stderr)
    print(f"{output / RESULTS} holds {len(rows)} cells, {len(failed)} of them failed, {kept} from an earlier run")
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
