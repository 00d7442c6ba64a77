"""Facts about the world, checked against dictionaries, by hand, and by counting.

Statistical tests have an error rate of one in a million; their seeds are fixed.
"""

import dataclasses
import itertools
import re
import time
import tracemalloc

import numpy as np
import pytest
from scipy.stats import binom, chi2

from behemoth_data.world import PRESETS, Edge, Fact, World, WorldConfig

ERROR_RATE = 1e-6
SO, SN, ON = Edge.SUBJECT_OBJECT, Edge.SUBJECT_NESTED, Edge.OBJECT_NESTED
STRUCTURES = {
    "independent": {},
    "correlated": {"correlation": 0.8},
    "nested": {"num_nested_objects": 4},
    "correlated_nested": {"correlation": 0.8, "num_nested_objects": 4},
}


def config(**fields):
    return WorldConfig(**{"num_subjects": 40, "num_relations": 3, "num_objects": 12, **fields})


def by_chance(count, total, probability):
    """Whether a count lies where a binomial one lies but for one time in a million."""
    low, high = binom.interval(1 - ERROR_RATE, total, probability)
    return low <= count <= high


def fits(counts, expected):
    counts = np.asarray(counts, float).ravel()
    return ((counts - expected) ** 2 / expected).sum() < chi2.isf(ERROR_RATE, len(counts) - 1)


class DictWorld:
    """The world as dictionaries: what follows from what is worked out fact by fact."""

    def __init__(self, world):
        self.objects = table(world, SO)
        self.nested = table(world, ON) if ON in world.edges else {}
        self.stated = {}  # subjects' nested objects that were changed themselves

    def change(self, fact):
        table = {SO: self.objects, SN: self.stated, ON: self.nested}[fact.edge]
        table[fact.head, fact.relation] = fact.tail

    def table(self, edge):
        if edge is SO:
            return self.objects
        if edge is ON:
            return self.nested
        return {(s, r): self.stated.get((s, r), self.nested[o, r]) for (s, r), o in self.objects.items()}


def table(world, edge):
    heads, relations, tails = (column.tolist() for column in world.facts(edge))
    return dict(zip(zip(heads, relations, strict=True), tails, strict=True))


# the world as its config says it


@pytest.mark.parametrize("structure", STRUCTURES)
def test_every_fact_asked_for_alone_is_the_fact_of_the_whole_table(structure):
    world = World(config(**STRUCTURES[structure]))
    for edge in world.edges:
        whole = table(world, edge)
        assert len(whole) == world.num_facts(edge)
        for (head, relation), tail in whole.items():
            assert world.fact(edge, head, relation) == Fact(edge, head, relation, tail)
            assert 0 <= tail < world.num_tails(edge)


def test_facts_are_listed_relation_by_relation():
    heads, relations, _ = World(config(num_subjects=2, num_relations=2)).facts(SO)
    assert (heads.tolist(), relations.tolist()) == ([0, 1, 0, 1], [0, 0, 1, 1])


@pytest.mark.parametrize("edge", [SO, SN, ON])
def test_part_of_a_table_is_that_part_of_the_whole(edge):
    world = World(config(num_nested_objects=4))
    whole = np.stack(world.facts(edge))
    for start, stop in ((0, 0), (0, 1), (5, 30), (35, 36)):
        assert np.array_equal(np.stack(world.facts(edge, start, stop)), whole[:, start:stop])
    assert np.array_equal(np.stack(world.facts(edge, 7)), whole[:, 7:])


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (4, 3), (0, 121), (121, 121)])
def test_range_that_leaves_the_table_is_refused(start, stop):
    message = f"start and stop of subject_object must satisfy 0 <= start <= stop <= 120, got {start} and {stop}"
    with pytest.raises(ValueError, match=re.escape(message)):
        World(config()).facts(SO, start, stop)


