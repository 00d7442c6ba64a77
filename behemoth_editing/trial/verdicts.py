"""From what was read in every world to what each metric is worth. Runs no model and reads no file.

Axis letters: w worlds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from behemoth_data.settings import check
from behemoth_editing.scoring.intervals import Interval, Share, estimate_mean
from behemoth_editing.scoring.membership import auc
from behemoth_editing.trial.judging import NOTHING, ODD, REFERENCE, TOLD, UNTOLD
from behemoth_editing.trial.metrics import METRICS, WAYS, brought_back, values
from behemoth_editing.trial.readings import Reading

Floats = NDArray[np.float64]

LEAST_WORLDS = 2  # for an interval of other worlds
LEAST_KEPT = 0.8  # of what was to be kept, for an unlearned model to count: a ruined one has forgotten all
LEAST_KNOWN = 0.5  # of the members' facts, said by the told model, for a world to give the scale its two ends
LEAST_GONE = 5  # models that a metric calls gone, for its robustness to be told

Key = tuple[str, str, str]  # model, change, attack

_TOLD, _UNTOLD, _RELEARNED = (TOLD, NOTHING, "none"), (UNTOLD, NOTHING, "none"), (UNTOLD, NOTHING, "relearn")


@dataclasses.dataclass(frozen=True)
class Judged:
    """One world: what every metric says of everything that was read in it."""

    name: str
    family: str
    said: Mapping[Key, Mapping[str, float]]
    kept: Mapping[Key, float]
    back: Mapping[Key, Mapping[str, float]]  # bits that each way brings back, of what was not attacked
    inferable: float  # bits a fact that follow from other facts
    untold_bits: float  # bits a fact that can be read in the untold model

    @property
    def known(self) -> bool:
        """Whether the told model says enough of the members' facts for both ends of the scale to be known."""
        return self.said[_TOLD]["exact_match"] >= LEAST_KNOWN

    def scaled(self, name: str, key: Key) -> float | None:
        """What a metric says, 0 being this world's untold model and 1 its told one; None if it says no more of that."""
        low, high = self.said[_UNTOLD][name], self.said[_TOLD][name]
        return (self.said[key][name] - low) / (high - low) if high > low else None

    @property
    def unlearned(self) -> list[Key]:
        """What was made to forget, and kept enough of the rest to count."""
        made = [key for key in self.back if key[0] == TOLD and key[1] not in (NOTHING, *ODD)]
        return [key for key in made if self.kept[key] >= LEAST_KEPT]

    def attacks(self, key: Key) -> list[str]:
        """The attacks that were tried on it."""
        return [attack for *which, attack in self.said if tuple(which) == key[:2] and attack != "none"]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What one metric is worth; what could not be told is None, and of no model at all missing."""

    name: str
    untold: float  # means over all worlds, in the metric's own units
    told: float
    apart: Interval  # AUC in telling told from untold models, of any two worlds
    own: Interval  # the share of worlds whose told model has more than their untold one, ties counting half
    by_family: Mapping[str, float]  # AUC
    odd: Mapping[tuple[str, str], Interval]  # by model and change, on the scale of each world
    unlearned: Interval | None  # the same of unlearned models
    gain: Interval | None  # the same of untold models after relearning
    gone: int  # unlearned models that the metric takes for untold ones
    relearn: Interval | None  # robustness to relearning of those, in [0, 1]
    rounding: Interval | None  # and to rounding, at its worst
    agreement: Interval | None  # Spearman's correlation with bits that can be brought back, within a world


def judged(world: Mapping[str, Any]) -> Judged:
    """What every metric says in a world, of what judge() read there. Raises: ValueError for one without a reference."""
    rows = {(row["model"], row["change"], row["attack"]): row for row in world["rows"]}
    readings = {key: Reading.from_json(row["reading"]) for key, row in rows.items()}
    reference, never = readings.get((REFERENCE, NOTHING, "none")), readings.get(_UNTOLD)
    if reference is None or never is None:
        raise ValueError(f"rows must have those of {UNTOLD} and {REFERENCE}, got neither in {world['name']}")
    models = {key: one for key, one in readings.items() if key[0] != REFERENCE}
    return Judged(
        name=world["name"],
        family=world["family"],
        said={key: values(one, reference) for key, one in models.items()},
        kept={key: row["kept"] for key, row in rows.items()},
        back={key: brought_back(one, never) for key, one in models.items() if key[2] == "none"},
        inferable=float(never.inferable.mean()),
        untold_bits=float(never.left.mean()),
    )


def by_family(worlds: Sequence[Judged]) -> dict[str, list[Judged]]:
    """The worlds of each family."""
    found: dict[str, list[Judged]] = {}
    for world in worlds:
        found.setdefault(world.family, []).append(world)
    return found


def verdicts(worlds: Sequence[Judged]) -> list[Verdict]:
    """One for every metric that says something in every world, in the order of the table.

    Raises: ValueError for fewer than 2 worlds.
    """
    check(len(worlds) >= LEAST_WORLDS, f"worlds must be at least {LEAST_WORLDS} for a trial, got {len(worlds)}")
    return [_verdict(name, worlds) for name in METRICS if all(name in one.said[_TOLD] for one in worlds)]


def _verdict(name: str, worlds: Sequence[Judged]) -> Verdict:
    told, untold = (_of(name, worlds, key) for key in (_TOLD, _UNTOLD))
    known = [world for world in worlds if world.known]
    attacked = METRICS[name].needs != "relearned"
    gone, relearned, rounded = _robustness(name, known) if attacked else (0, None, None)
    odd = {}
    for key in ((model, change) for model in (TOLD, UNTOLD) for change in ODD):
        found = _mean([(world, world.scaled(name, (*key, "none"))) for world in known])
        if found is not None:
            odd[key] = found
    return Verdict(
        name=name,
        untold=float(untold.mean()),
        told=float(told.mean()),
        apart=separation(told, untold),
        own=_share(float(np.mean((told > untold) + 0.5 * (told == untold))), len(worlds)),
        by_family={
            family: separation(*(_of(name, some, key) for key in (_TOLD, _UNTOLD))).value
            for family, some in by_family(worlds).items()
        },
        odd=odd,
        unlearned=_mean([(world, world.scaled(name, key)) for world in known for key in world.unlearned]),
        gain=_mean([(world, world.scaled(name, _RELEARNED)) for world in known]) if attacked else None,
        gone=gone,
        relearn=relearned,
        rounding=rounded,
        agreement=_mean([(world, _agreement(name, world)) for world in worlds], -1, 1),
    )


def _of(name: str, worlds: Sequence[Judged], key: Key) -> Floats:
    return np.array([world.said[key][name] for world in worlds], np.float64)


def _mean(
    found: Sequence[tuple[Judged, float | None]], lowest: float = -np.inf, highest: float = np.inf
) -> Interval | None:
    """The mean of what there is, with an interval of other worlds; None if there is nothing."""
    there = [(world.name, value) for world, value in found if value is not None]
    if not there:
        return None
    return estimate_mean([value for _, value in there], [name for name, _ in there], lowest, highest).at()


def _share(value: float, count: int) -> Interval:
    """A share of as many answers as there are worlds, with Clopper and Pearson's interval."""
    return Share(value, count, float(count), 1.0, 0, count - 1).at()


