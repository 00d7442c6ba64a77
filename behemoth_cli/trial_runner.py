"""A trial, run: every world's models trained and read, side by side, going on where it was cut off. No options."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from transformers import PreTrainedModel

from behemoth_cli.crew import crew_of
from behemoth_cli.parts import Found, do_part, finding
from behemoth_cli.study_jobs import at_work, check_seen
from behemoth_cli.study_runner import Clock
from behemoth_cli.trial_plan import EDITING, FORGETTING, World
from behemoth_editing.checkpoint import load_checkpoint
from behemoth_editing.sweep.plain import plain
from behemoth_editing.trial.edits import judge_edits
from behemoth_editing.trial.judging import TOLD, judge
from behemoth_editing.trial.telling import Groups
from behemoth_models.training import train


class TrialDesk:
    """What a process works at; it keeps nothing from one world to the next."""

    @at_work()
    def forgetting(self, world: World, folder: Path) -> Found:
        """What is read in the world for metrics of forgetting, whose models the folder holds then.

        What fails there is the `error` of what is found. Raises: ValueError for a folder that this machine has not.
        """
        check_seen(folder.parent)
        with _found(world) as found:
            groups = world.groups()
            models = {name: _model(world, groups, folder, name) for name in world.lessons(groups)}
            found["rows"] = list(judge(models, groups, world.trial, dict(world.methods)))
            found |= {"id": world.id_in(FORGETTING), "facts": len(groups.members.edits)}
        return found

    @at_work()
    def editing(self, world: World, folder: Path) -> Found:
        """What is read in the world for metrics of editing. Raises: as forgetting() does."""
        check_seen(folder.parent)
        with _found(world) as found:
            groups = world.groups()
            found["rows"] = list(judge_edits(_model(world, groups, folder, TOLD), groups, world.edits))
            found |= {"id": world.id_in(EDITING), "facts": world.edits.num_edits}
        return found


def _found(world: World) -> AbstractContextManager[Found]:
    settings = {
        "told": plain(world.telling),
        "trial": plain(world.trial),
        "edit_trial": plain(world.edits),
        "methods": {name: plain(method) for name, method in world.methods},
    }
    return finding({"family": world.model.family, "name": world.name, "settings": settings})


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
    output.mkdir(parents=True, exist_ok=True)
    with clock.running(), crew_of(processes, scheduler, TrialDesk) as crew:
        for work, part in ((TrialDesk.forgetting, FORGETTING), (TrialDesk.editing, EDITING)):
            failed += do_part(crew, work, part, worlds, output, "world")
    return clock, failed
