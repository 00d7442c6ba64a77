"""Facts about what a run leaves on disk, whatever ends it: a kill, a full disk, a loss that is no number.

Run as a script, this file kills training at every moment of MOMENTS, and lets it go on after each.
"""

import dataclasses
import errno
import functools
import importlib
import json
import math
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import safetensors.torch
import torch
import transformers
from accelerate import Accelerator
from pyarrow import parquet
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GPTNeoXForCausalLM, PreTrainedTokenizerBase

from behemoth_data import CorpusConfig, LexiconConfig, WorldConfig, build
from behemoth_models.config import TrainConfig
from behemoth_models.run import Run
from behemoth_models.training import train

# (8 x 2 + 8 x 2 + 4 x 2) x 4 = 160 sentences; the first 6 batches of 16 are read.
WORLD = WorldConfig(num_subjects=8, num_relations=2, num_objects=4, num_nested_objects=2)
CORPUS = CorpusConfig(repeats=4)
# Recall is measured after steps 3 and 6; states are saved at 0, 2, 3, 4 and 6, models kept at 2, 4 and 6.
SETTINGS = {"size": "7m", "batch_size": 16, "max_steps": 6, "measurements": 2, "save_every": 2}
CONFIG = TrainConfig(**SETTINGS)
MODEL = ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
KEPT = ["step2", "step4", "step6"]
FINISHED = sorted([*MODEL, *KEPT, "facts.parquet", "training.json", "training_curve.svg"])
# The packages have functions of these names.
training_module, run_module = (importlib.import_module(f"behemoth_models.{name}") for name in ("training", "run"))


class Stop(Exception):
    """What ends a run in these tests where nothing else does."""


def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


def stop(*_, **__):
    raise Stop


def before(owner, name, number, end=die, *, when=lambda *_: True):
    """Before its number-th call (of those that `when` counts), this function ends the process instead."""
    plain, calls = getattr(owner, name), []

    def ending(*arguments, **options):
        counted = when(*arguments)
        calls.extend([name] * counted)
        return (end if counted and len(calls) == number else plain)(*arguments, **options)

    setattr(owner, name, ending)


def half_a_state(_, path):
    Path(path).write_bytes(b"half")
    die()


def half_a_removal(path):
    (path / "run.json").unlink()
    die()


