"""Facts about intervals and scores, checked against closed forms and by hand; their coverage has a file of its own."""

import json
import math

import numpy as np
import pytest
from scipy import stats

from behemoth_data.kinds import KINDS
from behemoth_data.rng import Stream
from behemoth_data.world import STRUCTURES
from behemoth_editing.metrics.collateral_accuracy.collateral_accuracy import collateral_accuracy
from behemoth_editing.metrics.ripple.ripple import ripple
from behemoth_editing.report.pooling import group_rows, paired_difference, summarise
from behemoth_editing.scoring.intervals import (
    PRIOR,
    Apart,
    Columns,
    Design,
    Interval,
    estimate_difference,
    estimate_mean,
    estimate_share,
    holm,
    p_value,
    pooled_design,
)
from behemoth_editing.scoring.scores import EVERYWHERE, MIN_FACTS, Sample, designs_of, score_units


def approx(value, low, high, count):
    return Interval(*(pytest.approx(x, abs=1e-12) for x in (value, low, high)), count)


def t(df, level=0.95):
    return stats.t.ppf((1 + level) / 2, df)


def exact(hits, size, level=0.95):
    """Clopper and Pearson's interval of any number of answers, whole or not."""
    tail = (1 - level) / 2
    low = stats.beta.ppf(tail, hits, size - hits + 1) if hits else 0.0
    return low, stats.beta.ppf(1 - tail, hits + 1, size - hits) if hits < size else 1.0


# shares


def test_the_value_is_a_mean_over_columns_of_ratios_of_sums():
    found = estimate_share([[1, 0, 0], [2, 4, 0]], [[2, 4, 0], [4, 4, 0]], ["a", "b"])
    assert found.value == pytest.approx(((1 + 2) / (2 + 4) + (0 + 4) / (4 + 4)) / 2)
    assert found.count == 2 + 4 + 4 + 4
    assert found.size == pytest.approx(4 / (1 / 6 + 1 / 8))


def test_the_interval_holds_the_value():
    for case in range(30):
        counts = Stream(case, "counts").integers(np.arange(8).reshape(4, 2), 6)
        interval = estimate_share(counts, np.full((4, 2), 5), [0, 0, 1, 1]).at()
        assert 0 <= interval.low <= interval.value <= interval.high <= 1


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_one_share_is_korn_and_graubards_by_hand(level):
    right, asked = [3, 9, 8, 10], 10  # four models, ten edits each: 30 of 40
    found = estimate_share([[one] for one in right], [[asked]] * 4, "abcd")
    error = sum((one - 7.5) ** 2 for one in right) / 40**2 * 4 / 3
    own, weight = error / (0.75 * 0.25 / 40), 10 / (10 + PRIOR)
    effect = weight * own + (1 - weight) * 1
    size = 40 / effect * (t(39, level) / t(3, level)) ** 2
    assert (found.effect, found.df) == (pytest.approx(own), 3)
    assert found.effective_size(level) == pytest.approx(size)
    assert found.at(level) == approx(0.75, *exact(0.75 * size, size, level), 40)


def test_of_one_model_the_clusters_are_its_edits():
    one = estimate_share([[1], [0], [1], [1]], [[1]] * 4, ["a"] * 4)
    assert one == estimate_share([[1], [0], [1], [1]], [[1]] * 4, ["a", "b", "c", "d"])


def test_twenty_edits_of_twenty_do_not_prove_certainty():
    assert estimate_share([[1]] * 20, [[1]] * 20, [0] * 20).at() == approx(1, 0.025 ** (1 / 20), 1, 20)
    assert estimate_share([[0]] * 20, [[1]] * 20, [0] * 20).at() == approx(0, 0, 1 - 0.025 ** (1 / 20), 20)


def test_a_single_edit_says_little():
    interval = estimate_share([[9]], [[10]], [0]).at()
    assert interval.low < 0.05
    assert interval.high > 0.99


def test_units_without_a_probe_are_no_evidence():
    alone = estimate_share([[1]] * 3, [[1]] * 3, "abc")
    assert estimate_share([[1]] * 3 + [[0]] * 9, [[1]] * 3 + [[0]] * 9, list("abc") * 4) == alone


def test_more_answers_never_count_than_there_are():
    even = estimate_share([[5]] * 10, [[10]] * 10, range(10))  # a design effect of 0
    assert even.effective_size() == 100


