"""The keys of an MLP layer: what its output matrix is multiplied with. Reads weights, never changes them.

Axis letters: n sentences; T tokens; D keys' width (the MLP's inner width).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm
from transformers import PreTrainedModel

from behemoth_data.edits import Background
from behemoth_data.settings import check
from behemoth_editing.architecture import embeddings_of, layers_of, mlp_output, weight_of
from behemoth_editing.methods.contract import KeyStatistics, Shared
from behemoth_models.knowledge import evaluation_mode, weights_digest, widened


class _Stop(Exception):
    """Raised inside a forward pass that has gone as far as it needs to."""


def keys_of(model: PreTrainedModel, output_matrix: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """The keys [n, T, D] of token ids [n, T] at a layer's output matrix, without dropout; later layers are not run."""
    keys: list[torch.Tensor] = []

    def record(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        keys.append(inputs[0].detach())
        raise _Stop

    handle = output_matrix.register_forward_pre_hook(record)
    try:
        with evaluation_mode(model), torch.no_grad(), contextlib.suppress(_Stop):
            model(input_ids=tokens, use_cache=False)
    finally:
        handle.remove()
    return keys[0]


STATISTICS = ("unasked", "all")
STATISTICS_OF = ("given", "original")
STATISTICS_HELP = "sentences whose keys C is over: unasked: those of facts that are not asked; all"
STATISTICS_OF_HELP = (
    "keys whose second moment is kept: of the model given, or in a sequence of the original before its first edit"
)


def shared_statistics(
    model: PreTrainedModel,
    layer: int,
    background: Background,
    shared: Shared,
    statistics_of: str = "given",
    statistics: str = "all",
) -> KeyStatistics:
    """The statistics of a layer's keys, computed unless `shared` has them for these very weights and this corpus.

    They are those of the model itself or, if the original is asked for and there is one, of the original; over all
    sentences, or over those of facts that are not asked.
    An edit of the layer's own output matrix, or of anything above it, leaves its keys and so its statistics valid.
    Raises: ValueError if there are no sentences, or none that is not asked.
    """
    if statistics_of == "original" and shared.original is not None:
        model = shared.original
    key = (_source_digest(model, layer), background.digest, layer)
    started, matrix, progress = time.perf_counter(), mlp_output(model, layer), shared.progress
    if key not in shared.key_statistics:
        shared.key_statistics[key] = key_statistics(model, matrix, background, key[0], progress=progress)
        shared.costs[key] = time.perf_counter() - started
    found = shared.key_statistics[key]
    shared.needed[key] = shared.costs.get(key, 0.0)
    if statistics == "unasked" and background.asked_digest:
        of_draw, began = (*key, background.asked_digest), time.perf_counter()
        if key not in shared.unasked or shared.unasked[key].left_out != background.asked_digest:
            shared.unasked[key] = without_asked(model, matrix, background, found)
            shared.costs[of_draw] = time.perf_counter() - began
        found = shared.unasked[key]
        shared.needed[of_draw] = shared.costs.get(of_draw, 0.0)
    shared.seconds += time.perf_counter() - started
    return found


def without_asked(
    model: PreTrainedModel, output_matrix: nn.Module, background: Background, every: KeyStatistics
) -> KeyStatistics:
    """The statistics of all sentences but those that state an asked fact, by taking their part out of the sums.

    For a float64 model it is what a pass over the other sentences gives, but for float64's rounding. Keys of a float32
    model, and their products within a batch, are rounded to float32, so there the two differ by up to 1e-6 of C's norm;
    on a 31m, of which half of the sentences were asked, C's smallest eigenvalue moved by 0.02%.
    Raises: ValueError if no sentence is left.
    """
    total, count = _sums(model, output_matrix, background.asked())
    check(
        count < every.num_keys,
        f"statistics must be all where every sentence of the corpus states an asked fact, got unasked, which leaves "
        f"{every.num_keys - count} of {every.num_keys} keys",
    )
    left = every.num_keys - count
    moment = (every.second_moment * every.num_keys - total) / left
    return KeyStatistics(moment, left, every.weights, every.corpus, background.asked_digest)


def _source_digest(model: PreTrainedModel, layer: int) -> str:
    """The digest of the weights that a layer's keys depend on: embeddings, layers below, its own but the matrix."""
    layers = list(layers_of(model))
    above = [mlp_output(model, layer), *layers[layer + 1 :]]
    later = {id(parameter) for module in above for parameter in module.parameters()}
    stack = {id(parameter) for part in layers for parameter in part.parameters()}
    return weights_digest(model, only=(stack - later) | set(map(id, embeddings_of(model))))


def key_statistics(
    model: PreTrainedModel,
    output_matrix: nn.Module,
    background: Background,
    weights: str,
    *,
    batch_size: int = 512,
    progress: bool = True,
) -> KeyStatistics:
    """The second moment of the keys over every token of every sentence, batches summed in float64.

    The end-of-text token that closes a sentence has no successor and is left out, as in training. Of a model with
    weights narrower than float32 a wider copy is asked.
    """
    check(background.digest != "", "background must hold sentences for the statistics of keys, got none")
    blocks = tqdm(background.blocks(), desc="key statistics", unit="block", leave=False, disable=not progress)
    total, count = _sums(model, output_matrix, blocks, batch_size)
    return KeyStatistics(total / count, count, weights, background.digest)


def _sums(
    model: PreTrainedModel, output_matrix: nn.Module, blocks: Iterable[NDArray[np.int64]], batch_size: int = 512
) -> tuple[torch.Tensor, int]:
    """The sum of k k^T [D, D] float64 over the keys of these sentences, and how many keys there are."""
    name = next(name for name, part in model.named_modules() if part is output_matrix)
    model = widened(model)
    matrix = model.get_submodule(name)
    width = weight_of(model, matrix).shape[1]
    device = next(model.parameters()).device
    total, count = torch.zeros(width, width, dtype=torch.float64), 0
    for block in blocks:
        for start in range(0, len(block), batch_size):
            tokens = torch.from_numpy(block[start : start + batch_size, :-1]).to(device)
            keys = keys_of(model, matrix, tokens).flatten(0, 1)
            total += (keys.T @ keys).cpu().double()
            count += len(keys)
    return total, count
