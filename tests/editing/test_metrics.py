"""Facts about the metrics: what they count, how they load, and what their cards promise."""

import ast
import doctest
import importlib
import itertools
import re
import socket
from pathlib import Path

import evaluate
import numpy as np
import pytest
import yaml
from scipy import stats

import behemoth_editing
from behemoth_editing.metrics.collateral_accuracy.collateral_accuracy import collateral_accuracy
from behemoth_editing.metrics.edit_success.edit_success import edit_success
from behemoth_editing.metrics.forgetting.forgetting import forgetting
from behemoth_editing.metrics.ripple.ripple import ripple
from behemoth_editing.scoring.outcomes import count_change, count_keep, count_ripple
from behemoth_editing.scoring.scores import score_units
from behemoth_hub.metric_publication import single_file

NAMES = ("edit_success", "collateral_accuracy", "ripple", "forgetting")
METRICS = Path(behemoth_editing.__file__).parent / "metrics"
COLUMNS = {
    "edit_success": ("predictions", "references"),
    "collateral_accuracy": ("predictions", "references", "predictions_before", "kinds"),
    "ripple": ("predictions", "kept", "followed", "predictions_before", "kinds"),
    "forgetting": ("predictions", "answers", "refusals", "predictions_before", "parts"),
}
FUNCTIONS = {
    "edit_success": edit_success,
    "collateral_accuracy": collateral_accuracy,
    "ripple": ripple,
    "forgetting": forgetting,
}


@pytest.fixture(autouse=True)
def _at_the_root_and_offline(monkeypatch, tmp_path):
    """The folder from which the documented paths work, a cache of one's own, and no network."""

    def refuse(*_):
        raise OSError("a metric must load without network")

    monkeypatch.chdir(METRICS.parent.parent)
    monkeypatch.setattr(evaluate.config, "HF_METRICS_CACHE", tmp_path / "metrics")
    monkeypatch.setattr(socket.socket, "connect", refuse)


def load(name):
    return evaluate.load(f"behemoth_editing/metrics/{name}")


# edit_success


def test_edit_success_is_the_share_of_answers_that_begin_with_the_whole_object():
    result = edit_success(["red fox", "red owl", "blue fox", "fox red", "red", "red fox ."], ["red fox"] * 6)
    assert result == {"edit_success": 2 / 6, "count": 6}


def test_half_of_a_two_word_answer_earns_nothing():
    assert edit_success(["red owl", "grey fox", "red", "fox red fox"], ["red fox"] * 4)["edit_success"] == 0.0


def test_white_space_around_and_between_words_does_not_count():
    assert edit_success(["  red \t fox\n"], ["red fox"])["edit_success"] == 1.0


def test_a_word_glued_to_another_is_another_word():
    assert edit_success(["redfox"], ["red fox"])["edit_success"] == 0.0


def test_a_model_that_knows_all_new_objects_has_edit_success_one():
    answers = [f"first{i} second{i}" for i in range(50)]
    assert edit_success(answers, answers) == {"edit_success": 1.0, "count": 50}


# collateral_accuracy


def test_collateral_accuracy_by_hand():
    rows = [  # kind, reference, before, after
        ("same_subject", "a a", "a a", "a a"),  # kept
        ("same_subject", "b b", "b b", "b c"),  # lost: half of an answer is no answer
        ("same_subject", "c c", "c c", "c c"),  # kept
        ("same_subject", "d d", "d d", "d d"),  # kept
        ("same_subject", "e e", "x x", "e e"),  # learned by accident
        ("unrelated", "f f", "f f", "z z"),  # lost
        ("unrelated", "g g", "g g", "g g"),  # kept
        ("nested_old_object", "h h", "i i", "i i"),  # stays wrong
    ]
    kinds, references, before, after = map(list, zip(*rows, strict=True))
    result = collateral_accuracy(after, references, before, kinds)
    assert result == {
        "collateral_accuracy": (3 / 4 + 1 / 2) / 2,
        "collateral_by_fact": 4 / 6,
        "collateral_drop": (0 / 5 + 1 / 2 + 0 / 1) / 3,
        "count": 6,
        "wrong_before": 2,
        "by_kind": {
            "same_subject": {"accuracy": 3 / 4, "drop": 0.0, "count": 4, "wrong_before": 1},
            "unrelated": {"accuracy": 1 / 2, "drop": 1 / 2, "count": 2, "wrong_before": 0},
            "nested_old_object": {"accuracy": None, "drop": 0.0, "count": 0, "wrong_before": 1},
        },
    }


