"""The name "behemoth": known to `datasets` after register(), with every way to load it, and nothing else changed.

What patches `datasets` for real runs in a process of its own; what runs here is undone by monkeypatch.
"""

import functools
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import pytest

from behemoth_data import export, load_dataset
from behemoth_data.behemoth import CONFIG_NAMES, Behemoth, code_digest

# The package has a function of the same name, so the module is not its attribute.
MODULE = importlib.import_module("behemoth_data.registration")

SMALL: dict[str, Any] = {"num_subjects": 30, "num_objects": 20, "repeats": 2}


def run(script: str, cwd: Path, home: Path, **arguments: Any) -> dict[str, Any]:
    """What the script prints as JSON, run in `cwd` without a network and with a cache of its own."""
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps({"small": SMALL, **arguments})],
        cwd=cwd,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


# In a process of its own.

REGISTERED = """
import json, os, sys
import datasets
import behemoth_data
from behemoth_data import behemoth
from behemoth_data.registration import register

datasets.disable_progress_bars()
behemoth._SHARD = 200  # several shards, which two processes share
small = json.loads(sys.argv[1])["small"]

def tell(load, *args, **options):
    try:
        return load(*args, **options)
    except Exception as error:
        return [type(error).__name__, str(error)]

found = {"before": tell(datasets.load_dataset, "behemoth", "nested", **small)}
register()
register()

rows = datasets.load_dataset("behemoth", "nested", **small)
found["rows"] = {split: rows[split].to_list() for split in rows}
two = datasets.load_dataset("behemoth", "nested", cache_dir="two", num_proc=2, **small)
found["two"] = {split: two[split].to_list() for split in two}
found["files_of_two"] = len(two["train"].cache_files)
streamed = datasets.load_dataset("behemoth", "nested", streaming=True, **small)
found["streamed"] = {split: list(streamed[split]) for split in streamed}
found["sliced"] = datasets.load_dataset("behemoth", "nested", split="train[:10]", **small).to_list()
edits = datasets.load_dataset("behemoth", "nested_edits", edit_seeds=1, edits_per_set=2, **small)
found["edits"] = {split: edits[split].to_list() for split in edits}
same = behemoth_data.load_dataset("nested", **small)
found["cache_is_shared"] = rows["train"].cache_files == same["train"].cache_files

builder = datasets.load_dataset_builder("behemoth", "correlated", num_subjects=7)
config = builder.config
found["builder"] = [type(builder).__name__, builder.hash, config.name, config.num_subjects, config.correlation]
found["plain"] = datasets.load_dataset_builder("behemoth").config.name
found["configs"] = datasets.get_dataset_config_names("behemoth")
found["default"] = datasets.get_dataset_default_config_name("behemoth")
found["splits"] = datasets.get_dataset_split_names("behemoth", "nested")
found["edit_splits"] = datasets.get_dataset_split_names("behemoth", "nested_edits")

with open("rows.json", "w") as file:
    json.dump([{"word": "a"}, {"word": "b"}], file)
found["json"] = datasets.load_dataset("json", data_files="rows.json", split="train").to_list()
found["unknown_config"] = tell(datasets.load_dataset, "behemoth", "nestled")
found["unknown_field"] = tell(datasets.load_dataset, "behemoth", "nested", num_subject=3)
found["bad_value"] = tell(datasets.load_dataset, "behemoth", "nested", num_objects=1)
found["working_directory"] = sorted(os.listdir())
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run(REGISTERED, tmp_path_factory.mktemp("empty"), tmp_path_factory.mktemp("home"))


def test_name_is_unknown_until_it_is_registered(found: dict[str, Any]) -> None:
    kind, message = found["before"]
    assert kind == "ConnectionError"
    assert "'behemoth'" in message


def test_name_gives_the_rows_of_load_dataset_without_a_folder(found: dict[str, Any], tmp_path: Path) -> None:
    expected = load_dataset("nested", cache_dir=tmp_path, **SMALL)
    assert found["rows"] == {split: expected[split].to_list() for split in expected}
    assert list(found["rows"]) == ["train", "validation", "test"]
    # By hand: 30 x 4 facts and as many nested ones, 20 x 4 facts about objects; sentences state each twice.
    assert len(found["rows"]["train"]) == 640
    edits = load_dataset("nested_edits", cache_dir=tmp_path, edit_seeds=1, edits_per_set=2, **SMALL)
    assert found["edits"] == {split: edits[split].to_list() for split in edits}
    assert found["working_directory"] == ["rows.json", "two"]


def test_two_processes_make_the_same_rows(found: dict[str, Any]) -> None:
    assert found["files_of_two"] == 2
    assert found["two"] == found["rows"]


def test_streamed_rows_and_slices_are_the_same_rows(found: dict[str, Any]) -> None:
    assert found["streamed"] == found["rows"]
    assert found["sliced"] == found["rows"]["train"][:10]


def test_rows_are_cached_once_however_they_are_loaded(found: dict[str, Any]) -> None:
    assert found["cache_is_shared"] is True


def test_builder_has_the_config_with_its_overrides_and_the_digest_of_the_code(found: dict[str, Any]) -> None:
    assert found["builder"] == ["Behemoth", code_digest(), "correlated", 7, 0.9]
    assert found["plain"] == "independent"


def test_datasets_can_list_configs_and_splits(found: dict[str, Any]) -> None:
    assert found["configs"] == list(CONFIG_NAMES)
    assert found["default"] == "independent"
    assert found["splits"] == ["train", "validation", "test"]
    assert found["edit_splits"] == ["test"]


def test_other_datasets_load_as_before(found: dict[str, Any]) -> None:
    assert found["json"] == [{"word": "a"}, {"word": "b"}]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("unknown_config", ["'nestled'", "independent", "nested_edits"]),
        ("unknown_field", ["'num_subject'", "num_subjects", "edit_seeds"]),
        ("bad_value", ["num_objects must be at least 2", "got 1"]),
    ],
)
def test_unknown_names_and_bad_values_are_refused_as_by_the_builder(
    found: dict[str, Any], call: str, words: list[str]
) -> None:
    kind, message = found[call]
    assert kind == "ValueError"
    for word in words:
        assert word in message


FOLDER = """
import json, sys
import datasets
from behemoth_data.registration import register

