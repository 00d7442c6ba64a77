"""Paths as people give them: a home folder, letters of any alphabet, and signs that libraries read as patterns."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from behemoth_data import export
from behemoth_data.places import local_path
from behemoth_data.published import open_published
from behemoth_data.shards import export_tokens

SMALL = {"num_subjects": 20, "num_objects": 10, "num_nested_objects": 5, "repeats": 2}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The home folder of whoever runs this; the working directory is another."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "home"


def test_sign_of_a_home_folder_that_nobody_has_is_a_name():
    assert local_path("output", "~nobody-of-this-name/x") == Path("~nobody-of-this-name/x")


def test_home_folder_is_meant_by_its_sign(home, small_corpus):
    assert local_path("output", "~/x") == home / "x"
    assert local_path("output", "a~/x") == Path("a~/x")
    assert export("~/data", ["nested"], overrides=SMALL, progress=False) == home / "data"
    assert export_tokens(small_corpus, "~/tokens", progress=False) == home / "tokens"
    _, rows = open_published("~/data", "nested")
    assert len(rows) > 0
    assert os.listdir() == []


@pytest.mark.parametrize("name", ["a[1]", "b*", "c?", "[x]/data"])
def test_folder_that_datasets_would_read_as_a_pattern_is_refused_before_anything_is_written(tmp_path, name):
    with pytest.raises(ValueError, match=r"output must have none of \[ \] \* \? in its path"):
        export(tmp_path / name, ["nested"], overrides=SMALL, progress=False)
    assert os.listdir(tmp_path) == []


def test_exported_folder_is_opened_wherever_it_was_moved_to(tmp_path):
    export(tmp_path / "plain", ["nested"], overrides=SMALL, progress=False)
    _, before = open_published(tmp_path / "plain", "nested")
    os.rename(tmp_path / "plain", tmp_path / "a[1]*?")
    _, after = open_published(tmp_path / "a[1]*?", "nested")
    assert after[:] == before[:]
    assert after.features == before.features
    assert after.features["edge"].names == ["subject_object", "subject_nested", "object_nested"]


def test_path_of_half_letters_is_refused_by_its_field():
    with pytest.raises(ValueError, match=r"output_dir must be a path in letters .* got 'caf\\udcc3\\udca9'"):
        local_path("output_dir", "caf\udcc3\udca9")


def test_path_that_an_ascii_terminal_gave_is_refused_by_its_field(tmp_path):
    code = "import sys; from behemoth_data.places import local_path; local_path('output_dir', sys.argv[1])"
    path = {"PYTHONPATH": ":".join(sys.path)}
    for env, right in (({"LC_ALL": "C", "PYTHONUTF8": "0"}, False), ({"PYTHONIOENCODING": "ascii"}, True)):
        words = [os.fsencode(sys.executable), b"-c", code.encode(), "café".encode()]
        done = subprocess.run(words, env=path | env, capture_output=True, text=True, check=False)
        assert (done.returncode == 0) == right, done.stderr
        assert right or "output_dir must be a path in letters" in done.stderr
