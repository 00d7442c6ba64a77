"""What is left and what is kept while a method trains: unlearning methods are compared where they have forgotten alike.

Where a stopping rule ends says as much about the rule as about the loss. Only facts that are forgotten have such looks.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedModel

from behemoth_data.edits import EditSet, Probe
from behemoth_editing.scoring.answers import Answer, predict
from behemoth_editing.scoring.counts import count_units
from behemoth_editing.scoring.outcomes import PARTS, added, answered

# Shares of the old answers: all probes are asked at the first step that leaves no more than the next of them.
LEVELS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.0)
EQUAL = 0.05  # of old answers at most are left where methods are compared

Look = dict[str, Any]  # step, and the parts of all units together


class Watch:
    """Asks a model in training for its old answers, and for everything whenever clearly fewer are left."""

    def __init__(self, edit_set: EditSet, before: Sequence[Answer], every: int) -> None:
        self.looks: list[Look] = []
        self.seconds = 0.0
        self._edit_set, self._before, self._every = edit_set, before, every
        self._known: list[Probe] = [
            probe
            for probe, was in zip(edit_set.probes, before, strict=True)
            if probe.kind == "edited" and answered(was, probe.before.answer_ids)
        ]
        self._levels = list(LEVELS) if self._known else []

    def __call__(self, model: PreTrainedModel, step: int) -> None:
        """Called after each optimizer step with the model as it is then, and how many steps it has taken."""
        if step % self._every or not self._levels:
            return
        started = time.perf_counter()
        answers = zip(self._known, predict(model, self._known), strict=True)
        left = sum(answered(now, probe.before.answer_ids) for probe, now in answers) / len(self._known)
        if left <= self._levels[0]:
            units = count_units(self._edit_set, self._before, predict(model, self._edit_set.probes))
            self.looks.append({"step": step, **together(units)})
            self._levels = [level for level in self._levels if level < left]
        self.seconds += time.perf_counter() - started


def together(units: Sequence[Mapping[str, Any]]) -> Look:
    """The counts of all units, by part and kind."""
    found: Look = {}
    for part in PARTS:
        kinds: dict[str, list[list[int]]] = {}
        for unit in units:
            for kind, counts in unit.get(part, {}).items():
                kinds.setdefault(kind, []).append(counts)
        if kinds or part != "transfer":  # which not every draw asks for
            found[part] = {kind: added(counts, len(PARTS[part])) for kind, counts in kinds.items()}
    return found


def share_left(look: Mapping[str, Any]) -> float | None:
    """The share of the forgotten facts that a look still got the old answer to; None if the model knew none."""
    left, known, _, _ = look["forget"]["edited"]
    return left / known if known else None


def curve_of(row: Mapping[str, Any]) -> list[Look]:
    """The looks of a result row, the last of them at the edited model itself, which has no step."""
    return [*(row.get("looks") or []), {"step": None, **together(row["units"])}]


def look_at_equal(row: Mapping[str, Any]) -> Look | None:
    """The first look of a row at which at most EQUAL of the old answers were left; None if there was none."""
    for look in curve_of(row):
        left = share_left(look)
        if left is not None and left <= EQUAL:
            return look
    return None
