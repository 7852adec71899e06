"""Softmax and its cross-entropies along the last axis, of logits already widened.

Where one class takes almost everything, log p_k = −log1p(Σ_{j≠k} exp(x_j − x_k)) and
1 − p_k = Σ_{j≠k} p_j are small and yet known to the last digits, which x_k − log Σ and
1 − p_k lose as they are written. So every sum here leaves one class out: that of the
label, or one of the largest. With `top` the largest logit,

    others = Σ exp(x_j − top) over all classes but one of the largest,
    log p_k = −(top − x_k) − log1p(others),      p_k = exp(x_k − top) / (1 + others).

The equations are written once. Each takes `sums`, one of the ways to add its terms:
`over_classes` tells which.
"""

import jax
import jax.numpy as jnp

from bcejax._numerics.derivatives import derivatives
from bcejax._numerics.over_classes import over_classes
from bcejax._sigmoid import _times


def _finite(top: jax.Array) -> jax.Array:
    most = jnp.finfo(top.dtype).max
    return jnp.clip(top, -most, most)


def _mass(x: jax.Array, finite_top: jax.Array) -> jax.Array:
    # exp(x − top). An infinite logit has the mass of the largest: min(∞, 0).
    return jnp.exp(jnp.minimum(x - finite_top, 0))


def _gap(x: jax.Array, top: jax.Array, finite_top: jax.Array) -> jax.Array:
    # top − x, never below 0. A top of ∞ was replaced by the largest float: then 4 times
    # any gap but 0 overflows, so that every other class is ∞ behind.
    gap = jnp.maximum(finite_top - x, 0)
    return jnp.where(top == jnp.inf, 4 * gap, gap)


def _top_and_others(sums, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The largest logit, the same made finite, and `others`: `[...]` each."""
    top, others = sums.top_and_others(x, _finite, _mass)
    return top, _finite(top), others


# Probabilities


@jax.custom_jvp
def _softmax(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """p and 1 − p."""
    return over_classes(_softmax_equation, x)


def _softmax_equation(sums, x):
    top, finite_top, others = (a[..., None] for a in _top_and_others(sums, x))
    mass, total = _mass(x, finite_top), 1 + others
    scale = 1 / total
    return mass * scale, jnp.where(x == top, others, total - mass) * scale


@_softmax.defjvp
def _softmax_jvp(primals, tangents):
    p, q = _softmax(*primals)
    p_dot = p * _centred(p, *tangents)
    return (p, q), (p_dot, -p_dot)


def _centred(p: jax.Array, t: jax.Array) -> jax.Array:
    # t_k − Σ_j p_j t_j, as u_k − Σ_j p_j u_j with u = t − t_c, where the class c has
    # more than half of the probability. As u_c = 0, p_c falls out, and with it 1 − p_c:
    # the short form has p (1 − p) for the diagonal of the Hessian.
    heavy = jnp.maximum(jnp.sign(p - 0.5), 0)
    u = (1 - heavy) * (t - jnp.sum(heavy * t, -1, keepdims=True))
    return u - jnp.sum(p * u, -1, keepdims=True)


@jax.custom_jvp
def _log_softmax(x: jax.Array) -> jax.Array:
    (result,) = over_classes(_log_softmax_equation, x)
    return result


def _log_softmax_equation(sums, x):
    # Two terms of one sign: how far behind, and log Σ_j exp(x_j − top).
    top, finite_top, others = (a[..., None] for a in _top_and_others(sums, x))
    return (-_gap(x, top, finite_top) - jnp.log1p(others),)


_log_softmax.defjvps(lambda t, _, x: _centred(_softmax(x)[0], t))


# Losses


@jax.custom_jvp
def _dense(x: jax.Array, y: jax.Array) -> jax.Array:
    (loss,) = over_classes(_dense_equation, x, y)
    return loss


def _dense_equation(sums, x, y):
    top, finite_top, others = _top_and_others(sums, x)
    level = jnp.log1p(others)
    loss = sums.weighted(y, _gap, (x,), (top, finite_top), level)
    # A label of 0 costs nothing, but it does not hide a NaN among the logits.
    return (sums.result(loss + 0 * level),)


derivatives(
    _dense,
    lambda x_dot, _, x, y: jnp.sum(x_dot * _dense_dx(x, y), -1),
    lambda y_dot, _, x, y: jnp.sum(_times(y_dot, -_log_softmax(x)), -1),
)


def _dense_dx(x: jax.Array, y: jax.Array) -> jax.Array:
    # p_k Σ_j y_j − y_k, regrouped with q = 1 − p: the short form is 0 where the right
    # class has p = 1 − 8e-8.
    p, q = _softmax(x)
    return p * _label_rest(y) - y * q


@jax.custom_jvp
def _label_rest(y: jax.Array) -> jax.Array:
    (rest,) = over_classes(_label_rest_equation, y)
    return rest


def _label_rest_equation(sums, y):
    # Σ_{j≠k} y_j. For a label with more than half of all Σ_j y_j − y_k would cancel, so
    # the sum leaves the largest out.
    top, rest_of_top = (row[..., None] for row in sums.top_and_rest(y))
    return (jnp.where(y == top, rest_of_top, (rest_of_top + top) - y),)


_label_rest.defjvps(lambda t, _, y: jnp.sum(t, -1, keepdims=True) - t)


@jax.custom_jvp
def _integer(x: jax.Array, label: jax.Array) -> jax.Array:
    (loss,) = over_classes(_integer_equation, x, label)
    return loss


def _integer_equation(sums, x, label):
    top, finite_top, at, _, others = _all_but_the_label(sums, x, label)
    gap = _gap(at, top, finite_top)
    # The expm1 is 0 if the label is the largest class. If it is not, the loss is at
    # least log 2, and no digits are missed.
    return (sums.result(jnp.log1p(jnp.expm1(-gap) + others) + gap),)


_integer.defjvps(lambda t, _, x, label: jnp.sum(t * _integer_dx(x, label), -1), None)


@jax.custom_jvp
def _integer_dx(x: jax.Array, label: jax.Array) -> jax.Array:
    # p, and −q for the label.
    (gradient,) = over_classes(_integer_dx_equation, x, label)
    return gradient


def _integer_dx_equation(sums, x, label):
    _, finite_top, at, label, others = _all_but_the_label(sums, x, label)
    scale = 1 / (_mass(at, finite_top) + others)
    finite_top, label, others, scale = (
        a[..., None] for a in (finite_top, label, others, scale)
    )
    k = jax.lax.broadcasted_iota(jnp.int32, x.shape, x.ndim - 1)
    return (jnp.where(label == k, -others, _mass(x, finite_top)) * scale,)


@_integer_dx.defjvp
def _integer_dx_jvp(primals, tangents):
    p, _ = _softmax(primals[0])
    return _integer_dx(*primals), p * _centred(p, tangents[0])


def _all_but_the_label(sums, x: jax.Array, label: jax.Array):
    """top, the same made finite, the label's logit, the label, and Σ exp(x_j − top)
    over all classes but that of the label. A label out of range finds NaN."""
    top, at = sums.top_and_at(x, label)
    finite_top = _finite(top)
    # Expensive, so that XLA's CPU stores the label instead of finding it for each use.
    label = jax.lax.rem(label, jnp.int32(x.shape[-1]))
    others = sums.total(
        lambda k, x, label, finite_top: jnp.where(label == k, 0, _mass(x, finite_top)),
        (x,),
        (label, finite_top),
    )
    return top, finite_top, at, label, others
