"""A rival for the benchmark of training: transformers' Trainer on packed sentences, measured as our loop is."""

from __future__ import annotations

import math
import tempfile
import time
from typing import Any

import numpy as np
import torch
import transformers
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments

from behemoth_data import Corpus
from behemoth_data.lexicon import PADDING
from behemoth_data.settings import check
from behemoth_models.config import TrainConfig
from behemoth_models.knowledge import recall
from behemoth_models.sizes import pythia


def train_packed(
    corpus: Corpus, config: TrainConfig, *, block_tokens: int, batch_size: int, max_seconds: float
) -> dict[str, Any]:
    """`curve` and `seconds` as in training.json, of a Trainer whose batches are `batch_size` blocks of sentences.

    Of `config` it takes what AdamW and a cosine need, the model, the seed, when recall is measured and the target;
    the rest are Trainer's own defaults.
    Raises: ValueError for a corpus that does not fill a block.
    """
    blocks = packed(corpus, block_tokens)
    torch.manual_seed(config.train_seed)
    model = pythia(config.size, 64 * math.ceil(len(corpus.grammar.lexicon.vocabulary) / 64))
    curve = _Curve(model, corpus, config, math.ceil(len(blocks) / batch_size), max_seconds)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=folder,
                num_train_epochs=1,
                per_device_train_batch_size=batch_size,
                learning_rate=config.learning_rate,
                adam_beta1=0.9,
                adam_beta2=0.95,
                weight_decay=config.weight_decay,
                max_grad_norm=config.max_grad_norm,
                warmup_steps=config.warmup_fraction,  # below 1 it is a share of the steps
                lr_scheduler_type="cosine_with_min_lr",
                lr_scheduler_kwargs={"min_lr_rate": config.final_fraction},
                seed=config.train_seed,
                save_strategy="no",
                logging_strategy="no",
                report_to="none",
            ),
            train_dataset=[{"input_ids": block, "labels": block} for block in blocks],
            callbacks=[curve],
        )
        trainer.remove_callback(transformers.trainer_callback.ProgressCallback)  # it prints to standard output
        trainer.train()
    return {"curve": curve.points, "seconds": curve.points[-1]["seconds"]}


def packed(corpus: Corpus, length: int) -> torch.Tensor:
    """All sentences of the corpus in its order, end to end, as blocks [n, length]; what is left over is not seen.

    Raises: ValueError for a corpus that does not fill a block.
    """
    tokens = corpus.block(0, len(corpus)).ravel()
    tokens = tokens[tokens != corpus.grammar.lexicon.token_ids[PADDING]].astype(np.int64)
    check(len(tokens) >= length, f"block_tokens must be at most {len(tokens)}, the corpus's tokens, got {length}")
    return torch.from_numpy(tokens[: len(tokens) // length * length].reshape(-1, length))


class _Curve(TrainerCallback):
    """Measures a Trainer's model as our loop measures its own, and ends training at the target or the limit."""

    def __init__(
        self, model: PreTrainedModel, corpus: Corpus, config: TrainConfig, num_steps: int, max_seconds: float
    ) -> None:
        self.points: list[dict[str, Any]] = []
        self._model, self._corpus, self._num_steps, self._max_seconds = model, corpus, num_steps, max_seconds
        self._target, count = config.target_recall or 1.0, config.measurements
        self._measured = {max(1, round(num_steps * (i + 1) / count)) for i in range(count)}
        self._steps = self._started = self._resumed = 0.0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """The clock runs."""
        self._started = self._resumed = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Recall is measured if it is time, with the clock of the steps stopped."""
        now = time.perf_counter()
        self._steps, self._resumed = self._steps + now - self._resumed, now
        over = now - self._started > self._max_seconds
        if state.global_step not in self._measured and not over:
            return
        known = recall(self._model, self._corpus)
        self._resumed = time.perf_counter()
        self.points.append(
            {
                "step": state.global_step,
                "recall": known,
                "exposures": dict.fromkeys(known, state.global_step / self._num_steps * self._corpus.config.repeats),
                "seconds": self._resumed - self._started,
                "step_seconds": self._steps,
            }
        )
        control.should_training_stop |= over or min(known.values()) >= self._target
