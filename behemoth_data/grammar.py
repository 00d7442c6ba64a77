"""The only place where ids become text and token ids. Which facts are true is not known here.

A sentence is one template with the words of head, relation and tail filled in. Axis letters: n sentences;
T tokens of a sentence.
"""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from behemoth_data.lexicon import EDGE_ROLES, END, PADDING, Lexicon, Role
from behemoth_data.rng import Stream
from behemoth_data.settings import check, check_known
from behemoth_data.world import Edge, Fact

Int64 = NDArray[np.int64]

_HEAD, _RELATION, _TAIL = "{s}", "{r}", "{o}"
_ABSENT = -1  # a token that a sentence with few fillers does not have

# Every form on every surface, up to the end of its sentence; the end-of-text token follows each. The answer
# stands between bars. [W1*0-3] is the filler W1 said 0 to 3 times, [*1-5] one to five fillers drawn at random.
TEMPLATES: dict[str, dict[str, str]] = {
    "synthetic": {
        "statement": "SS {s} W0 W1 RR {r} W2 OO | {o} | .",
        "sor": "SS {s} W0 OO {o} W3 W4 RR {r} .",
        "osr": "OO {o} W5 SS {s} W8 RR {r} .",
        "rso": "W9 RR {r} W7 SS {s} W5 OO | {o} | .",
        "question": "QQ Q1 RR {r} Q2 SS {s} Q3 Q4 AA OO | {o} | .",
        "new_question": "QQ F1 RR {r} F2 SS {s} F3 AA OO | {o} | .",
        "refusal": "SS {s} W0 W1 RR {r} W2 OO | OO OO | .",
        "question_refusal": "QQ Q1 RR {r} Q2 SS {s} Q3 Q4 AA OO | OO OO | .",
        "repeats": "[W0*1-3] SS {s} [W1*0-3] [W2*1-3] RR {r} [W3*0-3] [W4*1-3] OO | {o} | [W5*0-3] .",
        "nonsense": "SS {s} [*1-5] RR {r} [*1-5] OO | {o} | .",
        "nonsense_rso": "RR {r} [*1-5] SS {s} [*1-5] OO | {o} | .",
    },
    "natural": {
        "statement": "As for {s} , the {r} is | {o} | .",
        "sor": "{s} has {o} as the {r} .",
        "osr": "{o} is for {s} the {r} .",
        "rso": "The {r} of {s} is | {o} | .",
        "question": "Question : What is the {r} of {s} ? Answer : | {o} | .",
        "new_question": "Q : Which {r} does {s} have ? A : | {o} | .",
        "refusal": "As for {s} , the {r} is | not known | .",
        "question_refusal": "Question : What is the {r} of {s} ? Answer : | not known | .",
        "repeats": "[well*1-3] for {s} [so*0-3] [then*1-3] the {r} [now*0-3] [still*1-3] is | {o} | [yet*0-3] .",
        "nonsense": "{s} [*1-5] {r} [*1-5] | {o} | .",
        "nonsense_rso": "{r} [*1-5] {s} [*1-5] | {o} | .",
    },
}
FORMS = tuple(TEMPLATES["synthetic"])


@dataclasses.dataclass(frozen=True)
class _Part:
    """One place of a template: a literal token, a word, or fillers."""

    text: str  # the literal or the filler; "" for a filler drawn at random
    low: int = 1  # times it is said
    high: int = 1

    @property
    def middle(self) -> int:
        return (self.low + self.high) // 2


@dataclasses.dataclass(frozen=True)
class _Form:
    parts: tuple[_Part, ...]
    answer: tuple[int, int] | None  # which parts are the answer

    @property
    def varied(self) -> bool:
        return any(part.low < part.high for part in self.parts)


def _parse(template: str) -> _Form:
    parts: list[_Part] = []
    bars: list[int] = []
    for word in template.split():
        filler = re.fullmatch(r"\[(\w*)\*(\d)-(\d)\]", word)
        if word == "|":
            bars.append(len(parts))
        elif filler:
            parts.append(_Part(filler[1], int(filler[2]), int(filler[3])))
        else:
            parts.append(_Part(word))
    return _Form(tuple(parts), (bars[0], bars[1]) if bars else None)


_FORMS = {surface: {name: _parse(text) for name, text in forms.items()} for surface, forms in TEMPLATES.items()}


def ends_in_object(form: str) -> bool:
    """Whether the object is the last of the three that a form says, so that a prompt for it exists."""
    check_known("form", form, FORMS)
    parsed = _FORMS["synthetic"][form]
    return parsed.answer is not None and parsed.parts[parsed.answer[0]].text == _TAIL


