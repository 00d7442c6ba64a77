"""From an exported folder, or from result rows, to the repository of a dataset. Nothing is sent here."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from behemoth_data.card import CARD
from behemoth_data.exports import MANIFEST, card_of, read_manifest
from behemoth_data.settings import check
from behemoth_hub.cards import benchmark, board_space_card, dataset_card, dumped
from behemoth_hub.checks import checked
from behemoth_hub.collect import DATASET, Publication, Upload, files_in

RESULTS = "behemoth-results"  # the name of the results' repository
BOARD = "behemoth-board"  # and of the leaderboard's


def dataset(folder: Path, namespace: str, *, tag: str | None = None, progress: bool = True) -> Publication:
    """NAMESPACE/behemoth as it is to be: an exported folder whose card was counted anew and found right.

    It is tagged with the version of its rows unless another tag is given.
    Raises: ValueError for a folder that is not exactly what its manifest says, OSError for one without a manifest.
    """
    repo = f"{namespace}/{DATASET}"
    there = files_in(folder)
    check(MANIFEST in there, f"dataset must be a folder that `behemoth data` wrote, got {folder}")
    manifest = read_manifest(folder)
    card = card_of(folder, progress=progress)
    check(
        CARD in there and card == there[CARD].read_text(encoding="utf-8"),
        f"{CARD} of {folder} must be the card that its data files give: export it again",
    )
    uploads = _listed(folder, there, manifest)
    facts = [name for name in manifest["configs"] if not name.endswith("_edits")]
    made = {CARD: dataset_card(card, repo).encode("utf-8")}
    if facts:
        made["eval.yaml"] = benchmark(facts).encode("utf-8")
    manifest["files"] |= {
        path: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)} for path, data in made.items()
    }
    made[MANIFEST] = dumped(manifest)
    return checked(
        Publication(
            repo=repo,
            kind="dataset",
            uploads=[
                *(upload for upload in uploads if upload.path not in made),
                *(Upload(path, data) for path, data in made.items()),
            ],
            tag=tag or f"v{manifest['rows_version']}",
            loading=[f'datasets.load_dataset("{repo}", "{name}")' for name in facts or manifest["configs"]],
            left_out=[path for path in there if path not in manifest["files"] and path != MANIFEST],
        )
    )


def _listed(folder: Path, there: Mapping[str, Path], manifest: Mapping[str, Any]) -> list[Upload]:
    """Every file that the manifest lists. Raises: ValueError for one that is not there or not as listed."""
    uploads = []
    for path, entry in manifest["files"].items():
        check(path in there, f"{folder} must hold {path}, which its manifest lists")
        upload = Upload(path, there[path])
        check(
            upload.size == entry["size"] and upload.sha256 == entry["sha256"],
            f"{path} of {folder} must be as its manifest says ({entry['size']} bytes), got another file",
        )
        uploads.append(upload)
    return uploads


def results(folders: Sequence[Path], namespace: str, *, tag: str | None = None) -> Publication:
    """NAMESPACE/behemoth-results: the rows of every folder's results.jsonl as one table, with no path of this machine.

    Raises: ValueError for a folder without results, or a row that lacks something.
    """
    from behemoth_editing.report.dataset import results_files
    from behemoth_editing.report.summaries import load_results

    repo = f"{namespace}/{RESULTS}"
    for folder in folders:
        files_in(folder)  # refuses links that lead out of it
    files = results_files(load_results(folders), repo)
    return checked(
        Publication(
            repo=repo,
            kind="dataset",
            uploads=[Upload(path, content) for path, content in files.items()],
            tag=tag,
            loading=[f'datasets.load_dataset("{repo}", split="test")'],
        )
    )


def leaderboard(folders: Sequence[Path], namespace: str, *, tag: str | None = None) -> list[Publication]:
    """NAMESPACE/behemoth-board, once as a dataset and once as a Space that is its page.

    The dataset has the lines of every folder's board, and the rows behind them, with no path of this machine.
    Raises: ValueError for a folder without a board, or a line that two of them have.
    """
    from behemoth_editing.bench.leaderboard import leaderboard_files, leaderboard_page

    repo = f"{namespace}/{BOARD}"
    for folder in folders:
        files_in(folder)  # refuses links that lead out of it
    files = leaderboard_files(folders, repo)
    page = {"index.html": leaderboard_page(folders, repo).encode("utf-8"), CARD: board_space_card(repo).encode("utf-8")}
    return [
        checked(
            Publication(
                repo=repo,
                kind="dataset",
                uploads=[Upload(path, content) for path, content in files.items()],
                tag=tag,
                loading=[f'datasets.load_dataset("{repo}", "board", split="test")'],
            )
        ),
        checked(
            Publication(
                repo=repo,
                kind="space",
                uploads=[Upload(path, content) for path, content in page.items()],
                tag=tag,
            )
        ),
    ]
