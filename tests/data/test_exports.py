"""The published folder: complete, reproducible, loadable by its name, and never half there."""

import asyncio
import contextlib
import errno
import hashlib
import importlib
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import types
from collections import Counter
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import dask
import distributed
import fsspec
import psutil
import pyarrow as pa
import pytest
import yaml
from fsspec.implementations.memory import MemoryFileSystem
from huggingface_hub import DatasetCard
from jinja2 import UndefinedError
from pyarrow import parquet

import behemoth_data.files as data_files
from behemoth_data import CorpusConfig, Edge, WorldConfig, build, export, load_dataset
from behemoth_data.behemoth import field_helps
from behemoth_data.exports import card_of, read_manifest
from behemoth_data.kinds import KINDS
from behemoth_data.published import open_published
from behemoth_data.tables import EDIT_SCHEMA, FACT_SCHEMA, SentenceTables, fact_table

SMALL: dict[str, Any] = {
    "num_subjects": 30,
    "num_objects": 20,
    "repeats": 2,
    "edit_seeds": 1,
    "edits_per_set": 2,
}
# By hand: 30 x 4 facts twice; with nesting, as many nested facts, and 20 x 4 facts about objects. Validation has
# each in two forms, and test as two questions.
ROWS = {
    "independent": {"train": 240, "validation": 240, "test": 240},
    "correlated": {"train": 240, "validation": 240, "test": 240},
    "nested": {"train": 640, "validation": 640, "test": 640},
}
# For each table two single edits, one set of identical and one of different ones.
EDIT_SETS = {"independent_edits": 4, "correlated_edits": 4, "nested_edits": 12}


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write(folder: Path, **overrides: Any) -> Path:
    assert export(folder, ["independent"], overrides={**SMALL, **overrides}, progress=False) == folder
    return folder


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "behemoth"
    export(folder, overrides=SMALL, progress=False)
    return folder


def front_matter(folder: Path) -> dict[str, Any]:
    text = (folder / "README.md").read_text(encoding="utf-8")
    return dict(yaml.safe_load(text.split("---\n")[1]))


LOADS = """
import json, sys
import datasets
names = sys.argv[1:]
found = {}
for name in names:
    rows = datasets.load_dataset("behemoth", name)
    streams = datasets.load_dataset("behemoth", name, streaming=True)
    found[name] = {split: len(rows[split]) for split in rows}
    for split in rows:
        assert list(streams[split]) == list(rows[split]), (name, split)
default = datasets.load_dataset("behemoth", split="train")
assert list(default) == list(datasets.load_dataset("behemoth", "independent", split="train"))
edge = default.features["edge"].names
print(json.dumps([found, edge]))
"""


@pytest.mark.slow
def test_every_config_loads_by_name_from_the_folder_above_offline_and_streaming(exported: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", LOADS, *ROWS, *EDIT_SETS],
        cwd=exported.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found, edges = json.loads(done.stdout)
    assert found == {**ROWS, **{name: {"test": count} for name, count in EDIT_SETS.items()}}
    assert edges == ["subject_object", "subject_nested", "object_nested"]


def test_rows_are_the_corpus_in_order_and_then_every_fact(exported: Path) -> None:
    world = WorldConfig(num_subjects=30, num_objects=20, num_nested_objects=10)
    corpus = build(world, corpus=CorpusConfig(repeats=2))
    train = parquet.read_table(exported / "nested" / "train-00000-of-00001.parquet")
    assert train.to_pylist() == SentenceTables(corpus).table(0, len(corpus)).to_pylist()
    facts = parquet.read_table(exported / "nested" / "validation-00000-of-00001.parquet")
    assert facts.to_pylist() == [
        row for form in ("statement", "rso") for edge in Edge for row in fact_table(corpus, edge, form).to_pylist()
    ]


def test_same_config_gives_the_same_bytes_whatever_the_folder_is_called(exported: Path, tmp_path: Path) -> None:
    export(tmp_path / "another name", overrides=SMALL, progress=False)
    assert files(tmp_path / "another name") == files(exported)


def test_another_seed_gives_other_bytes(tmp_path: Path) -> None:
    one, other = write(tmp_path / "one"), write(tmp_path / "other", seed=1)
    train = "independent/train-00000-of-00001.parquet"
    assert files(one)[train] != files(other)[train]


def test_bytes_do_not_depend_on_the_size_of_the_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = write(tmp_path / "one")
    monkeypatch.setattr("behemoth_data.rows.Rows.rows_per_block", 7)
    assert files(write(tmp_path / "other")) == files(one)


def test_files_hold_at_most_so_many_rows_and_keep_the_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = parquet.read_table(write(tmp_path / "whole") / "independent" / "train-00000-of-00001.parquet")
    monkeypatch.setattr("behemoth_data.rows.Rows.rows_per_group", 30)
    folder = export(tmp_path / "several", ["independent"], overrides=SMALL, progress=False, rows_per_file=100)
    paths = sorted((Path(folder) / "independent").glob("train-*"))
    assert [path.name for path in paths] == [f"train-0000{i}-of-00003.parquet" for i in range(3)]
    tables = [parquet.read_table(path) for path in paths]
    assert [table.num_rows for table in tables] == [100, 100, 40]
    assert pa.concat_tables(tables).to_pylist() == whole.to_pylist()
    metadata = parquet.read_metadata(paths[0])
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [30, 30, 30, 10]


def test_other_size_of_files_is_another_export(tmp_path: Path) -> None:
    folder = write(tmp_path / "behemoth")
    assert read_manifest(folder)["rows_per_file"] == 1_000_000
    with pytest.raises(FileExistsError, match="use --overwrite to replace it"):
        export(folder, ["independent"], overrides=SMALL, progress=False, rows_per_file=999_999)


def test_size_of_files_is_at_least_one_row(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rows_per_file must be at least 1, got 0"):
        export(tmp_path / "behemoth", overrides=SMALL, rows_per_file=0)
    assert os.listdir(tmp_path) == []


def test_manifest_lists_every_other_file_with_its_digest_and_size(exported: Path) -> None:
    found = files(exported)
    del found["manifest.json"]
    assert read_manifest(exported)["files"] == {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)} for name, data in found.items()
    }