datasets.disable_progress_bars()
register()
builder = datasets.load_dataset_builder("behemoth", "independent")
found = {"builder": type(builder).__name__, "rows": datasets.load_dataset("behemoth", split="train").num_rows}
try:
    datasets.load_dataset("behemoth", "independent", num_subjects=5)
except ValueError as error:
    found["override"] = str(error)
print(json.dumps(found))
"""


def test_folder_of_that_name_wins_and_takes_no_overrides(tmp_path: Path) -> None:
    overrides = {**SMALL, "num_subjects": 3}
    export(tmp_path / "behemoth", ["independent"], overrides=overrides, progress=False)
    told = run(FOLDER, tmp_path, tmp_path / "home")
    assert told["builder"] != "Behemoth"
    assert told["rows"] == 3 * 4 * 2  # 3 subjects, stated twice; the builder would have 10,000
    assert "num_subjects" in told["override"]


LAZY = """
import json, sys
import behemoth_data.registration
print(json.dumps({"loaded": [name for name in ("datasets", "transformers", "torch") if name in sys.modules]}))
"""


def test_importing_the_module_loads_no_large_library(tmp_path: Path) -> None:
    assert run(LAZY, tmp_path, tmp_path) == {"loaded": []}


# In this process, where a stand-in shows which calls are left to `datasets`.


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The calls that `datasets` gets to see, in order, once the name is registered."""
    calls: list[Any] = []

    def find(path: str, *args: Any, **options: Any) -> str:
        calls.append((path, args, options))
        return "found by datasets"

    for module in (datasets.load, datasets.inspect):
        monkeypatch.setattr(module, "dataset_module_factory", find)
    MODULE.register()
    return calls


FINDERS = pytest.mark.parametrize("module", [datasets.load, datasets.inspect], ids=["load", "inspect"])


