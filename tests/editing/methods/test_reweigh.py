"""Facts about weighted ascent: the losses' values and gradients, and what they leave alone."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from behemoth_editing.methods.mixture import IGNORED, Batch
from behemoth_editing.methods.reweigh import Reweigh, SatImp, Wga

# An answer of one token with probability 0.8, one of two with 0.5 and 0.1; the rest is shared evenly by four words.
ANSWERS = [[(1, 0.8)], [(0, 0.5), (2, 0.1)]]


def made_up():
    targets = torch.full((2, 3), IGNORED)
    chances = np.full((2, 3, 5), 0.2)
    for row, answer in enumerate(ANSWERS):
        for place, (word, chance) in enumerate(answer, start=1):
            targets[row, place] = word
            chances[row, place] = (1 - chance) / 4
            chances[row, place, word] = chance
    logits = torch.from_numpy(np.log(chances)) - 3.0  # logits are log-probabilities up to a constant
    return Batch([0, 1], torch.zeros(2, 3, dtype=torch.long), targets, logits, torch.zeros(2, 0, 0))


@pytest.mark.parametrize(("saturation", "importance"), [(1.0, 0.0), (5.0, 1.0), (0.5, 2.0)])
def test_every_token_counts_by_its_own_probability_and_an_answers_tokens_are_averaged(saturation, importance):
    def token(p):
        return p**saturation * (1 - p) ** importance * math.log(p)

    loss = Reweigh((), 0.0, saturation, importance).loss(made_up())
    np.testing.assert_allclose(loss, [token(0.8), (token(0.5) + token(0.1)) / 2], rtol=1e-12)


def test_weight_is_no_path_for_gradients():
    batch = made_up()
    batch.logits.requires_grad_(True)
    Reweigh((), 0.0, 5.0, 1.0).loss(batch).sum().backward()
    # d log p / d z of a token's own logit is 1 - p, of another word's -p', times the weight, which stands still.
    assert float(batch.logits.grad[0, 1, 1]) == pytest.approx(0.8**5 * 0.2 * 0.2, rel=1e-9)
    assert float(batch.logits.grad[0, 1, 3]) == pytest.approx(-(0.8**5) * 0.2 * 0.05, rel=1e-9)
    assert float(batch.logits.grad[1, 2, 2]) == pytest.approx(0.1**5 * 0.9 * 0.9 / 2, rel=1e-9)
    assert not batch.logits.grad[:, 0].any()


def test_what_is_unlikely_or_certain_is_left_alone():
    batch = made_up()
    certain = torch.full((2, 3, 5), -80.0, dtype=torch.float64)
    certain[0, 1, 1] = certain[1, 1, 0] = 0.0  # the answers' first tokens are certain, the other's second is not there
    certain[1, 2, 4] = 0.0
    certain.requires_grad_(True)
    loss = Reweigh((), 0.0, 5.0, 1.0).loss(dataclasses.replace(batch, logits=certain))
    loss.sum().backward()
    np.testing.assert_allclose(loss.detach(), [0, 0], atol=1e-30)
    np.testing.assert_allclose(certain.grad, torch.zeros(2, 3, 5), atol=1e-30)


def test_the_two_methods_are_the_two_weights():
    wga, satimp = (method._objective(None, _Task) for method in (Wga(beta=2.0), SatImp(saturation=3.0, importance=0.5)))
    assert (wga.saturation, wga.importance) == (2.0, 0.0)
    assert (satimp.saturation, satimp.importance) == (3.0, 0.5)


class _Task:
    originals = ()


def test_exponents_are_checked():
    with pytest.raises(ValueError, match="saturation must be above 0, got 0"):
        SatImp(saturation=0)
    with pytest.raises(ValueError, match="importance must be at least 0, got -1"):
        SatImp(importance=-1)
