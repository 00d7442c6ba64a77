"""Train chosen parameters of a model on a task's mixture until its objective is reached. Which ones, a method decides.

Axis letters: n rows; T tokens of the longest row; V words of the vocabulary; H hidden width.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from behemoth_data.edits import EditTask
from behemoth_data.grammar import Query
from behemoth_data.rng import Stream
from behemoth_data.settings import check, check_known, check_seed, conform, setting
from behemoth_editing.architecture import halves, layers_of, recorded
from behemoth_models.knowledge import evaluation_mode
from behemoth_models.precision import PRECISION_HELP, PRECISIONS, autocast, resolve_precision

IGNORED = -100  # target of a token whose prediction is not trained
_AHEAD = 10  # steps whose rows pass the frozen layers together


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitSettings:
    """Settings of every method that trains on the mixture."""

    learning_rate: float = setting(3e-3, "AdamW's learning rate at the first step")
    max_steps: int = setting(100, "optimizer steps at most, over which the learning rate decays linearly to zero")
    edited_rows: int = setting(64, "edited facts in each step at most")
    retain_rows: int = setting(48, "retain facts of the mixture in each step, as many of each kind")
    retain: str = setting("mixture", "mixture: train on the retain facts too; none: on the edited facts only")
    retain_weight: float = setting(1.0, "weight of the retain facts' loss, beside their share of the mixture")
    patience: int = setting(10, "steps for which edits and retain facts must hold, or the loss not fall, to stop")
    retain_accuracy: float = setting(
        0.99, "share of the retain facts of each kind in these steps that must be right; not for what only forgets"
    )
    fit_seed: int = setting(0, "seed of the rows' order and of fresh weights")
    precision: str = setting("auto", PRECISION_HELP)

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        conform(self)
        check(self.learning_rate > 0, f"learning_rate must be above 0, got {self.learning_rate}")
        check(self.retain_weight >= 0, f"retain_weight must be at least 0, got {self.retain_weight}")
        check(0 <= self.retain_accuracy <= 1, f"retain_accuracy must be from 0 to 1, got {self.retain_accuracy}")
        for field in ("max_steps", "edited_rows", "retain_rows", "patience"):
            check(getattr(self, field) >= 1, f"{field} must be at least 1, got {getattr(self, field)}")
        check_seed("fit_seed", self.fit_seed)
        check_known("retain", self.retain, ["mixture", "none"])
        check_known("precision", self.precision, PRECISIONS)

    def weights(self, share: float) -> tuple[float, float]:
        """What the mean losses of edited and of retained rows count, where `share` of the mixture's rows are edited."""
        return share, self.retain_weight * (1 - share)

    def kinds(self, task: EditTask) -> dict[str, tuple[Query, ...]]:
        """The retain facts to train on, by kind: those of the mixture, the edited subjects' other facts among them."""
        if self.retain == "none":
            return {}
        kinds = {"same_subject": tuple(itertools.chain(*task.same_subject)), **task.retain}
        return {kind: facts for kind, facts in kinds.items() if facts}


@dataclasses.dataclass(frozen=True)
class Batch:
    """Rows of one part of the mixture, and what the model makes of them."""

    places: Sequence[int]  # [n] where each row stands in its part, such as among the objective's queries
    tokens: torch.Tensor  # [n, T]
    targets: torch.Tensor  # [n, T] the token to be predicted, IGNORED where none is trained
    logits: torch.Tensor  # [n, T, V] float32
    states: torch.Tensor  # [n, T, H] float32, what the objective's layer puts out; empty if it names none

    @property
    def right(self) -> torch.Tensor:
        """Whether every answer token is the likeliest [n]."""
        return ((self.logits.argmax(-1) == self.targets) | (self.targets == IGNORED)).all(1)


@dataclasses.dataclass(frozen=True)
class Objective:
    """What training wants: the edited rows are prompts with the answers that the loss is about.

    Once it is reached, training goes on until the retained facts are right again or the loss stops falling, unless the
    objective does not settle.
    """

    settles: ClassVar[bool] = True

    queries: tuple[Query, ...]
    layer: int | None = dataclasses.field(default=None, init=False)  # whose output the losses read, if they do

    def loss(self, batch: Batch) -> torch.Tensor:
        """The loss [n] of edited rows."""
        raise NotImplementedError

    def retain_loss(self, batch: Batch) -> torch.Tensor:
        """The loss [n] of retained rows: their answers' mean negative log-likelihood per token."""
        return mean_nll(batch.logits, batch.targets)

    def reached(self, right: torch.Tensor) -> bool:
        """Whether the rows are as wanted; right [n] says of each query if every answer token is the likeliest."""
        raise NotImplementedError

    def stepped(self) -> None:
        """Whatever the losses are to know of the step that was just made; nothing, for most."""


