"""Pages of the site that are not in docs/: they stay where they are, and links between them hold in both places.

In the site a file of docs/ loses that folder from its path, and every other file keeps its path.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
ADDED = (
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "behemoth_*/README.md", "behemoth_cli/recipes/README.md"),
    *("behemoth_editing/metrics/*/README.md", "hub_cards/structures/*.svg"),
)
LINK = re.compile(r"(\]\()([^)\s:#]+)(#[^)\s]*)?(\))")  # a relative one


def on_files(files: Any, config: Any) -> Any:
    """The site has the files of ADDED too."""
    for path in (path for pattern in ADDED for path in sorted(ROOT.glob(pattern))):
        files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Relative links are those of the site. One to a file that it does not have fails the build."""
    place = page.file.src_uri
    source = Path(page.file.abs_src_path).relative_to(ROOT).parent.as_posix()

    def moved(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(source, link[2])).removeprefix("docs/")
        return f"{link[1]}{posixpath.relpath(target, posixpath.dirname(place) or '.')}{link[3] or ''}{link[4]}"

    return LINK.sub(moved, markdown)
