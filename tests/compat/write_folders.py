"""Writes model folders, and beside each what any version of transformers must find in it.

FOLDER gets `natural`, a trained world of English names, and `rotary`, one of invented words of one and two tokens
whose rotary settings are no version's defaults. NAME.safetensors has the prompts as text and as the grammar's own
tokens, the logits at each of those, and the answers, all worked out one prompt at a time, without a tokenizer,
padding or a cache.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from behemoth_data import CorpusConfig, LexiconConfig, WorldConfig, build
from behemoth_data.forms import ends_in_object
from behemoth_data.readable import make_readable
from behemoth_data.tokenizer import build_tokenizer
from behemoth_models.config import TrainConfig
from behemoth_models.training import train

NUM_PROMPTS, ANSWER_TOKENS = 200, 3
WORLD = WorldConfig(num_subjects=40, num_relations=3, num_objects=20, num_nested_objects=5)
CORPUS = CorpusConfig(repeats=10, question_fraction=0.2)
RECIPE = TrainConfig(size="14m", batch_size=64, learning_rate=1e-2, measurements=1, precision="fp32", max_steps=30)
ROTARY = {"rope_type": "default", "rope_theta": 50.0, "partial_rotary_factor": 0.75}


def main(output):
    corpus = build(WORLD, LexiconConfig(surface="natural"), CORPUS)
    train(corpus, RECIPE, output / "natural", progress=False)
    expect(output / "natural", corpus)

    # Objects have one token, subjects two. Training has no rotary settings, so that other ones are given afterwards.
    corpus = build(WORLD, LexiconConfig(one_token_limit=WORLD.num_objects), CORPUS)
    train(corpus, RECIPE, output / "trained", progress=False)
    load(output / "trained", ROTARY).save_pretrained(output / "rotary")
    build_tokenizer(corpus.grammar.lexicon).save_pretrained(output / "rotary")
    make_readable(output / "rotary")
    expect(output / "rotary", corpus, ROTARY)


def load(folder, rotary):
    config = GPTNeoXConfig.from_pretrained(folder, **({} if rotary is None else {"rope_parameters": rotary}))
    return GPTNeoXForCausalLM.from_pretrained(folder, config=config).eval()


def expect(folder, corpus, rotary=None):
    """Writes what is to be found in a folder, from its weights alone: rotary settings are given, not read."""
    model, queries = load(folder, rotary), prompts(corpus)
    logits, answers = [], []
    with torch.inference_mode():
        for query in queries:
            logits.append(model(torch.tensor([query.prompt_ids]), use_cache=False).logits[0])
            answers.append(greedy(model, query.prompt_ids, corpus.grammar.end_id))
    save_file(
        {
            "lengths": torch.tensor([len(query.prompt_ids) for query in queries]),
            "ids": torch.tensor([token for query in queries for token in query.prompt_ids]),
            "logits": torch.cat(logits),
            "answers": torch.tensor(answers),
        },
        folder.with_suffix(".safetensors"),
        metadata={"prompts": json.dumps([query.prompt for query in queries])},
    )


def prompts(corpus):
    """So many of all prompts of the world, of every table and form."""
    world, grammar = corpus.world, corpus.grammar
    forms = [form for form in corpus.forms if ends_in_object(form)]
    facts = [
        world.fact(edge, head, relation)
        for edge in world.edges
        for relation in range(world.config.num_relations)
        for head in range(world.num_facts(edge) // world.config.num_relations)
    ]
    every = [grammar.query(fact, form) for fact in facts for form in forms]
    return [every[place * len(every) // NUM_PROMPTS] for place in range(NUM_PROMPTS)]


def greedy(model, prompt, end):
    """The tokens after the prompt, padded after the end."""
    ids = list(prompt)
    for _ in range(ANSWER_TOKENS):
        ended = end in ids[len(prompt) :]
        ids.append(model.config.pad_token_id if ended else int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[len(prompt) :]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
