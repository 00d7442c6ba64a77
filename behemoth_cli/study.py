"""Train models, edit them in several grids, judge the findings: behemoth study RECIPE --output_dir study/NAME.

A study's recipe lists `models`, each a recipe of training with a name and seeds, and `sweeps`, each a recipe of
editing with a name and the names of the models that it edits, or with `recipe`, the name of one in a file; what
stands beside the two lists holds for all of them. Running the same command again does what is missing, and comes to
the same verdicts.
Several processes, or with --dask the workers of a scheduler of your own on many machines, share the models and the
cells (pip install 'behemoth-bench[dask]').
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import html
import platform
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from behemoth_cli.cores import usable_cores
from behemoth_cli.settings import Options, WorkerArguments, one_line_errors, parse, place
from behemoth_data.settings import check, check_known, setting

if TYPE_CHECKING:
    from behemoth_cli.study_plan import Model, Sweep
    from behemoth_cli.study_runner import Clock

_MARKS = ("<!-- study -->", "<!-- end of study -->")
# What a page such as docs/results.md shows of a study's report: the copy's name, and the figure's.
_PAGE_FIGURES = {
    "study-ranks.svg": "ranks-*-different-*-independent*.svg",
    "study-layers.svg": "layers-*-different-*-independent*.svg",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyArguments(WorkerArguments):
    """Where a study goes and what works on it."""

    output_dir: str = place("study/tiny", "folder for models/, results/, report/ and verdicts.md")
    only: list[str] = setting([], "names of the recipe's models to train and edit now, the others later; none: all")
    readme: str = place(
        "",
        "Markdown file with the lines <!-- study --> and <!-- end of study -->: the verdicts go between them, and two "
        "figures beside it; empty: none",
    )
    dry_run: bool = setting(False, "only count the models and the cells of every sweep")


def options(prog: str = "behemoth study") -> Options:
    """What the command line takes."""
    return Options({"": StudyArguments}, prog=prog, description=__doc__)


def main(argv: Sequence[str] | None = None, prog: str = "behemoth study") -> None:
    """Does what is missing of the study, writes the report and verdicts.md, and prints the verdicts.

    Raises: SystemExit with status 2 for a bad recipe or an output of another study, 1 for a disk that fails or cells
    that failed, after one line on standard error.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    path = words.pop(0) if words and not words[0].startswith("-") else "recipes/study_tiny.yaml"
    (arguments,) = parse(options(prog), words, recipe={})
    import transformers  # with torch, which help does without, as have these

    from behemoth_cli.study_plan import check_draws, read_study
    from behemoth_cli.study_runner import num_processes, run_study
    from behemoth_editing.sweep.identity import shown_place

    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    output, readme = Path(arguments.output_dir), Path(arguments.readme) if arguments.readme else None
    with one_line_errors(prog):
        models, sweeps = read_study(path, prog)
        for name in arguments.only:
            check_known("only", name, list(dict.fromkeys(model.family for model in models)))
        chosen = [model for model in models if not arguments.only or model.family in arguments.only]
        edited = {family for sweep in sweeps for family in sweep.families}
        idle = sorted({model.family for model in chosen} - edited) if arguments.only else []
        check(not idle, f"only must name models that a sweep of {path} edits, got {', '.join(idle)}")
        check_draws(chosen, sweeps)
        processes = num_processes(arguments.processes, arguments.dask)
        if readme:
            _check_marks(readme)
        if arguments.dry_run:
            _preview(chosen, sweeps)
            return
        command = shlex.join(["behemoth", "study", shown_place(path), "--output_dir", shown_place(output.as_posix())])
        clock = run_study(models, sweeps, output, processes, command, chosen=chosen, scheduler=arguments.dask)
        rows, table = _judge(command, output, len(models), clock, readme)
    print(table)
    failed = [row for row in rows if row["error"] is not None]
    for row in failed:
        print(f"{row['method']} {row['scenario']} seed {row['seed']} failed: {row['error']}", file=sys.stderr)
    print(f"{output / 'report' / 'index.html'} shows {len(rows)} cells, {len(failed)} of them failed")
    if failed:
        raise SystemExit(1)


