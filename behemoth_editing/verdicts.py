"""Findings put to the test: a claim, the rule that decides it, and what the rule says of each world. No figures.

A rule compares an interval with a bound. "Clearly above" a bound means that the interval lies above it and that the
value of every single model does; "clearly below" likewise. Fewer than three models decide nothing. A method is judged
as it is by default, but for where and at which rank it changes a model.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from behemoth_editing import METHODS
from behemoth_editing.identity import model_of
from behemoth_editing.result_file import Row
from behemoth_editing.results import Summary, as_json, resamples_for
from behemoth_editing.statistics import Interval, paired_difference, score_units

SURE = 0.95  # edits are made where edit success is clearly above this
LARGE = 0.05  # a large difference
SMALL = 0.01  # a difference in what is left that is worth a word
MIN_MODELS = 3
# What findings are about; every other setting is part of how an edit is made.
STUDIED = ("rank", "alpha", "modules", "layers", "layer", "site")
FULL = math.inf  # the rank of a change without a limit

HOLDS, FAILS, OPEN = "holds", "does not hold", "undecided"
ANSWERS = (HOLDS, FAILS, OPEN)


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a rule says of one finding in one world."""

    finding: str
    world: str
    about: str  # the method, and where it was used
    answer: str
    effect: str  # what `evidence` measures
    evidence: Evidence | None
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """A claim, its rule in words, and the rule in code, which gives its verdicts on the summaries of one world."""

    name: str
    claim: str
    criterion: str
    judge: Callable[[str, Sequence[Summary]], list[Verdict]] | None


def verdicts(found: Sequence[Summary]) -> list[Verdict]:
    """The verdicts on all findings, world after world; a finding that nothing was run for has none."""
    scored = [summary for summary in as_by_default(found) if summary.scores is not None]
    return each_precision(
        scored, _verdicts, lambda verdict, words: dataclasses.replace(verdict, world=verdict.world + words)
    )


def _verdicts(scored: Sequence[Summary]) -> list[Verdict]:
    """The verdicts on summaries in which each method has one precision."""
    result: list[Verdict] = []
    for finding in FINDINGS:
        if finding.judge is None:
            result += _forgetting_by_structure(result)
            continue
        for world in dict.fromkeys(summary.world for summary in scored):
            result += finding.judge(finding.name, [summary for summary in scored if summary.world == world])
    return result


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


def _verdict(
    finding: str, world: str, about: str, holds: bool, fails: bool, effect: str, evidence: Evidence | None, reason: str
) -> Verdict:
    """The verdict, which is open where too few models speak."""
    answer = HOLDS if holds else FAILS if fails else OPEN
    models = len(evidence.by_model) if evidence is not None else 0
    if models < MIN_MODELS:
        answer = OPEN
        reason = f"{reason}; {models} model{'' if models == 1 else 's'}, and fewer than {MIN_MODELS} decide nothing"
    return Verdict(
        finding=finding, world=world, about=about, answer=answer, effect=effect, evidence=evidence, reason=reason
    )


def _of(found: Iterable[Summary], *scenarios: str) -> list[Summary]:
    """The summaries of these scenarios in which a subject's object was edited."""
    return [s for s in found if s.row["scenario"] in scenarios and s.row["edge"] == "subject_object"]


def _ten_different(found: Iterable[Summary]) -> list[Summary]:
    return [s for s in _of(found, "different") if s.row["num_edits"] == 10]


def _smallest_sure(series: Series) -> float | None:
    """The smallest rank at which edits are made."""
    for rank, summary in series.by_rank.items():
        success = score_of(summary, "edit_success")
        if success is not None and success.above(SURE):
            return rank
    return None


# The rules


