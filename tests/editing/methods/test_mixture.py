"""Facts about training on an edit set's mixture: which rows, which loss, and when it ends."""

import copy
import dataclasses
import itertools

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.optim.optimizer import register_optimizer_step_post_hook

import behemoth_editing.methods.mixture as module
from behemoth_data.edits import EditConfig, draw_edits
from behemoth_data.grammar import Query
from behemoth_data.rng import Stream
from behemoth_editing.architecture import first_layers
from behemoth_editing.copies import copy_of
from behemoth_editing.methods.mixture import (
    IGNORED,
    Batch,
    FitSettings,
    Learn,
    _flat,
    _Part,
    _right,
    _Rows,
    fit,
    rows_of,
)
from behemoth_models.knowledge import weights_digest


@pytest.fixture(scope="module")
def edit_set(checkpoint):
    return draw_edits(checkpoint.corpus, EditConfig(scenario="different", num_edits=2))[0]


def fitted(checkpoint, edit_set, **settings):
    """A copy with the MLP of layer 2 trained, and fit()'s details."""
    model = copy_of(checkpoint.model)
    parameters = list(model.gpt_neox.layers[2].mlp.parameters())
    for parameter in parameters:
        parameter.requires_grad_(True)
    return model, fit(model, parameters, edit_set, FitSettings(**settings), Learn(edit_set.requests))


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
        ([-1.0, -1.0, -1.0, -1.0], True),  # losses may be negative
        ([-1.0, -1.0, -1.04, -1.04], True),
        ([-1.0, -1.0, -1.06, -1.06], False),
        ([0.0, 0.0, 0.0, 0.0], True),
    ],
)
def test_loss_is_flat_when_a_window_is_no_more_than_5_percent_below_the_one_before(losses, flat):
    assert _flat(losses, 2) is flat


@pytest.mark.parametrize(
    ("shares", "least"),
    [
        ([], 1.0),
        ([[], []], 1.0),  # nothing is retained
        ([[1.0], [0.5]], 0.75),
        ([[1.0, 0.5], [1.0, 0.0]], 0.25),
        ([[0.0, 1.0], [1.0, 1.0]], 0.5),
    ],
)
def test_share_of_retained_rows_that_were_right_is_that_of_the_worst_kind(shares, least):
    assert _right(shares) == least


def test_rows_are_right_when_every_answer_token_is_the_likeliest():
    targets = torch.tensor([[IGNORED, 3, 4], [IGNORED, 3, 4], [1, IGNORED, IGNORED]])
    likeliest = torch.tensor([[9, 3, 4], [9, 3, 5], [2, 0, 0]])
    logits = torch.nn.functional.one_hot(likeliest, 10).float()
    assert Batch([0, 1, 2], targets, targets, logits, logits).right.tolist() == [True, False, False]


def stopped(checkpoint, edit_set, retain_accuracy):
    model, details = fitted(
        checkpoint, edit_set, max_steps=300, patience=4, learning_rate=3e-3, retain_accuracy=retain_accuracy
    )
    assert details["edits_hold"]
    assert details["steps"] < 300
    for request in edit_set.requests:
        ids = torch.tensor([request.prompt_ids])
        with torch.no_grad():
            assert int(model(ids).logits[0, -1].argmax()) == request.answer_ids[0]
    return details["steps"]


