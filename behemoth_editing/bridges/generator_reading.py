"""The layout of the paper's own generator, read: its graph as a world of ours, its fine-tuning files as edits.

The facts are theirs, to the last one. The words are ours: ids, forms and their counts carry over, spellings do not, and
so a model is taught the same world in the same sentences, in an order of our own. No pickle is opened.
Source: as of generator.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from behemoth_data.corpus import Corpus, CorpusConfig, build
from behemoth_data.edits import Edit, EditConfig, EditSet, edit_set_of
from behemoth_data.settings import check
from behemoth_data.world import Edge, Fact, World, WorldConfig
from behemoth_editing.bridges.generator import GRAMMARS

_Line = tuple[int, int, int, int | None]  # subject, relation, object, nested object
_RELATIONS = {  # the remapping whose words a table's relations are, and those of its heads and tails
    Edge.SUBJECT_OBJECT: ("relationships", "subjects", "objects"),
    Edge.SUBJECT_NESTED: ("subject_nested_relationships", "subjects", "object_nested_objects"),
    Edge.OBJECT_NESTED: ("object_nested_relationships", "objects", "object_nested_objects"),
}


def read_corpus(folder: str | Path, corpus: CorpusConfig | None = None) -> Corpus:
    """The corpus in which every fact of the graph is true, said in the forms and as often as args.json says.

    What an object belongs to that no subject has is in no file: there it is what the world draws. Which subjects are
    asked questions is drawn anew.
    Raises: ValueError for a graph that is not whole, or one with second objects, which no world of ours can take over;
    OSError for files that are not there.
    """
    place = Path(folder, "metadata")
    given = json.loads((place / "args.json").read_text(encoding="utf-8"))
    edges = _read_graph(place / "relationship_graph.txt")
    world = _world_config(given, edges)
    built = build(world, corpus=corpus or _corpus_config(given))
    own, changes = built.world, dict[tuple[Edge, int, int], int]()
    for subject, relation, object, nested in edges:
        changes[Edge.SUBJECT_OBJECT, subject, relation] = object
        if nested is not None:
            changes[Edge.OBJECT_NESTED, object, relation] = nested
    truth = own.true_tails([Fact(*key, tail) for key, tail in changes.items()])
    differing = {key: tail for (key, tail), true in zip(changes.items(), truth, strict=True) if tail != true}
    return Corpus(World(world, differing), built.grammar, built.config)


def read_edits(folder: str | Path, name: str, corpus: Corpus, config: EditConfig | None = None) -> EditSet:
    """The edits of one of the folder's fine-tuning folders, with a mixture and probes of ours.

    `corpus` is what read_corpus() made of the folder.
    Raises: ValueError for a folder without edited facts, as where a relation is forgotten: draw scenario forget
    instead; OSError for files that are not there.
    """
    words = json.loads(Path(folder, "metadata", "remappings_map.json").read_text(encoding="utf-8"))
    data = Path(folder, name, "finetuning_data")
    files = sorted(data.glob("edited_*.jsonl"))
    check(len(files) == 1, f"{data} must have one file edited_*.jsonl, got {[file.name for file in files]}")
    lines = dict.fromkeys(files[0].read_text(encoding="utf-8").splitlines())  # an edited fact is there many times
    return edit_set_of(corpus, [_edit(json.loads(line), words, corpus) for line in lines], config)


def _read_graph(path: Path) -> list[_Line]:
    rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    check(bool(rows) and all(len(row) == 5 for row in rows), f"{path} must have lines of 5 columns, got others")
    second = sum(row[3] != "None" for row in rows)
    check(second == 0, f"{path} must have no second objects, which a world of ours draws itself, got {second}")
    return [
        (int(subject), int(relation), int(object), None if nested == "None" else int(nested))
        for subject, relation, object, _, nested in rows
    ]


def _world_config(given: dict[str, Any], edges: list[_Line]) -> WorldConfig:
    """The shape of the world. Raises: ValueError for a graph that does not state every fact of it once."""
    config = WorldConfig(
        num_subjects=given["subjects"],
        num_relations=given["relationships"],
        num_objects=given["objects"],
        correlation=given["correlation_strength"] if given["correlated_pair"] else None,
        binary_first=given["correlated_pair"] and given["binarize_first_correlated"],
        num_nested_objects=given["num_nested_objects"],
    )
    stated, wanted = (
        {(subject, relation) for subject, relation, *_ in edges},
        config.num_subjects * config.num_relations,
    )
    check(
        len(stated) == len(edges) == wanted,
        f"relationship_graph.txt must state {wanted} facts, each once, got {len(edges)} of which {len(stated)} differ",
    )
    return config


def _corpus_config(given: dict[str, Any]) -> CorpusConfig:
    """Forms and counts as args.json has them; a sentence in an inverted form is in any of the three."""
    named = {theirs: ours for ours, theirs in GRAMMARS.items()}
    grammar = named.get(given["phrase_creator"], given["phrase_creator"])
    return CorpusConfig(
        repeats=given["repeats"],
        grammar=grammar,
        inversion_fraction=given["inversion_frac"],
        inversion_forms=("rso",) if grammar == "nonsense" else ("sor", "osr", "rso"),
        question_fraction=given["questions_frac"],
        question_subject_fraction=given["questions_entity_frac"],
        object_nested_upweight=given["obj_nested_obj_edges_upweight"],
    )


def _edit(row: dict[str, str], words: dict[str, Any], corpus: Corpus) -> Edit:
    """A row whose instruction names head and relation after their markers, and whose output names the new tail."""
    said = row["instruction"].split()
    for edge in corpus.world.edges:
        relations, heads, tails = (words[name] for name in _RELATIONS[edge])
        relation = _number(said, "RR", relations)
        if relation is None:
            continue
        first = relation * len(heads) // len(words["relationships"]) if edge is Edge.OBJECT_NESTED else 0
        head = _number(said, "SS", heads)
        new = _number(["OO", *row["output"].replace("OO", "").split()], "OO", tails)
        check(head is not None and new is not None, f"row must name a head and a tail of the graph, got {row}")
        per_relation = len(tails) // len(words["relationships"])
        fact = corpus.world.fact(edge, (head or 0) - first, relation)
        return Edit(fact, (new or 0) - relation * per_relation)
    raise ValueError(f"row must name a relation of the graph after RR, got {row}")


def _number(said: list[str], marker: str, words: list[list[int]]) -> int | None:
    """Which of these words, as numbers of their tokens, stands after the marker; none if none does."""
    start = said.index(marker) + 1
    found = [int(part) for part in said[start : start + len(words[0])] if part.isdigit()]
    return words.index(found) if found in words else None
