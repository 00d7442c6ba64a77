"""Settings of a command: dataclass defaults < preset < recipe < command line, through one argparse parser.

An option of the command itself is --FIELD, one of a recipe's section --SECTION.FIELD. In a grid, every list is swept;
a value that consists of several, such as layers, is then one word with commas: 2,3.

Not by jsonargparse, which takes no `--seeds 0 1`, nor by tyro, which takes no `--lora.layers 2,3 4`, as sweeps need.

No import here is a heavy one: `--help` loads no section but the one that it explains.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import difflib
import glob
import itertools
import os
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Union, get_args, get_origin, get_type_hints

from behemoth_cli.recipe_files import checked_recipe, read_recipe
from behemoth_cli.sections import ATTACK_SECTIONS, METHOD_SECTIONS, Section
from behemoth_data.extras import MissingExtra
from behemoth_data.places import local_path
from behemoth_data.settings import check, check_known, setting

_METAVARS = {int: "INT", float: "FLOAT", str: "TEXT", bool: "BOOL"}


def place(default: Any, help: str) -> Any:
    """A setting for a folder, a file or an id of the Hub: "~" in it is the home folder, and lists take patterns."""
    metadata = {"help": help, "place": True}
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: [*default], metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorkerArguments:
    """Who works on many models side by side."""

    processes: int | None = setting(
        None,
        "processes that work side by side; none: one for each core it may use, or one if there is a GPU; several are "
        "workers of a dask cluster that ends with the command",
    )
    dask: str | None = setting(
        None,
        "address of a dask scheduler of your own, whose workers work in place of processes here; they must have this "
        "version of behemoth-bench and see output_dir under the same name",
    )


class Options(argparse.ArgumentParser):
    """The options of a command, one for each field of its dataclasses; its errors are one line.

    `own` are the dataclasses whose fields are options by their names alone, by the section of a recipe that may hold
    them too, "" for none. Attributes: own and sections as given, places the names of options that are paths, names
    those of all options so far: the sections' are there after load().
    """

    def __init__(
        self,
        own: Mapping[str, type],
        sections: Mapping[str, Section] | None = None,
        *,
        prog: str,
        description: str | None = None,
        usage: str = "[RECIPE] [--option value ...]",
    ) -> None:
        super().__init__(
            prog=prog,
            description=description,
            usage=f"%(prog)s {usage}",
            allow_abbrev=False,
            add_help=False,
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        self.own, self.sections = own, dict(sections or {})
        self.names: list[str] = []
        self.places: set[str] = set()
        self._loaded: dict[str, type] = {}
        about = "this page, or the options of these sections" if sections else "this page"
        named: dict[str, Any] = {"nargs": "*", "metavar": "SECTION", "choices": [*self.sections]}
        asked = named if sections else {"action": "store_true"}
        self.add_argument("-h", "--help", default=argparse.SUPPRESS, help=about, **asked)
        for cls in own.values():
            self._add(self, cls)

    def error(self, message: str) -> Any:
        """Raises: SystemExit with status 2 after one line on standard error."""
        self.exit(2, f"{self.prog}: error: {message}\n")

    def load(self) -> dict[str, type]:
        """Every section has its options; returns their dataclasses, the fields of swept ones being lists."""
        for name, section in self.sections.items():
            if name not in self._loaded:
                self._loaded[name] = as_lists(section.load()) if section.swept else section.load()
                self._add(self, self._loaded[name], f"{name}.")
        return self._loaded

    def fields(self) -> dict[str, list[str]]:
        """What a recipe's sections may hold that this command reads: their fields."""
        found: dict[str, list[str]] = {}
        for name, cls in (*self.own.items(), *self.load().items()):
            if name:
                found.setdefault(name, []).extend(field.name for field in dataclasses.fields(cls))
        return found

    def _add(self, page: argparse.ArgumentParser, cls: type, prefix: str = "") -> None:
        """The page, which is this parser or one for a section alone, has an option for each field."""
        hints = get_type_hints(cls)
        for field in dataclasses.fields(cls):
            name, help = f"{prefix}{field.name}", field.metadata.get("help")  # none in a class from outside
            default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
            page.add_argument(f"--{name}", help=help, default=default, **_taken(hints[field.name], field))
            if page is self:
                self.names.append(name)
                self.places |= {name} if field.metadata.get("place") else set()

    def explain(self, words: Sequence[str]) -> None:
        """Nothing, unless the words ask for help: then this page, or those of the sections after --help, are printed.

        Raises: SystemExit after that; ValueError for a section that there is not.
        """
        words = [part for word in words for part in (word.split("=") if word.startswith("--help=") else [word])]
        asked = next((place for place, word in enumerate(words) if word in ("-h", "--help")), None)
        if asked is None:
            return
        after = itertools.takewhile(lambda word: not word.startswith("-"), words[asked + 1 :])
        names = list(after) if self.sections else []
        for name in names:
            check_known("section", name, self.sections)
        print("\n".join(map(self._page, names)) if names else self.format_help() + self._overview(), end="")
        self.exit()

    def _overview(self) -> str:
        """A line for every section, methods and attacks in lists of their own."""
        width = max(map(len, self.sections), default=0)
        text = ""
        titles = {"method": METHOD_SECTIONS, "attack": ATTACK_SECTIONS}
        other = [name for name in self.sections if name not in (METHOD_SECTIONS | ATTACK_SECTIONS)]
        for title in ("section", *titles):
            among = [name for name in self.sections if name in titles[title]] if title in titles else other
            if among:
                text += f"\n{title}s (--help {among[0]} explains each --{among[0]}.FIELD):\n"
                text += "".join(f"  {name:{width}}  {self.sections[name].help}\n" for name in among)
        return text

    def _page(self, name: str) -> str:
        """The options of one section, with what they are and their defaults."""
        section = self.sections[name]
        reads = getattr(section.load(), "reads", ())  # which methods have
        page = argparse.ArgumentParser(
            usage=f"{self.prog} ... [--{name}.FIELD value{' ...' if section.swept else ''}]",
            description=f"{name}: {section.help}"
            + (", swept over all values given" if section.swept else "")
            + (f"; reads of its task: {', '.join(reads)}" if reads else ""),
            add_help=False,
            formatter_class=self.formatter_class,
        )
        self._add(page, as_lists(section.load()) if section.swept else section.load(), f"{name}.")
        return page.format_help()

    def settings(self, words: Sequence[str]) -> list[Any]:
        """An instance of each dataclass from the words, those of swept sections as the list of their combinations.

        Raises: SystemExit with status 2, after one line, for a word that is no value; ValueError for an unknown
        option, or a value out of bounds.
        """
        loaded = self.load()
        values, unknown = self.parse_known_args([spelled(word) for word in words])
        for word in unknown:
            self._check_known(word.split("=")[0])
        for name in (name for name in self.names if name in self.places):  # an error names the first of them
            setattr(values, name, _resolved(name, getattr(values, name)))
        found = [_instance(cls, values) for cls in self.own.values()]
        for name, section in self.sections.items():
            instance = _instance(loaded[name], values, f"{name}.")
            found.append(combinations(section.load(), instance) if section.swept else instance)
        return found

    def _check_known(self, word: str) -> None:
        """Raises: ValueError for an option that there is not: what it is called now, or the known ones."""
        bare = word.removeprefix("--")
        section = bare.partition(".")[0]
        dotted = [name for name in self.names if "." in name]
        if "." in bare and section in self.sections:
            known = [f"--{name}" for name in dotted if name.startswith(f"{section}.")]
            check_known(f"option of {section}", word, known)
        now = [f"--{name}" for name in dotted if bare == self._former(name)]
        check(not now, f"{word} is now {' or '.join(now)}")
        own = [f"--{name}" for name in self.names if "." not in name]
        more = f", or --SECTION.FIELD of {', '.join(self.sections)}" if self.sections else ""
        near = difflib.get_close_matches(word, [f"--{name}" for name in self.names], n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        check(word in own, f"option must be one of {', '.join(own)}{more}, got {word!r}{hint}")

    def _former(self, name: str) -> str:
        """What the option of a section was called before it had the section's name, or had it with an underscore."""
        section, _, field = name.partition(".")
        return f"{section}_{field}" if self.sections[section].swept else field


def spelled(word: str) -> str:
    """A word of the command line with underscores in an option's name, for which hyphens may stand as well."""
    name, sign, value = word.partition("=")
    return f"--{name[2:].replace('-', '_')}{sign}{value}" if word.startswith("--") else word


def _instance(cls: type, values: argparse.Namespace, prefix: str = "") -> Any:
    return cls(**{field.name: getattr(values, f"{prefix}{field.name}") for field in dataclasses.fields(cls)})


def _taken(hint: Any, field: dataclasses.Field[Any]) -> dict[str, Any]:
    """How argparse reads the words of one option: into what type, how many of them, and what help calls them."""
    (kind,) = (kind for kind in _alternatives(hint) if kind is not type(None))
    if get_origin(kind) is list:
        item = get_args(kind)[0]
        return {"type": _word_of(item), "nargs": "+", "metavar": _metavar(item, field)}
    if get_origin(kind) is tuple:
        item = get_args(kind)[0]
        return {"type": _or_none(item), "nargs": "*", "action": _StoreTuple, "metavar": _metavar(item, field)}
    switch = {"nargs": "?", "const": True} if kind is bool else {}
    return {"type": _word_of(hint), "metavar": _metavar(hint, field), **switch}


def _metavar(hint: Any, field: dataclasses.Field[Any] | None) -> str:
    (kind,) = (kind for kind in _alternatives(hint) if kind is not type(None))
    if get_origin(kind) is tuple:
        return f"{_METAVARS[get_args(kind)[0]]},..."
    return "PATH" if field is not None and field.metadata.get("place") else _METAVARS[kind]


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
    return os.path.expanduser(value)  # URLs and ids of the Hub stay as they are


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


def value_of(field: str, hint: Any, text: str) -> Any:
    """The value of a field of this type that a word of the command line stands for.

    Raises: ValueError that names the field, the type and the text.
    """
    try:
        return _word_of(hint)(text.strip())
    except (ValueError, argparse.ArgumentTypeError) as error:
        raise ValueError(f"{field} must be {_metavar(hint, None)}, got {text!r}") from error


def _truth(word: str) -> bool:
    known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if word.lower() not in known:
        raise argparse.ArgumentTypeError(f"invalid value, which must be true or false: {word!r}")
    return known[word.lower()]


def parse(
    options: Options,
    argv: Sequence[str] | None = None,
    *,
    presets: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
    preset: Mapping[str, Mapping[str, Any]] | None = None,
    recipe: Mapping[str, Any] | None = None,
) -> tuple[Any, ...]:
    """One instance of each of the options' dataclasses, from [RECIPE] and the command line (sys.argv if None).

    A recipe may also be given as it would be read, and then no word stands for one. With `presets`, recipes by their
    names, the option --config picks one, whose values come before the recipe's; `preset` is one that the command has
    picked itself. The own dataclasses come first in the result, then those of sections, the swept ones as the list of
    their instances: an option of theirs may have several values, and all combinations are made.

    Raises: SystemExit with status 0 if help was asked for, or with status 2, after one line on standard error, for
    anything unknown or out of bounds.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    with one_line_errors(options.prog):
        options.explain(words)
        fields = options.fields()
        if recipe is None:
            path = words.pop(0) if words and not words[0].startswith("-") else None
            recipe = read_recipe(path, fields) if path else {}
        else:
            recipe = checked_recipe(recipe, "the recipe", fields)
        given = [*_words(options, preset or {}), *_words(options, recipe)]
        if presets is not None:
            name = options.parse_known_args([*given, *words])[0].config
            check_known("config", name, presets)
            given = [*_words(options, presets[name]), *given]
        return tuple(options.settings([*given, *words]))


def as_lists(cls: type, leave_out: Sequence[str] = ()) -> type:
    """A dataclass whose fields are lists of values for those of `cls`."""
    hints = get_type_hints(cls)
    fields = [
        (field.name, _list_of(hints[field.name]), setting([field.default], field.metadata.get("help", "")))
        for field in dataclasses.fields(cls)
        if field.name not in leave_out
    ]
    return dataclasses.make_dataclass(f"{cls.__name__}Lists", fields, frozen=True, kw_only=True)


def _list_of(hint: Any) -> Any:
    return types.GenericAlias(list, (hint,))


def combinations(cls: type, lists: Any, **others: Sequence[Any]) -> list[Any]:
    """Every instance of `cls` whose fields have one value each of those in `lists`, or in `others` by name."""
    names = [field.name for field in dataclasses.fields(cls)]
    values = [others[name] if name in others else getattr(lists, name) for name in names]
    return [cls(**dict(zip(names, chosen, strict=True))) for chosen in itertools.product(*values)]


def _words(options: Options, recipe: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What a recipe says that these options take, as words of a command line; what else it holds is left out."""
    words: list[str] = []
    for section, values in recipe.items():
        for field, value in values.items():
            name = field if field in _names(options.own.get(section)) else f"{section}.{field}"
            if name not in options.names:
                continue
            check(not isinstance(value, dict), f"{field} must be a value or a list, got {value!r}")
            if isinstance(value, (list, tuple)):
                words += [f"--{name}", *map(_word, value)]
            else:
                words.append(f"--{name}={_word(value)}")
    return words


def _names(cls: type | None) -> list[str]:
    return [field.name for field in dataclasses.fields(cls)] if cls else []


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
