"""The only place where ids become text and token ids. Which facts are true is not known here.

A sentence is one template of FORMS with the words of head, relation and tail filled in. Axis letters: n sentences;
T tokens of a sentence.
"""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from behemoth_data.forms import HEAD, RELATION, SECOND_RELATION, TAIL, Part, Template, form_of
from behemoth_data.lexicon import EDGE_ROLES, END, PADDING, Lexicon, Role
from behemoth_data.rng import Stream
from behemoth_data.settings import check
from behemoth_data.world import Edge, Fact

Int64 = NDArray[np.int64]

_ABSENT = -1  # a token that a sentence with few fillers does not have


@dataclasses.dataclass(frozen=True)
class Query:
    """A sentence cut where its answer begins, as text and as the token ids of prompt and answer."""

    prompt: str
    answer: str
    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]
    subject_end: int | None = None  # place of the subject's last token in the prompt; none: not known


class Grammar:
    """How the facts of one world are said.

    Where a form has fillers, `tokens`, `query` and `queries` say each fact with the middle number of them, so
    that all prompts of a table are of one length; only `varied_tokens` draws how many there are.
    """

    def __init__(self, lexicon: Lexicon) -> None:
        self.lexicon = lexicon
        self._vocabulary = pa.array(lexicon.vocabulary)
        self._fillers = Stream(lexicon.world.seed, "grammar/fillers")
        # Those that were asked for, since their checks take time.
        self._templates: dict[tuple[Edge, str], Template] = {}

    @property
    def end_id(self) -> int:
        """Token id of <|endoftext|>, which ends every sentence."""
        return self.lexicon.token_ids[END]

    def length(self, edge: Edge, form: str) -> int:
        """Tokens T of a sentence, its end-of-text token included."""
        return self._num_tokens(edge, form, self._template(edge, form).parts) + 1

    def max_length(self, edge: Edge, form: str) -> int:
        """Tokens of a sentence with as many fillers as there can be, its end-of-text token included."""
        parts = self._template(edge, form).parts
        return self.length(edge, form) + sum(part.high - part.middle for part in parts)

    def answer_place(self, edge: Edge, form: str) -> slice:
        """Where a sentence's answer stands. Raises: ValueError if the form has none, the object not coming last."""
        template = self._template(edge, form)
        if template.answer is None:
            raise ValueError(f"form must end in the object for a prompt to exist, got {form!r}")
        start, stop = (self._num_tokens(edge, form, template.parts[:cut]) for cut in template.answer)
        return slice(start, stop)

    def subject_place(self, edge: Edge, form: str) -> slice:
        """Where the head's word stands in a sentence."""
        parts = self._template(edge, form).parts
        place = next(i for i, part in enumerate(parts) if part.text == HEAD)
        start, stop = (self._num_tokens(edge, form, parts[:cut]) for cut in (place, place + 1))
        return slice(start, stop)

    def tokens(self, edge: Edge, form: str, heads: ArrayLike, relations: ArrayLike, tails: ArrayLike) -> Int64:
        """Token ids [n, T] of the sentences that state these facts [n] of one table in one form."""
        heads, relations, tails = (np.atleast_1d(np.asarray(ids, np.int64)) for ids in (heads, relations, tails))
        counters = (np.int64(edge) << 56) + (relations << 32) + heads  # of the fillers, if there are any
        return self._block(edge, form, (heads, relations, tails), self._fillers, counters, draw_counts=False)

    def varied_tokens(
        self, edge: Edge, form: str, heads: Int64, relations: Int64, tails: Int64, draws: Stream, counters: Int64
    ) -> Int64:
        """Token ids [n, T] of the sentences about these facts [n], padded on the right.

        How many fillers a sentence has, and which, is drawn for each of the counters [n].
        """
        block = self._block(edge, form, (heads, relations, tails), draws, counters, draw_counts=True)
        present = block != _ABSENT
        padded = np.full_like(block, self.lexicon.token_ids[PADDING])
        rows, _ = np.nonzero(present)
        padded[rows, (np.cumsum(present, axis=1) - 1)[present]] = block[present]
        return padded

    def text(self, tokens: NDArray[np.integer]) -> pa.StringArray:
        """The text of token ids [n, T], words joined by spaces [n]; padding has no text."""
        from pyarrow import compute as pc  # here, since it takes a fifth of the time that this package takes to import

        present = tokens != self.lexicon.token_ids[PADDING]
        if present.all():
            columns = [self._vocabulary.take(pa.array(np.ascontiguousarray(column))) for column in tokens.T]
            joined = pc.binary_join_element_wise(*columns, " ") if columns else pa.array([""] * len(tokens))
        else:
            offsets = np.concatenate([[0], np.cumsum(present.sum(axis=1))]).astype(np.int32)
            words = pa.ListArray.from_arrays(pa.array(offsets), self._vocabulary.take(pa.array(tokens[present])))
            joined = pc.binary_join(words, " ")
        if self.lexicon.config.surface == "natural":
            joined = pc.replace_substring_regex(joined, " ([.,?:])", r"\1")
        return joined

    def split(self, text: str) -> list[str]:
        """The words of a text, as `text` joined them."""
        if self.lexicon.config.surface == "natural":
            text = re.sub(r"([.,?:])", r" \1", text)
        return text.split()

    def words(
        self, edge: Edge, heads: Int64, relations: Int64, tails: Int64, form: str = "statement"
    ) -> tuple[pa.StringArray, ...]:
        """The words of heads, relations and tails [n] each; a form may be answered by another table's tails."""
        columns = self._word_tokens(edge, form, (heads, relations, tails))
        return tuple(self.text(columns[slot]) for slot in (HEAD, RELATION, TAIL))

    def answers(self, edge: Edge, relation: int, tails: ArrayLike) -> Int64:
        """Token ids [n, W] of the words that answer a prompt about this relation of a table, for tails [n].

        Raises: ValueError for a relation or a tail that the world does not have.
        """
        return self.lexicon.encode(EDGE_ROLES[edge][2], np.atleast_1d(np.asarray(tails, np.int64)), relation)

    def query(self, fact: Fact, form: str = "statement", tail: int | None = None) -> Query:
        """The prompt that asks for a fact's tail, and the fact's own tail or another one as the answer."""
        return self.queries([fact], form, None if tail is None else [tail])[0]

    def queries(self, facts: list[Fact], form: str = "statement", tails: list[int] | None = None) -> list[Query]:
        """The prompts [n] that ask about facts [n], with their own tails or others [n] as answers.

        A form that is answered by another table's tails, or asks about a candidate, needs those: Corpus.answers knows
        the true ones. In the forms of refusal the answer is that there is none, whatever the tails are.
        """
        rows: list[Query | None] = [None] * len(facts)
        answers = [fact.tail for fact in facts] if tails is None else tails
        for edge in {fact.edge for fact in facts}:
            places = [i for i, fact in enumerate(facts) if fact.edge is edge]
            block = self.tokens(
                edge,
                form,
                [facts[i].head for i in places],
                [facts[i].relation for i in places],
                [answers[i] for i in places],
            )
            answer, subject_end = self.answer_place(edge, form), self.subject_place(edge, form).stop - 1
            prompts = self.text(block[:, : answer.start]).to_pylist()
            words = self.text(block[:, answer]).to_pylist()
            for row, i in enumerate(places):
                ids = block[row].tolist()
                rows[i] = Query(prompts[row], words[row], tuple(ids[: answer.start]), tuple(ids[answer]), subject_end)
        return [row for row in rows if row is not None]

    def _template(self, edge: Edge, name: str) -> Template:
        """Raises: ValueError for a form that the table or the world lacks, or whose words the vocabulary lacks."""
        if (edge, name) not in self._templates:
            self._templates[edge, name] = self._checked_template(edge, name)
        return self._templates[edge, name]

    def _checked_template(self, edge: Edge, name: str) -> Template:
        form, lexicon = form_of(name), self.lexicon
        labels = ", ".join(known.label for known in form.edges)
        check(edge in form.edges, f"edge of form {name!r} must be one of {labels}, got {edge.label}")
        check(
            form.answers in (None, Edge.SUBJECT_OBJECT) or lexicon.world.num_nested_objects > 0,
            f"num_nested_objects must be above 0 for form {name!r}, whose answers are nested, got 0",
        )
        template = form.template(lexicon.config.surface)
        lacking = [word for word in template.words if word not in lexicon.token_ids]
        check(
            not lacking,
            f"form must be in words of this vocabulary of {len(lexicon.vocabulary)} tokens, got {name!r}, whose words "
            f"{', '.join(lacking)} came later: a model with a smaller vocabulary never saw them",
        )
        return template

    @staticmethod
    def _roles(edge: Edge, name: str) -> dict[str, Role]:
        """The role of each word that a form fills in; the answer and its relation may be another table's."""
        head, relation, _ = EDGE_ROLES[edge]
        _, second, answer = EDGE_ROLES[edge if (answers := form_of(name).answers) is None else answers]
        return {HEAD: head, RELATION: relation, TAIL: answer, SECOND_RELATION: second}

    def _num_tokens(self, edge: Edge, form: str, parts: tuple[Part, ...]) -> int:
        widths = {slot: self.lexicon.width(role) for slot, role in self._roles(edge, form).items()}
        return sum(widths.get(part.text, 1) * part.middle for part in parts)

    def _word_tokens(self, edge: Edge, form: str, ids: tuple[Int64, ...]) -> dict[str, Int64]:
        """Token ids [n, W] of what a form's facts fill in."""
        heads, relations, tails = ids
        roles = self._roles(edge, form)
        numbers = {HEAD: heads, RELATION: relations, TAIL: tails, SECOND_RELATION: relations}
        grouped = (Role.OBJECT, Role.NESTED)
        return {
            slot: self.lexicon.encode(role, numbers[slot], relations if role in grouped else 0)
            for slot, role in roles.items()
        }

    def _block(
        self, edge: Edge, form: str, ids: tuple[Int64, ...], draws: Stream, counters: Int64, *, draw_counts: bool
    ) -> Int64:
        """Token ids [n, T]; with draw_counts, every filler has all its places and those not said are _ABSENT."""
        template = self._template(edge, form)
        columns = self._word_tokens(edge, form, ids)
        filled: list[tuple[int, Int64 | int]] = []  # width and token ids of each part
        drawn = 0  # values drawn for each sentence so far
        for part in template.parts:
            if part.text in columns:
                words = columns[part.text]
                filled.append((words.shape[1], words))
                continue
            width = part.high if draw_counts else part.middle
            if part.text:
                said: Int64 | int = self.lexicon.token_ids[part.text]
            else:
                most = self.lexicon.num_fillers
                check(most > 0, f"num_fillers of the lexicon must be above 0 for form {form!r}, got {most}")
                places = self._draw(draws, counters, drawn, width, most)
                said, drawn = self.lexicon.filler_ids(places), drawn + width
            if draw_counts and part.low < part.high:
                counts = part.low + self._draw(draws, counters, drawn, 1, part.high - part.low + 1)
                said, drawn = np.where(np.arange(width) < counts, said, _ABSENT), drawn + 1
            filled.append((width, said))
        block = np.empty((len(counters), sum(width for width, _ in filled) + 1), np.int64)
        place = 0
        for width, tokens in filled:
            block[:, place : place + width] = tokens
            place += width
        block[:, place] = self.end_id
        return block

    @staticmethod
    def _draw(draws: Stream, counters: Int64, first: int, count: int, bound: int) -> Int64:
        """Values below the bound [n, count], from place `first` on of what is drawn for each counter [n]."""
        # 32 values a sentence at most: the largest template draws 12.
        index = counters.astype(np.uint64)[:, None] * np.uint64(32) + np.arange(first, first + count, dtype=np.uint64)
        return draws.integers(index, bound)
