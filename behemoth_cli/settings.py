"""Settings of a script: dataclass defaults < preset < recipe < command line, through one HfArgumentParser.

A recipe is a YAML file of sections, each with fields of one dataclass. Several scripts share a recipe: every
script checks the names of all sections, and the fields of those that it is given. In a grid, every list is swept;
a value that consists of several, such as layers, is then one word with commas: 2,3.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import yaml
from transformers import HfArgumentParser
from transformers.hf_argparser import string_to_bool

from behemoth_data.settings import check, check_known, setting

# Every section that some script reads; a method has the section of its own name.
SECTIONS = ("world", "lexicon", "corpus", "edits", "train", "sweep")
_HERE = Path(__file__).resolve().parent


class _Parser(HfArgumentParser):
    """HfArgumentParser that also takes tuples and None, and whose errors are one line."""

    def __init__(self, dataclass_types: Sequence[type], **options: Any) -> None:
        hints = {name: hint for cls in dataclass_types for name, hint in get_type_hints(cls).items()}
        self._optional = {name for name, hint in hints.items() if type(None) in _alternatives(hint)}
        super().__init__(dataclass_types, allow_abbrev=False, **options)  # type: ignore[arg-type]

    def add_argument(self, *names: str, **options: Any) -> argparse.Action:
        """The option, whose type may be tuple[X, ...] or X | None."""
        kind, swept = options.get("type"), options.get("nargs") == "+"
        if get_origin(kind) is tuple and not swept:
            options.update(type=_or_none(get_args(kind)[0]), nargs="*", action=_StoreTuple)
        elif swept:
            options["type"] = _one_of_many(kind)
        elif kind is not None and names[0].removeprefix("--") in self._optional:
            options["type"] = _or_none(kind)
        return super().add_argument(*names, **options)

    def error(self, message: str) -> Any:
        """Raises: SystemExit with status 2 after one line on standard error."""
        self.exit(2, f"{self.prog}: error: {message}\n")


class _StoreTuple(argparse.Action):
    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        setattr(namespace, self.dest, None if values == [None] else tuple(values))


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _or_none(kind: Any) -> Any:
    def convert(word: str) -> Any:
        return None if word in ("null", "none") else kind(word)

    convert.__name__ = getattr(kind, "__name__", "value")  # argparse names the type by it in its errors
    return convert


def _one_of_many(hint: Any) -> Any:
    """What turns one word of a swept option into a value."""
    (kind,) = (kind for kind in _alternatives(hint) if kind is not type(None))
    if get_origin(kind) is tuple:
        item = get_args(kind)[0]

        def convert(word: str) -> Any:
            return tuple(item(part) for part in word.split(",") if part)

        convert.__name__ = f"{item.__name__},..."
    else:
        convert = string_to_bool if kind is bool else kind
    return _or_none(convert) if type(None) in _alternatives(hint) else convert


def read_recipe(path: str, sections: Mapping[str, type]) -> dict[str, dict[str, Any]]:
    """The recipe's sections; a path that does not exist is looked up beside the scripts.

    Raises: ValueError for a file that is no recipe, an unknown section, or an unknown field of a section
    that is among `sections`; the message lists the known ones.
    """
    place = Path(path) if Path(path).exists() else _HERE / path
    known = sorted(file.relative_to(_HERE).as_posix() for file in (_HERE / "recipes").glob("*.yaml"))
    check(place.is_file(), f"recipe must be a YAML file such as {', '.join(known)}, got {path}")
    try:
        recipe = yaml.safe_load(place.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"recipe {path} must be YAML: {' '.join(str(error).split())}") from error
    check(isinstance(recipe, dict), f"recipe {path} must consist of sections, got {type(recipe).__name__}")
    return checked_recipe(recipe, path, sections)


def checked_recipe(recipe: Mapping[str, Any], path: str, sections: Mapping[str, type]) -> dict[str, dict[str, Any]]:
    """The recipe's sections. Raises: ValueError for an unknown section or field, as read_recipe() does."""
    for name, values in recipe.items():
        if name not in SECTIONS and name not in sections:
            from behemoth_editing import METHODS  # with torch, which most scripts do without

            check_known(f"section of {path}", name, dict.fromkeys((*SECTIONS, *sections, *METHODS)))
        is_section = values is None or isinstance(values, dict)
        check(is_section, f"section {name} of {path} must consist of fields, got {values!r}")
        for field in (values or {}) if name in sections else ():
            check_known(f"field of {name} in {path}", field, [f.name for f in dataclasses.fields(sections[name])])
    return {name: values or {} for name, values in recipe.items()}


