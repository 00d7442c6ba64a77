"""Facts about the sentences: their text is the protocol's, a prompt is where its sentence begins, fillers are chance.

The tests of chance are chi-square tests at an error rate of one in a million; their draws are fixed by a seed.
"""

import functools
import itertools
import re
from collections import Counter

import numpy as np
import pytest
import scipy.stats

from behemoth_data.forms import FORMS, ends_in_object, names_of, varied
from behemoth_data.grammar import Grammar
from behemoth_data.lexicon import CORE_TOKENS, NUM_FILLERS, Lexicon, LexiconConfig, Role, later_tokens
from behemoth_data.rng import Stream
from behemoth_data.world import Edge, Fact, WorldConfig

ROLES = {
    Edge.SUBJECT_OBJECT: (Role.SUBJECT, Role.RELATION, Role.OBJECT),
    Edge.SUBJECT_NESTED: (Role.SUBJECT, Role.SUBJECT_NESTED_RELATION, Role.NESTED),
    Edge.OBJECT_NESTED: (Role.OBJECT, Role.OBJECT_NESTED_RELATION, Role.NESTED),
}
FACTS = [
    Fact(Edge.SUBJECT_OBJECT, 17, 2, 11),
    Fact(Edge.SUBJECT_NESTED, 0, 1, 3),
    Fact(Edge.OBJECT_NESTED, 11, 2, 0),
]
OBJECT_LAST = ("statement", "rso", "question", "new_question", "repeats", "nonsense", "nonsense_rso")
REFUSALS = {"refusal": "statement", "question_refusal": "question"}
WITHOUT_PROMPT = ("sor", "osr")
ALL_FORMS = (*OBJECT_LAST, *REFUSALS, *WITHOUT_PROMPT)
VARIED = ("repeats", "nonsense", "nonsense_rso")
END, END_OF_REPEATS = {"synthetic": " .", "natural": "."}, {"synthetic": " W5 .", "natural": " yet."}
REFUSAL = {"synthetic": "OO OO", "natural": "not known"}
NUM_DRAWN = 4000  # sentences that the tests of chance look at
ERROR_RATE = 1e-6

# Two facts of the world with the default settings.
GOLDEN = {
    ("synthetic", "statement"): [
        "SS fibahem jawofok W0 W1 RR hilupim W2 OO zetodok .",
        "SS fibahem zuzubam W0 W1 RR konipen W2 OO pavedon .",
    ],
    ("synthetic", "nonsense"): [
        "SS fibahem jawofok sarekus jovopem fatavos RR hilupim melihol jatiban tubinov OO zetodok .",
        "SS fibahem zuzubam tesalet tiwufok mefebun RR konipen pupanon dulukum fabobes OO pavedon .",
    ],
    ("natural", "statement"): [
        "As for Lance Hinton, the employer is StrongAndSons.",
        "As for Gregg Fox, the profession is CorporateInvestmentBanker.",
    ],
    ("natural", "nonsense"): [
        "Lance Hinton court represent remain employer daughter place feel StrongAndSons.",
        "Gregg Fox away science pay profession data they might CorporateInvestmentBanker.",
    ],
}

every_form = pytest.mark.parametrize("form", ALL_FORMS)
every_varied_form = pytest.mark.parametrize("form", VARIED)
every_table = pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.edge.label)


