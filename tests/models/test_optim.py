"""Facts about which optimizer takes which weights, and about learning rates worked out by hand."""

import pytest
import torch

from behemoth_models.config import OPTIMIZERS, SCHEDULES, TrainConfig
from behemoth_models.optim import learning_rate_factor, optimizers
from behemoth_models.sizes import pythia


@pytest.fixture(scope="module")
def model():
    with torch.device("meta"):
        return pythia("14m", 64)


def placed(model, config):
    """(optimizer, weight decay, learning rate) of every parameter, by its name; each is in one optimizer."""
    names = {id(parameter): name for name, parameter in model.named_parameters() if parameter.requires_grad}
    found = [
        (names[id(parameter)], (type(optimizer).__name__, group["weight_decay"], group["lr"]))
        for optimizer in optimizers(model, config)
        for group in optimizer.param_groups
        for parameter in group["params"]
    ]
    assert sorted(name for name, _ in found) == sorted(names.values())
    return dict(found)


def test_muon_takes_all_matrices_but_the_input_embedding_and_adamw_the_rest(model):
    for name, where in placed(model, TrainConfig(learning_rate=0.01)).items():
        matrix = name.endswith("weight") and "norm" not in name and "embed_in" not in name
        assert where == (("Muon", 0.1, 0.01) if matrix else ("AdamW", 0.0, 0.01)), name


def test_adamw_takes_everything_and_decays_matrices_only(model):
    for name, where in placed(model, TrainConfig(optimizer="adamw", weight_decay=0.3, learning_rate=0.01)).items():
        vector = name.endswith("bias") or "norm" in name
        assert where == ("AdamW", 0.0 if vector else 0.3, 0.01), name


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(
    ("learns", "count"), [("mlp.dense_4h_to_h.weight", 6), ("mlp.dense_4h_to_h.bias", 6), ("3.mlp", 4)]
)
def test_only_what_requires_gradients_is_optimised(optimizer, learns, count):
    with torch.device("meta"):
        model = pythia("3m", 64)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(learns in name)
    assert len(placed(model, TrainConfig(optimizer=optimizer))) == count


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_adamw_has_pythias_betas(model, optimizer):
    config = TrainConfig(optimizer=optimizer)
    (adamw,) = [o for o in optimizers(model, config) if isinstance(o, torch.optim.AdamW)]
    assert all(group["betas"] == (0.9, 0.95) for group in adamw.param_groups)


def test_muon_moves_a_weight_by_a_fifth_of_the_learning_rate_as_adamw_does():
    draws = torch.Generator().manual_seed(0)
    module = torch.nn.Module()
    for name, shape in (("tall", (384, 128)), ("wide", (128, 512)), ("square", (128, 128)), ("gain", (8,))):
        module.register_parameter(name, torch.nn.Parameter(torch.zeros(shape)))
    for parameter in module.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=draws) * 1e-3
    muon, _ = optimizers(module, TrainConfig(learning_rate=0.01, weight_decay=0.0))
    muon.step()
    # Newton and Schulz's iteration brings singular values near 1, between 0.7 and 1.2.
    for name in ("tall", "wide", "square"):
        parameter = module.get_parameter(name)
        assert 0.7 < parameter.square().mean().sqrt().item() / (0.2 * 0.01) < 1.2, name


def factors(num_steps, **fields):
    config = TrainConfig(**fields)
    return [learning_rate_factor(step, num_steps, config) for step in range(num_steps)]


@pytest.mark.parametrize(
    ("num_steps", "fields", "expected"),
    [
        # Two steps up, the last five down by a fifth each: a sixth of them would be at 0.
        (10, {"warmup_fraction": 0.2, "decay_fraction": 0.5}, [0.5, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2]),
        (
            10,
            {"warmup_fraction": 0.2, "decay_fraction": 0.5, "final_fraction": 0.1},
            [0.5, 1, 1, 1, 1, 1, 0.82, 0.64, 0.46, 0.28],
        ),
        (4, {"warmup_fraction": 0.0, "decay_fraction": 0.0}, [1, 1, 1, 1]),
        (4, {"warmup_fraction": 0.5, "decay_fraction": 1.0}, [0.5, 0.75, 0.5, 0.25]),
        (4, {"warmup_fraction": 1.0, "decay_fraction": 0.0}, [0.25, 0.5, 0.75, 1]),
        (1, {}, [1]),
    ],
)
def test_wsd_warms_up_stays_and_falls_linearly(num_steps, fields, expected):
    assert factors(num_steps, schedule="wsd", **fields) == pytest.approx(expected)


# (1 + cos 30 degrees) / 2 = 0.9330127, and so on by thirty degrees: six steps are half a wave.
WAVE = [1, 0.9330127, 0.75, 0.5, 0.25, 0.0669873]


@pytest.mark.parametrize(
    ("num_steps", "fields", "expected"),
    [
        (8, {"warmup_fraction": 0.25}, [0.5, 1, *WAVE]),
        (8, {"warmup_fraction": 0.25, "final_fraction": 0.2}, [0.5, 1, *(0.2 + 0.8 * height for height in WAVE)]),
        (6, {"warmup_fraction": 0.0}, WAVE),
        (6, {"warmup_fraction": 0.0, "decay_fraction": 0.0}, WAVE),
        (6, {"warmup_fraction": 0.0, "final_fraction": 1.0}, [1] * 6),
        (4, {"warmup_fraction": 1.0}, [0.25, 0.5, 0.75, 1]),
    ],
)
def test_cosine_warms_up_and_falls_along_half_a_wave(num_steps, fields, expected):
    assert factors(num_steps, schedule="cosine", **fields) == pytest.approx(expected)


@pytest.mark.parametrize("final_fraction", [0.0, 0.5])
def test_constant_warms_up_and_stays(final_fraction):
    fields = {"schedule": "constant", "warmup_fraction": 0.5, "final_fraction": final_fraction}
    assert factors(8, **fields) == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 1, 1])


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_warmup_of_less_than_a_step_is_none(schedule):
    assert factors(10, schedule=schedule, warmup_fraction=0.02)[0] == 1.0
