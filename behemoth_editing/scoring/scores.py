"""The one table of scores, and raw counts of edits to all of them. What they are shown as, reports decide.

Axis letters: U units (one edit each), K kinds of probe, N numbers of a part (see PARTS).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from behemoth_data.kinds import KINDS
from behemoth_data.settings import check_known
from behemoth_data.world import STRUCTURES
from behemoth_editing.scoring.intervals import (
    LEVEL,
    Columns,
    Design,
    Estimate,
    Floats,
    Interval,
    estimate_difference,
    estimate_mean,
    estimate_share,
    pooled_design,
)
from behemoth_editing.scoring.outcomes import PARTS

Unit = Mapping[str, Any]  # one entry of a row's "units"
Scores = dict[str, Any]  # a row's "scores"
_Number = dict[str, Any]  # value, low, high, and count where it has one of its own

MEASURES = "measures"  # the part of a unit that holds numbers by name instead of counts by kind
_NOTHING: _Number = {"value": None, "low": None, "high": None}  # of nothing to count
MIN_FACTS = 30  # of a kind that must be asked for it to count in a headline: fewer would move it as much as thousands
# The kinds of facts that must stay and that every structure has, so that headlines of all structures mean the same.
EVERYWHERE = tuple(kind.name for kind in KINDS.values() if kind.group == "keep" and kind.structures == STRUCTURES)


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
    least: int = 0  # distinct facts of a kind that must be asked for it to count
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


def _over_facts(counts: Floats) -> Columns:
    """Counts of what was kept to one share over the facts of all kinds."""
    return Columns(*(counts[..., number].sum(axis=1, keepdims=True) for number in (0, 1)))


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
        text="share still right of the facts that must not change and were right before, the mean over the kinds of "
        f"fact that worlds of every structure have, those of which at least {MIN_FACTS} distinct facts are asked",
        part="keep",
        counts=_share(0, 1),
        kinds=EVERYWHERE,
        least=MIN_FACTS,
        better="higher",
        first=True,
    ),
    Score(
        name="collateral_by_fact",
        label="collateral by fact",
        text="share still right of the facts that must not change and were right before, the mean over facts of all "
        "kinds",
        part="keep",
        counts=_over_facts,
        better="higher",
        first=True,
    ),
    Score(
        name="dependent_incoherent",
        label="dependent incoherent",
        text="share of dependent facts, among those right before, that are answered neither as before nor as follows "
        "from the edit, the mean over kinds: damage, since no world has such answers",
        part="ripple",
        counts=_outcome(2),
        better="lower",
        first=True,
    ),
    Score(
        name="collateral_drop",
        label="collateral drop",
        text="accuracy before minus accuracy after on the facts that must not change, the mean over the same kinds as "
        "of collateral accuracy",
        part="keep",
        counts=_drop,
        kinds=EVERYWHERE,
        least=MIN_FACTS,
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
        first=True,
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
FIRST = tuple(score for score in (*HEADLINES, *MEASURED) if score.first)  # what stands in a first table
BESIDE = tuple(score for score in (*HEADLINES, *MEASURED) if not score.first)  # what that leaves to a second
GROUPS = {
    group: tuple(score for score in SCORES if score.group == group)
    for group in dict.fromkeys(score.group for score in SCORES if score.group is not None)
}
OUTCOMES = tuple(score.name for score in GROUPS["ripple"])

Designs = Mapping[tuple[str, ...], Design]  # by what a share is of, as _shares() names it


@dataclasses.dataclass(frozen=True)
class Sample:
    """Edits with the models and the draws that they are of: what scores are computed from."""

    units: Sequence[Unit]  # one entry per edit
    models: Sequence[Hashable] | None = None  # [U] labels; None: all of one model
    draws: Sequence[Hashable] | None = None  # [U] labels; None: all of one draw

    def __post_init__(self) -> None:
        """Raises: ValueError for no units, labels that do not fit, or a unit whose counts contradict each other."""
        if not self.units:
            raise ValueError("units must hold at least 1 edit, got 0")
        for name, labels in (("models", self.models), ("draws", self.draws)):
            if labels is not None and len(labels) != len(self.units):
                raise ValueError(f"{name} must have one label for each of {len(self.units)} units, got {len(labels)}")
        for unit in self.units:
            check_unit(unit)

    @property
    def owners(self) -> Sequence[Hashable]:
        """The model of every unit."""
        return [0] * len(self.units) if self.models is None else self.models

    @property
    def right_after(self) -> Sample | None:
        """The same edits as they were right after each was made; None of edits that were made all at once."""
        if not any("right_after" in unit for unit in self.units):
            return None
        return dataclasses.replace(self, units=[unit["right_after"] for unit in self.units])

    def facts(self, asked: Floats) -> Floats:
        """How many distinct facts of each column were asked for certain: other draws of a model may ask them again.

        `asked` [U, K] are probes unit by unit; those of one draw are of distinct facts.
        """
        draws = [0] * len(self.units) if self.draws is None else self.draws
        by_draw: dict[Hashable, dict[Hashable, Floats]] = {}
        for model, draw, row in zip(self.owners, draws, asked, strict=True):
            own = by_draw.setdefault(model, {})
            own[draw] = own.get(draw, 0.0) + row
        at_least: Floats = np.sum([np.max(list(own.values()), axis=0) for own in by_draw.values()], axis=0)
        return at_least


def score_units(
    units: Sequence[Unit],
    models: Sequence[Hashable] | None = None,
    draws: Sequence[Hashable] | None = None,
    *,
    designs: Designs | None = None,
    level: float = LEVEL,
) -> Scores:
    """Every score of SCORES that the units have, as in a result row; of several rows, from all their units.

    Where nobody asked, or the model knew nothing before, there is no score: a headline is None; an entry of by_kind or
    ripple keeps its counts, and its numbers are None. `forgetting`, `measures` and `right_after` are there if the units
    have such a part.

    Args:
        units: one entry per edit: {"change", "keep", "ripple"}, raw counts by kind; in forget and refuse "forget" as
            well; "measures", a number by name; and in a sequence "right_after", a unit as counted before later edits.
        models: [U] labels; None: all of one model, of whose other edits alone intervals then speak.
        draws: [U] labels; None: all of one draw.
        designs: design effects of the same kind of cell, by designs_of(); None: of these units alone.
        level: of confidence.

    Raises: ValueError for no units, a unit whose counts contradict each other, or no edited probe at all.
    """
    return _scores(Sample(units, models, draws), designs or {}, level, ())


def designs_of(samples: Sequence[Sample]) -> Designs:
    """The design effects of all shares, over samples of one kind of cell: one for each method with its settings."""
    by_share: dict[tuple[str, ...], list[tuple[Columns, Sequence[Hashable]]]] = {}
    for sample in samples:
        for key, columns in _shares(sample):
            by_share.setdefault(key, []).append((columns, sample.owners))
    found = {key: pooled_design(some) for key, some in by_share.items()}
    return {key: design for key, design in found.items() if design is not None}


def _shares(sample: Sample, prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Columns]]:
    """The counts of every share that the sample has, by a name of its own."""
    for score in HEADLINES:
        if score.lowest >= 0:
            yield (*prefix, score.name), _columns(sample, score)
    for group, entries in GROUPS.items():
        for kind in _kinds(sample.units, entries[0].part):
            for score in entries:
                yield (*prefix, group, score.name, kind), _columns(sample, score, [kind])
    if (then := sample.right_after) is not None:
        yield from _shares(then, (*prefix, "right_after"))


def _scores(sample: Sample, designs: Designs, level: float, prefix: tuple[str, ...]) -> Scores:
    def number(score: Score, *key: str, kind: str | None = None) -> _Number | None:
        columns = _columns(sample, score, None if kind is None else [kind])
        found = _estimated(columns, sample.owners, score.lowest, designs.get((*prefix, *key, score.name, *_some(kind))))
        return None if found is None else _plain(found.at(level))

    scores: Scores = {score.name: number(score) for score in HEADLINES}
    if scores["edit_success"] is None:
        raise ValueError("units must ask at least 1 edited probe, got 0")
    for group, entries in GROUPS.items():
        kinds = _kinds(sample.units, entries[0].part)
        if kinds or group != "forgetting":
            scores[group] = {
                kind: _of_kind(sample.units, kind, {score: number(score, group, kind=kind) for score in entries})
                for kind in kinds
            }
    if measured := _kinds(sample.units, MEASURES):
        scores[MEASURES] = {name: _measure(sample, name, level) for name in measured}
    if (then := sample.right_after) is not None:
        scores["right_after"] = _scores(then, designs, level, (*prefix, "right_after"))
    return scores


def _some(kind: str | None) -> tuple[str, ...]:
    return () if kind is None else (kind,)


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


def columns_of(sample: Sample, name: str) -> Columns:
    """The counts behind one of the HEADLINES, unit by unit. Raises: ValueError for an unknown name."""
    return _columns(sample, headline(name))


def estimate_of(sample: Sample, name: str, designs: Designs | None = None) -> Estimate | None:
    """One of the HEADLINES with all its intervals, None of nothing to count. Raises: ValueError for an unknown name."""
    score = headline(name)
    return _estimated(_columns(sample, score), sample.owners, score.lowest, (designs or {}).get((name,)))


def _estimated(columns: Columns, models: Sequence[Hashable], lowest: float, design: Design | None) -> Estimate | None:
    if not columns.denominators.any():
        return None
    if lowest < 0:
        return estimate_difference(*columns, models, lowest)
    return estimate_share(*columns, models, design)


def _columns(sample: Sample, score: Score, kinds: Sequence[str] | None = None) -> Columns:
    """The counts behind a score, of the given kinds or of all it is about; nothing of kinds with too few facts.

    What is asked decides, and not what a model knows: a kind would come and go with a single fact.
    """
    about = score.kinds or _kinds(sample.units, score.part)
    if score.counts is None:
        raise ValueError(f"score must be counted and not measured, got {score.name!r}")
    table = _table(sample.units, score.part, about if kinds is None else kinds)
    found = score.counts(table)
    if score.least:
        enough = sample.facts(table[..., PARTS[score.part].index("asked")]) >= score.least
        found = Columns(found.numerators * enough, found.denominators * enough)
    return found


def _of_kind(units: Sequence[Unit], kind: str, numbers: Mapping[Score, _Number | None]) -> _Number:
    """The numbers of one kind of probe: those of a group's scores, how many facts were right before, and wrong before.

    A group of one score has its number without the score's name.
    """
    part = next(iter(numbers)).part
    counts = _table(units, part, [kind])  # [U, 1, N]
    found: _Number = {}
    for score, number in numbers.items():
        if len(numbers) == 1:
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


def _measure(sample: Sample, name: str, level: float) -> _Number:
    """The mean of a number over the units that have it."""
    places = [place for place, unit in enumerate(sample.units) if name in unit.get(MEASURES, {})]
    values = [sample.units[place][MEASURES][name] for place in places]
    bounds = next(((score.lowest, score.highest) for score in MEASURED if score.name == name), (-math.inf, math.inf))
    return _plain(estimate_mean(values, [sample.owners[place] for place in places], *bounds).at(level))


def _plain(found: Interval) -> _Number:
    """The interval as a row has it: None for an end that nothing bounds, as of one edit."""
    ends = {name: value for name in ("low", "high") if math.isfinite(value := getattr(found, name))}
    return {"value": found.value, "low": ends.get("low"), "high": ends.get("high"), "count": found.count}


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
