"""Where the rows of every split come from: any range of rows, without the rows before it. No files here.

A unit is what `start` and `stop` count: a sentence, a fact in one form, or a draw of edits.
"""

from __future__ import annotations

import abc
import bisect
import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
import pyarrow as pa

from behemoth_data.corpus import INVERTED, Corpus
from behemoth_data.edits import EditConfig, EditSet, draw_edits
from behemoth_data.forms import asks, form_of, names_of
from behemoth_data.scenarios import max_edits
from behemoth_data.settings import check
from behemoth_data.tables import EDIT_SCHEMA, FACT_SCHEMA, SentenceTables, edit_table, fact_table, rows_of_facts
from behemoth_data.world import Edge

_SENTENCES_PER_EDIT_SET = 1_000  # an edit set, with its probes, is about as large as so many sentences
# A sequence has the sets of `single`, and the sets of forget and refuse are as large as a relation.
_SCENARIOS = ("single", "identical", "different")


def ranges(start: int, stop: int, size: int) -> list[tuple[int, int]]:
    """The places from start up to stop as (start, stop) of parts that hold `size` each, the last one what is left."""
    return [(first, min(first + size, stop)) for first in range(start, stop, size)]


class Rows(abc.ABC):
    """The rows of one split, in an order that never changes; one unit is one row unless a subclass says otherwise."""

    schema: ClassVar[pa.Schema] = FACT_SCHEMA
    rows_per_block: ClassVar[int] = 10_000  # of one table, at most
    rows_per_group: ClassVar[int] = 50_000  # of one row group of a file

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus

    @property
    @abc.abstractmethod
    def units(self) -> int:
        """How many there are for start and stop to count."""

    def files(self, rows_per_file: int) -> list[tuple[int, int]]:
        """The (start, stop) of every published file; a split without rows is one empty file."""
        return ranges(0, self.units, rows_per_file) or [(0, 0)]

    def shards(self, rows_per_shard: int) -> list[tuple[int, int]]:
        """The (start, stop) of what one process or stream makes at a time."""
        return ranges(0, self.units, rows_per_shard)

    def tables(self, start: int, stop: int) -> Iterator[pa.Table]:
        """The rows from unit start up to unit stop, in tables of at most `rows_per_block`.

        Raises: ValueError for a range that leaves the split.
        """
        within = 0 <= start <= stop <= self.units
        check(within, f"start and stop must lie in order between 0 and {self.units}, got {start} and {stop}")
        return self._tables(start, stop)

    @abc.abstractmethod
    def _tables(self, start: int, stop: int) -> Iterator[pa.Table]:
        """The tables of a range that lies in the split."""


class SentenceRows(Rows):
    """One row per training sentence, in training order."""

    def __init__(self, corpus: Corpus) -> None:
        super().__init__(corpus)
        self._sentences = SentenceTables(corpus)

    @property
    def units(self) -> int:
        """Sentences in the corpus."""
        return len(self.corpus)

    def _tables(self, start: int, stop: int) -> Iterator[pa.Table]:
        for first, last in ranges(start, stop, self.rows_per_block):
            yield self._sentences.table(first, last)


@dataclasses.dataclass(frozen=True)
class FactPart:
    """Facts of one table, each said in one form: those of all heads, or of heads that training asks about or not."""

    edge: Edge
    form: str
    asked: bool | None = None  # None: all heads, by number; else in the corpus's question order

    def count(self, corpus: Corpus) -> int:
        """Facts in the part."""
        return self._num_heads(corpus) * corpus.world.config.num_relations

    def table(self, corpus: Corpus, start: int, stop: int) -> pa.Table:
        """One row per fact from start up to stop, relation by relation."""
        if self.asked is None:
            return fact_table(corpus, self.edge, self.form, start, stop)
        relations, places = np.divmod(np.arange(start, stop), self._num_heads(corpus))
        heads = corpus.question_order(self.edge)(places if self.asked else corpus.num_asked(self.edge) + places)
        tails = corpus.answers(self.edge, self.form, heads, relations)
        return rows_of_facts(corpus, self.edge, self.form, heads, relations, tails)

    def _num_heads(self, corpus: Corpus) -> int:
        every, asked = corpus.world.num_heads(self.edge), corpus.num_asked(self.edge)
        return {None: every, True: asked, False: every - asked}[self.asked]


