"""What a benchmark leaves: a table on the screen, and the same figures as JSON, part by part. It measures nothing."""

from __future__ import annotations

import dataclasses
import json
import platform
import re
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from behemoth_cli.cores import usable_cores
from behemoth_data.settings import check

# what: text; value: a number, or None where there is none; unit: text; note, where there is something to say: text;
# part: text, in rows that a later sitting need not measure again. Others may follow.
Row = dict[str, Any]

_PACKAGES = ("numpy", "pyarrow", "datasets", "torch", "transformers", "accelerate", "behemoth-bench")


class Figures:
    """The rows of a benchmark, which are in its output file from the moment that their part has ended."""

    def __init__(self, name: str, arguments: Any, free: Sequence[str] = ()) -> None:
        """Rows of an earlier sitting are read from `arguments.output`, unless that is empty or not there yet.

        Fields of `arguments` that are in `free` may differ between sittings, as parts are named by their values.
        Raises: ValueError if the file holds another benchmark, or one of other settings or another machine.
        """
        self._output, self._name, self._settings = arguments.output, name, dataclasses.asdict(arguments)
        self._rows: list[Row] = []
        if not self._output or not Path(self._output).exists():
            return
        wanted = json.loads(json.dumps(result(name, self._settings, [])))
        try:
            stored = json.loads(Path(self._output).read_text(encoding="utf-8"))
            differ = [
                (place, stored[where][place], wanted[where][place])
                for where in ("machine", "settings")
                for place in wanted[where]
                if place not in (*free, "output") and stored[where].get(place) != wanted[where][place]
            ]
            found = stored["benchmark"]
            self._rows = [row for row in stored["figures"] if "part" in row]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"output must be new or hold figures of a benchmark, got {self._output}") from error
        check(found == name, f"output must be new or hold figures of the benchmark {name}, got those of {found!r}")
        for place, there, here in differ:
            raise ValueError(f"output {self._output} has figures of {place} {there!r}, got {here!r}; use another file")

    def part(self, name: str, work: Callable[[], list[Row]]) -> list[Row]:
        """The rows of this part: those of an earlier sitting, or what `work` returns, which are stored."""
        found = [row for row in self._rows if row["part"] == name]
        if not found:
            found = [{"part": name, **row} for row in work()]
            self._rows += found
            if self._output:
                write(self._output, result(self._name, self._settings, self._rows))
        return found


def result(name: str, settings: dict[str, Any], rows: Sequence[Row]) -> dict[str, Any]:
    """All that is stored of a benchmark."""
    return {"benchmark": name, "machine": _machine(), "settings": settings, "figures": list(rows)}


def write(output: str, found: dict[str, Any]) -> None:
    """The file holds the result as JSON; a kill leaves what was there before."""
    partial = Path(f"{output}.partial")
    partial.parent.mkdir(parents=True, exist_ok=True)
    partial.write_text(json.dumps(found) + "\n", encoding="utf-8", newline="\n")
    partial.replace(output)


def table(rows: Sequence[Row]) -> str:
    """A line for each row: what it is, its number with its unit, and its note."""
    width = max((len(row["what"]) for row in rows), default=0)
    return "\n".join(
        f"{row['what']:{width}}  {_number(row['value']):>12} {row['unit']:11} {row.get('note', '')}".rstrip()
        for row in rows
    )


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _processor() -> str:
    """The processor's name as Linux knows it, else as Python does."""
    info = Path("/proc/cpuinfo")
    names = (
        re.findall(r"^model name\s*: (.+)$", info.read_text(encoding="utf-8"), re.MULTILINE) if info.exists() else []
    )
    return names[0] if names else platform.processor()


def _machine() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "cores": usable_cores(),
        "machine": platform.machine(),
        "processor": _processor(),
        **{name: version(name) for name in _PACKAGES},
    }
