"""A model that any tool edited, in whichever form it wrote it -> the original with changed weights, or what differs.

Forms: a folder (or Hub id) that transformers loads; a safetensors file, or a folder of them, with some weights by
their names in the model; a folder of peft, whose adapter is merged. Nothing is unpickled and no code of theirs runs.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PretrainedConfig, PreTrainedModel

from behemoth_data.places import local_path
from behemoth_data.safety import refuse_pickles
from behemoth_data.settings import check
from behemoth_data.tokenizer import build_tokenizer
from behemoth_editing.checkpoint import Checkpoint
from behemoth_editing.copies import copy_of, stored_like
from behemoth_models.knowledge import weights_digest

ADAPTER = "adapter_config.json"
_ALIASES = {"embed_out.weight": "lm_head.weight", "lm_head.weight": "embed_out.weight"}  # of GPT-NeoX, by version
# What of a config says nothing of what the model computes when it is asked.
_IDLE = {
    *("use_cache", "initializer_range", "bos_token_id", "eos_token_id", "pad_token_id"),
    *("attention_dropout", "hidden_dropout", "classifier_dropout", "resid_pdrop", "embd_pdrop", "attn_pdrop"),
    *("task_specific_params", "architectures", "dtype", "torch_dtype"),
}
_SHOWN = 3  # differences that a message names


@dataclasses.dataclass(frozen=True, eq=False)
class Foreign:
    """An edited model, and what its folder says was done to the original."""

    model: PreTrainedModel
    weights: str  # digest
    steps: tuple[Mapping[str, Any], ...]  # since the original, as save_edited() writes them; empty if it says nothing


def load_edited(place: str, original: Checkpoint) -> Foreign:
    """The edited model in evaluation mode, on the original's device, with the original's parameters and tokenizer.

    Raises: ValueError that says what differs for a model that is not the original with changed weights, or for a
    pickle; OSError for a place where there is nothing to load.
    """
    path = local_path("edited", place)
    steps: tuple[Mapping[str, Any], ...] = ()
    if path.is_file():
        check(path.suffix == ".safetensors", f"edited must be a .safetensors file or a folder, got {place}")
        model = _with_weights(original, [path])
    elif path.is_dir() and (path / ADAPTER).is_file():
        _refuse_pickled(path)
        model = _with_adapter(original, path)
    elif path.is_dir() and not (path / "config.json").is_file():
        _refuse_pickled(path)
        model = _with_weights(original, sorted(path.glob("*.safetensors")))
    else:
        model, steps = _whole(str(path) if path.is_dir() else place, original)
    model.requires_grad_(False)
    model.train(False)
    return Foreign(model, weights_digest(model), steps)


def _refuse_pickled(place: str | Path) -> None:
    """Raises: ValueError for weights in pickles. What trainers leave beside safetensors in a folder is never read."""
    if not (Path(place).is_dir() and any(Path(place).glob("*.safetensors"))):
        refuse_pickles("edited", place, repo_type="model")


def _whole(place: str, original: Checkpoint) -> tuple[PreTrainedModel, tuple[Mapping[str, Any], ...]]:
    try:
        config = AutoConfig.from_pretrained(place, trust_remote_code=False)
    except OSError as error:
        raise OSError(f"edited {place!r} is no folder or file, nor a Hub id that can be reached: {error}") from error
    _refuse_pickled(place)
    _check_config(place, config, original)
    description: dict[str, Any] = getattr(config, "behemoth", None) or {}
    _check_tokenizer(place, original)
    try:
        found: Any = AutoModelForCausalLM.from_pretrained(
            place,
            use_safetensors=True,
            trust_remote_code=False,
            attn_implementation="eager",
            output_loading_info=True,
        )
    except SafetensorError as error:
        raise ValueError(f"edited must have whole safetensors, got {place!r}: {error}") from error
    loaded, told = found
    odd = {kind: sorted(map(str, told[kind])) for kind in ("missing_keys", "unexpected_keys") if told.get(kind)}
    check(not odd, f"edited must have the weights of {original.name}, got {place} with {_few(odd)}")
    model = cast(PreTrainedModel, nn.Module.to(loaded, original.model.device))
    return model, _steps(place, description, model, original)


def _check_config(place: str, config: PretrainedConfig, original: Checkpoint) -> None:
    """Raises: ValueError for a config by which the same weights would be another model, or another world's."""
    own, found = original.model.config.to_dict(), config.to_dict()
    told = {"model_type", "tie_word_embeddings", *(own.keys() - PretrainedConfig().to_dict().keys())}
    odd = {name: (found.get(name), own.get(name)) for name in sorted(told - _IDLE - {"behemoth"})}
    words = [f"{name} {one!r} and not {other!r}" for name, (one, other) in odd.items() if one != other]
    check(not words, f"edited must be {original.name} with changed weights, got {place} with {', '.join(words)}")
    there = (found.get("behemoth") or {}).get("digests")
    known = own["behemoth"]["digests"]
    parts = [part for part in known if there is not None and there.get(part) != known[part]]
    check(not parts, f"edited must be of the world of {original.name}, got {place} with other {', '.join(parts)}")


