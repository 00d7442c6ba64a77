"""What an installed copy brings along, and that every file that says a version says the same one.

Runs from a checkout and, with nothing but this folder, against an installed wheel.
"""

import importlib.metadata
import re
import tomllib
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

DISTRIBUTION = "behemoth-bench"
PACKAGES = ("behemoth_data", "behemoth_models", "behemoth_editing", "behemoth_hub", "behemoth_cli")
METRICS = ("collateral_accuracy", "edit_success", "forgetting", "ripple")
ROOT = Path(__file__).resolve().parents[1]

in_checkout = pytest.mark.skipif(
    not (ROOT / "pyproject.toml").is_file(), reason="these files are in the checkout only, not in the wheel"
)


def newest_version(changelog: str) -> str:
    """The version of the first heading that names one."""
    return re.findall(r"^## \[?(\d+\.\d+\.\d+)", changelog, flags=re.MULTILINE)[0]


def normalised(name: str) -> str:
    """A distribution's name as the index knows it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(file: str = "constraints.txt") -> dict[str, str]:
    """The exact version of each distribution in the file, by its normalised name."""
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if not line.startswith("#"))
    return {normalised(name): version for name, version in pairs}


def declared(*extras: str) -> list[Requirement]:
    """What pyproject.toml asks for of others, with these extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = project["dependencies"] + [line for extra in extras for line in project["optional-dependencies"][extra]]
    return [requirement for requirement in map(Requirement, lines) if requirement.name != DISTRIBUTION]


def resources_below(folder: Traversable) -> list[str]:
    """The names of all files in a folder of resources and in its subfolders, compiled modules left out."""
    names: list[str] = []
    for item in folder.iterdir():
        if item.is_dir() and item.name != "__pycache__":
            names += resources_below(item)
        elif item.is_file():
            names.append(item.name)
    return names


def test_newest_version_is_the_first_heading_that_names_one() -> None:
    assert newest_version("# Changelog\n## Unreleased\n## [1.2.0] - 2027\n## 1.1.0\n") == "1.2.0"


@in_checkout
@pytest.mark.parametrize("file", ["pyproject.toml", "CHANGELOG.md", "CITATION.cff"])
def test_file_says_the_installed_version(file: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    said = {
        "pyproject.toml": lambda: tomllib.loads(text)["project"]["version"],
        "CHANGELOG.md": lambda: newest_version(text),
        "CITATION.cff": lambda: yaml.safe_load(text)["version"],
    }[file]()
    assert said == importlib.metadata.version(DISTRIBUTION)


@in_checkout
def test_citation_names_the_paper() -> None:
    (paper,) = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["references"]
    assert paper["title"] == "Behemoth: Benchmarking Unlearning in LLMs Using Fully Synthetic Data"
    assert [author["family-names"] for author in paper["authors"]] == ["Iofinova", "Alistarh"]
    assert paper["identifiers"][0]["value"] == "arXiv:2601.23153"


@in_checkout
def test_constraints_pin_every_dependency_within_its_bounds() -> None:
    pinned = pins()
    for requirement in declared("models", "editing", "hub", "dask", "trackers", "docs", "dev"):
        name = normalised(requirement.name)
        assert name in pinned, f"{requirement.name} is not in constraints.txt"
        assert Version(pinned[name]) in requirement.specifier, requirement


@in_checkout
def test_lowest_constraints_are_the_lower_bounds() -> None:
    pinned = pins("constraints-lowest.txt")
    assert pinned.pop("torch") == pins()["torch"]  # other builds of it are too large to try
    for requirement in declared("models", "editing", "dask"):
        bounds = [Version(part.version) for part in requirement.specifier if part.operator == ">="]
        if bounds and requirement.name != "torch":
            found = Version(pinned[normalised(requirement.name)])
            assert found in requirement.specifier, requirement
            assert found.release[: len(bounds[0].release)] == bounds[0].release, requirement


@in_checkout
def test_extra_for_everything_has_every_extra_for_users() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (line,) = project["optional-dependencies"]["all"]
    assert Requirement(line).extras == set(project["optional-dependencies"]) - {"all", "docs", "dev"}


@in_checkout
def test_constraints_leave_the_build_of_torch_open() -> None:
    assert Version(pins()["torch"]).local is None


@in_checkout
@pytest.mark.parametrize("file", ["constraints.txt", "constraints-lowest.txt"])
def test_constraints_name_no_place_to_fetch_from(file: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    assert not re.search(r"://|^-|@", text, flags=re.MULTILINE)


def test_dataset_alone_needs_neither_torch_nor_transformers() -> None:
    requirements = map(Requirement, importlib.metadata.requires(DISTRIBUTION) or [])
    alone = {r.name for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})}
    assert {"numpy", "pyarrow", "datasets"} <= alone
    assert not alone & {"torch", "transformers", "tokenizers", "accelerate", "peft", "evaluate", "scipy", "matplotlib"}


def test_any_torch_from_2_6_to_3_will_do() -> None:
    requirements = map(Requirement, importlib.metadata.requires(DISTRIBUTION) or [])
    (torch,) = [requirement for requirement in requirements if requirement.name == "torch"]
    for version, allowed in (("2.5.1", False), ("2.6.0", True), ("2.13.0+cpu", True), ("2.14.0", True), ("3.0", False)):
        assert torch.specifier.contains(version) == allowed


def test_console_command_is_installed() -> None:
    (command,) = importlib.metadata.entry_points(group="console_scripts", name="behemoth")
    assert callable(command.load())


def test_licence_is_part_of_the_distribution() -> None:
    metadata = importlib.metadata.metadata(DISTRIBUTION)
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_all("License-File") == ["LICENSE"]


@pytest.mark.parametrize("package", PACKAGES)
def test_package_says_that_it_is_typed(package: str) -> None:
    assert (files(package) / "py.typed").is_file()


@pytest.mark.parametrize("metric", METRICS)
def test_metric_brings_its_card(metric: str) -> None:
    card = files("behemoth_editing") / "metrics" / metric / "README.md"
    assert card.read_text(encoding="utf-8").startswith("---\n")


def test_every_metric_folder_is_a_metric_with_a_card() -> None:
    for folder in (files("behemoth_editing") / "metrics").iterdir():
        if folder.is_dir() and folder.name != "__pycache__":
            assert {f"{folder.name}.py", "README.md"} <= {item.name for item in folder.iterdir()}, folder.name


def test_recipes_come_along() -> None:
    names = {item.name for item in (files("behemoth_cli") / "recipes").iterdir()}
    assert {"README.md", "tiny.yaml", "base.yaml", "large.yaml", "study_tiny.yaml"} <= names


def test_card_templates_are_found_without_knowing_where_they_are() -> None:
    assert any(name.endswith((".md", ".jinja")) for name in resources_below(files("hub_cards")))
