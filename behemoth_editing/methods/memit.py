"""Many facts written at once into the MLP output matrices of several layers: MEMIT, EMMET, AlphaEdit and SPHERE.

All of them find what the last edited layer ought to put out for every prompt, and share out the difference over the
layers. They differ in one thing, what a layer's change must leave alone: see `batch_update`. Their sources average keys
and losses over texts put before the prompt; here it stands alone, as models know it that were trained on one sentence a
row.

Axis letters: n requests; T tokens; D keys' width (the MLP's inner width); H hidden width.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from behemoth_data.edits import EditTask
from behemoth_data.grammar import Query
from behemoth_data.settings import check, check_known, conform, setting
from behemoth_editing.architecture import (
    check_adds,
    check_layers,
    hidden_of,
    layers_of,
    mlp_output,
    recorded,
    weight_of,
)
from behemoth_editing.copies import check_types, copy_of, stored_like
from behemoth_editing.methods.contract import Edited, KeyStatistics, Shared
from behemoth_editing.methods.keys import (
    STATISTICS,
    STATISTICS_HELP,
    STATISTICS_OF,
    STATISTICS_OF_HELP,
    keys_of,
    shared_statistics,
)
from behemoth_editing.methods.mixture import IGNORED, rows_of
from behemoth_editing.methods.rome import (
    KL_HELP,
    SITES,
    divergence,
    last_log_probabilities,
    padded,
    ridge_inverse,
    site_place,
)

_ROWS = 64  # requests whose values are searched for in one batch


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchSettings:
    """What MEMIT and its relatives share: the layers, and how the values are found."""

    reads: ClassVar[tuple[str, ...]] = ("requests", "statistics", "same_subject", "retain")

    layers: tuple[int, ...] = setting((1, 2, 3), "layers whose MLP output matrices are edited")
    site: str = setting("prompt_last", "token whose keys and values are edited: subject_last, prompt_last")
    steps: int = setting(30, "Adam steps at most to find each value")
    learning_rate: float = setting(0.5, "Adam's learning rate for the values")
    stop_loss: float = setting(0.02, "a search ends when its new object's negative log-likelihood is below this")
    max_norm: float = setting(0.75, "largest norm of a value's change, in norms of the hidden state that it changes")
    kl_weight: float = setting(0.0625, KL_HELP)
    decay: float = setting(1e-3, "weight of the change's norm over the squared norm of the hidden state")
    ridge: float = setting(1e-4, "added to C's diagonal, in units of its mean")
    statistics: str = setting("unasked", STATISTICS_HELP)
    statistics_of: str = setting("given", STATISTICS_OF_HELP)
    norm_anchor: int = setting(
        0,
        "retain facts given other answers in the model before all edits, to whose values' mean norm each value "
        "is scaled; 0: values stay as they are",
        later=True,
    )

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        conform(self)
        check_known("site", self.site, SITES)
        check_known("statistics", self.statistics, STATISTICS)
        check_known("statistics_of", self.statistics_of, STATISTICS_OF)
        check(len(self.layers) > 0, f"layers must name at least 1 layer, got {self.layers}")
        check(len(set(self.layers)) == len(self.layers), f"layers must name each layer once, got {self.layers}")
        check(self.steps >= 1, f"steps must be at least 1, got {self.steps}")
        for field in ("learning_rate", "max_norm", "ridge"):
            check(getattr(self, field) > 0, f"{field} must be above 0, got {getattr(self, field)}")
        for field in ("stop_loss", "decay", "kl_weight", "norm_anchor"):
            check(getattr(self, field) >= 0, f"{field} must be at least 0, got {getattr(self, field)}")

    def check(self, model: PreTrainedModel) -> None:
        """Raises: ValueError for a layer that the model does not have, weights of odd types, or MLPs behind a norm."""
        check_types(model)
        check_layers(model, self.layers)
        check_adds(model)  # since what a matrix is to put out is what its layer is to add

    def __call__(self, model: PreTrainedModel, task: EditTask, shared: Shared | None = None) -> Edited:
        """The edited copy; one matrix of each layer differs.

        Source: Meng et al., "Mass-editing memory in a transformer", 2023, algorithm 1.
        Raises: ValueError for a layer that is not there, or a prompt whose site is not known.
        """
        self.check(model)
        shared, layers = shared or Shared(), sorted(self.layers)  # each reads what the ones below it left
        known = task.same_subject if self.kl_weight else ()
        pairs = [(i, other) for i, some in enumerate(known) for other in some]
        asked, held, others = (
            _Prompts.of(queries, self.site, model.device)
            for queries in (task.requests, self._held(task), [other for _, other in pairs])
        )
        edited = copy_of(model)
        solvers = [
            self._solver(shared_statistics(edited, layer, task.background, shared, self.statistics_of, self.statistics))
            for layer in layers
        ]
        last = layers_of(edited)[layers[-1]]
        owners = torch.tensor([i for i, _ in pairs], dtype=torch.long, device=edited.device)
        around = _Around.of(others, owners, asked, edited, mlp_output(edited, layers[-1]), solvers[-1][0])
        values, details = self._values(edited, last, task.requests, asked, around)
        if self.norm_anchor:
            original = edited if shared.original is None else copy_of(shared.original)
            norm = self._anchor(original, task)
            before, written = asked.hidden(edited, last), asked.hidden(edited, mlp_output(edited, layers[-1]))
            values = before + anchored(written, values - before, norm)
            details["anchor"] = norm
        for number, layer in enumerate(layers):
            matrix, (metric, ridge) = mlp_output(edited, layer), solvers[number]
            missing = (values - asked.hidden(edited, last)) / (len(layers) - number)
            keys, still = asked.keys(edited, matrix), held.keys(edited, matrix)  # of which `still` are to miss nothing
            missing = torch.cat([missing, missing.new_zeros(len(still), missing.shape[1])])
            change = batch_update(missing, torch.cat([keys, still]), metric, ridge)
            weight = weight_of(edited, matrix)
            before_edit = weight.cpu().double()
            weight.copy_((before_edit + self._allowed(before_edit, change)).to(weight.dtype))
        left = (values - asked.hidden(edited, last)).norm() / values.norm()
        return Edited(stored_like(model, edited), {**details, "missing": float(left)})

    def _held(self, task: EditTask) -> list[Query]:
        """Prompts at which the matrices go on putting out what they do."""
        return []

    def _solver(self, statistics: KeyStatistics) -> tuple[torch.Tensor, float]:
        """The metric [D, D] and the ridge of batch_update."""
        raise NotImplementedError

    def _allowed(self, weight: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
        """What of a change [H, D] is made to a matrix [H, D]: all of it."""
        return change

    def _anchor(self, model: PreTrainedModel, task: EditTask) -> float:
        """The mean norm of the values that other answers to retained facts have in this model, without the largest 5%.

        Raises: ValueError for a task without facts to retain.
        """
        requests = pseudo_edits(task, self.norm_anchor)
        asked, none = (_Prompts.of(queries, self.site, model.device) for queries in (requests, []))
        last, matrix = layers_of(model)[max(self.layers)], mlp_output(model, max(self.layers))
        owners = torch.zeros(0, dtype=torch.long, device=model.device)
        alone = _Around(none, owners, torch.zeros(0, device=model.device))
        values, _ = self._values(model, last, requests, asked, alone)
        norms = (asked.hidden(model, matrix) + values - asked.hidden(model, last)).norm(dim=1).sort().values
        return float(norms[: len(norms) - int(0.05 * len(norms))].mean())

    def _values(
        self, model: PreTrainedModel, last: nn.Module, requests: Sequence[Query], asked: _Prompts, around: _Around
    ) -> tuple[torch.Tensor, dict[str, Any]]:
        """The hidden states [n, H] float64 after the last edited layer that give the new answers; how they came."""
        before = asked.hidden(model, last)
        found: list[torch.Tensor] = []
        steps, losses = 0, list[float]()
        for start in range(0, len(before), _ROWS):
            some = slice(start, start + _ROWS)
            tokens, targets = (rows.to(model.device) for rows in rows_of(requests[some]))
            near = around.of_rows(start, start + _ROWS)
            change, loss, taken = self._search(model, last, tokens, targets, asked.places[some], before[some], near)
            found.append(before[some] + change.cpu().double())
            steps, losses = max(steps, taken), losses + loss.tolist()
        return torch.cat(found), {"steps": steps, "loss": max(losses)}

    def _search(
        self,
        model: PreTrainedModel,
        last: nn.Module,
        tokens: torch.Tensor,
        targets: torch.Tensor,
        positions: torch.Tensor,
        before: torch.Tensor,
        around: _Around,
    ) -> tuple[torch.Tensor, torch.Tensor, int]:
        """Changes [n, H] of the hidden states by Adam, each as if it were searched for alone; losses [n]; steps."""
        norms = before.norm(dim=1, keepdim=True).float().to(tokens.device)
        change = torch.zeros(before.shape, device=tokens.device, requires_grad=True)
        optimizer = torch.optim.Adam([change], lr=self.learning_rate)
        answered = (targets != IGNORED).sum(1)
        with torch.no_grad():
            reference = around.said(model, last, change) if len(around.owners) else None
        for step in range(self.steps + 1):
            with _added(last, change, positions):
                logits = model(input_ids=tokens, use_cache=False).logits.float()
            nll = cross_entropy(logits.transpose(1, 2), targets, ignore_index=IGNORED, reduction="none").sum(1)
            loss = nll / answered
            if not bool(loss.isfinite().all()):
                raise FloatingPointError(f"loss is {loss.max().item()} at step {step}: try a lower learning_rate")
            searching = loss.detach() >= self.stop_loss
            if step == self.steps or not bool(searching.any()):
                break
            # The norm's own gradient at 0 is no number; a norm of almost 0 has one.
            length = (change.square().sum(1) + 1e-12).sqrt()
            total = (loss + self.decay * length / norms[:, 0].square()).sum()
            if reference is not None:
                moved = divergence(around.said(model, last, change), reference)
                total = total + self.kl_weight * (moved * around.shares).sum()
            optimizer.zero_grad()
            torch.autograd.backward(total)
            kept = change.detach().clone()
            optimizer.step()
            with torch.no_grad():
                change *= (self.max_norm * norms / change.norm(dim=1, keepdim=True).clamp_min(1e-12)).clamp_max(1.0)
                change.copy_(torch.where(searching[:, None], change, kept))
        return change.detach(), loss.detach(), step


@dataclasses.dataclass(frozen=True, kw_only=True)
class Memit(BatchSettings):
    """Least squares: the new values for the edited keys, weighed against no change for all keys of the corpus.

    The weight is lambda of equation 14 in units of the keys' width D: theirs, 15,000 and 20,000, are 0.9 D of GPT-J and
    3.1 D of GPT-2 XL.
    Source: Meng et al., "Mass-editing memory in a transformer", 2023, equation 14.
    """

    name: ClassVar[str] = "memit"
    goal: ClassVar[str] = "edit"

    covariance_weight: float = setting(0.01, "weight of the corpus's keys against the edited ones, in key widths")

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        super().__post_init__()
        check(self.covariance_weight > 0, f"covariance_weight must be above 0, got {self.covariance_weight}")

    def _solver(self, statistics: KeyStatistics) -> tuple[torch.Tensor, float]:
        # For keys like those of the corpus, k^T C^-1 k is D on average, whatever the corpus's size.
        return ridge_inverse(statistics, self.ridge), self.covariance_weight * len(statistics.second_moment)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Emmet(BatchSettings):
    """Equality constraints: every edited key gets its value, and the corpus's keys change as little as that allows.

    Source: Gupta et al., "A unified framework for model editing", 2024, the batched closed form with equality.
    """

    name: ClassVar[str] = "emmet"
    goal: ClassVar[str] = "edit"

    key_ridge: float = setting(1e-6, "added to the keys' Gram matrix, in units of its mean diagonal, for keys alike")

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        super().__post_init__()
        check(self.key_ridge > 0, f"key_ridge must be above 0, got {self.key_ridge}")

    def _solver(self, statistics: KeyStatistics) -> tuple[torch.Tensor, float]:
        # For keys like those of the corpus, k^T C^-1 k is D on average.
        return ridge_inverse(statistics, self.ridge), self.key_ridge * len(statistics.second_moment)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlphaEdit(BatchSettings):
    """Least squares in the directions that the corpus's keys hardly use, so that these keys cannot notice.

    In a sequence the keys of the edits before are in the system too, with nothing to change at them, as their K_p; they
    are read anew from the model that is edited. Theirs are those that it had right after each edit.
    A direction is free here if it is among the weakest that together hold a share of C's trace, in theirs if its
    eigenvalue is below 0.02, a number that belongs to the scale of one model's keys.
    Source: Fang et al., "AlphaEdit: null-space constrained knowledge editing for language models", 2025, section 3, and
    their AlphaEdit/AlphaEdit_main.py and experiments/evaluate.py.
    """

    name: ClassVar[str] = "alphaedit"
    goal: ClassVar[str] = "edit"
    reads: ClassVar[tuple[str, ...]] = (*BatchSettings.reads, "earlier")

    null_energy: float = setting(
        0.003, "share of the keys' energy in the directions that may change, the weakest first"
    )
    penalty: float = setting(
        1e-3, "weight of the change's squared norm, in units of the mean energy of a free direction"
    )
    earlier_keys: bool = setting(True, "sequence: hold the keys of the edits before where they are", later=True)

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        super().__post_init__()
        check(0 < self.null_energy < 1, f"null_energy must lie between 0 and 1, got {self.null_energy}")
        check(self.penalty > 0, f"penalty must be above 0, got {self.penalty}")

    def _held(self, task: EditTask) -> list[Query]:
        return [request for before in task.earlier for request in before.requests] if self.earlier_keys else []

    def _solver(self, statistics: KeyStatistics) -> tuple[torch.Tensor, float]:
        projection = null_projection(statistics.second_moment, self.null_energy)
        free = projection.trace()
        return projection, self.penalty * float((projection * statistics.second_moment).sum() / free)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sphere(AlphaEdit):
    """AlphaEdit's change with less of it along the principal directions of the matrix's own rows.

    Rows are scaled to unit length; U are the leading eigenvectors of their second moment that together hold
    `principal_energy` of its trace, and the change is multiplied by I - suppression x U U^T. They are those of the
    matrix as it is at each edit. What is suppressed is not made up for but by the layers above.
    Source: Liu et al., "Energy-regularized sequential model editing on hyperspheres", 2025 (arXiv 2510.01172), there
    SPHERE, and their AlphaEdit/AlphaEdit_main.py, project_B_into_soft_dirs, with 0.5 and 0.5 on AlphaEdit.
    """

    name: ClassVar[str] = "sphere"

    principal_energy: float = setting(0.5, "share of the unit rows' second moment in the directions that are spared")
    suppression: float = setting(0.5, "share of the change along these directions that is left out")

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        super().__post_init__()
        check(0 <= self.principal_energy <= 1, f"principal_energy must be from 0 to 1, got {self.principal_energy}")
        check(0 <= self.suppression <= 1, f"suppression must be from 0 to 1, got {self.suppression}")

    def _allowed(self, weight: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
        principal = principal_directions(weight, self.principal_energy)
        return change - self.suppression * (change @ principal) @ principal.T


def principal_directions(weight: torch.Tensor, energy: float) -> torch.Tensor:
    """The leading eigenvectors [D, r] of the second moment of a matrix's unit rows [H, D]: as many as pass this share.

    Never none: r is one more than the number of those that together hold no more than the share, and D at most.
    """
    unit = weight / (weight.norm(dim=1, keepdim=True) + 1e-8)
    values, vectors = torch.linalg.eigh(unit.T @ unit)
    held = values.flip(0).clamp_min(0).cumsum(0) / values.clamp_min(0).sum()
    count = min(len(values), int((held <= energy).sum()) + 1)
    leading: torch.Tensor = vectors[:, len(values) - count :]
    return leading


def pseudo_edits(task: EditTask, count: int) -> list[Query]:
    """So many of the facts that must stay, kinds in turn, each with the answer that the next of its kind has.

    Answers are so as many and as mixed as those of edits of different facts. Where all of a kind have one answer, it is
    a request's.
    Raises: ValueError for a task without such facts.
    """
    asked: list[list[Query]] = []
    for facts in task.retain.values():
        kind: list[Query] = []
        for number, fact in enumerate(facts[:count]):
            others = (other.answer_ids for other in (*facts[number + 1 :], *facts[:number], *task.requests))
            answer = next((other for other in others if other != fact.answer_ids), None)
            if answer is not None:
                kind.append(dataclasses.replace(fact, answer_ids=answer))
        asked.append(kind)
    in_turn = itertools.chain.from_iterable(itertools.zip_longest(*asked))
    found = list(itertools.islice((query for query in in_turn if query is not None), count))
    check(len(found) > 0, "task must have facts to retain that can be given other answers, got none")
    return found


def anchored(written: torch.Tensor, change: torch.Tensor, norm: float) -> torch.Tensor:
    """What is left of changes [n, H] of what an MLP wrote [n, H] once each sum is scaled to this norm.

    Where the sum is more than twice as long, nothing is changed.
    Source: Liu et al., "Norm anchors make model edits last", 2026 (arXiv 2602.02543), there norm-anchor scaling, and
    their NAS/compute_z.py and util/vstar_stats.py.
    """
    values = written + change
    lengths = values.norm(dim=1, keepdim=True)
    scaled = values * (norm / lengths.clamp_min(1e-10))
    return torch.where(lengths > 2 * norm, written, scaled) - written


def batch_update(missing: torch.Tensor, keys: torch.Tensor, metric: torch.Tensor, ridge: float) -> torch.Tensor:
    """The change [H, D] float64 of a matrix that adds missing [n, H] to its products with keys [n, D].

    Delta = R^T (K M K^T + ridge I)^-1 K M, for the metric M [D, D]. With M = C^-1 it minimises
    sum_i |Delta k_i - r_i|^2 + ridge tr(Delta C Delta^T), which is MEMIT's equation 14 written for n keys instead
    of D directions, and EMMET's closed form as the ridge goes to 0. With a projection P for M it is AlphaEdit's.
    """
    weighted = keys @ metric  # [n, D]
    gram = weighted @ keys.T + ridge * torch.eye(len(keys), dtype=keys.dtype)
    change: torch.Tensor = missing.T @ torch.linalg.solve(gram, weighted)
    return change


def null_projection(moment: torch.Tensor, energy: float) -> torch.Tensor:
    """The projection [D, D] on the weakest eigenvectors of C that together hold at most this share of its trace.

    Never empty: the weakest direction is always free.
    """
    values, vectors = torch.linalg.eigh(moment)
    held = values.clamp_min(0).cumsum(0) / values.clamp_min(0).sum()
    count = max(1, int((held <= energy).sum()))
    free = vectors[:, :count]
    projection: torch.Tensor = free @ free.T
    return projection


@dataclasses.dataclass(frozen=True)
class _Prompts:
    """Prompts, and the place in each whose keys and hidden states are read."""

    tokens: torch.Tensor  # [n, T]
    ends: torch.Tensor  # [n] places of the last tokens
    places: torch.Tensor  # [n]

    @classmethod
    def of(cls, queries: Sequence[Query], site: str, device: torch.device) -> _Prompts:
        """Raises: ValueError for a prompt whose site is not known."""
        places = [site_place(query, site) for query in queries]
        return cls(*padded(queries, device), torch.tensor(places, dtype=torch.long, device=device))

    def rows(self, chosen: torch.Tensor) -> _Prompts:
        """The prompts at these numbers."""
        return _Prompts(self.tokens[chosen], self.ends[chosen], self.places[chosen])

    def keys(self, model: PreTrainedModel, matrix: nn.Module) -> torch.Tensor:
        """What the matrix is given [n, D] float64."""
        if not len(self.places):
            return torch.zeros(0, weight_of(model, matrix).shape[1], dtype=torch.float64)
        return self._at(keys_of(model, matrix, self.tokens))

    def hidden(self, model: PreTrainedModel, layer: nn.Module) -> torch.Tensor:
        """What the layer, or another part of the model, puts out [n, H] float64."""
        with torch.no_grad(), recorded(layer) as outputs:
            model.base_model(input_ids=self.tokens, use_cache=False)
        return self._at(outputs[0])

    def _at(self, states: torch.Tensor) -> torch.Tensor:
        return states[torch.arange(len(self.places), device=states.device), self.places].cpu().double()


@dataclasses.dataclass(frozen=True)
class _Around:
    """Other prompts about the edited subjects, and how much of an edit's change each of them would see.

    That is k'^T M k / k^T M k for the keys k of the edit and k' of the other prompt in the last edited layer, the share
    that one write there would give it. The source adds all of the change, at the subject's own token.
    """

    prompts: _Prompts
    owners: torch.Tensor  # [n] the request that each belongs to
    scales: torch.Tensor  # [n]

    @classmethod
    def of(
        cls,
        prompts: _Prompts,
        owners: torch.Tensor,
        asked: _Prompts,
        model: PreTrainedModel,
        matrix: nn.Module,
        metric: torch.Tensor,
    ) -> _Around:
        """The prompts with their requests `owners` [n] among those that are asked."""
        own = asked.keys(model, matrix)[owners.cpu()]
        weighted = own @ metric
        scales = (prompts.keys(model, matrix) * weighted).sum(1) / (own * weighted).sum(1)
        return cls(prompts, owners, scales.float().to(owners.device))

    def of_rows(self, start: int, stop: int) -> _Around:
        """The prompts that belong to these requests, which are counted from 0 anew."""
        chosen = ((self.owners >= start) & (self.owners < stop)).nonzero()[:, 0]
        return _Around(self.prompts.rows(chosen), self.owners[chosen] - start, self.scales[chosen])

    @property
    def shares(self) -> torch.Tensor:
        """One over the number of prompts that belong to the same request [n]."""
        return 1 / self.owners.bincount()[self.owners]

    def said(self, model: PreTrainedModel, layer: nn.Module, change: torch.Tensor) -> torch.Tensor:
        """The log-probabilities [n, vocabulary] of what follows while the requests' changes [requests, H] are made."""
        with _added(layer, self.scales[:, None] * change[self.owners], self.prompts.places):
            return last_log_probabilities(model, self.prompts.tokens, self.prompts.ends)


@contextlib.contextmanager
def _added(layer: nn.Module, change: torch.Tensor, positions: torch.Tensor) -> Iterator[None]:
    """While open, the layer's output at place positions[i] of row i has change[i] [H] added."""
    rows = torch.arange(len(positions), device=positions.device)

    def add(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        state = hidden_of(output).clone()
        state[rows, positions] += change.to(state.dtype)
        return (state, *output[1:]) if isinstance(output, tuple) else state

    handle = layer.register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()
