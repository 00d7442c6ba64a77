"""Verdicts on made-up numbers: of who sees all, who says the same of all, and who sees the wrong thing."""

import itertools

import numpy as np
import pytest

from behemoth_editing.locating.page import FIGURE, PAGE, write_locate
from behemoth_editing.locating.verdicts import (
    FIXED,
    TRUE,
    choices,
    edits,
    layer_auc,
    layers_of_all,
    most,
    sights,
    whole_worlds,
)

LAYERS, WORLDS = 3, ("a", "b", "c")
NAMES = ("tracing", "ablation", "gradient", "probe")


def said_of(layer, name):
    """What a made-up localiser says of two late facts and of two others, in a model whose facts are in this layer."""
    nothing, there = np.zeros((2, LAYERS)), np.zeros((2, LAYERS))
    there[:, layer] = 1.0
    fixed = np.tile([3.0, 2.0, 1.0], (2, 1))
    return {
        "tracing": (there, nothing),  # sees it
        "ablation": (fixed, fixed),  # says the same of every fact in every model
        "gradient": (there, there),  # sees that the layer is another one, of whatever fact
        "probe": (fixed + there / 2, fixed),  # sees it beside the same fact in other copies alone
    }[name]


def model(world, layer):
    said = {
        name: dict(zip(("late", "early"), (one.tolist() for one in said_of(layer, name)), strict=True))
        for name in NAMES
    }
    rows = []
    for edited in range(LAYERS):
        # rome works at the true layer and, half as well, at layer 2; memit does the same everywhere.
        made = 10 if edited == layer else 5 if edited == 2 else 0
        for method, count in (("rome", made), ("memit", 5)):
            counts = {"success": [count, 10], "paraphrase": [count, 20]}
            kept = {"late": [3, 4], "early": [2, 4], "others": [count, 12]}
            rows.append({"method": method, "layer": edited, **counts, **kept})
    found = {"model": world, "name": f"{world}-layer{layer}", "layer": layer, "said": said, "rows": rows}
    found["recall"] = {"late": 1.0, "early": 0.5, "others": 0.25}
    return found | {"heads": {"late": [4, 9], "early": [1, 2]}, "answer": {"late": [0.9, 0.125], "early": [1.0, 0.0]}}


MODELS = [model(world, layer) for world, layer in itertools.product(WORLDS, range(LAYERS))]


