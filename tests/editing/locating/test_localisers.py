"""Localisers against the same numbers made fact by fact, layer by layer, from the model's own parts."""

import copy
import itertools

import numpy as np
import pytest
import torch
from torch import nn

from behemoth_data.world import Edge, Fact
from behemoth_editing.architecture import layers_of, mlp_output
from behemoth_editing.attacks.readout import fit_probe, states_of
from behemoth_editing.locating import localisers
from behemoth_editing.locating.late import mlp_of
from behemoth_editing.locating.localisers import LOCALISERS
from behemoth_editing.locating.placing import asked_about

FACTS = 5


@pytest.fixture(scope="module")
def model(beginner):
    """In float64, so that sums in another order are the same to many digits."""
    return copy.deepcopy(beginner.model).double()


@pytest.fixture(scope="module")
def asked(beginner, model):
    heads, relations, tails = beginner.corpus.world.facts(Edge.SUBJECT_OBJECT)
    rows = np.flatnonzero(relations == 0)
    facts = [Fact(Edge.SUBJECT_OBJECT, int(heads[row]), 0, int(tails[row])) for row in rows]
    return asked_about(model, beginner.corpus, facts)


class Replaced(nn.Module):
    """A part of which the output is changed by a function."""

    def __init__(self, part, change):
        super().__init__()
        self.part, self.change = part, change

    def forward(self, *inputs, **settings):
        return self.change(self.part(*inputs, **settings))


def with_mlp(model, layer, change):
    """A copy of the model whose MLP of one layer puts out what the function makes of its output."""
    changed = copy.deepcopy(model)
    layers_of(changed)[layer].mlp = Replaced(mlp_of(changed, layer), change)
    return changed


def outputs_of(part, model, tokens):
    """What a part of the model puts out."""
    kept = []
    handle = part.register_forward_hook(lambda _module, _inputs, output: kept.append(output.detach()))
    with torch.no_grad():
        model(input_ids=tokens)
    handle.remove()
    return kept[0]


def placed_at(place, states):
    """A function of an output [1, T, H] that puts a place of other states into it."""

    def change(output):
        output = output.clone()
        output[:, place] = states[:, place]
        return output

    return change


def plus(place, noise):
    """A function of an output [1, T, H] that adds to some places."""

    def change(output):
        output = output.clone()
        output[:, place] += noise
        return output

    return change


def likely(model, tokens, answer):
    with torch.no_grad():
        return model(input_ids=tokens).logits[:, -1].log_softmax(-1)[:, answer]


def test_tracing_restores_one_mlp_at_one_token_under_the_same_noise(model, asked, monkeypatch):
    samples = 2
    monkeypatch.setattr(localisers, "SAMPLES", samples)
    monkeypatch.setattr(localisers, "_ROWS", 1)  # a fact at a time, so that the noise is easily drawn again
    some = asked.some(range(2))
    found = localisers.tracing(model, some)
    embedding = model.get_input_embeddings()
    subject, width = some.subject, embedding.weight.shape[1]
    deviation = 3 * embedding.weight[asked.tokens[:, subject]].std()  # of all facts, whichever are asked
    drawn = torch.Generator().manual_seed(0)
    for number in range(2):
        tokens, answer = some.tokens[number : number + 1], some.answers[number]
        noise = deviation * torch.randn((samples, subject.stop - subject.start, width), generator=drawn)
        noised = copy.deepcopy(model)
        # A row of noise for each sample: every sample is asked alone.
        lost, effects = [], np.full((samples, len(layers_of(model)), tokens.shape[1]), -np.inf)
        for sample in range(samples):
            noised.set_input_embeddings(Replaced(model.get_input_embeddings(), plus(subject, noise[sample])))
            lost.append(likely(noised, tokens, answer).exp().item())
            for layer, place in itertools.product(range(len(layers_of(model))), range(subject.start, tokens.shape[1])):
                clean = outputs_of(mlp_of(model, layer), model, tokens)
                restored = with_mlp(noised, layer, placed_at(place, clean))
                effects[sample, layer, place] = likely(restored, tokens, answer).exp().item() - lost[-1]
        np.testing.assert_allclose(found[number], effects.mean(0).max(1), rtol=1e-4, atol=1e-7)


