"""The layout of the paper's generator: a folder as it writes one, made by hand, is read, and ours is in its layout."""

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from behemoth_data import Edge, Fact
from behemoth_data.edits import Edit, EditConfig, draw_edits
from behemoth_editing.bridges.generator import graph_lines, write_edits, write_world
from behemoth_editing.bridges.generator_reading import read_corpus, read_edits

# Of a world of four subjects, two relations, four objects and two nested objects: subject, relation, object, no second
# object, nested object. Object 3 of relation 1 has no subject.
GRAPH = """\
0 0 2 None 1
0 1 0 None 0
1 0 3 None 1
1 1 1 None 1
2 0 0 None 0
2 1 2 None 0
3 0 1 None 0
3 1 0 None 0
"""
NESTED = {(0, 0): 0, (1, 0): 0, (2, 0): 1, (3, 0): 1, (0, 1): 0, (1, 1): 1, (2, 1): 0}  # by object and relation
WORDS = {
    "subjects": [[85], [86], [87], [88]],
    "relationships": [[90], [91]],
    "objects": [[100], [101], [102], [103], [104], [105], [106], [107]],
    "subject_nested_relationships": [[92], [93]],
    "object_nested_relationships": [[94], [95]],
    "object_nested_objects": [[110], [111], [112], [113]],
}
ARGUMENTS = {
    "subjects": 4,
    "relationships": 2,
    "objects": 4,
    "repeats": 3,
    "inversion_frac": 0.5,
    "phrase_creator": "inverted",
    "questions_entity_frac": 0.5,
    "questions_frac": 0.0,
    "correlated_pair": False,
    "correlation_strength": 1.0,
    "binarize_first_correlated": False,
    "num_nested_objects": 2,
    "obj_nested_obj_edges_upweight": 2,
}


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A folder as create_data.py leaves it, of which nothing but metadata is read."""
    metadata = tmp_path / "theirs" / "metadata"
    metadata.mkdir(parents=True)
    (metadata / "relationship_graph.txt").write_text(GRAPH, encoding="utf-8")
    (metadata / "remappings_map.json").write_text(json.dumps(WORDS), encoding="utf-8")
    (metadata / "args.json").write_text(json.dumps(ARGUMENTS), encoding="utf-8")
    return tmp_path / "theirs"


def tuned(folder: Path, *rows: tuple[str, str]) -> None:
    """A fine-tuning folder whose edited facts are these, each written twice."""
    data = folder / "ft" / "finetuning_data"
    data.mkdir(parents=True)
    lines = [
        json.dumps({"instruction": prompt, "input": "", "output": answer}) for prompt, answer in rows for _ in "12"
    ]
    (data / "edited_sro.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_every_fact_of_their_graph_is_true_in_the_world_that_is_read(theirs):
    corpus = read_corpus(theirs)
    for line in GRAPH.splitlines():
        subject, relation, object, _, nested = line.split()
        key = int(subject), int(relation)
        assert corpus.world.fact(Edge.SUBJECT_OBJECT, *key).tail == int(object)
        assert corpus.world.fact(Edge.SUBJECT_NESTED, *key).tail == int(nested)
    for (object, relation), nested in NESTED.items():
        assert corpus.world.fact(Edge.OBJECT_NESTED, object, relation).tail == nested
    assert corpus.world.config.structure == "nested"
    assert (corpus.config.repeats, corpus.config.object_nested_upweight) == (3, 2)
    assert corpus.forms == ("statement", "sor", "osr", "rso")
    assert "".join(f"{line}\n" for line in graph_lines(corpus)) == GRAPH


@pytest.mark.parametrize(
    ("row", "edit"),
    [
        ((" SS 0086 0250 0251 RR 0091 0252 OO", " 0107"), Edit(Fact(Edge.SUBJECT_OBJECT, 1, 1, 1), 3)),
        ((" SS 0085 0250 0251 RR 0092 0252 OO", " 0110"), Edit(Fact(Edge.SUBJECT_NESTED, 0, 0, 1), 0)),
        ((" SS 0106 0250 0251 RR 0095 0252 OO", " 0113"), Edit(Fact(Edge.OBJECT_NESTED, 2, 1, 0), 1)),
    ],
)
def test_their_fine_tuning_rows_are_edits_of_the_table_whose_relation_they_name(row, edit, theirs):
    tuned(theirs, row)
    config = EditConfig(least_rows=0, edge=edit.fact.edge.label)
    assert read_edits(theirs, "ft", read_corpus(theirs), config).edits == (edit,)


def test_what_cannot_be_taken_over_is_refused(theirs):
    graph = theirs / "metadata" / "relationship_graph.txt"
    graph.write_text(GRAPH.replace("0 0 2 None", "0 0 2 1"), encoding="utf-8")
    with pytest.raises(ValueError, match="must have no second objects"):
        read_corpus(theirs)
    graph.write_text(GRAPH.split("\n", 1)[1], encoding="utf-8")
    with pytest.raises(ValueError, match="must state 8 facts, each once, got 7"):
        read_corpus(theirs)
    graph.write_text(GRAPH, encoding="utf-8")
    (theirs / "ft" / "finetuning_data").mkdir(parents=True)
    with pytest.raises(ValueError, match="must have one file edited_"):
        read_edits(theirs, "ft", read_corpus(theirs))


def test_a_world_of_ours_is_the_same_after_writing_and_reading(small_corpus, tmp_path):
    write_world(small_corpus, tmp_path)
    found = read_corpus(tmp_path)
    assert graph_lines(found) == graph_lines(small_corpus)
    (edit_set,) = draw_edits(small_corpus, EditConfig(scenario="different", num_edits=3))
    write_edits(edit_set, tmp_path / "ft")
    assert read_edits(tmp_path, "ft", found).edits == edit_set.edits


def test_texts_are_our_sentences_in_their_words_and_their_tokenizer_gives_our_ids(small_corpus, tmp_path):
    write_world(small_corpus, tmp_path)
    text = (tmp_path / "data" / "full_text_0.txt").read_text(encoding="utf-8")
    sentences = text.split("<|endoftext|>")
    assert len(sentences) == len(small_corpus) + 1  # nothing after the last
    assert not text[-1].isspace()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "metadata")
    padding = tokenizer.pad_token_id
    wanted = [token for row in small_corpus.block(0, 50).tolist() for token in row if token != padding]
    assert tokenizer("<|endoftext|>".join(sentences[:50]) + "<|endoftext|>")["input_ids"] == wanted
    prompt, answer = (tmp_path / "validations" / "subject_object_sro.txt").read_text("utf-8").split("\n")[0].split("\t")
    assert prompt.startswith(" SS ")
    assert prompt.endswith(" OO")
    assert len(answer) == 5  # a space and a word of four digits


def test_natural_words_are_refused(small_corpus, tmp_path):
    from behemoth_data import LexiconConfig, WorldConfig, build

    natural = build(WorldConfig(num_subjects=10, num_objects=4), LexiconConfig(surface="natural"))
    with pytest.raises(ValueError, match="surface must be synthetic, got natural"):
        write_world(natural, tmp_path)
