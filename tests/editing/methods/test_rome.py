"""Facts about rank-one editing; the closed form is worked out again with numpy in float64."""

import dataclasses

import numpy as np
import pytest
import torch

import behemoth_editing.methods.keys as keys_module
import behemoth_editing.methods.rome as module
from behemoth_data.edits import EditConfig, draw_edits
from behemoth_editing.methods.contract import KeyStatistics, Shared
from behemoth_editing.methods.keys import key_statistics
from behemoth_editing.methods.rome import Rome, RRome, divergence, rank_one_update, ridge_inverse
from behemoth_models.knowledge import weights_digest

H, D = 5, 8
PLACE = {"layer": 2, "site": "prompt_last"}  # not the defaults, which may move


@pytest.fixture
def algebra():
    """A random weight [H, D], key [D], value [H] and second moment [D, D]."""
    random = np.random.Generator(np.random.Philox(7))
    keys = random.normal(size=(30, D))
    return random.normal(size=(H, D)), random.normal(size=D), random.normal(size=H), keys.T @ keys / 30


@pytest.fixture(scope="module")
def single(beginner):
    return draw_edits(beginner.corpus, EditConfig(scenario="single", num_edits=1))[0]


@pytest.fixture(scope="module")
def several(beginner):
    return draw_edits(beginner.corpus, EditConfig(scenario="different", num_edits=3))[0]


@pytest.fixture
def written(monkeypatch):
    """(weight, key, value, direction) of every rank-one update made during a test."""
    calls = []

    def record(weight, key, value, direction):
        calls.append((weight.detach().clone(), key, value, direction))
        return rank_one_update(weight, key, value, direction)

    monkeypatch.setattr(module, "rank_one_update", record)
    return calls


def rome(**settings):
    return Rome(**{**PLACE, **settings})


def key_at(model, layer, ids, place):
    """What the layer's MLP output matrix is given at one token, as float64."""
    seen = []
    matrix = model.get_submodule(f"gpt_neox.layers.{layer}.mlp.dense_4h_to_h")
    handle = matrix.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][0, place].double().numpy()))
    with torch.no_grad():
        model(torch.tensor([ids]))
    handle.remove()
    return seen[0]


def answers(model, queries):
    said = [
        model.generate(torch.tensor([q.prompt_ids]), do_sample=False, max_new_tokens=len(q.answer_ids)) for q in queries
    ]
    return [tuple(s[0, len(q.prompt_ids) :].tolist()) for s, q in zip(said, queries, strict=True)]


def test_update_is_the_papers_equation_and_maps_key_to_value(algebra):
    weight, key, value, moment = algebra
    solved = np.linalg.solve(moment, key)
    expected = weight + np.outer((value - weight @ key) / (solved @ key), solved)
    direction = torch.from_numpy(solved / (key @ solved))
    after = rank_one_update(*map(torch.from_numpy, (weight, key, value)), direction).numpy()
    np.testing.assert_allclose(after, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(after @ key, value, rtol=0, atol=1e-12)
    assert np.linalg.matrix_rank(after - weight, tol=1e-10) == 1


def test_no_other_update_that_maps_key_to_value_disturbs_other_keys_less(algebra):
    weight, key, value, moment = algebra
    solved = np.linalg.solve(moment, key)
    after = rank_one_update(*map(torch.from_numpy, (weight, key, value, solved / (key @ solved)))).numpy()
    disturbance = np.trace((after - weight) @ moment @ (after - weight).T)
    random = np.random.Generator(np.random.Philox(8))
    for _ in range(50):
        aside = random.normal(size=(H, D)) * 0.1
        aside -= np.outer(aside @ key, key) / (key @ key)  # maps the key to nothing
        other = after + aside - weight
        np.testing.assert_allclose((weight + other) @ key, value, atol=1e-12)
        assert np.trace(other @ moment @ other.T) > disturbance


def test_update_keeps_the_weights_type_and_leaves_the_weight_as_it_was(algebra):
    weight, key, value, _ = map(torch.from_numpy, algebra)
    single = weight.float()
    before = single.clone()
    after = rank_one_update(single, key, value, key / (key @ key))
    assert after.dtype == torch.float32
    assert torch.equal(single, before)


@pytest.mark.parametrize("ridge", [1e-4, 0.5])
def test_inverse_is_numpys_with_a_share_of_the_mean_on_the_diagonal(algebra, ridge):
    moment = algebra[3]
    found = ridge_inverse(KeyStatistics(torch.from_numpy(moment), 30, "", ""), ridge)
    expected = np.linalg.inv(moment + ridge * sum(moment[i, i] for i in range(D)) / D * np.eye(D))
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)