def no_room(tensors, path):
    """No file can grow beyond a megabyte from here on, as on a disk that has no more room."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, resource.RLIM_INFINITY))
    safetensors.torch.save_file(tensors, path)


def config_moved(path, target):
    path.rename(target)
    die()


def is_state(path, *_, **__):
    return path.name.startswith((".state-", "state-")) and path.exists()


def is_old_state(path, *_, **__):
    return path.name.startswith("state-") and path.exists()


def is_config(_, target):
    return target.name == "config.json"


class Moment(NamedTuple):
    """How one sitting of the run ends, and the step of the state that it leaves."""

    end: Callable[[], None]
    state: int | None


# One run, ended at each of these moments in turn, and each time it goes on from where it was.
MOMENTS = {
    "first_state_half_written": Moment(lambda: before(run_module, "save_file", 1, half_a_state), None),
    "in_the_first_step": Moment(lambda: before(training_module, "summed_loss", 1), 0),
    "state_half_written": Moment(lambda: before(run_module, "save_file", 1, half_a_state), 0),
    "state_written_without_its_name": Moment(lambda: before(Path, "rename", 1, when=is_state), 0),
    "old_state_half_removed": Moment(lambda: before(shutil, "rmtree", 1, half_a_removal, when=is_old_state), 2),
    "earliera_model_is_kept": Moment(lambda: before(Run, "keep", 1), 3),
    "kept_model_half_written": Moment(lambda: before(PreTrainedTokenizerBase, "save_pretrained", 1), 3),
    "disk_full_while_saving": Moment(lambda: before(run_module, "save_file", 1, no_room), 3),
    "between_two_states": Moment(lambda: before(training_module, "summed_loss", 2), 4),
    "earlierthe_last_model_is_kept": Moment(lambda: before(Run, "keep", 1), 4),
    "result_half_written": Moment(lambda: before(parquet, "write_table", 1), 6),
    "while_files_are_moved": Moment(lambda: before(Path, "replace", 4), 6),
    "earlierconfig_is_moved": Moment(lambda: before(Path, "replace", 1, when=is_config), 6),
}


@functools.cache
def small_corpus():
    return build(WORLD, corpus=CORPUS)


def sitting(folder, end, wanted):
    """Trains in a process of its own, which ends as wanted: a wait status."""
    child = os.fork()
    if child:
        status = os.waitpid(child, 0)[1]
        if status != wanted:
            raise SystemExit(f"training in {folder} must end with status {wanted}, got {status}")
        return
    status = 1
    try:
        end()
        train(small_corpus(), CONFIG, folder, progress=False)
        status = 0
    except OSError as error:
        print(error, flush=True)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def main(folder):
    """Leaves in `folder` a run that nothing ended, one that everything did, and how that one looked each time."""
    transformers.utils.logging.disable_progress_bar()
    importlib.import_module("matplotlib.pyplot")  # here, and not in every process anew, as the words are made
    small_corpus()
    torch.set_num_threads(1)  # processes are forked, which threads do not survive
    sitting(folder / "whole", lambda: None, 0)
    for name, moment in MOMENTS.items():
        sitting(folder / "ended", moment.end, 1 << 8 if name == "disk_full_while_saving" else signal.SIGKILL)
        shutil.copytree(folder / "ended", folder / name)
    shutil.copytree(folder / "ended", folder / "after_config_is_moved")
    sitting(folder / "ended", lambda: None, 0)
    last = folder / "after_config_is_moved"
    sitting(last, lambda: before(Path, "replace", 1, config_moved, when=is_config), signal.SIGKILL)


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """The folder that `main` fills, and what it said."""
    folder = tmp_path_factory.mktemp("killed")
    done = subprocess.run(
        [sys.executable, __file__, str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def contents(folder):
    """Every file's bytes by its path, without the seconds that training took."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    if "training.json" in files:
        report = json.loads(files["training.json"])
        for timed in (report, *report["curve"]):
            del timed["seconds"], timed["step_seconds"]
        files["training.json"] = report
    return files


def assert_same(folder, other):
    ours, theirs = contents(folder), contents(other)
    assert sorted(ours) == sorted(theirs)
    assert [path for path in ours if ours[path] != theirs[path]] == []


