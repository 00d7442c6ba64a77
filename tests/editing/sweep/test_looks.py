"""Facts about looks at a method that trains: what they count, when they are taken, and that they change nothing."""

import dataclasses

import pytest
import torch

from behemoth_data.edits import EditConfig, draw_edits
from behemoth_editing import METHODS
from behemoth_editing.copies import copy_of
from behemoth_editing.methods.contract import Edited
from behemoth_editing.scoring.answers import predict
from behemoth_editing.sweep.cells import grid
from behemoth_editing.sweep.looks import EQUAL, LEVELS, curve_of, look_at_equal, share_left
from behemoth_editing.sweep.running import run

CONFIG = EditConfig(scenario="forget", forget_fraction=0.2, probes_per_edit=5, look_every=1)


@dataclasses.dataclass(frozen=True)
class Fade:
    """Takes a model to one whose final norm is noise, step by step."""

    name = "fade"
    goal = "forget"

    steps: int = 8

    def check(self, model):
        pass

    def models(self, model):
        for step in range(1, self.steps + 1):
            faded = copy_of(model)
            with torch.no_grad(), torch.random.fork_rng():
                torch.manual_seed(0)
                weight = faded.gpt_neox.final_layer_norm.weight
                weight += torch.randn(weight.shape) * weight.abs().mean() * step / 2
            yield step, faded

    def __call__(self, model, task, shared=None):
        for step, faded in self.models(model):
            if shared.watch is not None:
                shared.watch(faded, step)
        return Edited(faded, {})


def test_looks_are_of_the_first_steps_that_leave_so_few_old_answers(checkpoint, tmp_path):
    (row,) = run(grid([checkpoint], [Fade()], [CONFIG]), tmp_path, progress=False)
    (edit_set,) = draw_edits(checkpoint.corpus, CONFIG)
    before = predict(checkpoint.model, edit_set.probes)

    def share(model, kind):
        """Of the facts of a kind that were right, how many still are: asked one by one."""
        kept = known = 0
        for probe, was, now in zip(edit_set.probes, before, predict(model, edit_set.probes), strict=True):
            answer = probe.before.answer_ids
            if probe.kind == kind and was[: len(answer)] == answer:
                known += 1
                kept += now[: len(answer)] == answer
        return kept, known

    expected, levels = [], list(LEVELS)
    for step, model in Fade().models(checkpoint.model):
        left, known = share(model, "edited")
        if levels and left / known <= levels[0]:
            expected.append((step, (left, known), share(model, "implicit"), share(model, "same_subject")))
            levels = [level for level in levels if level < left / known]
    found = [
        (
            look["step"],
            tuple(look["forget"]["edited"][:2]),
            tuple(look["keep"]["implicit"][:2]),
            tuple(look["keep"]["same_subject"][:2]),
        )
        for look in row["looks"]
    ]
    assert found == expected
    assert len(expected) >= 3
    assert [look["step"] for look in curve_of(row)] == [step for step, *_ in expected] + [None]
    assert share_left(curve_of(row)[0]) == expected[0][1][0] / expected[0][1][1]


@pytest.mark.parametrize("name", ["grad_diff", "lora"])
def test_looking_changes_nothing_of_what_a_method_does(name, checkpoint, tmp_path):
    method = METHODS[name](max_steps=4)
    looked, plain = (
        run(grid([checkpoint], [method], [dataclasses.replace(CONFIG, look_every=every)]), tmp_path / str(every))[0]
        for every in (2, 0)
    )
    assert looked["weights"] == plain["weights"]
    assert looked["units"] == plain["units"]
    assert plain["looks"] == []
    assert all(look["step"] in (2, 4) for look in looked["looks"])


def test_models_are_compared_at_the_first_look_with_few_old_answers_left():
    def look(step, left):
        return {"step": step, "forget": {"edited": [left, 40, 0, 40]}}

    units = [{"edit": 0, "change": {}, "keep": {}, "ripple": {}, "forget": {"edited": [4, 40, 0, 40]}}]
    row = {"units": units, "looks": [look(1, 30), look(2, 2), look(3, 1)]}
    assert EQUAL == 0.05
    assert look_at_equal(row)["step"] == 2
    assert look_at_equal({**row, "looks": [look(1, 3)]}) is None  # 4 of 40 are left in the end
    units[0]["forget"]["edited"][0] = 2
    assert look_at_equal({**row, "looks": []})["step"] is None  # the edited model itself
    units[0]["forget"]["edited"][:2] = [0, 0]
    assert look_at_equal({**row, "looks": []}) is None  # it knew nothing
