"""A grid of attacks -> one row per attack on one edited model, appended as each ends. No attack of its own.

A trial is one attack with its settings on what a method made of one draw of edits of one model. A model is edited once
for all attacks on it that are missing.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import time
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tqdm import tqdm
from transformers import PreTrainedModel

from behemoth_data.edits import EditConfig, EditSet, draw_edits
from behemoth_data.places import local_path
from behemoth_data.settings import check, digest
from behemoth_editing.attacks.contract import Attack, Attacked, Refused
from behemoth_editing.checkpoint import Checkpoint
from behemoth_editing.methods.contract import EditMethod, Shared
from behemoth_editing.scoring.bits import inferable
from behemoth_editing.sweep.cells import Known, distinct_draws, done_in
from behemoth_editing.sweep.plain import plain, words_of
from behemoth_editing.sweep.rows import Row, append_row
from behemoth_editing.sweep.seen import row_before
from behemoth_models.knowledge import weights_digest

TRIALS = "attacks.jsonl"

_OF_CELLS = ("scores", "units", "looks", "retained", "precision")  # fields of other rows that these do not have
# To know that a fact is not of object 0 is log2(C / (C - 1)) bits: 0.15 of 10 objects, 0.01 of 100, and all of 2.
_LEAST_OBJECTS = 10
_DIGITS = 4  # of bits, behind the point


@dataclasses.dataclass(frozen=True, eq=False)
class Trial(Known):
    """One attack on one method's model of one draw of edits. Two with the same id are equal."""

    checkpoint: Checkpoint
    edits: EditConfig
    method: EditMethod
    attack: Attack

    @functools.cached_property
    def id(self) -> str:
        """That of the model, the method and the attack with their settings, the draw and the version of this code."""
        weights, corpus, code = self.checkpoint.weights, self.checkpoint.corpus.digest, version("behemoth-bench")
        parts = [(self.method.name, plain(self.method)), (self.attack.name, plain(self.attack))]
        return digest(["attack", weights, corpus, *parts, self.edits, code])

    @property
    def edited(self) -> tuple[Checkpoint, EditConfig, EditMethod]:
        """What is shared by all attacks on one model."""
        return self.checkpoint, self.edits, self.method


def trials(
    checkpoints: Iterable[Checkpoint],
    draws: Iterable[EditConfig],
    methods: Iterable[EditMethod],
    attacks: Iterable[Attack],
) -> list[Trial]:
    """Every combination as a trial, once, those of one edited model next to each other."""
    combinations = itertools.product(checkpoints, draws, methods, attacks)
    return list(dict.fromkeys(itertools.starmap(Trial, combinations)))


def by_edited(found: Sequence[Trial]) -> list[list[Trial]]:
    """The trials of one edited model together, in their order."""
    return [list(group) for _, group in itertools.groupby(found, key=lambda trial: trial.edited)]


def check_trials(found: Sequence[Trial]) -> None:
    """Raises: ValueError for the first trial that its model or its world cannot have. Edits and attacks nothing."""
    for trial in found:
        trial.method.check(trial.checkpoint.model)
        trial.attack.check(trial.checkpoint.model)
    for checkpoint, edits in distinct_draws(found):
        drawn = draw_edits(checkpoint.corpus, edits)
        check(len(drawn) == 1, f"scenario must make one set of edits to be attacked, got {len(drawn)}")
        inferable(checkpoint.corpus.world, drawn[0].edge, [drawn[0].edits[0].fact.head], drawn[0].relation)
        objects = checkpoint.corpus.world.num_tails(drawn[0].edge, drawn[0].relation)
        check(
            edits.scenario != "forget" or objects >= _LEAST_OBJECTS,
            f"num_objects must be at least {_LEAST_OBJECTS} for what is left of a forgotten fact to be counted, since "
            f"none of those has object 0, which says something of all, got {objects}",
        )


def missing(found: Sequence[Trial], output: Path, *, dry_run: bool = False) -> list[Trial]:
    """The trials that `output` has no row for, in a file that then has one row for each that is done, and no other.

    A dry run leaves the file as it is.
    Raises: ValueError if the rows there are of other models or another version of this code.
    """
    output = local_path("output_dir", output)
    path = output / TRIALS
    if not path.exists():
        check(
            not output.exists() or (output.is_dir() and not any(output.iterdir())),
            f"output_dir must be new, empty or hold {TRIALS}, got {output}, which holds something else",
        )
        return list(found)
    done = done_in(path, found, lambda row: row["error"] is None, dry_run=dry_run)
    return [trial for trial in found if trial.id not in done]


