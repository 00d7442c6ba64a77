"""Facts about the published dataset: names, splits, overrides, and rows that never change unnoticed.

Run as a script, this file writes the golden digests of the rows as JSON to standard output.
"""

import ast
import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import datasets
import pytest
from datasets.distributed import split_dataset_by_node
from datasets.exceptions import DatasetGenerationError

import behemoth_data.behemoth as behemoth
from behemoth_data.behemoth import CONFIG_NAMES, VERSION, Behemoth, code_digest, rows_of

GOLDEN = Path(__file__).parents[1] / "golden" / "data.json"
WORLDS = ("independent", "correlated", "nested")
SMALL = {"num_subjects": 40, "num_relations": 3, "num_objects": 20, "repeats": 2, "edits_per_set": 2, "edit_seeds": 2}
COLUMNS = ["text", "prompt", "answer", "form", "edge", "subject", "relation", "object"]
COLUMNS += ["subject_word", "relation_word", "object_word"]


def digests(rows_by_split):
    """Per split, SHA-256 over the rows as JSON with sorted keys, one row per line."""
    found = {}
    for split, rows in rows_by_split.items():
        sha = hashlib.sha256()
        for row in rows:
            sha.update(json.dumps(row, sort_keys=True, separators=(",", ":")).encode() + b"\n")
        found[str(split)] = sha.hexdigest()
    return found


@functools.cache
def streamed(name):
    return digests(Behemoth(config_name=name, **SMALL).as_streaming_dataset())


def streamed_digests():
    return {"version": VERSION, "overrides": SMALL, "digests": {name: streamed(name) for name in CONFIG_NAMES}}


def prepared(cache, name="nested", num_proc=None, **overrides):
    builder = Behemoth(cache_dir=str(cache), config_name=name, **{**SMALL, **overrides})
    builder.download_and_prepare(num_proc=num_proc)
    return builder.as_dataset()


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def quiet():
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


# what is published


def test_configs_are_the_three_worlds_and_their_edits():
    expected = ("independent", "correlated", "nested", "independent_edits", "correlated_edits", "nested_edits")
    assert expected == CONFIG_NAMES == tuple(config.name for config in Behemoth.BUILDER_CONFIGS)
    assert Behemoth.DEFAULT_CONFIG_NAME == "independent"
    assert {str(config.version) for config in Behemoth.BUILDER_CONFIGS} == {VERSION}


@pytest.mark.parametrize("name", WORLDS)
def test_world_config_has_a_row_per_sentence_and_a_row_per_fact_in_each_form_with_a_prompt(cache, name):
    data = prepared(cache, name, repeats=3)
    facts = 40 * 3 * (2 if name == "nested" else 1) + (20 * 3 if name == "nested" else 0)
    assert {split: data[split].num_rows for split in data} == {
        "train": 3 * facts,
        "validation": 2 * facts,
        "test": 2 * facts,
    }
    for split in data:
        assert data[split].column_names == COLUMNS
        edge = data[split].features["edge"]
        assert edge == datasets.ClassLabel(names=["subject_object", "subject_nested", "object_nested"])
    keys = ("edge", "subject", "relation", "object")
    asked = Counter(tuple(row[key] for key in (*keys, "form")) for row in data["validation"])
    assert max(asked.values()) == 1
    assert {form for *_, form in asked} == {"statement", "rso"}
    assert set(data["test"]["form"]) == {"question", "new_question"}
    assert Counter(tuple(row[key] for key in keys) for row in data["train"]) == dict.fromkeys(
        {tuple(fact) for *fact, _ in asked}, 3
    )


@pytest.mark.parametrize("name", WORLDS)
def test_worlds_differ_as_their_names_say(cache, name):
    rows = prepared(cache, name, num_subjects=300, repeats=1)["validation"]
    objects = {(row["subject"], row["relation"]): row["object"] for row in rows if row["edge"] == 0}
    equal = sum(objects[s, 0] == objects[s, 1] for s in range(300))
    assert 240 < equal < 300 if name == "correlated" else equal < 40  # 270 and 15 are expected
    assert {row["edge"] for row in rows} == ({0, 1, 2} if name == "nested" else {0})


@pytest.mark.parametrize("name", WORLDS)
def test_edits_config_has_every_scenario_of_every_table_for_every_seed(cache, name):
    data = prepared(cache, f"{name}_edits")
    assert list(data) == ["test"]
    edges = ("subject_object", "subject_nested", "object_nested") if name == "nested" else ("subject_object",)
    found = Counter((row["scenario"], row["edge"], row["seed"], len(row["edits"])) for row in data["test"])
    expected = {}
    for edge in edges:
        for seed in (0, 1):
            expected["single", edge, seed, 1] = 2
            expected["identical", edge, seed, 2] = 1
            expected["different", edge, seed, 2] = 1
    assert found == expected


