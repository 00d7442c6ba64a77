"""Facts about the tokenizer: the ids are the grammar's, and transformers alone loads it again.

Tokenizers that cut words into pieces keep prompts whole as well. The hypothesis test at the end holds for any
small world and corpus, or its config is refused.
"""

import dataclasses
import itertools
import json
import os
import re
import shutil
import subprocess
import sys

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import event, given, settings
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from behemoth_data.corpus import CorpusConfig, build
from behemoth_data.forms import ends_in_object
from behemoth_data.lexicon import LexiconConfig
from behemoth_data.tables import SentenceTables
from behemoth_data.tokenizer import build_tokenizer
from behemoth_data.world import Edge, Fact, WorldConfig

WORLD = WorldConfig(num_subjects=25, num_relations=3, num_objects=12, num_nested_objects=4)
SYNTHETIC, NATURAL = LexiconConfig(one_token_limit=5), LexiconConfig(surface="natural")
PLAIN = CorpusConfig(repeats=1, inversion_forms=("sor", "osr", "rso"), question_fraction=0.2)
# Every lexicon, with every grammar that it is told in.
CORPORA = {
    "synthetic": (SYNTHETIC, PLAIN),
    "synthetic_repeats": (SYNTHETIC, CorpusConfig(repeats=2, grammar="repeats")),
    "synthetic_nonsense": (SYNTHETIC, CorpusConfig(repeats=2, grammar="nonsense")),
    "natural": (NATURAL, PLAIN),
    "natural_repeats": (NATURAL, CorpusConfig(repeats=2, grammar="repeats")),
    "natural_nonsense": (NATURAL, CorpusConfig(repeats=2, grammar="nonsense")),
}
WITH_PROMPT = ("statement", "rso", "question", "new_question", "refusal", "question_refusal", "repeats")
NONSENSE = ("nonsense", "nonsense_rso")
WITHOUT_PROMPT = ("sor", "osr")
END, PADDING = 0, 1

LOAD = """
import json, sys
from transformers import AutoTokenizer
request = json.load(sys.stdin)
answer = []
for folder, texts in request:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    answer.append({
        "ids": tokenizer(texts)["input_ids"],
        "special": [tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token, tokenizer.unk_token],
        "returned": sorted(tokenizer(texts)),
        "padded": tokenizer(texts[:1] + ["."], padding=True)["attention_mask"][1],
        "texts": tokenizer.batch_decode(tokenizer(texts)["input_ids"]),
    })
ours = [name for name in sys.modules if name.startswith("behemoth")]
print(json.dumps({"answers": answer, "ours": ours}))
"""


@pytest.fixture(scope="module", params=CORPORA)
def corpus(request):
    return build(WORLD, *CORPORA[request.param])


@pytest.fixture(scope="module")
def tokenizer(corpus):
    return build_tokenizer(corpus.grammar.lexicon)


def said(corpus):
    """Text and token ids of every sentence of the corpus; the ids are those of its blocks, less the padding."""
    block = corpus.block(0, len(corpus))
    texts = corpus.grammar.text(block).to_pylist()
    rows = [row[: row.index(PADDING)] if PADDING in row else row for row in block.tolist()]
    return list(zip(texts, rows, strict=True))


def forms(corpus):
    """All forms that the corpus's grammar can say."""
    return (*WITH_PROMPT, *WITHOUT_PROMPT, *(NONSENSE if corpus.config.grammar == "nonsense" else ()))


def prompts(corpus):
    """The texts of all facts in every form that has a prompt, and those prompts and their answers [n] each."""
    grammar, texts, queries = corpus.grammar, [], []
    asked = [form for form in forms(corpus) if form not in WITHOUT_PROMPT]
    for edge, form in itertools.product(corpus.world.edges, asked):
        ids = corpus.world.facts(edge)
        texts += grammar.text(grammar.tokens(edge, form, *ids)[:, :-1]).to_pylist()
        queries += grammar.queries([Fact(edge, *row) for row in np.transpose(ids).tolist()], form)
    return texts, queries


def test_text_becomes_the_corpus_s_ids_and_ids_the_text(corpus, tokenizer):
    texts, ids = map(list, zip(*said(corpus), strict=True))
    assert len(texts) == len(corpus)
    assert all(text.endswith(" <|endoftext|>") for text in texts)
    assert tokenizer(texts)["input_ids"] == ids
    assert tokenizer.batch_decode(ids) == texts
    plain = [text.removesuffix(" <|endoftext|>") for text in texts]
    assert tokenizer(plain)["input_ids"] == [row[:-1] for row in ids]
    assert tokenizer.batch_decode([row[:-1] for row in ids]) == plain
    assert tokenizer.batch_decode(ids, skip_special_tokens=True) == plain


