"""What a table's numbers are worth: a model that nobody edited, and one whose weights moved by chance."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import torch
from transformers import PreTrainedModel

from behemoth_data.edits import EditTask
from behemoth_data.rng import Stream
from behemoth_data.settings import check, check_seed, conform, setting
from behemoth_editing.architecture import layers_of
from behemoth_editing.copies import check_types, copy_of, stored_like
from behemoth_editing.methods.contract import Edited, EditMethod, Shared


@dataclasses.dataclass(frozen=True, kw_only=True)
class Nothing:
    """No edit at all: the copy is the model."""

    name: ClassVar[str] = "nothing"
    goal: ClassVar[str] = "edit"
    reads: ClassVar[tuple[str, ...]] = ()

    def check(self, model: PreTrainedModel) -> None:
        """Raises: ValueError for weights of odd types."""
        check_types(model)

    def __call__(self, model: PreTrainedModel, task: EditTask, shared: Shared | None = None) -> Edited:
        """The copy."""
        self.check(model)
        return Edited(stored_like(model, copy_of(model)), {})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Noise:
    """Random numbers added to every matrix of the layers: what a change of that size costs that knows of no edit."""

    name: ClassVar[str] = "noise"
    goal: ClassVar[str] = "edit"
    reads: ClassVar[tuple[str, ...]] = ()

    relative: float = setting(0.05, "Frobenius norm of each matrix's change, as a share of the matrix's own")
    noise_seed: int = setting(0, "seed of the random numbers")

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        conform(self)
        check(self.relative > 0, f"relative must be above 0, got {self.relative}")
        check_seed("noise_seed", self.noise_seed)

    def check(self, model: PreTrainedModel) -> None:
        """Raises: ValueError for a model of another architecture or of odd types."""
        layers_of(model)
        check_types(model)

    def __call__(self, model: PreTrainedModel, task: EditTask, shared: Shared | None = None) -> Edited:
        """The copy, each edit of a sequence having moved it once more, in a direction of its own."""
        self.check(model)
        edited = copy_of(model)
        for number, layer in enumerate(layers_of(edited)):
            for name, weight in layer.named_parameters():
                if weight.ndim == 2:
                    stream = Stream(self.noise_seed, f"bench/noise/{len(task.earlier)}/{number}/{name}")
                    drawn = torch.from_numpy(2 * stream.uniform(np.arange(weight.numel())) - 1).reshape(weight.shape)
                    drawn *= self.relative * float(weight.detach().double().norm()) / float(drawn.norm())
                    weight.data += drawn.to(weight.device, weight.dtype)
        return Edited(stored_like(model, edited), {})


# Rows of every board, beside the methods; `retrain`, the ceiling, takes as long as training and is asked for by name.
FLOORS: dict[str, type[EditMethod]] = {"nothing": Nothing, "noise": Noise}
