"""Edit trained models and measure what changed: behemoth edit [RECIPE] --model runs/NAME.

Every method is tried on every model, scenario and seed; methods with the same seed get the same edits. An option
with several values is swept: --lora.rank 1 4 16 tries three. A value that consists of several, such as layers, is
one word with commas: --finetune.layers 2,3 4 tries two. Running the same command again does what is missing:
finished cells are kept. The rows stand in results.jsonl, and when all is done in results.parquet with a card, which
datasets.load_dataset reads.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from behemoth_cli.sections import METHOD_SECTIONS, sections
from behemoth_cli.settings import Options, as_lists, combinations, one_line_errors, parse, place
from behemoth_data.edits import SCENARIOS, EditConfig
from behemoth_data.settings import check_known, setting

LOW_RECALL = 0.95  # of the edited table: what is not known can hardly be said to be edited


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunArguments:
    """What is edited and where the results go."""

    model: list[str] = place(["runs/tiny-nested"], "folders or Hub ids of models that `behemoth train` made")
    output_dir: str = place("results/edit", "folder for results.jsonl: one row per cell")
    overwrite: bool = setting(False, "remove the results that output_dir holds before starting")
    require_recall: float | None = setting(
        None,
        "stop before editing a model that knows less than this share of the edited table; none: warn below "
        f"{LOW_RECALL}",
    )
    dry_run: bool = setting(False, "only show the cells that are missing and roughly how long they take")


@dataclasses.dataclass(frozen=True, kw_only=True)
class GridArguments:
    """What is compared."""

    methods: list[str] = setting(["finetune", "lora", "rome"], "methods to compare, of those below")
    scenarios: list[str] = setting(["single"], f"scenarios: {', '.join(SCENARIOS)}")
    seeds: list[int] = setting([0], "seeds of the edits' draws, one cell each")


# What a grid says of its draws beside scenarios and seeds.
SweepArguments = as_lists(EditConfig, leave_out=("scenario", "edit_seed"))
# The section sweep of a recipe holds both.
GRID = {"sweep": GridArguments}
SECTIONS = {**sections("sweep"), **METHOD_SECTIONS}


def options(prog: str = "behemoth edit") -> Options:
    """What the command line takes."""
    return Options({"": RunArguments, **GRID}, SECTIONS, prog=prog, description=__doc__)


def main(argv: Sequence[str] | None = None, prog: str = "behemoth edit") -> None:
    """Runs the cells that are missing, prints the table of all results and one line that says where they are.

    Raises: SystemExit with status 2 for bad settings, 1 for a disk that fails or cells that failed, after one
    line on standard error.
    """
    arguments, *parsed = parse(options(prog), argv)
    from behemoth_cli.edit_runner import run_grid  # with torch, which help does without

    with one_line_errors(prog):
        methods, draws = chosen(*parsed)
        run_grid(arguments, methods, draws)


def chosen(grid: GridArguments, sweep: Any, *settings: list[Any]) -> tuple[list[Any], list[EditConfig]]:
    """The methods that a grid compares, with each of their settings, and its draws.

    Raises: ValueError for a method that there is not.
    """
    variants = dict(zip(METHOD_SECTIONS, settings, strict=True))
    for name in grid.methods:
        check_known("method", name, METHOD_SECTIONS)
    draws = combinations(EditConfig, sweep, scenario=grid.scenarios, edit_seed=grid.seeds)
    return [method for name in grid.methods for method in variants[name]], draws


if __name__ == "__main__":
    main()
