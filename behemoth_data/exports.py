"""The published folder, and the same rows without any folder. What a row says is decided elsewhere.

A folder is complete or it is not there: files are written beside it under a hidden name, which is renamed
last. It holds no date, so the same configs and the same code give the same bytes, whoever writes them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from behemoth_data.card import CARD, Split, card_text, picture, template
from behemoth_data.files import SCRATCH, FileResult, FileTask, client_of, is_local, is_url, opened, plan, run, sizes
from behemoth_data.places import check_no_pattern, local_path
from behemoth_data.settings import check, check_known
from behemoth_data.world import PRESETS

if TYPE_CHECKING:
    from behemoth_data.behemoth import Behemoth


MANIFEST = "manifest.json"
ROWS_PER_FILE = 1_000_000

_log = logging.getLogger(__name__)


def load_dataset(
    name: str = "independent",
    *,
    split: str | None = None,
    streaming: bool = False,
    num_proc: int | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    **overrides: Any,
) -> Any:
    """The rows of a config, any of its fields overridden, as `datasets.load_dataset` returns those of a folder.

    Raises: ValueError for an unknown config or field, which lists the known ones, or a value out of bounds.
    """
    cache = None if cache_dir is None else local_path("cache_dir", cache_dir)
    builder = _builder(name, overrides, cache)
    if streaming:
        return builder.as_streaming_dataset(split=split)
    builder.download_and_prepare(num_proc=num_proc)
    return builder.as_dataset(split=split)


def export(
    output: str | os.PathLike[str],
    configs: Sequence[str] | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    progress: bool = True,
    rows_per_file: int = ROWS_PER_FILE,
    dask: str | None = None,
) -> Path | str:
    """The folder or URL `output` holds these configs (all, if None), ready for the Hub and for `datasets`.

    An override applies to every config, on top of its preset; a field that some preset sets (correlation,
    num_nested_objects) applies only to the exported configs whose preset sets it, if there are any. A folder
    that already holds exactly this export is left as it is; the log says so.

    A file has at most `rows_per_file` sentences or facts, or a thousandth as many draws of edits, whose sets are
    that much larger. With `dask`, the processes of a cluster write the files, and the bytes are the same: "local"
    starts a cluster on this machine, with a process per core (a script that does so must guard its main part by
    `if __name__ == "__main__"`); anything else is the address of a scheduler, whose workers must have the same
    versions of this package and of pyarrow. A local folder must then be on a file system that all workers share.

    A local folder (or file:// URL) appears whole or not at all. Any other URL that fsspec can open (s3://, gs://,
    hf://datasets/...) gets each file whole and under its final name, the card and the manifest last, so that a
    folder with a manifest is complete. Replacing such a folder removes its manifest and card first and then
    whatever the new export does not have; a failure removes what was written (a worker out of reach may still add
    a file), and a killed run leaves it for the next one with `overwrite`. Files whose name starts with a dot, such
    as the Hub's .gitattributes, do not count there and stay.

    Two exports to one folder at the same time are not supported: the second takes the first one's files for leftovers.

    Returns the folder's path, or the URL as it was given.

    Raises: ValueError for an unknown config or field, a value out of bounds, a path that `datasets` would misread, a
    URL that cannot be opened or missing dask, FileExistsError if `output` holds anything else and may not be
    overwritten, OSError if a file cannot be written or the cluster fails. Unless a URL was being replaced, what was
    there before is still there.
    """
    from behemoth_data.behemoth import CONFIG_NAMES

    names = list(dict.fromkeys(CONFIG_NAMES if configs is None else configs))
    check(bool(names), f"configs must name at least one of {', '.join(CONFIG_NAMES)}, got none")
    check(rows_per_file >= 1, f"rows_per_file must be at least 1, got {rows_per_file}")
    system, root = opened(output)
    folder = Path(root) if is_local(system) else None
    check_no_pattern("output", root)
    if folder is not None:
        inside = Path.cwd().is_relative_to(folder)
        check(not inside, f"output must not be or contain the working directory, got {output}")
    written = str(output) if folder is None else folder if is_url(output) else local_path("output", output)
    with tempfile.TemporaryDirectory() as cache:
        builders = {name: _builder(name, _applied(name, names, overrides or {}), cache) for name in names}
        header = _header(builders, rows_per_file)
        if folder is not None:
            remove_leftovers(folder)  # first: it may put back a folder that a killed run was replacing
        if _holds(system, root, header):
            _log.info("%s already holds exactly this export: nothing was written", output)
            return written
        if not overwrite and not _is_free(system, root):
            raise FileExistsError(f"output must be a new or empty folder, got {output}: use --overwrite to replace it")
        tasks = plan(header["configs"], rows_per_file)
        with client_of(dask) as client:
            content = _Content(builders, header, tasks, client, progress)
            if folder is None:
                _write_to_url(str(output), content)
            else:
                _write(folder, content)
    return written


def read_manifest(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """What an exported folder or URL says about itself: versions, configs, rows of each split, files.

    Raises: OSError if there is no manifest, ValueError if it is none.
    """
    system, root = opened(folder)
    manifest = json.loads(system.cat_file(f"{root}/{MANIFEST}").decode("utf-8"))
    check(isinstance(manifest, dict), f"{MANIFEST} must hold an object, got {type(manifest).__name__}")
    return dict(manifest)


def card_of(folder: str | os.PathLike[str], *, progress: bool = True) -> str:
    """The card that this code writes for the data files of an exported folder, everything in it counted anew.

    Raises: OSError if a file or the manifest is missing, ValueError if the folder was exported by other code.
    """
    manifest = read_manifest(folder)
    parts = ("rows_per_file", "configs", "rows", "files")
    check(set(parts) <= set(manifest), f"{MANIFEST} of {folder} must have {', '.join(parts)}, got {list(manifest)}")
    with tempfile.TemporaryDirectory() as cache:
        builders = {name: _builder(name, fields, cache) for name, fields in manifest["configs"].items()}
        header = _header(builders, manifest["rows_per_file"])
        for key, value in header.items():
            found = manifest.get(key)
            check(found == value, f"{key} of {folder} must be this code's {value}, got {found}: export it again")
        files = {path: entry for path, entry in manifest["files"].items() if path != CARD}
        return card_text(builders, header, _recounted(local_path("folder", folder), manifest, progress), files)


def _recounted(folder: Path, manifest: Mapping[str, Any], progress: bool) -> dict[str, list[Split]]:
    """What the card says of every split of every config, read from its files."""
    from pyarrow import parquet
    from tqdm import tqdm

    found: dict[str, list[Split]] = {}
    total = sum(rows for splits in manifest["rows"].values() for rows in splits.values())
    # disable=None: no bar where standard error is no terminal.
    with tqdm(total=total, unit=" rows", unit_scale=True, leave=False, disable=None if progress else True) as bar:
        bar.set_description(f"counting {folder}")
        for name, split in ((name, split) for name, splits in manifest["rows"].items() for split in splits):
            counted = Split(split)
            for path in (path for path in manifest["files"] if path.startswith(f"{name}/{split}-")):
                file = parquet.ParquetFile(folder / path)
                for group in range(file.num_row_groups):
                    table = file.read_row_group(group)
                    counted.count(table)
                    bar.update(table.num_rows)
            found.setdefault(name, []).append(counted)
    return found


def _builder(name: str, overrides: Mapping[str, Any], cache_dir: str | os.PathLike[str] | None) -> Behemoth:
    from behemoth_data.behemoth import CONFIG_NAMES, Behemoth, field_helps

    check_known("config", name, CONFIG_NAMES)
    for field in overrides:
        check_known(f"field of {name}", field, field_helps())
    for field in {"edits_per_set", "edit_seeds"} & set(overrides):
        check(overrides[field] >= 1, f"{field} must be at least 1, got {overrides[field]}")
    try:
        return Behemoth(cache_dir=None if cache_dir is None else str(cache_dir), config_name=name, **overrides)
    except ValueError as error:
        raise ValueError(f"config {name}: {error}") from error


def _applied(name: str, names: Sequence[str], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The overrides that concern one of the exported configs."""
    presets = {other.removesuffix("_edits") for other in names}
    applied = {}
    for field, value in overrides.items():
        owners = {preset for preset in presets if field in PRESETS.get(preset, {})}
        if not owners or name.removesuffix("_edits") in owners:
            applied[field] = value
    return applied


def _header(builders: Mapping[str, Behemoth], rows_per_file: int) -> dict[str, Any]:
    """What decides every byte of an export, as it is read back from its manifest."""
    from behemoth_data.behemoth import VERSION, code_digest, field_helps

    values = {name: {f: getattr(b.config, f) for f in field_helps()} for name, b in builders.items()}
    card = hashlib.sha256(template().encode())
    for content in _pictures(builders).values():
        card.update(content)
    header = {
        "rows_version": VERSION,
        "code_digest": code_digest(),
        "card_digest": card.hexdigest()[:16],
        "rows_per_file": rows_per_file,
        "configs": values,
    }
    return dict(json.loads(json.dumps(header)))


def _pictures(names: Iterable[str]) -> dict[str, bytes]:
    """The pictures of the exported presets, by their paths in the folder."""
    presets = dict.fromkeys(name.removesuffix("_edits") for name in names)
    return {f"structures/{preset}.svg": picture(preset) for preset in presets}


def _is_free(system: Any, root: str) -> bool:
    """Whether an export may be written there without replacing anything."""
    if not is_local(system):
        return not sizes(system, root)
    return not os.path.lexists(root) or (os.path.isdir(root) and not os.listdir(root))


def _holds(system: Any, root: str, header: Mapping[str, Any]) -> bool:
    """Whether the folder is the complete export that the header describes, and has no data file besides."""
    try:
        manifest = json.loads(system.cat_file(f"{root}/{MANIFEST}"))
        files = {path: entry["size"] for path, entry in manifest["files"].items()}
        there = sizes(system, root)
        return (
            all(manifest[key] == value for key, value in header.items())
            and {path for path in there if path.endswith(".parquet")} <= set(files)
            and all(there.get(path) == size for path, size in files.items())
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif os.path.lexists(path):
        path.unlink()


def remove_leftovers(folder: Path) -> None:
    """What killed exports to this folder left beside it is gone; a folder that was being replaced is back."""
    if folder.parent.is_dir():
        name = re.compile(rf"\.{re.escape(folder.name)}\.\d+\.(partial|replaced)")
        for path in [path for path in folder.parent.iterdir() if name.fullmatch(path.name)]:
            if path.name.endswith(".replaced") and not os.path.lexists(folder):
                path.rename(folder)
            else:
                _remove(path)


@dataclasses.dataclass(frozen=True)
class _Content:
    """What is to be written, and by whom."""

    builders: Mapping[str, Behemoth]
    header: Mapping[str, Any]
    tasks: Sequence[FileTask]
    client: Any  # of a dask cluster; None: this process writes
    progress: bool


def _write(folder: Path, content: _Content) -> None:
    """The folder is the export; on any failure it is what it was before."""
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")

    def remove() -> None:
        with contextlib.suppress(OSError):
            _end_writing(partial)
        shutil.rmtree(partial, ignore_errors=True)

    with _all_or_nothing(str(folder), remove):
        (partial / SCRATCH).mkdir(parents=True)
        _fill(str(partial), content)
        _end_writing(partial)
        put_in_place(partial, folder)


def _end_writing(partial: Path) -> None:
    """No other process, such as a worker that is not to be reached, can add a file to the folder any more."""
    ended = partial / f"{SCRATCH}.ended"
    (partial / SCRATCH).rename(ended)  # at one blow: while a folder is being removed, it may still get files
    shutil.rmtree(ended)


@contextlib.contextmanager
def _all_or_nothing(name: str, remove: Callable[[], object]) -> Iterator[None]:
    """On any failure `remove` is called. Raises: OSError that names the folder if a file could not be written."""
    try:
        yield
    except BaseException as error:
        remove()
        if not isinstance(error, OSError):
            raise
        message = f"could not write {name} ({error.strerror or error}): what was written of it has been removed"
        raise OSError(error.errno or errno.EIO, message) from error


def put_in_place(partial: Path, folder: Path) -> None:
    """Renames the complete folder to its name; what had the name before goes only then."""
    replaced = folder.with_name(f".{folder.name}.{os.getpid()}.replaced")
    if os.path.lexists(folder):
        folder.rename(replaced)
    try:
        partial.rename(folder)
    except OSError:
        if os.path.lexists(replaced):
            replaced.rename(folder)
        raise
    with contextlib.suppress(OSError):  # the next run removes what is left of it
        _remove(replaced)


def _write_to_url(url: str, content: _Content) -> None:
    """The URL holds the export and nothing else; on a failure, none of it."""
    system, root = opened(url)
    planned = [MANIFEST, CARD, *_pictures(content.builders), *(task.path for task in content.tasks)]

    def remove(paths: Iterable[str]) -> None:
        there = sizes(system, root)
        for path in paths:
            if path in there:
                system.rm_file(f"{root}/{path}")

    def remove_planned() -> None:
        with contextlib.suppress(Exception):  # the error to tell of is the one that led here
            remove(planned)

    with _all_or_nothing(url, remove_planned):
        remove([MANIFEST, CARD])
        remove(sorted(set(sizes(system, root)) - set(planned)))
        _fill(url, content)


def _fill(target: str, content: _Content) -> None:
    """The folder or URL holds every file of the export; the manifest is written last."""
    system, root = opened(target)
    pictures = _pictures(content.builders)
    paths = [*pictures, *(task.path for task in content.tasks)]
    for folder in dict.fromkeys(path.rpartition("/")[0] for path in paths):
        system.makedirs(f"{root}/{folder}", exist_ok=True)
    results = run(content.tasks, target, content.client, content.progress)
    written = _counted(content.tasks, results)
    files = {path: _described(data) for path, data in pictures.items()}
    for task, result in zip(content.tasks, results, strict=True):
        files[task.path] = {"sha256": result.sha256, "size": result.size}
    card = card_text(content.builders, content.header, written, files).encode("utf-8")
    manifest = {
        **content.header,
        "rows": {name: {split.name: split.rows for split in splits} for name, splits in written.items()},
        "files": {CARD: _described(card), **dict(sorted(files.items()))},
    }
    texts = {**pictures, CARD: card, MANIFEST: (json.dumps(manifest, indent=2) + "\n").encode("utf-8")}
    for path, data in texts.items():
        system.pipe_file(f"{root}/{path}", data)


def _described(data: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}


def _counted(tasks: Sequence[FileTask], results: Sequence[FileResult]) -> dict[str, list[Split]]:
    """What the card says of every split of every config: the sum over its files."""
    found: dict[str, dict[str, Split]] = {}
    for task, result in zip(tasks, results, strict=True):
        found.setdefault(task.config, {}).setdefault(task.split, Split(task.split)).add(result.counted)
    return {name: list(splits.values()) for name, splits in found.items()}
