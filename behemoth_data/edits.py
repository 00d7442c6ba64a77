"""Edits with all that follows from them. Expected answers come from the world, never from a method."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from behemoth_data.corpus import Corpus
from behemoth_data.forms import asks, ends_in_object, form_of
from behemoth_data.grammar import Query
from behemoth_data.kinds import KINDS, OTHERS, OWN, Kind
from behemoth_data.rng import Stream
from behemoth_data.scenarios import SCENARIOS, Edit, EditConfig, draw, touched_heads
from behemoth_data.settings import check, digest, whole
from behemoth_data.surroundings import Surroundings, capped
from behemoth_data.world import Edge, Fact, World

__all__ = [
    "SCENARIOS",
    "Background",
    "Edit",
    "EditConfig",
    "EditSet",
    "EditTask",
    "Probe",
    "draw_edits",
]

Int64 = NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Probe:
    """A prompt, its answer before and after the edit, and the kind of side effect it watches."""

    kind: str
    edit: int  # index of the edit it was drawn for
    fact: Fact  # as it was before
    form: str
    before: Query
    after: Query
    refusal_ids: tuple[int, ...] = ()  # in forget and refuse: the answer that there is none

    @property
    def num_answer_tokens(self) -> int:
        """How many tokens to generate: as many as the longest answer that counts has."""
        return max(len(self.before.answer_ids), len(self.after.answer_ids), len(self.refusal_ids))

    @property
    def prompt(self) -> str:
        """The question, as text."""
        return self.before.prompt


Blocks = Callable[[], Iterator[Int64]]


def _no_blocks() -> Iterator[Int64]:
    """No sentence at all."""
    return iter(())


@dataclasses.dataclass(frozen=True)
class Background:
    """Every distinct sentence that the model was taught, for statistics over the corpus.

    `blocks()` yields token ids [n, T] without padding, one block per table and form, each sentence once. `asked()`
    yields in the same way those of them that state a fact which is asked: only what leaves them out of statistics
    reads it.
    """

    digest: str
    blocks: Blocks = dataclasses.field(compare=False)
    asked_digest: str = ""  # of the facts that are asked; empty where none are
    asked: Blocks = dataclasses.field(default=_no_blocks, compare=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EditTask:
    """All that a method may read: prompts with their new answers, and what must stay. Knows no world.

    Prompts may differ in length. Nothing in `retain` and `same_subject` is ever probed.
    """

    requests: tuple[Query, ...]  # edited prompts with their new answers
    originals: tuple[Query, ...]  # the same prompts with the answers they had
    refusals: tuple[Query, ...]  # the same prompts with the answer that there is none
    retain: Mapping[str, tuple[Query, ...]]  # by kind: facts that must stay
    same_subject: tuple[tuple[Query, ...], ...]  # per request, other facts of its subject
    contexts: tuple[tuple[int, ...], ...]  # sentences that may stand before a prompt, with their end-of-text token
    background: Background
    edited_repeats: int  # rows of each request in the training mixture, in which a retain fact has one
    # In a sequence: the tasks whose edits the model has already, in their order, each without an `earlier` of its own.
    earlier: tuple[EditTask, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class EditSet(EditTask):
    """The edits of one scenario that are made together, with what methods may read and all the probes."""

    corpus: Corpus = dataclasses.field(repr=False, compare=False)  # of the world before any edit
    config: EditConfig
    edits: tuple[Edit, ...]
    probes: tuple[Probe, ...]

    @property
    def edge(self) -> Edge:
        """The table that is edited."""
        return self.edits[0].fact.edge

    @property
    def relation(self) -> int:
        """The relation that is edited."""
        return self.edits[0].fact.relation


def draw_edits(corpus: Corpus, config: EditConfig) -> tuple[EditSet, ...]:
    """The edit sets of a seeded draw: num_edits sets of one edit (single), a set for each step of a sequence, or one.

    The sets of a sequence leave each other's heads alone: no probe of one asks what another changes, so that all of
    them can be asked again at the end; nor does any of them train on what another asks, and their background's asked
    sentences are those of all of them.
    Raises: ValueError if the world cannot offer the edits, or too few facts of a kind to train on.
    """
    sets = draw(corpus.world, config)
    together = [edit.fact.head for edits in sets for edit in edits] if config.scenario == "sequence" else []
    drawn = tuple(
        _edit_set(corpus, config, edits, number, together or touched_heads(corpus.world, config, edits))
        for number, edits in enumerate(sets)
    )
    if config.scenario != "sequence":
        return drawn
    background = _background(corpus, [probe for edit_set in drawn for probe in edit_set.probes])
    return tuple(dataclasses.replace(edit_set, background=background) for edit_set in drawn)


def edit_set_of(corpus: Corpus, edits: Sequence[Edit], config: EditConfig | None = None) -> EditSet:
    """These edits, made together, with what methods may read and all the probes, as if they had been drawn.

    `config` says how large the mixture and the probes are, and its seed which facts they hold; its scenario is
    "single" for one edit, or "different", and they count as not matched.
    Raises: ValueError for no edits, edits of several relations or tables, two of one fact, a fact that is not true, or
    a new object that the world does not have or that changes nothing.
    """
    check(len(edits) > 0, "edits must hold at least 1 edit, got 0")
    edits = [_with_plain_ids(edit) for edit in edits]
    first = edits[0].fact
    config = dataclasses.replace(
        config or EditConfig(),
        scenario="single" if len(edits) == 1 else "different",
        num_edits=len(edits),
        edge=first.edge.label,
        relation=first.relation,
        matched=False,
    )
    truth = corpus.world.true_tails([edit.fact for edit in edits])
    for edit, true in zip(edits, truth, strict=True):
        fact = edit.fact
        check(
            (fact.edge, fact.relation) == (first.edge, first.relation),
            f"edits must be of one relation of one table, got {first} and {fact}",
        )
        check(fact.tail == true, f"fact must be true in the world, whose object is {true}, got {fact}")
        bound = corpus.world.num_tails(fact.edge, fact.relation)
        check(
            edit.new_tail is not None and 0 <= edit.new_tail < bound and edit.new_tail != true,
            f"new_tail must lie in [0, {bound}) and not be {true}, the object there is, got {edit.new_tail}",
        )
    heads = [edit.fact.head for edit in edits]
    check(len(set(heads)) == len(heads), f"edits must each be of another subject, got {heads}")
    return _edit_set(corpus, config, edits, 0, heads)


def _with_plain_ids(edit: Edit) -> Edit:
    """The edit with Python's whole numbers, as JSON and digests take them, in place of numpy's."""
    fact, new_tail = edit.fact, edit.new_tail
    return Edit(
        Fact(fact.edge, *(whole(name, getattr(fact, name)) for name in ("head", "relation", "tail"))),
        None if new_tail is None else whole("new_tail", new_tail),
    )


def _edit_set(corpus: Corpus, config: EditConfig, edits: list[Edit], number: int, touched: Collection[int]) -> EditSet:
    """The edits with their mixture and probes; the two never share a fact."""
    grammar, form = corpus.grammar, corpus.forms[0]
    name = f"edits/{config.edit_seed}/{config.scenario}/{config.edge}/{config.relation_in(corpus.world)}"

    def stream(part: str) -> Stream:
        return Stream(corpus.world.config.seed, f"{name}/{part}")

    def of_set(part: str) -> Stream:
        return stream(f"{number}/{part}")

    def side(part: str) -> Stream:
        return stream(f"sides/{part}" if config.scenario == "sequence" else f"{number}/sides/{part}")

    around = Surroundings(corpus.world, config, edits, touched, of_set, side)
    taught, asked = _divided(around)
    retain = {kind: tuple(grammar.queries([fact for _, fact in pairs], form)) for kind, pairs in taught.items()}
    same_subject: list[list[Query]] = [[] for _ in edits]
    for (i, _), query in zip(taught.get("same_subject", []), retain.get("same_subject", ()), strict=True):
        same_subject[i].append(query)
    originals = grammar.queries([edit.fact for edit in edits], form)
    refusals = _refused(corpus, edits[0], originals)
    new = grammar.queries([edit.new_fact or edit.fact for edit in edits], form)
    probes = _probes(corpus, edits, asked, with_refusals=config.whole)
    return EditSet(
        corpus=corpus,
        config=config,
        edits=tuple(edits),
        requests=tuple(refusals if edits[0].new_tail is None else new),
        originals=tuple(originals),
        refusals=tuple(refusals),
        retain=retain,
        same_subject=tuple(map(tuple, same_subject)),
        contexts=_contexts(corpus, [fact for kind in _CONTEXT_KINDS for _, fact in taught.get(kind, [])]),
        background=_background(corpus, probes),
        probes=probes,
        edited_repeats=config.rows_per_edit,
    )


_CONTEXT_KINDS = ("unrelated", "same_relation", "same_subject")  # of retained facts, the first that there are

_Pairs = list[tuple[int, Fact]]  # the index of an edit, and a fact around it
_Asked = list[tuple[Kind, int, Fact]]
_Row = tuple[Kind, int, Fact, str]  # with the form that its kind is asked in
_Asking = tuple[Fact, str, int]  # a fact, a form, and the tail in it


def _divided(around: Surroundings) -> tuple[dict[str, _Pairs], _Asked]:
    """What every kind of the table that exists here has to train on, by kind, and to ask.

    Of the kinds that are asked edit by edit, a fact that several edits have is asked for the first of them, at the
    place of the last.
    """
    taught: dict[str, _Pairs] = {}
    asked: _Asked = []
    by_edit: _Asked = []
    most = around.config.probes_per_edit
    for kind in KINDS.values():
        unwanted = kind.group == "transfer" and not around.config.transfer
        if unwanted or not kind.exists(around.world.config.structure, around.edge, around.config.scenario):
            continue
        for pool in kind.facts(around):
            if pool.rows is not None:
                taught.setdefault(kind.name, []).extend(pool.taught)
            rows = [(kind, i, fact) for i, fact in pool.asked]
            if kind.by_edit:
                by_edit += rows
            else:
                asked += capped(rows, lambda row: row[1], most)
    _check_mixture(around, taught, {kind.name for kind, _, _ in asked})
    by_edit.sort(key=lambda row: row[1])
    once = {(kind.name, fact): (kind, i, fact) for kind, i, fact in reversed(by_edit)}
    return taught, asked + capped(reversed(once.values()), lambda row: (row[0].name, row[1]), most)


def _check_mixture(around: Surroundings, taught: Mapping[str, _Pairs], asked: Collection[str]) -> None:
    """Raises: ValueError for a kind with too few facts to train on, where it is asked or all that there is to keep.

    Other heads of an old object there may be none, by chance, and a subject's other facts are as many as asked for.
    """
    config, world = around.config, around.world.config
    by_chance = ("same_old_object",) if config.whole else ("same_old_object", "same_subject")
    for kind, pairs in taught.items():
        check(
            kind in by_chance or (kind not in asked and not config.whole) or len(pairs) >= config.least_rows,
            f"least_rows must be at most {len(pairs)}, the facts of kind {kind} that methods may train on when "
            f"{len(around.edits)} edits of {config.edge}, {config.scenario}, are made in a world of structure "
            f"{world.structure}, num_subjects = {world.num_subjects} and num_relations = {world.num_relations}, got "
            f"{config.least_rows}: with so few, methods would be compared by what they were not told to keep",
        )


def _refused(corpus: Corpus, edit: Edit, queries: Sequence[Query]) -> list[Query]:
    """The same prompts with the answer that there is none."""
    no = corpus.grammar.query(edit.fact, "refusal")
    return [dataclasses.replace(query, answer=no.answer, answer_ids=no.answer_ids) for query in queries]


def _contexts(corpus: Corpus, facts: Sequence[Fact], most: int = 10) -> tuple[tuple[int, ...], ...]:
    """Sentences of retained facts, as token ids with their end-of-text token."""
    return tuple(
        tuple(corpus.grammar.tokens(fact.edge, corpus.forms[0], fact.head, fact.relation, fact.tail)[0].tolist())
        for fact in facts[:most]
    )


def _background(corpus: Corpus, probes: Sequence[Probe]) -> Background:
    """All sentences of the corpus, and among them those that state a fact which one of the probes asks."""
    facts = sorted({(int(probe.fact.edge), probe.fact.head, probe.fact.relation) for probe in probes})
    return Background(corpus.digest, lambda: _sentences(corpus), digest(facts), lambda: _sentences(corpus, facts))


def _sentences(corpus: Corpus, only: Collection[tuple[int, int, int]] | None = None) -> Iterator[Int64]:
    """Every distinct sentence, or those of the facts (edge, head, relation) in `only`; a block is never empty."""
    for edge in corpus.world.edges:
        heads, relations, _ = corpus.world.facts(edge)
        wanted = np.ones(len(heads), np.bool_)
        if only is not None:
            places = [(head << 32) + relation for table, head, relation in only if table == edge]
            wanted = np.isin((heads.astype(np.int64) << 32) + relations, np.array(places, np.int64))
        for form in corpus.forms:
            rows = np.flatnonzero(wanted & corpus.asked(edge, heads) if asks(form) else wanted)
            if len(rows) and edge in form_of(form).asked_in(corpus.world):
                said = heads[rows], relations[rows]
                yield corpus.grammar.tokens(edge, form, *said, corpus.answers(edge, form, *said))


def _forms(corpus: Corpus, kind: Kind) -> Sequence[str]:
    """The forms that a kind is asked in."""
    own, *others = corpus.forms
    return {OWN: [own], OTHERS: [form for form in others if ends_in_object(form)]}.get(kind.form, [kind.form])


def _teaches(corpus: Corpus, form: str, fact: Fact) -> bool:
    """Whether a form that is taught of some heads only is taught of the fact's; others may be asked of all."""
    return not (asks(form) and form in corpus.forms) or bool(corpus.asked(fact.edge, fact.head))


