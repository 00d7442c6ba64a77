"""The table of sections: every method is in it, and a page of help costs no import of what it does not explain."""

import dataclasses
import shlex
import subprocess
import sys

import pytest

from behemoth_cli import data, edit, pretrain, train
from behemoth_cli.sections import ATTACK_SECTIONS, METHOD_SECTIONS, SECTIONS, SHARED
from behemoth_cli.settings import parse
from behemoth_data.behemoth import CONFIG_NAMES
from behemoth_editing import METHODS, FineTune, Lora
from behemoth_editing.attacks import ATTACKS
from behemoth_editing.report.commands import commands_for
from behemoth_models.training import TRACKERS

# The lines of --help, more where attacks are listed too, and the seconds of CPU until they are there, of which a slow
# machine gets half as much again.
LINES, MORE, SECONDS = 72, {"attack": 10}, 2.0 * 1.5


def test_every_method_has_a_section_of_its_settings_in_the_order_of_the_table():
    assert {name: section.load() for name, section in METHOD_SECTIONS.items()} == METHODS
    assert [*METHOD_SECTIONS] == [*METHODS]
    assert all(section.swept for section in METHOD_SECTIONS.values())


def test_every_attack_has_a_section_of_its_settings_in_the_order_of_the_table():
    assert {name: section.load() for name, section in ATTACK_SECTIONS.items()} == ATTACKS
    assert [*ATTACK_SECTIONS] == [*ATTACKS]
    assert not set(ATTACKS) & {*METHODS, *SHARED}


@pytest.mark.parametrize("name", SECTIONS)
def test_every_section_is_a_dataclass_whose_fields_have_help(name):
    for field in dataclasses.fields(SECTIONS[name].load()):
        assert field.metadata["help"]


def test_all_configs_are_exported_unless_some_are_named():
    assert tuple(data.DataArguments().configs) == CONFIG_NAMES


def test_help_names_every_tracker():
    for command in (train.RunArguments, pretrain.PretrainArguments):
        (field,) = [field for field in dataclasses.fields(command) if field.name == "tracker"]
        assert f"{', '.join(TRACKERS)} " in field.metadata["help"]


@pytest.mark.parametrize("name", ["edit", "train", "pretrain", "data", "study", "demo", "report", "attack"])
def test_help_is_a_page_that_is_there_at_once_and_needs_no_torch(name):
    code = f"""
import sys, time
from behemoth_cli.console import main
try:
    main(["{name}", "--help"])
except SystemExit:
    print("torch" in sys.modules, time.process_time())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *page, last = done.stdout.splitlines()
    assert len(page) <= LINES + MORE.get(name, 0)
    torch, seconds = last.split()
    assert torch == "False"
    assert float(seconds) <= SECONDS


def row(method, scenario="different", seed=0, **settings):
    return {
        "model": "runs/a",
        "weights": {"before": "a" * 16},
        "structure": "nested",
        "world": {"num_subjects": 30, "seed": 0},
        "edge": "subject_nested",
        "relation": 1,
        "num_edits": 3,
        "method": method,
        "scenario": scenario,
        "seed": seed,
        "settings": settings,
    }


def test_command_that_makes_results_again_is_one_that_makes_these_cells():
    rows = [
        row("lora", rank=4),
        row("lora", rank=1, seed=1),
        row("finetune", layers=None),
        row("finetune", layers=[2, 3], seed=1),
    ]
    again, report = commands_for(rows, ["results/a"], "report")
    assert report.startswith("behemoth report results/a ")
    _, command, *words = shlex.split(again.replace("\\\n", " "))
    assert command == "edit"
    arguments, *parsed = parse(edit.options(), words)
    methods, draws = edit.chosen(*parsed)
    assert (arguments.model, arguments.output_dir) == (["runs/a"], "results/a")
    assert set(methods) == {Lora(rank=4), Lora(rank=1), FineTune(layers=None), FineTune(layers=(2, 3))}
    assert {(draw.scenario, draw.edge, draw.relation, draw.num_edits) for draw in draws} == {
        ("different", "subject_nested", 1, 3)
    }
    assert [draw.edit_seed for draw in draws] == [0, 1]


def test_command_names_a_setting_of_several_numbers_as_it_is_read():
    one = row("memit", "sequence", layers=[3]) | {
        "num_edits": 4,
        "edits": {"score_at": [1, 2, 4], "probes_per_edit": 7},
    }
    again, _ = commands_for([one], ["results/a"], "report")
    _, _, *words = shlex.split(again.replace("\\\n", " "))
    _, *parsed = parse(edit.options(), words)
    _, (draw,) = edit.chosen(*parsed)
    assert (draw.scenario, draw.score_at, draw.probes_per_edit) == ("sequence", (1, 2, 4), 7)


def test_rows_of_no_listed_method_have_the_command_that_asked_for_them():
    asked = "behemoth bench --methods lora --output_dir bench/mine"
    rows = [row("nothing") | {"command": asked}, row("noise") | {"command": asked}, row("lora") | {"command": asked}]
    first, second, _ = commands_for(rows, ["results/a"], "report")
    assert first == asked
    assert "--methods lora" in second
    assert "nothing" not in second
