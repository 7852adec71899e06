"""Losses of `features @ kernel + bias` that never store the logits.

The last layer of a classifier with many classes and its loss, in one function, chunk by
chunk of the classes.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike

from bcejax import _arguments
from bcejax._bce import bce
from bcejax._head_arguments import (
    chunk_size_of,
    class_numbers,
    head_of,
    labels_of,
    of_each,
    refuse,
    within,
)
from bcejax._head_sums import Sums, prepared
from bcejax._numerics import chunked_softmax as equations
from bcejax._numerics.limits import times_or_zero
from bcejax._numerics.linear import Layer
from bcejax._numerics.sigmoid import softplus
from bcejax._numerics.signs import signs
from bcejax._range_check import in_range
from bcejax._sharding import in_auto_axes


def linear_bce(
    features: ArrayLike,
    kernel: ArrayLike,
    labels: ArrayLike,
    *,
    bias: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    chunk_size: int | None = None,
) -> jax.Array:
    """Sum over the classes of `bce_with_logits(features @ kernel + bias, labels)`."""
    given = features, kernel, labels, bias, pos_weight, weights
    arrays = tuple(map(_arguments.array, given))
    _refuse_numbers(arrays[1], arrays[2])
    return _linear_bce(chunk_size_of(chunk_size), *arrays)


def _refuse_numbers(kernel, labels) -> None:
    if jnp.ndim(kernel) == 2 and jnp.ndim(labels) == 2:
        classes = jnp.shape(kernel)[1]
        dense = jnp.shape(labels)[1] == classes
        if not dense:
            refuse(labels, classes, lowest=-1)


@partial(jax.jit, static_argnums=0)
def _linear_bce(chunk_size, features, *rest) -> jax.Array:
    return in_auto_axes(partial(_bce_of_head, chunk_size), features, features, *rest)


def _bce_of_head(chunk_size, features, kernel, labels, bias, pos_weight, weights):
    head = head_of(features, kernel, bias)
    kind, y = labels_of(head, labels)
    arrays = dict(head.arrays)
    if kind == "dense":
        arrays["labels"] = (y, 1)
    else:
        positives, unknown = within(y, head.classes, lowest=-1)
        arrays["positives"] = (positives, None)
        lost = jnp.where(jnp.any(unknown, 1, keepdims=True), jnp.nan, 1)
        x, _ = arrays["features"]
        arrays["features"] = (x * lost.astype(x.dtype), None)
    for name, value in (("pos_weight", pos_weight), ("weights", weights)):
        value, axis = of_each(head, value, name)
        if value is not None:
            value = in_range(value, name, 0, jnp.inf)
        arrays[name] = (value, axis)
    sums, values = prepared(head, chunk_size, arrays)
    (loss,) = sums(_bce_of_chunk, values)
    return loss


def _bce_of_chunk(
    layer: Layer,
    features,
    kernel,
    place,
    bias=None,
    labels=None,
    positives=None,
    pos_weight=None,
    weights=None,
) -> tuple[jax.Array]:
    x = layer.logits(features, kernel, bias)
    pos_weight, weights = (_finite(w, x.dtype) for w in (pos_weight, weights))
    if positives is None:
        w = None if pos_weight is None else jnp.broadcast_to(pos_weight, x.shape)
        loss = bce(x, labels.astype(x.dtype), w)
    else:
        # ℓ(x, 1) = softplus(−x) and ℓ(x, 0) = softplus(x). The shorter way, Σ softplus
        # over all classes less the logits of the positives, cancels where a positive is
        # certain.
        sign = signs(x, positives, place)
        loss = softplus(sign * x)
        if pos_weight is not None:
            loss = times_or_zero(jnp.where(sign < 0, pos_weight, 1), loss)
    if weights is not None:
        loss = times_or_zero(jnp.broadcast_to(weights, x.shape), loss)
    return (jnp.sum(loss, -1),)


def _finite(w: jax.Array | None, dtype) -> jax.Array | None:
    """∞ as the largest float, so that 0 · weight is 0."""
    return None if w is None else jnp.minimum(w.astype(dtype), jnp.finfo(dtype).max)


def linear_softmax_cross_entropy(
    features: ArrayLike,
    kernel: ArrayLike,
    labels: ArrayLike,
    *,
    bias: ArrayLike | None = None,
    where: ArrayLike | None = None,
    chunk_size: int | None = None,
) -> jax.Array:
    """−log p_y of p = softmax(features @ kernel + bias)."""
    given = features, kernel, labels, bias, where
    arrays = tuple(map(_arguments.array, given))
    if jnp.ndim(arrays[1]) == 2:
        refuse(arrays[2], jnp.shape(arrays[1])[1], lowest=0)
    return _linear_softmax(chunk_size_of(chunk_size), *arrays)


@partial(jax.jit, static_argnums=0)
def _linear_softmax(chunk_size, features, *rest) -> jax.Array:
    function = partial(_softmax_of_head, chunk_size)
    return in_auto_axes(function, features, features, *rest)


def _softmax_of_head(chunk_size, features, kernel, labels, bias, where):
    head = head_of(features, kernel, bias)
    y = class_numbers(head, labels)
    label, unknown = within(y, head.classes, lowest=0)
    where, axis = of_each(head, where, "where", _arguments.boolean)
    arrays = head.arrays | {"label": (label, None), "where": (where, axis)}
    if where is not None:
        # A row without any class stays finite, so that no gradient has a 0/0.
        any_class = jnp.any(where, 1, keepdims=True)
        hidden = jnp.where(any_class, -jnp.inf, 0).astype(head.dtype)
        arrays["hidden"] = hidden, None
    x, _ = arrays["features"]
    lost = jnp.where(unknown, jnp.nan, 1).astype(x.dtype)[:, None]
    arrays["features"] = x * lost, None
    sums, values = prepared(head, chunk_size, arrays)
    loss = equations.loss(*_top_and_sums(sums, values))
    return loss if where is None else jnp.where(any_class[:, 0], loss, 0)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _top_and_sums(sums: Sums, values: dict) -> tuple[jax.Array, ...]:
    """top, S and x_y of `equations`, in one pass over the chunks."""
    function = partial(_of_chunk, equations.top_and_sums)
    return sums(function, values, equations.START, equations.joined)


@partial(_top_and_sums.defjvp, symbolic_zeros=True)
def _top_and_sums_jvp(sums, primals, tangents):
    (values,), (moves,) = primals, tangents
    results = top, *_ = _top_and_sums(sums, values)
    moves = {n: t for n, t in moves.items() if not isinstance(t, SymbolicZero)}
    still = values | {"top": jax.lax.stop_gradient(top)}

    def of_moving(moving):
        return sums(partial(_of_chunk, equations.sums), still | moving, (0, 0))

    at = {name: values[name] for name in moves}
    return results, (jnp.zeros_like(top), *jax.jvp(of_moving, (at,), (moves,))[1])


def _of_chunk(equation, layer, features, kernel, place, label, top=None, **rest):
    """`equation` of the logits of a chunk, and of the label's place in it."""
    x = layer.logits(features, kernel, rest.get("bias"))
    if "where" in rest:
        x = jnp.where(rest["where"], x, rest["hidden"])
    local = label - place[0]
    return equation(x, local) if top is None else equation(x, local, top)
