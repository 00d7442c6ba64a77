"""Facts about the functions that a notebook calls: drawing edits, scoring an edited model, and keeping it."""

import copy
import dataclasses
import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from behemoth_data import Edge, EditConfig, WorldConfig, build
from behemoth_data.lexicon import Role
from behemoth_editing import FineTune, Maker, Rome, draw, edit_fact, load_checkpoint, report_on, save_edited, score
from behemoth_editing.scoring.counts import said_by
from behemoth_editing.sweep.cells import Cell
from behemoth_editing.sweep.rows import check_row
from behemoth_editing.sweep.running import run
from behemoth_models.knowledge import recall, weights_digest


@pytest.fixture(scope="module")
def edit_set(checkpoint):
    return draw(checkpoint, EditConfig(scenario="different", num_edits=3))[0]


@pytest.fixture(scope="module")
def edited(checkpoint, edit_set):
    return Rome()(checkpoint.model, edit_set).model


@pytest.fixture(scope="module")
def kept(checkpoint, edit_set, edited, tmp_path_factory):
    return save_edited(edited, checkpoint, edit_set, Rome(), tmp_path_factory.mktemp("kept") / "edited")


def test_score_is_that_of_a_result_row(checkpoint, edit_set, edited, tmp_path):
    (row,) = run([Cell(checkpoint, Rome(), edit_set.config)], tmp_path / "results", progress=False)
    found = score(checkpoint, edited, edit_set)
    assert (found.units, found.scores) == (row["units"], row["scores"])
    shared = score(said_by(checkpoint.model, edit_set), edited, edit_set)
    assert shared == found


def test_score_has_a_row_where_it_is_said_who_made_the_edit(checkpoint, edit_set, edited, tmp_path):
    found = score(checkpoint, edited, edit_set, Maker(method="rome", source="a test"))
    check_row(found.row, "here")
    assert (found.row["units"], found.row["scores"]) == (found.units, found.scores)
    assert found.row["elsewhere"]["models"] == []
    with pytest.raises(ValueError, match="found must be scores with a row, got 1 without"):
        report_on([found, score(checkpoint, edited, edit_set)], tmp_path)
    with pytest.raises(ValueError, match="before must be a checkpoint where made is given, got Said"):
        score(said_by(checkpoint.model, edit_set), edited, edit_set, Maker(method="rome"))


def test_scores_are_printed_line_by_line(checkpoint, edit_set, edited):
    lines = str(score(checkpoint, edited, edit_set)).splitlines()
    assert lines[0].startswith("edit success")
    assert any(line.startswith("p(new)") for line in lines)
    assert any(line.startswith("still right, same relation") for line in lines)
    assert any(line.startswith("followed, nested subject") for line in lines)


def test_fact_is_edited_by_its_words(checkpoint):
    lexicon, world = checkpoint.corpus.grammar.lexicon, checkpoint.corpus.world
    fact = world.fact(Edge.SUBJECT_OBJECT, 7, 1)
    new = (fact.tail + 3) % world.config.num_objects
    words = lexicon.word(Role.SUBJECT, 7), lexicon.word(Role.RELATION, 1), lexicon.word(Role.OBJECT, new, 1)
    edits = edit_fact(checkpoint, *words)
    assert [(edit.fact, edit.new_tail) for edit in edits.edits] == [(fact, new)]
    assert edits == edit_fact(checkpoint, 7, 1, new)
    assert edits.requests[0].answer == words[2]
    assert {"edited", "same_subject", "nested_subject"} <= {probe.kind for probe in edits.probes}
    edited = FineTune()(checkpoint.model, edits).model
    assert score(checkpoint, edited, edits).scores["edit_success"]["value"] == 1.0


@pytest.mark.parametrize("edge", [Edge.SUBJECT_NESTED, Edge.OBJECT_NESTED])
def test_fact_of_another_table_is_edited(edge, checkpoint):
    fact = checkpoint.corpus.world.fact(edge, 3, 2)
    edits = edit_fact(checkpoint, 3, 2, (fact.tail + 1) % 5, edge=edge)
    assert (edits.edge, edits.edits[0].fact) == (edge, fact)


