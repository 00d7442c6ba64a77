"""The invented world as a pure function of its config. Ids only; no text here.

Axis letters: n facts asked for; S subjects, R relations, O objects and N nested objects per relation.
"""

from __future__ import annotations

import dataclasses
import enum
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from behemoth_data.rng import Permutation, Stream
from behemoth_data.settings import check, check_known, conform, digest, setting

Int64 = NDArray[np.int64]

# The published configs: what each changes against the defaults of WorldConfig.
PRESETS: dict[str, dict[str, Any]] = {
    "independent": {},
    "correlated": {"correlation": 0.9},
    "nested": {"num_nested_objects": 10},
}
STRUCTURES = ("independent", "correlated", "nested", "correlated_nested")


class Edge(enum.IntEnum):
    """Which table a fact belongs to; the values are the class labels of the published `edge` column."""

    SUBJECT_OBJECT = 0
    SUBJECT_NESTED = 1
    OBJECT_NESTED = 2

    @property
    def label(self) -> str:
        """The name used in data and on the command line, such as "subject_object"."""
        return self.name.lower()

    @classmethod
    def from_label(cls, label: str) -> Edge:
        """Raises: ValueError that lists the known labels."""
        check_known("edge", label, [edge.label for edge in cls])
        return cls[label.upper()]


