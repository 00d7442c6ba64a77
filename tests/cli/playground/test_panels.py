"""What is shown: numbers that hold, and words that cannot become markup."""

import dataclasses
import json
import re

import pytest

from behemoth_cli.playground import panels
from behemoth_cli.playground.asking import replies
from behemoth_cli.playground.making import Wish, make, method_of
from behemoth_cli.playground.outcomes import STATUSES
from behemoth_cli.playground.panels import Looked, linked, looked_at
from behemoth_cli.playground.sessions import Session
from behemoth_data import Edge


@pytest.fixture(scope="module")
def session(shelf, shelved) -> Session:
    """A session with one edit."""
    found = Session()
    found.of(shelf.names[0], None)
    wish = Wish(head=5, relation=1, new_tail=3, num_edits=3, method="lora")
    found.add(make(shelved.checkpoint, wish, method_of("lora", {"max_steps": "8"})), (shelf.names[0], None))
    return found


def look(shelf, session, shown=0, surface="synthetic", relation=1, **pick) -> Looked:
    return looked_at(shelf, session, shelf.names[0], None, surface, relation, pick or {"edge": 0, "head": 5}, shown)


def test_what_is_not_there_is_replaced_by_what_is(shelf, session):
    found = look(shelf, session, shown=9, surface="french", relation=99, edge=2, head=999)
    assert (found.made, found.words.surface) == (None, "synthetic")
    assert (found.fact.edge, found.fact.head, found.fact.relation) == (Edge.OBJECT_NESTED, 19, 2)


def test_link_is_followed_and_what_others_add_to_it_is_left_out(shelf):
    parts = {"head": "5", "relation": "1", "num_edits": "7", "method": "lora", "lora.rank": "4", "made": "1"}
    state = linked(shelf, ["rome", "lora"], parts)
    assert state.wish == Wish(head=5, relation=1, num_edits=7, method="lora")
    assert (state.model, state.settings, state.made) == (shelf.names[0], {"rank": "4"}, True)
    assert linked(shelf, ["rome", "lora"], {**parts, "utm_source": "x", "ref": "y", "fbclid": "z"}) == state
    assert linked(shelf, ["lora"], {}).wish.method == "lora"  # the first there is


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"model": "other"}, "model must be one of"),
        ({"step": "7"}, "step must be one of"),
        ({"method": "memit"}, "method must be one of rome, lora, got 'memit'"),
        ({"method": "lora", "lora.rnk": "4"}, "setting of lora must be one of"),
        ({"rome.steps": "1000000000"}, "steps must be at most 1000 on a page"),
        ({"lora.rank": "4"}, "part of a link must be one of"),  # of another method
        ({"heads": "4"}, r"part of a link must be one of .* \(did you mean 'head'\?\)"),
        ({"surface": "french"}, "surface must be one of"),
        ({"edge": "object"}, "edge must be one of"),
        ({"head": "80"}, "head"),
        ({"relation": "3"}, "relation"),
        ({"new_tail": "20"}, r"new_tail must lie in \[0, 20\), got 20"),
        ({"num_edits": "81"}, "num_edits must be at most 80, the facts of the relation, got 81"),
        ({"edge": "object_nested", "num_edits": "21"}, "num_edits must be at most 20"),
    ],
)
def test_link_that_asks_for_what_there_is_not_is_refused(shelf, parts, message):
    with pytest.raises(ValueError, match=message):
        linked(shelf, ["rome", "lora"], parts)


def test_link_to_what_is_so_already_is_refused(shelf, shelved):
    tail = shelved.checkpoint.corpus.world.fact(Edge.SUBJECT_OBJECT, 5, 1).tail
    with pytest.raises(ValueError, match=f"new_tail must be another than the fact's own, got {tail}"):
        linked(shelf, ["rome"], {"head": "5", "relation": "1", "new_tail": str(tail)})


def test_picture_tells_every_fact_of_the_relation_with_its_status(shelf, session):
    told = json.loads(panels.picture(look(shelf, session, shown=1)))
    made = session.made[0]
    assert len(told["marks"]) == 80 * 2 + 20
    codes = {(int(fact.edge), fact.head): code for fact, code in made.codes.items() if fact.relation == 1}
    assert {(mark[0], mark[1]): mark[5] for mark in told["marks"]} == codes
    assert sum(told["counts"].values()) == len(told["marks"])
    assert told["picked"] == [0, 5]
    assert sorted(told["moves"]) == sorted([0, edit.fact.head, edit.new_tail] for edit in made.edit_set.edits)
    assert sorted(status["rank"] for status in told["statuses"].values()) == list(range(len(STATUSES)))


