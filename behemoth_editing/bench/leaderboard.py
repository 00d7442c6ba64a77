"""Boards of several people, with the rows behind them -> one dataset that `datasets` and the Hub can read."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from behemoth_data.card import render
from behemoth_data.settings import check
from behemoth_editing.bench.board import Entry, line_of
from behemoth_editing.bench.page import JSONL, cell_text, read_board, tables, template
from behemoth_editing.bench.tracks import VERSION
from behemoth_editing.report.dataset import card_data, parquet_bytes, result_table
from behemoth_editing.report.summaries import load_results

BOARD, ROWS, CARD = "board.parquet", "results.parquet", "README.md"

# What a line has, with its type.
_COLUMNS = {
    "version": (pa.int64(), "version of the benchmark"),
    "track": (pa.string(), "what was done to the models"),
    "level": (pa.string(), "which models"),
    "method": (pa.string(), "the method; in brackets settings that are neither the level's nor its defaults"),
    "value": (pa.float64(), "the track's number, over the level's models"),
    "low": (pa.float64(), "lower end of its 95% interval; null where nothing bounds it"),
    "high": (pa.float64(), "upper end of its 95% interval; null where nothing bounds it"),
    "unit": (pa.string(), "edits, share, or seconds"),
    "better": (pa.string(), "higher or lower"),
    "models": (pa.int64(), "models behind the number"),
    "unbroken": (pa.int64(), "models that the largest draw did not break, so that the number is at least this"),
    "failed": (pa.int64(), "cells that failed, each of which counts as a model left as it was"),
    "run_by": (pa.string(), "who made the rows, by their own words"),
    "settings": (pa.string(), "JSON: all settings of the method"),
    "weights": (pa.list_(pa.string()), "digests of the models' weights; they are in the rows too"),
    "versions": (pa.string(), "JSON: versions of the code and of the libraries"),
    "devices": (pa.list_(pa.string()), "cpu, cuda, mps"),
    "started": (pa.list_(pa.string()), "when the first cell began, and the last, UTC"),
}


def leaderboard_files(folders: Sequence[Path], name: str) -> dict[str, bytes]:
    """The content of every file of the dataset `name`: the boards' lines, the rows of all, and a card.

    Raises: ValueError for a folder without a board or of another version, or two whose lines nobody can tell apart.
    """
    entries = _entries(folders)
    rows = load_results([folder / "results" for folder in folders])
    configs = {"board": (BOARD, board_table(entries)), "results": (ROWS, result_table(rows))}
    content = {path: parquet_bytes(table) for path, table in configs.values()}
    values = {
        **_shown(entries, name),
        "card_data": card_data("Behemoth leaderboard", "leaderboard", configs, content),
        "cell_text": cell_text,
        "columns": [(column, str(kind), text) for column, (kind, text) in _COLUMNS.items()],
        "num_rows": len(rows),
    }
    return {**content, CARD: render("board.md.jinja", values).encode("utf-8")}


def leaderboard_page(folders: Sequence[Path], name: str) -> str:
    """The page of the dataset `name` as HTML, which needs no other file. Raises: as leaderboard_files()."""
    return template("leaderboard.html.jinja").render(_shown(_entries(folders), name))


def _shown(entries: Sequence[Entry], name: str) -> dict[str, Any]:
    """What card and page have in common."""
    return {
        "name": name,
        "version": VERSION,
        "tables": tables(_told_apart(entries)),
        "levels": {entry.level: entry.weights for entry in entries},
        "run_by": list(dict.fromkeys(entry.run_by for entry in entries if entry.run_by)),
    }


def _entries(folders: Sequence[Path]) -> list[Entry]:
    """Those of all boards. Raises: as leaderboard_files()."""
    entries: list[Entry] = []
    for folder in folders:
        found = read_board(folder)
        check(len(found) > 0, f"boards must be folders of `behemoth bench`, got {folder}, which has no line in {JSONL}")
        check(
            len(folders) == 1 or bool(found[0].run_by),
            f"boards must say who ran them where there are several, got {folder}: give --run_by to behemoth bench",
        )
        entries += found
    names = [(entry.track, entry.level, entry.method, entry.run_by) for entry in entries]
    twice = [key for key in names if names.count(key) > 1]
    check(not twice, f"boards must have a line for each track, level, method and person, got two for {twice[:1]}")
    return entries


def board_table(entries: Sequence[Entry]) -> pa.Table:
    """A row for every entry, in their order."""
    lines = [line_of(entry) for entry in entries]
    nested = ("settings", "versions")
    lines = [{**line, **{field: json.dumps(line[field], sort_keys=True) for field in nested}} for line in lines]
    return pa.table(
        {column: pa.array([line[column] for line in lines], kind) for column, (kind, _) in _COLUMNS.items()}
    )


def _told_apart(entries: Sequence[Entry]) -> list[Entry]:
    """The entries with who made them beside the method, where several people did."""
    if len({entry.run_by for entry in entries}) == 1:
        return list(entries)
    return [dataclasses.replace(entry, method=f"{entry.method}, {entry.run_by}") for entry in entries]
