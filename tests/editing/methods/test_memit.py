"""Facts about MEMIT, EMMET and AlphaEdit; their closed forms are written out as published, with numpy in float64.

In the papers keys and values are columns: K [D, n] and R [H, n]. Here they are rows, and the tests transpose.
"""

import copy
import dataclasses

import numpy as np
import pytest
import torch

import behemoth_editing.methods.memit as module
from behemoth_data.edits import EditConfig, draw_edits
from behemoth_data.settings import told
from behemoth_editing.methods.contract import KeyStatistics, Shared
from behemoth_editing.methods.memit import (
    AlphaEdit,
    Emmet,
    Memit,
    Sphere,
    anchored,
    batch_update,
    null_projection,
    principal_directions,
)
from behemoth_models.knowledge import weights_digest

H, D, N = 5, 8, 3
MATRIX = "gpt_neox.layers.{}.mlp.dense_4h_to_h"
METHODS = {"memit": Memit, "emmet": Emmet, "alphaedit": AlphaEdit}


@pytest.fixture
def algebra():
    """Random residuals R [H, n], keys K [D, n] as columns, and second moment C [D, D]."""
    random = np.random.Generator(np.random.Philox(11))
    corpus = random.normal(size=(40, D)) * np.linspace(0.2, 2.0, D)
    return random.normal(size=(H, N)), random.normal(size=(D, N)), corpus.T @ corpus / 40


def updated(residuals, keys, metric, ridge):
    return batch_update(
        *(torch.from_numpy(np.ascontiguousarray(part)) for part in (residuals.T, keys.T, metric)), ridge
    ).numpy()


def statistics_of(moment, num_keys=1000):
    return KeyStatistics(torch.from_numpy(moment), num_keys, "", "")


def ridged(moment, ridge=1e-4):
    return moment + ridge * np.trace(moment) / len(moment) * np.eye(len(moment))


def weak_directions(moment, share):
    """The projection on the eigenvectors of least energy, of which the sum stays within the share."""
    values, vectors = np.linalg.eigh(moment)
    kept, energy = [], 0.0
    for value, vector in zip(values, vectors.T, strict=True):
        energy += max(value, 0.0)
        if energy > share * np.trace(moment):
            break
        kept.append(vector)
    return sum(np.outer(vector, vector) for vector in kept)


# closed forms


