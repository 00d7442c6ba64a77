"""What was read in models whose late facts are in a known layer, as numbers with intervals. Runs no model.

Axis letters: m facts; L layers into which facts were told. Models of one world, its *copies*, are one unit of an
interval: they have the same facts and begin with the same model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from behemoth_data.settings import check
from behemoth_editing.locating.placing import KEPT, MADE
from behemoth_editing.scoring.intervals import Interval, estimate_difference, estimate_share

Floats = NDArray[np.float64]
Found = Mapping[str, Any]  # one file of what was read in a model
_One = TypeVar("_One", bound=Found)

LEAST_WORLDS = 2  # for an interval to be there
TRUE, FIXED = "the true layer", "the layer that is best in the other worlds"
MEASURES = (*MADE, *KEPT)


@dataclasses.dataclass(frozen=True)
class Sight:
    """How well one localiser sees in which layer late facts are."""

    name: str
    layers: Interval  # AUC: the chance that the true layer has more of a late fact than another layer
    named: Interval  # share of late facts of which the true layer has the most
    copies: Interval  # AUC: the chance that a layer has more of a fact that was told there than in another copy
    early_layers: Interval  # the first of facts told from the start, for the layer of the late ones
    early_named: Interval  # the second of them
    early_copies: Interval  # the third of them
    by_layer: Floats  # [L] the first, by the true layer
    names: Floats  # [L, L] share of late facts, of copies told in one layer, for which each layer has the most


@dataclasses.dataclass(frozen=True)
class Edits:
    """How one method's edits of late facts come out, by one of the MEASURES, by where they are made."""

    method: str
    measure: str
    there: Interval  # at the layer where the facts are
    elsewhere: Interval  # at the same layers, in copies whose facts are in another
    difference: Interval  # layer by layer
    table: Floats  # [L, L] of copies told in one layer, edited in each; nan where nothing could be counted


def layer_auc(said: Floats, true: int) -> Floats:
    """For each fact [m] the share of other layers of which it is said less [m, L] than of the true one; ties half.

    The mean over models of every layer is 0.5 for who says the same of all of them.
    """
    own, others = said[:, true : true + 1], np.delete(said, true, axis=1)
    found: Floats = ((own > others) + 0.5 * (own == others)).mean(axis=1)
    return found


def most(said: Floats) -> Floats:
    """1 where a layer has the most of a fact [m, L], shared among those that have equally much."""
    top = said == said.max(axis=1, keepdims=True)
    found: Floats = top / top.sum(axis=1, keepdims=True)
    return found


def whole_worlds(models: Sequence[_One], layers: Collection[int]) -> tuple[list[_One], list[str]]:
    """The models of those worlds that were read in every one of these layers, and the names of the other worlds."""
    worlds = dict.fromkeys(one["model"] for one in models)
    missing = [name for name in worlds if {one["layer"] for one in models if one["model"] == name} != set(layers)]
    return [one for one in models if one["model"] not in missing], missing


def layers_of_all(models: Sequence[Found]) -> list[int]:
    """The layers into which facts were told, in order.

    Raises: ValueError for models of fewer than 2 worlds, or a world that was not read in each of the layers.
    """
    layers, worlds = sorted({one["layer"] for one in models}), {one["model"] for one in models}
    check(len(worlds) >= LEAST_WORLDS, f"models must be of at least {LEAST_WORLDS} worlds, got {len(worlds)}")
    _, missing = whole_worlds(models, layers)
    check(not missing, f"models must have every layer of {layers} for each world, got others of {missing}")
    return layers


def sights(models: Sequence[Found]) -> list[Sight]:
    """One for each localiser. Raises: ValueError as layers_of_all() does."""
    layers = layers_of_all(models)
    return [_sight(name, models, layers) for name in models[0]["said"]]


def _sight(name: str, models: Sequence[Found], layers: Sequence[int]) -> Sight:
    true = [layers.index(one["layer"]) for one in models]
    late, early = (
        [np.array(one["said"][name][group], np.float64)[:, layers] for one in models] for group in ("late", "early")
    )
    by_layer = [layer_auc(said, place) for said, place in zip(late, true, strict=True)]
    tops = np.array([most(said).mean(axis=0) for said in late])
    return Sight(
        name=name,
        layers=_of_facts(models, by_layer),
        named=_of_facts(models, [most(said)[:, place] for said, place in zip(late, true, strict=True)]),
        copies=_of_facts(models, list(_copy_auc(name, "late", models))),
        early_layers=_of_facts(models, [layer_auc(said, place) for said, place in zip(early, true, strict=True)]),
        early_named=_of_facts(models, [most(said)[:, place] for said, place in zip(early, true, strict=True)]),
        early_copies=_of_facts(models, list(_copy_auc(name, "early", models))),
        by_layer=np.array([_mean(by_layer, true, place) for place in range(len(layers))]),
        names=np.array([tops[np.array(true) == place].mean(axis=0) for place in range(len(layers))]),
    )


def _copy_auc(name: str, group: str, models: Sequence[Found]) -> Iterator[Floats]:
    """For each model, of its facts [m] the share of its world's other copies that say less of them in its layer."""
    said = [dict(zip(one["heads"][group], one["said"][name][group], strict=True)) for one in models]
    for one, own in zip(models, said, strict=True):
        layer, found = one["layer"], list[float]()
        others = [
            of for other, of in zip(models, said, strict=True) if other["model"] == one["model"] and of is not own
        ]
        for head, numbers in own.items():
            there = [of[head][layer] for of in others if head in of]
            if there:
                found.append(float(np.mean([(numbers[layer] > n) + 0.5 * (numbers[layer] == n) for n in there])))
        yield np.array(found)