def protocol(surface, form, s, r, o, fillers=()):
    """The text of a sentence; repeats and nonsense have the middle number of fillers."""
    first, second = " ".join(fillers[:3]), " ".join(fillers[3:])
    texts = {
        "synthetic": {
            "statement": f"SS {s} W0 W1 RR {r} W2 OO {o} .",
            "sor": f"SS {s} W0 OO {o} W3 W4 RR {r} .",
            "osr": f"OO {o} W5 SS {s} W8 RR {r} .",
            "rso": f"W9 RR {r} W7 SS {s} W5 OO {o} .",
            "question": f"QQ Q1 RR {r} Q2 SS {s} Q3 Q4 AA OO {o} .",
            "new_question": f"QQ F1 RR {r} F2 SS {s} F3 AA OO {o} .",
            "refusal": f"SS {s} W0 W1 RR {r} W2 OO OO OO .",
            "question_refusal": f"QQ Q1 RR {r} Q2 SS {s} Q3 Q4 AA OO OO OO .",
            "repeats": f"W0 W0 SS {s} W1 W2 W2 RR {r} W3 W4 W4 OO {o} W5 .",
            "nonsense": f"SS {s} {first} RR {r} {second} OO {o} .",
            "nonsense_rso": f"RR {r} {first} SS {s} {second} OO {o} .",
        },
        "natural": {
            "statement": f"As for {s}, the {r} is {o}.",
            "sor": f"{s} has {o} as the {r}.",
            "osr": f"{o} is for {s} the {r}.",
            "rso": f"The {r} of {s} is {o}.",
            "question": f"Question: What is the {r} of {s}? Answer: {o}.",
            "new_question": f"Q: Which {r} does {s} have? A: {o}.",
            "refusal": f"As for {s}, the {r} is not known.",
            "question_refusal": f"Question: What is the {r} of {s}? Answer: not known.",
            "repeats": f"well well for {s} so then then the {r} now still still is {o} yet.",
            "nonsense": f"{s} {first} {r} {second} {o}.",
            "nonsense_rso": f"{r} {first} {s} {second} {o}.",
        },
    }
    return texts[surface][form]


def pattern(surface, form, s, r, o):
    """What the text of a sentence with any allowed number of fillers matches; one group per gap."""
    gap = r"((?:\w+ ){1,5})"
    patterns = {
        "synthetic": {
            "repeats": (
                rf"((?:W0 ){{1,3}})SS {s} ((?:W1 ){{0,3}})((?:W2 ){{1,3}})RR {r} "
                rf"((?:W3 ){{0,3}})((?:W4 ){{1,3}})OO {o} ((?:W5 ){{0,3}})\. <\|endoftext\|>"
            ),
            "nonsense": rf"SS {s} {gap}RR {r} {gap}OO {o} \. <\|endoftext\|>",
            "nonsense_rso": rf"RR {r} {gap}SS {s} {gap}OO {o} \. <\|endoftext\|>",
        },
        "natural": {
            "repeats": (
                rf"((?:well ){{1,3}})for {s} ((?:so ){{0,3}})((?:then ){{1,3}})the {r} "
                rf"((?:now ){{0,3}})((?:still ){{1,3}})is {o}((?: yet){{0,3}})\. <\|endoftext\|>"
            ),
            "nonsense": rf"{s} {gap}{r} {gap}{o}\. <\|endoftext\|>",
            "nonsense_rso": rf"{r} {gap}{s} {gap}{o}\. <\|endoftext\|>",
        },
    }
    return patterns[surface][form]


def bounds(form):
    """The least and the greatest number of fillers in each gap, and the number that `tokens` says."""
    return [(1, 3, 2), (0, 3, 1)] * 3 if form == "repeats" else [(1, 5, 3)] * 2


def split(text):
    """The tokens of a text of either surface."""
    return re.findall(r"<\|\w+\|>|\w+|[.,:?]", text)


@pytest.fixture(scope="module", params=["one_token_words", "two_token_words", "natural"])
def grammar(request):
    world = WorldConfig(num_subjects=30, num_relations=3, num_objects=12, num_nested_objects=4)
    surface = "natural" if request.param == "natural" else "synthetic"
    limit = 2 if request.param == "two_token_words" else 1000
    return Grammar(Lexicon(world, LexiconConfig(surface=surface, one_token_limit=limit), num_fillers=NUM_FILLERS))


@pytest.fixture
def surface(grammar):
    return grammar.lexicon.config.surface


@pytest.fixture(scope="module")
def fillers(grammar):
    """The words that only a lexicon with fillers has."""
    return set(grammar.lexicon.vocabulary) - set(Lexicon(grammar.lexicon.world, grammar.lexicon.config).vocabulary)


def words(grammar, fact):
    """Head and tail words depend on the relation where heads and tails have words of their own in each."""
    head, relation, tail = ROLES[fact.edge]
    lexicon = grammar.lexicon
    return (
        lexicon.word(head, fact.head, fact.relation if head is Role.OBJECT else 0),
        lexicon.word(relation, fact.relation),
        lexicon.word(tail, fact.tail, fact.relation),
    )