def test_models_that_differ_widen_the_interval_and_more_draws_of_them_do_not_narrow_it():
    counts = [[9], [10], [9], [10], [1], [0], [1], [0]]
    alike = estimate_share([[5]] * 8, [[10]] * 8, [0, 0, 0, 0, 1, 1, 1, 1]).at()
    apart = estimate_share(counts, [[10]] * 8, [0, 0, 0, 0, 1, 1, 1, 1]).at()
    assert apart.low < 0.1 < alike.low < alike.high < 0.9 < apart.high
    again = estimate_share(counts * 5, [[10]] * 40, [0, 0, 0, 0, 1, 1, 1, 1] * 5).at()
    assert again.high - again.low > 0.9 * (apart.high - apart.low)


# the design effect of a kind of cell


def test_the_design_effect_of_a_kind_of_cell_is_the_mean_over_methods_that_have_misses():
    asked = np.full((3, 1), 10.0)
    rows = [np.array([[float(one)] for one in right]) for right in ([8, 9, 10], [2, 9, 10], [10, 10, 10])]
    samples = [(Columns(row, asked), "abc") for row in rows]
    own = [estimate_share(*columns, models).effect for columns, models in samples]
    found = pooled_design(samples)
    assert found.effect == pytest.approx((own[0] + own[1]) / 2)
    moved = np.array([[-1, 0, 1], [-5, 2, 3]]) / np.array([[math.sqrt(0.9 * 0.1)], [math.sqrt(0.7 * 0.3)]])
    covariance = moved @ moved.T
    assert found.df == pytest.approx(2 * np.trace(covariance) ** 2 / np.trace(covariance @ covariance))
    assert pooled_design(samples[2:]) is None


def test_methods_that_fail_in_the_same_models_are_worth_one():
    asked, row = np.full((4, 1), 10.0), np.array([[10.0], [10.0], [9.0], [5.0]])
    assert pooled_design([(Columns(row, asked), "abcd")] * 6).df == pytest.approx(3)


def test_a_design_effect_of_models_says_nothing_of_the_edits_of_one():
    design = Design(30.0, 5.0, of_models=True)
    assert estimate_share([[5], [4]], [[5], [5]], "aa", design).design is None
    assert estimate_share([[5], [4]], [[5], [5]], "ab", design).design is design


