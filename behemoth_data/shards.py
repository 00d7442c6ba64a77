"""A corpus as flat files of token ids that a trainer memory-maps. What a sentence says is decided elsewhere.

The files hold no header and no padding: the training sentences in order, each with its end-of-text token, as
little-endian unsigned integers. A folder is complete or it is not there.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from behemoth_data.corpus import Corpus
from behemoth_data.exports import put_in_place, remove_leftovers
from behemoth_data.files import is_url
from behemoth_data.lexicon import PADDING
from behemoth_data.places import local_path
from behemoth_data.settings import check

INDEX, VOCABULARY = "index.json", "vocabulary.json"

_DTYPES: dict[str, np.dtype[Any]] = {"uint16": np.dtype("<u2"), "uint32": np.dtype("<u4")}
_BLOCK = 100_000  # sentences in memory at a time

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class _Shard:
    """One file, and the sentences in it: from place start up to place stop."""

    file: str
    start: int
    stop: int


def export_tokens(
    corpus: Corpus,
    output: str | os.PathLike[str],
    *,
    shard_tokens: int = 100_000_000,
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """The folder `output` holds the corpus's sentences as train-*.bin, with index.json and vocabulary.json.

    Shards hold at most `shard_tokens` tokens each and end where a sentence ends: shard k has the sentences from
    place k x n on, n = shard_tokens // max_length. The index names their dtype: uint16 for a vocabulary of up to
    65,536 tokens, or uint32. A folder that already holds exactly this export is left as it is; the log says so.

    Raises: ValueError for shards that are too small or a world with changes, which no index describes,
    FileExistsError if `output` holds anything else and may not be overwritten, OSError if a file cannot be
    written. Nothing is then written, and what was there before is still there.
    """
    check(not is_url(output), f"output must be a folder of this machine for tokens, got {output}")
    output = local_path("output", output)
    folder = output.resolve()
    inside = Path.cwd().is_relative_to(folder)
    check(not inside, f"output must not be or contain the working directory, got {output}")
    shards, header = _plan(corpus, shard_tokens), _header(corpus)
    remove_leftovers(folder)  # first: it may put back a folder that a killed run was replacing
    if _holds(folder, corpus, shards, header):
        _log.info("%s already holds exactly this export: nothing was written", output)
        return output
    if not overwrite and os.path.lexists(folder) and not (folder.is_dir() and not any(folder.iterdir())):
        raise FileExistsError(f"output must be a new or empty folder, got {output}: use --overwrite to replace it")
    _write(folder, corpus, shards, header, progress)
    return output


def open_tokens(folder: str | os.PathLike[str]) -> list[np.memmap[Any, np.dtype[Any]]]:
    """Every shard of an exported folder, in order, as a read-only memory map of its token ids.

    Raises: OSError if there is no index, ValueError if it is none or a shard is not as long as it says.
    """
    place = local_path("folder", folder)
    index = _read_index(place)
    return [np.memmap(place / shard["file"], dtype=_DTYPES[index["dtype"]], mode="r") for shard in index["shards"]]


def _plan(corpus: Corpus, shard_tokens: int) -> list[_Shard]:
    """Shards planned by sentences, so that each is found without counting the tokens before it."""
    longest = corpus.max_length
    check(
        shard_tokens >= longest,
        f"shard_tokens must be at least {longest}, the tokens of the longest sentence, got {shard_tokens}",
    )
    starts = range(0, len(corpus), shard_tokens // longest)
    stops = [*starts[1:], len(corpus)]
    return [
        _Shard(f"train-{number:05d}-of-{len(starts):05d}.bin", start, stop)
        for number, (start, stop) in enumerate(zip(starts, stops, strict=True))
    ]


def _header(corpus: Corpus) -> dict[str, Any]:
    """What decides every token, as it is read back from the index."""
    from behemoth_data.behemoth import VERSION, code_digest

    vocab_size = len(corpus.grammar.lexicon.vocabulary)
    header = {
        "version": VERSION,
        "code_digest": code_digest(),
        "dtype": "uint16" if vocab_size <= 2**16 else "uint32",
        "sentences": len(corpus),
        "vocab_size": vocab_size,
        "end_id": corpus.grammar.end_id,
        "corpus": corpus.description(),
    }
    return dict(json.loads(json.dumps(header)))


def _vocabulary(corpus: Corpus) -> str:
    return json.dumps(dict(corpus.grammar.lexicon.token_ids), indent=0) + "\n"


def _holds(folder: Path, corpus: Corpus, shards: Sequence[_Shard], header: Mapping[str, Any]) -> bool:
    """Whether the folder is the complete export that the header and the plan describe, with no shard besides."""
    try:
        index = _read_index(folder)
        held = [(shard["file"], shard["sentences"]) for shard in index["shards"]]
        return (
            all(index[key] == value for key, value in header.items())
            and held == [(shard.file, shard.stop - shard.start) for shard in shards]
            and {path.name for path in folder.glob("*.bin")} == {shard.file for shard in shards}
            and (folder / VOCABULARY).read_text(encoding="utf-8") == _vocabulary(corpus)
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _read_index(folder: Path) -> dict[str, Any]:
    """The index of a folder whose shards are as long as it says."""
    path = folder / INDEX
    try:
        index = dict(json.loads(path.read_text(encoding="utf-8")))
        width = _DTYPES[index["dtype"]].itemsize
        sizes = {folder / shard["file"]: shard["tokens"] * width for shard in index["shards"]}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} must be an index that export_tokens wrote, got {error!r}") from error
    for shard, size in sizes.items():
        found = f"{shard.stat().st_size} bytes" if shard.is_file() else "no file"
        check(found == f"{size} bytes", f"{shard} must have {size} bytes, as {INDEX} says, got {found}")
    return index


def _write(folder: Path, corpus: Corpus, shards: Sequence[_Shard], header: Mapping[str, Any], progress: bool) -> None:
    """The folder is the export; on any failure it is what it was before."""
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        # disable=None: no bar where standard error is no terminal.
        disable = None if progress else True
        with tqdm(desc=folder.name, unit=" tokens", unit_scale=True, leave=False, disable=disable) as bar:
            _fill(partial, corpus, shards, header, bar)
        put_in_place(partial, folder)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if not isinstance(error, OSError):
            raise
        message = f"could not write {folder} ({error.strerror or error}): what was written of it has been removed"
        raise OSError(error.errno or errno.EIO, message) from error


def _fill(folder: Path, corpus: Corpus, shards: Sequence[_Shard], header: Mapping[str, Any], bar: tqdm[Any]) -> None:
    dtype = _DTYPES[header["dtype"]]
    written = [_write_shard(folder, corpus, shard, dtype, bar) for shard in shards]
    (folder / VOCABULARY).write_text(_vocabulary(corpus), encoding="utf-8", newline="\n")
    index = {**header, "tokens": sum(shard["tokens"] for shard in written), "shards": written}
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8", newline="\n")


def _write_shard(folder: Path, corpus: Corpus, shard: _Shard, dtype: np.dtype[Any], bar: tqdm[Any]) -> dict[str, Any]:
    """What the index says of a shard, which is now in the folder; one block is in memory at a time."""
    padding = corpus.grammar.lexicon.token_ids[PADDING]
    tokens, digest = 0, hashlib.sha256()
    with (folder / shard.file).open("wb") as file:
        for start in range(shard.start, shard.stop, _BLOCK):
            stop = min(start + _BLOCK, shard.stop)
            block = corpus.block(start, stop)
            ids = block[block != padding].astype(dtype)
            file.write(ids.tobytes())
            digest.update(ids.tobytes())
            tokens += ids.size
            # Sentences differ in length, so how many tokens there are in all is known only at the end.
            bar.total = (bar.n + ids.size) * len(corpus) // stop
            bar.update(ids.size)
    return {"file": shard.file, "tokens": tokens, "sentences": shard.stop - shard.start, "sha256": digest.hexdigest()}
