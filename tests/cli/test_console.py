"""behemoth as a person calls it: what there is, how fast it says so, what a missing extra costs, and the whole demo."""

import importlib
import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState

from behemoth_cli import console, recipe_files, settings
from behemoth_cli.console import COMMANDS
from behemoth_data.settings import setting

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"

# Everything that `pip install behemoth-bench` leaves to an extra, for a process in which none of it is installed.
BARE = """
import importlib.metadata, sys

GONE = {gone!r}
sys.modules.update(dict.fromkeys(GONE))  # importing them fails, and importlib finds none of them
found = importlib.metadata.version

def version(name):
    if name in GONE:
        raise importlib.metadata.PackageNotFoundError(name)
    return found(name)

importlib.metadata.version = version
importlib.metadata.requires = lambda name: [
    "numpy>=1",
    "torch>=2; extra == 'models'",
    "transformers>=4; extra == 'models'",
    "behemoth-bench[models]; extra == 'editing'",
    "peft>=0.1; extra == 'editing'",
]
"""
EXTRAS = ("torch", "transformers", "tokenizers", "accelerate", "safetensors", "peft", "evaluate", "scipy", "matplotlib")


def python(code, folder, *, gone=EXTRAS, words=()):
    return subprocess.run(
        [sys.executable, "-c", BARE.format(gone=gone) + code, *words],
        cwd=folder,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )


CALL = "from behemoth_cli.console import main\nmain()"


