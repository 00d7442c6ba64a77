"""Results as tables in files and one self-contained page. What the numbers and the figures are is decided elsewhere.

The same rows give the same bytes.
"""

from __future__ import annotations

import csv
import dataclasses
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

from behemoth_data.edits import EditConfig
from behemoth_data.places import local_path
from behemoth_data.scenarios import RELATION_SCENARIOS
from behemoth_data.settings import check
from behemoth_editing import METHODS
from behemoth_editing.figures import Drawing, drawings, named, standalone
from behemoth_editing.identity import model_of, precision_of, shown_place, shown_rows
from behemoth_editing.result_file import PLACE, Row
from behemoth_editing.results import (
    OUTCOMES,
    Scores,
    Summary,
    as_json,
    by_place,
    duration,
    load_results,
    recall_of,
    share,
    summaries,
)
from behemoth_editing.setups import setups
from behemoth_editing.statistics import draw_settings
from behemoth_editing.verdicts import FINDINGS, SURE, Evidence, Verdict, difference, rank_in_words, verdicts

MARKER = '<meta name="generator" content="behemoth">'
_TABLES = ("summary", "kinds", "verdicts")
_OWN_FILES = {"index.html", *(f"{name}.{kind}" for name in _TABLES for kind in ("csv", "md", "tex"))}


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
    made = [precision_of(row) or "", row.get("model_precision") or ""]
    return [*(str(row[name]) for name in names), as_json(row["settings"]), *made, summary.models, seeds]


_IDENTITY = (*PLACE, "method", "settings", "precision", "model_precision", "models", "seeds")


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


_NOTE = (
    "Every share with its 95% bootstrap interval over edits and seeds; n counts the probes asked, for collateral "
    "accuracy those right before the edit."
)


def _summary_table(found: Sequence[Summary]) -> list[list[str]]:
    header = ["scenario", "method", "edit success", "paraphrase success", "collateral accuracy", "s/edit", "seeds"]
    lines = [header]
    for summary in found:
        scores = [summary.score(name) for name in _MEASURES[:3]]
        numbers = [f"{share(score, 3)}, n = {score['count']}" if score else "-" for score in scores]
        seconds = duration(summary.seconds["value"]) if summary.seconds else "-"
        lines.append([summary.place, summary.method, *numbers, seconds, summary.seeds])
    return lines


def _kinds_table(found: Sequence[Summary]) -> list[list[str]]:
    lines = [["scenario", "method", "kind", "measure", "share", "right before", "wrong before"]]
    for summary in found:
        for kind, score in summary.kinds("by_kind").items():
            counts = [str(score["count"]), str(score["wrong_before"])]
            lines.append([summary.place, summary.method, _spaced(kind), "still right", share(score, 3), *counts])
        for kind, score in summary.kinds("ripple").items():
            counts = [str(score["count"]), str(score["wrong_before"])]
            lines += [
                [summary.place, summary.method, _spaced(kind), outcome, share(score[outcome], 3), *counts]
                for outcome in OUTCOMES
            ]
    return lines


def _verdicts_table(judged: Sequence[Verdict]) -> list[list[str]]:
    claims = {finding.name: finding.claim for finding in FINDINGS}
    lines = [["finding", "claim", "world", "method", "verdict", "measured", "value", "models", "edits", "why"]]
    for verdict in judged:
        evidence = verdict.evidence
        numbers = ["-", "0", "0"]
        if evidence is not None:
            numbers = [_interval(evidence), str(len(evidence.by_model)), str(evidence.edits)]
        lines.append(
            [
                *(verdict.finding, claims[verdict.finding], verdict.world, verdict.about, verdict.answer),
                *(verdict.effect, *numbers, verdict.reason),
            ]
        )
    return lines


def _interval(evidence: Evidence) -> str:
    return share(dataclasses.asdict(evidence.interval), 3)


def verdict_table(judged: Sequence[Verdict]) -> str:
    """The verdicts on the findings as a Markdown table, one to a line, with the numbers behind them."""
    return _markdown([line[:-1] for line in _verdicts_table(judged)])


