"""Whether a text was in training, as attacks on membership guess it, and what is made of such guesses. Runs no model.

Scores are as their sources write them: the lower, the likelier the text was in training.
Axis letters: W tokens of a text; V vocabulary; M texts that were in training; N others.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import ks_2samp, rankdata

from behemoth_data.settings import check
from behemoth_editing.scoring.memorisation import Floats, mean_log_probability

_LEAST_VARIANCE = 1e-6  # open-unlearning's bound, for a place at which the model has no doubt


def loss_score(log_probabilities: ArrayLike) -> float:
    """The mean negative log-likelihood per token, from log-probabilities [W].

    Source: Yeom et al., "Privacy risk in machine learning", 2018, adversary 1; open-unlearning's
    src/evals/metrics/mia/loss.py.
    Raises: ValueError for no token, or what is no log-probability.
    """
    return -mean_log_probability(log_probabilities)


def zlib_score(log_probabilities: ArrayLike, text: str) -> float:
    """The loss over the number of bytes that zlib makes of the text.

    It says something only where text is natural: words that were drawn at random compress alike.
    Source: Carlini et al., "Extracting training data from large language models", 2021; open-unlearning's
    src/evals/metrics/mia/zlib.py.
    Raises: ValueError for no token, or what is no log-probability.
    """
    return loss_score(log_probabilities) / len(zlib.compress(text.encode()))


def reference_score(log_probabilities: ArrayLike, reference: ArrayLike) -> float:
    """The loss less that of a reference model, from both's log-probabilities of the same tokens [W].

    Source: Carlini et al., 2021, there a ratio of perplexities; the difference is open-unlearning's
    src/evals/metrics/mia/reference.py.
    Raises: ValueError for no token, or what is no log-probability.
    """
    return loss_score(log_probabilities) - loss_score(reference)


def min_k_score(log_probabilities: ArrayLike, share: float = 0.2) -> float:
    """The loss of the least likely tokens alone: this share of them [W], rounded down, one at least.

    Source: Shi et al., "Detecting pretraining data from large language models", 2024; open-unlearning's
    src/evals/metrics/mia/min_k.py.
    Raises: ValueError for no token, what is no log-probability, or a share that is none.
    """
    mean_log_probability(log_probabilities)
    return _least(np.asarray(log_probabilities, np.float64), share)


def min_k_plus_plus_score(vocabulary: ArrayLike, tokens: ArrayLike, share: float = 0.2) -> float:
    """min_k_score of (log p - mu) / sigma, the mean and deviation of log p under the model's own distribution.

    From log-probabilities [W, V] of the whole vocabulary at each place, and the token there [W].
    Source: Zhang et al., "Min-K%++", 2025; open-unlearning's src/evals/metrics/mia/min_k_plus_plus.py.
    Raises: ValueError for no token, rows whose probabilities do not sum to 1, or a share that is none.
    """
    table, places = np.asarray(vocabulary, np.float64), np.asarray(tokens, np.int64)
    check(table.ndim == 2 and len(table) > 0, f"vocabulary must be a table with rows, got shape {table.shape}")
    check(places.shape == (len(table),), f"tokens must have shape ({len(table)},), got {places.shape}")
    chances = np.exp(table)
    off = np.abs(chances.sum(1) - 1).max()
    check(bool(off <= 1e-3), f"vocabulary must have rows with a mass of 1, got one that is off by {off:g}")
    logs = np.where(chances > 0, table, 0.0)  # what has no chance adds nothing
    mean = (chances * logs).sum(1)
    variance = (chances * logs**2).sum(1) - mean**2
    own = table[np.arange(len(table)), places]
    return _least((own - mean) / np.sqrt(np.maximum(variance, _LEAST_VARIANCE)), share)


def auc(members: ArrayLike, others: ArrayLike) -> float:
    """The chance that a text of the members [M] has a lower score than one of the others [N], ties counting half.

    1: all that was in training is told from all that was not; 0.5: nothing is.
    Source: Mann and Whitney, 1947; the direction is that of open-unlearning's src/evals/metrics/mia/utils.py (mia_auc).
    Raises: ValueError for no member or no other.
    """
    first, second = np.asarray(members, np.float64), np.asarray(others, np.float64)
    for name, scores in (("members", first), ("others", second)):
        check(scores.ndim == 1 and len(scores) > 0, f"{name} must hold at least 1 score, got shape {scores.shape}")
        check(not bool(np.isnan(scores).any()), f"{name} must hold numbers, got nan")
    ranks = rankdata(np.concatenate([second, first]))[: len(second)]
    above = ranks.sum() - len(second) * (len(second) + 1) / 2
    return float(above / (len(first) * len(second)))


def privacy_leakage(unlearned: float, retrained: float) -> float:
    """By how many per cent 1 - AUC of the unlearned model is off that of one that was never told.

    0: an attack sees no difference; below 0: what was to be forgotten can still be told from what was not in training;
    above: it is shunned more than what was never seen.
    Source: Shi et al., "MUSE", 2024 (PrivLeak), and open-unlearning's src/evals/metrics/privacy.py
    (privleak), by which the sign is that of 1 - auc().
    Raises: ValueError for what is no AUC, or a retrained model whose AUC is 1.
    """
    for name, value in (("unlearned", unlearned), ("retrained", retrained)):
        check(0 <= value <= 1, f"{name} must be from 0 to 1, got {value}")
    check(retrained < 1, "retrained must be below 1, or there is nothing to compare with, got 1")
    return 100 * ((1 - unlearned) - (1 - retrained)) / (1 - retrained)


def forget_quality(unlearned: ArrayLike, retrained: ArrayLike) -> float:
    """The p-value of the two-sample Kolmogorov-Smirnov test on both models' truth ratios, one for each fact.

    High where nothing tells the unlearned model from the retrained one. It falls with the number of facts too, so that
    p-values of sets of different size do not compare.
    Source: Maini et al., "TOFU", 2024; open-unlearning's src/evals/metrics/privacy.py (ks_test).
    Raises: ValueError for no ratio.
    """
    samples: list[Floats] = [np.asarray(ratios, np.float64) for ratios in (unlearned, retrained)]
    for name, sample in zip(("unlearned", "retrained"), samples, strict=True):
        check(sample.ndim == 1 and len(sample) > 0, f"{name} must hold at least 1 ratio, got shape {sample.shape}")
    return float(ks_2samp(*samples).pvalue)


def _least(values: Floats, share: float) -> float:
    check(0 < share <= 1, f"share must be above 0 and at most 1, got {share}")
    count = max(1, int(share * len(values)))
    return -float(np.sort(values)[:count].mean())
