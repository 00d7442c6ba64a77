"""The contract that every attack keeps, and how it finds what is left. No attack of its own.

Axis letters: m facts that are asked; C candidates, the relation's tails; W tokens of an answer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from transformers import PreTrainedModel

from behemoth_data.edits import EditSet
from behemoth_data.grammar import Query
from behemoth_data.rng import Stream
from behemoth_data.scenarios import touched_heads
from behemoth_data.settings import check, check_seed, conform, setting
from behemoth_data.world import Fact
from behemoth_editing.scoring.answers import answer_log_probabilities
from behemoth_editing.scoring.bits import bits, recalibrated

Floats = NDArray[np.float64]
Int64 = NDArray[np.int64]


class Refused(ValueError):
    """The attack cannot be tried on this model or these edits, which is no failure; it says why."""


@dataclasses.dataclass(frozen=True)
class Look:
    """What is left at one step of an attack; all arrays are [m]."""

    step: float  # in the units of the attack's axis
    said: Floats  # bits by the probabilities as they are
    bits: Floats  # bits that can be read there by who knows some other edited facts
    right: Floats  # 1 where the attacker's best guess is the old answer, else 0
    label: str = ""  # what the step is called, where its number does not say it


@dataclasses.dataclass(frozen=True)
class Attacked:
    """What an attack finds: the facts that it asked, and what is left of each at every step, in its order."""

    asked: Int64  # [m] places among the task's edits
    looks: tuple[Look, ...]
    details: dict[str, Any]


class Attack(Protocol):
    """A frozen dataclass of settings; calling it asks for the old answers and leaves the model given bit-identical.

    What an attacker may know is what methods know: the model, the world without the edited facts, and, if it says so,
    the old answers to some of them, of which it asks none. The same model, task and settings give the same numbers.
    """

    name: ClassVar[str]
    axis: ClassVar[str]  # what its steps count

    def check(self, model: PreTrainedModel) -> None:
        """Raises: ValueError for a setting that the model cannot have."""
        ...

    def __call__(self, model: PreTrainedModel, task: EditSet) -> Attacked:
        """What is left. Raises: Refused where the attack cannot be tried."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asking:
    """What attacks share: how many of the edited facts they ask, and by which seed they choose them."""

    most_facts: int = setting(200, "edited facts that are asked, at most")
    attack_seed: int = setting(0, "seed of what the attack draws, such as the facts that are asked")

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        conform(self)
        check(self.most_facts >= 1, f"most_facts must be at least 1, got {self.most_facts}")
        check_seed("attack_seed", self.attack_seed)

    def check(self, model: PreTrainedModel) -> None:
        """Any model that answers will do."""

    def asked(self, task: EditSet) -> Int64:
        """Places [m] of the edited facts that are asked, in a seeded order."""
        return order_of(task, self.attack_seed)[: self.most_facts]

    def halves(self, task: EditSet) -> tuple[Int64, Int64]:
        """Places of the edited facts whose old answers the attacker knows, and of those that are asked, of the others.

        Raises: Refused for a single fact, which has no halves.
        """
        if len(task.edits) < 2:
            raise Refused(f"edits must be at least 2 for an attacker to know half of them, got {len(task.edits)}")
        order = order_of(task, self.attack_seed)
        known = len(order) // 2
        return order[:known], order[known:][: self.most_facts]


def order_of(task: EditSet, seed: int) -> Int64:
    """The places of all edits in a seeded order."""
    count = len(task.edits)
    return Stream(seed, "attacks/facts").choice(count, count)


def candidates_of(task: EditSet) -> Int64:
    """Token ids [C, W] of every object that the edited relation can have."""
    corpus = task.corpus
    tails = np.arange(corpus.world.num_tails(task.edge, task.relation))
    return corpus.grammar.answers(task.edge, task.relation, tails)


def old_tails(task: EditSet, places: ArrayLike) -> Int64:
    """The tails [m] that the edited facts at these places [m] had before the edit."""
    return np.array([task.edits[place].fact.tail for place in np.asarray(places).tolist()], np.int64)


def prompts_of(queries: Sequence[Query]) -> list[tuple[int, ...]]:
    """The queries' prompts as token ids."""
    return [query.prompt_ids for query in queries]


def untouched(task: EditSet, seed: int, most: int) -> list[Fact]:
    """Facts of the edited relation about other heads, which the edits leave as they are, in a seeded order."""
    world = task.corpus.world
    touched = touched_heads(world, task.config, task.edits)
    heads = np.setdiff1d(np.arange(world.num_heads(task.edge)), touched)
    heads = heads[Stream(seed, "attacks/untouched").choice(len(heads), len(heads))][:most]
    return [world.fact(task.edge, head, task.relation) for head in heads.tolist()]


def look(step: float, log_probabilities: ArrayLike, true: Int64, label: str = "") -> Look:
    """What is left by log-probabilities [m, C] of candidates, which need not be normalised."""
    table = np.asarray(log_probabilities, np.float64)
    right = (table.argmax(axis=1) == true).astype(np.float64)
    return Look(step, bits(table, true), recalibrated(table, true), right, label)


def ask(
    model: PreTrainedModel,
    task: EditSet,
    places: Int64,
    step: float = 0.0,
    *,
    prompts: Sequence[Sequence[int]] | None = None,
    label: str = "",
) -> Look:
    """What the model itself has left of these facts, asked by the edited prompts unless others [m] are given."""
    asked = [task.originals[place].prompt_ids for place in places.tolist()] if prompts is None else prompts
    return look(step, answer_log_probabilities(model, asked, candidates_of(task)), old_tails(task, places), label)
