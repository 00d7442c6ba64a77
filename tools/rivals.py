"""How soon facts are learned, by us and by others: python tools/rivals.py [--option value ...].

Seconds until a model knows 99.5% of an independent world, by the recipe tiny and by two rivals: transformers' Trainer
on the same sentences packed into blocks, and our loop, both with Pythia's optimizer settings. Seconds are those of
steps alone, for the rivals too: measuring recall and saving do not count. Prints a table, then the same as JSON.
"""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from collections.abc import Sequence
from typing import Any

from trainer_rival import train_packed

from behemoth_cli.benchmarks.output import Figures, Row, result, table
from behemoth_cli.benchmarks.runs import Runs, reached, say, started_runs
from behemoth_cli.settings import Options, one_line_errors, parse, place
from behemoth_data.settings import check, check_known, setting
from behemoth_models.sizes import SHAPES

_TARGET = 0.995
# What Pythia was trained with, but for the learning rate. Source: Biderman et al., "Pythia", 2023, appendix.
_PYTHIA: dict[str, Any] = {
    "optimizer": "adamw",
    "schedule": "cosine",
    "warmup_fraction": 0.01,
    "final_fraction": 0.1,
    "weight_decay": 0.1,
    "max_grad_norm": 1.0,
}
_OURS = "the recipe tiny"
_RIVALS = {"trainer": "Trainer, packed sentences, AdamW", "adamw": "our loop, AdamW"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RivalArguments:
    """What is compared, and how small."""

    seeds: list[int] = setting([0, 1, 2], "seeds of world and weights")
    rates: list[float] = setting(
        [2.5e-4, 5e-4, 1e-3], "learning rates that each rival tries with the first seed; the best serves all"
    )
    exposures: list[int] = setting(
        [12, 24, 48], "lengths of the rivals' schedules, in sentences per fact, tried from the longest down"
    )
    max_minutes: float = setting(10.0, "minutes after which a rival's run ends, measuring included")
    num_subjects: int = setting(1000, "subjects of the world, 4 facts each")
    size: str | None = setting(None, "Pythia size; null: that of the recipe")
    measurements: int = setting(32, "times that recall is measured in every run, evenly")
    blocks: int = setting(4, "blocks in a batch of the Trainer")
    block_tokens: int = setting(1024, "tokens of such a block")
    threads: int | None = setting(
        None, "threads; null: OMP_NUM_THREADS, or one for each core that this process may use"
    )
    output: str = place(
        "", "file that holds the JSON from the first run on, so that the same command goes on with it; empty: none"
    )

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        if self.size is not None:
            check_known("size", self.size, SHAPES)
        check(self.max_minutes > 0, f"max_minutes must be above 0, got {self.max_minutes}")
        # 16 subjects are two batches of the recipe tiny.
        least = {"measurements": 1, "blocks": 1, "threads": 1, "block_tokens": 2, "num_subjects": 16}
        for field, bound in least.items():
            value = getattr(self, field)
            check(value is None or value >= bound, f"{field} must be at least {bound}, got {value}")
        check(bool(self.seeds), f"seeds must hold at least 1 seed, got {self.seeds}")
        for field in ("rates", "exposures"):
            values = getattr(self, field)
            check(bool(values), f"{field} must hold at least 1 number, got {values}")
            check(all(value > 0 for value in values), f"{field} must be above 0, got {values}")


class Race:
    """The recipe and its rivals on the same worlds, seed by seed."""

    def __init__(self, arguments: RivalArguments, figures: Figures, runs: Runs) -> None:
        self.arguments, self.figures, self.runs = arguments, figures, runs

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
            corpus, config = self.runs.recipe("tiny", exposures, num_subjects=self.arguments.num_subjects, seed=seed)
            config = dataclasses.replace(
                config, measurements=self.arguments.measurements, target_recall=_TARGET, train_seed=seed
            )
            if rate is not None:
                config = dataclasses.replace(config, **_PYTHIA, learning_rate=rate, max_minutes=limit / 60)
            if name == "trainer":
                say(part)
                size = {"block_tokens": self.arguments.block_tokens, "batch_size": self.arguments.blocks}
                report = train_packed(corpus, config, **size, max_seconds=limit)
            else:
                report = self.runs.train(part, corpus, config)
            label = f"{_RIVALS[name]}, rate {rate:g}, schedule of {exposures}" if rival else _OURS
            chosen = {"rate": rate, "schedule": exposures} if rival else {}
            row = reached(report, _TARGET, limit)
            return [{"what": f"to {_TARGET:.1%}, seed {seed}: {label}", **row, **chosen}]

        return self.figures.part(part, work)[0]


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


def main(argv: Sequence[str] | None = None, prog: str = "rivals.py") -> None:
    """Prints the table and the JSON of all runs, those of an earlier sitting among them.

    Raises: SystemExit with status 2, after one line on standard error, for anything unknown or out of bounds.
    """
    options = Options({"": RivalArguments}, prog=prog, description=__doc__, usage="[--option value ...]")
    (arguments,) = parse(options, argv, recipe={})
    with one_line_errors(prog):
        figures = Figures("rivals", arguments, ("seeds", "rates", "exposures"))
        with started_runs(arguments.size, arguments.threads, arguments.output) as runs:
            rows = Race(arguments, figures, runs).target()
        print(table(rows))
        print(json.dumps(result("rivals", dataclasses.asdict(arguments), rows)))


if __name__ == "__main__":
    main()
