"""Facts about bits: what knowing, guessing and misleading are worth, and what can be inferred, by brute force."""

import itertools
import math

import numpy as np
import pytest

from behemoth_data.rng import Stream
from behemoth_data.world import Edge, Fact, World, WorldConfig
from behemoth_editing.scoring.bits import SCALES, believed, best_scale, bits, inferable, recalibrated, suspected

S_O, S_N, O_N = Edge.SUBJECT_OBJECT, Edge.SUBJECT_NESTED, Edge.OBJECT_NESTED


def test_who_knows_has_the_whole_fact_and_who_knows_nothing_has_none_of_it():
    knows = np.log([[1 - 3e-12, 1e-12, 1e-12, 1e-12]])
    assert bits(knows, [0]) == pytest.approx([2.0])
    assert bits(np.log(np.full((1, 8), 1 / 8)), [5]) == pytest.approx([0.0])


def test_bits_are_of_the_candidates_alone_whatever_mass_lies_elsewhere():
    # 0.05 of 0.1: half of the mass on four candidates, which is one bit more than an even quarter.
    assert bits(np.log([[0.05, 0.02, 0.02, 0.01]]), [0]) == pytest.approx([1.0])


def test_who_is_surely_wrong_has_fewer_than_none():
    assert bits(np.log([[0.01, 0.99]]), [0]) == pytest.approx([1 + math.log2(0.01)])


def test_mean_is_entropy_less_cross_entropy():
    table = np.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8], [0.2, 0.7, 0.1]])
    cross = -np.mean([math.log2(0.25), math.log2(0.8), math.log2(0.2)])
    assert bits(np.log(table), [1, 2, 0]).mean() == pytest.approx(math.log2(3) - cross)


@pytest.mark.parametrize(
    ("table", "true", "message"),
    [
        ([[0.0, math.nan]], [0], "log_probabilities must hold numbers, got nan in row 0"),
        ([[0.0, -1.0]], [2], r"true must lie in \[0, 2\), the candidates, got 2"),
        ([[0.0, -math.inf]], [1], "log_probabilities must hold every true tail possible, got -inf for one"),
        ([0.0, 1.0], [0], "log_probabilities must be a table with columns"),
    ],
)
def test_what_is_no_distribution_is_refused(table, true, message):
    with pytest.raises(ValueError, match=message):
        bits(table, true)


# What can be read by who knows other facts


def drawn(strength, count=80, width=5):
    """Log-probabilities [n, C] in which the true answer leads by so much on average, and the true answers."""
    true = Stream(0, "tests/true").integers(np.arange(count), width)
    scores = 2 * Stream(0, "tests/scores").uniform(np.arange(count * width)).reshape(count, width) - 1
    return scores + strength * np.eye(width)[true], true


def test_beliefs_by_hand():
    # Twice as sure of 1/3 and 2/3 is 1/5 and 4/5; who knows 3 facts doubts a fifth of it.
    found = believed(np.log([[1 / 3, 2 / 3]]), 2.0, 3)
    assert found[0] == pytest.approx([0.8 * 0.2 + 0.1, 0.8 * 0.8 + 0.1])


@pytest.mark.parametrize("strength", [0.8, -0.8, 0.0])
def test_best_scale_is_that_of_a_search_over_the_grid(strength):
    table, true = drawn(strength)
    losses = {}
    for scale in SCALES.tolist():
        total = 0.0
        for row, answer in zip(table, true, strict=True):
            mass = [math.exp(scale * value) for value in row]
            total -= math.log(81 / 82 * mass[answer] / sum(mass) + 1 / 82 / 5)
        losses[scale] = total
    assert best_scale(table, true) == min(losses, key=losses.get)
    assert best_scale(table - 7.0, true) == best_scale(table, true)


def test_each_half_is_read_by_what_the_other_teaches():
    table, true = drawn(0.8)
    found = recalibrated(table, true)
    for half in (0, 1):
        scale = best_scale(table[1 - half :: 2], true[1 - half :: 2])
        held = believed(table[half::2], scale, 40)[np.arange(40), true[half::2]]
        assert found[half::2] == pytest.approx(math.log2(5) + np.log2(held))


def test_what_was_turned_around_can_be_read_as_well_and_noise_cannot():
    table, true = drawn(0.8)
    assert recalibrated(table, true).mean() > 0.2
    assert recalibrated(-table, true) == pytest.approx(recalibrated(table, true))
    assert bits(-table, true).mean() < -0.2
    noise, answers = drawn(0.0)
    sure = 30 * noise  # of anything
    assert bits(sure, answers).mean() < -5
    assert recalibrated(sure, answers).mean() == pytest.approx(0, abs=0.1)


def test_no_fact_costs_more_than_the_facts_that_were_known_allow():
    table = np.full((20, 4), -30.0)
    true = np.arange(20) % 4
    table[np.arange(20), true] = 0.0
    table[7] = [-30, 0, -30, -30]  # one surely wrong, of 20
    found = recalibrated(table, true)
    assert found[7] == pytest.approx(2 + math.log2(1 / 12 / 4), abs=1e-6)  # -log2 12
    assert np.delete(found, 7).min() > 1.5


