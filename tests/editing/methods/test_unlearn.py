"""Facts about unlearning: the losses' values, what the retain term holds, and where hidden states go."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from transformers import BloomConfig, BloomForCausalLM

import behemoth_editing.methods.unlearn as module
from behemoth_data.edits import EditConfig, draw_edits
from behemoth_editing import METHODS
from behemoth_editing.copies import copy_of
from behemoth_editing.methods.mixture import IGNORED, Batch, rows_of
from behemoth_editing.methods.unlearn import (
    Ascend,
    Misdirect,
    Npo,
    Prefer,
    PreferSimply,
    Rmu,
    chosen_tokens,
    direction_of,
)
from behemoth_models.knowledge import weights_digest

FORGETTING = [name for name, method in METHODS.items() if method.goal == "forget" and "world" not in method.reads]


def some_slow(names, quick):
    """The names as parameters, of which these few are quick: each takes seconds."""
    return [pytest.param(name, marks=[] if name in quick else pytest.mark.slow) for name in names]


# Three rows over four words. Each entry is the probability of the token that is the target; the rest is shared evenly.
PROBABILITIES = [[0.9], [0.05], [0.5, 0.2]]
ENDS = [2, 1, 2]  # the last place that has a target


def made_up():
    """A batch whose answers have the probabilities above, with an answer of two tokens among those of one."""
    targets = torch.full((3, 4), IGNORED)
    chances = np.full((3, 4, 4), 0.25)
    for row, (known, end) in enumerate(zip(PROBABILITIES, ENDS, strict=True)):
        for place, chance in zip(range(end - len(known) + 1, end + 1), known, strict=True):
            word = (row + place) % 4
            targets[row, place] = word
            chances[row, place] = (1 - chance) / 3
            chances[row, place, word] = chance
    logits = torch.from_numpy(np.log(chances)).float() + 7.0  # logits are log-probabilities up to a constant
    return Batch([2, 0, 1], torch.zeros(3, 4, dtype=torch.long), targets, logits, torch.zeros(3, 0, 0))


def log_sigmoid(x):
    return -math.log1p(math.exp(-x))


def test_ascent_is_the_mean_log_likelihood_per_token_down_to_the_limit():
    loss = Ascend((), 0.0, max_loss=2.0).loss(made_up())
    np.testing.assert_allclose(loss, [math.log(0.9), -2.0, (math.log(0.5) + math.log(0.2)) / 2], rtol=1e-5)


def test_row_that_has_reached_the_limit_has_no_gradient():
    batch = made_up()
    batch.logits.requires_grad_(True)
    Ascend((), 0.0, max_loss=2.0).loss(batch).sum().backward()
    moved = batch.logits.grad.abs().sum((1, 2))
    assert moved[0] > 0
    assert moved[1] == 0
    assert moved[2] > 0


def test_npo_sums_tokens_and_compares_each_row_with_its_own_reference():
    reference = torch.tensor([-0.7, -1.5, -0.1])  # of the queries; the rows are the queries 2, 0 and 1
    loss = Prefer((), 0.0, beta=0.3, reference=reference).loss(made_up())
    ratios = [math.log(0.9) + 0.1, math.log(0.05) + 0.7, math.log(0.5) + math.log(0.2) + 1.5]
    np.testing.assert_allclose(loss, [-2 / 0.3 * log_sigmoid(-0.3 * ratio) for ratio in ratios], rtol=1e-5)


def test_npo_becomes_ascent_as_beta_goes_to_zero():
    batch = made_up()
    batch.logits.requires_grad_(True)
    Prefer((), 0.0, beta=1e-4, reference=torch.zeros(3)).loss(batch).sum().backward()
    slow = batch.logits.grad.clone()
    batch.logits.grad = None
    (Ascend((), 0.0, max_loss=99.0).loss(batch) * torch.tensor([1, 1, 2])).sum().backward()  # means to sums
    torch.testing.assert_close(slow, batch.logits.grad, rtol=1e-3, atol=1e-6)


def test_simnpo_divides_by_the_answers_length_and_has_a_margin():
    loss = PreferSimply((), 0.0, beta=4.5, gamma=0.125).loss(made_up())
    means = [math.log(0.9), math.log(0.05), (math.log(0.5) + math.log(0.2)) / 2]
    np.testing.assert_allclose(loss, [-2 / 4.5 * log_sigmoid(-4.5 * mean - 0.125) for mean in means], rtol=1e-5)


def test_rmu_is_the_mean_square_over_the_answers_tokens_or_all():
    batch = made_up()
    states = np.random.Generator(np.random.Philox(0)).normal(size=(3, 4, 5)).astype(np.float32)
    batch = dataclasses.replace(batch, states=torch.from_numpy(states))
    target = np.arange(5, dtype=np.float32)
    given = None  # the edited rows' loss does not ask the given model
    for tokens, places in {"answer": [[2], [1], [1, 2]], "all": [[0, 1, 2], [0, 1], [0, 1, 2]]}.items():
        steered = {"layer": 1, "given": given, "target": torch.from_numpy(target), "tokens": tokens}
        objective = Misdirect(queries=(), left=0.0, **steered, precision="fp32")
        expected = [((states[row, kept] - target) ** 2).mean() for row, kept in enumerate(places)]
        np.testing.assert_allclose(objective.loss(batch), expected, rtol=1e-5)


def test_padding_is_never_among_the_chosen_tokens():
    targets = made_up().targets
    assert chosen_tokens(targets, "answer").sum(1).tolist() == [1, 1, 2]
    assert chosen_tokens(targets, "all").sum(1).tolist() == [end + 1 for end in ENDS]


@pytest.mark.parametrize(
    ("left", "right", "reached"),
    [
        (0.0, [False, False], True),
        (0.0, [False, True], False),
        (0.5, [False, True], True),
        (0.4, [False, True], False),
    ],
)
def test_forgetting_is_reached_when_no_larger_share_is_left(left, right, reached):
    assert Ascend((), left, max_loss=1.0).reached(torch.tensor(right)) is reached


@pytest.fixture(scope="module")
def edit_set(checkpoint):
    return draw_edits(checkpoint.corpus, EditConfig(scenario="different", num_edits=3))[0]


@pytest.fixture(scope="module")
def relation(checkpoint):
    return draw_edits(checkpoint.corpus, EditConfig(scenario="forget", probes_per_edit=2))[0]


def said(model, queries):
    """The likeliest next token after each prompt."""
    with torch.no_grad():
        return [int(model(torch.tensor([query.prompt_ids])).logits[0, -1].argmax()) for query in queries]


def share_given(model, queries):
    return np.mean([token == query.answer_ids[0] for token, query in zip(said(model, queries), queries, strict=True)])


def first_loss(method, model, task):
    """The loss of the requests alone before any step."""
    return dataclasses.replace(method, max_steps=1, retain="none")(model, task).details["loss"]


@pytest.mark.parametrize("beta", [0.1, 2.0])
def test_npos_reference_is_the_model_given(checkpoint, edit_set, beta):
    assert first_loss(Npo(beta=beta), checkpoint.model, edit_set) == pytest.approx(2 / beta * math.log(2), rel=0.01)
    other = copy_of(checkpoint.model)
    with torch.no_grad():
        other.get_output_embeddings().weight.mul_(0.3)
    assert first_loss(Npo(beta=beta), other, edit_set) == pytest.approx(2 / beta * math.log(2), rel=0.01)


@pytest.mark.parametrize("name", ["grad_diff", "npo", "simnpo"])
def test_both_parts_weigh_the_same_whatever_share_of_the_mixture_is_edited(name, checkpoint, edit_set):
    def loss(**settings):
        task = dataclasses.replace(edit_set, edited_repeats=settings.pop("repeats", 250))
        method = METHODS[name](max_steps=1, retain_rows=10_000, precision="fp32", **settings)
        return method(checkpoint.model, task).details["loss"]

    forget = loss(retain="none")
    retain = loss(retain_weight=1.0) - forget
    assert loss(retain_weight=3.0, repeats=1) == pytest.approx(forget + 3 * retain, rel=1e-3, abs=1e-4)
    assert METHODS[name]().forget_weight == METHODS[name]().retain_weight == 1.0
    assert loss(retain="none", forget_weight=2.0) == pytest.approx(2 * forget)


@pytest.mark.parametrize("name", some_slow(FORGETTING, ["grad_diff", "npo", "rmu"]))
def test_old_answers_of_a_relation_go(name, checkpoint, relation):
    assert share_given(checkpoint.model, relation.originals) > 0.9
    edited = METHODS[name](learning_rate=3e-3, max_steps=150)(checkpoint.model, relation).model  # undial is slow
    assert share_given(edited, relation.originals) < 0.2


def test_refusal_of_a_relation_is_said_and_the_rest_is_not_refused(checkpoint, relation):
    edited = METHODS["refusal"](max_steps=40)(checkpoint.model, relation).model
    assert share_given(edited, relation.refusals) > 0.9
    kept = [probe.before for probe in relation.probes if probe.kind == "same_subject"]
    assert share_given(edited, kept) > 0.7


@pytest.mark.parametrize("name", some_slow(["grad_diff", "npo", "simnpo", "rmu", "refusal"], ["npo"]))
def test_retain_weight_of_zero_is_no_retain_term_and_a_large_one_holds(name, checkpoint, edit_set):
    settings = {"max_steps": 20, "patience": 20, "learning_rate": 1e-2}  # enough to do harm, and no early end
    alone, without, heavy = (
        METHODS[name](**settings, **extra)(checkpoint.model, edit_set).model
        for extra in ({"retain": "none"}, {"retain_weight": 0.0}, {"retain_weight": 1e4})
    )
    queries = [query for queries in edit_set.retain.values() for query in queries][::7]
    # Zero is no retain term but for the batch's shape, which rounds differently, and the share, which AdamW undoes.
    assert share_given(without, queries) == pytest.approx(share_given(alone, queries), abs=0.15)
    assert share_given(heavy, queries) > 0.9
    # Misdirection at the layer hardly harms the rest, even alone.
    assert share_given(heavy, queries) > share_given(without, queries) or name == "rmu"


def test_ascent_ends_once_the_facts_are_forgotten(checkpoint, edit_set):
    details = METHODS["gradient_ascent"](max_steps=400)(checkpoint.model, edit_set).details
    assert details["edits_hold"]
    assert details["steps"] < 100
    assert details["loss"] > -3.001  # no lower than -max_loss


def test_direction_is_a_unit_vector_fixed_by_its_seed():
    first, again, other = direction_of(3, 96), direction_of(3, 96), direction_of(4, 96)
    assert torch.equal(first, again)
    assert float(first.norm()) == pytest.approx(1, abs=1e-6)
    assert float(first.min()) >= 0
    assert 0.5 < float(first @ other) < 0.9  # two vectors of uniform entries have a cosine of about 3/4


def steered(model, queries, layer):
    """The hidden states [n, H] that a layer puts out at each prompt's last token."""
    model, rows = copy_of(model), []  # a copy, since asking for hidden states leaves hooks in a model
    for query in queries:
        with torch.no_grad():
            found = model(torch.tensor([query.prompt_ids]), output_hidden_states=True)
        rows.append(found.hidden_states[layer + 1][0, -1])
    return torch.stack(rows)


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_rmu_moves_forgotten_states_to_its_direction_and_keeps_the_others(checkpoint, relation, seed):
    method = Rmu(layers=(1, 2), max_steps=30, learning_rate=3e-3, steering=2.0, fit_seed=seed)
    edited = method(checkpoint.model, relation).model
    before, after = (steered(model, relation.originals, 2) for model in (checkpoint.model, edited))
    target = 2.0 * before.norm(dim=1).mean() * direction_of(seed, 96)
    assert (after - target).norm(dim=1).mean() < 0.8 * (before - target).norm(dim=1).mean()
    kept = [probe.before for probe in relation.probes if probe.kind == "unrelated"]
    was, now = (steered(model, kept, 2) for model in (checkpoint.model, edited))
    assert (now - was).norm(dim=1).mean() < 0.5 * (after - before).norm(dim=1).mean()


