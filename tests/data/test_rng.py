"""Facts about the random streams, checked against a second version in plain Python integers.

Chi-square tests have an error rate of one in a million: a sound generator fails one of them for one seed in a
million, and as the seeds are fixed, it either always fails or never.
"""

import hashlib
import itertools
import math
from collections import Counter

import numpy as np
import pytest
from scipy.stats import chi2, norm

from behemoth_data.rng import Permutation, Stream

ERROR_RATE = 1e-6
WORD = 2**64 - 1
GOLDEN_RATIO = 0x9E3779B97F4A7C15


def keys(seed, name, count):
    """Consecutive little-endian 64-bit words of SHA-256("seed/name/0"), SHA-256("seed/name/1"), ..."""
    data = b"".join(hashlib.sha256(f"{seed}/{name}/{i}".encode()).digest() for i in range(count))
    return [int.from_bytes(data[8 * i : 8 * i + 8], "little") for i in range(count)]


def mix(x):
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & WORD
    return x ^ (x >> 31)


def bits(seed, name, index):
    add, xor = keys(seed, name, 2)
    return mix(mix((index * GOLDEN_RATIO + add) & WORD) ^ xor)


def permuted(size, seed, name, index):
    """Eight Feistel rounds on index's low half of bits and the rest, walked until the image lies inside."""
    low_bits = len(f"{size - 1:b}") // 2 if size > 1 else 0
    low_values = 2**low_bits
    high_values = (size + low_values - 1) // low_values
    while True:
        high, low = divmod(index, low_values)
        for step, key in enumerate(keys(seed, name, 8)):
            if step % 2 == 0:
                high = (high + ((mix((low + key) & WORD) >> 32) * high_values >> 32)) % high_values
            else:
                low ^= (mix((high + key) & WORD) >> 32) % low_values
        index = high * low_values + low
        if index < size:
            return index


def fits(counts, expected):
    """Whether counts differ from what is expected by no more than chance, at the stated error rate."""
    counts, expected = np.asarray(counts, float).ravel(), np.broadcast_to(expected, np.size(counts))
    return ((counts - expected) ** 2 / expected).sum() < chi2.isf(ERROR_RATE, len(counts) - 1)


# streams


def test_mixer_of_the_plain_version_gives_the_published_numbers_of_splitmix64():
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    assert [mix((1234567 + i * GOLDEN_RATIO) & WORD) for i in range(1, 5)] == published


@pytest.mark.parametrize("seed", [0, 1, -3, 2**70])
@pytest.mark.parametrize("name", ["", "world/objects", "é"])
def test_bits_equal_those_of_plain_integers(seed, name):
    index = [0, 1, 2, 1000, 2**32, 2**63 - 1, 2**64 - 1]
    found = Stream(seed, name).bits(np.array(index, np.uint64))
    assert found.tolist() == [bits(seed, name, i) for i in index]


def test_bits_are_the_known_ones():
    known = {
        (0, "a", 0): 0x7E9736EE9F78AE02,
        (0, "a", 1): 0x3D458FC0E0306128,
        (7, "world/objects", 4294967296): 0x8D94D83923318D5A,
    }
    assert {key: int(Stream(*key[:2]).bits(key[2])) for key in known} == known


@pytest.mark.parametrize("bound", [1, 2, 3, 100, 2**31 - 1, 2**32])
def test_integers_are_the_high_half_scaled_to_the_bound(bound):
    expected = [(bits(5, "s", i) >> 32) * bound >> 32 for i in range(200)]
    assert Stream(5, "s").integers(np.arange(200), bound).tolist() == expected


def test_uniform_is_the_high_53_bits_as_a_fraction():
    expected = [(bits(5, "s", i) >> 11) / 2**53 for i in range(200)]
    assert Stream(5, "s").uniform(np.arange(200)).tolist() == expected


