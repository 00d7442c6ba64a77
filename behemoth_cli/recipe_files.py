"""Recipes as files: where one is found, and what its sections say. No option of a command is read here."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import yaml

from behemoth_cli.sections import SECTIONS
from behemoth_data.settings import check, check_known

RECIPES = Path(__file__).resolve().parent / "recipes"


def recipe_path(name: str, pattern: str = "*.yaml", kind: str = "a YAML file") -> Path:
    """The file of a recipe: the one at this path, or the one of this name that comes with the package.

    Packaged ones are called recipes/tiny.yaml, tiny.yaml or tiny. Raises: ValueError that lists them.
    """
    given = Path(os.path.expanduser(name))
    bare = given.name.removesuffix(".yaml")
    packaged = RECIPES / f"{bare}.yaml"
    known = sorted(f"recipes/{file.name}" for file in RECIPES.glob(pattern))
    if given.is_file():
        return given
    is_ours = given.as_posix() in (bare, f"{bare}.yaml", f"recipes/{bare}.yaml") and packaged.is_file()
    check(is_ours, f"recipe must be {kind} such as {', '.join(known)}, got {name}")
    return packaged


def yaml_mapping(name: str, path: Path) -> dict[str, Any]:
    """What the recipe's file says, section by section. Raises: ValueError for a file that is no such YAML."""
    try:
        recipe = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"recipe {name} must be YAML: {' '.join(str(error).split())}") from error
    check(isinstance(recipe, dict), f"recipe {name} must consist of sections, got {type(recipe).__name__}")
    return cast(dict[str, Any], recipe)


def read_recipe(path: str, fields: Mapping[str, Sequence[str]]) -> dict[str, dict[str, Any]]:
    """The recipe's sections; a path that does not exist is looked up among the packaged recipes.

    Several commands share a recipe: `fields` are those of the sections that this command reads.
    Raises: ValueError for a file that is no recipe, an unknown section, or an unknown field of a section
    that is among `fields`; the message lists the known ones.
    """
    return checked_recipe(yaml_mapping(path, recipe_path(path)), path, fields)


def checked_recipe(
    recipe: Mapping[str, Any], path: str, fields: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, Any]]:
    """The recipe's sections. Raises: ValueError for an unknown section or field, as read_recipe() does."""
    for name, values in recipe.items():
        check_known(f"section of {path}", name, dict.fromkeys((*SECTIONS, *fields)))
        is_section = values is None or isinstance(values, dict)
        check(is_section, f"section {name} of {path} must consist of fields, got {values!r}")
        for field in (values or {}) if name in fields else ():
            check_known(f"field of {name} in {path}", field, fields[name])
    return {name: values or {} for name, values in recipe.items()}
