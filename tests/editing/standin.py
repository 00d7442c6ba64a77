"""A process in which a device stands in for one without float64, such as MPS: editing runs there, and stdout says how.

Tensors on the device are held on the CPU, and an operation that would put float64 on the device is refused, as is one
that mixes the two. The device is registered for the whole process, so tests run this file in one of its own.
"""

import copy
import dataclasses
import json
import sys
import traceback

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

from behemoth_data import WorldConfig, build
from behemoth_data.edits import EditConfig, draw_edits
from behemoth_editing import METHODS
from behemoth_editing.keys import key_statistics
from behemoth_editing.measures import weight_change
from behemoth_editing.method import matrix_of
from behemoth_editing.predict import answer_log_probabilities, next_log_probabilities, predict
from behemoth_models.pythia import pythia
from behemoth_models.recall import greedy_answers

DEVICE = "standin:0"
# Rank limits and contexts take ways of their own. Not retrain: it never reads the model, and trains on accelerate's.
CASES = {name: {} for name in METHODS if name != "retrain"} | {
    "finetune": {"rank": 2},
    "gradient_ascent": {"max_loss": 20.0},  # an untrained model finds everything unlikely
    "grad_diff": {"max_loss": 20.0},
    "rome": {"site": "subject_last", "num_contexts": 1},
}


class _Module(_DummyBackendModule):
    def get_amp_supported_dtype(self):
        return [torch.bfloat16]


class OnDevice(torch.Tensor):
    """A tensor that says that it is on the device, and is held on the CPU."""

    @staticmethod
    def __new__(cls, held):
        about = {"dtype": held.dtype, "strides": held.stride(), "storage_offset": held.storage_offset()}
        tensor = torch.Tensor._make_wrapper_subclass(cls, held.shape, device=torch.device(DEVICE), **about)
        tensor.held = held
        return tensor

    def tolist(self):
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        return run(operation, args, kwargs or {})


class StandIn(TorchDispatchMode):
    """While open, tensors can be made on the device."""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        return run(operation, args, kwargs or {})


def run(operation, args, kwargs):
    """The operation on what is held; its results are on the device if it says so, or else if its arguments are."""
    given, hosts = [], []

    def held(value):
        if isinstance(value, OnDevice):
            given.append(value)
            return value.held
        if isinstance(value, torch.Tensor) and value.ndim:
            hosts.append(value)
        return torch.device("cpu") if isinstance(value, torch.device) else value

    name = operation._schema.name
    inputs = tree_map(held, (args, kwargs))
    if given and hosts and name not in ("aten::copy_", "aten::index.Tensor", "aten::index", "aten::index_put_"):
        raise RuntimeError(f"tensors of {name} must be on one device")
    found = operation(*inputs[0], **inputs[1])
    device = kwargs.get("device")
    on_device = bool(given) if device is None else torch.device(device).type == "standin"
    if not on_device or name == "aten::_local_scalar_dense":
        return found

    def put(value):
        if not isinstance(value, torch.Tensor):
            return value
        if value.dtype == torch.float64:
            raise TypeError(f"the device has no float64, which {name} would put there")
        same = [tensor for tensor in given if tensor.held is value]  # of an operation in place
        with torch.inference_mode(False):  # autograd wants views of what is no inference tensor to be none either
            return same[0] if same else OnDevice(value)

    return tree_map(put, found)


def onto(model):
    """A copy of the model on the device."""
    model = copy.deepcopy(model)
    for part in model.modules():
        for name, weight in part._parameters.items():
            part._parameters[name] = None if weight is None else nn.Parameter(OnDevice(weight.data), False)
        for name, buffer in part._buffers.items():
            part._buffers[name] = None if buffer is None else OnDevice(buffer)
    return model


def asked(corpus, edit_set):
    """What is asked of a model, by name: functions to numbers that can be compared."""
    prompts = [probe.before.prompt_ids for probe in edit_set.probes]
    candidates = corpus.grammar.answers(edit_set.edge, 0, range(4))
    facts = corpus.world.facts(edit_set.edge)
    many = corpus.grammar.tokens(edit_set.edge, "rso", *facts)[:, :8].tolist()

    def moment(model):
        matrix = matrix_of(model, 1, "mlp.dense_4h_to_h")
        return key_statistics(model, matrix, edit_set.background, "", progress=False).second_moment.numpy()

    def moved(model):
        after = copy.deepcopy(model)
        with torch.no_grad():
            after.lm_head.weight[0] += 1
        return np.array([weight_change(model, after).norm])

    return {
        "predict": lambda model: np.array(predict(model, edit_set.probes)),
        "greedy_answers": lambda model: np.array(greedy_answers(model, many, [2] * len(many))),
        "next_log_probabilities": lambda model: next_log_probabilities(model, prompts),
        "answer_log_probabilities": lambda model: answer_log_probabilities(model, prompts, candidates),
        "key_statistics": moment,
        "weight_change": moved,
    }


def weights(model):
    """All weights in one row."""
    return np.concatenate([weight.detach().cpu().numpy().ravel() for weight in model.parameters()])


def edited(name, edit_set):
    """How a method changes a model's weights with this edit."""
    fields = {field.name for field in dataclasses.fields(METHODS[name])}
    few = {limit: 2 for limit in ("max_steps", "steps") if limit in fields}
    return lambda model: weights(METHODS[name](**few, **CASES[name])(model, edit_set).model) - weights(model)


def main():
    """A line of JSON: by name, nothing if the device gives what the CPU does, or else what went wrong."""
    torch._C._set_only_lift_cpu_tensors(True)  # else torch.tensor(..., device=...) goes around the mode
    _setup_privateuseone_for_python_backend("standin", backend_module=_Module())
    corpus = build(WorldConfig(num_subjects=12, num_relations=2, num_objects=6))
    torch.manual_seed(0)
    model = pythia("14m", len(corpus.grammar.lexicon.vocabulary)).train(False).requires_grad_(False)
    (edit_set,) = draw_edits(corpus, EditConfig(num_edits=1, probes_per_edit=2))
    calls = asked(corpus, edit_set) | {name: edited(name, edit_set) for name in CASES}
    calls["float64_on_the_device"] = lambda model: model.lm_head.weight.detach().double().cpu().numpy()
    calls["float64_on_the_host"] = lambda model: model.lm_head.weight.detach().cpu().double().numpy()
    there, problems = onto(model), {}
    for name, call in calls.items():
        try:
            expected = call(model)
            with StandIn():
                found = call(there)
            # The CPU has kernels of its own for what the stand-in does step by step, and they round differently.
            off = np.linalg.norm(np.subtract(found, expected, dtype=float)) / np.linalg.norm(expected)
            problems[name] = None if off < 0.02 else f"what the device gives differs by {off:.3f}"
        except Exception as error:
            own = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
            problems[name] = f"{error} at {[place for place in own if 'behemoth' in place][-1:]}"
    sys.stdout.write(json.dumps(problems) + "\n")


if __name__ == "__main__":
    main()
