"""Facts about unlearn, noise, distil: the noise, the divergence, which sentences are read, and what it comes to."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from behemoth_data.edits import Background, EditConfig, draw_edits
from behemoth_editing import METHODS
from behemoth_editing.methods.noise import UNLEARNED_BY, Undo, add_noise, divergence
from behemoth_models.knowledge import greedy_answers, weights_digest


def test_divergence_is_that_of_the_tokens_before_each_rows_end():
    rng = np.random.Generator(np.random.Philox(0))
    said, logits = rng.normal(size=(2, 2, 4, 5))
    ends = [3, 1]
    terms = []
    for row, end in enumerate(ends):
        for place in range(end):
            p, q = (np.exp(part[row, place]) / np.exp(part[row, place]).sum() for part in (said, logits))
            terms.append((p * np.log(p / q)).sum())
    found = divergence(torch.from_numpy(said), torch.from_numpy(logits), torch.tensor(ends))
    assert float(found) == pytest.approx(np.mean(terms), rel=1e-12)
    assert float(divergence(torch.from_numpy(said), torch.from_numpy(said), torch.tensor(ends))) == 0.0


def test_noise_is_a_share_of_xaviers_and_what_is_no_matrix_only_shrinks():
    def fresh():
        layer = nn.Linear(300, 200).double()
        with torch.no_grad():
            layer.weight.fill_(2.0)
            layer.bias.fill_(4.0)
        return layer

    layer = fresh()
    add_noise(layer, 0.25, 0.4, seed=3)
    bound = 0.25 * 0.4 * np.sqrt(6 / 500)
    left = layer.weight.detach().numpy() - 0.75 * 2.0
    assert np.abs(left).max() < bound
    assert left.std() == pytest.approx(bound / np.sqrt(3), rel=0.01)  # of what is even between -b and b
    assert left.mean() == pytest.approx(0, abs=0.01 * bound)
    assert layer.bias.detach().tolist() == [3.0] * 200
    again, other, none = fresh(), fresh(), fresh()
    add_noise(again, 0.25, 0.4, seed=3)
    add_noise(other, 0.25, 0.4, seed=4)
    add_noise(none, 0.0, 0.4, seed=3)
    assert torch.equal(again.weight, layer.weight)
    assert not torch.equal(other.weight, layer.weight)
    assert torch.equal(none.weight, fresh().weight)


def test_sentences_are_all_but_those_of_asked_facts_or_all_or_those_of_the_mixture(checkpoint):
    (task,) = draw_edits(checkpoint.corpus, EditConfig(scenario="different", num_edits=3))
    every = {tuple(row) for block in task.background.blocks() for row in block.tolist()}
    asked = {tuple(row) for block in task.background.asked() for row in block.tolist()}
    mixture = {query.prompt_ids + query.answer_ids for facts in task.retain.values() for query in facts}
    assert 0 < len(asked) < len(every)
    for sentences, expected in (("unasked", every - asked), ("all", every), ("none", set())):
        found = Undo(sentences=sentences)._sentences(task)
        assert len(found) == len(set(found))
        assert set(found) == expected | mixture


def test_what_an_asked_sentence_says_is_not_read_unless_it_is_told(checkpoint):
    (task,) = draw_edits(checkpoint.corpus, EditConfig(scenario="single", num_edits=1))
    asked = {tuple(row) for block in task.background.asked() for row in block.tolist()}
    kept = [np.array([row for row in block.tolist() if tuple(row) not in asked]) for block in task.background.blocks()]
    without = Background("other", lambda: iter([block for block in kept if len(block)]), "", lambda: iter(()))
    method = Undo(max_steps=2)
    one, other = (
        weights_digest(method(checkpoint.model, dataclasses.replace(task, background=background)).model)
        for background in (task.background, without)
    )
    assert one == other


def test_student_says_what_the_teacher_says_and_not_what_it_has_forgotten(checkpoint):
    """With noise that ruins the model, a few dozen steps bring back what is taught and not what is not."""
    (task,) = draw_edits(checkpoint.corpus, EditConfig(scenario="forget", probes_per_edit=2))
    method = Undo(sentences="none", noise=0.5, max_steps=30, learning_rate=1e-2)
    found = method(checkpoint.model, task)
    assert found.details["first_loss"] > 1.0
    assert found.details["loss"] < 0.5 * found.details["first_loss"]
    old = greedy_answers(
        found.model, [q.prompt_ids for q in task.originals], [len(q.answer_ids) for q in task.originals]
    )
    assert np.mean([a == q.answer_ids for a, q in zip(old, task.originals, strict=True)]) < 0.1


def test_teacher_is_any_method_that_forgets_by_training():
    trained = {name for name, method in METHODS.items() if method.goal == "forget"}
    assert set(UNLEARNED_BY) == trained - {
        "gradient_ascent",
        "undo",
        "omit",
    }  # ascent alone leaves nothing to be taught
    for name in UNLEARNED_BY:
        made = Undo(unlearned_by=name, max_steps=7, fit_seed=3, teacher_layers=(1, 2))._teacher()
        assert made == METHODS[name](max_steps=7, fit_seed=3, layers=(1, 2))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"noise": 1.5}, "noise must be from 0 to 1, got 1.5"),
        ({"unlearned_by": "rome"}, "unlearned_by must be one of grad_diff, .*, got 'rome'"),
        ({"sentences": "some"}, "sentences must be one of unasked, all, none, got 'some'"),
        ({"noise_scale": -0.1}, "noise_scale must be at least 0, got -0.1"),
        ({"rows": 0}, "rows must be at least 1, got 0"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Undo(**settings)
