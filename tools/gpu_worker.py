"""Processes of their own for the jobs of gpu_check.py: what fails or hangs in one costs no other. No job is known here.

A job is a function named with its module. It says what it finds as it goes, and may be ended at any time.
"""

from __future__ import annotations

import importlib
import json
import logging
import multiprocessing
import os
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import wait
from typing import Any

# Imported once, by the process that all others are copies of; none of it touches a card.
PRELOADED = ["torch", "transformers", "behemoth_models.training", "behemoth_editing.sweep.running"]
_LINES = 12  # of a traceback that are kept
_LOOK = 0.5  # seconds between two looks at what is not said but written


class OutOfTimeError(Exception):
    """What is left to do would take longer than there is time."""


class JobError(Exception):
    """A job has failed; `lines` say how."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__(lines[-1] if lines else "")
        self.lines = list(lines)


class Say:
    """What a job is given: a way to say what it found, and its time."""

    def __init__(self, pipe: Any, deadline: float) -> None:
        self._pipe, self._deadline = pipe, deadline

    def __call__(self, name: str, value: Any, kind: str = "found") -> None:
        """The other side knows."""
        self._pipe.send_bytes(json.dumps([kind, name, value]).encode())

    def need(self, seconds: float, what: str) -> None:
        """Raises: OutOfTimeError unless this many seconds are left for something."""
        left = self._deadline - time.monotonic()
        if left < seconds:
            raise OutOfTimeError(f"not done for want of time: {what} ({left:.0f} s left)")

    def listen(self) -> None:
        """The other side has said to go on."""
        self._pipe.recv_bytes()


class Worker:
    """One job in its process, and what has been heard of it."""

    def __init__(
        self,
        start: str,
        job: str,
        device: str,
        deadline: float,
        arguments: Mapping[str, Any],
        heard: Callable[..., None],
    ) -> None:
        context: Any = multiprocessing.get_context(start)
        if start == "forkserver":
            context.set_forkserver_preload(PRELOADED)
        self.pipe, far = context.Pipe()
        self.process = context.Process(target=_work, args=(far, job, device, deadline, dict(arguments)), daemon=True)
        self.process.start()
        far.close()
        self.found: dict[str, Any] = {}
        self.end: str | None = None  # how it ended: done, failed, cut or died
        self.lines: list[str] = []
        self._heard = heard

    def read(self) -> None:
        """The next thing that it says is known, or that it has died."""
        try:
            kind, name, value = json.loads(self.pipe.recv_bytes())
        except (EOFError, ConnectionError):
            self.process.join(10)
            self.end, self.lines = "died", [f"the process ended with status {self.process.exitcode}"]
            return
        if kind == "found":
            self.found[name] = value
            self._heard(name, value)
        else:
            self.end, self.lines = kind, value

    def go_on(self) -> None:
        """The job that listens goes on."""
        self.pipe.send_bytes(b"go")

    def stop(self) -> None:
        """The process is gone."""
        self.process.kill()
        self.process.join(10)
        self.pipe.close()


def wait_for(
    workers: Sequence[Worker],
    deadline: float,
    until: Callable[[], bool] | None = None,
    look: Callable[[], None] = lambda: None,
) -> None:
    """All workers have ended, or `until` holds. Raises: OutOfTimeError at the deadline."""
    while not (until or (lambda: all(worker.end for worker in workers)))():
        left = deadline - time.monotonic()
        if left <= 0:
            raise OutOfTimeError("ended at its limit of time")
        talking = {worker.pipe: worker for worker in workers if worker.end is None}
        if talking:
            for pipe in wait(list(talking), min(left, _LOOK)):
                talking[pipe].read()
        else:
            time.sleep(min(left, _LOOK))
        look()


def last_lines(error: BaseException) -> list[str]:
    """The last lines of its traceback."""
    return "".join(traceback.format_exception(error)).rstrip().splitlines()[-_LINES:]


def _work(pipe: Any, job: str, device: str, deadline: float, arguments: dict[str, Any]) -> None:
    """The job is done in this process, and its end is said."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _prepare(device)
    say = Say(pipe, deadline)
    try:
        module, _, name = job.partition(".")
        getattr(importlib.import_module(module), name)(say, device=device, **arguments)
    except OutOfTimeError as error:
        say("", [str(error)], "cut")
    except BaseException as error:  # whatever it is, the check says so and goes on
        say("", last_lines(error), "failed")
    else:
        say("", [], "done")


def _prepare(device: str) -> None:
    """The process computes on the device alone, and keeps quiet."""
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # torch before 2.13 wants it said for the same bits
    if device == "cpu":
        os.environ |= {"CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true"}
    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.disable(logging.WARNING)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
