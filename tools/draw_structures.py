"""A picture of each structure: python tools/draw_structures.py --output hub_cards/structures.

Three small worlds, each drawn as a graph of all its words and facts: independent.svg, correlated.svg and
nested.svg. The same versions draw the same bytes. No file is read, and nothing is said of the published worlds,
which are larger.
"""

from __future__ import annotations

import dataclasses
import io
import itertools
import os
import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch, PathPatch, Rectangle
from matplotlib.path import Path as Curve
from matplotlib.patheffects import withStroke

from behemoth_cli.settings import Options, one_line_errors, parse, place
from behemoth_data import Edge, Fact, Lexicon, World, WorldConfig
from behemoth_data.lexicon import EDGE_ROLES, Role

# Under this seed every object has a subject in every picture, two of eight subjects have objects of the same number
# by chance, as expected of four objects, and seven of eight have them by correlation.
_SIZES: dict[str, Any] = {"num_subjects": 8, "num_relations": 2, "num_objects": 4, "seed": 104}
WORLDS = {
    "independent": WorldConfig(**_SIZES),
    "correlated": WorldConfig(**_SIZES, correlation=0.9),
    "nested": WorldConfig(**{**_SIZES, "num_relations": 1}, num_nested_objects=2),
}

# Okabe and Ito's palette for colour-blind readers.
_BLUE, _GREEN, _RED = "#0072B2", "#009E73", "#D55E00"
_INK, _GREY, _PALE = "#222222", "#5F5F5F", "#EEEEEE"
_DASHES = (0, (4, 2.5))
# A line that crosses another one is cut out of it, without gaps where it is dashed.
_HALO = withStroke(linewidth=4, foreground="white", dashes={"dash_offset": 0, "dash_list": None})
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "behemoth",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # a reader without it gets another sans-serif, and most are narrower
    "font.size": 10,
    "text.color": _INK,
    "legend.frameon": False,
    "legend.borderpad": 0,
    "legend.borderaxespad": 0,
    "legend.handlelength": 2.6,
    "legend.columnspacing": 2.4,
}

# Lengths are points, and y grows downwards.
_WIDTH = 504  # 672 pixels of a browser
_COLUMNS = (57, 250, 443)  # centres
_TOP, _BOTTOM = 76, 316  # where columns begin and end
_BOX_WIDTH, _BOX_HEIGHT = 86, 21
_STEP = 4.5  # from line to line where they meet a box or pass between two boxes
_LEGEND_ROW = 16

