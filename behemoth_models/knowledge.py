"""Which facts does a model know? Greedy answers to prompts, for training and for editing alike.

Axis letters: n prompts; P tokens of a prompt; W tokens of an answer.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import hashlib
import itertools
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm
from transformers import PreTrainedModel

from behemoth_data.corpus import Corpus
from behemoth_data.forms import form_of, has_prompt
from behemoth_data.settings import check

Int64 = NDArray[np.int64]

# What one more call of the model costs beside its tokens, in tokens of a 31m model on two cores.
CALL_TOKENS = 32
# Prompts in a batch: caches of a CPU hold few, and on other devices a call costs what thousands of prompts do.
CPU_BATCH, BATCH = 512, 8192

_HEAD = "embed_out.", "lm_head."  # of GPT-NeoX, as transformers 4 and 5 call it: digests are alike in both
FRACTIONS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}  # types of weights that can be widened


@contextlib.contextmanager
def evaluating(model: PreTrainedModel) -> Iterator[PreTrainedModel]:
    """The model to ask: in evaluation mode, without gradients, and computing in float32 at least (see widened).

    Every part of the model given is in the mode it was in afterwards.
    """
    asked = widened(model)
    with evaluation_mode(asked), torch.inference_mode():
        yield asked


@contextlib.contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """While open, the model has no dropout; afterwards every part of it is in the mode it was in."""
    training = [part for part in model.modules() if part.training]
    model.train(False)
    try:
        yield
    finally:
        for part in training:
            part.training = True


def widened(model: PreTrainedModel) -> PreTrainedModel:
    """The model if all its weights are in float32, or all in float64; else a copy in the widest of their types.

    The copy has float32 at least, and shares the weights that are of its type already. A model with weights of other
    types, such as a quantised one, is given back as it is.
    """
    types, wide = {weight.dtype for weight in model.parameters()}, widest_type(model)
    return model if types <= {wide} or types - FRACTIONS else in_type(model, wide, copied=False)


def widest_type(model: nn.Module) -> torch.dtype:
    """The widest of the types of a model's weights that are floating-point numbers, float32 at least."""
    types = {weight.dtype for weight in model.parameters()}
    return functools.reduce(torch.promote_types, types & FRACTIONS, torch.float32)


def in_type(model: PreTrainedModel, wide: torch.dtype, *, copied: bool) -> PreTrainedModel:
    """A copy with all weights and buffers that are floating-point numbers in this type, without gradients.

    Weights that are of this type already are shared with the model given, unless they are to be copied.
    """
    memory: dict[int, torch.Tensor] = {}
    for tensor in itertools.chain(model.parameters(), model.buffers()):
        if tensor.is_floating_point():
            cast = tensor.detach().to(wide, copy=copied)
            memory[id(tensor)] = nn.Parameter(cast, False) if isinstance(tensor, nn.Parameter) else cast
    return copy.deepcopy(model, memory)


def weights_digest(model: PreTrainedModel, only: AbstractSet[int] | None = None) -> str:
    """16 hex digits of the SHA-256 over every parameter's name and bytes, or those with these id()s."""
    found = hashlib.sha256()
    named = ((name.replace(*_HEAD), parameter) for name, parameter in model.named_parameters())
    for name, parameter in sorted(named, key=lambda pair: pair[0]):
        if only is not None and id(parameter) not in only:
            continue
        found.update(name.encode())
        found.update(parameter.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]


def greedy(model: PreTrainedModel, prompts: torch.Tensor, width: int) -> torch.Tensor:
    """The `width` tokens [n, W] that greedy generation puts after the prompts [n, P].

    Equal to `model.generate(prompts, do_sample=False, max_new_tokens=width)` without stopping at an end token.
    What prompts have in common at their start is computed once, at as many lengths as it pays.
    """
    if not len(prompts):
        return prompts.new_empty((0, width))
    every, end = np.arange(len(prompts)), prompts.shape[1]
    done, cache, groups = 0, None, every
    with evaluating(model) as model:
        for length, first, those in [*shared_prefixes(prompts.cpu().numpy()), (end, every, every)]:
            if cache is not None:
                cache.batch_select_indices(torch.from_numpy(groups[first]).to(prompts.device))
            ids = prompts[torch.from_numpy(first).to(prompts.device), done:length]
            cached = cache is not None or length < end or width > 1
            read = model.base_model(input_ids=ids, past_key_values=cache, use_cache=cached)
            done, cache, groups = length, read.past_key_values, those
        head: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
        answers = [head(read.last_hidden_state[:, -1]).argmax(-1, keepdim=True)]
        while len(answers) < width:
            read = model.base_model(input_ids=answers[-1], past_key_values=cache, use_cache=True)
            answers.append(head(read.last_hidden_state[:, -1]).argmax(-1, keepdim=True))
    return torch.cat(answers, dim=1)


