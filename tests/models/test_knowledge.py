"""Facts about what a model is taken to know, checked against generate() and fact by fact."""

import copy
import importlib
import itertools

import numpy as np
import pytest
import torch
from transformers import GenerationConfig

from behemoth_data import LexiconConfig, WorldConfig, build
from behemoth_data.world import Edge
from behemoth_models.batches import Feed
from behemoth_models.knowledge import (
    evaluating,
    greedy,
    greedy_answers,
    known_facts,
    recall,
    shared_prefixes,
    weights_digest,
    widened,
)
from behemoth_models.sizes import pythia


@pytest.fixture(scope="module")
def corpus():
    world = WorldConfig(num_subjects=9, num_relations=2, num_objects=6, num_nested_objects=2)
    return build(world, LexiconConfig(one_token_limit=4))  # objects have two tokens, nested objects one


@pytest.fixture(scope="module")
def untrained(corpus):
    with torch.random.fork_rng():
        torch.manual_seed(4)  # with these weights it says different things to different prompts
        model = pythia("14m", len(corpus.grammar.lexicon.vocabulary))
    model.train(False)
    return model


@pytest.fixture(scope="module")
def forgetful(checkpoint):
    """A copy of the trained model, with noise in its weights, that knows some of the facts."""
    model, noise = copy.deepcopy(checkpoint.model), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                spread = 0.4 * parameter.std()
                parameter += spread * torch.randn(parameter.shape, generator=noise)
    return model


def generated(model, prompts, width):
    """What transformers itself generates, without an end token to stop at."""
    config = GenerationConfig(do_sample=False, max_new_tokens=width, eos_token_id=None, pad_token_id=1)
    plain = copy.deepcopy(model)
    plain.generation_config = config
    return plain.generate(prompts, attention_mask=torch.ones_like(prompts))[:, prompts.shape[1] :]


@pytest.mark.parametrize(("edge", "width"), [(Edge.SUBJECT_OBJECT, 2), (Edge.SUBJECT_NESTED, 1)])
def test_greedy_equals_generate_on_an_untrained_model(corpus, untrained, edge, width):
    prompts = torch.from_numpy(corpus.grammar.tokens(edge, "statement", *corpus.world.facts(edge)))
    prompts = prompts[:, : corpus.grammar.answer_place(edge, "statement").start]
    answers = greedy(untrained, prompts, width)
    assert answers.shape == (len(prompts), width)
    assert torch.equal(answers, generated(untrained, prompts, width))
    assert len({tuple(answer) for answer in answers.tolist()}) > 1


def test_greedy_equals_generate_on_a_trained_model(checkpoint):
    corpus = checkpoint.corpus
    tokens = corpus.grammar.tokens(Edge.SUBJECT_OBJECT, "rso", *corpus.world.facts(Edge.SUBJECT_OBJECT))
    prompts = torch.from_numpy(tokens[:40, : corpus.grammar.answer_place(Edge.SUBJECT_OBJECT, "rso").start])
    assert torch.equal(greedy(checkpoint.model, prompts, 3), generated(checkpoint.model, prompts, 3))


def test_answers_keep_the_order_of_prompts_of_unequal_length(corpus, untrained):
    facts = [
        corpus.world.fact(edge, head, relation)
        for head in range(4)
        for relation in range(2)
        for edge in corpus.world.edges
    ]
    queries = [corpus.grammar.query(fact, form) for fact in facts for form in ("statement", "rso")]
    # Cut at the front, so that their lengths differ whatever the forms' lengths are.
    prompts = [query.prompt_ids[i % 3 :] for i, query in enumerate(queries)]
    widths = [len(query.answer_ids) for query in queries]
    assert len({len(prompt) for prompt in prompts}) > 1
    assert set(widths) == {1, 2}
    answers = greedy_answers(untrained, prompts, widths, batch_size=3)
    alone = [
        tuple(generated(untrained, torch.tensor([p]), w)[0].tolist()) for p, w in zip(prompts, widths, strict=True)
    ]
    assert answers == alone


def test_no_prompts_have_no_answers(untrained):
    assert greedy_answers(untrained, [], []) == []
    assert greedy(untrained, torch.empty((0, 4), dtype=torch.long), 2).shape == (0, 2)


@pytest.mark.parametrize(
    ("prompts", "call_tokens", "lengths"),
    [
        ([[1, 2, 3], [1, 2, 4]], 0, [2]),  # 2 + 2 tokens instead of 6
        ([[1, 2, 3], [1, 2, 4]], 2, []),  # 4 and a call are no fewer than 6
        ([[1, 2, 3], [4, 2, 3]], 0, []),  # nothing at the start is shared
        ([[1, 2, 3], [1, 5, 3], [1, 6, 3], [1, 6, 4]], 0, [1, 2]),  # 1 + 3 + 4 tokens instead of 12
        ([[1, 2, 3], [1, 5, 3], [1, 6, 3], [1, 6, 4]], 2, [1]),  # 1 + 8 and a call; with a second call as many
        ([[7, 7, 7]], 0, []),
        ([[5, 5], [5, 5]], 0, [1]),  # the last token is computed for every prompt
    ],
)
def test_prefixes_that_are_shared_leave_the_fewest_tokens(prompts, call_tokens, lengths):
    found = shared_prefixes(np.array(prompts), call_tokens)
    assert [length for length, _, _ in found] == lengths
    for length, first, groups in found:
        assert [prompts[first[group]][:length] for group in groups] == [prompt[:length] for prompt in prompts]
        assert len(first) == len({tuple(prompt[:length]) for prompt in prompts})


