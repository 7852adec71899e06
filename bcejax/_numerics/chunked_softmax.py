"""The softmax cross-entropy of a class against all others, chunk by chunk.

With the label's logit x_y left out of the sum, nothing cancels in the loss:

    −log p_y = log(1 + Σ_{k≠y} exp(x_k − x_y)) = log(1 + S e^gap),
    top = max_{k≠y} x_k,    S = Σ_{k≠y} exp(x_k − top),    gap = top − x_y.

Where the right class is certain S e^gap is small, and it keeps its relative digits,
which log Σ_k exp(x_k) − x_y would lose. So would softplus(gap + log S), as a gap of −83
has no digits left for the logarithm.

One pass finds top, S and x_y, by rescaling S when a chunk has a larger logit. For the
derivatives top is a number like any other that might be subtracted: S and x_y are plain
sums over the classes then, and so are their derivatives.
"""

import jax
import jax.numpy as jnp

from bcejax._numerics.limits import finite_or_zero
from bcejax._numerics.log1p import log1p
from bcejax._numerics.over_classes import over_classes
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
    """log(1 + S e^gap). Of top only differences matter: it is constant."""
    most, top = jnp.finfo(at.dtype).max, jax.lax.stop_gradient(top)
    # An x_y of ∞ counts as the largest float, as a top of ∞ does, with the slope 1.
    infinite = jnp.where(jnp.isinf(at), jnp.minimum(at, most), 0)
    gap = clipped(top) - (finite_or_zero(at) + jax.lax.stop_gradient(infinite))
    # If the top is ∞ and x_y is not, the label is ∞ behind: 4 times the gap overflows.
    gap = gap + jnp.where(top == jnp.inf, 3 * jax.lax.stop_gradient(gap), 0)
    return log1p_scaled(others, gap)


@jax.custom_jvp
def log1p_scaled(s: jax.Array, gap: jax.Array) -> jax.Array:
    """log(1 + s e^gap), 0 for s = 0 unless the gap is ∞: NaN, a label of no mass."""
    e = jnp.exp(-jnp.abs(gap))
    return jnp.where(gap > 0, gap + jnp.log(s + e), log1p(s * e))


@jax.custom_jvp
def shares(s: jax.Array, gap: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """u = s e^gap / D, v = 1 / D and w = e^gap / D, where D = 1 + s e^gap.

    u is the probability of all wrong classes and v that of the label.
    """
    e = jnp.exp(-jnp.abs(gap))
    ahead = gap > 0  # numerators and D are multiplied by e then, which underflows alone
    of_label, of_one = jnp.where(ahead, e, 1), jnp.where(ahead, 1, e)
    total = of_label + s * of_one
    return s * of_one / total, of_label / total, of_one / total


# The derivatives are products of u, v and w, in which nothing cancels:
#     d log(1 + s e^gap) = w ds + u dgap,
#     du = −dv = v (w ds + u dgap),    dw = w (v dgap − w ds).


@log1p_scaled.defjvp
def _log1p_scaled_jvp(primals, tangents):
    (u, _, w), (s_dot, gap_dot) = shares(*primals), tangents
    return log1p_scaled(*primals), w * s_dot + u * gap_dot


@shares.defjvp
def _shares_jvp(primals, tangents):
    (u, v, w), (s_dot, gap_dot) = shares(*primals), tangents
    moved = v * (w * s_dot + u * gap_dot)
    return (u, v, w), (moved, -moved, w * (v * gap_dot - w * s_dot))