def test_published_rows_become_the_corpus_s_ids_and_their_prompts_begin_them(corpus, tokenizer):
    rows = SentenceTables(corpus).table(0, len(corpus)).to_pylist()
    sentences = [ids[:-1] for _, ids in said(corpus)]
    assert tokenizer([row["text"] for row in rows])["input_ids"] == sentences
    assert all((row["prompt"] is None) == (row["form"] in WITHOUT_PROMPT) for row in rows)
    asked = [(row, ids) for row, ids in zip(rows, sentences, strict=True) if row["prompt"] is not None]
    prompts = tokenizer([row["prompt"] for row, _ in asked])["input_ids"]
    answers = tokenizer([row["answer"] for row, _ in asked])["input_ids"]
    for (row, ids), prompt, answer in zip(asked, prompts, answers, strict=True):
        assert ids[: len(prompt) + len(answer)] == prompt + answer
        assert row["text"].startswith(f"{row['prompt']} {row['answer']}")


def test_every_form_of_every_table_survives_text_and_back(corpus, tokenizer):
    grammar = corpus.grammar
    for edge, form in itertools.product(corpus.world.edges, forms(corpus)):
        block = grammar.tokens(edge, form, *corpus.world.facts(edge))
        texts = grammar.text(block).to_pylist()
        assert tokenizer(texts)["input_ids"] == block.tolist()
        assert tokenizer.batch_decode(block) == texts


def test_prompts_are_prefixes_of_their_sentences_in_tokens(corpus, tokenizer):
    texts, queries = prompts(corpus)
    prompt_ids = [list(query.prompt_ids) for query in queries]
    answer_ids = [list(query.answer_ids) for query in queries]
    assert tokenizer([query.prompt for query in queries])["input_ids"] == prompt_ids
    assert tokenizer([query.answer for query in queries])["input_ids"] == answer_ids
    assert tokenizer.batch_decode(prompt_ids) == [query.prompt for query in queries]
    assert tokenizer.batch_decode(answer_ids) == [query.answer for query in queries]
    for whole, prompt, answer in zip(tokenizer(texts)["input_ids"], prompt_ids, answer_ids, strict=True):
        assert whole[: len(prompt) + len(answer)] == prompt + answer


def test_nothing_is_added_to_a_text(tokenizer):
    assert tokenizer(". .")["input_ids"] == tokenizer.convert_tokens_to_ids([".", "."])
    assert tokenizer("")["input_ids"] == []


def test_word_that_the_world_does_not_have_is_unknown(tokenizer):
    ids = tokenizer("Xyzzy .")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["<|unknown|>", "."]


def test_vocabulary_is_the_lexicons(corpus, tokenizer):
    assert tokenizer.get_vocab() == corpus.grammar.lexicon.token_ids
    assert len(tokenizer) == len(corpus.grammar.lexicon.vocabulary)


def test_special_tokens_are_the_lexicons(tokenizer):
    special = [tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token, tokenizer.unk_token]
    assert special == ["<|endoftext|>", "<|endoftext|>", "<|padding|>", "<|unknown|>"]
    assert [tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id] == [END, PADDING, 2]


def test_shorter_texts_are_padded_on_the_left_where_no_answer_follows(tokenizer):
    rows = tokenizer([". . .", "."], padding=True)
    assert rows["input_ids"][1] == [PADDING, PADDING, tokenizer.convert_tokens_to_ids(".")]
    assert rows["attention_mask"][1] == [0, 0, 1]


def test_nothing_but_ids_and_mask_is_returned(tokenizer):
    assert sorted(tokenizer(". .")) == ["attention_mask", "input_ids"]


