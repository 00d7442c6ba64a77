"""The shell commands that make results again."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Iterable, Sequence

from behemoth_data.edits import EditConfig
from behemoth_data.scenarios import RELATION_SCENARIOS
from behemoth_editing.methods import METHODS
from behemoth_editing.report.pooling import draw_settings
from behemoth_editing.report.summaries import as_json
from behemoth_editing.sweep.identity import model_of, shown_place
from behemoth_editing.sweep.rows import Row

_MODELS_SHOWN = 40  # a command with more would be no use to anyone


def commands_for(rows: Sequence[Row], folders: Sequence[str], output: str) -> list[str]:
    """The shell commands that make the results of each kind of edit again, and then this report.

    Settings that were swept have all their values: a command makes every combination, and so at least what is shown.
    Models that were edited elsewhere are scored again where they lie; those that lay in memory only are left out. What
    no listed method made, such as a benchmark's floors, has the command that its rows say they were asked for by.
    Folders that are not below the one where commands are given go by their names.
    """
    elsewhere = [row for row in rows if row.get("elsewhere")]
    rows = [row for row in rows if not row.get("elsewhere")]
    asked_for = [row["command"] for row in rows if _is_strange(row)]
    rows = [row for row in rows if not _is_strange(row)]
    folders = [shown_place(folder) for folder in folders]
    groups: dict[str, list[Row]] = {}
    for row in rows:
        key = [row["structure"], row["edge"], row["relation"], row["num_edits"], row["method"]]
        groups.setdefault(as_json(key), []).append(row)
    merged: dict[str, dict[str, Iterable[object]]] = {}
    for found in groups.values():
        first = found[0]
        draws = draw_settings(first)
        options: dict[str, Iterable[object]] = {
            "model": list({model_of(row): shown_place(row["model"]) for row in found}.values())[:_MODELS_SHOWN],
            "scenarios": dict.fromkeys(row["scenario"] for row in found),
            "sweep.edge": [first["edge"]] if first["edge"] != "subject_object" else [],
            "sweep.relation": [first["relation"]] if first["relation"] else [],
            "sweep.num_edits": [first["num_edits"]] if first["scenario"] not in RELATION_SCENARIOS else [],
            **{
                f"sweep.{name}": [_word(value)]
                for name, value in draws.items()
                if value != getattr(EditConfig(), name, value)
            },
            "seeds": sorted({row["seed"] for row in found}),
        }
        same = merged.setdefault(as_json({name: list(values) for name, values in options.items()}), {**options})
        same["methods"] = [*same.get("methods", []), first["method"]]
        same.update(_swept(found))
    report = shlex.join(["behemoth", "report", *folders])
    edits = []
    for options in merged.values():
        folder = {"output_dir": folders if len(folders) == 1 else []}
        ordered = {"model": options.pop("model"), "methods": options.pop("methods"), **options, **folder}
        edits.append(_command("behemoth edit", ordered))
    edits += [_scored(row, folders) for row in elsewhere if row["elsewhere"]["models"]]
    return [*dict.fromkeys(asked_for), *edits, _command(report, {"output_dir": [shown_place(output)]})]


def _is_strange(row: Row) -> bool:
    """Whether no listed method made the row, and it says by which command it was asked for."""
    return row["method"] not in METHODS and bool(row.get("command"))


def _scored(row: Row, folders: Sequence[str]) -> str:
    """The command that scores models again that were edited elsewhere, on the edits that they are said to hold."""
    told, draws = row["elsewhere"], {"scenario": row["scenario"], "seed": row["seed"]}
    draws |= {f"sweep.{name}": row["edits"][name] for name in ("edge", "relation", "num_edits")}
    draws |= {f"sweep.{name}": value for name, value in draw_settings(row).items() if name != "given"}
    plain = {"seed": 0, **{f"sweep.{name}": value for name, value in dataclasses.asdict(EditConfig()).items()}}
    # A part of the edits of a draw is what the models say themselves that they hold.
    whole = told["edits"] is None and (row["scenario"] != "single" or len(told["models"]) == row["num_edits"])
    options: dict[str, Iterable[object]] = {
        "original": [shown_place(row["model"])],
        "edited": [shown_place(place) for place in told["models"]],
        "method": [told["method"]],
        "settings": [as_json(row["settings"])],
        "source": [told["source"]] if told["source"] else [],
        "edits": ["EDITS.json"] if told["edits"] else [],  # which the row has
        **{name: [value] for name, value in draws.items() if whole and value != plain.get(name)},
        "output_dir": folders if len(folders) == 1 else [],
    }
    return _command("behemoth score", options)


def _swept(rows: Sequence[Row]) -> dict[str, list[object]]:
    """The options of one method's settings that are not its defaults, each with all its values."""
    method = METHODS.get(rows[0]["method"])
    if method is None:
        return {}
    plain = json.loads(as_json(dataclasses.asdict(method())))  # type: ignore[call-overload]
    options = {}
    for name, default in plain.items():
        values = {as_json(row["settings"].get(name, default)): row["settings"].get(name, default) for row in rows}
        if list(values) != [as_json(default)]:
            options[f"{rows[0]['method']}.{name}"] = list[object](map(_word, values.values()))
    return options


def _word(value: object) -> str:
    """A setting's value as one word of a command line."""
    return "none" if value is None else ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _command(start: str, options: dict[str, Iterable[object]]) -> str:
    """The shell command with one option to a line; options without values are left out."""
    words = [[f"--{name}", *map(str, values)] for name, values in options.items()]
    return " \\\n    ".join([start, *(shlex.join(some) for some in words if len(some) > 1)])
