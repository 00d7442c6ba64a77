"""How far an edit moved a model: its confidence and its distance. Reads numbers; runs no model.

Axis letters: n prompts; C candidate answers; V vocabulary.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

from behemoth_data.settings import check

Floats = NDArray[np.float64]
Int64 = NDArray[np.int64]

_MASS_ERROR = 1e-3  # by which probabilities may miss a sum of 1, since a model may compute in 32 bits


@dataclasses.dataclass(frozen=True)
class Confidence:
    """How likely the new and the old tail are among a relation's tails, prompt by prompt; every array is [n]."""

    new: Floats  # share of the mass on the candidates, 0 to 1
    old: Floats
    new_rank: Int64  # 1: no candidate is more likely
    old_rank: Int64
    validity: Floats  # mass on all the candidates, 0 to 1: whether the answer is of the right relation at all


def confidence(log_probabilities: ArrayLike, new: ArrayLike, old: ArrayLike) -> Confidence:
    """The new and old tails' [n] probabilities and ranks among the candidates, given as columns of [n, C].

    `log_probabilities` are those of whole answers, in nats, not renormalised. A rank is 1 more than the number of
    strictly more likely candidates.
    Raises: ValueError for a row that is no log-probabilities or has no mass, or a tail that is no candidate.
    """
    table = np.asarray(log_probabilities, np.float64)
    check_rows("log_probabilities", table)
    mass: Floats = logsumexp(table, axis=1)
    check(bool((mass > -np.inf).all()), "log_probabilities must have a candidate above -inf in every row")
    check(
        bool((mass <= np.log1p(_MASS_ERROR)).all()),
        f"log_probabilities must have a mass of at most 1, got {np.exp(mass.max(initial=-np.inf)):g}",
    )
    new_values, old_values = (chosen(table, name, tails) for name, tails in (("new", new), ("old", old)))
    return Confidence(
        new=np.exp(new_values - mass),
        old=np.exp(old_values - mass),
        new_rank=(table > new_values[:, None]).sum(axis=1) + 1,
        old_rank=(table > old_values[:, None]).sum(axis=1) + 1,
        validity=np.exp(mass),
    )


def kl_divergence(before: ArrayLike, after: ArrayLike) -> Floats:
    """KL(before || after) [n] in nats, from log-probabilities [n, V] of the next token.

    0 where the two agree; infinite where `after` rules out what `before` holds possible.
    Raises: ValueError for tables of unequal shape, or a row whose probabilities do not sum to 1.
    """
    first, second = np.asarray(before, np.float64), np.asarray(after, np.float64)
    check(first.shape == second.shape, f"after must have the shape of before, {first.shape}, got {second.shape}")
    for name, table in (("before", first), ("after", second)):
        check_rows(name, table)
        mass = np.exp(logsumexp(table, axis=1))
        off = np.abs(mass - 1).max(initial=0.0)
        check(bool(off <= _MASS_ERROR), f"{name} must have rows with a mass of 1, got one that is off by {off:g}")
    held = np.exp(first)
    ratio = np.subtract(first, second, out=np.zeros_like(first), where=held > 0)
    total: Floats = (held * ratio).sum(axis=1)
    return np.maximum(total, 0.0)  # rounding can leave equal distributions a little below


def check_rows(name: str, table: Floats) -> None:
    """Raises: ValueError unless the table is [n, at least 1] and holds numbers."""
    check(table.ndim == 2 and table.shape[1] > 0, f"{name} must be a table with columns, got shape {table.shape}")
    check(not np.isnan(table).any(), f"{name} must hold numbers, got nan in row {_first_row(np.isnan(table))}")


def _first_row(wrong: NDArray[np.bool_]) -> int:
    """The first row with a wrong entry."""
    return int(wrong.any(axis=1).argmax())


def chosen(table: Floats, name: str, columns: ArrayLike) -> Floats:
    """The entries [n] of the table [n, C] in these columns [n]. Raises: ValueError for a column it does not have."""
    places = np.asarray(columns, np.int64)
    check(places.shape == (len(table),), f"{name} must have shape ({len(table)},), a tail a row, got {places.shape}")
    for tail in places.tolist():
        check(0 <= tail < table.shape[1], f"{name} must lie in [0, {table.shape[1]}), the candidates, got {tail}")
    values: Floats = table[np.arange(len(table)), places]
    return values