def _rank_32(name: str, found: Sequence[Summary]) -> list[Verdict]:
    groups: dict[str, dict[str, Summary]] = {}
    for summary in _of(found, "single", "identical"):
        if rank_of(summary) == 32 and summary.settings.get("modules") == "both":
            key = as_json([summary.family, summary.settings, summary.precision])
            groups.setdefault(key, {})[summary.row["scenario"]] = summary
    result = []
    for group in groups.values():
        scores = {scenario: score_of(summary, "edit_success") for scenario, summary in group.items()}
        known = {scenario: score for scenario, score in scores.items() if score is not None}
        if not known:
            continue
        first = next(iter(group.values()))
        lowest = min(known, key=lambda scenario: known[scenario].interval.low)
        missing = {"single", "identical"} - known.keys()
        result.append(
            _verdict(
                name,
                first.world,
                f"{first.family}, {layers_in_words(first.settings.get('layers'))}",
                not missing and all(score.above(SURE) for score in known.values()),
                any(score.below(SURE) for score in known.values()),
                f"edit success at rank 32, {lowest}",
                known[lowest],
                f"{', '.join(sorted(missing))} was not run" if missing else f"{lowest} has the lower interval of both",
            )
        )
    return result


def _rome_is_worse(name: str, found: Sequence[Summary]) -> list[Verdict]:
    pairs: dict[str, tuple[Summary, Summary]] = {}
    for scenario in ("single", "identical"):
        here = _of(found, scenario)
        loras = [s for s in here if s.family == "lora" and rank_of(s) == 32 and s.settings.get("modules") == "both"]
        places = [lora.place for lora in loras[:1]]
        romes = [s for s in here if s.family == "rome" and s.place in places and s.score("edit_success") is not None]
        if loras and romes:
            best = max(romes, key=lambda s: (s.score("edit_success") or {})["value"])
            pairs[scenario] = (best, loras[0])
    known = {
        scenario: evidence
        for scenario, pair in pairs.items()
        if (evidence := difference(*pair, "edit_success")) is not None
    }
    if not known:
        return []
    lowest = min(known, key=lambda scenario: known[scenario].interval.value)
    rome, lora = pairs[lowest]
    return [
        _verdict(
            name,
            found[0].world,
            f"rome, {where(rome.settings)}, against lora, {layers_in_words(lora.settings['layers'])}",
            any(evidence.below(0) for evidence in known.values()),
            len(known) == 2 and all(evidence.above(-LARGE) for evidence in known.values()),
            f"edit success of rome minus lora's at rank 32, {lowest}",
            known[lowest],
            f"{lowest} has the lower value" if len(known) == 2 else f"only {lowest} was run",
        )
    ]


def _needs_rank_64(name: str, found: Sequence[Summary]) -> list[Verdict]:
    result = []
    for series in rank_series(_ten_different(found)):
        if series.settings.get("modules") != "both":
            continue
        scores = {r: e for r, s in series.by_rank.items() if (e := score_of(s, "edit_success")) is not None}
        low = {rank: score for rank, score in scores.items() if rank < 64}
        if not low or len(scores) == len(low):
            continue
        smallest = _smallest_sure(series)
        shown = smallest if smallest is not None and smallest < 64 else max(low)
        result.append(
            _verdict(
                name,
                found[0].world,
                series.about,
                all(score.below(SURE) for score in low.values()),
                smallest is not None and smallest < 64,
                f"edit success at rank {rank_in_words(shown)}",
                scores[shown],
                "no rank is clearly above" if smallest is None else f"rank {rank_in_words(smallest)} is clearly above",
            )
        )
    return result


def _rank_costs(name: str, found: Sequence[Summary]) -> list[Verdict]:
    result = []
    for series in rank_series(_ten_different(found)):
        smallest, highest = _smallest_sure(series), max(series.by_rank)
        if series.settings.get("modules") != "both":
            continue
        base = smallest if smallest is not None and smallest < highest else min(series.by_rank)
        evidence = difference(series.by_rank[highest], series.by_rank[base], "collateral_accuracy")
        if evidence is None:
            continue
        decided = smallest is not None and smallest < highest
        effect = f"collateral accuracy at rank {rank_in_words(highest)} minus rank {rank_in_words(base)}"
        reason = f"rank {rank_in_words(base)} is the smallest that makes the edits"
        if not decided:
            reason = "no rank below the highest makes the edits, so there is nothing to compare"
        result.append(
            _verdict(
                name,
                found[0].world,
                series.about,
                decided and evidence.below(0),
                decided and evidence.above(-SMALL),
                effect,
                evidence,
                reason,
            )
        )
    return result


