"""What an edited model shows of the edits that it holds, whoever made them, and what a row says before it is known.

One function counts for all: models that a sweep edits, models from elsewhere, and models that are looked at again.
"""

from __future__ import annotations

import dataclasses
import datetime
import platform
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import torch
from transformers import PreTrainedModel

from behemoth_data.edits import EditConfig, EditSet, draw_edits
from behemoth_data.scenarios import num_edited
from behemoth_data.settings import told
from behemoth_editing.checkpoint import Checkpoint
from behemoth_editing.scoring.counts import Said, said_by, units_after
from behemoth_editing.scoring.scores import score_units
from behemoth_editing.scoring.weights import weight_change
from behemoth_editing.sweep.plain import plain
from behemoth_editing.sweep.rows import Row
from behemoth_models.knowledge import weights_digest


@dataclasses.dataclass(frozen=True)
class Draw:
    """Edit sets and what the model says before they are made: one entry per set."""

    sets: tuple[EditSet, ...]
    said: list[Said]

    def only(self, number: int) -> Draw:
        """One set of them."""
        return Draw((self.sets[number],), [self.said[number]])


def drawn(checkpoint: Checkpoint, edits: EditConfig, most: int | None = None) -> Draw:
    """The sets of a draw, the first `most` if given, and what the checkpoint's model says to them."""
    return asked(checkpoint, draw_edits(checkpoint.corpus, edits)[:most])


def asked(checkpoint: Checkpoint, sets: Sequence[EditSet]) -> Draw:
    """These sets, and what the checkpoint's model says to them."""
    return Draw(tuple(sets), [said_by(checkpoint.model, edit_set) for edit_set in sets])


@dataclasses.dataclass(frozen=True)
class Seen:
    """What one edited model shows."""

    units: list[dict[str, Any]]  # of every set whose edits it holds
    weights: str  # digest
    change: dict[str, Any]  # norm, relative and rank of the change of its weights


def seen(original: PreTrainedModel, edited: PreTrainedModel, draw: Draw, first: int = 0) -> Seen:
    """What a model shows that holds the edits of all sets of the draw, units being numbered from `first`.

    Raises: ValueError for a model of another architecture than the original's.
    """
    units: list[dict[str, Any]] = []
    for edit_set, said in zip(draw.sets, draw.said, strict=True):
        units += units_after(edit_set, said, edited, first=first + len(units))
    change = weight_change(original, edited)
    return Seen(units, weights_digest(edited), {"norm": change.norm, "relative": change.relative, "rank": change.rank})


def scored(before: str, models: Sequence[Seen]) -> Row:
    """The fields of a row that edited models give, by which alone rows are compared that were made again."""
    units = [unit for model in models for unit in model.units]
    weights = {
        "before": before,
        "after": [model.weights for model in models],
        "change": [model.change for model in models],
    }
    return {"units": units, "scores": score_units(units), "weights": weights}


def row_before(
    checkpoint: Checkpoint,
    edits: EditConfig,
    *,
    cell: str,
    method: str,
    settings: object,
    command: str | None = None,
) -> Row:
    """What is known of a cell before it runs."""
    world = checkpoint.corpus.world
    return {
        "cell": cell,
        "method": method,
        "settings": plain(settings),
        "precision": None,
        "scenario": edits.scenario,
        "edge": edits.edge,
        "relation": None if edits.relation_is_drawn else edits.relation_in(world),
        "num_edits": num_edited(world, edits),
        "seed": edits.edit_seed,
        "edits": told(edits),
        "structure": world.config.structure,
        "model": checkpoint.name,
        "hub_id": checkpoint.name if checkpoint.from_hub else None,
        "model_precision": checkpoint.precision,
        "world": told(world.config),
        "corpus": checkpoint.corpus.digest,
        "recall": checkpoint.recall,
        "load": load_of(checkpoint),
        "recipe": plain(checkpoint.recipe),
        **({} if checkpoint.pristine else {"lineage": plain(checkpoint.lineage)}),
        "scores": None,
        "units": None,
        "seconds": None,
        "weights": {"before": checkpoint.weights, "after": None, "change": None},
        "details": None,
        "looks": None,
        "retained": None,
        "versions": versions(),
        "device": checkpoint.model.device.type,
        "command": command,
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "error": None,
    }


def load_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """How large the model is, how much it was told, and how often.

    Parameters are those beside the input embedding, which holds no facts unless it is the head too; bits are the
    entropy of the world's facts. `sentences_per_fact` is None where the model does not say how it was trained.
    """
    model, corpus = checkpoint.model, checkpoint.corpus
    embedding = model.get_input_embeddings().get_parameter("weight")
    head: torch.nn.Module | None = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    apart = 0 if head is not None and embedding is head.get_parameter("weight") else embedding.numel()
    facts = sum(corpus.world.num_facts(edge) for edge in corpus.world.edges)
    batch = checkpoint.recipe.get("train", {}).get("batch_size")
    sentences = None if batch is None or checkpoint.steps is None else checkpoint.steps * batch
    return {
        "width": model.config.hidden_size,
        "layers": model.config.num_hidden_layers,
        "parameters": sum(parameter.numel() for parameter in model.parameters()) - apart,
        "facts": facts,
        "bits": corpus.world.config.bits,
        "steps": checkpoint.steps,
        # As training counts exposures: of all facts, those said more often too, by the corpus's own number.
        "sentences_per_fact": None if sentences is None else sentences / len(corpus) * corpus.config.repeats,
    }


def versions() -> dict[str, str]:
    """Those of this code and of what its numbers depend on."""
    found = {name: version(name) for name in ("torch", "transformers", "peft", "numpy")}
    return {"behemoth": version("behemoth-bench"), **found, "python": platform.python_version()}
