"""The only place where models answer probes. What the answers are worth, metrics say."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedModel

from behemoth_data.edits import Probe
from behemoth_models.recall import greedy_answers

Answer = tuple[int, ...]


def predict(model: PreTrainedModel, probes: Sequence[Probe], progress: str | None = None) -> list[Answer]:
    """The tokens that greedy generation answers to each probe, as many as its answer has.

    A probe's answers before and after are words of one role, so they have equally many tokens.
    """
    prompts = [probe.before.prompt_ids for probe in probes]
    widths = [len(probe.before.answer_ids) for probe in probes]
    return greedy_answers(model, prompts, widths, progress=progress)
