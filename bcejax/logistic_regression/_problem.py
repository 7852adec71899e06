"""What a fit is given, checked: the parameters, and the data as arrays of one dtype."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from bcejax._arguments import real, same_shape_or_scalar, widened
from bcejax._range_check import in_range


class Params(NamedTuple):
    weights: jax.Array  # (d,), β
    bias: jax.Array  # (), b


class Problem(NamedTuple):
    """Checked data, all of one floating dtype.

    For many classes the labels are of another one, the features may have 16 bits, and
    there is no offset.
    """

    features: jax.Array  # (n, d)
    labels: jax.Array  # (n,); for many classes int32, or (n, classes)
    share: jax.Array  # (n,), of each row in the mean: wᵢ / Σ w, which sums to 1
    offset: Any  # (n,)
    l2: jax.Array  # (), or (d,)
    finite: jax.Array | None = None  # (n,), whether the features of a row all are

    def rows(self, take) -> "Problem":
        """The data with `take` of every array that has one element for each row."""
        features, labels, share, offset = jax.tree.map(take, self[:4])
        finite = jax.tree.map(take, self.finite)
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
    labels = real(labels, "labels")
    if labels.shape != features.shape[:1]:
        raise ValueError(
            "labels must hold one value per row of features, "
            f"got labels {labels.shape} and features {features.shape}."
        )
    labels = labels.astype(features.dtype)
    weight = checked_weight(sample_weight, features)
    offset = of_rows(0 if offset is None else offset, "offset", features)
    l2 = checked_l2(l2, features)
    if sample_weight is not None:
        # Rows of weight 0 do not count, whatever they hold.
        labels, offset = (jnp.where(weight == 0, 0, a) for a in (labels, offset))
    labels = in_range(labels, "labels", 0, 1)
    share, finite = shares(sample_weight, weight, features)
    return Problem(features, labels, share, offset, l2, finite)


def of_rows(x, name: str, features: jax.Array) -> jax.Array:
    """One value for each row, in the dtype that the fit computes in."""
    kind = features[:, 0].astype(widened(features.dtype))
    x = same_shape_or_scalar(real(x, name), name, kind, "a column of features")
    return x.astype(kind.dtype)


def checked_weight(sample_weight, features: jax.Array) -> jax.Array:
    """The weight of each row, or its share if all rows are alike."""
    # Without weights the shares are a constant, of which XLA need not compile the sum.
    equal = 1 / len(features)
    weight = equal if sample_weight is None else sample_weight
    weight = of_rows(weight, "sample_weight", features)
    return in_range(weight, "sample_weight", 0, jnp.inf)


def checked_l2(l2, features: jax.Array) -> jax.Array:
    l2 = real(l2, "l2")
    if l2.shape not in ((), features.shape[1:]):
        raise ValueError(
            "l2 must be a scalar or hold one value per column of features, "
            f"got l2 {l2.shape} and features {features.shape}: vmap over several fits."
        )
    return in_range(l2.astype(widened(features.dtype)), "l2", 0, jnp.inf)


def shares(sample_weight, weight: jax.Array, features: jax.Array):
    """The share of each row, and whether its features are finite, if rows are weighted.

    NaN is the share of a row that counts and whose features are not.
    """
    if sample_weight is None:
        return weight, None
    finite = jnp.all(jnp.isfinite(features), 1)
    weight = jnp.where(finite | (weight == 0), weight, jnp.nan)
    # Divided by the largest first, so that the sum does not overflow. Without a barrier
    # XLA of jax 0.10.0 divides by the product of both, which is infinite.
    weight = jax.lax.optimization_barrier(weight / weight.max())
    return weight / weight.sum(), finite


def checked_features(features) -> jax.Array:
    """Features as a matrix of float32 or float64."""
    features = checked_matrix(features)
    return features.astype(widened(features.dtype))


def checked_matrix(features) -> jax.Array:
    features = real(features, "features")
    if features.ndim != 2 or 0 in features.shape:
        raise ValueError(
            "features must have shape (rows, columns), neither of them 0, "
            f"got {features.shape}: a single column is features[:, None]."
        )
    return features


def total_weight(sample_weight: ArrayLike | None, data: Problem) -> jax.Array:
    """Σ wᵢ: the number of rows, if none is weighted."""
    weight = jnp.asarray(1 if sample_weight is None else sample_weight)
    return jnp.sum(jnp.broadcast_to(weight.astype(data.share.dtype), data.share.shape))
