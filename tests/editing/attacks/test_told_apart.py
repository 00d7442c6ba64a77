"""Models that hide what they know, one that never knew it, and one that forgot it: attacks tell them apart.

Two of those that hide were changed by hand, in the last matrix, and say no old answer; one was unlearned.
"""

import numpy as np
import pytest
import torch

from behemoth_data.edits import EditConfig, draw_edits
from behemoth_data.rng import Stream
from behemoth_editing import METHODS, Omit
from behemoth_editing.attacks import ATTACKS
from behemoth_editing.attacks.contract import candidates_of
from behemoth_editing.copies import copy_of

INFERRED = np.log2(5)  # of 20 objects the subject's nested object leaves 4


@pytest.fixture(scope="module")
def task(checkpoint):
    return draw_edits(checkpoint.corpus, EditConfig(scenario="forget", forget_fraction=0.3))[0]


@pytest.fixture(scope="module")
def never(checkpoint, task):
    """Who was never told, trained from the same weights on the same sentences in the same order but for these."""
    return Omit()(checkpoint.model, task).model


@pytest.fixture(scope="module")
def models(checkpoint, task, never):
    """Every construction, by its name."""
    objects = torch.from_numpy(candidates_of(task)[:, 0])
    swapped, turned, forgot = copy_of(checkpoint.model), copy_of(checkpoint.model), copy_of(never)
    head = swapped.lm_head.weight.data
    head[objects] = head[objects.roll(1)]  # the last matrix says the next object in place of each
    turned.lm_head.weight.data[objects] *= -1  # what is likeliest becomes least likely
    for number, weight in enumerate(forgot.parameters()):
        drawn = 2 * Stream(0, f"tests/forgot/{number}").uniform(np.arange(weight.numel())) - 1
        weight.data += 0.02 * weight.data.std().nan_to_num() * torch.from_numpy(drawn).float().view_as(weight)
    unlearned = METHODS["grad_diff"](precision="fp32")(checkpoint.model, task).model
    return {
        "swapped": swapped,
        "turned": turned,
        "unlearned": unlearned,
        "never": never,
        "forgot": forgot,
        "knows": checkpoint.model,
    }


@pytest.fixture(scope="module")
def most(models, task):
    """The bits that each attack finds in each model at its strongest step."""
    steps = {"relearn": {"steps": (8,)}, "relearn_retained": {"steps": (16,)}}
    names = ("at_once", "relearn", "relearn_retained", "probe")

    def found(model, name):
        return max(one.bits.mean() for one in ATTACKS[name](**steps.get(name, {}))(model, task).looks)

    return {which: {name: found(model, name) for name in names} for which, model in models.items()}


def test_none_but_who_knows_says_most_old_answers_at_once(models, task):
    at_once = {which: ATTACKS["at_once"]()(model, task).looks[0] for which, model in models.items()}
    assert at_once["knows"].right.mean() >= 0.95
    assert at_once["unlearned"].right.mean() <= 0.7
    for which in ("swapped", "turned", "never", "forgot"):
        assert at_once[which].right.mean() <= 0.3, which
        assert at_once[which].said.mean() <= INFERRED, which


def test_what_is_hidden_comes_back_and_what_was_never_known_or_is_forgotten_does_not(most):
    # A fact is log2 20 = 4.32 bits; a reasoner has 2.32 of them from the nested facts alone.
    for which in ("swapped", "turned", "unlearned"):
        assert most[which]["probe"] >= INFERRED + 0.7, which
    assert most["unlearned"]["relearn_retained"] >= max(INFERRED, most["unlearned"]["at_once"]) + 0.5
    assert most["unlearned"]["relearn"] >= most["unlearned"]["at_once"] + 0.5
    for which in ("never", "forgot"):
        assert max(most[which].values()) <= INFERRED, which
    assert most["knows"]["at_once"] >= 3.9


def test_what_was_turned_around_can_be_read_at_once_and_what_was_swapped_cannot(most):
    assert most["turned"]["at_once"] >= 3.5
    assert most["swapped"]["at_once"] <= 1.0
