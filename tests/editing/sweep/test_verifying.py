"""Facts about rows that are made again: they are the same, or what differs is named."""

import copy
import json
import shutil

import pytest

from behemoth_data.edits import EditConfig
from behemoth_editing import Shared
from behemoth_editing.sweep.cells import Cell
from behemoth_editing.sweep.kept import kept_models
from behemoth_editing.sweep.plans import planned, score_outside
from behemoth_editing.sweep.running import run
from behemoth_editing.sweep.verifying import differences, in_words, sample, verify

EDITS = EditConfig(scenario="sequence", num_edits=2, probes_per_edit=3)


@pytest.fixture(scope="module")
def kept(checkpoint, nudge, tmp_path_factory):
    """A folder of one row with its model, and the row as it is read again."""
    folder = tmp_path_factory.mktemp("kept")
    run([Cell(checkpoint, nudge(), EDITS)], folder, progress=False, save_models=True)
    return folder, json.loads((folder / "results.jsonl").read_text(encoding="utf-8"))


def again(row, folder, checkpoint, nudge):
    return verify(row, folder, checkpoint, {"nudge": nudge}, Shared())


def test_kept_models_are_asked_again_and_others_edited_again(kept, checkpoint, nudge, tmp_path):
    folder, row = kept
    for place, how in ((folder, "saved models"), (tmp_path, "edited again")):
        verdict = again(row, place, checkpoint, nudge)
        assert (verdict.how, verdict.differences, verdict.notes) == (how, [], [])
        assert in_words(verdict).endswith(f"sequence seed 0, {how}: the same")


def test_row_of_elsewhere_is_scored_again_where_its_model_lies(kept, checkpoint, nudge, tmp_path):
    (place,) = kept_models(*kept)
    plan = planned(checkpoint, [str(place)], [("rome", {}, None)], progress=False)
    (row,) = score_outside(plan, tmp_path, progress=False)
    row = json.loads(json.dumps(row))
    assert again(row, tmp_path, checkpoint, nudge).differences == []
    row["elsewhere"]["models"] = []
    with pytest.raises(ValueError, match="row must name the folders of its models, got none"):
        again(row, tmp_path, checkpoint, nudge)


def test_counts_and_digests_that_differ_are_named(kept, checkpoint, nudge):
    folder, row = kept
    row = copy.deepcopy(row)
    row["units"][1]["keep"]["unrelated"][0] -= 1
    row["versions"]["torch"] = "1.0"
    verdict = again(row, folder, checkpoint, nudge)
    (difference,) = verdict.differences
    assert difference.startswith("units 1 keep unrelated was [")
    assert "differs (torch was 1.0, and is " in in_words(verdict)
    row["weights"]["after"] = ["0" * 16]  # so that the model that is kept is another
    verdict = again(row, folder, checkpoint, nudge)
    assert verdict.how == "edited again"
    assert verdict.differences[0].startswith(f"weights after 0 was {'0' * 16}, and is ")


def test_model_that_was_changed_since_is_found_out(kept, checkpoint, nudge, tmp_path):
    folder, row = kept
    shutil.copytree(folder, tmp_path / "kept")
    (place,) = kept_models(tmp_path / "kept", row)
    checkpoint.model.save_pretrained(tmp_path / "original")
    shutil.copy(tmp_path / "original" / "model.safetensors", place / "model.safetensors")
    found = again(row, tmp_path / "kept", checkpoint, nudge).differences
    assert found[0] == f"weights after 0 was {row['weights']['after'][0]}, and is {checkpoint.weights} now"


@pytest.mark.parametrize(
    ("was", "now", "expected"),
    [
        ({"kl": 0.5}, {"kl": 0.50001}, []),
        ({"kl": 0.5}, {"kl": 0.6}, ["units kl was 0.5, and is 0.6 now"]),
        ({"kl": "nan"}, {"kl": "nan"}, []),
        ({"a": [1, 2]}, {"a": [1, 3]}, ["units a was [1, 2], and is [1, 3] now"]),
        ({"a": [0.1, 0.2]}, {"a": [0.1]}, ["units a was [0.1, 0.2], and is [0.1] now"]),
        ({"a": 1}, {"b": 1}, ["units has a no more", "units has b beside"]),
        ({"right_after": {}}, {}, []),
        ({"a": None}, {"a": 0.0}, ["units a was None, and is 0.0 now"]),
    ],
)
def test_numbers_may_differ_by_rounding_and_counts_may_not(was, now, expected):
    rest = {"weights": {}, "scores": {}}
    assert list(differences({**rest, "units": was}, {**rest, "units": now})) == expected


def test_row_of_another_model_or_an_unknown_method_cannot_be_made_again(kept, checkpoint, nudge, tmp_path):
    row = kept[1] | {"weights": {"before": "0" * 16}}
    with pytest.raises(ValueError, match=f"model must have weights {'0' * 16}, got .* with {checkpoint.weights}"):
        again(row, tmp_path, checkpoint, nudge)
    with pytest.raises(ValueError, match="method must be one of finetune, .*, got 'nudge'"):
        verify(kept[1], tmp_path, checkpoint, {}, Shared())


def test_sample_is_seeded_in_order_and_of_scored_rows():
    rows = [{"cell": number, "error": "failed" if number == 3 else None} for number in range(40)]
    first, other = sample(rows, 10, 0), sample(rows, 10, 1)
    assert first == sample(rows, 10, 0) != other
    assert [row["cell"] for row in first] == sorted({row["cell"] for row in first})
    assert len(sample(rows, None, 0)) == len(sample(rows, 100, 0)) == 39
    assert all(row["error"] is None for row in sample(rows, 39, 0))
    with pytest.raises(ValueError, match="rows must be at least 1, got 0"):
        sample(rows, 0, 0)
