"""draw_structures.py as a person calls it, and its pictures read back: every word, every fact, where lines run."""

import importlib
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from types import ModuleType

import pytest

from behemoth_data import Edge, Fact, Lexicon, World
from behemoth_data.lexicon import EDGE_ROLES, Role

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "tools"
NAMES = ["correlated", "independent", "nested"]
SVG = "{http://www.w3.org/2000/svg}"

Point = tuple[float, float]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(TOOLS)
    return importlib.import_module("draw_structures")


def process(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    # A seed of its own, so that no order of a set can hide in the pictures.
    return subprocess.run(
        [sys.executable, str(TOOLS / "draw_structures.py"), *words],
        cwd=folder,
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the script writes from another working directory."""
    folder = tmp_path_factory.mktemp("draw")
    done = process(["--output", "deep/pictures"], folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "deep/pictures holds independent.svg, correlated.svg, nested.svg\n"
    return folder / "deep" / "pictures"


class Read:
    """A picture read back from its file."""

    def __init__(self, path: Path) -> None:
        self.root = ElementTree.parse(path).getroot()
        self.groups = {group.get("id", ""): group for group in self.root.iter(f"{SVG}g")}
        self.words = [text.text for text in self.root.iter(f"{SVG}text")]
        self.boxes: dict[str, tuple[float, float, float, float]] = {}  # word -> left, top, right, bottom
        for name, group in self.groups.items():
            if name.startswith("box-"):
                points = corners(self.path(group))
                xs, ys = [x for x, _ in points], [y for _, y in points]
                self.boxes[name.removeprefix("box-")] = (min(xs), min(ys), max(xs), max(ys))
        self.facts = {name: self.path(group) for name, group in self.groups.items() if name.startswith("fact-")}

    @staticmethod
    def path(group: ElementTree.Element) -> ElementTree.Element:
        """What is seen of a group: its last path, which lies on top of the others."""
        return list(group.iter(f"{SVG}path"))[-1]


def corners(path: ElementTree.Element) -> list[Point]:
    """The points of a path's markup, those that only bend it included."""
    numbers = [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", path.get("d", ""))]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def curve(path: ElementTree.Element) -> list[Point]:
    """Points along a path of cubic curves, closer to each other than a box is high."""
    points = corners(path)
    found = []
    for i in range(0, len(points) - 1, 3):
        a, b, c, d = points[i : i + 4]
        for step in range(41):
            t = step / 40
            weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3)
            x, y = (sum(w * p[axis] for w, p in zip(weights, (a, b, c, d), strict=True)) for axis in (0, 1))
            found.append((x, y))
    return found


def facts(world: World) -> dict[str, Fact]:
    """Every fact of a world by the id of its line, asked for one by one."""
    config = world.config
    found = {}
    for relation in range(config.num_relations):
        for subject in range(config.num_subjects):
            object = int(world.objects(subject, relation))
            found[f"fact-subject_object-{subject}-{relation}-{object}"] = Fact(
                Edge.SUBJECT_OBJECT, subject, relation, object
            )
            if config.num_nested_objects:
                nested = int(world.nested(object, relation))
                found[f"fact-subject_nested-{subject}-{relation}-{nested}"] = Fact(
                    Edge.SUBJECT_NESTED, subject, relation, nested
                )
        for object in range(config.num_objects if config.num_nested_objects else 0):
            nested = int(world.nested(object, relation))
            found[f"fact-object_nested-{object}-{relation}-{nested}"] = Fact(
                Edge.OBJECT_NESTED, object, relation, nested
            )
    return found


def ends(world: World, fact: Fact) -> tuple[str, str]:
    """The words of a fact's head and tail."""
    lexicon, (head, _, tail) = Lexicon(world.config), EDGE_ROLES[fact.edge]
    return lexicon.word(head, fact.head, fact.relation), lexicon.word(tail, fact.tail, fact.relation)


def colour(path: ElementTree.Element) -> str:
    return re.findall(r"stroke: (#\w+)", path.get("style", ""))[0]


def is_dashed(path: ElementTree.Element) -> bool:
    return "stroke-dasharray" in path.get("style", "")


def test_folder_holds_three_pictures_and_nothing_else(drawn: Path) -> None:
    assert sorted(path.name for path in drawn.iterdir()) == [f"{name}.svg" for name in NAMES]


@pytest.mark.parametrize("name", NAMES)
def test_picture_is_small_and_says_what_it_shows_without_date_or_version(drawn: Path, name: str) -> None:
    path = drawn / f"{name}.svg"
    assert path.stat().st_size < 40_000
    read = Read(path)
    assert (read.root.tag, read.root.get("role"), read.root.get("width")) == (f"{SVG}svg", "img", "504pt")
    assert [child.tag for child in read.root][:2] == [f"{SVG}title", f"{SVG}desc"]
    assert read.root.findtext(f"{SVG}title") == name.capitalize()
    text = path.read_text(encoding="utf-8")
    assert "<metadata" not in text
    assert "atplotlib" not in text
    assert re.search(r"[ \t]$", text, flags=re.MULTILINE) is None


@pytest.mark.parametrize("name", NAMES)
def test_every_word_of_the_world_is_a_label_in_a_box_of_its_own(drawn: Path, script: ModuleType, name: str) -> None:
    config, read = script.WORLDS[name], Read(drawn / f"{name}.svg")
    assert config.structure == name
    lexicon = Lexicon(config)
    wanted = [lexicon.word(Role.SUBJECT, subject) for subject in range(config.num_subjects)]
    for relation in range(config.num_relations):
        wanted += [lexicon.word(Role.OBJECT, object, relation) for object in range(config.num_objects)]
        wanted += [lexicon.word(Role.NESTED, nested, relation) for nested in range(config.num_nested_objects)]
    assert sorted(read.boxes) == sorted(wanted)
    assert sorted(set(read.words) & set(wanted)) == sorted(wanted)
    for label in read.root.iter(f"{SVG}text"):
        if label.text in wanted:
            left, top, right, bottom = read.boxes[label.text]
            assert left + 25 < float(label.get("x", 0)) < right - 25  # half of seven letters of ten points
            assert top + 10 < float(label.get("y", 0)) < bottom - 4  # its baseline


@pytest.mark.parametrize("name", NAMES)
def test_boxes_stand_in_three_columns_and_do_not_touch(drawn: Path, name: str) -> None:
    boxes = Read(drawn / f"{name}.svg").boxes.values()
    assert len({(left, right) for left, _, right, _ in boxes}) == 3
    for one, other in combinations(boxes, 2):
        assert one[2] + 4 < other[0] or other[2] + 4 < one[0] or one[3] + 4 < other[1] or other[3] + 4 < one[1]


@pytest.mark.parametrize("name", NAMES)
def test_every_fact_is_a_line_from_its_head_to_its_tail(drawn: Path, script: ModuleType, name: str) -> None:
    world, read = World(script.WORLDS[name]), Read(drawn / f"{name}.svg")
    wanted = facts(world)
    # 8 subjects x 2 relations; with nesting 8 subjects twice and 4 objects once, in one relation
    assert len(wanted) == {"independent": 16, "correlated": 16, "nested": 20}[name]
    assert sorted(read.facts) == sorted(wanted)
    for id, fact in wanted.items():
        head, tail = (read.boxes[word] for word in ends(world, fact))
        (start_x, start_y), *_, (end_x, end_y) = corners(read.facts[id])
        assert (start_x, end_x) == (head[2], tail[0])
        assert head[1] < start_y < head[3]
        assert tail[1] < end_y < tail[3]


@pytest.mark.parametrize("name", NAMES)
def test_lines_keep_clear_of_boxes_and_of_each_other_beside_them(drawn: Path, name: str) -> None:
    read = Read(drawn / f"{name}.svg")
    for id, path in read.facts.items():
        for x, y in curve(path):
            for word, (left, top, right, bottom) in read.boxes.items():
                inside = left + 0.01 < x < right - 0.01 and top - 2 < y < bottom + 2
                assert not inside, f"{id} runs through {word}"
    _, middle, _ = sorted({(left + right) / 2 for left, _, right, _ in read.boxes.values()})
    starts, ends, passings = [], [], []
    for path in read.facts.values():
        start, *between, end = curve(path)
        starts.append(start)
        ends.append(end)
        if start[0] < middle < end[0]:
            passings.append((middle, min(between, key=lambda point: abs(point[0] - middle))[1]))
    assert len(passings) == 8
    for points in (starts, ends, passings):
        for (x, y), (other_x, other_y) in combinations(points, 2):
            assert x != other_x or abs(y - other_y) >= 4


@pytest.mark.parametrize("name", ["independent", "correlated"])
def test_each_relation_has_its_colour_and_column(drawn: Path, script: ModuleType, name: str) -> None:
    read = Read(drawn / f"{name}.svg")
    looks = {(fact.relation, colour(read.facts[id])) for id, fact in facts(World(script.WORLDS[name])).items()}
    assert looks == {(0, "#0072b2"), (1, "#d55e00")}
    lexicon = Lexicon(script.WORLDS[name])
    columns = []
    for relation in (0, 1):
        assert f"relation {relation}: {lexicon.word(Role.RELATION, relation)}" in read.words
        boxes = [read.boxes[lexicon.word(Role.OBJECT, object, relation)] for object in range(4)]
        assert len({box[0] for box in boxes}) == 1
        columns.append([(box[1], box[3]) for box in boxes])
    assert columns[0] == columns[1]  # objects of one number stand side by side
    assert columns[0] == sorted(columns[0])
    assert [word for word in read.words if word in ("0", "1", "2", "3")] == ["0", "1", "2", "3"] * 2


def test_pairs_of_two_numbers_are_dashed_in_the_correlated_picture_alone(drawn: Path, script: ModuleType) -> None:
    read, world = Read(drawn / "correlated.svg"), World(script.WORLDS["correlated"])
    differing = {s for s in range(8) if int(world.objects(s, 0)) != int(world.objects(s, 1))}
    assert len(differing) == 1
    dashed = {fact.head for id, fact in facts(world).items() if is_dashed(read.facts[id])}
    assert dashed == differing
    assert sum(map(is_dashed, read.facts.values())) == 2
    assert "7 of 8 subjects have objects of the same number in both relations." in read.words
    assert not any(map(is_dashed, Read(drawn / "independent.svg").facts.values()))


def test_independent_pairs_of_one_number_are_as_many_as_the_picture_says(drawn: Path, script: ModuleType) -> None:
    world = World(script.WORLDS["independent"])
    assert sum(int(world.objects(s, 0)) == int(world.objects(s, 1)) for s in range(8)) == 2
    said = "2 of 8 subjects have objects of the same number in both relations, by chance."
    assert said in Read(drawn / "independent.svg").words


def test_each_nested_table_has_its_colour_and_implied_facts_are_dashed(drawn: Path, script: ModuleType) -> None:
    read = Read(drawn / "nested.svg")
    looks = {
        (fact.edge.label, colour(read.facts[id]), is_dashed(read.facts[id]))
        for id, fact in facts(World(script.WORLDS["nested"])).items()
    }
    assert looks == {
        ("subject_object", "#0072b2", False),
        ("object_nested", "#009e73", False),
        ("subject_nested", "#d55e00", True),
    }
    assert {"subject_object", "object_nested", "subject_nested (implied)"} < set(read.words)


@pytest.mark.parametrize("name", NAMES)
def test_description_tells_every_fact(drawn: Path, script: ModuleType, name: str) -> None:
    world = World(script.WORLDS[name])
    description = Read(drawn / f"{name}.svg").root.findtext(f"{SVG}desc", "")
    told = [part.split(": ") for part in description.split(". ")[-1].removesuffix(".").split("; ")]
    pairs = {(head, tail.split(" ")[0]) for head, tails in told for tail in tails.split(", ")}
    assert pairs == {ends(world, fact) for fact in facts(world).values()}


@pytest.mark.parametrize("name", NAMES)
def test_every_object_has_a_subject(script: ModuleType, name: str) -> None:
    world = World(script.WORLDS[name])
    for relation in range(world.config.num_relations):
        assert {int(world.objects(subject, relation)) for subject in range(8)} == {0, 1, 2, 3}


@pytest.mark.parametrize("name", NAMES)
def test_committed_picture_is_what_the_script_draws(drawn: Path, name: str) -> None:
    (pinned,) = re.findall(r"^matplotlib==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    if version("matplotlib") != pinned:
        pytest.skip(f"matplotlib is {version('matplotlib')}, and the committed pictures were drawn with {pinned}")
    committed = (ROOT / "hub_cards" / "structures" / f"{name}.svg").read_bytes()
    assert (drawn / f"{name}.svg").read_bytes() == committed, (
        f"hub_cards/structures/{name}.svg is out of date: run python tools/draw_structures.py and look at it"
    )


def test_unknown_option_ends_with_status_2_and_one_line(
    script: ModuleType, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        script.main(["--outputs", "x"])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("draw_structures.py: error: ")
    assert "--outputs" in line
    assert list(tmp_path.iterdir()) == []


def test_failing_disk_leaves_the_old_picture_and_nothing_half_written(
    script: ModuleType, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "independent.svg").write_text("old", encoding="utf-8")

    def fail(self: Path, text: str, **options: str) -> None:
        self.write_bytes(text[:100].encode())
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(SystemExit) as ended:
        script.main(["--output", str(tmp_path)])
    assert ended.value.code == 1
    assert "No space left on device" in capsys.readouterr().err
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("independent.svg", b"old")]
