"""behemoth study as a person calls it: a study in small, killed and run again, and recipes that are none."""

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from accelerate.state import AcceleratorState

from behemoth_cli.edit import chosen
from behemoth_cli.edit import options as edit_options
from behemoth_cli.settings import parse
from behemoth_cli.study_plan import read_study
from behemoth_cli.study_runner import run_study
from behemoth_editing.report.summaries import load_results

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ROOT / "behemoth_cli" / "recipes"
OF_FINDINGS = sorted({path.name for path in RECIPES.glob("study_*.yaml")} - {"study_methods.yaml", "study_load.yaml"})
SMALL = """
world: {num_subjects: 12, num_relations: 2, num_objects: 4}
corpus: {repeats: 4}
train: {size: 3m, batch_size: 32, measurements: 1}
sweep: {probes_per_edit: 2, num_edits: 1}
finetune: {max_steps: 2}
models:
  - {name: independent, seeds: [0, 1]}
  - {name: nested, config: nested, seeds: [0], world: {num_nested_objects: 2}}
sweeps:
  - name: ranks
    sweep: {methods: [finetune], seeds: [0, 1]}
    finetune: {rank: [1, null], modules: both, layers: ["2,3"]}
  - name: edges
    models: [nested]
    sweep: {methods: [finetune], edge: [subject_object, subject_nested]}
  - name: ranks again
    models: [nested]
    sweep: {methods: [finetune]}
    finetune: {rank: 1, modules: both, layers: ["2,3"]}
"""
CELLS = 3 * 2 * 2 + 2  # three models, two ranks, two draws; two edges; what is asked for twice is run once


@pytest.fixture
def study(monkeypatch, tmp_path):
    """The command's module; the working directory is empty."""
    monkeypatch.chdir(tmp_path)
    yield importlib.import_module("behemoth_cli.study")
    AcceleratorState._reset_state(reset_partial_state=True)


def rows_in(folder):
    """Every row by its cell, less what no two runs share: when it was made, and how long it took."""
    rows = {row["cell"]: row for row in load_results([Path(folder, "results")])}
    for row in rows.values():
        del row["started"], row["seconds"]
        for detail in row["details"]:
            detail.pop("seconds", None)
    return rows


def killed(words, folder, rows):
    """The command has run in the folder until it had so many rows, and was killed, as were its processes with it."""
    results = folder / "out" / "results" / "results.jsonl"
    with subprocess.Popen(
        [sys.executable, "-m", "behemoth_cli", "study", *words],
        cwd=folder,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        stderr=subprocess.DEVNULL,
    ) as study:
        try:
            while study.poll() is None and (not results.exists() or results.read_bytes().count(b"\n") < rows):
                time.sleep(0.05)
            processes = psutil.Process(study.pid).children(recursive=True)
        finally:
            study.kill()
    assert study.returncode == -signal.SIGKILL
    assert len(processes) >= 2
    assert psutil.wait_procs(processes, timeout=60)[1] == []
    return rows_in(folder / "out")


