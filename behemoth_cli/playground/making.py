"""From a wish to an edited model, with what became of every fact that is shown. One edit of a process at a time."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, get_type_hints

import numpy as np
from numpy.typing import NDArray
from torch.nn.modules.module import register_module_forward_pre_hook
from transformers import PreTrainedModel

from behemoth_cli.playground.asking import answered_tails
from behemoth_cli.playground.outcomes import Expected, codes_after
from behemoth_cli.playground.scene import facts_of, shown_subjects
from behemoth_cli.settings import value_of
from behemoth_data.edits import Edit, EditConfig, EditSet, edit_set_of
from behemoth_data.kinds import KINDS
from behemoth_data.scenarios import draw
from behemoth_data.settings import check, check_known, conform
from behemoth_data.world import Edge, Fact, World
from behemoth_editing import METHODS, Checkpoint, EditMethod, Maker, Scored, Shared, score
from behemoth_editing.sweep.plain import plain

NUMBERS_OF_EDITS = (1, 10, 100)
MOST_COUNT = 1000  # of steps, rows and whatever else a method counts, where a page that many share asks for it
SOURCE = "behemoth play"  # of result rows

Step = Callable[[float, str], None]  # told how far an edit is, from 0 to 1, and what is done now; may raise Stopped


class Stopped(Exception):
    """Somebody does not want the edit any more."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wish:
    """What somebody asks for: a fact and its new tail, how many more edits like it, and by which method."""

    edge: str = Edge.SUBJECT_OBJECT.label
    head: int = 0
    relation: int = 0
    new_tail: int = 0
    num_edits: int = 1
    edit_seed: int = 0  # of the other edits, and of which facts are asked
    method: str = "rome"

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        conform(self)
        Edge.from_label(self.edge)
        most = max(NUMBERS_OF_EDITS)
        check(1 <= self.num_edits <= most, f"num_edits must be from 1 to {most}, got {self.num_edits}")
        check_known("method", self.method, METHODS)


def method_of(name: str, texts: Mapping[str, str], most: int | None = None) -> EditMethod:
    """The method with these settings, each a field's value as the command line takes it.

    No whole number among them, but for seeds, is above `most`, if that is given.
    Raises: ValueError for a method or a field that there is not, or a value out of bounds.
    """
    check_known("method", name, METHODS)
    cls: type[Any] = METHODS[name]
    hints = get_type_hints(cls)
    known = [field.name for field in dataclasses.fields(cls)]
    for field in texts:
        check_known(f"setting of {name}", field, known)
    values = {field: value_of(field, hints[field], text) for field, text in texts.items()}
    for field, value in values.items():
        if most is not None and isinstance(value, int) and not field.endswith("seed"):
            check(value <= most, f"{field} must be at most {most} on a page, got {value}")
    made: EditMethod = cls(**values)
    return made


def edits_of_wish(world: World, wish: Wish) -> list[Edit]:
    """The wished edit, and behind it others of the same relation, drawn with the seed.

    Raises: ValueError for a fact or a tail that the world does not have, or more edits than it has facts.
    """
    edge = Edge.from_label(wish.edge)
    first = Edit(world.fact(edge, wish.head, wish.relation), wish.new_tail)
    heads = world.num_heads(edge)
    check(
        wish.num_edits <= heads, f"num_edits must be at most {heads}, the facts of the relation, got {wish.num_edits}"
    )
    if wish.num_edits == 1:
        return [first]
    config = EditConfig(
        scenario="single", num_edits=wish.num_edits, edge=wish.edge, relation=wish.relation, edit_seed=wish.edit_seed
    )
    others = [edit for edits in draw(world, config) for edit in edits if edit.fact.head != wish.head]
    return [first, *others[: wish.num_edits - 1]]


def edit_set_of_wish(checkpoint: Checkpoint, wish: Wish) -> EditSet:
    """The wished edits with their mixture and all their probes. Raises: ValueError as edits_of_wish() does."""
    config = EditConfig(edit_seed=wish.edit_seed)
    return edit_set_of(checkpoint.corpus, edits_of_wish(checkpoint.corpus.world, wish), config)


def expected_of(edit_set: EditSet, goal: str, facts: Sequence[Fact]) -> Expected:
    """What the world says that the edited facts, and those that depend on them, are to be answered with."""
    world = edit_set.corpus.world
    after = world.after(edit.new_fact for edit in edit_set.edits if edit.new_fact is not None)
    edited = {edit.fact: edit.new_tail if goal == "edit" else None for edit in edit_set.edits}
    moved = zip(facts, after.true_tails(facts), strict=True)
    dependent = {fact: tail for fact, tail in moved if tail != fact.tail and fact not in edited}
    for probe in edit_set.probes:  # what a habit of the world suggests, and no fact decides
        if KINDS[probe.kind].suggested and probe.fact not in edited:
            new = edit_set.edits[probe.edit].new_tail
            if new is not None and new != probe.fact.tail:
                dependent[probe.fact] = new
    return Expected(edited, dependent if goal == "edit" else {})


@dataclasses.dataclass(frozen=True, eq=False)
class View:
    """The facts that are looked at of a checkpoint's world, and what its model answered before any edit."""

    facts: tuple[Fact, ...]
    answers: NDArray[np.int64]  # tails


