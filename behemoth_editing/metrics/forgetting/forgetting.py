"""What is left of a relation that a model was made to forget, and of all else. Compares words; runs no model."""

from collections.abc import Sequence
from typing import NamedTuple, TypedDict

import datasets
import evaluate

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

_CITATION = """\
@article{iofinova2026behemoth,
  title = {Behemoth: Benchmarking Unlearning in {LLMs} Using Fully Synthetic Data},
  author = {Iofinova, Eugenia and Alistarh, Dan},
  journal = {arXiv preprint arXiv:2601.23153},
  year = {2026},
}
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


class _Outcome(NamedTuple):
    """What became of one fact."""

    right_before: bool
    right_after: bool
    refused: bool


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
    after, right, refusal, before, part_names = _words(
        predictions=predictions,
        answers=answers,
        refusals=refusals,
        predictions_before=predictions_before,
        parts=parts,
    )
    outcomes: dict[str, list[_Outcome]] = {part: [] for part in _PARTS}
    for row, part in enumerate(part_names):
        if part not in _PARTS:
            raise ValueError(f"parts[{row}] must be one of {', '.join(_PARTS)}, got {part!r}")
        if _begins(right[row], refusal[row]) or _begins(refusal[row], right[row]):
            raise ValueError(
                f"refusals[{row}] and answers[{row}] must not begin alike, got {refusal[row]!r}, {right[row]!r}"
            )
        outcomes[part].append(
            _Outcome(
                right_before=_begins(before[row], right[row]),
                right_after=_begins(after[row], right[row]),
                refused=_begins(after[row], refusal[row]),
            )
        )
    forgotten, elsewhere = (outcomes[part] for part in _PARTS)
    known = [fact for fact in forgotten if fact.right_before]
    known_elsewhere = [fact for fact in elsewhere if fact.right_before]
    return {
        "accuracy_left": _share([fact.right_after for fact in known]),
        "refused": _share([fact.refused for fact in forgotten]),
        "accuracy_elsewhere": _share([fact.right_after for fact in elsewhere]),
        "accuracy_elsewhere_before": _share([fact.right_before for fact in elsewhere]),
        "refused_elsewhere": _share([fact.refused for fact in elsewhere]),
        "count": len(known),
        "wrong_before": len(forgotten) - len(known),
        "count_elsewhere": len(known_elsewhere),
        "wrong_before_elsewhere": len(elsewhere) - len(known_elsewhere),
    }


def _begins(text: str, expected: str) -> bool:
    """Whether the words of a text begin with all the expected ones; both have single spaces between words."""
    return f"{text} ".startswith(f"{expected} ")


def _share(hits: Sequence[bool]) -> float | None:
    """The share of hits, or None of nothing."""
    return sum(hits) / len(hits) if hits else None


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


class Forgetting(evaluate.Metric):
    """The evaluate module around forgetting()."""

    def _info(self) -> evaluate.MetricInfo:
        names = ("predictions", "answers", "refusals", "predictions_before", "parts")
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
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
