"""Facts about confidence, divergence and weight change, worked out by hand or with numpy."""

import copy

import numpy as np
import pytest
import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from behemoth_data.edits import EditConfig, draw_edits
from behemoth_data.lexicon import Role
from behemoth_editing import Lora, Rome
from behemoth_editing.scoring.answers import answer_log_probabilities
from behemoth_editing.scoring.confidence import confidence, kl_divergence
from behemoth_editing.scoring.weights import weight_change

LAYER = "gpt_neox.layers.1.mlp.dense_4h_to_h"


def tiny(seed=0, **settings):
    """An untrained model of two layers."""
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return GPTNeoXForCausalLM(GPTNeoXConfig(vocab_size=40, **{**shape, **settings}))


# confidence


def test_confidence_by_hand():
    masses = np.array([[0.1, 0.2, 0.1, 0.0], [0.25, 0.25, 0.25, 0.25], [0.0, 0.0, 0.01, 0.04]])
    with np.errstate(divide="ignore"):
        found = confidence(np.log(masses), new=[1, 0, 2], old=[0, 3, 0])
    np.testing.assert_allclose(found.new, [0.5, 0.25, 0.2])
    np.testing.assert_allclose(found.old, [0.25, 0.25, 0.0])
    np.testing.assert_allclose(found.validity, [0.4, 1.0, 0.05])
    assert found.new_rank.tolist() == [1, 1, 2]
    assert found.old_rank.tolist() == [2, 1, 3]  # ties share the better rank: one more than are strictly larger


def test_confidence_of_masses_too_small_for_a_float_is_still_a_share():
    found = confidence([[-2000.0, -2000.0 + np.log(3.0)]], new=[1], old=[0])
    np.testing.assert_allclose([found.new[0], found.old[0]], [0.75, 0.25])
    assert found.validity.tolist() == [0.0]


def test_ranks_agree_with_sorting():
    random = np.random.Generator(np.random.Philox(3))
    table = np.log(random.random((30, 9)).round(1).clip(0.05) / 9)  # rounded, so that some are alike
    new, old = random.integers(0, 9, 30), random.integers(0, 9, 30)
    found = confidence(table, new, old)
    for row, n, o, rank_new, rank_old in zip(table, new, old, found.new_rank, found.old_rank, strict=True):
        ordered = sorted(row, reverse=True)
        assert (rank_new, rank_old) == (ordered.index(row[n]) + 1, ordered.index(row[o]) + 1)
    assert (np.array([len(set(row)) for row in table]) < 9).any()


@pytest.mark.parametrize(
    ("table", "new", "old", "message"),
    [
        ([[-1.0, -1.0]], [2], [0], r"new must lie in \[0, 2\), the candidates, got 2"),
        ([[-1.0, -1.0]], [0], [-1], r"old must lie in \[0, 2\), the candidates, got -1"),
        ([[-1.0, -1.0]], [0, 1], [0], r"new must have shape \(1,\), a tail a row, got \(2,\)"),
        ([[-1.0, -1.0], [np.nan, -1.0]], [0, 0], [0, 0], "log_probabilities must hold numbers, got nan in row 1"),
        ([[-np.inf, -np.inf]], [0], [1], "log_probabilities must have a candidate above -inf in every row"),
        ([[0.5, 0.5]], [0], [1], "log_probabilities must have a mass of at most 1, got 3.29"),
        ([-1.0, -1.0], [0], [1], r"log_probabilities must be a table with columns, got shape \(2,\)"),
    ],
)
def test_confidence_of_something_else_is_refused(table, new, old, message):
    with pytest.raises(ValueError, match=message):
        confidence(table, new, old)


def test_trained_model_is_sure_of_the_old_objects_of_the_right_relation(checkpoint):
    sets = draw_edits(checkpoint.corpus, EditConfig(num_edits=20, probes_per_edit=1))
    edits = [edit for edit_set in sets for edit in edit_set.edits]
    prompts = [request.prompt_ids for edit_set in sets for request in edit_set.requests]
    candidates = checkpoint.corpus.grammar.lexicon.encode(Role.OBJECT, np.arange(20), 0)
    found = confidence(
        answer_log_probabilities(checkpoint.model, prompts, candidates),
        [edit.new_tail for edit in edits],
        [edit.fact.tail for edit in edits],
    )
    assert np.median(found.old) > 0.9
    assert np.median(found.old_rank) == 1
    assert found.validity.min() > 0.9
    assert (found.new + found.old <= 1 + 1e-12).all()
    assert (found.new_rank > 1).mean() > 0.9


# divergence


def test_divergence_by_hand():
    before, after = [[0.5, 0.5], [1.0, 0.0], [0.25, 0.75]], [[0.25, 0.75], [0.5, 0.5], [0.25, 0.75]]
    with np.errstate(divide="ignore"):
        found = kl_divergence(np.log(before), np.log(after))
    expected = [0.5 * np.log(2) + 0.5 * np.log(2 / 3), np.log(2), 0.0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-15)
    assert found[2] == 0.0


def test_divergence_is_zero_only_of_equal_distributions_and_never_below():
    random = np.random.Generator(np.random.Philox(4))
    first, second = (np.log(table / table.sum(1, keepdims=True)) for table in random.random((2, 20, 50)) + 1e-3)
    assert (kl_divergence(first, first) == 0).all()
    assert (kl_divergence(first, second) > 0.01).all()
    nearly = first + 1e-9 * random.random(first.shape)
    assert (kl_divergence(first, nearly) >= 0).all()


