"""The contract that every editing method keeps, and what methods share. No method of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, Protocol

import torch
from transformers import PreTrainedModel

from behemoth_data.edits import EditTask

# What a method wants of the edited prompts: the new answer, any answer but the old one, or the refusal.
GOALS = ("edit", "forget", "refuse")

# What a method may read of its task, beside the model: its `reads` are among these names.
READS = {
    "requests": "the edited prompts with their new answers",
    "originals": "the edited prompts with the answers they had",
    "refusals": "the edited prompts with the refusal",
    "retain": "facts that must stay",
    "same_subject": "other facts of the edited subjects, where the draw offers some",
    "statistics": "C = E[k k^T] of an MLP layer's keys over the corpus",
    "contexts": "sentences that stand before a prompt, if its setting says so",
    "earlier": "the edits before this one in a sequence",
    "world": "the world after the edits, and the recipe of training",
}


@dataclasses.dataclass(frozen=True)
class Edited:
    """An edited copy of a model, and the method's own numbers about how it got there."""

    model: PreTrainedModel
    details: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Fitted:
    """Weights that were trained for a task, before anything is done to them."""

    weights: str  # digest of the model that they come from
    task: EditTask
    method: object  # its settings, but for what it does after training
    parameters: tuple[torch.Tensor, ...]
    details: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class KeyStatistics:
    """C = E[k k^T] of one layer's keys over sentences of a corpus, each sentence counted once.

    Source: Meng et al., "Locating and editing factual associations in GPT", 2022, section 3.1.
    """

    second_moment: torch.Tensor  # [D, D] float64
    num_keys: int
    weights: str  # digest of the weights that the keys are made by
    corpus: str  # digest of the corpus whose sentences they are
    left_out: str = ""  # digest of the facts whose sentences are left out; empty where none are


@dataclasses.dataclass
class Shared:
    """What many edits of one model use and one computation gives; every entry is known by its sources."""

    # By weights, corpus and layer: over all sentences, and without those of one draw's asked facts, the last draw's.
    key_statistics: dict[tuple[str, str, int], KeyStatistics] = dataclasses.field(default_factory=dict)
    unasked: dict[tuple[str, str, int], KeyStatistics] = dataclasses.field(default_factory=dict)
    # Seconds that each of these took, by what is known of it, and those among them that the cell now made asked for.
    costs: dict[tuple[object, ...], float] = dataclasses.field(default_factory=dict)
    needed: dict[tuple[object, ...], float] = dataclasses.field(default_factory=dict)
    fitted: Fitted | None = None  # the last one
    # In a sequence, the model before the first edit, for methods whose settings ask for its statistics.
    original: PreTrainedModel | None = None
    # Spent on key statistics, which is no single edit's cost, less what edits were spared by the last one's training,
    # which is the cost of theirs too.
    seconds: float = 0.0
    progress: bool = True  # whether what takes long shows a bar
    # What a method that trains calls after each optimizer step, with the model as it is then and the number of steps.
    watch: Callable[[PreTrainedModel, int], None] | None = None


class EditMethod(Protocol):
    """A frozen dataclass of settings; calling it edits a copy and leaves the model given bit-identical.

    The model given is not run at all, so that its mode and its gradients stay as they are even where an edit fails. All
    is computed on the copy, in evaluation mode and float32 (see copy_of), and given back in the types of the weights
    given (see stored_like).
    `shared` may be given to let several calls share expensive statistics; results do not depend on it, but for a
    method whose settings ask for what the model was before a sequence began. What a method wants to know of earlier
    edits in a sequence it finds in `task.earlier`: a model that is saved and loaded again brings no other record.
    It reads no more of its task than its `reads` say, so that methods can be compared by what they know.
    """

    name: ClassVar[str]
    goal: ClassVar[str]  # one of GOALS
    reads: ClassVar[tuple[str, ...]]  # of READS

    def check(self, model: PreTrainedModel) -> None:
        """Raises: ValueError for a setting that the model cannot have, such as a layer."""
        ...

    def __call__(self, model: PreTrainedModel, task: EditTask, shared: Shared | None = None) -> Edited:
        """The edited copy. Raises: ValueError as check() does."""
        ...
