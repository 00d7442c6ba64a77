"""The board as text, Markdown, JSON lines and one page with figures. It computes no number."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from behemoth_data.edits import EditConfig
from behemoth_data.settings import from_mapping
from behemoth_editing.bench.board import Entry, entry_of, known_rows, line_of
from behemoth_editing.bench.names import Tuned, names_at
from behemoth_editing.bench.tracks import BOUND, TRACKS, VERSION, Number, Track, by_model, curve_over_edits
from behemoth_editing.report.style import COLOURS, INK, LINES, MARKERS, STYLE, as_svg, standalone
from behemoth_editing.report.text import duration
from behemoth_editing.sweep.identity import shown_rows
from behemoth_editing.sweep.rows import Row, put_file

JSONL, MARKDOWN, PAGE = "board.jsonl", "board.md", "index.html"


# Numbers as text


def number_text(track: Track, number: Number) -> str:
    """The number with its interval: "12 [8.1, 17]"; behind "at least" where the largest draw did not break all."""
    if track.unit == "edits":
        if number.unbroken == number.models:
            return f"at least {number.value:.0f}"
        ends = [_edits(number.low), _edits(number.high)]
        text = f"{_edits(number.value)} [{ends[0]}, {ends[1]}]"
        return f"at least {text}, {number.unbroken} of {number.models} unbroken" if number.unbroken else text
    if track.unit == "seconds":
        return f"{duration(number.value)} [{duration(number.low)}, {duration(number.high)}]"
    return f"{number.value:.2f} [{number.low:.2f}, {number.high:.2f}]"


def _edits(value: float) -> str:
    return "any" if math.isinf(value) else f"{value:.1f}" if value < 10 else f"{value:.0f}"


def tables(entries: Sequence[Entry]) -> list[tuple[Track, list[str], dict[str, dict[str, Entry]]]]:
    """For every track that has entries: it, the levels, and the entries by method and level."""
    found = []
    for track in TRACKS.values():
        here = [entry for entry in entries if entry.track == track.name]
        rows: dict[str, dict[str, Entry]] = {}
        for entry in here:
            rows.setdefault(entry.method, {})[entry.level] = entry
        if here:
            found.append((track, list(dict.fromkeys(entry.level for entry in here)), rows))
    return found


def cell_text(track: Track, entry: Entry | None) -> str:
    """What stands in a table for an entry."""
    if entry is None:
        return "-"
    text = number_text(track, entry.number)
    return f"{text} ({entry.failed} failed)" if entry.failed else text


def board_markdown(entries: Sequence[Entry]) -> str:
    """A table for every track: a line for each method, a column for each level."""
    parts = []
    for track, levels, rows in tables(entries):
        parts.append(f"**{track.name}** (version {VERSION}): {track.text}. The number: {track.number}.\n")
        parts.append(f"| method | {' | '.join(levels)} |\n| --- | {' | '.join('---' for _ in levels)} |")
        parts += [
            f"| {method} | {' | '.join(cell_text(track, by_level.get(level)) for level in levels)} |"
            for method, by_level in rows.items()
        ]
        parts.append("")
    return "\n".join(parts)


def board_text(entries: Sequence[Entry]) -> str:
    """The same for a terminal."""
    lines = []
    for track, levels, rows in tables(entries):
        cells = [[track.name, *levels]]
        cells += [[method, *(cell_text(track, found.get(level)) for level in levels)] for method, found in rows.items()]
        widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
        for number, row in enumerate(cells):
            lines.append("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
            if number == 0:
                lines.append("  ".join("-" * width for width in widths))
        lines.append("")
    return "\n".join(lines)


# Files


def template(name: str) -> jinja2.Template:
    """One of the templates beside this module."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("behemoth_editing.bench", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(capitalize_first=lambda text: text[:1].upper() + text[1:])
    environment.globals["cell_text"] = cell_text
    return environment.get_template(name)


def read_board(folder: Path) -> list[Entry]:
    """The entries that a bench wrote; none where there is no board.

    Raises: ValueError for a board of another version, or what is none.
    """
    path = folder / JSONL
    if not path.is_file():
        return []
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except ValueError as error:
        raise ValueError(f"{path} must be a board that `behemoth bench` wrote: {error}") from error
    return [entry_of(line) for line in lines]


