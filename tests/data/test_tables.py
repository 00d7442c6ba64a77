"""Facts about the published rows: their columns, and that words, ids and texts of a row say the same."""

import re

import numpy as np
import pyarrow as pa
import pytest

from behemoth_data.corpus import CorpusConfig, build
from behemoth_data.edits import EditConfig, draw_edits
from behemoth_data.lexicon import LexiconConfig, Role
from behemoth_data.tables import EDIT_SCHEMA, FACT_SCHEMA, SentenceTables, _rows, edit_table, fact_table, sentence_table
from behemoth_data.world import Edge, WorldConfig

ROLES = {
    Edge.SUBJECT_OBJECT: (Role.SUBJECT, Role.RELATION, Role.OBJECT),
    Edge.SUBJECT_NESTED: (Role.SUBJECT, Role.SUBJECT_NESTED_RELATION, Role.NESTED),
    Edge.OBJECT_NESTED: (Role.OBJECT, Role.OBJECT_NESTED_RELATION, Role.NESTED),
}
# Patterns of the sentences; the prompt is what stands before the bar, and without a bar there is none.
PATTERNS = {
    "statement": r"SS {s} W0 W1 RR {r} W2 OO| {o} \.",
    "sor": r"SS {s} W0 OO {o} W3 W4 RR {r} \.",
    "osr": r"OO {o} W5 SS {s} W8 RR {r} \.",
    "rso": r"W9 RR {r} W7 SS {s} W5 OO| {o} \.",
    "question": r"QQ Q1 RR {r} Q2 SS {s} Q3 Q4 AA OO| {o} \.",
    "new_question": r"QQ F1 RR {r} F2 SS {s} F3 AA OO| {o} \.",
    "refusal": r"SS {s} W0 W1 RR {r} W2 OO OO OO \.",
    "question_refusal": r"QQ Q1 RR {r} Q2 SS {s} Q3 Q4 AA OO OO OO \.",
    "repeats": r"(W0 ){{1,3}}SS {s} (W1 ){{0,3}}(W2 ){{1,3}}RR {r} (W3 ){{0,3}}(W4 ){{1,3}}OO| {o} (W5 ){{0,3}}\.",
    "nonsense": r"SS {s} (\w{{7}} ){{1,5}}RR {r} (\w{{7}} ){{1,5}}OO| {o} \.",
    "nonsense_rso": r"RR {r} (\w{{7}} ){{1,5}}SS {s} (\w{{7}} ){{1,5}}OO| {o} \.",
}
PLAIN_FORMS = ("statement", "sor", "osr", "rso", "question", "new_question", "refusal", "question_refusal", "repeats")
KINDS = {
    "plain": {"inversion_forms": ("sor", "osr", "rso")},
    "questions": {"inversion_forms": ("sor", "osr", "rso"), "question_fraction": 0.2},
    "repeats": {"grammar": "repeats", "inversion_forms": ("osr", "rso"), "question_fraction": 0.2},
    "nonsense": {"grammar": "nonsense", "question_fraction": 0.2},
}


def make(kind="questions", limit=1000, surface="synthetic", **world):
    return build(
        WorldConfig(**{"num_subjects": 25, "num_relations": 3, "num_objects": 12, "num_nested_objects": 4, **world}),
        LexiconConfig(one_token_limit=limit, surface=surface),
        CorpusConfig(**{"repeats": 2, **KINDS[kind]}),
    )


@pytest.fixture(scope="module", params=[1000, 5], ids=["one_token_words", "two_token_words"])
def corpus(request):
    return make("plain", request.param)


def words(corpus, row):
    edge, relation = Edge(row["edge"]), row["relation"]
    head, relation_role, tail = ROLES[edge]
    lexicon = corpus.grammar.lexicon
    return {
        "s": lexicon.word(head, row["subject"], relation if head is Role.OBJECT else 0),
        "r": lexicon.word(relation_role, relation),
        "o": lexicon.word(tail, row["object"], relation),
    }


def check_row(corpus, row):
    """Everything a row says as text is what its ids say."""
    said, form = words(corpus, row), row["form"]
    assert (row["subject_word"], row["relation_word"], row["object_word"]) == tuple(said.values())
    prompt, bar, rest = PATTERNS[form].format(**said).partition("|")
    assert re.fullmatch(prompt + rest, row["text"]), row
    if bar:
        assert row["answer"] == said["o"]
        assert re.fullmatch(prompt, row["prompt"]), row
        assert row["text"].startswith(f"{row['prompt']} {row['answer']} ")
    else:
        assert (row["prompt"], row["answer"]) == (None, None)


