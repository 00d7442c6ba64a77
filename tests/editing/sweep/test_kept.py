"""Facts about the edited models that a sweep keeps: where they lie, what they say, and that none is missing."""

import dataclasses
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForCausalLM

from behemoth_data.edits import EditConfig, draw_edits
from behemoth_editing.checkpoint import load_checkpoint
from behemoth_editing.sweep.cells import Cell, cell_id, unfinished
from behemoth_editing.sweep.kept import keep_model, kept_models, remove_models
from behemoth_editing.sweep.plain import plain
from behemoth_editing.sweep.rows import read_rows
from behemoth_editing.sweep.running import run

SINGLE = EditConfig(num_edits=2, probes_per_edit=3)
SEQUENCE = dataclasses.replace(SINGLE, scenario="sequence")


@pytest.fixture(scope="module")
def cells(checkpoint, nudge):
    return [Cell(checkpoint, nudge(), config) for config in (SINGLE, SEQUENCE)]


@pytest.fixture(scope="module")
def whole(cells, tmp_path_factory):
    """A folder of results with all models; tests must leave it as it is."""
    folder = tmp_path_factory.mktemp("kept")
    rows = run(cells, folder, progress=False, save_models=True, command="behemoth edit --model a")
    assert [row["error"] for row in rows] == [None, None]
    return folder, rows


@pytest.fixture
def results(whole, tmp_path):
    """The same to change: files are links, so that a folder may be taken away."""
    shutil.copytree(whole[0], tmp_path / "results", copy_function=os.link)
    return tmp_path / "results"


def test_single_edits_have_a_folder_each_and_a_sequence_has_that_of_its_end(cells, whole):
    folder, rows = whole
    single, sequence = map(cell_id, cells)
    assert sorted(os.listdir(folder / "models")) == sorted([f"{single}-0", f"{single}-1", sequence])
    for row in rows:
        found = [load_checkpoint(str(place)) for place in kept_models(folder, row)]
        assert [one.weights for one in found] == row["weights"]["after"]


def test_kept_model_says_what_was_done_to_what(cells, whole, checkpoint):
    folder, rows = whole
    sets = draw_edits(checkpoint.corpus, SINGLE)
    for number, place in enumerate(kept_models(folder, rows[0])):
        said = json.loads((place / "config.json").read_text(encoding="utf-8"))["behemoth"]
        (step,) = said["edited"]
        assert (step["parent"], said["weights"]) == (checkpoint.weights, rows[0]["weights"]["after"][number])
        assert (step["method"], step["settings"], step["draw"]) == ("nudge", {"by": 0.5}, plain(SINGLE))
        assert step["edits"] == [plain(edit) for edit in sets[number].edits]
        assert said["recall"].keys() == checkpoint.recall.keys()
    (place,) = kept_models(folder, rows[1])
    (step,) = load_checkpoint(str(place)).lineage
    assert step["edits"] == [plain(edit) for one in draw_edits(checkpoint.corpus, SEQUENCE) for edit in one.edits]


def test_kept_model_gives_the_bits_of_the_model_that_was_scored(whole, checkpoint, nudge):
    folder, rows = whole
    first, second = draw_edits(checkpoint.corpus, SEQUENCE)
    edited = nudge()(nudge()(checkpoint.model, first).model, second).model
    (place,) = kept_models(folder, rows[1])
    again = AutoModelForCausalLM.from_pretrained(place, attn_implementation="eager").eval()
    ids = torch.tensor([first.requests[0].prompt_ids])
    with torch.no_grad():
        assert torch.equal(again(ids).logits, edited(ids).logits)


def test_row_names_the_command_the_device_and_the_versions(whole):
    row = whole[1][0]
    assert (row["command"], row["device"]) == ("behemoth edit --model a", "cpu")
    assert {"behemoth", "torch", "transformers", "peft", "numpy", "python"} == row["versions"].keys()


