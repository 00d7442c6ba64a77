"""What was read in models whose late facts are in a known layer, as numbers with intervals. Runs no model.

Axis letters: m facts; L layers into which facts were told. Models of one world are one unit of an interval: they have
the same facts and begin with the same model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from behemoth_data.settings import check
from behemoth_editing.locating.placing import HEADLINES
from behemoth_editing.scoring.intervals import Interval, estimate_mean

Floats = NDArray[np.float64]
Found = Mapping[str, Any]  # one file of what was read in a model

LEAST_MODELS = 2  # worlds, for an interval to be there
TRUE, FIXED = "the true layer", "the layer that is best in the other worlds"


@dataclasses.dataclass(frozen=True)
class Sight:
    """How well one localiser sees in which layer late facts are."""

    name: str
    late: Interval  # AUC: the chance that the true layer has more than another one
    named: Interval  # share of late facts of which the true layer has the most
    beside: Interval  # AUC of what it says beyond its mean over facts that were told from the start
    early: Interval  # AUC of facts told from the start, for the layer of the late ones: what it says of any fact there
    layers: Floats  # [L, L] share of late facts, of models told in one layer, for which each layer has the most


@dataclasses.dataclass(frozen=True)
class Edits:
    """How one method's edits of late facts come out, by one of the HEADLINES, by where they are made."""

    method: str
    measure: str
    true: Interval  # at the layer where the facts are
    elsewhere: Interval  # at the same layers, in models where the facts are in another
    difference: Interval  # layer by layer
    layers: Floats  # [L, L] of models told in one layer, edited in each; nan where nothing could be counted


def layer_auc(said: Floats, true: int) -> Floats:
    """For each fact [m] the share of other layers of which it is said less [m, L] than of the true one; ties half.

    The mean over models of every layer is 0.5 for who says the same of all of them.
    """
    others = np.delete(said, true, axis=1)
    own = said[:, true : true + 1]
    found: Floats = ((own > others) + 0.5 * (own == others)).mean(axis=1)
    return found


def most(said: Floats) -> Floats:
    """1 where a layer has the most of a fact [m, L], shared among those that have equally much."""
    top = said == said.max(axis=1, keepdims=True)
    found: Floats = top / top.sum(axis=1, keepdims=True)
    return found


def layers_of_all(models: Sequence[Found]) -> list[int]:
    """The layers into which facts were told, in order.

    Raises: ValueError for models of fewer than 2 worlds, or a world that was not read in each of the layers.
    """
    layers = sorted({one["layer"] for one in models})
    worlds = {one["model"] for one in models}
    check(len(worlds) >= LEAST_MODELS, f"models must be of at least {LEAST_MODELS} worlds, got {len(worlds)}")
    for world in sorted(worlds):
        own = sorted(one["layer"] for one in models if one["model"] == world)
        check(own == layers, f"{world} must have been read in layers {layers}, got {own}")
    return layers


def sights(models: Sequence[Found]) -> list[Sight]:
    """One for each localiser. Raises: ValueError as layers_of_all() does."""
    layers = layers_of_all(models)
    return [_sight(name, models, layers) for name in models[0]["said"]]


def _sight(name: str, models: Sequence[Found], layers: Sequence[int]) -> Sight:
    said = {
        group: [np.array(one["said"][name][group], np.float64)[:, layers] for one in models]
        for group in ("late", "early")
    }
    true = [layers.index(one["layer"]) for one in models]
    beside = [late - early.mean(axis=0) for late, early in zip(said["late"], said["early"], strict=True)]

    def mean(values: Sequence[Floats], of: Callable[[Floats, int], Floats]) -> Interval:
        found = [float(of(value, place).mean()) for value, place in zip(values, true, strict=True)]
        return estimate_mean(found, [one["model"] for one in models], 0, 1).at()

    tops = np.array([most(one).mean(axis=0) for one in said["late"]])
    return Sight(
        name=name,
        late=mean(said["late"], layer_auc),
        named=mean(said["late"], lambda one, place: most(one)[:, place]),
        beside=mean(beside, layer_auc),
        early=mean(said["early"], layer_auc),
        layers=np.array([tops[np.array(true) == place].mean(axis=0) for place in range(len(layers))]),
    )


