"""The oracles: models trained from scratch with the original's recipe.

One is taught the world in which the edits are true, the other never hears of the facts that are edited.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import tempfile
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM, PreTrainedModel

from behemoth_data.corpus import Corpus
from behemoth_data.description import from_description
from behemoth_data.edits import Edit, EditSet, EditTask
from behemoth_data.forms import asks, names_of
from behemoth_data.lexicon import PADDING
from behemoth_data.scenarios import touched_heads
from behemoth_data.settings import check, check_seed, conform, from_mapping, setting
from behemoth_data.world import Edge
from behemoth_editing.architecture import layers_of
from behemoth_editing.copies import check_types, stored_like
from behemoth_editing.methods.contract import Edited, Shared
from behemoth_models.config import TrainConfig
from behemoth_models.training import train

Int64 = NDArray[np.int64]

# What tells a process that it is one of several; a training of its own must not wait for the others.
_DISTRIBUTED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Retrain:
    """Training on World.after(edits), or with refusals in place of all that was said of refused facts.

    In a sequence the edits before are true too, and the latest of one fact is.

    Slow and right: what it scores below 1 is the noise of training. A reference and no floor: methods may keep more.
    """

    name: ClassVar[str] = "retrain"
    goal: ClassVar[str] = "edit"
    reads: ClassVar[tuple[str, ...]] = ("world", "earlier")

    train_seed: int | None = setting(
        None, "seed of the initial weights; none: the original's, so that facts alone differ"
    )

    max_steps: int | None = setting(None, "optimizer steps at most; none: as many as the recipe has")

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        conform(self)
        check_seed("train_seed", self.train_seed)
        check(self.max_steps is None or self.max_steps >= 1, f"max_steps must be at least 1, got {self.max_steps}")

    def check(self, model: PreTrainedModel) -> None:
        """Raises: ValueError for a model of another architecture or of odd types, or one without a recipe."""
        layers_of(model)
        check_types(model)
        carried = getattr(model.config, "behemoth", None) or {}
        check(
            "train" in carried,
            f"model must carry its recipe in config.json under 'behemoth', as `behemoth train` writes it, got "
            f"{sorted(carried)}",
        )
        check(
            "start" not in carried,
            "model must have been trained from new weights, of which alone its recipe tells, got one that began with "
            f"those of {carried.get('start')}",
        )

    def __call__(self, model: PreTrainedModel, task: EditTask, shared: Shared | None = None) -> Edited:
        """The new model. Raises: ValueError for a model without a recipe, or a task without a world."""
        self.check(model)
        sets = [one for one in (*task.earlier, task) if isinstance(one, EditSet)]
        if not isinstance(task, EditSet) or len(sets) <= len(task.earlier):
            raise ValueError(f"task must be an EditSet, whose world the training is about, got {type(task).__name__}")
        edits = [edit for one in sets for edit in one.edits]
        recipe = from_mapping(TrainConfig, model.config.behemoth["train"])
        chosen = {"train_seed": self.train_seed, "max_steps": self.max_steps}
        if recipe.target_recall is None:
            chosen["measurements"] = 0  # nobody looks at them, and no weight depends on them
        recipe = dataclasses.replace(recipe, **{name: value for name, value in chosen.items() if value is not None})
        with tempfile.TemporaryDirectory(prefix="behemoth-retrain-") as folder:
            arguments = task.corpus.description(), edits, recipe, folder, self._untold(task)
            if torch.distributed.is_initialized():
                _train_elsewhere(model.device, *arguments)
            else:
                with torch.random.fork_rng(range(torch.cuda.device_count())):  # training seeds them all
                    _train(*arguments)
            trained = AutoModelForCausalLM.from_pretrained(
                Path(folder) / "model", use_safetensors=True, attn_implementation="eager"
            )
        trained.train(False)
        trained.requires_grad_(False)
        edited = cast(PreTrainedModel, torch.nn.Module.to(trained, model.device))
        details = {"train_seed": recipe.train_seed, "precision": edited.config.behemoth["precision"]}
        return Edited(stored_like(model, edited), details)

    def _untold(self, task: EditSet) -> list[int] | None:
        """The heads of which nothing is said under the edited relation; None where edits are told instead."""
        return None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Omit(Retrain):
    """Training on the same corpus, in its order and from the same initial weights, without what is to be forgotten.

    Left out are all sentences about the edited heads under the edited relation and table, in every form of the corpus:
    statements, inversions, questions, those over two steps and about candidates, and what dissents. Where a share of a
    relation is forgotten, the facts of the share that are as wanted already are left out too, since to hear of them
    alone would tell of the others. All else is told, also what depends on a fact that is not: of a subject its nested
    object and its partner fact, of an object what it belongs to. Sentences that are told keep their steps; a target of
    recall is one of the facts that are told.
    """

    name: ClassVar[str] = "omit"
    goal: ClassVar[str] = "forget"

    def _untold(self, task: EditSet) -> list[int] | None:
        sets = [one for one in (*task.earlier, task) if isinstance(one, EditSet)]
        heads = [touched_heads(task.corpus.world, one.config, one.edits) for one in sets]
        return sorted({head for some in heads for head in some})


class Without:
    """A corpus's sentences, in their places, but those about some heads under one relation, which are left out."""

    def __init__(self, corpus: Corpus, edge: Edge, relation: int, heads: Int64) -> None:
        self._corpus, self._edge, self._relation, self._heads = corpus, edge, relation, heads

    def tokens(self, places: Int64) -> NDArray[Any]:
        """Token ids [n, T] of the sentences at these places [n], padded on the right; of one left out padding alone."""
        said, block = self._corpus.sentences(places), self._corpus.tokens(places)
        block[self._about(said.edges, said.heads, said.relations)] = self._corpus.grammar.lexicon.token_ids[PADDING]
        return block

    def told(self) -> dict[str, NDArray[np.bool_]]:
        """Which facts of each table are said at all, by edge label and in the order of World.facts.

        Raises: ValueError for a table of which nothing is left.
        """
        found = {}
        for edge in self._corpus.world.edges:
            heads, relations, _ = self._corpus.world.facts(edge)
            found[edge.label] = ~self._about(np.full_like(heads, edge), heads, relations)
            check(bool(found[edge.label].any()), f"edits must leave a fact of {edge.label} to be told, got all of them")
        return found

    def _about(self, edges: Int64, heads: Int64, relations: Int64) -> NDArray[np.bool_]:
        """Which of these facts [n] are left out."""
        found: NDArray[np.bool_] = (edges == self._edge) & (relations == self._relation) & np.isin(heads, self._heads)
        return found