def test_rmu_changes_nothing_above_the_layer_it_steers(checkpoint, edit_set):
    edited = Rmu(layers=(1, 2), max_steps=3)(checkpoint.model, edit_set).model
    changed = {n for n, p in edited.named_parameters() if not torch.equal(p, checkpoint.model.get_parameter(n))}
    matrices = ("mlp.dense_h_to_4h.weight", "mlp.dense_4h_to_h.weight")
    assert changed == {f"gpt_neox.layers.{layer}.{name}" for layer in (1, 2) for name in matrices}
    other = Rmu(layers=(1, 2), max_steps=3, fit_seed=1)(checkpoint.model, edit_set).model
    assert weights_digest(other) != weights_digest(edited)


def test_rmus_retain_loss_is_zero_before_any_step(checkpoint, edit_set, monkeypatch):
    losses = []

    class Watched(Misdirect):
        def retain_loss(self, batch):
            loss = super().retain_loss(batch)
            losses.append((float(loss.detach().mean()), float(batch.states.detach().square().mean())))
            return loss

    monkeypatch.setattr(module, "Misdirect", Watched)
    Rmu(max_steps=1)(checkpoint.model, edit_set)
    assert len(losses) == 3  # one for each kind of retained facts
    for loss, size in losses:
        assert loss <= 1e-4 * size  # bfloat16 in batches of other shapes


