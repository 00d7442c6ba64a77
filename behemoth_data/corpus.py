"""The i-th training sentence, found without the sentences before it. No files and no tensors here.

Axis letters: n sentences of a block; T tokens of its longest sentence.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from behemoth_data.grammar import Grammar
from behemoth_data.lexicon import PADDING, Lexicon, LexiconConfig
from behemoth_data.rng import Permutation, Stream
from behemoth_data.settings import check, check_known, conform, digest, from_mapping, setting
from behemoth_data.world import Edge, World, WorldConfig

Int64 = NDArray[np.int64]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CorpusConfig:
    """How often, in which forms and in which order the facts are stated."""

    repeats: int = setting(20, "sentences per fact")
    inversion_fraction: float = setting(0.5, "share of sentences in an inversion form instead of statement")
    inversion_forms: tuple[str, ...] = setting(("rso",), "the inversion forms, equally likely: sor, osr, rso")
    object_nested_upweight: int = setting(1, "nested worlds: sentences per OBJECT_NESTED fact, times repeats")
    minority_share: float = setting(0.1, "share of a dissented fact's sentences that state the second object")
    order_seed: int = setting(0, "seed of the sentences' order and forms; other orders of the same world")

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        conform(self)
        check(self.repeats >= 1, f"repeats must be at least 1, got {self.repeats}")
        check(
            self.object_nested_upweight >= 1,
            f"object_nested_upweight must be at least 1, got {self.object_nested_upweight}",
        )
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
            check_known("inversion_forms", form, ["sor", "osr", "rso"])


@dataclasses.dataclass(frozen=True)
class Sentences:
    """What a block of sentences says: one array [n] per field; `forms` index Corpus.forms."""

    edges: Int64
    heads: Int64
    relations: Int64
    tails: Int64
    forms: Int64


class Corpus:
    """World x Grammar x repeats, in a seeded order: N sentences, each found from its place alone.

    Every fact is stated exactly `repeats` times (times the upweight). Which form states it is drawn
    independently for each sentence, so shares of forms and of dissent are binomial.
    """

    def __init__(self, world: World, grammar: Grammar, config: CorpusConfig | None = None) -> None:
        self.world, self.grammar, self.config = world, grammar, config or CorpusConfig()
        self.forms: tuple[str, ...] = ("statement",)
        if self.config.inversion_fraction:
            self.forms += self.config.inversion_forms
        self._counts = [world.num_facts(edge) * self._weight(edge) * self.config.repeats for edge in world.edges]
        self._starts = np.cumsum([0, *self._counts])
        seed = world.config.seed
        self._order = Permutation(len(self), seed, f"corpus/order/{self.config.order_seed}")
        self._inverted = Stream(seed, f"corpus/inverted/{self.config.order_seed}")
        self._inversions = Stream(seed, f"corpus/inversion_forms/{self.config.order_seed}")
        self._dissents = Stream(seed, f"corpus/dissents/{self.config.order_seed}")
        self._padding = grammar.lexicon.token_ids[PADDING]

    def __len__(self) -> int:
        """Sentences in the corpus."""
        return int(sum(self._counts))

    @property
    def digest(self) -> str:
        """16 hex digits that change whenever a sentence could."""
        return digest([self.world.digest, self.grammar.lexicon.config, self.config])

    def description(self) -> dict[str, Any]:
        """What a checkpoint carries so that `from_description` finds this very corpus again.

        Raises: ValueError for a world with changes, which no config describes.
        """
        check(not self.world.changes, f"world must be a config's own, got {len(self.world.changes)} changed facts")
        return {
            "world": dataclasses.asdict(self.world.config),
            "lexicon": dataclasses.asdict(self.grammar.lexicon.config),
            "corpus": dataclasses.asdict(self.config),
            "digests": self._digests(),
        }

    def _digests(self) -> dict[str, str]:
        sample = self.block(0, min(1000, len(self)))
        return {"vocabulary": digest(self.grammar.lexicon.vocabulary), "sentences": digest(sample.tolist())}

    @property
    def max_length(self) -> int:
        """Tokens of the longest sentence, its end-of-text token included."""
        return max(self.grammar.length(edge, form) for edge in self.world.edges for form in self.forms)

    def sentences(self, places: ArrayLike) -> Sentences:
        """What the sentences at these places [n] of the order say. Raises: ValueError for a place outside."""
        slots = self._order(np.atleast_1d(places))
        tables = np.searchsorted(self._starts, slots, side="right") - 1
        edges, heads, relations, tails = (np.zeros_like(slots) for _ in range(4))
        for table, edge in enumerate(self.world.edges):
            rows = np.flatnonzero(tables == table)
            fact = (slots[rows] - self._starts[table]) % self.world.num_facts(edge)
            edges[rows] = edge
            relations[rows], heads[rows] = np.divmod(fact, self.world.num_heads(edge))
            tails[rows] = self.world.tails(edge, heads[rows], relations[rows])
        return Sentences(
            edges, heads, relations, self._with_dissent(slots, heads, relations, tails), self._forms(slots)
        )

    def tokens(self, places: ArrayLike) -> Int64:
        """Token ids [n, T] of the sentences at these places [n], padded on the right."""
        said = self.sentences(places)
        block = np.full((len(said.edges), self.max_length), self._padding, np.int64)
        for edge in self.world.edges:
            for number, form in enumerate(self.forms):
                rows = np.flatnonzero((said.edges == edge) & (said.forms == number))
                ids = self.grammar.tokens(edge, form, said.heads[rows], said.relations[rows], said.tails[rows])
                block[rows, : ids.shape[1]] = ids
        return block

    def block(self, start: int, stop: int) -> Int64:
        """Token ids [stop - start, T] of the sentences from place start up to place stop, padded on the right."""
        return self.tokens(np.arange(start, stop))

    def _weight(self, edge: Edge) -> int:
        return self.config.object_nested_upweight if edge is Edge.OBJECT_NESTED else 1

    def _forms(self, slots: Int64) -> Int64:
        if len(self.forms) == 1:
            return np.zeros_like(slots)
        inversions = 1 + self._inversions.integers(slots, len(self.forms) - 1)
        return np.where(self._inverted.uniform(slots) < self.config.inversion_fraction, inversions, 0)

    def _with_dissent(self, slots: Int64, heads: Int64, relations: Int64, tails: Int64) -> Int64:
        if not self.world.config.minority_fraction:
            return tails
        second = self.world.dissenting_objects(heads, relations)
        stated = (second >= 0) & (self._dissents.uniform(slots) < self.config.minority_share)
        return np.where(stated, second, tails)


def build(world: WorldConfig, lexicon: LexiconConfig | None = None, corpus: CorpusConfig | None = None) -> Corpus:
    """The corpus of a world, with its grammar (`.grammar`) and its world (`.world`)."""
    return Corpus(World(world), Grammar(Lexicon(world, lexicon)), corpus)


def from_description(description: Mapping[str, Any]) -> Corpus:
    """The corpus that `Corpus.description` described.

    Raises: ValueError that says which part differs if this version of the generator no longer makes it.
    """
    missing = [part for part in ("world", "lexicon", "corpus", "digests") if part not in description]
    check(
        not missing,
        f"description must have the parts world, lexicon, corpus and digests, got none of {missing}",
    )
    corpus = build(
        from_mapping(WorldConfig, description["world"]),
        from_mapping(LexiconConfig, description["lexicon"]),
        from_mapping(CorpusConfig, description["corpus"]),
    )
    for part, found in corpus._digests().items():
        stored = description["digests"].get(part)
        check(
            found == stored,
            f"{part} digest must be {stored}, as when the model was trained, got {found}: the generator has "
            "changed since; use the version that trained the model",
        )
    return corpus
