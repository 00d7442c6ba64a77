"""What metrics are worth, on constructed readings and numbers, against brute force and hand-made cases."""

import dataclasses
import itertools

import numpy as np
import pytest
from scipy.stats import spearmanr

from behemoth_editing.trial.judging import NOTHING, ODD, REFERENCE, TOLD, UNTOLD
from behemoth_editing.trial.metrics import METRICS, brought_back, values
from behemoth_editing.trial.readings import SCORES, Reading
from behemoth_editing.trial.verdicts import (
    LEAST_KEPT,
    Judged,
    hardiness,
    judged,
    left_by,
    robustness,
    separation,
    verdicts,
)


def reading(knows, number=20, shift=0.0):
    """Of a model that knows this share of everything; the shift tells facts and models apart a little."""
    level = np.clip(knows + 0.02 * np.sin(np.arange(number) + shift), 0, 1)
    scores = dict.fromkeys(SCORES, 5 * (1 - level))
    others = dict.fromkeys(SCORES, 5 * (1 - 0.02 * np.cos(np.arange(number) + shift)))
    return Reading(
        exact=level.round(),
        rouge=level,
        probability=level,
        other_forms=level,
        memorised=level,
        strength=level,
        ratios=np.exp(3 - 6 * level),
        said=9 * level - 5,
        left=4 * level,
        probed=2 * level,
        relearned=3 * level[::2],
        inferable=np.zeros(number),
        inferable_relearned=np.zeros(number // 2),
        members=scores,
        others=others,
    )


def test_every_metric_says_more_of_who_knows_more():
    reference = reading(0.0, shift=5)
    said = [values(reading(knows), reference) for knows in (0.0, 1.0)]
    for name in METRICS:
        assert said[0][name] < said[1][name], name


def test_metrics_by_hand():
    knows, never = reading(1.0), reading(0.0, shift=5)
    known = values(knows, never)
    assert known["exact_match"] == 1
    assert known["loss"] == 1  # every member has less than every other
    assert known["bits_left_beyond"] == pytest.approx(knows.left.mean())
    beyond = dataclasses.replace(knows, inferable=np.full(20, 1.5))
    assert values(beyond, never)["bits_left_beyond"] == pytest.approx(knows.left.mean() - 1.5)
    assert values(beyond, never)["bits_left"] == known["bits_left"]
    ratios = knows.ratios
    assert known["truth_ratio"] == pytest.approx(np.maximum(0, 1 - ratios).mean())
    assert known["truth_ratio_forget"] == pytest.approx(1 - np.minimum(ratios, 1 / ratios).mean())
    # Pushed below all others is not forgotten, by the measure for forgotten facts.
    hidden = values(dataclasses.replace(knows, ratios=1 / ratios), never)
    assert hidden["truth_ratio"] == 0
    assert hidden["truth_ratio_forget"] == pytest.approx(known["truth_ratio_forget"])
    assert "bits_relearned" not in values(dataclasses.replace(knows, relearned=np.empty(0)), never)


def test_what_a_world_has_no_other_forms_for_is_not_said(worlds):
    bare = dataclasses.replace(reading(1.0), other_forms=np.empty(0))
    assert "probability_other_forms" not in values(bare, reading(0.0))
    few = [dataclasses.replace(one, said={key: {"loss": 0.5} for key in one.said}) for one in worlds]
    (found,) = verdicts(few)
    # It says the same of all: there is no scale, and nothing to rank by.
    assert (found.name, found.apart.value, found.odd, found.unlearned, found.rounding) == ("loss", 0.5, {}, None, None)
    assert found.agreement.value == 0


def test_privacy_leakage_has_a_number_where_the_reference_tells_everything_apart():
    assert np.isfinite(values(reading(1.0), reading(1.0))["privacy_leakage"])


def test_what_is_brought_back_is_beyond_the_never_told():
    never, knows = reading(0.0), reading(1.0)
    found = brought_back(knows, never)
    for way in ("left", "probed", "relearned"):
        assert found[way] == pytest.approx((getattr(knows, way) - getattr(never, way)).mean())
    assert set(brought_back(never, never).values()) == {0.0}


def test_separation_is_the_share_of_pairs_and_flawless_is_not_certain():
    told, untold = np.array([3.0, 1.0, 2.0]), np.array([0.0, 2.0, 1.0])
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a, b in itertools.product(told, untold)]
    assert separation(told, untold).value == pytest.approx(np.mean(pairs))
    flawless = separation(np.arange(30) + 100.0, np.arange(30.0))
    assert (flawless.value, flawless.high, flawless.count) == (1.0, 1.0, 30)
    assert flawless.low == pytest.approx(0.025 ** (1 / 30))  # Clopper and Pearson, 30 of 30
    assert separation(untold, untold).value == 0.5


