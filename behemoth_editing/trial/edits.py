"""Metrics of editing on trial: what CounterFact's authors and EasyEdit count, beside what a model says, edit by edit.

Ten edits of a relation that is not the one of forgetting, made well, badly, and not at all. Trains no model from the
start but by the reference, retraining.
Axis letters: e edits; p prompts of one edit; W tokens of an answer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel

from behemoth_data.edits import EditConfig, EditSet, Probe, draw_edits
from behemoth_data.settings import check, conform, setting
from behemoth_editing.bench.floors import Noise
from behemoth_editing.methods.contract import Shared
from behemoth_editing.methods.finetune import FineTune
from behemoth_editing.methods.memit import Memit
from behemoth_editing.methods.retrain import Retrain
from behemoth_editing.methods.rome import Rome
from behemoth_editing.scoring.answers import predict
from behemoth_editing.scoring.counterfact import efficacy, portability, specificity
from behemoth_editing.scoring.intervals import Interval, estimate_mean
from behemoth_editing.scoring.memorisation import exact_memorisation, mean_log_probability
from behemoth_editing.scoring.outcomes import answered
from behemoth_editing.trial.judging import refusing, scrambled, without_secrets
from behemoth_editing.trial.readings import answer_rows
from behemoth_editing.trial.telling import Groups

Floats = NDArray[np.float64]
Row = dict[str, Any]

NUM_EDITS = 10
LEAST_RELATIONS = 3

# Kinds of probes.
_CHANGED = ("edited", "paraphrase")
_NEAR, _NESTED = "same_old_object", "nested_subject"
_Pairs = Sequence[tuple[Probe, Sequence[int]]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class EditTrialConfig:
    """Which edits are made for metrics of editing to be tried on."""

    num_edits: int = setting(NUM_EDITS, "edits of the last relation, each of another object")
    edit_seed: int = setting(0, "seed of their draw")
    probes_per_edit: int = setting(10, "probes of each kind, per edit")
    retrain: bool = setting(True, "also train a model from the start on the world after the edits")

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        conform(self)
        check(self.num_edits >= 2, f"num_edits must be at least 2, got {self.num_edits}")
        _ = self.draw(LEAST_RELATIONS)

    def draw(self, num_relations: int) -> EditConfig:
        """The edits in a world of so many relations.

        Raises: ValueError for fewer than 3: one is on trial, one is edited, and one is edited in its place.
        """
        check(
            num_relations >= LEAST_RELATIONS,
            f"num_relations must be at least {LEAST_RELATIONS} for a trial, got {num_relations}",
        )
        return EditConfig(
            scenario="different",
            relation=num_relations - 1,
            num_edits=self.num_edits,
            edit_seed=self.edit_seed,
            probes_per_edit=self.probes_per_edit,
        )


Change = Callable[[PreTrainedModel, EditSet, Groups], PreTrainedModel]

# What is done to the told model: edits made in full, not at all, elsewhere, as methods make them, and garbage.
CHANGES: dict[str, Change] = {
    "retrain": lambda model, task, _: Retrain()(model, task).model,
    "nothing": lambda model, _task, _groups: model,
    "elsewhere": lambda model, task, groups: FineTune()(model, _other(task, groups)).model,
    "finetune": lambda model, task, _: FineTune()(model, task).model,
    "begun": lambda model, task, _: FineTune(max_steps=10)(model, task).model,
    "rome": lambda model, task, _: Rome()(model, task, Shared(progress=False)).model,
    "memit": lambda model, task, _: Memit()(model, task, Shared(progress=False)).model,
    "noised": lambda model, task, _: Noise(relative=1.0)(model, task).model,
    "scrambled": lambda model, task, _: scrambled(model, task.corpus.world.config.seed),
    "refusing": lambda model, task, groups: refusing(model, groups, relation=task.relation),
}


def judge_edits(model: PreTrainedModel, groups: Groups, config: EditTrialConfig) -> Iterator[Row]:
    """A row for each change: what every metric says of each edit."""
    corpus = groups.members.corpus
    (drawn,) = draw_edits(corpus, config.draw(corpus.world.config.num_relations))
    task = without_secrets(drawn, groups)
    before = predict(model, task.probes)
    for name, change in CHANGES.items():
        if name != "retrain" or config.retrain:
            yield {"change": name, "edits": read_edits(change(model, task, groups), task, before)}


def read_edits(model: PreTrainedModel, task: EditSet, before: Sequence[Sequence[int]]) -> list[dict[str, float]]:
    """What every metric says of each edit [e]; a metric is missing where the world has nothing to ask.

    `before` are the unedited model's answers to the task's probes. Metrics of locality are about facts that the model
    had right before.
    """
    said = predict(model, task.probes)
    found = []
    for number in range(len(task.edits)):
        own = [
            (probe, now)
            for probe, was, now in zip(task.probes, before, said, strict=True)
            if probe.edit == number and (probe.kind in _CHANGED or answered(was, probe.before.answer_ids))
        ]
        of = {kind: [pair for pair in own if pair[0].kind == kind] for kind in (*_CHANGED, _NEAR, _NESTED)}
        old, new = task.originals[number].answer_ids, task.requests[number].answer_ids
        values: dict[str, float] = {}
        for kind, name in ((_CHANGED[0], "efficacy"), (_CHANGED[1], "paraphrase")):
            if of[kind]:
                values[name] = efficacy(_losses(model, of[kind], new), _losses(model, of[kind], old))
                values[f"{name}_tokens"] = _tokens(model, of[kind], [probe.after.answer_ids for probe, _ in of[kind]])
                values[f"{name}_generated"] = _generated(of[kind], after=True)
        if of[_NEAR]:
            values["specificity"] = specificity(_losses(model, of[_NEAR], new), _losses(model, of[_NEAR], old))
            values["specificity_tokens"] = _tokens(
                model, of[_NEAR], [probe.before.answer_ids for probe, _ in of[_NEAR]]
            )
            values["specificity_generated"] = _generated(of[_NEAR], after=False)
        if of[_NESTED]:
            answers_after = [probe.after.answer_ids for probe, _ in of[_NESTED]]
            likeliest = _likeliest(model, of[_NESTED], answers_after)
            values["portability"] = portability(likeliest, answers_after)
            values["portability_generated"] = _generated(of[_NESTED], after=True)
        found.append({name: round(value, 5) for name, value in values.items()})
    return found


def _losses(model: PreTrainedModel, pairs: _Pairs, answer: tuple[int, ...]) -> Floats:
    """Mean negative log-likelihood [p] of the answer's tokens after each prompt."""
    rows = answer_rows(model, [probe.before.prompt_ids for probe, _ in pairs], [answer] * len(pairs))
    return np.array([-mean_log_probability(row[np.arange(len(answer)), list(answer)]) for row in rows])


