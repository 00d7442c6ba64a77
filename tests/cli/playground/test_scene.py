"""Facts at their places: nothing missing, nothing twice, what belongs together side by side."""

import math

import pytest

from behemoth_cli.playground import scene as scenes
from behemoth_cli.playground.scene import RADII, SIZE, drawn, facts_of, scene_of, shown_subjects
from behemoth_data import Edge, World, WorldConfig
from behemoth_data.world import Fact

NESTED = World(WorldConfig(num_subjects=40, num_relations=3, num_objects=12, num_nested_objects=4))
FLAT = World(WorldConfig(num_subjects=40, num_relations=2, num_objects=12))


def angle(x, y):
    return math.atan2(x - SIZE / 2, SIZE / 2 - y) % (2 * math.pi)


@pytest.mark.parametrize("world", [NESTED, FLAT])
def test_every_fact_of_the_relation_is_a_mark_once(world):
    found = scene_of(world, 1).facts
    wanted = [
        Fact(edge, head, 1, int(world.tails(edge, head, 1)))
        for edge in world.edges
        for head in range(world.num_heads(edge))
    ]
    assert sorted(found) == sorted(wanted)
    assert len(set(found)) == len(found)


def test_marks_lie_on_the_ring_of_their_table_and_none_on_another():
    found = scene_of(NESTED, 0)
    for mark in found.marks:
        far = math.hypot(mark.x - SIZE / 2, mark.y - SIZE / 2)
        assert far == pytest.approx(RADII[mark.fact.edge], abs=0.2)
    assert len({(mark.x, mark.y) for mark in found.marks}) == len(found.marks)


def test_subjects_of_one_object_stand_side_by_side_and_so_do_objects_of_one_nested_object():
    found = scene_of(NESTED, 2)
    for edge in (Edge.SUBJECT_OBJECT, Edge.SUBJECT_NESTED, Edge.OBJECT_NESTED):
        tails = [mark.fact.tail for mark in found.marks if mark.fact.edge is edge]
        runs = sum(one != other for one, other in zip(tails, [*tails[1:], tails[0]], strict=True))
        assert runs == (len(set(tails)) if len(set(tails)) > 1 else 0)


def test_object_stands_in_the_middle_of_its_subjects():
    found = scene_of(FLAT, 0)
    for number, place in found.objects.items():
        own = sorted(angle(m.x, m.y) for m in found.marks if m.fact.tail == number)
        if own:
            assert angle(*place) == pytest.approx(sum(own) / len(own), abs=0.01)


def test_world_without_nesting_has_one_table_and_no_nested_object():
    found = scene_of(FLAT, 0)
    assert {mark.fact.edge for mark in found.marks} == {Edge.SUBJECT_OBJECT}
    assert found.nested == {}
    assert sorted(scene_of(NESTED, 0).nested) == [0, 1, 2, 3]


def test_large_world_shows_the_first_subjects_and_those_that_are_wanted(monkeypatch):
    monkeypatch.setattr(scenes, "MOST_SUBJECTS", 5)
    assert shown_subjects(FLAT, [3, 39]) == [0, 1, 2, 3, 4, 39]
    assert len(scene_of(FLAT, 0, [39]).marks) == 6
    with pytest.raises(ValueError, match=r"subject must lie in \[0, 40\), got 40"):
        shown_subjects(FLAT, [40])


def test_facts_of_subjects_are_all_of_theirs_and_those_of_all_objects():
    found = facts_of(NESTED, [7, 2])
    assert len(found) == len(set(found)) == 2 * 2 * 3 + 12 * 3
    assert {fact.head for fact in found if fact.edge is not Edge.OBJECT_NESTED} == {2, 7}
    assert [fact.tail for fact in found] == NESTED.true_tails(found)


def test_picture_is_told_plain_numbers_and_words():
    found = scene_of(FLAT, 0)
    told = drawn(found, dict.fromkeys(found.facts, "kept"), dict.fromkeys(found.facts, "x"), picked=[0, 3])
    first = found.marks[0]
    assert told["marks"][0] == [0, first.fact.head, first.fact.tail, first.x, first.y, "kept", "x"]
    assert (told["picked"], told["relation"], len(told["objects"]), told["nested"]) == ([0, 3], 0, 12, [])
