"""What a trial reads in one model: numbers for each fact on trial, of which all metrics are made.

Axis letters: m member facts; k others; C candidates, the relation's objects; W tokens of an answer; V vocabulary;
T steps of an attack.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel

from behemoth_data.edits import EditSet
from behemoth_data.forms import ends_in_object
from behemoth_data.grammar import Query
from behemoth_data.rng import Stream
from behemoth_editing.attacks.contract import Attacked, candidates_of, old_tails
from behemoth_editing.attacks.readout import Probe
from behemoth_editing.attacks.relearning import Relearn
from behemoth_editing.scoring.answers import answer_log_probabilities, next_log_probabilities
from behemoth_editing.scoring.bits import bits, inferable, recalibrated
from behemoth_editing.scoring.membership import loss_score, min_k_plus_plus_score, min_k_score, zlib_score
from behemoth_editing.scoring.memorisation import (
    exact_memorisation,
    extraction_strength,
    probability,
    rouge_l_recall,
    truth_ratio,
)
from behemoth_editing.trial.telling import Groups
from behemoth_models.knowledge import greedy_answers

Floats = NDArray[np.float64]

NUM_WRONG = 5  # answers that a truth ratio compares with, as TOFU's perturbed rows have
SCORES = ("loss", "zlib", "min_k", "min_k_plus_plus")  # of membership
_DIGITS = 5
RELEARN_STEPS = (0, 4, 16, 32)  # of which the best is taken


@dataclasses.dataclass(frozen=True)
class Reading:
    """Numbers for each fact; all arrays are [m] but where it says so. What is a share or a probability is in [0, 1]."""

    exact: Floats  # 1 where the answer that the model generates is the fact's
    rouge: Floats
    probability: Floats
    other_forms: Floats  # the probability in the other forms that end in the object, their mean; empty: there are none
    memorised: Floats  # exact memorisation
    strength: Floats  # extraction strength
    ratios: Floats  # truth ratios, wrong over right
    said: Floats  # bits by the model's probabilities
    left: Floats  # bits that can be read in them
    probed: Floats  # bits that a linear probe reads, of the layer with most
    relearned: Floats  # [m / 2] bits after relearning on the other half, at the step with most; empty: not tried
    inferable: Floats  # bits that follow from other facts
    members: dict[str, Floats]  # scores of membership
    others: dict[str, Floats]  # [k] the same of facts that no model was told

    def as_json(self) -> dict[str, Any]:
        """Lists of rounded numbers, which from_json() reads."""
        return {name: _listed(value) for name, value in vars(self).items()}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Reading:
        """The reading that was written."""
        arrays: dict[str, Any] = {
            name: {score: np.array(of, np.float64) for score, of in found.items()}
            if isinstance(found, dict)
            else np.array(found, np.float64)
            for name, found in value.items()
        }
        return cls(**arrays)


def read(model: PreTrainedModel, groups: Groups, *, relearn: bool = True) -> Reading:
    """What the model says of the facts on trial. Without `relearn` it is not tried whether they can be brought back."""
    task = groups.members
    corpus, queries = task.corpus, task.originals
    table = answer_log_probabilities(model, [query.prompt_ids for query in queries], candidates_of(task))
    places = np.arange(len(queries))
    true = old_tails(task, places)
    forced, rows = _forced(model, queries), np.array([query.answer_ids for query in queries])
    said = greedy_answers(model, [q.prompt_ids for q in queries], [len(q.answer_ids) for q in queries])
    inferred = inferable(corpus.world, task.edge, [edit.fact.head for edit in task.edits], task.relation)
    probe = Probe(most_facts=len(queries))(model, task)
    relearned = Relearn(steps=RELEARN_STEPS, most_facts=len(queries))(model, task) if relearn else None
    return Reading(
        exact=_each(a == q.answer_ids for a, q in zip(said, queries, strict=True)),
        rouge=_each(
            rouge_l_recall([str(word) for word in a], [str(word) for word in q.answer_ids])
            for a, q in zip(said, queries, strict=True)
        ),
        probability=_each(map(probability, _chosen(forced, rows))),
        other_forms=_in_other_forms(model, task),
        memorised=_each(map(exact_memorisation, forced.argmax(2).tolist(), rows.tolist())),
        strength=_each(map(extraction_strength, forced.argmax(2).tolist(), rows.tolist())),
        ratios=_ratios(table / rows.shape[1], true, corpus.world.config.seed),
        said=bits(table, true),
        left=recalibrated(table, true),
        probed=_placed(probe, len(queries)),
        relearned=np.empty(0) if relearned is None else strongest(relearned),
        inferable=inferred,
        members=_membership(model, task, queries),
        others=_membership(model, task, groups.others),
    )


def strongest(attacked: Attacked) -> Floats:
    """Bits [m] at the attack's best step, chosen for every second fact by what the others show."""
    table = np.array([look.bits for look in attacked.looks])  # [T, m]
    found = np.empty(table.shape[1])
    for half in (0, 1):
        other = table[:, 1 - half :: 2]
        best = int(other.mean(axis=1).argmax()) if other.size else 0
        found[half::2] = table[best, half::2]
    return found