def _check_tokenizer(place: str, original: Checkpoint) -> None:
    """Raises: ValueError for a tokenizer that has other words, or other ids for them; there may be none."""
    if Path(place).is_dir() and not (Path(place) / "tokenizer_config.json").is_file():
        return
    own = build_tokenizer(original.corpus.grammar.lexicon)
    try:
        found = AutoTokenizer.from_pretrained(place, trust_remote_code=False)
    except OSError:  # a Hub id without one
        return
    words, others = own.get_vocab(), found.get_vocab()
    odd = sorted(word for word in words.keys() | others.keys() if words.get(word) != others.get(word))
    pairs = [f"{word!r} has id {others.get(word)} and not {words.get(word)}" for word in odd[:_SHOWN]]
    check(not odd, f"edited must have the tokenizer of {original.name}, got {place}, where {', '.join(pairs)}")
    text = " ".join(sorted(words)[:8])
    read, wanted = (list(one(text)["input_ids"]) for one in (found, own))
    check(
        read == wanted,
        f"edited must have the tokenizer of {original.name}, got {place}, which reads {text!r} so: {read}",
    )


def _steps(
    place: str, description: Mapping[str, Any], model: PreTrainedModel, original: Checkpoint
) -> tuple[Mapping[str, Any], ...]:
    """What was done since the original. Raises: ValueError for a model that was made from another one."""
    lineage = list(description.get("edited") or ())
    parents = [step.get("parent") for step in lineage]
    said, weights = description.get("weights"), weights_digest(model)
    if not lineage or parents == [step.get("parent") for step in original.lineage]:
        # The original's config.json copied with what was changed, or that of another model.
        known = {None, original.model.config.behemoth.get("weights"), original.weights}
        check(said in known, f"edited must be made from {original.name}, got {place}, trained or edited apart from it")
        return ()
    check(
        original.weights in parents,
        f"edited must be made from {original.name} with weights {original.weights}, got {place}, made from those of "
        f"{', '.join(map(str, parents))}",
    )
    steps = tuple(lineage[parents.index(original.weights) :])
    return steps if said == weights else (*steps, {"parent": said, "method": None})


def _with_weights(original: Checkpoint, files: list[Path]) -> PreTrainedModel:
    """A copy of the original with every weight that the files have."""
    check(bool(files), "edited must hold *.safetensors, config.json or adapter_config.json, got a folder with none")
    edited = copy_of(original.model)
    state = edited.state_dict()
    held: dict[str, torch.Tensor] = {}
    for file in files:
        for name, weight in _tensors(file).items():
            known = name if name in state else _ALIASES.get(name, name)
            check(
                known in state,
                f"edited must have weights of {original.name}, got {name} of {file.name}, of no name there",
            )
            shapes = tuple(weight.shape), tuple(state[known].shape)
            check(
                shapes[0] == shapes[1], f"{name} of edited must have shape {shapes[1]}, got {shapes[0]} in {file.name}"
            )
            check(weight.is_floating_point(), f"{name} of edited must be floating-point numbers, got {weight.dtype}")
            check(known not in held, f"edited must have each weight once, got {name} twice, again in {file.name}")
            held[known] = weight
    with torch.no_grad():
        for name, weight in held.items():
            state[name].copy_(weight)
    for name, weight in held.items():  # two names may be of one matrix
        same = torch.equal(state[name].cpu(), weight.to(state[name].dtype))
        check(same, f"edited must have one value for each weight, got another for {name} than for what it is tied to")
    return stored_like(original.model, edited)


def _tensors(file: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(file)
    except SafetensorError as error:
        raise ValueError(f"edited must be safetensors, got {file.name}: {error}") from error


def _with_adapter(original: Checkpoint, folder: Path) -> PreTrainedModel:
    """A copy of the original into which the adapter is merged."""
    file = folder / "adapter_model.safetensors"
    check(file.is_file(), f"edited must have adapter_model.safetensors beside {ADAPTER}, got none in {folder}")
    kind = json.loads((folder / ADAPTER).read_text(encoding="utf-8")).get("peft_type")
    try:
        adapted: Any = PeftModel.from_pretrained(cast(Any, copy_of(original.model)), str(folder))
    except (ValueError, RuntimeError, KeyError, TypeError) as error:  # what peft raises for another model's
        says = " ".join(str(error).split())
        raise ValueError(f"edited must be an adapter of {original.name}, got {folder}: {says}") from error
    check(hasattr(adapted, "merge_and_unload"), f"edited must be an adapter that weights can take in, got {kind}")
    with safe_open(file, framework="pt") as there:
        odd = set(there.keys()) ^ get_peft_model_state_dict(adapted, save_embedding_layers=False).keys()
    check(not odd, f"edited must be an adapter of {original.name}, got {folder}, which differs in {_few(sorted(odd))}")
    return stored_like(original.model, cast(PreTrainedModel, adapted.merge_and_unload()))


def _few(odd: Mapping[str, list[str]] | list[str]) -> str:
    """The first names, and how many more there are."""
    if isinstance(odd, Mapping):
        return "; ".join(f"{kind.replace('_', ' ')} {_few(names)}" for kind, names in odd.items())
    more = f" and {len(odd) - _SHOWN} more" if len(odd) > _SHOWN else ""
    return ", ".join(odd[:_SHOWN]) + more
