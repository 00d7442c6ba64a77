"""Facts about sweeps: what is counted, what a row says, and that an interrupted sweep ends like any other."""

import copy
import dataclasses
import importlib
import itertools
import json
import math
import os
import stat
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

import behemoth_editing.sweep.running as module
from behemoth_data.corpus import CorpusConfig, build
from behemoth_data.edits import EditConfig, Probe, draw_edits
from behemoth_data.grammar import Query
from behemoth_data.kinds import CHANGE_KINDS, KEEP_KINDS, TRANSFER_KINDS
from behemoth_data.settings import told
from behemoth_data.tables import sentence_table
from behemoth_data.world import Edge, Fact, WorldConfig
from behemoth_editing import FineTune, Memit, Rome, Shared
from behemoth_editing.checkpoint import load_checkpoint
from behemoth_editing.copies import copy_of
from behemoth_editing.methods.contract import Edited
from behemoth_editing.metrics.collateral_accuracy.collateral_accuracy import collateral_accuracy
from behemoth_editing.metrics.edit_success.edit_success import edit_success
from behemoth_editing.metrics.ripple.ripple import ripple
from behemoth_editing.report.dataset import write_results_dataset
from behemoth_editing.report.page import write_report
from behemoth_editing.report.summaries import load_results
from behemoth_editing.scoring.counts import count_units
from behemoth_editing.sweep.cells import Cell, cell_id, check_cells, grid, unfinished
from behemoth_editing.sweep.running import cell_seconds, run