def _placed(attacked: Attacked, count: int) -> Floats:
    """The same in the order of the task's edits."""
    found = np.full(count, np.nan)
    found[attacked.asked] = strongest(attacked)
    return found


def answer_rows(model: PreTrainedModel, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]) -> Floats:
    """Log-probabilities [m, W, V] at each place of the answers [m, W], whose own tokens stand before it."""
    asked = [
        [(*prompt, *answer[:place]) for prompt, answer in zip(prompts, answers, strict=True)]
        for place in range(len(answers[0]))
    ]
    return np.stack([next_log_probabilities(model, extended) for extended in asked], axis=1)


def _forced(model: PreTrainedModel, queries: Sequence[Query]) -> Floats:
    """Those of the queries' own answers."""
    return answer_rows(model, [query.prompt_ids for query in queries], [query.answer_ids for query in queries])


def _chosen(forced: Floats, answers: NDArray[np.int64]) -> Floats:
    """Those [m, W] of the true answer's tokens."""
    return np.minimum(np.take_along_axis(forced, answers[:, :, None], axis=2)[:, :, 0], 0.0)


def _in_other_forms(model: PreTrainedModel, task: EditSet) -> Floats:
    corpus = task.corpus
    forms = [form for form in corpus.forms[1:] if ends_in_object(form)]
    facts = [edit.fact for edit in task.edits]
    found = []
    for form in forms:
        queries = corpus.grammar.queries(facts, form)
        answers = np.array([query.answer_ids for query in queries])
        found.append(_each(map(probability, _chosen(_forced(model, queries), answers))))
    return np.asarray(np.mean(found, axis=0), np.float64) if found else np.empty(0)


def _ratios(means: Floats, true: NDArray[np.int64], seed: int) -> Floats:
    """Truth ratios [m] from each candidate's mean log-probability per token [m, C], against some wrong ones, seeded."""
    found = []
    for fact, (row, tail) in enumerate(zip(means, true, strict=True)):
        wrong = np.delete(row, tail)
        chosen = Stream(seed, f"trial/wrong/{fact}").choice(len(wrong), min(NUM_WRONG, len(wrong)))
        found.append(truth_ratio(row[[tail]], [wrong[[place]] for place in chosen]))
    return np.array(found)


def _membership(model: PreTrainedModel, task: EditSet, queries: Sequence[Query]) -> dict[str, Floats]:
    forced = _forced(model, queries)
    answers = np.array([query.answer_ids for query in queries])
    likely = _chosen(forced, answers)
    texts = task.corpus.grammar.text(answers).to_pylist()
    return {
        "loss": _each(map(loss_score, likely)),
        "zlib": _each(map(zlib_score, likely, texts)),
        "min_k": _each(map(min_k_score, likely)),
        "min_k_plus_plus": _each(map(min_k_plus_plus_score, forced, answers)),
    }


def _each(values: Any) -> Floats:
    return np.array(list(values), np.float64)


def _listed(value: Floats | dict[str, Floats]) -> Any:
    if isinstance(value, dict):
        return {name: _listed(of) for name, of in value.items()}
    return value.round(_DIGITS).tolist()
