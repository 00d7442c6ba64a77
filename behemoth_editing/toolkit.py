"""What a notebook needs: draw edits, score a model that was edited, and keep it. The methods are in METHODS."""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from behemoth_data.edits import Edit, EditConfig, EditSet, draw_edits, edit_set_of
from behemoth_data.lexicon import EDGE_ROLES, Role
from behemoth_data.places import local_path, whole_folder
from behemoth_data.readable import make_readable
from behemoth_data.settings import check, whole
from behemoth_data.tokenizer import build_tokenizer
from behemoth_data.world import Edge
from behemoth_editing.checkpoint import Checkpoint
from behemoth_editing.methods.contract import EditMethod
from behemoth_editing.report.text import share
from behemoth_editing.scoring.counts import Said, said_by, units_after
from behemoth_editing.scoring.scores import HEADLINES, MEASURED, MEASURES, Scores, by_kind, score_units
from behemoth_editing.sweep.plain import plain
from behemoth_models.knowledge import recall, weights_digest


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
    corpus, table = checkpoint.corpus, Edge.from_label(edge) if isinstance(edge, str) else edge
    corpus.world.num_heads(table)  # refuses a table that the world lacks
    lexicon, (head_role, relation_role, tail_role) = corpus.grammar.lexicon, EDGE_ROLES[table]

    def found(field: str, role: Role, given: str | int, group: int = 0) -> int:
        return lexicon.id_of(role, given, group) if isinstance(given, str) else whole(field, given)

    place = found("relation", relation_role, relation)
    head = found("subject", head_role, subject, place if head_role is Role.OBJECT else 0)
    fact = corpus.world.fact(table, head, place)
    return edit_set_of(corpus, [Edit(fact, found("new_object", tail_role, new_object, place))], config)


@dataclasses.dataclass(frozen=True)
class Scored:
    """An edit set's raw counts, edit by edit, and the scores that come of them, as in a result row."""

    units: list[dict[str, Any]]
    scores: Scores

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


def score(before: Checkpoint | Said, after: PreTrainedModel, edit_set: EditSet) -> Scored:
    """How the edited model answers the set's probes, beside the checkpoint it was made from.

    `before` may be what said_by() has of the checkpoint's model, so that several methods share its answers.
    Raises: ValueError for edits of another world than the checkpoint's.
    """
    if isinstance(before, Checkpoint):
        _check_world(before, edit_set)
    said = said_by(before.model, edit_set) if isinstance(before, Checkpoint) else before
    units = units_after(edit_set, said, after)
    return Scored(units, score_units(units))


def _check_world(checkpoint: Checkpoint, edit_set: EditSet) -> None:
    """Raises: ValueError for edits of another world, or of one in other words."""
    own, found = checkpoint.corpus.digest, edit_set.corpus.digest
    check(own == found, f"edit_set must be of the corpus {own}, which {checkpoint.name} was taught, got {found}")


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
    shapes, found = (
        {name: tuple(weight.shape) for name, weight in model.named_parameters()} for model in (checkpoint.model, edited)
    )
    check(shapes == found, f"edited must have the parameters of {checkpoint.name}, got a model of another shape")
    types = sorted({str(weight.dtype) for weight in edited.parameters()})
    check(len(types) == 1, f"edited must have weights of one type, got {', '.join(types)}")
    sets = (edit_sets,) if isinstance(edit_sets, EditSet) else tuple(edit_sets)
    check(len(sets) > 0, "edit_sets must hold at least 1 edit set, got 0")
    for edit_set in sets:
        _check_world(checkpoint, edit_set)
    step = {
        "parent": checkpoint.weights,
        "method": method.name,
        "settings": plain(method),
        "draw": plain(sets[0].config),
        "edits": [plain(edit) for edit_set in sets for edit in edit_set.edits],
    }
    own = edited.config
    carried = checkpoint.model.config.behemoth
    description = {
        **carried,
        "recall": {form: recall(edited, checkpoint.corpus, form) for form in carried["recall"]},
        "weights": weights_digest(edited),
        "edited": [*checkpoint.lineage, step],
    }
    with whole_folder(place) as partial:
        edited.config = copy.deepcopy(own)
        edited.config.behemoth = description
        edited.config.use_cache = True
        try:
            edited.save_pretrained(partial)
        finally:
            edited.config = own
        build_tokenizer(checkpoint.corpus.grammar.lexicon).save_pretrained(partial)
        make_readable(partial)
    return place
