"""Nothing mixes tensors of two devices or puts float64 on one: training, asking and every method beside the CPU.

The device is that of second_device.py, in a process of its own. It shows no fault of a GPU's kernels, only of where
tensors are.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from behemoth_editing import METHODS

HERE = Path(__file__).resolve().parent
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found():
    """What the process printed."""
    path = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    process = subprocess.run(
        [sys.executable, str(HERE / "on_second_device.py")],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr[-2000:]
    return json.loads(process.stdout)


def test_the_device_refuses_what_a_gpu_refuses(found):
    mixtures = found["mixtures"]
    allowed = ["look up on the card with places on the CPU", "a single number", "copy", "float64 here"]
    assert [what for what, error in mixtures.items() if error is None] == allowed
    assert "two devices" in mixtures["product"]
    assert "can't convert" in mixtures["numpy"]


def test_the_device_does_the_work_itself(found):
    assert {"aten::mm", "aten::embedding_dense_backward", "aten::nll_loss2d_forward"} <= set(found["operations"])


def test_training_on_it_is_that_on_the_cpu(found):
    training = found["training"]
    assert training["devices"] == ["cpu", "card:0"]
    assert training["losses"][1] == pytest.approx(training["losses"][0], rel=1e-4)
    assert training["difference"] < 1e-4


def test_probabilities_are_those_of_the_cpu(found):
    for here, there in found["probabilities"]:
        np.testing.assert_allclose(there, here, atol=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_method_edits_a_model_there_as_on_the_cpu(found, name):
    edit = found["methods"][name]
    assert "error" not in edit, edit["error"]
    assert edit["device"] == "card:0"
    assert edit["same_answers"]
    assert edit["moved"] > 0
    assert edit["measured"][1] == pytest.approx(edit["measured"][0], rel=0.02)
    assert edit["difference"] < (1e-3 if name in ("retrain", "omit") else 0.02 * edit["moved"])
