"""What is read in a model, against whole forward passes in float64 and hand-made cases."""

import json

import numpy as np
import pytest
import torch

from behemoth_data import CorpusConfig, LexiconConfig, WorldConfig, build
from behemoth_data.edits import EditConfig
from behemoth_editing.attacks.contract import Attacked, Look
from behemoth_editing.trial.readings import NUM_WRONG, Reading, read, strongest
from behemoth_editing.trial.telling import groups_of
from behemoth_models.sizes import pythia


@pytest.fixture(scope="module")
def groups():
    """Of a world whose objects have two words."""
    world = WorldConfig(num_subjects=60, num_relations=2, num_objects=12)
    corpus = build(world, LexiconConfig(one_token_limit=4), CorpusConfig(repeats=2))
    return groups_of(corpus, EditConfig(scenario="forget", forget_fraction=0.5, relation=0))


@pytest.fixture(scope="module")
def model(groups):
    """One that is not trained, and says of everything something."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = pythia("3m", len(groups.members.corpus.grammar.lexicon.token_ids), "eager").eval()
    for parameter in made.parameters():
        parameter.data *= 3
    return made


@pytest.fixture(scope="module")
def reading(model, groups):
    return read(model, groups)


def whole(model, query):
    """Log-probabilities [W, V] of the answer's places, from one pass over prompt and answer in float64."""
    ids = torch.tensor([[*query.prompt_ids, *query.answer_ids]])
    with torch.no_grad():
        logits = model.double()(ids).logits[0]
    model.float()
    return torch.log_softmax(logits, -1)[len(query.prompt_ids) - 1 : -1].numpy()


def test_numbers_are_those_of_a_whole_pass_over_prompt_and_answer(model, groups, reading):
    for place, query in enumerate(groups.members.originals):
        table = whole(model, query)
        own = table[np.arange(2), list(query.answer_ids)]
        hits = table.argmax(1) == query.answer_ids
        assert reading.probability[place] == pytest.approx(np.exp(own.mean()), rel=1e-4)
        assert reading.memorised[place] == hits.mean()
        assert reading.strength[place] == (1.0 if hits.all() else 0.5 if hits[1] else 0.0)
        assert reading.members["loss"][place] == pytest.approx(-own.mean(), rel=1e-4)
        assert reading.members["min_k"][place] == pytest.approx(-own.min(), rel=1e-4)
        mean = (np.exp(table) * table).sum(1)
        deviation = np.sqrt((np.exp(table) * table**2).sum(1) - mean**2)
        lowest = ((own - mean) / deviation).min()
        assert reading.members["min_k_plus_plus"][place] == pytest.approx(-lowest, rel=1e-3, abs=1e-4)


def test_truth_ratios_and_bits_are_those_of_all_candidates(model, groups, reading):
    task = groups.members
    grammar, places = task.corpus.grammar, {}
    for place, (edit, query) in enumerate(zip(task.edits, task.originals, strict=True)):
        words = grammar.answers(task.edge, 0, np.arange(12))
        losses = []
        for answer in words.tolist():
            table = whole(model, type(query)(query.prompt, "", query.prompt_ids, tuple(answer), query.subject_end))
            losses.append(table[np.arange(2), answer].sum())
        chances = np.exp(losses) / np.exp(losses).sum()
        assert reading.said[place] == pytest.approx(np.log2(12 * chances[edit.fact.tail]), abs=1e-3)
        # The geometric mean of the wrong answers' likelihood over the true one's, of NUM_WRONG of 11.
        apart = np.sort(np.delete(losses, edit.fact.tail) - losses[edit.fact.tail]) / 2
        places[place] = (apart[:NUM_WRONG].mean(), apart[-NUM_WRONG:].mean())
    for place, (least, most) in places.items():
        assert least - 1e-3 <= np.log(reading.ratios[place]) <= most + 1e-3


def test_generated_answers_are_counted_word_by_word(trained_groups, trained_reading):
    assert trained_reading.exact.mean() >= 0.9
    assert set(trained_reading.exact) <= {0.0, 1.0}
    np.testing.assert_array_equal(trained_reading.rouge, trained_reading.exact)  # of one word
    assert trained_reading.left.mean() > 3.0  # of log2(20) = 4.3, most of which the model knows
    assert set(trained_reading.inferable.round(4)) == {2.3219}  # 20 objects in 5 nested ones
    # All facts of this world were told, so that none is told from the other half.
    assert len(trained_reading.others["loss"]) == len(trained_groups.others)


@pytest.fixture(scope="module")
def trained_groups(checkpoint):
    return groups_of(checkpoint.corpus, EditConfig(scenario="forget", forget_fraction=0.5, relation=0))


@pytest.fixture(scope="module")
def trained_reading(checkpoint, trained_groups):
    return read(checkpoint.model, trained_groups)


def test_reading_that_is_written_is_read_again(reading):
    again = Reading.from_json(json.loads(json.dumps(reading.as_json(), allow_nan=False)))
    for name, found in vars(reading).items():
        pairs = (v.values() if isinstance(v, dict) else [v] for v in (found, getattr(again, name)))
        for mine, other in zip(*pairs, strict=True):
            np.testing.assert_allclose(other, mine, atol=5.1e-6)


def test_relearning_may_be_left_out(model, groups):
    assert not len(read(model, groups, relearn=False).relearned)


def test_step_is_chosen_for_each_half_by_the_other_half():
    def look(bits):
        return Look(0.0, np.zeros(4), np.array(bits, float), np.zeros(4))

    # Facts 0 and 2 are best at the second step, 1 and 3 at the first: each half is told at the other's.
    attacked = Attacked(np.arange(4), (look([0, 5, 0, 5]), look([3, 1, 3, 1])), {})
    assert strongest(attacked).tolist() == [0, 1, 0, 1]
    assert strongest(Attacked(np.arange(1), (look([0, 5, 0, 5]),), {})).tolist() == [0, 5, 0, 5]
