"""How every config of Behemoth is declared, checked and digested. No randomness, no text of the world."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import operator
import types
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, SupportsIndex, cast, get_args, get_origin, get_type_hints


def setting(default: Any, help: str, *, later: bool = False) -> Any:
    """A dataclass field with the help text that the command line shows for it.

    One that came `later` than digests of its config were kept is told only where it differs from its default.
    """
    metadata = {"help": help, **({"later": True} if later else {})}
    if isinstance(default, (list, dict)):
        return dataclasses.field(default_factory=lambda: default.copy(), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def check(condition: bool, message: str) -> None:
    """Raises: ValueError with `message` (field, bound and value) unless the condition holds."""
    if not condition:
        raise ValueError(message)


def check_known(field: str, value: object, known: Iterable[object]) -> None:
    """Raises: ValueError that lists the known values, and the nearest one, unless `value` is among them."""
    names = [str(name) for name in known]
    if str(value) in names:
        return
    near = difflib.get_close_matches(str(value), names, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise ValueError(f"{field} must be one of {', '.join(names)}, got {value!r}{hint}")


def check_seed(field: str, seed: int | None) -> None:
    """Raises: ValueError for a seed that torch or a table's column of 64 bits cannot hold; None is any."""
    check(seed is None or -(2**63) <= seed < 2**63, f"{field} must be from -2**63 to 2**63 - 1, got {seed}")


def whole(field: str, number: object) -> int:
    """The number as Python's int, also where it is one of numpy's. Raises: ValueError for what is no whole number."""
    try:
        check(not isinstance(number, bool), f"{field} must be a whole number, got {number!r}")
        return operator.index(cast(SupportsIndex, number))
    except TypeError as error:
        raise ValueError(f"{field} must be a whole number, got {number!r}") from error


def conform(config: Any) -> None:
    """Every field of a dataclass instance has its annotated type: int, float, bool, str, a tuple, or None.

    Whole numbers in float fields become floats and lists become tuples, so that equal settings have equal
    digests wherever they came from. Raises: ValueError that names the field, the type and the value.
    """
    for name, hint in get_type_hints(type(config)).items():
        if get_origin(hint) is ClassVar:
            continue
        value = getattr(config, name)
        kinds = get_args(hint) if get_origin(hint) is types.UnionType else (hint,)
        if float in kinds and type(value) is int:
            check(
                abs(value) < 2**1023,
                f"{name} must be smaller than 2**1023 in size, got a number of {value.bit_length()} bits",
            )
            value = float(value)
        if any(get_origin(kind) is tuple for kind in kinds) and isinstance(value, list):
            value = tuple(value)
        wanted = [get_origin(kind) or kind for kind in kinds]
        check(
            type(value) in wanted,
            f"{name} must be {' or '.join(kind.__name__ for kind in wanted)}, got {value!r}",
        )
        if isinstance(value, tuple):
            (item,) = {get_args(kind)[0] for kind in kinds if get_origin(kind) is tuple}
            check(all(type(part) is item for part in value), f"{name} must hold {item.__name__} only, got {value!r}")
        check(value == value, f"{name} must be a number, got {value!r}")
        object.__setattr__(config, name, value)  # configs are frozen: this is their construction


def from_mapping(cls: type, values: Mapping[str, Any]) -> Any:
    """An instance of the dataclass `cls`. Raises: ValueError for a name that is not one of its fields."""
    known = [field.name for field in dataclasses.fields(cls)]
    for name in values:
        check_known(f"field of {cls.__name__}", name, known)
    return cls(**values)


def told(config: Any) -> dict[str, Any]:
    """The fields of a dataclass instance as digests, descriptions and rows have them.

    A setting that came later and has its default is not among them: what was made before it stays the same.
    """
    late = {field.name: field.default for field in dataclasses.fields(config) if field.metadata.get("later")}
    fields = dataclasses.asdict(config)
    return {name: value for name, value in fields.items() if name not in late or value != late[name]}


def digest(value: object) -> str:
    """The first 16 hex digits of the SHA-256 of the value's canonical JSON; dataclasses count as what they tell."""

    def plain(item: Any) -> Any:
        if dataclasses.is_dataclass(item) and not isinstance(item, type):
            return told(item)
        raise TypeError(f"cannot digest {type(item).__name__}")

    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=plain)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
