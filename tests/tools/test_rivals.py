"""tools/rivals.py as a person calls it, on a world of 16 subjects and models of one layer, and its arithmetic."""

import importlib
import itertools
import json
import math
import os
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState

from behemoth_cli.benchmarks import runs
from behemoth_data import CorpusConfig, WorldConfig, build
from behemoth_models.config import TrainConfig
from behemoth_models.sizes import SHAPES, Shape

TOOLS = Path(__file__).resolve().parents[2] / "tools"
SMALL = ["--size", "14m", "--num_subjects", "16", "--threads", "1", "--measurements", "2", "--block_tokens", "64"]
SMALL += ["--blocks", "3", "--seeds", "0", "1", "--rates", "0.001", "0.004", "--exposures", "4", "--output", "out.json"]
# Two seeds of the recipe; two rates of each rival, neither of which reaches the target; three medians.
NUM_ROWS = 2 + 2 * 2 + 3


@pytest.fixture
def module(monkeypatch, tmp_path):
    """The tool's module; the working directory is empty, and a 14m has one narrow layer."""
    monkeypatch.syspath_prepend(TOOLS)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)  # this process has its own number
    monkeypatch.setitem(SHAPES, "14m", Shape(1, 32, 2, 64))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.chdir(tmp_path)
    yield importlib.import_module("rivals")
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def rival(module):
    return importlib.import_module("trainer_rival")


def refused(main, words, capsys):
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    return said.err.splitlines()[-1]


def test_race_that_was_cut_off_goes_on_and_a_finished_one_repeats_nothing(module, capsys, monkeypatch):
    train, names = runs.train, []

    def cut_off(corpus, config, folder):
        names.append(folder.name)
        if len(names) == 3:
            raise KeyboardInterrupt
        return train(corpus, config, folder, progress=False)

    with monkeypatch.context() as patch:
        patch.setattr(runs, "train", cut_off)
        with pytest.raises(KeyboardInterrupt):
            module.main(SMALL)
    assert names[:2] == ["target-ours-0", "target-ours-1"]
    first = json.loads(Path("out.json").read_text(encoding="utf-8"))["figures"]
    assert os.path.isdir("out.json.runs")

    capsys.readouterr()
    module.main(SMALL)
    *table, last = capsys.readouterr().out.splitlines()
    found = json.loads(last)["figures"]
    assert found[:2] == first[:2]
    assert len(table) == len(found) == NUM_ROWS
    assert os.listdir() == ["out.json"]

    monkeypatch.setattr(runs, "train", None)
    monkeypatch.setattr(module, "train_packed", None)
    module.main(SMALL)
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["figures"] == found
    line = refused(module.main, [*SMALL, "--measurements", "3"], capsys)
    assert "rivals.py: error: output out.json has figures of measurements 2, got 3; use another file" in line


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("--size 15m", "size must be one of 3m, 7m, 10m, 14m, 31m, 70m, got '15m'"),
        ("--max_minutes 0", "max_minutes must be above 0, got 0"),
        ("--num_subjects 15", "num_subjects must be at least 16, got 15"),
        ("--blocks 0", "blocks must be at least 1, got 0"),
        ("--rates 0", "rates must be above 0, got [0.0]"),
        ("--block_tokens 100000", "block_tokens must be at most"),
    ],
)
def test_bad_input_is_one_clear_line(module, capsys, words, part):
    given = ["--size", "14m", "--num_subjects", "16", "--seeds", "0", "--measurements", "1", *words.split()]
    assert part in refused(module.main, given, capsys)


def searched(module, monkeypatch, seconds, cut=()):
    """The rows of a search in which a run with (rate, exposures) takes so many seconds, and their limits."""
    limits = {}

    def attempt(self, name, seed, rate, exposures, limit):
        limits[rate, exposures] = limit
        value = seconds[rate, exposures]
        whole = (rate, exposures) not in cut
        return {"value": value, "all_seconds": 2 * (value or 90.0), "recall": 0.9, "whole": whole}

    monkeypatch.setattr(module.Race, "_try", attempt)
    arguments = module.RivalArguments(rates=[0.1, 0.2], exposures=[4, 2, 8])
    return module.Race(arguments, None, None)._search("adamw", 0), limits


def test_every_try_of_a_search_ends_a_little_after_the_best_so_far(module, monkeypatch):
    seconds = {(0.1, 8): 30.0, (0.2, 8): 20.0, (0.1, 4): None, (0.2, 4): 10.0, (0.1, 2): 40.0, (0.2, 2): None}
    tried, limits = searched(module, monkeypatch, seconds)
    expected = {(0.1, 8): math.inf, (0.2, 8): 66.0, (0.1, 4): 44.0, (0.2, 4): 44.0, (0.1, 2): 22.0, (0.2, 2): 22.0}
    assert limits == pytest.approx(expected)
    assert min(tried, key=module._order)["value"] == 10.0


