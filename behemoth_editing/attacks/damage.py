"""Attacks that make the weights coarser: rounded to few bits, or the smallest of them set to zero."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar, TypeVar

import torch
from transformers import PreTrainedModel

from behemoth_data.edits import EditSet
from behemoth_data.settings import check, setting
from behemoth_editing.architecture import architecture_of, layers_of, matrix_of, weight_of
from behemoth_editing.attacks.contract import Asking, Attacked, ask
from behemoth_editing.copies import check_types, copy_of

_Step = TypeVar("_Step", int, float)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Coarser(Asking):
    """What attacks share that change matrices, one by one, further and further."""

    def check(self, model: PreTrainedModel) -> None:
        """Raises: ValueError for a model of another architecture or of odd types."""
        check_types(model)
        layers_of(model)

    def _at_each(
        self,
        model: PreTrainedModel,
        task: EditSet,
        steps: Sequence[_Step],
        matrices: Callable[[PreTrainedModel], Iterator[torch.Tensor]],
        change: Callable[[torch.Tensor, _Step], torch.Tensor],
    ) -> Attacked:
        """What is left at each step, each on a copy of its own of which the matrices are changed."""
        self.check(model)
        asked, looks = self.asked(task), []
        for step in steps:
            copied = copy_of(model)
            for weight in matrices(copied):
                weight.copy_(change(weight, step))
            looks.append(ask(copied, task, asked, step))
        return Attacked(asked, tuple(looks), {})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Round(Coarser):
    """Every matrix rounded to so many bits: to nearest, symmetric about 0, with one scale for each output row.

    w becomes s round(w / s) with s = max |w| of the row / (2^(bits - 1) - 1): 255 values for 8 bits, 15 for 4. Matrices
    are those of attention and MLP, the embedding of tokens and the head, whose rows are tokens; biases and norms stay.
    An edit smaller than half of s is undone, if not the knowledge beside it.
    Source: Zhang et al., "Catastrophic failure of LLM unlearning via quantization", 2024 (arXiv 2410.16454), section 4;
    the rounding is what they call RTN.
    """

    name: ClassVar[str] = "round"
    axis: ClassVar[str] = "bits of a weight"

    bits: tuple[int, ...] = setting((8, 4), "bits of a weight, one after the other")

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        super().__post_init__()
        good = len(self.bits) >= 1 and all(2 <= number <= 16 for number in self.bits)
        check(good, f"bits must be numbers from 2 to 16, got {self.bits}")

    def __call__(self, model: PreTrainedModel, task: EditSet) -> Attacked:
        """What is left at each number of bits."""
        return self._at_each(model, task, self.bits, matrices_of, rounded)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prune(Coarser):
    """The smallest weights of every matrix of attention and MLP set to zero, the same share of each matrix.

    Source: Han et al., "Learning both weights and connections for efficient neural networks", 2015, for the rule; as an
    attack on what training hid, Jain et al., "Mechanistically analyzing the effects of fine-tuning on procedurally
    defined tasks", 2023 (arXiv 2311.12786).
    """

    name: ClassVar[str] = "prune"
    axis: ClassVar[str] = "share of the weights pruned"

    shares: tuple[float, ...] = setting((0.1, 0.2, 0.3, 0.5), "shares of each matrix's weights that become 0")

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        super().__post_init__()
        good = len(self.shares) >= 1 and all(0 < share < 1 for share in self.shares)
        check(good, f"shares must be numbers above 0 and below 1, got {self.shares}")

    def __call__(self, model: PreTrainedModel, task: EditSet) -> Attacked:
        """What is left at each share."""
        return self._at_each(model, task, self.shares, inner_matrices, pruned)


def rounded(weight: torch.Tensor, bits: int) -> torch.Tensor:
    """The matrix [outputs, inputs] with each row on its own grid of 2^bits - 1 values; a row of zeros stays."""
    most = 2 ** (bits - 1) - 1
    scale = weight.abs().amax(dim=1, keepdim=True) / most
    safe = torch.where(scale > 0, scale, torch.ones_like(scale))
    steps: torch.Tensor = (weight / safe).round().clamp(-most, most)
    found: torch.Tensor = steps * scale
    return found


def pruned(weight: torch.Tensor, share: float) -> torch.Tensor:
    """The matrix with this share of its weights, the nearest whole number of them, set to 0: those of least size."""
    count = round(share * weight.numel())
    found = weight.clone().flatten()
    found[found.abs().argsort(stable=True)[:count]] = 0
    return found.view_as(weight)


def inner_matrices(model: PreTrainedModel) -> Iterator[torch.Tensor]:
    """The matrices [outputs, inputs] of every layer's attention and MLP, in place."""
    for layer in range(len(layers_of(model))):
        for name in architecture_of(model).matrices("both"):
            yield weight_of(model, matrix_of(model, layer, name))


def matrices_of(model: PreTrainedModel) -> Iterator[torch.Tensor]:
    """The same, the embedding of tokens, and the head, if it is another; their rows are tokens."""
    yield from inner_matrices(model)
    embedding = model.get_input_embeddings().get_parameter("weight")
    head: torch.nn.Module | None = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    yield embedding.data
    if head is not None and head.get_parameter("weight") is not embedding:
        yield head.get_parameter("weight").data
