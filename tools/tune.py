"""Defaults of methods tried on worlds and draws that no table uses: python tools/tune.py --output tools/tuned.json.

Small models are taught, and each group of settings is tried on all of them; a run that was cut off goes on. The file
has every trial with its score, and what was chosen: the defaults in the code are that, and a test compares them.
`--study RECIPE --model NAME` tunes on models of another kind, for a recipe to set, with groups of its own: other layers
and larger steps may suit another width.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from behemoth_cli.recipe_files import recipe_path, yaml_mapping
from behemoth_cli.settings import Options, one_line_errors, parse, place
from behemoth_cli.study_jobs import teach
from behemoth_cli.study_plan import models_of
from behemoth_cli.study_runner import is_trained
from behemoth_data import CorpusConfig, EditConfig, WorldConfig, build
from behemoth_data.settings import check, check_known, conform, setting
from behemoth_data.world import PRESETS
from behemoth_editing import METHODS, EditMethod
from behemoth_editing.checkpoint import load_checkpoint
from behemoth_editing.scoring.outcomes import mean_of
from behemoth_editing.scoring.scores import EVERYWHERE, MIN_FACTS, Sample
from behemoth_editing.sweep.cells import Cell, cell_id, grid, unfinished
from behemoth_editing.sweep.identity import model_of
from behemoth_editing.sweep.plain import plain
from behemoth_editing.sweep.rows import RESULTS, Row, read_rows, settled
from behemoth_editing.sweep.running import run
from behemoth_models import TrainConfig
from behemoth_models.training import train

TUNED = "tuned.json"  # what the defaults in the code are from
FIRST_WORLD, FIRST_DRAW = 1_000, 100  # tables use seeds below these, and tuning none of them
STRUCTURES = ("independent", "nested")
LEFT = 0.05  # share of old answers that may be left where something is to be forgotten
TIE = 0.01  # a score that is no more than this below the best is as good, and the default stays

SCORE = (
    "different: edit success x collateral accuracy; forget: the mean of collateral accuracy and of what is kept of the "
    f"relation's rest, or 0 where more than {LEFT} of the old answers are left; mean over models and draws, of kinds "
    f"of fact of which all of them together ask {MIN_FACTS}. "
    f"The default stays if it is no more than {TIE} below the best."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TuneArguments:
    """Which models and draws, and where everything goes."""

    output: str = place(f"tools/{TUNED}", "file to write")
    work_dir: str = place("results/tuning", "folder for the models and the rows of all trials")
    world_seeds: list[int] = setting([1_000], f"seeds of the worlds, from {FIRST_WORLD} on; one of each structure each")
    edit_seeds: list[int] = setting([100, 101], f"seeds of the draws, from {FIRST_DRAW} on")
    groups: list[str] = setting(["all"], "groups of settings to try, or all")
    num_subjects: int = setting(500, "subjects of each world")
    study: str = place("", "a recipe with models, to tune on one of its kinds instead; the file is then of its own")
    model: str = setting("", "which of the study's models, by name")

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        conform(self)
        for field, first in (("world_seeds", FIRST_WORLD), ("edit_seeds", FIRST_DRAW)):
            seeds = getattr(self, field)
            check(
                len(seeds) > 0 and min(seeds) >= first,
                f"{field} must be at least {first}, since tables use those below, got {seeds}",
            )
        check(
            bool(self.study) == bool(self.model), f"study and model go together, got {self.study!r} and {self.model!r}"
        )
        own = not self.study or Path(self.output).name != TUNED
        check(
            own, f"output must be a file of its own with study, got {self.output}, which has the defaults in the code"
        )
        known = ["all", *self.table]
        unknown = [name for name in self.groups if name not in known]
        check(not unknown, f"groups must be among {', '.join(known)}, got {', '.join(unknown)}")

    @property
    def table(self) -> Mapping[str, Group]:
        """All groups that there are for these models."""
        return SIZED if self.study else GROUPS


@dataclasses.dataclass(frozen=True)
class Group:
    """One method's settings that are tried together, all combinations, on one scenario."""

    method: str
    scenario: str
    tried: Mapping[str, Sequence[Any]]
    fixed: Sequence[Mapping[str, Any]] = ({},)  # a trial is the mean over these
    is_default: bool = True  # whether the code's default is what is chosen; else it is for recipes to set

    @property
    def settings(self) -> list[dict[str, Any]]:
        """What each trial sets beside what is fixed."""
        return [dict(zip(self.tried, values, strict=True)) for values in itertools.product(*self.tried.values())]

    @property
    def default(self) -> dict[str, Any]:
        """What the code has now for what is tried."""
        return {name: getattr(METHODS[self.method](**self.fixed[0]), name) for name in self.tried}

    def methods(self, chosen: Mapping[str, Any]) -> list[EditMethod]:
        """The methods of one trial."""
        return [METHODS[self.method](**{**fixed, **chosen}) for fixed in self.fixed]

    def draws(self, seeds: Sequence[int]) -> list[EditConfig]:
        """The draws: ten different edits, or a tenth of a relation that is forgotten."""
        shared = {"scenario": self.scenario, "relation": 0, "num_edits": 10}
        shared |= {"forget_fraction": 0.1, "probes_per_edit": 15}
        return [EditConfig(**shared, edit_seed=seed) for seed in seeds]