def test_search_tries_no_shorter_runs_than_those_that_all_ended_without_the_target(module, monkeypatch):
    seconds = dict.fromkeys([(rate, exposures) for rate in (0.1, 0.2) for exposures in (2, 4, 8)], None)
    assert list(searched(module, monkeypatch, seconds)[1]) == [(0.1, 8), (0.2, 8)]
    cut = [(0.2, 8), (0.1, 4)]  # a run that was cut off says nothing of a shorter schedule
    assert len(searched(module, monkeypatch, seconds, cut)[0]) == 6
    tried = searched(module, monkeypatch, {**seconds, (0.1, 8): 30.0})[1]
    assert list(tried) == [(0.1, 8), (0.2, 8), (0.1, 4), (0.2, 4)]


def test_other_seeds_run_with_the_best_of_the_search_unless_nothing_reached_the_target(module, monkeypatch):
    runs = []

    def attempt(self, name, seed, rate=None, exposures=None, limit=math.inf):
        runs.append((name, seed, rate))
        value = {("ours", None): 5.0, ("adamw", 0.1): 20.0, ("adamw", 0.2): 15.0}.get((name, rate))
        row = {"value": value, "all_seconds": 90.0, "recall": 0.9, "whole": True}
        return {**row, "rate": rate, "schedule": exposures}

    monkeypatch.setattr(module.Race, "_try", attempt)
    arguments = module.RivalArguments(rates=[0.1, 0.2], exposures=[4], seeds=[7, 8])
    *_, ours, trainer, adamw = module.Race(arguments, None, None).target()
    assert runs[:2] == [("ours", 7, None), ("ours", 8, None)]
    assert runs[2:4] == [("trainer", 7, 0.1), ("trainer", 7, 0.2)]
    assert runs[4:] == [("adamw", 7, 0.1), ("adamw", 7, 0.2), ("adamw", 8, 0.2)]
    assert (ours["value"], trainer["value"], adamw["value"]) == (5.0, None, 15.0)
    assert (trainer["note"], adamw["note"]) == ("reached with 0 of 1 seeds", "3 times the recipe tiny")


def test_best_of_a_search_that_never_reached_the_target_came_nearest(module):
    rows = [{"value": None, "recall": 0.5}, {"value": None, "recall": 0.9}, {"value": 70.0, "recall": 0.995}]
    assert min(rows[:2], key=module._order) is rows[1]
    assert min(rows, key=module._order) is rows[2]


def test_median_needs_all_seeds_and_is_compared_with_the_recipe(module):
    def rows(*values):
        return [{"value": value} for value in values]

    ours = module._median("ours", rows(5.0, 3.0, 10.0))
    assert (ours["value"], ours["note"]) == (5.0, "")
    assert module._median("theirs", rows(10.0, 30.0, 20.0), ours)["note"] == "4 times the recipe tiny"
    missed = module._median("theirs", rows(10.0, None, 20.0), ours)
    assert (missed["value"], missed["note"]) == (None, "reached with 2 of 3 seeds")


@pytest.fixture
def corpus():
    return build(WorldConfig(num_subjects=8, num_relations=2, num_objects=4), corpus=CorpusConfig(repeats=6))


def test_blocks_hold_the_sentences_end_to_end(rival, corpus):
    padding = corpus.grammar.lexicon.token_ids["<|padding|>"]
    tokens = [token for row in corpus.block(0, len(corpus)).tolist() for token in row if token != padding]
    blocks = rival.packed(corpus, 50)
    assert blocks.shape == (len(tokens) // 50, 50)
    assert blocks.flatten().tolist() == tokens[: len(blocks) * 50]


@pytest.mark.parametrize(("max_seconds", "steps"), [(1e9, [2, 4]), (0.0, [1])])
def test_trainer_ends_at_the_target_or_beyond_its_time(rival, corpus, monkeypatch, max_seconds, steps):
    recalls = iter([0.2, 0.8, 0.9, 0.9])
    monkeypatch.setattr(rival, "recall", lambda *_: {"subject_object": next(recalls)})
    clock = itertools.count()
    monkeypatch.setattr(rival, "time", type("Clock", (), {"perf_counter": staticmethod(lambda: float(next(clock)))}))
    config = TrainConfig(size="14m", measurements=4, target_recall=0.8, learning_rate=1e-3)
    length = rival.packed(corpus, 1).numel() // 8  # eight steps of a block each, for six sentences per fact
    report = rival.train_packed(corpus, config, block_tokens=length, batch_size=1, max_seconds=max_seconds)
    assert [point["step"] for point in report["curve"]] == steps
    last = report["curve"][-1]
    assert last["exposures"]["subject_object"] == pytest.approx(6 * steps[-1] / 8)
    # The clock ticks when it is looked at: once before, once after every step, and once after measuring.
    assert last["step_seconds"] == steps[-1]
    assert last["seconds"] == report["seconds"] == steps[-1] + len(steps)