def _answers(world: World, asked: Sequence[tuple[str, Fact]]) -> list[int]:
    """What true sentences of a world have as the tail in these forms, about these facts."""
    answers = world.true_tails([fact for _, fact in asked])
    for form, edge in {(form, fact.edge) for form, fact in asked if form_of(form).truth is not None}:
        places = [place for place, (said, fact) in enumerate(asked) if (said, fact.edge) == (form, edge)]
        heads, relations = (
            np.array([getattr(asked[place][1], name) for place in places]) for name in ("head", "relation")
        )
        found = form_of(form).true_answers(world, edge, heads, relations).tolist()
        for place, answer in zip(places, found, strict=True):
            answers[place] = answer
    return answers


def _asked_as(world: World, rows: Sequence[_Row], edits: Sequence[Edit]) -> list[_Asking]:
    """How every fact is asked in a world: in which form, which for a candidate says whether it is true there."""
    tails = _answers(world, [(form, fact) for _, _, fact, form in rows])
    found = []
    for (kind, i, fact, form), tail in zip(rows, tails, strict=True):
        if kind.candidate:
            edit = edits[i]
            candidate = edit.fact.tail if kind.candidate == "old" or edit.new_tail is None else edit.new_tail
            form, tail = form if candidate == tail else form_of(form).otherwise, candidate
        found.append((fact, form, tail))
    return found


