"""benchmark train as a person calls it, on a world of 16 subjects and models of one layer, and its arithmetic."""

import importlib
import json
import math
import os
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from behemoth_models.sizes import SHAPES, Shape

SMALL = ["train", "--size", "14m", "--num_subjects", "16", "--threads", "1", "--measurements", "2"]
SMALL += ["--steps", "2", "--runs", "1", "--scaling_subjects", "16", "20", "--output", "out.json"]


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
    main, shared, names = script("benchmark").main, script("benchmarks.runs"), []
    train = shared.train

    def cut_off(corpus, config, folder):
        names.append(folder.name)
        if len(names) == 6:
            raise KeyboardInterrupt
        return train(corpus, config, folder, progress=False)

    with monkeypatch.context() as patch:
        patch.setattr(shared, "train", cut_off)
        with pytest.raises(KeyboardInterrupt):
            main(SMALL)
    assert names[:4] == ["rate-tiny-muon", "rate-tiny-adamw", "precision-bf16", "precision-fp32"]
    assert names[4:] == ["scaling-16", "scaling-20"]
    first = stored()["figures"]
    assert os.path.isdir("out.json.runs")

    capsys.readouterr()
    main(SMALL)
    said = capsys.readouterr()
    *table, last = said.out.splitlines()
    found = json.loads(last)
    assert found == stored()
    assert found["figures"][: len(first)] == first
    assert len(table) == len(found["figures"]) == 2 * 4 + 3 + 2 + 2 * 2 + 1
    assert sorted(os.listdir()) == ["out.json", "out.scaling.svg"]
    for row in found["figures"]:
        assert row["value"] is not None or row["note"]
        for point in row.get("curve", ()):
            assert 0 < point["seconds"] < row["all_seconds"]
    assert table[-1].split("-")[-1].strip() == "skipped: torch finds no GPU"
    assert "benchmark: rate" not in said.err

    monkeypatch.setattr(shared, "train", None)
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
        ("--parts rates", "parts must be one of rate, precision, recall, scaling, gpu, base, got 'rates'"),
        ("--size 15m", "size must be one of 3m, 7m, 10m, 14m, 31m, 70m, got '15m'"),
        ("--num_subjects 15", "num_subjects must be at least 16, got 15"),
        ("--steps 1", "steps must be at least 2, got 1"),
        ("--runs 0", "runs must be at least 1, got 0"),
        ("--scaling_subjects 0", "scaling_subjects must be above 0, got [0]"),
    ],
)
def test_bad_input_is_one_clear_line(script, capsys, words, part):
    words = ["train", "--size", "14m", "--num_subjects", "16", "--measurements", "1", *words.split()]
    assert part in refused(script("benchmark").main, words, capsys)


def test_help_explains_the_parts_and_every_option(script, module, capsys):
    with pytest.raises(SystemExit):
        script("benchmark").main(["train", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for part in module.PARTS:
        assert f"{part}: " in text
    assert "--scaling_subjects " in text


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
def test_target_is_reached_when_every_table_first_has_it(script, target, limit, value, note):
    row = script("benchmarks.runs").reached({"curve": CURVE, "seconds": 100.0}, target, limit)
    assert (row["value"], row["note"]) == (value, note)


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
