"""Where the edited models of a cell lie, beside the rows, and whether they are those that the row tells of."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from behemoth_editing.sweep.rows import Row

MODELS = "models"  # in a folder of results
_NAME = re.compile(r"[0-9a-f]{16}(-\d+)?")


def model_folders(output: Path, cell: str, count: int) -> list[Path]:
    """A folder for each of so many edited models of a cell: models/CELL, or models/CELL-0, CELL-1 and so on."""
    names = [cell] if count == 1 else [f"{cell}-{number}" for number in range(count)]
    return [output / MODELS / name for name in names]


def kept_models(output: Path, row: Row) -> list[Path] | None:
    """The folders of the models that the row tells of; None unless all of them are there, with the digests it has."""
    after = (row.get("weights") or {}).get("after") or []
    folders = model_folders(output, row["cell"], len(after))
    return folders if after and [digest_in(folder) for folder in folders] == after else None


def digest_in(folder: Path) -> str | None:
    """The digest that a saved model says that its weights have; None where there is no such model."""
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))["behemoth"]["weights"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return str(found)


def keep_model(folder: Path, write: Callable[[Path], None]) -> None:
    """The folder is what `write` wrote, which it becomes at one blow, whoever writes the same meanwhile."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as partial:
        whole = Path(partial, folder.name)
        write(whole)
        shutil.rmtree(folder, ignore_errors=True)
        try:
            whole.rename(folder)
        except OSError:  # another run was quicker
            if digest_in(folder) != digest_in(whole):
                raise


def remove_models(output: Path) -> None:
    """No cell's model is left; other folders beside them stay."""
    for folder in (output / MODELS).glob("*"):
        if _NAME.fullmatch(folder.name):
            shutil.rmtree(folder)
