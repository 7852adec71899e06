"""Newton's method for many rows, where the Hessian of all of them is the cost.

H of r rows takes r d² multiplications, a gradient of all n rows n d. So a sample of the
rows is fitted first, which takes next to no time. The factor L of its H turns the
coordinates into ones in which the curvature is about 1 in every direction:

    u = Lᵀ (point − start)    with    H = L Lᵀ,    ∂f/∂u = L⁻¹ ∂f/∂point.

From there L-BFGS takes a few passes over all rows, for the gradient alone, and leaves
little to do for Newton's steps, whose H then is that of all rows.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular

from bcejax._sharding import replicated
from bcejax.logistic_regression._first_order import descend
from bcejax.logistic_regression._newton import (
    State,
    begin,
    correlation,
    factor,
    is_stored,
    minimise,
)
from bcejax.logistic_regression._objective import hessian, hessian_diagonal, objective
from bcejax.logistic_regression._outcome import norm_by_deviations
from bcejax.logistic_regression._problem import Params, Problem
from bcejax.logistic_regression._rows import chosen_rows
from bcejax.logistic_regression._scaling import Scaling, scaling

SMALL = 2**28  # multiplications for an H that is not worth a sample
# Rows of a sample.
LEAST_ROWS = 4  # for each column: of fewer, H says nothing
MOST_ROWS = 50  # for each column: of more, H says no more
GRADIENTS = 2  # of all rows, which H of the sample may cost at most
UNSTORED_ROWS = 2  # for each column, where H is not stored
# The way from the sample to all rows.
FITTED_ROWS = 20  # for each column: of fewer, the optimum is too far from that of all
SAMPLE_TOLERANCE = 1e-4
SAMPLE_STEPS = 20
LBFGS_STEPS = 50
WHITENED = 20  # products for H of the sample, for each one of a gradient of all rows
CHANCE = 2  # times the squared correlation that so few rows show by chance
FLOOR = 0.01  # of the largest diagonal element of H


class View(NamedTuple):
    """The rows that H is taken from, all or a sample, and the coordinates."""

    rows: Problem
    at: Scaling


def view(data: Problem, fit_intercept: bool) -> View:
    rows = rows_for_hessian(*data.features.shape)
    if rows is None:
        return View(data, scaling(data, fit_intercept))
    sample = sampled(data, rows)
    at = scaling(sample, fit_intercept)
    # A column that is constant in the sample alone has a coefficient all the same.
    at = jax.lax.cond(
        jnp.all(at.unit > 0), lambda: at, lambda: scaling(data, fit_intercept)
    )
    return View(sample, at)


def rows_for_hessian(n: int, d: int) -> int | None:
    """How many rows a sample has, or None if H is taken from all rows."""
    if n * d**2 <= SMALL:
        return None
    affordable = GRADIENTS * (n * d) // d**2  # rows · d² ≤ GRADIENTS · n d
    rows = max(LEAST_ROWS * d, min(MOST_ROWS * d, affordable))
    rows = rows if is_stored(d) else UNSTORED_ROWS * d
    return rows if rows < n else None


def sampled(data: Problem, rows: int, seed: int = 0) -> Problem:
    """Rows of one share each, one from each of `rows` parts of the sum of shares."""
    share = replicated(data.share, data.features)
    # The barrier keeps XLA from computing a sum of constants itself, for seconds.
    upto = jnp.cumsum(jax.lax.optimization_barrier(share))
    # At a random place of its part, as rows may repeat themselves in some rhythm.
    places = np.arange(rows) + np.random.default_rng(seed).uniform(size=rows)
    places = jnp.asarray(places / rows, upto.dtype) * upto[-1]
    last = jnp.searchsorted(upto, upto[-1])  # row that has a share
    chosen = jnp.minimum(jnp.searchsorted(upto, places, side="right"), last)
    part = data.rows(lambda a: chosen_rows(a, chosen))
    return part._replace(share=jnp.full_like(part.share, 1 / rows))


def start(data: Problem, seen: View, params: Params, tol, max_steps) -> State:
    """Where Newton's steps over all rows begin: for a sample, near their end."""
    sample, at = seen
    point = at.point(params)
    if sample is data:
        return begin(data, at, point)
    rows, d = sample.features.shape
    if rows >= FITTED_ROWS * d:
        fresh = sampled(data, rows, seed=1)
        steps = jnp.minimum(max_steps, SAMPLE_STEPS)
        point = optimum_of_sample(sample, fresh, at, point, steps)
    if is_stored(d) and rows * d**2 <= WHITENED * data.features.size:
        to_gradient, to_point = whitening(hessian(sample, at, point), rows)
    else:
        root = jnp.sqrt(hessian_diagonal(sample, at, point))
        to_gradient, to_point = (lambda g: root * g), (lambda u: u / root)

    found = descend(
        "lbfgs",
        jnp.zeros_like(point),
        lambda u: objective(at.params(point + to_point(u)), data),
        tol,
        jnp.minimum(max_steps, LBFGS_STEPS),
        lambda gradient: norm_by_deviations(at, to_gradient(gradient)),
    )
    point += to_point(found.params)
    return State(point, found.loss, to_gradient(found.gradient), found.steps)


def optimum_of_sample(sample, fresh, at: Scaling, point, max_steps) -> jax.Array:
    """The optimum of the sample, if it is better than `point` on fresh rows."""
    first = begin(sample, at, point)
    found = minimise(sample, at, first, SAMPLE_TOLERANCE, max_steps).point
    losses = [objective(at.params(p), fresh) for p in (found, point)]
    return jnp.where(losses[0] < losses[1], found, point)


def whitening(h: jax.Array, rows: int):
    """∂f/∂u ↦ L ∂f/∂u = ∂f/∂point and u ↦ L⁻ᵀ u, of H = L Lᵀ of a sample.

    L is diagonal if the columns are not more correlated than by chance: the squared
    correlation of two independent columns is 1/rows on average.
    """
    diagonal = jnp.diagonal(h)
    by_chance = len(h) ** 2 / rows
    correlated = jnp.sum(correlation(h) ** 2) - len(h)
    h = jnp.where(correlated < CHANCE * by_chance, jnp.diag(diagonal), h)
    # A column that is nearly constant in the sample gets a floor: the rows in which it
    # is not were not drawn.
    floor = FLOOR * jnp.max(diagonal)
    lower = factor(h + jnp.diag(jnp.maximum(floor - diagonal, 0)))
    return (
        lambda v: lower @ v,
        lambda u: solve_triangular(lower, u, trans=1, lower=True),
    )
