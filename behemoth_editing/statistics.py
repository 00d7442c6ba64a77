"""Raw counts to scores with 95% intervals, within one cell and over many. Runs no model and reads no file.

Axis letters: U units (one edit each), K columns (kinds of probe), G groups (one model and seed each),
B resamples.

Limits, which no interval here removes. A few groups say little about other seeds: where groups differ as much
as their units do, a 95% interval over ten units each held the truth in 80% of simulated studies with two
groups, 85% with three, 92% with five and 95% with ten. Edits made together (the scenario "different") may
hold or fail together, which the units of one group cannot show.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from behemoth_data.rng import Stream
from behemoth_editing.identity import model_of, precision_of

Row = Mapping[str, Any]  # one line of results.jsonl
Unit = Mapping[str, Any]  # one entry of a row's "units"
Scores = dict[str, Any]  # a row's "scores"
_Score = dict[str, Any]  # one entry of it
Floats = NDArray[np.float64]

_CHUNK = 4_000_000  # draws held in memory at once
_NO_SCORE: dict[str, Any] = {"value": None, "low": None, "high": None}  # of nothing to count


@dataclass(frozen=True)
class Interval:
    """An estimate, its confidence interval, and the number of answers behind it."""

    value: float
    low: float
    high: float
    count: int


class GroupKey(NamedTuple):
    """What rows have in common that differ only in model and seed."""

    structure: str
    edge: str
    relation: int
    scenario: str
    num_edits: int
    method: str
    settings: str  # JSON with sorted keys
    precision: str | None = None  # in which the method trained


class _Place(NamedTuple):
    """Which edit of which model a unit is, whatever the method."""

    question: tuple[Hashable, ...]
    model: str  # model_of()
    seed: int
    edit: int


class _Columns(NamedTuple):
    """The counts of one score, unit by unit."""

    numerators: Floats  # [U, K]
    denominators: Floats  # [U, K]


def bootstrap_interval(
    numerators: ArrayLike,
    denominators: ArrayLike,
    groups: Sequence[Hashable],
    *,
    seed: int = 0,
    resamples: int = 2000,
    level: float = 0.95,
    lowest: float = 0.0,
) -> Interval:
    """The mean over columns of (sum of numerators / sum of denominators), with a percentile interval.

    Groups are resampled with replacement (when there is more than one), then units within each group drawn.
    Columns with a zero denominator, in the data or in a resample, are left out of the mean. The interval is
    widened to the value where resampling alone would exclude it. Where all units have the same share, the
    bootstrap sees no variation and would claim certainty: _unseen_variation() answers instead.

    Args:
        numerators: [U, K] integers, between lowest * denominator and denominator.
        denominators: [U, K] integers, 0 where the unit has no such probe.
        groups: [U] any labels, such as (model, seed).
        seed: of the resampling; the same seed gives the same interval on any machine.
        resamples: of the groups and units, at least 100.
        level: of confidence.
        lowest: the least a share can be; -1 for differences.

    Raises: ValueError for shapes that do not fit, counts out of bounds, or no positive denominator.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13 (percentile interval);
    Davison and Hinkley, "Bootstrap Methods and their Application", 1997, section 3.8 (groups, then units).
    """
    data = _checked(numerators, denominators, len(groups), lowest)
    if resamples < 100:
        raise ValueError(f"resamples must be at least 100 to have tails, got {resamples}")
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    value = float(_mean_share(data.numerators.sum(axis=0), data.denominators.sum(axis=0)))
    count = int(data.denominators.sum())
    if _all_alike(data):
        num_units = int((data.denominators > 0).any(axis=1).sum())
        low, high = _unseen_variation(value, num_units, level, lowest)
        return Interval(value, low, high, count)
    sums = _resampled_sums(data, groups, seed, resamples)
    shares = _mean_share(sums.numerators, sums.denominators)
    tail = (1 - level) / 2
    low, high = np.nanquantile(shares, [tail, 1 - tail])
    return Interval(value, min(float(low), value), max(float(high), value), count)


def mean_interval(
    values: ArrayLike, groups: Sequence[Hashable], *, seed: int = 0, resamples: int = 2000, level: float = 0.95
) -> Interval:
    """The mean of one number per unit, with a percentile interval; groups and units resampled as for shares.

    Where all values are equal the interval has no width: nothing bounds what an unseen unit could have.

    Args:
        values: [U] any finite numbers.
        groups: [U] labels, such as (model, seed).
        seed, resamples, level: as for bootstrap_interval().

    Raises: ValueError for no values, as many labels as do not fit, or a value that is no finite number.
    """
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or not len(found) or len(found) != len(groups):
        raise ValueError(f"values must have 1 axis, as long as groups ({len(groups)}), got shape {found.shape}")
    if not np.isfinite(found).all():
        raise ValueError(f"values must be finite, got {found[~np.isfinite(found)][0]}")
    sums = _resampled_sums(_Columns(found[:, None], np.ones((len(found), 1))), groups, seed, resamples)
    means = (sums.numerators / sums.denominators)[:, 0]
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    value = float(found.mean())
    return Interval(value, min(float(low), value), max(float(high), value), len(found))


def _checked(numerators: ArrayLike, denominators: ArrayLike, num_units: int, lowest: float) -> _Columns:
    """Both as float64 [U, K], exact for counts. Raises: ValueError naming the argument."""
    top, bottom = np.asarray(numerators, dtype=np.float64), np.asarray(denominators, dtype=np.float64)
    for name, array in (("numerators", top), ("denominators", bottom)):
        if array.ndim != 2:
            raise ValueError(f"{name} must have 2 axes (units, columns), got {array.ndim}")
        _refuse(
            ~(np.abs(array) < 2**53) | (array != np.rint(array)),
            array,
            f"{name} must be integers below 2**53",
        )
    if top.shape != bottom.shape:
        raise ValueError(f"numerators must have the denominators' shape {bottom.shape}, got {top.shape}")
    if len(top) != num_units:
        raise ValueError(f"groups must have one label for each of {len(top)} units, got {num_units}")
    _refuse(bottom < 0, bottom, "denominators must be at least 0")
    if not bottom.any():
        raise ValueError(f"denominators must have a sum of at least 1, got 0 in {num_units} units")
    outside = (top > bottom) | (top < lowest * bottom)
    _refuse(outside, top, f"numerators must lie between {lowest:g} and 1 times their denominators")
    return _Columns(top, bottom)


def _refuse(wrong: NDArray[np.bool_], array: Floats, message: str) -> None:
    """Raises: ValueError with the message and the first wrong entry, if there is one."""
    if wrong.any():
        unit, column = np.argwhere(wrong)[0]
        raise ValueError(f"{message}, got {array[unit, column]:g} in unit {unit}, column {column}")


def _mean_share(numerators: Floats, denominators: Floats) -> Floats:
    """The mean over the last axis of numerator / denominator where there is one; nan where there is none."""
    asked = denominators > 0
    shares = np.divide(numerators, denominators, out=np.zeros_like(numerators), where=asked)
    num_asked = asked.sum(axis=-1)
    missing = np.full(num_asked.shape, np.nan)
    mean: Floats = np.divide(shares.sum(axis=-1), num_asked, out=missing, where=num_asked > 0)
    return mean


def _all_alike(data: _Columns) -> bool:
    """Whether within every column all units that were asked have one and the same share."""
    top, bottom = data.numerators.sum(axis=0), data.denominators.sum(axis=0)
    return bool((data.numerators * bottom == data.denominators * top).all())


def _unseen_variation(value: float, num_units: int, level: float, lowest: float) -> tuple[float, float]:
    """An interval for the mean share when all units seen have the share `value`.

    Twenty successes of twenty do not prove certainty: none of U units was different, so, by the exact
    (Clopper-Pearson) upper limit u for 0 of U, up to a share u of all units may be, each with any share from
    `lowest` to 1. For value 1 or 0 this is the Clopper-Pearson interval itself; for a drop of 0, -u to u.

    Source: Clopper and Pearson, Biometrika 26, 1934; for 0 of U, u = 1 - ((1 - level) / 2) ** (1 / U).
    """
    unseen = float(stats.binomtest(0, num_units).proportion_ci(level, method="exact").high)
    return value - unseen * (value - lowest), value + unseen * (1 - value)


def _resampled_sums(data: _Columns, groups: Sequence[Hashable], seed: int, resamples: int) -> _Columns:
    """Numerators and denominators [B, K] summed over the units of every resample."""
    members = _members(groups)
    num_groups, widest = len(members), max(len(units) for units in members)
    places = np.arange(resamples * num_groups)  # resample b fills places b * G to b * G + G - 1
    chosen = np.zeros_like(places)
    if num_groups > 1:
        chosen = Stream(seed, "bootstrap/groups").integers(places, num_groups)
    both = np.concatenate(data, axis=1)  # [U, 2K]
    sums = np.zeros((len(places), both.shape[1]))
    stream = Stream(seed, "bootstrap/units")
    for group, units in enumerate(members):
        own, size = places[chosen == group], len(units)
        step = max(1, _CHUNK // size)
        for start in range(0, len(own), step):
            some = own[start : start + step]
            drawn = stream.integers(some[:, None] * widest + np.arange(size), size)  # [places, size]
            cells = drawn + size * np.arange(len(some))[:, None]
            times = np.bincount(cells.ravel(), minlength=cells.size).reshape(cells.shape)
            sums[some] = times.astype(np.float64) @ both[units]
    totals = sums.reshape(resamples, num_groups, -1).sum(axis=1)
    return _Columns(*np.split(totals, 2, axis=1))


def _members(groups: Sequence[Hashable]) -> list[list[int]]:
    """The units of every group, groups in first-seen order."""
    members: dict[Hashable, list[int]] = {}
    for unit, group in enumerate(groups):
        members.setdefault(group, []).append(unit)
    return list(members.values())


def score_units(
    units: Sequence[Unit],
    groups: Sequence[Hashable] | None = None,
    *,
    seed: int = 0,
    resamples: int = 2000,
    level: float = 0.95,
) -> Scores:
    """The scores of a result row, from its units; of several rows, from all their units.

    Where nobody asked, or the model knew nothing before, there is no score: paraphrase_success,
    collateral_accuracy and collateral_drop are None; an entry of by_kind or ripple keeps its counts, and its
    numbers are None. `forgetting`, `measures` and `right_after` are there if the units have such a part.

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
        _check_unit(unit)
    labels = [0] * len(units) if groups is None else list(groups)
    score = partial(_score, groups=labels, seed=seed, resamples=resamples, level=level)
    edited = score(_columns(units, "edit_success"))
    if edited is None:
        raise ValueError("units must ask at least 1 edited probe, got 0")
    scores: Scores = {
        "edit_success": edited,
        "paraphrase_success": score(_columns(units, "paraphrase_success")),
        "collateral_accuracy": score(_columns(units, "collateral_accuracy")),
        "collateral_drop": score(_columns(units, "collateral_drop"), lowest=-1.0),
        "by_kind": {kind: _keep_score(units, kind, score) for kind in _kinds(units, "keep")},
        "ripple": {kind: _ripple_score(units, kind, score) for kind in _kinds(units, "ripple")},
    }
    bootstrap: dict[str, Any] = {"seed": seed, "resamples": resamples, "level": level}
    if _kinds(units, "forget"):
        scores["forgetting"] = {kind: _forget_score(units, kind, score) for kind in _kinds(units, "forget")}
    if _kinds(units, "measures"):
        scores["measures"] = {
            name: _measure_score(units, name, labels, bootstrap) for name in _kinds(units, "measures")
        }
    if any("right_after" in unit for unit in units):
        scores["right_after"] = score_units([unit["right_after"] for unit in units], labels, **bootstrap)
    return scores


