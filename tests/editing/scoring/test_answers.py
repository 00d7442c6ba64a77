"""Facts about answers to probes: they are what transformers generates from the probes' text.

Log-probabilities are worked out again by calling the model on one whole sentence at a time.
"""

import copy

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, GenerationConfig

from behemoth_data import LexiconConfig, WorldConfig, build
from behemoth_data.edits import EditConfig, draw_edits
from behemoth_data.world import Edge
from behemoth_editing import FineTune
from behemoth_editing.scoring.answers import answer_log_probabilities, next_log_probabilities, predict
from behemoth_editing.scoring.outcomes import answered
from behemoth_models.sizes import pythia


@pytest.fixture(scope="module")
def two_words():
    """A world whose objects have two tokens and whose nested objects have one, and an untrained model of it."""
    world = WorldConfig(num_subjects=9, num_relations=2, num_objects=6, num_nested_objects=2)
    corpus = build(world, LexiconConfig(one_token_limit=4))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = pythia("14m", len(corpus.grammar.lexicon.vocabulary))
    return corpus, model.train(False)


def log_probability(model, prompt, answer):
    """Of one answer after one prompt, token by token in numpy."""
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *answer]])).logits[0].double().numpy()
    total = 0.0
    for place, token in enumerate(answer, start=len(prompt) - 1):
        total += logits[place, token] - np.log(np.exp(logits[place]).sum())
    return total


def test_answers_are_what_generate_gives_to_the_text_of_each_probe(trained, checkpoint):
    (edit_set,) = draw_edits(checkpoint.corpus, EditConfig(scenario="different", num_edits=2, probes_per_edit=4))
    tokenizer = AutoTokenizer.from_pretrained(trained)
    edited = FineTune(max_steps=8, learning_rate=5e-3, retain="none")(checkpoint.model, edit_set).model
    answers = predict(edited, edit_set.probes)
    assert len(answers) == len(edit_set.probes)
    assert len({probe.form for probe in edit_set.probes}) == 2
    texts = []
    for probe in edit_set.probes:
        inputs = tokenizer(probe.prompt, return_tensors="pt")
        said = edited.generate(**inputs, do_sample=False, max_new_tokens=len(probe.before.answer_ids))
        texts.append(tokenizer.decode(said[0, inputs["input_ids"].shape[1] :]))
    assert [tokenizer.decode(list(answer)) for answer in answers] == texts
    right = [text == probe.before.answer for text, probe in zip(texts, edit_set.probes, strict=True)]
    assert 0 < sum(right) < len(right)


def test_every_probe_gets_as_many_tokens_as_its_answer_has(checkpoint):
    (edit_set,) = draw_edits(checkpoint.corpus, EditConfig(scenario="identical", num_edits=2, probes_per_edit=2))
    answers = predict(checkpoint.model, edit_set.probes)
    assert [len(answer) for answer in answers] == [len(probe.after.answer_ids) for probe in edit_set.probes]


def test_unedited_model_answers_what_was_true_before(checkpoint):
    (edit_set,) = draw_edits(checkpoint.corpus, EditConfig(scenario="different", num_edits=5))
    answers = predict(checkpoint.model, edit_set.probes)
    right = [a == probe.before.answer_ids for a, probe in zip(answers, edit_set.probes, strict=True)]
    assert sum(right) >= 0.9 * len(right)


def test_gradients_and_mode_are_as_before(checkpoint):
    (edit_set,) = draw_edits(checkpoint.corpus, EditConfig(num_edits=1, probes_per_edit=1))
    predict(checkpoint.model, edit_set.probes)
    assert torch.is_grad_enabled()
    assert not checkpoint.model.training
    assert predict(checkpoint.model, []) == []


# two words


@pytest.mark.parametrize("scenario", ["different", "forget", "refuse"])
def test_answers_of_two_tokens_are_what_generate_gives(two_words, scenario):
    corpus, model = two_words
    (edit_set,) = draw_edits(corpus, EditConfig(scenario=scenario, num_edits=2, forget_fraction=0.5))
    answers = predict(model, edit_set.probes)
    plain = copy.deepcopy(model)
    plain.generation_config = GenerationConfig(do_sample=False, eos_token_id=None, pad_token_id=1)
    for probe, answer in zip(edit_set.probes, answers, strict=True):
        ids = torch.tensor([probe.before.prompt_ids])
        said = plain.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=2)[0, ids.shape[1] :].tolist()
        assert answer == tuple(said[: len(answer)])
        expected = [probe.before.answer_ids, probe.after.answer_ids, probe.refusal_ids]
        assert len(answer) == max(map(len, expected))
    assert {len(answer) for answer in answers} == {1, 2}


