"""The dataset as a Hub-ready folder: behemoth data [RECIPE] --output behemoth.

Without a recipe it holds the base world: 10,000 subjects, 4 relations, 100 objects in each. A field that is
given (in the recipe's sections world, lexicon, corpus and edits, or as an option) applies to every config on top
of its preset. One that some preset sets applies only to the exported configs whose preset sets it, if there are
any: --world.correlation 0.7 changes correlated and leaves independent alone, and --configs nested --world.correlation
0.7 is a nested world with correlation. A field at its default counts as not given.

Large worlds: --dask local lets a process per core write the files, --dask ADDRESS the workers of a dask
scheduler (pip install 'behemoth-bench[dask]'). The files are the same, byte for byte.

For trainers that map token ids into memory (nanoGPT, LitGPT): --tokens nested --output tokens.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from behemoth_cli.sections import sections
from behemoth_cli.settings import Options, one_line_errors, parse, place
from behemoth_data import export, export_tokens, open_tokens
from behemoth_data.exports import ROWS_PER_FILE, read_manifest
from behemoth_data.settings import check, check_known, setting
from behemoth_data.world import PRESETS


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataArguments:
    """What is written where."""

    output: str = place("behemoth", "folder to write, or a URL such as s3://bucket/behemoth or hf://datasets/me/name")
    overwrite: bool = setting(False, "replace whatever the output folder holds")
    configs: list[str] = setting([*PRESETS, *(f"{name}_edits" for name in PRESETS)], "configs to export")
    tokens: str | None = setting(
        None,
        f"write this config's training sentences as token ids ({', '.join(PRESETS)}) and no rows: flat little-endian "
        "files, and index.json with their type",
    )
    rows_per_file: int = setting(ROWS_PER_FILE, "sentences or facts in one data file, at most")
    dask: str | None = setting(
        None, 'address of a dask scheduler, or "local" for a cluster on this machine; null: this process writes'
    )


SECTIONS = sections("world", "lexicon", "corpus", "edits")


def options(prog: str = "behemoth data") -> Options:
    """What the command line takes."""
    return Options({"": DataArguments}, SECTIONS, prog=prog, description=__doc__)


def main(argv: Sequence[str] | None = None, prog: str = "behemoth data") -> None:
    """Exports the dataset and prints one line that says what is where.

    Raises: SystemExit with status 2 for bad settings or an output that holds something else, 1 for a disk
    that fails, after one line on standard error; nothing is left half-written.
    """
    logging.basicConfig(format="%(message)s")
    logging.getLogger("behemoth_data").setLevel(logging.INFO)
    data, *parts = parse(options(prog), argv)
    overrides = {
        field.name: getattr(part, field.name)
        for part in parts
        for field in dataclasses.fields(part)
        if getattr(part, field.name) != field.default
    }
    started = time.monotonic()
    with one_line_errors(prog):
        said = _write_rows(data, overrides) if data.tokens is None else _write_tokens(data, overrides)
    print(f"{data.output} holds {said} ({time.monotonic() - started:.1f} s)")


def _write_rows(data: DataArguments, overrides: Mapping[str, Any]) -> str:
    """The output holds the configs' rows; what is in it, in words."""
    folder = export(
        data.output,
        data.configs,
        overrides=overrides,
        overwrite=data.overwrite,
        rows_per_file=data.rows_per_file,
        dask=data.dask,
    )
    manifest = read_manifest(folder)
    rows = sum(sum(splits.values()) for splits in manifest["rows"].values())
    size = sum(file["size"] for file in manifest["files"].values())
    names = ", ".join(manifest["configs"])
    return f"{len(manifest['configs'])} configs, {rows:,} rows, {size:,} bytes: {names}"


def _write_tokens(data: DataArguments, overrides: Mapping[str, Any]) -> str:
    """The output holds token ids of one config's training sentences; what is in it, in words."""
    from behemoth_data.behemoth import BehemothConfig, corpus_of  # with datasets, which help does without

    check_known("tokens", data.tokens, PRESETS)
    check(data.dask is None, f"dask must be null with tokens, which one process writes, got {data.dask!r}")
    corpus = corpus_of(BehemothConfig(name=data.tokens, **{**PRESETS[str(data.tokens)], **overrides}))
    shards = open_tokens(export_tokens(corpus, data.output, overwrite=data.overwrite))
    tokens = sum(len(shard) for shard in shards)
    return f"{len(corpus):,} sentences of {data.tokens} as {tokens:,} {shards[0].dtype} tokens in {len(shards)} files"


if __name__ == "__main__":
    main()
