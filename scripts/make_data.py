"""The dataset as a Hub-ready folder: python scripts/make_data.py [RECIPE] --output behemoth.

Without a recipe it holds the base world: 10,000 subjects, 4 relations, 100 objects in each. A field that is
given (in the recipe's sections world, lexicon, corpus and edits, or as an option) applies to every config on top
of its preset. One that some preset sets applies only to the exported configs whose preset sets it, if there are
any: --correlation 0.7 changes correlated and leaves independent alone, and --configs nested --correlation 0.7 is
a nested world with correlation. A field at its default counts as not given.
"""

from __future__ import annotations

import dataclasses
import logging
import sys
import time
from collections.abc import Sequence
from typing import Any

from recipe import one_line_errors, parse

from behemoth_data import CorpusConfig, LexiconConfig, WorldConfig, export
from behemoth_data.behemoth import CONFIG_NAMES, BehemothConfig
from behemoth_data.export import read_manifest
from behemoth_data.settings import setting


def _published(name: str) -> Any:
    """A setting with the default and the help text of the published config's field."""
    (field,) = [field for field in dataclasses.fields(BehemothConfig) if field.name == name]
    return setting(field.default, field.metadata["help"])


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataArguments:
    """What is written where."""

    output: str = setting("behemoth", "folder to write")
    overwrite: bool = setting(False, "replace whatever the output folder holds")
    configs: list[str] = setting([*CONFIG_NAMES], "configs to export")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EditsArguments:
    """Edit sets of the _edits configs."""

    edits_per_set: int = _published("edits_per_set")
    edit_seeds: int = _published("edit_seeds")


SECTIONS = {"world": WorldConfig, "lexicon": LexiconConfig, "corpus": CorpusConfig, "edits": EditsArguments}


def main(argv: Sequence[str] | None = None) -> None:
    """Exports the dataset and prints one line that says what is where.

    Raises: SystemExit with status 2 for bad settings or an output that holds something else, 1 for a disk
    that fails, after one line on standard error; nothing is left half-written.
    """
    logging.basicConfig(format="%(message)s")
    logging.getLogger("behemoth_data").setLevel(logging.INFO)
    data, *parts = parse([DataArguments, *SECTIONS.values()], argv, sections=SECTIONS, description=__doc__)
    overrides = {
        field.name: getattr(part, field.name)
        for part in parts
        for field in dataclasses.fields(part)
        if getattr(part, field.name) != field.default
    }
    started = time.monotonic()
    with one_line_errors("make_data.py"):
        folder = export(data.output, data.configs, overrides=overrides, overwrite=data.overwrite)
        manifest = read_manifest(folder)
    rows = sum(sum(splits.values()) for splits in manifest["rows"].values())
    size = sum(file["size"] for file in manifest["files"].values())
    print(
        f"{folder} holds {len(manifest['configs'])} configs, {rows:,} rows, {size:,} bytes "
        f"({time.monotonic() - started:.1f} s): {', '.join(manifest['configs'])}"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
