"""What a model answers before and after -> raw counts and measures for each edit, a result row's `units`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel

from behemoth_data.edits import EditSet, Probe
from behemoth_data.kinds import KINDS
from behemoth_editing.scoring.answers import Answer, answer_log_probabilities, answered, next_log_probabilities
from behemoth_editing.scoring.confidence import confidence, kl_divergence

_KL_PROMPTS = 100  # unrelated prompts of an edit set whose distributions are compared, at most


def next_tokens(model: PreTrainedModel, probes: Sequence[Probe]) -> NDArray[Any]:
    """Log-probabilities [n, V] of what follows the probes' prompts; float32, since many are kept."""
    if not probes:
        return np.empty((0, 0), np.float32)
    return next_log_probabilities(model, [probe.before.prompt_ids for probe in probes]).astype(np.float32)


def unrelated(edit_set: EditSet) -> list[Probe]:
    """The probes whose prompts the divergence is computed on."""
    return [probe for probe in edit_set.probes if probe.kind == "unrelated"][:_KL_PROMPTS]


def count_units(
    edit_set: EditSet, before: Sequence[Answer], after: Sequence[Answer], first: int = 0
) -> list[dict[str, Any]]:
    """Raw counts for each edit of a set, numbered from `first`: the `units` of a result row.

    change: [answered with the new object, asked]. keep: [right before and after, right before, right after,
    asked]. ripple: [kept, followed, incoherent, wrong before]; dependent facts that the edit leaves as they
    are have nothing to follow and are not counted. forget, in forget and refuse: [right before and still answered
    with the old object, right before, refused, asked].
    """
    units: list[dict[str, Any]] = [
        {"edit": first + number, "change": {}, "keep": {}, "ripple": {}} for number in range(len(edit_set.edits))
    ]
    for probe, was, now in zip(edit_set.probes, before, after, strict=True):
        for part, counts in _counts(probe, was, now).items():
            kinds = units[probe.edit].setdefault(part, {})
            kinds[probe.kind] = [a + b for a, b in zip(kinds.get(probe.kind, [0] * len(counts)), counts, strict=True)]
    return units


def _counts(probe: Probe, was: Answer, now: Answer) -> dict[str, list[int]]:
    old, new = probe.before.answer_ids, probe.after.answer_ids
    knew, kept, changed = answered(was, old), answered(now, old), answered(now, new)
    group = KINDS[probe.kind].group
    if group == "change":
        counts = {"change": [int(changed), 1]}
        if probe.refusal_ids:
            refused = answered(now, probe.refusal_ids)
            counts["forget"] = [int(knew and kept), int(knew), int(refused), 1]
        return counts
    if group == "keep":
        return {"keep": [int(knew and kept), int(knew), int(kept), 1]}
    if old == new:
        return {}
    if not knew:
        return {"ripple": [0, 0, 0, 1]}
    return {"ripple": [int(kept), int(changed), int(not kept and not changed), 0]}


def add_measures(
    units: Sequence[dict[str, Any]], edit_set: EditSet, model: PreTrainedModel, before: NDArray[Any]
) -> None:
    """Every unit has `measures`: the edited prompt's confidence, and the divergence on its unrelated prompts."""
    corpus, edits = edit_set.corpus, edit_set.edits
    candidates = corpus.grammar.answers(
        edit_set.edge, edit_set.relation, np.arange(corpus.world.num_tails(edit_set.edge, edit_set.relation))
    )
    said = answer_log_probabilities(model, [query.prompt_ids for query in edit_set.originals], candidates)
    old = np.array([edit.fact.tail for edit in edits])
    new = np.array([edit.fact.tail if edit.new_tail is None else edit.new_tail for edit in edits])
    found = confidence(said, new, old)
    for place, (unit, edit) in enumerate(zip(units, edits, strict=True)):
        unit["measures"] = {
            **{name: _short(getattr(found, name)[place]) for name in ("old", "old_rank", "validity")},
            **{name: _short(getattr(found, name)[place]) for name in ("new", "new_rank") if edit.new_tail is not None},
        }
    asked = unrelated(edit_set)
    if asked:
        moved = kl_divergence(before, next_tokens(model, asked))
        owners = np.array([probe.edit for probe in asked])
        for owner in np.unique(owners).tolist():
            units[owner]["measures"]["kl"] = _short(moved[owners == owner].mean())


def _short(value: float) -> float:
    """Six digits: more would only make rows long."""
    return float(f"{value:.6g}")
