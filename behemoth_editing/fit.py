"""Train chosen parameters of a model on an edit set's mixture until the edits hold. Which ones, a method decides.

Axis letters: n rows of a step; T tokens of the longest row.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from behemoth_data.edits import EditSet
from behemoth_data.grammar import Query
from behemoth_data.rng import Stream
from behemoth_data.settings import check, check_known, conform, setting

IGNORED = -100  # target of a token whose prediction is not trained


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitSettings:
    """Settings of every method that trains on the mixture."""

    learning_rate: float = setting(1e-3, "AdamW's learning rate at the first step")
    max_steps: int = setting(25, "optimizer steps at most, over which the learning rate decays linearly to zero")
    retain_rows: int = setting(48, "retain facts of the mixture in each step, a third of each kind")
    retain: str = setting("mixture", "mixture: train on the retain facts too; none: on the edited facts only")
    patience: int = setting(10, "steps for which the edits must hold and the loss not fall before it stops")
    fit_seed: int = setting(0, "seed of the rows' order and of fresh weights")

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        conform(self)
        check(self.learning_rate > 0, f"learning_rate must be above 0, got {self.learning_rate}")
        for field in ("max_steps", "retain_rows", "patience"):
            check(getattr(self, field) >= 1, f"{field} must be at least 1, got {getattr(self, field)}")
        check_known("retain", self.retain, ["mixture", "none"])


def fit(
    model: nn.Module,
    parameters: Sequence[nn.Parameter],
    edit_set: EditSet,
    settings: FitSettings,
) -> dict[str, Any]:
    """The parameters are trained, in place, until the edits hold and the mixture's loss has stopped falling.

    Every step sees all edited facts and as many retain facts of each kind, so that the few facts with the old
    object, which suffer first, are heard. The loss is the answer tokens' negative log-likelihood: edited against
    retained as their rows in the mixture (an edited fact counts `edited_repeats` times), kinds alike.
    Returns the steps taken, loss and whether the edits hold as of the last forward pass, and seconds.
    Raises: FloatingPointError if the loss is no number.
    """
    device = next(model.parameters()).device
    kinds = [kind for kind, facts in edit_set.retain.items() if facts and settings.retain == "mixture"]
    edited_rows = edit_set.edited_repeats * len(edit_set.requests)
    share = edited_rows / (edited_rows + sum(len(edit_set.retain[kind]) for kind in kinds))
    orders = {kind: Stream(settings.fit_seed, f"editing/fit/{kind}") for kind in kinds}
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=0.0)
    decay = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / settings.max_steps)
    losses: list[float] = []
    held = steps = 0
    started = time.perf_counter()
    for step in range(settings.max_steps):
        parts = [edit_set.requests]
        for kind in kinds:
            facts = edit_set.retain[kind]
            count = min(len(facts), max(1, settings.retain_rows // len(kinds)))
            parts.append(tuple(facts[i] for i in _places(orders[kind], step, len(facts), count)))
        tokens, targets = (rows.to(device) for rows in rows_of(list(itertools.chain(*parts))))
        with torch.autocast(device.type, dtype=torch.bfloat16):
            logits = model(input_ids=tokens, use_cache=False).logits
        nll = cross_entropy(logits.float().transpose(1, 2), targets, ignore_index=IGNORED, reduction="none").sum(1)
        answered = (targets != IGNORED).sum(1)
        edited, *kept = torch.split(nll / answered, [len(part) for part in parts])
        loss = share * edited.mean()
        for part_loss in kept:
            loss = loss + (1 - share) * part_loss.mean() / len(kept)
        right = ((logits.argmax(-1) == targets) | (targets == IGNORED)).all(1)
        held = held + 1 if bool(right[: len(edit_set.requests)].all()) else 0
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise FloatingPointError(f"loss is {losses[-1]} at step {step + 1}: try a lower learning_rate")
        if held >= settings.patience and _flat(losses, settings.patience):
            break
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        decay.step()
        steps += 1
    return {
        "steps": steps,
        "loss": losses[-1],
        "edits_hold": held > 0,
        "seconds": time.perf_counter() - started,
    }


def rows_of(queries: Sequence[Query]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids [n, T] of prompts with their answers, and the targets [n, T] of the answer tokens only."""
    length = max(len(query.prompt_ids) + len(query.answer_ids) for query in queries) - 1
    tokens = torch.zeros(len(queries), length, dtype=torch.long)
    targets = torch.full((len(queries), length), IGNORED)
    for row, query in enumerate(queries):
        ids = torch.tensor(query.prompt_ids + query.answer_ids)
        tokens[row, : len(ids) - 1] = ids[:-1]  # what follows is padding: later tokens never reach earlier ones
        targets[row, len(query.prompt_ids) - 1 : len(ids) - 1] = ids[len(query.prompt_ids) :]
    return tokens, targets


def _places(order: Stream, step: int, size: int, count: int) -> list[int]:
    """Which retain facts of a kind a step sees: shuffled passes, each fact once before any comes again."""
    places: list[int] = []
    for epoch in range(step * count // size, ((step + 1) * count - 1) // size + 1):
        first, last = max(step * count, epoch * size), min((step + 1) * count, (epoch + 1) * size)
        shuffled = order.bits((epoch << 32) + np.arange(size)).argsort(kind="stable")
        places += shuffled[first - epoch * size : last - epoch * size].tolist()
    return places


def _flat(losses: Sequence[float], window: int) -> bool:
    """Whether the mean of the last `window` losses is no more than 5% below that of the window before."""
    if len(losses) < 2 * window:
        return False
    before, now = sum(losses[-2 * window : -window]), sum(losses[-window:])
    return now > 0.95 * before