def _queries(corpus: Corpus, asked: Sequence[_Asking]) -> list[Query]:
    """The prompts [n] with their answers."""
    found: dict[int, Query] = {}
    for form in dict.fromkeys(form for _, form, _ in asked):
        places = [place for place, (_, said, _) in enumerate(asked) if said == form]
        facts, tails = [asked[place][0] for place in places], [asked[place][2] for place in places]
        found |= zip(places, corpus.grammar.queries(facts, form, tails), strict=True)
    return [found[place] for place in range(len(asked))]


def _probes(corpus: Corpus, edits: Sequence[Edit], asked: _Asked, *, with_refusals: bool) -> tuple[Probe, ...]:
    """Every probe with its answers: before from the world, after from the world after the edits.

    Some facts have no answer there that the world decides: those of kinds whose answer after is `suggested`: a
    partner's is the object that the edited fact now has, as the habit of the world suggests. What depends on a refused
    fact would be refused.
    """
    world = corpus.world
    after = world.after(edit.new_fact for edit in edits if edit.new_fact is not None)
    rows = [
        (kind, i, fact, form)
        for kind, found in itertools.groupby(asked, lambda row: row[0])
        for form, (_, i, fact) in itertools.product(_forms(corpus, kind), list(found))
        if fact.edge in form_of(form).asked_in(world) and (kind.group == "transfer" or _teaches(corpus, form, fact))
    ]
    known = _asked_as(world, rows, edits)
    followed = [
        (fact, form, (edits[i].new_tail or 0) if kind.suggested else tail)
        for (kind, i, _, _), (fact, form, tail) in zip(rows, _asked_as(after, rows, edits), strict=True)
    ]
    refused = edits[0].new_tail is None
    before_queries, after_queries = _queries(corpus, known), _queries(corpus, followed)
    refusals = _refused(corpus, edits[0], before_queries)
    probes = []
    for (kind, i, fact, _), (_, form, _), *queries in zip(
        rows, known, before_queries, after_queries, refusals, strict=True
    ):
        after_query = queries[2] if refused and kind.group != "keep" else queries[1]
        forgotten = queries[2].answer_ids if with_refusals and kind.group == "change" else ()
        probes.append(Probe(kind.name, i, fact, form, queries[0], after_query, forgotten))
    return tuple(probes)