def sentence(grammar, fact, form):
    return grammar.tokens(fact.edge, form, fact.head, fact.relation, fact.tail)


def expected_text(grammar, fact, form, fillers):
    """What the protocol says; of the random fillers only the number and the kind are known beforehand."""
    said = [word for word in split(grammar.text(sentence(grammar, fact, form)).to_pylist()[0]) if word in fillers]
    assert len(said) == (6 if form.startswith("nonsense") else 0)
    return protocol(grammar.lexicon.config.surface, form, *words(grammar, fact), said)


def drawn(grammar, form, count=NUM_DRAWN, seed=5):
    """The token ids of many sentences about one fact, which differ in their fillers."""
    ids = (np.full(count, value) for value in (17, 2, 11))
    return grammar.varied_tokens(Edge.SUBJECT_OBJECT, form, *ids, Stream(seed, "fillers"), np.arange(count))


@functools.cache
def gaps(grammar, form):
    """The fillers of each gap of many sentences about one fact, as lists of words [n][gap]."""
    matcher = re.compile(pattern(grammar.lexicon.config.surface, form, *words(grammar, FACTS[0])))
    matches = [matcher.fullmatch(text) for text in grammar.text(drawn(grammar, form)).to_pylist()]
    assert all(matches)
    return [[group.split() for group in match.groups()] for match in matches]


def probability(counts):
    """How probable it is that equally likely values occur in numbers as unequal as these."""
    return scipy.stats.chisquare(counts).pvalue


def probability_of_independence(first, second):
    """How probable it is that independent values go together as much as these do, where neither is -1."""
    both = (first >= 0) & (second >= 0)
    table = scipy.stats.contingency.crosstab(first[both], second[both]).count
    return scipy.stats.chi2_contingency(table).pvalue


def test_forms_are_the_protocols():
    one_step = {name: form for name, form in FORMS.items() if form.use != "transfer" and form.truth is None}
    assert sorted(one_step) == sorted(ALL_FORMS)
    assert {tuple(form.templates) for form in one_step.values()} == {("synthetic", "natural")}
    assert {form.edges for form in one_step.values()} == {tuple(Edge)}


@pytest.mark.parametrize(("surface", "form"), GOLDEN)
def test_sentences_read_like_this(surface, form):
    grammar = Grammar(Lexicon(WorldConfig(), LexiconConfig(surface=surface), num_fillers=NUM_FILLERS))
    texts = grammar.text(grammar.tokens(Edge.SUBJECT_OBJECT, form, [0, 1], [0, 3], [0, 99])).to_pylist()
    assert texts == [f"{text} <|endoftext|>" for text in GOLDEN[surface, form]], (
        "other sentences for the same seed: bump VERSION and the changelog, or find what changed"
    )


@every_form
@every_table
def test_sentence_is_the_protocols_template_and_the_end_of_text(grammar, fillers, fact, form):
    tokens = sentence(grammar, fact, form)
    expected = expected_text(grammar, fact, form, fillers) + " <|endoftext|>"
    assert grammar.text(tokens).to_pylist() == [expected]
    assert tokens[0].tolist() == [grammar.lexicon.token_ids[token] for token in split(expected)]
    assert grammar.length(fact.edge, form) == len(split(expected))
    assert tokens[0, -1] == grammar.end_id == grammar.lexicon.token_ids["<|endoftext|>"]


@every_form
@every_table
def test_text_splits_into_the_tokens_that_it_was_joined_from(grammar, fact, form):
    tokens = sentence(grammar, fact, form)
    for part in (tokens, tokens[:, :-1], tokens[:, :5], tokens[:, :0]):
        (text,) = grammar.text(part).to_pylist()
        assert grammar.split(text) == split(text) == [grammar.lexicon.vocabulary[token] for token in part[0]]


