"""Unlearning under a constraint: what is retained may cost so much and no more, and a multiplier sees to it.

Axis letters: n rows; T tokens; V words of the vocabulary.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import torch
from transformers import PreTrainedModel

from behemoth_data.edits import EditTask
from behemoth_data.settings import check, setting
from behemoth_editing.methods.mixture import IGNORED, Batch, Objective
from behemoth_editing.methods.unlearn import Forget, Unlearning


@dataclasses.dataclass
class Multiplier:
    """The constraint's price, which rises by `step` times what the retained rows cost more than `tolerance`."""

    price: float
    step: float
    tolerance: float
    warmup: int  # steps before it moves
    costs: list[float] = dataclasses.field(default_factory=list)  # of this step, kind by kind

    def settle(self) -> None:
        """The price is that of the next step: never below 0."""
        if self.costs and self.warmup <= 0:
            excess = sum(self.costs) / len(self.costs) - self.tolerance
            self.price = max(0.0, self.price + self.step * excess)
        self.warmup -= 1
        self.costs.clear()


@dataclasses.dataclass(frozen=True)
class Flatten(Forget):
    """(max z - mean z)^2 over the vocabulary's logits z at each of the answer's tokens, their mean."""

    multiplier: Multiplier

    def loss(self, batch: Batch) -> torch.Tensor:
        """The squared margin [n], 0 where every word is as likely."""
        answers = batch.targets != IGNORED
        margins = (batch.logits.amax(-1) - batch.logits.mean(-1)).square() * answers
        return margins.sum(1) / answers.sum(1)

    def retain_loss(self, batch: Batch) -> torch.Tensor:
        """The price of this step times the answers' mean negative log-likelihood per token [n]."""
        loss = super().retain_loss(batch)
        self.multiplier.costs.append(loss.detach().mean().item())
        return self.multiplier.price * loss

    def stepped(self) -> None:
        """The multiplier has taken its step."""
        self.multiplier.settle()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pdu(Unlearning):
    """Primal-dual unlearning: the least (max z - mean z)^2 for which the retained NLL is at most `tolerance`.

    Gradient steps on forget_weight x margin + price x NLL(retained answers) alternate with the price's own, price <-
    max(0, price + dual_step x (NLL - tolerance)), which starts at retain_weight and stands still for `dual_warmup`
    steps. The margin is a square of logits, hence the large price. open-unlearning's margin is that at the places of
    the answer's tokens, which predict the tokens behind them, so that an answer of one would not be touched; here it is
    where the answer's tokens are predicted, as the paper has it.
    Source: Entesari et al., "Constrained entropic unlearning: a primal-dual framework for large language models", 2025
    (arXiv 2506.05314): the constrained problem, logit-margin flattening, and the primal-dual updates; and
    open-unlearning's src/trainer/unlearn/pdu.py and community/methods/PDU/run.sh (price 100, dual step 5, tolerance
    0.3, the price still for half of the epochs).
    """

    name: ClassVar[str] = "pdu"

    retain_weight: float = setting(100.0, "price of the retain facts' loss at the first step")
    dual_step: float = setting(5.0, "by how much the price rises for a nat above the tolerance, in each step")
    dual_warmup: int = setting(0, "steps for which the price stays as it is")
    tolerance: float = setting(0.3, "mean negative log-likelihood per token that the retain facts may have")

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        super().__post_init__()
        for field in ("dual_step", "dual_warmup", "tolerance"):
            check(getattr(self, field) >= 0, f"{field} must be at least 0, got {getattr(self, field)}")

    def weights(self, share: float) -> tuple[float, float]:
        """The weight of what is forgotten; what is retained counts its price."""
        return self.forget_weight, 1.0

    def _objective(self, model: PreTrainedModel, task: EditTask) -> Objective:
        multiplier = Multiplier(self.retain_weight, self.dual_step, self.tolerance, self.dual_warmup)
        return Flatten(task.originals, self.left, multiplier)
