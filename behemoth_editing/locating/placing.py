"""What is read in a model whose late facts are in a known layer: where localisers see them, and edits at each layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from behemoth_data.corpus import Corpus
from behemoth_data.edits import EditConfig
from behemoth_data.settings import check, conform, setting
from behemoth_data.world import Fact
from behemoth_editing.architecture import layers_of
from behemoth_editing.locating.late import EDGE, RELATION, Late, late_edits
from behemoth_editing.locating.localisers import LOCALISERS, Asked, answer_probabilities
from behemoth_editing.methods.contract import EditMethod, Shared
from behemoth_editing.scoring.answers import predict
from behemoth_editing.scoring.outcomes import answered
from behemoth_models.knowledge import known_facts

Row = dict[str, Any]

# What is counted of edits: prompts with the new answer, by kind of probe, and facts that are still known.
MADE = {"success": "edited", "paraphrase": "paraphrase"}
KEPT = {"late": "other late facts kept", "early": "facts told from the start kept", "others": "other relations kept"}
_DIGITS = 6


@dataclasses.dataclass(frozen=True, kw_only=True)
class LocateConfig:
    """What is read in every model."""

    localisers: tuple[str, ...] = setting(tuple(LOCALISERS), "what is asked where each fact is")
    most_facts: int = setting(100, "late facts that they are asked about, at most, and as many told from the start")

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        conform(self)
        for name in self.localisers:
            check(name in LOCALISERS, f"localisers must be some of {', '.join(LOCALISERS)}, got {name!r}")
        check(len(self.localisers) > 0, "localisers must name at least 1, got none")
        check(self.most_facts >= 2, f"most_facts must be at least 2, got {self.most_facts}")


def knows(model: PreTrainedModel, late: Late) -> dict[str, NDArray[np.bool_]]:
    """Which facts the model answers rightly: of the late ones and of the early ones [m] each, and of all others [n]."""
    heads, relations, _ = late.corpus.world.facts(EDGE)
    right = known_facts(model, late.corpus)[EDGE.label]
    rows = {int(head): row for row, head in enumerate(heads) if relations[row] == RELATION}
    return {
        "late": right[[rows[fact.head] for fact in late.late]],
        "early": right[[rows[fact.head] for fact in late.early]],
        "others": right[relations != RELATION],
    }


def asked_about(model: PreTrainedModel, corpus: Corpus, facts: Sequence[Fact]) -> Asked:
    """The facts as localisers ask them, in the corpus's first form."""
    queries = corpus.grammar.queries(list(facts), corpus.forms[0])
    tokens = torch.tensor([query.prompt_ids for query in queries], device=model.device)
    subject = corpus.grammar.subject_place(EDGE, corpus.forms[0])
    embedding: Any = model.get_input_embeddings()
    return Asked(
        tokens=tokens,
        answers=torch.tensor([query.answer_ids[0] for query in queries], device=model.device),
        tails=np.array([fact.tail for fact in facts], np.int64),
        subject=subject,
        deviation=float(embedding.weight.detach()[tokens[:, subject]].float().std()),
        num_objects=corpus.world.num_tails(EDGE, RELATION),
    )


def locate(model: PreTrainedModel, late: Late, config: LocateConfig) -> dict[str, Any]:
    """What each localiser says [m][layers] of late and of early facts that the model answers rightly (`said`).

    `heads` [m] are those facts', `answer` their answer's mean probability without noise and with that of causal
    tracing. Localisers that compare facts are asked of all such facts of the relation together, since who asks does not
    know which are late.
    Raises: ValueError for a model that answers fewer than 2 facts of a group.
    """
    right, asked = knows(model, late), {}
    for group, facts in (("late", late.late), ("early", late.early)):
        asked[group] = [fact for fact, known in zip(facts, right[group], strict=True) if known]
        check(len(asked[group]) >= 2, f"model must know at least 2 {group} facts, got {len(asked[group])}")
    every = asked["late"] + asked["early"]
    together = asked_about(model, late.corpus, every)
    groups = {"late": range(len(asked["late"])), "early": range(len(asked["late"]), len(every))}
    chosen = {group: list(places)[: config.most_facts] for group, places in groups.items()}
    said: dict[str, dict[str, list[list[float]]]] = {}
    for name in config.localisers:
        localiser = LOCALISERS[name]
        if localiser.together:
            numbers = localiser.says(model, together)
            said[name] = {group: _listed(numbers[places]) for group, places in chosen.items()}
        else:
            said[name] = {
                group: _listed(localiser.says(model, together.some(places))) for group, places in chosen.items()
            }
    return {
        "heads": {group: [every[place].head for place in places] for group, places in chosen.items()},
        "answer": {group: answer_probabilities(model, together.some(places)) for group, places in chosen.items()},
        "said": said,
    }


def at_layer(method: EditMethod, layer: int) -> EditMethod:
    """The method with this layer in place of its own. Raises: ValueError for a method that is not of chosen layers."""
    fields = {field.name for field in dataclasses.fields(method)}  # type: ignore[arg-type]
    values: dict[str, Any] = {"layer": layer} if "layer" in fields else {"layers": (layer,)}
    check(set(values) <= fields, f"methods must have a setting layer or layers, got {method.name}, which has neither")
    changed: EditMethod = dataclasses.replace(method, **values)  # type: ignore[type-var]
    return changed


def edited_everywhere(
    model: PreTrainedModel, late: Late, draw: EditConfig, methods: Mapping[str, EditMethod]
) -> list[Row]:
    """A row for each method and layer: edits of late facts made there, and what is left of all that was known.

    Of MADE, how many prompts of the edits are answered with the new object, of KEPT, how many of all other facts that
    the model knew it still knows, each beside of how many. What fails is the row's `error`.
    Raises: ValueError as late_edits() does.
    """
    task, rows, shared = late_edits(late, draw), list[Row](), Shared(progress=False)
    edited_heads = [edit.fact.head for edit in task.edits]
    before = knows(model, late)
    before["late"] = before["late"] & ~np.isin([fact.head for fact in late.late], edited_heads)
    probes = {kind: [probe for probe in task.probes if probe.kind == kind] for kind in MADE.values()}
    for name, method in methods.items():
        for layer in range(len(layers_of(model))):
            row: Row = {"method": name, "layer": layer}
            try:
                edited = at_layer(method, layer)(model, task, shared).model
            except (FloatingPointError, torch.linalg.LinAlgError) as error:  # type: ignore[attr-defined]
                rows.append(row | {"error": str(error)})
                continue
            for word, kind in MADE.items():
                answers = zip(probes[kind], predict(edited, probes[kind]), strict=True)
                row[word] = [sum(answered(now, probe.after.answer_ids) for probe, now in answers), len(probes[kind])]
            after = knows(edited, late)
            row |= {group: [int((after[group] & was).sum()), int(was.sum())] for group, was in before.items()}
            rows.append(row)
    return rows


def _listed(values: NDArray[np.float64]) -> list[list[float]]:
    found: list[list[float]] = [[float(f"{value:.{_DIGITS}g}") for value in row] for row in values]
    return found
