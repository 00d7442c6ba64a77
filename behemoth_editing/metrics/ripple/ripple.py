"""What became of facts that depend on an edited one: kept, followed or neither. Words only; runs no model."""

from collections.abc import Sequence
from typing import TypedDict

import datasets
import evaluate

_DESCRIPTION = """\
What an edited model says about facts that depend on the edited one. If Mike now works for another company, \
and that company is in another town, does the model still have Mike live in the old town (kept), move him to \
the new one (followed), or say something else (incoherent)? Shares among the facts the model knew before \
the edit. Neither kept nor followed is better by itself: which one is wanted is for the user to say.
"""

_INPUTS_DESCRIPTION = """
Args:
    predictions (list of str): the edited model's answers, whole, as generated.
    kept (list of str): the answers that were right before the edit.
    followed (list of str): the answers that are right in the world in which the edit is true.
    predictions_before (list of str): the same model's answers to the same prompts before the edit.
    kinds (list of str): how each fact depends on the edited one, such as partner or nested_subject.
Returns:
    kept, followed, incoherent (float or None): mean over kinds of each share; they sum to 1. Kinds with
        nothing to count are left out, and None stands for no kind left.
    count (int): facts behind the shares: right before the edit, and with a consequence that differs.
    wrong_before (int): facts with a consequence that differs, but wrong before the edit.
    unchanged (int): facts whose kept and followed answers are the same, which can tell nothing.
    by_kind (dict): per kind all of the above.
Examples:
    >>> metric = evaluate.load("ripple")
    >>> result = metric.compute(predictions=["rome", "oslo"], kept=["rome", "rome"],
    ...     followed=["oslo", "oslo"], predictions_before=["rome", "rome"], kinds=["partner", "partner"])
    >>> result["kept"], result["followed"], result["incoherent"]
    (0.5, 0.5, 0.0)
"""

_CITATION = """\
@article{iofinova2026behemoth,
  title = {Behemoth: Benchmarking Unlearning in {LLMs} Using Fully Synthetic Data},
  author = {Iofinova, Eugenia and Alistarh, Dan},
  journal = {arXiv preprint arXiv:2601.23153},
  year = {2026},
}
"""


class KindRipple(TypedDict):
    """What became of the dependent facts of one kind."""

    kept: float | None  # None: nothing to count
    followed: float | None
    incoherent: float | None
    count: int
    wrong_before: int
    unchanged: int


class RippleScores(KindRipple):
    """What became of the dependent facts: the mean over kinds, the summed counts, and each kind."""

    by_kind: dict[str, KindRipple]


def ripple(
    predictions: Sequence[str],
    kept: Sequence[str],
    followed: Sequence[str],
    predictions_before: Sequence[str],
    kinds: Sequence[str],
) -> RippleScores:
    """The shares kept, followed and incoherent among the dependent facts right before the edit.

    Raises: ValueError for an empty column, columns of unequal length, a text that is no string or a blank
    kept or followed answer or kind.

    >>> result = ripple(
    ...     predictions=["rome", "oslo", "lima", "oslo", "rome"],
    ...     kept=["rome", "rome", "rome", "rome", "rome"],
    ...     followed=["oslo", "oslo", "oslo", "oslo", "rome"],
    ...     predictions_before=["rome", "rome", "rome", "lima", "rome"],
    ...     kinds=["partner", "partner", "nested_subject", "nested_subject", "nested_subject"],
    ... )
    >>> result["by_kind"]["nested_subject"]
    {'kept': 0.0, 'followed': 0.0, 'incoherent': 1.0, 'count': 1, 'wrong_before': 1, 'unchanged': 1}
    >>> result["kept"], result["followed"], result["incoherent"]
    (0.25, 0.25, 0.5)
    """
    after, old, new, before, kind_names = _words(
        predictions=predictions,
        kept=kept,
        followed=followed,
        predictions_before=predictions_before,
        kinds=kinds,
    )
    outcomes: dict[str, list[str]] = {}
    for kind, *texts in zip(kind_names, after, old, new, before, strict=True):
        outcomes.setdefault(kind, []).append(_outcome(*texts))
    by_kind = {kind: _kind_ripple(rows) for kind, rows in outcomes.items()}
    scores = list(by_kind.values())
    return {
        "kept": _mean([score["kept"] for score in scores]),
        "followed": _mean([score["followed"] for score in scores]),
        "incoherent": _mean([score["incoherent"] for score in scores]),
        "count": sum(score["count"] for score in scores),
        "wrong_before": sum(score["wrong_before"] for score in scores),
        "unchanged": sum(score["unchanged"] for score in scores),
        "by_kind": by_kind,
    }


def _outcome(prediction: str, kept: str, followed: str, prediction_before: str) -> str:
    """The one word that says what became of a dependent fact."""
    if kept == followed:
        return "unchanged"
    if prediction_before != kept:
        return "wrong_before"
    if prediction == kept:
        return "kept"
    return "followed" if prediction == followed else "incoherent"


def _kind_ripple(outcomes: Sequence[str]) -> KindRipple:
    """The scores of the dependent facts of one kind, each given as its outcome."""
    kept, followed, incoherent = (outcomes.count(name) for name in ("kept", "followed", "incoherent"))
    count = kept + followed + incoherent
    return {
        "kept": kept / count if count else None,
        "followed": followed / count if count else None,
        "incoherent": incoherent / count if count else None,
        "count": count,
        "wrong_before": outcomes.count("wrong_before"),
        "unchanged": outcomes.count("unchanged"),
    }


def _mean(shares: Sequence[float | None]) -> float | None:
    """The mean of the shares that exist, None when none does."""
    known = [share for share in shares if share is not None]
    return sum(known) / len(known) if known else None


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


class Ripple(evaluate.Metric):
    """The evaluate module around ripple()."""

    def _info(self) -> evaluate.MetricInfo:
        names = ("predictions", "kept", "followed", "predictions_before", "kinds")
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
        kept: Sequence[str],
        followed: Sequence[str],
        predictions_before: Sequence[str],
        kinds: Sequence[str],
    ) -> RippleScores:
        return ripple(predictions, kept, followed, predictions_before, kinds)
