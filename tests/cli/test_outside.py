"""`behemoth edit` with methods from outside, and with models that were edited before."""

import json
import re
import sys
from pathlib import Path

import pytest

import behemoth_editing
from behemoth_cli.edit import asked_methods, main
from behemoth_editing import METHODS, draw, load_checkpoint, save_edited

README = (Path(behemoth_editing.__file__).parent / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with the README's method in mine.py."""
    (code,) = re.findall(r"<!-- example: method -->\n```python\n(.*?)```", README, flags=re.DOTALL)
    (tmp_path / "mine.py").write_text(code, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", str(tmp_path))])
    yield tmp_path
    sys.modules.pop("mine", None)


def rows(folder):
    return [json.loads(line) for line in (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()]


def edit(trained, *words):
    main(["--model", str(trained), "--sweep.num_edits", "1", "--sweep.probes_per_edit", "2", *words])


def test_method_of_a_file_beside_it_is_run_and_swept(here, trained, capsys):
    edit(trained, "--methods", "mine:HeadEdit", "rome", "--head_edit.margin", "1", "2", "--output_dir", "out")
    found = [(row["method"], row["settings"].get("margin"), row["error"]) for row in rows(here / "out")]
    assert found == [("head_edit", 1.0, None), ("head_edit", 2.0, None), ("rome", None, None)]
    assert "head_edit" in capsys.readouterr().out


def test_recipe_may_name_it_too(here, trained):
    (here / "mine.yaml").write_text("sweep: {methods: ['mine:HeadEdit'], seeds: [3]}\nhead_edit: {margin: 3}\n")
    main(["mine.yaml", "--model", str(trained), "--sweep.num_edits", "1", "--output_dir", "out"])
    assert [(row["method"], row["settings"], row["seed"]) for row in rows(here / "out")] == [
        ("head_edit", {"margin": 3.0}, 3)
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mine:Missing", "methods must name a class that can be imported, got 'mine:Missing'"),
        ("roem", "method must be one of finetune, .*, MODULE:CLASS, got 'roem'"),
    ],
)
def test_what_is_no_method_costs_one_line(here, trained, capsys, name, message):
    with pytest.raises(SystemExit) as caught:
        edit(trained, "--methods", name)
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(message, line)


def test_methods_that_are_asked_for_are_found_among_the_words(tmp_path):
    assert asked_methods(["--methods", "rome", "a:B", "--seeds", "0"]) == ["rome", "a:B"]
    assert asked_methods(["--methods=a:B"]) == ["a:B"]
    assert asked_methods(["recipes/demo.yaml", "--seeds", "0"]) == ["finetune", "lora", "rome"]
    assert asked_methods(["--help"]) == asked_methods([]) == []


@pytest.fixture(scope="module")
def edited(trained, tmp_path_factory):
    checkpoint = load_checkpoint(str(trained))
    edits, *_ = draw(checkpoint)
    method = METHODS["rome"]()
    place = tmp_path_factory.mktemp("edited") / "model"
    return save_edited(method(checkpoint.model, edits).model, checkpoint, edits, method, place)


def test_model_that_was_edited_before_is_refused_unless_told(here, edited, capsys):
    with pytest.raises(SystemExit) as caught:
        edit(edited, "--methods", "rome", "--output_dir", "out")
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("which was edited before, by rome; --allow_edited takes it")
    edit(edited, "--methods", "rome", "--output_dir", "out", "--allow_edited")
    (row,) = rows(here / "out")
    assert [step["method"] for step in row["lineage"]] == ["rome"]


def another(here, module, name, setting="amount: float = 1.0"):
    """A module with a method of that name, for what is refused before it is run."""
    code = f"""
import dataclasses
from typing import ClassVar

@dataclasses.dataclass(frozen=True, kw_only=True)
class Method:
    name: ClassVar[str] = "{name}"
    goal: ClassVar[str] = "edit"
    reads: ClassVar[tuple[str, ...]] = ("requests",)
    {setting}

    def check(self, model):
        pass
"""
    (here / f"{module}.py").write_text(code, encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "setting", "message"),
    [
        ("sweep", "amount: float = 1.0", "name of a method must be none of a recipe's sections world, .*, got sweep"),
        ("head_edit", "amount: float = 1.0", "name of a method must be its own, got head_edit of clash_.*:Method"),
        ("odd", "amount: int | str = 1", "settings of a method must be of type int, .*, got others of clash_.*:Method"),
        ("odd", "amount: 'Unknown' = 1", "settings of a method must be of type int, .*, got others of clash_.*:Method"),
        ("odd", "amount: list[int] | None = None", "settings of a method must be of type int, .*, got others"),
    ],
)
def test_method_that_the_command_line_cannot_have_costs_one_line(
    here, trained, capsys, request, name, setting, message
):
    module = f"clash_{request.node.callspec.id.encode().hex()}"
    another(here, module, name, setting)
    with pytest.raises(SystemExit) as caught:
        edit(trained, "--methods", "mine:HeadEdit", f"{module}:Method")
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(message, line)


def test_recipe_keeps_its_sections_where_other_methods_are_asked_for(here, trained):
    (here / "mine.yaml").write_text("sweep: {methods: ['mine:HeadEdit']}\nhead_edit: {margin: 3}\n")
    words = ["--model", str(trained), "--sweep.num_edits", "1", "--output_dir", "out", "--methods", "refusal"]
    main(["mine.yaml", *words, "--refusal.max_steps", "1"])
    assert [row["method"] for row in rows(here / "out")] == ["refusal"]


def test_last_of_several_lists_of_methods_counts_and_help_ends_one(tmp_path):
    assert asked_methods(["--methods", "rome", "--methods", "a:B"]) == ["a:B"]
    assert asked_methods(["--methods=a:B", "--methods=rome"]) == ["rome"]
    assert asked_methods(["--methods", "a:B", "-h"]) == ["a:B"]


@pytest.mark.parametrize(
    ("recipe", "message"),
    [("sweep: [rome]", "section sweep of .* must consist of fields"), ("sweep: {methods: 3}", "got '3'")],
)
def test_recipe_without_a_list_of_methods_costs_one_line(here, trained, capsys, recipe, message):
    (here / "odd.yaml").write_text(recipe, encoding="utf-8")
    with pytest.raises(SystemExit) as caught:
        main(["odd.yaml", "--model", str(trained)])
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(message, line)