OLD, NEW, OTHER = (5,), (6,), (7,)
EDITS = EditConfig(num_edits=2, probes_per_edit=5)
METHODS = [FineTune(max_steps=2), Rome(steps=2)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Broken:
    """A method that fails."""

    name: ClassVar[str] = "broken"

    def check(self, model):
        pass

    def __call__(self, model, edit_set, shared=None):
        raise RuntimeError("it broke")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Watcher:
    """A method that changes nothing and remembers what it was given."""

    name: ClassVar[str] = "watcher"
    seen: ClassVar[list] = []
    label: str = ""

    def check(self, model):
        pass

    def __call__(self, model, edit_set, shared=None):
        self.seen.append((self.label, edit_set, shared))
        return Edited(copy_of(model), {})


def draws(scenarios, seeds=(0,)):
    return [dataclasses.replace(EDITS, scenario=name, edit_seed=seed) for name in scenarios for seed in seeds]


@pytest.fixture(scope="module")
def cells(beginner):
    """Two methods x two scenarios: four cells."""
    return grid([beginner], METHODS, draws(["single", "different"]))


@pytest.fixture(scope="module")
def unbroken(beginner, cells, tmp_path_factory):
    """The rows of a sweep that nothing interrupted."""
    return run(cells, tmp_path_factory.mktemp("unbroken"), progress=False)


def results(rows):
    """What must not differ between two runs of the same cells, by cell."""
    volatile = ("seconds", "started", "details")
    return {row["cell"]: {key: value for key, value in row.items() if key not in volatile} for row in rows}


def lines(folder):
    return [json.loads(line) for line in (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()]


def probe(kind, edit=0, old=OLD, new=NEW):
    asked = [Query("prompt", "word", (1, 2), answer) for answer in (old, new)]
    return Probe(kind, edit, Fact(Edge.SUBJECT_OBJECT, 0, 0, 0), "statement", *asked)


def counted(checkpoint, rows, edits=1, first=0):
    """count_units of hand-made (probe, answer before, answer after)."""
    (edit_set,) = draw_edits(checkpoint.corpus, dataclasses.replace(EDITS, scenario="different", num_edits=edits))
    probes, before, after = zip(*rows, strict=True)
    return count_units(dataclasses.replace(edit_set, probes=probes), before, after, first)


def test_change_counts_new_objects_whatever_was_said_before(checkpoint):
    rows = [
        (probe("edited"), OLD, NEW),
        (probe("paraphrase"), OLD, OLD),
        (probe("paraphrase"), OTHER, NEW),
        (probe("paraphrase"), OLD, OTHER),
    ]
    (unit,) = counted(checkpoint, rows)
    assert unit == {"edit": 0, "change": {"edited": [1, 1], "paraphrase": [1, 3]}, "keep": {}, "ripple": {}}


def test_keep_counts_right_both_times_before_after_and_asked(checkpoint):
    rows = [
        (probe("unrelated", new=OLD), OLD, OLD),  # known and kept
        (probe("unrelated", new=OLD), OLD, OTHER),  # lost
        (probe("unrelated", new=OLD), OTHER, OLD),  # wrong before, right by the edit
        (probe("unrelated", new=OLD), OTHER, OTHER),  # wrong before and after: agreement is no merit
        (probe("same_subject", new=OLD), OLD, OLD),
    ]
    (unit,) = counted(checkpoint, rows)
    assert unit["keep"] == {"unrelated": [1, 2, 2, 4], "same_subject": [1, 1, 1, 1]}


def test_ripple_counts_kept_followed_incoherent_and_wrong_before(checkpoint):
    rows = [
        (probe("nested_subject"), OLD, OLD),
        (probe("nested_subject"), OLD, NEW),
        (probe("nested_subject"), OLD, NEW),
        (probe("nested_subject"), OLD, OTHER),
        (probe("nested_subject"), OTHER, NEW),  # wrong before: neither kept nor followed
        (probe("nested_subject", new=OLD), OLD, OLD),  # nothing to follow
        (probe("partner", new=OLD), OLD, OLD),  # nothing to follow
    ]
    (unit,) = counted(checkpoint, rows)
    assert unit["ripple"] == {"nested_subject": [1, 2, 1, 1]}


def test_transfer_counts_as_a_ripple_does_and_says_whether_training_asks_about_the_head():
    world = WorldConfig(num_subjects=40, num_relations=2, num_objects=12)
    corpus = build(world, None, CorpusConfig(question_fraction=0.2))
    config = EditConfig(scenario="different", num_edits=6, transfer=True, least_rows=0)
    (edit_set,) = draw_edits(corpus, config)
    rows = [
        (probe("denied_old", 1), OLD, OLD),
        (probe("denied_old", 1), OLD, NEW),
        (probe("denied_old", 1), OTHER, NEW),
        (probe("two_step", 1), OLD, OTHER),
        (probe("two_step", 1, new=OLD), OLD, OLD),  # nothing to follow
        (probe("edited", 1), OLD, NEW),
    ]
    probes, before, after = zip(*rows, strict=True)
    units = count_units(dataclasses.replace(edit_set, probes=probes), before, after)
    asked = {row["subject"] for row in sentence_table(corpus, 0, len(corpus)).to_pylist() if row["form"] == "question"}
    heads = [edit.fact.head for edit in edit_set.edits]
    assert [unit["asked_in_training"] for unit in units] == [head in asked for head in heads]
    assert {unit["asked_in_training"] for unit in units} == {True, False}
    assert units[1]["transfer"] == {"denied_old": [1, 1, 0, 1], "two_step": [0, 0, 1, 0]}
    assert (units[1]["change"], units[1]["ripple"], units[0]["transfer"]) == ({"edited": [1, 1]}, {}, {})
    (plain,) = draw_edits(corpus, dataclasses.replace(config, transfer=False))
    for unit in count_units(dataclasses.replace(plain, probes=probes[-1:]), before[-1:], after[-1:]):
        assert unit.keys() == {"edit", "change", "keep", "ripple"}


def test_counts_go_to_the_edit_that_the_probe_was_drawn_for(checkpoint):
    rows = [
        (probe("edited", 0), OLD, NEW),
        (probe("edited", 1), OLD, OLD),
        (probe("same_relation", 1, new=OLD), OLD, OLD),
        (probe("same_relation", 1, new=OLD), OLD, NEW),
    ]
    units = counted(checkpoint, rows, edits=2, first=4)
    assert units == [
        {"edit": 4, "change": {"edited": [1, 1]}, "keep": {}, "ripple": {}},
        {"edit": 5, "change": {"edited": [0, 1]}, "keep": {"same_relation": [1, 2, 1, 2]}, "ripple": {}},
    ]


def test_answer_with_some_words_right_counts_as_wrong(checkpoint):
    half = probe("edited", old=(5, 8), new=(6, 9))
    (unit,) = counted(checkpoint, [(half, (5, 8), (6, 8)), (half, (5, 8), (6, 9))])
    assert unit["change"] == {"edited": [1, 2]}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_counts_agree_with_the_metrics_on_the_same_answers_as_words(checkpoint, seed):
    (edit_set,) = draw_edits(checkpoint.corpus, EditConfig(scenario="different", num_edits=4, edit_seed=seed))
    random = np.random.Generator(np.random.Philox(seed))
    asked = edit_set.probes

    def draw(weights):
        choices = [(p.before.answer_ids, p.after.answer_ids, (3,) * len(p.before.answer_ids)) for p in asked]
        return [choice[i] for choice, i in zip(choices, random.choice(3, len(asked), p=weights), strict=True)]

    before, after = draw([0.8, 0.1, 0.1]), draw([0.5, 0.3, 0.2])
    units = count_units(edit_set, before, after)
    words = {name: [" ".join(map(str, ids)) for ids in column] for name, column in (("b", before), ("a", after))}
    words["old"] = [" ".join(map(str, p.before.answer_ids)) for p in asked]
    words["new"] = [" ".join(map(str, p.after.answer_ids)) for p in asked]
    kinds = [p.kind for p in asked]

    def columns(wanted, *names):
        places = [i for i, kind in enumerate(kinds) if kind in wanted]
        return [[words[name][i] for i in places] for name in names] + [[kinds[i] for i in places]]

    def summed(part):
        totals = {}
        for kind, counts in (item for unit in units for item in unit[part].items()):
            totals[kind] = np.add(totals.get(kind, 0), counts)
        return totals

    changes = summed("change")
    assert set(changes) == set(CHANGE_KINDS)
    for kind, (successes, count) in changes.items():
        predictions, references, _ = columns([kind], "a", "new")
        assert edit_success(predictions, references) == {"edit_success": successes / count, "count": count}
    kept = collateral_accuracy(*columns(KEEP_KINDS, "a", "old", "b"))["by_kind"]
    assert kept.keys() == summed("keep").keys()
    for kind, (both, right_before, right_after, count) in summed("keep").items():
        assert kept[kind]["accuracy"] == pytest.approx(both / right_before)
        assert kept[kind]["drop"] == pytest.approx((right_before - right_after) / count)
        assert (kept[kind]["count"], kept[kind]["wrong_before"]) == (right_before, count - right_before)
    rippled = ripple(*columns(["nested_subject"], "a", "old", "new", "b"))["by_kind"]["nested_subject"]
    (still, followed, incoherent, wrong_before) = summed("ripple")["nested_subject"]
    assert rippled["count"] == still + followed + incoherent
    assert rippled["wrong_before"] == wrong_before
    for name, count in (("kept", still), ("followed", followed), ("incoherent", incoherent)):
        assert (rippled[name] or 0) == pytest.approx(count / max(1, rippled["count"]))


def test_grid_is_every_combination_with_those_of_one_draw_together(checkpoint):
    cells = grid([checkpoint], METHODS, draws(["single", "identical"], [3, 4]))
    assert [(c.edits.scenario, c.edits.edit_seed, c.method.name) for c in cells] == [
        ("single", 3, "finetune"),
        ("single", 3, "rome"),
        ("single", 4, "finetune"),
        ("single", 4, "rome"),
        ("identical", 3, "finetune"),
        ("identical", 3, "rome"),
        ("identical", 4, "finetune"),
        ("identical", 4, "rome"),
    ]
    assert {dataclasses.replace(c.edits, scenario="single", edit_seed=0) for c in cells} == {EDITS}


def test_cells_differ_in_name_wherever_their_results_could(checkpoint):
    others = [
        Cell(checkpoint, FineTune(), EDITS),
        Cell(checkpoint, FineTune(learning_rate=2e-3), EDITS),
        Cell(checkpoint, FineTune(fit_seed=1), EDITS),
        Cell(checkpoint, Rome(), EDITS),
        Cell(checkpoint, Rome(layer=4), EDITS),
        *(
            Cell(checkpoint, Rome(), dataclasses.replace(EDITS, **{name: 1}))
            for name in ("edit_seed", "relation", "num_edits")
        ),
        Cell(checkpoint, Rome(), dataclasses.replace(EDITS, scenario="identical")),
        Cell(checkpoint, Rome(), dataclasses.replace(EDITS, edge="object_nested")),
    ]
    names = {cell_id(cell) for cell in others}
    names.add(cell_id(Cell(dataclasses.replace(checkpoint, weights="0" * 16), FineTune(), EDITS)))
    assert len(names) == len(others) + 1
    assert {len(name) for name in names} == {16}
    # Where the model lies says nothing about its results.
    assert cell_id(Cell(dataclasses.replace(checkpoint, name="elsewhere"), FineTune(), EDITS)) in names


def test_row_says_what_was_done_to_what(beginner, cells, unbroken):
    assert [row["cell"] for row in unbroken] == [cell_id(cell) for cell in cells]
    first, last = unbroken[0], unbroken[-1]
    assert (first["method"], first["scenario"], first["edge"], first["relation"]) == (
        "finetune",
        "single",
        "subject_object",
        0,
    )
    assert (first["num_edits"], first["seed"], first["structure"], first["error"]) == (2, 0, "nested", None)
    assert last["settings"]["steps"] == 2
    assert first["world"]["num_subjects"] == 24
    assert first["model"] == beginner.name
    assert first["weights"]["before"] == beginner.weights
    # single: a copy for each edit; different: one copy with both.
    assert [len(row["weights"]["after"]) for row in unbroken] == [2, 2, 1, 1]
    assert [len(row["details"]) for row in unbroken] == [2, 2, 1, 1]
    for row in unbroken:
        assert [unit["edit"] for unit in row["units"]] == [0, 1]
        assert set(row["seconds"]) == {"edit", "shared", "score", "needed"}
        for unit in row["units"]:
            assert unit["change"]["edited"][1] == 1
            assert unit["keep"]["unrelated"][3] == 5
        assert row["scores"]["edit_success"]["count"] == 2


def test_row_says_how_large_the_model_is_how_much_it_holds_and_how_it_was_told(beginner, unbroken):
    (load,) = {json.dumps(row["load"]) for row in unbroken}
    load = json.loads(load)
    vocabulary = beginner.model.config.vocab_size
    assert (load["width"], load["layers"], load["parameters"]) == (32, 6, 76_288 + 32 * vocabulary)
    assert load["facts"] == 2 * 24 * 2 + 6 * 2
    arrangements = math.factorial(6) / math.factorial(2) ** 3
    assert load["bits"] == pytest.approx(24 * 2 * math.log2(6) + 2 * math.log2(arrangements))
    training = json.loads(Path(beginner.name, "training.json").read_text(encoding="utf-8"))
    assert load["sentences_per_fact"] == pytest.approx(training["exposures_per_fact"])
    assert load["steps"] == beginner.corpus.config.repeats * (2 * 24 * 2 + 2 * 6 * 2) // 48
    recipe = unbroken[0]["recipe"]
    assert (recipe["train"]["size"], recipe["corpus"]["repeats"], recipe["lexicon"]["surface"]) == (
        "3m",
        30,
        "synthetic",
    )


def test_file_holds_the_rows_one_a_line(beginner, cells, tmp_path):
    rows = run(cells[2:], tmp_path / "new" / "folder", progress=False)
    assert lines(tmp_path / "new" / "folder") == json.loads(json.dumps(rows))


@pytest.mark.parametrize(("umask", "mode"), [(0o002, 0o664), (0o077, 0o600)])
def test_rows_may_be_read_and_written_by_whom_the_umask_allows(checkpoint, tmp_path, umask, mode):
    earlier = os.umask(umask)
    try:
        run(grid([checkpoint], [Watcher()], draws(["single"])), tmp_path, progress=False)
    finally:
        os.umask(earlier)
    assert stat.S_IMODE((tmp_path / "results.jsonl").stat().st_mode) == mode


def test_same_seeds_twice_give_identical_results(beginner, cells, unbroken, tmp_path):
    assert results(run(cells, tmp_path, progress=False)) == results(unbroken)


def test_another_seed_draws_other_edits(checkpoint):
    first, other = (draw_edits(checkpoint.corpus, dataclasses.replace(EDITS, edit_seed=seed)) for seed in (0, 1))
    assert [s.edits for s in first] != [s.edits for s in other]


def test_halves_run_by_two_processes_give_the_same_rows(beginner, cells, unbroken, tmp_path):
    for share in (cells[::2], cells[1::2]):
        run(share, tmp_path, progress=False)
    assert results(lines(tmp_path)) == results(json.loads(json.dumps(unbroken)))
    assert unfinished(cells, tmp_path) == []


@pytest.mark.parametrize("cut", [1, 40, -1])
def test_sweep_killed_in_the_middle_of_a_line_ends_like_an_unbroken_one(beginner, cells, unbroken, tmp_path, cut):
    path = tmp_path / "results.jsonl"
    whole = [json.dumps(row) for row in unbroken[:2]]
    path.write_text(f"{whole[0]}\n{whole[1][:cut]}", encoding="utf-8")
    missing = unfinished(cells, tmp_path)
    assert missing == cells[1:]
    assert path.read_text(encoding="utf-8") == f"{whole[0]}\n"
    run(missing, tmp_path, progress=False)
    assert results(lines(tmp_path)) == results(json.loads(json.dumps(unbroken)))
    assert unfinished(cells, tmp_path) == []


def test_two_runs_at_once_leave_a_folder_that_goes_on_and_counts_each_cell_once(beginner, cells, unbroken, tmp_path):
    path = tmp_path / "results.jsonl"
    for requeued in (cells[:2], cells[:3]):
        run(requeued, tmp_path, progress=False)
    path.write_bytes(path.read_bytes() + json.dumps(unbroken[3]).encode()[:200])
    assert len(load_results([tmp_path])) == 3
    assert unfinished(cells, tmp_path) == cells[3:]
    assert [row["cell"] for row in lines(tmp_path)] == [cell_id(cell) for cell in cells[:3]]
    run(cells[3:], tmp_path, progress=False)
    assert results(load_results([tmp_path])) == results(json.loads(json.dumps(unbroken)))


def test_sweep_killed_in_its_first_line_starts_anew(beginner, cells, unbroken, tmp_path):
    path = tmp_path / "results.jsonl"
    path.write_text(json.dumps(unbroken[0])[:100], encoding="utf-8")
    assert unfinished(cells, tmp_path) == cells
    assert path.read_text(encoding="utf-8") == ""


def test_everything_is_unfinished_where_nothing_is_written(beginner, cells, tmp_path):
    assert unfinished(cells, tmp_path / "nothing") == cells
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize(
    ("part", "name", "value"), [("weights", "before", "0123456789abcdef"), ("versions", "behemoth", "0.0.1")]
)
def test_rows_of_another_model_or_version_are_refused_and_kept(beginner, cells, unbroken, tmp_path, part, name, value):
    row = {**unbroken[0], part: {**unbroken[0][part], name: value}}
    text = json.dumps(row) + "\n"
    (tmp_path / "results.jsonl").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=f"output_dir must be new or hold results of the same models .* got .*{value}"):
        unfinished(cells, tmp_path)
    assert (tmp_path / "results.jsonl").read_text(encoding="utf-8") == text


def test_failing_method_is_recorded_tried_again_and_costs_no_other(checkpoint, tmp_path):
    cells = grid([checkpoint], [Watcher(label="a"), Broken(), Watcher(label="b")], draws(["single"], [0]))
    rows = run(cells, tmp_path, progress=False)
    assert [row["error"] for row in rows] == [None, "RuntimeError: it broke", None]
    assert (rows[1]["scores"], rows[1]["units"], rows[1]["seconds"], rows[1]["details"]) == (None,) * 4
    assert rows[1]["weights"] == {"before": checkpoint.weights, "after": None, "change": None}
    assert unfinished(cells, tmp_path) == [cells[1]]
    assert [row["error"] for row in lines(tmp_path)] == [None, None]


def test_row_of_a_method_that_diverged_can_be_read_by_any_reader_of_json(checkpoint, tmp_path):
    cells = grid([checkpoint], [FineTune(learning_rate=1e30, max_steps=4)], draws(["single"], [0]))
    run(cells, tmp_path, progress=False)

    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    (line,) = (tmp_path / "results.jsonl").read_text(encoding="utf-8").splitlines()
    json.loads(line, parse_constant=refuse)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Talker:
    """A method that changes nothing and says what it was told to say."""

    name: ClassVar[str] = "talker"
    says: object = None
    rank: object = None

    def check(self, model):
        pass

    def __call__(self, model, task, shared=None):
        return Edited(copy_of(model), {"said": self.says, "precision": "fp32"})


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("no words")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Raiser(Talker):
    """A method whose failure cannot be put into words."""

    name: ClassVar[str] = "raiser"

    def __call__(self, model, task, shared=None):
        raise Unspeakable


def test_a_method_may_say_anything_and_have_any_settings(checkpoint, tmp_path):
    values = [
        np.float32(0.5),
        torch.tensor([1.0, float("inf")]),
        {3, 1},
        EDITS,
        {1: float("nan")},
        [Talker],
        "caf\udce9",
    ]
    methods = [*(Talker(says=value, rank=value) for value in values), Raiser(), Watcher()]
    cells = grid([checkpoint], methods, draws(["different"], [0]))
    rows = run(cells, tmp_path, progress=False)
    assert [row["error"] for row in rows] == [*[None] * len(values), "Unspeakable: Unspeakable", None]
    expected = [
        0.5,
        [1.0, "inf"],
        [1, 3],
        told(EDITS),
        {"1": "nan"},
        [f"{__name__}.Talker"],
        "caf\\udce9",
    ]
    assert [row["settings"]["says"] for row in rows[: len(values)]] == expected
    assert [row["details"][0]["said"] for row in rows[: len(values)]] == expected
    assert unfinished(cells, tmp_path) == [cells[len(values)]]
    assert load_results([tmp_path]) == [row for row in rows if row["error"] is None]
    write_report([tmp_path], tmp_path / "report")
    write_results_dataset(load_results([tmp_path]), tmp_path)


def test_cell_is_one_cell_whatever_its_settings_can_and_cannot_do(checkpoint):
    same = [Cell(checkpoint, Talker(says=np.zeros(3)), EDITS), Cell(checkpoint, Talker(says=[0.0, 0.0, 0.0]), EDITS)]
    assert len({cell_id(cell) for cell in same}) == 1
    assert (
        len(grid([checkpoint], [Talker(says=np.zeros(3)), Talker(says=np.ones(3)), Talker(says=np.zeros(3))], [EDITS]))
        == 2
    )


def test_one_model_under_two_names_is_one_model(checkpoint):
    cells = grid([checkpoint, dataclasses.replace(checkpoint, name="elsewhere")], [Watcher()], draws(["single"]))
    assert [cell.checkpoint.name for cell in cells] == [checkpoint.name]


def test_row_says_in_which_precision_the_method_and_the_model_were_trained(beginner, cells, unbroken, tmp_path):
    assert beginner.precision in ("bf16", "fp32")
    assert {row["model_precision"] for row in unbroken} == {beginner.precision}
    assert [row["precision"] for row in unbroken] == [unbroken[0]["details"][0]["precision"], None] * 2
    exact = dataclasses.replace(METHODS[0], precision="fp32")
    (row,) = run(grid([beginner], [exact], draws(["different"])), tmp_path, progress=False)
    assert row["precision"] == "fp32"
    assert row["hub_id"] is None  # it is a folder


def test_methods_of_one_draw_get_the_very_same_edits_and_share(checkpoint, tmp_path):
    Watcher.seen.clear()
    run(grid([checkpoint], [Watcher(label="a"), Watcher(label="b")], draws(["single"], [0])), tmp_path, progress=False)
    first, second = ([entry for entry in Watcher.seen if entry[0] == label] for label in "ab")
    assert len(first) == len(second) == 2
    for (_, edits, shared), (_, same_edits, same_shared) in zip(first, second, strict=True):
        assert edits is same_edits
        assert shared is same_shared


@dataclasses.dataclass(frozen=True, kw_only=True)
class Oracle:
    """A method whose copy answers the prompts of its edits as asked, by a hook on the logits, until it is copied."""

    name: ClassVar[str] = "oracle"
    given: ClassVar[list] = []  # the model that every edit was made on

    def check(self, model):
        pass

    def __call__(self, model, task, shared=None):
        self.given.append(model)
        edited = copy_of(model)
        edited._forward_hooks.clear()  # what earlier edits wrote is forgotten
        answers = {request.prompt_ids: request.answer_ids[0] for request in task.requests}

        def say(_module, _arguments, keywords, output):
            for row, ids in enumerate(keywords["input_ids"].tolist()):
                if tuple(ids) in answers:
                    output.logits[row, -1, answers[tuple(ids)]] = 1e4
            return output

        edited.register_forward_hook(say, with_kwargs=True)
        return Edited(edited, {})


@pytest.fixture
def whole_prompts(monkeypatch):
    """Scoring passes every prompt through the whole model at once, so that a hook can see it."""

    def ask(model, probes, progress=None):
        asked = [torch.tensor([probe.before.prompt_ids]) for probe in probes]
        with torch.no_grad():
            return [(int(model(input_ids=ids).logits[0, -1].argmax()),) for ids in asked]

    monkeypatch.setattr(module, "predict", ask)
    monkeypatch.setattr("behemoth_editing.scoring.counts.predict", ask)


def test_each_step_of_a_sequence_edits_what_the_last_one_left(checkpoint, tmp_path, whole_prompts):
    Oracle.given.clear()
    config = dataclasses.replace(EDITS, scenario="sequence", num_edits=3)
    (row,) = run(grid([checkpoint], [Oracle()], [config]), tmp_path, progress=False)
    assert row["error"] is None
    assert Oracle.given[0] is checkpoint.model
    assert all(model is not checkpoint.model for model in Oracle.given[1:])
    assert [bool(model._forward_hooks) for model in Oracle.given] == [False, True, True]
    # Every edit holds right after it was made, and only the last one at the end.
    assert [unit["right_after"]["change"]["edited"] for unit in row["units"]] == [[1, 1]] * 3
    assert [unit["change"]["edited"] for unit in row["units"]] == [[0, 1], [0, 1], [1, 1]]
    assert row["scores"]["edit_success"]["value"] == pytest.approx(1 / 3)
    assert row["scores"]["right_after"]["edit_success"]["value"] == 1.0
    assert [unit["edit"] for unit in row["units"]] == [0, 1, 2]
    assert len(row["weights"]["after"]) == len(row["weights"]["change"]) == 1  # of the end
    assert len(row["details"]) == 3
    json.loads(json.dumps(row))


def test_statistics_of_models_within_a_sequence_are_not_kept(beginner, tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(module, "Shared", lambda *parts, **more: kept.append(Shared(*parts, **more)) or kept[-1])
    config = dataclasses.replace(EDITS, scenario="sequence", num_edits=2)
    run(grid([beginner], [Memit(layers=(1, 2), steps=2)], [config]), tmp_path, progress=False)
    own, later = kept
    assert len(own.key_statistics) == 2
    assert len(later.key_statistics) == 3  # layer 1 has the keys it had, layer 2 others


def test_what_is_left_out_of_the_original_s_statistics_is_read_once_in_a_sequence(beginner, tmp_path, monkeypatch):
    keys, read = importlib.import_module("behemoth_editing.methods.keys"), []
    plain = keys.without_asked
    monkeypatch.setattr(keys, "without_asked", lambda *given: read.append(1) or plain(*given))
    config = dataclasses.replace(EDITS, scenario="sequence", num_edits=3)
    run(grid([beginner], [Memit(layers=(1, 2), steps=2, statistics_of="original")], [config]), tmp_path, progress=False)
    assert len(read) == 2  # of each layer


def test_statistics_within_a_sequence_are_a_cost_of_its_edits(checkpoint, tmp_path, monkeypatch):
    """Statistics of the original may serve other cells; those of an edited model serve this cell alone."""

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Costly(Watcher):
        def __call__(self, model, task, shared=None):
            shared.seconds += 100.0  # as if so much of the call had gone into statistics
            return super().__call__(model, task, shared)

    clock = itertools.count(0, 1000)
    monkeypatch.setattr(module.time, "perf_counter", lambda: float(next(clock)))
    config = dataclasses.replace(EDITS, scenario="sequence", num_edits=3)
    (row,) = run([Cell(checkpoint, Costly(), config)], tmp_path, progress=False)
    assert row["error"] is None
    assert row["seconds"]["shared"] == 100.0  # of the first step
    assert row["seconds"]["edit"] == 3 * 1000.0 - 100.0


def test_task_in_a_sequence_has_those_before_it(checkpoint, tmp_path):
    seen = []

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Looking(Watcher):
        def __call__(self, model, task, shared=None):
            seen.append((task.edits, [earlier.edits for earlier in task.earlier], shared.original))
            return super().__call__(model, task, shared)

    for scenario in ("sequence", "single"):
        run(
            [Cell(checkpoint, Looking(), dataclasses.replace(EDITS, scenario=scenario, num_edits=3))],
            tmp_path / scenario,
        )
    edits = [own for own, *_ in seen]
    assert [earlier for _, earlier, _ in seen] == [[], edits[:1], edits[:2], [], [], []]
    assert [original is checkpoint.model for *_, original in seen] == [False, True, True, False, False, False]


@pytest.mark.parametrize("method", [Rome(layer=2, steps=3), Memit(layers=(1, 2), steps=3)], ids=["rome", "memit"])
def test_statistics_may_stay_those_of_the_original(method, beginner, tmp_path):
    digests = {}
    for scenario in ("sequence", "single"):
        config = dataclasses.replace(EDITS, scenario=scenario, num_edits=2)
        for of in ("given", "original"):
            cell = Cell(beginner, dataclasses.replace(method, statistics_of=of), config)
            (row,) = run([cell], tmp_path / f"{scenario}-{of}", progress=False)
            assert row["error"] is None
            digests[scenario, of] = row["weights"]["after"]
    assert digests["single", "given"] == digests["single", "original"]
    # Rome's keys lie below what its first edit wrote; memit's second layer reads what its first one left.
    assert (digests["sequence", "given"] == digests["sequence", "original"]) == (method.name == "rome")


@pytest.mark.parametrize("scenario", ["forget", "refuse"])
def test_forgetting_is_counted_where_a_relation_is_forgotten(checkpoint, tmp_path, scenario):
    config = dataclasses.replace(EDITS, scenario=scenario, forget_fraction=0.1)
    (row,) = run(grid([checkpoint], [Watcher()], [config]), tmp_path, progress=False)
    assert row["num_edits"] == 8  # of 80 subjects
    known = sum(unit["forget"]["edited"][1] for unit in row["units"])
    assert known >= 6
    for unit in row["units"]:
        for left, before, refused, asked in unit["forget"].values():
            assert (left, refused, asked) == (before, 0, 1)  # nothing changed
    assert row["scores"]["forgetting"]["edited"]["accuracy_left"]["value"] == 1.0
    assert row["scores"]["forgetting"]["edited"]["refused"]["value"] == 0.0
    assert row["scores"]["edit_success"]["value"] == 0.0
    assert row["scores"]["by_kind"]["implicit"]["value"] == 1.0
    assert row["retained"][0].keys() == {"same_subject", "unrelated", "implicit"}
    assert row["looks"] == []
    assert ("new" in row["scores"]["measures"]) == (scenario == "forget")


def test_forget_counts_old_answers_left_and_refusals(checkpoint):
    def forgotten(kind="edited"):
        return dataclasses.replace(probe(kind), refusal_ids=(9, 9))

    rows = [
        (forgotten(), OLD, (*OLD, 4)),  # a refusal has two tokens, so two are generated
        (forgotten(), OLD, (*NEW, 4)),
        (forgotten(), OTHER, (*OLD, 4)),  # wrong before: nothing of it was left
        (forgotten(), OLD, (9, 9)),
        (forgotten(), OLD, (9, 4)),  # half a refusal is none
        (forgotten("paraphrase"), OLD, (9, 9)),
    ]
    (unit,) = counted(checkpoint, rows)
    assert unit["forget"] == {"edited": [1, 4, 1, 5], "paraphrase": [0, 1, 1, 1]}
    assert unit["change"] == {"edited": [1, 5], "paraphrase": [0, 1]}


def test_measures_are_those_of_the_edited_prompts_and_their_own_unrelated_ones(checkpoint, tmp_path):
    config = dataclasses.replace(EDITS, scenario="different")
    (row,) = run(grid([checkpoint], [Rome(layer=2)], [config]), tmp_path, progress=False)
    (edit_set,) = draw_edits(checkpoint.corpus, config)
    edited = Rome(layer=2)(checkpoint.model, edit_set).model

    def after(model, prompt):
        with torch.no_grad():
            return model(input_ids=torch.tensor([prompt])).logits[0, -1].double().log_softmax(-1)

    tails = [  # one token each
        checkpoint.corpus.grammar.query(Fact(Edge.SUBJECT_OBJECT, 0, 0, tail)).answer_ids[0] for tail in range(20)
    ]
    for number, unit in enumerate(row["units"]):
        said = after(edited, edit_set.requests[number].prompt_ids).exp()
        mass = float(said[tails].sum())
        edit = edit_set.edits[number]
        new, old = float(said[tails[edit.new_tail]]), float(said[tails[edit.fact.tail]])
        expected = {
            "validity": mass,
            "new": new / mass,
            "old": old / mass,
            "new_rank": 1 + int((said[tails] > new).sum()),
            "old_rank": 1 + int((said[tails] > old).sum()),
        }
        prompts = [p.before.prompt_ids for p in edit_set.probes if (p.kind, p.edit) == ("unrelated", number)]
        pairs = [(after(checkpoint.model, prompt), after(edited, prompt)) for prompt in prompts]
        expected["kl"] = np.mean([float((was.exp() * (was - now)).sum()) for was, now in pairs])
        assert unit["measures"] == pytest.approx(expected, rel=1e-3, abs=1e-6)
    assert row["weights"]["change"][0]["rank"] == 2
    assert row["weights"]["change"][0]["norm"] > 0


def test_time_that_cells_take_is_tried_once_for_each_method_and_scenario(checkpoint):
    Watcher.seen.clear()
    methods = [Watcher(label="a"), Watcher(label="b"), FineTune(max_steps=1)]
    cells = grid([checkpoint], methods, draws(["single", "different"], [0, 1]))
    seconds = cell_seconds(cells)
    assert list(seconds) == cells
    assert all(spent > 0 for spent in seconds.values())
    assert len(Watcher.seen) == 2  # one set of each scenario
    singles = [seconds[cell] for cell in cells[3:6] if cell.method.name == "watcher"]
    assert singles[0] == singles[1] > 0


def test_models_share_a_folder_and_each_cell_edits_its_own(checkpoint, trained, tmp_path):
    other = dataclasses.replace(checkpoint, name="other", model=copy_of(checkpoint.model), weights="f" * 16)
    cells = grid([checkpoint, other], [Watcher()], draws(["single"]))
    rows = run(cells, tmp_path, progress=False)
    assert [row["model"] for row in rows] == [checkpoint.name, "other"]
    assert len({row["cell"] for row in rows}) == 2
    assert unfinished(cells, tmp_path) == []
    with pytest.raises(ValueError, match="output_dir must be new or hold results of the same models"):
        unfinished(cells[1:], tmp_path)


def test_method_that_changes_nothing_scores_what_the_world_says(checkpoint, tmp_path):
    (row,) = run(grid([checkpoint], [Watcher()], draws(["different"], [0])), tmp_path, progress=False)
    assert row["scores"]["edit_success"]["value"] == 0.0
    assert row["scores"]["collateral_by_fact"]["value"] == 1.0
    assert {kind["value"] for kind in row["scores"]["by_kind"].values()} == {1.0}
    assert row["weights"]["after"] == [checkpoint.weights]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ((Rome(layer=99), EDITS), r"layer must lie in \[0, 6\), .* got 99"),
        ((FineTune(layers=(1, 6)), EDITS), r"layer must lie in \[0, 6\), .* got 6"),
        ((Rome(), EditConfig(num_edits=81)), "num_edits must be at most 80, .* got 81"),
        ((Rome(), EditConfig(scenario="different", num_edits=11)), "num_edits must be at most 10, .* got 11"),
        ((Rome(), EditConfig(relation=3)), "relation must be below num_relations = 3, got 3"),
        ((Rome(), EditConfig(matched=True)), "matched needs a correlated world"),
    ],
)
def test_impossible_cell_is_refused_before_any_runs(checkpoint, cells, monkeypatch, bad, message):
    def run_nothing(*_):
        raise AssertionError("no model may be asked")

    monkeypatch.setattr("behemoth_editing.scoring.counts.predict", run_nothing)
    with pytest.raises(ValueError, match=message):
        check_cells([*cells, Cell(checkpoint, *bad)])
    check_cells(cells)


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        (Memit(), torch.float16),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [
                (Memit(), torch.bfloat16),
                (FineTune(modules="both", layers=None), torch.float16),
                (FineTune(modules="both", layers=None), torch.bfloat16),
            ]
        ),
    ],
)
def test_row_of_a_model_stored_in_a_narrow_type_is_like_that_of_its_float32_copy(checkpoint, tmp_path, method, kind):
    copy_of(checkpoint.model).to(kind).save_pretrained(tmp_path / "narrow")
    narrow = load_checkpoint(str(tmp_path / "narrow"))
    assert {weight.dtype for weight in narrow.model.parameters()} == {kind}
    wide = dataclasses.replace(narrow, model=copy_of(narrow.model), weights="f" * 16)
    rows = run(grid([narrow, wide], [method], [EDITS]), tmp_path / "rows", progress=False)
    assert [row["error"] for row in rows] == [None] * 2
    found, expected = rows
    for change, other in zip(found["weights"]["change"], expected["weights"]["change"], strict=True):
        assert change["norm"] == pytest.approx(other["norm"], rel=0.05)
    for unit, other in zip(found["units"], expected["units"], strict=True):
        assert unit["change"] == other["change"]
        assert unit["keep"].keys() == other["keep"].keys()
        for kind, counts in unit["keep"].items():  # [right before and after, before, after, asked]
            assert counts == pytest.approx(other["keep"][kind], abs=1)
        assert unit["measures"]["validity"] == pytest.approx(other["measures"]["validity"], abs=0.02)
        if "kl" in unit["measures"]:
            assert unit["measures"]["kl"] == pytest.approx(other["measures"]["kl"], rel=0.1, abs=0.02)