def test_heads_and_relations_broadcast():
    world = World(config())
    block = world.objects(np.arange(40)[:, None], np.arange(3))
    assert block.shape == (40, 3)
    assert {(s, r): int(block[s, r]) for s in range(40) for r in range(3)} == table(world, SO)


def test_tables_and_their_sizes():
    plain, nested = World(config()), World(config(num_nested_objects=4))
    assert plain.edges == (SO,)
    assert nested.edges == (SO, SN, ON)
    assert [nested.num_heads(edge) for edge in nested.edges] == [40, 40, 12]
    assert [nested.num_tails(edge) for edge in nested.edges] == [12, 4, 4]
    assert [nested.num_facts(edge) for edge in nested.edges] == [120, 120, 36]


def test_edge_labels_are_those_of_the_published_column():
    assert [edge.label for edge in Edge] == ["subject_object", "subject_nested", "object_nested"]
    assert [Edge.from_label(edge.label) for edge in Edge] == list(Edge)
    with pytest.raises(ValueError, match=r"edge must be one of subject_object, .*, got 'subject'"):
        Edge.from_label("subject")


@pytest.mark.parametrize("structure", STRUCTURES)
def test_structure_has_its_name(structure):
    assert config(**STRUCTURES[structure]).structure == structure


def test_presets_are_the_three_published_worlds():
    worlds = [WorldConfig(**fields) for fields in PRESETS.values()]
    assert list(PRESETS) == ["independent", "correlated", "nested"] == [world.structure for world in worlds]
    assert {(w.num_subjects, w.num_relations, w.num_objects) for w in worlds} == {(10_000, 4, 100)}
    assert (worlds[1].correlation, worlds[2].num_nested_objects) == (0.9, 10)


@pytest.mark.parametrize("structure", ["nested", "correlated_nested"])
def test_subjects_nested_object_is_the_nested_object_of_its_object(structure):
    world = World(config(**STRUCTURES[structure]))
    objects, nested = table(world, SO), table(world, ON)
    assert table(world, SN) == {(s, r): nested[o, r] for (s, r), o in objects.items()}


