"""Methods that are not ours: how they are found, and what the check of the contract catches."""

import dataclasses
import importlib.metadata
import sys
from copy import deepcopy
from typing import ClassVar

import pytest
import torch

from behemoth_data.edits import EditConfig, EditSet, draw_edits
from behemoth_editing import METHODS, Edited
from behemoth_editing.methods.outside import check_method, contract_faults, method_named
from behemoth_models.knowledge import weights_digest

QUICK = {"max_steps": 3, "steps": 3}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Nudge:
    """Every weight of the last matrix moves by a part of it that depends on the prompts that are edited."""

    name: ClassVar[str] = "nudge"
    goal: ClassVar[str] = "edit"
    reads: ClassVar[tuple[str, ...]] = ("requests",)

    amount: float = 0.01

    def check(self, model):
        """All models are good."""

    def __call__(self, model, task, shared=None):
        edited = deepcopy(model)
        edited.train(False).requires_grad_(False)
        edited.lm_head.weight.mul_(1 + self.amount * self.of(model, edited, task))
        return Edited(edited, {"amount": self.amount})

    def of(self, model, edited, task):
        return sum(sum(query.prompt_ids) for query in task.requests) / 1000


def method(**body):
    """An instance of a Nudge whose methods are replaced."""
    return dataclasses.dataclass(frozen=True, kw_only=True)(type("Other", (Nudge,), body))()


def test_own_method_keeps_the_contract(beginner):
    check_method(Nudge(), beginner)


@pytest.mark.parametrize("name", ["finetune", "rome", "npo"])
def test_listed_methods_keep_the_contract(name, beginner):
    fields = {field.name for field in dataclasses.fields(METHODS[name])}
    chosen = METHODS[name](**{field: value for field, value in QUICK.items() if field in fields})
    assert list(contract_faults(chosen, beginner)) == []


def touches(self, model, task, shared=None):
    model.lm_head.weight.data += 1e-3
    return Nudge.__call__(self, model, task, shared)


def leaves_a_mode(self, model, task, shared=None):
    model.train(False)
    return Nudge.__call__(self, model, task, shared)


def gives_the_model_itself(self, model, task, shared=None):
    return Edited(model, {})


def draws(self, model, edited, task):
    return float(torch.rand(1))


def reads_probes(self, model, edited, task):
    return len(getattr(task, "probes", ())) + 1.0


def reads_the_world(self, model, edited, task):
    return 2.0 if isinstance(task, EditSet) else 1.0


def reads_old_answers(self, model, edited, task):
    return 1.0 + len(task.originals)


def remembers(self, model, edited, task):
    edited.edits_so_far = getattr(model, "edits_so_far", 0) + 1
    return float(edited.edits_so_far)


def of_earlier(self, model, edited, task):
    return 1.0 + len(task.earlier)


def nothing(self, model, edited, task):
    return 0.0


def odd_details(self, model, task, shared=None):
    return Edited(Nudge.__call__(self, model, task, shared).model, {"norm": float("nan")})


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ({"__call__": touches}, "the model given is changed: its weights"),
        ({"__call__": leaves_a_mode}, "the model given is changed: its modes"),
        ({"__call__": gives_the_model_itself}, "the copy shares memory with the model given"),
        ({"__call__": odd_details}, "details must be numbers and words that JSON has"),
        ({"of": draws}, "torch's global random numbers are drawn from"),
        ({"of": draws}, "the same edit of the same model gives other weights the second time"),
        ({"of": reads_probes}, "the edit depends on the probes, which a method must not read"),
        ({"of": reads_the_world}, "the edit depends on more than its EditTask"),
        ({"of": reads_old_answers}, "the edit depends on parts of its task that its reads do not name"),
        ({"of": remembers}, "a second edit depends on what does not survive save_pretrained"),
        ({"of": nothing}, "the edit changes no weight"),
    ],
)
def test_fault_is_found(body, fault, beginner):
    assert any(found.startswith(fault) for found in contract_faults(method(**body), beginner))
    with pytest.raises(ValueError, match="method nudge must keep the contract, got "):
        check_method(method(**body), beginner)


def test_what_came_before_is_in_the_task_and_no_fault(beginner):
    lifelong = method(of=of_earlier, reads=("requests", "earlier"))
    assert list(contract_faults(lifelong, beginner)) == []
    first, second = draw_edits(beginner.corpus, EditConfig(scenario="sequence", num_edits=2, edits_per_step=1))
    alone = weights_digest(lifelong(beginner.model, second).model)
    after = weights_digest(lifelong(beginner.model, dataclasses.replace(second, earlier=(first,))).model)
    assert alone != after


