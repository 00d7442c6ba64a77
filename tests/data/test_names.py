"""Facts about the English names: whole tokens, no token in two roles, and the same ones for everybody."""

import dataclasses
import itertools
import re
import subprocess
import sys
from collections import Counter

import pytest
from faker.providers.address.en_US import Provider as Address
from faker.providers.color.en_US import Provider as Color
from faker.providers.company.en_US import Provider as Company
from faker.providers.job.en_US import Provider as Job
from faker.providers.lorem.en_US import Provider as Lorem
from faker.providers.person.en_US import Provider as Person

from behemoth_data import names
from behemoth_data.names import (
    KINDS,
    NUM_RELATIONS,
    RELATIONS,
    family_names,
    filler_names,
    given_names,
    nested_names,
    object_names,
)

# The words of the English templates, repeated here from their specification.
TEMPLATE_WORDS = (
    *("As", "for", "the", "is", "has", "as", "The", "of", "What", "Question", "Answer", "Which", "does", "have"),
    *("Q", "A", "not", "known", "well", "so", "then", "now", "still", "yet", "there", "here", "thus"),
    *(".", ",", ":", "?"),
)

# Every list of faker that the names are made of.
SOURCES = [
    (Person, "first_names"),
    (Person, "last_names"),
    (Company, "company_suffixes"),
    (Company, "catch_phrase_words"),
    (Company, "bsWords"),
    (Address, "city_suffixes"),
    (Address, "countries"),
    (Address, "states"),
    (Color, "all_colors"),
    (Job, "jobs"),
    (Lorem, "word_list"),
]


@pytest.fixture
def fresh():
    """Clears what was read of faker, before the test and after it."""
    names._load.cache_clear()
    yield
    names._load.cache_clear()


def lists():
    """Every list of names by its role."""
    found = {"given": given_names(), "family": family_names(), "filler": filler_names()}
    for relation in range(NUM_RELATIONS):
        found[f"object {relation}"] = object_names(relation)
        found[f"nested {relation}"] = nested_names(relation)
    return found


def nouns():
    return [noun for relation in RELATIONS for noun in dataclasses.astuple(relation)]


def pool(of, kind):
    """The names of a kind, those of both relations that share it."""
    return {*of(kind), *of(kind + 4)}


def test_no_token_has_two_roles_or_occurs_twice():
    tokens = Counter(itertools.chain(*lists().values(), nouns(), set(TEMPLATE_WORDS)))
    assert [token for token, count in tokens.items() if count > 1] == []


def test_every_name_is_one_token_of_letters():
    for role, found in lists().items():
        assert [name for name in found if not re.fullmatch("[A-Za-z]+", name)] == [], role
    assert all(re.fullmatch("[a-z]+", word) for word in (*nouns(), *filler_names()))


def test_every_list_is_sorted():
    for role, found in lists().items():
        assert list(found) == sorted(found), role


def test_lists_have_these_lengths():
    # Companies: 1000 family names less the 9 left out, times 6 suffixes. States: 50 less Virginia and Washington,
    # which people have. Brands: 32 adjectives times 30 plurals.
    assert [len(object_names(r)) for r in range(8)] == [2973, 8680, 2587, 225, 2973, 8680, 2587, 224]
    assert [len(nested_names(r)) for r in range(8)] == [24, 103, 480, 66, 24, 102, 480, 65]
    assert (len(given_names()), len(family_names()), len(filler_names())) == (690, 894, 944)
    assert 2 * 2973 == (1000 - 9) * 6
    assert 2 * 480 == 32 * 30


def test_eight_relations_have_24_different_nouns():
    assert len(RELATIONS) == NUM_RELATIONS == 2 * len(KINDS) == 8
    assert len(set(nouns())) == 24


def test_people_keep_all_names_but_family_names_that_are_given_ones():
    assert set(given_names()) == set(Person.first_names)
    assert set(family_names()) == set(Person.last_names) - set(Person.first_names)


@pytest.mark.parametrize("kind", range(4))
@pytest.mark.parametrize("of", [object_names, nested_names])
def test_relations_of_one_kind_take_every_other_name(of, kind):
    both = sorted(of(kind) + of(kind + 4))
    assert of(kind) == tuple(both[0::2])
    assert of(kind + 4) == tuple(both[1::2])


def test_companies_are_a_family_name_and_a_suffix():
    companies = pool(object_names, 0)
    assert companies >= {"BarnesGroup", "BarnesInc", "BarnesLLC", "BarnesPLC", "BarnesLtd", "BarnesAndSons"}
    stems = {re.fullmatch("(.+?)(Group|Inc|LLC|PLC|Ltd|AndSons)", name)[1] for name in companies}
    left_out = {"Ball", "Black", "Brown", "Cox", "Cummings", "Gay", "Gross", "Savage", "White"}
    assert stems == set(Person.last_names) - left_out


def test_cities_are_a_family_name_and_a_suffix_that_read_well_together():
    cities = pool(object_names, 1)
    assert cities >= {"Barneston", "Smithville", "Mcdonaldhaven"}
    assert not any(name.endswith(("tonton", "bergberg", "Bergberg")) for name in cities)
    assert not any(name[i] == name[i + 1] == name[i + 2] for name in cities for i in range(len(name) - 2))
    assert {"Abbottview", "Abbottport"} <= cities  # but "Abbottton" has three equal letters in a row
    assert not {"Abbottton", "Abbotttown", "Thorntonton", "Hoton", "Leeville"} & cities