@pytest.mark.parametrize("correlation", [None, 0.8])
@pytest.mark.parametrize(("objects", "nested"), [(12, 4), (12, 12), (2, 2), (100, 10)])
def test_every_nested_object_has_equally_many_objects(objects, nested, correlation):
    world = World(config(num_relations=6, num_objects=objects, num_nested_objects=nested, correlation=correlation))
    for relation in range(6):
        tails = [tail for (_, r), tail in table(world, ON).items() if r == relation]
        assert [tails.count(n) for n in range(nested)] == [objects // nested] * nested


@pytest.mark.parametrize("relation", [0, 1, 2])
def test_subjects_nested_objects_are_uniform(relation):
    world = World(config(num_subjects=24_000, num_nested_objects=4))
    assert fits(np.bincount(world.tails(SN, np.arange(24_000), relation), minlength=4), 6000)


def test_relations_are_nested_each_in_its_own_way():
    world = World(config(num_objects=100, num_nested_objects=10))
    rows = [tuple(world.nested(np.arange(100), r).tolist()) for r in range(3)]
    assert len(set(rows)) == 3


@pytest.mark.parametrize("relation", [0, 1, 2])
def test_objects_are_uniform(relation):
    objects = World(config(num_subjects=24_000)).objects(np.arange(24_000), relation)
    assert fits(np.bincount(objects, minlength=12), 2000)


def test_objects_of_two_relations_are_independent():
    world = World(config(num_subjects=28_800))
    pairs = world.objects(np.arange(28_800), 0) * 12 + world.objects(np.arange(28_800), 1)
    assert fits(np.bincount(pairs, minlength=144), 200)


# correlation


@pytest.mark.parametrize("nested", [0, 4])
@pytest.mark.parametrize("correlation", [0.2, 0.5, 0.7, 0.9, 0.99, 1.0])
def test_measured_correlation_is_the_nominal_one(correlation, nested):
    world = World(config(num_subjects=50_000, correlation=correlation, num_nested_objects=nested))
    subjects = np.arange(50_000)
    equal = int((world.objects(subjects, 0) == world.objects(subjects, 1)).sum())
    assert by_chance(equal, 50_000, correlation)


@pytest.mark.parametrize("correlation", [0.51, 0.7, 0.9, 1.0])
def test_measured_correlation_is_the_nominal_one_with_a_binary_first_relation(correlation):
    world = World(config(num_subjects=50_000, correlation=correlation, binary_first=True))
    first, second = (world.objects(np.arange(50_000), relation) for relation in (0, 1))
    assert by_chance(int((first == second).sum()), 50_000, correlation)
    assert by_chance(int(first.sum()), 50_000, 0.5)


@pytest.mark.parametrize("correlation", [0.5, 0.7, 0.9, 1.0])
@pytest.mark.parametrize("relation", [0, 1, 2])
def test_objects_of_a_correlated_world_are_uniform_too(correlation, relation):
    objects = World(config(num_subjects=24_000, correlation=correlation)).objects(np.arange(24_000), relation)
    assert fits(np.bincount(objects, minlength=12), 2000)


def test_correlation_is_between_objects_and_leaves_their_nested_objects_to_each_relation():
    world = World(config(num_subjects=24_000, correlation=1.0, num_nested_objects=4))
    subjects = np.arange(24_000)
    objects, (first, second) = world.objects(subjects, 0), (world.tails(SN, subjects, r) for r in (0, 1))
    by_hand = [(world.nested(o, 0), world.nested(o, 1)) for o in range(12)]
    assert list(zip(first.tolist(), second.tolist(), strict=True)) == [by_hand[o] for o in objects.tolist()]
    assert any(one != other for one, other in by_hand)


@pytest.mark.parametrize("correlation", [0.2, 0.5, 0.7, 0.9])
def test_objects_that_do_not_match_are_uniform_over_all_others(correlation):
    world = World(config(num_subjects=60_000, num_objects=8, correlation=correlation))
    first, second = (world.objects(np.arange(60_000), relation) for relation in (0, 1))
    counts = np.zeros((8, 8))
    np.add.at(counts, (first, second), 1)
    off_diagonal = counts[~np.eye(8, dtype=bool)]  # 56 cells, those of object 0 among them
    assert fits(off_diagonal, off_diagonal.sum() / 56)


def test_other_relations_are_those_of_the_independent_world():
    plain, correlated = World(config()), World(config(correlation=0.5))
    for relation in (0, 2):
        subjects = np.arange(40)
        assert np.array_equal(plain.objects(subjects, relation), correlated.objects(subjects, relation))


def test_binary_first_relation_takes_two_objects_equally_often():
    world = World(config(num_subjects=20_000, correlation=0.75, binary_first=True))
    subjects = np.arange(20_000)
    first, second = world.objects(subjects, 0), world.objects(subjects, 1)
    assert set(first.tolist()) == {0, 1}
    assert by_chance(int(first.sum()), 20_000, 0.5)
    assert by_chance(int((first == second).sum()), 20_000, 0.75)
    others = np.bincount(second[first != second], minlength=12)
    assert fits(others[2:], others[2:].mean())
    assert fits(np.bincount(world.objects(subjects, 2), minlength=12), 20_000 / 12)


# dissent


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 1.0])
def test_share_of_dissented_facts_is_the_nominal_one(fraction):
    world = World(config(num_subjects=10_000, minority_fraction=fraction))
    subjects, relations, _ = world.facts(SO)
    second = world.dissenting_objects(subjects, relations)
    assert by_chance(int((second >= 0).sum()), 30_000, fraction)


def test_dissenting_object_is_uniform_over_all_but_the_true_one():
    world = World(config(num_subjects=16_800, num_objects=8, minority_fraction=1.0))
    subjects, relations, objects = world.facts(SO)
    second = world.dissenting_objects(subjects, relations)
    counts = np.zeros((8, 8))
    np.add.at(counts, (objects, second), 1)
    assert np.diag(counts).sum() == 0
    assert fits(counts[~np.eye(8, dtype=bool)], 50_400 / 56)


