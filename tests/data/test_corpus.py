"""Facts about the training sentences, counted by reading their text word by word.

Statistical tests have an error rate of one in a million; their seeds are fixed.
"""

import dataclasses
import itertools
import json
import re
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from scipy.stats import binom

from behemoth_data.corpus import Corpus, CorpusConfig, build
from behemoth_data.description import from_description
from behemoth_data.lexicon import LexiconConfig, Role, later_tokens
from behemoth_data.world import Edge, World, WorldConfig

ERROR_RATE = 1e-6
SO, SN, ON = Edge.SUBJECT_OBJECT, Edge.SUBJECT_NESTED, Edge.OBJECT_NESTED
SIZES = {"num_subjects": 25, "num_relations": 3, "num_objects": 12}
STRUCTURES = {
    "independent": {},
    "correlated": {"correlation": 0.8},
    "nested": {"num_nested_objects": 4},
    "correlated_nested": {"correlation": 0.8, "num_nested_objects": 4},
}
ALL_FORMS = {"inversion_forms": ("sor", "osr", "rso")}
KINDS = {
    "plain": {},
    "all_forms": ALL_FORMS,
    "questions": {**ALL_FORMS, "question_fraction": 0.3},
    "repeats": {**ALL_FORMS, "grammar": "repeats", "question_fraction": 0.2},
    "nonsense": {"grammar": "nonsense", "question_fraction": 0.2},
}
VARIED = ("repeats", "nonsense")


def make(structure="independent", world=(), limit=1000, surface="synthetic", repeats=20, **fields):
    world = WorldConfig(**{**SIZES, **STRUCTURES[structure], **dict(world)})
    lexicon = LexiconConfig(one_token_limit=limit, surface=surface)
    return build(world, lexicon, CorpusConfig(repeats=repeats, **fields))


def readings(corpus):
    """What each word says: its role, its relation (or 0) and its id."""
    world = corpus.world.config
    nested_relations = world.num_relations if world.num_nested_objects else 0
    sizes = [world.num_subjects, world.num_relations, nested_relations, nested_relations]
    sizes += [world.num_objects, world.num_nested_objects]
    lexicon, found = corpus.grammar.lexicon, {}
    for role, size in zip(Role, sizes, strict=True):
        for group in range(world.num_relations if role in (Role.OBJECT, Role.NESTED) else 1):
            for id, tokens in enumerate(lexicon.encode(role, np.arange(size), group).tolist()):
                found[" ".join(lexicon.vocabulary[token] for token in tokens)] = (role, group, id)
    return found


RELATION_ROLES = {
    Role.RELATION: (SO, Role.SUBJECT, Role.OBJECT),
    Role.SUBJECT_NESTED_RELATION: (SN, Role.SUBJECT, Role.NESTED),
    Role.OBJECT_NESTED_RELATION: (ON, Role.OBJECT, Role.NESTED),
}


def texts_of(corpus, tokens):
    """Each sentence's text, token by token, without its padding."""
    vocabulary, padding = corpus.grammar.lexicon.vocabulary, corpus.grammar.lexicon.token_ids["<|padding|>"]
    return [" ".join(vocabulary[token] for token in row if token != padding) for row in tokens.tolist()]


def read(corpus, tokens=None, meanings=None):
    """(edge, head, relation, tail, order of the markers or "question") of each sentence, read from its words."""
    meanings = meanings or readings(corpus)
    said = []
    for text in texts_of(corpus, corpus.block(0, len(corpus)) if tokens is None else tokens):
        parts = text.split()
        found = {}
        for marker in ("SS", "RR", "OO"):
            place = parts.index(marker) + 1
            word = parts[place] if parts[place] in meanings else " ".join(parts[place : place + 2])
            found[marker] = meanings[word]
        head, relation, tail = found.values()
        edge, head_role, tail_role = RELATION_ROLES[relation[0]]
        assert (head[0], tail[0]) == (head_role, tail_role)
        assert tail[1] == relation[2]
        assert head_role is Role.SUBJECT or head[1] == relation[2]
        order = "".join(part[0] for part in parts if part in ("SS", "RR", "OO")).lower()
        said.append((edge, head[2], relation[2], tail[2], "question" if parts[0] == "QQ" else order))
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


# every fact, exactly


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize(("repeats", "upweight"), [(3, 1), (2, 5)])
def test_every_fact_is_said_exactly_as_often_as_the_config_says(structure, repeats, upweight):
    corpus = make(structure, repeats=repeats, object_nested_upweight=upweight)
    counted = Counter(row[:4] for row in read(corpus))
    assert counted == {fact: repeats * (upweight if fact[0] is ON else 1) for fact in truth(corpus)}
    assert len(corpus) == sum(counted.values())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("limit", [1000, 5], ids=["one_token_words", "two_token_words"])
def test_every_fact_is_said_exactly_as_often_whatever_the_forms_and_words(kind, limit):
    corpus = make("nested", limit=limit, repeats=3, object_nested_upweight=2, **KINDS[kind])
    counted = Counter(row[:4] for row in read(corpus))
    assert counted == {fact: 6 if fact[0] is ON else 3 for fact in truth(corpus)}


