"""What a model has been shown and when it knew it, fact by fact. Counts only; it runs no model.

Axis letters: F facts of a table.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from behemoth_data.corpus import Corpus

Int64 = NDArray[np.int64]


class Ledger:
    """How many sentences about each fact training has used, and after which step each was first measured as known.

    Facts follow World.facts. A sentence that dissents counts as one about its fact.
    """

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        counts = {edge: corpus.world.num_facts(edge) for edge in corpus.world.edges}
        self.exposures: dict[str, Int64] = {edge.label: np.zeros(count, np.int64) for edge, count in counts.items()}
        self.first_known: dict[str, Int64] = {
            edge.label: np.full(count, -1, np.int64) for edge, count in counts.items()
        }

    def show(self, places: ArrayLike) -> None:
        """Counts the sentences at these places [n] of the corpus's order."""
        for part in self.corpus.parts(self.corpus.numbers(places)):
            facts = part.relations * self.corpus.world.num_heads(part.edge) + part.heads
            np.add.at(self.exposures[part.edge.label], facts, 1)

    def know(self, step: int, known: Mapping[str, NDArray[np.bool_]]) -> None:
        """Notes the facts that are known after a step, [F] by edge label, and were not known before."""
        for edge, right in known.items():
            first = self.first_known[edge]
            first[right & (first < 0)] = step

    def mean_exposures(self) -> dict[str, float]:
        """Sentences per fact so far, by edge label."""
        return {edge: float(counts.mean()) for edge, counts in self.exposures.items()}

    def arrays(self) -> dict[str, Int64]:
        """Everything counted, by a name each, to be stored; `restore` takes it back."""
        named = {f"exposures.{edge}": counts for edge, counts in self.exposures.items()}
        return named | {f"first_known.{edge}": steps for edge, steps in self.first_known.items()}

    def restore(self, arrays: Mapping[str, Int64]) -> None:
        """Everything counted is what `arrays` returned. Raises: KeyError for an array that is missing."""
        for name in self.arrays():
            kind, edge = name.split(".")
            getattr(self, kind)[edge][:] = arrays[name]

    def table(self) -> pa.Table:
        """One row per fact: its table and ids, its exposures, and the step it was first measured as known after."""
        parts = []
        for edge in self.corpus.world.edges:
            heads, relations, tails = self.corpus.world.facts(edge)
            first = self.first_known[edge.label]
            columns = {
                "edge": pa.repeat(edge.label, len(heads)),
                "subject": pa.array(heads, pa.int32()),
                "relation": pa.array(relations, pa.int32()),
                "object": pa.array(tails, pa.int32()),
                "exposures": pa.array(self.exposures[edge.label], pa.int32()),
                "first_known_step": pa.array(first, pa.int32(), mask=first < 0),
            }
            parts.append(pa.table(columns))
        return pa.concat_tables(parts)
