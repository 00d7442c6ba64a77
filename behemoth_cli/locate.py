"""Edits at the true place: behemoth locate [RECIPE] --output_dir locate/NAME.

In every world of the recipe a model is trained that never hears of some facts. Copies of it are then told them, each
into the MLP of one layer, with everything else frozen: so it is known where these facts are. What localisers say of
that is compared with it, and edits at that layer with edits at the others. Running the same command again does what is
missing. What was read stands in begun/ and placed/, the models in models/, the verdicts in locate.md and locate.svg.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from behemoth_cli.settings import Options, WorkerArguments, one_line_errors, parse, place
from behemoth_data.settings import setting

_RECIPE = "recipes/locate.yaml"


@dataclasses.dataclass(frozen=True, kw_only=True)
class LocateArguments(WorkerArguments):
    """Where it goes and what works on it."""

    output_dir: str = place("locate/small", "folder for models/, begun/, placed/, locate.md and locate.svg")
    dry_run: bool = setting(False, "only count the models and what is read in each")


def options(prog: str = "behemoth locate") -> Options:
    """What the command line takes."""
    return Options({"": LocateArguments}, prog=prog, description=__doc__)


def main(argv: Sequence[str] | None = None, prog: str = "behemoth locate") -> None:
    """Does what is missing, writes the verdicts of all that was read, and prints them.

    Raises: SystemExit with status 2 for a bad recipe or an output of another one, 1 for a disk that fails or models in
    which something failed, after a line for each on standard error.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    path = words.pop(0) if words and not words[0].startswith("-") else _RECIPE
    (arguments,) = parse(options(prog), words, recipe={})
    import transformers  # with torch, which help does without, as have these

    from behemoth_cli.locate_plan import BEGUN, PLACED, check_models, read_locate
    from behemoth_cli.locate_runner import run_locate
    from behemoth_cli.parts import load_part
    from behemoth_cli.study import made_in
    from behemoth_cli.study_runner import num_processes
    from behemoth_editing.locating.page import FIGURE, PAGE, write_locate
    from behemoth_editing.locating.verdicts import LEAST_WORLDS, whole_worlds
    from behemoth_models.sizes import SHAPES

    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    output = Path(arguments.output_dir)
    with one_line_errors(prog):
        placed = read_locate(path, prog)
        beginnings = list({one.beginning.name: one.beginning for one in placed}.values())
        check_models(placed)
        processes = num_processes(arguments.processes, arguments.dask)
        if arguments.dry_run:
            first = placed[0]
            edits = len(first.methods) * SHAPES[first.beginning.model.train.size].num_layers
            print(f"{len(beginnings):6} models that are told nothing late")
            print(f"{len(placed):6} models that are told facts into one layer")
            print(f"in each of these {len(first.locate.localisers)} localisers, and {edits} sets of edits")
            return
        load_part(placed, PLACED, output)  # what is of another recipe is refused before anything is done
        clock, failed = run_locate(placed, output, processes, scheduler=arguments.dask)
        begun, found = load_part(beginnings, BEGUN, output), load_part(placed, PLACED, output)
        note = made_in(clock)
        print("\n".join(failed), end="\n" * bool(failed), file=sys.stderr)
        found, missing = whole_worlds(found, placed[0].beginning.late.layers)
        begun = [one for one in begun if one["name"] not in missing]
        if missing:
            print(f"left out, since not every layer of them was read: {', '.join(missing)}", file=sys.stderr)
        if len({one["model"] for one in found}) < LEAST_WORLDS:
            print(f"{len(found)} models were read: there are no verdicts of fewer than {LEAST_WORLDS} worlds")
        else:
            print(write_locate(begun, found, output, note))
            print(f"{output / PAGE} has these tables, {output / FIGURE} a figure")
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
