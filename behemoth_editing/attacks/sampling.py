"""The attack that asks many times: answers sampled at a temperature, and what an attacker makes of so many of them.

Axis letters: m facts; K tries; W tokens of an answer; C candidates; V vocabulary.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
from transformers import PreTrainedModel

from behemoth_data.edits import EditSet
from behemoth_data.rng import Stream
from behemoth_data.settings import check, setting
from behemoth_editing.attacks.contract import Asking, Attacked, Floats, Int64, candidates_of, look, old_tails
from behemoth_editing.scoring.answers import next_log_probabilities


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample(Asking):
    """Answers sampled word by word from the whole vocabulary, each fact asked many times.

    Details say for how many facts the old answer `came_up` among the first k at all. Bits are those of who has seen k
    answers and held all distributions over the C objects to be alike before: an object that came up c times has
    (c + 1) / (v + C), v being the tries that named an object of the relation. Without any try that is 0 bits.
    Source: Laplace's rule of succession; for what samples show that the likeliest answer hides, Scholten et al., "A
    probabilistic perspective on unlearning and alignment for large language models", 2024 (arXiv 2410.03523).
    """

    name: ClassVar[str] = "sample"
    axis: ClassVar[str] = "tries"

    tries: tuple[int, ...] = setting((1, 4, 16, 64, 256), "answers to each fact after which is counted")
    temperature: float = setting(1.0, "what logits are divided by")

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        super().__post_init__()
        rising = list(self.tries) == sorted(set(self.tries)) and bool(self.tries)
        check(rising and self.tries[0] >= 1, f"tries must be rising numbers of at least 1, got {self.tries}")
        check(self.temperature > 0, f"temperature must be above 0, got {self.temperature}")

    def __call__(self, model: PreTrainedModel, task: EditSet) -> Attacked:
        """What is left after each number of tries."""
        asked, candidates = self.asked(task), candidates_of(task)
        prompts = [task.originals[place].prompt_ids for place in asked.tolist()]
        stream = Stream(self.attack_seed, "attacks/sample")
        said = sampled(model, prompts, candidates.shape[1], max(self.tries), self.temperature, stream)
        named = (said[:, :, None, :] == candidates).all(axis=3)  # [m, K, C]
        true = old_tails(task, asked)
        looks, found = [], list[float]()
        for tries in self.tries:
            counts = named[:, :tries].sum(axis=1)
            found.append(float((counts[np.arange(len(true)), true] > 0).mean()))
            looks.append(look(tries, succession(counts), true))
        details = {"of_the_relation": float(named.any(axis=2).mean()), "came_up": found}
        return Attacked(asked, tuple(looks), details)


def succession(counts: Int64) -> Floats:
    """Log of (c + 1) / (v + C) [m, C], from how often each candidate came up [m, C]."""
    return np.asarray(np.log((counts + 1) / (counts.sum(axis=1, keepdims=True) + counts.shape[1])), np.float64)


def sampled(
    model: PreTrainedModel,
    prompts: list[tuple[int, ...]],
    width: int,
    tries: int,
    temperature: float,
    stream: Stream,
) -> Int64:
    """Answers [m, K, W], each token drawn from softmax(logits / temperature) given those before it.

    Tries that began alike share one pass of the model.
    """
    said = np.zeros((len(prompts), tries, width), np.int64)
    for place in range(width):
        starts = np.column_stack(
            [np.repeat(np.arange(len(prompts)), tries), said[:, :, :place].reshape(len(prompts) * tries, place)]
        )
        distinct, which = np.unique(starts, axis=0, return_inverse=True)
        extended = [(*prompts[row], *start) for row, *start in distinct.tolist()]
        cumulated = _cumulated(next_log_probabilities(model, extended) / temperature)
        draws = stream.uniform(np.arange(len(starts)) * width + place)
        order = np.argsort(which.reshape(-1), kind="stable")
        cuts = np.cumsum(np.bincount(which.reshape(-1), minlength=len(distinct)))[:-1]
        flat = said[:, :, place].reshape(-1)
        for row, rows in zip(cumulated, np.split(order, cuts), strict=True):
            flat[rows] = np.minimum(np.searchsorted(row, draws[rows], side="right"), len(row) - 1)
        said[:, :, place] = flat.reshape(len(prompts), tries)
    return said


def _cumulated(scores: Floats) -> Floats:
    """The distribution function [d, V] over tokens by their ids."""
    mass = np.exp(scores - scores.max(axis=1, keepdims=True))
    total = mass.cumsum(axis=1)
    return np.asarray(total / total[:, -1:], np.float64)
