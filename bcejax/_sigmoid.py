"""The sigmoid σ, log σ, softplus and logit: the numerics that every loss stands on.

Each public function accepts a floating array of any shape and returns the same shape
and dtype. 16-bit input is computed in float32 and rounded once, at the end. Infinities
are values like any other; NaN in gives NaN out.

The derivative rules form one chain, in which no step subtracts nearly equal numbers,
so every order keeps its relative digits until it underflows:

    softplus′ = σ,    σ′(x) = h(x) = σ(x) σ(−x),    h′(x) = −h(x) tanh(x/2).
"""

from functools import partial, reduce

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from numpy.polynomial import Chebyshev, Polynomial

from bcejax import _checks
from bcejax._numerics.derivatives import derivatives
from bcejax._range_check import in_range


def _elementwise(core, x: ArrayLike, name: str) -> jax.Array:
    return _compiled(core, _checks.array(x), name)


@partial(jax.jit, static_argnums=(0, 2))
def _compiled(core, x: ArrayLike, name: str) -> jax.Array:
    x = _checks.floating(x, name)
    return core(x.astype(_checks.widened(x.dtype))).astype(x.dtype)


def sigmoid(x: ArrayLike) -> jax.Array:
    """Logistic sigmoid σ(x) = 1 / (1 + e⁻ˣ), the probability that belongs to a logit.

    σ(−∞) = 0, σ(0) = ½, σ(∞) = 1, and σ(−x) = 1 − σ(x): for the complement of a
    probability near 1 take σ(−x), which keeps the digits that 1 − σ(x) loses. The
    inverse is `logit`. The gradient is σ(x) σ(−x), never 0 before it underflows.

    Args:
      x: `[...]`, floating point.
    Returns:
      `[...]`, dtype of `x`, in [0, 1].
    Raises:
      TypeError: if `x` is not floating point.
    Example:
      >>> print(sigmoid(jnp.array([-jnp.inf, 0, 2])))
      [0.     0.5    0.8808]
    """
    return _elementwise(_sigmoid, x, "x")


@jax.custom_jvp
def _sigmoid(x: jax.Array) -> jax.Array:
    return jax.lax.logistic(x)


# Not left to autodiff, whose σ (1 − σ) is 0 from x = 17 on in float32.
_sigmoid.defjvps(lambda x_dot, _, x: x_dot * _sigmoid_slope(x))


@jax.custom_jvp
def _sigmoid_slope(x: jax.Array) -> jax.Array:
    # h = σ(x) σ(−x), multiplied out. e/(1 + e)² with e = e^−|x| has one exp less, but
    # errs by 3.9 ulp for 2.7 and exceeds ¼ near 0. |x| for x, lest XLA keep the exps of
    # a gradient beside it, in memory, for this.
    a = jnp.abs(x)
    return 1 / (2 + (jnp.exp(a) + jnp.exp(-a)))


# σ(−x) − σ(x) is −tanh(x/2), whose digits last through 0.
_sigmoid_slope.defjvps(lambda x_dot, h, x: x_dot * -h * jnp.tanh(x / 2))


def softplus(x: ArrayLike) -> jax.Array:
    """Softplus log(1 + eˣ), in nats: the loss of logit x against label 0.

    softplus(−∞) = 0, softplus(∞) = ∞, softplus(x) − softplus(−x) = x. The gradient is
    σ(x), ½ at x = 0.

    Args:
      x: `[...]`, floating point.
    Returns:
      `[...]`, dtype of `x`, never below 0.
    Raises:
      TypeError: if `x` is not floating point.
    Example:
      >>> print(softplus(jnp.array([-jnp.inf, 0, 100])))
      [  0.       0.6931 100.    ]
    """
    return _elementwise(_softplus, x, "x")


@jax.custom_jvp
def _softplus(x: jax.Array) -> jax.Array:
    return jnp.maximum(x, 0) + _tail(x)


# Not left to autodiff: max and |·| have no derivative at 0, where every model that
# starts from zero weights stands.
_softplus.defjvps(lambda x_dot, _, x: x_dot * _sigmoid(x))


def _atanh_coefficients(terms: int) -> list[float]:
    """Q of 2 atanh(q/2) = q + q z Q(z), z = q², for 0 ≤ q ≤ ⅔; the highest first.

    Q(z) is the series Σ (z/4)ᵏ / (8k + 12), interpolated at Chebyshev's points, which
    needs half as many terms for the same error.
    """
    k = np.arange(40)

    def series(z):
        return np.sum((z[:, None] / 4) ** k / (8 * k + 12), axis=1)

    fitted = Chebyshev.interpolate(series, terms - 1, domain=[0, 4 / 9])
    return fitted.convert(kind=Polynomial).coef[::-1].tolist()


