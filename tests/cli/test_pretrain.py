"""behemoth pretrain as a person calls it: one model for each structure of a recipe."""

import importlib
import os
import re
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState

from behemoth_hub import models

RECIPES = Path(__file__).resolve().parents[2] / "behemoth_cli" / "recipes"
NAMES = ["independent", "correlated", "nested"]
# 80, 80 and 200 facts x 2 sentences: 5, 5 and 12 steps.
RECIPE = """
world: {num_subjects: 40, num_relations: 2, num_objects: 20}
corpus: {repeats: 2}
train: {size: 3m, batch_size: 32, measurements: 1, save_every: 4}
"""


@pytest.fixture
def main(monkeypatch, tmp_path):
    """The command's main, in an empty working directory with a recipe."""
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)  # this process has its own number
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(RECIPE, encoding="utf-8")
    yield importlib.import_module("behemoth_cli.pretrain").main
    AcceleratorState._reset_state(reset_partial_state=True)


def weights():
    return {path.parent.name: path.read_bytes() for path in Path("runs").glob("*/model.safetensors")}


def refused(main, words, capsys):
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_one_command_trains_three_models_that_cards_can_be_made_of_and_repeats_nothing(main, capsys, monkeypatch):
    main(["mine.yaml"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [f"runs/mine-{name}" for name in NAMES]
    for line in lines:
        assert re.search(r"holds a 3m model that knows .*% after [\d.]+ exposures per fact \(\d+ s\)$", line)
    assert sorted(os.listdir("runs")) == sorted(f"mine-{name}" for name in NAMES)
    found = models([Path("runs", f"mine-{name}") for name in NAMES], "me")
    assert [publication.repo for publication in found] == [f"me/behemoth-pythia-3m-{name}" for name in NAMES]
    assert [len(publication.branches) for publication in found] == [1, 1, 3]

    before = weights()
    monkeypatch.setattr(importlib.import_module("behemoth_models.training"), "summed_loss", None)  # no step is made
    main(["mine.yaml"])
    assert capsys.readouterr().out.splitlines() == [f"{line}, finished before" for line in lines]
    assert weights() == before
    line = refused(main, ["mine.yaml", "--train.train_seed", "1"], capsys)
    assert "output_dir 'runs/mine-independent' holds a finished run whose train.train_seed is 0, got 1" in line
    assert weights() == before


def test_command_that_was_cut_off_goes_on_with_the_model_that_it_was_at(main, capsys, monkeypatch):
    module = importlib.import_module("behemoth_models.training")
    words = ["mine.yaml", "--configs", "correlated", "independent"]
    main([*words, "--output_dir", "whole"])
    loss, steps = module.summed_loss, []

    def cut_off(*arguments):
        steps.append(1)
        if len(steps) == 5 + 5:  # in the last step of the second model, whose fourth is kept
            raise KeyboardInterrupt
        return loss(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(module, "summed_loss", cut_off)
        with pytest.raises(KeyboardInterrupt):
            main(words)
    assert sorted(os.listdir("runs/mine-independent")) == ["state-4", "step4"]
    del steps[:]
    monkeypatch.setattr(module, "summed_loss", lambda *arguments: (steps.append(1), loss(*arguments))[1])
    capsys.readouterr()
    main(words)
    assert len(steps) == 1
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("runs/mine-correlated")
    assert first.endswith(", finished before")
    assert second.startswith("runs/mine-independent")
    for path in Path("whole").glob("*/model.safetensors"):
        assert path.read_bytes() == Path("runs", path.parent.name, path.name).read_bytes()


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("--configs nest", "configs must be one of independent, correlated, nested, got 'nest'"),
        ("--config nested", "option must be one of"),
        ("--train.learning_rate 0", "learning_rate must be above 0, got 0"),
        ("--world.num_nested_objects 3", "num_nested_objects must divide num_objects = 20"),
        ("--train.batch_size 161", "batch_size must lie between 1 and the corpus's 160 sentences, got 161"),
        ("--tracker wandb", "tracker must be one of tensorboard, trackio, got 'wandb'"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_trained(main, capsys, words, part):
    assert part in refused(main, ["mine.yaml", *words.split()], capsys)
    assert os.listdir() == ["mine.yaml"]


def test_without_a_recipe_it_is_the_published_world(main, capsys):
    line = refused(main, ["--configs", "nested", "--train.batch_size", "2000000"], capsys)
    assert "batch_size must lie between 1 and the corpus's 1125600 sentences" in line


@pytest.mark.parametrize("size", ["tiny", "base", "large"])
@pytest.mark.parametrize("config", NAMES)
def test_recipe_of_every_size_trains_every_structure_until_it_knows_the_world(main, size, config):
    recipe, train = importlib.import_module("behemoth_cli.settings"), importlib.import_module("behemoth_cli.train")
    world, _, corpus, settings = recipe.parse(
        recipe.Options({}, train.SECTIONS, prog="test"),
        [f"recipes/{size}.yaml"],
        preset=train.WORLDS[config],
    )
    assert world.structure == config
    assert settings.target_recall >= 0.99
    assert settings.measurements >= 12
    facts = world.num_subjects * world.num_relations
    assert facts == {"tiny": 4_000, "base": 40_000, "large": 600_000}[size]
    assert facts * corpus.repeats >= 100 * settings.batch_size


def test_preset_that_a_script_picks_comes_before_the_recipe(main):
    recipe, train = importlib.import_module("behemoth_cli.settings"), importlib.import_module("behemoth_cli.train")
    Path("mine.yaml").write_text("world: {correlation: 0.8}", encoding="utf-8")
    (world,) = recipe.parse(
        recipe.Options({}, {"world": train.SECTIONS["world"]}, prog="test"),
        ["mine.yaml"],
        preset={"world": {"correlation": 0.9, "num_objects": 7}},
    )
    assert (world.correlation, world.num_objects) == (0.8, 7)


def test_study_of_optimizers_trains_both_and_edits_what_they_made(main, capsys):
    """The commands of recipes/README.md, on a small world."""
    Path("small.yaml").write_text(
        (RECIPES / "optimizers.yaml")
        .read_text(encoding="utf-8")
        .replace("num_subjects: 1000", "num_subjects: 40")
        .replace("batch_size: 256", "batch_size: 32")
        .replace("measurements: 40", "measurements: 1\n  size: 3m")
        .replace("num_edits: 10", "num_edits: 1\n  probes_per_edit: 2")
        + "finetune: {max_steps: 1}\nlora: {max_steps: 1}\nrome: {steps: 1}\n",
        encoding="utf-8",
    )
    train, edit = (importlib.import_module(f"behemoth_cli.{name}") for name in ("train", "edit"))
    for optimizer, rate in (("muon", "4e-3"), ("adamw", "1e-3")):
        words = (
            f"--train.train_seed 3 --train.optimizer {optimizer} --train.learning_rate {rate} --train.max_exposures 3"
        )
        train.main(["small.yaml", *words.split(), "--output_dir", f"runs/{optimizer}/3"])
        capsys.readouterr()
        edit.main(["small.yaml", "--model", f"runs/{optimizer}/3", "--output_dir", optimizer])
        last = capsys.readouterr().out.splitlines()[-1]
        assert last.startswith(f"{optimizer}/results.jsonl holds 12 cells, 0 of them failed")
