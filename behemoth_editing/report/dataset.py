"""Result rows as one flat table, and as a folder that `datasets` and the Hub can read. No score is computed here."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from behemoth_data.card import render, size_category
from behemoth_data.places import local_path
from behemoth_data.settings import check
from behemoth_editing.report.summaries import Summary, summaries
from behemoth_editing.report.text import duration, share
from behemoth_editing.scoring.scores import FIRST, GROUPS, HEADLINES, MEASURED, MEASURES, Score
from behemoth_editing.sweep.identity import precision_of, shown_rows
from behemoth_editing.sweep.plain import plain
from behemoth_editing.sweep.rows import PLACE, Row, put_file

TABLE = "results.parquet"
CARD = "README.md"
PICTURE = "results.svg"

_WORDS = ("cell", "structure", "edge", "relation", "scenario", "num_edits", "method", "seed", "model", "started")
_PRECISIONS = ("precision", "model_precision")
_SECONDS = ("edit", "shared", "score", "needed")
_NESTED = ("settings", "world", "load", "recipe", "edits", "units", "recall", "details", "versions", "weights")
_NUMBERS = {"relation": pa.int64(), "num_edits": pa.int64(), "seed": pa.int64()}
# Fields of a row that have columns of their own; all others are kept in the column `other`.
_FLAT = {*_WORDS, *_PRECISIONS, *_NESTED, "hub_id", "corpus", "seconds", "scores", "error"}


def column_of(score: Score) -> str:
    """The name of a score's column."""
    return f"{MEASURES}_{score.name}" if score.part == MEASURES else score.name


_TEXTS = {
    "cell": "digest of the model, its world, the method with its settings, the draw and the code's version",
    "structure": "structure of the world that the model knows",
    "edge": "the table whose facts were edited",
    "relation": "the relation whose facts were edited; none where each draw edits all of another",
    "scenario": "how the edits were chosen",
    "num_edits": "edits asked for",
    "method": "the editing method",
    "seed": "number of the draw of edits",
    "model": "name of the model that was edited, or its Hub id; `weights_before` says which it is",
    "started": "when the cell began, UTC",
    "precision": "bf16 or fp32: the precision in which the method trained; null where it does not say",
    "model_precision": "bf16 or fp32: the precision in which the model was trained; null where it does not say",
    "corpus": "digest of the model's training corpus",
    "weights_before": "digest of the model's weights before the edits",
    "error": "why the cell failed; null where it did not",
    "num_units": "edits scored",
    "seconds_edit": "seconds of editing, over all edits of the cell",
    "seconds_shared": "seconds of what cells share, if this one was the first; below 0: what it was spared",
    "seconds_score": "seconds of asking the edited models",
    "seconds_needed": "seconds that the shared key statistics took that the cell needed, whoever computed them",
    **{group: "JSON: " + "; ".join(score.text for score in entries) for group, entries in GROUPS.items()},
    **{column_of(score): f"{score.text}; {score.range}" for score in (*HEADLINES, *MEASURED)},
    "scores": "JSON: all scores",
    "settings": "JSON: the method's settings",
    "world": "JSON: the world's fields",
    "load": "JSON: width, layers and parameters (beside the input embedding) of the model, facts and bits of its "
    "world, steps of its training, and sentences that it read of each fact",
    "recipe": "JSON: the words, corpus and training settings of the model",
    "edits": "JSON: how edits and probes were drawn",
    "units": "JSON: the raw counts of every edit, which all scores come from",
    "recall": "JSON: what the model knew before, by form and table",
    "details": 'JSON: what the method says of each of its runs; "nan", "inf" and "-inf" are numbers',
    "versions": "JSON: versions of the code and of the libraries",
    "weights": "JSON: digests of the weights before and after",
    "other": "JSON: whatever else the row has",
}


def result_table(rows: Sequence[Row]) -> pa.Table:
    """One table row per result row, in their order: numbers and words in columns, nested parts as JSON text.

    Models go by their names, and no path of this machine is in any words. Every
    score of one number has the columns NAME, NAME_low, NAME_high and NAME_count, null where the row has no such score.
    Raises: ValueError for no rows.
    """
    check(len(rows) > 0, "results must have at least 1 row, got 0")
    rows = shown_rows(rows)
    columns: dict[str, tuple[pa.DataType, Callable[[Row], Any]]] = {}
    for name in _WORDS:
        columns[name] = (_NUMBERS.get(name, pa.string()), _field(name))
    columns["precision"] = (pa.string(), precision_of)
    columns["model_precision"] = (pa.string(), _field("model_precision"))
    columns["corpus"] = (pa.string(), _field("corpus"))
    columns["weights_before"] = (pa.string(), lambda row: (row.get("weights") or {}).get("before"))
    columns["error"] = (pa.string(), _field("error"))
    columns["num_units"] = (pa.int64(), lambda row: None if row.get("units") is None else len(row["units"]))
    for part in _SECONDS:
        columns[f"seconds_{part}"] = (pa.float64(), _within("seconds", part))
    for score in (*HEADLINES, *MEASURED):
        for suffix, part, kind in (
            ("", "value", pa.float64()),
            ("_low", "low", pa.float64()),
            ("_high", "high", pa.float64()),
            ("_count", "count", pa.int64()),
        ):
            columns[column_of(score) + suffix] = (kind, _part(score, part))
    for name in GROUPS:
        columns[name] = (pa.string(), _text_within("scores", name))
    for name in ("scores", *_NESTED):
        columns[name] = (pa.string(), _text(name))
    columns["other"] = (pa.string(), _other)
    return pa.table({name: pa.array([read(row) for row in rows], kind) for name, (kind, read) in columns.items()})