def test_columns_of_a_fact_are_the_documented_ones():
    text, id = pa.string(), pa.int32()
    assert {field.name: field.type for field in FACT_SCHEMA} == {
        **dict.fromkeys(("text", "prompt", "answer", "form"), text),
        "edge": pa.int64(),
        **dict.fromkeys(("subject", "relation", "object"), id),
        **dict.fromkeys(("subject_word", "relation_word", "object_word"), text),
    }
    assert FACT_SCHEMA.names[:5] == ["text", "prompt", "answer", "form", "edge"]


def test_columns_of_an_edit_set_are_the_documented_ones():
    text, id = pa.string(), pa.int32()
    answers = dict.fromkeys(("prompt", "answer_before", "answer_after"), text)
    ids = dict.fromkeys(("subject", "relation", "object"), id)
    expected = {
        "scenario": text,
        "edge": text,
        "relation": id,
        "seed": id,
        "edits": {**ids, "new_object": id, **answers},
        "probes": {"kind": text, "edit": id, "form": text, "edge": text, **ids, **answers},
        "retain": {"kind": text, "prompt": text, "answer": text},
    }
    assert EDIT_SCHEMA.names == list(expected)
    for name, type in expected.items():
        found = EDIT_SCHEMA.field(name).type
        if isinstance(type, dict):
            assert pa.types.is_list(found)
            assert {field.name: field.type for field in found.value_type} == type
        else:
            assert found == type


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("limit", [1000, 5], ids=["one_token_words", "two_token_words"])
def test_every_sentence_row_says_in_words_what_its_ids_say(kind, limit):
    corpus = make(kind, limit)
    rows = sentence_table(corpus, 0, len(corpus)).to_pylist()
    assert len(rows) == 2 * (75 + 75 + 36)
    assert {row["form"] for row in rows} == set(corpus.forms)
    for row in rows:
        check_row(corpus, row)
        edge = Edge(row["edge"])
        assert row["object"] == corpus.world.tails(edge, row["subject"], row["relation"])


