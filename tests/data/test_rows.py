"""The rows of every split, whichever range of them is asked for."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from behemoth_data import Corpus, CorpusConfig, EditConfig, WorldConfig, build, draw_edits
from behemoth_data.rows import EditRows, FactPart, FactRows, Rows, SentenceRows, ranges, splits
from behemoth_data.tables import EDIT_SCHEMA, FACT_SCHEMA, SentenceTables, edit_table, fact_table
from behemoth_data.world import Edge

# 12 x 3 facts about subjects, as many about what follows from them, and 8 x 3 about objects.
NESTED = WorldConfig(num_subjects=12, num_relations=3, num_objects=8, num_nested_objects=4)
CORPUS = build(NESTED, corpus=CorpusConfig(repeats=2))
EDGES = (Edge.SUBJECT_OBJECT, Edge.SUBJECT_NESTED, Edge.OBJECT_NESTED)
FORMS = ("statement", "rso")
COUNTS = dict(zip(EDGES, (36, 36, 24), strict=True))


class Facts(FactRows):
    """Blocks so small that ranges, blocks and parts all end in different places."""

    rows_per_block = 7


class Sentences(SentenceRows):
    rows_per_block = 7


SENTENCES = Sentences(CORPUS)
FACTS = Facts(CORPUS, [FactPart(edge, form) for form in FORMS for edge in EDGES])
ASKED = Facts(
    build(NESTED, corpus=CorpusConfig(question_fraction=0.2, question_subject_fraction=0.75)),
    [FactPart(edge, "question", asked) for asked in (True, False) for edge in EDGES],
)
EDITS = EditRows(CORPUS, edits_per_set=3, edit_seeds=2)


def listed(rows: Rows, start: int, stop: int) -> list[dict[str, Any]]:
    return [row for table in rows.tables(start, stop) for row in table.to_pylist()]


def drawn(edits_per_set: int, **fields: Any) -> list[dict[str, Any]]:
    """The rows of a draw: as many edits as asked for, or as many as draw_edits agrees to."""
    try:
        return edit_table(draw_edits(CORPUS, EditConfig(num_edits=edits_per_set, **fields))).to_pylist()
    except ValueError:
        return drawn(edits_per_set - 1, **fields)


def draws(edits_per_set: int, seeds: int) -> list[list[dict[str, Any]]]:
    """The rows of each draw, one draw after the other."""
    return [
        drawn(edits_per_set, scenario=scenario, edge=edge, edit_seed=seed)
        for seed in range(seeds)
        for edge in ("subject_object", "subject_nested", "object_nested")
        for scenario in ("single", "identical", "different")
    ]


def questions(asked: bool, edge: Edge) -> list[dict[str, Any]]:
    """The questions about some heads of a table, relation by relation, the heads in the question order."""
    corpus, found = ASKED.corpus, {}
    for row in fact_table(ASKED.corpus, edge, "question").to_pylist():
        found[row["relation"], row["subject"]] = row
    order = corpus.question_order(edge)(range(corpus.world.num_heads(edge))).tolist()
    heads = [head for head in order if corpus.asked(edge, head) == asked]
    return [found[relation, head] for relation in range(3) for head in heads]


WHOLE = {
    "sentences": (SENTENCES, [[row] for row in SentenceTables(CORPUS).table(0, len(CORPUS)).to_pylist()]),
    "facts": (
        FACTS,
        [
            [row]
            for form in ("statement", "rso")
            for edge in EDGES
            for row in fact_table(CORPUS, edge, form).to_pylist()
        ],
    ),
    "asked": (ASKED, [[row] for asked in (True, False) for edge in EDGES for row in questions(asked, edge)]),
    "edits": (EDITS, draws(edits_per_set=3, seeds=2)),
}


@pytest.mark.parametrize("name", WHOLE)
def test_all_units_are_the_whole_split_in_order(name: str) -> None:
    rows, whole = WHOLE[name]
    assert rows.units == len(whole) == {"sentences": 192, "facts": 192, "asked": 96, "edits": 18}[name]
    assert listed(rows, 0, rows.units) == [row for unit in whole for row in unit]


@pytest.mark.parametrize("name", WHOLE)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_range_is_a_slice_of_the_whole(name: str, data: st.DataObject) -> None:
    rows, whole = WHOLE[name]
    start = data.draw(st.integers(0, rows.units))
    stop = data.draw(st.integers(start, min(rows.units, start + (60 if name != "edits" else 4))))
    assert listed(rows, start, stop) == [row for unit in whole[start:stop] for row in unit]


def test_range_that_meets_the_border_of_two_parts_is_exact() -> None:
    rows, whole = WHOLE["facts"]
    for border in (36, 72, 96, 132, 168):
        for start, stop in ((border - 1, border), (border - 1, border + 1), (border, border + 1), (border, border)):
            assert listed(rows, start, stop) == [row for unit in whole[start:stop] for row in unit]


def test_parts_without_facts_take_no_place() -> None:
    class Nothing(FactPart):
        def count(self, corpus: Corpus) -> int:
            return 0

    nothing, objects = Nothing(Edge.SUBJECT_OBJECT, "statement"), FactPart(Edge.OBJECT_NESTED, "statement")
    rows = FactRows(CORPUS, [nothing, objects, nothing, nothing, objects, nothing])
    assert rows.units == 48
    once = fact_table(CORPUS, Edge.OBJECT_NESTED).to_pylist()
    assert listed(rows, 0, 48) == once + once
    assert listed(rows, 24, 48) == once
    assert listed(rows, 48, 48) == []


@pytest.mark.parametrize("rows", [SENTENCES, FACTS, EDITS], ids=lambda rows: type(rows).__name__)
def test_range_that_leaves_the_split_is_refused_at_once(rows: Rows) -> None:
    for start, stop in ((-1, 1), (0, rows.units + 1), (2, 1)):
        with pytest.raises(ValueError, match=f"between 0 and {rows.units}, got {start} and {stop}"):
            rows.tables(start, stop)


def test_tables_are_blocks_of_the_schema() -> None:
    assert [table.num_rows for table in SENTENCES.tables(1, 17)] == [7, 7, 2]
    assert [table.num_rows for table in FACTS.tables(20, 50)] == [7, 7, 2, 7, 7]  # a part ends at 36
    many = EditRows(CORPUS, edits_per_set=12, edit_seeds=1)  # 12 sets of one edit each in the first draw
    assert [table.num_rows for table in many.tables(0, 2)] == [10, 2, 1]
    assert {table.schema for table in (*SENTENCES.tables(0, 3), *FACTS.tables(0, 3))} == {FACT_SCHEMA}
    assert {table.schema for table in EDITS.tables(0, 3)} == {EDIT_SCHEMA} == {EDITS.schema}
    assert SENTENCES.schema == FACTS.schema == FACT_SCHEMA


def test_published_blocks_are_no_larger_than_10_000_rows() -> None:
    large = build(WorldConfig(num_subjects=5000, num_relations=3), corpus=CorpusConfig(repeats=1))
    assert [table.num_rows for table in SentenceRows(large).tables(0, 15_000)] == [10_000, 5_000]


def test_sentences_and_facts_have_at_most_so_many_rows_in_a_file() -> None:
    assert SENTENCES.files(100) == [(0, 100), (100, 192)]
    assert FACTS.files(96) == [(0, 96), (96, 192)]
    assert FACTS.files(1_000_000) == [(0, 192)]
    assert FactRows(CORPUS, []).files(100) == [(0, 0)]


def test_file_of_edits_has_a_thousandth_of_the_draws() -> None:
    assert EDITS.files(1_000_000) == [(0, 18)]
    assert EDITS.files(10_500) == [(0, 10), (10, 18)]
    assert EDITS.files(5) == [(place, place + 1) for place in range(18)]


def test_shard_is_a_range_of_rows_or_the_draws_of_a_seed() -> None:
    assert SENTENCES.shards(150) == [(0, 150), (150, 192)]
    assert FACTS.shards(150) == [(0, 150), (150, 192)]
    assert EDITS.shards(150) == [(0, 9), (9, 18)]


def test_row_group_holds_fifty_thousand_sentences_or_fifty_edit_sets() -> None:
    assert (SENTENCES.rows_per_group, FACTS.rows_per_group, EDITS.rows_per_group) == (50_000, 50_000, 50)


def asked_in(rows: Rows) -> list[tuple[str, int]]:
    return [(row["form"], row["edge"]) for row in listed(rows, 0, rows.units)]


def test_without_questions_in_training_validation_has_told_forms_and_test_all_questions() -> None:
    found = splits(build(NESTED, corpus=CorpusConfig(repeats=1, inversion_forms=("sor",))))
    assert list(found) == ["train", "validation", "test"]
    assert isinstance(found["train"], SentenceRows)
    for name, forms in {"validation": ("statement", "rso"), "test": ("question", "new_question")}.items():
        assert asked_in(found[name]) == [(form, edge) for form in forms for edge in EDGES for _ in range(COUNTS[edge])]


def test_questions_are_in_validation_if_training_asks_about_their_heads_and_else_in_test() -> None:
    corpus = build(NESTED, corpus=CorpusConfig(repeats=1, question_fraction=0.2, question_subject_fraction=0.75))
    found = splits(corpus)
    questions = [("question", edge) for edge in EDGES] + [("new_question", edge) for edge in EDGES]
    counts = {Edge.SUBJECT_OBJECT: (27, 9), Edge.SUBJECT_NESTED: (27, 9), Edge.OBJECT_NESTED: (18, 6)}  # 3/4, 1/4
    told = [(form, edge) for form in FORMS for edge in EDGES for _ in range(COUNTS[edge])]
    assert asked_in(found["validation"]) == told + [ask for ask in questions for _ in range(counts[ask[1]][0])]
    assert asked_in(found["test"]) == [ask for ask in questions for _ in range(counts[ask[1]][1])]
    trained = {(row["edge"], row["subject"]) for row in listed(found["train"], 0, 96) if row["form"] == "question"}
    for name, asked in {"validation": True, "test": False}.items():
        rows = [row for row in listed(found[name], 0, found[name].units) if "question" in row["form"]]
        assert {bool(corpus.asked(Edge(row["edge"]), row["subject"])) for row in rows} == {asked}
        heads = {(row["edge"], row["subject"]) for row in rows}
        assert trained <= heads if asked else not trained & heads


def test_split_that_would_be_empty_is_not_there() -> None:
    corpus = build(NESTED, corpus=CorpusConfig(question_fraction=0.2, question_subject_fraction=1.0))
    assert list(splits(corpus)) == ["train", "validation"]


def test_edits_are_a_split_of_their_own() -> None:
    (name,) = found = splits(CORPUS, edits_per_set=3, edit_seeds=2)
    assert name == "test"
    assert listed(found["test"], 0, 3) == listed(EDITS, 0, 3)


def test_ranges_cover_everything_once() -> None:
    assert ranges(3, 10, 3) == [(3, 6), (6, 9), (9, 10)]
    assert ranges(3, 9, 3) == [(3, 6), (6, 9)]
    assert ranges(3, 3, 3) == []
