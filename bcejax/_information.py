"""Entropy, cross-entropy and Kullback-Leibler divergence of distributions given as
probabilities along an axis.

    H(p)      = −Σ p log p,
    H(p, q)   = −Σ p log q,
    KL(p ‖ q) =  Σ p log(p/q) = H(p, q) − H(p),

where 0 log 0 = 0 log(0/0) = 0, and mass where q has none costs ∞. The probabilities are
taken as they are, never renormalised or clipped; outside [0, 1] they are errors under
`jax.experimental.checkify.checkify`.

Shapes: two arguments have the same shape, and nothing is broadcast. Dtypes: the result
has the dtype of the argument, or the one that JAX promotes two of them to; 16 bits are
computed in float32 and rounded once. Unit: nats, unless `base` says otherwise.

The divergence stands on g(u) = u − log(1 + u), which is never negative and keeps its
digits through u = 0: `_numerics.log1p.x_minus_log1p`.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from numpy.lib.array_utils import normalize_axis_tuple

from bcejax._arguments import alike, array, hashable, scalar
from bcejax._numerics.derivatives import along_axis, derivatives
from bcejax._numerics.limits import ratio_or_zero, times_or_zero
from bcejax._numerics.log1p import atanh_remainder, is_near, x_minus_log1p
from bcejax._numerics.over_classes import axis_of, each, one_axis, over_classes
from bcejax._range_check import in_range


def entropy(
    probs: ArrayLike,
    *,
    axis: int | tuple[int, ...] | None = -1,
    base: ArrayLike | None = None,
) -> jax.Array:
    """Entropy H(p) = −Σ p log p of each distribution along `axis`.

    The gradient is −1 − log p, in nats: ∞ at a probability of 0.

    Args:
      probs: `[..., classes]`, floating point, in [0, 1] (checked under `checkify`).
      axis: the axis of the classes, or several; None for all.
      base: scalar, real, above 0. 2 for bits, 10 for bans, None for nats.
    Returns:
      `[...]`, dtype of `probs`. In nats or the unit of `base`, never below 0.
    Raises:
      TypeError: if `probs` is not floating point, or `base` not real.
      ValueError: if `axis` is out of bounds, or `base` is not a scalar.
    Example:
      >>> print(entropy(jnp.array([[0.5, 0.5, 0], [0.7, 0.2, 0.1]]), base=2))
      [1.     1.1568]

    Reference:
      C. E. Shannon, A mathematical theory of communication, Bell Syst. Tech. J. 27
      (1948), 379-423.
    """
    return _along(_entropy, axis, base, probs=probs)


def cross_entropy(
    p: ArrayLike,
    q: ArrayLike,
    *,
    axis: int | tuple[int, ...] | None = -1,
    base: ArrayLike | None = None,
) -> jax.Array:
    """Cross-entropy H(p, q) = −Σ p log q of each pair of distributions along `axis`.

    The price of coding what comes from p as if it came from q. The gradient is −log q
    in p and −p/q in q, in nats.

    Args:
      p: `[..., classes]`, floating point, in [0, 1] (checked under `checkify`).
      q: like `p`.
      axis: the axis of the classes, or several; None for all.
      base: scalar, real, above 0. 2 for bits, 10 for bans, None for nats.
    Returns:
      `[...]`, promoted dtype. In nats or the unit of `base`, never below 0.
    Raises:
      TypeError: if `p` or `q` is not floating point, or `base` not real.
      ValueError: if `p` and `q` differ in shape, `axis` is out of bounds, or `base` is
        not a scalar.
    Example:
      >>> p = jnp.array([0.5, 0.5, 0])
      >>> print(cross_entropy(p, jnp.array([0.25, 0.75, 0])))
      0.8370

    Reference:
      I. J. Good, Rational decisions, J. R. Statist. Soc. B 14 (1952), 107-114.
    """
    return _along(_cross_entropy, axis, base, p=p, q=q)


def kl_divergence(
    p: ArrayLike,
    q: ArrayLike,
    *,
    axis: int | tuple[int, ...] | None = -1,
    base: ArrayLike | None = None,
) -> jax.Array:
    """Kullback-Leibler divergence KL(p ‖ q) of each pair of distributions along `axis`.

    Computed as Σ p log(p/q) − p + q, the sum of `scipy.special.kl_div`, in which no
    term is negative. For distributions, each of sum 1, that is KL(p ‖ q), with its
    digits for p ≈ q too; there Σ p log(p/q), short by Σp − Σq, would be all rounding
    errors. For other p and q it is the generalised divergence, 0 only for p = q. The
    gradient is log(p/q) in p and 1 − p/q in q, in nats: 1 more than that of
    Σ p log(p/q) for every class, which moves no distribution. Arguments and
    errors are those of `cross_entropy`.

    Returns:
      `[...]`, promoted dtype. In nats or the unit of `base`, never below 0.
    Example:
      >>> p, q = jnp.array([0.5, 0.5, 0]), jnp.array([0.25, 0.75, 0])
      >>> print(kl_divergence(p, q), kl_divergence(q, p), kl_divergence(p, p))
      0.1438 0.1308 0.0

    Reference:
      S. Kullback and R. A. Leibler, On information and sufficiency, Ann. Math. Statist.
      22 (1951), 79-86.
    """
    return _along(_divergence, axis, base, p=p, q=q)


def _along(core, axis, base, **distributions: ArrayLike) -> jax.Array:
    arrays = {name: array(x) for name, x in distributions.items()}
    return _summed(core, hashable(axis), array(base), arrays)


@partial(jax.jit, static_argnums=(0, 1))
def _summed(core, axis, base, distributions: dict) -> jax.Array:
    arrays, dtype = alike(distributions)
    ndim = arrays[0].ndim
    axes = tuple(range(ndim)) if axis is None else normalize_axis_tuple(axis, ndim)
    checked = (
        in_range(x, name, 0, 1) for x, name in zip(arrays, distributions, strict=True)
    )
    result = core(axis_of(axes, ndim), *(one_axis(x, axes) for x in checked))
    if base is not None:
        base = scalar(base, "base")
        result /= jnp.log(in_range(base.astype(result.dtype), "base", 0, jnp.inf))
    return result.astype(dtype)


# The sums, and their slopes. At p = 0 a slope may be ±∞, or 0 where q is 0 as well;
# `times_or_zero` and `ratio_or_zero` keep them from turning a tangent of 0 into NaN.


@along_axis
def _entropy(axis: int, p: jax.Array) -> jax.Array:
    (result,) = over_classes(_entropy_equation, axis, p)
    return result


def _entropy_equation(sums, p):
    terms = sums.total(lambda _, p: jnp.where(p == 0, 0, p * -jnp.log(p)), (p,), ())
    return (sums.result(terms),)


derivatives(
    _entropy,
    lambda p_dot, _, axis, p: jnp.sum(times_or_zero(p_dot, -1 - _log(p)), axis),
)


@along_axis
def _cross_entropy(axis: int, p: jax.Array, q: jax.Array) -> jax.Array:
    (result,) = over_classes(_cross_entropy_equation, axis, p, q)
    return result


def _cross_entropy_equation(sums, p, q):
    def term(_, p, q):
        return jnp.where(p == 0, 0, p * -jnp.log(q))

    return (sums.result(sums.total(term, (p, q), ())),)


derivatives(
    _cross_entropy,
    lambda p_dot, _, axis, p, q: jnp.sum(times_or_zero(p_dot, -_log(q)), axis),
    lambda q_dot, _, axis, p, q: jnp.sum(
        times_or_zero(q_dot, -ratio_or_zero(p, q)), axis
    ),
)


@jax.custom_jvp
def _log(p: jax.Array) -> jax.Array:
    return jnp.log(p)


# The slope 1/p = ∞ at 0 leaves a tangent of 0 alone.
_log.defjvps(lambda p_dot, _, p: times_or_zero(p_dot, 1 / p))


@along_axis
def _divergence(axis: int, p: jax.Array, q: jax.Array) -> jax.Array:
    (result,) = over_classes(_divergence_equation, axis, p, q)
    return result


def _divergence_equation(sums, p, q):
    # p log(p/q) − p + q = p g(u) with u = (q − p)/p, written without u = ∞ at p = 0.
    # The step q − p is exact wherever the series is taken.
    def term(_, p, q):
        step, s = q - p, _share(p, q)
        far = jnp.where(p == 0, 0, p * _log_far(p, q)) + step
        return jnp.where(is_near(s), x_minus_log1p(step, s), far)

    return (sums.result(sums.total(term, (p, q), ())),)


derivatives(
    _divergence,
    lambda p_dot, _, axis, p, q: jnp.sum(
        times_or_zero(p_dot, _log_quotient(p, q)), axis
    ),
    lambda q_dot, _, axis, p, q: jnp.sum(times_or_zero(q_dot, _complement(p, q)), axis),
)


def _share(p: jax.Array, q: jax.Array) -> jax.Array:
    # s = (q − p)/(q + p), and 0 for 0/0. Not a division of the two, which XLA's CPU
    # would store for its many users.
    return jnp.where(q + p == 0, 0, (q - p) * (1 / (q + p)))


def _log_far(p: jax.Array, q: jax.Array) -> jax.Array:
    # log(p/q) where p and q differ by a factor of 2 at least, by roots: for generalised
    # distributions p/q may lie beyond the range of floats. Choosing the quotient where
    # that is a normal number errs by half as much, and takes five times as long.
    return 2 * jnp.log(jnp.sqrt(p) / jnp.sqrt(q))


@jax.custom_jvp
def _log_quotient(p: jax.Array, q: jax.Array) -> jax.Array:
    # log(p/q) = −2 atanh s, where 0/0 counts as 1: a class that neither distribution
    # has contributes no gradient.
    def quotient(p, q):
        s = _share(p, q)
        near = -2 * (s + s * s * s * atanh_remainder(s))
        return jnp.where(is_near(s), near, _log_far(p, q))

    return each(quotient, p, q)


derivatives(
    _log_quotient,
    lambda p_dot, _, p, q: times_or_zero(p_dot, _reciprocal(p, q)),
    lambda q_dot, _, p, q: times_or_zero(q_dot, -_reciprocal(q, p)),
)


@jax.custom_jvp
def _reciprocal(p: jax.Array, q: jax.Array) -> jax.Array:
    # 1/p, and 0 where q is 0 as well.
    return jnp.where((p == 0) & (q == 0), 0, 1 / p)


derivatives(
    _reciprocal,
    lambda p_dot, result, p, q: times_or_zero(p_dot, -result * _reciprocal(p, q)),
    None,
)


@jax.custom_jvp
def _complement(p: jax.Array, q: jax.Array) -> jax.Array:
    # 1 − p/q as (q − p)/q, which keeps its digits where p ≈ q.
    return jnp.where(p == 0, 1, (q - p) / q)


# Not left to autodiff, whose 1/q − (q − p)/q² cancels where p is small.
derivatives(
    _complement,
    lambda p_dot, _, p, q: times_or_zero(p_dot, -1 / q),
    lambda q_dot, _, p, q: times_or_zero(q_dot, ratio_or_zero(ratio_or_zero(p, q), q)),
)
