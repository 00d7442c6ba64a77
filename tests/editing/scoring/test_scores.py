"""Facts about the intervals, checked against closed forms, full enumeration and simulated studies."""

import itertools
import json
import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

import behemoth_editing.scoring.intervals as intervals
from behemoth_data.rng import Stream
from behemoth_editing.metrics.collateral_accuracy.collateral_accuracy import collateral_accuracy
from behemoth_editing.metrics.ripple.ripple import ripple
from behemoth_editing.report.pooling import group_rows, paired_difference, summarise
from behemoth_editing.scoring.intervals import Interval, bootstrap_interval
from behemoth_editing.scoring.scores import score_units


def unseen(num_units, level=0.95):
    """The largest share of units that may differ when none of num_units did: solve (1 - u)^U = tail."""
    return 1 - ((1 - level) / 2) ** (1 / num_units)


def approx(value, low, high, count):
    return Interval(*(pytest.approx(x, abs=1e-12) for x in (value, low, high)), count)


# the estimate


def test_the_value_is_a_mean_over_columns_of_ratios_of_sums():
    interval = bootstrap_interval([[1, 0, 0], [2, 4, 0]], [[2, 4, 0], [4, 4, 0]], ["a", "b"])
    assert interval.value == pytest.approx(((1 + 2) / (2 + 4) + (0 + 4) / (4 + 4)) / 2)
    assert interval.count == 2 + 4 + 4 + 4


def test_the_interval_holds_the_value():
    for case in range(30):
        counts = Stream(case, "counts").integers(np.arange(8).reshape(4, 2), 6)
        interval = bootstrap_interval(counts, np.full((4, 2), 5), [0, 0, 1, 1], resamples=100)
        assert 0 <= interval.low <= interval.value <= interval.high <= 1


# where the bootstrap sees nothing


@pytest.mark.parametrize("num_units", [1, 2, 10, 20, 300])
@pytest.mark.parametrize("level", [0.8, 0.95])
@pytest.mark.parametrize("share", [0, 1])
def test_all_or_none_gets_the_exact_binomial_interval_over_units(num_units, level, share):
    tens = np.full((num_units, 1), 10)
    interval = bootstrap_interval(share * tens, tens, range(num_units), level=level)
    exact = stats.binomtest(share * num_units, num_units).proportion_ci(level, method="exact")
    assert interval == approx(share, exact.low, exact.high, 10 * num_units)


def test_twenty_successes_of_twenty_do_not_prove_certainty():
    interval = bootstrap_interval([[1]] * 20, [[1]] * 20, [0] * 20)
    assert interval == approx(1, 0.025 ** (1 / 20), 1, 20)
    assert round(interval.low, 3) == 0.832


def test_units_without_a_probe_are_no_evidence():
    alone = bootstrap_interval([[1]] * 3, [[1]] * 3, [0] * 3)
    assert bootstrap_interval([[1]] * 3 + [[0]] * 9, [[1]] * 3 + [[0]] * 9, [0] * 12) == alone


def test_units_of_one_same_share_may_hide_others_of_any_share():
    interval = bootstrap_interval([[3], [3], [6]], [[4], [4], [8]], [0, 0, 0])
    u = unseen(3)
    assert interval == approx(0.75, 0.75 * (1 - u), 0.75 + u * 0.25, 16)


def test_no_drop_in_any_unit_gets_a_symmetric_interval():
    interval = bootstrap_interval([[0]] * 10, [[30]] * 10, [0] * 10, lowest=-1)
    assert interval == approx(0, -unseen(10), unseen(10), 300)


def test_a_single_unit_says_little():
    interval = bootstrap_interval([[9]], [[10]], [0])
    assert interval.low < 0.05
    assert interval.high > 0.99


# where it sees something


@pytest.mark.parametrize("level", [0.8, 0.9, 0.95])
@pytest.mark.parametrize("successes", [9, 20, 33])
def test_with_one_group_of_single_answers_it_is_the_binomial_quantile(successes, level):
    units = [[1]] * successes + [[0]] * (40 - successes)
    interval = bootstrap_interval(units, [[1]] * 40, [0] * 40, resamples=20_000, level=level)
    resampled = stats.binom(40, successes / 40)
    for bound, tail in ((interval.low, (1 - level) / 2), (interval.high, (1 + level) / 2)):
        # 0.01 is more than four standard errors of a tail of 0.1 over 20,000 resamples.
        assert resampled.cdf(40 * bound + 0.5) >= tail - 0.01
        assert resampled.cdf(40 * bound - 0.5) <= tail + 0.01


