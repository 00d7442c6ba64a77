"""The report: one self-contained page beside its tables and figures, written at once.

The same rows give the same bytes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import jinja2

from behemoth_data.places import local_path
from behemoth_data.settings import check
from behemoth_editing.report.commands import commands_for
from behemoth_editing.report.equal import EQUAL_SCORES, equal_forgetting
from behemoth_editing.report.evidence import SURE, Evidence, difference, rank_in_words
from behemoth_editing.report.figures import Drawing, drawings, named
from behemoth_editing.report.judgement import Judge, Judgement, nothing_judged
from behemoth_editing.report.style import standalone
from behemoth_editing.report.summaries import Summary, as_json, by_place, load_results, recall_of, summaries
from behemoth_editing.report.tables import interval_text, p_text, spaced, tables_of
from behemoth_editing.report.text import duration, share
from behemoth_editing.scoring.scores import BESIDE, FIRST, MIN_FACTS, OUTCOMES, SCORES, by_kind
from behemoth_editing.sweep.identity import model_of, shown_rows
from behemoth_editing.sweep.looks import EQUAL
from behemoth_editing.sweep.rows import Row

MARKER = '<meta name="generator" content="behemoth">'
_TABLES = ("summary", "measures", "kinds", "equal", "stages", "verdicts")
_OWN_FILES = {"index.html", *(f"{name}.{kind}" for name in _TABLES for kind in ("csv", "md", "tex"))}

_MOST_CELLS = 8000  # listed one by one: more would make the page too large to send


def page(
    rows: Sequence[Row],
    folders: Sequence[str] = ("results",),
    output: str = "report",
    command: str | None = None,
    judge: Judge = nothing_judged,
) -> str:
    """The whole report as one HTML document that loads nothing; `command` made the results, if one command did.

    `judge` says what the results mean for a study's findings, whose verdicts come before the numbers.
    """
    found = summaries(shown_rows(rows))
    return _page(rows, found, judge(found), drawings(found), folders, output, command, pdf=False)


def _page(
    rows: Sequence[Row],
    found: Sequence[Summary],
    judged: Judgement,
    figures: dict[str, list[Drawing]],
    folders: Sequence[str],
    output: str,
    command: str | None,
    *,
    pdf: bool,
) -> str:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        share=share,
        duration=duration,
        json=as_json,
        spaced=spaced,
        digest=_short,
        capitalize_first=lambda text: text[:1].upper() + text[1:],
        interval=interval_text,
        p=p_text,
        rank=rank_in_words,
    )
    template = files("behemoth_editing.report").joinpath("report.html.jinja").read_text(encoding="utf-8")
    commands, rows = commands_for(rows, folders, output), shown_rows(rows)
    failed = [row for row in rows if row["error"] is not None]
    spoken = {verdict.finding for verdict in judged.verdicts}
    return environment.from_string(template).render(
        rows=rows,
        most_cells=_MOST_CELLS,
        failed=failed,
        summaries=found,
        figures=figures,
        outcomes=OUTCOMES,
        headlines=FIRST,
        min_facts=MIN_FACTS,
        beside=BESIDE,
        scores=SCORES,
        by_kind=by_kind,
        forgetting=[
            (summary, *number)
            for summary in found
            for number in by_kind(summary.scores or {})
            if number[1].part == "forget"
        ],
        equal=equal_forgetting(found),
        equal_scores=EQUAL_SCORES,
        equal_share=EQUAL,
        findings=[finding for finding in judged.findings if finding.name in spoken],
        verdicts=judged.verdicts,
        judged_worlds=list(dict.fromkeys(verdict.world for verdict in judged.verdicts)),
        questions=_QUESTIONS,
        retrained=_retrained(found),
        setups=judged.setups,
        sure=SURE,
        filters={
            "world": list(dict.fromkeys(summary.world for summary in found)),
            "scenario": list(dict.fromkeys(summary.row["scenario"] for summary in found)),
            "method": list(dict.fromkeys(summary.family for summary in found)),
        },
        models=_models(rows),
        seeds=sorted({row["seed"] for row in rows}),
        worlds=[json.loads(world) for world in dict.fromkeys(as_json(row["world"]) for row in rows)],
        versions=[json.loads(version) for version in dict.fromkeys(as_json(row["versions"]) for row in rows)],
        commands=commands,
        command=command,
        pdf=pdf,
    )


# Which figure answers which of the findings' questions.
_QUESTIONS = {"F1": "tradeoff", "F2": "ranks", "F3": "ranks", "F4": "layers", "F5": "ranks"}


def _models(rows: Sequence[Row]) -> list[dict[str, object]]:
    """Every model with what it knew before, and the digest of its weights."""
    found = {model_of(row): row for row in rows}
    return [
        {
            "name": row["model"],
            "structure": row["structure"],
            "recall": recall_of(row),
            "precision": row.get("model_precision"),
            "weights": weights,
        }
        for weights, row in found.items()
    ]


def _retrained(found: Sequence[Summary]) -> list[tuple[Summary, list[tuple[str, Summary, Evidence | None]]]]:
    """Every place's retraining, and the others' collateral accuracy minus its own, over the edits that both made."""
    result = []
    for _, here in by_place(found):
        again = next((summary for summary in here if summary.family == "retrain" and summary.scores), None)
        if again is not None:
            others = [(label, summary) for label, summary in named(here) if summary.scores and summary is not again]
            result.append(
                (again, [(name, other, difference(other, again, "collateral_accuracy")) for name, other in others])
            )
    return result


def _short(digest: str) -> str:
    return digest[:16]


def write_report(
    folders: Sequence[Path],
    output_dir: Path,
    *,
    overwrite: bool = False,
    command: str | None = None,
    judge: Judge = nothing_judged,
    pdf: bool = False,
) -> tuple[list[Row], Judgement]:
    """The rows of the folders and what is judged of them, once output_dir holds index.html, tables and figures of both.

    Figures are SVG, and with `pdf` PDF too, for whose fonts most of the time goes then.

    Everything is written beside output_dir first, and index.html is put in place last. Files that are not a
    report's are never removed. The page names `command` as what makes all of it again, if there is one; `judge`
    says what the results mean for a study's findings.
    Raises: ValueError for bad results, or for an output_dir that holds something else, unless `overwrite`.
    """
    output_dir = local_path("output_dir", output_dir)
    rows = load_results(folders)
    earlier = _check_output(output_dir, overwrite)
    found = summaries(shown_rows(rows))
    judged = judge(found)
    figures = drawings(found, pdf=pdf)
    names = [Path(folder).as_posix() for folder in folders]
    contents: dict[str, bytes] = {}
    for drawing in (drawing for some in figures.values() for drawing in some):
        contents[f"figures/{drawing.name}.svg"] = standalone(drawing.svg).encode("utf-8")
        if drawing.pdf is not None:
            contents[f"figures/{drawing.name}.pdf"] = drawing.pdf
    contents |= {name: text.encode("utf-8") for name, text in tables_of(found, judged).items()}
    text = _page(rows, found, judged, figures, names, output_dir.as_posix(), command, pdf=pdf)
    contents["index.html"] = text.encode("utf-8")
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=f".{output_dir.name}-", dir=output_dir.parent))
    try:
        _place_files(contents, stage / "report", output_dir)
    finally:
        shutil.rmtree(stage)
    for name in earlier - set(contents):
        (output_dir / name).unlink()
    return rows, judged


def _place_files(contents: dict[str, bytes], stage: Path, output_dir: Path) -> None:
    """Writes the files under `stage`, then moves each to its place in output_dir, in the order given."""
    for name, content in contents.items():
        path = stage / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
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
    foreign = {name for name in names if name not in _OWN_FILES and not re.fullmatch(r"figures/[^/]+\.(svg|pdf)", name)}
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
