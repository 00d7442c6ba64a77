"""`behemoth locate`, run: models trained, told facts late, and read, side by side, going on where it was cut off."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedModel

from behemoth_cli.crew import crew_of
from behemoth_cli.locate_plan import BEGUN, PLACED, Beginning, Placed
from behemoth_cli.parts import Found, do_part, finding, read_of
from behemoth_cli.study_jobs import at_work, check_seen
from behemoth_cli.study_runner import Clock
from behemoth_data.settings import check
from behemoth_editing.checkpoint import load_checkpoint
from behemoth_editing.locating.late import check_place, learns_in
from behemoth_editing.locating.placing import edited_everywhere, knows, locate
from behemoth_editing.sweep.plain import plain
from behemoth_models.training import train


class LocateDesk:
    """What a process works at; it keeps nothing from one model to the next."""

    @at_work()
    def begin(self, beginning: Beginning, folder: Path) -> Found:
        """What a model knows that is told nothing late, and that the folder holds then.

        What fails there is the `error` of what is found. Raises: ValueError for a folder that this machine has not.
        """
        check_seen(folder.parent)
        with finding({"name": beginning.name, "id": beginning.id_in(BEGUN)}) as found:
            late, place = beginning.facts(), _twin(folder)
            if not (place / "config.json").is_file():
                sentences, recipe = late.lessons(), beginning.model.train
                train(late.corpus, recipe, place, sentences=sentences, told=sentences.told(), progress=False)
            found["recall"] = _shares(load_checkpoint(place.as_posix()).model, beginning)
        return found

    @at_work()
    def place(self, placed: Placed, folder: Path) -> Found:
        """What is read in a model that was told the late facts into one layer. Raises: as begin() does."""
        check_seen(folder.parent)
        settings = {
            "late": plain(placed.beginning.late),
            "locate": plain(placed.locate),
            "draw": plain(placed.draw),
            "methods": {name: plain(method) for name, method in placed.methods},
        }
        said = {"name": placed.name, "id": placed.id_in(PLACED), "model": placed.beginning.name, "layer": placed.layer}
        with finding({**said, "settings": settings}) as found:
            late, place = placed.beginning.facts(), _twin(folder)
            check(
                (place / "config.json").is_file(),
                f"models must hold {folder.name}/{place.name}, whose facts were read, got none; remove "
                f"{BEGUN}/{placed.beginning.name}.json to train it again",
            )
            twin = load_checkpoint(place.as_posix()).model
            model = _told(placed, folder, twin)
            check_place(model, twin, placed.layer)
            found["recall"] = _shares(model, placed.beginning)
            found |= locate(model, late, placed.locate)
            found["rows"] = edited_everywhere(model, late, placed.draw, dict(placed.methods))
        return found


def _twin(folder: Path) -> Path:
    return folder / "start"


def _told(placed: Placed, folder: Path, twin: PreTrainedModel) -> PreTrainedModel:
    """The model that begins with its twin and is told the late facts, trained if the folder does not hold it yet."""
    place = folder / f"layer{placed.layer}"
    if not (place / "config.json").is_file():
        corpus, recipe = placed.lesson()
        train(corpus, recipe, place, start=learns_in(twin, placed.layer), progress=False)
    return load_checkpoint(place.as_posix()).model


def _shares(model: PreTrainedModel, beginning: Beginning) -> dict[str, float]:
    return {group: float(right.mean()) for group, right in knows(model, beginning.facts()).items()}


def run_locate(
    placed: Sequence[Placed], output: Path, processes: int, *, scheduler: str | None = None
) -> tuple[Clock, list[str]]:
    """The folder has begun/NAME.json for each model that is told nothing late and placed/NAME.json for all others.

    Those that were there stay as they were, and models in models/. Who works is as in run_study(). Returns the clock of
    all sittings, and a line for every model in which something failed, which has no file then.
    Raises: ValueError for a file of other settings or code in the folder, or workers that have not the folder; OSError
    for a disk or a scheduler that fails.
    """
    clock = Clock(output / "time.json")
    output.mkdir(parents=True, exist_ok=True)
    beginnings = list({one.beginning.name: one.beginning for one in placed}.values())
    with clock.running(), crew_of(processes, scheduler, LocateDesk) as crew:
        failed = do_part(crew, LocateDesk.begin, BEGUN, beginnings, output, "model")
        there = [one for one in placed if read_of(one.beginning, BEGUN, output) is not None]
        failed += do_part(crew, LocateDesk.place, PLACED, there, output, "model")
    return clock, failed
