"""Tasks for models that were not taught one of our worlds: prompts and answers in any words, through any tokenizer."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from behemoth_data.edits import Background, EditTask
from behemoth_data.grammar import Query
from behemoth_data.settings import check, digest

_CONTEXTS = 10  # sentences that may stand before a prompt, at most


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """One edit in words. Answers are written as they follow the prompt, with their leading space if they have one."""

    prompt: str
    subject: str  # a part of the prompt
    new: str  # the answer that the edited model is to give
    original: str  # the answer that is to be given up
    # (prompt, answer) of other facts of the subject, which must stay. For the site subject_last of rome the subject has
    # to appear in them too.
    same_subject: tuple[tuple[str, str], ...] = ()


def task_of(
    tokenizer: PreTrainedTokenizerBase,
    requests: Sequence[Request],
    *,
    retain: Sequence[tuple[str, str]] = (),
    sentences: Sequence[str] = (),
    refusal: str = " unknown",
    edited_repeats: int = 250,
) -> EditTask:
    """What any editing method needs to know of these edits.

    Prompts and sentences begin with what the tokenizer puts before every text, such as Llama's <s>; an answer's tokens
    are those that it has behind its prompt.

    Args:
        tokenizer: the model's own; a fast one, so that a subject's place in its prompt can be found.
        requests: the edits, made together.
        retain: (prompt, answer) of facts that must stay, for methods that train.
        sentences: texts that the model knows, for methods that need statistics of keys (rome, memit and their kin).
        refusal: the answer that there is none, for methods that teach it.
        edited_repeats: rows of each edit in the training mixture, in which a retained fact has one.

    Raises: ValueError for no request, an empty text, or a subject that its prompt does not hold.
    """
    check(len(requests) > 0, "requests must hold at least 1 edit, got 0")
    check(edited_repeats >= 1, f"edited_repeats must be at least 1, got {edited_repeats}")
    known = [_text_ids(tokenizer, "sentences", text) for text in sentences]
    end = tokenizer.eos_token_id
    closed = [(*ids, 0 if end is None else end) for ids in known]  # the last token is no key's

    def query(prompt: str, answer: str, subject: str = "") -> Query:
        asked = _text_ids(tokenizer, "prompt", prompt)
        answered = _answer_ids(tokenizer, prompt, asked, answer)
        return Query(prompt, answer, asked, answered, _subject_end(tokenizer, prompt, subject))

    def asked(request: Request, answer: str) -> Query:
        found = query(request.prompt, answer, request.subject)
        check(
            found.subject_end is not None,
            f"subject must be a part of its prompt {request.prompt!r}, got {request.subject!r}",
        )
        return found

    return EditTask(
        requests=tuple(asked(request, request.new) for request in requests),
        originals=tuple(asked(request, request.original) for request in requests),
        refusals=tuple(asked(request, refusal) for request in requests),
        retain={"given": tuple(query(*pair) for pair in retain)} if retain else {},
        same_subject=tuple(
            tuple(query(*pair, request.subject) for pair in request.same_subject) for request in requests
        ),
        contexts=tuple((known if end is None else closed)[:_CONTEXTS]),
        background=Background(digest(closed) if closed else "", lambda: _blocks(closed)),
        edited_repeats=edited_repeats,
    )


def _ids(tokenizer: PreTrainedTokenizerBase, name: str, text: str) -> tuple[int, ...]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    check(len(ids) > 0, f"{name} must hold at least 1 token, got {text!r}")
    return tuple(ids)


def _text_ids(tokenizer: PreTrainedTokenizerBase, name: str, text: str) -> tuple[int, ...]:
    """The ids of a text behind what the tokenizer puts before every text, and without what it puts after it."""
    own, whole = _ids(tokenizer, name, text), tuple(tokenizer(text)["input_ids"])
    before = (place for place in range(len(whole)) if whole[place : place + len(own)] == own)
    return (*whole[: next(before, 0)], *own)


def _answer_ids(
    tokenizer: PreTrainedTokenizerBase, prompt: str, prompt_ids: tuple[int, ...], answer: str
) -> tuple[int, ...]:
    """The ids by which prompt and answer together are longer than the prompt, or the answer's own where it is changed.

    Some tokenizers, such as Llama's, give the start of any text a space, which an answer has not.
    """
    whole = _text_ids(tokenizer, "prompt", prompt + answer)
    grown = len(whole) > len(prompt_ids) and whole[: len(prompt_ids)] == prompt_ids
    return whole[len(prompt_ids) :] if grown else _ids(tokenizer, "answer", answer)


def _subject_end(tokenizer: PreTrainedTokenizerBase, prompt: str, subject: str) -> int | None:
    """The place of the last token that touches the subject's last appearance in the prompt; none where it has none.

    An appearance as a word of its own comes before one inside another word, such as Peru in Peruvian.
    """
    if not subject or subject not in prompt:
        return None
    words = [found.start() for found in re.finditer(rf"(?<!\w){re.escape(subject)}(?!\w)", prompt)]
    last = (words[-1] if words else prompt.rfind(subject)) + len(subject) - 1
    places = tokenizer(prompt, return_offsets_mapping=True)["offset_mapping"]  # a token put before it touches nothing
    return max((place for place, (first, stop) in enumerate(places) if first <= last < stop), default=None)


def _blocks(sentences: Sequence[tuple[int, ...]]) -> Iterator[NDArray[np.int64]]:
    """The sentences as blocks [n, T] of one length each."""
    for length in sorted({len(ids) for ids in sentences}):
        yield np.array([ids for ids in sentences if len(ids) == length], np.int64)
