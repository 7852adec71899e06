"""What is found in one pass over batches, and how a search goes on from there.

The search is that of `_newton`, cut into passes. A pass `evaluate`s the objective, its
gradient and its Hessian at one point, so that a full step that is good enough already
has what the next step is made of. Where the loss does not fall by enough, a pass
`shorten`s the step: it finds the losses at all the shorter lengths at once.

With more than MOST_COLUMNS columns, or the solver "lbfgs", the step is one of L-BFGS in
place of −H⁻¹ g, in coordinates in which the curvature at logits of 0 is about 1.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bcejax.logistic_regression._factor import step_of_hessian
from bcejax.logistic_regression._first_order import MEMORY
from bcejax.logistic_regression._looks import are_separated, params_of
from bcejax.logistic_regression._newton import (
    SHORTEST,
    State,
    falls,
    is_far,
    is_stored,
    length_by_curvature,
    value_and_gradient,
)
from bcejax.logistic_regression._objective import (
    curvature_of_rows,
    hessian,
    objective,
    penalty,
    penalty_curvature,
    stretch_at_zero,
)
from bcejax.logistic_regression._outcome import (
    Fit,
    Found,
    Shown,
    norm_by_deviations,
    outcome,
    progress,
    unfinished,
)
from bcejax.logistic_regression._overlap import decrement
from bcejax.logistic_regression._problem import Params, Problem
from bcejax.logistic_regression._scaling import Scaling, varies
from bcejax.logistic_regression._stream import Rows, Stream, without_penalty
from bcejax.logistic_regression._sums import Total

SHORTER = SHORTEST ** np.linspace(0, 1, 21)[1:]  # lengths 1/2, 1/4, … of a step

lbfgs = optax.scale_by_lbfgs(memory_size=MEMORY)


class Setting(NamedTuple):
    """What stays the same in all passes."""

    at: Scaling
    l2: jax.Array
    tol: Any
    max_steps: Any

    @property
    def no_rows(self) -> Problem:
        """The penalty alone, as data."""
        features = jnp.zeros((0, len(self.at.unit)), self.l2.dtype)
        none = features[:, 0]
        return Problem(features, none, none, none, self.l2)


class Search(NamedTuple):
    """Where a search stands between two passes, and the step that it tries next."""

    state: State
    norm: jax.Array  # of the gradient
    step: jax.Array  # −H⁻¹ g, or one of L-BFGS
    length: jax.Array  # of the step
    trial: jax.Array  # the point to evaluate, at that length
    fell: jax.Array  # whether the loss has at the last trial
    certain: jax.Array  # whether the loss is known to fall at this one
    goes_on: jax.Array
    memory: Any  # of L-BFGS; None with Newton's steps


@partial(jax.jit, static_argnames=("fit_intercept", "newton"))
def begin(
    mean, deviation, start: Params, l2, tol, max_steps, fit_intercept, newton
) -> tuple[Setting, Search]:
    """A search that has yet to evaluate its start, as a step that does not count."""
    mean, deviation = (a.astype(l2.dtype) for a in (mean, deviation))
    unit = jnp.where(varies(mean, deviation), 1 / deviation, 0)
    at = Scaling(mean, unit, jnp.asarray(fit_intercept, unit.dtype))
    point = at.point(start)
    infinite, no_step = jnp.full_like(point[0], jnp.inf), jnp.zeros_like(point)
    state = State(point, infinite, no_step, jnp.int32(-1))
    yes, length = jnp.ones((), bool), jnp.ones_like(infinite)
    memory = None if newton else lbfgs.init(point)
    search = Search(state, infinite, no_step, length, point, yes, yes, yes, memory)
    return Setting(at, l2, tol, max_steps), search


# Evaluate


class Sums(NamedTuple):
    loss: jax.Array
    gradient: jax.Array  # in the coordinates
    curvature: jax.Array  # Σ c
    hessian: Any  # None where it is not stored


def evaluate(stream: Stream, setting: Setting, point: jax.Array, stored: bool) -> Total:
    """`Sums` of the losses at a point, in one pass over all rows."""
    total = Total.of_none(no_sums(point, stored))
    return stream.fold(add_sums, total, setting.at, point)


def no_sums(points: jax.Array, stored: bool) -> tuple:
    """What a total at points `(…, d)` looks like."""
    d = np.empty(points.shape, points.dtype)
    square = np.empty((*points.shape, points.shape[-1]), points.dtype)
    return d[..., 0], d, d[..., 0], square if stored else None


@jax.jit
def add_sums(total: Total, rows: Rows, at: Scaling, point: jax.Array) -> Total:
    data = without_penalty(rows)
    stored = total.sum[-1] is not None
    curvature = jnp.sum(curvature_of_rows(at.params(point), data))
    h = hessian(data, at, point) if stored else None
    return total.plus((*value_and_gradient(data, at)(point), curvature, h))


def with_penalty(total: Total, setting: Setting, point: jax.Array) -> Sums:
    at, data = setting.at, setting.no_rows
    loss, gradient, curvature, h = total.sum
    loss += penalty(at.params(point), data)
    gradient += jax.grad(lambda p: penalty(at.params(p), data))(point)
    if h is not None:
        h += jnp.diag(penalty_curvature(data, at))
    return Sums(loss, gradient, curvature, h)


@partial(jax.jit, static_argnames="newton")
def advance(search: Search, total: Total, setting: Setting, newton: bool) -> Search:
    """The search after its trial has been evaluated: as `_newton.minimise` goes on."""
    state, at = search.state, setting.at
    found = with_penalty(total, setting, search.trial)
    norm = norm_by_deviations(at, found.gradient)
    fell = search.certain | falls(found.loss, state, search.length, search.step)
    take, difference = progress((state.loss, search.norm), (found.loss, norm))
    first = state.steps < 0
    moves, difference = first | (fell & take), first | (fell & difference)
    steps = state.steps + fell
    moved = State(search.trial, found.loss, found.gradient, steps)
    if newton:
        step, memory = step_of_hessian(found.hessian, found.gradient), None
        length = length_by_curvature(found.curvature, moved, step)
        bounded = jnp.all(setting.l2 > 0)
        far = is_far(state, search.step, found.loss, setting.tol, bounded) & ~first
    else:
        step, memory = step_of_lbfgs(search.memory, moved, setting)
        length, far = jnp.ones_like(search.length), jnp.zeros_like(first)
    left = jnp.where(far, jnp.inf, norm)
    goes_on = difference & unfinished(left, steps, setting.tol, setting.max_steps)
    no = jnp.zeros_like(fell)
    trial = moved.point + length * step
    there = Search(moved, norm, step, length, trial, fell, no, goes_on, memory)
    here = search._replace(
        state=state._replace(steps=steps), fell=fell, certain=no, goes_on=~fell
    )
    return jax.tree.map(partial(jnp.where, moves), there, here)


def step_of_lbfgs(memory, state: State, setting: Setting):
    root = stretch_at_zero(setting.no_rows, setting.at)
    there = state.gradient / root, memory, root * state.point
    direction, memory = lbfgs.update(*there)
    return -direction / root, memory


# Shorten


def shorten(stream: Stream, setting: Setting, search: Search) -> Search:
    """The search with a shorter step, by one pass over all rows."""
    total = Total.of_none(no_losses(search.trial))
    total = stream.fold(add_losses, total, setting.at, search)
    return with_length(search, total, setting)


def no_losses(points: jax.Array) -> np.ndarray:
    """What a total of the shorter steps to points `(…, d)` looks like."""
    return np.empty((*points.shape[:-1], len(SHORTER)), points.dtype)


@jax.jit
def add_losses(total, rows: Rows, at: Scaling, search: Search) -> Total:
    data = without_penalty(rows)
    points = shorter_trials(search)[1]
    return total.plus(jax.vmap(lambda p: objective(at.params(p), data))(points))


def shorter_trials(search: Search) -> tuple[jax.Array, jax.Array]:
    lengths = search.length * jnp.asarray(SHORTER, search.length.dtype)
    return lengths, search.state.point + lengths[:, None] * search.step


@jax.jit
def with_length(search: Search, total: Total, setting: Setting) -> Search:
    """The first of the lengths at which the loss falls by enough, or the end."""
    lengths, points = shorter_trials(search)
    at, data = setting.at, setting.no_rows
    losses = total.sum + jax.vmap(lambda p: penalty(at.params(p), data))(points)
    fall = jax.vmap(falls, (0, None, 0, None))(
        losses, search.state, lengths, search.step
    )
    first, some = jnp.argmax(fall), jnp.any(fall)
    state = search.state
    return search._replace(
        state=state._replace(steps=state.steps + ~some),
        length=lengths[first],
        trial=points[first],
        fell=jnp.ones_like(some),
        certain=some,
        goes_on=some,
    )


# What to say at the end


@jax.jit
def last_step(total: Total, setting: Setting, state: State) -> jax.Array:
    """−H⁻¹ g, of sums that have been evaluated at the point of the state."""
    found = with_penalty(total, setting, state.point)
    return step_of_hessian(found.hessian, state.gradient)


def model_at(stream: Stream, setting: Setting, state: State, step: jax.Array) -> Fit:
    """The model, with what more passes over all rows say of the data."""
    at, l2 = setting.at, setting.l2
    params = params_of(at, state.point)
    stored = is_stored(stream.columns)
    separated = are_separated(stream, at, l2, params, step, stored)
    return say(params, state, step, separated, setting)


@jax.jit
def say(params: Params, state: State, step, separated, setting: Setting) -> Fit:
    found = Found(params, state.loss, state.gradient, state.steps)
    shown = Shown(separated, decrement(step, state.gradient))
    return outcome(found, shown, setting.at, setting.l2, setting.tol)