def _mean(values: Sequence[Floats], true: Sequence[int], place: int) -> float:
    return float(np.mean([value.mean() for value, at in zip(values, true, strict=True) if at == place]))


def _of_facts(models: Sequence[Found], values: Sequence[Floats]) -> Interval:
    """The mean over facts of numbers from 0 to 1, as a share of the facts, whose interval has two ends at 1 too."""
    sums: dict[str, Floats] = {}
    for one, value in zip(models, values, strict=True):
        sums.setdefault(one["model"], np.zeros(2))[:] += value.sum(), len(value)
    found = np.array(list(sums.values()))
    return estimate_share(np.rint(found[:, :1]), found[:, 1:], list(sums)).at()


def counts_of(models: Sequence[Found], method: str, measure: str) -> dict[str, Floats]:
    """By world, counts [L, L, 2] of a measure of the method's edits: in copies told in one layer, made at each.

    Of a method that failed no edit is made, and what it keeps is not counted: 0 of 0.
    """
    layers, found = layers_of_all(models), dict[str, Floats]()
    for one in models:
        table = found.setdefault(one["model"], np.zeros((len(layers), len(layers), 2)))
        asked = max((row[measure][1] for row in one["rows"] if "error" not in row and measure in MADE), default=0)
        for row in one["rows"]:
            if row["method"] == method and row["layer"] in layers:
                place = layers.index(one["layer"]), layers.index(row["layer"])
                table[place] = (0, asked) if "error" in row else row[measure]
    return found


def edits(models: Sequence[Found]) -> list[Edits]:
    """One for each method and each measure of which something was counted there and elsewhere.

    Raises: ValueError as layers_of_all() does.
    """
    methods = dict.fromkeys(row["method"] for one in models for row in one["rows"])
    pairs = [(method, measure, counts_of(models, method, measure)) for method in methods for measure in MEASURES]
    return [found for pair in pairs if (found := _edits(*pair)) is not None]


def _edits(method: str, measure: str, counts: Mapping[str, Floats]) -> Edits | None:
    names, there, elsewhere = list[str](), list[Floats](), list[Floats]()
    gained: dict[str, list[tuple[float, float]]] = {}
    for name, table in counts.items():
        for layer in range(len(table)):
            own, others = table[layer, layer], np.delete(table[:, layer], layer, axis=0).sum(axis=0)
            if own[1] and others[1]:
                names.append(name)
                there.append(own)
                elsewhere.append(others)
                gained.setdefault(name, []).append((own[0] - own[1] * others[0] / others[1], own[1]))
    if not names:
        return None
    own, others = np.array(there), np.array(elsewhere)
    sums = np.array([np.sum(pairs, axis=0) for pairs in gained.values()])  # of each world
    return Edits(
        method=method,
        measure=measure,
        there=estimate_share(own[:, :1], own[:, 1:], names).at(),
        elsewhere=estimate_share(others[:, :1], others[:, 1:], names).at(),
        difference=estimate_difference(np.rint(sums[:, :1]), sums[:, 1:], list(gained)).at(),
        table=_shares(np.sum(list(counts.values()), axis=0)),
    )


def _shares(counts: Floats) -> Floats:
    found: Floats = np.divide(
        counts[..., 0], counts[..., 1], out=np.full(counts.shape[:-1], np.nan), where=counts[..., 1] > 0
    )
    return found


def choices(models: Sequence[Found], method: str) -> dict[str, tuple[Interval, Interval | None]]:
    """By who chooses the layer at which a method edits: edit success there, and the share of known facts kept.

    A localiser chooses the layer that most late facts of the model name. The best of the other worlds is the layer with
    the highest sum of mean success and mean share kept, over all their models.
    """
    layers, names = layers_of_all(models), [one["model"] for one in models]
    made = counts_of(models, method, "success")
    by_measure = [counts_of(models, method, measure) for measure in KEPT]
    kept = {name: np.sum([counts[name] for counts in by_measure], axis=0) for name in made}
    chosen = {TRUE: [layers.index(one["layer"]) for one in models], FIXED: [_best(made, kept, name) for name in names]}
    for localiser in models[0]["said"]:
        tops = [most(np.array(one["said"][localiser]["late"], np.float64)[:, layers]).mean(axis=0) for one in models]
        chosen[localiser] = [int(np.argmax(top)) for top in tops]
    found: dict[str, tuple[Interval, Interval | None]] = {}
    for who, places in chosen.items():
        pair = []
        for counts in (made, kept):
            at = np.array(
                [
                    counts[one["model"]][layers.index(one["layer"]), place]
                    for one, place in zip(models, places, strict=True)
                ]
            )
            pair.append(estimate_share(at[:, :1], at[:, 1:], names).at() if at[:, 1].any() else None)
        if pair[0] is not None:
            found[who] = pair[0], pair[1]
    return found


def _best(made: Mapping[str, Floats], kept: Mapping[str, Floats], left_out: str) -> int:
    """The edited layer that is best in all worlds but one."""
    both = (
        _shares(np.sum([table.sum(axis=0) for name, table in counts.items() if name != left_out], axis=0))
        for counts in (made, kept)
    )
    return int(np.argmax(sum(map(np.nan_to_num, both))))