@pytest.mark.slow
def test_study_that_is_killed_goes_on_and_ends_as_if_it_never_had_been(study, tmp_path, capsys):
    Path("my.yaml").write_text(SMALL, encoding="utf-8")
    command = "behemoth study my.yaml --output_dir out"
    run_study(*read_study("my.yaml"), Path("whole"), 1, command)  # in this process
    whole = {cell: {**row, "model": row["model"].replace("whole", "out")} for cell, row in rows_in("whole").items()}
    assert len(whole) == CELLS

    # Two processes make the rows of one, as far as they come.
    words = ["my.yaml", "--output_dir", "out", "--processes"]
    left = killed([*words, "2"], tmp_path, rows=CELLS // 2)
    assert left.items() <= whole.items()
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == ["models", "results", "time.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my.yaml", "out", "whole"]
    # What a kill could leave too: a model that is not there yet, and a line that is half written.
    shutil.rmtree(out / "models" / "independent-1")
    results = out / "results" / "results.jsonl"
    results.write_bytes(results.read_bytes()[:-3000])
    seconds = json.loads((out / "time.json").read_text(encoding="utf-8"))["seconds"]
    readme = tmp_path / "README.md"
    readme.write_text("Before.\n<!-- study -->old<!-- end of study -->\nAfter.\n", encoding="utf-8")
    study.main([*words, "1", "--readme", "README.md"])
    assert rows_in(out) == whole
    assert capsys.readouterr().out.splitlines()[-1] == f"out/report/index.html shows {CELLS} cells, 0 of them failed"
    assert json.loads((out / "time.json").read_text(encoding="utf-8"))["seconds"] > seconds
    assert sorted(path.name for path in (out / "models").iterdir()) == ["independent-0", "independent-1", "nested-0"]
    table = (out / "verdicts.md").read_text(encoding="utf-8")
    assert table.startswith("| finding | claim | world |")
    assert f"3 models, {CELLS} cells; " in table
    assert f"`{command}`" in table
    assert {row["command"] for row in whole.values()} == {command}
    assert command in (out / "report" / "index.html").read_text(encoding="utf-8")
    said = readme.read_text(encoding="utf-8")
    assert said.startswith("Before.\n<!-- study -->\n\n| finding |")
    assert said.endswith("<!-- end of study -->\nAfter.\n")
    assert f"3 models, {CELLS} cells; " in said

    Path("my.yaml").write_text(SMALL.replace("repeats: 4", "repeats: 5"), encoding="utf-8")
    with pytest.raises(SystemExit) as caught:
        study.main([*words, "1"])
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert "output_dir must be new or of the same recipe, got out/models/independent-0, whose corpus is" in said
    assert rows_in(out) == whole


@pytest.mark.parametrize("name", OF_FINDINGS)
def test_every_recipe_can_be_read_and_has_what_findings_need(name):
    models, sweeps = read_study(f"recipes/{name}")
    families = {model.family for model in models}
    assert {"independent", "correlated", "nested"} <= families
    judged = {"independent", "correlated", "nested"}
    for family in families:
        assert sum(model.family == family for model in models) == (15 if family in judged else 5)
    assert {draw.edit_seed for sweep in sweeps for draw in sweep.draws} == {0}  # models are repeated, not draws
    asked = {(draw.scenario, draw.edge) for sweep in sweeps for draw in sweep.draws}
    assert {scenario for scenario, _ in asked} >= {"single", "identical", "different", "forget"}
    assert {edge for _, edge in asked} == {"subject_object", "subject_nested", "object_nested"}
    assert {method.name for sweep in sweeps for method in sweep.methods} >= {
        "finetune",
        "lora",
        "rome",
        "memit",
        "retrain",
    }
    strengths = {model.world.correlation for model in models if model.world.correlation is not None}
    assert strengths == {0.5, 0.7, 0.9, 1.0}


def test_sweep_may_name_a_recipe_of_editing_and_set_more_on_top_of_it(tmp_path):
    models, (different, forgotten, again) = read_study("recipes/study_methods.yaml")
    assert [model.name for model in models] == [
        f"{family}-{seed}" for family in ("independent", "correlated", "nested") for seed in range(15)
    ]
    for sweep, name in ((different, "methods"), (forgotten, "forgetting")):
        _, grid, *parsed = parse(edit_options(), [f"recipes/{name}.yaml"])
        methods, draws = chosen(grid, *parsed)
        assert (list(sweep.methods), list(sweep.draws)) == (methods, draws)
        assert sweep.families == ("independent", "correlated", "nested")
    assert [method.name for method in again.methods] == ["retrain"]
    named = SMALL.replace("- name: ranks\n", "- name: ranks\n    recipe: mine.yaml\n")
    (tmp_path / "mine.yaml").write_text("sweep: {num_edits: 3, seeds: [5]}\nfinetune: {patience: 3, rank: 2}")
    (tmp_path / "my.yaml").write_text(named.replace("mine.yaml", str(tmp_path / "mine.yaml")))
    _, (ranks, *_) = read_study(str(tmp_path / "my.yaml"))
    assert {(draw.num_edits, draw.edit_seed) for draw in ranks.draws} == {(3, 0), (3, 1)}
    assert {(method.patience, method.rank, method.max_steps) for method in ranks.methods} == {(3, 1, 2), (3, None, 2)}


def test_dry_run_counts_and_writes_nothing(study, tmp_path, capsys):
    Path("my.yaml").write_text(SMALL, encoding="utf-8")
    study.main(["my.yaml", "--dry_run", "--output_dir", "out"])
    said = capsys.readouterr().out.splitlines()
    assert said[0].split() == ["2", "models", "independent"]
    assert said[-1] == "3 models, and 15 cells at most"
    study.main(["my.yaml", "--dry_run", "--output_dir", "out", "--only", "independent"])
    said = capsys.readouterr().out.splitlines()
    assert (said[0].split(), said[-1]) == (["2", "models", "independent"], "2 models, and 8 cells at most")
    with pytest.raises(SystemExit):
        study.main(["my.yaml", "--output_dir", "out", "--only", "independnt"])
    assert "only must be one of independent, nested, got 'independnt'" in capsys.readouterr().err
    Path("my.yaml").write_text(
        SMALL.replace("  - name: ranks\n", "  - name: ranks\n    models: [nested]\n"), encoding="utf-8"
    )
    with pytest.raises(SystemExit):
        study.main(["my.yaml", "--output_dir", "out", "--only", "independent"])
    assert "only must name models that a sweep of my.yaml edits, got independent" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        study.main(["my.yaml", "--output_dir", "out", "--processes", "2", "--dask", "tcp://10.0.0.1:8786"])
    assert "processes must be null with dask, whose workers are as many as they are, got 2" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["my.yaml"]


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("sweeps:", "swepes:", ["section of my.yaml must be one of", "got 'swepes'", "did you mean 'sweeps'?"]),
        ("name: independent, ", "", ["each of models must have a name"]),
        ("seeds: [0, 1]}", "sead: [0]}", ["field of independent in models must be one of", "got 'sead'"]),
        ("models: [nested]", "models: [netsed]", ["model of edges must be one of independent, nested, got 'netsed'"]),
        ("config: nested", "config: nest", ["config must be one of independent, correlated, nested, got 'nest'"]),
        ("num_subjects: 12", "num_subjects: 0", ["num_subjects must be at least 1, got 0"]),
        ("methods: [finetune], edge", "methods: [tune], edge", ["method of edges must be one of", "got 'tune'"]),
        ("rank: [1, null]", "rank: [0]", ["rank must be at least 1, got 0"]),
        ("edge: [subject_object, ", "num_edits: 99, edge: [", ["edges, nested-0: num_edits must be at most 12"]),
        ("name: nested, config", "name: independent, config", ["models must have names of their own"]),
    ],
)
def test_bad_recipe_is_one_clear_line_and_nothing_is_written(study, tmp_path, capsys, old, new, parts):
    assert old in SMALL
    Path("my.yaml").write_text(SMALL.replace(old, new), encoding="utf-8")
    with pytest.raises(SystemExit) as caught:
        study.main(["my.yaml", "--output_dir", "out"])
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    for part in parts:
        assert part in line
    assert [path.name for path in tmp_path.iterdir()] == ["my.yaml"]