Point = tuple[float, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DrawArguments:
    """Where the pictures go."""

    output: str = place("hub_cards/structures", "folder to write independent.svg, correlated.svg and nested.svg into")


@dataclasses.dataclass(frozen=True)
class Box:
    """A word at its place, with the number of the object that it stands for if numbers matter."""

    column: int
    y: float
    word: str
    number: int | None = None
    height: float = _BOX_HEIGHT


@dataclasses.dataclass(frozen=True)
class Line:
    """A fact on its way from head to tail."""

    fact: Fact
    head: Box
    tail: Box
    colour: str
    dashed: bool = False


@dataclasses.dataclass(frozen=True)
class Picture:
    """What is drawn of one world."""

    title: str
    sentence: str
    headings: tuple[str, str, str]
    boxes: list[Box]
    lines: list[Line]
    legend: list[tuple[str, str, bool]]  # text, colour, dashed


def main(argv: Sequence[str] | None = None) -> None:
    """Draws the three worlds and prints one line that says what is where.

    Raises: SystemExit with status 2 for an unknown option, 1 for a disk that fails, after one line on standard
    error; no picture is left half-written.
    """
    options = Options({"": DrawArguments}, prog="draw_structures.py", description=__doc__, usage="[--option value ...]")
    (arguments,) = parse(options, argv, recipe={})
    with one_line_errors(options.prog):
        folder = Path(arguments.output)
        folder.mkdir(parents=True, exist_ok=True)
        for name, config in WORLDS.items():
            _write(folder / f"{name}.svg", svg(picture(World(config))))
    print(f"{folder} holds {', '.join(f'{name}.svg' for name in WORLDS)}")


def picture(world: World) -> Picture:
    """All words and facts of a small world, at their places."""
    return _nested(world) if world.config.num_nested_objects else _two_relations(world)


def svg(plan: Picture) -> str:
    """The picture as a file in which each fact is a group with an id such as fact-subject_object-7-0-3."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.style.context(["default", _STYLE]):
        draw(plan).savefig(buffer, format="svg", metadata=nothing)
    described = f"<title>{escape(plan.title)}</title>\n <desc>{escape(_description(plan))}</desc>\n <defs>"
    text = buffer.getvalue().replace("<svg ", '<svg role="img" ', 1).replace("<defs>", described, 1)
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def draw(plan: Picture) -> Figure:
    """The picture as a figure."""
    columns = 3 if len(plan.legend) == 3 else 2
    height = _BOTTOM + 24 + _LEGEND_ROW * -(-len(plan.legend) // columns)
    figure = Figure(figsize=(_WIDTH / 72, height / 72), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, _WIDTH), ylim=(height, 0))
    axes.set_axis_off()
    left = _COLUMNS[0] - _BOX_WIDTH / 2
    axes.text(left, 22, plan.title, fontsize=13, weight="bold")
    axes.text(left, 39, plan.sentence)
    for x, heading in zip(_COLUMNS, plan.headings, strict=True):
        axes.text(x, 66, heading, ha="center", color=_GREY)
    for box in plan.boxes:
        if box.column == 1 and box.number is not None:  # a band joins objects of the same number
            start = (_COLUMNS[1], box.y - _BOX_HEIGHT / 2)
            axes.add_patch(Rectangle(start, _COLUMNS[2] - _COLUMNS[1], _BOX_HEIGHT, color=_PALE, linewidth=0))
    for line, points in zip(plan.lines, _routes(plan), strict=True):
        _draw_line(axes, line, points)
    for box in plan.boxes:
        _draw_box(axes, box)
    handles = [
        Line2D([], [], color=colour, linewidth=2, linestyle=_DASHES if dashed else "-", label=text)
        for text, colour, dashed in plan.legend
    ]
    corner = (left / _WIDTH, 1 - (_BOTTOM + 16) / height)
    figure.legend(handles=handles, loc="upper left", bbox_to_anchor=corner, ncols=columns)
    return figure


def _write(path: Path, text: str) -> None:
    """The file holds all of the text, or what it held before."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8", newline="\n")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _two_relations(world: World) -> Picture:
    """Subjects, the objects of relation 0 and those of relation 1; objects of one number stand side by side."""
    config, lexicon = world.config, Lexicon(world.config)
    objects = {s: (int(world.objects(s, 0)), int(world.objects(s, 1))) for s in range(config.num_subjects)}
    same = sum(first == second for first, second in objects.values())
    by_object = sorted(objects, key=objects.__getitem__)  # so that fewer lines cross
    heads = _column(lexicon, 0, Role.SUBJECT, by_object)
    tails = [_column(lexicon, 1 + r, Role.OBJECT, range(config.num_objects), group=r, numbered=True) for r in (0, 1)]
    colours, correlated = (_BLUE, _RED), config.correlation is not None
    lines = []
    for fact in _facts(world, Edge.SUBJECT_OBJECT):
        dashed = correlated and len(set(objects[fact.head])) == 2
        lines.append(Line(fact, heads[fact.head], tails[fact.relation][fact.tail], colours[fact.relation], dashed))
    sentence = f"{same} of {config.num_subjects} subjects have objects of the same number in both relations"
    legend = [(f"relation {r}: {lexicon.word(Role.RELATION, r)}", colours[r], False) for r in (0, 1)]
    if correlated:
        legend += [("the same number in both relations", _GREY, False), ("different numbers", _GREY, True)]
    return Picture(
        "Correlated" if correlated else "Independent",
        sentence + ("." if correlated else ", by chance."),
        ("subjects", "objects of relation 0", "objects of relation 1"),
        [*heads.values(), *tails[0].values(), *tails[1].values()],
        lines,
        legend,
    )


def _nested(world: World) -> Picture:
    """Subjects, the objects of relation 0, and the nested objects that these belong to."""
    config, lexicon = world.config, Lexicon(world.config)
    objects = sorted(range(config.num_objects), key=lambda o: int(world.nested(o, 0)))
    subjects = sorted(range(config.num_subjects), key=lambda s: objects.index(int(world.objects(s, 0))))
    columns = {
        Role.SUBJECT: _column(lexicon, 0, Role.SUBJECT, subjects),
        Role.OBJECT: _column(lexicon, 1, Role.OBJECT, objects),
        # Twice as high as other boxes, since more lines end there.
        Role.NESTED: _column(lexicon, 2, Role.NESTED, range(config.num_nested_objects), height=2 * _BOX_HEIGHT),
    }
    looks = {
        Edge.SUBJECT_OBJECT: (_BLUE, False),
        Edge.OBJECT_NESTED: (_GREEN, False),
        Edge.SUBJECT_NESTED: (_RED, True),
    }
    lines = []
    for edge, look in looks.items():
        head, _, tail = EDGE_ROLES[edge]
        lines += [Line(fact, columns[head][fact.head], columns[tail][fact.tail], *look) for fact in _facts(world, edge)]
    return Picture(
        "Nested",
        "An object belongs to a nested object, and so do the subjects that have it.",
        ("subjects", "objects", "nested objects"),
        [box for column in columns.values() for box in column.values()],
        lines,
        [(edge.label + (" (implied)" if dashed else ""), colour, dashed) for edge, (colour, dashed) in looks.items()],
    )


def _facts(world: World, edge: Edge) -> list[Fact]:
    return [Fact(edge, *ids) for ids in zip(*(ids.tolist() for ids in world.facts(edge)), strict=True)]