@pytest.mark.slow
def test_saved_tokenizer_loads_offline_without_our_code_even_beside_a_gpt_neox_config(tmp_path):
    folders, expected = [], []
    for name, (lexicon, config) in CORPORA.items():
        corpus = build(WORLD, lexicon, config)
        alone, beside = tmp_path / name / "alone", tmp_path / name / "beside"
        build_tokenizer(corpus.grammar.lexicon).save_pretrained(alone)
        shutil.copytree(alone, beside)
        (beside / "config.json").write_text(
            json.dumps({"model_type": "gpt_neox", "architectures": ["GPTNeoXForCausalLM"], "vocab_size": 50304})
        )
        folders += [alone, beside]
        expected += [said(corpus)[:40]] * 2
    request = [
        (str(folder), [text for text, _ in sentences]) for folder, sentences in zip(folders, expected, strict=True)
    ]
    done = subprocess.run(
        [sys.executable, "-c", LOAD],
        input=json.dumps(request),
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["ours"] == []
    for answer, sentences in zip(found["answers"], expected, strict=True):
        assert answer["ids"] == [ids for _, ids in sentences]
        assert answer["texts"] == [text for text, _ in sentences]
        assert answer["special"] == ["<|endoftext|>", "<|endoftext|>", "<|padding|>", "<|unknown|>"]
        assert answer["padded"] == [0] * (len(sentences[0][1]) - 1) + [1]
        assert answer["returned"] == ["attention_mask", "input_ids"]


def byte_level_bpe(texts):
    """As GPT-2, GPT-NeoX and Pythia cut text: any bytes, and a word takes the space before it along."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def word_piece(texts):
    """As BERT cuts text."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=["[UNK]"], show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def unigram(texts):
    """As T5, and all that were made by SentencePiece, cut text: a space begins a word."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=400, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


@pytest.mark.parametrize("train", [byte_level_bpe, word_piece, unigram])
@pytest.mark.parametrize("name", ["synthetic_nonsense", "natural_nonsense"])
def test_prompts_are_prefixes_of_their_sentences_for_tokenizers_of_word_pieces(name, train):
    corpus = build(WORLD, *CORPORA[name])
    texts, queries = prompts(corpus)
    other = train(texts[::2])
    pieces = other.encode_batch([query.answer for query in queries])
    assert any(len(answer.ids) > len(query.answer_ids) for answer, query in zip(pieces, queries, strict=True))
    wholes, starts = other.encode_batch(texts), other.encode_batch([query.prompt for query in queries])
    for whole, start, query in zip(wholes, starts, queries, strict=True):
        assert whole.ids[: len(start)] == start.ids
        assert other.decode(whole.ids[len(start) :]).strip().startswith(query.answer)


worlds = st.fixed_dictionaries(
    {
        "num_subjects": st.integers(1, 9),
        "num_relations": st.integers(1, 4),
        "num_objects": st.sampled_from([2, 3, 4, 6, 8, 12]),
        "seed": st.integers(-(2**70), 2**70),
    },
    optional={
        "correlation": st.floats(0.3, 1),
        "binary_first": st.booleans(),
        "num_nested_objects": st.sampled_from([0, 2, 3, 4]),
        "minority_fraction": st.just(0.0) | st.floats(0, 1),
    },
)
corpora = st.fixed_dictionaries(
    {},
    optional={
        "repeats": st.integers(1, 3),
        "inversion_fraction": st.floats(0, 1),
        "inversion_forms": st.just(["rso"]) | st.lists(st.sampled_from(["sor", "osr", "rso"]), min_size=1, unique=True),
        "question_fraction": st.floats(0, 0.4),
        "question_subject_fraction": st.floats(0.3, 1),
        "object_nested_upweight": st.integers(1, 3),
        "minority_share": st.floats(0, 1),
        "order_seed": st.integers(-3, 3),
    },
)
out_of_bounds = st.sampled_from(
    [
        *(("num_subjects", 0), ("num_relations", 0), ("num_objects", 1), ("num_nested_objects", 1)),
        *(("correlation", 0.0), ("correlation", 1.1), ("minority_fraction", 1.1), ("minority_fraction", -0.1)),
        *(("repeats", 0), ("grammar", "poem"), ("question_fraction", 1.0), ("inversion_fraction", 1.1)),
        *(("object_nested_upweight", 0), ("minority_share", -0.1)),
    ]
)


@pytest.mark.parametrize("grammar", ["statement", "repeats", "nonsense"])
@pytest.mark.parametrize("surface", ["synthetic", "natural"])
@settings(max_examples=15, deadline=None, derandomize=True, database=None)
@given(world=worlds, corpus=corpora, limit=st.integers(2, 9), bad=st.none() | st.none() | out_of_bounds)
def test_config_is_refused_with_field_and_value_or_its_prompts_are_prefixes(
    surface, grammar, world, corpus, limit, bad
):
    corpus = {"grammar": grammar, **corpus}
    fields = {field.name for field in dataclasses.fields(CorpusConfig)}
    if bad is not None:
        (corpus if bad[0] in fields else world).update([bad])
    try:
        lexicon = LexiconConfig(surface=surface, one_token_limit=limit)
        made = build(WorldConfig(**world), lexicon, CorpusConfig(**corpus))
        said = ""
    except ValueError as refusal:
        said = str(refusal)
    if said:
        event("refused")
        assert re.match(f"({'|'.join([*world, *fields])}) .*, got ", said)
        return
    event("made")
    assert bad is None
    tokenizer = build_tokenizer(made.grammar.lexicon)
    last = min(len(made), 40)
    ids = made.block(0, last).tolist()
    for i, row in enumerate(SentenceTables(made).table(0, last).to_pylist()):
        whole = tokenizer(row["text"])["input_ids"]
        assert whole == ids[i][: len(whole)]
        assert ids[i][len(whole) :] == [END] + [PADDING] * (made.max_length - len(whole) - 1)
        assert tokenizer.unk_token_id not in whole
        assert tokenizer.decode(whole) == row["text"]
        assert (row["prompt"] is not None) == ends_in_object(row["form"])
        if row["prompt"] is not None:
            prompt, answer = (tokenizer(row[part])["input_ids"] for part in ("prompt", "answer"))
            assert row["text"].startswith(f"{row['prompt']} {row['answer']}")
            assert whole[: len(prompt) + len(answer)] == prompt + answer
        if row["form"] in ("statement", "rso", "question"):
            fact = Fact(Edge(row["edge"]), row["subject"], row["relation"], row["object"])
            query = made.grammar.query(fact, row["form"])
            assert [*query.prompt_ids, *query.answer_ids] == whole[:-1]
