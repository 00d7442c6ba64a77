"""Facts about answers to probes: they are what transformers generates from the probes' text."""

import torch
from transformers import AutoTokenizer

from behemoth_data.edits import EditConfig, draw_edits
from behemoth_editing import FineTune
from behemoth_editing.predict import predict


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
