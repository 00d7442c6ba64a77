"""Token shards: the corpus's sentences end to end, as plain memory maps read them, and never half there."""

import errno
import hashlib
import io
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from behemoth_data import Corpus, CorpusConfig, LexiconConfig, WorldConfig, build, shards
from behemoth_data.description import from_description
from behemoth_data.lexicon import END, PADDING
from behemoth_data.shards import export_tokens, open_tokens

# By hand: "SS s W0 W1 RR r W2 OO o . <|endoftext|>" is 11 tokens, and 30 x 2 facts said 3 times are 180 sentences.
PLAIN = {"num_subjects": 30, "num_relations": 2, "num_objects": 5}
LENGTH, SENTENCES = 11, 180


def plain(**world: Any) -> Corpus:
    return build(WorldConfig(**{**PLAIN, **world}), corpus=CorpusConfig(repeats=3, inversion_fraction=0.0))


def mixed() -> Corpus:
    """Sentences of several lengths: subjects and objects of two tokens, nested objects of one."""
    world = WorldConfig(num_subjects=40, num_relations=2, num_objects=20, num_nested_objects=5, correlation=0.5)
    corpus = CorpusConfig(repeats=3, inversion_forms=("sor", "osr", "rso"))
    return build(world, LexiconConfig(one_token_limit=10), corpus)


def filled() -> Corpus:
    """Sentences whose lengths are drawn one by one, statements and questions."""
    config = CorpusConfig(repeats=3, grammar="nonsense", question_fraction=0.25)
    return build(WorldConfig(**PLAIN), corpus=config)


def sentences(corpus: Corpus) -> list[list[int]]:
    """The token ids of every sentence up to its end-of-text token, one by one."""
    end = corpus.grammar.lexicon.token_ids[END]
    rows = corpus.block(0, len(corpus)).tolist()
    return [row[: row.index(end) + 1] for row in rows]


def flat(rows: list[list[int]]) -> list[int]:
    return [token for row in rows for token in row]


def write(folder: Path, corpus: Corpus | None = None, **options: Any) -> Path:
    return export_tokens(corpus or plain(), folder, progress=False, **{"shard_tokens": 500, **options})


def index_of(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "index.json").read_text(encoding="utf-8")))


def read(folder: Path) -> list[list[int]]:
    """The token ids of each shard, read byte by byte as little-endian numbers of the width that the index names."""
    index = index_of(folder)
    width = {"uint16": 2, "uint32": 4}[index["dtype"]]
    files = [(folder / shard["file"]).read_bytes() for shard in index["shards"]]
    return [[int.from_bytes(data[i : i + width], "little") for i in range(0, len(data), width)] for data in files]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# The stream.


@pytest.mark.parametrize("make", [plain, mixed, filled])
@pytest.mark.parametrize("shard_tokens", [200, 500, 100_000_000])
def test_stream_is_every_sentence_in_order_without_padding(
    tmp_path: Path, make: Callable[[], Corpus], shard_tokens: int
) -> None:
    corpus = make()
    folder = write(tmp_path / "tokens", corpus, shard_tokens=shard_tokens)
    stream = flat(read(folder))
    assert stream == flat(sentences(corpus))
    assert corpus.grammar.lexicon.token_ids[PADDING] not in stream
    assert stream.count(corpus.grammar.end_id) == len(corpus)


@pytest.mark.parametrize("make", [mixed, filled])
def test_corpus_of_these_tests_has_sentences_of_several_lengths(make: Callable[[], Corpus]) -> None:
    assert len({len(row) for row in sentences(make())}) > 1


@pytest.mark.parametrize("make", [plain, mixed, filled])
def test_shard_holds_its_own_sentences_whole(tmp_path: Path, make: Callable[[], Corpus]) -> None:
    corpus = make()
    rows = sentences(corpus)
    per_shard = 100 // corpus.max_length
    folder = write(tmp_path / "tokens", corpus, shard_tokens=100)
    found = read(folder)
    assert found == [flat(rows[start : start + per_shard]) for start in range(0, len(rows), per_shard)]
    assert max(map(len, found)) <= 100