@dataclasses.dataclass(frozen=True)
class Learn(Objective):
    """The rows are to be answered: the mean negative log-likelihood of an answer's tokens falls."""

    def loss(self, batch: Batch) -> torch.Tensor:
        """The answers' mean negative log-likelihood per token [n]."""
        return mean_nll(batch.logits, batch.targets)

    def reached(self, right: torch.Tensor) -> bool:
        """Whether every row is answered."""
        return bool(right.all())


def fit(
    model: PreTrainedModel,
    parameters: Sequence[nn.Parameter],
    task: EditTask,
    settings: FitSettings,
    objective: Objective,
    project: Callable[[], None] | None = None,
    watch: Callable[[PreTrainedModel, int], None] | None = None,
) -> dict[str, Any]:
    """The parameters are trained, in place, until the objective is reached and, if it settles, the rest in place again.

    Training is in evaluation mode, without dropout: what is wanted is that the model answers so, as it is asked.
    Every step sees as many retain facts of each kind, so that the few facts with the old object, which suffer
    first, are heard. The loss weighs edited against retained as the settings say, by default as their rows in the
    mixture (an edited fact counts `edited_repeats` times), kinds alike. `project` is called after every optimizer
    step, and then `watch` with the model and the number of steps. The objective is reached once the latest look at each
    edited row is as wanted; the rest is in place once `retain_accuracy` of each kind's rows of the last `patience`
    steps were right, or, where that cannot be had, once the loss stops falling.
    Returns the steps taken, loss and whether the objective is reached as of the last forward pass, the precision (bf16
    or fp32) and seconds.
    Raises: FloatingPointError if the loss is no number.
    """
    started = time.perf_counter()
    kinds = settings.kinds(task)
    rows_edited = task.edited_repeats * len(objective.queries)
    weight, retain_weight = settings.weights(rows_edited / (rows_edited + sum(map(len, kinds.values()))))
    precision = resolve_precision(settings.precision, next(model.parameters()).device)
    queries = [*objective.queries, *itertools.chain(*kinds.values())]
    rows = _Rows(model, parameters, queries, precision, objective.layer)
    parts = _parts(objective.queries, kinds, settings)
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=0.0)
    decay = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / settings.max_steps)
    right = torch.zeros(len(objective.queries), dtype=torch.bool)
    seen = torch.zeros_like(right)
    losses: list[float] = []
    retained: list[list[float]] = []
    held = steps = 0
    for step in range(settings.max_steps):
        if step % _AHEAD == 0:
            ahead = range(step, min(step + _AHEAD, settings.max_steps))
            rows.prepare({row for later in ahead for part in parts for row in part.rows(later)})
        edited, *kept = rows.run(parts, step)
        loss = weight * objective.loss(edited).mean()
        for kind in kept:
            loss = loss + retain_weight * objective.retain_loss(kind).mean() / len(kept)
        right[edited.places] = edited.right.cpu()
        seen[edited.places] = True
        held = held + 1 if bool(seen.all()) and objective.reached(right) else 0
        losses.append(loss.item())
        retained.append([kind.right.cpu().double().mean().item() for kind in kept])
        if not math.isfinite(losses[-1]):
            raise FloatingPointError(f"loss is {losses[-1]} at step {step + 1}: try a lower learning_rate")
        if held >= settings.patience and (
            not objective.settles
            or _right(retained[-settings.patience :]) >= settings.retain_accuracy
            or _flat(losses, settings.patience)
        ):
            break
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        if project is not None:
            project()
        decay.step()
        objective.stepped()
        steps += 1
        if watch is not None:
            watch(model, steps)
    return {
        "steps": steps,
        "loss": losses[-1],
        "edits_hold": held > 0,
        "precision": precision,
        "seconds": time.perf_counter() - started,
    }


