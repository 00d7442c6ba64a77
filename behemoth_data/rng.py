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


def _keys(seed: int, name: str, count: int) -> list[int]:
    """`count` 64-bit keys that depend on every bit of the seed and the name."""
    blocks = [hashlib.sha256(f"{seed}/{name}/{block}".encode()).digest() for block in range((count + 3) // 4)]
    data = b"".join(blocks)
    return [int.from_bytes(data[8 * i : 8 * i + 8], "little") for i in range(count)]


def _mix(x: UInt64) -> UInt64:
    """The SplitMix64 finaliser, a bijection on 64-bit words, computed in place.

    Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014, figure 14
    (variant 13 of Stafford's mixers).
    """
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x


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
        x = _mix(x)
        x ^= self._xor
        return _mix(x).reshape(shape)

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

    A Feistel network on the digits of i in base a = ceil(sqrt(size)), additions modulo the base, with cycle
    walking for the few values (at most a) of the a x b rectangle that lie outside.
    Source: Black and Rogaway, "Ciphers with arbitrary finite domains", 2002 (generalised Feistel).
    """

    def __init__(self, size: int, seed: int, name: str) -> None:
        """Raises: ValueError unless 1 <= size <= 2**62."""
        if not 1 <= size <= 2**62:
            raise ValueError(f"size must be between 1 and 2**62, got {size}")
        self.size = size
        self._a = int(np.ceil(np.sqrt(size)))
        self._b = -(-size // self._a)
        self._keys = [np.uint64(key) for key in _keys(seed, name, _ROUNDS)]

    def __call__(self, index: ArrayLike) -> Int64:
        """The images [n] of the indices [n]. Raises: ValueError for an index outside [0, size)."""
        x = np.array(index, dtype=np.int64)
        shape = x.shape
        x = np.atleast_1d(x).ravel()
        if x.size and (int(x.min()) < 0 or int(x.max()) >= self.size):
            raise ValueError(f"index must lie in [0, {self.size}), got {int(x.min())} to {int(x.max())}")
        y = self._once(x.astype(np.uint64))
        outside = np.flatnonzero(y >= np.uint64(self.size))
        while outside.size:
            y[outside] = self._once(y[outside])
            outside = outside[y[outside] >= np.uint64(self.size)]
        return y.astype(np.int64).reshape(shape)

    def _once(self, x: UInt64) -> UInt64:
        left, right = np.divmod(x, np.uint64(self._a))  # left < b, right < a
        for step, key in enumerate(self._keys):
            if step % 2 == 0:
                left = self._add(left, right, key, self._b)
            else:
                right = self._add(right, left, key, self._a)
        return left * np.uint64(self._a) + right

    @staticmethod
    def _add(target: UInt64, other: UInt64, key: np.uint64, base: int) -> UInt64:
        """(target + F(other, key)) mod base; F is uniform on [0, base) to within base / 2**32."""
        noise = _mix(other + key) >> np.uint64(32)
        noise *= np.uint64(base)
        noise >>= np.uint64(32)
        noise += target
        np.subtract(noise, np.uint64(base), out=noise, where=noise >= np.uint64(base))
        return noise
