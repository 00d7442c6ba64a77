"""behemoth data as a person calls it, and the recipes that all commands share."""

import dataclasses
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import distributed
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from behemoth_cli.sections import Section
from behemoth_cli.sections import sections as recipe_sections
from behemoth_data import CorpusConfig, LexiconConfig, WorldConfig
from behemoth_data.settings import setting

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
SMALL = ["--world.num_subjects", "12", "--world.num_objects", "20", "--corpus.repeats", "2", "--edits.edit_seeds", "1"]

RECIPE = """
world:
  num_subjects: 12
  num_objects: 20
  correlation: null
lexicon:
corpus:
  repeats: 3
  inversion_forms: [rso, sor]
edits:
  edit_seeds: 1
train:
  this_script: does not read the fields of another one
"""


@pytest.fixture
def recipe() -> ModuleType:
    return importlib.import_module("behemoth_cli.settings")


@pytest.fixture
def make_data() -> ModuleType:
    return importlib.import_module("behemoth_cli.data")


def process(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPTS / "make_data.py"), *words],
        cwd=folder,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_recipe_and_options_become_a_folder_and_one_line(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(RECIPE, encoding="utf-8")
    done = process(["small.yaml", "--output", "behemoth", "--corpus.repeats", "2"], tmp_path)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    # 12 x 4 facts twice, and as prompts in four forms, in two configs; with nesting 12 x 4 and 20 x 4 facts more; in
    # each of 5 tables 10 edits alone, 1 set of identical and 1 of different ones
    assert line.startswith("behemoth holds 6 configs, 1,692 rows, ")
    configs = json.loads((tmp_path / "behemoth" / "manifest.json").read_text(encoding="utf-8"))["configs"]
    assert len(configs) == 6
    for config in configs.values():
        assert (config["num_subjects"], config["repeats"], config["edit_seeds"]) == (12, 2, 1)
        assert config["inversion_forms"] == ["rso", "sor"]
    assert configs["correlated"]["correlation"] == 0.9
    assert configs["nested"]["num_nested_objects"] == 10


def test_bad_value_ends_the_process_with_status_2_and_one_line(tmp_path: Path) -> None:
    done = process(["--output", "behemoth", "--world.num_objects", "1"], tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "make_data.py: error: num_objects must be at least 2 so that an edit can change a fact, got 1"
    ]
    assert not (tmp_path / "behemoth").exists()


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("--world.num_nested_objects 7", ["num_nested_objects must divide num_objects = 100", "got 7"]),
        ("--world.num_objects 25", ["config nested: num_nested_objects must divide num_objects = 25", "got 10"]),
        ("--world.correlation 1.5", ["correlation must be above 0.01", "at most 1, got 1.5"]),
        ("--configs nestd", ["config must be one of independent, correlated, nested,", "got 'nestd'"]),
        ("--corpus.inversion_forms rso ros", ["inversion_forms must be one of sor, osr, rso, got 'ros'"]),
        ("--edits.edit_seeds 0", ["edit_seeds must be at least 1, got 0"]),
        (
            "--num_object 5",
            ["option must be one of --output,", "did you mean '--world.num_objects'?", "got '--num_object'"],
        ),
        ("--num_objects 5", ["--num_objects is now --world.num_objects"]),
        (
            "--world.num_object 5",
            ["option of world must be one of --world.num_subjects, ", "mean '--world.num_objects'?"],
        ),
        ("--world.num_subjects many", ["--world.num_subjects", "invalid int value: 'many'"]),
        ("--world.num_subjects null", ["--world.num_subjects", "invalid int value: 'null'"]),
        ("--world.correlation high", ["--world.correlation", "invalid float value: 'high'"]),
        ("no.yaml", ["recipe must be a YAML file such as", "recipes/base.yaml", "recipes/tiny.yaml", "got no.yaml"]),
        ("--rows_per_file 0", ["rows_per_file must be at least 1, got 0"]),
        ("--dask lcal", ["dask must be local or the address of a scheduler", "got lcal"]),
        ("--output nope://a", ["output must be a folder or a URL that fsspec can open, got nope://a"]),
    ],
)
def test_bad_input_is_one_clear_line_and_nothing_is_written(
    make_data: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: str,
    parts: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        make_data.main(words.split())
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    for part in parts:
        assert part in line
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("world: {num_subject: 5}", ["field of world in", "num_subjects", "got 'num_subject'"]),
        ("wrld: {num_subjects: 5}", ["section of", "world, lexicon, corpus", "got 'wrld'"]),
        ("world: 5", ["section world of", "must consist of fields, got 5"]),
        ("- world", ["must consist of sections, got list"]),
        ("world: {num_subjects: 1.5}", ["--world.num_subjects", "invalid int value: '1.5'"]),
        ("world: {num_subjects: {a: 1}}", ["num_subjects must be a value or a list, got {'a': 1}"]),
        ("world: {num_objects: 1}", ["num_objects must be at least 2", "got 1"]),
        ("world: [", ["must be YAML"]),
    ],
)
def test_bad_recipe_is_one_clear_line_and_nothing_is_written(
    make_data: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    text: str,
    parts: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit) as caught:
        make_data.main(["bad.yaml"])
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    for part in parts:
        assert part in line
    assert os.listdir(tmp_path) == ["bad.yaml"]


