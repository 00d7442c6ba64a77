"""docs/gallery.md is what the code says, and its examples are what the world says."""

import importlib
import re
from pathlib import Path
from types import ModuleType

import pytest

from behemoth_data.forms import FORMS
from behemoth_data.kinds import CHANGE_KINDS, KEEP_KINDS, KINDS
from behemoth_data.world import PRESETS

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "gallery.md"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "tools")
    return importlib.import_module("gallery")


def test_page_is_what_the_code_says(script: ModuleType) -> None:
    same = script.gallery() == PAGE.read_text(encoding="utf-8")  # pytest would print both in whole
    assert same, "docs/gallery.md differs from the code: run `make gallery` and look at what changed"


def test_every_structure_is_described(script: ModuleType) -> None:
    assert sorted(script._STRUCTURES) == sorted(PRESETS)


def test_pictures_that_the_page_shows_are_there() -> None:
    shown = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", PAGE.read_text(encoding="utf-8"))
    assert [Path(path).stem for path in shown] == list(PRESETS)
    for path in shown:
        assert (PAGE.parent / path).is_file()


@pytest.mark.parametrize("kind", KINDS)
def test_example_of_a_kind_has_the_answers_that_its_group_promises(script: ModuleType, kind: str) -> None:
    edits, probe = script.example(kind)
    assert probe.kind == kind
    assert (probe.before == probe.after) == (kind in KEEP_KINDS)
    if kind in CHANGE_KINDS:
        assert (probe.before.answer, probe.after.answer) == (
            edits.originals[probe.edit].answer,
            edits.requests[probe.edit].answer,
        )


def test_page_goes_where_it_is_told(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    script.main(["--output", "page.md"])
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == script.gallery()
    counted = f"{len(PRESETS)} structures, {len(FORMS)} forms, {len(KINDS)} kinds of probe"
    assert capsys.readouterr().out == f"page.md has {counted}\n"
    with pytest.raises(SystemExit) as caught:
        script.main(["--output", "missing/page.md"])
    assert caught.value.code == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
