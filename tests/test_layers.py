"""Which room may import which, and what no room may do: read from the syntax tree of every source file.

A rule is broken by an import inside a function or under TYPE_CHECKING as much as by one at the top.
"""

import ast
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("behemoth_data", "behemoth_models", "behemoth_editing", "behemoth_hub", "behemoth_cli")
OUTSIDE = ("scripts", "tools")  # of the wheel
# Of behemoth_editing, each seeing those before it.
ROOMS = ("methods", "scoring", "attacks", "sweep", "report", "study", "bench", "trial", "locating")
# Of behemoth_cli.playground, each seeing those before it; only the last one knows gradio.
PLAYGROUND = (
    *("words", "scene", "outcomes", "asking", "making", "attacking", "jobs", "sessions", "shelf", "telling", "panels"),
    "page",
)
SOURCES = sorted(
    path.relative_to(ROOT).as_posix() for room in (*PACKAGES, *OUTSIDE) for path in (ROOT / room).rglob("*.py")
)
SCRIPTS = {PurePosixPath(source).stem for source in SOURCES if source.startswith("scripts/")}

# Of the standard library; the files import them where they are needed, and do without elsewhere.
NOT_EVERYWHERE = {"fcntl", "resource", "pwd", "grp", "termios", "winreg", "msvcrt"}
MAY_FAIL = {"behemoth_editing/sweep/rows.py", "behemoth_cli/benchmarks/generating.py"}

PICKLES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
# torch's own format and numpy's object arrays are pickles too.
PICKLING_CALLS = {"torch.save", "torch.load", "pandas.read_pickle"}
# Philox's raw bits are frozen; every other name in numpy.random is global, seeded by time, or a
# distribution whose values may change with numpy's version.
NUMPY_RANDOM = {"Philox"}


def within(name: str, parents: set[str]) -> bool:
    """Whether a dotted name is one of these names or lies below one."""
    return any(name == parent or name.startswith(parent + ".") for parent in parents)


def bindings(path: str, tree: ast.AST) -> Iterator[tuple[int, str, str]]:
    """(line, local name, full dotted name) of everything that a module imports, however it imports it."""
    folder = PurePosixPath(path).parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.asname or alias.name.split(".")[0], alias.name
        elif isinstance(node, ast.ImportFrom):
            base = list(folder[: len(folder) - node.level + 1]) if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, alias.asname or alias.name, f"{source}.{alias.name}"
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called, argument = ast.unparse(node.func), node.args[0].value
            if called in {"__import__", "import_module", "importlib.import_module"} and isinstance(argument, str):
                yield node.lineno, "", argument


def import_faults(path: str, name: str) -> Iterator[str]:
    """What is wrong with importing this dotted name in this file."""
    room, file = path.split("/")[0], PurePosixPath(path).name
    if within(name, {"scripts"}) or (room != "scripts" and within(name, SCRIPTS)):
        yield f"nobody imports scripts, but this imports {name}"
    if room in PACKAGES and room != "behemoth_cli" and within(name, {"behemoth_cli"}):
        yield f"no package imports behemoth_cli, but this imports {name}"
    if within(name, NOT_EVERYWHERE) and path not in MAY_FAIL:
        yield f"not every operating system has what this imports, {name}"
    if within(name, PICKLES):
        yield f"no pickle, but this imports {name}"
    if within(name, {"random"}):
        yield "no global random numbers, but this imports random"
    if room in PACKAGES and room not in ("behemoth_hub", "behemoth_cli") and within(name, {"behemoth_hub"}):
        yield f"only behemoth_cli imports behemoth_hub, but {room} imports {name}"
    if room == "behemoth_hub" and within(name, {"torch", "transformers", "behemoth_models"}):
        yield f"behemoth_hub reads files and runs no model, but this imports {name}"
    if room == "behemoth_data":
        if within(name, {"torch", "accelerate", "peft"}):
            yield f"behemoth_data imports no torch, but this imports {name}"
        if within(name, {"behemoth_models", "behemoth_editing"}):
            yield f"behemoth_data imports no sibling, but this imports {name}"
        if within(name, {"transformers"}) and file != "tokenizer.py":
            yield f"only tokenizer.py imports transformers, but this imports {name}"
        if within(name, {"datasets"}) and file != "behemoth.py":
            yield f"only behemoth.py imports datasets, but this imports {name}"
    if within(name, {"gradio"}) and path != "behemoth_cli/playground/page.py":
        yield f"only page.py of the playground knows gradio, but this imports {name}"
    if path.startswith("behemoth_cli/playground/") and not may_see(PurePosixPath(path).stem, name):
        yield f"rooms of the playground import only what comes before them, {' -> '.join(PLAYGROUND)}, not {name}"
    if room == "behemoth_models" and within(name, {"behemoth_editing"}):
        yield f"behemoth_models imports behemoth_data only, but this imports {name}"
    if room == "behemoth_editing":
        allowed = {"behemoth_models.knowledge", "behemoth_models.precision"} | (
            {"behemoth_models.training", "behemoth_models.config"} if file == "retrain.py" else set()
        )
        if within(name, {"behemoth_models"}) and not within(name, allowed):
            yield f"only knowledge and precision of behemoth_models, and by retrain.py training, are used, not {name}"
        if not may_enter(PurePosixPath(path).parts[1:-1], name):
            yield f"rooms import only what comes before them, {' -> '.join(ROOMS)}, but this imports {name}"
        if within(name, {"behemoth_editing.bridges"}) and "bridges" not in path.split("/"):
            yield f"bridges are the way out: no other room imports them, but this imports {name}"
        # A package's __init__ is no part of the single file that becomes a Space.
        ours = within(name, set(PACKAGES)) and not within(name, {"behemoth_editing.scoring.outcomes"})
        if "metrics" in path.split("/") and file != "__init__.py" and ours:
            yield f"a metric may have a copy of scoring.outcomes and no more of ours, but this imports {name}"


