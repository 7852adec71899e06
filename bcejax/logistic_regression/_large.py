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
from bcejax.logistic_regression._factor import correlation, factor
from bcejax.logistic_regression._first_order import descend
from bcejax.logistic_regression._newton import State, from_point, is_stored, minimise
from bcejax.logistic_regression._objective import hessian, hessian_diagonal, objective
from bcejax.logistic_regression._outcome import norm_by_deviations
from bcejax.logistic_regression._problem import Params, Problem
from bcejax.logistic_regression._rows import chosen_rows
from bcejax.logistic_regression._scaling import Scaling, scaling
from bcejax.logistic_regression._together import where_needed

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


class Sample(NamedTuple):
    """The rows that H is taken from, all or some, and the coordinates by them."""

    rows: Problem
    at: Scaling


def sample_for_hessian(
    data: Problem, fit_intercept: bool, together: bool, classes: int = 1
) -> Sample:
    n, d = data.features.shape
    size = sample_size(n, d, classes)
    if size is None:
        return Sample(data, scaling(data, fit_intercept, together))
    rows = drawn(data, size)
    at = scaling(rows, fit_intercept, together)
    # A column that is constant in the sample alone has a coefficient all the same.
    constant = jnp.any(at.unit == 0)
    at = where_needed(constant, lambda: scaling(data, fit_intercept, together), at)
    return Sample(rows, at)


def sample_size(n: int, d: int, classes: int = 1) -> int | None:
    """How many of n rows of d columns a sample has, or None if H is of all rows."""
    if n * d**2 <= SMALL:
        return None
    # size · d² ≤ GRADIENTS · n d classes
    affordable = GRADIENTS * (n * d * classes) // d**2
    size = max(LEAST_ROWS * d, min(MOST_ROWS * d, affordable))
    size = size if is_stored(d) else UNSTORED_ROWS * d
    return size if size < n else None


def drawn(data: Problem, size: int, seed: int = 0) -> Problem:
    """Rows of one share each, one from each of `size` parts of the sum of shares."""
    share = replicated(data.share, data.features)
    # The barrier keeps XLA from computing a sum of constants itself, for seconds.
    upto = jnp.cumsum(jax.lax.optimization_barrier(share))
    # At a random place of its part, as rows may repeat themselves in some rhythm.
    parts = np.arange(size) + np.random.default_rng(seed).uniform(size=size)
    places = jnp.asarray(parts / size, upto.dtype) * upto[-1]
    last = jnp.searchsorted(upto, upto[-1])  # row that has a share
    chosen = jnp.minimum(jnp.searchsorted(upto, places, side="right"), last)
    rows = data.rows(lambda a: chosen_rows(a, chosen))
    return rows._replace(share=jnp.full_like(rows.share, 1 / size))


def warm_start(data: Problem, sample: Sample, start: Params, tol, max_steps) -> State:
    """Where Newton's steps over all rows begin: after a sample, near their end."""
    rows, at = sample
    point = at.point(start)
    size, d = rows.features.shape
    if size >= FITTED_ROWS * d:
        fresh = drawn(data, size, seed=1)
        steps = jnp.minimum(max_steps, SAMPLE_STEPS)
        point = optimum_of_sample(rows, fresh, at, point, steps)
    if is_stored(d) and size * d**2 <= WHITENED * data.features.size:
        to_gradient, to_point = whitening(hessian(rows, at, point), size)
    else:
        root = jnp.sqrt(hessian_diagonal(rows, at, point))
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


def optimum_of_sample(rows, fresh, at: Scaling, point, max_steps) -> jax.Array:
    """The optimum of the rows, if it is better than `point` on fresh ones."""
    limits = SAMPLE_TOLERANCE, max_steps
    search = minimise(rows, at, from_point(point), *limits)
    found = search.state.point
    losses = [objective(at.params(p), fresh) for p in (found, point)]
    return jnp.where(losses[0] < losses[1], found, point)


def whitening(h: jax.Array, size: int):
    """∂f/∂u ↦ L ∂f/∂u = ∂f/∂point and u ↦ L⁻ᵀ u, of H = L Lᵀ.

    L is diagonal if the columns are not more correlated than by chance: the squared
    correlation of two independent columns is 1/size on average.
    """
    diagonal = jnp.diagonal(h)
    by_chance = len(h) ** 2 / size
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
