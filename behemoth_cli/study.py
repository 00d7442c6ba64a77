"""Train models, edit them in several grids, judge the findings: behemoth study RECIPE --output_dir study/NAME.

A study's recipe lists `models`, each a recipe of training with a name and seeds, and `sweeps`, each a recipe of
editing with a name and the names of the models that it edits; what stands beside the two lists holds for all of
them. Running the same command again does what is missing, and comes to the same verdicts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import html
import itertools
import json
import logging
import multiprocessing
import os
import platform
import re
import shlex
import shutil
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

import torch
import transformers
from accelerate import Accelerator
from tqdm import tqdm

from behemoth_cli.cores import chosen_threads, set_threads, usable_cores
from behemoth_cli.edit import SweepArguments
from behemoth_cli.process import keep_freed_memory
from behemoth_cli.settings import Options, combinations, one_line_errors, parse, place, recipe_path, yaml_mapping
from behemoth_cli.train import SECTIONS as MODEL_SECTIONS
from behemoth_data import CorpusConfig, LexiconConfig, WorldConfig, build
from behemoth_data.edits import EditConfig
from behemoth_data.scenarios import draw
from behemoth_data.settings import check, check_known, setting
from behemoth_data.world import PRESETS, World
from behemoth_editing import METHODS, EditMethod
from behemoth_editing.checkpoint import Checkpoint, load_checkpoint
from behemoth_editing.report.page import write_report
from behemoth_editing.report.tables import verdict_overview, verdict_table
from behemoth_editing.study.findings import judge
from behemoth_editing.sweep.cells import Cell, check_cells, grid, unfinished
from behemoth_editing.sweep.identity import shown_place
from behemoth_editing.sweep.rows import RESULTS, put_file
from behemoth_editing.sweep.running import run
from behemoth_models.config import TrainConfig
from behemoth_models.training import train

_SWEEP_SECTIONS = ("sweep", *METHODS)
_POLL_SECONDS = 2.0
_MARKS = ("<!-- study -->", "<!-- end of study -->")
# What a page such as docs/results.md shows of a study's report: the copy's name, and the figure's.
_PAGE_FIGURES = {
    "study-ranks.svg": "ranks-*-different-*-independent*.svg",
    "study-layers.svg": "layers-*-different-*-independent*.svg",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyArguments:
    """Where a study goes and what works on it."""

    output_dir: str = place("study/tiny", "folder for models/, results/, report/ and verdicts.md")
    processes: int | None = setting(
        None,
        "processes that train and edit side by side; none: one for each core it may use, or one if there is a GPU",
    )
    readme: str = place(
        "",
        "Markdown file with the lines <!-- study --> and <!-- end of study -->: the verdicts go between them, and two "
        "figures beside it; empty: none",
    )
    dry_run: bool = setting(False, "only count the models and the cells of every sweep")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Config:
    config: str = setting("independent", f"world to teach: {', '.join(PRESETS)}; other fields go on top of it")


@dataclasses.dataclass(frozen=True)
class Model:
    """A model to be trained: its family, and everything that decides its weights."""

    family: str
    name: str  # of its folder
    world: WorldConfig
    lexicon: LexiconConfig
    corpus: CorpusConfig
    train: TrainConfig


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A grid over all models of some families."""

    name: str
    families: tuple[str, ...]
    methods: tuple[EditMethod, ...]
    draws: tuple[EditConfig, ...]

    def num_cells(self, models: Sequence[Model]) -> int:
        """How many cells it has before those are left out that another sweep has too."""
        return sum(model.family in self.families for model in models) * len(self.methods) * len(self.draws)


def read_study(path: str, prog: str = "behemoth study") -> tuple[list[Model], list[Sweep]]:
    """The models and the sweeps of a study's recipe.

    Raises: ValueError, or SystemExit with status 2 after one line on standard error, for a file that is no such
    recipe, or anything in it that is unknown or out of bounds.
    """
    recipe = yaml_mapping(path, recipe_path(path, "study_*.yaml", "a study's YAML file"))
    for section in recipe:
        check_known(f"section of {path}", section, ["models", "sweeps", *MODEL_SECTIONS, *_SWEEP_SECTIONS])
    models = [
        model
        for entry in _entries(recipe, "models", ("name", "config", "seeds", *MODEL_SECTIONS))
        for model in _models(recipe, entry, prog)
    ]
    names = [model.name for model in models]
    repeated = [name for name in names if names.count(name) > 1]
    check(not repeated, f"models must have names of their own, got {repeated[:1]} twice")
    families = tuple(dict.fromkeys(model.family for model in models))
    sweeps = [
        _sweep(recipe, entry, families, prog)
        for entry in _entries(recipe, "sweeps", ("name", "models", *_SWEEP_SECTIONS))
    ]
    return models, sweeps


