"""No method and no measure puts float64 on the device of a model, which on MPS cannot be: see standin.py."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from behemoth_editing import METHODS

READERS = (
    "predict",
    "greedy_answers",
    "next_log_probabilities",
    "answer_log_probabilities",
    "key_statistics",
    "weight_change",
)


@pytest.fixture(scope="module")
def problems():
    """What went wrong on the stand-in, by name."""
    ran = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("standin.py"))],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", [*READERS, *sorted(set(METHODS) - {"retrain"})])  # which trains on no given model
def test_device_without_float64_gives_what_the_cpu_gives(name, problems):
    assert problems[name] is None


def test_stand_in_tells_float64_on_the_device_from_float64_on_the_host(problems):
    assert problems["float64_on_the_device"].startswith("the device has no float64, which aten::_to_copy would put")
    assert problems["float64_on_the_host"] is None