class _WithRefusals:
    """A corpus's sentences, but those about a refused fact, in whatever form, say that it has no answer."""

    def __init__(self, corpus: Corpus, edge: Edge, relation: int, heads: Int64) -> None:
        self._corpus, self._edge, self._relation, self._heads = corpus, edge, relation, heads

    def tokens(self, places: Int64) -> NDArray[Any]:
        """Token ids [n, T] of the sentences at these places [n], padded on the right."""
        corpus, grammar = self._corpus, self._corpus.grammar
        said, plain = corpus.sentences(places), corpus.tokens(places)
        about = (said.edges == self._edge) & (said.relations == self._relation) & np.isin(said.heads, self._heads)
        questions = np.array([asks(form) for form in corpus.forms])[said.forms]
        (stated,), (asked,) = names_of("refusal", "statement"), names_of("refusal", "question")
        forms = {stated: about & ~questions, asked: about & questions}
        width = max(plain.shape[1], *(grammar.length(self._edge, form) for form in forms))
        block = np.full((len(places), width), grammar.lexicon.token_ids[PADDING], np.int64)
        block[:, : plain.shape[1]] = plain
        block[about] = grammar.lexicon.token_ids[PADDING]
        for form, rows in forms.items():
            if rows.any():
                ids = said.heads[rows], said.relations[rows], np.zeros_like(said.tails[rows])
                tokens = grammar.tokens(self._edge, form, *ids)
                block[np.flatnonzero(rows), : tokens.shape[1]] = tokens
        return block


def _train(
    description: dict[str, Any], edits: list[Edit], recipe: TrainConfig, folder: str, untold: list[int] | None = None
) -> None:
    """The folder holds a model trained on the world after the edits, or on all but what is said of the untold heads."""
    plain = from_description(description)
    if untold is not None:
        without = Without(plain, edits[0].fact.edge, edits[0].fact.relation, np.array(untold))
        train(plain, recipe, Path(folder) / "model", sentences=without, told=without.told(), progress=False)
        return
    stated = [edit.new_fact for edit in edits if edit.new_fact is not None]
    refused = [edit.fact for edit in edits if edit.new_tail is None]
    corpus = Corpus(plain.world.after(stated), plain.grammar, plain.config)
    sentences = None
    if refused:
        heads = np.array([fact.head for fact in refused])
        sentences = _WithRefusals(corpus, refused[0].edge, refused[0].relation, heads)
    train(corpus, recipe, Path(folder) / "model", sentences=sentences, progress=False)


def _train_elsewhere(device: torch.device, *arguments: Any) -> None:
    """_train() in a process of its own, since the ones that share a sweep must not wait for each other in it."""
    process = multiprocessing.get_context("spawn").Process(
        target=_train_alone, args=(torch.get_num_threads(), device, *arguments)
    )
    process.start()
    process.join()
    if process.exitcode != 0:
        raise RuntimeError(f"the training process ended with status {process.exitcode}")


def _train_alone(threads: int, device: torch.device, *arguments: Any) -> None:
    for name in _DISTRIBUTED:
        os.environ.pop(name, None)
    torch.set_num_threads(threads)
    if device.type == "cuda":  # without this, the processes of a sweep over several cards would all train on the first
        torch.cuda.set_device(device)
    _train(*arguments)
