"""What may be pulled: nothing that could run code when it is read. It reads names only, never the files themselves."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from behemoth_data.settings import check

# torch's, numpy's and joblib's own formats are or can hold pickles, and unpickling runs what the file says.
PICKLES = (".bin", ".ckpt", ".joblib", ".npy", ".npz", ".pickle", ".pkl", ".pt", ".pth")


def pickles_among(names: Iterable[str]) -> list[str]:
    """Those of the file names that say pickle, in their order."""
    return [name for name in names if PurePosixPath(name).suffix.lower() in PICKLES]


def refuse_pickles(what: str, place: str | os.PathLike[str], *, repo_type: str, revision: str | None = None) -> None:
    """Nothing happens unless a folder or a repository of the Hub has a pickle among its files.

    Without a connection a Hub id passes: what is in the cache was looked at when it was pulled.
    Raises: ValueError that names the file; OSError for a repository that is not there.
    """
    found = pickles_among(_names(place, repo_type, revision))
    check(
        not found,
        f"{what} must hold no pickle, which could run any code when it is read, got {str(place)!r} with "
        f"{found[:1]}; nothing of it was loaded",
    )


def _names(place: str | os.PathLike[str], repo_type: str, revision: str | None) -> list[str]:
    if os.path.isdir(place):
        return sorted(path.relative_to(place).as_posix() for path in Path(place).rglob("*"))
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled  # type: ignore[attr-defined]

    try:
        return list(HfApi().list_repo_files(str(place), repo_type=repo_type, revision=revision))
    except HfHubHTTPError:
        raise
    except (OfflineModeIsEnabled, HTTPError, OSError):  # before version 1 a connection that fails is an OSError
        return []