def test_edits_are_about_facts_of_the_published_world(cache):
    world = prepared(cache, "nested")["validation"]
    answers = {row["prompt"]: row["answer"] for row in world}
    for row in prepared(cache, "nested_edits")["test"]:
        for probe in row["probes"]:
            if probe["form"] in ("statement", "rso"):
                assert answers[probe["prompt"]] == probe["answer_before"]
        for fact in row["retain"]:
            assert answers[fact["prompt"]] == fact["answer"]


def test_fewer_edits_are_published_where_the_world_has_fewer(cache):
    rows = prepared(cache, "nested_edits", edits_per_set=7, edit_seeds=1)["test"]
    counts = {(row["scenario"], row["edge"]): len(row["edits"]) for row in rows}
    assert counts["different", "subject_object"] == 7
    assert counts["different", "object_nested"] == 5  # 10 nested objects: five old ones and five new ones
    assert counts["identical", "object_nested"] == 2  # 20 objects in 10 nested objects


# the same rows however they are made


@pytest.mark.parametrize("name", CONFIG_NAMES)
def test_rows_are_those_of_the_golden_digests(name):
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    found = {"version": VERSION, "digests": streamed(name)}
    assert found == {"version": golden["version"], "digests": golden["digests"][name]}, (
        "the rows changed: bump VERSION in behemoth_data/behemoth.py and the changelog, or find what changed"
    )


def test_golden_digests_are_of_the_small_worlds_and_of_every_config():
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert golden["overrides"] == SMALL
    assert tuple(golden["digests"]) == CONFIG_NAMES


@pytest.mark.parametrize("name", CONFIG_NAMES)
def test_prepared_rows_are_the_streamed_ones(cache, name):
    assert digests(prepared(cache, name)) == streamed(name)


@pytest.mark.parametrize(
    ("name", "num_proc"),
    [
        ("nested", 2),
        ("nested_edits", 3),
        *(
            pytest.param(name, num_proc, marks=pytest.mark.slow)
            for name, num_proc in [("nested", 1), ("nested", 3), ("nested_edits", 1), ("nested_edits", 2)]
        ),
    ],
)
def test_any_number_of_processes_make_the_same_rows(tmp_path, monkeypatch, name, num_proc):
    monkeypatch.setattr(behemoth, "_SHARD", 100)  # several shards of sentences, which the processes share
    assert digests(prepared(tmp_path, name, num_proc=num_proc, edit_seeds=3)) == digests(
        Behemoth(config_name=name, **{**SMALL, "edit_seeds": 3}).as_streaming_dataset()
    )


def test_shards_and_blocks_leave_no_trace_in_the_rows(cache, tmp_path, monkeypatch):
    whole = digests(prepared(cache))
    monkeypatch.setattr(behemoth, "_SHARD", 77)
    monkeypatch.setattr("behemoth_data.rows.Rows.rows_per_block", 10)
    assert digests(prepared(tmp_path)) == whole


# 600 sentences or facts: 6 shards, two for each node, or 8, of which each node reads all and keeps a third of the rows
@pytest.mark.parametrize("shard", [100, 80])
@pytest.mark.parametrize("split", ["train", "validation"])
def test_three_nodes_stream_every_row_once(monkeypatch, split, shard):
    monkeypatch.setattr(behemoth, "_SHARD", shard)
    stream = Behemoth(config_name="nested", **SMALL).as_streaming_dataset(split=split)
    assert stream.num_shards == {100: 6, 80: 8}[shard]
    nodes = [list(split_dataset_by_node(stream, rank, 3)) for rank in range(3)]
    assert [len(rows) for rows in nodes] == [200, 200, 200]
    assert Counter(json.dumps(row) for rows in nodes for row in rows) == Counter(json.dumps(row) for row in stream)


def test_every_seed_of_edits_is_a_shard():
    builder = Behemoth(config_name="nested_edits", **{**SMALL, "edit_seeds": 3})
    assert builder.as_streaming_dataset(split="test").num_shards == 3


def test_ranges_of_one_config_share_what_was_looked_up():
    config, other = (Behemoth(config_name="nested", **{**SMALL, "repeats": n}).config for n in (2, 3))
    assert rows_of(config) is rows_of(config)
    assert rows_of(other)["train"].corpus.config.repeats == 3
    assert rows_of(config)["train"].corpus.config.repeats == 2