def may_enter(place: tuple[str, ...], name: str) -> bool:
    """Whether a file in this room of behemoth_editing, none for its own files, may import the name."""
    entered = [room for room in ROOMS if within(name, {f"behemoth_editing.{room}"})]
    if not entered or not place or place[0] not in ROOMS:
        return True
    if place[0] == "scoring" and entered[0] == "methods":
        return False  # a score does not ask who made an edit
    return ROOMS.index(entered[0]) <= ROOMS.index(place[0])


def may_see(module: str, name: str) -> bool:
    """Whether a module of the playground may import the name."""
    seen = [known for known in PLAYGROUND if within(name, {f"behemoth_cli.playground.{known}"})]
    return not seen or (module in PLAYGROUND and PLAYGROUND.index(seen[0]) < PLAYGROUND.index(module))


def call_faults(room: str, called: str, node: ast.Call) -> Iterator[str]:
    """What is wrong with this call of a function whose full dotted name is known."""
    if called in PICKLING_CALLS or called.endswith(".to_pickle"):
        yield f"no pickle, but this calls {called}"
    if called in {"print", "builtins.print"} and room not in ("behemoth_cli", *OUTSIDE):
        yield "no print in packages"
    yield from text_faults(called, node)
    for keyword in node.keywords:
        false = isinstance(keyword.value, ast.Constant) and not keyword.value.value
        if keyword.arg in {"trust_remote_code", "allow_pickle"} and not false:
            yield f"no {keyword.arg}"


def text_faults(called: str, node: ast.Call) -> Iterator[str]:
    """What differs between operating systems in how this call reads or writes text, unless the call says it."""
    given, name = {keyword.arg: keyword.value for keyword in node.keywords}, called.rpartition(".")[2]
    mode = node.args[1] if len(node.args) > 1 else given.get("mode")
    letters = str(mode.value) if isinstance(mode, ast.Constant) else "r"
    opens = called == "open" and "b" not in letters
    if (name in {"read_text", "write_text"} or opens) and "encoding" not in given:
        yield f"text has an encoding, but this calls {name} without"
    if (name == "write_text" or (opens and letters[0] in "wax")) and "newline" not in given:
        yield f"lines end in the same way everywhere, but this calls {name} without newline"


