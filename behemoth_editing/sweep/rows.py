"""results.jsonl: one row a line, appended by any number of processes, and read again whatever they left. No scores.

Nobody owns the file. A kill leaves half a line, two runs of one sweep write the same cell twice, and where a file
system keeps no order lines run into each other. Readers take every whole row, one for each cell, and no more.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from errno import ENOSPC
from pathlib import Path
from typing import Any

from behemoth_data.settings import check
from behemoth_editing.scoring.outcomes import PARTS
from behemoth_editing.sweep.identity import precision_of
from behemoth_editing.sweep.plain import plain

try:
    import fcntl
except ImportError:  # no POSIX: then nothing but the order of appending keeps processes apart
    fcntl = None  # type: ignore[assignment]

RESULTS = "results.jsonl"

Row = dict[str, Any]
Placed = dict[str, Row]  # by file and line

PLACE = ("structure", "edge", "relation", "scenario", "num_edits")
_FIELDS = (
    *("cell", "model", "world", *PLACE, "method", "settings", "seed"),
    *("scores", "units", "seconds", "weights", "versions", "started", "error"),
)
_START = '{"cell": '  # of every line that append_row() writes, since a row's first field is its cell
_COUNTS = {part: len(PARTS[part]) for part in ("change", "keep", "ripple")}  # numbers per kind in every unit

_log = logging.getLogger(__name__)


# Writing


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """The row stands on a line of its own at the end of the file, also where the last line there was cut short.

    Raises: OSError if it cannot be written whole, ValueError for a number that is not finite.
    """
    line = json.dumps(row, allow_nan=False).encode() + b"\n"
    written = False
    while not written:
        with _locked(path) as file:
            if _is_at(file, path):
                _write(file, line)
                written = _is_at(file, path)  # where nothing is locked, a mended file may have come in its place


def _write(file: int, line: bytes) -> None:
    end = os.lseek(file, 0, os.SEEK_END)
    if end:
        os.lseek(file, end - 1, os.SEEK_SET)
        line = line if os.read(file, 1) == b"\n" else b"\n" + line
    if os.write(file, line) < len(line):  # at once: O_APPEND then puts it behind whatever others write
        raise OSError(ENOSPC, os.strerror(ENOSPC))
    os.fsync(file)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int]:
    """The open file, which no other process of ours writes to meanwhile, if the file system knows locks."""
    binary = getattr(os, "O_BINARY", 0)  # else Windows writes two bytes for each end of a line
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | binary, 0o666)  # less the umask, as any new file
    try:
        if fcntl is not None:
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield file
    finally:
        os.close(file)


def _is_at(file: int, path: Path) -> bool:
    """Whether the open file is the one that has the name now."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file), os.stat(path))
    return False


def put_file(path: Path, content: bytes) -> None:
    """The file has this content, which it gets at one blow, whoever writes it at the same time.

    Also where the machine fails right behind it: what replaces a file is on the disk before.
    """
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        partial = Path(folder, path.name)
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, partial)
        partial.replace(path)


def mend(path: Path, choose: Callable[[Placed], list[Row]]) -> list[Row]:
    """The rows that `choose` keeps of those in the file, which then holds them and nothing else.

    The file is left alone where it does already, or if `choose` raises.
    """
    while True:
        with _locked(path) as file:
            held = path.read_bytes()
            kept = choose(_rows_in(held, path))
            content = "".join(f"{json.dumps(row)}\n" for row in kept).encode()
            if content == held:
                return kept
            # Without locks somebody may have added a row meanwhile: it is read too.
            is_whole = _is_at(file, path) and path.stat().st_size == len(held)
            if is_whole and fcntl is not None:
                put_file(path, content)
                return kept
        if is_whole:  # Windows, which has no fcntl, replaces no file that is open
            put_file(path, content)
            return kept


# Reading


def read_rows(path: Path) -> Placed:
    """Every whole row of the file by its place, in the file's order; what a kill left of others is passed over.

    Raises: ValueError for a file that holds something else, OSError for one that cannot be read.
    """
    return _rows_in(path.read_bytes(), path)