def test_dissenting_object_of_a_changed_fact_differs_from_its_new_object():
    world = World(config(minority_fraction=1.0))
    subjects, relations, _ = world.facts(SO)
    before = world.dissenting_objects(subjects, relations).tolist()
    changed = [Fact(SO, *ids) for ids in zip(subjects.tolist(), relations.tolist(), before, strict=True)][::2]
    after = world.after(changed).dissenting_objects(subjects, relations).tolist()
    assert all(0 <= now < 12 and now != then for now, then in zip(after[::2], before[::2], strict=True))
    assert after[1::2] == before[1::2]


@pytest.mark.parametrize("fraction", [0.0, 0.5])
def test_dissent_about_an_id_outside_the_world_is_refused(fraction):
    world = World(config(minority_fraction=fraction))
    for subject, relation, name, bound in ((40, 0, "head", 40), (0, 3, "relation", 3)):
        got = max(subject, relation)
        with pytest.raises(ValueError, match=rf"{name} must lie in \[0, {bound}\), got {got}"):
            world.dissenting_objects(subject, relation)


def test_dissent_changes_no_true_object():
    assert table(World(config(minority_fraction=0.7)), SO) == table(World(config()), SO)


# growth, seeds and size


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("more", [{"num_subjects": 500}, {"num_relations": 7}])
def test_larger_world_keeps_every_fact(structure, more):
    small, large = World(config(**STRUCTURES[structure])), World(config(**STRUCTURES[structure], **more))
    for edge in small.edges:
        kept = table(large, edge)
        assert all(kept[place] == tail for place, tail in table(small, edge).items())


@pytest.mark.parametrize("structure", STRUCTURES)
def test_another_seed_is_another_world_and_the_same_seed_the_same(structure):
    first, again, other = (World(config(seed=seed, **STRUCTURES[structure])) for seed in (0, 0, 1))
    for edge in first.edges:
        assert table(first, edge) == table(again, edge)
        assert table(first, edge) != table(other, edge)


@pytest.mark.parametrize(("seed", "neighbour"), [(0, 1), (1, 2), (41, 42), (-1, 0), (2**32, 2**32 + 1), (0, 2**32)])
@pytest.mark.parametrize("structure", ["independent", "nested"])
def test_neighbouring_seeds_agree_only_by_chance(seed, neighbour, structure):
    first, second = (
        World(config(num_subjects=10_000, num_objects=1200, seed=s, **STRUCTURES[structure])) for s in (seed, neighbour)
    )
    for edge in first.edges:
        heads, relations, tails = first.facts(edge)
        equal = int((tails == second.tails(edge, heads, relations)).sum())
        assert by_chance(equal, first.num_facts(edge), 1 / first.num_tails(edge))


def test_neighbouring_seeds_match_and_dissent_for_other_subjects():
    subjects = np.arange(10_000)
    for fields, share in (({"correlation": 0.5}, 0.5), ({"minority_fraction": 0.5}, 0.5)):
        worlds = [World(config(num_subjects=10_000, seed=seed, **fields)) for seed in (0, 1)]
        if "correlation" in fields:
            chosen = [world.objects(subjects, 0) == world.objects(subjects, 1) for world in worlds]
        else:
            chosen = [world.dissenting_objects(subjects, 0) >= 0 for world in worlds]
        assert by_chance(int((chosen[0] == chosen[1]).sum()), 10_000, share**2 + (1 - share) ** 2)


