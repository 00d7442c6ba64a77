"""Wishes become edits: those that were wished, on a copy, one after the other, with what the world says of them."""

import threading

import numpy as np
import pytest

from behemoth_cli.playground.asking import answered_tails
from behemoth_cli.playground.making import (
    MOST_COUNT,
    SOURCE,
    Made,
    Stopped,
    Wish,
    edit_set_of_wish,
    edits_of_wish,
    expected_of,
    make,
    method_of,
    view_of,
)
from behemoth_data import CorpusConfig, Edge, WorldConfig, build
from behemoth_data.edits import Edit, edit_set_of
from behemoth_data.world import Fact
from behemoth_editing import METHODS, edit_fact, score
from behemoth_models.knowledge import weights_digest

QUICK = {"max_steps": "3"}


def wish_of(checkpoint, **changes) -> Wish:
    fact = checkpoint.corpus.world.fact(Edge.SUBJECT_OBJECT, 5, 1)
    return Wish(**{"head": 5, "relation": 1, "new_tail": (fact.tail + 1) % 20, "method": "lora", **changes})


@pytest.fixture(scope="module")
def made(checkpoint) -> Made:
    return make(checkpoint, wish_of(checkpoint), method_of("lora", {"rank": "4"}))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_made_of_texts_and_without_any_is_its_default(name):
    assert method_of(name, {}) == METHODS[name]()


def test_settings_are_read_as_the_command_line_reads_them():
    assert method_of("lora", {"rank": " 4 ", "layers": "1,2", "alpha": "none"}) == METHODS["lora"](
        rank=4, layers=(1, 2), alpha=None
    )


@pytest.mark.parametrize(
    ("name", "texts", "message"),
    [
        ("roma", {}, r"method must be one of .* \(did you mean 'rome'\?\)"),
        ("rome", {"layers": "1"}, "setting of rome must be one of .*layer"),
        ("rome", {"layer": "x"}, "layer must be INT, got 'x'"),
        ("rome", {"layer": "1; import os"}, "layer must be INT"),
        ("lora", {"rank": "0"}, "rank must be at least 1, got 0"),
    ],
)
def test_settings_out_of_bounds_are_refused(name, texts, message):
    with pytest.raises(ValueError, match=message):
        method_of(name, texts)


@pytest.mark.parametrize(
    ("name", "field", "message"),
    [
        ("rome", "steps", "steps must be at most 1000 on a page, got 1001"),
        ("lora", "max_steps", "max_steps must be at most 1000 on a page, got 1001"),
        ("lora", "patience", "patience must be at most 1000 on a page, got 1001"),
        ("retrain", "max_steps", "max_steps must be at most 1000 on a page, got 1001"),
    ],
)
def test_what_a_page_asks_for_is_bounded_where_the_command_is_not(name, field, message):
    with pytest.raises(ValueError, match=message):
        method_of(name, {field: "1001"}, MOST_COUNT)
    assert getattr(method_of(name, {field: "1001"}), field) == 1001
    assert getattr(method_of(name, {field: "1000"}, MOST_COUNT), field) == 1000


def test_seed_is_no_count():
    assert method_of("lora", {"fit_seed": "123456"}, MOST_COUNT) == METHODS["lora"](fit_seed=123456)


def test_wished_edit_comes_first_and_the_others_are_of_other_subjects_of_the_relation(checkpoint):
    world = checkpoint.corpus.world
    wish = wish_of(checkpoint, num_edits=10)
    edits = edits_of_wish(world, wish)
    assert edits[0] == Edit(world.fact(Edge.SUBJECT_OBJECT, 5, 1), wish.new_tail)
    assert len({edit.fact.head for edit in edits}) == len(edits) == 10
    assert {(edit.fact.edge, edit.fact.relation) for edit in edits} == {(Edge.SUBJECT_OBJECT, 1)}
    assert all(edit.fact.tail == world.fact(Edge.SUBJECT_OBJECT, edit.fact.head, 1).tail for edit in edits)
    assert all(edit.new_tail != edit.fact.tail for edit in edits)
    assert edits_of_wish(world, wish) == edits
    assert edits_of_wish(world, wish_of(checkpoint, num_edits=10, edit_seed=1)) != edits


