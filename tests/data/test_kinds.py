"""Facts about the table of kinds: where it says that a kind exists, its probes are drawn, and nowhere else."""

import dataclasses
import functools
from collections import Counter
from pathlib import Path

import pytest

from behemoth_data import kinds
from behemoth_data.corpus import CorpusConfig, build
from behemoth_data.edits import EditConfig, draw_edits
from behemoth_data.kinds import (
    CHANGE_KINDS,
    GROUPS,
    KEEP_KINDS,
    KINDS,
    OTHERS,
    OWN,
    RIPPLE_KINDS,
    TRANSFER_KINDS,
    Kind,
)
from behemoth_data.scenarios import SCENARIOS
from behemoth_data.surroundings import Pool
from behemoth_data.world import STRUCTURES, Edge, Fact, WorldConfig

ROOT = Path(__file__).parents[2]
FIELDS = {"correlated": {"correlation": 0.8}, "nested": {"num_nested_objects": 6}}
DRAWS = [
    (structure, edge, scenario)
    for structure in STRUCTURES
    for edge in (tuple(Edge) if "nested" in structure else (Edge.SUBJECT_OBJECT,))
    for scenario in SCENARIOS
]


@functools.cache
def corpus_of(structure):
    fields = {name: value for part in structure.split("_") for name, value in FIELDS.get(part, {}).items()}
    world = WorldConfig(num_subjects=60, num_relations=3, num_objects=12, **fields)
    assert world.structure == structure
    return build(world, None, CorpusConfig(repeats=1))


@functools.cache
def drawn(structure, edge, scenario):
    """The kinds of a draw, in the order in which they are first asked; half of a relation is forgotten."""
    config = EditConfig(
        scenario=scenario,
        edge=edge.label,
        num_edits=2,
        edited_repeats=4,
        forget_fraction=0.5,
        least_rows=0,
        transfer=True,
    )
    return tuple(
        dict.fromkeys(probe.kind for edit_set in draw_edits(corpus_of(structure), config) for probe in edit_set.probes)
    )


@pytest.mark.parametrize(("structure", "edge", "scenario"), DRAWS)
def test_kind_that_is_drawn_exists_there_by_its_entry(structure, edge, scenario):
    found = drawn(structure, edge, scenario)
    assert found
    assert [kind for kind in found if not KINDS[kind].exists(structure, edge, scenario)] == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("edge", Edge)
def test_kind_that_exists_by_its_entry_is_drawn_in_every_structure(kind, edge, scenario):
    exists = [
        structure
        for structure in STRUCTURES
        if (structure, edge, scenario) in DRAWS and KINDS[kind].exists(structure, edge, scenario)
    ]
    # An object's relation has six facts that are left, and the edits of one set can have all with the old object.
    few = kind == "same_old_object" and edge is Edge.OBJECT_NESTED and scenario == "identical"
    assert [structure for structure in exists if kind not in drawn(structure, edge, scenario)] == exists * few


@pytest.mark.parametrize("kind", KINDS)
def test_kind_is_found_in_each_structure_edge_and_scenario_that_its_entry_names(kind):
    entry = KINDS[kind]
    places = [draw for draw in DRAWS if kind in drawn(*draw)]
    structures, edges, scenarios = (set(part) for part in zip(*places, strict=True))
    assert structures == set(entry.structures)
    assert edges == set(entry.edges)
    assert scenarios == set(entry.scenarios)


def test_kinds_of_the_groups_are_all_kinds_once():
    assert sorted([*CHANGE_KINDS, *KEEP_KINDS, *RIPPLE_KINDS, *TRANSFER_KINDS]) == sorted(KINDS)
    assert [name for name, kind in KINDS.items() if name != kind.name] == []
    assert {kind.group for kind in KINDS.values()} == set(GROUPS)


def test_change_kinds_ask_edited_facts_and_no_others_do():
    corpus = corpus_of("nested")
    for scenario in ("different", "refuse"):
        (edit_set,) = draw_edits(corpus, EditConfig(scenario=scenario, num_edits=2))
        edited = {edit.fact for edit in edit_set.edits}
        assert {probe.kind for probe in edit_set.probes if probe.fact in edited} == set(CHANGE_KINDS)


def test_kinds_are_asked_in_the_tables_order_and_last_those_that_are_asked_edit_by_edit():
    order = list(KINDS)
    for structure, edge, scenario in DRAWS:
        if scenario in ("single", "sequence"):  # of two sets, one after the other
            continue
        found = drawn(structure, edge, scenario)
        assert list(found) == sorted(found, key=lambda kind: (KINDS[kind].by_edit, order.index(kind)))


@pytest.mark.parametrize(("structure", "edge", "scenario"), DRAWS)
def test_transfer_is_asked_only_by_draws_that_say_so_and_changes_nothing_else(structure, edge, scenario):
    config = EditConfig(scenario=scenario, edge=edge.label, num_edits=2, least_rows=0, forget_fraction=0.5)
    plain, asking = (draw_edits(corpus_of(structure), dataclasses.replace(config, transfer=on)) for on in (False, True))
    for without, edit_set in zip(plain, asking, strict=True):
        assert not {probe.kind for probe in without.probes} & set(TRANSFER_KINDS)
        kept = tuple(probe for probe in edit_set.probes if probe.kind not in TRANSFER_KINDS)
        assert dataclasses.replace(edit_set, probes=kept, config=without.config) == without


def test_edited_fact_is_the_nearest_and_unrelated_ones_are_the_farthest():
    distances = {name: kind.distance for name, kind in KINDS.items() if kind.group != "transfer"}
    assert min(distances, key=distances.get) == "edited"
    assert max(distances, key=distances.get) == "unrelated"
    assert Counter(distances.values())[distances["edited"]] == Counter(distances.values())[distances["unrelated"]] == 1


def test_kind_of_an_unknown_group_is_refused():
    with pytest.raises(ValueError, match="group must be one of change, keep, ripple, transfer, got 'kept'"):
        dataclasses.replace(KINDS["edited"], group="kept")


@pytest.mark.parametrize(("form", "expected"), [(OWN, "statement"), (OTHERS, "rso"), ("new_question", "new_question")])
def test_listing_a_kind_is_enough_for_its_facts_to_be_asked(monkeypatch, form, expected):
    def first(around):
        yield Pool([(i, Fact(around.edge, 0, 2, int(around.world.objects(0, 2)))) for i in range(len(around.edits))])

    corpus, config = corpus_of("independent"), EditConfig(scenario="different", num_edits=2)
    (plain,) = draw_edits(corpus, config)
    entry = Kind(name="first", text="the first head", group="keep", distance=99, facts=first, form=form)
    monkeypatch.setitem(kinds.KINDS, "first", entry)
    (edit_set,) = draw_edits(corpus, config)
    found = [probe for probe in edit_set.probes if probe.kind == "first"]
    assert [(probe.edit, probe.fact.head, probe.fact.relation) for probe in found] == [(0, 0, 2), (1, 0, 2)]
    assert [probe.form for probe in found] == [expected] * 2
    assert tuple(probe for probe in edit_set.probes if probe.kind != "first") == plain.probes
    assert edit_set.retain == plain.retain


def test_structures_are_those_that_worlds_have():
    fields = [{}, *FIELDS.values(), FIELDS["correlated"] | FIELDS["nested"]]
    assert [WorldConfig(num_objects=12, **some).structure for some in fields] == list(STRUCTURES)
