"""What the page's handlers answer, asked without a browser."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("gradio", reason="an environment from before there was an extra play; `make setup` brings it")


@pytest.fixture(scope="module")
def page(shelf: Any) -> Any:
    """The playground with its places on the page, served to nobody."""
    from behemoth_cli.playground.page import Playground

    found = Playground(shelf, ["rome", "lora"])
    found.blocks()
    return found


def request(name: str, **parts: str) -> Any:
    return SimpleNamespace(session_hash=name, query_params=parts)


def values(page: Any, **settings: str) -> list[Any]:
    """An edit of the fifth subject by lora."""
    pick = {"edge": 0, "head": 5, "relation": 1}
    where = [page.shelf.names[0], None, "synthetic", 1, pick, 0]
    return [*where, 3, 1, 0, "lora", {"lora": {"max_steps": "3", **settings}}]


def test_link_that_cannot_be_followed_is_told_and_makes_no_edit(page):
    for parts in ({"model": "other"}, {"step": "7"}, {"method": "memit"}, {"head": "999"}, {"rome.steps": "1000000"}):
        found = page.on_load(request("bad", made="1", **parts))
        assert "This page&#x27;s link cannot be followed: " in found[page.status]
        assert found[page.is_asked] is False
        assert found[page.model] == page.shelf.names[0]
        assert found[page.pick]["head"] == 0
        (only,) = page.on_linked_edit(request("bad", made="1", **parts), *values(page), found[page.is_asked])
        assert only == {page.progress: ""}  # and the message stays


def test_link_is_followed_with_any_number_of_edits_and_what_others_added(page):
    found = page.on_load(request("good", made="1", head="5", relation="1", new_tail="3", num_edits="7", utm_source="x"))
    assert found[page.status] == ""
    assert found[page.is_asked] is True
    assert found[page.pick] == {"edge": 0, "head": 5, "relation": 1}
    assert found[page.num_edits]["value"] == 7
    assert found[page.num_edits]["choices"] == [1, 7, 10, 100]
    assert found[page.surface]["value"] == "synthetic"  # the model's own, where a link says nothing


def test_edit_is_shown_and_its_session_has_it(page):
    *_, last = page.on_edit(request("edits"), *values(page))
    assert last[page.status] == ""
    assert last[page.shown]["value"] == 1
    assert [made.method.name for made in page.sessions.get("edits").made] == ["lora"]


def test_edit_during_which_another_model_is_chosen_is_gone_and_said_so(page):
    answers = page.on_edit(request("moves"), *values(page))
    next(answers)
    session = page.sessions.get("moves")
    session.of("another", None)
    *_, last = answers
    assert "another model is chosen now" in last[page.status]
    assert set(last) == {page.status, page.progress}
    assert (session.made, session.model) == ([], ("another", None))


def test_setting_that_would_hold_up_all_is_refused(page):
    (only,) = page.on_edit(request("greedy"), *values(page, max_steps="1001"))
    assert "max_steps must be at most 1000 on a page, got 1001" in only[page.status]


def test_attack_is_shown_beside_its_edit_until_that_is_gone(page):
    name = request("attacks")
    (only,) = page.on_attack(name, *values(page), "round")
    assert "shown must be an edit for it to be attacked, got none" in only[page.status]
    *_, edited = page.on_edit(name, *values(page))
    assert "No attack was tried on this edit" in edited[page.attacked]
    where = [*values(page)[:5], 1, *values(page)[6:]]
    *_, last = page.on_attack(name, *where, "round")
    assert last[page.status] == ""
    assert "round on 1 edit by lora: old answers that are its best guess" in last[page.attacked]
    assert "ATTACKS[&#x27;round&#x27;]()(edited, edit_set)" in last[page.attacked]
    *_, refused = page.on_attack(name, *where, "relearn")
    assert "This cannot be tried here: edits must be at least 2" in refused[page.status]
    *_, unknown = page.on_attack(name, *where, "tickle")
    assert "attack must be one of" in unknown[page.status]
    looked = page.on_look(name, *where)
    assert looked[page.attacked] == last[page.attacked]
    gone = page.on_undo(name, *where)
    assert "No edit is shown that could be attacked" in gone[page.attacked]


@pytest.mark.parametrize(
    ("path", "is_refused"),
    [
        ("/", False),
        ("/gradio_api/queue/join", False),
        ("/gradio_api/file=/tmp/picture.png", False),
        ("/gradio_api/upload", True),
        ("/gradio_api/upload/", True),
        ("/gradio_api/process_recording", True),
        ("/gradio_api/file=http://elsewhere/x", True),
        ("/gradio_api/file=HTTPS://elsewhere/x", True),
        ("/file=https:/elsewhere/x", True),  # as some servers merge slashes
        ("/gradio_api/proxy=https://elsewhere.hf.space/x", True),
    ],
)
def test_what_the_page_does_not_need_is_refused(path, is_refused):
    from behemoth_cli.playground.page import refused

    assert refused(path) is is_refused