def test_method_of_a_module_is_found(monkeypatch):
    monkeypatch.setitem(sys.modules, "somebodys", sys.modules[__name__])
    assert method_named("somebodys:Nudge") is Nudge
    assert method_named("rome") is METHODS["rome"]


def test_method_that_a_package_lists_is_found(monkeypatch):
    monkeypatch.setitem(sys.modules, "somebodys", sys.modules[__name__])
    entry = importlib.metadata.EntryPoint("nudge", "somebodys:Nudge", "behemoth.methods")
    monkeypatch.setattr("behemoth_editing.methods.outside.entry_points", lambda group: [entry])
    assert method_named("nudge") is Nudge
    with pytest.raises(ValueError, match=r"method must be one of finetune, .*, retrain, omit, nudge, MODULE:CLASS"):
        method_named("nugde")


@dataclasses.dataclass(frozen=True)
class Rome(Nudge):
    """A name that is taken."""

    name: ClassVar[str] = "rome"


@dataclasses.dataclass(frozen=True)
class Greedy(Nudge):
    """What no method may read."""

    reads: ClassVar[tuple[str, ...]] = ("probes",)


@dataclasses.dataclass
class Thawed(Nudge.__mro__[1]):
    """No frozen dataclass."""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("somebodys:Missing", "methods must name a class that can be imported, got 'somebodys:Missing'"),
        ("nobodys:Method", "methods must name a class that can be imported, got 'nobodys:Method'"),
        ("somebodys:Thawed", "methods must name a frozen dataclass"),
        ("somebodys:touches", "methods must name a frozen dataclass"),
        ("somebodys:Greedy", "reads of a method must be a tuple of names among requests, .*, got .'probes',. of"),
        ("somebodys:Rome", "name of a method must be its own, got 'rome'"),
    ],
)
def test_what_is_no_method_is_refused(name, message, monkeypatch):
    monkeypatch.setitem(sys.modules, "somebodys", sys.modules[__name__])
    with pytest.raises(ValueError, match=message):
        method_named(name)


def asks_for_probes(self, model, edited, task):
    return float(len(task.probes[0].prompt))


def asks_for_the_world(self, model, edited, task):
    return float(task.corpus.world.config.num_subjects)


def once_only(self, model, edited, task):
    return 1.0 if not task.earlier else task.earlier["first"]


def gives_a_part(self, model, task, shared=None):
    return Edited(Nudge.__call__(self, model, task, shared).model.gpt_neox, {})


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ({"of": asks_for_probes}, "the edit depends on the probes, which a method must not read"),
        ({"of": asks_for_the_world}, "the edit depends on more than its EditTask"),
        ({"of": once_only}, "a second edit fails: TypeError"),
        ({"__call__": gives_a_part}, "the copy is no plain model of the same class and parameters"),
    ],
)
def test_method_that_fails_when_it_is_tried_has_a_fault(body, fault, beginner):
    assert any(found.startswith(fault) for found in contract_faults(method(**body), beginner))


def test_copy_that_cannot_be_saved_is_a_fault(beginner):
    def unsavable(self, model, task, shared=None):
        edited = Nudge.__call__(self, model, task, shared)
        edited.model.save_pretrained = None
        return edited

    found = list(contract_faults(method(__call__=unsavable), beginner))
    assert [fault for fault in found if fault.startswith("the copy cannot be saved and loaded: TypeError")]


@pytest.mark.parametrize("name", ["somebodys:", ":Nudge", "nobody"])
def test_half_a_name_is_refused(name):
    with pytest.raises(ValueError, match=f"method must be one of finetune, .*, MODULE:CLASS, got '{name}'"):
        method_named(name)


@pytest.mark.parametrize("code", ["def (", "raise RuntimeError('no')"])
def test_module_that_fails_is_refused_by_its_name(code, tmp_path, monkeypatch):
    (tmp_path / "failing_module.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    entry = importlib.metadata.EntryPoint("listed", "failing_module:Nudge", "behemoth.methods")
    monkeypatch.setattr("behemoth_editing.methods.outside.entry_points", lambda group: [entry])
    for name in ("failing_module:Nudge", "listed"):
        with pytest.raises(ValueError, match=f"methods must name a class that can be imported, got '{name}': .*Error"):
            method_named(name)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fixed(Nudge):
    """A setting that cannot be given."""

    fixed: int = dataclasses.field(default=1, init=False)


def test_setting_that_cannot_be_given_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "somebodys", sys.modules[__name__])
    with pytest.raises(ValueError, match="settings of a method must be arguments with a default value, got fixed"):
        method_named("somebodys:Fixed")
