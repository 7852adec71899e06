"""Binary cross-entropy: the loss of logits, its gradient and its Hessian, the loss of
probabilities, and label smoothing.

For a logit x and a label y in [0, 1]

    ℓ(x, y)    = −y log σ(x) − (1 − y) log σ(−x),   in nats,
    ∂ℓ/∂x      = σ(x) − y,
    ∂²ℓ/∂x²    = σ(x) σ(−x).

`pos_weight` w multiplies the first term of ℓ, the loss of the positives. Losses are
element-wise and nothing is averaged: `loss.mean()`, `jnp.mean(loss, where=mask)` and
`jnp.average(loss, weights=weights)` say what is meant. Divide by `jnp.log(2)` for bits.

Shapes: `labels` has the shape of `logits` or is a scalar; `pos_weight` and `where`
broadcast to it; the logits are never broadcast. Dtypes: the result has the dtype of
`logits`; 16-bit logits are computed in float32 and rounded once, and labels are not
rounded to 16 bits at all. Where `where` is False the loss and every derivative are 0,
whatever the other arguments hold there, NaN included. Elsewhere NaN in gives NaN out
(the Hessian depends on the labels only through `pos_weight`). Labels outside [0, 1] and
negative weights are errors under `jax.experimental.checkify.checkify`.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from bcejax import _arguments
from bcejax._arguments import Argument, binary_labels, elementwise
from bcejax._numerics.derivatives import derivatives
from bcejax._numerics.limits import ratio_or_zero, times_abs, times_or_zero
from bcejax._numerics.log1p import log1p, log1p_exp_neg_abs
from bcejax._numerics.sigmoid import logit, sigmoid, sigmoid_slope, softplus
from bcejax._range_check import in_range


def bce_with_logits(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    pos_weight: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Binary cross-entropy ℓ(x, y) of each logit against its label, in nats.

    Differentiable to every order in logits, labels and `pos_weight`, forward and
    reverse. A certain right answer costs 0, a certain wrong one ∞, and the gradient
    there is 0 or ±1.

    Args:
      logits: `[...]`, floating point. ±∞ are allowed.
      labels: `[...]` or a scalar, any real dtype. Class 0 or 1, or a probability.
      pos_weight: broadcasts to `[...]`, not negative. Weight of the positives.
      where: bool, broadcasts to `[...]`. False leaves the element out: loss 0.
    Returns:
      `[...]`, dtype of `logits`. In nats, never below 0.
    Raises:
      TypeError: if `logits` is not floating point, `labels` or `pos_weight` is not
        real, or `where` is not bool.
      ValueError: if a shape does not fit that of `logits`, which is never broadcast.
    Example:
      >>> print(bce_with_logits(jnp.array([-2, 0.5, jnp.inf]), 1))
      [2.1269 0.4741 0.    ]

    Reference:
      I. J. Good, Rational decisions, J. R. Statist. Soc. B 14 (1952), 107-114.
    """
    return _of_logits(bce, logits, labels, pos_weight, where)


