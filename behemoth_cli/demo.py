"""The main job from beginning to end, in one command: behemoth demo [RECIPE] --output FOLDER.

It writes a dataset, teaches a model one structure of the recipe's world, edits it by the grid of the recipe's section
sweep, and makes the report: FOLDER/report/index.html. Without a recipe it is recipes/demo.yaml, a few minutes on two
cores. Given again it goes on where it was cut off. The four commands that it runs are shown as they begin.
"""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from behemoth_cli import data, edit, pretrain, report
from behemoth_cli.recipe_files import recipe_path
from behemoth_cli.settings import Options, one_line_errors, parse, place
from behemoth_data.settings import check_known, setting
from behemoth_data.world import PRESETS

_RECIPE = "recipes/demo.yaml"


@dataclasses.dataclass(frozen=True, kw_only=True)
class DemoArguments:
    """What the demo is about and where it goes."""

    config: str = setting("nested", f"world to teach: {', '.join(PRESETS)}")
    output: str = place(".", "folder for behemoth/, runs/, results/demo/ and report/")

    def __post_init__(self) -> None:
        """Raises: ValueError that lists the known worlds."""
        check_known("config", self.config, PRESETS)


def options(prog: str = "behemoth demo") -> Options:
    """What the command line takes."""
    return Options({"": DemoArguments}, prog=prog, description=__doc__)


def main(argv: Sequence[str] | None = None, prog: str = "behemoth demo") -> None:
    """Does what is missing of the main job, and prints where the report is.

    Raises: SystemExit as the commands do that it runs; what they have done stays.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    recipe = words.pop(0) if words and not words[0].startswith("-") else _RECIPE
    (arguments,) = parse(options(prog), words, recipe={})
    with one_line_errors(prog):
        recipe_path(recipe)
    output = Path(arguments.output)
    models, results, page = output / "runs", output / "results" / "demo", output / "report"
    model = models / f"{Path(recipe).stem}-{arguments.config}"
    steps = (
        (data.main, "data", [recipe, "--output", output / "behemoth"]),
        (pretrain.main, "pretrain", [recipe, "--configs", arguments.config, "--output_dir", models]),
        (edit.main, "edit", [recipe, "--model", model, "--output_dir", results]),
        (report.main, "report", [results, "--output_dir", page]),
    )
    for number, (run, name, values) in enumerate(steps, 1):
        given = [str(value) for value in values]
        print(f"{number} of {len(steps)}: behemoth {name} {shlex.join(given)}", file=sys.stderr)
        run(given, f"behemoth {name}")
    print(f"The demo is complete: open {page / 'index.html'}")


if __name__ == "__main__":
    main()
