"""Facts about any world whatever, drawn by hypothesis: its config is refused by name, or all its sentences are right.

What a sentence says is read from its tokens alone, in a dictionary of all words of the world.
"""

import dataclasses
import itertools
import json
import re
from collections import Counter, defaultdict

import hypothesis.strategies as st
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, event, given, settings

from behemoth_data.corpus import GRAMMARS, Corpus, CorpusConfig, build
from behemoth_data.description import from_description
from behemoth_data.lexicon import SURFACES, LexiconConfig, Role
from behemoth_data.tables import FACT_SCHEMA, SentenceTables, fact_table
from behemoth_data.world import Edge, Fact, WorldConfig

CONFIGS = {"world": WorldConfig, "lexicon": LexiconConfig, "corpus": CorpusConfig}
NAMES = {name: [field.name for field in dataclasses.fields(config)] for name, config in CONFIGS.items()}
FIELDS = [field for fields in NAMES.values() for field in fields]
OBJECT_LAST = ("statement", "rso", "question", "repeats", "nonsense", "nonsense_rso")
EDGES = {
    (Role.SUBJECT, Role.RELATION, Role.OBJECT): Edge.SUBJECT_OBJECT,
    (Role.SUBJECT, Role.SUBJECT_NESTED_RELATION, Role.NESTED): Edge.SUBJECT_NESTED,
    (Role.OBJECT, Role.OBJECT_NESTED_RELATION, Role.NESTED): Edge.OBJECT_NESTED,
}
# In which order each form says head, relation and tail.
ORDERS = {
    "statement": "srt",
    "sor": "str",
    "osr": "tsr",
    "rso": "rst",
    "question": "rst",
    "repeats": "srt",
    "nonsense": "srt",
    "nonsense_rso": "rst",
}
MANY = settings(derandomize=True, deadline=None, database=None, max_examples=100)

fractions = st.sampled_from([0.1, 0.25, 0.5, 0.75, 0.9]) | st.floats(0, 1)


@st.composite
def good_worlds(draw):
    """The fields of a small world, most of them within their bounds."""
    num_objects = draw(st.integers(2, 14))
    fields = {
        "num_subjects": draw(st.integers(1, 30)),
        "num_relations": draw(st.integers(1, 4)),
        "num_objects": num_objects,
        "seed": draw(st.integers(-(2**65), 2**65)),
    }
    if draw(st.booleans()):
        fields["num_nested_objects"] = draw(st.sampled_from([n for n in range(2, 15) if num_objects % n == 0]))
    if fields["num_relations"] > 1 and draw(st.booleans()):
        fields["correlation"] = draw(st.floats(0.51, 1))
        fields["binary_first"] = draw(st.booleans())
    if len(fields) == 4:
        fields["minority_fraction"] = draw(fractions)
    return fields


good_lexicons = st.fixed_dictionaries(
    {"surface": st.sampled_from(SURFACES), "one_token_limit": st.integers(2, 30) | st.just(1000)}
)


@st.composite
def good_corpora(draw):
    """The fields of a corpus config, within their bounds."""
    grammar = draw(st.sampled_from(GRAMMARS))
    forms = ("rso",) if grammar == "nonsense" else ("sor", "osr", "rso")
    fields = {
        "repeats": draw(st.integers(1, 5)),
        "grammar": grammar,
        "inversion_fraction": draw(st.just(0.5) | st.floats(0, 1, exclude_max=True)),
        "inversion_forms": tuple(draw(st.lists(st.sampled_from(forms), min_size=1, unique=True))),
        "object_nested_upweight": draw(st.integers(1, 3)),
        "minority_share": draw(fractions),
        "order_seed": draw(st.integers(-(2**65), 2**65)),
    }
    if draw(st.booleans()):
        fields["question_subject_fraction"] = draw(st.floats(0.2, 1))
        fields["question_fraction"] = draw(st.floats(0, 0.9)) * fields["question_subject_fraction"]
    return fields


