"""One world in the words of either surface, and back from words to facts. A model reads its own surface alone."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from behemoth_data.corpus import Corpus
from behemoth_data.forms import HEAD, RELATION, SURFACES, TAIL, answered_by, ends_in_object, form_of, has_prompt, varied
from behemoth_data.grammar import Grammar
from behemoth_data.lexicon import EDGE_ROLES, Lexicon, Role
from behemoth_data.settings import check, check_known
from behemoth_data.world import Edge, Fact

# Forms that are asked besides those that a model was taught: how far an answer reaches beyond them.
UNTAUGHT = ("question", "new_question")


@dataclasses.dataclass(frozen=True, eq=False)
class Words:
    """The words that a corpus's world has on a surface; ids and facts are the same on both."""

    corpus: Corpus
    surface: str

    def __post_init__(self) -> None:
        """Raises: ValueError that lists the known surfaces."""
        check_known("surface", self.surface, SURFACES)

    @property
    def own(self) -> bool:
        """Whether these are the words that the model reads."""
        return self.surface == self.corpus.grammar.lexicon.config.surface

    @functools.cached_property
    def grammar(self) -> Grammar:
        """How facts are said on this surface. Raises: ValueError for a world that is too large for its words."""
        known = self.corpus.grammar
        if self.own:
            return known
        config = dataclasses.replace(known.lexicon.config, surface=self.surface)
        return Grammar(Lexicon(known.lexicon.world, config, num_fillers=known.lexicon.num_fillers))

    @property
    def possible(self) -> bool:
        """Whether the surface has words enough for the world."""
        try:
            return bool(self.grammar.lexicon.vocabulary)
        except ValueError:
            return False

    def word(self, role: Role, id: int, relation: int = 0) -> str:
        """The word of an id."""
        return self.grammar.lexicon.word(role, id, relation)

    def head(self, fact: Fact) -> str:
        """The word of a fact's head."""
        role = EDGE_ROLES[fact.edge][0]
        return self.word(role, fact.head, fact.relation if role is Role.OBJECT else 0)

    def relation(self, edge: Edge, relation: int) -> str:
        """The word of a relation in a table."""
        return self.word(EDGE_ROLES[edge][1], relation)

    def tail(self, edge: Edge, relation: int, tail: int) -> str:
        """The word of a tail."""
        return self.word(EDGE_ROLES[edge][2], tail, relation)

    def fact(self, fact: Fact) -> str:
        """A fact as three words between dashes."""
        return " – ".join(
            (self.head(fact), self.relation(fact.edge, fact.relation), self.tail(fact.edge, fact.relation, fact.tail))
        )

    @functools.lru_cache(maxsize=64)  # noqa: B019  these live as long as their model is on the shelf
    def _column(self, role: Role, relation: int, count: int) -> tuple[str, ...]:
        tokens = self.grammar.lexicon.encode(role, np.arange(count), relation)
        return tuple(str(word) for word in self.grammar.text(tokens).to_pylist())

    def heads(self, edge: Edge, relation: int) -> tuple[str, ...]:
        """The words of all heads of a table, by id."""
        return self._column(EDGE_ROLES[edge][0], relation, self.corpus.world.num_heads(edge))

    def tails(self, edge: Edge, relation: int) -> tuple[str, ...]:
        """The words of all tails of a relation, by id."""
        return self._column(EDGE_ROLES[edge][2], relation, self.corpus.world.num_tails(edge, relation))

    def found(self, edge: Edge, relation: int, part: str, most: int = 50) -> list[int]:
        """The heads whose words hold this part, whatever its case: those that begin with it first."""
        part = part.strip().casefold()
        near = [(not word.casefold().startswith(part), id) for id, word in enumerate(self.heads(edge, relation))]
        words = self.heads(edge, relation)
        return [id for _, id in sorted(near) if part in words[id].casefold()][:most]


def forms_to_ask(corpus: Corpus, edge: Edge) -> list[str]:
    """The forms that a fact's object can be asked for in: those taught first, then some that may not have been."""
    forms = dict.fromkeys([*corpus.forms, *UNTAUGHT])
    vocabulary = corpus.grammar.lexicon.token_ids
    surface = corpus.grammar.lexicon.config.surface
    return [
        name
        for name in forms
        if has_prompt(name)
        and ends_in_object(name)
        and edge in form_of(name).asked_in(corpus.world)
        and all(word in vocabulary for word in form_of(name).template(surface).words)
    ]


@dataclasses.dataclass(frozen=True)
class Understood:
    """What a prompt asks: a fact that is true in the world, in a form."""

    fact: Fact
    form: str


def understood(words: Words, text: str) -> Understood | None:
    """The fact that a text asks for, if it is a prompt of one of the forms on this surface; None if it is not."""
    grammar, corpus = words.grammar, words.corpus
    said = grammar.split(text)
    for edge in corpus.world.edges:
        for form in forms_to_ask(corpus, edge):
            slots = None if varied(form) or answered_by(form) != TAIL else _slots(grammar, edge, form, said)
            if slots is None:
                continue
            head, relation, _ = EDGE_ROLES[edge]
            try:
                place = grammar.lexicon.id_of(relation, slots[RELATION])
                found = grammar.lexicon.id_of(head, slots[HEAD], place if head is Role.OBJECT else 0)
            except ValueError:  # words of another table, or of none
                continue
            return Understood(corpus.world.fact(edge, found, place), form)
    return None


def _slots(grammar: Grammar, edge: Edge, form: str, said: list[str]) -> dict[str, str] | None:
    """What a text has in the places of head and relation, if it has the form's words everywhere else."""
    template = form_of(form).template(grammar.lexicon.config.surface)
    if template.answer is None:
        return None
    roles = dict(zip((HEAD, RELATION), EDGE_ROLES[edge][:2], strict=True))
    slots: dict[str, str] = {}
    place = 0
    for part in template.parts[: template.answer[0]]:
        width = grammar.lexicon.width(roles[part.text]) if part.text in roles else part.middle
        found = said[place : place + width]
        if part.text in roles:
            slots[part.text] = " ".join(found)
        elif found != [part.text] * width:
            return None
        place += width
    return slots if place == len(said) else None


MOST_LETTERS = 400  # of a prompt that somebody types
MOST_TOKENS = 64


def typed_ids(corpus: Corpus, text: str) -> tuple[int, ...]:
    """The token ids of a text in the words that the model reads.

    Raises: ValueError for a text that is empty or too long, or a word that the model's vocabulary lacks.
    """
    check(len(text) <= MOST_LETTERS, f"prompt must have at most {MOST_LETTERS} letters, got {len(text)}")
    said = corpus.grammar.split(text)
    check(1 <= len(said) <= MOST_TOKENS, f"prompt must have from 1 to {MOST_TOKENS} words, got {len(said)}")
    ids = corpus.grammar.lexicon.token_ids
    lacking = [word for word in said if word not in ids]
    surface = corpus.grammar.lexicon.config.surface
    check(
        not lacking,
        f"prompt must be in the words that this model was taught, on the {surface} surface, got {', '.join(lacking)}",
    )
    return tuple(ids[word] for word in said)