def test_no_choice_of_prefixes_leaves_fewer_tokens():
    random = np.random.default_rng(0)
    for _ in range(30):
        prompts, call_tokens = random.integers(3, size=(20, 6)), int(random.integers(12))

        def cost(lengths, prompts=prompts, call_tokens=call_tokens):
            ends = [0, *lengths, 6]
            rows = [len({tuple(prompt[:length]) for prompt in prompts.tolist()}) for length in lengths] + [20]
            steps = zip(rows, ends[1:], ends, strict=False)
            return sum(number * (end - start) for number, end, start in steps) + call_tokens * len(lengths)

        choices = [lengths for number in range(6) for lengths in itertools.combinations(range(1, 6), number)]
        found = [length for length, _, _ in shared_prefixes(prompts, call_tokens)]
        assert cost(found) == min(map(cost, choices))


@pytest.mark.parametrize("width", [1, 3])
def test_answers_to_prompts_that_start_alike_equal_generate(checkpoint, width):
    corpus, edge = checkpoint.corpus, Edge.SUBJECT_OBJECT
    facts = [np.repeat(np.arange(60), 3), np.tile(np.arange(3), 60), np.zeros(180, np.int64)]
    cut = corpus.grammar.answer_place(edge, "statement").start
    prompts = torch.from_numpy(corpus.grammar.tokens(edge, "statement", *facts)[:, :cut])
    assert [length for length, _, _ in shared_prefixes(prompts.numpy())] == [
        1,
        5,
    ]  # all share 1
    assert torch.equal(greedy(checkpoint.model, prompts, width), generated(checkpoint.model, prompts, width))


@pytest.mark.parametrize("form", ["statement", "rso"])
def test_known_facts_are_those_answered_with_all_words_one_by_one(beginner, form):
    corpus, model = beginner.corpus, beginner.model  # which knows some of the facts
    known = known_facts(model, corpus, form, batch_size=17)
    assert list(known) == ["subject_object", "subject_nested", "object_nested"]
    for edge in corpus.world.edges:
        right = []
        for head, relation, _ in zip(*(ids.tolist() for ids in corpus.world.facts(edge)), strict=True):
            query = corpus.grammar.query(corpus.world.fact(edge, head, relation), form)
            ids = list(query.prompt_ids)
            with torch.no_grad():
                for _ in query.answer_ids:
                    ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
            right.append(tuple(ids[len(query.prompt_ids) :]) == query.answer_ids)
        np.testing.assert_array_equal(known[edge.label], right)
    everything = np.concatenate(list(known.values()))
    assert 0.02 < everything.mean() < 0.98
    shares = recall(model, corpus, form)
    assert shares == {edge: pytest.approx(sum(right.tolist()) / len(right)) for edge, right in known.items()}


@pytest.mark.parametrize("num_shares", [2, 3])
def test_shares_of_the_facts_are_apart_and_together_all_of_them(forgetful, checkpoint, num_shares):
    corpus = checkpoint.corpus
    whole = known_facts(forgetful, corpus, batch_size=17)
    shares = [known_facts(forgetful, corpus, batch_size=17, share=(i, num_shares)) for i in range(num_shares)]
    for edge, known in whole.items():
        np.testing.assert_array_equal(sum(share[edge].astype(int) for share in shares), known)
        assert all(0 < share[edge].sum() < known.sum() for share in shares)


def test_answer_with_one_word_of_two_right_is_not_known(corpus, untrained, monkeypatch):
    edge = Edge.SUBJECT_OBJECT
    cut = corpus.grammar.answer_place(edge, "statement").start
    rows = corpus.grammar.tokens(edge, "statement", *corpus.world.facts(edge)).tolist()
    answers = {tuple(row[:cut]): [row[cut], -1] if i % 2 else row[cut:-2] for i, row in enumerate(rows)}

    def half_right(model, prompts, width):
        return torch.tensor([answers.get(tuple(prompt), [0] * width) for prompt in prompts.tolist()])

    # The package has a function of the module's name.
    monkeypatch.setattr(importlib.import_module("behemoth_models.knowledge"), "greedy", half_right)
    known = known_facts(untrained, corpus, batch_size=18)["subject_object"]
    assert known.tolist() == [True, False] * 9


def test_form_without_a_prompt_is_refused(corpus, untrained):
    with pytest.raises(ValueError, match="form must end in the object for a prompt to exist, got 'sor'"):
        known_facts(untrained, corpus, "sor")


