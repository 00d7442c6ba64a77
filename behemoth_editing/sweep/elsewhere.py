"""Models that were edited elsewhere -> result rows of the same form, which say so. No edit is made here."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm
from transformers import PreTrainedModel

from behemoth_data.edits import EditConfig, EditSet
from behemoth_data.scenarios import draw
from behemoth_data.settings import check, digest
from behemoth_editing.checkpoint import Checkpoint
from behemoth_editing.foreign import load_edited
from behemoth_editing.given import sets_of
from behemoth_editing.sweep.plain import plain
from behemoth_editing.sweep.rows import RESULTS, Row, append_row, read_rows
from behemoth_editing.sweep.seen import Draw, Seen, asked, row_before, scored, seen, versions

_LONGEST = 80  # letters of a method's name or its source, which tables show


@dataclasses.dataclass(frozen=True, kw_only=True)
class Maker:
    """What somebody says of an edit: by which method it was made, with which settings, and by what or whom."""

    method: str
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    source: str = ""

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        for field in ("method", "source"):
            text = getattr(self, field)
            check(
                isinstance(text, str) and text.isprintable() and len(text) <= _LONGEST,
                f"{field} must be text of at most {_LONGEST} letters in one line, got {text!r}",
            )
        check(bool(self.method.strip()), f"method must be named, got {self.method!r}")
        check(isinstance(self.settings, Mapping), f"settings must be an object, got {self.settings!r}")

    @property
    def label(self) -> str:
        """What tables call it: never the name of a method that was run here."""
        return f"{self.method} (elsewhere: {self.source})" if self.source else f"{self.method} (elsewhere)"


@dataclasses.dataclass(frozen=True, eq=False)
class Outside:
    """A row to be: edited models, and the sets of one draw, or of edits that somebody listed, which each holds."""

    original: Checkpoint
    maker: Maker
    config: EditConfig
    holds: tuple[tuple[EditSet, ...], ...]  # by model
    weights: tuple[str, ...]  # digests, by model
    places: tuple[str, ...] = ()  # where the models lie; none for models in memory

    @functools.cached_property
    def _drawn(self) -> list[Any]:
        return [tuple(edits) for edits in draw(self.original.corpus.world, self.config)]

    @functools.cached_property
    def numbers(self) -> list[list[int]] | None:
        """The places of the sets in their draw, by model; None for edits that somebody listed."""
        held = [[edit_set.edits for edit_set in sets] for sets in self.holds]
        if any(edits not in self._drawn for sets in held for edits in sets):
            return None
        return [[self._drawn.index(edits) for edits in sets] for sets in held]

    def first(self, number: int) -> int:
        """The number of the first edit that a model holds, in its draw."""
        if self.numbers is None:
            return sum(len(edit_set.edits) for sets in self.holds[:number] for edit_set in sets)
        return sum(len(edits) for edits in self._drawn[: self.numbers[number][0]])

    @property
    def listed(self) -> list[Any] | None:
        """The edits, where no draw gives them."""
        edits = [plain(edit) for sets in self.holds for edit_set in sets for edit in edit_set.edits]
        return edits if self.numbers is None else None

    @property
    def edits(self) -> dict[str, Any]:
        """How the edits were drawn, as rows have it, with a digest of those that were not."""
        given = {} if self.listed is None else {"given": digest(self.listed)}
        return dataclasses.asdict(self.config) | given

    @functools.cached_property
    def cell(self) -> str:
        """16 hex digits, as a cell's id: of the models, the edits, what is said of them, and this code."""
        said = plain([self.maker.method, self.maker.settings, self.maker.source])
        model = [self.original.weights, self.original.corpus.digest, list(self.weights)]
        return digest([*model, said, self.edits, self.numbers, versions()["behemoth"]])

    def row(self, command: str | None = None) -> Row:
        """What is known before the models are asked."""
        row = row_before(
            self.original,
            self.config,
            cell=self.cell,
            method=self.maker.label,
            settings=self.maker.settings,
            command=command,
        )
        told = {
            "method": self.maker.method,
            "source": self.maker.source,
            "models": list(self.places),
            "sets": self.numbers,
            "edits": self.listed,
        }
        return {**row, "edits": self.edits, "elsewhere": plain(told)}

    def results(self, models: Iterable[PreTrainedModel], known: dict[int, Draw] | None = None) -> Row:
        """The fields of the row that these models give, one by one.

        `known` has what the original said to sets before.
        """
        started = time.perf_counter()
        known = {} if known is None else known
        found: list[Seen] = []
        for number, (sets, edited) in enumerate(zip(self.holds, models, strict=True)):
            if id(sets) not in known:
                known[id(sets)] = asked(self.original, sets)
            found.append(seen(self.original.model, edited, known[id(sets)], self.first(number)))
        retained = [{kind: len(facts) for kind, facts in one.retain.items()} for sets in self.holds for one in sets]
        row = scored(self.original.weights, found)
        row |= {"seconds": {"edit": None, "shared": None, "score": time.perf_counter() - started}}
        return dict(plain(row | {"retained": retained}))

    def again(self, known: dict[int, Draw] | None = None) -> Row:
        """The same of the models where they lie."""
        return self.results((load_edited(place, self.original).model for place in self.places), known)


Said = tuple[str | None, Mapping[str, Any] | None, str | None]  # of a Maker, as far as somebody says it


