"""Facts about what is left of an answer, worked out by hand."""

import itertools
import math

import numpy as np
import pytest

from behemoth_editing.scoring.memorisation import (
    below_one,
    exact_memorisation,
    extraction_strength,
    mean_log_probability,
    near_one,
    probability,
    rouge_l_recall,
    truth_ratio,
)


def logs(*chances):
    return [math.log(chance) for chance in chances]


def test_probability_is_the_geometric_mean_of_the_tokens():
    assert probability(logs(0.5, 0.125)) == pytest.approx(0.25)
    assert probability(logs(0.3)) == pytest.approx(0.3)
    assert probability([-math.inf, 0.0]) == 0.0
    assert mean_log_probability(logs(0.5, 0.125)) == pytest.approx(math.log(0.25))


def test_exact_memorisation_is_the_share_of_tokens_that_are_the_likeliest():
    assert exact_memorisation([1, 9, 3, 4], [1, 2, 3, 4]) == 0.75
    assert exact_memorisation([7], [7]) == 1.0


@pytest.mark.parametrize(
    ("predicted", "strength"),
    [([1, 2, 3, 4], 1.0), ([9, 2, 3, 4], 0.75), ([9, 2, 9, 4], 0.25), ([1, 2, 3, 9], 0.0), ([9, 9, 9, 9], 0.0)],
)
def test_extraction_strength_is_the_share_that_need_not_be_given(predicted, strength):
    assert extraction_strength(predicted, [1, 2, 3, 4]) == strength


def test_one_token_is_extracted_or_not():
    assert extraction_strength([5], [5]) == 1.0
    assert extraction_strength([6], [5]) == 0.0


def test_extraction_strength_is_the_definition_by_trying_every_beginning():
    answer = [0, 1, 0, 1]
    for predicted in itertools.product([0, 1], repeat=4):
        needed = min(k for k in range(5) if list(predicted[k:]) == answer[k:])
        assert extraction_strength(predicted, answer) == 1 - needed / 4


def test_truth_ratio_compares_wrong_answers_with_the_right_one_tokens_averaged():
    right, wrong = logs(0.5, 0.5), [logs(0.2, 0.05), logs(0.4)]  # 0.5; 0.1 and 0.4
    assert truth_ratio(right, wrong) == pytest.approx(0.2 / 0.5)  # the geometric mean of 0.1 and 0.4
    assert truth_ratio(right, wrong, mean="arithmetic") == pytest.approx(0.25 / 0.5)
    assert truth_ratio(logs(0.1), [logs(0.4)]) == pytest.approx(4.0)


def test_ratios_near_one_are_forgotten_and_those_below_it_known():
    assert near_one([0.5, 4.0, 1.0, 0.0]) == pytest.approx((0.5 + 0.25 + 1 + 0) / 4)
    assert below_one([0.25, 2.0, 0.0]) == pytest.approx((0.75 + 0 + 1) / 3)


def test_ratios_are_not_changed_by_the_mean():
    ratios = np.array([0.5, 4.0])
    near_one(ratios)
    below_one(ratios)
    assert ratios.tolist() == [0.5, 4.0]


def longest(first, second):
    """The longest common subsequence, by trying all subsequences."""
    subsequences = [
        {chosen for size in range(len(words) + 1) for chosen in itertools.combinations(words, size)}
        for words in (first, second)
    ]
    return max(len(words) for words in subsequences[0] & subsequences[1])


def test_rouge_l_recall_is_the_longest_common_subsequence_over_the_reference():
    assert rouge_l_recall(["the", "cat", "sat", "on", "it"], ["the", "mat", "is", "on", "the", "cat"]) == pytest.approx(
        2 / 6
    )
    assert rouge_l_recall([], ["a"]) == 0.0
    assert rouge_l_recall(["b", "a", "b", "b"], ["a", "b"]) == 1.0
    for answer in itertools.product("ab", repeat=4):
        for reference in itertools.product("abc", repeat=3):
            assert rouge_l_recall(answer, reference) == longest(answer, reference) / 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: probability([]), "log_probabilities must hold at least 1 token"),
        (lambda: probability([0.5]), "log_probabilities must be at most 0, got 0.5"),
        (lambda: exact_memorisation([], []), "answer must hold at least 1 token, got 0"),
        (lambda: extraction_strength([1, 2], [1]), r"predicted must be as long as answer \(1\), got 2"),
        (lambda: truth_ratio([-1.0], []), "wrong must hold at least 1 answer, got 0"),
        (lambda: truth_ratio([-1.0], [[-1.0]], mean="median"), "mean must be one of geometric, arithmetic"),
        (lambda: near_one([]), "ratios must hold at least 1 number"),
        (lambda: below_one([-0.5]), "ratios must be at least 0, got -0.5"),
        (lambda: rouge_l_recall(["a"], []), "reference must hold at least 1 word, got 0"),
    ],
)
def test_what_makes_no_sense_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
