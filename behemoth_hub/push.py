"""How a publication gets to the Hub: one commit per branch, then the tag, safe to repeat and to be cut off anywhere.

Large files are uploaded before the commit that names them, so that readers see all of a publication or nothing of
it. The token is read by huggingface_hub, and here never.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import (  # type: ignore[attr-defined]
    HfHubHTTPError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.hf_api import RepoFile

from behemoth_data.settings import check
from behemoth_hub.checks import front_matter
from behemoth_hub.collect import MAIN, Publication, Upload, check_publication

_OURS = b"behemoth-bench"  # stands in every card that this package makes
_KEPT = {".gitattributes"}  # the Hub's own
_PASSING = {408, 429, 500, 502, 503, 504}  # statuses that another try may mend
_TRIES = 5
_LONGEST_WAIT = 120  # seconds that the Hub may ask us to wait
_NO_COMMIT = "nothing of this publication can be seen there; run the same command again"

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class PublishError(OSError):
    """Why the Hub does not have the publication, in one line, and what to do about it."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What one branch of a repository came to."""

    branch: str
    commit: str
    sent: Sequence[Upload]  # files that were not there before
    removed: Sequence[str]

    @property
    def changed(self) -> bool:
        """Whether there is a new commit."""
        return bool(self.sent or self.removed)


