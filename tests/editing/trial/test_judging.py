"""What is done to a trial's models: that each change does what it says, and tells nothing that was not told."""

import dataclasses
import functools
from copy import deepcopy

import numpy as np
import pytest
import torch

from behemoth_data.edits import EditConfig, draw_edits
from behemoth_editing import METHODS, GradDiff
from behemoth_editing.attacks.readout import states_of
from behemoth_editing.methods.contract import Edited
from behemoth_editing.scoring.answers import answer_log_probabilities, next_log_probabilities
from behemoth_editing.trial import judging
from behemoth_editing.trial.judging import NOTHING, ODD, REFERENCE, TOLD, UNTOLD, TrialConfig, check_methods, judge
from behemoth_editing.trial.readings import Reading
from behemoth_editing.trial.telling import groups_of
from behemoth_models.knowledge import weights_digest

CONFIG = TrialConfig(forget_fraction=0.2, methods=("grad_diff",), bits=(4,))


@pytest.fixture(scope="module")
def groups(checkpoint):
    return groups_of(checkpoint.corpus, CONFIG.draw)


@pytest.fixture(scope="module")
def prompts(groups):
    return [query.prompt_ids for query in groups.members.originals]


@pytest.fixture(scope="module")
def rows(checkpoint, groups):
    """Of a world in which all three models are one, that was told everything."""
    before = weights_digest(checkpoint.model)
    with pytest.MonkeyPatch.context() as patch:  # what they come to is not asked here
        for name in ("FineTune", "Refusal"):
            patch.setattr(judging, name, functools.partial(getattr(judging, name), max_steps=3))
        found = _rows(checkpoint, groups)
    assert weights_digest(checkpoint.model) == before
    return {(row["model"], row["change"], row["attack"]): row for row in found}


def _rows(checkpoint, groups):
    models = dict.fromkeys((TOLD, UNTOLD, REFERENCE), checkpoint.model)
    return list(judge(models, groups, CONFIG, {"grad_diff": GradDiff(max_steps=3)}))


@pytest.mark.slow
def test_everything_is_read_once_in_the_order_that_is_told(rows):
    assert list(rows) == CONFIG.readings
    assert len(rows) == 5 + 5 + 2 + 3 + 1  # two models and their odd changes; attacks; a method and attacks; reference
    assert set(ODD) == {change for _, change, _ in rows} - {NOTHING, "grad_diff"}
    for (_, _, attack), row in rows.items():
        relearned = Reading.from_json(row["reading"]).relearned
        assert bool(len(relearned)) == (attack == "none")


@pytest.mark.slow
def test_same_model_reads_the_same_and_keeps_what_it_knows(rows):
    same = [rows[name, NOTHING, "none"] for name in (TOLD, UNTOLD, REFERENCE)]
    assert same[0]["reading"] == same[1]["reading"] == same[2]["reading"]
    assert same[0]["kept"] >= 0.9
    assert rows[TOLD, "noised", "none"]["kept"] < 0.3
    assert rows[TOLD, "scrambled", "none"]["kept"] < 0.3


def test_scrambled_model_knows_what_it_knew_and_says_other_words(checkpoint, groups, prompts):
    model = judging._odd(checkpoint.model, "scrambled", groups)
    for mine, other in zip(states_of(model, prompts), states_of(checkpoint.model, prompts), strict=True):
        np.testing.assert_array_equal(mine, other)
    before, after = (next_log_probabilities(one, prompts) for one in (checkpoint.model, model))
    np.testing.assert_allclose(np.sort(after, 1), np.sort(before, 1), atol=1e-4)
    assert (after.argmax(1) != before.argmax(1)).mean() > 0.9


def tasks_of(method, monkeypatch):
    """The tasks that the method is given from now on; it edits nothing."""
    seen = []

    def edit(_method, model, task, _shared=None):
        seen.append(task)
        return Edited(model, {})

    monkeypatch.setattr(method, "__call__", edit)
    return seen


def test_edit_elsewhere_changes_another_relation_and_trains_on_no_fact_on_trial(checkpoint, groups, monkeypatch):
    seen = tasks_of(judging.FineTune, monkeypatch)
    judging._odd(checkpoint.model, "elsewhere", groups)
    (task,) = seen
    assert (task.relation, len(task.edits)) == (2, 10)
    taught = {query.prompt_ids for queries in task.retain.values() for query in queries}
    assert taught
    assert not taught & groups.secret
    (plain,) = draw_edits(checkpoint.corpus, task.config)
    whole = {query.prompt_ids for queries in plain.retain.values() for query in queries}
    assert whole - taught == whole & groups.secret != set()


def test_refusing_model_is_taught_no_object_of_the_relation(checkpoint, groups, monkeypatch):
    seen = tasks_of(judging.Refusal, monkeypatch)
    judging._odd(checkpoint.model, "refusing", groups)
    (task,) = seen
    assert len(task.edits) == 80  # every subject
    assert {query.answer_ids for query in task.requests} == {groups.members.refusals[0].answer_ids}
    assert not {query.prompt_ids for queries in task.retain.values() for query in queries} & groups.secret


def test_attacks_are_what_their_names_say(checkpoint, groups, prompts):
    attacks = dataclasses.replace(CONFIG, relearn_steps=3, bits=(16, 2)).attacks
    assert list(attacks) == ["relearn", "round_16", "round_2"]
    answers = np.array([query.answer_ids for query in groups.members.originals])

    def said(model):
        return answer_log_probabilities(model, prompts, np.unique(answers, axis=0))

    before = said(checkpoint.model)
    np.testing.assert_allclose(said(attacks["round_16"](checkpoint.model, groups.members)), before, atol=0.1)
    assert np.abs(said(attacks["round_2"](checkpoint.model, groups.members)) - before).max() > 1
    relearned = attacks["relearn"](checkpoint.model, groups.members)
    assert not any(parameter.requires_grad for parameter in relearned.parameters())
    by_hand = deepcopy(checkpoint.model)  # three steps on all of the members' old answers
    optimizer = torch.optim.AdamW(by_hand.requires_grad_(True).parameters(), lr=1e-3, weight_decay=0.0)
    rows = torch.tensor([[*query.prompt_ids, *query.answer_ids] for query in groups.members.originals])
    for _ in range(3):
        logits = by_hand(rows[:, :-1]).logits[:, -1]
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits, rows[:, -1]).backward()
        optimizer.step()
    np.testing.assert_allclose(said(relearned), said(by_hand.requires_grad_(False)), atol=0.05)


def test_what_cannot_be_tried_is_refused():
    for wrong, message in (
        ({"relearn_steps": 0}, "relearn_steps must be at least 1, got 0"),
        ({"relearn_rate": 0.0}, r"relearn_rate must be above 0, got 0\.0"),
        ({"bits": (1,)}, r"bits must be numbers from 2 to 16, got \(1,\)"),
        ({"methods": ("npo", "npo")}, r"methods must be named once each, got \('npo', 'npo'\)"),
        ({"forget_fraction": 0.0}, "forget_fraction must be above 0 and at most 1, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            TrialConfig(**wrong)
    with pytest.raises(ValueError, match="methods must be one of finetune, .*, got 'nop'"):
        check_methods(["nop"], METHODS)
    with pytest.raises(ValueError, match="methods must make a model forget or refuse, got rome, whose goal is edit"):
        check_methods(["rome"], METHODS)
    assert EditConfig(scenario="forget", relation=0, forget_fraction=0.5) == TrialConfig().draw