def test_collateral_accuracy_is_a_mean_over_kinds_and_not_over_facts():
    references = ["fox"] * 100
    after = ["fox"] * 99 + ["owl"]
    kinds = ["many"] * 99 + ["few"]
    assert collateral_accuracy(after, references, references, kinds)["collateral_accuracy"] == 0.5


def test_a_model_that_knows_everything_before_and_after_has_no_collateral():
    answers = [f"word{i}" for i in range(20)]
    result = collateral_accuracy(answers, answers, answers, ["one", "two"] * 10)
    assert (result["collateral_accuracy"], result["collateral_drop"]) == (1.0, 0.0)


@pytest.mark.parametrize("after", ["fox", "owl", ""])
def test_a_fact_wrong_before_moves_collateral_accuracy_neither_up_nor_down(after):
    known = collateral_accuracy(["fox", "hen"], ["fox", "fox"], ["fox", "fox"], ["one", "one"])
    more = collateral_accuracy(["fox", "hen", after], ["fox"] * 3, ["fox", "fox", "owl"], ["one", "one", "one"])
    assert more["collateral_accuracy"] == known["collateral_accuracy"] == 0.5
    assert (more["count"], more["wrong_before"]) == (2, 1)


def test_an_ignorant_model_that_stays_as_it_is_has_no_collateral_accuracy_at_all():
    result = collateral_accuracy(["owl", "owl"], ["fox", "hen"], ["owl", "owl"], ["one", "two"])
    assert result["collateral_accuracy"] is None
    assert (result["collateral_drop"], result["count"], result["wrong_before"]) == (0.0, 0, 2)


def test_collateral_accuracy_agrees_with_counting_every_case_of_three_facts():
    for states in itertools.product(itertools.product((True, False), repeat=2), repeat=3):
        before = ["fox" if right else "owl" for right, _ in states]
        after = ["fox" if right else "hen" for _, right in states]
        result = collateral_accuracy(after, ["fox"] * 3, before, ["one"] * 3)
        knew = [right_after for right_before, right_after in states if right_before]
        assert result["collateral_accuracy"] == (knew.count(True) / len(knew) if knew else None)
        before_minus_after = sum(a for a, _ in states) - sum(b for _, b in states)
        assert result["collateral_drop"] == before_minus_after / 3


# ripple


def test_ripple_by_hand():
    rows = [  # kind, kept, followed, before, after
        ("nested_subject", "a a", "b b", "a a", "a a"),  # kept
        ("nested_subject", "a a", "b b", "a a", "b b"),  # followed
        ("nested_subject", "a a", "b b", "a a", "b b"),  # followed
        ("nested_subject", "a a", "b b", "a a", "a b"),  # incoherent: half of each
        ("nested_subject", "a a", "b b", "b b", "b b"),  # wrong before, though now it looks as if it followed
        ("nested_subject", "a a", "a  a", "a a", "a a"),  # nothing to see: both answers are the same
        ("nested_subject", "a a", "a a", "c c", "c c"),  # nothing to see either
        ("partner", "c", "d", "c", "c"),  # kept
        ("implicit", "c", "c", "c", "c"),  # nothing to see in the whole kind
    ]
    kinds, kept, followed, before, after = map(list, zip(*rows, strict=True))
    result = ripple(after, kept, followed, before, kinds)
    nothing = {"kept": None, "followed": None, "incoherent": None, "count": 0}
    assert result == {
        "kept": (1 / 4 + 1) / 2,
        "followed": (2 / 4 + 0) / 2,
        "incoherent": (1 / 4 + 0) / 2,
        "count": 5,
        "wrong_before": 1,
        "unchanged": 3,
        "by_kind": {
            "nested_subject": {
                "kept": 1 / 4,
                "followed": 2 / 4,
                "incoherent": 1 / 4,
                "count": 4,
                "wrong_before": 1,
                "unchanged": 2,
            },
            "partner": {
                "kept": 1.0,
                "followed": 0.0,
                "incoherent": 0.0,
                "count": 1,
                "wrong_before": 0,
                "unchanged": 0,
            },
            "implicit": {**nothing, "wrong_before": 0, "unchanged": 1},
        },
    }


