"""The rules that decide findings, each from the summaries of one world. No claim in words and no figures.

A rule compares intervals with bounds, and says with which p value the finding holds and with which it does not: what
needs all of several things has the largest of their p values, what needs one of them the smallest times their number.
Fewer than three models decide nothing, nor does a comparison that lacks cells which failed. A method is judged as it is
by default, but for where and at which rank it changes a model. Nothing is judged on what it was picked for: a layer or
site is picked on half of the models and judged on the others, and where any rank may decide, each one that was tried is
tested for all that the finding says of it, corrected for how many there are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

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
from behemoth_editing.scoring.intervals import LEVEL, Apart
from behemoth_editing.sweep.rows import Row

MIN_MODELS = 3
# Whether a rank of 64 or more is needed, or the full one, is known where a rank as near below it was tried.
BELOW_64 = 32
NEAR_FULL = 64
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


def _tried(ranks: Iterable[float]) -> str:
    """Which ranks were tried, in words."""
    return f"of {', '.join(map(rank_in_words, sorted(ranks)))}"


@dataclasses.dataclass(frozen=True)
class _AtRank:
    """What is said of one rank, as p values: that the edits are made, that they are not, and a comparison both ways."""

    made: float
    missed: float
    gap: Evidence | None  # None where it lacks all cells
    for_it: float  # that the comparison is as the finding says
    against: float

    @property
    def holds(self) -> float:
        """The p value of edits that are made, with what the finding says of them."""
        return max(self.made, self.for_it)


def _at_rank(
    makers: Sequence[Evidence | None],
    gap: Evidence | None,
    for_it: Callable[[Evidence], float],
    against: Callable[[Evidence], float],
) -> _AtRank:
    return _AtRank(
        made=max(1.0 if one is None else one.p_above(SURE) for one in makers),
        missed=_any(1.0 if one is None else one.p_below(SURE) for one in makers),
        gap=gap,
        for_it=1.0 if gap is None else for_it(gap),
        against=1.0 if gap is None else against(gap),
    )


def _over_ranks(ranks: Mapping[float, _AtRank], *instead: float) -> tuple[float, float, float | None]:
    """The p values of a finding that one rank is enough for, and the rank that shows it; None if none was compared.

    It does not hold where at every rank either the edits are not made or the comparison says otherwise, and they are
    made at one; or where `instead` says so.
    """
    holds = _any(one.holds for one in ranks.values())
    otherwise = max((_any((one.missed, one.against)) for one in ranks.values()), default=1.0)
    fails = max(otherwise, _any((_any(one.made for one in ranks.values()), *instead)))
    compared = [rank for rank, one in ranks.items() if one.gap is not None]
    best = min(compared, key=lambda rank: ranks[rank].holds, default=None)
    if fails <= holds and compared:
        made = [rank for rank in compared if ranks[rank].made <= 1 - LEVEL]
        best = min(made or compared)
    return holds, fails, best


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
        high = {rank: score for rank, score in scores.items() if rank >= 64}
        if not low or not high:
            continue
        needed = max(*(score.p_below(SURE) for score in low.values()), _any(s.p_above(SURE) for s in high.values()))
        smallest = _smallest_sure(series)
        shown = smallest if smallest is not None and smallest < 64 else max(low)
        result.append(
            _verdict(
                name,
                found[0].world,
                series.about,
                needed if max(low) >= BELOW_64 else 1.0,
                _any(score.p_above(SURE) for score in low.values()),
                f"edit success at rank {rank_in_words(shown)}",
                scores[shown],
                (
                    f"no rank {_tried(scores)} is clearly above"
                    if smallest is None
                    else f"rank {rank_in_words(smallest)} {_tried(scores)} is clearly above"
                )
                + ("" if max(low) >= BELOW_64 else f"; none from {BELOW_64} to 63 was tried"),
            )
        )
    return result


def rank_costs(name: str, found: Sequence[Summary]) -> list[Verdict]:
    """The verdicts on F2b, for every method that was run at several ranks in all matrices."""
    result = []
    for series in rank_series(_ten_different(found)):
        if series.settings.get("modules") != "both":
            continue
        smallest, highest = _smallest_sure(series), max(series.by_rank)
        lower = {rank: summary for rank, summary in series.by_rank.items() if rank != highest}
        ranks = {
            rank: _at_rank(
                [score_of(summary, "edit_success")],
                difference(series.by_rank[highest], summary, "collateral_accuracy"),
                lambda gap: gap.p_below(0),
                lambda gap: gap.p_above(-SMALL),
            )
            for rank, summary in lower.items()
        }
        holds, fails, shown = _over_ranks(ranks)
        effect = f"collateral accuracy at rank {rank_in_words(highest)} minus "
        if shown is None:
            result += _lost(name, series.about, f"{effect}lower ones", *series.by_rank.values())
            continue
        reason = "no rank below the highest makes the edits, so there is nothing to compare"
        if smallest is not None and smallest < highest:
            reason = f"rank {rank_in_words(smallest)} {_tried(series.by_rank)} is the smallest that makes the edits"
        result.append(
            _verdict(
                name,
                found[0].world,
                series.about,
                holds,
                fails,
                f"{effect}rank {rank_in_words(shown)}",
                ranks[shown].gap,
                reason,
            )
        )
    return result


def _forgetting(found: Iterable[Summary]) -> list[Series]:
    """The methods that were run at full rank and at others, in all matrices, to forget."""
    series = rank_series(_of(found, "forget"))
    return [one for one in series if one.settings.get("modules") == "both" and max(one.by_rank) == FULL]


def _makes(summary: Summary) -> bool:
    """Whether edits are clearly made."""
    success = score_of(summary, "edit_success")
    return success is not None and success.above(SURE)


def forgetting_needs_full_rank(name: str, found: Sequence[Summary]) -> list[Verdict]:
    """The verdicts on F3a, for every method that was run at full rank and at others."""
    result = []
    for series in _forgetting(found):
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
        made = [rank for rank in losses if _makes(limited[rank])]
        shown = min(made or losses, key=lambda rank: losses[rank].interval.value)
        cheaply = [rank_in_words(rank) for rank in made if losses[rank].below(LARGE)]
        decided = len(losses) == len(limited) and max(limited) >= NEAR_FULL
        result.append(
            _verdict(
                name,
                found[0].world,
                series.about,
                max(reached.p_above(SURE), *harmful.values()) if decided else 1.0,
                _any(cheap.values()),
                f"collateral accuracy at full rank minus rank {rank_in_words(shown)}",
                losses[shown],
                f"forgotten without a large loss at rank {', '.join(cheaply)}"
                if cheaply
                else f"full rank forgets {reached.interval.value:.3f} "
                f"[{reached.interval.low:.3f}, {reached.interval.high:.3f}]; "
                + ("no limited rank forgets" if not made else "no limited rank is clearly as good")
                + f", {_tried(limited)}"
                + ("" if max(limited) >= NEAR_FULL else f"; none from {NEAR_FULL} on was tried"),
            )
        )
    return result


def forgetting_by_structure(name: str, found: Sequence[Summary]) -> list[Verdict]:
    """The verdicts on F3b, which compares the worlds by the smallest loss of a limited rank that forgets."""
    losses: dict[str, dict[str, Evidence | None]] = {}
    for world in dict.fromkeys(summary.world for summary in found):
        for series in _forgetting(summary for summary in found if summary.world == world):
            losses.setdefault(series.about, {})[world] = _least_loss(series)
    result = []
    for about, here in losses.items():
        correlated = [world for world in here if world.startswith("correlated")][:1]
        others = [world for world in here if world.startswith(("independent", "nested"))]
        if not correlated or len(others) < 2:
            continue
        least, unknown = here[correlated[0]], [world for world in (*others, *correlated) if here[world] is None]
        gaps = {w: _apart(e, least) for w in others if (e := here[w]) is not None and least is not None}
        smallest = min(gaps, key=lambda world: gaps[world].interval.value, default=None)
        result.append(
            _verdict(
                name,
                "independent and nested, against correlated",
                about,
                1.0 if unknown else max(gap.p_above(0) for gap in gaps.values()),
                min(1.0, len(others) * min((gap.p_below(LARGE) for gap in gaps.values()), default=1.0)),
                f"the loss of F3a in the {smallest or others[0]} world minus that in the correlated one",
                gaps[smallest] if smallest is not None else None,
                f"no limited rank forgets where full rank does in the {' and the '.join(unknown)} world, so that there "
                "is no loss to compare"
                if unknown
                else f"{smallest} has the smaller difference",
            )
        )
    return result


def _least_loss(series: Series) -> Evidence | None:
    """The loss at the limited rank that forgets at the least loss in half of the models, in the others.

    None where full rank does not forget or no limited one does.
    """
    picked, judged = halves(series.by_rank.values())
    full = series.by_rank[FULL]
    losses = {
        rank: loss.interval.value
        for rank, summary in series.by_rank.items()
        if rank != FULL
        and _makes(summary)
        and (loss := difference(full, summary, "collateral_accuracy", picked)) is not None
    }
    if not losses or not _makes(full):
        return None
    return difference(full, series.by_rank[min(losses, key=losses.__getitem__)], "collateral_accuracy", judged)


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
            common = [rank for rank in lora.by_rank if rank in tuned.by_rank]
            if tuned.settings.get("layers") != lora.settings.get("layers") or not common:
                continue
            ranks = {
                rank: _at_rank(
                    [score_of(lora.by_rank[rank], "edit_success")],
                    difference(lora.by_rank[rank], tuned.by_rank[rank], "edit_success"),
                    lambda gap: gap.p_above(0),
                    lambda gap: gap.p_below(FEWER),
                )
                for rank in common
            }
            never, once = (
                [e for s in one.by_rank.values() if (e := score_of(s, "edit_success")) is not None]
                for one in (lora, tuned)
            )
            only_tuned = max(*(score.p_below(SURE) for score in never), _any(score.p_above(SURE) for score in once))
            holds, fails, shown = _over_ranks(ranks, only_tuned)
            effect = "edit success of lora minus finetune's"
            if shown is None:
                result += _lost(name, lora.about, effect, *(s.by_rank[rank] for rank in common for s in (lora, tuned)))
                continue
            starts = [
                "at no rank" if rank is None else f"from rank {rank_in_words(rank)}"
                for rank in map(_smallest_sure, (lora, tuned))
            ]
            result.append(
                _verdict(
                    name,
                    found[0].world,
                    lora.about,
                    holds,
                    fails,
                    f"{effect} at rank {rank_in_words(shown)}",
                    ranks[shown].gap,
                    f"lora makes the edits {starts[0]} {_tried(lora.by_rank)}, "
                    f"finetune {starts[1]} {_tried(tuned.by_rank)}",
                )
            )
    return result


def attention_keeps_more(name: str, found: Sequence[Summary]) -> list[Verdict]:
    """The verdicts on F5b, for every choice of layers."""
    loras = [s for s in rank_series(_ten_different(found), least=1) if s.method == "lora"]
    result = []
    for attention in (s for s in loras if s.settings.get("modules") == "attention"):
        for mlp in (s for s in loras if s.settings == {**attention.settings, "modules": "mlp"}):
            ranks = {
                rank: _at_rank(
                    [score_of(s.by_rank[rank], "edit_success") for s in (attention, mlp)],
                    difference(attention.by_rank[rank], mlp.by_rank[rank], "collateral_accuracy"),
                    lambda gap: gap.p_above(0),
                    lambda gap: gap.p_below(SMALL),
                )
                for rank in attention.by_rank
                if rank in mlp.by_rank
            }
            if not ranks:
                continue
            holds, fails, shown = _over_ranks(ranks)
            effect = "collateral accuracy of attention minus mlp"
            if shown is None:
                result += _lost(name, attention.about, effect, *(s.by_rank[r] for r in ranks for s in (attention, mlp)))
                continue
            made = [r for r in ranks if _makes(attention.by_rank[r]) and _makes(mlp.by_rank[r])]
            result.append(
                _verdict(
                    name,
                    found[0].world,
                    attention.about,
                    holds,
                    fails,
                    f"{effect} at rank {rank_in_words(shown)}",
                    ranks[shown].gap,
                    f"rank {rank_in_words(made[0])} {_tried(ranks)} is the smallest at which both make the edits"
                    if made
                    else "at no rank do both make the edits, so there is nothing to compare",
                )
            )
    return result
