"""Summaries, kinds and verdicts as CSV, Markdown and LaTeX. Computes no number."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Sequence

from behemoth_editing.report.equal import EQUAL_SCORES, Equal, equal_forgetting
from behemoth_editing.report.evidence import Evidence
from behemoth_editing.report.judgement import Judgement, Verdict
from behemoth_editing.report.stages import Pooled, ages_in_words, long_runs
from behemoth_editing.report.summaries import Scores, Summary, as_json
from behemoth_editing.report.text import duration, share
from behemoth_editing.scoring.scores import BESIDE, FIRST, HEADLINES, MEASURED, Score, by_kind
from behemoth_editing.sweep.identity import precision_of
from behemoth_editing.sweep.rows import PLACE


def _numbers(score: Scores | None) -> list[str]:
    if score is None or score["value"] is None:
        return ["", "", "", "0" if score is None else str(score.get("count", 0))]
    numbers = ("" if score[name] is None else f"{score[name]:.6g}" for name in ("value", "low", "high"))
    return [*numbers, str(score["count"])]


def _identity(summary: Summary) -> list[str]:
    row = [*summary.rows, *summary.failed][0]
    names = (*PLACE, "method")
    seeds = " ".join(str(seed) for seed in sorted({cell["seed"] for cell in summary.rows}))
    made = [precision_of(row) or "", row.get("model_precision") or ""]
    return [
        *("" if row[name] is None else str(row[name]) for name in names),
        as_json(row["settings"]),
        *made,
        summary.models,
        seeds,
    ]


_IDENTITY = (*PLACE, "method", "settings", "precision", "model_precision", "models", "seeds")


def _summary_csv(found: Sequence[Summary]) -> str:
    parts = ("", "_low", "_high", "_count")
    names = [score.name for score in (*HEADLINES, *MEASURED)]
    header = [name + part for name in (*names, "seconds_per_edit") for part in parts]
    lines = [[*_IDENTITY, "num_models", "failed_cells", *header]]
    for summary in found:
        scores = [summary.score(name) for name in names]
        numbers = [text for score in [*scores, summary.seconds] for text in _numbers(score)]
        lines.append([*_identity(summary), str(summary.num_models), str(len(summary.failed)), *numbers])
    return _csv(lines)


def _kinds_csv(found: Sequence[Summary]) -> str:
    lines = [[*_IDENTITY, "measure", "kind", "value", "low", "high", "count", "wrong_before"]]
    for summary in found:
        for kind, score, number, wrong_before in by_kind(summary.scores or {}):
            lines.append([*_identity(summary), score.name, kind, *_numbers(number), str(wrong_before)])
    return _csv(lines)


def _csv(lines: Sequence[Sequence[str]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(lines)
    return buffer.getvalue()


_NOTE = (
    "Every share with its 95% interval by Korn and Graubard: clusters are models, and where there is one model its "
    "edits, so that the interval says nothing of other models. n counts the probes asked, for collateral accuracy and "
    "dependent facts those right before the edit. A failed cell counts as no success, and in no other number."
)


def _legend(scores: Sequence[Score]) -> str:
    """What each score says, as one paragraph."""
    return "; ".join(f"{score.label}: {score.text} ({score.range})" for score in scores) + "."


def _summary_table(found: Sequence[Summary]) -> list[list[str]]:
    lines = [["scenario", "method", *(score.label for score in FIRST), "s/edit", "models", "seeds"]]
    for summary in found:
        scores = [summary.score(score.name) for score in FIRST]
        numbers = [f"{share(score, 3)}, n = {score['count']}" if score else "-" for score in scores]
        seconds = duration(summary.seconds["value"]) if summary.seconds else "-"
        lines.append([summary.place, summary.method, *numbers, seconds, str(summary.num_models), summary.seeds])
    return lines


def _measures_table(found: Sequence[Summary]) -> list[list[str]]:
    lines = [["scenario", "method", *(score.label for score in BESIDE)]]
    lines += [
        [summary.place, summary.method, *(share(summary.score(score.name), 3) for score in BESIDE)] for summary in found
    ]
    return lines


def _kinds_table(found: Sequence[Summary]) -> list[list[str]]:
    lines = [["scenario", "method", "kind", "measure", "share", "right before", "wrong before"]]
    for summary in found:
        for kind, score, number, wrong_before in by_kind(summary.scores or {}):
            counts = [str(number["count"]), str(wrong_before)]
            lines.append([summary.place, summary.method, spaced(kind), score.label, share(number, 3), *counts])
    return lines


def _equal_table(found: Sequence[Equal]) -> list[list[str]]:
    lines = [["scenario", "method", "cells that got there", "steps", *EQUAL_SCORES.values()]]
    for one in found:
        numbers = [share(one.score(name), 3) for name in EQUAL_SCORES]
        steps = "-" if one.steps is None else f"{one.steps:.1f}"
        lines.append([one.summary.place, one.summary.method, f"{one.reached} of {one.cells}", steps, *numbers])
    return lines


def _equal_csv(found: Sequence[Equal]) -> str:
    parts = ("", "_low", "_high", "_count")
    header = [name + part for name in EQUAL_SCORES for part in parts]
    lines = [[*_IDENTITY, "cells", "reached", "mean_steps", *header]]
    for one in found:
        steps = "" if one.steps is None else f"{one.steps:.6g}"
        numbers = [text for name in EQUAL_SCORES for text in _numbers(one.score(name))]
        lines.append([*_identity(one.summary), str(one.cells), str(one.reached), steps, *numbers])
    return _csv(lines)


def _verdicts_table(judged: Judgement) -> list[list[str]]:
    claims = {finding.name: finding.claim for finding in judged.findings}
    lines = [["finding", "claim", "world", "method", "verdict", "p", "measured", "value", "models", "edits", "why"]]
    for verdict in judged.verdicts:
        evidence = verdict.evidence
        numbers = ["-", "0", "0"]
        if evidence is not None:
            numbers = [interval_text(evidence), str(evidence.models), str(evidence.edits)]
        lines.append(
            [
                *(verdict.finding, claims[verdict.finding], verdict.world, verdict.about, verdict.answer),
                p_text(verdict.p),
                *(verdict.effect, *numbers, verdict.reason),
            ]
        )
    return lines


def interval_text(evidence: Evidence) -> str:
    """The value and its interval, to three digits."""
    return share(dataclasses.asdict(evidence.interval), 3)


def p_text(p: float) -> str:
    """A p value to three digits, as in "0.012" or "< 0.001"."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def verdict_table(judged: Judgement) -> str:
    """The verdicts on the findings as a Markdown table, one to a line, with the numbers behind them."""
    return _markdown([line[:-1] for line in _verdicts_table(judged)])


