"""Coordinates of the parameters in which all columns of the features are alike.

The columns are centred and scaled in the coordinates, never in memory:

    x·β + b = z·γ + u c    with    z = unit (x − mean),
                                   β = unit γ,                              (a)
                                   b = u c − mean·β.                        (b)

(γ, c) is a `point`. Where a fit takes its steps, `unit` is 1/deviation and u is 1. Of a
fit without a bias the mean and u are 0.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bcejax.logistic_regression._problem import Params, Problem
from bcejax.logistic_regression._rows import (
    chosen_rows,
    sum_over_blocks,
    sum_over_rows,
)

FLAT = 4  # roundings of its mean that a column deviates by which counts as constant
MIDDLE = 15  # rows whose median is the origin of a table
NEAR = 30  # deviations from there to the mean within which a table keeps its digits


class Table(NamedTuple):
    """Coordinates t = ((x − origin)/reach, 1) of the rows that no weight changes.

    Fits that `vmap` makes at once over weights, as bootstraps are, then multiply one
    matrix of rows by many weights: 300 bootstraps of 569 × 30 are 1.3 to 1.5 times as
    fast.
    """

    origin: jax.Array  # (d,), a middle of each column; 0 without a bias
    reach: jax.Array  # (d,), the largest distance from it
    good: jax.Array  # (), whether sums over t keep the digits of the weighted rows

    def rows(self, data: Problem) -> jax.Array:
        t = (data.features - self.origin) / self.reach
        return jnp.append(t, jnp.ones_like(t[:, :1]), 1)


class Scaling(NamedTuple):
    mean: jax.Array  # (d,)
    unit: jax.Array  # (d,); 0 for a constant column, whose weight then is 0
    intercept: jax.Array  # (), u
    table: Table | None = None

    def params(self, point: jax.Array) -> Params:
        weights = point[:-1] * self.unit  # (a)
        return Params(weights, self.intercept * point[-1] - self.mean @ weights)  # (b)

    def matrix(self) -> jax.Array:
        """The matrix of `params`, from (γ, c) to (β, b)."""
        diagonal = jnp.diag(jnp.append(self.unit, self.intercept))  # (a)
        return diagonal.at[-1, :-1].set(-self.mean * self.unit)  # (b)

    def point(self, params: Params) -> jax.Array:
        weights, bias = params
        center = self.intercept * (bias + self.mean @ weights)
        return jnp.append(self._over_unit(weights), center)

    def gradient(self, slope: Params) -> jax.Array:
        """The gradient in the coordinates, of one in the parameters."""
        of_weights = (slope.weights - self.mean * slope.bias) * self.unit
        return jnp.append(of_weights, self.intercept * slope.bias)

    def slope(self, gradient: jax.Array) -> Params:
        """The gradient in the parameters, of one in the coordinates."""
        bias = self.intercept * gradient[-1]
        return Params(self._over_unit(gradient[:-1]) + self.mean * bias, bias)

    def _over_unit(self, x: jax.Array) -> jax.Array:
        return jnp.where(self.unit > 0, x / self.unit, 0)

    def rows(self, data: Problem) -> jax.Array:
        """(z, u) of each row, and 0 for a row of no share, whatever it holds."""
        z = (data.features - self.mean) * self.unit
        z = jnp.append(z, jnp.full_like(z[:, :1], self.intercept), 1)
        return jnp.where((data.share > 0)[:, None], z, 0)

    def from_table(self, table: Table, h: jax.Array) -> jax.Array:
        """Σ c z zᵀ of weights c of the rows, of h = Σ c t tᵀ in the table.

        (z, 1) = A t with A = diag(f) + s eᵀ, e = (0, …, 0, 1): t is stretched by f and
        its origin moved to the mean by s. Hence Σ c z zᵀ = A h Aᵀ, which is

            diag(f) h diag(f)  +  k sᵀ  +  s kᵀ  +  s (eᵀ h e) sᵀ,    k = diag(f) h e.
        """
        f = jnp.append(self.unit * table.reach, self.intercept)
        s = jnp.append((table.origin - self.mean) * self.unit * self.intercept, 0)
        k, corner = f * h[:, -1], h[-1, -1]
        stretched = f[:, None] * h * f + jnp.outer(k, s)  # the first two terms
        return stretched + jnp.outer(s, k + corner * s)  # the last two


def scaling(data: Problem, fit_intercept: bool, together: bool) -> Scaling:
    """Coordinates in which every column has mean 0 and deviation 1, by the shares.

    With a table if `vmap` makes fits `together`.
    """
    table = None
    if together:
        table, rough = rough_moments(data, fit_intercept)
        mean, deviation = jax.lax.cond(
            table.good, lambda: rough, lambda: moments(data, fit_intercept)
        )
    else:
        mean, deviation = moments(data, fit_intercept)
    unit = jnp.where(varies(mean, deviation), 1 / deviation, 0)
    return Scaling(mean, unit, jnp.asarray(fit_intercept, unit.dtype), table)


def varies(mean: jax.Array, deviation: jax.Array) -> jax.Array:
    """Whether a column is not constant, but for what rounding makes of it."""
    limits = jnp.finfo(deviation.dtype)
    rounding = FLAT * limits.eps * jnp.abs(mean)
    return (deviation > rounding) & (deviation > limits.tiny)


def moments(data: Problem, fit_intercept: bool) -> tuple[jax.Array, jax.Array]:
    """Mean and deviation of each column over the rows that have a share.

    Without a bias the columns are not centred: the mean counts as 0.
    """

    def averages(function, *given):
        def of_block(given, block):
            counts = (block.share > 0)[:, None]
            features = block.features.astype(block.share.dtype)
            values = function(features, *given)
            values = [jnp.where(counts, value, 0) for value in values]
            return [jnp.sum(block.share[:, None] * value, 0) for value in values]

        return sum_over_blocks(of_block, given, data)

    mean = jnp.zeros(data.features.shape[1], data.share.dtype)
    if fit_intercept:
        (mean,) = averages(lambda x: [x])
    left, gap = averages(lambda x, mean: [x - mean, jnp.abs(x - mean)], mean)
    if fit_intercept:
        mean = mean + left  # what rounding left of the mean
    # Divided by the mean distance, so that the squares do not overflow.
    gap = positive_or_one(gap)
    (square,) = averages(lambda x, m, gap: [jnp.square((x - m) / gap)], mean, gap)
    return mean, gap * jnp.sqrt(square)


def rough_moments(data: Problem, fit_intercept: bool):
    """A table, and the mean and deviation of the columns by sums over it.

    The table is not good where the rows that have a share deviate little from a mean
    that is far from the origin: a sum of squares would then lose their digits.
    """
    features = data.readable().features
    origin = jnp.zeros(features.shape[1], features.dtype)
    if fit_intercept:
        some = np.linspace(0, len(features) - 1, MIDDLE).astype(int)
        origin = jnp.median(chosen_rows(features, some), 0)
    width = jnp.max(jnp.abs(features - origin), 0)
    reach = positive_or_one(width)

    def of_block(given, block):
        origin, reach = given
        t = (block.features - origin) / reach
        return sum_over_rows(block.share, t), sum_over_rows(block.share, t**2)

    first, second = sum_over_blocks(of_block, (origin, reach), data)
    first = first if fit_intercept else jnp.zeros_like(first)
    variance = jnp.maximum(second - first**2, 0)
    near = jnp.abs(first) <= NEAR * jnp.sqrt(variance)
    good = of_all_fits(jnp.all(near & ((variance > 0) | (width == 0))))
    rough = origin + reach * first, reach * jnp.sqrt(variance)
    return Table(origin, reach, good), rough


@jax.custom_batching.custom_vmap
def of_all_fits(condition: jax.Array) -> jax.Array:
    """The condition. Under `vmap` that of all fits together: a `cond` stays one."""
    return condition


@of_all_fits.def_vmap
def _(size, batched, condition):
    return of_all_fits(jnp.all(condition, 0)), False


def positive_or_one(x: jax.Array) -> jax.Array:
    """`x`, and 1 where it is not positive, to divide by."""
    return jnp.where(x > 0, x, 1)
