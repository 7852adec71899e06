"""The best constant predictor: one logit for all examples.

It is the loss that a model must beat, the output bias with which an imbalanced
classifier should start, and the first score of gradient boosting.
"""

from collections.abc import Sequence
from functools import partial, reduce

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bcejax._arguments import broadcastable, floating, hashable, real, widened
from bcejax._bce import bce_dx
from bcejax._host import as_computed_with, real_array
from bcejax._numerics.limits import log_ratio, ratio_or_zero, times_or_zero
from bcejax._numerics.sigmoid import sigmoid_slope
from bcejax._range_check import in_range
from bcejax._values import complain_of_labels, complain_of_weights


def optimal_logit(
    labels: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    offset: ArrayLike | None = None,
    axis: int | Sequence[int] | None = None,
) -> jax.Array:
    """The constant λ with the least loss, argmin_λ Σ w ℓ(offset + λ, y).

    Without an offset it is the logit of the weighted mean label, log(m/k) for m ones
    and k zeros. With an offset it is the one root of Σ w (σ(offset + λ) − y), found by
    Newton's method within a bracket. Labels that are all 0 give −∞, all 1 give ∞.
    Differentiable in labels, weights and offset, to every order. Where the
    gradient underflows, every λ is a minimum to working precision; one is returned.

    Args:
      labels: `[...]`, any real dtype. Class 0 or 1, or a probability.
      weights: broadcasts to `[...]`, real, not negative. NaN results if all are 0.
      offset: broadcasts to `[...]`, floating point and finite. Logits that are already
        there, such as the scores of the model so far.
      axis: the axis or axes to reduce; all by default.
    Returns:
      `[...]` without `axis`. The dtype of the floating arguments together, the default
      float if there are none.
    Raises:
      TypeError: if an argument is not real, or `offset` not floating point.
      ValueError: if `weights` or `offset` does not broadcast to the shape of `labels`.
        Outside jit and vmap also for a label outside [0, 1] or a negative weight.
    Example:
      >>> print(optimal_logit(jnp.array([1, 0, 0, 0])))
      -1.0986
      >>> print(optimal_logit(jnp.array([1, 0]), offset=jnp.array([2.0, -4.0])))
      1.0

    Reference:
      J. H. Friedman, Greedy function approximation: a gradient boosting machine, Ann.
      Statist. 29 (2001), 1189-1232: the first score of a boosted model.
    """
    given = {"labels": labels, "weights": weights, "offset": offset}
    arrays = {name: real_array(a, name) for name, a in given.items() if a is not None}
    y, w, f = map(arrays.get, given)
    best, wrong = _best_and_wrong(y, w, f, hashable(axis))
    if not isinstance(wrong, jax.core.Tracer) and wrong:
        of_labels = as_computed_with(arrays["labels"])
        of_weights = as_computed_with(arrays.get("weights", np.ones(())))
        of_weights = np.broadcast_to(of_weights, of_labels.shape)
        if np.any(of_weights < 0):
            complain_of_weights(of_weights, "weights")
        complain_of_labels(of_labels, (of_weights > 0) & ~np.isnan(of_labels))
    return best


@partial(jax.jit, static_argnames="axis")
def _best_and_wrong(labels, weights, offset, axis) -> tuple[jax.Array, jax.Array]:
    best = best_logit(labels, weights, offset, axis)
    y, w = jnp.asarray(labels), jnp.asarray(1 if weights is None else weights)
    return best, jnp.any(((y < 0) | (y > 1)) & (w > 0)) | jnp.any(w < 0)


