"""behemoth locate as a person calls it, on two worlds of a few dozen facts."""

import json
import re

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState

from behemoth_cli import console, locate_runner
from behemoth_cli.locate_plan import read_locate
from behemoth_editing.checkpoint import load_checkpoint
from behemoth_editing.locating import placing

RECIPE = """
world: {num_subjects: 40, num_relations: 2, num_objects: 8}
corpus: {repeats: 4, inversion_fraction: 0}
train: {size: 3m, batch_size: 40, learning_rate: 1.0e-2, measurements: 0}
late: {layers: [1, 4], repeats: 8, learning_rate: 1.0e-2}
locate: {localisers: [ablation, gradient, probe], most_facts: 4}
sweep: {methods: [rome, finetune], scenarios: [different], num_edits: 2, probes_per_edit: 4}
rome: {steps: 2, site: [prompt_last, subject_last]}
finetune: {max_steps: 2}
models:
  - {name: plain, seeds: [0, 1]}
"""


@pytest.fixture
def here(monkeypatch, tmp_path):
    """A working directory with the recipe; threads and accelerate's state are as they were afterwards."""
    (tmp_path / "mine.yaml").write_text(RECIPE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)  # this process has its own number
    yield tmp_path
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def knowing(monkeypatch):
    """Every model counts as one that knows all, since two dozen steps teach nothing."""
    known = placing.known_facts

    def all_of_them(model, corpus):
        return {edge: np.ones_like(right) for edge, right in known(model, corpus).items()}

    monkeypatch.setattr(placing, "known_facts", all_of_them)


def refused(words, capsys):
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        console.main(["locate", *words])
    assert caught.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("behemoth locate: ")]
    return line


@pytest.mark.slow
def test_verdicts_are_there_and_the_same_command_does_what_is_missing(here, capsys, monkeypatch, knowing):
    words = ["locate", "mine.yaml", "--output_dir", "out", "--processes", "1"]
    console.main([*words, "--dry_run"])
    said = capsys.readouterr().out
    assert re.sub(" +", " ", said) == (
        " 2 models that are told nothing late\n 4 models that are told facts into one layer\n"
        "in each of these 3 localisers, and 18 sets of edits\n"
    )
    assert not (here / "out").exists()
    console.main(words)
    said = capsys.readouterr().out
    table = (here / "out" / "locate.md").read_text(encoding="utf-8")
    assert table in said
    assert said.endswith("out/locate.md has these tables, out/locate.svg a figure\n")
    assert (
        "| localiser | layers | named | copies | layers, other facts | named, other facts | copies, other facts |"
        in table
    )
    assert "| `rome (subject_last)` | edit success |" in table
    found = json.loads((here / "out" / "placed" / "plain-1-layer4.json").read_text(encoding="utf-8"))
    assert found["settings"]["late"]["layers"] == [1, 4]
    assert {row["layer"] for row in found["rows"]} == set(range(6))
    assert np.array(found["said"]["ablation"]["late"]).shape == (4, 6)
    assert [len(found["heads"][group]) for group in ("late", "early")] == [4, 4]
    assert all(row["success"][1] == 2 for row in found["rows"])
    assert all(row["others"][1] == 40 for row in found["rows"])

    # All but one MLP of each copy is the first model's, bit by bit, and the folder says how it was made.
    (folder,) = [path for path in (here / "out" / "models").iterdir() if path.name.startswith("plain-1-")]
    start, told = (load_checkpoint(str(folder / name)).model for name in ("start", "layer4"))
    others = dict(start.named_parameters())
    moved = {name for name, parameter in told.named_parameters() if not parameter.equal(others[name])}
    assert moved
    assert all(name.startswith("gpt_neox.layers.4.mlp.") for name in moved)
    assert told.config.behemoth["start"] == {"weights": start.config.behemoth["weights"], "learns": sorted(moved)}

    assert load_checkpoint(str(folder / "layer4")).recipe["start"] == {"learns": ", ".join(sorted(moved))}
    assert "start" not in load_checkpoint(str(folder / "start")).recipe

    first = (here / "out" / "placed" / "plain-0-layer1.json").read_bytes()
    (here / "out" / "placed" / "plain-1-layer4.json").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(locate_runner, "train", None)
        console.main(words)  # from the models that are there
    assert (here / "out" / "placed" / "plain-0-layer1.json").read_bytes() == first
    again = json.loads((here / "out" / "placed" / "plain-1-layer4.json").read_text(encoding="utf-8"))
    assert (again["rows"], again["said"]) == (found["rows"], found["said"])

    (here / "mine.yaml").write_text(RECIPE.replace("most_facts: 4", "most_facts: 5"), encoding="utf-8")
    assert "output_dir must be new or of the same recipe and version, got out" in refused(words[1:], capsys)


def test_what_a_recipe_cannot_have_is_refused_in_one_line(here, capsys):
    for old, new, message in (
        ("late: {", "lately: {", "section of mine.yaml must be one of models, late, locate, world, "),
        ("[1, 4]", "[1]", "layers must name at least 2 layers, each once, got (1,)"),
        ("[1, 4]", "[1, 6]", "plain-0-layer6: layers must lie in [0, 6), the layers of a 3m, got 6"),
        ("[ablation,", "[guess,", "localisers must be some of tracing, tracing_states, ablation, "),
        ("num_edits: 2", "num_edits: 9", "plain-0-layer1: num_edits must be at most "),
        ("[different]", "[single]", "plain-0-layer1: scenarios must be different to edit late facts, got single"),
        ("[different]", "[different, single]", "sweep must name 1 draw of edits, got 2"),
        ("[rome,", "[retrain,", "methods must have a setting layer or layers, got retrain, which has neither"),
        ("num_objects: 8", "num_objects: 30", "plain-0-layer1: share must give at least 2 of relation 0's 40 facts"),
    ):
        (here / "mine.yaml").write_text(RECIPE.replace(old, new), encoding="utf-8")
        assert message in refused(["mine.yaml"], capsys), new
    assert not (here / "locate").exists()


@pytest.mark.slow
def test_a_model_that_knows_nothing_late_says_so_and_costs_no_other(here, capsys, monkeypatch):
    def known(model, corpus):
        right = corpus.world.config.seed == 1
        return {edge.label: np.full(corpus.world.num_facts(edge), right) for edge in corpus.world.edges}

    monkeypatch.setattr(placing, "known_facts", known)
    with pytest.raises(SystemExit) as caught:
        console.main(["locate", "mine.yaml", "--output_dir", "out", "--processes", "1"])
    assert caught.value.code == 1
    found = capsys.readouterr()
    assert "plain-0-layer1, placed: ValueError: model must know at least 2 late facts, got 0" in found.err
    assert "2 models were read: there are no verdicts of fewer than 2 worlds" in found.out
    assert sorted(path.name for path in (here / "out" / "placed").iterdir()) == [
        "plain-1-layer1.json",
        "plain-1-layer4.json",
    ]


def test_packaged_recipe_has_six_layers_of_three_worlds():
    placed = read_locate("recipes/locate.yaml")
    assert [(one.beginning.model.world.seed, one.layer) for one in placed] == [
        (seed, layer) for seed in range(3) for layer in range(6)
    ]
    sites = [f"{method} ({site})" for method in ("rome", "memit") for site in ("prompt_last", "subject_last")]
    assert [name for name, _ in placed[0].methods] == [*sites, "finetune"]
    assert len({one.id_in("placed") for one in placed}) == 18
    assert len({one.folder for one in placed}) == 3
