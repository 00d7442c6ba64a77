"""English-looking names for every role of a world, from faker's name lists. No ids and no sentences here.

Every name is one token of letters only, so tokenisers that split at whitespace and punctuation keep it whole,
and no token serves two roles or two relations. Only the lists of faker's providers are read, never its random
generator.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterable

from behemoth_data.settings import check, digest

KINDS = ("company", "city", "product", "job")  # relation r has objects of kind KINDS[r % 4]
NUM_RELATIONS = 8  # most relations of a natural world: each kind's names serve two
DIGEST = "4560b2d461748e41"  # of all lists below: equal digests mean equal names for equal seeds


@dataclasses.dataclass(frozen=True)
class RelationNouns:
    """The nouns of one relation, for "the employer of Mike Smith is BarnesInc" and its nested edges."""

    object: str
    subject_nested: str
    object_nested: str


# Nested names are states for companies, countries for cities, brands for products and colors for jobs.
RELATIONS = (
    RelationNouns("employer", "workplace", "headquarters"),
    RelationNouns("hometown", "homeland", "country"),
    RelationNouns("phone", "brand", "maker"),
    RelationNouns("profession", "uniform", "badge"),
    RelationNouns("insurer", "jurisdiction", "domicile"),
    RelationNouns("birthplace", "origin", "nation"),
    RelationNouns("laptop", "supplier", "manufacturer"),
    RelationNouns("ambition", "ribbon", "emblem"),
)

_FAKER = "40.54"  # the version whose lists DIGEST is of
# The words and signs of the English templates, which are tokens of their own.
_RESERVED = (
    *("As", "for", "the", "is", "has", "as", "The", "of", "What", "Question", "Answer", "Which", "does", "have"),
    *("Q", "A", "not", "known", "well", "so", "then", "now", "still", "yet", "there", "here", "thus"),
    *(".", ",", ":", "?"),
)
# Entries of faker's lists that make no good name; given and family names on their own keep theirs.
_LEFT_OUT = frozenset(
    {
        # With a suffix these read as a joke or as a remark on people.
        *("Ball", "Black", "Brown", "Cox", "Cummings", "Gay", "Gross", "Savage", "White", "IndianRed", "NavajoWhite"),
        # Slang, people and an acronym make no brands.
        *("killer", "sticky", "viral", "eyeballs", "users", "vortals", "ROI"),
        # Jobs cut short (sub-editor), one whose second part is a place, and another spelling of Dramatherapist.
        *("Copy", "Land", "Make", "Press sub", "Publishing copy", "Sub", "Solicitor, Scotland", "Therapist, drama"),
    }
)
_SHORTEST_STEM = 4  # letters of a family name that a city is named after


@dataclasses.dataclass(frozen=True)
class _Names:
    """Every list, sorted; objects and nested names by relation."""

    given: tuple[str, ...]
    family: tuple[str, ...]
    objects: tuple[tuple[str, ...], ...]
    nested: tuple[tuple[str, ...], ...]
    fillers: tuple[str, ...]


def given_names() -> tuple[str, ...]:
    """The given names, the first tokens of people. Raises: ValueError if faker's lists are others."""
    return _load().given


def family_names() -> tuple[str, ...]:
    """The family names that are no given names. Raises: ValueError if faker's lists are others."""
    return _load().family


def object_names(relation: int) -> tuple[str, ...]:
    """The objects of the relation. Raises: ValueError for an unknown relation, or if faker's lists are others."""
    _check_relation(relation)
    return _load().objects[relation]


def nested_names(relation: int) -> tuple[str, ...]:
    """The nested objects of the relation. Raises: ValueError as `object_names` does."""
    _check_relation(relation)
    return _load().nested[relation]


def filler_names() -> tuple[str, ...]:
    """Common lowercase English words that mean nothing here. Raises: ValueError if faker's lists are others."""
    return _load().fillers


def _check_relation(relation: int) -> None:
    """Raises: ValueError unless a natural world may have the relation."""
    check(0 <= relation < NUM_RELATIONS, f"relation must lie in [0, {NUM_RELATIONS}), got {relation}")


