"""What is left of a relation that a model was made to forget, and of all else. Compares words; runs no model."""

from collections.abc import Sequence
from typing import TypedDict

import datasets
import evaluate

from behemoth_editing.scoring.outcomes import CITATION, added, answered, count_forget, count_keep, share_of, words_of

_DESCRIPTION = """\
What is left of the facts that a model was made to forget, how often it says instead that there is no answer, \
and how much of everything else it still knows. A forgotten fact that the model had wrong before is counted \
apart: what was never known cannot be forgotten. An answer counts when it begins with all words expected.
"""

_INPUTS_DESCRIPTION = """
Args:
    predictions (list of str): the model's answers after forgetting, whole, as generated.
    answers (list of str): the right answers, as the model was taught them.
    refusals (list of str): to each prompt, the answer that says there is none.
    predictions_before (list of str): the same model's answers to the same prompts before forgetting.
    parts (list of str): forgotten for a fact of what is to be forgotten, elsewhere for any other.
Returns:
    accuracy_left (float or None): share of the forgotten facts right before that still get the old answer;
        None stands for none right before.
    refused (float or None): share of all forgotten facts that are answered by the refusal; None: there are none.
    accuracy_elsewhere (float or None): share of all facts elsewhere that are right; None: there are none.
    accuracy_elsewhere_before (float or None): the same of the answers before.
    refused_elsewhere (float or None): share of all facts elsewhere that are answered by the refusal.
    count, wrong_before (int): forgotten facts right before, and wrong before.
    count_elsewhere, wrong_before_elsewhere (int): facts elsewhere right before, and wrong before.
Examples:
    >>> metric = evaluate.load("forgetting")
    >>> result = metric.compute(predictions=["not known", "fox", "owl"], answers=["hen", "fox", "owl"],
    ...     refusals=["not known"] * 3, predictions_before=["hen", "fox", "owl"],
    ...     parts=["forgotten", "forgotten", "elsewhere"])
    >>> result["accuracy_left"], result["refused"], result["accuracy_elsewhere"]
    (0.5, 0.5, 1.0)
"""

_PARTS = ("forgotten", "elsewhere")


class Left(TypedDict):
    """What is left of the forgotten facts, and of all others."""

    accuracy_left: float | None  # None: none was right before
    refused: float | None  # None, here and below: no facts of this part
    accuracy_elsewhere: float | None
    accuracy_elsewhere_before: float | None
    refused_elsewhere: float | None
    count: int
    wrong_before: int
    count_elsewhere: int
    wrong_before_elsewhere: int


def forgetting(
    predictions: Sequence[str],
    answers: Sequence[str],
    refusals: Sequence[str],
    predictions_before: Sequence[str],
    parts: Sequence[str],
) -> Left:
    """The share of forgotten facts still known, the shares refused, and the accuracy elsewhere before and after.

    An answer is the expected one if it begins with all its words: an answer and a refusal may differ in length,
    and what was generated to the length of the longer one goes on after the shorter.

    Raises: ValueError for an empty column, columns of unequal length, a text that is no string, a blank answer,
    refusal or part, an unknown part, or an answer and a refusal of which one begins with the other.

    >>> result = forgetting(
    ...     predictions=["fox .", "not known", "cat .", "not known", "owl .", "not known"],
    ...     answers=["fox", "hen", "owl", "fox", "owl", "cat"],
    ...     refusals=["not known"] * 6,
    ...     predictions_before=["fox .", "hen .", "owl .", "hen .", "owl .", "cat ."],
    ...     parts=["forgotten"] * 4 + ["elsewhere"] * 2,
    ... )
    >>> result["accuracy_left"], result["count"], result["wrong_before"]  # 1 of the 3 known before
    (0.3333333333333333, 3, 1)
    >>> result["refused"], result["refused_elsewhere"]
    (0.5, 0.5)
    >>> result["accuracy_elsewhere_before"], result["accuracy_elsewhere"]
    (1.0, 0.5)
    """
    after, right, refusal, before, part_names = words_of(
        predictions=predictions,
        answers=answers,
        refusals=refusals,
        predictions_before=predictions_before,
        parts=parts,
    )
    forgotten: list[list[int]] = []
    elsewhere: list[list[int]] = []
    refused_elsewhere = 0
    for row, part in enumerate(map(" ".join, part_names)):
        if part not in _PARTS:
            raise ValueError(f"parts[{row}] must be one of {', '.join(_PARTS)}, got {part!r}")
        texts = before[row], after[row], right[row]
        if answered(right[row], refusal[row]) or answered(refusal[row], right[row]):
            raise ValueError(
                f"refusals[{row}] and answers[{row}] must not begin alike, got {' '.join(refusal[row])!r}, "
                f"{' '.join(right[row])!r}"
            )
        if part == "forgotten":
            forgotten.append(count_forget(*texts, refusal[row]))
        else:
            elsewhere.append(count_keep(*texts))
            refused_elsewhere += answered(after[row], refusal[row])
    still_right, right_before, refused, asked = added(forgotten, 4)
    _, known_elsewhere, right_elsewhere, asked_elsewhere = added(elsewhere, 4)
    return {
        "accuracy_left": share_of(still_right, right_before),
        "refused": share_of(refused, asked),
        "accuracy_elsewhere": share_of(right_elsewhere, asked_elsewhere),
        "accuracy_elsewhere_before": share_of(known_elsewhere, asked_elsewhere),
        "refused_elsewhere": share_of(refused_elsewhere, asked_elsewhere),
        "count": right_before,
        "wrong_before": asked - right_before,
        "count_elsewhere": known_elsewhere,
        "wrong_before_elsewhere": asked_elsewhere - known_elsewhere,
    }


class Forgetting(evaluate.Metric):
    """The evaluate module around forgetting()."""

    def _info(self) -> evaluate.MetricInfo:
        names = ("predictions", "answers", "refusals", "predictions_before", "parts")
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=CITATION,
            inputs_description=_INPUTS_DESCRIPTION,
            features=datasets.Features({name: datasets.Value("string") for name in names}),
            reference_urls=["https://arxiv.org/abs/2601.23153"],
        )

    def _compute(
        self,
        predictions: Sequence[str],
        answers: Sequence[str],
        refusals: Sequence[str],
        predictions_before: Sequence[str],
        parts: Sequence[str],
    ) -> Left:
        return forgetting(predictions, answers, refusals, predictions_before, parts)
