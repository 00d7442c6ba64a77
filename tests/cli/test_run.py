"""behemoth train and behemoth edit as a person calls them, on the small world's model."""

import dataclasses
import importlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import datasets
import huggingface_hub
import pytest
import torch
from accelerate.state import AcceleratorState

from behemoth_cli.edit import chosen, options
from behemoth_cli.settings import parse
from behemoth_data import EditConfig
from behemoth_editing import METHODS
from behemoth_editing.sweep.kept import kept_models

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
# With every default spelled out, accelerate asks and says nothing.
LAUNCH = (
    "-m accelerate.commands.launch --num_machines 1 --num_processes 1 --mixed_precision no --dynamo_backend no"
    " --num_cpu_threads_per_process 2"
)
LIMITS = [
    f"--{name}.{field.name} 3"
    for name, method in METHODS.items()
    for field in dataclasses.fields(method)
    if field.name in ("steps", "max_steps")
]
QUICK = f"{' '.join(LIMITS)} --sweep.probes_per_edit 5"
# 8 subjects x 2 relations x 4 sentences: four steps.
TINY_TRAINING = "--world.num_subjects 8 --world.num_relations 2 --world.num_objects 4 --corpus.repeats 4"
TINY_TRAINING += " --train.size 14m --train.batch_size 16"


@pytest.fixture
def script(monkeypatch, tmp_path):
    """A function that gives a command's module; the working directory is empty."""
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)  # this process has its own number
    monkeypatch.setenv("COLUMNS", "10000")  # help texts stand on one line
    monkeypatch.chdir(tmp_path)
    yield lambda name: importlib.import_module(f"behemoth_cli.{name}")
    # What a script's process would have taken with it.
    AcceleratorState._reset_state(reset_partial_state=True)


