"""Verdicts on made-up numbers: of who sees all, who says the same of all, and who sees the wrong thing."""

import itertools

import numpy as np
import pytest

from behemoth_editing.locating.page import FIGURE, PAGE, write_locate
from behemoth_editing.locating.verdicts import FIXED, TRUE, choices, edits, layer_auc, layers_of_all, most, sights

LAYERS, WORLDS = 3, ("a", "b", "c")


def said_of(layer, name):
    """What a made-up localiser says of two late facts and of two others, in a model whose facts are in this layer."""
    nothing, there = np.zeros((2, LAYERS)), np.zeros((2, LAYERS))
    there[:, layer] = 1.0
    fixed = np.tile([3.0, 2.0, 1.0], (2, 1))
    return {
        "tracing": (there, nothing),  # sees it
        "ablation": (fixed, fixed),  # says the same of every fact in every model
        "gradient": (there, there),  # sees that the layer is another one, of whatever fact
        "probe": (fixed + there / 2, fixed),  # sees it beside other facts alone
    }[name]


def model(world, layer, rows=None):
    said = {
        name: dict(zip(("late", "early"), (one.tolist() for one in said_of(layer, name)), strict=True))
        for name in ("tracing", "ablation", "gradient", "probe")
    }
    if rows is None:
        rows = []
        for edited in range(LAYERS):
            # rome works at the true layer and, half as well, at layer 2; memit does the same everywhere.
            success = 1.0 if edited == layer else 0.5 if edited == 2 else 0.0
            rows.append({"method": "rome", "layer": edited, "success": success, "paraphrase": success})
            rows.append({"method": "memit", "layer": edited, "success": 0.5, "paraphrase": 0.25})
        rows = [{**row, "collateral": 0.75} for row in rows]
    recall = {"late": 1.0, "early": 0.5, "others": 0.25}
    return {
        "model": world,
        "name": f"{world}-layer{layer}",
        "layer": layer,
        "said": said,
        "rows": rows,
        "recall": recall,
    }


MODELS = [model(world, layer) for world, layer in itertools.product(WORLDS, range(LAYERS))]


