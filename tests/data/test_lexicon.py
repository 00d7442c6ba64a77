"""Facts about the words: whose they are, how long, and that they stay where they are."""

import re
from collections import Counter

import numpy as np
import pytest

from behemoth_data.lexicon import EDGE_ROLES, GRAMMAR_TOKENS, SPECIAL_TOKENS, Lexicon, LexiconConfig, Role
from behemoth_data.world import Edge, WorldConfig

SHARED = (Role.SUBJECT, Role.RELATION, Role.SUBJECT_NESTED_RELATION, Role.OBJECT_NESTED_RELATION)


def config(**fields):
    sizes = {"num_subjects": 30, "num_relations": 3, "num_objects": 12, "num_nested_objects": 4}
    return WorldConfig(**{**sizes, **fields})


def words(lexicon):
    """Every word by role, group and id."""
    world = lexicon.world
    sizes = [world.num_subjects, *[world.num_relations] * 3, world.num_objects, world.num_nested_objects]
    return {
        (role, group, id): lexicon.word(role, id, group)
        for role, size in zip(Role, sizes, strict=True)
        for group in range(1 if role in SHARED else world.num_relations)
        for id in range(size)
    }


@pytest.mark.parametrize("limit", [1000, 5])
def test_no_two_ids_of_any_role_or_relation_share_a_word(limit):
    found = words(Lexicon(config(), LexiconConfig(one_token_limit=limit)))
    assert len(found) == 30 + 3 * 3 + 3 * 12 + 3 * 4
    assert max(Counter(found.values()).values()) == 1


@pytest.mark.parametrize("limit", [1000, 5])
def test_no_token_serves_two_roles_two_relations_or_two_places_of_a_word(limit):
    lexicon = Lexicon(config(), LexiconConfig(one_token_limit=limit))
    owners = {token: {"grammar"} for token in (*SPECIAL_TOKENS, *GRAMMAR_TOKENS)}
    for (role, group, _), word in words(lexicon).items():
        for place, token in enumerate(word.split()):
            owners.setdefault(token, set()).add((role, group, place))
    assert all(len(owner) == 1 for owner in owners.values())
    assert set(owners) <= set(lexicon.vocabulary)


def test_vocabulary_of_one_token_words_is_the_specials_the_grammar_and_the_words():
    lexicon = Lexicon(config())
    assert len(lexicon.vocabulary) == len(set(lexicon.vocabulary)) == 3 + 23 + 30 + 9 + 36 + 12
    assert lexicon.vocabulary[:26] == (*SPECIAL_TOKENS, *GRAMMAR_TOKENS)
    assert {token: i for i, token in enumerate(lexicon.vocabulary)} == lexicon.token_ids


def test_special_and_grammar_tokens_are_those_of_the_protocol():
    assert SPECIAL_TOKENS == ("<|endoftext|>", "<|padding|>", "<|unknown|>")
    protocol = ". SS RR OO QQ AA W0 W1 W2 W3 W4 W5 W6 W7 W8 W9 Q1 Q2 Q3 Q4 F1 F2 F3"
    assert protocol.split() == list(GRAMMAR_TOKENS)


def test_invented_token_is_three_syllables_and_an_ending():
    syllable = "[bdfhjklmnprstvwz][aeiou]"
    for token in Lexicon(config()).vocabulary[26:]:
        assert re.fullmatch(f"({syllable}){{3}}[klmnrstv]", token), token


@pytest.mark.parametrize(("subjects", "width"), [(1000, 1), (1001, 2), (10_000, 2)])
def test_role_of_more_than_a_thousand_ids_has_words_of_two_tokens(subjects, width):
    lexicon = Lexicon(config(num_subjects=subjects))
    assert lexicon.width(Role.SUBJECT) == width
    assert lexicon.encode(Role.SUBJECT, np.arange(subjects)).shape == (subjects, width)
    assert lexicon.width(Role.OBJECT) == 1


def test_two_token_words_are_all_pairs_of_few_first_tokens_and_a_thousand_second_ones():
    lexicon = Lexicon(config(num_subjects=3000))
    tokens = lexicon.encode(Role.SUBJECT, np.arange(3000))
    assert len(set(map(tuple, tokens.tolist()))) == 3000
    assert (len(set(tokens[:, 0].tolist())), len(set(tokens[:, 1].tolist()))) == (3, 1000)
    assert len(lexicon.vocabulary) == 26 + 1003 + 9 + 36 + 12


@pytest.mark.parametrize("limit", [1000, 5])
def test_word_and_token_ids_name_each_other(limit):
    lexicon = Lexicon(config(), LexiconConfig(one_token_limit=limit))
    for (role, group, id), word in words(lexicon).items():
        tokens = lexicon.encode(role, id, group)
        assert tokens.shape == (lexicon.width(role),)
        assert [lexicon.token_ids[part] for part in word.split()] == tokens.tolist()
        assert lexicon.decode(tokens) == word


