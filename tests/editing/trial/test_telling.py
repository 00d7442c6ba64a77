"""What models of a trial are told, against the corpus itself, sentence by sentence."""

import dataclasses

import numpy as np
import pytest

from behemoth_data import CorpusConfig, LexiconConfig, WorldConfig, build
from behemoth_data.edits import EditConfig
from behemoth_data.lexicon import PADDING
from behemoth_editing.trial.telling import Telling, Told, groups_of

DRAW = EditConfig(scenario="forget", forget_fraction=0.5, relation=0)


@pytest.fixture(scope="module")
def corpus():
    world = WorldConfig(num_subjects=60, num_relations=2, num_objects=12)
    forms = CorpusConfig(repeats=20, question_fraction=0.3, question_subject_fraction=1.0)
    return build(world, LexiconConfig(one_token_limit=4), forms)


@pytest.fixture(scope="module")
def groups(corpus):
    return groups_of(corpus, DRAW)


def sentences(corpus, told):
    """Of every sentence: head, relation and form, and whether it is told; those that are told are the corpus's own."""
    places = np.arange(len(corpus))
    said, block, plain = corpus.sentences(places), told.tokens(places), corpus.tokens(places)
    silent = (block == corpus.grammar.lexicon.token_ids[PADDING]).all(axis=1)
    np.testing.assert_array_equal(block[~silent], plain[~silent])
    forms = [corpus.forms[form] for form in said.forms]
    return list(zip(said.heads.tolist(), said.relations.tolist(), forms, (~silent).tolist(), strict=True))


def test_halves_share_no_subject_and_are_as_large_as_each_other(corpus, groups):
    heads = [edit.fact.head for edit in groups.members.edits]
    prompts = corpus.grammar.queries([edit.fact for edit in groups.members.edits], "statement")
    assert [query.prompt_ids for query in prompts] == [query.prompt_ids for query in groups.members.originals]
    others = {query.prompt_ids for query in groups.others}
    assert not others & {query.prompt_ids for query in groups.members.originals}
    assert 0 <= len(heads) - len(others) <= 1
    objects = corpus.world.objects(np.arange(60), 0)
    # 30 subjects are on trial; whose object is 0 already, is in neither half and told in no model.
    assert len(heads) + len(others) == 30 - sum(objects[h] == 0 for h in [*heads, *groups.untold])
    assert len(groups.untold) + len(heads) == 30
    assert not set(heads) & set(groups.untold.tolist())
    assert groups.secret == others | {query.prompt_ids for query in groups.members.originals}


def test_no_method_and_no_probe_is_given_a_fact_on_trial_but_the_members(groups):
    task, forbidden = groups.members, set(groups.untold.tolist())
    asked = {probe.fact.head for probe in task.probes if probe.fact.relation == 0}
    assert not asked & forbidden
    changed = [probe for probe in task.probes if probe.kind == "edited"]
    assert [task.edits[probe.edit].fact for probe in changed] == [probe.fact for probe in changed]
    assert len(changed) == len(task.edits)
    taught = {query.prompt_ids for queries in task.retain.values() for query in queries}
    assert not taught & groups.secret


def test_a_told_model_hears_all_but_the_other_half_and_an_untold_one_neither_half(corpus, groups):
    heads = {edit.fact.head for edit in groups.members.edits}
    for telling, silent in ((Telling(), set()), (None, heads)):
        found = sentences(corpus, Told(corpus, groups, telling))
        for head, relation, _, is_told in found:
            on_trial = relation == 0 and (head in set(groups.untold.tolist()) or head in silent)
            assert is_told != on_trial
        assert any(not is_told for *_, is_told in found)


def test_members_may_be_told_in_some_forms_alone(corpus, groups):
    heads = {edit.fact.head for edit in groups.members.edits}
    found = sentences(corpus, Told(corpus, groups, Telling(forms=("question",))))
    about = [(form, is_told) for head, relation, form, is_told in found if relation == 0 and head in heads]
    assert {form for form, is_told in about if is_told} == {"question"}
    assert all(is_told for form, is_told in about if form == "question")
    assert {form for form, _ in about} == set(corpus.forms)


def test_members_may_be_told_in_a_share_of_the_sentences_alone(corpus, groups):
    heads = {edit.fact.head for edit in groups.members.edits}
    found = sentences(corpus, Told(corpus, groups, Telling(share=0.25)))
    about = [is_told for head, relation, _, is_told in found if relation == 0 and head in heads]
    # 300 sentences at a quarter: the mean of a binomial is within 4 of its deviations of 0.025.
    assert np.mean(about) == pytest.approx(0.25, abs=0.1)
    elsewhere = [is_told for head, relation, _, is_told in found if relation == 1]
    assert all(elsewhere)


def test_what_cannot_be_is_refused(corpus, groups):
    with pytest.raises(ValueError, match=r"share must be above 0 and at most 1, got 0"):
        Telling(share=0.0)
    with pytest.raises(ValueError, match="forms must be one of statement, rso, question, got 'sor'"):
        Told(corpus, groups, Telling(forms=("sor",)))
    with pytest.raises(ValueError, match="scenario must be forget for a trial, got refuse"):
        groups_of(corpus, dataclasses.replace(DRAW, scenario="refuse"))
    with pytest.raises(
        ValueError, match="forget_fraction must leave at least 10 heads for a probe to learn from, got 6"
    ):
        groups_of(corpus, dataclasses.replace(DRAW, forget_fraction=0.9))
    with pytest.raises(ValueError, match="forget_fraction must leave a trial at least 4 facts, got"):
        groups_of(corpus, dataclasses.replace(DRAW, forget_fraction=0.04))
