"""Result rows: reading them, pooling them over models and draws, their numbers. No figures and no files written.

Every interval comes from `behemoth_editing.scoring`.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from behemoth_data.places import local_path
from behemoth_data.settings import check
from behemoth_editing.report.pooling import attempted, draw_settings, made_with, sample_of, summarise
from behemoth_editing.scoring.scores import MEASURES, Designs, designs_of
from behemoth_editing.sweep.identity import model_of, precision_of
from behemoth_editing.sweep.rows import PLACE, RESULTS, Placed, Row, check_row, read_rows, settled

Scores = dict[str, Any]

KNOWN = 0.95  # recall from which a model counts as one that knows what is edited


# Reading


def load_results(folders: Sequence[Path]) -> list[Row]:
    """The rows of every folder's results.jsonl, one for each cell, in the order of the folders and of the lines.

    A cell that two runs or two folders scored counts once, as the first of them did; one that failed and was scored
    later did not fail. Half a line that a kill left is passed over, with a warning.
    Raises: ValueError naming file and line for a folder without results, or a row that lacks something.
    """
    check(len(folders) > 0, "results must name at least 1 folder, got none")
    found: Placed = {}
    for folder in (local_path("results", folder) for folder in folders):
        path = folder / RESULTS
        check(path.is_file(), f"results: {folder} holds no {RESULTS} (`behemoth edit` writes one)")
        rows = read_rows(path)
        check(bool(rows), f"{path} holds no result row")
        for place, row in rows.items():
            check_row(row, place)
        found |= rows
    return settled(found)


# Pooling


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
    """One method with its settings in one place (scenario, edge, structure, world), pooled over models and draws."""

    place: str
    method: str
    world: str  # its structure, and what else tells it from other worlds of the same results
    rows: list[Row]
    failed: list[Row]
    scores: Scores | None  # success with failed cells as ones without any, all else without them; None if all failed
    designs: Designs = dataclasses.field(default_factory=dict)  # design effects, over all methods of its place

    @property
    def row(self) -> Row:
        """One of its rows, for what all of them have in common."""
        return [*self.rows, *self.failed][0]

    @property
    def family(self) -> str:
        """The method without its settings."""
        return str(self.row["method"])

    @property
    def settings(self) -> dict[str, Any]:
        """The method's settings."""
        found: dict[str, Any] = self.row["settings"]
        return found

    @property
    def precision(self) -> str | None:
        """In which precision the method trained, if it says so."""
        return next((precision_of(row) for row in self.rows), None)

    @property
    def edits(self) -> int:
        """How many edits were scored."""
        return sum(len(row["units"]) for row in self.rows)

    @property
    def num_models(self) -> int:
        """How many models were scored."""
        return len({model_of(row) for row in self.rows})

    @property
    def seeds(self) -> str:
        """The seeds that were scored, and how many cells were not."""
        seeds = ", ".join(str(seed) for seed in sorted({row["seed"] for row in self.rows})) or "none"
        return seeds + (f" ({len(self.failed)} failed)" if self.failed else "")

    @property
    def models(self) -> str:
        """The models that were edited, separated by commas."""
        return ", ".join({model_of(row): row["model"] for row in [*self.rows, *self.failed]}.values())

    @property
    def seconds(self) -> dict[str, float] | None:
        """Mean seconds per edit; low and high are the quickest and slowest cell, no confidence interval.

        None where no cell ended, or one was edited elsewhere, where nobody knows.
        """
        if not self.rows or any(row["seconds"]["edit"] is None for row in self.rows):
            return None
        each = [row["seconds"]["edit"] / len(row["units"]) for row in self.rows]
        count = sum(len(row["units"]) for row in self.rows)
        total = sum(row["seconds"]["edit"] for row in self.rows)
        return {"value": total / count, "low": min(each), "high": max(each), "count": count}

    def score(self, name: str) -> Scores | None:
        """The pooled headline or measure of that name, or None where nothing was asked."""
        scores = self.scores or {}
        found = scores.get(name) or scores.get(MEASURES, {}).get(name)
        return found if found is not None and found["value"] is not None else None

    def kinds(self, name: str) -> dict[str, Scores]:
        """The pooled scores by probe kind under one of GROUPS."""
        found: dict[str, Scores] = (self.scores or {}).get(name) or {}
        return found