def test_manifest_lists_the_card_first_and_then_all_files_by_name(exported: Path) -> None:
    card, *others = read_manifest(exported)["files"]
    assert card == "README.md"
    assert others == sorted(others)


def test_manifest_says_rows_and_every_field_of_each_config(exported: Path) -> None:
    manifest = read_manifest(exported)
    assert manifest["rows"] == {**ROWS, **{name: {"test": count} for name, count in EDIT_SETS.items()}}
    said = manifest["configs"]["nested_edits"]
    assert list(said) == list(field_helps())
    assert {**said, **SMALL} == said  # what is overridden
    assert (said["num_nested_objects"], said["correlation"], said["num_relations"]) == (10, None, 4)  # what is not
    assert said["inversion_forms"] == ["rso"]


def test_field_of_a_preset_changes_only_the_configs_that_set_it(tmp_path: Path) -> None:
    names = ["independent", "correlated", "nested"]
    export(tmp_path / "b", names, overrides={**SMALL, "correlation": 0.5, "num_nested_objects": 5}, progress=False)
    configs = read_manifest(tmp_path / "b")["configs"]
    assert [configs[name]["correlation"] for name in names] == [None, 0.5, None]
    assert [configs[name]["num_nested_objects"] for name in names] == [0, 0, 5]


def test_field_of_a_preset_that_is_not_exported_changes_every_config(tmp_path: Path) -> None:
    export(tmp_path / "b", ["nested", "nested_edits"], overrides={**SMALL, "correlation": 0.5}, progress=False)
    configs = read_manifest(tmp_path / "b")["configs"]
    assert [config["correlation"] for config in configs.values()] == [0.5, 0.5]
    assert [config["num_nested_objects"] for config in configs.values()] == [10, 10]


def test_card_that_is_counted_anew_from_the_files_is_the_card(exported: Path) -> None:
    assert card_of(exported, progress=False) == (exported / "README.md").read_text(encoding="utf-8")


def test_card_of_changed_files_is_another_one(tmp_path: Path) -> None:
    folder = write(tmp_path / "behemoth")
    path = folder / "independent" / "train-00000-of-00001.parquet"
    parquet.write_table(parquet.read_table(path).slice(0, 7), path)
    assert "num_examples: 7\n" in card_of(folder, progress=False)


def test_card_of_a_folder_that_other_code_exported_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "behemoth")
    monkeypatch.setattr("behemoth_data.behemoth.code_digest", lambda: "0" * 16)
    with pytest.raises(ValueError, match="code_digest of .* must be this code's 0{16}, got .*: export it again"):
        card_of(folder, progress=False)


# The folder that is there already.


