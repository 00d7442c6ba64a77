"""How fast the parts are: behemoth benchmark data|train|edit [--option value ...].

Prints a table, then the same figures as JSON, one object; `behemoth benchmark train --help` says what that
one measures.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from behemoth_cli.benchmarks.output import Row, result, table, write
from behemoth_cli.settings import Options, one_line_errors, parse
from behemoth_data.settings import check_known

Benchmark = tuple[type, Callable[[Any], list[Row]]]


def _data() -> Benchmark:
    from behemoth_cli.benchmarks.generating import GenerateArguments, generate

    return GenerateArguments, generate


def _train() -> Benchmark:
    # Imported here, since torch would count as memory of the generator's processes.
    from behemoth_cli.benchmarks.training import TrainArguments, train_benchmark

    return TrainArguments, train_benchmark


def _edit() -> Benchmark:
    from behemoth_cli.benchmarks.editing import EditArguments, edit  # with torch, as above

    return EditArguments, edit


BENCHMARKS: dict[str, Callable[[], Benchmark]] = {"data": _data, "train": _train, "edit": _edit}


def main(argv: Sequence[str] | None = None, prog: str = "behemoth benchmark") -> None:
    """Runs one benchmark and prints its table and its JSON.

    Raises: SystemExit with status 2, after one line on standard error, for anything unknown or out of bounds.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    name = words.pop(0) if words and not words[0].startswith("-") else "data"
    with one_line_errors(prog):
        check_known("benchmark", name, BENCHMARKS)
    arguments_type, run = BENCHMARKS[name]()
    description = sys.modules[run.__module__].__doc__
    taken = Options({"": arguments_type}, prog=prog, description=description, usage=f"{name} [--option value ...]")
    (arguments,) = parse(taken, words, recipe={})
    with one_line_errors(prog):
        rows = run(arguments)
        found = result(name, dataclasses.asdict(arguments), rows)
        print(table(rows))
        print(json.dumps(found))
        if arguments.output:
            write(arguments.output, found)


if __name__ == "__main__":
    main()