@partial(jax.jit, static_argnames="axis")
def best_logit(labels, weights, offset, axis) -> jax.Array:
    y = real(labels, "labels")
    w = real(1 if weights is None else weights, "weights")
    f = floating(0.0 if offset is None else offset, "offset")
    given = [a for a, b in ((y, labels), (w, weights), (f, offset)) if b is not None]
    floats = [a.dtype for a in given if jnp.issubdtype(a.dtype, jnp.floating)]
    dtype = reduce(jnp.promote_types, floats) if floats else jnp.result_type(float)
    w = broadcastable(w, "weights", y, "labels")
    f = broadcastable(f, "offset", y, "labels")

    axis = tuple(range(y.ndim)) if axis is None else axis
    y, w, f = (a.astype(widened(dtype)) for a in (y, w, f))
    y, w = in_range(y, "labels", 0, 1), in_range(w, "weights", 0, jnp.inf)
    # The answer does not depend on the scale of the weights. Divide by the largest, so
    # that no sum overflows and no product with a slope of e⁻⁸⁰ underflows. Multiply by
    # the reciprocal of its root, twice: that of a large float may be subnormal, which
    # XLA's CPU flushes to 0.
    largest = jnp.max(jax.lax.stop_gradient(w), axis, keepdims=True, initial=0)
    w = w * jax.lax.rsqrt(largest) * jax.lax.rsqrt(largest)
    best = _log_odds(y, w, axis) if offset is None else _root(axis, y, w, f)
    return jnp.squeeze(best, axis).astype(dtype)


def _log_odds(y: jax.Array, w: jax.Array, axis) -> jax.Array:
    ones = jnp.sum(w * y, axis, keepdims=True)
    zeros = jnp.sum(w * (1 - y), axis, keepdims=True)
    return log_ratio(ones, zeros, ones - zeros)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _root(axis, y: jax.Array, w: jax.Array, f: jax.Array) -> jax.Array:
    """The λ at which Σ w (σ(f + λ) − y) is 0, along `axis`, which is kept."""
    # The sum grows with λ, and for f constant its root is log_odds − f.
    log_odds = _log_odds(y, w, axis)
    low = log_odds - jnp.max(f, axis, keepdims=True, initial=-jnp.inf)
    high = log_odds - jnp.min(f, axis, keepdims=True, initial=jnp.inf)
    tolerance = jnp.finfo(f.dtype).eps

    def unsettled(state):
        root, _, _, step = state
        return jnp.any(jnp.abs(step) > tolerance * (1 + jnp.abs(root)))

    def narrow(state):
        root, low, high, last_step = state
        slope = jnp.sum(w * bce_dx(f + root, y, None), axis, keepdims=True)
        low, high = jnp.where(slope < 0, root, low), jnp.where(slope > 0, root, high)
        curvature = jnp.sum(w * sigmoid_slope(f + root), axis, keepdims=True)
        newton = root - slope / curvature
        # Far out Newton's steps all have length 1, or overshoot: halve the bracket
        # unless the step stays inside it and is half the last one at most.
        safe = (low < newton) & (newton < high)
        safe &= jnp.abs(newton - root) <= jnp.abs(last_step) / 2
        target = jnp.where(safe, newton, low + (high - low) / 2)
        target = jnp.where(slope == 0, root, target)
        return target, low, high, target - root

    start = low + (high - low) / 2
    root, *_ = jax.lax.while_loop(unsettled, narrow, (start, low, high, high - low))
    # XLA's CPU drops NaN in a large maximum, by which the bracket knows the offsets.
    root = jnp.where(jnp.isnan(jnp.sum(f, axis, keepdims=True)), jnp.nan, root)
    return jnp.where(jnp.isinf(log_odds), log_odds, root)


@_root.defjvp
def _root_jvp(axis, primals, tangents):
    # The implicit function theorem: the sum stays 0 when λ follows y, w and f.
    y, w, f = primals
    y_dot, w_dot, f_dot = tangents
    root = _root(axis, y, w, f)
    slope, curvature = bce_dx(f + root, y, None), w * sigmoid_slope(f + root)
    total = curvature.sum(axis, keepdims=True)
    # Each quotient is 0 where 0/0, as it is for labels of one class.
    push = times_or_zero(y_dot, ratio_or_zero(w, total)) - w_dot * ratio_or_zero(
        slope, total
    )
    push -= f_dot * ratio_or_zero(curvature, total)
    return root, push.sum(axis, keepdims=True)
