"""Newton's method, in coordinates in which all columns are alike.

Columns are centred and scaled in the coordinates, never in memory:

    x·β + b = z·γ + c    with z = (x − mean)/scale,    β = γ/scale,    b = c − mean·β.

A step solves H p = −g, H = Σ share h z zᵀ, by Cholesky, or where H would be too large
to store by conjugate gradients, and is halved until the objective falls.

H of many rows is the cost. There a sample of the rows is fitted first, which takes next
to no time, and its H turns the coordinates into ones in which the curvature is about 1
in every direction: from there L-BFGS takes a few passes over all rows, for the gradient
alone, and leaves nothing to do for the steps with the whole H.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve, solve_triangular
from jax.scipy.sparse.linalg import cg

from bcejax._sigmoid import _sigmoid_slope
from bcejax.logistic_regression._first_order import WHITENED, descend, max_norm
from bcejax.logistic_regression._objective import (
    Params,
    Problem,
    linear,
    objective,
    over_blocks,
    over_rows,
)

MOST_COLUMNS = 2000  # for which H is stored
LONGEST = 20  # step of a coefficient of a column of scale 1
SMALL = 2**28  # products for H that are not worth a sample


class Coordinates(NamedTuple):
    mean: jax.Array  # (d,), 0 without an intercept
    unit: jax.Array  # (d,), 1/scale, and 0 for a constant column: its coefficient is 0
    intercept: jax.Array  # (), 1 or 0

    def params(self, point: jax.Array) -> Params:
        weights = point[:-1] * self.unit
        return weights, self.intercept * (point[-1] - self.mean @ weights)

    def point(self, params: Params) -> jax.Array:
        weights, bias = params
        center = self.intercept * (bias + self.mean @ weights)
        return jnp.append(self._scaled(weights), center)

    def slope(self, gradient: jax.Array) -> Params:
        """The gradient in the parameters."""
        bias = self.intercept * gradient[-1]
        return self._scaled(gradient[:-1]) + self.mean * bias, bias

    def rows(self, features: jax.Array) -> jax.Array:
        z = (features - self.mean) * self.unit
        return jnp.append(z, jnp.full_like(z[:, :1], self.intercept), 1)

    def _scaled(self, x: jax.Array) -> jax.Array:
        return jnp.where(self.unit > 0, x / self.unit, 0)


class State(NamedTuple):
    point: jax.Array
    loss: jax.Array
    gradient: jax.Array  # in the coordinates
    steps: jax.Array
    stalled: jax.Array  # no step changes the loss by more than its rounding


class Result(NamedTuple):
    params: Params
    loss: jax.Array
    gradient: Params
    steps: jax.Array
    decrement: jax.Array  # √(gᵀ H⁻¹ g)
    step: Params  # the next one, −H⁻¹ g


def newton(data: Problem, start: Params, fit_intercept: bool, tol, max_steps) -> Result:
    """Minimise the objective; the H of the result is that of a sample of large data."""
    n, d = data.features.shape
    rows = _sample_size(n, d)
    sample = _sample(data, rows)
    coordinates = _coordinates(sample, fit_intercept)
    point = coordinates.point(start)
    steps = jnp.int32(0)
    if n * d * d > SMALL:
        point, steps = _approach(data, sample, coordinates, point, tol, max_steps)
    state = _search(data, coordinates, point, tol, max_steps, steps)
    return _result(sample, coordinates, state)


def certificate(data: Problem, found, fit_intercept: bool) -> Result:
    """Where a first-order search ended, as Newton sees it."""
    sample = _sample(data, _sample_size(*data.features.shape))
    coordinates = _coordinates(sample, fit_intercept)
    point = coordinates.point(found.params)
    _, pull = jax.vjp(coordinates.params, point)
    (gradient,) = pull(found.gradient)
    state = State(point, found.loss, gradient, found.steps, None)
    result = _result(sample, coordinates, state)
    return result._replace(params=found.params, gradient=found.gradient)


def _result(sample: Problem, coordinates: Coordinates, state: State) -> Result:
    step = _direction(sample, coordinates, state)
    decrement = jnp.sqrt(jnp.maximum(-step @ state.gradient, 0))
    params = coordinates.params(state.point)
    slope = coordinates.slope(state.gradient)
    step = coordinates.params(step)
    return Result(params, state.loss, slope, state.steps, decrement, step)


def _sample_size(n: int, d: int) -> int:
    # If that is enough, no more than cost as much for H as all rows for two gradients.
    if n * d * d <= SMALL and d <= MOST_COLUMNS:
        return n
    return min(n, max(4 * d, min(50 * d, 2 * n // d)))


def _sample(data: Problem, rows: int) -> Problem:
    every = len(data.features) // rows
    if every == 1:
        return data
    part = jax.tree.map(lambda a: a[::every] if a.ndim else a, data)
    return part._replace(share=part.share / part.share.sum())


def _coordinates(data: Problem, fit_intercept: bool) -> Coordinates:
    def moment(power):
        return over_blocks(
            lambda b: over_rows(b.share, (b.features - center) ** power), data
        )

    center = jnp.zeros(data.features.shape[1], data.features.dtype)
    if fit_intercept:
        center = moment(1)
    scale = jnp.sqrt(moment(2))
    rounding = 32 * jnp.finfo(scale.dtype).eps * jnp.abs(center)
    unit = jnp.where(scale > rounding, 1 / scale, 0)
    return Coordinates(center, unit, jnp.asarray(fit_intercept, scale.dtype))


def _value_and_grad(data: Problem, coordinates: Coordinates):
    return jax.value_and_grad(lambda point: objective(coordinates.params(point), data))


def _search(data, coordinates, point, tol, max_steps, steps) -> State:
    value_and_grad = _value_and_grad(data, coordinates)
    rounding = 4 * jnp.finfo(point.dtype).eps

    def norm(state):
        return max_norm(coordinates.slope(state.gradient))

    def unfinished(state):
        # False for NaN too.
        return ~state.stalled & (state.steps < max_steps) & (norm(state) > tol)

    def advance(state):
        step = _direction(data, coordinates, state)
        noise = rounding * jnp.abs(state.loss)

        def halve(trial):
            length = trial[0] / 2
            loss, gradient = value_and_grad(state.point + length * step)
            enough = state.loss + noise + 1e-4 * length * (step @ state.gradient)
            return length, loss, gradient, loss <= enough

        # Where all rows are far on the wrong side H is next to 0, the step too long.
        longest = jnp.minimum(1, LONGEST / jnp.max(jnp.abs(step)))
        length, loss, gradient, falls = jax.lax.while_loop(
            lambda trial: ~trial[3] & (trial[0] > 2.0**-20 * longest),
            halve,
            (2 * longest, state.loss, state.gradient, jnp.zeros_like(state.stalled)),
        )
        moved = State(
            state.point + length * step, loss, gradient, state.steps + 1, False
        )
        better = (loss < state.loss - noise) | (norm(moved) < norm(state) / 2)
        moved = moved._replace(stalled=~better)
        kept = state._replace(steps=state.steps + 1, stalled=jnp.array(True))
        take = falls & (better | (norm(moved) < norm(state)))
        return jax.tree.map(partial(jnp.where, take), moved, kept)

    loss, gradient = value_and_grad(point)
    start = State(point, loss, gradient, steps, jnp.zeros_like(loss, bool))
    return jax.lax.while_loop(unfinished, advance, start)


# H


def _row_curvature(data: Problem, params: Params) -> jax.Array:
    logits = linear(params, data.features) + data.offset
    return data.share * _sigmoid_slope(logits)


def _penalty(data: Problem, coordinates: Coordinates) -> jax.Array:
    return jnp.append(data.l2 * coordinates.unit**2, 0)


def _diagonal(data: Problem, coordinates: Coordinates, point: jax.Array) -> jax.Array:
    params = coordinates.params(point)

    def of_block(block):
        z = coordinates.rows(block.features)
        return over_rows(_row_curvature(block, params), z**2)

    diagonal = over_blocks(of_block, data) + _penalty(data, coordinates)
    return jnp.where(diagonal > 0, diagonal, 1)


def _factor(data, coordinates, point, shrink=False) -> jax.Array:
    """Cholesky's factor of H, shrunk to its diagonal as far as it may be chance."""
    params = coordinates.params(point)

    def of_block(block):
        z = coordinates.rows(block.features)
        return over_rows(_row_curvature(block, params)[:, None] * z, z)

    h = over_blocks(of_block, data) + jnp.diag(_penalty(data, coordinates))
    root = jnp.sqrt(jnp.diagonal(h))
    root = jnp.where(root > 0, root, 1)
    # Scaled to a diagonal of ones, to which the rounding of H is added: columns that
    # are collinear, or more than the rows, then share their coefficient.
    h, eye = h / root / root[:, None], jnp.eye(len(h), dtype=h.dtype)
    h += len(h) * jnp.finfo(h.dtype).eps * eye
    if shrink:
        # n rows without any correlation have d²/n of it, in squares.
        chance = len(h) ** 2 / len(data.features)
        chance = jnp.minimum(1, chance / jnp.sum((h - eye) ** 2))
        h += chance * (eye - h)
    lower = jnp.linalg.cholesky(h)
    return root[:, None] * lower


