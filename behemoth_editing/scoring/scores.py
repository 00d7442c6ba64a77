"""The one table of scores, and raw counts of edits to all of them. What they are shown as, reports decide.

Axis letters: U units (one edit each), K kinds of probe, N numbers of a part (see PARTS).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from behemoth_data.settings import check_known
from behemoth_editing.scoring.intervals import Columns, Floats, bootstrap_interval, mean_interval
from behemoth_editing.scoring.outcomes import PARTS

Unit = Mapping[str, Any]  # one entry of a row's "units"
Scores = dict[str, Any]  # a row's "scores"
_Number = dict[str, Any]  # value, low, high, and count where it has one of its own

MEASURES = "measures"  # the part of a unit that holds numbers by name instead of counts by kind
_NOTHING: _Number = {"value": None, "low": None, "high": None}  # of nothing to count


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
    """What one number says of edits, and how it comes from the counts of units.

    A score without a group is one number: the mean over its kinds of each one's share. A score with a group is a
    number for each kind and stands in that entry of a row's scores.
    """

    name: str  # one of its own among those without a group, and in its group
    label: str  # what tables call it
    text: str  # what it is, in a line
    part: str  # of a unit, that it is counted in: one of PARTS, or MEASURES
    counts: Callable[[Floats], Columns] | None = None  # of [U, K, N]: numerators and denominators; None: a measure
    kinds: tuple[str, ...] | None = None  # of probes, that it is about; None: all of its part
    group: str | None = None
    lowest: float = 0.0
    highest: float = 1.0
    better: str = "neither"  # higher, lower or neither: which way a method is to push it
    first: bool = False  # whether it stands in the first table of a report

    @property
    def range(self) -> str:
        """Between which numbers it lies, in words."""
        bounded = math.isfinite(self.highest)
        return f"{self.lowest:g} to {self.highest:g}" if bounded else f"at least {self.lowest:g}"


def _share(numerator: int, denominator: int) -> Callable[[Floats], Columns]:
    """Counts to one of their numbers over another."""
    return lambda counts: Columns(counts[..., numerator], counts[..., denominator])


def _drop(counts: Floats) -> Columns:
    return Columns(counts[..., 1] - counts[..., 2], counts[..., 3])


def _outcome(number: int) -> Callable[[Floats], Columns]:
    """Counts of a ripple to one of its outcomes over all of what was right before."""
    return lambda counts: Columns(counts[..., number], counts[..., :3].sum(axis=-1))


SCORES: tuple[Score, ...] = (
    Score(
        name="edit_success",
        label="edit success",
        text="share of edited facts that are answered with the new object",
        part="change",
        counts=_share(0, 1),
        kinds=("edited",),
        better="higher",
        first=True,
    ),
    Score(
        name="paraphrase_success",
        label="paraphrase success",
        text="the same, asked in another form that the model was taught",
        part="change",
        counts=_share(0, 1),
        kinds=("paraphrase",),
        better="higher",
        first=True,
    ),
    Score(
        name="collateral_accuracy",
        label="collateral accuracy",
        text="share still right of the facts that must not change and were right before, the mean over kinds of fact",
        part="keep",
        counts=_share(0, 1),
        better="higher",
        first=True,
    ),
    Score(
        name="collateral_drop",
        label="collateral drop",
        text="accuracy before minus accuracy after on all facts that must not change, the mean over kinds of fact",
        part="keep",
        counts=_drop,
        lowest=-1.0,
        better="lower",
    ),
    Score(
        name="collateral_accuracy",
        label="still right",
        text="for each kind of fact that must not change, the share still right among those right before",
        part="keep",
        counts=_share(0, 1),
        group="by_kind",
        better="higher",
    ),
    Score(
        name="kept",
        label="kept",
        text="for each kind of dependent fact, the share that is still answered as before the edit",
        part="ripple",
        counts=_outcome(0),
        group="ripple",
    ),
    Score(
        name="followed",
        label="followed",
        text="for each kind of dependent fact, the share that is answered as follows from the edit",
        part="ripple",
        counts=_outcome(1),
        group="ripple",
    ),
    Score(
        name="incoherent",
        label="incoherent",
        text="for each kind of dependent fact, the share that is answered neither as before nor as follows",
        part="ripple",
        counts=_outcome(2),
        group="ripple",
        better="lower",
    ),
    Score(
        name="accuracy_left",
        label="old answer left",
        text="share of forgotten facts, of those right before, that still get their old answer",
        part="forget",
        counts=_share(0, 1),
        group="forgetting",
        better="lower",
    ),
    Score(
        name="refused",
        label="refused",
        text="share of forgotten facts that are answered by saying that there is no answer",
        part="forget",
        counts=_share(2, 3),
        group="forgetting",
    ),
    Score(
        name="new",
        label="p(new)",
        text="probability of the new object after the edited prompt, among the relation's objects",
        part=MEASURES,
        better="higher",
    ),
    Score(
        name="old",
        label="p(old)",
        text="probability of the old object after the edited prompt, among the relation's objects",
        part=MEASURES,
        better="lower",
    ),
    Score(
        name="new_rank",
        label="rank of new",
        text="rank of the new object among the relation's objects; 1: none is more likely",
        part=MEASURES,
        lowest=1.0,
        highest=float("inf"),
        better="lower",
    ),
    Score(
        name="old_rank",
        label="rank of old",
        text="rank of the old object among the relation's objects; 1: none is more likely",
        part=MEASURES,
        lowest=1.0,
        highest=float("inf"),
        better="higher",
    ),
    Score(
        name="validity",
        label="validity",
        text="probability that the answer to the edited prompt is an object of its relation at all",
        part=MEASURES,
        better="higher",
    ),
    Score(
        name="kl",
        label="KL",
        text="divergence in nats of the next token after unrelated prompts, from the model before to the edited one",
        part=MEASURES,
        highest=float("inf"),
        better="lower",
    ),
)

# Scores of one number each; those of a name under MEASURES; and those kind by kind, by their group.
HEADLINES = tuple(score for score in SCORES if score.group is None and score.part != MEASURES)
MEASURED = tuple(score for score in SCORES if score.part == MEASURES)
BESIDE = (*(score for score in HEADLINES if not score.first), *MEASURED)  # what a first table leaves to a second
GROUPS = {
    group: tuple(score for score in SCORES if score.group == group)
    for group in dict.fromkeys(score.group for score in SCORES if score.group is not None)
}
OUTCOMES = tuple(score.name for score in GROUPS["ripple"])


def score_units(
    units: Sequence[Unit],
    groups: Sequence[Hashable] | None = None,
    *,
    seed: int = 0,
    resamples: int = 2000,
    level: float = 0.95,
) -> Scores:
    """Every score of SCORES that the units have, as in a result row; of several rows, from all their units.

    Where nobody asked, or the model knew nothing before, there is no score: a headline is None; an entry of by_kind or
    ripple keeps its counts, and its numbers are None. `forgetting`, `measures` and `right_after` are there if the units
    have such a part.

    Args:
        units: one entry per edit: {"change", "keep", "ripple"}, raw counts by kind; in forget and refuse "forget" as
            well; "measures", a number by name; and in a sequence "right_after", a unit as counted before later edits.
        groups: [U] labels, such as (model, seed); None: all of one group.
        seed: of the bootstrap.
        resamples: of the bootstrap.
        level: of confidence.

    Raises: ValueError for no units, a unit whose counts contradict each other, or no edited probe at all.
    """
    if not units:
        raise ValueError("units must hold at least 1 edit, got 0")
    for unit in units:
        check_unit(unit)
    labels = [0] * len(units) if groups is None else list(groups)
    bootstrap: dict[str, Any] = {"seed": seed, "resamples": resamples, "level": level}
    interval: Callable[..., _Number | None] = partial(_interval, groups=labels, **bootstrap)
    scores: Scores = {score.name: interval(_columns(units, score), lowest=score.lowest) for score in HEADLINES}
    if scores["edit_success"] is None:
        raise ValueError("units must ask at least 1 edited probe, got 0")
    for group, entries in GROUPS.items():
        kinds = _kinds(units, entries[0].part)
        if kinds or group != "forgetting":
            scores[group] = {kind: _of_kind(units, kind, entries, interval) for kind in kinds}
    measured = _kinds(units, MEASURES)
    if measured:
        scores[MEASURES] = {name: _measure(units, name, labels, bootstrap) for name in measured}
    if any("right_after" in unit for unit in units):
        scores["right_after"] = score_units([unit["right_after"] for unit in units], labels, **bootstrap)
    return scores


def headline(name: str) -> Score:
    """The score of that name that is one number. Raises: ValueError for an unknown one."""
    known = {score.name: score for score in HEADLINES}
    check_known("name", name, known)
    return known[name]


def by_kind(scores: Scores) -> Iterator[tuple[str, Score, _Number, int]]:
    """Every number that scores have for a kind of probe: the kind, the score, the number, and facts wrong before."""
    for group, entries in GROUPS.items():
        for kind, found in scores.get(group, {}).items():
            for score in entries:
                number = found if len(entries) == 1 else found[score.name] or {"value": None, "count": 0}
                yield kind, score, {"count": found.get("count"), **number}, found["wrong_before"]


def columns_of(units: Sequence[Unit], name: str) -> Columns:
    """The counts behind one of the HEADLINES, unit by unit. Raises: ValueError for an unknown name."""
    return _columns(units, headline(name))


def _columns(units: Sequence[Unit], score: Score, kinds: Sequence[str] | None = None) -> Columns:
    """The counts behind a score, of the given kinds or of all it is about."""
    about = score.kinds or _kinds(units, score.part)
    if score.counts is None:
        raise ValueError(f"score must be counted and not measured, got {score.name!r}")
    return score.counts(_table(units, score.part, about if kinds is None else kinds))


def _of_kind(
    units: Sequence[Unit], kind: str, entries: Sequence[Score], interval: Callable[..., _Number | None]
) -> _Number:
    """The numbers of one kind of probe: those of a group's scores, how many facts were right before, and wrong before.

    A group of one score has its number without the score's name.
    """
    part = entries[0].part
    counts = _table(units, part, [kind])  # [U, 1, N]
    found: _Number = {}
    for score in entries:
        columns = _columns(units, score, [kind])
        number = interval(columns, lowest=score.lowest)
        if len(entries) == 1:
            found = number or {**_NOTHING, "count": 0}
        elif part == "ripple":
            found[score.name] = {name: (number or _NOTHING)[name] for name in _NOTHING}
        else:
            found[score.name] = number
    if part == "ripple":  # its outcomes share their count
        wrong_before = counts[..., 3]
        found["count"] = int(counts[..., :3].sum())
    else:
        wrong_before = counts[..., 3] - counts[..., 1]
    return {**found, "wrong_before": int(wrong_before.sum())}


def _measure(units: Sequence[Unit], name: str, groups: Sequence[Hashable], bootstrap: dict[str, Any]) -> _Number:
    """The mean of a number over the units that have it."""
    places = [place for place, unit in enumerate(units) if name in unit.get(MEASURES, {})]
    values = [units[place][MEASURES][name] for place in places]
    return dataclasses.asdict(mean_interval(values, [groups[place] for place in places], **bootstrap))


def _interval(columns: Columns, **settings: Any) -> _Number | None:
    """The interval of bootstrap_interval(), or None where there is nothing to count."""
    if not columns.denominators.any():
        return None
    return dataclasses.asdict(bootstrap_interval(*columns, **settings))


def check_unit(unit: Unit) -> None:
    """Raises: ValueError naming the edit and the kind whose counts are too few, negative or contradictory."""
    for part, numbers in PARTS.items():
        for kind, counts in unit.get(part, {}).items():
            where = f"{part} {kind!r} of edit {unit.get('edit')}"
            if len(counts) != len(numbers) or min(counts) < 0:
                raise ValueError(f"{where} must be {len(numbers)} counts of at least 0, got {list(counts)}")
            if part == "change" and counts[0] > counts[1]:
                raise ValueError(f"{where} must be [successes, asked], got {list(counts)}")
            if part == "keep" and not (counts[0] <= min(counts[1:3]) and max(counts[1:3]) <= counts[3]):
                raise ValueError(f"{where} must be [{', '.join(numbers)}], got {list(counts)}")


def _kinds(units: Iterable[Unit], part: str) -> list[str]:
    """The kinds of probe, or the names of measures, in one part of the units, in first-seen order."""
    return list(dict.fromkeys(kind for unit in units for kind in unit.get(part, {})))


def _table(units: Sequence[Unit], part: str, kinds: Sequence[str]) -> Floats:
    """The counts [U, K, N] of the kinds in one part of the units, 0 where a unit lacks the kind."""
    nothing = [0] * len(PARTS[part])
    table = [[unit.get(part, {}).get(kind, nothing) for kind in kinds] for unit in units]
    return np.array(table, dtype=np.float64).reshape(len(units), len(kinds), len(nothing))
