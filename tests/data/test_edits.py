"""Facts about edits and their probes: every answer and every kind is worked out again from dictionaries."""

import dataclasses
import functools
import re
from collections import Counter

import numpy as np
import pytest

from behemoth_data.corpus import CorpusConfig, build
from behemoth_data.edits import Edit, EditConfig, draw_edits, edit_set_of
from behemoth_data.kinds import CHANGE_KINDS, KEEP_KINDS, KINDS, TRANSFER_KINDS
from behemoth_data.lexicon import LexiconConfig, Role
from behemoth_data.scenarios import max_edits
from behemoth_data.world import Edge, Fact, WorldConfig

SO, SN, ON = Edge.SUBJECT_OBJECT, Edge.SUBJECT_NESTED, Edge.OBJECT_NESTED
STRUCTURES = {
    "independent": {},
    "correlated": {"correlation": 0.8},
    "nested": {"num_nested_objects": 6},
    "correlated_nested": {"correlation": 0.8, "num_nested_objects": 6},
}
EDGES = {"independent": (SO,), "correlated": (SO,), "nested": (SO, SN, ON), "correlated_nested": (SO,)}
SCENARIOS = ("single", "identical", "different")
CASES = [(structure, edge, scenario) for structure in STRUCTURES for edge in EDGES[structure] for scenario in SCENARIOS]
cases = pytest.mark.parametrize(("structure", "edge", "scenario"), CASES)
ROLES = {
    SO: (Role.SUBJECT, Role.RELATION, Role.OBJECT),
    SN: (Role.SUBJECT, Role.SUBJECT_NESTED_RELATION, Role.NESTED),
    ON: (Role.OBJECT, Role.OBJECT_NESTED_RELATION, Role.NESTED),
}


@functools.cache
def corpus_of(structure, relations=4, subjects=90):
    world = WorldConfig(num_subjects=subjects, num_relations=relations, num_objects=12, **STRUCTURES[structure])
    return build(world, LexiconConfig(one_token_limit=20))


@functools.cache
def draw(structure, edge, scenario, num_edits=2, **fields):
    config = EditConfig(**{"scenario": scenario, "edge": edge.label, "num_edits": num_edits, "least_rows": 0} | fields)
    return draw_edits(corpus_of(structure), config)


@functools.cache
def tables_of(structure):
    world = corpus_of(structure).world
    found = {}
    for edge in world.edges:
        heads, relations, tails = (column.tolist() for column in world.facts(edge))
        found[edge] = dict(zip(zip(heads, relations, strict=True), tails, strict=True))
    return found


def tables_after(structure, edits):
    """The tables after the edits: a subject's nested object is stated, or that of its object."""
    tables, stated = {edge: dict(table) for edge, table in tables_of(structure).items()}, {}
    for edit in edits:
        table = stated if edit.fact.edge is SN else tables[edit.fact.edge]
        table[edit.fact.head, edit.fact.relation] = edit.new_tail
    if SN in tables:
        tables[SN] = {(s, r): stated.get((s, r), tables[ON][object, r]) for (s, r), object in tables[SO].items()}
    return tables


def words(structure, edge, head, relation, tail):
    roles, lexicon = ROLES[edge], corpus_of(structure).grammar.lexicon
    return (
        lexicon.word(roles[0], head, relation if roles[0] is Role.OBJECT else 0),
        lexicon.word(roles[1], relation),
        lexicon.word(roles[2], tail, relation),
    )


def prompt(structure, edge, head, relation, form="statement"):
    s, r, _ = words(structure, edge, head, relation, 0)
    return {"statement": f"SS {s} W0 W1 RR {r} W2 OO", "rso": f"W9 RR {r} W7 SS {s} W5 OO"}[form]


@functools.cache
def places_by_prompt(structure):
    """Which fact every statement prompt of the world asks for."""
    return {
        prompt(structure, edge, head, relation): (edge, head, relation)
        for edge, table in tables_of(structure).items()
        for head, relation in table
    }


def partner(structure, edge, relation):
    return 1 - relation if "correlated" in structure and edge is SO and relation in (0, 1) else None