def _likeliest(model: PreTrainedModel, pairs: _Pairs, answers: Sequence[Sequence[int]]) -> list[list[int]]:
    """The likeliest tokens [p, W] where the answers' own stand before them."""
    prompts = [probe.before.prompt_ids for probe, _ in pairs]
    found: list[list[int]] = answer_rows(model, prompts, answers).argmax(2).tolist()
    return found


def _tokens(model: PreTrainedModel, pairs: _Pairs, answers: Sequence[Sequence[int]]) -> float:
    """EasyEdit's accuracy: the mean share of the answers' tokens that are the likeliest, teacher-forced."""
    likeliest = _likeliest(model, pairs, answers)
    return float(np.mean([exact_memorisation(*pair) for pair in zip(likeliest, answers, strict=True)]))


def _generated(pairs: _Pairs, *, after: bool) -> float:
    """Ours: the share of prompts after which the model generates the whole answer."""
    wanted = [(probe.after if after else probe.before).answer_ids for probe, _ in pairs]
    return float(np.mean([answered(now, answer) for (_, now), answer in zip(pairs, wanted, strict=True)]))


def _other(task: EditSet, groups: Groups) -> EditSet:
    """As many edits of another relation, the second but one on trial."""
    config = dataclasses.replace(task.config, relation=task.relation - 1)
    (drawn,) = draw_edits(task.corpus, config)
    return without_secrets(drawn, groups)


# Each metric with that of ours which asks the same of what the model generates.
PAIRS = {
    "efficacy": "efficacy_generated",
    "efficacy_tokens": "efficacy_generated",
    "paraphrase": "paraphrase_generated",
    "paraphrase_tokens": "paraphrase_generated",
    "specificity": "specificity_generated",
    "specificity_tokens": "specificity_generated",
    "portability": "portability_generated",
}
TITLES = {
    "efficacy": "efficacy: new likelier than old (ES)",
    "efficacy_tokens": "token accuracy of the new answer",
    "paraphrase": "the same of paraphrases (PS)",
    "paraphrase_tokens": "token accuracy of paraphrases",
    "specificity": "specificity: neighbours' old likelier than new (NS)",
    "specificity_tokens": "token accuracy of neighbours",
    "portability": "portability: token accuracy of what follows",
}


@dataclasses.dataclass(frozen=True)
class EditVerdict:
    """One metric beside the generated answers to the same prompts, by change: means over edits and worlds."""

    name: str
    said: dict[str, Interval]  # the metric
    generated: dict[str, Interval]  # ours


def edit_verdicts(worlds: Sequence[tuple[str, Sequence[Row]]]) -> list[EditVerdict]:
    """One for every metric, of worlds by name and the rows of each. Raises: ValueError for no world."""
    check(len(worlds) > 0, "worlds must be at least 1 for a trial, got 0")
    found = []
    for name, ours in PAIRS.items():
        by_change: dict[str, list[tuple[str, float, float]]] = {}
        for world, rows in worlds:
            for row in rows:
                pairs = [(world, edit[name], edit[ours]) for edit in row["edits"] if name in edit]
                by_change.setdefault(row["change"], []).extend(pairs)
        by_change = {change: pairs for change, pairs in by_change.items() if pairs}
        said, generated = (
            {
                change: estimate_mean([pair[part] for pair in pairs], [pair[0] for pair in pairs], 0, 1).at()
                for change, pairs in by_change.items()
            }
            for part in (1, 2)
        )
        if said:
            found.append(EditVerdict(name, said, generated))
    return found
