"""Teach a Pythia its world: one accelerate loop, top to bottom.

Axis letters: B rows of a batch; T tokens of a sentence.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from accelerate.utils import GradientAccumulationPlugin
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy
from tqdm import tqdm
from transformers import GPTNeoXForCausalLM, PreTrainedModel

from behemoth_data.corpus import Corpus
from behemoth_data.forms import has_prompt
from behemoth_data.lexicon import PADDING
from behemoth_data.places import local_path
from behemoth_data.settings import check, check_known
from behemoth_models.batches import Feed, Sentences
from behemoth_models.config import TrainConfig
from behemoth_models.knowledge import known_facts
from behemoth_models.ledger import Ledger
from behemoth_models.optim import learning_rate_factor, optimizers
from behemoth_models.precision import autocast, resolve_precision
from behemoth_models.reproducible import reproducible
from behemoth_models.run import Run, State
from behemoth_models.sizes import pythia

TRACKERS = ("tensorboard", "trackio")

_log = logging.getLogger(__name__)


def summed_loss(model: torch.nn.Module, tokens: torch.Tensor, padding: int) -> torch.Tensor:
    """Negative log-likelihood, in nats, summed over every token of the sentences [B, T] but the first and padding."""
    logits = model(input_ids=tokens[:, :-1], use_cache=False).logits
    return cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten(), ignore_index=padding, reduction="sum")


def train(
    corpus: Corpus,
    config: TrainConfig,
    output: str | Path,
    *,
    sentences: Sentences | None = None,
    told: Mapping[str, NDArray[np.bool_]] | None = None,
    start: PreTrainedModel | None = None,
    tracker: str | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """A model that has read the corpus, saved in `output`; returns what training.json there holds.

    `output` becomes an ordinary Hugging Face folder: model, tokenizer, world in config.json. A run that was
    cut off goes on from its last state, and ends as if it never had been. `sentences` are the corpus's own
    unless others are given. `told` says which facts of each table they say, by edge label and in the order of
    World.facts: the recall that ends the training is of those alone. `start` is a model of the same shape whose weights
    it begins with and of whose parameters those learn that require gradients; without it the weights are new, and all
    learn.
    Raises: ValueError if `output` holds a finished run, another run or anything else, or for a start of another shape
    or in which nothing learns; FloatingPointError if loss or weights are no numbers, with the last state and all kept
    models as they were.
    """
    if tracker is not None:
        check_known("tracker", tracker, TRACKERS)
        # accelerate itself passes over a tracker that it cannot import, and logs nothing.
        installed = [str(found) for found in get_available_trackers()]
        check(tracker in installed, f"tracker must be installed (pip install {tracker}), got {tracker!r}, which is not")
    output = local_path("output_dir", output)
    # bf16 by autocast below: an Accelerator's own precision is fixed for the life of the process.
    accelerator = Accelerator(
        mixed_precision="no",
        # As a plugin, since an environment variable of accelerate's would override the plain number.
        gradient_accumulation_plugin=GradientAccumulationPlugin(
            num_steps=config.accumulation_steps, sync_with_dataloader=False
        ),
        log_with=tracker,
        project_dir=str(output) if tracker else None,
    )
    with reproducible(accelerator.device):
        return _train(corpus, config, Path(output), accelerator, sentences, told, start, tracker, progress)


def _train(
    corpus: Corpus,
    config: TrainConfig,
    output: Path,
    accelerator: Accelerator,
    sentences: Sentences | None,
    told: Mapping[str, NDArray[np.bool_]] | None,
    start: PreTrainedModel | None,
    tracker: str | None,
    progress: bool,
) -> dict[str, Any]:
    """All that train() does, from the place of this process among all on."""
    precision = resolve_precision(config.precision, accelerator.device)
    forward = functools.partial(autocast, precision, accelerator.device)
    num_steps = config.num_steps(corpus)
    measured = {max(1, round(num_steps * (i + 1) / config.measurements)) for i in range(config.measurements)}
    kept = config.kept_steps(num_steps)
    padding = corpus.grammar.lexicon.token_ids[PADDING]
    feed = Feed(
        corpus,
        config.batch_size,
        num_parts=config.accumulation_steps,
        process_index=accelerator.process_index,
        num_processes=accelerator.num_processes,
        device=accelerator.device,
        sentences=sentences,
    )
    run = Run(output, corpus, config, start)
    ledger = Ledger(corpus)

    torch.manual_seed(config.train_seed)
    plain = _new_model(corpus, config)
    if start is not None:
        _begin_with(plain, start)
    wrapped = accelerator.prepare(torch.compile(plain) if config.compile else plain)
    steppers = [accelerator.prepare(optimizer) for optimizer in optimizers(plain, config)]
    state = run.open(plain, [stepper.optimizer for stepper in steppers], ledger, accelerator)
    if tracker is not None:
        accelerator.init_trackers("behemoth", config=dataclasses.asdict(config))

    if accelerator.is_main_process:
        _log.info("training on %s in %s, %d threads a process", accelerator.device, precision, torch.get_num_threads())
    started = time.perf_counter() - state.seconds
    quiet = not (progress and accelerator.is_main_process)
    bar = tqdm(total=num_steps, initial=state.step, desc="training", unit="step", disable=quiet)
    while state.step < num_steps and not state.ended:
        step, step_started = state.step + 1, time.perf_counter()
        factor = learning_rate_factor(state.step, num_steps, config)
        for stepper in steppers:
            for group in stepper.optimizer.param_groups:
                group["lr"] = config.learning_rate * factor
        parts, num_tokens = feed.parts(state.step)
        # Every process has a part of the batch, and accelerate takes the mean over processes and parts.
        scale = accelerator.num_processes * config.accumulation_steps / num_tokens
        total = torch.zeros((), device=accelerator.device)
        for tokens in parts:
            with accelerator.accumulate(wrapped):
                with forward():
                    loss = summed_loss(wrapped, tokens, padding)
                accelerator.backward(loss * scale)
                total += loss.detach()
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(wrapped.parameters(), config.max_grad_norm)
                for stepper in steppers:
                    stepper.step()
                    stepper.zero_grad()
        mean = accelerator.reduce(total, "sum").item() / num_tokens
        if not math.isfinite(mean):
            raise FloatingPointError(f"loss is {mean} at step {step}: try a lower learning_rate")
        ledger.show(feed.places(state.step))
        state.step, state.tokens = step, state.tokens + num_tokens
        state.losses.append(mean)
        now = time.perf_counter()
        state.seconds, state.step_seconds = now - started, state.step_seconds + now - step_started

        if config.max_minutes is not None:
            over = torch.tensor(float(accelerator.is_main_process and state.seconds > 60 * config.max_minutes))
            state.ended = bool(accelerator.reduce(over.to(accelerator.device), "sum").item())
        if step in measured or state.ended:
            with forward():
                known = _known(plain, corpus, accelerator)
            ledger.know(step, known)
            recall = {
                edge: float((right if told is None else right[told[edge]]).mean()) for edge, right in known.items()
            }
            state.seconds = time.perf_counter() - started
            state.curve.append(_point(state, mean, recall, ledger))
            state.ended |= config.target_recall is not None and min(recall.values()) >= config.target_recall
        if step in kept or step in measured or state.ended:
            _check_weights(plain, step)
            if step in kept:
                run.keep(step, plain, accelerator)  # before the state: a run that goes on from it keeps no model again
            run.save(state, plain, [stepper.optimizer for stepper in steppers], ledger, accelerator)
        if tracker is not None:
            accelerator.log({"loss": mean, "learning_rate": config.learning_rate * factor, **_flat(state)}, step=step)
        bar.update()
        bar.set_postfix(_progress(state, config, corpus))
    bar.close()

    _check_weights(plain, state.step)
    report = {"precision": precision, **_report(plain, corpus, config, state, ledger, accelerator)}
    run.finish(plain, report, ledger, accelerator)
    accelerator.end_training()
    return report


def _new_model(corpus: Corpus, config: TrainConfig) -> GPTNeoXForCausalLM:
    """A fresh model. By default its vocabulary is rounded up to a multiple of 64, for fast products.

    Raises: ValueError for a vocabulary that is too small for the corpus.
    """
    lexicon = corpus.grammar.lexicon
    least = len(lexicon.vocabulary)
    vocab_size = -(-least // 64) * 64 if config.vocab_size is None else config.vocab_size
    check(vocab_size >= least, f"vocab_size must be at least {least}, the corpus's tokens, got {vocab_size}")
    # Sentences are so short that a fused kernel costs more than it saves.
    model = pythia(config.size, vocab_size, attention="eager")
    model.config.bos_token_id = model.config.eos_token_id = corpus.grammar.end_id
    model.config.pad_token_id = lexicon.token_ids[PADDING]
    model.generation_config.bos_token_id = model.generation_config.eos_token_id = corpus.grammar.end_id
    model.generation_config.pad_token_id = lexicon.token_ids[PADDING]
    return model


def _begin_with(model: GPTNeoXForCausalLM, start: PreTrainedModel) -> None:
    """The model has the weights of `start`, and those of its parameters learn that do there.

    Raises: ValueError for a start of another shape, or in which nothing learns.
    """
    given, own = dict(start.named_parameters()), dict(model.named_parameters())
    for name in {**own, **given}:
        wanted, found = (tuple(of[name].shape) if name in of else None for of in (own, given))
        check(wanted == found, f"start must have {name} of shape {wanted}, by size and vocabulary, got {found}")
    learn = any(parameter.requires_grad for parameter in given.values())
    check(learn, "start must have at least 1 parameter that requires gradients, got 0")
    model.load_state_dict(start.state_dict())
    for name, parameter in own.items():
        parameter.requires_grad_(given[name].requires_grad)


def _known(
    model: GPTNeoXForCausalLM, corpus: Corpus, accelerator: Accelerator, form: str | None = None
) -> dict[str, NDArray[np.bool_]]:
    """Which facts the model knows, [facts] by edge label; every process asks its share of them."""
    share = accelerator.process_index, accelerator.num_processes
    known = known_facts(model, corpus, form, share=share)
    if accelerator.num_processes == 1:
        return known
    summed = {
        edge: accelerator.reduce(torch.from_numpy(right.astype(np.int32)).to(accelerator.device), "sum")
        for edge, right in known.items()
    }
    return {edge: right.cpu().numpy().astype(bool) for edge, right in summed.items()}


def _check_weights(model: GPTNeoXForCausalLM, step: int) -> None:
    if not all(bool(parameter.isfinite().all()) for parameter in model.parameters()):
        raise FloatingPointError(f"weights are no numbers after step {step}: try a lower learning_rate")


def _point(state: State, loss: float, recall: Mapping[str, float], ledger: Ledger) -> dict[str, Any]:
    return {
        "step": state.step,
        "loss": loss,
        "recall": dict(recall),
        "exposures": ledger.mean_exposures(),
        "seconds": state.seconds,
        "step_seconds": state.step_seconds,
    }


def _flat(state: State) -> dict[str, float]:
    """The recall of a measurement that was taken at this very step, for trackers."""
    if not state.curve or state.curve[-1]["step"] != state.step:
        return {}
    return {f"recall/{edge}": share for edge, share in state.curve[-1]["recall"].items()}


def _progress(state: State, config: TrainConfig, corpus: Corpus) -> dict[str, str]:
    return {
        "loss": f"{state.losses[-1]:.3f}",
        "recall": f"{min(state.curve[-1]['recall'].values()):.3f}" if state.curve else "?",
        "exposures": f"{state.step * config.batch_size / len(corpus) * corpus.config.repeats:.1f}",
        "tokens_per_s": f"{state.tokens / state.step_seconds:.0f}",
    }


def _report(
    model: GPTNeoXForCausalLM,
    corpus: Corpus,
    config: TrainConfig,
    state: State,
    ledger: Ledger,
    accelerator: Accelerator,
) -> dict[str, Any]:
    """What training.json holds; the recall in it is that of the weights as they are saved, in float32."""
    forms = list(filter(has_prompt, corpus.forms))
    recall = {form: _known(model, corpus, accelerator, form) for form in forms}
    sentences = state.step * config.batch_size
    return {
        "config": dataclasses.asdict(config),
        "recall": {
            form: {edge: float(right.mean()) for edge, right in known.items()} for form, known in recall.items()
        },
        "steps": state.step,
        "sentences": sentences,
        "tokens": state.tokens,
        "exposures_per_fact": sentences / len(corpus) * corpus.config.repeats,
        "exposures": ledger.mean_exposures(),
        "seconds": state.seconds,
        "step_seconds": state.step_seconds,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "processes": accelerator.num_processes,
        "device": str(accelerator.device),
        "versions": {name: version(name) for name in ("torch", "transformers", "accelerate", "numpy")},
        "curve": state.curve,
        "losses": state.losses,
    }
