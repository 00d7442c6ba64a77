"""gpu_check.py as a person calls it, on a CPU, and what it makes of parts that fail, take too long, or are killed."""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

TOOLS = Path(__file__).resolve().parents[2] / "tools"
NAMES = ["machine", "training", "methods", "rate", "cells", "recall"]
METHODS = [
    "finetune",
    "finetune_constrained",
    "lora",
    "rome",
    "r_rome",
    "memit",
    "emmet",
    "alphaedit",
    "sphere",
    "ultraedit",
    "gradient_ascent",
]
METHODS += ["grad_diff", "npo", "simnpo", "rmu", "undial", "ceu", "wga", "satimp", "pdu", "undo", "refusal"]
METHODS += ["retrain", "omit"]
# What the command sets for all that it starts.
SET = (
    "PYTHONPATH",
    "PYTORCH_NVML_BASED_CUDA_CHECK",
    "HF_HUB_OFFLINE",
    "PYTHONWARNINGS",
    "HF_HUB_DISABLE_PROGRESS_BARS",
)
# What processes that are started afresh find instead of gpu_jobs.py.
JOBS = """
import os, time
from gpu_worker import OutOfTimeError

def good(say, *, device, small, answer):
    say("answer", answer)
    say("environment", [os.environ.get(name) for name in ("ACCELERATE_USE_CPU", "CUDA_VISIBLE_DEVICES")])

def bad(say, *, device, small):
    say("first", 1)
    raise RuntimeError("nothing works")

def slow(say, *, device, small):
    say("first", 1)
    time.sleep(600)

def careful(say, *, device, small):
    say.need(0.0, "little")
    say.need(1e6, "much")

def deadly(say, *, device, small):
    os.kill(os.getpid(), 9)

def patient(say, *, device, small):
    say("ready", True)
    say.listen()
"""


@pytest.fixture
def tools(monkeypatch):
    monkeypatch.syspath_prepend(TOOLS)
    for name in SET:
        monkeypatch.setenv(name, os.environ.get(name, ""))
    return importlib.import_module


@pytest.fixture
def check(tools):
    return tools("gpu_check")


def stored(folder):
    return json.loads((folder / "gpu_check.json").read_text(encoding="utf-8"))


def command(folder):
    words = [str(TOOLS / "gpu_check.py"), "--output", str(folder), "--device", "cpu", "--small", "--minutes", "30"]
    return [sys.executable, *words]


