"""The facts of one relation as marks at places on rings, with the lines between them. Ids and numbers; no model.

A mark is a fact: on the middle ring an object that belongs to a nested object, on the next a subject with its object,
and outside of each subject its nested fact. Nested objects themselves stand inside. Axis letters: S subjects shown.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from behemoth_data.settings import check
from behemoth_data.world import Edge, Fact, World

Int64 = NDArray[np.int64]

MOST_SUBJECTS = 500  # that are shown; of more, the first ones and those that are wanted
SIZE = 1000.0  # of the picture's sides
RADII = {"nested": 185.0, Edge.OBJECT_NESTED: 280.0, Edge.SUBJECT_OBJECT: 420.0, Edge.SUBJECT_NESTED: 455.0}


@dataclasses.dataclass(frozen=True)
class Mark:
    """A fact and where it is drawn."""

    fact: Fact
    x: float
    y: float


@dataclasses.dataclass(frozen=True)
class Scene:
    """All that is drawn of one relation of a world."""

    relation: int
    marks: tuple[Mark, ...]  # facts, table by table, round the ring
    objects: dict[int, tuple[float, float]]  # where objects are, by id
    nested: dict[int, tuple[float, float]]  # where nested objects are; none in a world without

    @property
    def facts(self) -> list[Fact]:
        """The facts of the marks."""
        return [mark.fact for mark in self.marks]


def shown_subjects(world: World, wanted: Collection[int] = ()) -> list[int]:
    """The subjects that a picture has room for, in order: all, or the first ones and those that are wanted.

    Raises: ValueError for a subject that the world does not have.
    """
    count = world.config.num_subjects
    for subject in wanted:
        check(0 <= subject < count, f"subject must lie in [0, {count}), got {subject}")
    first = range(min(count, MOST_SUBJECTS))
    return sorted({*first, *wanted})


def facts_of(world: World, subjects: Collection[int]) -> list[Fact]:
    """Every fact of every relation about these subjects, and of all objects."""
    found: list[Fact] = []
    for edge in world.edges:
        heads = np.arange(world.num_heads(edge)) if edge is Edge.OBJECT_NESTED else np.array(sorted(subjects))
        for relation in range(world.config.num_relations):
            tails = world.tails(edge, heads, relation)
            pairs = zip(heads.tolist(), tails.tolist(), strict=True)
            found += [Fact(edge, head, relation, tail) for head, tail in pairs]
    return found


def scene_of(world: World, relation: int, wanted: Collection[int] = ()) -> Scene:
    """The facts of a relation, with what shares an object or a nested object side by side.

    Raises: ValueError for a relation or a subject that the world does not have.
    """
    subjects = np.array(shown_subjects(world, wanted))
    objects = world.objects(subjects, relation)
    count = world.num_tails(Edge.SUBJECT_OBJECT, relation)
    nesting = Edge.OBJECT_NESTED in world.edges
    lies_in = world.nested(np.arange(count), relation) if nesting else np.zeros(count, np.int64)
    angles = _angles(objects, lies_in)
    marks: list[Mark] = []

    def add(edge: Edge, heads: list[int], tails: list[int], at: list[float]) -> None:
        for head, tail, angle in zip(heads, tails, at, strict=True):
            marks.append(Mark(Fact(edge, head, relation, tail), *_place(RADII[edge], angle)))

    round_ring = np.argsort(angles.subjects, kind="stable")
    at = angles.subjects[round_ring].tolist()
    add(Edge.SUBJECT_OBJECT, subjects[round_ring].tolist(), objects[round_ring].tolist(), at)
    if nesting:
        tails = world.tails(Edge.SUBJECT_NESTED, subjects[round_ring], relation)
        add(Edge.SUBJECT_NESTED, subjects[round_ring].tolist(), tails.tolist(), at)
        order = np.argsort(angles.objects, kind="stable")
        add(Edge.OBJECT_NESTED, order.tolist(), lies_in[order].tolist(), angles.objects[order].tolist())
    centre = RADII[Edge.OBJECT_NESTED]
    return Scene(
        relation,
        tuple(marks),
        {number: _place(centre, angle) for number, angle in enumerate(angles.objects.tolist())},
        {number: _place(RADII["nested"], angle) for number, angle in angles.nested.items()} if nesting else {},
    )


@dataclasses.dataclass(frozen=True)
class _Angles:
    subjects: NDArray[np.float64]  # [S]
    objects: NDArray[np.float64]
    nested: dict[int, float]


def _angles(objects: Int64, lies_in: Int64) -> _Angles:
    """Every subject has a slot of its own, so has every object without one; objects and nested stand in the middle."""
    slots: list[tuple[int, int, int]] = []  # nested, object, place among subjects, or -1 for an object without
    for number, nested in enumerate(lies_in.tolist()):
        own = np.flatnonzero(objects == number).tolist() or [-1]
        slots += [(nested, number, place) for place in own]
    slots.sort()
    turn = 2 * math.pi / len(slots)
    subjects = np.zeros(len(objects))
    by_object: dict[int, list[int]] = {}
    by_nested: dict[int, list[int]] = {}
    for slot, (nested, number, place) in enumerate(slots):
        if place >= 0:
            subjects[place] = slot * turn
        by_object.setdefault(number, []).append(slot)
        by_nested.setdefault(nested, []).append(slot)
    middle = {number: turn * sum(own) / len(own) for number, own in by_object.items()}
    return _Angles(
        subjects,
        np.array([middle[number] for number in range(len(lies_in))]),
        {number: turn * sum(own) / len(own) for number, own in sorted(by_nested.items())},
    )


def _place(radius: float, angle: float) -> tuple[float, float]:
    """Clockwise from the top."""
    middle = SIZE / 2
    return round(middle + radius * math.sin(angle), 1), round(middle - radius * math.cos(angle), 1)


def drawn(scene: Scene, codes: dict[Fact, str], texts: dict[Fact, str], **more: Any) -> dict[str, Any]:
    """What the picture is told: plain numbers and words, with `more` beside them."""
    marks = [
        [int(mark.fact.edge), mark.fact.head, mark.fact.tail, mark.x, mark.y, codes[mark.fact], texts[mark.fact]]
        for mark in scene.marks
    ]
    return {
        "size": SIZE,
        "relation": scene.relation,
        "marks": marks,
        "objects": [[number, *place] for number, place in scene.objects.items()],
        "nested": [[number, *place] for number, place in scene.nested.items()],
        **more,
    }
