"""Work in a thread of its own, so that its page can say how far it is, or let go of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from behemoth_cli.playground.making import Step, Stopped

Result = TypeVar("Result")


class Job(Generic[Result]):
    """Work that has begun, and ends at its next step once `stop` is set."""

    def __init__(self, work: Callable[[Step], Result], stop: threading.Event) -> None:
        self.ended = threading.Event()
        self._stop, self._started = stop, time.monotonic()
        self._done: tuple[float, str] = (0.0, "beginning")
        self._found: list[Result] = []
        self._error: BaseException | None = None

        def run() -> None:
            try:
                self._found.append(work(self._step))
            except BaseException as error:  # told by result(), in the thread that waits
                self._error = error
            finally:
                self.ended.set()

        threading.Thread(target=run, name="job", daemon=True).start()

    def _step(self, done: float, text: str) -> None:
        if self._stop.is_set():
            raise Stopped("it was stopped")
        self._done = (done, text)

    @property
    def at(self) -> tuple[float, str, float]:
        """How far it is, what is done now, and seconds."""
        return (*self._done, time.monotonic() - self._started)

    def result(self) -> Result:
        """What came of it. Raises: what kept it from ending."""
        if self._error is not None:
            raise self._error
        return self._found[0]