@pytest.mark.parametrize(
    ("subject", "relation", "new_object", "message"),
    [
        ("nobody", 0, 0, "subject must be a word of the world, such as '.*', got 'nobody'"),
        (0, "likes", 0, "relation must be a word of the world"),
        (0, 0, "nothing", "object must be a word of the world"),
        (0, 0, 20, r"new_tail must lie in \[0, 20\) and not be \d+, the object there is, got 20"),
        (80, 0, 0, "80"),
    ],
)
def test_what_the_world_does_not_have_is_refused(subject, relation, new_object, message, checkpoint):
    with pytest.raises(ValueError, match=message):
        edit_fact(checkpoint, subject, relation, new_object)


def test_new_object_that_changes_nothing_is_refused(checkpoint):
    true = checkpoint.corpus.world.fact(Edge.SUBJECT_OBJECT, 0, 0).tail
    with pytest.raises(ValueError, match=f"not be {true}, the object there is, got {true}"):
        edit_fact(checkpoint, 0, 0, true)


def test_kept_model_answers_alike_through_plain_transformers(kept, checkpoint, edit_set, edited):
    again = AutoModelForCausalLM.from_pretrained(kept, attn_implementation="eager").eval()
    tokenizer = AutoTokenizer.from_pretrained(kept)
    for query in edit_set.requests:
        ids = tokenizer(query.prompt, return_tensors="pt").input_ids
        assert tuple(ids[0].tolist()) == query.prompt_ids
        with torch.no_grad():
            assert torch.equal(again(ids).logits, edited(ids).logits)


def test_kept_model_says_what_was_done_to_it(kept, checkpoint, edit_set, edited):
    found = load_checkpoint(str(kept))
    (step,) = found.lineage
    assert not found.pristine
    assert (step["parent"], step["method"]) == (checkpoint.weights, "rome")
    assert step["settings"]["layer"] == Rome().layer
    assert [edit["new_tail"] for edit in step["edits"]] == [edit.new_tail for edit in edit_set.edits]
    assert found.weights == weights_digest(edited)
    assert found.corpus.digest == checkpoint.corpus.digest
    assert found.recall["statement"] == recall(edited, checkpoint.corpus)
    assert found.recall != checkpoint.recall


def test_edit_of_an_edited_model_adds_to_its_lineage(kept, tmp_path):
    first = load_checkpoint(str(kept))
    (more,) = draw(first, EditConfig(scenario="single", num_edits=1, edit_seed=5))
    place = save_edited(Rome()(first.model, more).model, first, more, Rome(), tmp_path / "twice")
    second = load_checkpoint(str(place))
    assert [step["parent"] for step in second.lineage] == [first.lineage[0]["parent"], first.weights]


def test_trained_model_is_pristine_and_one_that_was_saved_by_hand_is_not(trained, checkpoint, edited, tmp_path):
    assert checkpoint.pristine
    assert load_checkpoint(str(trained)).pristine
    edited.save_pretrained(tmp_path / "by hand")
    found = load_checkpoint(str(tmp_path / "by hand"))
    assert (found.pristine, found.recall) == (False, {})
    assert found.lineage == ({"parent": checkpoint.weights, "method": None},)


def test_model_in_half_precision_is_not_taken_for_an_edited_one(checkpoint, tmp_path):
    copy.deepcopy(checkpoint.model).half().save_pretrained(tmp_path / "half")
    assert load_checkpoint(str(tmp_path / "half")).pristine


def test_folder_that_is_there_is_refused_and_nothing_is_left_of_a_failure(kept, checkpoint, edit_set, tmp_path):
    with pytest.raises(ValueError, match="folder must be new, so that no model is lost"):
        save_edited(checkpoint.model, checkpoint, edit_set, Rome(), kept)
    other = copy.deepcopy(checkpoint.model)
    other.lm_head = torch.nn.Linear(3, 4)
    with pytest.raises(ValueError, match=f"edited must have the parameters of {checkpoint.name}"):
        save_edited(other, checkpoint, edit_set, Rome(), tmp_path / "other")
    assert list(tmp_path.iterdir()) == []


