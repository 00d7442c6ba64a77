"""What a notebook needs: draw edits, score a model that was edited, report, keep it. The methods are in METHODS."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from behemoth_data.edits import EditConfig, EditSet, draw_edits, edit_set_of
from behemoth_data.places import local_path
from behemoth_data.settings import check
from behemoth_data.world import Edge
from behemoth_editing.checkpoint import Checkpoint
from behemoth_editing.given import edit_of
from behemoth_editing.methods.contract import EditMethod
from behemoth_editing.report.text import share
from behemoth_editing.saving import check_world, write_edited
from behemoth_editing.scoring.counts import Said, said_by, units_after
from behemoth_editing.scoring.scores import HEADLINES, MEASURED, MEASURES, Scores, by_kind, score_units
from behemoth_editing.sweep.elsewhere import Maker, Outside
from behemoth_editing.sweep.plans import save_rows
from behemoth_editing.sweep.rows import Row
from behemoth_models.knowledge import weights_digest


def draw(checkpoint: Checkpoint, config: EditConfig | None = None) -> tuple[EditSet, ...]:
    """The edit sets of a seeded draw in the checkpoint's world, each with its mixture and all its probes.

    Raises: ValueError if the world cannot offer the edits.
    """
    return draw_edits(checkpoint.corpus, config or EditConfig())


def edit_fact(
    checkpoint: Checkpoint,
    subject: str | int,
    relation: str | int,
    new_object: str | int,
    *,
    edge: Edge | str = Edge.SUBJECT_OBJECT,
    config: EditConfig | None = None,
) -> EditSet:
    """One edit of a fact of your choice, by words or by ids, with its mixture and all its probes.

    In another table than SUBJECT_OBJECT, which its label names as well, subject and object are what stands first and
    last there. `config` says how large the mixture and the probes are, and its seed which facts they hold.
    Raises: ValueError for a table, a word or an id that the world does not have, or a new object that the fact has
    already.
    """
    return edit_set_of(checkpoint.corpus, [edit_of(checkpoint, subject, relation, new_object, edge)], config)


@dataclasses.dataclass(frozen=True)
class Scored:
    """An edit set's raw counts, edit by edit, and the scores that come of them, as in a result row."""

    units: list[dict[str, Any]]
    scores: Scores
    row: Row | None = None  # the result row, if it was said who made the edit

    def __str__(self) -> str:
        """Every score in a line of its own, with its 95% interval, which speaks of other edits of the same model."""
        measures = self.scores.get(MEASURES, {})
        lines = [(score.label, self.scores[score.name]) for score in HEADLINES]
        lines += [(score.label, measures[score.name]) for score in MEASURED if score.name in measures]
        lines += [
            (f"{score.label}, {kind.replace('_', ' ')}", number) for kind, score, number, _ in by_kind(self.scores)
        ]
        width = max(len(label) for label, _ in lines)
        return "\n".join(f"{label:<{width}}  {share(number, 3)}" for label, number in lines)


def score(before: Checkpoint | Said, after: PreTrainedModel, edit_set: EditSet, made: Maker | None = None) -> Scored:
    """How the edited model answers the set's probes, beside the checkpoint it was made from.

    `before` may be what said_by() has of the checkpoint's model, so that several methods share its answers. With
    `made`, which says by what the edit was made, the result row comes along, which report_on() takes.
    Raises: ValueError for edits of another world than the checkpoint's, or `made` without a checkpoint.
    """
    if isinstance(before, Checkpoint):
        check_world(before, edit_set)
    if made is not None:
        if not isinstance(before, Checkpoint):
            raise ValueError(f"before must be a checkpoint where made is given, got {type(before).__name__}")
        one = Outside(before, made, edit_set.config, ((edit_set,),), (weights_digest(after),))
        row = one.row() | one.results([after])
        return Scored(row["units"], row["scores"], row)
    said = said_by(before.model, edit_set) if isinstance(before, Checkpoint) else before
    units = units_after(edit_set, said, after)
    return Scored(units, score_units(units))


def report_on(found: Sequence[Scored], folder: str | os.PathLike[str]) -> Path:
    """The page `folder`/report/index.html shows these scores and all others of `folder`/results.jsonl, which has them.

    Raises: ValueError for scores without a row, which score() gives where it is said who made the edit, or for two that
    nothing tells apart.
    """
    from behemoth_editing.report.page import write_report  # with matplotlib, which editing does without

    place = local_path("folder", folder)
    rows = [one.row for one in found if one.row is not None]
    check(len(rows) == len(found), f"found must be scores with a row, got {len(found) - len(rows)} without")
    save_rows(rows, place)
    write_report([place], place / "report")
    return place / "report" / "index.html"


def save_edited(
    edited: PreTrainedModel,
    checkpoint: Checkpoint,
    edit_sets: EditSet | Sequence[EditSet],
    method: EditMethod,
    folder: str | os.PathLike[str],
) -> Path:
    """`folder` is the edited model, which plain transformers loads and load_checkpoint() knows for what it is.

    Beside its weights it has its tokenizer, its own recall of the world that the checkpoint was taught, measured here,
    and its lineage: the parent's digest, the method with its settings, and the edits. It is written under a hidden
    name first.
    Raises: ValueError for a folder that is there already, a model of another shape than the checkpoint's or with
    weights of several types, which no folder keeps, or edits of another world.
    """
    place = local_path("folder", folder)
    check(not os.path.lexists(place), f"folder must be new, so that no model is lost, got {place}")
    sets = (edit_sets,) if isinstance(edit_sets, EditSet) else tuple(edit_sets)
    check(len(sets) > 0, "edit_sets must hold at least 1 edit set, got 0")
    write_edited(edited, checkpoint, sets, method, place)
    return place
