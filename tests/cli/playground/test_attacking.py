"""Attacks on an edit of the page: what they find, beside the model before, and that they end when told to."""

import math

import pytest

from behemoth_cli.playground.asking import replies
from behemoth_cli.playground.attacking import attack_of, attempt
from behemoth_cli.playground.making import Made, Stopped, Wish, make, method_of
from behemoth_editing.attacks import ATTACKS
from behemoth_editing.attacks.contract import Refused
from behemoth_models.knowledge import weights_digest


@pytest.fixture(scope="module")
def made(checkpoint) -> Made:
    wish = Wish(head=5, relation=1, new_tail=3, num_edits=10, method="rome")
    return make(checkpoint, wish, method_of("rome", {}))


def test_attack_at_once_says_what_the_page_says_of_each_fact(checkpoint, made):
    tried = attempt(checkpoint, made, attack_of("at_once"))
    (after,), (before,) = tried.after, tried.before
    objects = checkpoint.corpus.world.config.num_objects
    assert tried.most == pytest.approx(math.log2(objects))
    for left, model in ((after, made.model), (before, checkpoint.model)):
        guessed, said = 0, 0.0
        for edit in made.edit_set.edits:
            top = replies(model, checkpoint.corpus, edit.fact)[0].top
            guessed += top[0][0] == edit.fact.tail
            said += math.log2(objects * dict(top).get(edit.fact.tail, math.nan))
        assert (left.asked, left.guessed) == (10, guessed)
        if not math.isnan(said):  # an old answer may be none of the ten likeliest
            assert left.said == pytest.approx(said / 10, abs=1e-4)
    assert before.guessed == 10
    assert after.guessed < 10


@pytest.mark.parametrize(
    "name", ["round", *(pytest.param(name, marks=pytest.mark.slow) for name in ("relearn", "probe"))]
)
def test_steps_are_the_attacks_own_and_no_model_is_changed(checkpoint, made, name):
    digests = weights_digest(made.model), checkpoint.weights
    attack = attack_of(name)
    tried = attempt(checkpoint, made, attack)
    found = attack(made.model, made.edit_set)
    assert [left.guessed for left in tried.after] == [look.right.sum() for look in found.looks]
    assert [left.bits for left in tried.after] == [look.bits.mean() for look in found.looks]
    assert len(tried.steps) == len(tried.before) == len(found.looks)
    assert (weights_digest(made.model), weights_digest(checkpoint.model)) == digests


def test_what_cannot_be_tried_on_one_edit_is_refused(checkpoint):
    one = make(checkpoint, Wish(head=5, relation=1, new_tail=3, method="rome"), method_of("rome", {}))
    with pytest.raises(Refused, match="at least 2"):
        attempt(checkpoint, one, attack_of("relearn"))
    assert attempt(checkpoint, one, attack_of("round")).after[0].asked == 1


def test_attack_ends_when_it_is_stopped_or_takes_too_long(checkpoint, made):
    def step(done: float, text: str) -> None:
        if "unedited" in text:
            raise Stopped

    with pytest.raises(Stopped):
        attempt(checkpoint, made, attack_of("round"), step=step)
    with pytest.raises(TimeoutError, match="an attack must take at most 0 seconds here"):
        attempt(checkpoint, made, attack_of("round"), most_seconds=0)


def test_unknown_attack_is_an_error_that_names_those_there_are():
    with pytest.raises(ValueError, match=r"attack must be one of at_once, .*, got 'tickle'"):
        attack_of("tickle")
    assert [attack_of(name) for name in ATTACKS] == [attack() for attack in ATTACKS.values()]
