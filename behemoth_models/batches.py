"""Corpus -> token batches, sharded by process. One sentence per row, so none can attend to another.

Axis letters: B rows of a batch, over all processes; T tokens of the longest sentence of some rows.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from behemoth_data.corpus import Corpus
from behemoth_data.lexicon import END, PADDING
from behemoth_data.settings import check

Int64 = NDArray[np.int64]

_COMPARED = 100  # rows of a dataset that are compared with the corpus


class Sentences(Protocol):
    """Where training sentences come from: a corpus itself, or rows that were exported from one."""

    def tokens(self, places: Int64) -> NDArray[Any]:
        """Token ids [n, T] of the sentences at these places [n] of the training order, padded on the right.

        A row of nothing but padding is a sentence left out: it teaches nothing, and all others keep their places.
        """


class RowSentences:
    """The training sentences of an exported dataset, as the token ids of the corpus that it was exported from."""

    def __init__(self, dataset: Any, corpus: Corpus) -> None:
        """`dataset` is a `train` split of `datasets`, with random access.

        Raises: ValueError unless it has as many sentences as the corpus, and the same ones at the start.
        """
        check(
            len(dataset) == len(corpus),
            f"data must hold the corpus's {len(corpus)} training sentences, got {len(dataset)}",
        )
        self._dataset, self._width = dataset.select_columns(["text"]), corpus.max_length
        self._corpus = corpus
        start = np.arange(min(_COMPARED, len(corpus)))
        differ = np.flatnonzero((self.tokens(start) != corpus.tokens(start)).any(axis=1))
        check(
            not differ.size,
            f"data must hold the corpus's sentences in its order, got another one in row {differ[:1].tolist()}",
        )

    def tokens(self, places: Int64) -> NDArray[Any]:
        """Token ids [n, T]. Raises: ValueError for a text with a word that the corpus's vocabulary lacks."""
        ids = self._corpus.grammar.lexicon.token_ids
        block = np.full((len(places), self._width), ids[PADDING], np.int64)
        for row, text in enumerate(self._dataset[places.tolist()]["text"]):
            words = self._corpus.grammar.split(text)
            unknown = [word for word in words if word not in ids]
            check(not unknown, f"data must be in the words of the corpus, got {unknown[:1]} in {text!r}")
            check(len(words) < self._width, f"data must have at most {self._width - 1} words a sentence, got {text!r}")
            block[row, : len(words) + 1] = [*(ids[word] for word in words), ids[END]]
        return block


def num_batches(corpus: Corpus, batch_size: int) -> int:
    """Whole batches in one pass over the corpus; the sentences left over are not seen.

    Raises: ValueError if there is not even one.
    """
    check(
        1 <= batch_size <= len(corpus),
        f"batch_size must lie between 1 and the corpus's {len(corpus)} sentences, got {batch_size}",
    )
    return len(corpus) // batch_size


class Feed:
    """The batches of one process, each cut into equally many parts. Batch i holds sentences i x B onwards.

    Process p takes rows p, p + num_processes, ... of each batch, so the union over processes does not depend on
    how many there are. A process's rows are ordered by length before they are cut into parts, and no part is
    wider than its longest sentence.
    """

    def __init__(
        self,
        corpus: Corpus,
        batch_size: int,
        *,
        num_parts: int = 1,
        process_index: int = 0,
        num_processes: int = 1,
        device: torch.device | str = "cpu",
        sentences: Sentences | None = None,
    ) -> None:
        """`sentences` are the corpus's own unless others are given.

        Raises: ValueError if the processes cannot share a batch evenly, or a process its rows among the parts.
        """
        num_batches(corpus, batch_size)
        check(
            batch_size % (num_processes * num_parts) == 0,
            f"batch_size must be a multiple of {num_processes} processes x {num_parts} accumulation_steps, "
            f"got {batch_size}",
        )
        self.corpus, self.batch_size, self.device = corpus, batch_size, torch.device(device)
        self._num_parts, self._index, self._num_processes = num_parts, process_index, num_processes
        self._sentences: Sentences = corpus if sentences is None else sentences
        self._padding = corpus.grammar.lexicon.token_ids[PADDING]
        # On an accelerator the distinct sentences live there, so that a batch is gathered and not copied.
        on_device = self.device.type != "cpu" and sentences is None and not corpus.varied
        self._known = torch.from_numpy(_distinct(corpus)).to(self.device) if on_device else None

    def places(self, step: int) -> Int64:
        """Which sentences of the training order batch `step` holds [B], over all processes."""
        return np.arange(step * self.batch_size, (step + 1) * self.batch_size)

    def parts(self, step: int) -> tuple[list[torch.Tensor], int]:
        """This process's token ids of batch `step`, part by part [rows, T], and the batch's predicted tokens.

        Every token but a sentence's first is predicted; they are counted over all processes.
        """
        places = self.places(step)
        tokens = self._sentences.tokens(places)
        lengths = (tokens != self._padding).sum(axis=1)
        own = np.arange(self._index, self.batch_size, self._num_processes)
        own = own[np.argsort(lengths[own], kind="stable")]
        if self._known is None:
            rows = torch.from_numpy(tokens[own].astype(np.int64)).to(self.device)
        else:
            numbers = torch.from_numpy(self.corpus.numbers(places[own])).to(self.device)
            rows = self._known[numbers].long()
        size = len(own) // self._num_parts
        parts = [
            rows[start : start + size, : max(2, int(lengths[own[start : start + size]].max()))]
            for start in range(0, len(own), size)
        ]
        # At least 1, since a batch that was left out whole has a loss too, which is 0.
        return parts, max(1, int(np.maximum(lengths - 1, 0).sum()))


def _distinct(corpus: Corpus) -> NDArray[np.int32]:
    """Token ids [D, T] of the corpus's distinct sentences."""
    return corpus.distinct(np.arange(corpus.num_distinct)).astype(np.int32)
