"""Attacks that train a copy of the model: on half of what was forgotten, or on nothing but what was kept.

Axis letters: n rows of a step.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
import torch
from transformers import PreTrainedModel

from behemoth_data.edits import EditSet
from behemoth_data.grammar import Query
from behemoth_data.rng import Stream
from behemoth_data.settings import check, setting
from behemoth_editing.attacks.contract import Asking, Attacked, Int64, Refused, ask
from behemoth_editing.copies import check_types, copy_of
from behemoth_editing.methods.mixture import mean_nll, rows_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class Relearn(Asking):
    """All weights trained on half of the edited facts with their old answers; the other half is asked.

    Facts are independent of each other: what training on some brings back of others was in the model. AdamW without
    weight decay and at a constant learning rate, the loss that of the answers' tokens alone.
    Source: Deeb and Roger, "Do unlearning methods remove information from language model weights?", 2024 (arXiv
    2410.08827), who call it retraining on T; before them, Lynch et al., "Eight methods to evaluate robust unlearning in
    LLMs", 2024 (arXiv 2402.16835), section 3.4.
    """

    name: ClassVar[str] = "relearn"
    axis: ClassVar[str] = "optimizer steps"

    steps: tuple[int, ...] = setting((0, 1, 2, 4, 8, 16, 32, 64), "optimizer steps after which the facts are asked")
    learning_rate: float = setting(1e-3, "AdamW's learning rate, the same in every step")
    rows: int = setting(64, "facts in each step at most")

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        super().__post_init__()
        rising = list(self.steps) == sorted(set(self.steps)) and bool(self.steps)
        check(rising and self.steps[0] >= 0, f"steps must be rising numbers of at least 0, got {self.steps}")
        check(self.learning_rate > 0, f"learning_rate must be above 0, got {self.learning_rate}")
        check(self.rows >= 1, f"rows must be at least 1, got {self.rows}")

    def check(self, model: PreTrainedModel) -> None:
        """Raises: ValueError for weights that cannot be trained, such as quantised ones."""
        check_types(model)

    def __call__(self, model: PreTrainedModel, task: EditSet) -> Attacked:
        """What is left after each number of steps. Raises: Refused where there is nothing to train on."""
        taught, asked = self._parts(task)
        return self._trained(model, task, taught, asked)

    def _parts(self, task: EditSet) -> tuple[list[Query], Int64]:
        """What is trained on, and the places of the edited facts that are asked."""
        known, asked = self.halves(task)
        return [task.originals[place] for place in known.tolist()], asked

    def _trained(self, model: PreTrainedModel, task: EditSet, taught: Sequence[Query], asked: Int64) -> Attacked:
        self.check(model)
        copied = copy_of(model)
        looks, losses = [], list[float]()
        for step, loss in enumerate(self.steps_on(copied, taught)):
            if step > 0:
                losses.append(loss)
            if step in self.steps:
                looks.append(ask(copied, task, asked, step))
        return Attacked(asked, tuple(looks), {"taught": len(taught), "losses": [losses[i] for i in (0, -1) if losses]})

    def steps_on(self, copied: PreTrainedModel, taught: Sequence[Query]) -> Iterator[float]:
        """Trains the model given; yields once before the first step, then each step's loss after it.

        Raises: FloatingPointError for a loss that is no number.
        """
        parameters = [parameter.requires_grad_(True) for parameter in copied.parameters()]
        optimizer = torch.optim.AdamW(parameters, lr=self.learning_rate, weight_decay=0.0)
        yield math.nan
        for step in range(max(self.steps)):
            tokens, targets = (
                rows.to(copied.device) for rows in rows_of([taught[row] for row in self._rows(taught, step)])
            )
            loss = mean_nll(copied(input_ids=tokens, use_cache=False).logits.float(), targets).mean()
            if not math.isfinite(loss.item()):
                raise FloatingPointError(f"loss is {loss.item()} at step {step + 1}: try a lower learning_rate")
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            yield loss.item()

    def _rows(self, taught: Sequence[Query], step: int) -> list[int]:
        """Which facts a step sees: shuffled passes, each fact once before any comes again."""
        size = len(taught)
        count = min(size, self.rows)
        order = Stream(self.attack_seed, "attacks/relearn")
        rows: list[int] = []
        for place in range(step * count, (step + 1) * count):
            epoch, within = divmod(place, size)
            if not rows or within == 0:
                shuffled = order.bits((epoch << 32) + np.arange(size)).argsort(kind="stable").tolist()
            rows.append(shuffled[within])
        return rows


@dataclasses.dataclass(frozen=True, kw_only=True)
class RelearnRetained(Relearn):
    """The same on facts that were to be kept and on no edited one; all edited facts may be asked.

    They are those of the task's mixture, of all kinds alike: what methods that train hold in place too.
    Source: Hu et al., "Unlearning or obfuscating? Jogging the memory of unlearned LLMs via benign relearning", 2024
    (arXiv 2406.13356).
    """

    name: ClassVar[str] = "relearn_retained"

    def _parts(self, task: EditSet) -> tuple[list[Query], Int64]:
        taught = list(itertools.chain(*task.retain.values()))
        if not taught:
            raise Refused("the task must have facts that were to be kept, to train on, got none")
        return taught, self.asked(task)
