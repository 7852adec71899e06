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
import numpy as np

from bcejax._bce import _reach
from bcejax._sigmoid import _times


def _pivoted(x: jax.Array, pivot: jax.Array | None = None):
    """max x, the pivot and its logit, and Σ exp(x_j − max x) over all but the pivot.

    Each `[..., 1]`. The pivot is the largest class by default.
    """
    n = x.shape[-1]
    size = max(d for d in range(1, isqrt(n) + 1) if n % d == 0)
    return _by_blocks(x, pivot, size) if size >= 32 else _at_once(x, pivot)


def _at_once(x: jax.Array, pivot: jax.Array | None):
    top = jnp.max(x, -1, keepdims=True)
    numbers = np.arange(x.shape[-1], dtype=x.dtype)  # exact to 2²⁴ in float32
    if pivot is None:
        # The first class that is not behind. argmax would take five times as long.
        behind = jnp.maximum(_floor(top) - x, -0.0) * jnp.finfo(x.dtype).max
        pivot = jnp.min(behind + numbers, -1, keepdims=True).astype(jnp.int32)
    # The pivot is 0 away from its own number, and all others 1 ≥ exp at least.
    away = jnp.abs(numbers - pivot.astype(x.dtype))
    others = jnp.sum(jnp.minimum(_mass(x, top), away), -1, keepdims=True)
    # A label out of range finds NaN.
    return top, pivot, jnp.take_along_axis(x, pivot, -1, mode="fill"), others


def _by_blocks(x: jax.Array, pivot: jax.Array | None, size: int):
    # The same by blocks of about √n classes, for a quarter less time: the sums over
    # blocks are added, and only the block of the pivot is summed anew, without it.
    blocks = x.reshape(*x.shape[:-1], -1, size)
    if pivot is None:
        # Behind a barrier, or XLA would look for the largest class of all once more.
        tops = jax.lax.optimization_barrier(jnp.max(blocks, -1))
        top, block = jnp.max(tops, -1, keepdims=True), jnp.argmax(tops, -1)[..., None]
    else:
        top, block = jnp.max(x, -1, keepdims=True), pivot // size
    own = jnp.take_along_axis(blocks, block[..., None], -2, mode="fill").squeeze(-2)
    place = None if pivot is None else pivot % size
    own_top, place, at, others = _at_once(own, place)
    others = others * _mass(own_top, top)
    sums = jnp.sum(_mass(blocks, top[..., None]), -1)
    others += jnp.sum(jnp.where(_at(sums, block), 0, sums), -1, keepdims=True)
    return top, block * size + place, at, others


def _at(x: jax.Array, place: jax.Array) -> jax.Array:
    return jax.lax.broadcasted_iota(place.dtype, x.shape, x.ndim - 1) == place


def _mass(x: jax.Array, top: jax.Array) -> jax.Array:
    # An infinite logit has the mass of the largest: min(∞, 0).
    return jnp.exp(jnp.minimum(x + -_floor(top), 0))


def _each_mass(x: jax.Array, top: jax.Array) -> jax.Array:
    # The same for a result of all classes, where a select costs nothing.
    return jnp.where(x == top, 1, jnp.exp(x - top))


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
    mass, total = _each_mass(x, top), 1 + others
    return mass / total, jnp.where(_at(x, pivot), others, total - mass) / total


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
    # Two terms of one sign: how far behind, and log Σ_j exp(x_j − max x).
    top, _, _, others = _pivoted(x)
    return -_gap(x, top) - jnp.log1p(others)


_log_softmax.defjvps(lambda t, _, x: _centred(_softmax(x)[0], t))


# Losses


@jax.custom_jvp
def _dense(x: jax.Array, y: jax.Array) -> jax.Array:
    top, _, _, others = _pivoted(x)
    return jnp.sum(_reach(jnp.log1p(others) + _gap(x, top), y), -1)


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
    top, _, at, others = _pivoted(x, label[..., None])
    gap = _gap(at, top)
    # The expm1 is 0 if the label is the largest class. If it is not, the loss is at
    # least log 2, and no digits are missed.
    return (jnp.log1p(jnp.expm1(-gap) + others) + gap).squeeze(-1)


_integer.defjvps(lambda t, _, x, label: jnp.sum(t * _integer_dx(x, label), -1), None)


@jax.custom_jvp
def _integer_dx(x: jax.Array, label: jax.Array) -> jax.Array:
    # p, and −q for the label.
    top, label, at, others = _pivoted(x, label[..., None])
    total = _mass(at, top) + others
    return jnp.where(_at(x, label), -others, _each_mass(x, top)) / total


@_integer_dx.defjvp
def _integer_dx_jvp(primals, tangents):
    p, _ = _softmax(primals[0])
    return _integer_dx(*primals), p * _centred(p, tangents[0])
