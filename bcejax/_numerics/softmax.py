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


@jax.custom_jvp
def softmax(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """p and 1 − p."""
    p, q = over_classes(softmax_equation, x)
    return p, q


def softmax_equation(sums, x):
    top, finite_top, others = (a[..., None] for a in top_and_others(sums, x))
    mass, total = mass_of(x, finite_top), 1 + others
    scale = 1 / total
    return mass * scale, jnp.where(x == top, others, total - mass) * scale


@softmax.defjvp
def softmax_jvp(primals, tangents):
    p, q = softmax(*primals)
    p_dot = p * centred(p, *tangents)
    return (p, q), (p_dot, -p_dot)


def centred(p: jax.Array, t: jax.Array) -> jax.Array:
    # t_k − Σ_j p_j t_j, as u_k − Σ_j p_j u_j with u = t − t_c, where the class c has
    # more than half of the probability. As u_c = 0, p_c falls out, and with it 1 − p_c:
    # the short form has p (1 − p) for the diagonal of the Hessian.
    heavy = jnp.maximum(jnp.sign(p - 0.5), 0)
    u = (1 - heavy) * (t - jnp.sum(heavy * t, -1, keepdims=True))
    return u - jnp.sum(p * u, -1, keepdims=True)


def softmax_along(t: jax.Array, x: jax.Array) -> jax.Array:
    """The derivative of p along t, the Hessian of every loss of one right class."""
    p, _ = softmax(x)
    return p * centred(p, t)


@jax.custom_jvp
def log_softmax(x: jax.Array) -> jax.Array:
    (result,) = over_classes(log_softmax_equation, x)
    return result


def log_softmax_equation(sums, x):
    # Two terms of one sign: how far behind, and log Σ_j exp(x_j − top).
    top, finite_top, others = (a[..., None] for a in top_and_others(sums, x))
    return (-gap_of(x, top, finite_top) - jnp.log1p(others),)


log_softmax.defjvps(lambda t, _, x: centred(softmax(x)[0], t))


@jax.custom_jvp
def logsumexp(x: jax.Array) -> jax.Array:
    (result,) = over_classes(logsumexp_equation, x)
    return result


def logsumexp_equation(sums, x):
    top, _, others = top_and_others(sums, x)
    return (sums.result(top + jnp.log1p(others)),)


logsumexp.defjvps(lambda t, _, x: jnp.sum(t * softmax(x)[0], -1))


# Losses


@jax.custom_jvp
def dense_loss(x: jax.Array, y: jax.Array) -> jax.Array:
    (loss,) = over_classes(dense_equation, x, y)
    return loss


def dense_equation(sums, x, y):
    top, finite_top, others = top_and_others(sums, x)
    level = jnp.log1p(others)
    loss = sums.weighted(y, gap_of, (x,), (top, finite_top), level)
    # A label of 0 costs nothing, but it does not hide a NaN among the logits.
    return (sums.result(loss + 0 * level),)


derivatives(
    dense_loss,
    lambda x_dot, _, x, y: jnp.sum(x_dot * dense_loss_dx(x, y), -1),
    lambda y_dot, _, x, y: jnp.sum(times_or_zero(y_dot, -log_softmax(x)), -1),
)


def dense_loss_dx(x: jax.Array, y: jax.Array) -> jax.Array:
    # p_k Σ_j y_j − y_k, regrouped with q = 1 − p: the short form is 0 where the right
    # class has p = 1 − 8e-8.
    p, q = softmax(x)
    return p * label_rest(y) - y * q


@jax.custom_jvp
def label_rest(y: jax.Array) -> jax.Array:
    (rest,) = over_classes(label_rest_equation, y)
    return rest


def label_rest_equation(sums, y):
    # Σ_{j≠k} y_j. For a label with more than half of all Σ_j y_j − y_k would cancel, so
    # the sum leaves the largest out.
    top, rest_of_top = (row[..., None] for row in sums.top_and_rest(y))
    return (jnp.where(y == top, rest_of_top, (rest_of_top + top) - y),)


label_rest.defjvps(lambda t, _, y: jnp.sum(t, -1, keepdims=True) - t)


@jax.custom_jvp
def integer_loss(x: jax.Array, label: jax.Array) -> jax.Array:
    (loss,) = over_classes(integer_equation, x, label)
    return loss


def integer_equation(sums, x, label):
    top, finite_top, at, _, others = all_but_the_label(sums, x, label)
    gap = gap_of(at, top, finite_top)
    # The expm1 is 0 if the label is the largest class. If it is not, the loss is at
    # least log 2, and no digits are missed.
    return (sums.result(jnp.log1p(jnp.expm1(-gap) + others) + gap),)


integer_loss.defjvps(
    lambda t, _, x, label: jnp.sum(t * integer_loss_dx(x, label), -1), None
)


@jax.custom_jvp
def integer_loss_dx(x: jax.Array, label: jax.Array) -> jax.Array:
    # p, and −q for the label.
    (gradient,) = over_classes(integer_dx_equation, x, label)
    return gradient


def integer_dx_equation(sums, x, label):
    _, finite_top, at, label, others = all_but_the_label(sums, x, label)
    scale = 1 / (mass_of(at, finite_top) + others)
    finite_top, others, scale = (a[..., None] for a in (finite_top, others, scale))
    is_label = marks_label(x, label)
    return (jnp.where(is_label, -others, mass_of(x, finite_top)) * scale,)


@integer_loss_dx.defjvp
def integer_loss_dx_jvp(primals, tangents):
    return integer_loss_dx(*primals), softmax_along(tangents[0], primals[0])


@jax.custom_jvp
def smoothed_loss(x, label, amount, share) -> jax.Array:
    """The loss of the labels (1 − a) e_y + a s, where s is the share of each class.

    The amount a is one a row. The shares sum to 1, and are not differentiated.
    """
    (loss,) = over_classes(smoothed_equation, x, label, amount, share)
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
    lambda x_dot, _, *arguments: jnp.sum(x_dot * smoothed_loss_dx(*arguments), -1),
    None,
    lambda a_dot, _, x, label, amount, share: times_or_zero(
        a_dot, dense_loss(x, share) - integer_loss(x, label)
    ),
    None,
)


