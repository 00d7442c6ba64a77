"""The published folder: complete, reproducible, loadable by its name, and never half there."""

import errno
import hashlib
import importlib
import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from huggingface_hub import DatasetCard
from jinja2 import UndefinedError
from pyarrow import parquet

from behemoth_data import CorpusConfig, Edge, WorldConfig, build, export, load_dataset
from behemoth_data.edits import KINDS
from behemoth_data.export import read_manifest
from behemoth_data.tables import EDIT_SCHEMA, FACT_SCHEMA, fact_table, sentence_table

# The package has a function of the same name, so the module is not its attribute.
MODULE = importlib.import_module("behemoth_data.export")

SMALL: dict[str, Any] = {
    "num_subjects": 30,
    "num_objects": 20,
    "repeats": 2,
    "edit_seeds": 1,
    "edits_per_set": 2,
}
# By hand: 30 x 4 facts twice; with nesting, as many nested facts, and 20 x 4 facts about objects.
ROWS = {
    "independent": {"train": 240, "validation": 120},
    "correlated": {"train": 240, "validation": 120},
    "nested": {"train": 640, "validation": 320},
}
# For each table two single edits, one set of identical and one of different ones.
EDIT_SETS = {"independent_edits": 4, "correlated_edits": 4, "nested_edits": 12}


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write(folder: Path, **overrides: Any) -> Path:
    return export(folder, ["independent"], overrides={**SMALL, **overrides}, progress=False)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(tmp_path_factory.mktemp("exported") / "behemoth", overrides=SMALL, progress=False)


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
    assert train.to_pylist() == sentence_table(corpus, 0, len(corpus)).to_pylist()
    facts = parquet.read_table(exported / "nested" / "validation-00000-of-00001.parquet")
    assert facts.to_pylist() == [row for edge in Edge for row in fact_table(corpus, edge).to_pylist()]


def test_same_config_gives_the_same_bytes_whatever_the_folder_is_called(exported: Path, tmp_path: Path) -> None:
    again = export(tmp_path / "another name", overrides=SMALL, progress=False)
    assert files(again) == files(exported)


def test_another_seed_gives_other_bytes(tmp_path: Path) -> None:
    one, other = write(tmp_path / "one"), write(tmp_path / "other", seed=1)
    train = "independent/train-00000-of-00001.parquet"
    assert files(one)[train] != files(other)[train]


def test_bytes_do_not_depend_on_the_size_of_the_builders_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = write(tmp_path / "one")
    monkeypatch.setattr("behemoth_data.behemoth._BLOCK", 7)
    assert files(write(tmp_path / "other")) == files(one)


def test_shards_hold_at_most_so_many_rows_and_keep_the_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = parquet.read_table(write(tmp_path / "whole") / "independent" / "train-00000-of-00001.parquet")
    monkeypatch.setattr(MODULE, "_SHARD_ROWS", 100)
    monkeypatch.setattr(MODULE, "_FACT_GROUP", 50)
    shards = sorted((write(tmp_path / "sharded") / "independent").glob("train-*"))
    assert [path.name for path in shards] == [f"train-0000{i}-of-00003.parquet" for i in range(3)]
    tables = [parquet.read_table(path) for path in shards]
    assert [table.num_rows for table in tables] == [100, 100, 40]
    assert pa.concat_tables(tables).to_pylist() == whole.to_pylist()
    metadata = parquet.read_metadata(shards[0])
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [50, 50]


def test_no_more_rows_are_held_than_one_row_group_and_one_block() -> None:
    made = 0

    def blocks() -> Any:
        nonlocal made
        for start in range(0, 10_000, 10):
            made += 1
            yield pa.table({"place": range(start, start + 10)})

    groups = MODULE._row_groups(blocks(), pa.schema({"place": pa.int64()}), 25)
    assert next(groups)["place"].to_pylist() == list(range(25))
    assert made == 3
    assert next(groups)["place"].to_pylist() == list(range(25, 50))
    assert made == 6  # the 50th row ends a group only when a 51st is there


def test_split_without_rows_is_one_empty_file() -> None:
    (empty,) = MODULE._row_groups([], FACT_SCHEMA, 10)
    assert empty.num_rows == 0
    assert empty.schema == FACT_SCHEMA


def test_manifest_lists_every_other_file_with_its_digest_and_size(exported: Path) -> None:
    found = files(exported)
    del found["manifest.json"]
    assert read_manifest(exported)["files"] == {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)} for name, data in found.items()
    }


def test_manifest_says_rows_and_every_field_of_each_config(exported: Path) -> None:
    manifest = read_manifest(exported)
    assert manifest["rows"] == {**ROWS, **{name: {"test": count} for name, count in EDIT_SETS.items()}}
    assert manifest["configs"]["nested_edits"] == {
        "num_subjects": 30,
        "num_relations": 4,
        "num_objects": 20,
        "correlation": None,
        "binary_first": False,
        "num_nested_objects": 10,
        "minority_fraction": 0.0,
        "seed": 0,
        "one_token_limit": 1000,
        "repeats": 2,
        "inversion_fraction": 0.5,
        "inversion_forms": ["rso"],
        "object_nested_upweight": 1,
        "minority_share": 0.1,
        "order_seed": 0,
        "edits_per_set": 2,
        "edit_seeds": 1,
    }


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
    assert {path.name for path in folder.iterdir()} == {"README.md", "manifest.json", "nested_edits"}
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


@pytest.mark.parametrize(("where", "old_stays"), [("writing", True), ("renaming", False)])
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


# The card.


def test_card_has_what_the_hub_reads(exported: Path) -> None:
    data = front_matter(exported)
    assert data["license"] == "apache-2.0"
    assert data["size_categories"] == ["1K<n<10K"]  # 240 + 120 + 240 + 120 + 640 + 320 + 20 rows
    assert data["annotations_creators"] == data["language_creators"] == ["machine-generated"]
    assert data["source_datasets"] == ["original"]
    assert {"pretty_name", "language", "task_categories", "tags", "dataset_info"} <= set(data)
    configs = {config["config_name"]: config for config in data["configs"]}
    assert list(configs) == [*ROWS, *EDIT_SETS]
    assert [name for name, config in configs.items() if config.get("default")] == ["independent"]
    assert configs["nested"]["data_files"] == [
        {"split": "train", "path": "nested/train-*.parquet"},
        {"split": "validation", "path": "nested/validation-*.parquet"},
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


def test_card_describes_every_column_and_kind_and_shows_rows_of_this_dataset(exported: Path) -> None:
    text = DatasetCard.load(exported / "README.md").text
    for name in (*FACT_SCHEMA.names, *EDIT_SCHEMA.names):
        assert f"| `{name}` |" in text
    asked = parquet.read_table(exported / "nested_edits" / "test-00000-of-00001.parquet")["probes"].to_pylist()
    counts = {kind: sum(probe["kind"] == kind for probes in asked for probe in probes) for kind in KINDS}
    for kind in KINDS:
        (line,) = [line for line in text.splitlines() if line.startswith(f"| `{kind}` |")]
        assert line.endswith(f"| {counts[kind]:,} |")
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
    assert len(rows) == 4 * (3 + 3 + 4)


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
