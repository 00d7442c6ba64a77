"""A trial, run: every world's models trained and read, side by side, going on where it was cut off. No options."""

from __future__ import annotations

import contextlib
import errno
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm
from transformers import PreTrainedModel

from behemoth_cli.crew import Crew, Job, crew_of
from behemoth_cli.study_jobs import at_work, check_seen
from behemoth_cli.study_runner import Clock
from behemoth_cli.trial_plan import World
from behemoth_data.settings import check
from behemoth_editing.checkpoint import load_checkpoint
from behemoth_editing.sweep.plain import plain, words_of
from behemoth_editing.sweep.rows import put_file
from behemoth_editing.trial.edits import judge_edits
from behemoth_editing.trial.judging import TOLD, judge
from behemoth_editing.trial.telling import Groups
from behemoth_models.training import train

FORGETTING, EDITING = "forgetting", "editing"  # of which metrics are on trial, each a folder with a file for each world

Found = dict[str, Any]


class TrialDesk:
    """What a process works at; it keeps nothing from one world to the next."""

    @at_work()
    def forgetting(self, world: World, folder: Path) -> Found:
        """What is read in the world for metrics of forgetting, whose models the folder holds then.

        What fails there is the `error` of what is found. Raises: ValueError for a folder that this machine has not.
        """
        check_seen(folder.parent)
        with _timed(world) as found:
            groups = world.groups()
            models = {name: _model(world, groups, folder, name) for name in world.lessons(groups)}
            found["rows"] = list(judge(models, groups, world.trial, dict(world.methods)))
            found |= {"id": world.id, "facts": len(groups.members.edits)}
        return found

    @at_work()
    def editing(self, world: World, folder: Path) -> Found:
        """What is read in the world for metrics of editing. Raises: as forgetting() does."""
        check_seen(folder.parent)
        with _timed(world) as found:
            groups = world.groups()
            found["rows"] = list(judge_edits(_model(world, groups, folder, TOLD), groups, world.edits))
            found |= {"id": world.edits_id, "facts": world.edits.num_edits}
        return found


@contextlib.contextmanager
def _timed(world: World) -> Iterator[Found]:
    """What is said of the world whatever is read there, and the seconds of this block."""
    started = time.perf_counter()
    found: Found = {
        "family": world.model.family,
        "name": world.model.name,
        "settings": {
            "told": plain(world.telling),
            "trial": plain(world.trial),
            "edit_trial": plain(world.edits),
            "methods": {name: plain(method) for name, method in world.methods},
        },
    }
    try:
        yield found
        json.dumps(found, allow_nan=False)  # here, where a number that is none costs this world and no other
    except (ValueError, FloatingPointError) as error:
        found |= {"error": words_of(error)}
    found["seconds"] = round(time.perf_counter() - started, 1)


def _model(world: World, groups: Groups, folder: Path, name: str) -> PreTrainedModel:
    """One of the world's models, trained if the folder does not hold it yet."""
    sentences, recipe = world.lessons(groups)[name]
    place = folder / name
    if not (place / "config.json").is_file():
        train(groups.members.corpus, recipe, place, sentences=sentences, told=sentences.told(), progress=False)
    return load_checkpoint(place.as_posix()).model


def run_trial(
    worlds: Sequence[World], output: Path, processes: int, *, scheduler: str | None = None
) -> tuple[Clock, list[str]]:
    """The folder has forgetting/NAME.json and editing/NAME.json for each world, those that were there as they were.

    Models stay in models/. Who works is as in run_study(). Returns the clock of all sittings, and a line for every
    world in which something failed, which has no file then.
    Raises: ValueError for a world of other settings or code in the folder, or workers that have not the folder; OSError
    for a disk or a scheduler that fails.
    """
    clock, failed = Clock(output / "time.json"), list[str]()
    for part in (FORGETTING, EDITING, "models"):
        (output / part).mkdir(parents=True, exist_ok=True)
    with clock.running(), crew_of(processes, scheduler, TrialDesk) as crew:
        for work, part in ((TrialDesk.forgetting, FORGETTING), (TrialDesk.editing, EDITING)):
            failed += _do(crew, work, part, worlds, output)
    return clock, failed


def _do(crew: Crew, work: Callable[..., Found], part: str, worlds: Sequence[World], output: Path) -> list[str]:
    failed = []
    missing = [world for world in worlds if read_of(world, part, output) is None]
    jobs = [Job((world, (output / "models" / world.folder).resolve()), world.model.name) for world in missing]
    with tqdm(total=len(worlds), initial=len(worlds) - len(missing), desc=part, unit="world") as bar:

        def done(job: Job, found: Found) -> None:
            world: World = job.arguments[0]
            bar.update()
            if "error" in found:
                failed.append(f"{world.model.name}, {part}: {found['error']}")
                return
            check(
                found["id"] == _id(world, part),
                f"workers must run the same code as the process that they work for, got other settings of {job.model}",
            )
            put_file(_place(world, part, output), json.dumps(found, allow_nan=False).encode() + b"\n")

        def lost(job: Job, why: str) -> None:
            raise OSError(errno.EIO, f"{job.model} could not be tried: {why}")

        crew.do(work, jobs, done, lost)
    return failed


def read_of(world: World, part: str, output: Path) -> Found | None:
    """What the folder has of this very world, if it does. Raises: ValueError if it is of other settings."""
    path = _place(world, part, output)
    if not path.is_file():
        return None
    found: Found = json.loads(path.read_text(encoding="utf-8"))
    check(
        found["id"] == _id(world, part),
        f"output_dir must be new or of the same recipe and version, got {path}, which is of other settings; choose "
        "another output_dir, or remove it",
    )
    return found


def load_worlds(worlds: Sequence[World], part: str, output: Path) -> list[Found]:
    """What was read in those of the worlds that were tried."""
    return [found for world in worlds if (found := read_of(world, part, output)) is not None]


def _id(world: World, part: str) -> str:
    return world.id if part == FORGETTING else world.edits_id


def _place(world: World, part: str, output: Path) -> Path:
    return output / part / f"{world.model.name}.json"
