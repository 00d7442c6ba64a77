"""The package's README says what the package does: its examples run, and its method keeps the contract."""

import copy
import dataclasses
import re
import sys
import types
from pathlib import Path

import pytest
import torch

import behemoth_editing
from behemoth_data.edits import SCENARIOS, EditConfig, draw_edits
from behemoth_editing import METHODS
from behemoth_editing.architecture import ARCHITECTURES
from behemoth_editing.scoring.answers import predict
from behemoth_editing.scoring.outcomes import answered
from behemoth_editing.sweep.cells import grid
from behemoth_editing.sweep.running import run
from behemoth_models.knowledge import weights_digest

README = (Path(behemoth_editing.__file__).parent / "README.md").read_text(encoding="utf-8")


def example(name):
    (code,) = re.findall(rf"<!-- example: {name} -->\n```python\n(.*?)```", README, flags=re.DOTALL)
    return code


@pytest.fixture(scope="module")
def method():
    """The README's method, defined as a user would in a file of their own."""
    module = types.ModuleType("mine")
    sys.modules["mine"] = module  # where dataclasses look annotations up
    exec(compile(example("method"), "README.md", "exec"), module.__dict__)
    yield module.HeadEdit
    del sys.modules["mine"]


@pytest.fixture(scope="module")
def edit_set(checkpoint):
    return draw_edits(checkpoint.corpus, EditConfig(scenario="different", num_edits=3))[0]


def test_model_of_ones_own_answers_as_the_example_says():
    *code, last = example("plain").strip().splitlines()
    names = {}
    with torch.random.fork_rng():
        exec("\n".join(code), names)
        expression, expected = last.split("  # ")
        assert eval(expression, names) == expected
    assert names["tokenizer"].decode(names["task"].originals[0].answer_ids) == " Paris"


def test_every_method_and_scenario_is_in_a_table():
    tables, differences = README.split("### Where methods differ from their sources")
    assert re.findall(r"^\| `(\w+)` \|", tables, flags=re.MULTILINE) == [*SCENARIOS, *METHODS]
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \|", differences.split("## ")[0], flags=re.MULTILINE)
    assert set(METHODS) - set(re.findall(r"`(\w+)`", " ".join(rows))) <= {"finetune", "refusal", "retrain", "omit"}
    row = r"^\| `(\w+)` \| (edit|forget|refuse) \| [^|]+ \| ([^|]+) \|"
    said = {name: (goal, reads) for name, goal, reads in re.findall(row, README, flags=re.MULTILINE)}
    assert said == {name: (method.goal, ", ".join(method.reads)) for name, method in METHODS.items()}


def test_architectures_are_those_of_the_table():
    table = README.split("### Architectures")[1].split("To add one")[0]
    _, *rows = re.findall(r"^\| (`.+?) \|(.*)", table, flags=re.MULTILINE)
    said = {name: "memit" not in says for names, says in rows for name in re.findall(r"`(\w+)`", names)}
    assert said == {name: not known.normed for name, known in ARCHITECTURES.items()}


def test_own_method_makes_its_edits_on_a_copy_and_leaves_the_model_alone(method, checkpoint, edit_set):
    original = copy.deepcopy(checkpoint.model)
    edited = method()(original, edit_set).model
    assert weights_digest(original) == checkpoint.weights != weights_digest(edited)
    assert {p.data_ptr() for p in edited.parameters()}.isdisjoint(p.data_ptr() for p in original.parameters())
    asked = [probe for probe in edit_set.probes if probe.kind == "edited"]
    right = [answered(a, p.after.answer_ids) for a, p in zip(predict(edited, asked), asked, strict=True)]
    assert right == [True] * 3


def test_own_method_is_repeatable_and_its_settings_are_validated(method, checkpoint, edit_set):
    first, again, other = (weights_digest(method(margin=m)(checkpoint.model, edit_set).model) for m in (1.0, 1.0, 2.0))
    assert first == again != other
    with pytest.raises(ValueError, match="margin must be above 0, got -1.0"):
        method(margin=-1.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        method().margin = 2.0


def test_cell_of_an_own_method_runs(method, checkpoint, tmp_path):
    cells = grid([checkpoint], [method()], [EditConfig(num_edits=2, probes_per_edit=5)])
    (row,) = run(cells, tmp_path, progress=False)
    assert (row["method"], row["settings"], row["error"]) == ("head_edit", {"margin": 1.0}, None)
    assert row["scores"]["edit_success"]["value"] == 1.0
