"""Facts about rows of models that were edited elsewhere: the same numbers as ours, told apart from ours everywhere."""

import dataclasses
import json
import shlex

import pytest
import torch
from matplotlib.figure import Figure

from behemoth_data.edits import EditConfig, draw_edits
from behemoth_editing.copies import copy_of
from behemoth_editing.given import listed_set
from behemoth_editing.report.commands import commands_for
from behemoth_editing.report.dataset import result_table
from behemoth_editing.report.figures import draw_cost
from behemoth_editing.report.page import page
from behemoth_editing.report.pooling import paired_difference
from behemoth_editing.report.summaries import load_results, summaries
from behemoth_editing.report.text import table
from behemoth_editing.sweep.cells import Cell
from behemoth_editing.sweep.elsewhere import Maker
from behemoth_editing.sweep.kept import kept_models
from behemoth_editing.sweep.plans import planned, score_outside, unscored
from behemoth_editing.sweep.running import run
from behemoth_editing.sweep.verifying import differences

DIFFERENT = EditConfig(scenario="different", num_edits=2, probes_per_edit=5)
SINGLE = dataclasses.replace(DIFFERENT, scenario="single")
NOTHING = (None, None, None)
MADE = ("rome", {"layer": 3}, "a tool 1.0")


@pytest.fixture(scope="module")
def ours(checkpoint, nudge, tmp_path_factory):
    """A folder of our own results with their models, and its rows."""
    folder = tmp_path_factory.mktemp("ours")
    return folder, run([Cell(checkpoint, nudge(), edits) for edits in (DIFFERENT, SINGLE)], folder, save_models=True)


@pytest.fixture(scope="module")
def places(ours):
    return [[str(place) for place in kept_models(ours[0], row)] for row in ours[1]]


@pytest.fixture(scope="module")
def theirs(checkpoint, places, tmp_path_factory):
    """The rows of the same models, scored as if another tool had made them."""
    folder = tmp_path_factory.mktemp("theirs")
    plan = planned(checkpoint, [*places[0], *reversed(places[1])], [MADE] * 3, progress=False)
    return folder, score_outside(plan, folder, command="behemoth score", progress=False)


def test_same_models_have_the_same_counts_scores_and_digests_whoever_scores_them(ours, theirs):
    for own, other in zip(ours[1], theirs[1], strict=True):
        assert list(differences(own, other)) == []
        assert (own["seed"], own["edits"], own["world"]) == (other["seed"], other["edits"], other["world"])


def test_row_says_that_it_was_edited_elsewhere_and_what_its_maker_says(theirs, places):
    first, second = theirs[1]
    assert (first["method"], first["settings"]) == ("rome (elsewhere: a tool 1.0)", {"layer": 3})
    assert first["elsewhere"] == {
        "method": "rome",
        "source": "a tool 1.0",
        "models": places[0],
        "sets": [[0]],
        "edits": None,
    }
    assert second["elsewhere"]["sets"] == [[0], [1]]  # in the order of the draw
    assert second["elsewhere"]["models"] == places[1]
    assert first["seconds"]["edit"] is None
    assert first["command"] == "behemoth score"


def test_what_a_model_says_of_itself_stands_where_nobody_says_more(checkpoint, places):
    (one,) = planned(checkpoint, places[0], [NOTHING], progress=False)
    assert (one.maker.label, one.maker.settings) == ("nudge (elsewhere)", {"by": 0.5})
    assert one.config == DIFFERENT


def test_drawn_sets_take_one_model_for_all_or_of_single_one_for_each(checkpoint, ours, places):
    sets = draw_edits(checkpoint.corpus, SINGLE)
    (one,) = planned(checkpoint, places[1], [MADE] * 2, sets, progress=False)
    assert one.numbers == [[0], [1]]
    with pytest.raises(ValueError, match="edited must name a model for each of the 2 sets of the draw, got 1"):
        planned(checkpoint, places[1][:1], [MADE], sets, progress=False)
    with pytest.raises(ValueError, match="by one method with one settings and source, got"):
        planned(checkpoint, places[1], [MADE, NOTHING], sets, progress=False)
    both = planned(checkpoint, places[1], [MADE] * 2, draw_edits(checkpoint.corpus, DIFFERENT), progress=False)
    assert [one.numbers for one in both] == [[[0]], [[0]]]


def test_one_of_several_single_edits_keeps_its_number(checkpoint, ours, places):
    (one,) = planned(checkpoint, places[1][1:], [NOTHING], progress=False)
    (second,), expected = one.again()["units"], ours[1][1]["units"][1]
    assert [second[part] for part in ("edit", "change", "keep")] == [
        expected[part] for part in ("edit", "change", "keep")
    ]
    with pytest.raises(
        ValueError, match="edited must each hold another edit of one draw, by one method .*, got .*-1 and .*-1"
    ):
        planned(checkpoint, places[1][1:] * 2, [NOTHING] * 2, progress=False)


def test_rows_are_told_apart_beside_ours_in_every_report(ours, theirs):
    rows = load_results([ours[0], theirs[0]])
    assert len(rows) == 4
    shown = page(rows)
    assert "<td>rome (elsewhere: a tool 1.0)</td>" in shown or ">rome (elsewhere: a tool 1.0)</th>" in shown
    assert "they were edited elsewhere, and scored here" in shown
    assert str(ours[0]) not in shown
    columns = result_table(rows).to_pylist()
    assert [row["seconds_edit"] is None for row in columns] == [False, False, True, True]
    assert json.loads(columns[2]["other"])["elsewhere"]["source"] == "a tool 1.0"
    assert "elsewhere" in table(rows)
    assert paired_difference([ours[1][0]], [theirs[1][0]], "edit_success").value == 0.0


