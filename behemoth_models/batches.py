"""Corpus -> token batches, sharded by process. One sentence per row, so none can attend to another.

Axis letters: B rows of this process's share of a batch; T tokens of the corpus's longest sentence.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from behemoth_data.corpus import Corpus
from behemoth_data.settings import check


def num_batches(corpus: Corpus, batch_size: int) -> int:
    """Whole batches in one pass over the corpus; the sentences left over are not seen.

    Raises: ValueError if there is not even one.
    """
    check(
        1 <= batch_size <= len(corpus),
        f"batch_size must lie between 1 and the corpus's {len(corpus)} sentences, got {batch_size}",
    )
    return len(corpus) // batch_size


def batches(
    corpus: Corpus, batch_size: int, process_index: int = 0, num_processes: int = 1, start: int = 0
) -> Iterator[torch.Tensor]:
    """Token ids [B, T] of batch `start` and all that follow, in the corpus's order.

    Batch i holds sentences i x batch_size onwards; process p takes rows p, p + num_processes, ... of each, so
    the union over processes does not depend on how many there are.
    Raises: ValueError if the processes cannot share a batch evenly.
    """
    check(
        batch_size % num_processes == 0,
        f"batch_size must be a multiple of the {num_processes} processes, got {batch_size}",
    )
    for i in range(start, num_batches(corpus, batch_size)):
        places = np.arange(i * batch_size + process_index, (i + 1) * batch_size, num_processes)
        yield torch.from_numpy(corpus.tokens(places))
