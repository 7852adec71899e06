"""A factor times a power whose exponent is large: factor · q^γ, given log q."""

import jax
import jax.numpy as jnp

from bcejax._numerics.limits import times_or_zero


@jax.custom_jvp
def times_power(factor: jax.Array, log_q: tuple, gamma: jax.Array) -> jax.Array:
    """factor · q^γ for q in [0, 1] and γ ≥ 0, linear in the factor; 0 · ∞ is 0.

    log q is the sum of two numbers, `big` and `small`. γ log q may be as large as 88,
    and its rounding alone would cost the power 64 ulp. So γ · big is taken as the sum
    of two floats, and what rounding loses of it comes back as a factor.
    """
    most = most_factor(gamma.dtype)
    big, small = (jnp.maximum(part, -most) for part in log_q)
    gamma = jnp.minimum(gamma, most)
    high, low = two_product(gamma, big)
    low = low + gamma * small
    rounded = high + low
    lost = (high - rounded) + low  # noise where q^γ is 0, and clipped for that
    # The root twice: q^γ may underflow where its product with a large factor does not.
    root = jnp.exp(rounded / 2)
    result = factor * (1 + jnp.clip(lost, -0.5, 0.5)) * root * root
    return jnp.where(root == 0, 0, result)


# One product again: the terms of a sum would underflow one after the other.
@times_power.defjvp
def times_power_jvp(primals, tangents):
    (factor, log_q, gamma), (factor_dot, log_q_dot, gamma_dot) = primals, tangents
    most = most_factor(gamma.dtype)
    rate = jnp.minimum(gamma, most) * sum(log_q_dot)
    rate += gamma_dot * jnp.maximum(sum(log_q), -most)
    moved = factor_dot + times_or_zero(rate, factor)
    return times_power(*primals), times_power(moved, log_q, gamma)


def most_factor(dtype) -> float:
    """What γ and −log q are clipped to, so that no product of up to four overflows."""
    return float(jnp.finfo(dtype).max) ** 0.25


def two_product(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """a · b as the sum of a high part, which is exact, and a low one, which is rounded.

    The high part is the product of the leading halves of both numbers, which fits into
    one float: Dekker, A floating-point technique for extending the available precision,
    Numer. Math. 18 (1971), 224-242.
    """
    a_high, b_high = leading_half(a), leading_half(b)
    return a_high * b_high, a_high * (b - b_high) + (a - a_high) * b


def leading_half(x: jax.Array) -> jax.Array:
    """x rounded to half of its bits."""
    info = jnp.finfo(x.dtype)
    return jax.lax.reduce_precision(x, info.nexp, info.nmant // 2)
