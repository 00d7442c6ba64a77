"""Models that were edited elsewhere -> result rows of the same form, which say so. No edit is made here."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Iterable, Mapping
from typing import Any

from transformers import PreTrainedModel

from behemoth_data.edits import EditConfig, EditSet
from behemoth_data.scenarios import draw
from behemoth_data.settings import check, digest, told
from behemoth_editing.checkpoint import Checkpoint
from behemoth_editing.foreign import load_edited
from behemoth_editing.sweep.plain import plain
from behemoth_editing.sweep.rows import Row
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
        try:
            return [tuple(edits) for edits in draw(self.original.corpus.world, self.config)]
        except ValueError:  # of edits that somebody listed there may be more than a draw offers
            return []

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
        return told(self.config) | given

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
