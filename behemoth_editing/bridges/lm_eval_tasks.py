"""Tasks of lm-evaluation-harness: YAML files and their rows, whose `acc` is our greedy exact match.

Source: lm-evaluation-harness 0.4.13, lm_eval/api/task.py (ConfigurableTask.process_results: `acc` of `loglikelihood` is
whether the answer is greedy, all its tokens) and lm_eval/api/model.py (TemplateLM._encode_pair: prompt and answer are
tokenized as one text, so that the answer has to begin with the space that parts them).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from behemoth_editing.bridges.order import Order, write_lines, write_yaml

VERSION = 1


def task_config(name: str, tag: str, rows: Path, world: str) -> dict[str, Any]:
    """One task, as its YAML file has it; `rows` is where its rows will lie."""
    return {
        "task": name,
        "tag": tag,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(rows)}},
        "test_split": "test",
        "output_type": "loglikelihood",
        "doc_to_text": "{{prompt}}",
        "doc_to_target": " {{answer}}",
        "target_delimiter": "",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": VERSION, "world": world},
    }


def write(order: Order, folder: Path, place: Path) -> str:
    """A YAML file and a file of rows for each table or kind of probe in each form; they will lie in `place`."""
    groups = order.groups()
    for group, rows in groups.items():
        name, file = f"{order.name}_{group}", f"{group}.jsonl"
        write_lines(folder / file, rows)
        config = task_config(name, order.name, place.absolute() / file, order.corpus.world.digest)
        write_yaml(folder / f"{group}.yaml", config)
    return (
        f"{len(groups)} tasks of {sum(map(len, groups.values()))} rows: lm_eval run --model hf --model_args "
        f"pretrained={order.checkpoint.name},dtype=float32 --include_path {place} --tasks {order.name}"
    )
