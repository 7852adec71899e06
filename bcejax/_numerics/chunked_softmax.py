"""The softmax cross-entropy of a class against all others, chunk by chunk.

With the label's logit x_y left out of the sum, the loss is a softplus:

    −log p_y = log(1 + Σ_{k≠y} exp(x_k − x_y)) = softplus(top + log S − x_y),
    top = max_{k≠y} x_k,    S = Σ_{k≠y} exp(x_k − top).

Where the right class is certain the sum is small, and it keeps its relative digits,
which log Σ_k exp(x_k) − x_y would lose. Its slope σ(top + log S − x_y) is 1 − p_y,
likewise.

One pass finds top, S and x_y, by rescaling S when a chunk has a larger logit. For the
derivatives top is a number like any other that might be subtracted: S and x_y are plain
sums over the classes then, and so are their derivatives.
"""

import jax
import jax.numpy as jnp

from bcejax._numerics.limits import finite_or_zero
from bcejax._numerics.over_classes import over_classes
from bcejax._numerics.sigmoid import softplus
from bcejax._numerics.softmax import clipped, marks_label, mass_of

mass = jax.custom_jvp(mass_of)
# Not left to autodiff, for which the minimum has the slope ½ at the largest logit.
# The top is not differentiated.
mass.defjvps(lambda x_dot, result, x, _: x_dot * result, None)


def sums(x: jax.Array, label: jax.Array, top: jax.Array) -> tuple[jax.Array, jax.Array]:
    """S and x_y of a chunk. A label that is not in the chunk is out of range."""
    is_label = marks_label(-1, x, label)
    others = jnp.where(is_label, 0, mass(x, clipped(top)[:, None]))
    return jnp.sum(others, -1), jnp.sum(jnp.where(is_label, x, 0), -1)


def top_and_sums(x: jax.Array, label: jax.Array) -> tuple[jax.Array, ...]:
    """top, S and x_y of a chunk."""
    return over_classes(_top_and_sums, -1, x, label)


def _top_and_sums(ways, x, label):
    masked = jnp.where(marks_label(-1, x, label), -jnp.inf, x)
    top = ways.top(masked)
    others = ways.total(lambda _, x, top: mass(x, top), (masked,), (clipped(top),))
    at = ways.total(lambda k, x, y: jnp.where(k == y, x, 0), (x,), (label,))
    return top, others, at


START = -jnp.inf, 0.0, 0.0  # top, S and x_y of no class


def joined(tops: jax.Array, others: jax.Array, at: jax.Array) -> tuple[jax.Array, ...]:
    """top, S and x_y of several chunks, from those of each, along axis 0."""
    top = jnp.max(tops, 0)
    scale = jnp.exp(jnp.minimum(clipped(tops) - clipped(top), 0))
    return top, jnp.sum(others * scale, 0), jnp.sum(at, 0)


def loss(top: jax.Array, others: jax.Array, at: jax.Array) -> jax.Array:
    """softplus(top + log S − x_y). Of top only differences matter: it is constant."""
    most, top = jnp.finfo(at.dtype).max, jax.lax.stop_gradient(top)
    # An x_y of ∞ counts as the largest float, as a top of ∞ does, with the slope 1.
    infinite = jnp.where(jnp.isinf(at), jnp.minimum(at, most), 0)
    gap = clipped(top) - (finite_or_zero(at) + jax.lax.stop_gradient(infinite))
    # If the top is ∞ and x_y is not, the label is ∞ behind: 4 times the gap overflows.
    gap = gap + jnp.where(top == jnp.inf, 3 * jax.lax.stop_gradient(gap), 0)
    some = others != 0
    margin = gap + jnp.log(jnp.where(some, others, 1))
    # Without any other class the label costs nothing; NaN if it has no mass either.
    return softplus(jnp.where(some, margin, -jnp.inf - at))