def test_change_probes_of_forgetting_get_room_for_a_refusal(checkpoint):
    (edit_set,) = draw_edits(checkpoint.corpus, EditConfig(scenario="forget", forget_fraction=0.1))
    answers = predict(checkpoint.model, edit_set.probes)
    lengths = {probe.kind: len(answer) for probe, answer in zip(edit_set.probes, answers, strict=True)}
    assert (lengths["edited"], lengths["same_subject"], lengths["unrelated"]) == (2, 1, 1)
    edited = [pair for pair in zip(edit_set.probes, answers, strict=True) if pair[0].kind == "edited"]
    right = [answered(answer, probe.before.answer_ids) for probe, answer in edited]
    assert sum(right) >= 0.8 * len(right)
    assert not any(answered(answer, probe.refusal_ids) for probe, answer in edited)
    assert not any(answer == probe.before.answer_ids for probe, answer in edited)  # the full stop follows the object


@pytest.mark.parametrize(
    ("answer", "expected", "right"),
    [
        ((5, 6), (5, 6), True),
        ((5, 6), (5,), True),
        ([5, 6], (5, 6), True),
        ((5, 7), (5, 6), False),  # one word of two
        ((7, 6), (5, 6), False),
        ((5,), (5, 6), False),  # one word is not the whole answer
        ((), (5,), False),
    ],
)
def test_answer_is_right_when_it_begins_with_all_words_expected(answer, expected, right):
    assert answered(answer, expected) is right


def test_no_answer_can_be_expected_to_be_nothing():
    with pytest.raises(ValueError, match="expected must hold at least 1 token, got 0"):
        answered((5,), ())


# log-probabilities


@pytest.mark.parametrize(
    ("edge", "width", "num_tails"),
    [(Edge.SUBJECT_OBJECT, 2, 6), (Edge.SUBJECT_NESTED, 1, 2), (Edge.OBJECT_NESTED, 1, 2)],
)
def test_log_probabilities_are_those_of_whole_answers_one_by_one(two_words, edge, width, num_tails):
    corpus, model = two_words
    relation = 1
    facts = [corpus.world.fact(edge, head, relation) for head in range(3)]
    # Of two lengths, in turn.
    prompts = [corpus.grammar.query(fact, form).prompt_ids for fact in facts for form in ("statement", "rso")]
    prompts = [prompt[i % 2 :] for i, prompt in enumerate(prompts)]
    candidates = corpus.grammar.answers(edge, relation, range(num_tails))
    assert candidates.shape == (num_tails, width)
    found = answer_log_probabilities(model, prompts, candidates, batch_size=4)
    assert found.dtype == np.float64
    expected = [[log_probability(model, prompt, answer) for answer in candidates.tolist()] for prompt in prompts]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_first_words_that_candidates_share_are_asked_once(two_words, monkeypatch):
    corpus, model = two_words
    candidates = corpus.grammar.answers(Edge.SUBJECT_OBJECT, 0, range(6))
    assert len({first for first, _ in candidates.tolist()}) == 2  # six objects, four second words
    prompts = [corpus.grammar.query(corpus.world.fact(Edge.SUBJECT_OBJECT, head, 0)).prompt_ids for head in range(5)]
    rows = []
    handle = model.register_forward_pre_hook(
        lambda _module, _args, kw: rows.append(len(kw["input_ids"])), with_kwargs=True
    )
    try:
        answer_log_probabilities(model, prompts, candidates)
    finally:
        handle.remove()
    assert rows == [5, 5 * 2]


def test_answers_of_two_words_share_out_all_of_what_their_first_words_have(two_words):
    corpus, model = two_words
    prompt = corpus.grammar.query(corpus.world.fact(Edge.SUBJECT_OBJECT, 0, 0)).prompt_ids
    vocabulary = len(corpus.grammar.lexicon.vocabulary)
    first = int(corpus.grammar.answers(Edge.SUBJECT_OBJECT, 0, [0])[0, 0])
    every = [[first, second] for second in range(model.config.vocab_size)]
    assert model.config.vocab_size >= vocabulary
    (total,) = np.exp(answer_log_probabilities(model, [prompt], every)).sum(axis=1)
    assert total == pytest.approx(np.exp(next_log_probabilities(model, [prompt])[0, first]))


