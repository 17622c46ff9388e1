"""The random numbers in plain integers and NumPy: Philox 4x32-10 and the streams drawn from it."""

import math

import numpy as np

_WORD = 0xFFFFFFFF


def philox(counter, key):
    """Return four 32-bit words from a counter of four and a key of two. Each may be an array of uint64 instead."""
    c0, c1, c2, c3 = (np.asarray(word, np.uint64) for word in counter)
    k0, k1 = (np.asarray(word, np.uint64) for word in key)
    word, half = np.uint64(_WORD), np.uint64(32)
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
        c0, c1, c2, c3 = (p1 >> half) ^ c1 ^ k0, p1 & word, (p0 >> half) ^ c3 ^ k1, p0 & word
        k0, k1 = (k0 + np.uint64(0x9E3779B9)) & word, (k1 + np.uint64(0xBB67AE85)) & word
    return c0, c1, c2, c3


class Stream:
    """The numbers for one place of use, as nf_random_at gives them."""

    def __init__(self, seed, epoch, index, stream):
        self.key = (seed & _WORD, seed >> 32)
        self.counter = [(stream << 12) & _WORD, epoch, index & _WORD, index >> 32]
        self.block = []

    def bits(self):
        if not self.block:
            self.block = [int(word) for word in philox(self.counter, self.key)]
            self.counter[0] = (self.counter[0] + 1) & _WORD
        return self.block.pop(0)

    def below(self, n):
        return self.bits() * n >> 32

    def uniform(self):
        high, low = self.bits() >> 5, self.bits() >> 6
        return ((high << 26) | low) * 2.0**-53

    def normal(self):
        radius = math.sqrt(-2 * math.log1p(-self.uniform()))
        return radius * math.cos(2 * math.pi * self.uniform())
