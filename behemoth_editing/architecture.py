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
    mlp_input: tuple[str, ...]  # matrices from the hidden width to the MLP's inner width, of which a gated MLP has two
    mlp_output: str  # the matrix back, whose inputs are the keys of rome, memit and their kin
    final_norm: str  # what the last layer's output goes through, in the base model
    transposed: bool = False  # whether a matrix is stored as [inputs, outputs], as by transformers' Conv1D
    normed: bool = False  # whether an MLP's output goes through a norm before it is added to the hidden states

    def matrices(self, modules: str) -> tuple[str, ...]:
        """The matrices of a layer that these modules, one of MODULES, name."""
        check_modules(modules)
        mlp = (*self.mlp_input, self.mlp_output)
        return {"mlp": mlp, "attention": self.attention, "both": self.attention + mlp}[modules]


_LLAMA = Architecture(
    layers="layers",
    attention=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"),
    mlp_input=("mlp.gate_proj", "mlp.up_proj"),
    mlp_output="mlp.down_proj",
    final_norm="norm",
)
_NORMED = dataclasses.replace(_LLAMA, normed=True)

ARCHITECTURES: dict[str, Architecture] = {
    "gpt_neox": Architecture(
        layers="layers",
        attention=("attention.query_key_value", "attention.dense"),
        mlp_input=("mlp.dense_h_to_4h",),
        mlp_output="mlp.dense_4h_to_h",
        final_norm="final_layer_norm",
    ),
    "gpt2": Architecture(
        layers="h",
        attention=("attn.c_attn", "attn.c_proj"),
        mlp_input=("mlp.c_fc",),
        mlp_output="mlp.c_proj",
        final_norm="ln_f",
        transposed=True,
    ),
    "gptj": Architecture(
        layers="h",
        attention=("attn.q_proj", "attn.k_proj", "attn.v_proj", "attn.out_proj"),
        mlp_input=("mlp.fc_in",),
        mlp_output="mlp.fc_out",
        final_norm="ln_f",
    ),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "olmo": _LLAMA,
    "olmo2": _NORMED,
    "gemma": _LLAMA,
    "gemma2": _NORMED,
    "gemma3_text": _NORMED,
}


def architecture_of(model: PreTrainedModel) -> Architecture:
    """The entry of the model's model_type. Raises: ValueError for one that is not in ARCHITECTURES."""
    known, found = ", ".join(ARCHITECTURES), model.config.model_type
    check(
        found in ARCHITECTURES,
        f"model_type must be one of {known}, the architectures whose weights this method knows, got {found}",
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


def check_adds(model: PreTrainedModel) -> None:
    """Raises: ValueError for a model that normalises what its MLPs put out, by which no chosen change can be added."""
    plain = ", ".join(name for name, architecture in ARCHITECTURES.items() if not architecture.normed)
    found = model.config.model_type
    check(
        not architecture_of(model).normed,
        f"model_type must be one of {plain}, which add what an MLP puts out as it is to the hidden states, got {found}",
    )


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

    first = next((number for number, layer in enumerate(layers) if has_trained(layer)), len(layers) - 1)
    if first == 0 or trained & set(map(id, embeddings_of(model))):
        return None, model
    return first_layers(model, first), _Above(model, first)


def first_layers(model: PreTrainedModel, count: int) -> nn.Module:
    """A module that shares a model's first layers; its last_hidden_state is what the last of them puts out."""
    architecture = architecture_of(model)
    children = {architecture.layers: layers_of(model)[:count], architecture.final_norm: nn.Identity()}
    return _with(model.base_model, children)


def embeddings_of(model: PreTrainedModel) -> list[nn.Parameter]:
    """The parameters of all that comes before the first layer: of tokens, and of places where they have some."""
    base, architecture = model.base_model, architecture_of(model)
    later = {
        id(parameter)
        for name in (architecture.layers, architecture.final_norm)
        for parameter in base.get_submodule(name).parameters()
    }
    return [parameter for parameter in base.parameters() if id(parameter) not in later]


class _Entered(nn.Module):
    """A layer that is given the states it was told, whatever the model made before it."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.states = layer, torch.empty(0)

    def forward(self, hidden_states: torch.Tensor, *arguments: Any, **settings: Any) -> Any:
        return self.layer(self.states, *arguments, **settings)

    def __getattr__(self, name: str) -> Any:  # some versions of transformers ask a layer what attention it has
        return super().__getattr__(name) if name == "layer" else getattr(self.layer, name)


class _Above(nn.Module):
    """A model from a layer on: what it is given for embeddings enters that layer as it is.

    So nothing is added to it and nothing scales it, as GPT-2 adds places and older versions of Gemma scale.
    """

    def __init__(self, model: PreTrainedModel, first: int) -> None:
        super().__init__()
        layers = layers_of(model)
        self.entered = _Entered(layers[first])
        left = nn.ModuleList([self.entered, *layers[first + 1 :]])
        base: Any = _with(model.base_model, {architecture_of(model).layers: left})
        if getattr(base.config, "layer_types", None):  # by a layer's place, which is another one here
            base.config = copy.copy(base.config)
            base.config.layer_types = base.config.layer_types[first:]
        self.model = _with(model, {model.base_model_prefix: base})

    def forward(self, inputs_embeds: torch.Tensor, use_cache: bool) -> Any:
        self.entered.states = inputs_embeds
        return self.model(inputs_embeds=inputs_embeds, use_cache=use_cache)


def _with(module: nn.Module, children: dict[str, nn.Module]) -> nn.Module:
    """A module that shares everything with the one given but these children."""
    changed = copy.copy(module)
    changed._modules = {**module._modules, **children}
    return changed