def test_output_that_holds_something_else_is_refused_until_overwrite_is_given(
    make_data: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("behemoth").mkdir()
    Path("behemoth/mine.txt").write_text("mine", encoding="utf-8")
    words = ["--output", "behemoth", "--configs", "independent", *SMALL]
    with pytest.raises(SystemExit) as caught:
        make_data.main(words)
    assert caught.value.code == 2
    assert "got behemoth: use --overwrite to replace it" in capsys.readouterr().err
    assert os.listdir("behemoth") == ["mine.txt"]
    make_data.main([*words, "--overwrite"])
    assert sorted(os.listdir("behemoth")) == ["README.md", "independent", "manifest.json", "structures"]


def test_cluster_writes_the_files_to_a_url(make_data: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    system = MemoryFileSystem()
    system.store.clear()
    words = ["--configs", "independent", *SMALL, "--rows_per_file", "50", "--output", "memory://behemoth"]
    with distributed.LocalCluster(processes=False, n_workers=2, dashboard_address="127.0.0.1:0") as cluster:
        make_data.main([*words, "--dask", cluster.scheduler_address])
    # 12 x 4 facts, each stated twice and prompted for in four forms
    assert capsys.readouterr().out.startswith("memory://behemoth holds 1 configs, 288 rows, ")
    names = [f"{split}-0000{number}" for split in ("test", "train", "validation") for number in (0, 1)]
    assert sorted(system.find("/behemoth")) == [
        "/behemoth/README.md",
        *(f"/behemoth/independent/{name}-of-00002.parquet" for name in names),
        "/behemoth/manifest.json",
        "/behemoth/structures/independent.svg",
    ]
    system.store.clear()


def test_base_recipe_is_what_comes_without_a_recipe(recipe: ModuleType) -> None:
    sections = recipe_sections("world", "lexicon", "corpus")
    base = recipe.parse(recipe.Options({}, sections, prog="test"), ["recipes/base.yaml"])
    assert base == (WorldConfig(), LexiconConfig(), CorpusConfig())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Own:
    config: str = setting("independent", "help")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    rank: int | None = setting(4, "help")
    names: tuple[str, ...] = setting(("a", "b"), "help")
    counts: list[int] = setting([1], "help")
    rate: float = setting(0.5, "help")
    shuffle: bool = setting(True, "help")
    note: str | None = setting(None, "help")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method:
    rank: int = setting(1, "help")
    layers: tuple[int, ...] | None = setting((2, 3), "help")


TRAIN = {"train": Section("help", Run)}


def parsed(recipe: ModuleType, tmp_path: Path, text: str, words: str = "", **options: Any) -> Run:
    (tmp_path / "recipe.yaml").write_text(text, encoding="utf-8")
    taken = recipe.Options({"": Own}, TRAIN, prog="test")
    _, run = recipe.parse(taken, [str(tmp_path / "recipe.yaml"), *words.split()], **options)
    assert isinstance(run, Run)
    return run


def test_recipe_can_hold_null_lists_and_every_scalar(recipe: ModuleType, tmp_path: Path) -> None:
    text = "train: {rank: null, names: [x], counts: [2, -3], rate: -1e-3, shuffle: false, note: a b}"
    assert parsed(recipe, tmp_path, text) == Run(
        rank=None, names=("x",), counts=[2, -3], rate=-0.001, shuffle=False, note="a b"
    )


def test_empty_recipe_gives_the_defaults(recipe: ModuleType, tmp_path: Path) -> None:
    assert parsed(recipe, tmp_path, "") == Run()
    assert parsed(recipe, tmp_path, "train:") == Run()


def test_command_line_wins_over_recipe_over_preset_over_default(recipe: ModuleType, tmp_path: Path) -> None:
    presets: dict[str, Any] = {"independent": {}, "other": {"train": {"rank": 8, "rate": 0.1, "names": ("p",)}}}
    words = "--config other --train.names c d"
    run = parsed(recipe, tmp_path, "train: {rate: 0.2, names: [r]}", words, presets=presets)
    assert run == Run(rank=8, rate=0.2, names=("c", "d"))
    assert parsed(recipe, tmp_path, "", "--config other --train.rank null", presets=presets).rank is None


def test_unknown_preset_lists_the_known_ones(
    recipe: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parsed(recipe, tmp_path, "", "--config nest", presets={"independent": {}, "nested": {}})
    assert "config must be one of independent, nested, got 'nest'" in capsys.readouterr().err


def test_section_of_other_commands_is_passed_over_and_that_of_this_one_is_checked(
    recipe: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("train: {rank: 2}\nlora: {ranks: 16}", encoding="utf-8")
    assert recipe.parse(recipe.Options({}, TRAIN, prog="test"), [str(path)]) == (Run(rank=2),)
    both = {**TRAIN, "lora": Section("help", Method, swept=True)}
    with pytest.raises(SystemExit):
        recipe.parse(recipe.Options({}, both, prog="test"), [str(path)])
    assert "field of lora in " in (said := capsys.readouterr().err)
    assert "must be one of rank, layers, got 'ranks'" in said


def test_every_value_of_a_swept_section_is_combined_with_every_other(recipe: ModuleType) -> None:
    taken = recipe.Options({}, {"lora": Section("help", Method, swept=True)}, prog="test")
    (found,) = recipe.parse(taken, ["--lora.layers", "1,2", "none"], recipe={"lora": {"rank": [1, 4]}})
    assert found == [Method(rank=rank, layers=layers) for rank in (1, 4) for layers in ((1, 2), None)]


def test_section_of_a_recipe_may_hold_options_that_go_by_their_names_alone(recipe: ModuleType) -> None:
    taken = recipe.Options({"train": Own}, TRAIN, prog="test")
    own, run = recipe.parse(taken, ["--train.rank", "2"], recipe={"train": {"config": "other", "rate": 0.1}})
    assert (own, run) == (Own(config="other"), Run(rank=2, rate=0.1))


def test_hyphens_stand_for_underscores_in_names_and_for_themselves_in_values(recipe: ModuleType) -> None:
    taken = recipe.Options({}, recipe_sections("world"), prog="test")
    (world,) = recipe.parse(taken, ["--world.num-subjects", "7", "--world.binary-first=false"], recipe={})
    assert world == WorldConfig(num_subjects=7)
    (run,) = recipe.parse(recipe.Options({}, TRAIN, prog="test"), ["--train.note=a-b", "--train.rate", "-1"], recipe={})
    assert (run.note, run.rate) == ("a-b", -1.0)


def help_of(main: Any, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as caught:
        main([*words])
    assert caught.value.code == 0
    return " ".join(capsys.readouterr().out.split())


def test_help_explains_every_option(make_data: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of(make_data.main, capsys, "--help")
    for field in dataclasses.fields(make_data.DataArguments):
        assert f"--{field.name} " in text
        assert " ".join(field.metadata["help"].split()) in text
    for name in make_data.SECTIONS:
        assert f" {name} " in text
        part = help_of(make_data.main, capsys, "--help", name)
        for field in dataclasses.fields(make_data.SECTIONS[name].load()):
            assert f"--{name}.{field.name} " in part
            assert " ".join(field.metadata["help"].split()) in part


def test_help_of_a_section_that_there_is_not_names_those_that_there_are(
    make_data: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        make_data.main(["--help", "wrld"])
    assert caught.value.code == 2
    line = (
        "behemoth data: error: section must be one of world, lexicon, corpus, edits, got 'wrld' (did you mean 'world'?)"
    )
    assert capsys.readouterr().err == f"{line}\n"
