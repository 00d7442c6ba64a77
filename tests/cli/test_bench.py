"""behemoth bench as a person calls it, on models and tracks that are small enough."""

import dataclasses
import json

import pytest
import torch
from accelerate.state import AcceleratorState

from behemoth_cli import bench, bench_runner
from behemoth_cli.console import main
from behemoth_data.edits import EditConfig
from behemoth_editing import METHODS
from behemoth_editing.bench.tracks import TRACKS

RECIPE = """
world: {num_subjects: 60, num_relations: 3, num_objects: 10}
corpus: {repeats: 2, inversion_fraction: 0.5}
train: {size: 3m, batch_size: 64, max_steps: 2, measurements: 1, precision: fp32}
models:
  - {name: easy, config: nested, seeds: [0]}
  - {name: hard, config: nested, seeds: [0, 1], corpus: {repeats: 3}}
tuned:
  easy:
    rome: {layer: 1, steps: 2}
"""
# A method of somebody's, in a file beside where the command is given.
MINE = '''
import dataclasses
from typing import ClassVar

from behemoth_editing.copies import copy_of, stored_like
from behemoth_editing import Edited

@dataclasses.dataclass(frozen=True, kw_only=True)
class Louder:
    """Every weight of the head a little larger; refuses more than two edits."""
    name: ClassVar[str] = "louder"
    goal: ClassVar[str] = "edit"
    reads: ClassVar[tuple[str, ...]] = ("requests",)
    by: float = 0.1

    def check(self, model):
        pass

    def __call__(self, model, task, shared=None):
        if len(task.requests) > 2:
            raise RuntimeError("too many")
        edited = copy_of(model)
        edited.get_output_embeddings().weight.data *= 1 + self.by
        return Edited(stored_like(model, edited), {})
'''


def few(**fields):
    return EditConfig(**{"probes_per_edit": 3, "num_edits": 2, **fields})


ONCE = few(scenario="sequence", edits_per_step=2)
MORE = few(scenario="sequence", num_edits=3, edits_per_step=3)
STAGES = {
    "batch": ((few(),), (ONCE,), (MORE,)),
    "ripple": ((ONCE, few(edge="object_nested")),),
    "forget": ((few(scenario="forget", forget_fraction=0.1, look_every=1),),),
    "transfer": ((ONCE,),),
    "cost": ((ONCE,),),
}


@pytest.fixture
def command(monkeypatch, tmp_path):
    """A function that calls the command in an empty folder, on small models and few edits."""
    small = {name: dataclasses.replace(TRACKS[name], stages=stages) for name, stages in STAGES.items()}
    for module in ("behemoth_editing.bench.tracks", "behemoth_editing.bench.board", "behemoth_editing.bench.page"):
        monkeypatch.setattr(f"{module}.TRACKS", small)
    monkeypatch.setattr(bench_runner, "TRACKS", small)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)  # this process has its own number
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(RECIPE, encoding="utf-8")
    (tmp_path / "mine_for_bench.py").write_text(MINE, encoding="utf-8")
    monkeypatch.setattr(bench, "RECIPE", str(tmp_path / "small.yaml"))
    yield lambda words: main(["bench", *words.split()])
    AcceleratorState._reset_state(reset_partial_state=True)


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


WORDS = "--methods rome mine_for_bench:Louder --rome.steps 2 --output_dir out --processes 1"


