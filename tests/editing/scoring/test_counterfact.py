"""Facts about what CounterFact's authors and EasyEdit count, worked out by hand."""

import math

import pytest

from behemoth_editing.scoring.counterfact import editing_score, efficacy, magnitude, portability, specificity

NEW, TRUE = [0.1, 2.0, 1.0, 3.0], [0.5, 1.0, 1.0, 4.0]  # losses: the new answer leads twice, once both are alike


def test_new_answer_must_lead_to_be_made_and_the_true_one_to_be_kept_and_ties_are_lost_by_both():
    assert efficacy(NEW, TRUE) == 0.5
    assert specificity(NEW, TRUE) == 0.25
    assert efficacy([1.0], [1.0]) == specificity([1.0], [1.0]) == 0.0


def test_answer_need_not_be_likely_to_lead():
    assert efficacy([9.0], [9.5]) == 1.0  # one in eight thousand against one in thirteen thousand
    assert specificity([9.5], [9.0]) == 1.0


def test_magnitude_is_the_difference_of_probabilities():
    by_hand = [math.exp(-n) - math.exp(-t) for n, t in zip(NEW, TRUE, strict=True)]
    assert magnitude(NEW, TRUE) == pytest.approx(sum(by_hand) / 4)


def test_score_is_the_harmonic_mean():
    assert editing_score(1.0, 0.5, 0.25) == pytest.approx(3 / (1 + 2 + 4))
    assert editing_score(1.0, 1.0, 0.0) == 0.0


def test_portability_counts_tokens_whose_beginning_was_given():
    # Half of the first answer, all of the second: a quarter of what follows is missing, though one answer is wrong.
    assert portability([[1, 9], [3]], [[1, 2], [3]]) == 0.75


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: efficacy([], []), "new must hold at least 1 loss"),
        (lambda: specificity([1.0], [1.0, 2.0]), r"true must have the shape of new, \(1,\), got \(2,\)"),
        (lambda: editing_score(1.0, 2.0, 0.5), "paraphrase must be from 0 to 1, got 2.0"),
        (lambda: portability([], []), "answers must hold at least 1 answer, got 0"),
        (lambda: portability([[1]], [[1], [2]]), "predicted must hold 2 answers, got 1"),
    ],
)
def test_what_makes_no_sense_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
