"""What gpu_check.py knows, part by part, and how a part adds to it. Which parts there are is not known here."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gpu_worker import JobError, OutOfTimeError, Worker, wait_for

from behemoth_data.settings import check


class Record:
    """What is known, on disk after every change."""

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        """What an earlier call knew is kept. Raises: ValueError if the file is of other settings or no record."""
        self._path, self.parts = path, dict[str, dict[str, Any]]()
        self._settings = dict(settings)
        if path.exists():
            try:
                stored = json.loads(path.read_text(encoding="utf-8"))
                found, self.parts = stored["settings"], dict(stored["parts"])
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"output must be new or hold a {path.name} of this command, got {path}") from error
            check(found == self._settings, f"output {path} is of {found}, got {self._settings}; use another folder")

    def write(self) -> None:
        """The file holds all of it; a kill leaves what was there before."""
        partial = self._path.with_suffix(".partial")
        partial.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(
            json.dumps({"settings": self._settings, "parts": self.parts}, indent=1), encoding="utf-8", newline="\n"
        )
        partial.replace(self._path)


class Part:
    """One part as it runs: its time, its processes, and what it adds to the record."""

    def __init__(self, name: str, record: Record, settings: argparse.Namespace, work: Path, deadline: float) -> None:
        self.settings, self.work, self.deadline, self.start = settings, work, deadline, "forkserver"
        self.record, self._workers = record, list[Worker]()
        self.row: dict[str, Any] = {"status": "running", "found": {}, "checks": {}, "error": [], "summary": []}
        record.parts[name] = self.row
        record.write()

    @property
    def found(self) -> dict[str, Any]:
        """What is known so far."""
        found: dict[str, Any] = self.row["found"]
        return found

    def left(self) -> float:
        """Seconds until the part is cut."""
        return self.deadline - time.monotonic()

    def note(self, place: str | None, name: str, value: Any) -> None:
        """The record has it, in a place of its own if one is named."""
        (self.found if place is None else self.found.setdefault(place, {}))[name] = value
        self.record.write()

    def check(self, what: str, holds: bool) -> None:
        """The record says whether it holds; a part with one that does not has failed."""
        self.row["checks"][what] = bool(holds)
        self.record.write()

    def say(self, line: str) -> None:
        """A line of the table at the end."""
        self.row["summary"].append(line)

    def open(self, job: str, *, place: str | None = None, device: str | None = None, **arguments: Any) -> Worker:
        """The job has begun in a process of its own; what it says is noted."""
        settings = {"small": self.settings.small, **arguments}
        device = device or self.settings.device
        worker = Worker(self.start, job, device, self.deadline, settings, lambda *said: self.note(place, *said))
        self._workers.append(worker)
        return worker

    def wait(self, *workers: Worker, dies: bool = False, look: Callable[[], None] = lambda: None) -> None:
        """All have ended. Raises: OutOfTimeError, or JobError if one failed, or did not die that was to."""
        wait_for(workers, self.deadline, look=look)
        for worker in workers:
            if worker.end == "cut":
                raise OutOfTimeError(worker.lines[-1])
            if worker.end != ("died" if dies else "done"):
                raise JobError(worker.lines or [f"the process was to die and ended as {worker.end}"])

    def none_has_ended(self, workers: Sequence[Worker]) -> None:
        """All are at work. Raises: JobError for one that is not."""
        for worker in workers:
            if worker.end:
                raise JobError(worker.lines or ["the process came to its end too soon"])

    def job(
        self, name: str, *, dies: bool = False, look: Callable[[], None] = lambda: None, **arguments: Any
    ) -> Worker:
        """The job has been done. Raises: as wait() does."""
        worker = self.open(name, **arguments)
        self.wait(worker, dies=dies, look=look)
        return worker

    def close(self) -> None:
        """None of its processes is left."""
        for worker in self._workers:
            worker.stop()
