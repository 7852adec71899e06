"""Newton's method with a damped step, in the coordinates of `_scaling`.

At a point with gradient g and Hessian H the step p solves H p = −g. It is halved until
the loss falls by at least ARMIJO of what the slope p·g promises:

    f(point + t p)  ≤  f(point) + ARMIJO t p·g,        t = 1, 1/2, 1/4, …

Up to MOST_COLUMNS, H is stored and factored. Beyond, conjugate gradients solve for p,
for which H only multiplies vectors.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import cg

from bcejax.logistic_regression._factor import (
    exists,
    least_ridge,
    scaled_factor,
    step_of_factor,
    step_of_hessian,
    stiffer,
)
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
from bcejax.logistic_regression._problem import Problem
from bcejax.logistic_regression._scaling import Scaling
from bcejax.logistic_regression._together import where_needed

MOST_COLUMNS = 1999  # for which H is stored
LONGEST = 20  # step of a coefficient of a column of deviation 1, and of the logits
ARMIJO = 1e-4  # of the promised fall, which a step must achieve
NEAR = 1e-5  # of the loss: the last step is one that promises no more than this
SHORTEST = 2.0**-20  # of the step, below which it is not halved again
CG_STEPS = 200
CG_RESIDUAL = 0.1  # of the gradient: a rough step is good enough far from the optimum


class State(NamedTuple):
    point: jax.Array  # in the coordinates
    loss: jax.Array
    gradient: jax.Array  # in the coordinates
    steps: jax.Array


class Search(NamedTuple):
    """Where a search stands, and the step that goes on from there.

    A step is idle at the start, whose loss and gradient are not known yet, and where H
    has to be factored again with a larger ridge. It has the length 0, is always taken,
    and does not count.
    """

    state: State
    norm: jax.Array  # of the gradient
    step: jax.Array  # −H⁻¹ g, or 0
    longest: jax.Array  # length of the step to begin with
    ridge: jax.Array  # ε of `scaled_factor`, which only grows during a search
    idle: jax.Array  # whether the step is
    difference: jax.Array  # whether the last step that was not idle made one
    far: jax.Array  # and whether it promised much
    goes_on: jax.Array  # whether to take the step


class Trial(NamedTuple):
    """A step of a certain length, and where it leads."""

    length: jax.Array
    loss: jax.Array
    gradient: jax.Array
    falls: jax.Array  # whether the loss does, by enough


class Minimised(NamedTuple):
    """What is minimised, as the loop of `minimise_by` asks for it."""

    at: Scaling
    bounded: jax.Array  # whether every weight is, by a penalty
    value_and_gradient: Callable  # of a point: the loss and its gradient
    step: Callable  # of a state and a ridge: −(H + ridge)⁻¹ g, and whether it exists
    longest: Callable  # of a state and a step: the length to begin with


def objective_of(data: Problem, at: Scaling) -> Minimised:
    return Minimised(
        at,
        jnp.all(data.l2 > 0),
        value_and_gradient(data, at),
        lambda state, ridge: step_with_ridge(data, at, state, ridge, CG_RESIDUAL),
        lambda state, step: longest_length(data, at, state, step),
    )


def value_and_gradient(data: Problem, at: Scaling):
    def of_data(point):
        loss, slope = jax.value_and_grad(objective)(at.params(point), data)
        return loss, at.gradient(slope)

    return of_data


def from_point(point: jax.Array) -> Search:
    """A search that has yet to evaluate its start."""
    infinite, no_step = jnp.full_like(point[0], jnp.inf), jnp.zeros_like(point)
    state = State(point, infinite, no_step, jnp.int32(0))
    length, yes = jnp.ones_like(infinite), jnp.ones_like(infinite, bool)
    ridge = jnp.full_like(infinite, least_ridge(point))
    return Search(state, infinite, no_step, length, ridge, yes, yes, ~yes, yes)


def from_state(at: Scaling, state: State, tol, max_steps) -> Search:
    """A search that begins where another has ended, if there is anything left to do.

    Its loss and gradient are found once more, so that XLA compiles them in one place.
    """
    norm = norm_by_deviations(at, state.gradient)
    goes_on = unfinished(norm, state.steps, tol, max_steps)
    return from_point(state.point)._replace(state=state, goes_on=goes_on)


def minimise(data: Problem, at: Scaling, start: Search, tol, max_steps) -> Search:
    return minimise_by(objective_of(data, at), start, tol, max_steps)


def minimise_by(function: Minimised, start: Search, tol, max_steps) -> Search:
    """Steps until the gradient is within `tol`, or none makes a difference any more.

    One loop evaluates the start, takes the steps and repeats what has failed, so that
    XLA compiles each of these once. A loss with its gradient, or a factor of H, takes
    longer to compile than 1000 rows take to fit.
    """
    at = function.at

    def advance(search):
        state, norm, step, longest, ridge, idle, difference, far, goes_on = search
        start = state
        trial = line_search(function.value_and_gradient, state, step, longest, goes_on)
        norm_of_trial = norm_by_deviations(at, trial.gradient)
        take, differs = progress((state.loss, norm), (trial.loss, norm_of_trial))
        difference = jnp.where(idle, difference, trial.falls & differs)
        point = state.point + trial.length * step
        steps = jnp.where(idle, state.steps, state.steps + 1)
        moved = State(point, trial.loss, trial.gradient, steps), norm_of_trial
        state, norm = jax.tree.map(
            partial(jnp.where, idle | (trial.falls & take)), moved, (state, norm)
        )
        state = state._replace(steps=steps)
        of_step = is_far(start, step, state.loss, tol, function.bounded)
        far = jnp.where(idle, far, of_step)
        left = jnp.where(far, jnp.inf, norm)
        more = difference & unfinished(left, steps, tol, max_steps)

        def follow():
            step, found = function.step(state, ridge)
            idle = ~found & (ridge < 1)
            step = jnp.where(idle, 0, step)
            longest = function.longest(state, step)
            return step, longest, jnp.where(idle, stiffer(ridge), ridge), idle

        stay = step, longest, ridge, jnp.zeros_like(idle)
        step, longest, ridge, idle = where_needed(more, follow, stay)
        return Search(state, norm, step, longest, ridge, idle, difference, far, more)

    return jax.lax.while_loop(lambda search: search.goes_on, advance, start)


def is_far(state: State, step, loss: jax.Array, tol, bounded) -> jax.Array:
    """Whether a step from the state, which led to this loss, promised much.

    Columns that are nearly collinear may promise much by a tiny gradient. Where the
    loss may fall to 0 for ever, a step promises a share of what is left of it: of so
    little as `tol` that is nothing, unless the weights are `bounded`.
    """
    promised = -(step @ state.gradient) / 2  # half the square of the decrement
    return promised > jnp.maximum(NEAR * jnp.abs(loss), jnp.where(bounded, 0, tol))


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


def line_search(of_data, state: State, step: jax.Array, longest, goes_on) -> Trial:
    """The first of the lengths `longest` · (1, ½, …) at which the loss falls enough.

    One of many searches that `vmap` takes together may be over already, and must not
    keep the others waiting: it tries no length.
    """

    def halve(trial):
        length = trial.length / 2
        loss, gradient = of_data(state.point + length * step)
        return Trial(length, loss, gradient, falls(loss, state, length, step))

    twice = Trial(
        2 * longest, state.loss, state.gradient, jnp.zeros_like(state.loss, bool)
    )
    return jax.lax.while_loop(
        lambda trial: goes_on & ~trial.falls & (trial.length > SHORTEST * longest),
        halve,
        twice,
    )


def falls(loss: jax.Array, state: State, length: jax.Array, step) -> jax.Array:
    """Whether the loss at `length` of the step is enough below that of the state."""
    slope = step @ state.gradient
    return loss <= state.loss + rounding_of(state.loss) + ARMIJO * length * slope


# The step p = −H⁻¹ g


def is_stored(columns: int) -> bool:
    """Whether H is, or only multiplies vectors."""
    return columns <= MOST_COLUMNS


def newton_step(data: Problem, at: Scaling, state: State, residual) -> jax.Array:
    """p, to a residual of so much of g where H is not stored."""
    if not is_stored(len(at.unit)):
        return step_by_products(data, at, state, residual)
    return step_of_hessian(hessian(data, at, state.point), state.gradient)


def step_with_ridge(data: Problem, at: Scaling, state: State, ridge, residual):
    """p, and whether H + ridge has a factor; if not, p is NaN."""
    if not is_stored(len(at.unit)):
        return step_by_products(data, at, state, residual), jnp.ones_like(ridge, bool)
    factor = scaled_factor(hessian(data, at, state.point), ridge)
    return step_of_factor(factor, state.gradient), exists(factor)


def step_by_products(data: Problem, at: Scaling, state: State, residual) -> jax.Array:
    point, _, gradient, _ = state
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
