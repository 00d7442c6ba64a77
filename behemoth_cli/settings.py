"""Settings of a command: dataclass defaults < preset < recipe < command line, through one argparse parser.

A recipe is a YAML file of sections, each with fields of one dataclass. Several commands share a recipe: every
command checks the names of all sections, and the fields of those that it is given. In a grid, every list is swept;
a value that consists of several, such as layers, is then one word with commas: 2,3.

No import here is a heavy one: `--help` of a command that needs no torch loads none.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import glob
import itertools
import os
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

import yaml

from behemoth_data.extras import MissingExtra
from behemoth_data.places import local_path
from behemoth_data.settings import check, check_known, setting

# Every section that some command reads; a method has the section of its own name.
SECTIONS = ("world", "lexicon", "corpus", "edits", "train", "sweep")
RECIPES = Path(__file__).resolve().parent / "recipes"


def place(default: Any, help: str) -> Any:
    """A setting for a folder, a file or an id of the Hub: "~" in it is the home folder, and lists take patterns."""
    metadata = {"help": help, "place": True}
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: [*default], metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def local(path: str) -> str:
    """The path with the home folder in the place of "~"; URLs and ids of the Hub stay as they are."""
    return os.path.expanduser(path)


class Options(argparse.ArgumentParser):
    """The options of a command, one for each field of its dataclasses; its errors are one line.

    The dataclasses of `swept` get an option --NAME_field each, which takes a list of values. Attributes:
    dataclass_types and swept as given, places the names of fields that are paths.
    """

    def __init__(
        self,
        dataclass_types: Sequence[type],
        *,
        prog: str,
        description: str | None = None,
        usage: str = "[RECIPE] [--option value ...]",
        swept: Mapping[str, type] | None = None,
    ) -> None:
        super().__init__(
            prog=prog,
            description=description,
            usage=f"%(prog)s {usage}",
            allow_abbrev=False,
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        self.dataclass_types = tuple(dataclass_types)
        self.swept = {name: (cls, as_lists(cls, f"{name}_")) for name, cls in (swept or {}).items()}
        self.names: list[str] = []
        self.places: set[str] = set()
        for cls in (*self.dataclass_types, *(lists for _, lists in self.swept.values())):
            hints = get_type_hints(cls)
            for field in dataclasses.fields(cls):
                self._add(field, hints[field.name])

    def error(self, message: str) -> Any:
        """Raises: SystemExit with status 2 after one line on standard error."""
        self.exit(2, f"{self.prog}: error: {message}\n")

    def _add(self, field: dataclasses.Field[Any], hint: Any) -> None:
        """One option, and for a switch that is on by default another one that turns it off."""
        names = [f"--{field.name}", *([f"--{field.name.replace('_', '-')}"] if "_" in field.name else [])]
        self.names.append(field.name)
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        required = default is dataclasses.MISSING
        given: dict[str, Any] = {"required": True} if required else {"default": default}
        (kind,) = (kind for kind in _alternatives(hint) if kind is not type(None))
        if field.metadata.get("place"):
            self.places.add(field.name)
        if get_origin(kind) is list:
            given.update(type=_word_of(get_args(kind)[0]), nargs="+")
        elif get_origin(kind) is tuple:
            given.update(type=_or_none(get_args(kind)[0]), nargs="*", action=_StoreTuple)
        elif kind is bool:
            given.update(type=_word_of(hint), nargs="?", const=True)
        else:
            given["type"] = _word_of(hint)
        self.add_argument(*names, help=field.metadata["help"], **given)
        if default is True:
            negative = [f"--no_{field.name}", f"--no-{field.name.replace('_', '-')}"]
            self.add_argument(
                *dict.fromkeys(negative), dest=field.name, action="store_false", help=f"the opposite of --{field.name}"
            )

    def settings(self, words: Sequence[str]) -> list[Any]:
        """An instance of each dataclass from the words, those of `swept` as the list of their combinations.

        Raises: SystemExit with status 2, after one line, for a word that is no value; ValueError for an unknown
        option, or a value out of bounds.
        """
        values, unknown = self.parse_known_args(list(words))
        for word in unknown:
            check_known("option", word.split("=")[0], [f"--{name}" for name in self.names])
        for name in self.places:
            setattr(values, name, _resolved(name, getattr(values, name)))
        plain = [cls(**_fields(cls, values)) for cls in self.dataclass_types]
        return [
            *plain,
            *(combinations(cls, lists(**_fields(lists, values)), f"{n}_") for n, (cls, lists) in self.swept.items()),
        ]


def _fields(cls: type, values: argparse.Namespace) -> dict[str, Any]:
    return {field.name: getattr(values, field.name) for field in dataclasses.fields(cls)}


def _resolved(name: str, value: Any) -> Any:
    """The path or paths with the home folder filled in; in a list a pattern that a shell left alone is what it finds.

    Shells of Windows leave all patterns alone. What is there under a name that looks like a pattern is meant by it.
    Raises: ValueError that names the option for letters that no file's name can have here.
    """
    if isinstance(value, list):
        words = [_resolved(name, word) for word in value]
        return [
            path for word in words for path in ([word] if os.path.lexists(word) else sorted(glob.glob(word)) or [word])
        ]
    if not isinstance(value, str):
        return value
    local_path(name, value)
    return local(value)


class _StoreTuple(argparse.Action):
    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        setattr(namespace, self.dest, None if values == [None] else tuple(values))


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _or_none(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    def convert(word: str) -> Any:
        return None if word in ("null", "none") else kind(word)

    convert.__name__ = getattr(kind, "__name__", "value")  # argparse names the type by it in its errors
    return convert


def _word_of(hint: Any) -> Callable[[str], Any]:
    """What turns one word into a value of this type, which may be X, tuple[X, ...], and either or None."""
    (kind,) = (kind for kind in _alternatives(hint) if kind is not type(None))
    if get_origin(kind) is tuple:
        item = get_args(kind)[0]

        def convert(word: str) -> Any:
            return tuple(item(part) for part in word.split(",") if part)

        convert.__name__ = f"{item.__name__},..."
    else:
        convert = _truth if kind is bool else kind
    return _or_none(convert) if type(None) in _alternatives(hint) else convert


def _truth(word: str) -> bool:
    known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if word.lower() not in known:
        raise argparse.ArgumentTypeError(f"invalid value, which must be true or false: {word!r}")
    return known[word.lower()]


def recipe_path(name: str, pattern: str = "*.yaml", kind: str = "a YAML file") -> Path:
    """The file of a recipe: the one at this path, or the one of this name that comes with the package.

    Packaged ones are called recipes/tiny.yaml, tiny.yaml or tiny. Raises: ValueError that lists them.
    """
    given = Path(local(name))
    bare = given.name.removesuffix(".yaml")
    packaged = RECIPES / f"{bare}.yaml"
    known = sorted(f"recipes/{file.name}" for file in RECIPES.glob(pattern))
    if given.is_file():
        return given
    is_ours = given.as_posix() in (bare, f"{bare}.yaml", f"recipes/{bare}.yaml") and packaged.is_file()
    check(is_ours, f"recipe must be {kind} such as {', '.join(known)}, got {name}")
    return packaged


def yaml_mapping(name: str, path: Path) -> dict[str, Any]:
    """What the recipe's file says, section by section. Raises: ValueError for a file that is no such YAML."""
    try:
        recipe = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"recipe {name} must be YAML: {' '.join(str(error).split())}") from error
    check(isinstance(recipe, dict), f"recipe {name} must consist of sections, got {type(recipe).__name__}")
    return cast(dict[str, Any], recipe)