@pytest.mark.parametrize("weight", [1e-3, 1.0, 50.0])
def test_update_is_memits_equation_14(algebra, weight):
    residuals, keys, moment = algebra
    expected = residuals @ keys.T @ np.linalg.inv(weight * moment + keys @ keys.T)
    np.testing.assert_allclose(updated(residuals, keys, np.linalg.inv(moment), weight), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("epsilon", [1e-6, 0.1])
def test_update_is_emmets_closed_form(algebra, epsilon):
    residuals, keys, moment = algebra
    inverse = np.linalg.inv(moment)
    gram = keys.T @ inverse @ keys + epsilon * np.eye(N)
    expected = residuals @ np.linalg.inv(gram) @ keys.T @ inverse
    np.testing.assert_allclose(updated(residuals, keys, inverse, epsilon), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("penalty", [1e-2, 1.0])
def test_update_is_alphaedits_closed_form(algebra, penalty):
    residuals, keys, moment = algebra
    projection = weak_directions(moment, 0.3)
    assert 1 < round(np.trace(projection)) < D
    expected = residuals @ keys.T @ projection @ np.linalg.inv(keys @ keys.T @ projection + penalty * np.eye(D))
    np.testing.assert_allclose(updated(residuals, keys, projection, penalty), expected, rtol=0, atol=1e-11)


def perturbed(change, times=200):
    random = np.random.Generator(np.random.Philox(12))
    for size in (1e-3, 1e-2, 0.1, 1.0):
        for _ in range(times // 4):
            yield change + size * random.normal(size=change.shape)


@pytest.mark.parametrize("weight", [1e-2, 1.0])
def test_no_other_change_has_a_lower_objective_than_memits(algebra, weight):
    residuals, keys, moment = algebra

    def objective(change):
        return ((change @ keys - residuals) ** 2).sum() + weight * np.trace(change @ moment @ change.T)

    best = updated(residuals, keys, np.linalg.inv(moment), weight)
    assert all(objective(other) > objective(best) for other in perturbed(best))
    assert objective(best) < objective(np.zeros_like(best))


def test_no_other_change_that_maps_the_keys_disturbs_the_corpus_less_than_emmets(algebra):
    residuals, keys, moment = algebra
    best = updated(residuals, keys, np.linalg.inv(moment), 1e-12)
    np.testing.assert_allclose(best @ keys, residuals, rtol=0, atol=1e-10)
    outside = np.eye(D) - keys @ np.linalg.pinv(keys)
    for other in perturbed(np.zeros_like(best)):
        aside = best + other @ outside
        np.testing.assert_allclose(aside @ keys, residuals, rtol=0, atol=1e-9)
        assert np.trace(aside @ moment @ aside.T) > np.trace(best @ moment @ best.T)


def test_no_other_change_of_the_free_directions_has_a_lower_objective_than_alphaedits(algebra):
    residuals, keys, moment = algebra
    projection, penalty = weak_directions(moment, 0.3), 0.1

    def objective(change):
        return ((change @ keys - residuals) ** 2).sum() + penalty * (change**2).sum()

    best = updated(residuals, keys, projection, penalty)
    np.testing.assert_allclose(best @ (np.eye(D) - projection), 0.0, atol=1e-12)
    assert all(objective(best + (other - best) @ projection) > objective(best) for other in perturbed(best))


def test_more_keys_than_directions_still_have_a_least_squares_answer():
    random = np.random.Generator(np.random.Philox(13))
    residuals, keys = random.normal(size=(H, 3 * D)), random.normal(size=(D, 3 * D))
    expected = residuals @ keys.T @ np.linalg.inv(0.5 * np.eye(D) + keys @ keys.T)
    np.testing.assert_allclose(updated(residuals, keys, np.eye(D), 0.5), expected, rtol=0, atol=1e-11)


def test_solvers_are_the_moments_inverse_or_projection_and_their_weights(algebra):
    moment = algebra[2]
    metric, weight = Memit(covariance_weight=2.5, ridge=0.1)._solver(statistics_of(moment, 5000))
    np.testing.assert_allclose(metric.numpy(), np.linalg.inv(ridged(moment, 0.1)), rtol=1e-9)
    assert weight == pytest.approx(2.5 * D)  # of the width, whatever the corpus's size
    metric, epsilon = Emmet(key_ridge=0.01)._solver(statistics_of(moment))
    np.testing.assert_allclose(metric.numpy(), np.linalg.inv(ridged(moment)), rtol=1e-9)
    assert epsilon == pytest.approx(0.01 * D)
    metric, penalty = AlphaEdit(null_energy=0.3, penalty=0.01)._solver(statistics_of(moment))
    free = weak_directions(moment, 0.3)
    np.testing.assert_allclose(metric.numpy(), free, atol=1e-10)
    values = np.linalg.eigvalsh(moment)[: round(np.trace(free))]
    assert penalty == pytest.approx(0.01 * values.mean())


# the null space


@pytest.mark.parametrize(
    ("values", "energy", "free"),
    [
        ([1.0, 2.0, 3.0, 4.0], 0.11, 1),
        ([1.0, 2.0, 3.0, 4.0], 0.29, 1),
        ([1.0, 2.0, 3.0, 4.0], 0.31, 2),
        ([1.0, 2.0, 3.0, 4.0], 0.61, 3),
        ([1.0, 2.0, 3.0, 4.0], 0.01, 1),  # the weakest is always free
        ([1e3, 2e3, 3e3, 4e3], 0.31, 2),  # a share, whatever the scale
        ([1e-9, 2e-9, 3e-9, 4e-9], 0.31, 2),
        ([0.0, 0.0, 5.0, 5.0], 0.01, 2),
        ([-1e-12, 0.0, 5.0, 5.0], 0.01, 2),  # rounding below 0 is no energy
    ],
)
def test_free_directions_are_the_weakest_that_hold_no_more_than_the_share(values, energy, free):
    random = np.random.Generator(np.random.Philox(14))
    basis, _ = np.linalg.qr(random.normal(size=(4, 4)))
    moment = basis @ np.diag(values) @ basis.T
    found = null_projection(torch.from_numpy((moment + moment.T) / 2), energy).numpy()
    np.testing.assert_allclose(found, basis[:, :free] @ basis[:, :free].T, rtol=0, atol=1e-9)


# on the model


@pytest.fixture(scope="module")
def several(beginner):
    return draw_edits(beginner.corpus, EditConfig(scenario="different", num_edits=3))[0]


@pytest.fixture(scope="module")
def shared():
    return Shared()


@pytest.fixture
def solved(monkeypatch):
    """(missing, keys, metric, ridge) of every update made during a test."""
    calls = []

    def record(*arguments):
        calls.append(arguments)
        return batch_update(*arguments)

    monkeypatch.setattr(module, "batch_update", record)
    return calls


def seen_by(model, name, task, places, *, outputs):
    """What a module is given or puts out at one place of each prompt [n, width], one prompt at a time."""
    rows = []

    def record(_module, inputs, output):
        states = output if outputs else inputs[0]
        rows.append((states[0] if isinstance(states, tuple) else states)[0])

    handle = model.get_submodule(name).register_forward_hook(record)
    with torch.no_grad():
        for query in task.requests:
            model(torch.tensor([query.prompt_ids]))
    handle.remove()
    return np.stack([row[place].double().numpy() for row, place in zip(rows, places, strict=True)])


@pytest.fixture(scope="module")
def moments(beginner):
    """C of the layers 1 to 3 over every token of every sentence of the world, one block at a time."""
    corpus, seen = beginner.corpus, {}
    totals, count = {layer: np.zeros((128, 128)) for layer in (1, 2, 3)}, 0

    def record(layer):
        return lambda _module, inputs, _output: seen.update({layer: inputs[0]})

    handles = [
        beginner.model.get_submodule(MATRIX.format(layer)).register_forward_hook(record(layer)) for layer in totals
    ]
    for edge in corpus.world.edges:
        for form in ("statement", "rso"):
            sentences = corpus.grammar.tokens(edge, form, *corpus.world.facts(edge))[:, :-1]  # all but the end of text
            with torch.no_grad():
                beginner.model(torch.from_numpy(sentences))
            for layer, keys in seen.items():
                rows = keys.double().numpy().reshape(-1, 128)
                totals[layer] += rows.T @ rows
            count += sentences.size
    for handle in handles:
        handle.remove()
    return {layer: total / count for layer, total in totals.items()}, count


def test_statistics_are_those_of_every_token_of_every_sentence(beginner, several, shared, moments):
    Memit(layers=(1, 2, 3), steps=1)(beginner.model, several, shared)
    found, count = moments
    assert {layer for _, _, layer in shared.key_statistics} == {1, 2, 3}
    for (_, _, layer), statistics in shared.key_statistics.items():
        np.testing.assert_allclose(statistics.second_moment.numpy(), found[layer], rtol=1e-3, atol=1e-6)
        assert statistics.num_keys == count


def published(name, residuals, keys, moment):
    """The update of each method's paper, with its default settings; keys and residuals are columns."""
    if name == "memit":
        return residuals @ keys.T @ np.linalg.inv(0.01 * len(moment) * ridged(moment) + keys @ keys.T)
    if name == "emmet":
        inverse = np.linalg.inv(ridged(moment))
        gram = keys.T @ inverse @ keys + 1e-6 * len(moment) * np.eye(keys.shape[1])
        return residuals @ np.linalg.inv(gram) @ keys.T @ inverse
    projection = weak_directions(moment, 0.003)
    penalty = 1e-3 * np.trace(projection @ moment) / np.trace(projection)
    return residuals @ keys.T @ projection @ np.linalg.inv(keys @ keys.T @ projection + penalty * np.eye(len(moment)))


@pytest.mark.parametrize("site", ["prompt_last", "subject_last"])
@pytest.mark.parametrize("name", METHODS)
def test_weights_are_those_of_the_papers_with_keys_and_residuals_taken_anew_for_each_layer(
    beginner, several, shared, solved, name, site
):
    layers = (3, 1, 2)  # in whatever order they are named, the lowest is edited first
    edited = METHODS[name](layers=layers, site=site, steps=6)(beginner.model, several, shared)
    # "SS s W0 W1 RR r W2 OO": one-token words.
    places = [{"subject_last": 1, "prompt_last": 7}[site]] * 3
    model = copy.deepcopy(beginner.model)
    statistics = {layer: found for (_, _, layer), found in shared.unasked.items()}
    values = None
    for remaining, layer, (missing, keys, _, _) in zip((3, 2, 1), (1, 2, 3), solved, strict=True):
        expected_keys = seen_by(model, MATRIX.format(layer), several, places, outputs=False)
        np.testing.assert_allclose(keys.numpy(), expected_keys, rtol=1e-4, atol=1e-5)
        hidden = seen_by(model, "gpt_neox.layers.3", several, places, outputs=True)
        if values is None:  # what the layers together are to put out, an even share from each
            values = hidden + 3 * missing.numpy()
        residuals = (values - hidden) / remaining
        np.testing.assert_allclose(missing.numpy(), residuals, rtol=1e-3, atol=1e-4)
        moment = statistics[layer].second_moment.numpy()
        change = published(name, residuals.T, expected_keys.T, moment)
        weight = model.get_parameter(f"{MATRIX.format(layer)}.weight")
        before = weight.detach().double().numpy()
        found = edited.model.get_parameter(f"{MATRIX.format(layer)}.weight").detach().double().numpy()
        np.testing.assert_allclose(found - before, change, rtol=0, atol=2e-3 * np.abs(change).max() + 1e-6)
        with torch.no_grad():
            weight.copy_(edited.model.get_parameter(f"{MATRIX.format(layer)}.weight"))
    assert weights_digest(model) == weights_digest(edited.model)  # nothing else has changed
    left = values - seen_by(model, "gpt_neox.layers.3", several, places, outputs=True)
    ratio = np.linalg.norm(left) / np.linalg.norm(values)
    assert edited.details["missing"] == pytest.approx(ratio, rel=1e-2, abs=1e-5)


def test_emmet_in_one_layer_gives_every_prompt_its_value(beginner, several, shared, solved):
    edited = Emmet(layers=(2,), steps=10)(beginner.model, several, shared)
    places = [7, 7, 7]
    before = seen_by(beginner.model, "gpt_neox.layers.2", several, places, outputs=True)
    after = seen_by(edited.model, "gpt_neox.layers.2", several, places, outputs=True)
    ((missing, *_),) = solved
    assert np.linalg.norm(missing) > 1.0
    np.testing.assert_allclose(after - before, missing.numpy(), rtol=0, atol=1e-3 * float(missing.abs().max()))
    assert edited.details["missing"] < 1e-3
    held_back = Memit(layers=(2,), steps=10, covariance_weight=10.0)(beginner.model, several, shared)
    assert held_back.details["missing"] > 0.05


def test_alphaedit_leaves_the_directions_alone_that_hold_the_corpus(beginner, several, shared):
    edited = AlphaEdit(layers=(1, 2, 3), steps=6)(beginner.model, several, shared)
    for layer in (1, 2, 3):
        name = f"{MATRIX.format(layer)}.weight"
        before, after = (
            model.get_parameter(name).detach().double().numpy() for model in (beginner.model, edited.model)
        )
        statistics = next(found for (_, _, number), found in shared.unasked.items() if number == layer)
        free = weak_directions(statistics.second_moment.numpy(), 0.003)
        change = after - before
        assert np.linalg.norm(change) > 1e-2
        rounding = 2.0**-23 * np.linalg.norm(after)
        assert np.linalg.norm(change @ (np.eye(128) - free)) < rounding
        # So the corpus's keys see no more of the change than the share of their energy that is free.
        moment = statistics.second_moment.numpy()
        disturbance = np.trace(change @ moment @ change.T) / np.trace(moment)
        assert disturbance < 0.0031 * np.linalg.norm(change, 2) ** 2


def test_alphaedit_has_the_keys_of_earlier_edits_in_its_system(beginner, shared, solved):
    first, second = draw_edits(beginner.corpus, EditConfig(scenario="sequence", num_edits=2, edits_per_step=1))
    method = AlphaEdit(layers=(2,), steps=6)
    after = method(beginner.model, first, shared).model
    again = method(after, dataclasses.replace(second, earlier=(first,)), shared)
    name = f"{MATRIX.format(2)}.weight"
    before, found = (model.get_parameter(name).detach().double().numpy() for model in (after, again.model))
    keys, earlier = (seen_by(after, MATRIX.format(2), task, [7], outputs=False).T for task in (second, first))
    missing, _, projection, penalty = solved[-1]
    residual, free = missing[:1].numpy().T, projection.numpy()
    # As AlphaEdit_main.py solves it, with K_p K_p^T beside K K^T.
    system = free @ (keys @ keys.T + earlier @ earlier.T) + penalty * np.eye(128)
    expected = np.linalg.solve(system, free @ keys @ residual.T).T
    np.testing.assert_allclose(found - before, expected, rtol=0, atol=2e-3 * np.abs(expected).max() + 1e-6)
    alone = method(after, second, shared).model.get_parameter(name).detach().double().numpy()
    without = dataclasses.replace(method, earlier_keys=False)
    unheld = without(after, dataclasses.replace(second, earlier=(first,)), shared).model.get_parameter(name)
    np.testing.assert_array_equal(unheld.detach().double().numpy(), alone)
    seen = [np.linalg.norm((weight - before) @ earlier) for weight in (found, alone)]
    assert seen[0] < 0.1 * seen[1]


def test_divergence_weight_keeps_the_subjects_other_facts_closer(beginner, several, shared):
    (offered,) = draw_edits(beginner.corpus, dataclasses.replace(several.config, same_subject_rows=1))
    unread = dataclasses.replace(offered, same_subject=((), (), ()))

    def moved(task, **settings):
        free = {"layers": (2,), "steps": 15, "stop_loss": 0.0, "ridge": 1e6, "key_ridge": 1e-12, "max_norm": 4.0}
        edited = Emmet(**free, **settings)(beginner.model, task, shared)
        total = 0.0
        for query in (query for queries in offered.same_subject for query in queries):
            with torch.no_grad():
                now, was = (
                    model(torch.tensor([query.prompt_ids])).logits[0, -1].log_softmax(-1)
                    for model in (edited.model, beginner.model)
                )
            total += float((now.exp() * (now - was)).sum())
        return total

    alone = moved(unread, kl_weight=100.0)
    assert moved(offered, kl_weight=0.0) == alone
    assert moved(offered, kl_weight=100.0) < 0.8 * alone


@pytest.mark.parametrize("name", METHODS)
def test_change_has_a_rank_of_at_most_the_number_of_requests(beginner, several, shared, name):
    edited = METHODS[name](layers=(1, 3), steps=6)(beginner.model, several, shared).model
    changed = {
        key: (weight - beginner.model.get_parameter(key)).detach().double().numpy()
        for key, weight in edited.named_parameters()
        if not torch.equal(weight, beginner.model.get_parameter(key))
    }
    assert list(changed) == [f"{MATRIX.format(layer)}.weight" for layer in (1, 3)]
    for change in changed.values():
        values = np.linalg.svd(change, compute_uv=False)
        assert values[2] > 1e-4
        assert values[3] < 1e-5  # float32 rounding of the weights


def test_values_of_many_requests_are_those_of_each_alone(beginner, several, shared, solved, monkeypatch):
    Memit(layers=(2,), steps=8)(beginner.model, several, shared)
    monkeypatch.setattr(module, "_ROWS", 1)
    Memit(layers=(2,), steps=8)(beginner.model, several, shared)
    (together, *_), (alone, *_) = solved
    np.testing.assert_allclose(together.numpy(), alone.numpy(), rtol=0, atol=1e-3 * float(alone.abs().max()))


def test_value_found_gives_the_new_object_the_loss_that_is_reported(checkpoint, shared, solved):
    (several,) = draw_edits(checkpoint.corpus, EditConfig(scenario="different", num_edits=3))
    edited = Emmet(layers=(2,), steps=60, max_norm=4.0)(checkpoint.model, several, shared)
    ((missing, *_),) = solved
    losses = []
    for query, change in zip(several.requests, missing.float(), strict=True):

        def add(_module, _inputs, output, change=change):
            state = (output[0] if isinstance(output, tuple) else output).clone()
            state[:, 7] += change
            return (state, *output[1:]) if isinstance(output, tuple) else state

        handle = checkpoint.model.get_submodule("gpt_neox.layers.2").register_forward_hook(add)
        with torch.no_grad():
            logits = checkpoint.model(torch.tensor([query.prompt_ids])).logits[0, -1]
        handle.remove()
        losses.append(-float(logits.log_softmax(-1)[query.answer_ids[0]]))
    assert edited.details["loss"] == pytest.approx(max(losses), rel=0.02, abs=1e-4)
    assert max(losses) < 0.02  # the default stop_loss
    assert 8 < edited.details["steps"] < 60


def test_search_ends_at_the_loss_or_the_steps_and_stays_within_the_norm(beginner, several, shared, solved):
    eager = Memit(layers=(2,), stop_loss=1000.0)(beginner.model, several, shared)
    assert eager.details["steps"] == 0
    assert weights_digest(eager.model) == beginner.weights
    stubborn = Memit(layers=(2,), stop_loss=0.0, steps=5, max_norm=0.25)(beginner.model, several, shared)
    assert stubborn.details["steps"] == 5
    before = seen_by(beginner.model, "gpt_neox.layers.2", several, [7, 7, 7], outputs=True)
    missing = solved[-1][0].numpy()
    ratios = np.linalg.norm(missing, axis=1) / np.linalg.norm(before, axis=1)
    np.testing.assert_allclose(ratios, 0.25, rtol=1e-4)


# SPHERE, and norms that are anchored


def test_principal_directions_are_those_of_the_unit_rows_up_to_the_share_and_one_more():
    random = np.random.Generator(np.random.Philox(21))
    weight = random.normal(size=(30, 6)) * np.array([5.0, 3, 2, 1, 0.5, 0.1]) * random.uniform(0.1, 10, size=(30, 1))
    unit = weight / np.linalg.norm(weight, axis=1, keepdims=True)
    _, singular, right = np.linalg.svd(unit)
    shares = np.cumsum(singular**2) / 30  # unit rows have a trace of their number
    for energy, count in ((0.0, 1), (float(shares[0]) - 0.01, 1), (float(shares[1]) + 0.01, 3), (1.0, 6)):
        found = principal_directions(torch.from_numpy(weight), energy)
        assert found.shape == (6, count)
        expected = right[:count].T @ right[:count]
        np.testing.assert_allclose(found @ found.T, expected, rtol=0, atol=1e-6)


def test_sphere_leaves_out_a_share_of_the_change_along_them_and_none_elsewhere():
    random = np.random.Generator(np.random.Philox(22))
    weight, change = (torch.from_numpy(random.normal(size=(H, D))) for _ in range(2))
    principal = principal_directions(weight, 0.5).numpy()
    allowed = Sphere(suppression=0.3)._allowed(weight, change).numpy()
    expected = change.numpy() @ (np.eye(D) - 0.3 * principal @ principal.T)
    np.testing.assert_allclose(allowed, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(allowed @ principal, 0.7 * change.numpy() @ principal, rtol=0, atol=1e-12)


def test_sphere_that_suppresses_nothing_is_alphaedit(beginner):
    (task,) = draw_edits(beginner.corpus, EditConfig(scenario="different", num_edits=2))
    shared = Shared(progress=False)
    plain, none, half = (
        weights_digest(method(beginner.model, task, shared).model)
        for method in (AlphaEdit(steps=3), Sphere(steps=3, suppression=0.0), Sphere(steps=3))
    )
    assert plain == none != half


def test_anchored_values_have_the_norm_and_the_direction_and_long_ones_are_not_written():
    written = torch.tensor([[1.0, 0], [0, 2], [0, 1]], dtype=torch.float64)
    change = torch.tensor([[2.0, 4], [0, -1], [0, 9]], dtype=torch.float64)  # to norms of 5, 1 and 10
    found = written + anchored(written, change, 4.0)
    np.testing.assert_allclose(found, [[4 * 0.6, 4 * 0.8], [0, 4], [0, 1]], rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", [Memit, AlphaEdit])
def test_anchored_edits_aim_at_values_of_the_originals_norm_whatever_the_given_models_is(checkpoint, method):
    (task,) = draw_edits(checkpoint.corpus, EditConfig(scenario="different", num_edits=2))
    grown = copy.deepcopy(checkpoint.model)
    with torch.no_grad():
        grown.get_submodule(MATRIX.format(3)).weight.mul_(1.3)
    settings = {"steps": 3, "layers": (3,)}
    known = Shared(progress=False)  # the keys of a layer do not depend on its own output matrix
    plain = method(norm_anchor=8, **settings)(checkpoint.model, task, known).details["anchor"]
    given, alone = (
        method(norm_anchor=8, **settings)(grown, task, dataclasses.replace(known, original=original)).details["anchor"]
        for original in (checkpoint.model, None)
    )
    assert given == pytest.approx(plain, rel=1e-6)
    assert alone > 1.1 * given
    assert "anchor" not in method(**settings)(grown, task, known).details


def test_anchor_is_the_mean_norm_of_the_values_of_new_answers_to_retained_facts(beginner):
    """By hand: each fact by itself, the change found by the search, added to what the MLP wrote."""
    (task,) = draw_edits(beginner.corpus, EditConfig(scenario="different", num_edits=2))
    method, model = Memit(steps=2, layers=(2,), norm_anchor=4), copy.deepcopy(beginner.model)
    norms = []
    for fact in module.pseudo_edits(task, 4):
        outputs = []
        matrix = model.get_submodule(MATRIX.format(2))
        handle = matrix.register_forward_hook(lambda _module, _inputs, output, seen=outputs: seen.append(output))
        with torch.no_grad():
            model(torch.tensor([fact.prompt_ids]))
        handle.remove()
        alone = dataclasses.replace(task, retain={"one": (fact,)}, requests=(fact,))
        prompts = module._Prompts.of([fact], "prompt_last", model.device)
        none = module._Prompts.of([], "prompt_last", model.device)
        around = module._Around(none, torch.zeros(0, dtype=torch.long), torch.zeros(0))
        last = model.gpt_neox.layers[2]
        values, _ = method._values(model, last, alone.requests, prompts, around)
        change = values - prompts.hidden(model, last)
        norms.append(float((outputs[0][0, -1].double() + change[0]).norm()))
    assert method._anchor(model, task) == pytest.approx(np.mean(norms), rel=1e-4)


def test_setting_that_came_later_is_told_only_where_it_is_set():
    assert "norm_anchor" not in told(Memit())
    assert told(Memit(norm_anchor=8))["norm_anchor"] == 8
    with pytest.raises(ValueError, match="norm_anchor must be at least 0, got -1"):
        AlphaEdit(norm_anchor=-1)
