"""Unlearning methods compared where they have forgotten alike, and the whole of what was kept against what was left."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from behemoth_editing.report.summaries import Scores, Summary
from behemoth_editing.scoring.scores import score_units
from behemoth_editing.sweep.identity import model_of
from behemoth_editing.sweep.looks import LEVELS, Look, curve_of, look_at_equal, share_left
from behemoth_editing.sweep.rows import Row

# What is said of methods there, with its label: headlines, and what is kept of the relation's facts that must stay.
EQUAL_SCORES = {
    "collateral_accuracy": "collateral accuracy",
    "collateral_by_fact": "collateral by fact",
    "implicit": "rest of the relation",
}


@dataclasses.dataclass(frozen=True)
class Equal:
    """What a method keeps at the first look that finds no more than EQUAL of the old answers left."""

    summary: Summary
    reached: int  # cells in which there was such a look
    scores: Scores | None  # of those cells at that look; None where no cell got there
    steps: float | None  # of training until then, on average; None where none of those cells trained

    @property
    def cells(self) -> int:
        """How many cells there were, the failed ones among them."""
        return len(self.summary.rows) + len(self.summary.failed)

    def score(self, name: str) -> Scores | None:
        """A headline at that look, or what is kept of a kind."""
        scores = self.scores or {}
        found: Scores | None = scores.get(name) or scores.get("by_kind", {}).get(name)
        return found


def equal_forgetting(found: Sequence[Summary]) -> list[Equal]:
    """Every method that forgot, in places where some method was looked at while it trained."""
    looked = {summary.place for summary in found if any(row.get("looks") for row in summary.rows)}
    result = []
    for summary in found:
        if summary.place not in looked:
            continue
        looks = [(row, look) for row in summary.rows if (look := look_at_equal(row)) is not None]
        steps = [look["step"] for _, look in looks if look["step"] is not None]
        mean = sum(steps) / len(steps) if steps else None
        result.append(Equal(summary, len(looks), pooled_looks(looks), mean))
    return result


def kept_against_left(summary: Summary) -> list[tuple[float, Scores]]:
    """The share of old answers left and the share kept over facts, at the first look of each cell below each level.

    A cell that never got below a level has no part in its point; a level that no cell got below has none.
    """
    points: list[tuple[float, Scores]] = []
    for level in LEVELS:
        looks = [(row, look) for row in summary.rows if (look := _first(curve_of(row), level)) is not None]
        scores = pooled_looks(looks)
        if scores is None:
            continue
        left, kept = scores["forgetting"]["edited"]["accuracy_left"], scores["collateral_by_fact"]
        if kept is not None and (not points or left["value"] < points[-1][0]):
            points.append((float(left["value"]), kept))
    return points


def _first(curve: Sequence[Look], level: float) -> Look | None:
    return next((look for look in curve if (left := share_left(look)) is not None and left <= level), None)


def pooled_looks(looks: Sequence[tuple[Row, Mapping[str, Any]]]) -> Scores | None:
    """The scores of looks, one of each row."""
    if not looks:
        return None
    units = [{"edit": number, **look} for number, (_, look) in enumerate(looks)]
    draws = [(model_of(row), row["seed"]) for row, _ in looks]
    return score_units(units, [model for model, _ in draws], draws)
