"""What a sequence of edits has come to on the way: after so many of them, what is held, by age, and what is lost.

Axis letters: n edits that were made; C candidates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import logsumexp
from transformers import PreTrainedModel

from behemoth_editing.scoring.answers import answer_log_probabilities, predict
from behemoth_editing.scoring.counts import count_units
from behemoth_editing.scoring.weights import weight_change
from behemoth_editing.sweep.looks import together
from behemoth_editing.sweep.seen import Draw

# Ages of edits, in edits that were made since, that are told apart: each from this on, up to the next.
AGES = (0, 1, 3, 10, 30, 100, 300)

Stage = dict[str, Any]


def stage(original: PreTrainedModel, edited: PreTrainedModel, draw: Draw, made: int) -> Stage:
    """What a model shows after the first `made` sets of a sequence.

    The parts of all edits so far together; of what must stay, that of all sets, so that every stage asks the same.
    `ages` are pairs [held, asked] of the edited prompts for each of AGES, `validity` the mean mass on objects of the
    relation after the edited prompts, `relative` the change of all weights over their norm before.
    """
    by_set = [
        count_units(one, said.answers, predict(edited, one.probes))
        for one, said in zip(draw.sets, draw.said, strict=True)
    ]
    so_far = [unit for units in by_set[:made] for unit in units]
    everywhere = together([unit for units in by_set for unit in units])
    return {
        "edits": len(so_far),
        **together(so_far),
        "keep": everywhere["keep"],
        "ages": _by_age(so_far),
        "validity": float(f"{_validity(edited, draw, made):.6g}"),
        "relative": weight_change(original, edited).relative,
    }


def _by_age(units: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    ages = np.arange(len(units))[::-1]
    places = np.searchsorted(AGES, ages, side="right") - 1
    found = [[0, 0] for _ in AGES]
    for place, unit in zip(places.tolist(), units, strict=True):
        held, asked = unit["change"]["edited"]
        found[place] = [found[place][0] + held, found[place][1] + asked]
    return found


def _validity(edited: PreTrainedModel, draw: Draw, made: int) -> float:
    first = draw.sets[0]
    corpus = first.corpus
    candidates = corpus.grammar.answers(
        first.edge, first.relation, np.arange(corpus.world.num_tails(first.edge, first.relation))
    )
    prompts = [query.prompt_ids for one in draw.sets[:made] for query in one.originals]
    return float(np.exp(logsumexp(answer_log_probabilities(edited, prompts, candidates), axis=1)).mean())


def stages_of(row: Mapping[str, Any]) -> list[Stage]:
    """The stages of a result row; none where none were asked for."""
    return list(row.get("stages") or [])