def _rows_in(content: bytes, path: Path) -> Placed:
    found: Placed = {}
    damaged: list[tuple[str, str]] = []
    for number, line in enumerate(content.split(b"\n"), start=1):
        text = line.decode("utf-8", "replace").strip(" \t\r\0")  # a machine that fails leaves zeros
        place = f"{path}, line {number}"
        rows, rest = _whole_rows(text)
        found |= {place if not part else f"{place}, row {part + 1}": row for part, row in enumerate(rows)}
        if rest:
            damaged.append((place, rest))
    for place, rest in damaged:
        ours = bool(found) or rest.startswith(_START) or _START.startswith(rest)
        check(ours, f"{place}: not a result row; choose another output_dir, or remove that file")
        _log.warning("%s: no whole result row, as a run leaves it that is killed while it writes; passed over", place)
    return found


def _whole_rows(text: str) -> tuple[list[Row], str]:
    """The rows in one line, more than one where lines ran into each other, and what else there is of it."""
    rows: list[Row] = []
    rest, at = "", 0
    while at < len(text):
        row, end = _decoded(text, at)
        if row is not None:
            rows.append(row)
        else:
            end = text.find(_START, at + 1)
            end = len(text) if end < 0 else end
            rest += text[at:end].strip()
        at = end
    return rows, rest


# Older versions wrote numbers that are not finite as JavaScript does.
_DECODER = json.JSONDecoder(parse_constant=lambda name: plain(float(name)))


def _decoded(text: str, at: int) -> tuple[Row | None, int]:
    """The row that begins there, if one does, and where it ends."""
    try:
        row, end = _DECODER.raw_decode(text, at)
    except (ValueError, RecursionError):
        return None, at
    return (
        (row, end) if isinstance(row, dict) and {"cell", "weights", "versions", "error"} <= row.keys() else (None, at)
    )


def settled(rows: Placed) -> list[Row]:
    """One row for each cell, in order: the first that was scored, or the last that failed if none was.

    Repeated are cells of two runs at once, or of folders that overlap. A cell that was scored in two precisions
    stands in both.
    """
    good: dict[tuple[str, str | None], str] = {}
    failed: dict[str, str] = {}
    for place, row in rows.items():
        if row["error"] is None:
            first = good.setdefault((row["cell"], precision_of(row)), place)
            if first != place:
                _log.warning("%s: cell %s was already scored in %s, which counts", place, row["cell"], first)
        else:
            failed[row["cell"]] = place
    scored = {cell for cell, _ in good}
    kept = {*good.values(), *(place for cell, place in failed.items() if cell not in scored)}
    return [row for place, row in rows.items() if place in kept]


def check_row(row: Row, place: str) -> None:
    """Raises: ValueError that begins with the place unless the row has all that summaries are made of."""
    missing = [name for name in _FIELDS if name not in row]
    check(not missing, f"{place}: the result row lacks {', '.join(missing)}")
    check(isinstance(row["error"], str | None), f"{place}: error must be text or null, got {row['error']!r}")
    for name in ("settings", "world", "versions", "weights"):
        check(isinstance(row[name], dict), f"{place}: {name} must be an object, got {row[name]!r}")
    if row["error"] is None:
        check(isinstance(row["units"], list) and bool(row["units"]), f"{place}: units must list at least 1 edit")
        seconds = row["seconds"].get("edit") if isinstance(row["seconds"], dict) else None
        # Nobody here knows how long an edit took that was made elsewhere.
        known = isinstance(seconds, int | float) or (seconds is None and row.get("elsewhere") is not None)
        check(known, f"{place}: seconds must give those of edit, got {seconds!r}")
        for unit in row["units"]:
            _check_unit(unit, place)


def _check_unit(unit: Any, place: str) -> None:
    """Raises: ValueError unless the unit holds the right number of counts, none above those asked."""
    for group, length in _COUNTS.items():
        kinds = unit.get(group) if isinstance(unit, dict) else None
        if not isinstance(kinds, dict):
            raise ValueError(f"{place}: every unit must have an object {group}, got {kinds!r}")
        for kind, counts in kinds.items():
            whole = isinstance(counts, list) and all(type(count) is int and count >= 0 for count in counts)
            check(
                whole and len(counts) == length,
                f"{place}: {group} {kind} must be {length} counts of at least 0, got {counts!r}",
            )
            if group != "ripple":  # whose last count is not the sum
                message = f"{place}: no count of {group} {kind} may exceed those asked, its last, got {counts}"
                check(max(counts) == counts[-1], message)