@functools.cache
def _load() -> _Names:
    """All lists. Raises: ValueError unless they are those of DIGEST, so that a seed never gives other names."""
    from faker import VERSION  # here, as in `_build`: importing faker is slow, and few worlds need it

    names = _build()
    found = digest(names)
    check(
        found == DIGEST,
        f"faker's name lists must have digest {DIGEST}, as in faker {_FAKER}, got {found} from faker {VERSION}: "
        f"install faker {_FAKER}",
    )
    return names


def _build() -> _Names:
    """All lists, as the installed faker gives them.

    A token that several roles could have goes to the first of: the templates, the nouns, given names, family
    names, states, countries, brands, colors, companies, cities, products, jobs, fillers. People come early so
    that they lose least, and the short lists before the long ones.
    """
    from faker.providers.address.en_US import Provider as Address
    from faker.providers.color.en_US import Provider as Color
    from faker.providers.company.en_US import Provider as Company
    from faker.providers.job.en_US import Provider as Job
    from faker.providers.lorem.en_US import Provider as Lorem
    from faker.providers.person.en_US import Provider as Person

    taken = {*_RESERVED, *(noun for nouns in RELATIONS for noun in dataclasses.astuple(nouns))}

    def claim(candidates: Iterable[str]) -> tuple[str, ...]:
        """The sorted one-token candidates that were free until now."""
        free = {name for name in candidates if _is_word(name)} - taken
        taken.update(free)
        return tuple(sorted(free))

    given, family = claim(Person.first_names), claim(Person.last_names)
    _, adjectives, plurals = (_words(words) for words in Company.bsWords)
    nested = [
        claim(_join(name) for name in Address.states),
        claim(_join(name) for name in Address.countries if len(name.split()) <= 2),
        claim(_join(first, second) for first in adjectives for second in plurals),
        claim(_words(Color.all_colors)),
    ]
    stems = _words(Person.last_names)
    qualities, _, things = (_words(words) for words in Company.catch_phrase_words)
    objects = [
        claim(_join(stem, suffix) for stem in stems for suffix in Company.company_suffixes),
        claim(_cities(stems, Address.city_suffixes)),
        claim(_join(first, second) for first in qualities for second in things),
        claim(_job(job) for job in Job.jobs if job not in _LEFT_OUT),
    ]
    fillers = claim(word for word in Lorem.word_list if word.islower())
    return _Names(given, family, _by_relation(objects), _by_relation(nested), fillers)


def _by_relation(names_by_kind: list[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    """Every other name of its kind for each relation, whatever the number of relations in use."""
    kinds = len(KINDS)
    return tuple(names_by_kind[r % kinds][r // kinds :: NUM_RELATIONS // kinds] for r in range(NUM_RELATIONS))


def _is_word(text: str) -> bool:
    """Whether the text is one token: letters from A to Z only."""
    return re.fullmatch("[A-Za-z]+", text) is not None


def _words(source: Iterable[str]) -> list[str]:
    """The entries that are one word each and make good names."""
    return [word for word in source if _is_word(word) and word not in _LEFT_OUT]


def _join(*texts: str) -> str:
    """All words of the texts as one, each with a capital: "Barnes" and "and Sons" give "BarnesAndSons"."""
    return "".join(word[0].upper() + word[1:] for text in texts for word in text.split())


def _job(entry: str) -> str:
    """The job as one word in spoken order: "Accountant, chartered" gives "CharteredAccountant"."""
    head, _, qualifier = entry.partition(",")
    return _join(qualifier, head)


def _cities(stems: Iterable[str], suffixes: Iterable[str]) -> Iterable[str]:
    """Family names with city suffixes, but for those that read badly: "Hoton", "Thorntonton", "Hessside"."""
    for stem in stems:
        for suffix in suffixes:
            name = stem + suffix
            if len(stem) >= _SHORTEST_STEM and not stem.lower().endswith(suffix) and not re.search(r"(.)\1\1", name):
                yield name
