"""Facts about the tokenizer: the ids are the grammar's, and transformers alone loads it again.

The hypothesis test at the end holds for any small world and corpus, or its config is refused.
"""

import dataclasses
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

from behemoth_data.corpus import CorpusConfig, build
from behemoth_data.grammar import ends_in_object
from behemoth_data.lexicon import LexiconConfig
from behemoth_data.tokenizer import build_tokenizer
from behemoth_data.world import WorldConfig

WITH_PROMPT = ("statement", "rso", "question", "new_question")

LOAD = """
import json, sys
from transformers import AutoTokenizer
request = json.load(sys.stdin)
answer = []
for folder in request["folders"]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    answer.append({
        "ids": tokenizer(request["texts"])["input_ids"],
        "special": [tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token, tokenizer.unk_token],
        "padded": tokenizer(request["texts"][:2] + ["."], padding=True)["attention_mask"][2],
        "texts": tokenizer.batch_decode(tokenizer(request["texts"])["input_ids"]),
    })
ours = [name for name in sys.modules if name.startswith("behemoth")]
print(json.dumps({"answers": answer, "ours": ours}))
"""


@pytest.fixture(scope="module")
def corpus():
    return build(
        WorldConfig(num_subjects=25, num_relations=3, num_objects=12, num_nested_objects=4),
        LexiconConfig(one_token_limit=5),
        CorpusConfig(repeats=1, inversion_forms=("sor", "osr", "rso")),
    )


@pytest.fixture(scope="module")
def tokenizer(corpus):
    return build_tokenizer(corpus.grammar.lexicon)


@pytest.fixture(scope="module")
def sentences(corpus):
    """Text and token ids of every sentence of the corpus."""
    block = corpus.block(0, len(corpus))
    return [(corpus.grammar.text(row[None]).to_pylist()[0], row.tolist()) for row in block]


def test_text_becomes_the_grammars_ids_and_ids_the_text(tokenizer, sentences):
    for text, ids in sentences:
        assert tokenizer(text)["input_ids"] == ids
        assert tokenizer.decode(ids) == text


def test_nothing_is_added_to_a_text(tokenizer):
    assert tokenizer("SS .")["input_ids"] == tokenizer.convert_tokens_to_ids(["SS", "."])
    assert tokenizer("")["input_ids"] == []


def test_prompts_are_prefixes_of_their_sentences_in_tokens(corpus, tokenizer):
    grammar = corpus.grammar
    for edge in corpus.world.edges:
        for form in WITH_PROMPT:
            facts = corpus.world.facts(edge)
            texts = grammar.text(grammar.tokens(edge, form, *facts)).to_pylist()
            queries = grammar.queries([corpus.world.fact(edge, h, r) for h, r in zip(*facts[:2], strict=True)], form)
            for text, query in zip(texts, queries, strict=True):
                prompt, answer = (tokenizer(part)["input_ids"] for part in (query.prompt, query.answer))
                assert (prompt, answer) == (list(query.prompt_ids), list(query.answer_ids))
                whole = tokenizer(text)["input_ids"]
                assert whole[: len(prompt) + len(answer)] == prompt + answer


def test_word_that_the_world_does_not_have_is_unknown(tokenizer):
    ids = tokenizer("SS Springfield .")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["SS", "<|unknown|>", "."]


def test_vocabulary_is_the_lexicons(corpus, tokenizer):
    assert tokenizer.get_vocab() == corpus.grammar.lexicon.token_ids
    assert len(tokenizer) == len(corpus.grammar.lexicon.vocabulary)


def test_special_tokens_are_the_lexicons(tokenizer):
    special = [tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token, tokenizer.unk_token]
    assert special == ["<|endoftext|>", "<|endoftext|>", "<|padding|>", "<|unknown|>"]
    assert [tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id] == [0, 1, 2]


def test_shorter_texts_are_padded_on_the_right(tokenizer):
    rows = tokenizer(["SS SS .", "."], padding=True)
    dot = tokenizer.convert_tokens_to_ids(".")
    assert rows["input_ids"][1] == [dot, 1, 1]
    assert rows["attention_mask"][1] == [1, 0, 0]


def test_saved_tokenizer_loads_offline_without_our_code_even_beside_a_gpt_neox_config(tokenizer, sentences, tmp_path):
    alone, beside = tmp_path / "alone", tmp_path / "beside"
    tokenizer.save_pretrained(alone)
    shutil.copytree(alone, beside)
    (beside / "config.json").write_text(
        json.dumps({"model_type": "gpt_neox", "architectures": ["GPTNeoXForCausalLM"], "vocab_size": 50304})
    )
    texts = [text for text, _ in sentences[:40]]
    done = subprocess.run(
        [sys.executable, "-c", LOAD],
        input=json.dumps({"folders": [str(alone), str(beside)], "texts": texts}),
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["ours"] == []
    for answer in found["answers"]:
        assert answer["ids"] == [ids for _, ids in sentences[:40]]
        assert answer["texts"] == texts
        assert answer["special"] == ["<|endoftext|>", "<|endoftext|>", "<|padding|>", "<|unknown|>"]
        assert answer["padded"] == [1] + [0] * (len(sentences[0][1]) - 1)


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
        "inversion_forms": st.lists(st.sampled_from(["sor", "osr", "rso"]), min_size=1, unique=True),
        "object_nested_upweight": st.integers(1, 3),
        "minority_share": st.floats(0, 1),
        "order_seed": st.integers(-3, 3),
    },
)
out_of_bounds = st.sampled_from(
    [
        *(("num_subjects", 0), ("num_relations", 0), ("num_objects", 1), ("num_nested_objects", 1)),
        *(("correlation", 0.0), ("correlation", 1.1), ("minority_fraction", 1.1), ("minority_fraction", -0.1)),
        *(("repeats", 0), ("inversion_fraction", 1.1), ("object_nested_upweight", 0), ("minority_share", -0.1)),
    ]
)


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(world=worlds, corpus=corpora, limit=st.integers(2, 9), bad=st.none() | st.none() | out_of_bounds)
def test_config_is_refused_with_field_and_value_or_its_prompts_are_prefixes(world, corpus, limit, bad):
    if bad is not None:
        (corpus if bad[0] in {field.name for field in dataclasses.fields(CorpusConfig)} else world).update([bad])
    try:
        made = build(WorldConfig(**world), LexiconConfig(one_token_limit=limit), CorpusConfig(**corpus))
        said = ""
    except ValueError as refusal:
        said = str(refusal)
    if said:
        event("refused")
        assert re.match(f"({'|'.join([*world, *corpus])}) .*, got ", said)
        return
    event("made")
    assert bad is None
    tokenizer = build_tokenizer(made.grammar.lexicon)
    last = min(len(made), 40)
    block = made.sentences(np.arange(last))
    texts = made.grammar.text(made.block(0, last)).to_pylist()
    for i, text in enumerate(texts):
        words = text.replace(" <|padding|>", "").split()
        assert words[-1] == "<|endoftext|>"
        assert tokenizer.unk_token_id not in tokenizer(text)["input_ids"]
        form = made.forms[block.forms[i]]
        if ends_in_object(form):
            fact = made.world.fact(made.world.edges[block.edges[i]], block.heads[i], block.relations[i])
            query = made.grammar.query(fact, form, int(block.tails[i]))
            assert words[:-2] == [*query.prompt.split(), *query.answer.split()]
            assert tokenizer(text)["input_ids"][: len(query.prompt_ids)] == list(query.prompt_ids)
