"""Facts about attacks on membership, worked out by hand or by brute force."""

import itertools
import math
import zlib

import numpy as np
import pytest

from behemoth_editing.scoring.membership import (
    auc,
    forget_quality,
    loss_score,
    min_k_plus_plus_score,
    min_k_score,
    privacy_leakage,
    reference_score,
    zlib_score,
)


def logs(*chances):
    return [math.log(chance) for chance in chances]


def test_loss_is_the_mean_over_tokens_and_the_reference_is_taken_off():
    assert loss_score(logs(0.5, 0.125)) == pytest.approx(math.log(4))
    assert reference_score(logs(0.5, 0.125), logs(0.5, 0.5)) == pytest.approx(math.log(4) - math.log(2))


def test_zlib_divides_by_the_compressed_text():
    text = "the same again and " * 20
    assert len(zlib.compress(text.encode())) < len(text) / 4
    assert zlib_score(logs(0.25), text) == pytest.approx(math.log(4) / len(zlib.compress(text.encode("utf-8"))))


def test_min_k_is_the_loss_of_the_least_likely_tokens_one_at_least():
    tokens = [-1.0, -5.0, -2.0, -4.0, -3.0]
    assert min_k_score(tokens) == 5.0  # a fifth of five
    assert min_k_score(tokens, 0.5) == 4.5  # two of five, rounded down
    assert min_k_score(tokens, 1.0) == 3.0
    assert min_k_score([-0.5], 0.2) == 0.5


def test_min_k_plus_plus_compares_with_what_the_model_expects_there():
    chances = np.array([[0.7, 0.2, 0.1], [0.25, 0.25, 0.5]])
    tokens = [1, 2]
    scores = []
    for row, token in zip(chances, tokens, strict=True):
        mean = sum(p * math.log(p) for p in row)
        deviation = math.sqrt(sum(p * (math.log(p) - mean) ** 2 for p in row))
        scores.append((math.log(row[token]) - mean) / deviation)
    assert min_k_plus_plus_score(np.log(chances), tokens, 1.0) == pytest.approx(-np.mean(scores))
    assert min_k_plus_plus_score(np.log(chances), tokens, 0.2) == pytest.approx(-min(scores))


def test_min_k_plus_plus_of_a_place_without_doubt_is_a_number():
    with np.errstate(divide="ignore"):
        certain = np.log([[1.0, 0.0], [0.5, 0.5]])
    assert min_k_plus_plus_score(certain, [0, 1], 1.0) == 0.0
    # As likely as all others: no deviation, so that the bound of open-unlearning, 1e-6, takes its place.
    assert min_k_plus_plus_score(np.log([[0.5, 0.5]]), [0]) == pytest.approx(0.0, abs=1e-9)


def test_auc_is_the_share_of_pairs_in_which_the_member_has_the_lower_score():
    rng = np.random.Generator(np.random.Philox(1))
    members, others = rng.integers(0, 6, 7), rng.integers(0, 6, 9)  # with ties
    pairs = [(a < b) + (a == b) / 2 for a in members for b in others]
    assert auc(members, others) == pytest.approx(np.mean(pairs))
    assert auc([1, 2], [3, 4]) == 1.0
    assert auc([3, 4], [1, 2]) == 0.0
    assert auc([1, 1], [1]) == 0.5


def test_privacy_leakage_is_in_per_cent_of_what_the_retrained_model_has():
    assert privacy_leakage(0.5, 0.5) == 0.0
    assert privacy_leakage(1.0, 0.5) == -100.0  # all that was to be forgotten can still be told
    assert privacy_leakage(0.2, 0.5) == pytest.approx(60.0)
    assert privacy_leakage(0.7, 0.6) == pytest.approx(-25.0)


def exact_p_value(first, second):
    """Of all ways to split both samples' numbers in two, the share whose distributions are as far apart or farther."""

    def distance(one, other):
        return max(abs(np.mean(np.array(one) <= x) - np.mean(np.array(other) <= x)) for x in [*one, *other])

    together, seen = [*first, *second], distance(first, second)
    splits = list(itertools.combinations(range(len(together)), len(first)))
    far = [
        distance([together[i] for i in chosen], [x for i, x in enumerate(together) if i not in chosen])
        for chosen in splits
    ]
    return np.mean(np.array(far) >= seen - 1e-12)


@pytest.mark.parametrize("shift", [0.0, 0.4, 5.0])
def test_forget_quality_is_the_exact_p_value_of_kolmogorov_and_smirnov(shift):
    rng = np.random.Generator(np.random.Philox(2))
    first, second = rng.random(5), rng.random(4) + shift
    assert forget_quality(first, second) == pytest.approx(exact_p_value(first, second))
    assert forget_quality(first, first) == 1.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: min_k_score([-1.0], 0.0), "share must be above 0 and at most 1, got 0.0"),
        (lambda: min_k_score([]), "log_probabilities must hold at least 1 token"),
        (lambda: min_k_plus_plus_score([[-1.0, -1.0]], [0]), "vocabulary must have rows with a mass of 1"),
        (lambda: min_k_plus_plus_score(np.log([[0.5, 0.5]]), [0, 1]), r"tokens must have shape \(1,\), got \(2,\)"),
        (lambda: auc([], [1.0]), "members must hold at least 1 score"),
        (lambda: auc([1.0], [math.nan]), "others must hold numbers, got nan"),
        (lambda: privacy_leakage(1.5, 0.5), "unlearned must be from 0 to 1, got 1.5"),
        (lambda: privacy_leakage(0.5, 1.0), "retrained must be below 1"),
        (lambda: forget_quality([], [1.0]), "unlearned must hold at least 1 ratio"),
    ],
)
def test_what_makes_no_sense_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
