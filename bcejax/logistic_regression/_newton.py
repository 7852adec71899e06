"""Newton's method with a damped step, in the coordinates of `_scaling`.

At a point with gradient g and Hessian H the step p solves H p = −g. It is halved until
the loss falls by at least ARMIJO of what the slope p·g promises:

    f(point + t p)  ≤  f(point) + ARMIJO t p·g,        t = 1, 1/2, 1/4, …

Up to MOST_COLUMNS, H is stored and factored. Beyond, conjugate gradients solve for p,
for which H only multiplies vectors.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve
from jax.scipy.sparse.linalg import cg

from bcejax.logistic_regression._objective import (
    curvature_of_rows,
    hessian,
    hessian_diagonal,
    hessian_product,
    objective,
)
from bcejax.logistic_regression._outcome import (
    norm_by_deviations,
    progress,
    rounding_of,
    unfinished,
)
from bcejax.logistic_regression._problem import Params, Problem
from bcejax.logistic_regression._scaling import Scaling, positive_or_one

MOST_COLUMNS = 1999  # for which H is stored
LONGEST = 20  # step of a coefficient of a column of deviation 1, and of the logits
ARMIJO = 1e-4  # of the promised fall, which a step must achieve
SHORTEST = 2.0**-20  # of the step, below which it is not halved again
STIFFER = 30  # times the ridge, where H + ridge has no factor
CG_STEPS = 200
CG_RESIDUAL = 0.1  # of the gradient: a rough step is good enough far from the optimum
CG_LAST_RESIDUAL = 0.01  # for the decrement and the verdict


class State(NamedTuple):
    point: jax.Array  # in the coordinates
    loss: jax.Array
    gradient: jax.Array  # in the coordinates
    steps: jax.Array


class Trial(NamedTuple):
    """A step of a certain length, and where it leads."""

    length: jax.Array
    loss: jax.Array
    gradient: jax.Array
    falls: jax.Array  # whether the loss does, by enough


def value_and_gradient(data: Problem, at: Scaling):
    return jax.value_and_grad(lambda point: objective(at.params(point), data))


def begin(data: Problem, at: Scaling, point: jax.Array) -> State:
    loss, gradient = value_and_gradient(data, at)(point)
    return State(point, loss, gradient, jnp.int32(0))


def minimise(data: Problem, at: Scaling, start: State, tol, max_steps) -> State:
    """Steps until the gradient is within `tol`, or none makes a difference any more."""
    of_data = value_and_gradient(data, at)
    norm = partial(norm_by_deviations, at)

    def goes_on(carry):
        state, difference = carry
        left = norm(state.gradient)
        return difference & unfinished(left, state.steps, tol, max_steps)

    def advance(carry):
        state, _ = carry
        step = newton_step(data, at, state, CG_RESIDUAL)
        longest = longest_length(data, at, state, step)
        trial = line_search(of_data, state, step, longest)
        take, difference = progress(
            (state.loss, norm(state.gradient)), (trial.loss, norm(trial.gradient))
        )
        point = state.point + trial.length * step
        moved = State(point, trial.loss, trial.gradient, state.steps)
        state = jax.tree.map(partial(jnp.where, trial.falls & take), moved, state)
        return state._replace(steps=state.steps + 1), trial.falls & difference

    carry = start, jnp.ones_like(start.loss, bool)
    return jax.lax.while_loop(goes_on, advance, carry)[0]


def longest_length(data: Problem, at: Scaling, state: State, step) -> jax.Array:
    """The length to begin with: 1, or less if the step moves everything too far.

    Where all rows are far on the wrong side, H is next to 0 and its step too long. It
    is so if a coefficient, per deviation of its column, and the logits both move by
    more than LONGEST. Of the logits that is the root mean square, weighted by their
    curvatures: pᵀHp / Σ c, with −p·g for pᵀHp. A far outlier inflates the deviation of
    its column, but has no curvature once its logit is large.
    """
    curvature = jnp.sum(curvature_of_rows(at.params(state.point), data))
    return length_by_curvature(curvature, state, step)


def length_by_curvature(curvature: jax.Array, state: State, step) -> jax.Array:
    of_logits = jnp.sqrt(jnp.maximum(-step @ state.gradient, 0) / curvature)
    moved = jnp.fmin(jnp.max(jnp.abs(step)), of_logits)  # the latter may be NaN
    return jnp.minimum(1, LONGEST / moved)


def line_search(of_data, state: State, step: jax.Array, longest) -> Trial:
    """The first of the lengths 1, 1/2, 1/4, … at which the loss falls by enough."""

    def halve(trial):
        length = trial.length / 2
        loss, gradient = of_data(state.point + length * step)
        return Trial(length, loss, gradient, falls(loss, state, length, step))

    twice = Trial(
        2 * longest, state.loss, state.gradient, jnp.zeros_like(state.loss, bool)
    )
    return jax.lax.while_loop(
        lambda trial: ~trial.falls & (trial.length > SHORTEST * longest), halve, twice
    )


def falls(loss: jax.Array, state: State, length: jax.Array, step) -> jax.Array:
    """Whether the loss at `length` of the step is enough below that of the state."""
    slope = step @ state.gradient
    return loss <= state.loss + rounding_of(state.loss) + ARMIJO * length * slope


def next_step(data: Problem, at: Scaling, state: State) -> tuple[Params, jax.Array]:
    """The step −H⁻¹ g that would follow, and the Newton decrement √(gᵀ H⁻¹ g)."""
    return with_decrement(at, state, newton_step(data, at, state, CG_LAST_RESIDUAL))


def with_decrement(at: Scaling, state: State, step) -> tuple[Params, jax.Array]:
    # Conjugate gradients return 0 where the product with H is NaN: that proves nothing.
    failed = jnp.all(step == 0) & jnp.any(state.gradient != 0)
    decrement = jnp.sqrt(jnp.maximum(-step @ state.gradient, 0))
    return at.params(step), jnp.where(failed, jnp.nan, decrement)


# The step p = −H⁻¹ g


def is_stored(columns: int) -> bool:
    """Whether H is, or only multiplies vectors."""
    return columns <= MOST_COLUMNS


def newton_step(data: Problem, at: Scaling, state: State, residual) -> jax.Array:
    """p, to a residual of so much of g where H is not stored."""
    point, _, gradient, _ = state
    if is_stored(len(at.unit)):
        return step_of_hessian(hessian(data, at, point), gradient)
    diagonal = hessian_diagonal(data, at, point)
    product = hessian_product(data, at, point)
    ridge = len(point) * jnp.finfo(point.dtype).eps * diagonal
    return -cg(
        lambda v: product(v) + ridge * v,
        gradient,
        M=lambda v: v / diagonal,
        tol=residual,
        maxiter=CG_STEPS,
    )[0]


def step_of_hessian(h: jax.Array, gradient: jax.Array) -> jax.Array:
    return -cho_solve((factor(h), True), gradient)


def factor(h: jax.Array) -> jax.Array:
    """Cholesky's lower factor L of H + ridge, L Lᵀ = R (C + ε I) R.

    R is the root of the diagonal of H, and C = R⁻¹ H R⁻¹ has a diagonal of ones. ε
    starts as the rounding of H and grows until C + ε I has a factor: columns that are
    collinear, or more than the rows, then share their coefficient.
    """
    scaled, eye = correlation(h), jnp.eye(len(h), dtype=h.dtype)
    rounding = len(h) * jnp.finfo(h.dtype).eps

    def add(state):
        ridge, _ = state
        return STIFFER * ridge, jnp.linalg.cholesky(scaled + STIFFER * ridge * eye)

    _, lower = jax.lax.while_loop(
        lambda state: ~jnp.all(jnp.isfinite(state[1])) & (state[0] < 1),
        add,
        (jnp.asarray(rounding / STIFFER, h.dtype), jnp.full_like(h, jnp.nan)),
    )
    return root_of_diagonal(h)[:, None] * lower


def correlation(h: jax.Array) -> jax.Array:
    """C = R⁻¹ H R⁻¹, which has a diagonal of ones, or of 0 where that of H is 0."""
    root = root_of_diagonal(h)
    return h / root / root[:, None]


def root_of_diagonal(h: jax.Array) -> jax.Array:
    return jnp.sqrt(positive_or_one(jnp.diagonal(h)))
