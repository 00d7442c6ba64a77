"""Facts about token batches; sentences are read back word by word."""

import itertools
from collections import Counter

import datasets
import numpy as np
import pytest
import torch

from behemoth_data import CorpusConfig, LexiconConfig, WorldConfig, build, load_dataset
from behemoth_data.lexicon import END, PADDING, Role
from behemoth_data.tables import sentence_table
from behemoth_data.world import Edge
from behemoth_models.batches import Feed, RowSentences, num_batches

REPEATS, UPWEIGHT = 3, 2
# (6 x 2 + 6 x 2 + 4 x 2 x UPWEIGHT) x REPEATS
SENTENCES = 120
NESTED = {"num_subjects": 6, "num_relations": 2, "num_objects": 4, "num_nested_objects": 2}
ROLES = {
    Edge.SUBJECT_OBJECT: (Role.SUBJECT, Role.RELATION, Role.OBJECT),
    Edge.SUBJECT_NESTED: (Role.SUBJECT, Role.SUBJECT_NESTED_RELATION, Role.NESTED),
    Edge.OBJECT_NESTED: (Role.OBJECT, Role.OBJECT_NESTED_RELATION, Role.NESTED),
}


@pytest.fixture(scope="module")
def corpus():
    # One-token limit 3: subjects and objects have two tokens, relations and nested objects one.
    return build(
        WorldConfig(**NESTED),
        LexiconConfig(one_token_limit=3),
        CorpusConfig(repeats=REPEATS, object_nested_upweight=UPWEIGHT),
    )


@pytest.fixture(scope="module")
def varied():
    """Sentences with up to six fillers, so that nearly every length differs."""
    return build(WorldConfig(**NESTED), corpus=CorpusConfig(repeats=REPEATS, grammar="repeats"))


def whole(feed):
    """Every part of every whole batch, one after the other."""
    return [part for step in range(num_batches(feed.corpus, feed.batch_size)) for part in feed.parts(step)[0]]


def bare(corpus, rows):
    """The rows without padding, which must not stand between words."""
    padding, kept = corpus.grammar.lexicon.token_ids[PADDING], []
    for row in rows.tolist():
        length = len(row) - row.count(padding)
        assert padding not in row[:length]
        kept.append(tuple(row[:length]))
    return kept


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
    seen = Counter(said(corpus, row) for part in whole(Feed(corpus, 8, num_parts=2)) for row in part)
    assert len(facts) == 12 + 12 + 8
    assert seen == {words: REPEATS * (UPWEIGHT if edge is Edge.OBJECT_NESTED else 1) for words, edge in facts.items()}


@pytest.mark.parametrize("name", ["corpus", "varied"])
def test_batch_is_the_sentences_at_its_places_by_length_and_then_in_order(request, name):
    corpus = request.getfixturevalue(name)
    feed = Feed(corpus, 20)
    for step in range(num_batches(corpus, 20)):
        places = list(range(20 * step, 20 * step + 20))
        assert feed.places(step).tolist() == places
        (rows,), _ = feed.parts(step)
        assert rows.dtype == torch.int64
        expected = sorted((bare(corpus, corpus.tokens(place))[0] for place in places), key=len)
        assert len({len(row) for row in expected}) > 1
        assert bare(corpus, rows) == expected


