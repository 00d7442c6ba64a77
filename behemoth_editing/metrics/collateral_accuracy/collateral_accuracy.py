"""The share of facts an edit should not touch that a model still knows. Compares words; runs no model."""

from collections.abc import Sequence
from typing import TypedDict

import datasets
import evaluate

from behemoth_editing.scoring.outcomes import CITATION, added, count_keep, mean_of, share_of, words_of

_DESCRIPTION = """\
Of the facts that an edit should leave alone and that the model knew before it, the share it still knows \
after it: per kind of fact, and as the mean over kinds. A fact that the model had wrong before the edit is \
counted apart, so that ignorance cannot pass for stability. An answer counts when it begins with all words expected.
"""

_INPUTS_DESCRIPTION = """
Args:
    predictions (list of str): the edited model's answers, whole, as generated.
    references (list of str): the right answers, which the edit does not change.
    predictions_before (list of str): the same model's answers to the same prompts before the edit.
    kinds (list of str): what each fact has to do with the edit, such as same_subject or unrelated.
Returns:
    collateral_accuracy (float or None): mean over kinds of the share still right among those right before;
        kinds with none right before are left out, and None stands for no kind left.
    collateral_by_fact (float or None): the share over all facts, whatever their kind.
    collateral_drop (float): mean over kinds of accuracy before minus accuracy after, over all facts.
    count (int): facts right before the edit.
    wrong_before (int): facts wrong before the edit.
    by_kind (dict): per kind its accuracy (None when none was right before), drop, count and wrong_before.
Examples:
    >>> metric = evaluate.load("collateral_accuracy")
    >>> result = metric.compute(predictions=["fox", "hen"], references=["fox", "owl"],
    ...     predictions_before=["fox", "owl"], kinds=["unrelated", "unrelated"])
    >>> result["collateral_accuracy"], result["collateral_drop"], result["count"]
    (0.5, 0.5, 2)
"""


class KindCollateral(TypedDict):
    """What became of the facts of one kind."""

    accuracy: float | None  # None: none was right before
    drop: float
    count: int
    wrong_before: int


class Collateral(TypedDict):
    """What became of the facts that should not change."""

    collateral_accuracy: float | None  # None: none was right before
    collateral_by_fact: float | None
    collateral_drop: float
    count: int
    wrong_before: int
    by_kind: dict[str, KindCollateral]


def collateral_accuracy(
    predictions: Sequence[str],
    references: Sequence[str],
    predictions_before: Sequence[str],
    kinds: Sequence[str],
) -> Collateral:
    """The share still right among the facts right before the edit: per kind, as the mean over kinds, and over facts.

    Raises: ValueError for an empty column, columns of unequal length, a text that is no string or a blank
    reference or kind.

    >>> result = collateral_accuracy(
    ...     predictions=["fox", "hen", "owl", "owl"],
    ...     references=["fox", "owl", "owl", "cat"],
    ...     predictions_before=["fox", "owl", "hen", "cat"],
    ...     kinds=["same_subject", "same_subject", "same_subject", "unrelated"],
    ... )
    >>> result["collateral_accuracy"]  # mean of 1/2 and 0/1; the fact learned by accident does not count
    0.25
    >>> result["by_kind"]["same_subject"]
    {'accuracy': 0.5, 'drop': 0.0, 'count': 2, 'wrong_before': 1}
    """
    after, expected, before, kind_names = words_of(
        predictions=predictions, references=references, predictions_before=predictions_before, kinds=kinds
    )
    counts: dict[str, list[list[int]]] = {}
    for kind, right, old, new in zip(kind_names, expected, before, after, strict=True):
        counts.setdefault(" ".join(kind), []).append(count_keep(old, new, right))
    by_kind = {kind: _kind_collateral(added(rows, 4)) for kind, rows in counts.items()}
    still_right, right_before, *_ = added([one for rows in counts.values() for one in rows], 4)
    return {
        "collateral_accuracy": mean_of([score["accuracy"] for score in by_kind.values()]),
        "collateral_by_fact": share_of(still_right, right_before),
        "collateral_drop": sum(score["drop"] for score in by_kind.values()) / len(by_kind),
        "count": sum(score["count"] for score in by_kind.values()),
        "wrong_before": sum(score["wrong_before"] for score in by_kind.values()),
        "by_kind": by_kind,
    }


def _kind_collateral(counts: Sequence[int]) -> KindCollateral:
    """The scores of one kind from its counts."""
    still_right, right_before, right_after, asked = counts
    return {
        "accuracy": share_of(still_right, right_before),
        "drop": (right_before - right_after) / asked,
        "count": right_before,
        "wrong_before": asked - right_before,
    }


class CollateralAccuracy(evaluate.Metric):
    """The evaluate module around collateral_accuracy()."""

    def _info(self) -> evaluate.MetricInfo:
        names = ("predictions", "references", "predictions_before", "kinds")
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
        references: Sequence[str],
        predictions_before: Sequence[str],
        kinds: Sequence[str],
    ) -> Collateral:
        return collateral_accuracy(predictions, references, predictions_before, kinds)
