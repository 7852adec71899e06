"""Products and quotients in which 0 · ∞ = 0/0 = 0, to every order of derivative.

A class with zero label costs nothing, even where its cost is ∞, and a zero tangent
moves nothing, even where the slope is ∞. IEEE arithmetic says NaN to both. Which of the
three products to take:

    a * b                    if one of the two is finite wherever the other is 0,
    times_or_zero(t, f)      if t is finite and f may be ±∞: linear in t, so that it can
                             stand in a derivative rule,
    times_abs(wrong, x)      for wrong · |x| in a loss that XLA sums in one pass.
"""

import jax
import jax.numpy as jnp

from bcejax._numerics.derivatives import derivatives


def times_or_zero(t: jax.Array, factor: jax.Array) -> jax.Array:
    """t · factor for finite t, where 0 · ∞ is 0.

    Linear in t. An infinite factor enters the first term as 0 and the second as
    ±most · most, with `most` the largest float:

                     factor finite      factor = ±∞
        t = 0        0 + 0              0 + 0
        t ≠ 0        t · factor + 0     0 + t · most · (±most) = ±∞
    """
    most = jnp.where(jnp.isinf(factor), jnp.finfo(factor.dtype).max, 0)
    return t * finite_or_zero(factor) + t * most * (jnp.sign(factor) * most)


@jax.custom_jvp
def finite_or_zero(x: jax.Array) -> jax.Array:
    """x, and 0 for ±∞, but with the slope 1 of x everywhere.

    The slope must not vanish with the value: that of softplus at ∞ is 1.
    """
    return jnp.where(jnp.isinf(x), 0, x)


finite_or_zero.defjvps(lambda x_dot, _, x: x_dot)


@jax.custom_jvp
def finite_or_most(x: jax.Array) -> jax.Array:
    """x, and the largest float for ∞, but with the slope 1 of x everywhere.

    That of `minimum` itself is 0 at ∞ and at NaN.
    """
    return jnp.minimum(x, jnp.finfo(x.dtype).max)


finite_or_most.defjvps(lambda x_dot, _, x: x_dot)


@jax.custom_jvp
def ratio_or_zero(y: jax.Array, p: jax.Array) -> jax.Array:
    """y/p, where 0/0 is 0: a class with zero label contributes no gradient."""
    return jnp.where(y == 0, 0, y / p)


derivatives(
    ratio_or_zero,
    lambda y_dot, _, y, p: times_or_zero(y_dot, 1 / p),
    lambda p_dot, _, y, p: times_or_zero(p_dot, -ratio_or_zero(ratio_or_zero(y, p), p)),
)


def times_abs(wrong: jax.Array, x: jax.Array) -> jax.Array:
    """wrong · |x|, where 0 · ∞ is 0. It has no derivative rule of its own.

    |x| is replaced by 0 where `wrong` is 0, since |wrong · most| · most is 0 or ∞ there
    and elsewhere. Without the bars XLA would fold most · most.

    XLA's CPU sums a loss in one vectorised pass if there is no select, comparison or
    clip in it, and beside its gradient if the two have no subexpression in common, not
    even the constant 1. benchmarks/formulations.py measures the other ways to write it.
    """
    most = jnp.finfo(x.dtype).max
    return wrong * jnp.minimum(jnp.abs(x), jnp.abs(wrong * most) * most)


@jax.custom_jvp
def log_ratio(a: jax.Array, b: jax.Array, difference: jax.Array) -> jax.Array:
    """log(a/b) for a, b ≥ 0, given a − b: −∞ for a = 0, ∞ for b = 0.

    As log1p(|a − b| / min(a, b)) with the sign of a − b it keeps its digits where
    a ≈ b. Where that ratio overflows, its logarithm is the difference of two that are
    far apart.
    """
    least, distance = jnp.minimum(a, b), jnp.abs(difference)
    ratio = jnp.where(least == 0, jnp.inf, distance / least)  # −0 is 0 too
    far = jnp.log(distance) - jnp.log(least)
    return jnp.sign(difference) * jnp.where(jnp.isinf(ratio), far, jnp.log1p(ratio))


# Not left to autodiff, as min, sign and |·| have no derivative where a = b.
# `difference` duplicates a − b, so it has no derivative of its own.
derivatives(
    log_ratio,
    lambda a_dot, _, a, b, difference: times_or_zero(a_dot, 1 / a),
    lambda b_dot, _, a, b, difference: times_or_zero(b_dot, -1 / b),
    None,
)
