"""What is known of models' architectures: layers, matrices, norm and head, by model_type. Trains and edits nothing.

A method asks here for the parts of a model that it changes or reads, and so works on every architecture in the table.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel

from behemoth_data.settings import check, check_known

MODULES = ("both", "mlp", "attention")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture:
    """Where a kind of model has its parts. Names of matrices are those of submodules of a layer."""

    layers: str  # the list of layers, in the base model
    attention: tuple[str, ...]  # matrices of a layer's attention
    mlp_input: str  # the matrix from the hidden width to the MLP's inner width
    mlp_output: str  # the matrix back, whose inputs are the keys of rome, memit and their kin
    final_norm: str  # what the last layer's output goes through, in the base model
    transposed: bool  # whether a matrix is stored as [inputs, outputs], as by transformers' Conv1D

    def matrices(self, modules: str) -> tuple[str, ...]:
        """The matrices of a layer that these modules, one of MODULES, name."""
        check_modules(modules)
        mlp = (self.mlp_input, self.mlp_output)
        return {"mlp": mlp, "attention": self.attention, "both": self.attention + mlp}[modules]


ARCHITECTURES: dict[str, Architecture] = {
    "gpt_neox": Architecture(
        layers="layers",
        attention=("attention.query_key_value", "attention.dense"),
        mlp_input="mlp.dense_h_to_4h",
        mlp_output="mlp.dense_4h_to_h",
        final_norm="final_layer_norm",
        transposed=False,
    ),
}


def architecture_of(model: PreTrainedModel) -> Architecture:
    """The entry of the model's model_type. Raises: ValueError for one that is not in ARCHITECTURES."""
    known, found = ", ".join(ARCHITECTURES), model.config.model_type
    check(
        found in ARCHITECTURES,
        f"model_type must be {known}, the architecture{'s' if len(ARCHITECTURES) > 1 else ''} whose weights this "
        f"method knows, got {found}",
    )
    return ARCHITECTURES[found]


def layers_of(model: PreTrainedModel) -> nn.ModuleList:
    """The transformer layers. Raises: ValueError for a model of an unknown architecture."""
    return cast(nn.ModuleList, model.base_model.get_submodule(architecture_of(model).layers))


def matrix_of(model: PreTrainedModel, layer: int, name: str) -> nn.Module:
    """One of a layer's matrices, by its name in the model's Architecture."""
    return layers_of(model)[layer].get_submodule(name)


def mlp_output(model: PreTrainedModel, layer: int) -> nn.Module:
    """The output matrix of a layer's MLP."""
    return matrix_of(model, layer, architecture_of(model).mlp_output)


def weight_of(model: PreTrainedModel, matrix: nn.Module) -> torch.Tensor:
    """The weights of a matrix as [outputs, inputs], in place: what is copied into them changes the model."""
    weight = cast(torch.Tensor, matrix.weight).data
    return weight.T if architecture_of(model).transposed else weight


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


def check_layer_choice(layers: Sequence[int] | None) -> None:
    """Raises: ValueError for an empty choice, which libraries read as all layers."""
    check(layers is None or len(layers) > 0, f"layers must name at least 1 layer, or be none for all, got {layers}")


def check_modules(modules: str, known: Sequence[str] = MODULES) -> None:
    """Raises: ValueError that lists the known modules."""
    check_known("modules", modules, known)


def halves(model: PreTrainedModel, parameters: Sequence[nn.Parameter]) -> tuple[nn.Module | None, nn.Module]:
    """The layers below the first that has one of the parameters, and the model from there on.

    Both share the model's weights. Without layers that can be left out: nothing, and the model itself.
    """
    if model.config.model_type not in ARCHITECTURES:
        return None, model
    layers, trained = layers_of(model), set(map(id, parameters))

    def has_trained(module: nn.Module) -> bool:
        return any(id(parameter) in trained for parameter in module.parameters())

    first = next((number for number, layer in enumerate(layers) if has_trained(layer)), len(layers))
    if first == 0 or has_trained(model.get_input_embeddings()):
        return None, model
    above = _with(model.base_model, {architecture_of(model).layers: layers[first:]})
    return first_layers(model, first), _with(model, {model.base_model_prefix: above})


def first_layers(model: PreTrainedModel, count: int) -> nn.Module:
    """A module that shares a model's first layers; its last_hidden_state is what the last of them puts out."""
    architecture = architecture_of(model)
    children = {architecture.layers: layers_of(model)[:count], architecture.final_norm: nn.Identity()}
    return _with(model.base_model, children)


def _with(module: nn.Module, children: dict[str, nn.Module]) -> nn.Module:
    """A module that shares everything with the one given but these children."""
    changed = copy.copy(module)
    changed._modules = {**module._modules, **children}
    return changed
