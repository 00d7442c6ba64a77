"""One data file is a task: the same bytes wherever and whenever it is done."""

import dataclasses
import errno
import hashlib
import os
import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from behemoth_data.behemoth import Behemoth, _splits, field_helps, rows_of
from behemoth_data.files import SCRATCH, FileTask, _row_groups, opened, plan, run, sizes, write_file
from behemoth_data.tables import FACT_SCHEMA

OVERRIDES = {"num_subjects": 12, "num_relations": 2, "num_objects": 20, "repeats": 5, "edit_seeds": 1}
CONFIGS = {
    name: {field: getattr(Behemoth(config_name=name, **OVERRIDES).config, field) for field in field_helps()}
    for name in ("independent", "nested_edits")
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (SCRATCH, *CONFIGS):
        (tmp_path / name).mkdir()
    return tmp_path


def test_plan_has_a_task_for_every_file_of_every_split_in_order() -> None:
    tasks = plan(CONFIGS, 50)
    # 24 facts: 120 sentences, and prompts in four forms; 9 draws
    assert [(task.config, task.split, task.number, task.start, task.stop) for task in tasks[:5]] == [
        ("independent", "train", 0, 0, 50),
        ("independent", "train", 1, 50, 100),
        ("independent", "train", 2, 100, 120),
        ("independent", "validation", 0, 0, 48),
        ("independent", "test", 0, 0, 48),
    ]
    assert [task.path for task in tasks[2:4]] == [
        "independent/train-00002-of-00003.parquet",
        "independent/validation-00000-of-00001.parquet",
    ]
    assert [(task.config, task.split, task.start, task.stop) for task in tasks[5:]] == [
        ("nested_edits", "test", place, place + 1) for place in range(9)
    ]


def test_task_done_alone_in_any_order_gives_the_same_file(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tasks = plan(CONFIGS, 50)
    results = run(tasks, str(folder), None, progress=False)
    alone = tmp_path_factory.mktemp("alone")
    for name in (SCRATCH, *CONFIGS):
        (alone / name).mkdir()
    for task, result in list(zip(tasks, results, strict=True))[::-1]:
        _splits.cache_clear()  # nothing is known of the files before, as in another process
        assert write_file(task, str(alone)) == result
        data = (alone / task.path).read_bytes()
        assert data == (folder / task.path).read_bytes()
        assert (result.sha256, result.size) == (hashlib.sha256(data).hexdigest(), len(data))
        assert result.counted.rows == parquet.read_metadata(folder / task.path).num_rows
    assert os.listdir(folder / SCRATCH) == os.listdir(alone / SCRATCH) == []


def test_task_done_twice_leaves_the_file_as_it_is(folder: Path) -> None:
    task = plan(CONFIGS, 50)[0]
    first = write_file(task, str(folder)), (folder / task.path).read_bytes()
    assert (write_file(task, str(folder)), (folder / task.path).read_bytes()) == first


def test_file_holds_the_rows_of_its_range(folder: Path) -> None:
    task = plan(CONFIGS, 50)[1]
    write_file(task, str(folder))
    rows = rows_of(Behemoth(config_name="independent", **OVERRIDES).config)["train"]
    expected = pa.concat_tables(rows.tables(50, 100))
    assert parquet.read_table(folder / task.path).to_pylist() == expected.to_pylist()


def test_task_and_result_can_travel_to_another_process(folder: Path) -> None:
    task = plan(CONFIGS, 50)[0]
    result = write_file(pickle.loads(pickle.dumps(task)), str(folder))
    assert pickle.loads(pickle.dumps(result)) == result


def test_rows_are_told_as_they_are_made(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("behemoth_data.rows.Rows.rows_per_group", 20)
    told: list[int] = []
    write_file(plan(CONFIGS, 50)[0], str(folder), told.append)
    assert told == [20, 20, 10]


def test_process_with_other_code_refuses_the_task(folder: Path) -> None:
    task = dataclasses.replace(plan(CONFIGS, 50)[0], code="code 0 and pyarrow 1")
    with pytest.raises(
        ValueError, match=rf"worker must run code 0 and pyarrow 1, got code \w+ and pyarrow {pa.__version__}"
    ):
        write_file(task, str(folder))
    assert not (folder / task.path).exists()


def test_failed_file_leaves_no_part_of_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_table = parquet.ParquetWriter.write_table

    def full(self: Any, table: pa.Table, **options: Any) -> None:
        write_table(self, table, **options)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(parquet.ParquetWriter, "write_table", full)
    with pytest.raises(OSError, match="No space left"):
        write_file(plan(CONFIGS, 50)[0], str(folder))
    assert [path for path in folder.rglob("*") if path.is_file()] == []


def test_file_has_its_name_only_when_it_is_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = plan(CONFIGS, 50)[0]
    replace, seen = Path.replace, []

    def recorded(self: Path, target: str) -> Path:
        seen.append((parquet.read_metadata(self).num_rows, Path(target).exists()))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", recorded)
    write_file(task, str(folder))
    assert seen == [(50, False)]
    assert (folder / task.path).is_file()


def test_file_that_cannot_be_seen_here_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def elsewhere(task: FileTask, target: str, *others: Any) -> Any:
        result = write_file(task, target, *others)
        if task.number == 1:
            (Path(target) / task.path).unlink()
        return result

    monkeypatch.setattr("behemoth_data.files.write_file", elsewhere)
    with pytest.raises(
        OSError, match="independent/train-00001-of-00003.parquet has not arrived: all processes must see"
    ):
        run(plan(CONFIGS, 50), str(folder), None, progress=False)


def test_no_more_rows_are_held_than_one_row_group_and_one_block() -> None:
    made = 0

    def blocks() -> Any:
        nonlocal made
        for start in range(0, 10_000, 10):
            made += 1
            yield pa.table({"place": range(start, start + 10)})

    groups = _row_groups(blocks(), pa.schema({"place": pa.int64()}), 25)
    assert next(groups)["place"].to_pylist() == list(range(25))
    assert made == 3
    assert next(groups)["place"].to_pylist() == list(range(25, 50))
    assert made == 6  # the 50th row ends a group only when a 51st is there


def test_split_without_rows_is_one_empty_group() -> None:
    (empty,) = _row_groups([], FACT_SCHEMA, 10)
    assert empty.num_rows == 0
    assert empty.schema == FACT_SCHEMA


def test_sizes_are_of_all_files_but_hidden_ones(tmp_path: Path) -> None:
    for path, data in {"a": b"1", "deep/b": b"12", ".c": b"3", "deep/.d": b"4"}.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(data)
    assert sizes(*opened(tmp_path)) == {"a": 1, "deep/b": 2}
    assert sizes(*opened(tmp_path / "nothing")) == {}
