"""benchmark train as a person calls it, on a world of 16 subjects and models of one layer, and its arithmetic."""

import importlib
import itertools
import json
import math
import os
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from behemoth_data import CorpusConfig, WorldConfig, build
from behemoth_models.config import TrainConfig
from behemoth_models.sizes import SHAPES, Shape

SMALL = ["train", "--size", "14m", "--num_subjects", "16", "--threads", "1", "--measurements", "2"]
SMALL += ["--block_tokens", "64", "--blocks", "3", "--steps", "2", "--runs", "1", "--seeds", "0", "1"]
SMALL += ["--rates", "0.001", "0.004", "--exposures", "4", "--scaling_subjects", "16", "20", "--output", "out.json"]
# Two seeds of the recipe; two rates of each rival, neither of which reaches the target.
NUM_TARGET_RUNS = 2 + 2 * 2


@pytest.fixture
def script(monkeypatch, tmp_path):
    """A function that gives a module of ours; the working directory is empty, and a 14m has one narrow layer."""
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)  # this process has its own number
    monkeypatch.setitem(SHAPES, "14m", Shape(1, 32, 2, 64))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.chdir(tmp_path)
    yield lambda name: importlib.import_module(f"behemoth_cli.{name}")
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def module(script):
    return script("benchmarks.training")


def stored():
    return json.loads(Path("out.json").read_text(encoding="utf-8"))


def refused(main, words, capsys):
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    return said.err.splitlines()[-1]


def test_benchmark_that_was_cut_off_goes_on_and_a_finished_one_repeats_nothing(script, module, capsys, monkeypatch):
    main, train, runs = script("benchmark").main, module.train, []

    def cut_off(corpus, config, folder):
        runs.append(folder.name)
        if len(runs) == 7:
            raise KeyboardInterrupt
        return train(corpus, config, folder, progress=False)

    with monkeypatch.context() as patch:
        patch.setattr(module, "train", cut_off)
        with pytest.raises(KeyboardInterrupt):
            main(SMALL)
    assert runs[:4] == ["rate-tiny-muon", "rate-tiny-adamw", "precision-bf16", "precision-fp32"]
    assert runs[4:6] == ["target-ours-0", "target-ours-1"]
    first = stored()["figures"]
    assert {row["part"] for row in first if row["part"].startswith("target/ours")} == {"target/ours/0", "target/ours/1"}
    assert os.path.isdir("out.json.runs")

    capsys.readouterr()
    main(SMALL)
    said = capsys.readouterr()
    *table, last = said.out.splitlines()
    found = json.loads(last)
    assert found == stored()
    assert found["figures"][: len(first) - 5] == first[: len(first) - 5]
    assert len(table) == len(found["figures"]) == 2 * 4 + 3 + 2 + NUM_TARGET_RUNS + 3 + 2 * 2 + 1
    assert sorted(os.listdir()) == ["out.json", "out.scaling.svg"]
    for row in found["figures"]:
        assert row["value"] is not None or row["note"]
        for point in row.get("curve", ()):
            assert 0 < point["seconds"] < row["all_seconds"]
    assert table[-1].split("-")[-1].strip() == "skipped: torch finds no GPU"
    assert "benchmark: rate" not in said.err

    monkeypatch.setattr(module, "train", None)
    monkeypatch.setattr(module, "train_packed", None)
    monkeypatch.setattr(module, "recall", None)
    main(SMALL)
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == found
    line = refused(main, [*SMALL, "--measurements", "3"], capsys)
    assert "behemoth benchmark: error: output out.json has figures of measurements 2, got 3; use another file" in line


@pytest.mark.parametrize("text", ["[]", "not json", '{"benchmark": "train"}'])
def test_output_that_holds_something_else_is_refused_and_kept(script, capsys, text):
    Path("out.json").write_text(text, encoding="utf-8")
    line = refused(script("benchmark").main, SMALL, capsys)
    assert "output must be new or hold figures of a benchmark, got out.json" in line
    assert Path("out.json").read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("--parts rates", "parts must be one of rate, precision, recall, target, scaling, gpu, base, got 'rates'"),
        ("--size 15m", "size must be one of 14m, 31m, 70m, got '15m'"),
        ("--max_minutes 0", "max_minutes must be above 0, got 0"),
        ("--num_subjects 15", "num_subjects must be at least 16, got 15"),
        ("--steps 1", "steps must be at least 2, got 1"),
        ("--runs 0", "runs must be at least 1, got 0"),
        ("--rates 0", "rates must be above 0, got [0.0]"),
        ("--parts target --block_tokens 100000", "block_tokens must be at most"),
    ],
)
def test_bad_input_is_one_clear_line(script, capsys, words, part):
    words = ["train", "--size", "14m", "--num_subjects", "16", "--seeds", "0", "--measurements", "1", *words.split()]
    assert part in refused(script("benchmark").main, words, capsys)


