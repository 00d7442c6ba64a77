"""Raw counts to numbers with intervals, within one cell and over many. Runs no model and reads no file.

Axis letters: U units (one edit each), K columns (kinds of probe), C clusters.

One rule for all. Clusters are models, since draws and edits share the model that they are made in; what differs
between models cannot be seen in more edits of the same ones. Where all units are of one model, clusters are its
edits, and the interval speaks of its other edits and of no other model. The error of a number comes from the
clusters' totals by linearisation (Woodruff, JASA 66, 1971), with C - 1 degrees of freedom.

- A share has Clopper and Pearson's interval (Biometrika 26, 1934) at the effective sample size n* of Korn and
  Graubard (Survey Methodology 24, 1998): n over the design effect, times (t of n - 1 / t of C - 1) squared, never
  above n. A design effect that rests on few misses says little, and of a flawless score there is none: each is drawn
  towards that of all methods of its kind of cell (Design), as if PRIOR more independent misses had it. So of two
  scores of one kind of cell the better does not look the less certain. A single cell, and a kind of cell in which no
  method has a miss, is drawn towards 1.
- A difference is a paired t over clusters, in which one answer gained and one lost are added to those seen
  (Bonett and Price, Journal of Educational and Behavioral Statistics 37, 2012): agreement is no certainty.
- A mean of numbers that are no shares is a t over clusters.

What is reached, in studies of 3 to 15 models that tests/editing/scoring/test_coverage.py simulates: 95% intervals of
shares hold the truth in 93% or more of all studies, and in 93% to 97% where models differ (a design effect of 5 and
above; 97.5% with 3 models) and misses are not rare. Where models hardly differ they hold it in up to 98% of studies
with 10 or 15 models and up to 99.9% with 3, since n* is never above n; where hardly a miss is seen, in all, as every
exact interval does. The design effect of all methods alone would hold the truth in two thirds of studies where one
method varies more than the others.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv, stdtrit

Floats = NDArray[np.float64]

LEVEL = 0.95
PRIOR = 10  # independent misses that the design effect of a kind of cell is worth beside a score's own


@dataclasses.dataclass(frozen=True)
class Interval:
    """An estimate, its confidence interval, and the number of answers behind it."""

    value: float
    low: float
    high: float
    count: int


class Columns(NamedTuple):
    """The counts of one score, unit by unit."""

    numerators: Floats  # [U, K]
    denominators: Floats  # [U, K]


class Estimate(Protocol):
    """A number of which every confidence interval is known."""

    @property
    def value(self) -> float:
        """The number itself."""
        ...

    @property
    def count(self) -> int:
        """The answers behind it."""
        ...

    def at(self, level: float = LEVEL) -> Interval:
        """The interval of that confidence. Raises: ValueError for a level that is not between 0 and 1."""
        ...


@dataclasses.dataclass(frozen=True)
class Design:
    """How much less answers of one kind of cell say than independent ones, over all methods that have misses there."""

    effect: float  # mean over methods of error squared / that of as many independent answers
    df: float  # degrees of freedom behind it
    of_models: bool  # whether clusters are models, and not edits of one


@dataclasses.dataclass(frozen=True)
class Share:
    """A share, or a mean of shares, with Korn and Graubard's intervals."""

    value: float
    count: int
    size: float  # n: independent answers that would say as much, were all columns of one share
    effect: float  # its own design effect; 0 where no answer differs from the rest
    rare: int  # misses, or hits if they are fewer: what its own design effect rests on
    df: int
    design: Design | None = None

    def at(self, level: float = LEVEL) -> Interval:
        """The interval of that confidence. Raises: ValueError for a level that is not between 0 and 1."""
        tail = _tail(level)
        size = self.effective_size(level)
        right = self.value * size
        low = float(betaincinv(right, size - right + 1, tail)) if right > 0 else 0.0
        high = 1 - float(betaincinv(size - right, right + 1, tail)) if self.value < 1 else 1.0
        return Interval(self.value, min(low, self.value), max(high, self.value), self.count)

    def effective_size(self, level: float = LEVEL) -> float:
        """The answers n* that count at this level; one cluster counts as one answer.

        Raises: ValueError for a level that is not between 0 and 1.
        """
        tail = _tail(level)
        if self.df == 0:
            return 1.0
        kind = (1.0, float(self.df)) if self.design is None else (self.design.effect, self.design.df)
        own = self.rare / (self.rare + PRIOR * max(1.0, kind[0]))
        effect, df = (own * a + (1 - own) * b for a, b in zip((self.effect, self.df), kind, strict=True))
        ratio = stdtrit(max(self.size - 1, df), tail) / stdtrit(df, tail)
        return min(self.size, float(self.size / effect * ratio**2))


