"""The rules that decide findings, each from the summaries of one world. No claim in words and no figures.

A rule compares an interval with a bound. "Clearly above" a bound means that the interval lies above it and that the
value of every single model does; "clearly below" likewise. Fewer than three models decide nothing. A method is judged
as it is by default, but for where and at which rank it changes a model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from behemoth_editing.report.evidence import (
    FULL,
    LARGE,
    SMALL,
    SURE,
    Evidence,
    Series,
    difference,
    layers_in_words,
    rank_in_words,
    rank_of,
    rank_series,
    score_of,
    single_layers,
    where,
)
from behemoth_editing.report.judgement import FAILS, HOLDS, OPEN, Verdict
from behemoth_editing.report.summaries import Summary, as_json
from behemoth_editing.scoring.intervals import Interval

MIN_MODELS = 3


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


def rank_32(name: str, found: Sequence[Summary]) -> list[Verdict]:
    """The verdicts on F1a, for every method that was run at rank 32 in all matrices."""
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


def rome_is_worse(name: str, found: Sequence[Summary]) -> list[Verdict]:
    """The verdicts on F1b."""
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


def needs_rank_64(name: str, found: Sequence[Summary]) -> list[Verdict]:
    """The verdicts on F2a, for every method that was run at several ranks in all matrices."""
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


def rank_costs(name: str, found: Sequence[Summary]) -> list[Verdict]:
    """The verdicts on F2b, for every method that was run at several ranks in all matrices."""
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


def forgetting_needs_full_rank(name: str, found: Sequence[Summary]) -> list[Verdict]:
    """The verdicts on F3a, for every method that was run at full rank and at others."""
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


def forgetting_by_structure(found: Sequence[Verdict]) -> list[Verdict]:
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


def layers_decide(score: str) -> Callable[[str, Sequence[Summary]], list[Verdict]]:
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


def lora_at_lower_rank(name: str, found: Sequence[Summary]) -> list[Verdict]:
    """The verdicts on F5a, for every choice of layers."""
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


def attention_keeps_more(name: str, found: Sequence[Summary]) -> list[Verdict]:
    """The verdicts on F5b, for every choice of layers."""
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
