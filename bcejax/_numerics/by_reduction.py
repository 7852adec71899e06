"""Sums over classes as plain reductions: for several devices and sharded classes.

Each is a maximum or a sum, which XLA joins over devices without gathering anything.
"""

import jax
import jax.numpy as jnp

from bcejax._numerics.sums import Sums


class ByReduction(Sums):
    def top(self, x: jax.Array) -> jax.Array:
        return jnp.max(x, self.axis)

    def total(self, term, arrays, rows) -> jax.Array:
        shape = arrays[0].shape
        k = jax.lax.broadcasted_iota(jnp.int32, shape, len(shape) + self.axis)
        return jnp.sum(term(k, *arrays, *self.beside(*rows)), self.axis)

    def all_but_one_top(self, x, top, measure, rows) -> jax.Array:
        def rest(_, x, top, *rows):
            return jnp.where(x == top, 0, measure(x, *rows))

        return self.total(rest, (x,), (top, *rows)) + (self.ties(x, top) - 1)

    def weighted(self, y, measure, arrays, rows, level) -> jax.Array:
        # In two sums of terms ≥ 0, of which neither needs `level` before it is added
        # up. If `level` is itself a sum over classes, then all sums are taken in one
        # reading.
        def cost(_, y, *arguments):
            return jnp.where(y == 0, 0, y * measure(*arguments))

        parts = self.total(cost, (y, *arrays), rows)
        return parts + level * jnp.sum(y, self.axis)

    def at(self, x: jax.Array, label: jax.Array) -> jax.Array:
        # A sum, as a gather would bring the classes of a sharded axis together.
        def picked(k, x, label):
            return jnp.where(k == label, x, 0)

        known = label < x.shape[self.axis]
        return jnp.where(known, self.total(picked, (x,), (label,)), jnp.nan)

    def result(self, rows: jax.Array) -> jax.Array:
        return rows
