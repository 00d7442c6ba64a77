"""From the folder of a metric to its Space: the metric, a card, and a page to try it. Nothing is sent here."""

from __future__ import annotations

import ast
import importlib.util
import sys
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement

from behemoth_data.card import CARD, picture
from behemoth_data.settings import check
from behemoth_hub.cards import metric_app, metric_card
from behemoth_hub.checks import checked, front_matter
from behemoth_hub.collect import Publication, Upload, chosen

_OUTCOMES = "behemoth_editing.scoring.outcomes"


def metrics(namespace: str, *, folder: Path | None = None, tag: str | None = None) -> list[Publication]:
    """NAMESPACE/NAME for every metric of behemoth_editing, or of another folder of such folders, each a Space.

    Raises: ValueError for a metric without a card or that needs a package which this project does not.
    """
    place = _metrics_folder() if folder is None else folder
    names = sorted(path.name for path in place.iterdir() if (path / f"{path.name}.py").is_file())
    return [_metric(place / name, f"{namespace}/{name}", tag) for name in names]


def _metrics_folder() -> Path:
    return _editing() / "metrics"


def _editing() -> Path:
    """Where behemoth_editing is, found without importing it."""
    spec = importlib.util.find_spec("behemoth_editing")
    if spec is None or spec.origin is None:
        raise ValueError("behemoth_editing must be installed, for its metrics are to be published")
    return Path(spec.origin).parent


def single_file(code: str) -> str:
    """A metric's code with a copy of what it imports of scoring, so that it needs none of our packages."""
    outcomes = (_editing() / "scoring" / "outcomes.py").read_text(encoding="utf-8")
    imports = max(node.end_lineno or 0 for node in ast.parse(outcomes).body if isinstance(node, ast.ImportFrom))
    copied = outcomes.splitlines(keepends=True)[imports:]
    lines = code.splitlines(keepends=True)
    for node in ast.parse(code).body:
        if isinstance(node, ast.ImportFrom) and node.module == _OUTCOMES:
            lines[node.lineno - 1 : node.end_lineno] = [f"# A copy of {_OUTCOMES}.\n", *copied, "\n\n"]
            return "".join(lines)
    return code


def _metric(folder: Path, repo: str, tag: str | None) -> Publication:
    name = folder.name
    (found,), _ = chosen(folder, [f"{name}.py"])
    code = Upload(found.path, single_file(found.read().decode("utf-8")).encode("utf-8"))
    card = folder / CARD
    check(card.is_file(), f"metric {name} must have a card, {card}")
    text = card.read_text(encoding="utf-8")
    fields = front_matter(text, str(card))
    body = text.split("---\n", 2)[2]
    texts = {
        CARD: metric_card(repo, fields, body),
        "app.py": metric_app(name, fields),
        "requirements.txt": _requirements(code.read().decode("utf-8"), name),
    }
    return checked(
        Publication(
            repo=repo,
            kind="space",
            uploads=[
                code,
                *(Upload(path, made.encode("utf-8")) for path, made in texts.items()),
                Upload("world.svg", picture("nested")),
            ],
            tag=tag,
            loading=[f'evaluate.load("{repo}")'],
        )
    )


def _requirements(code: str, name: str) -> str:
    """A line for every package of others that the code imports, as this project requires it."""
    imported = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imported.add(node.module.split(".")[0])
    wanted = imported - set(sys.stdlib_module_names)
    known: dict[str, str] = {}  # those of extras too: the metrics are part of one
    for requirement in map(Requirement, requires("behemoth-bench") or []):
        known.setdefault(requirement.name, f"{requirement.name}{requirement.specifier}")
    lacking = sorted(wanted - set(known))
    check(not lacking, f"metric {name} must need only packages that this project requires, got {lacking}")
    return "".join(f"{known[package]}\n" for package in sorted(wanted))