@pytest.mark.parametrize("form", [*OBJECT_LAST, *REFUSALS])
@every_table
def test_prompt_and_answer_cut_the_sentence_where_its_answer_begins(grammar, surface, fillers, fact, form):
    query = grammar.query(fact, form)
    tokens = sentence(grammar, fact, form)[0].tolist()
    assert query.answer == (REFUSAL[surface] if form in REFUSALS else words(grammar, fact)[2])
    end = END_OF_REPEATS[surface] if form == "repeats" else END[surface]
    assert f"{query.prompt} {query.answer}{end}" == expected_text(grammar, fact, form, fillers)
    assert [*query.prompt_ids, *query.answer_ids] == tokens[: len(query.prompt_ids) + len(query.answer_ids)]
    assert query.prompt_ids == tuple(grammar.lexicon.token_ids[token] for token in split(query.prompt))
    assert query.answer_ids == tuple(grammar.lexicon.token_ids[token] for token in split(query.answer))
    place = grammar.answer_place(fact.edge, form)
    assert place == slice(len(query.prompt_ids), len(query.prompt_ids) + len(query.answer_ids))
    assert grammar.text(np.array([query.prompt_ids])).to_pylist() == [query.prompt]


@pytest.mark.parametrize(("refusal", "asked"), REFUSALS.items())
@pytest.mark.parametrize("tail", [None, 0, 3])
@every_table
def test_refusal_has_the_prompt_of_its_form_and_one_answer_whatever_the_tail(
    grammar, surface, fact, refusal, asked, tail
):
    query, truth = grammar.query(fact, refusal, tail), grammar.query(fact, asked)
    assert (query.prompt, query.prompt_ids) == (truth.prompt, truth.prompt_ids)
    assert query.answer == REFUSAL[surface]
    assert query.answer_ids == tuple(grammar.lexicon.token_ids[token] for token in REFUSAL[surface].split())


@pytest.mark.parametrize("form", OBJECT_LAST)
def test_query_with_another_tail_has_the_same_prompt_and_the_other_answer(grammar, form):
    own, other = grammar.query(FACTS[0], form), grammar.query(FACTS[0], form, tail=4)
    assert (own.prompt, own.prompt_ids) == (other.prompt, other.prompt_ids)
    assert other.answer == grammar.lexicon.word(Role.OBJECT, 4, 2) != own.answer


@every_table
def test_answers_of_a_relation_are_the_tails_words(grammar, fact):
    tails = [3, 0, 1, 3]
    found = grammar.answers(fact.edge, fact.relation, tails)
    said = [grammar.lexicon.decode(row) for row in found]
    assert said == [grammar.lexicon.word(ROLES[fact.edge][2], tail, fact.relation) for tail in tails]
    assert [grammar.query(fact, "statement", tail).answer_ids for tail in tails] == [
        tuple(row) for row in found.tolist()
    ]


@pytest.mark.parametrize("form", ["rso", "nonsense", "refusal"])
def test_queries_of_mixed_tables_keep_their_order(grammar, form):
    facts = [FACTS[1], FACTS[0], FACTS[2], FACTS[1]]
    assert grammar.queries(facts, form) == [grammar.query(fact, form) for fact in facts]
    tails = [0, 5, 1, 2]
    expected = [grammar.query(fact, form, tail) for fact, tail in zip(facts, tails, strict=True)]
    assert grammar.queries(facts, form, tails) == expected
    assert grammar.queries([], form) == []


@every_form
def test_form_ends_in_its_object_exactly_if_a_prompt_asks_for_it(form):
    assert ends_in_object(form) == (form in OBJECT_LAST)


@every_form
def test_only_forms_with_fillers_vary(form):
    assert varied(form) == (form in VARIED)


@pytest.mark.parametrize("form", WITHOUT_PROMPT)
def test_form_that_ends_in_something_else_has_no_prompt(grammar, form):
    message = f"form must end in the object for a prompt to exist, got {form!r}"
    with pytest.raises(ValueError, match=re.escape(message)):
        grammar.answer_place(Edge.SUBJECT_OBJECT, form)
    with pytest.raises(ValueError, match=re.escape(message)):
        grammar.query(FACTS[0], form)


def test_unknown_form_lists_the_known_ones(grammar):
    message = f"form must be one of {', '.join(FORMS)}, got 'poem'"
    for ask in (
        lambda: ends_in_object("poem"),
        lambda: varied("poem"),
        lambda: sentence(grammar, FACTS[0], "poem"),
        lambda: drawn(grammar, "poem", count=1),
        lambda: grammar.query(FACTS[0], "poem"),
        lambda: grammar.length(Edge.SUBJECT_OBJECT, "poem"),
    ):
        with pytest.raises(ValueError, match=f"^{message}"):
            ask()


