"""What tells one set of rows from another: their number and sums over their bits.

The sums are those of integers, modulo 2³² or 2⁶⁴, and exact: they do not depend on the
order of the rows, nor on how they are cut into batches. A row has a key, a mixture of
its label, offset and weight, by which the bits of its features are multiplied.
"""

from typing import NamedTuple

import numpy as np

MIX = np.uint64(0x9E3779B97F4A7C15)  # 2⁶⁴ / golden ratio: odd, of bits in no pattern
DOWN = np.uint64(29)  # bits, from the upper to the lower half


class Fingerprint(NamedTuple):
    rows: int  # those of a positive weight
    keys: np.ndarray  # (1,), their sum
    bits: np.ndarray  # (d,), the sum of key × feature

    @staticmethod
    def of(features, labels, offset, weight) -> "Fingerprint":
        key = np.zeros(len(labels), np.uint64)
        for a in (labels, offset, weight):
            key = (key + bits_of(a)) * MIX
            key ^= key >> DOWN
        of_features = bits_of(features)
        bits = np.einsum("i,ij->j", key.astype(of_features.dtype), of_features)
        return Fingerprint(len(labels), key.sum(keepdims=True), bits)

    def also(self, other: "Fingerprint") -> "Fingerprint":
        """That of the rows of both."""
        return Fingerprint(
            self.rows + other.rows, self.keys + other.keys, self.bits + other.bits
        )

    def matches(self, other: "Fingerprint") -> bool:
        same = np.array_equal(self.keys, other.keys)
        return (
            self.rows == other.rows and same and np.array_equal(self.bits, other.bits)
        )


def bits_of(a: np.ndarray) -> np.ndarray:
    return a.view(np.uint32 if a.dtype.itemsize == 4 else np.uint64)
