"""Softmax and its cross-entropies along an axis, of logits already widened.

Where one class takes almost everything, log p_k = −log1p(Σ_{j≠k} exp(x_j − x_k)) and
1 − p_k = Σ_{j≠k} p_j are small and yet known to the last digits, which x_k − log Σ and
1 − p_k lose as they are written. So every sum here leaves one class out: that of the
label, or one of the largest. With `top` the largest logit,

    others = Σ exp(x_j − top) over all classes but one of the largest,
    log p_k = −(top − x_k) − log1p(others),      p_k = exp(x_k − top) / (1 + others).

The equations are written once. Each takes `sums`, one of the ways to add its terms
along the axis: `over_classes` tells which.
"""

import jax
import jax.numpy as jnp

from bcejax._numerics.derivatives import along_axis, derivatives
from bcejax._numerics.limits import times_or_zero
from bcejax._numerics.over_classes import over_classes


def clipped(top: jax.Array) -> jax.Array:
    """±∞ as ± the largest float."""
    most = jnp.finfo(top.dtype).max
    return jnp.clip(top, -most, most)


def mass_of(x: jax.Array, finite_top: jax.Array) -> jax.Array:
    """exp(x − top). An infinite logit has the mass of the largest: min(∞, 0)."""
    return jnp.exp(jnp.minimum(x - finite_top, 0))


def gap_of(x: jax.Array, top: jax.Array, finite_top: jax.Array) -> jax.Array:
    """top − x, never below 0.

    A top of ∞ was replaced by the largest float. Then 4 times any gap but 0 overflows,
    so that every other class is ∞ behind.
    """
    gap = jnp.maximum(finite_top - x, 0)
    return jnp.where(top == jnp.inf, 4 * gap, gap)


