"""Fine-tuning on an edit set's mixture: all weights, or chosen layers and modules, with or without a rank limit."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, cast

import torch
from torch import nn
from transformers import PreTrainedModel

from behemoth_data.edits import EditTask
from behemoth_data.settings import check, setting
from behemoth_editing.fit import FitSettings, fit
from behemoth_editing.method import (
    MATRICES,
    MODULES,
    Edited,
    Shared,
    check_layer_choice,
    check_layers,
    check_modules,
    copy_of,
    layers_of,
    matrix_of,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FineTune(FitSettings):
    """AdamW on all weights, or on the matrices of chosen layers and modules.

    `rank` replaces the change of every matrix, when training is over, by its best approximation of that rank
    (Eckart and Young, 1936: the leading singular triplets).
    """

    name: ClassVar[str] = "finetune"

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
        """Raises: ValueError for a layer that the model does not have."""
        if self.modules != "all" or self.layers is not None:
            check_layers(model, self._layers(model))

    def __call__(self, model: PreTrainedModel, task: EditTask, shared: Shared | None = None) -> Edited:
        """The edited copy; weights that were not chosen are the original's. Raises: ValueError for a missing layer."""
        self.check(model)
        edited = copy_of(model)
        parameters = self._parameters(edited)
        for parameter in parameters:
            parameter.requires_grad_(True)
        before = [parameter.detach().clone() for parameter in parameters]
        details = fit(edited, parameters, task, self)
        if self.rank is not None:
            for parameter, original in zip(parameters, before, strict=True):
                parameter.data = original + best_of_rank(parameter.data - original, self.rank)
        edited.requires_grad_(False)
        return Edited(edited, details)

    def _layers(self, model: PreTrainedModel) -> list[int]:
        return list(range(len(layers_of(model))) if self.layers is None else self.layers)

    def _parameters(self, model: PreTrainedModel) -> list[nn.Parameter]:
        if self.modules == "all":
            if self.layers is None:
                return list(model.parameters())
            return [parameter for layer in self.layers for parameter in layers_of(model)[layer].parameters()]
        names = MATRICES[self.modules]
        return [
            cast(nn.Parameter, matrix_of(model, layer, name).weight) for layer in self._layers(model) for name in names
        ]


def best_of_rank(matrix: torch.Tensor, rank: int) -> torch.Tensor:
    """The matrix of at most this rank that is nearest in Frobenius norm. Source: Eckart and Young, 1936."""
    left, values, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    nearest: torch.Tensor = left[:, :rank] * values[:rank] @ right[:rank]
    return nearest.to(matrix.dtype)
