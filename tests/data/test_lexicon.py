"""Facts about the words: whose they are, how long, and that they stay where they are."""

import re
from collections import Counter

import numpy as np
import pytest

from behemoth_data import names
from behemoth_data.lexicon import (
    CORE_TOKENS,
    EDGE_ROLES,
    NUM_FILLERS,
    SPECIAL_TOKENS,
    Lexicon,
    LexiconConfig,
    Role,
    later_tokens,
)
from behemoth_data.settings import digest
from behemoth_data.world import Edge, WorldConfig

SPECIAL = ["<|endoftext|>", "<|padding|>", "<|unknown|>"]
PROTOCOL = {
    surface: tokens.split()
    for surface, tokens in {
        "synthetic": ". SS RR OO QQ AA W0 W1 W2 W3 W4 W5 W6 W7 W8 W9 Q1 Q2 Q3 Q4",
        "natural": ". , : ? As The What Question Answer as for the is has of well so then now still yet",
    }.items()
}
# Words of forms that no corpus is taught: they come after everything else.
LATER = {surface: later_tokens(surface) for surface in PROTOCOL}
FIRST_LATER = {"synthetic": ["F1", "F2", "F3"], "natural": ["Q", "Which", "does", "have", "A", "not", "known"]}
NUM_LATER, NUM_NATURAL_LATER = len(LATER["synthetic"]), len(LATER["natural"])
NOUNS = {
    Role.RELATION: "employer hometown phone profession insurer birthplace laptop ambition",
    Role.SUBJECT_NESTED_RELATION: "workplace homeland brand uniform jurisdiction origin supplier ribbon",
    Role.OBJECT_NESTED_RELATION: "headquarters country maker badge domicile nation manufacturer emblem",
}
NATURAL = LexiconConfig(surface="natural")
STRUCTURES = {
    "independent": {"num_nested_objects": 0},
    "correlated": {"num_nested_objects": 0, "correlation": 0.9},
    "nested": {},
    "correlated_nested": {"correlation": 0.9},
}
SHARED = (Role.SUBJECT, Role.RELATION, Role.SUBJECT_NESTED_RELATION, Role.OBJECT_NESTED_RELATION)


def config(**fields):
    sizes = {"num_subjects": 30, "num_relations": 3, "num_objects": 12, "num_nested_objects": 4}
    return WorldConfig(**{**sizes, **fields})


def words(lexicon):
    """Every word by role, group and id."""
    world = lexicon.world
    nested_relations = world.num_relations if world.num_nested_objects else 0
    relations = [world.num_relations, nested_relations, nested_relations]
    sizes = [world.num_subjects, *relations, world.num_objects, world.num_nested_objects]
    return {
        (role, group, id): lexicon.word(role, id, group)
        for role, size in zip(Role, sizes, strict=True)
        for group in range(1 if role in SHARED else world.num_relations)
        for id in range(size)
    }


every_lexicon = pytest.mark.parametrize(
    "lexicon",
    [LexiconConfig(), LexiconConfig(one_token_limit=2), NATURAL],
    ids=["one_token_words", "two_token_words", "natural"],
)
every_structure = pytest.mark.parametrize("structure", STRUCTURES)


@every_lexicon
@every_structure
def test_no_two_ids_of_any_role_or_relation_share_a_word(structure, lexicon):
    found = words(Lexicon(config(**STRUCTURES[structure]), lexicon))
    assert len(found) == 30 + 3 + 3 * 12 + (3 + 3 + 3 * 4) * ("nested" in structure)
    assert max(Counter(found.values()).values()) == 1


@pytest.mark.parametrize("num_fillers", [0, NUM_FILLERS])
@every_lexicon
@every_structure
def test_no_token_serves_two_roles_two_relations_or_two_places_of_a_word(structure, lexicon, num_fillers):
    made = Lexicon(config(**STRUCTURES[structure]), lexicon, num_fillers=num_fillers)
    owners = {token: ["special"] for token in SPECIAL}
    for token in PROTOCOL[lexicon.surface] + LATER[lexicon.surface]:
        owners.setdefault(token, []).append("grammar")
    for token in made.filler_ids(np.arange(made.num_fillers)).tolist():
        owners.setdefault(made.vocabulary[token], []).append("fillers")
    found = {
        (role, group, place, token)
        for (role, group, _), word in words(made).items()
        for place, token in enumerate(word.split())
    }
    for *owner, token in found:
        owners.setdefault(token, []).append(owner)
    assert {token: owner for token, owner in owners.items() if len(owner) != 1} == {}
    assert set(owners) <= set(made.vocabulary)


