"""The search by an optax optimiser, on all rows or in batches, in one compiled loop.

It knows neither how many classes there are nor what is minimised.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from bcejax.logistic_regression._outcome import (
    Found,
    norm_by_deviations,
    unfinished,
)

MEMORY = 20  # pairs of steps and gradients that L-BFGS remembers


class State(NamedTuple):
    """Where a search stands."""

    params: Any
    loss: jax.Array  # of these params
    gradient: Any
    steps: jax.Array
    solver_state: Any


def transformation(solver: str | optax.GradientTransformation):
    """An optax optimiser that accepts what a line search needs."""
    if solver == "lbfgs":
        return optax.lbfgs(memory_size=MEMORY)
    if not isinstance(solver, optax.GradientTransformation):
        kind = f'"{solver}"' if isinstance(solver, str) else f"a {type(solver)}"
        raise (ValueError if isinstance(solver, str) else TypeError)(
            f'solver must be "newton", "lbfgs" or an optax optimiser, got {kind}.'
        )
    return optax.with_extra_args_support(solver)


def begin(solver, params, loss_of) -> State:
    loss, gradient = jax.value_and_grad(loss_of)(params)
    solver_state = transformation(solver).init(params)
    return State(params, loss, gradient, jnp.int32(0), solver_state)


def advance(solver, state: State, loss_of) -> State:
    """One step of the search."""
    params, solver_state = update(
        solver, state.params, state.loss, state.gradient, state.solver_state, loss_of
    )
    if solver == "lbfgs":  # whose line search ended here and has both
        value_and_grad = optax.value_and_grad_from_state(loss_of)
        loss, gradient = value_and_grad(params, state=solver_state)
    else:
        loss, gradient = jax.value_and_grad(loss_of)(params)
    return State(params, loss, gradient, state.steps + 1, solver_state)


def update(solver, params, loss, gradient, solver_state, loss_of):
    updates, solver_state = transformation(solver).update(
        gradient, solver_state, params, value=loss, grad=gradient, value_fn=loss_of
    )
    return optax.apply_updates(params, updates), solver_state


def descend(solver, start, loss_of, tol, max_steps, norm) -> State:
    """Steps until `norm` of the gradient is within `tol`."""
    step = partial(advance, solver, loss_of=loss_of)
    return repeat(step, begin(solver, start, loss_of), tol, max_steps, norm)


def repeat(step, state: State, tol, max_steps, norm) -> State:
    def goes_on(state):
        return unfinished(norm(state.gradient), state.steps, tol, max_steps)

    return jax.lax.while_loop(goes_on, step, state)


def descend_in_batches(
    solver, start, loss_of_rows, rows: int, batch_size: int, key, tol, max_steps, norm
) -> State:
    """Epochs, each over all rows in a new order, until the gradient is within `tol`.

    `loss_of_rows` takes the parameters and the indices of some rows, or None for all.
    The rows that do not fill a last batch sit out, other ones every epoch.
    """
    loss_of = partial(loss_of_rows, chosen=None)

    def step(carry, chosen):
        params, solver_state = carry
        loss_of_batch = partial(loss_of_rows, chosen=chosen)
        there = jax.value_and_grad(loss_of_batch)(params)
        return update(solver, params, *there, solver_state, loss_of_batch), None

    def epoch(state):
        order = jax.random.permutation(jax.random.fold_in(key, state.steps), rows)
        batches = order[: rows - rows % batch_size].reshape(-1, batch_size)
        carry = state.params, state.solver_state
        (params, solver_state), _ = jax.lax.scan(step, carry, batches)
        loss, gradient = jax.value_and_grad(loss_of)(params)
        return State(params, loss, gradient, state.steps + 1, solver_state)

    return repeat(epoch, begin(solver, start, loss_of), tol, max_steps, norm)


# What is found, in the coordinates


def better_start(loss_of, start, max_steps):
    """The start, or 0 if that is better: far off, the loss is next to flat."""
    zeros = jax.tree.map(jnp.zeros_like, start)
    better = (loss_of(zeros) < loss_of(start)) & (max_steps > 0)
    return jax.tree.map(partial(jnp.where, better), zeros, start)


def found_by_lbfgs(loss_of, at, stretch, start, tol, max_steps) -> Found:
    """L-BFGS in coordinates times `stretch`, in which the curvature is about 1."""
    state = descend(
        "lbfgs",
        stretch * at.point(start),
        lambda u: loss_of(at.params(u / stretch)),
        tol,
        max_steps,
        lambda gradient: norm_by_deviations(at, stretch * gradient),
    )
    params, loss, gradient, steps, _ = state
    return Found(at.params(params / stretch), loss, stretch * gradient, steps)


def found_by_optax(solver, loss_of_rows, at, batches, start, tol, max_steps) -> Found:
    """Any optimiser, in the parameters; `batches` are None, or rows, size and key."""

    def norm(gradient):
        return norm_by_deviations(at, at.gradient(gradient))

    if batches is None:
        loss_of = partial(loss_of_rows, chosen=None)
        state = descend(solver, start, loss_of, tol, max_steps, norm)
    else:
        rows, size, key = batches
        state = descend_in_batches(
            solver, start, loss_of_rows, rows, size, key, tol, max_steps, norm
        )
    params, loss, gradient, steps, _ = state
    return Found(params, loss, at.gradient(gradient), steps)