def planned(
    original: Checkpoint,
    places: Sequence[str],
    said: Sequence[Said],
    sets: tuple[EditSet, ...] | None = None,
    *,
    progress: bool = True,
) -> list[Outside]:
    """The rows that edited models will have; each is read once, so that none is refused when others are scored.

    With `sets`, of one draw, every model holds them all, but for a draw of `single`: then each model in turn holds the
    next of them, and as many as there are make one row. Without, models say themselves what they hold, as
    save_edited() writes it, and those of one draw of `single` make one row.
    Raises: ValueError for a model that is not the original with changed weights, or that does not say what it holds.
    """
    rows: list[Outside] = []
    own: dict[str, list[tuple[Outside, int]]] = {}
    apart = [(one,) for one in sets or ()] if sets and sets[0].config.scenario == "single" else [sets or ()]
    check(
        len(places) % len(apart) == 0,
        f"edited must name a model for each of the {len(apart)} sets of the draw, got {len(places)}",
    )
    group: list[tuple[str, str]] = []
    for place, words in zip(tqdm(places, "reading", unit="model", disable=not progress), said, strict=True):
        edited = load_edited(place, original)
        if sets:
            group.append((place, edited.weights))
            if len(group) == len(apart):
                where, weights = zip(*group, strict=True)
                maker = _maker(place, words, edited.steps[-1] if len(edited.steps) == 1 else {})
                rows.append(Outside(original, maker, sets[0].config, tuple(apart), weights, where))
                group = []
            continue
        check(
            len(edited.steps) == 1,
            f"edited must say which edits it holds since {original.name}, as `behemoth edit --save_models` writes it, "
            f"got {place} with {len(edited.steps)} steps: name them by --scenario or --edits",
        )
        held, maker = sets_of(original, edited.steps[0]), _maker(place, words, edited.steps[0])
        one = Outside(original, maker, held[0].config, (held,), (edited.weights,), (place,))
        if one.numbers is None or one.config.scenario != "single":
            rows.append(one)
        else:
            key = digest(plain([maker.label, maker.settings, one.edits]))
            own.setdefault(key, []).append((one, one.numbers[0][0]))
    return rows + [_together(group) for group in own.values()]


def _maker(place: str, said: Said, step: Mapping[str, Any]) -> Maker:
    """Who made it, by what was said or else by what the model says itself."""
    method, settings, source = said
    method = method or step.get("method")
    check(method is not None, f"method must be named for a model that does not say it, {place}")
    if settings is None:
        settings = step.get("settings") or {}
    return Maker(method=str(method), settings=settings, source=source or "")


def _together(found: Sequence[tuple[Outside, int]]) -> Outside:
    """One row of models that each hold one set of the same draw. Raises: ValueError for two that hold the same one."""
    ordered = sorted(found, key=lambda pair: pair[1])
    numbers = [number for _, number in ordered]
    twice = [one.places[0] for one, number in ordered if numbers.count(number) > 1]
    check(not twice, f"edited must each hold another set of one draw, got the same in {', '.join(twice[:2])}")
    first = ordered[0][0]
    return dataclasses.replace(
        first,
        holds=tuple(one.holds[0] for one, _ in ordered),
        weights=tuple(one.weights[0] for one, _ in ordered),
        places=tuple(one.places[0] for one, _ in ordered),
    )


def unscored(rows: Sequence[Outside], output: Path) -> list[Outside]:
    """Those that `output` has no row for. Raises: ValueError as check_apart() does."""
    left = set(check_apart([one.row() for one in rows], output))
    return [one for one in rows if one.cell in left]


def check_apart(rows: Sequence[Row], output: Path) -> list[str]:
    """The cells of those rows that `output` does not have.

    Raises: ValueError for two that a report could not tell apart: same original, draw, method, settings and source.
    """
    path = output / RESULTS
    there = [row for row in read_rows(path).values() if row["error"] is None] if path.is_file() else []
    taken = {_question(row): row["cell"] for row in there}
    for row in rows:
        first = taken.setdefault(_question(row), row["cell"])
        check(
            first == row["cell"],
            "settings must tell models of one method, source and draw apart, got another one of "
            f"{row['method']} with settings {row['settings']}, {', '.join(row['elsewhere']['models'])}",
        )
    done = {row["cell"] for row in there}
    return [cell for cell in dict.fromkeys(row["cell"] for row in rows) if cell not in done]


def _question(row: Row) -> str:
    """Equal for rows that count as one and the same in a report."""
    parts = [row["method"], row["settings"], row["edits"], row["weights"]["before"], row["versions"]["behemoth"]]
    return digest(plain(parts))


def save_rows(rows: Sequence[Row], output: Path) -> None:
    """`output`/results.jsonl has the rows, each once. Raises: ValueError as check_apart() does."""
    left = check_apart(rows, output)
    output.mkdir(parents=True, exist_ok=True)
    for cell in left:
        append_row(output / RESULTS, next(row for row in rows if row["cell"] == cell))


def score_outside(
    rows: Sequence[Outside], output: Path, *, command: str | None = None, progress: bool = True
) -> list[Row]:
    """A row for each, appended to `output`/results.jsonl as it is known."""
    output.mkdir(parents=True, exist_ok=True)
    known: dict[int, Draw] = {}
    made: list[Row] = []
    for one in tqdm(rows, "scoring", unit="row", disable=not progress):
        made.append(one.row(command) | one.again(known))
        append_row(output / RESULTS, made[-1])
    return made