def table_of(models: Sequence[Found], method: str, measure: str) -> dict[str, Floats]:
    """By world, a measure of the method's edits [L, L] in the model told in one layer, made at each.

    A method that failed made no edit; of other measures that is nan, as where nothing could be counted.
    """
    layers, found = layers_of_all(models), dict[str, Floats]()
    for one in models:
        table = found.setdefault(one["model"], np.full((len(layers), len(layers)), np.nan))
        for row in one["rows"]:
            if row["method"] == method and row["layer"] in layers:
                value = row.get(measure)
                failed = 0.0 if "error" in row and measure in ("success", "paraphrase") else np.nan
                table[layers.index(one["layer"]), layers.index(row["layer"])] = failed if value is None else value
    return found


def edits(models: Sequence[Found]) -> list[Edits]:
    """One for each method and measure of which something could be counted at every layer.

    Raises: ValueError as layers_of_all() does.
    """
    methods = dict.fromkeys(row["method"] for one in models for row in one["rows"])
    found = []
    for method in methods:
        for measure in HEADLINES:
            tables = table_of(models, method, measure)
            if not any(np.isnan(table).any() for table in tables.values()):
                found.append(_edits(method, measure, tables))
    return found


def _edits(method: str, measure: str, tables: Mapping[str, Floats]) -> Edits:
    names, true, elsewhere = list[str](), list[float](), list[float]()
    for name, table in tables.items():
        for layer in range(len(table)):
            names.append(name)
            true.append(float(table[layer, layer]))
            elsewhere.append(float(np.delete(table[:, layer], layer).mean()))
    return Edits(
        method=method,
        measure=measure,
        true=estimate_mean(true, names, 0, 1).at(),
        elsewhere=estimate_mean(elsewhere, names, 0, 1).at(),
        difference=estimate_mean(np.subtract(true, elsewhere), names, -1, 1).at(),
        layers=np.mean(list(tables.values()), axis=0),
    )


def choices(models: Sequence[Found], method: str) -> dict[str, dict[str, Interval]]:
    """By who chooses the layer at which a method edits, each measure of its edits there.

    A localiser chooses the layer that most late facts of the model name. The best of the other worlds is the layer with
    the highest mean success over all their models, of several the one with the higher collateral accuracy.
    """
    layers = layers_of_all(models)
    tables = {measure: table_of(models, method, measure) for measure in HEADLINES}
    names = [one["model"] for one in models]
    chosen: dict[str, list[int]] = {TRUE: [layers.index(one["layer"]) for one in models]}
    chosen[FIXED] = [_best(tables, name) for name in names]
    for localiser in models[0]["said"]:
        tops = [most(np.array(one["said"][localiser]["late"], np.float64)[:, layers]).mean(axis=0) for one in models]
        chosen[localiser] = [int(np.argmax(top)) for top in tops]
    found: dict[str, dict[str, Interval]] = {}
    for who, places in chosen.items():
        for measure in HEADLINES:
            values = [
                tables[measure][one["model"]][layers.index(one["layer"]), place]
                for one, place in zip(models, places, strict=True)
            ]
            if np.isfinite(values).all():
                found.setdefault(who, {})[measure] = estimate_mean(values, names, 0, 1).at()
    return found


def _best(tables: Mapping[str, Mapping[str, Floats]], left_out: str) -> int:
    """The edited layer that is best in all worlds but one."""
    means = [
        np.mean([table.mean(axis=0) for name, table in tables[measure].items() if name != left_out], axis=0)
        for measure in ("success", "collateral")
    ]
    return max(range(len(means[0])), key=lambda layer: (means[0][layer], np.nan_to_num(means[1][layer], nan=-1.0)))