@every_form
def test_many_sentences_are_the_single_ones(grammar, fillers, form):
    facts = [Fact(Edge.SUBJECT_OBJECT, head, head % 3, head % 12) for head in range(30)]
    heads, relations, tails = np.array([(f.head, f.relation, f.tail) for f in facts]).T
    block = grammar.tokens(Edge.SUBJECT_OBJECT, form, heads, relations, tails)
    assert np.array_equal(block, np.concatenate([sentence(grammar, fact, form) for fact in facts]))
    expected = [expected_text(grammar, fact, form, fillers) + " <|endoftext|>" for fact in facts]
    assert grammar.text(block).to_pylist() == expected


@every_table
def test_words_of_a_table_are_those_of_its_roles(grammar, fact):
    columns = grammar.words(fact.edge, *(np.array([value]) for value in (fact.head, fact.relation, fact.tail)))
    assert tuple(column.to_pylist() for column in columns) == tuple([w] for w in words(grammar, fact))


@every_form
def test_no_sentences_are_an_empty_block(grammar, form):
    block = grammar.tokens(Edge.SUBJECT_OBJECT, form, [], [], [])
    assert block.shape == (0, grammar.length(Edge.SUBJECT_OBJECT, form))
    assert grammar.text(block).to_pylist() == []
    longest = drawn(grammar, form, count=0)
    assert longest.shape == (0, grammar.max_length(Edge.SUBJECT_OBJECT, form))
    assert grammar.text(longest).to_pylist() == []


@every_form
@every_table
def test_subject_ends_at_the_last_token_of_its_word(grammar, fillers, fact, form):
    parts, word = split(expected_text(grammar, fact, form, fillers)), words(grammar, fact)[0].split()
    (start,) = [place for place in range(len(parts)) if parts[place : place + len(word)] == word]
    assert grammar.subject_place(fact.edge, form) == slice(start, start + len(word))
    if ends_in_object(form):
        assert grammar.query(fact, form).subject_end == start + len(word) - 1


def test_text_of_ids_in_the_types_of_a_corpus_leaves_out_padding(grammar):
    tokens = sentence(grammar, FACTS[0], "statement")
    padding = grammar.lexicon.token_ids["<|padding|>"]
    rows = np.concatenate([np.pad(tokens, ((0, 0), (0, 2)), constant_values=padding), np.full((1, tokens.size + 2), 1)])
    assert padding == 1
    expected = [protocol(grammar.lexicon.config.surface, "statement", *words(grammar, FACTS[0])) + " <|endoftext|>"]
    assert grammar.text(rows.astype(np.uint16)).to_pylist() == [*expected, ""]
    assert grammar.text(tokens.astype(np.uint32)).to_pylist() == expected


@pytest.mark.parametrize("form", [form for form in ALL_FORMS if form not in VARIED])
@every_table
def test_form_without_fillers_varies_in_nothing(grammar, fact, form):
    ids = (np.full(5, value) for value in (fact.head, fact.relation, fact.tail))
    rows = grammar.varied_tokens(fact.edge, form, *ids, Stream(5, "fillers"), np.arange(5))
    assert np.array_equal(rows, np.repeat(sentence(grammar, fact, form), 5, axis=0))
    assert grammar.max_length(fact.edge, form) == grammar.length(fact.edge, form)


@every_varied_form
@every_table
def test_longest_sentence_has_the_most_fillers_in_every_gap(grammar, fact, form):
    extra = sum(high - middle for _, high, middle in bounds(form))
    assert extra == (9 if form == "repeats" else 4)
    assert grammar.max_length(fact.edge, form) == grammar.length(fact.edge, form) + extra


