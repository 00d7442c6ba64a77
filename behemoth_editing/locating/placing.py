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
from behemoth_editing.locating.localisers import LOCALISERS, Asked
from behemoth_editing.methods.contract import EditMethod, Shared
from behemoth_editing.scoring.counts import said_by, units_after
from behemoth_editing.scoring.scores import score_units
from behemoth_models.knowledge import known_facts

Row = dict[str, Any]

# What is read of edits.
HEADLINES = {"success": "edit_success", "paraphrase": "paraphrase_success", "collateral": "collateral_accuracy"}
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
    subject = corpus.grammar.subject_place(EDGE, corpus.forms[0])
    return Asked(
        tokens=torch.tensor([query.prompt_ids for query in queries], device=model.device),
        answers=torch.tensor([query.answer_ids[0] for query in queries], device=model.device),
        tails=np.array([fact.tail for fact in facts], np.int64),
        subject=subject,
        num_objects=corpus.world.num_tails(EDGE, RELATION),
    )


def locate(model: PreTrainedModel, late: Late, config: LocateConfig) -> dict[str, dict[str, list[list[float]]]]:
    """What each localiser says [m][layers] of late and of early facts that the model answers rightly.

    Those in which facts depend on each other are asked of all such facts of the relation together, since who asks does
    not know which are late.
    Raises: ValueError for a model that answers fewer than 2 facts of a group.
    """
    right, asked = knows(model, late), {}
    for group, facts in (("late", late.late), ("early", late.early)):
        asked[group] = [fact for fact, known in zip(facts, right[group], strict=True) if known]
        check(len(asked[group]) >= 2, f"model must know at least 2 {group} facts, got {len(asked[group])}")
    together = asked_about(model, late.corpus, asked["late"] + asked["early"])
    groups = {"late": range(len(asked["late"])), "early": range(len(asked["late"]), len(together.tails))}
    chosen = {group: list(places)[: config.most_facts] for group, places in groups.items()}
    found = {}
    for name in config.localisers:
        localiser = LOCALISERS[name]
        if localiser.together:
            said = localiser.says(model, together)
            found[name] = {group: _listed(said[places]) for group, places in chosen.items()}
        else:
            found[name] = {
                group: _listed(localiser.says(model, together.some(places))) for group, places in chosen.items()
            }
    return found


def at_layer(method: EditMethod, layer: int) -> EditMethod:
    """The method with this layer in place of its own. Raises: ValueError for a method that is not of chosen layers."""
    fields = {field.name for field in dataclasses.fields(method)}  # type: ignore[arg-type]
    values: dict[str, Any] = {"layer": layer} if "layer" in fields else {"layers": (layer,)}
    check(set(values) <= fields, f"methods must have a setting layer or layers, got {method.name}, which has neither")
    changed: EditMethod = dataclasses.replace(method, **values)  # type: ignore[type-var]
    return changed


def edited_everywhere(
    model: PreTrainedModel, late: Late, known: NDArray[np.bool_], draw: EditConfig, methods: Mapping[str, EditMethod]
) -> list[Row]:
    """A row for each method and layer: edits of late facts that are known [m] made there, and what is left.

    What fails is the row's `error`. Raises: ValueError as late_edits() does.
    """
    task, rows = late_edits(late, known, draw), []
    before, shared = said_by(model, task), Shared(progress=False)
    for name, method in methods.items():
        for layer in range(len(layers_of(model))):
            row: Row = {"method": name, "layer": layer}
            try:
                edited = at_layer(method, layer)(model, task, shared).model
            except (FloatingPointError, RuntimeError) as error:  # a search that diverges, a matrix without an inverse
                rows.append(row | {"error": str(error)})
                continue
            scores = score_units(units_after(task, before, edited))
            found = {word: scores[name] for word, name in HEADLINES.items()}
            rows.append(row | {word: None if score is None else score["value"] for word, score in found.items()})
    return rows


def _listed(values: NDArray[np.float64]) -> list[list[float]]:
    found: list[list[float]] = [[float(f"{value:.{_DIGITS}g}") for value in row] for row in values]
    return found