def top_and_others(sums, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The largest logit, the same made finite, and `others`: `[...]` each."""
    top, others = sums.top_and_others(x, clipped, mass_of)
    return top, clipped(top), others


# Probabilities


@along_axis
def softmax(axis: int, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """p and 1 − p."""
    p, q = over_classes(softmax_equation, axis, x)
    return p, q


def softmax_equation(sums, x):
    top, finite_top, others = sums.beside(*top_and_others(sums, x))
    mass, total = mass_of(x, finite_top), 1 + others
    scale = 1 / total
    return mass * scale, jnp.where(x == top, others, total - mass) * scale


@softmax.defjvp
def softmax_jvp(axis, primals, tangents):
    p, q = softmax(axis, *primals)
    p_dot = p * centred(axis, p, *tangents)
    return (p, q), (p_dot, -p_dot)


def centred(axis: int, p: jax.Array, t: jax.Array) -> jax.Array:
    # t_k − Σ_j p_j t_j, as u_k − Σ_j p_j u_j with u = t − t_c, where the class c has
    # more than half of the probability. As u_c = 0, p_c falls out, and with it 1 − p_c:
    # the short form has p (1 − p) for the diagonal of the Hessian.
    heavy = jnp.maximum(jnp.sign(p - 0.5), 0)
    u = (1 - heavy) * (t - jnp.sum(heavy * t, axis, keepdims=True))
    return u - jnp.sum(p * u, axis, keepdims=True)


def softmax_along(axis: int, t: jax.Array, x: jax.Array) -> jax.Array:
    """The derivative of p along t, the Hessian of every loss of one right class."""
    p, _ = softmax(axis, x)
    return p * centred(axis, p, t)


@along_axis
def log_softmax(axis: int, x: jax.Array) -> jax.Array:
    (result,) = over_classes(log_softmax_equation, axis, x)
    return result


def log_softmax_equation(sums, x):
    # Two terms of one sign: how far behind, and log Σ_j exp(x_j − top).
    top, finite_top, others = sums.beside(*top_and_others(sums, x))
    return (-gap_of(x, top, finite_top) - jnp.log1p(others),)


derivatives(log_softmax, lambda t, _, axis, x: centred(axis, softmax(axis, x)[0], t))


@along_axis
def logsumexp(axis: int, x: jax.Array) -> jax.Array:
    (result,) = over_classes(logsumexp_equation, axis, x)
    return result


def logsumexp_equation(sums, x):
    top, _, others = top_and_others(sums, x)
    return (sums.result(top + jnp.log1p(others)),)


derivatives(logsumexp, lambda t, _, axis, x: jnp.sum(t * softmax(axis, x)[0], axis))


# Losses


@along_axis
def dense_loss(axis: int, x: jax.Array, y: jax.Array) -> jax.Array:
    (loss,) = over_classes(dense_equation, axis, x, y)
    return loss


def dense_equation(sums, x, y):
    top, finite_top, others = top_and_others(sums, x)
    level = jnp.log1p(others)
    loss = sums.weighted(y, gap_of, (x,), (top, finite_top), level)
    # A label of 0 costs nothing, but it does not hide a NaN among the logits.
    return (sums.result(loss + 0 * level),)


derivatives(
    dense_loss,
    lambda x_dot, _, axis, x, y: jnp.sum(x_dot * dense_loss_dx(axis, x, y), axis),
    lambda y_dot, _, axis, x, y: jnp.sum(
        times_or_zero(y_dot, -log_softmax(axis, x)), axis
    ),
)


def dense_loss_dx(axis: int, x: jax.Array, y: jax.Array) -> jax.Array:
    # p_k Σ_j y_j − y_k, regrouped with q = 1 − p: the short form is 0 where the right
    # class has p = 1 − 8e-8.
    p, q = softmax(axis, x)
    return p * label_rest(axis, y) - y * q


@along_axis
def label_rest(axis: int, y: jax.Array) -> jax.Array:
    (rest,) = over_classes(label_rest_equation, axis, y)
    return rest


def label_rest_equation(sums, y):
    # Σ_{j≠k} y_j. For a label with more than half of all Σ_j y_j − y_k would cancel, so
    # the sum leaves the largest out.
    top, rest_of_top = sums.beside(*sums.top_and_rest(y))
    return (jnp.where(y == top, rest_of_top, (rest_of_top + top) - y),)


derivatives(label_rest, lambda t, _, axis, y: jnp.sum(t, axis, keepdims=True) - t)


@along_axis
def integer_loss(axis: int, x: jax.Array, label: jax.Array) -> jax.Array:
    (loss,) = over_classes(integer_equation, axis, x, label)
    return loss


def integer_equation(sums, x, label):
    top, finite_top, at, _, others = all_but_the_label(sums, x, label)
    gap = gap_of(at, top, finite_top)
    # The expm1 is 0 if the label is the largest class. If it is not, the loss is at
    # least log 2, and no digits are missed.
    return (sums.result(jnp.log1p(jnp.expm1(-gap) + others) + gap),)


derivatives(
    integer_loss,
    lambda t, _, axis, x, label: jnp.sum(t * integer_loss_dx(axis, x, label), axis),
    None,
)


@along_axis
def integer_loss_dx(axis: int, x: jax.Array, label: jax.Array) -> jax.Array:
    # p, and −q for the label.
    (gradient,) = over_classes(integer_dx_equation, axis, x, label)
    return gradient


def integer_dx_equation(sums, x, label):
    _, finite_top, at, label, others = all_but_the_label(sums, x, label)
    scale = 1 / (mass_of(at, finite_top) + others)
    finite_top, others, scale = sums.beside(finite_top, others, scale)
    is_label = marks_label(sums.axis, x, label)
    return (jnp.where(is_label, -others, mass_of(x, finite_top)) * scale,)


derivatives(
    integer_loss_dx, lambda t, _, axis, x, label: softmax_along(axis, t, x), None
)


@along_axis
def smoothed_loss(axis: int, x, label, amount, share) -> jax.Array:
    """The loss of the labels (1 − a) e_y + a s, where s is the share of each class.

    The amount a is one a row. The shares sum to 1, and are not differentiated.
    """
    (loss,) = over_classes(smoothed_equation, axis, x, label, amount, share)
    return loss


def smoothed_equation(sums, x, label, amount, share):
    # (1 − a) gap_y + a Σ s gap + log1p(others), of which no term is negative.
    top, finite_top, others = top_and_others(sums, x)

    def cost(_, x, share, top, finite_top):
        return jnp.where(share == 0, 0, share * gap_of(x, top, finite_top))

    spread = sums.total(cost, (x, share), (top, finite_top))
    of_label = gap_of(sums.at(x, label), top, finite_top)
    gaps = times_or_zero(1 - amount, of_label) + times_or_zero(amount, spread)
    return (sums.result(gaps + jnp.log1p(others)),)


derivatives(
    smoothed_loss,
    lambda t, _, axis, *arguments: jnp.sum(
        t * smoothed_loss_dx(axis, *arguments), axis
    ),
    None,
    lambda a_dot, _, axis, x, label, amount, share: times_or_zero(
        a_dot, dense_loss(axis, x, share) - integer_loss(axis, x, label)
    ),
    None,
)


@along_axis
def smoothed_loss_dx(axis: int, x, label, amount, share) -> jax.Array:
    # p − (1 − a) e_y − a s, where that of the label is a p − (1 − a) q − a s: p and
    # 1 − a cancel if the label is far ahead.
    (gradient,) = over_classes(smoothed_dx_equation, axis, x, label, amount, share)
    return gradient


def smoothed_dx_equation(sums, x, label, amount, share):
    p, q = softmax_equation(sums, x)
    known = jnp.where(label < x.shape[sums.axis], 1, jnp.nan).astype(x.dtype)
    is_label = marks_label(sums.axis, x, label)
    known, amount = sums.beside(known, amount)
    of_p, of_q = jnp.where(is_label, amount, 1), jnp.where(is_label, 1 - amount, 0)
    return ((of_p * p - of_q * q - amount * share) * known,)


def marks_label(axis: int, x: jax.Array, label: jax.Array) -> jax.Array:
    k = jax.lax.broadcasted_iota(jnp.int32, x.shape, x.ndim + axis)
    return jnp.expand_dims(label, axis) == k


derivatives(
    smoothed_loss_dx,
    lambda x_dot, _, axis, x, *rest: softmax_along(axis, x_dot, x),
    None,
    lambda a_dot, _, axis, x, label, amount, share: (
        jnp.expand_dims(a_dot, axis)
        * (marks_label(axis, x, label).astype(x.dtype) - share)
    ),
    None,
)


def all_but_the_label(sums, x: jax.Array, label: jax.Array):
    """top, the same made finite, the label's logit, the label, and Σ exp(x_j − top)
    over all classes but that of the label. A label out of range finds NaN."""
    top, at = sums.top_and_at(x, label)
    finite_top = clipped(top)
    # Expensive, so that XLA's CPU stores the label instead of finding it for each use.
    label = jax.lax.rem(label, jnp.int32(x.shape[sums.axis]))
    others = sums.total(
        lambda k, x, label, finite_top: jnp.where(
            label == k, 0, mass_of(x, finite_top)
        ),
        (x,),
        (label, finite_top),
    )
    return top, finite_top, at, label, others