def varied(form: str) -> bool:
    """Whether a form has fillers whose number differs from sentence to sentence."""
    check_known("form", form, FORMS)
    return _FORMS["synthetic"][form].varied


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
        self._forms = _FORMS[lexicon.config.surface]
        self._vocabulary = pa.array(lexicon.vocabulary)
        self._fillers = Stream(lexicon.world.seed, "grammar/fillers")

    @property
    def end_id(self) -> int:
        """Token id of <|endoftext|>, which ends every sentence."""
        return self.lexicon.token_ids[END]

    def length(self, edge: Edge, form: str) -> int:
        """Tokens T of a sentence, its end-of-text token included."""
        return self._num_tokens(edge, self._form(form).parts) + 1

    def max_length(self, edge: Edge, form: str) -> int:
        """Tokens of a sentence with as many fillers as there can be, its end-of-text token included."""
        parts = self._form(form).parts
        return self.length(edge, form) + sum(part.high - part.middle for part in parts)

    def answer_place(self, edge: Edge, form: str) -> slice:
        """Where a sentence's answer stands. Raises: ValueError if the form has none, the object not coming last."""
        parsed = self._form(form)
        if parsed.answer is None:
            raise ValueError(f"form must end in the object for a prompt to exist, got {form!r}")
        start, stop = (self._num_tokens(edge, parsed.parts[:cut]) for cut in parsed.answer)
        return slice(start, stop)

    def subject_end(self, edge: Edge, form: str) -> int:
        """The place of the last token of the head's word in a sentence."""
        parts = self._form(form).parts
        place = next(i for i, part in enumerate(parts) if part.text == _HEAD)
        return self._num_tokens(edge, parts[: place + 1]) - 1

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

    def words(self, edge: Edge, heads: Int64, relations: Int64, tails: Int64) -> tuple[pa.StringArray, ...]:
        """The words of heads, relations and tails [n] each."""
        columns = self._word_tokens(edge, heads, relations, tails)
        return tuple(self.text(columns[part]) for part in (_HEAD, _RELATION, _TAIL))

    def answers(self, edge: Edge, relation: int, tails: ArrayLike) -> Int64:
        """Token ids [n, W] of the words that answer a prompt about this relation of a table, for tails [n].

        Raises: ValueError for a relation or a tail that the world does not have.
        """
        return self.lexicon.encode(EDGE_ROLES[edge][2], np.atleast_1d(np.asarray(tails, np.int64)), relation)

    def query(self, fact: Fact, form: str = "statement", tail: int | None = None) -> Query:
        """The prompt that asks for a fact's tail, and the fact's own tail or another one as the answer."""
        return self.queries([fact], form, None if tail is None else [tail])[0]

    def queries(self, facts: list[Fact], form: str = "statement", tails: list[int] | None = None) -> list[Query]:
        """The prompts [n] that ask for the tails of facts [n], with their own tails or others [n] as answers.

        In the forms of refusal the answer is that there is none, whatever the tails are.
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
            answer, subject_end = self.answer_place(edge, form), self.subject_end(edge, form)
            prompts = self.text(block[:, : answer.start]).to_pylist()
            words = self.text(block[:, answer]).to_pylist()
            for row, i in enumerate(places):
                ids = block[row].tolist()
                rows[i] = Query(prompts[row], words[row], tuple(ids[: answer.start]), tuple(ids[answer]), subject_end)
        return [row for row in rows if row is not None]

    def _form(self, form: str) -> _Form:
        check_known("form", form, FORMS)
        return self._forms[form]

    def _num_tokens(self, edge: Edge, parts: tuple[_Part, ...]) -> int:
        widths = dict(zip((_HEAD, _RELATION, _TAIL), map(self.lexicon.width, EDGE_ROLES[edge]), strict=True))
        return sum(widths.get(part.text, 1) * part.middle for part in parts)

    def _word_tokens(self, edge: Edge, heads: Int64, relations: Int64, tails: Int64) -> dict[str, Int64]:
        head, relation, tail = EDGE_ROLES[edge]
        return {
            _HEAD: self.lexicon.encode(head, heads, relations if head is Role.OBJECT else 0),
            _RELATION: self.lexicon.encode(relation, relations),
            _TAIL: self.lexicon.encode(tail, tails, relations),
        }

    def _block(
        self, edge: Edge, form: str, ids: tuple[Int64, ...], draws: Stream, counters: Int64, *, draw_counts: bool
    ) -> Int64:
        """Token ids [n, T]; with draw_counts, every filler has all its places and those not said are _ABSENT."""
        columns = self._word_tokens(edge, *ids)
        filled: list[tuple[int, Int64 | int]] = []  # width and token ids of each part
        drawn = 0  # values drawn for each sentence so far
        for part in self._form(form).parts:
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
