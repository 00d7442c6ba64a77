"""Facts about the table of forms: what it says of each holds, and a form that is added takes nothing from others."""

import dataclasses
import json
import re

import numpy as np
import pytest

from behemoth_data import forms
from behemoth_data.corpus import CorpusConfig, build
from behemoth_data.description import from_description
from behemoth_data.edits import EditConfig, draw_edits
from behemoth_data.forms import FORMS, USES, Form, asks, ends_in_object, names_of
from behemoth_data.kinds import KINDS, Kind, _nested_subject
from behemoth_data.lexicon import CORE_TOKENS, LexiconConfig, Role, later_tokens
from behemoth_data.tables import fact_table
from behemoth_data.world import Edge, Fact, WorldConfig

SO, SN, ON = Edge.SUBJECT_OBJECT, Edge.SUBJECT_NESTED, Edge.OBJECT_NESTED
CORPORA = [
    CorpusConfig(repeats=2, **fields)
    for fields in (
        {},
        {"inversion_forms": ("sor", "osr", "rso"), "question_fraction": 0.2},
        {"grammar": "repeats"},
        {"grammar": "nonsense", "question_fraction": 0.1},
        {"question_fraction": 0.3, "question_forms": ("question", *names_of("transfer"))},
    )
]
SURFACES = ("synthetic", "natural")
NEGATION = Form(
    name="negation",
    templates={
        "synthetic": "QQ X1 RR {r} X2 SS {s} AA OO | {o} | .",
        "natural": "Which {r} is unlike {s} besides ? | {o} | .",
    },
    use="probe",
)
TWO_STEP = FORMS["two_step"]


def corpus_of(config=CORPORA[0], surface="synthetic", nested=6, **fields):
    world = WorldConfig(num_subjects=40, num_relations=3, num_objects=12, num_nested_objects=nested)
    return build(world, LexiconConfig(surface=surface), config, **fields)


@pytest.fixture
def add(monkeypatch):
    """Lists a form as an entry at the end of the table would."""
    return lambda form: monkeypatch.setitem(forms.FORMS, form.name, form)


# what the entries say


def test_every_form_is_of_a_known_use_and_named_as_it_is_listed():
    assert {name for name, form in FORMS.items() if name != form.name} == set()
    assert {form.use for form in FORMS.values()} <= set(USES)


def test_form_stands_for_forms_that_there_are():
    assert [form.name for form in FORMS.values() if not set(form.of) <= set(FORMS)] == []
    assert {form.use for form in FORMS.values() if form.of} == {"inversion", "refusal"}


def test_taught_forms_are_those_of_all_corpora():
    found = {form for config in CORPORA for form in config.forms}
    assert found == {form.name for form in FORMS.values() if form.taught}


@pytest.mark.parametrize("config", CORPORA, ids=lambda config: config.grammar)
def test_forms_of_a_corpus_are_its_own_what_inverts_it_and_questions(config):
    own, *others = config.forms
    assert FORMS[own].use == "statement"
    assert [form for form in others if not asks(form)] == [form for form in others if own in FORMS[form].of]
    assert [form for form in others if asks(form)] == list(config.question_forms if config.question_fraction else ())


@pytest.mark.parametrize("surface", SURFACES)
def test_words_of_forms_that_every_version_could_teach_are_the_core(surface):
    taught = [form for form in FORMS.values() if form.taught and form.use != "transfer"]
    found = {word for form in taught for word in form.template(surface).words}
    assert found == set(CORE_TOKENS[surface]) - {"W6"}


