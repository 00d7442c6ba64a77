"""Unlearning by a distribution in the answer's place: what the model said otherwise is what it shall say now.

Axis letters: n rows; T tokens; W tokens of the longest answer; V words of the vocabulary.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from behemoth_data.edits import EditTask
from behemoth_data.settings import check, setting
from behemoth_editing.methods.mixture import IGNORED, Batch, Objective, rows_of
from behemoth_editing.methods.unlearn import ROWS, Forget, Unlearning
from behemoth_models.precision import autocast


class Redirect(Forget):
    """The cross-entropy of the model with a wanted distribution over each of the answer's tokens, their mean."""

    def loss(self, batch: Batch) -> torch.Tensor:
        """The loss [n]."""
        answers = batch.targets != IGNORED
        logits, tokens = batch.logits[answers], batch.targets[answers]  # [answer tokens of all rows, V] and [same]
        losses = cross_entropy(logits, self.wanted(batch, logits.detach(), tokens), reduction="none")
        return batch.logits.new_zeros(answers.shape).masked_scatter(answers, losses).sum(1) / answers.sum(1)

    def wanted(self, batch: Batch, logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """The distribution wanted at each token of the answers, row by row, from what the model says there now."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Adjust(Redirect):
    """Wanted is what the given model says, the logit of the answer's token being lower by beta."""

    beta: float
    given: torch.Tensor  # [queries, W, V] the given model's logits at the answer's tokens, padded behind them

    def wanted(self, batch: Batch, logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """The given model's distribution, adjusted."""
        lengths = (batch.targets != IGNORED).sum(1)
        there = torch.arange(self.given.shape[1], device=lengths.device) < lengths[:, None]
        given = self.given[batch.places][there]
        return given.scatter_add(1, tokens[:, None], given.new_full((len(tokens), 1), -self.beta)).softmax(1)


@dataclasses.dataclass(frozen=True)
class Exclude(Redirect):
    """Wanted is what the model says now without the answer's token: the others share what it had."""

    def wanted(self, batch: Batch, logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """The model's own distribution, the answer's token left out."""
        return logits.scatter(1, tokens[:, None], -torch.inf).softmax(1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Undial(Unlearning):
    """Self-distillation from adjusted logits: the given model's distribution, with beta off the old token's logit.

    Unlike ascent it has an end, the adjusted distribution. Theirs trains on what is to be forgotten alone; open-
    unlearning suggests a beta of 3, 10 or 30, and a search over the weight of a retain term. There the loss is also
    over tokens that no answer has, whose target loses beta at a word of the vocabulary that has nothing to do with it
    (the label -100 counted from the end); here it is over the answer's.
    Source: Dong et al., "UNDIAL: self-distillation with adjusted logits for robust unlearning in large language
    models", NAACL 2025 (arXiv 2402.10052), as open-unlearning has it (src/trainer/utils.py,
    compute_undial_loss; configs/trainer/UNDIAL.yaml).
    """

    name: ClassVar[str] = "undial"

    beta: float = setting(10.0, "taken off the given model's logit of each of the old answer's tokens")

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        super().__post_init__()
        check(self.beta > 0, f"beta must be above 0, got {self.beta}")

    def _objective(self, model: PreTrainedModel, task: EditTask) -> Objective:
        longest = max(len(query.answer_ids) for query in task.originals)
        found: list[torch.Tensor] = []
        for start in range(0, len(task.originals), ROWS):
            tokens, targets = (rows.to(model.device) for rows in rows_of(task.originals[start : start + ROWS]))
            with torch.no_grad(), autocast(self.precision, model.device):
                logits = model(input_ids=tokens, use_cache=False).logits.float()
            answers = targets != IGNORED
            there = torch.arange(longest, device=answers.device) < answers.sum(1, keepdim=True)
            kept = logits.new_zeros(len(tokens), longest, logits.shape[-1])
            kept[there] = logits[answers]
            found.append(kept)
        return Adjust(task.originals, self.left, self.beta, torch.cat(found))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ceu(Unlearning):
    """Cross-entropy unlearning: the target is the model's own distribution of the moment without the old token.

    Its gradient by the old token's logit is that token's probability: no more than 1, and 0 once it is gone, where
    that of ascent is 1 less it. Theirs has no retain term. Their implementation leaves the first token of each answer
    alone, which would leave nothing of an answer of one.
    Source: Yang, "CE-U: cross entropy unlearning", 2025 (arXiv 2503.01224), and open-unlearning's
    src/trainer/unlearn/ceu.py.
    """

    name: ClassVar[str] = "ceu"

    learning_rate: float = setting(1e-3, "AdamW's learning rate at the first step")

    def _objective(self, model: PreTrainedModel, task: EditTask) -> Objective:
        return Exclude(task.originals, self.left)
