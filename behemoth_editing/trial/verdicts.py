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

LEAST_KEPT = 0.8  # of what was to be kept, for an unlearned model to count: a ruined one has forgotten all

Key = tuple[str, str, str]  # model, change, attack


@dataclasses.dataclass(frozen=True)
class Judged:
    """One world: what every metric says of everything that was read in it."""

    name: str
    family: str
    said: Mapping[Key, Mapping[str, float]]
    kept: Mapping[Key, float]
    back: Mapping[Key, Mapping[str, float]]  # bits that each way brings back, of what was not attacked


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What one metric is worth; what could not be told is None."""

    name: str
    apart: Interval  # AUC in telling told from untold models, all families together
    by_family: Mapping[str, Interval]
    # By model and change: 0 as of untold models, 1 as of told ones; none for a metric that says no more of these.
    odd: Mapping[tuple[str, str], float]
    unlearned: Interval | None  # the same of unlearned models
    relearn: Interval | None  # robustness to relearning, in [0, 1]
    rounding: Interval | None  # and to rounding, at its worst
    agreement: Interval | None  # Spearman's correlation with bits that can be brought back, over unlearned models


def judged(world: Mapping[str, Any]) -> Judged:
    """What every metric says in a world, of what judge() read there. Raises: ValueError for one without a reference."""
    rows = {(row["model"], row["change"], row["attack"]): row for row in world["rows"]}
    readings = {key: Reading.from_json(row["reading"]) for key, row in rows.items()}
    reference, never = readings.get((REFERENCE, NOTHING, "none")), readings.get((UNTOLD, NOTHING, "none"))
    if reference is None or never is None:
        raise ValueError(f"rows must have those of {UNTOLD} and {REFERENCE}, got neither in {world['name']}")
    models = {key: one for key, one in readings.items() if key[0] != REFERENCE}
    return Judged(
        name=world["name"],
        family=world["family"],
        said={key: values(one, reference) for key, one in models.items()},
        kept={key: row["kept"] for key, row in rows.items()},
        back={key: brought_back(one, never) for key, one in models.items() if key[2] == "none"},
    )


def verdicts(worlds: Sequence[Judged]) -> list[Verdict]:
    """One for every metric that says something in every world, in the order of the table.

    Raises: ValueError for fewer than 2 worlds.
    """
    check(len(worlds) >= 2, f"worlds must be at least 2 for a trial, got {len(worlds)}")
    said = [world.said[TOLD, NOTHING, "none"] for world in worlds]
    return [_verdict(name, worlds) for name in METRICS if all(name in one for one in said)]


def _verdict(name: str, worlds: Sequence[Judged]) -> Verdict:
    told, untold = (_of(name, worlds, (model, NOTHING, "none")) for model in (TOLD, UNTOLD))
    low, high = float(untold.mean()), float(told.mean())
    scaled = high > low

    def on_scale(found: Floats | float) -> Floats:
        return (np.asarray(found, np.float64) - low) / (high - low)

    relearns, rounds, at_once = list[float](), list[float](), list[float]()
    labels, ranks = list[str](), list[tuple[str, float, float]]()
    for world in worlds:
        for key in unlearned(world):
            labels.append(world.name)
            ranks.append((world.name, world.said[key][name], max(world.back[key].values())))
            if scaled:
                at_once.append(float(on_scale(world.said[key][name])))
            if METRICS[name].needs == "relearned":
                continue
            after = {attack: world.said[(*key[:2], attack)][name] for attack in attacks(world, key)}
            gain = world.said[UNTOLD, NOTHING, "relearn"][name] - world.said[UNTOLD, NOTHING, "none"][name]
            relearns.append(robustness(gain, after.pop("relearn") - world.said[key][name]))
            if scaled:
                rounds.append(min(hardiness(at_once[-1], float(on_scale(value))) for value in after.values()))
    families: dict[str, list[Judged]] = {}
    for world in worlds:
        families.setdefault(world.family, []).append(world)
    return Verdict(
        name=name,
        apart=separation(told, untold),
        by_family={
            family: separation(*(_of(name, some, (model, NOTHING, "none")) for model in (TOLD, UNTOLD)))
            for family, some in families.items()
        },
        odd={
            (model, change): float(on_scale(_of(name, worlds, (model, change, "none"))).mean())
            for model in (TOLD, UNTOLD)
            for change in ODD
            if scaled
        },
        unlearned=estimate_mean(at_once, labels).at() if at_once else None,
        relearn=estimate_mean(relearns, labels, 0, 1).at() if relearns else None,
        rounding=estimate_mean(rounds, labels, 0, 1).at() if rounds else None,
        agreement=_agreement(ranks),
    )


def left_by(worlds: Sequence[Judged]) -> dict[tuple[str, str], dict[str, Interval]]:
    """For each method and family, and of told models, the bits that each way brings back; ruined models count too."""
    found: dict[tuple[str, str], dict[str, Interval]] = {}
    for change in dict.fromkeys(key[1] for world in worlds for key in world.back if key[0] == TOLD):
        for family in dict.fromkeys(world.family for world in worlds) if change not in ODD else ():
            here = [world for world in worlds if world.family == family and (TOLD, change, "none") in world.back]
            back, names = [world.back[TOLD, change, "none"] for world in here], [world.name for world in here]
            if here:
                found[change, family] = {w: estimate_mean([one[w] for one in back], names).at() for w in WAYS}
    return found


def _of(name: str, worlds: Sequence[Judged], key: Key) -> Floats:
    return np.array([world.said[key][name] for world in worlds], np.float64)


def unlearned(world: Judged) -> list[Key]:
    """What was made to forget in the world, and kept enough of the rest to count."""
    return [
        key for key in world.back if key[0] == TOLD and key[1] not in (NOTHING, *ODD) and world.kept[key] >= LEAST_KEPT
    ]


def attacks(world: Judged, key: Key) -> list[str]:
    """The attacks that were tried on it."""
    return [attack for *which, attack in world.said if tuple(which) == key[:2] and attack != "none"]


def separation(told: Floats, untold: Floats) -> Interval:
    """The chance that a told model has more than an untold one, ties counting half, of models [w] of as many worlds.

    The interval is Clopper and Pearson's of a share of w answers, one for each world: on the safe side, since a world's
    part in this chance varies less than hit or miss, and flawless in few worlds is not certain.
    Source: Hanley and McNeil, "The meaning and use of the area under a ROC curve", 1982.
    """
    count = len(told)
    return Share(1 - auc(told, untold), count, float(count), 1.0, 0, count - 1).at()


def robustness(gained_untold: float, gained: float) -> float:
    """min(1, what an untold model gains by relearning over what the unlearned one gains), at least 0; 1 for no gain.

    Low where a metric called knowledge gone that came back faster than it is learned.
    Source: Dorna et al., "OpenUnlearning", 2025 (arXiv 2506.12618), section 4 (robustness to relearning, R).
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


def _agreement(ranks: Sequence[tuple[str, float, float]]) -> Interval | None:
    """Spearman's correlation, by the jackknife over worlds.

    Source: Tukey, "Bias and confidence in not quite large samples", 1958; the interval is a t of w - 1.
    """
    names = list(dict.fromkeys(name for name, _, _ in ranks))
    if len(names) < 3:
        return None

    def correlation(without: str | None) -> float:
        some = [(said, back) for name, said, back in ranks if name != without]
        said, back = zip(*some, strict=True)
        return float(spearmanr(said, back).statistic) if len(set(said)) > 1 and len(set(back)) > 1 else 0.0

    whole = correlation(None)
    pseudo = [len(names) * whole - (len(names) - 1) * correlation(name) for name in names]
    found = estimate_mean(pseudo, names, -1, 1).at()
    return dataclasses.replace(found, value=whole, count=len(ranks))
