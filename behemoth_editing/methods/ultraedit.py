"""Edits in one step from keys and gradients: no value is searched for, and no statistics of the corpus are needed.

Axis letters: n rows, one for each of the answers' tokens; T tokens; D keys' width (the MLP's inner width); H hidden
width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from behemoth_data.edits import EditTask
from behemoth_data.grammar import Query
from behemoth_data.settings import check, check_known, conform, setting
from behemoth_editing.architecture import check_layers, mlp_output, weight_of
from behemoth_editing.copies import check_types, copy_of, stored_like
from behemoth_editing.methods.contract import Edited, Shared
from behemoth_editing.methods.keys import STATISTICS_OF
from behemoth_editing.methods.memit import pseudo_edits
from behemoth_editing.methods.mixture import IGNORED, rows_of

SCALE_OF_HELP = "whose mean norms: of the model given, or in a sequence of the original before its first edit"
_ROWS = 256  # prompts whose gradients are taken in one batch


@dataclasses.dataclass(frozen=True, kw_only=True)
class UltraEdit:
    """Delta = V^T K (K^T K + ridge I)^-1 in each layer, from keys K and the gradients G of what its MLP puts out.

    Keys and gradients stand side by side in a row for each token of a new answer, and are normalised entry by entry; a
    row of V is -rate |k'|^2 g', k' and g' being normalised. All layers are changed by what the model said before any of
    them was. Theirs normalises by a running mean and deviation over all edits made so far, which after one edit of a
    one-token answer has no deviation, and of which a saved model brings no record. Here both are those of these edits
    and of `pool` facts that are to stay, asked for one another's answers, read anew from the model that is edited.
    Their rate of 1e-6 belongs to one width and scale; here it is step x |w| / (D H^(1/2)), |w| being the mean norm of
    what the matrix puts out: a key and gradient of usual size change it by about `step` such norms.
    In a sequence that norm may grow with every edit, and the steps with it: `scale_of: original` takes that of the
    model before the first one, as theirs is one number throughout.
    Nothing holds other keys, which after prompts of one form are much alike.
    Source: Gu et al., "UltraEdit: training-, subject-, and memory-free lifelong editing in language models", TMLR 2026
    (arXiv 2505.14679), and their editor/ultraedit.py (predict_param_shifts, cache) and nets.py
    (RunningMeanStd), where layers of one shape share their mean and deviation, as here.
    """

    name: ClassVar[str] = "ultraedit"
    goal: ClassVar[str] = "edit"
    reads: ClassVar[tuple[str, ...]] = ("requests", "retain")

    layers: tuple[int, ...] = setting((3, 4, 5), "layers whose MLP output matrices are edited")
    step: float = setting(2.0, "size of the one step, in mean norms of what the matrix puts out")
    ridge: float = setting(1.0, "added to the diagonal of the keys' K^T K")
    scale_of: str = setting("given", SCALE_OF_HELP, later=True)
    pool: int = setting(64, "retain facts asked for other answers, by which keys and gradients are normalised too")

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        conform(self)
        check(len(self.layers) > 0, f"layers must name at least 1 layer, got {self.layers}")
        check(len(set(self.layers)) == len(self.layers), f"layers must name each layer once, got {self.layers}")
        for field in ("step", "ridge"):
            check(getattr(self, field) > 0, f"{field} must be above 0, got {getattr(self, field)}")
        check_known("scale_of", self.scale_of, STATISTICS_OF)
        check(self.pool >= 1, f"pool must be at least 1, got {self.pool}")

    def check(self, model: PreTrainedModel) -> None:
        """Raises: ValueError for a layer that the model does not have, or weights of odd types."""
        check_types(model)
        check_layers(model, self.layers)

    def __call__(self, model: PreTrainedModel, task: EditTask, shared: Shared | None = None) -> Edited:
        """The edited copy; one matrix of each layer differs.

        Raises: ValueError for a layer that is not there, or a task without facts to retain.
        """
        self.check(model)
        edited = copy_of(model)
        matrices = [mlp_output(edited, layer) for layer in self.layers]
        pseudo = pseudo_edits(task, self.pool)
        asked, before = features(edited, matrices, task.requests)
        others, _ = features(edited, matrices, pseudo)
        sizes = self._sizes(edited, asked, others)
        if self.scale_of == "original" and shared is not None and shared.original is not None:
            original = copy_of(shared.original)
            parts = [mlp_output(original, layer) for layer in self.layers]
            sizes = self._sizes(original, *(features(original, parts, some)[0] for some in (task.requests, pseudo)))
        pooled = torch.cat([torch.cat([keys, gradients], 1) for keys, gradients in asked + others])
        mean, deviation = pooled.mean(0), pooled.std(0)
        details: dict[str, Any] = {"loss_before": before, "change": []}
        for matrix, (keys, gradients), puts_out in zip(matrices, asked, sizes, strict=True):
            weight = weight_of(edited, matrix)
            old = weight.cpu().double()
            rate = self.step * puts_out / (old.shape[1] * old.shape[0] ** 0.5)
            change = one_step(keys, gradients, mean, deviation, rate, self.ridge)
            weight.copy_((old + change).to(weight.dtype))
            details["change"].append(float(change.norm() / old.norm()))
        _, details["loss"] = features(edited, matrices, task.requests)
        return Edited(stored_like(model, edited), details)

    def _sizes(self, model: PreTrainedModel, *rows: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> list[float]:
        """The mean norm of what each layer's matrix puts out for all of these keys."""
        found = []
        for layer, *pairs in zip(self.layers, *rows, strict=True):
            weight = weight_of(model, mlp_output(model, layer)).cpu().double()
            found.append(float((torch.cat([keys for keys, _ in pairs]) @ weight.T).norm(dim=1).mean()))
        return found