@jax.custom_jvp
def smoothed_loss_dx(x, label, amount, share) -> jax.Array:
    # p − (1 − a) e_y − a s, where that of the label is a p − (1 − a) q − a s: p and
    # 1 − a cancel if the label is far ahead.
    (gradient,) = over_classes(smoothed_dx_equation, x, label, amount, share)
    return gradient


def smoothed_dx_equation(sums, x, label, amount, share):
    p, q = softmax_equation(sums, x)
    known = jnp.where(label < x.shape[-1], 1, jnp.nan).astype(x.dtype)[..., None]
    amount, is_label = amount[..., None], marks_label(x, label)
    of_p, of_q = jnp.where(is_label, amount, 1), jnp.where(is_label, 1 - amount, 0)
    return ((of_p * p - of_q * q - amount * share) * known,)


def marks_label(x: jax.Array, label: jax.Array) -> jax.Array:
    k = jax.lax.broadcasted_iota(jnp.int32, x.shape, x.ndim - 1)
    return label[..., None] == k


derivatives(
    smoothed_loss_dx,
    lambda x_dot, _, x, *rest: softmax_along(x_dot, x),
    None,
    lambda a_dot, _, x, label, amount, share: (
        a_dot[..., None] * (marks_label(x, label).astype(x.dtype) - share)
    ),
    None,
)


def all_but_the_label(sums, x: jax.Array, label: jax.Array):
    """top, the same made finite, the label's logit, the label, and Σ exp(x_j − top)
    over all classes but that of the label. A label out of range finds NaN."""
    top, at = sums.top_and_at(x, label)
    finite_top = clipped(top)
    # Expensive, so that XLA's CPU stores the label instead of finding it for each use.
    label = jax.lax.rem(label, jnp.int32(x.shape[-1]))
    others = sums.total(
        lambda k, x, label, finite_top: jnp.where(
            label == k, 0, mass_of(x, finite_top)
        ),
        (x,),
        (label, finite_top),
    )
    return top, finite_top, at, label, others
