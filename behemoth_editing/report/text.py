"""Numbers as text, and the table that commands print."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

from behemoth_editing.report.equal import EQUAL_SCORES, equal_forgetting
from behemoth_editing.report.summaries import Scores, Summary, outcome_share, summaries
from behemoth_editing.scoring.intervals import Interval
from behemoth_editing.scoring.scores import BESIDE, FIRST, GROUPS, HEADLINES, MEASURED
from behemoth_editing.sweep.looks import EQUAL
from behemoth_editing.sweep.rows import Row

# Numbers as text


def share(score: Scores | None, digits: int = 2) -> str:
    """The value and its interval, as in "0.95 [0.90, 0.99]"; a dash where nothing was asked or bounds an end."""
    if score is None or score["value"] is None:
        return "-"
    ends = ("-" if score[name] is None else f"{score[name]:.{digits}f}" for name in ("low", "high"))
    return f"{score['value']:.{digits}f} [{', '.join(ends)}]"


def interval_or_dash(found: Interval | None) -> str:
    """The value and its interval; a dash for nothing, and for an end that nothing bounds, as with one model."""
    if found is None:
        return "-"
    ends = {name: getattr(found, name) for name in ("low", "high")}
    return share({"value": found.value, **{n: v if math.isfinite(v) else None for n, v in ends.items()}})


def markdown_row(cells: Sequence[str]) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def duration(seconds: float) -> str:
    """Seconds with about three digits, never in exponent form."""
    digits = 0 if seconds >= 100 else 1 if seconds >= 10 else 2 if seconds >= 0.1 else 4
    return f"{seconds:.{digits}f}"


def table(rows: Sequence[Row]) -> str:
    """A plain-text table of the pooled results, at most 120 columns wide, with a line for each failed cell.

    Several blocks, because so many numbers with their intervals do not fit one line; one for what is kept where methods
    forgot as much, if they were looked at while they trained.
    """
    found = summaries(rows)
    measures = [score for score in BESIDE if score in MEASURED]
    first = [["method", "scenario", *(score.label for score in FIRST)]]
    second = [["method", "scenario", "edits", "models", "worst kind", "followed share of ripple, and more", "s/edit"]]
    third = [["method", "scenario", *(score.label for score in measures)]]
    for summary in found:
        seconds = summary.seconds
        name = [summary.method, summary.place]
        first.append([*name, *(_stacked(summary, score.name) for score in FIRST)])
        counts = [str(summary.edits), str(summary.num_models)]
        more = [_worst_kind(summary), "\n".join(_beside(summary)) or "-"]
        second.append([*name, *counts, *more, duration(seconds["value"]) if seconds else "-"])
        third.append([*name, *(_stacked(summary, score.name) for score in measures)])
    lines = [*_aligned(first, (19, 15, *[12] * len(FIRST)), right=set()), ""]
    lines += [*_aligned(second, (19, 15, 5, 6, 24, 33, 6), right={2, 3, 6}), ""]
    lines += _aligned(third, (28, 16, *[12] * len(measures)), right=set())
    if equal := equal_forgetting(found):
        fourth = [["method", "scenario", f"cells with {EQUAL:.0%} left", "steps", *EQUAL_SCORES.values()]]
        for one in equal:
            numbers = [share(one.score(name)) for name in EQUAL_SCORES]
            steps = "-" if one.steps is None else f"{one.steps:.1f}"
            fourth.append([one.summary.method, one.summary.place, f"{one.reached} of {one.cells}", steps, *numbers])
        lines += ["", *_aligned(fourth, (24, 16, 10, 6, *[17] * len(EQUAL_SCORES)), right={2, 3})]
    if any(summary.num_models == 1 for summary in found):
        lines += ["", ONE_MODEL]
    for row in rows:
        if row["error"] is not None:
            text = f"failed: {row['method']} {row['scenario']} seed {row['seed']} (cell {row['cell']}): "
            lines += ["", *textwrap.wrap(text + row["error"], 120, subsequent_indent="  ")]
    return "\n".join(lines)


ONE_MODEL = "Intervals of one model are of its other edits: they say nothing of other models."


def _stacked(summary: Summary, name: str) -> str:
    """The score with its interval below it."""
    return share(summary.score(name)).replace(" [", "\n[")


def _beside(summary: Summary) -> list[str]:
    """What else became of the edited facts, and which facts that depend on them followed: a line each."""
    lines = [f"{kind} {share(outcome_share(score, 'followed'))}" for kind, score in summary.kinds("ripple").items()]
    if (forgotten := summary.kinds("forgetting").get("edited")) is not None:
        lines += [f"{score.label} {share(forgotten[score.name])}" for score in GROUPS["forgetting"]]
    if (then := summary.kinds("right_after")) != {}:
        lines.append(f"right after itself {share(then['edit_success'])}")
    for score in HEADLINES:
        if not score.first and summary.score(score.name) is not None:
            lines.append(f"{score.label} {share(summary.score(score.name))}")
    return lines


def _worst_kind(summary: Summary) -> str:
    kinds = {kind: score for kind, score in summary.kinds("by_kind").items() if score["value"] is not None}
    if not kinds:
        return "-"
    worst = min(kinds, key=lambda kind: float(kinds[kind]["value"]))
    return f"{worst} {share(kinds[worst])}"


def _aligned(cells: Sequence[Sequence[str]], widest: Sequence[int], right: set[int]) -> list[str]:
    """The cells as columns two spaces apart, a rule under the first line; long cells wrap, none is cut."""
    wrapped = [
        [
            [part for text in cell.split("\n") for part in textwrap.wrap(text, width, break_on_hyphens=False) or [""]]
            for cell, width in zip(row, widest, strict=True)
        ]
        for row in cells
    ]
    widths = [max(len(part) for row in wrapped for part in row[column]) for column in range(len(widest))]
    lines = []
    for index, row in enumerate(wrapped):
        for level in range(max(len(parts) for parts in row)):
            texts = [parts[level] if level < len(parts) else "" for parts in row]
            padded = [
                text.rjust(width) if column in right else text.ljust(width)
                for column, (text, width) in enumerate(zip(texts, widths, strict=True))
            ]
            lines.append("  ".join(padded).rstrip())
        if index == 0:
            lines.append("  ".join("-" * width for width in widths))
    return lines
