"""Training on an edit set's mixture of all weights, or of chosen layers and modules, with or without a limit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, cast

import torch
from torch import nn
from transformers import PreTrainedModel

from behemoth_data.edits import EditTask
from behemoth_data.settings import check, check_known, setting
from behemoth_editing.architecture import (
    MODULES,
    architecture_of,
    check_layer_choice,
    check_layers,
    check_modules,
    layers_of,
    matrix_of,
)
from behemoth_editing.copies import check_types, copy_of, stored_like
from behemoth_editing.methods.contract import Edited, Fitted, Shared
from behemoth_editing.methods.mixture import FitSettings, Learn, Objective, fit
from behemoth_models.knowledge import weights_digest

RANK_MODES = ("truncated", "trained")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tuning(FitSettings):
    """AdamW on all weights, or on the matrices of chosen layers and modules, for an objective that a method names.

    `rank` replaces the change of every matrix by its best approximation of that rank (Eckart and Young, 1936: the
    leading singular triplets): in the mode `truncated` once, when training is over, in `trained` after every step, so
    that training can make up for the limit. Truncated edits in a row that differ in their rank alone share one
    training.
    """

    layers: tuple[int, ...] | None = setting((3,), "layers to train; none: all of them")
    modules: str = setting("mlp", "matrices to train in these layers: mlp, attention, both; all: every weight there")
    rank: int | None = setting(None, "largest rank of the change of each matrix by itself; none: no limit")
    rank_mode: str = setting("truncated", "when a change is cut to the rank: truncated: at the end; trained: each step")

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        super().__post_init__()
        check_layer_choice(self.layers)
        check_modules(self.modules, ["all", *MODULES])
        check_known("rank_mode", self.rank_mode, RANK_MODES)
        check(self.rank is None or self.rank >= 1, f"rank must be at least 1, got {self.rank}")
        check(
            self.rank is None or self.modules != "all",
            f"modules must be mlp, attention or both when rank is set, got {self.modules!r}",
        )

    def check(self, model: PreTrainedModel) -> None:
        """Raises: ValueError for a layer that the model does not have, or weights of odd types."""
        check_types(model)
        if self.modules != "all" or self.layers is not None:
            check_layers(model, self._layers(model))

    def __call__(self, model: PreTrainedModel, task: EditTask, shared: Shared | None = None) -> Edited:
        """The edited copy; weights that were not chosen are the original's. Raises: ValueError for a missing layer."""
        self.check(model)
        edited = copy_of(model)
        objective = self._objective(edited, task)
        parameters = self._parameters(edited)
        for parameter in parameters:
            parameter.requires_grad_(True)
        before = [parameter.detach().clone() for parameter in parameters]
        details = self._train(edited, parameters, before, task, objective, shared or Shared())
        if self.rank is not None and self.rank_mode == "truncated":
            limit_rank(parameters, before, self.rank)
        edited.requires_grad_(False)
        return Edited(stored_like(model, edited), details)

    def _train(
        self,
        model: PreTrainedModel,
        parameters: Sequence[nn.Parameter],
        before: Sequence[torch.Tensor],
        task: EditTask,
        objective: Objective,
        shared: Shared,
    ) -> dict[str, Any]:
        """The parameters are trained, or what the last edit trained them to if it differed in nothing but the rank."""
        method = self if self.rank_mode == "trained" else dataclasses.replace(self, rank=None)
        weights, last = weights_digest(model), shared.fitted
        if last is not None and last.task is task and (last.weights, last.method) == (weights, method):
            for parameter, trained in zip(parameters, last.parameters, strict=True):
                parameter.data.copy_(trained)
            shared.seconds -= last.details["seconds"]
            return dict(last.details)
        details = fit(model, parameters, task, self, objective, self._after_step(parameters, before))
        trained_to = tuple(parameter.detach().clone() for parameter in parameters)
        shared.fitted = Fitted(weights, task, method, trained_to, dict(details))
        return details

    def _objective(self, model: PreTrainedModel, task: EditTask) -> Objective:
        """What the copy of the model, which is as it was given, is to be trained for."""
        raise NotImplementedError

    def _limit(self, parameters: Sequence[nn.Parameter], before: Sequence[torch.Tensor]) -> Callable[[], None] | None:
        """What is done to the parameters after every step, if anything, beside a limit of the rank."""
        return None

    def _after_step(
        self, parameters: Sequence[nn.Parameter], before: Sequence[torch.Tensor]
    ) -> Callable[[], None] | None:
        """What is done to the parameters after every step, if anything; the limit of the rank comes last."""
        rank, limit = self.rank, self._limit(parameters, before)
        if rank is None or self.rank_mode == "truncated":
            return limit

        def project() -> None:
            if limit is not None:
                limit()
            limit_rank(parameters, before, rank)

        return project

    def _layers(self, model: PreTrainedModel) -> list[int]:
        return list(range(len(layers_of(model))) if self.layers is None else self.layers)

    def _parameters(self, model: PreTrainedModel) -> list[nn.Parameter]:
        if self.modules == "all":
            if self.layers is None:
                return list(model.parameters())
            return [parameter for layer in self.layers for parameter in layers_of(model)[layer].parameters()]
        names = architecture_of(model).matrices(self.modules)
        return [
            cast(nn.Parameter, matrix_of(model, layer, name).weight) for layer in self._layers(model) for name in names
        ]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FineTune(Tuning):
    """The edited prompts are answered as requested: NLL(new answers) + retain_weight x NLL(retained answers)."""

    name: ClassVar[str] = "finetune"
    goal: ClassVar[str] = "edit"
    reads: ClassVar[tuple[str, ...]] = ("requests", "retain", "same_subject")

    def _objective(self, model: PreTrainedModel, task: EditTask) -> Objective:
        return Learn(task.requests)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FineTuneConstrained(FineTune):
    """Fine-tuning in which no weight ever moves further than max_change: ||W - W_0||_inf <= max_change.

    After every optimizer step the change of each weight is clamped to the ball. Where a rank limit is set too, it
    comes last, and the change of lower rank may leave the ball again.
    Source: Zhu et al., "Modifying memories in transformer models", 2020 (arXiv 2012.00363), with the L-infinity norm.
    """

    name: ClassVar[str] = "finetune_constrained"

    layers: tuple[int, ...] | None = setting((2, 3), "layers to train; none: all of them")
    max_change: float = setting(1e-2, "largest change of any one weight")

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        super().__post_init__()
        check(self.max_change > 0, f"max_change must be above 0, got {self.max_change}")

    def _limit(self, parameters: Sequence[nn.Parameter], before: Sequence[torch.Tensor]) -> Callable[[], None]:
        balls = [(original - self.max_change, original + self.max_change) for original in before]

        def clamp() -> None:
            for parameter, (low, high) in zip(parameters, balls, strict=True):
                parameter.data.clamp_(low, high)

        return clamp


def limit_rank(parameters: Sequence[nn.Parameter], before: Sequence[torch.Tensor], rank: int) -> None:
    """The change of each matrix has at most this rank, in place."""
    for parameter, original in zip(parameters, before, strict=True):
        parameter.data.copy_(original + best_of_rank(parameter.data - original, rank))


def best_of_rank(matrix: torch.Tensor, rank: int) -> torch.Tensor:
    """The matrix of at most this rank that is nearest in Frobenius norm. Source: Eckart and Young, 1936.

    It is the projection on the leading eigenvectors of the smaller of M M^T and M^T M, which are its singular vectors
    and far sooner found: a method may ask for it after every step.
    """
    wide = matrix.cpu().double()
    if wide.shape[0] > wide.shape[1]:
        return best_of_rank(matrix.T, rank).T
    _, vectors = torch.linalg.eigh(wide @ wide.T)
    leading = vectors[:, -rank:]
    nearest: torch.Tensor = leading @ (leading.T @ wide)
    return nearest.to(matrix.dtype).to(matrix.device)
