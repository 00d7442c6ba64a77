"""The same ranks in other set-ups: what a finding depends on beside the method. No figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from behemoth_editing.report.evidence import SURE, Series, changed, difference, each_precision, rank_series, score_of
from behemoth_editing.report.judgement import Setup
from behemoth_editing.report.summaries import Summary, as_json


def setups(found: Sequence[Summary]) -> list[Setup]:
    """Every method at every rank, where more than one set-up was tried: by scenario, method and place in the model."""
    return each_precision(
        [summary for summary in found if summary.scores is not None],
        _setups,
        lambda setup, words: dataclasses.replace(setup, about=setup.about + words),
    )


def _setups(scored: Sequence[Summary]) -> list[Setup]:
    """The set-ups among summaries in which each method has one precision."""
    groups: dict[str, list[Setup]] = {}
    for series in rank_series(scored):
        setup = _setup(series)
        if setup is not None:
            row = next(iter(series.by_rank.values())).row
            key = as_json([row["scenario"], row["edge"], row["structure"], setup.about])
            groups.setdefault(key, []).append(setup)
    return [setup for group in groups.values() if len(group) > 1 for setup in group]


def _setup(series: Series) -> Setup | None:
    scores = {rank: e for rank, s in series.by_rank.items() if (e := score_of(s, "edit_success")) is not None}
    if not scores:
        return None
    rank = next((rank for rank, score in scores.items() if score.above(SURE)), max(scores))
    here, highest = series.by_rank[rank], series.by_rank[max(series.by_rank)]
    return Setup(
        place=here.place,
        about=f"{series.method}, {series.where}",
        changed=", ".join(f"{name} {value}" for name, value in changed(here).items()) or "as by default",
        ranks=tuple(series.by_rank),
        rank=rank,
        made=scores[rank].above(SURE),
        success=scores[rank],
        kept=score_of(here, "collateral_accuracy"),
        cost=difference(highest, here, "collateral_accuracy") if here is not highest else None,
    )
