"""tools/tune.py tunes on what no table uses, and tools/tuned.json is what the code has as defaults."""

import importlib
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

from behemoth_editing.sweep.plain import plain

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(TOOLS)
    return importlib.import_module("tune")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--world_seeds", "1000", "999"], r"world_seeds must be at least 1000, .*, got \[1000, 999\]"),
        (["--edit_seeds", "99"], r"edit_seeds must be at least 100, .*, got \[99\]"),
        (["--model", "w32-1000"], "study and model go together, got '' and 'w32-1000'"),
        (["--study", "a.yaml", "--model", "b"], "output must be a file of its own with study, got tools/tuned.json"),
        (
            ["--study", "recipes/study_load.yaml", "--model", "w16", "--output", "mine.json"],
            "model must be one of w32-1000, .*, got 'w16'",
        ),
        (["--groups", "rome", "nothing"], "groups must be among all, rome, .*, got nothing"),
    ],
)
def test_seeds_that_tables_use_are_refused(
    script: ModuleType, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        script.main(words)
    assert caught.value.code == 2
    assert re.search(message, capsys.readouterr().err)


def row(
    made: float, kept: float, left: float | None = None, error: str | None = None, rest: float | None = None
) -> dict[str, object]:
    scores = {
        "edit_success": {"value": made},
        "by_kind": {"unrelated": {"value": kept}, **({} if rest is None else {"implicit": {"value": rest}})},
        "forgetting": {"edited": {"accuracy_left": {"value": left}}},
    }
    return {"scenario": "different" if left is None else "forget", "error": error, "scores": scores}


def test_score_is_what_is_made_times_what_is_kept_and_nothing_for_what_is_not_forgotten(script: ModuleType) -> None:
    one = ["unrelated"]
    assert script.parts_of(row(0.5, 0.8), one) == (0.5, 0.8, 0.4)
    assert script.parts_of(row(0.0, 0.8, left=0.05), one) == (0.95, 0.8, 0.8)
    assert script.parts_of(row(0.0, 0.8, left=0.0, rest=0.4), one) == (1.0, pytest.approx(0.6), pytest.approx(0.6))
    assert script.parts_of(row(1.0, 0.8, left=0.25), one) == (0.75, 0.8, 0.0)
    assert script.parts_of(row(1.0, 1.0, error="it failed"), one) == (0.0, 0.0, 0.0)


def asking(model: str, seed: int, same_subject: int, kept: float) -> dict[str, object]:
    found = row(1.0, 1.0)
    found["scores"]["by_kind"]["same_subject"] = {"value": kept}  # type: ignore[index]
    keep = {"unrelated": [30, 30, 30, 30], "same_subject": [same_subject] * 4, "nested_source": [50] * 4}
    return {**found, "seed": seed, "weights": {"before": model}, "units": [{"edit": 0, "keep": keep}]}


def test_a_kind_counts_by_what_the_rows_of_a_trial_ask_together(script: ModuleType) -> None:
    # Ten edits in a world of three relations ask 20 facts of the same subjects: two models ask 40, two draws of one
    # model perhaps the same 20 again.
    of_two = [asking("a", 100, 20, 0.4), asking("b", 100, 20, 0.6)]
    assert script.kinds_of(of_two) == ["same_subject", "unrelated"]
    assert [script.parts_of(one, script.kinds_of(of_two)) for one in of_two] == [(1.0, 0.7, 0.7), (1.0, 0.8, 0.8)]
    assert script.kinds_of([asking("a", 100, 20, 0.4), asking("a", 101, 20, 0.6)]) == ["unrelated"]
    assert script.kinds_of([*of_two, row(0.0, 0.0, error="it failed")]) == ["same_subject", "unrelated"]
    assert script.kinds_of([row(0.0, 0.0, error="it failed")]) == []


def test_default_stays_unless_another_is_clearly_better(script: ModuleType) -> None:
    trials = [{"settings": {"beta": beta}, "score": score} for beta, score in ((1, 0.9), (3, 0.895), (10, 0.8))]
    assert [script.chosen_of(trials, {"beta": beta}) for beta in (1, 3, 10)] == [{"beta": 1}, {"beta": 3}, {"beta": 1}]


def test_groups_that_are_not_tried_again_stay_if_they_are_of_the_same_draws(script: ModuleType) -> None:
    def made(seed: int, **groups: int) -> dict[str, object]:
        return {"score": "", "worlds": [], "recall": [], "edit_seeds": [seed], "groups": groups}

    assert script.joined(made(100, rome=1, npo=2), made(100, npo=3), ["rome", "npo"]) == made(100, rome=1, npo=3)
    assert script.joined(made(100, npo=2), made(101, npo=3), ["rome", "npo"]) == made(101, npo=3)
    with pytest.raises(ValueError, match=r"output must be of the same edit_seeds where rome stay .*, got \[100\]"):
        script.joined(made(100, rome=1), made(101, npo=3), ["rome", "npo"])


def test_defaults_are_what_was_chosen_of_all_trials_on_worlds_and_draws_of_no_table(script: ModuleType) -> None:
    found = json.loads((TOOLS / "tuned.json").read_text(encoding="utf-8"))
    assert min(world["seed"] for world in found["worlds"]) >= 1000
    assert min(found["edit_seeds"]) >= 100
    assert list(found["groups"]) == list(script.GROUPS)
    for name, group in script.GROUPS.items():
        made = found["groups"][name]
        assert [trial["settings"] for trial in made["trials"]] == plain(group.settings)
        cells = len(found["worlds"]) * len(found["edit_seeds"]) * len(group.fixed)
        assert all(trial["cells"] == cells for trial in made["trials"])
        assert made["chosen"] == script.chosen_of(made["trials"], plain(group.default)), name
        assert made["chosen"] == plain(group.default) or not group.is_default, name
