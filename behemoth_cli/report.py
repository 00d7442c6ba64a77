"""One page, figures and tables of results: behemoth report results/demo --output_dir report."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from behemoth_cli.settings import Options, one_line_errors, parse, place
from behemoth_data.settings import check, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportArguments:
    """What the report is made of and where it goes."""

    results: list[str] = place([], "folders that hold a results.jsonl; they may also come first, without --results")
    output_dir: str = place("report", "folder for index.html, the tables and figures/*.svg")
    pdf: bool = setting(False, "figures as PDF too, beside the SVG")
    overwrite: bool = setting(False, "write into an output_dir that holds other things than a report; they are kept")


def options(prog: str = "behemoth report") -> Options:
    """What the command line takes."""
    return Options({"": ReportArguments}, prog=prog, description=__doc__, usage="[FOLDER ...] [--option value ...]")


def main(argv: Sequence[str] | None = None, prog: str = "behemoth report") -> None:
    """Writes the report and prints one line that says what was written where.

    Raises: SystemExit with status 2 for bad arguments or results, 1 for a disk that fails, after one line on standard
    error; nothing is written then.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words and not words[0].startswith("-"):
        words.insert(0, "--results")
    (arguments,) = parse(options(prog), words, recipe={})
    from behemoth_editing.report.page import write_report  # with torch, which help does without
    from behemoth_editing.study.findings import judge

    output_dir = Path(arguments.output_dir)
    with one_line_errors(prog):
        check(bool(arguments.results), "results must name at least 1 folder, got none")
        rows, _ = write_report(
            [Path(folder) for folder in arguments.results],
            output_dir,
            overwrite=arguments.overwrite,
            judge=judge,
            pdf=arguments.pdf,
        )
    failed = sum(row["error"] is not None for row in rows)
    print(
        f"wrote {output_dir / 'index.html'}, and beside it summary.csv, kinds.csv, summary.md and figures/: "
        f"{len(rows)} cells, {failed} failed"
    )


if __name__ == "__main__":
    main()