@pytest.mark.parametrize(("num_processes", "num_parts"), [(1, 1), (1, 4), (2, 1), (2, 3), (3, 2)])
@pytest.mark.parametrize("name", ["corpus", "varied"])
def test_processes_and_parts_together_see_exactly_the_batch(request, name, num_processes, num_parts):
    corpus = request.getfixturevalue(name)
    feeds = [
        Feed(corpus, 12, num_parts=num_parts, process_index=process, num_processes=num_processes)
        for process in range(num_processes)
    ]
    for step in range(num_batches(corpus, 12)):
        shares = [feed.parts(step)[0] for feed in feeds]
        assert [[len(part) for part in parts] for parts in shares] == [
            [12 // num_processes // num_parts] * num_parts
        ] * num_processes
        seen = [row for parts in shares for part in parts for row in bare(corpus, part)]
        assert Counter(seen) == Counter(bare(corpus, corpus.block(12 * step, 12 * step + 12)))


def test_process_takes_every_nth_row_of_a_batch(corpus):
    second = Feed(corpus, 12, process_index=1, num_processes=3)
    (rows,), _ = second.parts(2)
    assert Counter(bare(corpus, rows)) == Counter(bare(corpus, corpus.tokens([25, 28, 31, 34])))


def test_parts_are_ordered_by_length_and_no_wider_than_their_longest_sentence(varied):
    feed, narrower = Feed(varied, 24, num_parts=4), 0
    for step in range(4):
        parts, _ = feed.parts(step)
        lengths = [[len(row) for row in bare(varied, part)] for part in parts]
        assert [part.shape[1] for part in parts] == [max(part) for part in lengths]
        for shorter, longer in itertools.pairwise(lengths):
            assert max(shorter) <= min(longer)
        narrower += parts[0].shape[1] < parts[-1].shape[1]
    assert narrower == 4


@pytest.mark.parametrize("name", ["corpus", "varied"])
def test_predicted_tokens_are_counted_over_all_processes(request, name):
    corpus = request.getfixturevalue(name)
    for step in (0, 3):
        texts = sentence_table(corpus, 12 * step, 12 * step + 12)["text"].to_pylist()
        words = sum(len(text.split()) for text in texts)  # the first token is none of them, the end of text is one
        for process in range(2):
            assert Feed(corpus, 12, num_parts=3, process_index=process, num_processes=2).parts(step)[1] == words


@pytest.mark.parametrize("name", ["corpus", "varied"])
def test_batch_does_not_depend_on_the_batches_before_it(request, name):
    corpus = request.getfixturevalue(name)
    used = Feed(corpus, 8, num_parts=2)
    for step in (0, 1, 2, 9):
        used.parts(step)
    for ours, fresh in zip(used.parts(4)[0], Feed(corpus, 8, num_parts=2).parts(4)[0], strict=True):
        assert torch.equal(ours, fresh)


@pytest.mark.parametrize(("batch_size", "count"), [(1, 120), (7, 17), (8, 15), (120, 1)])
def test_sentences_that_fill_no_batch_are_left_out(corpus, batch_size, count):
    assert len(corpus) == SENTENCES
    assert num_batches(corpus, batch_size) == count


@pytest.mark.parametrize("batch_size", [0, 121])
@pytest.mark.parametrize("maker", [num_batches, Feed])
def test_batch_that_the_corpus_cannot_fill_is_refused(corpus, maker, batch_size):
    with pytest.raises(ValueError, match=f"batch_size must lie between 1 and .* 120 sentences, got {batch_size}"):
        maker(corpus, batch_size)


@pytest.mark.parametrize(("batch_size", "num_processes", "num_parts"), [(9, 2, 1), (9, 1, 2), (6, 2, 2)])
def test_batch_that_cannot_be_shared_evenly_is_refused(corpus, batch_size, num_processes, num_parts):
    message = (
        f"batch_size must be a multiple of {num_processes} processes x {num_parts} accumulation_steps, got {batch_size}"
    )
    with pytest.raises(ValueError, match=message):
        Feed(corpus, batch_size, num_parts=num_parts, num_processes=num_processes)


def rows_of(corpus):
    """The train split as `datasets` holds it."""
    return datasets.Dataset.from_dict(sentence_table(corpus, 0, len(corpus)).to_pydict())


def assert_same_batches(corpus, dataset):
    sentences = RowSentences(dataset, corpus)
    for process in range(2):
        shared = {"num_parts": 2, "process_index": process, "num_processes": 2}
        ours, theirs = Feed(corpus, 8, **shared), Feed(corpus, 8, **shared, sentences=sentences)
        for step in range(num_batches(corpus, 8)):
            (parts, count), (row_parts, row_count) = ours.parts(step), theirs.parts(step)
            assert count == row_count
            for part, row_part in zip(parts, row_parts, strict=True):
                assert part.dtype == row_part.dtype
                assert torch.equal(part, row_part)


@pytest.mark.parametrize("grammar", ["statement", "repeats", "nonsense"])
@pytest.mark.parametrize("surface", ["synthetic", "natural"])
def test_rows_of_the_dataset_give_the_same_batches_as_the_corpus(grammar, surface):
    config = CorpusConfig(repeats=2, grammar=grammar, question_fraction=0.2)
    corpus = build(WorldConfig(**NESTED), LexiconConfig(surface=surface, one_token_limit=3), config)
    assert_same_batches(corpus, rows_of(corpus))


def test_loaded_dataset_gives_the_same_batches_as_the_corpus(corpus, tmp_path):
    fields = {**NESTED, "one_token_limit": 3, "repeats": REPEATS, "object_nested_upweight": UPWEIGHT}
    assert_same_batches(corpus, load_dataset("nested", split="train", cache_dir=tmp_path, **fields))


def test_dataset_of_another_number_of_sentences_is_refused(corpus):
    with pytest.raises(ValueError, match="data must hold the corpus's 120 training sentences, got 119"):
        RowSentences(rows_of(corpus).select(range(119)), corpus)


def test_dataset_of_other_sentences_or_another_order_is_refused(corpus):
    rows = sentence_table(corpus, 0, len(corpus)).to_pydict()["text"]
    other = next(place for place in range(8, 120) if rows[place] != rows[7])
    rows[7] = rows[other]
    with pytest.raises(ValueError, match=r"data must hold the corpus's sentences in its order, got .* in row \[7\]"):
        RowSentences(datasets.Dataset.from_dict({"text": rows}), corpus)


def read_with(corpus, place, text):
    rows = sentence_table(corpus, 0, len(corpus)).to_pydict()["text"]
    rows[place] = text
    return RowSentences(datasets.Dataset.from_dict({"text": rows}), corpus).tokens(np.arange(len(corpus)))


@pytest.mark.parametrize("place", [0, 119])
def test_word_that_the_corpus_lacks_is_refused(corpus, place):
    with pytest.raises(
        ValueError, match=r"data must be in the words of the corpus, got \['Zorro'\] in 'SS Zorro W0 .'"
    ):
        read_with(corpus, place, "SS Zorro W0 .")


@pytest.mark.parametrize("place", [0, 119])
def test_sentence_longer_than_any_of_the_corpus_is_refused(corpus, place):
    with pytest.raises(ValueError, match="data must"):
        read_with(corpus, place, " ".join(["W0"] * corpus.max_length))


@pytest.mark.parametrize("name", ["corpus", "varied"])
def test_accelerator_gets_parts_of_the_same_shapes(request, name):
    corpus = request.getfixturevalue(name)
    here, there = Feed(corpus, 24, num_parts=3), Feed(corpus, 24, num_parts=3, device="meta")
    for step in range(4):
        (parts, count), (far_parts, far_count) = here.parts(step), there.parts(step)
        assert count == far_count
        assert [(part.shape, part.dtype) for part in parts] == [(part.shape, part.dtype) for part in far_parts]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", ["corpus", "varied"])
def test_accelerator_gets_the_same_rows(request, name):
    corpus = request.getfixturevalue(name)
    here, there = Feed(corpus, 24, num_parts=3), Feed(corpus, 24, num_parts=3, device="cuda")
    for step in range(4):
        for part, far in zip(here.parts(step)[0], there.parts(step)[0], strict=True):
            assert torch.equal(part, far.cpu())