def _forgetting_needs_full_rank(name: str, found: Sequence[Summary]) -> list[Verdict]:
    result = []
    for series in rank_series(_of(found, "forget")):
        if series.settings.get("modules") != "both" or max(series.by_rank) != FULL:
            continue
        full, limited = series.by_rank[FULL], {r: s for r, s in series.by_rank.items() if r != FULL}
        reached = score_of(full, "edit_success")
        if reached is None:
            continue
        fails, harmful, losses = dict[float, bool](), dict[float, bool](), dict[float, Evidence]()
        for rank, summary in limited.items():
            success, loss = score_of(summary, "edit_success"), difference(full, summary, "collateral_accuracy")
            if success is None or loss is None:
                continue
            losses[rank] = loss
            fails[rank] = success.above(SURE) and loss.below(LARGE)
            harmful[rank] = success.below(SURE) or loss.above(LARGE)
        if not losses:
            continue
        made = [r for r in losses if (e := score_of(limited[r], "edit_success")) is not None and e.above(SURE)]
        shown = min(made or losses, key=lambda rank: losses[rank].interval.value)
        cheap = [rank_in_words(rank) for rank, cheaply in fails.items() if cheaply]
        result.append(
            _verdict(
                name,
                found[0].world,
                series.about,
                reached.above(SURE) and all(harmful.values()),
                bool(cheap),
                f"collateral accuracy at full rank minus rank {rank_in_words(shown)}",
                losses[shown],
                f"forgotten without a large loss at rank {', '.join(cheap)}"
                if cheap
                else f"full rank forgets {reached.interval.value:.3f} "
                f"[{reached.interval.low:.3f}, {reached.interval.high:.3f}]; "
                + ("no limited rank forgets" if not made else "no limited rank is clearly as good"),
            )
        )
    return result


def _forgetting_by_structure(found: Sequence[Verdict]) -> list[Verdict]:
    """F3b, which compares the worlds by what F3a measured in them."""
    result = []
    measured = [verdict for verdict in found if verdict.finding == "F3a" and verdict.evidence is not None]
    for about in dict.fromkeys(verdict.about for verdict in measured):
        here = {v.world: v.evidence for v in measured if v.about == about and v.evidence is not None}
        correlated = [evidence for world, evidence in here.items() if world.startswith("correlated")]
        others = {w: e for w, e in here.items() if w.startswith(("independent", "nested"))}
        if not correlated or len(others) < 2:
            continue
        gaps = {world: _apart(evidence, correlated[0]) for world, evidence in others.items()}
        smallest = min(gaps, key=lambda world: gaps[world].interval.value)
        result.append(
            _verdict(
                "F3b",
                "independent and nested, against correlated",
                about,
                all(gap.above(0) for gap in gaps.values()),
                any(gap.below(LARGE) for gap in gaps.values()),
                f"the loss of F3a in the {smallest} world minus that in the correlated one",
                gaps[smallest],
                f"{smallest} has the smaller difference",
            )
        )
    return result


def _apart(a: Evidence, b: Evidence) -> Evidence:
    """The difference of two numbers from different models; every model of a is compared with the mean of b's.

    Source: Zou and Donner, Statistics in Medicine 27, 2008 (intervals of differences from those of the parts).
    """
    x, y = a.interval, b.interval
    value = x.value - y.value
    low = value - math.hypot(x.value - x.low, y.high - y.value)
    high = value + math.hypot(x.high - x.value, y.value - y.low)
    return Evidence(
        interval=Interval(value, low, high, x.count + y.count),
        by_model={model: own - y.value for model, own in a.by_model.items()},
        edits=a.edits + b.edits,
    )


