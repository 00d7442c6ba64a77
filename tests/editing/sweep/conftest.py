"""What tests of sweeps share: a method that takes no time."""

import dataclasses
from typing import ClassVar

import pytest

from behemoth_editing.copies import copy_of
from behemoth_editing.methods.contract import Edited


@dataclasses.dataclass(frozen=True, kw_only=True)
class Nudge:
    """A method that adds to the new answer's row of the head."""

    name: ClassVar[str] = "nudge"
    goal: ClassVar[str] = "edit"
    reads: ClassVar[tuple[str, ...]] = ("requests",)
    by: float = 0.5

    def check(self, model):
        pass

    def __call__(self, model, task, shared=None):
        edited = copy_of(model)
        for request in task.requests:
            edited.lm_head.weight[request.answer_ids[0]] += self.by
        return Edited(edited, {})


@pytest.fixture(scope="session")
def nudge():
    return Nudge
