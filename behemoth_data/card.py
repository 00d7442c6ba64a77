"""The text of an exported folder's README.md: card data, counts and examples. It writes no file and makes no row."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from behemoth_data.kinds import GROUPS, KINDS
from behemoth_data.world import Edge

if TYPE_CHECKING:
    from jinja2 import Environment

    from behemoth_data.behemoth import Behemoth

CARD = "README.md"

_TEMPLATE = "dataset.md.jinja"
_SIZES = {"n<1K": 10**3, "1K<n<10K": 10**4, "10K<n<100K": 10**5, "100K<n<1M": 10**6, "1M<n<10M": 10**7}
_SIZES |= {"10M<n<100M": 10**8, "100M<n<1B": 10**9, "1B<n<10B": 10**10, "10B<n<100B": 10**11}


@dataclasses.dataclass
class Split:
    """What a card says of a split, counted while the split is written."""

    name: str
    rows: int = 0
    arrow_bytes: int = 0
    examples: dict[tuple[str, str], dict[str, Any]] = dataclasses.field(default_factory=dict)  # by (edge, form)
    kinds: dict[str, int] = dataclasses.field(default_factory=dict)  # probes of each kind
    edits: int = 0

    def count(self, table: pa.Table) -> None:
        """Adds the rows of one more table, which are edit sets if it has probes."""
        self.rows += table.num_rows
        # Not table.nbytes, which also counts bitmaps of nulls that are there or not as blocks were joined.
        self.arrow_bytes += sum(pa.ipc.get_record_batch_size(batch) for batch in table.to_batches())
        if "probes" in table.schema.names:
            self._count_edits(table)
        else:
            self._find_examples(table)

    def add(self, other: Split) -> None:
        """Adds what was counted over the rows that come next."""
        self.rows += other.rows
        self.arrow_bytes += other.arrow_bytes
        self.edits += other.edits
        self.examples = {**other.examples, **self.examples}
        for kind, count in other.kinds.items():
            self.kinds[kind] = self.kinds.get(kind, 0) + count

    def _count_edits(self, table: pa.Table) -> None:
        kinds = table["probes"].combine_chunks().flatten().field("kind").value_counts()
        for kind, count in zip(kinds.field(0).to_pylist(), kinds.field(1).to_pylist(), strict=True):
            self.kinds[kind] = self.kinds.get(kind, 0) + count
        self.edits += len(table["edits"].combine_chunks().flatten())

    def _find_examples(self, table: pa.Table) -> None:
        """The first sentence of each table and form, among the first 1,000 of the block."""
        for row in table.slice(0, 1000).to_pylist():
            self.examples.setdefault((Edge(row["edge"]).label, row["form"]), row)


def template(name: str = _TEMPLATE) -> str:
    """The text that a card is made from."""
    return resources.files("hub_cards").joinpath(name).read_text(encoding="utf-8")


def render(name: str, values: Mapping[str, Any]) -> str:
    """The text that a template of hub_cards gives with these values.

    Raises: jinja2.UndefinedError for a value that is not among them.
    """
    return _environment().get_template(name).render(values)


def _environment() -> Environment:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(template),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters["number"] = _number
    return environment


def _number(value: Any) -> str:
    """A number with commas. Raises: jinja2.UndefinedError, which names it, for one that is not given."""
    str(value)  # raises it; a format would raise a TypeError that names nothing
    return f"{value:,}"


def size_category(rows: int) -> str:
    """The Hub's name for so many rows."""
    return next((size for size, bound in _SIZES.items() if rows < bound), "100B<n<1T")


def picture(name: str) -> bytes:
    """The drawing of a small world of one structure, as SVG."""
    return resources.files("hub_cards").joinpath("structures", f"{name}.svg").read_bytes()


def card_text(
    builders: Mapping[str, Behemoth],
    header: Mapping[str, Any],
    written: Mapping[str, list[Split]],
    files: Mapping[str, Mapping[str, Any]],
) -> str:
    """The text of README.md. Raises: jinja2.UndefinedError for a value that the run does not give."""
    from behemoth_data.behemoth import field_helps

    structures: dict[str, dict[str, Any]] = {}
    for name in builders:
        structures.setdefault(name.removesuffix("_edits"), header["configs"][name])
    facts = {name: splits for name, splits in written.items() if not name.endswith("_edits")}
    edits = {name: splits for name, splits in written.items() if name.endswith("_edits")}
    kinds = {kind for splits in edits.values() for split in splits for kind in split.kinds}
    example_config = max(facts, key=lambda name: len(facts[name][0].examples), default=None)
    return (
        _environment()
        .from_string(template())
        .render(
            card_data=_card_data(builders, written, files),
            default=_default(list(builders)),
            header=header,
            natural=_is_natural(builders),
            structures=structures,
            field_helps=field_helps(),
            facts=facts,
            edits=edits,
            fact_features=builders[next(iter(facts))].info.features if facts else None,
            edit_features=builders[next(iter(edits))].info.features if edits else None,
            kinds=[kind for group in GROUPS for kind in KINDS.values() if kind.group == group and kind.name in kinds],
            groups=GROUPS,
            example_config=example_config,
            examples=facts[example_config][0].examples if example_config else {},
            bytes_of={
                name: {split.name: _bytes_of(f"{name}/{split.name}-", files) for split in splits}
                for name, splits in written.items()
            },
        )
    )


def _is_natural(builders: Mapping[str, Behemoth]) -> bool:
    return any(builder.config.surface == "natural" for builder in builders.values())


def _bytes_of(start: str, files: Mapping[str, Mapping[str, Any]]) -> int:
    return sum(entry["size"] for path, entry in files.items() if path.startswith(start))


def _default(names: Sequence[str]) -> str:
    return "independent" if "independent" in names else names[0]


def _card_data(
    builders: Mapping[str, Behemoth],
    written: Mapping[str, list[Split]],
    files: Mapping[str, Mapping[str, Any]],
) -> str:
    """The YAML between the card's --- lines."""
    from huggingface_hub import DatasetCardData

    rows = sum(split.rows for splits in written.values() for split in splits)
    configs, infos = [], []
    for name, splits in written.items():
        data_files = [{"split": split.name, "path": f"{name}/{split.name}-*.parquet"} for split in splits]
        default = {"default": True} if name == _default(list(builders)) else {}
        configs.append({"config_name": name, "data_files": data_files, **default})
        infos.append(
            {
                "config_name": name,
                "features": builders[name].info._to_yaml_dict()["features"],
                "splits": [
                    {"name": split.name, "num_bytes": split.arrow_bytes, "num_examples": split.rows} for split in splits
                ],
                "download_size": _bytes_of(f"{name}/", files),
                "dataset_size": sum(split.arrow_bytes for split in splits),
            }
        )
    data = DatasetCardData(
        language=["en"] if _is_natural(builders) else ["art"],  # ISO 639-2: artificial languages
        license="apache-2.0",
        pretty_name="Behemoth",
        annotations_creators=["machine-generated"],
        language_creators=["machine-generated"],
        source_datasets=["original"],
        size_categories=[size_category(rows)],
        task_categories=["text-generation", "question-answering"],
        tags=["synthetic", "knowledge-editing", "machine-unlearning", "benchmark"],
        configs=configs,
        dataset_info=infos,
    )
    return str(data.to_yaml()).strip()