@pytest.mark.parametrize(
    ("shard_tokens", "expected"),
    [
        (11, [1] * 180),
        (494, [44, 44, 44, 44, 4]),
        (495, [45, 45, 45, 45]),
        (506, [46, 46, 46, 42]),
        (1979, [179, 1]),
        (1980, [180]),
        (100_000_000, [180]),
    ],
)
def test_shards_have_as_many_whole_sentences_as_fit(tmp_path: Path, shard_tokens: int, expected: list[int]) -> None:
    folder = write(tmp_path / "tokens", shard_tokens=shard_tokens)
    index = index_of(folder)
    assert [shard["sentences"] for shard in index["shards"]] == expected
    assert [shard["tokens"] for shard in index["shards"]] == [count * LENGTH for count in expected]
    assert [(folder / shard["file"]).stat().st_size for shard in index["shards"]] == [
        count * LENGTH * 2 for count in expected
    ]
    names = [f"train-{k:05d}-of-{len(expected):05d}.bin" for k in range(len(expected))]
    assert [shard["file"] for shard in index["shards"]] == names
    assert set(os.listdir(folder)) == {*names, "index.json", "vocabulary.json"}


def test_same_corpus_gives_the_same_bytes_whatever_the_folder_and_the_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = write(tmp_path / "one", mixed())
    monkeypatch.setattr(shards, "_BLOCK", 7)
    assert files(write(tmp_path / "other", mixed())) == files(one)


def test_bytes_do_not_depend_on_the_type_of_the_corpus_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block = Corpus.block
    monkeypatch.setattr(Corpus, "block", lambda self, start, stop: block(self, start, stop).astype(np.int64))
    one = write(tmp_path / "one", mixed())
    monkeypatch.setattr(Corpus, "block", lambda self, start, stop: block(self, start, stop).astype(np.uint16))
    other = write(tmp_path / "other", mixed())
    assert files(other) == files(one)


def test_another_order_gives_other_bytes(tmp_path: Path) -> None:
    config = CorpusConfig(repeats=3, inversion_fraction=0.0, order_seed=1)
    one, other = write(tmp_path / "one"), write(tmp_path / "other", build(WorldConfig(**PLAIN), corpus=config))
    assert read(one) != read(other)


def test_no_more_sentences_are_asked_for_than_one_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block, asked = Corpus.block, []

    def count(self: Corpus, start: int, stop: int) -> Any:
        asked.append((start, stop))
        return block(self, start, stop)

    monkeypatch.setattr(shards, "_BLOCK", 20)
    monkeypatch.setattr(Corpus, "block", count)
    write(tmp_path / "tokens", shard_tokens=495)
    written = [places for places in asked if places != (0, SENTENCES)]  # which the index digests
    assert written[:4] == [(0, 20), (20, 40), (40, 45), (45, 65)]
    assert sum(stop - start for start, stop in written) == SENTENCES


def test_vocabulary_beyond_65536_tokens_is_written_in_four_bytes(tmp_path: Path) -> None:
    world = WorldConfig(num_subjects=20, num_relations=100, num_objects=700)  # 70,000 words for objects
    corpus = build(world, corpus=CorpusConfig(repeats=1))
    folder = write(tmp_path / "tokens", corpus, shard_tokens=10_000)
    assert index_of(folder)["dtype"] == "uint32"
    stream = flat(read(folder))
    assert stream == flat(sentences(corpus))
    assert max(stream) > 65_535
    assert {tokens.dtype for tokens in open_tokens(folder)} == {np.dtype("<u4")}
    assert np.concatenate(open_tokens(folder)).tolist() == stream


@pytest.mark.parametrize(("vocab_size", "dtype"), [(65_536, "uint16"), (65_537, "uint32")])
def test_two_bytes_hold_the_largest_vocabulary_that_fits(tmp_path: Path, vocab_size: int, dtype: str) -> None:
    other_tokens = len(plain().grammar.lexicon.vocabulary) - 30 - 2 - 2 * 5
    num_subjects = vocab_size - other_tokens - 65 - 65 * 1000
    corpus = build(
        WorldConfig(num_subjects=num_subjects, num_relations=65, num_objects=1000), corpus=CorpusConfig(repeats=1)
    )
    index = index_of(write(tmp_path / "tokens", corpus, shard_tokens=1_000_000))
    assert (index["vocab_size"], index["dtype"]) == (vocab_size, dtype)


