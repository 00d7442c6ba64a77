"""Facts about unlearning by another distribution: the losses' values and gradients, and where they come to rest."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from behemoth_data.edits import EditConfig, draw_edits
from behemoth_editing.copies import copy_of
from behemoth_editing.methods.mixture import IGNORED, Batch
from behemoth_editing.methods.redirect import Adjust, Exclude, Undial

# Rows of one and of two answer tokens over three words, the first row being the second query and the other way round.
TARGETS = torch.tensor([[IGNORED, 2, IGNORED], [1, 0, IGNORED]])
LOGITS = np.array(
    [[[9.0, 9, 9], [0.5, -1, 2], [9, 9, 9]], [[1.0, 3, 0], [-0.5, 0.25, 1], [9, 9, 9]]],
)
GIVEN = np.array([[[2.0, 1, 0], [0.0, 1, -1]], [[1.0, 0, 4], [7, 7, 7]]])  # [queries, W, V], the last one padding


def made_up():
    return Batch([1, 0], torch.zeros(2, 3, dtype=torch.long), TARGETS, torch.from_numpy(LOGITS), torch.zeros(2, 0, 0))


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum()


def cross(wanted, logits):
    return -float(wanted @ np.log(softmax(logits)))


def test_undial_takes_beta_off_the_given_models_logit_of_each_answer_token():
    loss = Adjust((), 0.0, 3.0, torch.from_numpy(GIVEN)).loss(made_up())
    first = cross(softmax(np.array([1.0, 0, 4 - 3])), LOGITS[0, 1])
    second = cross(softmax(np.array([2.0, 1 - 3, 0])), LOGITS[1, 0])
    third = cross(softmax(np.array([0.0 - 3, 1, -1])), LOGITS[1, 1])
    np.testing.assert_allclose(loss, [first, (second + third) / 2], rtol=1e-12)


def test_undial_rests_where_the_model_says_the_adjusted_distribution():
    batch = made_up()
    logits = batch.logits.clone()
    logits[0, 1] = torch.tensor([1.0, 0, 1]) + 5  # the given model's, adjusted, up to a constant
    logits.requires_grad_(True)
    Adjust((), 0.0, 3.0, torch.from_numpy(GIVEN)).loss(dataclasses.replace(batch, logits=logits)).sum().backward()
    np.testing.assert_allclose(logits.grad[0], np.zeros((3, 3)), atol=1e-12)
    assert logits.grad[1].abs().sum() > 0.1


def test_ceu_wants_what_the_model_says_without_the_token():
    loss = Exclude((), 0.0).loss(made_up())
    first = cross(np.append(softmax(LOGITS[0, 1][:2]), 0), LOGITS[0, 1])
    second = cross(np.array([1.0, 0, math.exp(-1)]) / (1 + math.exp(-1)), LOGITS[1, 0])
    third = cross(np.append(0, softmax(LOGITS[1, 1][1:])), LOGITS[1, 1])
    np.testing.assert_allclose(loss, [first, (second + third) / 2], rtol=1e-12)


def test_ceus_gradient_by_the_tokens_own_logit_is_its_probability():
    batch = made_up()
    batch.logits.requires_grad_(True)
    Exclude((), 0.0).loss(batch).sum().backward()
    p = softmax(LOGITS[0, 1])
    # The others' is p_i - p_i / (1 - p): all of what the token loses goes to them in proportion.
    np.testing.assert_allclose(batch.logits.grad[0, 1], [*(p[:2] - p[:2] / (1 - p[2])), p[2]], rtol=1e-9)
    assert not batch.logits.grad[0, 0].any()
    assert not batch.logits.grad[:, 2].any()


@pytest.fixture(scope="module")
def edit_set(checkpoint):
    return draw_edits(checkpoint.corpus, EditConfig(scenario="different", num_edits=3))[0]


def test_undials_given_model_is_the_one_before_any_step(checkpoint, edit_set):
    model = copy_of(checkpoint.model)
    objective = Undial(beta=4.0, precision="fp32")._objective(model, edit_set)
    for number, query in enumerate(edit_set.originals):
        with torch.no_grad():
            asked = model(torch.tensor([query.prompt_ids + query.answer_ids[:-1]])).logits[0]
        for place, _ in enumerate(query.answer_ids):
            said = asked[len(query.prompt_ids) - 1 + place]
            torch.testing.assert_close(objective.given[number, place], said, rtol=1e-4, atol=1e-4)


def test_undial_brings_the_model_to_the_adjusted_distribution(checkpoint, edit_set):
    """Trained on the edited facts alone and long enough, p(old) is what the given logits less beta make it."""
    query = edit_set.originals[0]
    task = dataclasses.replace(edit_set, originals=(query,), requests=edit_set.requests[:1])
    method = Undial(beta=5.0, retain="none", max_steps=120, patience=120, learning_rate=3e-3)
    edited = method(checkpoint.model, task).model
    with torch.no_grad():
        before, after = (model(torch.tensor([query.prompt_ids])).logits[0, -1] for model in (checkpoint.model, edited))
    before[query.answer_ids[0]] -= 5.0
    torch.testing.assert_close(after.softmax(0), before.softmax(0), rtol=0.0, atol=0.02)


def test_beta_must_be_positive():
    with pytest.raises(ValueError, match="beta must be above 0, got 0"):
        Undial(beta=0)
