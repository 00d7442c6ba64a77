"""Every section of a recipe, by its name: what it is about, and which dataclass its fields are.

No import here takes time: a help page names every section, and loads none but the one that it explains.
"""

from __future__ import annotations

import dataclasses
import pkgutil


@dataclasses.dataclass(frozen=True)
class Section:
    """A section's name in words, and its dataclass, or the place "module:name" where that is."""

    help: str
    settings: str | type
    swept: bool = False  # whether every field takes a list of values, of which all combinations are made

    def load(self) -> type:
        """The dataclass, whose module is imported now if it was not before."""
        found: type = pkgutil.resolve_name(self.settings) if isinstance(self.settings, str) else self.settings
        return found


SHARED = {
    "world": Section("which facts there are: subjects, relations, objects, structure", "behemoth_data:WorldConfig"),
    "lexicon": Section("the words that facts are told in", "behemoth_data:LexiconConfig"),
    "corpus": Section("how often and in which forms a fact is told", "behemoth_data:CorpusConfig"),
    "edits": Section("edit sets of the dataset's _edits configs", "behemoth_cli.edit_sets:EditsArguments"),
    "train": Section("how a model is trained", "behemoth_models:TrainConfig"),
    "sweep": Section("how edits are drawn and what is asked about them", "behemoth_cli.edit:SweepArguments"),
}


def _method(name: str, help: str) -> Section:
    return Section(help, f"behemoth_editing:{name}", swept=True)


# One for every entry of METHODS, which is not read here, since it comes with torch; a test compares them.
METHOD_SECTIONS = {
    "finetune": _method("FineTune", "training of all weights, or of chosen matrices"),
    "finetune_constrained": _method("FineTuneConstrained", "the same, no weight moving further than max_change"),
    "lora": _method("Lora", "training of low-rank additions to chosen matrices"),
    "rome": _method("Rome", "a rank-one change of one MLP matrix; p-ROME unless num_contexts is set"),
    "r_rome": _method("RRome", "ROME with one averaged key, for models trained on packed sentences"),
    "memit": _method("Memit", "least squares for all edits at once, over several layers"),
    "emmet": _method("Emmet", "the same with equality constraints"),
    "alphaedit": _method("AlphaEdit", "the same in directions that other facts hardly use"),
    "sphere": _method("Sphere", "alphaedit with less change along a matrix's own principal directions"),
    "ultraedit": _method("UltraEdit", "one step from keys and gradients, without statistics of the corpus"),
    "gradient_ascent": _method("GradientAscent", "forgetting by ascent on the old answers"),
    "grad_diff": _method("GradDiff", "the same, while retained answers are trained"),
    "npo": _method("Npo", "forgetting by negative preference optimisation"),
    "simnpo": _method("SimNpo", "the same without a reference model"),
    "rmu": _method("Rmu", "forgetting by misdirected hidden states"),
    "undial": _method("Undial", "forgetting by self-distillation with the old answers' logits lowered"),
    "ceu": _method("Ceu", "forgetting towards what the model says without the old answers"),
    "wga": _method("Wga", "forgetting by ascent on what is still likely"),
    "satimp": _method("SatImp", "the same, leaving alone for long what is nearly certain"),
    "pdu": _method("Pdu", "forgetting by flat logits, as far as what is retained allows"),
    "undo": _method("Undo", "forgetting taught to a noised copy, so that it lasts"),
    "refusal": _method("Refusal", "training to refuse"),
    "retrain": _method("Retrain", "training from the start on the changed world"),
    "omit": _method("Omit", "training from the start without what is to be forgotten"),
}


def _attack(name: str, help: str) -> Section:
    return Section(help, f"behemoth_editing.attacks:{name}", swept=True)


# One for every entry of ATTACKS, in the same way.
ATTACK_SECTIONS = {
    "at_once": _attack("AtOnce", "no attack: the edited prompts"),
    "relearn": _attack("Relearn", "training on half of the edited facts"),
    "relearn_retained": _attack("RelearnRetained", "training on facts that were to be kept"),
    "round": _attack("Round", "weights rounded to few bits"),
    "prune": _attack("Prune", "the smallest weights set to zero"),
    "forms": _attack("Forms", "the edited facts in other forms"),
    "hint": _attack("Hint", "other facts of the relation before the prompt"),
    "probe": _attack("Probe", "a linear probe of every layer"),
    "sample": _attack("Sample", "many answers at a temperature"),
}

SECTIONS = {**SHARED, **METHOD_SECTIONS, **ATTACK_SECTIONS}


def sections(*names: str) -> dict[str, Section]:
    """The sections of these names, in this order."""
    return {name: SECTIONS[name] for name in names}
