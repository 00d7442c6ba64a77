"""A short training and one cell of every tuning method on models of every type of weights.

.ci/run repeats this file held to AVX2, which has no units for bfloat16, and bound to one core.
"""

import copy
import dataclasses
import os

import pytest
import torch

from behemoth_data import CorpusConfig, EditConfig, WorldConfig, build
from behemoth_editing import METHODS
from behemoth_editing.methods.mixture import FitSettings
from behemoth_editing.sweep.cells import Cell
from behemoth_editing.sweep.running import run
from behemoth_models.config import TrainConfig
from behemoth_models.knowledge import weights_digest
from behemoth_models.precision import resolve_precision
from behemoth_models.training import train

TUNING = sorted(name for name, method in METHODS.items() if issubclass(method, FitSettings))
TYPES = (torch.float32, torch.float16, torch.bfloat16)
QUICK = [("finetune", torch.float16), ("npo", torch.bfloat16), ("refusal", torch.float32)]  # a type, a goal for each
CELLS = [
    pytest.param(name, dtype, marks=[] if (name, dtype) in QUICK else pytest.mark.slow)
    for name in TUNING
    for dtype in TYPES
]
SCENARIOS = {"edit": "different", "forget": "forget", "refuse": "refuse"}


@pytest.fixture(scope="module")
def precision():
    """What this machine is good at; held to AVX2 it is float32."""
    found = resolve_precision("auto", "cpu")
    assert found == "fp32" or os.environ.get("ONEDNN_MAX_CPU_ISA") != "AVX2"
    return found


def test_a_short_training_lowers_the_loss_in_the_precision_of_the_machine(precision, tmp_path):
    corpus = build(WorldConfig(num_subjects=40, num_relations=2, num_objects=4), corpus=CorpusConfig(repeats=8))
    config = TrainConfig(size="14m", batch_size=64, measurements=1, learning_rate=1e-2)
    report = train(corpus, config, tmp_path / "model", progress=False)
    assert report["precision"] == precision
    assert report["losses"][-1] < 0.7 * report["losses"][0]


@pytest.mark.parametrize(("name", "dtype"), CELLS)
def test_a_cell_of_a_tuning_method_takes_models_of_any_type(checkpoint, name, dtype, precision, tmp_path):
    model = copy.deepcopy(checkpoint.model).to(dtype)
    given = dataclasses.replace(checkpoint, model=model, weights=weights_digest(model))
    method = METHODS[name](max_steps=20)
    edits = EditConfig(scenario=SCENARIOS[method.goal], num_edits=2, probes_per_edit=5)
    (row,) = run([Cell(given, method, edits)], tmp_path, progress=False)
    assert row["error"] is None
    assert {detail["precision"] for detail in row["details"]} == {precision}
    assert weights_digest(model) == given.weights