def shared_prefixes(prompts: Int64, call_tokens: int = CALL_TOKENS) -> list[tuple[int, Int64, Int64]]:
    """The lengths of prefixes of the prompts [n, P] to compute once each, with a prompt of each group and the groups.

    Prompts of one of the g groups share that many first tokens: `first` [g] and `groups` [n] for each length, in
    rising order. The lengths are those that leave the fewest tokens to compute, a call of the model for each length
    counted as `call_tokens`. The last token is computed for every prompt.
    """
    count, width = prompts.shape
    distinct: list[tuple[Int64, Int64]] = []
    groups = np.zeros(count, np.int64)
    for column in prompts.T[:-1]:
        _, first, groups = np.unique(groups * (int(prompts.max()) + 1) + column, return_index=True, return_inverse=True)
        distinct.append((first, groups))
    fewest: list[tuple[int, tuple[int, ...]]] = [(0, ())]  # tokens up to each length, and where to stop before it
    for length in range(1, width + 1):
        rows = count if length == width else len(distinct[length - 1][0])
        fewest.append(
            min(
                (tokens + rows * (length - start) + call_tokens * (start > 0), (*stops, start) if start else ())
                for start, (tokens, stops) in enumerate(fewest)
            )
        )
    return [(length, *distinct[length - 1]) for length in fewest[-1][1]]


def greedy_answers(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    widths: Sequence[int],
    *,
    batch_size: int | None = None,
    progress: str | None = None,
) -> list[tuple[int, ...]]:
    """The answer tokens that the model gives to each prompt, as many as its width says.

    Prompts of equal length and width share batches, so nothing is padded; how many, by default the device decides.
    `progress` names a progress bar.
    """
    model = widened(model)  # here, lest every batch make a copy of its own
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
    batch_size: int | None,
    bar: tqdm[Any],
    share: tuple[int, int] = (0, 1),
) -> Int64:
    """Greedy answers [n, W] to prompts [n, P], or -1 to those of other shares; those that start alike share a batch."""
    device = next(model.parameters()).device
    batch_size = batch_size or (CPU_BATCH if device.type == "cpu" else BATCH)
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
    batch_size: int | None = None,
    share: tuple[int, int] = (0, 1),
    progress: str | None = None,
) -> dict[str, NDArray[np.bool_]]:
    """For every fact of every table that the form says, whether the model answers its prompt with all the right words.

    Without a form it is the corpus's first one. Keys are edge labels; values [facts] follow World.facts.
    With share (i, n) only the i-th of n parts of the facts is asked, and none of the others counts as known.
    By default the device decides how many prompts share a batch. `progress` names a progress bar.
    Raises: ValueError for a form without a prompt.
    """
    model = widened(model)  # here, lest every batch make a copy of its own
    form = corpus.forms[0] if form is None else form
    check(has_prompt(form), f"form must end in the object for a prompt to exist, got {form!r}")
    edges = form_of(form).asked_in(corpus.world)
    known = {}
    total = sum(map(corpus.world.num_facts, edges))
    with tqdm(total=total, desc=progress, disable=progress is None, unit="fact", leave=False) as bar:
        for edge in edges:
            heads, relations, _ = corpus.world.facts(edge)
            tokens = corpus.grammar.tokens(edge, form, heads, relations, corpus.answers(edge, form, heads, relations))
            answer = corpus.grammar.answer_place(edge, form)
            answers = tokens[:, answer]
            found = _in_batches(model, tokens[:, : answer.start], answers.shape[1], batch_size, bar, share)
            known[edge.label] = (found == answers).all(axis=1)
    return known


def recall(
    model: PreTrainedModel, corpus: Corpus, form: str | None = None, *, batch_size: int | None = None
) -> dict[str, float]:
    """The share of facts known, by edge label, over every fact of the world."""
    known = known_facts(model, corpus, form, batch_size=batch_size)
    return {edge: float(right.mean()) for edge, right in known.items()}