class Publisher:
    """Puts publications on one Hub."""

    def __init__(
        self, api: HfApi | None = None, *, private: bool = False, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        """`private` concerns repositories that do not exist yet; `sleep` waits for so many seconds."""
        self.api, self.private, self._sleep = api or HfApi(), private, sleep

    def check_token(self) -> None:
        """Raises: ValueError if there is no token to publish with."""
        check(
            bool(self.api.token or get_token()),
            "publishing needs a token with write access: create one at https://huggingface.co/settings/tokens, then "
            "`hf auth login` or set HF_TOKEN; --dry_run needs none",
        )

    def publish(self, publication: Publication) -> list[Outcome]:
        """The repository holds the publication on every branch, and its tag; a branch that already does is left alone.

        Raises: ValueError for a missing token, a tag of other content, a repository of something else or a file that
        may not leave the machine; PublishError if the Hub refuses, fails or was changed by someone else meanwhile.
        """
        check_publication(publication)
        self.check_token()
        self._patiently(publication, lambda: self._make_repository(publication))
        if publication.tag is not None:
            self._patiently(publication, lambda: self._tag_is_free(publication))
        outcomes = [
            self._patiently(publication, functools.partial(self._put, publication, branch, uploads))
            for branch, uploads in publication.revisions.items()
        ]
        if publication.tag is not None:
            self._patiently(publication, lambda: self._set_tag(publication, outcomes[-1].commit))
        return outcomes

    def _make_repository(self, publication: Publication) -> None:
        """The repository exists. Raises: ValueError if it is public and must not be."""
        try:
            info = self.api.repo_info(publication.repo, repo_type=publication.kind)
        except RepositoryNotFoundError:
            fields = front_matter(publication.card(), publication.repo)
            self.api.create_repo(
                publication.repo,
                repo_type=publication.kind,
                private=True if self.private else None,
                space_sdk=fields["sdk"] if publication.kind == "space" else None,
                exist_ok=True,
            )
            return
        check(
            bool(info.private) or not self.private,
            f"private must be false for {publication.repo}, which is public already; change that on its settings page",
        )

    def _put(self, publication: Publication, branch: str, uploads: Sequence[Upload]) -> Outcome:
        """The branch holds exactly these files."""
        repo, kind = publication.repo, publication.kind
        head = self._refs(publication)[0].get(branch)
        if head is None:
            first = self.api.list_repo_commits(repo, repo_type=kind)[-1].commit_id
            self.api.create_branch(repo, repo_type=kind, branch=branch, revision=first, exist_ok=True)
            head = self._refs(publication)[0][branch]
        there = self._files(publication, head)
        sent = [upload for upload in uploads if not _is_there(upload, there.get(upload.path))]
        removed = sorted(set(there) - {upload.path for upload in uploads} - _KEPT)
        if not sent and not removed:
            return Outcome(branch, head, [], [])
        self._check_ours(publication, head, there)
        size = sum(upload.size for upload in sent)
        _log.info("%s: sending %d files, %s bytes, to %s", repo, len(sent), f"{size:,}", branch)
        with warnings.catch_warnings():
            # A model's facts.parquet is meant to be there.
            warnings.filterwarnings("ignore", message="It seems that you are about to commit a data file")
            commit = self.api.create_commit(
                repo,
                repo_type=kind,
                revision=branch,
                parent_commit=head,
                commit_message=_title(publication, branch),
                operations=[
                    *(CommitOperationAdd(upload.path, upload.source) for upload in sent),
                    *(CommitOperationDelete(path, is_folder=False) for path in removed),
                ],
            )
        return Outcome(branch, commit.oid, sent, removed)

    def _refs(self, publication: Publication) -> tuple[dict[str, str], dict[str, str]]:
        """The commits of all branches and of all tags."""
        refs = self.api.list_repo_refs(publication.repo, repo_type=publication.kind)
        return (
            {ref.name: ref.target_commit for ref in refs.branches},
            {ref.name: ref.target_commit for ref in refs.tags},
        )

    def _files(self, publication: Publication, revision: str) -> dict[str, RepoFile]:
        entries = self.api.list_repo_tree(
            publication.repo, repo_type=publication.kind, revision=revision, recursive=True
        )
        return {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}

    def _check_ours(self, publication: Publication, revision: str, there: Mapping[str, RepoFile]) -> None:
        """Raises: ValueError for a repository that holds something that this package did not publish."""
        foreign = sorted(set(there) - _KEPT - {"README.md"})
        if not foreign:
            return
        card = b""
        if "README.md" in there:
            path = self.api.hf_hub_download(
                publication.repo, "README.md", repo_type=publication.kind, revision=revision
            )
            with open(path, "rb") as file:
                card = file.read()
        check(
            _OURS in card,
            f"{publication.repo} must be new or published by this project, got a repository that holds {foreign[0]} "
            "and whose card says nothing of behemoth-bench: use another namespace, or delete or rename it",
        )

    def _tag_is_free(self, publication: Publication) -> str | None:
        """The commit of the tag, None if there is no such tag. Raises: ValueError if it is of other content."""
        found = self._refs(publication)[1].get(str(publication.tag))
        if found is not None:
            there = self._files(publication, found)
            same = set(there) - _KEPT == {upload.path for upload in publication.uploads} and all(
                _is_there(upload, there[upload.path]) for upload in publication.uploads
            )
            check(
                same,
                f"tag {publication.tag} of {publication.repo} must be of this content, got one of other content "
                f"(commit {found[:8]}): raise the version, or give another tag with --revision",
            )
        return found

    def _set_tag(self, publication: Publication, commit: str) -> None:
        if self._tag_is_free(publication) is None:
            self.api.create_tag(publication.repo, repo_type=publication.kind, tag=str(publication.tag), revision=commit)

    def _patiently(self, publication: Publication, step: Callable[[], _T]) -> _T:
        """What the step returns, which is tried again where that may help: each step first looks what is there.

        Raises: PublishError for a step that the Hub refuses, or that failed too often.
        """
        repo, tries = publication.repo, 0
        while True:
            try:
                return step()
            except (HTTPError, OfflineModeIsEnabled, LocalEntryNotFoundError, RuntimeError) as error:
                cause = _cause(error)
                tries += 1
                wait = _wait(cause, 2 ** (tries - 1))
                if wait is None or tries == _TRIES or _had_its_tries(error):
                    raise PublishError(_explain(cause, repo)) from error
                _log.warning("%s: %s; trying again in %d s", repo, _name(cause), wait)
                self._sleep(wait)


def _title(publication: Publication, branch: str) -> str:
    if branch != MAIN:
        return f"Publish {branch}"
    name = publication.repo.rpartition("/")[2]
    return f"Publish {name} {publication.tag}" if publication.tag else f"Publish {name}"


def _is_there(upload: Upload, file: RepoFile | None) -> bool:
    """Whether the Hub has this very content under this path."""
    if file is None or file.size != upload.size:
        return False
    return file.lfs.sha256 == upload.sha256 if file.lfs is not None else file.blob_id == upload.git_oid


def _had_its_tries(error: BaseException) -> bool:
    """Whether huggingface_hub itself has repeated the request that failed: those of an upload before its commit."""
    if isinstance(error, RuntimeError):  # of the content of a large file
        return True
    source: Any = getattr(error, "response", None) or error
    path = str(source.request.url) if isinstance(error, HTTPError) else ""
    return "/preupload/" in path or path.endswith("/objects/batch")


def _cause(error: BaseException) -> BaseException:
    """What made an upload or a download fail, without the layer that huggingface_hub puts around it."""
    while isinstance(error, (RuntimeError, LocalEntryNotFoundError)) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _status(error: BaseException) -> int | None:
    response: Any = getattr(error, "response", None)
    return None if response is None else int(response.status_code)


def _name(error: BaseException) -> str:
    status = _status(error)
    return f"the Hub answered {status}" if status is not None else "the connection failed"


def _wait(error: BaseException, otherwise: float) -> float | None:
    """Seconds to wait before another try; None if none would help."""
    if isinstance(error, HfHubHTTPError):
        if _status(error) not in _PASSING:
            return None
        asked = error.response.headers.get("Retry-After", "")
        seconds = float(asked) if asked.isdigit() else otherwise
        return seconds if seconds <= _LONGEST_WAIT else None
    return otherwise if isinstance(error, HTTPError) else None


def _explain(error: BaseException, repo: str) -> str:
    """One line that says what happened and what to do."""
    namespace, status = repo.split("/")[0], _status(error)
    if isinstance(error, OfflineModeIsEnabled):
        return f"{repo}: publishing needs a connection, and HF_HUB_OFFLINE is set"
    if status == 401:
        return f"{repo}: the Hub does not accept the token (401): create one with write access and `hf auth login`"
    if status == 403:
        return (
            f"{repo}: the token may not write there (403): namespace must be your user name or an organisation that "
            f"you may write for, got {namespace}, and the token needs write access"
        )
    if status == 404:
        return f"{repo}: not found (404): was it removed or renamed meanwhile? {_NO_COMMIT}"
    if status == 409:
        return f"{repo}: in conflict with what is there or happens there now (409): {_NO_COMMIT}"
    if status == 412:
        return f"{repo}: someone else published there meanwhile (412): {_NO_COMMIT}"
    if status == 429:
        asked = getattr(error, "response").headers.get("Retry-After")  # noqa: B009 (not every error has one)
        later = f" in {asked} seconds" if asked else " later"
        return f"{repo}: too many requests (429): run the same command again{later}; what was uploaded is kept there"
    if status is not None and status >= 500:
        return f"{repo}: the Hub fails ({status}), after several tries: {_NO_COMMIT}"
    if status is not None:
        return f"{repo}: the Hub refuses ({status}): {' '.join(str(error).split())}"
    if isinstance(error, HTTPError):
        return f"{repo}: the connection failed, after several tries ({type(error).__name__}): {_NO_COMMIT}"
    return f"{repo}: {' '.join(str(error).split())}"
