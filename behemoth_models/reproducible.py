"""The same bits every time, on a GPU as on a CPU. It chooses among kernels and computes nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch


@contextlib.contextmanager
def reproducible(device: torch.device) -> Iterator[None]:
    """While open, one process on one CUDA card computes the same bits every time, wherever torch has a kernel for it.

    Not needed for a CPU, where nothing is changed. On a card, compiled code would sum an embedding's gradient in any
    order, and take for other sums the kernel that happened to be the fastest; where torch has no such kernel it warns.
    """
    if device.type != "cuda":
        yield
        return
    enabled = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic  # a module with a property, which type checkers do not see
    filled = memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    memory.fill_uninitialized_memory = False  # which takes time, and nobody reads such memory
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
        memory.fill_uninitialized_memory = filled