def summaries(rows: Sequence[Row]) -> list[Summary]:
    """One summary per method, settings and place, places and then methods in first-seen order.

    Worlds that differ in more than their seed are different places, since pooling them would average unlike tasks; so
    are models that know what is edited and models that know less of it, models that were trained in different
    precision or by recipes that differ in more than seeds, and versions of this code. A method in two precisions is
    two methods.
    """
    places: dict[str, list[Row]] = {}
    for row in rows:
        places.setdefault(as_json(_place(row)), []).append(row)
    place_names = _place_names([found[0] for found in places.values()])
    worlds = world_names(rows)
    had = _precisions(rows)
    method_names = _method_names(rows, had)
    result = []
    for place, found in zip(place_names, places.values(), strict=True):
        methods: dict[str, list[Row]] = {}
        for row in found:
            methods.setdefault(method_names[_method(row, had)], []).append(row)
        scored = {method: [row for row in cells if row["error"] is None] for method, cells in methods.items()}
        failed = {method: [row for row in cells if row["error"] is not None] for method, cells in methods.items()}
        counted = {method: attempted(good, failed[method]) for method, good in scored.items() if good}
        designs = designs_of([sample_of(some) for some in counted.values()])
        for method, cells in methods.items():
            result.append(
                Summary(
                    place=place,
                    method=method,
                    world=worlds[world_key(cells[0])],
                    rows=scored[method],
                    failed=failed[method],
                    scores=summarise(counted[method], designs=designs) if method in counted else None,
                    designs=designs,
                )
            )
    return result


def quality(summary: Summary) -> float:
    """Edit success and collateral accuracy in one number, their harmonic mean; 0 where one was not asked."""
    success, left = summary.score("edit_success"), summary.score("collateral_accuracy")
    if success is None or left is None or not success["value"] + left["value"]:
        return 0.0
    return float(2 * success["value"] * left["value"] / (success["value"] + left["value"]))


def by_place(found: Sequence[Summary]) -> list[tuple[str, list[Summary]]]:
    """The summaries of every place, places in first-seen order."""
    places: dict[str, list[Summary]] = {}
    for summary in found:
        places.setdefault(summary.place, []).append(summary)
    return list(places.items())


def as_json(value: object) -> str:
    """The value as JSON with sorted keys, so that equal values have equal text."""
    return json.dumps(value, sort_keys=True)


def _precisions(rows: Sequence[Row]) -> dict[str, str | None]:
    """The precision in which each method with its settings first gave scores."""
    had: dict[str, str | None] = {}
    for row in rows:
        if row["error"] is None:
            had.setdefault(as_json([row["method"], row["settings"]]), precision_of(row))
    return had


def _method(row: Row, had: Mapping[str, str | None]) -> str:
    """Equal for rows of one method, its settings and its precision, which a failed row does not know of itself."""
    precision = precision_of(row)
    if row["error"] is not None and precision is None:
        precision = had.get(as_json([row["method"], row["settings"]]))
    return as_json([row["method"], row["settings"], precision])


def _place(row: Row) -> dict[str, Any]:
    world = {name: value for name, value in row["world"].items() if name != "seed"} | draw_settings(row)
    return {name: row[name] for name in PLACE} | {"world": world | _of_model(row)}


def recall_of(row: Row) -> float | None:
    """The share of the edited table that the row's model knew before, in the first form; None where it is unknown."""
    by_edge = next(iter((row.get("recall") or {}).values()), None)
    found = by_edge.get(row["edge"]) if isinstance(by_edge, dict) else None
    return None if found is None else float(found)


def _partial_recall(row: Row) -> dict[str, Any]:
    """What tells a model that does not know its world from one that does: its recall in tenths, if below 0.95."""
    known = recall_of(row)
    return {} if known is None or known >= KNOWN else {"recall from": math.floor(known * 10) / 10}


