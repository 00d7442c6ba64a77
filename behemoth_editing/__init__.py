"""Edit the knowledge of a language model and measure what changed that should have and what should not."""

from __future__ import annotations

from behemoth_editing.finetune import FineTune
from behemoth_editing.lora import Lora
from behemoth_editing.method import Edited, EditMethod, Shared
from behemoth_editing.rome import Rome

METHODS: dict[str, type[EditMethod]] = {"finetune": FineTune, "lora": Lora, "rome": Rome}

__all__ = ["METHODS", "EditMethod", "Edited", "FineTune", "Lora", "Rome", "Shared"]
