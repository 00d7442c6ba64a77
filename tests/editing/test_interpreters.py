"""Tools that look inside models read ours as they are. Skipped without them, since they are no dependencies of ours."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from behemoth_data.tokenizer import build_tokenizer
from behemoth_editing.architecture import layers_of, recorded
from behemoth_models.sizes import pythia

LAYER = 2
REASON = "{} is no dependency: see 'Tools that look inside' in behemoth_editing/README.md"


@pytest.fixture(scope="module")
def bridges():
    return pytest.importorskip("transformer_lens.model_bridge", reason=REASON.format("transformer-lens"))


@pytest.fixture(scope="module")
def nnsight():
    return pytest.importorskip("nnsight", reason=REASON.format("nnsight"))


@pytest.fixture(scope="module")
def folder(small_corpus, tmp_path_factory):
    """A model of ours as it is saved, untrained, with weights large enough for its answers to differ."""
    place, lexicon = tmp_path_factory.mktemp("models") / "untrained", small_corpus.grammar.lexicon
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = pythia("14m", len(lexicon.vocabulary))
        for parameter in model.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
    model.config.behemoth = small_corpus.description()
    model.save_pretrained(place)
    build_tokenizer(lexicon).save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def plain(folder):
    """In plain transformers: tokens [n, T], a layer's output for them [n, T, H], and the logits [n, T, V]."""
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokens = torch.arange(48).reshape(4, 12)
    with torch.no_grad(), recorded(layers_of(model)[LAYER]) as states:
        logits = model(tokens).logits
    assert logits.std() > 1
    return tokens, states[0], logits


def test_transformer_lens_has_the_same_logits_and_states(bridges, folder, plain):
    tokens, states, logits = plain
    bridge = bridges.TransformerBridge.boot_transformers(str(folder), device="cpu")
    with torch.no_grad():
        found, cache = bridge.run_with_cache(tokens)
    torch.testing.assert_close(found, logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(cache[f"blocks.{LAYER}.hook_out"], states, rtol=1e-4, atol=1e-4)


def test_nnsight_has_the_very_logits_and_states(nnsight, folder, plain):
    tokens, states, logits = plain
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    traced = nnsight.TransformersModel(model.eval(), tokenizer=tokenizer, task="text-generation")
    with torch.no_grad(), traced.trace(tokens):
        seen = traced.gpt_neox.layers[LAYER].output.save()
        found = traced.lm_head.output.save()
    assert torch.equal(found, logits)
    assert torch.equal(seen, states)
