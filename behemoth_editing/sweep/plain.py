"""Whatever a method says of itself -> numbers, words, lists and objects of JSON. It refuses nothing."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
import torch

MOST_LISTED = 10_000  # numbers of an array that are written out; a larger one is told by its digest
_DEEPEST = 40  # containers in each other
_ADDRESS = re.compile(r" (?:object )?at 0x[0-9a-fA-F]+")  # differs from run to run


def plain(value: object) -> Any:
    """The value as JSON has it: null, booleans, numbers, text, lists, and objects with text for keys.

    A number that is not finite is "nan", "inf" or "-inf", which float() reads back. Arrays and tensors are nested
    lists, or shape, dtype and digest where they have more than MOST_LISTED numbers; sets are lists in a fixed order;
    dataclasses are objects of the fields that they tell; a key that is no text is its text. Anything else is its own
    words, without the address in memory. The same value gives the same result in any process.
    """
    return _plain(value, ())


def words_of(error: BaseException) -> str:
    """The error's type and what it says, even where it cannot say it."""
    return f"{type(error).__name__}: {_words(error)}"


def _plain(value: object, outside: tuple[int, ...]) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, enum.Enum):
        return _plain(value.value, outside)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return _number(float(value))
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, np.generic | np.ndarray | torch.Tensor):
        return _array(value, outside)
    if id(value) in outside or len(outside) == _DEEPEST:
        return "..."
    try:
        return _container(value, (*outside, id(value)))
    except Exception:  # it is somebody else's class, and no row is worth less for what that cannot do
        return _words(value)


def _container(value: object, outside: tuple[int, ...]) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [field for field in dataclasses.fields(value) if not _untold(value, field)]
        return {
            field.name: _plain(getattr(value, field.name), outside) for field in fields if hasattr(value, field.name)
        }
    if isinstance(value, Mapping):
        return _object(value, outside)
    if isinstance(value, AbstractSet):
        return sorted((_plain(item, outside) for item in value), key=_as_json)
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode("utf-8", "backslashreplace")
    if isinstance(value, Sequence) and not isinstance(value, range):  # a range may be of any length
        return [_plain(item, outside) for item in value]
    return _words(value)


def _untold(value: object, field: dataclasses.Field[Any]) -> bool:
    """Whether it is a setting that came later and has its default, as settings.told() leaves it out."""
    return bool(field.metadata.get("later")) and getattr(value, field.name, None) == field.default


def _object(value: Mapping[Any, Any], outside: tuple[int, ...]) -> dict[str, Any]:
    """The mapping with text for keys; where two keys have the same text, the later says its type."""
    found: dict[str, Any] = {}
    for key, item in value.items():
        said = _plain(key, outside)
        name = said if isinstance(said, str) else _as_json(said)
        while name in found:
            name = f"{name} ({type(key).__name__})"
        found[name] = _plain(item, outside)
    return found


def _array(value: Any, outside: tuple[int, ...]) -> Any:
    """The numbers of a numpy scalar, an array or a tensor as nested lists, or what tells a large one from others."""
    try:
        if isinstance(value, torch.Tensor):
            value = value.detach().cpu()
            array = (value.float() if value.dtype.is_floating_point else value).numpy()
        else:
            array = np.asarray(value)
        if array.size > MOST_LISTED:
            content = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]
            return {"shape": list(array.shape), "dtype": str(value.dtype), "digest": content}
        listed = array.tolist()
    except Exception:  # sparse, quantised, on no device: a value of its own kind, which must not cost the cell
        return _words(value)
    if isinstance(listed, np.generic):  # a type wider than Python's own
        return _number(float(listed.real)) if np.isrealobj(listed) else _words(value)
    return _plain(listed, outside)


def _number(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"


def _text(value: str) -> str:
    """The text in letters that UTF-8 has: a file name may hold half letters, which no table takes."""
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")


def _words(value: object) -> str:
    if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        return f"{value.__module__}.{value.__qualname__}"
    try:
        return _ADDRESS.sub("", _text(str(value)))
    except Exception:  # what cannot say what it is: its type does
        return type(value).__name__


def _as_json(value: object) -> str:
    return json.dumps(value, sort_keys=True)
