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
    templates: Mapping[str, str]  # by surface
    use: str  # one of USES
    of: tuple[str, ...] = ()  # an inversion: the forms in whose place it stands; a refusal: the one whose prompt it has
    taught: bool = False  # whether training sentences can be in it
    edges: tuple[Edge, ...] = tuple(Edge)  # the tables whose facts it says
    answers: Edge | None = None  # the table whose tails answer it; None: the fact's own
    truth: Callable[[World, Int64, Int64], Int64] | None = None  # (world, heads [n], relations [n]) -> answers [n]

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        check_known("use", self.use, USES)
        own = self.answers is None and self.truth is None
        check(
            own or (self.answers is not None and self.truth is not None),
            f"answers and truth of form {self.name!r} must be given together, got {self.answers} and {self.truth}",
        )
        check(
            not self.taught or (own and self.edges == tuple(Edge)),
            f"form {self.name!r} must say every table's facts with their own tails to be taught, got {self.edges}",
        )

    def template(self, surface: str) -> Template:
        """What a sentence consists of."""
        return _parse(self.templates[surface])

    def asked_in(self, world: World) -> tuple[Edge, ...]:
        """The tables of a world whose facts the form says."""
        there = self.answers is None or self.answers in world.edges
        return tuple(edge for edge in world.edges if there and edge in self.edges)

    def true_answers(self, world: World, edge: Edge, heads: Int64, relations: Int64) -> Int64:
        """What the prompts about these heads and relations [n] of a table are answered with, as ids [n]."""
        return world.tails(edge, heads, relations) if self.truth is None else self.truth(world, heads, relations)


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
)
FORMS: dict[str, Form] = {form.name: form for form in _TABLE}
SURFACES = tuple(FORMS["statement"].templates)


def form_of(name: str) -> Form:
    """Raises: ValueError for an unknown form, which lists the known ones."""
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
    """Whether the object is the last of the three that a form says, so that a prompt for it exists."""
    template = form_of(name).template(SURFACES[0])
    return template.answer is not None and template.parts[template.answer[0]].text == TAIL


def asks(name: str) -> bool:
    """Whether a form is a question, which a corpus asks about some of its heads only."""
    return form_of(name).use == "question"


def varied(name: str) -> bool:
    """Whether a form has fillers whose number differs from sentence to sentence."""
    return form_of(name).template(SURFACES[0]).varied
