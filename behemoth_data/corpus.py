"""The i-th training sentence, found without the sentences before it. No files and no tensors here.

Axis letters: n sentences of a block; T tokens of its longest sentence.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from behemoth_data.forms import asks, ends_in_object, form_of, names_of, varied
from behemoth_data.grammar import Grammar
from behemoth_data.lexicon import NUM_FILLERS, PADDING, Lexicon, LexiconConfig
from behemoth_data.rng import Permutation, Stream
from behemoth_data.settings import check, check_known, conform, digest, setting, told
from behemoth_data.world import Edge, World, WorldConfig

Int64 = NDArray[np.int64]
Tokens = NDArray[np.uint16 | np.uint32]

# The form of each grammar that says the relation first and still ends in the object.
INVERTED = {form: next(filter(ends_in_object, names_of("inversion", form))) for form in names_of("statement")}
GRAMMARS = tuple(INVERTED)
_INVERSIONS = names_of("inversion", GRAMMARS[0])
_QUESTIONS = (*names_of("question", taught=True), *names_of("transfer", taught=True))

_CHUNK = 2**15  # sentences worked on at a time
_TABLE_BYTES = 64 * 2**20  # of a table of all distinct sentences, at most


@dataclasses.dataclass(frozen=True, kw_only=True)
class CorpusConfig:
    """How often, in which forms and in which order the facts are stated."""

    repeats: int = setting(14, "sentences per fact")
    grammar: str = setting(
        "statement",
        "statement: plain sentences; repeats: with filler words said once or more; nonsense: with random filler words",
    )
    inversion_fraction: float = setting(
        0.5, "share of the sentences that are no questions which are in an inversion form"
    )
    inversion_forms: tuple[str, ...] = setting(("rso",), "the inversion forms, equally likely: sor, osr, rso")
    question_fraction: float = setting(0.0, "share of all sentences that are questions with their answers")
    question_subject_fraction: float = setting(
        0.5, "share of the heads of each table that questions are asked about; of the others none ever is"
    )
    object_nested_upweight: int = setting(1, "nested worlds: sentences per OBJECT_NESTED fact, times repeats")
    minority_share: float = setting(0.1, "share of a dissented fact's sentences that state the second object")
    order_seed: int = setting(0, "seed of the sentences' order and forms; other orders of the same world")
    question_forms: tuple[str, ...] = setting(
        _QUESTIONS[:1],
        f"the forms of questions, equally likely in each table among those that it has: {', '.join(_QUESTIONS)}",
        later=True,
    )

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        conform(self)
        check_known("grammar", self.grammar, GRAMMARS)
        for field in ("repeats", "object_nested_upweight"):
            check(getattr(self, field) >= 1, f"{field} must be at least 1, got {getattr(self, field)}")
            check(getattr(self, field) < 2**31, f"{field} must be below 2**31, got {getattr(self, field)}")
        check(
            0 <= self.inversion_fraction < 1,
            "inversion_fraction must lie in [0, 1) so that the statements that probes ask for are taught, "
            f"got {self.inversion_fraction}",
        )
        check(0 <= self.minority_share <= 1, f"minority_share must lie in [0, 1], got {self.minority_share}")
        check(
            bool(self.inversion_forms) or self.inversion_fraction == 0,
            f"inversion_forms must name a form when inversion_fraction is above 0, got {self.inversion_forms}",
        )
        check(
            len(set(self.inversion_forms)) == len(self.inversion_forms),
            f"inversion_forms must name each form once, got {self.inversion_forms}",
        )
        for form in self.inversion_forms:
            check_known("inversion_forms", form, _INVERSIONS)
        check(
            self.grammar != "nonsense" or self.inversion_fraction == 0 or self.inversion_forms == ("rso",),
            f"inversion_forms must be rso alone with grammar nonsense, got {self.inversion_forms}",
        )
        share = self.question_subject_fraction
        check(0 < share <= 1, f"question_subject_fraction must lie in (0, 1], got {share}")
        check(
            0 <= self.question_fraction < share,
            f"question_fraction must lie in [0, {share:g}), below question_subject_fraction so that facts that are "
            f"asked about are stated as well, got {self.question_fraction}",
        )
        check(bool(self.question_forms), f"question_forms must name a form, got {self.question_forms}")
        check(
            len(set(self.question_forms)) == len(self.question_forms),
            f"question_forms must name each form once, got {self.question_forms}",
        )
        for form in self.question_forms:
            check_known("question_forms", form, _QUESTIONS)

    @property
    def forms(self) -> tuple[str, ...]:
        """The forms of the sentences; the first is the one that prompts are in unless another is asked for."""
        inversions = self.inversion_forms if self.inversion_fraction else ()
        if self.grammar == "nonsense":
            inversions = tuple(f"nonsense_{form}" for form in inversions)
        return (self.grammar, *inversions, *(self.question_forms if self.question_fraction else ()))


@dataclasses.dataclass(frozen=True)
class Sentences:
    """What a block of sentences says: one array [n] per field; `forms` index Corpus.forms.

    `tails` are what stands in the tail's place: in a form that asks about a candidate or about another table's tails,
    those.
    """

    edges: Int64
    heads: Int64
    relations: Int64
    tails: Int64
    forms: Int64


@dataclasses.dataclass(frozen=True)
class Part:
    """The sentences of a block that share a table and a form: which rows they are, and one array [n] per id."""

    rows: Int64
    edge: Edge
    form: str
    heads: Int64
    relations: Int64
    tails: Int64


@dataclasses.dataclass(frozen=True)
class _Table:
    """Where the sentences of one table of the world lie."""

    edge: Edge
    forms: tuple[str, ...]  # those of the corpus that it has
    num_heads: int
    num_facts: int
    first_slot: int  # of its sentences; slot = first_slot + repeat x num_facts + fact
    first_number: int  # of its distinct sentences
    asked: NDArray[np.bool_]  # per head, whether questions ask about it
    question_share: float  # of the sentences about heads that are asked about


class Corpus:
    """World x Grammar x repeats, in a seeded order: N sentences, each found from its place alone.

    Every fact is stated exactly `repeats` times (times the upweight). If there are questions, exactly the nearest
    whole number to `question_subject_fraction` of each table's heads is asked about, else none. Which form a sentence
    is in and whether it dissents is drawn independently for each, so the shares of forms and of dissent are binomial.

    Of a table's sentences `question_fraction` are questions, in equal parts in those of `question_forms` that say its
    facts: with k of them each is in question_fraction / k of its sentences. A table that has none of them, as all but
    SUBJECT_OBJECT have no two_step, has no questions and no head that is asked about.

    Sentences that say one fact in one form are equal unless the form has fillers. Distinct sentences have
    numbers: table by table, in it what is true before what dissents, in that form by form, in that fact by fact.
    """

    def __init__(self, world: World, grammar: Grammar, config: CorpusConfig | None = None) -> None:
        self.world, self.grammar, self.config = world, grammar, config or CorpusConfig()
        self.forms: tuple[str, ...] = self.config.forms
        self._padding = grammar.lexicon.token_ids[PADDING]
        self._dissent = bool(world.config.minority_fraction)
        seed, order = world.config.seed, self.config.order_seed
        self._form_draws = Stream(seed, f"corpus/forms/{order}")
        self._question_draws = Stream(seed, f"corpus/questions/{order}")
        self._question_form_draws = Stream(seed, f"corpus/question_forms/{order}")
        self._num_inversions = sum(not asks(form) for form in self.forms) - 1
        self._dissents = Stream(seed, f"corpus/dissents/{order}")
        self._fillers = Stream(seed, f"corpus/fillers/{order}")
        self._tables: list[_Table] = []
        self._length = self.num_distinct = 0
        for edge in world.edges:
            table = self._table(edge)
            self._tables.append(table)
            self._length += table.num_facts * self._weight(edge) * self.config.repeats
            self.num_distinct += table.num_facts * len(table.forms) * (1 + self._dissent)
        unasked = [form for form in self.forms if not any(form in table.forms for table in self._tables)]
        check(
            not unasked or len(unasked) < len(self.config.question_forms),
            "question_forms must have a form that says a fact of a world "
            f"with num_nested_objects = {world.config.num_nested_objects}, got {self.config.question_forms}",
        )
        check(
            not self._dissent or world.config.num_objects > 2 or not any(form_of(form).truth for form in self.forms),
            f"num_objects must be at least 3 with minority_fraction for question_forms {self.config.question_forms}, "
            f"so that a candidate is neither object of a fact, got {world.config.num_objects}",
        )
        check(
            self._length <= 2**62,
            f"repeats must leave the corpus at most 2**62 sentences, got {self.config.repeats} and {self._length}",
        )
        self._order = Permutation(self._length, seed, f"corpus/order/{order}")
        self._known: Tokens | None = None  # the distinct sentences [num_distinct, T], once they pay off
        self._served = 0

    def __len__(self) -> int:
        """Sentences in the corpus."""
        return self._length

    @property
    def digest(self) -> str:
        """16 hex digits that change whenever a sentence could."""
        return digest([self.world.digest, self.grammar.lexicon.config, self.config])

    def description(self) -> dict[str, Any]:
        """What a checkpoint carries so that `description.from_description` finds this very corpus again.

        A world that differs from its config's brings its changes, as (edge, head, relation, tail).
        """
        changes = sorted([int(edge), *ids, tail] for (edge, *ids), tail in self.world.changes.items())
        return {
            "world": told(self.world.config),
            **({"changes": changes} if changes else {}),
            "lexicon": told(self.grammar.lexicon.config),
            "corpus": told(self.config),
            "num_tokens": len(self.grammar.lexicon.vocabulary),
            "digests": self.digests(),
        }

    def answers(self, edge: Edge, form: str, heads: Int64, relations: Int64) -> Int64:
        """The ids [n] that true sentences about these heads and relations [n] of a table have as the form's tail."""
        return form_of(form).true_answers(self.world, edge, heads, relations)

    def digests(self) -> dict[str, str]:
        """What tells a changed generator, each part by itself: facts, words, forms, order."""
        facts, said = [], []
        for table in self._tables:
            edge = table.edge
            heads, relations, tails = self.world.facts(edge, 0, min(1000, self.world.num_facts(edge)))
            facts.append(tails.tolist())
            one = heads[:1], relations[:1]
            for form in table.forms:
                said.append(self.grammar.tokens(edge, form, *one, self.answers(edge, form, *one)).tolist())
        return {
            "facts": digest(facts),
            "vocabulary": digest(self.grammar.lexicon.vocabulary),
            "grammar": digest(said),
            "sentences": digest(self.block(0, min(1000, len(self))).tolist()),
        }

    @functools.cached_property
    def max_length(self) -> int:
        """Tokens of the longest sentence, its end-of-text token included."""
        return max(self.grammar.max_length(table.edge, form) for table in self._tables for form in table.forms)

    @property
    def token_type(self) -> type[np.uint16] | type[np.uint32]:
        """The smallest unsigned integer type that holds every token id."""
        return np.uint16 if len(self.grammar.lexicon.vocabulary) <= 2**16 else np.uint32

    @property
    def varied(self) -> bool:
        """Whether sentences that say one fact in one form can differ."""
        return any(map(varied, self.forms))

    def question_order(self, edge: Edge) -> Permutation:
        """The heads of a table in the order in which questions would come to ask about more of them."""
        role = "objects" if edge is Edge.OBJECT_NESTED else "subjects"
        return Permutation(self.world.num_heads(edge), self.world.config.seed, f"corpus/asked/{role}")

    def num_asked(self, edge: Edge) -> int:
        """How many heads of a table, the first ones in question_order, training sentences ask questions about.

        It is the whole number nearest to the share, and of two equally near the larger.
        """
        return int(self._of(edge).asked.sum())

    def asked(self, edge: Edge, heads: ArrayLike) -> NDArray[np.bool_]:
        """Whether training sentences ask questions about these heads [n] of a table.

        Raises: ValueError for a head that the table lacks.
        """
        heads, most = np.asarray(heads, np.int64), self.world.num_heads(edge)
        inside = not heads.size or (int(heads.min()) >= 0 and int(heads.max()) < most)
        check(inside, f"head must lie in [0, {most}), got {heads.tolist()}")
        asked: NDArray[np.bool_] = self._of(edge).asked[heads]
        return asked

    def sentences(self, places: ArrayLike) -> Sentences:
        """What the sentences at these places [n] of the order say. Raises: ValueError for a place outside."""
        return self.said(self.numbers(places))

    def numbers(self, places: ArrayLike) -> Int64:
        """The numbers [n] of the distinct sentences at these places [n]. Raises: ValueError for a place outside."""
        return self._numbers(self._order(np.atleast_1d(places)))

    def said(self, numbers: Int64) -> Sentences:
        """What the distinct sentences with these numbers [n] say. Raises: ValueError for a number outside."""
        inside = not numbers.size or (int(numbers.min()) >= 0 and int(numbers.max()) < self.num_distinct)
        check(inside, f"number must lie in [0, {self.num_distinct}), got {numbers.tolist()}")
        edges, heads, relations, tails, forms = (np.zeros_like(numbers) for _ in range(5))
        for part in self.parts(numbers):
            edges[part.rows], forms[part.rows] = part.edge, self.forms.index(part.form)
            heads[part.rows], relations[part.rows], tails[part.rows] = part.heads, part.relations, part.tails
        return Sentences(edges, heads, relations, tails, forms)

    def parts(self, numbers: Int64) -> Iterator[Part]:
        """The distinct sentences with these numbers [n], those of one table and one form together."""
        for table in self._tables:
            start = table.first_number
            for dissenting, form in itertools.product(range(1 + self._dissent), table.forms):
                rows = np.flatnonzero((numbers >= start) & (numbers < start + table.num_facts))
                if rows.size:
                    relations, heads = np.divmod(numbers[rows] - start, table.num_heads)
                    tails = self.answers(table.edge, form, heads, relations)
                    if dissenting and form_of(form).truth is None:
                        second = self.world.dissenting_objects(heads, relations)
                        tails = np.where(second >= 0, second, tails)
                    yield Part(rows, table.edge, form, heads, relations, tails)
                start += table.num_facts

    def part_tokens(self, part: Part, places: ArrayLike) -> Int64:
        """Token ids [n, T] of a part's sentences, padded on the right where they have fillers.

        `places` [n] are those of the sentences in the order, since the fillers differ from one to the next.
        """
        facts = part.edge, part.form, part.heads, part.relations, part.tails
        if varied(part.form):
            return self.grammar.varied_tokens(*facts, self._fillers, np.asarray(places, np.int64))
        return self.grammar.tokens(*facts)

    def tokens(self, places: ArrayLike) -> Tokens:
        """Token ids [n, T] of the sentences at these places [n], padded on the right.

        Raises: ValueError for a place outside.
        """
        places = np.atleast_1d(places)
        return self._filled(len(places), lambda start, stop: places[start:stop])

    def distinct(self, numbers: Int64) -> Tokens:
        """Token ids [n, T] of the distinct sentences with these numbers [n], padded on the right.

        Raises: ValueError for a corpus whose sentences have fillers: those differ from place to place.
        """
        check(not self.varied, f"grammar must have no fillers for sentences to be told by number, got {self.forms[0]}")
        block = np.empty((len(numbers), self.max_length), self.token_type)
        for start in range(0, len(numbers), _CHUNK):
            chunk = numbers[start : start + _CHUNK]
            self._compose(chunk, chunk, block[start : start + _CHUNK])
        return block

    def block(self, start: int, stop: int) -> Tokens:
        """Token ids [stop - start, T] of the sentences from place start up to place stop, padded on the right."""
        return self._filled(max(0, stop - start), lambda first, last: np.arange(start + first, start + last))

    def _filled(self, count: int, places: Callable[[int, int], Int64]) -> Tokens:
        """Token ids [count, T], made in chunks: fresh memory costs more than the sentences written to it."""
        block = np.empty((count, self.max_length), self.token_type)
        for start in range(0, count, _CHUNK):
            chunk = places(start, min(start + _CHUNK, count))
            self._say(self.numbers(chunk), chunk, block[start : start + _CHUNK])
        return block

    def _weight(self, edge: Edge) -> int:
        return self.config.object_nested_upweight if edge is Edge.OBJECT_NESTED else 1

    def _table(self, edge: Edge) -> _Table:
        config, num_heads = self.config, self.world.num_heads(edge)
        forms = tuple(form for form in self.forms if edge in form_of(form).asked_in(self.world))
        questions = any(map(asks, forms))
        num_asked = int(config.question_subject_fraction * num_heads + 0.5) if questions else 0
        share = config.question_fraction * num_heads / max(num_asked, 1)
        check(
            not questions or (num_asked > 0 and share < 1),
            f"question_subject_fraction must choose more than {config.question_fraction * num_heads:g} of the "
            f"{num_heads} heads of {edge.label}, so that what is asked about is stated as well, got {num_asked}",
        )
        asked = np.zeros(num_heads, bool)
        asked[self.question_order(edge)(np.arange(num_asked))] = True
        num_facts = self.world.num_facts(edge)
        return _Table(edge, forms, num_heads, num_facts, self._length, self.num_distinct, asked, share)

    def _of(self, edge: Edge) -> _Table:
        self.world.num_heads(edge)  # refuses a table that the world lacks
        return next(table for table in self._tables if table.edge is edge)

    def _numbers(self, slots: Int64) -> Int64:
        """The distinct sentence that each slot [n] holds."""
        if len(self._tables) == 1:
            return self._numbers_in(self._tables[0], slots)
        numbers = np.empty_like(slots)
        bounds = [*(table.first_slot for table in self._tables), self._length]
        for table, (start, stop) in zip(self._tables, itertools.pairwise(bounds), strict=True):
            rows = np.flatnonzero((slots >= start) & (slots < stop))
            numbers[rows] = self._numbers_in(table, slots[rows])
        return numbers

    def _numbers_in(self, table: _Table, slots: Int64) -> Int64:
        facts = slots - table.first_slot
        facts -= facts // table.num_facts * table.num_facts  # numpy's remainder is several times slower
        kinds = self._forms(table, slots, facts)
        if self._dissent:
            relations, heads = np.divmod(facts, table.num_heads)
            dissents = self.world.dissenting_objects(heads, relations) >= 0
            dissents &= self._dissents.uniform(slots) < self.config.minority_share
            kinds += dissents * len(table.forms)
        kinds *= table.num_facts
        kinds += facts
        kinds += table.first_number
        return kinds

    def _forms(self, table: _Table, slots: Int64, facts: Int64) -> Int64:
        """The form of each slot's sentence [n], as an index into the table's forms."""
        config, inversions = self.config, self._num_inversions
        questions = len(table.forms) - 1 - inversions
        forms = np.zeros_like(slots)
        draws = self._form_draws.uniform(slots) if inversions else np.empty(0)
        for place in range(inversions):
            forms += draws >= 1 - config.inversion_fraction * (1 - place / inversions)
        if questions:
            heads = facts - facts // table.num_heads * table.num_heads
            asked = table.asked[heads] & (self._question_draws.uniform(slots) < table.question_share)
            forms[asked] = 1 + inversions
            if questions > 1:
                forms[asked] += self._question_form_draws.integers(slots[asked], questions)
        return forms

    def _say(self, numbers: Int64, places: ArrayLike, block: Tokens) -> None:
        """The block [n, T] holds the sentences of these numbers [n], which stand at these places [n]."""
        known = self._known_sentences(len(numbers))
        if known is not None:
            np.take(known, numbers, axis=0, out=block, mode="clip")  # the default mode would copy
        else:
            self._compose(numbers, places, block)

    def _known_sentences(self, wanted: int) -> Tokens | None:
        """The table of all distinct sentences, made as soon as as many have been wanted, if it is small enough."""
        if self._known is None and not self.varied:
            self._served += wanted
            size = self.num_distinct * self.max_length * np.dtype(self.token_type).itemsize
            if size <= _TABLE_BYTES and self._served >= self.num_distinct:
                self._known = self.distinct(np.arange(self.num_distinct))
        return self._known

    def _compose(self, numbers: Int64, places: ArrayLike, block: Tokens) -> None:
        block[:] = self._padding
        for part in self.parts(numbers):
            tokens = self.part_tokens(part, np.asarray(places)[part.rows])
            block[part.rows, : tokens.shape[1]] = tokens


def build(
    world: WorldConfig,
    lexicon: LexiconConfig | None = None,
    corpus: CorpusConfig | None = None,
    *,
    num_tokens: int | None = None,
) -> Corpus:
    """The corpus of a world, with its grammar (`.grammar`) and its world (`.world`).

    `num_tokens` is the size of an older vocabulary, which lacks the words of the forms that came since.
    """
    corpus = corpus or CorpusConfig()
    fillers = NUM_FILLERS if corpus.grammar == "nonsense" else 0
    words = Lexicon(world, lexicon, num_fillers=fillers, num_tokens=num_tokens)
    return Corpus(World(world), Grammar(words), corpus)
