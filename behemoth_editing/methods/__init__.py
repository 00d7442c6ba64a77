"""Every editing method, by the name that commands and result rows use. A method is its settings."""

from __future__ import annotations

from behemoth_editing.methods.constrain import Pdu
from behemoth_editing.methods.contract import EditMethod
from behemoth_editing.methods.finetune import FineTune, FineTuneConstrained
from behemoth_editing.methods.lora import Lora
from behemoth_editing.methods.memit import AlphaEdit, Emmet, Memit, Sphere
from behemoth_editing.methods.noise import Undo
from behemoth_editing.methods.redirect import Ceu, Undial
from behemoth_editing.methods.retrain import Omit, Retrain
from behemoth_editing.methods.reweigh import SatImp, Wga
from behemoth_editing.methods.rome import Rome, RRome
from behemoth_editing.methods.ultraedit import UltraEdit
from behemoth_editing.methods.unlearn import GradDiff, GradientAscent, Npo, Refusal, Rmu, SimNpo

METHODS: dict[str, type[EditMethod]] = {
    "finetune": FineTune,
    "finetune_constrained": FineTuneConstrained,
    "lora": Lora,
    "rome": Rome,
    "r_rome": RRome,
    "memit": Memit,
    "emmet": Emmet,
    "alphaedit": AlphaEdit,
    "sphere": Sphere,
    "ultraedit": UltraEdit,
    "gradient_ascent": GradientAscent,
    "grad_diff": GradDiff,
    "npo": Npo,
    "simnpo": SimNpo,
    "rmu": Rmu,
    "undial": Undial,
    "ceu": Ceu,
    "wga": Wga,
    "satimp": SatImp,
    "pdu": Pdu,
    "undo": Undo,
    "refusal": Refusal,
    "retrain": Retrain,
    "omit": Omit,
}
