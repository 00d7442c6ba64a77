"""How fast facts are learned: the parts of behemoth benchmark train [--option value ...].

rate: tokens a second of our loop. precision: the same in bfloat16 and in float32, whatever the device is good at, and
which of them is the default. recall: facts a second of recall(). base: the recipe base up to its target. scaling:
sentences and seconds to 99% by the number of facts. gpu: the recipe large for a few steps. Seconds to a target are
those of steps alone: measuring recall and saving do not count. Bare products are matrix products of the same shapes in
the same precision and nothing else, timed in the same run.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from behemoth_cli.benchmarks.bare_products import bare_seconds, forward_calls, matrices
from behemoth_cli.benchmarks.output import Figures, Row
from behemoth_cli.benchmarks.runs import Runs, reached, say, started_runs
from behemoth_cli.settings import place
from behemoth_data import Corpus
from behemoth_data.settings import check, check_known, setting
from behemoth_models.config import TrainConfig
from behemoth_models.curve import svg_text
from behemoth_models.knowledge import recall
from behemoth_models.precision import peak_rate, resolve_precision
from behemoth_models.sizes import SHAPES, pythia

PARTS = ("rate", "precision", "recall", "scaling", "gpu", "base")
_SCALING_TARGET = 0.99
_PRECISION_SUBJECTS, _PRECISION_STEPS = 64, 4  # few, since a step may take half a minute in the wrong one
_LINES = ("-", "--", ":", "-.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainArguments:
    """What the benchmark of training runs, and how small."""

    parts: list[str] = setting(
        list(PARTS[:-1]),
        f"parts to run: {', '.join(PARTS)}; base takes 20 minutes on two cores, and scaling an hour",
    )
    num_subjects: int = setting(1000, "rate and recall: subjects of the world, 4 facts each")
    scaling_subjects: list[int] = setting([1000, 4000, 16000], "scaling: subjects of the worlds, 4 facts each")
    size: str | None = setting(None, "Pythia size in all parts; null: that of each recipe")
    measurements: int = setting(32, "scaling: times that recall is measured in every run, evenly")
    steps: int = setting(40, "rate and gpu: steps, the second half of which counts")
    runs: int = setting(5, "rate and recall: runs of each measurement, of which the median counts")
    threads: int | None = setting(
        None, "threads; null: OMP_NUM_THREADS, or one for each core that this process may use"
    )
    output: str = place(
        "", "file that holds the JSON from the first part on, so that the same command goes on with it; empty: none"
    )

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        for part in self.parts:
            check_known("parts", part, PARTS)
        if self.size is not None:
            check_known("size", self.size, SHAPES)
        for field in ("measurements", "runs", "threads"):
            value = getattr(self, field)
            check(value is None or value >= 1, f"{field} must be at least 1, got {value}")
        # 16 subjects are two batches of the recipe tiny, and two steps the fewest with a second half.
        for field, least in (("steps", 2), ("num_subjects", 16)):
            check(getattr(self, field) >= least, f"{field} must be at least {least}, got {getattr(self, field)}")
        counts = self.scaling_subjects
        check(all(count > 0 for count in counts), f"scaling_subjects must be above 0, got {counts}")


def train_benchmark(arguments: TrainArguments) -> list[Row]:
    """The figures of all parts that were asked for, those of an earlier sitting among them.

    Raises: ValueError if the output file holds something else.
    """
    figures = Figures("train", arguments, ("parts", "scaling_subjects"))
    with started_runs(arguments.size, arguments.threads, arguments.output) as runs:
        bench = _Bench(arguments, figures, runs)
        rows = [row for part in PARTS if part in arguments.parts for row in getattr(bench, part)()]
    return rows


class _Bench:
    """The parts, by their names."""

    def __init__(self, arguments: TrainArguments, figures: Figures, runs: Runs) -> None:
        self.arguments, self.figures, self.runs = arguments, figures, runs

    def rate(self) -> list[Row]:
        """Tokens a second of our loop with either optimizer, beside bare products."""
        rows = []
        for name in ("muon", "adamw"):
            rows += self.figures.part(f"rate/{name}", functools.partial(self._rate, name))
        return rows

    def _rate(self, optimizer: str, recipe: str = "tiny") -> list[Row]:
        world = {} if recipe == "large" else {"num_subjects": self.arguments.num_subjects}
        corpus, config = self.runs.recipe(recipe, **world)
        steps = min(self.arguments.steps, len(corpus) // config.batch_size)
        config = dataclasses.replace(
            config, optimizer=optimizer, max_steps=steps, measurements=2, target_recall=None, max_exposures=None
        )
        report = self.runs.train(f"rate/{recipe}/{optimizer}", corpus, config)
        seconds, tokens, precision = *_step(report), report["precision"]
        shapes = matrices(_fresh_model(corpus, config, "meta"))
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        products = [(tokens, *shape) for shape in shapes]
        runs = [bare_seconds(products, dtype, report["device"], backward=True) for _ in range(self.arguments.runs)]
        bare, operations = statistics.median(runs), 6 * tokens * sum(rows * columns for rows, columns in shapes)
        rows: list[Row] = [
            {
                "what": f"our loop, {recipe}, {config.size}, {optimizer}, {precision}",
                "value": tokens / seconds,
                "unit": "tokens/s",
            },
            {"what": "  its products, 6 x parameters x tokens", "value": operations / seconds / 1e9, "unit": "GFLOP/s"},
            {"what": "  bare products", "value": operations / bare / 1e9, "unit": "GFLOP/s"},
            {"what": "  our loop / bare products", "value": bare / seconds, "unit": "of the rate"},
        ]
        if torch.device(report["device"]).type == "cuda":
            card = torch.cuda.get_device_name(report["device"])
            peak = peak_rate(card)
            share = None if peak is None else operations / seconds / peak
            rows.append(
                {"what": "  our loop / the card's peak (MFU)", "value": share, "unit": "of the rate", "note": card}
            )
        return rows

    def precision(self) -> list[Row]:
        """Tokens a second in either precision, and how near the default comes to the better of both."""
        rows = []
        for precision in ("bf16", "fp32"):
            rows += self.figures.part(f"precision/{precision}", functools.partial(self._in_precision, precision))
        default = resolve_precision("auto", "cuda" if torch.cuda.is_available() else "cpu")
        rates = {row["precision"]: row["value"] for row in rows}
        share = {"value": rates[default] / max(rates.values()), "unit": "of the rate"}
        what = f"  auto, {default} here / the better of both"
        return [*rows, *self.figures.part("precision/auto", lambda: [{"what": what, **share}])]

    def _in_precision(self, precision: str) -> list[Row]:
        subjects = min(_PRECISION_SUBJECTS, self.arguments.num_subjects)
        corpus, config = self.runs.recipe("tiny", num_subjects=subjects)
        steps = min(_PRECISION_STEPS, len(corpus) // config.batch_size)
        config = dataclasses.replace(
            config, precision=precision, max_steps=steps, measurements=2, target_recall=None, max_exposures=None
        )
        seconds, tokens = _step(self.runs.train(f"precision/{precision}", corpus, config))
        what = f"our loop, {subjects} subjects, {config.size}, muon, {precision}"
        return [{"what": what, "value": tokens / seconds, "unit": "tokens/s", "precision": precision}]

    def gpu(self) -> list[Row]:
        """The recipe large on a GPU, or a line that says that there is none."""
        if not torch.cuda.is_available():
            return [{"what": "large on a GPU", "value": None, "unit": "", "note": "skipped: torch finds no GPU"}]
        return self.figures.part("gpu", functools.partial(self._rate, "muon", "large"))

    def recall(self) -> list[Row]:
        """How many facts are asked a second in float32, beside bare products."""
        return self.figures.part("recall", self._recall)

    def _recall(self) -> list[Row]:
        corpus, config = self.runs.recipe("tiny", num_subjects=self.arguments.num_subjects)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model = _fresh_model(corpus, config, device)
        say("recall")
        *layers, head = matrices(model)
        products = [
            (tokens, *shape)
            for (name, tokens), count in forward_calls(model, lambda: recall(model, corpus)).items()
            for shape in (layers if name == "layers" else [head]) * count
        ]
        pairs = []  # one after the other, since a machine's speed may change
        for _ in range(self.arguments.runs):
            started = time.perf_counter()
            recall(model, corpus)
            middle = time.perf_counter()
            pairs.append((middle - started, bare_seconds(products, torch.float32, device, backward=False)))
        seconds, bare = (statistics.median(column) for column in zip(*pairs, strict=True))
        return [
            {"what": f"recall(), {config.size}, fp32", "value": _num_facts(corpus) / seconds, "unit": "facts/s"},
            {"what": "  recall() / bare products", "value": bare / seconds, "unit": "of the rate"},
        ]

    def base(self) -> list[Row]:
        """The recipe base up to its target."""
        return self.figures.part("base", self._base)

    def _base(self) -> list[Row]:
        corpus, config = self.runs.recipe("base")
        target = config.target_recall or 1.0
        row = reached(self.runs.train("base", corpus, config), target)
        return [{"what": f"base to {target:.1%}", **row}]

    def scaling(self) -> list[Row]:
        """Seconds and sentences to the target by the number of facts, and a figure of them beside the output."""
        rows = []
        for count in sorted(self.arguments.scaling_subjects):
            rows += self.figures.part(f"scaling/{count}", functools.partial(self._scale, count))
        if self.arguments.output and rows:
            path = Path(self.arguments.output).with_suffix(".scaling.svg")
            path.write_text(draw_scaling([row for row in rows if "facts" in row]), encoding="utf-8", newline="\n")
        return rows

    def _scale(self, num_subjects: int) -> list[Row]:
        corpus, config = self.runs.recipe("base", num_subjects=num_subjects)
        config = dataclasses.replace(config, target_recall=_SCALING_TARGET, measurements=self.arguments.measurements)
        report = self.runs.train(f"scaling/{num_subjects}", corpus, config)
        row, facts = reached(report, _SCALING_TARGET), _num_facts(corpus)
        bits = row["recall"] * facts * math.log2(corpus.world.config.num_objects) / report["parameters"]
        what = f"to {_SCALING_TARGET:.0%}: {facts:,} facts, {config.size}"
        return [
            {"what": what, **row, "facts": facts, "bits_per_parameter": bits},
            {"what": "  bits of recalled facts", "value": bits, "unit": "/ parameter"},
        ]


def _step(report: Mapping[str, Any]) -> tuple[float, int]:
    """The seconds of a step after a run's first measurement, and the tokens of a step; batches hardly differ."""
    first, last = report["curve"][0], report["curve"][-1]
    seconds = (last["step_seconds"] - first["step_seconds"]) / (last["step"] - first["step"])
    return seconds, round(report["tokens"] / report["steps"])


