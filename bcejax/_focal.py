"""Focal loss: binary cross-entropy, turned down where the answer is nearly right.

For a logit x and a label y in [0, 1], with ℓ the loss of `bce_with_logits`,

    L = α_t q^γ ℓ,    q = (1 − y) σ(x) + y σ(−x),    α_t = α y + (1 − α)(1 − y).

q is the probability of a wrong answer, 1 − p_t in the paper. A and B are the shares of
it that are due to the labels 0 and 1, A + B = 1. With them

    ∂log q/∂x = A σ(−x) − B σ(x),    ∂A/∂x = A B,    ∂B/∂x = −A B,

so no order of derivative in x divides by q, which may have underflown. In the labels
log q is steep, ∂log q/∂y = −tanh(x/2)/q: a derivative in them needs a normal q, and a
second one a normal q².
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from bcejax._arguments import Argument, binary_labels, elementwise
from bcejax._numerics.derivatives import derivatives
from bcejax._numerics.limits import times_or_zero
from bcejax._numerics.log1p import log1p_exp_neg_abs
from bcejax._numerics.numbers_first import numbers_first
from bcejax._numerics.power import times_power
from bcejax._numerics.sigmoid import sigmoid, sigmoid_slope, softplus


def sigmoid_focal_loss(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    alpha: ArrayLike | None = None,
    gamma: ArrayLike = 2.0,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Focal loss α_t q^γ ℓ(x, y) of each logit against its label, in nats.

    ℓ is `bce_with_logits`, and q the probability that the logit gives to the wrong
    class: the larger γ, the less easy examples count. γ = 0 is ℓ. Differentiable to
    every order in logits. The first derivatives in labels, `alpha` and `gamma` are as
    exact, if |x| < 83 (704 in float64) for those in labels; their second ones halve
    that range. A certain right answer costs 0, a certain wrong one ∞, and the gradient
    there is 0 or ±α_t. `logits`, `labels`, `where` and errors are those of
    `bce_with_logits`.

    Args:
      alpha: broadcasts to `[...]`, in [0, 1]. Weight of class 1, and 1 − alpha that of
        class 0. None for 1 and 1.
      gamma: broadcasts to `[...]`, not negative.
    Returns:
      `[...]`, dtype of `logits`. In nats, never below 0.
    Example:
      >>> print(sigmoid_focal_loss(jnp.array([-2, 0.5, jnp.inf]), 1))
      [1.6501 0.0676 0.    ]

    Reference:
      T.-Y. Lin, P. Goyal, R. Girshick, K. He, P. Dollár, Focal loss for dense object
      detection, ICCV 2017, https://arxiv.org/abs/1708.02002
    """
    return elementwise(
        _focal,
        Argument("logits", logits),
        binary_labels(labels),
        Argument("alpha", alpha, (0, 1)),
        Argument("gamma", gamma, (0, jnp.inf)),
        where=where,
    )


@numbers_first
def _focal(x: jax.Array, y: jax.Array, alpha: jax.Array | None, g: jax.Array):
    loss = times_or_zero(y, softplus(-x)) + times_or_zero(1 - y, softplus(x))
    modulated = times_power(loss, _log_q(x, y), g)
    if alpha is None:
        return modulated
    return times_or_zero(alpha * y + (1 - alpha) * (1 - y), modulated)


@jax.custom_jvp
def _log_q(x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    # q = (wrong + right e)/(1 + e), where e is e^−|x|, `wrong` is the label mass on the
    # wrong side of 0 and `right` the rest. log q is handed on as two logarithms. The
    # first is large for a right answer, and has no rounding if no mass is wrong.
    e = jnp.exp(-jnp.abs(x))
    wrong, right = jnp.where(x < 0, y, 1 - y), jnp.where(x < 0, 1 - y, y)
    log_mass = -jnp.log1p(right * (1 - e) / (wrong + right * e))
    return jnp.where(wrong == 0, -jnp.abs(x), log_mass), -log1p_exp_neg_abs(x)


# What moves log q is added to the first of the two, since only their sum counts.
derivatives(
    _log_q,
    lambda x_dot, _, x, y: (x_dot * _rate(x, y), jnp.zeros_like(x)),
    lambda y_dot, _, x, y: (
        -y_dot * (jnp.tanh(x / 2) * _one_over_q(x, y)),
        jnp.zeros_like(x),
    ),
)


def _rate(x: jax.Array, y: jax.Array) -> jax.Array:
    a, b = _shares(x, y)
    return a * sigmoid(-x) - b * sigmoid(x)


@jax.custom_jvp
def _shares(x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A and B. Where both parts of q underflow, y is 0 or 1, and so are they."""
    e = jnp.exp(-jnp.abs(x))
    a, b = (1 - y) * jnp.where(x < 0, e, 1), y * jnp.where(x < 0, 1, e)
    both = a + b
    return jnp.where(both == 0, 1 - y, a / both), jnp.where(both == 0, y, b / both)


derivatives(
    _shares,
    lambda x_dot, shares, x, y: _exchanged(x_dot * shares[0] * shares[1]),
    lambda y_dot, _, x, y: _exchanged(
        -y_dot * (sigmoid_slope(x) * _one_over_q(x, y) * _one_over_q(x, y))
    ),
)


def _exchanged(rise: jax.Array) -> tuple[jax.Array, jax.Array]:
    return rise, -rise


@jax.custom_jvp
def _one_over_q(x: jax.Array, y: jax.Array) -> jax.Array:
    # Finite where q underflows, and its slope in y is where q² does: they meet a γ that
    # may be above 1, and a loss of 0.
    least = 64 * float(jnp.finfo(x.dtype).tiny)
    return 1 / jnp.maximum((1 - y) * sigmoid(x) + y * sigmoid(-x), least)


def _one_over_q_squared(inverse: jax.Array) -> jax.Array:
    most = float(jnp.finfo(inverse.dtype).max) / 1024
    return jnp.minimum(inverse * inverse, most)


derivatives(
    _one_over_q,
    lambda x_dot, inverse, x, y: -x_dot * inverse * _rate(x, y),
    lambda y_dot, inverse, x, y: y_dot * _one_over_q_squared(inverse) * jnp.tanh(x / 2),
)
