"""Where a user's folders and files lie: a path as it was given, as every library here takes it. It opens nothing."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from behemoth_data.settings import check

_PATTERN = "[]*?"  # what `datasets` and fsspec read as a pattern, wherever in a path it stands


def local_path(field: str, place: str | os.PathLike[str]) -> Path:
    """The path with ~ as the home folder.

    Raises: ValueError that names the field for letters that the file system or UTF-8 cannot have, as a path with others
    than ASCII letters gets them from a terminal that knows no more.
    """
    path = Path(os.path.expanduser(place))  # which leaves the ~ of nobody as it is, where Path's own method fails
    try:
        os.fsencode(path)
        str(path).encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{field} must be a path in letters that this terminal and UTF-8 both have (set LC_ALL=C.UTF-8), got "
            f"{str(path)!a}"
        ) from error
    return path


def check_no_pattern(field: str, place: str) -> None:
    """Raises: ValueError for a whole path in which `datasets` would see a pattern, and so not find what lies there."""
    found = [letter for letter in place if letter in _PATTERN]
    check(
        not found,
        f"{field} must have none of {' '.join(_PATTERN)} in its path, which datasets.load_dataset takes for a pattern, "
        f"got {place}",
    )


def sync(folder: Path) -> None:
    """What was written into the folder's files is on the disk."""
    for path in folder.iterdir():
        with path.open("rb+") as file:
            os.fsync(file.fileno())


@contextlib.contextmanager
def written_folder(partial: Path) -> Iterator[Path]:
    """A new folder to write to, which is gone again if that fails."""
    shutil.rmtree(partial, ignore_errors=True)
    made = [path for path in (partial.parent, *partial.parent.parents) if not path.exists()]
    partial.mkdir(parents=True)
    try:
        yield partial
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        for path in made:
            with contextlib.suppress(OSError):
                path.rmdir()
        if type(error).__name__ == "SafetensorError":  # what safetensors makes of a full disk
            raise OSError(str(error)) from error
        raise


@contextlib.contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to write to that has its name once all is written; if it is there already, it is replaced."""
    partial = folder.with_name(f".{folder.name}.partial")
    with written_folder(partial):
        yield partial
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
