"""How all figures look: colours that the page decides, marks, legends, and SVG and PDF of them."""

from __future__ import annotations

import io
import math
import re
import textwrap
from collections.abc import Iterable
from html import escape
from typing import Any

import matplotlib
import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from behemoth_editing.report.summaries import Scores

INK = "#010203"  # stands for the page's text colour; no mark uses it
# Okabe and Ito's palette for colour-blind readers, less its yellow and black, which vanish on light or dark.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # seven against six colours: 42 different pairs
LINES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))
WIDTH = 4.5  # inches: narrow, so that ten-point text stays legible on a telephone
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "behemoth",
    "text.parse_math": False,  # a $ in a setting is a dollar sign
    "font.size": 10,
    "axes.labelsize": 10,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.15,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": INK,
}

FRONT = "Pareto front"

Look = dict[str, tuple[str, str]]  # label -> colour, marker
Points = list[tuple[float, Scores | None, float]]  # x, its score with an interval if there is one, y


def legend(figure: Figure, axes: Axes) -> None:
    """A legend below the axes in as many columns as its words allow."""
    handles, labels = axes.get_legend_handles_labels()
    if FRONT in labels:  # matplotlib lists lines before error bars; the methods come first for a reader
        handles = [handle for handle, label in zip(handles, labels, strict=True) if label != FRONT] + [
            handles[labels.index(FRONT)]
        ]
        labels = [label for label in labels if label != FRONT] + [FRONT]
    longest = max(len(label) for label in labels)
    columns = max(1, min(len(labels), 48 // (longest + 6)))
    wrapped = [textwrap.fill(label, 52, subsequent_indent="  ") for label in labels]
    lines = [label.count("\n") + 1 for label in wrapped]
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.22 * (math.ceil(len(labels) / columns) if columns > 1 else sum(lines)))
    figure.legend(handles, wrapped, loc="outside lower left", ncols=columns, columnspacing=1.2, handletextpad=0.4)


def whisker(score: Scores) -> list[list[float]]:
    """The distances from a value to both ends of its interval, as error bars want them."""
    value = float(score["value"])
    return [[max(0.0, value - float(score["low"]))], [max(0.0, float(score["high"]) - value)]]


def lowest_tick(scores: Iterable[Scores]) -> float:
    """The lower end of a share axis: the lowest whisker rounded down to a tenth, at most 0.9."""
    return min([0.9, *(math.floor(float(score["low"]) * 10 + 1e-9) / 10 for score in scores)])


def as_pdf(figure: Figure) -> bytes:
    """The figure as PDF without a date, its text as text."""
    buffer = io.BytesIO()
    with matplotlib.rc_context({"pdf.fonttype": 42}):
        figure.savefig(buffer, format="pdf", metadata=dict.fromkeys(("CreationDate", "Creator", "Producer")))
    return buffer.getvalue()


def as_svg(figure: Figure, name: str, alt: str) -> str:
    """The figure as SVG that takes its text colour and font from the page; its ids begin with the name."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"\n\s*<!--.*?-->", "", text, flags=re.DOTALL)
    # Hundredths of a point in attributes, and not in words: no eye sees more.
    text = re.sub(r'"[^"<>]*"', lambda match: re.sub(r"(\d\.\d\d)\d+", r"\1", match[0]), text)
    text = text.replace(INK, "currentColor")
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, sans-serif", text)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    return text.replace("<svg ", f'<svg role="img" aria-label="{escape(alt)}" ', 1).strip() + "\n"


def standalone(svg: str) -> str:
    """The same SVG as a file of its own, whose text is dark on light and light on dark."""
    style = "<style>svg{color:#1c1e21}@media (prefers-color-scheme:dark){svg{color:#e4e6e8}}</style>"
    return svg.replace(">", f">{style}", 1)
