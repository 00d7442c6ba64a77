"""Facts about UltraEdit: keys and gradients, the one step as it is published, and what it changes."""

import dataclasses

import numpy as np
import pytest
import torch

from behemoth_data.edits import EditConfig, draw_edits
from behemoth_editing.architecture import mlp_output
from behemoth_editing.copies import copy_of
from behemoth_editing.methods.contract import Shared
from behemoth_editing.methods.memit import pseudo_edits
from behemoth_editing.methods.ultraedit import UltraEdit, features, one_step

MATRIX = "gpt_neox.layers.{}.mlp.dense_4h_to_h.weight"


@pytest.fixture(scope="module")
def task(checkpoint):
    return draw_edits(checkpoint.corpus, EditConfig(scenario="different", num_edits=3))[0]


def test_step_is_the_published_one_over_directions():
    random = np.random.Generator(np.random.Philox(5))
    keys, gradients = random.normal(size=(4, 6)), random.normal(size=(4, 3))
    mean, deviation = random.normal(size=9), random.uniform(0.5, 2.0, size=9)
    rows = (np.hstack([keys, gradients]) - mean) / deviation
    values = np.array([-0.3 * (row[:6] ** 2).sum() * row[6:] for row in rows])
    expected = np.linalg.solve(keys.T @ keys + 2.0 * np.eye(6), keys.T @ values).T  # [D, H], transposed to [H, D]
    found = one_step(*map(torch.from_numpy, (keys, gradients, mean, deviation)), rate=0.3, ridge=2.0)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_small_ridge_maps_the_keys_to_the_values_and_a_large_one_shrinks_them():
    random = np.random.Generator(np.random.Philox(6))
    keys, gradients = (torch.from_numpy(random.normal(size=shape)) for shape in ((4, 6), (4, 3)))
    zero, one = torch.zeros(9, dtype=torch.float64), torch.ones(9, dtype=torch.float64)
    values = -0.1 * keys.square().sum(1, keepdim=True) * gradients
    exact = one_step(keys, gradients, zero, one, 0.1, 1e-12)
    torch.testing.assert_close(keys @ exact.T, values, rtol=1e-5, atol=1e-8)
    assert one_step(keys, gradients, zero, one, 0.1, 1e3).norm() < 0.05 * exact.norm()


def test_gradients_are_those_of_the_loss_by_what_the_matrix_puts_out(checkpoint, task):
    model = copy_of(checkpoint.model).double()
    matrices = [mlp_output(model, layer) for layer in (1, 4)]
    found, loss = features(model, matrices, task.requests)

    def loss_of(changed=None, row=0, step=0.0, entry=0):
        terms = []
        for number, query in enumerate(task.requests):
            ids, end = torch.tensor([query.prompt_ids + query.answer_ids[:-1]]), len(query.prompt_ids) - 1

            def nudge(_module, _inputs, output, number=number, place=end):
                if number == row:
                    output = output.clone()
                    output[0, place, entry] += step
                return output

            handle = changed.register_forward_hook(nudge) if changed is not None else None
            with torch.no_grad():
                said = model(ids).logits[0, len(query.prompt_ids) - 1 :].log_softmax(-1)
            if handle is not None:
                handle.remove()
            terms += [-float(said[place, token]) for place, token in enumerate(query.answer_ids)]
        return terms

    assert loss == pytest.approx(np.mean(loss_of()), rel=1e-6)
    first = 0  # of the rows: those of the first answers' first tokens, answers being of one token here
    assert all(len(query.answer_ids) == 1 for query in task.requests)
    for matrix, (keys, gradients) in zip(matrices, found, strict=True):
        assert keys.shape == (3, 384)
        assert gradients.shape == (3, 96)
        for row, entry in ((first, 0), (2, 50)):
            difference = (sum(loss_of(matrix, row, 1e-2, entry)) - sum(loss_of(matrix, row, -1e-2, entry))) / 2e-2
            assert float(gradients[row, entry]) == pytest.approx(
                difference, rel=2e-3, abs=1e-5
            )  # attention is in float32
        taken = []
        handle = matrix.register_forward_pre_hook(lambda _, inputs, taken=taken: taken.append(inputs[0]))
        query = task.requests[2]
        with torch.no_grad():
            model(torch.tensor([query.prompt_ids]))
        handle.remove()
        torch.testing.assert_close(keys[2], taken[0][0, -1], rtol=1e-5, atol=1e-7)


