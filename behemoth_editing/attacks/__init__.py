"""Every attack on a model from which facts were removed, by the name that commands and rows use. It is its settings."""

from __future__ import annotations

from behemoth_editing.attacks.contract import Attack
from behemoth_editing.attacks.damage import Prune, Round
from behemoth_editing.attacks.readout import Probe
from behemoth_editing.attacks.relearning import Relearn, RelearnRetained
from behemoth_editing.attacks.sampling import Sample
from behemoth_editing.attacks.wording import AtOnce, Forms, Hint

ATTACKS: dict[str, type[Attack]] = {
    "at_once": AtOnce,
    "relearn": Relearn,
    "relearn_retained": RelearnRetained,
    "round": Round,
    "prune": Prune,
    "forms": Forms,
    "hint": Hint,
    "probe": Probe,
    "sample": Sample,
}
