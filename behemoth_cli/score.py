"""Score models that were edited elsewhere: behemoth score --original runs/NAME --edited FOLDER [FOLDER ...].

An edited model is a folder or Hub id that transformers loads, a safetensors file (or a folder of them) with the
weights that changed, or a folder of a peft adapter. It is asked about the edits of a draw (--scenario, --seed and the
section sweep, as behemoth edit draws them), of a file (--edits), or else those that its own config.json tells of, and
gets a result row as one of ours, which says that it was edited elsewhere. Running the same command again does what is
missing.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from behemoth_cli.sections import sections
from behemoth_cli.settings import Options, combinations, one_line_errors, parse, place
from behemoth_data.edits import SCENARIOS, EditConfig
from behemoth_data.settings import check, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoreArguments:
    """Which models are scored on which edits, and what their maker says of them."""

    original: str = place("runs/tiny-nested", "folder or Hub id of the model that was edited")
    edited: list[str] = place([], "edited models: folders, Hub ids, safetensors files; of `single`, one for each edit")
    edits: str | None = place(
        None, "JSON file of the edits that every model holds: a list of {subject, relation, new_object}, words or ids"
    )
    scenario: str | None = setting(
        None, f"draw of the edits that every model holds: {', '.join(SCENARIOS)}; none: what each model says itself"
    )
    seed: int = setting(0, "seed of that draw")
    method: list[str] = setting([], "how it was edited, one name for all or one for each; none: what the model says")
    settings: list[str] = setting([], "that method's settings, a JSON object for all or one for each")
    source: list[str] = setting([], "what made the edit, such as a tool and its version, for all or for each")
    output_dir: str = place("results/elsewhere", "folder for results.jsonl; one that behemoth edit wrote will do")
    allow_edited: bool = setting(False, "take an original that was edited before; by default it is refused")


def options(prog: str = "behemoth score") -> Options:
    """What the command line takes."""
    return Options(
        {"": ScoreArguments}, sections("sweep"), prog=prog, description=__doc__, usage="[--option value ...]"
    )


def main(argv: Sequence[str] | None = None, prog: str = "behemoth score") -> None:
    """Scores the models that have no row yet, prints the table of all results and where they are.

    Raises: SystemExit with status 2 for bad settings or a model that is not the original with changed weights, 1 for
    a disk that fails, after one line on standard error.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    arguments, sweep = parse(options(prog), words, recipe={})
    from behemoth_cli.score_runner import run_scores  # with torch, which help does without

    with one_line_errors(prog):
        run_scores(
            arguments, chosen_draw(arguments, sweep), said_of(arguments), shlex.join(["behemoth", "score", *words])
        )


def chosen_draw(arguments: ScoreArguments, sweep: Any) -> EditConfig | None:
    """The draw that was asked for, if one was. Raises: ValueError for several, or one beside a file of edits."""
    draws = combinations(EditConfig, sweep, scenario=[arguments.scenario or "single"], edit_seed=[arguments.seed])
    check(len(draws) == 1, f"sweep must have one value for each option, got {len(draws)} combinations")
    asked = draws[0] != EditConfig() or arguments.scenario is not None
    check(
        not asked or arguments.scenario is not None,
        f"scenario must be one of {', '.join(SCENARIOS)} where seed or options of sweep are given, got none",
    )
    check(not (asked and arguments.edits), f"edits must be left out where a scenario is given, got {arguments.edits}")
    return draws[0] if asked else None


def said_of(arguments: ScoreArguments) -> list[tuple[str | None, Mapping[str, Any] | None, str | None]]:
    """Method, settings and source of every edited model, as far as they are given.

    Raises: ValueError for a number of values that is neither 1 nor that of the models, or settings that are no object.
    """
    count = len(arguments.edited)
    check(count >= 1, "edited must name at least 1 model, got none")
    columns = []
    for name in ("method", "settings", "source"):
        given: list[Any] = getattr(arguments, name) or [None]
        check(len(given) in (1, count), f"{name} must have 1 value or {count}, one for each model, got {len(given)}")
        columns.append(given * count if len(given) == 1 else given)
    return [
        (method, None if settings is None else _object(settings), source)
        for method, settings, source in zip(*columns, strict=True)
    ]


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"settings must be a JSON object, such as '{{\"layer\": 3}}', got {text!r}")
    return found


def listed_in(path: str) -> Any:
    """What a file of edits holds. Raises: ValueError for a file that is no JSON, OSError for one that is not there."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"edits must be a file of JSON, got {path}: {error}") from error


if __name__ == "__main__":
    main()