def attack_all(
    groups: Sequence[Sequence[Trial]], output: Path, *, progress: bool = True, command: str | None = None
) -> list[Row]:
    """A row for each trial, appended to `output`/attacks.jsonl as it ends; the trials of a group share an edited model.

    A trial that fails says why in its row, and so does every trial of a group whose edit fails; an attack that cannot
    be tried on such a model is no failure: its row is `refused`.
    """
    output = local_path("output_dir", output)
    output.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    shared: tuple[Checkpoint, Shared] | None = None
    with tqdm(total=sum(map(len, groups)), desc="attacks", unit="attack", disable=not progress) as bar:
        for group in groups:
            checkpoint, edits, method = group[0].edited
            if shared is None or shared[0] is not checkpoint:
                shared = checkpoint, Shared(progress=False)
            bar.set_postfix(method=method.name, attack="editing")
            edited = _edited(checkpoint, edits, method, shared[1])
            for trial in group:
                bar.set_postfix(method=method.name, attack=trial.attack.name)
                row = row_of(trial, command) | _result(trial, edited)
                append_row(output / TRIALS, row)
                rows.append(row)
                bar.update()
    return rows


def row_of(trial: Trial, command: str | None = None) -> Row:
    """What is known of a trial before it runs."""
    row = row_before(
        trial.checkpoint,
        trial.edits,
        cell=trial.id,
        method=trial.method.name,
        settings=trial.method,
        command=command,
    )
    known = {name: value for name, value in row.items() if name not in _OF_CELLS}
    return {**known, "attack": trial.attack.name, "attack_settings": plain(trial.attack), "refused": None}


@dataclasses.dataclass(frozen=True)
class _Model:
    """An edited model, and what its edit took."""

    task: EditSet
    model: PreTrainedModel
    weights: str
    details: dict[str, Any]
    seconds: float


def _edited(checkpoint: Checkpoint, edits: EditConfig, method: EditMethod, shared: Shared) -> _Model | str:
    """The edited model, or why there is none."""
    started = time.perf_counter()
    try:
        (task,) = draw_edits(checkpoint.corpus, edits)
        found = method(checkpoint.model, task, shared)
    except Exception as error:  # one bad edit must not cost the others: its rows say what happened
        return words_of(error)
    return _Model(task, found.model, weights_digest(found.model), found.details, time.perf_counter() - started)


def _result(trial: Trial, edited: _Model | str) -> Row:
    """The fields of a row that the attack gives."""
    if isinstance(edited, str):
        return {"error": plain(edited)}
    started = time.perf_counter()
    found: Row = {"weights": {"before": trial.checkpoint.weights, "after": [edited.weights]}, "details": edited.details}
    try:
        found |= _left(trial.attack(edited.model, edited.task), edited.task, trial.attack.axis)
    except Refused as refused:
        found["refused"] = str(refused)
    except Exception as error:  # an attack may fail in any way, and the others are to be told of all the same
        found["error"] = words_of(error)
    found["seconds"] = {"edit": edited.seconds, "attack": time.perf_counter() - started}
    return dict(plain(found))


def _left(attacked: Attacked, task: EditSet, axis: str) -> Mapping[str, Any]:
    """What an attack found, as a row has it: one number for each fact and step."""
    heads = [task.edits[place].fact.head for place in attacked.asked.tolist()]
    return {
        "axis": axis,
        "heads": heads,
        "candidates": task.corpus.world.num_tails(task.edge, task.relation),
        "inferable": inferable(task.corpus.world, task.edge, heads, task.relation).round(_DIGITS).tolist(),
        "left": [
            {
                "step": one.step,
                "label": one.label,
                "said": one.said.round(_DIGITS).tolist(),
                "bits": one.bits.round(_DIGITS).tolist(),
                "right": one.right.astype(int).tolist(),
            }
            for one in attacked.looks
        ],
        "attack_details": attacked.details,
    }
