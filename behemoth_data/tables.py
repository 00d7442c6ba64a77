"""Sentences, facts and edit sets as Arrow tables: the rows that are published. No files here.

Every sentence or fact row has the columns of `FACT_SCHEMA`, every edit set those of `EDIT_SCHEMA`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from behemoth_data.corpus import Corpus, Part
from behemoth_data.edits import EditSet
from behemoth_data.forms import TAIL, answered_by, has_prompt, varied
from behemoth_data.grammar import Query
from behemoth_data.lexicon import EDGE_ROLES, PADDING
from behemoth_data.world import Edge, Fact

Int64 = NDArray[np.int64]

_CHUNK, _SAMPLE = 2**16, 1000  # rows made at a time; rows that tell how large a table would be
_TABLE_BYTES = 64 * 2**20  # of a table of all distinct rows, at most

FACT_SCHEMA = pa.schema(
    {
        "text": pa.string(),
        "prompt": pa.string(),
        "answer": pa.string(),
        "form": pa.string(),
        "edge": pa.int64(),
        "subject": pa.int32(),
        "relation": pa.int32(),
        "object": pa.int32(),
        "subject_word": pa.string(),
        "relation_word": pa.string(),
        "object_word": pa.string(),
    }
)
_EDIT = pa.struct(
    {
        "subject": pa.int32(),
        "relation": pa.int32(),
        "object": pa.int32(),
        "new_object": pa.int32(),
        "prompt": pa.string(),
        "answer_before": pa.string(),
        "answer_after": pa.string(),
    }
)
_PROBE = pa.struct(
    {
        "kind": pa.string(),
        "edit": pa.int32(),
        "form": pa.string(),
        "edge": pa.string(),
        "subject": pa.int32(),
        "relation": pa.int32(),
        "object": pa.int32(),
        "prompt": pa.string(),
        "answer_before": pa.string(),
        "answer_after": pa.string(),
    }
)
_RETAIN = pa.struct({"kind": pa.string(), "prompt": pa.string(), "answer": pa.string()})
EDIT_SCHEMA = pa.schema(
    {
        "scenario": pa.string(),
        "edge": pa.string(),
        "relation": pa.int32(),
        "seed": pa.int32(),
        "edits": pa.list_(_EDIT),
        "probes": pa.list_(_PROBE),
        "retain": pa.list_(_RETAIN),
    }
)


class SentenceTables:
    """The training sentences of a corpus as rows, for any range of places.

    Once as many rows have been asked for as there are distinct ones, they are taken from a table of those, if
    it is small enough; until then, and where sentences have fillers, each row is made anew.
    """

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        self._known: pa.Table | None = None
        self._served = 0

    def table(self, start: int, stop: int) -> pa.Table:
        """One row per training sentence from place start up to place stop of the corpus's order.

        Raises: ValueError for a place outside.
        """
        places = np.arange(start, stop)
        numbers = self.corpus.numbers(places)
        known = self._known_rows(len(numbers))
        return _rows(self.corpus, numbers, places) if known is None else known.take(pa.array(numbers))

    def _known_rows(self, wanted: int) -> pa.Table | None:
        if self._known is None and not self.corpus.varied:
            count, self._served = self.corpus.num_distinct, self._served + wanted
            if self._served >= count:
                sample = _rows(self.corpus, np.arange(0, count, -(-count // _SAMPLE)))
                if sample.nbytes / sample.num_rows * count <= _TABLE_BYTES:
                    numbers = np.arange(count)
                    parts = [_rows(self.corpus, numbers[i : i + _CHUNK]) for i in range(0, count, _CHUNK)]
                    self._known = pa.concat_tables(parts).combine_chunks()
                else:
                    self._served = -(2**62)  # too large: never again asked
        return self._known


def sentence_table(corpus: Corpus, start: int, stop: int) -> pa.Table:
    """One row per training sentence from place start up to place stop of the corpus's order."""
    return SentenceTables(corpus).table(start, stop)


def fact_table(
    corpus: Corpus, edge: Edge, form: str = "statement", start: int = 0, stop: int | None = None
) -> pa.Table:
    """One row per fact of a table, asked in one form, from start up to stop (None: all others) of World.facts.

    Its object is what stands in the form's place of an object: another table's, or a candidate, where it asks for that.
    Raises: ValueError for a range that leaves the table, or for an unknown form.
    """
    heads, relations, _ = corpus.world.facts(edge, start, stop)
    return rows_of_facts(corpus, edge, form, heads, relations, corpus.answers(edge, form, heads, relations))


