"""What may be said of results beside their numbers: findings, verdicts and set-ups. The rules are in `study`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from behemoth_editing.report.evidence import Evidence
from behemoth_editing.report.summaries import Summary


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setup:
    """One method at several ranks in one set-up, at the smallest rank that makes the edits if there is one."""

    place: str
    about: str  # the method, its modules and layers, and its precision if there are several
    changed: str  # the settings that are not as by default
    ranks: tuple[float, ...]  # ascending
    rank: float  # the smallest whose edit success is clearly above SURE; the highest one if none is
    made: bool  # whether there is such a rank
    success: Evidence  # edit success at `rank`
    kept: Evidence | None  # collateral accuracy at `rank`
    cost: Evidence | None  # that of the highest rank minus that of `rank`, over the same edits


HOLDS, FAILS, OPEN = "holds", "does not hold", "undecided"
ANSWERS = (HOLDS, FAILS, OPEN)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a rule says of one finding in one world."""

    finding: str
    world: str
    about: str  # the method, and where it was used
    holds: float  # the p value of what would make it hold, by itself
    fails: float  # that of what would make it not hold
    effect: str  # what `evidence` measures
    evidence: Evidence | None
    reason: str
    p: float = 1.0  # the smaller of both, corrected for the other verdicts on the finding
    answer: str = OPEN


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """A claim, its rule in words, and the rule in code, which gives its verdicts on the summaries of one world."""

    name: str
    claim: str
    criterion: str
    judge: Callable[[str, Sequence[Summary]], list[Verdict]] | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judgement:
    """What a study says of results: its findings, the verdicts on them, and the set-ups that it compared."""

    findings: tuple[Finding, ...] = ()
    verdicts: list[Verdict] = dataclasses.field(default_factory=list)
    setups: list[Setup] = dataclasses.field(default_factory=list)


Judge = Callable[[Sequence[Summary]], Judgement]


def nothing_judged(found: Sequence[Summary]) -> Judgement:
    """A judgement that says nothing, of results that no study is about."""
    return Judgement()
