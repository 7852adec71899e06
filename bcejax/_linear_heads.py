"""Losses of a linear layer with many classes, which never store its logits.

    x = features @ kernel + bias,    of shape (rows, classes),

is what takes the memory where there are many classes. Here x is computed one chunk of
the classes at a time, reduced to one number a row, and forgotten. The derivatives
compute the chunk anew, as part of their rule: whatever is differentiated, in forward or
reverse mode and to any order, holds the logits of one chunk and nothing else of their
size. That costs one product more than a loss of stored logits takes.

Shapes: features `(rows, d)`, kernel `(d, classes)` as in Flax, bias `(classes,)`. There
may be any number of classes: it need not be a multiple of anything. `vmap` over heads.

Dtypes: the products of 16-bit features and kernels are accumulated in float32, never
rounded to 16 bits, and the result is one of float32 logits: float32, or float64 if
features, kernel or bias are. A gradient is summed in that dtype and rounded once, to
its argument's.

Sharding: rows, classes or d may be sharded over the devices of a mesh with Auto or
Explicit axes. Neither the kernel nor the logits are gathered.
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
from bcejax._numerics.limits import finite_or_most, times_or_zero
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
    """Σ_k ℓ(x_k, y_k) over the classes, x = features @ kernel + bias, in nats.

    The sum of `bce_with_logits` of a layer with many labels, without its logits. Sparse
    labels name the positive classes of each row. No dense labels are
    made of them. The logit of each positive changes its sign and softplus is summed, so
    no term is negative and the sum keeps its relative digits.

    Args:
      features: `(rows, d)`, floating point.
      kernel: `(d, classes)`, floating point.
      labels: dense `(rows, classes)`, any real dtype, in [0, 1] (checked under
        `checkify`), or sparse `(rows, k)`, integer: the numbers of the positive
        classes, padded with −1. A class that is named twice counts once, and a row may
        have no positive. With k = classes they are dense.
      bias: `(classes,)`, real.
      pos_weight: broadcasts to `(rows, classes)`, not negative (checked under
        `checkify`). Weight of the positives.
      weights: broadcasts to `(rows, classes)`, not negative. Multiplies the loss of a
        class, positive or not. A class of weight 0 does not count, unless its logit is
        NaN.
      chunk_size: how many classes are computed at a time. None chooses by the shapes
        and the device.
    Returns:
      `(rows,)`, float32, or float64 if `features`, `kernel` or `bias` is. In nats,
      never below 0.
    Raises:
      TypeError: if `features` or `kernel` is not floating point, or another argument
        not real.
      ValueError: if a shape does not fit, or `chunk_size` is not an int from 1 on.
        Outside jit and vmap also for a number that is no class. Inside, the loss of
        that row and its gradient are NaN, and it is an error under `checkify`.
    Example:
      >>> features, kernel = jnp.ones((2, 3)), jnp.ones((3, 1000)) / 3
      >>> print(linear_bce(features, kernel, jnp.array([[7, 2, -1], [0, -1, -1]])))
      [1311.26 1312.26]

    Reference:
      As `bce_with_logits`; for heads in chunks E. Schultheis, R. Babbar, Towards
      memory-efficient training for extremely large output spaces, ECML PKDD 2023,
      https://arxiv.org/abs/2306.03725
    """
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
            if axis is None:  # its gradient is added up over the chunks
                value = value.astype(head.dtype)
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
    return None if w is None else finite_or_most(w.astype(dtype))


def linear_softmax_cross_entropy(
    features: ArrayLike,
    kernel: ArrayLike,
    labels: ArrayLike,
    *,
    bias: ArrayLike | None = None,
    where: ArrayLike | None = None,
    chunk_size: int | None = None,
) -> jax.Array:
    """−log p_y of p = softmax(features @ kernel + bias) over the classes, in nats.

    `softmax_cross_entropy_with_integer_labels` of a layer with many classes, without
    its logits. The sum of the exponentials of all other classes is carried along the
    chunks, and the loss is log(1 + Σ_{k≠y} exp(x_k − x_y)).

    Args:
      features: `(rows, d)`, floating point.
      kernel: `(d, classes)`, floating point.
      labels: `(rows,)`, any integer dtype, from 0 to classes − 1.
      bias: `(classes,)`, real.
      where: bool, broadcasts to `(rows, classes)`. False leaves a class out: it is
        never right, and costs ∞ as a label. A row without any class costs 0.
      chunk_size: how many classes are computed at a time. None chooses by the shapes
        and the device.
    Returns:
      `(rows,)`, float32, or float64 if `features`, `kernel` or `bias` is. In nats,
      never below 0.
    Raises:
      TypeError: if `features` or `kernel` is not floating point, `bias` not real,
        `labels` not integer, or `where` not bool.
      ValueError: if a shape does not fit, or `chunk_size` is not an int from 1 on.
        Outside jit and vmap also for a label that is no class. Inside, the loss of
        that row and its gradient are NaN, and it is an error under `checkify`.
    Example:
      >>> features, kernel = jnp.ones((2, 3)), jnp.ones((3, 1000)) / 3
      >>> print(linear_softmax_cross_entropy(features, kernel, jnp.array([7, 2])))
      [6.9078 6.9078]

    Reference:
      E. Wijmans and others, Cut your losses in large-vocabulary language models, ICLR
      2025, https://arxiv.org/abs/2411.09009
    """
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
    # Larger chunks than those of the BCE: benchmarks/heads.py has what was tried.
    sums = sums._replace(width=sums.width // 2)
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
