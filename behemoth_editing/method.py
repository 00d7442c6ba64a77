"""The contract that every editing method keeps, and what methods share. No method of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

import torch
from torch import nn
from transformers import PreTrainedModel

from behemoth_data.edits import EditTask
from behemoth_data.settings import check, check_known
from behemoth_models.recall import FRACTIONS, in_type, widest_type

if TYPE_CHECKING:  # which itself imports this module
    from behemoth_editing.keys import KeyStatistics

# What a method wants of the edited prompts: the new answer, any answer but the old one, or the refusal.
GOALS = ("edit", "forget", "refuse")
MODULES = ("both", "mlp", "attention")
# The matrices of a GPT-NeoX layer, by the module that they belong to.
MATRICES: dict[str, tuple[str, ...]] = {
    "mlp": ("mlp.dense_h_to_4h", "mlp.dense_4h_to_h"),
    "attention": ("attention.query_key_value", "attention.dense"),
}
MATRICES["both"] = MATRICES["attention"] + MATRICES["mlp"]


@dataclasses.dataclass(frozen=True)
class Edited:
    """An edited copy of a model, and the method's own numbers about how it got there."""

    model: PreTrainedModel
    details: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Fitted:
    """Weights that were trained for a task, before anything is done to them."""

    weights: str  # digest of the model that they come from
    task: EditTask
    method: object  # its settings, but for what it does after training
    parameters: tuple[torch.Tensor, ...]
    details: dict[str, Any]


@dataclasses.dataclass
class Shared:
    """What many edits of one model use and one computation gives; every entry is known by its sources."""

    key_statistics: dict[tuple[str, str, int], KeyStatistics] = dataclasses.field(default_factory=dict)
    fitted: Fitted | None = None  # the last one
    # Spent on key statistics, which is no single edit's cost, less what edits were spared by the last one's training,
    # which is the cost of theirs too.
    seconds: float = 0.0
    progress: bool = True  # whether what takes long shows a bar


class EditMethod(Protocol):
    """A frozen dataclass of settings; calling it edits a copy and leaves the model given bit-identical.

    The model given is not run at all, so that its mode and its gradients stay as they are even where an edit fails. All
    is computed on the copy, in evaluation mode and float32 (see copy_of), and given back in the types of the weights
    given (see stored_like).
    `shared` may be given to let several calls share expensive statistics; results do not depend on it.
    """

    name: ClassVar[str]
    goal: ClassVar[str]  # one of GOALS

    def check(self, model: PreTrainedModel) -> None:
        """Raises: ValueError for a setting that the model cannot have, such as a layer."""
        ...

    def __call__(self, model: PreTrainedModel, task: EditTask, shared: Shared | None = None) -> Edited:
        """The edited copy. Raises: ValueError as check() does."""
        ...


def copy_of(model: PreTrainedModel) -> PreTrainedModel:
    """A copy with weights of its own, in evaluation mode, without gradients, and with no weight narrower than float32.

    It has one type throughout, the widest of the weights' own, float32 at least.
    Raises: ValueError for weights that are no floating-point numbers of 16 bits or more.
    """
    check_types(model)
    edited = in_type(model, widest_type(model), copied=True)
    edited.train(False)
    return edited


def stored_like(model: PreTrainedModel, edited: PreTrainedModel) -> PreTrainedModel:
    """The edited copy with every weight and buffer in the type that it has in the model given, rounded in place.

    Raises: FloatingPointError for a weight that its type cannot hold.
    """
    types = {name: tensor.dtype for name, tensor in itertools.chain(model.named_parameters(), model.named_buffers())}
    for name, tensor in itertools.chain(edited.named_parameters(), edited.named_buffers()):
        if tensor.dtype == types[name]:
            continue
        stored = tensor.detach().to(types[name])
        if bool((stored.isinf() & tensor.isfinite()).any()):
            raise FloatingPointError(f"{name} has weights that {types[name]} cannot hold: edit a float32 copy instead")
        tensor.data = stored
    return edited


def weights_digest(model: PreTrainedModel, only: AbstractSet[int] | None = None) -> str:
    """16 hex digits of the SHA-256 over every parameter's name and bytes, or those with these id()s."""
    found = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        if only is not None and id(parameter) not in only:
            continue
        found.update(name.encode())
        found.update(parameter.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]


def layers_of(model: PreTrainedModel) -> nn.ModuleList:
    """The transformer layers. Raises: ValueError for a model that is not GPT-NeoX, the one known so far."""
    check(
        model.config.model_type == "gpt_neox",
        f"model_type must be gpt_neox, the architecture whose weights this method knows, got {model.config.model_type}",
    )
    return cast(nn.ModuleList, model.base_model.layers)


def matrix_of(model: PreTrainedModel, layer: int, name: str) -> nn.Linear:
    """One of a layer's matrices, by its name in MATRICES."""
    return cast(nn.Linear, layers_of(model)[layer].get_submodule(name))


@contextlib.contextmanager
def recorded(layer: nn.Module | None) -> Iterator[list[torch.Tensor]]:
    """While open, the hidden states [n, T, H] that the layer puts out are appended to a list; without a layer, none."""
    outputs: list[torch.Tensor] = []
    if layer is None:
        yield outputs
        return
    handle = layer.register_forward_hook(lambda _module, _inputs, output: outputs.append(hidden_of(output)))
    try:
        yield outputs
    finally:
        handle.remove()


def hidden_of(output: Any) -> torch.Tensor:
    """The hidden states of a layer's output, which some versions of transformers wrap in a tuple."""
    states: torch.Tensor = output[0] if isinstance(output, tuple) else output
    return states


def check_layers(model: PreTrainedModel, layers: Sequence[int]) -> None:
    """Raises: ValueError for a layer that the model does not have, naming the bound."""
    count = len(layers_of(model))
    for layer in layers:
        check(0 <= layer < count, f"layer must lie in [0, {count}), the model's layers, got {layer}")


def check_types(model: PreTrainedModel) -> None:
    """Raises: ValueError for weights that are no floating-point numbers of 16 bits or more, as quantised ones are."""
    for name, weight in model.named_parameters():
        check(
            weight.dtype in FRACTIONS,
            f"weights must be of type float16, bfloat16, float32 or float64, got {weight.dtype} for {name}",
        )


def check_layer_choice(layers: Sequence[int] | None) -> None:
    """Raises: ValueError for an empty choice, which libraries read as all layers."""
    check(layers is None or len(layers) > 0, f"layers must name at least 1 layer, or be none for all, got {layers}")


def check_modules(modules: str, known: Sequence[str] = MODULES) -> None:
    """Raises: ValueError that lists the known modules."""
    check_known("modules", modules, known)
