"""What a model or an attacker has left of a fact, in bits, and what can be inferred without it. Runs no model.

Axis letters: n facts; C candidates, the relation's tails.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_softmax

from behemoth_data.settings import check
from behemoth_data.world import Edge, World
from behemoth_editing.scoring.confidence import check_rows, chosen

Floats = NDArray[np.float64]
Int64 = NDArray[np.int64]

_SIZES = 2.0 ** np.arange(-6, 5.25, 0.25)
# By which log-probabilities may be multiplied, those nearest to 0 first.
SCALES = np.concatenate([[0.0], np.column_stack([_SIZES, -_SIZES]).ravel()])


def bits(log_probabilities: ArrayLike, true: ArrayLike) -> Floats:
    """Bits [n] about the true tails [n] in distributions over candidates [n, C]: log2 C + log2 p(true).

    `log_probabilities` are those of whole answers, in nats, and are renormalised over the candidates. A world draws
    every tail evenly from them, so this is the entropy of the fact less the cross-entropy of who answers: log2 C for
    who knows it, 0 for who says that all are alike, and below 0 for who holds it to be less likely than that.
    Source: Shannon, "A mathematical theory of communication", 1948; as a score of forecasts, Good, "Rational
    decisions", 1952.
    Raises: ValueError for a row that is no log-probabilities, a tail that is no candidate, or one held impossible.
    """
    table = np.asarray(log_probabilities, np.float64)
    check_rows("log_probabilities", table)
    likely = chosen(table, "true", true)
    check(bool(np.isfinite(likely).all()), "log_probabilities must hold every true tail possible, got -inf for one")
    own = log_softmax(table, axis=1)[np.arange(len(table)), np.asarray(true, np.int64)]
    found: Floats = np.log2(table.shape[1]) + own / np.log(2)
    return found


def recalibrated(log_probabilities: ArrayLike, true: ArrayLike) -> Floats:
    """Bits [n] of who reads these distributions and knows, from other such facts, how far to believe them.

    What a model says and what can be read in it differ: one that is sure of wrong answers has fewer than no bits(), and
    so has one in which the true answer was pushed below all others, though it can be read there. Every second fact is
    read by what the others teach, p = (1 - e) softmax(a log p) + e / C, where a, of a grid, may be below 0 and has the
    least cross-entropy on the m facts that teach it, and e = 1 / (m + 2): who saw m facts go well is no surer than
    that. So 0 bits are there to be read where a says nothing of other facts, and no fact costs more than log2(m + 2).
    Source: Guo et al., "On calibration of modern neural networks", 2017, section 4.2, for the one number a; e is that
    of Laplace's rule of succession.
    Raises: ValueError as bits() does.
    """
    table, tails = np.asarray(log_probabilities, np.float64), np.asarray(true, np.int64)
    found = bits(table, tails)
    for half in (0, 1):
        there, here = slice(1 - half, None, 2), slice(half, None, 2)
        held = believed(table[here], best_scale(table[there], tails[there]), len(tails[there]))
        found[here] = np.log2(table.shape[1]) + np.log2(held[np.arange(len(held)), tails[here]])
    return found


def believed(log_probabilities: Floats, scale: float, known: int) -> Floats:
    """The distributions [n, C] of who takes these for `scale` times as sure, and knows that many other facts."""
    scores = scale * (log_probabilities - log_probabilities.mean(axis=1, keepdims=True))
    doubt = 1 / (known + 2)
    plain = np.exp(log_softmax(scores, axis=1))
    return np.asarray((1 - doubt) * plain + doubt / scores.shape[1], np.float64)


def best_scale(log_probabilities: Floats, true: Int64) -> float:
    """The scale of the grid with the least cross-entropy on these facts; of several the one nearest to 0."""
    rows = np.arange(len(true))
    losses = [-np.log(believed(log_probabilities, s, len(true))[rows, true]).sum() for s in SCALES]
    return float(SCALES[int(np.argmin(losses))])


def suspected(world: World, edge: Edge, heads: ArrayLike, relation: int) -> Floats:
    """What a perfect reasoner holds the heads' tails [n, C] to be who was told everything else of the world.

    For each fact that is asked, everything but this fact itself and the facts of its relation and table about other
    heads, which say nothing of it. The prior is even; then, by Bayes' rule,

    - in a correlated world a subject's object in the other relation has the likelihood P(same) = correlation where it
      is the candidate, and (1 - correlation) / (O - 1) where it is not;
    - in a nested one the subject's nested object rules out what lies elsewhere: O / N candidates are left.

    A subject's nested object follows from its object, so that it is known for sure.
    Raises: ValueError for object_nested, whose facts follow from those of subjects as far as there are any, or for
    facts that the world's config holds impossible.
    """
    asked = np.asarray(heads, np.int64)
    check(
        edge is not Edge.OBJECT_NESTED,
        "edge must be subject_object or subject_nested to say what can be inferred, got object_nested",
    )
    true = world.tails(edge, asked, relation)
    candidates = np.arange(world.num_tails(edge, relation))
    if edge is Edge.SUBJECT_NESTED:
        return np.asarray(true[:, None] == candidates, np.float64)
    config = world.config
    weights = np.ones((len(asked), len(candidates)))
    if config.correlation is not None and relation in (0, 1):
        partner = world.objects(asked, 1 - relation)
        other = (1 - config.correlation) / (config.num_objects - 1)
        weights *= np.where(partner[:, None] == candidates, config.correlation, other)
    if config.num_nested_objects:
        weights *= world.nested(true, relation)[:, None] == world.nested(candidates, relation)
    total = weights.sum(axis=1, keepdims=True)
    check(bool((total > 0).all()), f"heads must have facts that a correlation of {config.correlation} allows")
    return np.asarray(weights / total, np.float64)


def inferable(world: World, edge: Edge, heads: ArrayLike, relation: int) -> Floats:
    """Bits [n] that a perfect reasoner has of these facts without being told them (see suspected()).

    Taken off a model's bits they leave log2 p(true) - log2 q(true), q being the reasoner's: what was stored of the fact
    itself. They are below 0 where a habit of the world misleads, as of a subject whose objects differ in a correlated
    world: there a model that was told has more than log2 C bits of what cannot be inferred.
    Raises: ValueError as suspected() does, or for a fact that the reasoner holds impossible.
    """
    held = suspected(world, edge, heads, relation)
    true = world.tails(edge, np.asarray(heads, np.int64), relation)
    with np.errstate(divide="ignore"):
        return bits(np.log(held), true)
