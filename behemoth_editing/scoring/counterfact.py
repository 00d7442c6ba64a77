"""What CounterFact's authors and EasyEdit count of an edit, as their code counts it. Reads numbers; runs no model.

All of it compares two given answers or forces the right beginning of one: a model may pass and say neither. What ours
counts instead is what a model generates (outcomes.py).
Axis letters: n prompts of one edit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import hmean

from behemoth_data.settings import check
from behemoth_editing.scoring.memorisation import Floats, exact_memorisation


def efficacy(new: ArrayLike, true: ArrayLike) -> float:
    """The share of an edit's prompts after which the new answer has a lower loss than the true one, ties lost.

    Losses [n] are the mean negative log-likelihood per token of either answer. Of paraphrases it is what they call
    paraphrase success.
    Source: Meng et al., "Locating and editing factual associations in GPT", 2022 (ES, PS), and their
    experiments/summarize.py (rewrite_prompts_probs, paraphrase_prompts_probs) and eval_utils_counterfact.py.
    Raises: ValueError for no prompt, or losses of unequal number.
    """
    changed, held = _losses(new, true)
    return float((held > changed).mean())


def magnitude(new: ArrayLike, true: ArrayLike) -> float:
    """The mean of exp(-loss) of the new answer less that of the true one, from losses [n].

    Source: Meng et al., 2022 (EM, PM), and their experiments/summarize.py.
    Raises: ValueError for no prompt, or losses of unequal number.
    """
    changed, held = _losses(new, true)
    return float((np.exp(-changed) - np.exp(-held)).mean())


def specificity(new: ArrayLike, true: ArrayLike) -> float:
    """The share of neighbouring prompts after which the true answer has a lower loss than the edit's new one.

    The neighbours are other subjects that have the edited fact's true object. Whether the model says it is not asked.
    Source: Meng et al., 2022 (NS), and their experiments/summarize.py (neighborhood_prompts_probs).
    Raises: ValueError for no prompt, or losses of unequal number.
    """
    changed, held = _losses(new, true)
    return float((held < changed).mean())


def editing_score(efficacy: float, paraphrase: float, specificity: float) -> float:
    """The harmonic mean of the three, 0 where one of them is.

    Source: Meng et al., 2022 (S), and their experiments/summarize.py.
    Raises: ValueError for what is no share.
    """
    parts = {"efficacy": efficacy, "paraphrase": paraphrase, "specificity": specificity}
    for name, value in parts.items():
        check(0 <= value <= 1, f"{name} must be from 0 to 1, got {value}")
    return float(hmean(list(parts.values()))) if min(parts.values()) > 0 else 0.0


def portability(predicted: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]) -> float:
    """The mean over prompts of the share of the answer's tokens that are the likeliest, teacher-forced.

    The prompts ask what follows from an edit, such as a second step from its new object.
    Source: Yao et al., "Editing large language models: problems, methods, and opportunities", 2023, and
    EasyEdit's easyeditor/evaluate/evaluate.py (compute_portability_quality) and evaluate_utils.py
    (test_prediction_acc).
    Raises: ValueError for no prompt, or predictions of another number or length.
    """
    check(len(answers) > 0, "answers must hold at least 1 answer, got 0")
    check(len(predicted) == len(answers), f"predicted must hold {len(answers)} answers, got {len(predicted)}")
    return float(np.mean([exact_memorisation(*pair) for pair in zip(predicted, answers, strict=True)]))


def _losses(new: ArrayLike, true: ArrayLike) -> tuple[Floats, Floats]:
    changed, held = np.asarray(new, np.float64), np.asarray(true, np.float64)
    check(changed.ndim == 1 and len(changed) > 0, f"new must hold at least 1 loss, got shape {changed.shape}")
    check(held.shape == changed.shape, f"true must have the shape of new, {changed.shape}, got {held.shape}")
    return changed, held
