"""Sums over classes as reductions of pairs: for one accelerator.

A reduction of pairs finds two numbers in one reading of the logits. Over several
devices XLA would gather the pairs of all of them, so there `by_reduction` is used. What
is not defined here is the same as there.
"""

import jax
import jax.numpy as jnp

from bcejax._numerics.by_reduction import ByReduction


class ByPairs(ByReduction):
    def top_and_others(self, x, finite, mass) -> tuple[jax.Array, jax.Array]:
        """The largest of each row, and Σ mass(x, finite(largest)) over all but one.

        The pairs are of a top and the number of classes that have it. Pairs of a top
        and the sum itself would spare the second reading of x, but they rescale the sum
        whenever the top changes: 21 ulp for 32,000 logits that rise slowly.
        """

        def joined(a, b):
            (a_top, a_ties), (b_top, b_ties) = a, b
            ties_of_a = jnp.where(a_top >= b_top, a_ties, 0)
            ties_of_b = jnp.where(b_top >= a_top, b_ties, 0)
            return jax.lax.max(a_top, b_top), ties_of_a + ties_of_b

        start = jnp.array(-jnp.inf, x.dtype), jnp.array(0, x.dtype)
        top, ties = self._reduced((x, jnp.ones_like(x)), start, joined)

        def smaller(_, x, top, finite_top):
            return jnp.where(x == top, 0, mass(x, finite_top))

        return top, self.total(smaller, (x,), (top, finite(top))) + (ties - 1)

    def top_and_rest(self, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The largest of each row of y ≥ 0, or 0, and the sum of all others.

        The pairs are of a top and the rest. Two are joined by adding the lower top to
        both rests, so that no two terms cancel.
        """

        def joined(a, b):
            (a_top, a_rest), (b_top, b_rest) = a, b
            rest = a_rest + b_rest + jax.lax.min(a_top, b_top)
            return jax.lax.max(a_top, b_top), rest

        zero = jnp.zeros((), y.dtype)
        return self._reduced((y, jnp.zeros_like(y)), (zero, zero), joined)

    def _reduced(self, pairs, start, joined) -> tuple[jax.Array, jax.Array]:
        return jax.lax.reduce(pairs, start, joined, (pairs[0].ndim + self.axis,))
