"""The rules that decide findings, each from the summaries of one world. No claim in words and no figures.

A rule compares intervals with bounds, and says with which p value the finding holds and with which it does not: what
needs all of several things has the largest of their p values, what needs one of them the smallest times their number.
Fewer than three models decide nothing, nor does a comparison that lacks cells which failed. A method is judged as it is
by default, but for where and at which rank it changes a model. A layer or site is picked on half of the models and
judged on the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from behemoth_editing.report.evidence import (
    FEWER,
    FULL,
    LARGE,
    SMALL,
    SURE,
    Evidence,
    Series,
    difference,
    halves,
    layers_in_words,
    rank_in_words,
    rank_of,
    rank_series,
    score_of,
    single_layers,
    where,
)
from behemoth_editing.report.judgement import Verdict
from behemoth_editing.report.summaries import Summary, as_json
from behemoth_editing.scoring.intervals import Apart
from behemoth_editing.sweep.rows import Row

MIN_MODELS = 3
# Where edits were known to fail before any study: with the subject before the relation, the key at its last token
# cannot know which relation will be asked. What is known decides no finding.
SITES_KNOWN_TO_FAIL = ("subject_last",)


def _verdict(
    finding: str,
    world: str,
    about: str,
    holds: float,
    fails: float,
    effect: str,
    evidence: Evidence | None,
    reason: str,
) -> Verdict:
    """The verdict before any correction, which is open where too few models speak or cells are missing."""
    models = evidence.models if evidence is not None else 0
    if models < MIN_MODELS:
        holds = fails = 1.0
        reason = f"{reason}; {models} model{'' if models == 1 else 's'}, and fewer than {MIN_MODELS} decide nothing"
    if evidence is not None and evidence.failed:
        reason = f"{reason}; {_cells(evidence.failed)} failed, and what they would have said is not known"
    return Verdict(
        finding=finding,
        world=world,
        about=about,
        holds=holds,
        fails=fails,
        effect=effect,
        evidence=evidence,
        reason=reason,
    )


def _cells(count: int) -> str:
    return f"{count} cell{'' if count == 1 else 's'}"


def _lost(finding: str, about: str, effect: str, *summaries: Summary) -> list[Verdict]:
    """The open verdict on what cannot be compared because cells failed; none where nothing did."""
    failed = sum(len(summary.failed) for summary in summaries)
    if not failed:
        return []
    return [_verdict(finding, summaries[0].world, about, 1.0, 1.0, effect, None, f"{_cells(failed)} failed")]


def _any(values: Iterable[float]) -> float:
    """The p value of at least one of several things; 1 of none (Bonferroni)."""
    found = list(values)
    return min(1.0, len(found) * min(found, default=1.0))


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
                1.0 if missing else max(score.p_above(SURE) for score in known.values()),
                _any(score.p_below(SURE) for score in known.values()),
                f"edit success at rank 32, {lowest}",
                known[lowest],
                f"{', '.join(sorted(missing))} was not run" if missing else f"{lowest} has the lower interval of both",
            )
        )
    return result


def rome_is_worse(name: str, found: Sequence[Summary]) -> list[Verdict]:
    """The verdicts on F1b."""
    pairs: dict[str, tuple[Summary, Summary]] = {}
    known: dict[str, Evidence] = {}
    for scenario in ("single", "identical"):
        here = _of(found, scenario)
        loras = [s for s in here if s.family == "lora" and rank_of(s) == 32 and s.settings.get("modules") == "both"]
        places = [lora.place for lora in loras[:1]]
        romes = [s for s in here if s.family == "rome" and s.place in places]
        if not loras or not romes:
            continue
        picked, judged = halves([*romes, loras[0]])
        if len(romes) > 1:
            best = max(romes, key=lambda s: _value(s, "edit_success", picked))
            evidence = difference(best, loras[0], "edit_success", judged)
        else:
            best, evidence = romes[0], difference(romes[0], loras[0], "edit_success")
        pairs[scenario] = (best, loras[0])
        if evidence is not None:
            known[scenario] = evidence
    effect = "edit success of rome minus lora's at rank 32"
    if not known:
        return _lost(name, "rome", effect, *(summary for pair in pairs.values() for summary in pair))
    lowest = min(known, key=lambda scenario: known[scenario].interval.value)
    rome, lora = pairs[lowest]
    return [
        _verdict(
            name,
            found[0].world,
            f"rome, {where(rome.settings)}, against lora, {layers_in_words(lora.settings['layers'])}",
            _any(evidence.p_below(0) for evidence in known.values()),
            max(evidence.p_above(-FEWER) for evidence in known.values()) if len(known) == 2 else 1.0,
            f"{effect}, {lowest}",
            known[lowest],
            f"{lowest} has the lower value" if len(known) == 2 else f"only {lowest} was run",
        )
    ]


def _value(summary: Summary, name: str, chosen: Callable[[Row], bool]) -> float:
    """The score over the chosen rows, below all others where nothing was asked."""
    found = score_of(summary, name, chosen)
    return -1.0 if found is None else found.interval.value


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
                max(score.p_below(SURE) for score in low.values()),
                _any(score.p_above(SURE) for score in low.values()),
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
        effect = f"collateral accuracy at rank {rank_in_words(highest)} minus rank {rank_in_words(base)}"
        if evidence is None:
            result += _lost(name, series.about, effect, series.by_rank[highest], series.by_rank[base])
            continue
        decided = smallest is not None and smallest < highest
        reason = f"rank {rank_in_words(base)} is the smallest that makes the edits"
        if not decided:
            reason = "no rank below the highest makes the edits, so there is nothing to compare"
        result.append(
            _verdict(
                name,
                found[0].world,
                series.about,
                evidence.p_below(0) if decided else 1.0,
                evidence.p_above(-SMALL) if decided else 1.0,
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
        cheap, harmful, losses = dict[float, float](), dict[float, float](), dict[float, Evidence]()
        for rank, summary in limited.items():
            success, loss = score_of(summary, "edit_success"), difference(full, summary, "collateral_accuracy")
            if success is None or loss is None:
                continue
            losses[rank] = loss
            cheap[rank] = max(success.p_above(SURE), loss.p_below(LARGE))
            harmful[rank] = _any((success.p_below(SURE), loss.p_above(LARGE)))
        if not losses:
            result += _lost(name, series.about, "collateral accuracy at full rank", full, *limited.values())
            continue
        made = [r for r in losses if (e := score_of(limited[r], "edit_success")) is not None and e.above(SURE)]
        shown = min(made or losses, key=lambda rank: losses[rank].interval.value)
        cheaply = [rank_in_words(rank) for rank in made if losses[rank].below(LARGE)]
        result.append(
            _verdict(
                name,
                found[0].world,
                series.about,
                max(reached.p_above(SURE), *harmful.values()) if len(losses) == len(limited) else 1.0,
                _any(cheap.values()),
                f"collateral accuracy at full rank minus rank {rank_in_words(shown)}",
                losses[shown],
                f"forgotten without a large loss at rank {', '.join(cheaply)}"
                if cheaply
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
                max(gap.p_above(0) for gap in gaps.values()),
                _any(gap.p_below(LARGE) for gap in gaps.values()),
                f"the loss of F3a in the {smallest} world minus that in the correlated one",
                gaps[smallest],
                f"{smallest} has the smaller difference",
            )
        )
    return result


def _apart(a: Evidence, b: Evidence) -> Evidence:
    """The difference of two numbers from different models, of which each has at least so many."""
    return Evidence(
        estimate=Apart(a.estimate, b.estimate),
        models=min(a.models, b.models),
        edits=a.edits + b.edits,
        failed=a.failed + b.failed,
    )


def layers_decide(score: str) -> Callable[[str, Sequence[Summary]], list[Verdict]]:
    """The rule that the choice of layer and module matters for a score."""
    success = score == "edit_success"
    bound = FEWER if success else SMALL

    def judge(name: str, found: Sequence[Summary]) -> list[Verdict]:
        result = []
        tried = [s for s in _ten_different(found) if s.settings.get("site") not in SITES_KNOWN_TO_FAIL]
        for variants in single_layers(tried):
            picked, judged = halves(variants.values())
            values = {variant: _value(summary, score, picked) for variant, summary in variants.items()}
            chosen = {variant: value for variant, value in values.items() if value >= 0}
            if not success:
                chosen = {v: one for v, one in chosen.items() if _value(variants[v], "edit_success", picked) >= 0.9}
            first = next(iter(variants.values()))
            if len(chosen) < 2:
                if not success:
                    reason = "fewer than two choices make nine edits of ten"
                    result.append(_verdict(name, first.world, first.family, 1.0, 1.0, score, None, reason))
                continue
            best, worst = max(chosen, key=chosen.__getitem__), min(chosen, key=chosen.__getitem__)
            effect = f"{score.replace('_', ' ')} of ({best}) minus ({worst})"
            evidence = difference(variants[best], variants[worst], score, judged)
            if evidence is None:
                result += _lost(name, first.family, effect, variants[best], variants[worst])
                continue
            result.append(
                _verdict(
                    name,
                    first.world,
                    first.family,
                    evidence.p_above(bound),
                    evidence.p_below(bound),
                    effect,
                    evidence,
                    f"best and worst of {len(chosen)} choices in half of the models, compared in the others",
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
            effect = f"edit success of lora minus finetune's at rank {rank_in_words(shown)}"
            evidence = difference(lora.by_rank[shown], tuned.by_rank[shown], "edit_success")
            if evidence is None:
                result += _lost(name, lora.about, effect, lora.by_rank[shown], tuned.by_rank[shown])
                continue
            never = [e.p_below(SURE) for s in lora.by_rank.values() if (e := score_of(s, "edit_success")) is not None]
            once = score_of(tuned.by_rank[other], "edit_success") if other is not None else None
            ranks = ["at no rank" if rank is None else f"from rank {rank_in_words(rank)}" for rank in (smallest, other)]
            result.append(
                _verdict(
                    name,
                    found[0].world,
                    lora.about,
                    evidence.p_above(0) if smallest in common else 1.0,
                    evidence.p_below(FEWER)
                    if smallest in common
                    else max(once.p_above(SURE), *never)
                    if smallest is None and once is not None
                    else 1.0,
                    effect,
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
            effect = f"collateral accuracy of attention minus mlp at rank {rank_in_words(shown)}"
            evidence = difference(attention.by_rank[shown], mlp.by_rank[shown], "collateral_accuracy")
            if evidence is None:
                result += _lost(name, attention.about, effect, attention.by_rank[shown], mlp.by_rank[shown])
                continue
            result.append(
                _verdict(
                    name,
                    found[0].world,
                    attention.about,
                    evidence.p_above(0) if made else 1.0,
                    evidence.p_below(SMALL) if made else 1.0,
                    effect,
                    evidence,
                    "the smallest rank at which both make the edits"
                    if made
                    else "at no rank do both make the edits, so there is nothing to compare",
                )
            )
    return result
