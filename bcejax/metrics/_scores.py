"""Means over rows: what a row costs, by its probability or by its class."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bcejax._bce import bce_dx, bce_unweighted
from bcejax._numerics import softmax
from bcejax._numerics.limits import times_or_zero
from bcejax.metrics._checked import checked
from bcejax.metrics._top_class import top_class


def log_loss(
    logits: ArrayLike, labels: ArrayLike, *, weights: ArrayLike | None = None
) -> jax.Array:
    """Mean cross-entropy Σ wᵢ ℓ(xᵢ, yᵢ) / Σ wᵢ, in nats.

    ℓ is `bce_with_logits` of two classes, and of many the cross-entropy of the softmax.
    Nothing is clipped: a certain wrong answer costs ∞, unless its weight is 0.
    Differentiable to every order in all arguments.

    Args:
      logits: `(n,)`, or of many classes `(n, classes)`, floating point. ±∞ are allowed.
      labels: `(n,)` or a scalar, real. Class 0 or 1, or a probability. Of many classes
        `(n,)`, the classes 0 to classes − 1, or `(n, classes)`, a probability of each.
      weights: `(n,)` or a scalar, real, not negative.
    Returns:
      `()`, float32 or float64.
    Raises:
      TypeError: if `logits` is not floating point, or another argument not real.
      ValueError: if `logits` has another shape, a shape does not fit it, or a value of
        the others cannot be meant.
    Example:
      >>> print(log_loss(jnp.array([-2.0, 0.5, jnp.inf]), jnp.array([0, 1, 1])))
      0.2003
      >>> print(log_loss(jnp.array([[2.0, 0, 0], [0, 1, 0]]), jnp.array([0, 2])))
      0.8955

    Reference:
      I. J. Good, Rational decisions, J. R. Statist. Soc. B 14 (1952), 107-114.
    """
    return checked(_log_loss, logits, labels, weights, of_classes=True)


def brier_score(
    logits: ArrayLike, labels: ArrayLike, *, weights: ArrayLike | None = None
) -> jax.Array:
    """Brier score Σ wᵢ (σ(xᵢ) − yᵢ)² / Σ wᵢ, the mean squared error of a probability.

    From the logits it keeps the digits that 1 − σ(x) has lost. Differentiable to every
    order in all arguments, which are those of `log_loss` of two classes, and so are the
    errors.

    Returns:
      `()`, float32 or float64, in [0, 1].
    Example:
      >>> print(brier_score(jnp.array([0.0, jnp.inf]), jnp.array([1, 1])))
      0.125
      >>> print(f"{brier_score(jnp.array([18.0]), 1):.3e}")
      2.320e-16

    Reference:
      G. W. Brier, Verification of forecasts expressed in terms of probability, Mon.
      Weather Rev. 78 (1950), 1-3.
    """
    return checked(_brier_score, logits, labels, weights)


def accuracy(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    threshold: ArrayLike = 0.0,
) -> jax.Array:
    """Share of the rows that are called by their class: positive from `threshold` on.

    Of many classes, logits `(n, classes)`, a row is called by its largest logit, by the
    first of those that are equal. Arguments and errors are those of `log_loss`.

    Args:
      threshold: scalar, a logit; `bcejax.logit(p)` for a probability p. Of two classes.
    Returns:
      `()`, float32 or float64, in [0, 1].
    Raises:
      ValueError: also for a threshold beside many classes.
    Example:
      >>> print(accuracy(jnp.array([-2.0, -1, 0.5, 3]), jnp.array([0, 1, 1, 1])))
      0.75
      >>> print(accuracy(jnp.array([[2.0, 0, 0], [0, 1, 0]]), jnp.array([0, 2])))
      0.5
    """
    if np.ndim(logits) != 2:
        return checked(_accuracy, logits, labels, weights, {"threshold": threshold})
    if not (isinstance(threshold, int | float) and threshold == 0):
        raise ValueError(
            "threshold must be left out for logits (rows, classes): a row is called by "
            f"its largest logit. Got {threshold}."
        )
    return checked(_accuracy_of_classes, logits, labels, weights, of_classes=True)


class Confusion(NamedTuple):
    """How many rows of which class are called what, in weights.

    Attributes:
      true_positive: `()`, positive rows that are called so.
      false_positive: `()`, negative rows that are called positive.
      false_negative: `()`, positive rows that are called negative.
      true_negative: `()`, negative rows that are called so.
    """

    true_positive: jax.Array
    false_positive: jax.Array
    false_negative: jax.Array
    true_negative: jax.Array

    @property
    def accuracy(self) -> jax.Array:
        """Share of the rows that are called by their class."""
        return (self.true_positive + self.true_negative) / sum(self)

    @property
    def precision(self) -> jax.Array:
        """Share of the positives among the rows called positive; NaN if none is."""
        return self.true_positive / (self.true_positive + self.false_positive)

    @property
    def recall(self) -> jax.Array:
        """Share of the positive rows that are called so, the sensitivity."""
        return self.true_positive / (self.true_positive + self.false_negative)

    @property
    def specificity(self) -> jax.Array:
        """Share of the negative rows that are called so."""
        return self.true_negative / (self.true_negative + self.false_positive)

    @property
    def f1(self) -> jax.Array:
        """Harmonic mean of precision and recall."""
        wrong = self.false_positive + self.false_negative
        return 2 * self.true_positive / (2 * self.true_positive + wrong)


def confusion(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    threshold: ArrayLike = 0.0,
) -> Confusion:
    """The confusion matrix: rows are called positive from `threshold` on.

    Arguments and errors are those of `accuracy` of two classes.

    Returns:
      A `Confusion`, float32 or float64. All NaN if a logit is.
    Example:
      >>> found = confusion(jnp.array([-2.0, -1, 0.5, 3]), jnp.array([0, 1, 1, 1]))
      >>> print(found.true_positive, found.false_negative, found.f1)
      2.0 1.0 0.8
    """
    return checked(_confusion, logits, labels, weights, {"threshold": threshold})


def _log_loss(x: jax.Array, y: jax.Array, w: jax.Array) -> jax.Array:
    if x.ndim == 1:
        return _mean(bce_unweighted(x, y), w)
    loss = softmax.integer_loss if y.ndim == 1 else softmax.dense_loss
    return _mean(loss(-1, x, y), w)


def _mean(loss: jax.Array, w: jax.Array) -> jax.Array:
    return jnp.sum(times_or_zero(w, loss)) / jnp.sum(w)


def _brier_score(x: jax.Array, y: jax.Array, w: jax.Array) -> jax.Array:
    return jnp.sum(w * jnp.square(bce_dx(x, y, None))) / jnp.sum(w)


def _confusion(x, y, w, threshold) -> Confusion:
    called = jnp.where(jnp.isnan(x), jnp.nan, (x >= threshold).astype(x.dtype))
    classes = called * y, called * (1 - y), (1 - called) * y, (1 - called) * (1 - y)
    return Confusion(*(jnp.sum(w * of_class) for of_class in classes))


def _accuracy(x, y, w, threshold) -> jax.Array:
    return _confusion(x, y, w, threshold).accuracy


def _accuracy_of_classes(x: jax.Array, y: jax.Array, w: jax.Array) -> jax.Array:
    _, _, right = top_class(x, y)
    return jnp.sum(w * right) / jnp.sum(w)