def process(words, folder, launch=""):
    """A script in a process of its own, offline."""
    return subprocess.run(
        [sys.executable, *launch.split(), str(SCRIPTS / words[0]), *words[1:]],
        cwd=folder,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def rows_in(folder):
    return [json.loads(line) for line in (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()]


def refused(main, words, capsys, status=2):
    """The one line that a script ends with; a bar that showed how the model was loaded may come before it."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == status
    said = capsys.readouterr()
    assert said.out == ""
    lines = re.sub(r"\r?Loading weights:[^\r\n]*", "", said.err).splitlines()
    (line,) = [line for line in lines if line.strip()]
    assert re.match(r"behemoth (train|edit): error: ", line)
    return line


def test_edit_runs_every_method_and_prints_the_table_and_where_the_results_are(script, beginner, tmp_path, capsys):
    words = [
        "--model",
        beginner.name,
        "--scenarios",
        "different",
        "--sweep.num_edits",
        "2",
        *QUICK.split(),
    ]
    script("edit").main([*words, "--methods", *METHODS, "--output_dir", "results/demo"])
    cells = len(METHODS)
    said = capsys.readouterr()
    *table, last = said.out.splitlines()
    assert last == f"results/demo/results.jsonl holds {cells} cells, 0 of them failed, 0 from an earlier run"
    for name in METHODS:
        assert any(name in line for line in table)
    rows = rows_in(tmp_path / "results" / "demo")
    assert [row["method"] for row in rows] == list(METHODS)
    assert all(row["error"] is None for row in rows)
    assert os.listdir(tmp_path) == ["results"]
    assert "Traceback" not in said.err
    table = datasets.load_dataset(str(tmp_path / "results" / "demo"), split="test")
    for name in ("cell", "method"):
        assert list(table[name]) == [row[name] for row in rows]
    assert list(table["edit_success"]) == [row["scores"]["edit_success"]["value"] for row in rows]


@pytest.mark.slow
def test_accelerate_launches_edit_on_a_recipe_whose_settings_the_command_line_overrides(trained, tmp_path):
    recipe = "rome: {layer: 3, steps: 2, site: subject_last}\nsweep: {num_edits: 1, probes_per_edit: 3, seeds: [4]}\n"
    (tmp_path / "my.yaml").write_text(recipe, encoding="utf-8")
    words = f"edit.py my.yaml --model {trained} --methods rome --rome.layer 1 --output_dir out".split()
    done = process(words, tmp_path, launch=LAUNCH)
    assert done.returncode == 0, done.stderr
    (row,) = rows_in(tmp_path / "out")
    assert (row["settings"]["layer"], row["settings"]["steps"], row["settings"]["site"]) == (1, 2, "subject_last")
    assert (row["num_edits"], row["seed"]) == (1, 4)
    assert row["versions"]["behemoth"]


def test_recipe_section_of_a_method_reaches_the_row(script, trained, tmp_path):
    Path("my.yaml").write_text("rome: {layer: 3, steps: 2}\nlora: {rank: 2}\n", encoding="utf-8")
    words = (
        f"my.yaml --model {trained} --sweep.num_edits 1 --sweep.probes_per_edit 2 --lora.max_steps 2 --output_dir out"
    )
    script("edit").main([*words.split(), "--methods", "rome", "lora"])
    rome, lora = (row["settings"] for row in rows_in(tmp_path / "out"))
    assert (rome["layer"], rome["steps"], rome["site"]) == (3, 2, "prompt_last")
    assert (lora["rank"], lora["max_steps"]) == (2, 2)


def test_every_list_of_a_recipe_or_an_option_is_swept(tmp_path):
    recipe = """
    sweep: {methods: [lora, rome], scenarios: [single, different], seeds: [0, 1], num_edits: [1, 2]}
    lora: {rank: [1, 2], layers: [[2, 3], [1], null], max_steps: 1}
    rome: {steps: 1}
    """
    (tmp_path / "my.yaml").write_text(recipe, encoding="utf-8")
    words = f"{tmp_path / 'my.yaml'} --rome.layer 1 2 --rome.site prompt_last"
    _, grid, *parsed = parse(options(), words.split())
    methods, draws = chosen(grid, *parsed)
    assert sorted((draw.scenario, draw.edit_seed, draw.num_edits) for draw in draws) == sorted(
        itertools.product(["single", "different"], [0, 1], [1, 2])
    )
    lora = [(method.rank, method.layers, method.max_steps) for method in methods if method.name == "lora"]
    assert sorted(map(str, lora)) == sorted(map(str, itertools.product((1, 2), ((2, 3), (1,), None), (1,))))
    rome = [(method.layer, method.site, method.steps) for method in methods if method.name == "rome"]
    assert sorted(rome) == [(1, "prompt_last", 1), (2, "prompt_last", 1)]
    assert len(methods) == len(lora) + len(rome)


def test_dry_run_shows_cells_and_their_time_and_writes_nothing(script, trained, tmp_path, capsys):
    words = f"--model {trained} --methods rome lora --scenarios single different --output_dir out {QUICK}"
    words += " --sweep.num_edits 2"
    script("edit").main([*words.split(), "--lora.rank", "1", "8", "--dry_run"])
    head, *lines, last = capsys.readouterr().out.splitlines()
    assert head.split()[:2] == ["cells", "minutes"]
    kinds = [" ".join(line.split()[2:]) for line in lines]
    assert kinds == [
        f"{method} {scenario} subject_object {settings}"
        for scenario in ("single", "different")
        for method, settings in (("rome", "steps=3"), ("lora", "max_steps=3 rank=1"), ("lora", "max_steps=3"))
    ]
    assert [line.split()[0] for line in lines] == ["1"] * 6
    assert re.fullmatch(r"6 cells of 6 are missing: about \d+\.\d minutes in 1 processes, .*", last)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("recall", "warned"), [(0.94, True), (0.96, False)])
def test_model_that_knows_little_is_edited_with_a_warning_or_refused(
    script, trained, tmp_path, caplog, capsys, recall, warned
):
    folder = shutil.copytree(trained, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["behemoth"]["recall"]["statement"]["subject_object"] = recall
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    words = f"--model model --methods rome --sweep.num_edits 1 --output_dir out {QUICK}".split()
    script("edit").main(words)
    assert (f"model knows {recall:.2%} of subject_object: what it does not know" in caplog.text) == warned
    assert len(rows_in(tmp_path / "out")) == 1
    line = refused(script("edit").main, [*words, "--require_recall", "0.97"], capsys)
    assert f"require_recall is 0.97, but model knows {recall:.2%} of subject_object" in line


@pytest.mark.parametrize(
    ("section", "options"),
    [("finetune: {layers: null, max_steps: 1}", ""), ("finetune: {max_steps: 1}", "--finetune.layers none")],
)
def test_no_choice_of_layers_can_be_written_down(script, trained, tmp_path, section, options):
    Path("my.yaml").write_text(section, encoding="utf-8")
    words = (
        f"my.yaml --model {trained} --methods finetune --sweep.num_edits 1 --sweep.probes_per_edit 2 --output_dir out"
    )
    script("edit").main([*words.split(), *options.split()])
    (row,) = rows_in(tmp_path / "out")
    assert row["settings"]["layers"] is None


def test_layers_can_be_listed(script, trained, tmp_path):
    words = f"--model {trained} --methods finetune --sweep.num_edits 1 --sweep.probes_per_edit 2 --output_dir out"
    script("edit").main(f"{words} --finetune.layers 0,4 5 --finetune.max_steps 1".split())
    assert [row["settings"]["layers"] for row in rows_in(tmp_path / "out")] == [[0, 4], [5]]


def test_same_command_again_does_only_what_is_missing(script, trained, tmp_path, capsys):
    words = f"--model {trained} --methods finetune --sweep.num_edits 1 --output_dir out {QUICK}".split()
    script("edit").main(words)
    before = rows_in(tmp_path / "out")
    capsys.readouterr()
    script("edit").main([*words, "--seeds", "0", "1"])
    assert capsys.readouterr().out.splitlines()[-1].endswith("holds 2 cells, 0 of them failed, 1 from an earlier run")
    assert rows_in(tmp_path / "out")[0] == before[0]
    script("edit").main([*words, "--overwrite"])
    (row,) = rows_in(tmp_path / "out")
    assert row["started"] >= before[0]["started"]
    assert row["units"] == before[0]["units"]


def counts_in(folder):
    """The raw counts of every row, by cell. Raises: AssertionError if a cell has two rows."""
    rows = rows_in(folder)
    found = {
        row["cell"]: [{part: unit[part] for part in ("change", "keep", "ripple")} for unit in row["units"]]
        for row in rows
    }
    assert len(found) == len(rows)
    return found


@pytest.fixture(scope="module")
def unbroken(trained, tmp_path_factory):
    """The words of a sweep of eight cells, and the counts of its rows when nothing interrupts it."""
    words = (
        f"edit.py --model {trained} --methods rome lora --seeds 0 1 2 3 --sweep.num_edits 1 --output_dir out {QUICK}"
    )
    folder = tmp_path_factory.mktemp("unbroken")
    done = process(words.split(), folder)
    assert done.returncode == 0, done.stderr
    return words.split(), counts_in(folder / "out")


@pytest.mark.slow
def test_sweep_that_is_killed_ends_with_the_rows_of_an_unbroken_one(script, unbroken, tmp_path, capsys):
    words, expected = unbroken
    path = tmp_path / "out" / "results.jsonl"
    with subprocess.Popen(
        [sys.executable, str(SCRIPTS / words[0]), *words[1:]],
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as running:
        while running.poll() is None and (not path.exists() or path.read_bytes().count(b"\n") < 2):
            time.sleep(0.01)
        running.kill()
    assert running.returncode == -signal.SIGKILL
    before = path.read_bytes().count(b"\n")
    assert 2 <= before < 8
    script("edit").main(words[1:])
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.endswith(f"holds 8 cells, 0 of them failed, {before} from an earlier run")
    assert counts_in(tmp_path / "out") == expected


@pytest.mark.slow
def test_two_processes_share_the_cells_keep_their_models_and_give_the_rows_of_one(unbroken, tmp_path, monkeypatch):
    words, expected = unbroken
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    launch = LAUNCH.replace("--num_processes 1", "--multi_gpu --num_processes 2").replace("process 2", "process 1")
    done = process([*words, "--save_models"], tmp_path, launch=launch)
    assert done.returncode == 0, done.stderr
    assert "cells: 100%|██████████| 4/4" in done.stderr  # the main process's half
    assert counts_in(tmp_path / "out") == expected
    for row in rows_in(tmp_path / "out"):
        assert kept_models(tmp_path / "out", row) is not None


def test_failed_cell_is_named_and_the_status_is_1(script, trained, tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise RuntimeError("it broke")

    monkeypatch.setattr(METHODS["rome"], "__call__", fail)
    words = f"--model {trained} --methods rome finetune --sweep.num_edits 1 --output_dir out {QUICK}".split()
    with pytest.raises(SystemExit) as caught:
        script("edit").main(words)
    assert caught.value.code == 1
    said = capsys.readouterr()
    assert "rome single seed 0 failed: RuntimeError: it broke" in said.err
    assert said.out.splitlines()[-1] == "out/results.jsonl holds 2 cells, 1 of them failed, 0 from an earlier run"
    assert [row["error"] for row in rows_in(tmp_path / "out")] == ["RuntimeError: it broke", None]


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (
            "--methods rom",
            ["method must be one of finetune, finetune_constrained, lora", "got 'rom'", "did you mean 'rome'?"],
        ),
        ("--scenarios singel", ["scenario must be one of single, identical, different", "got 'singel'"]),
        ("--rome.layer 6", ["layer must lie in [0, 6), the model's layers, got 6"]),
        ("--rome.layer two", ["--rome.layer", "invalid int value: 'two'"]),
        ("--rome.site nowhere", ["site must be one of subject_last, prompt_last, got 'nowhere'"]),
        ("--lora.rank 0", ["rank must be at least 1, got 0"]),
        ("--finetune.modules mpl", ["modules must be one of all, both, mlp, attention, got 'mpl'"]),
        ("--rome.rank 3", ["option of rome must be one of", "--rome.layer", "got '--rome.rank'"]),
        ("--rome_layer 3", ["--rome_layer is now --rome.layer"]),
        (
            "--finetune-constrained-max-change 3",
            ["--finetune_constrained_max_change is now --finetune_constrained.max"],
        ),
        ("--num_edits 3", ["--num_edits is now --sweep.num_edits"]),
        (
            "--rank 3",
            ["option must be one of --model, ", "--seeds, or --SECTION.FIELD of sweep, finetune, ", "'--rank'"],
        ),
        ("--sweep.num_edits 81", ["num_edits must be at most 80", "got 81"]),
        ("--sweep.num_edits 0", ["num_edits must be at least 1, got 0"]),
        ("--sweep.edge subject", ["edge must be one of subject_object, subject_nested, object_nested, got 'subject'"]),
        ("--sweep.relation 3", ["relation must be below num_relations = 3, got 3"]),
        ("--lora.layers 1,b", ["--lora.layers", "invalid int,... value: '1,b'"]),
        ("--sweep.forget_fraction 0", ["forget_fraction must be above 0 and at most 1, got 0.0"]),
        ("--scenarios sequence --sweep.edits_per_step 3", ["edits_per_step must divide num_edits = 10, got 3"]),
        ("--require_recall 1.5", ["require_recall must lie in (0, 1], got 1.5"]),
        ("--sweep.matched true", ["matched needs a correlated world"]),
        (
            "no.yaml",
            [
                "recipe must be a YAML file such as recipes/base.yaml, ",
                "recipes/tiny.yaml",
                "got no.yaml",
            ],
        ),
    ],
)
def test_bad_input_of_edit_is_one_clear_line_and_nothing_is_written(script, trained, tmp_path, capsys, words, parts):
    options = ["--model", str(trained), "--output_dir", "out"]
    words = words.split()
    line = refused(script("edit").main, words + options if words[0].endswith("yaml") else options + words, capsys)
    for part in parts:
        assert part in line
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_bad_input_of_edit_ends_its_process_with_status_2_and_one_line(trained, tmp_path):
    done = process(["edit.py", "--model", str(trained), "--methods", "romee", "--output_dir", "out"], tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("edit.py: error: method must be one of finetune, finetune_constrained, lora, rome")
    assert os.listdir(tmp_path) == []


def test_model_without_a_world_is_refused(script, trained, tmp_path, capsys):
    folder = shutil.copytree(trained, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    del config["behemoth"]
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    line = refused(script("edit").main, ["--model", "model", "--output_dir", "out"], capsys)
    assert "model must carry its world in config.json under 'behemoth'" in line
    assert os.listdir(tmp_path) == ["model"]


def test_model_that_is_not_there_is_one_clear_line(script, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    line = refused(script("edit").main, ["--model", "runs/nothing", "--output_dir", "out"], capsys, status=1)
    assert "runs/nothing" in line
    assert os.listdir(tmp_path) == []


def test_results_of_another_model_are_refused_and_kept(script, trained, tmp_path, capsys):
    text = json.dumps({"weights": {"before": "0" * 16}, "versions": {"behemoth": "0.1.0"}, "error": None, "cell": "x"})
    Path("out").mkdir()
    Path("out/results.jsonl").write_text(text + "\n", encoding="utf-8")
    words = ["--model", str(trained), "--output_dir", "out", "--sweep.num_edits", "1"]
    line = refused(script("edit").main, words, capsys)
    assert "output_dir must be new or hold results of the same models and code" in line
    assert "--overwrite" in line
    assert Path("out/results.jsonl").read_text(encoding="utf-8") == text + "\n"


@pytest.mark.parametrize("text", ["{}\n", "[1]\n", "not json\n{}\n"])
def test_results_file_of_something_else_is_refused_and_kept(script, trained, capsys, text):
    Path("out").mkdir()
    Path("out/results.jsonl").write_text(text, encoding="utf-8")
    line = refused(
        script("edit").main, ["--model", str(trained), "--output_dir", "out", "--sweep.num_edits", "1"], capsys
    )
    assert "out/results.jsonl" in line
    assert Path("out/results.jsonl").read_text(encoding="utf-8") == text


def help_of(main, capsys, *words):
    with pytest.raises(SystemExit) as caught:
        main(["--help", *words])
    assert caught.value.code == 0
    return " ".join(capsys.readouterr().out.split())


def assert_explained(text, field, prefix=""):
    assert f"--{prefix}{field.name} " in text, field.name
    assert " ".join(field.metadata["help"].split()) in text, field.name


@pytest.mark.parametrize("name", ["edit", "train"])
def test_help_explains_the_options_of_the_command_and_of_every_section(script, name, capsys):
    command = script(name)
    text = help_of(command.main, capsys)
    own = [command.RunArguments] + ([command.GridArguments] if name == "edit" else [])
    for field in itertools.chain(*map(dataclasses.fields, own)):
        assert_explained(text, field)
    for section, at in command.SECTIONS.items():
        assert f" {section} {at.help} " in f"{text} "
        part = help_of(command.main, capsys, section)
        for field in dataclasses.fields(at.load()):
            assert_explained(part, field, f"{section}.")


def test_help_of_several_sections_has_no_other(script, capsys):
    text = help_of(script("edit").main, capsys, "lora", "sweep")
    assert "--lora.rank" in text
    assert "--sweep.num_edits" in text
    assert "--rome" not in text
    assert "--model" not in text


def test_every_draws_setting_is_an_option_of_the_grid(script):
    edit = script("edit")
    names = {field.name for field in dataclasses.fields(EditConfig)} - {"scenario", "edit_seed"}
    assert {field.name for field in dataclasses.fields(edit.SweepArguments)} == names


def test_cells_asked_for_twice_are_run_once(script, trained, tmp_path, capsys):
    words = f"--model {trained} --methods rome rome --seeds 0 0 --sweep.num_edits 1 --output_dir out {QUICK}".split()
    script("edit").main(words)
    assert capsys.readouterr().out.splitlines()[-1].startswith("out/results.jsonl holds 1 cells, 0 of them failed")
    assert len(rows_in(tmp_path / "out")) == 1


def test_every_method_has_a_section_that_other_commands_pass_over(script):
    Path("my.yaml").write_text("".join(f"{name}: {{steps: 1}}\n" for name in METHODS), encoding="utf-8")
    assert script("recipe_files").read_recipe("my.yaml", {}).keys() == METHODS.keys()
    Path("my.yaml").write_text("romee: {steps: 1}\n", encoding="utf-8")
    with pytest.raises(ValueError, match="section of my.yaml must be one of world, .* got 'romee' .*'rome'"):
        script("recipe_files").read_recipe("my.yaml", {})


def test_train_teaches_a_recipes_world_and_says_what_the_model_knows(script, tmp_path, capsys):
    (tmp_path / "my.yaml").write_text("train: {size: 70m, learning_rate: 0.02}", encoding="utf-8")
    words = f"my.yaml --config correlated --output_dir runs/mine {TINY_TRAINING}"
    script("train").main(words.split())
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("runs/mine holds a 14m model that knows subject_object ")
    assert " after 4.0 exposures per fact (" in line
    config = json.loads((tmp_path / "runs" / "mine" / "config.json").read_text(encoding="utf-8"))
    assert (config["behemoth"]["world"]["correlation"], config["hidden_size"]) == (0.9, 128)
    report = json.loads((tmp_path / "runs" / "mine" / "training.json").read_text(encoding="utf-8"))
    assert (report["config"]["learning_rate"], report["steps"], report["processes"]) == (0.02, 4, 1)
    assert sorted(os.listdir(tmp_path)) == ["my.yaml", "runs"]


@pytest.mark.parametrize("content", ["model.safetensors", "note.txt"])
def test_train_refuses_an_output_that_holds_something(script, tmp_path, capsys, content):
    Path("out").mkdir()
    Path("out", content).write_text("mine", encoding="utf-8")
    line = refused(script("train").main, [*TINY_TRAINING.split(), "--output_dir", "out"], capsys)
    assert "output_dir must be empty, new or an unfinished run so that no trained model is lost, got 'out'" in line
    assert f"which holds {content}" in line
    assert Path("out", content).read_text(encoding="utf-8") == "mine"
    assert os.listdir("out") == [content]


def test_train_leaves_a_file_in_the_place_of_its_output_alone(script, tmp_path, capsys):
    Path("out").write_text("mine", encoding="utf-8")
    line = refused(script("train").main, [*TINY_TRAINING.split(), "--output_dir", "out"], capsys)
    assert "output_dir must be a folder, got 'out'" in line
    assert Path("out").read_text(encoding="utf-8") == "mine"


def test_loss_that_is_no_number_is_one_clear_line(script, tmp_path, capsys, monkeypatch):
    train = importlib.import_module("behemoth_models.training")
    loss = train.summed_loss
    monkeypatch.setattr(train, "summed_loss", lambda *arguments: loss(*arguments) * float("nan"))
    with pytest.raises(SystemExit) as caught:
        script("train").main([*TINY_TRAINING.split(), "--output_dir", "out"])
    assert caught.value.code in (1, 2)
    assert "loss is nan at step 1: try a lower learning_rate" in capsys.readouterr().err.splitlines()[-1]
    assert os.listdir(tmp_path / "out") == ["state-0"]  # what it was before it broke


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("--train.size 32m", ["size must be one of 3m, 7m, 10m, 14m, 31m, 70m, got '32m'"]),
        ("--config nest", ["config must be one of independent, correlated, nested, got 'nest'"]),
        ("--train.learning_rate 0", ["learning_rate must be above 0, got 0"]),
        ("--train.batch_size 65", ["batch_size must lie between 1 and the corpus's 64 sentences, got 65"]),
        ("--world.num_objects 1", ["num_objects must be at least 2", "got 1"]),
        ("--epochs 3", ["option must be one of --config, ", "or --SECTION.FIELD of world, lexicon", "got '--epochs'"]),
        ("--batch-size 3", ["--batch_size is now --train.batch_size"]),
    ],
)
def test_bad_input_of_train_is_one_clear_line_and_nothing_is_written(script, tmp_path, capsys, words, parts):
    line = refused(script("train").main, [*TINY_TRAINING.split(), *words.split(), "--output_dir", "out"], capsys)
    for part in parts:
        assert part in line
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(sys.platform != "linux", reason="memory is managed by glibc on Linux only")
@pytest.mark.parametrize("kept", [True, False])
def test_freed_memory_stays_with_the_process_if_it_is_asked_to_keep_it(kept):
    code = f"""
import re, sys
from behemoth_cli.memory import keep_freed_memory

def held():
    return int(re.search(r"VmRSS:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) / 1024

if {kept}:
    assert keep_freed_memory()
before = held()
block = bytearray(b"x") * 20 * 2**20
with_block = held()
del block
print(with_block - before, held() - before)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    taken, left = map(float, found)  # MB
    assert taken > 18
    assert left > 18 if kept else left < 5
