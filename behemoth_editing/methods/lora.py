"""Low-rank adaptation (Hu et al., 2021) through peft, merged into a plain copy of the model."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, cast

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel

from behemoth_data.edits import EditTask
from behemoth_data.settings import check, setting
from behemoth_editing.architecture import (
    architecture_of,
    check_layer_choice,
    check_layers,
    check_modules,
    layers_of,
    matrix_of,
    weight_of,
)
from behemoth_editing.copies import check_types, copy_of, stored_like
from behemoth_editing.methods.contract import Edited, Shared
from behemoth_editing.methods.mixture import FitSettings, Learn, fit


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lora(FitSettings):
    """W + (alpha / rank) B A for the matrices of chosen layers and modules, A and B trained on the mixture.

    Each matrix has a change of its own, so rank 1 in two layers' MLPs is rank 1 in each of four matrices. The learning
    rate falls with the rank as tuning found it best (tools/tuned.json): at one rate for all, either rank 1 makes half
    of the edits or rank 64 loses what it ought to keep.
    """

    name: ClassVar[str] = "lora"
    goal: ClassVar[str] = "edit"
    reads: ClassVar[tuple[str, ...]] = ("requests", "retain", "same_subject")

    learning_rate: float = setting(5e-3, "AdamW's learning rate at the first step, for rank 8")
    rank_power: float = setting(0.6, "at another rank the rate is times (8 / rank) to this power; 0: the same at all")
    rank: int = setting(8, "rank of the change of each matrix by itself, at most its smaller side")
    alpha: int | None = setting(None, "scale of the change, divided by rank; none: twice the rank, a scale of 2 at any")
    layers: tuple[int, ...] | None = setting((2, 3), "layers to adapt; none: all of them")
    modules: str = setting("mlp", "matrices to adapt in these layers: mlp, attention, both")

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        super().__post_init__()
        check_layer_choice(self.layers)
        check_modules(self.modules)
        check(self.rank >= 1, f"rank must be at least 1, got {self.rank}")
        check(self.rank_power >= 0, f"rank_power must be at least 0, got {self.rank_power}")
        check(self.alpha is None or self.alpha > 0, f"alpha must be above 0, got {self.alpha}")

    def check(self, model: PreTrainedModel) -> None:
        """Raises: ValueError for a layer that the model does not have, or weights of odd types."""
        check_types(model)
        check_layers(model, self._layers(model))

    def _layers(self, model: PreTrainedModel) -> list[int]:
        return list(range(len(layers_of(model))) if self.layers is None else self.layers)

    def __call__(self, model: PreTrainedModel, task: EditTask, shared: Shared | None = None) -> Edited:
        """The edited copy; only the targeted matrices differ. Raises: ValueError for a missing layer."""
        self.check(model)
        edited = copy_of(model)
        names = architecture_of(edited).matrices(self.modules)
        sides = [min(weight_of(edited, matrix_of(edited, 0, name)).shape) for name in names]
        rank = min(self.rank, *sides)
        config = LoraConfig(
            r=rank,
            lora_alpha=2 * rank if self.alpha is None else self.alpha,
            target_modules=list(names),
            layers_to_transform=self._layers(model),
            fan_in_fan_out=architecture_of(edited).transposed,
        )
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.fit_seed)  # and not those of GPUs, which peft does not draw from
            adapted = cast(PeftModel, get_peft_model(edited, config))
        trained = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
        rate = self.learning_rate * (8 / rank) ** self.rank_power
        chosen = dataclasses.replace(self, learning_rate=rate)
        watch = None if shared is None else shared.watch
        # Peft has put its matrices into the copy itself.
        details = fit(edited, trained, task, chosen, Learn(task.requests), watch=watch)
        details |= {"rank": rank, "learning_rate": rate}
        merged = cast(PreTrainedModel, adapted.merge_and_unload())
        merged.requires_grad_(False)
        return Edited(stored_like(model, merged), details)
