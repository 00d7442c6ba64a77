"""Results as tables in files and one self-contained page. What the numbers and the figures are is decided elsewhere.

The same rows give the same bytes.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path

import jinja2

from behemoth_data.settings import check
from behemoth_editing.figures import Drawing, drawings, standalone
from behemoth_editing.results import (
    OUTCOMES,
    PLACE,
    Row,
    Scores,
    Summary,
    as_json,
    by_place,
    duration,
    load_results,
    share,
    summaries,
)

MARKER = '<meta name="generator" content="behemoth">'
_OWN_FILES = {"index.html", "summary.csv", "summary.md", "kinds.csv"}


# Tables as files


def _numbers(score: Scores | None) -> list[str]:
    if score is None or score["value"] is None:
        return ["", "", "", "0" if score is None else str(score.get("count", 0))]
    return [*(f"{score[name]:.6g}" for name in ("value", "low", "high")), str(score["count"])]


_MEASURES = ("edit_success", "paraphrase_success", "collateral_accuracy", "collateral_drop")


def _identity(summary: Summary) -> list[str]:
    row = [*summary.rows, *summary.failed][0]
    names = (*PLACE, "method")
    seeds = " ".join(str(seed) for seed in sorted({cell["seed"] for cell in summary.rows}))
    return [*(str(row[name]) for name in names), as_json(row["settings"]), summary.models, seeds]


_IDENTITY = (*PLACE, "method", "settings", "models", "seeds")


def _summary_csv(found: Sequence[Summary]) -> str:
    parts = ("", "_low", "_high", "_count")
    header = [name + part for name in (*_MEASURES, "seconds_per_edit") for part in parts]
    lines = [[*_IDENTITY, "failed_cells", *header]]
    for summary in found:
        scores = [summary.score(name) for name in _MEASURES]
        numbers = [text for score in [*scores, summary.seconds] for text in _numbers(score)]
        lines.append([*_identity(summary), str(len(summary.failed)), *numbers])
    return _csv(lines)


def _kinds_csv(found: Sequence[Summary]) -> str:
    lines = [[*_IDENTITY, "measure", "kind", "value", "low", "high", "count", "wrong_before"]]
    for summary in found:
        for kind, score in summary.kinds("by_kind").items():
            tail = [*_numbers(score), str(score["wrong_before"])]
            lines.append([*_identity(summary), "collateral_accuracy", kind, *tail])
        for kind, score in summary.kinds("ripple").items():
            for outcome in OUTCOMES:
                tail = [*_numbers({**(score[outcome] or {"value": None}), "count": score["count"]})]
                lines.append([*_identity(summary), outcome, kind, *tail, str(score["wrong_before"])])
    return _csv(lines)


def _csv(lines: Sequence[Sequence[str]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(lines)
    return buffer.getvalue()


def _summary_md(found: Sequence[Summary]) -> str:
    header = [
        "scenario",
        "method",
        "edit success",
        "paraphrase success",
        "collateral accuracy",
        "s/edit",
        "seeds",
    ]
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    for summary in found:
        scores = [summary.score(name) for name in _MEASURES[:3]]
        numbers = [f"{share(score, 3)}, n = {score['count']}" if score else "-" for score in scores]
        seconds = duration(summary.seconds["value"]) if summary.seconds else "-"
        cells = [summary.place, summary.method, *numbers, seconds, summary.seeds]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    note = (
        "Every share with its 95% bootstrap interval over edits and seeds; n counts the probes asked, for "
        "collateral accuracy those right before the edit."
    )
    return "\n".join([*lines, "", note, ""])


# The page


def _commands(rows: Sequence[Row], folders: Sequence[str], output: str) -> list[str]:
    """The shell commands that make the results of each model again, and then this report."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(as_json([row["model"], row["edge"], row["relation"], row["num_edits"]]), []).append(row)
    result = []
    for found in groups.values():
        first = found[0]
        options: dict[str, Iterable[object]] = {
            "model": [first["model"]],
            "methods": dict.fromkeys(row["method"] for row in found),
            "scenarios": dict.fromkeys(row["scenario"] for row in found),
            "edge": [first["edge"]] if first["edge"] != "subject_object" else [],
            "relation": [first["relation"]] if first["relation"] != 0 else [],
            "num_edits": [first["num_edits"]],
            "seeds": sorted({row["seed"] for row in found}),
            "output_dir": folders if len(folders) == 1 else [],
        }
        result.append(_command("accelerate launch scripts/edit.py", options))
    report = shlex.join(["python", "scripts/report.py", *folders])
    return [*result, _command(report, {"output_dir": [output]})]


