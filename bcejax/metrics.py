"""How good the logits of a binary classifier are, of any classifier.

They are weighted means over rows: with wᵢ the weight of a row, pᵢ = σ(xᵢ) its
probability,

  log_loss     Σ wᵢ ℓ(xᵢ, yᵢ) / Σ wᵢ, in nats
  brier_score  Σ wᵢ (pᵢ − yᵢ)² / Σ wᵢ
  roc_auc      how often a positive row has the greater logit of a pair
  calibration  the means of p and of y among rows of similar p, bin by bin, as a
  Calibration

All are pure functions: jit them, vmap them, and give them sharded arrays. A weight of 2
counts a row twice, and only the ratios of the weights matter. Labels may be
probabilities: y counts as y of a positive and 1 − y of a negative row. 16-bit logits
are computed in float32, and so are the results: a mean over many rows has more digits
than one of them. NaN in the logits gives NaN out.

In a row with a weight, a label that is NaN or outside [0, 1] is a ValueError. So are
weights that are negative, not finite, or 0 in all rows. Logits that all lie in [0, 1]
look like probabilities and get a UserWarning. Within jit and vmap nobody can be told:
there labels and weights are errors under `jax.experimental.checkify.checkify` only, and
NaN gives NaN.
"""

import operator
import warnings
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bcejax._arguments import floating, order_of, real, same_shape_or_scalar, widened
from bcejax._bce import bce_dx, bce_unweighted
from bcejax._host import as_computed_with, numbers, real_array
from bcejax._numerics.limits import times_or_zero
from bcejax._numerics.sigmoid import sigmoid
from bcejax._range_check import in_range
from bcejax._sharding import replicated
from bcejax._values import complain_of_labels, complain_of_weights

__all__ = ["Calibration", "brier_score", "calibration", "log_loss", "roc_auc"]

_LANES = 1024  # partial sums of each bin of a calibration curve


def log_loss(
    logits: ArrayLike, labels: ArrayLike, *, weights: ArrayLike | None = None
) -> jax.Array:
    """Mean binary cross-entropy Σ wᵢ ℓ(xᵢ, yᵢ) / Σ wᵢ, in nats.

    Nothing is clipped: a certain wrong answer costs ∞, unless its weight is 0.
    Differentiable to every order in all arguments.

    Args:
      logits: `(n,)`, floating point. ±∞ are allowed.
      labels: `(n,)` or a scalar, real. Class 0 or 1, or a probability.
      weights: `(n,)` or a scalar, real, not negative.
    Returns:
      `()`, float32 or float64.
    Raises:
      TypeError: if `logits` is not floating point, or another argument not real.
      ValueError: if `logits` is not one row of numbers, a shape does not fit it, or a
        value of the others cannot be meant.
    Example:
      >>> print(log_loss(jnp.array([-2.0, 0.5, jnp.inf]), jnp.array([0, 1, 1])))
      0.2003

    Reference:
      I. J. Good, Rational decisions, J. R. Statist. Soc. B 14 (1952), 107-114.
    """
    return _checked(_log_loss, logits, labels, weights)


def brier_score(
    logits: ArrayLike, labels: ArrayLike, *, weights: ArrayLike | None = None
) -> jax.Array:
    """Brier score Σ wᵢ (σ(xᵢ) − yᵢ)² / Σ wᵢ, the mean squared error of a probability.

    From the logits it keeps the digits that 1 − σ(x) has lost. Differentiable to every
    order in all arguments, which are those of `log_loss`, and so are the errors.

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
    return _checked(_brier_score, logits, labels, weights)


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
    return _checked(_roc_auc, logits, labels, weights)


class Calibration(NamedTuple):
    """Rows of similar probability, bin by bin, in ascending order.

    Attributes:
      predicted: `(bins,)`, mean of σ(x) in the bin; NaN in an empty one.
      observed: `(bins,)`, mean label, the fraction of positives; NaN in an empty one.
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

    A model is calibrated if `observed` is `predicted` but for chance. Other arguments
    and errors are those of `log_loss`.

    Args:
      bins: how many.
      strategy: "uniform" cuts [0, 1] into bins (a, b] of equal width, the first with
        its 0; "quantile" cuts the sorted logits into bins of equal weight, as far as
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
    bins = operator.index(bins)
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}.")
    if strategy not in ("uniform", "quantile"):
        raise ValueError(f'strategy must be "uniform" or "quantile", got {strategy!r}.')
    return _checked(_calibration, logits, labels, weights, bins, strategy)


def _checked(core, logits, labels, weights, *options):
    logits, labels = real_array(logits, "logits"), numbers(labels, "labels")
    weights = None if weights is None else numbers(weights, "weights")
    result, sound, doubtful = _compiled(core, options, logits, labels, weights)
    if isinstance(sound, jax.core.Tracer):
        return result
    if not sound:
        both = labels, 1 if weights is None else weights
        y, w = (np.broadcast_to(as_computed_with(a), logits.shape) for a in both)
        complain_of_weights(w, "weights")
        complain_of_labels(y, w > 0)
    if doubtful:
        warnings.warn(
            "logits all lie in [0, 1] and look like probabilities: bcejax.logit makes "
            "logits of them.",
            stacklevel=3,
        )
    return result


@partial(jax.jit, static_argnums=(0, 1))
def _compiled(core, options, logits, labels, weights):
    x = floating(logits, "logits", order_of(["logits", "labels"]))
    if x.ndim != 1 or x.size == 0:
        raise ValueError(
            f"logits must have shape (rows,), at least one, got {x.shape}: "
            "a single column is logits[:, 0]; vmap over more."
        )
    y = real(labels, "labels")
    w = real(1 if weights is None else weights, "weights")
    y = same_shape_or_scalar(y, "labels", x, "logits")
    w = same_shape_or_scalar(w, "weights", x, "logits")
    x, y, w = (a.astype(widened(x.dtype)) for a in (x, y, w))
    counts, allowed = w > 0, (y >= 0) & (y <= 1)
    sound = jnp.all(allowed | ~counts) & jnp.any(counts)
    sound &= jnp.all((w >= 0) & (w < jnp.inf))
    # A row of weight 0 may have any label. One that is allowed stays, since the slope
    # in the weight depends on it.
    y = jnp.where((w == 0) & ~allowed, 0, y)
    doubtful = jnp.all((x >= 0) & (x <= 1)) & (jnp.min(x) < jnp.max(x))
    y, w = in_range(y, "labels", 0, 1), in_range(w, "weights", 0, jnp.inf)
    return core(x, y, w, *options), sound, doubtful


def _log_loss(x: jax.Array, y: jax.Array, w: jax.Array) -> jax.Array:
    return jnp.sum(times_or_zero(w, bce_unweighted(x, y))) / jnp.sum(w)


def _brier_score(x: jax.Array, y: jax.Array, w: jax.Array) -> jax.Array:
    return jnp.sum(w * jnp.square(bce_dx(x, y, None))) / jnp.sum(w)


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


def _runs(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """For each of the sorted x, from where to where its equals stand."""
    row = jnp.arange(x.size)
    edge, new = jnp.ones(1, bool), x[1:] != x[:-1]
    first, last = jnp.concatenate([edge, new]), jnp.concatenate([new, edge])
    start = jax.lax.cummax(jnp.where(first, row, 0))
    return start, jax.lax.cummin(jnp.where(last, row + 1, x.size), reverse=True)


def _calibration(x, y, w, bins: int, strategy: str) -> Calibration:
    x, y, w = replicated((x, y, w), x)
    p = sigmoid(x)
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
