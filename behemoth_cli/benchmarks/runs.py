"""What benchmarks of training share: recipes in the size asked for, runs that go on, and when a target was reached."""

from __future__ import annotations

import dataclasses
import math
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers

from behemoth_cli.benchmarks.output import Row
from behemoth_cli.cores import set_threads
from behemoth_cli.recipe_files import RECIPES
from behemoth_cli.settings import Options, parse
from behemoth_cli.train import SECTIONS
from behemoth_data import Corpus, build
from behemoth_models.config import TrainConfig
from behemoth_models.run import Run
from behemoth_models.training import train


class Runs:
    """Training runs of one benchmark, whose states lie in a folder until they have ended."""

    def __init__(self, size: str | None, folder: Path) -> None:
        self._size, self._folder = size, folder

    def recipe(self, name: str, repeats: int | None = None, **world: Any) -> tuple[Corpus, TrainConfig]:
        """The corpus and the training of a recipe, with some fields of the world changed."""
        path = str(RECIPES / f"{name}.yaml")
        world_config, lexicon, corpus, config = parse(Options({}, SECTIONS, prog="behemoth benchmark"), [path])
        corpus = dataclasses.replace(corpus, repeats=corpus.repeats if repeats is None else repeats)
        config = dataclasses.replace(config, size=self._size or config.size, save_every=None)
        return build(dataclasses.replace(world_config, **world), lexicon, corpus), config

    def train(self, name: str, corpus: Corpus, config: TrainConfig) -> dict[str, Any]:
        """The report of a run, which goes on if it was cut off; its folder is gone then."""
        say(name)
        folder = self._folder / name.replace("/", "-")
        report = Run(folder, corpus, config).finished() or train(corpus, config, folder)
        shutil.rmtree(folder)
        return report


@contextmanager
def started_runs(size: str | None, threads: int | None, output: str) -> Iterator[Runs]:
    """Runs in models of this size, null for that of each recipe, and in so many threads, null for as many as usual.

    Their states are left beside the output, so that they go on as well, or for this sitting alone if it is empty.
    """
    if threads is None:
        set_threads()
    else:
        torch.set_num_threads(threads)
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    if output:
        yield Runs(size, Path(f"{output}.runs"))
        shutil.rmtree(f"{output}.runs", ignore_errors=True)
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield Runs(size, Path(folder))


def reached(report: Mapping[str, Any], target: float, limit: float = math.inf) -> Row:
    """What a row says of a run: the step seconds at the first measurement of the target, or none and why."""
    curve = [
        {
            "seconds": point["step_seconds"],
            "exposures": max(point["exposures"].values()),
            "recall": min(point["recall"].values()),
        }
        for point in report["curve"]
    ]
    found = next((point for point in curve if point["recall"] >= target), None)
    last, seconds = found or curve[-1], report["seconds"]
    whole = seconds <= limit  # no limit cut it off
    within = f"{last['exposures']:.3g} sentences per fact"
    if not found:
        within += "" if whole else f" and {limit / 60:.3g} minutes"
        within = f"not reached within {within}, recall {last['recall']:.4f}"
    numbers = {name: last[name] for name in ("exposures", "recall")}
    value, ended = found["seconds"] if found else None, {"all_seconds": seconds, "whole": whole}
    return {"value": value, "unit": "s", "note": within, **numbers, **ended, "curve": curve}


def say(part: str) -> None:
    """Standard error has a line that says which part begins."""
    print(f"benchmark: {part}", file=sys.stderr)
