"""Numbers that findings rest on: a score, or a difference of two over the same edits, with every model's own value."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from behemoth_editing.methods import METHODS
from behemoth_editing.report.pooling import OF_CHANGES, attempted, paired_difference, sample_of
from behemoth_editing.report.summaries import Summary, as_json
from behemoth_editing.scoring.intervals import Estimate, Interval, p_value
from behemoth_editing.scoring.scores import Sample, estimate_of
from behemoth_editing.sweep.identity import model_of
from behemoth_editing.sweep.rows import Row

SURE = 0.9  # edits are made where edit success is clearly above this, which one miss among 75 does not decide
FEWER = 0.1  # a difference in edit success that is worth a word, which one miss among 75 does not decide either
LARGE = 0.05  # a large difference in what is left
SMALL = 0.01  # a difference in what is left that is worth a word
# What findings are about; every other setting is part of how an edit is made.
STUDIED = ("rank", "alpha", "modules", "layers", "layer", "site")
FULL = math.inf  # the rank of a change without a limit


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evidence:
    """A number with its intervals, and what it rests on."""

    estimate: Estimate
    models: int
    edits: int
    failed: int = 0  # cells that it lacks: what it says of them nobody knows, so that it decides nothing

    @property
    def interval(self) -> Interval:
        """The 95% interval."""
        return self.estimate.at()

    def p_above(self, bound: float) -> float:
        """The smallest 1 - level of an interval that lies above the bound; 1 if cells are missing."""
        return 1.0 if self.failed else p_value(self.estimate, bound, above=True)

    def p_below(self, bound: float) -> float:
        """The smallest 1 - level of an interval that lies below the bound; 1 if cells are missing."""
        return 1.0 if self.failed else p_value(self.estimate, bound, above=False)

    def above(self, bound: float) -> bool:
        """Whether the 95% interval lies above the bound."""
        return not self.failed and self.interval.low > bound

    def below(self, bound: float) -> bool:
        """Whether the 95% interval lies below the bound."""
        return not self.failed and self.interval.high < bound


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
            [s for s in found if s.family not in several or s.precision == one or not s.rows],
        )
        for one in dict.fromkeys(summary.precision for summary in found if summary.family in several and summary.rows)
    ]


def _in_several_precisions(found: Iterable[Summary]) -> set[str]:
    had: dict[str, set[str | None]] = {}
    for summary in (summary for summary in found if summary.rows):  # where every cell failed, none is known
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


def _precision(summary: Summary, found: Iterable[Summary]) -> str | None:
    """The summary's precision, or where every cell failed, the one that its method has elsewhere."""
    return next((one.precision for one in (summary, *found) if one.family == summary.family and one.rows), None)


def rank_series(found: Iterable[Summary], least: int = 2) -> list[Series]:
    """The methods of one place that were run at `least` ranks or more; a LoRA's alpha may follow its rank."""
    found = list(found)
    groups: dict[str, list[Summary]] = {}
    for summary in found:
        if rank_of(summary) is not None:
            rest = {name: value for name, value in summary.settings.items() if name not in ("rank", "alpha")}
            key = as_json([summary.place, summary.family, rest, _precision(summary, found)])
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


def score_of(summary: Summary, name: str, chosen: Callable[[Row], bool] = lambda row: True) -> Evidence | None:
    """One of its headline scores, over all its rows unless some are chosen; None where nothing was asked.

    In success a failed cell counts as one in which no edit was made, as in the summary's own; of any other score it is
    missing.
    """
    counted = name in OF_CHANGES
    rows = [row for row in (attempted(summary.rows, summary.failed) if counted else summary.rows) if chosen(row)]
    failed = [] if counted else [row for row in summary.failed if chosen(row)]
    estimate = estimate_of(_sample(rows), name, summary.designs) if rows else None
    if estimate is None:
        return None
    return Evidence(
        estimate=estimate,
        models=len({model_of(row) for row in rows}),
        edits=sum(len(row["units"]) for row in rows),
        failed=len(failed),
    )


def _sample(rows: Sequence[Row]) -> Sample:
    """All units of the rows, which a summary holds to be of one kind."""
    ordered = sorted(rows, key=lambda row: (model_of(row), row["seed"]))
    return Sample(
        [unit for row in ordered for unit in row["units"]],
        [model_of(row) for row in ordered for _ in row["units"]],
        [row["seed"] for row in ordered for _ in row["units"]],
    )


def difference(a: Summary, b: Summary, name: str, chosen: Callable[[Row], bool] = lambda row: True) -> Evidence | None:
    """The score of a minus that of b over the same edits of the same models, paired; None if they share none.

    Cells that failed under one of them are missing from it.
    """
    if a.place != b.place:
        return None
    draws = [{(model_of(row), row["seed"]): row for row in summary.rows if chosen(row)} for summary in (a, b)]
    failed = {(model_of(row), row["seed"]) for summary in (a, b) for row in summary.failed if chosen(row)}
    common = [key for key in draws[0] if key in draws[1]]
    rows_a, rows_b = ([found[key] for key in common] for found in draws)
    if not common or estimate_of(sample_of(rows_a), name) is None:
        return None
    return Evidence(
        estimate=paired_difference(rows_a, rows_b, name),
        models=len({model for model, _ in common}),
        edits=sum(len(row["units"]) for row in rows_a),
        failed=len(failed),
    )


def halves(found: Iterable[Summary]) -> tuple[Callable[[Row], bool], Callable[[Row], bool]]:
    """Which rows something may be picked on, and which it is then judged on: those of every second model, in turn.

    Models are taken in the order of the seeds of their worlds.
    """
    models = {
        (int((row.get("world") or {}).get("seed", 0)), model_of(row))
        for summary in found
        for row in (*summary.rows, *summary.failed)
    }
    first = {model for _, model in sorted(models)[1::2]}
    return (lambda row: model_of(row) in first), (lambda row: model_of(row) not in first)


def single_layers(found: Iterable[Summary]) -> list[dict[str, Summary]]:
    """For every method, its variants in one layer each that differ in layer, module and site only, by their choice."""
    found = list(found)
    groups: dict[str, dict[str, Summary]] = {}
    for summary in found:
        settings = dict(summary.settings)
        layers = settings.get("layers", [settings["layer"]] if "layer" in settings else None)
        if isinstance(layers, list) and len(layers) == 1:
            words = [str(settings[key]) for key in ("modules", "site") if key in settings]
            rest = {k: v for k, v in settings.items() if k not in ("layer", "layers", "modules", "site")}
            key = as_json([summary.place, summary.family, rest, _precision(summary, found)])
            groups.setdefault(key, {})[", ".join([f"layer {layers[0]}", *words])] = summary
    return [group for group in groups.values() if len(group) > 1]