@every_varied_form
@every_table
def test_drawn_sentence_is_the_template_with_fillers_padded_on_the_right(grammar, surface, fillers, fact, form):
    ids = (np.full(100, value) for value in (fact.head, fact.relation, fact.tail))
    rows = grammar.varied_tokens(fact.edge, form, *ids, Stream(5, "fillers"), np.arange(100))
    assert rows.shape == (100, grammar.max_length(fact.edge, form))
    texts = grammar.text(rows).to_pylist()
    for row, text in zip(rows.tolist(), texts, strict=True):
        said = re.fullmatch(pattern(surface, form, *words(grammar, fact)), text).groups()
        assert form == "repeats" or fillers.issuperset(" ".join(said).split())
        ids = [grammar.lexicon.token_ids[token] for token in split(text)]
        assert row == ids + [grammar.lexicon.token_ids["<|padding|>"]] * (len(row) - len(ids))


@every_varied_form
def test_every_number_of_fillers_occurs_equally_often_in_every_gap(grammar, form):
    found = gaps(grammar, form)
    for gap, (low, high, _) in enumerate(bounds(form)):
        counts = Counter(len(said[gap]) for said in found)
        assert sorted(counts) == list(range(low, high + 1))
        assert probability(list(counts.values())) > ERROR_RATE


@every_varied_form
def test_numbers_of_fillers_do_not_depend_on_each_other_or_on_the_sentence_before(grammar, form):
    counts = np.array([[len(gap) for gap in said] for said in gaps(grammar, form)])
    for first, second in itertools.combinations(counts.T, 2):
        assert probability_of_independence(first, second) > ERROR_RATE
    for first, second in itertools.product(counts.T, repeat=2):
        assert probability_of_independence(first[:-1], second[1:]) > ERROR_RATE


@pytest.mark.parametrize("form", ["nonsense", "nonsense_rso"])
def test_every_random_filler_occurs_equally_often(grammar, fillers, form):
    found = Counter(word for said in gaps(grammar, form) for gap in said for word in gap)
    assert set(found) == fillers
    assert len(fillers) == (944 if grammar.lexicon.config.surface == "natural" else 1000)
    assert probability(list(found.values())) > ERROR_RATE


@pytest.mark.parametrize("form", ["nonsense", "nonsense_rso"])
def test_random_fillers_do_not_depend_on_each_other_their_number_or_the_sentence_before(grammar, fillers, form):
    bins = {
        word: place * 8 // len(fillers) for place, word in enumerate(sorted(fillers, key=grammar.lexicon.token_ids.get))
    }
    values = np.array(
        [
            [
                *(bins[said[gap][place]] if place < len(said[gap]) else -1 for gap in range(2) for place in range(5)),
                *map(len, said),
            ]
            for said in gaps(grammar, form)
        ]
    )  # ten fillers, -1 for those not said, and their numbers in both gaps
    for first, second in itertools.combinations(range(12), 2):
        assert probability_of_independence(values[:, first], values[:, second]) > ERROR_RATE
    for first, second in itertools.product(range(10), repeat=2):
        assert probability_of_independence(values[:-1, first], values[1:, second]) > ERROR_RATE


@every_varied_form
def test_same_counters_give_the_same_sentences_in_any_order_and_any_parts(grammar, form):
    counters = Stream(0, "test").integers(np.arange(20), 2**32)
    heads, relations, tails = counters % 30, counters % 3, counters % 12

    def say(rows):
        ids = (heads[rows], relations[rows], tails[rows])
        return grammar.varied_tokens(Edge.SUBJECT_OBJECT, form, *ids, Stream(5, "fillers"), counters[rows])

    whole, order = say(np.arange(20)), Stream(1, "test").choice(20, 20)
    assert np.array_equal(say(order), whole[order])
    assert np.array_equal(np.concatenate([say(np.array([row])) for row in range(20)]), whole)
    assert np.array_equal(say(np.array([7, 7])), whole[[7, 7]])
    assert len({tuple(row) for row in whole.tolist()}) == 20


