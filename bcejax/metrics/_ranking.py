"""Scores and curves of the order of the logits: which rows are at or above a threshold.

A row is called positive if its logit is at least the threshold. The curves have a point
for each row, and one for the threshold ∞, so that their shape does not depend on the
values. Rows of equal logits share a point, which then stands there several times.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bcejax._range_check import in_range
from bcejax._sharding import replicated
from bcejax.metrics._checked import checked

INF = float("inf")


def roc_auc(
    logits: ArrayLike, labels: ArrayLike, *, weights: ArrayLike | None = None
) -> jax.Array:
    """Area under the ROC curve: how often a positive row outranks a negative one.

    Σ wᵢ wⱼ [xᵢ > xⱼ] / Σ wᵢ wⱼ over all pairs of a positive row i and a negative row j,
    a tie counting ½, by one sort. It depends on the order of the logits alone: their
    gradient is 0. Arguments and errors are those of `log_loss`.

    Returns:
      `()`, float32 or float64, in [0, 1]. NaN if all rows are of one class.
    Example:
      >>> print(roc_auc(jnp.array([-1.0, 0.5, 0.5, 2]), jnp.array([0, 0, 1, 1])))
      0.875

    Reference:
      J. A. Hanley and B. J. McNeil, The meaning and use of the area under a receiver
      operating characteristic (ROC) curve, Radiology 143 (1982), 29-36.
    """
    return checked(_roc_auc, logits, labels, weights)


class RocCurve(NamedTuple):
    """What share of either class is called positive, by falling threshold.

    Attributes:
      false_positive_rate: `(n + 1,)`, of the negative rows; from 0, where no row is
        called positive, to 1.
      true_positive_rate: `(n + 1,)`, of the positive rows, the recall; from 0 to 1.
      threshold: `(n + 1,)`, the logits from the largest down: those at or above it are
        called positive. The first is ∞ and calls none, not even logits of ∞.
    """

    false_positive_rate: jax.Array
    true_positive_rate: jax.Array
    threshold: jax.Array


def roc_curve(
    logits: ArrayLike, labels: ArrayLike, *, weights: ArrayLike | None = None
) -> RocCurve:
    """The ROC curve, whose area is `roc_auc`. Arguments are those of `log_loss`.

    Returns:
      A `RocCurve`, float32 or float64. The rate of a class without rows is NaN.
    Example:
      >>> curve = roc_curve(jnp.array([-1.0, 0.5, 0.5, 2]), jnp.array([0, 0, 1, 1]))
      >>> print(curve.false_positive_rate, curve.true_positive_rate)
      [0. 0. 0.5 0.5 1. ] [0. 0.5 1. 1. 1. ]
    """
    return checked(_roc_curve, logits, labels, weights)


class PrecisionRecall(NamedTuple):
    """Precision and recall, by falling threshold.

    Attributes:
      precision: `(n + 1,)`, positives among the rows called so; 1 where none is.
      recall: `(n + 1,)`, share of the positive rows that are called so; from 0 to 1.
      threshold: `(n + 1,)`, the logits from the largest down: those at or above it are
        called positive. The first is ∞ and calls none, not even logits of ∞.
    """

    precision: jax.Array
    recall: jax.Array
    threshold: jax.Array


def precision_recall(
    logits: ArrayLike, labels: ArrayLike, *, weights: ArrayLike | None = None
) -> PrecisionRecall:
    """Precision and recall by falling threshold. Arguments are those of `log_loss`.

    Returns:
      A `PrecisionRecall`, float32 or float64. The recall is NaN without positive rows.
    Example:
      >>> curve = precision_recall(jnp.array([-1.0, 0.5, 2]), jnp.array([0, 0, 1]))
      >>> print(curve.precision, curve.recall)
      [1. 1. 0.5 0.3333] [0. 1. 1. 1.]
    """
    return checked(_precision_recall, logits, labels, weights)


def average_precision(
    logits: ArrayLike, labels: ArrayLike, *, weights: ArrayLike | None = None
) -> jax.Array:
    """Σ (Rₖ − Rₖ₋₁) Pₖ of recall R and precision P: the area below their steps.

    Unlike `roc_auc` it tells classifiers of a rare class apart. Arguments and errors
    are those of `log_loss`.

    Returns:
      `()`, float32 or float64, in [0, 1]. NaN without positive rows.
    Example:
      >>> print(average_precision(jnp.array([-1.0, 0.5, 2]), jnp.array([0, 1, 0])))
      0.5

    Reference:
      C. Buckley and E. M. Voorhees, Evaluating evaluation measure stability, SIGIR
      2000, 33-40.
    """
    return checked(_average_precision, logits, labels, weights)


class Threshold(NamedTuple):
    """Where to cut, and what that costs.

    Attributes:
      logit: `()`, from which on a row is to be called positive; ∞ if none is.
      cost: `()`, the mean cost of a row, in the unit of the costs given.
    """

    logit: jax.Array
    cost: jax.Array


def best_threshold(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    false_positive_cost: ArrayLike = 1.0,
    false_negative_cost: ArrayLike = 1.0,
    weights: ArrayLike | None = None,
) -> Threshold:
    """The threshold of least mean cost on these rows, of all that tell them apart.

    Of a calibrated model it is log(false_positive_cost / false_negative_cost), but for
    chance. Choose it on rows that the model was not fitted to. Other arguments and
    errors are those of `log_loss`.

    Args:
      false_positive_cost: scalar, not negative, of a negative row called positive.
      false_negative_cost: scalar, not negative, of a positive row called negative.
    Returns:
      A `Threshold`, float32 or float64: the largest, if several cost as little.
    Example:
      >>> found = best_threshold(jnp.array([-1.0, 0.5, 2]), jnp.array([0, 1, 0]))
      >>> print(found.logit, found.cost)
      inf 0.3333
    """
    costs = {
        "false_positive_cost": false_positive_cost,
        "false_negative_cost": false_negative_cost,
    }
    for name, cost in costs.items():
        known = not isinstance(cost, jax.core.Tracer)
        if known and not np.all((np.asarray(cost) >= 0) & np.isfinite(cost)):
            raise ValueError(f"{name} must be 0 or more and finite, got {cost}.")
    return checked(_best_threshold, logits, labels, weights, parameters=costs)


def _roc_auc(x: jax.Array, y: jax.Array, w: jax.Array) -> jax.Array:
    # Divided by the greatest weight, so that the product of two does not overflow.
    x, largest = jax.lax.stop_gradient((x, jnp.max(w)))
    x, y, w = replicated((x, y, w / largest), x)  # since no sort crosses devices
    x, positive, negative = jax.lax.sort((x, w * y, w * (1 - y)), num_keys=1)
    # The sums are exact while they count whole rows (to 2²⁴ in float32), and beyond
    # that JAX adds in a tree, whose error does not grow with their number.
    before = jnp.concatenate([jnp.zeros(1, x.dtype), jnp.cumsum(negative)])
    start, stop = _runs(x)
    outranked = (before[start] + before[stop]) / 2
    missed = jnp.maximum(before[-1] - outranked, 0)
    # Divided by the sum of both counts, so that a perfect order has exactly 1 and a
    # useless one exactly ½.
    right, wrong = jnp.sum(positive * outranked), jnp.sum(positive * missed)
    return jnp.where(jnp.isnan(x[-1]), jnp.nan, right / (right + wrong))


class _Above(NamedTuple):
    """By falling threshold, the weights of the rows whose logits reach it."""

    threshold: jax.Array  # (n + 1,), ∞ and then the logits
    positive: jax.Array  # (n + 1,)
    negative: jax.Array  # (n + 1,)


def _above(x: jax.Array, y: jax.Array, w: jax.Array) -> _Above:
    x = jax.lax.stop_gradient(x)
    x, y, w = replicated((x, y, w), x)  # since no sort crosses devices
    down, positive, negative = jax.lax.sort((-x, w * y, w * (1 - y)), num_keys=1)
    _, stop = _runs(down)
    stop = jnp.concatenate([jnp.zeros(1, stop.dtype), stop])

    def upto(weights):
        # JAX adds in a tree, whose sums may fall by a rounding where they should stay.
        sums = jax.lax.cummax(jnp.cumsum(weights))
        return jnp.concatenate([jnp.zeros(1, x.dtype), sums])[stop]

    threshold = jnp.concatenate([jnp.full(1, jnp.inf, x.dtype), -down])
    above = _Above(threshold, upto(positive), upto(negative))
    missing = jnp.isnan(down[-1] + jnp.sum(positive + negative))
    return jax.tree.map(lambda a: jnp.where(missing, jnp.nan, a), above)


def _roc_curve(x, y, w) -> RocCurve:
    threshold, positive, negative = _above(x, y, w)
    return RocCurve(negative / negative[-1], positive / positive[-1], threshold)


def _precision_recall(x, y, w) -> PrecisionRecall:
    threshold, positive, negative = _above(x, y, w)
    called = positive + negative
    precision = jnp.where(called == 0, 1, positive / jnp.where(called == 0, 1, called))
    return PrecisionRecall(precision, positive / positive[-1], threshold)


def _average_precision(x, y, w) -> jax.Array:
    precision, recall, _ = _precision_recall(x, y, w)
    return jnp.sum(jnp.diff(recall) * precision[1:])


def _best_threshold(x, y, w, false_positive_cost, false_negative_cost) -> Threshold:
    false_positive_cost = in_range(false_positive_cost, "false_positive_cost", 0, INF)
    false_negative_cost = in_range(false_negative_cost, "false_negative_cost", 0, INF)
    threshold, positive, negative = _above(x, y, w)
    missed = positive[-1] - positive
    cost = false_positive_cost * negative + false_negative_cost * missed
    # A threshold of ∞ does not call no row where a logit is ∞.
    none_called = jnp.where(threshold[1] == jnp.inf, jnp.inf, cost[0])
    cost = cost.at[0].set(none_called)
    best = jnp.argmin(cost)
    return Threshold(threshold[best], cost[best] / jnp.sum(w))


def _runs(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """For each of the sorted x, from where to where its equals stand."""
    row = jnp.arange(x.size)
    edge, new = jnp.ones(1, bool), x[1:] != x[:-1]
    first, last = jnp.concatenate([edge, new]), jnp.concatenate([new, edge])
    start = jax.lax.cummax(jnp.where(first, row, 0))
    return start, jax.lax.cummin(jnp.where(last, row + 1, x.size), reverse=True)