def _forget_score(units: Sequence[Unit], kind: str, score: Callable[[_Columns], _Score | None]) -> dict[str, Any]:
    """Of forgotten facts asked in one way: the share still answered as of old if right before; the share refused."""
    counts = _table(units, "forget", [kind], 4)  # [U, 1, 4]
    still_right, right_before, refused, asked = (counts[..., place] for place in range(4))
    return {
        "accuracy_left": score(_Columns(still_right, right_before)),
        "refused": score(_Columns(refused, asked)),
        "wrong_before": int((asked - right_before).sum()),
    }


def _measure_score(units: Sequence[Unit], name: str, groups: Sequence[Hashable], bootstrap: dict[str, Any]) -> _Score:
    """The mean of a number over the units that have it."""
    places = [place for place, unit in enumerate(units) if name in unit.get("measures", {})]
    values = [units[place]["measures"][name] for place in places]
    return asdict(mean_interval(values, [groups[place] for place in places], **bootstrap))


def _score(columns: _Columns, **settings: Any) -> _Score | None:
    """The interval of bootstrap_interval(), or None where there is nothing to count."""
    return asdict(bootstrap_interval(*columns, **settings)) if columns.denominators.any() else None


def _keep_score(units: Sequence[Unit], kind: str, score: Callable[[_Columns], _Score | None]) -> _Score:
    """The share of one must-not-change kind that is still right among those right before."""
    counts = _table(units, "keep", [kind], 4)  # [U, 1, 4]
    still_right, right_before, asked = counts[..., 0], counts[..., 1], counts[..., 3]
    interval = score(_Columns(still_right, right_before)) or {**_NO_SCORE, "count": 0}
    return {**interval, "wrong_before": int((asked - right_before).sum())}


