"""Edit the knowledge of a language model and measure what changed that should have and what should not."""

from __future__ import annotations

from behemoth_data.extras import need

need("behemoth_editing", "editing")

from behemoth_editing.checkpoint import Checkpoint, load_checkpoint
from behemoth_editing.methods import METHODS
from behemoth_editing.methods.constrain import Pdu
from behemoth_editing.methods.contract import Edited, EditMethod, Shared
from behemoth_editing.methods.finetune import FineTune, FineTuneConstrained
from behemoth_editing.methods.lora import Lora
from behemoth_editing.methods.memit import AlphaEdit, Emmet, Memit, Sphere
from behemoth_editing.methods.noise import Undo
from behemoth_editing.methods.outside import check_method, method_named
from behemoth_editing.methods.redirect import Ceu, Undial
from behemoth_editing.methods.retrain import Omit, Retrain
from behemoth_editing.methods.reweigh import SatImp, Wga
from behemoth_editing.methods.rome import Rome, RRome
from behemoth_editing.methods.ultraedit import UltraEdit
from behemoth_editing.methods.unlearn import GradDiff, GradientAscent, Npo, Refusal, Rmu, SimNpo
from behemoth_editing.sweep.elsewhere import Maker
from behemoth_editing.toolkit import Scored, draw, edit_fact, report_on, save_edited, score

__all__ = [
    "METHODS",
    "AlphaEdit",
    "Ceu",
    "Checkpoint",
    "EditMethod",
    "Edited",
    "Emmet",
    "FineTune",
    "FineTuneConstrained",
    "GradDiff",
    "GradientAscent",
    "Lora",
    "Maker",
    "Memit",
    "Npo",
    "Omit",
    "Pdu",
    "RRome",
    "Refusal",
    "Retrain",
    "Rmu",
    "Rome",
    "SatImp",
    "Scored",
    "Shared",
    "SimNpo",
    "Sphere",
    "UltraEdit",
    "Undial",
    "Undo",
    "Wga",
    "check_method",
    "draw",
    "edit_fact",
    "load_checkpoint",
    "method_named",
    "report_on",
    "save_edited",
    "score",
]
