"""What a model says: to one fact in every form, to a prompt that somebody typed, to all facts of a picture."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy.special import logsumexp
from transformers import PreTrainedModel

from behemoth_cli.playground.words import forms_to_ask, typed_ids
from behemoth_data.corpus import Corpus
from behemoth_data.edits import Probe
from behemoth_data.world import Edge, Fact
from behemoth_editing.scoring.answers import answer_log_probabilities, next_log_probabilities, predict
from behemoth_models.knowledge import greedy_answers

NO_TAIL = -1  # an answer that is no object of the relation
MOST_TOP = 10


@dataclasses.dataclass(frozen=True)
class Reply:
    """What a model says when it is asked for a fact in a form."""

    form: str
    taught: bool  # whether training had sentences in this form
    prompt: str  # as the model reads it
    answer: str  # likewise
    tail: int  # the answer as an id, or NO_TAIL
    probability: float  # of the answer among the relation's objects; 0 for what is none of them
    validity: float  # mass on all objects of the relation
    top: tuple[tuple[int, float], ...]  # the likeliest objects, with their probabilities among all of them


def replies(model: PreTrainedModel, corpus: Corpus, fact: Fact) -> list[Reply]:
    """What the model says to the fact's prompt in each form that it can be asked in."""
    forms = forms_to_ask(corpus, fact.edge)
    queries = [corpus.grammar.query(fact, form) for form in forms]
    probes = [Probe("edited", 0, fact, form, query, query) for form, query in zip(forms, queries, strict=True)]
    answers = predict(model, probes)
    tails = np.arange(corpus.world.num_tails(fact.edge, fact.relation))
    candidates = corpus.grammar.answers(fact.edge, fact.relation, tails)
    log_probabilities = answer_log_probabilities(model, [query.prompt_ids for query in queries], candidates)
    known = {tuple(tokens): tail for tail, tokens in enumerate(candidates.tolist())}
    mass = logsumexp(log_probabilities, axis=1)
    found = []
    for place, (form, query, answer) in enumerate(zip(forms, queries, answers, strict=True)):
        shares = np.exp(log_probabilities[place] - mass[place])
        best = np.argsort(-shares, kind="stable")[:MOST_TOP]
        tail = known.get(answer, NO_TAIL)
        found.append(
            Reply(
                form=form,
                taught=form in corpus.forms,
                prompt=query.prompt,
                answer=str(corpus.grammar.text(np.array([answer])).to_pylist()[0]),
                tail=tail,
                probability=0.0 if tail == NO_TAIL else float(shares[tail]),
                validity=float(np.exp(mass[place])),
                top=tuple((int(number), float(shares[number])) for number in best),
            )
        )
    return found


@dataclasses.dataclass(frozen=True)
class Continued:
    """What a model says after any prompt."""

    words: tuple[str, ...]  # the next ones, greedily
    top: tuple[tuple[str, float], ...]  # the likeliest next tokens


def continued(model: PreTrainedModel, corpus: Corpus, text: str, width: int = 4) -> Continued:
    """What follows a text in the model's own words. Raises: ValueError as typed_ids() does."""
    ids = typed_ids(corpus, text)
    (answer,) = greedy_answers(model, [ids], [width])
    vocabulary, lexicon = corpus.grammar.lexicon.vocabulary, corpus.grammar.lexicon
    probabilities = np.exp(next_log_probabilities(model, [ids])[0])
    best = np.argsort(-probabilities, kind="stable")[:MOST_TOP]

    def token(number: int) -> str:  # embeddings are rounded up: the last ones belong to no word
        return vocabulary[number] if number < len(lexicon.vocabulary) else "(no word)"

    return Continued(
        tuple(token(number) for number in answer), tuple((token(int(n)), float(probabilities[n])) for n in best)
    )


def answered_tails(
    model: PreTrainedModel, corpus: Corpus, facts: Sequence[Fact]
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The tails [n] that the model answers to these facts in the corpus's first form; NO_TAIL for what is none."""
    queries = corpus.grammar.queries(list(facts), corpus.forms[0])
    answers = greedy_answers(
        model, [query.prompt_ids for query in queries], [len(query.answer_ids) for query in queries]
    )
    known: dict[tuple[Edge, int], dict[tuple[int, ...], int]] = {}
    for edge, relation in {(fact.edge, fact.relation) for fact in facts}:
        tokens = corpus.grammar.answers(edge, relation, np.arange(corpus.world.num_tails(edge, relation))).tolist()
        known[edge, relation] = {tuple(row): tail for tail, row in enumerate(tokens)}
    return np.array(
        [known[fact.edge, fact.relation].get(answer, NO_TAIL) for fact, answer in zip(facts, answers, strict=True)],
        np.int64,
    )
