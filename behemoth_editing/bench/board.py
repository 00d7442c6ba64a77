"""Rows of a bench -> the board: a line for every track, level and method, and what is still to be made for it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from behemoth_data.edits import EditConfig
from behemoth_data.settings import check, check_known, from_mapping
from behemoth_editing.bench.floors import FLOORS, Nothing
from behemoth_editing.bench.names import Tuned, names_at
from behemoth_editing.bench.tracks import BOUND, TRACKS, VERSION, Number, Track, curve_over_edits
from behemoth_editing.methods import METHODS
from behemoth_editing.methods.contract import EditMethod
from behemoth_editing.report.summaries import as_json
from behemoth_editing.sweep.identity import model_of, shown_rows
from behemoth_editing.sweep.plain import plain
from behemoth_editing.sweep.rows import Row

Key = tuple[str, str, str]  # of the model, the method with its settings, and the draw
Known = Mapping[Key, Row]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """A line of the board."""

    version: int
    track: str
    level: str
    method: str
    settings: Mapping[str, Any]
    number: Number
    failed: int  # cells, each of which counts as a model that was left as it was
    run_by: str = ""  # whoever made the rows, by their own words
    weights: tuple[str, ...] = ()  # digests of the level's models
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)  # of the code and of the libraries
    devices: tuple[str, ...] = ()
    started: tuple[str, ...] = ()  # when the first cell began, and the last


def key_of(model: str, method: EditMethod, draw: EditConfig) -> Key:
    """That of a cell, equal to key_in() of its row."""
    return model, method_key(method), _draw_key(draw)


def method_key(method: EditMethod) -> str:
    """A method with its settings, as a key has it."""
    return as_json([method.name, plain(method)])


def _draw_key(draw: EditConfig) -> str:
    return as_json(plain(draw))


def key_in(row: Row) -> Key:
    """That of a row, whose draw may lack settings that came later."""
    return model_of(row), as_json([row["method"], row["settings"]]), _draw_key(from_mapping(EditConfig, row["edits"]))


def stages_for(track: Track, method: type[EditMethod] | EditMethod) -> tuple[tuple[EditConfig, ...], ...]:
    """What a method does of a track: nothing where its goal is another.

    Who trains anew makes every draw of one set, and no other: a training for each of them would tell no more.
    """
    if method.goal not in track.goals:
        return ()
    if "world" not in method.reads:
        return track.stages
    stages = (tuple(draw for draw in stage if draw.num_sets == 1) for stage in track.stages)
    return tuple(stage for stage in stages if stage)


def known_rows(rows: Iterable[Row]) -> dict[Key, Row]:
    """The rows by key, each that failed with what a model shows that was left as it was, in the same draw.

    Without those that failed before it is known what that is.
    """
    rows = list(rows)
    untouched = {
        (model_of(row), key_in(row)[2]): row for row in rows if row["method"] == Nothing.name and row["error"] is None
    }
    found: dict[Key, Row] = {}
    for row in rows:
        if row["error"] is not None:
            instead = untouched.get((model_of(row), key_in(row)[2]))
            if instead is None:
                continue
            row = {**row, **{name: instead[name] for name in ("units", "scores", "looks")}}
        found[key_in(row)] = row
    return found


def next_draws(
    track: Track, method: type[EditMethod] | EditMethod, model: str, named: str, known: Known
) -> list[EditConfig]:
    """Those that come next of a track; none where it is complete. `named` is method_key() of the method.

    Whatever breaks, `nothing` makes every stage, since it stands for cells that fail.
    """
    for stage in stages_for(track, method):
        keys = {draw: (model, named, _draw_key(draw)) for draw in stage}
        left = [draw for draw, key in keys.items() if key not in known]
        if left:
            return left
        if (
            track.breaks
            and method.name != Nothing.name
            and min(curve_over_edits([known[key] for key in keys.values()]).values()) < BOUND
        ):
            return []
    return []


@dataclasses.dataclass(frozen=True)
class _Elsewhere(Nothing):
    """A method whose class is not here: its rows alone say where it had a part."""

    name: ClassVar[str] = ""


def board(
    rows: Sequence[Row],
    levels: Mapping[str, Sequence[str]],
    tracks: Iterable[Track] | None = None,
    outside: Mapping[str, type[EditMethod]] | None = None,
    tuned: Tuned | None = None,
    run_by: str = "",
) -> list[Entry]:
    """A line for every track, level and method that is through with it, in their order.

    `levels` are the digests of each level's models; `tracks`, if none are given, those of TRACKS; `outside` the methods
    that are not ours, by name; `tuned` the methods with the settings that the levels have for them.
    """
    rows = shown_rows(rows)  # no path of this machine, which a setting may hold, is in a line
    classes = {**METHODS, **FLOORS, **(outside or {})}
    known, names = known_rows(rows), names_at(rows, tuned or {})
    methods = {key_in(row)[1]: row for row in rows}
    entries = []
    for track in TRACKS.values() if tracks is None else tracks:
        for level, models in levels.items():
            for named, row in methods.items():
                method = classes.get(row["method"], _Elsewhere)
                made = _made(track, method, models, named, known)
                number = track.number_of(made) if made else None
                if number is not None:
                    failed = sum(one["error"] is not None for one in made)
                    entries.append(
                        Entry(
                            version=VERSION,
                            track=track.name,
                            level=level,
                            method=names(level, row),
                            settings=row["settings"],
                            number=number,
                            failed=failed,
                            run_by=run_by,
                            weights=tuple(models),
                            versions=_versions(made),
                            devices=tuple(sorted({str(one["device"]) for one in made})),
                            started=(min(one["started"] for one in made), max(one["started"] for one in made)),
                        )
                    )
    return entries


def _versions(rows: Sequence[Row]) -> dict[str, str]:
    """The version of each package, and all of them where rows differ."""
    found: dict[str, set[str]] = {}
    for row in rows:
        for name, version in row["versions"].items():
            found.setdefault(name, set()).add(str(version))
    return {name: ", ".join(sorted(versions)) for name, versions in found.items()}


def line_of(entry: Entry) -> dict[str, Any]:
    """An entry as JSON has it; an interval that nothing bounds ends in null."""
    line = dataclasses.asdict(entry)
    number = line.pop("number")
    ends = {name: None if math.isinf(number[name]) else number[name] for name in ("low", "high")}
    track = TRACKS[entry.track]
    return {**line, **number, **ends, "unit": track.unit, "better": track.better}


def entry_of(line: Mapping[str, Any]) -> Entry:
    """The entry of such a line. Raises: ValueError for one of another version, or that lacks something."""
    version = line.get("version")
    check(version == VERSION, f"board must be of version {VERSION}, the one that this code makes, got {version}")
    check_known("track", line.get("track"), TRACKS)
    for field in (*_fields(Entry), *_fields(Number)):
        check(field in line or field == "number", f"board must give {field} in every line, got {line}")
    ends = {"low": -math.inf, "high": math.inf}
    number: dict[str, Any] = {
        field: ends.get(field) if line[field] is None else line[field] for field in _fields(Number)
    }
    said = {field: line[field] for field in _fields(Entry) if field != "number"}
    lists = {field: tuple(said[field]) for field in ("weights", "devices", "started")}
    return Entry(**{**said, **lists, "number": Number(**number)})


def _fields(cls: type) -> list[str]:
    return [field.name for field in dataclasses.fields(cls)]


def _made(track: Track, method: type[EditMethod], models: Sequence[str], named: str, known: Known) -> list[Row]:
    """A method's rows of a track on these models; none where it is not through with it, or has no part in it."""
    if any(next_draws(track, method, model, named, known) for model in models):
        return []
    draws = [draw for stage in stages_for(track, method) for draw in stage]
    keys = [(model, named, _draw_key(draw)) for model in models for draw in draws]
    return [known[key] for key in keys if key in known]
