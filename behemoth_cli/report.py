"""One page, figures and tables of results: python scripts/report.py results/demo --output_dir report."""

from __future__ import annotations

import dataclasses
import itertools
import sys
from pathlib import Path

from transformers import HfArgumentParser

from behemoth_editing.report import write_report


@dataclasses.dataclass(frozen=True)
class ReportArguments:
    """What the report is made of and where it goes."""

    results: list[str] = dataclasses.field(
        metadata={"help": "Folders that hold a results.jsonl; they may also come first, without --results."}
    )
    output_dir: str = dataclasses.field(
        default="report", metadata={"help": "Folder for index.html, the tables and figures/*.svg."}
    )
    overwrite: bool = dataclasses.field(
        default=False,
        metadata={"help": "Write into an output_dir that holds other things than a report; they are kept."},
    )


def main(words: list[str]) -> None:
    """Writes the report and prints one line that says what was written where.

    Raises: SystemExit with the reason when the arguments or the results are bad; nothing is written then.
    """
    folders = list(itertools.takewhile(lambda word: not word.startswith("-"), words))
    if folders:
        words = ["--results", *words]  # HfArgumentParser knows options only
    (arguments,) = HfArgumentParser(ReportArguments).parse_args_into_dataclasses(words)  # type: ignore[arg-type]
    output_dir = Path(arguments.output_dir)
    try:
        folders = [Path(folder) for folder in arguments.results]
        rows, _ = write_report(folders, output_dir, overwrite=arguments.overwrite)
    except (ValueError, OSError) as error:
        raise SystemExit(f"error: {error}") from error
    failed = sum(row["error"] is not None for row in rows)
    print(
        f"wrote {output_dir / 'index.html'}, and beside it summary.csv, kinds.csv, summary.md and figures/: "
        f"{len(rows)} cells, {failed} failed"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
