"""Sessions: one edit at a time in each, nothing of one in another, and none is kept for ever."""

from types import SimpleNamespace
from typing import Any

import pytest

from behemoth_cli.playground.sessions import MOST_EDITS, Busy, Session, Sessions


def some(number: int) -> Any:
    return SimpleNamespace(number=number)


def test_one_edit_at_a_time_and_afterwards_the_next_whatever_became_of_it():
    session = Session()
    with session.editing(), pytest.raises(Busy, match="one edit at a time"), session.editing():
        pass
    with pytest.raises(ZeroDivisionError), session.editing():
        raise ZeroDivisionError
    with session.editing() as stop:
        assert not stop.is_set()


def test_another_session_may_edit_meanwhile():
    sessions = Sessions()
    with sessions.get("a").editing(), sessions.get("b").editing():
        pass


def test_stopping_ends_the_edit_that_is_made_and_not_the_next():
    session = Session()
    with session.editing() as first:
        session.stop()
        assert first.is_set()
    with session.editing() as second:
        assert not second.is_set()
        assert first.is_set()  # one that was let go of does not go on


def test_edits_are_kept_in_order_undone_from_the_last_and_the_oldest_go():
    session = Session()
    assert session.last is None
    session.undo()
    session.of("a", None)
    for number in range(MOST_EDITS + 2):
        assert session.add(some(number), ("a", None))
    assert [made.number for made in session.made] == list(range(2, MOST_EDITS + 2))
    session.undo()
    assert session.last is not None
    assert session.last.number == MOST_EDITS


def test_edits_of_another_model_or_step_are_gone():
    session = Session()
    session.of("a", None)
    session.add(some(1), ("a", None))
    session.of("a", None)
    assert len(session.made) == 1
    session.of("a", 100)
    assert session.made == []


@pytest.mark.parametrize("now", [("b", None), ("a", 100)])
def test_edit_that_is_done_when_another_model_or_step_is_chosen_is_not_one_of_its(now):
    session = Session()
    session.of("a", None)
    session.of(*now)
    assert not session.add(some(1), ("a", None))
    assert (session.made, session.model) == ([], now)


def test_sessions_are_told_apart_and_dropped():
    sessions = Sessions()
    sessions.get("a").of("m", None)
    assert sessions.get("a").add(some(1), ("m", None))
    assert sessions.get("b").made == []
    assert sessions.get("a") is sessions.get("a")
    with sessions.get("a").editing() as stop:
        sessions.drop("a")
        assert stop.is_set()
    assert sessions.get("a").made == []
    sessions.drop("nobody")


def test_of_too_many_sessions_the_one_unused_for_longest_goes():
    sessions = Sessions(most=2)
    first = sessions.get("a")
    sessions.get("b")
    sessions.get("a")
    sessions.get("c")
    assert len(sessions) == 2
    assert sessions.get("a") is first
    with pytest.raises(ValueError, match="most must be at least 1, got 0"):
        Sessions(most=0)