def separation(told: Floats, untold: Floats) -> Interval:
    """The chance that a told model has more than an untold one, ties counting half, of models [w] of as many worlds.

    The interval is Clopper and Pearson's of a share of w answers, one for each world: flawless in few worlds is not
    certain. The variance of this chance is never more than theirs for independent samples (Birnbaum and Klose, "Bounds
    for the variance of the Mann-Whitney statistic", 1957), nor for pairs that vary together.
    Source: Hanley and McNeil, "The meaning and use of the area under a ROC curve", 1982.
    """
    return _share(1 - auc(told, untold), len(told))


def _robustness(name: str, worlds: Sequence[Judged]) -> tuple[int, Interval | None, Interval | None]:
    """How many unlearned models the metric calls gone, and how robust it is in that to relearning and to rounding.

    Source: Dorna et al., "OpenUnlearning", 2025 (arXiv 2506.12618), section 4, who ask models that pass for unlearned,
    by the threshold that tells their told and untold models apart best.
    """
    if not worlds:
        return 0, None, None
    bound = threshold(*(_of(name, worlds, key) for key in (_TOLD, _UNTOLD)))
    relearns, rounds, gone = [], [], 0
    for world in worlds:
        for key in world.unlearned:
            before, at_once = world.scaled(name, key), world.said[key][name]
            if before is None or at_once > bound:
                continue
            gone += 1
            after = {attack: world.scaled(name, (*key[:2], attack)) or 0.0 for attack in world.attacks(key)}
            gain = world.scaled(name, _RELEARNED) or 0.0
            relearns.append((world, robustness(gain, after.pop("relearn") - before)))
            rounds.append((world, min(hardiness(before, value) for value in after.values())))
    if gone < LEAST_GONE:
        return gone, None, None
    return gone, _mean(relearns, 0, 1), _mean(rounds, 0, 1)