@pytest.mark.parametrize("effect", [0.5, 1, 3, 10])
@pytest.mark.parametrize("models", [3, 5, 15])
def test_the_better_score_does_not_look_the_less_certain(models, effect):
    """370 of 370 beside 368 of 370, however the misses lie."""
    asked = [[370 // models]] * (models - 1) + [[370 - 370 // models * (models - 1)]]
    design = Design(effect, models - 1.0, of_models=True)

    def width(missed, design):
        right = [[count[0] - missed.get(model, 0)] for model, count in enumerate(asked)]
        interval = estimate_share(right, asked, range(models), design).at()
        return interval.high - interval.low

    for design_or_none in (design, None):
        flawless = width({}, design_or_none)
        assert flawless <= min(width({0: 1, 1: 1}, design_or_none), width({0: 2}, design_or_none))


def test_a_flawless_cell_of_370_facts_is_as_certain_as_a_flawless_cell_can_be():
    flawless = estimate_share([[37]] * 10, [[37]] * 10, [0] * 10).at()
    nearly = estimate_share([[37]] * 8 + [[36]] * 2, [[37]] * 10, [0] * 10).at()
    assert round(nearly.value, 3) == 0.995
    assert flawless.low > 0.98
    assert flawless.high - flawless.low < nearly.high - nearly.low


# differences, means, tests


def test_a_difference_is_a_paired_t_on_model_means_with_one_answer_gained_and_one_lost():
    moved = [[2], [-1], [0], [1]]
    found = estimate_difference(moved, [[10]] * 4, "abcd")
    squares = np.var([0.2, -0.1, 0.0, 0.1], ddof=1) / 4 + 2 / 40**2
    reach = t(3) * math.sqrt(squares)
    assert found.at() == approx(0.05, 0.05 - reach, 0.05 + reach, 40)


def test_agreement_is_no_certainty():
    reach = t(14) * math.sqrt(2) / 150
    assert estimate_difference([[0]] * 15, [[10]] * 15, range(15)).at() == approx(0, -reach, reach, 150)
    assert estimate_difference([[0]], [[10]], "a").at() == approx(0, -1, 1, 10)


def test_a_mean_is_a_t_on_model_means_within_its_bounds():
    found = estimate_mean([1.0, 3.0, 2.0, 2.0, 4.0, 6.0], "aabbcc").at()
    means = np.array([2.0, 2.0, 5.0])
    reach = t(2) * math.sqrt(means.var(ddof=1) / 3)
    assert found == approx(3, 3 - reach, 3 + reach, 6)
    assert estimate_mean([0.9, 1.0], "ab", 0.0, 1.0).at().high == 1.0
    alone = estimate_mean([3.0], "a").at()
    assert (alone.low, alone.high) == (-math.inf, math.inf)


def test_the_difference_of_two_shares_of_different_models_is_made_of_their_intervals():
    a, b = (estimate_share([[one] for one in right], [[10]] * 3, "abc") for right in ([9, 8, 10], [5, 5, 6]))
    found, x, y = Apart(a, b).at(0.9), a.at(0.9), b.at(0.9)
    low = math.hypot(x.value - x.low, y.high - y.value)
    high = math.hypot(x.high - x.value, y.value - y.low)
    assert found == approx(x.value - y.value, x.value - y.value - low, x.value - y.value + high, 60)


def test_a_p_value_is_where_the_interval_begins_to_lie_beyond_the_bound():
    found = estimate_difference([[3], [2], [1], [4]], [[10]] * 4, "abcd")
    p = p_value(found, 0.1, above=True)
    assert found.at(1 - p).low == pytest.approx(0.1, abs=1e-6)
    assert p == pytest.approx(2 * stats.t.sf((0.25 - 0.1) / found.error, 3), rel=1e-4)
    assert p_value(found, 0.1, above=False) == 1.0
    assert p_value(found, 0.4, above=False) == pytest.approx(p, rel=1e-4)


def test_holms_correction_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"numerators": [1, 2]}, r"^numerators must have 2 axes \(units, columns\), got 1$"),
        ({"numerators": [[1]]}, r"^numerators must have the denominators' shape \(2, 1\), got \(1, 1\)$"),
        ({"models": [0]}, r"^models must have one label for each of 2 units, got 1$"),
        ({"denominators": [[3], [-1]]}, r"^denominators must be at least 0, got -1 in unit 1, column 0$"),
        ({"denominators": [[0], [0]]}, r"^denominators must have a sum of at least 1, got 0 in 2 units$"),
        ({"numerators": [[1], [4]]}, r"^numerators must lie between 0 and 1 times .* got 4 in unit 1"),
        ({"numerators": [[-1], [1]]}, r"^numerators must lie between 0 and 1 times .* got -1 in unit 0"),
        ({"numerators": [[0.5], [1]]}, r"^numerators must be integers below 2\*\*53, got 0.5 in unit 0"),
        ({"denominators": [[3], [2**53]]}, r"^denominators must be integers below 2\*\*53, got 9.0"),
    ],
)
def test_bad_input_is_an_error_that_names_it(change, message):
    good = {"numerators": [[1], [2]], "denominators": [[3], [3]], "models": [0, 0]}
    with pytest.raises(ValueError, match=message):
        estimate_share(**(good | change))


def test_a_level_that_is_none_is_an_error():
    with pytest.raises(ValueError, match=r"^level must lie between 0 and 1, got 1.0$"):
        estimate_share([[1], [2]], [[3], [3]], [0, 1]).at(1.0)


# scores of result rows


def unit(edit, edited=(1, 1), keep=None, **more):
    return {"edit": edit, "change": {"edited": list(edited)}, "keep": keep or {}, "ripple": {}} | more


def row(units, **more):
    common = {
        "cell": "0123456789abcdef",
        "structure": "nested",
        "edge": "subject_object",
        "relation": 0,
        "scenario": "single",
        "num_edits": len(units or []),
        "method": "rome",
        "settings": {"layer": 3},
        "model": "runs/tiny-nested",
        "world": {"num_subjects": 1000, "seed": 0},
        "seed": 0,
        "units": units,
        "error": None,
    }
    return common | more