# What stands beside it.


def test_index_says_what_each_file_holds_and_of_which_corpus(tmp_path: Path) -> None:
    corpus = mixed()
    folder = write(tmp_path / "tokens", corpus)
    index, found = index_of(folder), read(folder)
    assert set(index) == {
        *("version", "code_digest", "dtype", "shards", "tokens", "sentences", "vocab_size", "end_id", "corpus")
    }
    assert index["tokens"] == sum(map(len, sentences(corpus)))
    assert index["sentences"] == len(corpus) == 3 * (40 + 40 + 20) * 2
    assert index["vocab_size"] == len(corpus.grammar.lexicon.vocabulary)
    assert index["end_id"] == corpus.grammar.lexicon.token_ids[END]
    assert index["corpus"] == json.loads(json.dumps(corpus.description()))
    assert [(shard["tokens"], shard["sentences"]) for shard in index["shards"]] == [
        (len(tokens), tokens.count(index["end_id"])) for tokens in found
    ]
    assert [shard["sha256"] for shard in index["shards"]] == [
        hashlib.sha256((folder / shard["file"]).read_bytes()).hexdigest() for shard in index["shards"]
    ]


def test_index_finds_the_corpus_again(tmp_path: Path) -> None:
    corpus = mixed()
    again = from_description(index_of(write(tmp_path / "tokens", corpus))["corpus"])
    assert sentences(again) == sentences(corpus)


def test_vocabulary_turns_the_stream_back_into_text(tmp_path: Path) -> None:
    corpus = mixed()
    folder = write(tmp_path / "tokens", corpus)
    words = {id: token for token, id in json.loads((folder / "vocabulary.json").read_text("utf-8")).items()}
    assert sorted(words) == list(range(index_of(folder)["vocab_size"]))
    expected = [corpus.grammar.lexicon.decode(row) for row in sentences(corpus)]
    assert " ".join(words[id] for id in flat(read(folder))) == " ".join(expected)


# Memory maps.


def test_every_shard_opens_as_a_read_only_memory_map_in_order(tmp_path: Path) -> None:
    folder = write(tmp_path / "tokens", mixed())
    maps = open_tokens(folder)
    assert [tokens.tolist() for tokens in maps] == read(folder)
    assert len(maps) > 1
    for tokens in maps:
        assert isinstance(tokens, np.memmap)
        assert not tokens.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            tokens[0] = 1


def test_plain_memory_map_gives_random_crops_and_their_next_tokens(tmp_path: Path) -> None:
    corpus = plain()
    folder = write(tmp_path / "tokens", corpus, shard_tokens=100_000_000)
    stream, length = flat(sentences(corpus)), 32
    data = np.memmap(folder / "train-00000-of-00001.bin", dtype=np.uint16, mode="r")
    assert len(data) == SENTENCES * LENGTH
    for start in (0, 5, 1000, len(data) - length - 1):
        assert data[start : start + length].astype(np.int64).tolist() == stream[start : start + length]
        assert data[start + 1 : start + 1 + length].tolist() == stream[start + 1 : start + 1 + length]


def cut_the_last(folder: Path) -> None:
    path = folder / "train-00003-of-00004.bin"
    path.write_bytes(path.read_bytes()[:-2])


def lengthen_the_last(folder: Path) -> None:
    path = folder / "train-00003-of-00004.bin"
    path.write_bytes(path.read_bytes() + b"\0\0")


def test_shard_of_another_size_is_an_error_that_names_it(tmp_path: Path) -> None:
    folder = write(tmp_path / "tokens")
    cut_the_last(folder)
    with pytest.raises(ValueError, match=r"train-00003-of-00004.bin must have 990 bytes, .* got 988 bytes"):
        open_tokens(folder)
    (folder / "train-00001-of-00004.bin").unlink()
    with pytest.raises(ValueError, match=r"train-00001-of-00004.bin must have 990 bytes, .* got no file"):
        open_tokens(folder)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        '{"dtype": "uint16"}',
        '{"dtype": "int8", "shards": []}',
        '{"dtype": [], "shards": []}',
        '{"dtype": "uint16", "shards": [1]}',
        '{"dtype": "uint16", "shards": [{"tokens": 3}]}',
        '{"dtype": "uint16", "shards": [{"file": 3, "tokens": 3}]}',
    ],
)
def test_index_that_is_none_is_an_error_that_names_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "index.json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="index.json must be an index that export_tokens wrote, got"):
        open_tokens(tmp_path)


