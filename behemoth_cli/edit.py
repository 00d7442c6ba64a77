"""Edit trained models and measure what changed: behemoth edit [RECIPE] --model runs/NAME.

Every method is tried on every model, scenario and seed; methods with the same seed get the same edits. An option
with several values is swept: --lora.rank 1 4 16 tries three. A value that consists of several, such as layers, is
one word with commas: --finetune.layers 2,3 4 tries two. A method of your own is MODULE:CLASS.
Running the same command again does what is missing: finished cells are kept. The rows stand in results.jsonl, and
when all is done in results.parquet with a card, which datasets.load_dataset reads.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from behemoth_cli.recipe_files import recipe_path, yaml_mapping
from behemoth_cli.sections import METHOD_SECTIONS, SHARED, Section, sections
from behemoth_cli.settings import Options, as_lists, combinations, one_line_errors, parse, place
from behemoth_data.edits import SCENARIOS, EditConfig
from behemoth_data.settings import check, check_known, setting

LOW_RECALL = 0.95  # of the edited table: what is not known can hardly be said to be edited


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunArguments:
    """What is edited and where the results go."""

    model: list[str] = place(["runs/tiny-nested"], "folders or Hub ids of models that `behemoth train` made")
    output_dir: str = place("results/edit", "folder for results.jsonl: one row per cell")
    save_models: bool = setting(False, "keep every edited model, in output_dir/models/CELL")
    overwrite: bool = setting(False, "remove the results and models that output_dir holds before starting")
    require_recall: float | None = setting(
        None,
        f"stop if a model knows less than this share of the edited table; none: warn below {LOW_RECALL}",
    )
    allow_edited: bool = setting(False, "take models that were edited before; by default they are refused")
    dry_run: bool = setting(False, "only show the cells that are missing and roughly how long they take")


@dataclasses.dataclass(frozen=True, kw_only=True)
class GridArguments:
    """What is compared."""

    methods: list[str] = setting(
        ["finetune", "lora", "rome"], "methods to compare: of those below, of an installed package, or MODULE:CLASS"
    )
    scenarios: list[str] = setting(["single"], f"scenarios: {', '.join(SCENARIOS)}")
    seeds: list[int] = setting([0], "seeds of the edits' draws")


# What a grid says of its draws beside scenarios and seeds.
SweepArguments = as_lists(EditConfig, leave_out=("scenario", "edit_seed"))
# The section sweep of a recipe holds both.
GRID = {"sweep": GridArguments}
SECTIONS = {**sections("sweep"), **METHOD_SECTIONS}


def options(prog: str = "behemoth edit", methods: Mapping[str, Section] = METHOD_SECTIONS) -> Options:
    """What the command line takes, with a section for each of these methods."""
    return Options({"": RunArguments, **GRID}, {**sections("sweep"), **methods}, prog=prog, description=__doc__)


def main(argv: Sequence[str] | None = None, prog: str = "behemoth edit") -> None:
    """Runs the cells that are missing, prints the table of all results and one line that says where they are.

    Raises: SystemExit with status 2 for bad settings, 1 for a disk that fails or cells that failed, after one
    line on standard error.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    with one_line_errors(prog):
        outside = outside_methods(asked_methods(words))
        methods = method_sections(outside)
    arguments, grid, *parsed = parse(options(prog, methods), words)
    grid = dataclasses.replace(grid, methods=[outside[name].name if name in outside else name for name in grid.methods])
    from behemoth_cli.edit_runner import run_grid  # with torch, which help does without

    with one_line_errors(prog):
        cells_of, draws = chosen(grid, *parsed, known=methods)
        run_grid(arguments, cells_of, draws, shlex.join(["behemoth", "edit", *words]))


def asked_methods(words: Sequence[str]) -> list[str]:
    """The methods that the recipe which comes first among the words of a command line names, and those that they name.

    The recipe's come along where the words name others, since it may have sections for their settings.
    """
    named: list[str] = []
    for number, word in enumerate(words):
        if word == "--methods" or word.startswith("--methods="):  # the last one counts
            after = itertools.takewhile(lambda word: not word.startswith("-"), words[number + 1 :])
            named = [*filter(None, [word.partition("=")[2]]), *after]
    if not words or words[0].startswith("-"):
        return named
    sweep = yaml_mapping(words[0], recipe_path(words[0])).get("sweep")
    found = sweep.get("methods") if isinstance(sweep, dict) else None
    found = [found] if isinstance(found, str) else found
    return [*(map(str, found) if isinstance(found, list) else ()), *named]  # what else it is, parsing refuses


def outside_methods(names: Sequence[str]) -> dict[str, Any]:
    """The classes of those names that are of no method here, by name. A module may lie in the working directory.

    Raises: ValueError for a name that is no method.
    """
    names = [name for name in dict.fromkeys(names) if name not in METHOD_SECTIONS]
    if not names:
        return {}
    from behemoth_editing.methods.outside import method_named  # with torch, which help does without

    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    return {name: method_named(name) for name in names}


def method_sections(outside: Mapping[str, Any]) -> dict[str, Section]:
    """A section for each method here, and for each of those from outside, by the method's own name.

    Raises: ValueError for a name that another section or method has, or settings that are no options.
    """
    found: dict[str, Section] = {}
    for asked, cls in outside.items():
        check(
            cls.name not in SHARED,
            f"name of a method must be none of a recipe's sections {', '.join(SHARED)}, got {cls.name} of {asked}",
        )
        section = found.setdefault(cls.name, Section("from outside", cls, swept=True))
        check(section.settings is cls, f"name of a method must be its own, got {cls.name} of {asked} and of another")
        try:
            Options({}, {cls.name: section}, prog="").load()
        except Exception as error:  # somebody else's annotations may be anything
            raise ValueError(
                "settings of a method must be of type int, float, bool, str or a tuple of one of them, or None, got "
                f"others of {asked}: {type(error).__name__}: {error}"
            ) from error
    return {**METHOD_SECTIONS, **found}


def chosen(
    grid: GridArguments, sweep: Any, *settings: list[Any], known: Mapping[str, Section] = METHOD_SECTIONS
) -> tuple[list[Any], list[EditConfig]]:
    """The methods that a grid compares, with each of their settings, and its draws.

    Raises: ValueError for a method that there is not.
    """
    variants = dict(zip(known, settings, strict=True))
    for name in grid.methods:
        check_known("method", name, known)
    draws = combinations(EditConfig, sweep, scenario=grid.scenarios, edit_seed=grid.seeds)
    return [method for name in grid.methods for method in variants[name]], draws


if __name__ == "__main__":
    main()
