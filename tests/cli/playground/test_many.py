"""Many pages at once, by what a browser sends: each sees its own edits, and none is turned away."""

from __future__ import annotations

import json
import time
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from behemoth_cli.playground import making
from behemoth_cli.playground.making import Wish, make, method_of
from behemoth_data import Edge
from behemoth_data.edits import Probe
from behemoth_editing.scoring.answers import predict

pytest.importorskip("gradio", reason="an environment from before there was an extra play; `make setup` brings it")
pytestmark = pytest.mark.slow

SESSIONS, REQUESTS = 20, 100
STEPS = "5"  # of rome


class Tab:
    """A page in a browser, as its server knows it: opened by a link, and with a name that nobody else has."""

    def __init__(self, address: str, name: str, query: str = "") -> None:
        self._address, self.name, self._query = address, name, query
        with urllib.request.urlopen(f"{address}config", timeout=120) as answer:
            config = json.load(answer)
        self._events = {event["api_name"]: event for event in config["dependencies"]}
        self._places = {part["id"]: part["props"].get("elem_id") or part["type"] for part in config["components"]}

    def does(self, event: str, *values: Any) -> dict[str, Any]:
        """What each place of the page is told when the event has ended."""
        told = self._events[event]
        body = {"data": [*values], "event_data": None, "fn_index": told["id"], "session_hash": self.name}
        url = f"{self._address}gradio_api/queue/join?{self._query}"
        request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
        urllib.request.urlopen(request, timeout=120).close()
        url = f"{self._address}gradio_api/queue/data?session_hash={self.name}"
        with urllib.request.urlopen(url, timeout=300) as stream:
            for line in stream:
                message = json.loads(line[6:]) if line.startswith(b"data: ") else {}
                if message.get("msg") == "process_completed":
                    assert message["success"], message
                    places = [self._places[place] for place in told["outputs"]]
                    return dict(zip(places, message["output"]["data"], strict=True))
        raise AssertionError(f"{event} did not end")


def test_twenty_sessions_at_once_each_see_their_own_edit_alone(served: Any, shelved: Any) -> None:
    playground, address = served
    world, name = shelved.checkpoint.corpus.world, playground.shelf.names[0]

    def wish_of(number: int) -> Wish:
        fact = world.fact(Edge.SUBJECT_OBJECT, 3 * number, number % 3)
        return Wish(head=fact.head, relation=fact.relation, new_tail=(fact.tail + 1 + number % 7) % 20)

    def edits(number: int) -> dict[str, Any]:
        wish = wish_of(number)
        link = {"head": wish.head, "relation": wish.relation, "new_tail": wish.new_tail, "rome.steps": STEPS}
        tab = Tab(address, f"session-{number}", urllib.parse.urlencode(link | {"method": "rome"}))
        tab.does("open")
        # Which fact was picked and the settings of methods are no values of the page: the server keeps them for it.
        return tab.does("edit", name, 0, "synthetic", wish.relation, None, 0, wish.new_tail, 1, 0, "rome", None)

    with ThreadPoolExecutor(SESSIONS) as pool:
        shown = list(pool.map(edits, range(SESSIONS)))
    for number, page in enumerate(shown):
        alone = make(shelved.checkpoint, wish_of(number), method_of("rome", {"steps": STEPS}))
        assert page["status"] == ""
        told, row = json.loads(page["row"]), alone.row
        assert told["scores"] == json.loads(json.dumps(row["scores"]))
        assert told["weights"] == row["weights"]
        session = playground.sessions.get(f"session-{number}")
        assert [made.wish for made in session.made] == [alone.wish]
        assert session.made[0].codes == alone.codes
    assert len({json.loads(page["row"])["weights"]["after"][0] for page in shown}) == SESSIONS


def test_edits_that_wait_for_others_can_all_be_stopped(served: Any) -> None:
    playground, address = served

    def edits(number: int) -> str:
        tab = Tab(address, f"waiting-{number}", f"head={number}&relation=0&method=rome")
        page = tab.does("open")
        values = (playground.shelf.names[0], 0, "synthetic", 0, None, 0, page["new_tail"]["value"], 1, 0, "rome", None)
        return str(tab.does("edit", *values)["status"])

    with ThreadPoolExecutor(SESSIONS) as pool:
        with making._ONE_AT_A_TIME:
            waiting = [pool.submit(edits, number) for number in range(SESSIONS)]
            end = time.monotonic() + 120
            left = {f"waiting-{number}" for number in range(SESSIONS)}
            while left and time.monotonic() < end:
                left -= {name for name in left if playground.sessions.get(name).stop()}
                time.sleep(0.1)
            assert not left
        for future in waiting:
            assert "The edit was stopped; everything is as it was." in future.result()


def test_hundred_requests_at_once_are_all_answered_each_its_own(served: Any, shelved: Any) -> None:
    playground, address = served
    corpus, name, kept = shelved.checkpoint.corpus, playground.shelf.names[0], len(playground.sessions)
    facts = [corpus.world.fact(Edge.SUBJECT_OBJECT, n % 80, n // 80) for n in range(REQUESTS)]
    queries = [corpus.grammar.query(fact) for fact in facts]
    probes = [Probe("edited", 0, fact, "statement", query, query) for fact, query in zip(facts, queries, strict=True)]
    words = [corpus.grammar.lexicon.decode(answer) for answer in predict(shelved.checkpoint.model, probes)]

    def asks(number: int) -> str:
        tab = Tab(address, f"request-{number}")
        tab.does("open")  # which tells the server what can be chosen there
        values = (name, 0, "synthetic", 0, None, 0, 0, 1, 0, "rome", None)
        return str(tab.does("ask", *values, queries[number].prompt)["asked"])

    with ThreadPoolExecutor(REQUESTS) as pool:
        for number, told in enumerate(pool.map(asks, range(REQUESTS))):
            assert f"<td>{words[number]}<small>" in told
    assert len(playground.sessions) == kept  # who only asks is not kept