def test_inverse_exists_for_keys_that_do_not_span_the_space():
    moment = torch.zeros(4, 4, dtype=torch.float64)
    moment[0, 0] = 4.0
    found = ridge_inverse(KeyStatistics(moment, 1, "", ""), 0.01)
    np.testing.assert_allclose(found.numpy(), np.diag([1 / 4.01, 100, 100, 100]))


@pytest.mark.parametrize("layer", [1, 3])
def test_one_matrix_differs_and_by_rank_one(beginner, single, layer):
    edited = Rome(layer=layer)(beginner.model, single).model
    changed = {
        name: (weight - beginner.model.get_parameter(name)).detach().double().numpy()
        for name, weight in edited.named_parameters()
        if not torch.equal(weight, beginner.model.get_parameter(name))
    }
    assert list(changed) == [f"gpt_neox.layers.{layer}.mlp.dense_4h_to_h.weight"]
    values = np.linalg.svd(*changed.values(), compute_uv=False)
    assert values[0] > 1e-2
    assert values[1] < 1e-5  # float32 rounding of the weights


def test_edited_matrix_maps_the_key_to_the_value_that_was_found(beginner, single, written):
    edited = rome()(beginner.model, single)
    ((weight, key, value, _),) = written
    prompt = single.requests[0].prompt_ids
    expected = key_at(beginner.model, 2, prompt, len(prompt) - 1)
    np.testing.assert_allclose(key.numpy(), expected, rtol=1e-4, atol=1e-5)
    after = edited.model.get_parameter("gpt_neox.layers.2.mlp.dense_4h_to_h.weight").double().numpy()
    before = weight.double().numpy()
    np.testing.assert_allclose(after @ key_at(edited.model, 2, prompt, len(prompt) - 1), value.numpy(), atol=1e-4)
    bias = edited.model.get_parameter("gpt_neox.layers.2.mlp.dense_4h_to_h.bias").double().numpy()
    assert np.linalg.norm(bias) > 1e-3
    moved = np.linalg.norm((after - before) @ expected) / np.linalg.norm(before @ expected + bias)
    assert edited.details["norm_ratio"] == [pytest.approx(moved, rel=1e-3)]
    assert 0 < moved <= 4.0 + 1e-6


def test_direction_is_the_inverse_moment_times_the_key(beginner, single, written):
    shared = Shared()
    rome()(beginner.model, single, shared)
    ((_, key, _, direction),) = written
    (statistics,) = shared.unasked.values()
    moment = statistics.second_moment.numpy()
    solved = np.linalg.solve(moment + 1e-4 * np.trace(moment) / len(moment) * np.eye(len(moment)), key.numpy())
    np.testing.assert_allclose(direction.numpy(), solved / (solved @ key.numpy()), rtol=1e-5, atol=1e-9)


def test_single_edits_take_and_the_reported_loss_is_the_edited_models(checkpoint):
    sets = draw_edits(checkpoint.corpus, EditConfig(scenario="single", num_edits=5))
    taken = []
    for edit_set in sets:
        edited = rome()(checkpoint.model, edit_set)
        taken += [
            said == q.answer_ids
            for said, q in zip(answers(edited.model, edit_set.requests), edit_set.requests, strict=True)
        ]
        (request,) = edit_set.requests
        with torch.no_grad():
            logits = edited.model(torch.tensor([request.prompt_ids])).logits[0, -1]
        loss = -logits.log_softmax(-1)[request.answer_ids[0]].item()
        assert edited.details["loss"] == [pytest.approx(loss, rel=0.02, abs=1e-3)]
        assert edited.details["steps"][0] <= 30
    assert sum(taken) >= 4


def test_search_stops_at_the_loss_or_after_the_steps_it_is_given(beginner, single):
    eager = rome(stop_loss=1000.0)(beginner.model, single)
    assert eager.details["steps"] == [0]
    assert weights_digest(eager.model) == beginner.weights  # the value it has is the value it keeps
    stubborn = rome(stop_loss=0.0, steps=4)(beginner.model, single)
    assert stubborn.details["steps"] == [4]


def test_value_stays_within_the_norm_it_is_given(beginner, single):
    edited = rome(max_norm=0.25, steps=10)(beginner.model, single)
    assert edited.details["norm_ratio"][0] == pytest.approx(0.25, rel=1e-4)


def test_several_edits_change_one_matrix_by_no_more_than_their_number(beginner, several):
    edited = rome(steps=10)(beginner.model, several)
    name = "gpt_neox.layers.2.mlp.dense_4h_to_h.weight"
    change = (edited.model.get_parameter(name) - beginner.model.get_parameter(name)).detach().double().numpy()
    values = np.linalg.svd(change, compute_uv=False)
    assert values[2] > 1e-3
    assert values[3] < 1e-5
    assert [len(numbers) for numbers in edited.details.values()] == [3, 3, 3]