def test_log_probabilities_of_the_next_token_are_the_models(two_words):
    _, model = two_words
    prompts = [(5, 6, 7), (8, 9), (10, 11, 12), (13,)]
    found = next_log_probabilities(model, prompts, batch_size=1)
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1.0, rtol=1e-12)
    for prompt, row in zip(prompts, found, strict=True):
        expected = [log_probability(model, prompt, [token]) for token in range(len(row))]
        np.testing.assert_allclose(row, expected, rtol=0, atol=1e-5)
    assert found.shape == (4, model.config.vocab_size)


def test_most_likely_candidate_of_the_trained_model_is_what_it_answers(checkpoint):
    (edit_set,) = draw_edits(checkpoint.corpus, EditConfig(scenario="different", num_edits=5, probes_per_edit=5))
    probes = [probe for probe in edit_set.probes if probe.kind == "same_relation"]
    candidates = checkpoint.corpus.grammar.answers(Edge.SUBJECT_OBJECT, 0, range(20))
    prompts = [probe.before.prompt_ids for probe in probes]
    best = answer_log_probabilities(checkpoint.model, prompts, candidates).argmax(axis=1)
    assert [tuple(candidates[place]) for place in best] == predict(checkpoint.model, probes)


def test_no_prompts_and_no_candidates_are_refused(two_words):
    _, model = two_words
    assert answer_log_probabilities(model, [], [[1, 2]]).shape == (0, 1)
    with pytest.raises(ValueError, match="prompts must hold at least 1 prompt, got 0"):
        next_log_probabilities(model, [])
    for candidates, shape in ([], r"\(0,\)"), ([[]], r"\(1, 0\)"), ([1, 2], r"\(2,\)"):
        with pytest.raises(ValueError, match=f"candidates must be a table .* got shape {shape}"):
            answer_log_probabilities(model, [(5,)], candidates)


# models that are not ready to answer


def test_model_in_training_mode_answers_without_dropout_and_stays_in_it(checkpoint):
    (edit_set,) = draw_edits(checkpoint.corpus, EditConfig(num_edits=1, probes_per_edit=2))
    model = copy.deepcopy(checkpoint.model).train(True)
    for part in model.modules():
        part.p = 0.5  # of what has it
    model.gpt_neox.layers[1].train(False)
    modes = [part.training for part in model.modules()]
    prompts = [probe.before.prompt_ids for probe in edit_set.probes]
    candidates = checkpoint.corpus.grammar.answers(Edge.SUBJECT_OBJECT, 0, range(5))
    for ask in (
        lambda model: next_log_probabilities(model, prompts),
        lambda model: answer_log_probabilities(model, prompts, candidates),
        lambda model: np.array(predict(model, edit_set.probes)),
    ):
        np.testing.assert_array_equal(ask(model), ask(checkpoint.model))
    assert [part.training for part in model.modules()] == modes


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_narrow_weights_answer_in_float32(checkpoint, kind):
    (edit_set,) = draw_edits(checkpoint.corpus, EditConfig(num_edits=1, probes_per_edit=2))
    narrow = copy.deepcopy(checkpoint.model).to(kind)
    wide = copy.deepcopy(narrow).float().requires_grad_(False)  # gradients decide which kernels run, and how they round
    prompts = [probe.before.prompt_ids for probe in edit_set.probes]
    candidates = checkpoint.corpus.grammar.answers(Edge.SUBJECT_OBJECT, 0, range(5))
    found = next_log_probabilities(narrow, prompts)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, next_log_probabilities(wide, prompts))
    expected = [log_probability(wide, prompt, [token]) for prompt, token in zip(prompts, found.argmax(1), strict=True)]
    np.testing.assert_allclose(found.max(1), expected, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(
        answer_log_probabilities(narrow, prompts, candidates), answer_log_probabilities(wide, prompts, candidates)
    )
    assert predict(narrow, edit_set.probes) == predict(wide, edit_set.probes)
    assert {weight.dtype for weight in narrow.parameters()} == {kind}
