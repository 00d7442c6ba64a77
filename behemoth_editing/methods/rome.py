"""Rank-one model editing: one fact written into one MLP output matrix.

Axis letters: n prompts; T tokens; D keys' width (the MLP's inner width); H hidden width.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, cast

import torch
from torch import nn
from torch.nn.functional import cross_entropy, log_softmax
from transformers import PreTrainedModel

from behemoth_data.edits import EditTask
from behemoth_data.grammar import Query
from behemoth_data.settings import check, check_known, conform, setting
from behemoth_editing.architecture import check_layers, mlp_output, weight_of
from behemoth_editing.copies import check_types, copy_of, stored_like
from behemoth_editing.methods.contract import Edited, KeyStatistics, Shared
from behemoth_editing.methods.keys import (
    STATISTICS,
    STATISTICS_HELP,
    STATISTICS_OF,
    STATISTICS_OF_HELP,
    keys_of,
    shared_statistics,
)
from behemoth_editing.methods.mixture import IGNORED, rows_of

SITES = ("subject_last", "prompt_last")
KL_HELP = "weight of KL(edited || before) on other facts of the edited subject, where they are read"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rome:
    """W' = W + (v* - W k*) (C^-1 k*)^T / (k*^T C^-1 k*) in the MLP output matrix of one layer.

    Several edits of one set are written one after the other, each on the weights that the last one left.
    Without contexts, the default, it is p-ROME of Gupta et al., "Rebuilding ROME", 2024: k* is the key of the plain
    prompt. ROME averages it over contexts, which only a model can read that was trained on packed sentences; ours are
    trained on one sentence a row.
    Source: Meng et al., "Locating and editing factual associations in GPT", 2022, equations 2 to 4, and their
    rome/compute_v.py, which adds KL(edited || before) on another prompt about the subject.
    """

    name: ClassVar[str] = "rome"
    goal: ClassVar[str] = "edit"
    reads: ClassVar[tuple[str, ...]] = ("requests", "statistics", "same_subject", "contexts")

    layer: int = setting(3, "layer whose MLP output matrix is edited")
    site: str = setting("prompt_last", "token whose key and value are edited: subject_last, prompt_last")
    steps: int = setting(30, "Adam steps at most to find the value")
    learning_rate: float = setting(0.5, "Adam's learning rate for the value")
    stop_loss: float = setting(0.02, "the search ends when the new object's negative log-likelihood is below this")
    max_norm: float = setting(4.0, "largest norm of the value's change, in norms of the value it replaces")
    kl_weight: float = setting(0.0625, KL_HELP)
    decay: float = setting(1e-3, "weight of the change's norm over the squared norm of the value it replaces")
    ridge: float = setting(1e-4, "added to C's diagonal, in units of its mean")
    statistics: str = setting("unasked", STATISTICS_HELP)
    statistics_of: str = setting("given", STATISTICS_OF_HELP)
    num_contexts: int = setting(0, "sentences of other facts put before the prompt, one at a time, to average keys")

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        conform(self)
        check_known("site", self.site, SITES)
        check_known("statistics", self.statistics, STATISTICS)
        check_known("statistics_of", self.statistics_of, STATISTICS_OF)
        check(self.steps >= 1, f"steps must be at least 1, got {self.steps}")
        for field in ("learning_rate", "max_norm", "ridge"):
            check(getattr(self, field) > 0, f"{field} must be above 0, got {getattr(self, field)}")
        for field in ("stop_loss", "kl_weight", "decay", "num_contexts"):
            check(getattr(self, field) >= 0, f"{field} must be at least 0, got {getattr(self, field)}")

    def check(self, model: PreTrainedModel) -> None:
        """Raises: ValueError for a layer that the model does not have, or weights of odd types."""
        check_types(model)
        check_layers(model, [self.layer])

    def __call__(self, model: PreTrainedModel, task: EditTask, shared: Shared | None = None) -> Edited:
        """The edited copy; one matrix differs.

        Raises: ValueError for a layer that the model does not have, or a prompt whose site is not known.
        """
        self.check(model)
        others = itertools.chain(*task.same_subject) if self.kl_weight else ()
        for query in itertools.chain(task.requests, others):
            site_place(query, self.site)
        known = len(task.contexts) if self.num_contexts else 0
        check(
            self.num_contexts <= known,
            f"num_contexts must be at most {known}, the contexts there are, got {self.num_contexts}",
        )
        edited = copy_of(model)
        statistics = shared_statistics(
            edited, self.layer, task.background, shared or Shared(), self.statistics_of, self.statistics
        )
        inverse = ridge_inverse(statistics, self.ridge)
        details = [self._write(edited, task, number, inverse) for number in range(len(task.requests))]
        return Edited(
            stored_like(model, edited),
            {
                "steps": [detail["steps"] for detail in details],
                "loss": [detail["loss"] for detail in details],
                "norm_ratio": [detail["norm_ratio"] for detail in details],
            },
        )

    def _write(self, model: PreTrainedModel, task: EditTask, number: int, inverse: torch.Tensor) -> dict[str, Any]:
        """One edit is in the model's matrix, in place; returns how its value was found."""
        matrix = mlp_output(model, self.layer)
        request, position = task.requests[number], site_place(task.requests[number], self.site)
        prefixes = self._prefixes(task)
        key = torch.stack([_key(model, matrix, prefix, request, position) for prefix in prefixes]).mean(0)
        plain = _key(model, matrix, (), request, position)
        mapped = self._mapped_key(plain, key)
        direction = inverse @ key / (mapped @ inverse @ key)  # [D]; its product with the mapped key is 1
        value, details = self._value(model, task, number, position, plain, direction)
        weight = weight_of(model, matrix)
        weight.copy_(rank_one_update(weight, mapped, value, direction))
        return details

    def _prefixes(self, task: EditTask) -> list[tuple[int, ...]]:
        """What stands before the prompt: nothing, and then each of the contexts, which are not read if none is set."""
        return [(), *(task.contexts[: self.num_contexts] if self.num_contexts else ())]

    def _mapped_key(self, plain: torch.Tensor, averaged: torch.Tensor) -> torch.Tensor:
        """The key that the edited matrix maps to the value."""
        return plain

    def _value(
        self,
        model: PreTrainedModel,
        task: EditTask,
        number: int,
        position: int,
        plain: torch.Tensor,
        direction: torch.Tensor,
    ) -> tuple[torch.Tensor, dict[str, Any]]:
        """The product v* [H] float64 that the edited matrix must give for the key, and how it was found.

        Adam on a change of the matrix's output at the site: negative log-likelihood of the new object, after
        the plain prompt and after each context, plus the divergence on the same subject's other facts, where
        the change counts as much as the finished update will change their output there.
        """
        matrix, request = mlp_output(model, self.layer), task.requests[number]
        device, weight = model.device, weight_of(model, matrix).cpu().double()
        prefixes = self._prefixes(task)
        asked = [Query("", "", prefix + request.prompt_ids, request.answer_ids) for prefix in prefixes]
        tokens, targets = (rows.to(device) for rows in rows_of(asked))
        places = torch.tensor([len(prefix) + position for prefix in prefixes], device=device)
        others = task.same_subject[number] if self.kl_weight else ()
        other_tokens, other_ends = padded(others, device)
        sites = [site_place(query, self.site) for query in others]
        other_places = torch.tensor(sites, dtype=torch.long, device=device)
        scales = torch.tensor(
            [
                float(_key(model, matrix, (), query, place) @ direction)
                for query, place in zip(others, sites, strict=True)
            ]
        )
        with torch.no_grad():
            reference = last_log_probabilities(model, other_tokens, other_ends) if others else None
        value_before, bias = weight @ plain, cast("torch.Tensor | None", getattr(matrix, "bias", None))
        # The norm of what the matrix puts out, bias included, as in theirs.
        norm = float((value_before if bias is None else value_before + bias.detach().cpu().double()).norm())
        change = torch.zeros(len(value_before), device=device, requires_grad=True)
        optimizer = torch.optim.Adam([change], lr=self.learning_rate)
        for step in range(self.steps + 1):
            with _added(matrix, change, places, torch.ones(len(places), device=device)):
                logits = model(input_ids=tokens, use_cache=False).logits
            loss = cross_entropy(logits.transpose(1, 2), targets, ignore_index=IGNORED)
            new_object_loss = loss.item()
            if not math.isfinite(new_object_loss):
                raise FloatingPointError(f"loss is {new_object_loss} at step {step}: try a lower learning_rate")
            if new_object_loss < self.stop_loss or step == self.steps:
                break
            if reference is not None:
                with _added(matrix, change, other_places, scales.to(device)):
                    log_probabilities = last_log_probabilities(model, other_tokens, other_ends)
                loss = loss + self.kl_weight * divergence(log_probabilities, reference).mean()
            loss = loss + self.decay * change.norm() / norm**2
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                change *= min(1.0, self.max_norm * norm / max(float(change.norm()), 1e-12))
        details = {"steps": step, "loss": new_object_loss, "norm_ratio": float(change.detach().norm()) / norm}
        return value_before + change.detach().cpu().double(), details


