"""The one table of the kinds of probes: what each asks, and what an edit should do to its answer.

A kind is an entry of KINDS and a function that finds its facts around the edits. Ids only; no text of the world here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

from behemoth_data.scenarios import RELATION_SCENARIOS, SCENARIOS
from behemoth_data.settings import check_known
from behemoth_data.surroundings import SURE, Pool, Surroundings
from behemoth_data.world import STRUCTURES, Edge, Fact

# What the answer should do, by group: a kind is read by what becomes of its answer.
GROUPS = {
    "change": "change",
    "keep": "stay",
    "ripple": "be reported: stays or follows",
    "transfer": "follow into forms that the edit was not made in",
}
OWN, OTHERS = "own", "others"  # the form that edits are made in; the other forms of the corpus that have a prompt

_SUBJECTS = (Edge.SUBJECT_OBJECT, Edge.SUBJECT_NESTED)
_CORRELATED = tuple(structure for structure in STRUCTURES if "correlated" in structure)
_NESTED = tuple(structure for structure in STRUCTURES if "nested" in structure)
_OF_FACTS = tuple(scenario for scenario in SCENARIOS if scenario not in RELATION_SCENARIOS)
_WITH_NEW_TAIL = tuple(scenario for scenario in SCENARIOS if scenario != "refuse")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """What a probe watches, where it exists, and how its facts are found; `facts` is asked only where it exists."""

    name: str
    text: str  # which facts are asked
    group: str  # one of GROUPS
    distance: int  # from the edit: a figure shows the nearest first, and of two equally near the first of the table
    facts: Callable[[Surroundings], Iterator[Pool]]
    structures: tuple[str, ...] = STRUCTURES
    edges: tuple[Edge, ...] = tuple(Edge)  # the edited table
    scenarios: tuple[str, ...] = SCENARIOS
    form: str = OWN  # OWN, OTHERS or the name of a form
    by_edit: bool = False  # asked edit by edit, together with the other such kinds; a shared fact only once
    suggested: bool = False  # the answer after is its edit's new object: the edit suggests it, and no fact decides it
    candidate: str = ""  # old or new: the edit's tail that the form asks about; "": it asks for the fact's own

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field and lists the known values."""
        check_known("group", self.group, GROUPS)
        check_known("candidate", self.candidate, ("", "old", "new"))

    def exists(self, structure: str, edge: Edge, scenario: str) -> bool:
        """Whether a world of this structure can have such facts around edits of a table in a scenario.

        Those of the group transfer are asked only by draws that say so.
        """
        return structure in self.structures and edge in self.edges and scenario in self.scenarios


def _edited(around: Surroundings) -> Iterator[Pool]:
    yield Pool([(i, edit.fact) for i, edit in enumerate(around.edits)])