def write_results_dataset(rows: Sequence[Row], folder: str | os.PathLike[str], *, name: str | None = None) -> Path:
    """The folder holds the rows as results.parquet, a card, and a picture if there is one to draw.

    Other files there stay. The card says how to load `name`, the folder's own unless a Hub id is given. The same rows
    give the same bytes. Raises: ValueError for no rows, OSError if a file cannot be written.
    """
    place = local_path("folder", folder)
    place.mkdir(parents=True, exist_ok=True)
    for path, content in results_files(rows, name or place.resolve().name).items():
        put_file(place / path, content)
    return place


def results_files(rows: Sequence[Row], name: str) -> dict[str, bytes]:
    """The content of every file of such a folder. Raises: ValueError for no rows."""
    table = result_table(rows)
    rows = shown_rows(rows)
    files = {TABLE: parquet_bytes(table)}
    found = summaries(rows)
    alt, picture = _picture(found)
    if picture is not None:
        files[PICTURE] = picture
    values = {
        "name": name,
        "card_data": card_data("Behemoth results", "evaluation-results", {"default": (TABLE, table)}, files),
        "rows": rows,
        "columns": _described(table),
        "summaries": found,
        "failed": [row for row in rows if row["error"] is not None],
        "alt": alt if picture is not None else None,
        "headlines": tuple(dict.fromkeys((*FIRST, *HEADLINES))),
        "share": share,
        "duration": duration,
        **{field: _distinct(rows, field) for field in (*PLACE, "method", "model", "seed")},
        "precisions": list(dict.fromkeys(map(precision_of, rows))),
        "model_precisions": list(dict.fromkeys(row.get("model_precision") for row in rows)),
        "versions": list(dict.fromkeys(row["versions"].get("behemoth", "unknown") for row in rows)),
    }
    files[CARD] = render("results.md.jinja", values).encode("utf-8")
    return files


def _field(name: str) -> Callable[[Row], Any]:
    return lambda row: row.get(name)


def _within(group: str, name: str) -> Callable[[Row], Any]:
    return lambda row: (row.get(group) or {}).get(name)


def _part(score: Score, part: str) -> Callable[[Row], Any]:
    def read(row: Row) -> Any:
        scores = row.get("scores") or {}
        found = scores.get(MEASURES) or {} if score.part == MEASURES else scores
        return (found.get(score.name) or {}).get(part)

    return read


def _text(name: str) -> Callable[[Row], str | None]:
    return lambda row: _json(row.get(name))


def _text_within(group: str, name: str) -> Callable[[Row], str | None]:
    return lambda row: _json((row.get(group) or {}).get(name))


def _other(row: Row) -> str | None:
    return _json({name: value for name, value in row.items() if name not in _FLAT} or None)


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(plain(value), sort_keys=True)


def _distinct(rows: Sequence[Mapping[str, Any]], field: str) -> list[Any]:
    return list(dict.fromkeys(row[field] for row in rows))


def _described(table: pa.Table) -> list[tuple[str, str, str]]:
    """Name, type and meaning of every column."""
    return [(field.name, str(field.type), _meaning(field.name)) for field in table.schema]


def _meaning(name: str) -> str:
    if name in _TEXTS:
        return _TEXTS[name]
    for suffix, text in (("_low", "lower end of its 95% interval"), ("_high", "upper end of its 95% interval")):
        if name.endswith(suffix):
            return text
    return "facts or edits behind it"


def _picture(found: Sequence[Summary]) -> tuple[str, bytes | None]:
    """What the first figure with data shows, in words and as an SVG file."""
    from behemoth_editing.report.figures import drawings
    from behemoth_editing.report.style import standalone

    drawn = drawings(found)
    for drawing in (*drawn["tradeoff"], *drawn["kinds"]):
        return " ".join(drawing.alt.split()), standalone(drawing.svg).encode("utf-8")
    return "", None


def parquet_bytes(table: pa.Table) -> bytes:
    """The table as a parquet file; the same rows give the same bytes."""
    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink, compression="zstd")
    content: bytes = sink.getvalue().to_pybytes()
    return content


def card_data(name: str, tag: str, configs: Mapping[str, tuple[str, pa.Table]], files: Mapping[str, bytes]) -> str:
    """The YAML between the --- lines of the card of a dataset of results, whose first config is the default."""
    from datasets import DatasetInfo, Features
    from huggingface_hub import DatasetCardData

    described = []
    for config, (path, table) in configs.items():
        features = DatasetInfo(features=Features.from_arrow_schema(table.schema))._to_yaml_dict()["features"]
        described.append(
            {
                "config_name": config,
                "features": features,
                "splits": [{"name": "test", "num_bytes": table.nbytes, "num_examples": table.num_rows}],
                "download_size": len(files[path]),
                "dataset_size": table.nbytes,
            }
        )
    data = DatasetCardData(
        language=["en"],
        license="apache-2.0",
        pretty_name=name,
        annotations_creators=["machine-generated"],
        language_creators=["machine-generated"],
        source_datasets=["original"],
        size_categories=[size_category(max(table.num_rows for _, table in configs.values()))],
        task_categories=["text-generation"],
        tags=["synthetic", "knowledge-editing", "machine-unlearning", "benchmark", tag],
        configs=[
            {
                "config_name": config,
                "data_files": [{"split": "test", "path": path}],
                **({"default": True} if place == 0 else {}),
            }
            for place, (config, (path, _)) in enumerate(configs.items())
        ],
        dataset_info=described[0] if len(described) == 1 else described,
    )
    return str(data.to_yaml()).strip()
