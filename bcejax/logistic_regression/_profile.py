"""Tests and intervals by profiles of the likelihood, of a fit with or without penalty.

Let F be what the fit minimises, in nats a row, W the sum of the weights, and φ(t) the
least F of all points at which one coefficient is t. Then

    r(t) = √(2 W (φ(t) − φ(β̂)))

is normal in its size where t is the truth (Wilks 1938): r(0) tests whether the
coefficient is 0, and the ends of the interval are where r is a quantile of the normal
distribution. Unlike Wald's interval it needs no symmetry about β̂.

A coefficient is a·point, with a a row of the matrix of the coordinates. Steps along
which it stays what it is are

    p  =  q − r (a·q)/(a·r)    with    H q = −g,  H r = a,                          (1)

and at the least F where it is t the gradient in the coefficients is that of t alone,
φ'(t). So Newton's method finds the ends. As a function of the distance from β̂ in
standard errors, r is nearly that distance, and

    r'  =  W φ'(t)/r · standard error.                                              (2)

The method is kept between distances that are known to be too near and too far.

Reference:
  D. J. Venzon and S. H. Moolgavkar, A method for computing profile-likelihood-based
  confidence intervals, Applied Statistics 37 (1988), 87-94. G. Heinze and M. Schemper,
  A solution to the problem of separation in logistic regression, Statistics in Medicine
  21 (2002), 2409-2419.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bcejax.logistic_regression._compiled import STILL_FAST, compiled
from bcejax.logistic_regression._factor import least_ridge
from bcejax.logistic_regression._firth import coordinates, objective_with_firth
from bcejax.logistic_regression._given import Given
from bcejax.logistic_regression._newton import (
    Minimised,
    State,
    from_point,
    minimise_by,
    objective_of,
)
from bcejax.logistic_regression._outcome import Fit
from bcejax.logistic_regression._problem import Params, checked_problem, total_weight
from bcejax.logistic_regression._scaling import scaling

MOST_STEPS = 100  # of a search with one coefficient held
MOST_TRIED = 40  # distances, for an end of an interval
WIDER = 4.0  # times a distance, the most that the next one may be
FARTHEST = 1e6  # standard errors, beyond which an interval has no end


class Profile(NamedTuple):
    """Of each coefficient, the bias last."""

    root: jax.Array  # r(0), not negative
    low: jax.Array  # the ends of the interval
    high: jax.Array


class Best(NamedTuple):
    """The optimum, and how it moves with each of its coefficients."""

    point: jax.Array
    loss: jax.Array
    rows: jax.Array  # a of each coefficient
    ways: jax.Array  # d point / d coefficient
    errors: jax.Array  # standard errors, by the curvature of F


class Task(NamedTuple):
    """To find where r is `quantile`, or r at the first distance if that is NaN."""

    coefficient: jax.Array
    side: jax.Array  # of the optimum: −1 or 1
    first: jax.Array  # distance
    quantile: jax.Array


class End(NamedTuple):
    """A search for the distance from the optimum, in standard errors."""

    distance: jax.Array  # to be tried
    point: jax.Array  # of the least F at the last one
    root: jax.Array  # r there
    near: jax.Array  # the largest distance that was too near
    far: jax.Array  # and the smallest that was too far
    tried: jax.Array
    goes_on: jax.Array


@compiled(STILL_FAST, static_argnames="fit_intercept")
def compiled_profile(model: Fit, given: Given, quantile, fit_intercept) -> Profile:
    """The profiles of a fit, with intervals at whose ends r is `quantile`."""
    data = checked_problem(*given).readable()
    total = total_weight(given.sample_weight, data)
    if model.options.firth:
        at = coordinates(data, fit_intercept)
        function = objective_with_firth(data, at, total)
    else:
        at = scaling(data, fit_intercept, together=False)
        function = objective_of(data, at)
    params = Params(*(jnp.asarray(a, data.share.dtype) for a in model[:2]))
    best = optimum(function, at.point(params), total)
    count = model.weights.size + fit_intercept
    search = partial(searched, function, best, total)
    null, *sides = tasks(best, jnp.asarray(quantile, total.dtype), count)
    every = jax.tree.map(lambda *parts: jnp.concatenate(parts), null, *sides)
    ends = jax.lax.map(search, every)
    distance = jnp.where(ends.distance < FARTHEST, ends.distance, jnp.inf)
    moved = every.side * best.errors[every.coefficient] * distance
    value = jnp.tile((best.rows @ best.point)[:count], 3)
    _, low, high = jnp.split(value + moved, 3)
    return Profile(ends.root[:count], low, high)


def optimum(function: Minimised, start, total) -> Best:
    """The optimum, to the rounding of F."""
    state = minimise_by(function, from_point(start), 0, MOST_STEPS).state
    rows, ridge = function.at.matrix(), least_ridge(start)

    def solve(row):
        return -function.step(state._replace(gradient=row), ridge)[0]  # H⁻¹ a

    solved = jax.vmap(solve)(rows)
    variance = jnp.sum(rows * solved, 1)
    ways = solved / variance[:, None]
    return Best(state.point, state.loss, rows, ways, jnp.sqrt(variance / total))


def tasks(best: Best, quantile, count: int) -> tuple[Task, Task, Task]:
    """For all coefficients: r where they are 0, the low ends, and the high ends."""
    which, ones = jnp.arange(count), jnp.ones(count, quantile.dtype)
    value = (best.rows @ best.point)[:count]
    distance = jnp.abs(value) / best.errors[:count]
    null = Task(which, -jnp.sign(value), distance, jnp.nan * ones)
    low, high = (
        Task(which, side * ones, quantile * ones, quantile * ones) for side in (-1, 1)
    )
    return null, low, high


def searched(function: Minimised, best: Best, total, task: Task) -> End:
    j, side, first, quantile = task
    row, way, error = best.rows[j], best.ways[j], best.errors[j]
    at, value, holding = function.at, row @ best.point, held(function, row, j)
    test, close = jnp.isnan(quantile), jnp.sqrt(jnp.finfo(quantile.dtype).eps)

    def advance(end: End) -> End:
        distance = end.distance
        moved = value + side * error * distance - row @ end.point
        start = from_point(end.point + moved * way)
        state = minimise_by(holding, start, 0, MOST_STEPS).state
        _, gradient = function.value_and_gradient(state.point)
        rise = jnp.append(*at.slope(gradient))[j]  # φ'
        root = jnp.sqrt(2 * total * jnp.maximum(state.loss - best.loss, 0))
        root = jnp.where(jnp.isnan(root), jnp.inf, root)  # so far that F overflows
        near = jnp.where(root < quantile, distance, end.near)
        far = jnp.where(root > quantile, distance, end.far)
        slope = total * rise * side * error / root  # (2)
        newton = distance + (quantile - root) / slope
        inside = (newton > near) & (newton < jnp.minimum(far, WIDER * distance))
        middle = jnp.where(far < jnp.inf, (near + far) / 2, WIDER * distance)
        following = jnp.where(inside, newton, middle)
        point = jnp.where(root < jnp.inf, state.point, end.point)
        differs = jnp.abs(following - distance) > close * distance
        goes_on = ~test & differs & (end.tried < MOST_TRIED) & (following < FARTHEST)
        return End(following, point, root, near, far, end.tried + 1, goes_on)

    begin = jnp.where(test, 0, best.point)  # where t is 0, zeros are never far off
    zero, yes = jnp.zeros_like(first), jnp.ones((), bool)
    end = End(first, begin, zero, zero, zero + jnp.inf, jnp.int32(0), yes)
    return jax.lax.while_loop(lambda end: end.goes_on, advance, end)


def held(function: Minimised, row: jax.Array, j: jax.Array) -> Minimised:
    """The function where coefficient j, which is row·point, does not change."""
    at = function.at

    def value_and_gradient(point):
        loss, gradient = function.value_and_gradient(point)
        slope = jnp.append(*at.slope(gradient)).at[j].set(0)
        return loss, at.gradient(Params(slope[:-1], slope[-1]))

    def step(state: State, ridge):
        def solve(gradient):
            return function.step(state._replace(gradient=gradient), ridge)

        (q, r), found = jax.vmap(solve)(jnp.stack([state.gradient, row]))
        return q - r * (row @ q) / (row @ r), found[0]  # (1), with −r for r

    bounded = function.bounded
    return Minimised(at, bounded, value_and_gradient, step, function.longest)
