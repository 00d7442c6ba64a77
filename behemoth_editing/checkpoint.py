"""A trained model together with the world that it was taught, found from the model's folder or Hub id alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, cast

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from behemoth_data.corpus import Corpus
from behemoth_data.description import from_description
from behemoth_data.places import local_path
from behemoth_data.safety import refuse_pickles
from behemoth_data.settings import check
from behemoth_models.knowledge import weights_digest


@dataclasses.dataclass(frozen=True, eq=False)
class Checkpoint:
    """The model that is edited, the corpus that it was trained on, and what result rows say about the two.

    Two are equal only if they are one and the same.
    """

    name: str  # folder or Hub id
    model: PreTrainedModel
    corpus: Corpus
    recall: dict[str, dict[str, float]]  # by form and edge, as the model says; empty if it no longer holds
    weights: str  # digest
    from_hub: bool = False  # whether the name is a Hub id
    precision: str | None = None  # bf16 or fp32, in which it was trained; None where it does not say
    # What was done to it since it was trained, edit after edit, as save_edited() writes it; a change that left no
    # record has no method.
    lineage: tuple[Mapping[str, Any], ...] = ()
    recipe: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # what it was trained by, as far as it says
    steps: int | None = None  # optimizer steps, if it says so

    @property
    def pristine(self) -> bool:
        """Whether the weights are those that training left, as far as the model says."""
        return not self.lineage


def load_checkpoint(name: str, device: torch.device | str = "cpu", revision: str | None = None) -> Checkpoint:
    """The model in evaluation mode on a device, from safetensors only, with its world rebuilt from config.json.

    `revision` is a branch, tag or commit of a Hub id. Nothing that comes with the model is run. A model whose weights
    are no longer those that training left says so in its lineage.
    Raises: ValueError for a model that carries no world or one that this generator makes differently, a pickle
    or code of its own; OSError for a folder or Hub id without a model.
    """
    place = local_path("model", name)
    from_hub = not place.is_dir()
    name = name if from_hub else str(place)
    at = {} if revision is None else {"revision": revision}
    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=False, **at)
    except OSError as error:
        raise OSError(f"model {name!r} is no folder with a model, nor a Hub id that can be reached: {error}") from error
    code = getattr(config, "auto_map", None)
    check(not code, f"model must need no code of its own, got {name!r}, whose config.json names {code}")
    description: dict[str, Any] = getattr(config, "behemoth", None) or {}
    check(
        bool(description),
        f"model must carry its world in config.json under 'behemoth', as `behemoth train` writes it, got {name!r}, "
        "which does not",
    )
    corpus = from_description(description)
    check("recall" in description, f"behemoth in config.json must have the part recall, got {sorted(description)}")
    refuse_pickles("model", name, repo_type="model", revision=revision)
    # Eager attention: sentences are so short that a fused kernel costs more than it saves.
    try:
        loaded = AutoModelForCausalLM.from_pretrained(
            name, use_safetensors=True, trust_remote_code=False, attn_implementation="eager", **at
        )
    except SafetensorError as error:  # such as of a pointer of Git LFS, or a copy that was cut short
        raise ValueError(f"model must have whole safetensors, got {name!r}: {error}") from error
    model = cast(PreTrainedModel, nn.Module.to(loaded, device))
    model.train(False)
    weights, recall, lineage = weights_digest(model), description["recall"], tuple(description.get("edited") or ())
    # Before version 5, transformers widens what is stored in half precision, and calls its type by another name.
    types = {str(parameter.dtype) for parameter in model.parameters()}
    types |= {f"torch.{stored}" for stored in map(config.to_dict().get, ("dtype", "torch_dtype")) if stored}
    in_full = types == {str(torch.float32)}
    if in_full and description.get("weights", weights) != weights:  # somebody changed them, and did not say how
        recall, lineage = {}, (*lineage, {"parent": description["weights"], "method": None})
    recipe: dict[str, Any] = {part: description[part] for part in ("lexicon", "corpus", "train") if part in description}
    if "start" in description:  # models of one sample learn in the same parameters, whatever weights they begin with
        recipe["start"] = {"learns": ", ".join(description["start"]["learns"])}
    precision, steps = description.get("precision"), description.get("step")
    return Checkpoint(name, model, corpus, recall, weights, from_hub, precision, lineage, recipe, steps)