# As many terms as leave an error well below the roundings of the dtype.
_ATANH = {
    jnp.dtype("float32"): _atanh_coefficients(4),
    jnp.dtype("float64"): _atanh_coefficients(10),
}


def _tail(x: jax.Array) -> jax.Array:
    # log(1 + e^−|x|) = 2 atanh(q/2) with q = 2/(2 e^|x| + 1), written in halves lest it
    # share the constant 1 with a gradient beside it (see `_bce._reach`). XLA's own
    # log1p errs by 2.9 ulp for 2.5, and takes a second pass over memory on CPU.
    q = 0.5 / (0.5 * jnp.exp(jnp.abs(x)) + 0.25)
    z = q * q
    return q + q * (z * reduce(lambda sum, c: sum * z + c, _ATANH[x.dtype]))


def log_sigmoid(x: ArrayLike) -> jax.Array:
    """Log-sigmoid log σ(x) = −softplus(−x), in nats: the log-likelihood of label 1.

    log σ(−∞) = −∞, log σ(∞) = 0. The gradient is σ(−x).

    Args:
      x: `[...]`, floating point.
    Returns:
      `[...]`, dtype of `x`, never above 0.
    Raises:
      TypeError: if `x` is not floating point.
    Example:
      >>> print(log_sigmoid(-100.0), f"{log_sigmoid(17.0):.3e}")
      -100.0 -4.140e-08
    """
    return _elementwise(_log_sigmoid, x, "x")


def _log_sigmoid(x: jax.Array) -> jax.Array:
    return -_softplus(-x)


def logit(p: ArrayLike) -> jax.Array:
    """Logit log p − log(1 − p), the inverse of `sigmoid`.

    logit(0) = −∞, logit(½) = 0, logit(1) = ∞; NaN outside [0, 1]. The gradient is
    1/p + 1/(1 − p).

    Args:
      p: `[...]`, floating point, in [0, 1] (checked under `checkify`).
    Returns:
      `[...]`, dtype of `p`.
    Raises:
      TypeError: if `p` is not floating point.
    Example:
      >>> print(logit(jnp.array([0, 0.25, 0.5, 1])))
      [   -inf -1.0986  0.         inf]
    """
    return _elementwise(_checked_logit, p, "p")


def _checked_logit(p: jax.Array) -> jax.Array:
    return _logit(in_range(p, "p", 0, 1))


def _logit(p: jax.Array) -> jax.Array:
    # 2p − 1 has a single rounding and none near ½, where p − (1 − p) would have lost
    # the digits of the answer.
    return _log_ratio(p, 1 - p, 2 * p - 1)


@jax.custom_jvp
def _log_ratio(a: jax.Array, b: jax.Array, difference: jax.Array) -> jax.Array:
    # log(a/b) for a, b ≥ 0, given a − b. As log1p(|a − b| / min(a, b)) with the sign of
    # a − b it keeps its digits where a ≈ b. Where that ratio overflows, its logarithm
    # is the difference of two that are far apart; it is ∞ where one of a and b is 0.
    least, distance = jnp.minimum(a, b), jnp.abs(difference)
    ratio = jnp.where(least == 0, jnp.inf, distance / least)  # −0 is 0 too
    far = jnp.log(distance) - jnp.log(least)
    return jnp.sign(difference) * jnp.where(jnp.isinf(ratio), far, jnp.log1p(ratio))


# min, sign and |·| again have no derivative where a = b. `difference` duplicates a − b,
# so it has no derivative of its own.
derivatives(
    _log_ratio,
    lambda a_dot, _, a, b, difference: _times(a_dot, 1 / a),
    lambda b_dot, _, a, b, difference: _times(b_dot, -1 / b),
    None,
)


def _times(t: jax.Array, factor: jax.Array) -> jax.Array:
    # t · factor for finite t, where 0 · ∞ is 0: a class with zero label costs nothing,
    # and a zero tangent moves nothing. Linear in t, so it can stand in a derivative
    # rule: ±∞ enters as ±max · max, which overflows every t but 0.
    most = jnp.where(jnp.isinf(factor), jnp.finfo(factor.dtype).max, 0)
    return t * _finite(factor) + t * most * (jnp.sign(factor) * most)


@jax.custom_jvp
def _finite(x: jax.Array) -> jax.Array:
    return jnp.where(jnp.isinf(x), 0, x)


# The slope of x itself, which must not vanish with its value at ∞: softplus has 1.
_finite.defjvps(lambda x_dot, _, x: x_dot)
