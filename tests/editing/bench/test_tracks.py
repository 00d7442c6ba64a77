"""Facts about the numbers of tracks, from rows whose counts are made up and whose numbers are worked out by hand."""

import math
from collections import Counter

import pytest
import yaml
from scipy import stats

from behemoth_cli.recipe_files import RECIPES
from behemoth_data.edits import draw_edits
from behemoth_data.kinds import KINDS
from behemoth_data.settings import digest
from behemoth_editing.bench.tracks import BOUND, TRACKS, VERSION, breaking_point, curve_over_edits
from behemoth_editing.scoring.scores import EVERYWHERE
from behemoth_editing.sweep.plain import plain


def unit(made=1, asked=1, kept=40, known=40, **parts):
    """An edit of `asked` edited facts, and of known facts of one kind."""
    counts = {"change": {"edited": [made, asked]}, "keep": {"same_relation": [kept, known, kept, known]}, "ripple": {}}
    return {"edit": 0, **counts, **parts}


def row(model, num_edits, *units, scenario="sequence", seed=0, **fields):
    """What a track reads of a row."""
    return {
        "weights": {"before": model},
        "scenario": scenario,
        "num_edits": num_edits,
        "seed": seed,
        "units": list(units),
        "seconds": {"edit": 1.0, "shared": 0.0, "score": 9.0, "needed": 0.0},
        "looks": [],
        "error": None,
        **fields,
    }


@pytest.mark.parametrize(
    ("curve", "edits"),
    [
        # Half way from 1.0 to 0.9, on the scale of log(1 + edits): sqrt(2 * 11) - 1.
        ({1: 1.0, 10: 0.9}, math.sqrt(22) - 1),
        # Without edits nothing is broken: half way from log(1) to log(2).
        ({1: 0.9, 10: 0.0}, math.sqrt(2) - 1),
        # The first time counts.
        ({1: 0.9, 10: 1.0}, math.sqrt(2) - 1),
        # At the bound itself nothing is broken yet: all the way from 10 to 100, and a quarter of it.
        ({10: 0.95, 100: 0.55}, 10),
        ({10: 0.96, 100: 0.92}, 11 ** (3 / 4) * 101 ** (1 / 4) - 1),
        ({1: 1.0, 10: 0.95, 100: 1.0}, 100),
    ],
)
def test_a_model_breaks_where_the_line_between_two_numbers_of_edits_falls_below_the_bound(curve, edits):
    assert breaking_point(curve) == pytest.approx(edits)


def test_a_curve_without_a_point_is_refused():
    with pytest.raises(ValueError, match="curve must have at least 1 point, got 0"):
        breaking_point({})


def test_a_curve_has_the_smaller_share_of_all_units_of_as_many_edits():
    rows = [
        row("a", 10, unit(1), unit(0), scenario="single"),  # ten edits, each on a model of its own
        row("a", 10, unit(kept=39), unit(kept=40), seed=0),
        row("a", 10, unit(kept=20), unit(kept=40), seed=1),
    ]
    assert curve_over_edits(rows) == {1: 0.5, 10: pytest.approx(139 / 160)}


def test_edits_until_broken_are_a_mean_of_logarithms_with_a_t_interval_over_models():
    # Success falls from 1 to 0.9, 0.8 and 0.5 at 10 edits.
    rows = [row(model, 10, unit(made, 10)) for model, made in (("a", 9), ("b", 8), ("c", 5))]
    places = [math.log(11) * (1 - BOUND) / (1 - share) for share in (0.9, 0.8, 0.5)]
    mean, error = sum(places) / 3, stats.sem(places)
    low, high = stats.t.interval(0.95, 2, mean, error)
    number = TRACKS["batch"].number_of(rows)
    assert number.value == pytest.approx(math.expm1(mean))
    assert (number.low, number.high) == (pytest.approx(math.expm1(max(0, low))), pytest.approx(math.expm1(high)))
    assert (number.models, number.unbroken) == (3, 0)