def test_choice_orders_ids_by_their_bits():
    order = sorted(range(50), key=lambda i: bits(3, "c", i))
    assert Stream(3, "c").choice(50, 50).tolist() == order
    assert Stream(3, "c").choice(50, 7).tolist() == order[:7]
    assert Stream(3, "c").choice(50, 99).tolist() == order


def test_value_depends_on_neither_the_order_nor_the_shape_of_the_question():
    stream = Stream(11, "x")
    whole = stream.bits(np.arange(60))
    assert [int(stream.bits(i)) for i in range(60)] == whole.tolist()
    assert stream.bits(np.arange(60)[::-1]).tolist() == whole.tolist()[::-1]
    assert stream.bits(np.arange(60).reshape(3, 20)).tolist() == whole.reshape(3, 20).tolist()
    assert Stream(11, "x").bits([59, 0, 59]).tolist() == [whole[59], whole[0], whole[59]]


def test_indices_given_are_left_as_they_were():
    index = np.arange(5, dtype=np.uint64)
    Stream(0, "x").bits(index)
    assert index.tolist() == [0, 1, 2, 3, 4]
    places = np.arange(5)
    Permutation(5, 0, "x")(places)
    assert places.tolist() == [0, 1, 2, 3, 4]


def test_bound_outside_its_range_is_refused():
    for bound in (0, 2**32 + 1):
        with pytest.raises(ValueError, match=rf"bound must be between 1 and 2\*\*32, got {bound}"):
            Stream(0, "x").integers(0, bound)


@pytest.mark.parametrize("bound", [2, 7, 100])
def test_integers_are_uniform(bound):
    values = Stream(1, f"uniform/{bound}").integers(np.arange(100_000), bound)
    assert fits(np.bincount(values, minlength=bound), 100_000 / bound)


def test_successive_integers_are_independent():
    values = Stream(2, "pairs").integers(np.arange(100_001), 10)
    assert fits(np.bincount(values[:-1] * 10 + values[1:], minlength=100), 1000)


def test_every_bit_is_set_half_of_the_time():
    words = Stream(4, "bits").bits(np.arange(20_000))
    ones = [int(((words >> np.uint64(bit)) & np.uint64(1)).sum()) for bit in range(64)]
    assert all(fits([count, 20_000 - count], 10_000) for count in ones)


@pytest.mark.parametrize("other", [(1, "x"), (0, "y"), (0, "x/0"), (-1, "x"), (10, "x")])
def test_neighbouring_streams_share_no_value_and_no_bit_beyond_chance(other):
    first, second = Stream(0, "x").bits(np.arange(10_000)), Stream(*other).bits(np.arange(10_000))
    assert not set(first.tolist()) & set(second.tolist())
    equal = 640_000 - int(np.unpackbits((first ^ second).view(np.uint8)).sum())
    assert fits([equal, 640_000 - equal], 320_000)


# permutations


@pytest.mark.parametrize("sizes", [range(1, 101), range(101, 201), range(201, 301)])
def test_permutation_hits_every_place_once(sizes):
    for size in sizes:
        assert sorted(Permutation(size, 9, "p")(np.arange(size)).tolist()) == list(range(size)), size


@pytest.mark.parametrize("size", [10_007, 2**16, 99_999, 316**2 + 1])
def test_large_permutation_hits_every_place_once(size):
    image = Permutation(size, 2, "large")(np.arange(size))
    assert np.array_equal(np.sort(image), np.arange(size))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 12, 100, 1009, 2**40 + 1, 2**61 - 1, 2**62 - 1, 2**62])
