"""Facts about the sentences: their text is the protocol's, and a prompt is where its sentence begins."""

import re

import numpy as np
import pytest

from behemoth_data.grammar import FORMS, Grammar, ends_in_object
from behemoth_data.lexicon import Lexicon, LexiconConfig, Role
from behemoth_data.world import Edge, Fact, WorldConfig

ROLES = {
    Edge.SUBJECT_OBJECT: (Role.SUBJECT, Role.RELATION, Role.OBJECT),
    Edge.SUBJECT_NESTED: (Role.SUBJECT, Role.SUBJECT_NESTED_RELATION, Role.NESTED),
    Edge.OBJECT_NESTED: (Role.OBJECT, Role.OBJECT_NESTED_RELATION, Role.NESTED),
}
FACTS = [
    Fact(Edge.SUBJECT_OBJECT, 17, 2, 11),
    Fact(Edge.SUBJECT_NESTED, 0, 1, 3),
    Fact(Edge.OBJECT_NESTED, 11, 2, 0),
]
WITH_PROMPT, WITHOUT_PROMPT = ("statement", "rso", "question", "new_question"), ("sor", "osr")


def protocol(form, s, r, o):
    return {
        "statement": f"SS {s} W0 W1 RR {r} W2 OO {o} .",
        "sor": f"SS {s} W0 OO {o} W3 W4 RR {r} .",
        "osr": f"OO {o} W5 SS {s} W8 RR {r} .",
        "rso": f"W9 RR {r} W7 SS {s} W5 OO {o} .",
        "question": f"QQ Q1 RR {r} Q2 SS {s} Q3 Q4 AA OO {o} .",
        "new_question": f"QQ F1 RR {r} F2 SS {s} F3 AA OO {o} .",
    }[form]


@pytest.fixture(params=[1000, 5], ids=["one_token_words", "two_token_words"])
def grammar(request):
    world = WorldConfig(num_subjects=30, num_relations=3, num_objects=12, num_nested_objects=4)
    return Grammar(Lexicon(world, LexiconConfig(one_token_limit=request.param)))


def words(grammar, fact):
    """Head and tail words depend on the relation where heads and tails have words of their own in each."""
    head, relation, tail = ROLES[fact.edge]
    lexicon = grammar.lexicon
    return (
        lexicon.word(head, fact.head, fact.relation if head is Role.OBJECT else 0),
        lexicon.word(relation, fact.relation),
        lexicon.word(tail, fact.tail, fact.relation),
    )


def sentence(grammar, fact, form):
    return grammar.tokens(fact.edge, form, fact.head, fact.relation, fact.tail)


def test_forms_are_the_protocols():
    assert set(FORMS) == {*WITH_PROMPT, *WITHOUT_PROMPT}


@pytest.mark.parametrize("form", [*WITH_PROMPT, *WITHOUT_PROMPT])
@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.edge.label)
def test_sentence_is_the_protocols_template_and_the_end_of_text(grammar, fact, form):
    tokens = sentence(grammar, fact, form)
    expected = protocol(form, *words(grammar, fact)) + " <|endoftext|>"
    assert grammar.text(tokens).to_pylist() == [expected]
    assert tokens[0].tolist() == [grammar.lexicon.token_ids[token] for token in expected.split()]
    assert grammar.length(fact.edge, form) == len(expected.split())
    assert tokens[0, -1] == grammar.end_id


@pytest.mark.parametrize("form", WITH_PROMPT)
@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.edge.label)
def test_prompt_and_answer_cut_the_sentence_where_its_object_begins(grammar, fact, form):
    query = grammar.query(fact, form)
    tokens, text = sentence(grammar, fact, form)[0].tolist(), protocol(form, *words(grammar, fact))
    assert query.answer == words(grammar, fact)[2]
    assert f"{query.prompt} {query.answer} ." == text
    assert query.prompt.endswith(" OO")
    assert [*query.prompt_ids, *query.answer_ids] == tokens[:-2]
    assert len(query.prompt_ids) == len(query.prompt.split()) == grammar.prompt_length(fact.edge, form)
    assert len(query.answer_ids) == len(query.answer.split())
    assert grammar.text(np.array([query.prompt_ids])).to_pylist() == [query.prompt]


