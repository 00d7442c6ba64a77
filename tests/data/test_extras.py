"""What a missing extra is told by: the distribution's requirements, against the versions that are installed."""

import importlib.metadata

import pytest

from behemoth_data.extras import MissingExtra, need

REQUIRES = [
    "numpy>=1",
    "torch<3,>=2.6; extra == 'models'",
    "transformers>=4; extra == 'models'",
    "behemoth-bench[models]; extra == 'editing'",
    "peft>=0.13; extra == 'editing'",
    "winonly>=1; sys_platform == 'nowhere' and extra == 'editing'",
]


@pytest.fixture
def installed(monkeypatch):
    """A dict of the installed versions."""
    versions = {"numpy": "2.0", "torch": "2.13.0+cpu", "transformers": "5.1.0", "peft": "0.15.0"}

    def version(name):
        if name not in versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: REQUIRES)
    return versions


def test_nothing_is_said_when_all_is_there(installed):
    need("behemoth_editing", "editing")


def test_everything_that_is_missing_is_named_with_the_command_that_installs_it(installed):
    del installed["torch"], installed["peft"]
    with pytest.raises(MissingExtra) as caught:
        need("behemoth_editing", "editing")
    assert str(caught.value) == (
        "behemoth_editing needs torch (not installed), peft (not installed): pip install 'behemoth-bench[editing]'"
    )
    assert isinstance(caught.value, ImportError)


def test_version_out_of_bounds_is_named(installed):
    installed["torch"] = "2.5.1"
    with pytest.raises(MissingExtra, match=r"needs torch<3,>=2.6 \(2.5.1 is installed\): pip install"):
        need("behemoth_models", "models")


def test_development_version_counts_as_the_version_it_is_of(installed):
    installed["torch"] = "2.14.0.dev20261101+cu130"
    need("behemoth_models", "models")


def test_extra_that_does_not_concern_a_package_is_not_asked_for(installed):
    del installed["peft"]
    need("behemoth_models", "models")
