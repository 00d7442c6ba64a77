"""Which models there are to play with: those given, or small ones that are taught here when they are wanted first."""

from __future__ import annotations

import dataclasses
import functools
import threading
from collections.abc import Sequence
from pathlib import Path

from behemoth_cli import pretrain
from behemoth_cli.playground.making import View, view_of
from behemoth_cli.playground.words import Words
from behemoth_data.forms import SURFACES
from behemoth_data.places import local_path
from behemoth_data.settings import check_known
from behemoth_editing import Checkpoint, Shared, load_checkpoint
from behemoth_editing.sweep.seen import load_of

RECIPE = "play"  # of the packaged ones


@dataclasses.dataclass(frozen=True)
class Taught:
    """A small model that is taught here: a world of the recipe, in the words of a surface, from fixed seeds."""

    text: str
    config: str  # of PRESETS
    surface: str


TAUGHT: dict[str, Taught] = {
    "nested": Taught("objects lie in nested objects, so that edits have consequences", "nested", "natural"),
    "correlated": Taught("two relations mostly agree, which is a habit and no rule", "correlated", "natural"),
    "independent": Taught("no fact tells of another; in invented words", "independent", "synthetic"),
}


class NotTaught(ValueError):
    """A model could not be taught; the command that teaches has said so in a line of its own, and ends with status."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


@dataclasses.dataclass(eq=False)
class Shelved:
    """A model with its world, which nobody edits in place, and what edits of it can share."""

    checkpoint: Checkpoint
    shared: Shared = dataclasses.field(default_factory=lambda: Shared(progress=False))

    @functools.cached_property
    def view(self) -> View:
        """What the model answers to the facts that pictures show."""
        return view_of(self.checkpoint)

    @functools.cached_property
    def words(self) -> dict[str, Words]:
        """The world's words on every surface that it can have, the model's own first."""
        own = self.checkpoint.corpus.grammar.lexicon.config.surface
        found = {}
        for surface in sorted(SURFACES, key=lambda name: name != own):
            words = Words(self.checkpoint.corpus, surface)
            if words.possible:
                found[surface] = words
        return found


class Shelf:
    """Models by their names; each is loaded once, and taught first if it is one of TAUGHT that is not there yet."""

    def __init__(self, given: Sequence[str] = (), folder: Path = Path("runs")) -> None:
        self.given, self.folder = tuple(dict.fromkeys(given)), folder
        self._loaded: dict[tuple[str, str | None], Shelved] = {}
        self._lock = threading.Lock()  # of the locks
        self._locks: dict[str, threading.Lock] = {}  # of each model, while it is loaded
        self._teaching = threading.Lock()  # which seeds torch's one generator of this process
        self._broken: set[str] = set()  # given models that could not be loaded when they were compared

    @property
    def names(self) -> list[str]:
        """What can be chosen, the first one first."""
        return list(self.given or TAUGHT)

    def is_ready(self, name: str) -> bool:
        """Whether the model need not be taught first."""
        return name in self.given or (self._place(name) / "config.json").is_file()

    def get(self, name: str, step: int | None = None) -> Shelved:
        """The model, or what it was after a step of its training that was kept.

        Raises: ValueError for a name or a step that there is not, or a model without a world; OSError for none.
        """
        check_known("model", name, self.names)
        at = f"step{step}" if step is not None else None
        if at is not None:
            check_known("step", step, self.steps(name))
        if (name, at) in self._loaded:
            return self._loaded[name, at]
        with self._lock:
            lock = self._locks.setdefault(name, threading.Lock())
        with lock:  # another model can be had meanwhile
            if (name, at) not in self._loaded:
                if not self.is_ready(name):
                    with self._teaching:
                        self._teach(name)
                place = name if name in self.given else str(self._place(name))
                local = local_path("model", place)
                found = (
                    load_checkpoint(str(local / (at or ""))) if local.is_dir() else load_checkpoint(place, revision=at)
                )
                self._loaded[name, at] = Shelved(found)
            return self._loaded[name, at]

    def steps(self, name: str) -> list[int]:
        """The steps of training whose models lie beside the last one, in order; none for a model of the Hub."""
        place = local_path("model", name) if name in self.given else self._place(name)
        names = [path.name.removeprefix("step") for path in place.glob("step*") if (path / "config.json").is_file()]
        return sorted(int(number) for number in names if number.isdigit())

    def by_load(self, name: str) -> list[str]:
        """The given models of this one's structure from the least to the most bits per parameter, this one too.

        None but itself where all carry alike, as those do that are taught here. Others that cannot be loaded are left
        out, and not tried again here: each page that opens would wait for them.
        """
        if name not in self.given:
            return [name]
        structure = self.get(name).checkpoint.corpus.world.config.structure
        found = {}
        for other in self.given:
            if other == name or other not in self._broken:
                try:
                    found[other] = self.get(other).checkpoint
                except (ValueError, OSError):
                    if other == name:
                        raise
                    self._broken.add(other)
        alike = {
            other: bits_per_parameter(c) for other, c in found.items() if c.corpus.world.config.structure == structure
        }
        return sorted(alike, key=lambda other: (alike[other], other)) if len(set(alike.values())) > 1 else [name]

    def _place(self, name: str) -> Path:
        return self.folder / f"{RECIPE}-{TAUGHT[name].config}"

    def _teach(self, name: str) -> None:
        """The folder of one of TAUGHT is a trained model; bars are shown by tqdm. Given again it goes on.

        Raises: NotTaught.
        """
        taught = TAUGHT[name]
        words = [f"recipes/{RECIPE}.yaml", "--configs", taught.config, "--lexicon.surface", taught.surface]
        try:
            pretrain.main([*words, "--output_dir", str(self.folder)], "behemoth play")
        except SystemExit as error:  # which would end the server, and the pages of all
            cause = error.__cause__ or error.__context__
            told = " ".join(str(cause).split()) if cause is not None else f"teaching ended with status {error.code}"
            status = error.code if isinstance(error.code, int) else 1
            raise NotTaught(f"model {name} could not be taught: {told}", status) from error


def bits_per_parameter(checkpoint: Checkpoint) -> float:
    """How full the model is: bits of its world's facts over its parameters beside the input embedding."""
    load = load_of(checkpoint)
    return float(load["bits"]) / float(load["parameters"])
