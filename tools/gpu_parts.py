"""The parts of gpu_check.py: which jobs each has, what must hold of what they find, and what is said of it.

They run in a process that leaves torch alone.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gpu_record import Part
from gpu_worker import JobError, Worker, wait_for
from safetensors.numpy import load_file

from behemoth_data.settings import check

_RECALL = 0.95  # that a model must have of the small world
# What scores of the card and of the CPU may differ by, and their weights, relative to the edit's change. On a CPU, to
# change every weight by some 3e-7 of itself before the edit changes no score, and weights after it by 2e-4 at most.
SCORES = {"edit_success": 0.1, "collateral_by_fact": 0.05, "accuracy_left": 0.1}
WEIGHTS = 0.01
# Batches of the recipe's size, times so much, plain or compiled.
_RATES = [
    (1, False, "x1"),
    (1, True, "x1 compiled"),
    (4, False, "x4"),
    (16, False, "x16"),
    (4, True, "x4 compiled"),
    (16, True, "x16 compiled"),
    (1, True, "x1 compiled again"),
]
_PROCESSES = 4  # that share the card; two on a CPU


def machine(part: Part) -> None:
    """What there is."""
    try:
        part.job("gpu_jobs.machine")
    except JobError as error:
        if not any("forked subprocess" in line for line in error.lines):
            raise
        part.start = "spawn"  # something that is imported has touched the card, so that no copy of it can
        part.job("gpu_jobs.machine")
    found = part.found
    part.note(None, "start", part.start)
    part.check("a float32 product is one of float32, not of TF32", found["product_error"] < 1e-6)
    if part.settings.device == "cuda":
        modern = tuple(found["capability"]) >= (8, 0)
        part.check("the precision is bf16 just where the card multiplies it", (found["precision"] == "bf16") == modern)
        part.say(f"{found['card']}, driver {found['driver']}, CUDA {found['cuda']}")
    flops = " and ".join(f"{rate / 1e12:.3g} TFLOP/s of {name[6:]}" for name, rate in found["flops"].items())
    part.say(f"Python {found['python']}, torch {found['versions']['torch']}, {found['precision']}; {flops}")


def training(part: Part) -> None:
    """The same bits twice and after a kill, and what is learned."""
    folder = part.work / "training"
    shutil.rmtree(folder, ignore_errors=True)
    part.job("gpu_jobs.train_and_die", dies=True, folder=str(folder))
    part.job("gpu_jobs.train_again", folder=str(folder))
    found = part.found
    for name, what in (
        ("again", "a second training has the same bits"),
        ("killed", "a training that was killed in the middle and went on has the same bits"),
    ):
        part.check(what, found[name]["sha256"] == found["default"]["sha256"])
        part.note("difference", name, _difference(folder / name, folder / "default"))
    for name in ("default", "fp32"):
        least, run = min(found[name]["recall"].values()), found[name]
        if not part.settings.small:
            part.check(f"the model knows {_RECALL:.0%} of every table, {name}", least >= _RECALL)
        part.say(f"{run['precision']}: recall {least:.3f} in {run['step_seconds']:.2f} s of steps")
    part.say(
        "; ".join(f"{what}: {'yes' if holds else 'NO'}" for what, holds in part.row["checks"].items() if "bits" in what)
    )


def _difference(one: Path, other: Path) -> float:
    """The norm of what the weights of two folders differ by, over the norm of the other's."""
    left, right = (load_file(folder / "model.safetensors") for folder in (one, other))
    return _norm(left, right) / _norm(right)


def _norm(left: Mapping[str, Any], right: Mapping[str, Any] | None = None) -> float:
    """The norm of all tensors together, or of what two sets of them differ by."""
    squares = (
        np.square(tensor.astype(np.float64) - (0 if right is None else right[name])).sum()
        for name, tensor in left.items()
    )
    return float(sum(squares)) ** 0.5


def _model(part: Part) -> str:
    """The folder of a trained model: that of the part training, or else one that the CPU trains."""
    folder = part.work / "training"
    if not (folder / "default" / "config.json").exists():
        shutil.rmtree(folder, ignore_errors=True)
        part.job("gpu_jobs.train_model", place="model", device="cpu", folder=str(folder))
    return str(folder / "default")


