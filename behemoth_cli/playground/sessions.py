"""Whose edits are whose: one history for each open page. Nothing of it is shared, and it is gone with the page."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Iterator

from behemoth_cli.playground.attacking import Tried
from behemoth_cli.playground.making import Made
from behemoth_data.settings import check

MOST_EDITS = 8  # that a session keeps, the newest ones
MOST_SESSIONS = 100  # that are kept, those used last
MOST_BYTES = 4 * 2**30  # of all their edited models


class Busy(ValueError):
    """The session makes an edit already."""


class Session:
    """The edits of one page, in their order, and which of them is looked at."""

    def __init__(self) -> None:
        self.made: list[Made] = []
        self.tried: list[Tried] = []  # attacks on them
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
                self.model, self.made, self.tried = (name, step), [], []

    def add(self, made: Made, of: tuple[str, int | None]) -> bool:
        """One edit more, unless the session is about another model by now; the oldest goes where there are too many."""
        with self._lock:
            if self.model != of:
                return False
            self._keep([*self.made, made][-MOST_EDITS:])
            return True

    def add_tried(self, tried: Tried) -> bool:
        """One attack more, in the place of the same one before, unless its edit is gone by now."""
        with self._lock:
            if not any(made is tried.made for made in self.made):
                return False
            others = [old for old in self.tried if old.made is not tried.made or old.attack != tried.attack]
            self.tried = [*others, tried]
            return True

    def _keep(self, made: list[Made]) -> None:
        """Only these edits, and attacks on them."""
        self.made = made
        self.tried = [tried for tried in self.tried if any(tried.made is kept for kept in made)]

    def undo(self) -> None:
        """The newest edit is gone, if there is one."""
        with self._lock:
            self._keep(self.made[:-1])

    @property
    def is_editing(self) -> bool:
        """Whether an edit is being made."""
        return self._busy.locked()

    @property
    def size(self) -> int:
        """Bytes of its edited models."""
        return sum(made.size for made in self.made)

    def stop(self) -> bool:
        """The edit that is being made, if there is one, ends soon; none that comes later does."""
        self._stop.set()
        return self.is_editing

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
    """The sessions of all pages that made an edit, by a name that nobody else knows."""

    def __init__(self, most: int = MOST_SESSIONS, most_bytes: int = MOST_BYTES) -> None:
        check(most >= 1, f"most must be at least 1, got {most}")
        self._most, self._most_bytes, self._lock = most, most_bytes, threading.Lock()
        self._found: OrderedDict[str, Session] = OrderedDict()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._found)

    def get(self, name: str | None) -> Session:
        """The session of this name; a new one, which is not kept, if there is none."""
        with self._lock:
            if (name or "") not in self._found:
                return Session()
            self._found.move_to_end(name or "")
            return self._found[name or ""]

    def keep(self, name: str | None) -> Session:
        """The session of this name from now on, which is about to make an edit.

        Where there are too many, or too much of them, others make place that make no edit now: first those that have
        none, then those unused for longest.
        """
        key = name or ""
        with self._lock:
            found = self._found.pop(key, None) or Session()
            idle = [name for name, other in self._found.items() if not other.is_editing]
            self._found[key] = found
            for other in sorted(idle, key=lambda name: bool(self._found[name].made)):
                size = sum(kept.size for kept in self._found.values())
                if len(self._found) <= self._most and size <= self._most_bytes:
                    break
                del self._found[other]
            return found

    def drop(self, name: str | None) -> None:
        """The session is gone, and an edit that it makes ends soon."""
        with self._lock:
            found = self._found.pop(name or "", None)
        if found is not None:
            found.stop()
