"""Facts about fine-tuning: which weights move, and how far a rank limit lets them."""

import dataclasses

import numpy as np
import pytest
import torch

import behemoth_editing.methods.finetune as module
from behemoth_data.edits import EditConfig, draw_edits
from behemoth_editing.methods.contract import Shared
from behemoth_editing.methods.finetune import FineTune, FineTuneConstrained, best_of_rank, limit_rank
from behemoth_editing.methods.mixture import fit
from behemoth_models.knowledge import weights_digest

MLP = ("mlp.dense_h_to_4h.weight", "mlp.dense_4h_to_h.weight")
ATTENTION = ("attention.query_key_value.weight", "attention.dense.weight")


@pytest.fixture(scope="module")
def edit_set(checkpoint):
    return draw_edits(checkpoint.corpus, EditConfig(scenario="different", num_edits=2))[0]


def tuned(checkpoint, edit_set, **settings):
    return FineTune(**{"max_steps": 2, **settings})(checkpoint.model, edit_set).model


def changes(checkpoint, edited):
    """name -> change, for the weights that are no longer bit-equal."""
    pairs = ((name, weight, checkpoint.model.get_parameter(name)) for name, weight in edited.named_parameters())
    return {name: (new - old).detach().double().numpy() for name, new, old in pairs if not torch.equal(new, old)}


@pytest.mark.parametrize(
    ("layers", "modules", "numbers", "parts"),
    [
        ((1,), "mlp", [1], MLP),
        ((0, 5), "attention", [0, 5], ATTENTION),
        ((2,), "both", [2], MLP + ATTENTION),
        (None, "mlp", range(6), MLP),
    ],
)
def test_only_the_chosen_matrices_change(checkpoint, edit_set, layers, modules, numbers, parts):
    changed = changes(checkpoint, tuned(checkpoint, edit_set, layers=layers, modules=modules))
    assert set(changed) == {f"gpt_neox.layers.{number}.{part}" for number in numbers for part in parts}


def test_all_of_a_layer_is_every_weight_of_it_and_nothing_else(checkpoint, edit_set):
    changed = set(changes(checkpoint, tuned(checkpoint, edit_set, layers=(4,), modules="all")))
    names = {name for name, _ in checkpoint.model.named_parameters() if ".layers.4." in name}
    assert changed == names
    assert "gpt_neox.layers.4.input_layernorm.bias" in names


def test_all_of_all_layers_includes_both_embeddings_and_the_last_norm(checkpoint, edit_set):
    changed = set(changes(checkpoint, tuned(checkpoint, edit_set, layers=None, modules="all")))
    assert changed == {name for name, _ in checkpoint.model.named_parameters()}
    assert {"gpt_neox.embed_in.weight", "lm_head.weight", "gpt_neox.final_layer_norm.weight"} <= changed


@pytest.mark.parametrize("rank", [1, 3])
def test_limited_change_is_the_best_approximation_of_the_free_one(checkpoint, edit_set, rank):
    free = changes(checkpoint, tuned(checkpoint, edit_set, max_steps=3, modules="both", layers=(2,)))
    limited = changes(checkpoint, tuned(checkpoint, edit_set, max_steps=3, modules="both", layers=(2,), rank=rank))
    assert free.keys() == limited.keys()
    for name, change in limited.items():
        left, values, right = np.linalg.svd(free[name], full_matrices=False)
        best = sum(values[i] * np.outer(left[:, i], right[i]) for i in range(rank))
        assert values[rank] > 1e-3, "the free change must have a higher rank for the limit to matter"
        # Weights of about 0.1 are rounded to float32 after the change.
        np.testing.assert_allclose(change, best, atol=6e-8)
        assert np.linalg.svd(change, compute_uv=False)[rank] < 1e-5


def test_trained_rank_is_cut_after_every_step_and_never_exceeded(checkpoint, edit_set, monkeypatch):
    ranks = []

    def watched(parameters, before, rank):
        limit_rank(parameters, before, rank)
        (change, *_) = [(new - old).detach().double() for new, old in zip(parameters, before, strict=True)]
        ranks.append(int((torch.linalg.svdvals(change) > 1e-5).sum()))

    monkeypatch.setattr(module, "limit_rank", watched)
    found = {
        (mode, steps): weights_digest(tuned(checkpoint, edit_set, max_steps=steps, layers=(2,), rank=2, rank_mode=mode))
        for mode in ("trained", "truncated")
        for steps in (1, 3)
    }
    assert found["trained", 1] == found["truncated", 1]
    assert found["trained", 3] != found["truncated", 3]
    assert ranks == [2] * (1 + 3 + 1 + 1)  # after each step; at the end alone


@pytest.fixture
def fits(monkeypatch):
    """The settings of every training that is run."""
    run = []
    monkeypatch.setattr(module, "fit", lambda *parts: run.append(parts[3]) or fit(*parts))
    return run


