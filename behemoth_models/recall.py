"""Which facts does a model know? Greedy answers to prompts, for training and for editing alike.

Axis letters: n prompts; P tokens of a prompt; W tokens of an answer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm
from transformers import DynamicCache, PreTrainedModel

from behemoth_data.corpus import Corpus
from behemoth_data.grammar import ends_in_object
from behemoth_data.settings import check

Int64 = NDArray[np.int64]


@contextlib.contextmanager
def evaluating(model: PreTrainedModel) -> Iterator[None]:
    """Puts the model in evaluation mode without gradients, and gives it back in the mode it was in."""
    was_training = model.training
    model.train(False)
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(was_training)


def greedy(model: PreTrainedModel, prompts: torch.Tensor, width: int) -> torch.Tensor:
    """The `width` tokens [n, W] that greedy generation puts after the prompts [n, P].

    Equal to `model.generate(prompts, do_sample=False, max_new_tokens=width)` without stopping at an end token.
    What prompts have in common at their start is computed once.
    """
    if not len(prompts):
        return prompts.new_empty((0, width))
    length, first, group = shared_prefixes(prompts.cpu().numpy())
    ids, cache = prompts, None
    answers = []
    with evaluating(model):
        if length:
            start = prompts[torch.from_numpy(first).to(prompts.device), :length]
            known = model.base_model(input_ids=start, use_cache=True).past_key_values
            rows = torch.from_numpy(group).to(prompts.device)
            cache, ids = DynamicCache(), prompts[:, length:]
            for number, layer in enumerate(known.layers):
                cache.update(layer.keys[rows], layer.values[rows], number)
        for _ in range(width):
            read = model.base_model(input_ids=ids, past_key_values=cache, use_cache=width > 1 or cache is not None)
            cache = read.past_key_values
            ids = model.lm_head(read.last_hidden_state[:, -1]).argmax(-1, keepdim=True)
            answers.append(ids)
    return torch.cat(answers, dim=1)


def shared_prefixes(prompts: Int64) -> tuple[int, Int64, Int64]:
    """How many first tokens of the prompts [n, P] to compute once, a prompt of each group, and the groups [n].

    Prompts of one group share those tokens. The length is what leaves the fewest tokens to compute: those of
    every group once, and the rest of every prompt. The last token is never among the shared ones.
    """
    count, width = prompts.shape
    groups = np.zeros(count, np.int64)
    fewest, best = count * width, (0, groups[:1], groups)
    for length in range(1, width):
        pairs = groups * (int(prompts.max()) + 1) + prompts[:, length - 1]
        _, first, groups = np.unique(pairs, return_index=True, return_inverse=True)
        tokens = len(first) * length + count * (width - length)
        if tokens < fewest:
            fewest, best = tokens, (length, first, groups)
    return best


def greedy_answers(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    widths: Sequence[int],
    *,
    batch_size: int = 512,
    progress: str | None = None,
) -> list[tuple[int, ...]]:
    """The answer tokens that the model gives to each prompt, as many as its width says.

    Prompts of equal length and width share batches, so nothing is padded. `progress` names a progress bar.
    """
    answers: list[tuple[int, ...]] = [()] * len(prompts)
    groups: dict[tuple[int, int], list[int]] = {}
    for i, (prompt, width) in enumerate(zip(prompts, widths, strict=True)):
        groups.setdefault((len(prompt), width), []).append(i)
    with tqdm(total=len(prompts), desc=progress, disable=progress is None, unit="prompt", leave=False) as bar:
        for (_, width), places in groups.items():
            rows = np.array([prompts[i] for i in places], np.int64)
            found = _in_batches(model, rows, width, batch_size, bar).tolist()
            for i, answer in zip(places, found, strict=True):
                answers[i] = tuple(answer)
    return answers


def _in_batches(
    model: PreTrainedModel,
    prompts: Int64,
    width: int,
    batch_size: int,
    bar: tqdm[Any],
    share: tuple[int, int] = (0, 1),
) -> Int64:
    """Greedy answers [n, W] to prompts [n, P], or -1 to those of other shares; those that start alike share a batch."""
    device = next(model.parameters()).device
    answers = np.full((len(prompts), width), -1, np.int64)
    order = np.lexsort(prompts.T[::-1])
    for start in range(share[0] * batch_size, len(order), share[1] * batch_size):
        rows = order[start : start + batch_size]
        answers[rows] = greedy(model, torch.from_numpy(prompts[rows]).to(device), width).cpu().numpy()
        bar.update(len(rows))
    return answers


def known_facts(
    model: PreTrainedModel,
    corpus: Corpus,
    form: str | None = None,
    *,
    batch_size: int = 512,
    share: tuple[int, int] = (0, 1),
    progress: str | None = None,
) -> dict[str, NDArray[np.bool_]]:
    """For every fact of every table, whether the model answers its prompt in this form with all the right words.

    Without a form it is the corpus's first one. Keys are edge labels; values [facts] follow World.facts.
    With share (i, n) only the i-th of n parts of the facts is asked, and none of the others counts as known.
    `progress` names a progress bar. Raises: ValueError for a form without a prompt.
    """
    form = corpus.forms[0] if form is None else form
    check(ends_in_object(form), f"form must end in the object for a prompt to exist, got {form!r}")
    edges = corpus.world.edges
    known = {}
    total = sum(map(corpus.world.num_facts, edges))
    with tqdm(total=total, desc=progress, disable=progress is None, unit="fact", leave=False) as bar:
        for edge in edges:
            tokens = corpus.grammar.tokens(edge, form, *corpus.world.facts(edge))
            answer = corpus.grammar.answer_place(edge, form)
            answers = tokens[:, answer]
            found = _in_batches(model, tokens[:, : answer.start], answers.shape[1], batch_size, bar, share)
            known[edge.label] = (found == answers).all(axis=1)
    return known


def recall(
    model: PreTrainedModel, corpus: Corpus, form: str | None = None, *, batch_size: int = 512
) -> dict[str, float]:
    """The share of facts known, by edge label, over every fact of the world."""
    known = known_facts(model, corpus, form, batch_size=batch_size)
    return {edge: float(right.mean()) for edge, right in known.items()}
