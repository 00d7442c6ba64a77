"""Facts about a grid of attacks: what is shared, what a row holds, and what a failure costs."""

import dataclasses
from typing import ClassVar

import numpy as np
import pytest

from behemoth_data import WorldConfig, build
from behemoth_data.edits import EditConfig
from behemoth_editing.attacks.contract import Attacked, Look, Refused
from behemoth_editing.methods.contract import Edited
from behemoth_editing.sweep.attacking import TRIALS, attack_all, by_edited, check_trials, missing, trials
from behemoth_models.knowledge import weights_digest

DRAW = EditConfig(scenario="forget", forget_fraction=0.1, probes_per_edit=2)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Copy:
    name: ClassVar[str] = "copy"
    goal: ClassVar[str] = "forget"
    reads: ClassVar[tuple[str, ...]] = ()
    fails: bool = False
    made: ClassVar[list[str]] = []

    def check(self, model):
        pass

    def __call__(self, model, task, shared=None):
        self.made.append("once")
        if self.fails:
            raise RuntimeError("no copy")
        return Edited(model, {"steps": 3})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Given:
    name: ClassVar[str] = "given"
    axis: ClassVar[str] = "looks"
    what: str = "found"

    def check(self, model):
        pass

    def __call__(self, model, task):
        if self.what == "refused":
            raise Refused("not on this one")
        if self.what == "failed":
            raise ZeroDivisionError("no attack")
        one = Look(0.5, np.array([1.00004, -2.0]), np.array([0.5, 0.25]), np.array([1.0, 0.0]), "half")
        return Attacked(np.array([2, 0]), (one,), {"taught": 4})


def test_model_is_edited_once_for_all_attacks_and_rows_say_what_was_found(checkpoint, tmp_path):
    Copy.made.clear()
    wanted = trials([checkpoint], [DRAW], [Copy()], [Given(), Given(what="refused"), Given(what="failed"), Given()])
    assert len(wanted) == 3  # each trial once
    check_trials(wanted)
    found, refused, failed = attack_all(by_edited(wanted), tmp_path / "out", progress=False, command="mine")
    assert Copy.made == ["once"]
    assert found["left"] == [{"step": 0.5, "label": "half", "said": [1.0, -2.0], "bits": [0.5, 0.25], "right": [1, 0]}]
    assert (found["axis"], found["attack_details"], found["details"]) == ("looks", {"taught": 4}, {"steps": 3})
    assert (found["command"], found["attack"], found["attack_settings"]) == ("mine", "given", {"what": "found"})
    assert found["weights"] == {"before": checkpoint.weights, "after": [weights_digest(checkpoint.model)]}
    assert len(found["heads"]) == len(found["inferable"]) == 2
    assert (refused["error"], refused["refused"]) == (None, "not on this one")
    assert (failed["error"], failed["refused"]) == ("ZeroDivisionError: no attack", None)
    assert [trial.attack.what for trial in missing(wanted, tmp_path / "out")] == ["failed"]  # it is tried again
    assert len((tmp_path / "out" / TRIALS).read_text(encoding="utf-8").splitlines()) == 2


def test_edit_that_fails_is_in_the_row_of_every_attack_and_costs_no_other(checkpoint, tmp_path):
    wanted = trials([checkpoint], [DRAW], [Copy(fails=True), Copy()], [Given()])
    failed, found = attack_all(by_edited(wanted), tmp_path, progress=False)
    assert failed["error"] == "RuntimeError: no copy"
    assert found["error"] is None


def test_trials_differ_by_method_attack_draw_and_their_settings(checkpoint):
    draws = [DRAW, dataclasses.replace(DRAW, edit_seed=1)]
    wanted = trials([checkpoint], draws, [Copy(), Copy(fails=True)], [Given(), Given(what="failed")])
    assert len({trial.id for trial in wanted}) == 8
    assert [len(group) for group in by_edited(wanted)] == [2] * 4


def test_folder_of_something_else_is_refused(checkpoint, tmp_path):
    wanted = trials([checkpoint], [DRAW], [Copy()], [Given()])
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8", newline="\n")
    with pytest.raises(ValueError, match="output_dir must be new, empty or hold attacks.jsonl"):
        missing(wanted, tmp_path)


def test_two_seeds_of_one_draw_are_refused(checkpoint):
    whole = [EditConfig(scenario="forget", probes_per_edit=2, edit_seed=seed) for seed in (0, 3)]  # of 3 relations
    with pytest.raises(ValueError, match="draw"):
        check_trials(trials([checkpoint], whole, [Copy()], [Given()]))


def test_facts_of_which_much_is_known_once_they_are_forgotten_are_refused(checkpoint):
    corpus = build(WorldConfig(num_subjects=80, num_relations=3, num_objects=9))
    few = dataclasses.replace(checkpoint, corpus=corpus)
    with pytest.raises(ValueError, match="num_objects must be at least 10 for what is left .* got 9"):
        check_trials(trials([few], [DRAW], [Copy()], [Given()]))
    check_trials(trials([few], [dataclasses.replace(DRAW, scenario="refuse")], [Copy()], [Given()]))


def test_dry_run_leaves_failures_where_they_can_be_read(checkpoint, tmp_path):
    wanted = trials([checkpoint], [DRAW], [Copy(fails=True)], [Given()])
    attack_all(by_edited(wanted), tmp_path / "out", progress=False)
    before = (tmp_path / "out" / TRIALS).read_bytes()
    assert missing(wanted, tmp_path / "out", dry_run=True) == wanted
    assert (tmp_path / "out" / TRIALS).read_bytes() == before
    assert missing(wanted, tmp_path / "out") == wanted
    assert (tmp_path / "out" / TRIALS).read_bytes() == b""


def test_draw_of_several_sets_is_refused(checkpoint):
    single = EditConfig(scenario="single", num_edits=2, probes_per_edit=2)
    with pytest.raises(ValueError, match="scenario must make one set of edits to be attacked, got 2"):
        check_trials(trials([checkpoint], [single], [Copy()], [Given()]))