def mean_nll(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The answers' mean negative log-likelihood per token [n], from logits [n, T, V] and targets [n, T]."""
    nll = cross_entropy(logits.transpose(1, 2), targets, ignore_index=IGNORED, reduction="none")
    return nll.sum(1) / (targets != IGNORED).sum(1)


def rows_of(queries: Sequence[Query]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids [n, T] of prompts with their answers, and the targets [n, T] of the answer tokens only."""
    length = max(map(_length, queries))
    tokens = torch.zeros(len(queries), length, dtype=torch.long)
    targets = torch.full((len(queries), length), IGNORED)
    for row, query in enumerate(queries):
        ids = torch.tensor(query.prompt_ids + query.answer_ids)
        tokens[row, : len(ids) - 1] = ids[:-1]  # what follows is padding: later tokens never reach earlier ones
        targets[row, len(query.prompt_ids) - 1 : len(ids) - 1] = ids[len(query.prompt_ids) :]
    return tokens, targets


def _length(query: Query) -> int:
    return len(query.prompt_ids) + len(query.answer_ids) - 1


class _Rows:
    """All rows of a mixture, which pass the layers below the first trained one no more than once each."""

    def __init__(
        self,
        model: PreTrainedModel,
        parameters: Sequence[nn.Parameter],
        queries: Sequence[Query],
        precision: str,
        layer: int | None = None,
    ) -> None:
        self._device, self._precision = next(model.parameters()).device, precision
        self._lengths = torch.tensor([_length(query) for query in queries])
        self._tokens, self._targets = (rows.to(self._device) for rows in rows_of(queries))
        self._below, self._above = halves(model, parameters)
        self._watched = None if layer is None else layers_of(model)[layer]
        self._known = torch.zeros(len(queries), dtype=torch.bool)
        self._states = torch.empty(0)

    def prepare(self, rows: Collection[int]) -> None:
        """What enters the first trained layer is known for these rows."""
        new = torch.tensor([row for row in sorted(rows) if not self._known[row]], dtype=torch.long)
        if self._below is None or not len(new):
            return
        tokens = self._tokens[new, : self._lengths[new].max()]
        with evaluation_mode(self._below), torch.no_grad(), autocast(self._precision, self._device):
            states = self._below(input_ids=tokens, use_cache=False).last_hidden_state
        if not len(self._states):
            self._states = states.new_zeros(*self._tokens.shape, states.shape[-1])
        self._states[new, : states.shape[1]] = states
        self._known[new] = True

    def run(self, parts: Sequence[_Part], step: int) -> list[Batch]:
        """The prepared rows of a step, part by part, after one forward pass; T is that of the longest of them all."""
        chosen = [part.rows(step) for part in parts]
        rows = list(itertools.chain(*chosen))
        length = self._lengths[rows].max()
        with evaluation_mode(self._above), autocast(self._precision, self._device), recorded(self._watched) as outputs:
            if self._below is None:
                found = self._above(input_ids=self._tokens[rows, :length], use_cache=False)
            else:
                found = self._above(inputs_embeds=self._states[rows, :length], use_cache=False)
        states = outputs[0] if outputs else found.logits.new_empty(len(rows), 0, 0)
        batches, start = [], 0
        for part, places in zip(parts, chosen, strict=True):
            own = slice(start, start + len(places))
            batches.append(
                Batch(
                    [place - part.first for place in places],
                    self._tokens[places, :length],
                    self._targets[places, :length],
                    found.logits[own].float(),
                    states[own].float(),
                )
            )
            start = own.stop
        return batches


@dataclasses.dataclass(frozen=True)
class _Part:
    """Rows of a mixture of which every step sees some: shuffled passes, each row once before any comes again."""

    first: int
    size: int
    count: int  # rows in each step
    order: Stream

    def rows(self, step: int) -> list[int]:
        """The rows of a step, as places in the mixture."""
        return [self.first + place for place in passes(self.order, self.size, self.count, step)]


def passes(order: Stream, size: int, count: int, step: int) -> list[int]:
    """Of `size` places the `count` that a step sees: shuffled passes, each place once before any comes again."""
    start, stop = step * count, (step + 1) * count
    places: list[int] = []
    for epoch in range(start // size, (stop - 1) // size + 1):
        shuffled = order.bits((epoch << 32) + np.arange(size)).argsort(kind="stable")
        places += shuffled[max(start - epoch * size, 0) : stop - epoch * size].tolist()
    return places


def _parts(edited: Sequence[Query], kinds: Mapping[str, Sequence[Query]], settings: FitSettings) -> list[_Part]:
    """The edited rows, then those of each kind, one part after the other."""
    parts = [_Part(0, len(edited), min(len(edited), settings.edited_rows), Stream(settings.fit_seed, "editing/edited"))]
    for kind, facts in kinds.items():
        count = min(len(facts), max(1, settings.retain_rows // len(kinds)))
        order = Stream(settings.fit_seed, f"editing/fit/{kind}")
        parts.append(_Part(parts[-1].first + parts[-1].size, len(facts), count, order))
    return parts


def _right(shares: Sequence[Sequence[float]]) -> float:
    """Of the shares of rows that were right, step by step and kind by kind: the mean of the kind that has the least."""
    return min((sum(kind) / len(kind) for kind in zip(*shares, strict=True)), default=1.0)


def _flat(losses: Sequence[float], window: int) -> bool:
    """Whether the mean of the last `window` losses lies no more than 5% below that of the window before."""
    if len(losses) < 2 * window:
        return False
    before, now = sum(losses[-2 * window : -window]), sum(losses[-window:])
    return now >= before - 0.05 * abs(before)