def test_models_that_nothing_broke_say_at_least_so_many():
    number = TRACKS["batch"].number_of([row(model, edits, unit()) for model in "ab" for edits in (10, 300)])
    assert (number.value, number.unbroken) == (pytest.approx(300), 2)
    assert (number.low, number.high) == (-math.inf, math.inf)  # of more nothing is known
    some = TRACKS["batch"].number_of(
        [row(model, 300, unit(made, 10)) for model, made in (("a", 10), ("b", 10), ("c", 9))]
    )
    assert some.unbroken == 2
    assert some.low < some.value < some.high == math.inf


@pytest.mark.parametrize(("known", "asked", "share"), [(2, 20, (1.0 + 0.5) / 2), (2, 19, 1.0), (0, 20, 1.0)])
def test_a_kind_counts_if_enough_of_it_is_asked_however_much_is_known(known, asked, share):
    few = unit(kept=40, known=40)
    few["keep"]["same_subject"] = [known // 2, known, known // 2, asked]
    assert curve_over_edits([row("a", 10, few)]) == {10: pytest.approx(share)}


def test_ripple_is_what_follows_less_what_breaks_as_the_mean_over_kinds():
    rows = [
        row("a", 10, unit(ripple={"nested_subject": [1, 3, 1, 5]})),  # (3 - 1) of 5; what was wrong before is left out
        row("b", 10, unit(ripple={"nested_siblings": [0, 2, 6, 0]})),  # (2 - 6) of 8
        row("b", 10, unit(), seed=1),
    ]
    number = TRACKS["ripple"].number_of(rows)
    assert number.value == pytest.approx((2 / 5 - 4 / 8) / 2)
    assert number.low < number.value < number.high
    assert number.models == 2


def carried(model, *edits, asked=False, **fields):
    """A row of edits of which it is given, by kind, whether the answer followed."""
    counts = [{kind: [0, 1, 0, 0] if one else [0, 0, 0, 1] for kind, one in edit.items()} for edit in edits]
    return row(model, 10, *(unit(transfer=one, asked_in_training=asked) for one in counts), **fields)


def test_transfer_is_the_share_of_forms_that_carry_an_edit_of_subjects_that_training_does_not_ask_about():
    same = {"new_question": 0, "denied_old": 1}
    rows = [
        # Inverse 2 of 2, question 1 of 2, unseen 0 of 2, denied 1 of 2, and two steps 1 of 1: the second edit left
        # the nested object as it was.
        carried(
            "a",
            {"paraphrase": 1, "question": 1, "two_step": 1, "denied_new": 1, **same},
            {"paraphrase": 1, "question": 0, "denied_new": 0, **same},
        ),
        carried("a", {"paraphrase": 0, "question": 0, "two_step": 0, "denied_new": 0, **same}, asked=True, seed=1),
        carried("b", {"paraphrase": 0, "question": 1, "two_step": 0, "denied_new": 0, **same}),
    ]
    number = TRACKS["transfer"].number_of(rows)
    shares = [(1 + 1 / 2 + 0 + 1 + 1 / 2) / 5, 1 / 5]
    low, high = stats.t.interval(0.95, 1, sum(shares) / 2, stats.sem(shares))
    assert number.value == pytest.approx(sum(shares) / 2)
    assert (number.low, number.high, number.models) == (max(0, low), min(1, high), 2)
    assert TRACKS["transfer"].number_of(rows[1:2]) is None
    assert TRACKS["transfer"].number_of(rows[2:]) is None  # of a model that was asked nothing
    assert TRACKS["transfer"].number_of([row("a", 10, unit())]) is None  # of a draw that asks no questions


@pytest.mark.parametrize("made", [0, 1])
def test_where_nothing_or_all_carries_the_interval_is_that_of_as_many_models(made):
    edit = dict.fromkeys(("paraphrase", "question", "new_question", "two_step", "denied_old", "denied_new"), made)
    rows = [carried(model, edit, edit) for model in "ab"] + [carried("a", edit, asked=True, seed=1)]
    number = TRACKS["transfer"].number_of(rows)
    ends = (0, 1 - math.sqrt(0.025)) if made == 0 else (math.sqrt(0.025), 1)
    assert (number.value, number.low, number.high) == (made, pytest.approx(ends[0]), pytest.approx(ends[1]))


def forgotten(model, kept, left):
    """A row whose looks find so many of 20 old answers left, and keep so many of 100 facts."""
    looks = [
        {
            "step": step,
            "change": {"edited": [0, 20]},
            "keep": {"same_relation": [stays, 100, stays, 100]},
            "ripple": {},
            "forget": {"edited": [stay, 20, 0, 20]},
        }
        for step, (stays, stay) in enumerate(zip(kept, left, strict=True))
    ]
    *before, last = looks
    return row(model, 20, {"edit": 0, **last}, looks=before)


def test_forgetting_counts_what_is_kept_where_first_few_enough_old_answers_are_left():
    rows = [forgotten("a", [100, 90, 50], [20, 1, 0]), forgotten("b", [100, 80, 70], [20, 2, 1])]
    number = TRACKS["forget"].number_of(rows)
    assert number.value == pytest.approx((90 + 70) / 200)
    never = TRACKS["forget"].number_of([*rows, forgotten("c", [100, 100], [20, 2])])
    assert never.value == pytest.approx((90 + 70 + 0) / 300)
    assert never.models == 3
    # Two models that never get there: of no success in two, 2.5% leave a share of 1 - sqrt(0.025) or more.
    neither = TRACKS["forget"].number_of([forgotten(model, [100], [20]) for model in "ab"])
    assert (neither.value, neither.low) == (0, 0)
    assert neither.high == pytest.approx(1 - math.sqrt(0.025))


def test_cost_is_the_seconds_of_edits_and_of_what_they_need_whoever_computed_it_and_not_of_asking():
    spent = (1, 9, 1), (3, 0, 0), (5, 0, 1)
    seconds = [{"edit": edit, "shared": shared, "score": 50.0, "needed": needed} for edit, shared, needed in spent]
    rows = [row(model, 10, unit(), seconds=some) for model, some in zip("aab", seconds, strict=True)]
    assert TRACKS["cost"].number_of(rows).value == pytest.approx(((2 + 3) / 2 + 6) / 2)
    assert TRACKS["cost"].number_of([{**rows[0], "error": "ValueError: no"}, *rows[1:]]) is None


@pytest.mark.parametrize("name", TRACKS)
def test_every_draw_of_a_track_is_there_in_a_world_of_the_benchmarks_size(name, bench_corpus):
    for draw in TRACKS[name].draws:
        sets = draw_edits(bench_corpus, draw)
        edits = [edit for edit_set in sets for edit in edit_set.edits]
        if draw.scenario == "forget":  # less those of its object 0
            assert 95 <= len(edits) <= 100
        else:
            assert len(edits) == draw.num_edits
        asked = Counter(probe.kind for edit_set in sets for probe in edit_set.probes)
        kinds = [kind for kind in EVERYWHERE if KINDS[kind].exists("nested", edits[0].fact.edge, draw.scenario)]
        # No kind is so near to the least number that counts that a world's seed decides whether it does.
        assert kinds
        assert all(asked[kind] <= 10 or asked[kind] >= 25 for kind in kinds)


def test_the_version_names_these_draws_and_models():
    """If this fails, bump VERSION, or find what changed: a board is compared with others of its version."""
    stages = {name: track.stages for name, track in TRACKS.items()}
    recipe = yaml.safe_load((RECIPES / "bench.yaml").read_text(encoding="utf-8"))
    assert (VERSION, digest([plain(stages), recipe])) == (0, "5796e75a7a9abfa0")
