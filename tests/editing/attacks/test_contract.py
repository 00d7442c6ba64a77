"""The contract of every listed attack: listing an attack is what tests it."""

import dataclasses
import math
from copy import deepcopy

import numpy as np
import pytest
import torch

from behemoth_data.edits import EditConfig, draw_edits
from behemoth_editing.attacks import ATTACKS
from behemoth_editing.attacks.contract import Refused
from behemoth_models.knowledge import weights_digest

QUICK = {
    "relearn": {"steps": (0, 2)},
    "relearn_retained": {"steps": (0, 2)},
    "round": {"bits": (6,)},
    "prune": {"shares": (0.1,)},
    "forms": {"forms": ("rso", "question")},
    "hint": {"shots": (1,), "least_read": 0.0},
    "sample": {"tries": (1, 4)},
}
every_attack = pytest.mark.parametrize("name", ATTACKS)


def quick(name, **settings):
    return ATTACKS[name](**{**QUICK.get(name, {}), **settings})


@pytest.fixture(scope="module")
def task(checkpoint):
    """A share of a relation's facts, which are the shared model's to give away."""
    return draw_edits(checkpoint.corpus, EditConfig(scenario="forget", forget_fraction=0.3))[0]


def state(model):
    return (
        weights_digest(model),
        [parameter.requires_grad for parameter in model.parameters()],
        [parameter.grad is None for parameter in model.parameters()],
        [part.training for part in model.modules()],
        [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in model.modules()],
    )


@every_attack
def test_attack_is_listed_under_its_name_and_every_setting_is_frozen_with_a_default_and_help(name):
    assert ATTACKS[name].name == name
    assert ATTACKS[name].axis
    for field in dataclasses.fields(ATTACKS[name]):
        assert field.metadata["help"], field.name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(ATTACKS[name](), field.name, field.default)


@every_attack
def test_model_is_left_as_it_was_and_the_same_attack_finds_the_same_whatever_torch_drew_before(name, checkpoint, task):
    model = deepcopy(checkpoint.model).train(True)
    before = state(model)
    found = quick(name)(model, task)
    assert state(model) == before
    torch.rand(7)
    drawn = torch.random.get_rng_state()
    again = quick(name)(checkpoint.model, task)
    assert torch.equal(drawn, torch.random.get_rng_state())
    assert found.asked.tolist() == again.asked.tolist()
    for one, other in zip(found.looks, again.looks, strict=True):
        assert (one.step, one.label) == (other.step, other.label)
        assert np.array_equal(one.said, other.said)
        assert np.array_equal(one.bits, other.bits)
        assert np.array_equal(one.right, other.right)
    # What is found is of edited facts, each once, and no more than the fact itself.
    assert set(found.asked.tolist()) <= set(range(len(task.edits)))
    assert len(set(found.asked.tolist())) == len(found.asked) > 0
    for one in found.looks:
        assert one.said.shape == one.bits.shape == one.right.shape == found.asked.shape
        assert max(one.said.max(), one.bits.max()) <= math.log2(20) + 1e-9
        assert one.bits.min() >= -math.log2(len(found.asked) + 2)
        assert set(one.right.tolist()) <= {0.0, 1.0}


@every_attack
def test_no_more_facts_are_asked_than_allowed_and_another_seed_asks_others(name, checkpoint, task):
    few = [quick(name, most_facts=3, attack_seed=seed)(checkpoint.model, task).asked.tolist() for seed in (0, 1)]
    assert [len(asked) for asked in few] == [3, 3]
    assert few[0] != few[1]


@every_attack
def test_bad_settings_are_refused(name):
    for field, wrong, message in (
        ("most_facts", 0, "most_facts must be at least 1, got 0"),
        ("most_facts", "many", "most_facts must be int, got 'many'"),
        ("attack_seed", 2**63, "attack_seed must be from"),
    ):
        with pytest.raises(ValueError, match=message):
            ATTACKS[name](**{field: wrong})


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("relearn", {"steps": (2, 1)}, r"steps must be rising numbers of at least 0, got \(2, 1\)"),
        ("relearn", {"steps": ()}, "steps must be rising numbers"),
        ("relearn_retained", {"learning_rate": 0.0}, "learning_rate must be above 0, got 0"),
        ("relearn", {"rows": 0}, "rows must be at least 1, got 0"),
        ("round", {"bits": (1,)}, r"bits must be numbers from 2 to 16, got \(1,\)"),
        ("prune", {"shares": (0.1, 1.0)}, r"shares must be numbers above 0 and below 1, got \(0.1, 1.0\)"),
        ("forms", {"forms": ("osr",)}, "forms must be one of rso, question, new_question"),
        ("forms", {"forms": ()}, "forms must name at least 1 form"),
        ("hint", {"shots": (0,)}, r"shots must be numbers of at least 1, got \(0,\)"),
        ("hint", {"least_read": 1.5}, r"least_read must lie in \[0, 1\], got 1.5"),
        ("probe", {"most_taught": 5}, "most_taught must be at least 10, got 5"),
        ("sample", {"tries": (4, 1)}, r"tries must be rising numbers of at least 1, got \(4, 1\)"),
        ("sample", {"temperature": 0.0}, "temperature must be above 0, got 0"),
    ],
)
def test_bad_setting_of_one_attack_is_refused(name, settings, message):
    with pytest.raises(ValueError, match=message):
        ATTACKS[name](**settings)


def test_who_knows_gives_everything_away_at_once(checkpoint, task):
    found = ATTACKS["at_once"]()(checkpoint.model, task)
    assert len(found.asked) == len(task.edits)
    assert found.looks[0].said.mean() > 0.9 * math.log2(20)
    assert found.looks[0].bits.mean() > 0.9 * math.log2(20)
    assert found.looks[0].right.mean() >= 0.95


def test_relearning_asks_none_of_the_edited_facts_that_it_learns_from(checkpoint, task):
    known, asked = quick("relearn").halves(task)
    assert set(known.tolist()) & set(asked.tolist()) == set()
    assert len(known) + len(asked) == len(task.edits)
    assert quick("relearn")(checkpoint.model, task).asked.tolist() == asked.tolist()
    (single,) = draw_edits(checkpoint.corpus, EditConfig(num_edits=1))
    with pytest.raises(Refused, match="edits must be at least 2 for an attacker to know half of them, got 1"):
        quick("relearn")(checkpoint.model, single)


def test_attacks_that_need_other_facts_of_the_relation_are_refused_where_all_are_edited(checkpoint):
    (whole,) = draw_edits(checkpoint.corpus, EditConfig(scenario="forget", relation=0))
    for name, message in (
        ("probe", "edits must leave at least 10 facts of the relation, to learn a probe from, got 0"),
        ("hint", "shots must leave 10 of the relation's facts that are not edited"),
    ):
        with pytest.raises(Refused, match=message):
            quick(name)(checkpoint.model, whole)
