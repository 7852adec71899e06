"""Asymmetric loss (ASL): a focal loss that is harder on the negatives of many labels.

For a logit x and a label y in [0, 1], with p = σ(x) and p_m = max(p − m, 0),

    L = −y (1 − p)^γ₊ log p − (1 − y) p_m^γ₋ log(1 − p_m).

Both terms are one function, the cost of x against label 0,

    C(x, γ, m) = p_m^γ (−log(1 − p_m)),      L = y C(−x, γ₊, 0) + (1 − y) C(x, γ₋, m),

which is 0 where p ≤ m. Elsewhere, with z = m/(p − m) and s = σ(−x)/(σ(−x) + m),

    ∂log p_m/∂x = σ(−x) (1 + z),            ∂z/∂x = −z (1 + z) σ(−x),
    ∂(−log(1 − p_m))/∂x = σ(x) s,           ∂s/∂x = −s (1 − s) σ(x),

and for m = 0 these are z = 0 and s = 1, though p or σ(−x) may have underflown.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from bcejax._arguments import Argument, binary_labels, elementwise
from bcejax._numerics.derivatives import derivatives
from bcejax._numerics.limits import ratio_or_zero, times_or_zero
from bcejax._numerics.log1p import log1p, log1p_exp_neg_abs
from bcejax._numerics.numbers_first import numbers_first
from bcejax._numerics.power import times_power
from bcejax._numerics.sigmoid import sigmoid


def asymmetric_loss(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    gamma_positive: ArrayLike = 1.0,
    gamma_negative: ArrayLike = 4.0,
    clip: ArrayLike = 0.05,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Asymmetric loss of each logit against its label, in nats.

    For many labels at once, most of them negative: −(1 − p)^γ₊ log p of a positive, and
    −p_m^γ₋ log(1 − p_m) of a negative, where p = σ(x) and p_m = max(p − clip, 0). A
    negative of a probability up to `clip` costs nothing and has no gradient, and one
    that looks mislabelled costs at most −log(clip). A soft label mixes the two. The
    defaults are those of timm and of the authors' code; the paper itself has γ₊ = 0.

    Differentiable to every order in logits and labels, and once in the others. Just
    above p = clip the loss has the digits of the difference p − clip, in which p is
    rounded; there γ₋ < 1 makes the slope infinite. The slope at p = clip is 0.
    `logits`, `labels`, `where` and errors are those of `bce_with_logits`.

    Args:
      gamma_positive: broadcasts to `[...]`, not negative.
      gamma_negative: like `gamma_positive`.
      clip: broadcasts to `[...]`, in [0, 1].
    Returns:
      `[...]`, dtype of `logits`. In nats, never below 0.
    Example:
      >>> print(asymmetric_loss(jnp.array([-2, 2, jnp.inf]), jnp.array([1, 0, 0])))
      [1.8734 0.8464 2.44]
      >>> print(asymmetric_loss(-3.0, 0))
      0.0

    Reference:
      T. Ridnik, E. Ben-Baruch, N. Zamir, A. Noy, I. Friedman, M. Protter,
      L. Zelnik-Manor, Asymmetric loss for multi-label classification, ICCV 2021,
      https://arxiv.org/abs/2009.14119
    """
    return elementwise(
        _asymmetric,
        Argument("logits", logits),
        binary_labels(labels),
        Argument("gamma_positive", gamma_positive, (0, jnp.inf)),
        Argument("gamma_negative", gamma_negative, (0, jnp.inf)),
        Argument("clip", clip, (0, 1)),
        where=where,
    )


@numbers_first
def _asymmetric(x, y, gamma_positive, gamma_negative, clip) -> jax.Array:
    positive = _cost(-x, gamma_positive, jnp.zeros_like(x))
    negative = _cost(x, gamma_negative, clip)
    return times_or_zero(y, positive) + times_or_zero(1 - y, negative)


def _cost(x: jax.Array, g: jax.Array, m: jax.Array) -> jax.Array:
    # Where nothing is left of p, the rest is computed at a place that is out of danger,
    # and multiplied by 0. A select would hide a γ of NaN.
    nothing = sigmoid(x) <= m
    x, m = jnp.where(nothing, 0, x), jnp.where(nothing, 0, m)
    cost = times_power(_minus_log_rest(x, m), _log_shifted(x, m), g)
    return times_or_zero(1 - nothing.astype(x.dtype), cost)


@jax.custom_jvp
def _log_shifted(x: jax.Array, m: jax.Array) -> tuple[jax.Array, jax.Array]:
    # log p_m = log σ(x) − log(1 + z) in two parts, the first of which is exact.
    return jnp.minimum(x, 0), -log1p_exp_neg_abs(x) - log1p(_z(x, m))


# What moves log p_m is added to the first of the two, since only their sum counts.
derivatives(
    _log_shifted,
    lambda x_dot, _, x, m: (x_dot * sigmoid(-x) * (1 + _z(x, m)), jnp.zeros_like(x)),
    lambda m_dot, _, x, m: (-m_dot * (1 + _z(x, m)) / sigmoid(x), jnp.zeros_like(x)),
)


@jax.custom_jvp
def _z(x: jax.Array, m: jax.Array) -> jax.Array:
    return m / (sigmoid(x) - m)


derivatives(
    _z,
    lambda x_dot, z, x, m: x_dot * -z * (1 + z) * sigmoid(-x),
    lambda m_dot, z, x, m: m_dot * (1 + z) * (1 + z) / sigmoid(x),
)


@jax.custom_jvp
def _minus_log_rest(x: jax.Array, m: jax.Array) -> jax.Array:
    # −log(1 − p_m), where 1 − p_m = σ(−x) + m = (m + (1 + m) e)/(1 + e) with e = e^−x.
    p, e = sigmoid(x) - m, jnp.exp(-jnp.abs(x))
    log_mass = jnp.where(m == 0, -jnp.abs(x), jnp.log(m + (1 + m) * e))
    return jnp.where(p <= 0.5, -log1p(-p), log1p_exp_neg_abs(x) - log_mass)


derivatives(
    _minus_log_rest,
    lambda x_dot, _, x, m: x_dot * sigmoid(x) * _s(x, m),
    lambda m_dot, _, x, m: times_or_zero(m_dot, -1 / (sigmoid(-x) + m)),
)


@jax.custom_jvp
def _s(x: jax.Array, m: jax.Array) -> jax.Array:
    return 1 / (1 + ratio_or_zero(m, sigmoid(-x)))


derivatives(
    _s,
    lambda x_dot, s, x, m: x_dot * -s * ratio_or_zero(m, sigmoid(-x) + m) * sigmoid(x),
    lambda m_dot, s, x, m: times_or_zero(m_dot, -s / (sigmoid(-x) + m)),
)
