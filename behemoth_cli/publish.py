"""Puts a dataset, models, metrics, results, boards and a playground on the Hugging Face Hub: behemoth publish ...

Each becomes a repository of its own under your name, complete with its card, in one commit. The command is safe to
repeat: what is there with the same content is left alone, and a command that was cut off finishes when it is given
again. Nothing but the files listed leaves this machine; --dry_run lists them without a token. Create a token with
write access at https://huggingface.co/settings/tokens, and then: hf auth login
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Sequence
from pathlib import Path

from behemoth_cli.sections import METHOD_SECTIONS
from behemoth_cli.settings import Options, one_line_errors, parse, place
from behemoth_data.exports import MANIFEST, read_manifest
from behemoth_data.settings import check, setting
from behemoth_hub import (
    Outcome,
    Publication,
    Publisher,
    dataset,
    edited,
    leaderboard,
    metrics,
    models,
    playground,
    results,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PublishArguments:
    """What is published where."""

    namespace: str | None = setting(None, "your user name on the Hub, or an organisation that you may write for")
    dataset: str | None = place(None, "folder that `behemoth data` wrote; becomes NAME/behemoth")
    models: list[str] = place(
        [],
        "folders of finished runs; each becomes NAME/behemoth-pythia-SIZE-STRUCTURE, kept steps its branches step{N}",
    )
    edited: list[str] = place(
        [], "folders of edited models, as `behemoth edit --save_models` keeps them; each becomes a model of its own"
    )
    metrics: bool = setting(False, "publish every metric as the Space NAME/METRIC")
    space: bool = setting(
        False, "publish the playground as the Space NAME/behemoth-playground, over --models and --space_models"
    )
    space_models: list[str] = setting([], "ids of models on the Hub that the playground offers")
    results: list[str] = place([], "folders that `behemoth edit` wrote; together they become NAME/behemoth-results")
    boards: list[str] = place(
        [], "folders that `behemoth bench` wrote; together they become the dataset NAME/behemoth-board and a page of it"
    )
    private: bool = setting(False, "repositories that do not exist yet are made private")
    dry_run: bool = setting(False, "print every file, its size and the cards, and send nothing; needs no token")
    revision: str | None = setting(
        None, "tag for everything that is published; null: the dataset gets the version of its rows, the rest none"
    )


def options(prog: str = "behemoth publish") -> Options:
    """What the command line takes."""
    return Options({"": PublishArguments}, prog=prog, description=__doc__, usage="[--option value ...]")


def main(argv: Sequence[str] | None = None, prog: str = "behemoth publish") -> None:
    """Publishes, and prints what was sent, where it is seen and how it is loaded.

    Raises: SystemExit with status 2 for something that cannot be published, 1 for a Hub that refuses or fails,
    after one line on standard error; no repository then shows half of its publication.
    """
    logging.basicConfig(format="%(message)s")
    logging.getLogger("behemoth_hub").setLevel(logging.INFO)
    (arguments,) = parse(options(prog), argv, recipe={})
    with one_line_errors(prog):
        publisher = Publisher(private=arguments.private)
        if not arguments.dry_run:
            publisher.check_token()
        publications = _publications(arguments)
        for publication in publications:
            if arguments.dry_run:
                _print_plan(publication)
            else:
                started = time.monotonic()
                outcomes = publisher.publish(publication)
                _print_outcome(publication, publisher.api.endpoint, outcomes, time.monotonic() - started)
    if arguments.dry_run:
        size = sum(upload.size for p in publications for uploads in p.revisions.values() for upload in uploads)
        print(f"{len(publications)} repositories, {size:,} bytes in all; nothing was sent")


def _publications(arguments: PublishArguments) -> list[Publication]:
    """Everything that was asked for, checked. Raises: ValueError for nothing, or for what cannot be published."""
    namespace, tag = arguments.namespace, arguments.revision
    check(bool(namespace), "namespace must be your user name or organisation on the Hub, got none")
    check("/" not in str(namespace), f"namespace must be one name, got {namespace!r}")
    kinds = ("dataset", "models", "edited", "metrics", "space", "results", "boards")
    check(
        any(getattr(arguments, kind) for kind in kinds),
        f"publish needs something to publish: {', '.join(f'--{kind}' for kind in kinds[:-1])} or --{kinds[-1]}",
    )
    check(
        arguments.space or not arguments.space_models,
        f"space_models needs space to be set, got {arguments.space_models} without",
    )
    publications: list[Publication] = []
    manifest = None
    if arguments.dataset is not None:
        folder = Path(arguments.dataset)
        check((folder / MANIFEST).is_file(), f"dataset must be a folder of `behemoth data`, got {folder}")
        manifest = read_manifest(folder)
        publications.append(dataset(folder, str(namespace), tag=tag))
    folders = [Path(folder) for folder in arguments.models]
    published = models(folders, str(namespace), tag=tag, manifest=manifest)
    publications += published
    publications += edited([Path(folder) for folder in arguments.edited], str(namespace), tag=tag)
    if arguments.metrics:
        publications += metrics(str(namespace), tag=tag)
    if arguments.space:
        offered = [*(model.repo for model in published), *arguments.space_models]
        publications.append(playground(str(namespace), offered, list(METHOD_SECTIONS), tag=tag))
    if arguments.results:
        publications.append(results([Path(folder) for folder in arguments.results], str(namespace), tag=tag))
    if arguments.boards:
        publications += leaderboard([Path(folder) for folder in arguments.boards], str(namespace), tag=tag)
    return publications


def _print_plan(publication: Publication) -> None:
    tag = f", tag {publication.tag}" if publication.tag else ""
    print(f"{publication.repo} ({publication.kind}{tag})")
    for branch, uploads in publication.revisions.items():
        print(f"  {branch}: {len(uploads)} files, {sum(upload.size for upload in uploads):,} bytes")
        for upload in uploads:
            print(f"  {upload.size:>14,}  {upload.path}")
    for name in publication.left_out:
        print(f"      stays here  {name}")
    _print_notes(publication)
    for branch in publication.revisions:
        print(f"  card of {branch}:\n\n{publication.card(branch)}")


def _print_outcome(publication: Publication, endpoint: str, outcomes: Sequence[Outcome], seconds: float) -> None:
    for outcome in outcomes:
        if outcome.changed:
            size = sum(upload.size for upload in outcome.sent)
            said = f"{len(outcome.sent)} files, {size:,} bytes" + (
                f", {len(outcome.removed)} removed" if outcome.removed else ""
            )
        else:
            said = "unchanged"
        print(f"{publication.repo} {outcome.branch}: {said} (commit {outcome.commit[:8]})")
    tag = f", tag {publication.tag}" if publication.tag else ""
    print(f"  {publication.url(endpoint)} ({seconds:.1f} s{tag})")
    for line in publication.loading:
        print(f"  {line}")
    _print_notes(publication)


def _print_notes(publication: Publication) -> None:
    for note in publication.notes:
        print(f"  note: {note}")


if __name__ == "__main__":
    main()
