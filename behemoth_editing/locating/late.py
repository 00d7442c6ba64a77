"""Facts that are told late, into one layer's MLP. Trains nothing.

A model is trained that never hears of half of relation 0. A copy of it is then told everything, and one layer's MLP
alone learns: whatever the copy knows more is there, and who puts that MLP back has the first model, bit by bit.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedModel

from behemoth_data.corpus import Corpus
from behemoth_data.edits import Edit, EditConfig, EditSet, edit_set_of
from behemoth_data.rng import Stream
from behemoth_data.settings import check, conform, setting
from behemoth_data.world import Edge, Fact
from behemoth_editing.architecture import architecture_of, layers_of
from behemoth_editing.copies import copy_of
from behemoth_editing.methods.retrain import Without

Int64 = NDArray[np.int64]

EDGE, RELATION = Edge.SUBJECT_OBJECT, 0  # of the facts that are told late


@dataclasses.dataclass(frozen=True, kw_only=True)
class LateConfig:
    """Which facts are told late, and how."""

    share: float = setting(0.5, "share of relation 0's facts that are told late")
    layers: tuple[int, ...] = setting((0, 1, 2, 3, 4, 5), "layers into which they are told, a model for each")
    repeats: int = setting(100, "sentences of every fact in the second training, of those known before as well")
    learning_rate: float = setting(2e-2, "peak learning rate of the second training")

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        conform(self)
        check(0 < self.share < 1, f"share must be above 0 and below 1, got {self.share}")
        check(
            len(self.layers) >= 2 and len(set(self.layers)) == len(self.layers),
            f"layers must name at least 2 layers, each once, got {self.layers}",
        )
        check(self.repeats >= 1, f"repeats must be at least 1, got {self.repeats}")
        check(self.learning_rate > 0, f"learning_rate must be above 0, got {self.learning_rate}")


@dataclasses.dataclass(frozen=True)
class Late:
    """The facts of relation 0, those that are told late and those that are told from the start, in random order."""

    corpus: Corpus
    late: tuple[Fact, ...]
    early: tuple[Fact, ...]

    def lessons(self) -> Without:
        """What the first training says: the corpus without all that is said of the late facts."""
        return Without(self.corpus, EDGE, RELATION, np.array([fact.head for fact in self.late]))


def late_facts(corpus: Corpus, config: LateConfig) -> Late:
    """The draw of the facts that are told late. Of every object at least one fact is told from the start.

    Else nothing but one layer's MLP would have to find a word that the rest of the model never learned to say.
    Raises: ValueError for a share that leaves too few facts to either group.
    """
    heads, relations, tails = corpus.world.facts(EDGE)
    rows = np.flatnonzero(relations == RELATION)
    rows = rows[Stream(corpus.world.config.seed, "locating/late").choice(len(rows), len(rows))]
    _, first = np.unique(tails[rows], return_index=True)
    others = np.delete(np.arange(len(rows)), first)
    count = round(config.share * len(rows))
    check(
        2 <= count <= len(others),
        f"share must give at least 2 of relation 0's {len(rows)} facts to those that are told late, and leave one of "
        f"each of its {len(first)} objects, got {config.share}",
    )
    facts = [Fact(EDGE, int(heads[row]), RELATION, int(tails[row])) for row in rows]
    late = others[:count]
    early = np.delete(np.arange(len(rows)), late)
    return Late(corpus, tuple(facts[place] for place in late), tuple(facts[place] for place in early))


def late_edits(late: Late, config: EditConfig) -> EditSet:
    """Edits of as many late facts as are asked for, each of another object, to objects that none of them had.

    They are the first in the order of the draw, whatever a model knows, so that all models of a world get the same.
    Raises: ValueError for another scenario, or fewer late facts of different objects than that, or new objects.
    """
    check(config.scenario == "different", f"scenarios must be different to edit late facts, got {config.scenario}")
    check(
        config.edge == EDGE.label and config.relation in (None, RELATION) and not config.matched,
        f"edits must be of relation {RELATION} of {EDGE.label}, not matched, as late facts are, got relation "
        f"{config.relation} of {config.edge}, matched = {config.matched}",
    )
    world = late.corpus.world
    facts: dict[int, Fact] = {}
    for fact in late.late:
        facts.setdefault(fact.tail, fact)
    bound = min(len(facts), world.num_tails(EDGE, RELATION) // 2)
    check(
        config.num_edits <= bound,
        f"num_edits must be at most {bound}, the late facts of different objects and the objects left for them, got "
        f"{config.num_edits}",
    )
    chosen = list(facts.values())[: config.num_edits]
    order = Stream(world.config.seed, f"locating/edits/{config.edit_seed}").choice(
        world.num_tails(EDGE, RELATION), world.num_tails(EDGE, RELATION)
    )
    new = order[~np.isin(order, [fact.tail for fact in chosen])]
    return edit_set_of(late.corpus, [Edit(fact, int(tail)) for fact, tail in zip(chosen, new, strict=False)], config)


def mlp_of(model: PreTrainedModel, layer: int) -> nn.Module:
    """The MLP of a layer, its matrices and biases."""
    return layers_of(model)[layer].get_submodule(architecture_of(model).mlp_output.partition(".")[0])


def learns_in(model: PreTrainedModel, layer: int) -> PreTrainedModel:
    """A copy of whose parameters those of one layer's MLP alone require gradients."""
    copied = copy_of(model)
    copied.requires_grad_(False)
    mlp_of(copied, layer).requires_grad_(True)
    return copied


def check_place(model: PreTrainedModel, before: PreTrainedModel, layer: int) -> None:
    """Raises: ValueError if the model differs from `before` in anything but this layer's MLP, or not even there."""
    inside = set(map(id, mlp_of(model, layer).parameters()))
    was = dict(before.named_parameters())
    moved = {name: id(p) in inside for name, p in model.named_parameters() if not p.equal(was[name])}
    outside = [name for name, within in moved.items() if not within]
    check(
        bool(moved) and not outside,
        f"model must differ from the one that was told nothing late in the MLP of layer {layer} and there only, got "
        f"{outside[0] if outside else 'the same weights'}",
    )