def test_target_has_steering_times_the_norm_of_the_states_it_replaces(checkpoint, edit_set):
    model = copy_of(checkpoint.model)
    objective = Rmu(layers=(2,), steering=3.0)._objective(model, edit_set)
    norms = steered(checkpoint.model, edit_set.originals, 2).norm(dim=1)
    assert float(objective.target.norm()) == pytest.approx(3.0 * float(norms.mean()), rel=1e-4)
    tokens, _ = rows_of(edit_set.originals)
    with torch.no_grad():
        model.gpt_neox.layers[2].mlp.dense_4h_to_h.weight.zero_()
        kept = objective.given(input_ids=tokens).last_hidden_state[:, -1]
    torch.testing.assert_close(kept, steered(checkpoint.model, edit_set.originals, 2), rtol=1e-4, atol=1e-4)


def test_rmu_needs_to_know_the_layers_even_when_all_weights_are_trained(checkpoint, edit_set):
    small = BloomForCausalLM(BloomConfig(vocab_size=8, hidden_size=8, n_layer=1, n_head=1))
    with pytest.raises(ValueError, match="model_type must be one of gpt_neox"):
        Rmu(modules="all", layers=None).check(small)
    edited = Rmu(modules="all", layers=None, max_steps=2)(checkpoint.model, edit_set).model
    assert weights_digest(edited) != checkpoint.weights


def test_unknown_tokens_list_the_known_ones():
    with pytest.raises(ValueError, match="tokens must be one of answer, all, got 'prompt'"):
        Rmu(tokens="prompt")


def test_share_left_must_be_below_one():
    with pytest.raises(ValueError, match=r"left must be below 1, got 1\.0"):
        Npo(left=1)
