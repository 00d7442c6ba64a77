"""What metrics are worth, on constructed readings and numbers, against brute force and hand-made cases."""

import dataclasses
import itertools

import numpy as np
import pytest

from behemoth_editing.trial.judging import NOTHING, REFERENCE, TOLD, UNTOLD
from behemoth_editing.trial.metrics import METRICS, brought_back, values
from behemoth_editing.trial.page import figure, markdown
from behemoth_editing.trial.readings import SCORES, Reading
from behemoth_editing.trial.verdicts import (
    LEAST_KEPT,
    hardiness,
    judged,
    left_by,
    robustness,
    separation,
    threshold,
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
    assert known["bits_left"] == pytest.approx(knows.left.mean())
    ratios = knows.ratios
    # p of the right answer over that and the mean of wrong ones, whose ratio is R
    assert known["truth_ratio_share"] == pytest.approx(np.mean([1 / (1 + ratio) for ratio in ratios]))
    shunned = dataclasses.replace(knows, members={name: 2 * 5 + of for name, of in knows.members.items()})
    assert values(shunned, never)["privacy_leakage"] < 0
    assert values(shunned, never)["privacy_leakage_size"] == -values(shunned, never)["privacy_leakage"]
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
    few = [dataclasses.replace(one, said={key: {"exact_match": 0.6} for key in one.said}) for one in worlds]
    (found,) = verdicts(few)
    # It says the same of all: there is no scale, and nothing to rank by.
    assert (found.name, found.apart.value, found.own.value, found.odd) == ("exact_match", 0.5, 0.5, {})
    assert found.unlearned is found.relearn is found.rounding is found.agreement is None


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


# How much of everything is known where, beside the told and the untold model's 1 and 0.
KNOWS = {
    (TOLD, "scrambled", "none"): 0.2,
    (TOLD, "noised", "none"): 0.0,
    (TOLD, "refusing", "none"): 0.8,
    (TOLD, "elsewhere", "none"): 0.95,
    (UNTOLD, "scrambled", "none"): 0.05,
    (UNTOLD, "noised", "none"): 0.0,
    (UNTOLD, "refusing", "none"): 0.0,
    (UNTOLD, "elsewhere", "none"): 0.1,
    (UNTOLD, NOTHING, "relearn"): 0.2,
    (UNTOLD, NOTHING, "round_4"): 0.0,
}
# Of each method what it says it knows, and what is there for who relearns; after relearning and rounding.
METHODS = {"npo": (0.1, 0.5, 0.9, 0.3), "rmu": (0.2, 0.4, 0.9, 0.2), "pdu": (0.3, 0.9, 0.9, 0.3)}


def row(key, knows, kept=1.0, back=None):
    found = reading(knows, shift=9 if key[0] == REFERENCE else 0)
    relearned = np.empty(0) if key[2] != "none" else found.relearned if back is None else reading(back).relearned
    found = dataclasses.replace(found, relearned=relearned)
    model, change, attack = key
    return {"model": model, "change": change, "attack": attack, "kept": kept, "reading": found.as_json()}


def world(name, family="plain", kept=1.0, knows=None):
    """A world in which three methods say less than is there."""
    rows = [row((TOLD, NOTHING, "none"), 1.0), row((UNTOLD, NOTHING, "none"), 0.0)]
    rows += [row(key, level) for key, level in {**KNOWS, **(knows or {})}.items()]
    for method, (said, back, relearn, rounded) in METHODS.items():
        rows.append(row((TOLD, method, "none"), said, kept, back))
        rows += [row((TOLD, method, attack), v) for attack, v in (("relearn", relearn), ("round_4", rounded))]
    rows.append(row((REFERENCE, NOTHING, "none"), 0.0))
    return {"name": name, "family": family, "rows": rows}


@pytest.fixture(scope="module")
def worlds():
    return [judged(world(f"{family}-{i}", family)) for family in ("plain", "nested") for i in range(2)]


def test_verdicts_say_what_was_built_in(worlds):
    found = {one.name: one for one in verdicts(worlds)}
    assert list(found) == list(METRICS)
    one = found["probability"]
    assert (one.apart.value, one.apart.count) == (one.own.value, one.own.count) == (1.0, 4)
    assert one.own.low == pytest.approx(0.025**0.25)  # four of four
    assert one.by_family == {"plain": 1.0, "nested": 1.0}
    assert (one.untold, one.told) == pytest.approx((0.0, 1.0), abs=0.02)
    for key, level in KNOWS.items():
        if key[2] == "none":
            assert one.odd[key[:2]].value == pytest.approx(level, abs=0.03), key
    assert one.unlearned.value == pytest.approx(0.2, abs=0.03)
    assert one.gain.value == pytest.approx(0.2, abs=0.03)
    assert one.gone == 12
    # An untold model gains 0.2, these 0.8, 0.7 and 0.6; rounding brings 0.1 to 0.3, and nothing to the others.
    assert one.relearn.value == pytest.approx(np.mean([0.2 / 0.8, 0.2 / 0.7, 0.2 / 0.6]), abs=0.03)
    assert one.rounding.value == pytest.approx(np.mean([0.1 / 0.3, 1, 1]), abs=0.05)
    assert found["bits_relearned"].relearn is found["bits_relearned"].gain is None
    assert found["bits_relearned"].unlearned is not None


def test_agreement_is_within_worlds(worlds):
    # Said 0.1, 0.2, 0.3 of what can be brought back 0.5, 0.4, 0.9 of: ranks 1 2 3 against 2 1 3, whose rho is 0.5.
    (one,) = [found for found in verdicts(worlds) if found.name == "probability"]
    assert one.agreement.value == pytest.approx(0.5)
    assert one.agreement.low <= 0.5 <= one.agreement.high
    # A world in which all is larger by as much does not make a metric agree.
    moved = [
        dataclasses.replace(
            one,
            said={key: {name: value + 10 for name, value in of.items()} for key, of in one.said.items()},
            back={key: {way: value + 10 for way, value in of.items()} for key, of in one.back.items()},
        )
        for one in worlds[:2]
    ]
    (again,) = [found for found in verdicts([*worlds, *moved]) if found.name == "probability"]
    assert again.agreement.value == pytest.approx(0.5)


def test_threshold_tells_most_models_rightly():
    told, untold = np.array([0.4, 0.6, 0.8]), np.array([0.1, 0.5, 0.2])
    bound = threshold(told, untold)
    assert bound == pytest.approx(0.3)  # one of six on the wrong side; of 0.3 and 0.55 the lower
    assert threshold(np.array([1.0, 2.0]), np.array([0.0, 0.5])) == 0.75


def test_robustness_is_of_models_that_pass_for_untold_alone(worlds):
    # One method's model says nearly all: it is not called gone, and not asked.
    (one,) = [v for v in verdicts(_with(worlds, {"pdu": 0.9})) if v.name == "probability"]
    assert one.gone == 8
    assert one.relearn.value == pytest.approx(np.mean([0.2 / 0.8, 0.2 / 0.7]), abs=0.03)
    # Two methods' do: too few are left to be told of.
    (one,) = [v for v in verdicts(_with(worlds, {"pdu": 0.9, "rmu": 0.9})) if v.name == "probability"]
    assert (one.gone, one.relearn, one.rounding) == (4, None, None)


def _with(worlds, said):
    """The worlds with other probabilities of these methods at once."""
    changed = []
    for one in worlds:
        replaced = {
            (TOLD, method, "none"): {**one.said[TOLD, method, "none"], "probability": v} for method, v in said.items()
        }
        changed.append(dataclasses.replace(one, said={**one.said, **replaced}))
    return changed


def test_worlds_whose_told_model_hardly_knows_give_no_scale(worlds):
    said = {**worlds[0].said, (TOLD, NOTHING, "none"): {**worlds[0].said[TOLD, NOTHING, "none"], "exact_match": 0.4}}
    unknown = dataclasses.replace(worlds[0], said=said)
    assert not unknown.known
    (one,) = [v for v in verdicts([unknown, *worlds[1:]]) if v.name == "probability"]
    assert one.gone == 9
    assert one.odd[TOLD, "refusing"].count == 3
    assert one.apart.count == 4


def test_bits_left_are_told_by_method_and_family(worlds):
    found = left_by(worlds)
    assert set(found) == {(change, family) for change in (NOTHING, *METHODS) for family in ("plain", "nested")}
    told = [one.back[TOLD, "npo", "none"]["relearned"] for one in worlds if one.family == "nested"]
    assert found["npo", "nested"]["relearned"].value == pytest.approx(np.mean(told)) == pytest.approx(1.5, abs=0.05)
    assert found["npo", "nested"]["relearned"].count == 2


def test_a_model_that_lost_the_rest_too_does_not_count():
    ruined = [judged(world(f"plain-{number}", kept=LEAST_KEPT - 0.01)) for number in range(2)]
    found = verdicts(ruined)[0]
    assert (found.unlearned, found.relearn, found.agreement, found.gone) == (None, None, None, 0)
    assert found.apart.value == 1


def test_page_has_a_row_for_every_metric_in_each_table(worlds):
    found = verdicts(worlds)
    text = markdown(found, worlds)
    for one in METRICS.values():
        assert text.count(f"| {one.title} |") == 3, one.title
    assert "(npo 4, rmu 4, pdu 4)" in text
    assert "plain 0.00 and " in text
    assert figure(found, worlds).startswith("<svg ")


def test_what_cannot_be_judged_is_refused(worlds):
    with pytest.raises(ValueError, match="worlds must be at least 2 for a trial, got 1"):
        verdicts(worlds[:1])
    cut = world("plain-0")
    cut["rows"].pop()
    with pytest.raises(ValueError, match="rows must have those of untold and reference, got .* plain-0"):
        judged(cut)
