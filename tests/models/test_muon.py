"""Facts about Muon: against the plain iteration in float64, and against torch's own on the same gradients."""

import copy

import pytest
import torch

from behemoth_models.muon import COEFFICIENTS, ITERATIONS, Muon, orthogonalised

SHAPES = {"tall": (96, 32), "wide": (32, 128), "wide_too": (32, 128), "square": (32, 32), "nearly": (32, 40)}


def plain(matrix, dtype=torch.float64):
    """The iteration as it is defined, on the matrix itself."""
    a, b, c = COEFFICIENTS
    found = matrix.detach().to(dtype)
    found = found / found.norm()
    for _ in range(ITERATIONS):
        gram = found @ found.T
        found = a * found + (b * gram + c * gram @ gram) @ found
    return found


def matrices(rows, columns):
    """One of noise, one of low rank and some noise, and one whose singular values span six orders."""
    draws = torch.Generator().manual_seed(0)

    def noise(*shape):
        return torch.randn(shape, generator=draws)

    low = noise(rows, 3) @ noise(3, columns) + 1e-6 * noise(rows, columns)
    left, right = torch.linalg.qr(noise(rows, rows))[0], torch.linalg.qr(noise(columns, rows))[0]
    return {"noise": noise(rows, columns), "low": low, "steep": left * torch.logspace(0, -6, rows) @ right.T}


def error(found, expected):
    return float((found.detach().double() - expected.detach()).norm() / expected.detach().norm())


@pytest.mark.parametrize("columns", [64, 65, 128, 192, 256, 1024])
def test_float32_is_the_plain_iteration_in_float64(columns):
    given = matrices(64, columns)
    found = orthogonalised(torch.stack(list(given.values())))
    for (name, matrix), one in zip(given.items(), found, strict=True):
        assert error(one, plain(matrix)) < (1e-5 if name == "noise" else 1e-3), name


@pytest.mark.parametrize("columns", [128, 192, 256])
def test_bfloat16_is_as_near_to_it_as_the_plain_iteration_in_bfloat16(columns):
    given = matrices(64, columns)
    found = orthogonalised(torch.stack(list(given.values())).bfloat16())
    assert found.dtype == torch.bfloat16
    for (name, matrix), one in zip(given.items(), found, strict=True):
        exact = plain(matrix)
        assert error(one, exact) < 1.1 * error(plain(matrix, torch.bfloat16), exact), name


def test_a_matrix_of_zeros_stays_zero_and_disturbs_no_other():
    given = torch.stack([torch.zeros(8, 32), matrices(8, 32)["noise"]])
    found = orthogonalised(given)
    assert found[0].abs().max() == 0
    assert error(found[1], plain(given[1])) < 1e-5


def module():
    draws = torch.Generator().manual_seed(1)
    made = torch.nn.Module()
    for name, shape in SHAPES.items():
        made.register_parameter(name, torch.nn.Parameter(torch.randn(shape, generator=draws) * 0.02))
    return made


def stepped(optimizer, made, steps=3):
    """The weights after each step on gradients that are the same for every optimizer."""
    draws = torch.Generator().manual_seed(2)
    seen = []
    for _ in range(steps):
        for parameter in made.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=draws) * 1e-3
        optimizer.step()
        seen.append({name: parameter.detach().clone() for name, parameter in made.named_parameters()})
    return seen


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_steps_are_those_of_torchs_muon_but_for_its_rounding_to_bfloat16(precision):
    ours, theirs = module(), module()
    settings = {"lr": 0.01, "weight_decay": 0.1}
    own = stepped(Muon(ours.parameters(), **settings, precision=precision), ours)
    reference = stepped(torch.optim.Muon(theirs.parameters(), **settings, adjust_lr_fn="match_rms_adamw"), theirs)
    for found, expected in zip(own, reference, strict=True):
        for name, start in module().named_parameters():
            assert error(found[name] - start, expected[name] - start) < 0.08, name


def test_step_is_the_formula_in_float64():
    made = module()
    (first, second) = stepped(Muon(made.parameters(), lr=0.01, weight_decay=0.1, precision="fp32"), made, steps=2)
    draws = torch.Generator().manual_seed(2)
    gradients = [{name: torch.randn(shape, generator=draws) * 1e-3 for name, shape in SHAPES.items()} for _ in "12"]
    for name, shape in SHAPES.items():
        weight, mean = module().get_parameter(name).detach().double(), torch.zeros(shape).double()
        for gradient, found in zip(gradients, (first, second), strict=True):
            mean = 0.95 * mean + 0.05 * gradient[name].double()
            ahead = 0.05 * gradient[name].double() + 0.95 * mean
            update = plain(ahead) if shape[0] <= shape[1] else plain(ahead.T).T
            weight = weight * (1 - 0.01 * 0.1) - 0.01 * 0.2 * max(shape) ** 0.5 * update
            torch.testing.assert_close(found[name].double(), weight, rtol=1e-4, atol=1e-6)


def test_a_parameter_without_a_gradient_stays_and_state_is_restored_from_a_dict():
    made, again = module(), module()
    optimizer = Muon(made.parameters(), lr=0.01, weight_decay=0.0)
    stepped(optimizer, made, steps=2)
    again.load_state_dict(made.state_dict())
    restored = Muon(again.parameters(), lr=0.01, weight_decay=0.0)
    restored.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for changed, stepper in ((made, optimizer), (again, restored)):
        for parameter in changed.parameters():
            parameter.grad = torch.ones_like(parameter)
        changed.wide.grad = None
        stepper.step()
    for name in SHAPES:
        assert torch.equal(made.get_parameter(name), again.get_parameter(name)), name
    assert torch.equal(stepped(optimizer, module(), 1)[0]["wide"], module().wide)


def test_vectors_are_refused():
    with pytest.raises(ValueError, match=r"params must be matrices, got one of shape \(8,\)"):
        Muon([torch.nn.Parameter(torch.zeros(8))], lr=0.1, weight_decay=0.0)
