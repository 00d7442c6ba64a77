"""Who does jobs: this process, processes of this machine, or the workers of a dask scheduler. Not what the jobs are.

A scheduler and its workers run whatever a client sends them, and the client unpickles what they send back: a scheduler
must be one's own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
import importlib
import os
import queue
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Container, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol

from behemoth_data.extras import DISTRIBUTION, need
from behemoth_data.files import client_at, client_here
from behemoth_data.settings import check

TRIES = 3  # of a job whose worker dies

_POLL_SECONDS = 1.0
_PATIENCE = 120.0  # seconds without any worker, after which none is waited for

Work = Callable[..., Any]  # called with a desk and a job's arguments; a function that another process can import


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
    """What one call of some work is about. Two are equal only if they are one and the same."""

    arguments: tuple[Any, ...]
    model: str
    draw: object = None


Done = Callable[[Job, Any], None]  # told of a job and its result
Lost = Callable[[Job, str], None]  # told of a job and what became of it


class Shares:
    """Jobs dealt out so that those of one model, and of one draw, go to the same worker while all have work.

    Whoever has none left gets the largest model that nobody has, or half of what somebody else has left: whole draws,
    if there are several. For what a method prepares once for a model is prepared by every process that edits it.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        models: dict[str, list[Job]] = {}
        for job in jobs:
            models.setdefault(job.model, []).append(job)
        self._waiting = sorted(models.values(), key=len, reverse=True)  # so that all end at about one time
        self._held: dict[str, list[Job]] = {}

    @property
    def left(self) -> bool:
        """Whether there are jobs that nobody was given."""
        return any([*self._waiting, *self._held.values()])

    def next(self, worker: str) -> Job | None:
        """The job that the worker does now; None if no jobs are left."""
        if not self._held.get(worker):
            self._held[worker] = self._waiting.pop(0) if self._waiting else self._half()
        held = self._held[worker]
        return held.pop(0) if held else None

    def again(self, job: Job) -> None:
        """The job is the next to be done, by whoever is free first."""
        self._waiting.insert(0, [job])

    def keep(self, workers: Container[str]) -> None:
        """What is left of the share of a worker that is none of these, others will get."""
        for worker in [worker for worker in self._held if worker not in workers]:
            left = self._held.pop(worker)
            if left:
                self._waiting.insert(0, left)

    def _half(self) -> list[Job]:
        most = max(self._held.values(), key=len, default=[])
        starts = [place for place in range(1, len(most)) if most[place].draw != most[place - 1].draw]
        cut = min(starts, key=lambda place: abs(2 * place - len(most)), default=len(most) // 2)
        taken, most[cut:] = most[cut:], []
        return taken


class Crew(Protocol):
    """Who does jobs."""

    def do(self, work: Work, jobs: Sequence[Job], done: Done, lost: Lost) -> None:
        """Every job is done, and `done` was told of each as it ended, with its result, in this process.

        `lost` was told of those whose workers died, as often as is tried, and how.
        Raises: what the first job that failed raised, and what `done` and `lost` do; OSError if no worker is left.
        """
        ...


@contextlib.contextmanager
def crew_of(processes: int, scheduler: str | None, desk: Callable[[], Any]) -> Iterator[Crew]:
    """So many processes of this machine, one being this process itself, or the workers of a dask scheduler.

    Each has a `desk` for what it keeps from one job to the next. They start with the first job, and those that were
    started here end when this is closed, or with this process, also where it is killed.
    """
    if scheduler is None and processes == 1:
        yield _Alone(desk())
    else:
        with contextlib.ExitStack() as stack:
            yield _Cluster(stack, processes, scheduler, desk)


class _Alone:
    """This process."""

    def __init__(self, desk: Any) -> None:
        self._desk = desk

    def do(self, work: Work, jobs: Sequence[Job], done: Done, lost: Lost) -> None:
        """Every job is done, one after the other."""
        shares = Shares(jobs)
        while job := shares.next("this process"):
            done(job, work(self._desk, *job.arguments))


class _Cluster:
    """The workers of a scheduler. Each has one job at a time, so that a worker that dies takes no other with it."""

    def __init__(
        self, stack: contextlib.ExitStack, processes: int, scheduler: str | None, desk: Callable[[], Any]
    ) -> None:
        self._stack, self._processes, self._scheduler, self._desk = stack, processes, scheduler, desk

    @functools.cached_property
    def _client(self) -> Any:
        need("work in several processes", "dask")
        if self._scheduler is None:
            return self._stack.enter_context(_started(self._processes, self._desk.__module__))
        return self._stack.enter_context(_connected(self._scheduler))

    def do(self, work: Work, jobs: Sequence[Job], done: Done, lost: Lost) -> None:
        """Every job is done, as many at a time as there are workers, also where some come and go."""
        shares, running, deaths = Shares(jobs), dict[Any, tuple[str, Job]](), Counter[Job]()
        ended: queue.SimpleQueue[Any] = queue.SimpleQueue()

        def died(future: Any) -> None:
            _, job = running.pop(future)
            future.cancel()
            deaths[job] += 1
            if deaths[job] < TRIES:
                shares.again(job)
            else:
                lost(job, f"WorkerDied: its process died in the middle of it, {TRIES} times of {TRIES}")

        self._seen = time.monotonic()
        try:
            while shares.left or running:
                workers = self._workers()
                shares.keep(workers)
                for future in [future for future, (worker, _) in running.items() if worker not in workers]:
                    died(future)
                busy = {worker for worker, _ in running.values()}
                for worker in workers:
                    if worker not in busy and (job := shares.next(worker)):
                        future = self._submit(work, job, worker)
                        running[future] = worker, job
                        future.add_done_callback(ended.put)
                future = _next(ended)
                if future in running:
                    try:
                        result = _result(future)
                    except _Died:
                        died(future)
                    else:
                        _, job = running.pop(future)
                        done(job, result)
        finally:
            for future in running:
                future.cancel()

    def _workers(self) -> list[str]:
        """The addresses of all workers. Raises: OSError where there has been none for long, or no scheduler is left."""
        workers = list(self._client.nthreads())
        now = time.monotonic()
        self._seen = now if workers else self._seen
        if now - self._seen > _PATIENCE:
            raise OSError(errno.EIO, f"no dask worker has been there for {_PATIENCE:.0f} seconds")
        return workers

    def _submit(self, work: Work, job: Job, worker: str) -> Any:
        """The job's future, on this worker and no other.

        With other workers allowed, dask leaves a job alone whose worker died while there was no other.
        """
        return self._client.submit(_on_worker, self._desk, work, job.arguments, workers=[worker], pure=False)


class _Died(Exception):
    """The worker of a job died before its result was here."""


def _next(ended: queue.SimpleQueue[Any]) -> Any:
    """The next future that ended; None if none does for a while."""
    try:
        return ended.get(timeout=_POLL_SECONDS)
    except queue.Empty:
        return None


def _result(future: Any) -> Any:
    """What came of a job that has ended.

    Raises: what the job raised, _Died if that was the worker's death, OSError if the scheduler is gone.
    """
    distributed = importlib.import_module("distributed")
    try:
        return future.result(timeout=_PATIENCE)
    except distributed.KilledWorker as error:
        raise _Died from error
    except distributed.CancelledError as error:
        raise OSError(errno.EIO, f"the dask cluster failed: {error}") from error
    except TimeoutError as error:
        if future.status == "error":  # it is the job's own
            raise
        raise _Died from error  # with the result, and dask waits for it to be made again


def _on_worker(desk: Callable[[], Any], work: Work, arguments: tuple[Any, ...]) -> Any:
    """What the work gives at the desk of the dask worker that calls this, where one job is done at a time.

    A worker of several threads has one desk: random numbers and much else are the process's.
    """
    worker = importlib.import_module("distributed").get_worker()
    lock, own = vars(worker).setdefault("behemoth_desk", (threading.Lock(), desk()))
    with lock:
        return work(own, *arguments)


@contextlib.contextmanager
def _connected(scheduler: str) -> Iterator[Any]:
    """A client of the scheduler at the address.

    Raises: ValueError if this is no address, or other code is installed there; OSError if no scheduler answers.
    """
    try:
        client = client_at(scheduler, set_as_default=False)
    except ValueError as error:
        message = f"dask must be the address of a scheduler such as tcp://10.0.0.1:8786, got {scheduler}: {error}"
        raise ValueError(message) from error
    with client:
        installed = functools.partial(version, DISTRIBUTION)
        try:
            found = {client.run_on_scheduler(installed), *client.run(installed).values()}
        except PackageNotFoundError:
            found = {"none"}
        check(
            found == {installed()},
            f"scheduler and workers must have {DISTRIBUTION} {installed()} installed, got {', '.join(sorted(found))} "
            f"at {scheduler}",
        )
        yield client


@contextlib.contextmanager
def _started(processes: int, module: str) -> Iterator[Any]:
    """A client of a cluster of so many processes of this machine, which need the module; no other machine reaches them.

    They end with this process, also where it is killed, so that none works on beside the one that goes on.
    """
    dask, distributed = (importlib.import_module(name) for name in ("dask", "distributed"))
    with (
        tempfile.TemporaryDirectory(prefix="behemoth-dask-", ignore_cleanup_errors=True) as folder,
        dask.config.set(
            {
                "temporary-directory": folder,
                "distributed.worker.multiprocessing-method": _start(),
                # Beside this, which is nothing new, dask sets the number of threads, and in this process too, where it
                # would pass for the user's choice.
                "distributed.nanny.pre-spawn-environ": {"PYTHONHASHSEED": os.environ.get("PYTHONHASHSEED", "random")},
                "distributed.worker.profile.enabled": False,
                "distributed.diagnostics.nvml": False,
                # Else dask gives a job that killed its process to the one in its place, if that got the same port, and
                # nobody counts it.
                "distributed.scheduler.allowed-failures": 0,
                # A process that died is started again, which may take its time on a busy machine.
                "distributed.deploy.lost-worker-timeout": "10 minutes",
            }
        ),
    ):
        if _start() == "forkserver":
            # After distributed has named what is to be imported before processes are copied: what takes seconds.
            distributed.utils.get_mp_context().set_forkserver_preload(["distributed", module])
        with client_here(
            set_as_default=False,
            host="127.0.0.1",
            n_workers=processes,
            threads_per_worker=1,
            processes=True,
            memory_limit=None,
            preload=[__name__],
            scheduler_kwargs={"dashboard": False},
        ) as client:
            yield client


def dask_setup(worker: object) -> None:
    """A worker that was started here leaves the keyboard's interrupt to the process that it works for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _start() -> str:
    """How processes are started: as copies of one that has imported torch, where no accelerator refuses such copies."""
    import torch  # here, since whoever starts none needs it not

    return "forkserver" if sys.platform == "linux" and not torch.accelerator.is_available() else "spawn"