def test_figures_stand_beside_the_page_that_shows_them(study, tmp_path):
    figures, page = tmp_path / "figures", tmp_path / "docs" / "results.md"
    for folder in (figures, page.parent):
        folder.mkdir()
    (figures / "ranks-0-different-0-independent.svg").write_text('<svg aria-label="Ten. By rank. 1, 2."/>')
    page.write_text("Before.\n<!-- study -->old<!-- end of study -->\nAfter.\n", encoding="utf-8")
    study._into_page(page, "Verdicts.\n", figures)
    shown = "<!-- study -->\n\nVerdicts.\n\n![Ten. By rank](study-ranks.svg)\n<!-- end of study -->"
    assert page.read_text(encoding="utf-8") == f"Before.\n{shown}\nAfter.\n"
    assert sorted(path.name for path in page.parent.iterdir()) == ["results.md", "study-ranks.svg"]


def test_readme_without_a_place_for_the_verdicts_is_refused_before_anything_is_trained(study, tmp_path, capsys):
    (tmp_path / "my.yaml").write_text(SMALL, encoding="utf-8")
    (tmp_path / "README.md").write_text("<!-- study --> only", encoding="utf-8")
    for name in ("README.md", "none.md"):
        with pytest.raises(SystemExit) as caught:
            study.main(["my.yaml", "--output_dir", "out", "--readme", name])
        assert caught.value.code == 2
        said = capsys.readouterr().err
        assert "readme must be a file with the lines <!-- study --> and <!-- end of study -->" in said
    assert not (tmp_path / "out").exists()


def test_recipe_that_is_not_there_names_those_that_are(study, capsys):
    with pytest.raises(SystemExit):
        study.main(["nothing.yaml"])
    assert "such as recipes/study_base.yaml" in capsys.readouterr().err
