"""What a checkpoint carries of its corpus -> the very same corpus again, or the part in which it would differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from behemoth_data.corpus import Corpus, CorpusConfig, build
from behemoth_data.lexicon import LexiconConfig
from behemoth_data.settings import check, from_mapping
from behemoth_data.world import Edge, World, WorldConfig


def from_description(description: Mapping[str, Any]) -> Corpus:
    """The corpus that `Corpus.description` described, with the vocabulary that it had then.

    Forms that came later and have words of their own cannot be asked for in it: see Lexicon.
    Raises: ValueError that says which part differs if this version of the generator no longer makes it.
    """
    missing = [part for part in ("world", "lexicon", "corpus", "digests") if part not in description]
    check(
        not missing,
        f"description must have the parts world, lexicon, corpus and digests, got none of {missing}",
    )
    for part in ("world", "lexicon", "corpus", "digests"):
        check(
            isinstance(description[part], Mapping),
            f"{part} of a description must hold fields, got {description[part]!r}",
        )
    corpus = build(
        from_mapping(WorldConfig, description["world"]),
        from_mapping(LexiconConfig, description["lexicon"]),
        from_mapping(CorpusConfig, description["corpus"]),
        num_tokens=description.get("num_tokens"),
    )
    changes = {(Edge(edge), head, relation): tail for edge, head, relation, tail in description.get("changes", ())}
    if changes:
        corpus = Corpus(World(corpus.world.config, changes), corpus.grammar, corpus.config)
    for part, found in corpus.digests().items():
        stored = description["digests"].get(part)
        check(
            found == stored,
            f"{part} digest must be {stored}, as when the model was trained, got {found}: the generator has "
            "changed since; use the version that trained the model",
        )
    return corpus