def test_auc_counts_layers_of_which_less_is_said_and_ties_by_half():
    said = np.array([[1.0, 0.0, 2.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    np.testing.assert_allclose(layer_auc(said, 0), [0.5, 0.5])
    np.testing.assert_allclose(layer_auc(said, 2), [1.0, 0.5])
    np.testing.assert_allclose(layer_auc(said, 1), [0.0, 0.5])
    np.testing.assert_allclose(most(said), [[0, 0, 1, 0], [0.25] * 4])


def test_who_says_the_same_of_all_models_is_at_chance_whatever_it_says():
    drawn = np.random.Generator(np.random.Philox(0)).normal(size=(40, 6))
    assert np.mean([layer_auc(drawn, layer).mean() for layer in range(6)]) == pytest.approx(0.5)
    assert np.mean([most(drawn)[:, layer].mean() for layer in range(6)]) == pytest.approx(1 / 6)


def test_sights_tell_who_sees_the_facts_from_who_sees_the_layer():
    found = {one.name: one for one in sights(MODELS)}
    columns = ("layers", "named", "copies", "early_layers", "early_named", "early_copies")
    values = {name: [round(getattr(one, column).value, 3) for column in columns] for name, one in found.items()}
    assert values == {
        "tracing": [1.0, 1.0, 1.0, 0.5, 0.333, 0.5],
        "ablation": [0.5, 0.333, 0.5, 0.5, 0.333, 0.5],
        "gradient": [1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
        "probe": [0.5, 0.333, 1.0, 0.5, 0.333, 0.5],
    }
    np.testing.assert_array_equal(found["tracing"].names, np.eye(3))
    np.testing.assert_array_equal(found["ablation"].names, [[1, 0, 0]] * 3)
    np.testing.assert_allclose(found["ablation"].by_layer, [1.0, 0.5, 0.0])
    assert found["tracing"].layers.low < found["tracing"].layers.high == 1.0  # flawless in few is not certain


def test_copies_are_compared_fact_by_fact_also_where_one_of_them_does_not_know_it():
    models = [model("a", layer) for layer in range(LAYERS)] + [model("b", layer) for layer in range(LAYERS)]
    models[0]["heads"]["late"] = [9]  # and not head 4
    for name in NAMES:
        models[0]["said"][name]["late"] = [[0.0, 5.0, 0.0]]
    found = next(one for one in sights(models) if one.name == "tracing")
    # In world a layer 0 has as little of head 9 in the first copy as elsewhere: 0.5. Layer 1 has less of it in its own
    # copy than in the first and more than in the last, 0.5, and more of head 4 than in the one copy that knows it: 1.
    # All else is 1: 4 of 5 in world a, 6 of 6 in world b.
    assert found.copies.value == pytest.approx((4 + 6) / 11)


def test_intervals_are_of_worlds_and_not_of_models():
    """Three worlds that agree within themselves and not with each other tell little, however many copies they have."""
    models = [model(world, layer) for world, layer in itertools.product(WORLDS, range(LAYERS))]
    for one, made in zip(models, (2, 2, 2, 8, 8, 8, 5, 5, 5), strict=True):
        for row in one["rows"]:
            row["success"] = [made, 10]
    found = next(one for one in edits(models) if (one.method, one.measure) == ("rome", "success"))
    assert found.there.value == found.elsewhere.value == 0.5
    assert found.there.low < 0.5 - 4.302653 * np.std([0.2, 0.8, 0.5], ddof=1) / 3**0.5 + 0.3  # Student's t of 2
    assert found.there.high - found.there.low > 0.8
    assert found.difference.value == 0.0


def test_edits_at_the_true_layer_are_compared_with_the_same_layers_elsewhere():
    found = {(one.method, one.measure): one for one in edits(MODELS)}
    rome = found["rome", "success"]
    assert rome.there.value == 1.0
    assert rome.elsewhere.value == pytest.approx((0 + 0 + 0.5) / 3)
    assert rome.difference.value == pytest.approx((1 + 1 + 0.5) / 3)
    np.testing.assert_array_equal(rome.table, [[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    assert found["memit", "success"].difference.value == 0.0
    assert found["memit", "paraphrase"].there.value == 0.25
    assert found["memit", "late"].elsewhere.value == 0.75


def test_a_failed_edit_is_no_success_and_is_left_out_of_what_it_spares():
    models = [model(world, layer) for world, layer in itertools.product(WORLDS, range(LAYERS))]
    models[0]["rows"][0] = {"method": "rome", "layer": 0, "error": "loss is nan"}
    found = {(one.method, one.measure): one for one in edits(models)}
    assert found["rome", "success"].table[0, 0] == pytest.approx(2 / 3)
    assert found["rome", "success"].there.value == pytest.approx(8 / 9)
    assert found["rome", "late"].table[0, 0] == 0.75
    for one in models:
        one["rows"] = [
            row if row["method"] == "memit" else {"method": "rome", "layer": row["layer"], "error": "singular"}
            for row in one["rows"]
        ]
    found = {(one.method, one.measure): one for one in edits(models)}
    assert found["rome", "success"].there.value == 0.0
    assert ("rome", "late") not in found
    assert ("memit", "late") in found


def test_choices_are_those_of_who_knows_of_the_other_worlds_and_of_localisers():
    found = choices(MODELS, "rome")
    made = {who: pair[0].value for who, pair in found.items()}
    assert made[TRUE] == made["tracing"] == made["gradient"] == 1.0
    assert made[FIXED] == pytest.approx((0.5 + 0.5 + 1) / 3)  # layer 2, whose mean is the highest
    assert made["ablation"] == pytest.approx(1 / 3)  # layer 0, always
    assert found[TRUE][1].value == pytest.approx((3 + 2 + 10) / 20)  # of late, early and other facts


def test_worlds_that_were_not_read_in_every_layer_are_refused_or_left_out_by_name():
    some = [one for one in MODELS if one["name"] != "b-layer1"]
    with pytest.raises(ValueError, match=r"models must have every layer of \[0, 1, 2\] for each world, got .*'b'"):
        layers_of_all(some)
    kept, missing = whole_worlds(some, (0, 1, 2))
    assert missing == ["b"]
    assert {one["model"] for one in kept} == {"a", "c"}
    assert layers_of_all(kept) == [0, 1, 2]
    assert whole_worlds(MODELS, (0, 1, 2, 3)) == ([], list(WORLDS))
    with pytest.raises(ValueError, match="models must be of at least 2 worlds, got 1"):
        sights(MODELS[:3])


def test_page_has_a_row_for_each_localiser_and_method_and_the_figure_says_them(tmp_path):
    begun = [{"name": world, "recall": {"late": 0.0, "early": 0.5, "others": 0.25}} for world in WORLDS]
    text = write_locate(begun, MODELS, tmp_path, "3 minutes on a machine.")
    assert (tmp_path / PAGE).read_text(encoding="utf-8") == text
    assert text.endswith("3 minutes on a machine.\n")
    for row in (
        "| told nothing late | 0.000 | 0.500 | 0.250 | - | - |",
        "| layer 2 | 1.000 | 0.500 | 0.250 | 0.90 | 0.12 |",
        "| mean ablation, MLP | 1.00 | 0.50 | 0.00 |",
        "| `rome` | edit success | 1.00 / 0.00 | 1.00 / 0.00 | 1.00 / 0.50 |",
    ):
        assert row in text
    for start in ("| causal tracing, MLP | 1.00 [", "| `rome` | edit success | 1.00 [", "| the true layer | 1.00 ["):
        assert start in text
    svg = (tmp_path / FIGURE).read_text(encoding="utf-8")
    assert svg.startswith("<svg ")
    assert "edits by rome: 1.00 on the diagonal" in svg
