"""Long sequences of edits on the way: what is held and kept after so many, and by age. Runs no model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from behemoth_editing.report.equal import pooled_looks
from behemoth_editing.report.summaries import Scores, Summary
from behemoth_editing.scoring.intervals import Interval, estimate_mean, estimate_share
from behemoth_editing.sweep.identity import model_of
from behemoth_editing.sweep.stages import AGES, stages_of


@dataclasses.dataclass(frozen=True)
class Pooled:
    """One method after so many edits, over all cells that were looked at then."""

    summary: Summary
    edits: int
    scores: Scores
    by_age: dict[str, Interval]  # share held of the edits of each age, in edits that were made since
    validity: Interval
    relative: Interval  # change of all weights over their norm before


def long_runs(found: Sequence[Summary]) -> list[Pooled]:
    """Every method of every place at every stage, in order."""
    return [one for summary in found for one in stages_in(summary)]


def stages_in(summary: Summary) -> list[Pooled]:
    """Those of one method. A cell that was not looked at after so many edits has no part in that stage."""
    counts = sorted({one["edits"] for row in summary.rows for one in stages_of(row)})
    return [_pooled(summary, count) for count in counts]


def _pooled(summary: Summary, count: int) -> Pooled:
    looks = [(row, one) for row in summary.rows for one in stages_of(row) if one["edits"] == count]
    models = [model_of(row) for row, _ in looks]
    by_age = {}
    for place, words in enumerate(ages_in_words()):
        pairs = [one["ages"][place] for _, one in looks]
        if sum(asked for _, asked in pairs):
            held, asked = ([[pair[i]] for pair in pairs] for i in (0, 1))
            by_age[words] = estimate_share(held, asked, models).at()
    scores = pooled_looks(looks)
    if scores is None:
        raise ValueError(f"stages must be of some row to be pooled, got none of {count} edits")
    return Pooled(
        summary,
        count,
        scores,
        by_age,
        estimate_mean([one["validity"] for _, one in looks], models, 0, 1).at(),
        estimate_mean([one["relative"] for _, one in looks], models, 0).at(),
    )


def ages_in_words() -> list[str]:
    """A range for each of AGES: newest, 1-2, 3-9, and so on."""
    ends = [*(following - 1 for following in AGES[1:]), None]
    return [
        "newest" if first == 0 else f"{first}+" if last is None else f"{first}-{last}" if last > first else f"{first}"
        for first, last in zip(AGES, ends, strict=True)
    ]
