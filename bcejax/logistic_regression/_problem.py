"""What a fit is given, checked: the parameters, and the data as arrays of one dtype."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from bcejax._arguments import real, same_shape_or_scalar, widened
from bcejax._range_check import in_range


class Params(NamedTuple):
    weights: jax.Array  # (d,), β
    bias: jax.Array  # (), b


class Problem(NamedTuple):
    """Checked data, all of one floating dtype."""

    features: jax.Array  # (n, d)
    labels: jax.Array  # (n,)
    share: jax.Array  # (n,), of each row in the mean: wᵢ / Σ w, which sums to 1
    offset: jax.Array  # (n,)
    l2: jax.Array  # (), or (d,)
    finite: jax.Array | None = None  # (n,), whether the features of a row all are

    def rows(self, take) -> "Problem":
        """The data with `take` of every array that has one element for each row."""
        features, labels, share, offset = map(take, self[:4])
        finite = None if self.finite is None else take(self.finite)
        return Problem(features, labels, share, offset, self.l2, finite)

    def readable(self) -> "Problem":
        """The data with 0 for the features of every row that holds NaN or ∞.

        Such a row has weight 0, and 0 · NaN would be NaN in a sum over rows; or its
        share is NaN. Without sample weights nothing is replaced, and the features are
        not copied.
        """
        if self.finite is None:
            return self
        features = jnp.where(self.finite[:, None], self.features, 0)
        return self._replace(features=features, finite=None)


def checked_problem(features, labels, l2, sample_weight, offset) -> Problem:
    """The data, or an error that names the argument that does not fit."""
    features = checked_features(features)
    rows = features[:, 0]

    def column(x, name):
        return same_shape_or_scalar(real(x, name), name, rows, "a column of features")

    labels = real(labels, "labels")
    if labels.shape != rows.shape:
        raise ValueError(
            "labels must hold one value per row of features, "
            f"got labels {labels.shape} and features {features.shape}."
        )
    # Without weights the shares are a constant, of which XLA need not compile the sum.
    equal = 1 / len(rows)
    weight = column(equal if sample_weight is None else sample_weight, "sample_weight")
    offset = column(0 if offset is None else offset, "offset")
    l2 = real(l2, "l2")
    if l2.shape not in ((), features.shape[1:]):
        raise ValueError(
            "l2 must be a scalar or hold one value per column of features, "
            f"got l2 {l2.shape} and features {features.shape}: vmap over several fits."
        )

    labels, weight, offset, l2 = (
        a.astype(features.dtype) for a in (labels, weight, offset, l2)
    )
    weight = in_range(weight, "sample_weight", 0, jnp.inf)
    l2 = in_range(l2, "l2", 0, jnp.inf)
    finite = None
    if sample_weight is not None:
        # Rows of weight 0 do not count, whatever they hold.
        labels, offset = (jnp.where(weight == 0, 0, a) for a in (labels, offset))
        finite = jnp.all(jnp.isfinite(features), 1)
        weight = jnp.where(finite | (weight == 0), weight, jnp.nan)
    labels = in_range(labels, "labels", 0, 1)
    if sample_weight is None:
        return Problem(features, labels, weight, offset, l2)
    # Divided by the largest first, so that the sum does not overflow. Without a barrier
    # XLA of jax 0.10.0 divides by the product of both, which is infinite.
    weight = jax.lax.optimization_barrier(weight / weight.max())
    return Problem(features, labels, weight / weight.sum(), offset, l2, finite)


def checked_features(features) -> jax.Array:
    """Features as a matrix of float32 or float64."""
    features = real(features, "features")
    if features.ndim != 2 or 0 in features.shape:
        raise ValueError(
            "features must have shape (rows, columns), neither of them 0, "
            f"got {features.shape}: a single column is features[:, None]."
        )
    return features.astype(widened(features.dtype))


def total_weight(sample_weight: ArrayLike | None, data: Problem) -> jax.Array:
    """Σ wᵢ: the number of rows, if none is weighted."""
    weight = jnp.asarray(1 if sample_weight is None else sample_weight)
    return jnp.sum(jnp.broadcast_to(weight.astype(data.share.dtype), data.share.shape))
