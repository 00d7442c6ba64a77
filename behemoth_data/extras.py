"""Which optional dependencies a package of this project needs, as the installed distribution declares them."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator

from packaging.requirements import Requirement

DISTRIBUTION = "behemoth-bench"


class MissingExtra(ImportError):
    """Something was asked for without what its extra installs."""


def need(what: str, extra: str) -> None:
    """Everything that the extra installs is there, as `what` needs it.

    Raises: MissingExtra that names what is missing, or too old or new, and the command that installs it.
    """
    faults = [fault for requirement in _requirements(extra) if (fault := _fault(requirement))]
    if faults:
        raise MissingExtra(f"{what} needs {', '.join(faults)}: pip install '{DISTRIBUTION}[{extra}]'")


def _requirements(extra: str) -> Iterator[Requirement]:
    """What the extra adds to the distribution's own requirements, extras that it consists of resolved."""
    for line in importlib.metadata.requires(DISTRIBUTION) or []:
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or marker.evaluate({"extra": ""}) or not marker.evaluate({"extra": extra}):
            continue
        if requirement.name == DISTRIBUTION:
            for part in sorted(requirement.extras):
                yield from _requirements(part)
        else:
            yield requirement


def _fault(requirement: Requirement) -> str:
    """What is wrong with the installed version, in words; nothing if nothing is."""
    try:
        found = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return f"{requirement.name} (not installed)"
    if not requirement.specifier.contains(found, prereleases=True):
        return f"{requirement.name}{requirement.specifier} ({found} is installed)"
    return ""
