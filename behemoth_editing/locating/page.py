"""The verdicts on localisers and on edits at the true place, as tables in Markdown and a figure. Runs no model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import matplotlib.style
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from behemoth_editing.locating.localisers import LOCALISERS
from behemoth_editing.locating.verdicts import (
    FIXED,
    TRUE,
    Edits,
    Floats,
    Found,
    Sight,
    choices,
    edits,
    layers_of_all,
    sights,
)
from behemoth_editing.report.style import COLOURS, STYLE, as_svg, standalone
from behemoth_editing.report.text import interval_or_dash, markdown_row
from behemoth_editing.sweep.rows import put_file

PAGE, FIGURE = "locate.md", "locate.svg"
_TITLES = {
    "success": "edit success",
    "paraphrase": "paraphrase success",
    "collateral": "collateral accuracy",
}
_COLUMNS = 4  # of the figure


def write_locate(begun: Sequence[Found], models: Sequence[Found], output: Path, note: str = "") -> str:
    """The folder holds the tables and the figure of what was read in these models; returns the tables.

    `begun` are the models that were told nothing late; `note` is said below the tables, such as time and machine.
    Raises: ValueError for models of fewer than 2 worlds, or worlds that were not read in the same layers.
    """
    seen, made = sights(models), edits(models)
    lines = [
        *_known(begun, models),
        *_seen(seen, models),
        *_made(made),
        *_by_layer(made, models),
        *_chosen(models),
        note,
    ]
    text = "\n".join(lines).rstrip("\n") + "\n"
    put_file(output / PAGE, text.encode("utf-8"))
    put_file(output / FIGURE, figure(seen, made, layers_of_all(models)).encode("utf-8"))
    return text


def _known(begun: Sequence[Found], models: Sequence[Found]) -> list[str]:
    layers = layers_of_all(models)
    groups = {"late": "late", "early": "told from the start", "others": "of other relations"}
    lines = [
        f"{len(models)} models of {len({one['model'] for one in models})} worlds. The share of facts that are answered "
        "rightly, by models that were told nothing late, and by copies that were told the late facts into one layer. "
        "All weights but those of that layer's MLP are the first model's, bit by bit: with its MLP put back, each of "
        "the copies is the first model again, whose row so says what is left then:",
        "",
        markdown_row(["model", *groups.values()]),
        markdown_row(["---"] * (1 + len(groups))),
        markdown_row(
            ["told nothing late", *(f"{np.mean([one['recall'][key] for one in begun]):.3f}" for key in groups)]
        ),
    ]
    for layer in layers:
        shares = [f"{np.mean([one['recall'][key] for one in models if one['layer'] == layer]):.3f}" for key in groups]
        lines.append(markdown_row([f"layer {layer}", *shares]))
    return [*lines, ""]


def _seen(found: Sequence[Sight], models: Sequence[Found]) -> list[str]:
    count = len(layers_of_all(models))
    lines = [
        "Who sees the layer. AUC: the chance that the layer in which a late fact is has more than another one (0.5 for "
        "who says the same of all models); the share of late facts of which that layer has the most (by chance "
        f"{1 / count:.2f}); AUC of what is said beyond the mean over facts that were told from the start; and AUC of "
        "those facts themselves for the same layer, by which one sees who notices the changed layer rather than the "
        "facts. 95% intervals of other worlds:",
        "",
        markdown_row(["localiser", "AUC", "named", "AUC beside other facts", "AUC of other facts"]),
        markdown_row(["---"] * 5),
    ]
    for one in found:
        numbers = map(interval_or_dash, (one.late, one.named, one.beside, one.early))
        lines.append(markdown_row([LOCALISERS[one.name].title, *numbers]))
    return [*lines, ""]


def _made(found: Sequence[Edits]) -> list[str]:
    lines = [
        "Edits of late facts. The same layers are edited in models whose facts are there and in models whose facts are "
        "elsewhere; the difference is taken layer by layer:",
        "",
        markdown_row(["method", "measure", "facts are there", "facts are elsewhere", "difference"]),
        markdown_row(["---"] * 5),
    ]
    for one in found:
        numbers = map(interval_or_dash, (one.true, one.elsewhere, one.difference))
        lines.append(markdown_row([f"`{one.method}`", _TITLES[one.measure], *numbers]))
    return [*lines, ""]


def _by_layer(found: Sequence[Edits], models: Sequence[Found]) -> list[str]:
    layers = layers_of_all(models)
    lines = [
        "Edit success and collateral accuracy by the layer that is edited, the mean over all models, wherever in them "
        "the facts are:",
        "",
        markdown_row(["method", *(f"layer {layer}" for layer in layers)]),
        markdown_row(["---"] * (1 + len(layers))),
    ]
    tables = {(one.method, one.measure): one.layers.mean(axis=0) for one in found}
    for method in dict.fromkeys(one.method for one in found):
        pair = [tables.get((method, measure)) for measure in ("success", "collateral")]
        cells = [" / ".join("-" if one is None else f"{one[at]:.2f}" for one in pair) for at in range(len(layers))]
        lines.append(markdown_row([f"`{method}`", *cells]))
    return [*lines, ""]


def _chosen(models: Sequence[Found]) -> list[str]:
    methods = list(dict.fromkeys(row["method"] for row in models[0]["rows"]))
    by_method = {method: choices(models, method) for method in methods}
    lines = [
        "Edit success and collateral accuracy at the layer that is chosen by knowing it, by its having been best in "
        "the other worlds, or by the localiser, which takes the layer that most late facts name:",
        "",
        markdown_row(["chosen by", *(f"`{method}`" for method in methods)]),
        markdown_row(["---"] * (1 + len(methods))),
    ]
    for who in (TRUE, FIXED, *models[0]["said"]):
        cells = []
        for method in methods:
            found = by_method[method].get(who, {})
            pair = [interval_or_dash(found.get(measure)) for measure in ("success", "collateral")]
            cells.append(" / ".join(pair))
        lines.append(markdown_row([LOCALISERS[who].title if who in LOCALISERS else who, *cells]))
    return [*lines, ""]


def figure(seen: Sequence[Sight], made: Sequence[Edits], layers: Sequence[int]) -> str:
    """An SVG file: of models told in each layer, which layers localisers name, and edits at which layers succeed."""
    panels: list[tuple[str, Floats]] = [(LOCALISERS[one.name].title, one.layers) for one in seen]
    panels += [(f"edits by {one.method}", one.layers) for one in made if one.measure == "success"]
    rows = -(-len(panels) // _COLUMNS)
    shades = LinearSegmentedColormap.from_list("shades", ["#f4f4f4", COLOURS[0]])
    with matplotlib.style.context(["default", STYLE]):
        drawn = Figure(figsize=(2.3 * _COLUMNS, 2.35 * rows), layout="constrained")
        grid = drawn.subplots(rows, _COLUMNS, squeeze=False, sharex=True, sharey=True).ravel()
        for axes, (title, table) in zip(grid, panels, strict=False):
            mesh = axes.pcolormesh(table, vmin=0, vmax=1, cmap=shades, edgecolors="none")
            axes.set_title(title.replace(", ", ",\n"), fontsize=8)
            for place in range(len(layers)):
                axes.plot(place + 0.5, place + 0.5, marker=".", markersize=3, color=COLOURS[4])
        for axes in grid:
            axes.set_aspect("equal")
            axes.set_xticks(np.arange(len(layers)) + 0.5, [str(layer) for layer in layers])
            axes.set_yticks(np.arange(len(layers)) + 0.5, [str(layer) for layer in layers])
            axes.grid(visible=False)
        for axes in grid[len(panels) :]:
            axes.set_visible(False)
        drawn.supxlabel("layer that is named, or edited", fontsize=9)
        drawn.supylabel("layer where the facts are", fontsize=9)
        drawn.colorbar(mesh, ax=list(grid), label="share of facts", fraction=0.02)
        words = [f"{title}: {np.mean(np.diag(table)):.2f} on the diagonal" for title, table in panels]
        svg = as_svg(drawn, "locate", f"Layers named and edited, by the layer where the facts are. {'; '.join(words)}.")
    return standalone(svg)
