"""Softmax: its logarithm, and its cross-entropy with dense or with integer labels.

For logits x over the classes, with probabilities p and labels y

    log p_k = x_k − log Σ_j exp(x_j),        p = softmax(x),
    ℓ(x, y) = −Σ_k y_k log p_k,   in nats,
    ∂ℓ/∂x_k = p_k Σ_j y_j − y_k,

each to the relative digits that the differences of the logits have, where one class
takes almost everything too. The numerics are in `_numerics.softmax`.

`axis` is the axis of the classes, or a tuple of axes that together are one. Where the
bool `where`, which broadcasts to `logits`, is False, there is no such class: its
probability and every derivative are 0, whatever the logits hold there, NaN included. A
row without any class costs 0. A logit of −∞ is a class of probability 0; those of ∞
share all of it. NaN in gives NaN out.

Dtypes: the result has the dtype of `logits`; 16 bits are computed in float32 and
rounded once, and labels are not rounded to 16 bits at all.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from bcejax import _arguments
from bcejax._arguments import Argument, along_classes
from bcejax._numerics import softmax as equations
from bcejax._numerics.over_classes import axis_of, one_axis
from bcejax._range_check import in_range


def log_softmax(
    logits: ArrayLike,
    *,
    axis: int | tuple[int, ...] = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Log-softmax log p_k = x_k − log Σ_j exp(x_j), in nats.

    Keeps its relative digits where p_k is nearly 1, and so does the gradient.

    Args:
      logits: `[..., classes]`, floating point.
      axis: of the classes, one or several.
      where: bool, broadcasts to `[..., classes]`. False leaves a class out: −∞.
    Returns:
      `[..., classes]`, dtype of `logits`. In nats, never above 0.
    Raises:
      TypeError: if `logits` is not floating point or `where` is not bool.
      ValueError: if `where` does not broadcast to `logits`, or `axis` is out of bounds
        or has no classes.
    Example:
      >>> print(log_softmax(jnp.array([2.0, 0.0, -jnp.inf])))
      [-0.1269 -2.1269    -inf]

    Reference:
      P. Blanchard, D. J. Higham, N. J. Higham, Accurately computing the log-sum-exp and
      softmax functions, IMA J. Numer. Anal. 41 (2021), 2311-2330.
    """
    x = Argument("logits", logits)
    return along_classes(equations.log_softmax, axis, where, x, otherwise=-jnp.inf)


