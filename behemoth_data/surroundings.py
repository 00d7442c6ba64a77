"""The facts around a set of edits, found by what they share with it. No text here, and no kinds of probes."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from behemoth_data.rng import Stream
from behemoth_data.scenarios import Edit, EditConfig
from behemoth_data.world import Edge, Fact, World

Int64 = NDArray[np.int64]
_Row = TypeVar("_Row")


@dataclasses.dataclass(frozen=True)
class Pool:
    """Facts of one kind, each with the index of the edit that it was found for, in the order they are taken in."""

    pairs: list[tuple[int, Fact]]
    rows: int | None = None  # for training at most, about half at most; None: the kind is no part of the mixture
    trainable: list[bool] | None = None  # which may be trained and never asked, the others the reverse; None: any

    def split(self, probes_per_edit: int) -> tuple[list[tuple[int, Fact]], list[tuple[int, Fact]]]:
        """The pairs to train on, and for each edit at most so many others to ask."""
        rows = self.rows or 0
        if self.trainable is None:
            rows = min(rows, len(self.pairs) // 2)
            taught, rest = self.pairs[:rows], self.pairs[rows:]
        else:
            sides: tuple[list[tuple[int, Fact]], ...] = ([], [])
            for pair, trainable in zip(self.pairs, self.trainable, strict=True):
                sides[trainable].append(pair)
            rest, taught = sides[0], sides[1][:rows]
        return taught, capped(rest, lambda row: row[0], probes_per_edit)


def capped(rows: Iterable[_Row], group: Callable[[_Row], Hashable], most: int) -> list[_Row]:
    """The first `most` rows of each group, in their order."""
    seen: Counter[Hashable] = Counter()
    kept = []
    for row in rows:
        seen[group(row)] += 1
        if seen[group(row)] <= most:
            kept.append(row)
    return kept


class Surroundings:
    """Everything around edits that are made together. `touched` are the heads that these or other edits change.

    `sides`, which the sets of a sequence share, decides for each fact whether they all may train on it or ask it.
    """

    def __init__(
        self,
        world: World,
        config: EditConfig,
        edits: Sequence[Edit],
        touched: Collection[int],
        stream: Callable[[str], Stream],
        sides: Stream | None = None,
    ) -> None:
        self.world, self.config, self.edits = world, config, edits
        self.edge, self.relation = edits[0].fact.edge, edits[0].fact.relation
        self._stream, self._sides = stream, sides
        self._heads = np.arange(world.num_heads(self.edge))
        self._touched = np.array(sorted(touched), np.int64)
        self._untouched = ~np.isin(self._heads, self._touched)
        self._tails = world.tails(self.edge, self._heads, self.relation)

    @property
    def partner(self) -> int | None:
        """The relation that the edited one is correlated with."""
        correlated = self.world.config.correlation is not None and self.edge is Edge.SUBJECT_OBJECT
        return 1 - self.relation if correlated and self.relation in (0, 1) else None

    def order(self, name: str, size: int) -> Int64:
        """The numbers below `size` in a random order that belongs to this name."""
        return self._stream(name).choice(size, size)

    def each(self, edge: Edge, heads: Sequence[int | None], relation: int | None = None) -> Pool:
        """For each edit a head's fact in a table, under the edited relation or another; none where the head is None."""
        relation = self.relation if relation is None else relation
        return Pool([(i, self.world.fact(edge, head, relation)) for i, head in enumerate(heads) if head is not None])

    def same_tail(self, name: str, tails: Sequence[int | None], rows: int | None = None) -> Pool:
        """Untouched facts of the relation with one of these tails, shared out among the edits that have it."""
        order = self.order(name, len(self._heads))
        known = [tail for tail in tails if tail is not None]
        facts = self._facts(order[self._untouched[order] & np.isin(self._tails[order], known)])
        turns = {tail: itertools.cycle([i for i, t in enumerate(tails) if t == tail]) for tail in known}
        return self.sided([(next(turns[fact.tail]), fact) for fact in facts], rows)

    def other_tails(self, name: str, tails: Sequence[int | None], rows: int | None = None) -> Pool:
        """Untouched facts of the relation with none of these tails, shared out among all edits."""
        order = self.order(name, len(self._heads))
        known = [tail for tail in tails if tail is not None]
        facts = self._facts(order[self._untouched[order] & ~np.isin(self._tails[order], known)])
        return self.sided(self.shared(facts), rows)

    def unrelated(self, edge: Edge, limit: int, *, untouched: bool = True) -> list[Fact]:
        """Facts of other relations and, unless told otherwise, untouched heads in a table, at most `limit`."""
        heads, relations, tails = self.world.facts(edge)
        order = self.order(f"unrelated/{edge.label}", len(heads))
        wanted = relations[order] != self.relation
        # Objects belong to one relation each, so that another relation's are untouched by themselves.
        if untouched and Edge.OBJECT_NESTED not in (edge, self.edge):
            wanted &= ~np.isin(heads[order], self._touched)
        order = order[wanted][:limit]
        return [Fact(edge, int(heads[i]), int(relations[i]), int(tails[i])) for i in order]

    def shared(self, facts: Sequence[Fact]) -> list[tuple[int, Fact]]:
        """The facts, each with an edit, which take them in turn."""
        return [(i % len(self.edits), fact) for i, fact in enumerate(facts)]

    def sided(self, pairs: list[tuple[int, Fact]], rows: int | None = None) -> Pool:
        """A pool of these pairs; in a sequence, of which some may be trained and the others asked."""
        if self._sides is None:
            return Pool(pairs, rows)
        index = np.array([(fact.edge << 56) + (fact.relation << 32) + fact.head for _, fact in pairs], np.int64)
        return Pool(pairs, rows, (self._sides.integers(index, 2) == 1).tolist())

    def _facts(self, heads: Int64) -> list[Fact]:
        return [Fact(self.edge, int(h), self.relation, int(self._tails[h])) for h in heads]