def test_world_of_a_billion_subjects_answers_at_once():
    # Ids from everywhere, the first and the last among them.
    subjects = np.concatenate([[0, 10**9 - 1], np.arange(1, 1000) * 987_654_321 % 10**9])
    relations = np.arange(len(subjects)) % 4
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        world = World(WorldConfig(num_subjects=10**9, correlation=0.9, num_nested_objects=10))
        objects, nested = (world.tails(edge, subjects, relations) for edge in (SO, SN))
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.1
    assert world.num_facts(SO) == 4 * 10**9
    assert world.nested(objects, relations).tolist() == nested.tolist()


def test_world_of_a_billion_subjects_takes_no_memory():
    tracemalloc.start()
    world = World(WorldConfig(num_subjects=10**9, correlation=0.9, num_nested_objects=10))
    world.tails(SN, np.array([0, 123_456_789, 10**9 - 1]), 1)
    world.facts(SO, 4 * 10**9 - 1000)
    changed = world.after([Fact(SO, 10**9 - 1, 3, 5), Fact(ON, 5, 3, 7)])
    assert changed.tails(SN, 10**9 - 1, 3) == 7
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


# changes


def after_by_hand(world, facts):
    expected = DictWorld(world)
    for fact in facts:
        expected.change(fact)
    return {edge: expected.table(edge) for edge in world.edges}


@pytest.mark.parametrize("structure", STRUCTURES)
def test_world_after_equals_the_dictionaries_after(structure):
    world = World(config(**STRUCTURES[structure]))
    changes = [
        Fact(edge, head, relation, (int(world.tails(edge, head, relation)) + 1 + step) % world.num_tails(edge))
        for edge in world.edges
        for step, (head, relation) in enumerate([(0, 0), (11, 2), (5, 1)])
    ]
    for number in range(1, len(changes) + 1):
        for facts in itertools.islice(itertools.combinations(changes, number), 8):
            after = world.after(facts)
            assert {edge: table(after, edge) for edge in world.edges} == after_by_hand(world, facts)


def test_changed_object_takes_its_subjects_nested_fact_along():
    world = World(config(num_nested_objects=4))
    old, nested = int(world.objects(3, 1)), table(world, ON)
    new = next(o for o in range(12) if nested[o, 1] != nested[old, 1])
    after = world.after([Fact(SO, 3, 1, new)])
    assert (after.objects(3, 1), after.tails(SN, 3, 1)) == (new, nested[new, 1])
    assert table(after, ON) == nested
    changed = [place for place, tail in table(world, SN).items() if table(after, SN)[place] != tail]
    assert changed == [(3, 1)]


def test_changed_nested_object_takes_all_its_subjects_along():
    world = World(config(num_nested_objects=4))
    nested = int(world.nested(7, 2))
    after = world.after([Fact(ON, 7, 2, (nested + 1) % 4)])
    owners = [(s, r) for (s, r), o in table(world, SO).items() if (o, r) == (7, 2)]
    before, now = table(world, SN), table(after, SN)
    assert len(owners) > 1
    assert sorted(place for place in before if before[place] != now[place]) == sorted(owners)
    assert {now[place] for place in owners} == {(nested + 1) % 4}
    assert table(after, SO) == table(world, SO)


@pytest.mark.parametrize("together", [True, False])
def test_stated_nested_fact_holds_whatever_becomes_of_its_object_later(together):
    world = World(config(num_nested_objects=4))
    old = int(world.tails(SN, 3, 1))
    stated = Fact(SN, 3, 1, (old + 1) % 4)
    nested = table(world, ON)
    moved = Fact(SO, 3, 1, next(o for o in range(12) if nested[o, 1] == (old + 2) % 4))
    after = world.after([stated, moved]) if together else world.after([stated]).after([moved])
    assert (after.objects(3, 1), after.tails(SN, 3, 1)) == (moved.tail, stated.tail)


def test_later_change_of_the_same_fact_holds():
    world = World(config())
    both = [Fact(SO, 3, 1, 4), Fact(SO, 3, 1, 5)]
    assert world.after(both).objects(3, 1) == 5
    assert world.after(both[:1]).after(both[1:]).objects(3, 1) == 5
    assert world.after(both[:1]).after([Fact(SO, 2, 0, 1)]).objects(3, 1) == 4


