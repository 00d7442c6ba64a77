"""Facts about the oracles: what they are taught, and that they know just that."""

import copy
import dataclasses

import numpy as np
import pytest
import torch

import behemoth_editing.methods.retrain as module
from behemoth_data import CorpusConfig, WorldConfig, build
from behemoth_data.edits import EditConfig, draw_edits
from behemoth_data.kinds import CHANGE_KINDS, KEEP_KINDS
from behemoth_data.lexicon import PADDING
from behemoth_data.world import Edge
from behemoth_editing import Omit, Retrain, load_checkpoint
from behemoth_editing.copies import copy_of
from behemoth_editing.methods.retrain import Without, _WithRefusals
from behemoth_editing.scoring.answers import predict
from behemoth_editing.scoring.outcomes import answered
from behemoth_models import TrainConfig
from behemoth_models.batches import Feed
from behemoth_models.knowledge import weights_digest
from behemoth_models.training import train


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A checkpoint after one step of a recipe that has enough of them for its small nested world: it knows nothing."""
    world = WorldConfig(num_subjects=24, num_relations=2, num_objects=8, num_nested_objects=4)
    corpus = build(world, corpus=CorpusConfig(repeats=40, object_nested_upweight=2))
    folder = tmp_path_factory.mktemp("original") / "model"
    recipe = {"size": "7m", "batch_size": 48, "learning_rate": 1.5e-2, "measurements": 1}
    train(corpus, TrainConfig(**recipe, max_steps=1), folder, progress=False)
    checkpoint = load_checkpoint(str(folder))
    checkpoint.model.config.behemoth["train"]["max_steps"] = None
    return checkpoint


@pytest.fixture(scope="module")
def edit_set(original):
    return draw_edits(original.corpus, EditConfig(scenario="different", num_edits=3))[0]


@pytest.fixture(scope="module")
def retrained(original, edit_set):
    return Retrain()(original.model, edit_set).model


def share_right(model, probes):
    asked = list(probes)
    answers = predict(model, asked)
    return np.mean([answered(answer, probe.after.answer_ids) for answer, probe in zip(answers, asked, strict=True)])


@pytest.mark.slow
def test_it_knows_the_world_after_the_edits_and_all_that_follows(edit_set, retrained):
    assert share_right(retrained, (p for p in edit_set.probes if p.kind in CHANGE_KINDS)) == 1.0
    assert share_right(retrained, (p for p in edit_set.probes if p.kind in KEEP_KINDS)) >= 0.95
    followed = [p for p in edit_set.probes if p.kind == "nested_subject" and p.before != p.after]
    assert followed
    assert share_right(retrained, followed) == 1.0


def test_in_a_sequence_it_is_taught_all_edits_and_of_one_fact_the_latest(original, monkeypatch):
    first, second = draw_edits(original.corpus, EditConfig(scenario="sequence", num_edits=4, edits_per_step=2))
    again = dataclasses.replace(first.edits[0], new_tail=first.edits[0].fact.tail)
    second = dataclasses.replace(second, edits=(*second.edits, again), earlier=(first,))
    taught = []
    monkeypatch.setattr(module, "train", lambda corpus, *_, **__: taught.append(corpus.world) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Retrain()(original.model, second)
    (world,) = taught
    for edit in (*first.edits[1:], *second.edits):
        assert world.true_tails([edit.new_fact]) == [edit.new_tail]
    with pytest.raises(ValueError, match="task must be an EditSet, whose world the training is about"):
        Retrain()(original.model, dataclasses.replace(second, earlier=(object(),)))


def test_a_model_that_began_with_another_s_weights_has_no_recipe_to_train_by(original, edit_set):
    model = copy.deepcopy(original.model)
    model.config.behemoth = {**model.config.behemoth, "start": {"weights": "0" * 16, "learns": []}}
    with pytest.raises(ValueError, match="model must have been trained from new weights, .* got one that began with"):
        Retrain()(model, edit_set)


def test_in_a_sequence_who_is_never_told_hears_of_none_of_its_facts(original):
    first, second = draw_edits(original.corpus, EditConfig(scenario="sequence", num_edits=4, edits_per_step=2))
    heads = sorted(edit.fact.head for edit_set in (first, second) for edit in edit_set.edits)
    assert Omit()._untold(dataclasses.replace(second, earlier=(first,))) == heads
    assert len(heads) == 4


def test_same_seed_gives_the_same_model_and_another_seed_another(original, edit_set):
    digests = [
        weights_digest(Retrain(max_steps=2, **seed)(original.model, edit_set).model)
        for seed in ({}, {"train_seed": 0}, {"train_seed": 1})
    ]
    assert digests[0] == digests[1] != digests[2]


def test_precision_is_that_of_the_new_model(original, edit_set):
    model = copy_of(original.model)
    model.config.behemoth = {**model.config.behemoth, "train": {**model.config.behemoth["train"], "precision": "fp32"}}
    assert Retrain(max_steps=2)(model, edit_set).details["precision"] == "fp32"


@pytest.mark.slow
def test_training_in_a_process_of_its_own_gives_the_same_model(original, edit_set, monkeypatch):
    here = Retrain(max_steps=2)(original.model, edit_set).model
    monkeypatch.setattr(module.torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setenv("WORLD_SIZE", "2")  # as a launcher sets it: alone, training would wait for another process
    monkeypatch.setenv("RANK", "1")
    there = Retrain(max_steps=2)(original.model, edit_set).model
    assert weights_digest(here) == weights_digest(there)


@pytest.mark.slow
def test_training_that_fails_in_a_process_of_its_own_is_said(original, edit_set, monkeypatch):
    monkeypatch.setattr(module.torch.distributed, "is_initialized", lambda: True)
    broken = dataclasses.replace(edit_set, edits=(dataclasses.replace(edit_set.edits[0], new_tail=10_000),))
    with pytest.raises(RuntimeError, match="the training process ended with status 1"):
        Retrain(max_steps=1)(original.model, broken)


def test_every_sentence_about_a_refused_fact_says_that_it_has_no_answer():
    corpus = build(
        WorldConfig(num_subjects=12, num_relations=2, num_objects=4),
        corpus=CorpusConfig(repeats=4, inversion_forms=("rso", "sor"), question_fraction=0.2),
    )
    sentences = _WithRefusals(corpus, Edge.SUBJECT_OBJECT, 1, np.array([2, 5]))
    places = np.arange(len(corpus))
    said, grammar = corpus.sentences(places), corpus.grammar
    texts = grammar.text(sentences.tokens(places)).to_pylist()
    plain = grammar.text(corpus.tokens(places)).to_pylist()
    refused = 0
    for place, text in enumerate(texts):
        if (said.relations[place], said.heads[place]) not in {(1, 2), (1, 5)}:
            assert text == plain[place]
            continue
        refused += 1
        subject, relation, _ = (
            words[0].as_py()
            for words in grammar.words(
                Edge.SUBJECT_OBJECT, said.heads[[place]], said.relations[[place]], said.tails[[place]]
            )
        )
        question = corpus.forms[said.forms[place]] == "question"
        expected = (
            f"QQ Q1 RR {relation} Q2 SS {subject} Q3 Q4 AA OO OO OO . <|endoftext|>"
            if question
            else f"SS {subject} W0 W1 RR {relation} W2 OO OO OO . <|endoftext|>"
        )
        assert text == expected
    assert refused == 8  # two facts, four sentences each


@pytest.mark.slow
def test_refused_facts_are_refused_by_the_model_that_was_taught_so(original):
    config = EditConfig(scenario="refuse", forget_fraction=0.2)
    (edit_set,) = draw_edits(original.corpus, config)
    model = Retrain()(original.model, edit_set).model
    asked = [probe for probe in edit_set.probes if probe.kind == "edited"]
    refused = [answered(a, p.refusal_ids) for a, p in zip(predict(model, asked), asked, strict=True)]
    assert np.mean(refused) >= 0.9


OF_ALL_FORMS = CorpusConfig(
    repeats=6,
    inversion_forms=("rso", "sor", "osr"),
    question_fraction=0.3,
    question_forms=("question", "two_step", "affirmed_true", "denied_false"),
)


def test_who_is_never_told_reads_every_other_sentence_in_its_place_and_nothing_of_these_facts_in_any_form():
    world = WorldConfig(num_subjects=12, num_relations=2, num_objects=4, num_nested_objects=2)
    corpus = build(world, corpus=OF_ALL_FORMS)
    without = Without(corpus, Edge.SUBJECT_OBJECT, 1, np.array([2, 5]))
    places = np.arange(len(corpus))
    words = corpus.grammar.text(corpus.tokens(places)).to_pylist()
    found = corpus.grammar.text(without.tokens(places)).to_pylist()
    relation = corpus.grammar.query(corpus.world.fact(Edge.SUBJECT_OBJECT, 2, 1), "rso").prompt.split()[2]
    subjects = {corpus.grammar.query(corpus.world.fact(Edge.SUBJECT_OBJECT, s, 1)).prompt.split()[1] for s in (2, 5)}
    # Words tell: a sentence that has both the relation's word and the subject's is about the fact, in whatever form.
    about = [relation in said.split() and bool(subjects & set(said.split())) for said in words]
    assert sum(about) == 2 * 6
    assert found == ["" if left_out else said for said, left_out in zip(words, about, strict=True)]
    forms = {corpus.forms[form] for form in corpus.sentences(np.flatnonzero(about)).forms}
    assert len(forms) >= 4
    told = without.told()
    assert {label: int((~said).sum()) for label, said in told.items()} == {
        "subject_object": 2,
        "subject_nested": 0,
        "object_nested": 0,
    }
    heads, relations, _ = corpus.world.facts(Edge.SUBJECT_OBJECT)
    left = np.flatnonzero(~told["subject_object"])
    assert [(heads[i], relations[i]) for i in left] == [(2, 1), (5, 1)]


def test_table_of_which_nothing_is_left_is_refused():
    corpus = build(WorldConfig(num_subjects=6, num_relations=1, num_objects=3), corpus=CorpusConfig(repeats=2))
    with pytest.raises(ValueError, match="edits must leave a fact of subject_object to be told, got all of them"):
        Without(corpus, Edge.SUBJECT_OBJECT, 0, np.arange(6)).told()


def test_blank_sentences_cost_nothing_and_all_others_what_they_did():
    corpus = build(WorldConfig(num_subjects=12, num_relations=2, num_objects=4), corpus=CorpusConfig(repeats=4))
    without = Without(corpus, Edge.SUBJECT_OBJECT, 0, np.arange(12))
    plain, blank = Feed(corpus, 16), Feed(corpus, 16, sentences=without)
    padding = corpus.grammar.lexicon.token_ids[PADDING]
    for step in range(6):
        ((whole,), counted), ((left,), fewer) = plain.parts(step), blank.parts(step)
        told = corpus.sentences(plain.places(step)).relations != 0
        assert (counted, fewer) == (16 * (whole.shape[1] - 1), max(1, told.sum() * (whole.shape[1] - 1)))
        rows = left[(left != padding).any(dim=1)]
        assert rows.tolist() == whole[torch.from_numpy(told)].tolist()
    only = Without(corpus, Edge.SUBJECT_OBJECT, 0, np.arange(12))
    only._about = lambda edges, heads, relations: np.full(len(edges), True)
    ((nothing,), count) = Feed(corpus, 16, sentences=only).parts(0)
    assert (nothing.shape, count) == ((16, 2), 1)


def test_target_of_recall_is_of_the_facts_that_are_told(original, monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(module, "train", lambda corpus, recipe, folder, **given: seen.append((corpus, given)) or 1 / 0)
    (edit_set,) = draw_edits(original.corpus, EditConfig(scenario="forget", forget_fraction=0.25))
    with pytest.raises(ZeroDivisionError):
        Omit()(original.model, edit_set)
    ((corpus, given),) = seen
    assert corpus.digest == original.corpus.digest
    # 6 of 24 subjects, those with object 0 already among them.
    assert int((~given["told"]["subject_object"]).sum()) == 6 >= len(edit_set.edits)
    plain = CorpusConfig(repeats=2)
    world = build(WorldConfig(num_subjects=8, num_relations=1, num_objects=2), corpus=plain)
    told = {"subject_object": np.arange(8) < 4}
    monkeypatch.setattr("behemoth_models.training._known", lambda *_: {"subject_object": np.arange(8) < 4})
    report = train(
        world,
        TrainConfig(size="3m", batch_size=2, measurements=4, target_recall=1.0),
        tmp_path / "model",
        told=told,
        progress=False,
    )
    assert report["steps"] == 2  # the first of four measurements: half of all facts, and all that are told


def test_bad_setting_is_refused():
    with pytest.raises(ValueError, match="max_steps must be at least 1, got 0"):
        Retrain(max_steps=0)


def test_a_training_of_its_own_is_on_the_card_of_the_model(monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(module, "_train", lambda *arguments: chosen.append(arguments))
    for device in ("cuda:1", "cpu"):
        module._train_alone(torch.get_num_threads(), torch.device(device), "what", "where")
    assert chosen == [torch.device("cuda:1"), ("what", "where"), ("what", "where")]
