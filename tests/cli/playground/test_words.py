"""Words of both surfaces, and back from a prompt to its fact."""

import pytest

from behemoth_cli.playground.words import MOST_LETTERS, Understood, Words, forms_to_ask, typed_ids, understood
from behemoth_data import CorpusConfig, Edge, WorldConfig, build
from behemoth_data.forms import FORMS
from behemoth_data.world import Fact


@pytest.mark.parametrize("surface", ["natural", "synthetic"])
def test_every_prompt_is_understood_as_the_fact_that_it_asks_on_either_surface(natural_corpus, surface):
    words = Words(natural_corpus, surface)
    world = natural_corpus.world
    for edge in world.edges:
        for form in ("statement", "rso", "question", "new_question"):
            for head, relation in ((0, 0), (5, 1), (7, 0)):
                fact = world.fact(edge, head, relation)
                prompt = words.grammar.query(fact, form).prompt
                assert understood(words, prompt) == Understood(fact, form), prompt


def test_fact_that_is_understood_is_the_true_one_whatever_a_query_would_answer(natural_corpus):
    words = Words(natural_corpus, "natural")
    false = Fact(Edge.SUBJECT_OBJECT, 3, 1, (natural_corpus.world.fact(Edge.SUBJECT_OBJECT, 3, 1).tail + 1) % 8)
    found = understood(words, words.grammar.query(false).prompt)
    assert found is not None
    assert found.fact == natural_corpus.world.fact(Edge.SUBJECT_OBJECT, 3, 1)


@pytest.mark.parametrize("text", ["", "As for", "nobody of this world", "As for x y, the z is"])
def test_text_that_is_no_prompt_is_not_understood(natural_corpus, text):
    assert understood(Words(natural_corpus, "natural"), text) is None


def test_prompt_with_a_word_too_many_or_too_few_is_not_understood(natural_corpus):
    words = Words(natural_corpus, "natural")
    prompt = words.grammar.query(natural_corpus.world.fact(Edge.SUBJECT_OBJECT, 2, 0)).prompt
    assert understood(words, prompt + " is") is None
    assert understood(words, prompt.rsplit(" ", 1)[0]) is None


def test_model_reads_its_own_words_only(natural_corpus):
    words = Words(natural_corpus, "natural")
    prompt = words.grammar.query(natural_corpus.world.fact(Edge.SUBJECT_OBJECT, 2, 0)).prompt
    assert (
        typed_ids(natural_corpus, prompt)
        == natural_corpus.grammar.query(natural_corpus.world.fact(Edge.SUBJECT_OBJECT, 2, 0)).prompt_ids
    )
    other = Words(natural_corpus, "synthetic").grammar.query(natural_corpus.world.fact(Edge.SUBJECT_OBJECT, 2, 0))
    with pytest.raises(ValueError, match="on the natural surface, got SS, "):
        typed_ids(natural_corpus, other.prompt)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x" * (MOST_LETTERS + 1), "at most 400 letters, got 401"),
        ("", "from 1 to 64 words, got 0"),
        ("is " * 65, "from 1 to 64 words, got 65"),
    ],
)
def test_prompt_is_bounded(natural_corpus, text, message):
    with pytest.raises(ValueError, match=message):
        typed_ids(natural_corpus, text)


def test_heads_are_found_by_part_of_a_name_those_that_begin_so_first(natural_corpus):
    words = Words(natural_corpus, "natural")
    names = words.heads(Edge.SUBJECT_OBJECT, 0)
    part = names[4][:2].upper()
    found = words.found(Edge.SUBJECT_OBJECT, 0, f" {part} ")
    wanted = {id for id, name in enumerate(names) if part.lower() in name.lower()}
    assert set(found) == wanted
    first = [names[id].lower().startswith(part.lower()) for id in found]
    assert first == sorted(first, reverse=True)
    assert first[0]
    assert words.found(Edge.SUBJECT_OBJECT, 0, "", most=3) == [0, 1, 2]


def test_words_are_the_lexicon_s(natural_corpus):
    words, fact = Words(natural_corpus, "natural"), natural_corpus.world.fact(Edge.OBJECT_NESTED, 2, 1)
    query = natural_corpus.grammar.query(fact)
    assert words.head(fact) in query.prompt
    assert words.relation(fact.edge, 1) in query.prompt
    assert words.tail(fact.edge, 1, fact.tail) == query.answer
    assert words.heads(Edge.OBJECT_NESTED, 1)[2] == words.head(fact)
    assert words.tails(Edge.OBJECT_NESTED, 1)[fact.tail] == query.answer
    assert words.fact(fact) == f"{words.head(fact)} – {words.relation(fact.edge, 1)} – {query.answer}"


def test_surface_without_words_enough_is_not_possible():
    big = build(WorldConfig(num_subjects=5, num_relations=60, num_objects=2), corpus=CorpusConfig(repeats=1))
    assert Words(big, "synthetic").possible
    assert not Words(big, "natural").possible
    with pytest.raises(ValueError, match="surface must be one of synthetic, natural"):
        Words(big, "french")


def test_forms_to_ask_end_in_the_object_and_have_words_in_the_vocabulary(natural_corpus, small_corpus):
    assert forms_to_ask(natural_corpus, Edge.SUBJECT_OBJECT) == ["statement", "rso", "question", "new_question"]
    # A vocabulary from before there were questions about candidates has these words still.
    assert forms_to_ask(small_corpus, Edge.OBJECT_NESTED)[0] == small_corpus.forms[0]
    assert all(form in FORMS for form in forms_to_ask(small_corpus, Edge.OBJECT_NESTED))
