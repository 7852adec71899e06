"""What all ways to add over classes have in common: the largest class, and the rest."""

import jax
import jax.numpy as jnp


def ties(total, x: jax.Array, top: jax.Array) -> jax.Array:
    """How many classes are the largest."""
    return total(lambda _, x, t: (x == t).astype(x.dtype), (x,), (top,))


def tops_of(top, total, at, all_but_one_top) -> tuple:
    """`top_and_others`, `top_and_rest` and `top_and_at`, made of these functions."""

    def top_and_others(x, finite, mass) -> tuple[jax.Array, jax.Array]:
        """The largest of each row, and Σ mass(x, finite(largest)) over all but one."""
        largest = top(x)
        return largest, all_but_one_top(x, largest, mass, (finite(largest),))

    def top_and_rest(y: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The largest of each row, and the sum of all others."""
        largest = top(y)
        smaller = total(lambda _, y, t: jnp.where(y == t, 0, y), (y,), (largest,))
        return largest, smaller + (ties(total, y, largest) - 1) * largest

    def top_and_at(x: jax.Array, label: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The largest of each row, and x of the class `label`."""
        return top(x), at(x, label)

    return top_and_others, top_and_rest, top_and_at
