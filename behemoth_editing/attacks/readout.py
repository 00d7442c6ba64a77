"""The attack that reads the model's states by a rule learned from facts of the relation that are not edited.

Axis letters: n facts that a rule is learned from; m facts that are asked; D hidden width; C candidates.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax
from transformers import PreTrainedModel

from behemoth_data.edits import EditSet
from behemoth_data.settings import check, setting
from behemoth_editing.architecture import layers_of, recorded
from behemoth_editing.attacks.contract import (
    Asking,
    Attacked,
    Floats,
    Int64,
    Refused,
    candidates_of,
    look,
    old_tails,
    untouched,
)
from behemoth_models.knowledge import evaluating

LEAST_TAUGHT = 10  # facts that a probe is learned from
_RIDGES = 10.0 ** np.arange(-6, 3)  # of the mean squared singular value
_SCALES = np.concatenate([[0.0], 2.0 ** np.arange(-2, 11, 0.5)])
_LEAST_SIZE = 1e-6  # of a direction, as a share of all states: less is rounding of float32
_BATCH = 512


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probe(Asking):
    """A linear probe of every layer, learned from facts of the relation that are not edited; the edited ones are asked.

    Its inputs are the states of a prompt's last token, as each layer puts them out. It is ridge regression to the
    objects' indicators, and a softmax of what it says times one number. The ridge and that number are those of the
    least cross-entropy on the facts that it is learned from, each left out in turn, so that a probe that finds nothing
    says that all objects are alike. No subject that it is learned from is asked.
    Source: Alain and Bengio, "Understanding intermediate layers using linear classifier probes", 2016 (arXiv
    1610.01644); Hoerl and Kennard, "Ridge regression", 1970; for leaving out in closed form, Allen, "The relationship
    between variable selection and data augmentation and a method for prediction", 1974.
    """

    name: ClassVar[str] = "probe"
    axis: ClassVar[str] = "layers passed"

    most_taught: int = setting(2000, "facts of the relation that the probe is learned from, at most")

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        super().__post_init__()
        check(self.most_taught >= LEAST_TAUGHT, f"most_taught must be at least {LEAST_TAUGHT}, got {self.most_taught}")

    def check(self, model: PreTrainedModel) -> None:
        """Raises: ValueError for a model of another architecture."""
        layers_of(model)

    def __call__(self, model: PreTrainedModel, task: EditSet) -> Attacked:
        """What each layer has left. Raises: Refused where hardly a fact of the relation is not edited."""
        self.check(model)
        asked, taught = self.asked(task), untouched(task, self.attack_seed, self.most_taught)
        if len(taught) < LEAST_TAUGHT:
            raise Refused(
                f"edits must leave at least {LEAST_TAUGHT} facts of the relation, to learn a probe from, got "
                f"{len(taught)}"
            )
        queries = task.corpus.grammar.queries(taught, task.corpus.forms[0])
        known = states_of(model, [query.prompt_ids for query in queries])
        others = states_of(model, [task.originals[place].prompt_ids for place in asked.tolist()])
        tails, true = np.array([fact.tail for fact in taught]), old_tails(task, asked)
        looks, left_out = [], []
        for layer, (here, there) in enumerate(zip(known, others, strict=True), start=1):
            fitted = fit_probe(here, tails, len(candidates_of(task)))
            looks.append(look(layer, fitted.log_probabilities(there), true))
            left_out.append(float(fitted.left_out.mean()))
        return Attacked(asked, tuple(looks), {"taught": len(taught), "bits_left_out": left_out})


class Fitted(NamedTuple):
    """A probe: log p = log softmax(scale ((x - centre) W + b)), and its bits of the facts that it was learned from."""

    weights: Floats  # [D, C]
    intercept: Floats  # [C]
    centre: Floats  # [D]
    scale: float
    left_out: Floats  # [n] bits of the facts that it was learned from, each by what the others teach

    def log_probabilities(self, states: Floats) -> Floats:
        """Those [m, C] of states [m, D]."""
        return np.asarray(log_softmax(self.scale * ((states - self.centre) @ self.weights + self.intercept), axis=1))


def fit_probe(states: Floats, tails: Int64, count: int) -> Fitted:
    """The probe of states [n, D] whose facts have these tails [n] among `count` candidates.

    Ridge and scale are those of the least cross-entropy of what without_each() says of each fact.
    """
    targets = np.eye(count)[tails]
    centre, intercept = states.mean(axis=0), targets.mean(axis=0)
    left, sizes, right = np.linalg.svd(states - centre, full_matrices=False)
    sizes = np.where(sizes > _LEAST_SIZE * np.linalg.norm(states), sizes, 0.0)  # where all states are alike
    inside = left.T @ targets
    best: tuple[float, float, float, Floats] | None = None  # cross-entropy in nats, ridge, scale, log-likelihoods
    for ridge in _RIDGES * max(float((sizes**2).mean()), 1e-30):
        alone = without_each(left, sizes**2 / (sizes**2 + ridge), targets)
        for scale in _SCALES:
            likely = log_softmax(scale * alone, axis=1)[np.arange(len(tails)), tails]
            found = (float(-likely.mean()), ridge, float(scale), likely)
            best = found if best is None or found[0] < best[0] else best
    if best is None:
        raise ValueError("states must hold at least 1 fact, got 0")
    _, ridge, scale, likely = best
    weights = (right.T * (sizes / (sizes**2 + ridge))) @ inside
    return Fitted(weights, intercept, centre, scale, np.log2(count) + likely / np.log(2))


def without_each(left: Floats, kept: Floats, targets: Floats) -> Floats:
    """What ridge regression says of each of its n facts [n, C] if it is fitted without that fact.

    `left` [n, r] are the left singular vectors of the centred inputs, `kept` [r] the share s^2 / (s^2 + ridge) of each
    direction. With f what the whole fit says, and h the fact's leverage, it is y - (y - f) / (1 - h): 1 / n of h is the
    mean's, which is not penalised.
    Source: Allen, 1974 (PRESS); Golub, Heath and Wahba, "Generalized cross-validation", 1979, section 1.
    """
    said = targets.mean(axis=0) + (left * kept) @ (left.T @ targets)
    leverage = 1 / len(left) + (left**2 * kept).sum(axis=1)
    return np.asarray(targets - (targets - said) / np.maximum(1 - leverage, 1e-9)[:, None], np.float64)


def states_of(model: PreTrainedModel, prompts: Sequence[Sequence[int]]) -> list[Floats]:
    """The states [m, D] float64 of the prompts' last tokens that each layer puts out.

    By hooks that are gone afterwards: those by which transformers gives hidden states stay in the model.
    Raises: ValueError for prompts of unequal length.
    """
    lengths = {len(prompt) for prompt in prompts}
    check(len(lengths) == 1, f"prompts must be of one length to be probed together, got {sorted(lengths)}")
    found: list[list[NDArray[np.float64]]] = []
    for start in range(0, len(prompts), _BATCH):
        tokens = torch.tensor([list(prompt) for prompt in prompts[start : start + _BATCH]], device=model.device)
        with evaluating(model) as asked, contextlib.ExitStack() as hooks:
            states = [hooks.enter_context(recorded(layer)) for layer in layers_of(asked)]
            asked.base_model(input_ids=tokens, use_cache=False)
        found.append([layer[0][:, -1].cpu().double().numpy() for layer in states])
    return [np.concatenate(parts) for parts in zip(*found, strict=True)]
