"""Edits as editing tools take them: one by one and in words, each with the probes around it. No foreign format here."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator

import numpy as np

from behemoth_data.edits import EditSet, Probe
from behemoth_data.kinds import KINDS
from behemoth_data.settings import check


@dataclasses.dataclass(frozen=True)
class Record:
    """One edit in words, and what is asked around it."""

    number: int  # over all sets
    prompt: str
    subject: str  # a part of the prompt
    template: str  # the prompt with {} in place of the subject
    new: str
    old: str
    relation: str  # an id
    new_id: str
    old_id: str
    probes: dict[str, list[Probe]]  # by kind

    def prompts(self, kind: str) -> list[str]:
        """What is asked of a kind; nothing where the edit has none of it."""
        return [probe.prompt for probe in self.probes.get(kind, [])]

    def around(self, group: str) -> dict[str, list[Probe]]:
        """The kinds of a group that the edit has, such as those that must stay, in the order of the table."""
        return {kind: self.probes[kind] for kind in KINDS if KINDS[kind].group == group and kind in self.probes}


def records_of(edit_sets: Iterable[EditSet]) -> list[Record]:
    """A record for each edit, the sets one after the other.

    A probe that edits share, such as one of a kind that is asked of all of them together, stands at the first of them.
    Raises: ValueError for a prompt that does not hold its subject's word.
    """
    found: list[Record] = []
    for edit_set in edit_sets:
        found += _records(edit_set, len(found))
    return found


def _records(edit_set: EditSet, first: int) -> Iterator[Record]:
    probes: list[dict[str, list[Probe]]] = [{} for _ in edit_set.edits]
    for probe in edit_set.probes:
        probes[probe.edit].setdefault(probe.kind, []).append(probe)
    relation = f"{edit_set.edge.label}_{edit_set.relation}"
    for number, (edit, new, old) in enumerate(zip(edit_set.edits, edit_set.requests, edit_set.originals, strict=True)):
        subject = subject_word(edit_set, number)
        yield Record(
            number=first + number,
            prompt=new.prompt,
            subject=subject,
            template=template_of(new.prompt, subject),
            new=new.answer,
            old=old.answer,
            relation=relation,
            new_id=f"{relation}_{'refused' if edit.new_tail is None else edit.new_tail}",
            old_id=f"{relation}_{edit.fact.tail}",
            probes=probes[number],
        )


def subject_word(edit_set: EditSet, number: int) -> str:
    """How the head of one of the set's edits is called."""
    fact = edit_set.edits[number].fact
    heads, relations, tails = (np.array([value]) for value in (fact.head, fact.relation, fact.tail))
    word: str = edit_set.corpus.grammar.words(fact.edge, heads, relations, tails)[0].to_pylist()[0]
    return word


def template_of(prompt: str, subject: str) -> str:
    """The prompt with {} in place of the subject, as a word of its own. Raises: ValueError if it is not there."""
    template, count = re.subn(rf"(?<!\w){re.escape(subject)}(?!\w)", "{}", prompt, count=1)
    check(count == 1, f"prompt must hold its subject {subject!r}, got {prompt!r}")
    return template