@dataclasses.dataclass(frozen=True)
class Mean:
    """A mean or a difference with intervals of Student's t over clusters; of one cluster it may be anything."""

    value: float
    count: int
    error: float
    df: int
    lowest: float
    highest: float

    def at(self, level: float = LEVEL) -> Interval:
        """The interval of that confidence. Raises: ValueError for a level that is not between 0 and 1."""
        tail = _tail(level)
        if self.df == 0:
            return Interval(self.value, self.lowest, self.highest, self.count)
        reach = -float(stdtrit(self.df, tail)) * self.error
        low, high = max(self.lowest, self.value - reach), min(self.highest, self.value + reach)
        return Interval(self.value, low, high, self.count)


@dataclasses.dataclass(frozen=True)
class Apart:
    """The difference of two estimates of different models, with intervals from those of its parts.

    Source: Zou and Donner, Statistics in Medicine 27, 2008 (MOVER).
    """

    first: Estimate
    second: Estimate

    @property
    def value(self) -> float:
        """The first minus the second."""
        return self.first.value - self.second.value

    @property
    def count(self) -> int:
        """The answers behind both."""
        return self.first.count + self.second.count

    def at(self, level: float = LEVEL) -> Interval:
        """The interval of that confidence. Raises: ValueError for a level that is not between 0 and 1."""
        x, y = self.first.at(level), self.second.at(level)
        low = self.value - math.hypot(x.value - x.low, y.high - y.value)
        high = self.value + math.hypot(x.high - x.value, y.value - y.low)
        return Interval(self.value, low, high, self.count)


def p_value(estimate: Estimate, bound: float, *, above: bool) -> float:
    """The smallest 1 - level at which the interval lies above the bound, or below it; 1 where the value does not.

    Two-sided, so that at 0.05 it is the 95% interval that lies there.
    """
    if not (estimate.value > bound if above else estimate.value < bound):
        return 1.0

    def beyond(alpha: float) -> bool:
        found = estimate.at(1 - alpha)
        return found.low > bound if above else found.high < bound

    low, high = -16.0, 0.0  # powers of ten
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if beyond(min(10.0**middle, 1 - 1e-12)) else (middle, high)
    return float(10.0**high)


def holm(values: Sequence[float]) -> list[float]:
    """The p values of one family, each as large as its own level must be for Holm's procedure to reject it.

    Source: Holm, Scandinavian Journal of Statistics 6, 1979.
    """
    adjusted, reached = [1.0] * len(values), 0.0
    for rank, place in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        reached = max(reached, min(1.0, values[place] * (len(values) - rank)))
        adjusted[place] = reached
    return adjusted


def estimate_share(
    numerators: ArrayLike, denominators: ArrayLike, models: Sequence[Hashable], design: Design | None = None
) -> Share:
    """The mean over columns of (sum of numerators / sum of denominators).

    Columns with no denominator are left out of the mean.

    Args:
        numerators: [U, K] integers, between 0 and their denominators.
        denominators: [U, K] integers, 0 where the unit has no such probe.
        models: [U] labels of the models that the units are of.
        design: of the same kind of cell; one whose clusters are of another sort is not used.

    Raises: ValueError for shapes that do not fit, counts out of bounds, or no positive denominator.
    """
    found = _linear(_checked(numerators, denominators, len(models), 0.0), models)
    baseline = found.value * (1 - found.value) / found.size
    effect = found.squared_error / baseline if baseline > 0 else 0.0
    rare = min(found.hits, found.count - found.hits)
    usable = design if design is not None and design.of_models == found.of_models else None
    return Share(found.value, found.count, found.size, effect, rare, found.df, usable)


def estimate_difference(
    numerators: ArrayLike, denominators: ArrayLike, models: Sequence[Hashable], lowest: float = -1.0
) -> Mean:
    """The same for numerators that may be below 0, such as answers gained minus answers lost.

    Of models that were asked alike this is the paired t test on their means, with one answer gained and one lost added.
    Raises: ValueError as estimate_share() does.
    """
    found = _linear(_checked(numerators, denominators, len(models), lowest), models)
    error = math.sqrt(found.squared_error + 2 / found.size**2)
    return Mean(found.value, found.count, error, found.df, lowest, 1.0)


