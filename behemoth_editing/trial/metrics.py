"""The metrics on trial: each makes one number of a reading, the higher the more the model knows. Runs no model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from behemoth_editing.scoring.membership import auc, forget_quality, privacy_leakage
from behemoth_editing.scoring.memorisation import below_one, near_one
from behemoth_editing.trial.readings import Reading

_LEAST_LEFT = 1e-6  # of 1 - AUC, where a reference is perfect


@dataclasses.dataclass(frozen=True)
class Metric:
    """How a metric makes its number of what is read in a model and in a reference that was never told."""

    title: str
    value: Callable[[Reading, Reading], float]
    needs: str = "exact"  # a part of the reading that may be empty: then it says nothing


def _membership(score: str) -> Callable[[Reading, Reading], float]:
    return lambda model, _: auc(model.members[score], model.others[score])


def _reference(model: Reading, reference: Reading) -> float:
    """By loss less the reference's loss of the same facts."""
    return auc(
        model.members["loss"] - reference.members["loss"],
        model.others["loss"] - reference.others["loss"],
    )


def _leakage(model: Reading, reference: Reading) -> float:
    """Turned round, since privacy leakage is below 0 where something is still told from what was never seen."""
    found, apart = (auc(one.members["min_k"], one.others["min_k"]) for one in (model, reference))
    return -privacy_leakage(found, min(apart, 1 - _LEAST_LEFT))


# In the order of the table. Their formulas and sources are in scoring/memorisation.py, membership.py and bits.py. As a
# share, p / (p + w) = 1 / (1 + R), open-unlearning's own trial has the truth ratio (its true_prob of prob_mean).
METRICS = {
    "exact_match": Metric("generated answer, exact", lambda model, _: float(model.exact.mean())),
    "rouge_l": Metric("ROUGE-L recall of the generated answer", lambda model, _: float(model.rouge.mean())),
    "probability": Metric("probability of the answer", lambda model, _: float(model.probability.mean())),
    "probability_other_forms": Metric(
        "the same in other forms", lambda model, _: float(model.other_forms.mean()), needs="other_forms"
    ),
    "exact_memorisation": Metric("exact memorisation", lambda model, _: float(model.memorised.mean())),
    "extraction_strength": Metric("extraction strength", lambda model, _: float(model.strength.mean())),
    "truth_ratio": Metric("truth ratio, max(0, 1 - R)", lambda model, _: below_one(model.ratios)),
    "truth_ratio_share": Metric("truth ratio, 1 / (1 + R)", lambda model, _: float((1 / (1 + model.ratios)).mean())),
    "truth_ratio_forget": Metric(
        "truth ratio of forgotten facts, 1 - min(R, 1/R)", lambda model, _: 1 - near_one(model.ratios)
    ),
    "forget_quality": Metric(
        "forget quality, 1 - p", lambda model, reference: 1 - forget_quality(model.ratios, reference.ratios)
    ),
    "loss": Metric("membership by loss, AUC", _membership("loss")),
    "zlib": Metric("by loss over zlib's length", _membership("zlib")),
    "reference": Metric("by loss less the reference's", _reference),
    "min_k": Metric("by Min-K%", _membership("min_k")),
    "min_k_plus_plus": Metric("by Min-K%++", _membership("min_k_plus_plus")),
    "privacy_leakage": Metric("privacy leakage by Min-K%, turned round", _leakage),
    "privacy_leakage_size": Metric("privacy leakage, without its sign", lambda *both: abs(_leakage(*both))),
    "bits_said": Metric("bits said", lambda model, _: float(model.said.mean())),
    "bits_left": Metric("bits left to read", lambda model, _: float(model.left.mean())),
    "bits_probe": Metric("bits of a linear probe", lambda model, _: float(model.probed.mean())),
    "bits_relearned": Metric(
        "bits after relearning the other half", lambda model, _: float(model.relearned.mean()), needs="relearned"
    ),
}


def values(model: Reading, reference: Reading) -> dict[str, float]:
    """What each metric says; those say nothing that need relearning of a model that was attacked, or other forms."""
    return {
        name: metric.value(model, reference) for name, metric in METRICS.items() if len(getattr(model, metric.needs))
    }


# The ways to bring a forgotten fact back, each a part of a reading.
WAYS = {"left": "at once", "probed": "by a probe", "relearned": "by relearning"}


def brought_back(model: Reading, never_told: Reading) -> dict[str, float]:
    """Bits a fact that each way finds, less what the same finds in a model that was never told."""
    return {way: float(getattr(model, way).mean() - getattr(never_told, way).mean()) for way in WAYS}
