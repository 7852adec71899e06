"""The Hessian H of the objective, in coordinates in which all columns are alike.

Columns are centred and scaled in the coordinates, never in memory:

    x·β + b = z·γ + c    with z = (x − mean)/scale,    β = γ/scale,    b = c − mean·β.

H = Σ share h z zᵀ there, h = σ(x)σ(−x) of each row's logit. Up to `MOST_COLUMNS` it is
stored and factored; beyond, it only multiplies vectors.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_solve
from jax.scipy.sparse.linalg import cg

from bcejax._sigmoid import _sigmoid_slope
from bcejax.logistic_regression._objective import (
    Params,
    Problem,
    linear,
    over_blocks,
    over_rows,
    pick,
)

MOST_COLUMNS = 2000  # for which H is stored


class Coordinates(NamedTuple):
    mean: jax.Array  # (d,), 0 without an intercept
    unit: jax.Array  # (d,), 1/scale, and 0 for a constant column: its coefficient is 0
    intercept: jax.Array  # (), 1 or 0
    origin: jax.Array  # (d,), a middle of the columns that no weight moves, and
    reach: jax.Array  # (d,), the largest distance from it: see `table`

    def params(self, point: jax.Array) -> Params:
        weights = point[:-1] * self.unit
        return weights, self.intercept * (point[-1] - self.mean @ weights)

    def point(self, params: Params) -> jax.Array:
        weights, bias = params
        center = self.intercept * (bias + self.mean @ weights)
        return jnp.append(self._scaled(weights), center)

    def slope(self, gradient: jax.Array) -> Params:
        """The gradient in the parameters, of one in the coordinates."""
        bias = self.intercept * gradient[-1]
        return self._scaled(gradient[:-1]) + self.mean * bias, bias

    def _scaled(self, x: jax.Array) -> jax.Array:
        return jnp.where(self.unit > 0, x / self.unit, 0)

    def table(self, features: jax.Array) -> jax.Array:
        """t = ((x − origin)/reach, 1) of some rows: bootstraps by `vmap` share it."""
        t = (features - self.origin) / self.reach
        return jnp.append(t, jnp.ones_like(t[:, :1]), 1)

    def from_table(self, h: jax.Array) -> jax.Array:
        """H of the coordinates, A H Aᵀ with (z, 1) = A t, from that of the table."""
        # A is diagonal but for its last column, which moves the origin to the mean.
        factor = jnp.append(self.unit * self.reach, self.intercept)
        shift = jnp.append((self.origin - self.mean) * self.unit * self.intercept, 0)
        last, corner = factor * h[:, -1], h[-1, -1]
        h = factor[:, None] * h * factor + jnp.outer(last, shift)
        return h + jnp.outer(shift, last + corner * shift)


def coordinates(data: Problem, fit_intercept: bool) -> Coordinates:
    features = data.features
    eps = jnp.finfo(features.dtype).eps
    origin = jnp.zeros(features.shape[1], features.dtype)
    if fit_intercept:
        # A median, which is not moved by rows of no weight, whatever they hold.
        some = np.linspace(0, len(features) - 1, 15).astype(int)
        origin = jnp.median(pick(features, some), 0)
    reach = jnp.max(jnp.abs(features - origin), 0)
    reach = jnp.where(reach > 0, reach, 1)

    def moments(block):
        t = (block.features - origin) / reach
        return over_rows(block.share, t), over_rows(block.share, t**2)

    first, second = over_blocks(moments, data)
    first = first if fit_intercept else jnp.zeros_like(first)
    variance = second - first**2
    mean, scale = origin + reach * first, reach * jnp.sqrt(variance)
    varies = (variance > 64 * eps * first**2) & (scale > 32 * eps * jnp.abs(mean))
    unit = jnp.where(varies, 1 / scale, 0)
    intercept = jnp.asarray(fit_intercept, features.dtype)
    return Coordinates(mean, unit, intercept, origin, reach)


def direction(
    data: Problem, at: Coordinates, point: jax.Array, gradient: jax.Array
) -> jax.Array:
    """The step −H⁻¹ gradient."""
    if len(point) <= MOST_COLUMNS:
        return -cho_solve((factor(hessian(data, at, point)), True), gradient)
    scale = diagonal(data, at, point)
    product = _product(data, at, point)
    return -cg(product, gradient, M=lambda v: v / scale, tol=0.1, maxiter=50)[0]


def hessian(data: Problem, at: Coordinates, point: jax.Array) -> jax.Array:
    params = at.params(point)

    def of_block(block):
        t = at.table(block.features)
        return over_rows(_row_curvature(block, params)[:, None] * t, t)

    return at.from_table(over_blocks(of_block, data)) + jnp.diag(_penalty(data, at))


def diagonal(data: Problem, at: Coordinates, point: jax.Array) -> jax.Array:
    """Of H, as it were if the curvature of a row had nothing to do with its columns."""
    mean = jnp.sum(_row_curvature(data, at.params(point)))
    return _filled(mean + _penalty(data, at))  # as z² has a mean of 1


def factor(h: jax.Array) -> jax.Array:
    """Cholesky's lower factor of H."""
    root = jnp.sqrt(_filled(jnp.diagonal(h)))
    # Scaled to a diagonal of ones, to which the rounding of H is added: columns that
    # are collinear, or more than the rows, then share their coefficient.
    ridge = len(h) * jnp.finfo(h.dtype).eps * jnp.eye(len(h), dtype=h.dtype)
    return root[:, None] * jnp.linalg.cholesky(correlation(h) + ridge)


def correlation(h: jax.Array) -> jax.Array:
    """H scaled to a diagonal of ones, or 0 where it is."""
    root = jnp.sqrt(_filled(jnp.diagonal(h)))
    return h / root / root[:, None]


def _filled(diagonal: jax.Array) -> jax.Array:
    return jnp.where(diagonal > 0, diagonal, 1)


def _product(data: Problem, at: Coordinates, point: jax.Array):
    """v ↦ H v, in one pass over the rows."""
    data = data._replace(share=_row_curvature(data, at.params(point)))
    penalty = _penalty(data, at)

    def product(v):
        params, pull = jax.vjp(at.params, v)

        def of_block(block):
            push = block.share * linear(params, block.features)
            return over_rows(push, block.features), jnp.sum(push)

        (turned,) = pull(over_blocks(of_block, data))
        return turned + penalty * v

    return product


def _row_curvature(data: Problem, params: Params) -> jax.Array:
    logits = linear(params, data.features) + data.offset
    return data.share * _sigmoid_slope(logits)


def _penalty(data: Problem, at: Coordinates) -> jax.Array:
    return jnp.append(data.l2 * at.unit**2, 0)
