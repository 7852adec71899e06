"""Losses of `features @ kernel + bias` that never store the logits.

The last layer of a classifier with many classes and its loss, in one function, chunk by
chunk of the classes.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from bcejax import _arguments
from bcejax._bce import bce
from bcejax._head_arguments import head_of, labels_of, of_each, refuse, within
from bcejax._numerics.limits import times_or_zero
from bcejax._numerics.linear import Layer
from bcejax._numerics.over_chunks import Plan, over_chunks
from bcejax._numerics.sigmoid import softplus
from bcejax._range_check import in_range


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
    return _linear_bce(chunk_size, *arrays)


def _refuse_numbers(kernel, labels) -> None:
    if jnp.ndim(kernel) == 2 and jnp.ndim(labels) == 2:
        classes = jnp.shape(kernel)[1]
        dense = jnp.shape(labels)[1] == classes
        if not dense:
            refuse(labels, classes, lowest=-1)


@partial(jax.jit, static_argnums=0)
def _linear_bce(chunk_size, features, kernel, labels, bias, pos_weight, weights):
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
    (loss,) = summed(partial(_bce_of_chunk, head.layer), arrays, head, chunk_size)
    return loss


def summed(function, arrays: dict, head, chunk_size, **joining):
    """`over_chunks` of a function of arrays by name, without those that are None."""
    given = {name: pair for name, pair in arrays.items() if pair[0] is not None}
    values, cut = zip(*given.values(), strict=True)
    function = partial(_by_name, function, tuple(given))
    results = len(joining.get("start", [0]))
    plan = Plan(function, cut, (None,) * results, chunk_size, head.width, **joining)
    return over_chunks(plan, *values)


def _by_name(function, names, *arrays):
    return function(**dict(zip(names, arrays, strict=True)))


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


def signs(x: jax.Array, positives: jax.Array, place: jax.Array) -> jax.Array:
    """−1 for the positives and 1 for all other classes of the chunk."""
    classes = x.shape[1]
    at = positives - place[0]
    at = jnp.where((at >= 0) & (at < classes), at, classes)  # which is dropped

    def of_row(ones, at):
        return ones.at[at].set(-1, mode="drop")

    return jax.vmap(of_row)(jnp.ones_like(x), at)