def test_robustness_by_hand():
    assert robustness(0.2, 0.8) == pytest.approx(0.25)  # the unlearned model regains four times as much
    assert robustness(0.2, 0.1) == 1  # it learns slower than who never knew
    assert robustness(0.2, -0.3) == 1
    assert robustness(-0.1, 0.5) == 0
    assert hardiness(0.1, 0.4) == pytest.approx(0.25)
    assert hardiness(0.4, 0.1) == 1
    assert hardiness(-0.2, 0.3) == 0  # below an untold model, and back
    assert hardiness(-0.2, -0.1) == 1


def world(number, family="plain", kept=1.0):
    """A world in which `npo` hides half of what it does not say."""
    back = {"none": 0.1, "relearn": 0.9, "round_4": 0.3}
    rows = [
        *((TOLD, change, "none", 1.0) for change in (NOTHING, *ODD)),
        *((UNTOLD, change, "none", 0.0) for change in (NOTHING, *ODD)),
        *((UNTOLD, NOTHING, attack, 0.2 if attack == "relearn" else 0.0) for attack in ("relearn", "round_4")),
        *((TOLD, "npo", attack, knows + 0.01 * number) for attack, knows in back.items()),
        (REFERENCE, NOTHING, "none", 0.0),
    ]
    return {
        "name": f"{family}-{number}",
        "family": family,
        "rows": [
            {
                "model": model,
                "change": change,
                "attack": attack,
                "kept": kept,
                "reading": dataclasses.replace(
                    found := reading(knows, shift=number + (9 if model == REFERENCE else 0)),
                    relearned=found.relearned if attack == "none" else np.empty(0),
                ).as_json(),
            }
            for model, change, attack, knows in rows
        ],
    }


@pytest.fixture(scope="module")
def worlds():
    return [judged(world(number, family)) for number, family in enumerate(["plain", "plain", "nested", "nested"])]


def test_verdicts_say_what_was_built_in(worlds):
    found = {one.name: one for one in verdicts(worlds)}
    assert list(found) == list(METRICS)
    one = found["probability"]
    assert (one.apart.value, one.apart.count) == (1.0, 4)
    assert {family: interval.count for family, interval in one.by_family.items()} == {"plain": 2, "nested": 2}
    assert one.odd[TOLD, "refusing"] == pytest.approx(1, abs=0.03)
    assert one.odd[UNTOLD, "refusing"] == pytest.approx(0, abs=0.03)
    # 0.1 to 0.13 of the way at once; an untold model gains 0.2 and these 0.8, and rounding gives back 0.3.
    assert one.unlearned.value == pytest.approx(0.115, abs=0.03)
    assert one.relearn.value == pytest.approx(0.25, abs=0.03)
    assert 0.2 < one.rounding.value < 0.5
    assert found["bits_relearned"].relearn is None
    assert found["bits_relearned"].unlearned is not None


def test_agreement_is_spearmans_over_all_unlearned_models(worlds):
    (said,) = [[one.said[TOLD, "npo", "none"]["probability"] for one in worlds]]
    back = [max(one.back[TOLD, "npo", "none"].values()) for one in worlds]
    (found,) = [one.agreement for one in verdicts(worlds) if one.name == "probability"]
    assert found.value == pytest.approx(spearmanr(said, back).statistic)
    assert found.count == 4


def test_bits_left_are_told_by_method_and_family(worlds):
    found = left_by(worlds)
    assert set(found) == {(change, family) for change in (NOTHING, "npo") for family in ("plain", "nested")}
    told = [one.back[TOLD, "npo", "none"]["probed"] for one in worlds if one.family == "nested"]
    assert found["npo", "nested"]["probed"].value == pytest.approx(np.mean(told))
    assert found["npo", "nested"]["probed"].count == 2
    # A t of two models has one degree of freedom: 12.71 errors on each side.
    error = np.std(told, ddof=1) / np.sqrt(2)
    assert found["npo", "nested"]["probed"].high == pytest.approx(np.mean(told) + 12.706 * error, rel=1e-3)


def test_a_model_that_lost_the_rest_too_does_not_count():
    ruined = [judged(world(number, kept=LEAST_KEPT - 0.01)) for number in range(2)]
    found = verdicts(ruined)[0]
    assert (found.unlearned, found.relearn, found.agreement) == (None, None, None)
    assert found.apart.value == 1


def test_what_cannot_be_judged_is_refused(worlds):
    with pytest.raises(ValueError, match="worlds must be at least 2 for a trial, got 1"):
        verdicts(worlds[:1])
    cut = world(0)
    cut["rows"].pop()
    with pytest.raises(ValueError, match="rows must have those of untold and reference, got .* plain-0"):
        judged(cut)
    assert isinstance(worlds[0], Judged)
