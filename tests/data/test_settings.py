"""Facts about how configs are declared, checked and digested."""

import dataclasses
import hashlib
import re
from typing import Any, ClassVar

import pytest

from behemoth_data.corpus import CorpusConfig
from behemoth_data.edits import EditConfig
from behemoth_data.lexicon import LexiconConfig
from behemoth_data.settings import check, check_known, conform, digest, from_mapping, setting, told
from behemoth_data.world import WorldConfig


@dataclasses.dataclass(frozen=True)
class Example:
    size: int = setting(3, "how large")
    names: tuple[str, ...] = setting(("a", "b"), "what they are called")

    def __post_init__(self) -> None:
        conform(self)


@dataclasses.dataclass(frozen=True)
class EveryType:
    known: ClassVar[list[str]] = ["not a field"]
    count: int = 1
    share: float = 0.5
    on: bool = False
    name: str = "a"
    names: tuple[str, ...] = ()
    limit: int | None = None
    rate: float | None = None
    rows: tuple[int, ...] | None = None


def conformed(**fields: Any) -> EveryType:
    config = EveryType(**fields)
    conform(config)
    return config


def test_setting_keeps_its_default_and_its_help():
    size, names = dataclasses.fields(Example)
    assert (Example().size, size.metadata["help"]) == (3, "how large")
    assert (Example().names, names.metadata["help"]) == (("a", "b"), "what they are called")


def test_two_instances_share_no_mutable_default():
    @dataclasses.dataclass
    class WithList:
        items: list[int] = setting([1], "some")

    first, second = WithList(), WithList()
    first.items.append(2)
    assert (first.items, second.items, WithList().items) == ([1, 2], [1], [1])


def test_check_raises_its_message_only_when_the_condition_fails():
    check(True, "never said")
    with pytest.raises(ValueError, match=r"^size must be at least 1, got 0$"):
        check(False, "size must be at least 1, got 0")


def test_unknown_name_lists_the_known_ones_and_the_nearest():
    check_known("form", "rso", ["statement", "rso"])
    message = "form must be one of statement, rso, got 'statment' (did you mean 'statement'?)"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        check_known("form", "statment", ["statement", "rso"])
    with pytest.raises(ValueError, match=r"^form must be one of statement, rso, got 'zzz'$"):
        check_known("form", "zzz", ["statement", "rso"])


def test_mapping_fills_a_dataclass_and_turns_lists_into_tuples():
    assert from_mapping(Example, {"names": ["c"]}) == Example(size=3, names=("c",))


def test_mapping_with_an_unknown_name_lists_the_fields():
    with pytest.raises(ValueError, match=r"field of Example must be one of size, names, got 'sise'.*'size'"):
        from_mapping(Example, {"sise": 4})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("count", -3), ("share", 0.25), ("share", float("inf")), ("on", True), ("name", ""), ("names", ("b", "c"))),
        *(("limit", None), ("limit", 0), ("rate", None), ("rate", -0.5), ("rows", None), ("rows", (1, 2))),
    ],
)
def test_value_of_its_fields_type_stays_as_it_is(field, value):
    found = getattr(conformed(**{field: value}), field)
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        *(("count", 10.5, "int"), ("count", 10.0, "int"), ("count", True, "int"), ("count", None, "int")),
        *(("share", "0.5", "float"), ("share", True, "float"), ("share", None, "float")),
        *(("on", 1, "bool"), ("on", "no", "bool"), ("name", 1, "str"), ("name", None, "str")),
        *(("names", "ab", "tuple"), ("names", {"a"}, "tuple"), ("names", None, "tuple")),
        *(("limit", 1.5, "int or NoneType"), ("limit", False, "int or NoneType"), ("rate", "1", "float or NoneType")),
        ("rows", 3, "tuple or NoneType"),
    ],
)
def test_value_of_another_type_is_refused_with_field_type_and_value(field, value, wanted):
    with pytest.raises(ValueError, match=f"^{re.escape(f'{field} must be {wanted}, got {value!r}')}$"):
        conformed(**{field: value})


