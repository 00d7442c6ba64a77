"""A command's process: its place among others, what it says of the machine, the memory that it keeps."""

from __future__ import annotations

import ctypes
import logging
import sys

import torch
import transformers
from accelerate import Accelerator

from behemoth_cli.cores import set_threads
from behemoth_models.precision import resolve_precision

# Of mallopt(3): from which size on a block gets pages of its own (glibc takes no more than 32 MB), and how much free
# memory the heap keeps.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> bool:
    """Whether freed memory now stays with this process: where glibc manages it. Elsewhere nothing is done.

    By default glibc gives the memory of a large tensor back at once, and the next one of the same size pays for all
    of its pages again: when probes are scored on a CPU, a sixth of the time.
    """
    if sys.platform != "linux" or not hasattr(library := ctypes.CDLL(None), "mallopt"):
        return False
    return bool(library.mallopt(_M_MMAP_THRESHOLD, 32 * 2**20) and library.mallopt(_M_TRIM_THRESHOLD, 2**30))


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
