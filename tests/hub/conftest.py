"""What tests of publishing share: a Hub on this machine, and small things to put on it, made once."""

import importlib.util
import json
import logging
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

HERE = Path(__file__).resolve().parent
TOKEN = "hf_" + "T" * 34  # as long as a real one
OTHER = "hf_" + "U" * 34
SMALL = {"num_subjects": 30, "num_objects": 20, "repeats": 2, "edit_seeds": 1, "edits_per_set": 2}


def server_module():
    """tests/hub/server.py, which is no part of a package."""
    name = "hub_server"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, HERE / "server.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture
def token():
    """Alice's token."""
    return TOKEN


@pytest.fixture
def other_token():
    """Bob's token."""
    return OTHER


@pytest.fixture
def hub(tmp_path_factory):
    """An empty Hub. TOKEN may write to alice and to the organisation team, OTHER to bob and team."""
    root = tmp_path_factory.mktemp("hub")
    with server_module().serve(root, {TOKEN: ["alice", "team"], OTHER: ["bob", "team"]}) as running:
        yield running


@pytest.fixture
def rule(hub):
    """Adds a rule to the Hub: what happens to the next requests that match."""

    def add(method, path, **what):
        hub.rules.append(server_module().Rule(method, path, **what))

    return add


@pytest.fixture
def waits(monkeypatch):
    """Seconds that were to be waited for, by this project or by huggingface_hub; nobody waits."""
    found = []
    clock = SimpleNamespace(sleep=found.append)
    monkeypatch.setattr("huggingface_hub.utils._http.time", clock)
    return found


@pytest.fixture
def publisher(hub, waits, monkeypatch, tmp_path):
    """A function that makes a Publisher of the Hub's, by default alice's."""
    from huggingface_hub import HfApi

    from behemoth_hub import Publisher

    # Both were read from the environment when huggingface_hub was imported.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)

    def make(token=TOKEN, **settings):
        return Publisher(HfApi(endpoint=hub.url, token=token), sleep=waits.append, **settings)

    return make


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """The folder of a small dataset with every config; tests must leave it as it is."""
    from behemoth_data import export

    folder = tmp_path_factory.mktemp("exported") / "behemoth"
    export(folder, overrides=SMALL, progress=False)
    return folder


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory):
    """The folder of a 14m model after two steps in the small nested world, both steps kept."""
    import torch

    from behemoth_data import CorpusConfig, WorldConfig, build
    from behemoth_models.config import TrainConfig
    from behemoth_models.training import train

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    corpus = build(WorldConfig(num_subjects=30, num_objects=20, num_nested_objects=10), corpus=CorpusConfig(repeats=2))
    folder = tmp_path_factory.mktemp("runs") / "nested"
    config = TrainConfig(size="14m", batch_size=32, max_steps=2, measurements=1, save_every=1)
    train(corpus, config, folder, progress=False)
    torch.set_num_threads(threads)
    return folder


def result_row(**changes):
    """A result row of one single edit, as scripts/edit.py writes it."""
    score = {"value": 1.0, "low": 0.25, "high": 1.0, "count": 1}
    return {
        "cell": "c0",
        "method": "rome",
        "settings": {"layer": 2},
        "scenario": "single",
        "edge": "subject_object",
        "relation": 0,
        "num_edits": 1,
        "seed": 0,
        "edits": {"probes_per_edit": 5},
        "structure": "nested",
        "model": "runs/nested",
        "world": {"num_subjects": 30, "seed": 0},
        "corpus": "d" * 16,
        "recall": {"statement": {"subject_object": 1.0}},
        "scores": {
            "edit_success": score,
            "paraphrase_success": None,
            "collateral_accuracy": {**score, "value": 0.5, "count": 2},
            "collateral_drop": None,
            "by_kind": {"same_relation": {**score, "wrong_before": 0}},
            "ripple": {},
        },
        "units": [{"edit": 0, "change": {"edited": [1, 1]}, "keep": {"same_relation": [1, 2, 1, 2]}, "ripple": {}}],
        "seconds": {"edit": 0.5, "shared": 0.0, "score": 0.25},
        "weights": {"before": "a" * 64, "after": ["b" * 64]},
        "details": [{"loss": 0.1}],
        "versions": {"behemoth": "0.2.0", "torch": "2.13.0"},
        "started": "2026-11-23T04:00:00+00:00",
        "error": None,
        **changes,
    }


@pytest.fixture
def results_folder(tmp_path):
    """A folder with the results.jsonl of two methods."""
    folder = tmp_path / "results" / "demo"
    folder.mkdir(parents=True)
    rows = [result_row(), result_row(cell="c1", method="lora", settings={"rank": 8})]
    (folder / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def metric_names():
    """The names of the folders under behemoth_editing/metrics, in order."""
    import behemoth_editing.metrics

    folder = Path(behemoth_editing.metrics.__file__).parent
    return sorted(path.name for path in folder.iterdir() if (path / f"{path.name}.py").is_file())


@pytest.fixture
def small_settings():
    """The fields of the small dataset that differ from the published one's."""
    return dict(SMALL)