def facts_of_kind(kind, number, edit_set, structure):
    """All (edge, head, relation) that the protocol's table means by a kind, for one edit of a set."""
    tables, edge, relation = tables_of(structure), edit_set.edge, edit_set.relation
    edit, edited = edit_set.edits[number], {e.fact.head for e in edit_set.edits}
    head, old, new = edit.fact.head, edit.fact.tail, edit.new_tail
    tails = {tail for e in edit_set.edits for tail in (e.fact.tail, e.new_tail)}
    others = {h: tail for (h, r), tail in tables[edge].items() if r == relation and h not in edited}
    other_relations = set(range(4)) - {relation}
    subjects = range(90)
    return {
        "edited": lambda: {(edge, head, relation)},
        "paraphrase": lambda: {(edge, head, relation)},
        "same_subject": lambda: {
            (edge, head, r) for r in other_relations - {partner(structure, edge, relation)} if edge is not ON
        },
        "same_old_object": lambda: {(edge, h, relation) for h, tail in others.items() if tail == old},
        "same_new_object": lambda: {(edge, h, relation) for h, tail in others.items() if tail == new},
        "same_relation": lambda: {(edge, h, relation) for h, tail in others.items() if tail not in tails},
        "unrelated": lambda: {
            (edge, h, r) for h, r in tables[edge] if r != relation and (edge is ON or h not in edited)
        },
        "partner": lambda: {(SO, head, partner(structure, edge, relation))},
        "nested_subject": lambda: {(SN, head, relation)},
        "nested_old_object": lambda: {(ON, old, relation)},
        "nested_new_object": lambda: {(ON, new, relation)},
        "nested_source": lambda: {(SO, head, relation), (ON, tables[SO][head, relation], relation)},
        "nested_siblings": lambda: {(SN, s, relation) for s in subjects if tables[SO][s, relation] == head},
    }[kind]()


def place(fact):
    return fact.edge, fact.head, fact.relation


def retained(edit_set):
    return [query for queries in edit_set.retain.values() for query in queries]


def asked(edit_set, kind):
    return [probe for probe in edit_set.probes if probe.kind == kind]


def head_of(fact_place):
    """Whose fact it is: a subject is the same one in all its facts, an object belongs to a relation."""
    edge, head, relation = fact_place
    return (edge, head, relation) if edge is ON else head


# answers


@cases
def test_answers_before_and_after_are_those_of_the_dictionaries(structure, edge, scenario):
    for edit_set in (*draw(structure, edge, scenario), *draw(structure, edge, scenario, relation=1)):
        before, after = tables_of(structure), tables_after(structure, edit_set.edits)
        for probe in edit_set.probes:
            edge_, head, relation_ = place(probe.fact)
            old = before[edge_][head, relation_]
            new = after[edge_][head, relation_]
            if probe.kind == "partner":
                new = edit_set.edits[probe.edit].new_tail
            assert probe.fact.tail == old
            assert probe.before.answer == words(structure, edge_, head, relation_, old)[2]
            assert probe.after.answer == words(structure, edge_, head, relation_, new)[2]
            assert probe.prompt == prompt(structure, edge_, head, relation_, probe.form)
            assert probe.prompt == probe.before.prompt == probe.after.prompt
            assert probe.before.prompt_ids == probe.after.prompt_ids


@cases
def test_answer_changes_for_change_kinds_and_stays_for_kept_kinds(structure, edge, scenario):
    for edit_set in draw(structure, edge, scenario):
        for probe in edit_set.probes:
            if probe.kind in CHANGE_KINDS:
                assert probe.before.answer != probe.after.answer
            if probe.kind in KEEP_KINDS:
                assert probe.before.answer == probe.after.answer


def test_some_dependent_facts_follow():
    for edge, kind in ((SO, "nested_subject"), (ON, "nested_siblings")):
        probes = [p for edit_set in draw("nested", edge, "single", 6) for p in asked(edit_set, kind)]
        assert any(probe.before.answer != probe.after.answer for probe in probes)


@cases
def test_requests_are_the_edited_prompts_with_their_new_answers(structure, edge, scenario):
    for edit_set in draw(structure, edge, scenario):
        for edit, request in zip(edit_set.edits, edit_set.requests, strict=True):
            fact = edit.fact
            assert request.prompt == prompt(structure, *place(fact))
            assert request.answer == words(structure, *place(fact), edit.new_tail)[2]
            assert edit.new_fact == Fact(*place(fact), edit.new_tail)