def verdict_overview(judged: Sequence[Verdict]) -> str:
    """The verdicts as a small Markdown table, findings by worlds: those worlds that the most findings speak of."""
    spoken = {v.world: {other.finding for other in judged if other.world == v.world} for v in judged}
    most = max(map(len, spoken.values()), default=0)
    worlds = sorted((world for world, findings in spoken.items() if len(findings) == most), key=_by_structure)
    lines = [["finding", *worlds]]
    for finding in FINDINGS:
        here = [verdict for verdict in judged if verdict.finding == finding.name]
        across = [verdict for verdict in here if finding.judge is None]  # one verdict on all worlds at once
        cells = [_in_short([v for v in here if v.world == world] or across) for world in worlds]
        lines.append([f"**{finding.name}** {finding.claim}", *cells])
    return _markdown(lines)


def _by_structure(world: str) -> int:
    return [world.startswith(name) for name in ("independent", "correlated", "nested", "")].index(True)


def _in_short(judged: Sequence[Verdict]) -> str:
    texts = []
    for verdict in judged:
        interval = f" ({_interval(verdict.evidence)})" if verdict.evidence is not None else ""
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


def _tables(found: Sequence[Summary], judged: Sequence[Verdict]) -> dict[str, str]:
    """The tables as files: CSV with one number to a column, Markdown and LaTeX as they are read."""
    summary, kinds = _summary_table(found), _kinds_table(found)
    files = {
        "summary.csv": _summary_csv(found),
        "summary.md": f"{_markdown(summary)}\n{_NOTE}\n",
        "summary.tex": _latex(summary),
        "kinds.csv": _kinds_csv(found),
        "kinds.md": _markdown(kinds),
        "kinds.tex": _latex(kinds),
    }
    if judged:
        table = _verdicts_table(judged)
        files |= {"verdicts.csv": _csv(table), "verdicts.md": _markdown(table), "verdicts.tex": _latex(table)}
    return files


# The page


_MOST_CELLS = 8000  # listed one by one: more would make the page too large to send
_MODELS_SHOWN = 40  # a command with more would be no use to anyone


def _commands(rows: Sequence[Row], folders: Sequence[str], output: str) -> list[str]:
    """The shell commands that make the results of each kind of edit again, and then this report.

    Settings that were swept have all their values: a command makes every combination, and so at least what is shown.
    Folders that are not below the one where commands are given go by their names.
    """
    folders = [shown_place(folder) for folder in folders]
    groups: dict[str, list[Row]] = {}
    for row in rows:
        key = [row["structure"], row["edge"], row["relation"], row["num_edits"], row["method"]]
        groups.setdefault(as_json(key), []).append(row)
    merged: dict[str, dict[str, Iterable[object]]] = {}
    for found in groups.values():
        first = found[0]
        draws = draw_settings(first)
        options: dict[str, Iterable[object]] = {
            "model": list({model_of(row): shown_place(row["model"]) for row in found}.values())[:_MODELS_SHOWN],
            "scenarios": dict.fromkeys(row["scenario"] for row in found),
            "edge": [first["edge"]] if first["edge"] != "subject_object" else [],
            "relation": [first["relation"]] if first["relation"] != 0 else [],
            "num_edits": [first["num_edits"]] if first["scenario"] not in RELATION_SCENARIOS else [],
            **{name: [value] for name, value in draws.items() if value != getattr(EditConfig(), name, value)},
            "seeds": sorted({row["seed"] for row in found}),
        }
        same = merged.setdefault(as_json({name: list(values) for name, values in options.items()}), {**options})
        same["methods"] = [*same.get("methods", []), first["method"]]
        same.update(_swept(found))
    report = shlex.join(["behemoth", "report", *folders])
    edits = []
    for options in merged.values():
        folder = {"output_dir": folders if len(folders) == 1 else []}
        ordered = {"model": options.pop("model"), "methods": options.pop("methods"), **options, **folder}
        edits.append(_command("behemoth edit", ordered))
    return [*edits, _command(report, {"output_dir": [shown_place(output)]})]