def test_partner_stays_when_its_fact_changes():
    world = World(config(correlation=1.0))
    first = int(world.objects(3, 0))
    after = world.after([Fact(SO, 3, 0, (first + 1) % 12)])
    assert after.objects(3, 1) == first


def test_world_before_is_left_as_it_was():
    world = World(config(num_nested_objects=4))
    before, digest = {edge: table(world, edge) for edge in world.edges}, world.digest
    world.after([Fact(SO, 0, 0, (before[SO][0, 0] + 1) % 12), Fact(ON, 0, 0, (before[ON][0, 0] + 1) % 4)])
    assert ({edge: table(world, edge) for edge in world.edges}, world.digest) == (before, digest)


def test_true_tails_are_those_of_the_world_asked():
    world = World(config(num_nested_objects=4))
    facts = [Fact(ON, 5, 0, 0), Fact(SO, 3, 1, 0), Fact(SN, 3, 1, 0), Fact(SO, 0, 2, 0)]
    expected = [table(world, fact.edge)[fact.head, fact.relation] for fact in facts]
    assert world.true_tails(facts) == expected
    new = (expected[1] + 1) % 12
    assert world.after([Fact(SO, 3, 1, new)]).true_tails(facts)[1] == new


# digests


OTHER_VALUES = {
    "num_subjects": 41,
    "num_relations": 4,
    "num_objects": 24,
    "correlation": 0.81,
    "binary_first": True,
    "num_nested_objects": 3,
    "minority_fraction": 0.5,
    "seed": 1,
}


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(WorldConfig)])
def test_digest_changes_with_every_field(field):
    base = {} if field == "minority_fraction" else STRUCTURES["correlated_nested"]
    first, second = config(**base), config(**{**base, field: OTHER_VALUES[field]})
    assert World(first).digest == World(config(**base)).digest
    assert World(first).digest != World(second).digest


def test_digest_changes_with_a_change_and_not_with_the_order_of_changes():
    world = World(config())
    first, second = Fact(SO, 0, 0, 1), Fact(SO, 1, 0, 1)
    assert world.after([first, second]).digest == world.after([second, first]).digest
    assert len({w.digest for w in (world, world.after([first]), world.after([first, second]))}) == 3


# refusals


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_subjects": 0}, "num_subjects must be at least 1, got 0"),
        ({"num_relations": 0}, "num_relations must be at least 1, got 0"),
        ({"num_objects": 1}, "num_objects must be at least 2 so that an edit can change a fact, got 1"),
        ({"num_subjects": 2**31}, f"num_subjects must be below 2**31, got {2**31}"),
        ({"num_relations": 2**31}, f"num_relations must be below 2**31, got {2**31}"),
        ({"num_objects": 2**31}, f"num_objects must be below 2**31, got {2**31}"),
        ({"correlation": 1 / 12}, "correlation must be above 0.0833333 (1 / num_objects"),
        ({"correlation": 1.01}, "at most 1, got 1.01"),
        ({"correlation": -0.5}, "got -0.5"),
        ({"correlation": float("nan")}, "got nan"),
        ({"correlation": 0.9, "num_relations": 1}, "num_relations must be at least 2 when correlation"),
        ({"correlation": 0.5, "binary_first": True}, "correlation must be above 0.5 (0.5 with binary_first)"),
        ({"binary_first": True}, "binary_first needs correlation to be set, got correlation None"),
        ({"num_nested_objects": 1}, "num_nested_objects must be 0 (no nesting) or at least 2, got 1"),
        ({"num_nested_objects": -3}, "num_nested_objects must be 0 (no nesting) or at least 2, got -3"),
        ({"num_nested_objects": 5}, "num_nested_objects must divide num_objects = 12"),
        ({"num_nested_objects": 24}, "got 24"),
        ({"minority_fraction": -0.1}, "minority_fraction must lie in [0, 1], got -0.1"),
        ({"minority_fraction": 1.1}, "minority_fraction must lie in [0, 1], got 1.1"),
        ({"minority_fraction": float("nan")}, "minority_fraction must be a number, got nan"),
        ({"minority_fraction": 0.1, "correlation": 0.9}, "minority_fraction must be 0 with correlation"),
        ({"minority_fraction": 0.2, "num_nested_objects": 4}, "got 0.2"),
    ],
)
def test_bad_value_is_refused_with_field_bound_and_value(fields, message):
    with pytest.raises(ValueError, match=re.escape(message)) as refusal:
        config(**fields)
    assert any(str(refusal.value).startswith(field) for field in ("num_relations", *fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"num_subjects": 1, "num_relations": 1, "num_objects": 2},
        {"num_subjects": 2**31 - 1},
        {"correlation": 1.0},
        {"correlation": 0.0834},
        {"correlation": 0.51, "binary_first": True},
        {"num_nested_objects": 2},
        {"num_nested_objects": 12},
        {"minority_fraction": 1.0},
    ],
)
def test_value_on_its_bound_is_a_world(fields):
    world = World(config(**fields))
    assert 0 <= world.objects(0, 0) < world.config.num_objects