def methods(part: Part) -> None:
    """Every method on the card, beside the same in float32 on the CPU."""
    model, weights = _model(part), part.work / "weights"
    shutil.rmtree(weights, ignore_errors=True)
    shared = {"model": model, "precisions": ["fp32"], "names": None}
    beside = part.open("gpu_jobs.methods", place="cpu", device="cpu", weights=str(weights / "cpu"), **shared)
    card = {**shared, "precisions": ["fp32", "auto"], "place": "card", "weights": str(weights / "card")}
    part.job("gpu_jobs.methods", **card)
    names = part.found["card"]["names"]
    # A job ends where the card is lost to its process; another one does the rest.
    while left := [name for name in names if name not in part.found["card"]]:
        part.job("gpu_jobs.methods", **{**card, "names": left})
        check(left[0] in part.found["card"], f"{left[0]} must say how it ended, got nothing")
    part.wait(beside)
    _judge(part, names, weights)


def _judge(part: Part, names: Sequence[str], weights: Path) -> None:
    """What each method did, and whether card and CPU agree."""
    card, cpu = part.found["card"], part.found["cpu"]
    broken = [f"{name} ({where})" for where in ("card", "cpu") for name in names if "error" in part.found[where][name]]
    whole = [name for name in names if "error" not in card[name] and "error" not in cpu[name]]
    for name in whole:
        part.note("compared", name, _compared(card[name], cpu[name], weights, name))
        one = card[name].get("auto") or card[name]["own"]
        part.say(f"{name:20} {one['seconds']:7.2f} s  {_differences(part.found['compared'][name])}")
    for name in broken:
        part.say(f"{name} failed")
    part.check(f"every method runs; not: {', '.join(broken) or 'none'}", not broken)
    odd = [name for name in whole if not _agree(name, part.found["compared"][name])]
    part.check(f"card and CPU agree; not: {', '.join(odd) or 'none'}", not odd)


def _compared(card: Mapping[str, Any], cpu: Mapping[str, Any], weights: Path, name: str) -> dict[str, float | None]:
    """By how much scores and weights of the card's float32 edit differ from the CPU's."""
    one, other = (found.get("fp32") or found["own"] for found in (card, cpu))
    original, here, there = (
        load_file(weights / path)
        for path in ("cpu/original.safetensors", f"card/{name}.safetensors", f"cpu/{name}.safetensors")
    )
    scores = {
        score: None if one.get(score) is None or other.get(score) is None else abs(one[score] - other[score])
        for score in SCORES
    }
    return {**scores, "weights": _norm(here, there) / max(_norm(there, original), 1e-30)}


def _agree(name: str, differences: Mapping[str, float | None]) -> bool:
    """Whether all differences are within bounds. A training that starts anew ends elsewhere after any rounding."""
    bounds = SCORES if name in ("retrain", "omit") else {**SCORES, "weights": WEIGHTS}
    return all((differences[what] or 0.0) <= bound for what, bound in bounds.items())


def _differences(differences: Mapping[str, float | None]) -> str:
    return (
        ", ".join(f"{what} {'-' if by is None else f'{by:.2g}'}" for what, by in differences.items()) + " off the CPU's"
    )


def rate(part: Part) -> None:
    """Tokens a second by batch, plain and compiled."""
    settings = [choice for choice in _RATES if not (part.settings.small and (choice[1] or choice[0] > 4))]
    try:
        part.job("gpu_speed.rates", recipe=part.settings.recipe, folder=str(part.work / "rates"), settings=settings)
    finally:
        for *_, name in settings:
            run = part.found.get(name, {"error": ["not done"]})
            if "error" in run:
                part.say(f"{name:18} {run['error'][-1]}")
                continue
            share = "" if not run.get("mfu") else f", {run['mfu']:.1%} of the card's peak"
            part.say(f"{name:18} {run['tokens_per_second']:12,.0f} tokens/s{share}, {run['precision']}")
        pair = [part.found.get(name, {}).get("sha256") for name in ("x1 compiled", "x1 compiled again")]
        if all(pair):
            part.say(f"compiled twice, the same bits: {'yes' if pair[0] == pair[1] else 'no'}")


