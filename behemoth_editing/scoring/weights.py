"""How far an edit moved a model's weights: norms and ranks in float64."""

from __future__ import annotations

import dataclasses

import torch
from transformers import PreTrainedModel

from behemoth_data.settings import check

ROUNDINGS = 4.0  # see weight_change


@dataclasses.dataclass(frozen=True)
class ParameterChange:
    """How far one weight tensor moved."""

    norm: float  # Frobenius norm of the change
    relative: float  # over the norm before; infinite for a tensor that was 0
    rank: int | None  # singular values of the change above the tolerance; None: a vector
    tolerance: float | None  # absolute; what rounding alone may put into a singular value


@dataclasses.dataclass(frozen=True)
class WeightChange:
    """How far a model's weights moved."""

    parameters: dict[str, ParameterChange]  # those that changed, by name
    norm: float  # of the change of all weights together
    relative: float  # over the norm of all weights before

    @property
    def rank(self) -> int:
        """The largest rank of any matrix's change; 0 if none changed."""
        return max((change.rank for change in self.parameters.values() if change.rank is not None), default=0)


def weight_change(before: PreTrainedModel, after: PreTrainedModel, *, roundings: float = ROUNDINGS) -> WeightChange:
    """The norm and the rank of the change of every weight matrix that changed, computed in float64.

    An edited matrix is stored rounded, and each rounding may add to a singular value as much as half the type's
    epsilon times the matrix's Frobenius norm. Singular values up to `roundings` epsilons times the larger of the
    norms before and after count as 0: they are enough for 8 roundings.
    Raises: ValueError for models of different architectures, or weights that are not finite.
    """
    old, new = dict(before.named_parameters()), dict(after.named_parameters())
    odd = sorted(old.keys() ^ new.keys()) or sorted(name for name in old if old[name].shape != new[name].shape)
    check(not odd, f"after must have the parameters of before, got {len(odd)} that differ, such as {odd[:1]}")
    changes: dict[str, ParameterChange] = {}
    squares_before = squares = 0.0
    for name, parameter in old.items():
        first, second = (weight.detach().cpu().double() for weight in (parameter, new[name]))
        squares_before += float(first.square().sum())
        if torch.equal(first, second):
            continue
        check(bool(second.isfinite().all() and first.isfinite().all()), f"weights must be finite, {name} are not")
        epsilon = torch.finfo(new[name].dtype).eps
        changes[name] = _change(first, second, roundings * epsilon)
        squares += changes[name].norm ** 2
    return WeightChange(changes, squares**0.5, _relative(squares**0.5, squares_before**0.5))


def _change(before: torch.Tensor, after: torch.Tensor, roundoff: float) -> ParameterChange:
    change = after - before
    norm, norm_before = float(change.norm()), float(before.norm())
    if change.ndim != 2:
        return ParameterChange(norm, _relative(norm, norm_before), None, None)
    tolerance = roundoff * max(norm_before, float(after.norm()))
    rank = int((torch.linalg.svdvals(change) > tolerance).sum())
    return ParameterChange(norm, _relative(norm, norm_before), rank, tolerance)


def _relative(norm: float, norm_before: float) -> float:
    """The change's norm in norms before: 0 for no change, infinite for a change of what was 0."""
    if norm == 0:
        return 0.0
    return norm / norm_before if norm_before else float("inf")
