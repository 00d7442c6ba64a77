"""A word of one or two tokens for every id of every role. No sentences here.

On the synthetic surface a token is seven letters, such as "tavomil", read off a seeded permutation of all such
strings; on the natural one it is an English-looking name. No two tokens are equal whatever the world, and roles
share none. Axis letters: n ids; W tokens of a word.
"""

from __future__ import annotations

import dataclasses
import enum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from behemoth_data import names
from behemoth_data.forms import FORMS, SURFACES
from behemoth_data.rng import Permutation
from behemoth_data.settings import check, check_known, conform, setting
from behemoth_data.world import Edge, WorldConfig

Int64 = NDArray[np.int64]

END, PADDING, UNKNOWN = "<|endoftext|>", "<|padding|>", "<|unknown|>"
SPECIAL_TOKENS = (END, PADDING, UNKNOWN)
# The words of the forms that can be taught, as of the first version with this order: fixed for good, since the ids of
# everything that a model can have learned come after them. W6 is in no form. The words of other forms come last.
CORE_TOKENS: dict[str, tuple[str, ...]] = {
    "synthetic": (
        *(".", "SS", "RR", "OO", "QQ", "AA"),
        *(f"W{i}" for i in range(10)),
        *(f"Q{i}" for i in range(1, 5)),
    ),
    "natural": (
        *(".", ",", ":", "?", "As", "The", "What", "Question", "Answer"),
        *("as", "for", "the", "is", "has", "of"),
        *("well", "so", "then", "now", "still", "yet"),
    ),
}
NUM_FILLERS = 1000  # of the nonsense grammar

_CONSONANTS, _VOWELS, _ENDINGS = "bdfhjklmnprstvwz", "aeiou", "klmnrstv"
_NUM_TOKENS = (len(_CONSONANTS) * len(_VOWELS)) ** 3 * len(_ENDINGS)  # 4,096,000 seven-letter tokens
_POOL = 1000  # tokens of one pool; a word takes each of its tokens from a pool of its own
_FILLER_POOL = 8  # after those of the roles, before those of the relations


def later_tokens(surface: str) -> list[str]:
    """The words of forms that are not in the core, in the order of the table of forms: the last of a vocabulary."""
    words = dict.fromkeys(word for form in FORMS.values() for word in form.template(surface).words)
    return [word for word in words if word not in CORE_TOKENS[surface]]


class Role(enum.IntEnum):
    """What a word stands for. Objects and nested objects have words of their own in each relation."""

    SUBJECT = 0
    RELATION = 1
    SUBJECT_NESTED_RELATION = 2
    OBJECT_NESTED_RELATION = 3
    OBJECT = 4
    NESTED = 5


# The roles of head, relation and tail in each table.
EDGE_ROLES: dict[Edge, tuple[Role, Role, Role]] = {
    Edge.SUBJECT_OBJECT: (Role.SUBJECT, Role.RELATION, Role.OBJECT),
    Edge.SUBJECT_NESTED: (Role.SUBJECT, Role.SUBJECT_NESTED_RELATION, Role.NESTED),
    Edge.OBJECT_NESTED: (Role.OBJECT, Role.OBJECT_NESTED_RELATION, Role.NESTED),
}