def rows_of_facts(corpus: Corpus, edge: Edge, form: str, heads: Int64, relations: Int64, tails: Int64) -> pa.Table:
    """One row per fact [n] of a table, said in one form. Raises: ValueError for an unknown form."""
    tokens = corpus.grammar.tokens(edge, form, heads, relations, tails)
    facts, texts = (heads, relations, tails), tokens[:, :-1]
    if not has_prompt(form):
        return _table(corpus, edge, form, facts, texts, None)
    place = corpus.grammar.answer_place(edge, form)
    answers = None if answered_by(form) == TAIL else corpus.grammar.text(tokens[:, place])
    return _table(corpus, edge, form, facts, texts, tokens[:, : place.start], answers)


def edit_table(edit_sets: Sequence[EditSet]) -> pa.Table:
    """One row per edit set, with its edits, all its probes and the facts that training may use to retain."""
    return pa.Table.from_pylist([_edit_row(edit_set) for edit_set in edit_sets], schema=EDIT_SCHEMA)


def _rows(corpus: Corpus, numbers: Int64, places: Int64 | None = None) -> pa.Table:
    """The distinct sentences with these numbers [n]; `places` [n] decide the fillers of those that have some."""
    tables, rows = [FACT_SCHEMA.empty_table()], [np.empty(0, np.int64)]
    for part in corpus.parts(numbers):
        facts = part.heads, part.relations, part.tails
        if varied(part.form):
            tables.append(_varied_table(corpus, part, numbers[part.rows] if places is None else places[part.rows]))
        else:
            tables.append(rows_of_facts(corpus, part.edge, part.form, *facts))
        rows.append(part.rows)
    order = np.argsort(np.concatenate(rows), kind="stable")
    return pa.concat_tables(tables).take(pa.array(order)).combine_chunks()


def _varied_table(corpus: Corpus, part: Part, places: Int64) -> pa.Table:
    """Sentences whose answer stands in a place of its own in each: it is found by the tail's first token."""
    grammar = corpus.grammar
    tokens = corpus.part_tokens(part, places)
    padding = grammar.lexicon.token_ids[PADDING]
    first = grammar.lexicon.encode(EDGE_ROLES[part.edge][2], part.tails, part.relations)[:, :1]
    answers = (tokens == first).argmax(axis=1)
    prompts = np.where(np.arange(tokens.shape[1]) < answers[:, None], tokens, padding)
    texts = np.where(tokens == grammar.end_id, padding, tokens)
    return _table(corpus, part.edge, part.form, (part.heads, part.relations, part.tails), texts, prompts)


def _table(
    corpus: Corpus,
    edge: Edge,
    form: str,
    facts: tuple[Int64, Int64, Int64],
    texts: Int64,
    prompts: Int64 | None,
    answers: pa.StringArray | None = None,
) -> pa.Table:
    """Rows of facts [n] said in one form; texts [n, T] and prompts [n, P] are token ids, perhaps padded.

    Without answers [n] of their own, prompts are answered by the tails.
    """
    grammar, count = corpus.grammar, len(texts)
    words = grammar.words(edge, *facts, form)
    columns = [
        grammar.text(texts),
        pa.nulls(count, pa.string()) if prompts is None else grammar.text(prompts),
        pa.nulls(count, pa.string()) if prompts is None else words[2] if answers is None else answers,
        pa.repeat(form, count),
        pa.repeat(pa.scalar(int(edge), pa.int64()), count),
        *(pa.array(ids, pa.int32()) for ids in facts),
        *words,
    ]
    return pa.Table.from_arrays(columns, schema=FACT_SCHEMA)


def _ids(fact: Fact) -> dict[str, int]:
    return {"subject": fact.head, "relation": fact.relation, "object": fact.tail}


def _answers(before: Query, after: Query) -> dict[str, str]:
    return {"prompt": before.prompt, "answer_before": before.answer, "answer_after": after.answer}


def _edit_row(edit_set: EditSet) -> dict[str, Any]:
    asked = [probe for probe in edit_set.probes if probe.kind == "edited"]  # one per edit, in the edits' order
    return {
        "scenario": edit_set.config.scenario,
        "edge": edit_set.edge.label,
        "relation": edit_set.relation,
        "seed": edit_set.config.edit_seed,
        "edits": [
            {**_ids(edit.fact), "new_object": edit.new_tail, **_answers(probe.before, probe.after)}
            for edit, probe in zip(edit_set.edits, asked, strict=True)
        ],
        "probes": [
            {
                "kind": probe.kind,
                "edit": probe.edit,
                "form": probe.form,
                "edge": probe.fact.edge.label,
                **_ids(probe.fact),
                **_answers(probe.before, probe.after),
            }
            for probe in edit_set.probes
        ],
        "retain": [
            {"kind": kind, "prompt": query.prompt, "answer": query.answer}
            for kind, queries in edit_set.retain.items()
            for query in queries
        ],
    }