def test_refusal_has_the_prompt_of_the_form_that_it_is_of():
    corpus, fact = corpus_of(), Fact(SO, 3, 1, 2)
    for name in names_of("refusal"):
        (asked,) = FORMS[name].of
        assert corpus.grammar.query(fact, name).prompt == corpus.grammar.query(fact, asked).prompt
        assert not ends_in_object(name)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"use": "joke"}, "use must be one of statement, inversion, question, transfer, refusal, probe, got 'joke'"),
        ({"answers": ON}, "truth of form 'x' must be given with answers"),
        ({"taught": True, "edges": (SO,)}, "form 'x' must say every table's facts with their own tails to be taught"),
        ({"taught": True, "answers": ON, "truth": TWO_STEP.truth}, "form 'x' must say every table's facts"),
    ],
)
def test_entry_that_contradicts_itself_is_refused(fields, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        dataclasses.replace(NEGATION, **{"name": "x", **fields})


# a form that is added


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("config", CORPORA, ids=lambda config: config.grammar)
def test_form_with_new_words_leaves_every_id_as_it_was(add, surface, config):
    before = corpus_of(config, surface)
    add(NEGATION)
    after = corpus_of(config, surface)
    old, new = before.grammar.lexicon.vocabulary, after.grammar.lexicon.vocabulary
    added = {"synthetic": ["X1", "X2"], "natural": ["unlike", "besides"]}[surface]
    assert new == (*old, *added)
    assert later_tokens(surface)[-len(added) :] == added
    assert np.array_equal(before.block(0, len(before)), after.block(0, len(after)))
    query = after.grammar.query(Fact(SO, 3, 1, 2), "negation")
    assert max(query.prompt_ids) >= len(old)
    assert query.answer == after.grammar.lexicon.word(Role.OBJECT, 2, 1)


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("config", CORPORA, ids=lambda config: config.grammar)
def test_older_description_is_of_the_same_corpus_in_its_own_vocabulary(add, surface, config):
    older = corpus_of(config, surface)
    description = json.loads(json.dumps(older.description()))
    add(NEGATION)
    again = from_description(description)
    assert again.grammar.lexicon.vocabulary == older.grammar.lexicon.vocabulary
    assert again.description() == older.description()
    assert again.grammar.lexicon.token_ids == older.grammar.lexicon.token_ids  # which tokenizers are made of
    fact = Fact(SO, 3, 1, 2)
    for form in FORMS:
        if form != "negation" and ends_in_object(form) and (older.grammar.lexicon.num_fillers or "non" not in form):
            assert again.grammar.query(fact, form) == older.grammar.query(fact, form)


def test_older_vocabulary_is_not_asked_in_words_that_it_lacks(add):
    description = corpus_of().description()
    size = description["num_tokens"]
    add(NEGATION)
    grammar = from_description(description).grammar
    message = (
        f"form must be in words of this vocabulary of {size} tokens, got 'negation', whose words X1, X2 came later"
    )
    for ask in (
        lambda: grammar.query(Fact(SO, 3, 1, 2), "negation"),
        lambda: grammar.length(SO, "negation"),
        lambda: grammar.answer_place(SO, "negation"),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
            ask()


def test_vocabulary_that_never_was_is_refused():
    description = corpus_of().description()
    for size in (0, description["num_tokens"] + 1):
        with pytest.raises(ValueError, match=f"^num_tokens must lie between .* got {size}$"):
            from_description({**description, "num_tokens": size})
    with pytest.raises(ValueError, match="vocabulary digest must be"):
        from_description({**description, "num_tokens": description["num_tokens"] - 1})


def test_word_that_the_world_has_too_is_refused(add):
    add(dataclasses.replace(NEGATION, templates={**NEGATION.templates, "natural": "{s} {r} employer | {o} | ."}))
    with pytest.raises(ValueError, match="^words of forms must be no words of the world, got employer$"):
        corpus_of(surface="natural")


# a form that is answered by another table


@pytest.mark.parametrize("surface", SURFACES)
def test_two_step_prompt_is_answered_with_what_the_object_belongs_to(surface):
    corpus = corpus_of(surface=surface)
    table = fact_table(corpus, SO, "two_step").to_pylist()
    objects, lexicon = dict(corpus.grammar.lexicon.token_ids), corpus.grammar.lexicon
    assert len(table) == 40 * 3
    for row in table:
        object = int(corpus.world.objects(row["subject"], row["relation"]))
        nested = int(corpus.world.nested(object, row["relation"]))
        assert row["object"] == nested
        assert row["answer"] == row["object_word"] == lexicon.word(Role.NESTED, nested, row["relation"])
        words = corpus.grammar.split(row["prompt"])
        assert lexicon.word(Role.OBJECT_NESTED_RELATION, row["relation"]) in words
        assert lexicon.word(Role.RELATION, row["relation"]) in words
        assert set(words) <= set(objects)


def test_two_step_form_exists_in_one_table_of_nested_worlds_only():
    nested, plain = corpus_of(), corpus_of(nested=0)
    assert TWO_STEP.asked_in(nested.world) == (SO,)
    assert TWO_STEP.asked_in(plain.world) == ()
    with pytest.raises(ValueError, match="^edge of form 'two_step' must be one of subject_object, got object_nested$"):
        nested.grammar.query(Fact(ON, 3, 1, 2), "two_step")
    with pytest.raises(ValueError, match="^num_nested_objects must be above 0 for form 'two_step', .*, got 0$"):
        plain.grammar.query(Fact(SO, 3, 1, 2), "two_step")


@pytest.mark.parametrize("edge", [SO, SN])
def test_kind_in_a_two_step_form_has_the_answers_of_the_worlds_before_and_after(monkeypatch, edge):
    def facts(around):
        yield around.each(SO, [edit.fact.head for edit in around.edits])

    kind = Kind(name="two_step", text="x", group="ripple", distance=99, facts=facts, form="two_step")
    monkeypatch.setitem(KINDS, "two_step", kind)
    corpus = corpus_of()
    (edit_set,) = draw_edits(corpus, EditConfig(scenario="different", num_edits=3, edge=edge.label))
    found = [probe for probe in edit_set.probes if probe.kind == "two_step"]
    assert len(found) == 3
    for probe, edit in zip(found, edit_set.edits, strict=True):
        before = int(corpus.world.objects(edit.fact.head, 0))
        after = edit.new_tail if edge is SO else before
        nested = [corpus.grammar.lexicon.word(Role.NESTED, int(corpus.world.nested(o, 0)), 0) for o in (before, after)]
        assert [probe.before.answer, probe.after.answer] == nested
        assert (probe.fact, probe.form) == (corpus.world.fact(SO, edit.fact.head, 0), "two_step")


def test_kind_has_no_probe_in_a_form_that_its_facts_cannot_be_in(monkeypatch):
    kind = dataclasses.replace(KINDS["nested_subject"], name="wrong", form="two_step", facts=_nested_subject)
    monkeypatch.setitem(KINDS, "wrong", kind)
    (edit_set,) = draw_edits(corpus_of(), EditConfig(num_edits=1))
    assert "wrong" not in {probe.kind for probe in edit_set.probes}
