"""Facts about the training sentences, counted by reading their text word by word.

Statistical tests have an error rate of one in a million; their seeds are fixed.
"""

import dataclasses
import itertools
import json
import re
from collections import Counter

import numpy as np
import pytest
from scipy.stats import binom

from behemoth_data.corpus import CorpusConfig, build, from_description
from behemoth_data.lexicon import LexiconConfig, Role
from behemoth_data.world import Edge, WorldConfig

ERROR_RATE = 1e-6
SIZES = {"num_subjects": 25, "num_relations": 3, "num_objects": 12}
STRUCTURES = {
    "independent": {},
    "correlated": {"correlation": 0.8},
    "nested": {"num_nested_objects": 4},
    "correlated_nested": {"correlation": 0.8, "num_nested_objects": 4},
}


def make(structure="independent", world=(), **fields):
    return build(WorldConfig(**{**SIZES, **STRUCTURES[structure], **dict(world)}), None, CorpusConfig(**fields))


def readings(corpus):
    """What each one-token word says: its role, its relation (or 0) and its id."""
    world = corpus.world.config
    nested_relations = world.num_relations if world.num_nested_objects else 0
    sizes = [world.num_subjects, world.num_relations, nested_relations, nested_relations]
    sizes += [world.num_objects, world.num_nested_objects]
    return {
        corpus.grammar.lexicon.word(role, id, group): (role, group, id)
        for role, size in zip(Role, sizes, strict=True)
        for group in range(world.num_relations if role in (Role.OBJECT, Role.NESTED) else 1)
        for id in range(size)
    }


RELATION_ROLES = {
    Role.RELATION: (Edge.SUBJECT_OBJECT, Role.SUBJECT, Role.OBJECT),
    Role.SUBJECT_NESTED_RELATION: (Edge.SUBJECT_NESTED, Role.SUBJECT, Role.NESTED),
    Role.OBJECT_NESTED_RELATION: (Edge.OBJECT_NESTED, Role.OBJECT, Role.NESTED),
}


def read(corpus, meanings=None):
    """(edge, head, relation, tail, order of the markers) of each sentence, read from its words."""
    meanings = meanings or readings(corpus)
    said = []
    for text in corpus.grammar.text(corpus.block(0, len(corpus))).to_pylist():
        parts = text.split()
        word = {marker: parts[parts.index(marker) + 1] for marker in ("SS", "RR", "OO")}
        head, relation, tail = (meanings[word[marker]] for marker in ("SS", "RR", "OO"))
        edge, head_role, tail_role = RELATION_ROLES[relation[0]]
        assert (head[0], tail[0]) == (head_role, tail_role)
        assert tail[1] == relation[2]
        assert head_role is Role.SUBJECT or head[1] == relation[2]
        order = "".join(part[0] for part in parts if part in ("SS", "RR", "OO")).lower()
        said.append((edge, head[2], relation[2], tail[2], order))
    return said


def truth(corpus):
    """Every fact of every table."""
    return [
        (edge, head, relation, tail)
        for edge in corpus.world.edges
        for head, relation, tail in zip(*(c.tolist() for c in corpus.world.facts(edge)), strict=True)
    ]


def by_chance(count, total, probability):
    low, high = binom.interval(1 - ERROR_RATE, total, probability)
    return low <= count <= high


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize(("repeats", "upweight"), [(3, 1), (2, 5)])
def test_every_fact_is_said_exactly_as_often_as_the_config_says(structure, repeats, upweight):
    corpus = make(structure, repeats=repeats, object_nested_upweight=upweight)
    counted = Counter(row[:4] for row in read(corpus))
    assert counted == {fact: repeats * (upweight if fact[0] is Edge.OBJECT_NESTED else 1) for fact in truth(corpus)}
    assert len(corpus) == sum(counted.values())


@pytest.mark.parametrize(
    ("fields", "orders"),
    [
        ({"inversion_fraction": 0.0}, {"sro"}),
        ({}, {"sro", "rso"}),
        ({"inversion_forms": ("sor", "osr", "rso")}, {"sro", "sor", "osr", "rso"}),
        ({"inversion_fraction": 0.9, "inversion_forms": ("osr",)}, {"sro", "osr"}),
    ],
)
def test_sentences_come_in_the_forms_of_the_config(fields, orders):
    assert {row[4] for row in read(make("nested", **fields))} == orders


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("forms", [("rso",), ("sor", "osr", "rso")])
def test_share_of_each_form_is_the_nominal_one(fraction, forms):
    corpus = make(world={"num_subjects": 1000}, inversion_fraction=fraction, inversion_forms=forms)
    said = corpus.sentences(np.arange(len(corpus)))
    counts = Counter(corpus.forms[number] for number in said.forms.tolist())
    assert sum(counts.values()) == 60_000
    assert by_chance(counts["statement"], 60_000, 1 - fraction)
    assert all(by_chance(counts[form], 60_000, fraction / len(forms)) for form in forms)


