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

from bcejax._numerics.sigmoid import sigmoid_slope as _sigmoid_slope
from bcejax.logistic_regression._objective import (
    Params,
    Problem,
    linear,
    over_blocks,
    over_rows,
    pick,
)

MOST_COLUMNS = 1999  # for which H is stored


class Coordinates(NamedTuple):
    mean: jax.Array  # (d,), 0 without an intercept
    unit: jax.Array  # (d,), 1/scale, and 0 for a constant column: its coefficient is 0
    intercept: jax.Array  # (), 1 or 0
    origin: jax.Array  # (d,), a middle of the columns that no weight moves, and
    reach: jax.Array  # (d,), the largest distance from it: see `table`
    near: jax.Array  # (), whether that middle is near the mean

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

    def rows(self, data: Problem) -> jax.Array:
        """(z, 1) of some rows, 0 of those of no weight, whatever they hold."""
        z = (data.features - self.mean) * self.unit
        z = jnp.append(z, jnp.full_like(z[:, :1], self.intercept), 1)
        return jnp.where((data.share > 0)[:, None], z, 0)

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
    origin, reach, shared, near = _shared_moments(data, fit_intercept)
    mean, scale = jax.lax.cond(
        near, lambda: shared, lambda: _exact_moments(data, fit_intercept)
    )
    limits = jnp.finfo(scale.dtype)
    varies = (scale > 4 * limits.eps * jnp.abs(mean)) & (scale > limits.tiny)
    unit = jnp.where(varies, 1 / scale, 0)
    intercept = jnp.asarray(fit_intercept, scale.dtype)
    return Coordinates(mean, unit, intercept, origin, reach, near)


def _shared_moments(data: Problem, fit_intercept: bool):
    """Origin and reach of the table, mean and scale by it, and whether these are good.

    The table is the same for all fits of a `vmap` over weights.
    """
    features = data.features
    origin = jnp.zeros(features.shape[1], features.dtype)
    if fit_intercept:
        some = np.linspace(0, len(features) - 1, 15).astype(int)
        origin = jnp.median(pick(features, some), 0)
    width = jnp.max(jnp.abs(features - origin), 0)
    reach = jnp.where(width > 0, width, 1)

    def of_block(block):
        t = (block.features - origin) / reach
        return over_rows(block.share, t), over_rows(block.share, t**2)

    first, second = over_blocks(of_block, data)
    first = first if fit_intercept else jnp.zeros_like(first)
    variance = jnp.maximum(second - first**2, 0)
    # Else the digits are lost of a group of rows that is far from all the others.
    near = (jnp.abs(first) <= 30 * jnp.sqrt(variance)) & ((variance > 0) | (width == 0))
    mean, scale = origin + reach * first, reach * jnp.sqrt(variance)
    return origin, reach, (mean, scale), _of_all(jnp.all(near))


def _exact_moments(data: Problem, fit_intercept: bool):
    """Mean and scale of the rows that count."""

    def average(function):
        def of_block(block):
            values = function(block.features)
            values = jnp.where((block.share > 0)[:, None], values, 0)
            return over_rows(block.share, values)

        return over_blocks(of_block, data)

    mean = jnp.zeros(data.features.shape[1], data.features.dtype)
    for _ in range(2 * fit_intercept):  # the second is what rounding left
        mean = mean + average(lambda x, mean=mean: x - mean)
    gap = average(lambda x: jnp.abs(x - mean))  # divided by, lest squares overflow
    gap = jnp.where(gap > 0, gap, 1)
    return mean, gap * jnp.sqrt(average(lambda x: ((x - mean) / gap) ** 2))


@jax.custom_batching.custom_vmap
def _of_all(condition: jax.Array) -> jax.Array:
    """The condition, and under `vmap` that of all together: a `cond` then is one."""
    return condition


@_of_all.def_vmap
def _(size, batched, condition):
    return _of_all(jnp.all(condition, 0)), False


def direction(
    data: Problem, at: Coordinates, point: jax.Array, gradient: jax.Array, tol=0.1
) -> jax.Array:
    """The step −H⁻¹ gradient, to a residual of `tol` where H is not stored."""
    if stored(len(at.unit)):
        return -cho_solve((factor(hessian(data, at, point)), True), gradient)
    scale = diagonal(data, at, point)
    product = _product(data, at, point)
    ridge = len(point) * jnp.finfo(point.dtype).eps * scale
    return -cg(
        lambda v: product(v) + ridge * v,
        gradient,
        M=lambda v: v / scale,
        tol=tol,
        maxiter=200,
    )[0]


def stored(columns: int) -> bool:
    """Whether H is."""
    return columns <= MOST_COLUMNS


def hessian(data: Problem, at: Coordinates, point: jax.Array) -> jax.Array:
    params = at.params(point)

    def made_of(rows):
        def of_block(block):
            z = rows(block)
            return over_rows(_row_curvature(block, params)[:, None] * z, z)

        return over_blocks(of_block, data)

    h = jax.lax.cond(
        at.near,
        lambda: at.from_table(made_of(lambda block: at.table(block.features))),
        lambda: made_of(at.rows),
    )
    return h + jnp.diag(_penalty(data, at))


def diagonal(data: Problem, at: Coordinates, point: jax.Array) -> jax.Array:
    """Of H, as it were if the curvature of a row had nothing to do with its columns."""
    mean = jnp.sum(_row_curvature(data, at.params(point)))
    return _filled(mean + _penalty(data, at))  # as z² has a mean of 1


def factor(h: jax.Array) -> jax.Array:
    """Cholesky's lower factor of H."""
    root = jnp.sqrt(_filled(jnp.diagonal(h)))
    # Scaled to a diagonal of ones, to which the rounding of H is added, and more until
    # it has a factor: columns that are collinear, or more than the rows, then share
    # their coefficient.
    scaled, eye = correlation(h), jnp.eye(len(h), dtype=h.dtype)
    ridge = len(h) * jnp.finfo(h.dtype).eps

    def add(state):
        ridge, _ = state
        return 30 * ridge, jnp.linalg.cholesky(scaled + 30 * ridge * eye)

    _, lower = jax.lax.while_loop(
        lambda state: ~jnp.all(jnp.isfinite(state[1])) & (state[0] < 1),
        add,
        (jnp.asarray(ridge / 30, h.dtype), jnp.full_like(h, jnp.nan)),
    )
    return root[:, None] * lower


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
    # Of a column of 1e-20 the penalty is beyond the dtype, and its coefficient 0.
    penalty = (jnp.sqrt(data.l2) * at.unit) ** 2
    return jnp.append(jnp.minimum(penalty, jnp.finfo(penalty.dtype).max / 1e8), 0)
