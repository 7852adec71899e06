"""Sums over the rows of the data, which may be many, or sharded over devices.

Every sum that a fit takes over its rows is one of these. On a mesh the results are
replicated on its devices, and XLA adds up the parts of the devices.
"""

from functools import partial

import jax
import jax.numpy as jnp

from bcejax._numerics import chunk_sizes
from bcejax._numerics.by_device import by_device
from bcejax._sharding import replication
from bcejax.logistic_regression._problem import Params, Problem

# HIGHEST because accelerators would otherwise round the factors to fewer bits.
HIGHEST = jax.lax.Precision.HIGHEST

BLOCK = 2**19  # features in a block: 2 MB of float32, which two cores' caches hold


def added(a, b):
    return jax.tree.map(jnp.add, a, b)


def sum_over_blocks(
    function, given, data: Problem, copies=False, width: int = 0, join=added
):
    """The sum of `function(given, block)` over the rows of `data`.

    `given` is all that the function takes but the rows, a pytree of arrays. A CPU takes
    the rows in blocks that stay in its cache. An accelerator would launch some kernels
    for each block, and takes the rows at once; or in large blocks, if the function
    `copies` them. A block has so many rows that `width` numbers for each fill it, the
    features or more. What two blocks give is put together by `join`.
    """
    width = max(width, data.features.shape[1])
    if is_one_block(data, BLOCK // width) or replication(data.features):
        return function(given, data.readable())
    leaves, structure = jax.tree.flatten((given, data))
    results: list = []  # the structure of what the function returns

    def flat(way):
        def of_leaves(*leaves):
            sums = way(function, *structure.unflatten(leaves))
            results[:] = [jax.tree.structure(sums)]
            return tuple(jax.tree.leaves(sums))

        return of_leaves

    accelerator = all_at_once
    # 256 MB, next to which the launch of a kernel is nothing. A block whose rows are no
    # multiple of 16 would be copied to one that is.
    large = max(128 * BLOCK // width // chunk_sizes.LEAST, 1) * chunk_sizes.LEAST
    if copies and not is_one_block(data, large):
        accelerator = partial(block_by_block, large, join)
    sums = by_device(
        flat(partial(block_by_block, BLOCK // width, join)),
        flat(all_at_once),
        *leaves,
        one_accelerator=flat(accelerator),
    )
    return jax.tree.unflatten(results[0], sums)


def is_one_block(data: Problem, rows: int) -> bool:
    """Whether blocks of so many rows, one at least, are too few to be worth it."""
    return len(data.features) <= 2 * max(rows, 1)


def all_at_once(function, given, data: Problem):
    return function(given, data.readable())


def block_by_block(rows: int, join, function, given, data: Problem):
    rows = max(rows, 1)

    def block(start, size):
        part = data.rows(lambda a: jax.lax.dynamic_slice_in_dim(a, start, size))
        return part.readable()

    # The first block takes the rows that do not fill one.
    blocks, rest = divmod(len(data.features), rows)
    first = function(given, block(0, rest or rows))
    start = rest or rows

    def add(i, total):
        more = function(given, block(start + i * rows, rows))
        return join(total, more)

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