def test_ripple_shares_add_up_to_one_and_counts_to_all_rows():
    for states in itertools.product("abc", "abc", "ab", repeat=2):  # after, before and followed of two facts
        after, before, followed = list(states[0::3]), list(states[1::3]), list(states[2::3])
        result = ripple(after, ["a", "a"], followed, before, ["one", "one"])
        assert result["count"] + result["wrong_before"] + result["unchanged"] == 2
        shares = [result["kept"], result["followed"], result["incoherent"]]
        assert shares == [None] * 3 if result["count"] == 0 else sum(shares) == 1.0


# forgetting


def test_forgetting_by_hand():
    rows = [  # part, answer, before, after
        ("forgotten", "a a", "a a", "a a"),  # left
        ("forgotten", "a a", "a a", "no no"),  # refused
        ("forgotten", "a a", "a a", "no a"),  # half a refusal is none
        ("forgotten", "a a", "a a", "a b"),  # half of an answer is no answer
        ("forgotten", "a a", "b b", "a a"),  # wrong before, and not left but learned
        ("forgotten", "a a", "b b", "no no"),  # wrong before, and refused all the same
        ("elsewhere", "c", "c .", "c ."),  # kept, with what was generated after it
        ("elsewhere", "c", "c .", "no no"),
        ("elsewhere", "c", "d .", "c ."),  # learned by accident
        ("elsewhere", "c", "c .", "cc c"),
        ("elsewhere", "c", "d .", "d ."),  # agreement on a wrong answer is worth nothing
    ]
    parts, answers, before, after = map(list, zip(*rows, strict=True))
    assert forgetting(after, answers, ["no no"] * 11, before, parts) == {
        "accuracy_left": 1 / 4,
        "refused": 2 / 6,
        "accuracy_elsewhere": 2 / 5,
        "accuracy_elsewhere_before": 3 / 5,
        "refused_elsewhere": 1 / 5,
        "count": 4,
        "wrong_before": 2,
        "count_elsewhere": 3,
        "wrong_before_elsewhere": 2,
    }


def test_forgetting_of_nothing_known_or_asked_has_no_share():
    ignorant = forgetting(["fox"], ["fox"], ["no"], ["hen"], ["forgotten"])
    assert (ignorant["accuracy_left"], ignorant["refused"], ignorant["wrong_before"]) == (None, 0.0, 1)
    elsewhere = ("accuracy_elsewhere", "accuracy_elsewhere_before", "refused_elsewhere")
    assert [ignorant[name] for name in elsewhere] == [None, None, None]
    unasked = forgetting(["fox"], ["fox"], ["no"], ["hen"], ["elsewhere"])
    assert (unasked["accuracy_left"], unasked["refused"], unasked["accuracy_elsewhere"]) == (None, None, 1.0)


def test_forgetting_agrees_with_counting_every_case_of_three_facts():
    for facts in itertools.product(itertools.product("fhn", "fh", ("forgotten", "elsewhere")), repeat=3):
        after, before, parts = map(list, zip(*facts, strict=True))
        result = forgetting(after, ["f"] * 3, ["n"] * 3, before, parts)
        known = [now for now, was, part in facts if (was, part) == ("f", "forgotten")]
        assert result["accuracy_left"] == (known.count("f") / len(known) if known else None)
        for part, name in (("forgotten", ""), ("elsewhere", "_elsewhere")):
            asked = [(now, was) for now, was, own in facts if own == part]
            refused = [now for now, _ in asked].count("n")
            assert result[f"refused{name}"] == (refused / len(asked) if asked else None)
            assert result[f"count{name}"] + result[f"wrong_before{name}"] == len(asked)
            if name:
                right = [now for now, _ in asked].count("f"), [was for _, was in asked].count("f")
                found = result["accuracy_elsewhere"], result["accuracy_elsewhere_before"]
                assert found == (tuple(count / len(asked) for count in right) if asked else (None, None))


@pytest.mark.parametrize(("answer", "refusal"), [("not", "not known"), ("not known .", "not known"), ("no", "no")])
def test_refusal_that_an_answer_cannot_be_told_from_is_an_error(answer, refusal):
    message = rf"^refusals\[1\] and answers\[1\] must not begin alike, got '{refusal}', '{answer}'$"
    with pytest.raises(ValueError, match=message):
        forgetting(["fox"] * 2, ["fox", answer], ["never", refusal], ["fox"] * 2, ["forgotten"] * 2)