@pytest.mark.slow
def test_check_that_was_killed_goes_on_and_has_all_parts(tmp_path):
    process = subprocess.Popen(command(tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while "methods" not in (parts := stored(tmp_path)["parts"] if (tmp_path / "gpu_check.json").exists() else {}):
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = subprocess.run(command(tmp_path), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1] == "6 parts passed, 0 failed, 0 cut"
    found = stored(tmp_path)["parts"]
    assert list(found) == NAMES
    assert [found[name] for name in ("machine", "training")] == [parts["machine"], parts["training"]]
    trained = found["training"]["found"]
    assert trained["default"]["sha256"] == trained["again"]["sha256"] == trained["killed"]["sha256"]
    assert trained["difference"] == {"again": 0, "killed": 0}
    methods = found["methods"]["found"]
    assert methods["card"]["names"] == METHODS
    for name in METHODS:
        assert methods["compared"][name]["weights"] == 0  # the card is the CPU itself here
        assert all("seconds" in run for precision, run in methods["card"][name].items() if precision != "scenario")
    assert {"x1", "x4"} <= found["rate"]["found"].keys()
    assert set(found["cells"]["found"]["cells_per_minute"]) == {"1", "2"}
    points = found["recall"]["found"]["curve"]
    assert points
    assert all(point["seconds"] > 0 and "subject_object" in point["recall"] for point in points)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gpu_check.json"]


def faked(check, monkeypatch, **parts):
    """The check has no parts but these functions."""
    monkeypatch.setattr(check, "SHARES", dict.fromkeys(parts, 1))
    monkeypatch.setattr(check, "PARTS", parts)


def test_failing_part_is_recorded_and_the_next_ones_run(check, tmp_path, monkeypatch, capsys):
    def fails(part):
        part.note(None, "before", 1)
        raise KeyError("gone")

    def untrue(part):
        part.check("two is three", False)

    faked(check, monkeypatch, one=fails, two=untrue, three=lambda part: part.say("all is well"))
    assert check.main(["--output", str(tmp_path)]) == 1
    parts = stored(tmp_path)["parts"]
    assert [row["status"] for row in parts.values()] == ["failed", "failed", "passed"]
    assert parts["one"]["found"] == {"before": 1}
    assert parts["one"]["error"][-1] == "KeyError: 'gone'"
    assert parts["two"]["error"] == ["does not hold: two is three"]
    said = capsys.readouterr().out.splitlines()
    assert "    all is well" in said
    assert said[-1] == "1 parts passed, 2 failed, 0 cut"


def test_parts_that_passed_are_not_done_again(check, tmp_path, monkeypatch):
    calls = []
    faked(check, monkeypatch, one=lambda part: calls.append("one"), two=lambda part: 1 / 0)
    assert check.main(["--output", str(tmp_path)]) == 1
    faked(check, monkeypatch, one=lambda part: calls.append("one"), two=lambda part: calls.append("two"))
    assert check.main(["--output", str(tmp_path)]) == 0
    assert calls == ["one", "two"]


def test_what_one_part_leaves_over_those_after_it_have(check, tmp_path, monkeypatch):
    left = []
    faked(check, monkeypatch, **{name: lambda part: left.append(part.left()) for name in ("one", "two", "three")})
    check.main(["--output", str(tmp_path), "--minutes", "1"])
    assert left == pytest.approx([20, 30, 60], abs=2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--device", "cpu"], "is of {'device': 'cuda', 'small': False}"),
        (["--minutes", "0"], "minutes must be above 0"),
    ],
)
def test_other_settings_are_refused(check, tmp_path, monkeypatch, capsys, words, message):
    faked(check, monkeypatch, one=lambda part: None)
    check.main(["--output", str(tmp_path)])
    with pytest.raises(SystemExit) as caught:
        check.main(["--output", str(tmp_path), *words])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_jobs_run_in_processes_of_their_own_however_they_end(check, tools, tmp_path, monkeypatch):
    (tmp_path / "fake_jobs.py").write_text(JOBS, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    worker = tools("gpu_worker")

    def parts(job, **arguments):
        def run(part):
            part.start = "spawn"
            part.job(f"fake_jobs.{job}", place="said", **arguments)

        return run

    def hurried(part):
        part.deadline = time.monotonic() + 6
        parts("slow")(part)

    def together(part):
        part.start = "spawn"
        one, other = (part.open("fake_jobs.patient", place=str(number)) for number in range(2))
        worker.wait_for([one, other], part.deadline, until=lambda: "ready" in one.found and "ready" in other.found)
        one.go_on()
        other.go_on()
        part.wait(one, other)

    def killed(part):
        part.start = "spawn"
        part.job("fake_jobs.deadly", dies=True)

    faked(
        check,
        monkeypatch,
        good=parts("good", answer=42),
        bad=parts("bad"),
        slow=hurried,
        careful=parts("careful"),
        deadly=parts("deadly"),
        killed=killed,
        together=together,
    )
    assert check.main(["--output", str(tmp_path / "out"), "--device", "cpu"]) == 1
    found = stored(tmp_path / "out")["parts"]
    assert {name: row["status"] for name, row in found.items()} == {
        "good": "passed",
        "bad": "failed",
        "slow": "cut",
        "careful": "cut",
        "deadly": "failed",
        "killed": "passed",
        "together": "passed",
    }
    assert found["good"]["found"]["said"] == {"answer": 42, "environment": ["true", ""]}
    assert found["bad"]["found"]["said"] == {"first": 1}
    assert found["bad"]["error"][-1] == "RuntimeError: nothing works"
    assert found["slow"]["error"] == ["ended at its limit of time"]
    assert "not done for want of time: much" in found["careful"]["error"][0]
    assert found["deadly"]["error"] == ["the process ended with status -9"]


def test_processes_are_started_afresh_where_a_copy_cannot_use_the_card(check, tools, tmp_path, monkeypatch):
    parts, record = tools("gpu_parts"), tools("gpu_record")
    starts = []

    def job(self, name, **arguments):
        starts.append(self.start)
        if self.start == "forkserver":
            raise record.JobError(["RuntimeError: Cannot re-initialize CUDA in forked subprocess. To use CUDA ..."])
        self.found.update(product_error=1e-7, flops={}, python="3", versions={"torch": "2"}, precision="fp32")

    monkeypatch.setattr(record.Part, "job", job)
    faked(check, monkeypatch, machine=parts.machine, later=lambda part: starts.append(part.start))
    assert check.main(["--output", str(tmp_path), "--device", "cpu"]) == 0
    assert starts == ["forkserver", "spawn", "spawn"]


def test_the_batch_that_reads_the_most_in_the_time_is_chosen(tools):
    chosen = tools("gpu_parts")._chosen
    rates = {
        "x1": {"factor": 1, "compiled": False, "start_seconds": 0.0, "step_seconds": 0.1},
        "x1 compiled": {"factor": 1, "compiled": True, "start_seconds": 40.0, "step_seconds": 0.05},
        "x4": {"factor": 4, "compiled": False, "start_seconds": 0.0, "step_seconds": 0.2},
        "x16": {"factor": 16, "compiled": False, "error": ["out of memory"]},
        "recall in batches of 512": {"facts_per_second": 1.0},
    }
    # In a minute: 600 steps, 400 after compiling, and 300 of four times as much.
    assert chosen(rates, 60.0) == {"factor": 4, "compiled": False, "steps": 300}
    # In 30 seconds x4 has no 200 steps any more.
    assert chosen(rates, 30.0) == {"factor": 1, "compiled": False, "steps": 300}
    assert chosen({}, 30.0) == {"factor": 1, "compiled": False, "steps": None}


def test_weights_are_compared_relative_to_the_edit(tools, tmp_path):
    parts = tools("gpu_parts")
    for path, value in (("cpu/original", 1.0), ("cpu/rome", 3.0), ("card/rome", 3.5)):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        save_file({"w": np.full(4, value, np.float32)}, tmp_path / f"{path}.safetensors")
    cell = {"fp32": {"edit_success": 1.0, "collateral_by_fact": 0.9}}
    other = {"fp32": {"edit_success": 0.7, "collateral_by_fact": None}}
    found = parts._compared(cell, other, tmp_path, "rome")
    assert found == pytest.approx(
        {"edit_success": 0.3, "collateral_by_fact": None, "accuracy_left": None, "weights": 0.25}
    )
    assert not parts._agree("rome", found)
    close = {"edit_success": 0.0, "collateral_by_fact": None, "accuracy_left": None, "weights": 0.3}
    assert not parts._agree("rome", close)
    assert parts._agree("retrain", close)
    assert parts._agree("omit", close)
