"""A page to play with: pick a fact, change it, and see what else moves: behemoth play [MODEL ...].

Models are folders that behemoth train wrote, or Hub ids; several of one structure are levels of load, and models of
steps that training kept are on a slider. Without one, a small model is taught first, which takes some two minutes on
two cores, and two more when they are chosen. Nothing is sent anywhere: the page is served to this machine alone unless
--host says otherwise. With --state, which the page shows as the command for an edit, no page is opened: the edit is
made, its scores are printed, and behind them its result row.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from behemoth_cli.sections import METHOD_SECTIONS
from behemoth_cli.settings import Options, one_line_errors, parse, place
from behemoth_data.settings import check, check_known, setting

if TYPE_CHECKING:
    from behemoth_cli.playground.shelf import NotTaught, Shelf


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlayArguments:
    """Which models there are, and where the page is."""

    models: list[str] = place([], "folders or Hub ids of models; they may also come first, without --models")
    folder: str = place("runs", "folder in which small models are taught where none is given")
    methods: list[str] = setting(list(METHOD_SECTIONS), "editing methods that the page offers")
    host: str = setting("127.0.0.1", "address that the page is served at; 0.0.0.0: to other machines too")
    port: int | None = setting(None, "port of the page; none: the first free one from 7860")
    edit_seconds: int = setting(600, "seconds after which an edit on the page is stopped")
    browser: bool = setting(False, "open the page in a browser")
    state: str | None = setting(None, "make the edit that this part of a link tells, print it, and open no page")
    row: str | None = place(None, "file for the result row of --state; none: it is printed")

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        for name in self.methods:
            check_known("methods", name, METHOD_SECTIONS)
        check(len(self.methods) > 0, "methods must name at least 1 method, got none")
        check(self.port is None or 0 < self.port < 65536, f"port must be from 1 to 65535, got {self.port}")
        check(self.edit_seconds >= 1, f"edit_seconds must be at least 1, got {self.edit_seconds}")
        check(self.row is None or self.state is not None, f"row needs state to be set, got {self.row} without")


def options(prog: str = "behemoth play") -> Options:
    """What the command line takes."""
    return Options({"": PlayArguments}, prog=prog, description=__doc__, usage="[MODEL ...] [--option value ...]")


def main(argv: Sequence[str] | None = None, prog: str = "behemoth play") -> None:
    """Serves the page until it is stopped, or makes the edit of --state.

    Raises: SystemExit with status 2 for bad arguments or a model that cannot be loaded, after one line on standard
    error.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words and not words[0].startswith("-"):
        words.insert(0, "--models")
    (arguments,) = parse(options(prog), words, recipe={})
    from behemoth_cli.playground.shelf import NotTaught, Shelf
    from behemoth_cli.process import prepare_process  # with torch, which help does without

    prepare_process()
    shelf = Shelf(arguments.models, Path(arguments.folder))
    with one_line_errors(prog), _said_by(NotTaught):
        if arguments.state is not None:
            _print_edit(shelf, arguments.state, arguments.row, arguments.methods)
            return
        from behemoth_cli.playground.page import Playground, launch

        shelf.get(shelf.names[0])  # which teaches it, where it has to be
        playground = Playground(shelf, arguments.methods, arguments.edit_seconds)
        page, address = launch(playground, arguments.host, arguments.port, inbrowser=arguments.browser)
    print(f"The playground is open at {address} until you stop it by Ctrl-C", flush=True)
    page.block_thread()


@contextlib.contextmanager
def _said_by(kind: type[NotTaught]) -> Iterator[None]:
    """A model that cannot be taught ends the command with the status of what teaches, which has said why."""
    try:
        yield
    except kind as error:
        raise SystemExit(error.status) from error


def _print_edit(shelf: Shelf, query: str, file: str | None, browserless: Sequence[str]) -> None:
    """The scores of the edit that a query tells, and its row, on standard output or in a file.

    Raises: ValueError for a query that tells none, a model that is not among those given, or an edit that cannot be.
    """
    from behemoth_cli.playground.making import make, method_of
    from behemoth_cli.playground.telling import state_of

    state = state_of(query)
    check_known("method", state.wish.method, browserless)
    shelved = shelf.get(state.model or shelf.names[0], state.step)
    made = make(shelved.checkpoint, state.wish, method_of(state.wish.method, state.settings), shared=shelved.shared)
    print(made.scored)
    row = json.dumps(made.row, indent=1) + "\n"
    if file is None:
        print(row, end="")
    else:
        Path(file).write_text(row, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
