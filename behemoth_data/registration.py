"""The name "behemoth", known to `datasets` in this process. It makes no row and writes no file."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import sys
from collections.abc import Callable
from typing import Any

_NAME = "behemoth"
_ELSEWHERE = ("revision", "data_dir", "data_files")  # arguments that only a folder or the Hub can serve


def register() -> None:
    """`datasets.load_dataset("behemoth", "nested", num_subjects=500)` works in this process, without any folder.

    So do `datasets.load_dataset_builder` and what `datasets` tells of config and split names. A folder that is
    called "behemoth" in the working directory wins: there, the call goes on to load that folder, which takes no
    fields of a config. A call that gives a revision, data files or their folder is left to `datasets` as well.
    Registering twice is harmless.

    Raises: RuntimeError if this version of `datasets` has no place for the name.
    """
    from behemoth_data.behemoth import Behemoth, code_digest

    datasets: Any = sys.modules["datasets"]  # behemoth.py, the only file that imports it, just did

    def describe() -> Any:  # anew for each call, since `datasets` takes the description apart
        return datasets.load.DatasetModule(
            module_path=Behemoth.__module__, hash=code_digest(), builder_kwargs={"dataset_name": _NAME}
        )

    try:
        finders = [(module, module.dataset_module_factory) for module in (datasets.load, datasets.inspect)]
        describe()
    except (AttributeError, TypeError) as error:
        raise RuntimeError(
            f"datasets {importlib.metadata.version('datasets')} has no place for a builder's name ({error}): "
            "behemoth_data.load_dataset still works"
        ) from error
    for module, finder in finders:
        if not (isinstance(finder, functools.partial) and finder.func is _find):
            module.dataset_module_factory = functools.partial(_find, finder, describe)


def _find(find: Callable[..., Any], describe: Callable[[], Any], path: str, *args: Any, **options: Any) -> Any:
    """The description of the builder for its name alone; whatever else is asked for, `datasets` finds itself."""
    elsewhere = args or any(options.get(option) is not None for option in _ELSEWHERE)
    if path != _NAME or elsewhere or os.path.isdir(path):
        return find(path, *args, **options)
    return describe()
