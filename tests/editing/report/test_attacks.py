"""Tables and figures of attacks, from rows made by hand whose numbers can be checked by eye."""

import math

import numpy as np
import pytest

from behemoth_data.rng import Stream
from behemoth_editing.report.attacks import curves, figures, load_attacks, markdown, write_attacks
from behemoth_editing.scoring.intervals import estimate_mean
from behemoth_editing.sweep.attacking import TRIALS


def row(method, bits, model="a", attack="relearn", **changes):
    """Bits [T, F] of an attack on a method's model, of which 1 bit of each fact can be inferred."""
    return {
        "cell": f"{model}-{method}-{attack}-{changes.get('seed', 0)}",
        "model": f"runs/{model}",
        "hub_id": None,
        "structure": "nested",
        "world": {"num_subjects": 9, "seed": ord(model)},
        "edge": "subject_object",
        "relation": 0,
        "scenario": "forget",
        "num_edits": 4,
        "edits": {"scenario": "forget", "edit_seed": 0},
        "seed": 0,
        "method": method,
        "settings": {},
        "attack": attack,
        "attack_settings": {},
        "weights": {"before": model * 16, "after": [method]},
        "versions": {"behemoth": "0.0.0"},
        "axis": "optimizer steps",
        "heads": list(range(len(bits[0]))),
        "candidates": 16,
        "inferable": [1.0] * len(bits[0]),
        "left": [
            {"step": step, "label": "", "said": [-9.0] * len(one), "bits": one, "right": [int(b > 2) for b in one]}
            for step, one in zip((0, 8, 64), bits, strict=False)
        ],
        "error": None,
        "refused": None,
        **changes,
    }


# Four facts, three steps: the best step of the even facts is the second, that of the odd ones the third.
BITS = [[0.0, 0.1, 0.2, 0.1], [3.0, 0.0, 3.0, 1.0], [1.0, 3.0, 2.0, 4.0]]
NEVER = [[0.0, 0.0, 0.0, 0.0], [0.5, 0.0, 0.5, 0.0], [0.0, 0.25, 0.0, 0.25]]


def test_numbers_by_hand():
    found = {curve.method: curve for curve in curves([row("omit", NEVER), row("npo", BITS)])}
    npo = found["npo"]
    assert [look.step for look in npo.looks] == ["0", "8", "64"]
    assert [look.bits.value for look in npo.looks] == pytest.approx([0.1, 1.75, 2.5])
    assert [look.never.value for look in npo.looks] == pytest.approx([0, 0.25, 0.125])
    assert [look.beyond.value for look in npo.looks] == pytest.approx([0.1, 1.5, 2.375])
    assert [look.reasoner.value for look in npo.looks] == pytest.approx([-0.9, 0.75, 1.5])
    assert [look.right.value for look in npo.looks] == pytest.approx([0, 0.5, 0.5])
    assert {look.said.value for look in npo.looks} == {-9.0}
    assert found["omit"].looks[1].beyond.value == 0


def test_strongest_step_of_each_half_is_the_one_that_is_best_on_the_other():
    (curve,) = curves([row("npo", BITS)])
    # Odd facts (0.0, 1.0 at 8; 3.0, 4.0 at 64) choose 64 for the even ones (1.0, 2.0), which choose 8 for the odd ones.
    assert curve.strongest.step == "64 or 8"
    assert curve.strongest.bits.value == pytest.approx((1.0 + 2.0 + 0.0 + 1.0) / 4)
    assert curve.strongest.never is curve.strongest.beyond is None


def test_choosing_a_step_finds_nothing_in_noise():
    drawn = Stream(0, "tests/attacks").uniform(np.arange(20 * 8 * 50)).reshape(20, 8, 50) - 0.5
    rows = [row("npo", [[0.0] * 50], model=chr(97 + number)) for number in range(20)]
    for one, table in zip(rows, drawn.tolist(), strict=True):
        one["left"] = [
            {"step": step, "label": "", "said": bits, "bits": bits, "right": [0] * 50}
            for step, bits in enumerate(table)
        ]
    values = [curves([one])[0].strongest.bits.value for one in rows]
    naive = [max(np.mean(look["bits"]) for look in one["left"]) for one in rows]
    assert abs(np.mean(values)) < 3 * 0.29 / math.sqrt(50 * 20)
    assert np.mean(naive) > 0.03


