"""What would leave the machine: files by their place in a repository, and the rules that each must keep.

It reads files and sends nothing.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from behemoth_data.safety import pickles_among
from behemoth_data.settings import check

MAIN = "main"
DATASET = "behemoth"  # the name of the dataset's repository
PLAYGROUND = "behemoth-playground"  # the name of the playground's, and the tag of its card

# The first bytes that a file of each kind has. Anything else stays here, whatever a folder holds.
_ALLOWED: dict[str, tuple[bytes, ...]] = {
    ".safetensors": (),  # checked by its header
    ".parquet": (b"PAR1",),
    ".json": (b"{", b"["),
    ".yaml": (),
    ".md": (),
    ".svg": (b"<svg", b"<?xml"),
    ".png": (b"\x89PNG\r\n\x1a\n",),
}
_ALLOWED_IN_SPACES: dict[str, tuple[bytes, ...]] = {**_ALLOWED, ".py": (), ".html": (b"<!doctype html>",)}
_REQUIREMENTS = "requirements.txt"
_TEXT = {".json", ".yaml", ".md", ".svg", ".py", ".txt", ".html"}
_TOKEN = re.compile(rb"hf_[A-Za-z0-9]{30,}")


@dataclasses.dataclass(frozen=True)
class Upload:
    """One file of a publication: a file on this machine, or bytes made for the purpose."""

    path: str  # in the repository
    source: Path | bytes

    @functools.cached_property
    def size(self) -> int:
        """Bytes."""
        return len(self.source) if isinstance(self.source, bytes) else self.source.stat().st_size

    @functools.cached_property
    def sha256(self) -> str:
        """What the Hub knows a large file by."""
        if isinstance(self.source, bytes):
            return hashlib.sha256(self.source).hexdigest()
        with self.source.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @functools.cached_property
    def git_oid(self) -> str:
        """What the Hub knows any other file by."""
        data = self.read()
        return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()

    def read(self) -> bytes:
        """The whole content."""
        return self.source if isinstance(self.source, bytes) else self.source.read_bytes()

    def start(self) -> bytes:
        """The first bytes of the content."""
        if isinstance(self.source, bytes):
            return self.source[:16]
        with self.source.open("rb") as file:
            return file.read(16)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Publication:
    """One repository as it is to be: its files on main and on other branches, all of them."""

    repo: str  # NAMESPACE/NAME
    kind: str  # dataset, model or space
    uploads: Sequence[Upload]
    branches: Mapping[str, Sequence[Upload]] = dataclasses.field(default_factory=dict)  # beside main
    tag: str | None = None  # of what main then holds
    loading: Sequence[str] = ()  # lines of Python that load it
    left_out: Sequence[str] = ()  # files of the folders it was made from that stay here
    notes: Sequence[str] = ()  # what the publisher should know

    @property
    def revisions(self) -> dict[str, Sequence[Upload]]:
        """The files of every branch, main last: who sees it finds the others there."""
        return {**self.branches, MAIN: self.uploads}

    def url(self, endpoint: str) -> str:
        """Where the repository is seen."""
        prefix = {"dataset": "datasets/", "model": "", "space": "spaces/"}[self.kind]
        return f"{endpoint}/{prefix}{self.repo}"

    def card(self, branch: str = MAIN) -> str:
        """The text of README.md on a branch. Raises: ValueError if there is none."""
        found = [upload for upload in self.revisions[branch] if upload.path == "README.md"]
        check(bool(found), f"{self.repo} at {branch} must have a README.md, got none")
        return found[0].read().decode("utf-8")


def files_in(folder: Path) -> dict[str, Path]:
    """Every file of a folder by its path there, hidden ones and compiled modules left out.

    Raises: ValueError for a folder that is not there, or for a symbolic link that leads out of it or to a folder.
    """
    check(folder.is_dir(), f"folder must exist, got {str(folder)!r}")
    root, found = folder.resolve(), {}
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__pycache__")
        for name in (*folders, *sorted(names)):
            path = Path(place, name)
            outside = path.is_symlink() and (path.is_dir() or not path.resolve().is_relative_to(root))
            check(not outside, f"{folder} must hold no symbolic link to a folder or out of itself, got {path}")
            if name in names and not name.startswith("."):
                found[path.relative_to(folder).as_posix()] = path
    return found


def chosen(folder: Path, patterns: Iterable[str]) -> tuple[list[Upload], list[str]]:
    """The files of a folder, not of those in it, that match a pattern, and the names of all others.

    Raises: ValueError as `files_in` does, or for a pickle.
    """
    files = files_in(folder)
    found = pickles_among(files)
    check(not found, f"{folder} must hold no pickle, got {found[:1]}")
    wanted = list(patterns)
    taken = [name for name in files if any(fnmatch.fnmatchcase(name, pattern) for pattern in wanted)]
    return [Upload(name, files[name]) for name in taken], [name for name in files if name not in taken]


def check_publication(publication: Publication) -> None:
    """Raises: ValueError for a file that may not be published: of another kind, twice there, or with a token in it."""
    for revision, uploads in publication.revisions.items():
        place = f"{publication.repo} at {revision}"
        paths = [upload.path for upload in uploads]
        twice = sorted({path for path in paths if paths.count(path) > 1})
        check(not twice, f"{place} must have every file once, got {twice}")
        for upload in uploads:
            _check_upload(upload, publication.kind, place)


def _check_upload(upload: Upload, kind: str, place: str) -> None:
    path = PurePosixPath(upload.path)
    check(
        not path.is_absolute() and ".." not in path.parts,
        f"a path of {place} must lie in the repository, got {upload.path}",
    )
    allowed = _ALLOWED_IN_SPACES if kind == "space" else _ALLOWED
    is_requirements = kind == "space" and upload.path == _REQUIREMENTS
    check(
        path.suffix in allowed or is_requirements,
        f"a file of {place} must be one of {', '.join(sorted(allowed))}, got {upload.path}",
    )
    starts, start = allowed.get(path.suffix, ()), upload.start()
    right = not starts or start.startswith(starts)
    if path.suffix == ".safetensors":  # eight bytes of length, then JSON
        right = start[8:9] == b"{" and int.from_bytes(start[:8], "little") < upload.size
    check(right, f"{upload.path} of {place} must be what its name says, got a file that starts with {start[:8]!r}")
    if path.suffix in _TEXT:
        check(
            not _TOKEN.search(upload.read()),
            f"{upload.path} of {place} must hold no token of the Hub, got one (not shown)",
        )