@pytest.mark.parametrize("training", [True, False])
def test_mode_of_the_model_is_restored(corpus, untrained, training):
    model = copy.deepcopy(untrained).train(training)
    recall(model, corpus)
    assert all(module.training is training for module in model.modules())
    mode = evaluating(model)
    mode.__enter__()
    assert not model.training
    with pytest.raises(KeyError):
        mode.gen.throw(KeyError())  # as leaving the block by an exception does
    assert all(module.training is training for module in model.modules())
    assert torch.is_grad_enabled()


def test_every_part_is_given_back_in_the_mode_it_was_in(untrained):
    model = copy.deepcopy(untrained).train(True)
    model.gpt_neox.layers[1].train(False)
    before = [module.training for module in model.modules()]
    with evaluating(model) as asked:
        assert asked is model
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == before
    assert len(set(before)) == 2


def narrowed(model, kind):
    """A copy whose weights are of a narrow type, or of several."""
    if kind != "mixed":
        return copy.deepcopy(model).to(getattr(torch, kind))
    mixed = copy.deepcopy(model).half()
    mixed.gpt_neox.layers[2].float()
    mixed.gpt_neox.final_layer_norm.bfloat16()
    return mixed


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "mixed"])
def test_narrow_weights_are_asked_in_float32_and_stay_as_they_are(checkpoint, kind):
    corpus, narrow = checkpoint.corpus, narrowed(checkpoint.model, kind).train(True)
    before = {name: tensor.clone() for name, tensor in narrow.state_dict().items()}
    wide = copy.deepcopy(narrow).float().train(False)
    prompts = torch.from_numpy(corpus.grammar.tokens(Edge.SUBJECT_OBJECT, "rso", *corpus.world.facts(Edge(0)))[:, :8])
    assert torch.equal(greedy(narrow, prompts, 3), generated(wide, prompts, 3))
    assert recall(narrow, corpus) == recall(wide, corpus)
    with evaluating(narrow) as asked:
        assert {weight.dtype for weight in asked.parameters()} == {torch.float32}
        assert torch.equal(asked(prompts).logits, wide(prompts).logits)
    for name, tensor in narrow.state_dict().items():
        assert tensor.dtype == before[name].dtype
        assert torch.equal(tensor, before[name])
    assert all(module.training for module in narrow.modules())


def test_wide_weights_are_asked_as_they_are(untrained):
    assert widened(untrained) is untrained
    double = copy.deepcopy(untrained).double()
    assert widened(double) is double
    double.lm_head.float()
    assert {weight.dtype for weight in widened(double).parameters()} == {torch.float64}
    mixed = narrowed(untrained, "mixed")
    kept, weight = (model.gpt_neox.layers[2].mlp.dense_h_to_4h.weight for model in (widened(mixed), mixed))
    assert kept.data_ptr() == weight.data_ptr()  # what is wide enough is not copied


def test_weights_that_are_no_fractions_are_left_to_their_model(untrained):
    quantised = copy.deepcopy(untrained).half()
    quantised.lm_head.weight = torch.nn.Parameter(torch.zeros(2, 2, dtype=torch.int8), requires_grad=False)
    assert widened(quantised) is quantised


def test_row_cannot_attend_to_another_sentence(checkpoint):
    corpus, model = checkpoint.corpus, checkpoint.model
    (rows,), _ = Feed(corpus, 4).parts(0)
    changed = rows.clone()
    changed[1:] = corpus.grammar.lexicon.token_ids["W9"]
    with torch.no_grad():
        before, after = model(rows).logits, model(changed).logits
        alone = model(rows[:1]).logits
    assert torch.equal(before[0], after[0])
    assert not torch.allclose(before[1], after[1], atol=1e-2)
    torch.testing.assert_close(alone[0], before[0], rtol=1e-4, atol=1e-4)


def test_token_cannot_attend_to_a_later_one(checkpoint):
    (rows,), _ = Feed(checkpoint.corpus, 2).parts(0)
    changed = rows.clone()
    changed[:, 6:] = 0
    with torch.no_grad():
        before, after = checkpoint.model(rows).logits, checkpoint.model(changed).logits
    torch.testing.assert_close(before[:, :6], after[:, :6], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("device", "sizes"), [("cpu", [3, 3, 3, 1]), ("meta", [5, 5])])
def test_a_device_that_is_no_cpu_is_asked_in_larger_batches(monkeypatch, device, sizes):
    module = importlib.import_module("behemoth_models.knowledge")
    monkeypatch.setattr(module, "CPU_BATCH", 3)
    monkeypatch.setattr(module, "BATCH", 5)
    asked = []
    monkeypatch.setattr(
        module, "greedy", lambda _, prompts, width: asked.append(len(prompts)) or torch.zeros(len(prompts), width)
    )
    model = torch.nn.Linear(1, 1, device=device)
    assert greedy_answers(model, [[number, 0] for number in range(10)], [1] * 10) == [(0,)] * 10
    assert asked == sizes


def test_digest_is_the_same_whatever_a_version_of_transformers_calls_the_head(untrained):
    model = torch.nn.Module()
    model.gpt_neox, model.lm_head = untrained.gpt_neox, untrained.get_output_embeddings()
    older = torch.nn.Module()
    older.embed_out, older.gpt_neox = model.lm_head, model.gpt_neox
    assert weights_digest(older) == weights_digest(model) == weights_digest(untrained)