def test_noise_is_what_loses_the_answer(beginner, model, asked):
    clean, noised = localisers.answer_probabilities(model, asked)
    pairs = zip(asked.tokens, asked.answers, strict=True)
    assert clean == pytest.approx(np.mean([likely(model, row[None], answer).exp().item() for row, answer in pairs]))
    silent = asked._replace(deviation=0.0)
    assert localisers.answer_probabilities(model, silent)[1] == pytest.approx(clean)
    np.testing.assert_allclose(localisers.tracing(model, silent.some(range(2))), 0, atol=1e-7)
    assert noised != pytest.approx(clean)


def test_output_norm_is_that_of_the_tokens_from_the_subject_on(model, asked):
    found = localisers.output_norm(model, asked)
    for layer in (0, 3):
        outputs = outputs_of(mlp_of(model, layer), model, asked.tokens).numpy()
        expected = np.sqrt((outputs[:, asked.subject.start :] ** 2).sum(2)).mean(1)
        np.testing.assert_allclose(found[:, layer], expected, rtol=1e-5)


def test_restoring_the_last_state_that_is_read_brings_everything_back(model, asked):
    last = len(layers_of(model)) - 1
    end = asked.tokens.shape[1] - 1
    whole = localisers._traced(model, asked, lambda model, layer: layers_of(model)[layer], [end])
    clean = torch.cat(
        [likely(model, row[None], answer) for row, answer in zip(asked.tokens, asked.answers, strict=True)]
    )
    nothing = localisers._traced(model, asked, lambda model, layer: layers_of(model)[layer], [0])  # before the subject
    np.testing.assert_allclose(nothing, 0, atol=1e-6)
    states = localisers.tracing_states(model, asked)
    assert (whole[:, last] <= clean.exp().numpy() + 1e-6).all()
    assert np.abs(states[:, last]).max() < 1e-6  # nothing after the last layer reads the subject's state
    assert np.abs(whole[:, last]).max() > 0.01


