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


def _softmax_along(t: jax.Array, x: jax.Array) -> jax.Array:
    """The derivative of p along t, the Hessian of every loss of one right class."""
    p, _ = _softmax(x)
    return p * _centred(p, t)


@jax.custom_jvp
def _log_softmax(x: jax.Array) -> jax.Array:
    (result,) = over_classes(_log_softmax_equation, x)
    return result


def _log_softmax_equation(sums, x):
    # Two terms of one sign: how far behind, and log Σ_j exp(x_j − top).
    top, finite_top, others = (a[..., None] for a in _top_and_others(sums, x))
    return (-_gap(x, top, finite_top) - jnp.log1p(others),)


_log_softmax.defjvps(lambda t, _, x: _centred(_softmax(x)[0], t))


@jax.custom_jvp
def _logsumexp(x: jax.Array) -> jax.Array:
    (result,) = over_classes(_logsumexp_equation, x)
    return result


def _logsumexp_equation(sums, x):
    top, _, others = _top_and_others(sums, x)
    return (sums.result(top + jnp.log1p(others)),)


_logsumexp.defjvps(lambda t, _, x: jnp.sum(t * _softmax(x)[0], -1))


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
    return _integer_dx(*primals), _softmax_along(tangents[0], primals[0])


@jax.custom_jvp
def _smoothed(x, label, amount, share) -> jax.Array:
    """The loss of the labels (1 − a) e_y + a s, where s is the share of each class.

    The amount a is one a row. The shares sum to 1, and are not differentiated.
    """
    (loss,) = over_classes(_smoothed_equation, x, label, amount, share)
    return loss


def _smoothed_equation(sums, x, label, amount, share):
    # (1 − a) gap_y + a Σ s gap + log1p(others), of which no term is negative.
    top, finite_top, others = _top_and_others(sums, x)

    def cost(_, x, share, top, finite_top):
        return jnp.where(share == 0, 0, share * _gap(x, top, finite_top))

    spread = sums.total(cost, (x, share), (top, finite_top))
    of_label = _gap(sums.at(x, label), top, finite_top)
    gaps = _part(1 - amount, of_label) + _part(amount, spread)
    return (sums.result(gaps + jnp.log1p(others)),)


def _part(factor: jax.Array, cost: jax.Array) -> jax.Array:
    # 0 · ∞ is 0, but a factor of 0 does not hide a NaN.
    return jnp.where((factor == 0) & (cost == jnp.inf), 0, factor * cost)


derivatives(
    _smoothed,
    lambda x_dot, _, *arguments: jnp.sum(x_dot * _smoothed_dx(*arguments), -1),
    None,
    lambda a_dot, _, x, label, amount, share: _times(
        a_dot, _dense(x, share) - _integer(x, label)
    ),
    None,
)


@jax.custom_jvp
def _smoothed_dx(x, label, amount, share) -> jax.Array:
    # p − (1 − a) e_y − a s, where that of the label is a p − (1 − a) q − a s: p and
    # 1 − a cancel if the label is far ahead.
    (gradient,) = over_classes(_smoothed_dx_equation, x, label, amount, share)
    return gradient


def _smoothed_dx_equation(sums, x, label, amount, share):
    p, q = _softmax_equation(sums, x)
    known = jnp.where(label < x.shape[-1], 1, jnp.nan).astype(x.dtype)[..., None]
    amount, is_label = amount[..., None], _is_label(x, label)
    of_p, of_q = jnp.where(is_label, amount, 1), jnp.where(is_label, 1 - amount, 0)
    return ((of_p * p - of_q * q - amount * share) * known,)


def _is_label(x: jax.Array, label: jax.Array) -> jax.Array:
    k = jax.lax.broadcasted_iota(jnp.int32, x.shape, x.ndim - 1)
    return label[..., None] == k


derivatives(
    _smoothed_dx,
    lambda x_dot, _, x, *rest: _softmax_along(x_dot, x),
    None,
    lambda a_dot, _, x, label, amount, share: (
        a_dot[..., None] * (_is_label(x, label).astype(x.dtype) - share)
    ),
    None,
)


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
