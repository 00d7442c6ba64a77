"""What the page says that a model says is what predict() and the probabilities of whole answers say."""

import numpy as np
import pytest
import torch

from behemoth_cli.playground.asking import MOST_TOP, NO_TAIL, answered_tails, continued, replies
from behemoth_data import Edge
from behemoth_data.edits import Probe
from behemoth_editing.scoring.answers import predict


def own_fact(corpus, head=3, relation=1, edge=Edge.SUBJECT_OBJECT):
    return corpus.world.fact(edge, head, relation)


@pytest.mark.parametrize("edge", list(Edge))
def test_answers_are_those_of_predict_in_every_form(checkpoint, edge):
    corpus = checkpoint.corpus
    fact = own_fact(corpus, edge=edge)
    found = replies(checkpoint.model, corpus, fact)
    assert found[0].form == corpus.forms[0]
    for reply in found:
        query = corpus.grammar.query(fact, reply.form)
        (answer,) = predict(checkpoint.model, [Probe("edited", 0, fact, reply.form, query, query)])
        assert reply.prompt == query.prompt
        assert reply.answer == corpus.grammar.lexicon.decode(answer)
        assert reply.taught == (reply.form in corpus.forms)
        wanted = corpus.grammar.answers(edge, fact.relation, range(corpus.world.num_tails(edge, fact.relation)))
        known = [tail for tail, tokens in enumerate(wanted.tolist()) if tuple(tokens) == answer]
        assert [reply.tail] == (known or [NO_TAIL])


def test_probabilities_are_the_softmax_of_the_relation_s_objects(checkpoint):
    corpus, model = checkpoint.corpus, checkpoint.model
    fact = own_fact(corpus)
    reply = replies(model, corpus, fact)[0]
    query = corpus.grammar.query(fact)
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([query.prompt_ids])).logits[0, -1].double()
    own = corpus.grammar.answers(fact.edge, fact.relation, np.arange(corpus.world.num_tails(fact.edge)))[:, 0]
    shares = torch.softmax(logits[own.tolist()], 0)
    assert reply.probability == pytest.approx(float(shares[reply.tail]), abs=1e-6)
    assert reply.validity == pytest.approx(float(torch.softmax(logits, 0)[own.tolist()].sum()), abs=1e-6)
    order = torch.sort(shares, descending=True)
    assert [tail for tail, _ in reply.top] == order.indices[:MOST_TOP].tolist()
    assert [share for _, share in reply.top] == pytest.approx(order.values[:MOST_TOP].tolist(), abs=1e-6)


def test_tails_of_many_facts_are_those_that_predict_answers(checkpoint):
    corpus = checkpoint.corpus
    facts = [corpus.world.fact(edge, head, head % 3) for edge in Edge for head in range(0, 20, 3)]
    queries = corpus.grammar.queries(facts)
    answers = predict(
        checkpoint.model, [Probe("edited", 0, f, "statement", q, q) for f, q in zip(facts, queries, strict=True)]
    )
    found = answered_tails(checkpoint.model, corpus, facts)
    right = [answer == query.answer_ids for answer, query in zip(answers, queries, strict=True)]
    assert (found == [fact.tail for fact in facts]).tolist() == right
    assert sum(right) > len(right) / 2  # the model knows the world


def test_answer_that_is_no_object_of_the_relation_has_no_tail(checkpoint, monkeypatch):
    from behemoth_cli.playground import asking

    monkeypatch.setattr(asking, "greedy_answers", lambda model, prompts, widths: [(0,)] * len(prompts))
    facts = [own_fact(checkpoint.corpus), own_fact(checkpoint.corpus, edge=Edge.OBJECT_NESTED)]
    assert answered_tails(checkpoint.model, checkpoint.corpus, facts).tolist() == [NO_TAIL, NO_TAIL]


def test_any_prompt_goes_on_greedily(checkpoint):
    corpus, model = checkpoint.corpus, checkpoint.model
    text = corpus.grammar.query(own_fact(corpus)).prompt
    ids = [corpus.grammar.lexicon.token_ids[word] for word in text.split()]
    found = continued(model, corpus, text, width=3)
    with torch.no_grad():
        first = torch.softmax(model(input_ids=torch.tensor([ids])).logits[0, -1].double(), 0)
        for _ in range(3):
            ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    assert list(found.words) == [corpus.grammar.lexicon.vocabulary[token] for token in ids[-3:]]
    assert found.top[0][0] == found.words[0]
    assert found.top[0][1] == pytest.approx(float(first.max()), abs=1e-6)
    assert len(found.top) == MOST_TOP
