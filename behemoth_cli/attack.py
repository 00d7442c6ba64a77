"""Try to bring back what was forgotten: behemoth attack [RECIPE] --model runs/NAME.

Every method removes the same facts from every model, and every attack asks for their old answers. Each number, in bits
a fact, stands beside that of the same attack on a model that was never told (the method omit, which trains anew), and
on the model as it was (nothing): what is left beyond the first was hidden. An option with several values is swept, a
value that consists of several is one word with commas: --relearn.steps 0,8,64. Running the same command again does
what is missing. Rows stand in attacks.jsonl, the table in attacks.md, figures beside it.
"""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from behemoth_cli.edit import asked_methods, method_sections, outside_methods
from behemoth_cli.sections import ATTACK_SECTIONS, METHOD_SECTIONS, sections
from behemoth_cli.settings import Options, combinations, one_line_errors, parse, place
from behemoth_data.edits import EditConfig
from behemoth_data.scenarios import RELATION_SCENARIOS
from behemoth_data.settings import check, check_known, setting

REFERENCES = ("nothing", "omit")  # the model as it was, and one that was never told: always there


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunArguments:
    """What is attacked and where the results go."""

    model: list[str] = place(["runs/tiny-nested"], "folders or Hub ids of models that `behemoth train` made")
    output_dir: str = place("results/attack", "folder for attacks.jsonl: one row for each attack on each edited model")
    overwrite: bool = setting(False, "remove the results that output_dir holds before starting")
    allow_edited: bool = setting(False, "take models that were edited before; by default they are refused")
    dry_run: bool = setting(False, "only count the attacks that are missing")


@dataclasses.dataclass(frozen=True, kw_only=True)
class GridArguments:
    """What is compared."""

    methods: list[str] = setting(
        ["grad_diff", "npo", "rmu", "refusal"],
        "methods to compare, beside nothing and omit: of those below, of an installed package, or MODULE:CLASS",
    )
    attacks: list[str] = setting([*ATTACK_SECTIONS], "attacks to try")
    scenarios: list[str] = setting(["forget"], f"scenarios: {', '.join(RELATION_SCENARIOS)}")
    seeds: list[int] = setting([0], "seeds of the edits' draws")


GRID = {"sweep": GridArguments}


def options(prog: str = "behemoth attack", methods: Any = METHOD_SECTIONS) -> Options:
    """What the command line takes, with a section for each of these methods and each attack."""
    return Options(
        {"": RunArguments, **GRID}, {**sections("sweep"), **methods, **ATTACK_SECTIONS}, prog=prog, description=__doc__
    )


def main(argv: Sequence[str] | None = None, prog: str = "behemoth attack") -> None:
    """Tries the attacks that are missing, writes table and figures, and prints the table and where all of it is.

    Raises: SystemExit with status 2 for bad settings, 1 for a disk that fails or attacks that failed, after one line on
    standard error.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    with one_line_errors(prog):
        outside = outside_methods([name for name in asked_methods(words) if name not in REFERENCES])
        methods = method_sections(outside)
    arguments, grid, sweep, *settings = parse(options(prog, methods), words)
    names = [outside[name].name if name in outside else name for name in grid.methods]
    from behemoth_cli.attack_runner import run_attacks  # with torch, which help does without

    with one_line_errors(prog):
        for name in names:
            check_known("method", name, (*REFERENCES, *methods))
        for name in grid.attacks:
            check_known("attack", name, ATTACK_SECTIONS)
        for name in grid.scenarios:
            check_known("scenario", name, RELATION_SCENARIOS)
        check(bool(grid.attacks), "attacks must name at least 1 attack, got none")
        variants = dict(zip((*methods, *ATTACK_SECTIONS), settings, strict=True))
        run_attacks(
            arguments,
            [method for name in names for method in variants.get(name, []) if name not in REFERENCES],
            variants["omit"],
            [attack for name in dict.fromkeys(grid.attacks) for attack in variants[name]],
            combinations(EditConfig, sweep, scenario=grid.scenarios, edit_seed=grid.seeds),
            shlex.join(["behemoth", "attack", *words]),
        )


if __name__ == "__main__":
    main()