def test_form_does_not_depend_on_the_fact():
    corpus = make(world={"num_subjects": 1000})
    said = corpus.sentences(np.arange(len(corpus)))
    for relation in range(3):
        rows = said.forms[said.relations == relation]
        assert by_chance(int(rows.sum()), len(rows), 0.5)
    inverted = np.bincount(said.heads, weights=said.forms)
    assert by_chance(int(inverted.min()), 60, 0.5)
    assert by_chance(int(inverted.max()), 60, 0.5)


@pytest.mark.parametrize("structure", ["independent", "nested"])
def test_block_is_its_smaller_blocks_and_its_single_sentences(structure):
    corpus = make(structure, repeats=2, inversion_forms=("sor", "osr", "rso"))
    whole = corpus.block(0, len(corpus))
    assert whole.shape == (len(corpus), corpus.max_length)
    cuts = [0, 1, 8, 90, 90, 131, len(corpus)]
    parts = [corpus.block(start, stop) for start, stop in itertools.pairwise(cuts)]
    assert np.array_equal(np.concatenate(parts), whole)
    singles = [corpus.tokens([place])[0] for place in range(0, len(corpus), 7)]
    assert np.array_equal(np.stack(singles), whole[::7])
    backwards = np.arange(len(corpus))[::-1]
    assert np.array_equal(corpus.tokens(backwards), whole[::-1])


def test_one_place_is_a_block_of_one_sentence():
    corpus = make("nested")
    said, whole = corpus.sentences(7), corpus.sentences(np.arange(8))
    for field in dataclasses.fields(said):
        assert getattr(said, field.name).tolist() == getattr(whole, field.name)[7:].tolist()
    assert np.array_equal(corpus.tokens(7), corpus.block(7, 8))


def test_no_sentences_are_an_empty_block():
    corpus = make("nested")
    assert corpus.block(5, 5).shape == (0, corpus.max_length)


@pytest.mark.parametrize("limit", [1000, 5])
def test_sentence_ends_once_and_padding_follows_only_there(limit):
    corpus = build(WorldConfig(**SIZES, num_nested_objects=4), LexiconConfig(one_token_limit=limit), CorpusConfig())
    texts = [text.split() for text in corpus.grammar.text(corpus.block(0, len(corpus))).to_pylist()]
    lengths = set()
    for parts in texts:
        end = parts.index("<|endoftext|>")
        assert parts[end - 1] == "."
        assert parts[end + 1 :] == ["<|padding|>"] * (corpus.max_length - end - 1)
        assert "<|padding|>" not in parts[:end]
        lengths.add(end + 1)
    assert max(lengths) == corpus.max_length
    assert lengths == {11} if limit == 1000 else len(lengths) > 1


def test_sentences_and_tokens_say_the_same():
    corpus = make("nested", repeats=2, inversion_forms=("sor", "rso"))
    said = corpus.sentences(np.arange(len(corpus)))
    orders = {"statement": "sro", "sor": "sor", "rso": "rso"}
    columns = (said.edges, said.heads, said.relations, said.tails)
    rows = zip(*(c.tolist() for c in columns), [orders[corpus.forms[f]] for f in said.forms], strict=True)
    assert list(rows) == read(corpus)


def test_order_is_shuffled():
    said = make(repeats=20).sentences(np.arange(1500))
    neighbours = np.count_nonzero((np.diff(said.heads) == 0) & (np.diff(said.relations) == 0))
    assert by_chance(neighbours, 1499, 19 / 1499)


def test_another_order_seed_says_the_same_facts_in_another_order():
    first, second = (make("nested", repeats=3, order_seed=seed) for seed in (0, 1))
    said = read(first), read(second)
    assert Counter(row[:4] for row in said[0]) == Counter(row[:4] for row in said[1])
    assert [row[:4] for row in said[0]] != [row[:4] for row in said[1]]
    assert np.array_equal(first.block(0, 50), make("nested", repeats=3).block(0, 50))


def test_another_world_seed_has_another_order():
    first, second = (
        [row[1:3] for row in read(make(world={"seed": seed}, repeats=2))] for seed in (0, 1)
    )  # heads and relations
    assert sorted(first) == sorted(second)
    assert first != second


@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_dissented_fact_states_its_second_object_at_the_nominal_share(share):
    corpus = make(world={"num_subjects": 40, "minority_fraction": 0.5}, repeats=25, minority_share=share)
    world = corpus.world
    seen = {"agreed": Counter(), "dissented": Counter()}
    subjects, relations = np.arange(40)[:, None], np.arange(3)
    seconds, trues = (find(subjects, relations).tolist() for find in (world.dissenting_objects, world.objects))
    for _, subject, relation, object, _ in read(corpus):
        second, true = seconds[subject][relation], trues[subject][relation]
        which = {true: "true", second: "second"}.get(object, "other")
        seen["dissented" if second >= 0 else "agreed"][which] += 1
    assert set(seen["agreed"]) == {"true"}
    assert set(seen["dissented"]) <= {"true", "second"}
    assert by_chance(seen["dissented"]["second"], seen["dissented"].total(), share)