def test_each_edit_is_written_on_what_the_last_one_left(beginner, several, written):
    edited = rome(steps=5)(beginner.model, several).model
    name = "gpt_neox.layers.2.mlp.dense_4h_to_h.weight"
    weights = [weight for weight, *_ in written]
    assert torch.equal(weights[0], beginner.model.get_parameter(name))
    for (weight, *rest), following in zip(written, [*weights[1:], edited.get_parameter(name)], strict=True):
        assert torch.equal(rank_one_update(weight, *rest), following)
        assert not torch.equal(weight, following)


@pytest.mark.parametrize("method", [Rome, RRome])
@pytest.mark.parametrize("site", ["subject_last", "prompt_last"])
def test_keys_are_taken_at_the_site_and_averaged_over_contexts(beginner, single, written, site, method):
    shared = Shared()
    method(site=site, layer=2, steps=1, num_contexts=3)(beginner.model, single, shared)
    ((_, mapped, _, direction),) = written
    prompt = single.requests[0].prompt_ids
    # "SS s W0 W1 RR r W2 OO": one-token words.
    place = {"subject_last": 1, "prompt_last": 7}[site]
    assert len(prompt) == 8
    contexts = [(), *single.contexts[:3]]
    keys = [key_at(beginner.model, 2, context + prompt, len(context) + place) for context in contexts]
    average = np.mean(keys, axis=0)
    # ROME maps the plain prompt's key to the value, R-ROME the averaged one; both along C^-1 of the average.
    np.testing.assert_allclose(mapped.numpy(), average if method is RRome else keys[0], rtol=1e-4, atol=1e-5)
    assert np.abs(keys[0] - average).max() > 1e-2
    (statistics,) = shared.unasked.values()
    moment = statistics.second_moment.numpy()
    along = np.linalg.solve(moment + 1e-4 * np.trace(moment) / 128 * np.eye(128), average)
    np.testing.assert_allclose(direction.numpy(), along / (along @ mapped.numpy()), rtol=1e-4, atol=1e-7)


def test_r_rome_without_contexts_is_rome_and_with_them_is_not(beginner, single):
    shared = Shared()
    plain, same, averaged = (
        method(beginner.model, single, shared).model
        for method in (rome(steps=5), RRome(**PLACE, steps=5, num_contexts=0), RRome(**PLACE, steps=5, num_contexts=2))
    )
    assert weights_digest(plain) == weights_digest(same) != weights_digest(averaged)


def test_r_romes_matrix_maps_the_averaged_key_to_the_value(beginner, single, written):
    edited = RRome(**PLACE, steps=5, num_contexts=2)(beginner.model, single).model
    ((_, _, value, _),) = written
    prompt = single.requests[0].prompt_ids
    prefixes = [(), *single.contexts[:2]]
    keys = [key_at(beginner.model, 2, prefix + prompt, len(prefix) + len(prompt) - 1) for prefix in prefixes]
    after = edited.get_parameter("gpt_neox.layers.2.mlp.dense_4h_to_h.weight").detach().double().numpy()
    np.testing.assert_allclose(after @ np.mean(keys, axis=0), value.numpy(), rtol=0, atol=2e-3)
    assert np.abs(after @ keys[0] - value.numpy()).max() > 1e-2


@pytest.fixture
def counted(monkeypatch):
    calls = []

    def count(*arguments, **settings):
        calls.append(1)
        return key_statistics(*arguments, **settings)

    monkeypatch.setattr(keys_module, "key_statistics", count)
    return calls


def test_shared_statistics_are_computed_once_and_results_do_not_depend_on_it(beginner, single, several, counted):
    shared, method = Shared(), rome(steps=3)
    together = [method(beginner.model, edits, shared).model for edits in (single, several)]
    assert len(counted) == 1
    alone = [method(beginner.model, edits).model for edits in (single, several)]
    assert len(counted) == 3
    assert list(map(weights_digest, together)) == list(map(weights_digest, alone))


def test_statistics_of_another_layer_or_model_are_not_taken_for_these(beginner, single, counted):
    shared = Shared()
    edited = rome(steps=2)(beginner.model, single, shared).model  # layer 2
    above = Rome(steps=2, layer=4)(edited, single, shared).model
    assert len(counted) == 2
    # What is edited at layer 2 makes other keys at layer 4, and none at layer 2, whose own matrix it is.
    Rome(steps=2, layer=4)(beginner.model, single, shared)
    assert len(counted) == 3
    twice = rome(steps=2)(above, single, shared).model
    assert len(counted) == 3
    assert weights_digest(twice) == weights_digest(rome(steps=2)(above, single).model)
    assert {found.corpus for found in shared.key_statistics.values()} == {beginner.corpus.digest}
    assert len({found.weights for found in shared.key_statistics.values()}) == 3


