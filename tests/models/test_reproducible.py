"""Facts about what training asks of torch on a card. No card is needed: only flags are looked at."""

import importlib

import pytest
import torch

from behemoth_models.reproducible import reproducible


def flags():
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    return torch.are_deterministic_algorithms_enabled(), warn_only, torch.utils.deterministic.fill_uninitialized_memory


def test_a_card_has_deterministic_kernels_for_as_long_as_it_is_open():
    assert flags() == (False, False, True)
    with reproducible(torch.device("cuda", 0)):
        assert flags() == (True, True, False)
    assert flags() == (False, False, True)


def test_flags_are_as_they_were_after_a_failure_too():
    torch.use_deterministic_algorithms(True)
    try:
        with pytest.raises(FloatingPointError), reproducible(torch.device("cuda")):
            raise FloatingPointError
        assert flags() == (True, False, True)
    finally:
        torch.use_deterministic_algorithms(False)


def test_a_cpu_is_left_as_it_is():
    with reproducible(torch.device("cpu")):
        assert flags() == (False, False, True)


def test_every_step_of_training_is_inside(small_corpus, tmp_path, monkeypatch):
    training, seen = importlib.import_module("behemoth_models.training"), []
    monkeypatch.setattr(training, "reproducible", lambda device: reproducible(torch.device("cuda")))
    loss = training.summed_loss
    monkeypatch.setattr(training, "summed_loss", lambda *given: seen.append(flags()[0]) or loss(*given))
    config = training.TrainConfig(size="14m", batch_size=32, max_steps=2, measurements=1)
    training.train(small_corpus, config, tmp_path / "model", progress=False)
    assert seen == [True, True]
    assert not flags()[0]