def _num_facts(corpus: Corpus) -> int:
    return sum(corpus.world.num_facts(edge) for edge in corpus.world.edges)


def _fresh_model(corpus: Corpus, config: TrainConfig, device: torch.device | str) -> PreTrainedModel:
    """A model of the size that train() makes for this corpus."""
    with torch.device(device):
        return pythia(config.size, 64 * math.ceil(len(corpus.grammar.lexicon.vocabulary) / 64))


def draw_scaling(rows: Sequence[Row]) -> str:
    """The SVG of recall by sentences per fact, a line for each number of facts, and what the target took and holds.

    Worlds that did not reach the target have a line, and no point in the other two panels.
    """
    import matplotlib
    from matplotlib.figure import Figure

    reached = [row for row in rows if row["value"] is not None]
    facts = [row["facts"] for row in reached]
    panels = {
        "seconds of steps": [row["value"] for row in reached],
        "bits per parameter": [row["bits_per_parameter"] for row in reached],
    }
    with matplotlib.rc_context({"svg.hashsalt": "behemoth", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(8.4, 2.6), layout="constrained")
        curves, *others = figure.subplots(1, 3)
        for row, style in zip(rows, itertools.cycle(_LINES), strict=False):
            points = [(point["exposures"], point["recall"]) for point in row["curve"]]
            curves.plot(*zip(*points, strict=True), style, color="#0072B2", label=f"{row['facts']:,} facts")
        curves.axhline(_SCALING_TARGET, color="#888888", linewidth=0.8)
        curves.set(xlabel="sentences per fact", ylabel="recall", xlim=(0, None), ylim=(-0.03, 1.03))
        curves.legend(frameon=False)
        for axes, (label, values) in zip(others, panels.items(), strict=True):
            axes.loglog(facts, values, "o-", color="#0072B2", markersize=4)
            axes.set_xticks(facts, [f"{count:,}" for count in facts])
            axes.set_yticks(values, [f"{value:.2g}" if value < 1 else f"{value:,.0f}" for value in values])
            axes.minorticks_off()
            axes.set(xlabel=f"facts, of which {_SCALING_TARGET:.0%} are known", ylabel=label)
        for axes in (curves, *others):
            axes.spines[["top", "right"]].set_visible(False)
        return svg_text(figure)
