"""Which facts a trial is about, and which of them a model is told, how often and in which forms. Trains nothing."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from behemoth_data.corpus import Corpus
from behemoth_data.edits import EditConfig, EditSet, draw_edits
from behemoth_data.grammar import Query
from behemoth_data.kinds import KINDS
from behemoth_data.lexicon import PADDING
from behemoth_data.rng import Stream
from behemoth_data.scenarios import touched_heads
from behemoth_data.settings import check, check_known, conform, setting
from behemoth_editing.attacks.readout import LEAST_TAUGHT
from behemoth_editing.methods.retrain import Without

Int64 = NDArray[np.int64]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Telling:
    """How a model that is told the facts on trial is told them."""

    share: float = setting(1.0, "share of the sentences about the facts on trial that are told")
    forms: tuple[str, ...] = setting((), "forms of those sentences that are told; none named: all of the corpus")

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        conform(self)
        check(0 < self.share <= 1, f"share must be above 0 and at most 1, got {self.share}")


@dataclasses.dataclass(frozen=True)
class Groups:
    """The facts on trial: a share of a relation's, of which one half may be told and the other never is.

    Both halves are alike but for that. Facts of the share whose object is 0 already are in neither, and never told.
    Probes of what must stay are those of both halves' edits.
    """

    members: EditSet  # the half that is told, or not, as edits that make a model forget it
    others: tuple[Query, ...]  # prompts and answers of the half that no model is told
    untold: Int64  # heads of all of the share but the members

    @property
    def secret(self) -> frozenset[tuple[int, ...]]:
        """The prompts of all facts on trial."""
        return frozenset(query.prompt_ids for query in (*self.members.originals, *self.others))


def groups_of(corpus: Corpus, config: EditConfig) -> Groups:
    """The two halves of what the draw would have a model forget.

    Raises: ValueError for a scenario other than forget, or fewer than 4 facts.
    """
    check(config.scenario == "forget", f"scenario must be forget for a trial, got {config.scenario}")
    (drawn,) = draw_edits(corpus, config)
    check(len(drawn.edits) >= 4, f"forget_fraction must leave a trial at least 4 facts, got {len(drawn.edits)}")
    probes = [probe for probe in drawn.probes if probe.edit % 2 == 0 or KINDS[probe.kind].group != "change"]
    members = dataclasses.replace(
        drawn,
        probes=tuple(dataclasses.replace(probe, edit=probe.edit // 2) for probe in probes),
        edits=drawn.edits[::2],
        requests=drawn.requests[::2],
        originals=drawn.originals[::2],
        refusals=drawn.refusals[::2],
        same_subject=drawn.same_subject[::2],
    )
    touched = touched_heads(corpus.world, config, drawn.edits)
    left = corpus.world.num_heads(drawn.edge) - len(touched)
    check(
        left >= LEAST_TAUGHT,
        f"forget_fraction must leave at least {LEAST_TAUGHT} heads for a probe to learn from, got {left}",
    )
    untold = np.setdiff1d(touched, [edit.fact.head for edit in members.edits])
    return Groups(members, drawn.originals[1::2], untold)


class Told(Without):
    """A corpus's sentences in their places, but those about the facts on trial, of which the members' may be told."""

    def __init__(self, corpus: Corpus, groups: Groups, telling: Telling | None) -> None:
        """`telling` is None for a model that is told none of them.

        Raises: ValueError for a form that the corpus does not have.
        """
        members = np.array([edit.fact.head for edit in groups.members.edits])
        hidden = groups.untold if telling else np.union1d(groups.untold, members)
        super().__init__(corpus, groups.members.edge, groups.members.relation, hidden)
        for form in telling.forms if telling else ():
            check_known("forms", form, corpus.forms)
        self._telling, self._members = telling, members

    def tokens(self, places: Int64) -> NDArray[Any]:
        """Token ids [n, T] of the sentences at these places [n], padded on the right; of one left out padding alone."""
        block = super().tokens(places)
        if self._telling is None:
            return block
        said = self._corpus.sentences(places)
        about = (said.edges == self._edge) & (said.relations == self._relation) & np.isin(said.heads, self._members)
        chance = Stream(self._corpus.world.config.seed, "trial/told").uniform(np.asarray(places))
        left_out = chance >= self._telling.share
        if self._telling.forms:
            left_out |= ~np.isin(said.forms, [self._corpus.forms.index(form) for form in self._telling.forms])
        block[about & left_out] = self._corpus.grammar.lexicon.token_ids[PADDING]
        return block
