"""Products of the features with numbers for each class, in a precision that is chosen.

"highest" keeps the digits of float32, "default" takes what the device multiplies
fastest: an accelerator then rounds the factors to fewer bits, and a CPU does not.

Features of 16 bits are read as they are. Where a product with them has to keep 24 bits,
an accelerator multiplies bfloat16 by bfloat16 three times and adds up in float32, since
a float32 number b is the sum of three of bfloat16:

    b = b₁ + b₂ + b₃,    b₁ = bf16(b),  b₂ = bf16(b − b₁),  b₃ = b − b₁ − b₂.

A CPU, which would convert the factors itself, widens the features block by block.
"""

from dataclasses import dataclass
from functools import reduce

import jax
import jax.numpy as jnp

from bcejax._numerics.by_device import by_device
from bcejax._numerics.by_slices import used_twice
from bcejax._sharding import replication
from bcejax.logistic_regression._problem import Params

PARTS = 3  # of 8 bits, which make the 24 of float32
PRECISIONS = "default", "high", "highest"


@dataclass(frozen=True)
class Products:
    """How features are multiplied."""

    precision: str

    def logits(self, params: Params, features: jax.Array) -> jax.Array:
        """features·B + b: `(n, classes)`."""
        x = self._of(features, params.weights, None) + params.bias
        # With one column the product is a multiplication. A CPU does it anew in every
        # loop, and some loops round it together with the addition: then the largest
        # logit of one loop is none of the logits of another.
        return used_twice(x) if features.shape[1] == 1 else x

    def sums(self, push: jax.Array, features: jax.Array) -> Params:
        """Σᵢ featuresᵢᵀ pushᵢ and Σᵢ pushᵢ: `(d, classes)` and `(classes,)`."""
        weights = self._of(features.T, push, replication(push))
        return Params(weights, jnp.sum(push, 0))

    def _of(self, a: jax.Array, b: jax.Array, sharding) -> jax.Array:
        def wide(a, b):
            return (self._dot(a.astype(b.dtype), b, sharding),)

        if a.dtype == b.dtype:
            return wide(a, b)[0]
        narrow = a.dtype == jnp.bfloat16 and b.dtype == jnp.float32
        by_parts = self._by_parts if narrow else wide

        def elsewhere(a, b):
            return (by_parts(a, b, sharding),) if narrow else wide(a, b)

        return by_device(wide, elsewhere, a, b)[0]

    def _by_parts(self, a: jax.Array, b: jax.Array, sharding) -> jax.Array:
        parts = parts_of(b, PARTS if self.precision == "highest" else 1)
        return reduce(jnp.add, [self._dot(a, part, sharding) for part in parts])

    def _dot(self, a: jax.Array, b: jax.Array, sharding) -> jax.Array:
        wide = jnp.float32 if b.dtype == jnp.bfloat16 else b.dtype
        return jnp.matmul(
            a,
            b,
            precision=self.precision,
            preferred_element_type=wide,
            out_sharding=sharding,
        )


def parts_of(b: jax.Array, count: int) -> list[jax.Array]:
    """Numbers of bfloat16 whose sum is `b`, to 8 bits for each."""
    parts = []
    for _ in range(count):
        # Not by `astype` there and back, which XLA may leave out as the same number.
        part = jax.lax.reduce_precision(b, exponent_bits=8, mantissa_bits=7)
        parts.append(part.astype(jnp.bfloat16))
        b = b - part
    return parts


def checked_precision(precision: str) -> Products:
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {PRECISIONS}, got {precision!r}.")
    return Products(precision)