def _entries(recipe: Mapping[str, Any], section: str, fields: Sequence[str]) -> list[dict[str, Any]]:
    entries = recipe.get(section)
    check(isinstance(entries, list) and len(entries) > 0, f"{section} must list at least 1 entry, got {entries!r}")
    for entry in entries or []:
        check(isinstance(entry, dict) and "name" in entry, f"each of {section} must have a name, got {entry!r}")
        for field in entry:
            check_known(f"field of {entry['name']} in {section}", field, fields)
    return list(entries or [])


def _merged(recipe: Mapping[str, Any], entry: Mapping[str, Any], sections: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The sections of an entry on top of those that hold for all."""
    merged = {name: {**(recipe.get(name) or {}), **(entry.get(name) or {})} for name in sections}
    return {name: values for name, values in merged.items() if values}


def _models(recipe: Mapping[str, Any], entry: Mapping[str, Any], prog: str) -> Iterator[Model]:
    """A model for each seed, which is that of its world and of its weights."""
    for seed in entry.get("seeds", [0]):
        sections = _merged(recipe, entry, tuple(MODEL_SECTIONS))
        sections["world"] = {**sections.get("world", {}), "seed": seed}
        sections["train"] = {**sections.get("train", {}), "train_seed": seed}
        _, *configs = parse(
            Options([_Config, *MODEL_SECTIONS.values()], prog=prog),
            ["--config", str(entry.get("config", "independent"))],
            sections=MODEL_SECTIONS,
            presets=PRESETS,
            recipe=sections,
        )
        yield Model(entry["name"], f"{entry['name']}-{seed}", *configs)


def _sweep(recipe: Mapping[str, Any], entry: Mapping[str, Any], families: Sequence[str], prog: str) -> Sweep:
    chosen = tuple(entry.get("models", families))
    for family in chosen:
        check_known(f"model of {entry['name']}", family, families)
    sweep, *settings = parse(
        Options([SweepArguments], swept=METHODS, prog=prog),
        [],
        sections={"sweep": SweepArguments},
        recipe=_merged(recipe, entry, _SWEEP_SECTIONS),
    )
    for name in sweep.methods:
        check_known(f"method of {entry['name']}", name, METHODS)
    variants = dict(zip(METHODS, settings, strict=True))
    methods = tuple(method for name in sweep.methods for method in variants[name])
    draws = combinations(EditConfig, sweep, scenario=sweep.scenarios, edit_seed=sweep.seeds)
    return Sweep(entry["name"], chosen, methods, tuple(draws))


def check_draws(models: Sequence[Model], sweeps: Sequence[Sweep]) -> None:
    """Raises: ValueError for the first sweep whose edits a world of its models does not have. Trains nothing."""
    for model in models:
        world = World(model.world)
        for sweep in (sweep for sweep in sweeps if model.family in sweep.families):
            for edits in sweep.draws:
                try:
                    draw(world, edits)
                except ValueError as error:
                    raise ValueError(f"{sweep.name}, {model.name}: {error}") from error


# What one process does


def _ready() -> None:
    """One thread, unless the user set another number, and no messages.

    Processes side by side are quicker than threads, and give the same bits anywhere.

    The process ends with the study, also where that was killed, so that none works on beside the one that goes on.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    set_threads(most=1)
    keep_freed_memory()
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    transformers.utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _teach(model: Model, folder: Path) -> None:
    """The folder holds the model; a run that was cut off in it has gone on."""
    train(build(model.world, model.lexicon, model.corpus), model.train, folder, progress=False)


def _edit(folder: str, pairs: Sequence[tuple[EditMethod, EditConfig]], output: Path) -> None:
    """The results hold a row for each pair of a method and a draw on this model."""
    checkpoint = load_checkpoint(folder, Accelerator(mixed_precision="no").device)
    run([Cell(checkpoint, method, edits) for method, edits in pairs], output, progress=False)


# What the study does


class _Clock:
    """Seconds that a study took, over all sittings, kept in a file so that a kill loses a moment of them at most."""

    def __init__(self, path: Path) -> None:
        self._path, self._started = path, time.monotonic()
        self._earlier = json.loads(path.read_text(encoding="utf-8"))["seconds"] if path.is_file() else 0.0

    def keep(self) -> float:
        """The seconds so far, which the file holds now."""
        seconds = self._earlier + time.monotonic() - self._started
        self._path.parent.mkdir(parents=True, exist_ok=True)
        put_file(self._path, (json.dumps({"seconds": round(seconds, 1)}) + "\n").encode())
        return seconds


def _side_by_side(tasks: Sequence[Callable[[ProcessPoolExecutor], Future[None]]], processes: int, tick: Any) -> None:
    """Every task is done. Raises: what the first task that failed raised, once the others that run have ended."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_ready) as pool:
        waiting = {task(pool) for task in tasks}
        try:
            while waiting:
                done, waiting = wait(waiting, timeout=_POLL_SECONDS, return_when="FIRST_COMPLETED")
                for future in done:
                    future.result()
                tick(len(waiting))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _train_all(models: Sequence[Model], output: Path, processes: int, clock: _Clock) -> None:
    missing = [model for model in models if not _is_trained(model, output / "models" / model.name)]
    with tqdm(total=len(models), initial=len(models) - len(missing), desc="models", unit="model") as bar:

        def tick(left: int) -> None:
            clock.keep()
            bar.update(len(models) - left - bar.n)

        _side_by_side([_task(_teach, m, output / "models" / m.name) for m in missing], processes, tick)


def _task(function: Callable[..., None], *arguments: Any) -> Callable[[ProcessPoolExecutor], Future[None]]:
    return lambda pool: pool.submit(function, *arguments)


def _is_trained(model: Model, folder: Path) -> bool:
    """Whether the folder holds this very model. Raises: ValueError if it holds one of another recipe."""
    config = folder / "config.json"
    if not config.is_file():
        return False
    held = json.loads(config.read_text(encoding="utf-8")).get("behemoth", {})
    for part in ("world", "lexicon", "corpus", "train"):
        wanted = json.loads(json.dumps(dataclasses.asdict(getattr(model, part))))
        check(
            held.get(part) == wanted,
            f"output_dir must be new or of the same recipe, got {folder}, whose {part} is {held.get(part)} and not "
            f"{wanted}; choose another output_dir, or remove that folder",
        )
    return True


def _cells(models: Sequence[Model], sweeps: Sequence[Sweep], output: Path) -> list[Cell]:
    """Every cell of every sweep, once, those of one model next to each other."""
    cells: list[Cell] = []
    for model in models:
        checkpoint: Checkpoint | None = None
        for sweep in (sweep for sweep in sweeps if model.family in sweep.families):
            checkpoint = checkpoint or load_checkpoint((output / "models" / model.name).as_posix())
            cells += grid([checkpoint], sweep.methods, sweep.draws)
    return list(dict.fromkeys(cells))


def _edit_all(cells: Sequence[Cell], output: Path, processes: int, clock: _Clock) -> None:
    results = output / "results"
    missing = unfinished(cells, results)
    results.mkdir(parents=True, exist_ok=True)
    path = results / RESULTS
    path.touch()
    models = len({cell.checkpoint.name for cell in missing})

    def share(cell: Cell) -> tuple[str, int]:
        # What a method prepares once for a model is prepared by every process that edits it, so models are split
        # only where there are too few of them to keep all processes busy.
        return cell.checkpoint.name, cell.edits.edit_seed if models < 2 * processes else 0

    groups = [list(group) for _, group in itertools.groupby(sorted(missing, key=share), key=share)]
    tasks = [
        _task(_edit, group[0].checkpoint.name, [(cell.method, cell.edits) for cell in group], results)
        for group in sorted(groups, key=len, reverse=True)  # the long ones first, so that all end at about one time
    ]
    earlier = len(cells) - len(missing)
    with tqdm(total=len(cells), initial=earlier, desc="cells", unit="cell") as bar:
        lines = _lines(path)

        def tick(left: int) -> None:
            clock.keep()
            bar.update(earlier + _lines(path) - lines - bar.n)

        _side_by_side(tasks, processes, tick)


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))


def _machine() -> str:
    """The machine in words: its GPU if it has one, or its processor and the number of cores."""
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, {usable_cores()} CPU cores"
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    return f"{usable_cores()} cores of {name}"


def options(prog: str = "behemoth study") -> Options:
    """What the command line takes."""
    return Options([StudyArguments], prog=prog, description=__doc__)


def main(argv: Sequence[str] | None = None, prog: str = "behemoth study") -> None:
    """Does what is missing of the study, writes the report and verdicts.md, and prints the verdicts.

    Raises: SystemExit with status 2 for a bad recipe or an output of another study, 1 for a disk that fails or cells
    that failed, after one line on standard error.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    path = words.pop(0) if words and not words[0].startswith("-") else "recipes/study_tiny.yaml"
    (arguments,) = parse(options(prog), words, sections={}, recipe={})
    output = Path(arguments.output_dir)
    with one_line_errors(prog):
        models, sweeps = read_study(path, prog)
        check_draws(models, sweeps)
        processes = (
            arguments.processes or (1 if torch.cuda.is_available() else usable_cores() // (chosen_threads() or 1)) or 1
        )
        if arguments.readme:
            held = Path(arguments.readme).read_text(encoding="utf-8") if Path(arguments.readme).is_file() else ""
            check(
                all(held.count(mark) == 1 for mark in _MARKS),
                f"readme must be a file with the lines {' and '.join(_MARKS)}, each once, got {arguments.readme}",
            )
        check(processes >= 1, f"processes must be at least 1, got {processes}")
        if arguments.dry_run:
            _preview(models, sweeps)
            return
        transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        clock = _Clock(output / "time.json")
        _train_all(models, output, processes, clock)
        cells = _cells(models, sweeps, output)
        check_cells(cells)
        _edit_all(cells, output, processes, clock)
        command = shlex.join(["behemoth", "study", shown_place(path), "--output_dir", shown_place(output.as_posix())])
        rows, judged = write_report([output / "results"], output / "report", command=command, judge=judge)
        seconds = clock.keep()
        started = min(row["started"] for row in rows)[:10]
        note = (
            f"{len(models)} models, {len(rows)} cells; {seconds / 60:.0f} minutes on {_machine()}, begun {started}, "
            f"written {datetime.datetime.now(datetime.UTC):%Y-%m-%d}; `{command}`."
        )
        table = f"{verdict_table(judged)}\n{note}\n"
        (output / "verdicts.md").write_text(table, encoding="utf-8", newline="\n")
        if arguments.readme:
            _into_page(Path(arguments.readme), f"{verdict_overview(judged)}\n{note}\n", output / "report" / "figures")
    print(table)
    failed = [row for row in rows if row["error"] is not None]
    for row in failed:
        print(f"{row['method']} {row['scenario']} seed {row['seed']} failed: {row['error']}", file=sys.stderr)
    print(f"{output / 'report' / 'index.html'} shows {len(rows)} cells, {len(failed)} of them failed")
    if failed:
        raise SystemExit(1)


def _into_page(page: Path, verdicts: str, figures: Path) -> None:
    """The part of the file between the two marks is the verdicts and two figures, which are in its folder."""
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(_MARKS[0])
    _, _, after = rest.partition(_MARKS[1])
    parts = [before + _MARKS[0], "", verdicts]
    for name, pattern in _PAGE_FIGURES.items():
        for drawn in sorted(figures.glob(pattern))[:1]:
            shutil.copyfile(drawn, page.with_name(name))
            label = re.search(r'aria-label="([^"]*)"', drawn.read_text(encoding="utf-8"))
            alt = ". ".join(html.unescape(label[1]).split(". ")[:2]) if label else name  # not every number
            parts.append(f"![{alt}]({name})\n")
    partial = page.with_name(f"{page.name}.partial")
    partial.write_text("\n".join(parts) + _MARKS[1] + after, encoding="utf-8", newline="\n")
    partial.replace(page)


def _preview(models: Sequence[Model], sweeps: Sequence[Sweep]) -> None:
    """Prints how many models there are of each family, and how many cells of each sweep."""
    for family in dict.fromkeys(model.family for model in models):
        print(f"{sum(model.family == family for model in models):6} models  {family}")
    for sweep in sweeps:
        print(
            f"{sweep.num_cells(models):6} cells   {sweep.name}: {len(sweep.methods)} settings of "
            f"{', '.join(dict.fromkeys(method.name for method in sweep.methods))}, {len(sweep.draws)} draws, on "
            f"{', '.join(sweep.families)}"
        )
    print(f"{len(models)} models, and {sum(sweep.num_cells(models) for sweep in sweeps)} cells at most")


if __name__ == "__main__":
    main()
