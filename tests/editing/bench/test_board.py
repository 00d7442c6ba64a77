"""Facts about which cells a bench still needs, and the lines that come of those that it has."""

import dataclasses
import importlib
import json
import math

import pytest

from behemoth_data.edits import EditConfig
from behemoth_editing import METHODS, Rome
from behemoth_editing.bench import page
from behemoth_editing.bench.board import (
    board,
    entry_of,
    key_in,
    key_of,
    known_rows,
    line_of,
    method_key,
    next_draws,
    stages_for,
)
from behemoth_editing.bench.floors import FLOORS, Nothing
from behemoth_editing.bench.page import board_markdown, board_text, write_board
from behemoth_editing.bench.tracks import TRACKS
from behemoth_editing.sweep.plain import plain

ONE, TEN, MANY = (
    EditConfig(scenario="single", num_edits=10),
    *(EditConfig(scenario="sequence", num_edits=count, edits_per_step=count) for count in (10, 30)),
)
BATCH = dataclasses.replace(TRACKS["batch"], stages=((ONE,), (TEN,), (MANY,)))


def row(method, draw, made=10, model="a", **fields):
    """A row of ten edits, so many of them made."""
    units = [
        {
            "edit": 0,
            "change": {"edited": [made, 10]},
            "keep": {"same_relation": [40, 40, 40, 40]},
            "ripple": {},
        }
    ]
    name, settings, edits = method.name, plain(method), plain(dataclasses.asdict(draw))
    return {
        "cell": json.dumps([name, settings, edits, model]),
        "method": name,
        "settings": settings,
        "edits": edits,
        "scenario": draw.scenario,
        "num_edits": draw.num_edits,
        "seed": 0,
        "model": model,
        "weights": {"before": model},
        "units": units,
        "scores": {},
        "looks": [],
        "seconds": {"edit": 1.0, "shared": 0.0, "needed": 0.0},
        "versions": {"behemoth": "0"},
        "device": "cpu",
        "started": "2026-11-27T23:17:12+00:00",
        "error": None,
        **fields,
    }


def coming(method, *rows, model="a"):
    return next_draws(BATCH, method, model, method_key(method), known_rows(rows))


def test_a_rows_key_is_that_of_its_cell():
    assert key_in(row(Rome(layer=2), TEN)) == key_of("a", Rome(layer=2), TEN) != key_of("a", Rome(layer=3), TEN)


def test_a_stage_is_made_of_models_that_the_one_before_did_not_break():
    held, broke = row(Rome(), ONE), row(Rome(), ONE, made=9)
    assert coming(Rome()) == [ONE]
    assert coming(Rome(), held) == [TEN]
    assert coming(Rome(), held, row(Rome(), TEN)) == [MANY]
    assert coming(Rome(), broke) == []
    assert coming(Rome(), broke, model="b") == [ONE]
    assert coming(Rome(layer=1), held) == [ONE]


def test_doing_nothing_makes_every_stage_since_it_stands_for_cells_that_fail():
    assert coming(Nothing(), row(Nothing(), ONE, made=0)) == [TEN]


def test_doing_nothing_that_failed_stands_for_no_other_cell():
    failed = [row(method, ONE, units=None, scores=None, error="OSError: gone") for method in (Nothing(), Rome())]
    assert known_rows(failed) == {}
    assert board(failed, {"hard": ["a"]}, [BATCH]) == []


def test_a_method_whose_class_is_gone_keeps_its_line():
    rows = [{**row(Rome(), ONE, made=0), "method": "mine"}]
    assert [entry.method for entry in board(rows, {"hard": ["a"]}, [BATCH])] == ["mine"]


def test_a_cell_that_failed_took_no_time_worth_a_comparison():
    cost = dataclasses.replace(TRACKS["cost"], stages=((TEN,),))
    rows = [row(Nothing(), TEN), row(Rome(), TEN, units=None, scores=None, error="ValueError: no")]
    assert [entry.method for entry in board(rows, {"hard": ["a"]}, [cost])] == ["nothing"]


def test_a_cell_that_failed_counts_as_a_model_that_was_left_as_it_was():
    failed = row(Rome(), ONE, units=None, scores=None, seconds=None, error="ValueError: no")
    assert coming(Rome(), failed) == [ONE]  # until it is known what that is
    rows = [row(Nothing(), draw, made=0) for draw in (ONE, TEN, MANY)] + [failed]
    assert coming(Rome(), *rows) == []
    (nothing, rome) = board(rows, {"hard": ["a"]}, [BATCH])
    assert rome.number.value == nothing.number.value < 1
    assert (nothing.failed, rome.failed) == (0, 1)


@pytest.mark.parametrize(
    ("name", "draws"),
    [("rome", [ONE, TEN, MANY]), ("nothing", [ONE, TEN, MANY]), ("retrain", [TEN, MANY]), ("npo", [])],
)
def test_who_trains_anew_makes_draws_of_one_set_and_who_forgets_has_no_part_in_edits(name, draws):
    stages = stages_for(BATCH, {**METHODS, **FLOORS}[name])
    assert [draw for stage in stages for draw in stage] == draws