# Values at, near and far beyond the bounds of every field, and of other types.
WILD = {
    "num_subjects": [-1, 0, 999, 1000, 1001, 2000, 10**6, 10**6 + 1, 10**9, 2**31 - 1, 2**31, 2**80, 3.0, "3", None],
    "num_relations": [-1, 0, 1, 8, 9, 40, 1021, 1022, 2**31 - 1, 2**31, True],
    "num_objects": [-5, 0, 1, 2, 224, 225, 1000, 1001, 5000, 2**31 - 1, 2**31, 12.5],
    "correlation": [-1.0, 0, 0.5, 1, 1.0, 1.0000001, float("nan"), float("inf"), "0.5"],
    "binary_first": [True, False, 1],
    "num_nested_objects": [-3, 0, 1, 2, 3, 12, 10**6, 2**40],
    "minority_fraction": [-0.1, 0, 1e-300, 1, 1.1, float("nan"), float("-inf")],
    "seed": [2**200, -1, 0.0, "0"],
    "surface": ["synthetc", "", None, 0],
    "one_token_limit": [-1, 0, 1, 2, 1000, 1001, 2**70, 5.5],
    "repeats": [-1, 0, 1, 2**31 - 1, 2**31, 2**64, 1.0],
    "grammar": ["statement", "repeats", "nonsense", "repeat", "", None],
    "inversion_fraction": [-1e-9, 0, 0.999999999, 1, float("nan"), None],
    "inversion_forms": [(), ("rso", "rso"), ("statement",), ("sor", "osr", "rso"), ["rso"], ("Rso",), "rso", (3,)],
    "question_fraction": [-0.1, 1e-300, 0.01, 0.499, 0.5, 1, float("nan"), True],
    "question_subject_fraction": [-1, 0, 1e-300, 0.01, 0.04, 1, 1.0001, float("inf")],
    "object_nested_upweight": [-1, 0, 1, 100, 2**31, 2**63],
    "minority_share": [-0.01, 0, 1, 1.01, float("nan")],
    "order_seed": [2**200, -1, 1.5],
    "question_forms": [(), ("question",), ["question", "denied_true"], ("two_step",) * 2, ("new_question",), "sor"],
}


def with_values(drawn, values):
    """The same fields of a world, a lexicon and a corpus, with these values instead."""
    changed = {name: dict(fields) for name, fields in drawn.items()}
    for field, value in values.items():
        (name,) = (name for name in CONFIGS if field in NAMES[name])
        changed[name][field] = value
    return changed


good_configs = st.fixed_dictionaries({"world": good_worlds(), "lexicon": good_lexicons, "corpus": good_corpora()})


@st.composite
def wild_configs(draw):
    """The fields of a world, a lexicon and a corpus, one or two of them with any value."""
    fields = draw(st.lists(st.sampled_from(list(WILD)), min_size=1, max_size=2, unique=True))
    return with_values(draw(good_configs), {field: draw(st.sampled_from(WILD[field])) for field in fields})


def make(drawn):
    """The corpus of these fields, or None if they are refused with a message that says which and why."""
    try:
        return build(*(CONFIGS[name](**drawn[name]) for name in CONFIGS))
    except ValueError as error:
        message = str(error)
        assert any(re.search(rf"\b{field}\b", message) for field in FIELDS), message
        assert ", got " in message, message
        return None


def words_of(corpus):
    """Role, relation (0 where all share them) and id of every word of the world, by its token ids.

    No token stands in words of two roles, of two relations, or first in one word and second in another.
    """
    world, lexicon, meanings, owners = corpus.world.config, corpus.grammar.lexicon, {}, {}
    nested_relations = world.num_relations if world.num_nested_objects else 0
    sizes = (world.num_subjects, world.num_relations, nested_relations, nested_relations)
    sizes += (world.num_objects, world.num_nested_objects)
    for role, size in zip(Role, sizes, strict=True):
        for group in range(world.num_relations if role in (Role.OBJECT, Role.NESTED) else 1):
            for id, row in enumerate(lexicon.encode(role, np.arange(size), group).tolist()):
                tokens = tuple(row)
                assert tokens not in meanings
                meanings[tokens] = role, group, id
                for place, token in enumerate(tokens):
                    assert owners.setdefault(token, (role, group, place)) == (role, group, place)
    return meanings


@dataclasses.dataclass(frozen=True)
class Reading:
    """What a sentence says, and where in its tokens its tail stands."""

    fact: Fact
    order: str
    tail: slice


