"""A trial, run: every world's models trained and read, side by side, going on where it was cut off. No options."""

from __future__ import annotations

import errno
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from behemoth_cli.crew import Job, crew_of
from behemoth_cli.study_jobs import at_work, check_seen
from behemoth_cli.study_runner import Clock
from behemoth_cli.trial_plan import World
from behemoth_data.settings import check
from behemoth_editing.checkpoint import load_checkpoint
from behemoth_editing.sweep.plain import plain
from behemoth_editing.sweep.rows import put_file
from behemoth_editing.trial.judging import judge
from behemoth_models.training import train

WORLDS = "worlds"


class TrialDesk:
    """What a process works at; it keeps nothing from one world to the next."""

    @at_work()
    def judge(self, world: World, folder: Path) -> dict[str, Any]:
        """What is read in the world, whose models the folder holds then.

        Raises: ValueError for a folder that this machine has not; what train() and methods do.
        """
        check_seen(folder.parent)
        started = time.perf_counter()
        groups, models = world.groups(), {}
        for name, (sentences, recipe) in world.lessons(groups).items():
            place = folder / name
            if not (place / "config.json").is_file():
                train(groups.members.corpus, recipe, place, sentences=sentences, told=sentences.told(), progress=False)
            models[name] = load_checkpoint(place.as_posix()).model
        rows = list(judge(models, groups, world.trial, dict(world.methods)))
        seconds = round(time.perf_counter() - started, 1)
        return {
            "id": world.id,
            "family": world.model.family,
            "name": world.model.name,
            "facts": len(groups.members.edits),
            "seconds": seconds,
            "settings": {
                "told": plain(world.telling),
                "trial": plain(world.trial),
                "methods": {name: plain(method) for name, method in world.methods},
            },
            "rows": rows,
        }


def run_trial(worlds: Sequence[World], output: Path, processes: int, *, scheduler: str | None = None) -> Clock:
    """The folder has worlds/NAME.json for each world, those that were there before as they were.

    Models stay in models/. Who works is as in run_study(). Returns the clock of all sittings.
    Raises: ValueError for a world of other settings or code in the folder, or workers that have not the folder; OSError
    for a disk or a scheduler that fails; what a call raised that failed.
    """
    clock = Clock(output / "time.json")
    (output / WORLDS).mkdir(parents=True, exist_ok=True)
    missing = [world for world in worlds if not is_judged(world, output)]
    jobs = [Job((world, (output / "models" / world.folder).resolve()), world.model.name) for world in missing]
    (output / "models").mkdir(exist_ok=True)
    with (
        tqdm(total=len(worlds), initial=len(worlds) - len(missing), desc="worlds", unit="world") as bar,
        clock.running(),
        crew_of(processes, scheduler, TrialDesk) as workers,
    ):

        def done(job: Job, found: dict[str, Any]) -> None:
            world: World = job.arguments[0]
            check(
                found["id"] == world.id,
                f"workers must run the same code as the process that they work for, got other settings of {job.model}",
            )
            put_file(_place(world, output), json.dumps(found, allow_nan=False).encode() + b"\n")
            bar.update()

        def lost(job: Job, why: str) -> None:
            raise OSError(errno.EIO, f"{job.model} could not be tried: {why}")

        workers.do(TrialDesk.judge, jobs, done, lost)
    return clock


def is_judged(world: World, output: Path) -> bool:
    """Whether the folder has what was read in this very world. Raises: ValueError if it is of other settings."""
    path = _place(world, output)
    if not path.is_file():
        return False
    found = json.loads(path.read_text(encoding="utf-8"))
    check(
        found["id"] == world.id,
        f"output_dir must be new or of the same recipe and version, got {path}, which is of other settings; choose "
        "another output_dir, or remove it",
    )
    return True


def load_worlds(worlds: Sequence[World], output: Path) -> list[dict[str, Any]]:
    """What was read in those of the worlds that were tried."""
    return [
        json.loads(_place(world, output).read_text(encoding="utf-8")) for world in worlds if is_judged(world, output)
    ]


def _place(world: World, output: Path) -> Path:
    return output / WORLDS / f"{world.model.name}.json"
