"""The records that memit and rome read: multi_counterfact.json and counterfact.json, one record for each edit.

Source: kmeng01/memit at 80426fd and kmeng01/rome at 0874014: dsets/counterfact.py (a list of records in a file of this
name), experiments/evaluate.py (case_id and requested_rewrite) and experiments/py/eval_utils_counterfact.py (a record's
prompts; those of the neighbourhood are scored with its target_true, and so are of other heads of the old object).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from behemoth_editing.bridges.order import Order, write_json
from behemoth_editing.bridges.records import Record, records_of

FILES = ("multi_counterfact.json", "counterfact.json")  # of memit and of rome; they hold the same


def record_row(record: Record) -> dict[str, Any]:
    """One edit as both tools have it. There is no text to go on with, so no prompt to generate from."""
    return {
        "case_id": record.number,
        "requested_rewrite": {
            "prompt": record.template,
            "relation_id": record.relation,
            "target_new": {"str": record.new, "id": record.new_id},
            "target_true": {"str": record.old, "id": record.old_id},
            "subject": record.subject,
        },
        "paraphrase_prompts": record.prompts("paraphrase"),
        "neighborhood_prompts": record.prompts("same_old_object"),
        "attribute_prompts": record.prompts("same_new_object"),
        "generation_prompts": [],
    }


def write(order: Order, folder: Path, place: Path) -> str:
    """Both files, for the edits of a draw."""
    rows = [record_row(record) for record in records_of(order.edit_sets())]
    for name in FILES:
        write_json(folder / name, rows)
    return f"{len(rows)} records; put {place} where globals.yml says DATA_DIR, and pass --skip_generation_tests"
