"""Every file that may skip a test is listed with what lifts it."""

import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
SKIPS = re.compile(r"pytest\.(importorskip|skip)\(|pytest\.mark\.skip(if)?\b")


def test_files_that_may_skip_a_test_are_those_of_the_list():
    listed = re.findall(r"^\| `(.+?)` \|", (HERE / "SKIPS.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    paths = [path for path in HERE.rglob("test_*.py") if path.name != Path(__file__).name]
    assert listed == sorted(
        path.relative_to(HERE).as_posix() for path in paths if SKIPS.search(path.read_text(encoding="utf-8"))
    )
