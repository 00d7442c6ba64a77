"""Matrix products of a model's shapes and nothing else: what a machine could do at best. No model is run for them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

Shape = tuple[int, int]  # of a matrix [out, in]
Product = tuple[int, int, int]  # of [tokens, in] with [out, in]: tokens, out, in


def matrices(model: PreTrainedModel) -> list[Shape]:
    """The shapes of all matrices that tokens are multiplied with: those of the layers, then the head's."""
    head: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    linear = [module for module in model.modules() if isinstance(module, torch.nn.Linear) and module is not head]
    return [(module.out_features, module.in_features) for module in (*linear, head)]


def forward_calls(model: PreTrainedModel, work: Callable[[], object]) -> Counter[tuple[str, int]]:
    """How often `work` runs the model's "layers" or "head" on how many tokens, by both."""
    calls: Counter[tuple[str, int]] = Counter()

    def noting(name: str) -> Callable[..., None]:
        def note(module: Any, inputs: Any, output: torch.Tensor) -> None:
            calls[name, output.shape[:-1].numel()] += 1

        return note

    head: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    handles = [
        model.get_input_embeddings().register_forward_hook(noting("layers")),
        head.register_forward_hook(noting("head")),
    ]
    work()
    for handle in handles:
        handle.remove()
    return calls


def bare_seconds(
    products: Sequence[Product], dtype: torch.dtype, device: torch.device | str, *, backward: bool
) -> float:
    """Seconds that these products take, and with `backward` the two that each one's gradients take as well."""
    device = torch.device(device)
    operands = {
        (tokens, rows, columns): (
            torch.randn(tokens, columns, device=device, dtype=dtype),
            torch.randn(rows, columns, device=device, dtype=dtype),
            torch.randn(tokens, rows, device=device, dtype=dtype),
        )
        for tokens, rows, columns in dict.fromkeys(products)
    }

    def multiply() -> None:
        for product in products:
            inputs, matrix, gradients = operands[product]
            inputs @ matrix.T
            if backward:
                gradients @ matrix
                gradients.T @ inputs
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    multiply()  # whatever is made once is made now
    started = time.perf_counter()
    multiply()
    return time.perf_counter() - started
