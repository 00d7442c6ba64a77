"""A small Hub for tests: what pushing to and pulling from the Hugging Face Hub needs, over HTTP, on this machine only.

It keeps what it is given until it ends: file contents in a folder, everything else in memory. A test can make it
answer with errors, drop connections, or wait. As a command: python tests/hub/server.py --port 8765 --root FOLDER.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import dataclasses
import datetime
import hashlib
import json
import re
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

KINDS = {"models": "", "datasets": "datasets/", "spaces": "spaces/"}  # as in the API, and before a name in URLs
LARGE = {".parquet", ".safetensors", ".png"}  # stored apart, as the Hub's own .gitattributes has it
FIRST_FILE = b"*.parquet filter=lfs diff=lfs merge=lfs -text\n*.safetensors filter=lfs diff=lfs merge=lfs -text\n"


@dataclasses.dataclass
class Rule:
    """What happens to requests that match, instead of or before the usual answer."""

    method: str
    path: str  # a regular expression, searched for in the path
    status: int | None = None  # answer with it
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    drop_after: int | None = None  # close the connection after so many bytes of the body
    drop_answer: bool = False  # do what is asked, and close the connection instead of saying so
    hook: Callable[[], object] | None = None  # called first
    skip: int = 0  # matching requests that pass before the rule takes hold
    times: int = 1  # matching requests that it then holds for


@dataclasses.dataclass(frozen=True)
class File:
    """One file of a commit."""

    oid: str  # git's SHA-1 of its content, or of what stands for it
    size: int
    sha256: str | None  # of a large file


@dataclasses.dataclass(frozen=True)
class Commit:
    """A whole tree and where it came from."""

    oid: str
    parent: str | None
    title: str
    date: str
    files: dict[str, File]


@dataclasses.dataclass
class Repo:
    """A repository with its history."""

    kind: str
    name: str  # NAMESPACE/NAME
    private: bool
    commits: dict[str, Commit] = dataclasses.field(default_factory=dict)
    branches: dict[str, str] = dataclasses.field(default_factory=dict)
    tags: dict[str, str] = dataclasses.field(default_factory=dict)

    def find(self, revision: str) -> Commit | None:
        """The commit of a branch, a tag or a commit id."""
        oid = self.branches.get(revision) or self.tags.get(revision) or revision
        return self.commits.get(oid)


class Answer(Exception):
    """The status, body and headers that a request ends with."""

    def __init__(self, status: int, body: Any = None, headers: dict[str, str] | None = None) -> None:
        super().__init__(status)
        self.status, self.body, self.headers = status, body, headers or {}


def missing(what: str) -> Answer:
    """A 404 as the Hub writes it; `what` is Repo, Revision or Entry."""
    return Answer(404, {"error": f"{what} not found"}, {"X-Error-Code": f"{what}NotFound"})


class Hub:
    """Everything that is stored, and what was asked."""

    def __init__(self, root: Path, users: dict[str, list[str]]) -> None:
        """`users` gives for each token the namespaces that it may write to, the user's own first."""
        self.root, self.users = root, users
        self.repos: dict[tuple[str, str], Repo] = {}
        self.rules: list[Rule] = []
        self.log: list[tuple[str, str]] = []  # (method, path) of every request
        self.received = 0  # bytes of large files
        self.lock = threading.RLock()
        self.url = ""

    def repo(self, kind: str, name: str) -> Repo:
        """A repository that a test looks into."""
        return self.repos[kind, name]

    def files(self, kind: str, name: str, revision: str = "main") -> dict[str, bytes]:
        """The contents of a revision by path."""
        commit = self.repo(kind, name).find(revision)
        assert commit is not None
        return {path: self.content(file) for path, file in commit.files.items()}

    def titles(self, kind: str, name: str, revision: str = "main") -> list[str]:
        """The titles of the commits up to a revision, the first one first."""
        repo, titles = self.repo(kind, name), []
        commit = repo.find(revision)
        while commit is not None:
            titles.append(commit.title)
            commit = repo.commits.get(commit.parent or "")
        return titles[::-1]

    def count(self, method: str, pattern: str) -> int:
        """How many requests there were."""
        return sum(one == method and re.search(pattern, path) is not None for one, path in self.log)

    def content(self, file: File) -> bytes:
        """A file's bytes."""
        return (self.root / (file.sha256 or file.oid)).read_bytes()

    def put(self, name: str, data: bytes) -> None:
        """Content is stored under its digest."""
        (self.root / name).write_bytes(data)

    def commit(self, repo: Repo, branch: str, title: str, files: dict[str, File]) -> Commit:
        """The branch has one more commit, with these files."""
        parent = repo.branches.get(branch)
        oid = hashlib.sha1(json.dumps([parent, title, branch, len(repo.commits), repo.name]).encode()).hexdigest()
        date = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        repo.commits[oid] = made = Commit(oid, parent, title, date, files)
        repo.branches[branch] = oid
        return made

    def small(self, data: bytes) -> File:
        """A small file, stored."""
        oid = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        self.put(oid, data)
        return File(oid, len(data), None)

    def large(self, sha256: str, size: int) -> File:
        """A large file whose content was uploaded before. Raises: Answer if it was not."""
        if not (self.root / sha256).is_file():
            raise Answer(422, {"error": f"no object {sha256} was uploaded"})
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
        return File(hashlib.sha1(b"blob %d\0" % len(pointer) + pointer).hexdigest(), size, sha256)


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body in one packet: a second one would wait for the first one's receipt
    hub: Hub

    # Each matches (method, path); the method of this class of that name answers.
    ROUTES = (
        ("POST", r"/api/repos/create", "create"),
        ("DELETE", r"/api/repos/delete", "delete"),
        ("POST", r"/api/validate-yaml", "validate_yaml"),
        ("POST", r"/api/(?P<kind>\w+)/(?P<name>[^/]+/[^/]+)/preupload/(?P<revision>[^/]+)", "preupload"),
        ("POST", r"/api/(?P<kind>\w+)/(?P<name>[^/]+/[^/]+)/commit/(?P<revision>[^/]+)", "take_commit"),
        ("POST", r"/api/(?P<kind>\w+)/(?P<name>[^/]+/[^/]+)/paths-info/(?P<revision>[^/]+)", "paths_info"),
        ("POST", r"/api/(?P<kind>\w+)/(?P<name>[^/]+/[^/]+)/branch/(?P<branch>[^/]+)", "create_branch"),
        ("DELETE", r"/api/(?P<kind>\w+)/(?P<name>[^/]+/[^/]+)/branch/(?P<branch>[^/]+)", "delete_branch"),
        ("POST", r"/api/(?P<kind>\w+)/(?P<name>[^/]+/[^/]+)/tag/(?P<revision>[^/]+)", "create_tag"),
        ("DELETE", r"/api/(?P<kind>\w+)/(?P<name>[^/]+/[^/]+)/tag/(?P<tag>[^/]+)", "delete_tag"),
        ("GET", r"/api/(?P<kind>\w+)/(?P<name>[^/]+/[^/]+)/refs", "refs"),
        ("GET", r"/api/(?P<kind>\w+)/(?P<name>[^/]+/[^/]+)/commits/(?P<revision>[^/]+)", "commits"),
        ("GET", r"/api/(?P<kind>\w+)/(?P<name>[^/]+/[^/]+)/tree/(?P<revision>[^/]+)(?:/(?P<path>.+))?", "tree"),
        ("GET", r"/api/(?P<kind>\w+)/(?P<name>[^/]+/[^/]+)(?:/revision/(?P<revision>[^/]+))?", "info"),
        ("POST", r"/(?P<prefix>(?:datasets/|spaces/)?)(?P<name>[^/]+/[^/]+)\.git/info/lfs/objects/batch", "batch"),
        ("PUT", r"/storage/(?P<oid>[0-9a-f]{64})", "store"),
        (
            "GET",
            r"/(?P<prefix>(?:datasets/|spaces/)?)(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)",
            "resolve",
        ),
    )

    def do_GET(self) -> None:
        self._answer("GET")

    def do_HEAD(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_PUT(self) -> None:
        self._answer("PUT")

    def do_DELETE(self) -> None:
        self._answer("DELETE")

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed: tests read Hub.log."""

    def _answer(self, method: str) -> None:
        path = urlsplit(self.path).path
        rule = self._rule(method, path)
        try:
            if rule is not None and rule.hook is not None:
                rule.hook()
            if rule is not None and rule.drop_after is not None:
                for _ in self._body(rule.drop_after):
                    pass
                self._hang_up()
                return
            self.data = b"".join(self._body())
            if rule is not None and rule.status is not None:
                raise Answer(rule.status, {"error": f"status {rule.status}"}, rule.headers)
            self._route(method, path)
            raise Answer(404, {"error": "no such route"})
        except Answer as answer:
            if rule is not None and rule.drop_answer:
                self._hang_up()
            else:
                self._send(answer)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _hang_up(self) -> None:
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def _rule(self, method: str, path: str) -> Rule | None:
        """The first rule that holds for this request, which counts it."""
        found = None
        with self.hub.lock:
            self.hub.log.append((method, path))
            for rule in self.hub.rules:
                if rule.method == method and re.search(rule.path, path):
                    rule.skip -= 1
                    if rule.skip < 0 and rule.times > 0 and found is None:
                        rule.times -= 1
                        found = rule
        return found

    def _body(self, limit: int | None = None) -> Iterator[bytes]:
        """The parts of the request's body, up to about `limit` bytes."""
        if self.headers.get("Transfer-Encoding") == "chunked":
            read = 0
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
                read += size
                if limit is not None and read >= limit:
                    return
            self.rfile.readline()
        else:
            left = int(self.headers.get("Content-Length") or 0)
            left = left if limit is None else min(left, limit)
            while left and (part := self.rfile.read(min(left, 1 << 20))):
                left -= len(part)
                yield part

    def _route(self, method: str, path: str) -> None:
        for wanted, pattern, name in self.ROUTES:
            match = re.fullmatch(pattern, path)
            if method == wanted and match:
                groups = {key: unquote(value or "") for key, value in match.groupdict().items()}
                if "prefix" in groups:
                    groups["kind"] = {v: k for k, v in KINDS.items()}[groups.pop("prefix")]
                if groups.get("kind", "models") not in KINDS:
                    raise missing("Repo")
                getattr(self, name)(**groups)

    def _send(self, answer: Answer) -> None:
        body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **answer.headers}
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    # Who may do what

    def _namespaces(self) -> list[str]:
        """What the request's token may write to. Raises: Answer for a token that nobody has."""
        scheme, _, token = (self.headers.get("Authorization") or "").partition(" ")
        if not scheme:
            return []
        if token not in self.hub.users:
            raise Answer(401, {"error": "Invalid credentials in Authorization header"})
        return self.hub.users[token]

    def _may_write(self, name: str) -> None:
        namespaces = self._namespaces()
        if not namespaces:
            raise Answer(401, {"error": "a token is needed"})
        if name.split("/")[0] not in namespaces:
            message = f"You don't have the rights to write under the namespace {name.split('/')[0]}"
            raise Answer(403, {"error": message}, {"X-Error-Message": message})

    def _repo(self, kind: str, name: str, *, write: bool = False) -> Repo:
        repo = self.hub.repos.get((kind, name))
        namespaces = self._namespaces()
        if repo is None or (repo.private and name.split("/")[0] not in namespaces):
            raise missing("Repo")
        if write:
            self._may_write(name)
        return repo

    def _commit(self, repo: Repo, revision: str) -> Commit:
        commit = repo.find(revision or "main")
        if commit is None:
            raise missing("Revision")
        return commit

    def _json(self) -> Any:
        return json.loads(self.data or b"{}")

    # Repositories

    def create(self) -> None:
        given = self._json()
        name = f"{given.get('organization') or (self._namespaces() or ['nobody'])[0]}/{given['name']}"
        kind = f"{given.get('type') or 'model'}s"
        self._may_write(name)
        url = f"{self.hub.url}/{KINDS[kind]}{name}"
        with self.hub.lock:
            if (kind, name) in self.hub.repos:
                raise Answer(409, {"error": "You already created this repo", "url": url})
            repo = Repo(kind, name, given.get("visibility") == "private")
            self.hub.commit(repo, "main", "initial commit", {".gitattributes": self.hub.small(FIRST_FILE)})
            self.hub.repos[kind, name] = repo
        raise Answer(200, {"url": url, "name": name})

    def delete(self) -> None:
        given = self._json()
        name = f"{given.get('organization') or self._namespaces()[0]}/{given['name']}"
        kind = f"{given.get('type') or 'model'}s"
        self._repo(kind, name, write=True)
        del self.hub.repos[kind, name]
        raise Answer(200, {})

    def info(self, kind: str, name: str, revision: str) -> None:
        repo = self._repo(kind, name)
        commit = self._commit(repo, revision)
        raise Answer(
            200,
            {
                "id": name,
                "sha": commit.oid,
                "private": repo.private,
                "gated": False,
                "tags": [],
                "downloads": 0,
                "likes": 0,
                "lastModified": commit.date,
                "siblings": [{"rfilename": path} for path in sorted(commit.files)],
            },
        )

    def refs(self, kind: str, name: str) -> None:
        repo = self._repo(kind, name)
        raise Answer(
            200,
            {
                "branches": [
                    {"name": n, "ref": f"refs/heads/{n}", "targetCommit": oid} for n, oid in repo.branches.items()
                ],
                "tags": [{"name": n, "ref": f"refs/tags/{n}", "targetCommit": oid} for n, oid in repo.tags.items()],
                "converts": [],
            },
        )

    def commits(self, kind: str, name: str, revision: str) -> None:
        repo = self._repo(kind, name)
        found, commit = [], repo.find(revision)
        while commit is not None:
            found.append({"id": commit.oid, "title": commit.title, "message": "", "date": commit.date, "authors": []})
            commit = repo.commits.get(commit.parent or "")
        raise Answer(200, found)

    def create_branch(self, kind: str, name: str, branch: str) -> None:
        repo = self._repo(kind, name, write=True)
        with self.hub.lock:
            if branch in repo.branches:
                raise Answer(409, {"error": f"Reference already exists: {branch}"})
            repo.branches[branch] = self._commit(repo, self._json().get("startingPoint") or "main").oid
        raise Answer(200, {})

    def delete_branch(self, kind: str, name: str, branch: str) -> None:
        del self._repo(kind, name, write=True).branches[branch]
        raise Answer(200, {})

    def create_tag(self, kind: str, name: str, revision: str) -> None:
        repo = self._repo(kind, name, write=True)
        tag = self._json()["tag"]
        with self.hub.lock:
            if tag in repo.tags:
                raise Answer(409, {"error": f"Tag reference exists already: {tag}"})
            repo.tags[tag] = self._commit(repo, revision).oid
        raise Answer(200, {})

    def delete_tag(self, kind: str, name: str, tag: str) -> None:
        del self._repo(kind, name, write=True).tags[tag]
        raise Answer(200, {})

    # Pushing

    def validate_yaml(self) -> None:
        raise Answer(200, {"errors": [], "warnings": []})

    def preupload(self, kind: str, name: str, revision: str) -> None:
        commit = self._commit(self._repo(kind, name, write=True), revision)
        answers = []
        for file in self._json()["files"]:
            large = PurePosixPath(file["path"]).suffix in LARGE or file["size"] > 10_000_000
            there = commit.files.get(file["path"])
            answers.append(
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if large else "regular",
                    "shouldIgnore": False,
                    "oid": (there.sha256 or there.oid) if there else None,
                }
            )
        raise Answer(200, {"files": answers})

    def batch(self, kind: str, name: str) -> None:
        self._repo(kind, name, write=True)
        objects = []
        for wanted in self._json()["objects"]:
            found: dict[str, Any] = {"oid": wanted["oid"], "size": wanted["size"]}
            if not (self.hub.root / wanted["oid"]).is_file():
                href = f"{self.hub.url}/storage/{wanted['oid']}"
                found["actions"] = {"upload": {"href": href, "header": {}}}
            objects.append(found)
        raise Answer(200, {"transfer": "basic", "objects": objects})

    def store(self, oid: str) -> None:
        if hashlib.sha256(self.data).hexdigest() != oid:
            raise Answer(400, {"error": "the content has another digest"})
        self.hub.put(oid, self.data)
        with self.hub.lock:
            self.hub.received += len(self.data)
        raise Answer(200, b"")

    def take_commit(self, kind: str, name: str, revision: str) -> None:
        repo = self._repo(kind, name, write=True)
        header, *changes = [json.loads(line) for line in self.data.splitlines() if line.strip()]
        with self.hub.lock:
            head = self._commit(repo, revision)
            wanted = header["value"].get("parentCommit")
            if wanted not in (None, head.oid):
                raise Answer(412, {"error": "A commit has happened since. Please refresh and try again."})
            files = dict(head.files)
            for change in changes:
                value = change["value"]
                if change["key"] == "file":
                    files[value["path"]] = self.hub.small(base64.b64decode(value["content"]))
                elif change["key"] == "lfsFile":
                    files[value["path"]] = self.hub.large(value["oid"], value["size"])
                elif change["key"] == "deletedFile":
                    del files[value["path"]]
                else:
                    raise Answer(400, {"error": f"unknown change {change['key']}"})
            made = self.hub.commit(repo, revision, header["value"]["summary"], files)
        url = f"{self.hub.url}/{KINDS[kind]}{name}/commit/{made.oid}"
        raise Answer(200, {"success": True, "commitOid": made.oid, "commitUrl": url})

    # Pulling

    def _entry(self, path: str, file: File) -> dict[str, Any]:
        entry: dict[str, Any] = {"type": "file", "oid": file.oid, "size": file.size, "path": path}
        if file.sha256 is not None:
            entry["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": 134}
        return entry

    def _folder(self, path: str) -> dict[str, Any]:
        return {"type": "directory", "oid": hashlib.sha1(path.encode()).hexdigest(), "size": 0, "path": path}

    def tree(self, kind: str, name: str, revision: str, path: str) -> None:
        commit = self._commit(self._repo(kind, name), revision)
        query = parse_qs(urlsplit(self.path).query)
        deep = query.get("recursive", ["false"])[0].lower() in ("true", "1")
        below = {p: f for p, f in commit.files.items() if not path or p.startswith(path + "/")}
        if path and not below:
            raise missing("Entry")
        depth = len(PurePosixPath(path).parts) if path else 0
        folders: dict[str, None] = {}
        entries = []
        for place, file in sorted(below.items()):
            parts = PurePosixPath(place).parts
            for end in range(depth + 1, len(parts) if deep else min(depth + 2, len(parts))):
                folders["/".join(parts[:end])] = None
            if deep or len(parts) == depth + 1:
                entries.append(self._entry(place, file))
        raise Answer(200, [*map(self._folder, folders), *entries])

    def paths_info(self, kind: str, name: str, revision: str) -> None:
        commit = self._commit(self._repo(kind, name), revision)
        if "json" in (self.headers.get("Content-Type") or ""):
            paths = self._json()["paths"]
        else:
            paths = parse_qs(self.data.decode())["paths"]
        found = []
        for path in paths:
            if path in commit.files:
                found.append(self._entry(path, commit.files[path]))
            elif any(p.startswith(path.rstrip("/") + "/") for p in commit.files):
                found.append(self._folder(path))
        raise Answer(200, found)

    def resolve(self, kind: str, name: str, revision: str, path: str) -> None:
        commit = self._commit(self._repo(kind, name), revision)
        file = commit.files.get(path)
        if file is None:
            answer = missing("Entry")
            answer.headers["X-Repo-Commit"] = commit.oid
            raise answer
        content, status = self.hub.content(file), 200
        headers = {
            "X-Repo-Commit": commit.oid,
            "ETag": f'"{file.sha256 or file.oid}"',
            "Accept-Ranges": "bytes",
            "Content-Type": "application/octet-stream",
        }
        if file.sha256 is not None:
            headers |= {"X-Linked-Etag": f'"{file.sha256}"', "X-Linked-Size": str(file.size)}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if wanted:
            start, stop = int(wanted[1]), int(wanted[2]) + 1 if wanted[2] else len(content)
            headers["Content-Range"] = f"bytes {start}-{min(stop, len(content)) - 1}/{len(content)}"
            content, status = content[start:stop], 206
        raise Answer(status, content, headers)


@contextlib.contextmanager
def serve(root: Path, users: dict[str, list[str]], port: int = 0) -> Iterator[Hub]:
    """A Hub that answers under `Hub.url` for as long as the block lasts; port 0 takes a free one."""
    hub = Hub(root, users)
    server = ThreadingHTTPServer(("127.0.0.1", port), type("BoundHandler", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def main() -> None:
    """Serves until it is interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port on this machine; 0: a free one")
    parser.add_argument("--root", type=Path, help="folder for the contents; a temporary one if none is given")
    parser.add_argument("--token", default="hf_local", help="the token that may write")
    parser.add_argument("--user", default="me", help="the namespace that the token may write to")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        root = arguments.root or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        root.mkdir(parents=True, exist_ok=True)
        hub = stack.enter_context(serve(root, {arguments.token: [arguments.user]}, arguments.port))
        print(f"export HF_ENDPOINT={hub.url} HF_TOKEN={arguments.token} HF_HUB_DISABLE_XET=1", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
