"""Softmax and its cross-entropies along the last axis, of logits already widened.

Where one class takes almost everything, log p_k = −log1p(Σ_{j≠k} exp(x_j − x_k)) and
1 − p_k = Σ_{j≠k} p_j are small and yet known to the last digits, which x_k − log Σ and
1 − p_k lose as they are written. So every sum here is over the others, all classes but
a pivot: the class of the label, or that of the largest logit.

XLA's CPU sums in one vectorised pass what has no select and no comparison in it, and
stores a whole array for any instruction that such a sum shares with a gradient beside
it. Hence x + (−top) in one place and top − x in another, and 0 here and −0 there.
"""

from math import isqrt

import jax
import jax.numpy as jnp

from bcejax._bce import _reach
from bcejax._sigmoid import _times


def _blocks(x: jax.Array) -> jax.Array:
    # About √n blocks of √n classes, as evenly as n can be divided. All but one of the
    # sums over a block can be added as they are: only the block of the pivot is summed
    # again, without it. A sum over all classes with the pivot masked out would be five
    # times as slow on CPU, where XLA vectorises no sum with a comparison in it.
    n = x.shape[-1]
    size = max(d for d in range(1, isqrt(n) + 1) if n % d == 0)
    return x.reshape(*x.shape[:-1], n // size, size)


def _pivoted(x: jax.Array, pivot: jax.Array | None = None):
    """max x, the pivot and its logit, and Σ exp(x_j − max x) over all but the pivot.

    Each `[...]`. The pivot is the largest class by default.
    """
    blocks = _blocks(x)
    size = blocks.shape[-1]
    if pivot is None:
        # Behind a barrier, or XLA would look for the largest class of all once more.
        tops = jax.lax.optimization_barrier(jnp.max(blocks, -1))
        top, block = jnp.max(tops, -1), jnp.argmax(tops, -1)
    else:
        top, block = jnp.max(x, -1), pivot // size
    # A label out of range finds only NaN here.
    own = jnp.take_along_axis(blocks, block[..., None, None], -2, mode="fill")
    own = own.squeeze(-2)
    place = jnp.argmax(own, -1) if pivot is None else pivot % size
    sums = jnp.sum(_mass(blocks, top[..., None, None]), -1)
    others = _without(sums, block) + _without(_mass(own, top[..., None]), place)
    at = jnp.take_along_axis(own, place[..., None], -1).squeeze(-1)
    return top, block * size + place, at, others


def _without(x: jax.Array, place: jax.Array) -> jax.Array:
    return jnp.sum(jnp.where(_at(x, place), 0, x), -1)


def _at(x: jax.Array, place: jax.Array) -> jax.Array:
    classes = jax.lax.broadcasted_iota(place.dtype, x.shape, x.ndim - 1)
    return classes == place[..., None]


def _mass(x: jax.Array, top: jax.Array) -> jax.Array:
    # An infinite logit has the mass of the largest: min(∞, 0).
    return jnp.exp(jnp.minimum(x + -_floor(top), 0))


def _floor(top: jax.Array) -> jax.Array:
    return jnp.clip(top, -jnp.finfo(top.dtype).max, jnp.finfo(top.dtype).max)


def _gap(x: jax.Array, top: jax.Array) -> jax.Array:
    # max x − x, never below 0. Below a logit of ∞ the 4 carries all others to ∞.
    gap = jnp.maximum(_floor(top) - x, -0.0)
    return gap * jnp.where(top == jnp.inf, 4, 1).astype(x.dtype)


# Probabilities


@jax.custom_jvp
def _softmax(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """p and 1 − p."""
    top, pivot, _, others = _pivoted(x)
    mass = _mass(x, top[..., None])
    total = (1 + others)[..., None]
    rest = jnp.where(_at(x, pivot), others[..., None], total - mass)
    return mass / total, rest / total


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
    top, _, _, others = _pivoted(x)
    return -_gap(x, top[..., None]) - jnp.log1p(others)[..., None]


_log_softmax.defjvps(lambda t, _, x: _centred(_softmax(x)[0], t))


# Losses


@jax.custom_jvp
def _dense(x: jax.Array, y: jax.Array) -> jax.Array:
    top, _, _, others = _pivoted(x)
    loss = jnp.log1p(others)[..., None] + _gap(x, top[..., None])
    return jnp.sum(_reach(loss, y), -1)


_dense.defjvps(
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
    # Σ_{j≠k} y_j. For a label with more than half of all Σ_j y_j − y_k would cancel, so
    # the smaller ones are summed alone: the minimum is 0 at the top, and y elsewhere.
    top = jnp.max(y, -1, keepdims=True)
    total = jnp.sum(y, -1, keepdims=True)
    smaller = jnp.minimum(y, (y + -top) * -(2.0**100))
    smaller = jnp.sum(smaller, -1, keepdims=True)
    rest_of_top = jnp.where(2 * top > total, smaller, total - top)
    return jnp.where(y == top, rest_of_top, total - y)


_label_rest.defjvps(lambda t, _, y: jnp.sum(t, -1, keepdims=True) - t)


@jax.custom_jvp
def _integer(x: jax.Array, label: jax.Array) -> jax.Array:
    top, _, at, others = _pivoted(x, label)
    gap = _gap(at, top)
    # log Σ_j exp(x_j − max x) − gap. The expm1 is 0 if the label is the largest class.
    # If it is not, the loss is at least log 2, and no digits are missed.
    return jnp.log1p(jnp.expm1(-gap) + others) + gap


_integer.defjvps(lambda t, _, x, label: jnp.sum(t * _integer_dx(x, label), -1), None)


@jax.custom_jvp
def _integer_dx(x: jax.Array, label: jax.Array) -> jax.Array:
    # p, and −q for the label.
    top, _, at, others = _pivoted(x, label)
    total = (_mass(at, top) + others)[..., None]
    mass = _mass(x, top[..., None])
    return jnp.where(_at(x, label), -others[..., None], mass) / total


@_integer_dx.defjvp
def _integer_dx_jvp(primals, tangents):
    p, _ = _softmax(primals[0])
    return _integer_dx(*primals), p * _centred(p, tangents[0])
