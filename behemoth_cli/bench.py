"""Give methods a number on every track of the benchmark: behemoth bench --methods lora rome --output_dir bench/mine.

The benchmark's models are trained where they are not there yet, at three levels; every method makes the edits of every
track on them, beside a model that nobody edits and one whose weights move by chance. Running it again does what is
missing, with other methods as well: the board has all that the folder holds. A method of your own is MODULE:CLASS, and
--SECTION.FIELD sets what a method offers. `retrain`, training anew, is the reference, and takes as long as that.
"""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from behemoth_cli.edit import asked_methods, method_sections, outside_methods
from behemoth_cli.recipe_files import recipe_path, yaml_mapping
from behemoth_cli.sections import METHOD_SECTIONS, Section
from behemoth_cli.settings import Options, WorkerArguments, one_line_errors, parse, place, spelled
from behemoth_data.settings import check, check_known, from_mapping, setting

if TYPE_CHECKING:
    from behemoth_editing import EditMethod

RECIPE = "recipes/bench.yaml"


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchArguments(WorkerArguments):
    """What is compared, on what, and where it goes."""

    methods: list[str] = setting(
        ["rome", "memit", "lora"], "methods: of those below, of an installed package, or MODULE:CLASS"
    )
    output_dir: str = place("bench/mine", "folder for models/, results/ and the board, index.html")
    track: list[str] = setting([], "tracks: batch, sequence, ripple, forget, transfer, cost; none: all")
    level: list[str] = setting([], "levels: easy, medium, hard; none: all")
    untuned: bool = setting(False, "methods keep their defaults at levels that have settings for them, too")
    run_by: str | None = setting(None, "who you are, for the lines of the board; none: whoever the folder's board says")
    dry_run: bool = setting(False, "only count the models and the cells that there are at most")


def options(prog: str = "behemoth bench", methods: Mapping[str, Section] = METHOD_SECTIONS) -> Options:
    """What the command line takes, with a section for each of these methods."""
    return Options({"": BenchArguments}, methods, prog=prog, description=__doc__, usage="[--option value ...]")


def main(argv: Sequence[str] | None = None, prog: str = "behemoth bench") -> None:
    """Does what is missing, writes the board, and prints it.

    Raises: SystemExit with status 2 for bad settings or an output of another bench, 1 for a disk that fails or cells
    that failed, after one line on standard error.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    with one_line_errors(prog):
        outside = outside_methods(asked_methods(words))
        sections = method_sections(outside)
    arguments, *parsed = parse(options(prog, sections), words, recipe={})
    from behemoth_cli.bench_runner import preview, run_bench  # with torch, which help does without
    from behemoth_cli.study_plan import models_of
    from behemoth_cli.study_runner import num_processes
    from behemoth_editing.bench.floors import FLOORS
    from behemoth_editing.bench.tracks import TRACKS

    with one_line_errors(prog):
        recipe = yaml_mapping(RECIPE, recipe_path(RECIPE))
        models = models_of(recipe, prog)
        tuned = tuned_of(recipe)
        levels = list(dict.fromkeys(model.family for model in models))
        for name in arguments.track:
            check_known("track", name, TRACKS)
        for name in arguments.level:
            check_known("level", name, levels)
        named = [outside[name].name if name in outside else name for name in arguments.methods]
        for name in named:
            check_known("method", name, sections)
        for cls in outside.values():
            check(cls.name not in FLOORS, f"name of a method must be none of {', '.join(FLOORS)}, got {cls.name}")
        settings = dict(zip(sections, parsed, strict=True))
        given = {spelled(word)[2:].split(".")[0] for word in words if word.startswith("--")}
        methods = {}
        for level in levels:
            own = {} if arguments.untuned else {n: [one] for n, one in tuned.get(level, {}).items() if n not in given}
            methods[level] = [method for name in dict.fromkeys(named) for method in {**settings, **own}[name]]
        tracks = [name for name in TRACKS if not arguments.track or name in arguments.track]
        taught = any(model.corpus.question_fraction for model in models)
        check(
            taught or "transfer" not in arguments.track,
            "track must be another than transfer, since no model of this version was taught questions, got transfer",
        )
        chosen = [model for model in models if not arguments.level or model.family in arguments.level]
        processes = num_processes(arguments.processes, arguments.dask)
        if arguments.dry_run:
            preview(chosen, methods, tracks)
            return
        command = shlex.join(["behemoth", "bench", *words])
        text, failed = run_bench(
            models,
            methods,
            tracks,
            Path(arguments.output_dir),
            processes,
            command,
            chosen=chosen,
            scheduler=arguments.dask,
            outside={cls.name: cls for cls in outside.values()},
            tuned=tuned,
            run_by=arguments.run_by,
        )
    print(text)
    if failed:
        print("\n".join(failed), file=sys.stderr)
        raise SystemExit(1)


def tuned_of(recipe: Mapping[str, Any]) -> dict[str, dict[str, EditMethod]]:
    """For each level the methods with the settings that a recipe has for them there.

    Raises: ValueError for a method or a setting that is unknown or out of bounds.
    """
    from behemoth_editing import METHODS

    found: dict[str, dict[str, EditMethod]] = {}
    for level, methods in (recipe.get("tuned") or {}).items():
        for name, settings in methods.items():
            check_known(f"method of tuned, {level},", name, METHODS)
            values = {field: tuple(value) if isinstance(value, list) else value for field, value in settings.items()}
            found.setdefault(level, {})[name] = from_mapping(METHODS[name], values)
    return found


if __name__ == "__main__":
    main()
