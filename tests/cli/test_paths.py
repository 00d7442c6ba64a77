"""Paths on the command line: names that look like patterns, and letters that a terminal lacks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from behemoth_cli.settings import _resolved

ROOT = Path(__file__).parents[2]
ROW = {
    "cell": "c0",
    "method": "rome",
    "settings": {"layer": 2},
    "scenario": "single",
    "edge": "subject_object",
    "relation": 0,
    "num_edits": 1,
    "seed": 0,
    "structure": "nested",
    "model": "runs/nested",
    "world": {"num_subjects": 30, "seed": 0},
    "scores": None,
    "units": [{"edit": 0, "change": {"edited": [1, 1]}, "keep": {"same_relation": [1, 2, 1, 2]}, "ripple": {}}],
    "seconds": {"edit": 0.5},
    "weights": {"before": "a" * 16, "after": ["b" * 16]},
    "versions": {"behemoth": "0.2.0"},
    "started": "2026-11-23T04:00:00+00:00",
    "error": None,
}


def test_folder_that_is_there_is_meant_and_not_what_its_name_would_match(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a[1]", "a1", "b1", "b2"):
        (tmp_path / name).mkdir()
    assert _resolved("model", ["a[1]", "b?", "c[1]"]) == ["a[1]", "b1", "b2", "c[1]"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("locale", "status", "said"),
    [
        ({"PYTHONIOENCODING": "ascii"}, 0, r"wrote r\xe9port/index.html"),
        ({"LC_ALL": "C", "PYTHONUTF8": "0"}, 2, "error: results must be a path in letters that this terminal"),
    ],
)
def test_letters_that_a_terminal_lacks_are_said_by_number_or_refused_before_anything_is_done(
    tmp_path, locale, status, said
):
    (tmp_path / "été").mkdir()
    (tmp_path / "été" / "results.jsonl").write_text(json.dumps(ROW) + "\n", encoding="utf-8")
    words = [sys.executable, str(ROOT / "scripts" / "report.py"), "été", "--output_dir", "réport"]
    done = subprocess.run(
        [word.encode() for word in words], cwd=tmp_path, env=os.environ | locale, capture_output=True, check=False
    )
    output = (done.stdout + done.stderr).decode("ascii")
    assert done.returncode == status, output
    assert said in output
    assert "Traceback" not in output
    assert (tmp_path / "réport").exists() == (status == 0)
