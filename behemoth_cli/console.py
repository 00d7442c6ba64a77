"""The console command `behemoth`: which commands there are, and how one is started. It imports none but that one."""

from __future__ import annotations

import argparse
import importlib
import io
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, NamedTuple


class Command(NamedTuple):
    """What a command does, and the extra that it needs."""

    help: str
    extra: str | None = None


# Each is the module of its name, whose main(argv, prog) runs it and whose options(prog) say what it takes.
COMMANDS = {
    "demo": Command("run the main job on a small world: data, training, editing, report", "editing"),
    "data": Command("write the dataset, or token files for other trainers"),
    "train": Command("teach a model a world", "models"),
    "pretrain": Command("teach one model each structure of a recipe", "models"),
    "edit": Command("edit trained models and measure what changed", "editing"),
    "score": Command("score models that were edited elsewhere, by whatever tool", "editing"),
    "verify": Command("make a sample of result rows again and say which differ", "editing"),
    "attack": Command("try to bring back what was forgotten, and tell hidden from never known", "editing"),
    "locate": Command("facts whose layer is known: who finds it, and are edits better there", "editing"),
    "trial": Command("put metrics of forgetting on trial: models that were told, and models that were not", "editing"),
    "report": Command("make one page, figures and tables of results", "editing"),
    "bench": Command("give methods a number on every track of the benchmark", "editing"),
    "play": Command("open a page to pick a fact, change it, and see what else moves", "play"),
    "study": Command("put findings to the test: many models, many edits, verdicts", "editing"),
    "bridge": Command("write a world and its edits in the format of another tool", "editing"),
    "publish": Command("put dataset, models, metrics and results on the Hugging Face Hub", "hub"),
    "benchmark": Command("measure how fast data is made, models are taught and edited", "editing"),
    "completion": Command("print what completes these commands in your shell"),
}


def parser() -> argparse.ArgumentParser:
    """The options that come before a command."""
    options = argparse.ArgumentParser(
        prog="behemoth",
        usage="%(prog)s COMMAND [--option value ...]",
        description="A fully synthetic benchmark for knowledge editing and unlearning in language models.",
        epilog="`behemoth COMMAND --help` shows the options of a command; with a name after it, those of a section.",
    )
    options.add_argument("--version", action="version", version=f"behemoth {version('behemoth-bench')}")
    return options


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command that comes first, or explains what there is.

    Raises: SystemExit with status 2 after one line on standard error for an unknown command, and as commands do.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in COMMANDS:
        run(words[0], words[1:])
        return
    options = parser()
    listed: Any = options.add_subparsers(title="commands", metavar="COMMAND")
    for name, command in COMMANDS.items():
        listed.add_parser(name, help=command.help, add_help=False)
    if words and not words[0].startswith("-"):
        from behemoth_cli.settings import one_line_errors  # with numpy, which help does without
        from behemoth_data.settings import check_known

        with one_line_errors("behemoth"):
            check_known("command", words[0], COMMANDS)
    options.parse_args(words)
    options.print_help()


def run(name: str, argv: Sequence[str] | None = None, prog: str | None = None) -> None:
    """Runs a command; `prog` begins its errors in place of "behemoth NAME".

    Letters that the terminal does not have are printed by their numbers.
    Raises: SystemExit with status 2 after one line on standard error if an extra is missing, and as commands do.
    """
    prog = prog or f"behemoth {name}"
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    from behemoth_cli.settings import one_line_errors  # with numpy, which help does without
    from behemoth_data.extras import need

    extra = COMMANDS[name].extra
    if extra:
        with one_line_errors(prog):
            need("this command", extra)
    importlib.import_module(f"behemoth_cli.{name}").main(argv, prog)