def _ripple_score(units: Sequence[Unit], kind: str, score: Callable[[_Columns], _Score | None]) -> _Score:
    """The shares of one dependent kind that were kept, followed or neither, among those right before."""
    counts = _table(units, "ripple", [kind], 4)  # [U, 1, 4]
    right_before = counts[..., :3].sum(axis=-1)
    shares: _Score = {}
    for place, outcome in enumerate(("kept", "followed", "incoherent")):
        interval = score(_Columns(counts[..., place], right_before)) or _NO_SCORE
        shares[outcome] = {name: interval[name] for name in _NO_SCORE}
    return {**shares, "count": int(right_before.sum()), "wrong_before": int(counts[..., 3].sum())}


def _check_unit(unit: Unit) -> None:
    """Raises: ValueError naming the edit and the kind whose counts are too few, negative or contradictory."""
    for part, length in (("change", 2), ("keep", 4), ("ripple", 4), ("forget", 4)):
        for kind, counts in unit.get(part, {}).items():
            where = f"{part} {kind!r} of edit {unit.get('edit')}"
            if len(counts) != length or min(counts) < 0:
                raise ValueError(f"{where} must be {length} counts of at least 0, got {list(counts)}")
            if part == "change" and counts[0] > counts[1]:
                raise ValueError(f"{where} must be [successes, asked], got {list(counts)}")
            if part == "keep" and not (counts[0] <= min(counts[1:3]) and max(counts[1:3]) <= counts[3]):
                raise ValueError(
                    f"{where} must be [right before and after, right before, right after, asked], got {list(counts)}"
                )


