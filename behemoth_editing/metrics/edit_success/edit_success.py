"""The share of edited facts that a model now answers with the new object. Compares words; runs no model."""

from collections.abc import Sequence
from typing import TypedDict

import datasets
import evaluate

from behemoth_editing.scoring.outcomes import CITATION, added, count_change, words_of

_DESCRIPTION = """\
The share of edited facts that the edited model answers with the new object. An answer counts when it begins with \
all words of the new object; no credit for a part of them, no average over tokens.
"""

_INPUTS_DESCRIPTION = """
Args:
    predictions (list of str): the edited model's answers, whole, as generated.
    references (list of str): the new object of each edited fact.
Returns:
    edit_success (float): share of the answers that begin with all words of their reference, from 0.0 to 1.0.
    count (int): how many answers were compared.
Examples:
    >>> metric = evaluate.load("edit_success")
    >>> metric.compute(predictions=["red fox", "red owl"], references=["red fox", "red fox"])
    {'edit_success': 0.5, 'count': 2}
"""


class Success(TypedDict):
    """The share of edits that took, and of how many."""

    edit_success: float
    count: int


def edit_success(predictions: Sequence[str], references: Sequence[str]) -> Success:
    """The share of predictions that begin with all words of their reference.

    Raises: ValueError for an empty column, columns of unequal length, a text that is no string or a blank
    reference.

    >>> edit_success(["red fox", "red owl", "", "hen"], ["red fox", "red fox", "hen", "  hen "])
    {'edit_success': 0.5, 'count': 4}
    """
    given, expected = words_of(predictions=predictions, references=references)
    changed, asked = added([count_change(*texts) for texts in zip(given, expected, strict=True)], 2)
    return {"edit_success": changed / asked, "count": asked}


class EditSuccess(evaluate.Metric):
    """The evaluate module around edit_success()."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=CITATION,
            inputs_description=_INPUTS_DESCRIPTION,
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
            reference_urls=["https://arxiv.org/abs/2601.23153"],
        )

    def _compute(self, predictions: Sequence[str], references: Sequence[str]) -> Success:
        return edit_success(predictions, references)