# The field that says how many ids a role has.
_COUNTED = {
    Role.SUBJECT: "num_subjects",
    Role.RELATION: "num_relations",
    Role.SUBJECT_NESTED_RELATION: "num_relations",
    Role.OBJECT_NESTED_RELATION: "num_relations",
    Role.OBJECT: "num_objects",
    Role.NESTED: "num_nested_objects",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class LexiconConfig:
    """How ids are written."""

    surface: str = setting("synthetic", "synthetic: invented words; natural: English-looking names and sentences")
    one_token_limit: int = setting(
        1000, "synthetic: a role with more ids than this gets words of two tokens, the second one of this many"
    )

    def __post_init__(self) -> None:
        """Raises: ValueError that names the field, the bound and the value."""
        conform(self)
        check_known("surface", self.surface, SURFACES)
        limit = self.one_token_limit
        check(2 <= limit <= _POOL, f"one_token_limit must lie between 2 and {_POOL}, got {limit}")


@dataclasses.dataclass(frozen=True)
class _Words:
    """Where the tokens of one role lie in the vocabulary; with groups, one such range after the other."""

    start: int  # token id of the first token
    num_first: int  # tokens of the first pool
    num_second: int = 0  # tokens of the second pool; 0 for one-token words
    order: Permutation | None = None  # of all pairs; None: id = first x num_second + second

    @property
    def num_tokens(self) -> int:
        return self.num_first + self.num_second


class Lexicon:
    """The words of a world, and the vocabulary that all its sentences are made of.

    In the vocabulary come first the special tokens and the core of the grammar, then the words of the roles, the
    fillers if there are any, and last the words of all other forms. A form that is added later brings its words to
    the very end, so that the ids of a model that was trained before stay as they are. Such a model keeps the
    vocabulary of `num_tokens` that it had, and its tokenizer with it. It is not given the new words: its embeddings,
    whose rows are rounded up to a multiple of 64, may or may not have room for them, and rows in that room were
    never trained. Grammar refuses to ask it in a form that has such a word.
    """

    def __init__(
        self,
        world: WorldConfig,
        config: LexiconConfig | None = None,
        *,
        num_fillers: int = 0,
        num_tokens: int | None = None,
    ) -> None:
        """`num_fillers` is NUM_FILLERS for the nonsense grammar, else 0; `num_tokens` is an older vocabulary's size.

        Raises: ValueError for a world with more ids in a role than there are words for, a form with a word that the
        world has too, or a vocabulary that never was.
        """
        check(0 <= num_fillers <= NUM_FILLERS, f"num_fillers must lie in [0, {NUM_FILLERS}], got {num_fillers}")
        self.world, self.config = world, config or LexiconConfig()
        self._natural = self.config.surface == "natural"
        most = names.NUM_RELATIONS if self._natural else (_NUM_TOKENS // _POOL - 10) // 4
        check(
            world.num_relations <= most,
            f"num_relations must be at most {most} so that no two roles share a token on the "
            f"{self.config.surface} surface, got {world.num_relations}",
        )
        self._permutation = Permutation(_NUM_TOKENS, world.seed, "lexicon/tokens")
        vocabulary = [*SPECIAL_TOKENS, *CORE_TOKENS[self.config.surface]]
        self._words: dict[Role, _Words] = {}
        for role in Role:
            words = self._words[role] = self._plan(role, start=len(vocabulary))
            for group in range(self._num_groups(role)):
                vocabulary += self._tokens(role, group, words)
        fillers = self._filler_tokens(num_fillers)
        self._filler_start, self.num_fillers = len(vocabulary), len(fillers)
        vocabulary += fillers
        vocabulary += self._cut(vocabulary, num_tokens)
        self.vocabulary: tuple[str, ...] = tuple(vocabulary)
        self.token_ids: dict[str, int] = {token: i for i, token in enumerate(vocabulary)}

    def width(self, role: Role) -> int:
        """Tokens in a word of this role, W."""
        return 2 if self._words[role].num_second else 1

    def encode(self, role: Role, ids: ArrayLike, groups: ArrayLike = 0) -> Int64:
        """Token ids [n, W] of the words of the ids [n]; groups [n] are relations where each has its own words.

        Raises: ValueError for an id or a relation that the role does not have.
        """
        words = self._words[role]
        ids, groups = np.asarray(ids, np.int64), np.asarray(groups, np.int64)
        if groups.ndim:
            ids, groups = np.broadcast_arrays(ids, groups)
        bound = self._num_ids(role)
        if ids.size and (int(ids.min()) < 0 or int(ids.max()) >= bound):
            raise ValueError(
                f"{role.name.lower()} id must lie in [0, {bound}), got {int(ids.min())} to {int(ids.max())}"
            )
        if role in (Role.OBJECT, Role.NESTED):
            most = self.world.num_relations
            if groups.size and (int(groups.min()) < 0 or int(groups.max()) >= most):
                raise ValueError(f"relation must lie in [0, {most}), got {int(groups.min())} to {int(groups.max())}")
        else:
            groups = np.zeros_like(groups)
        start = words.start + groups * words.num_tokens
        if not words.num_second:
            return np.asarray(start + ids)[..., np.newaxis]
        first, second = np.divmod(ids if words.order is None else words.order(ids), words.num_second)
        return np.stack([start + first, start + words.num_first + second], axis=-1)

    def filler_ids(self, fillers: Int64) -> Int64:
        """Token ids of the fillers of these numbers [any shape]."""
        return self._filler_start + fillers

    def decode(self, tokens: ArrayLike) -> str:
        """The text of token ids [W], words joined by spaces."""
        return " ".join(self.vocabulary[token] for token in np.asarray(tokens).tolist())

    def word(self, role: Role, id: int, group: int = 0) -> str:
        """The word of one id."""
        return self.decode(self.encode(role, id, group))

    def id_of(self, role: Role, word: str, group: int = 0) -> int:
        """The id that a word of this role stands for; group is its relation where each has words of its own.

        Raises: ValueError for a word that the role does not have.
        """
        tokens = [self.token_ids.get(part, -1) for part in word.split()]
        if len(tokens) == self.width(role):
            found = np.flatnonzero((self.encode(role, np.arange(self._num_ids(role)), group) == tokens).all(axis=1))
            if len(found):
                return int(found[0])
        raise ValueError(
            f"{role.name.lower()} must be a word of the world, such as {self.word(role, 0, group)!r}, got {word!r}"
        )

    def _cut(self, before: list[str], num_tokens: int | None) -> list[str]:
        """The words that forms have beside the core, as far as the vocabulary goes; all of them if no size is given."""
        later = later_tokens(self.config.surface)
        shared = sorted(set(later).intersection(before))
        check(not shared, f"words of forms must be no words of the world, got {', '.join(shared)}")
        least, most = len(before), len(before) + len(later)
        size = most if num_tokens is None else num_tokens
        check(
            least <= size <= most,
            f"num_tokens must lie between {least} and {most}, the vocabularies that this world has had, got {size}",
        )
        return later[: size - least]

    def _plan(self, role: Role, start: int) -> _Words:
        if self._natural:
            return self._plan_natural(role, start)
        count, limit = self._num_ids(role), self.config.one_token_limit
        if count <= limit:
            return _Words(start, count)
        first = -(-count // limit)
        check(
            first <= _POOL,
            f"{_COUNTED[role]} must be at most {limit * _POOL} (one_token_limit x {_POOL} words), got {count}",
        )
        return _Words(start, first, limit)

    def _plan_natural(self, role: Role, start: int) -> _Words:
        count = self._num_ids(role)
        if role is Role.SUBJECT:
            given, family = len(names.given_names()), len(names.family_names())
            most = given * family
            words = _Words(start, given, family, Permutation(most, self.world.seed, "lexicon/people"))
        else:
            most = min(len(self._names(role, group)) for group in range(self._num_groups(role)))
            words = _Words(start, count)
        check(
            count <= most,
            f"{_COUNTED[role]} must be at most {most}, the names of the natural surface, got {count}",
        )
        return words

    def _tokens(self, role: Role, group: int, words: _Words) -> list[str]:
        """The tokens of a role's words in one relation, those of the first pool first."""
        if not self._natural:
            pool = self._pool(role, group)
            return self._invent(pool, words.num_first) + self._invent(pool + 1, words.num_second)
        if role is Role.SUBJECT:
            return [*names.given_names(), *names.family_names()]
        found = self._names(role, group)
        if role not in (Role.OBJECT, Role.NESTED):
            return list(found[: words.num_first])
        order = Permutation(len(found), self.world.seed, f"lexicon/names/{role.name.lower()}/{group}")
        return [found[place] for place in order(np.arange(words.num_first)).tolist()]

    @staticmethod
    def _names(role: Role, group: int) -> tuple[str, ...]:
        """The natural names that a role has in one relation; relations are called by their nouns."""
        if role is Role.OBJECT:
            return names.object_names(group)
        if role is Role.NESTED:
            return names.nested_names(group)
        noun = {
            Role.RELATION: "object",
            Role.SUBJECT_NESTED_RELATION: "subject_nested",
            Role.OBJECT_NESTED_RELATION: "object_nested",
        }[role]
        return tuple(getattr(nouns, noun) for nouns in names.RELATIONS)

    def _filler_tokens(self, count: int) -> list[str]:
        if not self._natural:
            return self._invent(_FILLER_POOL, count)
        return list(names.filler_names()[:count])

    def _num_ids(self, role: Role) -> int:
        world, nested = self.world, bool(self.world.num_nested_objects)
        return {
            Role.SUBJECT: world.num_subjects,
            Role.RELATION: world.num_relations,
            Role.SUBJECT_NESTED_RELATION: world.num_relations * nested,
            Role.OBJECT_NESTED_RELATION: world.num_relations * nested,
            Role.OBJECT: world.num_objects,
            Role.NESTED: world.num_nested_objects,
        }[role]

    def _num_groups(self, role: Role) -> int:
        return self.world.num_relations if role in (Role.OBJECT, Role.NESTED) else 1

    @staticmethod
    def _pool(role: Role, group: int) -> int:
        """The number of a word's first pool, the same whatever else the world contains."""
        if role is Role.OBJECT:
            return 10 + 4 * group
        if role is Role.NESTED:
            return 12 + 4 * group
        return 2 * role

    def _invent(self, pool: int, count: int) -> list[str]:
        numbers = self._permutation(np.arange(pool * _POOL, pool * _POOL + count))
        return [_spell(number) for number in numbers.tolist()]


def _spell(number: int) -> str:
    """The seven letters of a token number: three syllables and an ending."""
    number, ending = divmod(number, len(_ENDINGS))
    syllables = []
    for _ in range(3):
        number, syllable = divmod(number, len(_CONSONANTS) * len(_VOWELS))
        consonant, vowel = divmod(syllable, len(_VOWELS))
        syllables.append(_CONSONANTS[consonant] + _VOWELS[vowel])
    return "".join(syllables) + _ENDINGS[ending]