def test_permutation_equals_that_of_plain_integers(size):
    places = sorted({0, 1 % size, size // 3, size // 2, size - 1})
    assert Permutation(size, 6, "p")(places).tolist() == [permuted(size, 6, "p", i) for i in places]


def test_permutation_is_the_known_one():
    assert Permutation(12, 0, "a")(np.arange(12)).tolist() == [11, 4, 9, 1, 0, 3, 2, 6, 8, 10, 5, 7]


@pytest.mark.parametrize("size", [1, 2, 3, 12, 1009, 2**20, 2**40 + 1, 2**62])
def test_inverse_finds_the_index_of_an_image(size):
    permutation = Permutation(size, 4, "p")
    places = np.unique(np.linspace(0, size - 1, 1000).astype(np.int64).clip(0, size - 1))
    assert np.array_equal(permutation.inverse(permutation(places)), places)
    assert np.array_equal(permutation(permutation.inverse(places)), places)


def test_image_does_not_depend_on_how_many_are_asked_for_at_once():
    permutation = Permutation(100_000, 8, "p")
    whole = permutation(np.arange(100_000))
    assert np.array_equal(
        np.concatenate([permutation(np.arange(i, i + 12_500)) for i in range(0, 100_000, 12_500)]), whole
    )


def test_image_depends_on_neither_the_order_nor_the_shape_of_the_question():
    permutation = Permutation(60, 1, "p")
    whole = permutation(np.arange(60)).tolist()
    assert [int(permutation(i)) for i in range(60)] == whole
    assert permutation(np.arange(60).reshape(4, 15)).tolist() == np.reshape(whole, (4, 15)).tolist()
    assert permutation([59, 0]).tolist() == [whole[59], whole[0]]
    assert permutation([]).tolist() == []


def test_every_seed_and_name_has_a_permutation_of_its_own():
    images = [tuple(Permutation(200, seed, name)(np.arange(200)).tolist()) for seed in range(5) for name in "ab"]
    assert len(set(images)) == 10


@pytest.mark.parametrize("size", [2, 7])
def test_first_image_is_uniform_over_seeds(size):
    firsts = Counter(int(Permutation(size, seed, "first")(0)) for seed in range(200 * size))
    assert fits([firsts[i] for i in range(size)], 200)


def test_images_of_two_places_are_a_uniform_pair_over_seeds():
    pairs = Counter(tuple(Permutation(7, seed, "pair")([0, 1]).tolist()) for seed in range(2100))
    assert fits([pairs[pair] for pair in itertools.permutations(range(7), 2)], 50)


@pytest.mark.parametrize("size", [3, 4, 5, 6])
def test_every_order_of_a_few_places_occurs(size):
    orders = (Permutation(size, seed, "all")(np.arange(size)) for seed in range(5 * math.factorial(size)))
    seen = {tuple(order.tolist()) for order in orders}
    assert len(seen) > 0.4 * math.factorial(size)  # a Feistel network may be bound to the even half of all orders


@pytest.mark.parametrize("size", [40_000, 65_536, 99_999])
@pytest.mark.parametrize("lag", [1, 2, 7, 256])
def test_images_are_not_serially_correlated(size, lag):
    image = Permutation(size, 5, "serial")(np.arange(size))
    correlation = np.corrcoef(image[:-lag], image[lag:])[0, 1]
    # A uniform permutation's is about normal with variance 1 / size.
    assert abs(correlation) < norm.isf(ERROR_RATE / 2) / np.sqrt(size - lag)


def test_neighbours_are_scattered():
    image = Permutation(100_000, 3, "far")(np.arange(100_000))
    steps = np.diff(image) % 100_000
    assert fits(np.bincount(steps // 1000, minlength=100), len(steps) / 100)


def test_size_outside_its_range_is_refused():
    for size in (0, -1, 2**62 + 1):
        with pytest.raises(ValueError, match=rf"size must be between 1 and 2\*\*62, got {size}"):
            Permutation(size, 0, "p")


def test_place_outside_the_permutation_is_refused():
    for index, said in ((10, "10 to 10"), ([3, -1], "-1 to 3")):
        with pytest.raises(ValueError, match=rf"index must lie in \[0, 10\), got {said}"):
            Permutation(10, 0, "p")(index)