def test_of_one_fact_alone_nothing_can_be_read():
    assert recalibrated([[0.0, -9.0]], [0]) == pytest.approx([0.0])


def test_nothing_can_be_inferred_where_facts_are_independent():
    world = World(WorldConfig(num_subjects=12, num_relations=3, num_objects=8))
    for relation in range(3):
        assert inferable(world, S_O, np.arange(12), relation) == pytest.approx(np.zeros(12))


def joint(config, nested):
    """P(object 0, object 1, nested 0, nested 1) of a subject, from the words of the protocol: a dictionary."""
    objects, first = config.num_objects, 2 if config.binary_first else config.num_objects
    found = {}
    for a, b in itertools.product(range(first), range(objects)):
        match = config.correlation is not None
        p = 1 / first / objects
        if match:
            p = 1 / first * (config.correlation if a == b else (1 - config.correlation) / (objects - 1))
        found[a, b, nested[0][a] if nested else 0, nested[1][b] if nested else 0] = p
    return found


@pytest.mark.parametrize("relation", [0, 1])
@pytest.mark.parametrize(
    "settings",
    [
        {"correlation": 0.7},
        {"correlation": 0.9, "num_nested_objects": 2},
        {"num_nested_objects": 3},
        {"correlation": 0.8, "binary_first": True},
        {"correlation": 0.6, "num_nested_objects": 3, "binary_first": True},
    ],
)
def test_reasoner_holds_what_conditioning_on_all_that_it_was_told_gives(settings, relation):
    config = WorldConfig(num_subjects=60, num_relations=3, num_objects=6, seed=3, **settings)
    world = World(config)
    nested = None
    if config.num_nested_objects:
        nested = [world.nested(np.arange(6), r).tolist() for r in (0, 1)]
    everything = joint(config, nested)
    assert sum(everything.values()) == pytest.approx(1)
    heads = np.arange(60)
    found = suspected(world, S_O, heads, relation)
    objects = [world.objects(heads, r).tolist() for r in (0, 1)]
    for head in range(60):
        pair = objects[0][head], objects[1][head]
        expected = np.zeros(found.shape[1])
        for (a, b, n, m), p in everything.items():
            if relation == 0:
                same = b == pair[1] and (not nested or n == nested[0][pair[0]])
            else:
                same = a == pair[0] and (not nested or m == nested[1][pair[1]])
            expected[(a, b)[relation]] += p * same
        np.testing.assert_allclose(found[head], expected / expected.sum(), atol=1e-12)
        assert inferable(world, S_O, [head], relation)[0] == pytest.approx(
            math.log2(found.shape[1] * expected[pair[relation]] / expected.sum())
        )


def test_mean_of_what_can_be_inferred_is_the_closed_form_over_many_subjects():
    config = WorldConfig(num_subjects=40_000, num_relations=2, num_objects=10, correlation=0.9)
    # log2 10 - H(object 1 | object 0), the two outcomes being the same one and any of 9 others.
    expected = math.log2(10) + 0.9 * math.log2(0.9) + 0.1 * math.log2(0.1 / 9)
    found = inferable(World(config), S_O, np.arange(40_000), 1)
    assert found.mean() == pytest.approx(expected, abs=4 * found.std() / 200)
    nested = World(WorldConfig(num_subjects=100, num_objects=12, num_nested_objects=4))
    assert inferable(nested, S_O, np.arange(100), 2) == pytest.approx(np.full(100, 2.0))  # 12 objects become 3


def test_other_relations_tell_nothing_and_a_nested_fact_follows_from_the_object():
    world = World(WorldConfig(num_subjects=20, num_relations=3, num_objects=8, correlation=0.9, num_nested_objects=4))
    assert inferable(world, S_O, np.arange(20), 2) == pytest.approx(np.ones(20) * 2)  # 4 nested objects: 2 bits
    assert inferable(world, S_N, np.arange(20), 1) == pytest.approx(np.full(20, 2.0))  # all of it


def test_reasoner_with_a_perfect_habit_knows_it_all_unless_the_habit_is_broken():
    world = World(WorldConfig(num_subjects=9, num_relations=2, num_objects=8, correlation=1.0))
    assert inferable(world, S_O, np.arange(9), 1) == pytest.approx(np.full(9, 3.0))
    other = (int(world.objects(4, 1)) + 1) % 8
    broken = world.after([Fact(S_O, 4, 1, other)])
    with pytest.raises(ValueError, match="log_probabilities must hold every true tail possible"):
        inferable(broken, S_O, [4], 1)


def test_facts_about_objects_are_refused():
    world = World(WorldConfig(num_subjects=9, num_objects=8, num_nested_objects=4))
    with pytest.raises(ValueError, match="edge must be subject_object or subject_nested .* got object_nested"):
        inferable(world, O_N, [0], 0)