def features(
    model: PreTrainedModel, matrices: Sequence[nn.Module], queries: Sequence[Query]
) -> tuple[list[tuple[torch.Tensor, torch.Tensor]], float]:
    """For each matrix keys [n, D] and gradients of the loss by its output [n, H], float64, where answers are predicted.

    The loss is the sum of the tokens' negative log-likelihoods, so that gradients do not depend on how many there are;
    its mean stands beside them.
    """
    total = sum(len(query.answer_ids) for query in queries)
    found: list[list[tuple[torch.Tensor, torch.Tensor]]] = [[] for _ in matrices]
    sum_of_losses = 0.0
    for start in range(0, len(queries), _ROWS):
        tokens, targets = (rows.to(model.device) for rows in rows_of(queries[start : start + _ROWS]))
        seen: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

        def watch(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor, seen: Any = seen) -> Any:
            traced = output if output.requires_grad else output.detach().requires_grad_(True)
            traced.retain_grad()
            seen[id(module)] = inputs[0].detach(), traced
            return traced

        handles = [matrix.register_forward_hook(watch) for matrix in matrices]
        try:
            with torch.enable_grad():
                logits = model(input_ids=tokens, use_cache=False).logits.float()
                loss = cross_entropy(logits.transpose(1, 2), targets, ignore_index=IGNORED, reduction="sum")
                outputs = [seen[id(matrix)][1] for matrix in matrices]
                gradients = torch.autograd.grad(loss, outputs)
        finally:
            for handle in handles:
                handle.remove()
        answers = targets != IGNORED
        for rows, matrix, gradient in zip(found, matrices, gradients, strict=True):
            keys = seen[id(matrix)][0]
            rows.append((keys[answers].cpu().double(), gradient[answers].cpu().double()))
        sum_of_losses += loss.item()
    joined = [(torch.cat([k for k, _ in rows]), torch.cat([g for _, g in rows])) for rows in found]
    return joined, sum_of_losses / total


def one_step(
    keys: torch.Tensor,
    gradients: torch.Tensor,
    mean: torch.Tensor,
    deviation: torch.Tensor,
    rate: float,
    ridge: float,
) -> torch.Tensor:
    """The change [H, D] of a matrix from keys [n, D], gradients [n, H], and both's mean and deviation [D + H].

    It is V^T (K K^T + ridge I)^-1 K, the least-squares change of n keys: the same as with D directions.
    """
    tiny = torch.finfo(torch.float32).eps
    rows = (torch.cat([keys, gradients], 1) - mean) / (deviation + tiny)
    normal_keys, normal_gradients = rows[:, : keys.shape[1]], rows[:, keys.shape[1] :]
    values = -rate * normal_keys.square().sum(1, keepdim=True) * normal_gradients
    gram = keys @ keys.T + ridge * torch.eye(len(keys), dtype=keys.dtype)
    change: torch.Tensor = values.T @ torch.linalg.solve(gram, keys)
    return change
