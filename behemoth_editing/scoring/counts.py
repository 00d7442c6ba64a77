"""What a model answers before and after -> raw counts and measures for each edit, a result row's `units`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel

from behemoth_data.edits import EditSet, Probe
from behemoth_data.kinds import KINDS
from behemoth_editing.scoring.answers import Answer, answer_log_probabilities, next_log_probabilities, predict
from behemoth_editing.scoring.confidence import confidence, kl_divergence
from behemoth_editing.scoring.outcomes import added, count_change, count_forget, count_keep, count_ripple

_KL_PROMPTS = 100  # unrelated prompts of an edit set whose distributions are compared, at most


@dataclasses.dataclass(frozen=True)
class Said:
    """What a model says to an edit set."""

    answers: list[Answer]  # to each probe
    next_tokens: NDArray[Any]  # log-probabilities [n, V] after unrelated prompts; float32, since many are kept


def said_by(model: PreTrainedModel, edit_set: EditSet) -> Said:
    """The model's answers to all probes, and its distributions where a divergence is computed."""
    return Said(predict(model, edit_set.probes), _next_tokens(model, _unrelated(edit_set)))


def _next_tokens(model: PreTrainedModel, probes: Sequence[Probe]) -> NDArray[Any]:
    """Log-probabilities [n, V] of what follows the probes' prompts."""
    if not probes:
        return np.empty((0, 0), np.float32)
    return next_log_probabilities(model, [probe.before.prompt_ids for probe in probes]).astype(np.float32)


def _unrelated(edit_set: EditSet) -> list[Probe]:
    """The probes whose prompts the divergence is computed on."""
    return [probe for probe in edit_set.probes if probe.kind == "unrelated"][:_KL_PROMPTS]


def units_after(edit_set: EditSet, before: Said, model: PreTrainedModel, first: int = 0) -> list[dict[str, Any]]:
    """The edits of a set, numbered from `first`, as the model now answers: raw counts and measures."""
    units = count_units(edit_set, before.answers, predict(model, edit_set.probes), first)
    _add_measures(units, edit_set, model, before.next_tokens)
    return units


def count_units(
    edit_set: EditSet, before: Sequence[Answer], after: Sequence[Answer], first: int = 0
) -> list[dict[str, Any]]:
    """Raw counts for each edit of a set, numbered from `first`: the `units` of a result row.

    Each has the parts "change", "keep", "ripple" and, in forget and refuse, "forget": by kind of probe, the numbers
    that PARTS names. Dependent facts that the edit leaves as they are have nothing to follow and are not counted.

    Where the draw asks for transfer, there is the part "transfer" too, and "asked_in_training" says whether training
    asks questions about the edited head: where it does not, what follows into a question was not taught as one.
    The paraphrase, which is a change as well, is among them, since there it counts what was wrong before.
    """
    units: list[dict[str, Any]] = [
        {"edit": first + number, "change": {}, "keep": {}, "ripple": {}} for number in range(len(edit_set.edits))
    ]
    if edit_set.config.transfer:
        asked = edit_set.corpus.asked(edit_set.edge, [edit.fact.head for edit in edit_set.edits])
        for unit, is_asked in zip(units, asked.tolist(), strict=True):
            unit |= {"transfer": {}, "asked_in_training": is_asked}
    for probe, was, now in zip(edit_set.probes, before, after, strict=True):
        parts = _counts(probe, was, now)
        if edit_set.config.transfer and probe.kind == "paraphrase" and not probe.refusal_ids:
            followed = count_ripple(was, now, probe.before.answer_ids, probe.after.answer_ids)
            parts |= {} if followed is None else {"transfer": followed}
        for part, counts in parts.items():
            kinds = units[probe.edit].setdefault(part, {})
            kinds[probe.kind] = added([kinds.get(probe.kind, [0] * len(counts)), counts], len(counts))
    return units


def _counts(probe: Probe, was: Answer, now: Answer) -> dict[str, list[int]]:
    """The counts of one probe, by the part of a unit that they belong to."""
    old, new = probe.before.answer_ids, probe.after.answer_ids
    group = KINDS[probe.kind].group
    if group == "change":
        counts = {"change": count_change(now, new)}
        if probe.refusal_ids:
            counts["forget"] = count_forget(was, now, old, probe.refusal_ids)
        return counts
    if group == "keep":
        return {"keep": count_keep(was, now, old)}
    followed = count_ripple(was, now, old, new)
    return {} if followed is None else {group: followed}


def _add_measures(
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
    asked = _unrelated(edit_set)
    if asked:
        moved = kl_divergence(before, _next_tokens(model, asked))
        owners = np.array([probe.edit for probe in asked])
        for owner in np.unique(owners).tolist():
            units[owner]["measures"]["kl"] = _short(moved[owners == owner].mean())


def _short(value: float) -> float:
    """Six digits: more would only make rows long."""
    return float(f"{value:.6g}")