def _kinds(units: Iterable[Unit], part: str) -> list[str]:
    """The kinds of probe in one part of the units, in first-seen order."""
    return list(dict.fromkeys(kind for unit in units for kind in unit.get(part, {})))


def _table(units: Sequence[Unit], part: str, kinds: Sequence[str], length: int) -> Floats:
    """The counts [U, K, length] of the kinds in one part of the units, 0 where a unit lacks the kind."""
    nothing = [0] * length
    table = [[unit.get(part, {}).get(kind, nothing) for kind in kinds] for unit in units]
    return np.array(table, dtype=np.float64).reshape(len(units), len(kinds), length)


def _columns(units: Sequence[Unit], name: str) -> _Columns:
    """The counts behind one of the four headline scores. Raises: ValueError for an unknown name."""
    if name in ("edit_success", "paraphrase_success"):
        kind = "edited" if name == "edit_success" else "paraphrase"
        asked = _table(units, "change", [kind], 2)
        return _Columns(asked[..., 0], asked[..., 1])
    knew = _table(units, "keep", _kinds(units, "keep"), 4)
    if name == "collateral_accuracy":
        return _Columns(knew[..., 0], knew[..., 1])
    if name == "collateral_drop":
        return _Columns(knew[..., 1] - knew[..., 2], knew[..., 3])
    known = "edit_success, paraphrase_success, collateral_accuracy, collateral_drop"
    raise ValueError(f"name must be one of {known}, got {name!r}")


def group_rows(rows: Iterable[Row]) -> tuple[dict[GroupKey, list[Row]], list[Row]]:
    """The rows that differ only in model and seed, put together in first-seen order; and the failed rows."""
    grouped: dict[GroupKey, list[Row]] = {}
    failed = []
    for row in rows:
        if row.get("error") is not None:
            failed.append(row)
        else:
            grouped.setdefault(_group_key(row), []).append(row)
    return grouped, failed


def _group_key(row: Row) -> GroupKey:
    """What the row has in common with its repetitions over models and seeds."""
    return GroupKey(
        structure=row["structure"],
        edge=row["edge"],
        relation=row["relation"],
        scenario=row["scenario"],
        num_edits=row["num_edits"],
        method=row["method"],
        settings=json.dumps(row["settings"], sort_keys=True),
        precision=precision_of(row),
    )


