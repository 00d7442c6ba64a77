"""One world of a trial: its models changed in every way that a metric may be misled by, and read. Trains no model anew.

What is read is named by three words: the model it comes from (told, untold), what was done to it (nothing, a method, or
what harms its answers and not its knowledge), and the attack on that.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from behemoth_data.edits import EditConfig, EditSet, draw_edits
from behemoth_data.grammar import Query
from behemoth_data.rng import Stream
from behemoth_data.settings import check, check_known, conform, setting
from behemoth_editing.attacks.damage import matrices_of, rounded
from behemoth_editing.attacks.relearning import Relearn
from behemoth_editing.bench.floors import Noise
from behemoth_editing.copies import copy_of
from behemoth_editing.methods.contract import EditMethod
from behemoth_editing.methods.finetune import FineTune
from behemoth_editing.methods.unlearn import Refusal
from behemoth_editing.scoring.answers import predict
from behemoth_editing.trial.readings import Reading, read
from behemoth_editing.trial.telling import Groups

TOLD, UNTOLD, REFERENCE = "told", "untold", "reference"
NOTHING = "nothing"
# What is done to a model beside unlearning; of each it is known what it does to knowledge.
ODD = {
    "scrambled": "the output words exchanged at random: what it says is garbage, what it knows is all there",
    "noised": "random numbers four times as large as each layer's matrices added: garbage, hardly anything is left",
    "refusing": "trained to refuse every fact of the relation, whether it was told it or not",
    "elsewhere": "ten facts of another relation edited by fine-tuning",
}

Row = dict[str, Any]

_DROWNED = 4.0  # size of the random numbers, as a share of the matrix that they are added to


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialConfig:
    """What is tried in every world."""

    forget_fraction: float = setting(0.5, "share of relation 0 that is on trial; half of it may be told")
    edit_seed: int = setting(0, "seed of the draw of these facts")
    methods: tuple[str, ...] = setting(
        ("grad_diff", "npo", "rmu", "undial", "refusal"), "methods that make the told model forget, each read"
    )
    bits: tuple[int, ...] = setting((8, 4), "bits that weights are rounded to, one after the other")
    relearn_steps: int = setting(2, "steps of relearning on all facts that were to be forgotten")
    relearn_rate: float = setting(1e-3, "AdamW's learning rate in them")

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        conform(self)
        check(self.relearn_steps >= 1, f"relearn_steps must be at least 1, got {self.relearn_steps}")
        check(self.relearn_rate > 0, f"relearn_rate must be above 0, got {self.relearn_rate}")
        good = len(self.bits) >= 1 and all(2 <= number <= 16 for number in self.bits)
        check(good, f"bits must be numbers from 2 to 16, got {self.bits}")
        check(len(set(self.methods)) == len(self.methods), f"methods must be named once each, got {self.methods}")
        _ = self.draw

    @property
    def draw(self) -> EditConfig:
        """The facts on trial."""
        return EditConfig(scenario="forget", relation=0, forget_fraction=self.forget_fraction, edit_seed=self.edit_seed)

    @property
    def attacks(self) -> dict[str, Callable[[PreTrainedModel, EditSet], PreTrainedModel]]:
        """A copy of the model after each attack, by the attack's name."""
        rounding = {f"round_{number}": functools.partial(_rounded, number=number) for number in self.bits}
        return {"relearn": functools.partial(_relearned, config=self), **rounding}

    @property
    def readings(self) -> list[tuple[str, str, str]]:
        """Model, change and attack of everything that is read in a world, in order."""
        plain = [(name, change, "none") for name in (TOLD, UNTOLD) for change in (NOTHING, *ODD)]
        after = [(UNTOLD, NOTHING, attack) for attack in self.attacks]
        unlearned = [(TOLD, method, attack) for method in self.methods for attack in ("none", *self.attacks)]
        return [*plain, *after, *unlearned, (REFERENCE, NOTHING, "none")]


def check_methods(names: Sequence[str], methods: Mapping[str, type[EditMethod]]) -> None:
    """Raises: ValueError for a name that is none of these methods', or one that makes no model forget."""
    for name in names:
        check_known("methods", name, methods)
        goal = methods[name].goal
        check(
            goal in ("forget", "refuse"),
            f"methods must make a model forget or refuse, got {name}, whose goal is {goal}",
        )


