"""Facts about unlearning under a constraint: the margin, the multiplier's steps, and what they do to training."""

import numpy as np
import pytest
import torch

from behemoth_data.edits import EditConfig, draw_edits
from behemoth_editing.methods.constrain import Flatten, Multiplier, Pdu
from behemoth_editing.methods.mixture import IGNORED, Batch

TARGETS = torch.tensor([[IGNORED, 2, IGNORED], [1, 0, IGNORED]])
LOGITS = torch.tensor(
    [[[9.0, -9, 9], [1, 2, 6], [50, 9, 9]], [[1.0, 3, 2], [0, 0, 3], [9, 9, 90]]],
)


def made_up(logits=LOGITS):
    return Batch([0, 1], torch.zeros(2, 3, dtype=torch.long), TARGETS, logits, torch.zeros(2, 0, 0))


def test_margin_is_the_square_of_the_largest_logit_less_the_mean_where_the_answer_is_predicted():
    loss = Flatten((), 0.0, Multiplier(1.0, 1.0, 0.0, 0)).loss(made_up())
    assert loss.tolist() == [9.0, (1.0 + 4.0) / 2]  # (6 - 3)^2; (3 - 2)^2 and (3 - 1)^2
    assert Flatten((), 0.0, Multiplier(1.0, 1.0, 0.0, 0)).loss(made_up(torch.ones(2, 3, 3))).tolist() == [0.0, 0.0]


def test_price_rises_by_what_the_retained_rows_cost_more_than_they_may_and_falls_to_zero_at_most():
    multiplier = Multiplier(price=10.0, step=5.0, tolerance=0.3, warmup=0)
    multiplier.costs += [0.7, 0.1, 1.0]  # 0.6 on average, 0.3 too much
    multiplier.settle()
    assert multiplier.price == pytest.approx(10.0 + 5.0 * 0.3)
    assert multiplier.costs == []
    multiplier.costs += [0.0]
    multiplier.settle()
    assert multiplier.price == pytest.approx(11.5 - 5.0 * 0.3)
    for _ in range(8):
        multiplier.costs += [0.0]
        multiplier.settle()
    assert multiplier.price == 0.0


def test_price_stands_still_while_it_warms_up():
    multiplier = Multiplier(price=10.0, step=1.0, tolerance=0.0, warmup=2)
    prices = []
    for _ in range(4):
        multiplier.costs += [1.0]
        multiplier.settle()
        prices.append(multiplier.price)
    assert prices == [10.0, 10.0, 11.0, 12.0]


def test_retained_rows_count_their_price_and_are_remembered_for_its_next_step():
    objective = Flatten((), 0.0, Multiplier(7.0, 2.0, 0.5, 0))
    batch = made_up(torch.zeros(2, 3, 3))  # every word is as likely: log 3 nats
    loss = objective.retain_loss(batch)
    np.testing.assert_allclose(loss, [7 * np.log(3)] * 2, rtol=1e-6)
    objective.stepped()
    assert objective.multiplier.price == pytest.approx(7 + 2 * (np.log(3) - 0.5), rel=1e-6)
    np.testing.assert_allclose(objective.retain_loss(batch), [objective.multiplier.price * np.log(3)] * 2, rtol=1e-6)


@pytest.fixture(scope="module")
def edit_set(checkpoint):
    return draw_edits(checkpoint.corpus, EditConfig(scenario="different", num_edits=3))[0]


def test_every_step_of_training_moves_the_price_by_the_mean_over_kinds(checkpoint, edit_set, monkeypatch):
    seen = []

    class Watched(Multiplier):
        def settle(self):
            before, costs = self.price, list(self.costs)
            super().settle()
            seen.append((before, costs, self.price))

    monkeypatch.setattr("behemoth_editing.methods.constrain.Multiplier", Watched)
    Pdu(max_steps=3, patience=9, retain_weight=4.0, dual_step=3.0, tolerance=0.2)(checkpoint.model, edit_set)
    kinds = {kind for kind, facts in edit_set.retain.items() if facts}
    assert [len(costs) for _, costs, _ in seen] == [len(kinds)] * 3
    price = 4.0
    for before, costs, after in seen:
        assert before == price
        price = max(0.0, price + 3.0 * (np.mean(costs) - 0.2))
        assert after == pytest.approx(price, rel=1e-9)


def test_a_tight_constraint_holds_more_of_the_rest_than_none(checkpoint, edit_set):
    def cost(**settings):
        method = Pdu(max_steps=15, patience=15, learning_rate=1e-2, **settings)
        edited = method(checkpoint.model, edit_set).model
        kept = [query for facts in edit_set.retain.values() for query in facts][::5]
        with torch.no_grad():
            asked = [edited(torch.tensor([query.prompt_ids])).logits[0, -1].log_softmax(0) for query in kept]
        return -np.mean([float(said[query.answer_ids[0]]) for said, query in zip(asked, kept, strict=True)])

    free = cost(retain_weight=0.0, dual_step=0.0)
    assert cost(retain_weight=0.0, dual_step=50.0, tolerance=0.05) < 0.5 * free


@pytest.mark.parametrize("field", ["dual_step", "dual_warmup", "tolerance"])
def test_what_cannot_be_negative_is_refused(field):
    with pytest.raises(ValueError, match=f"{field} must be at least 0, got -1"):
        Pdu(**{field: -1})
