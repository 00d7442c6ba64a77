"""The memory that a process keeps. Quick to import: nothing here needs torch."""

from __future__ import annotations

import ctypes
import sys

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
