"""The data files of an export, each a task that any process can do. No card, no manifest, and no choice of configs.

A file is made from its own range of rows alone, so the same task gives the same bytes wherever it is done.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import importlib
import logging
import os
import re
import signal
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from tqdm import tqdm

from behemoth_data.card import Split
from behemoth_data.places import local_path
from behemoth_data.settings import check

if TYPE_CHECKING:
    from behemoth_data.rows import Rows

SCRATCH = ".scratch"  # in a local folder while it is written: what no process has finished

_PATIENCE = 30.0  # seconds in which a cluster must have ended

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(://|::)")


@dataclasses.dataclass(frozen=True)
class FileTask:
    """All that a process needs to know to write one data file."""

    config: str
    fields: Mapping[str, Any]  # every field of the config
    split: str
    number: int  # among the files of the split
    num_files: int
    start: int  # in units of the split's rows
    stop: int
    code: str  # what the process must run, so that its bytes are those that any other would write

    @property
    def path(self) -> str:
        """Where in the folder the file lies."""
        return f"{self.config}/{self.split}-{self.number:05d}-of-{self.num_files:05d}.parquet"


@dataclasses.dataclass(frozen=True)
class FileResult:
    """What the card and the manifest say of one data file."""

    counted: Split
    sha256: str
    size: int  # bytes


def plan(configs: Mapping[str, Mapping[str, Any]], rows_per_file: int) -> list[FileTask]:
    """Every data file of these configs, each given by all its fields, in the configs' and their splits' order."""
    tasks = []
    for name, fields in configs.items():
        for split, rows in _rows(name, fields).items():
            ranges = rows.files(rows_per_file)
            tasks += [
                FileTask(name, fields, split, number, len(ranges), start, stop, _running_code())
                for number, (start, stop) in enumerate(ranges)
            ]
    return tasks


def opened(place: str | os.PathLike[str]) -> tuple[Any, str]:
    """The fsspec file system of a folder or URL, and its name there, with slashes as fsspec has them on Windows too.

    Raises: ValueError if none can be opened.
    """
    from fsspec.core import url_to_fs
    from fsspec.implementations.local import LocalFileSystem

    if not is_url(place):
        return LocalFileSystem(), local_path("output", place).resolve().as_posix()
    try:
        system, root = url_to_fs(str(place))
    except (ImportError, ValueError) as error:
        raise ValueError(f"output must be a folder or a URL that fsspec can open, got {place}: {error}") from error
    return system, Path(root).resolve().as_posix() if is_local(system) else root.rstrip("/")


def is_url(place: str | os.PathLike[str]) -> bool:
    """Whether a place is given as a URL such as s3://bucket/behemoth, and not as a path."""
    return isinstance(place, str) and _URL.match(place) is not None


def is_local(system: Any) -> bool:
    """Whether a file system is the one of this machine's folders."""
    from fsspec.implementations.local import LocalFileSystem

    return isinstance(system, LocalFileSystem)


def sizes(system: Any, root: str) -> dict[str, int]:
    """The bytes of every file in a folder by its path there, without files whose name starts with a dot."""
    system.invalidate_cache()
    try:
        found = system.find(root, detail=True)
    except FileNotFoundError:
        return {}
    paths = {name.removeprefix(root).lstrip("/"): entry["size"] for name, entry in found.items()}
    return {path: size for path, size in paths.items() if not path.rpartition("/")[2].startswith(".")}


def client_at(scheduler: str, **options: Any) -> Any:
    """A client of the scheduler at an address, which is closed if it cannot start.

    Else whichever thread collects garbage closes it, and waits for a lock for ever, or for ten seconds, if another
    client is being started there. Raises: whatever the client does.
    """
    distributed = importlib.import_module("distributed")

    class Client(distributed.Client):  # type: ignore[misc, name-defined]  # untyped
        def start(self, **how: Any) -> None:
            try:
                super().start(**how)
            except BaseException:
                self.close()
                raise

    return Client(scheduler, **options)


@contextlib.contextmanager
def client_here(*, set_as_default: bool = True, **options: Any) -> Iterator[Any]:
    """A client of a LocalCluster with these options, which end together, in half a minute at most.

    The cluster by itself waits for ever for a worker process that died and, being started anew, never comes up.
    """
    distributed = importlib.import_module("distributed")
    cluster = distributed.LocalCluster(
        dashboard_address="127.0.0.1:0",  # None takes port 8787 all the same, and warns if another run has it
        silence_logs=logging.CRITICAL,  # the error of a task is raised here as well
        **options,
    )
    try:
        with distributed.Client(cluster, set_as_default=set_as_default) as client:
            yield client
    finally:
        _close(cluster)


def _close(cluster: Any) -> None:
    """The cluster has ended, and its processes write nothing more."""
    before = {nanny.pid for nanny in cluster.workers.values()}  # one that waits for its process may no longer say which
    try:
        cluster.close(timeout=_PATIENCE)
    except TimeoutError:
        for pid in before | {nanny.pid for nanny in cluster.workers.values()}:
            if pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))
    else:
        cluster.__exit__(None, None, None)  # its thread as well