def _column(
    lexicon: Lexicon,
    column: int,
    role: Role,
    ids: Sequence[int],
    *,
    group: int = 0,
    numbered: bool = False,
    height: float = _BOX_HEIGHT,
) -> dict[int, Box]:
    """A box for each id, from top to bottom in the order given."""
    step = (_BOTTOM - _TOP) / len(ids)
    return {
        id: Box(
            column,
            _TOP + step * (place + 0.5),
            lexicon.word(role, id, group),
            id if numbered else None,
            height,
        )
        for place, id in enumerate(ids)
    }


def _description(plan: Picture) -> str:
    """What the picture shows, for those who do not see it."""
    tails: dict[str, list[str]] = {}
    for line in plan.lines:
        tail = line.tail
        tails.setdefault(line.head.word, []).append(
            tail.word if tail.number is None else f"{tail.word} ({tail.number})"
        )
    facts = "; ".join(f"{head}: {', '.join(words)}" for head, words in tails.items())
    return f"{plan.sentence} A graph of {', '.join(plan.headings)}, with a line for each fact. {facts}."


def _routes(plan: Picture) -> list[list[Point]]:
    """The points that each line goes through: its two ends, and two more where it passes the middle column."""
    lanes = _lanes(plan)
    starts = _ports([(line.head, lanes.get(line, line.tail.y)) for line in plan.lines])
    ends = _ports([(line.tail, lanes.get(line, line.head.y)) for line in plan.lines])
    half = _BOX_WIDTH / 2
    routes = []
    for line, start, end in zip(plan.lines, starts, ends, strict=True):
        passing = [(_COLUMNS[1] - half, lanes[line]), (_COLUMNS[1] + half, lanes[line])] if line in lanes else []
        routes.append([(_COLUMNS[line.head.column] + half, start), *passing, (_COLUMNS[line.tail.column] - half, end)])
    return routes


def _lanes(plan: Picture) -> dict[Line, float]:
    """The heights at which lines pass the middle column: side by side in the gap that is least out of their way."""
    middle = sorted(box.y for box in plan.boxes if box.column == 1)
    half = (middle[1] - middle[0]) / 2
    lines_in: dict[float, list[Line]] = {gap: [] for gap in (middle[0] - half, *(y + half for y in middle))}
    for line in plan.lines:
        if line.tail.column - line.head.column == 2:
            straight = (line.head.y + line.tail.y) / 2
            lines_in[min(lines_in, key=lambda gap: abs(gap - straight))].append(line)
    lanes: dict[Line, float] = {}
    for gap, lines in lines_in.items():
        lines.sort(key=lambda line: (line.tail.y, line.head.y))
        lanes |= {line: gap + offset for line, offset in zip(lines, _spread(len(lines)), strict=True)}
    return lanes


def _ports(ends: Sequence[tuple[Box, float]]) -> list[float]:
    """The heights at which lines meet their boxes, in the order of the heights on their other side."""
    heights = [0.0] * len(ends)
    for box in {box for box, _ in ends}:
        here = sorted((i for i, (other, _) in enumerate(ends) if other == box), key=lambda i: ends[i][1])
        for i, offset in zip(here, _spread(len(here)), strict=True):
            heights[i] = box.y + offset
    return heights


def _spread(count: int) -> list[float]:
    """The distances of so many neighbouring lines from the middle one."""
    return [_STEP * (i - (count - 1) / 2) for i in range(count)]


def _draw_line(axes: Axes, line: Line, points: Sequence[Point]) -> None:
    """A curve that is level wherever it meets a box or passes one."""
    vertices, codes = [points[0]], [Curve.MOVETO]
    for (x, y), (next_x, next_y) in itertools.pairwise(points):
        bend = (x + next_x) / 2
        vertices += [(bend, y), (bend, next_y), (next_x, next_y)]
        codes += [Curve.CURVE4] * 3
    fact = line.fact
    axes.add_patch(
        PathPatch(
            Curve(vertices, codes),
            facecolor="none",
            edgecolor=line.colour,
            linewidth=1.8,
            linestyle=_DASHES if line.dashed else "-",
            path_effects=[_HALO],
            gid=f"fact-{fact.edge.label}-{fact.head}-{fact.relation}-{fact.tail}",
        )
    )


def _draw_box(axes: Axes, box: Box) -> None:
    x, left = _COLUMNS[box.column], _COLUMNS[box.column] - _BOX_WIDTH / 2
    axes.add_patch(
        FancyBboxPatch(
            (left, box.y - box.height / 2),
            _BOX_WIDTH,
            box.height,
            boxstyle="round,pad=0,rounding_size=5",
            facecolor="white",
            edgecolor=_GREY,
            linewidth=1,
            gid=f"box-{box.word}",
        )
    )
    baseline = box.y + 3.6
    if box.number is None:
        axes.text(x, baseline, box.word, ha="center")
    else:
        axes.text(left + 11, baseline, str(box.number), ha="center", weight="bold")
        axes.text(x + 7, baseline, box.word, ha="center")


if __name__ == "__main__":
    main(sys.argv[1:])