@dataclasses.dataclass(frozen=True, order=True)
class Fact:
    """One {head, relation, tail} statement of a table; which ids they are depends on the edge.

    SUBJECT_OBJECT (subject, relation, object), SUBJECT_NESTED (subject, relation, nested object),
    OBJECT_NESTED (object, relation, nested object). Objects and nested objects count from 0 in each relation.
    """

    edge: Edge
    head: int
    relation: int
    tail: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorldConfig:
    """What is true in the world; any combination is valid unless a check says why not."""

    num_subjects: int = setting(10_000, "subjects in the world")
    num_relations: int = setting(4, "relations; every subject has one object in each")
    num_objects: int = setting(100, "objects of each relation; relations share no object")
    correlation: float | None = setting(
        None, "probability that a subject's object in relation 1 has the same number as in relation 0"
    )
    binary_first: bool = setting(False, "correlated worlds: relation 0 takes objects 0 and 1 only")
    num_nested_objects: int = setting(
        0, "nested objects of each relation, an equal share of its objects in each; 0: no nesting"
    )
    minority_fraction: float = setting(0.0, "share of facts that have a dissenting second object")
    seed: int = setting(0, "seed of the world's facts, words, corpus order and edits")

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        conform(self)
        check(self.num_subjects >= 1, f"num_subjects must be at least 1, got {self.num_subjects}")
        check(self.num_relations >= 1, f"num_relations must be at least 1, got {self.num_relations}")
        check(
            self.num_objects >= 2,
            f"num_objects must be at least 2 so that an edit can change a fact, got {self.num_objects}",
        )
        for field in ("num_subjects", "num_relations", "num_objects"):
            check(getattr(self, field) < 2**31, f"{field} must be below 2**31, got {getattr(self, field)}")
        self._check_correlation()
        self._check_nesting()
        self._check_minority()

    def _check_correlation(self) -> None:
        if self.correlation is None:
            check(not self.binary_first, "binary_first needs correlation to be set, got correlation None")
            return
        check(
            self.num_relations >= 2,
            f"num_relations must be at least 2 when correlation is set, got {self.num_relations}",
        )
        low = 0.5 if self.binary_first else 1 / self.num_objects
        why = "0.5 with binary_first" if self.binary_first else "1 / num_objects, what chance alone gives"
        check(
            low < self.correlation <= 1,
            f"correlation must be above {low:g} ({why}) and at most 1, got {self.correlation}",
        )

    def _check_nesting(self) -> None:
        nested, objects = self.num_nested_objects, self.num_objects
        if nested == 0:
            return
        check(nested >= 2, f"num_nested_objects must be 0 (no nesting) or at least 2, got {nested}")
        check(
            objects % nested == 0,
            f"num_nested_objects must divide num_objects = {objects} so that every nested object has equally "
            f"many, got {nested}",
        )

    def _check_minority(self) -> None:
        fraction = self.minority_fraction
        check(0 <= fraction <= 1, f"minority_fraction must lie in [0, 1], got {fraction}")
        check(
            fraction == 0 or (self.correlation is None and self.num_nested_objects == 0),
            "minority_fraction must be 0 with correlation or num_nested_objects: a dissenting object would have "
            f"no defined partner or nested object, got {fraction}",
        )

    @property
    def structure(self) -> str:
        """The one of STRUCTURES that the world has."""
        names = ["correlated"] * (self.correlation is not None) + ["nested"] * (self.num_nested_objects > 0)
        return "_".join(names) or "independent"

    @property
    def bits(self) -> float:
        """The entropy of the world's facts: the fewest bits, on average over seeds, that tell all of them.

        A correlated partner counts by what the other relation leaves open, a subject's nested object not at all, since
        it follows from its object, and dissenting objects neither.
        """
        objects, relations = self.num_objects, self.num_relations
        each = math.log2(2 if self.binary_first else objects) + (relations - 1) * math.log2(objects)
        if self.correlation is not None:
            match, miss = self.correlation, 1 - self.correlation
            unsure = -sum(p * math.log2(p) for p in (match, miss) if p > 0)
            each += unsure + miss * math.log2(objects - 1) - math.log2(objects)
        arranged = 0.0  # bits of which object of a relation lies in which nested object
        if nested := self.num_nested_objects:
            arranged = (math.lgamma(objects + 1) - nested * math.lgamma(objects // nested + 1)) / math.log(2)
        return self.num_subjects * each + relations * arranged


class World:
    """Every fact that is true under a config, computed when asked for and never stored.

    `changes` are tails stated to differ from what the config says; `after` makes such worlds.
    """

    def __init__(self, config: WorldConfig, changes: Mapping[tuple[Edge, int, int], int] | None = None) -> None:
        self.config = config
        self.changes = dict(changes or {})
        seed, self._first = config.seed, 2 if config.binary_first else config.num_objects
        self._objects = Stream(seed, "world/objects")
        self._matches = Stream(seed, "world/correlated")
        self._others = Stream(seed, "world/uncorrelated_objects")
        self._dissents = Stream(seed, "world/dissents")
        self._dissenting = Stream(seed, "world/dissenting_objects")
        self._changed = {edge: self._lookup(edge) for edge in {edge for edge, _, _ in self.changes}}

    @property
    def edges(self) -> tuple[Edge, ...]:
        """The tables that this world has."""
        return tuple(Edge) if self.config.num_nested_objects else (Edge.SUBJECT_OBJECT,)

    @property
    def digest(self) -> str:
        """16 hex digits that change whenever a fact could."""
        changes = sorted((int(edge), head, relation, tail) for (edge, head, relation), tail in self.changes.items())
        return digest([self.config, changes])

    def num_heads(self, edge: Edge) -> int:
        """How many heads a relation has in this table. Raises: ValueError if the world lacks the table."""
        check_known("edge", edge.label, [known.label for known in self.edges])
        return self.config.num_objects if edge is Edge.OBJECT_NESTED else self.config.num_subjects

    def num_tails(self, edge: Edge, relation: int | None = None) -> int:
        """How many tails a relation has in this table; with binary_first, relation 0 has two of the objects."""
        if edge is not Edge.SUBJECT_OBJECT:
            return self.config.num_nested_objects
        return self._first if relation == 0 else self.config.num_objects

    def num_facts(self, edge: Edge) -> int:
        """Facts in a table: one per head and relation."""
        return self.num_heads(edge) * self.config.num_relations

    def tails(self, edge: Edge, heads: ArrayLike, relations: ArrayLike) -> Int64:
        """The true tails [n] of the heads [n] under the relations [n] of a table (the inputs broadcast).

        Raises: ValueError for an id outside the world.
        """
        heads, relations = np.broadcast_arrays(np.asarray(heads, np.int64), np.asarray(relations, np.int64))
        self._check_ids("head", heads, self.num_heads(edge))
        self._check_ids("relation", relations, self.config.num_relations)
        if edge is Edge.SUBJECT_OBJECT:
            tails = self._objects_of(heads, relations)
        elif edge is Edge.OBJECT_NESTED:
            tails = self._nested_of(heads, relations)
        else:
            tails = self.nested(self.objects(heads, relations), relations)
        return self._with_changes(edge, heads, relations, tails)

    def objects(self, subjects: ArrayLike, relations: ArrayLike) -> Int64:
        """The objects [n] of the subjects [n] under the relations [n]."""
        return self.tails(Edge.SUBJECT_OBJECT, subjects, relations)

    def nested(self, objects: ArrayLike, relations: ArrayLike) -> Int64:
        """The nested objects [n] that the objects [n] of the relations [n] belong to."""
        return self.tails(Edge.OBJECT_NESTED, objects, relations)

    def fact(self, edge: Edge, head: int, relation: int) -> Fact:
        """The true fact with this head and relation."""
        return Fact(edge, int(head), int(relation), int(self.tails(edge, head, relation)))

    def true_tails(self, facts: Sequence[Fact]) -> list[int]:
        """The tails that the heads of these facts have in this world."""
        tails = [0] * len(facts)
        for edge in {fact.edge for fact in facts}:
            places = [i for i, fact in enumerate(facts) if fact.edge is edge]
            found = self.tails(edge, [facts[i].head for i in places], [facts[i].relation for i in places])
            for i, tail in zip(places, found.tolist(), strict=True):
                tails[i] = tail
        return tails

    def facts(self, edge: Edge, start: int = 0, stop: int | None = None) -> tuple[Int64, Int64, Int64]:
        """Heads, relations and tails of the facts [n] of a table from start up to stop (None: all others).

        Facts stand relation by relation, and only those asked for are computed.
        Raises: ValueError for a range that leaves the table.
        """
        count = self.num_facts(edge)
        stop = count if stop is None else stop
        check(
            0 <= start <= stop <= count,
            f"start and stop of {edge.label} must satisfy 0 <= start <= stop <= {count}, got {start} and {stop}",
        )
        relations, heads = np.divmod(np.arange(start, stop), self.num_heads(edge))
        return heads, relations, self.tails(edge, heads, relations)

    def dissenting_objects(self, subjects: ArrayLike, relations: ArrayLike) -> Int64:
        """The second, different objects [n] of the facts that have one; -1 for those that do not."""
        subjects, relations = np.broadcast_arrays(np.asarray(subjects, np.int64), np.asarray(relations, np.int64))
        index = _index(subjects, relations)
        others = _skip(self._dissenting.integers(index, self.config.num_objects - 1), self.objects(subjects, relations))
        return np.where(self._dissents.uniform(index) < self.config.minority_fraction, others, -1)

    def others(self, edge: Edge, heads: ArrayLike, relations: ArrayLike) -> Int64:
        """A tail [n] for each head and relation [n] of a table that is neither true of it nor dissents.

        Each such tail is equally likely. Raises: ValueError where there is none.
        """
        heads, relations = np.broadcast_arrays(np.asarray(heads, np.int64), np.asarray(relations, np.int64))
        index, true = _index(heads, relations), self.tails(edge, heads, relations)
        second = np.full_like(true, -1)
        if edge is Edge.SUBJECT_OBJECT:
            second = self.dissenting_objects(heads, relations)
        draws = Stream(self.config.seed, f"world/others/{edge.label}")
        others = np.empty_like(true)
        for relation, dissents in itertools.product(np.unique(relations).tolist(), (False, True)):
            rows = (relations == relation) & ((second >= 0) == dissents)
            count = self.num_tails(edge, relation) - 1 - dissents
            check(
                count > 0 or not rows.any(),
                "num_objects must be at least 3 so that an object is neither a fact's own nor its dissenting one, "
                f"got {self.config.num_objects}",
            )
            if rows.any():
                low, high = np.sort([true[rows], second[rows]], axis=0)
                drawn = draws.integers(index[rows], count)
                others[rows] = _skip(_skip(drawn, low), high) if dissents else _skip(drawn, high)
        return others

    def after(self, facts: Iterable[Fact]) -> World:
        """The world in which these facts hold and all that follows from them holds too.

        A changed object carries its subject's nested fact with it, and a changed nested object those of all
        its subjects, unless that SUBJECT_NESTED fact is among the changes itself. A correlation is a habit of
        the world and not a law: partner facts stay as they are.
        """
        changes = dict(self.changes)
        for fact in facts:
            self.tails(fact.edge, fact.head, fact.relation)  # refuses tables and ids that the world lacks
            self._check_ids("tail", np.asarray(fact.tail), self.num_tails(fact.edge))
            changes[fact.edge, fact.head, fact.relation] = fact.tail
        return World(self.config, changes)

    def _objects_of(self, subjects: Int64, relations: Int64) -> Int64:
        config = self.config
        objects = self._objects.integers(_index(subjects, relations), config.num_objects)
        if config.correlation is None:
            return objects
        first = self._objects.integers(_index(subjects, np.zeros_like(relations)), self._first)
        others = _skip(self._others.integers(subjects, config.num_objects - 1), first)
        second = np.where(self._matches.uniform(subjects) < config.correlation, first, others)
        return np.where(relations == 0, first, np.where(relations == 1, second, objects))

    def _nested_of(self, objects: Int64, relations: Int64) -> Int64:
        config, nested = self.config, np.empty_like(objects)
        for relation in np.unique(relations).tolist():
            rows = relations == relation
            place = Permutation(config.num_objects, config.seed, f"world/nested/{relation}")(objects[rows])
            nested[rows] = place // (config.num_objects // config.num_nested_objects)
        return nested

    def _lookup(self, edge: Edge) -> tuple[Int64, Int64]:
        """The changed (head, relation) indices of a table in ascending order [c], and their tails [c]."""
        items = sorted((relation << 32 | head, t) for (e, head, relation), t in self.changes.items() if e is edge)
        table = np.array(items, dtype=np.int64)
        return table[:, 0], table[:, 1]

    def _with_changes(self, edge: Edge, heads: Int64, relations: Int64, tails: Int64) -> Int64:
        if edge not in self._changed:
            return tails
        keys, changed = self._changed[edge]
        index = _index(heads, relations)
        place = np.minimum(np.searchsorted(keys, index), len(keys) - 1)
        return np.where(keys[place] == index, changed[place], tails)

    @staticmethod
    def _check_ids(name: str, ids: Int64, bound: int) -> None:
        if ids.size and (int(ids.min()) < 0 or int(ids.max()) >= bound):
            wrong = int(ids.min()) if int(ids.min()) < 0 else int(ids.max())
            raise ValueError(f"{name} must lie in [0, {bound}), got {wrong}")


def _index(subjects: Int64, relations: Int64) -> Int64:
    """One counter per (subject, relation) that does not depend on how many of either there are."""
    return (relations << 32) | subjects


def _skip(values: Int64, skipped: Int64) -> Int64:
    """Values of [0, n - 1) as values of [0, n) without `skipped`, each remaining one equally likely."""
    return values + (values >= skipped)