def test_corpus_of_a_world_after_edits_says_the_edited_facts():
    corpus = make("nested", repeats=2)
    fact = corpus.world.fact(Edge.SUBJECT_OBJECT, 3, 1)
    edited = dataclasses.replace(fact, tail=(fact.tail + 1) % 12)
    after = type(corpus)(corpus.world.after([edited]), corpus.grammar, corpus.config)
    said = Counter(row[:4] for row in read(after))
    assert said == dict.fromkeys(truth(after), 2)
    assert said[Edge.SUBJECT_OBJECT, 3, 1, edited.tail] == 2
    assert said[Edge.SUBJECT_OBJECT, 3, 1, fact.tail] == 0


# digests and descriptions


@pytest.mark.parametrize(
    "fields",
    [
        {"repeats": 21},
        {"inversion_fraction": 0.4},
        {"inversion_forms": ("sor",)},
        {"object_nested_upweight": 2},
        {"minority_share": 0.2},
        {"order_seed": 1},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_digest_changes_with_every_field(fields):
    assert make().digest == make().digest
    assert make(**fields).digest != make().digest


def test_digest_changes_with_the_world_and_with_its_words():
    world = WorldConfig(**SIZES)
    digests = {
        build(world).digest,
        build(WorldConfig(**SIZES, seed=1)).digest,
        build(world, LexiconConfig(one_token_limit=5)).digest,
    }
    assert len(digests) == 3


@pytest.mark.parametrize("structure", STRUCTURES)
def test_description_that_went_through_json_describes_the_same_corpus(structure):
    corpus = build(
        WorldConfig(**SIZES, **STRUCTURES[structure]),
        LexiconConfig(one_token_limit=7),
        CorpusConfig(repeats=2, inversion_forms=("osr", "rso"), order_seed=4),
    )
    again = from_description(json.loads(json.dumps(corpus.description())))
    assert again.digest == corpus.digest
    assert np.array_equal(again.block(0, len(again)), corpus.block(0, len(corpus)))


@pytest.mark.parametrize("part", ["vocabulary", "sentences"])
def test_description_whose_digest_differs_is_refused(part):
    description = make().description()
    description["digests"][part] = "0123456789abcdef"
    with pytest.raises(ValueError, match=f"{part} digest must be 0123456789abcdef"):
        from_description(description)


@pytest.mark.parametrize("part", ["world", "lexicon", "corpus", "digests"])
def test_description_without_a_part_is_refused(part):
    description = make().description()
    del description[part]
    with pytest.raises(ValueError, match=rf"must have the parts .*\['{part}'\]"):
        from_description(description)


def test_description_with_an_unknown_field_lists_the_known_ones():
    description = make().description()
    description["corpus"]["repeat"] = 3
    with pytest.raises(ValueError, match=r"field of CorpusConfig must be one of repeats, .*got 'repeat'"):
        from_description(description)


# refusals


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"repeats": 0}, "repeats must be at least 1, got 0"),
        ({"object_nested_upweight": 0}, "object_nested_upweight must be at least 1, got 0"),
        ({"inversion_fraction": 1.0}, "inversion_fraction must lie in [0, 1) so that the statements that probes ask"),
        ({"inversion_fraction": -0.5}, "are taught, got -0.5"),
        ({"inversion_fraction": float("nan")}, "inversion_fraction must be a number, got nan"),
        ({"minority_share": -0.1}, "minority_share must lie in [0, 1], got -0.1"),
        ({"inversion_forms": ()}, "inversion_forms must name a form when inversion_fraction is above 0"),
        ({"inversion_forms": ("statement",)}, "inversion_forms must be one of sor, osr, rso, got 'statement'"),
        ({"inversion_forms": ["rs"]}, "did you mean 'rso'?"),
        (
            {"inversion_forms": ("sor", "rso", "sor")},
            "inversion_forms must name each form once, got ('sor', 'rso', 'sor')",
        ),
    ],
)
def test_bad_value_is_refused_with_field_bound_and_value(fields, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        CorpusConfig(**fields)


def test_no_inversion_needs_no_form():
    assert make(inversion_fraction=0.0, inversion_forms=()).forms == ("statement",)


@pytest.mark.parametrize("place", [-1, 1500])
def test_place_outside_the_corpus_is_refused(place):
    corpus = make()
    assert len(corpus) == 1500
    with pytest.raises(ValueError, match=rf"index must lie in \[0, 1500\), got {place}"):
        corpus.sentences([place])
