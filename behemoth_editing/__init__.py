"""Edit the knowledge of a language model and measure what changed that should have and what should not."""

from __future__ import annotations

from behemoth_editing.finetune import FineTune
from behemoth_editing.lora import Lora
from behemoth_editing.memit import AlphaEdit, Emmet, Memit
from behemoth_editing.method import Edited, EditMethod, Shared
from behemoth_editing.retrain import Retrain
from behemoth_editing.rome import Rome, RRome

METHODS: dict[str, type[EditMethod]] = {
    "finetune": FineTune,
    "lora": Lora,
    "rome": Rome,
    "r_rome": RRome,
    "memit": Memit,
    "emmet": Emmet,
    "alphaedit": AlphaEdit,
    "retrain": Retrain,
}

__all__ = [
    "METHODS",
    "AlphaEdit",
    "EditMethod",
    "Edited",
    "Emmet",
    "FineTune",
    "Lora",
    "Memit",
    "RRome",
    "Retrain",
    "Rome",
    "Shared",
]