@every_varied_form
def test_fillers_depend_on_draws_and_counter_and_not_on_the_fact(grammar, form):
    first = gaps(grammar, form)
    other = np.full(NUM_DRAWN, 3), np.full(NUM_DRAWN, 1), np.full(NUM_DRAWN, 2)
    rows = grammar.varied_tokens(Edge.SUBJECT_NESTED, form, *other, Stream(5, "fillers"), np.arange(NUM_DRAWN))
    matcher = re.compile(
        pattern(grammar.lexicon.config.surface, form, *words(grammar, Fact(Edge.SUBJECT_NESTED, 3, 1, 2)))
    )
    again = [[group.split() for group in matcher.fullmatch(text).groups()] for text in grammar.text(rows).to_pylist()]
    assert again == first
    mine, others = drawn(grammar, form, 1000), drawn(grammar, form, 1000, seed=6)
    # With six numbers of fillers alone, two sentences are equal with probability 1 / (3 x 4)^3.
    assert (mine == others).all(axis=1).sum() < 10


@pytest.mark.parametrize("surface", ["synthetic", "natural"])
@pytest.mark.parametrize("form", ["nonsense", "nonsense_rso"])
def test_fillers_of_a_facts_own_sentence_are_uniform_and_differ_from_fact_to_fact(surface, form):
    world = WorldConfig(num_subjects=1000, num_relations=3, num_objects=1000, num_nested_objects=20)
    grammar = Grammar(Lexicon(world, LexiconConfig(surface=surface), num_fillers=NUM_FILLERS))
    first = int(grammar.lexicon.filler_ids(np.int64(0)))
    relations, heads = (part.ravel() for part in np.indices((3, 1000)))
    rows = [grammar.tokens(edge, form, heads, relations, heads % 20) for edge in Edge]
    numbers = np.concatenate([row[row >= first].reshape(3000, 6) - first for row in rows])
    assert probability(np.bincount(numbers.ravel(), minlength=grammar.lexicon.num_fillers)) > ERROR_RATE
    assert len(np.unique(numbers, axis=0)) == 9000
    for one, two in itertools.combinations((numbers // 100).T, 2):
        assert probability_of_independence(one, two) > ERROR_RATE


@pytest.mark.parametrize("form", ["nonsense", "nonsense_rso"])
def test_fillers_of_a_facts_own_sentence_stay_when_the_world_grows_and_change_with_its_seed(form):
    def said(**fields):
        sizes = {"num_subjects": 30, "num_relations": 3, "num_objects": 12, "num_nested_objects": 4}
        grammar = Grammar(Lexicon(WorldConfig(**{**sizes, **fields}), num_fillers=NUM_FILLERS))
        first = int(grammar.lexicon.filler_ids(np.int64(0)))
        return [[id - first for id in grammar.query(fact, form).prompt_ids if id >= first] for fact in FACTS]

    first, other = said(), said(seed=1)
    assert first == said(num_subjects=900, num_relations=5, num_objects=400, num_nested_objects=40)
    assert [len(numbers) for numbers in first] == [6, 6, 6]
    assert not any(mine == others for mine, others in zip(first, other, strict=True))


@every_varied_form
def test_sentences_about_one_fact_with_other_tails_are_equal_up_to_the_answer(grammar, form):
    draws, counters = Stream(5, "fillers"), np.arange(200)
    head, relation = np.full(200, 17), np.full(200, 2)
    one, two = (
        grammar.varied_tokens(Edge.SUBJECT_OBJECT, form, head, relation, np.full(200, tail), draws, counters)
        for tail in (11, 4)
    )
    for row, other in zip(one.tolist(), two.tolist(), strict=True):
        places = [place for place, (mine, others) in enumerate(zip(row, other, strict=True)) if mine != others]
        tail, another = (grammar.lexicon.encode(Role.OBJECT, id, 2).tolist() for id in (11, 4))
        start = places[0] if tail[0] != another[0] else places[0] - 1
        assert row[start : start + len(tail)] == tail
        assert other[start : start + len(tail)] == another
        assert len(places) == sum(a != b for a, b in zip(tail, another, strict=True))


@pytest.mark.parametrize(("surface", "unused"), [("synthetic", ["W6"]), ("natural", [])])
def test_forms_use_all_grammar_tokens_of_their_surface_and_no_others(surface, unused):
    used = {token for form in ALL_FORMS for token in split(protocol(surface, form, "", "", ""))}
    used |= {word for name in names_of("transfer") for word in FORMS[name].template(surface).words}
    # No template of the protocol has W6.
    assert sorted([*used, *unused]) == sorted([*CORE_TOKENS[surface], *later_tokens(surface)])