def _command(start: str, options: dict[str, Iterable[object]]) -> str:
    """The shell command with one option to a line; options without values are left out."""
    words = [[f"--{name}", *map(str, values)] for name, values in options.items()]
    return " \\\n    ".join([start, *(shlex.join(some) for some in words if len(some) > 1)])


def page(rows: Sequence[Row], folders: Sequence[str] = ("results",), output: str = "report") -> str:
    """The whole report as one HTML document that loads nothing."""
    found = summaries(rows)
    return _page(rows, found, drawings(found), folders, output)


def _page(
    rows: Sequence[Row],
    found: Sequence[Summary],
    figures: dict[str, list[Drawing]],
    folders: Sequence[str],
    output: str,
) -> str:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        share=share, duration=duration, json=as_json, spaced=_spaced, digest=_short, groupby_seen=by_place
    )
    template = files("behemoth_editing").joinpath("report.html.jinja").read_text(encoding="utf-8")
    failed = [row for row in rows if row["error"] is not None]
    return environment.from_string(template).render(
        rows=rows,
        failed=failed,
        summaries=found,
        figures=figures,
        outcomes=OUTCOMES,
        models=list(dict.fromkeys(row["model"] for row in rows)),
        seeds=sorted({row["seed"] for row in rows}),
        worlds=[json.loads(world) for world in dict.fromkeys(as_json(row["world"]) for row in rows)],
        versions=[json.loads(version) for version in dict.fromkeys(as_json(row["versions"]) for row in rows)],
        commands=_commands(rows, folders, output),
    )


def _spaced(text: str) -> str:
    return text.replace("_", " ")


def _short(digest: str) -> str:
    return digest[:16]


def write_report(folders: Sequence[Path], output_dir: Path, *, overwrite: bool = False) -> list[Row]:
    """The rows of the folders, once output_dir holds the index.html, tables and figures made from them.

    Everything is written beside output_dir first, and index.html is put in place last. Files that are not a
    report's are never removed.
    Raises: ValueError for bad results, or for an output_dir that holds something else, unless `overwrite`.
    """
    rows = load_results(folders)
    earlier = _check_output(output_dir, overwrite)
    found = summaries(rows)
    figures = drawings(found)
    names = [folder.as_posix() for folder in folders]
    contents = {f"figures/{drawing.name}.svg": standalone(drawing.svg) for some in figures.values() for drawing in some}
    contents["summary.csv"] = _summary_csv(found)
    contents["kinds.csv"] = _kinds_csv(found)
    contents["summary.md"] = _summary_md(found)
    contents["index.html"] = _page(rows, found, figures, names, output_dir.as_posix())
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=f".{output_dir.name}-", dir=output_dir.parent))
    try:
        _place_files(contents, stage / "report", output_dir)
    finally:
        shutil.rmtree(stage)
    for name in earlier - set(contents):
        (output_dir / name).unlink()
    return rows


def _place_files(contents: dict[str, str], stage: Path, output_dir: Path) -> None:
    """Writes the files under `stage`, then moves each to its place in output_dir, in the order given."""
    for name, text in contents.items():
        path = stage / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
    if not output_dir.exists():
        stage.rename(output_dir)
        return
    (output_dir / "figures").mkdir(exist_ok=True)
    for name in contents:
        os.replace(stage / name, output_dir / name)


def _check_output(output_dir: Path, overwrite: bool) -> set[str]:
    """The names of an earlier report's files in output_dir, empty unless it holds nothing but a report.

    Raises: ValueError for a file, or for a folder that holds anything else, unless `overwrite`.
    """
    if not output_dir.exists():
        return set()
    check(output_dir.is_dir(), f"output_dir must be a folder, got the file {output_dir}")
    names = {path.relative_to(output_dir).as_posix() for path in output_dir.rglob("*") if not path.is_dir()}
    foreign = {name for name in names if name not in _OWN_FILES and not re.fullmatch(r"figures/[^/]+\.svg", name)}
    index = output_dir / "index.html"
    marked = index.is_file() and MARKER in index.read_text(encoding="utf-8", errors="replace")
    if not names or (marked and not foreign):
        return names
    check(
        overwrite,
        f"output_dir {output_dir} holds something other than an earlier report "
        f"({min(foreign or names)}); give another folder, or --overwrite to write the report into it",
    )
    return set()