@pytest.mark.parametrize("num_fillers", [0, NUM_FILLERS])
@every_lexicon
@every_structure
def test_every_token_of_the_vocabulary_has_one_id(structure, lexicon, num_fillers):
    made = Lexicon(config(**STRUCTURES[structure]), lexicon, num_fillers=num_fillers)
    assert len(set(made.vocabulary)) == len(made.vocabulary)
    assert made.token_ids == {token: i for i, token in enumerate(made.vocabulary)}


def test_vocabulary_of_one_token_words_is_the_specials_the_core_the_words_and_what_no_corpus_is_taught():
    lexicon = Lexicon(config())
    assert len(lexicon.vocabulary) == len(set(lexicon.vocabulary)) == 3 + 20 + 30 + 9 + 36 + 12 + NUM_LATER
    assert lexicon.vocabulary[:23] == (*SPECIAL, *PROTOCOL["synthetic"])
    assert list(lexicon.vocabulary[-NUM_LATER:]) == LATER["synthetic"]


def test_special_and_grammar_tokens_are_those_of_the_protocol():
    assert list(SPECIAL_TOKENS) == SPECIAL
    assert {surface: list(tokens) for surface, tokens in CORE_TOKENS.items()} == PROTOCOL
    assert {surface: LATER[surface][: len(tokens)] for surface, tokens in FIRST_LATER.items()} == FIRST_LATER


def test_invented_token_is_three_syllables_and_an_ending():
    syllable = "[bdfhjklmnprstvwz][aeiou]"
    for token in Lexicon(config(), num_fillers=NUM_FILLERS).vocabulary[23:-NUM_LATER]:
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
    assert len(lexicon.vocabulary) == 23 + NUM_LATER + 1003 + 9 + 36 + 12


@every_lexicon
def test_word_and_token_ids_name_each_other(lexicon):
    lexicon = Lexicon(config(), lexicon)
    for (role, group, id), word in words(lexicon).items():
        tokens = lexicon.encode(role, id, group)
        assert tokens.shape == (lexicon.width(role),)
        assert [lexicon.token_ids[part] for part in word.split()] == tokens.tolist()
        assert lexicon.decode(tokens) == word


@every_lexicon
def test_many_words_are_the_single_words(lexicon):
    lexicon = Lexicon(config(), lexicon)
    ids, groups = np.array([0, 11, 7]), np.array([2, 0, 1])
    rows = lexicon.encode(Role.OBJECT, ids, groups)
    singles = [lexicon.encode(Role.OBJECT, id, group) for id, group in zip(ids, groups, strict=True)]
    assert np.array_equal(rows, np.stack(singles))
    people = lexicon.encode(Role.SUBJECT, np.array([[29, 0], [4, 4]]))
    assert people.shape == (2, 2, lexicon.width(Role.SUBJECT))
    assert people[0, 0].tolist() == lexicon.encode(Role.SUBJECT, 29).tolist()


@pytest.mark.parametrize(
    ("role", "in_words_of_two_tokens"),
    [
        (Role.SUBJECT, 6 + 5),
        (Role.RELATION, 3),
        (Role.SUBJECT_NESTED_RELATION, 3),
        (Role.OBJECT_NESTED_RELATION, 3),
        (Role.OBJECT, 3 * (3 + 5)),
        (Role.NESTED, 3 * 4),
    ],
)
def test_words_of_two_tokens_need_few_tokens(role, in_words_of_two_tokens):
    tokens = {
        token
        for (owner, *_), word in words(Lexicon(config(), LexiconConfig(one_token_limit=5))).items()
        if owner is role
        for token in word.split()
    }
    assert len(tokens) == in_words_of_two_tokens


