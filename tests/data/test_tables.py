"""Facts about the published rows: their columns, and that words, ids and texts of a row say the same."""

import pyarrow as pa
import pytest

from behemoth_data.corpus import CorpusConfig, build
from behemoth_data.edits import EditConfig, draw_edits
from behemoth_data.lexicon import LexiconConfig, Role
from behemoth_data.tables import EDIT_SCHEMA, FACT_SCHEMA, edit_table, fact_table, sentence_table
from behemoth_data.world import Edge, WorldConfig

ROLES = {
    Edge.SUBJECT_OBJECT: (Role.SUBJECT, Role.RELATION, Role.OBJECT),
    Edge.SUBJECT_NESTED: (Role.SUBJECT, Role.SUBJECT_NESTED_RELATION, Role.NESTED),
    Edge.OBJECT_NESTED: (Role.OBJECT, Role.OBJECT_NESTED_RELATION, Role.NESTED),
}
PROMPTS = {
    "statement": "SS {s} W0 W1 RR {r} W2 OO",
    "sor": None,
    "osr": None,
    "rso": "W9 RR {r} W7 SS {s} W5 OO",
}
TEXTS = {
    "statement": "SS {s} W0 W1 RR {r} W2 OO {o} .",
    "sor": "SS {s} W0 OO {o} W3 W4 RR {r} .",
    "osr": "OO {o} W5 SS {s} W8 RR {r} .",
    "rso": "W9 RR {r} W7 SS {s} W5 OO {o} .",
}


@pytest.fixture(scope="module", params=[1000, 5], ids=["one_token_words", "two_token_words"])
def corpus(request):
    return build(
        WorldConfig(num_subjects=25, num_relations=3, num_objects=12, num_nested_objects=4),
        LexiconConfig(one_token_limit=request.param),
        CorpusConfig(repeats=2, inversion_forms=("sor", "osr", "rso")),
    )


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
    assert row["text"] == TEXTS[form].format(**said)
    if PROMPTS[form] is None:
        assert (row["prompt"], row["answer"]) == (None, None)
    else:
        assert (row["prompt"], row["answer"]) == (PROMPTS[form].format(**said), said["o"])


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


def test_every_sentence_row_says_in_words_what_its_ids_say(corpus):
    rows = sentence_table(corpus, 0, len(corpus)).to_pylist()
    assert len(rows) == 2 * (75 + 75 + 36)
    assert {row["form"] for row in rows} == set(TEXTS)
    for row in rows:
        check_row(corpus, row)


def test_sentence_rows_stand_in_the_corpuss_order(corpus):
    rows = sentence_table(corpus, 0, len(corpus))["text"].to_pylist()
    texts = corpus.grammar.text(corpus.block(0, len(corpus))).to_pylist()
    assert [f"{row} <|endoftext|>" for row in rows] == [text.replace(" <|padding|>", "") for text in texts]


def test_whole_table_is_its_parts(corpus):
    whole = sentence_table(corpus, 0, len(corpus))
    cuts = ((0, 1), (1, 90), (90, 90), (90, len(corpus)))
    assert pa.concat_tables([sentence_table(corpus, *cut) for cut in cuts]).equals(whole)
    assert whole.schema == FACT_SCHEMA


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


def test_facts_can_be_asked_in_another_form(corpus):
    for form in TEXTS:
        for row in fact_table(corpus, Edge.SUBJECT_NESTED, form).to_pylist():
            assert row["form"] == form
            check_row(corpus, row)


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