@dataclasses.dataclass(frozen=True, kw_only=True)
class RRome(Rome):
    """ROME with one and the same averaged key in the residual and in the denominator.

    Without contexts (num_contexts = 0) there is nothing to average, and both are p-ROME. With them, the two can be
    compared on models that were trained on packed sentences alone: others answer nothing behind a context.
    Source: Gupta et al., "Rebuilding ROME: resolving model collapse during sequential model editing", 2024.
    """

    name: ClassVar[str] = "r_rome"

    num_contexts: int = setting(1, "sentences of other facts put before the prompt, one at a time, to average keys")

    def _mapped_key(self, plain: torch.Tensor, averaged: torch.Tensor) -> torch.Tensor:
        return averaged


def divergence(edited: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
    """KL(edited || before) [n] of two distributions, from their log-probabilities [n, vocabulary] each.

    Source: the authors' rome/compute_v.py, kl_div(before, edited, log_target=True), whose first argument torch takes
    for the second distribution of the divergence; memit/compute_z.py and EasyEdit have the same line.
    """
    return (edited.exp() * (edited - before)).sum(-1)


def site_place(query: Query, site: str) -> int:
    """The place in a prompt of the token that is edited. Raises: ValueError if it is the subject's and not known."""
    length, place = len(query.prompt_ids), query.subject_end
    if site != "subject_last":
        return length - 1
    if place is None or not 0 <= place < length:
        raise ValueError(
            f"subject_end must lie in [0, {length}), the tokens of the prompt {query.prompt!r}, for site "
            f"subject_last, got {place}"
        )
    return place


def ridge_inverse(statistics: KeyStatistics, ridge: float) -> torch.Tensor:
    """(C + ridge tr(C) / D I)^-1 [D, D] in float64."""
    moment = statistics.second_moment
    scale = ridge * float(moment.trace()) / len(moment)
    inverse: torch.Tensor = torch.linalg.inv(moment + scale * torch.eye(len(moment), dtype=moment.dtype))
    return inverse


def rank_one_update(
    weight: torch.Tensor, key: torch.Tensor, value: torch.Tensor, direction: torch.Tensor
) -> torch.Tensor:
    """W + (v - W k) u^T [H, D], computed in float64 and given back in the weight's type; maps k to v if u . k = 1.

    Source: Meng et al., 2022, equation 2, with u = C^-1 k / (k^T C^-1 k).
    """
    before = weight.detach().cpu().double()
    after = before + torch.outer(value - before @ key, direction)
    return after.to(weight.dtype).to(weight.device)  # in this order, since not every device has float64


def _key(
    model: PreTrainedModel, matrix: nn.Module, prefix: tuple[int, ...], query: Query, position: int
) -> torch.Tensor:
    """The key [D] float64 at a place of a prompt that stands behind a prefix."""
    tokens = torch.tensor([prefix + query.prompt_ids], device=model.device)
    return keys_of(model, matrix, tokens)[0, len(prefix) + position].cpu().double()


def padded(queries: Sequence[Query], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Prompts [n, T], padded behind their ends, where nothing earlier sees it, and the last tokens' places [n]."""
    length = max((len(query.prompt_ids) for query in queries), default=0)
    rows = [[*query.prompt_ids, *[0] * (length - len(query.prompt_ids))] for query in queries]
    ends = [len(query.prompt_ids) - 1 for query in queries]
    return torch.tensor(rows, device=device), torch.tensor(ends, dtype=torch.long, device=device)


def last_log_probabilities(model: PreTrainedModel, tokens: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
    """Log-probabilities [n, vocabulary] of the token after each prompt [n, T], which ends at its place in `ends`."""
    logits = model(input_ids=tokens, use_cache=False).logits
    return log_softmax(logits[torch.arange(len(ends), device=ends.device), ends].float(), dim=-1)


@contextlib.contextmanager
def _added(matrix: nn.Module, change: torch.Tensor, places: torch.Tensor, scales: torch.Tensor) -> Iterator[None]:
    """While open, the matrix's output at place places[i] of row i has scales[i] x change [H] added."""
    rows = torch.arange(len(places), device=places.device)

    def add(_module: nn.Module, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
        output = output.clone()
        output[rows, places] += scales[:, None] * change
        return output

    handle = matrix.register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()