def test_a_line_is_there_once_all_models_of_its_level_are_through():
    rows = [row(Rome(), ONE), row(Rome(), TEN, made=0), row(Rome(), ONE, made=0, model="b")]
    levels = {"easy": ["a"], "hard": ["a", "b"], "other": ["c"]}
    assert [(entry.level, entry.number.models) for entry in board(rows[:2], levels, [BATCH])] == [("easy", 1)]
    assert [(entry.level, entry.number.models) for entry in board(rows, levels, [BATCH])] == [("easy", 1), ("hard", 2)]


def test_a_method_has_its_bare_name_with_the_settings_of_a_level_and_is_told_by_others():
    rows = [row(Rome(layer=layer), ONE, made=0, model=model) for layer in (1, 2, 3) for model in "ab"]
    entries = board(rows, {"easy": ["a"], "hard": ["b"]}, [BATCH], tuned={"hard": {"rome": Rome(layer=1)}})
    assert [(entry.level, entry.method, entry.settings["layer"]) for entry in entries] == [
        ("easy", "rome (layer=1)", 1),
        ("easy", "rome (layer=2)", 2),
        ("easy", "rome", 3),
        ("hard", "rome", 1),
        ("hard", "rome (layer=2)", 2),
        ("hard", "rome, untuned", 3),
    ]


def test_no_line_has_a_path_of_this_machine():
    settings = {**plain(Rome()), "cache": "/home/alice/x"}
    rows = [{**row(Rome(), ONE, made=0), "method": "mine", "settings": settings, "model": "/home/alice/runs/a"}]
    (entry,) = board(rows, {"hard": ["a"]}, [BATCH])
    assert entry.settings["cache"] == "x"


def test_a_line_of_a_figure_goes_on_where_a_model_broke(monkeypatch):
    monkeypatch.setattr(page, "TRACKS", {"batch": BATCH})
    rows = [row(Rome(), ONE, made=made, model=model) for model, made in (("a", 10), ("b", 5))]
    (said, _) = page.curves([*rows, row(Rome(), TEN)], {"hard": ["a", "b"]})["batch-hard"]
    assert "rome: 0.75 at 1, 0.75 at 10" in said  # and not 1.00 at 10, of the one that is left


def test_figures_call_a_method_as_tables_do(monkeypatch):
    monkeypatch.setattr(page, "TRACKS", {"batch": BATCH})
    rows = [row(Rome(layer=layer), ONE, made=0, model="b") for layer in (1, 3)]
    (said, _) = page.curves(rows, {"hard": ["b"]}, {"hard": {"rome": Rome(layer=1)}})["batch-hard"]
    assert "rome: 0.00 at 1; rome, untuned: 0.00 at 1" in said


def test_files_have_every_line_and_the_page_every_table(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "TRACKS", {"batch": BATCH})
    rows = [row(Nothing(), draw, made=0) for draw in (ONE, TEN, MANY)]
    rows += [row(Rome(), ONE), row(Rome(), TEN), row(Rome(), MANY, made=9)]
    levels = {"hard": ["a"]}
    entries = board(rows, levels, [BATCH])
    write_board(entries, rows, levels, tmp_path, minutes=3.0, command="behemoth bench")
    lines = [json.loads(line) for line in (tmp_path / "board.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(line["track"], line["level"], line["method"], line["unit"]) for line in lines] == [
        ("batch", "hard", "nothing", "edits"),
        ("batch", "hard", "rome", "edits"),
    ]
    assert lines[1]["value"] == pytest.approx((11 * 31) ** 0.5 - 1)  # half way from 10 edits to 30
    assert "| rome | 17 [" in board_markdown(entries)
    assert "rome     17 [" in board_text(entries)
    shown = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "<td>17 [" in shown
    assert "rome: 1.00 at 1, 1.00 at 10, 0.90 at 30" in shown
    assert (tmp_path / "figures" / "batch-hard.svg").is_file()


def test_a_line_is_read_as_it_was_written(tmp_path, monkeypatch):
    for module in (page, importlib.import_module("behemoth_editing.bench.board")):
        monkeypatch.setattr(module, "TRACKS", {"batch": BATCH})
    rows = [row(Rome(), draw, model=model) for draw in (ONE, TEN, MANY) for model in "ab"]
    rows[-1] |= {"started": "2026-11-28T00:00:00+00:00", "versions": {"behemoth": "1"}}
    levels = {"hard": ["a", "b"]}
    (entry,) = board(rows, levels, [BATCH], run_by="Ada")
    assert (entry.run_by, entry.weights, entry.versions) == ("Ada", ("a", "b"), {"behemoth": "0, 1"})
    assert entry.started == ("2026-11-27T23:17:12+00:00", "2026-11-28T00:00:00+00:00")
    assert entry.number.low == -math.inf  # since nothing broke, which JSON cannot say
    write_board([entry], rows, levels, tmp_path)
    assert page.read_board(tmp_path) == [entry]
    assert page.read_board(tmp_path / "elsewhere") == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 99}, "board must be of version 0, the one that this code makes, got 99"),
        ({"track": "bach"}, "track must be one of batch, .*, got 'bach'"),
        ({"weights": None}, "board must give weights in every line, got"),
    ],
)
def test_a_line_of_something_else_is_refused(change, said):
    line = line_of(board([row(Rome(), ONE, made=0)], {"hard": ["a"]}, [BATCH])[0]) | change
    with pytest.raises(ValueError, match=said):
        entry_of({name: value for name, value in line.items() if value is not None})
