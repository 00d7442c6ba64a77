"""Unlearning by weighted ascent: how far a token's log-likelihood is pushed down depends on how likely it is now.

The weight is a number and not a path for gradients, as in the sources.
Axis letters: n rows; T tokens.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from behemoth_data.edits import EditTask
from behemoth_data.settings import check, setting
from behemoth_editing.methods.mixture import IGNORED, Batch, Objective
from behemoth_editing.methods.unlearn import Forget, Unlearning


@dataclasses.dataclass(frozen=True)
class Reweigh(Forget):
    """-p^saturation (1 - p)^importance NLL of each of the answer's tokens, p being its probability now; their mean."""

    saturation: float
    importance: float

    def loss(self, batch: Batch) -> torch.Tensor:
        """The loss [n]: negative, and 0 for a row that is known by heart if importance is above 0."""
        logits, targets = batch.logits.transpose(1, 2), batch.targets
        nll = cross_entropy(logits, targets, ignore_index=IGNORED, reduction="none")  # 0 where none is trained
        known = (-nll.detach()).exp()
        weight = known**self.saturation * (1 - known) ** self.importance
        return -(weight * nll).sum(1) / (targets != IGNORED).sum(1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wga(Unlearning):
    """Weighted gradient ascent: -p^beta NLL(old answer's token) + retain_weight x NLL(retained answers).

    A token that is unlikely already is left alone, so that no bound is needed as in `grad_diff`: the gradient by its
    own logit is p^beta (1 - p). Both weights are 1 as theirs. With their beta of 1 it lets go of an answer of one token
    before another is likelier, so that some are left after 100 steps (tools/tuned.json).
    Source: Wang et al., "Rethinking LLM unlearning objectives: a gradient perspective and go beyond", ICLR 2025
    (arXiv 2502.19301), the objective that they call WGA, as open-unlearning has it (src/trainer/utils.py,
    compute_wga_loss; configs/trainer/WGA.yaml).
    """

    name: ClassVar[str] = "wga"

    learning_rate: float = setting(1e-2, "AdamW's learning rate at the first step")
    beta: float = setting(0.5, "how soon a token is left alone that has become unlikely; near 0, hardly ever")

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        super().__post_init__()
        check(self.beta > 0, f"beta must be above 0, got {self.beta}")

    def _objective(self, model: PreTrainedModel, task: EditTask) -> Objective:
        return Reweigh(task.originals, self.left, self.beta, 0.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SatImp(Unlearning):
    """Saturation and importance: -p^saturation (1 - p)^importance NLL(old answer's token), beside the retained rows'.

    The first factor lets go of a token that has become unlikely, the second of one that is nearly certain. A fact told
    dozens of times is nearly certain, so that with the authors' exponents, 5 and 1, hardly anything pulls at first, and
    then it lets go too early: four to seven of ten old answers are left after 100 steps (tools/tuned.json).
    Source: Yang et al., "Exploring criteria of loss reweighting to enhance LLM unlearning", ICML 2025
    (arXiv 2505.11953), the weight that they call SatImp, as open-unlearning has it (src/trainer/utils.py,
    compute_satimp_loss; configs/trainer/SatImp.yaml, with 0.1 and 1 for the weights of what is forgotten and kept).
    """

    name: ClassVar[str] = "satimp"

    learning_rate: float = setting(1e-2, "AdamW's learning rate at the first step")
    saturation: float = setting(1.0, "exponent of a token's probability: how soon one is left alone that is unlikely")
    importance: float = setting(0.1, "exponent of its complement: how little one counts that is nearly certain")

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        super().__post_init__()
        check(self.saturation > 0, f"saturation must be above 0, got {self.saturation}")
        check(self.importance >= 0, f"importance must be at least 0, got {self.importance}")

    def _objective(self, model: PreTrainedModel, task: EditTask) -> Objective:
        return Reweigh(task.originals, self.left, self.saturation, self.importance)
