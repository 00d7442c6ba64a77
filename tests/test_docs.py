"""README.md and docs/ say what works: Python blocks run, commands and their options exist, and files that are named do.

Commands are looked up in the parsers themselves. The main ones are run for real by .ci/run: `make setup`, `make lint`,
`make types`, `make test`, `make docs`, and from three wheels `behemoth demo`, which is data, pretrain, edit and report.
Links and anchors are looked at by `make docs`.
"""

import contextlib
import functools
import io
import itertools
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from unittest import mock

import pytest
from accelerate.commands.launch import launch_command_parser

from behemoth_cli import console
from behemoth_cli.benchmark import BENCHMARKS
from behemoth_cli.console import COMMANDS
from behemoth_cli.recipe_files import recipe_path
from behemoth_cli.sections import ATTACK_SECTIONS, SECTIONS

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("README.md", "CONTRIBUTING.md", "docs/*.md", "behemoth_*/README.md", "behemoth_cli/recipes/*.md")
    for path in ROOT.glob(pattern)
)
every_page = pytest.mark.parametrize("page", PAGES)

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
OPTION = re.compile(r"(?<![\w-])--[A-Za-z][\w.-]*")
STARTS = ("behemoth ", "make ", "python ", "accelerate launch ", "scripts/")
EXAMPLE = "head_edit"  # the method that is not there: pages say how it would be added
PLACES = "behemoth_[a-z]+|docs|hub_cards|scripts|tests|tools|.ci"


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    return [code for said, code in BLOCK.findall(text_of(page)) if said == language]


def spans(page: str) -> list[str]:
    """What stands between backticks in running text."""
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", BLOCK.sub("", text_of(page)))]


def commands(page: str) -> Iterator[str]:
    """Every command line of ours on a page, in blocks and in running text."""
    for block in blocks(page, ""):
        for line in block.replace("\\\n", " ").splitlines():
            words = re.sub(r"^\s*(\w+=\S+ )*", "", line)
            if words.startswith(STARTS) or words == "make":
                yield words
    yield from (code for code in spans(page) if code.startswith(STARTS))


@functools.cache
def options_of(*command: str) -> frozenset[str]:
    """The options that the help of `behemoth COMMAND`, its sections included, or of a file in tools/ names."""
    if command[0].endswith(".py"):
        file, said = ROOT / command[0], io.StringIO()
        argv = mock.patch.object(sys, "argv", [command[0], "--help"])
        path = mock.patch.object(sys, "path", [str(file.parent), *sys.path])
        with argv, path, mock.patch.dict(sys.modules), contextlib.redirect_stdout(said):
            with pytest.raises(SystemExit) as ended:
                runpy.run_path(str(file), run_name="__main__")
            assert ended.value.code in (None, 0)
        assert "--help" in said.getvalue()
        return frozenset(OPTION.findall(said.getvalue()))
    page = said_by(*command, "--help")
    sections = [name for name in SECTIONS if re.search(rf"^  {name} ", page, flags=re.MULTILINE)]
    return frozenset(OPTION.findall(page + (said_by(*command, "--help", *sections) if sections else "")))


def said_by(*words: str) -> str:
    """What `behemoth` with these words prints."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        console.main(list(words))
    return said.getvalue()


@functools.cache
def launcher() -> frozenset[str]:
    """The options of `accelerate launch`."""
    return frozenset(launch_command_parser()._option_string_actions)


@functools.cache
def targets() -> frozenset[str]:
    """What `make` can make."""
    return frozenset(re.findall(r"^([a-z]+):", text_of("Makefile"), flags=re.MULTILINE))


def fault(line: str) -> str | None:
    """What is wrong with a command line, if anything."""
    first, *words = shlex.split(line, comments=True)
    if first == "make":
        unknown = [word for word in words if "=" not in word and word not in targets()]
        return f"make has no {unknown}" if unknown else None
    if first == "behemoth":
        return fault_of(words)
    if first == "accelerate":
        words = words[1:]  # without launch
        own = list(itertools.takewhile(lambda word: word != "-m" and not word.endswith(".py"), words))
        unknown = unknown_options(own, launcher())
        if unknown or own == words:
            return f"accelerate launch has no {unknown}" if unknown else None
        first, words = "python", words[len(own) :]
    if first == "python":
        first, *words = words
    if first == "-m":
        module, *words = words
        return None if module == "pytest" else fault_of([module.removeprefix("behemoth_cli."), *words])
    if not (ROOT / first).is_file():
        return f"there is no file {first}"
    called = re.search(r'run\("(\w+)"', text_of(first))  # by a script, the command that it is
    return fault_of([called[1], *words]) if called else fault_of([first, *words])


def fault_of(words: list[str]) -> str | None:
    """The same of a command's name, or a file in tools/, and what follows it."""
    name, *rest = words
    if name.startswith("-"):
        return None if name in ("--help", "--version") else f"behemoth has no {name}"
    if name not in COMMANDS and not name.startswith("tools/"):
        return f"behemoth has no {name}"
    command = (name, rest[0]) if name == "benchmark" and rest else (name,)
    if len(command) == 2 and command[1] not in BENCHMARKS:
        return f"behemoth benchmark has no {command[1]}"
    for recipe in (word for word in rest if word.startswith("recipes/")):
        recipe_path(recipe)  # raises for one that is not there
    unknown = unknown_options(rest, options_of(*command))
    return f"{' '.join(command)} has no {unknown}" if unknown else None


