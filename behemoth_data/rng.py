"""Counter-based randomness: value = f(seed, stream name, index). Keeps no state and uses no numpy generator.

Two streams with different seeds or names are keyed by SHA-256 and so share nothing; neighbouring seeds are
as unrelated as any others. Axis letters: n values.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import ArrayLike, NDArray

UInt64 = NDArray[np.uint64]
Int64 = NDArray[np.int64]

_ROUNDS = 8  # a permutation's Feistel rounds; four suffice to look random, small domains want more
_CHUNK = 2**14  # values worked on at a time, so that they stay in a core's own cache

_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_27, _30, _31, _32 = (np.uint64(count) for count in (27, 30, 31, 32))


def _keys(seed: int, name: str, count: int) -> list[int]:
    """`count` 64-bit keys that depend on every bit of the seed and the name."""
    blocks = [hashlib.sha256(f"{seed}/{name}/{block}".encode()).digest() for block in range((count + 3) // 4)]
    data = b"".join(blocks)
    return [int.from_bytes(data[8 * i : 8 * i + 8], "little") for i in range(count)]


def _mix(x: UInt64, spare: UInt64) -> UInt64:
    """The SplitMix64 finaliser, a bijection on 64-bit words, computed in place; `spare` is overwritten.

    Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014, figure 14
    (variant 13 of Stafford's mixers).
    """
    for shift, factor in ((_30, _FIRST), (_27, _SECOND)):
        np.right_shift(x, shift, out=spare)
        np.bitwise_xor(x, spare, out=x)
        np.multiply(x, factor, out=x)
    np.right_shift(x, _31, out=spare)
    return np.bitwise_xor(x, spare, out=x)


class Stream:
    """The random values that (seed, name) stands for, each found from its index alone."""

    def __init__(self, seed: int, name: str) -> None:
        self._add, self._xor = (np.uint64(key) for key in _keys(seed, name, 2))

    def bits(self, index: ArrayLike) -> UInt64:
        """64 random bits for every index [n]."""
        x = np.array(index, dtype=np.uint64)  # a copy: mixing works in place
        shape = x.shape
        x = np.atleast_1d(x)
        x *= np.uint64(0x9E3779B97F4A7C15)
        x += self._add
        spare = np.empty_like(x)
        x = _mix(x, spare)
        x ^= self._xor
        return _mix(x, spare).reshape(shape)

    def integers(self, index: ArrayLike, bound: int) -> Int64:
        """Integers in [0, bound) for every index [n]; each has probability 1/bound to within 2**-32.

        Raises: ValueError unless 1 <= bound <= 2**32.
        """
        if not 1 <= bound <= 2**32:
            raise ValueError(f"bound must be between 1 and 2**32, got {bound}")
        high = self.bits(index) >> np.uint64(32)
        return ((high * np.uint64(bound)) >> np.uint64(32)).astype(np.int64)

    def uniform(self, index: ArrayLike) -> NDArray[np.float64]:
        """Floats in [0, 1) with 53 random bits for every index [n]."""
        return (self.bits(index) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def choice(self, size: int, count: int) -> Int64:
        """`count` distinct integers of [0, size), in random order [count]; all of them if count >= size."""
        order = np.argsort(self.bits(np.arange(size)), kind="stable")
        return order[:count].astype(np.int64)


class Permutation:
    """A random-looking bijection of [0, size) that needs no memory: permutation(i) for any i in any order.

    A Feistel network on i's low bits and on what stands above them: the low half is changed by exclusive or,
    the high half by addition modulo its number of values. Fewer than sqrt(2 * size) values lie outside of
    [0, size); those walk on along their cycle.
    Source: Black and Rogaway, "Ciphers with arbitrary finite domains", 2002 (cycle walking, and the
    generalised Feistel network, here with one of the two halves a power of two).
    """

    def __init__(self, size: int, seed: int, name: str) -> None:
        """Raises: ValueError unless 1 <= size <= 2**62."""
        if not 1 <= size <= 2**62:
            raise ValueError(f"size must be between 1 and 2**62, got {size}")
        self.size = size
        low_bits = (size - 1).bit_length() // 2
        self._low_bits, self._low_mask = np.uint64(low_bits), np.uint64(2**low_bits - 1)
        self._num_high = np.uint64(-(-size >> low_bits))
        self._keys = [np.uint64(key) for key in _keys(seed, name, _ROUNDS)]

    def __call__(self, index: ArrayLike) -> Int64:
        """The images [n] of the indices [n]. Raises: ValueError for an index outside [0, size)."""
        return self._walk(index, inverse=False)

    def inverse(self, image: ArrayLike) -> Int64:
        """The indices [n] whose images are these [n]. Raises: ValueError for one outside [0, size)."""
        return self._walk(image, inverse=True)

    def _walk(self, index: ArrayLike, inverse: bool) -> Int64:
        x = np.array(index, dtype=np.int64)
        shape = x.shape
        x = np.atleast_1d(x).ravel()
        if x.size and (int(x.min()) < 0 or int(x.max()) >= self.size):
            raise ValueError(f"index must lie in [0, {self.size}), got {int(x.min())} to {int(x.max())}")
        y = x.view(np.uint64)
        scratch = np.empty((4, min(_CHUNK, x.size)), np.uint64)
        for start in range(0, x.size, _CHUNK):
            part = y[start : start + _CHUNK]
            self._once(part, scratch[:, : part.size], inverse)
        outside = np.flatnonzero(y >= np.uint64(self.size))
        while outside.size:
            moved = y[outside]
            self._once(moved, np.empty((4, moved.size), np.uint64), inverse)
            y[outside] = moved
            outside = outside[moved >= np.uint64(self.size)]
        return x.reshape(shape)

    def _once(self, x: UInt64, scratch: UInt64, inverse: bool) -> None:
        """One pass of the network over x [n], in place; scratch is [4, n]."""
        low, high, noise, spare = scratch
        np.bitwise_and(x, self._low_mask, out=low)
        np.right_shift(x, self._low_bits, out=high)
        steps = list(enumerate(self._keys))
        for step, key in reversed(steps) if inverse else steps:
            if step % 2 == 0:
                # 32 random bits scaled to the number of high halves: uniform to within 2**-32 of each.
                self._noise(low, key, noise, spare)
                np.multiply(noise, self._num_high, out=noise)
                np.right_shift(noise, _32, out=noise)
                if inverse:
                    np.subtract(self._num_high, noise, out=noise)
                np.add(high, noise, out=high)
                # The smaller of h and h - num_high: below num_high, the difference wraps to a huge number.
                np.subtract(high, self._num_high, out=spare)
                np.minimum(high, spare, out=high)
            else:
                self._noise(high, key, noise, spare)
                np.bitwise_and(noise, self._low_mask, out=noise)
                np.bitwise_xor(low, noise, out=low)
        np.left_shift(high, self._low_bits, out=x)
        np.bitwise_or(x, low, out=x)

    @staticmethod
    def _noise(half: UInt64, key: np.uint64, noise: UInt64, spare: UInt64) -> None:
        """32 random bits for every half [n]."""
        np.add(half, key, out=noise)
        _mix(noise, spare)
        np.right_shift(noise, _32, out=noise)
