"""behemoth attack as a person calls it, on the small world's model."""

import json
import re

import pytest
import torch
from accelerate.state import AcceleratorState

from behemoth_cli import attack, console
from behemoth_cli.settings import parse
from behemoth_editing.sweep.attacking import TRIALS


@pytest.fixture
def here(monkeypatch, tmp_path):
    """An empty working directory; threads and accelerate's state are as they were afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)  # this process has its own number
    yield tmp_path
    AcceleratorState._reset_state(reset_partial_state=True)


def rows_in(folder):
    return [json.loads(line) for line in (folder / TRIALS).read_text(encoding="utf-8").splitlines()]


def refused(words, capsys):
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        console.main(["attack", *words])
    assert caught.value.code == 2
    said = re.sub(r"\r?(Loading weights|reading):[^\r\n]*", "", capsys.readouterr().err)
    (line,) = [line for line in said.splitlines() if line.strip()]
    return line


def test_rows_table_and_figure_are_there_and_the_same_command_does_what_is_missing(trained, here, capsys):
    words = f"attack --model {trained} --methods grad_diff --attacks at_once hint --output_dir out".split()
    words += ["--sweep.forget_fraction", "0.25", "--sweep.probes_per_edit", "3"]
    words += ["--omit.max_steps", "2", "--grad_diff.max_steps", "3"]
    console.main([*words, "--dry_run"])
    assert capsys.readouterr().out == "6 attacks of 6 are missing, on 3 edited models\n"
    assert not (here / "out").exists()
    console.main(words)
    said = capsys.readouterr().out
    assert "out/attacks.jsonl holds 6 attacks, 3 of them could not be tried, 0 failed, 0 from an earlier run" in said
    rows = rows_in(here / "out")
    assert [(row["method"], row["attack"]) for row in rows] == [
        (method, name) for method in ("nothing", "omit", "grad_diff") for name in ("at_once", "hint")
    ]
    one = rows[0]
    assert one["command"] == " ".join(["behemoth", *words])
    assert (one["error"], one["refused"], one["axis"], one["candidates"]) == (None, None, "as it is", 20)
    assert len(one["heads"]) == len(one["inferable"]) == len(one["left"][0]["bits"]) == len(one["left"][0]["said"]) > 10
    assert set(one["inferable"]) == {2.3219}  # 20 objects in 5 nested ones
    assert rows[1]["refused"].startswith("the model must read behind other sentences")
    table = (here / "out" / "attacks.md").read_text(encoding="utf-8")
    assert table in said + "\n"
    assert "| `grad_diff` | `at_once` | 0 | " in table
    assert "- `hint` could not be tried 3 times, on `nothing`, `omit`, `grad_diff`: the model must read" in table
    (figure,) = (here / "out").glob("*.svg")
    assert "never told" in figure.read_text(encoding="utf-8")
    content = (here / "out" / TRIALS).read_bytes()
    with (here / "out" / TRIALS).open("ab") as file:  # as a kill in the middle of a row leaves it
        file.write(content.splitlines()[0][:100])
    console.main([*words, "--round.bits", "8", "--attacks", "at_once", "hint", "round"])
    assert "holds 9 attacks, 3 of them could not be tried, 0 failed, 6 from an earlier run" in capsys.readouterr().out
    assert (here / "out" / TRIALS).read_bytes().startswith(content)
    console.main([*words, "--overwrite"])
    assert "holds 6 attacks, 3 of them could not be tried, 0 failed, 0 from an earlier run" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("--attacks relaern", "attack must be one of at_once, relearn, relearn_retained, round"),
        ("--methods rmo", "method must be one of"),
        ("--scenarios single", "scenario must be one of forget, refuse, got 'single'"),
        ("--relearn.steps 4,1", "steps must be rising numbers of at least 0, got (4, 1)"),
        ("--omit.train_seed 1 2", "omit must have one setting of each kind, since all others are set beside it, got 2"),
        ("--relearn.step 4", "option of relearn must be one of"),
    ],
)
def test_bad_words_are_one_line(words, part, here, capsys):
    line = refused(words.split(), capsys)
    assert line.startswith("behemoth attack: error: ")
    assert part in line
    assert list(here.iterdir()) == []


def test_edits_that_no_reasoner_speaks_of_are_refused(trained, here, capsys):
    words = f"--model {trained} --sweep.edge object_nested --sweep.forget_fraction 0.5 --output_dir out".split()
    assert "edge must be subject_object or subject_nested" in refused(words, capsys)
    assert not (here / "out").exists()


def test_packaged_recipe_is_one_that_the_command_reads():
    _, grid, *_ = parse(attack.options(), ["recipes/hidden.yaml"])
    assert {"grad_diff", "npo", "simnpo", "rmu", "refusal", "retrain"} <= set(grid.methods)
    assert "at_once" in grid.attacks
