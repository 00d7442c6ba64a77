"""What `behemoth locate` consists of: models whose late facts are each in a layer of its own. It trains nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from behemoth_cli.edit import SECTIONS as SWEEP_SECTIONS
from behemoth_cli.recipe_files import recipe_path, yaml_mapping
from behemoth_cli.study_plan import Model, models_of, section_of, sweep_of
from behemoth_cli.train import SECTIONS as MODEL_SECTIONS
from behemoth_data import build
from behemoth_data.corpus import Corpus
from behemoth_data.edits import EditConfig
from behemoth_data.settings import check, check_known, digest
from behemoth_editing import EditMethod
from behemoth_editing.locating.late import Late, LateConfig, late_edits, late_facts
from behemoth_editing.locating.placing import LocateConfig, at_layer
from behemoth_editing.sweep.plain import plain
from behemoth_models.config import TrainConfig
from behemoth_models.sizes import SHAPES

BEGUN, PLACED = "begun", "placed"  # parts: models that were told nothing late, and those that were


@dataclasses.dataclass(frozen=True)
class Beginning:
    """A model that is told nothing late: the never-told twin of those that are."""

    model: Model
    late: LateConfig

    @property
    def name(self) -> str:
        """That of the file of what is read in it."""
        return self.model.name

    @property
    def folder(self) -> str:
        """The name of the folder for it and for the models that begin with it."""
        return self.model.folder(self.late)

    def id_in(self, part: str) -> str:
        """That of all settings and the version of this code."""
        return digest([part, self.folder])

    def facts(self) -> Late:
        """The facts that are told late and those that are not, in the corpus of the first training."""
        return late_facts(build(self.model.world, self.model.lexicon, self.model.corpus), self.late)


@dataclasses.dataclass(frozen=True)
class Placed:
    """A model that was told the late facts into one layer, and what is read in it."""

    beginning: Beginning
    layer: int
    locate: LocateConfig
    methods: tuple[tuple[str, EditMethod], ...]
    draw: EditConfig

    @property
    def name(self) -> str:
        """That of the file of what is read in it."""
        return f"{self.beginning.name}-layer{self.layer}"

    @property
    def folder(self) -> str:
        """The folder of the model that it begins with, which has its own."""
        return self.beginning.folder

    def id_in(self, part: str) -> str:
        """That of all settings and the version of this code."""
        methods = [(name, plain(method)) for name, method in self.methods]
        return digest([part, self.folder, self.layer, self.locate, methods, self.draw])

    def lesson(self) -> tuple[Corpus, TrainConfig]:
        """The corpus and the recipe of the second training."""
        model, late = self.beginning.model, self.beginning.late
        corpus = build(model.world, model.lexicon, dataclasses.replace(model.corpus, repeats=late.repeats))
        return corpus, dataclasses.replace(model.train, learning_rate=late.learning_rate)


def read_locate(path: str, prog: str = "behemoth locate") -> list[Placed]:
    """The models of a recipe, one for each of its models and layers.

    Raises: ValueError, or SystemExit with status 2 after one line on standard error, for a file that is no such
    recipe, or anything in it that is unknown or out of bounds.
    """
    recipe = yaml_mapping(path, recipe_path(path, "locate*.yaml", "a YAML file of behemoth locate"))
    for section in recipe:
        check_known(f"section of {path}", section, ["models", "late", "locate", *MODEL_SECTIONS, *SWEEP_SECTIONS])
    late: LateConfig = section_of(LateConfig, recipe.get("late"))
    locate: LocateConfig = section_of(LocateConfig, recipe.get("locate"))
    methods, draws = sweep_of(recipe, prog)
    check(len(draws) == 1, f"sweep must name 1 draw of edits, got {len(draws)}")
    for method in methods:
        _ = at_layer(method, late.layers[0])  # which not every method has
    named = tuple(_named(methods))
    beginnings = [Beginning(model, late) for model in models_of(recipe, prog)]
    return [Placed(beginning, layer, locate, named, draws[0]) for beginning in beginnings for layer in late.layers]


def _named(methods: Sequence[EditMethod]) -> Iterator[tuple[str, EditMethod]]:
    """Each method by its name and, where it is compared with other settings of it, what differs."""
    for method in methods:
        alike = [plain(one) for one in methods if one.name == method.name]
        differs = [key for key in alike[0] if any(one[key] != alike[0][key] for one in alike)]
        values = ", ".join(str(plain(method)[key]) for key in differs)
        yield f"{method.name} ({values})" if differs else method.name, method


def check_models(placed: Sequence[Placed]) -> None:
    """Raises: ValueError for the first model whose world has not what is edited in it. Trains nothing."""
    for one in placed:
        try:
            size = one.beginning.model.train.size
            count = SHAPES[size].num_layers
            check(0 <= one.layer < count, f"layers must lie in [0, {count}), the layers of a {size}, got {one.layer}")
            facts = one.beginning.facts()
            late_edits(facts, one.draw)
            one.lesson()
        except ValueError as error:
            raise ValueError(f"{one.name}: {error}") from error
