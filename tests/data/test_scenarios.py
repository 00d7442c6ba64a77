"""Facts about forgetting, refusing and sequences of edits, worked out again from dictionaries.

test_edits.py has those of the scenarios that change single facts.
"""

import contextlib
import functools
import itertools
import re
from collections import Counter

import pytest

from behemoth_data.corpus import build
from behemoth_data.edits import EditConfig, draw_edits
from behemoth_data.kinds import CHANGE_KINDS, KEEP_KINDS, KINDS
from behemoth_data.lexicon import LexiconConfig, Role
from behemoth_data.scenarios import check_distinct, max_edits, num_edited
from behemoth_data.world import Edge, WorldConfig

SO, SN, ON = Edge.SUBJECT_OBJECT, Edge.SUBJECT_NESTED, Edge.OBJECT_NESTED
STRUCTURES = {
    "independent": {},
    "correlated": {"correlation": 0.8},
    "nested": {"num_nested_objects": 6},
    "correlated_nested": {"correlation": 0.8, "num_nested_objects": 6},
}
EDGES = {"independent": (SO,), "correlated": (SO,), "nested": (SO, SN, ON), "correlated_nested": (SO,)}
TABLES = [(structure, edge) for structure in STRUCTURES for edge in EDGES[structure]]
CASES = [
    (*table, scenario, fraction) for table in TABLES for scenario in ("forget", "refuse") for fraction in (1.0, 0.4)
]
cases = pytest.mark.parametrize(("structure", "edge", "scenario", "fraction"), CASES)
tables = pytest.mark.parametrize(("structure", "edge"), TABLES)
ROLES = {
    SO: (Role.SUBJECT, Role.RELATION, Role.OBJECT),
    SN: (Role.SUBJECT, Role.SUBJECT_NESTED_RELATION, Role.NESTED),
    ON: (Role.OBJECT, Role.OBJECT_NESTED_RELATION, Role.NESTED),
}
REFUSAL = "OO OO"
EVERYTHING = {"probes_per_edit": 10_000}


@functools.cache
def corpus_of(structure, subjects=90):
    world = WorldConfig(num_subjects=subjects, num_relations=4, num_objects=12, **STRUCTURES[structure])
    return build(world, LexiconConfig(one_token_limit=20))


@functools.cache
def draw(structure, edge, scenario, fraction=1.0, subjects=90, **fields):
    fields = {"scenario": scenario, "edge": edge.label, "forget_fraction": fraction, "least_rows": 0} | fields
    config = EditConfig(**fields)
    return draw_edits(corpus_of(structure, subjects), config)


@functools.cache
def tables_of(structure):
    world = corpus_of(structure).world
    found = {}
    for edge in world.edges:
        heads, relations, tails = (column.tolist() for column in world.facts(edge))
        found[edge] = dict(zip(zip(heads, relations, strict=True), tails, strict=True))
    return found


def tables_after(structure, edits):
    """The tables after the edits, None for what is refused and for what depends on it."""
    tables, stated = {edge: dict(table) for edge, table in tables_of(structure).items()}, {}
    for edit in edits:
        table = stated if edit.fact.edge is SN else tables[edit.fact.edge]
        table[edit.fact.head, edit.fact.relation] = edit.new_tail
    if SN in tables:
        for (subject, r), object in tables[SO].items():
            followed = None if object is None else tables[ON][object, r]
            tables[SN][subject, r] = stated.get((subject, r), followed)
    return tables


