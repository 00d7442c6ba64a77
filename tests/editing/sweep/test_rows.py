"""results.jsonl under everything that can befall it: kills, two writers, no locks, versions that wrote other things."""

import json
import logging
import multiprocessing
import os
from pathlib import Path

import pytest

import behemoth_editing.sweep.rows as module
from behemoth_editing.sweep.rows import append_row, mend, put_file, read_rows, settled


def row(cell, error=None, **more):
    return {"cell": cell, "weights": {"before": "a"}, "versions": {"behemoth": "1"}, "error": error, **more}


def line(cell, **more):
    return json.dumps(row(cell, **more)) + "\n"


def cells(path):
    return [found["cell"] for found in read_rows(path).values()]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "results.jsonl"


@pytest.mark.parametrize("cut", [1, 9, 30, -1])
def test_row_after_a_line_that_was_cut_short_has_a_line_of_its_own(path, cut, caplog):
    path.write_text(line("a") + line("b")[:-1][:cut], encoding="utf-8")
    append_row(path, row("c"))
    append_row(path, row("d"))
    assert cells(path) == ["a", "c", "d"]
    assert path.read_bytes().endswith(line("d").encode())
    assert "results.jsonl, line 2: no whole result row" in caplog.text


def test_line_that_lacks_its_end_only_is_a_row(path):
    path.write_text(line("a") + line("b")[:-1], encoding="utf-8")
    append_row(path, row("c"))
    assert cells(path) == ["a", "b", "c"]


@pytest.mark.parametrize(
    "content",
    [
        line("a") + line("torn")[:25] + line("b") + line("c"),  # older versions began no new line
        line("a") + line("b")[:-1] + line("c"),
        line("a") + "\n\n" + line("b") + "   \n" + line("c"),
        line("a") + line("torn")[25:] + line("b") + line("torn")[5:20] + "\n" + line("c"),
        line("a") + "\0" * 4096 + "\n" + line("b") + line("c") + "\0" * 100,
        line("a") + '[1]\n"x"\n3\n' + line("b") + line("c"),
        line("a") + line("torn")[:30] + line("torn")[:12] + line("b") + line("c") + '{"ce',
    ],
    ids=["in the middle", "no end of line", "blank", "fragments", "zeros", "bits that are JSON", "twice"],
)
def test_every_whole_row_is_read_whatever_stands_around_it(path, content):
    path.write_text(content, encoding="utf-8")
    assert cells(path) == ["a", "b", "c"]


def test_bytes_that_are_no_text_cost_no_other_row(path):
    path.write_bytes(line("a").encode() + b'{"cell": "\xff\xfe\x80\n' + line("b").encode())
    assert cells(path) == ["a", "b"]


def test_rows_that_lie_over_each_other_cost_no_third(path):
    first, second = line("x" * 40).encode(), line("y").encode()
    path.write_bytes(line("a").encode() + second + first[len(second) :] + line("b").encode())
    assert cells(path) == ["a", "y", "b"]


@pytest.mark.parametrize("content", ["{}\n", "[1]\n", "my notes\n", "x" * 5])
def test_file_of_something_else_is_refused_by_its_first_line(path, content):
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=r"results\.jsonl, line 1: not a result row"):
        read_rows(path)


@pytest.mark.parametrize("content", ["", "\n", "{", '{"cell": "ab', '{"ce\n{"cell": '])
def test_file_whose_only_rows_were_cut_short_has_none(path, content):
    path.write_text(content, encoding="utf-8")
    assert read_rows(path) == {}


def test_numbers_that_older_versions_wrote_and_json_has_not_are_words(path):
    path.write_text('{"cell": "a", "weights": {}, "versions": {}, "error": null, "x": [NaN, Infinity, -Infinity]}\n')
    (found,) = read_rows(path).values()
    assert found["x"] == ["nan", "inf", "-inf"]


def test_first_good_row_of_a_cell_counts_and_a_failed_one_gives_way(caplog):
    rows = [
        row("a", "no"),
        row("b", n=1),
        row("a", n=2),
        row("b", n=3),
        row("b", "late"),
        row("c", "once"),
        row("c", "twice"),
    ]
    kept = settled({str(number): found for number, found in enumerate(rows)})
    assert kept == [rows[1], rows[2], rows[6]]
    assert "cell b was already scored in 1, which counts" in caplog.text