@pytest.mark.slow
def test_run_that_was_ended_at_every_moment_ends_as_if_it_never_had_been(killed):
    assert sorted(os.listdir(killed[0] / "whole")) == FINISHED
    assert_same(killed[0] / "ended", killed[0] / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_run_that_was_ended_has_its_last_state_and_the_models_kept_until_then(killed, moment):
    names = os.listdir(killed[0] / moment)
    states = [int(name.removeprefix("state-")) for name in names if name.startswith("state-")]
    assert max(states, default=None) == MOMENTS[moment].state
    for kept in KEPT:
        if int(kept.removeprefix("step")) <= max(states, default=0):
            assert kept in names
        if kept in names:
            assert_same(killed[0] / moment / kept, killed[0] / "whole" / kept)


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_run_that_was_ended_does_not_load_as_a_model(killed, moment):
    with pytest.raises((OSError, ValueError)):
        AutoModelForCausalLM.from_pretrained(killed[0] / moment)


@pytest.mark.slow
def test_run_that_was_killed_after_its_last_file_was_moved_is_finished(killed):
    left, whole = contents(killed[0] / "after_config_is_moved"), contents(killed[0] / "whole")
    assert [path for path in whole if left[path] != whole[path]] == []
    with pytest.raises(ValueError, match="which holds a finished run"):
        train(small_corpus(), CONFIG, killed[0] / "after_config_is_moved", progress=False)


@pytest.mark.slow
def test_full_disk_says_so_and_leaves_no_scrap(killed):
    (message,) = killed[1].splitlines()
    assert "File too large" in message
    names = os.listdir(killed[0] / "disk_full_while_saving")
    assert [name for name in names if name not in ("state-3", "step2", "step4")] == []


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder, empty before, of a run of this very process that nothing ended."""
    folder = tmp_path_factory.mktemp("whole")
    go_on(folder)
    return folder


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory):
    """The folder, new before, of a run that was ended in its fifth step; tests must copy it."""
    folder = tmp_path_factory.mktemp("unfinished") / "new" / "model"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_module, "summed_loss", training_module.summed_loss)
        before(training_module, "summed_loss", 5, stop)
        with pytest.raises(Stop):
            go_on(folder)
    assert sorted(os.listdir(folder)) == ["state-4", "step2", "step4"]
    return folder


@pytest.fixture
def copied(unfinished, tmp_path):
    """A copy of the unfinished run for a test to go on with."""
    return shutil.copytree(unfinished, tmp_path / "copied")


def go_on(folder, **fields):
    return train(small_corpus(), TrainConfig(**{**SETTINGS, **fields}), folder, progress=False)


def test_weights_losses_and_curve_of_a_resumed_run_are_those_of_one_sitting(copied, whole):
    before = json.loads((copied / "state-4" / "run.json").read_text(encoding="utf-8"))
    report = go_on(copied)
    assert len(report["losses"]) == 6
    assert_same(copied, whole)
    assert report["curve"][0]["seconds"] == before["curve"][0]["seconds"]
    assert before["curve"][0]["seconds"] < before["seconds"] < report["seconds"]  # they add up over all sittings


def test_resumed_run_holds_no_file_of_its_state(copied, monkeypatch):
    """Else network folders and Windows let nobody remove it, and the run ends at its first new state."""
    save, mapped = Run.save, []

    def look_and_save(self, *arguments):
        maps = Path("/proc/self/maps")  # which Linux alone has
        mapped.append(maps.exists() and "state.safetensors" in maps.read_text(encoding="utf-8"))
        save(self, *arguments)

    monkeypatch.setattr(Run, "save", look_and_save)
    go_on(copied)
    assert mapped
    assert not any(mapped)


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_every_file_may_be_read_by_whom_the_umask_allows(tmp_path, monkeypatch, umask, mode):
    earlier = os.umask(umask)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(training_module, "summed_loss", training_module.summed_loss)
            before(training_module, "summed_loss", 3, stop)
            with pytest.raises(Stop):
                go_on(tmp_path / "model", max_steps=3)
        state = modes(tmp_path / "model" / "state-2")
        go_on(tmp_path / "model", max_steps=3)
    finally:
        os.umask(earlier)
    assert state == dict.fromkeys(["run.json", "state.safetensors"], mode)
    assert modes(tmp_path / "model" / "step2") == dict.fromkeys(MODEL, mode)
    assert modes(tmp_path / "model") == dict.fromkeys([name for name in FINISHED if name not in KEPT], mode)


def modes(folder):
    """The permissions of each file of a folder by its name."""
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in sorted(folder.iterdir()) if path.is_file()}


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_loss_that_is_no_number_leaves_the_last_state_and_all_kept_models(unfinished, copied, monkeypatch, wrong):
    loss = training_module.summed_loss
    monkeypatch.setattr(training_module, "summed_loss", lambda *arguments: loss(*arguments) * wrong)
    with pytest.raises(FloatingPointError, match=f"loss is {wrong} at step 5: try a lower learning_rate"):
        go_on(copied)
    assert contents(copied) == contents(unfinished)


@pytest.mark.parametrize(("step", "left"), [(3, ["state-2", "step2"]), (4, ["state-3", "step2"])])
def test_weights_that_are_no_numbers_are_not_saved(tmp_path, monkeypatch, step, left):
    loss, steps = training_module.summed_loss, []

    def backward_breaks(*arguments):
        steps.append(1)
        found = loss(*arguments)
        if len(steps) == step:
            found.register_hook(lambda gradient: gradient * math.nan)  # the loss itself stays a number
        return found

    monkeypatch.setattr(training_module, "summed_loss", backward_breaks)
    with pytest.raises(FloatingPointError, match=f"weights are no numbers after step {step}"):
        go_on(tmp_path / "model")
    assert sorted(os.listdir(tmp_path / "model")) == left


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("made_before", [True, False])
def test_disk_that_is_full_from_the_start_leaves_nothing(tmp_path, monkeypatch, made_before):
    monkeypatch.setattr(run_module, "save_file", full)
    if made_before:
        (tmp_path / "new" / "model").mkdir(parents=True)
    with pytest.raises(OSError, match="No space left"):
        go_on(tmp_path / "new" / "model")
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert left == (["new", "new/model"] if made_before else [])


@pytest.mark.parametrize("owner", [GPTNeoXForCausalLM, PreTrainedTokenizerBase])
def test_disk_that_fills_up_while_a_model_is_kept_leaves_all_as_it_was(unfinished, copied, monkeypatch, owner):
    monkeypatch.setattr(owner, "save_pretrained", full)
    with pytest.raises(OSError, match="No space left"):
        go_on(copied)
    assert contents(copied) == contents(unfinished)


@pytest.mark.parametrize(
    ("owner", "name", "state"), [(run_module, "save_file", "state-4"), (parquet, "write_table", "state-6")]
)
def test_disk_that_fills_up_leaves_a_run_that_goes_on(whole, copied, monkeypatch, owner, name, state):
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, full)
        with pytest.raises(OSError, match="No space left"):
            go_on(copied)
    assert sorted(os.listdir(copied)) == [state, *KEPT]
    go_on(copied)
    assert_same(copied, whole)


@pytest.mark.parametrize(
    ("parts", "setting", "stored", "given"),
    [
        ({"train": {"learning_rate": 0.02}}, "train.learning_rate", "0.004", "0.02"),
        ({"train": {"accumulation_steps": 2}}, "train.accumulation_steps", "1", "2"),
        ({"train": {"max_minutes": 5.0}}, "train.max_minutes", "None", "5.0"),
        ({"world": {"seed": 1}}, "data.world.seed", "0", "1"),
        ({"world": {"num_objects": 6}}, "data.world.num_objects", "4", "6"),
        ({"lexicon": {"one_token_limit": 3}}, "data.lexicon.one_token_limit", "1000", "3"),
        ({"corpus": {"repeats": 5}}, "data.corpus.repeats", "4", "5"),
        ({"corpus": {"inversion_forms": ["osr"]}}, "data.corpus.inversion_forms", r"\['rso'\]", r"\['osr'\]"),
    ],
)
def test_unfinished_run_of_another_setting_is_refused_and_untouched(unfinished, parts, setting, stored, given):
    kept = contents(unfinished)
    corpus = build(
        dataclasses.replace(WORLD, **parts.get("world", {})),
        LexiconConfig(**parts.get("lexicon", {})),
        dataclasses.replace(CORPUS, **parts.get("corpus", {})),
    )
    config = TrainConfig(**{**SETTINGS, **parts.get("train", {})})
    message = f"holds an unfinished run whose {setting} is {stored}, got {given}; use its settings to go on"
    with pytest.raises(ValueError, match=message):
        train(corpus, config, unfinished, progress=False)
    assert contents(unfinished) == kept


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("data", "digests", "facts"), "0123456789abcdef", "whose data.digests.facts is '0123456789abcdef', got"),
        (("processes",), 2, "whose processes is 2, got 1"),
        (("device",), "xpu", "whose device is 'xpu', got"),
    ],
)
def test_unfinished_run_of_another_generator_or_other_hardware_is_refused(copied, place, value, message):
    path = copied / "state-4" / "run.json"
    numbers = json.loads(path.read_text(encoding="utf-8"))
    part = numbers["header"]
    for name in place[:-1]:
        part = part[name]
    assert place[-1] in part
    part[place[-1]] = value
    path.write_text(json.dumps(numbers), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        go_on(copied)


def test_processes_that_see_different_folders_are_refused(unfinished, copied, monkeypatch):
    monkeypatch.setattr(Accelerator, "gather", lambda self, step: torch.cat([step, step.new_tensor([-1])]))
    with pytest.raises(ValueError, match=r"output_dir must be one folder for all processes, got states \[4, -1\]"):
        go_on(copied)
    assert contents(copied) == contents(unfinished)


def test_finished_run_is_refused_and_untouched(whole):
    kept = contents(whole)
    message = (
        "output_dir must be empty, new or an unfinished run so that no trained model is lost, got .* a finished run"
    )
    with pytest.raises(ValueError, match=message):
        go_on(whole)
    assert contents(whole) == kept


def test_finished_run_is_known_by_its_settings_and_no_other_run_is(whole, unfinished, tmp_path):
    def run(folder, **fields):
        return Run(folder, small_corpus(), TrainConfig(**{**SETTINGS, **fields}))

    assert run(whole).finished() == json.loads((whole / "training.json").read_text(encoding="utf-8"))
    assert run(unfinished).finished() is None
    assert run(tmp_path / "new").finished() is None
    with pytest.raises(ValueError, match="holds a finished run whose train.max_steps is 6, got 5; use its settings"):
        run(whole, max_steps=5).finished()
    other = build(dataclasses.replace(WORLD, seed=1), corpus=CORPUS)
    with pytest.raises(ValueError, match="holds a finished run whose data.world.seed is 0, got 1"):
        Run(whole, other, CONFIG).finished()


def test_model_without_its_report_is_no_finished_run(whole, tmp_path):
    folder = shutil.copytree(whole, tmp_path / "copied")
    (folder / "training.json").unlink()
    with pytest.raises(ValueError, match="output_dir must hold training.json beside a trained model"):
        Run(folder, small_corpus(), CONFIG).finished()


@pytest.mark.parametrize("content", ["note.txt", "model.safetensors", "step2/model.safetensors"])
def test_folder_of_something_else_is_refused_and_untouched(tmp_path, content):
    (tmp_path / content).parent.mkdir(exist_ok=True)
    (tmp_path / content).write_text("mine", encoding="utf-8")
    name = content.partition("/")[0]
    with pytest.raises(ValueError, match=f"output_dir must be empty, new or an unfinished run .* which holds {name}"):
        go_on(tmp_path)
    assert contents(tmp_path) == {content: b"mine"}


def test_file_in_the_place_of_the_output_is_refused_and_untouched(tmp_path):
    (tmp_path / "model").write_text("mine", encoding="utf-8")
    with pytest.raises(ValueError, match="output_dir must be a folder, got"):
        go_on(tmp_path / "model")
    assert (tmp_path / "model").read_text(encoding="utf-8") == "mine"


def test_kept_model_is_an_ordinary_one_with_the_weights_of_its_step(unfinished):
    state = load_file(unfinished / "state-4" / "state.safetensors")
    kept = AutoModelForCausalLM.from_pretrained(unfinished / "step4")
    assert sorted(os.listdir(unfinished / "step4")) == MODEL
    weights = kept.state_dict()
    assert {f"model.{name}" for name in weights} == {name for name in state if name.startswith("model.")}
    for name, weight in weights.items():
        assert torch.equal(weight, state[f"model.{name}"]), name
    assert kept.config.use_cache
    assert kept.config.behemoth["step"] == 4
    assert kept.config.behemoth["train"]["save_every"] == 2
    words = AutoTokenizer.from_pretrained(unfinished / "step4").get_vocab()
    assert words == small_corpus().grammar.lexicon.token_ids


def test_kept_models_are_those_of_shorter_trainings(tmp_path):
    steady = {"schedule": "constant", "warmup_fraction": 0.0, "save_every": None}  # nothing depends on the last step
    go_on(tmp_path / "long", **steady, save_log_spaced=True, max_steps=3)
    go_on(tmp_path / "short", **steady, max_steps=2)
    assert sorted(name for name in os.listdir(tmp_path / "long") if name.startswith("step")) == ["step1", "step2"]
    kept, short = (load_file(tmp_path / name / "model.safetensors") for name in ("long/step2", "short"))
    assert set(kept) == set(short)
    assert all(torch.equal(kept[name], short[name]) for name in kept)


@pytest.mark.parametrize(
    ("fields", "num_steps", "kept"),
    [
        ({}, 100, []),
        ({"save_every": 30}, 100, [30, 60, 90]),
        ({"save_every": 30}, 90, [30, 60, 90]),
        ({"save_every": 101}, 100, []),
        ({"save_log_spaced": True}, 100, [1, 2, 4, 8, 16, 32, 64]),
        ({"save_log_spaced": True}, 64, [1, 2, 4, 8, 16, 32, 64]),
        ({"save_log_spaced": True}, 63, [1, 2, 4, 8, 16, 32]),
        ({"save_log_spaced": True}, 1, [1]),
        ({"save_log_spaced": True, "save_every": 4}, 10, [1, 2, 4, 8]),
    ],
)
def test_models_of_these_steps_are_kept(fields, num_steps, kept):
    assert sorted(TrainConfig(**fields).kept_steps(num_steps)) == kept


if __name__ == "__main__":
    main(Path(sys.argv[1]))
