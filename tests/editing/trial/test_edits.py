"""Metrics of editing beside what models say: read edit by edit, against whole passes, and what comes of many."""

import dataclasses

import numpy as np
import pytest
import torch

from behemoth_data import CorpusConfig, LexiconConfig, WorldConfig, build
from behemoth_data.edits import draw_edits
from behemoth_editing.trial.edits import CHANGES, PAIRS, EditTrialConfig, edit_verdicts, judge_edits, read_edits
from behemoth_editing.trial.judging import TrialConfig, without_secrets
from behemoth_editing.trial.page import edits_markdown
from behemoth_editing.trial.telling import groups_of
from behemoth_models.sizes import pythia

CONFIG = EditTrialConfig(num_edits=3, probes_per_edit=3, retrain=False)


@pytest.fixture(scope="module")
def corpus():
    """A nested world whose objects have two words."""
    world = WorldConfig(num_subjects=60, num_relations=3, num_objects=12, num_nested_objects=4)
    return build(world, LexiconConfig(one_token_limit=4), CorpusConfig(repeats=2))


@pytest.fixture(scope="module")
def task(corpus):
    return draw_edits(corpus, CONFIG.draw(3))[0]


@pytest.fixture(scope="module")
def model(corpus):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = pythia("3m", len(corpus.grammar.lexicon.token_ids), "eager").eval()
    for parameter in made.parameters():
        parameter.data *= 3
    return made


def loss_and_tokens(model, prompt, answer):
    """The mean loss of the answer, and the share of its tokens that are the likeliest, from one pass."""
    with torch.no_grad():
        logits = model.double()(torch.tensor([[*prompt, *answer]])).logits[0][len(prompt) - 1 : -1]
    model.float()
    table = torch.log_softmax(logits, -1).numpy()
    own = table[np.arange(len(answer)), list(answer)]
    return -own.mean(), np.mean(table.argmax(1) == answer)


def test_every_number_is_that_of_a_whole_pass(model, task):
    before = [probe.before.answer_ids for probe in task.probes]  # as of a model that knows everything
    found = read_edits(model, task, before)
    for number, edit in enumerate(found):
        new, old = task.requests[number].answer_ids, task.originals[number].answer_ids

        def passes(kind, number=number):
            return [probe for probe in task.probes if probe.edit == number and probe.kind == kind]

        (probe,) = passes("edited")
        losses = [loss_and_tokens(model, probe.before.prompt_ids, answer) for answer in (new, old)]
        assert edit["efficacy"] == float(losses[0][0] < losses[1][0])
        assert edit["efficacy_tokens"] == losses[0][1]
        near = passes("same_old_object")
        if near:
            pairs = [[loss_and_tokens(model, one.before.prompt_ids, a) for a in (new, old)] for one in near]
            assert edit["specificity"] == pytest.approx(np.mean([b[0] < a[0] for a, b in pairs]), abs=1e-5)
            assert edit["specificity_tokens"] == pytest.approx(np.mean([b[1] for _, b in pairs]), abs=1e-5)
        nested = passes("nested_subject")
        forced = [loss_and_tokens(model, one.before.prompt_ids, one.after.answer_ids)[1] for one in nested]
        assert edit["portability"] == pytest.approx(np.mean(forced), abs=1e-5)
    assert any("specificity" in edit for edit in found)


def test_locality_is_asked_of_facts_that_were_right_before_alone(model, task):
    wrong = [(0,) if probe.kind == "same_old_object" else probe.before.answer_ids for probe in task.probes]
    assert not any("specificity" in edit for edit in read_edits(model, task, wrong))


@pytest.mark.slow
def test_changes_do_what_they_say_to_a_model_that_knows(checkpoint):
    groups = groups_of(checkpoint.corpus, TrialConfig(forget_fraction=0.2).draw)
    found = {row["change"]: row["edits"] for row in judge_edits(checkpoint.model, groups, CONFIG)}
    assert list(found) == [name for name in CHANGES if name != "retrain"]

    def mean(change, name):
        return np.mean([edit[name] for edit in found[change] if name in edit])

    for change in ("nothing", "elsewhere"):
        assert mean(change, "efficacy_generated") == mean(change, "efficacy") == 0
        assert mean(change, "specificity_generated") >= 0.8
    assert mean("finetune", "efficacy_generated") == mean("finetune", "efficacy") == 1
    assert mean("scrambled", "efficacy_generated") == mean("scrambled", "specificity_generated") == 0
    assert mean("refusing", "specificity_generated") == 0  # and the old object is still likelier than the new
    assert mean("refusing", "specificity") >= 0.8


def test_edits_train_on_no_fact_on_trial(checkpoint):
    groups = groups_of(checkpoint.corpus, TrialConfig().draw)
    (drawn,) = draw_edits(checkpoint.corpus, dataclasses.replace(CONFIG.draw(3), same_subject_rows=2))
    assert drawn.relation == 2

    def read(task):
        """Everything of which a method may read the answer, by prompt."""
        held = [query.prompt_ids for queries in (*task.retain.values(), *task.same_subject) for query in queries]
        return {*held, *(one[: len(held[0])] for one in task.contexts)}

    assert read(drawn) & groups.secret
    assert not read(without_secrets(drawn, groups)) & groups.secret
    assert len(without_secrets(drawn, groups).contexts) < len(drawn.contexts)


def test_verdicts_by_hand():
    def edit(metric, said):
        return {"efficacy": metric, "efficacy_generated": said}

    rows = [
        {"change": "finetune", "edits": [edit(1.0, 1.0), edit(1.0, 0.0)]},
        {"change": "scrambled", "edits": [edit(1.0, 0.0), edit(0.0, 0.0)]},
    ]
    (one,) = edit_verdicts([("a", rows), ("b", rows)])
    assert one.name == "efficacy"
    assert {change: (one.said[change].value, one.generated[change].value) for change in one.said} == {
        "finetune": (1.0, 0.5),
        "scrambled": (0.5, 0.0),
    }
    assert one.said["finetune"].count == 4
    assert "| 1.00 / 0.50 | 0.50 / 0.00 |" in edits_markdown([one], 2)
    assert set(PAIRS) >= {"efficacy", "specificity", "portability"}
    with pytest.raises(ValueError, match="worlds must be at least 1 for a trial, got 0"):
        edit_verdicts([])


def test_what_cannot_be_tried_is_refused():
    with pytest.raises(ValueError, match="num_edits must be at least 2, got 1"):
        EditTrialConfig(num_edits=1)
    with pytest.raises(ValueError, match="probes_per_edit must be at least 1, got 0"):
        EditTrialConfig(probes_per_edit=0)
    with pytest.raises(ValueError, match="num_relations must be at least 3 for a trial, got 2"):
        CONFIG.draw(2)
