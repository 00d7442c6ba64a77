"""Facts about the keys of an MLP layer, worked out again token by token in float64."""

import copy
import dataclasses

import numpy as np
import pytest
import torch

from behemoth_data.edits import Background, EditConfig, draw_edits
from behemoth_data.world import Edge
from behemoth_editing.architecture import matrix_of
from behemoth_editing.methods.contract import Shared
from behemoth_editing.methods.keys import key_statistics, keys_of, shared_statistics, without_asked

MATRIX = "mlp.dense_4h_to_h"


@pytest.fixture(scope="module")
def background(checkpoint):
    return draw_edits(checkpoint.corpus, EditConfig(num_edits=1))[0].background


def inputs_of(model, layer, ids):
    """What the layer's output matrix is given, for each token [T, D] of one sentence."""
    seen = []
    handle = matrix_of(model, layer, MATRIX).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model(torch.tensor([ids]))
    handle.remove()
    return seen[0][0].double().numpy()


def test_second_moment_is_the_mean_over_tokens_one_by_one(checkpoint):
    grammar, world = checkpoint.corpus.grammar, checkpoint.corpus.world
    blocks = [
        grammar.tokens(edge, form, *(ids[:7] for ids in world.facts(edge)))
        for edge, form in ((Edge.SUBJECT_OBJECT, "statement"), (Edge.OBJECT_NESTED, "rso"))
    ]
    background = Background("corpus digest", lambda: iter(blocks))
    matrix = matrix_of(checkpoint.model, 3, MATRIX)
    found = key_statistics(checkpoint.model, matrix, background, "model digest", batch_size=3)
    total, count = np.zeros((384, 384)), 0
    for block in blocks:
        for sentence in block.tolist():
            for key in inputs_of(checkpoint.model, 3, sentence[:-1]):
                total += np.outer(key, key)
                count += 1
    assert found.second_moment.dtype == torch.float64
    assert found.num_keys == count == sum(7 * (block.shape[1] - 1) for block in blocks)
    np.testing.assert_allclose(found.second_moment.numpy(), total / count, rtol=1e-4, atol=1e-7)
    assert (found.weights, found.corpus) == ("model digest", "corpus digest")


@pytest.fixture(scope="module")
def parted(checkpoint):
    """Sentences of two tables, of which every third is asked: all, with the asked ones named; and the others alone."""
    grammar, world = checkpoint.corpus.grammar, checkpoint.corpus.world
    blocks = [
        grammar.tokens(edge, form, *(ids[:30] for ids in world.facts(edge)))
        for edge, form in ((Edge.SUBJECT_OBJECT, "statement"), (Edge.OBJECT_NESTED, "rso"))
    ]
    left = [np.delete(block, np.s_[::3], axis=0) for block in blocks]
    every = Background("corpus", lambda: iter(blocks), "facts", lambda: iter([block[::3] for block in blocks]))
    return every, Background("rest", lambda: iter(left))


@pytest.mark.parametrize(("kind", "noise"), [(torch.float64, 1e-10), (torch.float32, 1e-6)])
def test_statistics_without_the_asked_sentences_are_those_of_the_others(checkpoint, parted, kind, noise):
    every, others = parted
    model = copy.deepcopy(checkpoint.model).to(kind)
    matrix = matrix_of(model, 2, MATRIX)
    whole, expected = (key_statistics(model, matrix, part, "w", progress=False) for part in (every, others))
    found = without_asked(model, matrix, every, whole)
    assert found.num_keys == expected.num_keys == sum(20 * (block.shape[1] - 1) for block in every.blocks())
    difference = (found.second_moment - expected.second_moment).norm() / expected.second_moment.norm()
    assert difference < noise
    assert (whole.second_moment - expected.second_moment).norm() > 1e-3 * expected.second_moment.norm()
    assert (found.left_out, found.corpus, found.weights) == ("facts", "corpus", "w")


