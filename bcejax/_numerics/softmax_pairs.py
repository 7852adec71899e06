"""Entropy of a row of logits, and divergence of a pair of rows, of widened logits.

With gap_k = max a − a_k ≥ 0 and L = log Σ exp(−gap_k), the entropy is L + Σ p_k gap_k,
a sum without a negative term.

The divergence is written in r_k = log q_k − log p_k, and so are its terms:

    KL(p ‖ q) = Σ p_k (e^{r_k} − 1 − r_k),        q_k − p_k = p_k (e^{r_k} − 1).

No term is negative, and an error ε in all r_k alike is one of ε²/2 in the sum. For d_k
the difference b_k − a_k less that of the class c where a is largest,

    r_k = d_k − δ,      δ = log(1 + Σ p_k (e^{d_k} − 1)),

which keeps the digits of the differences b_k − a_k where p ≈ q. Where q has left the
class c, δ = log p_c − log q_c has nothing to cancel. In ∂KL/∂a_k, δ falls out:

    ∂KL/∂a_k = p_k (Σ_j p_j d_j − d_k).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from bcejax._numerics.derivatives import along_axis, derivatives
from bcejax._numerics.log1p import is_near, log1p, x_minus_log1p
from bcejax._numerics.over_classes import over_classes
from bcejax._numerics.softmax import (
    centred,
    gap_of,
    mass_of,
    softmax,
    softmax_along,
    top_and_others,
)

# Entropy


@along_axis
def entropy_of_logits(axis: int, x: jax.Array) -> jax.Array:
    (result,) = over_classes(entropy_equation, axis, x)
    return result


def entropy_equation(sums, x):
    top, finite_top, others = top_and_others(sums, x)

    def cost(_, x, top, finite_top):
        # exp(−gap), and not the `mass_of` that `others` holds: XLA's CPU stores what
        # two sums share as an array of the logits' size.
        gap = gap_of(x, top, finite_top)
        return jnp.where(gap == jnp.inf, 0, gap * jnp.exp(-gap))

    spread = sums.total(cost, (x,), (top, finite_top)) / (1 + others)
    # A row of nothing but −∞ has no class. Its ties are no classes either.
    level = jnp.log1p(jnp.where(top == -jnp.inf, 0 * others, others))
    return (sums.result(level + spread),)


def uniform(x: jax.Array) -> jax.Array:
    # Logits of 0. Written in x, as XLA would take seconds to fold a constant array of
    # them; NaN stays NaN.
    return jnp.where(x == x, 0, jnp.nan).astype(x.dtype)


# As log n − H is the divergence from the uniform distribution.
derivatives(
    entropy_of_logits,
    lambda t, _, axis, x: -jnp.sum(t * slope_in_p(axis, x, uniform(x)), axis),
)


# Divergence


class Pair(NamedTuple):
    """What is known of a pair of rows: of each number one a row."""

    top: jax.Array
    finite_top: jax.Array
    scale: jax.Array  # p = mass · scale
    top_q: jax.Array
    finite_top_q: jax.Array
    scale_q: jax.Array
    centre: jax.Array  # b_c − a_c
    shift: jax.Array  # δ

    def probabilities(self, a, b):
        p = mass_of(a, self.finite_top) * self.scale
        return p, mass_of(b, self.finite_top_q) * self.scale_q

    def difference(self, a, b):
        """d, of which log q − log p is d − δ."""
        return logit_difference(a, b, self.top, self.top_q) - self.centre


def lowered(x: jax.Array, top: jax.Array) -> jax.Array:
    # x − top where x itself may overflow in a difference. The logits of ∞ become 0, and
    # all others of that row −∞.
    huge = (jnp.abs(top) > 1e30) & (top > -jnp.inf)
    return jnp.where(huge, jnp.where(x == top, 0, x - top), x)


def is_nothing(x: jax.Array, top: jax.Array) -> jax.Array:
    """Is it a class of probability 0, and not only of one too small to be a number?"""
    return lowered(x, top) == -jnp.inf


def logit_difference(a, b, top, top_q) -> jax.Array:
    # b − a, 0 for two classes of −∞, and finite for one of them.
    a, b = lowered(a, top), lowered(b, top_q)
    most = jnp.finfo(a.dtype).max / 4
    return jnp.where(a == b, 0, jnp.clip(b - a, -most, most))


def centre_of(sums, a, b, top, top_q):
    """b_c, and b_c − a_c, of the largest b among the classes where a is largest."""
    (top_of_all,) = sums.beside(top)
    at_top = sums.top(jnp.where(a == top_of_all, b, -jnp.inf))
    return at_top, logit_difference(top, at_top, top, top_q)


def pair_of(sums, a, b) -> tuple[Pair, jax.Array, jax.Array]:
    """The pair; then b_c, and a number that is 0, or NaN if any logit is."""
    top, finite_top, others = top_and_others(sums, a)
    top_q, finite_top_q, others_q = top_and_others(sums, b)
    b_c, centre = centre_of(sums, a, b, top, top_q)
    scale, per_mass_at_c = 1 / (1 + others), 1 / mass_of(b_c, finite_top_q)

    def rise(_, a, b, top, finite_top, top_q, finite_top_q, centre, per_mass_at_c):
        # (1 + others) p (e^d − 1), where p may underflow beside a large e^d.
        d = logit_difference(a, b, top, top_q) - centre
        mass = mass_of(a, finite_top)
        far = mass_of(b, finite_top_q) * per_mass_at_c - mass
        return jnp.where(d > 1, far, mass * jnp.expm1(d))

    rows = top, finite_top, top_q, finite_top_q, centre, per_mass_at_c
    rises = sums.total(rise, (a, b), rows) * scale
    levels = jnp.log1p(others_q), jnp.log1p(others)
    left = gap_of(b_c, top_q, finite_top_q) + (levels[0] - levels[1])
    shift = jnp.where(rises <= 1, log1p(rises), left)
    pair = Pair(
        top, finite_top, scale, top_q, finite_top_q, 1 / (1 + others_q), centre, shift
    )
    return pair, b_c, 0 * (levels[0] + levels[1])


@along_axis
def divergence_of_logits(axis: int, a: jax.Array, b: jax.Array) -> jax.Array:
    (result,) = over_classes(divergence_equation, axis, a, b)
    return result


def divergence_equation(sums, a, b):
    pair, b_c, zero = pair_of(sums, a, b)
    total = sums.total(divergence_term, (a, b), pair)
    total = jnp.where(is_nothing(b_c, pair.top_q), jnp.inf, total)
    total = jnp.where(pair.top == -jnp.inf, 0, total)  # no class
    return (sums.result(total + zero),)


def divergence_term(_, a, b, *rows):
    # p (u − r) with u = e^r − 1, where u and r cancel by its series. Where r is large,
    # p may underflow beside q.
    pair = Pair(*rows)
    p, q = pair.probabilities(a, b)
    r = pair.difference(a, b) - pair.shift
    u = jnp.expm1(r)
    s = u * (1 / (2 + u))
    rising = q - jnp.where(p == 0, 0, p * (1 + r))
    lost = is_nothing(b, pair.top_q) & ~is_nothing(a, pair.top)
    falling = jnp.where(lost, jnp.inf, p * (u - r))
    far = jnp.where(r > LARGE, rising, falling)
    return jnp.where(is_near(s), p * x_minus_log1p(u, s), far)


LARGE = 10  # e^10 smallest normal floats are far below any digit of a sum

derivatives(
    divergence_of_logits,
    lambda a_dot, _, axis, a, b: jnp.sum(a_dot * slope_in_p(axis, a, b), axis),
    lambda b_dot, _, axis, a, b: jnp.sum(b_dot * slope_in_q(axis, a, b), axis),
)


@along_axis
def slope_in_p(axis: int, a: jax.Array, b: jax.Array) -> jax.Array:
    # p_k (Σ_j p_j d_j − d_k)
    (slope,) = over_classes(slope_in_p_equation, axis, a, b)
    return slope


def slope_in_p_equation(sums, a, b):
    top, finite_top, others = top_and_others(sums, a)
    top_q = sums.top(b)
    _, centre = centre_of(sums, a, b, top, top_q)
    scale = 1 / (1 + others)

    def pull(_, a, b, top, finite_top, top_q, centre):
        d = logit_difference(a, b, top, top_q) - centre
        return mass_of(a, finite_top) * d

    rows = top, finite_top, top_q, centre
    mean = sums.total(pull, (a, b), rows) * scale
    top, finite_top, top_q, centre, scale, mean = sums.beside(*rows, scale, mean)
    d = logit_difference(a, b, top, top_q) - centre
    return (mass_of(a, finite_top) * (mean - d) * scale,)


def slope_in_p_along_p(a_dot, slope, axis, a, b):
    # The product rule: p moves by p c(a_dot), with c(t) = t − Σ p t, and d by −a_dot.
    p, _ = softmax(axis, a)
    along = jnp.sum(slope * a_dot, axis, keepdims=True)
    return (slope + p) * centred(axis, p, a_dot) - p * along


derivatives(
    slope_in_p,
    slope_in_p_along_p,
    lambda b_dot, _, axis, a, b: -softmax_along(axis, b_dot, a),
)


@along_axis
def slope_in_q(axis: int, a: jax.Array, b: jax.Array) -> jax.Array:
    # q − p
    (slope,) = over_classes(slope_in_q_equation, axis, a, b)
    return slope


def slope_in_q_equation(sums, a, b):
    pair, _, zero = pair_of(sums, a, b)
    (zero,), pair = sums.beside(zero), Pair(*sums.beside(*pair))
    p, q = pair.probabilities(a, b)
    d, shift = pair.difference(a, b), pair.shift
    # Of r = d − δ the error grows with |d| and |δ|, those of p and q do not.
    small = jnp.abs(d) + jnp.abs(shift) <= 2
    slope = jnp.where(small, p * jnp.expm1(d - shift), q - p)
    return (slope + zero,)


derivatives(
    slope_in_q,
    lambda a_dot, _, axis, a, b: -softmax_along(axis, a_dot, a),
    lambda b_dot, _, axis, a, b: softmax_along(axis, b_dot, b),
)
