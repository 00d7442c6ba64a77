"""What gpu_check.py times on a card, each job in a process of its own. Jobs say what they find and judge nothing.

Every job takes `say` (see gpu_worker.Say), the device, and `small`: settings for a CPU and a few seconds.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from gpu_jobs import digest_of
from gpu_worker import OutOfTimeError, Say, last_lines

from behemoth_data import Corpus, CorpusConfig, EditConfig, WorldConfig, build
from behemoth_data.settings import from_mapping
from behemoth_editing import EditMethod, FineTune, Lora, Rome
from behemoth_editing.checkpoint import load_checkpoint
from behemoth_editing.sweep.cells import grid
from behemoth_editing.sweep.running import run
from behemoth_models.batches import Feed
from behemoth_models.config import TrainConfig
from behemoth_models.knowledge import known_facts
from behemoth_models.ledger import Ledger
from behemoth_models.precision import peak_rate
from behemoth_models.sizes import SHAPES, pythia
from behemoth_models.training import train

_SUBJECTS = 2000  # so that asking for recall takes no time; model, vocabulary and batches are the recipe's own


def recipe_of(path: str, small: bool) -> tuple[WorldConfig, CorpusConfig, TrainConfig]:
    """A recipe's world, corpus and training, or what a CPU can do of them."""
    sections = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    world, corpus, config = (
        from_mapping(cls, sections.get(name) or {})
        for name, cls in (("world", WorldConfig), ("corpus", CorpusConfig), ("train", TrainConfig))
    )
    config = dataclasses.replace(config, save_every=None)
    if small:
        world = dataclasses.replace(world, num_subjects=48)
        config = dataclasses.replace(config, size="7m", batch_size=16)
    return world, corpus, config


def rates(
    say: Say, *, device: str, small: bool, recipe: str, folder: str, settings: list[tuple[int, bool, str]]
) -> None:
    """Tokens a second of the recipe's training for each batch factor, plain or compiled, by the name given to it.

    Raises: RuntimeError at the end if one failed otherwise than for want of memory.
    """
    world, corpus_config, config = recipe_of(recipe, small)
    words = len(build(world, corpus=corpus_config).grammar.lexicon.vocabulary)
    fewer = dataclasses.replace(world, num_subjects=min(world.num_subjects, _SUBJECTS))
    corpus, failed, longest = build(fewer, corpus=corpus_config), [], 3.0
    config = dataclasses.replace(config, vocab_size=-(-words // 64) * 64, max_exposures=None, target_recall=None)
    _facts_per_second(say, corpus, config, device)
    for factor, compiled, name in settings:
        say.need(1.5 * longest if not compiled else max(40.0, longest), f"{name} and what comes after it")
        started = time.perf_counter()
        sized = dataclasses.replace(config, batch_size=config.batch_size * factor, compile=compiled)
        try:
            found = _rate(corpus, sized, f"{folder}/{name}", device, small)
        except torch.OutOfMemoryError as error:
            found = {"error": [str(error)]}
        except OutOfTimeError:
            raise
        except Exception as error:
            found, failed = {"error": last_lines(error)}, [*failed, name]
        shutil.rmtree(f"{folder}/{name}", ignore_errors=True)
        say(name, {"factor": factor, "compiled": compiled, **found})
        longest = max(longest, time.perf_counter() - started)
        if device == "cuda":
            torch.cuda.empty_cache()
    if failed:
        raise RuntimeError(f"{len(failed)} of {len(settings)} settings failed: {', '.join(failed)}")


def _rate(corpus: Corpus, config: TrainConfig, folder: str, device: str, small: bool) -> dict[str, Any]:
    """Seconds of a step in the second half of a short training, and what they mean."""
    steps = 4 if small else 30
    if config.compile:
        torch.compiler.reset()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    config = dataclasses.replace(config, max_steps=steps, measurements=2)
    report = train(corpus, config, folder, progress=False)
    first, last = report["curve"]
    seconds = (last["step_seconds"] - first["step_seconds"]) / (last["step"] - first["step"])
    tokens, embedding = report["tokens"] / report["steps"], (config.vocab_size or 0) * SHAPES[config.size].hidden_size
    # Tokens are multiplied with all parameters but the input embedding; vectors hardly count.
    products = 6 * tokens * (report["parameters"] - embedding)
    found = {
        "batch_size": config.batch_size,
        "precision": report["precision"],
        "tokens_per_second": tokens / seconds,
        "step_seconds": seconds,
        "start_seconds": max(0.0, first["step_seconds"] - first["step"] * seconds),  # compiling, above all
        "host_seconds": _host_seconds(corpus, config),
        "flops": products / seconds,
        "sha256": digest_of(folder),
    }
    if device == "cuda":
        peak = peak_rate(torch.cuda.get_device_name())
        found |= {"mfu": peak and products / seconds / peak, "memory_bytes": torch.cuda.max_memory_allocated()}
    return found


def _host_seconds(corpus: Corpus, config: TrainConfig) -> float:
    """What the CPU spends on the sentences of a step, while a card has nothing to do."""
    feed, ledger, seconds = Feed(corpus, config.batch_size), Ledger(corpus), []
    for step in range(3):
        started = time.perf_counter()
        feed.parts(step)
        ledger.show(feed.places(step))
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def _facts_per_second(say: Say, corpus: Corpus, config: TrainConfig, device: str) -> None:
    """How fast facts are asked in float32, by the prompts in a batch."""
    model = pythia(config.size, config.vocab_size or 1)
    torch.nn.Module.to(model, device)
    facts = sum(corpus.world.num_facts(edge) for edge in corpus.world.edges)
    for batch in (512, 2048, 8192):
        say.need(5.0, f"recall in batches of {batch}")
        seconds = []
        for _ in range(2):  # the first of which warms up
            started = time.perf_counter()
            known_facts(model, corpus, batch_size=batch)
            seconds.append(time.perf_counter() - started)
        say(f"recall in batches of {batch}", {"facts_per_second": facts / seconds[-1]})


def cells(say: Say, *, device: str, small: bool, model: str, output: str, first_seed: int) -> None:
    """Cells of finetune, lora and rome on single edits, one after the other without end, once it is told to go on."""
    torch.set_num_threads(max(1, (os.cpu_count() or 4) // 4))
    checkpoint = load_checkpoint(model, device)
    chosen: list[EditMethod] = [FineTune(), Lora(), Rome()]
    if small:
        chosen = [FineTune(max_steps=2), Lora(max_steps=2), Rome(steps=2)]
    draws = [EditConfig(scenario="single", num_edits=2, edit_seed=first_seed + number) for number in range(1000)]
    say("ready", True)
    say.listen()
    run(grid([checkpoint], chosen, draws), Path(output), progress=False)


def teach_large(
    say: Say,
    *,
    device: str,
    small: bool,
    recipe: str,
    folder: str,
    factor: int,
    compiled: bool,
    steps: int | None,
    minutes: float,
) -> None:
    """The recipe in so many steps or minutes, whichever end first; its states lie in the folder meanwhile."""
    world, corpus_config, config = recipe_of(recipe, small)
    corpus = build(world, corpus=corpus_config)
    config = dataclasses.replace(
        config,
        batch_size=config.batch_size * factor,
        compile=compiled,
        max_steps=steps,
        max_minutes=minutes,
        measurements=6,
    )
    say("config", dataclasses.asdict(config))
    report = train(corpus, config, folder, progress=False)
    say("curve", report["curve"])
    say("recall", report["recall"])
    say("tokens_per_second", report["tokens"] / report["step_seconds"])
