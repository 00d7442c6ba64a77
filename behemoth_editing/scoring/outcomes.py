"""What became of one probe, as counts, and shares of counts. Plain Python alone: a published metric carries a copy.

An answer is a sequence of token ids or of words. Every function that counts a probe returns one number for each name
of its part in PARTS, so that counts of many probes can be added up.
"""

from collections.abc import Sequence

CITATION = """\
@article{iofinova2026behemoth,
  title = {Behemoth: Benchmarking Unlearning in {LLMs} Using Fully Synthetic Data},
  author = {Iofinova, Eugenia and Alistarh, Dan},
  journal = {arXiv preprint arXiv:2601.23153},
  year = {2026},
}
"""

# The parts of what is counted for an edit, with what each of their numbers counts.
PARTS: dict[str, tuple[str, ...]] = {
    "change": ("answered with the new object", "asked"),
    "keep": ("right before and after", "right before", "right after", "asked"),
    "ripple": ("kept", "followed", "incoherent", "wrong before"),
    "forget": ("right before and still answered so", "right before", "refused", "asked"),
    "transfer": ("kept", "followed", "incoherent", "wrong before"),
}


def answered(answer: Sequence[object], expected: Sequence[object]) -> bool:
    """Whether an answer begins with all of the expected one; what comes after that does not count.

    Raises: ValueError for an expected answer of nothing, with which everything begins.
    """
    if len(expected) == 0:
        raise ValueError("expected must hold at least 1 token, got 0")
    return list(answer[: len(expected)]) == list(expected)


def count_change(after: Sequence[object], new: Sequence[object]) -> list[int]:
    """The counts of a probe that is to get a new answer."""
    return [int(answered(after, new)), 1]


def count_keep(before: Sequence[object], after: Sequence[object], old: Sequence[object]) -> list[int]:
    """The counts of a probe whose answer is to stay."""
    knew, kept = answered(before, old), answered(after, old)
    return [int(knew and kept), int(knew), int(kept), 1]


def count_ripple(
    before: Sequence[object], after: Sequence[object], old: Sequence[object], new: Sequence[object]
) -> list[int] | None:
    """The counts of a probe whose answer follows from another fact; None where that leaves its answer as it is."""
    if list(old) == list(new):
        return None
    if not answered(before, old):
        return [0, 0, 0, 1]
    kept, followed = answered(after, old), answered(after, new)
    return [int(kept), int(followed), int(not kept and not followed), 0]


def count_forget(
    before: Sequence[object], after: Sequence[object], old: Sequence[object], refusal: Sequence[object]
) -> list[int]:
    """The counts of a probe whose answer is to be forgotten."""
    knew = answered(before, old)
    return [int(knew and answered(after, old)), int(knew), int(answered(after, refusal)), 1]


def added(counts: Sequence[Sequence[int]], size: int) -> list[int]:
    """The sum of counts of this size, number by number."""
    return [sum(one[place] for one in counts) for place in range(size)]


def share_of(some: int, among: int) -> float | None:
    """The share, None of nothing."""
    return some / among if among else None


def mean_of(shares: Sequence[float | None]) -> float | None:
    """The mean of the shares that there are, None where there are none."""
    known = [share for share in shares if share is not None]
    return sum(known) / len(known) if known else None


def words_of(**columns: Sequence[str]) -> list[list[list[str]]]:
    """The words of every text of every column; only model answers (predictions...) may have none.

    Raises: ValueError naming the column for an empty one, columns of unequal length, or a text that is no string or
    blank.
    """
    first = next(iter(columns))
    for name, column in columns.items():
        if isinstance(column, str):
            raise ValueError(f"{name} must be a list of strings, got the one string {column!r}")
        if len(column) == 0:
            raise ValueError(f"{name} must hold at least 1 string, got 0")
        if len(column) != len(columns[first]):
            raise ValueError(f"{name} must be as long as {first} ({len(columns[first])}), got {len(column)}")
        for row, text in enumerate(column):
            if not isinstance(text, str):
                raise ValueError(f"{name}[{row}] must be a string, got {text!r}")
            if not text.split() and not name.startswith("predictions"):
                raise ValueError(f"{name}[{row}] must hold at least 1 word, got {text!r}")
    return [[text.split() for text in column] for column in columns.values()]
