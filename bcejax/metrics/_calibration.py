"""Whether rows with probability p are positive in a fraction p of the cases."""

import operator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bcejax._numerics.sigmoid import sigmoid
from bcejax._sharding import replicated
from bcejax.metrics._checked import checked
from bcejax.metrics._top_class import top_class

_LANES = 1024  # partial sums of each bin of a calibration curve


class Calibration(NamedTuple):
    """Rows of similar probability, bin by bin, in ascending order.

    Attributes:
      predicted: `(bins,)`, mean of σ(x) in the bin, or of the largest probability of
        many classes; NaN in an empty one.
      observed: `(bins,)`, mean label, the fraction of positives, or of rows whose most
        probable class is theirs; NaN in an empty one.
      weight: `(bins,)`, sum of the weights, the number of rows without them.
    """

    predicted: jax.Array
    observed: jax.Array
    weight: jax.Array


def calibration(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    bins: int = 10,
    strategy: str = "uniform",
) -> Calibration:
    """Calibration curve: what was predicted and what came, in bins of similar rows.

    A model is calibrated if `observed` is `predicted` but for chance. Of many classes,
    logits `(n, classes)`, it is about the most probable class of each row: how probable
    that was, and whether it was right. Other arguments and errors are those of
    `log_loss`.

    Args:
      bins: how many.
      strategy: "uniform" cuts [0, 1] into bins (a, b] of equal width, the first with
        its 0; "quantile" cuts the sorted rows into bins of equal weight, as far as
        ties allow.
    Returns:
      A `Calibration`, float32 or float64. All NaN if a logit or a weight is.
    Raises:
      TypeError: if `bins` is not an integer.
      ValueError: if `bins` is below 1, or for an unknown strategy.
    Example:
      >>> curve = calibration(jnp.array([-2.0, -1, 1]), jnp.array([0, 1, 1]), bins=2)
      >>> print(curve.predicted, curve.observed, curve.weight)
      [0.1941 0.7311 ] [0.5 1. ] [2. 1.]

    Reference:
      A. Niculescu-Mizil and R. Caruana, Predicting good probabilities with supervised
      learning, ICML 2005, 625-632.
    """
    return in_bins(_calibration, logits, labels, weights, bins, strategy)


def expected_calibration_error(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    bins: int = 10,
    strategy: str = "uniform",
) -> jax.Array:
    """Expected calibration error: the mean |observed − predicted| of bins.

    Of the bins of `calibration`, whose arguments and errors these are. It is 0 for a
    calibrated model of endless rows; of n rows chance alone leaves some √(bins / n).

    Returns:
      `()`, float32 or float64, in [0, 1].
    Example:
      >>> x, y = jnp.array([-2.0, -1, 1]), jnp.array([0, 1, 1])
      >>> print(expected_calibration_error(x, y, bins=2))
      0.2936

    Reference:
      C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, On calibration of modern neural
      networks, ICML 2017, 1321-1330.
    """
    return in_bins(_expected_error, logits, labels, weights, bins, strategy)


def in_bins(function, logits, labels, weights, bins, strategy):
    """`function` of what was checked."""
    if operator.index(bins) < 1:
        raise ValueError(f"bins must be at least 1, got {bins}.")
    if strategy not in ("uniform", "quantile"):
        raise ValueError(f'strategy must be "uniform" or "quantile", got {strategy!r}.')
    options = {"bins": bins, "strategy": strategy}
    return checked(function, logits, labels, weights, of_classes=True, **options)


def _calibration(x, y, w, bins: int, strategy: str) -> Calibration:
    if x.ndim == 1:
        return _curve(x, sigmoid(x), y, w, bins, strategy)
    p, q, right = top_class(x, y)
    # Sorted by −(1 − p), which tells apart what is all but certain.
    return _curve(-q, p, right, w, bins, strategy)


def _curve(x, p, y, w, bins: int, strategy: str) -> Calibration:
    """Of probabilities p, whose order is that of x."""
    x, p, y, w = replicated((x, p, y, w), x)
    if strategy == "uniform":
        inner = np.linspace(0, 1, bins + 1)[1:-1]
        place = jnp.searchsorted(jnp.asarray(inner, x.dtype), p)
    else:
        place = jnp.searchsorted(_quantiles(x, w, bins), x)
    terms = jnp.stack([w * p, w * y, w], axis=1)
    predicted, observed, weight = _sums_by_bin(terms, place, bins).T
    curve = Calibration(predicted / weight, observed / weight, weight)
    missing = jnp.any(jnp.isnan(x) | jnp.isnan(w))
    return jax.tree.map(lambda a: jnp.where(missing, jnp.nan, a), curve)


def _expected_error(x, y, w, bins: int, strategy: str) -> jax.Array:
    predicted, observed, weight = _calibration(x, y, w, bins, strategy)
    gap = jnp.where(weight == 0, 0, weight * jnp.abs(observed - predicted))
    return jnp.sum(gap) / jnp.sum(weight)


def _sums_by_bin(terms: jax.Array, place: jax.Array, bins: int) -> jax.Array:
    """The sum of the terms of each bin, `(n, k)` to `(bins, k)`."""
    # A scatter adds one row after the other, and its error grows with their number n.
    # Row i goes into lane i mod _LANES of its bin, and the lanes are added at the end:
    # the error of a sum is then one of n/_LANES rows.
    lane = jnp.arange(len(terms)) % _LANES
    sums = jax.ops.segment_sum(terms, place * _LANES + lane, bins * _LANES)
    return sums.reshape(bins, _LANES, -1).sum(1)


def _quantiles(x: jax.Array, w: jax.Array, bins: int) -> jax.Array:
    """The last logit of each bin of 1/bins of the weight, of all bins but the last.

    Rows k of n, from 0, up to k ≤ (n − 1) j/bins are in the first j bins, if all weigh
    the same: as NumPy's interpolated percentiles split them, but for their rounding.
    """
    x, w = jax.lax.sort((x, w), num_keys=1)
    unit = jnp.min(w, where=w > 0, initial=jnp.inf)  # the weight of one row
    reached = jnp.cumsum(w / unit)
    target = (reached[-1] - 1) * jnp.arange(1, bins, dtype=x.dtype)
    return x[jnp.searchsorted(reached * bins, target, side="right")]