@FINDERS
@pytest.mark.parametrize(
    ("path", "args", "options"),
    [
        ("parquet", (), {"cache_dir": "cache"}),
        ("./behemoth", (), {}),
        ("someone/behemoth", (), {}),
        ("behemoth2", (), {}),
        ("behemoth", (), {"data_dir": "nested"}),
        ("behemoth", (), {"data_files": "nested/*.parquet"}),
        ("behemoth", (), {"data_files": {"train": "x.parquet"}, "data_dir": None}),
        ("behemoth", (), {"revision": "v1"}),
        ("behemoth", ("v1",), {}),
    ],
)
def test_what_is_not_the_name_alone_is_left_to_datasets(
    left: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any, path: str, args: Any, options: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert module.dataset_module_factory(path, *args, **options) == "found by datasets"
    assert left == [(path, args, options)]


@FINDERS
def test_name_alone_is_the_builder_each_time_unless_a_folder_has_it(
    left: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "behemoth").touch()  # a file is no folder
    nothing = {"revision": None, "data_dir": None, "data_files": None, "cache_dir": "cache", "download_mode": None}
    for _ in range(2):
        described = module.dataset_module_factory("behemoth", **nothing)
        expected = (Behemoth.__module__, code_digest(), {"dataset_name": "behemoth"})
        assert (described.module_path, described.hash, described.builder_kwargs) == expected
        described.builder_kwargs.clear()
    assert left == []
    (tmp_path / "behemoth").unlink()
    (tmp_path / "behemoth").mkdir()
    assert module.dataset_module_factory("behemoth", **nothing) == "found by datasets"
    assert left == [("behemoth", (), nothing)]


def test_registering_again_changes_nothing(left: list[Any]) -> None:
    finders = [module.dataset_module_factory for module in (datasets.load, datasets.inspect)]
    MODULE.register()
    assert [module.dataset_module_factory for module in (datasets.load, datasets.inspect)] == finders


def test_each_module_keeps_the_finder_that_it_had(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # where no exported folder takes the name
    for module in (datasets.load, datasets.inspect):
        # A finder that someone else has replaced by a partial of their own counts as theirs.
        theirs = functools.partial(lambda name, path: (name, path), module.__name__)
        monkeypatch.setattr(module, "dataset_module_factory", theirs)
    MODULE.register()
    assert datasets.load.dataset_module_factory("x") == ("datasets.load", "x")
    assert datasets.inspect.dataset_module_factory("x") == ("datasets.inspect", "x")
    assert datasets.load.dataset_module_factory("behemoth").hash == code_digest()


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (datasets.load, "dataset_module_factory"),
        (datasets.inspect, "dataset_module_factory"),
        (datasets.load, "DatasetModule"),
        (datasets, "inspect"),
    ],
)
def test_datasets_without_a_place_for_the_name_is_refused_and_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, owner: Any, name: str
) -> None:
    load, inspect = datasets.load, datasets.inspect
    before = (load.dataset_module_factory, inspect.dataset_module_factory)
    with monkeypatch.context() as patch:
        patch.delattr(owner, name)
        with pytest.raises(RuntimeError) as caught:
            MODULE.register()
        left = [vars(module).get("dataset_module_factory") for module in (load, inspect)]
        rows = load_dataset("independent", split="validation", streaming=True, cache_dir=tmp_path, **SMALL)
        assert next(iter(rows))["subject"] == 0
    message = str(caught.value)
    assert f"datasets {datasets.__version__} has no place" in message
    assert f"'{name}'" in message
    assert "behemoth_data.load_dataset still works" in message
    assert {*left} <= {*before, None}


def test_description_of_another_shape_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    before = datasets.load.dataset_module_factory
    monkeypatch.setattr(datasets.load, "DatasetModule", lambda module_path, hash: None)
    with pytest.raises(RuntimeError, match=r"builder_kwargs.*behemoth_data\.load_dataset still works"):
        MODULE.register()
    assert datasets.load.dataset_module_factory is before