def state(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_folder_that_holds_this_export_is_left_alone_and_the_log_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write(tmp_path / "behemoth")
    before = state(folder)
    with caplog.at_level(logging.INFO, logger="behemoth_data"):
        write(folder)
    assert state(folder) == before
    assert "already holds exactly this export: nothing was written" in caplog.text


def change_a_size(folder: Path) -> None:
    path = folder / "independent" / "train-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:-1])


def add_a_shard(folder: Path) -> None:
    train = folder / "independent" / "train-00000-of-00001.parquet"
    train.with_name("train-00001-of-00002.parquet").write_bytes(train.read_bytes())


def spoil_the_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("[]", encoding="utf-8")


@pytest.mark.parametrize(
    "change",
    [
        change_a_size,
        add_a_shard,
        spoil_the_manifest,
        lambda folder: (folder / "README.md").unlink(),
        lambda folder: (folder / "manifest.json").unlink(),
    ],
    ids=["file cut short", "foreign shard", "manifest spoilt", "no card", "no manifest"],
)
def test_folder_that_is_not_exactly_this_export_is_refused_untouched(tmp_path: Path, change: Any) -> None:
    folder = write(tmp_path / "behemoth")
    change(folder)
    before = state(folder)
    with pytest.raises(FileExistsError, match="use --overwrite to replace it"):
        write(folder)
    assert state(folder) == before
    assert os.listdir(tmp_path) == ["behemoth"]


def test_export_of_another_world_is_refused_and_replaced_with_overwrite(tmp_path: Path) -> None:
    folder = write(tmp_path / "behemoth")
    before = state(folder)
    with pytest.raises(FileExistsError, match="behemoth"):
        write(folder, seed=1)
    assert state(folder) == before
    export(folder, ["nested_edits"], overrides=SMALL, overwrite=True, progress=False)
    assert {path.name for path in folder.iterdir()} == {"README.md", "manifest.json", "structures", "nested_edits"}
    assert os.listdir(tmp_path) == ["behemoth"]


def test_export_by_other_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "behemoth")
    monkeypatch.setattr("behemoth_data.behemoth.code_digest", lambda: "0" * 16)
    with pytest.raises(FileExistsError, match="overwrite"):
        write(folder)


def test_empty_folder_is_filled_and_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty")
    assert (tmp_path / "empty" / "manifest.json").is_file()
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    with pytest.raises(FileExistsError, match="file"):
        write(tmp_path / "file")
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"


def test_working_directory_is_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    for output in (".", ".."):
        with pytest.raises(ValueError, match="output must not be or contain the working directory"):
            export(output, overrides=SMALL, overwrite=True)
    assert (tmp_path / "below").is_dir()


# Bad input, full disks and kills: nothing half-written.


@pytest.mark.parametrize(
    ("configs", "overrides", "message"),
    [
        (["independent"], {"num_objects": 1}, "num_objects must be at least 2 .*, got 1"),
        (None, {"num_nested_objects": 7}, "num_nested_objects must divide num_objects = 20 .*, got 7"),
        (None, {"correlation": 1.5}, "correlation must be above 0.05 .* and at most 1, got 1.5"),
        (None, {"correlation": 0.01}, "correlation must be above 0.05 .* and at most 1, got 0.01"),
        (None, {"num_objects": 25}, "config nested: num_nested_objects must divide num_objects = 25 .*, got 10"),
        (None, {"edit_seeds": 0}, "edit_seeds must be at least 1, got 0"),
        (None, {"edits_per_set": 0}, "edits_per_set must be at least 1, got 0"),
        (["nestd"], {}, "config must be one of independent, .*, nested_edits, got 'nestd' .*'nested'"),
        ([], {}, "configs must name at least one of independent, .*, got none"),
        (None, {"num_subject": 3}, "field of independent must be one of num_subjects, .*, got 'num_subject'"),
    ],
)
def test_bad_input_names_field_bound_and_value_and_writes_nothing(
    tmp_path: Path, configs: list[str] | None, overrides: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        export(tmp_path / "behemoth", configs, overrides={**SMALL, **overrides}, progress=False)
    assert os.listdir(tmp_path) == []


def fill_the_disk(monkeypatch: pytest.MonkeyPatch, calls: int) -> None:
    """Lets this many row groups through and then fails as a full disk does."""
    write_table, left = parquet.ParquetWriter.write_table, iter(range(calls))

    def full(self: Any, *args: Any, **options: Any) -> None:
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_table(self, *args, **options)

    monkeypatch.setattr(parquet.ParquetWriter, "write_table", full)


@pytest.mark.parametrize("calls", [0, 3])
def test_full_disk_is_a_clear_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    fill_the_disk(monkeypatch, calls)
    with pytest.raises(OSError, match=r"could not write .*behemoth \(No space left on device\)") as caught:
        export(tmp_path / "behemoth", overrides=SMALL, progress=False)
    assert caught.value.errno == errno.ENOSPC
    assert os.listdir(tmp_path) == []


def test_full_disk_leaves_the_old_folder_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "behemoth")
    before = state(folder)
    fill_the_disk(monkeypatch, 3)
    with pytest.raises(OSError, match="No space left"):
        export(folder, overrides=SMALL, overwrite=True, progress=False)
    assert state(folder) == before
    assert os.listdir(tmp_path) == ["behemoth"]