@pytest.fixture
def here(monkeypatch, tmp_path):
    """An empty working directory; threads and accelerate's state are as they were afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)  # this process has its own number
    yield tmp_path
    AcceleratorState._reset_state(reset_partial_state=True)


def test_help_lists_every_command_and_imports_nothing_that_takes_time(tmp_path):
    code = f"{CALL.replace('main()', 'import contextlib')}\nwith contextlib.suppress(SystemExit): main(['--help'])\n"
    code += "print([name for name in ('torch', 'transformers', 'datasets', 'numpy', 'pyarrow') if name in sys.modules])"
    done = python(code, tmp_path, gone=())
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    for name, command in COMMANDS.items():
        assert f"    {name}" in done.stdout
        assert command.help in " ".join(done.stdout.split())


def test_words_of_nothing_are_answered_with_the_help(capsys):
    console.main([])
    assert capsys.readouterr().out.startswith("usage: behemoth COMMAND")


def test_version_is_that_of_the_distribution(capsys):
    with pytest.raises(SystemExit) as caught:
        console.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"behemoth {importlib.metadata.version('behemoth-bench')}\n"


def test_unknown_command_is_one_line_with_the_nearest_one(capsys):
    with pytest.raises(SystemExit) as caught:
        console.main(["traim", "--train.size", "14m"])
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("behemoth: error: command must be one of demo, data, train,")
    assert line.endswith("got 'traim' (did you mean 'train'?)")


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("benchmark", "completion")])
def test_every_command_explains_its_options_under_its_own_name(name, capsys):
    with pytest.raises(SystemExit) as caught:
        console.main([name, "--help"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: behemoth {name} [")


@pytest.mark.parametrize(
    "start",
    [
        ["-m", "behemoth_cli", "data"],
        pytest.param(["-m", "behemoth_cli.data"], marks=pytest.mark.slow),
        pytest.param([str(SCRIPTS / "make_data.py")], marks=pytest.mark.slow),
    ],
)
def test_errors_begin_with_what_was_called(start, tmp_path):
    done = subprocess.run(
        [sys.executable, *start, "--world.num_objects", "1"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    name = "make_data.py" if start[0].endswith("make_data.py") else "behemoth data"
    assert done.stderr == f"{name}: error: num_objects must be at least 2 so that an edit can change a fact, got 1\n"


@pytest.mark.parametrize(
    ("words", "extra", "needed"),
    [
        (["train", "--help"], "models", "torch (not installed), transformers (not installed)"),
        (["edit"], "editing", "torch (not installed), transformers (not installed), peft (not installed)"),
    ],
)
def test_missing_extra_costs_one_line(tmp_path, words, extra, needed):
    done = python(CALL, tmp_path, words=words)
    assert (done.returncode, done.stdout) == (2, "")
    line = f"behemoth {words[0]}: error: this command needs {needed}: pip install 'behemoth-bench[{extra}]'\n"
    assert done.stderr == line


@pytest.mark.parametrize(("package", "extra"), [("behemoth_models", "models"), ("behemoth_editing", "editing")])
def test_package_without_its_extra_says_which_it_is(tmp_path, package, extra):
    done = python(f"import {package}", tmp_path)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"behemoth_data.extras.MissingExtra: {package} needs torch (not installed), ")
    assert last.endswith(f": pip install 'behemoth-bench[{extra}]'")


def test_dataset_is_written_without_any_extra(tmp_path):
    words = ["data", "smoke", "--configs", "nested", "--world.num_subjects", "12", "--output", "out"]
    done = python(CALL, tmp_path, words=words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("out holds 1 configs, ")
    assert (tmp_path / "out" / "nested").is_dir()


def test_demo_runs_the_main_job_and_repeats_nothing(here, capsys):
    Path("small.yaml").write_text(
        """
        world: {num_subjects: 12, num_relations: 2, num_objects: 4, num_nested_objects: 2}
        corpus: {repeats: 4}
        train: {size: 14m, batch_size: 32, measurements: 1}
        sweep: {methods: [finetune], num_edits: 1, probes_per_edit: 2}
        finetune: {max_steps: 1}
        """,
        encoding="utf-8",
    )
    words = ["demo", "small.yaml", "--output", "out"]
    console.main(words)
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == f"The demo is complete: open {Path('out/report/index.html')}"
    assert [line.split(":")[0] for line in said.err.splitlines() if " of 4: " in line] == [
        f"{number} of 4" for number in (1, 2, 3, 4)
    ]
    assert sorted(os.listdir("out")) == ["behemoth", "report", "results", "runs"]
    kept = ["out/behemoth/README.md", "out/runs/small-nested/model.safetensors", "out/results/demo/results.jsonl"]
    before = [(Path(path).read_bytes(), Path(path).stat().st_mtime_ns) for path in kept]
    console.main(words)
    assert [(Path(path).read_bytes(), Path(path).stat().st_mtime_ns) for path in kept] == before
    assert "1 from an earlier run" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["smoke", "demo", "tiny"])
def test_recipe_of_a_demo_has_all_its_sections(name):
    recipe = recipe_files.read_recipe(name, {})
    assert {"world", "corpus", "train", "sweep"} <= recipe.keys()
    assert recipe["sweep"]["methods"] == ["finetune", "lora", "rome"]


def test_bad_words_of_the_demo_write_nothing(here, capsys):
    for words, part in (
        (["demo", "--config", "nest"], "behemoth demo: error: config must be one of independent, correlated, nested"),
        (["demo", "no.yaml"], "behemoth demo: error: recipe must be a YAML file such as recipes/base.yaml"),
        (["demo", "--outputs", "x"], "behemoth demo: error: option must be one of --config, --output"),
    ):
        with pytest.raises(SystemExit) as caught:
            console.main(words)
        assert caught.value.code == 2
        assert capsys.readouterr().err.startswith(part)
    assert os.listdir() == []


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_knows_commands_options_and_recipes(shell, capsys):
    pytest.importorskip("shtab", reason="an environment from before shtab was required; `make setup` brings it")
    console.main(["completion", shell])
    said = capsys.readouterr().out
    for word in (*COMMANDS, "--rome.layer", "--output_dir", "study_tiny"):
        assert word in said


# Where a user gives a path


def taken(words, kind=None):
    import dataclasses

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Paths:
        output: str = settings.place("out", "help")
        data: str | None = settings.place(None, "help")
        model: list[str] = settings.place(["a"], "help")
        note: str = setting("", "help")

    (found,) = settings.parse(settings.Options({"": Paths}, prog="test"), words, recipe={})
    return found


def test_home_stands_for_itself_in_every_place_and_in_no_other_word(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    found = taken(["--output", "~/a", "--data", "~/b", "--model", "~/c", "me/d", "--note", "~/e"])
    assert (found.output, found.data) == (f"{tmp_path}/a", f"{tmp_path}/b")
    assert (found.model, found.note) == ([f"{tmp_path}/c", "me/d"], "~/e")
    assert taken(["--output", "s3://bucket/~x"]).output == "s3://bucket/~x"
    (tmp_path / "mine.yaml").write_text("world: {num_subjects: 3}", encoding="utf-8")
    assert recipe_files.read_recipe("~/mine.yaml", {}) == {"world": {"num_subjects": 3}}


def test_pattern_that_a_shell_left_alone_is_what_it_finds(here):
    for name in ("b", "a"):
        Path("runs", name).mkdir(parents=True)
    assert taken(["--model", "runs/*", "x*"]).model == [str(Path("runs/a")), str(Path("runs/b")), "x*"]


@pytest.mark.parametrize(
    "module", ["data", "train", "pretrain", "edit", "score", "verify", "attack", "report", "study", "publish", "demo"]
)
def test_every_option_that_is_a_path_is_declared_as_one(module):
    options = importlib.import_module(f"behemoth_cli.{module}").options()
    paths = {"output", "output_dir", "data", "model", "readme", "dataset", "models", "results", "boards"}
    paths |= {"original", "edited", "edits"}
    assert options.places == paths & set(options.names)


@pytest.mark.parametrize("name", ["tiny", "tiny.yaml", "recipes/tiny.yaml", "./recipes/tiny.yaml"])
def test_packaged_recipe_is_found_by_its_name(here, name):
    assert recipe_files.read_recipe(name, {})["world"]["num_subjects"] == 1000


def test_recipe_of_ones_own_comes_before_the_packaged_one_and_a_folder_does_not(here):
    Path("recipes").mkdir()
    Path("recipes/tiny.yaml").write_text("world: {num_subjects: 5}", encoding="utf-8")
    Path("tiny").mkdir()
    assert recipe_files.read_recipe("recipes/tiny.yaml", {}) == {"world": {"num_subjects": 5}}
    assert recipe_files.read_recipe("tiny", {})["world"]["num_subjects"] == 1000


def test_name_outside_the_recipes_is_not_looked_up_there(here):
    with pytest.raises(ValueError, match="recipe must be a YAML file such as .* got other/tiny.yaml"):
        recipe_files.read_recipe("other/tiny.yaml", {})