def _swept(rows: Sequence[Row]) -> dict[str, list[object]]:
    """The options of one method's settings that are not its defaults, each with all its values."""
    method = METHODS.get(rows[0]["method"])
    if method is None:
        return {}
    plain = json.loads(as_json(dataclasses.asdict(method())))  # type: ignore[call-overload]
    options = {}
    for name, default in plain.items():
        values = {as_json(row["settings"].get(name, default)): row["settings"].get(name, default) for row in rows}
        if list(values) != [as_json(default)]:
            words = [
                "none" if value is None else ",".join(map(str, value)) if isinstance(value, list) else str(value)
                for value in values.values()
            ]
            options[f"{rows[0]['method']}_{name}"] = list[object](words)
    return options


def _command(start: str, options: dict[str, Iterable[object]]) -> str:
    """The shell command with one option to a line; options without values are left out."""
    words = [[f"--{name}", *map(str, values)] for name, values in options.items()]
    return " \\\n    ".join([start, *(shlex.join(some) for some in words if len(some) > 1)])


def page(
    rows: Sequence[Row], folders: Sequence[str] = ("results",), output: str = "report", command: str | None = None
) -> str:
    """The whole report as one HTML document that loads nothing; `command` made the results, if one command did."""
    found = summaries(shown_rows(rows))
    return _page(rows, found, verdicts(found), drawings(found), folders, output, command)


def _page(
    rows: Sequence[Row],
    found: Sequence[Summary],
    judged: Sequence[Verdict],
    figures: dict[str, list[Drawing]],
    folders: Sequence[str],
    output: str,
    command: str | None,
) -> str:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        share=share,
        duration=duration,
        json=as_json,
        spaced=_spaced,
        digest=_short,
        interval=_interval,
        rank=rank_in_words,
    )
    template = files("behemoth_editing").joinpath("report.html.jinja").read_text(encoding="utf-8")
    commands, rows = _commands(rows, folders, output), shown_rows(rows)
    failed = [row for row in rows if row["error"] is not None]
    worlds = list(dict.fromkeys(verdict.world for verdict in judged))
    return environment.from_string(template).render(
        rows=rows,
        most_cells=_MOST_CELLS,
        failed=failed,
        summaries=found,
        figures=figures,
        outcomes=OUTCOMES,
        findings=[finding for finding in FINDINGS if any(verdict.finding == finding.name for verdict in judged)],
        verdicts=judged,
        judged_worlds=worlds,
        questions=_QUESTIONS,
        floor=_noise_floor(found),
        setups=setups(found),
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


def _noise_floor(found: Sequence[Summary]) -> list[tuple[Summary, list[tuple[str, Summary, Evidence | None]]]]:
    """Every place's retraining, and the others' collateral accuracy minus its own, over the edits that both made."""
    result = []
    for _, here in by_place(found):
        oracle = next((summary for summary in here if summary.family == "retrain" and summary.scores), None)
        if oracle is not None:
            others = [(label, summary) for label, summary in named(here) if summary.scores and summary is not oracle]
            result.append(
                (oracle, [(name, other, difference(other, oracle, "collateral_accuracy")) for name, other in others])
            )
    return result


def _spaced(text: str) -> str:
    return text.replace("_", " ")


def _short(digest: str) -> str:
    return digest[:16]


def write_report(
    folders: Sequence[Path], output_dir: Path, *, overwrite: bool = False, command: str | None = None
) -> tuple[list[Row], list[Verdict]]:
    """The rows of the folders and the verdicts on them, once output_dir holds index.html, tables and figures of both.

    Everything is written beside output_dir first, and index.html is put in place last. Files that are not a
    report's are never removed. The page names `command` as what makes all of it again, if there is one.
    Raises: ValueError for bad results, or for an output_dir that holds something else, unless `overwrite`.
    """
    output_dir = local_path("output_dir", output_dir)
    rows = load_results(folders)
    earlier = _check_output(output_dir, overwrite)
    found = summaries(shown_rows(rows))
    judged = verdicts(found)
    figures = drawings(found, pdf=True)
    names = [Path(folder).as_posix() for folder in folders]
    contents: dict[str, bytes] = {}
    for drawing in (drawing for some in figures.values() for drawing in some):
        contents[f"figures/{drawing.name}.svg"] = standalone(drawing.svg).encode("utf-8")
        contents[f"figures/{drawing.name}.pdf"] = drawing.pdf or b""
    contents |= {name: text.encode("utf-8") for name, text in _tables(found, judged).items()}
    text = _page(rows, found, judged, figures, names, output_dir.as_posix(), command)
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