def enumerated_distribution(numerators, denominators, groups):
    """Probability of every bootstrap value, from every draw of groups and every draw of units within them."""
    members = [[u for u, group in enumerate(groups) if group == name] for name in dict.fromkeys(groups)]
    chances = Counter()
    for chosen in itertools.product(members, repeat=len(members)):
        draws = list(itertools.product(*(itertools.product(units, repeat=len(units)) for units in chosen)))
        for draw in draws:
            units = [unit for part in draw for unit in part]
            shares = []
            for column in range(len(numerators[0])):
                asked = sum(denominators[u][column] for u in units)
                if asked:
                    shares.append(Fraction(sum(numerators[u][column] for u in units), asked))
            if shares:
                value = sum(shares) / len(shares)
                chances[value] += Fraction(1, len(members) ** len(members) * len(draws))
    return {value: chance / sum(chances.values()) for value, chance in chances.items()}


GROUPS_OF_UNLIKE_SIZE = (
    [[0, 1], [1, 2], [3, 0], [1, 2], [2, 1]],
    [[1, 2], [1, 2], [4, 0], [3, 2], [2, 2]],  # a gap in a column
    ["p", "p", "q", "q", "q"],
)
RESAMPLES_WITHOUT_ANY_PROBE = ([[1], [0], [0], [0]], [[1], [3], [0], [0]], ["p", "p", "q", "q"])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", [GROUPS_OF_UNLIKE_SIZE, RESAMPLES_WITHOUT_ANY_PROBE])
def test_groups_are_drawn_and_then_units_within_them(case):
    chances = enumerated_distribution(*case)

    def below(value, slack):
        return float(sum(chance for share, chance in chances.items() if share <= value + slack))

    for level in (0.5, 0.7, 0.9, 0.95):
        interval = bootstrap_interval(*case, resamples=20_000, level=level)
        for bound, tail in ((interval.low, (1 - level) / 2), (interval.high, (1 + level) / 2)):
            # 0.015 is more than four standard errors of any share of 20,000 resamples.
            assert below(bound, 1e-9) >= tail - 0.015
            assert below(bound, -1e-9) <= tail + 0.015


def test_groups_that_differ_widen_the_interval():
    counts = [[9], [10], [9], [10], [1], [0], [1], [0]]
    together = bootstrap_interval(counts, [[10]] * 8, [0] * 8)
    apart = bootstrap_interval(counts, [[10]] * 8, [0, 0, 0, 0, 1, 1, 1, 1])
    assert apart.high - apart.low > together.high - together.low
    assert apart.low < 0.1 < 0.9 < apart.high  # both models drawn twice are possible worlds


def coverage(num_groups, units_per_group, chance_of_unit, true_share, num_asked):
    """How often, in 300 simulated studies, the interval holds the true share."""
    shape = (num_groups * units_per_group, num_asked)
    groups = np.repeat(np.arange(num_groups), units_per_group).tolist()
    held = 0
    for study in range(300):
        chances = chance_of_unit(Stream(study, "unit").uniform(np.arange(shape[0])))
        answers = Stream(study, "answer").uniform(np.arange(math.prod(shape)).reshape(shape))
        right = (answers < chances[:, None]).sum(axis=1, keepdims=True)
        asked = np.full_like(right, num_asked)
        interval = bootstrap_interval(right, asked, groups, seed=study, resamples=400)
        held += interval.low <= true_share <= interval.high
    return held / 300


# A true coverage of 95% would leave these bounds in fewer than 1 of 1,000 choices of the 300 studies
# (standard error 1.26%); the studies are fixed, so that a failure means that the code has changed.


def test_ninety_five_percent_intervals_hold_the_truth_in_about_95_percent_of_studies():
    held = coverage(1, 40, lambda u: 0.45 + 0.5 * u, true_share=0.7, num_asked=10)
    assert 0.905 <= held <= 0.99


def test_intervals_over_alike_groups_are_not_too_narrow():
    assert coverage(4, 10, lambda u: 0.45 + 0.5 * u, true_share=0.7, num_asked=10) >= 0.905