def test_cities_that_are_names_of_people_are_left_to_the_people():
    assert {"Clayton", "Claymouth"} & pool(object_names, 1) == {"Claymouth"}
    assert {"Clay", "Clayton"} <= {*given_names(), *family_names()}


def test_products_are_two_words_of_faker_s_catch_phrases():
    assert {"AdaptiveMatrix", "VirtualPortal", "OrganicHardware"} <= pool(object_names, 2)
    assert all(re.fullmatch("[A-Z][a-z]+[A-Z][a-z]+", name) for name in pool(object_names, 2))


def test_jobs_are_turned_round_and_joined():
    jobs = pool(object_names, 3)
    assert {"CharteredAccountant", "ChiefOfStaff", "ITConsultant", "CivilServiceAdministrator", "Actor"} <= jobs
    assert not {"AccountantChartered", "Sub", "Make", "Copy", "Land", "PressSub", "DramaTherapist"} & jobs
    assert not any(re.search("Barrister.+|Politician|Ranger|Inspector.*Assessor", name) for name in jobs)


def test_nested_names_are_states_countries_brands_and_colors():
    assert {"Texas", "NewYork", "Georgia"} <= pool(nested_names, 0)
    assert {"France", "NewZealand", "Peru"} <= pool(nested_names, 1)
    assert {"GlobalNetworks", "DynamicSystems"} <= pool(nested_names, 2)
    assert {"Crimson", "DarkBlue"} <= pool(nested_names, 3)


def test_name_of_two_roles_goes_to_people_then_states_then_countries_then_colors():
    assert {"Virginia", "Washington"} <= {*given_names(), *family_names()}
    assert not {"Virginia", "Washington"} & pool(nested_names, 0)
    assert not {"Georgia", "Jordan"} & pool(nested_names, 1)
    assert not {"Peru", "Green", "Black", "Snow"} & pool(nested_names, 3)
    assert not {"VirtualFunctionalities"} & pool(object_names, 2)  # a brand


def test_fillers_are_lowercase_words_that_nothing_else_is():
    fillers = set(filler_names())
    assert {"about", "table", "music"} <= fillers
    assert not {"phone", "nation", "for", "I", "Congress"} & fillers
    assert fillers | {*nouns(), *TEMPLATE_WORDS} >= {word for word in Lorem.word_list if word.islower()}


@pytest.mark.parametrize("relation", [-1, 8])
@pytest.mark.parametrize("of", [object_names, nested_names])
def test_unknown_relation_is_an_error(of, relation):
    with pytest.raises(ValueError, match=rf"^relation must lie in \[0, 8\), got {relation}$"):
        of(relation)


def test_digest_is_the_golden_one(fresh):
    assert names.DIGEST == names.digest(names._build()) == "4560b2d461748e41", (
        "other names for the same seed: bump VERSION and the changelog, or find what changed"
    )


def changed(value, change):
    """A list of faker after `change`; lists of lists are changed in each part."""
    if isinstance(value, dict):
        return dict.fromkeys(change(list(value)), 1.0)
    if isinstance(value[0], str):
        return tuple(change(list(value)))
    return tuple(changed(part, change) for part in value)


@pytest.mark.parametrize(("provider", "field"), SOURCES)
def test_other_lists_of_faker_are_an_error(monkeypatch, fresh, provider, field):
    new = changed(getattr(provider, field), lambda words: [*words, "zyzzyva" if words[0].islower() else "Zyzzyva"])
    monkeypatch.setattr(provider, field, new)
    message = (
        rf"^faker's name lists must have digest {names.DIGEST}, as in faker 40.54, "
        r"got [0-9a-f]{16} from faker [0-9.]+: install faker 40.54$"
    )
    with pytest.raises(ValueError, match=message):
        given_names()


@pytest.mark.parametrize("read", [given_names, family_names, filler_names, object_names, nested_names])
def test_no_name_is_given_from_other_lists_of_faker(monkeypatch, fresh, read):
    monkeypatch.setattr(Person, "first_names", [name for name in Person.first_names if name != "Mike"])
    with pytest.raises(ValueError, match="^faker's name lists must have digest"):
        read(0) if read in (object_names, nested_names) else read()


def test_order_of_faker_s_lists_changes_nothing(monkeypatch, fresh):
    before = lists()
    for provider, field in SOURCES:
        new = changed(getattr(provider, field), lambda words: words[::-1])
        assert list(new) != list(getattr(provider, field))
        monkeypatch.setattr(provider, field, new)
    names._load.cache_clear()
    assert lists() == before


def test_repeated_entry_of_faker_changes_nothing(monkeypatch, fresh):
    before = lists()
    for provider, field in SOURCES:
        value = getattr(provider, field)
        if not isinstance(value, dict):
            monkeypatch.setattr(provider, field, changed(value, lambda words: words + words))
    names._load.cache_clear()
    assert lists() == before


def test_importing_the_module_does_not_import_faker():
    code = "import sys, behemoth_data.names; sys.exit('faker' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=100).returncode == 0
