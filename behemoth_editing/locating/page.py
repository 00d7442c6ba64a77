"""The verdicts on localisers and on edits at the true place, as tables in Markdown and a figure. Runs no model."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib
import matplotlib.style
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from behemoth_editing.locating.localisers import LOCALISERS
from behemoth_editing.locating.placing import KEPT
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
_TITLES = {"success": "edit success", "paraphrase": "paraphrase success", **KEPT}
_COLUMNS = 4  # of the figure


def write_locate(begun: Sequence[Found], models: Sequence[Found], output: Path, note: str = "") -> str:
    """The folder holds the tables and the figure of what was read in these models; returns the tables.

    `begun` are the models that were told nothing late; `note` is said below the tables, such as time and machine.
    Raises: ValueError for models of fewer than 2 worlds, or worlds that were not read in the same layers.
    """
    seen, made = sights(models), edits(models)
    tables = [
        _known(begun, models),
        _seen(seen, models),
        _made(made),
        _by_layer(made, models),
        _chosen(models),
    ]
    text = "\n".join([*itertools.chain(*tables), note]).rstrip("\n") + "\n"
    put_file(output / PAGE, text.encode("utf-8"))
    put_file(output / FIGURE, figure(seen, made, layers_of_all(models)).encode("utf-8"))
    return text


def _table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A paragraph and a table below it."""
    return [title, "", markdown_row(head), markdown_row(["---"] * len(head)), *map(markdown_row, rows), ""]


def _known(begun: Sequence[Found], models: Sequence[Found]) -> list[str]:
    groups = {"late": "late", "early": "told from the start", "others": "of other relations"}
    copies = {layer: [one for one in models if one["layer"] == layer] for layer in layers_of_all(models)}
    rows = []
    for title, some in {"told nothing late": begun, **{f"layer {n}": of for n, of in copies.items()}}.items():
        recall = [f"{np.mean([one['recall'][key] for one in some]):.3f}" for key in groups]
        answers = [one["answer"]["late"] for one in some if "answer" in one]
        likely = [f"{value:.2f}" for value in np.mean(answers, axis=0)] if answers else ["-", "-"]
        rows.append([title, *recall, *likely])
    return _table(
        f"{len(models)} models of {len({one['model'] for one in models})} worlds. The share of facts that are answered "
        "rightly, by models that were told nothing late, and by their copies that were told the late facts into one "
        "layer. With its MLP put back, each copy is the first model again, whose row so says what is left then. Beside "
        "it the mean probability of late answers, and under the noise of causal tracing:",
        ["model", *groups.values(), "p(late)", "noised"],
        rows,
    )


def _seen(found: Sequence[Sight], models: Sequence[Found]) -> list[str]:
    layers = layers_of_all(models)
    numbers = _table(
        "Who sees the layer. *Layers*: the chance that the layer in which a late fact is has more of it than another "
        f"layer. *Named*: the share of late facts of which it has the most, {1 / len(layers):.2f} by chance. *Copies*: "
        "the chance that a layer has more of a fact that was told there than of the same fact in a copy that was told "
        "it elsewhere. By chance 0.50, also for who says the same of all models. The same of facts that were told from "
        "the start, for the layer of the late ones. 95% intervals of other worlds:",
        ["localiser", "layers", "named", "copies", *(f"{word}, other facts" for word in ("layers", "named", "copies"))],
        (
            [
                LOCALISERS[one.name].title,
                *map(interval_or_dash, (one.layers, one.named, one.copies)),
                *map(interval_or_dash, (one.early_layers, one.early_named, one.early_copies)),
            ]
            for one in found
        ),
    )
    return numbers + _table(
        "The first of these by the layer where the facts are:",
        ["localiser", *(f"layer {layer}" for layer in layers)],
        ([LOCALISERS[one.name].title, *(f"{value:.2f}" for value in one.by_layer)] for one in found),
    )


def _made(found: Sequence[Edits]) -> list[str]:
    return _table(
        "Edits of late facts. The same layers are edited in copies whose facts are there and in copies whose facts are "
        "elsewhere; the difference is taken layer by layer:",
        ["method", "measure", "facts are there", "facts are elsewhere", "difference"],
        (
            [
                f"`{one.method}`",
                _TITLES[one.measure],
                *map(interval_or_dash, (one.there, one.elsewhere, one.difference)),
            ]
            for one in found
        ),
    )


def _by_layer(found: Sequence[Edits], models: Sequence[Found]) -> list[str]:
    layers, rows = layers_of_all(models), []
    for one in found:
        if one.measure in ("success", "early"):
            elsewhere = [np.nanmean(np.delete(one.table[:, at], at)) for at in range(len(layers))]
            cells = [f"{one.table[at, at]:.2f} / {elsewhere[at]:.2f}" for at in range(len(layers))]
            rows.append([f"`{one.method}`", _TITLES[one.measure], *cells])
    return _table(
        "By the layer that is edited: where the facts are there, and behind the stroke where they are elsewhere:",
        ["method", "measure", *(f"layer {layer}" for layer in layers)],
        rows,
    )


def _chosen(models: Sequence[Found]) -> list[str]:
    methods = list(dict.fromkeys(row["method"] for row in models[0]["rows"]))
    by_method = {method: choices(models, method) for method in methods}
    rows = []
    for who in (TRUE, FIXED, *models[0]["said"]):
        pairs = [by_method[method].get(who, (None, None)) for method in methods]
        title = LOCALISERS[who].title if who in LOCALISERS else who
        rows.append([title, *(" / ".join(map(interval_or_dash, pair)) for pair in pairs)])
    return _table(
        "Edit success, and the share of all other known facts that are kept, at the layer that is chosen by knowing "
        "it, by its having been best in the other worlds, or by a localiser, which takes the layer that most late "
        "facts name:",
        ["chosen by", *(f"`{method}`" for method in methods)],
        rows,
    )


def figure(seen: Sequence[Sight], made: Sequence[Edits], layers: Sequence[int]) -> str:
    """An SVG file: of models told in each layer, which layers localisers name, and edits at which layers succeed."""
    panels: list[tuple[str, Floats]] = [(LOCALISERS[one.name].title, one.names) for one in seen]
    panels += [(f"edits by {one.method}", one.table) for one in made if one.measure == "success"]
    rows = -(-len(panels) // _COLUMNS)
    shades = LinearSegmentedColormap.from_list("shades", ["#f4f4f4", COLOURS[0]])
    with matplotlib.style.context(["default", STYLE]):
        drawn = Figure(figsize=(2.3 * _COLUMNS, 2.35 * rows), layout="constrained")
        grid = drawn.subplots(rows, _COLUMNS, squeeze=False, sharey=True).ravel()
        for axes, (title, table) in zip(grid, panels, strict=False):
            mesh = axes.pcolormesh(table, vmin=0, vmax=1, cmap=shades, rasterized=True)
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