def parse(
    dataclass_types: Sequence[type],
    argv: Sequence[str] | None = None,
    *,
    sections: Mapping[str, type],
    presets: Mapping[str, Mapping[str, Any]] | None = None,
    preset: Mapping[str, Any] | None = None,
    swept: Mapping[str, type] | None = None,
    description: str | None = None,
    recipe: Mapping[str, Any] | None = None,
    prog: str = "behemoth",
) -> tuple[Any, ...]:
    """One instance of each dataclass, from [RECIPE] and options of the command line (sys.argv if None).

    A recipe may also be given as it would be read, and then no word stands for one.

    `sections` are the sections that this command reads, with their dataclasses; those that are not among
    `dataclass_types` are checked only, and read_recipe returns them. With `presets`, the option --config picks
    one, whose values come before the recipe's; `preset` is one that the command has picked itself. No two of
    `dataclass_types` may share a field name; the dataclasses of `swept` may, since each field becomes the option
    --NAME_field. They come last in the result, and every one of them as the list of its instances: an option may
    have several values, and all combinations are made. `prog` begins the line of an error.

    Raises: SystemExit with status 2, after one line on standard error, for anything unknown or out of bounds.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    named = {name: as_lists(cls, f"{name}_") for name, cls in (swept or {}).items()}
    dataclass_types, sections = [*dataclass_types, *named.values()], {**sections, **(swept or {})}
    parser = _Parser(
        dataclass_types, prog=prog, description=description, usage="%(prog)s [RECIPE] [--option value ...]"
    )
    options = [field.name for cls in dataclass_types for field in dataclasses.fields(cls)]
    with one_line_errors(prog):
        if recipe is None:
            path = words.pop(0) if words and not words[0].startswith("-") else None
            recipe = read_recipe(path, sections) if path else {}
        else:
            recipe = checked_recipe(recipe, "the recipe", sections)
        own = [name for name in recipe if sections.get(name) in dataclass_types]
        given = _words({field: value for name in own for field, value in recipe[name].items()})
        for name in named:
            given += _words({f"{name}_{field}": value for field, value in recipe.get(name, {}).items()})
        if preset is not None:
            given = [*_words(preset), *given]
        if presets is not None:
            name = parser.parse_known_args([*given, *words])[0].config
            check_known("config", name, presets)
            given = [*_words(presets[name]), *given]
        *settings, unknown = parser.parse_args_into_dataclasses(
            [*given, *words], return_remaining_strings=True, look_for_args_file=False
        )
        for word in unknown:
            check_known("option", word.split("=")[0], [f"--{name}" for name in options])
        plain = settings[: len(settings) - len(named)]
        return *plain, *(
            combinations(cls, chosen, f"{name}_")
            for (name, cls), chosen in zip((swept or {}).items(), settings[len(plain) :], strict=True)
        )


def as_lists(cls: type, prefix: str = "", leave_out: Sequence[str] = (), bases: tuple[type, ...] = ()) -> type:
    """A dataclass whose fields are lists of values for those of `cls`, with the prefix before their names."""
    hints = get_type_hints(cls)
    fields = [
        (f"{prefix}{field.name}", list[hints[field.name]], setting([field.default], field.metadata["help"]))
        for field in dataclasses.fields(cls)
        if field.name not in leave_out
    ]
    return dataclasses.make_dataclass(f"{cls.__name__}Lists", fields, bases=bases, frozen=True, kw_only=True)


def combinations(cls: type, lists: Any, prefix: str = "", **others: Sequence[Any]) -> list[Any]:
    """Every instance of `cls` whose fields have one value each of those in `lists`, or in `others` by name."""
    names = [field.name for field in dataclasses.fields(cls)]
    values = [others[name] if name in others else getattr(lists, f"{prefix}{name}") for name in names]
    return [cls(**dict(zip(names, chosen, strict=True))) for chosen in itertools.product(*values)]


def _words(values: Mapping[str, Any]) -> list[str]:
    """The values as words of a command line."""
    words: list[str] = []
    for name, value in values.items():
        check(not isinstance(value, dict), f"{name} must be a value or a list, got {value!r}")
        if isinstance(value, (list, tuple)):
            words += [f"--{name}", *map(_word, value)]
        else:
            words.append(f"--{name}={_word(value)}")
    return words


def _word(value: Any) -> str:
    """A value as one word; one that consists of several joins them by commas."""
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return "null" if value is None else str(value)


@contextlib.contextmanager
def one_line_errors(prog: str) -> Iterator[None]:
    """An error that a user can mend ends the script: one line on standard error.

    Exit status 2 for a ValueError or an output that exists, 1 for another OSError or a loss that is no number.
    """
    try:
        yield
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"{prog}: error: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(2 if isinstance(error, (ValueError, FileExistsError)) else 1) from error