@functools.cache
def words(structure, edge, head, relation, tail):
    roles, lexicon = ROLES[edge], corpus_of(structure).grammar.lexicon
    return (
        lexicon.word(roles[0], head, relation if roles[0] is Role.OBJECT else 0),
        lexicon.word(roles[1], relation),
        REFUSAL if tail is None else lexicon.word(roles[2], tail, relation),
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


def place(fact):
    return fact.edge, fact.head, fact.relation


def asked(edit_set, kind):
    return [probe for probe in edit_set.probes if probe.kind == kind]


def trained(edit_set):
    return [query for queries in (*edit_set.retain.values(), *edit_set.same_subject) for query in queries]


def head_of(fact_place):
    """Whose fact it is: a subject is the same one in all its facts, an object belongs to a relation."""
    edge, head, relation = fact_place
    return (edge, head, relation) if edge is ON else head


def heads_asked(edit_set):
    """Who is asked more than the facts that are forgotten."""
    return {head_of(place(probe.fact)) for probe in edit_set.probes if probe.kind not in CHANGE_KINDS}


def heads_of(edit_set):
    return {edit.fact.head for edit in edit_set.edits}


# forget and refuse: what is edited


@tables
@pytest.mark.parametrize("relation", [0, 2])
def test_forgetting_a_relation_gives_object_0_to_all_facts_that_lack_it(structure, edge, relation):
    (edit_set,) = draw(structure, edge, "forget", relation=relation)
    old = {(*key, tail) for key, tail in tables_of(structure)[edge].items() if key[1] == relation and tail != 0}
    assert {(edit.fact.head, edit.fact.relation, edit.fact.tail) for edit in edit_set.edits} == old
    assert len(edit_set.edits) == len(old)
    assert {edit.new_tail for edit in edit_set.edits} == {0}
    assert {edit.fact.edge for edit in edit_set.edits} == {edge}


@tables
@pytest.mark.parametrize("relation", [0, 2])
def test_refusing_a_relation_takes_the_answer_from_all_its_facts(structure, edge, relation):
    (edit_set,) = draw(structure, edge, "refuse", relation=relation)
    old = {(*key, tail) for key, tail in tables_of(structure)[edge].items() if key[1] == relation}
    assert {(edit.fact.head, edit.fact.relation, edit.fact.tail) for edit in edit_set.edits} == old
    assert len(edit_set.edits) == len(old)
    assert {(edit.new_tail, edit.new_fact) for edit in edit_set.edits} == {(None, None)}


@tables
@pytest.mark.parametrize("fraction", [0.05, 0.3, 0.75, 1.0])
def test_share_that_is_refused_is_rounded_and_holds_a_fact(structure, edge, fraction):
    count = 12 if edge is ON else 90
    (edit_set,) = draw(structure, edge, "refuse", fraction)
    assert len(edit_set.edits) == len(heads_of(edit_set)) == max(1, round(fraction * count))


@tables
def test_smaller_share_is_the_first_part_of_a_larger_one(structure, edge):
    zeros = [key for key, tail in tables_of(structure)[edge].items() if tail == 0 and key[1] == 0]
    count = 12 if edge is ON else 90
    for scenario, unchanged in (("forget", len(zeros)), ("refuse", 0)):
        (whole,) = draw(structure, edge, scenario)
        for fraction in (0.4, 0.75):
            (part,) = draw(structure, edge, scenario, fraction)
            assert part.edits == whole.edits[: len(part.edits)]
            assert round(fraction * count) - unchanged <= len(part.edits) <= round(fraction * count)
            assert len(part.edits) < len(whole.edits)


def test_share_whose_facts_all_have_object_0_already_is_refused():
    corpus = build(WorldConfig(num_subjects=40, num_objects=2))
    message = "forget_fraction must choose a fact whose object is not 0 already, got 0.01 of 40 facts"
    tails = []
    for seed in range(30):
        config = EditConfig(scenario="forget", forget_fraction=0.01, edit_seed=seed, least_rows=0)
        with contextlib.suppress(ValueError):
            (edit_set,) = draw_edits(corpus, config)
            tails += [(edit.fact.tail, edit.new_tail) for edit in edit_set.edits]
            continue
        with pytest.raises(ValueError, match=re.escape(message)):
            draw_edits(corpus, config)
    assert set(tails) == {(1, 0)}
    assert 5 <= len(tails) <= 25  # half of 30 are expected


@pytest.mark.parametrize("relation", [0, 1])
@pytest.mark.parametrize("scenario", ["forget", "refuse"])
def test_matched_share_is_one_of_facts_whose_partner_has_the_same_object(scenario, relation):
    table = tables_of("correlated")[SO]
    matching = {s for s in range(90) if table[s, 0] == table[s, 1]}
    (whole,) = draw("correlated", SO, scenario, relation=relation, matched=True)
    unchanged = {s for s in matching if table[s, relation] == 0} if scenario == "forget" else set()
    assert heads_of(whole) == matching - unchanged
    (half,) = draw("correlated", SO, scenario, 0.5, relation=relation, matched=True)
    assert heads_of(half) < matching
    assert round(len(matching) / 2) - len(unchanged) <= len(half.edits) <= round(len(matching) / 2)


# forget and refuse: requests and probes


@cases
def test_requests_have_their_new_answers_and_the_same_prompts_as_originals_and_refusals(
    structure, edge, scenario, fraction
):
    (edit_set,) = draw(structure, edge, scenario, fraction)
    rows = zip(edit_set.edits, edit_set.requests, edit_set.originals, edit_set.refusals, strict=True)
    for edit, request, original, refusal in rows:
        question = prompt(structure, *place(edit.fact))
        assert [query.prompt for query in (request, original, refusal)] == [question] * 3
        assert request.prompt_ids == original.prompt_ids == refusal.prompt_ids
        new = REFUSAL if scenario == "refuse" else words(structure, *place(edit.fact), 0)[2]
        old = words(structure, *place(edit.fact), edit.fact.tail)[2]
        assert (request.answer, original.answer, refusal.answer) == (new, old, REFUSAL)
        decode = corpus_of(structure).grammar.lexicon.decode
        assert [decode(query.answer_ids) for query in (request, original, refusal)] == [new, old, REFUSAL]
    assert edit_set.edited_repeats == 1


@cases
def test_answers_before_and_after_are_those_of_the_dictionaries(structure, edge, scenario, fraction):
    (edit_set,) = draw(structure, edge, scenario, fraction)
    before, after = tables_of(structure), tables_after(structure, edit_set.edits)
    new = 0 if scenario == "forget" else None
    for probe in edit_set.probes:
        edge_, head, relation = place(probe.fact)
        old = before[edge_][head, relation]
        # What no table says: the habit of a correlated world.
        expected = new if probe.kind == "partner" else after[edge_][head, relation]
        assert probe.fact.tail == old
        assert probe.before.answer == words(structure, edge_, head, relation, old)[2]
        assert probe.after.answer == words(structure, edge_, head, relation, expected)[2]
        assert probe.prompt == prompt(structure, edge_, head, relation, probe.form)
        assert probe.before.prompt_ids == probe.after.prompt_ids
        if probe.kind in CHANGE_KINDS:
            assert probe.before.answer != probe.after.answer
        if probe.kind in KEEP_KINDS:
            assert probe.before.answer == probe.after.answer


@cases
def test_refusal_counts_as_an_answer_to_what_is_forgotten_and_to_nothing_else(structure, edge, scenario, fraction):
    (edit_set,) = draw(structure, edge, scenario, fraction)
    decode = corpus_of(structure).grammar.lexicon.decode
    for probe in edit_set.probes:
        assert decode(probe.refusal_ids) == (REFUSAL if probe.kind in CHANGE_KINDS else "")
        answers = [query.answer.split() for query in (probe.before, probe.after)]
        longest = max(len(answer) for answer in [*answers, decode(probe.refusal_ids).split()])
        assert probe.num_answer_tokens == longest
    for kind in CHANGE_KINDS:
        assert {probe.num_answer_tokens for probe in asked(edit_set, kind)} == {2}


def expected_kinds(structure, edge, scenario, fraction):
    """The kinds of the table, less those of what a relation that is forgotten altogether leaves none of."""
    kinds = {name for name, kind in KINDS.items() if kind.exists(structure, edge, scenario)}
    if fraction == 1:
        kinds -= {"implicit"}
        if edge is SO and "nested" not in structure:
            kinds -= {"unrelated"}
    return kinds


@cases
def test_kinds_are_those_that_the_world_and_the_share_can_have(structure, edge, scenario, fraction):
    (edit_set,) = draw(structure, edge, scenario, fraction)
    assert {probe.kind for probe in edit_set.probes} == expected_kinds(structure, edge, scenario, fraction)


@cases
def test_left_out_facts_of_the_relation_must_stay_and_half_of_them_are_asked(structure, edge, scenario, fraction):
    (edit_set,) = draw(structure, edge, scenario, fraction, **EVERYTHING)
    count = 12 if edge is ON else 90
    chosen = heads_of(draw(structure, edge, "refuse", fraction)[0]) if scenario == "refuse" else heads_of(edit_set)
    left_out = {
        (edge, head, relation)
        for (head, relation), tail in tables_of(structure)[edge].items()
        if relation == 0 and head not in chosen and (scenario == "refuse" or tail != 0)
    }
    found = {place(probe.fact) for probe in asked(edit_set, "implicit")}
    taught = {places_by_prompt(structure)[query.prompt] for query in edit_set.retain.get("implicit", ())}
    assert found | taught <= left_out
    assert not found & taught
    assert abs(len(found) - len(left_out) / 2) <= 1 + (scenario == "forget")
    zero = scenario == "forget"  # a fact with object 0 is as wanted already
    num_tails = 12 if edge is SO else 6
    expected = int(0.75 * (1 - zero / num_tails) * ((count - round(fraction * count)) // 2))
    assert len(taught) == (max(1, expected) if left_out else 0)
    assert bool(left_out) == bool(found) == (fraction < 1)
    (without,) = draw(structure, edge, scenario, fraction, **EVERYTHING, retain_relation=False)
    assert "implicit" not in without.retain
    assert without.probes == edit_set.probes


@cases
def test_each_edited_fact_is_asked_in_its_own_form_and_in_another(structure, edge, scenario, fraction):
    (edit_set,) = draw(structure, edge, scenario, fraction, probes_per_edit=1)
    numbers = list(range(len(edit_set.edits)))
    for kind, form in (("edited", "statement"), ("paraphrase", "rso")):
        probes = asked(edit_set, kind)
        assert [probe.edit for probe in probes] == numbers
        assert [probe.fact for probe in probes] == [edit.fact for edit in edit_set.edits]
        assert {probe.form for probe in probes} == {form}


@cases
def test_dependent_facts_are_those_of_the_edits(structure, edge, scenario, fraction):
    (edit_set,) = draw(structure, edge, scenario, fraction, **EVERYTHING)
    objects, old = tables_of(structure)[SO], {edit.fact.head: edit.fact.tail for edit in edit_set.edits}
    expected = {
        "partner": {(SO, head, 1) for head in old},
        "nested_subject": {(SN, head, 0) for head in old},
        "nested_old_object": {(ON, tail, 0) for tail in old.values()},
        "nested_new_object": {(ON, 0, 0)},
        "nested_source": {(SO, head, 0) for head in old}
        | ({(ON, objects[head, 0], 0) for head in old} if edge is SN else set()),
        "nested_siblings": {(SN, subject, 0) for subject in range(90) if objects[subject, 0] in old},
    }
    for kind in expected_kinds(structure, edge, scenario, fraction) & expected.keys():
        found = Counter(place(probe.fact) for probe in asked(edit_set, kind))
        # Of subjects, those that are asked at all: facts of the others may be trained on.
        others = {row for row in expected[kind] if row[0] is not ON and row[1] not in heads_asked(edit_set)}
        assert found == Counter(expected[kind] - others), kind
        subjects = sum(row[0] is not ON for row in expected[kind])
        assert abs(len(others) - subjects / 2) <= (0.5 if edge is not ON else 10), kind


# forget and refuse: what methods may train on


@cases
def test_other_facts_of_half_of_the_edited_heads_are_asked_and_of_the_others_trained(
    structure, edge, scenario, fraction
):
    (edit_set,) = draw(structure, edge, scenario, fraction, **EVERYTHING)
    if edge is ON:
        assert not asked(edit_set, "same_subject")
        assert "same_subject" not in edit_set.retain
        return
    partner = {1} if "correlated" in structure else set()
    relations = {1, 2, 3} - partner
    found = {place(probe.fact) for probe in asked(edit_set, "same_subject")}
    taught = {places_by_prompt(structure)[query.prompt] for query in edit_set.retain["same_subject"]}
    heads = {head for _, head, _ in found}
    assert found == {(edge, head, r) for head in heads for r in relations}
    assert heads <= heads_of(edit_set)
    assert abs(len(heads) - len(edit_set.edits) / 2) <= 1
    # Three quarters of two relations' facts, so that worlds with and without a partner have as many.
    assert len(taught) == min(round(fraction * 90), int(0.75 * 2 * (round(fraction * 90) // 2)))
    assert {(head in heads_of(edit_set) - heads, r in relations) for _, head, r in taught} == {(True, True)}
    for edit, queries in zip(edit_set.edits, edit_set.same_subject, strict=True):
        assert {places_by_prompt(structure)[query.prompt][1] for query in queries} <= {edit.fact.head}
    assert sorted(q.prompt for q in edit_set.retain["same_subject"]) == sorted(
        query.prompt for queries in edit_set.same_subject for query in queries
    )


@cases
def test_unrelated_facts_are_of_other_relations_and_heads_or_of_other_tables(structure, edge, scenario, fraction):
    (edit_set,) = draw(structure, edge, scenario, fraction, **EVERYTHING)
    taught = [places_by_prompt(structure)[query.prompt] for query in edit_set.retain.get("unrelated", ())]
    found = [place(probe.fact) for probe in asked(edit_set, "unrelated")]
    assert len(set(found + taught)) == len(found + taught)
    count = 12 if edge is ON else 90
    chosen = round(fraction * count)
    left = count - chosen
    for table, head, relation in found + taught:
        assert relation != 0
        assert table is not edge or edge is ON or head not in heads_of(edit_set)
    own = {row for row in found if row[0] is edge}
    touched = chosen if edge is ON and left else 0  # an edited object's number is that of another object elsewhere
    assert len(own) == 3 * (-(-left // 2) - (-touched // 2))
    # As many as there are edited rows, if the edited table has so many, and an equal share of each other table.
    rows = min(chosen, 3 * (left // 2)) if left else chosen
    num_tables = len(tables_of(structure))
    for other in set(tables_of(structure)) - {edge}:
        there_are = sum(row[0] is other for row in taught)
        assert there_are == rows // num_tables or (other is ON and 0 < there_are < 24)  # half of 36 by chance
    assert not left or len(taught) == rows


@cases
def test_nobody_is_both_trained_and_asked(structure, edge, scenario, fraction):
    (edit_set,) = draw(structure, edge, scenario, fraction)
    heads = {head_of(places_by_prompt(structure)[query.prompt]) for query in trained(edit_set)}
    assert heads
    assert not heads & heads_asked(edit_set)


@pytest.mark.parametrize("fraction", [0.1, 1.0])
@pytest.mark.parametrize("scenario", ["forget", "refuse"])
@pytest.mark.parametrize("relations", [3, 4])
def test_mixture_holds_as_many_facts_of_each_kind_in_every_structure(scenario, fraction, relations):
    """Also where the correlated relation leaves one that is no dependent fact, as in the world of three relations."""
    counts = []
    for fields in STRUCTURES.values():
        world = WorldConfig(num_subjects=400, num_relations=relations, num_objects=12, **fields)
        (edit_set,) = draw_edits(build(world), EditConfig(scenario=scenario, forget_fraction=fraction))
        count = {kind: len(queries) for kind, queries in edit_set.retain.items()}
        if fraction == 1 and "num_nested_objects" in fields:
            assert count.pop("unrelated") > 100  # what only a world of several tables has left
        counts.append(count)
    assert all(count == counts[0] for count in counts)
    assert list(counts[0]) == (["same_subject", "unrelated", "implicit"] if fraction < 1 else ["same_subject"])
    assert min(counts[0].values()) >= 15


def test_structure_that_has_nothing_to_retain_of_a_kind_is_refused():
    for structure, message in (("independent", None), ("correlated", "least_rows must be at most 0, .* same_subject")):
        corpus = build(WorldConfig(num_subjects=90, num_relations=2, num_objects=12, **STRUCTURES[structure]))
        if message is None:
            assert draw_edits(corpus, EditConfig(scenario="forget"))
            continue
        with pytest.raises(ValueError, match=message):
            draw_edits(corpus, EditConfig(scenario="forget"))


@cases
def test_no_fact_is_both_trained_and_asked(structure, edge, scenario, fraction):
    (edit_set,) = draw(structure, edge, scenario, fraction)
    questions = {prompt(structure, *place(probe.fact)) for probe in edit_set.probes}
    assert not questions & {query.prompt for query in trained(edit_set)}
    for queries in edit_set.retain.values():
        assert len({query.prompt for query in queries}) == len(queries)


@cases
def test_retained_facts_hold_before_and_after(structure, edge, scenario, fraction):
    (edit_set,) = draw(structure, edge, scenario, fraction)
    after = tables_after(structure, edit_set.edits)
    assert trained(edit_set)
    for query in trained(edit_set):
        edge_, head, relation = places_by_prompt(structure)[query.prompt]
        tail = tables_of(structure)[edge_][head, relation]
        assert tail == after[edge_][head, relation]
        assert query.answer == words(structure, edge_, head, relation, tail)[2]


@cases
def test_contexts_are_true_sentences_of_other_relations(structure, edge, scenario, fraction):
    (edit_set,) = draw(structure, edge, scenario, fraction)
    decode = corpus_of(structure).grammar.lexicon.decode
    there_are = len({query.prompt for kind in edit_set.retain if kind != "implicit" for query in edit_set.retain[kind]})
    assert len(edit_set.contexts) == len(set(edit_set.contexts)) == min(10, there_are) > 0
    taught = {f"{query.prompt} {query.answer} . <|endoftext|>" for query in trained(edit_set)}
    assert {decode(context) for context in edit_set.contexts} <= taught


# sequences


STEPS = [(6, 1), (6, 2), (6, 6)]
sequences = pytest.mark.parametrize(
    ("structure", "edge", "num_edits", "step"), [(*table, *steps) for table in TABLES for steps in STEPS]
)


@sequences
def test_sequence_is_a_set_for_each_step_with_heads_of_its_own(structure, edge, num_edits, step):
    sets = draw(structure, edge, "sequence", num_edits=num_edits, edits_per_step=step)
    assert [len(edit_set.edits) for edit_set in sets] == [step] * (num_edits // step)
    edits = [edit for edit_set in sets for edit in edit_set.edits]
    assert len({edit.fact.head for edit in edits}) == num_edits
    for edit in edits:
        assert (edit.fact.edge, edit.fact.relation) == (edge, 0)
        assert edit.fact.tail == tables_of(structure)[edge][edit.fact.head, 0] != edit.new_tail
        assert 0 <= edit.new_tail < (12 if edge is SO else 6)


@tables
def test_edits_of_a_sequence_do_not_depend_on_its_steps(structure, edge):
    edits = [
        [
            edit
            for edit_set in draw(structure, edge, "sequence", num_edits=6, edits_per_step=step)
            for edit in edit_set.edits
        ]
        for step in (1, 3, 6)
    ]
    assert edits[0] == edits[1] == edits[2]


@sequences
def test_no_step_asks_or_trains_what_another_changes(structure, edge, num_edits, step):
    """So that right after a step and at the end of all, a probe has the same right answer."""
    sets = draw(structure, edge, "sequence", num_edits=num_edits, edits_per_step=step, **EVERYTHING)
    at_the_end = tables_after(structure, [edit for edit_set in sets for edit in edit_set.edits])
    for edit_set in sets:
        after = tables_after(structure, edit_set.edits)
        for probe in edit_set.probes:
            edge_, head, relation = place(probe.fact)
            assert at_the_end[edge_][head, relation] == after[edge_][head, relation]
            expected = edit_set.edits[probe.edit].new_tail if probe.kind == "partner" else after[edge_][head, relation]
            assert probe.after.answer == words(structure, edge_, head, relation, expected)[2]
        for query in trained(edit_set):
            edge_, head, relation = places_by_prompt(structure)[query.prompt]
            tail = tables_of(structure)[edge_][head, relation]
            assert tail == after[edge_][head, relation] == at_the_end[edge_][head, relation]
            assert query.answer == words(structure, edge_, head, relation, tail)[2]


@sequences
def test_no_step_trains_what_any_step_asks(structure, edge, num_edits, step):
    """So that what a later step trains on cannot pass for what an earlier one left alone."""
    sets = draw(structure, edge, "sequence", num_edits=num_edits, edits_per_step=step)
    questions = {prompt(structure, *place(probe.fact)) for edit_set in sets for probe in edit_set.probes}
    for edit_set in sets:
        assert trained(edit_set)
        assert not questions & {query.prompt for query in trained(edit_set)}


@pytest.mark.parametrize(("structure", "edge"), [table for table in TABLES if table[1] is not ON])
def test_of_facts_around_a_sequence_about_half_are_asked(structure, edge):
    sets = draw(structure, edge, "sequence", num_edits=6, **EVERYTHING)
    edited = set().union(*map(heads_of, sets))
    for edit_set in sets:
        (edit,) = edit_set.edits
        for kind in ("same_relation", "unrelated"):
            taught = {places_by_prompt(structure)[query.prompt] for query in edit_set.retain[kind]}
            own = {row for row in taught if row[0] is edge}
            found = {place(probe.fact) for probe in asked(edit_set, kind)}
            everything = {
                (edge, head, relation)
                for (head, relation), tail in tables_of(structure)[edge].items()
                if head not in edited and ((relation == 0) == (kind == "same_relation"))
                if kind == "unrelated" or tail not in (edit.fact.tail, edit.new_tail)
            }
            assert found | own <= everything
            assert abs(len(found) / len(everything) - 0.5) < 0.1
            assert own


@pytest.mark.parametrize("scenario", ["single", "identical", "different", "sequence"])
def test_refusal_is_no_answer_where_a_fact_gets_a_new_object(scenario):
    for edit_set in draw("nested", SO, scenario, num_edits=2):
        assert {probe.refusal_ids for probe in edit_set.probes} == {()}
        assert [query.answer for query in edit_set.refusals] == [REFUSAL] * len(edit_set.edits)


def test_sequence_of_all_facts_leaves_no_head_alone():
    sets = draw("independent", SO, "sequence", num_edits=90, edits_per_step=30)
    assert set().union(*map(heads_of, sets)) == set(range(90))
    assert {probe.kind for edit_set in sets for probe in edit_set.probes} == {"edited", "paraphrase", "same_subject"}


def test_sequence_of_matched_facts_takes_only_those():
    table = tables_of("correlated")[SO]
    sets = draw("correlated", SO, "sequence", num_edits=8, edits_per_step=2, matched=True)
    assert all(table[head, 0] == table[head, 1] for edit_set in sets for head in heads_of(edit_set))


# draws


@pytest.mark.parametrize("scenario", ["sequence", "forget", "refuse"])
@tables
def test_same_seed_is_the_same_draw_and_another_seed_another(structure, edge, scenario):
    config = {"scenario": scenario, "edge": edge.label, "num_edits": 6, "forget_fraction": 0.5, "least_rows": 0}
    corpus = build(corpus_of(structure).world.config, LexiconConfig(one_token_limit=20))
    first, other = (draw_edits(corpus, EditConfig(**config, edit_seed=seed)) for seed in (0, 1))
    assert first == draw(structure, edge, scenario, 0.5, num_edits=6)  # of a corpus of its own
    assert [edit_set.edits for edit_set in first] != [edit_set.edits for edit_set in other]


@pytest.mark.parametrize("scenario", ["forget", "refuse"])
def test_draws_of_whole_relations_differ_in_the_relation(scenario):
    found = [draw("nested", SO, scenario, edit_seed=seed)[0].relation for seed in range(6)]
    assert found == [0, 1, 2, 3, 0, 1]
    drawn, named = (draw("nested", SO, scenario, **fields)[0] for fields in ({"edit_seed": 2}, {"relation": 2}))
    assert set(drawn.edits) == set(named.edits)
    assert {draw("nested", SO, scenario, fraction=0.4, edit_seed=seed)[0].relation for seed in range(3)} == {0}
    assert draw("nested", SO, scenario, edit_seed=1, relation=0)[0].relation == 0


@pytest.mark.parametrize(
    ("fields", "seeds", "same"),
    [({}, range(4), None), ({}, range(5), "0 and 4"), ({"relation": 1}, (2, 5), "2 and 5")],
)
def test_two_seeds_that_make_the_same_edits_are_refused(fields, seeds, same):
    world = corpus_of("nested").world
    draws = [EditConfig(scenario="forget", edit_seed=seed, **fields) for seed in seeds]
    part = [EditConfig(scenario="forget", forget_fraction=0.4, edit_seed=seed) for seed in seeds]
    check_distinct(world, part)
    with contextlib.nullcontext() if same is None else pytest.raises(ValueError, match=f"got seeds {same}, which both"):
        check_distinct(world, [*draws, *part])


def test_share_is_drawn_for_each_relation_anew():
    draws = [heads_of(draw("independent", SO, "refuse", 0.5, relation=relation)[0]) for relation in (0, 1)]
    assert 12 <= len(draws[0] & draws[1]) <= 33  # 22.5 of 45 are expected


# settings


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"scenario": "sequence", "edits_per_step": 3}, "edits_per_step must divide num_edits = 10, got 3"),
        ({"scenario": "sequence", "edits_per_step": 20}, "edits_per_step must divide num_edits = 10, got 20"),
        ({"edit_seed": 2**64}, "edit_seed must be from -2**63 to 2**63 - 1, got 18446744073709551616"),
        ({"edit_seed": -(2**63) - 1}, "edit_seed must be from -2**63 to 2**63 - 1, got -9223372036854775809"),
        ({"edits_per_step": 0}, "edits_per_step must be at least 1, got 0"),
        ({"forget_fraction": 0.0}, "forget_fraction must be above 0 and at most 1, got 0.0"),
        ({"forget_fraction": 1.5}, "forget_fraction must be above 0 and at most 1, got 1.5"),
        ({"forget_fraction": -0.5}, "forget_fraction must be above 0 and at most 1, got -0.5"),
    ],
)
def test_bad_value_is_refused_with_field_bound_and_value(fields, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        EditConfig(**fields)


def test_steps_need_to_divide_the_edits_of_a_sequence_only():
    for scenario in ("single", "identical", "different", "forget", "refuse"):
        assert EditConfig(scenario=scenario, num_edits=10, edits_per_step=3).edits_per_step == 3


def test_number_of_edits_does_not_limit_what_is_forgotten():
    for scenario, count in itertools.product(("forget", "refuse"), (1, 10_000)):
        (edit_set,) = draw("independent", SO, scenario, num_edits=count, probes_per_edit=1)
        assert len(edit_set.edits) > 70


@pytest.mark.parametrize("edge", [SO, SN, ON])
def test_longest_sequence_edits_every_fact_and_one_more_is_refused(edge):
    corpus, most = corpus_of("nested"), 12 if edge is ON else 90
    fields = {
        "scenario": "sequence", "edge": edge.label, "probes_per_edit": 1, "edited_repeats": 1, "least_rows": 0
    }  # fmt: skip
    assert max_edits(corpus.world, EditConfig(**fields)) == most
    sets = draw_edits(corpus, EditConfig(**fields, num_edits=most, edits_per_step=most // 2))
    assert sum(len(edit_set.edits) for edit_set in sets) == most
    message = f"num_edits must be at most {most}, the facts to edit in relation 0 of {edge.label}, got {most + 1}"
    with pytest.raises(ValueError, match=message):
        draw_edits(corpus, EditConfig(**fields, num_edits=most + 1))


@pytest.mark.parametrize(
    ("scenario", "edge", "fraction", "count"),
    [
        ("single", SO, 0.5, 7),
        ("sequence", ON, 0.5, 7),
        ("refuse", SO, 1.0, 90),
        ("refuse", ON, 1.0, 12),
        ("forget", SO, 1.0, 90),  # those that have object 0 are counted, though they are no edits
        ("forget", SN, 0.3, 27),
        ("refuse", ON, 0.01, 1),
    ],
)
def test_number_of_edited_facts_is_that_of_edits_or_of_the_share(scenario, edge, fraction, count):
    config = EditConfig(scenario=scenario, edge=edge.label, num_edits=7, forget_fraction=fraction)
    assert num_edited(corpus_of("nested").world, config) == count