@pytest.mark.slow
def test_rows_do_not_depend_on_pythons_hash_seed():
    done = subprocess.run(
        [sys.executable, __file__],
        env={**os.environ, "PYTHONHASHSEED": "12345", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == streamed_digests()


def test_another_seed_gives_other_rows(cache):
    first, other = digests(prepared(cache)), digests(prepared(cache, seed=1))
    assert all(first[split] != other[split] for split in ("train", "validation"))


def test_another_order_seed_reorders_training_and_asks_the_same_facts(cache):
    first, other = digests(prepared(cache)), digests(prepared(cache, order_seed=1))
    assert first["train"] != other["train"]
    assert first["validation"] == other["validation"]
    assert first["test"] == other["test"]


# overrides


def files_below(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_any_field_of_world_words_and_corpus_can_be_overridden(cache):
    rows = prepared(cache, "nested", num_nested_objects=4, one_token_limit=8, inversion_forms=("sor",))
    assert {row["object"] for row in rows["validation"] if row["edge"] == 2} == {0, 1, 2, 3}
    assert {len(row["subject_word"].split()) for row in rows["validation"]} == {2}
    assert {row["form"] for row in rows["train"]} == {"statement", "sor"}
    assert {row["prompt"] is None for row in rows["train"] if row["form"] == "sor"} == {True}
    assert {row["answer"] is None for row in rows["train"] if row["form"] == "statement"} == {False}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"num_nested_objects": 7}, "num_nested_objects must divide num_objects = 20 .* got 7"),
        ({"num_objects": 1}, "num_objects must be at least 2 .* got 1"),
        ({"correlation": 1.5}, "correlation must be above .* got 1.5"),
        ({"repeats": 0}, "repeats must be at least 1, got 0"),
        ({"one_token_limit": 1}, "one_token_limit must lie between 2 and 1000, got 1"),
        ({"inversion_forms": ("poem",)}, "inversion_forms must be one of sor, osr, rso, got 'poem'"),
    ],
)
@pytest.mark.parametrize("name", ["nested_edits"])
def test_bad_override_is_refused_before_any_file_is_written(tmp_path, name, overrides, message):
    with pytest.raises(ValueError, match=message):
        prepared(tmp_path, name, **overrides)
    assert files_below(tmp_path) == []


@pytest.mark.parametrize("overrides", [{"edits_per_set": 0}, {"edit_seeds": 0}, {"edit_seeds": -1}])
def test_bad_number_of_edits_is_refused_before_any_file_is_written(tmp_path, overrides):
    (field,) = overrides
    with pytest.raises(ValueError, match=f"{field} must be at least 1, got {overrides[field]}"):
        prepared(tmp_path, "nested_edits", **overrides)
    assert files_below(tmp_path) == []


def test_unknown_override_is_refused_before_any_file_is_written(tmp_path):
    with pytest.raises(ValueError, match="num_subject"):
        prepared(tmp_path, num_subject=3)
    assert files_below(tmp_path) == []


def test_unknown_config_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'nestled' not found\. Available: .*'independent'.*'nested_edits'"):
        Behemoth(config_name="nestled")


def test_failure_in_the_middle_leaves_no_rows_to_load(tmp_path, monkeypatch):
    def fail(self, start, stop):
        if start:
            raise OSError("disk full")
        return behemoth.FACT_SCHEMA.empty_table()

    monkeypatch.setattr("behemoth_data.rows.Rows.rows_per_block", 10)
    monkeypatch.setattr("behemoth_data.rows.SentenceTables.table", fail)
    with pytest.raises(DatasetGenerationError):
        prepared(tmp_path)
    assert not [path for path in files_below(tmp_path) if path.suffix == ".arrow"]


# the cache


def test_cache_is_keyed_by_the_code_that_makes_the_rows(tmp_path):
    builder = Behemoth(cache_dir=str(tmp_path), config_name="nested")
    assert builder.hash == code_digest()
    assert code_digest() in Path(builder.cache_dir).parts
    assert Behemoth(cache_dir=str(tmp_path), config_name="nested", hash="f" * 16).hash == "f" * 16


@pytest.mark.parametrize("overrides", [{"seed": 1}, {"repeats": 3}, {"one_token_limit": 90}, {"edit_seeds": 3}])
def test_every_override_has_a_cache_of_its_own(tmp_path, overrides):
    plain, other = (Behemoth(cache_dir=str(tmp_path), config_name="nested", **fields) for fields in ({}, overrides))
    assert plain.cache_dir != other.cache_dir


def imported(name):
    """The module of the package and all others that it imports at its top, their imports included."""
    tree = ast.parse((Path(behemoth.__file__).parent / f"{name}.py").read_text(encoding="utf-8"))
    froms = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module.startswith("behemoth_data")]
    modules = {f"{node.module}.{alias.name}".split(".")[1] for node in froms for alias in node.names}
    return {name}.union(*map(imported, modules))


ROW_CODE = sorted(imported("behemoth"))


def test_code_that_makes_rows_is_what_the_builder_imports():
    assert {"behemoth", "rows", "tables", "edits", "rng"} <= set(ROW_CODE)
    assert sorted(behemoth._ROW_CODE) == ROW_CODE


@pytest.mark.parametrize("name", ROW_CODE)
def test_digest_of_the_code_changes_with_every_file_that_makes_rows(tmp_path, monkeypatch, name):
    folder = Path(behemoth.__file__).parent
    for module in ROW_CODE:
        shutil.copy(folder / f"{module}.py", tmp_path)
    monkeypatch.setattr(behemoth.resources, "files", lambda package: tmp_path)
    before = code_digest()
    with (tmp_path / f"{name}.py").open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    assert code_digest() != before


if __name__ == "__main__":
    json.dump(streamed_digests(), sys.stdout, indent=2)
    sys.stdout.write("\n")
