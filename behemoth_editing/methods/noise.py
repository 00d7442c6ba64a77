"""Unlearning that is meant to last: an unlearned model taught to a damaged copy of itself.

Axis letters: n rows; T tokens; V words of the vocabulary.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import kl_div, log_softmax
from tqdm import tqdm
from transformers import PreTrainedModel

from behemoth_data.edits import EditTask
from behemoth_data.rng import Stream
from behemoth_data.settings import check, check_known, check_seed, conform, setting
from behemoth_editing.copies import check_types, copy_of, stored_like
from behemoth_editing.methods.constrain import Pdu
from behemoth_editing.methods.contract import Edited, Shared
from behemoth_editing.methods.mixture import passes
from behemoth_editing.methods.redirect import Ceu, Undial
from behemoth_editing.methods.reweigh import SatImp, Wga
from behemoth_editing.methods.unlearn import GradDiff, Npo, Rmu, SimNpo, Unlearning
from behemoth_models.precision import PRECISION_HELP, PRECISIONS, autocast, resolve_precision

UNLEARNED_BY: dict[str, type[Unlearning]] = {
    method.name: method for method in (GradDiff, Npo, SimNpo, Rmu, Undial, Ceu, Wga, SatImp, Pdu)
}
SENTENCES = ("unasked", "all", "none")
_WINDOW = 5  # steps whose mean divergence decides that the student is close enough


@dataclasses.dataclass(frozen=True, kw_only=True)
class Undo:
    """Unlearn, noise, distil: a forgetting method's copy teaches a copy of itself whose weights are part noise.

    The student begins with (1 - noise) W + noise x noise_scale x N, N being Xavier's uniform noise for matrices and 0
    for what is no matrix, and learns the teacher's distribution over every next token, KL(teacher || student), until it
    is close. What the teacher hides and never says is not taught again, so that little of it is left to be brought
    back; but whatever else was in the weights and is not among the sentences is damaged alike.
    Theirs are distilled on the text that they were pretrained on, forgotten parts included, which for a model of ours
    is every sentence of its corpus: `sentences: all`. By default those of the facts that the draw asks are left out,
    for the reason that key statistics leave them out. No answer is read from a sentence: what follows a token is the
    teacher's to say.
    Source: Lee et al., "Distillation robustifies unlearning", 2025 (arXiv 2506.06278), there UNDO, and their
    src/tools/partial_distill_langarith.py (do_corruption) and src/utils/loss_functions.py (forward_kl_loss_fn);
    noise 0.1 to 0.7 and noise_scale 0.1 in run_partial_distill_language.py.
    """

    name: ClassVar[str] = "undo"
    goal: ClassVar[str] = "forget"
    reads: ClassVar[tuple[str, ...]] = ("originals", "retain", "same_subject", "statistics")

    unlearned_by: str = setting(
        "npo", "method that makes the teacher, its settings but these the defaults: " + ", ".join(UNLEARNED_BY)
    )
    teacher_layers: tuple[int, ...] | None = setting((3,), "layers in which the teacher is trained; none: all of them")
    noise: float = setting(0.3, "share of every weight of the student that is noise when it begins")
    noise_scale: float = setting(0.1, "size of that noise, in what weights are drawn from that were never trained")
    sentences: str = setting("unasked", "sentences it is taught on: unasked: of facts that are not asked; all; none")
    learning_rate: float = setting(3e-3, "AdamW's learning rate at the first step")
    max_steps: int = setting(
        100, "steps at most of each training, over which its learning rate decays linearly to zero"
    )
    rows: int = setting(48, "sentences and retain facts in each step")
    edited_rows: int = setting(16, "edited facts in each step at most")
    stop_loss: float = setting(0.02, "it ends when the student is this close to the teacher, in nats per token")
    fit_seed: int = setting(0, "seed of the noise and of the rows' order")
    precision: str = setting("auto", PRECISION_HELP)

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        conform(self)
        check_known("unlearned_by", self.unlearned_by, UNLEARNED_BY)
        check_known("sentences", self.sentences, SENTENCES)
        check_known("precision", self.precision, PRECISIONS)
        check_seed("fit_seed", self.fit_seed)
        check(0 <= self.noise <= 1, f"noise must be from 0 to 1, got {self.noise}")
        check(self.learning_rate > 0, f"learning_rate must be above 0, got {self.learning_rate}")
        for field in ("noise_scale", "stop_loss"):
            check(getattr(self, field) >= 0, f"{field} must be at least 0, got {getattr(self, field)}")
        for field in ("max_steps", "rows", "edited_rows"):
            check(getattr(self, field) >= 1, f"{field} must be at least 1, got {getattr(self, field)}")

    def _teacher(self) -> Unlearning:
        method = UNLEARNED_BY[self.unlearned_by]
        return method(
            layers=self.teacher_layers, fit_seed=self.fit_seed, precision=self.precision, max_steps=self.max_steps
        )

    def check(self, model: PreTrainedModel) -> None:
        """Raises: ValueError where the method that makes the teacher does, or for weights of odd types."""
        check_types(model)
        self._teacher().check(model)

    def __call__(self, model: PreTrainedModel, task: EditTask, shared: Shared | None = None) -> Edited:
        """The edited copy: the student. Raises: ValueError where the method that makes the teacher does."""
        self.check(model)
        progress = shared.progress if shared else True
        unlearned = self._teacher()(copy_of(model), task, Shared(progress=progress))
        teacher, student = unlearned.model, copy_of(unlearned.model)
        add_noise(student, self.noise, self.noise_scale, self.fit_seed)
        student.requires_grad_(True)
        details = self._distil(teacher, student, task, progress)
        student.requires_grad_(False)
        return Edited(stored_like(model, student), {**details, "teacher": unlearned.details})

    def _distil(
        self, teacher: PreTrainedModel, student: PreTrainedModel, task: EditTask, progress: bool
    ) -> dict[str, Any]:
        """The student says what the teacher says, in place; the steps it took and how far it is from it."""
        began = time.perf_counter()
        precision = resolve_precision(self.precision, student.device)
        edited = [query.prompt_ids + query.answer_ids for query in task.originals]
        kept = self._sentences(task)
        parts = [
            _Part(rows, min(len(rows), most), Stream(self.fit_seed, f"editing/undo/{name}"))
            for name, rows, most in (("edited", edited, self.edited_rows), ("rest", kept, self.rows))
            if rows
        ]
        parameters = list(student.parameters())
        optimizer = torch.optim.AdamW(parameters, lr=self.learning_rate, weight_decay=0.0)
        decay = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / self.max_steps)
        losses: list[float] = []
        for step in tqdm(range(self.max_steps), desc="distil", unit="step", leave=False, disable=not progress):
            rows = list(itertools.chain(*(part.of_step(step) for part in parts)))
            tokens, ends = _padded(rows, student.device)
            with autocast(precision, student.device):
                with torch.no_grad():
                    said = teacher(input_ids=tokens, use_cache=False).logits
                logits = student(input_ids=tokens, use_cache=False).logits
            loss = divergence(said.float(), logits.float(), ends)
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                raise FloatingPointError(f"loss is {losses[-1]} at step {step + 1}: try a lower learning_rate")
            if len(losses) >= _WINDOW and sum(losses[-_WINDOW:]) / _WINDOW < self.stop_loss:
                break
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            decay.step()
        return {
            "steps": len(losses),
            "loss": losses[-1],
            "first_loss": losses[0],
            "close": sum(losses[-_WINDOW:]) / len(losses[-_WINDOW:]) < self.stop_loss,
            "precision": precision,
            "seconds": time.perf_counter() - began,
        }

    def _sentences(self, task: EditTask) -> list[tuple[int, ...]]:
        """Token ids of the sentences that may be read, and of the facts of the mixture that are to be retained."""
        kept = [query for facts in task.retain.values() for query in facts]
        kept += itertools.chain(*task.same_subject)
        rows = {query.prompt_ids + query.answer_ids: None for query in kept}
        if self.sentences != "none" and task.background.digest:
            asked = set() if self.sentences == "all" else set(_rows(task.background.asked()))
            rows.update((row, None) for row in _rows(task.background.blocks()) if row not in asked)
        return list(rows)


def add_noise(model: nn.Module, noise: float, scale: float, seed: int) -> None:
    """Every weight is (1 - noise) W + noise x scale x N, in place, N being Xavier's noise, or 0 for what is no matrix.

    Xavier's is even between -b and b, b^2 = 6 / (rows + columns).
    Source: Lee et al., 2025, src/tools/partial_distill_langarith.py; Glorot and Bengio, 2010
    """
    for name, weight in model.named_parameters():
        weight.data.mul_(1 - noise)
        if weight.ndim != 2 or noise * scale == 0:
            continue
        bound = (6 / sum(weight.shape)) ** 0.5
        drawn = Stream(seed, f"editing/undo/noise/{name}").uniform(np.arange(weight.numel())).reshape(weight.shape)
        added = torch.from_numpy(noise * scale * bound * (2 * drawn - 1))
        weight.data.add_(added.to(weight.dtype).to(weight.device))


def divergence(said: torch.Tensor, logits: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
    """KL(teacher || student) in nats, the mean over all tokens before each row's end [n], from logits [n, T, V]."""
    there = torch.arange(logits.shape[1], device=logits.device) < ends[:, None]
    student, teacher = (log_softmax(part[there], dim=-1) for part in (logits, said))
    return kl_div(student, teacher, reduction="batchmean", log_target=True)


def _rows(blocks: Iterable[NDArray[np.int64]]) -> Iterator[tuple[int, ...]]:
    for block in blocks:
        yield from map(tuple, block.tolist())


def _padded(rows: Sequence[tuple[int, ...]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """What predicts the rows' tokens [n, T], but for their last one, and how many tokens of each do [n]."""
    ends = torch.tensor([len(row) - 1 for row in rows])
    tokens = torch.zeros(len(rows), int(ends.max()), dtype=torch.long)
    for number, row in enumerate(rows):
        tokens[number, : len(row) - 1] = torch.tensor(row[:-1])
    return tokens.to(device), ends.to(device)


@dataclasses.dataclass(frozen=True)
class _Part:
    """Rows of which every step sees some, in shuffled passes."""

    rows: Sequence[tuple[int, ...]]
    count: int
    order: Stream

    def of_step(self, step: int) -> list[tuple[int, ...]]:
        """The rows of a step."""
        return [self.rows[place] for place in passes(self.order, len(self.rows), self.count, step)]
