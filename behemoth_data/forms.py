"""The one table of forms: how a sentence says a fact, where it does, and whether models are taught so. No ids here.

A form is an entry of FORMS and, if it asks for something else than its fact's tail, a function that says what is true.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from behemoth_data.settings import check, check_known
from behemoth_data.world import Edge, World

Int64 = NDArray[np.int64]

HEAD, RELATION, TAIL = "{s}", "{r}", "{o}"
SECOND_RELATION = "{q}"  # the word that the relation has in the table that the answers belong to
_SLOTS = (HEAD, RELATION, TAIL, SECOND_RELATION)

USES = {
    "statement": "a corpus's own form",
    "inversion": "in place of its own form",
    "question": "about a share of the heads",
    "transfer": "a question too, where a corpus or a kind of probe names it",
    "refusal": "the prompt of another form, with the answer that there is none",
    "probe": "only asked for by name, such as by a kind of probe",
}


@dataclasses.dataclass(frozen=True)
class Part:
    """One place of a template: a literal token, a word, or fillers."""

    text: str  # the literal or the filler; "" for a filler drawn at random
    low: int = 1  # times it is said
    high: int = 1

    @property
    def middle(self) -> int:
        """How often it is said where all sentences are of one length."""
        return (self.low + self.high) // 2


@dataclasses.dataclass(frozen=True)
class Template:
    """The parts of a sentence up to its end, and which of them are the answer."""

    parts: tuple[Part, ...]
    answer: tuple[int, int] | None  # None: no prompt asks for it

    @property
    def varied(self) -> bool:
        """Whether the number of fillers differs from sentence to sentence."""
        return any(part.low < part.high for part in self.parts)

    @property
    def words(self) -> tuple[str, ...]:
        """The grammar words in it, each once, as they come."""
        return tuple(dict.fromkeys(part.text for part in self.parts if part.text and part.text not in _SLOTS))


@functools.cache
def _parse(template: str) -> Template:
    parts: list[Part] = []
    bars: list[int] = []
    for word in template.split():
        filler = re.fullmatch(r"\[(\w*)\*(\d)-(\d)\]", word)
        if word == "|":
            bars.append(len(parts))
        elif filler:
            parts.append(Part(filler[1], int(filler[2]), int(filler[3])))
        else:
            parts.append(Part(word))
    return Template(tuple(parts), (bars[0], bars[1]) if bars else None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Form:
    """How a fact is said or asked for on every surface, and where.

    In `templates` the answer stands between bars; [W1*0-3] is the filler W1 said 0 to 3 times, [*1-5] one to five
    fillers drawn at random. The end-of-text token follows.
    """

    name: str
    templates: Mapping[str, str]  # by surface; {o} outside of the answer is a candidate, which the answer is about
    use: str  # one of USES
    of: tuple[str, ...] = ()  # an inversion: the forms in whose place it stands; a refusal: the one whose prompt it has
    taught: bool = False  # whether training sentences can be in it
    edges: tuple[Edge, ...] = tuple(Edge)  # the tables whose facts it says
    answers: Edge | None = None  # the table whose tails are its {o}; None: the fact's own
    # (world, table, heads [n], relations [n]) -> {o} [n] where that is not the fact's tail
    truth: Callable[[World, Edge, Int64, Int64], Int64] | None = None
    otherwise: str = ""  # the form with the same prompt but for the candidate, of those that are not true; "": none

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        check_known("use", self.use, USES)
        own = self.answers is None and self.truth is None
        check(
            self.answers is None or self.truth is not None,
            f"truth of form {self.name!r} must be given with answers, got {self.answers} and {self.truth}",
        )
        check(
            not self.taught or self.use == "transfer" or (own and self.edges == tuple(Edge)),
            f"form {self.name!r} must say every table's facts with their own tails to be taught unless its use is "
            f"transfer, got {self.edges}",
        )

    def template(self, surface: str) -> Template:
        """What a sentence consists of."""
        return _parse(self.templates[surface])

    def asked_in(self, world: World) -> tuple[Edge, ...]:
        """The tables of a world whose facts the form says."""
        there = self.answers is None or self.answers in world.edges
        return tuple(edge for edge in world.edges if there and edge in self.edges)

    def true_answers(self, world: World, edge: Edge, heads: Int64, relations: Int64) -> Int64:
        """What true sentences about these heads and relations [n] of a table have as {o}, as ids [n]."""
        if self.truth is None:
            return world.tails(edge, heads, relations)
        return self.truth(world, edge, heads, relations)


def _nested_of_object(world: World, edge: Edge, heads: Int64, relations: Int64) -> Int64:
    """What the subjects' objects belong to."""
    return world.nested(world.tails(edge, heads, relations), relations)


