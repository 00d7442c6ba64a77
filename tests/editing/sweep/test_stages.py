"""What a long sequence comes to on the way, against answers that are asked one by one."""

import dataclasses

import numpy as np
import pytest
import torch

from behemoth_data.edits import EditConfig, draw_edits
from behemoth_editing import FineTune
from behemoth_editing.report.curves import draw_stages
from behemoth_editing.report.dataset import write_results_dataset
from behemoth_editing.report.page import write_report
from behemoth_editing.report.stages import ages_in_words, stages_in
from behemoth_editing.report.summaries import load_results, summaries
from behemoth_editing.sweep.cells import grid
from behemoth_editing.sweep.running import run
from behemoth_editing.sweep.seen import asked
from behemoth_editing.sweep.stages import AGES, stage, stages_of

EDITS = EditConfig(scenario="sequence", num_edits=6, edits_per_step=2, probes_per_edit=4, score_at=(2, 4, 6))


@pytest.fixture(scope="module")
def draw(checkpoint):
    return asked(checkpoint, draw_edits(checkpoint.corpus, EDITS))


@pytest.fixture(scope="module")
def edited(checkpoint, draw):
    """A model that was made to hold some of the edits, and to lose some of the rest."""
    model = checkpoint.model
    for one in (draw.sets[2], draw.sets[1]):
        model = FineTune(max_steps=20, retain="none")(model, one).model
    return model


def answer(model, query):
    ids = torch.tensor([query.prompt_ids])
    said = model.generate(ids, do_sample=False, max_new_tokens=len(query.answer_ids), pad_token_id=1)
    return tuple(said[0, ids.shape[1] :].tolist())


def test_stage_counts_edits_so_far_by_age_and_all_that_must_stay(checkpoint, draw, edited):
    found = stage(checkpoint.model, edited, draw, 2)
    assert found["edits"] == 4
    prompts = [(query, one.edits[i]) for one in draw.sets[:2] for i, query in enumerate(one.requests)]
    held = [answer(edited, query) == query.answer_ids for query, _ in prompts]
    assert 0 < sum(held) < 4  # or the test could not tell them apart
    assert found["change"]["edited"] == [sum(held), 4]
    # Ages, oldest edit first: 3, 2, 1 and 0 edits were made since.
    expected = {0: [held[3:]], 1: [held[1:3]], 3: [held[:1]]}
    for age, counts in zip(AGES, found["ages"], strict=True):
        of_age = expected.get(age, [[]])[0]
        assert counts == [sum(of_age), len(of_age)], age
    kept = [
        (answer(checkpoint.model, probe.before), answer(edited, probe.before), probe.before.answer_ids)
        for one in draw.sets
        for probe in one.probes
        if probe.kind == "unrelated"
    ]
    knew = sum(was == right for was, _, right in kept)
    both = sum(was == right == now for was, now, right in kept)
    assert found["keep"]["unrelated"][:2] == [both, knew]
    assert found["keep"]["unrelated"][3] == len(kept)


def test_validity_is_the_mass_on_objects_of_the_relation(checkpoint, draw, edited):
    found = stage(checkpoint.model, edited, draw, 1)
    first = draw.sets[0]
    words = first.corpus.grammar.answers(first.edge, first.relation, np.arange(20))[:, 0]
    masses = []
    for query in first.originals:
        with torch.no_grad():
            logits = edited.double()(torch.tensor([query.prompt_ids])).logits[0, -1]
        masses.append(float(torch.softmax(logits, -1)[torch.tensor(words)].sum()))
    edited.float()
    assert found["validity"] == pytest.approx(np.mean(masses), rel=1e-4)
    squares = [
        ((new - old).detach().double().square().sum(), old.detach().double().square().sum())
        for new, old in zip(edited.parameters(), checkpoint.model.parameters(), strict=True)
    ]
    moved, size = (float(sum(part)) for part in zip(*squares, strict=True))
    assert found["relative"] == pytest.approx((moved / size) ** 0.5)


@pytest.fixture(scope="module")
def folder(checkpoint, tmp_path_factory):
    output = tmp_path_factory.mktemp("stages")
    run(grid([checkpoint], [FineTune(max_steps=4)], [EDITS]), output, progress=False)
    return output


def test_rows_have_a_stage_wherever_the_draw_asks_for_one_and_the_last_is_the_rows_own(folder):
    (row,) = load_results([folder])
    assert [one["edits"] for one in stages_of(row)] == [2, 4, 6]
    last = stages_of(row)[-1]
    assert last["change"]["edited"][0] == sum(unit["change"]["edited"][0] for unit in row["units"])
    assert last["keep"]["unrelated"][0] == sum(unit["keep"].get("unrelated", [0])[0] for unit in row["units"])
    assert last["relative"] == row["weights"]["change"][0]["relative"]
    # What must stay is asked of the whole draw at every stage.
    assert len({one["keep"]["unrelated"][3] for one in stages_of(row)}) == 1


def test_report_shows_stages_as_figure_and_table(folder, tmp_path):
    write_report([folder], tmp_path / "report")
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert 'id="stages"' in page
    (summary,) = summaries(load_results([folder]))
    found = stages_in(summary)
    assert [one.edits for one in found] == [2, 4, 6]
    assert found[0].scores["edit_success"]["value"] == stages_of(summary.rows[0])[0]["change"]["edited"][0] / 2
    table = (tmp_path / "report" / "stages.md").read_text(encoding="utf-8")
    assert table.count("| finetune |") == 3
    assert "held, age newest" in table
    assert list((tmp_path / "report" / "figures").glob("stages-*.svg"))
    write_results_dataset(load_results([folder]), tmp_path / "dataset")
    write_report([folder], tmp_path / "report")  # over itself


def test_no_stage_is_no_figure(checkpoint, tmp_path):
    plain = dataclasses.replace(EDITS, score_at=(), num_edits=2)
    (row,) = run(grid([checkpoint], [FineTune(max_steps=1)], [plain]), tmp_path, progress=False)
    assert "stages" not in row
    assert draw_stages(None, [("finetune", summaries([row])[0])]) == ""


def test_ages_are_told_in_words():
    assert ages_in_words() == ["newest", "1-2", "3-9", "10-29", "30-99", "100-299", "300+"]


def test_stages_that_cannot_be_are_refused():
    message = r"score_at must be rising multiples of edits_per_step = 2, got \(2, 2\)"
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(EDITS, score_at=(2, 2))
    with pytest.raises(ValueError, match=r"score_at must be rising multiples of edits_per_step = 2, got \(3,\)"):
        dataclasses.replace(EDITS, score_at=(3,))
    with pytest.raises(ValueError, match=r"score_at must be at most num_edits = 6, got \(8,\)"):
        dataclasses.replace(EDITS, score_at=(8,))
