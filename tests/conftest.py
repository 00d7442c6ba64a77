"""What tests share: two small nested worlds, and a model that was taught each, once per session."""

import gc
import os
from pathlib import Path

import pytest
from filelock import FileLock

from behemoth_data import Corpus, CorpusConfig, WorldConfig, build

# Programs that tests start: to look for doctests in them, pytest would import them, and one registers a device.
collect_ignore = ["second_device.py", "on_second_device.py"]

NUM_TOKENS = 190  # of the small world's vocabulary before there were questions about candidates


def pytest_collection_finish() -> None:
    """What is there by now lives as long as the session: no search for garbage looks through it, nor do many search."""
    gc.freeze()
    gc.set_threshold(50_000, *gc.get_threshold()[1:])


@pytest.fixture(scope="session")
def small_corpus() -> Corpus:
    """A nested world of 80 subjects, in which an edit has every kind of consequence."""
    world = WorldConfig(num_subjects=80, num_relations=3, num_objects=20, num_nested_objects=5)
    # A vocabulary without the words of forms that came later: its model stays the one that the tests' numbers are of.
    return build(world, corpus=CorpusConfig(repeats=26, object_nested_upweight=2), num_tokens=NUM_TOKENS)


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of this session share, if pytest-xdist runs several."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def trained(small_corpus: Corpus, session_folder: Path) -> Path:
    """The folder of a model that knows the small world; tests must leave it as it is."""
    # Imported here, since the tests of behemoth_data do without torch.
    from behemoth_models.config import TrainConfig
    from behemoth_models.training import train

    folder = session_folder / "models" / "small-nested"
    # In one precision, so that it is nearly the same model on every machine: some tests' numbers are of this one.
    config = TrainConfig(size="10m", batch_size=128, learning_rate=1.5e-2, measurements=3, precision="fp32")
    with FileLock(session_folder / "small-nested.lock"):
        if not (folder / "config.json").is_file():
            report = train(small_corpus, config, folder, progress=False)
            worst = min(report["recall"]["statement"].values())
            assert worst >= 0.95, f"the shared model must know the world that tests edit, got {report['recall']}"
    return folder


@pytest.fixture(scope="session")
def checkpoint(trained: Path):
    """The trained model with its world, as the editing scripts load it; tests must leave it as it is."""
    from behemoth_editing.checkpoint import load_checkpoint

    return load_checkpoint(str(trained))


@pytest.fixture(scope="session")
def beginner(session_folder: Path):
    """A narrow model that was shown its own small world for a few steps, for claims about any model: it knows little.

    Tests must leave it as it is.
    """
    from behemoth_editing.checkpoint import load_checkpoint
    from behemoth_models.config import TrainConfig
    from behemoth_models.training import train

    world = WorldConfig(num_subjects=24, num_relations=2, num_objects=6, num_nested_objects=3)
    corpus = build(world, corpus=CorpusConfig(repeats=30, object_nested_upweight=2))
    folder = session_folder / "models" / "beginner"
    config = TrainConfig(size="3m", batch_size=48, learning_rate=1.5e-2, measurements=0, precision="fp32")
    with FileLock(session_folder / "beginner.lock"):
        if not (folder / "config.json").is_file():
            train(corpus, config, folder, progress=False)
    return load_checkpoint(str(folder))
