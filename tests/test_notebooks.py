"""Notebooks of docs/ run: their code cells one after the other, as a kernel would, on the small model of all tests."""

import json
from pathlib import Path
from typing import Any

import pytest

from behemoth_editing.report.figures import FIGURES

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "docs" / "notebooks").glob("*.ipynb"))


def cells(path: Path) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


def run(stem: str) -> dict[str, Any]:
    """The names that a notebook leaves. Its cells run in this process: a kernel would load everything again."""
    (path,) = [path for path in NOTEBOOKS if path.stem == stem]
    names: dict[str, Any] = {}
    for number, cell in enumerate(cells(path)):
        exec(compile("".join(cell["source"]), f"{path.name}, cell {number}", "exec"), names)
    return names


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_stored_without_what_it_printed(path):
    assert all((cell["outputs"], cell["execution_count"]) == ([], None) for cell in cells(path))


@pytest.fixture
def here(trained, tmp_path, monkeypatch):
    """A working directory with the small model in place of the demo's and of the one that a notebook trains."""
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    for name in ("demo-nested", "traced"):
        Path("runs", name).symlink_to(trained, target_is_directory=True)


def test_edit_and_score(here, capsys, monkeypatch):
    # Figures take most of a report's time, and have tests of their own.
    monkeypatch.setattr("behemoth_editing.report.page.drawings", lambda *_, **__: {name: [] for name in FIGURES})
    names = run("edit_and_score")
    said = capsys.readouterr().out
    assert "the same logits: True" in said
    rows = map(json.loads, Path("results/notebook/results.jsonl").read_text(encoding="utf-8").splitlines())
    expected = ["rome (elsewhere: this notebook)", "adam (elsewhere: PyTorch)"]
    assert [(row["method"], row["scores"]["edit_success"]["value"]) for row in rows] == [(one, 1.0) for one in expected]
    assert expected[1] in Path("results/notebook/report/index.html").read_text(encoding="utf-8")
    saved, first = names["found"][0], names["score"](names["checkpoint"], names["edited"], names["edits"])
    assert [unit["keep"] for unit in saved.units] == [unit["keep"] for unit in first.units]


def test_causal_trace(here):
    pytest.importorskip(
        "transformer_lens.model_bridge", reason="transformer-lens is no dependency: CI has it in a step"
    )
    names = run("causal_trace")
    clean, trace = names["probability"](), names["trace"]
    assert trace.shape == (6, len(names["query"].prompt_ids))
    assert clean > 0.9
    # Behind the last layer the last token decides alone, and the first token nothing.
    assert float(trace[-1, -1]) == pytest.approx(clean, abs=1e-4)
    assert float(trace[-1, 0]) < clean - 0.1
