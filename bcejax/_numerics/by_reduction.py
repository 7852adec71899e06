"""Sums over classes as plain reductions: for several devices and sharded classes.

Each is a maximum or a sum, which XLA joins over devices without gathering anything.
"""

import jax
import jax.numpy as jnp

from bcejax._numerics.tops import ties, tops_of


def top(x: jax.Array) -> jax.Array:
    """The largest of each row. On XLA's CPU it may pass over NaN; no sum does."""
    return jnp.max(x, -1)


def total(term, arrays, rows) -> jax.Array:
    """Σ_k of term(k, arrays at k, rows), a number a row."""
    k = jax.lax.broadcasted_iota(jnp.int32, arrays[0].shape, arrays[0].ndim - 1)
    return jnp.sum(term(k, *arrays, *(row[..., None] for row in rows)), -1)


def all_but_one_top(x, top, measure, rows) -> jax.Array:
    """Σ of measure(x, rows) over all but one of the largest classes, worth 1."""
    rest = total(
        lambda _, x, t, *r: jnp.where(x == t, 0, measure(x, *r)), (x,), (top, *rows)
    )
    return rest + (ties(total, x, top) - 1)


def weighted(y, measure, arrays, rows, level) -> jax.Array:
    """Σ y (measure(arrays, rows) + level) over the classes with y ≠ 0.

    In two sums of terms ≥ 0, of which neither needs `level` before it is added up. If
    `level` is itself a sum over classes, then all sums are taken in one reading.
    """
    parts = total(
        lambda _, y, *a: jnp.where(y == 0, 0, y * measure(*a)), (y, *arrays), rows
    )
    return parts + level * jnp.sum(y, -1)


def at(x: jax.Array, label: jax.Array) -> jax.Array:
    """x of the class `label` of each row; NaN where there is no such class.

    A sum, as a gather would bring the classes of a sharded axis together.
    """
    picked = total(lambda k, x, label: jnp.where(k == label, x, 0), (x,), (label,))
    return jnp.where(label < x.shape[-1], picked, jnp.nan)


top_and_others, top_and_rest, top_and_at = tops_of(top, total, at, all_but_one_top)


def used_twice(rows: jax.Array) -> jax.Array:
    return rows


def result(rows: jax.Array) -> jax.Array:
    return rows