def test_folder_without_an_index_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="index.json"):
        open_tokens(tmp_path)


# The bar.


@pytest.mark.parametrize(("progress", "disable"), [(True, None), (False, True)])
def test_bar_counts_every_token_and_ends_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, progress: bool, disable: bool | None
) -> None:
    made: list[Any] = []
    tqdm, corpus = shards.tqdm, mixed()

    def shown(**options: Any) -> Any:
        assert options["disable"] is disable  # None: shown where standard error is a terminal
        made.append(tqdm(**{**options, "disable": False, "file": io.StringIO()}))
        return made[-1]

    monkeypatch.setattr(shards, "tqdm", shown)
    export_tokens(corpus, tmp_path / "tokens", shard_tokens=500, progress=progress)
    (bar,) = made
    assert bar.n == bar.total == sum(map(len, sentences(corpus)))


# The folder that is there already.


def state(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_folder_that_holds_this_export_is_left_alone_and_the_log_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write(tmp_path / "tokens", mixed())
    before = state(folder)
    with caplog.at_level(logging.INFO, logger="behemoth_data"):
        for overwrite in (False, True):
            assert write(folder, mixed(), overwrite=overwrite) == folder
    assert state(folder) == before
    assert caplog.text.count("already holds exactly this export: nothing was written") == 2


def change_the_index(**values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / "index.json").write_text(json.dumps({**index_of(folder), **values}), encoding="utf-8")

    return change


@pytest.mark.parametrize(
    "change",
    [
        cut_the_last,
        lengthen_the_last,
        lambda folder: (folder / "train-00004-of-00005.bin").write_bytes(b"\0\0"),
        lambda folder: (folder / "train-00000-of-00004.bin").unlink(),
        lambda folder: (folder / "vocabulary.json").write_text("{}", encoding="utf-8"),
        lambda folder: (folder / "vocabulary.json").unlink(),
        lambda folder: (folder / "index.json").unlink(),
        lambda folder: (folder / "index.json").write_text("[]", encoding="utf-8"),
        change_the_index(shards=[]),
        change_the_index(version="0"),
        change_the_index(end_id=7),
        change_the_index(corpus={}),
    ],
    ids=[
        *("shard cut short", "shard too long", "foreign shard", "no shard", "vocabulary spoilt", "no vocabulary"),
        *("no index", "index spoilt", "no shards in the index", "other version", "other end", "other corpus"),
    ],
)
def test_folder_that_is_not_exactly_this_export_is_refused_untouched(tmp_path: Path, change: Any) -> None:
    folder = write(tmp_path / "tokens")
    change(folder)
    before = state(folder)
    with pytest.raises(FileExistsError, match="must be a new or empty folder, .* use --overwrite to replace it"):
        write(folder)
    assert state(folder) == before
    assert os.listdir(tmp_path) == ["tokens"]


def test_export_of_another_world_or_other_shards_is_refused_and_replaced_with_overwrite(tmp_path: Path) -> None:
    folder = write(tmp_path / "tokens")
    before = state(folder)
    for corpus, shard_tokens in ((plain(seed=1), 500), (plain(), 600)):
        with pytest.raises(FileExistsError, match="tokens"):
            write(folder, corpus, shard_tokens=shard_tokens)
        assert state(folder) == before
    write(folder, plain(seed=1), shard_tokens=1000, overwrite=True)
    assert files(folder) == files(write(tmp_path / "fresh", plain(seed=1), shard_tokens=1000))
    assert sorted(os.listdir(tmp_path)) == ["fresh", "tokens"]


def test_export_by_other_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "tokens")
    monkeypatch.setattr("behemoth_data.behemoth.code_digest", lambda: "0" * 16)
    with pytest.raises(FileExistsError, match="overwrite"):
        write(folder)


