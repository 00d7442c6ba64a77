"""Facts about unlearning methods compared where they have forgotten alike: worked out by hand from looks."""

import csv
import io

import pytest

from behemoth_editing.report.equal import equal_forgetting, kept_against_left
from behemoth_editing.report.figures import drawings
from behemoth_editing.report.judgement import Judgement
from behemoth_editing.report.summaries import summaries
from behemoth_editing.report.tables import tables_of
from behemoth_editing.report.text import table


def look(step, left, kept, rest):
    """Of 40 forgotten facts so many old answers left; of 100 unrelated facts and 50 of the relation so many kept."""
    return {
        "step": step,
        "change": {"edited": [0, 40]},
        "keep": {"unrelated": [kept, 100, kept, 100], "implicit": [rest, 50, rest, 50]},
        "ripple": {},
        "forget": {"edited": [left, 40, 0, 40]},
    }


def row(method, model, looks, end, error=None):
    found = {part: value for part, value in end.items() if part != "step"}
    return {
        "cell": f"{method}{model}".ljust(16, "0"), "method": method, "settings": {}, "scenario": "forget",
        "edge": "subject_object", "relation": 0, "num_edits": 40, "seed": 0, "structure": "independent",
        "model": f"runs/{model}", "world": {"seed": model}, "recall": {"statement": {"subject_object": 1.0}},
        "scores": None, "units": None if error else [{"edit": 0, **found}], "looks": None if error else looks,
        "seconds": {"edit": 1.0, "score": 1.0}, "weights": {"before": f"{model}" * 64, "after": None},
        "details": [], "versions": {"behemoth": "0.3.0"}, "started": "2026-11-27T12:00:00Z", "error": error,
    }  # fmt: skip


@pytest.fixture(scope="module")
def found():
    """npo in three models, which one reaches late and one never; rome, which does not train; a loss that fails."""
    rows = [
        row("npo", 1, [look(2, 30, 98, 50), look(4, 2, 90, 40), look(6, 0, 60, 20)], look(None, 0, 50, 10)),
        row("npo", 2, [look(2, 20, 100, 50)], look(None, 1, 80, 30)),
        row("npo", 3, [look(2, 36, 100, 50)], look(None, 12, 100, 50)),
        row("rome", 1, [], look(None, 0, 95, 45)),
        row("rome", 2, [], look(None, 2, 97, 47)),
        row("grad_diff", 1, [], look(None, 0, 0, 0), error="ValueError: no"),
    ]
    return summaries(rows)


def test_a_method_is_read_at_its_first_look_with_at_most_a_twentieth_left(found):
    npo, rome, failed = equal_forgetting(found)
    assert (npo.reached, npo.cells, npo.steps) == (2, 3, 4.0)  # the second model's look is its end, after no known step
    assert npo.score("collateral_by_fact")["value"] == pytest.approx((90 + 40 + 80 + 30) / 300)
    assert npo.score("collateral_accuracy")["value"] == pytest.approx((170 / 200 + 70 / 100) / 2)
    assert npo.score("implicit")["value"] == pytest.approx(70 / 100)
    assert (rome.reached, rome.cells, rome.steps) == (2, 2, None)
    assert rome.score("implicit")["value"] == pytest.approx(92 / 100)
    assert (failed.reached, failed.cells, failed.score("implicit")) == (0, 1, None)


def test_curve_has_the_cells_that_got_so_far(found):
    npo = next(summary for summary in found if summary.method == "npo")
    by_hand = [
        ((30 + 20 + 36) / 120, (98 + 50 + 150 + 150) / 450),  # at most 0.9 left: in all three
        ((30 + 20 + 12) / 120, (148 + 150 + 150) / 450),  # 0.8
        ((2 + 20 + 12) / 120, (130 + 150 + 150) / 450),  # 0.7 to 0.5
        ((2 + 1 + 12) / 120, (130 + 110 + 150) / 450),  # 0.4 and 0.3
        ((2 + 1) / 80, (130 + 110) / 300),  # 0.2 and less: the third model never
        (0.0, 80 / 150),  # none left: the first model alone
    ]
    points = [(left, kept["value"]) for left, kept in kept_against_left(npo)]
    assert points == [pytest.approx(point) for point in by_hand]


def test_what_is_kept_at_equal_forgetting_stands_in_every_table_and_a_figure(found):
    files = tables_of(found, Judgement())
    rows = {line["method"]: line for line in csv.DictReader(io.StringIO(files["equal.csv"]))}
    assert (rows["npo"]["reached"], rows["npo"]["cells"], rows["npo"]["mean_steps"]) == ("2", "3", "4")
    assert float(rows["npo"]["implicit"]) == pytest.approx(0.7)
    assert "| forget | npo | 2 of 3 | 4.0 |" in files["equal.md"]
    (figure,) = drawings(found)["forgetting"]
    assert "npo, kept where so many old answers were left" in figure.alt
    shown = [line for one in found for line in table([*one.rows, *one.failed]).splitlines()]
    assert any(line.startswith("npo") and "2 of 3" in line for line in shown)


def test_nothing_is_compared_where_nobody_looked(found):
    rows = [{**row, "looks": []} for summary in found for row in summary.rows]
    assert equal_forgetting(summaries(rows)) == []
    assert "equal.csv" not in tables_of(summaries(rows), Judgement())
