"""An edited model as an ordinary folder, which says in its config.json what was done to it. No edit is made here."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from behemoth_data.edits import EditSet
from behemoth_data.places import whole_folder
from behemoth_data.readable import make_readable
from behemoth_data.settings import check
from behemoth_data.tokenizer import build_tokenizer
from behemoth_editing.checkpoint import Checkpoint
from behemoth_editing.methods.contract import EditMethod
from behemoth_editing.sweep.plain import plain
from behemoth_models.knowledge import recall, weights_digest


def check_world(checkpoint: Checkpoint, edit_set: EditSet) -> None:
    """Raises: ValueError for edits of another world, or of one in other words."""
    own, found = checkpoint.corpus.digest, edit_set.corpus.digest
    check(own == found, f"edit_set must be of the corpus {own}, which {checkpoint.name} was taught, got {found}")


def write_edited(
    edited: PreTrainedModel, checkpoint: Checkpoint, edit_sets: Sequence[EditSet], method: EditMethod, folder: Path
) -> None:
    """The folder is the edited model with its tokenizer, its own recall and its lineage; it has its name when whole.

    The lineage is that of the checkpoint and one step more: the parent's digest, the method with its settings, the draw
    and the edits. The model's own digest stands beside it as `weights`.
    Raises: ValueError for a model of another shape than the checkpoint's or with weights of several types, which no
    folder keeps, or edits of another world.
    """
    shapes, found = (
        {name: tuple(weight.shape) for name, weight in model.named_parameters()} for model in (checkpoint.model, edited)
    )
    check(shapes == found, f"edited must have the parameters of {checkpoint.name}, got a model of another shape")
    types = sorted({str(weight.dtype) for weight in edited.parameters()})
    check(len(types) == 1, f"edited must have weights of one type, got {', '.join(types)}")
    for edit_set in edit_sets:
        check_world(checkpoint, edit_set)
    own = edited.config
    with whole_folder(folder) as partial:
        edited.config = copy.deepcopy(own)
        edited.config.behemoth = _description(edited, checkpoint, edit_sets, method)
        edited.config.use_cache = True
        # Every process saves models of its own; since version 5 transformers writes nothing on any but the first.
        vars(edited)["should_save_on_this_rank"] = lambda is_main_process: True
        try:
            edited.save_pretrained(partial)
        finally:
            edited.config = own
            del vars(edited)["should_save_on_this_rank"]
        build_tokenizer(checkpoint.corpus.grammar.lexicon).save_pretrained(partial)
        make_readable(partial)


def _description(
    edited: PreTrainedModel, checkpoint: Checkpoint, edit_sets: Sequence[EditSet], method: EditMethod
) -> dict[str, Any]:
    """What config.json says under "behemoth"."""
    carried = checkpoint.model.config.behemoth
    step = {
        "parent": checkpoint.weights,
        "method": method.name,
        "settings": plain(method),
        "draw": plain(edit_sets[0].config),
        "edits": [plain(edit) for edit_set in edit_sets for edit in edit_set.edits],
    }
    return {
        **carried,
        "recall": {form: recall(edited, checkpoint.corpus, form) for form in carried["recall"]},
        "weights": weights_digest(edited),
        "edited": [*checkpoint.lineage, step],
    }