def _of_model(row: Row) -> dict[str, Any]:
    return _partial_recall(row) | made_with(row)


def world_key(row: Row) -> str:
    """Equal for rows of worlds that differ in their seed only, taught alike to models that know as much of them."""
    return as_json([row["structure"], {k: v for k, v in row["world"].items() if k != "seed"} | _of_model(row)])


def world_names(rows: Sequence[Row]) -> dict[str, str]:
    """A name for every world key: its structure, and the fields that tell it from the others of that structure."""
    worlds = {world_key(row): row for row in rows}
    fields = {key: dict(json.loads(key)[1]) for key in worlds}
    names = {}
    for key, row in worlds.items():
        same = [fields[other] for other in worlds if worlds[other]["structure"] == row["structure"]]
        words = [f"{name} {fields[key][name]}" for name in _varying(same) if name in fields[key]]
        names[key] = ", ".join([row["structure"], *words])
    return names


def _varying(mappings: Sequence[dict[str, Any]]) -> list[str]:
    """The keys whose values are not the same in all mappings, in first-seen order."""
    keys = dict.fromkeys(key for mapping in mappings for key in mapping)
    return [key for key in keys if len({as_json(mapping.get(key)) for mapping in mappings}) > 1]


def _place_names(rows: Sequence[Row]) -> list[str]:
    """A name for the place of each row: its scenario, and what else tells the places apart."""
    places = [_place(row) for row in rows]
    varying = _varying([{k: v for k, v in place.items() if k != "world"} for place in places])
    words: dict[str, Callable[[Any], str]] = {
        "num_edits": lambda value: f"{value} {'edit' if value == 1 else 'edits'}",
        "edge": str,
        "structure": str,
        "relation": lambda value: "each draw's relation" if value is None else f"relation {value}",
    }
    names = [
        ", ".join([place["scenario"], *(words[key](place[key]) for key in words if key in varying)]) for place in places
    ]
    for name in [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        same = [index for index, other in enumerate(names) if other == name]
        fields = _varying([places[index]["world"] for index in same])
        for index in same:
            world = places[index]["world"]
            names[index] = ", ".join([name, *(f"{field} {world[field]}" for field in fields if field in world)])
    return names


def method_names(rows: Sequence[Row]) -> dict[str, str]:
    """A name for the method of every cell, which tells its settings from those of the others."""
    had = _precisions(rows)
    names = _method_names(rows, had)
    return {row["cell"]: names[_method(row, had)] for row in rows}


def _method_names(rows: Sequence[Row], had: Mapping[str, str | None]) -> dict[str, str]:
    """A name for every _method(): the method, and those settings that tell its variants apart.

    The precision is the one that it came to; what was asked for stands beside it where only that differs.
    """
    variants: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        variants.setdefault(row["method"], {})[_method(row, had)] = row["settings"]
    names: dict[str, str] = {}
    for method, found in variants.items():
        came_to = {key: {**settings, "precision": _came_to(key)} for key, settings in found.items()}
        varying = _varying(list(came_to.values()))
        for key, settings in came_to.items():
            chosen = [f"{name}={setting_text(settings[name])}" for name in varying if name in settings]
            name = f"{method} ({', '.join(chosen)})" if chosen else method
            names[key] = f"{name}, asked for {found[key].get('precision')}" if name in names.values() else name
    return names


def _came_to(key: str) -> str:
    return json.loads(key)[2] or "unknown"


def setting_text(value: Any) -> str:
    """A setting's value as it stands behind its name: 1+2 for a list of layers."""
    if isinstance(value, list) and value:
        return "+".join(setting_text(item) for item in value)
    return value if isinstance(value, str) else json.dumps(value)


def outcome_share(score: Scores, name: str) -> Scores | None:
    """The share of one outcome of a ripple kind, or None where no probe of it was right before."""
    found = score[name]
    return found if found is not None and found["value"] is not None else None
