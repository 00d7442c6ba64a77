"""What became of facts that depend on an edited one: kept, followed or neither. Words only; runs no model."""

from collections.abc import Sequence
from typing import TypedDict

import datasets
import evaluate

from behemoth_editing.scoring.outcomes import CITATION, added, count_ripple, mean_of, share_of, words_of

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
    after, old, new, before, kind_names = words_of(
        predictions=predictions,
        kept=kept,
        followed=followed,
        predictions_before=predictions_before,
        kinds=kinds,
    )
    counts: dict[str, list[list[int] | None]] = {}
    for kind, now, was, then, known in zip(kind_names, after, old, new, before, strict=True):
        counts.setdefault(" ".join(kind), []).append(count_ripple(known, now, was, then))
    by_kind = {kind: _kind_ripple(rows) for kind, rows in counts.items()}
    scores = list(by_kind.values())
    return {
        "kept": mean_of([score["kept"] for score in scores]),
        "followed": mean_of([score["followed"] for score in scores]),
        "incoherent": mean_of([score["incoherent"] for score in scores]),
        "count": sum(score["count"] for score in scores),
        "wrong_before": sum(score["wrong_before"] for score in scores),
        "unchanged": sum(score["unchanged"] for score in scores),
        "by_kind": by_kind,
    }


def _kind_ripple(counts: Sequence[list[int] | None]) -> KindRipple:
    """The scores of the dependent facts of one kind, from each one's counts; None: nothing to follow."""
    told = [one for one in counts if one is not None]
    kept, followed, incoherent, wrong_before = added(told, 4)
    count = kept + followed + incoherent
    return {
        "kept": share_of(kept, count),
        "followed": share_of(followed, count),
        "incoherent": share_of(incoherent, count),
        "count": count,
        "wrong_before": wrong_before,
        "unchanged": len(counts) - len(told),
    }


class Ripple(evaluate.Metric):
    """The evaluate module around ripple()."""

    def _info(self) -> evaluate.MetricInfo:
        names = ("predictions", "kept", "followed", "predictions_before", "kinds")
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
        kept: Sequence[str],
        followed: Sequence[str],
        predictions_before: Sequence[str],
        kinds: Sequence[str],
    ) -> RippleScores:
        return ripple(predictions, kept, followed, predictions_before, kinds)
