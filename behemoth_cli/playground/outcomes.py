"""What became of each fact after an edit, and how it is shown. Ids only: no model, no words of the world."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

from behemoth_data.world import Fact


@dataclasses.dataclass(frozen=True)
class Status:
    """What a fact can be, and the mark that says so by its shape and its colour."""

    label: str
    text: str
    shape: str  # of those that the picture can draw
    colours: tuple[str, str]  # on light and on dark, after Okabe and Ito's palette for colour-blind readers


STATUSES: dict[str, Status] = {
    "made": Status("made", "edited, and answered as the edit says", "star", ("#007a5a", "#2fd0a5")),
    "missed": Status("not made", "edited, and not answered as the edit says", "triangle", ("#b37400", "#ffb83d")),
    "followed": Status("followed", "follows from an edit, and is answered so", "diamond", ("#0072b2", "#56b4e9")),
    "stayed": Status("not followed", "would follow, but is answered as before", "square", ("#a8477f", "#f09cc9")),
    "broken": Status("broken", "was right before, and is wrong now", "cross", ("#c04a00", "#ff8a4d")),
    "kept": Status("kept", "right before, and still right", "dot", ("#8d949c", "#7d858e")),
    "wrong": Status("not known before", "was wrong before any edit", "ring", ("#8d949c", "#7d858e")),
    "known": Status("known", "answered right", "dot", ("#5a7f9e", "#86a9c6")),
}
BEFORE = ("known", "wrong")  # those of a model that nobody edited


def known_codes(facts: Sequence[Fact], answers: Sequence[int]) -> dict[Fact, str]:
    """Which facts the model knows."""
    return {fact: "known" if answer == fact.tail else "wrong" for fact, answer in zip(facts, answers, strict=True)}


@dataclasses.dataclass(frozen=True)
class Expected:
    """What the edited facts, and those that depend on them, are to be answered with."""

    edited: Mapping[Fact, int | None]  # by the fact as it was; None: not with what it was, whatever else
    dependent: Mapping[Fact, int]

    def allows(self, fact: Fact, tail: int) -> bool:
        """Whether this answer is what the fact is to be answered with after the edits."""
        if fact in self.edited:
            wanted = self.edited[fact]
            return tail != fact.tail if wanted is None else tail == wanted
        return tail == self.dependent.get(fact, fact.tail)


def codes_after(
    facts: Sequence[Fact], before: Sequence[int], after: Sequence[int], expected: Expected
) -> dict[Fact, str]:
    """What became of every fact: one of STATUSES."""
    codes = {}
    for fact, was, now in zip(facts, before, after, strict=True):
        if fact in expected.edited:
            codes[fact] = "made" if expected.allows(fact, now) else "missed"
        elif was != fact.tail:
            codes[fact] = "wrong"
        elif fact in expected.dependent and now == expected.dependent[fact]:
            codes[fact] = "followed"
        elif now == fact.tail:
            codes[fact] = "stayed" if fact in expected.dependent else "kept"
        else:
            codes[fact] = "broken"
    return codes


def counted(codes: Mapping[Fact, str]) -> dict[str, int]:
    """How many facts there are of each status, in the order of the table; of none that there are not."""
    found = Counter(codes.values())
    return {name: found[name] for name in STATUSES if found[name]}
