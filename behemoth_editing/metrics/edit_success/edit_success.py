"""The share of edited facts that a model now answers with the new object. Compares words; runs no model."""

from collections.abc import Sequence
from typing import TypedDict

import datasets
import evaluate

_DESCRIPTION = """\
The share of edited facts that the edited model answers with the new object. An answer counts only when all \
of its words are the expected ones, in order; no credit for a part of the answer, no average over tokens.
"""

_INPUTS_DESCRIPTION = """
Args:
    predictions (list of str): the edited model's answers, whole, as generated.
    references (list of str): the new object of each edited fact.
Returns:
    edit_success (float): share of the answers that equal their reference, from 0.0 to 1.0.
    count (int): how many answers were compared.
Examples:
    >>> metric = evaluate.load("edit_success")
    >>> metric.compute(predictions=["red fox", "red owl"], references=["red fox", "red fox"])
    {'edit_success': 0.5, 'count': 2}
"""

_CITATION = """\
@article{iofinova2026behemoth,
  title = {Behemoth: Benchmarking Unlearning in {LLMs} Using Fully Synthetic Data},
  author = {Iofinova, Eugenia and Alistarh, Dan},
  journal = {arXiv preprint arXiv:2601.23153},
  year = {2026},
}
"""


class Success(TypedDict):
    """The share of edits that took, and of how many."""

    edit_success: float
    count: int


def edit_success(predictions: Sequence[str], references: Sequence[str]) -> Success:
    """The share of predictions that are, word for word, their reference.

    Raises: ValueError for an empty column, columns of unequal length, a text that is no string or a blank
    reference.

    >>> edit_success(["red fox", "red owl", "", "hen"], ["red fox", "red fox", "hen", "  hen "])
    {'edit_success': 0.5, 'count': 4}
    """
    given, expected = _words(predictions=predictions, references=references)
    right = sum(answer == reference for answer, reference in zip(given, expected, strict=True))
    return {"edit_success": right / len(given), "count": len(given)}


def _words(**columns: Sequence[str]) -> list[list[str]]:
    """The columns with single spaces between words; only model answers (predictions...) may be blank.

    Raises: ValueError naming the column.
    """
    first = next(iter(columns))
    for name, column in columns.items():
        if isinstance(column, str):
            raise ValueError(f"{name} must be a list of strings, got the one string {column!r}")
        if len(column) == 0:
            raise ValueError(f"{name} must hold at least 1 string, got 0")
        if len(column) != len(columns[first]):
            raise ValueError(f"{name} must be as long as {first} ({len(columns[first])}), got {len(column)}")
        for row, text in enumerate(column):
            if not isinstance(text, str):
                raise ValueError(f"{name}[{row}] must be a string, got {text!r}")
            if not text.split() and not name.startswith("predictions"):
                raise ValueError(f"{name}[{row}] must hold at least 1 word, got {text!r}")
    return [[" ".join(text.split()) for text in column] for column in columns.values()]


class EditSuccess(evaluate.Metric):
    """The evaluate module around edit_success()."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS_DESCRIPTION,
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
            reference_urls=["https://arxiv.org/abs/2601.23153"],
        )

    def _compute(self, predictions: Sequence[str], references: Sequence[str]) -> Success:
        return edit_success(predictions, references)