def _judge(
    command: str, output: Path, num_models: int, clock: Clock, readme: Path | None
) -> tuple[list[dict[str, Any]], str]:
    """The folder has its report and verdicts.md, and the page its part; returns all rows, and the verdicts."""
    from behemoth_editing.report.page import write_report  # with torch, which help does without
    from behemoth_editing.report.tables import verdict_overview, verdict_table
    from behemoth_editing.study.findings import judge
    from behemoth_editing.sweep.identity import model_of

    rows, judged = write_report([output / "results"], output / "report", command=command, judge=judge)
    started = min(row["started"] for row in rows)[:10]
    edited = len({model_of(row) for row in rows})
    part = "" if edited == num_models else f"{edited} of "
    note = (
        f"{part}{num_models} models, {len(rows)} cells; {clock.keep() / 60:.0f} minutes on {machine()}, begun "
        f"{started}, written {datetime.datetime.now(datetime.UTC):%Y-%m-%d}; `{command}`."
    )
    table = f"{verdict_table(judged)}\n{note}\n"
    (output / "verdicts.md").write_text(table, encoding="utf-8", newline="\n")
    if readme:
        _into_page(readme, f"{verdict_overview(judged)}\n{note}\n", output / "report" / "figures")
    return rows, table


def _check_marks(readme: Path) -> None:
    """Raises: ValueError for a file that has no place for the verdicts, or several."""
    held = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    check(
        all(held.count(mark) == 1 for mark in _MARKS),
        f"readme must be a file with the lines {' and '.join(_MARKS)}, each once, got {readme}",
    )


def _into_page(page: Path, verdicts: str, figures: Path) -> None:
    """The part of the file between the two marks is the verdicts and two figures, which are in its folder."""
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(_MARKS[0])
    _, _, after = rest.partition(_MARKS[1])
    parts = [before + _MARKS[0], "", verdicts]
    for name, pattern in _PAGE_FIGURES.items():
        for drawn in sorted(figures.glob(pattern))[:1]:
            shutil.copyfile(drawn, page.with_name(name))
            label = re.search(r'aria-label="([^"]*)"', drawn.read_text(encoding="utf-8"))
            alt = ". ".join(html.unescape(label[1]).split(". ")[:2]) if label else name  # not every number
            parts.append(f"![{alt}]({name})\n")
    partial = page.with_name(f"{page.name}.partial")
    partial.write_text("\n".join(parts) + _MARKS[1] + after, encoding="utf-8", newline="\n")
    partial.replace(page)


def _preview(models: Sequence[Model], sweeps: Sequence[Sweep]) -> None:
    """Prints how many models there are of each family, and how many cells of each sweep."""
    for family in dict.fromkeys(model.family for model in models):
        print(f"{sum(model.family == family for model in models):6} models  {family}")
    families = {model.family for model in models}
    for sweep in (sweep for sweep in sweeps if families & set(sweep.families)):
        print(
            f"{sweep.num_cells(models):6} cells   {sweep.name}: {len(sweep.methods)} settings of "
            f"{', '.join(dict.fromkeys(method.name for method in sweep.methods))}, {len(sweep.draws)} draws, on "
            f"{', '.join(family for family in sweep.families if family in families)}"
        )
    print(f"{len(models)} models, and {sum(sweep.num_cells(models) for sweep in sweeps)} cells at most")


def made_in(clock: Clock) -> str:
    """How long it took, on which machine, and when it ended, in words."""
    minutes = clock.keep() / 60
    return f"{minutes:.0f} minutes on {machine()}, written {datetime.datetime.now(datetime.UTC):%Y-%m-%d}."


def machine() -> str:
    """The machine in words: its GPU if it has one, or its processor and the number of cores."""
    import torch  # here, since help does without

    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, {usable_cores()} CPU cores"
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    return f"{usable_cores()} cores of {name}"


if __name__ == "__main__":
    main()
