"""Whose edits are whose: one history for each open page. Nothing of it is shared, and it is gone with the page."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Iterator

from behemoth_cli.playground.making import Made
from behemoth_data.settings import check

MOST_EDITS = 8  # that a session keeps, the newest ones
MOST_SESSIONS = 100  # that are kept, those used last


class Busy(ValueError):
    """The session makes an edit already."""


class Session:
    """The edits of one page, in their order, and which of them is looked at."""

    def __init__(self) -> None:
        self.made: list[Made] = []
        self.model: tuple[str, int | None] | None = None  # name and step of what is edited
        self._lock = threading.Lock()  # of what stands above
        self._busy = threading.Lock()
        self._stop = threading.Event()  # of the edit that is being made

    @property
    def last(self) -> Made | None:
        """The newest edit."""
        return self.made[-1] if self.made else None

    def of(self, name: str, step: int | None) -> None:
        """The session is about this model: the edits of another are gone."""
        with self._lock:
            if self.model != (name, step):
                self.model, self.made = (name, step), []

    def add(self, made: Made, of: tuple[str, int | None]) -> bool:
        """One edit more, unless the session is about another model by now; the oldest goes where there are too many."""
        with self._lock:
            if self.model != of:
                return False
            self.made = [*self.made, made][-MOST_EDITS:]
            return True

    def undo(self) -> None:
        """The newest edit is gone, if there is one."""
        with self._lock:
            self.made = self.made[:-1]

    def stop(self) -> None:
        """The edit that is being made ends at its next step; none that comes later does."""
        self._stop.set()

    @contextlib.contextmanager
    def editing(self) -> Iterator[threading.Event]:
        """One edit at a time, with what says that nobody wants it any more. Raises: Busy if one is being made."""
        if not self._busy.acquire(blocking=False):
            raise Busy("one edit at a time: this page is making one already")
        try:
            self._stop = threading.Event()
            yield self._stop
        finally:
            self._busy.release()


class Sessions:
    """The sessions of all pages that are open, by a name that nobody else knows."""

    def __init__(self, most: int = MOST_SESSIONS) -> None:
        check(most >= 1, f"most must be at least 1, got {most}")
        self._most, self._lock = most, threading.Lock()
        self._found: OrderedDict[str, Session] = OrderedDict()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._found)

    def get(self, name: str | None) -> Session:
        """The session of this name, a new one if there was none; the one unused for longest makes place."""
        key = name or ""
        with self._lock:
            found = self._found.pop(key, None) or Session()
            self._found[key] = found
            while len(self._found) > self._most:
                self._found.popitem(last=False)[1].stop()
            return found

    def drop(self, name: str | None) -> None:
        """The session is gone, and an edit that it makes ends soon."""
        with self._lock:
            found = self._found.pop(name or "", None)
        if found is not None:
            found.stop()