@pytest.mark.slow
def test_methods_get_a_number_on_every_track_and_what_is_there_is_not_made_again(command, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        command(f"{WORDS} --level hard")
    assert ended.value.code == 1  # since cells failed, which it says
    said = capsys.readouterr()
    assert "louder on hard-0 failed: RuntimeError: too many" in said.err
    assert said.out.startswith("batch")
    board = lines(tmp_path / "out" / "board.jsonl")
    rows = lines(tmp_path / "out" / "results" / "results.jsonl")
    assert {line["level"] for line in board} == {"hard"}
    assert {line["models"] for line in board} == {2}
    by_track = {track: [line["method"] for line in board if line["track"] == track] for track in STAGES}
    everyone = ["nothing", "noise", "rome (steps=2)", "louder"]
    assert all(sorted(methods) in ([], sorted(everyone)) for methods in by_track.values())
    assert by_track["batch"]
    assert by_track["cost"]
    # No single edit is made by doing nothing: from 1 without edits to 0 with one, it falls below 0.95 at once.
    (number,) = [line["value"] for line in board if (line["track"], line["method"]) == ("batch", "nothing")]
    assert number == pytest.approx(2**0.05 - 1)
    failed = [row for row in rows if row["error"] is not None]
    assert {(row["method"], row["scenario"]) for row in failed} == {("louder", "forget")}
    models = sorted(path.name for path in (tmp_path / "out" / "models").iterdir())
    assert models == ["hard-0", "hard-1"]

    # Half of the rows are lost, and those that failed are tried again.
    path = tmp_path / "out" / "results" / "results.jsonl"
    left = [*rows[::2], *(row for row in failed if row not in rows[::2])]
    path.write_text("".join(json.dumps({**row, "started": "before"}) + "\n" for row in left), encoding="utf-8")
    with pytest.raises(SystemExit):
        command(f"{WORDS} --level hard")
    now = lines(path)
    assert {row["cell"] for row in now} == {row["cell"] for row in rows}
    assert {row["started"] for row in now if row["error"] is None and row["cell"] in {row["cell"] for row in left}} == {
        "before"
    }
    assert "before" not in {row["started"] for row in now if row["error"] is not None}
    again = lines(tmp_path / "out" / "board.jsonl")
    place = ("track", "level", "method", "value", "low", "high")
    numbers = [
        [tuple(line[name] for name in place) for line in some if line["unit"] != "seconds"] for some in (board, again)
    ]
    assert sorted(numbers[0]) == sorted(numbers[1])

    # Another level comes beside the first; what failed of others there stays, and is said.
    with pytest.raises(SystemExit):
        command("--methods rome --rome.steps 2 --output_dir out --processes 1 --level easy --track batch")
    assert [row["cell"] for row in lines(path) if row["error"]] == [row["cell"] for row in now if row["error"]]
    assert {line["level"] for line in lines(tmp_path / "out" / "board.jsonl")} == {"easy", "hard"}
    assert (tmp_path / "out" / "index.html").is_file()


def test_a_level_has_settings_of_its_own_and_who_sets_one_sets_all(command, tmp_path):
    for words in ("", "--untuned", "--rome.steps 1"):
        command(f"--methods rome --track cost --output_dir out --processes 1 --level easy {words}")
    board = [line for line in lines(tmp_path / "out" / "board.jsonl") if "rome" in line["method"]]
    assert [(line["method"], line["settings"]["layer"], line["settings"]["steps"]) for line in board] == [
        ("rome", 1, 2),
        ("rome, untuned", 3, 30),
        ("rome (steps=1)", 3, 1),
    ]


@pytest.mark.parametrize(
    ("tuned", "said"),
    [
        ({"hard": {"rom": {}}}, "method of tuned, hard, must be one of finetune, .*, got 'rom'"),
        ({"hard": {"rome": {"layr": 1}}}, "field of Rome must be one of layer, .*, got 'layr'"),
        ({"hard": {"rome": {"steps": 0}}}, "steps must be at least 1, got 0"),
    ],
)
def test_settings_of_a_level_are_checked(tuned, said):
    with pytest.raises(ValueError, match=said):
        bench.tuned_of({"tuned": tuned})


def test_settings_of_a_level_are_a_methods_own():
    found = bench.tuned_of({"tuned": {"hard": {"finetune": {"layers": [0, 2]}, "rome": {"layer": 1}}}})
    assert found == {"hard": {"finetune": METHODS["finetune"](layers=(0, 2)), "rome": METHODS["rome"](layer=1)}}


def test_a_dry_run_counts_and_makes_nothing(command, tmp_path, capsys):
    command(f"{WORDS} --dry_run")
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == ["     1 models  easy", "     2 models  hard"]
    # Two floors and two methods; of each 3 + 2 + 1 + 1 draws, of which three tracks share one.
    assert said[-1] == f"3 models, and {3 * 4 * (3 + 1 + 1)} cells at most, floors among them"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "--track transfer",
            "track must be another than transfer, since no model of this version was taught questions",
        ),
        ("--track bach", "track must be one of batch, ripple, forget, transfer, cost, got 'bach'"),
        ("--level harder", "level must be one of easy, hard, got 'harder'"),
        ("--methods rom", "method must be one of finetune, "),
        ("--processes 0", "processes must be at least 1, got 0"),
        ("--methods rome --rome.layer 6", "layer must lie in [0, 6), the model's layers, got 6"),
        ("--methods npo --track batch", "methods must have a part in one of the tracks batch, got npo"),
    ],
)
def test_a_wrong_word_is_one_line_and_nothing_is_made(words, said, command, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        command(f"--output_dir out {words}")
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not (tmp_path / "out").exists()
