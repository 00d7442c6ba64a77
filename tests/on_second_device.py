"""Prints as JSON what training and every editing method lead to, on the CPU and on a second device, in one process.

A model of four narrow layers and a few steps of everything: what runs where is looked at, and not what is learned.
"""

import copy
import dataclasses
import json
import os
import sys
import tempfile
import traceback
import warnings

import torch
from accelerate.state import AcceleratorState
from second_device import CARD, operations

from behemoth_data import CorpusConfig, EditConfig, WorldConfig, build, draw_edits
from behemoth_editing import METHODS, Shared
from behemoth_editing.checkpoint import load_checkpoint
from behemoth_editing.scoring.answers import answer_log_probabilities, next_log_probabilities, predict
from behemoth_editing.scoring.weights import weight_change
from behemoth_models.config import TrainConfig
from behemoth_models.sizes import SHAPES, Shape
from behemoth_models.training import train

# A model that knows nothing yet has a loss above what gradient ascent stops at; limits of rank are float64's work.
FEW = {"precision": "fp32", "max_steps": 2, "steps": 2, "num_contexts": 1, "max_loss": 10.0, "rank": 2}


def refused(work):
    """What torch says of it, or None where it is allowed."""
    try:
        work()
    except (RuntimeError, TypeError) as error:
        return str(error)
    return None


def mixtures():
    """What a GPU refuses and allows, by what it is."""
    here, there = torch.ones(2, 2), torch.ones(2, 2).to(CARD)
    places = torch.tensor([1, 0])
    return {
        "sum": refused(lambda: there + here),
        "product": refused(lambda: there @ here),
        "numpy": refused(lambda: there.numpy()),
        "look up on the CPU with places on the card": refused(lambda: here[places.to(CARD)]),
        "embedding": refused(lambda: torch.nn.functional.embedding(places, there)),
        "look up on the card with places on the CPU": refused(lambda: there[places]),
        "a single number": refused(lambda: there * torch.tensor(2.0)),
        "copy": refused(lambda: there.copy_(here)),
        "float64 there": refused(lambda: there.double()),
        "float64 here": refused(lambda: there.cpu().double()),
    }


def edited(name, corpus, model):
    """The model that a method leads to, and what it then says."""
    method = METHODS[name]
    few = {field.name: FEW[field.name] for field in dataclasses.fields(method) if field.name in FEW}
    few |= {"layers": (1, 2)} if name == "ultraedit" else {}  # whose own are the last of six, and here are four
    scenario = {"edit": "different"}.get(method.goal, method.goal)
    edits = EditConfig(scenario=scenario, num_edits=2, forget_fraction=0.3, probes_per_edit=5)
    (edit_set,) = draw_edits(corpus, edits)
    found = method(**few)(model, edit_set, Shared(progress=False)).model
    return found, predict(found, edit_set.probes[:20])


def trained(device, corpus, folder):
    """What a training on the device leads to: its report, and its model on the CPU."""
    AcceleratorState._reset_state(reset_partial_state=True)
    os.environ["ACCELERATE_TORCH_DEVICE"] = str(device)
    config = TrainConfig(size="14m", batch_size=32, measurements=1, max_steps=3, precision="fp32")
    report = train(corpus, config, f"{folder}/{device.type}", progress=False)
    return report, load_checkpoint(f"{folder}/{device.type}").model


def difference(one, other):
    """The norm of what two models' weights differ by, over the norm of the second's."""
    left, right = (torch.cat([w.detach().cpu().flatten().double() for w in m.parameters()]) for m in (one, other))
    return float((left - right).norm() / right.norm())


def main():
    """One JSON document on standard output."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    SHAPES["14m"] = Shape(4, 16, 2, 32)
    world = WorldConfig(num_subjects=8, num_relations=2, num_objects=4, num_nested_objects=2)
    corpus = build(world, corpus=CorpusConfig(repeats=8))
    devices, found = (torch.device("cpu"), CARD), {"mixtures": mixtures(), "methods": {}}
    with tempfile.TemporaryDirectory() as folder:
        (plain, model), (report, second) = (trained(device, corpus, folder) for device in devices)
    found["training"] = {
        "devices": [plain["device"], report["device"]],
        "losses": [plain["losses"], report["losses"]],
        "difference": difference(second, model),
    }
    moved = torch.nn.Module.to(copy.deepcopy(model), CARD)
    prompts = [[1, 2], [3], [2, 4]]
    found["probabilities"] = [
        [ask(asked, prompts, *rest).tolist() for asked in (model, moved)]
        for ask, *rest in ((next_log_probabilities,), (answer_log_probabilities, [[1, 2], [1, 3]]))
    ]
    for name in METHODS:
        try:
            here, there = edited(name, corpus, model), edited(name, corpus, moved)
            found["methods"][name] = {
                "device": str(there[0].device),
                "difference": difference(there[0], here[0]),
                "moved": difference(here[0], model),
                "same_answers": here[1] == there[1],
                "measured": [weight_change(model, here[0]).norm, weight_change(moved, there[0]).norm],
            }
        except Exception:
            found["methods"][name] = {"error": traceback.format_exc()[-2000:]}
    json.dump({**found, "operations": sorted(operations)}, sys.stdout)


if __name__ == "__main__":
    main()