@cases
def test_subject_ends_where_its_word_ends_in_the_prompt(structure, edge, scenario):
    for edit_set in draw(structure, edge, scenario):
        asked = zip(edit_set.requests, edit_set.originals, edit_set.refusals, edit_set.same_subject, strict=True)
        for edit, (request, original, refusal, others) in zip(edit_set.edits, asked, strict=True):
            word = words(structure, *place(edit.fact), 0)[0]
            for query in (request, original, refusal, *others):
                assert query.prompt.split()[: query.subject_end + 1] == ["SS", *word.split()]


# kinds


@cases
def test_probe_is_of_the_kind_it_says(structure, edge, scenario):
    for edit_set in draw(structure, edge, scenario):
        for probe in edit_set.probes:
            assert place(probe.fact) in facts_of_kind(probe.kind, probe.edit, edit_set, structure)
            assert probe.form == ("rso" if probe.kind == "paraphrase" else "statement")


EVERYTHING = {"probes_per_edit": 10_000, "edited_repeats": 7, "same_object_rows": 0, "same_relation_rows": 0}
ALL_ASKED = sorted(set(KINDS) - {"same_old_object", "same_new_object", "same_relation", "unrelated", "nested_siblings"})


@cases
def test_with_room_enough_all_facts_of_edited_heads_are_asked(structure, edge, scenario):
    for edit_set in draw(structure, edge, scenario, **EVERYTHING):
        present = {probe.kind for probe in edit_set.probes}
        for kind in present & set(ALL_ASKED):
            found = {place(probe.fact) for probe in asked(edit_set, kind)}
            numbers = range(len(edit_set.edits))
            expected = [facts_of_kind(kind, number, edit_set, structure) for number in numbers]
            assert found == set().union(*expected), kind


