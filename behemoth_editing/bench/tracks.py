"""The one table of tracks: which edits each makes, and the one number of a method that comes of their rows.

A track is an entry of TRACKS and a function from rows to its number. What VERSION names is frozen: draws, bounds and
numbers here, and the models that a bench's recipe lists.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from behemoth_data.edits import EditConfig
from behemoth_editing.scoring.intervals import LEVEL, Interval, estimate_difference, estimate_mean, estimate_share
from behemoth_editing.scoring.scores import EVERYWHERE, Sample, Unit, columns_of
from behemoth_editing.sweep.identity import model_of
from behemoth_editing.sweep.looks import EQUAL, curve_of, look_at_equal
from behemoth_editing.sweep.rows import Row

VERSION = 0  # a trial: levels may still move before version 1
BOUND = 0.95  # edit success and collateral accuracy below which a model is broken
# Of transfer: which kinds of questions each form that counts consists of.
TRANSFER_FORMS = {
    "inverse": ("paraphrase",),
    "question": ("question",),
    "new_question": ("new_question",),
    "two_step": ("two_step",),
    "denied": ("denied_old", "denied_new"),  # who always says one word has one of them right
}
_PROBES = 20  # of each kind, per edit: enough for what a number is made of
_LEAST = 20  # probes of a kind that are asked where it counts


@dataclasses.dataclass(frozen=True)
class Number:
    """A track's number of one method at one level: over its models, with the 95% interval of other models."""

    value: float
    low: float
    high: float
    models: int
    unbroken: int = 0  # models that the largest draw did not break, for which it counts: the number is at least this


@dataclasses.dataclass(frozen=True, kw_only=True)
class Track:
    """What is done to every model of a level, and what is counted.

    `stages` are made in their order; of a track that `breaks`, a stage is made only of a model that the one before did
    not break.
    """

    name: str
    text: str  # what is done
    number: str  # what the number is
    unit: str
    stages: tuple[tuple[EditConfig, ...], ...]
    number_of: Callable[[Sequence[Row]], Number | None]  # of a method's rows of all models; None where it is not known
    goals: tuple[str, ...] = ("edit",)  # of the methods that can take part
    better: str = "higher"
    breaks: bool = False

    @property
    def draws(self) -> tuple[EditConfig, ...]:
        """Those of all stages."""
        return tuple(draw for stage in self.stages for draw in stage)


def breaking_point(curve: Mapping[int, float], bound: float = BOUND) -> float:
    """The number of edits at which a curve first falls below the bound, or the largest number if it never does.

    `curve` has a share, of which 1 is flawless, for each number of edits. Between two numbers it is a straight line
    over log(1 + edits), and it begins at 1 without edits. Raises: ValueError for an empty curve.
    """
    if not curve:
        raise ValueError("curve must have at least 1 point, got 0")
    place, share = 0.0, 1.0
    for edits in sorted(curve):
        there = math.log1p(edits)
        if curve[edits] < bound:
            return math.expm1(place + (there - place) * (share - bound) / (share - curve[edits]))
        place, share = there, curve[edits]
    return float(max(curve))


def curve_over_edits(rows: Sequence[Row]) -> dict[int, float]:
    """The smaller of edit success and collateral accuracy, for each number of edits that one model's rows made.

    A row of `single` edits is of one edit, each made on a model of its own.
    """
    by_edits: dict[int, list[Row]] = {}
    for row in rows:
        by_edits.setdefault(1 if row["scenario"] == "single" else int(row["num_edits"]), []).append(row)
    units = {edits: [unit for row in some for unit in row["units"]] for edits, some in by_edits.items()}
    return {edits: min(_success(some), _collateral(some)) for edits, some in units.items()}


def _success(units: Sequence[Unit]) -> float:
    made, asked = (sum(unit["change"]["edited"][place] for unit in units) for place in (0, 1))
    return float(made / asked)


def _collateral(units: Sequence[Unit]) -> float:
    """Collateral accuracy of one model: the mean over the kinds that all structures have, if enough of one is asked.

    What a draw asks decides, and not what a model knows: a kind that came and went with a single fact would make curves
    of unlike things. Nothing to count is no loss.
    """
    shares = []
    for kind in EVERYWHERE:
        counts = [unit["keep"][kind] for unit in units if kind in unit["keep"]]
        kept, known, asked = (sum(count[place] for count in counts) for place in (0, 1, 3))
        shares += [kept / known] if known and asked >= _LEAST else []
    return float(np.mean(shares)) if shares else 1.0