def test_folder_that_cannot_be_renamed_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "behemoth")
    before = state(folder)
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if self.suffix == ".partial":
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError, match="Input/output error"):
        export(folder, ["nested"], overrides=SMALL, overwrite=True, progress=False)
    assert state(folder) == before
    assert os.listdir(tmp_path) == ["behemoth"]


KILLED = """
import json, os, signal, sys
from pathlib import Path
from pyarrow import parquet
import behemoth_data
where, output, overrides = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
write_table, rename, calls = parquet.ParquetWriter.write_table, Path.rename, []

def die_while_writing(self, *args, **options):
    calls.append(1)
    if len(calls) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return write_table(self, *args, **options)

def die_before_renaming(self, target):
    if self.suffix == ".partial":
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(self, target)

if where == "writing":
    parquet.ParquetWriter.write_table = die_while_writing
else:
    Path.rename = die_before_renaming
behemoth_data.export(output, overrides=overrides, overwrite=True, progress=False)
"""


@pytest.mark.parametrize(
    ("where", "old_stays"), [("writing", True), pytest.param("renaming", False, marks=pytest.mark.slow)]
)
def test_kill_leaves_the_old_folder_or_none_and_the_next_run_cleans_up(
    tmp_path: Path, where: str, old_stays: bool
) -> None:
    folder = write(tmp_path / "behemoth", seed=1)
    before = state(folder)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, where, str(folder), json.dumps(SMALL)], capture_output=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert folder.exists() == old_stays
    if old_stays:
        assert state(folder) == before
    leftovers = [name for name in os.listdir(tmp_path) if name != "behemoth"]
    assert leftovers
    assert all(name.startswith(".behemoth.") for name in leftovers)
    export(folder, overrides=SMALL, overwrite=True, progress=False)
    assert os.listdir(tmp_path) == ["behemoth"]
    assert len(read_manifest(folder)["configs"]) == 6


def test_folders_of_other_exports_are_no_leftovers(tmp_path: Path) -> None:
    for name in (".behemoth2.12.partial", ".behemoth.partial", ".behemoth.x.partial", "behemoth.12.partial"):
        (tmp_path / name).mkdir()
    write(tmp_path / "behemoth")
    assert len(os.listdir(tmp_path)) == 5


# A cluster: the same folder, whoever writes the files.


# 3,200 sentences, the last 200 in a file of their own, and 640 facts in two forms in each of two other splits
SEVERAL: dict[str, Any] = {**SMALL, "repeats": 10}


def write_small_files(output: Path | str, **options: Any) -> Path | str:
    options = {"overrides": SEVERAL, "progress": False, "rows_per_file": 500, **options}
    return export(output, ["nested", "nested_edits"], **options)


@pytest.fixture(scope="module")
def small_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small_files") / "behemoth"
    write_small_files(folder)
    return folder


@pytest.fixture
def scheduler() -> Iterator[str]:
    """The address of a cluster whose two workers are threads of this process, so that tests can make them fail."""
    options: dict[str, Any] = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    with distributed.LocalCluster(processes=False, silence_logs=logging.CRITICAL, **options) as cluster:
        yield cluster.scheduler_address