def write_board(
    entries: Sequence[Entry],
    rows: Sequence[Row],
    levels: Mapping[str, Sequence[str]],
    output: Path,
    *,
    tuned: Tuned | None = None,
    minutes: float | None = None,
    command: str | None = None,
) -> None:
    """The folder has board.jsonl, a line for each entry, board.md, index.html and its figures."""
    lines = "".join(json.dumps(line_of(entry), allow_nan=False) + "\n" for entry in entries)
    put_file(output / JSONL, lines.encode())
    put_file(output / MARKDOWN, board_markdown(entries).encode())
    figures = curves(rows, levels, tuned)
    (output / "figures").mkdir(exist_ok=True)
    for name, (_, svg) in figures.items():
        put_file(output / "figures" / f"{name}.svg", standalone(svg).encode())
    shown = shown_rows(rows)
    page = template("bench.html.jinja").render(
        tables=tables(entries),
        figures=figures,
        version=VERSION,
        bound=BOUND,
        num_cells=len(rows),
        failed=[row for row in shown if row["error"] is not None],
        levels={level: len(models) for level, models in levels.items()},
        versions=[json.loads(text) for text in dict.fromkeys(json.dumps(row["versions"]) for row in rows)],
        minutes=minutes,
        command=command,
        output=output.as_posix(),
    )
    put_file(output / PAGE, page.encode())


# Figures


def curves(
    rows: Sequence[Row], levels: Mapping[str, Sequence[str]], tuned: Tuned | None = None
) -> dict[str, tuple[str, str]]:
    """For every track that ends where a model breaks, and every level: what its figure says, and the figure."""
    known = list(known_rows(rows).values())
    names = names_at(rows, tuned or {})
    model_at = {model: level for level, models in levels.items() for model in models}
    called = {id(row): names(model_at.get(row["weights"]["before"], ""), row) for row in known}
    labels = list(dict.fromkeys(called.values()))
    found = {}
    for track in (track for track in TRACKS.values() if track.breaks):
        here = [row for row in known if from_mapping(EditConfig, row["edits"]) in track.draws]
        for level, models in levels.items():
            of_level = [row for row in here if row["weights"]["before"] in models]
            by_method = {label: by_model([row for row in of_level if called[id(row)] == label]) for label in labels}
            by_method = {label: some for label, some in by_method.items() if some}
            if by_method:
                name = f"{track.name}-{level}"
                with matplotlib.style.context(["default", STYLE]):
                    figure = Figure(figsize=(4.5, 3.0), layout="constrained")
                    axes = figure.add_subplot()
                    alt = f"{track.name}, {level}. " + _draw(figure, axes, by_method, labels)
                    axes.set_title(f"{track.name}, {level}")
                    found[name] = alt, as_svg(figure, name, alt)
    return found


def _draw(figure: Figure, axes: Axes, by_method: Mapping[str, Mapping[str, list[Row]]], labels: Sequence[str]) -> str:
    """The mean over models of the smaller of both shares, against the number of edits."""
    words = []
    for label, models in by_method.items():
        place = labels.index(label)
        of_models = [curve_over_edits(some) for some in models.values()]
        edits = sorted({number for curve in of_models for number in curve})
        means = [float(np.mean([_held(curve, number) for curve in of_models])) for number in edits]
        axes.plot(
            edits,
            means,
            marker=MARKERS[place % len(MARKERS)],
            color=COLOURS[place % len(COLOURS)],
            linestyle=LINES[place // len(COLOURS) % len(LINES)],
            markersize=5,
            label=label,
        )
        shown = (f"{mean:.2f} at {number}" for number, mean in zip(edits, means, strict=True))
        words.append(f"{label}: {', '.join(shown)}")
    axes.axhline(BOUND, color=INK, linewidth=1, linestyle=(0, (1, 2)), alpha=0.8)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel("edits")
    axes.set_ylabel("smaller of success and collateral")
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.22 * math.ceil(len(by_method) / 2))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", ncols=2)
    return "Lines, means over models, one that broke staying where it broke: " + "; ".join(words) + "."


def _held(curve: Mapping[int, float], edits: int) -> float:
    """The share at a number of edits, or for a model that broke before, at the last that it made."""
    return curve[max(number for number in curve if number <= edits)]
