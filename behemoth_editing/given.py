"""Edits that somebody names: in words, in ids, or as a saved model or a file of JSON lists them. None is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from behemoth_data.edits import Edit, EditConfig, EditSet, draw_edits, edit_set_of
from behemoth_data.lexicon import EDGE_ROLES, Role
from behemoth_data.settings import check, check_known, from_mapping, whole
from behemoth_data.world import Edge, Fact
from behemoth_editing.checkpoint import Checkpoint
from behemoth_editing.sweep.plain import plain


def edit_of(
    checkpoint: Checkpoint,
    subject: str | int,
    relation: str | int,
    new_object: str | int,
    edge: Edge | str = Edge.SUBJECT_OBJECT,
) -> Edit:
    """The edit of a fact, by words or by ids. Raises: ValueError for a table, a word or an id that there is not."""
    corpus, table = checkpoint.corpus, Edge.from_label(edge) if isinstance(edge, str) else edge
    corpus.world.num_heads(table)  # refuses a table that the world lacks
    lexicon, (head_role, relation_role, tail_role) = corpus.grammar.lexicon, EDGE_ROLES[table]

    def found(field: str, role: Role, given: str | int, group: int = 0) -> int:
        return lexicon.id_of(role, given, group) if isinstance(given, str) else whole(field, given)

    place = found("relation", relation_role, relation)
    head = found("subject", head_role, subject, place if head_role is Role.OBJECT else 0)
    return Edit(corpus.world.fact(table, head, place), found("new_object", tail_role, new_object, place))


def edits_of(checkpoint: Checkpoint, listed: Sequence[Any]) -> list[Edit]:
    """The edits of a list as JSON has it.

    Each is an object with subject, relation and new_object, words or ids, and edge where it is not subject_object; or,
    as in the config.json of a saved model, with fact (edge, head, relation, tail) and new_tail.
    Raises: ValueError for what is neither.
    """
    return [_edit(checkpoint, number, entry) for number, entry in enumerate(listed)]


def _edit(checkpoint: Checkpoint, number: int, entry: Any) -> Edit:
    where = f"edits, entry {number}"
    check(isinstance(entry, Mapping), f"{where}: an edit must be an object, got {entry!r}")
    if "fact" in entry:
        fact = entry["fact"]
        check(
            isinstance(fact, Mapping) and {"edge", "head", "relation", "tail"} == fact.keys() and "new_tail" in entry,
            f"{where}: an edit must have fact with edge, head, relation and tail, and new_tail, got {dict(entry)}",
        )
        ids = (whole(name, fact[name]) for name in ("head", "relation", "tail"))
        new = entry["new_tail"]
        return Edit(Fact(Edge(whole("edge", fact["edge"])), *ids), None if new is None else whole("new_tail", new))
    known = ("subject", "relation", "new_object", "edge")
    for name in entry:
        check_known(f"{where}: field", name, known)
    missing = [name for name in known[:3] if name not in entry]
    check(not missing, f"{where}: an edit must have subject, relation and new_object, got none of {missing}")
    subject, relation, new_object = (entry[name] for name in known[:3])
    return edit_of(checkpoint, subject, relation, new_object, entry.get("edge", "subject_object"))


def listed_set(checkpoint: Checkpoint, content: Any) -> EditSet:
    """The edit set of a JSON file: a list of edits, or an object with edits and, beside them, the fields of a draw.

    Raises: ValueError for what is neither, or edits that the world does not have.
    """
    check(isinstance(content, list | Mapping), f"edits must be a list or an object, got {type(content).__name__}")
    parts: Mapping[str, Any] = content if isinstance(content, Mapping) else {"edits": content}
    for name in parts:
        check_known("part of edits", name, ("edits", "draw"))
    check(isinstance(parts.get("edits"), list), f"edits must list edits, got {parts.get('edits')!r}")
    config = from_mapping(EditConfig, parts.get("draw") or {})
    return edit_set_of(checkpoint.corpus, edits_of(checkpoint, parts["edits"]), config)


def sets_of(checkpoint: Checkpoint, step: Mapping[str, Any]) -> tuple[EditSet, ...]:
    """The edit sets that a step of a lineage tells of: of its draw those whose edits it lists, or else one of these.

    Raises: ValueError for a step that does not list its edits, as one that left no record.
    """
    check(bool(step.get("edits")), f"edited must say which edits it holds, got a step by {step.get('method')!r}")
    config = from_mapping(EditConfig, step["draw"])
    edits = step["edits"]
    try:
        drawn = draw_edits(checkpoint.corpus, config)
    except ValueError:  # of edits that somebody named there may be more than a draw offers
        drawn = ()
    if config.scenario == "sequence":
        drawn = drawn if [plain(edit) for one in drawn for edit in one.edits] == edits else ()
    else:
        drawn = tuple(one for one in drawn if [plain(edit) for edit in one.edits] == edits)
    return drawn or (edit_set_of(checkpoint.corpus, edits_of(checkpoint, edits), config),)
