"""The study's runner as a notebook calls it: what is there stays, what is missing is done, and in what shares."""

import json
import time

import pytest
from accelerate.state import AcceleratorState

from behemoth_cli import study_jobs, study_runner
from behemoth_cli.study_jobs import Desk
from behemoth_cli.study_plan import read_study
from behemoth_cli.study_runner import Clock, cells_of, edit_all, run_study, train_all
from behemoth_data.settings import told
from behemoth_editing.report.summaries import load_results
from behemoth_models.sizes import SHAPES, Shape

RECIPE = """
world: {num_subjects: 12, num_relations: 2, num_objects: 4}
corpus: {repeats: 4}
train: {size: 14m, batch_size: 32, measurements: 1}
models:
  - {name: independent, seeds: [0, 1]}
sweeps:
  - name: layers
    sweep: {methods: [finetune], seeds: [0, 1], probes_per_edit: 2, num_edits: 1}
    finetune: {layers: ["0"], max_steps: 1}
"""


@pytest.fixture
def plan(monkeypatch, tmp_path):
    """The models and sweeps of a recipe, in a working directory of their own; a 14m has one narrow layer."""
    monkeypatch.setitem(SHAPES, "14m", Shape(1, 32, 2, 64))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.yaml").write_text(RECIPE, encoding="utf-8")
    yield read_study("my.yaml")
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def called(monkeypatch):
    """What this process is asked to do, where patches hold: the work, and the model or the cell."""
    calls = []

    def noted(name):
        work = getattr(Desk, name)

        def note(desk, asked, *others):
            calls.append((name, getattr(asked, "cell", asked)))
            return work(desk, asked, *others)

        monkeypatch.setattr(Desk, name, note)

    noted("teach")
    noted("edit")
    return calls


def test_study_trains_and_edits_once_and_goes_on_with_what_is_gone(plan, called, tmp_path):
    models, sweeps = plan
    output = tmp_path / "out"
    run_study(models, sweeps, output, 1)
    rows = {row["cell"]: row["scores"] for row in load_results([output / "results"])}
    assert len(rows) == 2 * 2
    assert called[:2] == [("teach", models[0]), ("teach", models[1])]
    assert called[2:] == [("edit", cell) for cell in rows]

    del called[:]
    run_study(models, sweeps, output, 1)
    assert called == []

    results = output / "results" / "results.jsonl"
    kept = results.read_bytes().splitlines(keepends=True)[0]
    results.write_bytes(kept)
    run_study(models, sweeps, output, 1)
    assert sorted(called) == sorted(("edit", cell) for cell in [*rows][1:])
    assert results.read_bytes().startswith(kept)
    assert {row["cell"]: row["scores"] for row in load_results([output / "results"])} == rows


def test_models_may_be_trained_and_edited_in_parts(plan, called, tmp_path):
    models, sweeps = plan
    output = tmp_path / "out"
    run_study(models, sweeps, output, 1, chosen=models[1:])
    assert called[0] == ("teach", models[1])
    assert [path.name for path in (output / "models").iterdir()] == [models[1].name]
    rows = load_results([output / "results"])
    done = {row["cell"] for row in rows}
    assert len(done) == 2
    failed = {**rows[0], "units": None, "scores": None, "error": "it broke"}
    lines = f"{json.dumps(failed)}\n{json.dumps(rows[1])}\n"
    (output / "results" / "results.jsonl").write_text(lines, encoding="utf-8")
    run_study(models, sweeps, output, 1, chosen=models[:1])
    assert [name for name, _ in called].count("teach") == 2
    rows = load_results([output / "results"])
    assert len(rows) == 2 * 2
    assert [row["error"] for row in rows] == ["it broke", None, None, None]  # of a model whose turn it was not
    assert {row["cell"] for row in rows[:2]} == done
    del called[:]
    run_study(models, sweeps, output, 1)
    assert called == [("edit", failed["cell"])]
    assert {row["error"] for row in load_results([output / "results"])} == {None}


def test_model_that_is_there_is_left_alone_and_one_of_another_recipe_is_refused(plan, called, monkeypatch, tmp_path):
    (first, second), _ = plan

    def teach(model, folder):
        parts = {part: told(getattr(model, part)) for part in ("world", "lexicon", "corpus", "train")}
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps({"behemoth": parts}), encoding="utf-8")

    monkeypatch.setattr(study_jobs, "teach", teach)
    train_all([first], tmp_path, 1, Clock(tmp_path / "time.json"))
    train_all([first, second], tmp_path, 1, Clock(tmp_path / "time.json"))
    assert called == [("teach", first), ("teach", second)]
    path = tmp_path / "models" / first.name / "config.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"repeats": 4', '"repeats": 5'), encoding="utf-8")
    with pytest.raises(ValueError, match="output_dir must be new or of the same recipe, got .*, whose corpus is"):
        train_all([first, second], tmp_path, 1, Clock(tmp_path / "time.json"))


class Unlucky:
    """A crew whose first job is lost."""

    def do(self, work, jobs, done, lost):
        lost(jobs[0], "WorkerDied: just so")
        for job in jobs[1:]:
            done(job, work(Desk(), *job.arguments))


def test_cell_whose_process_dies_again_and_again_has_a_row_that_says_so(plan, tmp_path):
    models, sweeps = plan
    clock = Clock(tmp_path / "time.json")
    train_all(models[:1], tmp_path, 1, clock)
    cells = cells_of(models[:1], sweeps, tmp_path)
    edit_all(cells, tmp_path, 1, clock, "behemoth study", crew=Unlucky())
    lost, found = load_results([tmp_path / "results"])
    assert (lost["cell"], lost["error"], lost["units"]) == (cells[0].id, "WorkerDied: just so", None)
    assert (found["cell"], found["error"]) == (cells[1].id, None)
    assert found.keys() == lost.keys()
    edit_all(cells, tmp_path, 1, clock, "behemoth study")
    assert [row["error"] for row in load_results([tmp_path / "results"])] == [None, None]

    with pytest.raises(OSError, match=f"{models[1].name} could not be trained: WorkerDied: just so"):
        train_all(models, tmp_path, 1, clock, crew=Unlucky())


def test_model_that_workers_put_elsewhere_is_an_error(plan, tmp_path):
    class Elsewhere:
        def do(self, work, jobs, done, lost):
            done(jobs[0], None)

    models, _ = plan
    with pytest.raises(ValueError, match="output_dir must be a folder that all workers see under the same name, got"):
        train_all(models, tmp_path, 1, Clock(tmp_path / "time.json"), crew=Elsewhere())


def test_clock_counts_the_seconds_of_all_sittings(tmp_path, monkeypatch):
    now = iter([100.0, 107.0, 500.0, 501.5])
    monkeypatch.setattr(study_runner.time, "monotonic", lambda: next(now))
    assert Clock(tmp_path / "new" / "time.json").keep() == 7.0
    assert Clock(tmp_path / "new" / "time.json").keep() == 8.5
    assert json.loads((tmp_path / "new" / "time.json").read_text(encoding="utf-8")) == {"seconds": 8.5}


def test_clock_is_kept_while_something_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(study_runner, "_BEAT_SECONDS", 0.01)
    path = tmp_path / "time.json"
    with Clock(path).running():
        while not path.is_file():
            time.sleep(0.01)


def test_no_process_is_refused_before_anything_is_done(plan, tmp_path):
    with pytest.raises(ValueError, match="processes must be at least 1, got 0"):
        run_study(*plan, tmp_path / "out", 0)
    assert not (tmp_path / "out").exists()
