"""Unlearning: old answers are no longer given, whatever is said instead, or are refused. No new answer is taught.

Every loss here takes the place of the edited rows' loss in fit(), beside the retained rows' own.
Axis letters: n rows; T tokens; H hidden width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, logsigmoid
from transformers import PreTrainedModel

from behemoth_data.edits import EditTask
from behemoth_data.grammar import Query
from behemoth_data.rng import Stream
from behemoth_data.settings import check, check_known, setting
from behemoth_editing.architecture import check_layers, first_layers
from behemoth_editing.copies import copy_of
from behemoth_editing.methods.finetune import Tuning
from behemoth_editing.methods.mixture import IGNORED, Batch, Learn, Objective, mean_nll, rows_of
from behemoth_models.precision import autocast

TOKENS = ("answer", "all")
ROWS = 256  # rows that the given model reads in one batch


@dataclasses.dataclass(frozen=True)
class Forget(Objective):
    """The rows' answers are no longer to be given; a method says by which loss.

    It does not settle: the losses fall for as long as rows become less likely, which harms everything else.
    """

    settles: ClassVar[bool] = False

    left: float  # share of the rows that may still get them

    def reached(self, right: torch.Tensor) -> bool:
        """Whether no larger share of the rows is answered as it was."""
        return float(right.float().mean()) <= self.left


@dataclasses.dataclass(frozen=True)
class Ascend(Forget):
    """-min(NLL, max_loss): descent on it is ascent on a row's negative log-likelihood for as long as that is small."""

    max_loss: float

    def loss(self, batch: Batch) -> torch.Tensor:
        """The answers' mean log-likelihood per token [n], no lower than -max_loss."""
        return -mean_nll(batch.logits, batch.targets).clamp_max(self.max_loss)


@dataclasses.dataclass(frozen=True)
class Prefer(Forget):
    """-(2 / beta) log sigmoid(-beta (log p(y|x) - log p_ref(y|x))), answers' tokens summed."""

    beta: float
    reference: torch.Tensor  # [queries] log p_ref(y|x)

    def loss(self, batch: Batch) -> torch.Tensor:
        """The loss [n], (2 / beta) log 2 where a row is as likely as it was."""
        ratio = log_likelihood(batch.logits, batch.targets) - self.reference[batch.places]
        return -2 / self.beta * logsigmoid(-self.beta * ratio)