def read_recipe(path: str, sections: Mapping[str, type]) -> dict[str, dict[str, Any]]:
    """The recipe's sections; a path that does not exist is looked up among the packaged recipes.

    Raises: ValueError for a file that is no recipe, an unknown section, or an unknown field of a section
    that is among `sections`; the message lists the known ones.
    """
    return checked_recipe(yaml_mapping(path, recipe_path(path)), path, sections)


def checked_recipe(recipe: Mapping[str, Any], path: str, sections: Mapping[str, type]) -> dict[str, dict[str, Any]]:
    """The recipe's sections. Raises: ValueError for an unknown section or field, as read_recipe() does."""
    for name, values in recipe.items():
        if name not in SECTIONS and name not in sections:
            check_known(f"section of {path}", name, dict.fromkeys((*SECTIONS, *sections, *_methods(name))))
        is_section = values is None or isinstance(values, dict)
        check(is_section, f"section {name} of {path} must consist of fields, got {values!r}")
        for field in (values or {}) if name in sections else ():
            check_known(f"field of {name} in {path}", field, [f.name for f in dataclasses.fields(sections[name])])
    return {name: values or {} for name, values in recipe.items()}


def _methods(name: str) -> list[str]:
    """The names of all methods; where they are not installed, any name may be one of theirs."""
    try:
        from behemoth_editing import METHODS  # with torch, which some commands do without
    except MissingExtra:
        return [name]
    return [*METHODS]