def test_cell_whose_model_is_missing_or_another_is_made_again_where_models_are_wanted(cells, results):
    assert unfinished(cells, results, save_models=True) == []
    single = results / "models" / f"{cell_id(cells[0])}-1"
    kept = single.rename(results / "aside")
    assert unfinished(cells, results) == []
    before = (results / "results.jsonl").read_bytes()
    assert unfinished(cells, results, save_models=True, dry_run=True) == cells[:1]
    assert (results / "results.jsonl").read_bytes() == before
    assert unfinished(cells, results, save_models=True) == cells[:1]
    # its row is gone with it, so that none stands for a model that is not there
    (line,) = (results / "results.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["cell"] == cell_id(cells[1])
    (results / "models" / cell_id(cells[1])).rename(single)
    kept.rename(results / "models" / cell_id(cells[1]))
    assert unfinished(cells, results, save_models=True) == cells


def test_dry_run_leaves_failures_where_they_can_be_read(cells, tmp_path, results):
    path = tmp_path / "failed" / "results.jsonl"
    path.parent.mkdir()
    (row, *_) = read_rows(results / "results.jsonl").values()
    path.write_text(json.dumps({**row, "error": "FloatingPointError: loss is nan"}) + "\n", encoding="utf-8")
    before = path.read_bytes()
    assert unfinished(cells[:1], path.parent, dry_run=True) == cells[:1]
    assert path.read_bytes() == before
    assert unfinished(cells[:1], path.parent) == cells[:1]
    assert path.read_bytes() == b""


def test_sweep_without_models_makes_all_of_them_when_they_are_asked_for(cells, tmp_path):
    run(cells[1:], tmp_path, progress=False)
    assert not (tmp_path / "models").exists()
    assert unfinished(cells[1:], tmp_path, save_models=True) == cells[1:]


def test_sweep_killed_before_its_first_row_goes_on(cells, results):
    (results / "results.jsonl").unlink()
    assert unfinished(cells, results, save_models=True) == cells


def test_every_process_of_several_writes_its_models(cells, tmp_path, monkeypatch):
    monkeypatch.setattr("transformers.distributed.mixin._is_torch_distributed_initialized", lambda: True, raising=False)
    monkeypatch.setattr("transformers.distributed.mixin._get_torch_distributed_rank", lambda: 1, raising=False)
    (row,) = run(cells[1:], tmp_path, progress=False, save_models=True)
    assert row["error"] is None
    assert kept_models(tmp_path, row) is not None


def test_cell_whose_model_cannot_be_written_fails_and_leaves_nothing(cells, tmp_path, monkeypatch):
    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr("behemoth_editing.saving.build_tokenizer", full)
    (row,) = run(cells[1:], tmp_path, progress=False, save_models=True)
    assert row["error"] == "OSError: No space left on device"
    assert os.listdir(tmp_path / "models") == []


def test_model_that_another_run_has_put_there_meanwhile_stays(tmp_path, monkeypatch):
    def write(folder):
        folder.mkdir()
        (folder / "config.json").write_text('{"behemoth": {"weights": "a"}}', encoding="utf-8")

    keep_model(tmp_path / "cell", write)
    monkeypatch.setattr("behemoth_editing.sweep.kept.shutil", SimpleNamespace(rmtree=lambda *_, **__: None))
    keep_model(tmp_path / "cell", write)
    assert os.listdir(tmp_path) == ["cell"]
    with pytest.raises(OSError, match="cell"):
        keep_model(tmp_path / "cell", Path.mkdir)


def test_only_folders_of_cells_are_removed(tmp_path):
    for name in ("0123456789abcdef", "0123456789abcdef-12", "nested-0", "0123456789abcdef-x"):
        (tmp_path / "models" / name).mkdir(parents=True)
    remove_models(tmp_path)
    assert sorted(os.listdir(tmp_path / "models")) == ["0123456789abcdef-x", "nested-0"]
