"""Other people's formats: what a world and its edits are in the tools that people use. See docs/bridges.md."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from behemoth_data.settings import check_known
from behemoth_editing.bridges import counterfact, easyedit, generator, inspect_tasks, lm_eval_tasks, open_unlearning
from behemoth_editing.bridges.order import Order, new_folder


class Bridge(NamedTuple):
    """The tool, as docs/bridges.md calls it, and what writes for it."""

    tool: str
    write: Callable[[Order, Path, Path], str]  # (order, folder to write to, its name later) -> what to do with it


BRIDGES = {
    "lm_eval": Bridge("lm-evaluation-harness", lm_eval_tasks.write),
    "inspect_ai": Bridge("inspect-ai", inspect_tasks.write),
    "counterfact": Bridge("memit, rome", counterfact.write),
    "easyedit": Bridge("EasyEdit", easyedit.write),
    "open_unlearning": Bridge("open-unlearning", open_unlearning.write),
    "generator": Bridge("the paper's generator", generator.write),
}


def write_bridge(name: str, order: Order, place: str | Path) -> str:
    """The new folder holds what the bridge writes; returned is what to do with it.

    Raises: ValueError for an unknown bridge, a folder that holds something, or what a world or a draw cannot give.
    """
    check_known("bridge", name, BRIDGES)
    with new_folder(place) as folder:
        return BRIDGES[name].write(order, folder, Path(place))
