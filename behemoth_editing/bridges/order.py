"""What every bridge is asked for, and how a folder of theirs comes to be. No foreign format is known here."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from behemoth_data.corpus import Corpus
from behemoth_data.edits import EditConfig, EditSet, Probe, draw_edits
from behemoth_data.forms import form_of, has_prompt
from behemoth_data.places import local_path, whole_folder
from behemoth_data.settings import check, check_known
from behemoth_data.tables import fact_table
from behemoth_editing.checkpoint import Checkpoint

ASKED = ("facts", "probes")  # of a world, or around the edits of a draw


@dataclasses.dataclass(frozen=True, kw_only=True)
class Order:
    """A model with its world, and what of it a bridge is to write."""

    checkpoint: Checkpoint
    ask: str = "facts"  # where a bridge can write either
    draw: EditConfig = dataclasses.field(default_factory=EditConfig)
    statistics: bool = False  # whether to write statistics of keys, which takes the model

    def __post_init__(self) -> None:
        """Raises: ValueError for an unknown thing to ask."""
        check_known("ask", self.ask, ASKED)

    @property
    def corpus(self) -> Corpus:
        """What the model was taught."""
        return self.checkpoint.corpus

    def edit_sets(self) -> tuple[EditSet, ...]:
        """The edit sets of the draw. Raises: ValueError if the world cannot offer them."""
        return draw_edits(self.corpus, self.draw)

    def groups(self) -> dict[str, list[dict[str, Any]]]:
        """What is to be asked, by a name that says which table or kind of probe it is and in which form."""
        return facts_of(self.corpus) if self.ask == "facts" else probes_of(self.edit_sets())

    @property
    def name(self) -> str:
        """What tasks and files are called: the structure of the world and, for probes, the scenario and the table."""
        parts = [self.corpus.world.config.structure]
        if self.ask == "probes":
            parts += [self.draw.scenario, self.draw.edge]
        return "_".join(("behemoth", *parts))


def facts_of(corpus: Corpus) -> dict[str, list[dict[str, Any]]]:
    """Every fact of the world with its prompt and its answer, by table and form, in the order of World.facts.

    The forms are those of the corpus that have a prompt; each is asked about all facts, as known_facts() does.
    """
    return {
        f"{edge.label}_{form}": fact_table(corpus, edge, form)
        .select(["prompt", "answer", "subject", "relation", "object"])
        .to_pylist()
        for form in filter(has_prompt, corpus.forms)
        for edge in form_of(form).asked_in(corpus.world)
    }


def probes_of(edit_sets: Iterable[EditSet]) -> dict[str, list[dict[str, Any]]]:
    """The probes of every set by kind and form, with their right answers.

    What an edit changes, or may change, is asked twice: `_after` is what the edited model should say, `_before` what
    the original does.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    sets = list(edit_sets)
    for number, edit_set in enumerate(sets):
        prefix = f"set{number}_" if len(sets) > 1 else ""
        for (kind, form), probes in grouped(edit_set.probes).items():
            name = f"{prefix}{kind}_{form}"
            if all(probe.before.answer_ids == probe.after.answer_ids for probe in probes):
                found[name] = [_row(probe, probe.after.answer) for probe in probes]
            else:
                found[f"{name}_before"] = [_row(probe, probe.before.answer) for probe in probes]
                found[f"{name}_after"] = [_row(probe, probe.after.answer) for probe in probes]
    return found


def grouped(probes: Iterable[Probe]) -> dict[tuple[str, str], list[Probe]]:
    """Probes by kind and form, in their order."""
    found: dict[tuple[str, str], list[Probe]] = {}
    for probe in probes:
        found.setdefault((probe.kind, probe.form), []).append(probe)
    return found


def _row(probe: Probe, answer: str) -> dict[str, Any]:
    return {"prompt": probe.prompt, "answer": answer, "edit": probe.edit, "edge": probe.fact.edge.label}


@contextlib.contextmanager
def new_folder(place: str | Path) -> Iterator[Path]:
    """A folder to write to, which has its name once all is written. Raises: ValueError for one that holds something."""
    folder = local_path("output_dir", place)
    check(
        not folder.exists() or (folder.is_dir() and not any(folder.iterdir())),
        f"output_dir must be new or empty, so that nothing is lost, got {folder}",
    )
    with whole_folder(folder) as partial:
        yield partial


def write_json(path: Path, value: Any) -> None:
    """The file is this value as JSON."""
    put_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """The file has one JSON object a line."""
    put_text(path, "".join(f"{json.dumps(row, allow_nan=False)}\n" for row in rows))


def write_yaml(path: Path, value: Mapping[str, Any]) -> None:
    """The file is this mapping as YAML, its keys in their order."""
    put_text(path, yaml_text(value))


def yaml_text(value: Mapping[str, Any]) -> str:
    """The mapping as YAML, its keys in their order."""
    text: str = yaml.safe_dump(dict(value), sort_keys=False, allow_unicode=True)
    return text


def put_text(path: Path, text: str) -> None:
    """The file is this text, in a folder that is made for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")