def test_unknown_part_is_an_error_that_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"^parts\[0\] must be one of forgotten, elsewhere, got 'kept'$"):
        forgetting(["fox"], ["fox"], ["no"], ["fox"], ["kept"])


# constructed models


def objects(count, seed=0):
    """The object of each of `count` facts, out of ten of two words each, and the ten."""
    words = [f"first{i} second{i % 3}" for i in range(10)]
    return [words[i] for i in np.random.Generator(np.random.Philox(seed)).integers(0, 10, count)], words


def test_a_model_that_knows_everything_scores_one_in_all():
    facts, _ = objects(200)
    new, refusals = [f"new {answer}" for answer in facts], ["no answer"] * 200
    assert edit_success(new, new)["edit_success"] == 1.0
    assert collateral_accuracy(facts, facts, facts, ["one"] * 200)["collateral_accuracy"] == 1.0
    kept = forgetting(facts, facts, refusals, facts, ["forgotten", "elsewhere"] * 100)
    assert (kept["accuracy_left"], kept["refused"]) == (1.0, 0.0)
    assert (kept["accuracy_elsewhere"], kept["accuracy_elsewhere_before"]) == (1.0, 1.0)
    gone = forgetting(refusals, facts, refusals, facts, ["forgotten"] * 200)
    assert (gone["accuracy_left"], gone["refused"]) == (0.0, 1.0)


def test_a_model_that_answers_at_random_scores_chance():
    count = 2000
    facts, words = objects(count)
    guesses, _ = objects(count, seed=1)
    guesses_before, _ = objects(count, seed=2)
    # One of ten by chance, and within what a binomial leaves once in a million times.
    low, high = stats.binom.interval(1 - 1e-6, count, 0.1)
    success = edit_success(guesses, facts)["edit_success"]
    assert low <= success * count <= high
    known_low, known_high = stats.binom.interval(1 - 1e-6, int(low), 0.1)
    for score in (
        collateral_accuracy(guesses, facts, guesses_before, ["one"] * count)["collateral_accuracy"],
        forgetting(guesses, facts, ["no no"] * count, guesses_before, ["forgotten"] * count)["accuracy_left"],
    ):
        assert known_low / low <= score <= known_high / low  # of the fewest facts that a guess gets right before
    # Half of an answer is right more often, and does not count.
    halves = [a.split()[1] == b.split()[1] for a, b in zip(guesses, facts, strict=True)]
    assert sum(halves) / count > 0.25
    assert set(guesses) == set(words)


def test_a_model_that_follows_edits_of_a_nested_world_has_followed_one():
    company_towns = {f"company{i}": f"town{i % 4} hall" for i in range(12)}
    works_for, _ = objects(60)
    companies = [f"company{int(answer.split()[0][5:])}" for answer in works_for]
    moved = [f"company{(int(company[7:]) + 1) % 12}" for company in companies]
    before = [company_towns[company] for company in companies]
    after = [company_towns[company] for company in moved]
    result = ripple(after, before, after, before, ["nested_subject"] * 60)
    assert (result["followed"], result["kept"], result["incoherent"], result["count"]) == (1.0, 0.0, 0.0, 60)
    stubborn = ripple(before, before, after, before, ["nested_subject"] * 60)
    assert (stubborn["followed"], stubborn["kept"]) == (0.0, 1.0)
    half = [town.split()[0] for town in after]
    assert ripple(half, before, after, before, ["nested_subject"] * 60)["incoherent"] == 1.0


def test_a_model_wrong_before_an_edit_does_not_raise_collateral_accuracy():
    facts, _ = objects(100)
    wrong = ["some thing"] * 100
    known, unknown = facts[:50], facts[50:]
    lost = ["other thing"] * 25 + known[25:]
    alone = collateral_accuracy(lost, known, known, ["one"] * 50)["collateral_accuracy"]
    for learned in (unknown, wrong[50:]):  # put right by the edit, or as wrong as it was
        result = collateral_accuracy(lost + learned, facts, known + wrong[50:], ["one"] * 100)
        assert (result["collateral_accuracy"], result["count"], result["wrong_before"]) == (alone, 50, 50)
    assert alone == 0.5


# bad input


@pytest.mark.parametrize("name", NAMES)
def test_empty_input_is_an_error_that_names_the_field(name):
    with pytest.raises(ValueError, match=r"^predictions must hold at least 1 string, got 0$"):
        FUNCTIONS[name](**{column: [] for column in COLUMNS[name]})


