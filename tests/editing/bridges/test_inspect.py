"""Tasks for inspect-ai: their rows and, where inspect_ai is installed, that its score is our answer, fact by fact."""

import json

import pytest

from behemoth_data.world import Edge
from behemoth_editing.bridges import write_bridge
from behemoth_editing.bridges.inspect_tasks import MODEL_ARGS, task_of
from behemoth_editing.bridges.order import Order
from behemoth_models.knowledge import known_facts


def test_rows_are_facts_and_the_task_file_lies_beside_them(checkpoint, tmp_path):
    said = write_bridge("inspect_ai", Order(checkpoint=checkpoint), tmp_path / "tasks")
    assert "6 files of rows" in said
    rows = [json.loads(line) for line in (tmp_path / "tasks" / "object_nested_statement.jsonl").open(encoding="utf-8")]
    world, grammar = checkpoint.corpus.world, checkpoint.corpus.grammar
    asked = grammar.query(world.fact(Edge.OBJECT_NESTED, 1, 0), "statement")
    assert rows[1] == {"id": 1, "input": asked.prompt, "target": asked.answer}
    assert len(rows) == 60
    compile((tmp_path / "tasks" / "tasks.py").read_text(encoding="utf-8"), "tasks.py", "exec")


def test_score_of_inspect_is_our_answer_fact_by_fact(checkpoint, trained, tmp_path):
    inspect_ai = pytest.importorskip(
        "inspect_ai", reason="inspect_ai is no dependency, and needs 20 packages of its own"
    )
    write_bridge("inspect_ai", Order(checkpoint=checkpoint), tmp_path / "tasks")
    (log,) = inspect_ai.eval(
        task_of(tmp_path / "tasks" / "object_nested_statement.jsonl"),
        model="hf/ours",
        model_args={**MODEL_ARGS, "model_path": str(trained), "device": "cpu"},
        log_dir=str(tmp_path / "logs"),
        display="none",
    )
    assert log.status == "success", log.error
    right = {sample.id: sample.scores["exact"].value == "C" for sample in log.samples}
    ours = known_facts(checkpoint.model, checkpoint.corpus, "statement")["object_nested"].tolist()
    assert [right[number] for number in range(60)] == ours
