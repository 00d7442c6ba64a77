"""Result rows as a flat table, and the folder that is made of them."""

import json

import datasets
import pyarrow as pa
import pytest
import yaml

from behemoth_editing.report.dataset import column_of, result_table, write_results_dataset
from behemoth_editing.scoring.scores import HEADLINES, MEASURED

COLUMNS = [column_of(score) for score in (*HEADLINES, *MEASURED)]

SCORE = {"value": 0.75, "low": 0.5, "high": 1.0, "count": 4}


def row(**changes):
    return {
        "cell": "c0",
        "method": "rome",
        "settings": {"layer": 2, "site": "prompt_last"},
        "scenario": "single",
        "edge": "subject_object",
        "relation": 0,
        "num_edits": 1,
        "seed": 3,
        "edits": {"probes_per_edit": 5},
        "structure": "nested",
        "model": "runs/nested",
        "world": {"num_subjects": 30, "seed": 0},
        "corpus": "d" * 16,
        "recall": {"statement": {"subject_object": 1.0}},
        "scores": {
            "edit_success": SCORE,
            "paraphrase_success": None,
            "collateral_accuracy": {**SCORE, "value": 0.5},
            "collateral_drop": None,
            "by_kind": {"same_relation": {**SCORE, "wrong_before": 0}},
            "ripple": {},
        },
        "units": [{"edit": 0, "change": {"edited": [1, 1]}, "keep": {"same_relation": [1, 2, 1, 2]}, "ripple": {}}],
        "seconds": {"edit": 0.5, "shared": 0.0, "score": 0.25},
        "weights": {"before": "a" * 64, "after": ["b" * 64]},
        "details": [{"loss": 0.1}],
        "versions": {"behemoth": "0.2.0", "torch": "2.13.0"},
        "started": "2026-11-23T04:00:00+00:00",
        "error": None,
        **changes,
    }


FAILED = row(cell="c1", scores=None, units=None, seconds=None, details=None, error="ValueError: no")


def test_numbers_and_words_have_columns_of_their_own():
    (found,) = result_table([row()]).to_pylist()
    assert (found["cell"], found["method"], found["seed"], found["relation"]) == ("c0", "rome", 3, 0)
    assert found["weights_before"] == "a" * 64
    assert (found["num_units"], found["seconds_edit"], found["seconds_score"]) == (1, 0.5, 0.25)
    assert [found[f"edit_success{end}"] for end in ("", "_low", "_high", "_count")] == [0.75, 0.5, 1.0, 4]
    assert found["paraphrase_success"] is None
    assert found["paraphrase_success_count"] is None


def test_nested_parts_are_json_that_says_the_same():
    (found,) = result_table([row()]).to_pylist()
    for name in ("settings", "world", "edits", "units", "recall", "details", "versions", "weights", "scores"):
        assert json.loads(found[name]) == row()[name], name
    assert json.loads(found["by_kind"]) == row()["scores"]["by_kind"]
    assert json.loads(found["ripple"]) == {}
    assert found["other"] is None


def test_precisions_have_columns_and_older_rows_without_them_have_what_their_details_say():
    rows = [
        row(precision="bf16", model_precision="fp32"),
        row(cell="c1", details=[{"precision": "fp32"}]),
        row(cell="c2"),
    ]
    table = result_table(rows)
    assert table["precision"].to_pylist() == ["bf16", "fp32", None]
    assert table["model_precision"].to_pylist() == ["fp32", None, None]
    assert "other" not in {name for name, value in table.to_pylist()[0].items() if name == "other" and value}


def test_models_of_one_name_have_names_of_their_own_and_no_path():
    places = {"a": "/home/someone/lab/seed0/final", "b": "/home/someone/lab/seed1/final", "c": "runs/final"}
    rows = [row(cell=digest, model=place, weights={"before": digest * 16}) for digest, place in places.items()]
    rows += [row(cell="d", model="alice/tiny", hub_id="alice/tiny", weights={"before": "d" * 16})]
    assert result_table(rows)["model"].to_pylist() == ["seed0/final", "seed1/final", "runs/final", "alice/tiny"]


def test_words_of_a_method_or_an_error_hold_no_path_of_this_machine():
    place = "/home/someone/lab/final"
    failed = {**FAILED, "error": f"OSError: no file '{place}/x y.json' (see https://e.org/a/b)", "model": place}
    told = row(model=place, details=[{"log": "~/logs/run.txt", f"{place}/a.json": [f"{place}/b.json"]}], note="/etc/x")
    files = result_table([failed, told])
    text = json.dumps(files.to_pylist())
    assert "someone" not in text
    assert "~/" not in text
    assert "/etc" not in text
    assert files["error"][0].as_py() == "OSError: no file 'final/x y.json' (see https://e.org/a/b)"
    assert json.loads(files["details"][1].as_py()) == [{"log": "run.txt", "a.json": ["b.json"]}]


