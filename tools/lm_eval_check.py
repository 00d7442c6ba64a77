"""lm-evaluation-harness beside our own answers, fact by fact: python tools/lm_eval_check.py MODEL [MODEL ...].

For each model the tasks of `behemoth bridge lm_eval` are written and run by lm_eval, every fact and then every probe
of a draw. With --noise the weights are first disturbed, so that there is something to get wrong. Prints a line for each
task, and ends with status 1 if lm_eval's `acc` of any single row is not ours. It needs lm_eval, from PyPI.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence

from behemoth_cli.settings import Options, parse, place
from behemoth_data.settings import setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckArguments:
    """Which models, how much they are disturbed, and how many edits are asked about."""

    models: list[str] = place([], "folders or Hub ids; they may also come first, without --models")
    noise: float = setting(0.0, "standard deviation of what is added to the weights, in that of each matrix")
    num_edits: int = setting(4, "edits of the draw, scenario different, whose probes are asked")


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the comparison of each model. Raises: SystemExit with status 1 if a row differs."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and not words[0].startswith("-"):
        words.insert(0, "--models")
    options = Options({"": CheckArguments}, prog="tools/lm_eval_check.py", description=__doc__)
    (arguments,) = parse(options, words, recipe={})
    from lm_eval_compared import compared  # with torch, which help does without

    different = 0
    for name in arguments.models:
        for found in compared(name, arguments.noise, arguments.num_edits):
            right = f"right by lm_eval {found.theirs}, by us {found.ours}"
            print(f"{name} {found.task}: {found.rows} rows, {right}, different {found.different}")
            different += found.different
    if different:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