UNITS = [
    {
        "edit": 0,
        "change": {"edited": [1, 1], "paraphrase": [0, 1]},
        "keep": {"same_subject": [2, 3, 2, 3], "unrelated": [3, 4, 5, 6]},
        "ripple": {"nested_subject": [0, 1, 0, 0]},
    },
    {
        "edit": 1,
        "change": {"edited": [0, 1], "paraphrase": [1, 1]},
        "keep": {"same_subject": [3, 3, 3, 3], "unrelated": [1, 1, 2, 6], "nested_source": [0, 0, 0, 2]},
        "ripple": {"nested_subject": [1, 0, 2, 4], "partner": [0, 0, 0, 1]},
    },
]


def test_scores_by_hand():
    scores = score_units(UNITS)
    found = {name: (scores[name]["value"], scores[name]["count"]) for name in list(scores)[:6] if scores[name]}
    assert found == {
        "edit_success": (1 / 2, 2),
        "paraphrase_success": (1 / 2, 2),
        "collateral_by_fact": (pytest.approx(9 / 11), 11),  # nested_source was never known
        "dependent_incoherent": (2 / 4, 4),
    }
    assert scores["collateral_accuracy"] is scores["collateral_drop"] is None  # no kind has thirty facts
    kinds = {name: (kind["value"], kind["count"], kind["wrong_before"]) for name, kind in scores["by_kind"].items()}
    assert kinds == {"same_subject": (5 / 6, 6, 0), "unrelated": (4 / 5, 5, 7), "nested_source": (None, 0, 2)}
    nested = scores["ripple"]["nested_subject"]
    assert [nested[name]["value"] for name in ("kept", "followed", "incoherent")] == [1 / 4, 1 / 4, 2 / 4]
    assert (nested["count"], nested["wrong_before"]) == (4, 4)
    nothing = {"value": None, "low": None, "high": None}
    partner = {"kept": nothing, "followed": nothing, "incoherent": nothing, "count": 0, "wrong_before": 1}
    assert scores["ripple"]["partner"] == partner


def test_scores_have_the_shape_of_a_result_row_and_fit_into_json():
    scores = score_units(UNITS)
    assert list(scores) == [
        "edit_success",
        "paraphrase_success",
        "collateral_accuracy",
        "collateral_by_fact",
        "dependent_incoherent",
        "collateral_drop",
        "by_kind",
        "ripple",
    ]
    assert list(scores["edit_success"]) == ["value", "low", "high", "count"]
    assert list(scores["by_kind"]["unrelated"]) == ["value", "low", "high", "count", "wrong_before"]
    assert list(scores["ripple"]["partner"]) == ["kept", "followed", "incoherent", "count", "wrong_before"]
    assert list(scores["ripple"]["partner"]["kept"]) == ["value", "low", "high"]
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores


def test_every_score_is_the_interval_of_its_counts():
    scores = score_units(UNITS, [0, 1], level=0.9)
    kept = estimate_share([[0], [1]], [[1], [3]], [0, 1]).at(0.9)
    assert Interval(**scores["collateral_by_fact"]) == estimate_share([[5], [4]], [[7], [4]], [0, 1]).at(0.9)
    assert scores["ripple"]["nested_subject"]["kept"] == {
        "value": kept.value,
        "low": kept.low,
        "high": kept.high,
    }


# the headline


def keeping(**counts):
    """A unit of which so many of so many facts are still right, all of them right before."""
    return unit(0, keep={kind: [right, asked, right, asked] for kind, (right, asked) in counts.items()})


def test_the_headline_is_of_kinds_that_worlds_of_every_structure_have():
    assert set(EVERYWHERE) >= {"same_subject", "same_old_object", "same_new_object", "same_relation", "unrelated"}
    assert all(KINDS[name].structures == STRUCTURES and KINDS[name].group == "keep" for name in EVERYWHERE)
    scores = score_units([keeping(unrelated=(40, 40), same_relation=(20, 40), nested_source=(0, 40))])
    assert scores["collateral_accuracy"]["value"] == 0.75
    assert scores["collateral_drop"]["value"] == 0.25
    assert scores["collateral_by_fact"]["value"] == 0.5


def test_a_kind_of_few_distinct_facts_is_not_in_the_headline():
    enough, few = MIN_FACTS, MIN_FACTS - 1
    scores = score_units([keeping(unrelated=(enough, enough), same_subject=(0, few))])
    assert scores["collateral_accuracy"]["value"] == 1.0
    assert scores["by_kind"]["same_subject"]["value"] == 0.0
    assert score_units([keeping(unrelated=(few, few))])["collateral_accuracy"] is None


