"""Raw counts of edits to scores with intervals."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from behemoth_editing.scoring.intervals import Columns, Floats, bootstrap_interval, mean_interval

Unit = Mapping[str, Any]  # one entry of a row's "units"
Scores = dict[str, Any]  # a row's "scores"
_Score = dict[str, Any]  # one entry of it
_NO_SCORE: dict[str, Any] = {"value": None, "low": None, "high": None}  # of nothing to count


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
        check_unit(unit)
    labels = [0] * len(units) if groups is None else list(groups)
    score = partial(_score, groups=labels, seed=seed, resamples=resamples, level=level)
    edited = score(columns_of(units, "edit_success"))
    if edited is None:
        raise ValueError("units must ask at least 1 edited probe, got 0")
    scores: Scores = {
        "edit_success": edited,
        "paraphrase_success": score(columns_of(units, "paraphrase_success")),
        "collateral_accuracy": score(columns_of(units, "collateral_accuracy")),
        "collateral_drop": score(columns_of(units, "collateral_drop"), lowest=-1.0),
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


def _forget_score(units: Sequence[Unit], kind: str, score: Callable[[Columns], _Score | None]) -> dict[str, Any]:
    """Of forgotten facts asked in one way: the share still answered as of old if right before; the share refused."""
    counts = _table(units, "forget", [kind], 4)  # [U, 1, 4]
    still_right, right_before, refused, asked = (counts[..., place] for place in range(4))
    return {
        "accuracy_left": score(Columns(still_right, right_before)),
        "refused": score(Columns(refused, asked)),
        "wrong_before": int((asked - right_before).sum()),
    }


def _measure_score(units: Sequence[Unit], name: str, groups: Sequence[Hashable], bootstrap: dict[str, Any]) -> _Score:
    """The mean of a number over the units that have it."""
    places = [place for place, unit in enumerate(units) if name in unit.get("measures", {})]
    values = [units[place]["measures"][name] for place in places]
    return asdict(mean_interval(values, [groups[place] for place in places], **bootstrap))


def _score(columns: Columns, **settings: Any) -> _Score | None:
    """The interval of bootstrap_interval(), or None where there is nothing to count."""
    return asdict(bootstrap_interval(*columns, **settings)) if columns.denominators.any() else None


def _keep_score(units: Sequence[Unit], kind: str, score: Callable[[Columns], _Score | None]) -> _Score:
    """The share of one must-not-change kind that is still right among those right before."""
    counts = _table(units, "keep", [kind], 4)  # [U, 1, 4]
    still_right, right_before, asked = counts[..., 0], counts[..., 1], counts[..., 3]
    interval = score(Columns(still_right, right_before)) or {**_NO_SCORE, "count": 0}
    return {**interval, "wrong_before": int((asked - right_before).sum())}


def _ripple_score(units: Sequence[Unit], kind: str, score: Callable[[Columns], _Score | None]) -> _Score:
    """The shares of one dependent kind that were kept, followed or neither, among those right before."""
    counts = _table(units, "ripple", [kind], 4)  # [U, 1, 4]
    right_before = counts[..., :3].sum(axis=-1)
    shares: _Score = {}
    for place, outcome in enumerate(("kept", "followed", "incoherent")):
        interval = score(Columns(counts[..., place], right_before)) or _NO_SCORE
        shares[outcome] = {name: interval[name] for name in _NO_SCORE}
    return {**shares, "count": int(right_before.sum()), "wrong_before": int(counts[..., 3].sum())}


def check_unit(unit: Unit) -> None:
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


def columns_of(units: Sequence[Unit], name: str) -> Columns:
    """The counts behind one of the four headline scores. Raises: ValueError for an unknown name."""
    if name in ("edit_success", "paraphrase_success"):
        kind = "edited" if name == "edit_success" else "paraphrase"
        asked = _table(units, "change", [kind], 2)
        return Columns(asked[..., 0], asked[..., 1])
    knew = _table(units, "keep", _kinds(units, "keep"), 4)
    if name == "collateral_accuracy":
        return Columns(knew[..., 0], knew[..., 1])
    if name == "collateral_drop":
        return Columns(knew[..., 1] - knew[..., 2], knew[..., 3])
    known = "edit_success, paraphrase_success, collateral_accuracy, collateral_drop"
    raise ValueError(f"name must be one of {known}, got {name!r}")
