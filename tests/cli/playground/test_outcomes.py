"""What became of facts, case by case by hand, and marks that two kinds of eyes can tell apart."""

import itertools

import pytest

from behemoth_cli.playground.outcomes import BEFORE, STATUSES, Expected, codes_after, counted, known_codes
from behemoth_data import Edge
from behemoth_data.world import Fact

FACT = Fact(Edge.SUBJECT_OBJECT, 0, 0, 5)


@pytest.mark.parametrize(
    ("before", "after", "edited", "dependent", "code"),
    [
        (5, 7, {FACT: 7}, {}, "made"),
        (4, 7, {FACT: 7}, {}, "made"),  # whatever it was before
        (5, 5, {FACT: 7}, {}, "missed"),
        (5, 6, {FACT: 7}, {}, "missed"),
        (5, 6, {FACT: None}, {}, "made"),  # to forget: anything but the old
        (5, -1, {FACT: None}, {}, "made"),
        (5, 5, {FACT: None}, {}, "missed"),
        (5, 7, {}, {FACT: 7}, "followed"),
        (5, 5, {}, {FACT: 7}, "stayed"),
        (5, 6, {}, {FACT: 7}, "broken"),
        (4, 7, {}, {FACT: 7}, "wrong"),
        (5, 5, {}, {}, "kept"),
        (5, 6, {}, {}, "broken"),
        (5, -1, {}, {}, "broken"),
        (4, 4, {}, {}, "wrong"),
        (4, 5, {}, {}, "wrong"),
    ],
)
def test_what_became_of_a_fact(before, after, edited, dependent, code):
    assert codes_after([FACT], [before], [after], Expected(edited, dependent)) == {FACT: code}


def test_before_any_edit_a_fact_is_known_or_not():
    other = Fact(Edge.SUBJECT_OBJECT, 1, 0, 2)
    assert known_codes([FACT, other], [5, 3]) == {FACT: "known", other: "wrong"}


def test_counts_are_in_the_order_of_the_table_and_leave_out_what_is_not_there():
    facts = [Fact(Edge.SUBJECT_OBJECT, head, 0, 0) for head in range(4)]
    found = counted(dict(zip(facts, ["kept", "broken", "made", "kept"], strict=True)))
    assert list(found.items()) == [("made", 1), ("broken", 1), ("kept", 2)]


def test_statuses_after_an_edit_have_shapes_of_their_own():
    after = [status.shape for name, status in STATUSES.items() if name not in BEFORE]
    assert len(set(after)) == len(after)
    assert set(BEFORE) <= STATUSES.keys()


def luminance(colour):
    """Relative luminance (WCAG 2.1)."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_marks_stand_out_from_a_white_and_from_a_dark_page():
    for status in STATUSES.values():
        for colour, page in zip(status.colours, ("#ffffff", "#0b0f19"), strict=True):
            assert contrast(colour, page) >= 3, (status.label, colour)


# Machado, Oliveira and Fernandes 2009, table of severity 1.0, on linear light: who has no red, no green cones.
BLIND = {
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.01182, 0.04294, 0.968881)),
}


def seen(colour, kind):
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    light = [min(1.0, max(0.0, sum(a * b for a, b in zip(row, linear, strict=True)))) for row in BLIND[kind]]
    return [12.92 * one if one <= 0.0031308 else 1.055 * one ** (1 / 2.4) - 0.055 for one in light]


@pytest.mark.parametrize("kind", BLIND)
@pytest.mark.parametrize("page", [0, 1])
def test_made_and_broken_differ_for_colour_blind_readers(kind, page):
    names = ("made", "followed", "broken")
    for one, other in itertools.combinations(names, 2):
        a, b = (seen(STATUSES[name].colours[page], kind) for name in (one, other))
        assert max(abs(x - y) for x, y in zip(a, b, strict=True)) > 0.15, (one, other)


@pytest.mark.parametrize(
    ("edited", "dependent", "tail", "is_allowed"),
    [
        ({}, {}, 5, True),  # what is not edited stays
        ({}, {}, 6, False),
        ({FACT: 6}, {}, 6, True),
        ({FACT: 6}, {}, 5, False),
        ({FACT: 6}, {}, 7, False),
        ({FACT: None}, {}, 5, False),  # not forgotten
        ({FACT: None}, {}, 6, True),
        ({FACT: None}, {}, -1, True),  # no object at all
        ({}, {FACT: 7}, 7, True),
        ({}, {FACT: 7}, 5, False),
    ],
)
def test_answer_is_allowed_as_the_edits_want_it(edited, dependent, tail, is_allowed):
    assert Expected(edited, dependent).allows(FACT, tail) is is_allowed
