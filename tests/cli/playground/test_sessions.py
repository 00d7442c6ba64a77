"""Sessions: one edit at a time in each, nothing of one in another, and none is kept for ever."""

from types import SimpleNamespace
from typing import Any

import pytest

from behemoth_cli.playground.sessions import MOST_EDITS, Busy, Session, Sessions


def some(number: int) -> Any:
    return SimpleNamespace(number=number, size=10)


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
    with sessions.keep("a").editing(), sessions.keep("b").editing():
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


def test_attacks_are_kept_as_long_as_their_edit_and_the_same_one_once():
    session = Session()
    session.of("a", None)
    first, second = some(1), some(2)
    for made in (first, second):
        session.add(made, ("a", None))
    tried = [SimpleNamespace(made=made, attack=name) for made, name in ((first, "x"), (second, "x"), (second, "y"))]
    assert all(map(session.add_tried, tried))
    newer = SimpleNamespace(made=second, attack="x")
    assert session.add_tried(newer)
    assert session.tried == [tried[0], tried[2], newer]
    session.undo()
    assert session.tried == [tried[0]]
    assert not session.add_tried(newer)
    session.of("b", None)
    assert session.tried == []


def with_edit(sessions: Sessions, name: str) -> Session:
    session = sessions.keep(name)
    session.of("m", None)
    assert session.add(some(1), ("m", None))
    return session


def test_stopping_says_whether_there_is_something_to_stop():
    session = Session()
    assert not session.stop()
    with session.editing():
        assert session.stop()
    assert not session.stop()


def test_sessions_are_told_apart_and_dropped():
    sessions = Sessions()
    first = with_edit(sessions, "a")
    assert sessions.get("b").made == []
    assert sessions.get("a") is sessions.keep("a") is first
    with first.editing() as stop:
        sessions.drop("a")
        assert stop.is_set()
    assert sessions.get("a").made == []
    sessions.drop("nobody")


def test_page_that_makes_no_edit_takes_nobody_s_place():
    sessions = Sessions(most=1)
    first = with_edit(sessions, "a")
    for number in range(10):
        sessions.get(f"opened {number}")
    assert len(sessions) == 1
    assert sessions.get("a") is first


def test_of_too_many_sessions_the_one_unused_for_longest_goes():
    sessions = Sessions(most=2)
    first, second = with_edit(sessions, "a"), with_edit(sessions, "b")
    assert sessions.get("a") is first
    with_edit(sessions, "c")
    assert len(sessions) == 2
    assert sessions.get("a") is first
    assert sessions.get("b") is not second
    with pytest.raises(ValueError, match="most must be at least 1, got 0"):
        Sessions(most=0)


def test_of_too_many_sessions_those_without_an_edit_go_first_and_none_that_makes_one():
    sessions = Sessions(most=2)
    first = with_edit(sessions, "a")
    sessions.keep("b")
    sessions.keep("c")  # newer than a, but b has nothing
    assert sessions.get("a") is first
    with first.editing(), sessions.keep("c").editing():
        sessions.keep("d")
        assert len(sessions) == 3
        assert sessions.get("a") is first


def test_of_sessions_that_take_too_much_those_unused_for_longest_go():
    sessions = Sessions(most_bytes=25)  # an edit has 10 here
    for name in ("a", "b", "c"):
        with_edit(sessions, name)
    sessions.keep("c")
    assert [len(sessions.get(name).made) for name in ("a", "b", "c")] == [0, 1, 1]