def test_wished_edit_is_there_once_though_the_draw_has_its_subject(checkpoint):
    world, wish = checkpoint.corpus.world, wish_of(checkpoint, num_edits=80)
    edits = edits_of_wish(world, wish)
    assert sorted(edit.fact.head for edit in edits) == list(range(80))
    assert edits[0].new_tail == wish.new_tail


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_edits": 0}, "num_edits must be from 1 to 100, got 0"),
        ({"num_edits": 101}, "num_edits must be from 1 to 100, got 101"),
        ({"edge": "x"}, "edge must be one of subject_object"),
        ({"method": "magic"}, "method must be one of finetune"),
        ({"head": "1"}, "head must be int, got '1'"),
    ],
)
def test_wish_is_bounded(changes, message):
    with pytest.raises(ValueError, match=message):
        Wish(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head": 80}, "head"),
        ({"relation": 3}, "relation"),
        ({"new_tail": 20}, r"new_tail must lie in \[0, 20\)"),
        ({"edge": "object_nested", "head": 1, "num_edits": 21}, "num_edits must be at most 20, the facts"),
    ],
)
def test_wish_that_the_world_cannot_grant_is_refused_and_the_next_one_is_granted(checkpoint, changes, message):
    with pytest.raises(ValueError, match=message):
        make(checkpoint, wish_of(checkpoint, **changes), method_of("lora", QUICK))
    assert edit_set_of_wish(checkpoint, wish_of(checkpoint)).edits


def test_edit_is_what_three_lines_of_python_make(checkpoint, made):
    edit_set = edit_fact(checkpoint, 5, 1, made.wish.new_tail)
    edited = METHODS["lora"](rank=4)(checkpoint.model, edit_set).model
    assert weights_digest(edited) == weights_digest(made.model)
    assert made.scored.scores == score(checkpoint, edited, edit_set).scores
    assert made.scored.scores["edit_success"]["value"] == 1.0


def test_original_model_is_untouched(checkpoint, made):
    assert weights_digest(checkpoint.model) == checkpoint.weights
    assert weights_digest(made.model) != checkpoint.weights


def test_row_says_what_was_made_and_by_what(checkpoint, made):
    assert made.row["elsewhere"]["source"] == SOURCE
    assert made.row["elsewhere"]["method"] == "lora"
    assert made.row["settings"]["rank"] == 4
    assert made.row["elsewhere"]["edits"][0]["new_tail"] == made.wish.new_tail
    assert made.row["weights"]["before"] == checkpoint.weights
    assert made.row["scores"] == made.scored.scores


def test_status_of_the_edited_fact_and_of_facts_beside_it(checkpoint, made):
    world = checkpoint.corpus.world
    fact = world.fact(Edge.SUBJECT_OBJECT, 5, 1)
    assert made.codes[fact] == "made"
    assert len(made.codes) == len(made.view.facts) == 2 * 80 * 3 + 20 * 3
    again = answered_tails(made.model, checkpoint.corpus, made.view.facts)
    assert np.array_equal(again, made.answers)
    kept = [
        f for f, was, now in zip(made.view.facts, made.view.answers, made.answers, strict=True) if was == now == f.tail
    ]
    nested = world.fact(Edge.SUBJECT_NESTED, 5, 1)
    assert {f for f, code in made.codes.items() if code in ("kept", "stayed")} - {nested} == set(kept) - {nested}


def test_same_edits_by_a_second_method_are_the_same_set(checkpoint, made):
    wish = Wish(**{**vars(made.wish), "method": "finetune"})
    second = make(checkpoint, wish, method_of("finetune", QUICK), same=made.edit_set)
    assert second.edit_set is made.edit_set
    assert second.row["weights"]["after"] != made.row["weights"]["after"]
    assert weights_digest(checkpoint.model) == checkpoint.weights


def test_what_depends_on_an_edit_is_what_the_world_says(checkpoint):
    corpus = checkpoint.corpus
    world = corpus.world
    facts = view_of(checkpoint).facts
    for edge in Edge:
        fact = world.fact(edge, 4, 0)
        new = next(
            tail
            for tail in range(world.num_tails(edge, 0))
            if edge is not Edge.SUBJECT_OBJECT
            or (world.nested(tail, 0) != world.nested(fact.tail, 0) and tail != fact.tail)
            if tail != fact.tail
        )
        found = expected_of(edit_set_of(corpus, [Edit(fact, new)]), "edit", facts)
        assert found.edited == {fact: new}
        if edge is Edge.SUBJECT_OBJECT:
            wanted = {world.fact(Edge.SUBJECT_NESTED, 4, 0): int(world.nested(new, 0))}
        elif edge is Edge.OBJECT_NESTED:
            owners = [s for s in range(80) if world.objects(s, 0) == 4]
            wanted = {world.fact(Edge.SUBJECT_NESTED, s, 0): new for s in owners}
        else:
            wanted = {}
        assert found.dependent == wanted


