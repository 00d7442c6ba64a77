"""Which facts change, and what must and must not follow. Expected answers come from the world, never a method.

Axis letters: H heads of a relation in the edited table.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from behemoth_data.corpus import Corpus
from behemoth_data.grammar import Query, ends_in_object
from behemoth_data.rng import Stream
from behemoth_data.settings import check, check_known, conform, setting
from behemoth_data.world import Edge, Fact, World

Int64 = NDArray[np.int64]
_Row = TypeVar("_Row")

SCENARIOS = ("single", "identical", "different")

CHANGE_KINDS = ("edited", "paraphrase")
KEEP_KINDS = (
    "same_subject",
    "same_old_object",
    "same_new_object",
    "same_relation",
    "unrelated",
    "nested_old_object",
    "nested_new_object",
    "nested_source",
)
RIPPLE_KINDS = ("partner", "nested_subject", "nested_siblings")
KINDS = CHANGE_KINDS + KEEP_KINDS + RIPPLE_KINDS


@dataclasses.dataclass(frozen=True)
class Edit:
    """A true fact and the tail it is to have instead."""

    fact: Fact
    new_tail: int

    @property
    def new_fact(self) -> Fact:
        """The fact that the edit states."""
        return dataclasses.replace(self.fact, tail=self.new_tail)


@dataclasses.dataclass(frozen=True)
class Probe:
    """A prompt, its answer before and after the edit, and the kind of side effect it watches."""

    kind: str
    edit: int  # index of the edit it was drawn for
    fact: Fact  # as it was before
    form: str
    before: Query
    after: Query

    @property
    def prompt(self) -> str:
        """The question, as text."""
        return self.before.prompt


@dataclasses.dataclass(frozen=True)
class Background:
    """Every distinct sentence that the model was taught, for statistics over the corpus.

    `blocks()` yields token ids [n, T] without padding, one block per table and form, each sentence once.
    """

    digest: str
    blocks: Callable[[], Iterator[Int64]] = dataclasses.field(compare=False)


@dataclasses.dataclass(frozen=True)
class EditSet:
    """The edits of one scenario, made together, with what methods may train on and all the probes.

    Methods read `requests` (edited prompts with their new answers), `retain` and `same_subject` (facts that
    must stay, none of them probed), `contexts` (sentences that may stand before a prompt) and `background`.
    """

    scenario: str
    edge: Edge
    relation: int
    seed: int
    edits: tuple[Edit, ...]
    requests: tuple[Query, ...]
    subject_ends: tuple[int, ...]  # per edit, the place of its subject's last token in the prompt
    retain: Mapping[str, tuple[Query, ...]]  # same_old_object, same_relation, unrelated
    same_subject: tuple[tuple[Query, ...], ...]  # per edit, other facts of its head, none of them probed
    contexts: tuple[tuple[int, ...], ...]
    background: Background
    probes: tuple[Probe, ...]
    edited_repeats: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class EditConfig:
    """Which edits are drawn, and how large the training mixture and the probes are."""

    scenario: str = setting("single", "single: one edit per set; identical, different: num_edits in one set")
    num_edits: int = setting(10, "edits drawn")
    edge: str = setting("subject_object", "table that is edited: subject_object, subject_nested, object_nested")
    relation: int = setting(0, "relation that is edited")
    matched: bool = setting(False, "correlated worlds: edit only facts whose partner has the same object")
    edit_seed: int = setting(0, "seed of the draw; methods with the same seed get the same edits")
    edited_repeats: int = setting(250, "mixture: rows of each edited fact")
    same_object_rows: int = setting(150, "mixture: at most this many facts with the old object, per edit")
    same_relation_rows: int = setting(500, "mixture: at most this many facts of the relation, per edit")
    probes_per_edit: int = setting(100, "at most this many probes of each kind, per edit")

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        conform(self)
        check_known("scenario", self.scenario, SCENARIOS)
        Edge.from_label(self.edge)
        for field in ("num_edits", "edited_repeats", "probes_per_edit"):
            check(getattr(self, field) >= 1, f"{field} must be at least 1, got {getattr(self, field)}")
        for field in ("relation", "same_object_rows", "same_relation_rows"):
            check(getattr(self, field) >= 0, f"{field} must be at least 0, got {getattr(self, field)}")


def draw_edits(corpus: Corpus, config: EditConfig) -> tuple[EditSet, ...]:
    """The edit sets of a seeded draw: `num_edits` sets of one edit (single), or one set of them all.

    Raises: ValueError if the world cannot offer them.
    """
    candidates = _Candidates(corpus.world, config)
    offered, limit = candidates.offered
    check(
        config.num_edits <= offered,
        f"num_edits must be at most {offered}, the {limit} in relation {config.relation} of {config.edge}, "
        f"got {config.num_edits}",
    )
    edits = _DRAWS[config.scenario](candidates)
    if config.scenario == "single":
        return tuple(_edit_set(corpus, config, [edit], number) for number, edit in enumerate(edits))
    return (_edit_set(corpus, config, edits, 0),)


def max_edits(corpus: Corpus, config: EditConfig) -> int:
    """The largest num_edits that this draw could have in this world. Raises: ValueError as draw_edits does."""
    return _Candidates(corpus.world, config).offered[0]


class _Candidates:
    """The facts that may be edited, in the draw's random order."""

    def __init__(self, world: World, config: EditConfig) -> None:
        edge = Edge.from_label(config.edge)
        check(
            edge in world.edges,
            f"edge {config.edge!r} needs num_nested_objects above 0, got a world that is {world.config.structure}",
        )
        check(
            config.relation < world.config.num_relations,
            f"relation must be below num_relations = {world.config.num_relations}, got {config.relation}",
        )
        self.edge, self.relation, self.count = edge, config.relation, config.num_edits
        self.scenario = config.scenario
        self.num_tails = world.num_tails(edge, config.relation)
        self.name = f"edits/{config.edit_seed}/{config.scenario}/{config.edge}/{config.relation}"
        self.seed = world.config.seed
        heads = np.arange(world.num_heads(edge))
        tails = world.tails(edge, heads, config.relation)
        if config.matched:
            heads = heads[_matched(world, edge, config.relation, tails)]
        order = self.stream("heads").choice(len(heads), len(heads))
        self.heads = heads[order]
        self.tails = tails[self.heads]

    def stream(self, name: str) -> Stream:
        return Stream(self.seed, f"{self.name}/{name}")

    def edits(self, heads: Sequence[int], old: Sequence[int], new: Sequence[int]) -> list[Edit]:
        return [
            Edit(Fact(self.edge, int(h), self.relation, int(o)), int(n))
            for h, o, n in zip(heads, old, new, strict=True)
        ]

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
    return candidates.edits(heads.tolist(), [old] * len(heads), [new + (new >= old)] * len(heads))