def test_intervals_hold_the_truth_where_most_studies_see_no_failure():
    # 20 answers with chance 0.98: two studies of three see 20 of 20, where a bare bootstrap is always wrong.
    assert coverage(1, 20, lambda u: 0.98 + 0 * u, true_share=0.98, num_asked=1) >= 0.905


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    counts = Stream(0, "counts").integers(np.arange(40).reshape(20, 2), 1000)
    first, again, other = (
        bootstrap_interval(counts, np.full((20, 2), 999), [0, 1] * 10, seed=seed) for seed in (3, 3, 4)
    )
    assert first == again
    assert (first.value, first.count) == (other.value, other.count)
    assert (first.low, first.high) != (other.low, other.high)


def test_the_interval_does_not_depend_on_how_the_work_is_cut(monkeypatch):
    counts, asked, groups = [[1, 5], [2, 0], [3, 3], [0, 1]], [[5, 5]] * 4, [0, 0, 0, 1]
    whole = bootstrap_interval(counts, asked, groups)
    monkeypatch.setattr(intervals, "_CHUNK", 7)
    assert bootstrap_interval(counts, asked, groups) == whole


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"numerators": [1, 2]}, r"^numerators must have 2 axes \(units, columns\), got 1$"),
        ({"numerators": [[1]]}, r"^numerators must have the denominators' shape \(2, 1\), got \(1, 1\)$"),
        ({"groups": [0]}, r"^groups must have one label for each of 2 units, got 1$"),
        ({"denominators": [[3], [-1]]}, r"^denominators must be at least 0, got -1 in unit 1, column 0$"),
        ({"denominators": [[0], [0]]}, r"^denominators must have a sum of at least 1, got 0 in 2 units$"),
        ({"numerators": [[1], [4]]}, r"^numerators must lie between 0 and 1 times .* got 4 in unit 1"),
        ({"numerators": [[-1], [1]]}, r"^numerators must lie between 0 and 1 times .* got -1 in unit 0"),
        ({"numerators": [[-4], [1]], "lowest": -1}, r"^numerators must lie between -1 and 1 .* got -4"),
        ({"numerators": [[0.5], [1]]}, r"^numerators must be integers below 2\*\*53, got 0.5 in unit 0"),
        ({"denominators": [[3], [2**53]]}, r"^denominators must be integers below 2\*\*53, got 9.0"),
        ({"resamples": 99}, r"^resamples must be at least 100 to have tails, got 99$"),
        ({"level": 1.0}, r"^level must lie between 0 and 1, got 1.0$"),
    ],
)
def test_bad_input_is_an_error_that_names_it(change, message):
    good = {"numerators": [[1], [2]], "denominators": [[3], [3]], "groups": [0, 0]}
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(**(good | change))


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
    values = {name: scores[name]["value"] for name in list(scores)[:4]}
    counts = {name: scores[name]["count"] for name in list(scores)[:4]}
    assert values == pytest.approx(
        {
            "edit_success": 1 / 2,
            "paraphrase_success": 1 / 2,
            "collateral_accuracy": (5 / 6 + 4 / 5) / 2,  # nested_source was never known
            "collateral_drop": ((6 - 5) / 6 + (5 - 7) / 12 + 0 / 2) / 3,
        }
    )
    assert counts == {
        "edit_success": 2,
        "paraphrase_success": 2,
        "collateral_accuracy": 6 + 5,
        "collateral_drop": 6 + 12 + 2,
    }
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
    scores = score_units(UNITS, [0, 1], seed=5, level=0.9)
    drop = bootstrap_interval([[1, -1, 0], [0, -1, 0]], [[3, 6, 0], [3, 6, 2]], [0, 1], seed=5, level=0.9, lowest=-1)
    kept = bootstrap_interval([[0], [1]], [[1], [3]], [0, 1], seed=5, level=0.9)
    assert Interval(**scores["collateral_drop"]) == drop
    assert scores["ripple"]["nested_subject"]["kept"] == {
        "value": kept.value,
        "low": kept.low,
        "high": kept.high,
    }


def test_scores_nobody_could_measure_are_none():
    scores = score_units([unit(0)])
    assert [scores[name] for name in ("paraphrase_success", "collateral_accuracy", "collateral_drop")] == [None] * 3
    assert (scores["by_kind"], scores["ripple"]) == ({}, {})


def test_scores_agree_with_the_metrics_on_the_same_answers():
    index = np.arange(240)
    kinds = [("one", "two", "three")[k] for k in Stream(0, "kind").integers(index, 3)]
    edits, old, new = (Stream(0, name).integers(index, 3).tolist() for name in ("edit", "before", "after"))
    units = []
    for edit in range(3):
        keep, became = {}, {}
        for kind in ("one", "two", "three"):
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
    collateral = collateral_accuracy(after, ["w 0"] * 240, before, kinds)
    assert scores["collateral_accuracy"]["value"] == pytest.approx(collateral["collateral_accuracy"])
    assert scores["collateral_drop"]["value"] == pytest.approx(collateral["collateral_drop"])
    rippled = ripple(after, ["w 0"] * 240, ["w 1"] * 240, before, kinds)
    for kind in ("one", "two", "three"):
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


