"""The playground's Space: what is published, over which models, and what its app.py starts."""

import ast
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from packaging.requirements import Requirement

from behemoth_cli import publish
from behemoth_cli.sections import METHOD_SECTIONS
from behemoth_hub import playground

ROOT = Path(__file__).resolve().parents[2]
MODELS = ["alice/behemoth-pythia-14m-nested", "bob/another.model"]


def texts(publication):
    return {upload.path: upload.read().decode("utf-8") for upload in publication.uploads}


def test_space_is_an_app_its_requirements_and_a_card():
    made = playground("alice", MODELS, ["rome", "retrain", "lora"])
    assert (made.repo, made.kind) == ("alice/behemoth-playground", "space")
    found = texts(made)
    assert set(found) == {"README.md", "app.py", "requirements.txt", "world.svg"}
    fields = yaml.safe_load(found["README.md"].split("---\n")[1])
    assert (fields["sdk"], fields["app_file"], fields["models"]) == ("gradio", "app.py", MODELS)
    assert found["requirements.txt"].startswith("behemoth-bench[play]==")
    assert all(f"https://huggingface.co/{model}" in found["README.md"] for model in MODELS)


def test_space_has_the_versions_that_the_page_is_tested_with():
    fields = yaml.safe_load(texts(playground("alice", MODELS, ["rome"]))["README.md"].split("---\n")[1])
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    assert f"gradio=={fields['sdk_version']}" in pinned
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] == f">={fields['python_version']}"
    (needed,) = (line for line in project["optional-dependencies"]["play"] if line.startswith("gradio"))
    assert Requirement(needed).specifier.contains(fields["sdk_version"])
    assert isinstance(fields["python_version"], str)  # and not 3.1 where it is 3.10


def test_app_starts_the_command_over_the_models_and_leaves_out_what_takes_minutes(monkeypatch):
    code = texts(playground("alice", MODELS, list(METHOD_SECTIONS)))["app.py"]
    ast.parse(code)
    started = []
    monkeypatch.setitem(sys.modules, "behemoth_cli.play", SimpleNamespace(main=started.append))
    exec(compile(code, "app.py", "exec"), {"__name__": "__main__"})
    (words,) = started
    assert words[:2] == MODELS
    methods = words[words.index("--methods") + 1 : words.index("--host")]
    assert methods == [name for name in METHOD_SECTIONS if name not in ("retrain", "omit")]
    assert words[-4:] == ["--host", "0.0.0.0", "--port", "7860"]


@pytest.mark.parametrize(
    ("models", "message"),
    [([], "at least 1 id of the Hub, got none"), (["runs/a/b"], "ids as NAME/MODEL, got 'runs/a/b'")],
)
def test_playground_without_models_or_over_folders_is_refused(models, message):
    with pytest.raises(ValueError, match=message):
        playground("alice", models, ["rome"])


def test_command_lists_the_space_without_a_token(capsys):
    publish.main(["--namespace", "alice", "--space", "--space_models", *MODELS, "--dry_run"])
    said = capsys.readouterr().out
    assert "alice/behemoth-playground (space)" in said
    assert "1 repositories" in said


def test_models_without_a_space_are_refused(capsys):
    with pytest.raises(SystemExit) as caught:
        publish.main(["--namespace", "alice", "--metrics", "--space_models", "a/b", "--dry_run"])
    assert caught.value.code == 2
    assert "space_models needs space to be set" in capsys.readouterr().err