def test_cell_in_two_precisions_is_two_results():
    rows = [row("a", precision="bf16"), row("a", precision="fp32"), row("a", details=[{"precision": "fp32"}])]
    assert settled({str(number): found for number, found in enumerate(rows)}) == rows[:2]


def test_mended_file_has_what_was_kept_and_nothing_else(path):
    path.write_text(line("a") + line("torn")[:30] + "\n" + line("a") + line("b")[:-1], encoding="utf-8")
    os.chmod(path, 0o640)
    assert [found["cell"] for found in mend(path, settled)] == ["a", "b"]
    assert path.read_text(encoding="utf-8") == line("a") + line("b")
    assert path.stat().st_mode & 0o777 == 0o640
    assert os.listdir(path.parent) == ["results.jsonl"]
    inode = path.stat().st_ino
    mend(path, settled)
    assert path.stat().st_ino == inode  # a file in order is left alone


def test_file_is_as_it_was_if_it_may_not_be_mended(path):
    path.write_text(line("a")[:-5], encoding="utf-8")

    def refuse(_):
        raise ValueError("of another model")

    with pytest.raises(ValueError, match="of another model"):
        mend(path, refuse)
    assert path.read_text(encoding="utf-8") == line("a")[:-5]


@pytest.fixture
def without_locks(monkeypatch):
    monkeypatch.setattr(module, "fcntl", None)


def test_row_that_comes_while_a_file_is_mended_is_in_it_even_without_locks(path, without_locks):
    path.write_text(line("a") + line("a"), encoding="utf-8")
    came = []

    def choose(rows):
        if not came:
            came.append(append_row(path, row("b")))
        return settled(rows)

    assert [found["cell"] for found in mend(path, choose)] == ["a", "b"]
    assert cells(path) == ["a", "b"]


def test_file_is_mended_where_no_open_file_can_be_replaced(path, without_locks, monkeypatch):
    path.write_text(line("a") + line("a"), encoding="utf-8")
    replace = Path.replace

    def as_windows(self, target):
        files = [os.path.realpath(f"/proc/self/fd/{file}") for file in os.listdir("/proc/self/fd")]
        if os.path.realpath(target) in files:
            raise PermissionError(13, "Access is denied")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", as_windows)
    assert [found["cell"] for found in mend(path, settled)] == ["a"]
    assert cells(path) == ["a"]


def test_row_that_went_to_a_file_that_was_replaced_is_written_again(path, without_locks, monkeypatch):
    path.write_text(line("a"), encoding="utf-8")
    write, replaced = module._write, []

    def write_and_replace(file, text):
        write(file, text)
        if not replaced:
            replaced.append(put_file(path, line("a").encode()))

    monkeypatch.setattr(module, "_write", write_and_replace)
    append_row(path, row("b"))
    assert cells(path) == ["a", "b"]


def test_row_that_is_cut_off_by_a_full_disk_is_an_error_and_spoils_no_other(path, monkeypatch):
    append_row(path, row("a"))
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, text: write(file, text[:20]))
    with pytest.raises(OSError, match="No space left"):
        append_row(path, row("b"))
    monkeypatch.undo()
    append_row(path, row("c"))
    assert cells(path) == ["a", "c"]


def test_number_that_json_has_not_is_refused_before_it_is_written(path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        append_row(path, row("a", x=float("nan")))
    assert not path.exists()


def _append_many(path, name):
    for number in range(40):
        append_row(path, row(f"{name}{number}", text="x" * 20_000))
        if number % 10 == 0:
            mend(path, settled)


def test_processes_that_write_and_mend_at_once_lose_no_row(path):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_append_many, args=(path, name)) for name in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(cells(path)) == sorted(f"{name}{number}" for name in "ab" for number in range(40))


def test_file_is_put_at_one_blow_and_leaves_nothing_beside_it(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    put_file(tmp_path / "a.txt", b"one")
    put_file(tmp_path / "a.txt", b"two")
    assert (tmp_path / "a.txt").read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["a.txt"]
