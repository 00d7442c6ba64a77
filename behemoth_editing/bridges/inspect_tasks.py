"""A task of inspect-ai for each table or kind of probe: its rows, and how inspect-ai is to ask them.

Source: inspect_ai 0.3.285: inspect_ai/dataset/_sources/json.py (rows with input and target), scorer/_classification.py
(`exact`), and model/_providers/hf.py (a prompt is put through a chat template, so that ours, PROMPT_ALONE, is the
prompt and nothing else; do_sample is true unless it is told otherwise).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from behemoth_editing.bridges.order import Order, put_text, write_lines

PROMPT_ALONE = "{{ messages[0]['content'] }}"
# What makes inspect-ai's provider hf answer greedily, and the bare prompt.
MODEL_ARGS: dict[str, Any] = {"chat_template": PROMPT_ALONE, "do_sample": False}
TASKS = '''"""inspect eval tasks.py@answers -T rows=NAME, for every NAME.jsonl that lies beside this file."""

from pathlib import Path

from inspect_ai import task

from behemoth_editing.bridges.inspect_tasks import task_of


@task
def answers(rows: str):
    return task_of(Path(__file__).with_name(f"{rows}.jsonl"))
'''


def task_of(rows: str | Path) -> Any:
    """The inspect_ai.Task that asks these rows: as many tokens as the answers have, right if all of them are.

    Raises: ValueError for rows whose answers differ in length; ImportError where inspect_ai is not installed.
    """
    from inspect_ai import Task
    from inspect_ai.dataset import json_dataset
    from inspect_ai.model import GenerateConfig
    from inspect_ai.scorer import exact
    from inspect_ai.solver import generate

    samples = json_dataset(str(Path(rows).absolute()))
    widths = {len(str(sample.target).split()) for sample in samples}
    if len(widths) != 1:
        raise ValueError(f"rows must have answers of one number of words, got {sorted(widths)} in {rows}")
    return Task(
        name=Path(rows).stem,
        dataset=samples,
        solver=generate(),
        scorer=exact(),
        config=GenerateConfig(max_tokens=widths.pop()),
    )


def write(order: Order, folder: Path, place: Path) -> str:
    """A file of rows for each table or kind of probe in each form, and the task file; all of it can be moved."""
    found: dict[str, list[dict[str, Any]]] = {}
    for group, rows in order.groups().items():
        widths = sorted({len(row["answer"].split()) for row in rows})
        for width in widths:
            name = f"{group}_{width}words" if len(widths) > 1 else group
            found[name] = [row for row in rows if len(row["answer"].split()) == width]
    for name, rows in found.items():
        write_lines(
            folder / f"{name}.jsonl",
            ({"id": number, "input": row["prompt"], "target": row["answer"]} for number, row in enumerate(rows)),
        )
    put_text(folder / "tasks.py", TASKS)
    return f"{len(found)} files of rows: inspect eval {place / 'tasks.py'}@answers -T rows={next(iter(found))}"