def test_many_words_are_the_single_words():
    lexicon = Lexicon(config(), LexiconConfig(one_token_limit=5))
    ids, groups = np.array([0, 11, 7]), np.array([2, 0, 1])
    rows = lexicon.encode(Role.OBJECT, ids, groups)
    singles = [lexicon.encode(Role.OBJECT, id, group) for id, group in zip(ids, groups, strict=True)]
    assert np.array_equal(rows, np.stack(singles))


@pytest.mark.parametrize("limit", [1000, 5])
@pytest.mark.parametrize(
    ("role", "id", "message"),
    [
        (Role.SUBJECT, 30, r"subject id must lie in \[0, 30\), got 30 to 30"),
        (Role.OBJECT, 12, r"object id must lie in \[0, 12\), got 12 to 12"),
        (Role.NESTED, [3, -1, 0], r"nested id must lie in \[0, 4\), got -1 to 3"),
        (Role.RELATION, 3, r"relation id must lie in \[0, 3\), got 3 to 3"),
    ],
)
def test_id_that_the_role_does_not_have_is_refused(limit, role, id, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Lexicon(config(), LexiconConfig(one_token_limit=limit)).encode(role, id)


@pytest.mark.parametrize("role", [Role.SUBJECT_NESTED_RELATION, Role.OBJECT_NESTED_RELATION, Role.NESTED])
def test_world_without_nesting_has_no_word_for_a_nested_id(role):
    with pytest.raises(ValueError, match=rf"{role.name.lower()} id must lie in \[0, 0\), got 0 to 0"):
        Lexicon(config(num_nested_objects=0)).word(role, 0)


@pytest.mark.parametrize(
    "larger",
    [
        {"num_subjects": 900},
        {"num_relations": 6},
        {"num_objects": 400},
        {"num_nested_objects": 12},
        {"correlation": 0.9},
    ],
)
def test_words_stay_when_the_world_grows(larger):
    small, large = words(Lexicon(config())), words(Lexicon(config(**larger)))
    assert {place: large[place] for place in small} == small


def test_words_of_other_roles_stay_when_one_role_needs_two_tokens():
    small, large = words(Lexicon(config())), words(Lexicon(config(num_subjects=2000)))
    assert all(large[place] == word for place, word in small.items() if place[0] is not Role.SUBJECT)


def test_two_token_words_stay_when_the_world_grows():
    small, large = (Lexicon(config(num_subjects=count)) for count in (2000, 5000))
    for id in (0, 999, 1000, 1999):
        assert small.word(Role.SUBJECT, id) == large.word(Role.SUBJECT, id)


def test_another_seed_has_other_words():
    first, again, other = (set(words(Lexicon(config(seed=seed))).values()) for seed in (0, 0, 1))
    assert first == again
    assert len(first & other) < 5  # 87 of 4,096,000 possible tokens each


def test_world_without_nesting_has_no_nested_words():
    lexicon = Lexicon(config(num_nested_objects=0))
    assert len(lexicon.vocabulary) == 26 + 30 + 3 + 36


def test_tables_say_head_relation_and_tail_in_words_of_their_own():
    assert EDGE_ROLES == {
        Edge.SUBJECT_OBJECT: (Role.SUBJECT, Role.RELATION, Role.OBJECT),
        Edge.SUBJECT_NESTED: (Role.SUBJECT, Role.SUBJECT_NESTED_RELATION, Role.NESTED),
        Edge.OBJECT_NESTED: (Role.OBJECT, Role.OBJECT_NESTED_RELATION, Role.NESTED),
    }


@pytest.mark.parametrize("limit", [1, 0, 1001])
def test_limit_outside_its_range_is_refused(limit):
    with pytest.raises(ValueError, match=f"one_token_limit must lie between 2 and 1000, got {limit}"):
        LexiconConfig(one_token_limit=limit)


@pytest.mark.parametrize(("limit", "most"), [(1000, 1_000_000), (2, 2000)])
def test_more_ids_than_words_are_refused(limit, most):
    lexicon = LexiconConfig(one_token_limit=limit)
    assert len(set(Lexicon(config(num_subjects=most), lexicon).vocabulary)) >= 1000 + limit
    with pytest.raises(ValueError, match=rf"subject ids must number at most {most} .*, got {most + 1}"):
        Lexicon(config(num_subjects=most + 1), lexicon)


def test_as_many_relations_as_fit_share_no_token_and_one_more_is_refused():
    sizes = {"num_subjects": 2, "num_objects": 2, "num_nested_objects": 2}
    largest = Lexicon(WorldConfig(num_relations=1021, **sizes))
    assert len(set(largest.vocabulary)) == len(largest.vocabulary)
    with pytest.raises(ValueError, match="num_relations must be at most 1021 .*, got 1022"):
        Lexicon(WorldConfig(num_relations=1022, **sizes))
