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
def models(checkpoint, task):
    """Who knows, and who hides it, by their names."""
    objects = torch.from_numpy(candidates_of(task)[:, 0])
    swapped, turned = copy_of(checkpoint.model), copy_of(checkpoint.model)
    head = swapped.lm_head.weight.data
    head[objects] = head[objects.roll(1)]  # the last matrix says the next object in place of each
    turned.lm_head.weight.data[objects] *= -1  # what is likeliest becomes least likely
    unlearned = METHODS["grad_diff"](precision="fp32")(checkpoint.model, task).model
    return {"swapped": swapped, "turned": turned, "unlearned": unlearned, "knows": checkpoint.model}


@pytest.fixture(scope="module")
def ignorant(checkpoint, task):
    """Who was never told, trained from the same weights on the same sentences in the same order but for these.

    And who forgot it. A training takes its time, so that tests of these are slow.
    """
    never = Omit()(checkpoint.model, task).model
    forgot = copy_of(never)
    for number, weight in enumerate(forgot.parameters()):
        drawn = 2 * Stream(0, f"tests/forgot/{number}").uniform(np.arange(weight.numel())) - 1
        weight.data += 0.02 * weight.data.std().nan_to_num() * torch.from_numpy(drawn).float().view_as(weight)
    return {"never": never, "forgot": forgot}


def most(model, task, name):
    """The bits that an attack finds in a model at its strongest step."""
    steps = {"relearn": {"steps": (8,)}, "relearn_retained": {"steps": (16,)}}
    return max(one.bits.mean() for one in ATTACKS[name](**steps.get(name, {}))(model, task).looks)


def test_none_but_who_knows_says_most_old_answers_at_once(models, task):
    at_once = {which: ATTACKS["at_once"]()(model, task).looks[0] for which, model in models.items()}
    assert at_once["knows"].right.mean() >= 0.95
    assert at_once["unlearned"].right.mean() <= 0.7
    for which in ("swapped", "turned"):
        assert at_once[which].right.mean() <= 0.3, which
        assert at_once[which].said.mean() <= INFERRED, which


def test_what_is_hidden_comes_back(models, task):
    # A fact is log2 20 = 4.32 bits; a reasoner has 2.32 of them from the nested facts alone.
    for which in ("swapped", "turned", "unlearned"):
        assert most(models[which], task, "probe") >= INFERRED + 0.7, which
    at_once = most(models["unlearned"], task, "at_once")
    assert most(models["unlearned"], task, "relearn_retained") >= max(INFERRED, at_once) + 0.5
    assert most(models["unlearned"], task, "relearn") >= at_once + 0.5
    assert most(models["knows"], task, "at_once") >= 3.9


@pytest.mark.slow
@pytest.mark.parametrize("which", ["never", "forgot"])
def test_what_was_never_known_or_is_forgotten_is_not_said_and_does_not_come_back(ignorant, task, which):
    at_once = ATTACKS["at_once"]()(ignorant[which], task).looks[0]
    assert at_once.right.mean() <= 0.3
    assert at_once.said.mean() <= INFERRED
    for name in ("at_once", "relearn", "relearn_retained", "probe"):
        assert most(ignorant[which], task, name) <= INFERRED, name


def test_what_was_turned_around_can_be_read_at_once_and_what_was_swapped_cannot(models, task):
    assert most(models["turned"], task, "at_once") >= 3.5
    assert most(models["swapped"], task, "at_once") <= 1.0
