"""How fast facts are learned: the parts of behemoth benchmark train [--option value ...].

target: seconds until a model knows 99.5% of an independent world, by the recipe tiny and by two rivals: transformers'
Trainer on the same sentences packed into blocks, and our loop, both with Pythia's optimizer settings. rate: tokens a
second of our loop. precision: the same in bfloat16 and in float32, whatever the device is good at, and which of them
is the default. recall: facts a second of recall(). base: the recipe base up to its target. scaling: sentences and
seconds to 99% by the number of facts. gpu: the recipe large for a few steps. Seconds to a target are those of steps
alone, for the rivals too: measuring recall and saving do not count. Bare products are matrix products of the same
shapes in the same precision and nothing else, timed in the same run.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel

from behemoth_cli.benchmarks.bare_products import bare_seconds, forward_calls, matrices
from behemoth_cli.benchmarks.output import Figures, Row
from behemoth_cli.benchmarks.trainer_rival import train_packed
from behemoth_cli.cores import set_threads
from behemoth_cli.settings import RECIPES, Options, parse, place
from behemoth_cli.train import SECTIONS
from behemoth_data import Corpus, build
from behemoth_data.settings import check, check_known, setting
from behemoth_models.config import TrainConfig
from behemoth_models.curve import svg_text
from behemoth_models.knowledge import recall
from behemoth_models.precision import peak_rate, resolve_precision
from behemoth_models.run import Run
from behemoth_models.sizes import SHAPES, pythia
from behemoth_models.training import train

PARTS = ("rate", "precision", "recall", "target", "scaling", "gpu", "base")
_TARGET, _SCALING_TARGET = 0.995, 0.99
# What Pythia was trained with, but for the learning rate. Source: Biderman et al., "Pythia", 2023, appendix.
_PYTHIA: dict[str, Any] = {
    "optimizer": "adamw",
    "schedule": "cosine",
    "warmup_fraction": 0.01,
    "final_fraction": 0.1,
    "weight_decay": 0.1,
    "max_grad_norm": 1.0,
}
_PRECISION_SUBJECTS, _PRECISION_STEPS = 64, 4  # few, since a step may take half a minute in the wrong one
_OURS = "the recipe tiny"
_RIVALS = {"trainer": "Trainer, packed sentences, AdamW", "adamw": "our loop, AdamW"}
_LINES = ("-", "--", ":", "-.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainArguments:
    """What the benchmark of training runs, and how small."""

    parts: list[str] = setting(
        list(PARTS[:-1]),
        f"parts to run: {', '.join(PARTS)}; base takes 20 minutes on two cores, and scaling an hour",
    )
    seeds: list[int] = setting([0, 1, 2], "target: seeds of world and weights")
    rates: list[float] = setting(
        [2.5e-4, 5e-4, 1e-3], "target: learning rates that each rival tries with the first seed; the best serves all"
    )
    exposures: list[int] = setting(
        [12, 24, 48], "target: lengths of the rivals' schedules, in sentences per fact, tried from the longest down"
    )
    max_minutes: float = setting(10.0, "target: minutes after which a rival's run ends, measuring included")
    num_subjects: int = setting(1000, "target, rate and recall: subjects of the world, 4 facts each")
    scaling_subjects: list[int] = setting([1000, 4000, 16000], "scaling: subjects of the worlds, 4 facts each")
    size: str | None = setting(None, "Pythia size in all parts; null: that of each recipe")
    measurements: int = setting(32, "target and scaling: times that recall is measured in every run, evenly")
    blocks: int = setting(4, "target: blocks in a batch of the Trainer")
    block_tokens: int = setting(1024, "target: tokens of such a block")
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
        check(self.max_minutes > 0, f"max_minutes must be above 0, got {self.max_minutes}")
        for field in ("measurements", "blocks", "runs", "threads"):
            value = getattr(self, field)
            check(value is None or value >= 1, f"{field} must be at least 1, got {value}")
        # 16 subjects are two batches of the recipe tiny, and two steps the fewest with a second half.
        for field, least in (("block_tokens", 2), ("steps", 2), ("num_subjects", 16)):
            check(getattr(self, field) >= least, f"{field} must be at least {least}, got {getattr(self, field)}")
        for field in ("rates", "exposures", "scaling_subjects"):
            values = getattr(self, field)
            check(all(value > 0 for value in values), f"{field} must be above 0, got {values}")
        check(
            "target" not in self.parts or bool(self.seeds and self.rates and self.exposures),
            "seeds, rates and exposures must not be empty for the part target",
        )


def train_benchmark(arguments: TrainArguments) -> list[Row]:
    """The figures of all parts that were asked for, those of an earlier sitting among them.

    Raises: ValueError if the output file holds something else.
    """
    figures = Figures("train", arguments, ("parts", "seeds", "rates", "exposures", "scaling_subjects"))
    if arguments.threads is None:
        set_threads()
    else:
        torch.set_num_threads(arguments.threads)
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    with _folder(arguments.output) as folder:
        bench = _Bench(arguments, figures, folder)
        rows = [row for part in PARTS if part in arguments.parts for row in getattr(bench, part)()]
    return rows


@contextmanager
def _folder(output: str) -> Iterator[Path]:
    """Where runs leave their states: beside the output, so that they go on as well, or for this sitting alone."""
    if output:
        yield Path(f"{output}.runs")
        shutil.rmtree(f"{output}.runs", ignore_errors=True)
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)


class _Bench:
    """The parts, by their names."""

    def __init__(self, arguments: TrainArguments, figures: Figures, folder: Path) -> None:
        self.arguments, self.figures, self.folder = arguments, figures, folder

    def recipe(self, name: str, repeats: int | None = None, **world: Any) -> tuple[Corpus, TrainConfig]:
        """The corpus and the training of a recipe, with some fields of the world changed."""
        path = str(RECIPES / f"{name}.yaml")
        world_config, lexicon, corpus, config = parse(
            Options(list(SECTIONS.values()), prog="behemoth benchmark"), [path], sections=SECTIONS
        )
        corpus = dataclasses.replace(corpus, repeats=corpus.repeats if repeats is None else repeats)
        config = dataclasses.replace(config, size=self.arguments.size or config.size, save_every=None)
        return build(dataclasses.replace(world_config, **world), lexicon, corpus), config

    def train(self, name: str, corpus: Corpus, config: TrainConfig) -> dict[str, Any]:
        """The report of a run, which goes on if it was cut off; its folder is gone then."""
        _say(name)
        folder = self.folder / name.replace("/", "-")
        report = Run(folder, corpus, config).finished() or train(corpus, config, folder)
        shutil.rmtree(folder)
        return report

    def rate(self) -> list[Row]:
        """Tokens a second of our loop with either optimizer, beside bare products."""
        rows = []
        for name in ("muon", "adamw"):
            rows += self.figures.part(f"rate/{name}", functools.partial(self._rate, name))
        return rows

    def _rate(self, optimizer: str, recipe: str = "tiny") -> list[Row]:
        world = {} if recipe == "large" else {"num_subjects": self.arguments.num_subjects}
        corpus, config = self.recipe(recipe, **world)
        steps = min(self.arguments.steps, len(corpus) // config.batch_size)
        config = dataclasses.replace(
            config, optimizer=optimizer, max_steps=steps, measurements=2, target_recall=None, max_exposures=None
        )
        report = self.train(f"rate/{recipe}/{optimizer}", corpus, config)
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
        corpus, config = self.recipe("tiny", num_subjects=subjects)
        steps = min(_PRECISION_STEPS, len(corpus) // config.batch_size)
        config = dataclasses.replace(
            config, precision=precision, max_steps=steps, measurements=2, target_recall=None, max_exposures=None
        )
        seconds, tokens = _step(self.train(f"precision/{precision}", corpus, config))
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
        corpus, config = self.recipe("tiny", num_subjects=self.arguments.num_subjects)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model = _fresh_model(corpus, config, device)
        _say("recall")
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

    def target(self) -> list[Row]:
        """Seconds to the target of the recipe and of both rivals, seed by seed, and what to make of them."""
        first, *others = self.arguments.seeds
        ours = [self._try("ours", seed) for seed in self.arguments.seeds]
        rows, medians = list(ours), [_median(_OURS, ours)]
        for rival, label in _RIVALS.items():
            tried = self._search(rival, first)
            best = min(tried, key=_order)
            # What no setting reached with the first seed is not tried with others: each would take all its minutes.
            seeds = others if best["value"] is not None else []
            found = [best, *(self._try(rival, seed, best["rate"], best["schedule"]) for seed in seeds)]
            medians.append(
                _median(f"{label}, rate {best['rate']:g}, schedule of {best['schedule']}", found, medians[0])
            )
            rows += [*tried, *found[1:]]
        return [*rows, *medians]

    def _search(self, rival: str, seed: int) -> list[Row]:
        """A run with every learning rate and every length, the longest first.

        None goes on when it takes longer than the best so far, and where no rate reached the target although every
        run came to its end, shorter runs are not tried.
        """
        tried: list[Row] = []
        for exposures in sorted(self.arguments.exposures, reverse=True):
            for rate in self.arguments.rates:
                # A tenth more, since what is measured is included here, and the order of two runs is decided without.
                limits = [1.1 * row["all_seconds"] for row in tried if row["value"] is not None]
                tried.append(self._try(rival, seed, rate, exposures, min(limits, default=math.inf)))
            latest = tried[-len(self.arguments.rates) :]
            if all(row["value"] is None and row["whole"] for row in latest):
                break
        return tried

    def _try(
        self, name: str, seed: int, rate: float | None = None, exposures: int | None = None, limit: float = math.inf
    ) -> Row:
        """The row of one run to the target, by the recipe or by a rival with a learning rate and a length.

        `limit` is in seconds, and rivals have one of max_minutes as well.
        """
        rival = rate is not None
        part = f"target/{name}/{seed}" + (f"/{rate:g}/{exposures}" if rival else "")
        limit = min(limit, 60 * self.arguments.max_minutes) if rival else limit

        def work() -> list[Row]:
            corpus, config = self.recipe("tiny", exposures, num_subjects=self.arguments.num_subjects, seed=seed)
            config = dataclasses.replace(
                config, measurements=self.arguments.measurements, target_recall=_TARGET, train_seed=seed
            )
            if rate is not None:
                config = dataclasses.replace(config, **_PYTHIA, learning_rate=rate, max_minutes=limit / 60)
            if name == "trainer":
                _say(part)
                size = {"block_tokens": self.arguments.block_tokens, "batch_size": self.arguments.blocks}
                report = train_packed(corpus, config, **size, max_seconds=limit)
            else:
                report = self.train(part, corpus, config)
            label = f"{_RIVALS[name]}, rate {rate:g}, schedule of {exposures}" if rival else _OURS
            chosen = {"rate": rate, "schedule": exposures} if rival else {}
            row = _reached(report, _TARGET, limit)
            return [{"what": f"to {_TARGET:.1%}, seed {seed}: {label}", **row, **chosen}]

        return self.figures.part(part, work)[0]

    def base(self) -> list[Row]:
        """The recipe base up to its target."""
        return self.figures.part("base", self._base)

    def _base(self) -> list[Row]:
        corpus, config = self.recipe("base")
        target = config.target_recall or 1.0
        row = _reached(self.train("base", corpus, config), target)
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
        corpus, config = self.recipe("base", num_subjects=num_subjects)
        config = dataclasses.replace(config, target_recall=_SCALING_TARGET, measurements=self.arguments.measurements)
        report = self.train(f"scaling/{num_subjects}", corpus, config)
        row, facts = _reached(report, _SCALING_TARGET), _num_facts(corpus)
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


def _say(part: str) -> None:
    print(f"benchmark: {part}", file=sys.stderr)


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


def _reached(report: Mapping[str, Any], target: float, limit: float = math.inf) -> Row:
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


def _order(row: Row) -> tuple[bool, float]:
    """What reached the target soonest comes first, then what came nearest to it."""
    return (row["value"] is None, -row["recall"] if row["value"] is None else row["value"])


def _median(label: str, rows: Sequence[Row], ours: Row | None = None) -> Row:
    """The median of the seeds' seconds, if all of them reached the target, and how many times ours it is."""
    values = [row["value"] for row in rows]
    what = f"to {_TARGET:.1%}, median of {len(rows)} seeds: {label}"
    if None in values:
        note = f"reached with {len(values) - values.count(None)} of {len(values)} seeds"
        return {"what": what, "value": None, "unit": "s", "note": note}
    median = statistics.median(values)
    compared = ours is not None and ours["value"] is not None
    note = f"{median / ours['value']:.3g} times {_OURS}" if compared and ours is not None else ""
    return {"what": what, "value": median, "unit": "s", "note": note}
