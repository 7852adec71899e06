"""Sums over the rows of the data, which may be many, or sharded over devices.

Every sum that a fit takes over its rows is one of these. On a mesh the results are
replicated on its devices, and XLA adds up the parts of the devices.
"""

import jax
import jax.numpy as jnp

from bcejax._sharding import replication
from bcejax.logistic_regression._problem import Params, Problem

# HIGHEST because accelerators would otherwise round the factors to fewer bits.
HIGHEST = jax.lax.Precision.HIGHEST

BLOCK = 2**19  # features in a block: 2 MB of float32, which two cores' caches hold


def sum_over_blocks(function, data: Problem):
    """The sum of `function(block)` over blocks of rows that stay in cache."""
    features = data.features
    rows = max(BLOCK // features.shape[1], 1)
    if len(features) <= 2 * rows or replication(features):
        return function(data.readable())

    def block(start, size):
        part = data.rows(lambda a: jax.lax.dynamic_slice_in_dim(a, start, size))
        return part.readable()

    # The first block takes the rows that do not fill one.
    blocks, rest = divmod(len(features), rows)
    first = function(block(0, rest or rows))
    start = rest or rows

    def add(i, total):
        more = function(block(start + i * rows, rows))
        return jax.tree.map(jnp.add, total, more)

    return jax.lax.fori_loop(0, blocks - (rest == 0), add, first)


def sum_over_rows(a: jax.Array, b: jax.Array) -> jax.Array:
    """Σᵢ aᵢ bᵢᵀ = aᵀ b; `a` has one column or several, and so has `b`."""
    return jnp.matmul(a.T, b, precision=HIGHEST, out_sharding=replication(b))


def chosen_rows(a: jax.Array, chosen) -> jax.Array:
    """The rows of these indices, replicated."""
    return a.at[chosen].get(out_sharding=replication(a))


def linear(params: Params, features: jax.Array) -> jax.Array:
    """features·β + b of each row."""
    weights, bias = params
    return jnp.matmul(features, weights, precision=HIGHEST) + bias
