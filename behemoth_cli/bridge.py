"""A world and its edits in the format of another tool: behemoth bridge NAME --model runs/NAME --output_dir FOLDER.

docs/bridges.md has a block for each tool that says what to do then.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence

from behemoth_cli.settings import Options, one_line_errors, parse, place
from behemoth_data.scenarios import EditConfig
from behemoth_data.settings import check_known, setting

# Those of the table BRIDGES, which takes torch to import.
NAMES = ("lm_eval", "inspect_ai", "counterfact", "easyedit", "open_unlearning", "generator")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BridgeArguments:
    """Which bridge, from which model's world, to where."""

    bridge: str = setting(NAMES[0], f"the tool: {', '.join(NAMES)}; it may also come first, without --bridge")
    model: str = place("runs/tiny-nested", "folder or Hub id of a model that `behemoth train` made")
    output_dir: str = place("bridge", "new folder for what is written")
    ask: str = setting("facts", "where a tool can ask either: facts of the world, or probes of the edits drawn")
    statistics: bool = setting(False, "easyedit: also write the statistics of keys, which takes the model")


def options(prog: str = "behemoth bridge") -> Options:
    """What the command line takes: its own options, and those of a draw of edits."""
    return Options(
        {"": BridgeArguments, "draw": EditConfig}, prog=prog, description=__doc__, usage="[NAME] [--option value ...]"
    )


def main(argv: Sequence[str] | None = None, prog: str = "behemoth bridge") -> None:
    """Writes the folder and prints what it holds and what to do with it.

    Raises: SystemExit with status 2 for bad arguments or a folder that holds something, 1 for a disk that fails, after
    one line on standard error; nothing is written then.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words and not words[0].startswith("-"):
        words.insert(0, "--bridge")
    arguments, draw = parse(options(prog), words, recipe={})
    with one_line_errors(prog):
        check_known("bridge", arguments.bridge, NAMES)
    from behemoth_editing.bridges import write_bridge  # with torch, which help does without
    from behemoth_editing.bridges.order import Order
    from behemoth_editing.checkpoint import load_checkpoint

    with one_line_errors(prog):
        order = Order(
            checkpoint=load_checkpoint(arguments.model), ask=arguments.ask, draw=draw, statistics=arguments.statistics
        )
        said = write_bridge(arguments.bridge, order, arguments.output_dir)
    print(f"wrote {arguments.output_dir}: {said}")


if __name__ == "__main__":
    main()
