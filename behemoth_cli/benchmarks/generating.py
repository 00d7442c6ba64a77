"""How fast data is made: behemoth benchmark data [--option value ...].

The first rates are medians of several runs in one process, after everything that is made once has been made; the large
world, the export and the first row are run once. Figures that are compared with each other come from the same run,
since machines differ and are noisy. The plain loop makes text, so that Arrow rows are its fair comparison.
"""

from __future__ import annotations

import dataclasses
import functools
import multiprocessing
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
from pyarrow import parquet
from tqdm import tqdm

from behemoth_cli.benchmarks.output import Row
from behemoth_cli.settings import place
from behemoth_data import CorpusConfig, WorldConfig, build, export, load_dataset
from behemoth_data.corpus import Corpus
from behemoth_data.rng import Stream
from behemoth_data.settings import check, setting
from behemoth_data.tables import FACT_SCHEMA, SentenceTables

_BLOCK, _ROWS = 2**16, 10_000  # sentences of a token block; rows of a text table, as the builder makes them


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerateArguments:
    """What the generator's benchmark runs."""

    runs: int = setting(5, "runs of each measurement, of which the median counts")
    window: int = setting(20_000_000, "sentences of the large world that are streamed to measure memory")
    output: str = place("", "file that the JSON is written to as well; empty: none")

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        check(self.runs >= 1, f"runs must be at least 1, got {self.runs}")
        check(self.window >= _BLOCK, f"window must be at least {_BLOCK}, got {self.window}")


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _corpus(num_subjects: int, **world: Any) -> Corpus:
    return build(WorldConfig(num_subjects=num_subjects, **world), None, CorpusConfig(repeats=50))


def _large() -> Corpus:
    """The world of the recipe large.yaml."""
    world = WorldConfig(num_subjects=100_000, num_relations=6, num_objects=400)
    return build(world, None, CorpusConfig(repeats=500))


def _blocks(corpus: Corpus, count: int, start: int = 0) -> None:
    for first in range(start, start + count - _BLOCK + 1, _BLOCK):
        corpus.block(first, first + _BLOCK)


def _tables(tables: SentenceTables, count: int) -> None:
    for first in range(0, count - _ROWS + 1, _ROWS):
        tables.table(first, first + _ROWS)


def _plain_python(corpus: Corpus) -> int:
    """Sentences as a plain loop would make them: template by template into a list, then shuffled; how many."""
    templates = ("SS {} W0 W1 RR {} W2 OO {} .", "W9 RR {1} W7 SS {0} W5 OO {2} .")
    heads, relations, tails = corpus.world.facts(corpus.world.edges[0])
    columns = corpus.grammar.words(corpus.world.edges[0], heads, relations, tails)
    facts = list(zip(*(column.to_pylist() for column in columns), strict=True))
    draws = Stream(0, "benchmark/forms")
    sentences = []
    for repeat in range(corpus.config.repeats):
        picks = draws.integers(range(repeat * len(facts), (repeat + 1) * len(facts)), 2).tolist()
        for fact, pick in zip(facts, picks, strict=True):
            sentences.append(templates[pick].format(*fact))
    swaps = draws.uniform(range(len(sentences))).tolist()
    for i in range(len(sentences) - 1, 0, -1):  # Fisher and Yates
        j = int(swaps[i] * (i + 1))
        sentences[i], sentences[j] = sentences[j], sentences[i]
    return len(sentences)


def _rates(arguments: GenerateArguments, bar: tqdm[Any]) -> list[Row]:
    """Sentences and rows a second, of the plain loop and of ours, in this one process."""
    rows = []
    loop = _corpus(1000)
    plain = statistics.median(len(loop) / _seconds(lambda: _plain_python(loop)) for _ in range(arguments.runs))
    rows.append({"what": "plain Python loop, 1,000 x 4 x 100 x 50", "value": plain, "unit": "sentences/s"})
    bar.update()
    for name, corpus in {
        "1,000 subjects": _corpus(1000),
        "4,000 subjects": _corpus(4000),
        "4,000 subjects, nested": _corpus(4000, num_nested_objects=10),
    }.items():
        count = len(corpus) // _BLOCK * _BLOCK
        first = _seconds(functools.partial(corpus.block, 0, 64))
        _blocks(corpus, corpus.num_distinct + _BLOCK)
        tokens = statistics.median(
            count / _seconds(functools.partial(_blocks, corpus, count)) for _ in range(arguments.runs)
        )
        tables = SentenceTables(corpus)
        count = min(len(corpus), 500_000) // _ROWS * _ROWS
        _tables(tables, min(corpus.num_distinct + _ROWS, count))
        text = statistics.median(
            count / _seconds(functools.partial(_tables, tables, count)) for _ in range(arguments.runs)
        )
        rows += [
            {"what": f"token blocks, {name}", "value": tokens, "unit": "sentences/s"},
            {"what": f"token blocks / plain loop, {name}", "value": tokens / plain, "unit": "x"},
            {"what": f"Arrow rows, {name}", "value": text, "unit": "rows/s"},
            {"what": f"Arrow rows / plain loop, {name}", "value": text / plain, "unit": "x"},
            {"what": f"first 64 sentences, {name}", "value": first, "unit": "s"},
        ]
        bar.update()
    return rows


