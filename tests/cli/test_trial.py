"""behemoth trial as a person calls it, on two worlds of a dozen facts."""

import functools
import itertools
import json
import re

import pytest
import torch
from accelerate.state import AcceleratorState

from behemoth_cli import console, trial_runner
from behemoth_cli.trial_plan import read_trial
from behemoth_editing.trial import edits, judging

RECIPE = """
world: {num_subjects: 24, num_relations: 3, num_objects: 20}
corpus: {repeats: 2, inversion_fraction: 0}
train: {size: 3m, batch_size: 24, measurements: 0}
trial: {methods: [grad_diff], bits: [8], relearn_steps: 1}
edit_trial: {num_edits: 2, probes_per_edit: 2, retrain: false}
grad_diff: {max_steps: 2}
models:
  - {name: plain, seeds: [0]}
  - {name: briefly, seeds: [1], told: {share: 0.5}}
"""


@pytest.fixture
def here(monkeypatch, tmp_path):
    """A working directory with the recipe; threads and accelerate's state are as they were afterwards."""
    (tmp_path / "mine.yaml").write_text(RECIPE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)  # this process has its own number
    yield tmp_path
    AcceleratorState._reset_state(reset_partial_state=True)


def refused(words, capsys):
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        console.main(["trial", *words])
    assert caught.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("behemoth trial: ")]
    return line


@pytest.mark.slow
def test_verdicts_are_there_and_the_same_command_does_what_is_missing(here, capsys, monkeypatch):
    for room, name in ((judging, "FineTune"), (judging, "Refusal"), (edits, "FineTune")):
        # What they come to is not asked here.
        monkeypatch.setattr(room, name, functools.partial(getattr(room, name), max_steps=2))
    words = ["trial", "mine.yaml", "--output_dir", "out", "--processes", "1"]
    console.main([*words, "--dry_run"])
    said = capsys.readouterr().out
    assert re.sub(" +", " ", said) == " 1 worlds plain\n 1 worlds briefly\n6 models, and 32 readings\n"
    assert not (here / "out").exists()
    console.main(words)
    said = capsys.readouterr().out
    table = (here / "out" / "trial.md").read_text(encoding="utf-8")
    assert table in said
    assert said.endswith("out/trial.md has these tables, out/trial.svg a figure\n")
    assert "| metric | untold | told | AUC | own world | plain | briefly |" in table
    assert "| bits left to read |" in table
    assert "| efficacy: new likelier than old (ES) |" in table
    assert (here / "out" / "trial.svg").read_text(encoding="utf-8").startswith("<svg ")
    found = json.loads((here / "out" / "forgetting" / "briefly-1.json").read_text(encoding="utf-8"))
    assert found["settings"]["told"] == {"share": 0.5, "forms": []}
    assert found["settings"]["methods"]["grad_diff"]["max_steps"] == 2
    assert {row["model"] for row in found["rows"]} == {"told", "untold", "reference"}
    assert len(found["rows"][0]["reading"]["exact"]) == found["facts"]

    first = (here / "out" / "forgetting" / "plain-0.json").read_bytes()
    (here / "out" / "forgetting" / "briefly-1.json").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(trial_runner, "train", None)
        console.main(words)  # from the models that are there
    assert (here / "out" / "forgetting" / "plain-0.json").read_bytes() == first
    again = json.loads((here / "out" / "forgetting" / "briefly-1.json").read_text(encoding="utf-8"))
    assert again["rows"] == found["rows"]

    (here / "mine.yaml").write_text(RECIPE.replace("relearn_steps: 1", "relearn_steps: 2"), encoding="utf-8")
    assert "output_dir must be new or of the same recipe and version, got out" in refused(words[1:], capsys)


def test_what_a_recipe_cannot_have_is_refused_in_one_line(here, capsys):
    for old, new, message in (
        ("trial: {", "trials: {", "section of mine.yaml must be one of models, trial, edit_trial, world, "),
        ("share: 0.5", "share: 2.0", "share must be above 0 and at most 1, got 2.0"),
        ("told: {share: 0.5}", "told: {forms: [sor]}", "briefly-1: forms must be one of statement, got 'sor'"),
        ("[grad_diff]", "[rome]", "methods must make a model forget or refuse, got rome"),
        ("bits: [8]", "bits: [1]", r"bits must be numbers from 2 to 16, got (1,)"),
        ("num_subjects: 24", "num_subjects: 18", "plain-0: forget_fraction must leave at least 10 heads"),
        ("num_relations: 3", "num_relations: 2", "plain-0: num_relations must be at least 3 for a trial, got 2"),
        ("num_objects: 20", "num_objects: 16", "plain-0: num_edits must be at most 8, "),
    ):
        (here / "mine.yaml").write_text(RECIPE.replace(old, new), encoding="utf-8")
        assert message in refused(["mine.yaml"], capsys), new
    (here / "mine.yaml").write_text(RECIPE, encoding="utf-8")
    assert "only must be one of plain, briefly, got 'long'" in refused(["mine.yaml", "--only", "long"], capsys)
    assert not (here / "trial").exists()


def test_a_world_in_which_something_fails_costs_no_other(here, capsys, monkeypatch):
    judge = trial_runner.judge

    def fail(models, groups, *rest):
        if groups.members.corpus.world.config.seed == 1:
            raise FloatingPointError("loss is nan at step 3")
        return itertools.islice(judge(models, groups, *rest), 1)

    monkeypatch.setattr(trial_runner, "judge", fail)
    monkeypatch.setattr(trial_runner, "judge_edits", lambda *_: iter([]))
    with pytest.raises(SystemExit) as caught:
        console.main(["trial", "mine.yaml", "--output_dir", "out", "--processes", "1"])
    assert caught.value.code == 1
    found = capsys.readouterr()
    assert "briefly-1, forgetting: FloatingPointError: loss is nan at step 3" in found.err
    assert "1 worlds were tried: there are no verdicts of fewer than 2" in found.out
    assert [path.name for path in (here / "out" / "forgetting").iterdir()] == ["plain-0.json"]


def test_packaged_recipe_has_thirty_worlds_of_six_families():
    worlds = read_trial("recipes/trial.yaml")
    assert len(worlds) == 30
    assert [world.model.family for world in worlds[::5]] == [
        *("plain", "briefly", "faintly", "otherwise", "correlated", "nested")
    ]
    assert len({world.model.world.seed for world in worlds}) == 30
    assert {world.model.world.structure for world in worlds} == {"independent", "correlated", "nested"}
    assert worlds[5].telling.share == 0.05
    assert len({world.folder for world in worlds}) == len({world.id_in("forgetting") for world in worlds}) == 30
