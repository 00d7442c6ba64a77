"""Sentences, facts and edit sets as Arrow tables: the rows that are published. No files here.

Every sentence or fact row has the columns of `FACT_SCHEMA`, every edit set those of `EDIT_SCHEMA`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from behemoth_data.corpus import Corpus, Sentences
from behemoth_data.edits import EditSet
from behemoth_data.grammar import Query, ends_in_object
from behemoth_data.world import Edge, Fact

Int64 = NDArray[np.int64]

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


def sentence_table(corpus: Corpus, start: int, stop: int) -> pa.Table:
    """One row per training sentence from place start up to place stop of the corpus's order."""
    return _in_order(corpus, corpus.sentences(np.arange(start, stop)), corpus.forms)


def fact_table(
    corpus: Corpus, edge: Edge, form: str = "statement", start: int = 0, stop: int | None = None
) -> pa.Table:
    """One row per fact of a table, asked in one form, from start up to stop (None: all others) of World.facts.

    Raises: ValueError for a range that leaves the table, or for an unknown form.
    """
    heads, relations, tails = corpus.world.facts(edge, start, stop)
    return _table(corpus, edge, form, heads, relations, tails)


def edit_table(edit_sets: Sequence[EditSet]) -> pa.Table:
    """One row per edit set, with its edits, all its probes and the facts that training may use to retain."""
    return pa.Table.from_pylist([_edit_row(edit_set) for edit_set in edit_sets], schema=EDIT_SCHEMA)


def _in_order(corpus: Corpus, said: Sentences, forms: Sequence[str]) -> pa.Table:
    """Tables of equal edge and form, put together and back into the sentences' order."""
    tables, places = [FACT_SCHEMA.empty_table()], [np.empty(0, np.int64)]
    for edge in corpus.world.edges:
        for number, form in enumerate(forms):
            rows = np.flatnonzero((said.edges == edge) & (said.forms == number))
            tables.append(_table(corpus, edge, form, said.heads[rows], said.relations[rows], said.tails[rows]))
            places.append(rows)
    order = np.argsort(np.concatenate(places), kind="stable")
    return pa.concat_tables(tables).take(pa.array(order)).combine_chunks()


def _table(corpus: Corpus, edge: Edge, form: str, heads: Int64, relations: Int64, tails: Int64) -> pa.Table:
    grammar, count = corpus.grammar, len(heads)
    tokens = grammar.tokens(edge, form, heads, relations, tails)
    prompt = answer = pa.nulls(count, pa.string())
    if ends_in_object(form):
        cut = grammar.prompt_length(edge, form)
        prompt, answer = grammar.text(tokens[:, :cut]), grammar.text(tokens[:, cut:-2])
    columns = [
        grammar.text(tokens[:, :-1]),
        prompt,
        answer,
        pa.repeat(form, count),
        pa.repeat(pa.scalar(int(edge), pa.int64()), count),
        *(pa.array(ids, pa.int32()) for ids in (heads, relations, tails)),
        *grammar.words(edge, heads, relations, tails),
    ]
    return pa.Table.from_arrays(columns, schema=FACT_SCHEMA)


def _ids(fact: Fact) -> dict[str, int]:
    return {"subject": fact.head, "relation": fact.relation, "object": fact.tail}


def _answers(before: Query, after: Query) -> dict[str, str]:
    return {"prompt": before.prompt, "answer_before": before.answer, "answer_after": after.answer}


def _edit_row(edit_set: EditSet) -> dict[str, Any]:
    asked = [probe for probe in edit_set.probes if probe.kind == "edited"]  # one per edit, in the edits' order
    return {
        "scenario": edit_set.scenario,
        "edge": edit_set.edge.label,
        "relation": edit_set.relation,
        "seed": edit_set.seed,
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