def bce_with_logits_grad(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    pos_weight: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Gradient ∂ℓ/∂x = σ(x) − y of `bce_with_logits` at each logit, in closed form.

    What `jax.grad` of the summed loss returns, without the loss. Arguments and errors
    are those of `bce_with_logits`.

    Returns:
      `[...]`, dtype of `logits`, in [−pos_weight, 1].
    Example:
      >>> print(bce_with_logits_grad(0.0, 1), f"{bce_with_logits_grad(20.0, 1):.3e}")
      -0.5 -2.061e-09
    """
    return _of_logits(bce_dx, logits, labels, pos_weight, where)


def bce_with_logits_hessian(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    pos_weight: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Second derivative ∂²ℓ/∂x² = σ(x) σ(−x) at each logit, in closed form.

    The Hessian of the summed loss is diagonal, and this is its diagonal; without
    `pos_weight` the labels do not matter. Arguments and errors are those of
    `bce_with_logits`.

    Returns:
      `[...]`, dtype of `logits`, in [0, ¼] without `pos_weight`.
    Example:
      >>> f"{bce_with_logits_hessian(0.0, 1)}, {bce_with_logits_hessian(20.0, 1):.3e}"
      '0.25, 2.061e-09'
    """
    return _of_logits(_bce_dxx, logits, labels, pos_weight, where)


def _of_logits(core, logits, labels, pos_weight, where) -> jax.Array:
    return elementwise(
        core,
        Argument("logits", logits),
        binary_labels(labels),
        Argument("pos_weight", pos_weight, (0, jnp.inf)),
        where=where,
    )


def bce(x: jax.Array, y: jax.Array, w: jax.Array | None) -> jax.Array:
    return bce_unweighted(x, y) if w is None else _bce_weighted(x, y, w)


@jax.custom_jvp
def bce_unweighted(x: jax.Array, y: jax.Array) -> jax.Array:
    # log(1 + e^−|x|), which both labels share, plus |x| for the label mass on the wrong
    # side. The usual max(x, 0) − x y cancels: at x = 8, y = 0.999 it loses nine bits.
    wrong = jnp.abs(y - jnp.maximum(jnp.sign(x), 0))
    return log1p_exp_neg_abs(x) + times_abs(wrong, x)


derivatives(
    bce_unweighted,
    lambda x_dot, _, x, y: x_dot * bce_dx(x, y, None),
    lambda y_dot, _, x, y: times_or_zero(y_dot, -x),
)


@jax.custom_jvp
def _bce_weighted(x: jax.Array, y: jax.Array, w: jax.Array) -> jax.Array:
    # w |y| and |y − 1| for w y and 1 − y, as those stand in the gradient: `times_abs`
    # says why the two must not share anything.
    positive, negative, side = w * jnp.abs(y), jnp.abs(y - 1), jnp.sign(x)
    wrong = positive * jnp.maximum(-side, 0) + negative * jnp.maximum(side, 0)
    return (positive + negative) * log1p_exp_neg_abs(x) + times_abs(wrong, x)


derivatives(
    _bce_weighted,
    lambda x_dot, _, x, y, w: x_dot * bce_dx(x, y, w),
    lambda y_dot, _, x, y, w: times_or_zero(
        y_dot, times_or_zero(w, softplus(-x)) - softplus(x)
    ),
    lambda w_dot, _, x, y, w: times_or_zero(w_dot, times_or_zero(y, softplus(-x))),
)


def bce_dx(x: jax.Array, y: jax.Array, w: jax.Array | None) -> jax.Array:
    # σ(x) − y, regrouped with 1 − σ(x) = σ(−x): the short form is 0 for x = 17, y = 1
    # in float32, where the slope is −4e-8.
    positive = y if w is None else w * y
    return (1 - y) * sigmoid(x) - positive * sigmoid(-x)


def _bce_dxx(x: jax.Array, y: jax.Array, w: jax.Array | None) -> jax.Array:
    mass = 1 if w is None else 1 - y + w * y
    return mass * sigmoid_slope(x)


def bce_with_probs(
    probs: ArrayLike, labels: ArrayLike, *, where: ArrayLike | None = None
) -> jax.Array:
    """Binary cross-entropy −y log p − (1 − y) log(1 − p) of each probability, in nats.

    For probabilities that come from elsewhere: where there is a logit, use
    `bce_with_logits`, since a probability near 1 has already lost its digits. Exact at
    0 and 1: 0 · log 0 is 0, and a certain wrong answer costs ∞. The gradient is
    (1 − y)/(1 − p) − y/p. Nothing is clipped.

    Args:
      probs: `[...]`, floating point, in [0, 1] (checked under `checkify`, else NaN).
      labels: `[...]` or a scalar, any real dtype. Class 0 or 1, or a probability.
      where: bool, broadcasts to `[...]`. False leaves the element out: loss 0.
    Returns:
      `[...]`, dtype of `probs`. In nats, never below 0.
    Raises:
      TypeError: if `probs` is not floating point, `labels` not real, `where` not bool.
      ValueError: if a shape does not fit that of `probs`, which is never broadcast.
    Example:
      >>> print(bce_with_probs(jnp.array([0, 0.5, 1]), jnp.array([0, 1, 0])))
      [0.     0.6931    inf]
    """
    probabilities = Argument("probs", probs, (0, 1))
    return elementwise(
        _bce_with_probs, probabilities, binary_labels(labels), where=where
    )


@jax.custom_jvp
def _bce_with_probs(p: jax.Array, y: jax.Array) -> jax.Array:
    return times_or_zero(y, -jnp.log(p)) + times_or_zero(1 - y, -log1p(-p))


derivatives(
    _bce_with_probs,
    lambda p_dot, _, p, y: times_or_zero(
        p_dot, ratio_or_zero(1 - y, 1 - p) - ratio_or_zero(y, p)
    ),
    lambda y_dot, _, p, y: times_or_zero(y_dot, -logit(p)),
)


def smooth_labels(labels: ArrayLike, amount: ArrayLike) -> jax.Array:
    """Labels moved towards ½: y (1 − a) + a/2, for binary labels.

    Never rounded to 16 bits: 1 − 0.001/2 is not a bfloat16, and the losses take labels
    of any dtype.

    Args:
      labels: `[...]`, any real dtype, in [0, 1] (checked under `checkify`).
      amount: broadcasts to `[...]`, real. How far, from 0 (not at all) to 1 (all ½).
    Returns:
      `[...]`, float64 if `labels` are, else float32. In [a/2, 1 − a/2].
    Raises:
      TypeError: if an argument is not real.
      ValueError: if `amount` does not broadcast to the shape of `labels`.
    Example:
      >>> print(smooth_labels(jnp.array([0, 1]), 0.1))
      [0.05 0.95]

    Reference:
      C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens, Z. Wojna, Rethinking the Inception
      architecture for computer vision, CVPR 2016, https://arxiv.org/abs/1512.00567
    """
    return _smooth(_arguments.array(labels), _arguments.array(amount))


@jax.jit
def _smooth(labels: ArrayLike, amount: ArrayLike) -> jax.Array:
    y = _arguments.real(labels, "labels")
    a = _arguments.real(amount, "amount")
    a = _arguments.broadcastable(a, "amount", y, "labels")
    dtype = _arguments.widened(y.dtype)
    y = in_range(y.astype(dtype), "labels", 0, 1)
    a = in_range(a.astype(dtype), "amount", 0, 1)
    return y * (1 - a) + a / 2
