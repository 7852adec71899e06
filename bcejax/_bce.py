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

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from bcejax import _checks
from bcejax._numerics.derivatives import derivatives
from bcejax._numerics.log1p import log1p
from bcejax._range_check import in_range
from bcejax._sigmoid import _logit, _sigmoid, _sigmoid_slope, _softplus, _tail, _times


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
    return _apply(_bce, logits, labels, where, pos_weight=pos_weight)


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
    return _apply(_bce_dx, logits, labels, where, pos_weight=pos_weight)


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
    return _apply(_bce_dxx, logits, labels, where, pos_weight=pos_weight)


_RANGES = {
    "probs": (0, 1),
    "pos_weight": (0, jnp.inf),
    "alpha": (0, 1),
    "gamma": (0, jnp.inf),
}


def _apply(core, x, labels, where, name="logits", **others) -> jax.Array:
    """`core(x, y, *others)`, each of which broadcasts to x and may be None."""
    x, labels, where = map(_checks.array, (x, labels, where))
    others = {key: _checks.array(other) for key, other in others.items()}
    names = name, *others
    return _compiled(core, names, x, labels, tuple(others.values()), where)


@partial(jax.jit, static_argnums=(0, 1))
def _compiled(core, names, x, labels, others, where) -> jax.Array:
    """Check the arguments, widen 16 bits, and keep masked elements out of `core`."""
    name, *other_names = names
    x = _checks.floating(x, name, hint=f" The order of arguments is ({name}, labels).")
    y = _checks.real(labels, "labels")
    y = _checks.same_shape_or_scalar(y, "labels", x, name)
    dtype = _checks.widened(x.dtype)

    def beside(other, key):
        if other is None:
            return None
        other = _checks.broadcastable(_checks.real(other, key), key, x, name)
        # ∞ as the largest float: a weight of that leaves the other class alone.
        return jnp.minimum(other.astype(dtype), jnp.finfo(dtype).max)

    others = tuple(map(beside, others, other_names))
    arguments = x.astype(dtype), y.astype(dtype), *others
    if where is not None:
        where = _checks.boolean(where, "where")
        where = _checks.broadcastable(where, "where", x, name)
        # Masked twice: here, so that no NaN enters, and below, for the zero itself.
        arguments = jax.tree.map(lambda a: jnp.where(where, a, 0), arguments)
    x_masked, y_masked, *others_masked = arguments
    result = core(
        _in_own_range(x_masked, name),
        in_range(y_masked, "labels", 0, 1),
        *map(_in_own_range, others_masked, other_names),
    )
    if where is not None:
        result = jnp.where(where, result, 0)
    return result.astype(x.dtype)


def _in_own_range(argument, name: str):
    if argument is None or name not in _RANGES:
        return argument
    return in_range(argument, name, *_RANGES[name])


def _bce(x: jax.Array, y: jax.Array, w: jax.Array | None) -> jax.Array:
    return _bce_unweighted(x, y) if w is None else _bce_weighted(x, y, w)


@jax.custom_jvp
def _bce_unweighted(x: jax.Array, y: jax.Array) -> jax.Array:
    # log(1 + e^−|x|), which both labels share, plus |x| for the label mass on the wrong
    # side. The usual max(x, 0) − x y cancels: at x = 8, y = 0.999 it loses nine bits.
    return _tail(x) + _reach(x, jnp.abs(y - jnp.maximum(jnp.sign(x), 0)))


derivatives(
    _bce_unweighted,
    lambda x_dot, _, x, y: x_dot * _bce_dx(x, y, None),
    lambda y_dot, _, x, y: _times(y_dot, -x),
)


@jax.custom_jvp
def _bce_weighted(x: jax.Array, y: jax.Array, w: jax.Array) -> jax.Array:
    # w |y| and |y − 1| for w y and 1 − y, which stand in the gradient (see `_reach`).
    positive, negative, side = w * jnp.abs(y), jnp.abs(y - 1), jnp.sign(x)
    wrong = positive * jnp.maximum(-side, 0) + negative * jnp.maximum(side, 0)
    return (positive + negative) * _tail(x) + _reach(x, wrong)


derivatives(
    _bce_weighted,
    lambda x_dot, _, x, y, w: x_dot * _bce_dx(x, y, w),
    lambda y_dot, _, x, y, w: _times(y_dot, _times(w, _softplus(-x)) - _softplus(x)),
    lambda w_dot, _, x, y, w: _times(w_dot, _times(y, _softplus(-x))),
)


def _reach(x: jax.Array, wrong: jax.Array) -> jax.Array:
    # wrong · |x|, where 0 · ∞ is 0: an infinite logit on the right side costs nothing.
    # |x| is replaced by 0 where no mass is wrong, as |wrong · most| · most is 0 or ∞.
    # (Without the bars XLA would fold most · most.)
    #
    # XLA's CPU sums the loss in one vectorised pass because there is no select,
    # comparison or clip in it, and beside its gradient because the two have no
    # subexpression in common, not even the constant 1: `benchmarks/formulations.py` has
    # the other ways and what they cost.
    most = jnp.finfo(x.dtype).max
    return wrong * jnp.minimum(jnp.abs(x), jnp.abs(wrong * most) * most)


def _bce_dx(x: jax.Array, y: jax.Array, w: jax.Array | None) -> jax.Array:
    # σ(x) − y, regrouped with 1 − σ(x) = σ(−x): the short form is 0 for x = 17, y = 1
    # in float32, where the slope is −4e-8.
    positive = y if w is None else w * y
    return (1 - y) * _sigmoid(x) - positive * _sigmoid(-x)


def _bce_dxx(x: jax.Array, y: jax.Array, w: jax.Array | None) -> jax.Array:
    mass = 1 if w is None else 1 - y + w * y
    return mass * _sigmoid_slope(x)


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
    return _apply(_bce_with_probs, probs, labels, where, name="probs")


@jax.custom_jvp
def _bce_with_probs(p: jax.Array, y: jax.Array) -> jax.Array:
    return _times(y, -jnp.log(p)) + _times(1 - y, -log1p(-p))


derivatives(
    _bce_with_probs,
    lambda p_dot, _, p, y: _times(p_dot, _ratio(1 - y, 1 - p) - _ratio(y, p)),
    lambda y_dot, _, p, y: _times(y_dot, -_logit(p)),
)


@jax.custom_jvp
def _ratio(y: jax.Array, p: jax.Array) -> jax.Array:
    # y/p, where 0/0 is 0: a class of no mass pulls at nothing.
    return jnp.where(y == 0, 0, y / p)


derivatives(
    _ratio,
    lambda y_dot, _, y, p: _times(y_dot, 1 / p),
    lambda p_dot, _, y, p: _times(p_dot, -_ratio(_ratio(y, p), p)),
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
    return _smooth(_checks.array(labels), _checks.array(amount))


@jax.jit
def _smooth(labels: ArrayLike, amount: ArrayLike) -> jax.Array:
    y, a = _checks.real(labels, "labels"), _checks.real(amount, "amount")
    a = _checks.broadcastable(a, "amount", y, "labels")
    dtype = _checks.widened(y.dtype)
    y = in_range(y.astype(dtype), "labels", 0, 1)
    a = in_range(a.astype(dtype), "amount", 0, 1)
    return y * (1 - a) + a / 2