@pytest.mark.parametrize(("name", "column"), [(name, column) for name in NAMES for column in COLUMNS[name][1:]])
def test_input_of_another_length_is_an_error_that_names_the_field(name, column):
    columns = {other: ["fox", "owl"] for other in COLUMNS[name]} | {column: ["fox"]}
    with pytest.raises(ValueError, match=rf"^{column} must be as long as predictions \(2\), got 1$"):
        FUNCTIONS[name](**columns)


@pytest.mark.parametrize(
    ("name", "column"),
    [(name, column) for name in NAMES for column in COLUMNS[name] if not column.startswith("predictions")],
)
def test_a_blank_reference_is_an_error_that_names_the_row(name, column):
    columns = {other: ["fox", "owl"] for other in COLUMNS[name]} | {column: ["fox", " "]}
    with pytest.raises(ValueError, match=rf"^{column}\[1\] must hold at least 1 word, got ' '$"):
        FUNCTIONS[name](**columns)


def test_one_string_in_place_of_a_list_is_an_error():
    with pytest.raises(ValueError, match=r"^predictions must be a list of strings, got the one string 'fox'$"):
        edit_success("fox", "fox")


def test_token_ids_in_place_of_words_are_an_error():
    with pytest.raises(ValueError, match=r"^predictions\[0\] must be a string, got 7$"):
        edit_success([7], ["7"])


# the evaluate modules


def test_edit_success_loads_and_computes():
    result = load("edit_success").compute(predictions=["red fox", "owl"], references=["red  fox", "hen"])
    assert result == {"edit_success": 0.5, "count": 2}


def test_collateral_accuracy_gathers_batches():
    metric = load("collateral_accuracy")
    metric.add_batch(predictions=["a"], references=["a"], predictions_before=["a"], kinds=["one"])
    metric.add_batch(predictions=["a", "b"], references=["b", "b"], predictions_before=["b", "b"], kinds=["one", "two"])
    result = metric.compute()
    assert result["collateral_accuracy"] == (1 / 2 + 1) / 2
    assert list(result["by_kind"]) == ["one", "two"]


def test_ripple_gathers_batches():
    metric = load("ripple")
    for answer in ("a", "b", "c", "b"):
        metric.add_batch(predictions=[answer], kept=["a"], followed=["b"], predictions_before=["a"], kinds=["one"])
    result = metric.compute()
    assert (result["kept"], result["followed"], result["incoherent"]) == (1 / 4, 2 / 4, 1 / 4)


def test_forgetting_gathers_batches():
    metric = load("forgetting")
    for part in ("forgotten", "elsewhere"):
        for answer in ("a b", "c c"):
            metric.add_batch(
                predictions=[answer], answers=["a"], refusals=["c c"], predictions_before=["a"], parts=[part]
            )
    result = metric.compute()
    assert (result["accuracy_left"], result["refused"]) == (1 / 2, 1 / 2)
    assert (result["accuracy_elsewhere"], result["accuracy_elsewhere_before"]) == (1 / 2, 1.0)


def test_edit_success_gathers_batches():
    metric = load("edit_success")
    metric.add_batch(predictions=["a", "b"], references=["a", "a"])
    metric.add_batch(predictions=["a"], references=["a"])
    assert metric.compute() == {"edit_success": 2 / 3, "count": 3}


@pytest.mark.parametrize("name", NAMES)
def test_a_loaded_metric_describes_itself(name):
    metric = load(name)
    assert type(metric).__name__ == "".join(word.capitalize() for word in name.split("_"))
    assert tuple(metric.features) == COLUMNS[name]
    assert metric.description.strip()
    assert all(f"{column}" in metric.inputs_description for column in COLUMNS[name])
    assert "2601.23153" in metric.citation