def test_query_with_another_tail_has_the_same_prompt_and_the_other_answer(grammar):
    fact = FACTS[0]
    own, other = grammar.query(fact), grammar.query(fact, tail=4)
    assert own.prompt_ids == other.prompt_ids
    assert other.answer == grammar.lexicon.word(Role.OBJECT, 4, 2) != own.answer


def test_queries_of_mixed_tables_keep_their_order(grammar):
    facts = [FACTS[1], FACTS[0], FACTS[2], FACTS[1]]
    assert grammar.queries(facts, "rso") == [grammar.query(fact, "rso") for fact in facts]
    tails = [0, 5, 1, 2]
    expected = [grammar.query(fact, "rso", tail) for fact, tail in zip(facts, tails, strict=True)]
    assert grammar.queries(facts, "rso", tails) == expected
    assert grammar.queries([]) == []


@pytest.mark.parametrize("form", FORMS)
def test_form_has_a_prompt_exactly_if_its_object_comes_last(grammar, form):
    assert ends_in_object(form) == (form in WITH_PROMPT)


@pytest.mark.parametrize("form", WITHOUT_PROMPT)
def test_form_that_ends_in_something_else_has_no_prompt(grammar, form):
    message = f"form must end in the object for a prompt to exist, got {form!r}"
    with pytest.raises(ValueError, match=re.escape(message)):
        grammar.prompt_length(Edge.SUBJECT_OBJECT, form)
    with pytest.raises(ValueError, match=re.escape(message)):
        grammar.query(FACTS[0], form)


def test_unknown_form_lists_the_known_ones(grammar):
    message = "form must be one of statement, sor, osr, rso, question, new_question, got 'poem'"
    for ask in (lambda: ends_in_object("poem"), lambda: sentence(grammar, FACTS[0], "poem")):
        with pytest.raises(ValueError, match=message):
            ask()


def test_many_sentences_are_the_single_ones(grammar):
    facts = [Fact(Edge.SUBJECT_OBJECT, head, head % 3, head % 12) for head in range(30)]
    heads, relations, tails = np.array([(f.head, f.relation, f.tail) for f in facts]).T
    block = grammar.tokens(Edge.SUBJECT_OBJECT, "osr", heads, relations, tails)
    singles = [sentence(grammar, fact, "osr")[0] for fact in facts]
    assert np.array_equal(block, np.stack(singles))
    assert grammar.text(block).to_pylist() == [
        protocol("osr", *words(grammar, fact)) + " <|endoftext|>" for fact in facts
    ]


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.edge.label)
def test_words_of_a_table_are_those_of_its_roles(grammar, fact):
    columns = grammar.words(fact.edge, *(np.array([value]) for value in (fact.head, fact.relation, fact.tail)))
    assert tuple(column.to_pylist() for column in columns) == tuple([w] for w in words(grammar, fact))


def test_no_sentences_are_an_empty_block(grammar):
    block = grammar.tokens(Edge.SUBJECT_OBJECT, "statement", [], [], [])
    assert block.shape == (0, grammar.length(Edge.SUBJECT_OBJECT, "statement"))
    assert grammar.text(block).to_pylist() == []


@pytest.mark.parametrize("form", [*WITH_PROMPT, *WITHOUT_PROMPT])
@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.edge.label)
def test_subject_ends_at_the_last_token_of_its_word(grammar, fact, form):
    parts = protocol(form, *words(grammar, fact)).split()
    (word,) = [parts[: place + 1] for place, part in enumerate(parts) if part == words(grammar, fact)[0].split()[-1]]
    assert grammar.subject_end(fact.edge, form) == len(word) - 1
