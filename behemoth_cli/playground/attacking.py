"""Attacks on an edit that was made: what is left of the old answers, beside the model before the edit."""

from __future__ import annotations

import dataclasses
import time

import numpy as np

from behemoth_cli.playground.making import Made, Step, turn
from behemoth_data.settings import check_known
from behemoth_editing import Checkpoint
from behemoth_editing.attacks import ATTACKS
from behemoth_editing.attacks.contract import Attack, Attacked, Look


@dataclasses.dataclass(frozen=True)
class Left:
    """What is left of the old answers at one step of an attack."""

    asked: int  # edited facts
    guessed: int  # of them, those whose old answer is the best guess
    said: float  # bits by the probabilities as they are, mean
    bits: float  # bits that can be read there, mean


@dataclasses.dataclass(frozen=True, eq=False)
class Tried:
    """An attack that was tried on an edit: what is left at each of its steps, after the edit and before it."""

    made: Made
    attack: Attack
    steps: tuple[str, ...]
    after: tuple[Left, ...]
    before: tuple[Left, ...]
    most: float  # bits of a fact
    seconds: float


def attack_of(name: str) -> Attack:
    """The attack with its defaults. Raises: ValueError for one that there is not."""
    check_known("attack", name, ATTACKS)
    return ATTACKS[name]()


def attempt(
    checkpoint: Checkpoint,
    made: Made,
    attack: Attack,
    *,
    step: Step = lambda done, text: None,
    most_seconds: float | None = None,
) -> Tried:
    """The attack on the edited model, and on the checkpoint's own; both stay as they are.

    Raises: Refused where it cannot be tried on these edits; Stopped and TimeoutError as make() does.
    """
    with turn(step, most_seconds, "an attack") as tell:
        started = time.perf_counter()
        found = []
        for done, (model, name) in enumerate(((made.model, "edited"), (checkpoint.model, "unedited"))):
            tell(done / 2, f"attacking the {name} model by {attack.name}")
            attack.check(model)
            found.append(attack(model, made.edit_set))
        after, before = found
        tails = checkpoint.corpus.world.num_tails(made.edit_set.edge, made.edit_set.relation)
        return Tried(
            made=made,
            attack=attack,
            steps=tuple(look.label or f"{look.step:g}" for look in after.looks),
            after=_left(after),
            before=_left(before),
            most=float(np.log2(tails)),
            seconds=time.perf_counter() - started,
        )


def _left(attacked: Attacked) -> tuple[Left, ...]:
    def one(look: Look) -> Left:
        return Left(len(look.right), int(look.right.sum()), float(look.said.mean()), float(look.bits.mean()))

    return tuple(map(one, attacked.looks))