def test_every_layer_is_changed_by_what_the_model_said_before_and_nothing_else_is(checkpoint, task):
    method = UltraEdit(layers=(2, 4), step=0.5)
    edited = method(checkpoint.model, task).model
    names = {n for n, p in edited.named_parameters() if not torch.equal(p, checkpoint.model.get_parameter(n))}
    assert names == {MATRIX.format(layer) for layer in (2, 4)}
    model = copy_of(checkpoint.model)
    matrices = [mlp_output(model, layer) for layer in (2, 4)]
    (asked, _), (others, _) = (features(model, matrices, qs) for qs in (task.requests, pseudo_edits(task, 64)))
    rows = np.concatenate([np.concatenate([k, g], axis=1) for k, g in asked + others])
    for number, layer in enumerate((2, 4)):
        keys, gradients = (part.numpy() for part in asked[number])
        z = (np.concatenate([keys, gradients], axis=1) - rows.mean(0)) / rows.std(0, ddof=1)
        weight = checkpoint.model.get_parameter(MATRIX.format(layer)).detach().double().numpy()
        every = np.concatenate([asked[number][0], others[number][0]])
        rate = 0.5 * np.linalg.norm(every @ weight.T, axis=1).mean() / (384 * np.sqrt(96))
        values = -rate * (z[:, :384] ** 2).sum(1, keepdims=True) * z[:, 384:]
        change = np.linalg.solve(keys.T @ keys + np.eye(384), keys.T @ values).T
        found = edited.get_parameter(MATRIX.format(layer)) - checkpoint.model.get_parameter(MATRIX.format(layer))
        np.testing.assert_allclose(found.detach(), change, rtol=1e-3, atol=1e-5 * np.abs(change).max() + 1e-7)


def test_in_a_sequence_the_size_of_the_step_may_be_that_of_the_model_before_it(checkpoint, task):
    """A layer that came to put out three times as much is changed three times as much, or as before."""
    grown = copy_of(checkpoint.model)
    with torch.no_grad():
        grown.get_parameter(MATRIX.format(2)).mul_(3.0)

    def change(scale_of, original):
        edited = UltraEdit(layers=(2,), step=0.01, scale_of=scale_of)(grown, task, Shared(original=original)).model
        return (edited.get_parameter(MATRIX.format(2)) - grown.get_parameter(MATRIX.format(2))).detach().double()

    given = change("given", checkpoint.model)
    torch.testing.assert_close(change("original", checkpoint.model), given / 3, rtol=1e-3, atol=1e-7)
    torch.testing.assert_close(change("original", None), given)
    with pytest.raises(ValueError, match="scale_of must be one of given, original, got 'mine'"):
        UltraEdit(scale_of="mine")


def test_step_lowers_the_loss(checkpoint, task):
    details = UltraEdit(step=0.1)(checkpoint.model, task).details
    assert details["loss"] < details["loss_before"]
    assert len(details["change"]) == 3  # layers


def test_pool_has_facts_to_retain_each_with_an_answer_of_another_of_its_kind(checkpoint, task):
    found = pseudo_edits(task, 20)
    assert len(found) == 20
    assert len({query.prompt_ids for query in found}) == 20
    kinds = {query.prompt_ids: kind for kind, facts in task.retain.items() for query in facts}
    own = {query.prompt_ids: query.answer_ids for facts in task.retain.values() for query in facts}
    requested = {request.answer_ids for request in task.requests}
    for query in found:
        assert query.answer_ids != own[query.prompt_ids]
        of_kind = {fact.answer_ids for fact in task.retain[kinds[query.prompt_ids]]}
        assert query.answer_ids in (of_kind if len(of_kind) > 1 else requested)
    assert {kinds[query.prompt_ids] for query in found} == {kind for kind, facts in task.retain.items() if facts}


def test_task_without_facts_to_retain_is_refused(checkpoint, task):
    with pytest.raises(ValueError, match="task must have facts to retain that can be given other answers, got none"):
        UltraEdit()(checkpoint.model, dataclasses.replace(task, retain={}))


def test_pool_must_have_some():
    with pytest.raises(ValueError, match="pool must be at least 1, got 0"):
        UltraEdit(pool=0)