def test_a_kind_counts_by_what_is_asked_and_not_by_what_the_model_knew():
    # Ten edits with three more relations each: 30 facts are asked, of which the model knew 29 and kept 28.
    same_subject = [[3, 3, 3, 3]] * 8 + [[2, 2, 3, 3], [2, 3, 2, 3]]
    units = [
        unit(number, keep={"unrelated": [4, 4, 4, 4], "same_subject": counts})
        for number, counts in enumerate(same_subject)
    ]
    scores = score_units(units)
    assert scores["collateral_accuracy"]["value"] == pytest.approx((28 / 29 + 1) / 2)
    assert scores["collateral_accuracy"]["count"] == 29 + 40
    assert scores["collateral_drop"]["value"] == pytest.approx((0 + 0) / 2)  # one unknown before, and got by chance
    fewer = [unit(0, keep={"unrelated": [30, 30, 30, 30], "same_subject": [0, 29, 0, 29]})]
    assert score_units(fewer)["collateral_accuracy"]["value"] == 1.0


def test_a_kind_that_is_asked_and_of_which_the_model_knew_nothing_is_no_loss():
    units = [unit(0, keep={"unrelated": [20, 30, 20, 30], "same_subject": [0, 0, 0, 30]})]
    assert score_units(units)["collateral_accuracy"]["value"] == pytest.approx(2 / 3)
    assert score_units(units)["collateral_drop"]["value"] == pytest.approx((1 / 3 + 0) / 2)


def test_facts_of_other_models_are_others_and_those_of_another_draw_may_be_the_same():
    units = [keeping(unrelated=(20, 20)), keeping(unrelated=(20, 20))]
    assert score_units(units, ["a", "b"], [0, 0])["collateral_accuracy"]["count"] == 40
    assert score_units(units, ["a", "a"], [0, 1])["collateral_accuracy"] is None
    assert score_units(units, ["a", "a"], [0, 0])["collateral_accuracy"]["count"] == 40  # two edits of one draw


def test_a_flawless_method_has_the_design_effect_of_the_others_and_an_interval_no_wider_than_theirs():
    def method(*missed):
        units = [unit(0, (10 - lost, 10)) for lost in missed]
        return Sample(units, range(len(missed)), [0] * len(missed))

    flawless, others = method(0, 0, 0, 0, 0), [method(0, 0, 0, 0, 6), method(5, 0, 0, 0, 0)]
    designs = designs_of([flawless, *others])
    assert designs["edit_success",].effect > 3
    alone = score_units(flawless.units, flawless.models)["edit_success"]
    beside, other = (
        score_units(one.units, one.models, designs=designs)["edit_success"] for one in (flawless, others[1])
    )
    assert beside["low"] < alone["low"]
    assert beside["high"] - beside["low"] < other["high"] - other["low"]


def test_a_measure_of_one_edit_has_no_interval_where_nothing_bounds_it():
    units = [unit(0, measures={"kl": 2.0, "validity": 0.5})]
    assert score_units(units)["measures"] == {
        "kl": {"value": 2.0, "low": 0.0, "high": None, "count": 1},
        "validity": {"value": 0.5, "low": 0.0, "high": 1.0, "count": 1},
    }


def test_scores_nobody_could_measure_are_none():
    scores = score_units([unit(0)])
    names = (
        "paraphrase_success",
        "collateral_accuracy",
        "collateral_by_fact",
        "dependent_incoherent",
        "collateral_drop",
    )
    assert [scores[name] for name in names] == [None] * 5
    assert (scores["by_kind"], scores["ripple"]) == ({}, {})


KEPT = ("same_subject", "same_relation", "unrelated")