def test_ablation_puts_the_mean_over_the_facts_in_place_of_an_mlp(model, asked):
    found = localisers.ablation(model, asked)
    for layer in range(len(layers_of(model))):
        mean = outputs_of(mlp_of(model, layer), model, asked.tokens).mean(0, keepdim=True)
        ablated = with_mlp(model, layer, lambda output, mean=mean: mean.expand_as(output))
        for number in range(FACTS):
            row, answer = asked.tokens[number : number + 1], asked.answers[number]
            lost = likely(model, row, answer) - likely(ablated, row, answer)
            assert found[number, layer] == pytest.approx(lost.item(), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("trainable", [False, True])
def test_gradient_is_the_norm_of_autograd_s_for_the_matrix(model, asked, trainable):
    own = copy.deepcopy(model).requires_grad_(trainable)
    found = localisers.gradient(own, asked)
    assert all(parameter.grad is None for parameter in own.parameters())
    own.requires_grad_(True)
    for number in range(FACTS):
        loss = -own(input_ids=asked.tokens[number : number + 1]).logits[0, -1].log_softmax(-1)[asked.answers[number]]
        weights = [mlp_output(own, layer).weight for layer in range(len(layers_of(own)))]
        norms = [float(one.norm()) for one in torch.autograd.grad(loss, weights)]
        np.testing.assert_allclose(found[number], norms, rtol=1e-4)


def with_keys(model, layer, keys_of):
    """A copy of the model in which one layer's keys [1, D] of the last token become what the function makes of them."""
    changed = copy.deepcopy(model)

    def replace(_module, inputs):
        return (torch.cat([inputs[0][:, :-1], keys_of(inputs[0][:, -1])[:, None]], 1),)

    mlp_output(changed, layer).register_forward_pre_hook(replace)
    return changed


def test_attributions_are_keys_times_the_mean_gradient_on_the_way_to_them(model, asked):
    found = localisers.attributions(model, asked.some(range(2)), points=3)
    assert found.shape == (2, len(layers_of(model)), mlp_output(model, 0).weight.shape[1])
    for number, layer in itertools.product(range(2), (0, 3)):
        total = 0.0
        for share in (0, 1 / 3, 2 / 3):
            factor = torch.ones(found.shape[2], dtype=torch.float64, requires_grad=True)
            scaled = with_keys(model, layer, lambda keys, share=share, factor=factor: share * keys * factor)
            row, answer = asked.tokens[number : number + 1], asked.answers[number]
            scaled(input_ids=row).logits[0, -1].softmax(-1)[answer].backward()
            # The gradient for a factor of each key is the key, so scaled, times the gradient for it.
            total = total + (factor.grad / share if share else _at_nothing(model, layer, row, answer)) / 3
        np.testing.assert_allclose(found[number, layer], total.numpy(), rtol=1e-4, atol=1e-9)


def _at_nothing(model, layer, row, answer):
    """Keys times the gradient for them where there are none."""
    seen, added = [], None

    def nothing(keys):
        nonlocal added
        seen.append(keys.detach())
        added = torch.zeros_like(keys, requires_grad=True)
        return added

    with_keys(model, layer, nothing)(input_ids=row).logits[0, -1].softmax(-1)[answer].backward()
    return (seen[0] * added.grad)[0]


def test_attributions_add_up_to_what_the_answer_loses_without_the_keys(model, asked):
    some, found = asked.some(range(3)), localisers.attributions(model, asked.some(range(3)), points=48).sum(axis=2)
    lost = np.zeros_like(found)
    for number, layer in itertools.product(range(3), range(len(layers_of(model)))):
        row, answer = some.tokens[number : number + 1], some.answers[number]
        without = with_keys(model, layer, torch.zeros_like)
        lost[number, layer] = (likely(model, row, answer).exp() - likely(without, row, answer).exp()).item()
    assert np.abs(lost).max() > 0.01
    np.testing.assert_allclose(found, lost, atol=0.05 * np.abs(lost).max())


def test_neurons_count_attributions_of_a_fifth_of_the_largest(model, asked, monkeypatch):
    given = np.zeros((2, 3, 4))
    given[0] = [[1.0, 0.2, 0.19, -5.0], [0.0, 0.5, 0.3, 0.0], [0.1, 0.1, 0.1, 0.1]]
    given[1] = -1.0  # nothing speaks for the answer
    monkeypatch.setattr(localisers, "attributions", lambda *_: given)
    np.testing.assert_array_equal(localisers.neurons(model, asked), [[2, 2, 0], [0, 0, 0]])


def test_probes_say_what_each_layer_adds_to_what_was_read_before_it(beginner, model, asked):
    found = localisers.probe(model, asked)
    states = states_of(model, asked.tokens.tolist())
    read = [fit_probe(one, asked.tails, asked.num_objects).left_out for one in states]
    with torch.no_grad():
        before = model.get_input_embeddings()(asked.tokens)[:, -1].numpy()
    assert (before == before[0]).all()  # a prompt's last token is the same for all facts
    np.testing.assert_allclose(
        found[:, 0], read[0] - fit_probe(before, asked.tails, asked.num_objects).left_out, atol=1e-5
    )
    np.testing.assert_allclose(found[:, 1:], np.diff(np.stack(read, 1), axis=1), atol=1e-5)
    alone = asked.some(range(1))
    with pytest.raises(ValueError, match="asked must hold at least 2 facts for a probe to learn from, got 1"):
        localisers.probe(model, alone)


@pytest.mark.parametrize("name", LOCALISERS)
def test_a_localiser_leaves_the_model_as_it_is_and_says_the_same_in_parts(model, asked, name, monkeypatch):
    asked = asked.some(range(8))
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    hooks = [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in model.modules()]
    found = LOCALISERS[name].says(model, asked)
    assert found.shape == (len(asked.tails), len(layers_of(model)))
    assert found.dtype == np.float64
    assert np.isfinite(found).all()
    assert [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in model.modules()] == hooks
    assert all(value.equal(weights[key]) for key, value in model.state_dict().items())
    np.testing.assert_array_equal(LOCALISERS[name].says(model, asked), found)
    if not name.startswith("tracing"):  # whose noise is drawn part by part
        monkeypatch.setattr(localisers, "_ROWS", 5)
        np.testing.assert_allclose(LOCALISERS[name].says(model, asked), found, rtol=1e-4, atol=1e-6)