def test_divergence_is_infinite_where_the_possible_became_impossible():
    with np.errstate(divide="ignore"):
        assert kl_divergence(np.log([[0.5, 0.5]]), np.log([[1.0, 0.0]])).tolist() == [np.inf]
        assert kl_divergence(np.log([[1.0, 0.0]]), np.log([[1.0, 0.0]])).tolist() == [0.0]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ([[0.0]], [[0.0], [0.0]], r"after must have the shape of before, \(1, 1\), got \(2, 1\)"),
        ([[-1.0, -1.0]], [[-1.0, -1.0]], "before must have rows with a mass of 1, got one that is off by 0.26"),
        ([[0.0]], [[np.nan]], "after must hold numbers, got nan in row 0"),
    ],
)
def test_divergence_of_something_else_is_refused(before, after, message):
    with pytest.raises(ValueError, match=message):
        kl_divergence(before, after)


# weights


def test_unchanged_model_has_no_change():
    model = tiny()
    found = weight_change(model, copy.deepcopy(model))
    assert (found.parameters, found.norm, found.relative, found.rank) == ({}, 0.0, 0.0, 0)


@pytest.mark.parametrize("rank", [1, 3, 16])
def test_norm_and_rank_of_a_change_are_numpys(rank):
    before, random = tiny(), np.random.Generator(np.random.Philox(rank))
    after = copy.deepcopy(before)
    factors = random.normal(size=(16, rank)), random.normal(size=(rank, 24))
    with torch.no_grad():
        after.get_submodule(LAYER).weight += torch.from_numpy(0.05 * factors[0] @ factors[1]).float()
        after.get_submodule(LAYER).bias += 0.5
    found = weight_change(before, after)
    assert list(found.parameters) == [f"{LAYER}.weight", f"{LAYER}.bias"]
    matrix, vector = found.parameters.values()
    weights = [model.get_submodule(LAYER).weight.detach().double().numpy() for model in (before, after)]
    change = weights[1] - weights[0]
    assert matrix.norm == pytest.approx(np.sqrt((change**2).sum()))
    assert matrix.relative == pytest.approx(np.sqrt((change**2).sum() / (weights[0] ** 2).sum()))
    assert matrix.rank == np.linalg.matrix_rank(change, tol=matrix.tolerance) == rank
    if rank < 16:  # without a tolerance for rounding, every change of rounded weights has full rank
        assert np.linalg.matrix_rank(change) == 16
    assert matrix.tolerance == pytest.approx(4 * 2.0**-23 * max(np.linalg.norm(weight) for weight in weights))
    assert vector.norm == pytest.approx(0.5 * 4, rel=1e-6)
    assert (vector.rank, vector.tolerance, vector.relative) == (None, None, np.inf)  # biases begin at 0
    assert found.norm == pytest.approx(np.sqrt(matrix.norm**2 + vector.norm**2))
    everything = sum(float((weight.detach().double() ** 2).sum()) for weight in before.parameters())
    assert found.relative == pytest.approx(found.norm / np.sqrt(everything))
    assert found.rank == rank


def test_tolerance_is_as_many_roundings_as_asked_for():
    before, after = tiny(), tiny()
    with torch.no_grad():
        after.get_submodule(LAYER).weight[0, 0] += 1e-3
    assert weight_change(before, after).rank == 1
    wide = weight_change(before, after, roundings=1e6)
    assert (wide.rank, len(wide.parameters)) == (0, 1)
    assert wide.norm == pytest.approx(1e-3, rel=1e-3)


def test_edits_have_the_rank_that_their_methods_promise(checkpoint):
    (edit_set,) = draw_edits(checkpoint.corpus, EditConfig(scenario="different", num_edits=3))
    found = weight_change(checkpoint.model, Rome(layer=2, steps=5)(checkpoint.model, edit_set).model)
    (matrix,) = found.parameters.values()
    assert matrix.rank == found.rank == 3  # one for each edit
    low = Lora(rank=2, max_steps=10)(checkpoint.model, edit_set).model
    ranks = {change.rank for change in weight_change(checkpoint.model, low).parameters.values()}
    assert ranks == {2}


@pytest.mark.parametrize("other", [{"hidden_size": 32}, {"num_hidden_layers": 1}])
def test_models_of_different_architectures_are_refused(other):
    with pytest.raises(ValueError, match=r"after must have the parameters of before, got \d+ that differ, such as"):
        weight_change(tiny(), tiny(**other))


def test_weights_that_are_no_numbers_are_refused():
    before, after = tiny(), tiny()
    with torch.no_grad():
        after.get_submodule(LAYER).weight[0, 0] = float("nan")
    with pytest.raises(ValueError, match=f"weights must be finite, {LAYER}.weight are not"):
        weight_change(before, after)


@pytest.mark.parametrize(("kind", "epsilon"), [(torch.float16, 2.0**-10), (torch.bfloat16, 2.0**-7)])
def test_change_of_narrow_weights_is_that_of_the_numbers_they_hold(kind, epsilon):
    before = tiny().to(kind)
    after = copy.deepcopy(before)
    with torch.no_grad():
        after.get_submodule(LAYER).weight[:2] += 1.0
    found = weight_change(before, after)
    first, second = (model.get_submodule(LAYER).weight.detach().float().numpy() for model in (before, after))
    change = second.astype(np.float64) - first
    (matrix,) = found.parameters.values()
    assert matrix.norm == found.norm == pytest.approx(np.sqrt((change**2).sum()), rel=1e-12)
    norms = [np.linalg.norm(weight.astype(np.float64)) for weight in (first, second)]
    assert matrix.tolerance == pytest.approx(4 * epsilon * max(norms), rel=1e-9)
    assert matrix.rank == np.linalg.matrix_rank(change, tol=matrix.tolerance) == 1