def test_picture_before_an_edit_tells_what_the_model_knows(shelf, session, shelved):
    told = json.loads(panels.picture(look(shelf, session)))
    assert set(told["counts"]) <= {"known", "wrong"}
    assert told["moves"] == []
    right = sum(
        answer == fact.tail
        for fact, answer in zip(shelved.view.facts, shelved.view.answers.tolist(), strict=True)
        if fact.relation == 1
    )
    assert told["counts"]["known"] == right


def test_switch_of_words_changes_words_and_nothing_else(shelf, session):
    one, other = (json.loads(panels.picture(look(shelf, session, 1, surface))) for surface in ("synthetic", "natural"))
    assert [mark[:6] for mark in one["marks"]] == [mark[:6] for mark in other["marks"]]
    assert all(a[6] != b[6] for a, b in zip(one["marks"], other["marks"], strict=True))


def test_answers_shown_are_those_of_the_models(shelf, session, shelved):
    looked = look(shelf, session, shown=1)
    shown = panels.says_html(looked)
    for model in (shelved.checkpoint.model, session.made[0].model):
        for reply in replies(model, shelved.checkpoint.corpus, looked.fact):
            assert reply.answer in shown
            assert reply.prompt in shown
    assert "the model reads" in panels.says_html(look(shelf, session, surface="natural"))


def test_fact_that_was_forgotten_is_not_marked_as_wrong(shelf, session, shelved, monkeypatch):
    wish = Wish(head=5, relation=1, new_tail=3, method="gradient_ascent")
    made = make(shelved.checkpoint, wish, method_of("gradient_ascent", {"max_steps": "1"}))
    looked = dataclasses.replace(look(shelf, session), made=made)
    fact, plain = looked.fact, panels.asking.replies
    for tail, marks in ((fact.tail, True), ((fact.tail + 1) % 20, False)):

        def answered(model, corpus, asked, tail=tail):
            found = plain(model, corpus, asked)
            return found if model is not made.model else [dataclasses.replace(reply, tail=tail) for reply in found]

        monkeypatch.setattr(panels.asking, "replies", answered)
        shown = panels.says_html(looked)
        rows = re.findall(r"<tr><th scope=\"row\">.*?</tr>", shown[: shown.index("</table>")])
        after = [row.split("<td>")[2] for row in rows]
        assert len(after) == len(plain(made.model, shelved.checkpoint.corpus, fact))
        assert all(("≠" in cell) is marks for cell in after)
        assert "gradient_ascent is to forget it, so that any other answer will do" in shown


def test_prompt_that_is_typed_is_answered_on_either_surface(shelf, session):
    for surface in ("synthetic", "natural"):
        looked = look(shelf, session, shown=1, surface=surface)
        prompt = looked.words.grammar.query(looked.fact).prompt
        assert "Understood as the statement" in panels.asked_html(looked, prompt)
    with pytest.raises(ValueError, match="prompt must be in the words that this model was taught"):
        panels.asked_html(looked, "<script>alert(1)</script>")
    with pytest.raises(ValueError, match="prompt must have at most 400 letters"):
        panels.asked_html(looked, "x" * 401)
    synthetic = look(shelf, session)
    assert "goes on with" in panels.asked_html(synthetic, synthetic.words.grammar.query(synthetic.fact).prompt + " .")


def test_outcome_counts_every_fact_once(shelf, session):
    shown = panels.outcome_html(look(shelf, session, shown=1))
    first = shown[: shown.index("</table>")]
    cells = [int(cell) for cell in re.findall(r"<td>(\d+)</td>", first)]
    assert sum(cells) == len(session.made[0].codes)
    assert "No edit is shown" in panels.outcome_html(look(shelf, session))


def test_broken_facts_are_listed_with_what_is_said_now(shelf, session):
    told = json.loads(panels.broken_json(look(shelf, session, shown=1)))
    broken = [fact for fact, code in session.made[0].codes.items() if code == "broken"]
    assert told["said"] == f"{len(broken)} broken"
    assert [tuple(row[:3]) for row in told["facts"]] == [(f.edge, f.head, f.relation) for f in broken]
    assert json.loads(panels.broken_json(look(shelf, session)))["facts"] == []


def test_history_has_a_line_for_each_edit(session):
    assert panels.history_html(session).count("<tr>") == 2
    assert "No edit yet" in panels.history_html(Session())


def test_words_cannot_become_markup():
    assert "<b>" not in panels.said_html("<b>x</b>")
    assert "&lt;b&gt;" in panels.progress_html(0.5, "<b>", 1)
