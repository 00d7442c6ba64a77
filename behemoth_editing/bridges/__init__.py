"""Other people's formats: what a world and its edits are in the tools that people use. See docs/bridges.md."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from behemoth_data.settings import check_known
from behemoth_editing.bridges import counterfact, easyedit, generator, inspect_tasks, lm_eval_tasks, open_unlearning
from behemoth_editing.bridges.order import Order, new_folder


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bridge:
    """One tool: what is written for it, and how we know that it reads it."""

    name: str
    tool: str
    writes: str
    needs: str  # beside what is installed here
    tested: str
    write: Callable[[Order, Path, Path], str]  # (order, folder to write to, its name later) -> what to do with it


_TABLE = (
    Bridge(
        name="lm_eval",
        tool="lm-evaluation-harness",
        writes="a task for every table, or kind of probe, and form",
        needs="lm_eval from PyPI",
        tested="with lm_eval 0.4.13: fact by fact what our recall and our probes say",
        write=lm_eval_tasks.write,
    ),
    Bridge(
        name="counterfact",
        tool="memit, rome",
        writes="multi_counterfact.json and counterfact.json, a record for each edit",
        needs="a checkout of theirs",
        tested="by what their readers ask of a record",
        write=counterfact.write,
    ),
    Bridge(
        name="easyedit",
        tool="EasyEdit",
        writes="its counterfact, zsRE and KnowEdit files, the arguments of edit(), settings, statistics of keys",
        needs="a checkout of theirs",
        tested="with its rome and memit at 14cea82, loaded from a checkout without the rest of EasyEdit",
        write=easyedit.write,
    ),
    Bridge(
        name="open_unlearning",
        tool="open-unlearning, TOFU",
        writes="a data set in TOFU's configs, and the YAML files that point to it and to the model",
        needs="a checkout of theirs with its requirements",
        tested="with open-unlearning at d3d7cf9: its GradDiff and its evaluation ran on these files",
        write=open_unlearning.write,
    ),
    Bridge(
        name="generator",
        tool="the paper's generator",
        writes="texts, graph, tokenizer, validation and fine-tuning files in its layout",
        needs="a checkout of theirs, to make data or fine-tuning files by it",
        tested="with the generator at 4bf6d13: it reads our graph, and its graph and edits are read here",
        write=generator.write,
    ),
    Bridge(
        name="inspect_ai",
        tool="inspect-ai",
        writes="rows for every table, or kind of probe, and form, and a task over them",
        needs="inspect_ai from PyPI",
        tested="with inspect_ai 0.3.285: fact by fact what our recall says",
        write=inspect_tasks.write,
    ),
)
BRIDGES: dict[str, Bridge] = {bridge.name: bridge for bridge in _TABLE}


def write_bridge(name: str, order: Order, place: str | Path) -> str:
    """The new folder holds what the bridge writes; returned is what to do with it.

    Raises: ValueError for an unknown bridge, a folder that holds something, or what a world or a draw cannot give.
    """
    check_known("bridge", name, BRIDGES)
    with new_folder(place) as folder:
        return BRIDGES[name].write(order, folder, Path(place))
