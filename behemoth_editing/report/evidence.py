"""Numbers that findings rest on: a score, or a difference of two over the same edits, with every model's own value."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from behemoth_editing.methods import METHODS
from behemoth_editing.report.pooling import paired_difference
from behemoth_editing.report.summaries import Summary, as_json, resamples_for
from behemoth_editing.scoring.intervals import Interval
from behemoth_editing.scoring.scores import score_units
from behemoth_editing.sweep.identity import model_of
from behemoth_editing.sweep.rows import Row

SURE = 0.95  # edits are made where edit success is clearly above this
LARGE = 0.05  # a large difference
SMALL = 0.01  # a difference in what is left that is worth a word
# What findings are about; every other setting is part of how an edit is made.
STUDIED = ("rank", "alpha", "modules", "layers", "layer", "site")
FULL = math.inf  # the rank of a change without a limit


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evidence:
    """A number with its interval, the same number in every model alone, and the edits behind it."""

    interval: Interval
    by_model: dict[str, float]  # by the digest of its weights
    edits: int

    def above(self, bound: float) -> bool:
        """Whether the number is clearly above the bound."""
        return self.interval.low > bound and all(value > bound for value in self.by_model.values())

    def below(self, bound: float) -> bool:
        """Whether the number is clearly below the bound."""
        return self.interval.high < bound and all(value < bound for value in self.by_model.values())


# What a rule reads


def changed(summary: Summary) -> dict[str, object]:
    """The settings that findings are not about and that are not the method's defaults."""
    if summary.family not in METHODS:
        return {}
    defaults = json.loads(json.dumps(dataclasses.asdict(METHODS[summary.family]())))  # type: ignore[call-overload]
    return {
        name: value
        for name, value in summary.settings.items()
        if name not in STUDIED and name in defaults and as_json(defaults[name]) != as_json(value)
    }


def as_by_default(found: Iterable[Summary]) -> list[Summary]:
    """The summaries that differ from their methods' defaults in what findings are about at most."""
    return [summary for summary in found if not changed(summary)]


def by_precision(found: Sequence[Summary]) -> list[tuple[str, list[Summary]]]:
    """The summaries once for each precision that a method has beside others, with words for it; the rest in all."""
    several = _in_several_precisions(found)
    if not several:
        return [("", list(found))]
    return [
        (
            f", in {one or 'unknown precision'}",
            [summary for summary in found if summary.family not in several or summary.precision == one],
        )
        for one in dict.fromkeys(summary.precision for summary in found if summary.family in several)
    ]


def _in_several_precisions(found: Iterable[Summary]) -> set[str]:
    had: dict[str, set[str | None]] = {}
    for summary in found:
        had.setdefault(summary.family, set()).add(summary.precision)
    return {family for family, ones in had.items() if len(ones) > 1}


class _About(Protocol):
    @property
    def about(self) -> str: ...  # the methods, and where they were used


_Said = TypeVar("_Said", bound=_About)


def each_precision(
    found: Sequence[Summary], say: Callable[[Sequence[Summary]], list[_Said]], name: Callable[[_Said, str], _Said]
) -> list[_Said]:
    """What is said of the summaries of each precision, named by its words; of methods with one precision only once."""
    several = _in_several_precisions(found)
    result: list[_Said] = []
    for words, part in by_precision(found):
        for one in say(part):
            if several & set(re.findall(r"\w+", one.about)):
                result.append(name(one, words))
            elif one not in result:
                result.append(one)
    return result


@dataclasses.dataclass(frozen=True, kw_only=True)
class Series:
    """One method in one place at several ranks, everything else the same."""

    method: str
    settings: dict[str, object]  # without what varies
    by_rank: dict[float, Summary]  # ascending

    @property
    def where(self) -> str:
        """The modules and layers that it changes."""
        return where(self.settings)

    @property
    def about(self) -> str:
        """The method and the layers that it changes."""
        return f"{self.method}, {layers_in_words(self.settings.get('layers'))}"


def rank_of(summary: Summary) -> float | None:
    """The limit on its changes' rank; FULL for none or one above what matrices have; None without such a setting."""
    if "rank" not in summary.settings:
        return None
    rank = summary.settings["rank"]
    if not isinstance(rank, int | float | None):
        return None  # another method's word for something else
    reached = [part.get("rank") for row in summary.rows for part in _parts(row.get("details"))]
    clamped = rank is not None and any(isinstance(one, int | float) and one < rank for one in reached)
    return FULL if rank is None or clamped else float(rank)


def _parts(details: object) -> list[dict[str, object]]:
    return [part for part in details if isinstance(part, dict)] if isinstance(details, list) else []


