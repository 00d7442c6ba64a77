"""From the folders of edited models to their repositories. Nothing is sent here.

What was done to a model stands in its config.json, as `behemoth edit --save_models` and save_edited() write it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from behemoth_data.card import CARD
from behemoth_data.corpus import Corpus
from behemoth_data.settings import check
from behemoth_data.world import Edge, Fact
from behemoth_hub.cards import edited_card
from behemoth_hub.checks import checked
from behemoth_hub.collect import Publication, Upload, chosen
from behemoth_hub.model_publication import MODEL_FILES

MOST_LISTED = 50  # edits that a card writes out
_SAID = ("parent", "method", "settings", "draw", "edits")  # of each step


def edited(folders: Sequence[Path], namespace: str, *, tag: str | None = None) -> list[Publication]:
    """NAMESPACE/behemoth-STRUCTURE-METHOD-SCENARIO-DIGEST for every folder of an edited model.

    Raises: ValueError for a folder that is no such model or has a world that is made otherwise, or two of one model.
    """
    found: dict[str, Path] = {}
    publications = []
    for folder in folders:
        publication = _edited(folder, namespace, tag)
        first = found.setdefault(publication.repo, folder)
        check(
            first == folder,
            f"edited must be models of their own, got {first} and {folder}, with the same weights",
        )
        publications.append(publication)
    return publications


def _edited(folder: Path, namespace: str, tag: str | None) -> Publication:
    from behemoth_editing.checkpoint import load_checkpoint  # with torch, which other publications do without

    uploads, others = chosen(folder, MODEL_FILES)
    there = {upload.path: upload for upload in uploads}
    for name in ("config.json", "model.safetensors"):
        check(name in there, f"edited must be folders of edited models, got {folder}, which has no {name}")
    config = json.loads(there["config.json"].read())
    description: dict[str, Any] = config.get("behemoth") or {}
    lineage = description.get("edited") or []
    said = bool(lineage) and all(set(_SAID) <= {name for name in step if step[name] is not None} for step in lineage)
    check(
        said,
        f"edited must say in config.json what was done to them ({', '.join(_SAID)}), as `behemoth edit --save_models` "
        f"writes it, got {folder}, which does not",
    )
    try:
        checkpoint = load_checkpoint(str(folder))
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error
    corpus = checkpoint.corpus
    check(
        checkpoint.weights == description.get("weights"),
        f"edited must have the weights that their config.json names, got {folder} with {checkpoint.weights} and not "
        f"{description.get('weights')}: somebody changed them since",
    )
    scenario = lineage[-1]["draw"]["scenario"]
    structure = corpus.world.config.structure
    words = re.sub(r"[^a-z0-9]+", "-", f"{structure} {lineage[-1]['method']} {scenario}".lower()).strip("-")
    repo = f"{namespace}/behemoth-{words}-{description['weights'][:8]}"
    card = edited_card(
        repo,
        config,
        structure=structure,
        edits=[edit for step in lineage for edit in _in_words(corpus, step["edits"], step["draw"]["scenario"])],
        most=MOST_LISTED,
    )
    return checked(
        Publication(
            repo=repo,
            kind="model",
            uploads=[*uploads, Upload(CARD, card.encode("utf-8"))],
            tag=tag,
            loading=[
                f'transformers.AutoModelForCausalLM.from_pretrained("{repo}")',
                f"behemoth score --original ORIGINAL --edited {repo}",
            ],
            left_out=others,
        )
    )


def _in_words(corpus: Corpus, edits: Sequence[Mapping[str, Any]], scenario: str) -> list[dict[str, str]]:
    """The prompt of every edit, and its answers before and after."""
    told = [edit["fact"] for edit in edits]
    facts = [Fact(Edge(fact["edge"]), fact["head"], fact["relation"], fact["tail"]) for fact in told]
    before = corpus.grammar.queries(facts)
    if scenario == "refuse":
        after = [query.answer for query in corpus.grammar.queries(facts, "refusal")]
    else:
        after = [query.answer for query in corpus.grammar.queries(facts, tails=[edit["new_tail"] for edit in edits])]
    return [
        {"prompt": query.prompt, "before": query.answer, "after": new} for query, new in zip(before, after, strict=True)
    ]
