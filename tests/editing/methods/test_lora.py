"""Facts about low-rank adaptation: where it lands, its rank, and that nothing of peft is left."""

import numpy as np
import pytest
import torch

import behemoth_editing.methods.lora as module
from behemoth_data.edits import EditConfig, draw_edits
from behemoth_editing.methods.lora import Lora
from behemoth_editing.methods.mixture import fit

MLP = ("mlp.dense_h_to_4h.weight", "mlp.dense_4h_to_h.weight")
ATTENTION = ("attention.query_key_value.weight", "attention.dense.weight")


@pytest.fixture(scope="module")
def edit_set(checkpoint):
    return draw_edits(checkpoint.corpus, EditConfig(scenario="different", num_edits=2))[0]


def adapted(checkpoint, edit_set, **settings):
    return Lora(**{"max_steps": 3, **settings})(checkpoint.model, edit_set)


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
def test_only_the_targets_change(checkpoint, edit_set, layers, modules, numbers, parts):
    changed = changes(checkpoint, adapted(checkpoint, edit_set, layers=layers, modules=modules).model)
    assert set(changed) == {f"gpt_neox.layers.{number}.{part}" for number in numbers for part in parts}


@pytest.mark.parametrize("rank", [1, 4])
def test_change_has_no_higher_rank_than_asked(checkpoint, edit_set, rank):
    edited = adapted(checkpoint, edit_set, rank=rank, modules="both")
    assert edited.details["rank"] == rank
    for name, change in changes(checkpoint, edited.model).items():
        values = np.linalg.svd(change, compute_uv=False)
        assert values[0] > 1e-3, name
        assert values[rank] < 1e-5, name


def test_rank_above_a_matrix_s_smaller_side_is_clamped(checkpoint, edit_set):
    edited = adapted(checkpoint, edit_set, rank=10_000)
    assert edited.details["rank"] == 96  # dense_h_to_4h is 384 x 96
    assert len(changes(checkpoint, edited.model)) == 4


def test_merged_model_answers_as_the_adapted_one(checkpoint, edit_set, monkeypatch):
    tokens = torch.from_numpy(checkpoint.corpus.block(0, 8).astype(np.int64))
    logits = []

    def watched(model, *rest, watch):
        details = fit(model, *rest)
        with torch.no_grad():
            logits.append(model(input_ids=tokens).logits)
        return details

    monkeypatch.setattr(module, "fit", watched)
    edited = adapted(checkpoint, edit_set).model
    with torch.no_grad():
        torch.testing.assert_close(edited(tokens).logits, logits[0], rtol=1e-4, atol=1e-4)
        assert not torch.allclose(checkpoint.model(tokens).logits, logits[0], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(("rank", "alpha", "scale"), [(4, 6, 6 / 4), (1, None, 2), (4, None, 2), (10_000, None, 2)])
def test_change_is_scaled_by_alpha_over_rank(checkpoint, edit_set, monkeypatch, rank, alpha, scale):
    def constant(model, parameters, *_, **__):
        for parameter in parameters:
            parameter.data.fill_(0.01)
        return {}

    monkeypatch.setattr(module, "fit", constant)
    edited = adapted(checkpoint, edit_set, rank=rank, alpha=alpha, layers=(3,)).model
    found = changes(checkpoint, edited)
    assert len(found) == 2
    for change in found.values():
        # Every entry of B A is rank x 0.01 x 0.01.
        np.testing.assert_allclose(change, scale * min(rank, 96) * 1e-4, atol=1e-7)


def test_learning_rate_falls_with_the_rank_unless_its_power_is_none(checkpoint, edit_set, monkeypatch):
    rates = []
    monkeypatch.setattr(module, "fit", lambda *parts, watch: rates.append(parts[3].learning_rate) or {})
    ranks = [(1, 0.5), (8, 0.5), (32, 0.5), (32, 0.0)]
    found = [adapted(checkpoint, edit_set, rank=r, rank_power=p, learning_rate=1e-3).details for r, p in ranks]
    assert rates == pytest.approx([8**0.5 * 1e-3, 1e-3, 5e-4, 1e-3])
    assert [details["learning_rate"] for details in found] == rates


def test_nothing_of_peft_is_left(checkpoint, edit_set):
    edited = adapted(checkpoint, edit_set).model
    assert not [part for part in edited.modules() if type(part).__module__.startswith("peft")]
    assert not hasattr(edited, "peft_config")
    assert "lora" not in " ".join(edited.state_dict())


def test_edits_made_together_all_take(checkpoint, edit_set):
    edited = Lora(layers=(2, 3), max_steps=60)(checkpoint.model, edit_set).model
    for request in edit_set.requests:
        said = edited.generate(torch.tensor([request.prompt_ids]), do_sample=False, max_new_tokens=1)
        assert (int(said[0, -1]),) == request.answer_ids


def test_generators_of_gpus_are_left_alone(checkpoint, edit_set, monkeypatch):
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    adapted(checkpoint, edit_set, max_steps=1)
    assert seeded == []