@contextlib.contextmanager
def client_of(dask: str | None) -> Iterator[Any]:
    """A client of the cluster "local", which ends with it, or of the scheduler at an address; None for None.

    Raises: ValueError if dask is not installed or this is no address, OSError if no scheduler answers.
    """
    if dask is None:
        yield None
        return
    try:
        importlib.import_module("distributed")
        cores = importlib.import_module("dask.system").CPU_COUNT
    except ImportError as error:
        message = "--dask needs dask and distributed: pip install 'behemoth-bench[dask]'"
        raise ValueError(message) from error
    with contextlib.ExitStack() as stack:
        if dask == "local":
            client = stack.enter_context(client_here(n_workers=cores, threads_per_worker=1, processes=True))
        else:
            try:
                client = client_at(dask)
            except ValueError as error:
                message = f"dask must be local or the address of a scheduler such as tcp://10.0.0.1:8786, got {dask}"
                raise ValueError(f"{message}: {error}") from error
            stack.enter_context(client)
        yield client


def run(tasks: Sequence[FileTask], target: str, client: Any, progress: bool) -> list[FileResult]:
    """Every file is in the folder or URL `target`; what each holds, in the order of the tasks.

    The client's cluster writes them; if it is None, this process does. Raises: whatever write_file raises, and
    OSError for a file that a process wrote where this one cannot see it, or if the cluster fails.
    """
    # disable=None: no bar where standard error is no terminal.
    with tqdm(unit=" rows", unit_scale=True, leave=False, disable=None if progress else True) as bar:

        def count(finished: int) -> None:
            bar.set_description(f"{finished} of {len(tasks)} files")

        count(0)
        if client is not None:
            results = _run_on_cluster(tasks, target, client, bar, count)
        else:
            results = []
            for task in tasks:
                results.append(write_file(task, target, bar.update))
                count(len(results))
    system, root = opened(target)
    there = sizes(system, root)
    for task, result in zip(tasks, results, strict=True):
        if there.get(task.path) != result.size:
            message = f"{task.path} has not arrived: all processes must see the output under the same name"
            raise OSError(errno.EIO, message)
    return results


def _run_on_cluster(
    tasks: Sequence[FileTask], target: str, client: Any, bar: tqdm[Any], count: Callable[[int], None]
) -> list[FileResult]:
    distributed = importlib.import_module("distributed")
    results: dict[str, FileResult] = {}
    # pure=False: a file that another run had written is written again.
    futures = client.map(write_file, tasks, target=target, pure=False)
    try:
        for future in distributed.as_completed(futures):
            results[future.key] = future.result()
            bar.update(results[future.key].counted.rows)
            count(len(results))
    except BaseException as error:
        client.cancel(futures)
        if client.cluster is not None:
            _close(client.cluster)
        if isinstance(error, (distributed.KilledWorker, distributed.CancelledError)):
            raise OSError(errno.EIO, f"the dask cluster failed: {error}") from error
        raise
    return [results[future.key] for future in futures]


def write_file(task: FileTask, target: str, done: Callable[[int], object] | None = None) -> FileResult:
    """The folder or URL `target` has one more data file, whole; `done` is told of rows as they are made.

    Whoever calls it, and how often, the file has the same bytes. Raises: ValueError if this process runs other
    code than the one that planned the task, OSError if the file cannot be written.
    """
    from behemoth_data.behemoth import BehemothConfig, features_of

    check(task.code == _running_code(), f"worker must run {task.code}, got {_running_code()}")
    schema = features_of(BehemothConfig(name=task.config, **task.fields)).arrow_schema
    rows = _rows(task.config, task.fields)[task.split]
    tables = (table.cast(schema) for table in rows.tables(task.start, task.stop))
    system, root = opened(target)
    # A file can be renamed only within its file system. No other process uses the folder, not even one that a
    # cluster believes to be dead and that writes the same file.
    with tempfile.TemporaryDirectory(dir=f"{root}/{SCRATCH}" if is_local(system) else None) as scratch:
        path, counted = Path(scratch, "rows.parquet"), Split(task.split)
        _write_groups(path, schema, tables, rows.rows_per_group, counted, done)
        with path.open("rb") as file:
            result = FileResult(counted, hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size)
        if is_local(system):
            path.replace(f"{root}/{task.path}")
        else:
            system.put_file(str(path), f"{root}/{task.path}")
    return result


def _rows(name: str, fields: Mapping[str, Any]) -> dict[str, Rows]:
    from behemoth_data.behemoth import BehemothConfig, rows_of

    return rows_of(BehemothConfig(name=name, **fields))


def _running_code() -> str:
    """The versions that decide the bytes of a data file."""
    from behemoth_data.behemoth import code_digest

    return f"code {code_digest()} and pyarrow {pa.__version__}"


def _write_groups(
    path: Path,
    schema: pa.Schema,
    tables: Iterable[pa.Table],
    size: int,
    counted: Split,
    done: Callable[[int], object] | None,
) -> None:
    """One row group is in memory at a time, so memory does not grow with the file."""
    from pyarrow import parquet

    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for group in _row_groups(tables, schema, size):
            writer.write_table(group, row_group_size=size)
            counted.count(group)
            if done is not None:
                done(group.num_rows)


def _row_groups(tables: Iterable[pa.Table], schema: pa.Schema, size: int) -> Iterator[pa.Table]:
    """The rows again in tables of `size` rows, the last one smaller; one empty table if there are none."""
    held = schema.empty_table()
    for first, table in enumerate(tables):
        held = pa.concat_tables([held, table]) if first else table
        while held.num_rows > size:
            yield held.slice(0, size).combine_chunks()
            held = held.slice(size)
    yield held.combine_chunks()
