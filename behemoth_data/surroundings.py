"""The facts around a set of edits: those that must stay, and those that depend on what changes. No text here."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from behemoth_data.rng import Stream
from behemoth_data.scenarios import Edit
from behemoth_data.world import Edge, Fact, World

Int64 = NDArray[np.int64]
_Row = TypeVar("_Row")


@dataclasses.dataclass(frozen=True)
class Pool:
    """Facts of one kind, in random order, and the edit that each was found for."""

    facts: list[Fact]
    edit: list[int]
    trainable: list[bool] | None = None  # which may be trained and never asked, the others the reverse; None: any

    def split(self, rows: int, probes_per_edit: int) -> tuple[list[Fact], list[tuple[int, Fact]]]:
        """At most `rows` facts for training, about half at most, and for each edit some others to ask."""
        pairs = list(zip(self.edit, self.facts, strict=True))
        if self.trainable is None:
            rows = min(rows, len(pairs) // 2)
            taught, rest = pairs[:rows], pairs[rows:]
        else:
            sides: tuple[list[tuple[int, Fact]], ...] = ([], [])
            for pair, trainable in zip(pairs, self.trainable, strict=True):
                sides[trainable].append(pair)
            rest, taught = sides[0], sides[1][:rows]
        return [fact for _, fact in taught], capped(rest, lambda row: row[0], probes_per_edit)


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
        edits: Sequence[Edit],
        touched: Collection[int],
        stream: Callable[[str], Stream],
        sides: Stream | None = None,
    ) -> None:
        self.world, self.edits, self.stream, self.sides = world, edits, stream, sides
        self.edge, self.relation = edits[0].fact.edge, edits[0].fact.relation
        self._heads = np.arange(world.num_heads(self.edge))
        self._touched = np.array(sorted(touched), np.int64)
        self._untouched = ~np.isin(self._heads, self._touched)
        self._tails = world.tails(self.edge, self._heads, self.relation)

    @property
    def partner(self) -> int | None:
        """The relation that the edited one is correlated with."""
        correlated = self.world.config.correlation is not None and self.edge is Edge.SUBJECT_OBJECT
        return 1 - self.relation if correlated and self.relation in (0, 1) else None

    def same_subject(self) -> list[Pool]:
        """The edited head's facts under other relations, edit by edit; an object has one relation only."""
        others = [r for r in range(self.world.config.num_relations) if r not in (self.relation, self.partner)]
        if self.edge is Edge.OBJECT_NESTED:
            others = []
        heads = np.array([edit.fact.head for edit in self.edits])
        tails = {r: self.world.tails(self.edge, heads, r).tolist() for r in others}
        pools = []
        for i, head in enumerate(heads.tolist()):
            order = self._order(f"same_subject/{i}", len(others)).tolist()
            facts = [Fact(self.edge, head, others[place], tails[others[place]][i]) for place in order]
            pools.append(Pool(facts, [i] * len(facts)))
        return pools

    def same_tail(self, name: str, tails: Sequence[int | None]) -> Pool:
        """Untouched facts of the relation with one of these tails, shared out among the edits that have it."""
        order = self._order(name, len(self._heads))
        known = [tail for tail in tails if tail is not None]
        heads = order[self._untouched[order] & np.isin(self._tails[order], known)]
        facts = self._facts(heads)
        turns = {tail: itertools.cycle([i for i, t in enumerate(tails) if t == tail]) for tail in known}
        return self._pool(facts, [next(turns[fact.tail]) for fact in facts])

    def same_relation(self) -> Pool:
        """Untouched facts of the relation with neither an old nor a new tail."""
        tails = [tail for edit in self.edits for tail in (edit.fact.tail, edit.new_tail) if tail is not None]
        order = self._order("same_relation", len(self._heads))
        return self._shared(self._facts(order[self._untouched[order] & ~np.isin(self._tails[order], tails)]))

    def rest_of_relation(self) -> Pool:
        """Every fact of the relation that is not edited and would change if it were, its edits all being alike."""
        order = self._order("rest_of_relation", len(self._heads))
        facts = self._facts(order[self._untouched[order]])
        return self._shared([fact for fact in facts if fact.tail != self.edits[0].new_tail])

    def unrelated(self, edge: Edge, limit: int, *, untouched: bool = True) -> Pool:
        """Facts of other relations and, unless told otherwise, untouched heads in a table, at most `limit`."""
        heads, relations, tails = self.world.facts(edge)
        order = self._order(f"unrelated/{edge.label}", len(heads))
        wanted = relations[order] != self.relation
        # Objects belong to one relation each, so that another relation's are untouched by themselves.
        if untouched and Edge.OBJECT_NESTED not in (edge, self.edge):
            wanted &= ~np.isin(heads[order], self._touched)
        order = order[wanted][:limit]
        return self._shared([Fact(edge, int(heads[i]), int(relations[i]), int(tails[i])) for i in order])

    def dependants(self) -> Iterator[tuple[str, int, Fact]]:
        """(kind, edit, fact) of nested and partner facts, whether they must stay or may follow."""
        for i, edit in enumerate(self.edits):
            head, relation, new = edit.fact.head, self.relation, edit.new_tail
            if self.partner is not None and (new is None or new < self.world.num_tails(self.edge, self.partner)):
                yield "partner", i, self.world.fact(Edge.SUBJECT_OBJECT, head, self.partner)
            if not self.world.config.num_nested_objects:
                continue
            if self.edge is Edge.SUBJECT_OBJECT:
                yield "nested_subject", i, self.world.fact(Edge.SUBJECT_NESTED, head, relation)
                yield "nested_old_object", i, self.world.fact(Edge.OBJECT_NESTED, edit.fact.tail, relation)
                if new is not None:
                    yield "nested_new_object", i, self.world.fact(Edge.OBJECT_NESTED, new, relation)
            elif self.edge is Edge.SUBJECT_NESTED:
                source = self.world.fact(Edge.SUBJECT_OBJECT, head, relation)
                yield "nested_source", i, source
                yield "nested_source", i, self.world.fact(Edge.OBJECT_NESTED, source.tail, relation)
            else:
                order = self._order(f"siblings/{i}", self.world.config.num_subjects)
                owners = order[self.world.objects(order, relation) == head]
                for subject in owners.tolist():
                    yield "nested_siblings", i, self.world.fact(Edge.SUBJECT_NESTED, subject, relation)

    def _order(self, name: str, size: int) -> Int64:
        return self.stream(name).choice(size, size)

    def _facts(self, heads: Int64) -> list[Fact]:
        return [Fact(self.edge, int(h), self.relation, int(self._tails[h])) for h in heads]

    def _shared(self, facts: list[Fact]) -> Pool:
        return self._pool(facts, [i % len(self.edits) for i in range(len(facts))])

    def _pool(self, facts: list[Fact], edit: list[int]) -> Pool:
        if self.sides is None:
            return Pool(facts, edit)
        index = np.array([(fact.edge << 56) + (fact.relation << 32) + fact.head for fact in facts], np.int64)
        return Pool(facts, edit, (self.sides.integers(index, 2) == 1).tolist())