def test_help_explains_the_parts_and_every_option(script, module, capsys):
    with pytest.raises(SystemExit):
        script("benchmark").main(["train", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for part in module.PARTS:
        assert f"{part}: " in text
    assert "--max_minutes " in text


def point(seconds, exposures, recall):
    return {"step_seconds": seconds, "exposures": {"subject_object": exposures}, "recall": recall}


CURVE = [
    point(3.0, 2.0, {"a": 0.5, "b": 1.0}),
    point(6.0, 4.0, {"a": 0.99, "b": 0.98}),
    point(9.0, 6.0, {"a": 0.98, "b": 1.0}),
]


@pytest.mark.parametrize(
    ("target", "limit", "value", "note"),
    [
        (0.5, math.inf, 3.0, "2 sentences per fact"),
        (0.98, math.inf, 6.0, "4 sentences per fact"),
        (0.98, 60.0, 6.0, "4 sentences per fact"),
        (0.99, math.inf, None, "not reached within 6 sentences per fact, recall 0.9800"),
        (0.99, 90.0, None, "not reached within 6 sentences per fact and 1.5 minutes, recall 0.9800"),
    ],
)
def test_target_is_reached_when_every_table_first_has_it(module, target, limit, value, note):
    row = module._reached({"curve": CURVE, "seconds": 100.0}, target, limit)
    assert (row["value"], row["note"]) == (value, note)


def searched(module, monkeypatch, seconds, cut=()):
    """The rows of a search in which a run with (rate, exposures) takes so many seconds, and their limits."""
    limits = {}

    def attempt(self, name, seed, rate, exposures, limit):
        limits[rate, exposures] = limit
        value = seconds[rate, exposures]
        whole = (rate, exposures) not in cut
        return {"value": value, "all_seconds": 2 * (value or 90.0), "recall": 0.9, "whole": whole}

    monkeypatch.setattr(module._Bench, "_try", attempt)
    arguments = module.TrainArguments(rates=[0.1, 0.2], exposures=[4, 2, 8])
    return module._Bench(arguments, None, None)._search("adamw", 0), limits


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

    monkeypatch.setattr(module._Bench, "_try", attempt)
    arguments = module.TrainArguments(rates=[0.1, 0.2], exposures=[4], seeds=[7, 8])
    *_, ours, trainer, adamw = module._Bench(arguments, None, None).target()
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


def test_figure_of_scaling_has_every_curve_and_the_points_that_reached_the_target(module):
    curve = [{"exposures": 1.0, "recall": 0.5}, {"exposures": 3.0, "recall": 0.995}]
    rows = [
        {"value": 9.0 * facts, "facts": facts, "bits_per_parameter": 0.1, "curve": curve} for facts in (4000, 16000)
    ]
    missed = {"value": None, "facts": 64000, "bits_per_parameter": 0.1, "curve": curve[:1]}
    text, less = module.draw_scaling([*rows, missed]), module.draw_scaling(rows)
    assert module.draw_scaling([*rows, missed]) == text
    for label in ("recall", "seconds of steps", "bits per parameter"):
        assert label in text
    assert [(f"{facts:,} facts<" in text, text.count(f">{facts:,}<")) for facts in (4000, 16000, 64000)] == [
        (True, 2),
        (True, 2),
        (True, 0),
    ]
    assert "64,000 facts<" not in less


@pytest.fixture
def corpus():
    return build(WorldConfig(num_subjects=8, num_relations=2, num_objects=4), corpus=CorpusConfig(repeats=6))


def test_blocks_hold_the_sentences_end_to_end(script, corpus):
    padding = corpus.grammar.lexicon.token_ids["<|padding|>"]
    tokens = [token for row in corpus.block(0, len(corpus)).tolist() for token in row if token != padding]
    blocks = script("benchmarks.trainer_rival").packed(corpus, 50)
    assert blocks.shape == (len(tokens) // 50, 50)
    assert blocks.flatten().tolist() == tokens[: len(blocks) * 50]


@pytest.mark.parametrize(("max_seconds", "steps"), [(1e9, [2, 4]), (0.0, [1])])
def test_trainer_ends_at_the_target_or_beyond_its_time(script, corpus, monkeypatch, max_seconds, steps):
    rival = script("benchmarks.trainer_rival")
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


def a_model():
    return GPTNeoXForCausalLM(
        GPTNeoXConfig(vocab_size=64, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24)
    )


def test_matrices_are_all_that_tokens_are_multiplied_with(script):
    layer = [(48, 16), (16, 16), (24, 16), (16, 24)]
    found = script("benchmarks.bare_products").matrices(a_model())
    assert sorted(found[:-1]) == sorted(layer * 2)
    assert found[-1] == (64, 16)


def test_calls_are_counted_by_their_tokens(script):
    model = a_model()

    def work():
        for _ in range(2):
            model(input_ids=torch.zeros(3, 5, dtype=torch.long))
        model.lm_head(model.base_model(input_ids=torch.zeros(3, 4, dtype=torch.long)).last_hidden_state[:, -1])

    calls = script("benchmarks.bare_products").forward_calls(model, work)
    assert calls == {("layers", 15): 2, ("head", 15): 2, ("layers", 12): 1, ("head", 3): 1}
    assert not model.lm_head._forward_hooks


def test_bare_products_are_those_of_forward_and_backward(script, monkeypatch):
    shapes = []

    class Watched(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, arguments=(), options=None):
            if "matmul" in function.__name__:
                shapes.append((tuple(arguments[0].shape), tuple(arguments[1].shape)))
            return super().__torch_function__(function, types, arguments, options or {})

    plain = torch.randn
    monkeypatch.setattr(torch, "randn", lambda *size, **options: plain(*size, **options).as_subclass(Watched))
    module = script("benchmarks.bare_products")
    assert module.bare_seconds([(5, 3, 2)], torch.float32, "cpu", backward=True) > 0
    once = [((5, 2), (2, 3)), ((5, 3), (3, 2)), ((3, 5), (5, 2))]
    assert shapes == once * 2  # once to warm up
    del shapes[:]
    module.bare_seconds([(5, 3, 2), (7, 3, 2)], torch.float32, "cpu", backward=False)
    assert shapes == [((5, 2), (2, 3)), ((7, 2), (2, 3))] * 2
