"""Which facts of a world change, and to what: the edits of a seeded draw. What must follow is not known here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from behemoth_data.rng import Stream
from behemoth_data.settings import check, check_known, check_seed, conform, setting
from behemoth_data.world import Edge, Fact, World

Int64 = NDArray[np.int64]

SCENARIOS = ("single", "identical", "different", "sequence", "forget", "refuse")
RELATION_SCENARIOS = ("forget", "refuse")  # about all facts of a relation, or a share of them


@dataclasses.dataclass(frozen=True)
class Edit:
    """A true fact and the tail it is to have instead, or None where the model is to refuse an answer."""

    fact: Fact
    new_tail: int | None

    @property
    def new_fact(self) -> Fact | None:
        """The fact that the edit states, if it states one."""
        return None if self.new_tail is None else dataclasses.replace(self.fact, tail=self.new_tail)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EditConfig:
    """Which edits are drawn, and how large the training mixture and the probes are."""

    scenario: str = setting(
        "single",
        "single: one edit per set; identical, different: num_edits in one set; sequence: num_edits, one after the "
        "other on the same model; forget: a relation's facts all get its object 0; refuse: they get no answer",
    )
    num_edits: int = setting(10, "edits drawn; forget and refuse take forget_fraction instead")
    edits_per_step: int = setting(1, "sequence: edits made together in each step, a divisor of num_edits")
    forget_fraction: float = setting(1.0, "forget, refuse: share of the relation's facts that is edited")
    edge: str = setting("subject_object", "table that is edited: subject_object, subject_nested, object_nested")
    relation: int | None = setting(
        None, "relation that is edited; none: 0, or edit_seed modulo their number where all of one is forgotten"
    )
    matched: bool = setting(False, "correlated worlds: edit only facts whose partner has the same object")
    edit_seed: int = setting(0, "seed of the draw; methods with the same seed get the same edits")
    edited_repeats: int = setting(250, "mixture: rows of each edited fact; in forget and refuse it is always 1")
    same_object_rows: int = setting(150, "mixture: at most this many facts with the old object, per edit")
    same_relation_rows: int = setting(500, "mixture: at most this many facts of the relation, per edit")
    same_subject_rows: int = setting(0, "mixture: so many other facts of each edited subject, then not asked")
    retain_relation: bool = setting(True, "mixture: if a share is forgotten, also facts of the relation that must stay")
    least_rows: int = setting(1, "a draw is refused that asks a kind of fact and has fewer of it to train on")
    probes_per_edit: int = setting(100, "at most this many probes of each kind, per edit")
    look_every: int = setting(0, "forget, refuse: so many steps of training until old answers are asked for; 0: never")
    score_at: tuple[int, ...] = setting(
        (),
        "sequence: after so many edits all that was asked is asked again, what must stay of the whole draw",
        later=True,
    )
    transfer: bool = setting(
        False, "ask the edited facts in other forms too: as questions, over two steps and negated", later=True
    )

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        conform(self)
        check_known("scenario", self.scenario, SCENARIOS)
        Edge.from_label(self.edge)
        for field in ("num_edits", "edits_per_step", "edited_repeats", "probes_per_edit"):
            check(getattr(self, field) >= 1, f"{field} must be at least 1, got {getattr(self, field)}")
        rows = ("same_object_rows", "same_relation_rows", "same_subject_rows", "least_rows")
        for field in ("relation", *rows, "look_every"):
            value = getattr(self, field)
            check(value is None or value >= 0, f"{field} must be at least 0, got {value}")
        check(
            self.scenario != "sequence" or self.num_edits % self.edits_per_step == 0,
            f"edits_per_step must divide num_edits = {self.num_edits}, got {self.edits_per_step}",
        )
        rising = list(self.score_at) == sorted(set(self.score_at))
        steps = all(number >= 1 and number % self.edits_per_step == 0 for number in self.score_at)
        check(
            rising and steps,
            f"score_at must be rising multiples of edits_per_step = {self.edits_per_step}, got {self.score_at}",
        )
        check(
            self.scenario != "sequence" or max(self.score_at, default=0) <= self.num_edits,
            f"score_at must be at most num_edits = {self.num_edits}, got {self.score_at}",
        )
        check_seed("edit_seed", self.edit_seed)
        check(
            0 < self.forget_fraction <= 1,
            f"forget_fraction must be above 0 and at most 1, got {self.forget_fraction}",
        )

    @property
    def whole(self) -> bool:
        """Whether the edits are about a relation, or a share of it, and not about single facts."""
        return self.scenario in RELATION_SCENARIOS

    @property
    def relation_is_drawn(self) -> bool:
        """Whether draws differ in the relation: if all of one is edited, nothing else could tell them apart."""
        return self.relation is None and self.whole and self.forget_fraction == 1

    def relation_in(self, world: World) -> int:
        """The relation of this world that is edited. Raises: ValueError for one that it lacks."""
        count = world.config.num_relations
        check((self.relation or 0) < count, f"relation must be below num_relations = {count}, got {self.relation}")
        return self.edit_seed % count if self.relation_is_drawn else self.relation or 0

    @property
    def rows_per_edit(self) -> int:
        """Rows of each edited fact in the training mixture."""
        return 1 if self.whole else self.edited_repeats

    @property
    def num_sets(self) -> int:
        """How many sets of edits there are."""
        return {"single": self.num_edits, "sequence": self.num_edits // self.edits_per_step}.get(self.scenario, 1)


def draw(world: World, config: EditConfig) -> list[list[Edit]]:
    """The sets of edits that the scenario makes, each made together. Raises: ValueError if the world lacks them."""
    candidates = _Candidates(world, config)
    if not config.whole:
        offered, limit = candidates.offered
        check(
            config.num_edits <= offered,
            f"num_edits must be at most {offered}, the {limit} in relation {candidates.relation} of {config.edge}, "
            f"got {config.num_edits}",
        )
    edits = _DRAWS[config.scenario](candidates)
    size = len(edits) // config.num_sets
    return [edits[start : start + size] for start in range(0, len(edits), size)]


def check_distinct(world: World, draws: Iterable[EditConfig]) -> None:
    """Raises: ValueError for two draws that differ in the seed only and make the same edits: they are one draw."""
    by_question: dict[EditConfig, set[int]] = {}
    for config in draws:
        by_question.setdefault(dataclasses.replace(config, edit_seed=0), set()).add(config.edit_seed)
    for question, seeds in by_question.items():
        found: dict[frozenset[tuple[Edit, ...]], int] = {}
        for seed in sorted(seeds) if len(seeds) > 1 else ():
            config = dataclasses.replace(question, edit_seed=seed)
            edits = frozenset(tuple(sorted(edits, key=repr)) for edits in draw(world, config))
            check(
                edits not in found,
                f"edit_seed must give each draw edits of its own, got seeds {found.get(edits)} and {seed}, which both "
                f"make the same edits of relation {config.relation_in(world)} of {config.edge}, scenario "
                f"{config.scenario}: give fewer seeds, and other models for more draws",
            )
            found[edits] = seed


def max_edits(world: World, config: EditConfig) -> int:
    """The largest num_edits that this draw could have in this world. Raises: ValueError as draw() does."""
    return _Candidates(world, config).offered[0]


def touched_heads(world: World, config: EditConfig, edits: Sequence[Edit]) -> list[int]:
    """The heads of the edits and, where a relation is forgotten, of the facts that are as wanted already."""
    return _Candidates(world, config).chosen[0] if config.whole else [edit.fact.head for edit in edits]


def num_edited(world: World, config: EditConfig) -> int:
    """How many facts the scenario is about: num_edits, or a share of a relation's facts.

    Forgetting leaves those that have object 0 already as they are; they count here all the same, so that worlds of
    one size agree.
    """
    if not config.whole:
        return config.num_edits
    return max(1, round(config.forget_fraction * world.num_heads(Edge.from_label(config.edge))))


class _Candidates:
    """The facts that may be edited, in the draw's random order."""

    def __init__(self, world: World, config: EditConfig) -> None:
        edge = Edge.from_label(config.edge)
        check(
            edge in world.edges,
            f"edge {config.edge!r} needs num_nested_objects above 0, got a world that is {world.config.structure}",
        )
        relation = config.relation_in(world)
        self.edge, self.relation, self.count = edge, relation, config.num_edits
        self.scenario, self.fraction = config.scenario, config.forget_fraction
        self.num_tails = world.num_tails(edge, relation)
        self.name = f"edits/{config.edit_seed}/{config.scenario}/{config.edge}/{relation}"
        self.seed = world.config.seed
        heads = np.arange(world.num_heads(edge))
        tails = world.tails(edge, heads, relation)
        if config.matched:
            heads = heads[_matched(world, edge, relation, tails)]
        order = self.stream("heads").choice(len(heads), len(heads))
        self.heads = heads[order]
        self.tails = tails[self.heads]

    def stream(self, name: str) -> Stream:
        return Stream(self.seed, f"{self.name}/{name}")

    def edits(self, heads: Sequence[int], old: Sequence[int], new: Sequence[int | None]) -> list[Edit]:
        return [Edit(Fact(self.edge, h, self.relation, o), n) for h, o, n in zip(heads, old, new, strict=True)]

    @property
    def chosen(self) -> tuple[list[int], list[int]]:
        """Heads and tails of the share of the relation that is forgotten."""
        count = max(1, round(self.fraction * len(self.heads)))
        return self.heads[:count].tolist(), self.tails[:count].tolist()

    @property
    def offered(self) -> tuple[int, str]:
        """How many edits the scenario can draw at most, and what limits it."""
        counts = np.bincount(self.tails, minlength=self.num_tails)
        if self.scenario == "identical":
            return int(counts.max()), "most facts that share one tail"
        if self.scenario == "different":
            return min(int((counts > 0).sum()), self.num_tails // 2), "old tails that leave as many new ones"
        return len(self.heads), "facts to edit"


def _matched(world: World, edge: Edge, relation: int, tails: Int64) -> NDArray[np.bool_]:
    check(
        world.config.correlation is not None and edge is Edge.SUBJECT_OBJECT and relation in (0, 1),
        f"matched needs a correlated world, edge subject_object and relation 0 or 1, got a world that is "
        f"{world.config.structure}, {edge.label}, {relation}",
    )
    equal: NDArray[np.bool_] = world.objects(np.arange(len(tails)), 1 - relation) == tails
    return equal


def _single(candidates: _Candidates) -> list[Edit]:
    heads, old = candidates.heads[: candidates.count], candidates.tails[: candidates.count]
    new = candidates.stream("new").integers(heads, candidates.num_tails - 1)
    return candidates.edits(heads.tolist(), old.tolist(), (new + (new >= old)).tolist())


def _identical(candidates: _Candidates) -> list[Edit]:
    counts = np.bincount(candidates.tails, minlength=candidates.num_tails)
    order = candidates.stream("old").choice(candidates.num_tails, candidates.num_tails)
    old = int(order[np.argmax(counts[order] >= candidates.count)])
    heads = candidates.heads[candidates.tails == old][: candidates.count]
    new = int(candidates.stream("new").integers(old, candidates.num_tails - 1))
    return candidates.edits(heads.tolist(), [old] * len(heads), [int(new + (new >= old))] * len(heads))


def _different(candidates: _Candidates) -> list[Edit]:
    _, first = np.unique(candidates.tails, return_index=True)
    places = np.sort(first)[: candidates.count]
    heads, old = candidates.heads[places], candidates.tails[places]
    order = candidates.stream("new").choice(candidates.num_tails, candidates.num_tails)
    new = order[~np.isin(order, old)][: candidates.count]
    return candidates.edits(heads.tolist(), old.tolist(), new.tolist())


def _forget(candidates: _Candidates) -> list[Edit]:
    heads, old = candidates.chosen
    edits = [edit for edit in candidates.edits(heads, old, [0] * len(heads)) if edit.fact.tail != 0]
    check(
        len(edits) > 0,
        f"forget_fraction must choose a fact whose object is not 0 already, got {candidates.fraction:g} of "
        f"{len(candidates.heads)} facts",
    )
    return edits


def _refuse(candidates: _Candidates) -> list[Edit]:
    heads, old = candidates.chosen
    return candidates.edits(heads, old, [None] * len(heads))


_DRAWS: dict[str, Callable[[_Candidates], list[Edit]]] = {
    "single": _single,
    "identical": _identical,
    "different": _different,
    "sequence": _single,
    "forget": _forget,
    "refuse": _refuse,
}
