"""Teach a Pythia its world: one accelerate loop, top to bottom, and the checkpoint folder it leaves.

Axis letters: B rows of a batch; T tokens of a sentence.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import shutil
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch.nn.functional import cross_entropy
from tqdm import tqdm
from transformers import GPTNeoXForCausalLM

from behemoth_data.corpus import Corpus
from behemoth_data.grammar import ends_in_object
from behemoth_data.lexicon import PADDING
from behemoth_data.settings import check, check_known, conform, setting
from behemoth_data.tokenizer import build_tokenizer
from behemoth_models.batches import batches, num_batches
from behemoth_models.pythia import SHAPES, pythia
from behemoth_models.recall import recall


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How a model is trained: one pass over the corpus, constant learning rate, then linear decay to zero."""

    size: str = setting("31m", "Pythia size: 14m, 31m or 70m")
    optimizer: str = setting("muon", "muon: Muon for all matrices but the input embedding, AdamW for the rest; adamw")
    learning_rate: float = setting(4e-3, "peak learning rate, of AdamW and Muon alike")
    weight_decay: float = setting(0.1, "weight decay of the matrices")
    batch_size: int = setting(256, "sentences per step, over all processes")
    warmup_fraction: float = setting(0.02, "share of the steps that warm up linearly")
    decay_fraction: float = setting(0.6, "share of the steps, at the end, that decay linearly to zero")
    max_grad_norm: float = setting(1.0, "gradients are clipped to this norm")
    precision: str = setting("bf16", "bf16: matrix products in bfloat16; no: float32 throughout")
    measurements: int = setting(6, "times that recall is measured during training")
    train_seed: int = setting(0, "seed of the initial weights")

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        conform(self)
        check_known("size", self.size, SHAPES)
        check_known("optimizer", self.optimizer, ["muon", "adamw"])
        check_known("precision", self.precision, ["bf16", "no"])
        for field in ("learning_rate", "max_grad_norm"):
            check(getattr(self, field) > 0, f"{field} must be above 0, got {getattr(self, field)}")
        for field in ("batch_size", "measurements"):
            check(getattr(self, field) >= 1, f"{field} must be at least 1, got {getattr(self, field)}")
        check(self.weight_decay >= 0, f"weight_decay must be at least 0, got {self.weight_decay}")
        for field in ("warmup_fraction", "decay_fraction"):
            check(0 <= getattr(self, field) <= 1, f"{field} must lie in [0, 1], got {getattr(self, field)}")


def learning_rate_factor(step: int, num_steps: int, config: TrainConfig) -> float:
    """What the peak learning rate is multiplied by at a step: warm-up, constant, linear decay to zero."""
    warmup = (step + 1) / max(1.0, config.warmup_fraction * num_steps)
    decay = (num_steps - step) / max(1.0, config.decay_fraction * num_steps)
    return min(1.0, warmup, decay)