def test_divergence_is_that_of_the_edited_from_the_one_before():
    edited, before = np.array([[0.5, 0.25, 0.25], [0.2, 0.2, 0.6]]), np.array([[0.125, 0.375, 0.5], [0.2, 0.2, 0.6]])
    # By hand: 0.5 ln 4 + 0.25 ln(2 / 3) + 0.25 ln(1 / 2), and nothing for two that are equal.
    expected = [0.5 * np.log(4) + 0.25 * np.log(2 / 3) + 0.25 * np.log(0.5), 0.0]
    found = divergence(*(torch.from_numpy(np.log(shares)) for shares in (edited, before)))
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-12)
    reverse = 0.125 * np.log(0.25) + 0.375 * np.log(1.5) + 0.5 * np.log(2)
    assert abs(reverse - expected[0]) > 0.05


def test_divergence_weight_keeps_the_subjects_other_facts_closer(beginner, single):
    (offered,) = draw_edits(beginner.corpus, dataclasses.replace(single.config, same_subject_rows=1))
    others = offered.same_subject[0]
    assert others

    def divergence(kl_weight):
        settings = {"kl_weight": kl_weight, "stop_loss": 0.0, "steps": 15, "ridge": 1e6}
        edited = rome(**settings)(beginner.model, offered).model
        total = 0.0
        for query in others:
            with torch.no_grad():
                now, was = (
                    model(torch.tensor([query.prompt_ids])).logits[0, -1].log_softmax(-1)
                    for model in (edited, beginner.model)
                )
            total += float((now.exp() * (now - was)).sum())
        return total

    assert divergence(100.0) < divergence(0.0)


def value_by_brute_force(model, request, place, others, places, direction, *, kl_weight, steps):
    """The value of layer 2 at one place of the request, each prompt run alone and without padding."""
    matrix = model.get_submodule("gpt_neox.layers.2.mlp.dense_4h_to_h")
    weight = matrix.weight.detach().double()
    before = weight @ torch.from_numpy(key_at(model, 2, request.prompt_ids, place))
    norm = float((before + matrix.bias.detach().double()).norm())
    change = torch.zeros(len(before), requires_grad=True)

    def said(ids, place, scale):
        def add(_module, _inputs, output):
            return output + scale * change * (torch.arange(output.shape[1]) == place)[:, None]

        handle = matrix.register_forward_hook(add)
        log_probabilities = model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
        handle.remove()
        return log_probabilities

    scales = [
        float(key_at(model, 2, query.prompt_ids, there) @ direction.numpy())
        for query, there in zip(others, places, strict=True)
    ]
    asked = [(query.prompt_ids, *rest) for query, *rest in zip(others, places, scales, strict=True)]
    was = [said(*question).detach() for question in asked]
    optimizer = torch.optim.Adam([change], lr=0.5)
    for _ in range(steps):
        loss = -said(request.prompt_ids, place, 1.0)[request.answer_ids[0]]
        for old, question in zip(was, asked, strict=True):
            now = said(*question)
            loss = loss + kl_weight * (now.exp() * (now - old)).sum() / len(asked)
        optimizer.zero_grad()
        (loss + 1e-3 * change.norm() / norm**2).backward()
        optimizer.step()
        with torch.no_grad():
            change *= min(1.0, 4.0 * norm / float(change.norm()))
    return (before + change.detach().double()).numpy()


def test_divergence_is_read_at_the_subject_wherever_it_stands_in_other_prompts(checkpoint, written):
    (single,) = draw_edits(checkpoint.corpus, EditConfig(scenario="single", num_edits=1))
    fact, (request,) = single.edits[0].fact, single.requests
    world, grammar = checkpoint.corpus.world, checkpoint.corpus.grammar
    facts = [world.fact(fact.edge, fact.head, relation) for relation in range(3) if relation != fact.relation]
    first, second = grammar.queries(facts, "rso")  # "W9 RR r W7 SS s W5 OO", not "SS s W0 W1 RR r W2 OO"
    short = dataclasses.replace(second, prompt_ids=second.prompt_ids[1:], subject_end=second.subject_end - 1)
    task = dataclasses.replace(single, same_subject=((first, short),))
    few = {"kl_weight": 1000.0, "steps": 4}
    # With a ridge that large the direction is that of the key itself, which keys of the same subject resemble.
    rome(site="subject_last", stop_loss=0.0, ridge=1e6, **few)(checkpoint.model, task)
    ((_, _, value, direction),) = written
    subject = request.prompt_ids[1]
    places = [query.prompt_ids.index(subject) for query in (first, short)]
    assert places == [5, 4]
    found, elsewhere = (
        value_by_brute_force(checkpoint.model, request, 1, (first, short), there, direction, **few)
        for there in (places, [1, 0])  # as far from the end as in the request
    )
    np.testing.assert_allclose(value.numpy(), found, rtol=0, atol=5e-3)
    assert np.abs(elsewhere - found).max() > 0.1
