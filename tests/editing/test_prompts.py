"""Facts about tasks in plain words: every method edits a GPT-NeoX that no world of ours was taught to."""

import dataclasses

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

from behemoth_editing import METHODS
from behemoth_editing.prompts import Request, task_of
from behemoth_models.knowledge import weights_digest

SENTENCES = [
    f"The capital of {country} is {city}."
    for country, city in [("France", "Paris"), ("Italy", "Rome"), ("Peru", "Lima"), ("Japan", "Tokyo")]
] + ["The language of France is French.", "Tokyo is large."]
PEOPLE = Request(
    prompt="The capital of France is",
    subject="France",
    new=" Rome",
    original=" Paris",
    same_subject=(("The language of France is", " French"),),
)
RETAIN = [("The capital of Italy is", " Rome"), ("The capital of Peru is", " Lima")]


@pytest.fixture(scope="module")
def tokenizer():
    """Byte pairs learned from the sentences themselves, so that words have one or several tokens."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        SENTENCES, trainers.BpeTrainer(vocab_size=310, initial_alphabet=alphabet, special_tokens=["<|endoftext|>"])
    )
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|endoftext|>")


@pytest.fixture(scope="module")
def plain():
    """A GPT-NeoX of three layers with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = GPTNeoXConfig(
            vocab_size=320, hidden_size=32, num_hidden_layers=4, num_attention_heads=2, intermediate_size=64
        )
        return GPTNeoXForCausalLM(config).eval()


@pytest.fixture(scope="module")
def task(tokenizer):
    return task_of(tokenizer, [PEOPLE], retain=RETAIN, sentences=SENTENCES)


def test_prompts_and_answers_are_the_tokenizers_own_tokens(tokenizer, task):
    (request,), (original,), (refusal,) = task.requests, task.originals, task.refusals
    assert tokenizer.decode(request.prompt_ids + request.answer_ids) == "The capital of France is Rome"
    assert tokenizer.decode(original.prompt_ids + original.answer_ids) == "The capital of France is Paris"
    assert tokenizer.decode(refusal.answer_ids) == " unknown"
    assert [query.answer for query in task.retain["given"]] == [" Rome", " Lima"]
    assert [[query.answer for query in queries] for queries in task.same_subject] == [[" French"]]


def test_subject_ends_with_its_last_token(tokenizer, task):
    for (query,) in (task.requests, task.originals, task.refusals):
        assert tokenizer.decode(query.prompt_ids[: query.subject_end + 1]) == "The capital of France"


@pytest.mark.parametrize(
    ("prompt", "upto"),
    [
        ("The language of France is", "The language of France"),
        ("France speaks", "France"),
        ("In France they say that France speaks", "In France they say that France"),  # the last appearance
        ("France and the Francealia of", "France"),  # a word of its own comes before a part of another
        ("The Francealia are of", "The France"),
    ],
)
def test_subject_is_found_in_other_prompts_about_it(tokenizer, prompt, upto):
    task = task_of(tokenizer, [dataclasses.replace(PEOPLE, same_subject=((prompt, " French"),))])
    ((query,),) = task.same_subject
    assert tokenizer.decode(query.prompt_ids[: query.subject_end + 1]).startswith(upto)
    assert not tokenizer.decode(query.prompt_ids[: query.subject_end]).startswith(upto)


def test_subject_that_a_prompt_does_not_hold_is_missed_only_where_it_is_needed(plain, tokenizer):
    elsewhere = dataclasses.replace(PEOPLE, same_subject=(("Its language is", " French"),))
    task = task_of(tokenizer, [elsewhere], sentences=SENTENCES)
    assert task.same_subject[0][0].subject_end is None
    length = len(task.same_subject[0][0].prompt_ids)
    with pytest.raises(
        ValueError,
        match=rf"subject_end must lie in \[0, {length}\), the tokens of the prompt 'Its language is', for site "
        "subject_last, got None",
    ):
        METHODS["rome"](layer=1, steps=1, site="subject_last")(plain, task)
    METHODS["rome"](layer=1, steps=1, site="subject_last", kl_weight=0.0)(plain, task)
    METHODS["rome"](layer=1, steps=1, site="prompt_last")(plain, task)
    METHODS["memit"](layers=(1,), steps=1, site="subject_last", kl_weight=0.0)(plain, task)


@pytest.mark.parametrize("name", ["rome", "r_rome", "memit", "emmet", "alphaedit"])
@pytest.mark.parametrize("end", [None, -1, 99])
def test_subject_without_a_place_in_its_own_prompt_is_refused(plain, task, name, end):
    (request,) = task.requests
    lost = dataclasses.replace(task, requests=(dataclasses.replace(request, subject_end=end),))
    with pytest.raises(ValueError, match=rf"subject_end must lie in .* 'The capital of France is', .* got {end}"):
        METHODS[name](steps=1, site="subject_last")(plain, lost)


def test_background_is_every_sentence_with_its_end_once(tokenizer, task):
    rows = [tuple(row.tolist()) for block in task.background.blocks() for row in block]
    assert sorted(tokenizer.decode(row) for row in rows) == sorted(f"{text}<|endoftext|>" for text in SENTENCES)
    other = task_of(tokenizer, [PEOPLE], sentences=SENTENCES[1:])
    assert other.background.digest != task.background.digest


