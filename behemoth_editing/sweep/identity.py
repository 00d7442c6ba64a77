"""Which model a row is of, in which precision, and what both are called where others read of it. No scores.

A model is its weights. Its folder's name is for people, who see it cut down to what tells it from others: where it lies
on somebody's machine is nobody's business.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]

_MOST_PARTS = 2  # of a path that are shown
_PRIVATE_PARTS = 2  # of an absolute path, such as /home/NAME, that never are
# What a row holds that is made of numbers and of words of ours; into all else a method or a library may put a path.
_OURS = frozenset(
    (
        "cell",
        "model",
        "hub_id",
        "world",
        "corpus",
        "recall",
        "edits",
        "scores",
        "units",
        "seconds",
        "weights",
        "versions",
    )
)
# A URL, which stays; a path in quotation marks, which may have spaces; and one without. Relative ones end in a suffix.
_PATH = re.compile(
    r"""(?P<url>\b(?!file:)[a-z][a-z0-9+.-]+://[^\s'"]+)
    |(?P<mark>['"`])(?P<option>--[\w.-]+=)?(?P<quoted>(?:file://)?(?:/|~|[A-Za-z]:[/\\]|\\\\|\.{1,2}/)[^'"`\n]*)(?P=mark)
    |(?P<bare>(?<![\w/.\\~-])(?:file://)?(?:/+(?=[\w.~])|~[\w.-]*/|[A-Za-z]:[/\\]|\\\\(?=\w)|\.{1,2}/)[^\s'"`,;()<>\[\]{}|]+
      |(?<![\w/.\\~-])(?:[\w.-]+/)+[\w.-]*\.[A-Za-z]\w{0,11}\b(?![/-]))""",
    re.VERBOSE,
)


def model_of(row: Row) -> str:
    """The digest of the weights that were edited, which alone says whose row it is; the name where it is unknown."""
    return str((row.get("weights") or {}).get("before") or row["model"])


def precision_of(row: Row) -> str | None:
    """The precision in which the method trained, bf16 or fp32; None where it does not say.

    Older rows have it among the method's own details only.
    """
    found = row.get("precision")
    return precision_in(row.get("details")) if found is None else str(found)


def precision_in(details: object) -> str | None:
    """The precision that a method's details name; where they name several, all of them."""
    parts = details if isinstance(details, list | tuple) else [details]
    named = [part.get("precision") for part in parts if isinstance(part, Mapping)]
    return "+".join(dict.fromkeys(str(one) for one in named if one is not None)) or None


def model_names(rows: Iterable[Row]) -> dict[str, str]:
    """A name for every model, by model_of(): the end of its path that tells it from the others, or its Hub id.

    Where that would take more of the path than may be shown, the digest's first digits tell models apart.
    """
    first: dict[str, Row] = {}
    for row in rows:
        first.setdefault(model_of(row), row)
    places = {model: str(row["model"]) for model, row in first.items() if not row.get("hub_id")}
    names = short_names(places, lambda model: model[:8])
    names |= {model: str(row["hub_id"]) for model, row in first.items() if row.get("hub_id")}
    taken = list(names.values())
    return {
        model: names[model] if taken.count(names[model]) == 1 else f"{names[model]} ({model[:8]})" for model in first
    }


def short_names(places: Mapping[str, str], mark: Callable[[str], str]) -> dict[str, str]:
    """For every path, by its key, the shortest end of it that no other has; or its last part and the key's mark."""
    left, names = dict(places), dict[str, str]()
    for count in range(1, _MOST_PARTS + 1):
        ends = {key: "/".join(_parts(place)[-count:]) for key, place in places.items()}
        ended = list(ends.values())
        for key in [key for key in left if ended.count(ends[key]) == 1 and (count == 1 or _may_show(left[key], count))]:
            names[key] = ends[key]
            del left[key]
    return names | {key: f"{last_part(place)} ({mark(key)})" for key, place in left.items()}


def last_part(place: str) -> str:
    """The name of a file or folder without its place."""
    return (_parts(place) or ["folder"])[-1]


def shown_place(place: str) -> str:
    """A folder as a page may name it: relative to where commands are given as it is, any other by its last part."""
    parts = _parts(place)
    return place if not _is_absolute(place) and ".." not in parts and not place.startswith("~") else last_part(place)


def _parts(place: str) -> list[str]:
    return [part for part in re.split(r"[/\\]+", place.removeprefix("file://")) if part and part != "."]


def _is_absolute(place: str) -> bool:
    return re.match(r"(file://|/|\\\\|[A-Za-z]:[/\\])", place) is not None


def _may_show(place: str, count: int) -> bool:
    """Whether so many of a path's last parts say nothing of whose machine it is."""
    known = _PRIVATE_PARTS if _is_absolute(place) or place.startswith(("~", "..")) else 0
    return len(_parts(place)) - count >= known


def shown_rows(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows as they may be read by others: models by their names, and no path of this machine in any words.

    Different models have different names, and different paths in settings stay different.
    """
    names = model_names(rows)
    folders = {str(row["model"]): names[model_of(row)] for row in rows if "/" in str(row["model"])}
    longest_first = sorted(map(re.escape, folders), key=len, reverse=True)
    models = re.compile(rf"(?:{'|'.join(longest_first)})(?![\w-])" if folders else r"(?!)")
    spoken = [{name: row[name] for name in row if name not in _OURS} for row in rows]

    def named(text: str) -> str:
        return models.sub(lambda match: folders[match[0]], text)

    found = dict.fromkeys(path for part in spoken for text in _texts(part) for path in _paths(named(text)))
    paths = short_names({path: path for path in found}, lambda path: hashlib.sha256(path.encode()).hexdigest()[:8])

    def shown(value: Any) -> Any:
        if isinstance(value, str):
            return _PATH.sub(lambda match: _said(match, paths), named(value))
        if isinstance(value, Mapping):
            return {shown(name): shown(item) for name, item in value.items()}
        return [shown(item) for item in value] if isinstance(value, list | tuple) else value

    return [
        {**row, "model": names[model_of(row)], **{name: shown(item) for name, item in part.items()}}
        for row, part in zip(rows, spoken, strict=True)
    ]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _texts(name)
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def _paths(text: str) -> Iterator[str]:
    for match in _PATH.finditer(text):
        if match["url"] is None:
            yield match["quoted"] or match["bare"]


def _said(match: re.Match[str], paths: Mapping[str, str]) -> str:
    if match["url"] is not None:
        return match[0]
    mark = match["mark"] or ""
    return f"{mark}{match['option'] or ''}{paths[match['quoted'] or match['bare']]}{mark}"
