"""Which models there are, and what they are taught by."""

import shutil
import threading
from pathlib import Path

import pytest

from behemoth_cli.playground.shelf import RECIPE, TAUGHT, NotTaught, Shelf, bits_per_parameter
from behemoth_cli.recipe_files import read_recipe
from behemoth_data.forms import SURFACES
from behemoth_data.world import PRESETS


def test_given_models_are_those_there_are_and_each_is_loaded_once(shelf, trained):
    assert shelf.names == [str(trained)]
    assert shelf.is_ready(str(trained))
    assert shelf.get(str(trained)) is shelf.get(str(trained))
    assert shelf.get(str(trained)).view is shelf.get(str(trained)).view


def test_words_are_there_on_both_surfaces_the_model_s_own_first(shelved):
    assert list(shelved.words) == ["synthetic", "natural"]
    assert shelved.words["synthetic"].own
    assert not shelved.words["natural"].own


def test_unknown_names_and_steps_are_refused(shelf, trained):
    with pytest.raises(ValueError, match="model must be one of"):
        shelf.get("other")
    with pytest.raises(ValueError, match="step must be one of , got 7"):
        shelf.get(str(trained), 7)


def test_models_of_kept_steps_are_found_in_their_order_and_loaded(trained, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    for step in (100, 20):
        shutil.copytree(trained, folder / f"step{step}")
    (folder / "step7").mkdir()
    shelf = Shelf([str(folder)])
    assert shelf.steps(str(folder)) == [20, 100]
    assert shelf.get(str(folder), 20) is not shelf.get(str(folder))
    assert shelf.get(str(folder), 20).checkpoint.name.endswith("step20")


def test_models_that_carry_more_for_their_size_come_later(trained, tmp_path, monkeypatch):
    from behemoth_cli.playground import shelf as shelves

    names = [str(tmp_path / name) for name in ("a", "b")]
    for name in names:
        shutil.copytree(trained, name)
    shelf = Shelf(names)
    assert shelf.by_load(names[1]) == [names[1]]  # both carry alike
    bits = {names[0]: 0.5, names[1]: 0.1}
    monkeypatch.setattr(shelves, "bits_per_parameter", lambda checkpoint: bits[checkpoint.name])
    assert shelf.by_load(names[0]) == [names[1], names[0]]


def test_load_is_bits_over_parameters_beside_the_input_embedding(checkpoint):
    model = checkpoint.model
    parameters = sum(p.numel() for p in model.parameters()) - model.get_input_embeddings().weight.numel()
    assert bits_per_parameter(checkpoint) == pytest.approx(checkpoint.corpus.world.config.bits / parameters)


def test_without_models_there_are_those_that_are_taught_here(tmp_path):
    shelf = Shelf(folder=tmp_path)
    assert shelf.names == list(TAUGHT)
    assert not any(shelf.is_ready(name) for name in shelf.names)
    assert shelf.by_load("nested") == ["nested"]
    assert len({taught.config for taught in TAUGHT.values()}) == len(TAUGHT)  # each has a folder of its own
    assert {taught.config for taught in TAUGHT.values()} <= PRESETS.keys()
    assert {taught.surface for taught in TAUGHT.values()} == set(SURFACES)
    assert {"world", "corpus", "train"} == read_recipe(RECIPE, {}).keys()


def test_model_that_is_not_there_is_taught_where_it_is_looked_for(tmp_path, trained, monkeypatch):
    from behemoth_cli.playground import shelf as shelves

    asked = []

    def teach(words, prog):
        asked.append(words)
        shutil.copytree(trained, Path(words[-1]) / f"{RECIPE}-nested")

    monkeypatch.setattr(shelves.pretrain, "main", teach)
    shelf = Shelf(folder=tmp_path)
    for _ in range(2):
        assert shelf.get("nested").checkpoint.name == str(tmp_path / f"{RECIPE}-nested")
    assert asked == [
        ["recipes/play.yaml", "--configs", "nested", "--lexicon.surface", "natural", "--output_dir", str(tmp_path)]
    ]


def test_model_that_cannot_be_taught_is_an_error_with_its_cause_and_the_next_try_teaches_again(tmp_path, capsys):
    file = tmp_path / "taken"
    file.write_text("not a folder", encoding="utf-8")
    shelf = Shelf(folder=file)
    for _ in range(2):
        with pytest.raises(NotTaught, match=r"model nested could not be taught: .*taken") as caught:
            shelf.get("nested")
        assert caught.value.status in (1, 2)
    assert capsys.readouterr().err.count("behemoth play: error: ") == 2


def test_home_of_nobody_is_a_model_that_cannot_be_loaded():
    shelf = Shelf(["~nobody-of-this-machine/run"])
    assert shelf.steps(shelf.names[0]) == []
    with pytest.raises((ValueError, OSError)):
        shelf.get(shelf.names[0])


def test_model_that_cannot_be_loaded_is_no_level_and_keeps_no_other_from_being_one(trained, tmp_path, monkeypatch):
    from behemoth_cli.playground import shelf as shelves

    names = [str(tmp_path / name) for name in ("a", "b", "c")]
    for name in (names[0], names[2]):
        shutil.copytree(trained, name)
    (tmp_path / "b").mkdir()
    bits, tried, load = {names[0]: 0.5, names[2]: 0.1}, [], shelves.load_checkpoint
    monkeypatch.setattr(shelves, "bits_per_parameter", lambda checkpoint: bits[checkpoint.name])
    monkeypatch.setattr(shelves, "load_checkpoint", lambda place: [tried.append(place), load(place)][1])
    shelf = Shelf(names)
    for _ in range(2):
        assert shelf.by_load(names[0]) == [names[2], names[0]]
    assert sorted(tried) == names  # each once
    with pytest.raises((ValueError, OSError)):
        shelf.by_load(names[1])


def test_model_that_is_there_can_be_had_while_another_is_loaded(trained, tmp_path, monkeypatch):
    from behemoth_cli.playground import shelf as shelves

    names = [str(tmp_path / name) for name in ("a", "b", "c")]
    for name in names:
        shutil.copytree(trained, name)
    shelf, load = Shelf(names), shelves.load_checkpoint
    first = shelf.get(names[0])
    begun, go_on = threading.Event(), threading.Event()

    def slow(place):
        if place == names[1]:
            begun.set()
            assert go_on.wait(60)
        return load(place)

    monkeypatch.setattr(shelves, "load_checkpoint", slow)
    loading = threading.Thread(target=shelf.get, args=(names[1],), daemon=True)
    loading.start()
    assert begun.wait(60)
    others = []
    asking = threading.Thread(target=lambda: others.extend([shelf.get(names[0]), shelf.get(names[2])]), daemon=True)
    asking.start()
    asking.join(60)
    assert others[0] is first
    assert others[1].checkpoint.name == names[2]
    assert loading.is_alive()
    go_on.set()
    loading.join(60)
    assert shelf.get(names[1]).checkpoint.name == names[1]
