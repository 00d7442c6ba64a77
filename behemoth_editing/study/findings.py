"""The paper's findings: every claim with the rule that decides it, and the verdicts on all of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from behemoth_editing.report.evidence import FEWER, LARGE, SMALL, SURE, as_by_default, each_precision
from behemoth_editing.report.judgement import FAILS, HOLDS, OPEN, Finding, Judgement, Verdict
from behemoth_editing.report.summaries import Summary
from behemoth_editing.scoring.intervals import LEVEL, holm
from behemoth_editing.study.rules import (
    BELOW_64,
    NEAR_FULL,
    attention_keeps_more,
    forgetting_by_structure,
    forgetting_needs_full_rank,
    layers_decide,
    lora_at_lower_rank,
    needs_rank_64,
    rank_32,
    rank_costs,
    rome_is_worse,
)
from behemoth_editing.study.setups import setups


def judge(found: Sequence[Summary]) -> Judgement:
    """The paper's findings with the verdicts on them, and the set-ups that were compared."""
    return Judgement(findings=FINDINGS, verdicts=verdicts(found), setups=setups(found))


def verdicts(found: Sequence[Summary]) -> list[Verdict]:
    """The verdicts on all findings, world after world; a finding that nothing was run for has none.

    All verdicts on one finding are one family of tests, corrected by Holm's procedure.
    """
    said = each_precision(
        as_by_default(found),
        _verdicts,
        lambda verdict, words: dataclasses.replace(verdict, world=verdict.world + words),
    )
    decided: dict[int, Verdict] = {}
    for finding in FINDINGS:
        places = [place for place, verdict in enumerate(said) if verdict.finding == finding.name]
        corrected = holm([min(said[place].holds, said[place].fails) for place in places])
        decided |= {place: _decided(said[place], p) for place, p in zip(places, corrected, strict=True)}
    return [decided[place] for place in range(len(said))]


def _decided(verdict: Verdict, p: float) -> Verdict:
    """The verdict with its answer, at a p value that is corrected for the others."""
    answer = OPEN if p > 1 - LEVEL else HOLDS if verdict.holds < verdict.fails else FAILS
    return dataclasses.replace(verdict, p=p, answer=answer)


def _verdicts(scored: Sequence[Summary]) -> list[Verdict]:
    """The verdicts on summaries in which each method has one precision, before they are corrected."""
    result: list[Verdict] = []
    for finding in FINDINGS:
        if finding.judge is None:
            result += forgetting_by_structure(finding.name, scored)
            continue
        for world in dict.fromkeys(summary.world for summary in scored):
            result += finding.judge(finding.name, [summary for summary in scored if summary.world == world])
    return result


_MADE = f"edit success clearly above {SURE}"
FINDINGS: tuple[Finding, ...] = (
    Finding(
        name="F1a",
        claim="Single and identical edits succeed at rank 32.",
        criterion=f"Holds if lora, or finetune with its change limited, at rank 32 in mlp and attention has {_MADE} in "
        f"both scenarios; does not hold if it is clearly below {SURE} in one.",
        judge=rank_32,
    ),
    Finding(
        name="F1b",
        claim="Rome is slightly worse at them in some cases.",
        criterion="The edit success of rome, in the layer and at the site where it is highest in half of the models, "
        "minus that of lora at rank 32, over the same edits of the others. Holds if it is clearly below 0 in single or "
        f"in identical; does not hold if it is clearly above -{FEWER} in both.",
        judge=rome_is_worse,
    ),
    Finding(
        name="F2a",
        claim="Ten different edits need rank 64 or more.",
        criterion=f"Holds if edit success is clearly below {SURE} at every rank below 64, of which one is at least "
        f"{BELOW_64}, and clearly above {SURE} at one of 64 or more; does not hold if it is clearly above {SURE} at "
        "one below 64.",
        judge=needs_rank_64,
    ),
    Finding(
        name="F2b",
        claim="Higher rank can cost accuracy on the rest.",
        criterion="Ten different edits: collateral accuracy at the highest rank minus that at a lower one. Holds if at "
        f"a lower rank with {_MADE} it is clearly below 0, by a test for each lower rank that is corrected for their "
        f"number; does not hold if at each of them it is clearly above -{SMALL} or edit success clearly below {SURE}, "
        "and the edits are made at one.",
        judge=rank_costs,
    ),
    Finding(
        name="F3a",
        claim="Forgetting a relation needs full rank to avoid a large loss elsewhere.",
        criterion=f"Holds if full rank forgets ({_MADE}: every fact gets the one object) and every limited rank, of "
        f"which one is at least {NEAR_FULL}, either does not (clearly below {SURE}) or has a collateral accuracy that "
        f"is clearly more than {LARGE} lower; does not hold if one limited rank forgets and is clearly less than "
        f"{LARGE} lower.",
        judge=forgetting_needs_full_rank,
    ),
    Finding(
        name="F3b",
        claim="It does so most of all in the independent and nested worlds.",
        criterion="The smallest loss, as F3a has it, of a limited rank that forgets, picked in half of the models and "
        "taken from the others: in the independent and in the nested world, minus the correlated world's. Holds if "
        f"both are clearly above 0; does not hold if one is clearly below {LARGE}. A world in which full rank or every "
        "limited one does not forget has no such loss.",
        judge=None,  # by forgetting_by_structure(), which looks at all worlds at once
    ),
    Finding(
        name="F4a",
        claim="Which layer and module is tuned decides success.",
        criterion="Ten different edits in one layer: best minus worst choice of layer and module (or site, but not one "
        "that was known to fail), both picked in half of the models and compared in the others. Holds if edit success "
        f"differs by clearly more than {FEWER}; does not hold if by clearly less.",
        judge=layers_decide("edit_success"),
    ),
    Finding(
        name="F4b",
        claim="Which layer and module is tuned decides what is left.",
        criterion="The same with collateral accuracy, among the choices that make at least nine edits of ten. Holds "
        f"if it differs by clearly more than {SMALL}; does not hold if by clearly less.",
        judge=layers_decide("collateral_accuracy"),
    ),
    Finding(
        name="F5a",
        claim="Lora makes edits at lower rank than a rank-limited full update.",
        criterion="Ten different edits, same layers: lora's edit success minus finetune's at the ranks of both. Holds "
        f"if at one where lora has {_MADE} it is clearly above 0, by a test for each rank that is corrected for their "
        f"number; does not hold if at each it is clearly below {FEWER} or lora's own clearly below {SURE}, and either "
        f"lora makes the edits at one, or finetune at any and lora is clearly below {SURE} at all.",
        judge=lora_at_lower_rank,
    ),
    Finding(
        name="F5b",
        claim="Attention-only lora can keep more than mlp-only.",
        criterion="Ten different edits: collateral accuracy of attention minus mlp at the ranks of both. Holds if at "
        f"one where both have {_MADE} it is clearly above 0, by a test for each rank that is corrected for their "
        f"number; does not hold if at each it is clearly below {SMALL} or the edit success of one clearly below "
        f"{SURE}, and both make the edits at one.",
        judge=attention_keeps_more,
    ),
)