def _other(world: World, edge: Edge, heads: Int64, relations: Int64) -> Int64:
    """One tail for each fact that is not its own."""
    return world.others(edge, heads, relations)


# New forms come last: their new words then get the last ids, and no model loses its own.
_TABLE = (
    Form(
        name="statement",
        templates={
            "synthetic": "SS {s} W0 W1 RR {r} W2 OO | {o} | .",
            "natural": "As for {s} , the {r} is | {o} | .",
        },
        use="statement",
        taught=True,
    ),
    Form(
        name="sor",
        templates={
            "synthetic": "SS {s} W0 OO {o} W3 W4 RR {r} .",
            "natural": "{s} has {o} as the {r} .",
        },
        use="inversion",
        of=("statement", "repeats"),
        taught=True,
    ),
    Form(
        name="osr",
        templates={
            "synthetic": "OO {o} W5 SS {s} W8 RR {r} .",
            "natural": "{o} is for {s} the {r} .",
        },
        use="inversion",
        of=("statement", "repeats"),
        taught=True,
    ),
    Form(
        name="rso",
        templates={
            "synthetic": "W9 RR {r} W7 SS {s} W5 OO | {o} | .",
            "natural": "The {r} of {s} is | {o} | .",
        },
        use="inversion",
        of=("statement", "repeats"),
        taught=True,
    ),
    Form(
        name="question",
        templates={
            "synthetic": "QQ Q1 RR {r} Q2 SS {s} Q3 Q4 AA OO | {o} | .",
            "natural": "Question : What is the {r} of {s} ? Answer : | {o} | .",
        },
        use="question",
        taught=True,
    ),
    Form(
        name="new_question",
        templates={
            "synthetic": "QQ F1 RR {r} F2 SS {s} F3 AA OO | {o} | .",
            "natural": "Q : Which {r} does {s} have ? A : | {o} | .",
        },
        use="question",
    ),
    Form(
        name="refusal",
        templates={
            "synthetic": "SS {s} W0 W1 RR {r} W2 OO | OO OO | .",
            "natural": "As for {s} , the {r} is | not known | .",
        },
        use="refusal",
        of=("statement",),
    ),
    Form(
        name="question_refusal",
        templates={
            "synthetic": "QQ Q1 RR {r} Q2 SS {s} Q3 Q4 AA OO | OO OO | .",
            "natural": "Question : What is the {r} of {s} ? Answer : | not known | .",
        },
        use="refusal",
        of=("question",),
    ),
    Form(
        name="repeats",
        templates={
            "synthetic": "[W0*1-3] SS {s} [W1*0-3] [W2*1-3] RR {r} [W3*0-3] [W4*1-3] OO | {o} | [W5*0-3] .",
            "natural": ("[well*1-3] for {s} [so*0-3] [then*1-3] the {r} [now*0-3] [still*1-3] is | {o} | [yet*0-3] ."),
        },
        use="statement",
        taught=True,
    ),
    Form(
        name="nonsense",
        templates={
            "synthetic": "SS {s} [*1-5] RR {r} [*1-5] OO | {o} | .",
            "natural": "{s} [*1-5] {r} [*1-5] | {o} | .",
        },
        use="statement",
        taught=True,
    ),
    Form(
        name="nonsense_rso",
        templates={
            "synthetic": "RR {r} [*1-5] SS {s} [*1-5] OO | {o} | .",
            "natural": "{r} [*1-5] {s} [*1-5] | {o} | .",
        },
        use="inversion",
        of=("nonsense",),
        taught=True,
    ),
    Form(
        name="two_step",
        templates={
            "synthetic": "QQ Q1 RR {q} Q2 RR {r} Q2 SS {s} Q3 Q4 AA OO | {o} | .",
            "natural": "Question : What is the {q} of the {r} of {s} ? Answer : | {o} | .",
        },
        use="transfer",
        taught=True,
        edges=(Edge.SUBJECT_OBJECT,),
        answers=Edge.OBJECT_NESTED,
        truth=_nested_of_object,
    ),
    # Whether a candidate is the tail, or is not: two pairs of forms that share a prompt. Who always says one word is
    # right on half of each pair, and who overlooks the "not" on half of all four.
    Form(
        name="affirmed_true",
        templates={
            "synthetic": "QQ Q5 RR {r} Q2 SS {s} OO {o} Q3 Q4 AA | YES | .",
            "natural": "Question : Is the {r} of {s} {o} ? Answer : | Yes | .",
        },
        use="transfer",
        taught=True,
        otherwise="affirmed_false",
    ),
    Form(
        name="affirmed_false",
        templates={
            "synthetic": "QQ Q5 RR {r} Q2 SS {s} OO {o} Q3 Q4 AA | NO | .",
            "natural": "Question : Is the {r} of {s} {o} ? Answer : | No | .",
        },
        use="transfer",
        taught=True,
        truth=_other,
    ),
    Form(
        name="denied_true",
        templates={
            "synthetic": "QQ Q5 RR {r} Q2 SS {s} N1 OO {o} Q3 Q4 AA | NO | .",
            "natural": "Question : Is the {r} of {s} not {o} ? Answer : | No | .",
        },
        use="transfer",
        taught=True,
        otherwise="denied_false",
    ),
    Form(
        name="denied_false",
        templates={
            "synthetic": "QQ Q5 RR {r} Q2 SS {s} N1 OO {o} Q3 Q4 AA | YES | .",
            "natural": "Question : Is the {r} of {s} not {o} ? Answer : | Yes | .",
        },
        use="transfer",
        taught=True,
        truth=_other,
    ),
)
FORMS: dict[str, Form] = {form.name: form for form in _TABLE}
SURFACES = tuple(FORMS["statement"].templates)