def test_model_given_keeps_its_own_words_about_itself(kept, checkpoint, edited):
    assert "edited" not in edited.config.behemoth
    assert json.loads((kept / "config.json").read_text(encoding="utf-8"))["behemoth"]["edited"]


def test_ids_may_be_numpys_and_a_table_may_be_named(checkpoint):
    fact = checkpoint.corpus.world.fact(Edge.SUBJECT_NESTED, 3, 2)
    new = (fact.tail + 1) % 5
    found = edit_fact(checkpoint, np.int64(3), np.int32(2), np.int64(new), edge="subject_nested")
    assert found == edit_fact(checkpoint, 3, 2, new, edge=Edge.SUBJECT_NESTED)
    assert type(found.edits[0].new_tail) is int


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((3.7, 0, 1), "subject must be a whole number, got 3.7"),
        ((3, True, 1), "relation must be a whole number, got True"),
        ((3, 0, None), "new_object must be a whole number, got None"),
    ],
)
def test_what_is_neither_word_nor_id_is_refused(given, message, checkpoint):
    with pytest.raises(ValueError, match=message):
        edit_fact(checkpoint, *given)


def test_table_that_the_world_lacks_is_refused_for_words_too(checkpoint):
    flat = dataclasses.replace(checkpoint, corpus=build(WorldConfig(num_subjects=80)))
    with pytest.raises(ValueError, match="edge must be one of subject_object, got 'subject_nested'"):
        edit_fact(flat, "somebody", "has", "something", edge=Edge.SUBJECT_NESTED)


def test_edits_of_another_world_are_neither_scored_nor_kept(checkpoint, edited, tmp_path):
    config = dataclasses.replace(checkpoint.corpus.world.config, seed=1)
    other = dataclasses.replace(checkpoint, corpus=build(config, corpus=checkpoint.corpus.config))
    foreign = draw(other, EditConfig(num_edits=1))
    with pytest.raises(ValueError, match=f"edit_set must be of the corpus {checkpoint.corpus.digest}"):
        score(checkpoint, edited, foreign[0])
    with pytest.raises(ValueError, match=f"edit_set must be of the corpus {checkpoint.corpus.digest}"):
        save_edited(edited, checkpoint, foreign, Rome(), tmp_path / "foreign")


def test_what_no_folder_could_keep_is_refused_before_it_is_written(checkpoint, edit_set, edited, tmp_path):
    mixed = copy.deepcopy(edited)
    mixed.lm_head.half()
    with pytest.raises(ValueError, match=r"edited must have weights of one type, got torch\.float16, torch\.float32"):
        save_edited(mixed, checkpoint, edit_set, Rome(), tmp_path / "mixed")
    with pytest.raises(ValueError, match="edit_sets must hold at least 1 edit set, got 0"):
        save_edited(edited, checkpoint, [], Rome(), tmp_path / "none")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="folder must be new"):
        save_edited(edited, checkpoint, edit_set, Rome(), tmp_path / "link")
    assert [path.name for path in tmp_path.iterdir()] == ["link"]


def test_edit_of_a_model_that_was_saved_by_hand_has_a_recall(checkpoint, edit_set, edited, tmp_path):
    edited.save_pretrained(tmp_path / "by hand")
    found = load_checkpoint(str(tmp_path / "by hand"))
    place = save_edited(Rome()(found.model, edit_set).model, found, edit_set, Rome(), tmp_path / "again")
    assert load_checkpoint(str(place)).recall.keys() == checkpoint.recall.keys()


def test_half_precision_that_is_widened_when_it_is_loaded_is_not_taken_for_an_edit(checkpoint, tmp_path, monkeypatch):
    half = tmp_path / "half"
    copy.deepcopy(checkpoint.model).half().save_pretrained(half)
    load = AutoModelForCausalLM.from_pretrained
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", lambda *args, **kw: load(*args, **kw).float())
    found = load_checkpoint(str(half))  # as transformers 4 does
    assert {weight.dtype for weight in found.model.parameters()} == {torch.float32}
    assert found.pristine
