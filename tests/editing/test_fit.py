"""Facts about training on an edit set's mixture: which rows, which loss, and when it ends."""

import copy
import dataclasses
import itertools

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.optim.optimizer import register_optimizer_step_post_hook

from behemoth_data.edits import EditConfig, draw_edits
from behemoth_data.grammar import Query
from behemoth_data.rng import Stream
from behemoth_editing.fit import FitSettings, _flat, _Part, fit, rows_of
from behemoth_editing.method import copy_of, weights_digest


@pytest.fixture(scope="module")
def edit_set(checkpoint):
    return draw_edits(checkpoint.corpus, EditConfig(scenario="different", num_edits=2))[0]


def fitted(checkpoint, edit_set, **settings):
    """A copy with the MLP of layer 2 trained, and fit()'s details."""
    model = copy_of(checkpoint.model)
    parameters = list(model.gpt_neox.layers[2].mlp.parameters())
    for parameter in parameters:
        parameter.requires_grad_(True)
    return model, fit(model, parameters, edit_set, FitSettings(**settings))


@pytest.mark.parametrize(("size", "count"), [(7, 3), (5, 5), (10, 4), (1, 1), (9, 1)])
def test_every_pass_sees_each_retain_fact_once(size, count):
    order = Stream(0, "test")
    part = _Part(100, size, count, order)
    steps = [[row - 100 for row in part.rows(step)] for step in range(4 * size)]
    assert {len(places) for places in steps} == {count}
    seen = list(itertools.chain(*steps))
    passes = [seen[start : start + size] for start in range(0, len(seen) - size + 1, size)]
    assert len(passes) == 4 * count
    assert all(sorted(one) == list(range(size)) for one in passes)
    assert size < 5 or len({tuple(one) for one in passes}) > 1


def test_rows_hold_prompts_with_answers_and_train_the_answers_only():
    long = Query("a b", "c d", (5, 6), (7, 8))
    short = Query("e", "f", (9,), (3,))
    tokens, targets = rows_of([long, short])
    assert tokens[0].tolist() == [5, 6, 7]
    assert targets.tolist() == [[-100, 7, 8], [3, -100, -100]]
    assert tokens[1, 0] == 9
    assert tokens.shape == targets.shape == (2, 3)


@pytest.mark.parametrize(
    ("losses", "flat"),
    [
        ([1.0, 1.0, 1.0], False),  # two windows of two are not full yet
        ([1.0, 1.0, 1.0, 1.0], True),
        ([1.0, 1.0, 0.96, 0.96], True),
        ([1.0, 1.0, 0.94, 0.94], False),
        ([9.0, 1.0, 1.0, 1.0, 1.0], True),  # only the last two windows count
        ([1.0, 1.0, 2.0, 2.0], True),
    ],
)
def test_loss_is_flat_when_a_window_is_no_more_than_5_percent_below_the_one_before(losses, flat):
    assert _flat(losses, 2) is flat


def test_it_stops_when_the_edits_hold_and_the_loss_is_flat(checkpoint, edit_set):
    model, details = fitted(checkpoint, edit_set, max_steps=300, patience=4, learning_rate=3e-3)
    assert details["edits_hold"]
    assert 8 <= details["steps"] < 300
    for request in edit_set.requests:
        ids = torch.tensor([request.prompt_ids])
        with torch.no_grad():
            assert int(model(ids).logits[0, -1].argmax()) == request.answer_ids[0]


@pytest.fixture
def taken():
    """One entry for every step that any optimizer takes during a test."""
    steps = []
    handle = register_optimizer_step_post_hook(lambda *_: steps.append(1))
    yield steps
    handle.remove()


@pytest.mark.parametrize("steps", [1, 4])
def test_it_takes_no_more_than_max_steps(checkpoint, edit_set, taken, steps):
    _, details = fitted(checkpoint, edit_set, max_steps=steps)
    assert details["steps"] == len(taken) == steps
    assert not details["edits_hold"]


def test_steps_are_those_taken_when_it_stops_early(checkpoint, edit_set, taken):
    _, details = fitted(checkpoint, edit_set, max_steps=300, patience=2, learning_rate=3e-3, retain="none")
    assert details["steps"] == len(taken) < 300


def mean_loss(model, queries):
    """Mean over queries of the mean negative log-likelihood of their answer's tokens, one query at a time."""
    losses = []
    for query in queries:
        ids = torch.tensor([query.prompt_ids + query.answer_ids])
        with torch.no_grad():
            logits = model(ids).logits[0, len(query.prompt_ids) - 1 : -1]
        losses.append(cross_entropy(logits, torch.tensor(query.answer_ids)).item())
    return sum(losses) / len(losses)


@pytest.mark.parametrize("retain", ["mixture", "none"])
def test_first_loss_weighs_edits_and_kinds_as_the_mixture_does(checkpoint, edit_set, retain):
    # Retained facts get answers of one and two tokens that the model does not give, so that their loss counts.
    wrong = {
        kind: tuple(
            Query(q.prompt, q.answer, q.prompt_ids, (11 + i % 7, 4)[: 1 + i % 2]) for i, q in enumerate(queries)
        )
        for kind, queries in edit_set.retain.items()
    }
    hard = copy.copy(edit_set)
    object.__setattr__(hard, "retain", wrong)
    _, details = fitted(checkpoint, hard, max_steps=1, retain=retain, retain_rows=10_000)
    edited = mean_loss(checkpoint.model, edit_set.requests)
    kinds = [mean_loss(checkpoint.model, queries) for queries in wrong.values()]
    share = 500 / (500 + sum(map(len, wrong.values())))  # two edits, 250 rows each
    expected = edited if retain == "none" else share * edited + (1 - share) * sum(kinds) / 3
    assert len(kinds) == 3
    assert details["loss"] == pytest.approx(expected, rel=0.01)  # bfloat16 against float32
    assert abs(sum(kinds) / 3 - edited) > 0.05 * edited


def test_another_fit_seed_takes_the_rows_in_another_order(checkpoint, edit_set):
    first, again, other = (
        weights_digest(fitted(checkpoint, edit_set, max_steps=2, fit_seed=seed, retain_rows=6)[0]) for seed in (0, 0, 1)
    )
    assert first == again != other


def test_only_the_given_parameters_are_trained(checkpoint, edit_set):
    model, _ = fitted(checkpoint, edit_set, max_steps=2)
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, checkpoint.model.get_parameter(n))}
    parts = ("dense_h_to_4h.weight", "dense_h_to_4h.bias", "dense_4h_to_h.weight", "dense_4h_to_h.bias")
    assert changed == {f"gpt_neox.layers.2.mlp.{part}" for part in parts}


def test_edit_set_without_retain_facts_can_be_trained_on(checkpoint, edit_set):
    alone = dataclasses.replace(edit_set, retain={"same_relation": ()})
    model, details = fitted(checkpoint, alone, max_steps=2)
    assert details["loss"] > 0
    assert weights_digest(model) != checkpoint.weights