def summarise(rows: Sequence[Row], *, seed: int = 0, resamples: int = 2000, level: float = 0.95) -> Scores:
    """The scores of all units of the rows, with every (model, seed) a group of its own.

    Raises: ValueError for no rows, a failed row, rows of different settings or worlds, or a repeated cell.
    """
    labels = _check_repetitions(rows)
    units = [unit for row in rows for unit in row["units"]]
    groups = [label for label, row in zip(labels, rows, strict=True) for _ in row["units"]]
    return score_units(units, groups, seed=seed, resamples=resamples, level=level)


def _check_repetitions(rows: Sequence[Row]) -> list[tuple[str, int]]:
    """(model, seed) of every row. Raises: ValueError unless all repeat one cell over models and seeds."""
    if not rows:
        raise ValueError("rows must hold at least 1 result, got 0")
    for row in rows:
        if row.get("error") is not None:
            raise ValueError(f"rows must hold no failed cell, got {row.get('cell')} with error {row['error']!r}")
    for name, key in (("settings", _group_key), ("world, apart from its seed,", _world_key)):
        first, *others = dict.fromkeys(key(row) for row in rows)
        if others:
            raise ValueError(f"rows must share their {name} to be pooled, got {first} and {others[0]}")
    labels = [(model_of(row), row["seed"]) for row in rows]
    if len(set(labels)) < len(labels):
        repeated = next(label for label in labels if labels.count(label) > 1)
        raise ValueError(f"rows must hold each (model, seed) once, got {repeated} twice")
    return labels


def draw_settings(row: Row) -> dict[str, Any]:
    """How the row's edits and probes were drawn, beyond what has a column of its own."""
    own = ("scenario", "edge", "relation", "num_edits", "edit_seed")
    return {name: value for name, value in row.get("edits", {}).items() if name not in own}


def made_with(row: Row) -> dict[str, Any]:
    """What a row was made with, beside its world, that may change its scores; only what is known of it."""
    found = {"trained in": row.get("model_precision"), "version": (row.get("versions") or {}).get("behemoth")}
    return {name: value for name, value in found.items() if value is not None}


def _world_key(row: Row) -> str:
    """The row's world but for its seed, its draw, and how its model was made: another question, not another sample."""
    world = {name: value for name, value in row.get("world", {}).items() if name != "seed"}
    world |= draw_settings(row) | made_with(row)
    return json.dumps(world, sort_keys=True)


def paired_difference(
    rows_a: Sequence[Row],
    rows_b: Sequence[Row],
    name: str = "collateral_accuracy",
    *,
    seed: int = 0,
    resamples: int = 2000,
    level: float = 0.95,
) -> Interval:
    """The score of a minus the score of b over the same edits of the same models, resampled together.

    Pairing removes what both share: which models, which edits, which probes.

    Raises: ValueError for an unknown name, rows that summarise() refuses, or units that a and b do not share.
    """
    units_a, units_b = _units_by_place(rows_a), _units_by_place(rows_b)
    odd = sorted(units_a.keys() ^ units_b.keys(), key=repr)
    if odd:
        raise ValueError(f"rows_b must hold the units of rows_a, got {len(odd)} in only one, such as {odd[0]}")
    both = _columns([*units_a.values(), *(units_b[place] for place in units_a)], name)
    numerators_a, numerators_b = np.split(both.numerators, 2)
    asked_a, asked_b = np.split(both.denominators, 2)
    if not np.array_equal(asked_a, asked_b):
        unit, column = np.argwhere(asked_a != asked_b)[0]
        raise ValueError(
            f"rows_b must count as many probes for {name} as rows_a, "
            f"got {asked_b[unit, column]:.0f} and not {asked_a[unit, column]:.0f} in {list(units_a)[unit]}"
        )
    return bootstrap_interval(
        numerators_a - numerators_b,
        asked_a,
        [(place.model, place.seed) for place in units_a],
        seed=seed,
        resamples=resamples,
        level=level,
        lowest=-1.0,
    )


def _units_by_place(rows: Sequence[Row]) -> dict[_Place, Unit]:
    """The units of the rows, by what two methods must share. Raises: ValueError as summarise() does."""
    _check_repetitions(rows)
    units: dict[_Place, Unit] = {}
    for row in rows:
        question = (*_group_key(row)[:5], _world_key(row))  # all that identifies a cell but the method
        for unit in row["units"]:
            _check_unit(unit)
            place = _Place(question, model_of(row), row["seed"], unit["edit"])
            if place in units:
                raise ValueError(f"units must hold each edit once, got {place} twice")
            units[place] = unit
    return units