@pytest.mark.parametrize("name", sorted(name for name, method in METHODS.items() if "world" not in method.reads))
def test_every_method_edits_a_model_that_is_not_ours(name, plain, task):
    fields = {field.name for field in dataclasses.fields(METHODS[name])}
    few = {limit: 3 for limit in ("max_steps", "steps") if limit in fields}
    few |= {"max_loss": 20.0} if "max_loss" in fields else {}  # random weights find everything unlikely
    few |= {"layers": (1, 2)} if name == "ultraedit" else {}  # whose own are the last of six, and here are four
    before = weights_digest(plain)
    prompt = task.requests[0].prompt_ids
    with torch.no_grad():
        said = int(plain(torch.tensor([prompt])).logits[0, -1].argmax())
    # What the model says now is what is to be forgotten: of another answer there would be nothing to forget.
    given = dataclasses.replace(task.originals[0], answer_ids=(said,))
    edited = METHODS[name](**few)(plain, dataclasses.replace(task, originals=(given,))).model
    assert type(edited) is GPTNeoXForCausalLM
    assert weights_digest(edited) != before == weights_digest(plain)


def test_rome_writes_the_answer_it_is_given(plain, tokenizer):
    short = dataclasses.replace(PEOPLE, new=" of")  # one token
    task = task_of(tokenizer, [short], sentences=SENTENCES)
    assert len(task.requests[0].answer_ids) == 1
    edited = METHODS["rome"](layer=1, max_norm=40.0)(plain, task).model
    ids = torch.tensor([task.requests[0].prompt_ids])
    with torch.no_grad():
        assert int(edited(ids).logits[0, -1].argmax()) == task.requests[0].answer_ids[0]
        assert int(plain(ids).logits[0, -1].argmax()) != task.requests[0].answer_ids[0]


def llama_like(**tokens):
    """Pieces of words behind a mark for the space, which any text gets at its start, and a token before every text."""
    core = Tokenizer(models.BPE(unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    specials = ["<unk>", "<s>", "</s>"]
    core.train_from_iterator(SENTENCES, trainers.BpeTrainer(vocab_size=90, special_tokens=specials))
    core.pre_tokenizer = None
    core.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    core.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    core.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", unk_token="<unk>", **tokens)


@pytest.fixture(scope="module", params=["bytes", "pieces", "no end"])
def any_tokenizer(request, tokenizer):
    """Byte pairs as of GPT-2, pieces as of Llama, and these without a token that ends a text."""
    return {"bytes": tokenizer, "pieces": llama_like(eos_token="</s>"), "no end": llama_like()}[request.param]


def test_tokens_of_a_fact_are_those_of_its_text(any_tokenizer):
    task = task_of(any_tokenizer, [PEOPLE], retain=RETAIN)
    queries = (*task.requests, *task.originals, *task.retain["given"], *task.same_subject[0])
    for query in queries:
        assert [*query.prompt_ids, *query.answer_ids] == any_tokenizer(query.prompt + query.answer)["input_ids"]
        assert any_tokenizer.decode(query.answer_ids).strip() == query.answer.strip()
    first = any_tokenizer.bos_token_id
    assert [query.prompt_ids.count(first) for query in queries] == [int(first is not None)] * len(queries)
    (request,) = task.requests
    upto = any_tokenizer.decode(request.prompt_ids[: request.subject_end + 1], skip_special_tokens=True)
    assert upto == "The capital of France"


def test_token_that_a_prompt_brings_itself_is_not_put_before_it_again(tokenizer):
    opened = dataclasses.replace(PEOPLE, prompt=f"<|endoftext|>{PEOPLE.prompt}")
    (request,), (plain,) = (task_of(tokenizer, [each]).requests for each in (opened, PEOPLE))
    assert request.prompt_ids == (tokenizer.eos_token_id, *plain.prompt_ids)
    assert (request.answer_ids, request.subject_end) == (plain.answer_ids, plain.subject_end + 1)


def test_sentences_are_texts_that_end_where_texts_can_end(any_tokenizer):
    task = task_of(any_tokenizer, [PEOPLE], sentences=SENTENCES)
    texts, end = any_tokenizer(SENTENCES)["input_ids"], any_tokenizer.eos_token_id
    assert [[*context] for context in task.contexts] == [ids + ([] if end is None else [end]) for ids in texts]
    rows = [row.tolist() for block in task.background.blocks() for row in block]
    assert sorted(row[:-1] for row in rows) == sorted(texts)  # the last token is no key's


def test_answer_that_would_change_its_prompt_has_tokens_of_its_own(any_tokenizer):
    joined = dataclasses.replace(PEOPLE, prompt="The capital of France is Rom", new="e")
    (request,) = task_of(any_tokenizer, [joined]).requests
    assert list(request.prompt_ids) == any_tokenizer("The capital of France is Rom")["input_ids"]
    assert any_tokenizer.decode(request.answer_ids).strip() == "e"


@pytest.mark.parametrize("name", ["retrain", "omit"])
def test_training_anew_is_refused_without_a_world(name, plain, task):
    with pytest.raises(ValueError, match="model must carry its recipe in config.json"):
        METHODS[name]()(plain, task)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"subject": "Spain"}, "subject must be a part of its prompt 'The capital of France is', got 'Spain'"),
        ({"subject": ""}, "subject must be a part of its prompt"),
        ({"new": ""}, "answer must hold at least 1 token, got ''"),
        ({"prompt": "", "subject": ""}, "prompt must hold at least 1 token, got ''"),
    ],
)
def test_request_that_says_nothing_is_refused(tokenizer, change, message):
    with pytest.raises(ValueError, match=message):
        task_of(tokenizer, [dataclasses.replace(PEOPLE, **change)])


def test_statistics_of_no_sentences_are_refused(plain, tokenizer):
    with pytest.raises(ValueError, match="background must hold sentences"):
        METHODS["rome"](layer=1)(plain, task_of(tokenizer, [PEOPLE]))


def test_no_request_is_refused(tokenizer):
    with pytest.raises(ValueError, match="requests must hold at least 1 edit, got 0"):
        task_of(tokenizer, [])
