"""What gpu_check.py runs on a card, each job in a process of its own. Jobs say what they find and judge nothing.

Every job takes `say` (see gpu_worker.Say), the device, and `small`: settings for a CPU and a few seconds.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import os
import platform
import shutil
import signal
import statistics
import subprocess
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from gpu_worker import Say, last_lines
from safetensors.torch import save_file
from torch.optim.optimizer import register_optimizer_step_post_hook
from transformers import PreTrainedModel

from behemoth_data import Corpus, CorpusConfig, EditConfig, WorldConfig, build, draw_edits
from behemoth_data.settings import check
from behemoth_editing import METHODS, Shared
from behemoth_editing.checkpoint import load_checkpoint
from behemoth_editing.scoring.answers import predict
from behemoth_editing.scoring.counts import count_units
from behemoth_editing.scoring.scores import score_units
from behemoth_models.config import TrainConfig
from behemoth_models.precision import multiplies_bfloat16, peak_rate, resolve_precision
from behemoth_models.training import train

_PACKAGES = ("torch", "transformers", "accelerate", "peft", "numpy", "scipy", "datasets", "safetensors", "tokenizers")
_SIDE = 8192  # of the square matrices whose products say what the card gives at best


def machine(say: Say, *, device: str, small: bool) -> None:
    """What there is. Raises: ValueError if torch does not find the card."""
    say("python", platform.python_version())
    say("cores", os.cpu_count())
    say("versions", {name: version(name) for name in _PACKAGES})
    say("precision", resolve_precision("auto", device) if device == "cpu" or torch.cuda.is_available() else None)
    say("compiler", shutil.which("gcc") or shutil.which("cc"))
    say("float32_products", torch.get_float32_matmul_precision())
    if device == "cuda":
        check(torch.cuda.is_available(), f"device must be a card that torch {torch.__version__} finds, got none")
        card = torch.cuda.get_device_properties(0)
        say("card", card.name)
        say("cards", torch.cuda.device_count())
        say("capability", [card.major, card.minor])
        say("memory_bytes", card.total_memory)
        say("processors", card.multi_processor_count)
        say("cuda", torch.version.cuda)
        say("driver", _driver())
        say("multiplies_bfloat16", multiplies_bfloat16(device))
        say("peak_flops", peak_rate(card.name))
    say("product_error", _product_error(device))
    side = 64 if small else _SIDE
    say("flops", {str(dtype): _product_rate(device, dtype, side) for dtype in (torch.bfloat16, torch.float32)})


def _driver() -> str | None:
    """The driver's version as nvidia-smi says it."""
    if not shutil.which("nvidia-smi"):
        return None
    asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    return subprocess.run(asked, capture_output=True, text=True, timeout=20).stdout.strip() or None


def _product_error(device: str) -> float:
    """How far a float32 product is off, relative to the float64 one: about 1e-7, and 1e-4 where it is TF32."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(256, 256, generator=generator) for _ in range(2))
    exact = left.double() @ right.double()
    found = (left.to(device) @ right.to(device)).cpu().double()
    return float((found - exact).norm() / exact.norm())


def _product_rate(device: str, dtype: torch.dtype, side: int) -> float:
    """Operations a second of products of square matrices."""
    matrix = torch.randn(side, side, device=device).to(dtype)
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        matrix @ matrix
        _synchronize(device)
        seconds.append(time.perf_counter() - started)
    return 2 * side**3 / statistics.median(seconds)


def _synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def lesson(small: bool) -> tuple[Corpus, TrainConfig]:
    """A nested world and a training that takes a 14m to know it, or, if small, a few steps of a narrower model."""
    world = WorldConfig(num_subjects=16 if small else 80, num_relations=3, num_objects=20, num_nested_objects=5)
    corpus = build(world, corpus=CorpusConfig(repeats=26, object_nested_upweight=2))
    config = TrainConfig(size="14m", batch_size=128, learning_rate=1e-2, measurements=3)
    return corpus, dataclasses.replace(config, size="7m", batch_size=32, max_steps=6) if small else config


def train_and_die(say: Say, *, device: str, small: bool, folder: str) -> None:
    """Trainings `default` and `fp32`; then `killed`, in the middle of which this process kills itself."""
    _teach(say, small, folder, "default")
    _teach(say, small, folder, "fp32", precision="fp32")
    corpus, config = lesson(small)
    last, done = config.num_steps(corpus) // 2 + 1, itertools.count(1)

    def kill(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if isinstance(optimizer, torch.optim.AdamW) and next(done) == last:
            os.kill(os.getpid(), signal.SIGKILL)

    register_optimizer_step_post_hook(kill)
    _teach(say, small, folder, "killed")


def train_again(say: Say, *, device: str, small: bool, folder: str) -> None:
    """The training `again`, which is `default` in another process, and the rest of `killed`."""
    _teach(say, small, folder, "again")
    _teach(say, small, folder, "killed")


def train_model(say: Say, *, device: str, small: bool, folder: str) -> None:
    """The training `default` alone."""
    _teach(say, small, folder, "default")


def _teach(say: Say, small: bool, folder: str, name: str, **settings: Any) -> None:
    corpus, config = lesson(small)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        report = train(corpus, dataclasses.replace(config, **settings), f"{folder}/{name}", progress=False)
    kept = ("steps", "tokens", "seconds", "step_seconds", "precision", "device")
    say(
        name,
        {
            **{key: report[key] for key in kept},
            "recall": report["recall"]["statement"],
            "sha256": digest_of(f"{folder}/{name}"),
            # What has no deterministic kernel on this card.
            "warnings": sorted({str(warning.message) for warning in heard if "determinis" in str(warning.message)}),
        },
    )


def digest_of(folder: str) -> str:
    """The SHA-256 of a model's weights as they are stored."""
    return hashlib.sha256((Path(folder) / "model.safetensors").read_bytes()).hexdigest()


