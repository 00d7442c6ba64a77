"""The published folder, and the same rows without any folder. What a row says is decided elsewhere.

A folder is complete or it is not there: files are written beside it under a hidden name, which is renamed
last. It holds no date, so the same configs and the same code give the same bytes.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from tqdm import tqdm

from behemoth_data.card import CARD, Split, card_text, template
from behemoth_data.settings import check, check_known
from behemoth_data.world import PRESETS

if TYPE_CHECKING:
    from behemoth_data.behemoth import Behemoth

MANIFEST = "manifest.json"

_SHARD_ROWS = 1_000_000  # at most, in one file
_FACT_GROUP, _EDIT_GROUP = 50_000, 50  # rows of a row group, fixed; an edit set is as large as 1,000 sentences

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
    builder = _builder(name, overrides, cache_dir)
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
) -> Path:
    """The folder `output` holds these configs (all, if None), ready for the Hub and for `datasets`.

    An override applies to every config, on top of its preset; a field that some preset sets (correlation,
    num_nested_objects) applies only to the exported configs whose preset sets it, if there are any. A folder
    that already holds exactly this export is left as it is; the log says so.

    Raises: ValueError for an unknown config or field or a value out of bounds, FileExistsError if `output`
    holds anything else and may not be overwritten, OSError if a file cannot be written. Nothing is then
    written, and what was there before is still there.
    """
    from behemoth_data.behemoth import CONFIG_NAMES

    names = list(dict.fromkeys(CONFIG_NAMES if configs is None else configs))
    check(bool(names), f"configs must name at least one of {', '.join(CONFIG_NAMES)}, got none")
    folder = Path(output).resolve()
    inside = Path.cwd().is_relative_to(folder)
    check(not inside, f"output must not be or contain the working directory, got {output}")
    with tempfile.TemporaryDirectory() as cache:
        builders = {name: _builder(name, _applied(name, names, overrides or {}), cache) for name in names}
        header = _header(builders)
        if _holds(folder, header):
            _remove_leftovers(folder)
            _log.info("%s already holds exactly this export: nothing was written", output)
            return Path(output)
        if not overwrite and os.path.lexists(folder) and not (folder.is_dir() and not any(folder.iterdir())):
            raise FileExistsError(f"output must be a new or empty folder, got {output}: use --overwrite to replace it")
        _remove_leftovers(folder)
        _write(folder, builders, header, progress)
    return Path(output)


def read_manifest(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """What an exported folder says about itself: versions, configs, rows of each split, files.

    Raises: OSError if there is no manifest, ValueError if it is none.
    """
    manifest = json.loads((Path(folder) / MANIFEST).read_text(encoding="utf-8"))
    check(isinstance(manifest, dict), f"{MANIFEST} must hold an object, got {type(manifest).__name__}")
    return dict(manifest)


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


def _header(builders: Mapping[str, Behemoth]) -> dict[str, Any]:
    """What decides every byte of an export, as it is read back from its manifest."""
    from behemoth_data.behemoth import VERSION, code_digest, field_helps

    values = {name: {f: getattr(b.config, f) for f in field_helps()} for name, b in builders.items()}
    header = {
        "rows_version": VERSION,
        "code_digest": code_digest(),
        "card_digest": hashlib.sha256(template().encode()).hexdigest()[:16],
        "configs": values,
    }
    return dict(json.loads(json.dumps(header)))


def _holds(folder: Path, header: Mapping[str, Any]) -> bool:
    """Whether the folder is the complete export that the header describes, and has no data file besides."""
    try:
        manifest = read_manifest(folder)
        files = {folder / path: entry["size"] for path, entry in manifest["files"].items()}
        same = all(manifest[key] == value for key, value in header.items())
        return (
            same
            and set(folder.rglob("*.parquet")) <= set(files)
            and all(path.stat().st_size == size for path, size in files.items())
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif os.path.lexists(path):
        path.unlink()


def _remove_leftovers(folder: Path) -> None:
    """What killed exports to this folder left beside it is gone; a folder that was being replaced is back."""
    if folder.parent.is_dir():
        name = re.compile(rf"\.{re.escape(folder.name)}\.\d+\.(partial|replaced)")
        for path in [path for path in folder.parent.iterdir() if name.fullmatch(path.name)]:
            if path.name.endswith(".replaced") and not os.path.lexists(folder):
                path.rename(folder)
            else:
                _remove(path)


def _write(folder: Path, builders: Mapping[str, Behemoth], header: Mapping[str, Any], progress: bool) -> None:
    """The folder is the export; on any failure it is what it was before."""
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        _fill(partial, builders, header, progress)
        _put_in_place(partial, folder)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if not isinstance(error, OSError):
            raise
        message = f"could not write {folder} ({error.strerror or error}): what was written of it has been removed"
        raise OSError(error.errno or errno.EIO, message) from error


def _put_in_place(partial: Path, folder: Path) -> None:
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


def _fill(folder: Path, builders: Mapping[str, Behemoth], header: Mapping[str, Any], progress: bool) -> None:
    written = {name: _write_config(folder / name, builder, progress) for name, builder in builders.items()}
    files = {path.relative_to(folder).as_posix(): _describe(path) for path in sorted(folder.rglob("*.parquet"))}
    (folder / CARD).write_text(card_text(builders, header, written, files), encoding="utf-8", newline="\n")
    manifest = {
        **header,
        "rows": {name: {split.name: split.rows for split in splits} for name, splits in written.items()},
        "files": {CARD: _describe(folder / CARD), **files},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8", newline="\n")


def _describe(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "size": path.stat().st_size}


def _write_config(folder: Path, builder: Behemoth, progress: bool) -> list[Split]:
    folder.mkdir()
    splits = []
    # disable=None: no bar where standard error is no terminal.
    with tqdm(desc=folder.name, unit=" rows", unit_scale=True, leave=False, disable=None if progress else True) as bar:
        for generator in builder._split_generators(None):
            tables = (table for _, table in builder._generate_tables(**generator.gen_kwargs))
            splits.append(_write_split(folder, generator.name, builder.info.features.arrow_schema, tables, bar))
    return splits


def _write_split(folder: Path, name: str, schema: pa.Schema, tables: Iterable[pa.Table], bar: tqdm[Any]) -> Split:
    """One row group is in memory at a time, so memory does not grow with the split."""
    from pyarrow import parquet

    split, paths = Split(str(name)), list[Path]()
    writer: Any = None
    size = _EDIT_GROUP if "probes" in schema.names else _FACT_GROUP
    try:
        for number, group in enumerate(_row_groups(tables, schema, size)):
            if number % (_SHARD_ROWS // size) == 0:
                if writer is not None:
                    writer.close()
                paths.append(folder / f"{name}-{len(paths):05d}")
                writer = parquet.ParquetWriter(paths[-1], schema, compression="zstd")
            writer.write_table(group, row_group_size=size)
            split.count(group)
            bar.update(group.num_rows)
    finally:
        if writer is not None:
            writer.close()
    for path in paths:
        path.rename(path.with_name(f"{path.name}-of-{len(paths):05d}.parquet"))
    return split


def _row_groups(tables: Iterable[pa.Table], schema: pa.Schema, size: int) -> Iterator[pa.Table]:
    """The rows again in tables of `size` rows, the last one smaller; one empty table if there are none."""
    held = schema.empty_table()
    for first, table in enumerate(tables):
        held = pa.concat_tables([held, table]) if first else table
        while held.num_rows > size:
            yield held.slice(0, size).combine_chunks()
            held = held.slice(size)
    yield held.combine_chunks()