def _layers_decide(score: str) -> Callable[[str, Sequence[Summary]], list[Verdict]]:
    """The rule that the choice of layer and module matters for a score."""

    def judge(name: str, found: Sequence[Summary]) -> list[Verdict]:
        result = []
        for variants in single_layers(_ten_different(found)):
            chosen = {
                variant: value
                for variant, summary in variants.items()
                if (value := score_of(summary, score, [row for row in summary.rows if row["seed"] % 2 == 1]))
            }
            if score != "edit_success":
                chosen = {v: e for v, e in chosen.items() if (variants[v].score("edit_success") or {})["value"] >= 0.9}
            first = next(iter(variants.values()))
            if len(chosen) < 2:
                if score == "edit_success":
                    continue
                reason = "fewer than two choices make nine edits of ten"
                result.append(_verdict(name, first.world, first.family, False, False, score, None, reason))
                continue
            best = max(chosen, key=lambda variant: chosen[variant].interval.value)
            worst = min(chosen, key=lambda variant: chosen[variant].interval.value)
            evidence = difference(variants[best], variants[worst], score, lambda row: row["seed"] % 2 == 0)
            if evidence is None:
                continue
            bound = LARGE if score == "edit_success" else SMALL
            result.append(
                _verdict(
                    name,
                    first.world,
                    first.family,
                    evidence.above(bound),
                    evidence.below(bound),
                    f"{score.replace('_', ' ')} of ({best}) minus ({worst})",
                    evidence,
                    f"best and worst of {len(chosen)} choices on the odd draws, compared on the even ones",
                )
            )
        return result

    return judge


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


def _lora_at_lower_rank(name: str, found: Sequence[Summary]) -> list[Verdict]:
    series = [s for s in rank_series(_ten_different(found)) if s.settings.get("modules") == "both"]
    result = []
    for lora in (s for s in series if s.method == "lora"):
        for tuned in (s for s in series if s.method == "finetune"):
            if tuned.settings.get("layers") != lora.settings.get("layers"):
                continue
            common = [rank for rank in lora.by_rank if rank in tuned.by_rank]
            smallest = _smallest_sure(lora)
            other = _smallest_sure(tuned)
            if not common:
                continue
            shown = smallest if smallest in common else common[0]
            evidence = difference(lora.by_rank[shown], tuned.by_rank[shown], "edit_success")
            if evidence is None:
                continue
            ranks = ["at no rank" if rank is None else f"from rank {rank_in_words(rank)}" for rank in (smallest, other)]
            result.append(
                _verdict(
                    name,
                    found[0].world,
                    lora.about,
                    smallest in common and evidence.above(0),
                    (smallest in common and evidence.below(LARGE)) or (smallest is None and other is not None),
                    f"edit success of lora minus finetune's at rank {rank_in_words(shown)}",
                    evidence,
                    f"lora makes the edits {ranks[0]}, finetune {ranks[1]}",
                )
            )
    return result


def _attention_keeps_more(name: str, found: Sequence[Summary]) -> list[Verdict]:
    loras = [s for s in rank_series(_ten_different(found), least=1) if s.method == "lora"]
    result = []
    for attention in (s for s in loras if s.settings.get("modules") == "attention"):
        for mlp in (s for s in loras if s.settings == {**attention.settings, "modules": "mlp"}):
            common = [rank for rank in attention.by_rank if rank in mlp.by_rank]
            made = [
                rank
                for rank in common
                if all(
                    (e := score_of(s.by_rank[rank], "edit_success")) is not None and e.above(SURE)
                    for s in (attention, mlp)
                )
            ]
            if not common:
                continue
            shown = made[0] if made else common[-1]
            evidence = difference(attention.by_rank[shown], mlp.by_rank[shown], "collateral_accuracy")
            if evidence is None:
                continue
            result.append(
                _verdict(
                    name,
                    found[0].world,
                    attention.about,
                    bool(made) and evidence.above(0),
                    bool(made) and evidence.below(SMALL),
                    f"collateral accuracy of attention minus mlp at rank {rank_in_words(shown)}",
                    evidence,
                    "the smallest rank at which both make the edits"
                    if made
                    else "at no rank do both make the edits, so there is nothing to compare",
                )
            )
    return result


