"""What one process does for a study: which model it opens, when, and what it refuses."""

import dataclasses
import logging
import warnings

import pytest
import torch
import transformers

from behemoth_cli import study_jobs
from behemoth_cli.study_jobs import Desk, at_work, order_of
from behemoth_data import EditConfig
from behemoth_editing import Rome
from behemoth_editing.sweep.cells import Cell
from behemoth_editing.sweep.running import Runner


@pytest.fixture
def opened(checkpoint, monkeypatch):
    """The folders of the models that are opened. No cell is run: its row is its model's name and its method."""
    places = []

    def load(place, device):
        places.append(place)
        return dataclasses.replace(checkpoint, name=place)

    monkeypatch.setattr(study_jobs, "load_checkpoint", load)
    monkeypatch.setattr(Runner, "row", lambda self, cell, command: (cell.checkpoint.name, cell.method, command))
    return places


def ordered(checkpoint, layer=1, **changes):
    """A cell as a process is asked for it."""
    order = order_of(Cell(checkpoint, Rome(layer=layer), EditConfig(num_edits=1)), "behemoth study")
    return dataclasses.replace(order, **changes)


def test_last_model_stays_open_and_no_other(checkpoint, trained, opened, tmp_path, monkeypatch):
    monkeypatch.chdir(trained.parent)
    named = dataclasses.replace(checkpoint, name=trained.name)  # as one that was found from the working directory
    orders = [ordered(named, layer) for layer in (1, 2, 3)]
    monkeypatch.chdir(tmp_path)
    desk = Desk()
    assert [desk.edit(order) for order in orders] == [
        (trained.name, Rome(layer=layer), "behemoth study") for layer in (1, 2, 3)
    ]
    assert opened == [str(trained)]
    desk.edit(dataclasses.replace(orders[0], place=str(tmp_path)))
    desk.edit(orders[0])
    assert opened == [str(trained), str(tmp_path), str(trained)]


def test_model_of_the_hub_is_asked_for_by_its_id(checkpoint, opened):
    order = ordered(dataclasses.replace(checkpoint, name="somebody/model", from_hub=True))
    assert Desk().edit(order)[0] == "somebody/model"
    assert opened == ["somebody/model"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"place": "/nowhere/models/a"}, "output_dir must be a folder that all workers see .* got /nowhere/models/a"),
        ({"weights": "0" * 16}, "workers must see the models that they are to edit, got other weights in"),
        ({"cell": "0" * 16}, "workers must run the same code as the process that they work for, got cell"),
    ],
)
def test_other_model_or_other_code_is_refused(checkpoint, opened, changes, says):
    with pytest.raises(ValueError, match=says):
        Desk().edit(ordered(checkpoint, **changes))


def test_model_is_not_trained_into_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="output_dir must be a folder that all workers see under the same name"):
        Desk().teach(None, tmp_path / "models" / "a")


def test_process_has_one_thread_and_says_nothing_while_it_works_and_is_then_as_before(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    threads, verbosity = torch.get_num_threads(), transformers.utils.logging.get_verbosity()
    try:
        torch.set_num_threads(2)
        with warnings.catch_warnings(record=True) as said, at_work():
            warnings.warn("nobody is told", stacklevel=1)
            assert torch.get_num_threads() == 1
            assert not logging.getLogger("behemoth_models").isEnabledFor(logging.WARNING)
        assert said == []
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert logging.getLogger("behemoth_models").isEnabledFor(logging.WARNING)
    assert transformers.utils.logging.get_verbosity() == verbosity
