"""The facts around a set of edits, found by what they share with it. No text here, and no kinds of probes."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from behemoth_data.rng import Stream
from behemoth_data.scenarios import Edit, EditConfig, num_edited
from behemoth_data.world import Edge, Fact, World

Int64 = NDArray[np.int64]
_Row = TypeVar("_Row")


# So much is trained on of what is on the training side on average, which hardly any draw lacks: worlds of one size then
# have the same number, whatever their structure.
SURE = 0.75


@dataclasses.dataclass(frozen=True)
class Pool:
    """Facts of one kind, each with the index of the edit that it was found for, in the order they are taken in."""

    pairs: list[tuple[int, Fact]]
    rows: int | None = None  # for training at most; None: the kind is no part of the mixture
    trainable: list[bool] | None = None  # which may be trained and never asked, the others the reverse; None: all asked

    @property
    def taught(self) -> list[tuple[int, Fact]]:
        """The pairs to train on."""
        return self._side(True)[: self.rows or 0]

    @property
    def asked(self) -> list[tuple[int, Fact]]:
        """The pairs that may be asked."""
        return self._side(False)

    def _side(self, wanted: bool) -> list[tuple[int, Fact]]:
        sides = [False] * len(self.pairs) if self.trainable is None else self.trainable
        return [pair for pair, side in zip(self.pairs, sides, strict=True) if side == wanted]


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

    Heads are split in two: facts of the one half may be trained on, facts of the other asked, so that no method
    trains on a fact whose head is asked another. The split goes through each tail of the edited relation, and through
    the touched heads apart. `sides` are its streams, which the sets of a sequence share.
    """

    def __init__(
        self,
        world: World,
        config: EditConfig,
        edits: Sequence[Edit],
        touched: Collection[int],
        stream: Callable[[str], Stream],
        sides: Callable[[str], Stream],
    ) -> None:
        self.world, self.config, self.edits = world, config, edits
        self.edge, self.relation = edits[0].fact.edge, edits[0].fact.relation
        self._stream = stream
        self._heads = np.arange(world.num_heads(self.edge))
        self._touched = np.array(sorted(touched), np.int64)
        self._untouched = ~np.isin(self._heads, self._touched)
        self._tails = world.tails(self.edge, self._heads, self.relation)
        self._sides = self._split(sides)

    def _split(self, sides: Callable[[str], Stream]) -> dict[Edge, NDArray[np.bool_]]:
        """Of every table, the heads [relation, head] whose facts may be trained on."""
        num_relations = self.world.config.num_relations
        own = np.zeros((num_relations, len(self._heads)), np.bool_)
        order = sides("heads").choice(len(self._heads), len(self._heads))
        order = order[np.argsort(self._tails[order], kind="stable")]
        for part in (order[self._untouched[order]], order[~self._untouched[order]]):
            own[:, part[1::2]] = True
        found = {}
        for edge in self.world.edges:
            if (edge is Edge.OBJECT_NESTED) == (self.edge is Edge.OBJECT_NESTED):
                found[edge] = own
                continue
            # Subjects are the same ones in every relation; objects belong to one relation each.
            num_heads = self.world.num_heads(edge)
            num_kinds = num_relations if edge is Edge.OBJECT_NESTED else 1
            others = np.zeros(num_kinds * num_heads, np.bool_)
            others[sides("other heads").choice(len(others), len(others))[1::2]] = True
            found[edge] = np.broadcast_to(others.reshape(num_kinds, num_heads), (num_relations, num_heads))
        return found

    @property
    def partner(self) -> int | None:
        """The relation that the edited one is correlated with."""
        correlated = self.world.config.correlation is not None and self.edge is Edge.SUBJECT_OBJECT
        return 1 - self.relation if correlated and self.relation in (0, 1) else None

    @property
    def num_chosen(self) -> int:
        """How many facts the edits are about; of a relation that is forgotten, those that are so already count too."""
        return num_edited(self.world, self.config) if self.config.whole else len(self.edits)

    @property
    def num_untouched(self) -> int:
        """How many heads of the edited table no edit changes."""
        return int(self._untouched.sum())

    def order(self, name: str, size: int) -> Int64:
        """The numbers below `size` in a random order that belongs to this name."""
        return self._stream(name).choice(size, size)

    def trainable(self, facts: Iterable[Fact]) -> list[bool]:
        """Whether each fact is one that may be trained on, and its head's facts are never asked."""
        return [bool(self._sides[fact.edge][fact.relation, fact.head]) for fact in facts]

    def each(self, edge: Edge, heads: Sequence[int | None], relation: int | None = None) -> Pool:
        """For each edit a head's fact in a table, under the edited relation or another; none where the head is None.

        Where a relation is forgotten, half of the subjects are trained on, so that only the others are asked.
        """
        relation = self.relation if relation is None else relation
        numbers, known = [i for i, head in enumerate(heads) if head is not None], [h for h in heads if h is not None]
        pairs = list(zip(numbers, self._true(edge, known, relation), strict=True))
        of_subjects = self.config.whole and edge is not Edge.OBJECT_NESTED
        return Pool(pairs, trainable=self.trainable(fact for _, fact in pairs) if of_subjects else None)

    def same_tail(self, name: str, tails: Sequence[int | None], rows: int | None = None) -> Pool:
        """Untouched facts of the relation with one of these tails, shared out among the edits that have it."""
        order = self.order(name, len(self._heads))
        known = [tail for tail in tails if tail is not None]
        facts = self._facts(order[self._untouched[order] & np.isin(self._tails[order], known)])
        return self._shared(facts, rows, {tail: [i for i, t in enumerate(tails) if t == tail] for tail in known})

    def other_tails(self, name: str, tails: Sequence[int | None], rows: int | None = None) -> Pool:
        """Untouched facts of the relation with none of these tails, shared out among all edits.

        Of those to train on at most SURE of what there would be if all tails were alike, so that chance decides no
        number.
        """
        order = self.order(name, len(self._heads))
        known = {tail for tail in tails if tail is not None}
        facts = self._facts(order[self._untouched[order] & ~np.isin(self._tails[order], list(known))])
        share = 1 - len(known) / self.world.num_tails(self.edge, self.relation)
        most = max(1, int(SURE * share * (self.num_untouched // 2)))
        return self._shared(facts, None if rows is None else min(rows, most))

    def unrelated(self, edge: Edge, rows: int | None, asked: int, *, untouched: bool = True) -> Pool:
        """Facts of other relations and, unless told otherwise, untouched heads in a table: at most so many a side."""
        heads, relations, tails = self.world.facts(edge)
        order = self.order(f"unrelated/{edge.label}", len(heads))
        wanted = relations[order] != self.relation
        # Objects belong to one relation each, so that another relation's are untouched by themselves.
        if untouched and Edge.OBJECT_NESTED not in (edge, self.edge):
            wanted &= ~np.isin(heads[order], self._touched)
        order = order[wanted]
        side = self._sides[edge][relations[order], heads[order]]
        order = np.concatenate([order[side][:rows], order[~side][:asked]])
        facts = [Fact(edge, int(heads[i]), int(relations[i]), int(tails[i])) for i in order]
        return self._shared(facts, rows)

    def sided(self, pairs: list[tuple[int, Fact]], rows: int | None = None) -> Pool:
        """A pool of these pairs, of which some may be trained and the others asked."""
        return Pool(pairs, rows, self.trainable(fact for _, fact in pairs))

    def _shared(self, facts: Sequence[Fact], rows: int | None, owners: Mapping[int, list[int]] | None = None) -> Pool:
        """A pool of these facts: on either side edits take them in turn, all edits or those that own a fact's tail."""
        turns: dict[tuple[bool, int | None], Iterator[int]] = {}
        pairs, sides = [], self.trainable(facts)
        for fact, side in zip(facts, sides, strict=True):
            place = (side, fact.tail if owners else None)
            if place not in turns:
                turns[place] = itertools.cycle(owners[fact.tail] if owners else range(len(self.edits)))
            pairs.append((next(turns[place]), fact))
        return Pool(pairs, rows, sides)

    def siblings(self, number: int) -> Pool:
        """For an edit of an object its subjects' nested facts."""
        order = self.order(f"siblings/{number}", self.world.config.num_subjects)
        owners = order[self.world.objects(order, self.relation) == self.edits[number].fact.head].tolist()
        return self.sided([(number, fact) for fact in self._true(Edge.SUBJECT_NESTED, owners, self.relation)])

    def _true(self, edge: Edge, heads: Sequence[int], relation: int) -> list[Fact]:
        """The true facts [n] of these heads [n] in a table, under one relation."""
        tails = self.world.tails(edge, heads, relation).tolist()
        return [Fact(edge, int(head), int(relation), tail) for head, tail in zip(heads, tails, strict=True)]

    def _facts(self, heads: Int64) -> list[Fact]:
        return [Fact(self.edge, int(h), self.relation, int(self._tails[h])) for h in heads]