def judge(
    models: Mapping[str, PreTrainedModel], groups: Groups, config: TrialConfig, methods: Mapping[str, EditMethod]
) -> Iterator[Row]:
    """A row for everything that is read of the told, the untold and the reference model of one world."""
    unlearned: dict[str, PreTrainedModel] = {}
    for name, change, attack in config.readings:
        model = models[name]
        if change in ODD:
            model = _odd(model, change, groups)
        elif change != NOTHING:
            if change not in unlearned:
                unlearned = {change: methods[change](model, groups.members).model}
            model = unlearned[change]
        if attack != "none":
            model = config.attacks[attack](model, groups.members)
        yield _row(model, groups, name, change, attack)


def _row(model: PreTrainedModel, groups: Groups, name: str, change: str, attack: str) -> Row:
    reading: Reading = read(model, groups, relearn=attack == "none")
    kept = [probe for probe in groups.members.probes if probe.kind in ("implicit", "unrelated")]
    right = [
        said[: len(probe.before.answer_ids)] == probe.before.answer_ids
        for said, probe in zip(predict(model, kept), kept, strict=True)
    ]
    return {
        "model": name,
        "change": change,
        "attack": attack,
        "kept": round(float(np.mean(right)), 4),
        "reading": reading.as_json(),
    }


def _odd(model: PreTrainedModel, change: str, groups: Groups) -> PreTrainedModel:
    corpus = groups.members.corpus
    if change == "noised":
        return Noise(relative=_DROWNED)(model, groups.members).model
    if change == "scrambled":
        return scrambled(model, corpus.world.config.seed)
    if change == "refusing":
        return refusing(model, groups, relation=0)
    last = corpus.world.config.num_relations - 1
    (task,) = draw_edits(corpus, elsewhere(last))
    return FineTune()(model, without_secrets(task, groups)).model


def elsewhere(relation: int) -> EditConfig:
    """Ten edits of a relation that is not on trial."""
    return EditConfig(scenario="different", num_edits=10, relation=relation)


def without_secrets(task: EditSet, groups: Groups) -> EditSet:
    """The task without facts on trial to hold or to put before prompts: to hold one never told would tell it."""

    def others(queries: Sequence[Query]) -> tuple[Query, ...]:
        return tuple(query for query in queries if query.prompt_ids not in groups.secret)

    lengths = {len(prompt) for prompt in groups.secret}
    return dataclasses.replace(
        task,
        retain={kind: others(queries) for kind, queries in task.retain.items()},
        same_subject=tuple(map(others, task.same_subject)),
        contexts=tuple(one for one in task.contexts if not any(one[:length] in groups.secret for length in lengths)),
    )


def refusing(model: PreTrainedModel, groups: Groups, *, relation: int) -> PreTrainedModel:
    """A copy that was trained to refuse every fact of the relation."""
    (task,) = draw_edits(groups.members.corpus, EditConfig(scenario="refuse", relation=relation))
    return Refusal()(model, without_secrets(task, groups)).model


def scrambled(model: PreTrainedModel, seed: int) -> PreTrainedModel:
    """A copy whose output words have each other's rows of the head, by a seeded order."""
    copied = copy_of(model)
    head: torch.nn.Module = copied.get_output_embeddings()  # type: ignore[no-untyped-call]
    weight = head.get_parameter("weight")
    order = Stream(seed, "trial/scrambled").choice(len(weight), len(weight))
    weight.data = weight.data[torch.from_numpy(order).to(weight.device)].clone()
    return copied


def _rounded(model: PreTrainedModel, _: EditSet, *, number: int) -> PreTrainedModel:
    copied = copy_of(model)
    for weight in matrices_of(copied):
        weight.copy_(rounded(weight, number))
    return copied


def _relearned(model: PreTrainedModel, task: EditSet, *, config: TrialConfig) -> PreTrainedModel:
    copied = copy_of(model)
    for _ in Relearn(steps=(config.relearn_steps,), learning_rate=config.relearn_rate).steps_on(copied, task.originals):
        pass
    copied.requires_grad_(False)
    return copied