def test_failed_cell_has_its_reason_and_no_scores():
    (found,) = result_table([FAILED]).to_pylist()
    assert found["error"] == "ValueError: no"
    assert all(found[name] is None for name in ("num_units", "seconds_edit", "scores", "units", *COLUMNS))


def test_types_do_not_depend_on_the_rows():
    schema = result_table([row()]).schema
    assert result_table([FAILED]).schema == schema
    assert schema.field("edit_success").type == pa.float64()
    assert schema.field("edit_success_count").type == pa.int64()
    assert not any(pa.types.is_nested(field.type) for field in schema)


def test_every_score_of_one_number_has_its_columns_and_what_else_a_row_has_stays_in_scores():
    scores = {**row()["scores"], "collateral_drop": SCORE, "measures": {"kl": SCORE}, "distance": {"rank": [1, 2]}}
    table = result_table([row(scores={}), row(cell="c1", scores=scores)])
    for name in ("collateral_drop", "measures_kl"):
        assert table[name].to_pylist() == [None, 0.75]
        assert table[f"{name}_count"].to_pylist() == [None, 4]
    assert set(COLUMNS) <= set(table.column_names)
    assert "distance" not in table.column_names
    assert json.loads(table["scores"][1].as_py())["distance"] == {"rank": [1, 2]}


def test_new_field_of_a_row_is_kept_in_other():
    (found,) = result_table([row(right_after={"edit_success": SCORE}, note="x")]).to_pylist()
    assert json.loads(found["other"]) == {"right_after": {"edit_success": SCORE}, "note": "x"}


def test_no_rows_are_refused():
    with pytest.raises(ValueError, match="results must have at least 1 row, got 0"):
        result_table([])


def test_folder_loads_with_datasets_and_keeps_what_else_is_there(tmp_path, monkeypatch):
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "results.jsonl").write_text("{}\n", encoding="utf-8")
    assert write_results_dataset([row(), FAILED], folder) == folder
    assert {path.name for path in folder.iterdir()} == {
        *("results.jsonl", "results.parquet", "README.md", "results.svg"),
    }
    loaded = datasets.load_dataset(str(folder), split="test", cache_dir=tmp_path / "cache")
    assert loaded["cell"][:] == ["c0", "c1"]
    assert loaded.features["seed"].dtype == "int64"


def test_same_rows_give_the_same_bytes(tmp_path):
    one, other = (write_results_dataset([row(), FAILED], tmp_path / name, name="x") for name in ("one", "other"))
    for path in one.iterdir():
        assert path.read_bytes() == (other / path.name).read_bytes()


def test_numbers_that_are_not_finite_and_half_letters_can_be_written_and_read(tmp_path):
    rows = [row(details=[{"loss": float("nan"), "norm": "inf", "file": "caf\udce9"}])]
    folder = write_results_dataset(rows, tmp_path / "r")
    loaded = datasets.load_dataset(str(folder), split="test", cache_dir=tmp_path / "cache")
    assert json.loads(loaded["details"][0]) == [{"loss": "nan", "norm": "inf", "file": "caf\\udce9"}]


def test_card_says_in_which_precisions_methods_ran(tmp_path):
    rows = [row(cell=name, method="lora", precision=name, model_precision="bf16") for name in ("bf16", "fp32")]
    card = (write_results_dataset(rows, tmp_path / "r") / "README.md").read_text(encoding="utf-8")
    assert "| precision of methods | bf16, fp32 |" in card
    assert "| precision in which models were trained | bf16 |" in card
    assert "| single | lora (precision=bf16) | 1 |" in card
    assert "| single | lora (precision=fp32) | 1 |" in card


def test_card_counts_the_rows_and_shows_the_pooled_scores(tmp_path):
    card = (write_results_dataset([row(), FAILED], tmp_path / "r") / "README.md").read_text(encoding="utf-8")
    data = yaml.safe_load(card.split("---\n")[1])
    (info,) = [data["dataset_info"]]
    assert info["splits"][0]["num_examples"] == 2
    assert info["download_size"] == (tmp_path / "r" / "results.parquet").stat().st_size
    assert "2 rows, 1 of them cells that failed" in card
    # By hand: one edit of one, and one of two facts still right.
    assert "| single | rome | 1 | 1 | 1.000 [" in card
    assert all(score.label in card for score in HEADLINES)
    assert 'load_dataset("r", split="test")  # the path of this folder, or its name on the Hub' in card
    assert str(tmp_path) not in card


def test_rows_that_all_failed_have_a_card_without_a_picture(tmp_path):
    folder = write_results_dataset([FAILED], tmp_path / "r")
    assert {path.name for path in folder.iterdir()} == {"results.parquet", "README.md"}
    assert "![" not in (folder / "README.md").read_text(encoding="utf-8")