def test_auc_counts_layers_of_which_less_is_said_and_ties_by_half():
    said = np.array([[1.0, 0.0, 2.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    np.testing.assert_allclose(layer_auc(said, 0), [0.5, 0.5])
    np.testing.assert_allclose(layer_auc(said, 2), [1.0, 0.5])
    np.testing.assert_allclose(layer_auc(said, 1), [0.0, 0.5])
    np.testing.assert_allclose(most(said), [[0, 0, 1, 0], [0.25] * 4])


def test_who_says_the_same_of_all_models_is_at_chance_whatever_it_says(monkeypatch):
    drawn = np.random.Generator(np.random.Philox(0)).normal(size=(40, 6))
    assert np.mean([layer_auc(drawn, layer).mean() for layer in range(6)]) == pytest.approx(0.5)
    assert np.mean([most(drawn)[:, layer].mean() for layer in range(6)]) == pytest.approx(1 / 6)


def test_sights_tell_who_sees_the_facts_from_who_sees_the_layer():
    found = {one.name: one for one in sights(MODELS)}
    values = {
        name: [round(getattr(one, column).value, 3) for column in ("late", "named", "beside", "early")]
        for name, one in found.items()
    }
    assert values == {
        "tracing": [1.0, 1.0, 1.0, 0.5],
        "ablation": [0.5, 0.333, 0.5, 0.5],
        "gradient": [1.0, 1.0, 0.5, 1.0],
        "probe": [0.5, 0.333, 1.0, 0.5],
    }
    np.testing.assert_array_equal(found["tracing"].layers, np.eye(3))
    np.testing.assert_array_equal(found["ablation"].layers, [[1, 0, 0]] * 3)
    assert found["tracing"].late.low == found["tracing"].late.high == 1.0


def test_intervals_are_of_worlds_and_not_of_models():
    """A hand computation: the mean of three world means, and Student's t of two degrees of freedom."""
    models = [model(world, layer) for world, layer in itertools.product(WORLDS, range(LAYERS))]
    for one, value in zip(models, (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.1, 0.1, 0.1), strict=True):
        for row in one["rows"]:
            row["success"] = value
    found = next(one for one in edits(models) if (one.method, one.measure) == ("rome", "success"))
    means = np.array([0.2, 0.5, 0.1])
    assert found.true.value == pytest.approx(means.mean())
    half = 4.302653 * means.std(ddof=1) / 3**0.5
    assert found.true.high - found.true.value == pytest.approx(min(half, 1 - means.mean()), rel=1e-5)
    assert found.true.low == 0.0


def test_edits_at_the_true_layer_are_compared_with_the_same_layers_elsewhere():
    found = {(one.method, one.measure): one for one in edits(MODELS)}
    rome = found["rome", "success"]
    assert rome.true.value == 1.0
    assert rome.elsewhere.value == pytest.approx((0 + 0 + 0.5) / 3)
    assert rome.difference.value == pytest.approx((1 + 1 + 0.5) / 3)
    np.testing.assert_array_equal(rome.layers, [[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    assert found["memit", "success"].difference.value == 0.0
    assert found["memit", "paraphrase"].true.value == 0.25
    assert found["memit", "collateral"].elsewhere.value == 0.75


def test_a_failed_edit_is_no_success_and_is_left_out_of_what_it_spares():
    models = [model(world, layer) for world, layer in itertools.product(WORLDS, range(LAYERS))]
    models[0]["rows"][0] = {"method": "rome", "layer": 0, "error": "loss is nan"}
    found = {(one.method, one.measure): one for one in edits(models)}
    assert found["rome", "success"].layers[0, 0] == pytest.approx(2 / 3)
    assert ("rome", "collateral") not in found
    assert ("memit", "collateral") in found


def test_choices_are_those_of_who_knows_of_the_other_worlds_and_of_localisers():
    found = {who: numbers["success"].value for who, numbers in choices(MODELS, "rome").items()}
    assert found[TRUE] == found["tracing"] == found["gradient"] == 1.0
    assert found[FIXED] == pytest.approx((0.5 + 0.5 + 1) / 3)  # layer 2, whose mean is the highest
    assert found["ablation"] == pytest.approx(1 / 3)  # layer 0, always
    assert choices(MODELS, "rome")[TRUE]["collateral"].value == 0.75


def test_worlds_that_were_not_read_in_every_layer_are_refused():
    with pytest.raises(ValueError, match=r"b must have been read in layers \[0, 1, 2\], got \[0, 2\]"):
        layers_of_all([one for one in MODELS if one["name"] != "b-layer1"])
    with pytest.raises(ValueError, match="models must be of at least 2 worlds, got 1"):
        sights(MODELS[:3])


def test_page_has_a_row_for_each_localiser_and_method_and_the_figure_says_them(tmp_path):
    begun = [{"name": world, "recall": {"late": 0.0, "early": 0.5, "others": 0.25}} for world in WORLDS]
    text = write_locate(begun, MODELS, tmp_path, "3 minutes on a machine.")
    assert (tmp_path / PAGE).read_text(encoding="utf-8") == text
    assert text.endswith("3 minutes on a machine.\n")
    assert "| told nothing late | 0.000 | 0.500 | 0.250 |" in text
    assert "| layer 2 | 1.000 | 0.500 | 0.250 |" in text
    assert "| causal tracing, MLP | 1.00 [1.00, 1.00] | 1.00 [1.00, 1.00] |" in text
    assert "| `rome` | edit success | 1.00 [1.00, 1.00] | 0.17 [0.17, 0.17] | 0.83 [0.83, 0.83] |" in text
    assert "| `rome` | 0.33 / 0.75 | 0.33 / 0.75 | 0.67 / 0.75 |" in text
    assert "| the true layer | 1.00 [1.00, 1.00] / 0.75 [0.75, 0.75] |" in text
    svg = (tmp_path / FIGURE).read_text(encoding="utf-8")
    assert svg.startswith("<svg ")
    assert "edits by rome: 1.00 on the diagonal" in svg
