"""What a study consists of: the models and the sweeps that its recipe lists. It trains and edits nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from behemoth_cli.edit import GRID, chosen
from behemoth_cli.edit import SECTIONS as SWEEP_SECTIONS
from behemoth_cli.recipe_files import read_recipe, recipe_path, yaml_mapping
from behemoth_cli.sections import METHOD_SECTIONS
from behemoth_cli.settings import Options, parse
from behemoth_cli.train import SECTIONS as MODEL_SECTIONS
from behemoth_cli.train import WORLDS
from behemoth_data import CorpusConfig, LexiconConfig, WorldConfig, build
from behemoth_data.edits import EditConfig, draw_edits
from behemoth_data.scenarios import check_distinct, draw
from behemoth_data.settings import check, check_known, digest, from_mapping
from behemoth_editing import EditMethod
from behemoth_models.config import TrainConfig

_CODE = version("behemoth-bench")


@dataclasses.dataclass(frozen=True)
class Model:
    """A model to be trained: its family, and everything that decides its weights."""

    family: str
    name: str  # of its folder
    world: WorldConfig
    lexicon: LexiconConfig
    corpus: CorpusConfig
    train: TrainConfig

    def folder(self, *more: Any) -> str:
        """The name of a folder for what this recipe makes together with more settings, and this version of the code."""
        return f"{self.name}-{digest([self.world, self.lexicon, self.corpus, self.train, *more, _CODE])[:8]}"


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
        check_known(f"section of {path}", section, ["models", "sweeps", *MODEL_SECTIONS, *SWEEP_SECTIONS])
    models = models_of(recipe, prog)
    families = tuple(dict.fromkeys(model.family for model in models))
    sweeps = [
        _sweep(recipe, entry, families, prog)
        for entry in _entries(recipe, "sweeps", ("name", "models", "recipe", *SWEEP_SECTIONS))
    ]
    return models, sweeps


def models_of(recipe: Mapping[str, Any], prog: str) -> list[Model]:
    """The models that a recipe lists. Raises: ValueError and SystemExit as read_study() does."""
    models = [
        model
        for entry in _entries(recipe, "models", ("name", "config", "seeds", *MODEL_SECTIONS))
        for model in _models(recipe, entry, prog)
    ]
    names = [model.name for model in models]
    repeated = [name for name in names if names.count(name) > 1]
    check(not repeated, f"models must have names of their own, got {repeated[:1]} twice")
    return models


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
        config = str(entry.get("config", "independent"))
        check_known("config", config, WORLDS)
        configs = parse(Options({}, MODEL_SECTIONS, prog=prog), [], preset=WORLDS[config], recipe=sections)
        yield Model(entry["name"], f"{entry['name']}-{seed}", *configs)


def _sweep(recipe: Mapping[str, Any], entry: Mapping[str, Any], families: Sequence[str], prog: str) -> Sweep:
    """The sweep of an entry, whose own sections stand on top of those of the recipe of editing that it may name."""
    over = tuple(entry.get("models", families))
    for family in over:
        check_known(f"model of {entry['name']}", family, families)
    names = tuple(SWEEP_SECTIONS)
    if "recipe" in entry:
        recipe = _merged(recipe, read_recipe(str(entry["recipe"]), {}), names)
    methods, draws = sweep_of(_merged(recipe, entry, names), prog, f" of {entry['name']}")
    return Sweep(entry["name"], over, tuple(methods), tuple(draws))


def sweep_of(recipe: Mapping[str, Any], prog: str, whose: str = "") -> tuple[list[EditMethod], list[EditConfig]]:
    """The methods and the draws that the sections of a sweep name.

    Raises: ValueError and SystemExit as read_study() does.
    """
    sections = {name: recipe[name] for name in SWEEP_SECTIONS if name in recipe}
    parsed = parse(Options(GRID, SWEEP_SECTIONS, prog=prog), [], recipe=sections)
    for name in parsed[0].methods:
        check_known(f"method{whose}", name, METHOD_SECTIONS)
    return chosen(*parsed)


def check_draws(models: Sequence[Model], sweeps: Sequence[Sweep]) -> None:
    """Raises: ValueError for the first sweep whose edits a world of its models does not have. Trains nothing.

    What there is to train on is looked up for one model of each family, since it hardly depends on the seed; a sweep
    looks again before it runs.
    """
    families: set[str] = set()
    for model in models:
        corpus = build(model.world, model.lexicon, model.corpus)
        for sweep in (sweep for sweep in sweeps if model.family in sweep.families):
            try:
                check_distinct(corpus.world, sweep.draws)
                for edits in sweep.draws:
                    if model.family in families:
                        draw(corpus.world, edits)
                    else:
                        draw_edits(corpus, edits)
            except ValueError as error:
                raise ValueError(f"{sweep.name}, {model.name}: {error}") from error
        families.add(model.family)


def section_of(settings: type[Any], section: Mapping[str, Any] | None) -> Any:
    """The settings that a section of a YAML file has. Raises: ValueError for what they cannot be."""
    values = {field: tuple(value) if isinstance(value, list) else value for field, value in (section or {}).items()}
    return from_mapping(settings, values)