def view_of(checkpoint: Checkpoint, wanted: Sequence[int] = ()) -> View:
    """All facts of the subjects that pictures show, and of all objects."""
    world = checkpoint.corpus.world
    facts = facts_of(world, shown_subjects(world, wanted))
    return View(tuple(facts), answered_tails(checkpoint.model, checkpoint.corpus, facts))


@dataclasses.dataclass(frozen=True, eq=False)
class Made:
    """An edit that was made: by what, of what, and what became of it."""

    wish: Wish
    method: EditMethod
    edit_set: EditSet
    model: PreTrainedModel
    view: View
    answers: NDArray[np.int64]  # tails, of the view's facts
    codes: dict[Fact, str]  # of STATUSES
    scored: Scored
    seconds: float  # that the method took

    @property
    def size(self) -> int:
        """Bytes of the edited model's weights."""
        return sum(weight.numel() * weight.element_size() for weight in self.model.parameters())

    @property
    def row(self) -> dict[str, Any]:
        """The result row, as JSON has it."""
        return dict(self.scored.row or {})


_ONE_AT_A_TIME = threading.Lock()  # methods seed torch's one generator of this process
_LOOK = 0.2  # seconds between two looks at whether an edit that waits is still wanted


@contextlib.contextmanager
def _alone(step: Step) -> Iterator[None]:
    """No other edit is made meanwhile. Raises: Stopped if `step` does while others are made."""
    step(0.0, "waiting for others' edits")
    while not _ONE_AT_A_TIME.acquire(timeout=_LOOK):
        step(0.0, "waiting for others' edits")
    try:
        yield
    finally:
        _ONE_AT_A_TIME.release()


@contextlib.contextmanager
def _looked_after(look: Callable[[], None]) -> Iterator[None]:
    """`look` is called whenever a module of any model runs in this thread, so that it can end what runs there."""
    # Most methods tell nobody of their steps, and none goes far without its model.
    own = threading.get_ident()

    def hook(module: object, inputs: object) -> None:
        if threading.get_ident() == own:
            look()

    handle = register_module_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextlib.contextmanager
def turn(step: Step, most_seconds: float | None = None, what: str = "an edit") -> Iterator[Step]:
    """Nothing else that seeds or trains runs meanwhile; what comes back is told how far it is, as `step` is.

    Raises: Stopped if `step` does, which is called whenever a model runs; TimeoutError after `most_seconds`, waiting
    not counted.
    """
    with _alone(step):
        started, at = time.perf_counter(), (0.0, "")

        def look() -> None:
            step(*at)
            if most_seconds is not None and time.perf_counter() - started > most_seconds:
                raise TimeoutError(f"{what} must take at most {most_seconds:g} seconds here; this one was stopped")

        def tell(done: float, text: str) -> None:
            nonlocal at
            at = (done, text)
            look()

        with _looked_after(look):
            yield tell


def make(
    checkpoint: Checkpoint,
    wish: Wish,
    method: EditMethod,
    *,
    same: EditSet | None = None,
    shared: Shared | None = None,
    step: Step = lambda done, text: None,
    most_seconds: float | None = None,
) -> Made:
    """The wished edits on a copy of the checkpoint's model, or those of `same`, and all that is shown of them.

    Edits of one process are made one after the other, so that each is what it would be alone.
    Raises: ValueError for a wish that the world cannot grant, or settings that the model cannot have; Stopped if
    `step` does, which is called whenever a model runs; TimeoutError after `most_seconds`, waiting not counted.
    """
    with turn(step, most_seconds) as tell:
        return _made(checkpoint, wish, method, same, shared or Shared(progress=False), tell)


def _made(
    checkpoint: Checkpoint, wish: Wish, method: EditMethod, same: EditSet | None, shared: Shared, step: Step
) -> Made:
    step(0.02, "drawing what is asked")
    method.check(checkpoint.model)
    edit_set = edit_set_of_wish(checkpoint, wish) if same is None else same
    heads = [edit.fact.head for edit in edit_set.edits if edit_set.edge is not Edge.OBJECT_NESTED]
    view = view_of(checkpoint, heads)
    step(0.1, f"editing by {method.name}")
    most = getattr(method, "max_steps", None) or 0

    def watch(_: PreTrainedModel, steps: int) -> None:
        step(0.1 + 0.7 * min(1.0, steps / max(most, steps)), f"editing by {method.name}, step {steps} of {most}")

    shared.watch = watch
    started = time.perf_counter()
    try:
        edited = method(checkpoint.model, edit_set, shared).model
    finally:
        shared.watch = None
    seconds = time.perf_counter() - started
    step(0.82, "asking what became of the facts")
    answers = answered_tails(edited, checkpoint.corpus, view.facts)
    codes = codes_after(
        view.facts, view.answers.tolist(), answers.tolist(), expected_of(edit_set, method.goal, view.facts)
    )
    step(0.9, "counting")
    maker = Maker(method=method.name, settings=plain(method), source=SOURCE)
    scored = score(checkpoint, edited, edit_set, maker)
    return Made(wish, method, edit_set, edited, view, answers, codes, scored, seconds)
