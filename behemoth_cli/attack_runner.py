"""A grid of attacks, run: every one that is missing, on every process, then table and figures. It reads no options."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from behemoth_cli.attack import RunArguments
from behemoth_cli.edit_runner import check_pristine
from behemoth_cli.memory import keep_freed_memory
from behemoth_cli.process import announce, prepare_process
from behemoth_data.edits import EditConfig
from behemoth_data.settings import check
from behemoth_editing import EditMethod, Omit
from behemoth_editing.attacks.contract import Attack
from behemoth_editing.bench.floors import Nothing
from behemoth_editing.checkpoint import load_checkpoint
from behemoth_editing.report.attacks import load_attacks, markdown, write_attacks
from behemoth_editing.sweep.attacking import TRIALS, attack_all, by_edited, check_trials, missing, trials


def run_attacks(
    arguments: RunArguments,
    methods: Sequence[EditMethod],
    never_told: Sequence[EditMethod],
    attacks: Sequence[Attack],
    draws: Sequence[EditConfig],
    command: str | None = None,
) -> None:
    """Every attack on every method's model has its row; the table of all and where it is are printed.

    Raises: ValueError for trials that cannot be, or results of other models or code; OSError for a disk that fails;
    SystemExit with status 1 for attacks that failed.
    """
    check(
        len(never_told) <= 1,
        f"{Omit.name} must have one setting of each kind, since all others are set beside it, got {len(never_told)}",
    )
    logging.basicConfig(format="%(message)s")
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")  # peft's concern, not the user's
    state = prepare_process()
    keep_freed_memory()
    output = Path(arguments.output_dir)
    checkpoints = [load_checkpoint(name, state.device) for name in dict.fromkeys(arguments.model)]
    check_pristine(checkpoints, arguments.allow_edited)
    wanted = trials(checkpoints, draws, [Nothing(), *never_told, *methods], attacks)
    check_trials(wanted)
    if state.is_main_process and arguments.overwrite and not arguments.dry_run and output.is_dir():
        for old in (output / TRIALS, *output.glob("attacks*.md"), *output.glob("attacks-*.svg")):
            old.unlink(missing_ok=True)
    with state.main_process_first():
        left = (
            wanted if arguments.dry_run and arguments.overwrite else missing(wanted, output, dry_run=arguments.dry_run)
        )
    state.wait_for_everyone()  # no row is added before every process has read what there is
    groups = by_edited(left)
    if arguments.dry_run:
        if state.is_main_process:
            print(f"{len(left)} attacks of {len(wanted)} are missing, on {len(groups)} edited models")
        return
    announce(state)
    with state.split_between_processes(groups) as part:
        attack_all(part, output, progress=state.is_main_process, command=command)
    state.wait_for_everyone()
    if state.is_main_process:
        _conclude(output, len(wanted) - len(left))


def _conclude(output: Path, kept: int) -> None:
    """Raises: SystemExit with status 1 if an attack failed."""
    rows = load_attacks(output)
    files = write_attacks(rows, output)
    failed = [row for row in rows if row["error"] is not None]
    print(markdown(rows))
    for row in failed:
        print(f"{row['attack']} on {row['method']} seed {row['seed']} failed: {row['error']}", file=sys.stderr)
    refused = sum(row["refused"] is not None for row in rows)
    print(
        f"{output / TRIALS} holds {len(rows)} attacks, {refused} of them could not be tried, {len(failed)} failed, "
        f"{kept} from an earlier run; beside it: {', '.join(files)}"
    )
    if failed:
        raise SystemExit(1)
