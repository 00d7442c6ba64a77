"""What a trial consists of: the worlds that its recipe lists, and what is tried in each. It trains nothing."""

from __future__ import annotations

import dataclasses
from importlib.metadata import version
from typing import Any

from behemoth_cli.recipe_files import recipe_path, yaml_mapping
from behemoth_cli.sections import METHOD_SECTIONS
from behemoth_cli.study_plan import Model, models_of, section_of
from behemoth_cli.train import SECTIONS as MODEL_SECTIONS
from behemoth_data import build
from behemoth_data.edits import draw_edits
from behemoth_data.settings import check, check_known, digest
from behemoth_editing import METHODS, EditMethod
from behemoth_editing.sweep.plain import plain
from behemoth_editing.trial.edits import EditTrialConfig
from behemoth_editing.trial.judging import REFERENCE, TOLD, UNTOLD, TrialConfig, check_methods, elsewhere
from behemoth_editing.trial.telling import Groups, Telling, Told, groups_of

FORGETTING, EDITING = "forgetting", "editing"  # of which metrics are on trial, each a folder with a file for each world

_CODE = version("behemoth-bench")
_OTHER_SEED = 1_000_000  # added to the reference's: its weights begin elsewhere


@dataclasses.dataclass(frozen=True)
class World:
    """One world on trial: the model's recipe, how the facts on trial are told, and what is tried."""

    model: Model
    telling: Telling
    trial: TrialConfig
    methods: tuple[tuple[str, EditMethod], ...]
    edits: EditTrialConfig

    @property
    def folder(self) -> str:
        """The name of the folder for its models, which are these and no others."""
        return self.model.folder(self.telling, self.trial.draw)

    @property
    def name(self) -> str:
        """That of the files of what is read in it."""
        return self.model.name

    def id_in(self, part: str) -> str:
        """That of all settings of FORGETTING or EDITING and the version of this code."""
        if part == EDITING:
            return digest(["edit_trial", self.folder, self.edits, _CODE])
        methods = [(name, plain(method)) for name, method in self.methods]
        return digest(["trial", self.folder, self.trial, methods, _CODE])

    def groups(self) -> Groups:
        """The facts on trial. Raises: ValueError for a world that does not have them."""
        return groups_of(build(self.model.world, self.model.lexicon, self.model.corpus), self.trial.draw)

    def lessons(self, groups: Groups) -> dict[str, tuple[Told, Any]]:
        """The sentences and the recipe of training of each of the three models.

        Raises: ValueError for a form of telling that the corpus does not have.
        """
        corpus, recipe = groups.members.corpus, self.model.train
        elsewhere = dataclasses.replace(recipe, train_seed=recipe.train_seed + _OTHER_SEED)
        return {
            TOLD: (Told(corpus, groups, self.telling), recipe),
            UNTOLD: (Told(corpus, groups, None), recipe),
            REFERENCE: (Told(corpus, groups, None), elsewhere),
        }


def read_trial(path: str, prog: str = "behemoth trial") -> list[World]:
    """The worlds of a trial's recipe.

    Raises: ValueError, or SystemExit with status 2 after one line on standard error, for a file that is no such
    recipe, or anything in it that is unknown or out of bounds.
    """
    recipe = yaml_mapping(path, recipe_path(path, "trial*.yaml", "a trial's YAML file"))
    for section in recipe:
        check_known(f"section of {path}", section, ["models", "trial", "edit_trial", *MODEL_SECTIONS, *METHOD_SECTIONS])
    listed = recipe.get("models")
    check(isinstance(listed, list), f"models must list at least 1 entry, got {listed!r}")
    tellings, entries = {}, []
    for entry in listed or []:
        check(isinstance(entry, dict) and "name" in entry, f"each of models must have a name, got {entry!r}")
        tellings[entry["name"]] = section_of(Telling, entry.get("told"))
        entries.append({name: value for name, value in entry.items() if name != "told"})
    trial: TrialConfig = section_of(TrialConfig, recipe.get("trial"))
    edits: EditTrialConfig = section_of(EditTrialConfig, recipe.get("edit_trial"))
    check_methods(trial.methods, METHODS)
    methods = tuple((name, section_of(METHODS[name], recipe.get(name))) for name in trial.methods)
    models = models_of({**recipe, "models": entries}, prog)
    return [World(model, tellings[model.family], trial, methods, edits) for model in models]


def check_worlds(worlds: list[World]) -> None:
    """Raises: ValueError for the first world that has not what is tried in it. Trains nothing."""
    for world in worlds:
        try:
            groups = world.groups()
            world.lessons(groups)
            corpus, count = groups.members.corpus, world.model.world.num_relations
            drawn = world.edits.draw(count)
            for draw in (elsewhere(count - 1), drawn, dataclasses.replace(drawn, relation=count - 2)):
                draw_edits(corpus, draw)
        except ValueError as error:
            raise ValueError(f"{world.model.name}: {error}") from error
