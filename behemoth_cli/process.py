"""How a command's process shares the machine: its threads, its place among other processes, the memory it keeps."""

from __future__ import annotations

import ctypes
import os
import sys

import torch
import transformers
from accelerate import Accelerator

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


def set_threads(threads: int | None = None, num_processes: int = 1) -> None:
    """Torch computes with so many threads, or with this process's share of the cores.

    accelerate leaves every process one thread unless it is told otherwise.
    """
    torch.set_num_threads(threads or max(1, (os.cpu_count() or 1) // num_processes))


def prepare_process() -> Accelerator:
    """This process's place among all, after it has taken its share of the threads."""
    state = Accelerator(mixed_precision="no")  # not PartialState(), which overlooks CPU processes
    if state.device.type == "cpu":
        set_threads(num_processes=state.num_processes)
    transformers.utils.logging.disable_progress_bar()  # its bars are of saving, which takes no time
    return state
