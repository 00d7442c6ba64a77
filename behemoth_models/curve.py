"""The picture of a training run: loss and recall against what the model has read. It reads no files."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

# Okabe and Ito's colours, which the colour-blind can tell apart.
_COLOURS = {"subject_object": "#0072B2", "subject_nested": "#D55E00", "object_nested": "#009E73"}


def draw_curve(report: Mapping[str, Any]) -> str:
    """The SVG of a report's curve, the same bytes for the same report: loss by step, recall by exposures."""
    import matplotlib
    from matplotlib.figure import Figure  # and not pyplot, which would change the caller's backend

    with matplotlib.rc_context({"svg.hashsalt": "behemoth", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(7.2, 2.8), layout="constrained")
        left, right = figure.subplots(1, 2)
        losses, curve = report["losses"], report["curve"]
        left.plot(range(1, len(losses) + 1), losses, color="#444444", linewidth=0.8)
        left.set(xlabel="step", ylabel="loss (nats per token)", ylim=(0, None))
        for edge in curve[-1]["recall"] if curve else ():
            exposures = [point["exposures"][edge] for point in curve]
            recall = [point["recall"][edge] for point in curve]
            right.plot(exposures, recall, marker="o", markersize=3, color=_COLOURS[edge], label=edge)
        right.set(xlabel="sentences per fact", ylabel="recall", xlim=(0, None), ylim=(-0.03, 1.03))
        if curve:
            right.legend(frameon=False)
        for axes in (left, right):
            axes.spines[["top", "right"]].set_visible(False)
        return svg_text(figure)


def svg_text(figure: Any) -> str:
    """The figure as SVG, without the time at which it was drawn."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()