def parse(
    options: Options,
    argv: Sequence[str] | None = None,
    *,
    sections: Mapping[str, type],
    presets: Mapping[str, Mapping[str, Any]] | None = None,
    preset: Mapping[str, Any] | None = None,
    recipe: Mapping[str, Any] | None = None,
) -> tuple[Any, ...]:
    """One instance of each of the options' dataclasses, from [RECIPE] and the command line (sys.argv if None).

    A recipe may also be given as it would be read, and then no word stands for one.

    `sections` are the sections that this command reads, with their dataclasses; those that are not among the
    options' are checked only, and read_recipe returns them. With `presets`, the option --config picks one, whose
    values come before the recipe's; `preset` is one that the command has picked itself. No two of the options'
    dataclasses may share a field name; the swept ones may. They come last in the result, and every one of them as
    the list of its instances: an option may have several values, and all combinations are made.

    Raises: SystemExit with status 2, after one line on standard error, for anything unknown or out of bounds.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    sections = {**sections, **{name: cls for name, (cls, _) in options.swept.items()}}
    with one_line_errors(options.prog):
        if recipe is None:
            path = words.pop(0) if words and not words[0].startswith("-") else None
            recipe = read_recipe(path, sections) if path else {}
        else:
            recipe = checked_recipe(recipe, "the recipe", sections)
        own = [name for name in recipe if sections.get(name) in options.dataclass_types]
        given = _words({field: value for name in own for field, value in recipe[name].items()})
        for name in options.swept:
            given += _words({f"{name}_{field}": value for field, value in recipe.get(name, {}).items()})
        if preset is not None:
            given = [*_words(preset), *given]
        if presets is not None:
            name = options.parse_known_args([*given, *words])[0].config
            check_known("config", name, presets)
            given = [*_words(presets[name]), *given]
        return tuple(options.settings([*given, *words]))


def as_lists(cls: type, prefix: str = "", leave_out: Sequence[str] = (), bases: tuple[type, ...] = ()) -> type:
    """A dataclass whose fields are lists of values for those of `cls`, with the prefix before their names."""
    hints = get_type_hints(cls)
    fields = [
        (f"{prefix}{field.name}", _list_of(hints[field.name]), setting([field.default], field.metadata["help"]))
        for field in dataclasses.fields(cls)
        if field.name not in leave_out
    ]
    return dataclasses.make_dataclass(f"{cls.__name__}Lists", fields, bases=bases, frozen=True, kw_only=True)


def _list_of(hint: Any) -> Any:
    return types.GenericAlias(list, (hint,))


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
    """An error that a user can mend ends the command: one line on standard error.

    Exit status 2 for a ValueError, a missing extra or an output that exists, 1 for another OSError or a loss that is
    no number.
    """
    try:
        yield
    except (ValueError, MissingExtra, OSError, FloatingPointError) as error:
        print(f"{prog}: error: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(2 if isinstance(error, (ValueError, MissingExtra, FileExistsError)) else 1) from error
