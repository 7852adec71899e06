"""Newton's method, in the coordinates of `_curvature`.

A step solves H p = −g, and is halved until the objective falls.

H of many rows is the cost. There a sample of the rows is fitted first, which takes next
to no time, and its H turns the coordinates into ones in which the curvature is about 1
in every direction: from there L-BFGS takes a few passes over all rows, for the gradient
alone, and leaves nothing to do for the steps with the whole H.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular

from bcejax.logistic_regression import _curvature
from bcejax.logistic_regression._curvature import Coordinates
from bcejax.logistic_regression._first_order import descend, max_norm
from bcejax.logistic_regression._objective import (
    Params,
    Problem,
    objective,
    on_each_device,
    pick,
)

LONGEST = 20  # step of a coefficient of a column of scale 1
SMALL = 2**28  # products for H that are not worth a sample


class State(NamedTuple):
    point: jax.Array  # in the coordinates
    loss: jax.Array
    gradient: jax.Array  # in the coordinates
    steps: jax.Array


class Result(NamedTuple):
    params: Params
    loss: jax.Array
    gradient: Params
    steps: jax.Array
    decrement: jax.Array  # √(gᵀ H⁻¹ g)
    step: Params  # the next one, −H⁻¹ g


def newton(data: Problem, start: Params, fit_intercept: bool, tol, max_steps) -> Result:
    """Minimise the objective; the H of the result is that of a sample of large data."""
    sample, at = _view(data, fit_intercept)
    point = at.point(start)
    if sample is data:
        state = _begin(data, at, point)
    else:
        state = _approach(data, sample, at, point, tol, max_steps)
    return _result(sample, at, _search(data, at, state, tol, max_steps))


def certificate(data: Problem, found, fit_intercept: bool) -> Result:
    """Where a first-order search ended, as Newton sees it."""
    sample, at = _view(data, fit_intercept)
    point = at.point(found.params)
    _, pull = jax.vjp(at.params, point)
    (gradient,) = pull(found.gradient)
    result = _result(sample, at, State(point, found.loss, gradient, found.steps))
    return result._replace(params=found.params, gradient=found.gradient)


def _result(sample: Problem, at: Coordinates, state: State) -> Result:
    step = _curvature.direction(sample, at, state.point, state.gradient, tol=0.01)
    decrement = jnp.sqrt(jnp.maximum(-step @ state.gradient, 0))
    slope = at.slope(state.gradient)
    params, step = at.params(state.point), at.params(step)
    return Result(params, state.loss, slope, state.steps, decrement, step)


def _begin(data: Problem, at: Coordinates, point: jax.Array) -> State:
    return State(point, *_value_and_grad(data, at)(point), jnp.int32(0))


def _value_and_grad(data: Problem, at: Coordinates):
    return jax.value_and_grad(lambda point: objective(at.params(point), data))


def _norm(at: Coordinates, gradient: jax.Array) -> jax.Array:
    """In the units of the columns, where those of a scale of 1e-6 are always near 0."""
    return max_norm((at.slope(gradient), gradient / 100))


def _search(data: Problem, at: Coordinates, start: State, tol, max_steps) -> State:
    """Steps until the gradient is within `tol`, or none makes a difference any more."""
    value_and_grad = _value_and_grad(data, at)
    rounding = 4 * jnp.finfo(start.point.dtype).eps

    def unfinished(carry):
        # False for NaN too.
        state, stalled = carry
        left = _norm(at, state.gradient)
        return ~stalled & (state.steps < max_steps) & (left > tol)

    def advance(carry):
        state, _ = carry
        step = _curvature.direction(data, at, state.point, state.gradient)
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
            (2 * longest, state.loss, state.gradient, jnp.zeros_like(state.loss, bool)),
        )
        before, after = _norm(at, state.gradient), _norm(at, gradient)
        much = falls & ((loss < state.loss - noise) | (after < before / 2))
        moved = State(state.point + length * step, loss, gradient, state.steps)
        take = much | (falls & (after < before))
        state = jax.tree.map(partial(jnp.where, take), moved, state)
        return state._replace(steps=state.steps + 1), ~much

    start = start, jnp.zeros_like(start.loss, bool)
    return jax.lax.while_loop(unfinished, advance, start)[0]


# Many rows


def _view(data: Problem, fit_intercept: bool) -> tuple[Problem, Coordinates]:
    """The rows H is taken from, all or a sample, and the coordinates."""
    n, d = data.features.shape
    if n * d * d <= SMALL:
        return data, _curvature.coordinates(data, fit_intercept)
    stored = _curvature.stored(d)
    # If that is enough, no more than cost as much for H as all rows for two gradients.
    rows = max(4 * d, min(50 * d, 2 * n // d)) if stored else 2 * d
    if rows >= n:
        return data, _curvature.coordinates(data, fit_intercept)
    sample = _sample(data, rows)
    at = _curvature.coordinates(sample, fit_intercept)
    # A column that is constant in the sample alone has a coefficient all the same.
    at = jax.lax.cond(
        jnp.all(at.unit > 0),
        lambda: at,
        lambda: _curvature.coordinates(data, fit_intercept),
    )
    return sample, at


def _sample(data: Problem, rows: int, seed: int = 0) -> Problem:
    """Rows of one share each, one from each of `rows` parts of the sum of shares."""
    share = on_each_device(data.share, data.features)
    # The barrier keeps XLA from computing a sum of constants itself, for seconds.
    upto = jnp.cumsum(jax.lax.optimization_barrier(share))
    # Somewhere in its part, as rows may repeat themselves in its rhythm.
    places = np.arange(rows) + np.random.default_rng(seed).uniform(size=rows)
    places = jnp.asarray(places / rows, upto.dtype) * upto[-1]
    last = jnp.searchsorted(upto, upto[-1])  # row that counts
    chosen = jnp.minimum(jnp.searchsorted(upto, places, side="right"), last)
    part = data.rows(lambda a: pick(a, chosen))
    return part._replace(share=jnp.full_like(part.share, 1 / rows))


def _approach(data, sample, at, point, tol, max_steps) -> State:
    """L-BFGS on all rows, from the optimum of a sample, in coordinates its H makes."""
    n, d = data.features.shape
    rows = len(sample.features)
    if rows >= 20 * d:  # of fewer the optimum is too far from that of all rows
        fresh = _sample(data, rows, seed=1)
        point = _optimum(sample, fresh, at, point, jnp.minimum(max_steps, 20))
    if _curvature.stored(d) and rows * d <= 20 * n:
        stretch, shrink = _whitening(_curvature.hessian(sample, at, point), rows)
    else:
        root = jnp.sqrt(_curvature.diagonal(sample, at, point))
        stretch, shrink = (lambda v: root * v), (lambda u: u / root)

    found = descend(
        "lbfgs",
        jnp.zeros_like(point),
        lambda u: objective(at.params(point + shrink(u)), data),
        tol,
        jnp.minimum(max_steps, 50),
        lambda gradient: _norm(at, stretch(gradient)),
    )
    point += shrink(found.params)
    return State(point, found.loss, stretch(found.gradient), found.steps)


def _whitening(h: jax.Array, rows: int):
    """v ↦ L v and u ↦ L⁻ᵀ u: H = L Lᵀ of a sample is the identity in u.

    Where the columns are not more correlated than chance makes those of so few rows,
    L is diagonal: their correlation would only lead astray.
    """
    diagonal = jnp.diagonal(h)
    chance = len(h) ** 2 / rows  # squared correlation
    unrelated = jnp.sum(_curvature.correlation(h) ** 2) - len(h) < 2 * chance
    h = jnp.where(unrelated, jnp.diag(diagonal), h)
    # The sample has missed the rows on which a column of next to no curvature has it.
    floor = jnp.max(diagonal) / 100
    lower = _curvature.factor(h + jnp.diag(jnp.maximum(floor - diagonal, 0)))
    return (
        lambda v: lower @ v,
        lambda u: solve_triangular(lower, u, trans=1, lower=True),
    )


def _optimum(sample, fresh, at, point, max_steps):
    """The optimum of the sample, if it is better than `point` on fresh rows."""
    found = _search(sample, at, _begin(sample, at, point), 1e-4, max_steps).point
    losses = [objective(at.params(p), fresh) for p in (found, point)]
    return jnp.where(losses[0] < losses[1], found, point)