def test_corpus_of_a_world_after_edits_says_the_edited_facts():
    corpus = make("nested", repeats=2)
    fact = corpus.world.fact(SO, 3, 1)
    edited = dataclasses.replace(fact, tail=(fact.tail + 1) % 12)
    after = Corpus(corpus.world.after([edited]), corpus.grammar, corpus.config)
    said = Counter(row[:4] for row in read(after))
    assert said == dict.fromkeys(truth(after), 2)
    assert said[SO, 3, 1, edited.tail] == 2
    assert said[SO, 3, 1, fact.tail] == 0


# forms


@pytest.mark.parametrize(
    ("fields", "orders"),
    [
        ({"inversion_fraction": 0.0}, {"sro"}),
        ({}, {"sro", "rso"}),
        (ALL_FORMS, {"sro", "sor", "osr", "rso"}),
        ({"inversion_fraction": 0.9, "inversion_forms": ("osr",)}, {"sro", "osr"}),
        ({"inversion_fraction": 0.0, "question_fraction": 0.2}, {"sro", "question"}),
        ({**ALL_FORMS, "question_fraction": 0.2}, {"sro", "sor", "osr", "rso", "question"}),
        ({"grammar": "nonsense", "question_fraction": 0.2}, {"sro", "rso", "question"}),
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


# The forms of the grammars, from their definition. A word is one token here.
FILLED = {
    ("repeats", "sro"): (
        r"(W0 ){1,3}SS \w+ (W1 ){0,3}(W2 ){1,3}RR \w+ (W3 ){0,3}(W4 ){1,3}OO \w+ (W5 ){0,3}\. <\|endoftext\|>"
    ),
    ("repeats", "rso"): r"W9 RR \w+ W7 SS \w+ W5 OO \w+ \. <\|endoftext\|>",
    ("nonsense", "sro"): r"SS \w+ ([a-z]{7} ){1,5}RR \w+ ([a-z]{7} ){1,5}OO \w+ \. <\|endoftext\|>",
    ("nonsense", "rso"): r"RR \w+ ([a-z]{7} ){1,5}SS \w+ ([a-z]{7} ){1,5}OO \w+ \. <\|endoftext\|>",
}
QUESTION = r"QQ Q1 RR \w+ Q2 SS \w+ Q3 Q4 AA OO \w+ \. <\|endoftext\|>"


@pytest.mark.parametrize("grammar", VARIED)
def test_grammar_fills_its_sentences_and_leaves_questions_plain(grammar):
    corpus = make("nested", grammar=grammar, question_fraction=0.2)
    tokens = corpus.block(0, len(corpus))
    for text, row in zip(texts_of(corpus, tokens), read(corpus, tokens), strict=True):
        assert re.fullmatch(QUESTION if row[4] == "question" else FILLED[grammar, row[4]], text), text


@pytest.mark.parametrize("grammar", VARIED)
def test_sentences_that_say_one_fact_differ_in_their_fillers(grammar):
    corpus = make(world={"num_subjects": 1, "num_relations": 1}, grammar=grammar, inversion_fraction=0.0, repeats=200)
    assert corpus.varied
    # Of 1,728 sentences in repeats, and far more in nonsense: twelve equal pairs are to be expected.
    assert len({bytes(row) for row in corpus.block(0, 200)}) > 160


def test_sentences_without_fillers_that_say_one_fact_in_one_form_are_equal():
    corpus = make("nested", repeats=5, **KINDS["questions"])
    tokens = corpus.block(0, len(corpus))
    assert not corpus.varied
    assert len({bytes(row) for row in tokens}) == len(set(read(corpus, tokens)))


@pytest.mark.parametrize("grammar", VARIED)
def test_another_order_seed_draws_other_fillers(grammar):
    # Of one fact in one form, sentences can differ in nothing but their fillers.
    fields = {"world": {"num_subjects": 1, "num_relations": 1}, "grammar": grammar, "inversion_fraction": 0.0}
    first, second = (make(**fields, order_seed=seed).block(0, 20) for seed in (0, 1))
    assert not np.array_equal(first, second)


# questions


def questions_of(rows):
    """Which heads of each table are asked about."""
    heads = {edge: set() for edge in Edge}
    for edge, head, _, _, form in rows:
        if form == "question":
            heads[edge].add(head)
    return heads


@pytest.mark.parametrize("grammar", ["statement", "repeats", "nonsense"])
@pytest.mark.parametrize(("fraction", "subjects", "objects"), [(0.31, 13, 4), (0.62, 25, 7), (1.0, 41, 12)])
def test_exactly_the_share_of_heads_is_asked_about(grammar, fraction, subjects, objects):
    # The nearest whole numbers to 41 and 12 times the fraction: 12.71 and 3.72, 25.42 and 7.44, 41 and 12.
    corpus = make(
        "nested",
        {"num_subjects": 41},
        grammar=grammar,
        repeats=23,
        question_fraction=fraction * 0.9,
        question_subject_fraction=fraction,
    )
    asked = questions_of(read(corpus))
    # A head of 69 sentences that are questions with probability 0.8 or more is asked about for sure.
    assert {edge: len(heads) for edge, heads in asked.items()} == {SO: subjects, SN: subjects, ON: objects}
    for edge, heads in asked.items():
        of_all = np.arange(corpus.world.num_heads(edge))
        assert set(np.flatnonzero(corpus.asked(edge, of_all)).tolist()) == heads
        assert corpus.num_asked(edge) == len(heads)
        assert set(corpus.question_order(edge)(of_all[: len(heads)]).tolist()) == heads
    assert asked[SO] == asked[SN]


@pytest.mark.parametrize("question_fraction", [0.05, 0.3, 0.49])
def test_share_of_questions_is_the_nominal_one_in_every_table(question_fraction):
    corpus = make(
        "nested",
        {"num_subjects": 1000, "num_objects": 200},
        repeats=5,
        object_nested_upweight=3,
        question_fraction=question_fraction,
        inversion_fraction=0.25,
        **ALL_FORMS,
    )
    said = corpus.sentences(np.arange(len(corpus)))
    names = np.array(corpus.forms)[said.forms]
    assert len(corpus) == 15_000 + 15_000 + 9_000
    assert by_chance(int((names == "question").sum()), 39_000, question_fraction)
    for edge, total in ((SO, 15_000), (SN, 15_000), (ON, 9_000)):
        asks = (names == "question") & (said.edges == edge)
        # Half of the heads are asked about, in twice the share of the sentences about them.
        assert by_chance(int(asks.sum()), total // 2, 2 * question_fraction)
        assert corpus.asked(edge, said.heads[asks]).all()


def test_questions_take_equal_shares_of_all_other_forms():
    corpus = make(
        world={"num_subjects": 1000}, question_fraction=0.4, question_subject_fraction=0.5, inversion_fraction=0.3
    )
    said = corpus.sentences(np.arange(len(corpus)))
    names = np.array(corpus.forms)[said.forms]
    asked = corpus.asked(SO, said.heads)
    assert asked.sum() == 30_000
    for rows in (asked, ~asked):  # among what is no question, whether the head is asked about or not
        stated = rows & (names != "question")
        assert by_chance(int((names[stated] == "rso").sum()), int(stated.sum()), 0.3)
    assert by_chance(int((names[asked] == "question").sum()), 30_000, 0.8)
    assert not (names[~asked] == "question").any()
    for relation in range(3):
        rows = asked & (said.relations == relation)
        assert by_chance(int((names[rows] == "question").sum()), 10_000, 0.8)


def test_asking_about_more_heads_asks_about_all_the_earlier_ones_too():
    smaller = None
    for fraction in (0.1, 0.2, 0.45, 0.8, 1.0):
        corpus = make("nested", question_fraction=0.05, question_subject_fraction=fraction)
        asked = {
            edge: set(np.flatnonzero(corpus.asked(edge, np.arange(corpus.world.num_heads(edge))))) for edge in Edge
        }
        if smaller:
            assert all(smaller[edge] < asked[edge] for edge in Edge)
        smaller = asked
    assert {edge: len(heads) for edge, heads in smaller.items()} == {SO: 25, SN: 25, ON: 12}


def test_who_is_asked_about_is_the_worlds_and_neither_the_orders_nor_the_questions_number():
    def asked(world=(), **fields):
        corpus = make("nested", world, **{"question_fraction": 0.1, "question_subject_fraction": 0.4, **fields})
        return [corpus.asked(edge, np.arange(corpus.world.num_heads(edge))).tolist() for edge in Edge]

    assert asked() == asked(order_seed=1) == asked(question_fraction=0.3) == asked(repeats=2, grammar="nonsense")
    assert all(first != second for first, second in zip(asked(), asked({"seed": 1}), strict=True))


def test_objects_that_are_asked_about_are_drawn_apart_from_the_subjects():
    corpus = make("nested", {"num_subjects": 24, "num_objects": 24}, question_fraction=0.1)
    subjects, objects = (corpus.asked(edge, np.arange(24)).tolist() for edge in (SO, ON))
    assert sum(subjects) == sum(objects) == 12
    assert subjects != objects


def test_nobody_is_asked_about_without_questions():
    corpus = make("nested", question_subject_fraction=0.5)
    assert [corpus.num_asked(edge) for edge in Edge] == [0, 0, 0]
    assert not corpus.asked(SO, np.arange(25)).any()


def test_corpus_whose_every_head_is_asked_about_is_stated_too():
    corpus = make(question_fraction=0.9, question_subject_fraction=1.0, repeats=40)
    forms = Counter(row[4] for row in read(corpus))
    assert by_chance(forms["question"], 3000, 0.9)
    assert by_chance(forms["rso"], 3000, 0.05)
    assert by_chance(forms["sro"], 3000, 0.05)


@pytest.mark.parametrize("edge", [SN, ON])
def test_questions_in_a_table_that_the_world_lacks_are_refused(edge):
    corpus = make(question_fraction=0.1)
    for ask in (lambda: corpus.asked(edge, [0]), lambda: corpus.num_asked(edge), lambda: corpus.question_order(edge)):
        with pytest.raises(ValueError, match=f"edge must be one of subject_object, got '{edge.label}'"):
            ask()


# blocks


@pytest.mark.parametrize("structure", ["independent", "nested"])
@pytest.mark.parametrize("kind", KINDS)
def test_block_is_its_smaller_blocks_and_its_single_sentences(structure, kind):
    def fresh():
        return make(structure, repeats=2, **KINDS[kind])

    corpus, cut, singly, turned = (fresh() for _ in range(4))
    whole = corpus.block(0, len(corpus))
    assert whole.shape == (len(corpus), corpus.max_length)
    cuts = [0, 1, 8, 90, 90, 131, len(corpus)]
    parts = [cut.block(start, stop) for start, stop in itertools.pairwise(cuts)]
    assert np.array_equal(np.concatenate(parts), whole)
    singles = [singly.tokens([place])[0] for place in range(0, len(corpus), 7)]
    assert np.array_equal(np.stack(singles), whole[::7])
    backwards = np.arange(len(corpus))[::-1]
    assert np.array_equal(turned.tokens(backwards), whole[::-1])
    assert np.array_equal(corpus.tokens([5, 0, 5]), whole[[5, 0, 5]])


def serve_all(corpus):
    """The corpus once more, when it has served so much that it keeps what it can keep."""
    for _ in range(corpus.num_distinct // len(corpus) + 1):
        corpus.block(0, len(corpus))
    return corpus


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("kind", KINDS)
def test_corpus_that_has_served_everything_gives_what_a_fresh_one_gives(structure, kind):
    fields = {"repeats": 3, "limit": 5, **KINDS[kind]}
    used, fresh = serve_all(make(structure, **fields)), make(structure, **fields)
    assert fresh.num_distinct > 40
    for start in (0, 17, 100, len(fresh) - 10):
        assert np.array_equal(used.block(start, start + 10), fresh.block(start, start + 10))
    assert np.array_equal(used.block(0, len(used)), make(structure, **fields).block(0, len(used)))


def test_dissented_corpus_that_has_served_everything_gives_what_a_fresh_one_gives():
    fields = {"world": {"minority_fraction": 0.5}, "repeats": 4, "minority_share": 0.5, **KINDS["questions"]}
    used, fresh = serve_all(make(**fields)), make(**fields)
    for start in range(0, len(fresh), 50):
        assert np.array_equal(used.block(start, start + 5), fresh.block(start, start + 5))


def count_made(corpus, monkeypatch):
    """A list to which the number of sentences is added whenever the corpus's grammar makes some."""
    made, grammar = [], corpus.grammar
    for name in ("tokens", "varied_tokens"):
        method = getattr(grammar, name)

        def counted(edge, form, heads, *rest, method=method):
            made.append(len(heads))
            return method(edge, form, heads, *rest)

        monkeypatch.setattr(grammar, name, counted)
    return made


def test_sentences_are_kept_once_as_many_as_there_are_distinct_ones_were_wanted(monkeypatch):
    corpus = make("nested", repeats=4)
    made = count_made(corpus, monkeypatch)
    assert corpus.num_distinct == 2 * (75 + 75 + 36)
    corpus.block(0, 371)
    assert sum(made) == 371  # one fewer than there are distinct ones: none is made that was not wanted
    corpus.block(371, 372)
    assert sum(made) == 371 + 372
    corpus.block(0, len(corpus))
    assert sum(made) == 371 + 372


@pytest.mark.parametrize("kind", ["plain", *VARIED])
def test_nothing_is_kept_that_takes_too_much_memory_or_has_fillers(kind, monkeypatch):
    corpus = make("nested", repeats=4, **KINDS[kind])
    if kind == "plain":
        monkeypatch.setattr("behemoth_data.corpus._TABLE_BYTES", corpus.num_distinct * corpus.max_length * 2 - 1)
    made = count_made(corpus, monkeypatch)
    for _ in range(3):
        corpus.block(0, len(corpus))
    assert sum(made) == 3 * len(corpus)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("table_bytes", [0, 2**26], ids=["made_anew", "kept"])
def test_chunks_and_kept_sentences_change_no_sentence(kind, table_bytes, monkeypatch):
    def small():
        return make("nested", {"num_subjects": 8}, repeats=2, object_nested_upweight=2, **KINDS[kind])

    expected = small().block(0, len(small()))
    monkeypatch.setattr("behemoth_data.corpus._TABLE_BYTES", table_bytes)
    for chunk in (7, 100, len(expected)):
        monkeypatch.setattr("behemoth_data.corpus._CHUNK", chunk)
        corpus = small()
        for _ in range(2):
            assert np.array_equal(corpus.block(0, len(corpus)), expected)
            assert np.array_equal(corpus.tokens(np.arange(len(corpus))[::-1]), expected[::-1])
            assert np.array_equal(corpus.block(5, 60), expected[5:60])


def test_one_place_is_a_block_of_one_sentence():
    corpus = make("nested")
    said, whole = corpus.sentences(7), corpus.sentences(np.arange(8))
    for field in dataclasses.fields(said):
        assert getattr(said, field.name).tolist() == getattr(whole, field.name)[7:].tolist()
    assert np.array_equal(corpus.tokens(7), corpus.block(7, 8))


@pytest.mark.parametrize("kind", KINDS)
def test_no_sentences_are_an_empty_block(kind):
    corpus = make("nested", **KINDS[kind])
    for empty in (corpus.block(5, 5), corpus.block(5, 3), corpus.tokens([])):
        assert empty.shape == (0, corpus.max_length)
        assert empty.dtype == np.uint16
    assert corpus.numbers([]).tolist() == []


@pytest.mark.parametrize("limit", [1000, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_sentence_ends_once_and_padding_follows_only_there(limit, kind):
    corpus = make("nested", limit=limit, repeats=10, **KINDS[kind])
    lexicon, lengths = corpus.grammar.lexicon, set()
    for row in corpus.block(0, len(corpus)).tolist():
        parts = [lexicon.vocabulary[token] for token in row]
        end = parts.index("<|endoftext|>")
        assert parts[end - 1] == "."
        assert parts[end + 1 :] == ["<|padding|>"] * (corpus.max_length - end - 1)
        assert "<|padding|>" not in parts[:end]
        lengths.add(end + 1)
    if limit == 1000:
        # Three markers, three words, a point and the end of text, and between them three words of grammar, but
        # two in osr; or six in questions; or three times one to three and none to three; or twice one to five.
        expected = {
            "plain": {11},
            "all_forms": {10, 11},
            "questions": {10, 11, 14},
            "repeats": {10, 11, 14, *range(8 + 3, 8 + 19)},
            "nonsense": {14, *range(8 + 2, 8 + 11)},
        }[kind]
        assert lengths <= expected
        assert kind == "repeats" or lengths == expected
        assert corpus.max_length == max(expected)
    else:
        assert len(lengths) > 1
        assert kind == "repeats" or corpus.max_length == max(lengths)


def test_sentences_and_tokens_say_the_same():
    corpus = make("nested", repeats=2, inversion_forms=("sor", "rso"), question_fraction=0.2)
    said = corpus.sentences(np.arange(len(corpus)))
    orders = {"statement": "sro", "sor": "sor", "rso": "rso", "question": "question"}
    columns = (said.edges, said.heads, said.relations, said.tails)
    rows = zip(*(c.tolist() for c in columns), [orders[corpus.forms[f]] for f in said.forms], strict=True)
    assert list(rows) == read(corpus)


# 23 special and core tokens, subjects, 65 relations of 1,000 objects each, and the words of forms that are not taught.
@pytest.mark.parametrize(("num_tokens", "expected"), [(65_536, np.uint16), (65_537, np.uint32)])
def test_token_type_is_the_smallest_that_holds_the_vocabulary(num_tokens, expected):
    num_later = len(later_tokens("synthetic"))
    num_subjects = num_tokens - 23 - 65 * 1001 - num_later
    sizes = {"num_subjects": num_subjects, "num_relations": 65, "num_objects": 1000}
    corpus = make(world=sizes, repeats=1, inversion_fraction=0.0)
    assert len(corpus.grammar.lexicon.vocabulary) == num_tokens
    meanings, relation = readings(corpus), 64
    subjects = np.arange(num_subjects)
    served = [corpus.block(0, 200), corpus.block(0, len(corpus))[:200], corpus.block(0, 200), corpus.tokens([0])]
    for tokens in served:  # made anew, then kept
        assert tokens.dtype == expected == corpus.token_type
        assert np.array_equal(tokens, served[0][: len(tokens)])
    said = read(corpus, served[0], meanings)
    assert {row[:4] for row in said} <= set(truth(corpus))
    # The last objects of the last relation have the last token ids of all that is taught.
    last = meanings[corpus.grammar.lexicon.vocabulary[-num_later - 1]]
    assert last == (Role.OBJECT, relation, 999)
    assert corpus.grammar.tokens(SO, "statement", subjects, relation, 999).max() == num_tokens - num_later - 1
    assert corpus.grammar.tokens(SO, "new_question", subjects, relation, 999).max() == num_tokens - num_later + 2


# numbers of distinct sentences


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("structure", "world"), [("nested", {}), ("independent", {"minority_fraction": 0.5})])
def test_numbers_go_through_tables_then_dissent_then_forms_then_facts(structure, world, kind):
    corpus = make(structure, world, **KINDS[kind])
    expected = []
    for edge in corpus.world.edges:
        for dissenting in (False, True) if world else (False,):
            for form in range(len(corpus.forms)):
                for head, relation, tail in zip(*(c.tolist() for c in corpus.world.facts(edge)), strict=True):
                    second = int(corpus.world.dissenting_objects(head, relation)) if dissenting else -1
                    expected.append((int(edge), head, relation, second if second >= 0 else tail, form))
    said = corpus.said(np.arange(corpus.num_distinct))
    columns = (said.edges, said.heads, said.relations, said.tails, said.forms)
    assert list(zip(*(c.tolist() for c in columns), strict=True)) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_sentence_at_a_place_is_the_distinct_sentence_with_its_number(kind):
    corpus = make("nested", repeats=2, **KINDS[kind])
    places = np.arange(len(corpus))[::3]
    numbers = corpus.numbers(places)
    assert numbers.min() >= 0
    assert numbers.max() < corpus.num_distinct
    said, found = corpus.said(numbers), corpus.sentences(places)
    for field in dataclasses.fields(said):
        assert np.array_equal(getattr(said, field.name), getattr(found, field.name))


@pytest.mark.parametrize("kind", KINDS)
def test_parts_are_the_block_apart(kind):
    corpus = make("nested", repeats=2, **KINDS[kind])
    places = np.arange(len(corpus))[::-1]
    block = np.full((len(places), corpus.max_length), corpus.grammar.lexicon.token_ids["<|padding|>"])
    parts = list(corpus.parts(corpus.numbers(places)))
    assert sorted(row for part in parts for row in part.rows.tolist()) == list(range(len(places)))
    assert len({(part.edge, part.form) for part in parts}) == len(parts) == 3 * len(corpus.forms)
    for part in parts:
        assert part.tails.tolist() == corpus.world.tails(part.edge, part.heads, part.relations).tolist()
        tokens = corpus.part_tokens(part, places[part.rows])
        block[part.rows, : tokens.shape[1]] = tokens
    assert np.array_equal(block, corpus.tokens(places))


# order


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


@pytest.mark.parametrize(
    "fields", [ALL_FORMS, {"inversion_fraction": 0.0, "question_fraction": 0.3}], ids=["inversions", "questions"]
)
def test_another_order_seed_draws_other_forms_for_the_facts(fields):
    first, second = (Counter(read(make(repeats=3, order_seed=seed, **fields))) for seed in (0, 1))
    assert first != second


def test_another_world_seed_has_another_order():
    first, second = (
        [row[1:3] for row in read(make(world={"seed": seed}, repeats=2))] for seed in (0, 1)
    )  # heads and relations
    assert sorted(first) == sorted(second)
    assert first != second


@pytest.mark.parametrize("kind", KINDS)
def test_corpus_of_300_million_sentences_has_its_facts_at_every_place(kind):
    corpus = make(world={"num_subjects": 100_000, "num_relations": 6, "num_objects": 400}, repeats=500, **KINDS[kind])
    assert len(corpus) == 300_000_000
    meanings, lexicon = {}, corpus.grammar.lexicon
    corpus.block(0, 1)
    tracemalloc.start()
    blocks = {start: corpus.block(start, start + 300) for start in (0, 150_000_000, len(corpus) - 300)}
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000
    for role, size in ((Role.RELATION, 6), (Role.OBJECT, 400)):
        for group in range(6 if role is Role.OBJECT else 1):
            meanings |= {lexicon.word(role, id, group): (role, group, id) for id in range(size)}
    words = lexicon.encode(Role.SUBJECT, np.arange(100_000))
    first, second = words.T.tolist()
    for subject, (given, family) in enumerate(zip(first, second, strict=True)):
        meanings[f"{lexicon.vocabulary[given]} {lexicon.vocabulary[family]}"] = Role.SUBJECT, 0, subject
    for start, block in blocks.items():
        said = read(corpus, block, meanings)
        edges, subjects, relations, objects, forms = zip(*said, strict=True)
        assert set(edges) == {SO}
        assert list(objects) == World(corpus.world.config).objects(subjects, relations).tolist()
        assert set(relations) == set(range(6))
        assert len(set(subjects)) > 290  # 300 of 100,000
        assert len(set(forms)) == len(corpus.forms)
        assert np.array_equal(corpus.tokens([start + 7]), block[7:8])


def test_corpus_of_300_million_sentences_is_built_and_asked_without_a_list_of_them():
    world = WorldConfig(num_subjects=100_000, num_relations=6, num_objects=400)
    tracemalloc.start()
    corpus = build(world, corpus=CorpusConfig(repeats=500, question_fraction=0.3))
    corpus.sentences([0, 299_999_999])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000  # a bit per sentence would be 37.5 MB


# dissent


@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_dissented_fact_states_its_second_object_at_the_nominal_share(share, kind):
    corpus = make(world={"num_subjects": 40, "minority_fraction": 0.5}, repeats=25, minority_share=share, **KINDS[kind])
    world = corpus.world
    seen = {"agreed": Counter(), "dissented": Counter()}
    subjects, relations = np.arange(40)[:, None], np.arange(3)
    seconds, trues = (find(subjects, relations).tolist() for find in (world.dissenting_objects, world.objects))
    by_form = {}
    for _, subject, relation, object, form in read(corpus):
        second, true = seconds[subject][relation], trues[subject][relation]
        which = {true: "true", second: "second"}.get(object, "other")
        seen["dissented" if second >= 0 else "agreed"][which] += 1
        if second >= 0:
            by_form.setdefault(form, Counter())[which] += 1
    assert set(seen["agreed"]) == {"true"}
    assert set(seen["dissented"]) <= {"true", "second"}
    assert seen["agreed"].total() + seen["dissented"].total() == 25 * 120
    assert by_chance(seen["dissented"]["second"], seen["dissented"].total(), share)
    assert len(by_form) == len(corpus.forms)
    assert all(by_chance(counts["second"], counts.total(), share) for counts in by_form.values())


def test_dissented_fact_is_said_as_often_as_any_other():
    corpus = make(world={"minority_fraction": 0.5}, repeats=4, minority_share=0.3)
    counted = Counter(row[1:3] for row in read(corpus))
    assert counted == {(subject, relation): 4 for subject in range(25) for relation in range(3)}


# digests and descriptions


@pytest.mark.parametrize(
    "fields",
    [
        {"repeats": 21},
        {"grammar": "repeats"},
        {"inversion_fraction": 0.4},
        {"inversion_forms": ("sor",)},
        {"question_fraction": 0.1},
        {"question_subject_fraction": 0.6},
        {"object_nested_upweight": 2},
        {"minority_share": 0.2},
        {"order_seed": 1},
        {"question_forms": ("denied_true",)},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_digest_changes_with_every_field(fields):
    assert make().digest == make().digest
    assert make(**fields).digest != make().digest


def test_every_field_has_its_case_above():
    (mark,) = test_digest_changes_with_every_field.pytestmark
    assert [next(iter(fields)) for fields in mark.args[1]] == [field.name for field in dataclasses.fields(CorpusConfig)]


def test_digest_changes_with_the_world_and_with_its_words():
    world = WorldConfig(**SIZES)
    digests = {
        build(world).digest,
        build(WorldConfig(**SIZES, seed=1)).digest,
        build(world, LexiconConfig(one_token_limit=5)).digest,
        build(world, LexiconConfig(surface="natural")).digest,
    }
    assert len(digests) == 4


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("surface", ["synthetic", "natural"])
def test_description_that_went_through_json_describes_the_same_corpus(structure, kind, surface):
    corpus = make(structure, limit=7, surface=surface, repeats=2, order_seed=4, **KINDS[kind])
    again = from_description(json.loads(json.dumps(corpus.description())))
    assert again.digest == corpus.digest
    assert np.array_equal(again.block(0, len(again)), corpus.block(0, len(corpus)))


def test_description_of_a_world_with_changes_brings_them():
    corpus = make()
    assert "changes" not in corpus.description()
    fact = corpus.world.fact(SO, 3, 1)
    after = corpus.world.after([dataclasses.replace(fact, tail=(fact.tail + 1) % 12)])
    changed = Corpus(after, corpus.grammar, corpus.config)
    description = json.loads(json.dumps(changed.description()))
    assert description["changes"] == [[0, 3, 1, (fact.tail + 1) % 12]]
    again = from_description(description)
    assert again.digest == changed.digest != corpus.digest
    assert again.world.fact(SO, 3, 1).tail == (fact.tail + 1) % 12
    assert np.array_equal(again.block(0, len(again)), changed.block(0, len(changed)))
    del description["changes"]
    with pytest.raises(ValueError, match="facts digest must be"):
        from_description(description)


@pytest.mark.parametrize(
    ("fields", "changed"),
    [
        ({"limit": 7}, {"vocabulary", "grammar", "sentences"}),
        ({"inversion_forms": ("sor",)}, {"grammar", "sentences"}),
        ({"question_fraction": 0.1}, {"grammar", "sentences"}),
        ({"order_seed": 1}, {"sentences"}),
        ({"repeats": 21}, {"sentences"}),
        ({}, set()),
    ],
)
def test_digests_of_a_description_tell_what_differs(fields, changed):
    first, second = (make("nested", **kind).description()["digests"] for kind in ({}, fields))
    assert first.keys() == {"facts", "vocabulary", "grammar", "sentences"}
    assert {part for part in first if first[part] != second[part]} == changed


@pytest.mark.parametrize("edge", [SO, SN, ON])
def test_digest_of_the_facts_tells_a_changed_fact_of_every_table(edge, monkeypatch):
    description = make("nested").description()
    tails = World.tails

    def changed(world, asked, heads, relations):
        found = tails(world, asked, heads, relations)
        return (found + (np.asarray(heads) == 3)) % world.num_tails(asked) if asked is edge else found

    monkeypatch.setattr(World, "tails", changed)
    with pytest.raises(ValueError, match="^facts digest must be .*: the generator has changed since"):
        from_description(description)


@pytest.mark.parametrize("part", ["facts", "vocabulary", "grammar", "sentences"])
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
        ({"repeats": 2**31}, f"repeats must be below 2**31, got {2**31}"),
        ({"repeats": 2.0}, "repeats must be int, got 2.0"),
        ({"object_nested_upweight": 0}, "object_nested_upweight must be at least 1, got 0"),
        ({"object_nested_upweight": 2**31}, f"object_nested_upweight must be below 2**31, got {2**31}"),
        ({"grammar": "repeat"}, "grammar must be one of statement, repeats, nonsense, got 'repeat' (did you mean"),
        ({"inversion_fraction": 1.0}, "inversion_fraction must lie in [0, 1) so that the statements that probes ask"),
        ({"inversion_fraction": -0.5}, "are taught, got -0.5"),
        ({"inversion_fraction": float("nan")}, "inversion_fraction must be a number, got nan"),
        ({"minority_share": -0.1}, "minority_share must lie in [0, 1], got -0.1"),
        ({"minority_share": 1.1}, "minority_share must lie in [0, 1], got 1.1"),
        ({"inversion_forms": ()}, "inversion_forms must name a form when inversion_fraction is above 0, got ()"),
        ({"inversion_forms": ("statement",)}, "inversion_forms must be one of sor, osr, rso, got 'statement'"),
        ({"inversion_forms": ["rs"]}, "did you mean 'rso'?"),
        (
            {"inversion_forms": ("sor", "rso", "sor")},
            "inversion_forms must name each form once, got ('sor', 'rso', 'sor')",
        ),
        (
            {"inversion_forms": ("sor", "rso"), "grammar": "nonsense"},
            "inversion_forms must be rso alone with grammar nonsense, got ('sor', 'rso')",
        ),
        ({"question_subject_fraction": 0.0}, "question_subject_fraction must lie in (0, 1], got 0.0"),
        ({"question_subject_fraction": 1.1}, "question_subject_fraction must lie in (0, 1], got 1.1"),
        ({"question_fraction": -0.1}, "question_fraction must lie in [0, 0.5), below question_subject_fraction"),
        ({"question_fraction": 0.5}, "asked about are stated as well, got 0.5"),
        (
            {"question_fraction": 0.3, "question_subject_fraction": 0.25},
            "question_fraction must lie in [0, 0.25), below question_subject_fraction",
        ),
        ({"question_fraction": 1.0, "question_subject_fraction": 1.0}, "question_fraction must lie in [0, 1), below"),
    ],
)
def test_bad_value_is_refused_with_field_bound_and_value(fields, message):
    with pytest.raises(ValueError, match=re.escape(message)) as refusal:
        CorpusConfig(**fields)
    assert any(str(refusal.value).startswith(field) for field in fields)


@pytest.mark.parametrize(
    ("structure", "num_subjects", "question_fraction", "subject_fraction", "message"),
    [
        # 2.4 of 24 subjects are two, and two are too few for 2.16 subjects' worth of sentences.
        ("independent", 24, 0.09, 0.1, "choose more than 2.16 of the 24 heads of subject_object, .* got 2"),
        # 0.36 of 12 objects are none.
        ("nested", 25, 0.02, 0.03, "choose more than 0.24 of the 12 heads of object_nested, .* got 0"),
        ("independent", 4, 0.1, 0.12, "choose more than 0.4 of the 4 heads of subject_object, .* got 0"),
        # 2.4 of 24 for as many as those two have sentences.
        ("independent", 24, 1 / 12, 0.1, "choose more than 2 of the 24 heads of subject_object, .* got 2"),
    ],
)
def test_more_questions_than_the_chosen_heads_have_sentences_are_refused(
    structure, num_subjects, question_fraction, subject_fraction, message
):
    with pytest.raises(ValueError, match=f"^question_subject_fraction must {message}"):
        make(
            structure,
            {"num_subjects": num_subjects},
            question_fraction=question_fraction,
            question_subject_fraction=subject_fraction,
        )


def test_no_inversion_needs_no_form():
    assert make(inversion_fraction=0.0, inversion_forms=()).forms == ("statement",)


def test_nonsense_without_inversions_minds_no_inversion_form():
    assert make(grammar="nonsense", inversion_fraction=0.0, inversion_forms=("sor",)).forms == ("nonsense",)


@pytest.mark.parametrize("place", [-1, 1500])
def test_place_outside_the_corpus_is_refused(place):
    corpus = make()
    assert len(corpus) == 1500
    for ask in (corpus.sentences, corpus.numbers, corpus.tokens):
        with pytest.raises(ValueError, match=rf"index must lie in \[0, 1500\), got {place}"):
            ask([place])
    with pytest.raises(ValueError, match=rf"index must lie in \[0, 1500\), got {place}"):
        corpus.block(place, place + 1)


def test_corpus_too_large_to_be_ordered_is_refused():
    world = WorldConfig(num_subjects=5, num_relations=2, num_objects=4, num_nested_objects=2)
    with pytest.raises(ValueError, match=r"repeats must leave the corpus at most 2\*\*62 sentences, got 2147483647"):
        build(world, None, CorpusConfig(repeats=2**31 - 1, object_nested_upweight=2**31 - 1))


def test_head_or_number_outside_is_refused():
    corpus = make(question_fraction=0.2)
    with pytest.raises(ValueError, match=r"head must lie in \[0, 25\), got \[3, -1\]"):
        corpus.asked(Edge.SUBJECT_OBJECT, [3, -1])
    with pytest.raises(ValueError, match=r"number must lie in \[0, 225\), got \[225\]"):
        corpus.said(np.array([225]))


@pytest.mark.parametrize("part", ["world", "digests"])
def test_description_with_a_part_that_is_no_mapping_is_refused(part):
    with pytest.raises(ValueError, match=f"{part} of a description must hold fields, got None"):
        from_description({**make().description(), part: None})