def faults(path: str, source: str) -> list[str]:
    """Every rule that a source file breaks, as "path:line: what is wrong", in the order of lines."""
    tree = ast.parse(source)
    room = path.split("/")[0]
    found: set[tuple[int, str]] = set()
    names: dict[str, str] = {}
    for line, local, full in bindings(path, tree):
        found |= {(line, fault) for fault in import_faults(path, full)}
        found |= {(line, fault) for fault in numpy_faults(full)}
        # `import numpy.random` binds numpy, `import numpy.random as npr` binds numpy.random.
        names[local] = local if full.startswith(local + ".") else full
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            found.add((node.lineno, "assert only in tests"))
        elif isinstance(node, ast.Attribute):
            found |= {(node.lineno, fault) for fault in numpy_faults(dotted(node, names))}
        elif isinstance(node, ast.Call):
            called = dotted(node.func, names)
            found |= {(node.lineno, fault) for fault in call_faults(room, called, node)}
        elif isinstance(node, ast.Dict):
            keys = {key.value for key in node.keys if isinstance(key, ast.Constant)}
            if "trust_remote_code" in keys:
                found.add((node.lineno, "no trust_remote_code"))
    return [f"{path}:{line}: {fault}" for line, fault in sorted(found)]


def numpy_faults(name: str) -> Iterator[str]:
    """What is wrong with using this dotted name, if it is one of numpy's random numbers."""
    parts = name.split(".")
    if parts[:2] == ["numpy", "random"] and len(parts) > 2 and parts[2] not in NUMPY_RANDOM:
        yield f"no numpy generator but Philox's raw bits, but this uses numpy.random.{parts[2]}"


