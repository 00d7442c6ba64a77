"""The only place where ids become text and token ids. Which facts are true is not known here.

A sentence is one template with the words of head, relation and tail filled in, the same length for every
fact of a table. Axis letters: n sentences; T tokens of a sentence.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from behemoth_data.lexicon import EDGE_ROLES, END, Lexicon, Role
from behemoth_data.settings import check, check_known
from behemoth_data.world import Edge, Fact

Int64 = NDArray[np.int64]

_HEAD, _RELATION, _TAIL = "{head}", "{relation}", "{tail}"

# A form's template, up to the end of its sentence. The end-of-text token follows every sentence.
FORMS: dict[str, tuple[str, ...]] = {
    name: tuple(template.format(s=_HEAD, r=_RELATION, o=_TAIL).split())
    for name, template in {
        "statement": "SS {s} W0 W1 RR {r} W2 OO {o} .",
        "sor": "SS {s} W0 OO {o} W3 W4 RR {r} .",
        "osr": "OO {o} W5 SS {s} W8 RR {r} .",
        "rso": "W9 RR {r} W7 SS {s} W5 OO {o} .",
        "question": "QQ Q1 RR {r} Q2 SS {s} Q3 Q4 AA OO {o} .",
        "new_question": "QQ F1 RR {r} F2 SS {s} F3 AA OO {o} .",
    }.items()
}


def ends_in_object(form: str) -> bool:
    """Whether the object is the last thing a form says, so that a prompt for it exists."""
    check_known("form", form, FORMS)
    return FORMS[form][-2] == _TAIL


@dataclasses.dataclass(frozen=True)
class Query:
    """A sentence cut where its answer begins, as text and as the token ids of prompt and answer."""

    prompt: str
    answer: str
    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]


class Grammar:
    """How the facts of one world are said."""

    def __init__(self, lexicon: Lexicon) -> None:
        self.lexicon = lexicon
        self._tokens = pa.array(lexicon.vocabulary)

    @property
    def end_id(self) -> int:
        """Token id of <|endoftext|>, which ends every sentence."""
        return self.lexicon.token_ids[END]

    def length(self, edge: Edge, form: str) -> int:
        """Tokens T of a sentence, its end-of-text token included."""
        return self._num_tokens(edge, FORMS[form]) + 1

    def prompt_length(self, edge: Edge, form: str) -> int:
        """Tokens of a sentence before its answer. Raises: ValueError if the form does not end in the object."""
        check(ends_in_object(form), f"form must end in the object for a prompt to exist, got {form!r}")
        return self.length(edge, form) - 2 - self.lexicon.width(EDGE_ROLES[edge][2])

    def subject_end(self, edge: Edge, form: str) -> int:
        """The place of the last token of the head's word in a sentence."""
        return self._num_tokens(edge, FORMS[form][: FORMS[form].index(_HEAD) + 1]) - 1

    def tokens(self, edge: Edge, form: str, heads: ArrayLike, relations: ArrayLike, tails: ArrayLike) -> Int64:
        """Token ids [n, T] of the sentences that state these facts [n] of one table in one form."""
        check_known("form", form, FORMS)
        heads, relations, tails = (np.atleast_1d(np.asarray(ids, np.int64)) for ids in (heads, relations, tails))
        columns = self._word_tokens(edge, heads, relations, tails)
        block = np.empty((len(heads), self.length(edge, form)), np.int64)
        place = 0
        for part in FORMS[form]:
            ids = columns.get(part)
            width = 1 if ids is None else ids.shape[1]
            block[:, place : place + width] = self.lexicon.token_ids[part] if ids is None else ids
            place += width
        block[:, place] = self.end_id
        return block

    def text(self, tokens: Int64) -> pa.StringArray:
        """The text of token ids [n, T], words joined by spaces [n]."""
        columns = [self._tokens.take(pa.array(column)) for column in tokens.T]
        return pc.binary_join_element_wise(*columns, " ")

    def words(self, edge: Edge, heads: Int64, relations: Int64, tails: Int64) -> tuple[pa.StringArray, ...]:
        """The words of heads, relations and tails [n] each."""
        columns = self._word_tokens(edge, heads, relations, tails)
        return tuple(self.text(columns[part]) for part in (_HEAD, _RELATION, _TAIL))

    def query(self, fact: Fact, form: str = "statement", tail: int | None = None) -> Query:
        """The prompt that asks for a fact's tail, and the fact's own tail or another one as the answer."""
        return self.queries([fact], form, None if tail is None else [tail])[0]

    def queries(self, facts: list[Fact], form: str = "statement", tails: list[int] | None = None) -> list[Query]:
        """The prompts [n] that ask for the tails of facts [n], with their own tails or others [n] as answers."""
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
            cut = self.prompt_length(edge, form)
            prompts = self.text(block[:, :cut]).to_pylist()
            words = self.text(block[:, cut:-2]).to_pylist()
            for row, i in enumerate(places):
                ids = block[row].tolist()
                rows[i] = Query(prompts[row], words[row], tuple(ids[:cut]), tuple(ids[cut:-2]))
        return [row for row in rows if row is not None]

    def _num_tokens(self, edge: Edge, parts: tuple[str, ...]) -> int:
        widths = dict(zip((_HEAD, _RELATION, _TAIL), map(self.lexicon.width, EDGE_ROLES[edge]), strict=True))
        return sum(widths.get(part, 1) for part in parts)

    def _word_tokens(self, edge: Edge, heads: Int64, relations: Int64, tails: Int64) -> dict[str, Int64]:
        head, relation, tail = EDGE_ROLES[edge]
        return {
            _HEAD: self.lexicon.encode(head, heads, relations if head is Role.OBJECT else 0),
            _RELATION: self.lexicon.encode(relation, relations),
            _TAIL: self.lexicon.encode(tail, tails, relations),
        }