def read(tokens, meanings):
    """What the only head, relation and tail among these token ids say."""
    found, place = [], 0
    while place < len(tokens):
        for width in (1, 2):
            word = tuple(tokens[place : place + width])
            if word in meanings:
                found.append((meanings[word], slice(place, place + len(word))))
                break
        place += len(word) if word in meanings else 1
    assert len(found) == 3, found
    # The roles say which is which, heads before relations before tails.
    by_role = sorted(found, key=lambda item: (item[0][0] in (Role.OBJECT, Role.NESTED), item[0]))
    if any(role is Role.OBJECT_NESTED_RELATION for (role, _, _), _ in found):
        by_role = [by_role[1], by_role[0], by_role[2]]
    (head, _), (relation, _), (tail, tail_place) = by_role
    edge = EDGES[head[0], relation[0], tail[0]]
    assert tail[1] == relation[2]
    assert head[0] is Role.SUBJECT or head[1] == relation[2]
    order = "".join("srt"[[item for item, _ in by_role].index(item)] for item, _ in found)
    return Reading(Fact(edge, head[2], relation[2], tail[2]), order, tail_place)


def sentences_of(corpus, tokens):
    """The token ids of each sentence up to its end, which comes once, with nothing but padding behind it."""
    lexicon = corpus.grammar.lexicon
    end, padding = lexicon.token_ids["<|endoftext|>"], lexicon.token_ids["<|padding|>"]
    sentences = []
    for row in tokens.tolist():
        stop = row.index(end)
        assert row[stop + 1 :] == [padding] * (len(row) - stop - 1)
        sentences.append(row[:stop])
        assert padding not in sentences[-1]
        assert lexicon.vocabulary[row[stop - 1]] == "."
    return sentences


def encode(corpus, text):
    """The token ids of a text, cut at spaces and before punctuation."""
    return [corpus.grammar.lexicon.token_ids[token] for token in re.findall(r"\w+|[.,:?]", text)]


def small(corpus):
    """Whether all of a corpus's sentences and words can be looked at."""
    world = corpus.world.config
    words = world.num_subjects + world.num_relations * (world.num_objects + world.num_nested_objects)
    return len(corpus) <= 1200 and words <= 2500


# any values


def test_every_field_has_values_to_try():
    assert list(WILD) == FIELDS


