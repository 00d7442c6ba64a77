"""Methods that are not ours: how they are found, and whether they keep the contract."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import inspect
import json
import tempfile
from collections.abc import Callable, Collection, Iterator
from importlib.metadata import entry_points
from typing import Any, cast

import torch
from transformers import PreTrainedModel

from behemoth_data.edits import Background, EditConfig, EditSet, EditTask, draw_edits
from behemoth_data.settings import check, check_known
from behemoth_editing.checkpoint import Checkpoint
from behemoth_editing.methods import METHODS
from behemoth_editing.methods.contract import GOALS, READS, Edited, EditMethod, Shared
from behemoth_models.knowledge import weights_digest

GROUP = "behemoth.methods"  # of entry points, by which an installed package lists its methods
_NOT_PLAIN = "the copy is no plain model of the same class and parameters"


def method_named(name: str) -> type[EditMethod]:
    """The method of that name: one of METHODS, one that an installed package lists, or MODULE:CLASS.

    Raises: ValueError for a name that is none of these, or what is found and is no method.
    """
    if name in METHODS:
        return METHODS[name]
    listed = {entry.name: entry for entry in entry_points(group=GROUP)}
    module, _, attribute = name.partition(":")
    if name not in listed and not (module and attribute):
        check_known("method", name, [*METHODS, *sorted(listed), "MODULE:CLASS"])
    try:
        found = listed[name].load() if name in listed else getattr(importlib.import_module(module), attribute)
    except Exception as error:  # somebody else's module may fail in any way
        says = f"{type(error).__name__}: {error}"
        raise ValueError(f"methods must name a class that can be imported, got {name!r}: {says}") from error
    _check_class(name, found)
    return cast(type[EditMethod], found)


def _check_class(name: str, found: object) -> None:
    """Raises: ValueError for what is no class of settings with a name and a goal of its own."""
    is_class = inspect.isclass(found) and dataclasses.is_dataclass(found) and callable(getattr(found, "check", None))
    frozen = getattr(getattr(found, "__dataclass_params__", None), "frozen", False)
    check(is_class and frozen, f"methods must name a frozen dataclass with check() and __call__(), got {name!r}")
    fields = dataclasses.fields(cast(Any, found))
    odd = [field.name for field in fields if field.default is dataclasses.MISSING or not field.init]
    check(not odd, f"settings of a method must be arguments with a default value, got {', '.join(odd)} of {name}")
    own, goal = getattr(found, "name", None), getattr(found, "goal", None)
    check(isinstance(own, str) and own.isidentifier(), f"name of a method must be an identifier, got {own!r} of {name}")
    check(own not in METHODS or found is METHODS[str(own)], f"name of a method must be its own, got {own!r} of {name}")
    check(goal in GOALS, f"goal of a method must be one of {', '.join(GOALS)}, got {goal!r} of {name}")
    reads = getattr(found, "reads", None)
    named = isinstance(reads, tuple) and all(part in READS for part in reads)
    check(named, f"reads of a method must be a tuple of names among {', '.join(READS)}, got {reads!r} of {name}")


def check_method(method: EditMethod, checkpoint: Checkpoint) -> None:
    """The method keeps the contract on this checkpoint's model, as far as trying can tell; it makes some ten edits.

    Raises: ValueError that lists everything it does not keep.
    """
    faults = list(contract_faults(method, checkpoint))
    check(not faults, f"method {method.name} must keep the contract, got {len(faults)} faults: {'; '.join(faults)}")


def contract_faults(method: EditMethod, checkpoint: Checkpoint) -> Iterator[str]:
    """What a method does not keep of the contract (see EditMethod), a line each.

    Raises: ValueError for what is no class of settings; whatever check() or the first edit raises.
    """
    _check_class(type(method).__qualname__, type(method))
    first, second = draw_edits(checkpoint.corpus, EditConfig(scenario="sequence", num_edits=2, edits_per_step=1))
    original = copy.deepcopy(checkpoint.model)
    original.train(True)  # a method sets the mode of its own copy, and leaves this one's alone
    before, drawn = _state(original), torch.random.get_rng_state()
    method.check(original)
    edited = method(original, first, Shared(progress=False))
    yield from _differences("the model given is changed", before, _state(original))
    if not torch.equal(drawn, torch.random.get_rng_state()):
        yield "torch's global random numbers are drawn from"
    if not isinstance(edited, Edited):
        yield f"an Edited must be given back, got {type(edited).__name__}"
        return
    faults = list(_faults_of_copy(original, edited.model))
    yield from faults
    if _NOT_PLAIN in faults:
        return
    try:
        json.dumps(edited.details, allow_nan=False)
    except (TypeError, ValueError) as error:
        yield f"details must be numbers and words that JSON has, got {error}"
    torch.rand(3)
    again = method(original, first, Shared(progress=False))
    if weights_digest(again.model) != weights_digest(edited.model):
        yield "the same edit of the same model gives other weights the second time"
    yield from _faults_of_reading(method, original, first, weights_digest(edited.model))
    yield from _faults_of_keeping(method, edited.model, dataclasses.replace(second, earlier=(first,)))


def _state(model: PreTrainedModel) -> dict[str, object]:
    """What an edit of a copy must leave alone, by what it is called."""
    return {
        "weights": weights_digest(model),
        "requires_grad": [parameter.requires_grad for parameter in model.parameters()],
        "gradients": [parameter.grad is None for parameter in model.parameters()],
        "modes": [part.training for part in model.modules()],
        "hooks": [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in model.modules()],
        "attributes": [sorted(vars(part)) for part in model.modules()],
        "config": json.dumps(model.config.to_dict(), sort_keys=True, default=str),
    }


def _differences(what: str, before: dict[str, object], after: dict[str, object]) -> Iterator[str]:
    for name, value in before.items():
        if after[name] != value:
            yield f"{what}: its {name}"


def _faults_of_copy(original: PreTrainedModel, edited: PreTrainedModel) -> Iterator[str]:
    if type(edited) is not type(original) or edited.state_dict().keys() != original.state_dict().keys():
        yield _NOT_PLAIN
        return
    kinds = [[(weight.shape, weight.dtype) for weight in model.state_dict().values()] for model in (original, edited)]
    if kinds[0] != kinds[1]:
        yield "the copy's weights have other shapes or types"
    if weights_digest(edited) == weights_digest(original):
        yield "the edit changes no weight"
    shared = {weight.data_ptr() for weight in edited.parameters()} & {w.data_ptr() for w in original.parameters()}
    if shared:
        yield "the copy shares memory with the model given"
    if any(part.training for part in edited.modules()) or any(weight.requires_grad for weight in edited.parameters()):
        yield "the copy is in training mode, or its weights want gradients"


def _faults_of_reading(method: EditMethod, model: PreTrainedModel, edits: EditSet, weights: str) -> Iterator[str]:
    """What a method reads beyond what it says: probes, which it must not know, change nothing when they are gone."""
    blind = dataclasses.replace(edits, probes=())
    if _same(lambda: method(model, blind, Shared(progress=False)), weights) is False:
        yield "the edit depends on the probes, which a method must not read"
    bare = EditTask(**{field.name: getattr(edits, field.name) for field in dataclasses.fields(EditTask)})
    # A method may ask for the world, as retraining does, and then says so.
    if _same(lambda: method(model, bare, Shared(progress=False)), weights) is False:
        yield "the edit depends on more than its EditTask, and does not refuse to do with less"
    if _same(lambda: method(model, declared(edits, method.reads), Shared(progress=False)), weights) is False:
        yield "the edit depends on parts of its task that its reads do not name"


_PARTS = ("requests", "originals", "refusals", "retain", "same_subject", "contexts", "earlier")


def declared(edits: EditSet, reads: Collection[str]) -> EditTask:
    """The task with nothing in the parts that these reads do not name; an EditSet only if the world is named."""
    empty: dict[str, Any] = {part: type(getattr(edits, part))() for part in _PARTS if part not in reads}
    if "statistics" not in reads:
        empty["background"] = Background("", lambda: iter(()))
    if "world" in reads:
        return dataclasses.replace(edits, **empty)
    given = {field.name: getattr(edits, field.name) for field in dataclasses.fields(EditTask)}
    return EditTask(**{**given, **empty})


def _same(edit: Callable[[], Edited], weights: str) -> bool | None:
    """Whether the edit gives these weights; None where it is refused. One that fails otherwise does not give them."""
    try:
        return weights_digest(edit().model) == weights
    except ValueError:
        return None
    except Exception:  # it reached for what is not there
        return False


def _faults_of_keeping(method: EditMethod, edited: PreTrainedModel, then: EditSet) -> Iterator[str]:
    """What a copy has that its saved folder has not: the next edit in a sequence must come out alike of both."""
    try:
        again = _kept(edited)
    except Exception as error:  # any library may stand between a model and its folder
        yield f"the copy cannot be saved and loaded: {type(error).__name__}: {error}"
        return
    again.train(False).requires_grad_(False)
    if weights_digest(again) != weights_digest(edited):
        yield "the copy has other weights once it is saved and loaded"
        return
    try:
        digests = [weights_digest(method(model, then, Shared(progress=False)).model) for model in (edited, again)]
    except Exception as error:  # a method that made one edit must make the next
        yield f"a second edit fails: {type(error).__name__}: {error}"
        return
    if digests[0] != digests[1]:
        yield "a second edit depends on what does not survive save_pretrained"


def _kept(edited: PreTrainedModel) -> PreTrainedModel:
    """The model once it was saved and loaded."""
    with tempfile.TemporaryDirectory() as folder:
        edited.save_pretrained(folder)
        attention: Any = edited.config._attn_implementation
        return type(edited).from_pretrained(folder, attn_implementation=attention, use_safetensors=True)