def test_models_are_pooled_and_differences_paired():
    rows = []
    shifts = {"a": 0.0, "b": 0.5, "c": 1.2}
    for model, shift in shifts.items():
        rows.append(row("omit", [[shift, shift]], model))
        rows.append(row("npo", [[shift + 1.0, shift + 1.1 + shift / 10]], model))
    npo = next(curve for curve in curves(rows) if curve.method == "npo")
    assert npo.num_models == 3
    by_model = [1.05 + shift / 20 for shift in shifts.values()]
    expected = estimate_mean(by_model, list(shifts)).at()
    found = npo.looks[0].beyond
    assert (found.value, found.low, found.high) == pytest.approx((expected.value, expected.low, expected.high))
    # The t of 2 degrees of freedom is 4.3027.
    reach = 4.3027 * np.std(by_model, ddof=1) / math.sqrt(3)
    assert found.high - found.value == pytest.approx(reach, rel=1e-3)
    assert npo.looks[0].bits.high - npo.looks[0].bits.value > 10 * reach


def test_rows_that_ask_other_facts_are_not_compared():
    with pytest.raises(ValueError, match="rows must ask the same facts as those of omit, got others in a-npo"):
        curves([row("omit", NEVER, heads=[5, 6, 7, 8]), row("npo", BITS)])


def test_settings_and_worlds_are_told_apart_by_what_differs():
    rows = [
        row("npo", BITS, settings={"beta": 1.0, "layers": [3]}),
        row("npo", BITS, settings={"beta": 3.0, "layers": [3]}, cell="other"),
        row("npo", BITS, "b", settings={"beta": 3.0, "layers": [3]}, world={"num_subjects": 20, "seed": 1}),
    ]
    found = curves(rows)
    assert {curve.method for curve in found} == {"npo (beta=1.0)", "npo (beta=3.0)"}
    assert {curve.place for curve in found} == {"nested, forget (num_subjects=9)", "nested, forget (num_subjects=20)"}


def test_table_says_what_is_left_and_what_could_not_be_tried():
    rows = [row("omit", NEVER), row("npo", BITS)]
    rows.append(row("npo", BITS, attack="hint", refused="it cannot read", left=None))
    rows.append(row("omit", BITS, attack="hint", refused="it cannot", left=None))
    rows.append(row("npo", BITS, attack="probe", error="ValueError: no", left=None))
    text = markdown(rows)
    assert "### nested, forget\n" in text
    assert "1 models, 4 facts asked in each. An object is 4.00 bits, of which a perfect reasoner infers 1.00" in text
    assert "| `npo` | `relearn` | 64 or 8 | 1.00 [-, -] | 0.00 [-, -] | 0.00 [-, -] | -9.00 [-, -] | " in text
    assert "- `hint` could not be tried 2 times, on `npo`, `omit`: it cannot read\n" in text
    assert "- `probe` failed 1 times, on `npo`: ValueError: no\n" in text
    assert all(line.count("|") in (0, 3, 9) for line in text.splitlines())


def test_figures_are_the_same_bytes_each_time_and_show_every_attack(tmp_path):
    rows = [row("omit", NEVER), row("npo", BITS), row("npo", BITS[:1], attack="at_once")]
    (one,) = figures(rows).items()
    assert figures(rows) == dict([one])
    name, svg = one
    assert name == "attacks-01-nested.svg"
    for word in ("never told", "npo", "at_once", "optimizer steps", "bits left"):
        assert word in svg.decode("utf-8")
    assert write_attacks(rows, tmp_path) == ["attacks.md", name]
    assert (tmp_path / name).read_bytes() == svg


def test_folder_without_rows_is_refused(tmp_path):
    with pytest.raises(ValueError, match=f"holds no {TRIALS}"):
        load_attacks(tmp_path)
