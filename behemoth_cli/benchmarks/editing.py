"""How fast editing and scoring are: behemoth benchmark edit [--option value ...]."""

from __future__ import annotations

import dataclasses
import itertools
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from behemoth_cli.benchmarks.bare_products import bare_seconds, forward_calls, matrices
from behemoth_cli.benchmarks.output import Row
from behemoth_cli.cores import set_threads
from behemoth_cli.memory import keep_freed_memory
from behemoth_cli.settings import place
from behemoth_data.edits import EditConfig, draw_edits
from behemoth_data.settings import check, setting
from behemoth_editing import FineTune, Lora, Rome, Shared
from behemoth_editing.checkpoint import Checkpoint, load_checkpoint
from behemoth_editing.methods.contract import EditMethod
from behemoth_editing.scoring.answers import predict
from behemoth_editing.sweep.cells import grid
from behemoth_editing.sweep.running import run

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

    model: str = place("runs/tiny-nested", "folder or Hub id of the model that is edited")
    runs: int = setting(9, "runs of the scoring measurement, of which the median counts")
    num_edits: int = setting(10, "single edits of each method")
    study: bool = setting(False, "run the study of 300 cells as well, about a quarter of an hour on two cores")
    output: str = place("", "file that the JSON is written to as well; empty: none")

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        for field in ("runs", "num_edits"):
            check(getattr(self, field) >= 1, f"{field} must be at least 1, got {getattr(self, field)}")


def edit(arguments: EditArguments) -> list[Row]:
    """The figures of editing: seconds per edit, probes per second, and the study's minutes if it is asked for."""
    set_threads()
    keep_freed_memory()  # as behemoth edit does
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
    """Probes answered a second in fp32, and how many it would be at the rate of bare matrix products."""
    model = checkpoint.model
    draws = draw_edits(checkpoint.corpus, EditConfig(scenario="different"))
    probes = [probe for edit_set in draws for probe in edit_set.probes]
    predict(model, probes)
    seconds = []
    for _ in range(runs):
        started = time.perf_counter()
        predict(model, probes)
        seconds.append(time.perf_counter() - started)
    median = statistics.median(seconds)
    layers, head = matrices(model)[:-1], matrices(model)[-1]
    shapes = {"layers": layers, "head": [head]}
    calls = forward_calls(model, lambda: predict(model, probes))
    products = [(tokens, *shape) for (name, tokens), times in calls.items() for shape in shapes[name] * times]
    bare = bare_seconds(products, torch.float32, model.device, backward=False)
    return [
        {
            "what": f"probes scored, {len(probes):,} of one draw, fp32",
            "value": len(probes) / median,
            "unit": "probes/s",
        },
        {"what": "... if nothing but its bare products took time", "value": len(probes) / bare, "unit": "probes/s"},
    ]


def _study(checkpoint: Checkpoint) -> list[Row]:
    """Minutes of 300 cells, one after the other in this process; single and sequential edits two in a cell."""
    draws: Sequence[EditConfig] = [
        EditConfig(scenario=scenario, edit_seed=seed, num_edits=10 if scenario in ("identical", "different") else 2)
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
