"""How fast editing and scoring are: the part `edit` of benchmark.py, in a file of its own since it needs torch."""

from __future__ import annotations

import dataclasses
import itertools
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import linear

from behemoth_data.edits import EditConfig, draw_edits
from behemoth_data.settings import check, setting
from behemoth_editing import FineTune, Lora, Rome, Shared
from behemoth_editing.checkpoint import Checkpoint, load_checkpoint
from behemoth_editing.method import EditMethod
from behemoth_editing.predict import predict
from behemoth_editing.sweep import grid, run

Row = dict[str, Any]  # what: text; value: float; unit: text

# Three methods x four scenarios x five seeds x five settings: the study of 300 cells.
_STUDY_METHODS: list[EditMethod] = [
    *(Rome(layer=layer) for layer in (1, 2, 3, 4, 5)),
    *(Lora(rank=rank) for rank in (1, 2, 4, 8, 16)),
    *(FineTune(layers=(layer,)) for layer in (1, 2, 3, 4, 5)),
]
_STUDY_SCENARIOS = ("single", "identical", "different", "sequence")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EditArguments:
    """What the benchmark of editing runs."""

    model: str = setting("runs/tiny-nested", "folder or Hub id of the model that is edited")
    runs: int = setting(3, "runs of the scoring measurement, of which the median counts")
    num_edits: int = setting(10, "single edits of each method")
    study: bool = setting(False, "run the study of 300 cells as well, a quarter of an hour on two cores")
    output: str = setting("", "file that the JSON is written to as well; empty: none")

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        for field in ("runs", "num_edits"):
            check(getattr(self, field) >= 1, f"{field} must be at least 1, got {getattr(self, field)}")


def edit(arguments: EditArguments) -> list[Row]:
    """The figures of editing: seconds per edit, probes per second, and the study's minutes if it is asked for."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    checkpoint = load_checkpoint(arguments.model, device)
    rows = _edits(checkpoint, arguments.num_edits) + _scoring(checkpoint, arguments.runs)
    return rows + (_study(checkpoint) if arguments.study else [])


def _edits(checkpoint: Checkpoint, num_edits: int) -> list[Row]:
    """Seconds per single edit of each method, its key statistics shared out over the edits."""
    draws = draw_edits(checkpoint.corpus, EditConfig(num_edits=num_edits))
    rows = []
    methods: tuple[EditMethod, ...] = (Rome(), Lora(), FineTune())
    for method in methods:
        method(checkpoint.model, draws[0], Shared())  # what the first call alone pays for
        shared, started = Shared(), time.perf_counter()
        for edit_set in draws:
            method(checkpoint.model, edit_set, shared)
        seconds = (time.perf_counter() - started) / num_edits
        rows.append({"what": f"{method.name}, one edit of {num_edits}", "value": seconds, "unit": "s"})
        if shared.seconds:
            rows.append(
                {"what": f"{method.name}, of which key statistics", "value": shared.seconds / num_edits, "unit": "s"}
            )
    return rows


def _scoring(checkpoint: Checkpoint, runs: int) -> list[Row]:
    """Probes answered a second in fp32, and how much of the processor's product rate that takes."""
    model, config = checkpoint.model, checkpoint.model.config
    draws = draw_edits(checkpoint.corpus, EditConfig(scenario="different"))
    probes = [probe for edit_set in draws for probe in edit_set.probes]
    predict(model, probes)
    seconds = []
    for _ in range(runs):
        started = time.perf_counter()
        predict(model, probes)
        seconds.append(time.perf_counter() - started)
    rate = len(probes) / statistics.median(seconds)
    # Two operations for each weight of a matrix and each token; the head reads the last token only.
    matrices = sum(m.weight.numel() for m in model.base_model.modules() if isinstance(m, nn.Linear))
    head = config.vocab_size * config.hidden_size
    tokens = statistics.mean(len(probe.before.prompt_ids) for probe in probes)
    width = statistics.mean(probe.num_answer_tokens for probe in probes)
    operations = 2 * (matrices * (tokens + width - 1) + head * width)
    product = _product_rate(config.hidden_size, config.intermediate_size, model.device)
    return [
        {"what": f"probes scored, {len(probes):,} of one draw", "value": rate, "unit": "probes/s"},
        {"what": "... if no prompt shared its start with another", "value": rate * operations / 1e9, "unit": "GFLOP/s"},
        {"what": "... share of a bare fp32 product's rate", "value": rate * operations / product, "unit": ""},
    ]


def _product_rate(hidden: int, inner: int, device: torch.device) -> float:
    """Operations a second of a layer's largest product for the tokens of a batch, in fp32."""
    tokens, matrix = torch.randn(512 * 8, hidden, device=device), torch.randn(inner, hidden, device=device)
    seconds = []
    for _ in range(20):
        if device.type == "cuda":
            torch.cuda.synchronize()
        started = time.perf_counter()
        linear(tokens, matrix)
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return 2 * len(tokens) * hidden * inner / statistics.median(seconds)


def _study(checkpoint: Checkpoint) -> list[Row]:
    """Minutes of 300 cells, one after the other in this process; single and sequential edits five in a cell."""
    draws: Sequence[EditConfig] = [
        EditConfig(scenario=scenario, edit_seed=seed, num_edits=10 if scenario in ("identical", "different") else 5)
        for scenario, seed in itertools.product(_STUDY_SCENARIOS, range(5))
    ]
    cells = grid([checkpoint], _STUDY_METHODS, draws)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        rows = run(cells, Path(folder) / "study")
    minutes = (time.perf_counter() - started) / 60
    failed = sum(row["error"] is not None for row in rows)
    good = [row["seconds"] for row in rows if row["seconds"] is not None]
    spent = {name: sum(seconds[name] for seconds in good) / 60 for name in ("edit", "shared", "score")}
    return [
        {"what": f"study of {len(cells)} cells, {failed} failed", "value": minutes, "unit": "min"},
        *({"what": f"... of which {name}", "value": value, "unit": "min"} for name, value in spent.items()),
        {"what": "cells a minute", "value": len(cells) / minutes, "unit": "cells/min"},
    ]