def optimizers(model: torch.nn.Module, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """Muon for every matrix but the input embedding and AdamW for the rest, or AdamW for all.

    Source: Jordan et al., "Muon", 2024, with update sizes matched to AdamW's (Liu et al., "Muon is scalable
    for LLM training", 2025, equation 4). AdamW with Pythia's betas; gains, biases and, beside Muon, the input
    embedding are not decayed.
    """
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    embeddings = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" in name]
    vectors = [p for p in model.parameters() if p.ndim != 2]
    rate, decay, betas = config.learning_rate, config.weight_decay, (0.9, 0.95)
    if config.optimizer == "adamw":
        groups = [
            {"params": matrices + embeddings, "weight_decay": decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        return [torch.optim.AdamW(groups, lr=rate, betas=betas)]
    return [
        torch.optim.Muon(matrices, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(embeddings + vectors, lr=rate, betas=betas, weight_decay=0.0),
    ]


def next_token_loss(model: torch.nn.Module, tokens: torch.Tensor, padding: int) -> torch.Tensor:
    """Mean negative log-likelihood, in nats, of every token of the sentences [B, T] but the first and the padding."""
    logits = model(input_ids=tokens[:, :-1], use_cache=False).logits
    return cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten(), ignore_index=padding)


def train(corpus: Corpus, config: TrainConfig, output: str | Path, *, progress: bool = True) -> dict[str, Any]:
    """A model that has read the corpus once, saved in `output`; returns what training.json there holds.

    `output` becomes an ordinary Hugging Face folder (model, tokenizer, world in config.json), in one rename
    at the end. Raises: ValueError if it holds anything already; FloatingPointError if loss or weights are no
    numbers.
    """
    output = Path(output)
    check(
        not output.exists() or not any(output.iterdir()),
        f"output_dir must be empty or new so that no trained model is lost, got {str(output)!r}; "
        "choose another folder or remove it",
    )
    # bf16 by autocast below: an Accelerator's own precision is fixed for the life of the process.
    accelerator = Accelerator(mixed_precision="no")
    autocast = functools.partial(torch.autocast, accelerator.device.type, torch.bfloat16, config.precision == "bf16")
    num_steps = num_batches(corpus, config.batch_size)
    measured = {max(1, round(num_steps * (i + 1) / config.measurements)) for i in range(config.measurements)}
    padding = corpus.grammar.lexicon.token_ids[PADDING]

    torch.manual_seed(config.train_seed)
    model = _new_model(corpus, config)
    schedules = []
    prepared = [accelerator.prepare(model)]
    for optimizer in optimizers(model, config):
        optimizer = accelerator.prepare(optimizer)
        prepared.append(optimizer)
        schedules.append(
            torch.optim.lr_scheduler.LambdaLR(
                optimizer.optimizer, lambda step: learning_rate_factor(step, num_steps, config)
            )
        )
    wrapped, steppers = prepared[0], prepared[1:]

    curve: list[dict[str, Any]] = []
    started = time.perf_counter()
    quiet = not (progress and accelerator.is_main_process)
    bar = tqdm(total=num_steps, desc="training", unit="step", disable=quiet)
    shards = batches(corpus, config.batch_size, accelerator.process_index, accelerator.num_processes)
    for step, tokens in enumerate(shards, start=1):
        with autocast():
            loss = next_token_loss(wrapped, tokens.to(accelerator.device), padding)
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(wrapped.parameters(), config.max_grad_norm)
        for stepper, schedule in zip(steppers, schedules, strict=True):
            stepper.step()
            schedule.step()
            stepper.zero_grad()
        if not math.isfinite(loss.item()):
            raise FloatingPointError(f"loss is {loss.item()} at step {step}: try a lower learning_rate")
        if step in measured:
            with autocast():
                known = recall(accelerator.unwrap_model(wrapped), corpus)
            curve.append(_point(step, loss.item(), known, time.perf_counter() - started, corpus, config))
        seconds = time.perf_counter() - started
        bar.update()
        bar.set_postfix(
            loss=f"{loss.item():.3f}",
            recall=f"{min(curve[-1]['recall'].values()):.3f}" if curve else "?",
            tokens_per_s=f"{step * config.batch_size * (corpus.max_length - 1) / seconds:.0f}",
        )
    bar.close()

    trained = accelerator.unwrap_model(wrapped)
    if not all(bool(parameter.isfinite().all()) for parameter in trained.parameters()):
        raise FloatingPointError(f"weights are no numbers after step {num_steps}: try a lower learning_rate")
    report = {
        "config": dataclasses.asdict(config),
        "recall": _recall_by_form(trained, corpus),
        "exposures_per_fact": num_steps * config.batch_size / len(corpus) * corpus.config.repeats,
        "steps": num_steps,
        "sentences": num_steps * config.batch_size,
        "seconds": time.perf_counter() - started,
        "processes": accelerator.num_processes,
        "device": str(accelerator.device),
        "versions": {name: version(name) for name in ("torch", "transformers", "accelerate", "numpy")},
        "curve": curve,
    }
    if accelerator.is_main_process:
        save(trained, corpus, report, output)
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return report


def save(model: GPTNeoXForCausalLM, corpus: Corpus, report: dict[str, Any], output: Path) -> None:
    """Model, tokenizer, world and training report in a folder that appears complete or not at all."""
    model.config.behemoth = {**corpus.description(), "recall": report["recall"]}
    model.config.use_cache = True
    partial = output.with_name(f".{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        model.save_pretrained(partial)
        build_tokenizer(corpus.grammar.lexicon).save_pretrained(partial)
        (partial / "training.json").write_text(json.dumps(report, indent=2) + "\n")
        if output.exists():
            output.rmdir()  # empty: train() has checked
        partial.rename(output)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _new_model(corpus: Corpus, config: TrainConfig) -> GPTNeoXForCausalLM:
    """A fresh model whose vocabulary is the corpus's, rounded up to a multiple of 64 for fast products."""
    lexicon = corpus.grammar.lexicon
    model = pythia(config.size, -(-len(lexicon.vocabulary) // 64) * 64)
    model.set_attn_implementation("eager")  # sentences are so short that a fused kernel costs more than it saves
    model.config.bos_token_id = model.config.eos_token_id = corpus.grammar.end_id
    model.config.pad_token_id = lexicon.token_ids[PADDING]
    model.generation_config.bos_token_id = model.generation_config.eos_token_id = corpus.grammar.end_id
    model.generation_config.pad_token_id = lexicon.token_ids[PADDING]
    return model


def _recall_by_form(model: GPTNeoXForCausalLM, corpus: Corpus) -> dict[str, dict[str, float]]:
    forms: Sequence[str] = [form for form in corpus.forms if ends_in_object(form)]
    return {form: recall(model, corpus, form) for form in forms}


def _point(
    step: int, loss: float, known: dict[str, float], seconds: float, corpus: Corpus, config: TrainConfig
) -> dict[str, Any]:
    exposures = step * config.batch_size / len(corpus) * corpus.config.repeats
    return {"step": step, "exposures": exposures, "loss": loss, "recall": known, "seconds": seconds}
