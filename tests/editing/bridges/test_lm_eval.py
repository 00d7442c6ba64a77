"""Tasks for lm-evaluation-harness: what stands in them and, where lm_eval is installed, that its acc is our answer."""

import importlib
import json
from pathlib import Path

import pytest
import yaml

from behemoth_data.edits import EditConfig
from behemoth_data.world import Edge
from behemoth_editing.bridges import write_bridge
from behemoth_editing.bridges.order import Order

TOOLS = Path(__file__).resolve().parents[3] / "tools"


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_world_has_a_task_for_every_table_and_form(checkpoint, tmp_path):
    said = write_bridge("lm_eval", Order(checkpoint=checkpoint), tmp_path / "tasks")
    tables, forms = ("subject_object", "subject_nested", "object_nested"), ("statement", "rso")
    assert {path.stem for path in (tmp_path / "tasks").glob("*.yaml")} == {f"{t}_{f}" for t in tables for f in forms}
    assert "6 tasks of 1080 rows" in said  # 80 x 3 + 80 x 3 + 20 x 3 facts in two forms
    (first, *_) = rows = rows_of(tmp_path / "tasks" / "object_nested_rso.jsonl")
    world, grammar = checkpoint.corpus.world, checkpoint.corpus.grammar
    asked = grammar.query(world.fact(Edge.OBJECT_NESTED, 0, 0), "rso")
    assert (first["prompt"], first["answer"]) == (asked.prompt, asked.answer)
    assert [(row["subject"], row["relation"]) for row in rows] == [(h, r) for r in range(3) for h in range(20)]


def test_a_task_asks_for_the_greedy_answer_after_one_space(checkpoint, tmp_path):
    write_bridge("lm_eval", Order(checkpoint=checkpoint), tmp_path / "tasks")
    task = yaml.safe_load((tmp_path / "tasks" / "subject_object_statement.yaml").read_text(encoding="utf-8"))
    assert task["task"] == "behemoth_nested_subject_object_statement"
    assert task["tag"] == "behemoth_nested"
    assert (task["output_type"], task["doc_to_target"], task["target_delimiter"]) == (
        "loglikelihood",
        " {{answer}}",
        "",
    )
    assert [metric["metric"] for metric in task["metric_list"]] == ["acc"]
    assert Path(task["dataset_kwargs"]["data_files"]["test"]) == tmp_path / "tasks" / "subject_object_statement.jsonl"


def test_what_an_edit_changes_is_asked_with_the_answers_before_and_after(checkpoint, tmp_path):
    order = Order(checkpoint=checkpoint, ask="probes", draw=EditConfig(scenario="different", num_edits=3))
    write_bridge("lm_eval", order, tmp_path / "tasks")
    (edit_set,) = order.edit_sets()
    before, after = (rows_of(tmp_path / "tasks" / f"edited_statement_{when}.jsonl") for when in ("before", "after"))
    assert [row["answer"] for row in after] == [request.answer for request in edit_set.requests]
    assert [row["answer"] for row in before] == [request.answer for request in edit_set.originals]
    files = {path.stem for path in (tmp_path / "tasks").glob("*.yaml")}
    assert {"nested_subject_statement_before", "nested_subject_statement_after", "same_subject_statement"} <= files
    total = sum(len(rows_of(tmp_path / "tasks" / f"{file}.jsonl")) for file in files if not file.endswith("_before"))
    assert total == len(edit_set.probes)


def test_a_folder_that_holds_something_is_refused(checkpoint, tmp_path):
    (tmp_path / "mine").write_text("kept", encoding="utf-8")
    with pytest.raises(ValueError, match="output_dir must be new or empty"):
        write_bridge("lm_eval", Order(checkpoint=checkpoint), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("ask", ["facts", "probes"])
def test_acc_of_lm_eval_is_our_answer_fact_by_fact(ask, checkpoint, monkeypatch):
    pytest.importorskip("lm_eval", reason="lm_eval is no dependency: .ci/run installs it in an environment of its own")
    monkeypatch.syspath_prepend(TOOLS)
    script = importlib.import_module("lm_eval_compared")
    draw = EditConfig(scenario="different", num_edits=3)
    order = Order(checkpoint=checkpoint, ask=ask, draw=draw)
    found = script.compare(order, script.disturbed(checkpoint.model, 0.3))
    assert sum(task.different for task in found) == 0
    assert 0 < sum(task.ours for task in found) < sum(task.rows for task in found)  # there was something to get wrong