def test_partner_of_a_correlated_world_may_follow():
    world = WorldConfig(num_subjects=60, num_relations=3, num_objects=10, correlation=0.9)
    corpus = build(world, corpus=CorpusConfig(repeats=2))
    head = next(s for s in range(60) if corpus.world.objects(s, 0) == corpus.world.objects(s, 1) != 7)
    fact, partner = (corpus.world.fact(Edge.SUBJECT_OBJECT, head, r) for r in (0, 1))
    found = expected_of(edit_set_of(corpus, [Edit(fact, 7)]), "edit", [fact, partner])
    assert found.dependent == {Fact(Edge.SUBJECT_OBJECT, head, 1, fact.tail): 7}
    assert expected_of(edit_set_of(corpus, [Edit(fact, 7)]), "forget", [fact, partner]).edited == {fact: None}


def test_edit_that_is_stopped_ends_and_the_next_one_is_as_if_it_had_never_been(checkpoint, made):
    steps = []

    def stop(done, text):
        steps.append((done, text))
        if "step 2 " in text:
            raise Stopped

    with pytest.raises(Stopped):
        make(checkpoint, wish_of(checkpoint), method_of("lora", {"rank": "4"}), step=stop)
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)
    assert steps[-1][1].startswith("editing by lora, step 2 of 100")
    again = make(checkpoint, wish_of(checkpoint), method_of("lora", {"rank": "4"}))
    assert weights_digest(again.model) == weights_digest(made.model)


def test_edits_at_once_are_what_each_is_alone(checkpoint):
    alone = make(checkpoint, wish_of(checkpoint), method_of("lora", QUICK))
    results: dict[str, Made] = {}

    def work(name, method):
        results[name] = make(checkpoint, wish_of(checkpoint), method)

    jobs = [
        threading.Thread(target=work, args=(name, method_of("lora", {**QUICK, "fit_seed": seed})))
        for name, seed in (("a", "0"), ("b", "7"), ("c", "0"))
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    alike = {weights_digest(results[name].model) for name in ("a", "c")}
    assert alike == {weights_digest(alone.model)}
    assert weights_digest(results["b"].model) not in alike


@pytest.mark.parametrize(
    "method",
    [METHODS["rome"](layer=1, steps=10**9, stop_loss=0), METHODS["memit"](layers=(1,), steps=10**9, stop_loss=0)],
)
def test_method_that_tells_nobody_of_its_steps_is_stopped_too(checkpoint, method):
    wish, calls = wish_of(checkpoint, method=method.name), []

    def stop(done, text):
        calls.append(text)
        if calls.count(f"editing by {method.name}") > 300:
            raise Stopped

    with pytest.raises(Stopped):
        make(checkpoint, wish, method, step=stop)
    assert make(checkpoint, wish_of(checkpoint), method_of("lora", QUICK)).answers.size  # nothing is held


def test_edit_ends_after_its_time(checkpoint):
    endless = METHODS["lora"](max_steps=10**9, patience=10**9)
    with pytest.raises(TimeoutError, match=r"an edit must take at most 0.5 seconds here"):
        make(checkpoint, wish_of(checkpoint), endless, most_seconds=0.5)


def test_edit_that_waits_for_another_is_stopped_while_it_waits(checkpoint):
    inside, go_on, errors = threading.Event(), threading.Event(), []

    def hold(done, text):
        if text == "drawing what is asked":
            inside.set()
            go_on.wait(60)
            raise Stopped

    def work():
        try:
            make(checkpoint, wish_of(checkpoint), method_of("lora", QUICK), step=hold)
        except Stopped as error:
            errors.append(error)

    job = threading.Thread(target=work)
    job.start()
    assert inside.wait(60)
    told = []

    def stop(done, text):
        told.append(text)
        if len(told) == 2:
            raise Stopped

    with pytest.raises(Stopped):
        make(checkpoint, wish_of(checkpoint), method_of("lora", QUICK), step=stop)
    assert told == ["waiting for others' edits"] * 2
    go_on.set()
    job.join(60)
    assert len(errors) == 1
