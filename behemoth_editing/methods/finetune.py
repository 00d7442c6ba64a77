"""Training on an edit set's mixture of all weights, or of chosen layers and modules, with or without a limit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, cast

import torch
from torch import nn
from transformers import PreTrainedModel

from behemoth_data.edits import EditTask
from behemoth_data.settings import check, setting
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tuning(FitSettings):
    """AdamW on all weights, or on the matrices of chosen layers and modules, for an objective that a method names.

    `rank` replaces the change of every matrix, when training is over, by its best approximation of that rank
    (Eckart and Young, 1936: the leading singular triplets). Edits in a row that differ in their rank alone share one
    training.
    """

    layers: tuple[int, ...] | None = setting((3,), "layers to train; none: all of them")
    modules: str = setting("mlp", "matrices to train in these layers: mlp, attention, both; all: every weight there")
    rank: int | None = setting(None, "largest rank of each matrix's change; none: no limit")

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        super().__post_init__()
        check_layer_choice(self.layers)
        check_modules(self.modules, ["all", *MODULES])
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
        if self.rank is not None:
            for parameter, original in zip(parameters, before, strict=True):
                parameter.data.copy_(original + best_of_rank(parameter.data - original, self.rank))
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
        weights, method = weights_digest(model), dataclasses.replace(self, rank=None)
        # What a limit of rank does to the model is done when training is over: there is nothing to see of it before.
        watch = shared.watch if self.rank is None else None
        last = shared.fitted if watch is None else None
        if last is not None and last.task is task and (last.weights, last.method) == (weights, method):
            for parameter, trained in zip(parameters, last.parameters, strict=True):
                parameter.data.copy_(trained)
            shared.seconds -= last.details["seconds"]
            return dict(last.details)
        details = fit(model, parameters, task, self, objective, self._limit(parameters, before), watch)
        trained_to = tuple(parameter.detach().clone() for parameter in parameters)
        shared.fitted = Fitted(weights, task, method, trained_to, dict(details))
        return details

    def _objective(self, model: PreTrainedModel, task: EditTask) -> Objective:
        """What the copy of the model, which is as it was given, is to be trained for."""
        raise NotImplementedError

    def _limit(self, parameters: Sequence[nn.Parameter], before: Sequence[torch.Tensor]) -> Callable[[], None] | None:
        """What is done to the parameters after every step, if anything."""
        return None

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


def best_of_rank(matrix: torch.Tensor, rank: int) -> torch.Tensor:
    """The matrix of at most this rank that is nearest in Frobenius norm. Source: Eckart and Young, 1936."""
    left, values, right = torch.linalg.svd(matrix.cpu().double(), full_matrices=False)
    nearest: torch.Tensor = left[:, :rank] * values[:rank] @ right[:rank]
    return nearest.to(matrix.dtype).to(matrix.device)
