"""Facts about how configs are declared, checked and digested."""

import dataclasses
import hashlib
import re

import pytest

from behemoth_data.settings import check, check_known, digest, from_mapping, setting


@dataclasses.dataclass(frozen=True)
class Example:
    size: int = setting(3, "how large")
    names: tuple[str, ...] = setting(("a", "b"), "what they are called")


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


def test_digest_is_the_start_of_sha256_of_sorted_compact_json():
    text = '[{"a":[1,2],"b":null},0.5]'
    assert digest([{"b": None, "a": (1, 2)}, 0.5]) == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_digest_counts_a_dataclass_as_its_fields():
    assert digest([Example()]) == digest([{"size": 3, "names": ["a", "b"]}])
    assert digest(Example()) != digest(Example(size=4))


def test_digest_refuses_what_json_cannot_say():
    with pytest.raises(TypeError, match="cannot digest set"):
        digest({1, 2})
