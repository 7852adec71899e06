"""Firth's penalty, half the log-determinant of the information: finite estimates.

With wᵢ the weight of a row, W = Σ wᵢ, sᵢ = wᵢ/W, pᵢ = σ(xᵢ) and zᵢ the features of the
row with its 1, a fit with this penalty maximises

    Σ wᵢ log likelihoodᵢ  +  ½ log det I,        I = Σ wᵢ pᵢ (1 − pᵢ) zᵢ zᵢᵀ.

The penalty is the logarithm of Jeffreys' prior. It falls to −∞ where the logits grow,
so there is an optimum, of separated data too, and it removes the first-order bias of
the coefficients. Weights count rows, of which more make the penalty matter less. Per
row, and with H = I/W = Σ cᵢ zᵢ zᵢᵀ in the coordinates of `_scaling`, what is minimised
is

    F    =  Σ sᵢ ℓᵢ  −  log det (4H) / 2W                                           (1)
    ∂F   =  Σ (sᵢ (pᵢ − yᵢ) + hᵢ (pᵢ − ½)/W) zᵢ                                     (2)
    ∂²F  =  H  +  Σ hᵢ (pᵢ (1 − pᵢ) − uᵢ²/2) zᵢ zᵢᵀ / W  +  BᵀB / 2W                (3)

    hᵢ = vᵢ·vᵢ,    vᵢ = √cᵢ L⁻¹ zᵢ,    H = L Lᵀ,    uᵢ = 1 − 2pᵢ,
    B  =  Σ uᵢ (vᵢ ⊗ vᵢ) zᵢᵀ.

hᵢ is the leverage of a row, a diagonal element of the hat matrix. None of H's
eigenvalues exceeds those of Σ sᵢ zᵢ zᵢᵀ / 4, whose diagonal is ¼: so neither term of F
is negative, and its rounding is that of F. Coordinates and W change F by a constant,
which `constant` adds at the end.

Steps are Newton's, with (3). Where that has no factor, or would cost much, they are
Fisher's, with H alone. Of few rows these are slow: on 20 rows that a line separates
they take 48 steps to a gradient of 1e-10, and Newton's 8.

Reference:
  D. Firth, Bias reduction of maximum likelihood estimates, Biometrika 80 (1993), 27-38.
  G. Heinze and M. Schemper, A solution to the problem of separation in logistic
  regression, Statistics in Medicine 21 (2002), 2409-2419.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular

from bcejax._bce import bce_dx
from bcejax._numerics.sigmoid import sigmoid_slope
from bcejax.logistic_regression._compiled import AT_ONCE, compiled
from bcejax.logistic_regression._factor import (
    Factor,
    correlation,
    exists,
    least_ridge,
    scaled_factor,
    step_of_factor,
)
from bcejax.logistic_regression._given import Given, check_no_l2
from bcejax.logistic_regression._newton import (
    Minimised,
    from_point,
    length_by_curvature,
    minimise_by,
)
from bcejax.logistic_regression._objective import mean_loss
from bcejax.logistic_regression._outcome import Fit, Found, Shown, outcome
from bcejax.logistic_regression._problem import (
    Params,
    Problem,
    checked_problem,
    total_weight,
)
from bcejax.logistic_regression._rows import HIGHEST, sum_over_rows
from bcejax.logistic_regression._scaling import Scaling, scaling

MOST_PRODUCTS = 2**27  # for ∂²F: n k³, of n rows and k coefficients
SPANNED = 16  # roundings of C for each column, which are no column of its own

dot = partial(jnp.matmul, precision=HIGHEST)


class Look(NamedTuple):
    """What F is made of at a point."""

    logits: jax.Array  # (n,)
    information: jax.Array  # (k, k), H
    whitened: jax.Array  # (n, k), vᵢ
    half_log_det: jax.Array  # (), ½ log det (4H), of the columns that vary


def check_firth(solver, given: Given) -> None:
    """That nothing is asked for that has no meaning beside this penalty."""
    if solver != "newton":
        raise ValueError(
            f'solver must be "newton" with firth=True, got {solver!r}: other solvers '
            "know the objective without this penalty alone."
        )
    check_no_l2(given.l2)


def fit_with_firth(data: Problem, total, start, fit_intercept, tol, max_steps) -> Fit:
    """The minimiser of F. `start` is None for zeros."""
    at = coordinates(data, fit_intercept)
    function = objective_with_firth(data, at, total)
    point = jnp.zeros_like(at.matrix()[0])
    if start is not None:
        point = better_point(function, at.point(start), point, max_steps)
    state = minimise_by(function, from_point(point), tol, max_steps).state
    step, _ = function.step(state, least_ridge(state.point))
    decrement = jnp.sqrt(jnp.maximum(-step @ state.gradient, 0))
    found = Found(at.params(state.point), state.loss, state.gradient, state.steps)
    model = outcome(found, Shown(jnp.zeros((), bool), decrement), at, data.l2, tol)
    return model._replace(loss=model.loss + constant(at, total))


def better_point(function: Minimised, start, zeros, max_steps) -> jax.Array:
    """The start, or zeros if F is less there: far off, the penalty is infinite."""
    losses = [function.value_and_gradient(point)[0] for point in (start, zeros)]
    stays = (losses[0] <= losses[1]) | (max_steps <= 0)
    return jnp.where(stays, start, zeros)


def objective_with_firth(data: Problem, at: Scaling, total: jax.Array) -> Minimised:
    """F, for `minimise_by`; `total` is W."""
    z, share = at.rows(data), data.share
    n, k = z.shape
    ridge = jnp.asarray(least_ridge(z[0]), z.dtype)

    def look(point) -> Look:
        x = dot(z, point) + data.offset
        curvature = jnp.where(share == 0, 0, share * sigmoid_slope(x))
        h = sum_over_rows(curvature[:, None] * z, z)
        factor = scaled_factor(h, ridge)
        v = dot(jnp.sqrt(curvature)[:, None] * z, whitening(factor))
        return Look(x, h, v, half_log_det(h, factor, at))

    def value_and_gradient(point):
        x, _, v, half = look(point)
        odd = jnp.tanh(x / 2) / 2  # pᵢ − ½
        push = share * bce_dx(x, data.labels, None) + leverage(v) * odd / total
        push = jnp.where(share == 0, 0, push)
        return mean_loss(x, data) - half / total, sum_over_rows(push, z)  # (1), (2)

    def hessian(seen: Look):
        x, h, v, _ = seen
        u = -jnp.tanh(x / 2)
        of_rows = leverage(v) * (sigmoid_slope(x) - u**2 / 2)
        # (a, b) and (b, a) have one row of B, which counts twice.
        a, b = np.triu_indices(k)
        rows_of_b = sum_over_rows(u[:, None] * v[:, a] * v[:, b], z)
        counted = np.where(a == b, 1, 2)[:, None] * rows_of_b
        of_leverage = sum_over_rows(of_rows[:, None] * z, z)
        of_leverage += dot(rows_of_b.T, counted) / 2
        return h + of_leverage / total  # (3)

    def step(state, ridge):  # which grows where H has no factor
        seen = look(state.point)
        fisher = newton = scaled_factor(seen.information, ridge)
        if n * k**3 <= MOST_PRODUCTS:
            newton = scaled_factor(hessian(seen), ridge)
        found = partial(jnp.where, exists(newton))
        factor = Factor(*map(found, newton, fisher))
        return step_of_factor(factor, state.gradient), exists(fisher)

    def longest(state, step):
        curvature = jnp.sum(share * sigmoid_slope(dot(z, state.point) + data.offset))
        return length_by_curvature(curvature, state, step)

    # There is an optimum, but F may be next to 0 there, of which a share is nothing.
    bounded = jnp.zeros((), bool)
    return Minimised(at, bounded, value_and_gradient, step, longest)


def leverage(v: jax.Array) -> jax.Array:
    """hᵢ: between 0 and 1, and their sum is the number of columns that vary."""
    return jnp.sum(v**2, 1)


def whitening(factor: Factor) -> jax.Array:
    """(L⁻¹)ᵀ of H = L Lᵀ, for rows on its left."""
    root, lower = factor
    one = jnp.eye(len(root), dtype=root.dtype)
    return solve_triangular(lower, one, lower=True).T / root[:, None]


def half_log_det(h: jax.Array, factor: Factor, at: Scaling) -> jax.Array:
    # The root of the diagonal as it is: where all curvatures underflow, F is infinite.
    root = jnp.sqrt(jnp.diagonal(h))
    logs = jnp.log(2 * root * jnp.diagonal(factor.lower))
    return jnp.sum(logs, where=varying(at))


def varying(at: Scaling) -> jax.Array:
    """Which coordinates move a logit; the others are no part of the information."""
    return jnp.append(at.unit, at.intercept) > 0


def coordinates(data: Problem, fit_intercept: bool) -> Scaling:
    """Those of `_scaling`, in which a column that those before it span does not count.

    H has no inverse there, and log det H would be that of its rounding.
    """
    at = scaling(data, fit_intercept, together=False)
    z = at.rows(data)
    c = correlation(sum_over_rows(data.share[:, None] * z, z))
    least = SPANNED * least_ridge(c)

    def eliminate(j, state):
        c, spanned = state
        lost = c[j, j] <= least  # the square of what column j has beside those before
        left = c - jnp.outer(c[:, j], c[j]) / jnp.where(lost, 1, c[j, j])
        return jnp.where(lost, c, left), spanned.at[j].set(lost)

    none = jnp.zeros(len(c), bool)
    _, spanned = jax.lax.fori_loop(0, len(c) - 1, eliminate, (c, none))
    return at._replace(unit=jnp.where(spanned[:-1], 0, at.unit))


def constant(at: Scaling, total: jax.Array) -> jax.Array:
    """−½ log det I / W of the coefficients of the features, less that of F.

    (β, b) are a matrix of the determinant Π unit times the coordinates.
    """
    moves = varying(at)
    units = jnp.where(moves, jnp.append(at.unit, at.intercept), 1)
    half = jnp.sum(jnp.where(moves, jnp.log(total / 4) / 2 - jnp.log(units), 0))
    return -half / total


@compiled(AT_ONCE, static_argnames="fit_intercept")
def loss_with_firth(params: Params, given: Given, fit_intercept: bool) -> jax.Array:
    """The loss that a fit of these parameters has on these data."""
    data = checked_problem(*given).readable()
    total = total_weight(given.sample_weight, data)
    at = coordinates(data, fit_intercept)
    point = at.point(Params(*(jnp.asarray(a, data.share.dtype) for a in params)))
    function = objective_with_firth(data, at, total)
    return function.value_and_gradient(point)[0] + constant(at, total)
