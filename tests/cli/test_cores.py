"""Facts about how many threads a process takes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from behemoth_cli import cores
from behemoth_cli.cores import set_threads, usable_cores

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def machine(monkeypatch):
    """A function that makes this process one of `beside` on a machine of 16 cores; threads are noted, not set."""
    for name in ("OMP_NUM_THREADS", *cores._LAUNCHED, "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)

    def make(usable=16, beside=1, **environment):
        monkeypatch.setattr(cores, "usable_cores", lambda: usable)
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(beside))
        for name, value in environment.items():
            monkeypatch.setenv(name, value)

    return make


def groups(tmp_path, membership, **files):
    """Control groups in a folder: `files` are by path, with __ for / ."""
    (tmp_path / "membership").write_text(membership, encoding="utf-8")
    for name, text in files.items():
        path = tmp_path / "cgroup" / name.replace("__", "/").replace("cpu_", "cpu.")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path / "cgroup", tmp_path / "membership"


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/", {"cpu_max": "max 100000\n"}, 8),
        ("0::/", {"cpu_max": "200000 100000\n"}, 2),
        ("0::/", {"cpu_max": "150000 100000\n"}, 2),  # one and a half
        ("0::/", {"cpu_max": "10000 100000\n"}, 1),  # a tenth
        ("0::/a/b", {"a__b__cpu_max": "max 100000\n", "a__cpu_max": "300000 100000\n"}, 3),  # a parent's
        ("0::/outside/name", {"cpu_max": "400000 100000\n"}, 4),  # a container's own group is the root
        ("", {}, 8),
    ],
)
def test_cores_are_those_bound_to_within_the_quota(monkeypatch, tmp_path, membership, files, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert usable_cores(*groups(tmp_path, membership, **files)) == expected


@pytest.mark.parametrize(("quota", "expected"), [("250000", 3), ("-1", 8)])
def test_quotas_of_version_1_have_a_file_for_each_number(monkeypatch, tmp_path, quota, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    folder = tmp_path / "cgroup" / "cpu,cpuacct" / "job"
    folder.mkdir(parents=True)
    (folder / "cpu.cfs_quota_us").write_text(quota, encoding="utf-8")
    (folder / "cpu.cfs_period_us").write_text("100000\n", encoding="utf-8")
    (tmp_path / "membership").write_text("4:cpu,cpuacct:/job\n", encoding="utf-8")
    assert usable_cores(tmp_path / "cgroup", tmp_path / "membership") == expected


def test_systems_without_affinity_or_control_groups_have_all_their_cores(monkeypatch, tmp_path):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert usable_cores(tmp_path / "none", tmp_path / "nor-this") == 6


def test_processes_of_a_run_share_the_cores_of_their_machine(machine):
    machine(usable=16, beside=1)
    assert set_threads() == 16
    machine(usable=16, beside=3)
    assert set_threads() == 5
    machine(usable=2, beside=4)
    assert set_threads() == 1


def test_a_caller_may_want_fewer(machine):
    machine(usable=16)
    assert set_threads(most=1) == 1


def test_what_the_user_set_is_kept_but_never_more_than_there_is(machine):
    machine(usable=16, beside=4, OMP_NUM_THREADS="2")
    assert set_threads(most=1) == 2
    machine(OMP_NUM_THREADS="64")
    assert set_threads() == 16
    machine(OMP_NUM_THREADS="3,2")
    assert set_threads() == 3
    machine(OMP_NUM_THREADS="many")
    assert set_threads() == 16


@pytest.mark.parametrize(
    ("words", "environment", "expected"),
    [
        ([], {}, None),
        pytest.param([], {"OMP_NUM_THREADS": "1"}, 1, marks=pytest.mark.slow),
        pytest.param(["--num_cpu_threads_per_process", "2"], {}, 2, marks=pytest.mark.slow),
        pytest.param(["--num_cpu_threads_per_process=2"], {}, 2, marks=pytest.mark.slow),
    ],
)
def test_one_thread_under_accelerate_launch_is_the_users_only_if_the_user_said_so(
    tmp_path, words, environment, expected
):
    script = tmp_path / "says.py"
    script.write_text(
        "import os; from behemoth_cli.cores import chosen_threads\n"
        "print(os.environ['OMP_NUM_THREADS'], chosen_threads())",
        encoding="utf-8",
    )
    plain = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    launch = ["--num_machines", "1", "--num_processes", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    found = subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", *launch, *words, str(script)],
        env={**plain, **environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert found.stdout.split() == [str(expected or 1), str(expected)], found.stderr


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to cores")
def test_a_process_bound_to_one_core_takes_one_thread():
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "import torch; from behemoth_cli.cores import set_threads; print(set_threads(), torch.get_num_threads())"
    )
    plain = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", *cores._LAUNCHED)}
    found = subprocess.run(
        [sys.executable, "-c", code], env={**plain, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert found.stdout == "1 1\n", found.stderr