def test_shared_statistics_leave_out_what_this_draw_asks_and_all_are_kept(checkpoint, parted):
    every, _ = parted
    other = dataclasses.replace(every, asked_digest="fewer", asked=lambda: iter([next(every.asked())[:1]]))
    shared, found = Shared(progress=False), {}
    for name, background in (("many", every), ("one", other), ("again", every)):
        found[name] = shared_statistics(checkpoint.model, 2, background, shared, statistics="unasked")
        found["all"] = shared_statistics(checkpoint.model, 2, background, shared, statistics="all")
    assert torch.equal(found["many"].second_moment, found["again"].second_moment)
    assert found["many"].num_keys < found["one"].num_keys < found["all"].num_keys
    assert len(shared.key_statistics) == len(shared.unasked) == 1  # those of the last draw are kept alone
    assert shared.seconds > 0


def test_draw_that_asks_all_sentences_is_refused(checkpoint, parted):
    whole = dataclasses.replace(parted[0], asked=parted[0].blocks)
    message = r"statistics must be all where every sentence .*, got unasked, which leaves 0 of \d+ keys"
    with pytest.raises(ValueError, match=message):
        shared_statistics(checkpoint.model, 2, whole, Shared(progress=False), statistics="unasked")


def test_background_holds_every_distinct_sentence_once(checkpoint, background):
    corpus = checkpoint.corpus
    taught = {tuple(row) for row in corpus.block(0, len(corpus)).tolist()}
    padding = corpus.grammar.lexicon.token_ids["<|padding|>"]
    rows = [tuple(row) for block in background.blocks() for row in block.tolist()]
    padded = [row + (padding,) * (corpus.max_length - len(row)) for row in rows]
    assert len(set(padded)) == len(padded) == 2 * (240 + 240 + 60)
    assert taught <= set(padded)
    assert background.digest == corpus.digest


def test_keys_are_what_the_output_matrix_is_given(checkpoint):
    tokens = torch.from_numpy(checkpoint.corpus.block(0, 3).astype(np.int64))
    keys = keys_of(checkpoint.model, matrix_of(checkpoint.model, 2, MATRIX), tokens)
    assert keys.shape == (*tokens.shape, 384)
    for row, sentence in zip(keys, tokens.tolist(), strict=True):
        expected = inputs_of(checkpoint.model, 2, sentence)
        np.testing.assert_allclose(row.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_later_layers_are_not_run_and_no_hook_stays(checkpoint):
    model = copy.deepcopy(checkpoint.model)
    run = []
    for number, layer in enumerate(model.gpt_neox.layers):
        layer.register_forward_pre_hook(lambda *_, number=number: run.append(number))
    matrix = matrix_of(model, 2, MATRIX)
    keys_of(model, matrix, torch.tensor([[5, 6, 7]]))
    assert run == [0, 1, 2]
    assert not matrix._forward_pre_hooks


def test_keys_are_those_without_dropout_and_the_model_stays_in_its_mode(checkpoint, background):
    model = copy.deepcopy(checkpoint.model).train(True)
    for part in model.modules():
        part.p = 0.5  # of what has it
    model.gpt_neox.layers[1].train(False)
    modes = [part.training for part in model.modules()]
    tokens = torch.tensor([[5, 6, 7]])
    assert not torch.equal(model(tokens).logits, model(tokens).logits)
    calm, matrix = matrix_of(checkpoint.model, 2, MATRIX), matrix_of(model, 2, MATRIX)
    assert torch.equal(keys_of(model, matrix, tokens), keys_of(checkpoint.model, calm, tokens))
    found = key_statistics(model, matrix, background, "", progress=False)
    expected = key_statistics(checkpoint.model, calm, background, "", progress=False)
    assert torch.equal(found.second_moment, expected.second_moment)
    assert [part.training for part in model.modules()] == modes


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_statistics_of_narrow_weights_are_computed_in_float32(checkpoint, background, kind):
    narrow = copy.deepcopy(checkpoint.model).to(kind)
    found, expected = (
        key_statistics(model, matrix_of(model, 2, MATRIX), background, "", progress=False)
        for model in (narrow, copy.deepcopy(narrow).float())
    )
    assert found.second_moment.dtype == torch.float64
    assert torch.equal(found.second_moment, expected.second_moment)
    assert {weight.dtype for weight in narrow.parameters()} == {kind}
