"""Sums over chunks of rows, as if they had been added in twice the digits.

A sum of thousands of chunks would lose digits with each. So what rounding leaves out of
an addition is carried along:

    s, r  =  sum + more,          the rounded sum and what it leaves out, exactly   (1)
    sum, left out  =  s + (left out + r)                                            (2)
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Total(NamedTuple):
    sum: Any  # a pytree
    left_out: Any

    @staticmethod
    def of_none(like) -> "Total":
        """That of no terms; they look `like` this."""
        zero = jax.tree.map(lambda a: jax.device_put(np.zeros(a.shape, a.dtype)), like)
        return Total(zero, zero)

    def plus(self, more) -> "Total":
        rounded, left_out = added(self.sum, more)  # (1)
        both = jax.tree.map(jnp.add, self.left_out, left_out)
        return Total(*added(rounded, both))  # (2)

    def also(self, other: "Total") -> "Total":
        """That of the terms of both."""
        return self.plus(other.sum).plus(other.left_out)


def added(a, b):
    total = jax.tree.map(jnp.add, a, b)
    return total, jax.tree.map(left_out_of, total, a, b)


def left_out_of(total: jax.Array, a: jax.Array, b: jax.Array) -> jax.Array:
    """a + b − total, exactly (Knuth's TwoSum)."""
    from_b = total - a
    return (a - (total - from_b)) + (b - from_b)