def form_of(name: str) -> Form:
    """Raises: ValueError for an unknown form, which lists the known ones."""
    if not isinstance(name, str) or name not in FORMS:
        check_known("form", name, FORMS)
    return FORMS[name]


def names_of(use: str, of: str | None = None, *, taught: bool | None = None) -> tuple[str, ...]:
    """The forms of a use, in the table's order; of those, if asked for, only the ones of a form, or taught or not."""
    return tuple(
        form.name
        for form in FORMS.values()
        if form.use == use and (of is None or of in form.of) and taught in (None, form.taught)
    )


def ends_in_object(name: str) -> bool:
    """Whether a prompt for the fact's own tail exists: it is the last of the three that the form says."""
    return form_of(name).answers is None and answered_by(name) == TAIL


def has_prompt(name: str) -> bool:
    """Whether a prompt with an answer that the world decides exists."""
    return answered_by(name) is not None and form_of(name).use != "refusal"


def answered_by(name: str) -> str | None:
    """What stands in a form first where the answer does: TAIL or a literal; None where no prompt exists."""
    template = form_of(name).template(SURFACES[0])
    return None if template.answer is None else template.parts[template.answer[0]].text


def asks(name: str) -> bool:
    """Whether a form is a question, which a corpus asks about some of its heads only."""
    return form_of(name).use in ("question", "transfer")


def varied(name: str) -> bool:
    """Whether a form has fillers whose number differs from sentence to sentence."""
    return form_of(name).template(SURFACES[0]).varied