def unknown_options(words: list[str], known: Iterable[str]) -> list[str]:
    return [word for word in words if word.startswith("--") and word.split("=")[0] not in known]


def test_readme_is_short() -> None:
    assert len(text_of("README.md").splitlines()) <= 150


@pytest.mark.parametrize("page", ["README.md", "docs/world.md"])
def test_python_blocks_run(
    page: str, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the small model that all tests share, in place of the demo's."""
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    Path("runs/demo-nested").symlink_to(trained, target_is_directory=True)
    code = "\n".join(blocks(page, "python"))
    exec(compile(code, page, "exec"), {})
    if page == "README.md":
        made = re.match(r"edit success +(\d\.\d+) \[", capsys.readouterr().out)
        assert made, "the first line says how many edits were made"
        assert float(made[1]) >= 0.8


@every_page
def test_commands_exist_with_their_options(page: str) -> None:
    faults = {line: fault(line) for line in commands(page)}
    assert {line: said for line, said in faults.items() if said} == {}


@every_page
def test_options_in_running_text_exist(page: str) -> None:
    known = launcher().union(
        *(options_of(name) for name in COMMANDS),
        *(options_of("benchmark", part) for part in BENCHMARKS),
        options_of("tools/gpu_check.py"),
    )
    named = {word for code in spans(page) if code.startswith("--") for word in OPTION.findall(code)}
    assert {name for name in named - known if EXAMPLE not in name} == set()


@every_page
def test_files_that_are_named_exist(page: str) -> None:
    named = re.findall(rf"(?<![\w/.])(?:{PLACES})/[\w/.-]*\w", text_of(page))
    missing = {path for path in named if not (ROOT / path).exists()}
    assert {path for path in missing if "NAME" not in path and EXAMPLE not in path} == set()


def test_every_attack_has_its_row_on_the_page_of_attacks() -> None:
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| [^|]* \|$", text_of("docs/attacks.md"), flags=re.MULTILINE)
    assert rows == list(ATTACK_SECTIONS)


def test_pages_have_the_commands_that_users_begin_with() -> None:
    assert {"make demo", "make study"} <= {" ".join(shlex.split(line, comments=True)) for line in commands("README.md")}
    for name in ("data", "pretrain", "edit", "report"):
        assert any(line.startswith(f"behemoth {name} ") for line in commands("docs/start.md"))


@pytest.mark.parametrize(
    "line",
    [
        "behemoth nothing",
        "behemoth --nothing",
        "behemoth edit recipes/demo.yaml --nothing 3",
        "behemoth benchmark nothing",
        "behemoth benchmark edit --nothing",
        "make nothing",
        "python scripts/nothing.py",
        "python scripts/edit.py --nothing",
        "python tools/gpu_check.py --nothing",
        "accelerate launch --nothing scripts/edit.py",
        "accelerate launch -m behemoth_cli.nothing",
    ],
)
def test_fault_of_a_command_is_found(line: str) -> None:
    assert "nothing" in (fault(line) or "")


def test_method_of_the_example_is_the_one_of_the_reference_and_can_be_added(tmp_path: Path) -> None:
    (diff,) = re.findall(r"<!-- diff: method -->\n```diff\n(.*?)```", text_of("CONTRIBUTING.md"), flags=re.DOTALL)
    (code,) = re.findall(
        r"<!-- example: method -->\n```python\n(.*?)```", text_of("behemoth_editing/README.md"), flags=re.DOTALL
    )
    file = "".join(f"{line[1:]}\n" for line in diff.split("--- a/")[0].splitlines()[3:])
    assert file.endswith(f"\n\n{code}")
    (tmp_path / "method.diff").write_text(diff, encoding="utf-8", newline="\n")
    done = subprocess.run(
        ["git", "apply", "--check", tmp_path / "method.diff"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
