"""Facts about what a board's numbers are worth: no change, and a change by chance."""

import dataclasses

import pytest
import torch

from behemoth_data.edits import EditConfig, draw_edits
from behemoth_editing.bench.floors import Noise, Nothing
from behemoth_editing.methods.outside import contract_faults
from behemoth_models.knowledge import weights_digest


@pytest.fixture(scope="module")
def steps(checkpoint):
    return draw_edits(checkpoint.corpus, EditConfig(scenario="sequence", num_edits=2))


def test_nothing_is_a_copy(checkpoint, steps):
    copy = Nothing()(checkpoint.model, steps[0]).model
    assert copy is not checkpoint.model
    assert weights_digest(copy) == checkpoint.weights


def test_noise_keeps_the_contract(checkpoint):
    assert list(contract_faults(Noise(), checkpoint)) == []


def test_noise_moves_every_matrix_of_the_layers_by_its_share_and_nothing_else(checkpoint, steps):
    moved = dict(Noise(relative=0.1)(checkpoint.model, steps[0]).model.named_parameters())
    for name, weight in checkpoint.model.named_parameters():
        before, change = weight.detach().double(), (moved[name].detach() - weight.detach()).double()
        share = 0.1 if ".layers." in name and weight.ndim == 2 else 0.0
        assert float(change.norm()) == pytest.approx(share * float(before.norm()), rel=1e-4)


def test_steps_of_a_sequence_move_in_directions_of_their_own_and_seeds_differ(checkpoint, steps):

    name = "gpt_neox.layers.0.mlp.dense_4h_to_h.weight"
    weight = checkpoint.model.get_parameter(name).detach()
    second = dataclasses.replace(steps[1], earlier=(steps[0],))
    changes = [
        noise(checkpoint.model, task).model.get_parameter(name).detach() - weight
        for noise, task in ((Noise(), steps[0]), (Noise(), second), (Noise(noise_seed=1), steps[0]))
    ]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        cosine = torch.nn.functional.cosine_similarity(changes[one].flatten(), changes[other].flatten(), dim=0)
        assert abs(float(cosine)) < 0.05


@pytest.mark.parametrize("relative", [0, -0.1])
def test_noise_that_is_none_is_refused(relative):
    with pytest.raises(ValueError, match="relative must be above 0, got"):
        Noise(relative=relative)