def rank_series(found: Iterable[Summary], least: int = 2) -> list[Series]:
    """The methods of one place that were run at `least` ranks or more; a LoRA's alpha may follow its rank."""
    groups: dict[str, list[Summary]] = {}
    for summary in found:
        if rank_of(summary) is not None:
            rest = {name: value for name, value in summary.settings.items() if name not in ("rank", "alpha")}
            key = as_json([summary.place, summary.family, rest, summary.precision])
            groups.setdefault(key, []).append(summary)
    result = []
    for group in groups.values():
        ranks = [rank_of(summary) for summary in group]
        if len(set(ranks)) < len(ranks):  # one rank with several alphas: each alpha is a series of its own
            parts = [
                [s for s in group if s.settings.get("alpha") == alpha]
                for alpha in dict.fromkeys(summary.settings.get("alpha") for summary in group)
            ]
        else:
            parts = [group]
        for part in parts:
            by_rank = {rank: summary for summary in part if (rank := rank_of(summary)) is not None}
            if len(by_rank) >= least:
                settings = {k: v for k, v in part[0].settings.items() if k not in ("rank", "alpha")}
                ordered = dict(sorted(by_rank.items()))
                result.append(Series(method=part[0].family, settings=settings, by_rank=ordered))
    return result


def rank_in_words(rank: float) -> str:
    """The rank as a number, or "full"."""
    return "full" if math.isinf(rank) else f"{rank:.0f}"


def layers_in_words(layers: object) -> str:
    """Layers as in "layers 2+3" or "all layers"."""
    if isinstance(layers, list | tuple):
        return f"layer{'s' if len(layers) > 1 else ''} {'+'.join(map(str, layers))}"
    return "all layers" if layers is None else f"layer {layers}"


def where(settings: dict[str, object]) -> str:
    """Modules and layers as in "mlp, layers 2+3"."""
    words = [str(settings["modules"])] if "modules" in settings else []
    key = "layers" if "layers" in settings else "layer"
    return ", ".join([*words, *([layers_in_words(settings[key])] if key in settings else [])])


def score_of(summary: Summary, name: str, rows: Sequence[Row] | None = None) -> Evidence | None:
    """One of its headline scores, over all its rows unless some are given; None where nothing was asked."""
    chosen = summary.rows if rows is None else rows
    if not chosen:
        return None
    pooled = summary.score(name) if rows is None else _pooled(chosen, name)
    if pooled is None:
        return None
    values = {model: _pooled([row for row in chosen if model_of(row) == model], name, 100) for model in _models(chosen)}
    return Evidence(
        interval=Interval(pooled["value"], pooled["low"], pooled["high"], int(pooled["count"])),
        by_model={model: score["value"] for model, score in values.items() if score is not None},
        edits=sum(len(row["units"]) for row in chosen),
    )


def _pooled(rows: Sequence[Row], name: str, resamples: int = 2000) -> dict[str, float] | None:
    units = [unit for row in rows for unit in row["units"]]
    groups = [(model_of(row), row["seed"]) for row in rows for _ in row["units"]]
    found: dict[str, float] | None = score_units(units, groups, resamples=min(resamples, resamples_for(len(units))))[
        name
    ]
    return found


def _models(rows: Iterable[Row]) -> list[str]:
    return list(dict.fromkeys(map(model_of, rows)))


def difference(a: Summary, b: Summary, name: str, chosen: Callable[[Row], bool] = lambda row: True) -> Evidence | None:
    """The score of a minus that of b over the same edits of the same models, paired; None if they share none."""
    if a.place != b.place:
        return None
    draws = [{(model_of(row), row["seed"]): row for row in summary.rows if chosen(row)} for summary in (a, b)]
    common = [key for key in draws[0] if key in draws[1]]
    if not common or a.score(name) is None or b.score(name) is None:
        return None
    rows_a, rows_b = ([found[key] for key in common] for found in draws)
    edits = sum(len(row["units"]) for row in rows_a)
    by_model = {}
    for model in _models(rows_a):
        own_a, own_b = ([row for row in rows if model_of(row) == model] for rows in (rows_a, rows_b))
        by_model[model] = paired_difference(own_a, own_b, name, resamples=100).value
    interval = paired_difference(rows_a, rows_b, name, resamples=resamples_for(edits))
    return Evidence(interval=interval, by_model=by_model, edits=edits)


def single_layers(found: Iterable[Summary]) -> list[dict[str, Summary]]:
    """For every method, its variants in one layer each that differ in layer, module and site only, by their choice."""
    groups: dict[str, dict[str, Summary]] = {}
    for summary in found:
        settings = dict(summary.settings)
        layers = settings.get("layers", [settings["layer"]] if "layer" in settings else None)
        if isinstance(layers, list) and len(layers) == 1:
            words = [str(settings[key]) for key in ("modules", "site") if key in settings]
            rest = {k: v for k, v in settings.items() if k not in ("layer", "layers", "modules", "site")}
            key = as_json([summary.place, summary.family, rest, summary.precision])
            groups.setdefault(key, {})[", ".join([f"layer {layers[0]}", *words])] = summary
    return [group for group in groups.values() if len(group) > 1]