def test_command_that_scores_them_again_has_what_was_said_and_the_draw(theirs, places):
    *scores, _ = commands_for(theirs[1], ["results/theirs"], "report")
    first, second = (shlex.split(command.replace("\\\n", " ")) for command in scores)
    assert first[:2] == ["behemoth", "score"]
    options = dict(zip(first[2::2], first[3::2], strict=True))
    assert options["--edited"] == places[0][0].rpartition("/")[2]  # no path of this machine
    assert (options["--method"], options["--source"]) == ("rome", "a tool 1.0")
    assert json.loads(options["--settings"]) == {"layer": 3}
    assert (options["--scenario"], options["--sweep.num_edits"], options["--sweep.probes_per_edit"]) == (
        "different",
        "2",
        "5",
    )
    assert second[second.index("--edited") + 1 : second.index("--method")] == [
        place.rpartition("/")[2] for place in places[1]
    ]


def test_seconds_of_models_from_elsewhere_are_unknown_and_in_no_figure(theirs):
    found = summaries(theirs[1])
    assert [summary.seconds for summary in found] == [None, None]
    figure = Figure()
    assert draw_cost(figure, figure.add_subplot(), found, [(one.method, one) for one in found], found, {}) == ""


def test_scored_models_are_not_scored_again_and_two_that_nothing_tells_apart_are_refused(checkpoint, theirs, places):
    done = planned(checkpoint, places[0], [MADE], progress=False)
    assert unscored(done, theirs[0]) == []
    other = planned(checkpoint, places[0], [("rome", {"layer": 4}, "a tool 1.0")], progress=False)
    assert unscored([*other, *other], theirs[0]) == other
    sets = draw_edits(checkpoint.corpus, DIFFERENT)
    with pytest.raises(ValueError, match="settings must tell models of one method, source and draw apart"):
        unscored(planned(checkpoint, places[1][:1], [MADE], sets, progress=False), theirs[0])


def test_edits_of_a_file_are_a_question_of_their_own(checkpoint, places, tmp_path):
    world = checkpoint.corpus.world
    listed = [
        {"subject": head, "relation": 1, "new_object": (int(world.objects([head], 1)[0]) + 1) % 20} for head in (3, 4)
    ]
    edits = listed_set(checkpoint, {"edits": listed, "draw": {"probes_per_edit": 2}})
    (one,) = planned(checkpoint, places[0], [MADE], (edits,), progress=False)
    assert (one.numbers, one.edits["given"]) == (None, one.row()["edits"]["given"])
    assert [edit["fact"]["head"] for edit in one.row()["elsewhere"]["edits"]] == [3, 4]
    (row,) = score_outside([one], tmp_path, progress=False)
    assert [unit["edit"] for unit in row["units"]] == [0, 1]
    assert load_results([tmp_path])[0]["relation"] == 1


def test_more_edits_may_be_listed_than_a_draw_offers(checkpoint, places):
    objects = checkpoint.corpus.world.objects(range(12), 0).tolist()
    listed = [{"subject": s, "relation": 0, "new_object": (o + 1) % 20} for s, o in enumerate(objects)]
    (one,) = planned(checkpoint, places[0], [MADE], (listed_set(checkpoint, listed),), progress=False)
    assert (one.config.num_edits, one.numbers) == (12, None)  # of distinct objects there are 10 at most


def test_model_that_does_not_say_what_it_holds_is_refused_unless_somebody_does(checkpoint, tmp_path):
    model = copy_of(checkpoint.model)
    with torch.no_grad():
        model.lm_head.weight[7] *= 2
    model.save_pretrained(tmp_path / "by hand")
    place = str(tmp_path / "by hand")
    with pytest.raises(ValueError, match="edited must say which edits it holds .* got .* with 0 steps"):
        planned(checkpoint, [place], [MADE], progress=False)
    sets = draw_edits(checkpoint.corpus, DIFFERENT)
    with pytest.raises(ValueError, match="method must be named for a model that does not say it"):
        planned(checkpoint, [place], [NOTHING], sets, progress=False)
    assert len(planned(checkpoint, [place], [MADE], sets, progress=False)) == 1


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"method": " "}, "method must be named, got ' '"),
        ({"method": "a\nb"}, r"method must be text of at most 80 letters in one line, got 'a\\nb'"),
        ({"method": "a", "source": "x" * 81}, "source must be text of at most 80 letters"),
        ({"method": "a", "settings": [1]}, r"settings must be an object, got \[1\]"),
    ],
)
def test_what_nobody_could_read_in_a_table_is_refused(said, message):
    with pytest.raises(ValueError, match=message):
        Maker(**said)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x", "edits must be a list or an object, got str"),
        ({"edit": []}, "part of edits must be one of edits, draw, got 'edit'"),
        ({"draw": {}}, "edits must list edits, got None"),
        ([], "edits must hold at least 1 edit, got 0"),
        ([3], "edits, entry 0: an edit must be an object, got 3"),
        ([{"subject": 0}], r"must have subject, relation and new_object, got none of \['relation', 'new_object'\]"),
        ([{"subjects": 0}], "edits, entry 0: field must be one of subject, relation, new_object, edge, got 'subjects'"),
        ([{"fact": {"head": 1}, "new_tail": 2}], "must have fact with edge, head, relation and tail, and new_tail"),
        ([{"subject": "nobody", "relation": 0, "new_object": 1}], "subject must be a word of the world"),
    ],
)
def test_file_that_lists_no_edits_is_refused_with_the_place(content, message, checkpoint):
    with pytest.raises(ValueError, match=message):
        listed_set(checkpoint, content)
