"""A command's process: its place among others, and what it says of the machine."""

from __future__ import annotations

import logging
import sys

import torch
import transformers
from accelerate import Accelerator

from behemoth_cli.cores import set_threads
from behemoth_models.precision import resolve_precision


def prepare_process() -> Accelerator:
    """This process's place among all, after it has taken its share of the threads.

    transformers shows no bars: they would be of saving, which takes no time.
    """
    state = Accelerator(mixed_precision="no")  # not PartialState(), which overlooks CPU processes
    set_threads()
    logging.basicConfig(format="%(message)s")
    logging.getLogger("behemoth_models").setLevel(logging.INFO)
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    return state


def announce(state: Accelerator) -> None:
    """Standard error has a line that says what the work that begins now runs on, and in which precision by default."""
    if state.is_main_process:
        threads, precision = torch.get_num_threads(), resolve_precision("auto", state.device)
        print(
            f"on {state.device}, {state.num_processes} x {threads} threads; precision auto is {precision} here",
            file=sys.stderr,
        )