def verdict_overview(judged: Judgement) -> str:
    """The verdicts as a small Markdown table, findings by worlds: those worlds that the most findings speak of."""
    said = judged.verdicts
    spoken = {v.world: {other.finding for other in said if other.world == v.world} for v in said}
    most = max(map(len, spoken.values()), default=0)
    worlds = sorted((world for world, findings in spoken.items() if len(findings) == most), key=_by_structure)
    lines = [["finding", *worlds]]
    for finding in judged.findings:
        here = [verdict for verdict in said if verdict.finding == finding.name]
        across = [verdict for verdict in here if finding.judge is None]  # one verdict on all worlds at once
        cells = [_in_short([v for v in here if v.world == world] or across) for world in worlds]
        lines.append([f"**{finding.name}** {finding.claim}", *cells])
    return _markdown(lines)


def _by_structure(world: str) -> int:
    return [world.startswith(name) for name in ("independent", "correlated", "nested", "")].index(True)


def _in_short(judged: Sequence[Verdict]) -> str:
    texts = []
    for verdict in judged:
        interval = f" ({interval_text(verdict.evidence)})" if verdict.evidence is not None else ""
        texts.append(f"**{verdict.answer}**: {verdict.about}{interval}")
    return "<br>".join(texts) or "-"


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    header, *body = [" | ".join(cell.replace("|", "\\|") for cell in line) for line in lines]
    return "\n".join([f"| {header} |", "|" + " --- |" * len(lines[0]), *(f"| {line} |" for line in body), ""])


_LATEX = {
    **{letter: f"\\{letter}" for letter in "#$%&_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def _latex(lines: Sequence[Sequence[str]]) -> str:
    """A tabular with the rules of the package booktabs."""
    header, *body = [
        " & ".join("".join(_LATEX.get(letter, letter) for letter in cell) for cell in line) + r" \\" for line in lines
    ]
    columns = "l" * len(lines[0])
    start = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", header, r"\midrule"]
    return "\n".join([*start, *body, r"\bottomrule", r"\end{tabular}", ""])


def _stages_table(runs: Sequence[Pooled]) -> list[list[str]]:
    """Every method after so many edits of a sequence."""
    ages = [age for age in ages_in_words() if any(age in one.by_age for one in runs)]
    measures = ["held", "collateral accuracy", "validity", "change of weights", *(f"held, age {age}" for age in ages)]
    lines = [["place", "method", "edits", "models", *measures]]
    for one in runs:
        numbers = [one.scores.get("edit_success"), one.scores.get("collateral_accuracy")]
        shown = [share(number, 3) for number in numbers]
        shown += [share(dataclasses.asdict(one.validity), 3), share(dataclasses.asdict(one.relative), 3)]
        shown += [share(dataclasses.asdict(one.by_age[age])) if age in one.by_age else "-" for age in ages]
        of = one.summary
        lines.append([of.place, of.method, str(one.edits), str(of.num_models), *shown])
    return lines


def tables_of(found: Sequence[Summary], judged: Judgement) -> dict[str, str]:
    """The tables as files: CSV with one number to a column, Markdown and LaTeX as they are read."""
    summary, measures, kinds = _summary_table(found), _measures_table(found), _kinds_table(found)
    files = {
        "summary.csv": _summary_csv(found),
        "summary.md": f"{_markdown(summary)}\n{_NOTE}\n",
        "summary.tex": _latex(summary),
        "measures.md": f"{_markdown(measures)}\n{_legend(BESIDE)}\n",
        "measures.tex": _latex(measures),
        "kinds.csv": _kinds_csv(found),
        "kinds.md": _markdown(kinds),
        "kinds.tex": _latex(kinds),
    }
    if equal := equal_forgetting(found):
        table = _equal_table(equal)
        files |= {"equal.csv": _equal_csv(equal), "equal.md": _markdown(table), "equal.tex": _latex(table)}
    if runs := long_runs(found):
        table = _stages_table(runs)
        files |= {"stages.csv": _csv(table), "stages.md": _markdown(table), "stages.tex": _latex(table)}
    if judged.verdicts:
        table = _verdicts_table(judged)
        files |= {"verdicts.csv": _csv(table), "verdicts.md": _markdown(table), "verdicts.tex": _latex(table)}
    return files


def spaced(text: str) -> str:
    """A name as words."""
    return text.replace("_", " ")