def test_ranks_of_one_edit_share_one_training_and_change_nothing_by_it(checkpoint, edit_set, fits):
    methods = [FineTune(max_steps=2, modules="both", rank=rank) for rank in (1, None, 3)]
    alone = [method(checkpoint.model, edit_set) for method in methods]
    shared, together = Shared(), []
    fits.clear()
    for method in methods:
        together.append(method(checkpoint.model, edit_set, shared))
    assert fits == methods[:1]
    assert [weights_digest(edited.model) for edited in together] == [weights_digest(edited.model) for edited in alone]
    assert len({weights_digest(edited.model) for edited in alone}) == 3
    # Each is to cost as much as if it had been alone: what it was spared is taken off what is shared.
    assert shared.seconds == pytest.approx(-2 * together[0].details["seconds"])


@pytest.mark.parametrize(
    "other",
    [
        lambda model, edits, method: (model, dataclasses.replace(edits), method),
        lambda model, edits, method: (model, edits, dataclasses.replace(method, max_steps=1)),
        lambda model, edits, method: (
            model,
            edits,
            FineTuneConstrained(max_steps=2, layers=method.layers, modules="mlp", rank=2),
        ),
        lambda model, edits, method: (method(model, edits).model, edits, method),
    ],
    ids=["edits", "settings", "method", "weights"],
)
def test_training_is_shared_by_nothing_else(checkpoint, edit_set, fits, other):
    method, shared = FineTune(max_steps=2, rank=2), Shared()
    method(checkpoint.model, edit_set, shared)
    model, edits, changed = other(checkpoint.model, edit_set, method)
    fits.clear()
    changed(model, edits, shared)
    assert len(fits) == 1


@pytest.mark.parametrize("rank", [1, 4, 9])
def test_best_of_rank_is_numpys(rank):
    matrix = np.random.Generator(np.random.Philox(0)).normal(size=(6, 9))
    left, values, right = np.linalg.svd(matrix)
    values[rank:] = 0
    best = best_of_rank(torch.from_numpy(matrix), rank).numpy()
    np.testing.assert_allclose(best, left @ np.diag(values) @ right[:6], atol=1e-12)


def test_rank_above_both_sides_is_no_limit(checkpoint, edit_set):
    free, limited = (tuned(checkpoint, edit_set, rank=rank) for rank in (None, 1000))
    for name, change in changes(checkpoint, limited).items():
        np.testing.assert_allclose(change, changes(checkpoint, free)[name], atol=6e-8)


def test_rank_with_all_weights_is_refused():
    with pytest.raises(ValueError, match="modules must be mlp, attention or both when rank is set, got 'all'"):
        FineTune(modules="all", rank=2)


def test_without_retain_the_mixture_does_not_matter(checkpoint, edit_set):
    alone = dataclasses.replace(edit_set, retain=dict.fromkeys(edit_set.retain, ()))
    first, second = (tuned(checkpoint, edits, retain="none") for edits in (edit_set, alone))
    assert weights_digest(first) == weights_digest(second)
    assert weights_digest(tuned(checkpoint, edit_set)) != weights_digest(first)


def test_edits_made_together_all_take(checkpoint, edit_set):
    edited = FineTune(layers=(2, 3), max_steps=60)(checkpoint.model, edit_set).model
    for request in edit_set.requests:
        said = edited.generate(torch.tensor([request.prompt_ids]), do_sample=False, max_new_tokens=1)
        assert (int(said[0, -1]),) == request.answer_ids


def test_no_weight_leaves_the_ball_and_some_reach_its_surface(checkpoint, edit_set):
    free = changes(checkpoint, tuned(checkpoint, edit_set, max_steps=6, modules="both", layers=(2, 3)))
    method = FineTuneConstrained(max_change=1.5e-3, max_steps=6, modules="both", layers=(2, 3))
    limited = changes(checkpoint, method(checkpoint.model, edit_set).model)
    assert free.keys() == limited.keys()
    for name, change in limited.items():
        largest = np.abs(change).max()
        # Weights of at most 1 are rounded to float32 after they are clamped.
        assert largest <= 1.5e-3 + 6e-8, name
        assert largest >= 1.5e-3 - 6e-8, name
        assert np.abs(free[name]).max() > 2e-3, "without the limit a weight must leave the ball for this to matter"


def test_clamping_comes_after_every_step_and_not_once_at_the_end(checkpoint, edit_set):
    method = FineTuneConstrained(max_change=1e-3, max_steps=4, layers=(3,))
    limited = changes(checkpoint, method(checkpoint.model, edit_set).model)
    free = changes(checkpoint, tuned(checkpoint, edit_set, max_steps=4))
    for name, change in limited.items():
        assert not np.allclose(change, np.clip(free[name], -1e-3, 1e-3), atol=1e-5), name


def test_ball_that_no_weight_reaches_is_no_limit(checkpoint, edit_set):
    wide = FineTuneConstrained(max_change=1.0, max_steps=2, layers=(3,))(checkpoint.model, edit_set).model
    assert weights_digest(wide) == weights_digest(tuned(checkpoint, edit_set))
