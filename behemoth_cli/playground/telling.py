"""The same in other words: Python lines, a command, a link, and tables of what was counted. Text; no model."""

from __future__ import annotations

import dataclasses
import difflib
import json
import shlex
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

from behemoth_cli.playground.making import Made, Wish
from behemoth_data.settings import check, check_known, whole
from behemoth_editing import METHODS
from behemoth_editing.methods.contract import EditMethod
from behemoth_editing.report.text import share
from behemoth_editing.scoring.scores import FIRST, MEASURES, by_kind

MOST_LETTERS = 4000  # of a link's state
_ALIKE = 0.8  # a part of a link that is as like one of ours is a slip, and nobody else's


@dataclasses.dataclass(frozen=True, kw_only=True)
class State:
    """All that a page shows and can be brought back to."""

    model: str = ""
    step: int | None = None
    surface: str = "natural"
    wish: Wish = dataclasses.field(default_factory=Wish)
    settings: Mapping[str, str] = dataclasses.field(default_factory=dict)  # of the method, as texts
    made: bool = False  # whether the edit is to be made at once


_NUMBERS = ("head", "relation", "new_tail", "num_edits", "edit_seed")


def query_of(state: State) -> str:
    """The state as the query of a link: settings of the method begin with its name."""
    wish = dataclasses.asdict(state.wish)
    fields = {"model": state.model, "step": state.step, "surface": state.surface, **wish}
    fields |= {f"{state.wish.method}.{name}": text for name, text in state.settings.items()}
    if state.made:
        fields["made"] = 1
    return urlencode({name: value for name, value in fields.items() if value is not None})


def state_of(query: str, *, foreign: bool = False) -> State:
    """The state that a query tells; parts that are like none of ours are left out where there may be foreign ones.

    Raises: ValueError that names a field, the bound and the value.
    """
    check(len(query) <= MOST_LETTERS, f"link must have at most {MOST_LETTERS} letters, got {len(query)}")
    given = dict(parse_qsl(query.lstrip("?"), keep_blank_values=True))
    method = given.get("method", Wish().method)
    settings = {name.partition(".")[2]: given.pop(name) for name in list(given) if name.startswith(f"{method}.")}
    wishes = [field.name for field in dataclasses.fields(Wish)]
    known = ["model", "step", "surface", "made", *wishes]
    for name in given:
        is_like_ours = name.partition(".")[0] in METHODS or difflib.get_close_matches(name, known, cutoff=_ALIKE)
        if is_like_ours or not foreign:
            check_known("part of a link", name, known)
    wish: dict[str, Any] = {name: given[name] for name in wishes if name in given}
    wish |= {name: _number(name, wish[name]) for name in _NUMBERS if name in wish}
    return State(
        model=given.get("model", ""),
        step=_number("step", given["step"]) if "step" in given else None,
        surface=given.get("surface", State().surface),
        wish=Wish(**wish),
        settings=settings,
        made=given.get("made") == "1",
    )


def _number(name: str, text: str) -> int:
    try:
        return whole(name, int(text))
    except ValueError as error:
        raise ValueError(f"{name} must be a whole number, got {text!r}") from error


def code_of(place: str, made: Made) -> str:
    """Python that makes the same edits and prints the same scores."""
    edits, edge, seed = made.edit_set.edits, made.edit_set.edge, made.wish.edit_seed
    listed = [
        {"subject": edit.fact.head, "relation": edit.fact.relation, "new_object": edit.new_tail, "edge": edge.label}
        for edit in edits
    ]
    content: Any = {"edits": listed, "draw": {"edit_seed": seed}}
    lines = ",\n        ".join(json.dumps(entry) for entry in content["edits"])
    return (
        "from behemoth_editing import METHODS, load_checkpoint, score\n"
        "from behemoth_editing.given import listed_set\n\n"
        f"checkpoint = load_checkpoint({place!r})\n"
        "edit_set = listed_set(checkpoint, {\n"
        f'    "draw": {{"edit_seed": {seed}}},\n'
        f'    "edits": [\n        {lines},\n    ],\n'
        "})\n"
        f"edited = METHODS[{made.method.name!r}]({arguments_of(made.method)})(checkpoint.model, edit_set).model\n"
        "print(score(checkpoint, edited, edit_set))\n"
    )


def attack_code(name: str) -> str:
    """Python that goes on where code_of() ends, and prints what the attack finds."""
    return f"from behemoth_editing.attacks import ATTACKS\nprint(ATTACKS[{name!r}]()(edited, edit_set).looks)"


def text_of(value: object) -> str:
    """A setting's value as the command line takes it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _changed(method: EditMethod) -> dict[str, Any]:
    """The settings that differ from the method's defaults."""
    default = type(method)()
    names = [field.name for field in dataclasses.fields(method)]  # type: ignore[arg-type]
    return {name: getattr(method, name) for name in names if getattr(method, name) != getattr(default, name)}


def settings_of(made: Made) -> dict[str, str]:
    """The settings that differ from the method's defaults, as texts."""
    return {name: text_of(value) for name, value in _changed(made.method).items()}


def with_setting(
    settings: dict[str, dict[str, str]], text: str, *, method: str, field: str, default: str
) -> dict[str, dict[str, str]]:
    """The settings with this one, or without it where it is the default."""
    own = {name: kept for name, kept in settings.get(method, {}).items() if name != field}
    if text.strip() and text.strip() != default:
        own[field] = text.strip()
    return {**settings, method: own}


def arguments_of(method: EditMethod) -> str:
    """The settings that differ from the method's defaults, as Python's arguments."""
    return ", ".join(f"{name}={value!r}" for name, value in _changed(method).items())


def command_of(place: str, state: State) -> str:
    """The command that makes the same edits without a page, and prints scores and row.

    The place is where the model lies, which of a kept step is the step's own.
    """
    query = query_of(dataclasses.replace(state, model=place, step=None, made=False))
    return shlex.join(["behemoth", "play", place, "--state", query])


@dataclasses.dataclass(frozen=True)
class Table:
    """Column heads and rows of texts."""

    heads: list[str]
    rows: list[list[str]]


def kinds_table(made: Made) -> Table:
    """Counts with their intervals, first those of the headline, then kind by kind."""
    scores = made.scored.scores
    told = {**scores.get(MEASURES, {}), **scores}
    rows = [[score.label, share(told.get(score.name)), _count(told.get(score.name))] for score in FIRST]
    rows += [
        [f"{score.label}: {kind.replace('_', ' ')}", share(number), _count(number)]
        for kind, score, number, _ in by_kind(scores)
    ]
    return Table(["what is counted", "share [95% interval]", "asked"], rows)


def _count(number: Mapping[str, Any] | None) -> str:
    return str((number or {}).get("count", "")) or "-"
