"""How many threads a process takes, decided in this one place: what it may use, shared with those beside it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

# What accelerate launch and torchrun set for the processes that they start.
_LAUNCHED = {"ACCELERATE_MIXED_PRECISION", "TORCHELASTIC_RUN_ID"}
_FLAG = "num_cpu_threads_per_process"


def set_threads(most: int | None = None) -> int:
    """This process's torch has as many threads as it should, at most `most`; returns how many.

    A number that the user has set, by OMP_NUM_THREADS or for accelerate launch, is kept. Otherwise the processes that
    share this run on this machine share its cores. It is never more than this process may use.
    """
    import torch  # here, since whoever only counts cores needs neither
    from accelerate.utils.environment import get_cpu_distributed_information

    beside = max(1, get_cpu_distributed_information().local_world_size)
    count = chosen_threads() or min(most or math.inf, usable_cores() // beside)
    threads = int(max(1, min(count, usable_cores())))
    torch.set_num_threads(threads)
    return threads


def usable_cores(cgroups: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> int:
    """The cores that this process may use: those it is bound to, and no more than its control groups' quotas.

    A quota of one and a half cores counts as two. Where there are neither bounds nor quotas, all cores.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([bound, *(math.ceil(quota) for quota in _quotas(cgroups, membership))]))


def _quotas(cgroups: Path, membership: Path) -> Iterator[float]:
    """The quotas, in cores, of the control groups that this process is in, of version 1 and of version 2."""
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if not controllers:
            root, files = cgroups, ["cpu.max"]
        elif "cpu" in controllers.split(","):
            root, files = cgroups / controllers, ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
        else:
            continue
        folder = root / group.strip("/")
        # A container sees its own group as the root, whatever the path to it is called outside.
        for place in (folder, *(parent for parent in folder.parents if parent == root or root in parent.parents)):
            try:
                words = " ".join((place / file).read_text(encoding="utf-8") for file in files).split()
            except OSError:
                continue
            if words[0] not in ("max", "-1"):
                yield int(words[0]) / int(words[1])


def chosen_threads() -> int | None:
    """The threads that the user chose for each process, or none.

    accelerate launch and torchrun set OMP_NUM_THREADS to 1 where nobody chose anything, so that there the environment
    and the command line that they were started with count.
    """
    if not _LAUNCHED & os.environ.keys():
        return _threads_in(os.environ)
    try:
        launcher = psutil.Process(os.getppid())
        environment, words = launcher.environ(), launcher.cmdline()
    except psutil.Error:
        return None
    flagged = any(word.lstrip("-").replace("-", "_").startswith(_FLAG) for word in words)
    return _threads_in(os.environ if flagged else environment)


def _threads_in(environment: Mapping[str, str]) -> int | None:
    """What OMP_NUM_THREADS says; it may be a list, of which the first number counts outside of nested regions."""
    first = environment.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) > 0 else None
