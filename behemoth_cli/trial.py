"""Put metrics of forgetting on trial: behemoth trial [RECIPE] --output_dir trial/NAME.

In every world of the recipe three models are trained: one is told some facts, two never hear of them. What the
metrics say of the first two, of the first after unlearning, and of models that say garbage, refuse, or were edited
elsewhere, is compared with what they were told. Running the same command again does what is missing. What was read
stands in forgetting/ and, for metrics of editing on ten edits in each world, in editing/; the models in models/, the
verdicts in trial.md and trial.svg.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from behemoth_cli.settings import Options, WorkerArguments, one_line_errors, parse, place
from behemoth_data.settings import check_known, setting

_RECIPE = "recipes/trial.yaml"


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialArguments(WorkerArguments):
    """Where a trial goes and what works on it."""

    output_dir: str = place("trial/small", "folder for models/, forgetting/, editing/, trial.md and trial.svg")
    only: list[str] = setting([], "names of the recipe's models whose worlds are tried now; none: all")
    dry_run: bool = setting(False, "only count the worlds and what is read in each")


def options(prog: str = "behemoth trial") -> Options:
    """What the command line takes."""
    return Options({"": TrialArguments}, prog=prog, description=__doc__)


def main(argv: Sequence[str] | None = None, prog: str = "behemoth trial") -> None:
    """Does what is missing of the trial, writes the verdicts of all that was tried, and prints them.

    Raises: SystemExit with status 2 for a bad recipe or an output of another trial, 1 for a disk that fails or worlds
    in which something failed, after a line for each on standard error.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    path = words.pop(0) if words and not words[0].startswith("-") else _RECIPE
    (arguments,) = parse(options(prog), words, recipe={})
    import transformers  # with torch, which help does without, as have these

    from behemoth_cli.parts import load_part
    from behemoth_cli.study import made_in
    from behemoth_cli.study_runner import num_processes
    from behemoth_cli.trial_plan import EDITING, FORGETTING, check_worlds, read_trial
    from behemoth_cli.trial_runner import run_trial
    from behemoth_editing.trial.page import FIGURE, PAGE, write_trial
    from behemoth_editing.trial.verdicts import LEAST_WORLDS

    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    output = Path(arguments.output_dir)
    with one_line_errors(prog):
        worlds = read_trial(path, prog)
        families = list(dict.fromkeys(world.model.family for world in worlds))
        for name in arguments.only:
            check_known("only", name, families)
        chosen = [world for world in worlds if not arguments.only or world.model.family in arguments.only]
        check_worlds(chosen)
        processes = num_processes(arguments.processes, arguments.dask)
        if arguments.dry_run:
            for family in families:
                print(f"{sum(world.model.family == family for world in chosen):6} worlds  {family}")
            print(f"{3 * len(chosen)} models, and {sum(len(world.trial.readings) for world in chosen)} readings")
            return
        for part in (FORGETTING, EDITING):  # of worlds that are not chosen as well, since all are judged together
            load_part(worlds, part, output)
        clock, failed = run_trial(chosen, output, processes, scheduler=arguments.dask)
        forgetting, editing = (load_part(worlds, part, output) for part in (FORGETTING, EDITING))
        note = made_in(clock)
        print("\n".join(failed), end="\n" * bool(failed), file=sys.stderr)
        if len(forgetting) < LEAST_WORLDS or not editing:
            print(f"{len(forgetting)} worlds were tried: there are no verdicts of fewer than {LEAST_WORLDS}")
        else:
            print(write_trial(forgetting, editing, output, note))
            print(f"{output / PAGE} has these tables, {output / FIGURE} a figure")
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
