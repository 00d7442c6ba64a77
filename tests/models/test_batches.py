"""Facts about token batches; sentences are read back word by word."""

from collections import Counter

import numpy as np
import pytest
import torch

from behemoth_data import CorpusConfig, WorldConfig, build
from behemoth_data.lexicon import END, PADDING, LexiconConfig, Role
from behemoth_data.world import Edge
from behemoth_models.batches import batches, num_batches

REPEATS, UPWEIGHT = 3, 2
# (6 x 2 + 6 x 2 + 4 x 2 x UPWEIGHT) x REPEATS
SENTENCES = 120
ROLES = {
    Edge.SUBJECT_OBJECT: (Role.SUBJECT, Role.RELATION, Role.OBJECT),
    Edge.SUBJECT_NESTED: (Role.SUBJECT, Role.SUBJECT_NESTED_RELATION, Role.NESTED),
    Edge.OBJECT_NESTED: (Role.OBJECT, Role.OBJECT_NESTED_RELATION, Role.NESTED),
}


@pytest.fixture(scope="module")
def corpus():
    world = WorldConfig(num_subjects=6, num_relations=2, num_objects=4, num_nested_objects=2)
    # One-token limit 3: subjects and objects have two tokens, relations and nested objects one.
    return build(
        world, LexiconConfig(one_token_limit=3), CorpusConfig(repeats=REPEATS, object_nested_upweight=UPWEIGHT)
    )


def said(corpus, row):
    """The words after SS, RR and OO of a row that holds one whole sentence."""
    words = [corpus.grammar.lexicon.vocabulary[token] for token in row.tolist()]
    end = words.index(END)
    assert words[end - 1] == "."
    assert set(words[end + 1 :]) <= {PADDING}
    assert PADDING not in words[:end]
    parts, mark = {"SS": [], "RR": [], "OO": []}, None
    for word in words[: end - 1]:
        if word in parts:
            assert not parts[word], "a row must hold one sentence"
            mark = word
        elif word[0] in "WQF" and word[1:].isdigit():
            mark = None
        else:
            parts[mark].append(word)
    return tuple(" ".join(part) for part in parts.values())


def true_sentences(corpus):
    """(head word, relation word, tail word) -> edge, for every fact."""
    lexicon, found = corpus.grammar.lexicon, {}
    for edge, (head, relation, tail) in ROLES.items():
        for h, r, t in zip(*(ids.tolist() for ids in corpus.world.facts(edge)), strict=True):
            group = r if head is Role.OBJECT else 0
            found[lexicon.word(head, h, group), lexicon.word(relation, r), lexicon.word(tail, t, r)] = edge
    return found


def test_pass_states_every_fact_as_often_as_the_corpus_says(corpus):
    facts = true_sentences(corpus)
    seen = Counter(said(corpus, row) for batch in batches(corpus, 8) for row in batch)
    assert len(facts) == 12 + 12 + 8
    assert seen == {words: REPEATS * (UPWEIGHT if edge is Edge.OBJECT_NESTED else 1) for words, edge in facts.items()}


def test_row_is_the_sentence_at_its_place(corpus):
    for i, batch in enumerate(batches(corpus, 5)):
        assert batch.dtype == torch.int64
        assert batch.shape == (5, corpus.max_length)
        for row, place in zip(batch.numpy(), range(5 * i, 5 * i + 5), strict=True):
            np.testing.assert_array_equal(row, corpus.tokens(place)[0])


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_together_see_what_one_sees(corpus, processes):
    alone = list(batches(corpus, 6))
    shares = [list(batches(corpus, 6, process, processes)) for process in range(processes)]
    assert len(alone) == 20
    for batch, *parts in zip(alone, *shares, strict=True):
        assert [len(part) for part in parts] == [6 // processes] * processes
        assert sorted(map(tuple, batch.tolist())) == sorted(row for part in parts for row in map(tuple, part.tolist()))
    assert not torch.equal(shares[0][0], shares[1][0])


def test_start_skips_the_batches_before_it(corpus):
    whole, rest = list(batches(corpus, 8)), list(batches(corpus, 8, start=11))
    assert (len(whole), len(rest)) == (15, 4)
    for a, b in zip(whole[11:], rest, strict=True):
        assert torch.equal(a, b)
    assert list(batches(corpus, 8, start=15)) == []


@pytest.mark.parametrize(("batch_size", "count"), [(1, 120), (7, 17), (8, 15), (120, 1)])
def test_sentences_that_fill_no_batch_are_left_out(corpus, batch_size, count):
    assert len(corpus) == SENTENCES
    assert num_batches(corpus, batch_size) == count
    assert sum(1 for _ in batches(corpus, batch_size)) == count


@pytest.mark.parametrize("batch_size", [0, 121])
def test_batch_that_the_corpus_cannot_fill_is_refused(corpus, batch_size):
    with pytest.raises(ValueError, match=f"batch_size must lie between 1 and .* 120 sentences, got {batch_size}"):
        num_batches(corpus, batch_size)


def test_batch_that_processes_cannot_share_evenly_is_refused(corpus):
    with pytest.raises(ValueError, match="batch_size must be a multiple of the 2 processes, got 9"):
        next(batches(corpus, 9, 0, 2))