def cells(part: Part) -> None:
    """Cells a minute of one process, and of several at once."""
    model, folder = _model(part), part.work / "cells"
    most = 2 if part.settings.small else _PROCESSES
    shutil.rmtree(folder, ignore_errors=True)
    workers = [
        part.open(
            "gpu_speed.cells",
            place=f"process {number}",
            model=model,
            output=str(folder / str(number)),
            first_seed=1000 * number,
        )
        for number in range(most)
    ]
    wait_for(workers, part.deadline, until=lambda: all("ready" in worker.found or worker.end for worker in workers))
    part.none_has_ended(workers)
    window = 2.0 if part.settings.small else part.left() / 4
    for count in (1, most):
        for worker in workers[(0 if count == 1 else 1) : count]:  # the first, and then all others
            worker.go_on()
        _count(part, workers[:count], folder, window)


def _count(part: Part, workers: Sequence[Worker], folder: Path, window: float) -> None:
    """Cells a minute of these processes together, from when all are at work, over a window of time or as many cells."""
    count, started, before = len(workers), 0.0, 0

    def busy() -> bool:
        return bool(_rows(folder, count, least=3)) or any(worker.end for worker in workers)

    def over() -> bool:
        enough = time.monotonic() > started + window and len(_rows(folder, count)) >= before + count
        return enough or any(worker.end for worker in workers)

    wait_for(workers, part.deadline, until=busy)
    before, started = len(_rows(folder, count)), time.monotonic()
    wait_for(workers, part.deadline, until=over)
    seconds, rows = time.monotonic() - started, _rows(folder, count)
    part.none_has_ended(workers)
    speed = 60 * (len(rows) - before) / seconds
    part.note("cells_per_minute", str(count), speed)
    part.say(f"{count} process{'es' if count > 1 else ''}: {speed:.1f} cells a minute")
    errors = sorted({row["error"] for row in rows if row["error"]})
    part.check(f"no cell of {count} at once fails; {errors[:1] or 'none does'}", not errors)


def _rows(folder: Path, count: int, least: int = 0) -> list[dict[str, Any]]:
    """The rows of so many processes; none unless each has `least`."""
    texts = [folder / str(number) / "results.jsonl" for number in range(count)]
    lines = [path.read_text(encoding="utf-8").splitlines() if path.exists() else [] for path in texts]
    return [json.loads(line) for own in lines for line in own] if min(map(len, lines)) >= least else []


def recall(part: Part) -> None:
    """What a model knows by the second, as far as the time goes."""
    folder = part.work / "large"
    shutil.rmtree(folder, ignore_errors=True)
    # The rest is for building the world, measuring and writing; a schedule that is cut off would end unlearned.
    seconds = 2.0 if part.settings.small else 0.55 * part.left()
    chosen = _chosen(part.record.parts.get("rate", {}).get("found", {}), seconds)
    part.note(None, "chosen", chosen)

    def look() -> None:
        for path in folder.glob("state-*/run.json"):
            try:
                curve = json.loads(path.read_text(encoding="utf-8"))["curve"]
            except (FileNotFoundError, NotADirectoryError):
                continue  # a newer state has taken its place
            if len(curve) > len(part.found.get("curve", [])):
                part.note(None, "curve", curve)

    minutes = 0.8 * part.left() / 60
    part.job(
        "gpu_speed.teach_large", look=look, recipe=part.settings.recipe, folder=str(folder), minutes=minutes, **chosen
    )
    for point in part.found["curve"]:
        part.say(f"{point['seconds']:7.1f} s: recall {min(point['recall'].values()):.4f}, step {point['step']}")
    shutil.rmtree(folder, ignore_errors=True)


def _chosen(rates: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """The batch that reads the most in this time, in 200 steps at least if any does, and how many steps that is."""
    known = {
        name: int((seconds - run["start_seconds"]) / run["step_seconds"])
        for name, run in rates.items()
        if "step_seconds" in run
    }
    known = {name: steps for name, steps in known.items() if steps >= 200} or {
        name: steps for name, steps in known.items() if steps >= 1
    }
    if not known:
        return {"factor": 1, "compiled": False, "steps": None}
    best = max(known, key=lambda name: known[name] * rates[name]["factor"])
    return {"factor": rates[best]["factor"], "compiled": rates[best]["compiled"], "steps": known[best]}


PARTS: dict[str, Callable[[Part], None]] = {
    "machine": machine,
    "training": training,
    "methods": methods,
    "rate": rate,
    "cells": cells,
    "recall": recall,
}
