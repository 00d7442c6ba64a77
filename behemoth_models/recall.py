"""Which facts does a model know? Greedy answers to prompts, for training and for editing alike.

Axis letters: n prompts; P tokens of a prompt; W tokens of an answer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm
from transformers import PreTrainedModel

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
    """
    ids, head = prompts, model.lm_head
    with evaluating(model):
        for _ in range(width):
            hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state[:, -1]
            answer = head(hidden).argmax(-1)
            ids = torch.cat([ids, answer[:, None]], dim=1)
    return ids[:, prompts.shape[1] :]


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
    device = next(model.parameters()).device
    answers: list[tuple[int, ...]] = [()] * len(prompts)
    groups: dict[tuple[int, int], list[int]] = {}
    for i, (prompt, width) in enumerate(zip(prompts, widths, strict=True)):
        groups.setdefault((len(prompt), width), []).append(i)
    with tqdm(total=len(prompts), desc=progress, disable=progress is None, unit="prompt", leave=False) as bar:
        for (_, width), places in groups.items():
            for start in range(0, len(places), batch_size):
                part = places[start : start + batch_size]
                batch = torch.tensor([prompts[i] for i in part], device=device)
                for i, answer in zip(part, greedy(model, batch, width).tolist(), strict=True):
                    answers[i] = tuple(answer)
                bar.update(len(part))
    return answers


def known_facts(
    model: PreTrainedModel, corpus: Corpus, form: str = "statement", *, batch_size: int = 1024
) -> dict[str, NDArray[np.bool_]]:
    """For every fact of every table, whether the model answers its prompt in this form with all the right words.

    Keys are edge labels; values [facts] follow World.facts. Raises: ValueError for a form without a prompt.
    """
    check(ends_in_object(form), f"form must end in the object for a prompt to exist, got {form!r}")
    device = next(model.parameters()).device
    known = {}
    for edge in corpus.world.edges:
        tokens = corpus.grammar.tokens(edge, form, *corpus.world.facts(edge))
        cut = corpus.grammar.prompt_length(edge, form)
        right = np.empty(len(tokens), bool)
        for start in range(0, len(tokens), batch_size):
            rows = torch.from_numpy(tokens[start : start + batch_size]).to(device)
            prompts, answers = rows[:, :cut], rows[:, cut:-2]
            right[start : start + len(rows)] = (
                (greedy(model, prompts, answers.shape[1]) == answers).all(1).cpu().numpy()
            )
        known[edge.label] = right
    return known


def recall(
    model: PreTrainedModel, corpus: Corpus, form: str = "statement", *, batch_size: int = 1024
) -> dict[str, float]:
    """The share of facts known, by edge label, over every fact of the world."""
    known = known_facts(model, corpus, form, batch_size=batch_size)
    return {edge: float(right.mean()) for edge, right in known.items()}
