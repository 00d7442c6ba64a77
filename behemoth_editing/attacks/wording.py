"""Attacks that only ask: by the edited prompts, in other forms, and behind other facts. No weight is changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from transformers import PreTrainedModel

from behemoth_data.edits import EditSet
from behemoth_data.forms import FORMS, ends_in_object
from behemoth_data.rng import Stream
from behemoth_data.settings import check, check_known, setting
from behemoth_data.world import Fact
from behemoth_editing.attacks.contract import Asking, Attacked, Refused, ask, prompts_of, untouched
from behemoth_models.knowledge import greedy_answers

FORMS_ASKED = tuple(name for name in FORMS if ends_in_object(name) and FORMS[name].use in ("inversion", "question"))
_LEAST_KNOWN = 10  # facts that must be known without a context to say what one does
_MOST_KNOWN = 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class AtOnce(Asking):
    """No attack: the edited prompts, asked of the model as it is."""

    name: ClassVar[str] = "at_once"
    axis: ClassVar[str] = "as it is"

    def __call__(self, model: PreTrainedModel, task: EditSet) -> Attacked:
        """What is left without any attack."""
        asked = self.asked(task)
        return Attacked(asked, (ask(model, task, asked),), {})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Forms(Asking):
    """The edited facts in other forms whose answer is the object: inverted, and as questions.

    A form that the model was never taught says little: the details tell which ones its corpus teaches.
    Source: the idea is that of Patil et al., "Can sensitive information be deleted from LLMs?", 2023 (arXiv
    2309.17410), who ask in rephrased words.
    """

    name: ClassVar[str] = "forms"
    axis: ClassVar[str] = "form"

    forms: tuple[str, ...] = setting(
        ("rso", "question", "new_question"), f"forms in which the facts are asked: {', '.join(FORMS_ASKED)}"
    )

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        super().__post_init__()
        check(len(self.forms) >= 1, f"forms must name at least 1 form, got {self.forms}")
        for form in self.forms:
            check_known("forms", form, FORMS_ASKED)

    def __call__(self, model: PreTrainedModel, task: EditSet) -> Attacked:
        """What is left, form by form. Raises: ValueError for a form in words that the model's vocabulary lacks."""
        asked, corpus = self.asked(task), task.corpus
        facts = [task.edits[place].fact for place in asked.tolist()]
        looks = [
            ask(model, task, asked, number, prompts=prompts_of(corpus.grammar.queries(facts, form)), label=form)
            for number, form in enumerate(self.forms)
        ]
        return Attacked(asked, tuple(looks), {"taught": [form for form in self.forms if form in corpus.forms]})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hint(Asking):
    """Sentences of other facts of the relation before the prompt, as many as the step says.

    Only a model that was trained on packed sentences can read behind others. Whether this one can is tried out: it is
    asked facts that it knows, behind as many sentences, and refused where it answers fewer of them than `least_read`.
    Source: Shumailov et al., "UnUnlearning", 2024 (arXiv 2407.00106), for what a context can bring back.
    """

    name: ClassVar[str] = "hint"
    axis: ClassVar[str] = "facts before the prompt"

    shots: tuple[int, ...] = setting((1, 2, 4), "sentences of other facts before the prompt")
    least_read: float = setting(
        0.5, "share of the facts known without them that must be known behind them, or the attack is refused"
    )

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        super().__post_init__()
        check(len(self.shots) >= 1 and min(self.shots) >= 1, f"shots must be numbers of at least 1, got {self.shots}")
        check(0 <= self.least_read <= 1, f"least_read must lie in [0, 1], got {self.least_read}")

    def __call__(self, model: PreTrainedModel, task: EditSet) -> Attacked:
        """What is left. Raises: Refused for a model that cannot read behind sentences, or too few facts to hint at."""
        asked, read, looks = self.asked(task), [], []
        others = untouched(task, self.attack_seed, max(self.shots) + _MOST_KNOWN)
        if len(others) < max(self.shots) + _LEAST_KNOWN:
            raise Refused(
                f"shots must leave {_LEAST_KNOWN} of the relation's facts that are not edited, to try whether the "
                f"model reads behind others, got {max(self.shots)} of {len(others)}"
            )
        hints, known = others[: max(self.shots)], others[max(self.shots) :]
        plain = [query.prompt_ids for query in task.corpus.grammar.queries(known, task.corpus.forms[0])]
        knows = _right(model, task, known, plain)
        if sum(knows) < _LEAST_KNOWN:
            raise Refused(f"the model must know {_LEAST_KNOWN} of the relation's other facts, got {sum(knows)}")
        for shots in self.shots:
            behind = _right(model, task, known, [self._before(task, hints, i, shots) + p for i, p in enumerate(plain)])
            read.append(sum(a and b for a, b in zip(knows, behind, strict=True)) / sum(knows))
            if read[-1] < self.least_read:
                raise Refused(
                    f"the model must read behind other sentences, as only one does that was trained on packed ones: "
                    f"behind {shots} it knows {read[-1]:.0%} of what it knows without, and least_read is "
                    f"{self.least_read:.0%}"
                )
            prompts = [self._before(task, hints, p, shots) + task.originals[p].prompt_ids for p in asked.tolist()]
            looks.append(ask(model, task, asked, shots, prompts=prompts))
        return Attacked(asked, tuple(looks), {"read": read})

    def _before(self, task: EditSet, hints: Sequence[Fact], place: int, shots: int) -> tuple[int, ...]:
        """The sentences before the prompt at this place: which ones, and in which order, is drawn for each."""
        chosen = Stream(self.attack_seed, f"attacks/hint/{place}").choice(len(hints), shots)
        corpus, ids = task.corpus, []
        for fact in (hints[number] for number in chosen.tolist()):
            said = corpus.grammar.tokens(fact.edge, corpus.forms[0], fact.head, fact.relation, fact.tail)
            ids += said[0].tolist()
        return tuple(ids)


def _right(
    model: PreTrainedModel, task: EditSet, facts: Sequence[Fact], prompts: Sequence[tuple[int, ...]]
) -> list[bool]:
    """Whether the model answers each prompt by the fact's object."""
    answers = task.corpus.grammar.answers(task.edge, task.relation, np.array([fact.tail for fact in facts])).tolist()
    said = greedy_answers(model, prompts, [len(answer) for answer in answers])
    return [list(one) == answer for one, answer in zip(said, answers, strict=True)]