def test_statistics_count_for_every_cell_that_needs_them_and_once_in_it(beginner, tmp_path):
    edits = EditConfig(scenario="single", num_edits=2, probes_per_edit=2)
    cells = [Cell(beginner, Rome(layer=2, steps=steps), edits) for steps in (1, 2)]
    first, second = run(cells, tmp_path, progress=False)
    # Those of all sentences, and those without what each of both sets asks; the last set's are there for the next cell.
    assert first["seconds"]["shared"] == pytest.approx(first["seconds"]["needed"], abs=0.05)
    assert second["seconds"]["shared"] < first["seconds"]["shared"]
    assert second["seconds"]["needed"] > second["seconds"]["shared"]


def test_row_of_a_draw_that_asks_for_transfer_has_its_counts_and_all_else_as_without(checkpoint, tmp_path):
    corpus = checkpoint.corpus
    words = build(corpus.world.config, corpus=corpus.config)  # all of them, which the model has no room for
    model = copy.deepcopy(checkpoint.model)
    model.resize_token_embeddings(len(words.grammar.lexicon.vocabulary), mean_resizing=False)
    wider = dataclasses.replace(checkpoint, model=model, corpus=words)
    plain, asking = (
        run([Cell(wider, Watcher(), dataclasses.replace(EDITS, transfer=on))], tmp_path / str(on), progress=False)
        for on in (False, True)
    )
    (without,), (row,) = plain, asking
    assert "transfer" not in without["edits"]
    assert row["edits"] == {**without["edits"], "transfer": True}
    assert row["cell"] != without["cell"]
    assert row["scores"] == without["scores"]
    for unit, other in zip(row["units"], without["units"], strict=True):
        assert unit.pop("asked_in_training") is False  # of a corpus without questions
        found = unit.pop("transfer")
        assert unit == other
        # Watcher changes nothing: what the model knew is kept, or has nothing to follow.
        assert set(found) - {"two_step", "paraphrase"} == set(TRANSFER_KINDS) - {"two_step"}
        assert ("paraphrase" in found) == ("paraphrase" in unit["change"])
        assert all(counts in ([1, 0, 0, 0], [0, 0, 0, 1]) for counts in found.values())
    assert load_results([tmp_path / "True"])