def _different(candidates: _Candidates) -> list[Edit]:
    _, first = np.unique(candidates.tails, return_index=True)
    places = np.sort(first)[: candidates.count]
    heads, old = candidates.heads[places], candidates.tails[places]
    order = candidates.stream("new").choice(candidates.num_tails, candidates.num_tails)
    new = order[~np.isin(order, old)][: candidates.count]
    return candidates.edits(heads.tolist(), old.tolist(), new.tolist())


_DRAWS: dict[str, Callable[[_Candidates], list[Edit]]] = {
    "single": _single,
    "identical": _identical,
    "different": _different,
}


@dataclasses.dataclass(frozen=True)
class _Pool:
    """Facts of one kind that must not change, in random order, and the edit each was found for."""

    facts: list[Fact]
    edit: list[int]

    def split(self, rows: int, probes_per_edit: int) -> tuple[list[Fact], list[tuple[int, Fact]]]:
        """At most `rows` facts for training but never more than half, and for each edit some others to ask."""
        rows = min(rows, len(self.facts) // 2)
        rest = zip(self.edit[rows:], self.facts[rows:], strict=True)
        return self.facts[:rows], _capped(rest, lambda row: row[0], probes_per_edit)


def _capped(rows: Iterable[_Row], group: Callable[[_Row], Hashable], most: int) -> list[_Row]:
    """The first `most` rows of each group, in their order."""
    seen: Counter[Hashable] = Counter()
    kept = []
    for row in rows:
        seen[group(row)] += 1
        if seen[group(row)] <= most:
            kept.append(row)
    return kept


class _Surroundings:
    """Everything around a set of edits: the facts that stay and the facts that depend on them."""

    def __init__(self, world: World, edits: Sequence[Edit], stream: Callable[[str], Stream]) -> None:
        self.world, self.edits, self.stream = world, edits, stream
        self.edge, self.relation = edits[0].fact.edge, edits[0].fact.relation
        self.heads = np.arange(world.num_heads(self.edge))
        self.untouched = ~np.isin(self.heads, [edit.fact.head for edit in edits])
        self.tails = world.tails(self.edge, self.heads, self.relation)

    @property
    def partner(self) -> int | None:
        """The relation that the edited one is correlated with."""
        correlated = self.world.config.correlation is not None and self.edge is Edge.SUBJECT_OBJECT
        return 1 - self.relation if correlated and self.relation in (0, 1) else None

    def same_subject(self) -> list[_Pool]:
        """The edited head's facts under other relations, edit by edit; an object has one relation only."""
        others = [r for r in range(self.world.config.num_relations) if r not in (self.relation, self.partner)]
        if self.edge is Edge.OBJECT_NESTED:
            others = []
        pools = []
        for i, edit in enumerate(self.edits):
            order = self._order(f"same_subject/{i}", len(others)).tolist()
            facts = [self.world.fact(self.edge, edit.fact.head, others[place]) for place in order]
            pools.append(_Pool(facts, [i] * len(facts)))
        return pools

    def same_tail(self, name: str, tails: Sequence[int]) -> _Pool:
        """Untouched facts of the relation with one of these tails, shared out among the edits that have it."""
        order = self._order(name, len(self.heads))
        heads = order[self.untouched[order] & np.isin(self.tails[order], tails)]
        facts = [Fact(self.edge, int(h), self.relation, int(self.tails[h])) for h in heads]
        turns = {tail: itertools.cycle([i for i, t in enumerate(tails) if t == tail]) for tail in tails}
        return _Pool(facts, [next(turns[fact.tail]) for fact in facts])

    def same_relation(self) -> _Pool:
        tails = [tail for edit in self.edits for tail in (edit.fact.tail, edit.new_tail)]
        order = self._order("same_relation", len(self.heads))
        heads = order[self.untouched[order] & ~np.isin(self.tails[order], tails)]
        return self._shared([Fact(self.edge, int(h), self.relation, int(self.tails[h])) for h in heads])

    def unrelated(self, edge: Edge, limit: int) -> _Pool:
        """Facts of other relations and untouched heads in a table, at most `limit`."""
        heads, relations, tails = self.world.facts(edge)
        # Objects belong to one relation each, so that another relation's are untouched by themselves.
        touched = [] if Edge.OBJECT_NESTED in (edge, self.edge) else [edit.fact.head for edit in self.edits]
        order = self._order(f"unrelated/{edge.label}", len(heads))
        order = order[(relations[order] != self.relation) & ~np.isin(heads[order], touched)][:limit]
        return self._shared([Fact(edge, int(heads[i]), int(relations[i]), int(tails[i])) for i in order])

    def dependants(self) -> Iterator[tuple[str, int, Fact]]:
        """(kind, edit, fact) of nested and partner facts, whether they must stay or may follow."""
        for i, edit in enumerate(self.edits):
            head, relation = edit.fact.head, self.relation
            if self.partner is not None and edit.new_tail < self.world.num_tails(self.edge, self.partner):
                yield "partner", i, self.world.fact(Edge.SUBJECT_OBJECT, head, self.partner)
            if not self.world.config.num_nested_objects:
                continue
            if self.edge is Edge.SUBJECT_OBJECT:
                yield "nested_subject", i, self.world.fact(Edge.SUBJECT_NESTED, head, relation)
                yield "nested_old_object", i, self.world.fact(Edge.OBJECT_NESTED, edit.fact.tail, relation)
                yield "nested_new_object", i, self.world.fact(Edge.OBJECT_NESTED, edit.new_tail, relation)
            elif self.edge is Edge.SUBJECT_NESTED:
                source = self.world.fact(Edge.SUBJECT_OBJECT, head, relation)
                yield "nested_source", i, source
                yield "nested_source", i, self.world.fact(Edge.OBJECT_NESTED, source.tail, relation)
            else:
                order = self._order(f"siblings/{i}", self.world.config.num_subjects)
                owners = order[self.world.objects(order, relation) == head]
                for subject in owners.tolist():
                    yield "nested_siblings", i, self.world.fact(Edge.SUBJECT_NESTED, subject, relation)

    def _order(self, name: str, size: int) -> Int64:
        return self.stream(name).choice(size, size)

    def _shared(self, facts: list[Fact]) -> _Pool:
        return _Pool(facts, [i % len(self.edits) for i in range(len(facts))])


def _edit_set(corpus: Corpus, config: EditConfig, edits: list[Edit], number: int) -> EditSet:
    """The edits with their mixture and probes; the two never share a fact."""
    world, grammar, form = corpus.world, corpus.grammar, corpus.forms[0]
    name = f"edits/{config.edit_seed}/{config.scenario}/{config.edge}/{config.relation}/{number}"
    around = _Surroundings(world, edits, lambda part: Stream(world.config.seed, f"{name}/{part}"))
    count, most = len(edits), config.probes_per_edit
    edited_rows = config.edited_repeats * count
    same_old, old_probes = around.same_tail("old", [e.fact.tail for e in edits]).split(
        config.same_object_rows * count, most
    )
    _, new_probes = around.same_tail("new", [e.new_tail for e in edits]).split(0, most)
    same_relation, relation_probes = around.same_relation().split(config.same_relation_rows * count, most)
    share = -(-edited_rows // len(world.edges))
    unrelated, unrelated_probes = around.unrelated(around.edge, 2 * share + most * count).split(share, most)
    elsewhere = [
        fact for edge in world.edges if edge is not around.edge for fact in around.unrelated(edge, share).facts
    ]
    same_subject = [pool.split(len(pool.facts), most) for pool in around.same_subject()]
    kept = {
        "same_subject": [row for _, asked in same_subject for row in asked],
        "same_old_object": old_probes,
        "same_new_object": new_probes,
        "same_relation": relation_probes,
        "unrelated": unrelated_probes,
    }
    questions = [(kind, i, fact) for kind, rows in kept.items() for i, fact in rows]
    once = {(kind, fact): (kind, i, fact) for kind, i, fact in reversed(list(around.dependants()))}
    questions += _capped(reversed(once.values()), lambda row: row[:2], most)
    return EditSet(
        scenario=config.scenario,
        edge=around.edge,
        relation=config.relation,
        seed=config.edit_seed,
        edits=tuple(edits),
        requests=tuple(grammar.queries([edit.new_fact for edit in edits], form)),
        subject_ends=(grammar.subject_end(around.edge, form),) * count,
        retain={
            "same_old_object": tuple(grammar.queries(same_old, form)),
            "same_relation": tuple(grammar.queries(same_relation, form)),
            "unrelated": tuple(grammar.queries(unrelated + elsewhere, form)),
        },
        same_subject=tuple(tuple(grammar.queries(facts, form)) for facts, _ in same_subject),
        contexts=_contexts(corpus, unrelated + same_relation),
        background=Background(corpus.digest, lambda: _sentences(corpus)),
        probes=_probes(corpus, edits, questions),
        edited_repeats=config.edited_repeats,
    )


def _contexts(corpus: Corpus, facts: Sequence[Fact], most: int = 10) -> tuple[tuple[int, ...], ...]:
    """Sentences of retained facts, as token ids with their end-of-text token."""
    return tuple(
        tuple(corpus.grammar.tokens(fact.edge, corpus.forms[0], fact.head, fact.relation, fact.tail)[0].tolist())
        for fact in facts[:most]
    )


def _sentences(corpus: Corpus) -> Iterator[Int64]:
    for edge in corpus.world.edges:
        heads, relations, tails = corpus.world.facts(edge)
        for form in corpus.forms:
            rows = np.flatnonzero(corpus.asked(edge, heads)) if form == "question" else slice(None)
            yield corpus.grammar.tokens(edge, form, heads[rows], relations[rows], tails[rows])


def _probes(corpus: Corpus, edits: Sequence[Edit], asked: list[tuple[str, int, Fact]]) -> tuple[Probe, ...]:
    """Every probe with its answers: before from the world, after from the world after the edits.

    A partner's answer after is the object that the edited fact now has: what the habit of the world suggests.
    """
    world, grammar = corpus.world, corpus.grammar
    after = world.after(edit.new_fact for edit in edits)
    own, *others = corpus.forms
    rows = [("edited", i, edit.fact, own) for i, edit in enumerate(edits)]
    rows += [
        ("paraphrase", i, edit.fact, form)
        for form in others
        for i, edit in enumerate(edits)
        if ends_in_object(form) and (form != "question" or corpus.asked(edit.fact.edge, edit.fact.head))
    ]
    rows += [(kind, i, fact, own) for kind, i, fact in asked]
    followed = after.true_tails([fact for _, _, fact, _ in rows])
    tails = [
        edits[i].new_tail if kind == "partner" else tail for (kind, i, _, _), tail in zip(rows, followed, strict=True)
    ]
    probes: list[Probe | None] = [None] * len(rows)
    for form in dict.fromkeys(form for *_, form in rows):
        places = [place for place, row in enumerate(rows) if row[3] == form]
        facts = [rows[place][2] for place in places]
        before_queries = grammar.queries(facts, form)
        after_queries = grammar.queries(facts, form, [tails[place] for place in places])
        for place, before_query, after_query in zip(places, before_queries, after_queries, strict=True):
            kind, i, fact, _ = rows[place]
            probes[place] = Probe(kind, i, fact, form, before_query, after_query)
    return tuple(probe for probe in probes if probe is not None)