def test_summarise_pools_all_units_with_a_group_per_model_and_seed():
    rows = [row([unit(0, (1, 1)), unit(1, (0, 1))], seed=seed) for seed in (0, 1)]
    rows.append(row([unit(0, (1, 1)), unit(1, (1, 1))], seed=0, model="runs/other"))
    pooled = Interval(**summarise(rows)["edit_success"])
    assert pooled == bootstrap_interval([[1], [0], [1], [0], [1], [1]], [[1]] * 6, [0, 0, 1, 1, 2, 2])
    assert (pooled.value, pooled.count) == (pytest.approx(4 / 6), 6)


def test_models_of_one_name_are_two_models_by_their_weights():
    rows = [row([unit(0, (made, 1))], weights={"before": digest}) for made, digest in ((1, "a" * 16), (0, "b" * 16))]
    pooled = Interval(**summarise(rows)["edit_success"])
    assert pooled == bootstrap_interval([[1], [0]], [[1], [1]], [0, 1])


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
    return [unit(edit, keep={"unrelated": [right, 10, right, 10]}) for edit, right in enumerate(shares)]


def test_the_paired_difference_by_hand():
    a = [row(kept(10, 10), seed=0), row(kept(6, 4), seed=1)]
    b = [row(kept(6, 5), seed=1, method="lora"), row(kept(4, 5), seed=0, method="lora")]  # in another order
    difference = paired_difference(a, b)
    assert difference == bootstrap_interval([[6], [5], [0], [-1]], [[10]] * 4, [0, 0, 1, 1], lowest=-1)
    assert difference.value == pytest.approx(30 / 40 - 20 / 40)
    assert paired_difference(b, a).value == pytest.approx(-10 / 40)


def test_pairing_sees_a_small_difference_under_a_large_common_variation():
    a = [row(kept(10, 1, 9, 3, 7, 5, 8, 2))]
    b = [row(kept(9, 0, 8, 2, 6, 4, 7, 2), method="lora")]
    assert paired_difference(a, b).low > 0
    accuracy_a, accuracy_b = (Interval(**summarise(rows)["collateral_accuracy"]) for rows in (a, b))
    assert accuracy_b.high > accuracy_a.low


def test_methods_that_never_differ_may_still_differ_elsewhere():
    a, b = [row(kept(9, 8, 7))], [row(kept(9, 8, 7), method="lora")]
    assert paired_difference(a, b) == approx(0, -unseen(3), unseen(3), 30)


def test_every_headline_score_can_be_compared():
    a, b = [row(UNITS)], [row([UNITS[0], UNITS[1] | {"change": {"edited": [1, 1], "paraphrase": [1, 1]}}])]
    assert paired_difference(a, b, "edit_success").value == -1 / 2
    assert paired_difference(a, b, "paraphrase_success").value == 0
    assert paired_difference(a, b, "collateral_drop").value == 0
    with pytest.raises(ValueError, match=r"^name must be one of edit_success, .*, got 'ripple'$"):
        paired_difference(a, b, "ripple")


@pytest.mark.parametrize(
    "other",
    [
        row(kept(9)),
        row(kept(9, 9), seed=1),
        row(kept(9, 9), model="runs/other"),
        row(kept(9, 9), scenario="different"),
        row(kept(9, 9), world={"num_subjects": 9}),
    ],
)
def test_units_that_differ_cannot_be_paired(other):
    with pytest.raises(ValueError, match=r"^rows_b must hold the units of rows_a, got [0-9]+ in only one"):
        paired_difference([row(kept(9, 9))], [other])


def test_an_edit_listed_twice_cannot_be_paired():
    twice = [row([unit(0), unit(0)])]
    with pytest.raises(ValueError, match=r"^units must hold each edit once"):
        paired_difference(twice, twice)


def test_other_probes_cannot_be_paired():
    fewer = [unit(0, keep={"unrelated": [5, 9, 5, 10]})]
    with pytest.raises(ValueError, match=r"^rows_b must count as many probes .* got 9 and not 10"):
        paired_difference([row(kept(9))], [row(fewer)])
