"""Copies of models: wide enough to compute on, and given back in the types of the original."""

from __future__ import annotations

import itertools

from transformers import PreTrainedModel

from behemoth_data.settings import check
from behemoth_models.knowledge import FRACTIONS, in_type, widest_type


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


def check_types(model: PreTrainedModel) -> None:
    """Raises: ValueError for weights that are no floating-point numbers of 16 bits or more, as quantised ones are."""
    for name, weight in model.named_parameters():
        check(
            weight.dtype in FRACTIONS,
            f"weights must be of type float16, bfloat16, float32 or float64, got {weight.dtype} for {name}",
        )
