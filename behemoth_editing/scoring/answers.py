"""The only place where models answer probes. What the answers are worth, scores say.

Axis letters: n prompts; C candidate answers; W tokens of an answer; V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch.nn.functional import log_softmax
from transformers import PreTrainedModel

from behemoth_data.edits import Probe
from behemoth_data.settings import check
from behemoth_models.knowledge import evaluating, greedy_answers, widened

Answer = tuple[int, ...]
Floats = NDArray[np.float64]


def predict(model: PreTrainedModel, probes: Sequence[Probe], progress: str | None = None) -> list[Answer]:
    """The tokens that greedy generation answers to each probe, as many as the longest answer that counts has.

    A word and a refusal may differ in length, so compare with `answered`, not with ==.
    """
    prompts = [probe.before.prompt_ids for probe in probes]
    widths = [probe.num_answer_tokens for probe in probes]
    return greedy_answers(model, prompts, widths, progress=progress)


def next_log_probabilities(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], *, batch_size: int = 512
) -> Floats:
    """Log-probabilities [n, V], in nats, of the token after each prompt.

    Raises: ValueError for no prompts.
    """
    check(len(prompts) > 0, "prompts must hold at least 1 prompt, got 0")
    rows: list[Floats] = [np.empty(0)] * len(prompts)
    for places, found in _next(widened(model), prompts, batch_size):
        for place, row in zip(places, found, strict=True):
            rows[place] = row
    return np.stack(rows)


def answer_log_probabilities(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], candidates: ArrayLike, *, batch_size: int = 512
) -> Floats:
    """Log-probabilities [n, C], in nats, of all W tokens of each candidate answer [C, W] after each prompt.

    The sum over an answer's tokens of each one's log-probability after the prompt and the tokens before it. What
    candidates have in common at their start is computed once.
    Raises: ValueError for candidates that are no table of at least one token each.
    """
    table = np.asarray(candidates, np.int64)
    check(
        table.ndim == 2 and table.size > 0,
        f"candidates must be a table of answers and tokens, each at least 1, got shape {table.shape}",
    )
    model = widened(model)
    total = np.zeros((len(prompts), len(table)))
    for width in range(table.shape[1]):
        sharing: dict[Answer, list[int]] = {}  # candidates by their first `width` tokens
        for candidate, tokens in enumerate(table[:, :width].tolist()):
            sharing.setdefault(tuple(tokens), []).append(candidate)
        asked = [(row, *start) for row in range(len(prompts)) for start in sharing.items()]
        extended = [(*prompts[row], *start) for row, start, _ in asked]
        for places, found in _next(model, extended, batch_size):
            for place, log_probabilities in zip(places, found, strict=True):
                row, _, members = asked[place]
                total[row, members] += log_probabilities[table[members, width]]
    return total


def _next(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], batch_size: int
) -> Iterator[tuple[list[int], Floats]]:
    """Some prompts' places and the log-probabilities [b, V] float64 of what follows them, batch by batch.

    Prompts of equal length share batches, so nothing is padded.
    """
    groups: dict[int, list[int]] = {}
    for place, prompt in enumerate(prompts):
        groups.setdefault(len(prompt), []).append(place)
    device = next(model.parameters()).device
    for places in groups.values():
        for start in range(0, len(places), batch_size):
            some = places[start : start + batch_size]
            tokens = torch.tensor([prompts[place] for place in some], device=device)
            with evaluating(model):
                logits = model(input_ids=tokens, use_cache=False, logits_to_keep=1).logits[:, -1]
                found = log_softmax(logits.cpu().double(), dim=-1)  # not every device has float64
            yield some, found.numpy()