def test_scores_agree_with_the_metrics_on_the_same_answers():
    index = np.arange(600)
    kinds = [KEPT[k] for k in Stream(0, "kind").integers(index, 3)]
    edits, old, new = (Stream(0, name).integers(index, 3).tolist() for name in ("edit", "before", "after"))
    units = []
    for edit in range(3):
        keep, became = {}, {}
        for kind in KEPT:
            mine = [(old[i], new[i]) for i in index if (edits[i], kinds[i]) == (edit, kind)]
            keep[kind] = [
                mine.count((0, 0)),
                sum(a == 0 for a, _ in mine),
                sum(b == 0 for _, b in mine),
                len(mine),
            ]
            became[kind] = [mine.count((0, b)) for b in (0, 1, 2)] + [sum(a != 0 for a, _ in mine)]
        units.append(unit(edit, keep=keep, ripple=became))
    scores = score_units(units)
    before, after = [f"w {a}" for a in old], [f"w {b}" for b in new]
    collateral = collateral_accuracy(after, ["w 0"] * 600, before, kinds)
    assert scores["collateral_accuracy"]["value"] == pytest.approx(collateral["collateral_accuracy"])
    assert scores["collateral_drop"]["value"] == pytest.approx(collateral["collateral_drop"])
    assert scores["collateral_by_fact"]["value"] == pytest.approx(collateral["collateral_by_fact"])
    rippled = ripple(after, ["w 0"] * 600, ["w 1"] * 600, before, kinds)
    assert scores["dependent_incoherent"]["value"] == pytest.approx(rippled["incoherent"])
    for kind in KEPT:
        for share in ("kept", "followed", "incoherent"):
            assert scores["ripple"][kind][share]["value"] == rippled["by_kind"][kind][share]
        assert scores["by_kind"][kind]["value"] == collateral["by_kind"][kind]["accuracy"]
        assert scores["by_kind"][kind]["wrong_before"] == collateral["by_kind"][kind]["wrong_before"]


@pytest.mark.parametrize(
    ("units", "message"),
    [
        ([], "^units must hold at least 1 edit, got 0$"),
        ([unit(0, edited=(0, 0))], "^units must ask at least 1 edited probe, got 0$"),
        ([unit(7, edited=(2, 1))], r"^change 'edited' of edit 7 must be \[successes, asked\], got \[2, 1\]$"),
        ([unit(0, keep={"unrelated": [3, 2, 3, 4]})], r"^keep 'unrelated' of edit 0 .* got \[3, 2, 3, 4\]$"),
        ([unit(0, keep={"unrelated": [1, 2, 5, 4]})], r"^keep 'unrelated' of edit 0 .* got \[1, 2, 5, 4\]$"),
        ([unit(0, keep={"unrelated": [1, 2, 3]})], r"^keep 'unrelated' of edit 0 must be 4 counts"),
        ([unit(0, ripple={"partner": [1, 0, -1, 0]})], r"^ripple 'partner' of edit 0 must be 4 counts"),
    ],
)
def test_counts_that_cannot_be_are_an_error(units, message):
    with pytest.raises(ValueError, match=message):
        score_units(units)


# many rows


def test_rows_are_grouped_over_models_and_seeds_in_first_seen_order():
    rows = [
        row([], method="rome", seed=0),
        row([], method="lora", seed=0),
        row(None, method="lora", seed=1, error="ValueError: no"),
        row([], method="rome", seed=1, model="runs/other"),
        row([], method="rome", settings={"layer": 4}),
        row([], method="lora", seed=0, precision="bf16"),
    ]
    grouped, failed = group_rows(rows)
    common = ("nested", "subject_object", 0, "single", 0)
    assert list(grouped.items()) == [
        ((*common, "rome", '{"layer": 3}', None), [rows[0], rows[3]]),
        ((*common, "lora", '{"layer": 3}', None), [rows[1]]),
        ((*common, "rome", '{"layer": 4}', None), [rows[4]]),
        ((*common, "lora", '{"layer": 3}', "bf16"), [rows[5]]),
    ]
    assert failed == [rows[2]]


def test_settings_in_another_order_are_the_same_settings():
    grouped, _ = group_rows([row([], settings={"a": 1, "b": 2}), row([], settings={"b": 2, "a": 1})])
    assert len(grouped) == 1


def test_summarise_pools_all_units_with_a_cluster_per_model():
    rows = [row([unit(0, (1, 1)), unit(1, (0, 1))], seed=seed) for seed in (0, 1)]
    rows.append(row([unit(0, (1, 1)), unit(1, (1, 1))], seed=0, model="runs/other"))
    pooled = Interval(**summarise(rows)["edit_success"])
    assert pooled == estimate_share([[1], [0], [1], [0], [1], [1]], [[1]] * 6, [0, 0, 0, 0, 2, 2]).at()
    assert (pooled.value, pooled.count) == (pytest.approx(4 / 6), 6)


def test_models_of_one_name_are_two_models_by_their_weights():
    rows = [row([unit(0, (made, 1))], weights={"before": digest}) for made, digest in ((1, "a" * 16), (0, "b" * 16))]
    pooled = Interval(**summarise(rows)["edit_success"])
    assert pooled == estimate_share([[1], [0]], [[1], [1]], [0, 1]).at()