def threshold(told: Floats, untold: Floats) -> float:
    """The value up to which a model passes for untold: of all, that by which most models are told rightly.

    Of several, the lowest. Source: Youden, "Index for rating diagnostic tests", 1950.
    """
    steps = np.unique(np.concatenate([told, untold]))
    places = [*((steps[:-1] + steps[1:]) / 2), steps[-1]]
    right = [(told > place).mean() + (untold <= place).mean() for place in places]
    return float(places[int(np.argmax(right))])


def robustness(gained_untold: float, gained: float) -> float:
    """min(1, what an untold model gains by relearning over what the unlearned one gains), at least 0; 1 for no gain.

    Low where a metric called knowledge gone that came back faster than it is learned.
    Source: Dorna et al., 2025, section 4 (robustness to relearning, R).
    """
    if gained <= max(gained_untold, 0.0):
        return 1.0
    return max(gained_untold, 0.0) / gained


def hardiness(before: float, after: float) -> float:
    """min(1, before / after) on a scale whose 0 is an untold model, 1 where nothing came back.

    Source: Dorna et al., 2025, section 4 (robustness to quantisation, Q), there of the metric as it is; some of ours
    may be below 0, and most have not 0 for who knows nothing.
    """
    if after <= max(before, 0.0):
        return 1.0
    return max(before, 0.0) / after


def _agreement(name: str, world: Judged) -> float | None:
    """Spearman's correlation with the most bits that can be brought back, over one world's unlearned models.

    None for fewer than three, or where one of the two is the same of all.
    """
    said = [world.said[key][name] for key in world.unlearned]
    back = [max(world.back[key].values()) for key in world.unlearned]
    if len(said) < 3 or len(set(said)) == 1 or len(set(back)) == 1:
        return None
    return float(spearmanr(said, back).statistic)


def left_by(worlds: Sequence[Judged]) -> dict[tuple[str, str], dict[str, Interval]]:
    """For each method and family, and of told models, the bits that each way brings back; ruined models count too."""
    found: dict[tuple[str, str], dict[str, Interval]] = {}
    for change in dict.fromkeys(key[1] for world in worlds for key in world.back if key[0] == TOLD):
        for family, some in by_family(worlds).items() if change not in ODD else ():
            back = [(one.name, one.back[TOLD, change, "none"]) for one in some if (TOLD, change, "none") in one.back]
            if back:
                names = [name for name, _ in back]
                found[change, family] = {w: estimate_mean([one[w] for _, one in back], names).at() for w in WAYS}
    return found
