"""Facts about what training has shown, counted again from the words of the sentences."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from behemoth_data import CorpusConfig, LexiconConfig, WorldConfig, build
from behemoth_data.tables import sentence_table
from behemoth_data.world import Edge
from behemoth_models.ledger import Ledger

SMALL = {"num_subjects": 7, "num_relations": 2, "num_objects": 4}
CORPORA = {
    "nested": (
        WorldConfig(**SMALL, num_nested_objects=2),
        LexiconConfig(one_token_limit=3),
        CorpusConfig(repeats=4, object_nested_upweight=3, question_fraction=0.2),
    ),
    "dissenting": (
        WorldConfig(**SMALL, minority_fraction=0.5),
        None,
        CorpusConfig(repeats=6, minority_share=0.5, inversion_forms=("sor", "osr", "rso")),
    ),
    "filled": (WorldConfig(**SMALL), None, CorpusConfig(repeats=5, grammar="nonsense")),
}


@pytest.fixture(scope="module", params=CORPORA)
def corpus(request):
    return build(*CORPORA[request.param])


@pytest.fixture(scope="module")
def nested():
    return build(*CORPORA["nested"])


def told(corpus, places):
    """How many of the texts at these places say the words of each head and relation, by table."""
    texts = sentence_table(corpus, 0, len(corpus))["text"].to_pylist()
    counts = {}
    for edge in corpus.world.edges:
        facts = corpus.world.facts(edge)
        heads, relations, _ = (words.to_pylist() for words in corpus.grammar.words(edge, *facts))
        wanted = [(f" {head} ", f" {relation} ") for head, relation in zip(heads, relations, strict=True)]
        counts[edge.label] = [
            sum(head in f" {texts[place]} " and relation in f" {texts[place]} " for place in places)
            for head, relation in wanted
        ]
    return counts


def test_exposures_are_the_sentences_that_say_a_facts_head_and_relation(corpus):
    ledger, places = Ledger(corpus), range(3, len(corpus) - 2, 2)
    ledger.show(np.array(places))
    expected = told(corpus, places)
    assert {edge: counts.tolist() for edge, counts in ledger.exposures.items()} == expected
    assert sum(map(sum, expected.values())) == len(places)  # every sentence is about one fact
    assert ledger.mean_exposures() == {
        edge: pytest.approx(sum(counts) / len(counts)) for edge, counts in expected.items()
    }


def test_sentence_that_dissents_counts_as_one_about_its_fact():
    corpus = build(*CORPORA["dissenting"])
    said = corpus.sentences(np.arange(len(corpus)))
    dissents = said.tails != corpus.world.objects(said.heads, said.relations)
    assert dissents.sum() > 5
    ledger = Ledger(corpus)
    ledger.show(np.flatnonzero(dissents))
    heads, relations, _ = corpus.world.facts(Edge.SUBJECT_OBJECT)
    counted = Counter(zip(said.heads[dissents].tolist(), said.relations[dissents].tolist(), strict=True))
    pairs = zip(heads.tolist(), relations.tolist(), strict=True)
    assert ledger.exposures["subject_object"].tolist() == [counted[pair] for pair in pairs]


def test_whole_pass_shows_every_fact_as_often_as_the_corpus_says(nested):
    ledger = Ledger(nested)
    for places in np.array_split(np.arange(len(nested)), 7):
        ledger.show(places)
    assert {edge: set(counts.tolist()) for edge, counts in ledger.exposures.items()} == {
        "subject_object": {4},
        "subject_nested": {4},
        "object_nested": {12},
    }


def test_places_shown_again_count_again(nested):
    ledger = Ledger(nested)
    ledger.show([5, 5, 5])
    ledger.show([5])
    assert sorted(count for counts in ledger.exposures.values() for count in counts.tolist() if count) == [4]


def test_nothing_is_shown_or_known_at_first(nested):
    ledger = Ledger(nested)
    assert set(ledger.mean_exposures().values()) == {0.0}
    assert ledger.table()["first_known_step"].null_count == ledger.table().num_rows == 14 + 14 + 8


def knowing(nested, *steps_and_numbers):
    """A ledger in which the SUBJECT_OBJECT facts with these numbers, and no others, were known after each step."""
    ledger = Ledger(nested)
    for step, numbers in steps_and_numbers:
        known = {edge.label: np.zeros(nested.world.num_facts(edge), bool) for edge in nested.world.edges}
        known["subject_object"][numbers] = True
        ledger.know(step, known)
    return ledger


def test_fact_is_first_known_after_the_first_measurement_that_it_was_known_at(nested):
    ledger = knowing(nested, (10, [0, 3]), (20, [3, 4]), (30, [0, 5]))
    expected = [10, -1, -1, 10, 20, 30] + [-1] * 8
    assert ledger.first_known["subject_object"].tolist() == expected
    assert set(ledger.first_known["subject_nested"].tolist()) == {-1}
    column = ledger.table()["first_known_step"].to_pylist()
    assert column[:14] == [None if step == -1 else step for step in expected]
    assert set(column[14:]) == {None}


def test_table_has_one_row_per_fact_in_the_worlds_order(nested):
    ledger = knowing(nested, (10, [2]))
    ledger.show(np.arange(50))
    table = ledger.table()
    assert table.schema == pa.schema(
        {
            "edge": pa.string(),
            "subject": pa.int32(),
            "relation": pa.int32(),
            "object": pa.int32(),
            "exposures": pa.int32(),
            "first_known_step": pa.int32(),
        }
    )
    rows = table.to_pylist()
    told_of = told(nested, range(50))
    expected = [
        (edge.label, head, relation, int(nested.world.tails(edge, head, relation)))
        for edge in Edge
        for relation in range(2)
        for head in range(4 if edge is Edge.OBJECT_NESTED else 7)
    ]
    assert [(row["edge"], row["subject"], row["relation"], row["object"]) for row in rows] == expected
    assert [row["exposures"] for row in rows] == [count for edge in Edge for count in told_of[edge.label]]
    assert [row["first_known_step"] for row in rows] == [None, None, 10] + [None] * 33


def test_restored_ledger_counts_on_and_leaves_the_arrays_alone(nested):
    ledger = knowing(nested, (10, [0, 3]))
    ledger.show(np.arange(40))
    stored = {name: array.copy() for name, array in ledger.arrays().items()}
    given = {name: array.copy() for name, array in stored.items()}
    again = Ledger(nested)
    again.restore(given)
    assert again.table().equals(ledger.table())
    for one in (ledger, again):
        one.show(np.arange(40, 90))
        one.know(20, {"subject_object": np.ones(14, bool)})
    assert again.table().equals(ledger.table())
    assert set(again.table()["first_known_step"].to_pylist()[:14]) == {10, 20}
    for name, array in given.items():
        np.testing.assert_array_equal(array, stored[name])


@pytest.mark.parametrize("name", ["exposures.object_nested", "first_known.subject_object"])
def test_array_that_is_missing_is_named(nested, name):
    arrays = Ledger(nested).arrays()
    del arrays[name]
    with pytest.raises(KeyError, match=name):
        Ledger(nested).restore(arrays)