def test_it_stops_when_edits_hold_and_retained_facts_are_right_or_the_loss_is_flat(checkpoint, edit_set, monkeypatch):
    anyhow, unless_right = (stopped(checkpoint, edit_set, accuracy) for accuracy in (0.0, 0.99))
    monkeypatch.setattr("behemoth_editing.methods.mixture._right", lambda _: 0.0)
    flat = stopped(checkpoint, edit_set, 0.99)
    assert 4 <= anyhow <= unless_right <= flat
    assert anyhow < flat
    assert flat >= 8  # two windows


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
    # Of the last kind, retained facts get answers of one and two tokens that the model does not give.
    *known, _ = edit_set.retain
    wrong = {
        kind: queries
        if kind in known
        else tuple(Query(q.prompt, q.answer, q.prompt_ids, (11 + i % 7, 4)[: 1 + i % 2]) for i, q in enumerate(queries))
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
    assert max(kinds[:2]) < 0.1 * kinds[2]
    assert abs(sum(kinds) / 3 - edited) > 0.2 * edited


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


class Watcher(Learn):
    """Learns the requests, and keeps what it was shown."""

    layer = 3
    seen = ()

    def loss(self, batch):
        type(self).seen = (*self.seen, batch)
        return super().loss(batch)


def test_objective_is_shown_its_own_rows_and_what_its_layer_puts_out(checkpoint, edit_set):
    model = copy_of(checkpoint.model)
    trained = [model.gpt_neox.layers[2].mlp.dense_4h_to_h.weight.requires_grad_(True)]
    fit(model, trained, edit_set, FitSettings(max_steps=1, precision="fp32"), Watcher(edit_set.requests))
    (batch,) = Watcher.seen
    assert sorted(batch.places) == [0, 1]
    tokens, targets = rows_of([edit_set.requests[place] for place in batch.places])
    width = tokens.shape[1]
    assert torch.equal(batch.tokens[:, :width], tokens)
    assert torch.equal(batch.targets[:, :width], targets)
    with torch.no_grad():
        found = copy_of(checkpoint.model)(tokens, output_hidden_states=True)  # which leaves hooks in a model
    torch.testing.assert_close(batch.states[:, :width], found.hidden_states[4], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(batch.logits[:, :width], found.logits, rtol=1e-4, atol=1e-4)
    assert not any(part._forward_hooks for part in model.modules())


@pytest.mark.parametrize("layer", [0, 2, 5])
def test_layers_below_the_first_trained_one_run_once_and_change_nothing(checkpoint, edit_set, monkeypatch, layer):
    def tuned():
        model = copy_of(checkpoint.model)
        trained = [model.gpt_neox.layers[layer].mlp.dense_4h_to_h.weight.requires_grad_(True)]
        passed = []
        model.gpt_neox.layers[0].register_forward_hook(lambda *_: passed.append(1))
        settings = FitSettings(max_steps=12, retain_rows=6)
        details = fit(model, trained, edit_set, settings, Learn(edit_set.requests))
        return trained[0].detach(), details["loss"], len(passed)

    weight, loss, passes = tuned()
    monkeypatch.setattr(module, "halves", lambda model, parameters: (None, model))
    plain_weight, plain_loss, plain_passes = tuned()
    assert plain_passes == 12
    assert passes == (12 if layer == 0 else 2)  # every ten steps' rows pass together
    assert loss == pytest.approx(plain_loss, rel=0.02)
    moved = (plain_weight - checkpoint.model.gpt_neox.layers[layer].mlp.dense_4h_to_h.weight).norm()
    assert (weight - plain_weight).norm() < 0.05 * moved


def test_rows_are_known_after_one_pass_and_are_not_passed_again(checkpoint, edit_set):
    model = copy_of(checkpoint.model)
    rows = _Rows(model, list(model.gpt_neox.layers[4].parameters()), edit_set.retain["unrelated"][:8], "fp32")
    passed = []
    model.gpt_neox.layers[0].register_forward_hook(lambda _, inputs, __: passed.append(len(inputs[0])))
    rows.prepare({1, 3})
    rows.prepare({3, 1})
    rows.prepare({3, 7, 5})
    assert passed == [2, 2]
    rows.prepare({0})
    (batch,) = rows.run([_Part(0, 1, 1, Stream(0, "test"))], 0)
    assert passed == [2, 2, 1]
    with torch.no_grad():
        expected = checkpoint.model(batch.tokens).logits
    torch.testing.assert_close(batch.logits, expected, rtol=0.05, atol=0.2)


def test_first_layers_put_out_what_the_last_of_them_does(checkpoint):
    tokens = torch.tensor([[3, 4, 5, 6]])
    with torch.no_grad():
        states = copy_of(checkpoint.model)(tokens, output_hidden_states=True).hidden_states
        for count in (1, 4):
            found = first_layers(checkpoint.model, count)(input_ids=tokens).last_hidden_state
            assert torch.equal(found, states[count])
    assert len(checkpoint.model.gpt_neox.layers) == 6


def test_projection_is_called_after_every_step(checkpoint, edit_set, taken):
    model = copy_of(checkpoint.model)
    weight = model.gpt_neox.layers[2].mlp.dense_4h_to_h.weight.requires_grad_(True)
    steps = []
    fit(model, [weight], edit_set, FitSettings(max_steps=3), Learn(edit_set.requests), lambda: steps.append(len(taken)))
    assert steps == [1, 2, 3]


class Hasty(Learn):
    """Learns the requests and does not wait for its loss."""

    settles = False


@pytest.mark.parametrize("patience", [1, 3])
def test_objective_that_does_not_settle_ends_as_soon_as_it_is_reached(checkpoint, edit_set, taken, patience):
    def steps(objective):
        model = copy_of(checkpoint.model)
        weight = model.gpt_neox.layers[2].mlp.dense_4h_to_h.weight.requires_grad_(True)
        settings = FitSettings(max_steps=300, patience=patience, learning_rate=1e-2, retain_accuracy=1.0)
        details = fit(model, [weight], edit_set, settings, objective(edit_set.requests))
        assert details["edits_hold"]
        return details["steps"], model

    hasty, model = steps(Hasty)
    settled, _ = steps(Learn)
    assert hasty < settled
    said = [int(model(torch.tensor([q.prompt_ids])).logits[0, -1].argmax()) for q in edit_set.requests]
    assert said == [q.answer_ids[0] for q in edit_set.requests]


@pytest.mark.parametrize("wrong", [-0.1, 1.1])
def test_retain_accuracy_is_a_share(wrong):
    with pytest.raises(ValueError, match=f"retain_accuracy must be from 0 to 1, got {wrong}"):
        FitSettings(retain_accuracy=wrong)


def test_training_is_without_dropout_and_the_mode_stays(checkpoint, edit_set):
    calm, details = fitted(checkpoint, edit_set, max_steps=3)
    model = copy_of(checkpoint.model).train(True)
    for part in model.modules():
        part.p = 0.5  # of what has it
    model.gpt_neox.layers[4].train(False)
    modes = [part.training for part in model.modules()]
    parameters = list(model.gpt_neox.layers[2].mlp.parameters())
    for parameter in parameters:
        parameter.requires_grad_(True)
    found = fit(model, parameters, edit_set, FitSettings(max_steps=3), Learn(edit_set.requests))
    assert found["loss"] == details["loss"]
    assert all(map(torch.equal, model.parameters(), calm.parameters()))
    assert [part.training for part in model.modules()] == modes