def _direction(data: Problem, coordinates: Coordinates, state: State) -> jax.Array:
    if len(state.point) <= MOST_COLUMNS:
        factor = _factor(data, coordinates, state.point)
        return -cho_solve((factor, True), state.gradient)
    weight = _row_curvature(data, coordinates.params(state.point))
    diagonal = _diagonal(data, coordinates, state.point)
    penalty = _penalty(data, coordinates)

    def product(v):
        """H v."""
        params, pull = jax.vjp(coordinates.params, v)

        def of_block(block):
            push = block.share * linear(params, block.features)
            return over_rows(push, block.features), jnp.sum(push)

        (turned,) = pull(over_blocks(of_block, data._replace(share=weight)))
        return turned + penalty * v

    step, _ = cg(
        product, -state.gradient, M=lambda v: v / diagonal, tol=0.1, maxiter=50
    )
    return step


# Many rows


def _approach(data, sample, coordinates, point, tol, max_steps):
    """L-BFGS on all rows, from the optimum of a sample, in coordinates its H makes."""
    n, d = data.features.shape
    rows = len(sample.features)
    if rows >= 20 * d:  # of fewer the optimum is too far from that of all rows
        fitted = _search(sample, coordinates, point, 1e-4, 20, jnp.int32(0)).point
        point = _better(data, coordinates, fitted, point)
    if d <= MOST_COLUMNS and rows * d <= 20 * n:
        factor = _factor(sample, coordinates, point, shrink=True)
        factor = jnp.where(jnp.all(jnp.isfinite(factor)), factor, jnp.eye(d + 1))
    else:
        factor = jnp.sqrt(_diagonal(sample, coordinates, point))

    whole = factor.ndim == 2

    def unwhiten(u):
        return solve_triangular(factor, u, trans=1, lower=True) if whole else u / factor

    def norm(gradient):
        gradient = factor @ gradient if whole else factor * gradient
        return max_norm(coordinates.slope(gradient))

    def loss_of(u):
        return objective(coordinates.params(point + unwhiten(u)), data)

    state = descend(
        WHITENED,
        jnp.zeros_like(point),
        loss_of,
        tol,
        jnp.minimum(max_steps, 50),
        norm,
    )
    return point + unwhiten(state.params), state.steps


def _better(data, coordinates, first, second):
    losses = [objective(coordinates.params(p), data) for p in (first, second)]
    return jnp.where(losses[0] < losses[1], first, second)
