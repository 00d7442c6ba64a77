"""What completes `behemoth` and its options in a shell: eval "$(behemoth completion bash)" in ~/.bashrc.

For zsh: behemoth completion zsh > _behemoth, in a folder of your fpath. What is printed is all that a shell needs, so
that nothing is imported when a key is pressed; print it again after an update.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence
from typing import Any

import shtab

from behemoth_cli.bridge import NAMES as BRIDGES
from behemoth_cli.console import COMMANDS, parser
from behemoth_cli.recipe_files import RECIPES
from behemoth_cli.settings import Options
from behemoth_data.extras import MissingExtra, need

_SHELLS = ("bash", "zsh")  # what shtab makes for tcsh knows no options of commands
_WITH_RECIPE = ("demo", "data", "train", "pretrain", "edit", "attack", "study")


def main(argv: Sequence[str] | None = None, prog: str = "behemoth completion") -> None:
    """Prints the completion for one shell. Raises: SystemExit with status 2 for an unknown one."""
    options = argparse.ArgumentParser(
        prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("shell", choices=_SHELLS)
    print(shtab.complete(commands(), options.parse_args(argv).shell))


def commands() -> argparse.ArgumentParser:
    """All commands in one parser; one whose extra is not installed has no options there."""
    whole = parser()
    added: Any = whole.add_subparsers()
    for name, command in COMMANDS.items():
        options = _options(name)
        one = added.add_parser(name, help=command.help, parents=[options] if options else [], add_help=options is None)
        if name in _WITH_RECIPE:
            kind = "study_*.yaml" if name == "study" else "*.yaml"
            names = sorted(path.stem for path in RECIPES.glob(kind))
            one.add_argument("recipe", nargs="?", choices=names)
        elif name in ("report", "verify"):
            one.add_argument("folder", nargs="*").complete = shtab.DIRECTORY
        elif name == "bridge":
            one.add_argument("name", nargs="?", choices=BRIDGES)
        elif name == "benchmark":
            one.add_argument("part", nargs="?", choices=["data", "train", "edit"])
        elif name == "completion":
            one.add_argument("shell", choices=_SHELLS)
    return whole


def _options(name: str) -> Options | None:
    extra = COMMANDS[name].extra
    try:
        if extra:
            need(name, extra)
    except MissingExtra:
        return None
    module = importlib.import_module(f"behemoth_cli.{name}")
    options: Options | None = module.options() if hasattr(module, "options") else None
    if options:
        options.load()
    for action in options._actions if options else ():
        if options and action.dest in options.places:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    return options
