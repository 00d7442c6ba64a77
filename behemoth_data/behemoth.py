"""The published dataset as a `datasets` builder. The only importer of `datasets`; what a row says is decided elsewhere.

Configs: independent, correlated, nested (sentences and facts), and one `_edits` config for each (edit sets).
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Iterator
from importlib import resources
from typing import Any, ClassVar

import datasets
import pyarrow as pa

from behemoth_data.corpus import Corpus, CorpusConfig, build
from behemoth_data.lexicon import LexiconConfig
from behemoth_data.rows import Rows, splits
from behemoth_data.settings import check, setting
from behemoth_data.tables import EDIT_SCHEMA, FACT_SCHEMA
from behemoth_data.world import PRESETS, Edge, WorldConfig

VERSION = "3.1.0"  # of the rows: bump it with the golden digests
CONFIG_NAMES = (*PRESETS, *(f"{name}_edits" for name in PRESETS))

_PARTS = (WorldConfig, LexiconConfig, CorpusConfig)
_SHARD = 500_000  # sentences or facts that one process or stream makes at a time
_WORLD_CODE = ("settings", "rng", "world", "names", "forms", "lexicon", "grammar")
_ROW_CODE = (*_WORLD_CODE, "corpus", "scenarios", "surroundings", "kinds", "edits", "tables", "rows", "behemoth")

# A BuilderConfig with every field of the world, its words and its corpus, so that any can be overridden.
BehemothConfig: Any = dataclasses.make_dataclass(
    "BehemothConfig",
    [
        *((f.name, Any, dataclasses.field(default=f.default)) for part in _PARTS for f in dataclasses.fields(part)),
        (
            "edits_per_set",
            int,
            setting(10, "_edits configs: edits drawn together, fewer where the world has fewer"),
        ),
        ("edit_seeds", int, setting(5, "_edits configs: draws of each scenario and table")),
    ],
    bases=(datasets.BuilderConfig,),
)
BehemothConfig.__module__ = __name__  # where other processes find it


def corpus_of(config: Any) -> Corpus:
    """The corpus that a BehemothConfig describes. Raises: ValueError for a value out of bounds."""
    return build(*_parts(config))


def has_edits(config: Any) -> bool:
    """Whether a BehemothConfig is one of edit sets."""
    return bool(config.name.endswith("_edits"))


def rows_of(config: Any) -> dict[str, Rows]:
    """The rows of every split that a BehemothConfig describes. Raises: ValueError for a value out of bounds."""
    for field in ("edits_per_set", "edit_seeds"):
        check(getattr(config, field) >= 1, f"{field} must be at least 1, got {getattr(config, field)}")
    edits = (config.edits_per_set, config.edit_seeds) if has_edits(config) else (0, 0)
    return _splits(tuple(_parts(config)), *edits)


def _parts(config: Any) -> tuple[Any, ...]:
    return tuple(
        cls(**{field.name: getattr(config, field.name) for field in dataclasses.fields(cls)}) for cls in _PARTS
    )


# A process is asked for one range of a config's rows after another, and they keep what they have looked up.
@functools.lru_cache(maxsize=1)
def _splits(parts: tuple[Any, ...], edits_per_set: int, edit_seeds: int) -> dict[str, Rows]:
    return splits(build(*parts), edits_per_set=edits_per_set, edit_seeds=edit_seeds)


def features_of(config: Any) -> datasets.Features:
    """The columns of a BehemothConfig's rows as `datasets` knows them."""
    if has_edits(config):
        return datasets.Features.from_arrow_schema(EDIT_SCHEMA)
    features = datasets.Features.from_arrow_schema(FACT_SCHEMA)
    features["edge"] = datasets.ClassLabel(names=[edge.label for edge in Edge])
    return features


def field_helps() -> dict[str, str]:
    """Every field of a config, in order, with its help text."""
    fields = [field for part in (*_PARTS, BehemothConfig) for field in dataclasses.fields(part)]
    return {field.name: field.metadata["help"] for field in fields if "help" in field.metadata}


def _key(shard: int, block: int) -> Any:
    """What `datasets` calls a block by: a Key of its own from version 4.4 on, any name before."""
    kind = getattr(datasets.builder, "Key", None)
    return kind(shard, block) if kind else f"{shard}-{block}"


def code_digest() -> str:
    """16 hex digits that change whenever the code that makes rows does."""
    code = hashlib.sha256()
    for name in _ROW_CODE:
        code.update(resources.files("behemoth_data").joinpath(f"{name}.py").read_bytes())
    return code.hexdigest()[:16]


class Behemoth(datasets.ArrowBasedBuilder):
    """Rows of an invented world, made when asked for; the same config gives the same bytes."""

    VERSION = datasets.Version(VERSION)
    BUILDER_CONFIG_CLASS = BehemothConfig
    BUILDER_CONFIGS: ClassVar[list[Any]] = [
        BehemothConfig(name=f"{name}{suffix}", version=datasets.Version(VERSION), **fields)
        for suffix in ("", "_edits")
        for name, fields in PRESETS.items()
    ]
    DEFAULT_CONFIG_NAME = "independent"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Like any builder's; unless a `hash` is given, changed code never returns rows cached by older code."""
        kwargs["hash"] = kwargs.get("hash") or code_digest()
        super().__init__(*args, **kwargs)

    def _info(self) -> datasets.DatasetInfo:
        rows_of(self.config)  # overrides bypass __post_init__: refuse bad values before any file is written
        return datasets.DatasetInfo(
            description="A fully synthetic world of {subject, relation, object} facts for knowledge editing.",
            features=features_of(self.config),
            license="apache-2.0",
            version=VERSION,
        )

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        return [
            datasets.SplitGenerator(name, {"split": name, "shards": rows.shards(_SHARD)})
            for name, rows in rows_of(self.config).items()
        ]

    def _generate_tables(self, split: str, shards: list[tuple[int, int]]) -> Iterator[tuple[Any, pa.Table]]:
        rows = rows_of(self.config)[split]
        for number, (start, stop) in enumerate(shards):
            for block, table in enumerate(rows.tables(start, stop)):
                yield _key(number, block), table.cast(self.info.features.arrow_schema)