def by_model(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of every model."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(model_of(row), []).append(row)
    return found


def _edits_until_broken(rows: Sequence[Row]) -> Number:
    """The mean over models of log(1 + edits), as a number of edits; its interval is a t over models.

    A model that the largest draw did not break counts as if it broke right behind it, so that there is no upper end of
    the interval then, and no lower one where no model broke.
    """
    curves = {model: curve_over_edits(some) for model, some in by_model(rows).items()}
    points = {model: math.log1p(breaking_point(curve)) for model, curve in curves.items()}
    held = sum(min(curve.values()) >= BOUND for curve in curves.values())
    found = estimate_mean([*points.values()], [*points], 0.0).at()
    low = math.expm1(found.low) if held < len(points) else -math.inf
    high = math.inf if held else math.expm1(found.high)
    return Number(math.expm1(found.value), low, high, models=len(points), unbroken=held)


def _followed_less_broken(rows: Sequence[Row]) -> Number | None:
    """Over dependent facts: those that follow, less those that are answered neither as before nor as follows.

    None of models that knew none of them.
    """
    units: list[tuple[str, Unit]] = [(model_of(row), unit) for row in rows for unit in row["units"]]
    kinds = sorted({kind for _, unit in units for kind in unit["ripple"]})
    counts = np.array([[unit["ripple"].get(kind, (0, 0, 0, 0)) for kind in kinds] for _, unit in units])
    top, bottom = counts[..., 1] - counts[..., 2], counts[..., :3].sum(axis=-1)
    if not bottom.any():
        return None
    return _number(estimate_difference(top, bottom, [model for model, _ in units]).at(), rows)


def _carried(rows: Sequence[Row]) -> Number | None:
    """The mean over models of the mean over forms of the share of edits that carry; its interval is a t over models.

    Of edits of subjects that training asked no questions about; an answer that was wrong before carries nothing, and a
    form of several questions is carried by all of them. Where no edit of any model carries, or all do in every form,
    the interval is that of as many models. None where no such subject was edited, or training asked about nobody.
    """
    units = [(model_of(row), unit) for row in rows for unit in row["units"] if "asked_in_training" in unit]
    if not any(unit["asked_in_training"] for _, unit in units):
        return None
    carried: dict[str, list[list[tuple[int, int]]]] = {}
    for model, unit in units:
        if not unit["asked_in_training"]:
            carried.setdefault(model, []).append([_carries(unit, kinds) for kinds in TRANSFER_FORMS.values()])
    shares = {}
    for model, edits in carried.items():
        made, asked = np.moveaxis(np.array(edits).sum(axis=0), -1, 0)
        if asked.any():
            shares[model] = float(np.mean(made[asked > 0] / asked[asked > 0]))
    if not shares:
        return None
    found = _number(estimate_mean([*shares.values()], [*shares], 0.0, 1.0).at(), rows)
    if found.value == 0:
        return dataclasses.replace(found, high=1 - _least_of_none(len(shares)))
    return dataclasses.replace(found, low=_least_of_none(len(shares))) if found.value == 1 else found


def _carries(unit: Unit, kinds: Sequence[str]) -> tuple[int, int]:
    """Whether every question of these kinds follows the edit, and whether all of them are asked."""
    parts = unit["transfer"]
    if not all(kind in parts for kind in kinds):
        return 0, 0
    return int(all(parts[kind][1] == sum(parts[kind]) for kind in kinds)), 1


def _least_of_none(models: int) -> float:
    """1 less the upper end of the interval of a share of which so many models show none (Clopper and Pearson)."""
    return float(((1 - LEVEL) / 2) ** (1 / models))


def _kept_at_equal(rows: Sequence[Row]) -> Number | None:
    """What is kept at the first look that finds at most EQUAL of the old answers; nothing, where no look does.

    Where no model's does, the interval is that of no success in as many models. None of models that knew nothing.
    """
    looks = [(row, look_at_equal(row)) for row in rows]
    units = [look or _nothing_kept(curve_of(row)[-1]) for row, look in looks]
    models = [model_of(row) for row, _ in looks]
    columns = columns_of(
        Sample([{"edit": number, **unit} for number, unit in enumerate(units)], models), "collateral_accuracy"
    )
    if not columns.denominators.any():
        return None
    found = _number(estimate_share(*columns, models).at(), rows)
    if not any(look for _, look in looks):
        return dataclasses.replace(found, high=1 - _least_of_none(found.models))
    return found


def _nothing_kept(look: Mapping[str, Any]) -> dict[str, Any]:
    """The look as it would be if no answer that was right had stayed right."""
    return {**look, "keep": {kind: [0, knew, 0, asked] for kind, (_, knew, _, asked) in look["keep"].items()}}


def _seconds(rows: Sequence[Row]) -> Number | None:
    """Seconds of the edits and of what they need that is computed once for a model, whoever computed it.

    None where a cell failed, which took no time worth a comparison, and of rows of older versions, which do not say it.
    """
    if any(row["error"] is not None or "needed" not in row["seconds"] for row in rows):
        return None
    seconds = {model: float(np.mean([_spent(row) for row in some])) for model, some in by_model(rows).items()}
    return _number(estimate_mean([*seconds.values()], [*seconds], 0.0).at(), rows)


def _spent(row: Row) -> float:
    return float(row["seconds"]["edit"] + row["seconds"]["needed"])


def _number(found: Interval, rows: Sequence[Row]) -> Number:
    return Number(found.value, found.low, found.high, models=len(by_model(rows)))


# Draws


def _single() -> EditConfig:
    return EditConfig(scenario="single", num_edits=10, probes_per_edit=_PROBES)


def _at_once(num_edits: int, seed: int = 0, edge: str = "subject_object") -> EditConfig:
    """A sequence of one step: any facts of the relation, where `different` asks for objects of their own."""
    return EditConfig(
        scenario="sequence",
        num_edits=num_edits,
        edits_per_step=num_edits,
        edge=edge,
        edit_seed=seed,
        probes_per_edit=_PROBES,
        transfer=edge == "subject_object",
    )


def _one_by_one(num_edits: int) -> EditConfig:
    return EditConfig(scenario="sequence", num_edits=num_edits, probes_per_edit=_PROBES)


_TABLE = (
    Track(
        name="batch",
        text="1, 10, 30 and 100 edits of relation 0 at once",
        number=f"edits until it breaks: the most for which edit success and collateral accuracy both stay at {BOUND}",
        unit="edits",
        stages=(
            (_single(),),
            (_at_once(10), _at_once(10, seed=1)),
            (_at_once(30),),
            (_at_once(100),),
        ),
        number_of=_edits_until_broken,
        breaks=True,
    ),
    Track(
        name="sequence",
        text="1, 10, 30 and 100 edits of relation 0 one by one on the same model, asked at the end",
        number=f"edits until it breaks: the most for which edit success and collateral accuracy both stay at {BOUND}",
        unit="edits",
        stages=((_single(),), (_one_by_one(10),), (_one_by_one(30),), (_one_by_one(100),)),
        number_of=_edits_until_broken,
        breaks=True,
    ),
    Track(
        name="ripple",
        text="ten edits at once of subjects' objects, and ten of what objects belong to, in a nested world",
        number="share of the dependent nested facts that follow, less the share that breaks, which is answered "
        "neither as before nor as follows; the mean over both",
        unit="share",
        stages=((_at_once(10), _at_once(10, seed=1), _at_once(10, edge="object_nested")),),
        number_of=_followed_less_broken,
    ),
    Track(
        name="forget",
        text="a tenth of relation 0 forgotten",
        number="collateral accuracy, the rest of the relation included, where for the first time at most "
        f"{EQUAL:.0%} of the old answers are left; 0 where as many never go",
        unit="share",
        stages=((EditConfig(scenario="forget", forget_fraction=0.1, probes_per_edit=_PROBES, look_every=1),),),
        number_of=_kept_at_equal,
        goals=("edit", "forget", "refuse"),
    ),
    Track(
        name="transfer",
        text="ten edits at once, made in a statement, asked with the relation before the subject, as a question, in a "
        "format that no corpus teaches, over two steps, and denied, of subjects that training asks nothing about",
        number="share of the forms that carry an edit",
        unit="share",
        stages=((_at_once(10), _at_once(10, seed=1)),),
        number_of=_carried,
    ),
    Track(
        name="cost",
        text="ten edits at once",
        number="seconds, with what is computed once for a model",
        unit="seconds",
        stages=((_at_once(10), _at_once(10, seed=1)),),
        number_of=_seconds,
        better="lower",
    ),
)
TRACKS: dict[str, Track] = {track.name: track for track in _TABLE}