def check_somewhere(corpus):
    """What is said at the start, in the middle and at the end of the corpus is true and written alike everywhere."""
    lexicon, world, count = corpus.grammar.lexicon, corpus.world, len(corpus)
    assert len(set(lexicon.vocabulary)) == len(lexicon.vocabulary)
    tables = SentenceTables(corpus)
    for start in {0, count // 3, max(0, count - 5)}:
        stop = min(start + 5, count)
        block = corpus.block(start, stop)
        assert block.shape == (stop - start, corpus.max_length)
        rows = tables.table(start, stop).to_pylist()
        for sentence, row in zip(sentences_of(corpus, block), rows, strict=True):
            edge, head, relation = Edge(row["edge"]), row["subject"], row["relation"]
            said = {world.fact(edge, head, relation).tail}
            if world.config.minority_fraction:
                said.add(int(world.dissenting_objects(head, relation)))
            assert row["object"] in said - {-1}
            assert encode(corpus, row["text"]) == sentence
            head_role, relation_role, tail_role = next(roles for roles in EDGES if EDGES[roles] is edge)
            words = [
                lexicon.word(head_role, head, relation if head_role is Role.OBJECT else 0),
                lexicon.word(relation_role, relation),
                lexicon.word(tail_role, row["object"], relation),
            ]
            assert words == [row["subject_word"], row["relation_word"], row["object_word"]]
            assert all(re.search(rf"\b{word}\b", row["text"]) for word in words)


PLAIN = {
    "world": {"num_subjects": 24, "num_relations": 2, "num_objects": 12},
    "lexicon": {"one_token_limit": 1000},
    "corpus": {"repeats": 2, "question_fraction": 0.1},
}
BASES = {
    "plain": {},
    "nested": {"num_nested_objects": 4, "correlation": 0.8, "one_token_limit": 5},
    "dissent": {"minority_fraction": 0.5, "grammar": "nonsense"},
    "natural": {"surface": "natural", "num_nested_objects": 4, "grammar": "repeats", "inversion_forms": ("osr", "rso")},
}


@pytest.mark.parametrize("field", WILD)
@pytest.mark.parametrize(
    "base", [pytest.param(base, marks=[] if base in ("plain", "nested") else pytest.mark.slow) for base in BASES]
)
def test_any_value_is_refused_by_name_or_makes_a_corpus(base, field):
    outcomes = []
    for value in WILD[field]:
        corpus = make(with_values(PLAIN, {**BASES[base], field: value}))
        outcomes.append(corpus is not None)
        if corpus is not None:
            check_somewhere(corpus)
    assert not all(outcomes)  # each field has a value of the wrong type or out of bounds
    assert make(with_values(PLAIN, BASES[base])) is not None


@MANY
@given(wild_configs())
def test_any_two_values_are_refused_by_name_or_make_a_corpus(drawn):
    corpus = make(drawn)
    event("refused" if corpus is None else "small" if small(corpus) else "large")
    if corpus is not None:
        check_somewhere(corpus)


# whole corpora


@settings(MANY, max_examples=60)  # each of which takes a tenth of a second
@given(good_configs, st.data())
def test_every_sentence_of_a_small_corpus_is_right(drawn, data):
    corpus = make(drawn)
    assume(corpus is not None and small(corpus))
    event(f"{corpus.config.grammar}, {len(corpus.world.edges)} tables")
    meanings = words_of(corpus)
    served = corpus.block(0, len(corpus))
    sentences = sentences_of(corpus, served)
    readings = [read(sentence, meanings) for sentence in sentences]
    check_counts(corpus, readings)
    check_rows(corpus, sentences, readings)
    check_cuts(corpus, drawn, served, data)
    again = from_description(json.loads(json.dumps(corpus.description())))
    assert again.digest == corpus.digest
    assert np.array_equal(again.block(0, len(again)), served)


def check_counts(corpus, readings):
    """Each fact is stated as often as the config says, and the second object of those that have one counts as it."""
    world, config = corpus.world, corpus.config
    counted = Counter((r.fact.edge, r.fact.head, r.fact.relation) for r in readings)
    expected = {
        (edge, head, relation): config.repeats * (config.object_nested_upweight if edge is Edge.OBJECT_NESTED else 1)
        for edge in world.edges
        for relation in range(world.config.num_relations)
        for head in range(world.config.num_objects if edge is Edge.OBJECT_NESTED else world.config.num_subjects)
    }
    assert counted == expected
    check_tails(world, [reading.fact for reading in readings])


def check_tails(world, facts):
    """Each fact is true in the world, or has the second object of a fact that has one."""
    seconds = [-1] * len(facts)
    if world.config.minority_fraction:
        heads, relations = np.array([(fact.head, fact.relation) for fact in facts]).T
        seconds = world.dissenting_objects(heads, relations).tolist()
    for fact, true, second in zip(facts, world.true_tails(facts), seconds, strict=True):
        assert fact.tail in (true, second)


def check_rows(corpus, sentences, readings):
    """Each row says what its sentence says; its prompt is how the sentence starts, and its answer follows."""
    table = SentenceTables(corpus).table(0, len(corpus))
    assert table.schema == FACT_SCHEMA
    asked, plain = {edge: set() for edge in Edge}, defaultdict(list)
    for row, sentence, reading in zip(table.to_pylist(), sentences, readings, strict=True):
        fact = reading.fact
        assert (row["edge"], row["subject"], row["relation"], row["object"]) == dataclasses.astuple(fact)
        assert row["form"] in corpus.forms
        assert ORDERS[row["form"]] == reading.order
        assert encode(corpus, row["text"]) == sentence
        if row["form"] == "question":
            asked[fact.edge].add(fact.head)
        if row["form"] not in OBJECT_LAST:
            assert (row["prompt"], row["answer"]) == (None, None)
            continue
        assert encode(corpus, row["prompt"]) == sentence[: reading.tail.start]
        assert encode(corpus, row["answer"]) == sentence[reading.tail]
        start = f"{row['prompt']} {row['answer']}"
        assert row["text"].startswith(start)
        fillers = "W5|yet" if row["form"] == "repeats" else ""
        assert re.fullmatch(rf"( ({fillers}))*? ?\.", row["text"][len(start) :])
        if row["form"] not in ("repeats", "nonsense", "nonsense_rso"):
            plain[row["form"]].append((fact, row, sentence, reading.tail))
    for form, said in plain.items():
        queries = corpus.grammar.queries([fact for fact, _, _, _ in said], form)
        for query, (_, row, sentence, tail) in zip(queries, said, strict=True):
            assert (query.prompt, query.answer) == (row["prompt"], row["answer"])
            assert (*query.prompt_ids, *query.answer_ids) == tuple(sentence[: tail.stop])
            assert len(query.prompt_ids) == tail.start
    for edge in corpus.world.edges:
        heads = np.arange(corpus.world.num_heads(edge))
        assert asked[edge] <= set(heads[corpus.asked(edge, heads)].tolist())


def check_cuts(corpus, drawn, served, data):
    """Blocks and rows do not depend on where they start and stop, nor on what was served before."""
    cut = st.integers(0, len(corpus))
    cuts = [0, *sorted(data.draw(st.lists(cut, max_size=4), label="cuts")), len(corpus)]
    fresh, tables = make(drawn), SentenceTables(make(drawn))
    blocks, rows = [], []
    for start, stop in itertools.pairwise(cuts):
        blocks.append(fresh.block(start, stop))
        rows.append(tables.table(start, stop))
    assert np.array_equal(np.concatenate(blocks), served)
    for _ in range(corpus.num_distinct // len(corpus) + 1):
        assert np.array_equal(corpus.block(0, len(corpus)), served)
        assert tables.table(0, len(corpus)).equals(pa.concat_tables(rows))
    start, stop = sorted(data.draw(st.tuples(cut, cut), label="block"))
    assert np.array_equal(corpus.block(start, stop), served[start:stop])
    assert np.array_equal(corpus.tokens(np.arange(start, stop)[::-1]), served[start:stop][::-1])


@MANY
@given(good_configs, st.data())
def test_every_fact_can_be_asked_for_in_every_form_of_its_corpus(drawn, data):
    corpus = make(drawn)
    assume(corpus is not None and small(corpus))
    meanings = words_of(corpus)
    edge = data.draw(st.sampled_from(corpus.world.edges), label="edge")
    form = data.draw(st.sampled_from(corpus.forms), label="form")
    rows = fact_table(corpus, edge, form).to_pylist()
    heads, relations, tails = (column.tolist() for column in corpus.world.facts(edge))
    facts = [Fact(edge, *ids) for ids in zip(heads, relations, tails, strict=True)]
    tokens = sentences_of(corpus, corpus.grammar.tokens(edge, form, heads, relations, tails))
    assert len({len(sentence) for sentence in tokens}) == 1
    for fact, row, sentence in zip(facts, rows, tokens, strict=True):
        reading = read(sentence, meanings)
        assert (reading.fact, reading.order) == (fact, ORDERS[form])
        assert encode(corpus, row["text"]) == sentence
    if form in OBJECT_LAST:
        queries = corpus.grammar.queries(facts, form)
        for query, row, sentence in zip(queries, rows, tokens, strict=True):
            answer = read(sentence, meanings).tail
            assert list(query.prompt_ids) == sentence[: answer.start] == encode(corpus, query.prompt)
            assert list(query.answer_ids) == sentence[answer] == encode(corpus, query.answer)
            assert (row["prompt"], row["answer"]) == (query.prompt, query.answer)
            assert corpus.grammar.answer_place(edge, form) == answer
    else:
        with pytest.raises(ValueError, match="form must end in the object"):
            corpus.grammar.queries(facts, form)


@MANY
@given(good_configs, st.data())
def test_corpus_after_edits_says_what_is_true_after_them(drawn, data):
    corpus = make(drawn)
    assume(corpus is not None and small(corpus))
    edge = data.draw(st.sampled_from(corpus.world.edges), label="edge")
    head = data.draw(st.integers(0, corpus.world.num_heads(edge) - 1), label="head")
    relation = data.draw(st.integers(0, corpus.world.config.num_relations - 1), label="relation")
    tail = data.draw(st.integers(0, corpus.world.num_tails(edge, relation) - 1), label="tail")
    after = Corpus(corpus.world.after([Fact(edge, head, relation, tail)]), corpus.grammar, corpus.config)
    meanings = words_of(corpus)
    facts = [read(tokens, meanings).fact for tokens in sentences_of(after, after.block(0, min(300, len(after))))]
    check_tails(after.world, facts)
    assert after.world.fact(edge, head, relation).tail == tail
