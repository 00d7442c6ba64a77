"""What a method says of itself, as JSON: every value has words, and none costs a row."""

import collections
import dataclasses
import enum
import json
import pathlib
import string

import numpy as np
import pytest
import torch

from behemoth_data.edits import EditConfig
from behemoth_editing.sweep.plain import MOST_LISTED, plain, words_of


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Note:
    loss: float
    where: tuple[int, ...]


class Mute:
    """An object that cannot say what it is."""

    def __str__(self):
        raise RuntimeError("no words")


def around(value):
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (3, 3),
        (0.5, 0.5),
        ("word", "word"),
        (np.float32(0.5), 0.5),
        (np.int64(7), 7),
        (np.bool_(True), True),
        (np.longdouble(0.5), 0.5),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (np.float32("-inf"), "-inf"),
        (torch.tensor(0.5), 0.5),
        (torch.tensor([1.5, float("nan")], dtype=torch.bfloat16), [1.5, "nan"]),
        (torch.ones(2, 1, requires_grad=True), [[1.0], [1.0]]),
        (torch.tensor([True, False]), [True, False]),
        (np.arange(4).reshape(2, 2), [[0, 1], [2, 3]]),
        (np.array([Colour.RED, None], dtype=object), ["red", None]),
        ((1, [2, {3}]), [1, [2, [3]]]),
        ({10, 9, 2}, [10, 2, 9]),  # in the order of their text, whatever the hashes
        (frozenset(), []),
        (Colour.RED, "red"),
        (Note(float("inf"), (1, 2)), {"loss": "inf", "where": [1, 2]}),
        ({1: "a", None: "b", (2, 3): "c", "d": "e"}, {"1": "a", "null": "b", "[2, 3]": "c", "d": "e"}),
        ({1: "a", "1": "b"}, {"1": "a", "1 (str)": "b"}),
        (collections.deque([1]), [1]),
        (pathlib.PurePosixPath("/a/b"), "/a/b"),
        (b"a\xff", "a\\xff"),
        ("caf\udce9", "caf\\udce9"),
        (torch.float32, "torch.float32"),
        (json.dumps, "json.dumps"),
        (Note, f"{__name__}.Note"),
        (1 + 2j, "(1+2j)"),
        (range(10**12), "range(0, 1000000000000)"),
        (Mute(), "Mute"),
        (around([1]), [1, "..."]),
    ],
)
def test_value_is_what_json_has(value, expected):
    found = plain(value)
    assert found == expected
    assert type(found) is type(expected)
    json.dumps(found, allow_nan=False)


def test_plain_values_stay_as_they_are():
    value = {"layers": [2, 3], "rank": None, "rate": 1e-3, "name": "x", "deep": {"yes": True}}
    assert plain(value) == value
    assert plain(plain(value)) == value


def test_setting_that_came_later_is_told_only_where_it_differs_from_its_default():
    assert "transfer" not in plain(EditConfig())
    assert plain(EditConfig(transfer=True)) == {**plain(EditConfig()), "transfer": True}


def test_large_array_is_told_from_another_by_its_digest():
    size = MOST_LISTED + 1
    zeros, ones = plain(torch.zeros(size)), plain(torch.ones(size))
    assert (zeros["shape"], zeros["dtype"]) == ([size], "torch.float32")
    assert zeros["digest"] != ones["digest"]
    assert len(plain(torch.zeros(MOST_LISTED))) == MOST_LISTED


def test_address_in_memory_is_no_part_of_an_object():
    assert plain(object()) == plain(object()) == "<object>"


def test_order_of_a_set_does_not_depend_on_the_process():
    words = list(string.ascii_lowercase)
    assert list(set(words)) != words  # 26 hashes that differ from process to process hardly ever fall into this order
    assert plain({*words, 1.5}) == [*words, 1.5]


def test_value_of_any_depth_ends():
    deep = []
    for _ in range(10_000):
        deep = [deep]
    json.dumps(plain(deep))


def test_error_that_cannot_say_what_it_is_has_its_type():
    class Speechless(Exception):
        def __str__(self):
            raise RuntimeError

    assert words_of(Speechless()) == "Speechless: Speechless"
    assert words_of(ValueError("no")) == "ValueError: no"
