"""Facts about the models' shapes; parameters are counted by hand."""

import pytest
import torch

from behemoth_models.sizes import SHAPES, pythia


def parameters(model):
    return {name: parameter.numel() for name, parameter in model.named_parameters()}


def beside_embeddings(size, vocab_size=64):
    with torch.device("meta"):  # shapes only: nothing is drawn
        model = pythia(size, vocab_size)
    return sum(parameters(model).values()) - 2 * vocab_size * model.config.hidden_size


# Biderman et al., 2023, table 1, and the cards of the published 14m and 31m models: non-embedding parameters. Those of
# the narrower ones by hand: 6 (12 W^2 + 13 W) + 2 W of width W.
COUNTS = {"3m": 76_288, "7m": 300_032, "10m": 671_232, "14m": 1_189_888, "31m": 4_739_072, "70m": 18_915_328}


@pytest.mark.parametrize(("size", "count"), COUNTS.items())
def test_parameters_beside_the_embeddings_are_the_published_number(size, count):
    assert beside_embeddings(size) == count


@pytest.mark.parametrize("size", ["3m", "7m", "10m", "14m"])
def test_small_sizes_are_named_by_their_parameters_in_millions_at_the_published_vocabulary(size):
    with torch.device("meta"):
        count = sum(parameters(pythia(size, 50304)).values())
    assert f"{count / 1e6:.0f}m" == size


def test_31m_has_the_published_number_of_parameters_at_the_published_vocabulary():
    with torch.device("meta"):
        assert sum(parameters(pythia("31m", 50304)).values()) == 30_494_720


def test_every_size_has_a_count_above():
    assert list(SHAPES) == list(COUNTS)


def test_architecture_is_pythias():
    with torch.device("meta"):
        model = pythia("31m", 100)
    config = model.config
    assert (config.num_hidden_layers, config.hidden_size, config.num_attention_heads) == (6, 256, 8)
    assert (config.intermediate_size, config.vocab_size, config.max_position_embeddings) == (1024, 100, 2048)
    assert config.use_parallel_residual
    assert not config.tie_word_embeddings
    assert config.rope_parameters["partial_rotary_factor"] == 0.25
    assert model.get_input_embeddings().weight is not model.get_output_embeddings().weight


def test_weights_depend_on_torchs_seed_alone():
    def weights(seed):
        torch.manual_seed(seed)
        return torch.cat([parameter.flatten() for parameter in pythia("14m", 8).parameters()])

    with torch.random.fork_rng():
        first, again, other = weights(3), weights(3), weights(4)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_unknown_size_lists_the_known_ones():
    with pytest.raises(ValueError, match="size must be one of 3m, 7m, 10m, 14m, 31m, 70m, got '32m'"):
        pythia("32m", 100)


def test_empty_vocabulary_is_refused():
    with pytest.raises(ValueError, match="vocab_size must be at least 1, got 0"):
        pythia("14m", 0)
