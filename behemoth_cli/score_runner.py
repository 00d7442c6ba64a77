"""Models from elsewhere, scored: every one that has no row, on every process, and the table at the end."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from behemoth_cli.memory import keep_freed_memory
from behemoth_cli.process import announce, prepare_process
from behemoth_cli.score import ScoreArguments, listed_in
from behemoth_data.edits import EditConfig, draw_edits
from behemoth_data.settings import check
from behemoth_editing.checkpoint import load_checkpoint
from behemoth_editing.given import listed_set
from behemoth_editing.report.dataset import write_results_dataset
from behemoth_editing.report.summaries import load_results
from behemoth_editing.report.text import table
from behemoth_editing.sweep.plans import Told, planned, score_outside, unscored
from behemoth_editing.sweep.rows import RESULTS


def run_scores(
    arguments: ScoreArguments, draw: EditConfig | None, said: Sequence[Told], command: str | None = None
) -> None:
    """Every edited model has its row; the table of all rows there and where they are is printed.

    Raises: ValueError for an original that was edited, an edited model that is not the original with changed weights,
    or edits that its world does not have; OSError for a disk that fails.
    """
    logging.basicConfig(format="%(message)s")
    state = prepare_process()
    keep_freed_memory()
    output = Path(arguments.output_dir)
    original = load_checkpoint(arguments.original, state.device)
    check(
        original.pristine or arguments.allow_edited,
        f"original must be as training left it, got {original.name}, which was edited; --allow_edited takes it",
    )
    sets = None if draw is None else draw_edits(original.corpus, draw)
    if arguments.edits:
        sets = (listed_set(original, listed_in(arguments.edits)),)
    rows = planned(original, arguments.edited, said, sets, progress=state.is_main_process)
    missing = unscored(rows, output)
    state.wait_for_everyone()  # no row is added before every process has read what there is
    announce(state)
    with state.split_between_processes(missing) as share:
        score_outside(share, output, command=command, progress=state.is_main_process)
    state.wait_for_everyone()
    if state.is_main_process:
        found = load_results([output])
        write_results_dataset(found, output)
        print(table(found))
        print(
            f"{output / RESULTS} holds {len(found)} cells; {len(missing)} scored now, "
            f"{len(rows) - len(missing)} from an earlier run"
        )
