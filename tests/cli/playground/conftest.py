"""What the playground's tests share: the session's small nested model, on a shelf."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from behemoth_cli.playground.shelf import Shelf, Shelved
from behemoth_data import CorpusConfig, LexiconConfig, WorldConfig, build


@pytest.fixture(scope="session")
def shelf(trained: Path) -> Shelf:
    """A shelf with the one model."""
    return Shelf([str(trained)])


@pytest.fixture(scope="session")
def shelved(shelf: Shelf) -> Shelved:
    """The model; nobody may change it."""
    return shelf.get(shelf.names[0])


@pytest.fixture(scope="module")
def served(shelf: Shelf) -> Iterator[tuple[Any, str]]:
    """The playground over the shelf, with its address."""
    from behemoth_cli.playground.page import Playground, launch  # with gradio, which most tests here do without

    playground = Playground(shelf)
    page, address = launch(playground, "127.0.0.1", None)
    yield playground, address
    page.close()


@pytest.fixture(scope="session")
def natural_corpus():
    """A nested world in English names, with questions."""
    world = WorldConfig(num_subjects=30, num_relations=2, num_objects=8, num_nested_objects=4, seed=3)
    corpus = CorpusConfig(repeats=4, inversion_fraction=0.5, question_fraction=0.2)
    return build(world, LexiconConfig(surface="natural"), corpus)