def logsumexp(
    logits: ArrayLike,
    *,
    axis: int | tuple[int, ...] = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    """The logarithm log Σ_k exp(x_k) of the sum of exponentials, in nats.

    The sum of the largest logit and of log1p(others), others = Σ exp(x_k − max x) over
    all classes but one of the largest: its digits are relative to the larger of the
    two, as they may cancel. The gradient is softmax(x), to its own relative digits.

    Args:
      logits: `[..., classes]`, floating point.
      axis: of the classes, one or several. It is summed over.
      where: bool, broadcasts to `[..., classes]`. False leaves a class out.
    Returns:
      `[...]`, dtype of `logits`. In nats; −∞ for a row without classes.
    Raises:
      TypeError: if `logits` is not floating point or `where` is not bool.
      ValueError: if `where` does not broadcast to `logits`, or `axis` is out of bounds
        or has no classes.
    Example:
      >>> print(logsumexp(jnp.array([10.0, 10.0, -jnp.inf])))
      10.6931

    Reference:
      As `log_softmax`.
    """
    x = Argument("logits", logits)
    return along_classes(equations.logsumexp, axis, where, x, otherwise=-jnp.inf)


def softmax_cross_entropy(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    axis: int | tuple[int, ...] = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Cross-entropy −Σ_k y_k log p_k of the softmax with a label for each class.

    The labels need not sum to one. A label of 0 costs nothing, at a logit of −∞ too.

    Args:
      logits: `[..., classes]`, floating point.
      labels: `[..., classes]`, any real dtype, not negative. One-hot, or probabilities.
      axis: of the classes, one or several. It is summed over.
      where: bool, broadcasts to `[..., classes]`. False leaves a class and its label
        out.
    Returns:
      `[...]`, dtype of `logits`. In nats, never below 0.
    Raises:
      TypeError: if `logits` is not floating point, `labels` not real, `where` not bool.
      ValueError: if `labels` has another shape than `logits`, nothing is broadcast; if
        `where` does not broadcast to `logits`, or `axis` is out of bounds or has no
        classes.
    Example:
      >>> print(softmax_cross_entropy(jnp.zeros(4), jnp.array([0.5, 0.5, 0, 0])))
      1.3863

    Reference:
      I. J. Good, Rational decisions, J. R. Statist. Soc. B 14 (1952), 107-114.
    """
    return along_classes(
        equations.dense_loss,
        axis,
        where,
        Argument("logits", logits),
        Argument("labels", labels, (0, jnp.inf)),
    )


def softmax_cross_entropy_with_integer_labels(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    axis: int | tuple[int, ...] = -1,
    where: ArrayLike | None = None,
    label_smoothing: ArrayLike = 0.0,
) -> jax.Array:
    """Cross-entropy −log p_y of the softmax with the index y of the right class.

    No array of one-hot labels is built. Loss and gradient are NaN for an index outside
    [−classes, classes). A negative index counts from the end, as in NumPy; where −1
    means a row to ignore, that would train on the last class, so it is an error under
    `jax.experimental.checkify.checkify`. Write `labels % classes` to say that an index
    counts from the end.

    Label smoothing a gives the loss (1 − a) (−log p_y) + a Σ_k (−log p_k) / classes,
    that of labels moved towards 1/classes, over the classes that `where` keeps.
    `weight[labels] * loss` weights the classes.

    Args:
      logits: `[..., classes]`, floating point.
      labels: `[...]`, any integer dtype. With several axes, an index into all of their
        classes, of which the last axis named counts fastest.
      axis: of the classes, one or several. It is summed over.
      where: bool, broadcasts to `[..., classes]`. False leaves a class out: it is never
        right, and costs ∞ as a label.
      label_smoothing: scalar, real, in [0, 1] (checked under `checkify`).
    Returns:
      `[...]`, dtype of `logits`. In nats, never below 0.
    Raises:
      TypeError: if `logits` is not floating point, `labels` not integer, `where` not
        bool, or `label_smoothing` not real.
      ValueError: if `labels` has not the shape of `logits` without `axis`; if `where`
        does not broadcast to `logits`, or `axis` is out of bounds or has no classes; if
        `label_smoothing` is not a scalar.
    Example:
      >>> loss = softmax_cross_entropy_with_integer_labels
      >>> f"{loss(jnp.array([17.0, 0, 0]), 0):.4e}, {loss(jnp.array([17.0, 0]), 1):.4f}"
      '8.2799e-08, 17.0000'
      >>> labels, weight = jnp.array([0, 2]), jnp.array([1.0, 1.0, 5.0])
      >>> print(weight[labels] * loss(jnp.zeros((2, 3)), labels, label_smoothing=0.1))
      [1.0986 5.4931]

    Reference:
      As `softmax_cross_entropy`; for the smoothing `smooth_labels`.
    """
    unsmoothed = isinstance(label_smoothing, int | float) and label_smoothing == 0
    smoothing = None if unsmoothed else label_smoothing
    axis = _arguments.hashable(axis)
    arrays = map(_arguments.array, (logits, labels, where))
    return _integer_loss(axis, *arrays, smoothing)


@partial(jax.jit, static_argnums=0)
def _integer_loss(axis, logits, labels, where, label_smoothing) -> jax.Array:
    hint = _arguments.order_of(["logits", "labels"])
    x = _arguments.floating(logits, "logits", hint)
    classes = _arguments.classes_of(axis, x, where, "logits")
    y = jnp.asarray(labels)
    if not jnp.issubdtype(y.dtype, jnp.integer):
        raise TypeError(f"labels must be integer, got {y.dtype}.{hint}")
    expected = tuple(n for i, n in enumerate(x.shape) if i not in classes.axes)
    if y.shape != expected:
        raise ValueError(
            f"labels must have the shape of logits without axis {axis}, {expected}, "
            f"got labels {y.shape} and logits {x.shape}."
        )
    rows = classes.logits(x.astype(_arguments.widened(x.dtype)))
    along = axis_of(classes.axes, x.ndim)
    most = rows.shape[along]
    label = _index(in_range(classes.one_a_row(y), "labels", 0, most - 1), most)
    if label_smoothing is None:
        loss = equations.integer_loss(along, rows, label)
    else:
        amount = _arguments.scalar(label_smoothing, "label_smoothing")
        amount = in_range(amount.astype(rows.dtype), "label_smoothing", 0, 1)
        amount = jnp.broadcast_to(amount, label.shape)
        share = _share(along, classes, rows)
        loss = equations.smoothed_loss(along, rows, label, amount, share)
    return classes.one_a_row(loss).astype(x.dtype)


def _share(axis: int, classes: _arguments.Classes, rows: jax.Array) -> jax.Array:
    """1/classes for each class that `where` keeps."""
    if classes.where is None:
        return jnp.full_like(rows, 1 / rows.shape[axis])
    kept = one_axis(classes.where, classes.axes).astype(rows.dtype)
    return kept / jnp.maximum(jnp.sum(kept, axis, keepdims=True), 1)


def _index(y: jax.Array, classes: int) -> jax.Array:
    """The label in int32, from 0 to `classes`, which stands for all out of range."""
    limits = jnp.iinfo(y.dtype)
    least, most = max(-classes - 1, limits.min), min(classes, limits.max)
    y = jnp.clip(y, least, most).astype(jnp.int32)
    return jnp.where((y >= -classes) & (y < classes), y % classes, classes)
