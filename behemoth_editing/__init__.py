"""Edit the knowledge of a language model and measure what changed that should have and what should not."""

from __future__ import annotations

from behemoth_data.extras import need

need("behemoth_editing", "editing")

from behemoth_editing.finetune import FineTune, FineTuneConstrained
from behemoth_editing.lora import Lora
from behemoth_editing.memit import AlphaEdit, Emmet, Memit
from behemoth_editing.method import Edited, EditMethod, Shared
from behemoth_editing.retrain import Retrain
from behemoth_editing.rome import Rome, RRome
from behemoth_editing.unlearn import GradDiff, GradientAscent, Npo, Refusal, Rmu, SimNpo

METHODS: dict[str, type[EditMethod]] = {
    "finetune": FineTune,
    "finetune_constrained": FineTuneConstrained,
    "lora": Lora,
    "rome": Rome,
    "r_rome": RRome,
    "memit": Memit,
    "emmet": Emmet,
    "alphaedit": AlphaEdit,
    "gradient_ascent": GradientAscent,
    "grad_diff": GradDiff,
    "npo": Npo,
    "simnpo": SimNpo,
    "rmu": Rmu,
    "refusal": Refusal,
    "retrain": Retrain,
}

__all__ = [
    "METHODS",
    "AlphaEdit",
    "EditMethod",
    "Edited",
    "Emmet",
    "FineTune",
    "FineTuneConstrained",
    "GradDiff",
    "GradientAscent",
    "Lora",
    "Memit",
    "Npo",
    "RRome",
    "Refusal",
    "Retrain",
    "Rmu",
    "Rome",
    "Shared",
    "SimNpo",
]