def test_empty_folder_is_filled_and_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty")
    assert len(open_tokens(tmp_path / "empty")) == 4
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    with pytest.raises(FileExistsError, match="file"):
        write(tmp_path / "file")
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"


def test_working_directory_is_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    for output in (".", ".."):
        with pytest.raises(ValueError, match="output must not be or contain the working directory"):
            export_tokens(plain(), output, overwrite=True)
    assert (tmp_path / "below").is_dir()


# Bad input, full disks and kills: nothing half-written.


@pytest.mark.parametrize("output", ["s3://bucket/tokens", "file:///tmp/tokens"])
def test_url_is_refused_and_no_folder_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=f"output must be a folder of this machine for tokens, got {output}"):
        export_tokens(plain(), output)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("shard_tokens", [10, 0, -5])
def test_shard_too_small_for_a_sentence_is_refused(tmp_path: Path, shard_tokens: int) -> None:
    with pytest.raises(ValueError, match=f"shard_tokens must be at least 11, .* got {shard_tokens}"):
        write(tmp_path / "tokens", shard_tokens=shard_tokens)
    assert os.listdir(tmp_path) == []


def fail_in_the_middle(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Lets the first shards through and then fails."""
    block = Corpus.block

    def fail(self: Corpus, start: int, stop: int) -> Any:
        if start >= 90:
            raise error
        return block(self, start, stop)

    monkeypatch.setattr(Corpus, "block", fail)


def test_full_disk_is_a_clear_error_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_in_the_middle(monkeypatch, OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(OSError, match=r"could not write .*tokens \(No space left on device\): .* removed") as caught:
        write(tmp_path / "tokens")
    assert caught.value.errno == errno.ENOSPC
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), RuntimeError("bug"), KeyboardInterrupt()])
def test_failure_leaves_the_old_folder_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    folder = write(tmp_path / "tokens", plain(seed=1))
    before = state(folder)
    fail_in_the_middle(monkeypatch, error)
    with pytest.raises(type(error)):
        write(folder, overwrite=True)
    assert state(folder) == before
    assert os.listdir(tmp_path) == ["tokens"]


def test_folder_that_cannot_be_renamed_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "tokens", plain(seed=1))
    before = state(folder)
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if self.suffix == ".partial":
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError, match=r"could not write .*tokens \(Input/output error\)"):
        write(folder, overwrite=True)
    assert state(folder) == before
    assert os.listdir(tmp_path) == ["tokens"]


KILLED = """
import os, signal, sys
from behemoth_data import Corpus, CorpusConfig, WorldConfig, build
from behemoth_data.shards import export_tokens
block = Corpus.block

def die(self, start, stop):
    if start >= 90:
        os.kill(os.getpid(), signal.SIGKILL)
    return block(self, start, stop)

Corpus.block = die
world = WorldConfig(num_subjects=30, num_relations=2, num_objects=5)
corpus = build(world, corpus=CorpusConfig(repeats=3, inversion_fraction=0.0))
export_tokens(corpus, sys.argv[1], shard_tokens=500, overwrite=True, progress=False)
"""


def test_kill_leaves_the_old_folder_and_the_next_run_cleans_up(tmp_path: Path) -> None:
    folder = write(tmp_path / "tokens", plain(seed=1))
    before = state(folder)
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder)], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert state(folder) == before
    (leftover,) = set(os.listdir(tmp_path)) - {"tokens"}
    assert leftover.startswith(".tokens.")
    assert "index.json" not in os.listdir(tmp_path / leftover)
    write(folder, overwrite=True)
    assert os.listdir(tmp_path) == ["tokens"]
    assert flat(read(folder)) == flat(sentences(plain()))


def test_folder_that_a_killed_run_was_replacing_is_back_and_needs_overwrite_again(tmp_path: Path) -> None:
    folder = write(tmp_path / "tokens", plain(seed=1))
    before = state(folder)
    folder.rename(tmp_path / ".tokens.12.replaced")
    (tmp_path / ".tokens.12.partial").mkdir()
    with pytest.raises(FileExistsError, match="--overwrite"):
        write(folder)
    assert state(folder) == before
    assert os.listdir(tmp_path) == ["tokens"]