def test_worlds_that_differ_only_in_their_seed_may_be_pooled():
    rows = [row([unit(0)], model=f"runs/{seed}", world={"num_subjects": 10, "seed": seed}) for seed in (0, 1)]
    assert summarise(rows)["edit_success"]["count"] == 2


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "^rows must hold at least 1 result, got 0$"),
        (
            [row(None, error="ValueError: no")],
            "^rows must hold no failed cell, got 0123456789abcdef with error",
        ),
        (
            [row([unit(0)]), row([unit(0)], seed=1, method="lora")],
            "^rows must share their settings to be pooled",
        ),
        ([row([unit(0)]), row([unit(0)], seed=1, world={"num_subjects": 9})], "^rows must share their world"),
        ([row([unit(0)]), row([unit(0)], seed=1, precision="fp32")], "^rows must share their settings to be pooled"),
        ([row([unit(0)]), row([unit(0)], seed=1, model_precision="bf16")], "^rows must share their world"),
        (
            [row([unit(0)]), row([unit(0)])],
            r"^rows must hold each \(model, seed\) once, got \('runs/tiny-nested', 0\)",
        ),
    ],
)
def test_rows_that_do_not_belong_together_are_an_error(rows, message):
    with pytest.raises(ValueError, match=message):
        summarise(rows)


# two methods


def kept(*shares):
    """Units in which so many of a hundred facts are still right."""
    return [unit(edit, keep={"unrelated": [right, 100, right, 100]}) for edit, right in enumerate(shares)]


def test_the_paired_difference_by_hand():
    a = [row(kept(100, 100), model="runs/0"), row(kept(60, 40), model="runs/1")]
    b = [row(kept(60, 50), model="runs/1", method="lora"), row(kept(40, 50), model="runs/0", method="lora")]
    difference = paired_difference(a, b)
    assert difference == estimate_difference([[60], [50], [0], [-10]], [[100]] * 4, [0, 0, 1, 1])
    assert difference.value == pytest.approx(300 / 400 - 200 / 400)
    assert paired_difference(b, a).value == pytest.approx(-100 / 400)


def test_pairing_sees_a_small_difference_under_a_large_common_variation():
    a = [row(kept(90, 10, 80, 30, 70, 50, 80, 20))]
    b = [row(kept(85, 4, 75, 24, 65, 44, 75, 14), method="lora")]
    assert paired_difference(a, b).at().low > 0
    accuracy_a, accuracy_b = (Interval(**summarise(rows)["collateral_accuracy"]) for rows in (a, b))
    assert accuracy_b.high > accuracy_a.low


def test_every_headline_score_can_be_compared():
    a, b = [row(UNITS)], [row([UNITS[0], UNITS[1] | {"change": {"edited": [1, 1], "paraphrase": [1, 1]}}])]
    assert paired_difference(a, b, "edit_success").value == -1 / 2
    assert paired_difference(a, b, "paraphrase_success").value == 0
    assert paired_difference(a, b, "collateral_by_fact").value == 0
    with pytest.raises(ValueError, match=r"^rows must have something to count for collateral_drop, got"):
        paired_difference(a, b, "collateral_drop")
    with pytest.raises(ValueError, match=r"^name must be one of edit_success, .*, got 'ripple'$"):
        paired_difference(a, b, "ripple")


@pytest.mark.parametrize(
    "other",
    [
        row(kept(90)),
        row(kept(90, 90), seed=1),
        row(kept(90, 90), model="runs/other"),
        row(kept(90, 90), scenario="different"),
        row(kept(90, 90), world={"num_subjects": 9}),
    ],
)
def test_units_that_differ_cannot_be_paired(other):
    with pytest.raises(ValueError, match=r"^rows_b must hold the units of rows_a, got [0-9]+ in only one"):
        paired_difference([row(kept(90, 90))], [other])


def test_an_edit_listed_twice_cannot_be_paired():
    twice = [row([unit(0), unit(0)])]
    with pytest.raises(ValueError, match=r"^units must hold each edit once"):
        paired_difference(twice, twice)


def test_other_probes_cannot_be_paired():
    fewer = [unit(0, keep={"unrelated": [5, 99, 5, 100]})]
    with pytest.raises(ValueError, match=r"^rows_b must count as many probes .* got 99 and not 100"):
        paired_difference([row(kept(90))], [row(fewer)])