@cases
def test_with_room_enough_all_facts_of_half_of_the_other_heads_are_asked(structure, edge, scenario):
    for edit_set in draw(structure, edge, scenario, **EVERYTHING):
        numbers = range(len(edit_set.edits))
        tails = {tail for edit in edit_set.edits for tail in (edit.fact.tail, edit.new_tail)}
        # Of unrelated facts those of the edited table: the other tables' are trained on and never asked.
        kinds = ("same_old_object", "same_new_object", "same_relation", "unrelated")
        found = {kind: {place(probe.fact) for probe in asked(edit_set, kind)} for kind in kinds}
        expected = {
            kind: set().union(*(facts_of_kind(kind, number, edit_set, structure) for number in numbers))
            for kind in kinds
        }
        heads = {row[1] for kind in kinds[:3] for row in found[kind]}
        everybody = {row[1] for kind in kinds[:3] for row in expected[kind]}
        assert len(heads) == -(-len(everybody) // 2)
        for kind in kinds[:3]:
            assert found[kind] == {row for row in expected[kind] if row[1] in heads}, kind
            assert abs(len(found[kind]) - len(expected[kind]) / 2) <= (len(tails) if kind != "same_relation" else 6)
        if edge is not ON:  # where an edited object is an unrelated one in other relations
            assert found["unrelated"] == {row for row in expected["unrelated"] if row[1] in heads}


@cases
def test_nobody_is_both_trained_and_asked(structure, edge, scenario):
    for edit_set in draw(structure, edge, scenario):
        trained = {head_of(places_by_prompt(structure)[query.prompt]) for query in retained(edit_set)}
        assert trained
        assert not trained & {head_of(place(probe.fact)) for probe in edit_set.probes}


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("relations", [3, 4])
def test_mixture_holds_as_many_facts_of_each_kind_in_every_structure(scenario, relations):
    counts = []
    for structure in STRUCTURES:
        edit_set = draw_edits(corpus_of(structure, relations, 400), EditConfig(scenario=scenario, num_edits=3))[0]
        counts.append({kind: len(queries) for kind, queries in edit_set.retain.items()})
    chance = [count.pop("same_old_object") for count in counts]  # how many there are is the world's
    assert all(count == counts[0] for count in counts)
    assert min(chance) >= 10
    assert min(counts[0].values()) >= 70


def test_draw_with_too_little_to_train_on_is_refused_with_the_kind():
    config = EditConfig(scenario="different", num_edits=4, least_rows=30)
    message = "least_rows must be at most 10, the facts of kind same_relation that methods may train on when 4 edits"
    with pytest.raises(ValueError, match=message):
        draw_edits(corpus_of("independent"), config)
    for enough in ({"least_rows": 10}, {"same_relation_rows": 0}):
        assert draw_edits(corpus_of("independent"), dataclasses.replace(config, **enough))
    # With six edits, old and new objects are all that there are: what nobody asks, nobody need train on.
    (all_objects,) = draw_edits(corpus_of("independent"), dataclasses.replace(config, num_edits=6))
    assert all_objects.retain["same_relation"] == ()


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("relation", [0, 1, 2])
@pytest.mark.parametrize(("structure", "edge"), [(structure, edge) for structure in EDGES for edge in EDGES[structure]])
def test_kinds_are_those_that_the_world_can_have(structure, edge, relation, scenario):
    found = {probe.kind for edit_set in draw(structure, edge, scenario, relation=relation) for probe in edit_set.probes}
    expected = {name for name, kind in KINDS.items() if kind.exists(structure, edge, scenario)} - {*TRANSFER_KINDS}
    if relation == 2:  # correlated with none
        expected -= {"partner"}
    if edge is ON and scenario == "identical":  # both objects of the nested object are edited
        expected -= {"same_old_object"}
    assert found == expected


def test_facts_are_rephrased_only_in_other_trained_forms_that_have_a_prompt():
    world = WorldConfig(num_subjects=20, num_objects=5)
    for forms, expected in (((), []), (("sor", "osr"), []), (("sor", "rso"), ["rso"])):
        corpus = build(world, None, CorpusConfig(inversion_forms=forms, inversion_fraction=0.5 if forms else 0.0))
        (edit_set,) = draw_edits(corpus, EditConfig(num_edits=1))
        assert [probe.form for probe in asked(edit_set, "paraphrase")] == expected


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("edge", [SO, SN, ON])
def test_every_edit_has_at_most_as_many_probes_of_a_kind_as_allowed(edge, scenario):
    for edit_set in draw("correlated_nested", edge, scenario, probes_per_edit=3):
        for number in range(len(edit_set.edits)):
            found = Counter(probe.kind for probe in edit_set.probes if probe.edit == number)
            assert max(found.values()) == found["unrelated"] == 3


def test_facts_of_a_tail_that_edits_share_go_to_them_in_turn():
    (edit_set,) = draw("nested", SN, "identical", 4, same_object_rows=0, probes_per_edit=10_000)
    for kind, tail in (
        ("same_old_object", edit_set.edits[0].fact.tail),
        ("same_new_object", edit_set.edits[0].new_tail),
    ):
        heads = {h for (h, r), found in tables_of("nested")[SN].items() if (r, found) == (0, tail)}
        heads -= {edit.fact.head for edit in edit_set.edits}
        counts = Counter(probe.edit for probe in asked(edit_set, kind))
        assert abs(counts.total() - len(heads) / 2) <= 1
        assert counts.total() > 4
        assert max(counts.values()) - min(counts[number] for number in range(4)) <= 1


@cases
def test_no_fact_is_asked_twice_as_one_kind(structure, edge, scenario):
    for edit_set in draw(structure, edge, scenario):
        counts = Counter((probe.kind, probe.form, place(probe.fact)) for probe in edit_set.probes)
        assert max(counts.values()) == 1


def test_dependent_fact_that_edits_share_is_asked_for_the_first_of_them():
    (edit_set,) = draw("nested", SO, "identical", 6)
    for kind in ("nested_old_object", "nested_new_object"):
        assert [probe.edit for probe in asked(edit_set, kind)] == [0]
    (edit_set,) = draw("nested", SN, "identical", 9)
    objects = [tables_of("nested")[SO][edit.fact.head, 0] for edit in edit_set.edits]
    found = {probe.fact.head: probe.edit for probe in asked(edit_set, "nested_source") if probe.fact.edge is ON}
    assert found == {object: objects.index(object) for object in objects}
    assert len(found) < 9


def test_siblings_asked_are_the_first_of_all_in_an_order_that_is_not_theirs():
    fields = {"num_edits": 6, "edit_seed": 0}
    few, all_ = (draw("nested", ON, "single", **fields, probes_per_edit=most) for most in (3, 100))
    orders = [
        [[probe.fact.head for probe in asked(edit_set, "nested_siblings")] for edit_set in sets] for sets in (few, all_)
    ]
    assert orders[0] == [order[:3] for order in orders[1]]
    assert sum(sorted(order)[:3] == sorted(first) for first, order in zip(*orders, strict=True)) < 6
    assert sum(sorted(order) == order for order in orders[1]) < 6


def test_world_of_one_relation_has_nothing_unrelated_to_ask():
    (edit_set,) = draw_edits(corpus_of("independent", relations=1), EditConfig(num_edits=1, least_rows=0))
    expected = {name for name, kind in KINDS.items() if kind.exists("independent", SO, "single")} - {*TRANSFER_KINDS}
    assert {probe.kind for probe in edit_set.probes} == expected - {"same_subject", "unrelated"}


# what methods may train on


@cases
def test_no_fact_is_both_trained_and_asked(structure, edge, scenario):
    for edit_set in draw(structure, edge, scenario):
        trained = [query.prompt for query in retained(edit_set)]
        trained += [query.prompt for queries in edit_set.same_subject for query in queries]
        questions = {prompt(structure, *place(probe.fact)) for probe in edit_set.probes}
        assert not questions & set(trained)
        assert len(set(trained)) == len(trained)


@cases
def test_retained_facts_hold_before_and_after(structure, edge, scenario):
    for edit_set in draw(structure, edge, scenario):
        after = tables_after(structure, edit_set.edits)
        for query in (*retained(edit_set), *(query for queries in edit_set.same_subject for query in queries)):
            edge_, head, relation = places_by_prompt(structure)[query.prompt]
            tail = tables_of(structure)[edge_][head, relation]
            assert tail == after[edge_][head, relation]
            assert query.answer == words(structure, edge_, head, relation, tail)[2]


@cases
@pytest.mark.parametrize("rows", [0, 1, 2])
def test_facts_of_the_same_subject_are_trained_on_only_if_told_so(structure, edge, scenario, rows):
    for edit_set in draw(structure, edge, scenario, same_subject_rows=rows):
        assert len(edit_set.same_subject) == len(edit_set.edits)
        retained_too = edit_set.retain.get("same_subject", ())
        assert retained_too == tuple(query for queries in edit_set.same_subject for query in queries)
        for number, queries in enumerate(edit_set.same_subject):
            allowed = facts_of_kind("same_subject", number, edit_set, structure)
            assert {places_by_prompt(structure)[query.prompt] for query in queries} <= allowed
            assert len(queries) == min(rows, len(allowed))
            asked_of_it = [probe.edit for probe in asked(edit_set, "same_subject")].count(number)
            assert asked_of_it == len(allowed) - len(queries)


@cases
def test_retained_fact_is_of_the_kind_it_says(structure, edge, scenario):
    tables = tables_of(structure)
    for edit_set in draw(structure, edge, scenario):
        numbers, edited = range(len(edit_set.edits)), {edit.fact.head for edit in edit_set.edits}
        expected = {
            kind: set().union(*(facts_of_kind(kind, number, edit_set, structure) for number in numbers))
            for kind in ("same_old_object", "same_relation")
        }
        expected["unrelated"] = {
            (table, head, relation)
            for table in tables
            for head, relation in tables[table]
            if relation != 0 and (ON in (edge, table) or head not in edited)
        }
        found = {
            kind: {places_by_prompt(structure)[query.prompt] for query in queries}
            for kind, queries in edit_set.retain.items()
        }
        assert list(found) == ["same_old_object", "same_relation", "unrelated"]
        assert all(found[kind] <= expected[kind] for kind in found)
        assert {table for table, _, _ in found["unrelated"]} == set(tables)


@cases
def test_contexts_are_true_sentences_of_other_relations_and_other_heads(structure, edge, scenario):
    text = corpus_of(structure).grammar.lexicon.decode
    for edit_set in draw(structure, edge, scenario):
        assert len(edit_set.contexts) == len(set(edit_set.contexts)) == 10
        for context in edit_set.contexts:
            start, _, end = text(context).rpartition(" OO ")
            edge_, head, relation = places_by_prompt(structure)[f"{start} OO"]
            answer = words(structure, edge_, head, relation, tables_of(structure)[edge_][head, relation])[2]
            assert end == f"{answer} . <|endoftext|>"
            assert relation != edit_set.relation
            assert edge_ is ON or head not in {edit.fact.head for edit in edit_set.edits}


def test_contexts_of_a_world_of_one_relation_are_retained_facts_of_that_relation():
    corpus = corpus_of("independent", relations=1)
    (edit_set,) = draw_edits(corpus, EditConfig(num_edits=1, least_rows=0))
    said = {f"{query.prompt} {query.answer} . <|endoftext|>" for query in edit_set.retain["same_relation"]}
    assert len(set(edit_set.contexts)) == 10
    assert {corpus.grammar.lexicon.decode(context) for context in edit_set.contexts} <= said


@pytest.mark.parametrize(("edits", "repeats"), [(1, 250), (3, 100), (2, 10)])
def test_mixture_has_as_many_unrelated_facts_as_edited_rows(edits, repeats):
    corpus = corpus_of("independent", subjects=2000)
    config = EditConfig(scenario="different", num_edits=edits, edited_repeats=repeats)
    (edit_set,) = draw_edits(corpus, config)
    assert len(edit_set.retain["unrelated"]) == edits * repeats


def test_mixture_has_at_most_the_rows_asked_for_and_about_half_of_what_there_is():
    corpus = corpus_of("independent", subjects=2000)
    objects = corpus.world.objects(range(2000), 0).tolist()
    for same_object, same_relation in ((20, 30), (10_000, 10_000)):
        config = EditConfig(num_edits=1, same_object_rows=same_object, same_relation_rows=same_relation)
        (edit_set,) = draw_edits(corpus, config)
        edit = edit_set.edits[0]
        rows = {kind: len(queries) for kind, queries in edit_set.retain.items()}
        half = (objects.count(edit.fact.tail) - 1) / 2
        assert abs(rows["same_old_object"] - min(same_object, half)) <= 0.5
        assert rows["same_relation"] == min(same_relation, 624)  # 3/4 of 10/12 of 999


@pytest.mark.parametrize("structure", ["independent", "nested"])
def test_background_is_every_distinct_sentence_once(structure):
    corpus = corpus_of(structure)
    (edit_set,) = draw(structure, SO, "identical")
    text = corpus.grammar.lexicon.decode
    found = Counter(text(row) for block in edit_set.background.blocks() for row in block)
    expected = [
        f"{prompt(structure, edge, h, r, form)} {words(structure, edge, h, r, tail)[2]} . <|endoftext|>"
        for edge, table in tables_of(structure).items()
        for (h, r), tail in table.items()
        for form in ("statement", "rso")
    ]
    assert found == Counter(expected)
    assert edit_set.background.digest == corpus.digest


@pytest.mark.parametrize("scenario", ["different", "sequence"])
def test_asked_sentences_are_those_of_every_fact_that_the_draw_asks(scenario):
    sets = draw("nested", SO, scenario)
    text = corpus_of("nested").grammar.lexicon.decode
    facts = {probe.fact for edit_set in sets for probe in edit_set.probes}
    assert len(facts) > max(len({probe.fact for probe in edit_set.probes}) for edit_set in sets) or len(sets) == 1
    expected = [
        f"{prompt('nested', f.edge, f.head, f.relation, form)} "
        f"{words('nested', f.edge, f.head, f.relation, f.tail)[2]} . <|endoftext|>"
        for f in facts
        for form in ("statement", "rso")
    ]
    for edit_set in sets:
        assert Counter(text(row) for block in edit_set.background.asked() for row in block) == Counter(expected)
    assert len({edit_set.background.asked_digest for edit_set in sets}) == 1


def test_another_draw_asks_other_facts():
    first, second = draw("nested", SO, "single")[:2]
    assert first.background.asked_digest != second.background.asked_digest
    assert first.background.digest == second.background.digest


# draws


@cases
def test_edit_changes_a_true_fact_of_its_table_and_relation(structure, edge, scenario):
    for edit_set in draw(structure, edge, scenario, relation=1):
        assert (edit_set.config.scenario, edit_set.edge, edit_set.relation) == (scenario, edge, 1)
        for edit in edit_set.edits:
            assert (edit.fact.edge, edit.fact.relation) == (edge, 1)
            assert edit.fact.tail == tables_of(structure)[edge][edit.fact.head, 1] != edit.new_tail
            assert 0 <= edit.new_tail < (12 if edge is SO else 6)
        assert len({edit.fact.head for edit in edit_set.edits}) == len(edit_set.edits)


def test_single_draws_as_many_sets_of_one_edit_about_different_heads():
    sets = draw("nested", SO, "single", 7)
    assert [len(edit_set.edits) for edit_set in sets] == [1] * 7
    assert len({edit_set.edits[0].fact.head for edit_set in sets}) == 7


def test_identical_edits_share_the_old_and_the_new_tail():
    for edge, count in ((SO, 6), (SN, 9), (ON, 2)):
        (edit_set,) = draw("nested", edge, "identical", count)
        assert len(edit_set.edits) == count
        assert len({(edit.fact.tail, edit.new_tail) for edit in edit_set.edits}) == 1


def test_different_edits_have_distinct_old_and_new_tails_and_no_new_one_is_old():
    for edge, count in ((SO, 6), (SN, 3), (ON, 3)):
        (edit_set,) = draw("nested", edge, "different", count)
        tails = [tail for edit in edit_set.edits for tail in (edit.fact.tail, edit.new_tail)]
        assert len(set(tails)) == len(tails) == 2 * count


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_same_seed_is_the_same_draw_and_another_seed_another(scenario):
    config = {"scenario": scenario, "num_edits": 4, "least_rows": 0}
    corpus = build(corpus_of("nested").world.config, LexiconConfig(one_token_limit=20))
    first, again, other = (draw_edits(corpus, EditConfig(**config, edit_seed=seed)) for seed in (0, 0, 1))
    assert first == again == draw("nested", SO, scenario, 4)
    assert [edit_set.edits for edit_set in first] != [edit_set.edits for edit_set in other]
    assert {edit_set.config.edit_seed for edit_set in other} == {1}


def test_draws_of_two_seeds_or_two_relations_share_edited_heads_only_by_chance():
    draws = [
        {edit_set.edits[0].fact.head for edit_set in draw("independent", SO, "single", 9, **fields)}
        for fields in ({"edit_seed": 0}, {"edit_seed": 1}, {"edit_seed": 0, "relation": 1})
    ]
    assert all(len(draws[i] & draws[j]) <= 4 for i, j in ((0, 1), (0, 2), (1, 2)))  # 0.9 are expected


def test_fewer_edits_are_the_first_of_more():
    few, many = draw("nested", SO, "single", 3), draw("nested", SO, "single", 8)
    assert [dataclasses.replace(edit_set, config=few[0].config) for edit_set in many[:3]] == list(few)


@pytest.mark.parametrize("relation", [0, 1])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_matched_edits_only_facts_whose_partner_has_the_same_object(scenario, relation):
    tables = tables_of("correlated")
    unmatched = [s for s in range(90) if tables[SO][s, 0] != tables[SO][s, 1]]
    sets = draw("correlated", SO, scenario, 4, matched=True, relation=relation)
    heads = {edit.fact.head for edit_set in sets for edit in edit_set.edits}
    assert unmatched
    assert len(heads) == 4
    assert not heads & set(unmatched)


def test_matched_offers_every_matching_fact_and_no_more():
    tables, corpus = tables_of("correlated"), corpus_of("correlated")
    matching = {s for s in range(90) if tables[SO][s, 0] == tables[SO][s, 1]}
    assert max_edits(corpus.world, EditConfig(matched=True)) == len(matching) < 90
    small = {
        "probes_per_edit": 1, "edited_repeats": 1, "same_object_rows": 0, "same_relation_rows": 0, "least_rows": 0
    }  # fmt: skip
    sets = draw_edits(corpus, EditConfig(matched=True, num_edits=len(matching), **small))
    assert {edit_set.edits[0].fact.head for edit_set in sets} == matching


@pytest.mark.parametrize("edge", [SO, SN, ON])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_most_edits_are_drawn_and_one_more_is_refused(edge, scenario):
    corpus = corpus_of("nested", subjects=30)
    tails = Counter(corpus.world.tails(edge, range(12 if edge is ON else 30), 0).tolist())
    most = {
        "single": tails.total(),
        "identical": max(tails.values()),
        "different": min(len(tails), (12 if edge is SO else 6) // 2),
    }[scenario]
    fields = {"scenario": scenario, "edge": edge.label, "probes_per_edit": 1, "edited_repeats": 1, "least_rows": 0}
    assert max_edits(corpus.world, EditConfig(**fields)) == most
    sets = draw_edits(corpus, EditConfig(**fields, num_edits=most))
    assert sum(len(edit_set.edits) for edit_set in sets) == most
    message = f"num_edits must be at most {most}, the .* in relation 0 of {edge.label}, got {most + 1}"
    with pytest.raises(ValueError, match=message):
        draw_edits(corpus, EditConfig(**fields, num_edits=most + 1))


# refusals


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"scenario": "forgot"},
            "scenario must be one of single, identical, different, sequence, forget, refuse, got 'forgot'",
        ),
        ({"edge": "object"}, "edge must be one of subject_object, subject_nested, object_nested, got 'object'"),
        ({"num_edits": 0}, "num_edits must be at least 1, got 0"),
        ({"edited_repeats": 0}, "edited_repeats must be at least 1, got 0"),
        ({"probes_per_edit": 0}, "probes_per_edit must be at least 1, got 0"),
        ({"relation": -1}, "relation must be at least 0, got -1"),
        ({"same_object_rows": -1}, "same_object_rows must be at least 0, got -1"),
        ({"same_relation_rows": -1}, "same_relation_rows must be at least 0, got -1"),
        ({"same_subject_rows": -1}, "same_subject_rows must be at least 0, got -1"),
        ({"least_rows": -1}, "least_rows must be at least 0, got -1"),
    ],
)
def test_bad_value_is_refused_with_field_bound_and_value(fields, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        EditConfig(**fields)


@pytest.mark.parametrize(
    ("structure", "fields", "message"),
    [
        ("independent", {"relation": 4}, "relation must be below num_relations = 4, got 4"),
        ("correlated", {"edge": "object_nested"}, "edge 'object_nested' needs num_nested_objects above 0"),
        ("independent", {"matched": True}, "matched needs a correlated world"),
        ("correlated", {"matched": True, "relation": 2}, "relation 0 or 1"),
        ("correlated_nested", {"matched": True, "edge": "subject_nested"}, "edge subject_object"),
    ],
)
def test_edit_that_the_world_cannot_have_is_refused(structure, fields, message):
    for ask in (draw_edits, lambda corpus, config: max_edits(corpus.world, config)):
        with pytest.raises(ValueError, match=re.escape(message)):
            ask(corpus_of(structure), EditConfig(**fields))


def test_chosen_edits_have_plain_ids_and_are_not_matched():
    corpus = build(WorldConfig(num_subjects=40, num_relations=2, num_objects=6))
    fact = corpus.world.fact(SO, 3, 1)
    numpys = Fact(SO, *(np.int64(id) for id in (fact.head, fact.relation, fact.tail)))
    new = (fact.tail + 1) % 6
    found = edit_set_of(corpus, [Edit(numpys, np.int64(new))], EditConfig(matched=True))
    assert found == edit_set_of(corpus, [Edit(fact, new)])
    assert {type(id) for id in (found.edits[0].new_tail, *dataclasses.astuple(found.edits[0].fact)[1:])} == {int}
    assert not found.config.matched
    with pytest.raises(ValueError, match=r"new_tail must be a whole number, got 1\.5"):
        edit_set_of(corpus, [Edit(fact, 1.5)])
