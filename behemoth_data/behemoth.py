"""The published dataset as a `datasets` builder. The only importer of `datasets`; what a row says is decided elsewhere.

Configs: independent, correlated, nested (sentences and facts), and one `_edits` config for each (edit sets).
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from importlib import resources
from typing import Any, ClassVar

import datasets
import pyarrow as pa
from datasets.builder import Key

from behemoth_data.corpus import Corpus, CorpusConfig, build
from behemoth_data.edits import SCENARIOS, EditConfig, draw_edits, max_edits
from behemoth_data.lexicon import LexiconConfig
from behemoth_data.settings import check, setting
from behemoth_data.tables import EDIT_SCHEMA, FACT_SCHEMA, edit_table, fact_table, sentence_table
from behemoth_data.world import PRESETS, Edge, WorldConfig

VERSION = "1.0.0"  # of the rows: bump it with the golden digests
CONFIG_NAMES = (*PRESETS, *(f"{name}_edits" for name in PRESETS))

_PARTS = (WorldConfig, LexiconConfig, CorpusConfig)
_BLOCK = 10_000  # sentences or facts of one Arrow table
_SHARD = 500_000  # sentences or facts that one process or stream makes at a time
_ROW_CODE = ("settings", "rng", "world", "lexicon", "grammar", "corpus", "edits", "tables", "behemoth")

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

    def part(cls: type) -> Any:
        return cls(**{field.name: getattr(config, field.name) for field in dataclasses.fields(cls)})

    return build(*map(part, _PARTS))


def field_helps() -> dict[str, str]:
    """Every field of a config, in order, with its help text."""
    fields = [field for part in (*_PARTS, BehemothConfig) for field in dataclasses.fields(part)]
    return {field.name: field.metadata["help"] for field in fields if "help" in field.metadata}


def code_digest() -> str:
    """16 hex digits that change whenever the code that makes rows does."""
    code = hashlib.sha256()
    for name in _ROW_CODE:
        code.update(resources.files("behemoth_data").joinpath(f"{name}.py").read_bytes())
    return code.hexdigest()[:16]


def _ranges(start: int, stop: int, size: int) -> list[tuple[int, int]]:
    """The places from start up to stop as (start, stop) of parts that hold `size` each, the last one what is left."""
    return [(first, min(first + size, stop)) for first in range(start, stop, size)]


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

    @property
    def _has_edits(self) -> bool:
        return bool(self.config.name.endswith("_edits"))

    def _info(self) -> datasets.DatasetInfo:
        corpus_of(self.config)  # overrides bypass __post_init__: refuse bad values before any file is written
        for field in ("edits_per_set", "edit_seeds"):
            check(getattr(self.config, field) >= 1, f"{field} must be at least 1, got {getattr(self.config, field)}")
        features = datasets.Features.from_arrow_schema(EDIT_SCHEMA if self._has_edits else FACT_SCHEMA)
        if not self._has_edits:
            features["edge"] = datasets.ClassLabel(names=[edge.label for edge in Edge])
        return datasets.DatasetInfo(
            description="A fully synthetic world of {subject, relation, object} facts for knowledge editing.",
            features=features,
            license="apache-2.0",
            version=VERSION,
        )

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        corpus = corpus_of(self.config)
        if self._has_edits:
            seeds = list(range(self.config.edit_seeds))
            return [datasets.SplitGenerator("test", {"split": "test", "shards": seeds})]
        world = corpus.world
        sentences = _ranges(0, len(corpus), _SHARD)
        facts = [(edge, *part) for edge in world.edges for part in _ranges(0, world.num_facts(edge), _SHARD)]
        return [
            datasets.SplitGenerator("train", {"split": "train", "shards": sentences}),
            datasets.SplitGenerator("validation", {"split": "validation", "shards": facts}),
        ]

    def _generate_tables(self, split: str, shards: list[Any]) -> Iterator[tuple[Key, pa.Table]]:
        for number, shard in enumerate(shards):
            for block, table in enumerate(self._tables(split, shard)):
                yield Key(number, block), table.cast(self.info.features.arrow_schema)

    def _tables(self, split: str, shard: Any) -> Iterator[pa.Table]:
        corpus = corpus_of(self.config)
        if split == "train":
            first, last = shard
            for start, stop in _ranges(first, last, _BLOCK):
                yield sentence_table(corpus, start, stop)
        elif split == "validation":
            edge, first, last = shard
            for start, stop in _ranges(first, last, _BLOCK):
                yield fact_table(corpus, edge, start=start, stop=stop)
        else:
            for edge in corpus.world.edges:
                for scenario in SCENARIOS:
                    yield edit_table(
                        self._draw(corpus, EditConfig(scenario=scenario, edge=edge.label, edit_seed=shard))
                    )

    def _draw(self, corpus: Corpus, config: EditConfig) -> Any:
        count = min(self.config.edits_per_set, max_edits(corpus, config))
        return draw_edits(corpus, dataclasses.replace(config, num_edits=count))