@pytest.mark.parametrize("kind", KINDS)
def test_sentence_rows_are_the_sentences_at_their_places(kind):
    corpus = make(kind, 5)
    vocabulary, padding = corpus.grammar.lexicon.vocabulary, corpus.grammar.lexicon.token_ids["<|padding|>"]
    for start, stop in ((0, 100), (77, 300)):
        rows = sentence_table(corpus, start, stop)["text"].to_pylist()
        sentences = [[vocabulary[token] for token in row if token != padding] for row in corpus.block(start, stop)]
        assert [row.split() for row in rows] == [sentence[:-1] for sentence in sentences]
        assert {sentence[-1] for sentence in sentences} == {"<|endoftext|>"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("surface", ["synthetic", "natural"])
def test_whole_table_is_its_parts_and_its_single_rows(kind, surface):
    corpus = make(kind, surface=surface)
    whole = sentence_table(corpus, 0, len(corpus))
    cuts = ((0, 1), (1, 90), (90, 90), (90, len(corpus)))
    assert pa.concat_tables([sentence_table(corpus, *cut) for cut in cuts]).equals(whole)
    assert whole.schema == FACT_SCHEMA
    for place in range(0, len(corpus), 40):
        assert sentence_table(corpus, place, place + 1).equals(whole.slice(place, 1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("surface", ["synthetic", "natural"])
@pytest.mark.parametrize("world", [{}, {"num_nested_objects": 0, "minority_fraction": 0.5}], ids=["nested", "dissent"])
def test_tables_that_have_served_everything_give_what_fresh_ones_give(kind, surface, world):
    corpus = make(kind, surface=surface, **world)
    used = SentenceTables(corpus)
    for _ in range(corpus.num_distinct // len(corpus) + 2):
        used.table(0, len(corpus))
    for start, stop in ((0, 10), (7, 7), (99, 140), (0, len(corpus))):
        again, fresh = used.table(start, stop), SentenceTables(corpus).table(start, stop)
        assert again.equals(fresh)
        assert again.schema == FACT_SCHEMA


def count_made(monkeypatch):
    """A list to which the number of rows is added whenever some are made."""
    made = []

    def counted(corpus, numbers, places=None):
        made.append(len(numbers))
        return _rows(corpus, numbers, places)

    monkeypatch.setattr("behemoth_data.tables._rows", counted)
    return made


def test_rows_are_kept_once_as_many_as_there_are_distinct_ones_were_wanted(monkeypatch):
    corpus, made = make("plain"), count_made(monkeypatch)
    distinct = 4 * (75 + 75 + 36)
    tables = SentenceTables(corpus)
    tables.table(0, 372)
    tables.table(0, 371)
    assert made == [372, 371]  # one fewer than there are distinct ones
    tables.table(0, 1)
    assert sum(made) == 743 + distinct + distinct  # the sample of this small table is all of it
    kept = tables.table(0, 372)
    assert sum(made) == 743 + distinct + distinct
    assert kept.equals(sentence_table(corpus, 0, 372))


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_take_too_much_memory_or_have_fillers_are_made_anew(kind, monkeypatch):
    corpus, expected = make(kind), sentence_table(make(kind), 0, 372)
    monkeypatch.setattr("behemoth_data.tables._TABLE_BYTES", 0)
    tables, made = SentenceTables(corpus), count_made(monkeypatch)
    for _ in range(6):
        assert tables.table(0, 372).equals(expected)
    assert made.count(372) == 6
    assert sum(made) <= 6 * 372 + (0 if corpus.varied else corpus.num_distinct)  # and once a sample for its size


@pytest.mark.parametrize("chunk", [1, 100])
def test_rows_are_the_same_made_in_small_chunks(chunk, monkeypatch):
    corpus = make()
    expected = sentence_table(corpus, 0, len(corpus))
    monkeypatch.setattr("behemoth_data.tables._CHUNK", chunk)
    monkeypatch.setattr("behemoth_data.tables._SAMPLE", 10)
    tables = SentenceTables(corpus)
    for _ in range(4):
        assert tables.table(0, len(corpus)).equals(expected)


@pytest.mark.parametrize("kind", KINDS)
def test_natural_row_is_prompt_answer_and_end(kind):
    corpus = make(kind, surface="natural")
    ends = re.compile(r"( yet){0,3}\." if kind == "repeats" else r"\.")
    for row in sentence_table(corpus, 0, len(corpus)).to_pylist():
        said = words(corpus, row)
        assert (row["subject_word"], row["relation_word"], row["object_word"]) == tuple(said.values())
        spoken = re.findall(r"\w+", row["text"])
        assert all(word in spoken for name in "sro" for word in said[name].split())
        assert row["text"].endswith(".")
        assert not re.search(r" [.,?:]|  ", row["text"])
        if row["form"] in ("sor", "osr"):
            assert (row["prompt"], row["answer"]) == (None, None)
        else:
            assert row["answer"] == said["o"]
            start = f"{row['prompt']} {row['answer']}"
            assert row["text"].startswith(start)
            assert ends.fullmatch(row["text"][len(start) :])
            assert said["o"] not in re.findall(r"\w+", row["prompt"])


def test_dissented_rows_say_the_second_object():
    corpus = make("questions", num_nested_objects=0, minority_fraction=0.5)
    subjects, relations = np.arange(25)[:, None], np.arange(3)
    second, seen = corpus.world.dissenting_objects(subjects, relations), 0
    for row in sentence_table(corpus, 0, len(corpus)).to_pylist():
        check_row(corpus, row)
        true = corpus.world.objects(row["subject"], row["relation"])
        seen += row["object"] != true
        assert row["object"] in (true, second[row["subject"], row["relation"]])
    assert seen > 0


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (370, 373)])
def test_place_outside_the_corpus_is_refused(start, stop):
    corpus = make()
    tables = SentenceTables(corpus)
    for _ in range(6):
        tables.table(0, len(corpus))
    for ask in (tables.table, SentenceTables(corpus).table):
        with pytest.raises(ValueError, match=r"index must lie in \[0, 372\)"):
            ask(start, stop)


@pytest.mark.parametrize("edge", Edge)
def test_fact_table_has_every_fact_once_as_the_world_has_it(corpus, edge):
    table = fact_table(corpus, edge)
    heads = 12 if edge is Edge.OBJECT_NESTED else 25
    rows = table.to_pylist()
    assert table.schema == FACT_SCHEMA
    assert [(row["relation"], row["subject"]) for row in rows] == [(r, h) for r in range(3) for h in range(heads)]
    for row in rows:
        assert (row["form"], row["edge"]) == ("statement", int(edge))
        assert row["object"] == corpus.world.tails(edge, row["subject"], row["relation"])
        check_row(corpus, row)


def test_part_of_a_fact_table_is_that_part_of_the_whole(corpus):
    whole = fact_table(corpus, Edge.OBJECT_NESTED, "rso")
    parts = [
        fact_table(corpus, Edge.OBJECT_NESTED, "rso", start, stop)
        for start, stop in ((0, 1), (1, 20), (20, 20), (20, None))
    ]
    assert [part.num_rows for part in parts] == [1, 19, 0, 16]
    assert pa.concat_tables(parts).equals(whole)


@pytest.mark.parametrize("form", PLAIN_FORMS)
def test_facts_can_be_asked_in_another_form(corpus, form):
    for row in fact_table(corpus, Edge.SUBJECT_NESTED, form).to_pylist():
        assert row["form"] == form
        check_row(corpus, row)


@pytest.mark.parametrize("form", ["nonsense", "nonsense_rso"])
def test_facts_can_be_asked_among_fillers_where_the_world_has_them(form):
    corpus = make("nonsense", 5)
    for edge in Edge:
        for row in fact_table(corpus, edge, form).to_pylist():
            check_row(corpus, row)


def test_facts_in_an_unknown_form_are_refused(corpus):
    with pytest.raises(ValueError, match="form must be one of statement, .*got 'questions'.*did you mean 'question'"):
        fact_table(corpus, Edge.SUBJECT_OBJECT, "questions")


def test_range_that_leaves_the_table_is_refused(corpus):
    with pytest.raises(ValueError, match=r"start and stop of object_nested must satisfy .* <= 36, got 0 and 37"):
        fact_table(corpus, Edge.OBJECT_NESTED, "statement", 0, 37)


@pytest.mark.parametrize("edge", Edge)
@pytest.mark.parametrize("scenario", ["single", "identical"])
def test_edit_row_has_all_edits_all_probes_and_all_retained_facts(corpus, edge, scenario):
    config = EditConfig(scenario=scenario, edge=edge.label, relation=1, num_edits=2, edit_seed=3)
    sets = draw_edits(corpus, config)
    table = edit_table(sets)
    assert table.schema == EDIT_SCHEMA
    for row, edit_set in zip(table.to_pylist(), sets, strict=True):
        assert [row[name] for name in ("scenario", "edge", "relation", "seed")] == [scenario, edge.label, 1, 3]
        assert [(edit["subject"], edit["relation"], edit["object"], edit["new_object"]) for edit in row["edits"]] == [
            (e.fact.head, e.fact.relation, e.fact.tail, e.new_tail) for e in edit_set.edits
        ]
        assert [(edit["prompt"], edit["answer_after"]) for edit in row["edits"]] == [
            (request.prompt, request.answer) for request in edit_set.requests
        ]
        assert [tuple(probe.values()) for probe in row["probes"]] == [
            (
                *(probe.kind, probe.edit, probe.form, probe.fact.edge.label),
                *(probe.fact.head, probe.fact.relation, probe.fact.tail),
                *(probe.before.prompt, probe.before.answer, probe.after.answer),
            )
            for probe in edit_set.probes
        ]
        assert [tuple(retained.values()) for retained in row["retain"]] == [
            (kind, query.prompt, query.answer) for kind, queries in edit_set.retain.items() for query in queries
        ]
        assert {retained["kind"] for retained in row["retain"]} >= {"same_relation", "unrelated"}


def test_edited_answers_are_the_words_of_the_old_and_the_new_object(corpus):
    for edit in edit_table(draw_edits(corpus, EditConfig(num_edits=4)))["edits"].to_pylist():
        (edit,) = edit
        old, new = (
            corpus.grammar.lexicon.word(Role.OBJECT, edit[name], edit["relation"]) for name in ("object", "new_object")
        )
        assert (edit["answer_before"], edit["answer_after"]) == (old, new)
