"""What a model still has of an answer, by the metrics that unlearning benchmarks use. Reads numbers; runs no model.

`predicted` are the likeliest tokens where the answer's own tokens stand before them (teacher forcing), as the sources
have it, which is more lenient than an answer that a model generates by itself.
Axis letters: W tokens of an answer; A answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from behemoth_data.settings import check, check_known

Floats = NDArray[np.float64]

MEANS = ("geometric", "arithmetic")


def probability(log_probabilities: ArrayLike) -> float:
    """The geometric mean of an answer's token probabilities, from their logarithms [W].

    Source: Maini et al., "TOFU", 2024, P(a|q)^(1/|a|); open-unlearning's src/evals/metrics/utils.py
    (evaluate_probability).
    Raises: ValueError for no token, or what is no log-probability.
    """
    return float(np.exp(mean_log_probability(log_probabilities)))


def mean_log_probability(log_probabilities: ArrayLike) -> float:
    """The mean of an answer's token log-probabilities [W]: less the loss that others compare.

    Raises: ValueError for no token, or what is no log-probability.
    """
    tokens = np.asarray(log_probabilities, np.float64)
    check(tokens.ndim == 1 and len(tokens) > 0, f"log_probabilities must hold at least 1 token, got {tokens.shape}")
    check(bool((tokens <= 1e-6).all()), f"log_probabilities must be at most 0, got {tokens.max()}")
    return float(tokens.mean())


def exact_memorisation(predicted: Sequence[int], answer: Sequence[int]) -> float:
    """The share of an answer's tokens that are the likeliest where they stand.

    Source: Tirumala et al., "Memorization without overfitting", 2022; open-unlearning's
    src/evals/metrics/memorization.py (exact_memorization).
    Raises: ValueError for answers of unequal length, or of none.
    """
    _check_alike(predicted, answer)
    return sum(said == token for said, token in zip(predicted, answer, strict=True)) / len(answer)


def extraction_strength(predicted: Sequence[int], answer: Sequence[int]) -> float:
    """1 - k / W for the shortest beginning k of an answer behind which all of its tokens are the likeliest.

    0 where the last token is not. open-unlearning's loop ends at W - 1, so that there an answer of one token has 1
    whatever the model says, and no answer of W tokens less than 1 / W.
    Source: Carlini et al., "Extracting training data from large language models", 2021, as defined by Wang et al.,
    "Towards effective evaluations and comparisons for LLM unlearning methods", 2025; open-unlearning's
    src/evals/metrics/memorization.py (extraction_strength).
    Raises: ValueError for answers of unequal length, or of none.
    """
    _check_alike(predicted, answer)
    needed = len(answer)
    while needed > 0 and predicted[needed - 1] == answer[needed - 1]:
        needed -= 1
    return 1 - needed / len(answer)


def truth_ratio(right: ArrayLike, wrong: Sequence[ArrayLike], mean: str = "geometric") -> float:
    """How likely wrong answers are over a right one, tokens averaged: above 1 where the wrong are the likelier.

    From log-probabilities [W] of the right answer's tokens and of each wrong answer's. TOFU's paper takes the
    arithmetic mean over wrong answers; its code and open-unlearning's take the mean of their losses, which is the
    geometric one.
    Source: Maini et al., "TOFU", 2024; open-unlearning's src/evals/metrics/memorization.py (truth_ratio).
    Raises: ValueError for no wrong answer, or another mean.
    """
    check_known("mean", mean, MEANS)
    check(len(wrong) > 0, "wrong must hold at least 1 answer, got 0")
    logs = np.array([mean_log_probability(answer) for answer in wrong])
    together = float(logs.mean()) if mean == "geometric" else float(np.log(np.exp(logs).mean()))
    return float(np.exp(together - mean_log_probability(right)))


def near_one(ratios: ArrayLike) -> float:
    """The mean of min(R, 1 / R), for facts that are forgotten: 1 where wrong and right are as likely.

    Source: Maini et al., "TOFU", 2024, and open-unlearning's closer_to_1_better.
    Raises: ValueError for no ratio or a negative one.
    """
    return _mean_of(ratios, lambda found: np.minimum(found, np.divide(1, found, where=found > 0, out=found.copy())))


def below_one(ratios: ArrayLike) -> float:
    """The mean of max(0, 1 - R), for facts that are kept: 1 where nothing wrong is said at all.

    Source: Maini et al., "TOFU", 2024, and open-unlearning's true_better.
    Raises: ValueError for no ratio or a negative one.
    """
    return _mean_of(ratios, lambda found: np.maximum(0, 1 - found))


def rouge_l_recall(answer: Sequence[str], reference: Sequence[str]) -> float:
    """The longest common subsequence of words over the reference's number of words.

    Words are compared as they are, where rouge_score makes them small and stems them.
    Source: Lin, "ROUGE", 2004, equation 2 (R_lcs); open-unlearning's src/evals/metrics/utils.py (rougeL_recall).
    Raises: ValueError for a reference of no word.
    """
    check(len(reference) > 0, "reference must hold at least 1 word, got 0")
    longest = [0] * (len(reference) + 1)  # of what was read of the answer and each beginning of the reference
    for word in answer:
        before = list(longest)
        for place, wanted in enumerate(reference, start=1):
            longest[place] = before[place - 1] + 1 if word == wanted else max(before[place], longest[place - 1])
    return longest[-1] / len(reference)


def _check_alike(predicted: Sequence[int], answer: Sequence[int]) -> None:
    check(len(answer) > 0, "answer must hold at least 1 token, got 0")
    check(len(predicted) == len(answer), f"predicted must be as long as answer ({len(answer)}), got {len(predicted)}")


def _mean_of(ratios: ArrayLike, change: Callable[[Floats], Floats]) -> float:
    found = np.asarray(ratios, np.float64)
    check(found.ndim == 1 and len(found) > 0, f"ratios must hold at least 1 number, got shape {found.shape}")
    check(bool((found >= 0).all()), f"ratios must be at least 0, got {found.min()}")
    return float(change(found).mean())
