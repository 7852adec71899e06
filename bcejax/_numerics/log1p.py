"""log(1 + x) and what is made of it: log(1 + e^−|x|), log(1 + x)/x and u − log(1 + u).

XLA's own log1p would lose digits in each of these. They stand on the series

    2 atanh(q/2) = q + q z Q(z),    z = q²,    0 ≤ q ≤ ⅔,

since log(1 + u) = 2 atanh(s) with s = u/(2 + u). docs/numerics.md derives them.
"""

from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
from numpy.polynomial import Chebyshev, Polynomial


def log1p(x: jax.Array) -> jax.Array:
    """log(1 + x) to a few ulp, on every JAX.

    In float64 the log1p of jaxlib 0.10.0 and 0.10.1 errs by 128 ulp near −0.41. From
    −¼ down 1 + x rounds so little that its logarithm errs by 2 ulp.
    """
    if x.dtype != jnp.float64:
        return jnp.log1p(x)
    return jnp.where(x > -0.25, jnp.log1p(x), jnp.log(1 + x))


def atanh_coefficients(terms: int) -> list[float]:
    """The coefficients of Q, the highest first.

    Q(z) is the series Σ (z/4)ᵏ / (8k + 12), interpolated at Chebyshev's points, which
    needs half as many terms for the same error.
    """
    k = np.arange(40)

    def series(z):
        return np.sum((z[:, None] / 4) ** k / (8 * k + 12), axis=1)

    fitted = Chebyshev.interpolate(series, terms - 1, domain=[0, 4 / 9])
    return fitted.convert(kind=Polynomial).coef[::-1].tolist()


# As many terms as leave an error well below the roundings of the dtype.
ATANH = {
    jnp.dtype("float32"): atanh_coefficients(4),
    jnp.dtype("float64"): atanh_coefficients(10),
}


def atanh_polynomial(z: jax.Array) -> jax.Array:
    """Q(z), by Horner's rule."""
    highest, second, *lower = ATANH[z.dtype]
    return reduce(lambda value, c: value * z + c, lower, highest * z + second)


def log1p_exp_neg_abs(x: jax.Array) -> jax.Array:
    """log(1 + e^−|x|), the part of the loss that both labels share.

    2 atanh(q/2) with q = 2/(2 e^|x| + 1). It is written in halves so that it does not
    share the constant 1 with a gradient beside it: see `limits.times_abs`. XLA's log1p
    errs by 2.9 ulp for 2.5, and takes a second pass over memory on a CPU.
    """
    q = 0.5 / (0.5 * jnp.exp(jnp.abs(x)) + 0.25)
    z = q * q
    return q + q * (z * atanh_polynomial(z))


def log1p_over(e: jax.Array) -> jax.Array:
    """log(1 + e)/e for 0 ≤ e ≤ 1, and 1 at 0: log(1 + e) = e − g(e)."""
    return 1 - x_minus_log1p(jnp.ones_like(e), e / (2 + e))


def x_minus_log1p(u: jax.Array, s: jax.Array) -> jax.Array:
    """g(u) = u − log(1 + u) ≥ 0, given s = u/(2 + u) too, where `is_near(s)`.

    g(u) = u s (1 − s (1 − s) B(s²)), in which nothing cancels at u = 0. It is linear in
    its first argument: given p u it is p g(u).
    """
    return u * s * (1 - s * (1 - s) * atanh_remainder(s))


def is_near(s: jax.Array) -> jax.Array:
    """Where the series converge quickly enough: u = 2s/(1 − s) in [−½, 1]."""
    return jnp.abs(s) <= 1 / 3


def atanh_remainder(s: jax.Array) -> jax.Array:
    """B(s²) = (atanh s − s)/s³, which is 4 Q(4s²), as r = 2s makes z = r² = 4s²."""
    return 4 * atanh_polynomial(4 * s * s)