_RATES = {"learning_rate": (1e-3, 3e-3)}
GROUPS = {
    "rome": Group("rome", "different", {"layer": (1, 2, 3)}),
    "memit": Group("memit", "different", {"covariance_weight": (0.01, 0.1, 1.0)}),
    "emmet": Group("emmet", "different", {"key_ridge": (1e-6, 0.016)}),
    "alphaedit": Group("alphaedit", "different", {"null_energy": (0.001, 0.003, 0.01)}),
    "ultraedit": Group("ultraedit", "different", {"layers": ((3, 4, 5), (5,)), "step": (1.0, 2.0, 4.0)}),
    # The default is the source's 0.75; what another would do stands here beside it.
    **{
        f"clamp of {name}": Group(name, "different", {"max_norm": (0.75, 4.0)}, is_default=False)
        for name in ("memit", "emmet", "alphaedit")
    },
    "clamp of memit in one layer": Group(
        "memit", "different", {"max_norm": (0.75, 4.0)}, [{"layers": (3,)}], is_default=False
    ),
    "finetune": Group("finetune", "different", {"learning_rate": (3e-4, 1e-3, 3e-3, 1e-2)}),
    "finetune_constrained": Group("finetune_constrained", "different", _RATES),
    **{
        f"finetune of trained rank {rank}": Group(
            "finetune",
            "different",
            _RATES,
            [{"rank": rank, "rank_mode": "trained", "layers": (2, 3)}],
            is_default=False,
        )
        for rank in (1, 16)
    },
    "lora": Group(
        "lora",
        "different",
        {"learning_rate": (2e-3, 5e-3), "rank_power": (0.4, 0.6)},
        [{"rank": 1}, {"rank": 8}, {"rank": 64}],
    ),
    "gradient_ascent": Group("gradient_ascent", "forget", _RATES),
    "grad_diff": Group("grad_diff", "forget", _RATES),
    "npo": Group("npo", "forget", {"beta": (1.0, 3.0, 10.0), "learning_rate": (3e-3, 1e-2)}),
    "simnpo": Group(
        "simnpo",
        "forget",
        {"beta": (1.0, 2.0, 4.5), "forget_weight": (0.125, 1.0), "learning_rate": (3e-3, 1e-2)},
    ),
    "rmu": Group("rmu", "forget", _RATES),
    "undial": Group("undial", "forget", {"beta": (3.0, 10.0), "learning_rate": (3e-3, 1e-2)}),
    "ceu": Group("ceu", "forget", {"retain": ("none", "mixture"), "learning_rate": (1e-3, 3e-3)}),
    "wga": Group("wga", "forget", {"beta": (0.5, 1.0), "learning_rate": (3e-3, 1e-2)}),
    "satimp": Group("satimp", "forget", {"saturation": (1.0, 5.0), "importance": (0.1, 1.0), "learning_rate": (1e-2,)}),
    "pdu": Group("pdu", "forget", {"retain_weight": (30.0, 100.0), "tolerance": (0.03, 0.3)}),
    "refusal": Group("refusal", "forget", _RATES),
}


