"""What a method is called on the board, which depends on the level: each level has settings of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from behemoth_editing.bench.floors import FLOORS
from behemoth_editing.methods import METHODS
from behemoth_editing.methods.contract import EditMethod
from behemoth_editing.report.summaries import method_names, setting_text
from behemoth_editing.sweep.plain import plain
from behemoth_editing.sweep.rows import Row

Tuned = Mapping[
    str, Mapping[str, EditMethod]
]  # level -> name -> the method with the level's settings, where it has any
Names = Callable[[str, Row], str]  # level, row -> name


def names_at(rows: Sequence[Row], tuned: Tuned) -> Names:
    """A function to the name of a row's method.

    With the settings of its level it is the bare name; a method of ours with its defaults where those are others is
    untuned, and any other is told by the settings in which it differs from its defaults.
    """
    defaults = {name: plain(cls()) for name, cls in {**METHODS, **FLOORS}.items()}
    others = method_names(rows)

    def name(level: str, row: Row) -> str:
        method, settings = row["method"], row["settings"]
        if method not in defaults:
            return others[row["cell"]]
        own = tuned.get(level, {}).get(method)
        default = defaults[method]
        if settings == (default if own is None else plain(own)):
            return str(method)
        if settings == default:
            return f"{method}, untuned"
        changed = [field for field, value in settings.items() if value != default.get(field)]
        return f"{method} ({', '.join(f'{field}={setting_text(settings[field])}' for field in changed)})"

    return name