def dotted(node: ast.expr, names: dict[str, str]) -> str:
    """The full dotted name of an expression such as np.random.rand; "?" stands for what is not a name."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value, names)}.{node.attr}"
    return names.get(node.id, node.id) if isinstance(node, ast.Name) else "?"


@pytest.mark.parametrize("source", SOURCES)
def test_source_keeps_every_rule(source: str) -> None:
    assert faults(source, (ROOT / source).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_has_sources_to_check(package: str) -> None:
    assert f"{package}/__init__.py" in SOURCES


@pytest.mark.parametrize(
    ("path", "source", "fault"),
    [
        ("behemoth_data/world.py", "import torch.nn as nn", "no torch"),
        ("behemoth_data/world.py", "def f():\n    from torch import nn", "no torch"),
        ("behemoth_data/world.py", "import importlib\nimportlib.import_module('torch')", "no torch"),
        ("behemoth_data/world.py", "torch = __import__('torch')", "no torch"),
        ("behemoth_data/edits.py", "from behemoth_models.knowledge import recall", "no sibling"),
        ("behemoth_data/edits.py", "import behemoth_editing", "no sibling"),
        ("behemoth_data/exports.py", "from transformers import AutoTokenizer", "only tokenizer.py"),
        (
            "behemoth_data/exports.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import datasets",
            "only behemoth.py",
        ),
        ("behemoth_data/exports.py", "def f():\n    from datasets import load_dataset", "only behemoth.py"),
        ("behemoth_models/training.py", "from behemoth_editing import METHODS", "behemoth_data only"),
        ("behemoth_models/training.py", "from scripts.edit import main", "nobody imports scripts"),
        ("behemoth_cli/edit.py", "import scripts", "nobody imports scripts"),
        ("behemoth_models/training.py", "from behemoth_cli.settings import parse", "no package imports behemoth_cli"),
        ("behemoth_hub/push.py", "import behemoth_cli", "no package imports behemoth_cli"),
        ("scripts/edit.py", "import scripts", "nobody imports scripts"),
        ("behemoth_cli/playground/panels.py", "import gradio as gr", "only page.py of the playground knows gradio"),
        ("behemoth_cli/play.py", "def f():\n    import gradio", "only page.py of the playground knows gradio"),
        ("behemoth_cli/playground/making.py", "from behemoth_cli.playground.page import x", "what comes before them"),
        ("behemoth_cli/playground/making.py", "from behemoth_cli.playground import shelf", "what comes before them"),
        ("behemoth_editing/toolkit.py", "from behemoth_editing.bridges import BRIDGES", "the way out"),
        ("behemoth_editing/methods/rome.py", "from behemoth_models import pythia", "only knowledge and precision"),
        ("behemoth_editing/methods/rome.py", "import behemoth_models", "only knowledge and precision"),
        ("behemoth_editing/methods/rome.py", "from behemoth_models import *", "only knowledge and precision"),
        (
            "behemoth_editing/methods/rome.py",
            "from behemoth_models.knowledge_cache import x",
            "only knowledge and precision",
        ),
        ("behemoth_editing/methods/rome.py", "from ...behemoth_models import train", "only knowledge and precision"),
        (
            "behemoth_editing/metrics/ripple/ripple.py",
            "from behemoth_editing import x",
            "a copy of scoring.outcomes",
        ),
        ("behemoth_editing/metrics/ripple/ripple.py", "from ...scoring import x", "a copy of scoring.outcomes"),
        ("behemoth_editing/methods/rome.py", "from behemoth_editing.scoring import answers", "what comes before them"),
        (
            "behemoth_editing/scoring/counts.py",
            "from behemoth_editing.methods import METHODS",
            "what comes before them",
        ),
        ("behemoth_editing/sweep/cells.py", "import behemoth_editing.report.page", "what comes before them"),
        ("behemoth_editing/methods/rome.py", "from behemoth_editing.attacks import ATTACKS", "what comes before them"),
        ("behemoth_editing/scoring/bits.py", "from behemoth_editing.attacks import ATTACKS", "what comes before them"),
        (
            "behemoth_editing/attacks/readout.py",
            "from behemoth_editing.sweep.rows import Row",
            "what comes before them",
        ),
        ("behemoth_editing/report/page.py", "from behemoth_editing.study.findings import judge", "before them"),
        (
            "behemoth_editing/sweep/running.py",
            "from behemoth_hub import push",
            "only behemoth_cli imports behemoth_hub",
        ),
        ("behemoth_data/exports.py", "import behemoth_hub.collect", "only behemoth_cli imports behemoth_hub"),
        ("behemoth_hub/cards.py", "import torch", "runs no model"),
        ("behemoth_hub/cards.py", "from behemoth_models.run import Run", "runs no model"),
        ("behemoth_editing/sweep/running.py", "import pickle", "no pickle"),
        ("behemoth_editing/sweep/running.py", "from dill import dumps", "no pickle"),
        ("behemoth_models/training.py", "import torch\ntorch.save({}, 'x')", "no pickle"),
        ("behemoth_models/training.py", "from torch import load\nload('x')", "no pickle"),
        ("behemoth_data/corpus.py", "import numpy as np\nnp.load('x', allow_pickle=True)", "no allow_pickle"),
        ("scripts/edit.py", "load(x, trust_remote_code=True)", "no trust_remote_code"),
        ("scripts/edit.py", "flag = True\nload(x, trust_remote_code=flag)", "no trust_remote_code"),
        ("scripts/edit.py", "load(x, **{'trust_remote_code': True})", "no trust_remote_code"),
        ("behemoth_editing/report/page.py", "def f():\n    print('x')", "no print"),
        ("behemoth_editing/report/page.py", "import builtins\nbuiltins.print('x')", "no print"),
        ("behemoth_editing/report/page.py", "def f(x):\n    assert x", "assert only in tests"),
        ("scripts/report.py", "assert True", "assert only in tests"),
        ("behemoth_cli/edit.py", "import resource", "not every operating system"),
        ("behemoth_cli/edit.py", "from pathlib import Path\nPath('x').read_text()", "an encoding"),
        ("behemoth_cli/edit.py", "open('x')", "an encoding"),
        ("behemoth_cli/edit.py", "path.write_text('x', newline='\\n')", "an encoding"),
        ("behemoth_cli/edit.py", "path.write_text('x', encoding='utf-8')", "the same way everywhere"),
        ("behemoth_cli/edit.py", "open('x', 'w', encoding='utf-8')", "the same way everywhere"),
        ("behemoth_data/rng.py", "import random", "no global random numbers"),
        ("behemoth_data/rng.py", "import numpy as np\nnp.random.seed(0)", "numpy.random.seed"),
        ("behemoth_data/rng.py", "import numpy\nshuffle = numpy.random.shuffle", "numpy.random.shuffle"),
        ("behemoth_data/rng.py", "import numpy.random\nnumpy.random.rand()", "numpy.random.rand"),
        ("behemoth_data/rng.py", "import numpy.random as npr\nnpr.choice(3)", "numpy.random.choice"),
        (
            "behemoth_data/rng.py",
            "from numpy import random\nrandom.permutation(3)",
            "numpy.random.permutation",
        ),
        ("behemoth_data/rng.py", "from numpy.random import default_rng", "numpy.random.default_rng"),
    ],
)
def test_broken_rule_is_found(path: str, source: str, fault: str) -> None:
    found = faults(path, source)
    assert len(found) == 1
    assert fault in found[0]


def test_fault_names_the_file_and_the_line() -> None:
    assert faults("behemoth_data/world.py", "x = 1\n\nassert x\n") == ["behemoth_data/world.py:3: assert only in tests"]


def test_every_fault_of_a_file_is_listed() -> None:
    source = "import pickle\nimport torch\nprint(pickle)\n"
    assert [fault.split(":")[1] for fault in faults("behemoth_data/world.py", source)] == ["1", "2", "3"]


@pytest.mark.skipif(not SCRIPTS, reason="there are no scripts yet")
def test_package_cannot_import_a_script_by_its_bare_name() -> None:
    script = sorted(SCRIPTS)[0]
    (found,) = faults("behemoth_models/training.py", f"from {script} import main")
    assert "nobody imports scripts" in found


@pytest.mark.parametrize(
    ("path", "source"),
    [
        (
            "behemoth_data/world.py",
            "import numpy as np\nimport pyarrow as pa\nfrom behemoth_data.rng import Stream",
        ),
        ("behemoth_data/rng.py", "import numpy as np\nbits = np.random.Philox(key=1).random_raw"),
        ("behemoth_data/tokenizer.py", "from transformers import PreTrainedTokenizerFast"),
        ("behemoth_data/behemoth.py", "import datasets"),
        ("behemoth_data/exports.py", "def f():\n    from behemoth_data.behemoth import Behemoth"),
        ("behemoth_data/exports.py", "from .behemoth import Behemoth\nfrom . import world"),
        ("behemoth_models/training.py", "import torch\nimport datasets\nfrom behemoth_data import World"),
        (
            "behemoth_editing/sweep/running.py",
            "from behemoth_models.knowledge import recall\nfrom behemoth_data import World",
        ),
        ("behemoth_editing/sweep/running.py", "from behemoth_models import knowledge"),
        ("behemoth_editing/sweep/running.py", "import behemoth_models.knowledge"),
        ("behemoth_editing/metrics/ripple/__init__.py", "from .ripple import ripple"),
        ("behemoth_editing/metrics/ripple/ripple.py", "import datasets\nimport evaluate\nimport numpy as np"),
        ("scripts/edit.py", "from behemoth_models import pythia\nimport behemoth_editing\nprint('done')"),
        ("behemoth_cli/edit.py", "from behemoth_models import pythia\nimport behemoth_hub\nprint('done')"),
        ("scripts/edit.py", "from behemoth_cli.edit import main"),
        ("behemoth_cli/playground/page.py", "import gradio as gr\nfrom behemoth_cli.playground import panels"),
        ("tools/draw_structures.py", "from behemoth_cli.settings import parse\nprint('done')"),
        ("scripts/edit.py", "load(x, trust_remote_code=False)"),
        (
            "behemoth_hub/data_publication.py",
            "from behemoth_data.card import CARD\nfrom behemoth_editing.report import summaries",
        ),
        ("behemoth_editing/report/page.py", "report.print('x')\ntext = 'print(assert)'  # import pickle"),
        ("behemoth_data/rng.py", "random = Stream(0, 'x')\nrandom.shuffle(3)"),
        (
            "behemoth_cli/edit.py",
            "open('x', 'wb')\npath.write_text('x', encoding='utf-8', newline='\\n')\nfile.open('x')",
        ),
        ("behemoth_editing/sweep/rows.py", "import fcntl"),
    ],
)
def test_allowed_source_has_no_fault(path: str, source: str) -> None:
    assert faults(path, source) == []


@pytest.mark.parametrize(
    "package",
    [*PACKAGES, *(f"behemoth_editing.{room}" for room in ROOMS), "behemoth_cli.benchmarks"],
)
def test_no_module_hides_behind_a_name_of_its_package_or_of_the_standard_library(package: str) -> None:
    found = importlib.import_module(package)
    names = [path.stem for path in Path(found.__path__[0]).glob("*.py") if path.stem not in ("__init__", "__main__")]
    for name in names:
        importlib.import_module(f"{package}.{name}")
    hidden = [name for name in names if not isinstance(getattr(found, name), ModuleType)]
    assert hidden == []
    assert set(names) & sys.stdlib_module_names == set()