@pytest.mark.slow
def test_processes_of_a_local_cluster_write_the_same_bytes(
    tmp_path: Path, small_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dask.system.CPU_COUNT", 2)
    write_small_files(tmp_path / "behemoth", dask="local")
    assert files(tmp_path / "behemoth") == files(small_files)
    assert os.listdir(tmp_path) == ["behemoth"]
    assert len(list((tmp_path / "behemoth" / "nested").glob("train-*"))) == 7
    assert len(list((tmp_path / "behemoth" / "nested_edits").iterdir())) == 9  # a draw in each


def test_workers_of_a_scheduler_write_the_same_bytes(tmp_path: Path, small_files: Path, scheduler: str) -> None:
    write_small_files(tmp_path / "behemoth", dask=scheduler)
    assert files(tmp_path / "behemoth") == files(small_files)
    # A second run at the same scheduler writes the files again.
    write_small_files(tmp_path / "again", dask=scheduler)
    assert files(tmp_path / "again") == files(small_files)


def break_a_file(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Writing the last file of nested/train fails; all others are written."""
    write_groups = data_files._write_groups

    def fail(path: Path, schema: pa.Schema, tables: Any, *others: Any) -> None:
        tables = list(tables)
        if sum(table.num_rows for table in tables) == 200 and "probes" not in schema.names:
            raise error
        write_groups(path, schema, tables, *others)

    monkeypatch.setattr(data_files, "_write_groups", fail)


@pytest.mark.parametrize("by", ["this process", "cluster"])
def test_failure_in_one_file_leaves_nothing_or_the_old_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, by: str
) -> None:
    dask = request.getfixturevalue("scheduler") if by == "cluster" else None
    old = write(tmp_path / "old")
    before = state(old)
    break_a_file(monkeypatch, OSError(errno.ENOSPC, "No space left on device"))
    for folder in (tmp_path / "new", old):
        with pytest.raises(OSError, match=rf"could not write .*{folder.name} \(No space left on device\)") as caught:
            write_small_files(folder, dask=dask, overwrite=True)
        assert caught.value.errno == errno.ENOSPC
    assert os.listdir(tmp_path) == ["old"]
    assert state(old) == before


def test_no_worker_can_add_a_file_while_what_was_written_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    added, rmtree = [], shutil.rmtree

    def slow(path: Any, **options: Any) -> None:
        """Removes a folder while another process starts with one more file, whose place it looked up before."""
        for partial in tmp_path.glob(".*.partial"):
            with contextlib.suppress(OSError):
                added.append(tempfile.mkdtemp(dir=partial / data_files.SCRATCH))
        rmtree(path, **options)

    break_a_file(monkeypatch, OSError(errno.ENOSPC, "No space left on device"))
    module = importlib.import_module("behemoth_data.exports")
    monkeypatch.setattr(module, "shutil", types.SimpleNamespace(rmtree=slow))
    with pytest.raises(OSError, match="No space left"):
        write_small_files(tmp_path / "new")
    write(tmp_path / "other")  # and where nothing fails
    assert os.listdir(tmp_path) == ["other"]
    assert added == []


def test_cluster_that_loses_its_workers_is_an_error_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheduler: str
) -> None:
    last = types.SimpleNamespace(address="tcp://10.0.0.2:1")
    break_a_file(monkeypatch, distributed.KilledWorker("write_file", last, 3))
    with pytest.raises(OSError, match="could not write .*new .*the dask cluster failed: .*write_file"):
        write_small_files(tmp_path / "new", dask=scheduler)
    assert os.listdir(tmp_path) == []


def test_scheduler_that_does_not_answer_is_an_error_and_nothing_is_removed(tmp_path: Path) -> None:
    folder = write(tmp_path / "behemoth")
    before = state(folder)
    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
        with pytest.raises(OSError, match="tcp://127.0.0.1:1 "):
            write_small_files(folder, dask="tcp://127.0.0.1:1", overwrite=True)
        with pytest.raises(ValueError, match="dask must be local or the address of a scheduler .*, got lcal"):
            write_small_files(folder, dask="lcal", overwrite=True)
    assert state(folder) == before
    assert os.listdir(tmp_path) == ["behemoth"]


def test_cluster_that_cannot_end_is_left_and_its_processes_are_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def waits(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    with data_files.client_here(n_workers=1, threads_per_worker=1, processes=True) as client:
        (pid,) = client.run(os.getpid).values()
        monkeypatch.setattr("distributed.nanny.WorkerProcess.kill", waits)
        monkeypatch.setattr(data_files, "_PATIENCE", 0.5)
        begun = time.monotonic()
    assert time.monotonic() - begun < 20
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait(60)


def test_missing_dask_is_an_error_that_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ValueError, match="--dask needs dask and distributed: pip install 'behemoth-bench\\[dask\\]'"):
        write_small_files(tmp_path / "behemoth", dask="local")
    assert os.listdir(tmp_path) == []


# URLs.

URL = "memory://bucket/behemoth"


@pytest.fixture
def memory() -> Iterator[MemoryFileSystem]:
    """An empty file system that is no local one."""
    system = MemoryFileSystem()
    system.store.clear()
    yield system
    system.store.clear()


def stored(system: MemoryFileSystem) -> dict[str, bytes]:
    return {path.removeprefix("/bucket/behemoth/"): system.cat_file(path) for path in system.find("/")}


def test_url_gets_the_files_of_the_folder_and_they_load_back(memory: MemoryFileSystem, small_files: Path) -> None:
    assert write_small_files(URL) == URL
    assert stored(memory) == files(small_files)
    assert read_manifest(URL) == read_manifest(small_files)
    with fsspec.open(f"{URL}/nested/train-00006-of-00007.parquet") as file:
        last = parquet.read_table(file)
    assert last.to_pylist() == parquet.read_table(small_files / "nested/train-00006-of-00007.parquet").to_pylist()
    assert last.num_rows == 200


def test_cluster_writes_to_a_url(memory: MemoryFileSystem, small_files: Path, scheduler: str) -> None:
    write_small_files(URL, dask=scheduler)
    assert stored(memory) == files(small_files)


def test_url_that_holds_this_export_is_left_alone(
    memory: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_small_files(URL)
    monkeypatch.setattr(MemoryFileSystem, "put_file", None)
    monkeypatch.setattr(MemoryFileSystem, "pipe_file", None)
    with caplog.at_level(logging.INFO, logger="behemoth_data"):
        write_small_files(URL)
    assert f"{URL} already holds exactly this export: nothing was written" in caplog.text


def test_url_that_holds_anything_else_is_refused_untouched(memory: MemoryFileSystem) -> None:
    memory.pipe_file("/bucket/behemoth/mine.txt", b"mine")
    with pytest.raises(FileExistsError, match=f"got {URL}: use --overwrite to replace it"):
        write_small_files(URL)
    assert stored(memory) == {"mine.txt": b"mine"}


def test_url_is_replaced_with_overwrite_and_files_of_the_hub_stay(memory: MemoryFileSystem, small_files: Path) -> None:
    memory.pipe_file("/bucket/behemoth/.gitattributes", b"*.parquet")
    memory.pipe_file("/bucket/other", b"mine")
    write_small_files(URL, overrides={**SEVERAL, "seed": 1}, rows_per_file=450)
    memory.pipe_file("/bucket/behemoth/nested/mine.txt", b"mine")
    write_small_files(URL, overwrite=True)
    assert stored(memory) == {**files(small_files), ".gitattributes": b"*.parquet", "/bucket/other": b"mine"}


def test_url_never_has_a_manifest_or_card_without_all_files(
    memory: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch, small_files: Path
) -> None:
    done: list[tuple[str, str]] = []

    def record(name: str) -> None:
        method = getattr(MemoryFileSystem, name)

        def recorded(self: MemoryFileSystem, *args: Any, **options: Any) -> Any:
            path = args[1] if name == "put_file" else args[0]
            done.append((name, path.removeprefix("/bucket/behemoth/")))
            return method(self, *args, **options)

        monkeypatch.setattr(MemoryFileSystem, name, recorded)

    write_small_files(URL, overrides={**SEVERAL, "seed": 1}, rows_per_file=450)
    for name in ("rm_file", "put_file", "pipe_file"):
        record(name)
    write_small_files(URL, overwrite=True)
    assert done[:2] == [("rm_file", "manifest.json"), ("rm_file", "README.md")]
    assert done[-2:] == [("pipe_file", "README.md"), ("pipe_file", "manifest.json")]
    assert len(set(done)) == len(done)
    assert {path for name, path in done if name != "rm_file"} == set(files(small_files))


def test_failure_at_a_url_removes_what_was_written(memory: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    write_small_files(URL)
    break_a_file(monkeypatch, OSError(errno.EIO, "Input/output error"))
    with pytest.raises(OSError, match=rf"could not write {URL} \(Input/output error\)"):
        write_small_files(URL, rows_per_file=600, overwrite=True)
    assert stored(memory) == {}


def test_file_url_is_the_folder_of_its_path(tmp_path: Path, small_files: Path) -> None:
    assert write_small_files(f"file://{tmp_path}/behemoth") == tmp_path / "behemoth"
    assert files(tmp_path / "behemoth") == files(small_files)
    assert os.listdir(tmp_path) == ["behemoth"]
    assert read_manifest(f"file://{tmp_path}/behemoth") == read_manifest(small_files)


def test_path_with_a_colon_is_no_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert write(Path("memory:x")) == Path("memory:x")
    assert export("b:/c", ["independent"], overrides=SMALL, progress=False) == Path("b:/c")
    assert sorted(os.listdir(tmp_path)) == ["b:", "memory:x"]


def test_url_that_cannot_be_opened_is_refused() -> None:
    with pytest.raises(ValueError, match="output must be a folder or a URL that fsspec can open, got nope://a/b: "):
        write_small_files("nope://a/b")


# The card.


def test_card_has_what_the_hub_reads(exported: Path) -> None:
    data = front_matter(exported)
    assert data["license"] == "apache-2.0"
    assert data["size_categories"] == ["1K<n<10K"]  # 240 x 6 + 640 x 3 + 20 rows
    assert data["annotations_creators"] == data["language_creators"] == ["machine-generated"]
    assert data["source_datasets"] == ["original"]
    assert {"pretty_name", "language", "task_categories", "tags", "dataset_info"} <= set(data)
    configs = {config["config_name"]: config for config in data["configs"]}
    assert list(configs) == [*ROWS, *EDIT_SETS]
    assert [name for name, config in configs.items() if config.get("default")] == ["independent"]
    assert configs["nested"]["data_files"] == [
        {"split": "train", "path": "nested/train-*.parquet"},
        {"split": "validation", "path": "nested/validation-*.parquet"},
        {"split": "test", "path": "nested/test-*.parquet"},
    ]


def test_card_counts_rows_and_bytes_of_the_run(exported: Path) -> None:
    infos = {info["config_name"]: info for info in front_matter(exported)["dataset_info"]}
    for name, splits in ROWS.items():
        assert {split["name"]: split["num_examples"] for split in infos[name]["splits"]} == splits
        on_disk = sum(path.stat().st_size for path in (exported / name).iterdir())
        assert infos[name]["download_size"] == on_disk
        assert infos[name]["dataset_size"] == sum(split["num_bytes"] for split in infos[name]["splits"])
    text = DatasetCard.load(exported / "README.md").text
    size = (exported / "nested" / "train-00000-of-00001.parquet").stat().st_size
    assert f"| `nested` | `train` | 640 | {size:,} |" in text
    assert "`nested_edits` has 18 edits in 12 sets." in text  # per table, two alone and twice two together


def test_card_of_several_files_counts_them_all_and_shows_the_first_sentences(small_files: Path) -> None:
    (infos, edit_infos) = front_matter(small_files)["dataset_info"]
    for info in (infos, edit_infos):
        for split in info["splits"]:
            paths = sorted((small_files / info["config_name"]).glob(f"{split['name']}-*"))
            assert len(paths) > 1
            tables = [parquet.read_table(path).combine_chunks() for path in paths]
            batches = [batch for table in tables for batch in table.to_batches()]
            assert split["num_bytes"] == sum(pa.ipc.get_record_batch_size(batch) for batch in batches)
            assert split["num_examples"] == sum(batch.num_rows for batch in batches)
    text = DatasetCard.load(small_files / "README.md").text
    first: dict[tuple[int, str], str] = {}
    for path in sorted((small_files / "nested").glob("train-*")):
        for row in parquet.read_table(path, columns=["edge", "form", "text"]).to_pylist():
            first.setdefault((row["edge"], row["form"]), row["text"])
    assert {line.split("`")[-2] for line in text.splitlines() if line.endswith(" .` |")} == set(first.values())
    edits = [row for path in (small_files / "nested_edits").iterdir() for row in parquet.read_table(path).to_pylist()]
    counts = Counter(probe["kind"] for row in edits for probe in row["probes"])
    for kind, count in counts.items():
        (line,) = [line for line in text.splitlines() if line.startswith(f"| `{kind}` |")]
        assert line.endswith(f"| {count:,} |")
    assert f"has {sum(len(row['edits']) for row in edits)} edits in {len(edits)} sets." in text


def test_export_and_its_card_have_the_forms_of_questions_that_the_corpus_teaches(
    exported: Path, tmp_path: Path
) -> None:
    forms = ("question", "two_step", "denied_true", "denied_false")
    fields = {"question_fraction": 0.3, "question_forms": forms, "num_nested_objects": 5}
    folder = write(tmp_path / "asked", **fields)
    rows = parquet.read_table(folder / "independent" / "train-00000-of-00001.parquet").to_pylist()
    assert {row["form"] for row in rows} == {"statement", "rso", *forms}
    for row in rows:
        assert row["answer"] == {"denied_true": "NO", "denied_false": "YES"}.get(row["form"], row["object_word"])
        assert row["text"] == f"{row['prompt']} {row['answer']} ."
    assert "In questions about a candidate" in DatasetCard.load(folder / "README.md").text
    assert "In questions about a candidate" not in DatasetCard.load(exported / "README.md").text
    manifest = read_manifest(folder)
    assert manifest["configs"]["independent"]["question_forms"] == list(forms)
    corpus, _ = open_published(folder, "independent")
    assert corpus.config.question_forms == forms


def test_card_describes_every_column_and_kind_and_shows_rows_of_this_dataset(exported: Path) -> None:
    text = DatasetCard.load(exported / "README.md").text
    for name in (*FACT_SCHEMA.names, *EDIT_SCHEMA.names):
        assert f"| `{name}` |" in text
    asked = parquet.read_table(exported / "nested_edits" / "test-00000-of-00001.parquet")["probes"].to_pylist()
    counts = {kind: sum(probe["kind"] == kind for probes in asked for probe in probes) for kind in KINDS}
    for kind, entry in KINDS.items():
        lines = [line for line in text.splitlines() if line.startswith(f"| `{kind}` |")]
        published = {"single", "identical", "different"}.intersection(entry.scenarios)
        assert len(lines) == (bool(published) and entry.group != "transfer")  # which no published draw asks for
        assert all(line.endswith(f"| {counts[kind]:,} |") for line in lines)
    sentences = set(parquet.read_table(exported / "nested" / "train-00000-of-00001.parquet")["text"].to_pylist())
    shown = [line.split("`")[-2] for line in text.splitlines() if line.endswith(" .` |")]
    assert len(shown) == 6  # three tables in two forms
    assert set(shown) <= sentences


def test_card_has_no_placeholder_and_cites_the_paper(exported: Path) -> None:
    text = (exported / "README.md").read_text(encoding="utf-8")
    for placeholder in ("More Information Needed", "{%", "TODO", "Undefined", "None"):
        assert placeholder not in text
    assert "arXiv:2601.23153" in text
    assert read_manifest(exported)["code_digest"] in text
    assert "\n\n\n\n" not in text


@pytest.mark.parametrize("configs", [["correlated"], ["nested_edits"], ["correlated_edits", "nested"]])
def test_card_of_some_configs_names_no_other(tmp_path: Path, configs: list[str]) -> None:
    export(tmp_path / "behemoth", configs, overrides=SMALL, progress=False)
    assert front_matter(tmp_path / "behemoth")["configs"][0]["default"] is True
    text = (tmp_path / "behemoth" / "README.md").read_text(encoding="utf-8")
    assert f'load_dataset("behemoth", "{configs[0]}")' in text
    assert "`independent" not in text


def test_every_exported_structure_has_its_picture_in_the_folder_and_on_the_card(tmp_path: Path) -> None:
    export(tmp_path / "behemoth", ["correlated_edits", "nested", "nested_edits"], overrides=SMALL, progress=False)
    pictures = files(tmp_path / "behemoth" / "structures")
    assert sorted(pictures) == ["correlated.svg", "nested.svg"]
    text = (tmp_path / "behemoth" / "README.md").read_text(encoding="utf-8")
    for name, picture in pictures.items():
        assert picture == resources.files("hub_cards").joinpath("structures", name).read_bytes()
        assert picture.rstrip().endswith(b"</svg>")
        (shown,) = re.findall(rf"!\[(.*)\]\(structures/{name}\)", text)
        assert "graph" in shown
    assert text.count("![") == 2
    assert text.index("## Structures") < text.index("![") < text.rindex("![") < text.index("## Sizes")


def test_new_picture_is_a_new_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "behemoth")
    # The package has a function of the same name, so the module is not its attribute.
    monkeypatch.setattr(importlib.import_module("behemoth_data.exports"), "picture", lambda name: b"<svg/>")
    with pytest.raises(FileExistsError, match="use --overwrite to replace it"):
        write(folder)


def test_value_that_the_run_does_not_give_is_an_error_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("behemoth_data.card.template", lambda: "{{ card_data }} {{ accuracy }}")
    with pytest.raises(UndefinedError, match="accuracy"):
        write(tmp_path / "behemoth")
    assert os.listdir(tmp_path) == []


# The same rows without a folder.


def test_load_dataset_gives_the_rows_of_the_folder(exported: Path, tmp_path: Path) -> None:
    for name in ("nested", "nested_edits"):
        loaded = load_dataset(name, cache_dir=tmp_path, **SMALL)
        streamed = load_dataset(name, streaming=True, cache_dir=tmp_path, **SMALL)
        for split in loaded:
            rows = parquet.read_table(exported / name / f"{split}-00000-of-00001.parquet").to_pylist()
            assert loaded[split].to_list() == rows
            assert list(streamed[split]) == rows


def test_load_dataset_takes_overrides_literally(tmp_path: Path) -> None:
    rows = load_dataset(
        "independent", split="validation", cache_dir=tmp_path, num_subjects=3, num_objects=4, num_nested_objects=2
    )
    assert len(rows) == 2 * 4 * (3 + 3 + 4)


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("nestd", {}, "config must be one of independent, .*, got 'nestd'"),
        ("nested", {"num_objets": 3}, "field of nested must be one of num_subjects, .*, got 'num_objets'"),
        ("nested", {"num_objects": 15}, "num_nested_objects must divide num_objects = 15 .*, got 10"),
    ],
)
def test_load_dataset_refuses_what_it_does_not_know(
    tmp_path: Path, name: str, overrides: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        load_dataset(name, cache_dir=tmp_path, **overrides)
    assert not list(tmp_path.rglob("*.arrow"))


def test_importing_the_package_loads_no_large_library() -> None:
    code = "import sys, behemoth_data; print([m for m in ('datasets', 'transformers', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