_LATE = {"learning_rate": (1e-3, 3e-3, 1e-2)}
_ONE = {"layers": ((1,), (3,), None), **_LATE}
_TWO = {"layers": ((1, 2), (2, 3), None), **_LATE}
_LONG = [{"max_steps": 400}]  # which who trains makes use of only where it is not done before
_FORGETTING = ["gradient_ascent", "grad_diff", "npo", "simnpo", "undial", "ceu", "wga", "satimp", "pdu", "refusal"]
_SPREAD = {"layers": ((1,), (2,), (3,), (1, 2), (1, 2, 3), (3, 4, 5)), "max_norm": (0.75, 4.0)}
# On models of another width: layers first, then what limits a change.
SIZED = {
    **{
        name: Group(name, "different", {"layer": tuple(range(6)), "max_norm": (4.0, 10.0)}, is_default=False)
        for name in ("rome", "r_rome")
    },
    **{name: Group(name, "different", _SPREAD, is_default=False) for name in ("memit", "emmet", "alphaedit")},
    "finetune": Group("finetune", "different", _ONE, _LONG, is_default=False),
    "finetune_constrained": Group(
        "finetune_constrained", "different", {**_TWO, "max_change": (1e-2, 3e-2)}, _LONG, is_default=False
    ),
    "lora": Group("lora", "different", {**_TWO, "learning_rate": (2e-3, 5e-3, 1e-2)}, _LONG, is_default=False),
    **{name: Group(name, "forget", _ONE, _LONG, is_default=False) for name in _FORGETTING},
    "rmu": Group("rmu", "forget", {"layers": ((1, 2), (2, 3)), **_LATE}, _LONG, is_default=False),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the trials that are missing, writes the file and prints a line for each group.

    Raises: SystemExit with status 2 for a bad option, 1 for a disk that fails or a trial that failed, after one line on
    standard error.
    """
    options = Options({"": TuneArguments}, prog="tune.py", description=__doc__, usage="[--option value ...]")
    (arguments,) = parse(options, argv, recipe={})
    with one_line_errors(options.prog):
        groups = {name: group for name, group in arguments.table.items() if {"all", name} & set(arguments.groups)}
        path = Path(arguments.output)
        found = tuned(arguments, groups)
        if path.exists():
            found = joined(json.loads(path.read_text(encoding="utf-8")), found, list(arguments.table))
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8", newline="\n")
        os.replace(partial, path)
    for name, group in found["groups"].items():
        print(f"{name}: {group['chosen']} of {len(group['trials'])}")


def tuned(arguments: TuneArguments, groups: Mapping[str, Group]) -> dict[str, Any]:
    """All trials of these groups with their scores, and what is chosen."""
    work = Path(arguments.work_dir, arguments.model)
    models = [load_checkpoint(str(folder)) for folder in _models(work, arguments)]
    report: dict[str, Any] = {
        "score": SCORE,
        **({"model": arguments.model} if arguments.model else {}),
        "worlds": [plain(model.corpus.world.config) for model in models],
        "recall": [plain(model.recall) for model in models],
        "edit_seeds": arguments.edit_seeds,
        "groups": {},
    }
    cells: dict[tuple[str, int], list[Cell]] = {}
    for name, group in groups.items():
        for number, chosen in enumerate(group.settings):
            cells[name, number] = grid(models, group.methods(chosen), group.draws(arguments.edit_seeds))
    # Those of one model and draw one after the other, which share statistics of keys and answers before.
    order = {cell: (models.index(cell.checkpoint), cell.edits.scenario, cell.edits.edit_seed) for cell in _all(cells)}
    run(unfinished(sorted(order, key=lambda cell: order[cell]), work / "trials"), work / "trials")
    rows = {row["cell"]: row for row in settled(read_rows(work / "trials" / RESULTS))}
    for name, group in groups.items():
        trials = []
        for number, chosen in enumerate(group.settings):
            some = [rows[cell_id(cell)] for cell in cells[name, number]]
            scored = [parts_of(row, kinds_of(some)) for row in some]
            made, kept, score = (round(sum(part) / len(scored), 4) for part in zip(*scored, strict=True))
            trials.append({"settings": plain(chosen), "made": made, "kept": kept, "score": score, "cells": len(scored)})
        report["groups"][name] = {
            "method": group.method,
            "scenario": group.scenario,
            "fixed": plain(group.fixed),
            "trials": trials,
            "chosen": chosen_of(trials, plain(group.default)),
        }
    return report


def joined(before: Mapping[str, Any], found: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """What was found, with groups that were not tried this time as they were before, on the same worlds and draws.

    Raises: ValueError if those were tried on others.
    """
    groups = {name: found["groups"].get(name) or before["groups"].get(name) for name in names}
    kept = [name for name in names if name not in found["groups"] and groups[name]]
    for part in ("score", "model", "worlds", "recall", "edit_seeds"):
        check(
            not kept or before.get(part) == found.get(part),
            f"output must be of the same {part} where {', '.join(kept)} stay as they are, got {before.get(part)}",
        )
    return {**found, "groups": {name: group for name, group in groups.items() if group}}


def _all(cells: Mapping[Any, Sequence[Cell]]) -> list[Cell]:
    return list(itertools.chain.from_iterable(cells.values()))


def kinds_of(rows: Sequence[Row]) -> list[str]:
    """The kinds of collateral accuracy of which the rows of a trial, together, ask enough facts: one asks too few."""
    units = [(row, unit) for row in rows if row["error"] is None for unit in row["units"]]
    if not units:
        return []
    sample = Sample([unit for _, unit in units], *zip(*((model_of(row), row["seed"]) for row, _ in units), strict=True))
    asked = np.array([[unit["keep"].get(kind, [0] * 4)[3] for kind in EVERYWHERE] for _, unit in units], np.float64)
    return [kind for kind, facts in zip(EVERYWHERE, sample.facts(asked), strict=True) if facts >= MIN_FACTS]


def parts_of(row: Row, kinds: Sequence[str]) -> tuple[float, float, float]:
    """What a trial's row made, which is edits or forgetting, what it kept, and its score; none of all if it failed.

    What it kept is its collateral accuracy over these kinds.
    """
    if row["error"] is not None:
        return 0.0, 0.0, 0.0
    scores = row["scores"]
    kept = mean_of([scores["by_kind"].get(kind, {}).get("value") for kind in kinds]) or 0.0
    rest = scores["by_kind"].get("implicit")  # the rest of a relation of which a share is forgotten counts as much
    if rest is not None:
        kept = (kept + rest["value"]) / 2
    if row["scenario"] == "forget":
        left = scores["forgetting"]["edited"]["accuracy_left"]["value"]
        return 1 - left, kept, kept if left <= LEFT else 0.0
    made = scores["edit_success"]["value"]
    return made, kept, made * kept


def chosen_of(trials: Sequence[Mapping[str, Any]], default: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the best score; the default if it is about as good."""
    best = max(trials, key=lambda trial: trial["score"])
    as_good = [trial["settings"] for trial in trials if trial["score"] >= best["score"] - TIE]
    return dict(default if default in as_good else best["settings"])


def _models(work: Path, arguments: TuneArguments) -> list[Path]:
    """The folders of all models, which are taught unless they are there already."""
    if not arguments.study:
        pairs = itertools.product(STRUCTURES, arguments.world_seeds)
        return [_model(work, structure, seed, arguments.num_subjects) for structure, seed in pairs]
    recipe = yaml_mapping(arguments.study, recipe_path(arguments.study))
    listed = {model.family: model for model in models_of(recipe, "tune.py")}
    check_known("model", arguments.model, list(listed))
    kind, folders = listed[arguments.model], []
    for seed in arguments.world_seeds:
        model = dataclasses.replace(
            kind,
            name=f"{kind.family}-{seed}",
            world=dataclasses.replace(kind.world, seed=seed),
            train=dataclasses.replace(kind.train, train_seed=seed),
        )
        folders.append(work / "models" / model.name)
        if not is_trained(model, folders[-1]):
            teach(model, folders[-1])
    return folders


def _model(work: Path, structure: str, seed: int, num_subjects: int) -> Path:
    """The folder of a model that was taught such a world, unless it is there already."""
    folder = work / "models" / f"{structure}-{num_subjects}-{seed}"
    if not (folder / "config.json").is_file():
        world = WorldConfig(num_subjects=num_subjects, num_relations=3, num_objects=50, seed=seed, **PRESETS[structure])
        corpus = build(world, corpus=CorpusConfig(repeats=10, inversion_fraction=0.5))
        train(corpus, TrainConfig(batch_size=128, learning_rate=4e-3, measurements=2), folder)
    return folder


if __name__ == "__main__":
    main()