@every_lexicon
@pytest.mark.parametrize(
    ("role", "id", "message"),
    [
        (Role.SUBJECT, 30, r"subject id must lie in \[0, 30\), got 30 to 30"),
        (Role.OBJECT, 12, r"object id must lie in \[0, 12\), got 12 to 12"),
        (Role.NESTED, [3, -1, 0], r"nested id must lie in \[0, 4\), got -1 to 3"),
        (Role.RELATION, 3, r"relation id must lie in \[0, 3\), got 3 to 3"),
    ],
)
def test_id_that_the_role_does_not_have_is_refused(lexicon, role, id, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Lexicon(config(), lexicon).encode(role, id)


@every_lexicon
@pytest.mark.parametrize("role", [Role.OBJECT, Role.NESTED])
@pytest.mark.parametrize(("relations", "found"), [(3, "3 to 3"), (-1, "-1 to -1"), ([2, 3, 0], "0 to 3")])
def test_relation_that_the_world_does_not_have_is_refused(lexicon, role, relations, found):
    with pytest.raises(ValueError, match=rf"^relation must lie in \[0, 3\), got {found}$"):
        Lexicon(config(), lexicon).encode(role, 0, relations)


@every_lexicon
@pytest.mark.parametrize("role", SHARED)
def test_words_that_all_relations_share_need_no_relation(lexicon, role):
    lexicon = Lexicon(config(), lexicon)
    assert lexicon.word(role, 2, 99) == lexicon.word(role, 2)


@every_lexicon
@pytest.mark.parametrize("role", Role)
def test_no_ids_have_no_words(lexicon, role):
    lexicon = Lexicon(config(), lexicon)
    assert lexicon.encode(role, []).shape == (0, lexicon.width(role))


@pytest.mark.parametrize("role", [Role.SUBJECT_NESTED_RELATION, Role.OBJECT_NESTED_RELATION, Role.NESTED])
def test_world_without_nesting_has_no_word_for_a_nested_id(role):
    with pytest.raises(ValueError, match=rf"{role.name.lower()} id must lie in \[0, 0\), got 0 to 0"):
        Lexicon(config(num_nested_objects=0)).word(role, 0)


@every_lexicon
@pytest.mark.parametrize(
    "larger",
    [
        {"num_subjects": 900},
        {"num_relations": 6},
        {"num_objects": 224},
        {"num_nested_objects": 12},
        {"correlation": 0.9},
    ],
)
def test_words_stay_when_the_world_grows(lexicon, larger):
    small, large = words(Lexicon(config(), lexicon)), words(Lexicon(config(**larger), lexicon))
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


def test_fillers_are_a_thousand_words_after_all_that_is_taught_and_leave_it_as_it_is():
    without, lexicon = Lexicon(config()), Lexicon(config(), num_fillers=NUM_FILLERS)
    assert (NUM_FILLERS, lexicon.num_fillers, without.num_fillers) == (1000, 1000, 0)
    ids = lexicon.filler_ids(np.arange(1000))
    assert (*lexicon.vocabulary[: ids[0]], *lexicon.vocabulary[ids[0] + 1000 :]) == without.vocabulary
    assert [lexicon.vocabulary[id] for id in ids] == list(lexicon.vocabulary[-1000 - NUM_LATER : -NUM_LATER])
    assert lexicon.filler_ids(np.array([[2, 0]])).tolist() == [[ids[2], ids[0]]]
    larger = Lexicon(config(num_subjects=3000, num_relations=50), num_fillers=NUM_FILLERS)
    assert larger.vocabulary[-1000 - NUM_LATER :] == lexicon.vocabulary[-1000 - NUM_LATER :]


@every_lexicon
@pytest.mark.parametrize("num_fillers", [0, NUM_FILLERS])
def test_older_vocabulary_is_the_first_tokens_of_todays(lexicon, num_fillers):
    whole = Lexicon(config(), lexicon, num_fillers=num_fillers)
    size, later = len(whole.vocabulary), len(LATER[lexicon.surface])
    for count in range(size - later, size + 1):
        older = Lexicon(config(), lexicon, num_fillers=num_fillers, num_tokens=count)
        assert older.vocabulary == whole.vocabulary[:count]
        assert words(older) == words(whole)
        assert older.filler_ids(np.arange(3)).tolist() == whole.filler_ids(np.arange(3)).tolist()
    for count in (size - later - 1, size + 1, 0):
        message = f"^num_tokens must lie between {size - later} and {size}, the vocabularies .*, got {count}$"
        with pytest.raises(ValueError, match=message):
            Lexicon(config(), lexicon, num_fillers=num_fillers, num_tokens=count)


def test_world_without_nesting_has_no_nested_words():
    lexicon = Lexicon(config(num_nested_objects=0))
    assert len(lexicon.vocabulary) == 23 + NUM_LATER + 30 + 3 + 36


def test_natural_vocabulary_is_all_names_of_people_and_the_names_of_the_other_ids():
    lexicon = Lexicon(config(), NATURAL)
    people = [*names.given_names(), *names.family_names()]
    assert lexicon.vocabulary[: 3 + 21 + 1584] == (*SPECIAL, *PROTOCOL["natural"], *people)
    assert len(lexicon.vocabulary) == 3 + 21 + NUM_NATURAL_LATER + 690 + 894 + 9 + 36 + 12


@pytest.mark.parametrize(("role", "nouns"), NOUNS.items())
def test_natural_relations_are_called_by_nouns(role, nouns):
    lexicon = Lexicon(config(num_relations=8), NATURAL)
    assert [lexicon.word(role, id) for id in range(8)] == nouns.split()


def test_natural_people_have_a_given_name_and_a_family_name():
    lexicon = Lexicon(config(num_subjects=500), NATURAL)
    assert lexicon.width(Role.SUBJECT) == 2
    people = [lexicon.word(Role.SUBJECT, id).split(" ") for id in range(500)]
    assert {given for given, _ in people} <= set(names.given_names())
    assert {family for _, family in people} <= set(names.family_names())
    # 500 draws of 690 and of 894 names leave out 690 e^(-500/690) = 334 and 894 e^(-500/894) = 511 of them.
    assert 300 < len({given for given, _ in people}) < 400
    assert 330 < len({family for _, family in people}) < 430


@pytest.mark.parametrize(
    ("role", "of", "size"), [(Role.OBJECT, names.object_names, 224), (Role.NESTED, names.nested_names, 16)]
)
def test_natural_objects_are_names_of_their_relation_each_used_once_and_in_no_obvious_order(role, of, size):
    lexicon = Lexicon(config(num_relations=8, num_objects=224, num_nested_objects=16), NATURAL)
    for relation in range(8):
        found = [lexicon.word(role, id, relation) for id in range(size)]
        assert len(set(found)) == size
        assert set(found) <= set(of(relation))
        assert found != sorted(found)
        assert lexicon.width(role) == 1


def test_natural_fillers_are_all_of_the_fillers_names():
    lexicon = Lexicon(config(), NATURAL, num_fillers=NUM_FILLERS)
    assert lexicon.num_fillers == 944
    first = len(lexicon.vocabulary) - 944 - NUM_NATURAL_LATER
    others = (*lexicon.vocabulary[:first], *lexicon.vocabulary[first + 944 :])
    assert lexicon.vocabulary[first : first + 944] == names.filler_names()
    assert others == Lexicon(config(), NATURAL).vocabulary


def test_natural_people_all_have_different_names():
    found = [
        tuple(row) for row in Lexicon(config(num_subjects=5000), NATURAL).encode(Role.SUBJECT, np.arange(5000)).tolist()
    ]
    assert len(set(found)) == 5000
    lexicon = Lexicon(config(num_subjects=690 * 894), NATURAL)
    sample = np.arange(0, 690 * 894, 13)
    assert len(np.unique(lexicon.encode(Role.SUBJECT, sample), axis=0)) == len(sample) == 47_451


def test_natural_words_stay_in_the_largest_world():
    small = words(Lexicon(config(), NATURAL))
    largest = Lexicon(config(num_subjects=690 * 894, num_relations=8, num_objects=216, num_nested_objects=24), NATURAL)
    assert {(role, group, id): largest.word(role, id, group) for role, group, id in small} == small


def test_another_seed_has_other_natural_names():
    sizes = {"num_subjects": 200, "num_objects": 200, "num_nested_objects": 8}
    first, again, other = (words(Lexicon(config(seed=seed, **sizes), NATURAL)) for seed in (0, 0, 1))
    assert first == again
    people = [{word for (role, *_), word in found.items() if role is Role.SUBJECT} for found in (first, other)]
    assert len(people[0] & people[1]) < 3  # 200 of 616,860 each
    for role in (Role.OBJECT, Role.NESTED):
        for relation in range(3):
            pairs = [(first[place], other[place]) for place in first if place[:2] == (role, relation)]
            assert sum(one == another for one, another in pairs) < len(pairs) / 2


@pytest.mark.parametrize(
    ("fields", "most", "role"),
    [
        ({"num_subjects": 616_861}, 616_860, "subject"),
        ({"num_objects": 226}, 225, "object"),
        ({"num_relations": 3, "num_objects": 2588}, 2587, "object"),
        ({"num_relations": 1, "num_objects": 2974}, 2973, "object"),
        ({"num_relations": 8, "num_objects": 225}, 224, "object"),
        ({"num_relations": 1, "num_objects": 50, "num_nested_objects": 25}, 24, "nested"),
    ],
)
def test_more_ids_than_natural_names_are_refused(fields, most, role):
    name = f"num_{role}s" if role != "nested" else "num_nested_objects"
    world = {"num_subjects": 2, "num_relations": 4, "num_objects": 2, **fields}
    message = f"^{name} must be at most {most}, the names of the natural surface, got {fields[name]}$"
    with pytest.raises(ValueError, match=message):
        Lexicon(WorldConfig(**world), NATURAL)
    world[name] -= 1
    if role == "nested":
        world["num_objects"] = 48
    Lexicon(WorldConfig(**world), NATURAL)


def test_natural_surface_has_eight_relations_at_most():
    Lexicon(config(num_relations=8), NATURAL)
    message = "^num_relations must be at most 8 so that no two roles share a token on the natural surface, got 9$"
    with pytest.raises(ValueError, match=message):
        Lexicon(config(num_relations=9), NATURAL)


def test_one_token_limit_changes_nothing_on_the_natural_surface():
    assert (
        Lexicon(config(), NATURAL).vocabulary
        == Lexicon(config(), LexiconConfig(surface="natural", one_token_limit=2)).vocabulary
    )


def test_unknown_surface_lists_the_known_ones():
    with pytest.raises(
        ValueError, match="^surface must be one of synthetic, natural, got 'naturel' .did you mean 'natural'"
    ):
        LexiconConfig(surface="naturel")


@pytest.mark.parametrize(
    ("lexicon", "size", "golden"),
    [
        (LexiconConfig(), 1113, "e0289faa80a02e68"),
        (LexiconConfig(one_token_limit=2), 1091, "e707fdcd23a3b0d1"),
        (NATURAL, 2616, "77058848e1b2a704"),
    ],
    ids=["one_token_words", "two_token_words", "natural"],
)
def test_vocabulary_starts_as_the_golden_one(lexicon, size, golden):
    vocabulary = Lexicon(config(), lexicon, num_fillers=NUM_FILLERS).vocabulary
    assert digest(vocabulary[:size]) == golden, (
        "other words for the same seed: bump VERSION and the changelog, or find what changed"
    )


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
    with pytest.raises(ValueError, match=rf"num_subjects must be at most {most} .*, got {most + 1}"):
        Lexicon(config(num_subjects=most + 1), lexicon)


def test_as_many_relations_as_fit_share_no_token_and_one_more_is_refused():
    sizes = {"num_subjects": 2, "num_objects": 2, "num_nested_objects": 2}
    largest = Lexicon(WorldConfig(num_relations=1021, **sizes))
    assert len(set(largest.vocabulary)) == len(largest.vocabulary)
    with pytest.raises(ValueError, match="num_relations must be at most 1021 .*, got 1022"):
        Lexicon(WorldConfig(num_relations=1022, **sizes))
