"""Make a sample of result rows again, and say which differ and in what: behemoth verify results/demo.

Models that were kept (behemoth edit --save_models) are asked again; where none was, the edit is made again. Digests and
counts must be the same, other numbers to four digits. The exit status is 1 if a row differs or cannot be made again.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from behemoth_cli.settings import Options, one_line_errors, parse, place
from behemoth_data.settings import check, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerifyArguments:
    """Which rows are made again, and from what."""

    results: str = place("", "folder that holds a results.jsonl; it may also come first, without --results")
    rows: int | None = setting(10, "how many rows are made again; none: all of them")
    seed: int = setting(0, "seed of the sample")
    model: list[str] = place([], "folders or Hub ids of the models, where they lie elsewhere than the rows say")
    methods: list[str] = setting([], "methods that are not ours, MODULE:CLASS")


def options(prog: str = "behemoth verify") -> Options:
    """What the command line takes."""
    return Options({"": VerifyArguments}, prog=prog, description=__doc__, usage="[FOLDER] [--option value ...]")


def main(argv: Sequence[str] | None = None, prog: str = "behemoth verify") -> None:
    """Prints a line for every row of the sample, and one that says how many differ.

    Raises: SystemExit with status 2 for bad settings, 1 if a row differs or cannot be made again.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words and not words[0].startswith("-"):
        words.insert(0, "--results")
    (arguments,) = parse(options(prog), words, recipe={})
    with one_line_errors(prog):
        check(bool(arguments.results), "results must name a folder, got none")
        differ = _verified(arguments)
    if differ:
        raise SystemExit(1)


def _verified(arguments: VerifyArguments) -> int:
    """How many rows of the sample differ or cannot be made again; each has its line on standard output."""
    from tqdm import tqdm

    from behemoth_cli.edit import outside_methods
    from behemoth_cli.memory import keep_freed_memory
    from behemoth_cli.process import announce, prepare_process
    from behemoth_editing.bench.floors import FLOORS
    from behemoth_editing.checkpoint import Checkpoint, load_checkpoint
    from behemoth_editing.methods.contract import Shared
    from behemoth_editing.report.summaries import load_results
    from behemoth_editing.sweep.plain import words_of
    from behemoth_editing.sweep.verifying import in_words, sample, verify

    outside = FLOORS | {cls.name: cls for cls in outside_methods(arguments.methods).values()}
    output = Path(arguments.results)
    rows = load_results([output])
    chosen = sample(rows, arguments.rows, arguments.seed)
    state = prepare_process()
    keep_freed_memory()
    announce(state)
    given = {found.weights: found for found in (load_checkpoint(name, state.device) for name in arguments.model)}
    held: tuple[str, Checkpoint, Shared] | None = None

    def of(row: dict[str, Any]) -> tuple[str, Checkpoint, Shared]:
        """The row's model with what its edits share; the last one is kept."""
        weights = row["weights"]["before"]
        if held is not None and held[0] == weights:
            return held
        return weights, given.get(weights) or load_checkpoint(row["model"], state.device), Shared(progress=False)

    differ = 0
    for row in tqdm(chosen, "verifying", unit="row"):
        try:
            held = of(row)
            verdict = verify(row, output, held[1], outside, held[2])
            differ += bool(verdict.differences)
            line = in_words(verdict)
        except Exception as error:  # a method may fail in any way, and the others are to be told of all the same
            differ += 1
            line = f"{row['cell']} {row['method']} {row['scenario']} seed {row['seed']}: cannot be made again: "
            line += " ".join(words_of(error).split())
        tqdm.write(line, file=sys.stdout)
    print(f"{differ} of {len(chosen)} rows differ; {output} holds {len(rows)}")
    return differ


if __name__ == "__main__":
    main()