@pytest.mark.parametrize(
    ("edge", "head", "relation", "message"),
    [
        (SO, 40, 0, "head must lie in [0, 40), got 40"),
        (SO, -1, 0, "head must lie in [0, 40), got -1"),
        (ON, 12, 0, "head must lie in [0, 12), got 12"),
        (SN, 0, 3, "relation must lie in [0, 3), got 3"),
    ],
)
def test_id_outside_the_world_is_refused(edge, head, relation, message):
    world = World(config(num_nested_objects=4))
    with pytest.raises(ValueError, match=re.escape(message)):
        world.tails(edge, head, relation)
    with pytest.raises(ValueError, match=re.escape(message)):
        world.after([Fact(edge, head, relation, 0)])


def test_tail_outside_the_world_is_refused():
    with pytest.raises(ValueError, match=r"tail must lie in \[0, 4\), got 4"):
        World(config(num_nested_objects=4)).after([Fact(SN, 0, 0, 4)])


@pytest.mark.parametrize("edge", [SN, ON])
def test_table_that_the_world_lacks_is_refused(edge):
    world = World(config())
    for ask in (lambda: world.tails(edge, 0, 0), lambda: world.after([Fact(edge, 0, 0, 0)])):
        with pytest.raises(ValueError, match=f"edge must be one of subject_object, got '{edge.label}'"):
            ask()


def entropy(chances):
    return -sum(p * np.log2(p) for p in chances if p > 0)


def test_bits_of_independent_facts_are_those_of_their_objects():
    assert WorldConfig(num_subjects=10, num_relations=3, num_objects=8).bits == 10 * 3 * 3


@pytest.mark.parametrize(
    ("first", "correlation", "binary"), [(5, 0.9, False), (5, 0.3, False), (5, 1.0, False), (2, 0.7, True)]
)
def test_bits_of_correlated_facts_are_the_entropy_of_all_pairs(first, correlation, binary):
    pairs = [
        1 / first * (correlation if second == one else (1 - correlation) / 4)
        for one in range(first)
        for second in range(5)
    ]
    assert sum(pairs) == pytest.approx(1)
    found = WorldConfig(num_subjects=7, num_relations=3, num_objects=5, correlation=correlation, binary_first=binary)
    assert found.bits == pytest.approx(7 * (entropy(pairs) + np.log2(5)))


def test_bits_of_nesting_are_those_of_all_arrangements_of_the_objects():
    arrangements = set(itertools.permutations([0, 0, 1, 1, 2, 2]))
    found = WorldConfig(num_subjects=4, num_relations=2, num_objects=6, num_nested_objects=3)
    assert found.bits == pytest.approx(4 * 2 * np.log2(6) + 2 * np.log2(len(arrangements)))
