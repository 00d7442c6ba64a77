"""Facts about the picture of a training run, read from its XML."""

import copy
import itertools
import re
from xml.etree import ElementTree

import pytest

from behemoth_models.curve import draw_curve

EDGES = ["subject_object", "subject_nested", "object_nested"]
SVG = "{http://www.w3.org/2000/svg}"


def report(edges, num_points=4):
    return {
        "losses": [4.0, 3.0, 2.5, 2.0, 1.5, 1.0],
        "curve": [
            {
                "step": 2 * (point + 1),
                "loss": 3.0 - point,
                "recall": {edge: 0.2 * (point + 1) - 0.1 * place for place, edge in enumerate(edges)},
                "exposures": dict.fromkeys(edges, 1.5 * (point + 1)),
                "seconds": 1.0,
            }
            for point in range(num_points)
        ],
    }


def drawn(picture):
    """The points of every line of the axes' data, by its colour; lines of one colour and length are legends."""
    lines = {}
    for group in ElementTree.fromstring(picture).iter(f"{SVG}g"):
        if not re.fullmatch(r"line2d_\d+", group.get("id", "")):
            continue
        for path in group.findall(f"{SVG}path"):
            colour = re.search(r"stroke: (#\w+)", path.get("style", ""))
            if colour and "fill: none" in path.get("style"):
                points = re.findall(r"[ML] (\S+) (\S+)", path.get("d"))
                lines.setdefault(colour[1], []).append([(float(x), float(y)) for x, y in points])
    return lines


def texts(picture):
    return ["".join(text.itertext()).strip() for text in ElementTree.fromstring(picture).iter(f"{SVG}text")]


@pytest.mark.parametrize("edges", [EDGES[:1], EDGES])
def test_picture_has_one_line_and_one_label_per_edge(edges):
    picture = draw_curve(report(edges))
    found = [label for label in texts(picture) if label in EDGES]
    assert found == edges
    coloured = {colour: lines for colour, lines in drawn(picture).items() if colour not in ("#444444", "#000000")}
    assert len(coloured) == len(edges)
    for lines in coloured.values():
        wide = [line for line in lines if line[-1][0] - line[0][0] > 50]  # that of the legend is short
        assert list(map(len, wide)) == [4]  # measurements


def test_lines_rise_where_recall_does_and_end_where_it_ends():
    lines = drawn(draw_curve(report(EDGES)))
    coloured = [
        max(lines[colour], key=lambda line: line[-1][0] - line[0][0])
        for colour in lines
        if colour not in ("#444444", "#000000")
    ]
    for line in coloured:
        assert [x for x, _ in line] == sorted(x for x, _ in line)
        assert len({round(b[0] - a[0], 2) for a, b in itertools.pairwise(line)}) == 1  # even exposures
        assert line[0][1] > line[-1][1]  # upwards is less
        rises = [a[1] - b[1] for a, b in itertools.pairwise(line)]
        assert rises == pytest.approx([rises[0]] * 3, abs=1e-3)  # by a fifth at each measurement
    ends = [line[-1][1] for line in coloured]  # recall 0.8, 0.7 and 0.6
    assert ends[0] < ends[1] < ends[2]
    assert ends[1] - ends[0] == pytest.approx(ends[2] - ends[1], abs=1e-3)


def test_loss_has_a_point_for_every_step():
    (line,) = drawn(draw_curve(report(EDGES)))["#444444"]
    assert len(line) == 6
    drops = [b[1] - a[1] for a, b in itertools.pairwise(line)]  # losses fall by 1, 0.5, 0.5, 0.5, 0.5
    assert drops == pytest.approx([drops[0]] + [drops[0] / 2] * 4, rel=1e-3)


def test_axes_say_what_they_show():
    found = texts(draw_curve(report(EDGES)))
    for label in ("step", "loss (nats per token)", "sentences per fact", "recall"):
        assert label in found


def test_same_report_gives_the_same_bytes_and_another_others():
    given = report(EDGES)
    kept = copy.deepcopy(given)
    first = draw_curve(given)
    assert draw_curve(given) == first
    assert given == kept
    given["curve"][1]["recall"]["subject_object"] += 0.05
    assert draw_curve(given) != first


def test_run_without_a_measurement_has_a_picture_too():
    picture = draw_curve(report(EDGES, num_points=0))
    assert not set(texts(picture)) & set(EDGES)
    assert len(drawn(picture)["#444444"]) == 1


def test_no_figure_stays_open_and_no_setting_changes():
    from matplotlib import pyplot

    size, hashsalt = pyplot.rcParams["font.size"], pyplot.rcParams["svg.hashsalt"]
    draw_curve(report(EDGES))
    assert pyplot.get_fignums() == []
    assert (pyplot.rcParams["font.size"], pyplot.rcParams["svg.hashsalt"]) == (size, hashsalt)


def test_picture_names_no_day_and_no_maker():
    assert not re.search(r"<dc:date>|matplotlib\.org|20\d\d-\d\d-\d\d", draw_curve(report(EDGES)))