@dataclasses.dataclass(frozen=True)
class PreferSimply(Forget):
    """-(2 / beta) log sigmoid(-(beta / |y|) log p(y|x) - gamma), |y| being the answer's number of tokens."""

    beta: float
    gamma: float

    def loss(self, batch: Batch) -> torch.Tensor:
        """The loss [n]."""
        return -2 / self.beta * logsigmoid(self.beta * mean_nll(batch.logits, batch.targets) - self.gamma)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Misdirect(Forget):
    """|h - c u|^2 for the edited rows' hidden states, |h - h_0|^2 for the retained rows', as means over H."""

    layer: int | None
    given: nn.Module  # the given model's layers up to this one
    target: torch.Tensor  # [H] c u
    tokens: str
    precision: str

    def loss(self, batch: Batch) -> torch.Tensor:
        """The mean squared distance [n] of the chosen tokens' states from the target."""
        return self._distance(batch, self.target)

    def retain_loss(self, batch: Batch) -> torch.Tensor:
        """The mean squared distance [n] of the chosen tokens' states from the given model's."""
        with torch.no_grad(), autocast(self.precision, batch.tokens.device):
            states = self.given(input_ids=batch.tokens, use_cache=False).last_hidden_state
        return self._distance(batch, states.float())

    def _distance(self, batch: Batch, wanted: torch.Tensor) -> torch.Tensor:
        chosen = chosen_tokens(batch.targets, self.tokens)
        squares = (batch.states - wanted).square().mean(-1) * chosen
        return squares.sum(1) / chosen.sum(1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unlearning(Tuning):
    """What methods share that take old answers away and put none in their place.

    As in their sources, the loss is forget_weight x the edited rows' mean loss + retain_weight x the retained rows',
    however many rows of each there are; kinds of retained facts count alike.
    """

    goal: ClassVar[str] = "forget"
    reads: ClassVar[tuple[str, ...]] = ("originals", "retain", "same_subject")

    forget_weight: float = setting(1.0, "weight of the mean loss of what is to be forgotten")
    retain_weight: float = setting(1.0, "weight of the retain facts' mean loss")
    patience: int = setting(2, "steps for which old answers must be gone before it stops")
    left: float = setting(
        0.02, "share of the facts that may keep their old answer, which any constant answer is to some"
    )

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        super().__post_init__()
        check(self.left >= 0, f"left must be at least 0, got {self.left}")
        check(self.left < 1, f"left must be below 1, got {self.left}")
        check(self.forget_weight > 0, f"forget_weight must be above 0, got {self.forget_weight}")

    def weights(self, share: float) -> tuple[float, float]:
        """The weights as they are, whatever share of the mixture's rows is edited."""
        return self.forget_weight, self.retain_weight


@dataclasses.dataclass(frozen=True, kw_only=True)
class GradDiff(Unlearning):
    """Gradient difference: -forget_weight x NLL(old answers) + retain_weight x NLL(retained answers).

    Both weights are 1 as in TOFU and in open-unlearning (gamma and alpha there). NLL has no bound, and ascent that goes
    on harms everything else, so a row counts only up to max_loss.
    Source: Liu et al., "Continual learning and private unlearning", 2022; named so by Maini et al., "TOFU", 2024,
    section 3.
    """

    name: ClassVar[str] = "grad_diff"

    max_loss: float = setting(3.0, "negative log-likelihood per token at which a row is unlearned and left alone")

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        super().__post_init__()
        check(self.max_loss > 0, f"max_loss must be above 0, got {self.max_loss}")

    def _objective(self, model: PreTrainedModel, task: EditTask) -> Objective:
        return Ascend(task.originals, self.left, self.max_loss)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GradientAscent(GradDiff):
    """Gradient ascent on the old answers: the loss is -NLL, and nothing holds the rest unless `retain` says so.

    Source: Jang et al., "Knowledge unlearning for mitigating privacy risks in language models", 2022 (arXiv
    2210.01504); their rule that it ends once a text is forgotten holds here row by row, through max_loss.
    """

    name: ClassVar[str] = "gradient_ascent"

    retain: str = setting("none", "mixture: train on the retain facts too; none: on the edited facts only")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Npo(Unlearning):
    """Negative preference optimisation: -(2 / beta) log sigmoid(-beta (log p(y|x) - log p_ref(y|x))).

    The reference is the model given, and an answer's log-likelihood is the sum over its tokens. The authors' beta of
    0.1 is for answers of dozens of tokens, whose sums fall by dozens of nats; one or two tokens fall by a few, at which
    the loss would not let go of a row; the larger beta is, the larger steps it takes to be rid of an answer before it
    does. Both weights are 1 as theirs (npo_coeff, grad_diff_coeff).
    Source: Zhang et al., "Negative preference optimization: from catastrophic collapse to effective unlearning", 2024
    (arXiv 2404.05868), and their TOFU/config/forget.yaml.
    """

    name: ClassVar[str] = "npo"

    learning_rate: float = setting(1e-2, "AdamW's learning rate at the first step")
    beta: float = setting(3.0, "how soon the loss lets go of a row that has become less likely; near 0, hardly ever")

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        super().__post_init__()
        check(self.beta > 0, f"beta must be above 0, got {self.beta}")

    def _objective(self, model: PreTrainedModel, task: EditTask) -> Objective:
        return Prefer(task.originals, self.left, self.beta, _reference(model, task.originals, self.precision))


@dataclasses.dataclass(frozen=True, kw_only=True)
class SimNpo(Unlearning):
    """Negative preference optimisation without a reference: -(2 / beta) log sigmoid(-(beta / |y|) log p(y|x) - gamma).

    The margin 0 and the weight 1 of what is retained are the authors' and open-unlearning's. With their beta of 4.5 the
    pull on an answer that has lost a nat per token is a 45th of what it was: of dozens of tokens it is gone by then, of
    one or two it is not. With their weight 0.125 of what is forgotten (npo_coeff of their run on forget10) no trial of
    tools/tuned.json forgot within 100 steps. In the authors' code the margin is multiplied by beta, here, as in the
    paper, it is not.
    Source: Fan et al., "Simplicity prevails: rethinking negative preference optimization for LLM unlearning", 2024
    (arXiv 2410.07163), and their TOFU/README.md and TOFU/dataloader.py.
    """

    name: ClassVar[str] = "simnpo"

    learning_rate: float = setting(1e-2, "AdamW's learning rate at the first step")
    beta: float = setting(1.0, "how soon the loss lets go of a row that has become unlikely")
    gamma: float = setting(0.0, "margin, in units of the loss's exponent: the larger, the less likely a row must be")

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        super().__post_init__()
        check(self.beta > 0, f"beta must be above 0, got {self.beta}")
        check(self.gamma >= 0, f"gamma must be at least 0, got {self.gamma}")

    def _objective(self, model: PreTrainedModel, task: EditTask) -> Objective:
        return PreferSimply(task.originals, self.left, self.beta, self.gamma)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rmu(Unlearning):
    """Representation misdirection: the last chosen layer puts out c u for what is to be forgotten, as before elsewhere.

    u is a unit vector of uniform entries, the same for all rows; c is `steering` times the mean norm of the given
    model's own states there, so that one setting fits layers and models of any scale. Both weights are 1 as in
    open-unlearning; the authors' weight of what is retained, their alpha, belongs to the scale of their models.
    Source: Li et al., "The WMDP benchmark: measuring and reducing malicious use with unlearning", 2024
    (arXiv 2403.03218).
    """

    name: ClassVar[str] = "rmu"

    layers: tuple[int, ...] | None = setting((2, 3), "layers to train, of which the last is steered; none: all of them")
    steering: float = setting(2.0, "norm of the state steered to, in mean norms of the states that it replaces")
    tokens: str = setting("answer", "tokens whose states are steered or kept: answer: those that give it; all")

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        super().__post_init__()
        check(self.steering > 0, f"steering must be above 0, got {self.steering}")
        check_known("tokens", self.tokens, TOKENS)

    def check(self, model: PreTrainedModel) -> None:
        """Raises: ValueError for a layer that the model does not have, or a model whose layers are not known."""
        super().check(model)
        check_layers(model, self._layers(model))

    def _objective(self, model: PreTrainedModel, task: EditTask) -> Objective:
        layer = max(self._layers(model))
        given = first_layers(copy_of(model), layer + 1)
        norms: list[torch.Tensor] = []
        for start in range(0, len(task.originals), ROWS):
            tokens, targets = (rows.to(model.device) for rows in rows_of(task.originals[start : start + ROWS]))
            with torch.no_grad():
                states = given(input_ids=tokens, use_cache=False).last_hidden_state
            norms.append(states[chosen_tokens(targets, self.tokens)].norm(dim=-1))
        direction = direction_of(self.fit_seed, model.config.hidden_size).to(model.device)
        target = self.steering * torch.cat(norms).mean() * direction
        return Misdirect(
            queries=task.originals,
            left=self.left,
            layer=layer,
            given=given,
            target=target,
            tokens=self.tokens,
            precision=self.precision,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Refusal(Tuning):
    """Refusal tuning: NLL(refusals) + retain_weight x NLL(retained answers).

    Source: Maini et al., "TOFU: a task of fictitious unlearning for LLMs", 2024, section 3, there called IDK.
    """

    name: ClassVar[str] = "refusal"
    goal: ClassVar[str] = "refuse"
    reads: ClassVar[tuple[str, ...]] = ("refusals", "retain", "same_subject")

    def _objective(self, model: PreTrainedModel, task: EditTask) -> Objective:
        return Learn(task.refusals)


def log_likelihood(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The answers' log p(y|x) [n], their tokens summed, from logits [n, T, V] and targets [n, T]."""
    return -cross_entropy(logits.transpose(1, 2), targets, ignore_index=IGNORED, reduction="none").sum(1)


def chosen_tokens(targets: torch.Tensor, which: str) -> torch.Tensor:
    """Of the tokens of rows with these targets [n, T], those that predict the answer, or all but the padding [n, T]."""
    answers = targets != IGNORED
    # A row's last token is the last that has a target.
    return answers if which == "answer" else answers.flip(1).cummax(1).values.flip(1)


def direction_of(seed: int, width: int) -> torch.Tensor:
    """A unit vector [width] whose entries were drawn evenly from [0, 1)."""
    entries = Stream(seed, "editing/unlearn/direction").uniform(np.arange(width))
    return torch.from_numpy(entries / np.linalg.norm(entries)).float()


def _reference(model: PreTrainedModel, queries: Sequence[Query], precision: str) -> torch.Tensor:
    """The model's own log p(y|x) of all queries."""
    found: list[torch.Tensor] = []
    for start in range(0, len(queries), ROWS):
        tokens, targets = (rows.to(model.device) for rows in rows_of(queries[start : start + ROWS]))
        with torch.no_grad(), autocast(precision, model.device):
            logits = model(input_ids=tokens, use_cache=False).logits
        found.append(log_likelihood(logits.float(), targets))
    return torch.cat(found)
