"""Which facts are told late, which of them are edited, and that a model's late facts are in one layer's MLP alone."""

import numpy as np
import pytest
import torch

from behemoth_data import CorpusConfig, EditConfig, LexiconConfig, WorldConfig, build
from behemoth_data.lexicon import PADDING
from behemoth_editing.architecture import layers_of
from behemoth_editing.locating.late import (
    LateConfig,
    check_place,
    late_edits,
    late_facts,
    learns_in,
    mlp_of,
)

EDITS = EditConfig(scenario="different", num_edits=5, probes_per_edit=5)


@pytest.fixture(scope="module")
def corpus():
    world = WorldConfig(num_subjects=200, num_relations=3, num_objects=20)
    return build(world, LexiconConfig(), CorpusConfig(repeats=4, inversion_fraction=0.5))


@pytest.fixture(scope="module")
def late(corpus):
    return late_facts(corpus, LateConfig())


def test_half_of_relation_0_is_late_and_every_object_is_told_from_the_start(corpus, late):
    assert len(late.late) == len(late.early) == 100
    heads, relations, tails = corpus.world.facts(late.late[0].edge)
    rows = np.flatnonzero(relations == 0)
    assert {(fact.head, fact.tail) for fact in late.late + late.early} == {
        (int(heads[row]), int(tails[row])) for row in rows
    }
    assert {fact.tail for fact in late.early} == set(np.unique(tails[rows]).tolist())
    assert {fact.relation for fact in late.late + late.early} == {0}
    assert [fact.head for fact in late.late] != sorted(fact.head for fact in late.late)
    assert late_facts(corpus, LateConfig()) == late


def test_objects_of_few_facts_stay_with_those_told_from_the_start(corpus):
    most = LateConfig(share=0.9)  # of 200 facts, of which 20 must stay
    assert len({fact.tail for fact in late_facts(corpus, most).early}) == 20
    for share in (0.001, 0.95):
        with pytest.raises(ValueError, match=f"share must give at least 2 of .* and leave one of each .* got {share}"):
            late_facts(corpus, LateConfig(share=share))


def test_the_first_training_never_says_a_late_fact_in_any_form(corpus, late):
    tokens = late.lessons().tokens(np.arange(len(corpus)))
    said = corpus.sentences(np.arange(len(corpus)))
    about = (said.relations == 0) & np.isin(said.heads, [fact.head for fact in late.late])
    assert about.sum() == 100 * 4
    assert len(set(said.forms[about].tolist())) > 1
    padding = corpus.grammar.lexicon.token_ids[PADDING]
    np.testing.assert_array_equal((tokens == padding).all(axis=1), about)


def test_edits_are_of_late_facts_each_of_another_object_and_the_same_whatever_a_model_knows(corpus, late):
    task = late_edits(late, EDITS)
    assert len(task.edits) == 5
    assert {edit.fact for edit in task.edits} <= set(late.late)
    old, new = [edit.fact.tail for edit in task.edits], [edit.new_tail for edit in task.edits]
    assert len({*old, *new}) == 10
    assert late_edits(late, EDITS).edits == task.edits
    other = late_edits(late, EditConfig(scenario="different", num_edits=5, edit_seed=1))
    assert [edit.new_tail for edit in other.edits] != new
    with pytest.raises(ValueError, match="num_edits must be at most 10, the late facts of different objects"):
        late_edits(late, EditConfig(scenario="different", num_edits=11))
    for fields in ({"relation": 1}, {"edge": "object_nested"}):
        with pytest.raises(ValueError, match="edits must be of relation 0 of subject_object, not matched"):
            late_edits(late, EditConfig(scenario="different", **fields))
    with pytest.raises(ValueError, match="scenarios must be different to edit late facts, got single"):
        late_edits(late, EditConfig())


def test_one_mlp_learns_and_what_learned_elsewhere_is_refused(beginner):
    model = beginner.model
    copied = learns_in(model, 2)
    learns = [name for name, parameter in copied.named_parameters() if parameter.requires_grad]
    assert sorted(learns) == [
        f"gpt_neox.layers.2.mlp.{name}.{kind}"
        for name in ("dense_4h_to_h", "dense_h_to_4h")
        for kind in ("bias", "weight")
    ]
    assert all(parameter.requires_grad for parameter in model.parameters())  # as it was given
    with pytest.raises(ValueError, match="in the MLP of layer 2 and there only, got the same weights"):
        check_place(copied, model, 2)
    with torch.no_grad():
        next(mlp_of(copied, 2).parameters()).add_(1.0)
    check_place(copied, model, 2)
    with pytest.raises(ValueError, match=r"in the MLP of layer 1 and there only, got gpt_neox.layers.2.mlp"):
        check_place(copied, model, 1)
    with torch.no_grad():
        next(layers_of(copied)[0].parameters()).add_(1.0)
    with pytest.raises(ValueError, match=r"got gpt_neox.layers.0."):
        check_place(copied, model, 2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"share": 1.0}, "share must be above 0 and below 1, got 1.0"),
        ({"layers": (1,)}, r"layers must name at least 2 layers, each once, got \(1,\)"),
        ({"layers": (1, 1)}, r"layers must name at least 2 layers, each once, got \(1, 1\)"),
        ({"repeats": 0}, "repeats must be at least 1, got 0"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0, got 0.0"),
    ],
)
def test_settings_out_of_bounds_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        LateConfig(**settings)
