"""Entropy and Kullback-Leibler divergence of Bernoulli variables given as logits.

For a = logit p and b = logit q

    H(σ(a))        = −p log p − (1 − p) log(1 − p)                   = ℓ(a, σ(a)),
    KL(σ(a) ‖ σ(b)) = p log(p/q) + (1 − p) log((1 − p)/(1 − q))      = ℓ(b, σ(a)) − H,

with ℓ the loss of `bce_with_logits`: the part of it that no logit can avoid, and the
rest. From logits both keep their digits where p or 1 − p is rounded to 1. Element-wise
and in nats; dtypes as in `_information`.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from bcejax._arguments import Argument, elementwise, elementwise_pair
from bcejax._numerics.derivatives import derivatives
from bcejax._numerics.limits import ratio_or_zero, times_or_zero
from bcejax._numerics.log1p import (
    is_near,
    log1p_exp_neg_abs,
    log1p_over,
    x_minus_log1p,
)
from bcejax._numerics.sigmoid import sigmoid, sigmoid_slope


def bernoulli_entropy(logits: ArrayLike) -> jax.Array:
    """Entropy H(σ(x)) of a Bernoulli variable of logit x, in nats.

    Even in x, log 2 at 0, about (1 + |x|) e^−|x| in the tails, 0 at ±∞. The gradient is
    −x σ(x) σ(−x).

    Args:
      logits: `[...]`, floating point. ±∞ are allowed.
    Returns:
      `[...]`, dtype of `logits`. In nats, in [0, log 2].
    Raises:
      TypeError: if `logits` is not floating point.
    Example:
      >>> print(bernoulli_entropy(0.0), f"{bernoulli_entropy(80.0):.3e}")
      0.6931 1.462e-33

    Reference:
      C. E. Shannon, A mathematical theory of communication, Bell Syst. Tech. J. 27
      (1948), 379-423.
    """
    return elementwise(_bernoulli_entropy, Argument("logits", logits))


def bernoulli_kl_divergence(logits_p: ArrayLike, logits_q: ArrayLike) -> jax.Array:
    """Divergence KL(σ(a) ‖ σ(b)) of Bernoulli variables of logits a and b, in nats.

    0 for a = b, ±∞ included, and about σ(a) σ(−a) (a − b)²/2 nearby; ∞ for other
    infinite b. The gradient is (a − b) σ(a) σ(−a) in a and σ(b) − σ(a) in b.

    Args:
      logits_p: `[...]`, floating point. ±∞ are allowed.
      logits_q: like `logits_p`.
    Returns:
      `[...]`, promoted dtype. In nats, never below 0.
    Raises:
      TypeError: if an argument is not floating point.
      ValueError: if the arguments differ in shape. Nothing is broadcast.
    Example:
      >>> print(bernoulli_kl_divergence(jnp.array([0.0, 3]), jnp.array([2.0, jnp.inf])))
      [0.4338    inf]

    Reference:
      S. Kullback and R. A. Leibler, On information and sufficiency, Ann. Math. Statist.
      22 (1951), 79-86.
    """
    return elementwise_pair(bernoulli_divergence, logits_p=logits_p, logits_q=logits_q)


@jax.custom_jvp
def _bernoulli_entropy(x: jax.Array) -> jax.Array:
    # |x| σ(−|x|) + log(1 + e) with e = e^−|x|, both positive, over e. √e is multiplied
    # in twice: from |x| = 87 on e is below the least normal float32, and |x| e is not.
    x = jnp.abs(x)
    root = jnp.exp(-x / 2)
    e = root * root
    return root * times_or_zero(root, x / (1 + e) + log1p_over(e))


_bernoulli_entropy.defjvps(lambda x_dot, _, x: x_dot * -_slope_times(x, x))


def _slope_times(x: jax.Array, factor: jax.Array) -> jax.Array:
    # σ(x) σ(−x) · factor, where 0 · ∞ is 0. The root twice, as above.
    root = _root_slope(x)
    return times_or_zero(root, times_or_zero(root, factor))


@jax.custom_jvp
def _root_slope(x: jax.Array) -> jax.Array:
    # √(σ(x) σ(−x)) = 1/(2 cosh(x/2))
    return 1 / (jnp.exp(x / 2) + jnp.exp(-x / 2))


_root_slope.defjvps(lambda x_dot, root, x: x_dot * -root * jnp.tanh(x / 2) / 2)


@jax.custom_jvp
def bernoulli_divergence(a: jax.Array, b: jax.Array) -> jax.Array:
    # The terms p g((q − p)/p) of both classes, p = σ(a) and q = σ(b): two numbers that
    # are never negative. The class names are swapped so that a ≤ 0. Then what is small
    # is p, q and q − p: they are taken over e^top, the larger of them, and its root is
    # multiplied in twice at the end.
    b = jnp.where(a > 0, -b, b)
    a = -jnp.abs(a)
    below = jnp.minimum(b, 0)
    top = jnp.maximum(jnp.maximum(a, below), -jnp.finfo(a.dtype).max)
    root = jnp.exp(top / 2)
    p_not, q_not = sigmoid(-a), sigmoid(-b)
    p = jnp.exp(a - top) * p_not
    q = jnp.exp(below - top) * sigmoid(jnp.abs(b))
    step = _one_minus_exp(a, b) * p_not * sigmoid(jnp.abs(b))
    s = ratio_or_zero(step, q + p)
    far = (
        times_or_zero(p, (a - below) + (log1p_exp_neg_abs(b) - log1p_exp_neg_abs(a)))
        + step
    )
    first = jnp.where(is_near(s), x_minus_log1p(step, s), far)
    # Only b > 0 can be far here, and then e^top is 1.
    s_not = -(root * root) * step / (p_not + q_not)
    far = (
        p_not * (jnp.maximum(b, 0) + (log1p_exp_neg_abs(b) - log1p_exp_neg_abs(a)))
        - step
    )
    second = jnp.where(is_near(s_not), x_minus_log1p(-step, s_not), far)
    finite = root * (root * (first + second))
    return jnp.where(jnp.isinf(b) & jnp.isinf(b - a), jnp.inf, finite)


derivatives(
    bernoulli_divergence,
    lambda a_dot, _, a, b: times_or_zero(a_dot, _slope_times(a, _difference(a, b))),
    lambda b_dot, _, a, b: b_dot * _sigmoid_difference(a, b),
)


def _difference(a: jax.Array, b: jax.Array) -> jax.Array:
    # a − b, and 0 for two equal infinities.
    same = (a == b) & jnp.isinf(a)
    return jnp.where(same, 0, a) - jnp.where(same, 0, b)


@jax.custom_jvp
def _sigmoid_difference(a: jax.Array, b: jax.Array) -> jax.Array:
    # σ(b) − σ(a) = σ(b) σ(−a) (1 − e^(a − b)) for a ≤ b, and its negative otherwise.
    high, low = jnp.maximum(a, b), jnp.minimum(a, b)
    return _one_minus_exp(a, b) * sigmoid(high) * sigmoid(-low)


derivatives(
    _sigmoid_difference,
    lambda a_dot, _, a, b: a_dot * -sigmoid_slope(a),
    lambda b_dot, _, a, b: b_dot * sigmoid_slope(b),
)


def _one_minus_exp(a: jax.Array, b: jax.Array) -> jax.Array:
    # 1 − e^−|b − a|, with the sign of b − a.
    d = _difference(b, a)
    return -jnp.sign(d) * jnp.expm1(-jnp.abs(d))
