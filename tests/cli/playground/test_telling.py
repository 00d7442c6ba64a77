"""The same in other words: the link, the Python and the command give what the page shows."""

import dataclasses
import json
import shlex
import shutil

import pytest

from behemoth_cli import play
from behemoth_cli.playground.making import Made, Wish, make, method_of
from behemoth_cli.playground.shelf import Shelf
from behemoth_cli.playground.telling import State, arguments_of, code_of, command_of, kinds_table, query_of, state_of
from behemoth_editing import METHODS

STATE = State(
    model="runs/a b",
    step=100,
    surface="synthetic",
    wish=Wish(edge="subject_nested", head=3, relation=1, new_tail=2, num_edits=10, edit_seed=4, method="lora"),
    settings={"rank": "4", "layers": "1,2", "alpha": "none"},
    made=True,
)


@pytest.mark.parametrize("state", [STATE, State(), State(wish=Wish(method="memit"), settings={"layers": "2"})])
def test_link_brings_the_state_back(state):
    assert state_of(query_of(state)) == state
    assert state_of("?" + query_of(state)) == state


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("head=x", "head must be a whole number, got 'x'"),
        ("heads=1", r"part of a link must be one of model, .* \(did you mean 'head'\?\)"),
        ("lora.rank=4", "part of a link must be one of"),  # the method is another
        ("num_edits=1000", "num_edits must be from 1 to 100, got 1000"),
        ("method=magic", "method must be one of"),
        ("x" * 4001, "link must have at most 4000 letters, got 4001"),
    ],
)
def test_link_that_tells_no_state_is_refused(query, message):
    with pytest.raises(ValueError, match=message):
        state_of(query)


def test_part_of_a_link_that_somebody_else_added_is_left_out_where_that_may_be():
    assert state_of("head=3&utm_source=a&made=1", foreign=True) == State(wish=Wish(head=3), made=True)
    for query in ("heads=1", "lora.rank=4", "edit_sed=3"):  # slips, which would make another edit
        with pytest.raises(ValueError, match="part of a link must be one of"):
            state_of(query, foreign=True)


def test_arguments_are_those_that_differ_from_the_defaults():
    assert arguments_of(METHODS["lora"]()) == ""
    assert arguments_of(METHODS["lora"](rank=4, layers=(1,), alpha=3)) == "rank=4, alpha=3, layers=(1,)"


@pytest.fixture(scope="module")
def made(checkpoint) -> Made:
    wish = Wish(head=5, relation=1, new_tail=3, num_edits=3, method="lora")
    return make(checkpoint, wish, method_of("lora", {"max_steps": "4"}))


def test_python_lines_print_the_page_s_scores(checkpoint, made, capsys):
    code = code_of(checkpoint.name, made)
    exec(compile(code, "lines", "exec"), {})
    assert capsys.readouterr().out == f"{made.scored}\n"


def test_command_prints_the_page_s_scores_and_writes_its_row(checkpoint, made, capsys, tmp_path, monkeypatch):
    from behemoth_cli import process

    monkeypatch.setattr(process, "prepare_process", lambda: None)  # this one has its threads
    state = State(wish=made.wish, settings={"max_steps": "4"}, made=True)
    words = shlex.split(command_of(checkpoint.name, state))
    assert words[:2] == ["behemoth", "play"]
    play.main([*words[2:], "--row", str(tmp_path / "row.json")])
    assert capsys.readouterr().out == f"{made.scored}\n"
    row = json.loads((tmp_path / "row.json").read_text(encoding="utf-8"))
    changing = ("started", "seconds")
    assert {k: v for k, v in row.items() if k not in changing} == {
        k: v for k, v in made.row.items() if k not in changing
    }


def test_command_for_a_kept_step_is_of_its_own_folder(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "step100")
    (place, shelf) = str(tmp_path), Shelf([str(tmp_path)])
    state = State(model=place, step=100, wish=Wish(head=5, relation=1, new_tail=3), made=True)
    words = shlex.split(command_of(shelf.get(place, 100).checkpoint.name, state))
    assert words[2] == str(tmp_path / "step100")
    told = state_of(words[words.index("--state") + 1])
    assert told == dataclasses.replace(state, model=words[2], step=None, made=False)
    (given,) = Shelf([words[2]]).names  # as the command has it
    assert Shelf([given]).get(told.model, told.step).checkpoint.name == words[2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--port", "70000"], "port must be from 1 to 65535, got 70000"),
        (["--methods", "roma"], "methods must be one of"),
        (["--row", "x.json"], "row needs state to be set, got x.json without"),
    ],
)
def test_bad_words_of_the_command_are_one_line_and_status_2(words, message, capsys):
    with pytest.raises(SystemExit) as caught:
        play.main(words)
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("behemoth play: error: ")
    assert message in line


def test_table_has_a_line_for_every_kind_with_its_count(made):
    table = kinds_table(made)
    by_label = {row[0]: row[1:] for row in table.rows}
    success = made.scored.scores["edit_success"]
    assert by_label["edit success"][1] == str(success["count"]) == "3"
    assert by_label["edit success"][0].startswith(f"{success['value']:.2f} [")
    asked = {kind: found["count"] for kind, found in made.scored.scores["by_kind"].items()}
    assert by_label["still right: same relation"][1] == str(asked["same_relation"])
    assert all(len(row) == len(table.heads) for row in table.rows)


def test_state_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        STATE.model = "x"  # type: ignore[misc]