def estimate_mean(
    values: ArrayLike, models: Sequence[Hashable], lowest: float = -math.inf, highest: float = math.inf
) -> Mean:
    """The mean of one number per unit, any finite number between lowest and highest.

    Raises: ValueError for no values, as many labels as do not fit, or a value that is no finite number.
    """
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or not len(found) or len(found) != len(models):
        raise ValueError(f"values must have 1 axis, as long as models ({len(models)}), got shape {found.shape}")
    if not np.isfinite(found).all():
        raise ValueError(f"values must be finite, got {found[~np.isfinite(found)][0]}")
    linear = _linear(Columns(found[:, None], np.ones((len(found), 1))), models)
    return Mean(linear.value, len(found), math.sqrt(linear.squared_error), linear.df, lowest, highest)


def pooled_design(samples: Iterable[tuple[Columns, Sequence[Hashable]]]) -> Design | None:
    """The design effect over samples of one kind of cell, one sample for each method; None where none has a miss.

    Samples of several models are pooled, or if there are none, those of one. The mean of design effects (Kish, Journal
    of Official Statistics 11, 1995) has the degrees of freedom of Satterthwaite (Biometrics Bulletin 2, 1946): methods
    that fail in the same models are worth one, methods that fail each in their own as many as there are.
    """
    found = [_linear(columns, models) for columns, models in samples if columns.denominators.any()]
    of_models = any(one.of_models for one in found)
    found = [one for one in found if one.of_models == of_models and one.df > 0 and 0 < one.value < 1]
    scaled = [
        {
            label: total / math.sqrt(one.value * (1 - one.value) / one.size) * math.sqrt((one.df + 1) / one.df)
            for label, total in one.totals.items()
        }
        for one in found
    ]
    labels = list(dict.fromkeys(label for one in scaled for label in one))
    table = np.array([[one.get(label, 0.0) for label in labels] for one in scaled], np.float64)  # [methods, C]
    if not table.any():
        return None
    traces = float((table**2).sum()), float(((table @ table.T) ** 2).sum())
    return Design(traces[0] / len(scaled), (len(labels) - 1) * traces[0] ** 2 / traces[1], of_models)


@dataclasses.dataclass(frozen=True)
class _Linear:
    """A mean of ratios as the sum of what every cluster has to say."""

    value: float
    count: int
    hits: int
    size: float  # of a sample of independent answers with the same error, were all columns of one share
    totals: dict[Hashable, float]  # by cluster; their sum is 0
    of_models: bool

    @property
    def df(self) -> int:
        return len(self.totals) - 1

    @property
    def squared_error(self) -> float:
        if self.df == 0:
            return 0.0
        return (self.df + 1) / self.df * sum(total**2 for total in self.totals.values())


def _linear(data: Columns, models: Sequence[Hashable]) -> _Linear:
    """The mean of the columns' ratios, and how far each cluster moves it."""
    asked = data.denominators.sum(axis=0) > 0
    top, bottom = data.numerators[:, asked], data.denominators[:, asked]
    sums = bottom.sum(axis=0)
    ratios = top.sum(axis=0) / sums
    moved = ((top - bottom * ratios) / sums).mean(axis=1)
    units = np.flatnonzero((bottom > 0).any(axis=1)).tolist()
    labels: dict[int, Hashable] = {unit: models[unit] for unit in units}
    of_models = len(set(labels.values())) > 1
    totals: dict[Hashable, float] = {}
    for unit in units:
        label = labels[unit] if of_models else unit
        totals[label] = totals.get(label, 0.0) + float(moved[unit])
    size = float(len(sums) ** 2 / (1 / sums).sum())
    return _Linear(float(ratios.mean()), int(sums.sum()), int(top.sum()), size, totals, of_models)


def _tail(level: float) -> float:
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    return (1 - level) / 2


def _checked(numerators: ArrayLike, denominators: ArrayLike, num_units: int, lowest: float) -> Columns:
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
        raise ValueError(f"models must have one label for each of {len(top)} units, got {num_units}")
    _refuse(bottom < 0, bottom, "denominators must be at least 0")
    if not bottom.any():
        raise ValueError(f"denominators must have a sum of at least 1, got 0 in {num_units} units")
    outside = (top > bottom) | (top < lowest * bottom)
    _refuse(outside, top, f"numerators must lie between {lowest:g} and 1 times their denominators")
    return Columns(top, bottom)


def _refuse(wrong: NDArray[np.bool_], array: Floats, message: str) -> None:
    """Raises: ValueError with the message and the first wrong entry, if there is one."""
    if wrong.any():
        unit, column = np.argwhere(wrong)[0]
        raise ValueError(f"{message}, got {array[unit, column]:g} in unit {unit}, column {column}")