def methods(
    say: Say, *, device: str, small: bool, model: str, weights: str, precisions: list[str], names: list[str] | None
) -> None:
    """Every method's scores and seconds on one draw, in each precision that it can be asked for; the weights stored.

    `weights` gets the parameters that the first precision leads to. A method that fails says so in its place, and the
    next one goes on, unless the card itself is lost.
    """
    if device == "cpu":
        torch.set_num_threads(max(1, (os.cpu_count() or 1) - 2))  # beside the process that uses the card
    checkpoint = load_checkpoint(model, device)
    _store(checkpoint.model, f"{weights}/original.safetensors")
    names = list(METHODS) if names is None else names
    say("names", names)
    longest = 1.0
    for name in names:
        say.need(2 * longest, ", ".join(names[names.index(name) :]))
        started = time.perf_counter()
        try:
            found = _method(name, checkpoint, device, small, precisions, f"{weights}/{name}.safetensors")
        except Exception as error:
            found = {"error": last_lines(error)}
        say(name, found)
        longest = max(longest, time.perf_counter() - started)
        if "CUDA error" in "".join(found.get("error", ())):
            return


def _method(name: str, checkpoint: Any, device: str, small: bool, precisions: list[str], path: str) -> dict[str, Any]:
    """One method's scores and seconds by precision."""
    plain = METHODS[name]
    fields = {field.name for field in dataclasses.fields(plain)}  # type: ignore[arg-type]
    few = {field: 2 for field in ("steps", "max_steps") if small and field in fields}
    scenario = {"edit": "different"}.get(plain.goal, plain.goal)
    edits = EditConfig(scenario=scenario, num_edits=2 if small else 10, forget_fraction=0.25)
    (edit_set,) = draw_edits(checkpoint.corpus, edits)
    before = predict(checkpoint.model, edit_set.probes)
    found: dict[str, Any] = {"scenario": scenario}
    for precision in precisions if "precision" in fields else ["own"]:
        method: Any = plain(**few, **({} if precision == "own" else {"precision": precision}))
        _synchronize(device)
        started = time.perf_counter()
        edited = method(checkpoint.model, edit_set, Shared(progress=False))
        _synchronize(device)
        seconds = time.perf_counter() - started
        units = count_units(edit_set, before, predict(edited.model, edit_set.probes))
        scores = score_units(units)
        found[precision] = {
            "seconds": seconds,
            **{score: _value(scores[score]) for score in ("edit_success", "collateral_by_fact")},
            "accuracy_left": _value(scores.get("forgetting", {}).get("edited", {}).get("accuracy_left")),
        }
        if not Path(path).exists():
            _store(edited.model, path)
    return found


def _value(score: Any) -> float | None:
    return None if score is None else float(score["value"])


def _store(model: PreTrainedModel, path: str) -> None:
    """The parameters stand in the file, which has its name once all are there."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: weight.detach().cpu().contiguous() for name, weight in model.named_parameters()}, f"{path}.partial"
    )
    Path(f"{path}.partial").replace(path)
