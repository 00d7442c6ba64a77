"""A part of an experiment: a JSON file for each subject of it, made by whoever is free, and never twice. No options.

A trial's subjects are worlds, those of `behemoth locate` are models.
"""

from __future__ import annotations

import contextlib
import errno
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from behemoth_cli.crew import Crew, Job
from behemoth_data.settings import check
from behemoth_editing.sweep.plain import words_of
from behemoth_editing.sweep.rows import put_file

Found = dict[str, Any]


class Subject(Protocol):
    """What one file of a part is about."""

    @property
    def name(self) -> str:
        """That of the file."""
        ...

    @property
    def folder(self) -> str:
        """The name of the folder for its models, which are these and no others."""
        ...

    def id_in(self, part: str) -> str:
        """That of all settings of the part and the version of this code."""
        ...


@contextlib.contextmanager
def finding(said: Mapping[str, Any]) -> Iterator[Found]:
    """What is said of a subject whatever is found, what a caller adds, and the seconds of this block.

    What fails there is the `error` of what is found.
    """
    started, found = time.perf_counter(), dict(said)
    try:
        yield found
        json.dumps(found, allow_nan=False)  # here, where a number that is none costs this subject and no other
    except (ValueError, FloatingPointError) as error:
        found |= {"error": words_of(error)}
    found["seconds"] = round(time.perf_counter() - started, 1)


def do_part(
    crew: Crew, work: Callable[..., Found], part: str, subjects: Sequence[Subject], output: Path, unit: str
) -> list[str]:
    """The folder has PART/NAME.json for each subject, those that were there as they were; models stay in models/.

    Returns a line for each in which something failed, which has no file then.
    Raises: ValueError for a file of other settings or code; OSError for a disk or a scheduler that fails.
    """
    for folder in (part, "models"):
        (output / folder).mkdir(parents=True, exist_ok=True)
    failed = []
    missing = [subject for subject in subjects if read_of(subject, part, output) is None]
    jobs = [Job((subject, (output / "models" / subject.folder).resolve()), subject.name) for subject in missing]
    with tqdm(total=len(subjects), initial=len(subjects) - len(missing), desc=part, unit=unit) as bar:

        def done(job: Job, found: Found) -> None:
            subject: Subject = job.arguments[0]
            bar.update()
            if "error" in found:
                failed.append(f"{subject.name}, {part}: {found['error']}")
                return
            check(
                found["id"] == subject.id_in(part),
                f"workers must run the same code as the process that they work for, got other settings of {job.model}",
            )
            put_file(_place(subject, part, output), json.dumps(found, allow_nan=False).encode() + b"\n")

        def lost(job: Job, why: str) -> None:
            raise OSError(errno.EIO, f"{job.model} could not be tried: {why}")

        crew.do(work, jobs, done, lost)
    return failed


def read_of(subject: Subject, part: str, output: Path) -> Found | None:
    """What the folder has of this very subject, if it does. Raises: ValueError if it is of other settings."""
    path = _place(subject, part, output)
    if not path.is_file():
        return None
    found: Found = json.loads(path.read_text(encoding="utf-8"))
    check(
        found["id"] == subject.id_in(part),
        f"output_dir must be new or of the same recipe and version, got {path}, which is of other settings; choose "
        "another output_dir, or remove it",
    )
    return found


def load_part(subjects: Sequence[Subject], part: str, output: Path) -> list[Found]:
    """What was found of those of the subjects that have a file."""
    return [found for subject in subjects if (found := read_of(subject, part, output)) is not None]


def _place(subject: Subject, part: str, output: Path) -> Path:
    return output / part / f"{subject.name}.json"
