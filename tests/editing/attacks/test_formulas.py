"""What attacks compute, against hand-made cases and brute force."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, GPTNeoXConfig, GPTNeoXForCausalLM

from behemoth_data.edits import EditConfig, draw_edits
from behemoth_data.rng import Stream
from behemoth_editing.attacks import ATTACKS
from behemoth_editing.attacks.contract import Refused, untouched
from behemoth_editing.attacks.damage import Round, inner_matrices, matrices_of, pruned, rounded
from behemoth_editing.attacks.readout import fit_probe, states_of, without_each
from behemoth_editing.attacks.relearning import Relearn
from behemoth_editing.attacks.sampling import sampled, succession
from behemoth_editing.attacks.wording import Hint
from behemoth_editing.copies import copy_of
from behemoth_editing.scoring.answers import answer_log_probabilities
from behemoth_editing.scoring.bits import bits


@pytest.fixture(scope="module")
def task(checkpoint):
    return draw_edits(checkpoint.corpus, EditConfig(scenario="forget", forget_fraction=0.3))[0]


def noise(*shape, name="noise"):
    return 2 * Stream(0, f"tests/{name}").uniform(np.arange(math.prod(shape))).reshape(shape) - 1


# Weights


def test_rounding_by_hand():
    # 3 bits: 7 values, -3 to 3 times a third of each row's largest size; a row of zeros has no scale.
    weight = torch.tensor([[3.0, -1.4, 0.6, 0.4], [0.3, -0.3, 0.1, 0.04], [0.0, 0.0, 0.0, 0.0]])
    expected = [[3.0, -1.0, 1.0, 0.0], [0.3, -0.3, 0.1, 0.0], [0.0, 0.0, 0.0, 0.0]]
    torch.testing.assert_close(rounded(weight, 3), torch.tensor(expected))


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_rounded_rows_lie_on_grids_of_their_own_half_a_step_away_at_most(bits):
    weight = torch.from_numpy(noise(6, 500) * np.logspace(-3, 2, 6)[:, None])
    found = rounded(weight, bits)
    step = weight.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
    assert bool(((found - weight).abs() <= step / 2 * (1 + 1e-12)).all())
    assert max(len(set(row.tolist())) for row in found) <= 2**bits - 1
    torch.testing.assert_close(rounded(found, bits), found)
    torch.testing.assert_close(rounded(-weight, bits), -found)


def test_pruning_by_hand():
    weight = torch.tensor([[0.5, -0.1, 2.0], [-3.0, 0.2, 0.05]])
    assert pruned(weight, 0.5).tolist() == pytest.approx(np.array([[0.5, 0, 2.0], [-3.0, 0, 0]]))
    assert int((pruned(torch.from_numpy(noise(40, 25)), 0.3) == 0).sum()) == 300


def test_rounding_goes_by_outputs_also_where_they_are_columns_and_leaves_biases_alone():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = GPT2LMHeadModel(GPT2Config(vocab_size=30, n_embd=16, n_layer=2, n_head=2, n_positions=8)).eval()
    copied = copy_of(model)
    (first, *_), every = list(inner_matrices(copied)), list(matrices_of(copied))
    assert (first.shape, len(every)) == ((48, 16), 2 * 4 + 1)  # the head is the embedding
    first.copy_(rounded(first, 4))
    stored = copied.transformer.h[0].attn.c_attn.weight
    assert max(len(set(column.tolist())) for column in stored.T) <= 15
    assert len(set(stored[0].tolist())) > 15
    changed = {name for name, weight in copied.named_parameters() if not torch.equal(weight, model.get_parameter(name))}
    assert changed == {"transformer.h.0.attn.c_attn.weight"}


def test_rounding_to_many_bits_changes_nothing_that_is_asked_and_to_two_all(checkpoint, task):
    found = Round(bits=(16, 2))(checkpoint.model, task)
    plain = ATTACKS["at_once"]()(checkpoint.model, task)
    assert found.looks[0].said == pytest.approx(plain.looks[0].said, abs=0.05)
    assert found.looks[1].bits.mean() < 1.0 < 3.0 < plain.looks[0].bits.mean()


# Read-outs


def test_what_ridge_regression_says_without_a_fact_is_that_of_a_fit_without_it():
    inputs, targets, ridge = noise(14, 5), noise(14, 3, name="targets"), 0.37
    left, sizes, _ = np.linalg.svd(inputs - inputs.mean(0), full_matrices=False)
    found = without_each(left, sizes**2 / (sizes**2 + ridge), targets)
    for row in range(14):
        rest = np.arange(14) != row
        # Least squares with the penalty as rows of their own, and a column of ones that has none.
        design = np.block([[inputs[rest], np.ones((13, 1))], [math.sqrt(ridge) * np.eye(5), np.zeros((5, 1))]])
        weights = np.linalg.lstsq(design, np.vstack([targets[rest], np.zeros((5, 3))]), rcond=None)[0]
        np.testing.assert_allclose(found[row], np.append(inputs[row], 1) @ weights, atol=1e-9)


def test_probe_finds_a_linear_code_and_says_nothing_of_noise():
    tails = Stream(0, "tests/tails").integers(np.arange(300), 8)
    codes = noise(8, 20, name="codes")
    states = codes[tails] + 0.05 * noise(300, 20)
    fitted = fit_probe(states[:200], tails[:200], 8)
    said = fitted.log_probabilities(states[200:])
    assert (said.argmax(1) == tails[200:]).mean() == 1.0
    held = 3 + said[np.arange(100), tails[200:]].mean() / math.log(2)
    assert held > 2.5
    assert fitted.left_out.mean() == pytest.approx(
        held, abs=0.3
    )  # what is left out says what is to be expected of others
    nothing = fit_probe(noise(200, 20, name="other"), tails[:200], 8)
    said = nothing.log_probabilities(noise(100, 20, name="more"))
    assert 3 + said[np.arange(100), tails[200:]].mean() / math.log(2) == pytest.approx(0, abs=0.1)


def test_weights_of_a_probe_are_those_of_ridge_regression():
    tails = np.array([0, 1, 2, 0, 1, 2, 1, 0])
    states = np.eye(3)[tails] @ noise(3, 4, name="codes") + 0.3 * noise(8, 4)
    fitted = fit_probe(states, tails, 3)
    centred = states - states.mean(0)
    # The normal equations with the one ridge of the grid whose weights these are.
    grid = [10.0**power * (np.linalg.svd(centred)[1] ** 2).mean() for power in range(-6, 3)]
    solved = [np.linalg.solve(centred.T @ centred + r * np.eye(4), centred.T @ np.eye(3)[tails]) for r in grid]
    assert min(np.abs(fitted.weights - weights).max() for weights in solved) < 1e-8


def test_states_are_those_that_the_layers_put_out_at_the_last_token(checkpoint, task):
    prompts = [query.prompt_ids for query in task.originals[:3]]
    found = states_of(checkpoint.model, prompts)
    model, tokens = checkpoint.model, torch.tensor(prompts)
    with torch.no_grad():
        normed = model.gpt_neox.final_layer_norm(torch.from_numpy(found[-1]).float())
        logits = model(tokens).logits[:, -1]
        torch.testing.assert_close(model.lm_head(normed), logits, atol=1e-3, rtol=1e-4)
    assert len(found) == len(model.gpt_neox.layers)
    assert np.abs(found[0] - found[1]).max() > 0.01
    with pytest.raises(ValueError, match=r"prompts must be of one length to be probed together, got \[1, 2\]"):
        states_of(checkpoint.model, [(1,), (1, 2)])


# Sampling


def test_bits_of_samples_by_hand():
    counts = np.array([[0, 0, 0, 0], [3, 0, 0, 0], [0, 3, 0, 0], [1, 1, 1, 1]])
    # No try: all alike. Three hits of three: (3 + 1) / (3 + 4). None of three: 1 / 7. One of four: 2 / 8, as by chance.
    found = bits(succession(counts), np.zeros(4, np.int64))
    assert found == pytest.approx([0, 2 + math.log2(4 / 7), 2 + math.log2(1 / 7), 0])


def test_sampled_answers_have_the_frequencies_of_the_model_word_by_word():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        config = GPTNeoXConfig(
            vocab_size=6, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
        )
        model = GPTNeoXForCausalLM(config).eval()
        model.lm_head.weight.data *= 40  # so that frequencies differ
    prompts, tries = [(1, 2), (4, 3)], 20_000
    every = np.array([(a, b) for a in range(6) for b in range(6)])
    said = sampled(model, prompts, 2, tries, 1.0, Stream(0, "tests/sampled"))
    exact = np.exp(answer_log_probabilities(model, prompts, every))
    assert exact.max() > 0.05 > exact.min()
    for row in range(2):
        counts = Counter(map(tuple, said[row].tolist()))
        found = np.array([counts[a, b] for a, b in every.tolist()])
        error = np.sqrt(tries * exact[row] * (1 - exact[row]))
        assert np.abs(found - tries * exact[row]).max() < 5 * error.max()
        assert (np.abs(found - tries * exact[row]) <= 5 * error + 3).all()
    cold = sampled(model, prompts, 1, 50, 1e-3, Stream(0, "tests/cold"))
    with torch.no_grad():
        likeliest = model(torch.tensor(prompts)).logits[:, -1].argmax(-1)
    assert (cold[:, :, 0] == likeliest.numpy()[:, None]).all()


# Relearning and wording


def test_relearning_sees_every_fact_once_before_any_comes_again():
    attack, taught = Relearn(rows=4), list(range(10))
    rows = [row for step in range(5) for row in attack._rows(taught, step)]
    assert sorted(rows[:10]) == sorted(rows[10:]) == taught
    assert rows[:10] != rows[10:]
    assert sorted(Relearn(rows=64)._rows(taught, 3)) == taught


def test_relearning_is_adamw_on_the_known_answers(checkpoint, task):
    # A model that says the opposite: what AdamW makes of gradients near its 1e-8 depends on their last digits.
    attack, before = Relearn(steps=(0, 1), learning_rate=1e-3), copy_of(checkpoint.model)
    before.lm_head.weight.data *= -1
    found = attack(before, task)
    known, asked = attack.halves(task)
    model = copy_of(before)
    queries = [task.originals[place] for place in known.tolist()]
    tokens = torch.tensor([[*query.prompt_ids, *query.answer_ids] for query in queries])
    parameters = [parameter.requires_grad_(True) for parameter in model.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.0)
    said = model(tokens[:, :-1]).logits[:, -1].log_softmax(-1)
    (-said[torch.arange(len(tokens)), tokens[:, -1]].mean()).backward()
    optimizer.step()
    one = ATTACKS["at_once"]()
    expected = dict(zip(one.asked(task).tolist(), one(model, task).looks[0].said, strict=True))
    assert found.looks[1].said == pytest.approx([expected[place] for place in asked.tolist()], abs=1e-3)
    assert np.abs(found.looks[1].said - found.looks[0].said).max() > 1


def test_hint_stands_before_the_prompt_and_gives_nothing_away(checkpoint, task):
    others = untouched(task, 0, 20)
    edited = {edit.fact.head for edit in task.edits}
    assert not edited & {fact.head for fact in others}
    hint = Hint(shots=(3,))
    ids = hint._before(task, others, 5, 3)
    end = checkpoint.corpus.grammar.end_id
    said = checkpoint.corpus.grammar.text(np.array([ids])).to_pylist()[0].split("<|endoftext|>")
    sentences = {f"{query.prompt} {query.answer} ." for query in checkpoint.corpus.grammar.queries(others)}
    assert ids.count(end) == 3
    assert {sentence.strip() for sentence in said if sentence.strip()} <= sentences
    assert len({sentence for sentence in said if sentence.strip()}) == 3


def test_hint_is_refused_for_a_model_that_never_read_two_sentences_in_one_row(checkpoint, task):
    with pytest.raises(Refused, match="the model must read behind other sentences, as only one does that was trained"):
        Hint()(checkpoint.model, task)
    assert Hint(least_read=0.0, shots=(1,))(checkpoint.model, task).details["read"][0] < 0.5


def test_forms_are_asked_as_the_grammar_says_them(checkpoint, task):
    found = ATTACKS["forms"](forms=("rso",))(checkpoint.model, task)
    assert found.details == {"taught": ["rso"]}
    assert found.looks[0].label == "rso"
    assert found.looks[0].right.mean() > 0.9  # its corpus teaches that form