class FactRows(Rows):
    """One row per fact of each part, the parts one after the other."""

    def __init__(self, corpus: Corpus, parts: Sequence[FactPart]) -> None:
        super().__init__(corpus)
        self.parts = tuple(parts)
        self._starts = list(itertools.accumulate((part.count(corpus) for part in parts), initial=0))

    @property
    def units(self) -> int:
        """Facts in all parts together."""
        return self._starts[-1]

    def _tables(self, start: int, stop: int) -> Iterator[pa.Table]:
        first = bisect.bisect_right(self._starts, start) - 1  # the last part that starts at or before `start`
        for part, begin, end in zip(self.parts[first:], self._starts[first:], self._starts[first + 1 :], strict=False):
            for low, high in ranges(max(start, begin), min(stop, end), self.rows_per_block):
                yield part.table(self.corpus, low - begin, high - begin)


class EditRows(Rows):
    """One row per edit set. A unit is a draw: every seed draws each scenario in each table, in this order."""

    schema: ClassVar[pa.Schema] = EDIT_SCHEMA
    rows_per_block: ClassVar[int] = Rows.rows_per_block // _SENTENCES_PER_EDIT_SET
    rows_per_group: ClassVar[int] = Rows.rows_per_group // _SENTENCES_PER_EDIT_SET

    def __init__(self, corpus: Corpus, edits_per_set: int, edit_seeds: int) -> None:
        super().__init__(corpus)
        self.edits_per_set, self.edit_seeds = edits_per_set, edit_seeds
        self._kinds = [(edge, scenario) for edge in corpus.world.edges for scenario in _SCENARIOS]

    @property
    def units(self) -> int:
        """Draws of all seeds together."""
        return self.edit_seeds * len(self._kinds)

    def files(self, rows_per_file: int) -> list[tuple[int, int]]:
        """As for sentences, with a thousandth of the draws: their edit sets are that much larger."""
        return super().files(max(1, rows_per_file // _SENTENCES_PER_EDIT_SET))

    def shards(self, rows_per_shard: int) -> list[tuple[int, int]]:
        """The draws of each seed."""
        return ranges(0, self.units, len(self._kinds))

    def _tables(self, start: int, stop: int) -> Iterator[pa.Table]:
        for place in range(start, stop):
            seed, kind = divmod(place, len(self._kinds))
            sets = self._draw(seed, *self._kinds[kind])
            for first, last in ranges(0, len(sets), self.rows_per_block):
                yield edit_table(sets[first:last])

    def _draw(self, seed: int, edge: Edge, scenario: str) -> tuple[EditSet, ...]:
        """The edits of one draw, fewer than `edits_per_set` where the world offers fewer."""
        # A row says what there is to train on, so that little is no reason to refuse it.
        config = EditConfig(scenario=scenario, edge=edge.label, edit_seed=seed, least_rows=0)
        count = min(self.edits_per_set, max_edits(self.corpus.world, config))
        return draw_edits(self.corpus, dataclasses.replace(config, num_edits=count))


def splits(corpus: Corpus, *, edits_per_set: int = 0, edit_seeds: int = 0) -> dict[str, Rows]:
    """The splits by name; one that would be empty is not there.

    If edits are asked for, `test` holds them. Else `train` holds the training sentences, `validation` every
    fact in every form of the corpus's grammar that ends in the object, and `test` the questions about heads that
    no training sentence asks about, which `validation` leaves out. Questions are in the forms of that use, taught or
    not, and in whichever others the corpus teaches.
    """
    if edit_seeds:
        return {"test": EditRows(corpus, edits_per_set, edit_seeds)}
    told, edges = corpus.forms[0], corpus.world.edges
    stated = [FactPart(edge, form) for form in (told, INVERTED[told]) for edge in edges]
    questions = dict.fromkeys((*names_of("question"), *filter(asks, corpus.forms)))
    asked, others = (
        [FactPart(edge, form, asked) for form in questions for edge in form_of(form).asked_in(corpus.world)]
        for asked in (True, False)
    )
    parts = {"validation": stated + asked, "test": others}
    found: dict[str, Rows] = {"train": SentenceRows(corpus)}
    found |= {name: FactRows(corpus, split) for name, split in parts.items()}
    return {name: rows for name, rows in found.items() if rows.units}