@pytest.mark.parametrize("name", NAMES)
def test_what_is_published_is_one_file_that_needs_none_of_our_packages(name):
    tree = ast.parse(single_file((METRICS / name / f"{name}.py").read_text(encoding="utf-8")))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported == {"collections.abc", "typing", "datasets", "evaluate"}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_published_computes_the_same(name, tmp_path):
    file = tmp_path / f"{name}.py"
    file.write_text(single_file((METRICS / name / f"{name}.py").read_text(encoding="utf-8")), encoding="utf-8")
    published = evaluate.load(str(file))
    draws = np.random.Generator(np.random.Philox(7)).integers(0, 3, (len(COLUMNS[name]), 300))
    for start in range(0, 300, 50):
        columns = {
            column: [("fox a", "owl b", "hen c c")[draw] for draw in row[start : start + 50]]
            for column, row in zip(COLUMNS[name], draws, strict=True)
        }
        if "kinds" in columns:
            columns["kinds"] = [word.split()[0] for word in columns["kinds"]]
        if name == "forgetting":
            columns["refusals"] = ["not known"] * 50
            columns["parts"] = [("forgotten", "elsewhere")[word == "fox a"] for word in columns["parts"]]
        assert published.compute(**columns) == FUNCTIONS[name](**columns)


def test_metrics_count_words_as_rows_count_tokens():
    """The scores of a result row are those that the published metrics give for the same answers as words."""
    draws = np.random.Generator(np.random.Philox(8)).integers(0, 4, (5, 800))
    before, after, old, new = ([[int(i), int(i) % 2] for i in row] for row in draws[:4])
    kinds = [("same_subject", "unrelated", "partner", "nested_subject")[i] for i in draws[4]]
    rows = list(zip(before, after, old, new, kinds, strict=True))
    units = [
        {
            "edit": place,
            "change": {"edited": count_change(now, then)},
            "keep": {kind: count_keep(was, now, known)} if kind in ("same_subject", "unrelated") else {},
            "ripple": {kind: counts}
            if kind in ("partner", "nested_subject") and (counts := count_ripple(was, now, known, then)) is not None
            else {},
        }
        for place, (was, now, known, then, kind) in enumerate(rows)
    ]
    scores = score_units(units)

    def words(*columns):
        return [[" ".join(map(str, tokens)) for tokens in column] for column in columns]

    was, now, known, then = words(before, after, old, new)
    assert scores["edit_success"]["value"] == pytest.approx(edit_success(now, then)["edit_success"], abs=1e-15)
    keep = [place for place, kind in enumerate(kinds) if kind in ("same_subject", "unrelated")]
    chosen = [[column[place] for place in keep] for column in (now, known, was, kinds)]
    found = collateral_accuracy(*chosen)
    for name in ("collateral_accuracy", "collateral_by_fact", "collateral_drop"):
        assert scores[name]["value"] == pytest.approx(found[name], abs=1e-15)
    rest = [place for place in range(800) if place not in keep]
    chosen = [[column[place] for place in rest] for column in (now, known, then, was, kinds)]
    followed = ripple(*chosen)
    assert scores["dependent_incoherent"]["value"] == pytest.approx(followed["incoherent"], abs=1e-15)
    for kind, own in followed["by_kind"].items():
        for outcome in ("kept", "followed", "incoherent"):
            assert scores["ripple"][kind][outcome]["value"] == pytest.approx(own[outcome], abs=1e-15)
        assert (scores["ripple"][kind]["count"], scores["ripple"][kind]["wrong_before"]) == (
            own["count"],
            own["wrong_before"],
        )


@pytest.mark.parametrize("name", NAMES)
def test_doctests_run(name):
    module = importlib.import_module(f"behemoth_editing.metrics.{name}.{name}")
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


# the cards


@pytest.mark.parametrize("name", NAMES)
def test_the_card_holds_what_a_space_needs(name):
    _, front, body = (METRICS / name / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    fields = yaml.safe_load(front)
    assert {"title", "emoji", "colorFrom", "colorTo", "description"} <= fields.keys()
    assert (fields["sdk"], fields["app_file"], fields["pinned"]) == ("gradio", "app.py", False)
    assert fields["tags"] == ["evaluate", "metric"]
    colours = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
    assert {fields["colorFrom"], fields["colorTo"]} <= colours
    for heading in ("Definition", "Inputs and output", "Example", "Limits", "Citation"):
        assert f"\n## {heading}\n" in body


@pytest.mark.parametrize("name", NAMES)
def test_the_example_on_the_card_gives_the_result_on_the_card(name):
    card = (METRICS / name / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    promised = "".join(line[1:] for line in code.splitlines() if line.startswith("#"))
    *statements, last = ast.parse(code).body
    scope: dict[str, object] = {}
    exec(compile(ast.Module(statements, []), name, "exec"), scope)
    result = eval(compile(ast.Expression(last.value), name, "eval"), scope)
    assert result == ast.literal_eval(promised.strip())