def _same_subject(around: Surroundings) -> Iterator[Pool]:
    """Asked, but for those that every method may read if same_subject_rows says so.

    Where a relation is forgotten, those of half of its heads are trained on, as many in every structure: the facts of
    a correlated relation are the kind `partner`, so that there is one relation less.
    """
    config, num_relations = around.config, around.world.config.num_relations
    relations = [r for r in range(num_relations) if r not in (around.relation, around.partner)]
    heads = [edit.fact.head for edit in around.edits]
    tails = {r: around.world.tails(around.edge, heads, r).tolist() for r in relations}
    pairs = []
    for i, head in enumerate(heads):
        order = [relations[place] for place in around.order(f"same_subject/{i}", len(relations)).tolist()]
        pairs.append([(i, Fact(around.edge, head, r, tails[r][i])) for r in order])
    if config.whole:
        rows = max(1, int(SURE * max(1, num_relations - 2) * (around.num_chosen // 2)))
        yield around.sided([pair for turn in zip(*pairs, strict=True) for pair in turn], min(rows, around.num_chosen))
        return
    for of_head in pairs:
        sides = [place < config.same_subject_rows for place in range(len(of_head))]
        yield Pool(of_head, config.same_subject_rows or None, sides)


def _same_old_object(around: Surroundings) -> Iterator[Pool]:
    rows = around.config.same_object_rows * len(around.edits)
    yield around.same_tail("old", [edit.fact.tail for edit in around.edits], rows or None)


def _same_new_object(around: Surroundings) -> Iterator[Pool]:
    yield around.same_tail("new", [edit.new_tail for edit in around.edits])


def _same_relation(around: Surroundings) -> Iterator[Pool]:
    tails = [tail for edit in around.edits for tail in (edit.fact.tail, edit.new_tail)]
    rows = around.config.same_relation_rows * len(around.edits)
    yield around.other_tails("same_relation", tails, rows or None)


def _unrelated(around: Surroundings) -> Iterator[Pool]:
    """As many are trained on as there are edited rows, in equal parts of all tables; those of the edited one are asked.

    No more than the edited table alone could give, so that a world of more tables has no more of them. When a relation
    is forgotten, other tables' facts of other relations are asked too: if no subject is left untouched, they are all
    there is beside the subjects' own.
    """
    config, edges = around.config, around.world.edges
    rows = config.rows_per_edit * around.num_chosen
    if around.num_untouched:
        rows = min(rows, (around.num_untouched // 2) * (around.world.config.num_relations - 1))
    asked = config.probes_per_edit * len(around.edits)
    others = [
        around.unrelated(edge, rows // len(edges), asked if config.whole else 0, untouched=not config.whole)
        for edge in edges
        if edge is not around.edge
    ]
    if around.num_untouched:
        yield around.unrelated(around.edge, rows - sum(len(pool.taught) for pool in others), asked)
    yield from others


def _implicit(around: Surroundings) -> Iterator[Pool]:
    """Not those that have the new object already, the edits all being alike: whoever always says it would keep them."""
    if around.num_untouched:
        rows = around.config.same_relation_rows * around.num_chosen if around.config.retain_relation else 0
        yield around.other_tails("rest_of_relation", [around.edits[0].new_tail], rows or None)


def _partner(around: Surroundings) -> Iterator[Pool]:
    """With binary_first, the partner's relation may lack the new object: then there is nothing to follow."""
    if around.partner is None:
        return
    most = around.world.num_tails(around.edge, around.partner)
    heads = [edit.fact.head if edit.new_tail is None or edit.new_tail < most else None for edit in around.edits]
    yield around.each(Edge.SUBJECT_OBJECT, heads, around.partner)


def _nested_subject(around: Surroundings) -> Iterator[Pool]:
    yield around.each(Edge.SUBJECT_NESTED, [edit.fact.head for edit in around.edits])


def _nested_old_object(around: Surroundings) -> Iterator[Pool]:
    yield around.each(Edge.OBJECT_NESTED, [edit.fact.tail for edit in around.edits])


def _nested_new_object(around: Surroundings) -> Iterator[Pool]:
    yield around.each(Edge.OBJECT_NESTED, [edit.new_tail for edit in around.edits])


def _nested_source(around: Surroundings) -> Iterator[Pool]:
    sources = around.each(Edge.SUBJECT_OBJECT, [edit.fact.head for edit in around.edits])
    yield sources
    yield around.each(Edge.OBJECT_NESTED, [source.tail for _, source in sources.pairs])


def _nested_siblings(around: Surroundings) -> Iterator[Pool]:
    yield from map(around.siblings, range(len(around.edits)))


# In the order in which they are asked.
_TABLE = (
    Kind(
        name="edited",
        text="the edited fact, in the form it was edited in",
        group="change",
        distance=0,
        facts=_edited,
    ),
    Kind(
        name="paraphrase",
        text="the edited fact, in another trained form",
        group="change",
        distance=1,
        facts=_edited,
        form=OTHERS,
    ),
    Kind(
        name="same_subject",
        text="the edited head's other relations",
        group="keep",
        distance=2,
        facts=_same_subject,
        edges=_SUBJECTS,  # an object has one relation only
    ),
    Kind(
        name="same_old_object",
        text="other heads that have the old object in this relation",
        group="keep",
        distance=9,
        facts=_same_old_object,
        scenarios=_OF_FACTS,
    ),
    Kind(
        name="same_new_object",
        text="other heads that have the new object in this relation",
        group="keep",
        distance=10,
        facts=_same_new_object,
        scenarios=_OF_FACTS,
    ),
    Kind(
        name="same_relation",
        text="other heads with other objects in this relation",
        group="keep",
        distance=12,
        facts=_same_relation,
        scenarios=_OF_FACTS,
    ),
    Kind(
        name="unrelated",
        text="other heads, other relations",
        group="keep",
        distance=13,
        facts=_unrelated,
    ),
    Kind(
        name="implicit",
        text="the facts of the relation that forgetting a share of it left out",
        group="keep",
        distance=11,
        facts=_implicit,
        scenarios=RELATION_SCENARIOS,
    ),
    Kind(
        name="partner",
        text="the fact that is correlated with the edited one",
        group="ripple",
        distance=3,
        facts=_partner,
        structures=_CORRELATED,
        edges=(Edge.SUBJECT_OBJECT,),
        by_edit=True,
        suggested=True,
    ),
    Kind(
        name="nested_subject",
        text="a subject's object was edited: the nested object that follows from it",
        group="ripple",
        distance=4,
        facts=_nested_subject,
        structures=_NESTED,
        edges=(Edge.SUBJECT_OBJECT,),
        by_edit=True,
    ),
    Kind(
        name="nested_old_object",
        text="what the old object belongs to",
        group="keep",
        distance=7,
        facts=_nested_old_object,
        structures=_NESTED,
        edges=(Edge.SUBJECT_OBJECT,),
        by_edit=True,
    ),
    Kind(
        name="nested_new_object",
        text="what the new object belongs to",
        group="keep",
        distance=8,
        facts=_nested_new_object,
        structures=_NESTED,
        edges=(Edge.SUBJECT_OBJECT,),
        scenarios=_WITH_NEW_TAIL,
        by_edit=True,
    ),
    Kind(
        name="nested_source",
        text="a subject's nested fact was edited: its object, and what that object belongs to",
        group="keep",
        distance=6,
        facts=_nested_source,
        structures=_NESTED,
        edges=(Edge.SUBJECT_NESTED,),
        by_edit=True,
    ),
    Kind(
        name="nested_siblings",
        text="what an object belongs to was edited: the nested facts of all subjects that have the object",
        group="ripple",
        distance=5,
        facts=_nested_siblings,
        structures=_NESTED,
        edges=(Edge.OBJECT_NESTED,),
        by_edit=True,
    ),
    Kind(
        name="question",
        text="the edited fact, as a question",
        group="transfer",
        distance=14,
        facts=_edited,
        scenarios=_OF_FACTS,
        form="question",
    ),
    Kind(
        name="new_question",
        text="the edited fact, as a question in a format that no corpus teaches",
        group="transfer",
        distance=15,
        facts=_edited,
        scenarios=_OF_FACTS,
        form="new_question",
    ),
    Kind(
        name="two_step",
        text="a subject's object was edited: the nested object that its object lies in, asked over both",
        group="transfer",
        distance=16,
        facts=_edited,
        structures=_NESTED,
        edges=(Edge.SUBJECT_OBJECT,),
        scenarios=_OF_FACTS,
        form="two_step",
    ),
    Kind(
        name="affirmed_old",
        text="whether the edited fact's object is the old one",
        group="transfer",
        distance=17,
        facts=_edited,
        scenarios=_OF_FACTS,
        form="affirmed_true",
        candidate="old",
    ),
    Kind(
        name="affirmed_new",
        text="whether the edited fact's object is the new one",
        group="transfer",
        distance=18,
        facts=_edited,
        scenarios=_OF_FACTS,
        form="affirmed_true",
        candidate="new",
    ),
    Kind(
        name="denied_old",
        text="whether the edited fact's object is not the old one",
        group="transfer",
        distance=19,
        facts=_edited,
        scenarios=_OF_FACTS,
        form="denied_true",
        candidate="old",
    ),
    Kind(
        name="denied_new",
        text="whether the edited fact's object is not the new one",
        group="transfer",
        distance=20,
        facts=_edited,
        scenarios=_OF_FACTS,
        form="denied_true",
        candidate="new",
    ),
)
KINDS: dict[str, Kind] = {kind.name: kind for kind in _TABLE}
CHANGE_KINDS, KEEP_KINDS, RIPPLE_KINDS, TRANSFER_KINDS = (
    tuple(kind.name for kind in _TABLE if kind.group == group) for group in GROUPS
)