def _peak_bytes() -> int:
    """The most memory that this process has had; on Linux the kernel's own count starts with the parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        return 1024 * int(re.findall(r"VmHWM:\s+(\d+) kB", status.read_text(encoding="utf-8"))[0])
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource  # which Windows lacks

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _stream_tokens(window: int) -> Row:
    """Memory and speed of a process that streams a window of the large world; places do not matter."""
    corpus = _large()
    base = _peak_bytes()
    _blocks(corpus, corpus.num_distinct + _BLOCK)
    middle = (len(corpus) - window) // 2
    seconds = _seconds(lambda: _blocks(corpus, window, middle))
    places = {"start": 0, "middle": len(corpus) // 2, "end": len(corpus) - 8 * _BLOCK}
    times = {
        name: statistics.median(_seconds(functools.partial(_blocks, corpus, _BLOCK, start)) for _ in range(7))
        for name, start in places.items()
    }
    return {"rate": window / seconds, "base": base, "peak": _peak_bytes(), "times": times}


def _stream_rows(window: int) -> Row:
    tables = SentenceTables(_large())
    seconds = _seconds(lambda: _tables(tables, window))
    return {"rate": window / seconds, "peak": _peak_bytes()}


def _in_fresh_process(work: Callable[[int], Row], window: int) -> Row:
    """What `work` returns in a process of its own, so that nothing else counts as its memory."""
    with ProcessPoolExecutor(
        1, mp_context=multiprocessing.get_context("spawn"), initializer=pa.set_cpu_count, initargs=(1,)
    ) as pool:
        return pool.submit(work, window).result()


def _memory(arguments: GenerateArguments, bar: tqdm[Any]) -> list[Row]:
    tokens = _in_fresh_process(_stream_tokens, arguments.window)
    bar.update()
    text = _in_fresh_process(_stream_rows, arguments.window // 10)
    bar.update()
    return [
        {"what": f"large: token blocks, {arguments.window:,} from the middle", **_rate(tokens, "sentences/s")},
        {"what": "large: peak memory while streaming them", "value": tokens["peak"] / 1e6, "unit": "MB"},
        {"what": "large: of that, before the first sentence", "value": tokens["base"] / 1e6, "unit": "MB"},
        *(
            {"what": f"large: a block of {_BLOCK:,} at the {place}", "value": seconds * 1e3, "unit": "ms"}
            for place, seconds in tokens["times"].items()
        ),
        {"what": f"large: Arrow rows, first {arguments.window // 10:,}", **_rate(text, "rows/s")},
        {"what": "large: peak memory while streaming those", "value": text["peak"] / 1e6, "unit": "MB"},
    ]


def _rate(measured: Row, unit: str) -> Row:
    return {"value": measured["rate"], "unit": unit}


def _export(bar: tqdm[Any]) -> list[Row]:
    """The base world's nested config as parquet files, beside its parts: rows alone, zstd alone, the disk alone."""
    corpus = build(WorldConfig(num_nested_objects=10))
    tables = SentenceTables(corpus)
    group = 50_000
    groups: list[pa.Table] = []
    made = _seconds(
        lambda: groups.extend(tables.table(i, min(i + group, len(corpus))) for i in range(0, len(corpus), group))
    )
    buffer = pa.BufferOutputStream()

    def encode() -> None:
        with parquet.ParquetWriter(buffer, FACT_SCHEMA, compression="zstd") as writer:
            for table in groups:
                writer.write_table(table, row_group_size=group)

    encoded = _seconds(encode)
    count, data = sum(table.num_rows for table in groups), buffer.getvalue()
    groups.clear()
    bar.update()
    with tempfile.TemporaryDirectory(dir=".") as folder:

        def store() -> None:
            with open(Path(folder) / "bytes", "wb") as file:
                file.write(data)
                os.fsync(file.fileno())

        stored = _seconds(store)
        exported = _seconds(lambda: export(Path(folder) / "data", ["nested"], progress=False))
        rows = sum(parquet.read_metadata(path).num_rows for path in Path(folder).glob("data/nested/*.parquet"))
    bar.update()
    limit = (encoded + stored) / count * rows
    return [
        {"what": "export of base nested: rows of all splits", "value": rows / exported, "unit": "rows/s"},
        {"what": "its parts on train: rows made", "value": count / made, "unit": "rows/s"},
        {"what": "its parts on train: parquet with zstd, in memory", "value": count / encoded, "unit": "rows/s"},
        {"what": "its parts on train: the bytes written and synced", "value": count / stored, "unit": "rows/s"},
        {"what": "zstd and disk alone / export", "value": limit / exported, "unit": "of its time"},
    ]


def _first_row(_: int = 0) -> Row:
    """Seconds from the call to the first row, after imports."""
    import datasets
    import torch  # noqa: F401 (datasets imports it with its first stream)

    with tempfile.TemporaryDirectory() as cache:
        ours = _seconds(lambda: next(iter(load_dataset("nested", streaming=True, split="train", cache_dir=cache))))
        folder = Path(cache) / "behemoth"
        export(folder, ["nested"], overrides={"num_subjects": 1000}, progress=False)
        theirs = _seconds(
            lambda: next(iter(datasets.load_dataset(str(folder), "nested", streaming=True, split="train")))
        )
    return {"builder": ours, "folder": theirs}


def generate(arguments: GenerateArguments) -> list[Row]:
    """The generator's figures."""
    pa.set_cpu_count(1)
    with tqdm(total=9, desc="generate", unit="part", disable=None, leave=False) as bar:
        rows = _rates(arguments, bar) + _memory(arguments, bar) + _export(bar)
        first = _in_fresh_process(_first_row, 0)
        bar.update()
    return [
        *rows,
        {"what": "first row, streaming, from the builder (base nested)", "value": first["builder"], "unit": "s"},
        {"what": "first row, streaming, from an exported folder", "value": first["folder"], "unit": "s"},
    ]