@pytest.mark.parametrize("field", ["share", "rate"])
def test_nan_is_refused(field):
    with pytest.raises(ValueError, match=f"^{field} must be a number, got nan$"):
        conformed(**{field: float("nan")})


def test_whole_numbers_of_float_fields_become_floats_and_lists_become_tuples():
    config = conformed(share=1, rate=2, names=["b", "c"], rows=[3])
    assert (type(config.share), type(config.rate)) == (float, float)
    assert config == EveryType(share=1.0, rate=2.0, names=("b", "c"), rows=(3,))


@pytest.mark.parametrize(
    ("config", "fields", "message"),
    [
        (WorldConfig, {"num_subjects": 10.5}, "num_subjects must be int, got 10.5"),
        (WorldConfig, {"correlation": "0.9"}, "correlation must be float or NoneType, got '0.9'"),
        (WorldConfig, {"binary_first": 1}, "binary_first must be bool, got 1"),
        (LexiconConfig, {"one_token_limit": 5.0}, "one_token_limit must be int, got 5.0"),
        (CorpusConfig, {"repeats": True}, "repeats must be int, got True"),
        (CorpusConfig, {"inversion_forms": "rso"}, "inversion_forms must be tuple, got 'rso'"),
        (EditConfig, {"num_edits": "10"}, "num_edits must be int, got '10'"),
        (EditConfig, {"matched": None}, "matched must be bool, got None"),
    ],
)
def test_every_config_checks_the_types_of_its_fields(config, fields, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        config(**fields)


@pytest.mark.parametrize(
    ("config", "one", "other"),
    [
        (WorldConfig, {"correlation": 1}, {"correlation": 1.0}),
        (WorldConfig, {"minority_fraction": 0}, {"minority_fraction": 0.0}),
        (CorpusConfig, {"minority_share": 1}, {"minority_share": 1.0}),
        (CorpusConfig, {"inversion_forms": ["sor", "rso"]}, {"inversion_forms": ("sor", "rso")}),
    ],
)
def test_equal_settings_written_otherwise_are_equal_and_have_equal_digests(config, one, other):
    assert config(**one) == config(**other)
    assert digest(config(**one)) == digest(config(**other))


def test_digest_is_the_start_of_sha256_of_sorted_compact_json():
    text = '[{"a":[1,2],"b":null},0.5]'
    assert digest([{"b": None, "a": (1, 2)}, 0.5]) == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_digest_counts_a_dataclass_as_its_fields():
    assert digest([Example()]) == digest([{"size": 3, "names": ["a", "b"]}])
    assert digest(Example()) != digest(Example(size=4))


@dataclasses.dataclass(frozen=True)
class Grown(Example):
    forms: tuple[str, ...] = setting(("c",), "what came after the first digests", later=True)


def test_setting_that_came_later_is_told_only_where_it_differs_from_its_default():
    assert told(Grown()) == told(Example()) == {"size": 3, "names": ("a", "b")}
    assert told(Grown(forms=("d",))) == {"size": 3, "names": ("a", "b"), "forms": ("d",)}
    assert digest(Grown()) == digest(Grown(forms=["c"])) == digest(Example())
    assert digest(Grown(forms=("d",))) != digest(Example())


def test_digest_refuses_what_json_cannot_say():
    with pytest.raises(TypeError, match="cannot digest set"):
        digest({1, 2})


def test_items_of_a_tuple_must_have_its_type():
    with pytest.raises(ValueError, match=r"inversion_forms must hold str only, got \(\['rso'\],\)"):
        CorpusConfig(inversion_forms=(["rso"],))


def test_whole_number_too_large_for_a_float_is_refused():
    with pytest.raises(
        ValueError, match=r"correlation must be smaller than 2\*\*1023 in size, got a number of 1329 bits"
    ):
        WorldConfig(correlation=10**400)