_MADE = f"edit success clearly above {SURE}"
FINDINGS: tuple[Finding, ...] = (
    Finding(
        name="F1a",
        claim="Single and identical edits succeed at rank 32.",
        criterion=f"Holds if lora, or finetune with its change limited, at rank 32 in mlp and attention has {_MADE} in "
        f"both scenarios; does not hold if it is clearly below {SURE} in one.",
        judge=_rank_32,
    ),
    Finding(
        name="F1b",
        claim="Rome is slightly worse at them in some cases.",
        criterion="The edit success of rome, in the layer and at the site where it is highest, minus that of lora at "
        f"rank 32, over the same edits. Holds if it is clearly below 0 in single or in identical; does not hold if it "
        f"is clearly above -{LARGE} in both.",
        judge=_rome_is_worse,
    ),
    Finding(
        name="F2a",
        claim="Ten different edits need rank 64 or more.",
        criterion=f"Holds if at every rank below 64 edit success is clearly below {SURE}; does not hold if it is "
        f"clearly above {SURE} at one of them.",
        judge=_needs_rank_64,
    ),
    Finding(
        name="F2b",
        claim="Higher rank can cost accuracy on the rest.",
        criterion="Ten different edits: collateral accuracy at the highest rank minus that at the smallest rank with "
        f"{_MADE}. Holds if it is clearly below 0; does not hold if it is clearly above -{SMALL}.",
        judge=_rank_costs,
    ),
    Finding(
        name="F3a",
        claim="Forgetting a relation needs full rank to avoid a large loss elsewhere.",
        criterion=f"Holds if full rank forgets ({_MADE}: every fact gets the one object) and every limited rank either "
        f"does not (clearly below {SURE}) or has a collateral accuracy that is clearly more than {LARGE} lower; does "
        f"not hold if one limited rank forgets and is clearly less than {LARGE} lower.",
        judge=_forgetting_needs_full_rank,
    ),
    Finding(
        name="F3b",
        claim="It does so most of all in the independent and nested worlds.",
        criterion="The smallest loss of a limited rank that F3a found, in the independent and in the nested world, "
        f"minus the correlated world's. Holds if both are clearly above 0; does not hold if one is clearly below "
        f"{LARGE}.",
        judge=None,  # by _forgetting_by_structure(), which looks at all worlds at once
    ),
    Finding(
        name="F4a",
        claim="Which layer and module is tuned decides success.",
        criterion="Ten different edits in one layer: best minus worst choice of layer and module (or site), both "
        f"picked on the draws with odd seeds and compared on the even ones. Holds if edit success differs by clearly "
        f"more than {LARGE}; does not hold if by clearly less.",
        judge=_layers_decide("edit_success"),
    ),
    Finding(
        name="F4b",
        claim="Which layer and module is tuned decides what is left.",
        criterion="The same with collateral accuracy, among the choices that make at least nine edits of ten. Holds "
        f"if it differs by clearly more than {SMALL}; does not hold if by clearly less.",
        judge=_layers_decide("collateral_accuracy"),
    ),
    Finding(
        name="F5a",
        claim="Lora makes edits at lower rank than a rank-limited full update.",
        criterion=f"Ten different edits, same layers: at the smallest rank at which lora has {_MADE}, its edit success "
        f"minus finetune's. Holds if it is clearly above 0; does not hold if it is clearly below {LARGE}, or if "
        "finetune makes the edits at some rank and lora at none.",
        judge=_lora_at_lower_rank,
    ),
    Finding(
        name="F5b",
        claim="Attention-only lora can keep more than mlp-only.",
        criterion=f"Ten different edits: at the smallest rank at which both have {_MADE}, collateral accuracy of "
        f"attention minus mlp. Holds if it is clearly above 0; does not hold if it is clearly below {SMALL}.",
        judge=_attention_keeps_more,
    ),
)
